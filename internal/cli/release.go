package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/publish"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// releaseCommand is `fairlead release`.
func (g *global) releaseCommand() *cobra.Command {
	return verbs("release", "Publish the next release: version, changelog, tag, files",
		`Publish the next release of a repository. What was changed since the last one says
which version is next; what a release is made of stands under release in fairlead.yaml, and
without it a release is a tag with notes.`,
		g.releasePlanCommand(), g.releasePublishCommand(), g.releaseListCommand(), g.releaseFilesCommand(), g.releaseAbandonCommand())
}

// wish are the flags by which a release is wished for.
type wish struct {
	publish.Wish
	dir string
}

func (w *wish) flags(c *cobra.Command) {
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&w.Pre, "pre", "", "make a pre-release of this `channel`: rc makes 1.4.0-rc.1, rc.2 …")
	f.StringVar(&w.As, "as", "", "release this `version`, whatever the changes ask for")
	f.StringVar(&w.Tag, "tag", "", "release what this `tag` names, which is checked out: at the code host and here it gets what it lacks")
	f.BoolVar(&w.Draft, "draft", false, "at the code host, wait for a person to publish it")
	f.BoolVar(&w.NoHost, "no-host", false, "make no release at the code host: tag and push only")
	f.BoolVar(&w.NoPush, "no-push", false, "push nothing: tag only")
	f.StringVarP(&w.dir, "dir", "C", ".", "`directory` of the repository")
}

// check says which flags do not go together.
func (w *wish) check() error {
	if w.Tag != "" && (w.Pre != "" || w.As != "") {
		return usage("leave out --pre and --as", "--tag names a release that has its version")
	}
	return nil
}

// press opens what publishes the tree. The caller calls shut.
func (g *global) press(ctx context.Context, dir string) (p *publish.Publisher, tools *Tools, shut func() error, err error) {
	tree, err := workspace.Open(ctx, dir)
	if err != nil {
		return nil, nil, nil, err
	}
	if tools, err = g.open(ctx); err != nil {
		return nil, nil, nil, errors.Join(err, tree.Close())
	}
	p = tools.Publisher(tree)
	p.Say = func(format string, args ...any) { fmt.Fprintf(g.Stderr, "%s\n", shown(fmt.Sprintf(format, args...))) }
	p.Out = &lines{to: g.Stderr}
	p.By = me()
	return p, tools, func() error { return errors.Join(tools.Close(), tree.Close()) }, nil
}

func (g *global) releasePlanCommand() *cobra.Command {
	w := new(wish)
	c := &cobra.Command{
		Use:   "plan [COMPONENT...]",
		Short: "Say what would be released, and why; change nothing",
		Long: `Say what would be released: the version and which change decided it, the commits that
are in it, the notes, the files, and where they would go. Nothing is changed, and nobody is
told.

The exit code is 0 if there is something to be released, 1 if there is nothing, and 3 if
it cannot be released as things are.`,
		Example: `  fairlead release plan
  fairlead release plan api --pre rc
  fairlead release plan --output json | jq -r '.releases[].tag'`,
	}
	w.flags(c)
	c.RunE = func(cmd *cobra.Command, names []string) (err error) {
		p, _, shut, err := g.press(cmd.Context(), w.dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, shut()) }()
		if err := w.check(); err != nil {
			return err
		}
		w.Components = names
		x, err := p.Plan(cmd.Context(), w.Wish)
		if err != nil {
			return err
		}
		if g.json() {
			if err := writeJSON(g.Stdout, x); err != nil {
				return err
			}
		} else {
			g.problems(x.Problems, len(x.Problems))
			g.releases(x)
		}
		switch {
		case plan.Errors(x.Problems):
			return exit(ExitInvalid)
		case x.Nothing():
			return exit(ExitFailed)
		}
		return nil
	}
	return c
}

// releases draws what would be released.
func (g *global) releases(x *publish.Plan) {
	st := g.style(g.Stdout)
	for k := range x.Releases {
		i := &x.Releases[k]
		if k > 0 {
			fmt.Fprintln(g.Stdout)
		}
		if i.Version == "" {
			fmt.Fprintf(g.Stdout, "%s\n", shown(strings.TrimSpace(strings.TrimSuffix(i.Component+": ", ": ")+" "+cmp.Or(i.Why, "it cannot be released"))))
			continue
		}
		row := func(name, format string, args ...any) {
			fmt.Fprintf(g.Stdout, "  %-8s %s\n", name, shown(fmt.Sprintf(format, args...)))
		}
		fmt.Fprintf(g.Stdout, "%s\n", st.bold(shown(i.Tag)))
		row("why", "%s", i.Why)
		if i.Since != "" {
			row("since", "%s", i.Since)
		}
		silent := ""
		if i.Silent > 0 {
			silent = fmt.Sprintf(", %d of them ask for no release", i.Silent)
		}
		row("commits", "%d%s", len(i.Commits), silent)
		for n, f := range i.Files {
			size := ""
			if f.Size > 0 {
				size = ", " + bytesText(f.Size)
			}
			row(map[bool]string{true: "files"}[n == 0], "%s (%s%s)", f.Name, f.From, size)
		}
		if len(i.Files) > 0 {
			row("", "SHA256SUMS, provenance.intoto.jsonl")
		}
		if i.Changelog != "" {
			row("commit", "%s, on %s", i.Changelog, x.Branch)
		}
		row("push", "%s", cmp.Or(x.Remote, "nowhere"))
		if h := x.Host; h != nil {
			row("host", "%s, %s%s", h.Forge, h.Repository, map[bool]string{true: ", as a draft"}[h.Draft])
		} else {
			row("host", "none: %s", x.NoHost)
		}
		fmt.Fprintln(g.Stdout)
		for line := range strings.Lines(i.Notes) {
			fmt.Fprintf(g.Stdout, "  %s %s\n", st.dim(st.pick("│", "|")), shownLine(strings.TrimRight(line, "\n")))
		}
	}
}

// shownLine is a line made harmless, with its blanks as they are.
func shownLine(s string) string { return string(sanitize(nil, []byte(s), false)) }

// releasedLine is a publication in a list.
type releasedLine struct {
	Repository string    `json:"repository"`
	Component  string    `json:"component,omitempty"`
	Tag        string    `json:"tag"`
	Commit     string    `json:"commit"`
	At         time.Time `json:"at"`
	By         string    `json:"by"`
	Files      int       `json:"files"`
	State      string    `json:"state"` // "published", "unfinished"
	URL        string    `json:"url,omitempty"`
}

func lineOf(one *publish.Publication) releasedLine {
	l := releasedLine{one.Repository, one.Component, one.Tag, one.Commit, one.At, one.By, len(one.Assets), "unfinished", ""}
	if one.Done != nil {
		l.State, l.URL, l.Commit = "published", one.Done.URL, one.Done.Commit
	}
	return l
}

func (g *global) releasePublishCommand() *cobra.Command {
	w := new(wish)
	c := &cobra.Command{
		Use:   "publish [COMPONENT...]",
		Short: "Publish what `fairlead release plan` says",
		Long: `Publish what ` + "`fairlead release plan`" + ` says: commit the changelog, make an annotated tag (signed if
git signs tags), push both at once, and make a release with all files at the code host. Files
come with SHA256SUMS and with a signed statement of how each was made.

Everything is written down before it is done. When it is interrupted or killed, the same
command goes on with the very same release; nothing is done twice, and nothing that
is there is moved or replaced. When there is nothing to be released, it says so and
the exit code is 0.

The code host's token is taken from GITHUB_TOKEN, GITLAB_TOKEN, GITEA_TOKEN or BITBUCKET_TOKEN, or
from the variable that fairlead.yaml names. Git pushes as you would.`,
		Example: `  fairlead release publish
  fairlead release publish api web
  fairlead release publish --pre rc --draft`,
	}
	w.flags(c)
	c.RunE = func(cmd *cobra.Command, names []string) (err error) {
		ctx, _, done := interruptible(cmd.Context())
		defer done()
		p, _, shut, err := g.press(ctx, w.dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, shut()) }()
		if err := w.check(); err != nil {
			return err
		}
		w.Components = names
		list, err := p.Publish(ctx, w.Wish)
		told := []releasedLine{}
		for k := range list {
			told = append(told, lineOf(&list[k]))
		}
		if g.json() {
			if bad := writeJSON(g.Stdout, told); bad != nil {
				return errors.Join(err, bad)
			}
		} else {
			for _, l := range told {
				fmt.Fprintf(g.Stdout, "%s\n", shown(strings.TrimSpace(fmt.Sprintf("%s at %.10s %s", l.Tag, l.Commit, l.URL))))
			}
		}
		var invalid *publish.InvalidError
		switch {
		case errors.Is(err, publish.ErrNothing):
			fmt.Fprintln(g.Stderr, err)
			return nil
		case errors.As(err, &invalid):
			g.problems(invalid.Problems, len(invalid.Problems))
			return exit(ExitInvalid)
		}
		return err
	}
	return c
}

func (g *global) releaseListCommand() *cobra.Command {
	var all bool
	var dir string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the releases that were published from here",
		Example: `  fairlead release list
  fairlead release list --all --output json`,
		Args: args(),
	}
	c.Flags().BoolVar(&all, "all", false, "of all repositories")
	c.Flags().StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		ctx := cmd.Context()
		tools, err := g.open(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, tools.Close()) }()
		repository := ""
		if !all {
			tree, err := workspace.Open(ctx, dir)
			if err != nil {
				return err
			}
			defer tree.Close()
			facts, err := tree.Facts(ctx)
			if err != nil {
				return err
			}
			repository = facts.Repository
		}
		found, err := publish.Publications(ctx, tools.Store, repository)
		if err != nil {
			return err
		}
		list, cells := []releasedLine{}, [][]string(nil)
		for k := range found {
			l := lineOf(&found[k])
			list = append(list, l)
			cells = append(cells, []string{shown(l.Tag), l.At.Format(time.DateOnly), shown(l.By), l.State, strconv.Itoa(l.Files), shown(l.URL)})
		}
		return g.rows(list, "nothing was released from here: `fairlead release plan` says what would be", []string{"tag", "day", "by", "", "files", "page"}, cells)
	}
	return c
}

func (g *global) releaseFilesCommand() *cobra.Command {
	var dir, out string
	c := &cobra.Command{
		Use:   "files TAG",
		Short: "List the files of a release, or write them to a directory",
		Long: `List the files of a release that was published from here, or write them to a directory:
to be uploaded to where Fairlead cannot, or to be looked at. What is there already is not
overwritten.`,
		Example: `  fairlead release files v1.4.0
  fairlead release files v1.4.0 --out upload && cd upload && sha256sum -c SHA256SUMS`,
		Args: args("TAG"),
	}
	c.Flags().StringVarP(&out, "out", "o", "", "`directory` to write them to")
	c.Flags().StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	c.RunE = func(cmd *cobra.Command, a []string) (err error) {
		ctx := cmd.Context()
		p, tools, shut, err := g.press(ctx, dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, shut()) }()
		one, err := p.Find(ctx, a[0])
		if err != nil {
			return err
		}
		if out == "" {
			var cells [][]string
			for _, f := range one.Assets {
				cells = append(cells, []string{shown(f.Name), bytesText(f.Size), shown(f.Digest), shown(cmp.Or(f.From, "the release"))})
			}
			return g.rows(one.Assets, "the release has no files", []string{"name", "size", "digest", "from"}, cells)
		}
		if err := os.MkdirAll(out, 0o755); err != nil {
			return err
		}
		for _, f := range one.Assets {
			if err := g.writeAsset(ctx, tools, filepath.Join(out, f.Name), f.Digest); err != nil {
				return err
			}
			fmt.Fprintln(g.Stdout, shown(filepath.Join(out, f.Name)))
		}
		return nil
	}
	return c
}

// writeAsset writes a file of a release to where none is yet.
func (g *global) writeAsset(ctx context.Context, tools *Tools, name, digest string) error {
	body, err := tools.Blob(ctx, blob.Digest(digest))
	if err != nil {
		return err
	}
	defer body.Close()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return usage("remove it, or name another directory", "%s is there already", name)
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name)) // half of it is worth nothing
	}
	return nil
}

func (g *global) releaseAbandonCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "abandon TAG",
		Short: "Give up a release that was begun and cannot be finished",
		Long: `Give up a release that was begun and cannot be finished: its branch has moved on, or the
remote does not take it. What was done of it stays; the tag, if it was made, has to be
removed by hand.`,
		Example: `  fairlead release abandon v1.4.0`,
		Args:    args("TAG"),
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	c.RunE = func(cmd *cobra.Command, a []string) (err error) {
		p, _, shut, err := g.press(cmd.Context(), dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, shut()) }()
		if _, err := p.Abandon(cmd.Context(), a[0]); err != nil {
			return err
		}
		fmt.Fprintf(g.Stdout, "%s is given up\n", shown(a[0]))
		return nil
	}
	return c
}

// regular reports whether there is a plain file of that name.
func regular(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}
