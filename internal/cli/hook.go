package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// hookCommand is `fairlead hook`.
func (g *global) hookCommand() *cobra.Command {
	var at site
	replay := &cobra.Command{
		Use: "replay REQUEST", Short: "Take a delivery of a code host once more",
		Long: `Take a delivery of a code host once more, as it came: to find out why it started
nothing, or to start what a mended pipeline file now would. ` + "`fairlead hook list`" + `
has their numbers.`,
		Example: "  fairlead hook replay 4711\n  fairlead hook replay 4711 --server https://ci.example.org",
		Args:    args("REQUEST"),
	}
	at.flags(replay)
	replay.RunE = func(cmd *cobra.Command, a []string) error {
		seq, err := strconv.ParseInt(a[0], 10, 64)
		if err != nil || seq <= 0 {
			return usage("it is the number that the server's list of requests shows", "%q is no request", a[0])
		}
		var again int64
		if at.url != "" {
			remote, err := at.dial(g)
			if err != nil {
				return err
			}
			again, err = remote.Replay(cmd.Context(), seq)
			if err != nil {
				return err
			}
		} else if err := g.office(cmd.Context(), func(o *Office) (err error) {
			again, err = o.Desk.Replay(cmd.Context(), launch.By{Name: me(), Via: commandLine}, seq)
			return err
		}); err != nil {
			return err
		}
		fmt.Fprintf(g.Stdout, "%d\n", again)
		fmt.Fprintf(g.Stderr, "taken again; it is request %d\n", again)
		return nil
	}
	return verbs("hook", "What code hosts delivered", "What code hosts delivered to the server, or somebody asked it for.", g.hookListCommand(), replay)
}

func (g *global) hookListCommand() *cobra.Command {
	var at site
	var repository string
	limit := 20
	c := &cobra.Command{
		Use: "list", Short: "List what was delivered or asked for, and what came of it",
		Example: "  fairlead hook list\n  fairlead hook list --repo team/app --server https://ci.example.org", Args: args(),
	}
	c.Flags().StringVar(&repository, "repo", "", "only of this `repository`")
	c.Flags().IntVarP(&limit, "number", "n", limit, "the last so `many`")
	at.flags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if limit < 1 {
			return usage("", "-n cannot be %d", limit)
		}
		var list []Request
		if at.url != "" {
			var remote Remote
			if remote, err = at.dial(g); err == nil {
				list, err = remote.Requests(cmd.Context(), repository, limit)
			}
		} else {
			err = g.office(cmd.Context(), func(o *Office) (err error) {
				list, err = requestsOf(cmd.Context(), o, repository, limit)
				return err
			})
		}
		if err != nil {
			return err
		}
		now := time.Now()
		var cells [][]string
		for _, q := range list {
			came := "under way"
			switch {
			case len(q.Runs) > 0:
				came = "run " + strings.Join(q.Runs, ", ")
			case q.Settled:
				came = q.Why
			}
			cells = append(cells, []string{strconv.FormatInt(q.Request, 10), ago(now.Sub(q.Time)), shown(q.Repository), shown(q.What), shown(came)})
		}
		return g.rows(list, "nothing was delivered or asked for", []string{"request", "when", "repository", "what", "came to"}, cells)
	}
	return c
}

// maxLooked is how many events are looked at for a list of requests.
const maxLooked = 10_000

// requestsOf reads the requests of this machine's server.
func requestsOf(ctx context.Context, o *Office, repository string, limit int) ([]Request, error) {
	list, settled := []Request{}, map[int64]*record.RequestSettled{}
	events, err := o.Events.Events(ctx, store.EventFilter{Kinds: []record.Kind{"hook.received", "run.requested", "request.settled"}, Limit: maxLooked})
	if err != nil {
		return nil, fmt.Errorf("read the requests: %w", err)
	}
	for _, e := range events { // the newest first: what settles comes before what it settles
		q := Request{Request: e.Seq, Time: e.Time}
		switch b := e.Body.(type) {
		case *record.RequestSettled:
			settled[b.Request] = b
			continue
		case *record.HookReceived:
			q.Repository, q.What = b.Repository, b.Forge+" delivery "+b.Delivery
		case *record.RunRequested:
			q.Repository, q.By, q.What = b.Repository, b.By, strings.TrimSpace(b.Cause+" "+b.Workflow)
		}
		if repository != "" && q.Repository != repository {
			continue
		}
		if b := settled[e.Seq]; b != nil {
			q.Settled, q.Runs, q.Why = true, b.Runs, b.Why
		}
		if list = append(list, q); len(list) == limit {
			break
		}
	}
	return list, nil
}
