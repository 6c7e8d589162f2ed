package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/azure"
	"github.com/fairlead-dev/fairlead/internal/dialect/github"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/builtin"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/opinion"
	"github.com/fairlead-dev/fairlead/internal/dialect/gitlab"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins"
	steps "github.com/fairlead-dev/fairlead/internal/dialect/jenkins/builtin"
	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// pipelineFiles are the patterns of the files that pipelines are read from.
func pipelineFiles() []string {
	return slices.Concat([]string{github.Files, gitlab.Files}, azure.Files[:], []string{jenkins.Files})
}

// languages are the dialects, with all that running their pipelines takes. The
// first ones win where several are in use and nothing else decides.
func (o *opened) languages(w cli.Wiring, actions *builtin.Set, sources *workspace.Sources, trees *trees) []dialect.Dialect {
	projects := func(server, token string) *workspace.Projects {
		return &workspace.Projects{Dir: filepath.Join(sources.Dir, "projects"), Server: server, Mirror: w.Mirror, Offline: w.Offline, Token: os.Getenv(token)}
	}
	others := gitlab.Config{Fetch: projects("https://gitlab.com", "GITLAB_TOKEN"), Runtime: gitlab.Runtime{Depot: o.depot, Upstream: o.upstream, Trigger: o.trigger}}
	if !w.Offline {
		others.Get = remoteFile
	}
	return []dialect.Dialect{
		github.New(github.Config{Fetch: sources, Actions: w.Actions, Builtins: actions, Service: actions.Serve}),
		gitlab.New(others),
		azure.New(azure.Config{Fetch: projects("https://dev.azure.com", "AZURE_DEVOPS_TOKEN"), Depot: o.depot, Trees: azureTrees{trees}}),
		jenkins.New(jenkins.Config{Fetch: projects("https://github.com", "GITHUB_TOKEN"), Builtins: steps.New(steps.Config{Depot: o.depot, Trees: trees})}),
	}
}

// upstream finds what a job of another project has left.
func (o *opened) upstream(ctx context.Context, on, project, ref, job string) (run, id string, err error) {
	return launch.Upstream(ctx, o.record, on, project, ref, job)
}

// trigger starts the pipeline of another project of this server's.
func (o *opened) trigger(ctx context.Context, d gitlab.Downstream) ([]string, plan.Verdict, error) {
	if o.desk == nil {
		return nil, "", errors.New("only a server that has both projects can do that")
	}
	s, err := o.desk.Trigger(ctx, launch.Downstream{Run: d.Run, Job: d.Job, Project: d.Project, Ref: d.Branch, Variables: d.Variables, Wait: d.Wait})
	return s.Runs, s.Verdict, err
}

// azureTrees is what checkout: of Azure's files asks of those who know git.
type azureTrees struct{ *trees }

// Clone implements task.Trees.
func (t azureTrees) Clone(ctx context.Context, server, repository, ref, dst string, depth int) (commit string, err error) {
	return t.trees.Clone(ctx, builtin.Remote{Server: server, Repository: repository, Ref: ref}, dst, builtin.TreeOptions{Depth: depth})
}

// maxRemote is the size of the largest file that an include may name.
const maxRemote = 1 << 20

// remoteFile reads the file at an address that a pipeline includes.
func remoteFile(ctx context.Context, address string) ([]byte, error) {
	client := forge.NewClient(forge.ClientOptions{Guard: forge.Guard{Private: true, Loopback: true}, Proxy: http.ProxyFromEnvironment, MaxAnswer: maxRemote})
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(q)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %s", res.Status)
	}
	return io.ReadAll(res.Body)
}

// readers are the dialects, to read files: nothing is fetched and nothing run.
func readers() []dialect.Dialect {
	return []dialect.Dialect{
		github.New(github.Config{Opinion: opinion.Of}), gitlab.New(gitlab.Config{}), azure.New(azure.Config{}), jenkins.New(jenkins.Config{}),
	}
}

// lint asks every dialect what is wrong with a tree.
func lint(ctx context.Context, tree fs.FS, files []string) (all []plan.Problem, err error) {
	for _, d := range readers() {
		linter, ok := d.(interface {
			Lint(ctx context.Context, tree fs.FS) ([]plan.Problem, error)
		})
		if !ok {
			continue
		}
		problems, err := linter.Lint(ctx, tree)
		if err != nil {
			return nil, fmt.Errorf("read the %s pipelines: %w", d.Name(), err)
		}
		all = append(all, problems...)
	}
	// Each of them reads fairlead.yaml for its own section; it is told of once.
	slices.SortStableFunc(all, func(a, b plan.Problem) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
	all = slices.CompactFunc(all, func(a, b plan.Problem) bool { return a == b })
	if files == nil {
		return all, nil
	}
	return slices.DeleteFunc(all, func(p plan.Problem) bool { return !slices.Contains(files, p.File) }), nil
}

// preview says what a deferred job will become, if that can be known before a
// run.
func preview() func(job *plan.Job, c *plan.Context) (*plan.Expansion, bool) {
	known := map[string]dialect.Dialect{}
	for _, d := range readers() {
		known[d.Name()] = d
	}
	return func(job *plan.Job, c *plan.Context) (*plan.Expansion, bool) {
		p, ok := known[c.Pipeline.Dialect].(interface {
			Preview(job *plan.Job, c *plan.Context) (*plan.Expansion, bool)
		})
		if !ok {
			return nil, false
		}
		return p.Preview(job, c)
	}
}

// stages are those of a declarative Jenkinsfile.
func stages(p *plan.Pipeline) []plan.Job {
	if p.Dialect != jenkins.Name {
		return nil
	}
	return jenkins.New(jenkins.Config{}).Stages(p)
}

// convert says pipelines of a tree in another language.
func convert(ctx context.Context, tree fs.FS, file, to string) ([]launch.Converted, error) {
	return launch.Convert(ctx, readers(), tree, file, to)
}

// lockIncludes pins what a tree's pipelines include from elsewhere: files of the
// tree and what they are to hold.
func lockIncludes(ctx context.Context, w cli.Wiring, tree fs.FS, change *plan.Change) (map[string][]byte, []plan.Problem, error) {
	caches, err := directory(w.Cache, "XDG_CACHE_HOME", ".cache")
	if err != nil {
		return nil, nil, err
	}
	if w.Offline {
		return nil, nil, errors.New("what is included from elsewhere is fetched to be locked; leave out --offline")
	}
	d := gitlab.New(gitlab.Config{Get: remoteFile, Fetch: &workspace.Projects{
		Dir: filepath.Join(caches, "sources", "projects"), Server: "https://gitlab.com", Mirror: w.Mirror, Token: os.Getenv("GITLAB_TOKEN"),
	}})
	return d.LockIncludes(ctx, tree, change)
}
