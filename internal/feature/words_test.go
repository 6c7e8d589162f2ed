package feature

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func TestWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ flag, want string }{
		{`"defaultVariant":"off"`, `everybody: off`},
		{`"defaultVariant":"off","targeting":{"if":[{"and":[{"==":[{"var":"country"},"DE"]},{">=":[{"var":"age"},18]}]},"on"]}`,
			`if country is “DE” and age is at least 18: on; everybody else: off`},
		{`"defaultVariant":"off","targeting":{"if":[{"in":["@x.org",{"var":"email"}]},"on",{"!":[{"in":[{"var":"role"},["a","b"]]}]},"off",{"fractional":[["on",1],["off",3]]}]}`,
			`if email holds “@x.org”: on; if not (role is in “a”, “b”): off; 25 % of the users: on; 75 % of the users: off; everybody else: off`},
		{`"defaultVariant":"off","targeting":{"if":[{"sem_ver":[{"var":"v"},">=","1.2.0"]},"on"]},"fairlead":{"off":"off","split":{"by":"account","shares":[{"variant":"on","percent":12.5}]},"until":"2026-05-02T00:00:00Z"}`,
			`everybody from 2 May 2026, 00:00 UTC on: off; if the version v is >= 1.2.0: on; 12.5 % of the users, told apart by account: on; everybody else: off`},
		{`"defaultVariant":"on","targeting":{"if":[true,"on"]},"fairlead":{"killed":"INC-1","off":"off"}`, `everybody, for it was killed: INC-1: off`},
	} {
		f, problems := ReadFlag("f", "f", []byte(`{"state":"ENABLED","variants":{"on":true,"off":false},`+c.flag+`}`))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		var said []string
		for _, s := range f.Words() {
			said = append(said, s.Who+": "+s.Gets)
		}
		if got := strings.Join(said, "; "); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	tree := fstest.MapFS{
		"a.go":              {Data: []byte("package a\n\nif on(\"new-checkout\") { }\nx := \"new-checkout-2\"\n// old_flag and @beta\n")},
		"web/b.ts":          {Data: []byte("useFlag('old_flag'); useFlag('old_flag')\nmy_old_flag\n")},
		"node_modules/c.js": {Data: []byte("'old_flag'")},
		"image.png":         {Data: []byte("\x89PNG\x00old_flag")},
		"flags.json":        {Data: []byte(`"old_flag"`)},
	}
	refs, err := References(t.Context(), tree, []string{"new-checkout", "old_flag", "@beta", "gone"}, func(name string) bool { return name == "flags.json" })
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range refs {
		got = append(got, fmt.Sprintf("%s %s:%d", r.Flag, r.File, r.Line))
	}
	if want := "@beta a.go:5, new-checkout a.go:3, old_flag a.go:5, old_flag web/b.ts:1"; strings.Join(got, ", ") != want {
		t.Errorf("got %s", strings.Join(got, ", "))
	}
	d, _ := Read(Name, []byte(`{"flags":{
		"gone":{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on"},
		"old_flag":{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on","fairlead":{"created":"2026-01-01T00:00:00Z"}},
		"new-checkout":{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on","fairlead":{"created":"2026-01-01T00:00:00Z","split":{"shares":[{"variant":"on","percent":50}]}}}}}`))
	stale := FindStale(d, refs, true, func(string) time.Time { return time.Time{} }, noon())
	if len(stale) != 2 || stale[0].Flag != "gone" || stale[1].Flag != "old_flag" || !strings.Contains(stale[1].Why, "for 120 days") {
		t.Errorf("%+v", stale)
	}
}

func TestWriteUnleash(t *testing.T) {
	t.Parallel()
	d, problems := Read(Name, []byte(shop))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	body, left := WriteUnleash(d, noon())
	again, problems := ReadUnleash("features.json", body)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	set, problems := Compile(again)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if strings.Join(left, " ") != "checkout express" {
		t.Errorf("left out: %v", left)
	}
	for key, want := range map[string]any{"broken-payment": false, "plain": false, "sale": true} {
		if e := set.Evaluate(key, map[string]any{"targetingKey": "u"}, noon()); e.Value != want {
			t.Errorf("%s: %+v", key, e)
		}
	}
	// What came from Unleash goes back as it came.
	third, _ := WriteUnleash(again, noon())
	if string(third) == "" || len(third) < len(body) {
		t.Errorf("%s\n%s", body, third)
	}
}
