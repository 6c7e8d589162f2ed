package containers

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/client"

	"github.com/fairlead-dev/fairlead/internal/executor/docker/dockertest"
	"github.com/fairlead-dev/fairlead/test/binary"
)

// declared is a service that is healthy after a while, and knows a secret.
const declared = `on: push
jobs:
  cells:
    runs-on: ubuntu-latest
    strategy: {matrix: {v: [1, 2]}}
    services:
      web-1:
        image: ` + dockertest.Image + `
        ports: [8077]
        env: {KEY: "${{ secrets.KEY }}"}
        options: --health-cmd "test -e /tmp/ok" --health-interval 50ms --health-retries 200
        command: sh -c 'echo started; sleep 0.3; touch /tmp/ok; while :; do cat /tmp/said | nc -l -p 8077; echo "$KEY" > /tmp/said; done'
    steps: [{run: "true"}]
`

// up brings services up and returns their variables.
func up(t *testing.T, p *binary.Place, args ...string) map[string]string {
	t.Helper()
	out := p.Run(append([]string{"env", "up", "--format", "json"}, args...)...)
	env := map[string]string{}
	if err := json.Unmarshal([]byte(out.Stdout), &env); out.Exit != 0 || err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return env
}

// ask is what a port of the loopback address answers.
func ask(t *testing.T, port string) string {
	t.Helper()
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text, _ := io.ReadAll(c)
	return string(text)
}

// TestEnv: services are up and healthy for work, stay when the process has gone, and
// go when they are told to; runs leave them alone.
func TestEnv(t *testing.T) {
	t.Parallel()
	engine(t)
	p := binary.NewPlace(t, map[string]string{flow: declared})
	p.Env = append(p.Env, "KEY=sesame")
	t.Cleanup(func() { p.On(t).Run("env", "down") })
	first := up(t, p, "--secret", "KEY", "--job", "cells")
	if first["WEB_1_HOST"] != "127.0.0.1" || first["WEB_1_PORT"] == "" || first["WEB_1_PORT"] != first["WEB_1_PORT_8077"] {
		t.Fatalf("%v", first)
	}
	binary.Await(t, "the secret in the service", func() bool { return ask(t, first["WEB_1_PORT"]) == "sesame\n" })
	if again := up(t, p); again["WEB_1_PORT"] != first["WEB_1_PORT"] {
		t.Errorf("another port: %v, then %v", first, again)
	}
	// A run looks for what others have left, and does its own.
	if out := p.Run("run"); out.Exit != 0 {
		t.Fatal(out)
	}
	out := p.Run("env", "list")
	if !strings.Contains(out.Stdout, "127.0.0.1:"+first["WEB_1_PORT"]) || !strings.Contains(out.Stdout, "healthy") {
		t.Errorf("%s", out)
	}
	if out := p.Run("env", "exec", "--", "sh", "-c", "echo port=$WEB_1_PORT"); !strings.Contains(out.Stdout, "port="+first["WEB_1_PORT"]) {
		t.Errorf("%s", out)
	}

	p.Write(map[string]string{flow: strings.Replace(declared, "0.3", "0.2", 1)})
	if out := p.Run("env", "up"); out.Exit != 0 || !strings.Contains(out.Stderr, "web-1 is declared otherwise now") {
		t.Errorf("%s", out)
	}
	if out := p.Run("env", "reset"); out.Exit != 0 || strings.Contains(out.All(), "otherwise") {
		t.Errorf("%s", out)
	}
	if now := up(t, p); ask(t, now["WEB_1_PORT"]) == "sesame\n" {
		t.Error("after reset it is the old one")
	}
	if out := p.Run("env", "down"); out.Exit != 0 {
		t.Errorf("%s", out)
	}
	if out := p.Run("env", "list"); !strings.Contains(out.Stderr, "no service is up") {
		t.Errorf("%s", out)
	}
	if out := p.Run("env", "down"); out.Exit != 0 {
		t.Errorf("twice: %s", out)
	}
	for _, args := range [][]string{{"--job", "nosuch"}, {"--pipeline", "nosuch"}} {
		if out := p.Run(append([]string{"env", "up"}, args...)...); out.Exit != 2 || !strings.Contains(out.Stderr, "nosuch") {
			t.Errorf("%s", out)
		}
	}
}

// TestEnvKilled: what a killed `env up` had begun, the next one ends.
func TestEnvKilled(t *testing.T) {
	t.Parallel()
	engine(t)
	p := binary.NewPlace(t, map[string]string{flow: strings.Replace(declared, "sleep 0.3", "while ! test -e /tmp/go; do sleep 0.05; done", 1)})
	t.Cleanup(func() { p.On(t).Run("env", "down") })
	r := p.Start("env", "up")
	binary.Await(t, "the service to be starting", func() bool { return strings.Contains(p.Run("env", "list").Stdout, "starting") })
	if out := p.Run("env", "up"); out.Exit != 2 || !strings.Contains(out.Stderr, "somebody else is just bringing services") {
		t.Errorf("%s", out)
	}
	r.Signal(syscall.SIGKILL)
	r.Wait()
	if out := p.Run("env", "list"); !strings.Contains(out.Stdout, "starting") {
		t.Errorf("%s", out)
	}
	if out := p.Run("env", "reset", "--pipeline", "nosuch"); out.Exit != 2 { // takes down all the same
		t.Errorf("%s", out)
	}
	if out := p.Run("env", "list"); !strings.Contains(out.Stderr, "no service is up") {
		t.Errorf("%s", out)
	}
	p.Write(map[string]string{flow: declared})
	if up(t, p)["WEB_1_PORT"] == "" {
		t.Error("no port")
	}
}

// TestDatabases: jobs in containers, and commands that have one of their own, reach the
// databases that they are lent, at the same addresses.
func TestDatabases(t *testing.T) {
	t.Parallel()
	c := engine(t)
	binary.Need(t, "redis-server", "redis-cli")
	psql, err := filepath.Glob("/usr/lib/postgresql/*/bin/psql")
	if err != nil || len(psql) == 0 {
		t.Skip("SKIPPED: PostgreSQL is not installed")
	}
	const image = "fairlead-test/clients:1"
	if err := dockertest.StandIn(t.Context(), c, image, "redis-cli", psql[0]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = c.ImageRemove(context.Background(), image, client.ImageRemoveOptions{Force: true})
	})
	work := `
      - run: ` + psql[0] + ` -qAt "$PG" -c "INSERT INTO x VALUES (2); SELECT 'rows ' || count(*) FROM x"
      - run: redis-cli -u "$(echo "$RD" | sed s,//:,//default:,)" get who
      - run: head -c 13 "$LITE"; echo; echo more >> "$LITE" && touch "$LITE-wal"
      - run: echo "seed $FAIRLEAD_SEED"
`
	p := binary.NewPlace(t, map[string]string{
		"fairlead.yaml": `databases:
  - {name: pg, kind: postgres, env: PG, template: [x.sql]}
  - {name: rd, kind: redis, env: RD, template: [x.redis]}
  - {name: lite, kind: sqlite, env: LITE, template: [x.sql]}
`,
		"x.sql":   "CREATE TABLE x (n int); INSERT INTO x VALUES (1);\n",
		"x.redis": "SET who Ada\n",
		flow: `on: push
jobs:
  root:
    runs-on: ubuntu-latest
    container: ` + image + `
    steps:` + work + `
  user:
    runs-on: ubuntu-latest
    container: {image: ` + image + `, options: --user 1234}
    steps:` + work + `
  beside:
    runs-on: ubuntu-latest
    services: {s: {image: ` + dockertest.Image + `, command: sleep 1000}}
    container: ` + image + `
    steps:` + work + `
  apart:
    runs-on: ubuntu-latest
    steps:
      - uses: docker://` + image + `
        with: {args: sh -c "redis-cli -u $RD ping; ` + psql[0] + ` -qAt $PG -c 'SELECT count(*) FROM x'; head -c 13 $LITE; echo"}
`,
	})
	out := p.Run("run")
	if out.Exit != 0 {
		t.Fatalf("%s", out)
	}
	for _, job := range []string{"root", "user", "beside", "apart"} {
		log := p.Run("logs", "last", job).All()
		wants := []string{"Ada", "SQLite format", "seed ", "rows 2"}
		if job == "apart" {
			wants = []string{"NOAUTH", "\n1\n", "SQLite format"} // it was answered, and knows no password
		}
		for _, want := range wants {
			if !strings.Contains("\n"+log, want) {
				t.Errorf("%s: no %q in\n%s", job, want, log)
			}
		}
	}
}
