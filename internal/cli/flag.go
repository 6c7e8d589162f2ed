package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/feature"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Flags are the feature flags of a server: another one's, or that of this machine.
type Flags interface {
	ListFlags(ctx context.Context, repository, environment string) ([]launch.KeptFlag, error)
	SetFlag(ctx context.Context, repository, environment string, f feature.Flag, why string) error
	RemoveFlag(ctx context.Context, ref launch.FlagRef, why string) error
	KillFlag(ctx context.Context, ref launch.FlagRef, why string) error
	ReviveFlag(ctx context.Context, ref launch.FlagRef, why string) error
	ShareFlag(ctx context.Context, ref launch.FlagRef, variant string, percent float64, why string) error
	// ImportFlags returns how many flags are different then.
	ImportFlags(ctx context.Context, repository, environment string, d *feature.Definitions, prune bool, why string) (int, error)
	FlagHistory(ctx context.Context, ref launch.FlagRef) ([]FlagPast, error)
}

// FlagPast is a change of a flag that was made.
type FlagPast struct {
	Time time.Time `json:"time"`
	By   string    `json:"by"`
	What string    `json:"what"`
	Why  string    `json:"why"`
}

// ownFlags are those of the server of this machine.
type ownFlags struct {
	*launch.Flags
	by launch.By
}

func (o ownFlags) ListFlags(ctx context.Context, repository, environment string) ([]launch.KeptFlag, error) {
	return o.List(ctx, repository, environment)
}

func (o ownFlags) SetFlag(ctx context.Context, repository, environment string, f feature.Flag, why string) error {
	return o.Set(ctx, o.by, repository, environment, f, why)
}

func (o ownFlags) RemoveFlag(ctx context.Context, ref launch.FlagRef, why string) error {
	return o.Remove(ctx, o.by, ref, why)
}

func (o ownFlags) KillFlag(ctx context.Context, ref launch.FlagRef, why string) error {
	return o.Kill(ctx, o.by, ref, why)
}

func (o ownFlags) ReviveFlag(ctx context.Context, ref launch.FlagRef, why string) error {
	return o.Revive(ctx, o.by, ref, why)
}

func (o ownFlags) ShareFlag(ctx context.Context, ref launch.FlagRef, variant string, percent float64, why string) error {
	return o.Share(ctx, o.by, ref, variant, percent, why)
}

func (o ownFlags) ImportFlags(ctx context.Context, repository, environment string, d *feature.Definitions, prune bool, why string) (int, error) {
	return o.Import(ctx, o.by, repository, environment, d, prune, why)
}

func (o ownFlags) FlagHistory(ctx context.Context, ref launch.FlagRef) ([]FlagPast, error) {
	changes, err := o.History(ctx, ref, shownPast)
	past := make([]FlagPast, len(changes))
	for i := range changes {
		past[i] = FlagPast{changes[i].Time, changes[i].By, changes[i].Summary(), changes[i].Why}
	}
	return past, err
}

// shownPast is how many changes of a flag are shown.
const shownPast = 100

// flagSite are the options that say whose feature flags a verb is about.
type flagSite struct {
	site
	dir, file, environment string
	why                    string
}

// flagCommand is `fairlead flag`.
func (g *global) flagCommand() *cobra.Command {
	return verbs("flag", "Feature flags: who gets what, and why",
		`Feature flags of a repository, environment by environment.

Without --repo they are those of the files in the working tree, which fairlead.yaml names
(section flags; by default flags.json). With --repo they are those of a server: of this
machine, or with --server of another one. A change needs a reason (--why), and is in the
history at once.`,
		g.flagListCommand(), g.flagShowCommand(), g.flagEvalCommand(), g.flagSetCommand(), g.flagShareCommand(), g.flagKillCommand(), g.flagReviveCommand(), g.flagRemoveCommand(),
		g.flagImportCommand(), g.flagExportCommand(), g.flagHistoryCommand(), g.flagStaleCommand())
}

// bind gives a verb the options: change says that it changes flags of a server.
func (at *flagSite) bind(c *cobra.Command, change bool) {
	at.flags(c)
	f := c.Flags()
	if change {
		f.StringVar(&at.repo, "repo", "", "`repository`, as the server calls it")
		f.StringVar(&at.why, "why", "", "`reason`, for the history")
		_, _ = c.MarkFlagRequired("repo"), c.MarkFlagRequired("why")
	} else {
		f.StringVar(&at.repo, "repo", "", "`repository`, as the server calls it; without it, the files of the working tree")
		f.StringVarP(&at.dir, "dir", "C", ".", "`directory` of the repository")
		f.StringVar(&at.file, "file", "", "this `file` of definitions, instead of those that fairlead.yaml names")
	}
	f.StringVar(&at.environment, "env", "", "`environment`, such as production")
}

// there does something with the flags of a server.
func (at *flagSite) there(ctx context.Context, g *global, do func(f Flags) error) error {
	if at.environment == "" {
		return usage("name one with --env, such as production", "flags of a server belong to an environment")
	}
	if at.url != "" {
		remote, err := at.dial(g)
		if err != nil {
			return err
		}
		return do(remote)
	}
	return g.office(ctx, func(o *Office) error { return do(ownFlags{o.Flags, launch.By{Name: me(), Via: commandLine}}) })
}

// read gives the flags that a verb looks at.
func (at *flagSite) read(ctx context.Context, g *global) (list []launch.KeptFlag, err error) {
	if at.repo != "" || at.url != "" {
		err = at.there(ctx, g, func(f Flags) (err error) {
			list, err = f.ListFlags(ctx, at.repo, at.environment)
			return err
		})
		return list, err
	}
	var d *feature.Definitions
	var problems []plan.Problem
	if at.file != "" {
		if d, problems, err = readDefinitions(g, at.file, ""); err != nil {
			return nil, err
		}
		_, more := feature.Compile(d)
		problems = append(problems, more...)
	} else {
		tree, err := workspace.Open(ctx, at.dir)
		if err != nil {
			return nil, err
		}
		defer tree.Close()
		file, found, err := project.Read(tree.FS())
		if err != nil {
			return nil, err
		}
		d, problems = launch.ReadFlags(tree.FS(), file.Flags, at.environment)
		problems = append(found, problems...)
	}
	if err := g.refuse(problems); err != nil {
		return nil, err
	}
	for _, f := range d.Flags {
		f.Metadata = launch.OverMetadata(d.Metadata, f.Metadata)
		list = append(list, launch.KeptFlag{Flag: f})
	}
	return list, nil
}

// refuse tells of problems, and ends the verb when there are errors among them.
func (g *global) refuse(problems []plan.Problem) error {
	st := g.style(g.Stderr)
	for _, p := range problems {
		writeProblem(g.Stderr, p, st, columns(g.Stderr))
	}
	if plan.Errors(problems) {
		return exit(ExitInvalid)
	}
	return nil
}

// readInput reads a file that a person names; "-" is standard input.
func (g *global) readInput(name string) (src []byte, err error) {
	if name == "-" {
		src, err = io.ReadAll(io.LimitReader(g.Stdin, feature.MaxFile+1))
	} else {
		src, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, usage("", "the definitions cannot be read: %v", err)
	}
	return src, nil
}

// readDefinitions reads a file of flagd's format or an answer of Unleash's API.
func readDefinitions(g *global, name, format string) (*feature.Definitions, []plan.Problem, error) {
	src, err := g.readInput(name)
	if err != nil {
		return nil, nil, err
	}
	if format == "unleash" || format == "" && looksLikeUnleash(src) {
		d, problems := feature.ReadUnleash(name, src)
		if d == nil {
			d = &feature.Definitions{}
		}
		return d, problems, nil
	}
	d, problems := feature.Read(filepath.Base(name), src)
	return d, problems, nil
}

// looksLikeUnleash tells an answer of Unleash's API from a file of flagd's.
func looksLikeUnleash(src []byte) bool {
	var head struct {
		Features []json.RawMessage `json:"features"`
		Flags    json.RawMessage   `json:"flags"`
	}
	return json.Unmarshal(src, &head) == nil && head.Flags == nil && head.Features != nil
}

func definitionsOf(list []launch.KeptFlag) *feature.Definitions {
	d := &feature.Definitions{}
	for _, k := range list {
		d.Flags = append(d.Flags, k.Flag)
	}
	return d
}

func findFlag(list []launch.KeptFlag, key string) (*launch.KeptFlag, error) {
	keys := make([]string, len(list))
	for i := range list {
		if keys[i] = list[i].Key; keys[i] == key {
			return &list[i], nil
		}
	}
	hint := "`fairlead flag list` shows those there are"
	if near := plan.Nearest(key, keys); near != "" {
		hint = "did you mean " + near + "?"
	}
	return nil, usage(hint, "there is no flag %s", key)
}

// FlagShown is a flag in JSON.
type FlagShown struct {
	Key        string             `json:"key"`
	State      string             `json:"state"`
	Words      []feature.Sentence `json:"words,omitempty"`
	Definition feature.Flag       `json:"definition"`
	Changed    time.Time          `json:"changed,omitzero"`
	By         string             `json:"by,omitempty"`
	Why        string             `json:"why,omitempty"`
}

func flagShown(k *launch.KeptFlag) FlagShown {
	return FlagShown{Key: k.Key, State: k.Standing(time.Now()), Definition: k.Flag, Changed: k.Changed, By: k.By, Why: k.Why}
}

func (g *global) flagListCommand() *cobra.Command {
	var at flagSite
	c := &cobra.Command{Use: "list", Short: "List feature flags", Args: args(),
		Example: "  fairlead flag list\n  fairlead flag list --env production --repo team/app --server https://ci.example.org"}
	at.bind(c, false)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		list, err := at.read(cmd.Context(), g)
		if err != nil {
			return err
		}
		all := make([]FlagShown, len(list))
		var cells [][]string
		for i := range list {
			k := &list[i]
			all[i] = flagShown(k)
			var shares []string
			for _, s := range k.Shares() {
				shares = append(shares, fmt.Sprintf("%g %% %s", s.Percent, s.Variant))
			}
			cells = append(cells, []string{k.Key, all[i].State, cmp.Or(k.Default, "-"), cmp.Or(strings.Join(shares, ", "), "-"), cmp.Or(k.Care.Owner, "-")})
		}
		return g.rows(all, "there are no flags: write flags.json, or take some over with `fairlead flag import`", []string{"flag", "stands", "default", "shares", "owner"}, cells)
	}
	return c
}

func (g *global) flagShowCommand() *cobra.Command {
	var at flagSite
	c := &cobra.Command{Use: "show FLAG", Short: "Say who gets what of a flag, in words", Args: args("FLAG"), Example: "  fairlead flag show new-checkout --env production"}
	at.bind(c, false)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		list, err := at.read(cmd.Context(), g)
		if err != nil {
			return err
		}
		k, err := findFlag(list, a[0])
		if err != nil {
			return err
		}
		s := flagShown(k)
		s.Words = k.Words()
		if g.json() {
			return writeJSON(g.Stdout, s)
		}
		fmt.Fprintf(g.Stdout, "%s  %s\n", shown(k.Key), s.State)
		if k.Care.Description != "" {
			fmt.Fprintf(g.Stdout, "  %s\n", shown(k.Care.Description))
		}
		for _, w := range s.Words {
			fmt.Fprintf(g.Stdout, "  %s: %s\n", shown(w.Who), shown(w.Gets))
		}
		for _, v := range k.Variants {
			fmt.Fprintf(g.Stdout, "  %s = %s\n", shown(v.Name), shown(string(v.Value)))
		}
		return nil
	}
	return c
}

func (g *global) flagEvalCommand() *cobra.Command {
	var at flagSite
	var attributes []string
	var who, when string
	c := &cobra.Command{
		Use: "eval FLAG", Short: "Say what a flag is for somebody", Args: args("FLAG"),
		Long: `Say what a flag is for somebody whom attributes describe, and why. An attribute is
KEY=VALUE; a value that is JSON (a number, true, a list) counts as such, anything else is
a text. The attribute targetingKey says who it is, and decides on shares.`,
		Example: "  fairlead flag eval new-checkout --attribute targetingKey=user-7 --attribute country=DE\n  fairlead flag eval limits --context '{\"orders\": 7}' --output json",
	}
	at.bind(c, false)
	c.Flags().StringArrayVarP(&attributes, "attribute", "a", nil, "`KEY=VALUE` of who asks; may be repeated")
	c.Flags().StringVar(&who, "context", "", "who asks, as a `JSON` object")
	c.Flags().StringVar(&when, "at", "", "at this `time`, such as 2026-12-24T08:00:00Z (default: now)")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		attribute, now, err := asker(who, attributes, when)
		if err != nil {
			return err
		}
		list, err := at.read(cmd.Context(), g)
		if err != nil {
			return err
		}
		if _, err := findFlag(list, a[0]); err != nil {
			return err
		}
		set, _ := feature.Compile(definitionsOf(list))
		e := set.Evaluate(a[0], attribute, now)
		return g.showEvaluation(&e)
	}
	return c
}

// asker is who asks, and when.
func asker(context string, attributes []string, when string) (who map[string]any, now time.Time, err error) {
	who, now = map[string]any{}, time.Now()
	if context != "" {
		if err := json.Unmarshal([]byte(context), &who); err != nil || who == nil {
			return nil, now, usage(`it is like '{"country": "DE"}'`, "--context is no JSON object")
		}
	}
	for _, text := range attributes {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, now, usage("it is like country=DE", "--attribute %q is no KEY=VALUE", text)
		}
		var v any
		if json.Unmarshal([]byte(value), &v) != nil {
			v = value
		}
		who[key] = v
	}
	if when != "" {
		if now, err = time.Parse(time.RFC3339, when); err != nil {
			return nil, now, usage("it is like 2026-12-24T08:00:00Z", "--at %q is no time", when)
		}
	}
	return who, now, nil
}

func (g *global) showEvaluation(e *feature.Evaluation) error {
	if g.json() {
		var out bytes.Buffer
		if err := json.Indent(&out, e.AppendJSON(nil), "", "  "); err != nil {
			return err
		}
		fmt.Fprintln(g.Stdout, out.String())
	} else {
		value := "no value: the program's own default counts"
		if e.JSON != nil {
			value = string(e.JSON)
		}
		fmt.Fprintf(g.Stdout, "%s\n", shown(value))
		said := string(e.Reason)
		if e.Variant != "" {
			said = "variant " + e.Variant + ", " + said
		}
		if e.Details != "" {
			said += ": " + e.Details
		}
		fmt.Fprintf(g.Stderr, "%s\n", shown(said))
	}
	if e.Code != "" {
		return exit(ExitInvalid)
	}
	return nil
}

func (g *global) flagSetCommand() *cobra.Command {
	var at flagSite
	var file string
	c := &cobra.Command{
		Use: "set FLAG", Short: "Say what a flag is from now on", Args: args("FLAG"),
		Long: `Say what a flag is from now on: the definition comes from a file, or with --file - from
standard input, as one flag stands in a file of definitions.`,
		Example: "  fairlead flag set new-checkout --repo team/app --env staging --file checkout.json --why \"the rollout begins\"",
	}
	at.bind(c, true)
	c.Flags().StringVar(&file, "file", "", "`file` with the definition of the flag")
	_ = c.MarkFlagRequired("file")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		src, err := g.readInput(file)
		if err != nil {
			return err
		}
		flag, problems := feature.ReadFlag(filepath.Base(file), a[0], src)
		if err := g.refuse(problems); err != nil {
			return err
		}
		return at.there(cmd.Context(), g, func(f Flags) error {
			err := f.SetFlag(cmd.Context(), at.repo, at.environment, flag, at.why)
			return g.flagDone(err, a[0], "set", &at)
		})
	}
	return c
}

// flagDone says what became of a flag, if it did.
func (g *global) flagDone(err error, key, what string, at *flagSite) error {
	if err == nil {
		fmt.Fprintf(g.Stderr, "%s is %s in %s\n", shown(key), what, shown(at.environment))
	}
	return err
}

// flagActCommand is a verb that does one thing to one flag.
func (g *global) flagActCommand(use, short, example, done string, do func(ctx context.Context, f Flags, ref launch.FlagRef, why string) error) *cobra.Command {
	var at flagSite
	c := &cobra.Command{Use: use + " FLAG", Short: short, Args: args("FLAG"), Example: example}
	at.bind(c, true)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		return at.there(cmd.Context(), g, func(f Flags) error {
			err := do(cmd.Context(), f, launch.FlagRef{Repository: at.repo, Environment: at.environment, Flag: a[0]}, at.why)
			return g.flagDone(err, a[0], done, &at)
		})
	}
	return c
}

func (g *global) flagKillCommand() *cobra.Command {
	return g.flagActCommand("kill", "Turn a flag off for everybody, at once", "  fairlead flag kill new-checkout --repo team/app --env production --why INC-7", "killed",
		func(ctx context.Context, f Flags, ref launch.FlagRef, why string) error {
			return f.KillFlag(ctx, ref, why)
		})
}

func (g *global) flagReviveCommand() *cobra.Command {
	return g.flagActCommand("revive", "Take back the kill switch of a flag", "  fairlead flag revive new-checkout --repo team/app --env production --why \"INC-7 is resolved\"", "revived",
		func(ctx context.Context, f Flags, ref launch.FlagRef, why string) error {
			return f.ReviveFlag(ctx, ref, why)
		})
}

func (g *global) flagRemoveCommand() *cobra.Command {
	return g.flagActCommand("remove", "Remove a flag", "  fairlead flag remove old-banner --repo team/app --env staging --why \"no code asks for it\"", "removed",
		func(ctx context.Context, f Flags, ref launch.FlagRef, why string) error {
			return f.RemoveFlag(ctx, ref, why)
		})
}

func (g *global) flagShareCommand() *cobra.Command {
	var at flagSite
	c := &cobra.Command{
		Use: "share FLAG VARIANT PERCENT", Short: "Set the share of the users that a variant has", Args: args("FLAG", "VARIANT", "PERCENT"),
		Long: `Set the share of the users that a variant has, of those for whom no rule decides. A share
that grows keeps whom it had.`,
		Example: "  fairlead flag share new-checkout on 12.5 --repo team/app --env production --why \"yesterday was quiet\"",
	}
	at.bind(c, true)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		percent, err := strconv.ParseFloat(strings.TrimSuffix(a[2], "%"), 64)
		if err != nil {
			return usage("it is a number from 0 to 100", "%q is no share", a[2])
		}
		return at.there(cmd.Context(), g, func(f Flags) error {
			err := f.ShareFlag(cmd.Context(), launch.FlagRef{Repository: at.repo, Environment: at.environment, Flag: a[0]}, a[1], percent, at.why)
			return g.flagDone(err, a[0], fmt.Sprintf("%s for %g %%", a[1], percent), &at)
		})
	}
	return c
}

func (g *global) flagImportCommand() *cobra.Command {
	var at flagSite
	var format string
	var prune bool
	c := &cobra.Command{
		Use: "import FILE", Short: "Take over a file of definitions", Args: args("FILE"),
		Long: `Take over all flags of a file, in one transaction: a file in flagd's format (JSON or YAML),
or what Unleash's API answers its clients (/api/client/features), which is recognised.
Flags of Unleash keep its strategies and its hashing: nobody changes sides.`,
		Example: "  fairlead flag import flags.json --repo team/app --env production --why \"from the repository\"",
	}
	at.bind(c, true)
	c.Flags().StringVar(&format, "format", "", "flagd or unleash (default: what it looks like)")
	c.Flags().BoolVar(&prune, "prune", false, "remove flags that the file does not have")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		if format != "" {
			if err := oneOf("format", format, "flagd", "unleash"); err != nil {
				return err
			}
		}
		d, problems, err := readDefinitions(g, a[0], format)
		if err != nil {
			return err
		}
		if err := g.refuse(problems); err != nil {
			return err
		}
		return at.there(cmd.Context(), g, func(f Flags) error {
			n, err := f.ImportFlags(cmd.Context(), at.repo, at.environment, d, prune, at.why)
			if err == nil {
				fmt.Fprintf(g.Stderr, "%s changed in %s\n", plural(n, "flag"), shown(at.environment))
			}
			return err
		})
	}
	return c
}

func (g *global) flagExportCommand() *cobra.Command {
	var at flagSite
	var format string
	c := &cobra.Command{
		Use: "export", Short: "Write flags as a file of definitions", Args: args(),
		Long: `Write flags to standard output: as a file of definitions that import reads (fairlead), in
flagd's own words alone (flagd: a share becomes part of the rule, a killed flag is disabled),
or as Unleash's API answers its clients (unleash).`,
		Example: "  fairlead flag export --repo team/app --env production > flags/production.json\n  fairlead flag export --format flagd",
	}
	at.bind(c, false)
	c.Flags().StringVar(&format, "format", "fairlead", "fairlead, flagd or unleash")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := oneOf("format", format, "fairlead", "flagd", "unleash"); err != nil {
			return err
		}
		list, err := at.read(cmd.Context(), g)
		if err != nil {
			return err
		}
		d := definitionsOf(list)
		body := feature.Write(d, format == "flagd")
		if format == "unleash" {
			var left []string
			if body, left = feature.WriteUnleash(d, time.Now()); len(left) > 0 {
				fmt.Fprintf(g.Stderr, "left out, for Unleash has no words for them: %s\n", shown(strings.Join(left, ", ")))
			}
			body = append(body, '\n')
		}
		_, err = g.Stdout.Write(body)
		return err
	}
	return c
}

func (g *global) flagHistoryCommand() *cobra.Command {
	var at flagSite
	c := &cobra.Command{Use: "history [FLAG]", Short: "Say what was changed, when, by whom and why", Args: args("[FLAG]"), Example: "  fairlead flag history new-checkout --repo team/app --env production"}
	at.flags(c)
	c.Flags().StringVar(&at.repo, "repo", "", "`repository`, as the server calls it")
	c.Flags().StringVar(&at.environment, "env", "", "`environment`, such as production")
	_ = c.MarkFlagRequired("repo")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		ref := launch.FlagRef{Repository: at.repo, Environment: at.environment}
		if len(a) == 1 {
			ref.Flag = a[0]
		} else if at.url != "" {
			return usage("name a flag", "a server tells the history of one flag at a time")
		}
		return at.there(cmd.Context(), g, func(f Flags) error {
			past, err := f.FlagHistory(cmd.Context(), ref)
			if err != nil {
				return err
			}
			var cells [][]string
			for _, p := range past {
				cells = append(cells, []string{p.Time.Local().Format("2006-01-02 15:04"), p.By, p.What, p.Why})
			}
			return g.rows(past, "nothing was changed yet", []string{"when", "who", "what", "why"}, cells)
		})
	}
	return c
}

// StaleFlag is a flag that may be removed, and where the code names it.
type StaleFlag struct {
	feature.Stale
	References []feature.Reference `json:"references"`
}

func (g *global) flagStaleCommand() *cobra.Command {
	var at flagSite
	var all bool
	c := &cobra.Command{
		Use: "stale", Short: "Find flags that have outlived their use, and where the code names them", Args: args(),
		Long: `Find flags that may be removed: no line of the working tree names them, their time is over,
or they have been the same for everybody for 30 days. The lines that name them are shown.
With --all every flag is, stale or not.`,
		Example: "  fairlead flag stale\n  fairlead flag stale --all --repo team/app --env production",
	}
	at.bind(c, false)
	c.Flags().BoolVar(&all, "all", false, "every flag")
	c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		ctx := cmd.Context()
		list, err := at.read(ctx, g)
		if err != nil {
			return err
		}
		keys, changed := make([]string, len(list)), map[string]time.Time{}
		for i, k := range list {
			keys[i], changed[k.Key] = k.Key, k.Changed
		}
		tree, err := workspace.Open(ctx, at.dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, tree.Close()) }()
		file, _, err := project.Read(tree.FS())
		if err != nil {
			return err
		}
		own := append(launch.FlagFiles(tree.FS(), file.Flags, at.environment), project.Name, filepath.ToSlash(at.file))
		for _, files := range file.Flags.Environments {
			own = append(own, files...)
		}
		references, err := feature.References(ctx, tree.FS(), keys, func(name string) bool { return slices.Contains(own, name) })
		if err != nil {
			return err
		}
		stale := feature.FindStale(definitionsOf(list), references, true, func(flag string) time.Time { return changed[flag] }, time.Now())
		return g.showStale(keys, stale, references, all)
	}
	return c
}

func (g *global) showStale(keys []string, stale []feature.Stale, references []feature.Reference, all bool) error {
	rows := []StaleFlag{}
	for _, key := range keys {
		row := StaleFlag{Stale: feature.Stale{Flag: key}, References: []feature.Reference{}}
		if i := slices.IndexFunc(stale, func(s feature.Stale) bool { return s.Flag == key }); i >= 0 {
			row.Stale = stale[i]
		} else if !all {
			continue
		}
		for _, r := range references {
			if r.Flag == key {
				row.References = append(row.References, r)
			}
		}
		rows = append(rows, row)
	}
	if g.json() {
		return writeJSON(g.Stdout, rows)
	}
	if len(rows) == 0 {
		fmt.Fprintf(g.Stderr, "%s no stale flags\n", g.style(g.Stderr).glyph(plan.Success))
	}
	for _, row := range rows {
		fmt.Fprintf(g.Stdout, "%s  %s\n", shown(row.Flag), cmp.Or(row.Why, "in use"))
		for _, r := range row.References {
			fmt.Fprintf(g.Stdout, "  %s:%d  %s\n", shown(r.File), r.Line, shown(r.Text))
		}
	}
	return nil
}
