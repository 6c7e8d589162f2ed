package feature

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/feature/featuretest"
)

// reference asks flagd's own evaluator for Node.
const reference = `
const { FlagdCore } = require('@openfeature/flagd-core');
const silent = { error(){}, warn(){}, info(){}, debug(){} };
const lines = require('fs').readFileSync(0, 'utf8').split('\n').filter(Boolean);
for (const line of lines) {
  const { definition, contexts } = JSON.parse(line);
  const out = [];
  try {
    const core = new FlagdCore(undefined, silent);
    core.setConfigurations(definition);
    for (const context of contexts) {
      const flag = core.getFlag('flag');
      if (flag.state === 'DISABLED') { out.push({ reason: 'DISABLED' }); continue; }
      const r = flag.evaluate(context, silent);
      out.push({ value: r.value === undefined ? null : r.value, variant: r.variant === undefined ? '' : r.variant, reason: r.reason, code: r.errorCode || '', metadata: r.flagMetadata });
    }
  } catch (e) { out.push({ refused: String(e) }); }
  console.log(JSON.stringify(out));
}
`

type answer struct {
	Value    any            `json:"value"`
	Variant  string         `json:"variant"`
	Reason   Reason         `json:"reason"`
	Code     ErrorCode      `json:"code"`
	Metadata map[string]any `json:"metadata"`
	Refused  string         `json:"refused"`
}

// TestAsFlagdDoes makes definitions and contexts by chance (of a fixed seed), and asks flagd's own
// evaluator and ours.
func TestAsFlagdDoes(t *testing.T) {
	t.Parallel()
	modules := featuretest.Install(t, "@openfeature/flagd-core@4.0.1", "@openfeature/core@1.9.1")
	const definitions, contexts = 4000, 6
	seed := uint64(7)
	if s := os.Getenv("FAIRLEAD_FLAGS_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	type input struct {
		Definition string           `json:"definition"`
		Contexts   []map[string]any `json:"contexts"`
	}
	inputs := make([]any, definitions)
	for i := range inputs {
		g := generator{rand.New(rand.NewPCG(seed, uint64(i)))}
		in := input{Definition: g.definition()}
		for range contexts {
			in.Contexts = append(in.Contexts, g.context())
		}
		inputs[i] = in
	}
	answers := modules.Run(t, reference, inputs)
	if len(answers) != definitions {
		t.Fatalf("%d answers", len(answers))
	}
	agreed, total, differ := 0, 0, 0
	reasons := map[string]int{}
	for i, line := range answers {
		in := inputs[i].(input)
		var want []answer
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatal(err)
		}
		d, problems := Read(Name, []byte(in.Definition))
		set, _ := Compile(d)
		for j, context := range in.Contexts {
			if j >= len(want) {
				break
			}
			total++
			w := want[j]
			reasons[string(w.Reason)+string(w.Code)]++
			e := set.Evaluate("flag", context, time.Now())
			got := answer{Value: e.Value, Variant: e.Variant, Reason: e.Reason, Code: e.Code, Metadata: e.Metadata}
			if w.Metadata != nil && len(w.Metadata) == 0 {
				w.Metadata = nil
			}
			if w.Reason == DisabledReason {
				got.Metadata = nil
			}
			if asJSON(t, got) == asJSON(t, w) {
				agreed++
				continue
			}
			if differ++; differ <= 5 {
				t.Errorf("definition %d: %s\ncontext %s\n got  %s (%s, %v)\n want %s", i, in.Definition, asJSON(t, context), asJSON(t, got), e.Details, problems, asJSON(t, w))
			}
		}
	}
	t.Logf("as flagd does: %d of %d evaluations of %d definitions: %v", agreed, total, definitions, reasons)
	if agreed != total || total < 20_000 {
		t.Errorf("%d of %d", agreed, total)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return string(bytes.TrimSpace(b.Bytes()))
}

// generator makes definitions and contexts.
type generator struct{ *rand.Rand }

func (g generator) one(of ...any) any { return of[g.IntN(len(of))] }

func (g generator) definition() string {
	variants := map[string]any{"on": true, "off": false, "blue": "b", "red": 3.5, "tree": map[string]any{"a": []any{1.0, nil}}}
	flag := map[string]any{"state": g.one("ENABLED", "ENABLED", "ENABLED", "ENABLED", "ENABLED", "ENABLED", "DISABLED"), "variants": variants}
	if g.IntN(5) > 0 {
		flag["defaultVariant"] = g.one("on", "off", "blue", nil)
	}
	if g.IntN(12) > 0 {
		targeting := g.result(4)
		if _, is := targeting.(map[string]any); !is {
			targeting = op("if", targeting)
		}
		flag["targeting"] = targeting
	}
	if g.IntN(3) == 0 {
		flag["metadata"] = map[string]any{"team": "shop", "n": 1.0}
	}
	file := map[string]any{"flags": map[string]any{"flag": flag}}
	if g.IntN(4) == 0 {
		file["metadata"] = map[string]any{"set": "all", "n": 2.0}
	}
	if g.IntN(3) == 0 {
		file["$evaluators"] = map[string]any{"shared": g.condition(2)}
	} else {
		file["$evaluators"] = map[string]any{"shared": map[string]any{"in": []any{"@example", map[string]any{"var": "email"}}}}
	}
	b, err := json.Marshal(file)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func op(name string, args ...any) any { return map[string]any{name: args} }

// result is a rule that gives a variant, mostly.
func (g generator) result(depth int) any {
	switch g.IntN(9) {
	case 0:
		return op("if", g.condition(depth), g.one("on", "blue"))
	case 1, 2:
		return op("if", g.condition(depth), g.variant(depth-1), g.variant(depth-1))
	case 3:
		return op("if", g.condition(depth), g.variant(depth-1), g.condition(depth), g.variant(depth-1), g.variant(depth-1))
	case 4:
		return g.fraction(depth)
	case 5:
		return g.condition(depth)
	case 6:
		return op("cat", "o", op("if", g.condition(depth-1), "n", "ff"))
	default:
		return g.value(depth)
	}
}

func (g generator) variant(depth int) any {
	if depth > 0 && g.IntN(3) == 0 {
		return g.result(depth)
	}
	return g.one("on", "off", "blue", "red", "tree", nil, "none", true)
}

func (g generator) fraction(depth int) any {
	var args []any
	switch g.IntN(4) {
	case 0:
		args = append(args, map[string]any{"var": "email"})
	case 1:
		args = append(args, op("cat", map[string]any{"var": "$flagd.flagKey"}, map[string]any{"var": g.name()}))
	}
	for range 1 + g.IntN(4) {
		bucket := []any{g.one("on", "off", "blue", "red", nil)}
		if g.IntN(6) == 0 {
			bucket[0] = op("if", g.condition(1), "on", "off")
		}
		if g.IntN(4) > 0 {
			bucket = append(bucket, g.one(0.0, 1.0, 10.0, 50.0, 100.0, -5.0, 2.5))
		} else if g.IntN(3) == 0 {
			bucket = append(bucket, map[string]any{"var": "age"})
		}
		args = append(args, bucket)
	}
	return map[string]any{"fractional": args}
}

func (g generator) name() any {
	return g.one("email", "age", "country", "targetingKey", "version", "roles", "nested.deep", "nested.list", "nothing", "vip", "empty", "zero", "nested.none", "roles.1", "roles.length", "$flagd.flagKey")
}

func (g generator) variable() any {
	switch g.IntN(8) {
	case 0:
		return map[string]any{"var": []any{g.name(), g.one("x", 5.0, nil, false)}}
	case 1:
		return map[string]any{"var": []any{g.name()}}
	}
	return map[string]any{"var": g.name()}
}

func (g generator) condition(depth int) any {
	if depth <= 0 {
		return g.value(0)
	}
	switch g.IntN(16) {
	case 0, 1:
		return op(g.one("==", "!=", "===", "!==").(string), g.value(depth-1), g.value(depth-1))
	case 2:
		return op(g.one("<", "<=", ">", ">=").(string), g.value(depth-1), g.value(depth-1))
	case 3:
		return op(g.one("<", "<=").(string), g.value(depth-1), g.value(depth-1), g.value(depth-1))
	case 4, 5:
		return op(g.one("and", "or").(string), g.condition(depth-1), g.condition(depth-1))
	case 6:
		return map[string]any{g.one("!", "!!").(string): g.one(g.condition(depth-1), []any{g.condition(depth - 1)})}
	case 7:
		return op("in", g.value(0), g.one([]any{"DE", "FR", 5.0, nil}, g.variable(), "DE,FR"))
	case 8:
		return op(g.one("starts_with", "ends_with").(string), g.variable(), g.one("a", "@example.org", "D", 5.0, g.variable()))
	case 9:
		return op("sem_ver", g.variable(), g.one("=", "!=", "<", "<=", ">", ">=", "^", "~", "?"), g.one("1.2.3", "1.2", "v2.0.0", "2.0.0-beta.1", "x", 2.0))
	case 10:
		return op(g.one("some", "all", "none").(string), g.one(g.variable(), []any{1.0, 2.0, "admin"}), g.one(op("==", map[string]any{"var": ""}, "admin"), op("in", map[string]any{"var": ""}, "admin,dev"), map[string]any{"var": "x"}))
	case 11:
		return map[string]any{"$ref": "shared"}
	case 12:
		return map[string]any{"missing": g.one([]any{"email"}, []any{"email", "nothing"}, []any{"nested.deep", "nothing", "zero"})}
	case 13:
		return op("missing_some", g.one(1.0, 2.0), []any{"email", "nothing", "nested.deep"})
	}
	return g.value(depth)
}

func (g generator) value(depth int) any {
	if depth <= 0 {
		return g.one(g.variable(), g.variable(), g.variable(), "DE", "", "5", 5.0, 0.0, -2.5, true, false, nil, "on", []any{}, "abc")
	}
	switch g.IntN(14) {
	case 0:
		return op(g.one("+", "-", "*", "/", "%").(string), g.value(depth-1), g.value(depth-1))
	case 1:
		return map[string]any{g.one("+", "-").(string): g.one(g.variable(), []any{g.variable()}, []any{g.variable(), 1.0, 2.0})}
	case 2:
		return op(g.one("min", "max").(string), g.value(depth-1), g.value(depth-1), 3.0)
	case 3:
		return op("cat", g.value(0), g.value(0), g.one("x", g.variable()))
	case 4:
		return op("substr", g.variable(), g.one(0.0, 1.0, -2.0), g.one(1.0, -1.0, 3.0))
	case 5:
		return op("substr", g.variable(), g.one(0.0, 1.0, -2.0, -100.0))
	case 6:
		return op("merge", g.value(0), g.value(0))
	case 7:
		return op("map", g.one(g.variable(), []any{1.0, 2.0}), op("*", map[string]any{"var": ""}, 2.0))
	case 8:
		return op("filter", g.one(g.variable(), []any{1.0, 2.0, 0.0}), op(">", map[string]any{"var": ""}, 1.0))
	case 9:
		return op("reduce", g.one(g.variable(), []any{1.0, 2.0}), op("+", map[string]any{"var": "current"}, map[string]any{"var": "accumulator"}), 0.0)
	case 10:
		return op("if", g.condition(depth-1), g.value(depth-1))
	case 11:
		return op("if", g.condition(depth-1), g.value(depth-1), g.value(depth-1))
	}
	return g.value(0)
}

func (g generator) context() map[string]any {
	c := map[string]any{}
	put := func(name string, of ...any) {
		if v := g.one(of...); v != "absent" {
			c[name] = v
		}
	}
	put("targetingKey", "u1", "user-2", "3a", "absent", "", fmt.Sprint(g.IntN(1000)))
	put("email", "a@example.org", "b@example.com", "absent", "", nil)
	put("age", 5.0, 17.0, 42.5, "18", "old", "absent", 0.0)
	put("country", "DE", "FR", "absent")
	put("version", "1.2.3", "2.0.0", "1.2", "v1.9.0-rc.1", "2.0.0-beta.1+b", 2.0, "not one", "absent")
	put("roles", []any{"admin", "dev"}, []any{"dev"}, []any{}, []any{1.0, 2.0}, "absent", "admin")
	put("nested", map[string]any{"deep": 5.0, "list": []any{3.0, 4.0}, "none": nil}, map[string]any{"deep": "DE"}, map[string]any{}, nil, "absent", "text")
	put("vip", true, false, "absent")
	put("empty", "", []any{}, map[string]any{}, "absent")
	put("zero", 0.0, "0", "absent")
	return c
}
