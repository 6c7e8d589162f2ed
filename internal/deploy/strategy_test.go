package deploy_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
)

var update = flag.Bool("update", false, "write docs/reference/strategies.md instead of comparing it")

const strategies = "../../docs/reference/strategies.md"

// kindsOfDrivers are what drivers can do, by what they are like.
func kindsOfDrivers() (splits, steps, single, applies, flags deploy.Capabilities) {
	return deploy.Capabilities{Instances: true, Beside: true, Split: true, Counts: true, Drift: true},
		deploy.Capabilities{Instances: true, Beside: true, Steps: 1, Why: "shares come by instances"},
		deploy.Capabilities{Instances: true, Why: "there is one place for it"},
		deploy.Capabilities{Propose: true, Once: true, Drift: true, Why: "it applies a configuration"},
		deploy.Capabilities{Beside: true, Split: true, Why: "a flag is no process"}
}

// chapter is one list of moves of the document.
type chapter struct {
	title, words, yaml string
	svc                project.Service
	env                project.DeployEnvironment
	caps               deploy.Capabilities
	first              bool
}

func chapters() []chapter {
	splits, steps, single, applies, flags := kindsOfDrivers()
	checks := []plan.Check{{Name: "ready", HTTP: &plan.HTTPCheck{Path: "/healthz"}}}
	gate := project.DeployEnvironment{Name: "production", Gate: plan.DeployGate{Approvals: 1, NotAuthor: true}}
	return []chapter{
		{title: "Blue-green", words: "All instances of the new release are started beside the old ones; when they pass the checks, all requests go over in one act. It is what a\nservice gets that does not say otherwise, where a proxy of Fairlead's own stands before it.",
			yaml: "instances: 2\nstrategy:\n  kind: blue-green\n  bake: 5m",
			svc:  project.Service{Instances: 2, Checks: checks, Strategy: project.Strategy{Kind: project.BlueGreen, Bake: 5 * time.Minute}}, caps: splits},
		{title: "Canary", words: "A growing share of the requests goes to the new release, as long as it does no worse than the old one. With nothing said the steps are 5, 25, 50\nand 100 %. As many instances are started as a share needs.",
			yaml: "instances: 4\nstrategy:\n  kind: canary\n  hold: 2m",
			svc:  project.Service{Instances: 4, Checks: checks, Strategy: project.Strategy{Kind: project.Canary, Hold: 2 * time.Minute}}, caps: splits},
		{title: "Canary, with a gate, migrations, and by hand", words: "The gate comes first. Data are made ready for both releases before the new one starts; what only the old one needed goes when it has gone, which\nis the end of the way back. \"by hand\" holds before the last step until somebody promotes.",
			yaml: "migrations:\n  - phase: expand\n    command: ./migrate up\n    probe: ./migrate check\n  - phase: contract\n    command: ./migrate clean\nstrategy:\n  kind: canary\n  steps: [10]\n  promote: by hand",
			svc: project.Service{Checks: checks, Strategy: project.Strategy{Kind: project.Canary, Steps: []int{10}, Promote: "by hand"},
				Migrations: []plan.Migration{{Phase: "expand", Command: "./migrate up", Probe: "./migrate check"}, {Phase: "contract", Command: "./migrate clean"}}}, env: gate, caps: splits},
		{title: "Canary, where shares come by instances", words: "A driver that cannot split requests, but spreads them over instances, has no smaller share than one instance.",
			yaml: "instances: 4\nstrategy:\n  kind: canary", svc: project.Service{Instances: 4, Strategy: project.Strategy{Kind: project.Canary}}, caps: steps},
		{title: "Rolling", words: "Instances are replaced a batch at a time: a quarter of them, if nothing is said.",
			yaml: "instances: 4\nstrategy:\n  kind: rolling\n  batch: 2",
			svc:  project.Service{Instances: 4, Checks: checks, Strategy: project.Strategy{Kind: project.Rolling, Batch: 2}}, caps: splits},
		{title: "Recreate", words: "The old release is stopped, then the new one started. In between nobody answers: it is for what cannot be there twice, and what a driver gets\nthat has room for one only.",
			yaml: "strategy:\n  kind: recreate", svc: project.Service{Checks: checks}, caps: single},
		{title: "Apply", words: "A driver without instances (terraform, ansible, cloudformation, command) applies a release as a whole, and no strategy is named. If it can say\nbeforehand what it would change, that is what people agree to, and exactly that is applied.",
			svc: project.Service{Checks: checks}, env: gate, caps: applies},
		{title: "A guarded flag", words: "A flag is rolled out by the same moves. A share is then one of users.",
			svc: project.Service{Strategy: project.Strategy{Steps: []int{1, 10}, Hold: time.Hour}, Checks: checks}, caps: flags},
		{title: "The first release", words: "Where nothing is yet, nothing is split or kept, whatever the strategy.",
			svc: project.Service{Checks: checks, Strategy: project.Strategy{Kind: project.Canary}}, caps: splits, first: true},
	}
}

// refusals are strategies that cannot be had.
func refusals() []chapter {
	splits, steps, single, applies, _ := kindsOfDrivers()
	return []chapter{
		{svc: project.Service{Strategy: project.Strategy{Kind: project.Canary}}, caps: single},
		{svc: project.Service{Strategy: project.Strategy{Kind: project.Canary}}, caps: deploy.Capabilities{Instances: true, Beside: true, Why: "nothing stands before the instances"}},
		{svc: project.Service{Instances: 3, Strategy: project.Strategy{Kind: project.Canary, Steps: []int{5, 50}}}, caps: steps},
		{svc: project.Service{Strategy: project.Strategy{Kind: project.BlueGreen}}, caps: applies},
		{svc: project.Service{Strategy: project.Strategy{Kind: project.Canary, Steps: []int{50, 20}}}, caps: splits},
		{svc: project.Service{Strategy: project.Strategy{Kind: "big-bang"}}, caps: splits},
		{svc: project.Service{Instances: 2, Strategy: project.Strategy{Kind: project.Rolling, Batch: 3}}, caps: splits},
		{svc: project.Service{Analysis: &plan.Analysis{}}, caps: steps},
		{svc: project.Service{Strategy: project.Strategy{Bake: -time.Second}}, caps: splits},
		{svc: project.Service{Strategy: project.Strategy{Promote: "never"}}, caps: splits},
		{svc: project.Service{Strategy: project.Strategy{Kind: project.Rolling, Steps: []int{1}}}, caps: splits},
	}
}

// TestStrategies holds docs/reference/strategies.md to what Compile makes.
func TestStrategies(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(`# Strategies

A strategy is no more than a list of moves. This page is made of the lists themselves; how they are brought about, and taken back, is told in
[The life of a rollout](../explanation/rollouts.md). Every move has a deadline; when it has passed, the rollout goes back.

| move | when it is done |
|---|---|
| reset | what a rollout left that was broken off is put back; only then, and before all others |
| propose | the driver has said what it would change |
| gate | people, windows and the environment before it let it go on |
| migrate | data are ready for both releases (expand), or freed of what only the old one needed (contract) |
| up | so many instances of the new release are ready, without requests |
| down | no more than so many instances of the old release are left |
| verify | the new release has passed its checks |
| shift | that share of the requests goes to the new release |
| analyze | the new release was found to do no worse than the old one |
| hold | the time has passed while the checks held, or somebody has promoted it |
| retire | the old release was kept for a while as the way back, and has gone |
`)
	for _, c := range chapters() {
		c.svc.Name = "shop"
		if c.env.Name == "" {
			c.env.Name = "production"
		}
		r, problems := deploy.Compile(&c.svc, &c.env, c.caps, !c.first)
		if len(problems) > 0 {
			t.Errorf("%s: %v", c.title, problems)
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", c.title, c.words)
		if c.yaml != "" {
			fmt.Fprintf(&b, "\n```yaml\n%s\n```\n", c.yaml)
		}
		b.WriteString("\n| move | | within |\n|---|---|---|\n")
		keys := map[string]bool{}
		for _, mv := range r.Moves {
			if keys[mv.Key] {
				t.Errorf("%s: there are two moves %s", c.title, mv.Key)
			}
			keys[mv.Key] = true
			if mv.Within <= 0 && mv.Kind != plan.MoveGate {
				t.Errorf("%s: %s has no deadline", c.title, mv.Key)
			}
			within := strings.TrimSuffix(mv.Within.String(), "0s")
			if mv.Kind == plan.MoveGate || mv.Kind == plan.MoveHold && mv.For == 0 {
				within = "as long as it takes"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", mv.Key, words(&mv), within)
		}
	}
	b.WriteString("\n## What cannot be had\n\nA strategy that a driver cannot do is refused before anything begins, and never replaced by another one.\n\n")
	for _, c := range refusals() {
		c.svc.Name, c.env.Name = "shop", "production"
		c.svc.Process = &project.Process{}
		_, problems := deploy.Compile(&c.svc, &c.env, c.caps, true)
		if len(problems) != 1 || problems[0].Severity != plan.Error {
			t.Errorf("%+v: %v", c.svc.Strategy, problems)
			continue
		}
		p := problems[0]
		b.WriteString("- " + p.Message)
		if p.Hint != "" {
			b.WriteString(": " + p.Hint)
		}
		b.WriteString(".\n")
	}
	if *update {
		if err := os.WriteFile(strategies, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(strategies)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != b.String() {
		t.Errorf("%s is not what the strategies are: go test ./internal/deploy -run Strategies -update", strategies)
	}
}

// words are a move for people.
func words(m *plan.Move) string {
	short := func(d time.Duration) string {
		return strings.TrimSuffix(strings.TrimSuffix(d.String(), "m0s")+"m", "sm") + map[bool]string{true: "s"}[d < time.Minute]
	}
	switch m.Kind {
	case plan.MoveGate:
		return fmt.Sprintf("%d approval, not of the author", m.Gate.Approvals)
	case plan.MovePropose:
		return "what would be changed"
	case plan.MoveMigrate:
		return "`" + m.Migration.Command + "`"
	case plan.MoveUp:
		if m.Instances == 0 {
			return "the new release is applied"
		}
		return fmt.Sprintf("%d of the new release", m.Instances)
	case plan.MoveDown:
		return fmt.Sprintf("%d of the old release", m.Instances)
	case plan.MoveVerify:
		return "the check " + m.Checks[0].Name
	case plan.MoveShift:
		return fmt.Sprintf("%d %% to the new release", m.Percent)
	case plan.MoveAnalyze:
		return fmt.Sprintf("for %s, every %s", short(m.Analysis.For), m.Analysis.Every)
	case plan.MoveHold:
		if m.For == 0 {
			return "until somebody promotes it"
		}
		return "for " + short(m.For)
	case plan.MoveRetire:
		if m.For == 0 {
			return "the old release goes"
		}
		return fmt.Sprintf("the old release is kept for %s, then goes", short(m.For))
	}
	return ""
}

// FuzzCompile: whatever a file says, the list ends, its keys are unique, and shares only rise.
func FuzzCompile(f *testing.F) {
	f.Add("canary", 4, 1, 5, 50, byte(0xff), true)
	f.Add("rolling", 7, 2, 0, 0, byte(7), true)
	f.Add("rolling", 300, 1, 0, 0, byte(7), true)
	f.Add("", 1, 0, 0, 0, byte(0), false)
	f.Fuzz(func(t *testing.T, kind string, instances, batch, first, second int, can byte, from bool) {
		svc := project.Service{Name: "shop", Instances: instances % 2000, Strategy: project.Strategy{Kind: kind, Batch: batch}}
		if first != 0 {
			svc.Strategy.Steps = []int{first, second}
		}
		bit := func(i int) bool { return can&(1<<i) != 0 }
		caps := deploy.Capabilities{Instances: bit(0), Beside: bit(1), Split: bit(2), Counts: bit(3), Propose: bit(4), Once: bit(5)}
		if bit(6) {
			caps.Steps = 1
		}
		r, problems := deploy.Compile(&svc, &project.DeployEnvironment{Name: "production"}, caps, from)
		if plan.Errors(problems) {
			return
		}
		keys, share, up := map[string]bool{}, 0, 0
		for _, mv := range r.Moves {
			if keys[mv.Key] {
				t.Fatalf("two moves %s", mv.Key)
			}
			keys[mv.Key] = true
			switch mv.Kind {
			case plan.MoveShift:
				if mv.Percent <= share || mv.Percent > 100 {
					t.Fatalf("a share of %d after %d", mv.Percent, share)
				}
				share = mv.Percent
			case plan.MoveUp:
				if caps.Instances && mv.Instances <= up {
					t.Fatalf("%d instances after %d", mv.Instances, up)
				}
				up = mv.Instances
			}
		}
		if (caps.Instances || caps.Split) && share != 100 {
			t.Fatalf("it ends at %d %%", share)
		}
		if caps.Instances && up != svc.In("production") {
			t.Fatalf("it ends with %d of %d instances", up, svc.In("production"))
		}
	})
}
