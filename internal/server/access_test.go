package server

import (
	"encoding/json"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// TestAccessible has axe-core look at every page, light and dark, wide and narrow. It is
// somebody else's, under a licence of its own, and not in this repository:
//
//	npm pack axe-core && tar xzf axe-core-*.tgz package/axe.min.js
//	FAIRLEAD_AXE=$PWD/package/axe.min.js go test ./internal/server -run Accessible
//
// What of it a machine can check without a browser TestPages holds to always.
func TestAccessible(t *testing.T) {
	t.Parallel()
	name := os.Getenv("FAIRLEAD_AXE")
	if name == "" {
		t.Skip("SKIPPED: set FAIRLEAD_AXE to the path of axe.min.js of axe-core")
	}
	axe, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	sc := newScene(t)
	sc.still()
	failing := sc.story()
	sc.people()
	paths := pagePaths(failing)
	maps.Copy(paths, sc.tellCoverage())
	maps.Copy(paths, sc.tellDeployments())
	sc.s.OIDC = "id.example.org"
	b := browse(t, sc)
	pages, rules := 0, map[string]bool{}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1360, 400} {
			b.do(chromedp.EmulateViewport(width, 900))
			if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}); err != nil {
				t.Fatal(err)
			}
			for which, path := range paths {
				b.open(path)
				eval[bool](b, string(axe)+"; true")
				text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`axe.run(document, {resultTypes: ["violations", "passes"]}).then(r => JSON.stringify({passed: r.passes.map(p => p.id), found: r.violations.map(v => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + " " + n.failureSummary)}))}))`, chromedp.EvalAwaitPromise))
				if err != nil {
					t.Fatalf("%s: %v", which, err)
				}
				var got struct {
					Passed []string
					Found  []struct {
						ID, Impact, Help string
						Nodes            []string
					}
				}
				if err := json.Unmarshal([]byte(text), &got); err != nil {
					t.Fatalf("%s: %v: %s", which, err, text)
				}
				pages++
				for _, id := range got.Passed {
					rules[id] = true
				}
				for _, v := range got.Found {
					t.Errorf("%s (%s, %s, %d wide): %s, %s: %s\n  %s", which, path, scheme, width, v.Impact, v.ID, v.Help, strings.Join(v.Nodes, "\n  "))
				}
			}
		}
	}
	t.Logf("%d pages, %d rules held", pages, len(rules))
}
