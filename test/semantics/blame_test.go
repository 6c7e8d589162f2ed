package semantics

import "testing"

// TestBlame: what the user must mend is a failure, what this machine or the
// network lacks is an error, and the exit code says which.
func TestBlame(t *testing.T) {
	job := func(step string) string {
		return "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - " + step + "\n"
	}
	check(t, []probe{
		{name: "a failing command", flow: job("run: exit 3"), exit: 1, shown: []string{"exit code 3"}},
		{name: "an action that cannot be fetched", flow: job("uses: owner/name@v1"), args: []string{"--offline"}, exit: 4,
			shown: []string{"the action owner/name@v1 cannot be had", "--action owner/name=DIR"}},
		{name: "a toolchain that is not installed", flow: job("{ uses: actions/setup-node@v4, with: { node-version: 4 } }"), exit: 4,
			shown: []string{"Node.js 4 is not installed here"}},
		{name: "Docker", flow: job("uses: docker://alpine:3"), exit: 4, env: noEngine, shown: []string{"no container engine answers", "start Docker or Podman", "ci.yml:6:"}},
		{name: "a local action that is not there", flow: job("uses: ./nowhere"), exit: 1, shown: []string{"no action.yml or action.yaml in"}},
		{name: "a working directory that is not there", flow: job("{ run: pwd, working-directory: nowhere }"), exit: 1,
			shown: []string{"the working directory", "does not exist"}},
		{name: "a command that this machine does not have", flow: job("run: nosuchcommand"), exit: 1,
			shown: []string{"nosuchcommand"}},
		{name: "errors are counted worse than failures", flow: job("run: exit 3") + "  b:\n    runs-on: ubuntu-latest\n    steps: [ { uses: 'docker://alpine:3' } ]\n", exit: 4, env: noEngine},
	})
}
