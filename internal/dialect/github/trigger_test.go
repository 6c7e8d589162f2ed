package github

import (
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

func TestStart(t *testing.T) {
	t.Parallel()
	change := func(event, ref string, edit ...func(*plan.Change)) *plan.Change {
		c := push()
		c.Event, c.Ref = event, ref
		for _, f := range edit {
			f(c)
		}
		return c
	}
	files := func(names ...string) func(*plan.Change) {
		return func(c *plan.Change) { c.Files, c.FilesKnown = names, true }
	}
	base := func(ref string) func(*plan.Change) { return func(c *plan.Change) { c.BaseRef = ref } }
	says := func(key string, v any) func(*plan.Change) {
		return func(c *plan.Change) {
			if c.Payload == nil {
				c.Payload = map[string]any{}
			}
			c.Payload[key] = v
		}
	}
	const main, tag = "refs/heads/main", "refs/tags/v1.2"
	for _, tc := range []struct {
		on     string
		change *plan.Change
		want   bool
		why    string
		line   int
	}{
		{"on: push", change("push", main), true, "push to branch main", 1},
		{"on: [pull_request, push]", change("push", tag), true, "push to tag v1.2", 1},
		{"on: pull_request", change("push", main), false, "does not name push", 1},
		{"on:\n  push:\n    branches: [main]", change("push", main), true, "matches branches: main", 3},
		{"on:\n  push:\n    branches:\n    - main\n    - 'rel/**'\n    - '!rel/old'", change("push", "refs/heads/rel/a/b"), true, "matches branches: rel/**", 5},
		{"on:\n  push:\n    branches:\n    - main\n    - 'rel/**'\n    - '!rel/old'", change("push", "refs/heads/rel/old"), false, "taken out by branches: !rel/old", 6},
		{"on:\n  push:\n    branches:\n    - '!rel/old'\n    - 'rel/**'", change("push", "refs/heads/rel/old"), true, "rel/**", 5},
		{"on:\n  push:\n    branches: main", change("push", tag), false, "only branches", 2},
		{"on:\n  push:\n    branches-ignore: [x]", change("push", tag), false, "only branches", 2},
		{"on:\n  push:\n    tags: ['v*']", change("push", main), false, "only tags", 2},
		{"on:\n  push:\n    tags: ['v*']", change("push", tag), true, "matches tags: v*", 3},
		{"on:\n  push:\n    branches: [main]\n    tags: ['v*']", change("push", tag), true, "v*", 4},
		{"on:\n  push:\n    branches-ignore: [main, 'x*']", change("push", main), false, "branches-ignore: main", 3},
		{"on:\n  push:\n    branches-ignore: ['x*']", change("push", main), true, "matches nothing in branches-ignore", 3},
		{"on:\n  push:\n    paths: ['docs/**', '*.md']", change("push", main, files("a/b.go", "README.md")), true, "README.md", 3},
		{"on:\n  push:\n    paths: ['docs/**', '!docs/x.md']", change("push", main, files("docs/x.md")), false, "none of the 1 changed file", 3},
		{"on:\n  push:\n    paths: ['docs/**']", change("push", main), true, "nothing to compare", 2},
		{"on:\n  push:\n    paths: ['docs/**']", change("push", tag, files("a.go")), true, "push to tag", 2},
		{"on:\n  push:\n    paths-ignore: ['**.md']", change("push", main, files("a.md", "b/c.md")), false, "all of the 2 changed files", 3},
		{"on:\n  push:\n    paths-ignore: ['**.md']", change("push", main, files("a.md", "b/c.go")), true, "b/c.go", 3},
		{"on:\n  push:\n    branches: [dev]\n    paths: ['**']", change("push", main, files("a")), false, "does not match branches", 3},
		{"on: pull_request", change("pull_request", "refs/pull/3/merge", base("main")), true, "pull_request into main", 1},
		{"on: pull_request", change("pull_request", "refs/pull/3/merge", base("main"), says("action", "closed")), false, "activity closed", 1},
		{"on:\n  pull_request:\n    types: [closed]", change("pull_request", "refs/pull/3/merge", says("action", "closed")), true, "closed", 3},
		{"on:\n  pull_request:\n    types: [closed]", change("pull_request", "refs/pull/3/merge"), false, "activity synchronize", 3},
		{"on:\n  pull_request:\n    branches: ['rel/*']", change("pull_request", "refs/pull/3/merge", base("rel/1")), true, "into rel/1", 3},
		{"on:\n  pull_request_target:\n    branches: ['rel/*']", change("pull_request_target", main, base("main")), false, "main does not match", 3},
		{"on:\n  release:\n    types: [published]", change("release", tag), true, "unknown", 2},
		{"on:\n  release:\n    types: [published]", change("release", tag, says("action", "created")), false, "created", 3},
		{"on:\n  schedule:\n  - cron: '0 1 * * *'\n  - cron: '0 2 * * *'", change("schedule", main, says("schedule", "0 2 * * *")), true, "0 2", 4},
		{"on:\n  schedule:\n  - cron: '0 1 * * *'", change("schedule", main, says("schedule", "0 2 * * *")), false, "no cron", 2},
		{"on:\n  workflow_run:\n    workflows: [Build]", change("workflow_run", main, says("workflow_run", map[string]any{"name": "Build"})), true, "of Build", 3},
		{"on:\n  workflow_run:\n    workflows: [Build]", change("workflow_run", main, says("workflow_run", map[string]any{"name": "Test"})), false, "Test is not named", 3},
		{"on:\n  workflow_run:\n    workflows: [Build]\n    branches: [x]", change("workflow_run", main, says("workflow_run", map[string]any{"name": "Build", "head_branch": "x"})), true, "x", 3},
		{"on:\n  repository_dispatch:\n    types: [go]", change("repository_dispatch", main, says("action", "go")), true, "go", 3},
		{"on:\n  workflow_dispatch:", change("workflow_dispatch", main), true, "workflow_dispatch", 2},
		{"on:\n  merge_group:\n    branches: [main]", change("merge_group", main, says("merge_group", map[string]any{"base_ref": "refs/heads/main"})), true, "into main", 3},
	} {
		body := tc.on + "\njobs: {a: {runs-on: x, steps: [{run: a}]}}\n"
		p := compile(t, New(Config{}), body, tc.change)
		if p.Start.Yes != tc.want || !strings.Contains(p.Start.Why, tc.why) || p.Start.At.Line != tc.line {
			t.Errorf("%s\non %s %s: %v at %s: %s\nwant %v at line %d: %s", tc.on, tc.change.Event, tc.change.Ref,
				p.Start.Yes, p.Start.At, p.Start.Why, tc.want, tc.line, tc.why)
		}
		if hangs := strings.Contains(tc.on, "paths"); hangs != p.Start.Files && tc.change.Ref != tag && !strings.Contains(tc.on, "dev") {
			t.Errorf("%s: Files is %v", tc.on, p.Start.Files)
		}
	}
}

func TestBadFilter(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	ps, problems, err := d.Compile(t.Context(), tree(ciFile, "on:\n  push:\n    branches: ['[a']\njobs: {a: {runs-on: x, steps: [{run: a}]}}"), push())
	if err != nil || len(ps) != 1 || ps[0].Start.Yes || len(problems) == 0 || problems[0].Line != 3 {
		t.Errorf("%v %v %v", ps, problems, err)
	}
}

func TestDispatchInputs(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	c := push()
	c.Event = "workflow_dispatch"
	c.Inputs = map[string]string{"Flag": "true", "level": "2.5", "kind": "b", "env": "prod", "must": "x"}
	p := compile(t, d, `
on:
  workflow_dispatch:
    inputs:
      flag: {type: boolean}
      other: {type: boolean, default: true}
      level: {type: number}
      kind: {type: choice, options: [a, b]}
      first: {type: choice, options: [a, b]}
      env: {type: environment}
      text: {default: hi}
      must: {required: true}
jobs: {a: {runs-on: x, steps: [{run: a}]}}
`, c)
	got, problems := d.Inputs(p, c.Inputs)
	want := map[string]any{"flag": true, "other": true, "level": 2.5, "kind": "b", "first": "a", "env": "prod", "text": "hi", "must": "x"}
	if !equal(plain(got), plain(want)) || len(problems) > 0 {
		t.Errorf("%v %v", got, problems)
	}
	for given, want := range map[string]string{
		"flag=maybe": "must be true or false", "level=x": "must be a number", "kind=c": "one of a, b", "nope=1": "no input", "must=": "required",
	} {
		name, v, _ := strings.Cut(given, "=")
		in := map[string]string{"must": "x"}
		in[name] = v
		if _, problems := d.Inputs(p, in); len(problems) != 1 || !strings.Contains(problems[0].String(), want) {
			t.Errorf("%s: %v", given, problems)
		}
	}
	s := &plan.Scope{Context: &plan.Context{Pipeline: p, Change: c, Inputs: got}}
	v, err := d.Eval(plan.Expr{Text: "inputs.flag == true && github.event.inputs.flag == 'true' && inputs.level == 2.5"}, 0, s)
	if v != true || err != nil {
		t.Error(v, err)
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	c := &plan.Change{Event: "pull_request", Payload: map[string]any{
		"number": 7.0, "pull_request": map[string]any{"head": map[string]any{"ref": "topic"}, "base": map[string]any{"ref": "main"}},
		"repository": map[string]any{"full_name": "a/b", "default_branch": "trunk"}, "sender": map[string]any{"login": "me"},
	}}
	d.Describe(c)
	if c.Ref != "refs/pull/7/merge" || c.HeadRef != "topic" || c.BaseRef != "main" || c.Repository != "a/b" || c.DefaultBranch != "trunk" || c.Actor != "me" {
		t.Errorf("%+v", c)
	}
	c = push()
	d.Describe(c)
	if v := event(c.Payload).text("repository", "owner", "login"); v != "octo" || c.Payload["after"] != c.SHA {
		t.Errorf("%+v", c.Payload)
	}
	// A payload of any shape is only looked at.
	for _, e := range []string{"push", "pull_request", "release", "create", "workflow_dispatch", "pull_request_target"} {
		d.Describe(&plan.Change{Event: e, Payload: map[string]any{"pull_request": 3.0, "repository": []any{}, "ref": nil, "inputs": "x"}})
	}
}

func FuzzPayload(f *testing.F) {
	f.Add("push", `{"ref":"refs/heads/x","repository":{"owner":{"login":1}}}`)
	f.Add("pull_request", `{"pull_request":{"number":1e99,"base":[]},"action":null}`)
	f.Add("workflow_dispatch", `{"inputs":{"a":{"b":[]}}}`)
	f.Fuzz(func(t *testing.T, name, body string) {
		v, err := expression.ParseJSON(body)
		payload, ok := plain(v).(map[string]any)
		if err != nil || !ok {
			return
		}
		d := New(Config{})
		c := &plan.Change{Event: name, Payload: payload}
		d.Describe(c)
		s := &plan.Scope{Context: &plan.Context{Change: c, Pipeline: &plan.Pipeline{}}}
		for _, text := range []string{"toJSON(github)", "github.event.pull_request.base.ref", "github.event.*.x"} {
			_, _ = d.Eval(plan.Expr{Text: text}, 0, s)
		}
	})
}
