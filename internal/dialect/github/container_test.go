package github

import (
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

func TestContainerActions(t *testing.T) {
	t.Parallel()
	remote := t.TempDir()
	writeFiles(t, remote,
		"plain/Dockerfile", "FROM x\n",
		"image/action.yml", `name: i
description: d
inputs: {who: {default: you, description: d}}
runs: {using: docker, image: "docker://alpine:3", args: [hello, "${{ inputs.who }}"], env: {OWN: "of ${{ inputs.who }}", OWN2: action}}
`,
		"built/action.yml", `name: b
description: d
runs: {using: docker, image: sub/Dockerfile, pre-entrypoint: /pre.sh, entrypoint: /main.sh, post-entrypoint: /post.sh -x}
`,
		"built/sub/Dockerfile", "FROM x\n")
	volumes := "volume /work:/github/workspace\nvolume /temp/_github_home:/github/home\nvolume /temp/_github_workflow:/github/workflow\n"
	for _, tc := range []struct{ step, want string }{
		{`{uses: "docker://alpine:3.20", with: {args: "sh -c 'echo a b'", entrypoint: /bin/env, x: y}}`,
			`container alpine:3.20: entrypoint ["/bin/env"], command ["sh" "-c" "echo a b"], in /github/workspace
` + volumes + "GITHUB_WORKSPACE=/github/workspace\nHOME=/github/home\nINPUT_ARGS=sh -c 'echo a b'\nINPUT_ENTRYPOINT=/bin/env\nINPUT_X=y\n"},
		{`{uses: "docker://alpine"}`, `container alpine: entrypoint [], command [], in /github/workspace` + "\n" + volumes},
		{`{uses: octo/tools/plain@v1}`, `container build plain/Dockerfile: entrypoint [], command []`},
		{`{uses: octo/tools/image@v1, with: {who: me}, env: {OWN2: mine}}`,
			`container alpine:3: entrypoint [], command ["hello" "me"], in /github/workspace
` + volumes + "GITHUB_WORKSPACE=/github/workspace\nHOME=/github/home\nINPUT_WHO=me\nOWN=of me\nOWN2=mine\n"},
		{`{uses: octo/tools/built@v1}`, `container build sub/Dockerfile: entrypoint ["/pre.sh"]`},
		{`{uses: octo/tools/built@v1}`, `container build sub/Dockerfile: entrypoint ["/main.sh"]`},
		{`{uses: octo/tools/built@v1}`, `container build sub/Dockerfile: entrypoint ["/post.sh" "-x"]`},
	} {
		d := New(Config{Actions: map[string]string{"octo/tools": remote}})
		ps, _, err := d.Compile(t.Context(), tree(ciFile, "on: push\njobs: {a: {runs-on: x, steps: ["+tc.step+"]}}\n"), push())
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, d, &ps[0], push())
		if v := w.run(ps[0].Jobs); v != plan.Success || !strings.Contains(w.log.String(), tc.want) {
			t.Errorf("%s: %s\n%s\nwant %s", tc.step, v, w.log.String(), tc.want)
		}
	}
}

// A job in a container has the shell that every image has, no entrypoint, and
// secrets outside of its plan.
func TestContainerJob(t *testing.T) {
	t.Parallel()
	d := New(Config{LookPath: func(string, []string) (string, error) {
		t.Error("this machine was asked for a program")
		return "", nil
	}})
	ps, _, err := d.Compile(t.Context(), tree(ciFile, `on: push
jobs:
  a:
    runs-on: ubuntu-latest
    container: {image: golang:1, env: {A: b, P: "${{ secrets.P }}"}}
    services: {db: {image: postgres, ports: [5432], env: {POSTGRES_PASSWORD: "x${{ secrets.P }}"}}}
    steps:
      - run: echo ${{ job.services.db.ports['5432'] }} ${{ job.services.db.ports[5432] }} ${{ job.services.db.id }}
`), push())
	if err != nil {
		t.Fatal(err)
	}
	scope := &plan.Scope{
		Context: &plan.Context{Pipeline: &ps[0], Change: push(), Secrets: map[string]string{"P": "secret"}},
		Job:     &ps[0].Jobs[0], Dirs: plan.Dirs{Workspace: "/w", Temp: "/t"},
		Beside: map[string]plan.Beside{"db": {ID: "abc", Network: "n", Ports: map[string]string{"5432": "32768"}}},
	}
	became, err := d.Expand(t.Context(), &ps[0].Jobs[0], scope)
	if err != nil {
		t.Fatal(err)
	}
	job := became.Jobs[0]
	scope.Job = &job
	c, db := job.Place.Container, job.Place.Services["db"]
	if c == nil || len(c.Entrypoint) != 1 || c.Entrypoint[0] != "" || c.Env["A"] != "b" || len(c.Env) != 1 || len(c.Private) != 1 || len(db.Private) != 1 {
		t.Fatalf("%+v\n%+v", c, db)
	}
	if v, err := d.Eval(db.Private[0].Value, dialect.Text, scope); err != nil || v != "xsecret" {
		t.Errorf("%v, %v", v, err)
	}
	session, err := d.Open(t.Context(), scope)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	act, err := session.Resolve(t.Context(), &job.Steps[0], scope)
	if err != nil {
		t.Fatal(err)
	}
	if got := act.Command.Script; got != "echo 32768 32768 abc" || act.Command.Argv[0] != "sh" {
		t.Errorf("%q, %q", act.Command.Argv, got)
	}
	scope.Paper = true
	if _, err := session.Resolve(t.Context(), &job.Steps[0], scope); err == nil {
		t.Error("the ports are known although nothing runs")
	}
}
