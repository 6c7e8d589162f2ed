// Package conformance drives other projects' cases through the real Fairlead
// and keeps the public scoreboard, docs/reference/compatibility.md.
//
// The cases are data of other projects and not in this repository; a test
// finds them by $FAIRLEAD_CONFORMANCE and is skipped, loudly, without them.
// What a suite came to is an attribute of its test, "scoreboard", and each case
// that does not pass one more, "scoreboard-rest"; the command in scoreboard/
// runs all suites, here and in the rooms, and renders what they said.
package conformance

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/executor/docker/dockertest"
	"github.com/fairlead-dev/fairlead/test/binary"
)

func TestMain(m *testing.M) { binary.Main(m) }

// actCase is a row of cases.tsv: a directory of workflows, the event that
// starts them, and how they end.
type actCase struct {
	name, event string
	fails       bool // the expected end
	byAct       bool // act itself ends so, in host mode
	whole       bool // everything the case needs is in the copy
	remote      bool // it uses actions that have to be fetched
}

func (c actCase) String() string { return c.name + " (" + c.event + ")" }

func actCases(t *testing.T, file string) (cases []actCase) {
	f, err := os.Open(file)
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		c := strings.Split(lines.Text(), "\t")
		if len(c) != 7 || c[0] == "case" {
			continue
		}
		cases = append(cases, actCase{name: c[0], event: c[1], fails: c[3] == "fail", byAct: c[4] == "pass", whole: c[6] == "yes", remote: c[5] == "needs-remote-action"})
	}
	if err := lines.Err(); err != nil || len(cases) == 0 {
		t.Fatalf("%s: %d cases, %v", file, len(cases), err)
	}
	return cases
}

// actOptions are what act's own tests give a case.
var actOptions = map[string]struct{ args, env []string }{
	"if-env-act":                    {args: []string{"--env", "ACT=true"}},
	"local-remote-action-overrides": {args: []string{"--action", "nektos/test-override@a=" + standIn("nektos/test-override-a"), "--action", "nektos/test-override@b=" + standIn("nektos/test-override-b")}},
	"uses-workflow":                 {args: []string{"--secret", "secret"}, env: []string{"secret=keep_it_private"}},
}

// standIns are our own small actions for those that cannot be fetched.
var standIns = []string{"nektos/act-test-actions", "actions/hello-world-javascript-action", "actions/github-script"}

// images are those of act's cases for which something can stand in: an image
// of this machine's programs.
var images = map[string][]string{
	"node:16-buster-slim": {"bash", "node"},
	"alpine:latest":       {},
	"ubuntu:latest":       {"bash"},
}

// engine makes the stand-ins where the container engine is the tests' own.
func engine(t *testing.T) {
	if !dockertest.Own() {
		return
	}
	c, err := dockertest.Engine()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, programs := range images {
		if err := dockertest.StandIn(t.Context(), c, name, programs...); err != nil {
			t.Fatal(err)
		}
	}
}

// standIn is the absolute directory of a stand-in.
func standIn(name string) string {
	dir, err := filepath.Abs(filepath.Join("testdata", "actions", filepath.FromSlash(name)))
	if err != nil {
		panic(err)
	}
	return dir
}

// undecided are cases that cannot come out on every machine, or here, as act
// expects, and why.
var undecided = map[string]string{
	"networking (push)":                    "it installs packages on the machine (run in the long mode)",
	"services-host-network (push)":         "it needs Docker and installs packages on the machine",
	"defaults-run (push)":                  "it expects the variable SHELL to be as in one image",
	"uses-nested-composite (push)":         "it needs Node.js 16",
	"workflow_call_inputs (workflow_call)": "GitHub itself refuses the file: an input of a called workflow has no type",
	"uses-workflow (pull_request)":         "GitHub itself refuses the file: it passes a secret that the called workflow does not declare",
}

// excused begins the reason of a case that this machine cannot decide.
const excused = "not decided here: "

func TestAct(t *testing.T) {
	t.Parallel()
	binary.Need(t, "node", "git")
	engine(t)
	dir := filepath.Join(binary.Data(t, "FAIRLEAD_CONFORMANCE", "../shared/conformance"), "github", "act")
	cases := actCases(t, filepath.Join(dir, "cases.tsv"))
	house := newActHouse(t, filepath.Join(dir, "testdata"), cases)
	passes := 0
	places := make(chan struct{}, 4)
	var mu sync.Mutex
	var rest []string
	t.Run("cases", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.name+"/"+c.event, func(t *testing.T) {
				t.Parallel()
				places <- struct{}{}
				defer func() { <-places }()
				passed, why := house.run(t, c)
				mu.Lock()
				defer mu.Unlock()
				if passed {
					passes++
					return
				}
				rest = append(rest, fmt.Sprintf("%s: %s", c, why))
				if c.whole && c.byAct && !strings.HasPrefix(why, excused) {
					t.Errorf("act itself passes this case, Fairlead does not: %s", why)
				}
			})
		}
	})
	open := 0
	for _, line := range rest {
		if strings.Contains(line, excused) {
			open++
		}
	}
	t.Attr("scoreboard", fmt.Sprintf("act %d/%d of the others, %d cannot be decided on such a machine", passes, len(cases), open))
	t.Logf("act: %d of %d pass", passes, len(cases))
	slices.Sort(rest)
	for _, line := range rest {
		t.Attr("scoreboard-rest", "act "+line)
	}
}

// actHouse is the repository that holds all of act's cases: their directories
// as act has them, and their workflows where workflows belong, under names
// that tell the case.
type actHouse struct {
	*binary.Place
	workflows map[string][]string // by case
	events    map[string]string   // event files, by case
}

func newActHouse(t *testing.T, data string, cases []actCase) *actHouse {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(data, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(data, name)
		files[filepath.ToSlash(rel)] = string(body)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h := &actHouse{workflows: map[string][]string{}, events: map[string]string{}}
	for _, c := range cases {
		if h.workflows[c.name] != nil {
			continue
		}
		entries, _ := os.ReadDir(filepath.Join(data, filepath.FromSlash(c.name))) // a case that is not there has none
		for _, e := range entries {
			switch ext := filepath.Ext(e.Name()); {
			case !e.IsDir() && (ext == ".yml" || ext == ".yaml"):
				file := ".github/workflows/" + strings.ReplaceAll(c.name, "/", "-") + "--" + e.Name()
				files[file] = files[c.name+"/"+e.Name()]
				h.workflows[c.name] = append(h.workflows[c.name], file)
			case e.Name() == "event.json":
				h.events[c.name] = filepath.Join(data, filepath.FromSlash(c.name), e.Name())
			}
		}
	}
	h.Place = binary.NewPlace(t, files)
	h.Git("config", "user.name", "nektos/act") // what act says for github.actor
	h.Git("remote", "add", "origin", "https://github.com/nektos/act.git")
	h.Git("update-ref", "refs/remotes/origin/main", "HEAD")
	return h
}

// run reports whether the case ended as expected, and if not, why.
func (h *actHouse) run(t *testing.T, c actCase) (passed bool, why string) {
	if why, known := undecided[c.String()]; known && !(c.name == "networking" && binary.Long()) {
		return false, excused + why
	}
	if h.workflows[c.name] == nil {
		return false, excused + "the case is not in this copy of the suite"
	}
	args := []string{"run", "--event", c.event, "--offline"}
	if file := h.events[c.name]; file != "" {
		args = append(args, "--event-file", file)
	}
	for _, name := range standIns {
		args = append(args, "--action", name+"="+standIn(name))
	}
	args = append(args, actOptions[c.name].args...)
	p := h.On(t, actOptions[c.name].env...)
	ran, failed := false, false
	for _, file := range h.workflows[c.name] {
		out := p.Run(append(args, file)...)
		if out.Exit == 2 && len(h.workflows[c.name]) > 1 {
			continue // the event does not start this one
		}
		ran = true
		switch {
		case strings.Contains(out.All(), "no container engine answers"):
			return false, excused + "it needs Docker"
		case strings.Contains(out.All(), "cannot be had"):
			return false, excused + "it uses actions that cannot be fetched in a test"
		case strings.Contains(out.All(), "fetch the image"):
			return false, excused + "it needs an image of a registry"
		}
		if failed = failed || out.Exit != 0; (out.Exit != 0) != c.fails {
			switch {
			case !c.whole:
				return false, excused + "a script or action of the case is not in this copy of the suite"
			case c.remote:
				return false, excused + "it uses actions that cannot be fetched in a test"
			}
			t.Log(out)
			return false, fmt.Sprintf("exit code %d", out.Exit)
		}
	}
	if !ran || failed != c.fails {
		return false, "nothing ran"
	}
	return true, ""
}
