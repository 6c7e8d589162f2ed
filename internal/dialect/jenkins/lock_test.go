package jenkins

import (
	"context"
	"strings"
	"testing"
)

// TestLock: who has a resource keeps others out, in this build and in others.
func TestLock(t *testing.T) {
	t.Parallel()
	// mkdir fails when two are inside at once.
	const alone = "sh 'mkdir ../alone && sleep 0.05 && rmdir ../alone'"
	for name, c := range map[string]struct {
		text   string
		taken  string
		result string
		said   []string
		not    []string
	}{
		"branches": {text: "node { def all = [:]\nfor (i in 1..4) { all['b' + i] = { lock('db') { " + alone + " } } }\nparallel all }", result: "SUCCESS",
			said: []string{"Trying to acquire lock on [db]", "Lock acquired on [db]", "Lock released on resource [db]", "[db] is held by run 7"}},
		"several and a variable": {text: "lock(resource: 'a', extra: [[resource: 'b'], [label: 'phones']], variable: 'R') { echo \"has ${env.R} ${env.R1}\" }", result: "SUCCESS", said: []string{"has a,b,phones b"}},
		"again":                  {text: "lock('db') { lock('db') { echo 'inside' } }", result: "SUCCESS", said: []string{"inside"}},
		"given back":             {text: "try { lock('db') { error 'no' } } catch (e) { echo 'caught' }\nlock('db') { echo 'again' }", result: "SUCCESS", said: []string{"caught", "again"}},
		"skipped":                {text: "lock(resource: 'db', skipIfLocked: true) { echo 'inside' }\necho 'after'", taken: "lock db", result: "SUCCESS", said: []string{"its block is skipped", "after"}, not: []string{"inside"}},
		"not skipped":            {text: "lock(resource: 'db', skipIfLocked: true) { echo 'inside' }", result: "SUCCESS", said: []string{"inside"}},
		"a timeout":              {text: "timeout(time: 50, unit: 'MILLISECONDS') { lock('db') { echo 'inside' } }", taken: "lock db", result: "ABORTED", not: []string{"inside"}},
		"an option":              {text: "pipeline { agent any\n options { lock('db') }\n stages { stage('s') { steps { echo 'inside' } } } }", result: "SUCCESS", said: []string{"Lock acquired on [db]", "inside"}},
		"nothing":                {text: "lock() { echo 'inside' }", result: "FAILURE", said: []string{"lock needs a resource or a label"}},
		"throttle":               {text: "node { def all = [:]\nfor (i in 1..3) { all['b' + i] = { throttle(['small']) { " + alone + " } } }\nparallel all }", result: "SUCCESS", said: []string{"[small] is held by"}},
		"throttle without limit": {text: "throttle(['none']) { echo 'inside' }", result: "SUCCESS", said: []string{"says not how many builds of none", "inside"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, push(), "Jenkinsfile", c.text, "fairlead.yaml", "jenkins:\n  throttle:\n  - {category: small, most: 1}\n")
			if c.taken != "" {
				w.taken[c.taken] = 1
			}
			result, _, err := w.run(t.Context())
			log := w.text()
			if result != c.result {
				t.Errorf("%s, %v", result, err)
			}
			for _, s := range c.said {
				if !strings.Contains(log, s) {
					t.Errorf("%q is not said", s)
				}
			}
			for _, s := range c.not {
				if strings.Contains(log, s) {
					t.Errorf("%q is said", s)
				}
			}
			if t.Failed() {
				t.Log(log)
			}
			for name, n := range w.taken {
				if n != 0 && name != c.taken {
					t.Errorf("%s is not given back", name)
				}
			}
		})
	}
}

// TestLockAgain: a run that goes on skips what it had skipped, though the resource is free
// now.
func TestLockAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, push(), "Jenkinsfile", "lock(resource: 'db', skipIfLocked: true) { echo 'inside' }")
	w.taken["lock db"] = 1
	if result, _, err := w.run(t.Context()); result != "SUCCESS" {
		t.Fatal(result, err)
	}
	w.taken["lock db"] = 0
	if result, _, err := w.run(t.Context()); result != "SUCCESS" || strings.Contains(w.text(), "inside") || w.taken["lock db"] != 0 {
		t.Errorf("%s, %v: %s", result, err, w.text())
	}
}

// TestLockCancelled: who waits for a resource is ended with the run.
func TestLockCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, push(), "Jenkinsfile", "lock('db') { echo 'inside' }")
	w.taken["lock db"] = 1
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.Canceled)
	_, _, err := w.run(ctx)
	if err == nil || strings.Contains(w.text(), "inside") {
		t.Errorf("%v: %s", err, w.text())
	}
}
