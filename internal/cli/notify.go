package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

// notifyCommand is `fairlead notify`.
func (g *global) notifyCommand() *cobra.Command {
	by := launch.By{Name: me(), Via: commandLine}
	var at site
	// routes is who knows the routes: the server that is named, or the one of this machine.
	routes := func(ctx context.Context, there func(r Remote) error, here func(o *Office) error) error {
		if at.url == "" {
			return g.office(ctx, here)
		}
		remote, err := at.dial(g)
		if err != nil {
			return err
		}
		return there(remote)
	}

	list := &cobra.Command{Use: "list", Short: "List the routes of messages", Example: `  fairlead notify list`, Args: args()}
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		show := func(all []notify.Route, err error) error {
			if err != nil {
				return err
			}
			var cells [][]string
			for _, r := range all {
				edges := "what people want to know"
				if len(r.Edges) > 0 {
					edges = edgesText(r.Edges)
				}
				cells = append(cells, []string{r.Name, r.Channel, cmp.Or(strings.Join(r.Repositories, " "), "all"), cmp.Or(strings.Join(r.Branches, " "), "all"), edges, r.Secret})
			}
			return g.rows(all, "nobody is told of anything: `fairlead notify set` makes a route", []string{"name", "channel", "repositories", "branches", "of what", "target in"}, cells)
		}
		return routes(cmd.Context(), func(r Remote) error { return show(r.Routes(cmd.Context())) },
			func(o *Office) error { return show(o.Desk.Routes(cmd.Context())) })
	}

	var r notify.Route
	var edges []string
	set := &cobra.Command{
		Use:   "set NAME CHANNEL",
		Short: "Have somebody told of something",
		Long: `Have somebody told of something: a CHANNEL is webhook, slack, teams, smtp or shoutrrr.
Where messages go is read from standard input, as it often is a secret: the address of
an incoming webhook, or smtp://user:password@host?to=team@example.org. It is sealed. To
change a route without its target, give --secret with the name of the secret that holds it.

People are told when a branch broke, is still broken a day later, was fixed, and when
a run waits for approval. --on chooses otherwise: ` + edgesText(notify.Edges()) + `.`,
		Example: `  fairlead notify set team slack < slack-webhook.txt
  fairlead notify set board webhook --on finished --repository 'team/*' < url.txt
  fairlead notify set team slack --branch main --secret '$CHAT'`,
		Args: args("NAME", "CHANNEL"),
	}
	f := set.Flags()
	f.StringArrayVar(&r.Repositories, "repository", nil, "only of `repositories` of this pattern; may be repeated")
	f.StringArrayVar(&r.Branches, "branch", nil, "only of `branches` of this pattern; may be repeated")
	f.StringArrayVar(&edges, "on", nil, "of `what`; may be repeated")
	f.StringVar(&r.Secret, "secret", "", "`name` of the secret that holds the target, instead of standard input")
	set.RunE = func(cmd *cobra.Command, a []string) error {
		r.Name, r.Channel = a[0], a[1]
		for _, e := range edges {
			r.Edges = append(r.Edges, notify.Edge(e))
		}
		target := ""
		if r.Secret == "" {
			var err error
			if target, err = g.target(a); err != nil {
				return err
			}
		}
		return routes(cmd.Context(), func(there Remote) error { return there.SetRoute(cmd.Context(), r, target) }, func(o *Office) error {
			if r.Secret != "" {
				return o.Desk.SetRoute(cmd.Context(), by, r)
			}
			if err := o.Desk.CheckTarget(r.Channel, target); err != nil {
				return err
			}
			r.Secret = notify.TargetSecret(r.Name)
			// A route whose target is not there yet sends nothing; a target without a route
			// would stay for ever.
			if err := o.Desk.SetRoute(cmd.Context(), by, r); err != nil {
				return err
			}
			return o.Vault.Set(cmd.Context(), secret.By(by), secret.Scope{}, r.Secret, []byte(target))
		})
	}

	remove := &cobra.Command{Use: "remove NAME", Short: "Have nobody told that way any more", Example: `  fairlead notify remove team`, Args: args("NAME")}
	remove.RunE = func(cmd *cobra.Command, a []string) error {
		return routes(cmd.Context(), func(r Remote) error { return r.RemoveRoute(cmd.Context(), a[0]) },
			func(o *Office) error { return o.Desk.RemoveRoute(cmd.Context(), by, a[0]) })
	}

	var reach Reach
	test := &cobra.Command{
		Use: "test NAME", Short: "Send one message, and say what came back",
		Long: `Send one message the way of a route, and say what came back. Like the server, it
reaches no private network and nothing on this machine unless that is allowed here.`,
		Example: `  fairlead notify test team`, Args: args("NAME"),
	}
	test.Flags().BoolVar(&reach.Private, "private-addresses", false, "the channel may lie in a private network")
	test.Flags().BoolVar(&reach.Loopback, "loopback-addresses", false, "and on this machine")
	test.RunE = func(cmd *cobra.Command, a []string) error {
		taken := func(err error) error {
			if err == nil {
				fmt.Fprintln(g.Stderr, "it was taken")
			}
			return err
		}
		if at.url != "" {
			return routes(cmd.Context(), func(r Remote) error { return taken(r.TestRoute(cmd.Context(), a[0])) }, nil)
		}
		return g.officeWith(cmd.Context(), reach, func(o *Office) error { return taken(o.Desk.TestRoute(cmd.Context(), by, a[0])) })
	}
	for _, c := range []*cobra.Command{list, set, remove, test} {
		at.flags(c)
	}
	return verbs("notify", "Whom the server tells of what",
		`Whom the server of this machine, or with --server another one, tells of what. What is
changed here counts at once, also while the server runs. The page Settings does the same.`, list, set, remove, test)
}

// target reads from standard input where messages go.
func (g *global) target(a []string) (string, error) {
	if _, tty := terminal(g.Stdin); tty {
		return "", usage("`fairlead notify set "+quoted(a[0])+" "+quoted(a[1])+" < FILE`, or a pipe", "the target is read from standard input, which is a terminal that would show it")
	}
	text, err := io.ReadAll(io.LimitReader(g.Stdin, notify.MaxTarget+1))
	if err != nil {
		return "", fmt.Errorf("read the target: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// edgesText names edges.
func edgesText(edges []notify.Edge) string {
	words := make([]string, len(edges))
	for i, e := range edges {
		words[i] = string(e)
	}
	return strings.Join(words, ", ")
}
