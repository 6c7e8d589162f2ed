package cli

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// reportCommand is `fairlead report`.
func (g *global) reportCommand() *cobra.Command {
	var h insight.Handed
	var at site
	var dir string
	c := &cobra.Command{
		Use:   "report FILE…",
		Short: "Hand in reports of another CI system: tests, coverage, load, findings",
		Long: `Read reports that another CI system's run left, and make them part of the record, as
if a step of a run had left them: histories of tests, flakes, coverage and its
trend are learned from them. All formats that Fairlead knows are read, plain or
packed by gzip; what a file is, its content says. Of a directory, the reports in
it are taken.

Which commit, branch and run they are of is taken from the CI system's own
variables, where there are some that are known (GitHub, GitLab, Azure, Jenkins,
CircleCI, Buildkite, Bitbucket, Travis CI), else from the repository in the
current directory. Reports with the same --run become one run here.

What could not be read is said with its line, and is part of the record, too. The
exit code is 2 when none could be read; that tests failed does not change it.`,
		Example: `  fairlead report build/test-results coverage.xml
  fairlead report --flag unit lcov.info --server https://ci.example.org --repo team/app
  fairlead report --run last cover.out
  fairlead report --commit 3f1c…  --branch main --run https://ci.example.org/job/7 junit.xml`,
	}
	f := c.Flags()
	f.StringVar(&h.Commit, "commit", "", "the `commit` that the reports are of, all 40 digits")
	f.StringVar(&h.Branch, "branch", "", "the `branch` that it is on")
	f.StringVar(&h.Run, "run", "", "the `run` that they belong to: a number of a run here or on the server, last, or what the other system calls it (its address)")
	f.StringVar(&h.Flag, "flag", "", "`name` of the part of the tests that coverage is of: unit, e2e")
	f.StringVar(&h.Variant, "variant", "", "what tells the `environment` of tests apart: windows, node 22")
	f.StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	at.flags(c)
	at.repoFlag(c)
	c.Args = func(c *cobra.Command, a []string) error {
		if len(a) == 0 {
			return usage("usage: "+c.UseLine(), "`%s` needs FILE", c.CommandPath())
		}
		return nil
	}
	c.RunE = func(cmd *cobra.Command, a []string) error {
		ctx := cmd.Context()
		files, err := g.reportFiles(a)
		if err != nil {
			return err
		}
		if h.Run == "last" || strings.HasPrefix(h.Run, "last~") {
			if err := g.lastRun(ctx, &at, &h, dir); err != nil {
				return err
			}
		}
		if err := g.whose(ctx, &at, &h, dir); err != nil {
			return err
		}
		var taken insight.Taken
		if at.url != "" {
			taken, err = g.reportThere(ctx, &at, h, files)
		} else {
			taken, err = g.reportHere(ctx, h, files)
		}
		var bad *insight.BadHand
		if errors.As(err, &bad) {
			err = usage(bad.Hint, "%s", bad.Message)
		}
		if err != nil {
			return err
		}
		return g.tellTaken(&taken, at.url)
	}
	return c
}

// reportFiles are the reports that arguments name: files, directories, patterns that
// no shell has opened, and - for standard input.
func (g *global) reportFiles(names []string) (files []insight.ReportFileOf, err error) {
	add := func(name string) {
		files = append(files, insight.ReportFileOf{Name: filepath.ToSlash(name), Open: func() (io.ReadCloser, error) { return openReport(name) }})
	}
	for _, name := range names {
		if name == "-" {
			files = append(files, insight.ReportFileOf{Name: "standard input", Open: func() (io.ReadCloser, error) { return io.NopCloser(g.Stdin), nil }})
			continue
		}
		st, err := os.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			found, _ := filepath.Glob(name) // what is no pattern matches nothing
			if len(found) == 0 {
				return nil, usage("name files, or directories that have some", "there is no file %s", name)
			}
			for _, one := range found {
				add(one)
			}
		case err != nil:
			return nil, usage("", "%v", err)
		case st.IsDir():
			found := harvest.Find(os.DirFS(name), time.Time{})
			if len(found) == 0 {
				return nil, usage("name the files if they are called otherwise than reports are", "there is no report in %s", name)
			}
			for _, one := range found {
				add(filepath.Join(name, filepath.FromSlash(one)))
			}
		case !st.Mode().IsRegular() && st.Mode()&os.ModeNamedPipe == 0:
			return nil, usage("", "%s is no file", name)
		default:
			add(name)
		}
	}
	return files, nil
}

// openReport opens a report, which may be packed.
func openReport(name string) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if err != nil || !strings.HasSuffix(name, ".gz") {
		return f, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("unpack it: %w", err), f.Close())
	}
	return packed{z, f}, nil
}

// packed is a file while it is unpacked.
type packed struct {
	io.Reader
	io.Closer
}

// lastRun finds the run that is counted back.
func (g *global) lastRun(ctx context.Context, at *site, h *insight.Handed, dir string) error {
	from, err := g.archive(ctx, at)
	if err != nil {
		return err
	}
	h.Run, err = g.runID(ctx, from, h.Run, dir)
	return errors.Join(err, from.Close())
}

// whose fills in what flags do not say: from the CI system's variables, and from the
// repository here.
func (g *global) whose(ctx context.Context, at *site, h *insight.Handed, dir string) error {
	ci := theirs(g.Getenv)
	// Of a commit that was named, variables say nothing.
	if h.Commit == "" {
		h.Commit, h.Branch = ci.commit, cmp.Or(h.Branch, ci.branch)
		h.Run = cmp.Or(h.Run, ci.run)
	}
	h.Repository = at.repo
	tree, err := workspace.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer tree.Close()
	facts, err := tree.Facts(ctx)
	if err != nil {
		return err
	}
	h.By, h.DefaultBranch = facts.Actor, facts.DefaultBranch
	h.Repository = cmp.Or(h.Repository, ci.repository, facts.Repository)
	if h.Repository == facts.Repository {
		h.Root = tree.Root()
	}
	if h.Commit == "" || h.Commit == facts.SHA {
		h.Commit, h.Branch = facts.SHA, cmp.Or(h.Branch, facts.Branch)
	}
	return nil
}

// system is what a CI system says of its run in variables.
type system struct{ commit, branch, run, repository string }

// theirs reads the variables of the CI systems that are known.
func theirs(env func(string) string) (s system) {
	first := func(names ...string) string {
		for _, n := range names {
			if v := env(n); v != "" {
				return v
			}
		}
		return ""
	}
	switch {
	case env("GITHUB_ACTIONS") == "true":
		s = system{first("GITHUB_SHA"), first("GITHUB_HEAD_REF", "GITHUB_REF_NAME"), "", first("GITHUB_REPOSITORY")}
		if id := env("GITHUB_RUN_ID"); id != "" {
			s.run = env("GITHUB_SERVER_URL") + "/" + s.repository + "/actions/runs/" + id
		}
	case env("GITLAB_CI") == "true":
		s = system{first("CI_COMMIT_SHA"), first("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_REF_NAME"), first("CI_PIPELINE_URL"), first("CI_PROJECT_PATH")}
	case env("TF_BUILD") != "":
		s = system{first("BUILD_SOURCEVERSION"), strings.TrimPrefix(first("SYSTEM_PULLREQUEST_SOURCEBRANCH", "BUILD_SOURCEBRANCH"), "refs/heads/"), "", first("BUILD_REPOSITORY_NAME")}
		if id := env("BUILD_BUILDID"); id != "" {
			s.run = env("SYSTEM_COLLECTIONURI") + env("SYSTEM_TEAMPROJECT") + "/_build/results?buildId=" + id
		}
	case env("JENKINS_URL") != "":
		s = system{commit: first("GIT_COMMIT"), branch: first("CHANGE_BRANCH", "BRANCH_NAME", "GIT_LOCAL_BRANCH"), run: first("BUILD_URL")}
	case env("CIRCLECI") == "true":
		s = system{commit: first("CIRCLE_SHA1"), branch: first("CIRCLE_BRANCH"), run: first("CIRCLE_WORKFLOW_ID", "CIRCLE_BUILD_URL")}
	case env("BUILDKITE") == "true":
		s = system{commit: first("BUILDKITE_COMMIT"), branch: first("BUILDKITE_BRANCH"), run: first("BUILDKITE_BUILD_URL")}
	case env("BITBUCKET_BUILD_NUMBER") != "":
		s = system{first("BITBUCKET_COMMIT"), first("BITBUCKET_BRANCH"), first("BITBUCKET_PIPELINE_UUID"), first("BITBUCKET_REPO_FULL_NAME")}
	case env("TRAVIS") == "true":
		s = system{first("TRAVIS_PULL_REQUEST_SHA", "TRAVIS_COMMIT"), first("TRAVIS_PULL_REQUEST_BRANCH", "TRAVIS_BRANCH"), first("TRAVIS_BUILD_WEB_URL"), first("TRAVIS_REPO_SLUG")}
	}
	return s
}

// reportHere takes reports into the record of this machine.
func (g *global) reportHere(ctx context.Context, h insight.Handed, files []insight.ReportFileOf) (t insight.Taken, err error) {
	tools, err := g.open(ctx)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, tools.Close()) }()
	if t, err = tools.Reports.Take(ctx, h, files); err != nil {
		return t, err
	}
	// What is learned now can be asked for now; whoever runs next learns the rest.
	for _, learn := range []func(context.Context) error{tools.Launcher.Tests.Learn, tools.Launcher.Coverage.Learn} {
		var held *store.HeldError
		if err := learn(ctx); err != nil && !errors.As(err, &held) {
			return t, err
		}
	}
	return t, nil
}

// reportThere brings reports to a server, one by one, packed. They become one run.
func (g *global) reportThere(ctx context.Context, at *site, h insight.Handed, files []insight.ReportFileOf) (t insight.Taken, err error) {
	remote, err := at.dial(g)
	if err != nil {
		return t, err
	}
	for _, f := range files {
		one, err := remote.Report(ctx, h, f)
		var use *plan.UsageError
		switch {
		case err == nil:
			t.Run, t.New = one.Run, t.New || one.New
			t.Reports = append(t.Reports, one.Reports...)
			h.Run = cmp.Or(h.Run, one.Run)
		case errors.As(err, &use) && len(files) > 1:
			t.Reports = append(t.Reports, insight.Report{Source: f.Name, Unread: use.Message})
		default:
			return t, err
		}
	}
	return t, nil
}

// tellTaken says what became of reports.
func (g *global) tellTaken(t *insight.Taken, server string) error {
	if g.json() {
		if err := writeJSON(g.Stdout, t); err != nil {
			return err
		}
	} else {
		g.taken(t)
	}
	switch {
	case t.Read() == 0:
		return usage("docs/reference/test-formats.md and report-formats.md list what is known", "none of the reports could be read")
	case !g.json() && server != "":
		fmt.Fprintf(g.Stderr, "they are in run %s: %s/runs/%s\n", t.Run, strings.TrimRight(server, "/"), t.Run)
	case !g.json():
		fmt.Fprintf(g.Stderr, "they are in run %s: `fairlead show %s`\n", t.Run, t.Run)
	}
	return nil
}

// taken writes a line for each report, and one for each thing that is wrong with it.
func (g *global) taken(t *insight.Taken) {
	st, cols := g.style(g.Stdout), columns(g.Stdout)
	wide := 0
	for i := range t.Reports {
		wide = max(wide, min(width(shown(t.Reports[i].Source)), 40))
	}
	for i := range t.Reports {
		r := &t.Reports[i]
		sign, says := st.green(st.pick("✓", "ok")), st.dim(string(r.Kind)+", "+r.Format)+"  "+r.Says
		wrong := slices.Clone(r.Salvaged)
		switch {
		case r.Unread != "":
			sign, says, wrong = st.red(st.pick("✗", "x")), st.red("not read"), []string{r.Unread}
		case len(wrong) > 0:
			sign = st.yellow("!")
		}
		fmt.Fprintln(g.Stdout, clip(sign+" "+pad(shown(r.Source), wide)+"  "+says, cols, st.ellipsis()))
		for _, w := range wrong {
			wrap(g.Stdout, "    ", shown(w), cols, st.yellow)
		}
	}
}
