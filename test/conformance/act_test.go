// Package conformance drives other projects' cases through the real Fairlead
// and keeps the public scoreboard, docs/reference/compatibility.md.
//
// The cases are data of other projects and not in this repository; a test
// finds them by $FAIRLEAD_CONFORMANCE and is skipped, loudly, without them.
// What a suite came to is a [Score], which the test attaches to itself as an
// attribute; the command in scoreboard/ runs all suites, here and in the rooms,
// and renders what they said.
package conformance

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-dev/fairlead/test/binary"
)

func TestMain(m *testing.M) { binary.Main(m) }

// Score is what a suite came to: the attribute "scoreboard" of its test, as JSON.
type Score struct {
	Suite  string `json:"suite"`
	What   string `json:"what"`
	Passed int    `json:"passed"`
	Total  int    `json:"total"`
	Rest   []Miss `json:"rest,omitempty"`
}

// Miss is a case that does not pass, and why.
type Miss struct {
	Case string `json:"case"`
	Why  string `json:"why"`
}

// attach tells the scoreboard, and the log.
func (s *Score) attach(t *testing.T) {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Attr("scoreboard", string(data))
	t.Logf("%s: %d of %d pass", s.Suite, s.Passed, s.Total)
	for _, m := range s.Rest {
		t.Logf("  %s: %s", m.Case, m.Why)
	}
}

// actCase is a row of cases.tsv: a directory of workflows, the event that
// starts them, and how they end.
type actCase struct {
	name, event string
	fails       bool // the expected end
	byAct       bool // act itself ends so, in host mode
	whole       bool // everything the case needs is in the copy
}

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
		cases = append(cases, actCase{name: c[0], event: c[1], fails: c[3] == "fail", byAct: c[4] == "pass", whole: c[6] == "yes"})
	}
	if err := lines.Err(); err != nil || len(cases) == 0 {
		t.Fatalf("%s: %d cases, %v", file, len(cases), err)
	}
	return cases
}

// what act's own tests give a case.
var actOptions = map[string]struct {
	args []string
	env  []string
}{
	"if-env-act":                    {args: []string{"--env", "ACT=true"}},
	"local-remote-action-overrides": {args: []string{"--action", "nektos/test-override@a=" + standIn("nektos/test-override-a"), "--action", "nektos/test-override@b=" + standIn("nektos/test-override-b")}},
	"uses-workflow":                 {args: []string{"--secret", "secret"}, env: []string{"secret=keep_it_private"}},
	"basic":                         {},
}

// standIns are our own small actions for those that cannot be fetched.
var standIns = []string{"nektos/act-test-actions", "actions/hello-world-javascript-action", "actions/github-script"}

// standIn is the absolute directory of a stand-in.
func standIn(name string) string {
	dir, err := filepath.Abs(filepath.Join("testdata", "actions", filepath.FromSlash(name)))
	if err != nil {
		panic(err)
	}
	return dir
}

// altering are cases that install packages on the machine they run on.
var altering = map[string]bool{"networking": true, "services-host-network": true}

// notHere are cases that cannot come out here as they are expected to, and why.
var notHere = map[string]string{}

func TestAct(t *testing.T) {
	t.Parallel()
	binary.Need(t, "node", "git")
	dir := filepath.Join(binary.Data(t, "FAIRLEAD_CONFORMANCE", "../shared/conformance"), "github", "act")
	cases := actCases(t, filepath.Join(dir, "cases.tsv"))
	score := Score{Suite: "act", What: "workflows of act's own tests, run by the real binary on this machine: ends well or not, as expected"}
	places := make(chan struct{}, 4)
	var mu sync.Mutex
	t.Run("cases", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.name+"/"+c.event, func(t *testing.T) {
				t.Parallel()
				places <- struct{}{}
				defer func() { <-places }()
				passed, why := c.run(t, dir)
				mu.Lock()
				defer mu.Unlock()
				score.Total++
				if passed {
					score.Passed++
					return
				}
				score.Rest = append(score.Rest, Miss{c.name + " (" + c.event + ")", why})
				if _, known := notHere[c.name]; !known && c.whole && c.byAct && !strings.HasPrefix(why, excused) {
					t.Errorf("act itself passes this case, Fairlead does not: %s", why)
				}
			})
		}
	})
	score.attach(t)
}

// excused begins the reason of a case that this machine cannot decide.
const excused = "not decided here: "

// run reports whether the case ended as expected, and if not, why.
func (c actCase) run(t *testing.T, dir string) (passed bool, why string) {
	data := filepath.Join(dir, "testdata")
	own := filepath.Join(data, filepath.FromSlash(c.name))
	if _, err := os.Stat(own); err != nil {
		return false, excused + "the case is not in this copy of the suite"
	}
	if altering[c.name] && !binary.Long() {
		return false, excused + "it installs packages on the machine (run in the long mode)"
	}
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
	entries, err := os.ReadDir(own)
	if err != nil {
		t.Fatal(err)
	}
	var workflows []string
	args := []string{"run", "--event", c.event, "--offline"}
	for _, e := range entries {
		switch ext := filepath.Ext(e.Name()); {
		case !e.IsDir() && (ext == ".yml" || ext == ".yaml"):
			file := ".github/workflows/" + e.Name()
			files[file] = files[c.name+"/"+e.Name()]
			workflows = append(workflows, file)
		case e.Name() == "event.json":
			args = append(args, "--event-file", filepath.Join(own, e.Name()))
		}
	}
	if len(workflows) == 1 {
		args = append(args, workflows[0])
	}
	for _, name := range standIns {
		args = append(args, "--action", name+"="+standIn(name))
	}
	p := binary.NewPlace(t, files)
	p.Git("config", "user.name", "nektos/act") // what act says for github.actor
	p.Env = append(p.Env, actOptions[c.name].env...)
	out := p.Run(append(args, actOptions[c.name].args...)...)
	if strings.Contains(out.All(), "Docker") && out.Exit == 4 {
		return false, excused + "it needs Docker"
	}
	if failed := out.Exit != 0; failed != c.fails {
		t.Log(out)
		return false, fmt.Sprintf("exit code %d", out.Exit)
	}
	return true, ""
}
