// Package containers proves, with the real binary and a real container engine,
// what happens to jobs and steps in containers. It is skipped, loudly, where no
// engine answers.
package containers

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/client"

	"github.com/fairlead-dev/fairlead/internal/executor/docker/dockertest"
	"github.com/fairlead-dev/fairlead/test/binary"
)

func TestMain(m *testing.M) { binary.Main(m) }

const flow = ".github/workflows/ci.yml"

func engine(t *testing.T) *client.Client {
	t.Helper()
	c, err := dockertest.Engine()
	if err != nil {
		t.Skipf("SKIPPED, no containers here: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// why is what `fairlead why` says of the last run, a line for each step.
func why(p *binary.Place) string {
	return regexp.MustCompile(` +`).ReplaceAllString(p.Run("why").Stdout, " ")
}

// A project with everything that there is: a job in a container with a service
// and a secret, an image as a step, an action that is built.
const project = `on: push
jobs:
  box:
    runs-on: ubuntu-latest
    container:
      image: ` + dockertest.Image + `
      env: {PLAIN: plain, HIDDEN: "${{ secrets.HIDDEN }}"}
    services:
      web:
        image: ` + dockertest.Image + `
        ports: [8077]
        options: --health-cmd "test -e /tmp/ok" --health-interval 50ms --health-retries 100
        command: sh -c 'touch /tmp/ok; while :; do echo hello | nc -l -p 8077; done'
    outputs: {got: "${{ steps.ask.outputs.got }}"}
    steps:
      - uses: actions/checkout@v4
      - id: ask
        run: |
          echo "got=$(until nc web 8077 </dev/null; do sleep 0.05; done)" >> $GITHUB_OUTPUT
          echo "$PLAIN $HIDDEN ${#HIDDEN} $(whoami)"
      - run: test -n "${{ job.services.web.ports['8077'] }}"
  host:
    needs: box
    runs-on: ubuntu-latest
    services: {web: {image: ` + dockertest.Image + `, ports: [8077], command: sleep 1000}}
    steps:
      - uses: actions/checkout@v4
      - uses: docker://` + dockertest.Image + `
        with: {args: "sh -c \"echo from ${{ needs.box.outputs.got }} > made; pwd\""}
      - uses: ./act
        id: act
        with: {who: World}
      - run: 'echo "$(cat made), ${{ steps.act.outputs.said }}, $SAID, ${{ job.services.web.ports[8077] != 8077 }}"'
`

func TestProject(t *testing.T) {
	t.Parallel()
	engine(t)
	p := binary.NewPlace(t, map[string]string{
		flow:             project,
		"act/action.yml": "name: a\ndescription: a\ninputs: {who: {description: w}}\nruns: {using: docker, image: Dockerfile, args: ['${{ inputs.who }}']}\n",
		"act/Dockerfile": "FROM " + dockertest.Image + "\nCOPY say /say\nENTRYPOINT [\"/bin/sh\", \"/say\"]\n",
		"act/say":        "echo \"said=$1 $INPUT_WHO\" >> $GITHUB_OUTPUT\necho SAID=yes >> $GITHUB_ENV\n",
	})
	p.Env = append(p.Env, "HIDDEN=sesame")
	out := p.Run("run", "--secret", "HIDDEN")
	for _, want := range []string{"plain *** 6 root", "from hello, World World, yes, true", "/github/workspace"} {
		if out.Exit != 0 || !strings.Contains(out.All(), want) {
			t.Fatalf("%q is not in\n%s", want, out)
		}
	}
	if strings.Contains(out.All(), "sesame") {
		t.Error("the secret is shown")
	}
}

// Steps in containers are reused like others, until the image is another or an
// earlier step has changed the container.
func TestReuse(t *testing.T) {
	t.Parallel()
	c := engine(t)
	const name = "fairlead-test/reuse:1"
	image := func(version string) {
		t.Helper()
		if err := dockertest.Import(t.Context(), c, name, map[string]string{"bin/tool": "#!/bin/sh\necho " + version + " $(cat $1)\n"}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_, _ = c.ImageRemove(context.Background(), name, client.ImageRemoveOptions{Force: true})
	})
	image("one")
	p := binary.NewPlace(t, map[string]string{"in": "a\n", flow: `on: push
jobs:
  a:
    runs-on: ubuntu-latest
    container: ` + name + `
    steps:
      - run: tool in > out
      - run: cat out
      - run: if [ -e change ]; then echo x >> /bin/tool; fi
      - run: cat in
  b:
    needs: a # one after the other, so that both have the same workspace each time
    runs-on: ubuntu-latest
    steps:
      - {uses: "docker://` + name + `", with: {args: tool in}}
`})
	run := func(name, want string) {
		t.Helper()
		out := p.Run("run")
		if out.Exit != 0 {
			t.Fatalf("%s: %s", name, out)
		}
		var got []string
		for line := range strings.Lines(why(p)) {
			for _, word := range []string{" reused ", " ran "} {
				if strings.Contains(line, word) && strings.ContainsRune(line[:3], '/') {
					got = append(got, strings.TrimSpace(word))
				}
			}
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s: %s, want %s\n%s", name, text, want, why(p))
		}
	}
	run("first", "ran ran ran ran ran")
	if strings.Contains(why(p), "not-watched") || strings.Contains(why(p), "could not be watched") {
		t.Skipf("SKIPPED, nothing can be watched in containers here:\n%s", why(p))
	}
	run("again", "reused reused reused reused reused")
	p.Write(map[string]string{"in": "b\n"})
	run("another input", "ran ran reused ran ran")
	image("two")
	run("another image", "ran ran ran ran ran")
	if out := p.Run("logs", "last", "a/2"); !strings.Contains(out.All(), "two b") {
		t.Errorf("%s", out)
	}
	run("the same again", "reused reused reused reused reused")
	p.Write(map[string]string{"change": ""})
	run("the container is changed", "reused reused ran ran reused")
	if text := why(p); !strings.Contains(text, "/bin/tool") {
		t.Errorf("it is not said what was changed:\n%s", text)
	}
	run("and again", "reused reused ran ran reused")
}

// What was killed is cleaned up after, and goes on.
func TestKill(t *testing.T) {
	t.Parallel()
	c := engine(t)
	p := binary.NewPlace(t, map[string]string{flow: `on: push
jobs:
  a:
    runs-on: ubuntu-latest
    container:
      image: ` + dockertest.Image + `
      volumes: ["${{ vars.OUTSIDE }}:/outside"]
    services: {s: {image: ` + dockertest.Image + `, command: sleep 1000}}
    steps:
      - run: echo once >> /outside/once; echo kept > kept
      - run: echo begun > /outside/begun; test -e /outside/free || sleep 1000; cat kept
`})
	r := p.Start("run", "--var", "OUTSIDE="+p.Outside)
	p.AwaitFile("begun")
	r.Signal(syscall.SIGKILL)
	r.Wait()
	if err := os.WriteFile(filepath.Join(p.Outside, "free"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	out := p.Run("run", "--resume", "last", "--var", "OUTSIDE="+p.Outside)
	if out.Exit != 0 || !strings.Contains(out.All(), "kept") {
		t.Errorf("%s", out)
	}
	if once, err := os.ReadFile(filepath.Join(p.Outside, "once")); err != nil || string(once) != "once\n" {
		t.Errorf("%q, %v", once, err)
	}
	binary.Await(t, "all containers to go", func() bool {
		list, err := c.ContainerList(t.Context(), client.ContainerListOptions{All: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range list.Items {
			for _, m := range one.Mounts {
				if strings.HasPrefix(m.Source, filepath.Dir(p.Cache)) {
					return false
				}
			}
		}
		return true
	})
}

// Cancelling ends what runs in the container, and removes it.
func TestCancel(t *testing.T) {
	t.Parallel()
	engine(t)
	p := binary.NewPlace(t, map[string]string{flow: `on: push
jobs:
  a:
    runs-on: ubuntu-latest
    container: {image: ` + dockertest.Image + `, volumes: ["${{ vars.OUTSIDE }}:/outside"]}
    steps:
      - run: |
          trap 'echo ended > /outside/ended; exit 1' TERM
          echo begun > /outside/begun
          while :; do sleep 0.05; done
      - if: always()
        run: echo still here
`})
	r := p.Start("run", "--var", "OUTSIDE="+p.Outside)
	p.AwaitFile("begun")
	r.Signal(syscall.SIGINT)
	out := r.Wait()
	if _, err := os.Stat(filepath.Join(p.Outside, "ended")); err != nil || out.Exit == 0 || !strings.Contains(out.All(), "still here") {
		t.Errorf("%v\n%s", err, out)
	}
}

// Where no engine answers it is said what was tried; what needs none runs.
func TestNoEngine(t *testing.T) {
	t.Parallel()
	p := binary.NewPlace(t, map[string]string{flow: `on: push
jobs:
  a: {runs-on: ubuntu-latest, container: alpine, steps: [{run: "true"}]}
  b: {runs-on: ubuntu-latest, steps: [{run: echo here}, {uses: "docker://alpine"}]}
`})
	p.Env = append(p.Env, "DOCKER_HOST=unix:///no/such/socket")
	out := p.Run("run")
	if out.Exit != 4 || strings.Count(out.All(), "/no/such/socket") < 2 || !strings.Contains(out.All(), "here") || !strings.Contains(out.All(), "install Docker or Podman") {
		t.Errorf("%s", out)
	}
}
