package builtin

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/depot/depottest"
)

// clientScript drives the real clients: whatever goes wrong throws. It is
// given to node with the variables of a job.
const clientScript = `
import * as fs from 'node:fs'
import * as path from 'node:path'
import assert from 'node:assert'
const load = async name => { const m = await import(name); return m.restoreCache || m.DefaultArtifactClient ? m : m.default }
process.chdir(process.env.GITHUB_WORKSPACE)
const big = 40 << 20 // more than a part of an upload
fs.mkdirSync('dir/sub', {recursive: true})
fs.writeFileSync('dir/a.txt', 'hello')
const noise = Buffer.alloc(big)
for (let i = 0, x = 1; i < big; i += 4) { x = (Math.imul(x, 1664525) + 1013904223) | 0; noise.writeInt32LE(x, i) }
fs.writeFileSync('dir/sub/big.bin', noise)
const check = root => {
  assert.equal(fs.readFileSync(path.join(root, 'a.txt'), 'utf8'), 'hello')
  assert.ok(fs.readFileSync(path.join(root, 'sub/big.bin')).equals(noise))
}

const cache = await load(process.env.CACHE_MODULE || '@actions/cache')
assert.equal(await cache.restoreCache(['dir'], 'k-1', ['k-']), undefined)
const id = await cache.saveCache(['dir'], 'k-1')
assert.ok(id > 0, 'saved')
assert.ok(await cache.saveCache(['dir'], 'k-1').then(n => n < 0, () => true), 'a key is saved once')
fs.rmSync('dir', {recursive: true})
assert.equal(await cache.restoreCache(['dir'], 'k-2', ['k-']), 'k-1')
check('dir')

if (process.env.CACHE_MODULE) process.exit(0)
const {DefaultArtifactClient} = await load('@actions/artifact')
const artifacts = new DefaultArtifactClient()
const up = await artifacts.uploadArtifact('out', ['dir/a.txt', 'dir/sub/big.bin'], 'dir')
assert.ok(up.id > 0 && up.size > big / 2)
await assert.rejects(artifacts.uploadArtifact('out', ['dir/a.txt'], 'dir'), /409|exists/)
const {artifacts: list} = await artifacts.listArtifacts()
assert.deepEqual(list.map(a => a.name).sort(), ['from-builtin', 'out'])
const {artifact} = await artifacts.getArtifact('out')
assert.equal(artifact.id, up.id)
await artifacts.downloadArtifact(up.id, {path: path.resolve('down'), expectedHash: artifact.digest})
check('down')
const {artifact: ours} = await artifacts.getArtifact('from-builtin')
await artifacts.downloadArtifact(ours.id, {path: path.resolve('ours'), expectedHash: ours.digest})
assert.equal(fs.readFileSync('ours/hi.txt', 'utf8'), 'hi')
await artifacts.uploadArtifact('gone', ['dir/a.txt'], 'dir')
await artifacts.deleteArtifact('gone')
await assert.rejects(artifacts.getArtifact('gone'), /not found/i)
console.log('ALL GOOD')
`

// TestRealClients runs the real clients of GitHub's services against ours. It
// needs node and a directory of node modules with @actions/cache and
// @actions/artifact (and, to try the older cache service, an older
// @actions/cache under the name cache3).
func TestRealClients(t *testing.T) {
	t.Parallel()
	modules := os.Getenv("FAIRLEAD_NODE_MODULES")
	if modules == "" {
		t.Skip("FAIRLEAD_NODE_MODULES is not set to a directory with @actions/cache and @actions/artifact")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	for _, server := range []string{"https://github.com", "https://git.example.com"} {
		for _, module := range []string{"", "cache3"} {
			if _, err := os.Stat(filepath.Join(modules, module)); err != nil {
				t.Logf("%s is not there", module)
				continue
			}
			t.Run(server+" "+module, func(t *testing.T) {
				t.Parallel()
				m := newMachine(t)
				s := m.scope()
				s.Change.Server = server
				depottest.Plant(t, m.path("ws"), map[string]string{"hi.txt": "hi"})
				m.ok(m.run("actions/upload-artifact", map[string]string{"name": "from-builtin", "path": "hi.txt"}, s))
				depottest.Plant(t, m.path("temp"), map[string]string{"script.mjs": clientScript, "node_modules": "-> " + modules})

				env, stop, err := m.set.Serve(t.Context(), s)
				if err != nil {
					t.Fatal(err)
				}
				defer stop()
				cmd := exec.CommandContext(t.Context(), node, m.path("temp", "script.mjs"))
				cmd.Env = append(os.Environ(), "GITHUB_WORKSPACE="+m.path("ws"), "RUNNER_TEMP="+m.path("temp"), "GITHUB_SERVER_URL="+server, "CACHE_MODULE="+module)
				for name, value := range env {
					cmd.Env = append(cmd.Env, name+"="+value)
				}
				out, err := cmd.CombinedOutput()
				if err != nil || module == "" && !strings.Contains(string(out), "ALL GOOD") {
					t.Errorf("%v\n%s", err, out)
				}

				if module == "" {
					// What the client saved, the built-in finds.
					m.ok(m.run("actions/download-artifact", map[string]string{"name": "out", "path": "native"}, s))
					if data, err := os.ReadFile(m.path("ws", "native", "a.txt")); string(data) != "hello" {
						t.Errorf("a.txt: %q, %v", data, err)
					}
				}
			})
		}
	}
}
