package feature

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// noon is the time of these tests.
func noon() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) }

// compileText reads and compiles definitions that have no problems.
func compileText(t testing.TB, src string) *Set {
	t.Helper()
	d, problems := Read(Name, []byte(src))
	set, more := Compile(d)
	for _, p := range append(problems, more...) {
		if p.Severity == plan.Error {
			t.Fatal(p)
		}
	}
	return set
}

const shop = `{
  "flags": {
    "checkout": {
      "state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
      "targeting": {"if": [{"ends_with": [{"var": "email"}, "@example.com"]}, "on", null]},
      "fairlead": {"owner": "shop", "off": "off", "split": {"shares": [{"variant": "on", "percent": 25}]}}
    },
    "express": {
      "state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on",
      "fairlead": {"off": "off", "needs": [{"flag": "checkout", "variants": ["on"]}]}
    },
    "sale": {
      "state": "ENABLED", "variants": {"on": "50 %", "off": ""}, "defaultVariant": "on",
      "fairlead": {"off": "off", "from": "2026-05-01T00:00:00Z", "until": "2026-05-02T00:00:00Z"}
    },
    "broken-payment": {
      "state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on", "fairlead": {"off": "off", "killed": "INC-7"}
    },
    "plain": {"state": "DISABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"},
    "open": {"state": "ENABLED", "variants": {"on": true}}
  }
}`

func TestEvaluation(t *testing.T) {
	t.Parallel()
	set := compileText(t, shop)
	inside, outside := "", ""
	for i := 0; inside == "" || outside == ""; i++ {
		key := fmt.Sprint("user-", i)
		if murmur(0, "checkout", key) < 1<<30 {
			inside = key
		} else {
			outside = key
		}
	}
	for _, c := range []struct {
		name, flag string
		context    map[string]any
		at         time.Duration
		value      any
		reason     Reason
	}{
		{"by rule", "checkout", map[string]any{"email": "ada@example.com", "targetingKey": outside}, 0, true, TargetingMatch},
		{"by share", "checkout", map[string]any{"targetingKey": inside}, 0, true, SplitReason},
		{"not in the share", "checkout", map[string]any{"targetingKey": outside}, 0, false, DefaultReason},
		{"nobody has no share", "checkout", nil, 0, false, DefaultReason},
		{"what it needs is there", "express", map[string]any{"targetingKey": inside}, 0, true, DefaultReason},
		{"what it needs is not there", "express", map[string]any{"targetingKey": outside}, 0, false, DisabledReason},
		{"in its time", "sale", nil, 0, "50 %", DefaultReason},
		{"before its time", "sale", nil, -13 * time.Hour, "", DisabledReason},
		{"after its time", "sale", nil, 12 * time.Hour, "", DisabledReason},
		{"killed", "broken-payment", nil, 0, false, DisabledReason},
		{"disabled", "plain", nil, 0, nil, DisabledReason},
		{"without a default", "open", nil, 0, nil, DefaultReason},
		{"unknown", "nothing", nil, 0, nil, ErrorReason},
	} {
		if e := set.Evaluate(c.flag, c.context, noon().Add(c.at)); e.Value != c.value || e.Reason != c.reason {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
	if !set.Timed(noon(), noon().Add(12*time.Hour)) || set.Timed(noon(), noon().Add(time.Hour)) {
		t.Error("the end of the sale is not seen, or too early")
	}
	if all := set.All(nil, noon()); len(all) != 5 {
		t.Errorf("%d flags are answered together", len(all))
	}
}

// TestShareGrows holds the promise of a share: whom it has, it keeps.
func TestShareGrows(t *testing.T) {
	t.Parallel()
	had := map[string]bool{}
	for _, percent := range []float64{0, 0.5, 5, 12.5, 50, 99.9, 100} {
		set := compileText(t, fmt.Sprintf(`{"flags":{"f":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off",
			"fairlead":{"split":{"by":"account","shares":[{"variant":"on","percent":%g}]}}}}}`, percent))
		in := 0
		for i := range 20_000 {
			key := fmt.Sprint("account-", i)
			on := set.Evaluate("f", map[string]any{"account": key}, noon()).Value == true
			if had[key] && !on {
				t.Fatalf("at %g %% %s has lost it", percent, key)
			}
			had[key] = on
			if on {
				in++
			}
		}
		if got := float64(in) / 200; got < percent-1 || got > percent+1 {
			t.Errorf("%g %% are %g %%", percent, got)
		}
	}
}

// TestPlain checks that flagd, given the plain file, says the same.
func TestPlain(t *testing.T) {
	t.Parallel()
	d, _ := Read(Name, []byte(shop))
	plainFile := string(Write(d, true))
	if strings.Contains(plainFile, "fairlead") {
		t.Error(plainFile)
	}
	whole, plainSet := compileText(t, shop), compileText(t, plainFile)
	for i := range 2000 {
		context := map[string]any{"targetingKey": fmt.Sprint(i), "email": fmt.Sprint("x@example.", []string{"com", "org"}[i%2])}
		a, b := whole.Evaluate("checkout", context, noon()), plainSet.Evaluate("checkout", context, noon())
		if a.Variant != b.Variant {
			t.Fatalf("%v: %s and %s", context, a.Variant, b.Variant)
		}
	}
	if e := plainSet.Evaluate("broken-payment", nil, noon()); e.Reason != DisabledReason {
		t.Errorf("%+v", e)
	}
	again, problems := Read(Name, Write(d, false))
	if len(problems) > 0 || string(Write(again, false)) != string(Write(d, false)) {
		t.Errorf("what was written reads differently: %v", problems)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, src, want string }{
		{"no JSON", "{\n  \"flags\": {,}\n}", `flags.json:2:12: not valid JSON`},
		{"cut off", `{"flags": {"a"`, "flags.json:1:15: the file ends in the midst of a value"},
		{"more after it", `{} {}`, "flags.json:1:5: something comes after the end of the definitions"},
		{"a list", `[]`, "flags.json:1:1: a file of definitions is an object; this is a list"},
		{"no state", `{"flags":{"f":{"variants":{"on":true}}}}`, `flags.json:1:15: flag f has no "state"`},
		{"a wrong state", `{"flags":{"f":{"state":"on","variants":{"on":true}}}}`, `flags.json:1:24: the state of a flag is ENABLED or DISABLED`},
		{"no variants", `{"flags":{"f":{"state":"ENABLED","variants":{}}}}`, `flags.json:1:45: flag f has no variants`},
		{"default", `{"flags":{"f":{"state":"ENABLED","variants":{"on":true},"defaultVariant":"of"}}}`, `flags.json:1:74: flag f has no variant "of"; its variants are on`},
		{"operator", "{\"flags\":{\"f\":{\"state\":\"ENABLED\",\"variants\":{\"on\":true},\n\"targeting\":{\"starts_wth\":[1,2]}}}}", `flags.json:2:13: flag f: "starts_wth" is no operator of a rule; did you mean starts_with?`},
		{"reference", `{"$evaluators":{"staff":true},"flags":{"f":{"state":"ENABLED","variants":{"on":true},"targeting":{"if":[{"$ref":"staf"},"on"]}}}}`, `flags.json:1:113: there is no evaluator staf; did you mean staff?`},
		{"circle", `{"$evaluators":{"a":{"!":{"$ref":"b"}},"b":{"!":{"$ref":"a"}}},"flags":{"f":{"state":"ENABLED","variants":{"on":true},"targeting":{"$ref":"a"}}}}`, `flags.json:1:57: the evaluator a refers to itself`},
		{"a variant that is none", `{"flags":{"f":{"state":"ENABLED","variants":{"on":true},"targeting":{"if":[true,"onn"]}}}}`, `flags.json:1:81: the rule of flag f gives "onn", which is none of its variants`},
		{"twice", `{"flags":{"f":{"state":"ENABLED","variants":{"on":true}},"g":{"sate":1,"state":"ENABLED","variants":{"on":true}}}}`, `flags.json:1:63: flag g has a key that nobody reads: sate; did you mean state?`},
		{"share", `{"flags":{"f":{"state":"ENABLED","variants":{"on":true},"fairlead":{"split":{"shares":[{"variant":"on","percent":130}]}}}}}`, `a share is 0 to 100 percent`},
		{"unknown care", `{"flags":{"f":{"state":"ENABLED","variants":{"on":true},"fairlead":{"ower":"x"}}}}`, `flags.json:1:69: what Fairlead is told of flag f cannot be read: unknown field "ower"`},
		{"types", `{"flags":{"f":{"state":"ENABLED","variants":{"on":true,"off":"no"}}}}`, `flags.json:1:62: variant off of flag f is a text, and on is a boolean`},
	} {
		_, problems := Read(Name, []byte(c.src))
		if !slices.ContainsFunc(problems, func(p plan.Problem) bool {
			return strings.Contains(fmt.Sprintf("%s: %s; %s", p.Source, p.Message, p.Hint), c.want)
		}) {
			t.Errorf("%s: got %v", c.name, problems)
		}
	}
	_, problems := Read("flags.yaml", []byte("flags:\n  f:\n    state: ENABLED\n    variants: {on: true}\n    defaultVariant: off\n    targeting:\n      iff: [1]\n"))
	if len(problems) != 2 || problems[1].Source.Line != 7 {
		t.Errorf("YAML: %v", problems)
	}
}

func TestNeedsLeadInNoCircle(t *testing.T) {
	t.Parallel()
	flag := func(needs string) string {
		return `{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on","fairlead":{"needs":[{"flag":"` + needs + `","variants":["on"]}]}}`
	}
	d, problems := Read(Name, []byte(`{"flags":{"a":`+flag("b")+`,"b":`+flag("c")+`,"c":`+flag("a")+`,"d":`+flag("nothing")+`}}`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	set, problems := Compile(d)
	if len(problems) != 2 || !strings.Contains(problems[0].Message, "leads back to it") || !strings.Contains(problems[1].Message, "which there is not") {
		t.Errorf("%v", problems)
	}
	for _, key := range set.Keys() { // none hangs
		set.Evaluate(key, nil, noon())
	}
}

// TestRulesAreBounded gives rules that would take for ever.
func TestRulesAreBounded(t *testing.T) {
	t.Parallel()
	for name, src := range map[string]string{
		"a text that doubles": `{"reduce":[{"var":"list"},{"cat":[{"var":"accumulator"},{"var":"accumulator"}]},"xxxxxxxx"]}`,
		"a list of lists":     `{"map":[{"var":"list"},{"map":[[1,2,3,4,5,6,7,8,9],{"map":[[1,2,3,4,5,6,7,8,9],{"map":[[1,2,3,4,5,6,7,8,9],{"map":[[1,2,3,4,5,6,7,8,9],{"map":[[1,2,3,4,5,6,7,8,9],{"map":[[1,2,3,4,5,6,7,8,9],{"+":[1,{"var":"x"}]}]}]}]}]}]}]}]}`,
	} {
		d, problems := Read(Name, []byte(`{"flags":{"f":{"state":"ENABLED","variants":{"on":true},"targeting":`+src+`}}}`))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		set, _ := Compile(d)
		list := make([]any, 5000)
		if e := set.Evaluate("f", map[string]any{"list": list}, noon()); e.Code != General { // nor has it such a variant
			t.Errorf("%s: %+v", name, e)
		}
	}
	deep := strings.Repeat(`{"!":`, 200) + "1" + strings.Repeat("}", 200)
	if _, problems := Read(Name, []byte(deep)); len(problems) != 1 || !strings.Contains(problems[0].Message, "deep") {
		t.Errorf("%v", problems)
	}
}

// TestVersions holds the order of versions against the specification's own example.
func TestVersions(t *testing.T) {
	t.Parallel()
	ordered := []string{"1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "2.0.0"}
	for i, a := range ordered {
		for j, b := range ordered {
			x, ok := readVersion(a)
			y, is := readVersion(b + "+build.5")
			if !ok || !is || max(-1, min(1, x.compare(y))) != max(-1, min(1, i-j)) {
				t.Errorf("%s and %s: %d", a, b, x.compare(y))
			}
		}
	}
	for _, bad := range []string{"", "1", "1.2", "01.2.3", "1.2.3.4", "1.2.3-", "1.2.3-01", "v1.2.3", "1.2.x", "-1.2.3"} {
		if _, ok := readVersion(bad); ok {
			t.Errorf("%q is taken for a version", bad)
		}
	}
}

func TestMurmur(t *testing.T) {
	t.Parallel()
	// Known values of MurmurHash3 x86 32.
	for _, c := range []struct {
		text string
		seed uint32
		want uint32
	}{{"", 0, 0}, {"", 1, 0x514e28b7}, {"test", 0, 0xba6bd213}, {"Hello, world!", 0, 0xc0363e43}, {"The quick brown fox jumps over the lazy dog", 0, 0x2e4ff723}, {"a", 0x9747b28c, 0x7fa09ea6}} {
		if got := murmur(c.seed, c.text); got != c.want {
			t.Errorf("%q: %#x", c.text, got)
		}
	}
	if murmur(3, "ab", "cde", "") != murmur(3, "abcde") {
		t.Error("the words are not hashed as one")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(shop), false)
	f.Add([]byte("flags:\n  f: &a\n    state: ENABLED\n    variants: {on: true}\n    targeting: {if: [{var: x}, on]}\n"), true)
	f.Add([]byte(`{"$evaluators":{"a":{"$ref":"a"}},"flags":{"f":{"targeting":{"$ref":"a"}}}}`), false)
	f.Fuzz(func(t *testing.T, src []byte, yaml bool) {
		name := Name
		if yaml {
			name = "flags.yaml"
		}
		d, problems := Read(name, src)
		for _, p := range problems {
			if p.Message == "" {
				t.Errorf("%+v", p)
			}
		}
		set, _ := Compile(d)
		for _, key := range set.Keys() {
			e := set.Evaluate(key, map[string]any{"targetingKey": "u", "x": []any{1.0, "a"}}, noon())
			if b := e.AppendJSON(nil); !json.Valid(b) {
				t.Errorf("%s", b)
			}
		}
		if _, problems := Read(Name, Write(d, false)); slices.ContainsFunc(problems, func(p plan.Problem) bool { return p.Severity == plan.Error && !strings.Contains(p.Message, "operator") }) {
			for i := range d.Flags {
				if d.Flags[i].rule == nil {
					t.Errorf("what was written is not read: %v", problems)
				}
			}
		}
	})
}

func FuzzReadUnleash(f *testing.F) {
	f.Add([]byte(`{"version":2,"features":[{"name":"a","enabled":true,"strategies":[{"name":"flexibleRollout","parameters":{"rollout":"50","stickiness":"default","groupId":"a"},
		"constraints":[{"contextName":"x","operator":"IN","values":["1"]}],"segments":[1]}]}],"segments":[{"id":1,"constraints":[{"contextName":"y","operator":"REGEX","value":"^a"}]}]}`))
	f.Fuzz(func(t *testing.T, src []byte) {
		d, _ := ReadUnleash("features.json", src)
		if d == nil {
			return
		}
		set, _ := Compile(d)
		for _, key := range set.Keys() {
			set.Evaluate(key, map[string]any{"targetingKey": "u", "x": "1", "y": "ab"}, noon())
		}
	})
}

// The bar: a targeting rule in a microsecond and two allocations (flagd's own: 17.4).
func BenchmarkTargeting(b *testing.B) {
	set := compileText(b, `{"$evaluators":{"staff":{"ends_with":[{"var":"email"},"@example.com"]}},"flags":{
		"rule":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","targeting":{"if":[{"and":[{"in":[{"var":"country"},["DE","FR","IT"]]},{">=":[{"var":"age"},18]},{"$ref":"staff"}]},"on","off"]}},
		"fractional":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","targeting":{"fractional":[["on",25],["off",75]]}},
		"version":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","targeting":{"if":[{"sem_ver":[{"var":"version"},">=","1.4.0"]},"on","off"]}},
		"static":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}}}`)
	context := map[string]any{"targetingKey": "user-4711", "email": "ada@example.com", "country": "IT", "age": 36.0, "version": "1.10.2"}
	now := time.Now()
	for _, key := range []string{"static", "rule", "fractional", "version"} {
		b.Run(key, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if e := set.Evaluate(key, context, now); e.Code != "" {
					b.Fatal(e)
				}
			}
		})
	}
}

// TestAllocations holds the bar's second half, which no noise of the machine can move.
func TestAllocations(t *testing.T) {
	set := compileText(t, `{"flags":{"f":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off",
		"targeting":{"if":[{"and":[{"in":[{"var":"country"},["DE","FR"]]},{">=":[{"var":"age"},18]},{"starts_with":[{"var":"email"},"ada"]}]},{"fractional":[["on",25],["off",75]]},"off"]}}}}`)
	context := map[string]any{"targetingKey": "user-4711", "email": "ada@example.com", "country": "FR", "age": 36.0}
	now := time.Now()
	if n := testing.AllocsPerRun(1000, func() { set.Evaluate("f", context, now) }); n > 2 {
		t.Errorf("%g allocations", n)
	}
}
