package groovy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// shared is a folder beside the repository with files of others.
func shared(env, name string) string {
	if root := os.Getenv(env); root != "" {
		return root
	}
	return filepath.FromSlash("../../../../../shared/" + name)
}

// corpusFiles are the paths of all Groovy of the corpus and of the
// conformance cases; the test is skipped when there are none.
func corpusFiles(t testing.TB) []string {
	t.Helper()
	var files []string
	for _, root := range []string{
		filepath.Join(shared("FAIRLEAD_CORPUS", "corpus"), "jenkins"),
		filepath.Join(shared("FAIRLEAD_CONFORMANCE", "conformance"), "jenkins", "resources"),
	} {
		// The corpus may be a link.
		if real, err := filepath.EvalSymlinks(root); err == nil {
			root = real
		}
		filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && (strings.HasSuffix(path, ".groovy") || strings.Contains(path, "Jenkinsfile")) {
				files = append(files, path)
			}
			return nil
		})
	}
	if len(files) == 0 {
		t.Skip("no corpus: set FAIRLEAD_CORPUS and FAIRLEAD_CONFORMANCE")
	}
	return files
}

// malformed are the files of the cases that are no Groovy, on purpose.
var malformed = []string{"malformed.groovy", "envIdentifierDigitsUnderscore.groovy"}

func TestCorpusParses(t *testing.T) {
	t.Parallel()
	files := corpusFiles(t)
	parsed, wanted := 0, 0
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		wrong := slices.Contains(malformed, filepath.Base(file))
		_, problems := Parse(filepath.Base(file), string(src))
		switch {
		case wrong:
			if len(problems) == 0 {
				t.Errorf("%s: no problem found", file)
			}
			continue
		case len(problems) > 0:
			t.Errorf("%v", problems[0])
		default:
			parsed++
		}
		wanted++
	}
	t.Attr("scoreboard", fmt.Sprintf("jenkins-groovy %d/%d", parsed, wanted))
	t.Logf("parse: %s", score(parsed, wanted))
}

// anything is a stand-in for whatever the host would lend: it has every
// property and every method, and calls the closures it is given.
type anything struct {
	name  string
	calls *[]string
}

func (a *anything) ClassName() string { return a.name }

func (a *anything) Get(c *Call) (Value, error) {
	switch c.Name {
	case "class":
		return nil, ErrMissing
	case "previousBuild", "rawBuild":
		return nil, nil
	case "labels", "extensions", "branches":
		return NewList(), nil
	}
	return &anything{a.name + "." + c.Name, a.calls}, nil
}

func (a *anything) Set(*Call, Value) error { return nil }

func (a *anything) Invoke(c *Call) (Value, error) {
	switch c.Name {
	case "iterator", "getAt", "asBoolean":
		if c.Name == "iterator" {
			return NewList(), nil
		}
	case "toString", "trim", "toLowerCase", "split", "replaceAll", "tokenize", "contains", "startsWith", "endsWith", "toInteger", "matches", "isEmpty", "equals", "hashCode", "getClass", "readLines", "plus", "compareTo", "isCase":
		if c.Name == "toString" {
			return a.name, nil
		}
		return nil, ErrMissing
	}
	v, err := step(c, a.calls)
	if v == Value("") {
		v = &anything{a.name + "." + c.Name, a.calls}
	}
	return v, err
}

// standIn is the host of the corpus: steps that do nothing but run their
// bodies, and variables that have every property.
type standIn struct {
	calls []string
}

func (s *standIn) ClassName() string { return "Host" }

func (s *standIn) Get(c *Call) (Value, error) {
	switch c.Name {
	case "env", "params":
		return &environment{}, nil
	case "currentBuild", "scm", "docker", "pullRequest", "manager", "Jenkins", "steps":
		return &anything{c.Name, &s.calls}, nil
	}
	if slices.Contains([]string{"any", "none", "infra", "checkstyle"}, c.Name) {
		return &anything{c.Name, &s.calls}, nil
	}
	if c.Name == strings.ToUpper(c.Name) { // a variable of the environment
		return c.Name, nil
	}
	return nil, ErrMissing
}

func (s *standIn) Set(*Call, Value) error { return ErrMissing }

func (s *standIn) Invoke(c *Call) (Value, error) {
	switch c.Name {
	case "sleep", "readFile", "pwd", "libraryResource", "tool":
		s.calls = append(s.calls, c.Name)
		return "1.2.3", nil
	case "readJSON", "readYaml", "readProperties":
		s.calls = append(s.calls, c.Name)
		return MapOf("version", "1.2.3", "rev", "1", "maj_ver", "4", "min_ver", "9"), nil
	case "fileExists", "isUnix":
		return true, nil
	case "library":
		return &anything{"library", &s.calls}, nil
	case "findFiles":
		return NewList(), nil
	case "input":
		return "yes", nil
	}
	return step(c, &s.calls)
}

// environment is env: it has what is asked for as text.
type environment struct{}

func (*environment) ClassName() string          { return "Env" }
func (*environment) Get(c *Call) (Value, error) { return strings.ToLower(c.Name) + ":1", nil }
func (*environment) Set(*Call, Value) error     { return nil }
func (*environment) Invoke(c *Call) (Value, error) {
	if c.Name == "getAt" || c.Name == "get" || c.Name == "getOrDefault" || c.Name == "containsKey" || c.Name == "getEnvironment" {
		return "value", nil
	}
	return nil, ErrMissing
}

// step runs the bodies that a step is given: closures, and those of maps.
func step(c *Call, calls *[]string) (Value, error) {
	*calls = append(*calls, c.Name)
	var result Value = ""
	for _, a := range c.Args {
		switch v := a.(type) {
		case *Closure:
			var err error
			if result, err = c.Call(v); err != nil {
				return nil, err
			}
		case *Map:
			for _, branch := range v.All() {
				if fn, ok := branch.(*Closure); ok {
					if _, err := c.Call(fn); err != nil {
						return nil, err
					}
				}
			}
			if stdout, ok := v.Text("returnStdout"); ok && stdout == Value(true) {
				return "1.2.3\n", nil
			}
			if status, ok := v.Text("returnStatus"); ok && status == Value(true) {
				return int32(0), nil
			}
		}
	}
	return result, nil
}

func score(n, of int) string { return fmt.Sprintf("%d of %d", n, of) }

// TestCorpusRuns runs every Jenkinsfile of the corpus to its end with
// stand-ins for steps. Of pipeline { … } the steps are reached too, as all
// its sections are calls with closures.
func TestCorpusRuns(t *testing.T) {
	t.Parallel()
	ended, total := 0, 0
	var rest []string
	for _, file := range corpusFiles(t) {
		name := filepath.Base(file)
		if !strings.Contains(name, "Jenkinsfile") || strings.HasSuffix(name, ".gdsl") {
			continue
		}
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		total++
		script, problems := Parse(name, string(src))
		if len(problems) > 0 {
			rest = append(rest, problems[0].Error())
			continue
		}
		host := &standIn{}
		in := New(Config{
			Host: host,
			Class: func(name string) (any, error) {
				if strings.Contains(name, ".") {
					return &anything{name, &host.calls}, nil
				}
				return nil, nil
			},
			Now:    func() time.Time { return time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC) },
			Limits: Limits{Steps: 5_000_000},
		})
		if _, err := in.Run(context.Background(), script); err != nil {
			rest = append(rest, err.Error())
			continue
		}
		t.Logf("%s: %d steps", name, len(host.calls))
		ended++
	}
	for _, r := range rest {
		t.Log(r)
	}
	// One reads files of Jenkins' own machine, which nothing here can.
	if ended < total-1 {
		t.Errorf("only %s run to their end", score(ended, total))
	}
	t.Logf("run to the end: %s", score(ended, total))
}
