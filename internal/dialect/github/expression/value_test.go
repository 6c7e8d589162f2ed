package expression

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

var (
	nan = math.NaN()
	inf = math.Inf(1)
)

// TestCoercion is the table of what each value counts as.
func TestCoercion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		value  any
		kind   Kind
		truthy bool
		text   string
		number float64
	}{
		{nil, KindNull, false, "", 0},
		{false, KindBoolean, false, "false", 0},
		{true, KindBoolean, true, "true", 1},
		{0.0, KindNumber, false, "0", 0},
		{math.Copysign(0, -1), KindNumber, false, "0", 0},
		{1.5, KindNumber, true, "1.5", 1.5},
		{nan, KindNumber, false, "NaN", nan},
		{-inf, KindNumber, true, "-Infinity", -inf},
		{42, KindNumber, true, "42", 42},
		{uint8(7), KindNumber, true, "7", 7},
		{json.Number("1e3"), KindNumber, true, "1000", 1000},
		{"", KindString, false, "", 0},
		{" \t\u00a0", KindString, true, " \t\u00a0", 0},
		{"0", KindString, true, "0", 0},
		{"false", KindString, true, "false", nan},
		{[]any{}, KindArray, true, "Array", nan},
		{[]any{1.0}, KindArray, true, "Array", nan},
		{[]string{"a"}, KindArray, true, "Array", nan},
		{NewObject(), KindObject, true, "Object", nan},
		{map[string]any{}, KindObject, true, "Object", nan},
		{map[any]any{1: 2}, KindObject, true, "Object", nan},
		{(*Object)(nil), KindNull, false, "", 0},
	} {
		if got := KindOf(c.value); got != c.kind {
			t.Errorf("KindOf(%#v) = %s, want %s", c.value, got, c.kind)
		}
		if got := Truthy(c.value); got != c.truthy {
			t.Errorf("Truthy(%#v) = %v", c.value, got)
		}
		if got := String(c.value); got != c.text {
			t.Errorf("String(%#v) = %q, want %q", c.value, got, c.text)
		}
		if got := Number(c.value); got != c.number && !(math.IsNaN(got) && math.IsNaN(c.number)) {
			t.Errorf("Number(%#v) = %v, want %v", c.value, got, c.number)
		}
	}
}

// TestNumberFromText: what text counts as a number, and which.
func TestNumberFromText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{
		"1": 1, "+1": 1, "-1": -1, " 1.5\n": 1.5, "1.": 1, ".5": .5, "-.5e1": -5, "1E+2": 100,
		"0x1F": 31, "0o17": 15, "0x7fffffff": math.MaxInt32, "0xffffffff": -1, "0x000000000ff": 255,
		"1e999": inf, "-1e999": -inf, "1e-999": 0,
		"Infinity": inf, "+Infinity": inf, "-Infinity": -inf,

		"NaN": nan, "infinity": nan, "-Inf": nan, "1 2": nan, "1,000": nan, "1_000": nan, "0x": nan, "0X1F": nan, "-0x1": nan,
		"0x1p4": nan, "0x1ffffffff": nan, "0o8": nan, "0b1": nan, "1e": nan, "e1": nan, ".": nan, "-": nan, "--1": nan, "1.2.3": nan, "true": nan,
	} {
		if got := Number(text); got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("Number(%q) = %v, want %v", text, got, want)
		}
	}
}

// TestNumberToText: 15 digits, exponents from 1e15 and below 1e-4.
func TestNumberToText(t *testing.T) {
	t.Parallel()
	for want, number := range map[string]float64{
		"1": 1, "-2": -2, "0.1": 0.1, "0.3": 0.1 + 0.2, "123456.789": 123456.789, "0.333333333333333": 1.0 / 3,
		"0.0001": 0.0001, "1E-05": 0.00001, "1.25E-07": 1.25e-7,
		"999999999999999": 999999999999999, "1E+15": 1e15, "1.23456789012346E+17": 123456789012345678, "1E+100": 1e100,
		"-1.5E+300": -1.5e300, "9.00719925474099E+15": 1 << 53, "0.5": .5, "10": 9.9999999999999999, "1.79769313486232E+308": math.MaxFloat64,
	} {
		if got := String(number); got != want {
			t.Errorf("String(%v) = %q, want %q", number, got, want)
		}
	}
}

// TestEqual is the table of == between kinds.
func TestEqual(t *testing.T) {
	t.Parallel()
	object, list, goMap := NewObject(), newArray(0), map[string]any{}
	for _, c := range []struct {
		a, b any
		want bool
	}{
		{nil, nil, true}, {nil, 0, true}, {nil, "", true}, {nil, false, true}, {nil, "null", false},
		{true, 1, true}, {true, "1", true}, {true, "true", false}, {false, "", true},
		{1, "1", true}, {1, " 1.0 ", true}, {255, "0xff", true}, {1, "one", false},
		{"a", "A", true}, {"straße", "STRASSE", false}, {"ς", "Σ", true}, {"ı", "I", false}, {"ſ", "s", false}, {"𐐨", "𐐀", true},
		{nan, nan, false}, {inf, "Infinity", true},
		{object, object, true}, {object, NewObject(), false}, {object, nil, false}, {object, "Object", false},
		{list, list, true}, {list, newArray(0), false}, {list, object, false}, {goMap, goMap, true}, {goMap, map[string]any{}, false},
	} {
		if got := Equal(c.a, c.b); got != c.want {
			t.Errorf("Equal(%#v, %#v) = %v", c.a, c.b, got)
		}
		if got := Equal(c.b, c.a); got != c.want {
			t.Errorf("Equal(%#v, %#v) = %v", c.b, c.a, got)
		}
	}
}

// TestTextOrder: capitals first, then UTF-16 code units.
func TestTextOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ less, more string }{
		{"a", "B"}, {"A", "b"}, {"a", "["}, {"abc", "abcd"}, {"", "a"}, {"i", "İ"}, {"I", "ı"}, {"😀", "\uff5e"},
	} {
		if !less(c.less, c.more) || less(c.more, c.less) {
			t.Errorf("%q is not below %q", c.less, c.more)
		}
	}
}

func TestObject(t *testing.T) {
	t.Parallel()
	o := NewObject()
	for _, key := range strings.Fields("b a C d e f g h i j k") {
		o.Set(key, key)
	}
	o.Set("A", "again")
	if got := strings.Join(o.Keys(), ""); got != "baCdefghijk" {
		t.Errorf("keys are %s", got)
	}
	if v, ok := o.Get("A"); !ok || v != "again" {
		t.Errorf("A is %v, %v", v, ok)
	}
	if v, ok := o.Get("c"); !ok || v != "C" {
		t.Errorf("c is %v, %v", v, ok)
	}
	if _, ok := o.Get("z"); ok {
		t.Error("found z")
	}
	exact := NewExactObject()
	exact.Set("a", 1.0)
	exact.Set("A", 2.0)
	if v, _ := exact.Get("A"); v != 2.0 || exact.Len() != 2 {
		t.Errorf("exact object: A is %v of %d", v, exact.Len())
	}
	var none *Object
	if _, ok := none.Get("a"); ok || none.Len() != 0 || none.Keys() != nil {
		t.Error("a nil object is not empty")
	}
}

func TestObjectJSON(t *testing.T) {
	t.Parallel()
	const text = `{"b":[1,{"z":null,"a":"<\u2028"}],"a":1e+30,"A2":true}`
	var o Object
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	o.Set("n", nan)
	got, err := json.Marshal(&o)
	if err != nil {
		t.Fatal(err)
	}
	// encoding/json escapes < once more; the order is what matters.
	if want := strings.Replace(text[:len(text)-1], "<", `\u003c`, 1) + `,"n":null}`; string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if err := json.Unmarshal([]byte(`[1]`), &o); err == nil {
		t.Error("an array was read as an object")
	}
}

func TestFromGo(t *testing.T) {
	t.Parallel()
	var number *int
	v, err := FromGo(map[any]any{
		"list": []any{1, uint64(2), float32(0.5), json.Number("7"), "x", nil, number},
		3:      map[string]string{"b": "B", "a": "A"},
		true:   time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"3":{"a":"A","b":"B"},"list":[1,2,0.5,7,"x",null,null],"true":"2026-01-02T03:04:05Z"}`; string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := FromGo(func() {}); err == nil {
		t.Error("a function became a value")
	}
	endless := map[string]any{}
	endless["self"] = endless
	if _, err := FromGo(endless); err == nil {
		t.Error("a map that holds itself became a value")
	}
}

// TestParseJSON: what fromJSON reads beyond the JSON standard.
func TestParseJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"a": 1}`:                                        `{"a":1}`,
		`{"a": 1, "b": 2, "a": 3}`:                        `{"a":3,"b":2}`,
		`{"a": 1, "A": 2}`:                                `{"a":2}`,
		"[1, 2, // two\n 3, /* end */ ]":                  `[1,2,3]`,
		`{'a': "it's", b$_1: 'say "hi"'}`:                 `{"a":"it's","b$_1":"say \"hi\""}`,
		`[0x1F, 010, -1.5e2, 0, 0.5]`:                     `[31,8,-150,0,0.5]`,
		`[NaN, -Infinity, undefined]`:                     `[null,null,""]`,
		`[] and more`:                                     `[]`,
		`"\u0041\n\ud83d\ude00\/\ud800"`:                  `"A\n😀/�"`,
		"\"raw\nline\"":                                   `"raw\nline"`,
		strings.Repeat("[", 64) + strings.Repeat("]", 64): strings.Repeat("[", 64) + strings.Repeat("]", 64),
	} {
		v, err := ParseJSON(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := appendCompact(nil, v, 0); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "  ", "// only a comment", "/* open", "abc", "tru", "[1", "[1 2]", `{"a"}`, `{"a" 1}`, `{"a":}`, `{:1}`, `{"a":1 "b":2}`,
		`"open`, `'open"`, `"\x"`, `"\u12"`, "08", "+1", "1.2.3", "-", "}", "]", ",", strings.Repeat("[", 65), `"\`,
	} {
		if v, err := ParseJSON(text); err == nil {
			t.Errorf("%s: read as %v", text, v)
		}
	}
	_, err := ParseJSON("{\n  \"a\": oops\n}")
	if err == nil || !strings.Contains(err.Error(), "line 2, column 8") {
		t.Errorf("the error is %v", err)
	}
}
