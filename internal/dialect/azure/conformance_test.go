package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// The numbers that were reached; a change must not make them worse.
const (
	floorCases     = 118
	floorMustParse = 229
	floorCorpus    = 45
)

// peers is the folder of other projects' cases; the test is skipped when it is
// not there.
func peers(t *testing.T, folder string) string {
	t.Helper()
	dir := cmp.Or(os.Getenv("FAIRLEAD_CONFORMANCE"), filepath.Join("..", "..", "..", "..", "shared", "conformance"))
	dir = filepath.Join(dir, folder)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("SKIPPED: other projects' cases are not at %s", dir)
	}
	return dir
}

// local brings repositories from directories, by name@ref.
type local map[string]string

func (l local) Fetch(_ context.Context, repository, ref string) (string, string, error) {
	for _, name := range []string{repository + "@" + ref, repository} {
		if dir, ok := l[name]; ok {
			return dir, "0123456789", nil
		}
	}
	return "", "", errors.New("it is not among the local ones")
}

// heads reads the # Key: value lines at the top of a case.
func heads(body string) (m map[string]string, repositories []string) {
	m = map[string]string{}
	for line := range strings.SplitSeq(body, "\n") {
		rest, ok := strings.CutPrefix(line, "# ")
		key, value, found := strings.Cut(rest, ": ")
		if !ok && strings.TrimSpace(line) != "" {
			break
		}
		if !found {
			continue
		}
		if strings.EqualFold(key, "LocalRepository") {
			repositories = append(repositories, value)
			continue
		}
		m[strings.ToLower(key)] = strings.TrimSpace(value)
	}
	return m, repositories
}

func TestCases(t *testing.T) {
	t.Parallel()
	dir := peers(t, "azure/azpipelines")
	var files []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), "pipeline") && strings.HasSuffix(d.Name(), ".yml") || strings.Contains(name, "-docs") && !d.IsDir() {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	for _, name := range files {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		head, repositories := heads(string(body))
		fetch := local{}
		for _, r := range repositories {
			if repo, at, ok := strings.Cut(r, "="); ok {
				fetch[repo] = filepath.Join(dir, at)
			}
		}
		d := New(Config{Fetch: fetch})
		change := &plan.Change{Event: "workflow_dispatch", Ref: "refs/heads/main", SHA: strings.Repeat("1", 40), Repository: "az/fork", Server: "https://example.com"}
		p, problems, err := d.CompileFile(t.Context(), os.DirFS(filepath.Dir(name)), filepath.Base(name), change)
		if err != nil {
			t.Fatal(err)
		}
		if why := judge(head, p, problems); why != "" {
			rel, _ := filepath.Rel(dir, name)
			t.Logf("%s: %s", rel, why)
			t.Attr("scoreboard-rest", fmt.Sprintf("azure-cases %s: %s", rel, why))
			continue
		}
		passed++
	}
	t.Logf("%d of %d cases pass", passed, len(files))
	t.Attr("scoreboard", fmt.Sprintf("azure-cases %d/%d", passed, len(files)))
	if passed < floorCases {
		t.Errorf("%d of %d cases pass, and %d did before", passed, len(files), floorCases)
	}
}

// judge says why a case does not pass. A case that expects an error wants one;
// when it says how its message reads, one that reads like it.
func judge(head map[string]string, p *plan.Pipeline, problems []plan.Problem) string {
	var texts []string
	for _, x := range problems {
		if x.Severity == plan.Error {
			texts = append(texts, x.String())
		}
	}
	all := strings.Join(texts, "; ")
	_, expects := head["expectedexception"]
	message := head["expectederrormessage"]
	if i := strings.Index(message, "'"); strings.HasPrefix(message, "__built-in") && i >= 0 {
		message = message[i:] // the rest is about a schema of theirs
	}
	switch {
	case expects && all == "":
		return "an error is expected: " + cmp.Or(message, head["expectedmessage"])
	case expects && !strings.Contains(all, strings.TrimSuffix(message, ".")):
		return "another error is expected: " + message + ", not " + all
	case !expects && all != "":
		return "unexpected: " + all
	case !expects && len(p.Jobs) == 0 && head["row"] == "":
		return "no jobs"
	}
	return ""
}

func TestMustParse(t *testing.T) {
	t.Parallel()
	dir := peers(t, "azure/must-parse")
	passed, total := 0, 0
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files, file := os.DirFS(filepath.Dir(name)), filepath.Base(name)
		if text := string(body); strings.Contains(text, "{{") && !strings.Contains(text, "${{") { // a form, to be filled in first
			files = fstest.MapFS{file: {Data: []byte(blank.ReplaceAllStringFunc(text, func(hole string) string {
				switch word := strings.Trim(hole, "{} "); {
				case word == "pool":
					return "vmImage: ubuntu-latest"
				case strings.HasPrefix(word, "#"), strings.HasPrefix(word, "/"):
					return ""
				}
				return "x"
			}))}}
		}
		total++
		_, problems, err := New(Config{}).CompileFile(t.Context(), files, file, nil)
		if err != nil {
			return err
		}
		problems = slices.DeleteFunc(problems, func(p plan.Problem) bool { return p.Severity != plan.Error || absent(p) })
		if len(problems) > 0 {
			rel, _ := filepath.Rel(dir, name)
			t.Logf("%s: %s", rel, problems[0])
			t.Attr("scoreboard-rest", fmt.Sprintf("azure-parse %s: %s", rel, problems[0].Message))
			return nil
		}
		passed++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d files have no false problem", passed, total)
	t.Attr("scoreboard", fmt.Sprintf("azure-parse %d/%d", passed, total))
	if passed < floorMustParse {
		t.Errorf("%d of %d files have no problem, and %d did before", passed, total, floorMustParse)
	}
}

// blank is a hole of a form.
var blank = regexp.MustCompile(`\{\{[^}]*\}\}`)

// absent reports whether a problem is true of a file that was taken out of its
// repository: what it includes is not there.
func absent(p plan.Problem) bool {
	return p.Rule == ruleMissing || p.Rule == ruleUnreachable || strings.Contains(p.Message, "leads out of its repository")
}

// Every key that the service's schema allows in a part of a pipeline is in our
// table.
func TestSchema(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile(filepath.Join(peers(t, "azure"), "service-schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Definitions map[string]alternative `json:"definitions"`
	}
	if err := json.Unmarshal(body, &schema); err != nil {
		t.Fatal(err)
	}
	at := func(path ...string) shape {
		s := grammar()
		for _, key := range path {
			if s = s.keys[key]; s.list != nil && len(s.keys) == 0 {
				s = *s.list
			}
		}
		return s
	}
	deploy := []string{"jobs", "strategy"}
	for name, path := range map[string][]string{
		"pipelineAnyBase": {}, "stage": {"stages"}, "job": {"jobs"}, "step": {"steps"}, "pool": {"pool"}, "resources": {"resources"}, "trigger": {"trigger"}, "pr": {"pr"},
		"schedule": {"schedules"}, "variable": {"variables"}, "containerResource": {"resources", "containers"}, "repositoryResource": {"resources", "repositories"},
		"pipelineResource": {"resources", "pipelines"}, "packageResource": {"resources", "packages"}, "webhookResource": {"resources", "webhooks"}, "buildResource": {"resources", "builds"},
		"jobStrategy": deploy, "deploymentEnvironment": {"jobs", "environment"}, "runOnceDeploymentStrategy": append(deploy, "runOnce"), "rollingDeploymentStrategy": append(deploy, "rolling"),
		"canaryDeploymentStrategy": append(deploy, "canary"), "jobContainer": {"container"}, "stepTarget": {"steps", "target"}, "jobWorkspace": {"workspace"}, "explicitResources": {"uses"},
	} {
		have := at(path...)
		for _, key := range schema.Definitions[name].keys() {
			switch key {
			case "template", "parameters", "extends", "phases", "queue", "server": // gone, or rewritten, when the table is asked
				continue
			}
			if _, ok := have.keys[key]; !ok && have.open == nil {
				t.Errorf("%s has the key %s, which the table lacks", name, key)
			}
		}
	}
}

// alternative is a part of a JSON schema.
type alternative struct {
	Properties map[string]json.RawMessage `json:"properties"`
	AnyOf      []alternative              `json:"anyOf"`
	OneOf      []alternative              `json:"oneOf"`
}

func (a alternative) keys() []string {
	list := slices.Sorted(maps.Keys(a.Properties))
	for _, other := range slices.Concat(a.AnyOf, a.OneOf) {
		list = append(list, other.keys()...)
	}
	return list
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	dir := cmp.Or(os.Getenv("FAIRLEAD_CORPUS"), filepath.Join("..", "..", "..", "..", "shared", "corpus"))
	dir = filepath.Join(dir, "azure")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Skipf("SKIPPED: real files are not at %s", dir)
	}
	passed := 0
	for _, e := range entries {
		p, problems, err := New(Config{}).CompileFile(t.Context(), os.DirFS(dir), e.Name(), nil)
		if err != nil {
			t.Fatal(err)
		}
		missing := slices.ContainsFunc(problems, absent)
		problems = slices.DeleteFunc(problems, func(p plan.Problem) bool { return p.Severity != plan.Error || absent(p) })
		switch {
		case len(problems) > 0:
			t.Logf("%s: %s (and %d more)", e.Name(), problems[0], len(problems)-1)
			t.Attr("scoreboard-rest", fmt.Sprintf("azure-corpus %s: %s", e.Name(), problems[0].Message))
		case len(p.Jobs) == 0 && !missing && !isPart(string(p.Texts[0].Body)):
			t.Logf("%s: no jobs", e.Name())
			t.Attr("scoreboard-rest", fmt.Sprintf("azure-corpus %s: no jobs", e.Name()))
		default:
			passed++
		}
	}
	t.Logf("%d of %d real files compile, or name exactly what they lack", passed, len(entries))
	t.Attr("scoreboard", fmt.Sprintf("azure-corpus %d/%d", passed, len(entries)))
	if passed < floorCorpus {
		t.Errorf("%d of %d real files compile, and %d did before", passed, len(entries), floorCorpus)
	}
}

// isPart reports whether a file only holds variables, or loops over what only
// another file can give it.
func isPart(body string) bool {
	return !strings.Contains(body, "\nsteps:") && !strings.Contains(body, "jobs:") || strings.Contains(body, "${{ each")
}
