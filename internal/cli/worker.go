package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Working are the flags of `fairlead worker`.
type Working struct {
	Server string // URL
	Token  string
	Name   string   // "" for the machine's
	Labels []string // patterns of labels whose jobs it takes; none: what the machine is
	Jobs   int      // at a time; 0: by the machine
	// Tell is told what goes on.
	Tell func(news string)
	// Abort is closed when the jobs are to end at once.
	Abort <-chan struct{}
}

// maxToken is the size of the largest file that a token is read from.
const maxToken = 4 << 10

// workerCommand is `fairlead worker`.
func (g *global) workerCommand() *cobra.Command {
	var w Working
	var tokenFile string
	c := &cobra.Command{
		Use:   "worker",
		Short: "Do jobs for a server on this machine",
		Long: `Do jobs for a server on this machine: it asks the server for jobs whose labels match,
does them in workspaces of its own, and sends back what they print and make. Nobody
connects to it. What it has to say is on its disk first, so the server may be gone for
a while, and be started anew.

When it is told to end (TERM, or interrupt) it takes no more, finishes what it has,
and leaves; told once more, it gives its jobs back at once, and another worker does them.

The token is one for workers: fairlead token create NAME --worker, on the server's
machine, or the page Tokens.`,
		Example: `  fairlead worker --server https://ci.example.org --token-file token
  FAIRLEAD_TOKEN=$(cat token) fairlead worker --server https://ci.example.org --jobs 4
  fairlead worker --server https://ci.example.org --token-file token --labels 'gpu,ubuntu-*'`,
		Args: args(),
	}
	f := c.Flags()
	f.StringVar(&w.Server, "server", "", "`URL` of the server")
	f.StringVar(&tokenFile, "token-file", "", "`file` that holds the token; - for standard input (default: $FAIRLEAD_TOKEN)")
	f.StringVar(&w.Name, "name", "", "what the server calls this worker (default: the machine's name)")
	f.StringSliceVar(&w.Labels, "labels", nil, "`labels` whose jobs it takes, * standing for anything (default: those of this kind of machine)")
	f.IntVar(&w.Jobs, "jobs", 0, "jobs at a `time` (default: as many as there are processors)")
	c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		switch {
		case w.Server == "":
			return usage("--server https://ci.example.org", "a worker needs the address of its server")
		case w.Jobs < 0:
			return usage("", "--jobs cannot be %d", w.Jobs)
		}
		if w.Token, err = g.token(tokenFile); err != nil {
			return err
		}
		w.Tell = func(news string) { fmt.Fprintln(g.Stderr, "fairlead worker: "+news) }
		ctx, abort, stop := untilAskedTwice(cmd.Context())
		defer stop()
		w.Abort = abort
		return g.Work(ctx, g.wiring, w)
	}
	return c
}

// token reads a token from a file, or the environment.
func (g *global) token(file string) (string, error) {
	text := g.Getenv("FAIRLEAD_TOKEN")
	if file != "" {
		in := g.Stdin
		if file != "-" {
			f, err := os.Open(file)
			if err != nil {
				return "", usage("", "the token cannot be read: %v", err)
			}
			defer f.Close()
			in = f
		}
		data, err := io.ReadAll(io.LimitReader(in, maxToken))
		if err != nil {
			return "", usage("", "the token cannot be read: %v", err)
		}
		text = string(data)
	}
	if text = strings.TrimSpace(text); text == "" {
		return "", usage("--token-file FILE, or FAIRLEAD_TOKEN in the environment; never as an argument, which everybody on this machine can read", "there is no token")
	}
	return text, nil
}

// untilAskedTwice ends the context at the first TERM or interrupt, and closes
// the channel at the second.
func untilAskedTwice(ctx context.Context) (_ context.Context, again <-chan struct{}, stop func()) {
	asked := make(chan os.Signal, 2)
	signal.Notify(asked, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(ctx)
	twice, over := make(chan struct{}), make(chan struct{})
	go func() {
		for _, then := range []func(){cancel, func() { close(twice) }} {
			select {
			case <-asked:
				then()
			case <-over:
				return
			}
		}
	}()
	return ctx, twice, func() {
		signal.Stop(asked)
		close(over)
		cancel()
	}
}
