package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Office is a team's server, to whoever works on its machine.
type Office struct {
	Desk     *launch.Desk
	Gate     *access.Gate
	Vault    *secret.Vault
	Keys     *secret.Keys
	Trail    *access.Trail
	Key      *access.Key
	Evidence access.Evidence
	Flags    *launch.Flags
	Events   interface {
		Events(ctx context.Context, f store.EventFilter) ([]record.Event, error)
	}
}

// maxSecret is the size of the largest value that is read from standard input.
const maxSecret = 1 << 20

// untilAsked ends the context at the first TERM or interrupt.
func untilAsked(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// me is the account on this machine.
func me() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "somebody"
}

const commandLine = "command line"

// Reach says where, besides public addresses, the server may connect to, and who its
// provider of OpenID Connect is.
type Reach struct {
	Private, Loopback bool
	Issuer            string
}

// office does something in the office.
func (g *global) office(ctx context.Context, do func(o *Office) error) error {
	return g.officeWith(ctx, Reach{Private: true, Loopback: true}, do)
}

func (g *global) officeWith(ctx context.Context, r Reach, do func(o *Office) error) error {
	tools, err := g.open(ctx)
	if err != nil {
		return err
	}
	o, err := tools.Office(r)
	if err == nil {
		err = do(o)
	}
	return errors.Join(err, tools.Close())
}

// verbs is a command that only has others below it.
func verbs(use, short, long string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: long}
	c.Args = func(c *cobra.Command, a []string) error {
		if len(a) == 0 {
			return nil
		}
		var names []string
		for _, sub := range c.Commands() {
			names = append(names, sub.Name())
		}
		hint := "`" + c.CommandPath() + " --help` lists the commands"
		if near := plan.Nearest(a[0], names); near != "" {
			hint = "did you mean `" + c.CommandPath() + " " + near + "`?"
		}
		return usage(hint, "there is no command `%s %s`", c.CommandPath(), a[0])
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	c.AddCommand(subs...)
	return c
}

// rows prints a list: as a table, or as JSON.
func (g *global) rows(list any, empty string, heads []string, cells [][]string) error {
	if g.json() {
		return writeJSON(g.Stdout, list)
	}
	if len(cells) == 0 {
		fmt.Fprintln(g.Stderr, empty)
		return nil
	}
	st := g.style(g.Stdout)
	table(g.Stdout, append([][]string{heads}, cells...), nil, st, columns(g.Stdout))
	return nil
}

// repoCommand is `fairlead repo`.
func (g *global) repoCommand() *cobra.Command {
	return verbs("repo", "The repositories that the server runs pipelines of",
		`The repositories that the server of this machine runs pipelines of. What is changed
here counts at once, also while the server runs.`,
		g.repoAddCommand(), g.repoListCommand(), g.repoRemoveCommand(), g.repoStartCommand())
}

func (g *global) repoAddCommand() *cobra.Command {
	var r launch.Repository
	var change bool
	c := &cobra.Command{
		Use:   "add NAME URL",
		Short: "Add a repository, or change its settings",
		Long: `Add a repository by the address that git fetches it from: https, ssh, or a path on
this machine. The code host then calls /hooks/NAME on the server, with a secret
that you set here and there:

  fairlead secret set '$HOOK' --repo NAME     what hooks are signed with
  fairlead secret set '$TOKEN' --repo NAME    to fetch, and to report results`,
		Example: `  fairlead repo add team/app https://github.com/team/app.git --forge github
  fairlead repo add tools /srv/git/tools.git --poll 1m`,
		Args: args("NAME", "URL"),
	}
	f := c.Flags()
	f.StringVar(&r.Forge, "forge", "", "what the code host is: github, gitlab, gitea, bitbucket, azure")
	f.StringVar(&r.API, "api", "", "`URL` of its API, when it is not the usual one")
	f.StringVar(&r.DefaultBranch, "default-branch", "", "the `branch` that counts (default: what the repository says)")
	f.DurationVar(&r.Poll, "poll", 0, "how `often` to look for changes; 0: hooks tell")
	f.IntVar(&r.Limit, "limit", 0, "runs at a time; 0: no limit of its own")
	f.IntVar(&r.Priority, "priority", 0, "greater goes first")
	f.StringArrayVar(&r.Protected, "protected", nil, "`pattern` of protected branches; may be repeated (default: the default branch and all tags)")
	f.StringVar(&r.Forks, "forks", "", "what is done with changes from forks: approve, run, never")
	f.BoolVar(&r.InsecureToken, "insecure-token", false, "send the token over http, too, where anybody on the way can read it")
	f.BoolVar(&r.Paused, "paused", false, "start nothing")
	f.BoolVar(&change, "change", false, "change a repository that is there")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		r.Name, r.URL = a[0], a[1]
		return g.office(cmd.Context(), func(o *Office) error {
			if err := o.Desk.SetRepository(cmd.Context(), launch.By{Name: me(), Via: commandLine}, r, !change); err != nil {
				return err
			}
			fmt.Fprintf(g.Stderr, "%s is there; its hook address is /hooks/%s\n", r.Name, r.Name)
			return nil
		})
	}
	return c
}

func (g *global) repoListCommand() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the repositories", Example: `  fairlead repo list`, Args: args()}
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.office(cmd.Context(), func(o *Office) error {
			list, err := o.Desk.Repositories(cmd.Context())
			if err != nil {
				return err
			}
			var cells [][]string
			for _, r := range list {
				tells := "hooks"
				if r.Poll > 0 {
					tells = "every " + r.Poll.String()
				}
				if r.Paused {
					tells = "paused"
				}
				cells = append(cells, []string{r.Name, r.Forge, tells, r.URL})
			}
			return g.rows(list, "there are no repositories yet: `fairlead repo add` adds one", []string{"name", "forge", "told by", "address"}, cells)
		})
	}
	return c
}

func (g *global) repoRemoveCommand() *cobra.Command {
	c := &cobra.Command{Use: "remove NAME", Short: "Remove a repository and its secrets; its runs stay", Example: `  fairlead repo remove team/app`, Args: args("NAME")}
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return g.office(cmd.Context(), func(o *Office) error {
			return o.Desk.RemoveRepository(cmd.Context(), launch.By{Name: me(), Via: commandLine}, a[0])
		})
	}
	return c
}

func (g *global) repoStartCommand() *cobra.Command {
	w := launch.Wish{Cause: "manual"}
	inputs := map[string]string{}
	var at site
	c := &cobra.Command{
		Use:   "start NAME [WORKFLOW]",
		Short: "Ask the server for a run",
		Long: `Ask the server for a run of a repository: of one workflow, or of all that
the event starts. The server of this machine has to be running; it does what is
asked when it does. With --server another one is asked, which says what it started.`,
		Example: `  fairlead repo start team/app release.yml --ref main --input version=2
  fairlead repo start team/app --event push`,
		Args: args("NAME", "[WORKFLOW]"),
	}
	f := c.Flags()
	f.StringVar(&w.Event, "event", "", "`event` that starts it (default workflow_dispatch)")
	f.StringVar(&w.Ref, "ref", "", "`branch`, tag or commit (default: the default branch)")
	f.IntVar(&w.Priority, "priority", 0, "greater goes first")
	f.StringToStringVar(&inputs, "input", nil, "`NAME=VALUE` of an input; may be repeated")
	at.flags(c)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		w.Repository, w.Inputs = a[0], inputs
		if len(a) > 1 {
			w.Workflow = a[1]
		}
		if at.url != "" {
			remote, err := at.dial(g)
			if err != nil {
				return err
			}
			return g.startThere(cmd.Context(), remote, w)
		}
		return g.office(cmd.Context(), func(o *Office) error {
			seq, err := o.Desk.Ask(cmd.Context(), launch.By{Name: me(), Via: commandLine}, w)
			if err != nil {
				return err
			}
			fmt.Fprintf(g.Stdout, "%d\n", seq)
			fmt.Fprintf(g.Stderr, "asked for; it is request %d\n", seq)
			return nil
		})
	}
	return c
}

// approveCommand is `fairlead approve`.
func (g *global) approveCommand() *cobra.Command {
	var at site
	c := &cobra.Command{
		Use:   "approve RUN",
		Short: "Let a run start that waits for it",
		Long: `Let a run start that waits for a maintainer: one of a change from a fork. Its own
pipeline files count, and it is given the secrets that they name: read the change
before you approve it.`,
		Example: `  fairlead approve 4711
  fairlead approve 4711 --server https://ci.example.org`, Args: args("RUN"),
	}
	at.flags(c)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		if at.url != "" {
			remote, err := at.dial(g)
			if err != nil {
				return err
			}
			return remote.Approve(cmd.Context(), a[0])
		}
		return g.office(cmd.Context(), func(o *Office) error {
			return o.Desk.Approve(cmd.Context(), launch.By{Name: me(), Via: commandLine}, a[0])
		})
	}
	return c
}

// secretCommand is `fairlead secret`.
func (g *global) secretCommand() *cobra.Command {
	var scope secret.Scope
	flags := func(c *cobra.Command) *cobra.Command {
		c.Flags().StringVar(&scope.Repository, "repo", "", "only for this `repository` (default: for all)")
		c.Flags().StringVar(&scope.Environment, "environment", "", "only for jobs of this `environment`")
		return c
	}
	by := func() secret.By { return secret.By{Name: me(), Via: commandLine} }

	var file, environment string
	var command bool
	set := &cobra.Command{
		Use:   "set NAME",
		Short: "Keep a secret, sealed",
		Long: `Keep a secret: its value is read from standard input, sealed, and given only to jobs
that name it. Or say where the server finds it each time that it is needed: in a
file, in a variable of its environment, or in what a command prints.`,
		Example: `  fairlead secret set NPM_TOKEN --repo team/app < token.txt
  fairlead secret set KEY --from-file /run/secrets/key
  fairlead secret set PASSWORD --command -- vault kv get -field=password ci/db`,
		Args: func(c *cobra.Command, a []string) error {
			if command && len(a) >= 2 {
				return nil
			}
			return args("NAME")(c, a)
		},
	}
	set.Flags().StringVar(&file, "from-file", "", "the server reads it from this `file`")
	set.Flags().StringVar(&environment, "from-environment", "", "the server reads it from this `variable` of its environment")
	set.Flags().BoolVar(&command, "command", false, "the server runs the command after -- and takes what it prints")
	set.RunE = func(cmd *cobra.Command, a []string) error {
		return g.office(cmd.Context(), func(o *Office) error {
			switch {
			case file != "":
				return o.Vault.SetSource(cmd.Context(), by(), scope, a[0], "file", file)
			case environment != "":
				return o.Vault.SetSource(cmd.Context(), by(), scope, a[0], "environment", environment)
			case command:
				return o.Vault.SetSource(cmd.Context(), by(), scope, a[0], "command", a[1:]...)
			}
			if _, tty := terminal(g.Stdin); tty {
				return usage("`fairlead secret set "+a[0]+" < FILE`, or a pipe", "the value is read from standard input, which is a terminal that would show it")
			}
			value, err := io.ReadAll(io.LimitReader(g.Stdin, maxSecret))
			if err != nil {
				return fmt.Errorf("read the value: %w", err)
			}
			return o.Vault.Set(cmd.Context(), by(), scope, a[0], []byte(strings.TrimRight(string(value), "\r\n")))
		})
	}
	list := &cobra.Command{Use: "list", Short: "List the names of secrets", Example: `  fairlead secret list --repo team/app`, Args: args()}
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.office(cmd.Context(), func(o *Office) error {
			all, err := o.Vault.List(cmd.Context(), scope.Repository)
			if err != nil {
				return err
			}
			var cells [][]string
			for _, n := range all {
				cells = append(cells, []string{n.Name, n.Scope.String(), n.Source, n.By, time.Unix(n.Changed, 0).Format(time.DateOnly)})
			}
			return g.rows(all, "there are none", []string{"name", "for", "kept", "set by", "on"}, cells)
		})
	}
	remove := &cobra.Command{Use: "remove NAME", Short: "Remove a secret", Example: `  fairlead secret remove NPM_TOKEN --repo team/app`, Args: args("NAME")}
	remove.RunE = func(cmd *cobra.Command, a []string) error {
		return g.office(cmd.Context(), func(o *Office) error { return o.Vault.Remove(cmd.Context(), by(), scope, a[0]) })
	}
	rotate := &cobra.Command{
		Use: "rotate", Short: "Make a new key and seal all secrets with it",
		Long: `Make a new key and seal all secrets with it. The old keys stay in the file, for
copies of the database that were made before; remove them when there are none.`,
		Example: `  fairlead secret rotate`, Args: args(),
	}
	rotate.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.office(cmd.Context(), func(o *Office) error {
			if err := o.Keys.Rotate(); err != nil {
				return err
			}
			n, err := o.Vault.Reseal(cmd.Context(), by())
			if err == nil {
				fmt.Fprintf(g.Stderr, "a new key; %d secrets are sealed with it\n", n)
			}
			return err
		})
	}
	return verbs("secret", "The secrets that the server gives to jobs",
		`The secrets that the server gives to jobs that name them. Values go in and come out
for jobs alone: nobody can read one back. They are sealed with a key that lies in
the data directory, in keys/secrets.age; keep no copy of it beside one of the
database.`,
		flags(set), flags(list), flags(remove), rotate)
}

// grantsOf reads grants: ROLE, or ROLE@REPOSITORY.
func grantsOf(words []string) ([]access.Grant, error) {
	var grants []access.Grant
	for _, word := range words {
		role, repository, _ := strings.Cut(word, "@")
		if !slices.Contains(access.Roles(), access.Role(role)) {
			return nil, usage("it is like developer, or maintainer@team/app; roles are "+fmt.Sprint(access.Roles()), "there is no role %q", role)
		}
		grants = append(grants, access.Grant{Role: access.Role(role), Repository: repository})
	}
	return grants, nil
}

// shownGrants are grants as one writes them.
func shownGrants(grants []access.Grant) string {
	words := make([]string, len(grants))
	for i, gr := range grants {
		words[i] = string(gr.Role)
		if gr.Repository != "" {
			words[i] += "@" + gr.Repository
		}
	}
	return strings.Join(words, " ")
}

// tokenCommand is `fairlead token`.
func (g *global) tokenCommand() *cobra.Command {
	var spec access.TokenSpec
	var grants []string
	create := &cobra.Command{
		Use: "create NAME", Short: "Make a token for a program",
		Long: `Make a token for a program that uses the API. It is shown once, here. What it may do is
what its owner may, or less.`,
		Example: `  fairlead token create deploys --owner ada --expires 2160h
  fairlead token create board --owner ada --grant viewer@team/app
  fairlead token create builders --worker`,
		Args: args("NAME"),
	}
	create.Flags().StringVar(&spec.Owner, "owner", "", "the `account` whose rights it has")
	create.Flags().BoolVar(&spec.Worker, "worker", false, "it is for fairlead worker, and for nothing else")
	create.Flags().DurationVar(&spec.Expires, "expires", 0, "how `long` it is good; 0: until it is revoked")
	create.Flags().StringArrayVar(&grants, "grant", nil, "no more than this `ROLE[@REPOSITORY]`; may be repeated")
	create.RunE = func(cmd *cobra.Command, a []string) (err error) {
		if spec.Name = a[0]; spec.Owner == "" && !spec.Worker {
			return usage("`fairlead account list` lists them", "a token needs --owner, the account whose rights it has")
		}
		if spec.Grants, err = grantsOf(grants); err != nil {
			return err
		}
		return g.office(cmd.Context(), func(o *Office) error {
			plain, _, err := o.Gate.IssueToken(cmd.Context(), access.Local(me()), spec)
			if err == nil {
				fmt.Fprintln(g.Stdout, plain)
			}
			return err
		})
	}
	list := &cobra.Command{Use: "list", Short: "List the tokens", Example: `  fairlead token list`, Args: args()}
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.office(cmd.Context(), func(o *Office) error {
			all, err := o.Gate.Tokens(cmd.Context(), access.Local(me()))
			if err != nil {
				return err
			}
			var cells [][]string
			for _, t := range all {
				expires := "never"
				if !t.Expires.IsZero() {
					expires = t.Expires.Format(time.DateOnly)
				}
				cells = append(cells, []string{t.ID, t.Name, t.Owner, shownGrants(t.Grants), expires})
			}
			return g.rows(all, "there are none", []string{"id", "name", "owner", "at most", "expires"}, cells)
		})
	}
	revoke := &cobra.Command{Use: "revoke ID", Short: "End a token", Example: `  fairlead token revoke 4f2a`, Args: args("ID")}
	revoke.RunE = func(cmd *cobra.Command, a []string) error {
		return g.office(cmd.Context(), func(o *Office) error {
			return o.Gate.RevokeToken(cmd.Context(), access.Local(me()), a[0])
		})
	}
	return verbs("token", "Tokens of programs that use the server", "Tokens of programs that use the server's API.", create, list, revoke)
}

// accountCommand is `fairlead account`.
func (g *global) accountCommand() *cobra.Command {
	var grants []string
	invite := &cobra.Command{
		Use: "invite NAME", Short: "Make a link by which somebody gets an account",
		Long: `Make the secret of a link by which somebody gets an account, or, without --grant,
by which somebody who has one sets a new password. The page is /join on the server.`,
		Example: `  fairlead account invite ada --grant maintainer@team/app --grant viewer`, Args: args("NAME"),
	}
	invite.Flags().StringArrayVar(&grants, "grant", nil, "`ROLE[@REPOSITORY]`: viewer, developer, maintainer, admin; may be repeated")
	invite.RunE = func(cmd *cobra.Command, a []string) error {
		list, err := grantsOf(grants)
		if err != nil {
			return err
		}
		return g.office(cmd.Context(), func(o *Office) error {
			secret, err := o.Gate.Invite(cmd.Context(), access.Local(me()), a[0], list)
			if err == nil {
				fmt.Fprintf(g.Stdout, "/join#%s\n", secret)
			}
			return err
		})
	}
	list := &cobra.Command{Use: "list", Short: "List the accounts", Example: `  fairlead account list`, Args: args()}
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.office(cmd.Context(), func(o *Office) error {
			all, err := o.Gate.Accounts(cmd.Context())
			if err != nil {
				return err
			}
			var cells [][]string
			for _, a := range all {
				seen := "never"
				if !a.Seen.IsZero() {
					seen = a.Seen.Format(time.DateOnly)
				}
				if a.Disabled {
					seen = "disabled"
				}
				cells = append(cells, []string{a.Name, shownGrants(a.All()), seen, a.Full})
			}
			return g.rows(all, "there are none: the link that `fairlead serve` prints makes the first", []string{"name", "may", "seen", ""}, cells)
		})
	}
	remove := &cobra.Command{Use: "remove NAME", Short: "Remove an account, its sessions and its tokens", Example: `  fairlead account remove ada`, Args: args("NAME")}
	remove.RunE = func(cmd *cobra.Command, a []string) error {
		return g.office(cmd.Context(), func(o *Office) error {
			return o.Gate.RemoveAccount(cmd.Context(), access.Local(me()), a[0])
		})
	}
	link := &cobra.Command{
		Use: "link NAME [SUBJECT]", Short: "Say who an account is at the OpenID Connect provider",
		Long: `Say who an account is at the OpenID Connect provider, so that they may come in either
way. SUBJECT is what "fairlead account list --output json" shows of the account that was
made when they signed in from there; that account has it no more. Without one the account
is nobody there. It is never found by name or mail address: those anybody can choose.`,
		Example: `  fairlead account link ada 'https://id.example.org 4711' --oidc-issuer https://id.example.org`,
		Args:    args("NAME", "[SUBJECT]"),
	}
	var issuer string
	link.Flags().StringVar(&issuer, "oidc-issuer", "", "`URL` of the provider, as the server is told")
	link.RunE = func(cmd *cobra.Command, a []string) error {
		subject := ""
		if len(a) > 1 {
			if subject = a[1]; issuer == "" {
				return usage("it is what `fairlead serve` is given", "a link needs --oidc-issuer")
			}
		}
		return g.officeWith(cmd.Context(), Reach{Private: true, Loopback: true, Issuer: issuer}, func(o *Office) error {
			return o.Gate.Link(cmd.Context(), access.Local(me()), a[0], subject)
		})
	}
	return verbs("account", "Who may sign in to the server", "Who may sign in to the server, and what they may do there.", invite, list, remove, link)
}

// auditCommand is `fairlead audit`.
func (g *global) auditCommand() *cobra.Command {
	var checkpoint, key string
	verify := &cobra.Command{
		Use: "verify", Short: "Prove that no act was removed or altered",
		Long: `Prove that nothing was removed from the audit trail or altered in it, up to a checkpoint:
a small signed text that you kept elsewhere. Without one the newest that this
machine remembers is taken. No server is needed; a copy of the data directory will do.`,
		Example: `  fairlead audit verify
  fairlead audit verify --data /backup --checkpoint 2026-11.note --key audit.pub`, Args: args(),
	}
	verify.Flags().StringVar(&checkpoint, "checkpoint", "", "`file` with a checkpoint")
	verify.Flags().StringVar(&key, "key", "", "`file` with the public key (default: that of the data directory)")
	verify.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.office(cmd.Context(), func(o *Office) (err error) {
			ev := o.Evidence
			if checkpoint != "" {
				if ev.Checkpoint, err = os.ReadFile(checkpoint); err != nil {
					return fmt.Errorf("read the checkpoint: %w", err)
				}
			} else if ev.Checkpoint, err = o.Key.Last(); err != nil {
				return err
			}
			if key != "" {
				text, err := os.ReadFile(key)
				if err != nil {
					return fmt.Errorf("read the key: %w", err)
				}
				ev.Keys = string(text)
			}
			v, err := access.Verify(cmd.Context(), ev)
			var bad *access.TamperedError
			switch {
			case errors.As(err, &bad):
				fmt.Fprintf(g.Stderr, "fairlead: %v\n", bad)
				return exit(ExitFailed)
			case errors.Is(err, access.ErrNoCheckpoint):
				return usage("`fairlead audit checkpoint` makes one", "%v", err)
			case err != nil:
				return err
			}
			if g.json() {
				return writeJSON(g.Stdout, v)
			}
			fmt.Fprintf(g.Stdout, "nothing was removed or altered: %d acts, %d of them after the checkpoint\n", v.Acts, v.Later)
			if v.Own {
				fmt.Fprintln(g.Stdout, "the checkpoint was the database's own: that all of it is an older copy cannot be ruled out")
			}
			return nil
		})
	}
	sign := &cobra.Command{
		Use: "checkpoint", Short: "Sign what the audit trail holds now",
		Long:    "Sign what the audit trail holds now. Keep what is printed somewhere else: it proves later that nothing before it was altered.",
		Example: `  fairlead audit checkpoint > 2026-11.note`, Args: args(),
	}
	sign.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.office(cmd.Context(), func(o *Office) error {
			if _, err := o.Trail.Advance(cmd.Context()); err != nil {
				return err
			}
			text, err := o.Trail.Checkpoint(cmd.Context())
			if err == nil {
				_, err = g.Stdout.Write(text)
			}
			return err
		})
	}
	limit := 50
	log := &cobra.Command{Use: "log", Short: "Show who did what", Example: `  fairlead audit log -n 200`, Args: args()}
	log.Flags().IntVarP(&limit, "number", "n", limit, "the last so `many`")
	log.RunE = func(cmd *cobra.Command, _ []string) error {
		return g.office(cmd.Context(), func(o *Office) error {
			events, err := o.Events.Events(cmd.Context(), store.EventFilter{Kinds: access.Audited(), Limit: limit})
			if err != nil {
				return err
			}
			var list []access.Entry
			var cells [][]string
			var telling access.Telling
			for _, e := range events {
				entry, ok := telling.Entry(e)
				if !ok {
					continue
				}
				list = append(list, entry)
				what := entry.Object
				if len(entry.Detail) > 0 {
					detail, _ := json.Marshal(entry.Detail)
					what += " " + string(detail)
				}
				if entry.Denied != "" {
					what += "  DENIED: " + entry.Denied
				}
				cells = append(cells, []string{entry.Time.Local().Format(time.DateTime), entry.By, entry.Via, entry.Verb, what})
			}
			return g.rows(list, "nothing yet", []string{"when", "who", "by", "did", "to"}, cells)
		})
	}
	return verbs("audit", "Who did what, and the proof of it",
		`Who did what on the server, and the proof that it was not altered afterwards: acts are
leaves of a Merkle tree, and a checkpoint of it that you keep elsewhere tells.`, verify, sign, log)
}
