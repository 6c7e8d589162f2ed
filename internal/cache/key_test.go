package cache

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

func meaning() Meaning {
	return Meaning{
		Argv: []string{"bash", "script"}, Path: []string{"/opt/bin"},
		Files: []plan.File{{Path: "/tmp/script", Mode: 0o755, Body: []byte("make")}},
		Env:   map[string]string{"A": "1", "B": "2"},
		Dir:   "/w", Dirs: plan.Dirs{Workspace: "/w", Temp: "/t", Tools: "/u", Home: "/h"},
		Class: "linux/amd64", Machine: []string{"PATH=/bin"},
		Rules: Rule{Network: NetworkPinned, MaxAge: time.Hour, Zones: []string{"/z"}}, Version: "1",
	}
}

// TestKeyHangsOnEveryField changes every field, those that will be added too.
func TestKeyHangsOnEveryField(t *testing.T) {
	t.Parallel()
	m := meaning()
	seen := map[Key]string{m.Key(): "nothing"}
	var change func(name string, v reflect.Value)
	check := func(name string) {
		if other := seen[m.Key()]; other != "" {
			t.Errorf("the key is the same with %s changed as with %s changed", name, other)
		}
		seen[m.Key()] = name
	}
	change = func(name string, v reflect.Value) {
		old := reflect.New(v.Type()).Elem()
		old.Set(v)
		switch v.Kind() {
		case reflect.String:
			v.SetString(v.String() + "x")
			check(name)
		case reflect.Bool:
			v.SetBool(!v.Bool())
			check(name)
		case reflect.Int64:
			v.SetInt(v.Int() + 1)
			check(name)
		case reflect.Uint32, reflect.Uint8:
			v.SetUint(v.Uint() + 1)
			check(name)
		case reflect.Struct:
			for i := range v.NumField() {
				change(name+"."+v.Type().Field(i).Name, v.Field(i))
			}
		case reflect.Slice:
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
			check(name + " longer")
			v.Set(old)
			v.Set(reflect.Zero(v.Type()))
			check(name + " gone")
			v.Set(old)
			if v.Len() == 0 {
				t.Errorf("%s is empty in the test", name)
			}
			for i := range v.Len() {
				change(fmt.Sprintf("%s[%d]", name, i), v.Index(i))
			}
		case reflect.Map:
			m.Env = map[string]string{"A": "1", "B": "3"}
			check(name + " value")
			m.Env = map[string]string{"A": "1", "C": "2"}
			check(name + " name")
			m.Env = map[string]string{"A": "1"}
			check(name + " fewer")
		default:
			t.Fatalf("%s: this test cannot change a %s", name, v.Kind())
		}
		v.Set(old)
	}
	change("", reflect.ValueOf(&m).Elem())
	if seen[m.Key()] != "nothing" {
		t.Error("the test has not put everything back")
	}
}

func TestKeyIsUnambiguous(t *testing.T) {
	t.Parallel()
	pairs := [][2]Meaning{
		{{Argv: []string{"a", "b"}}, {Argv: []string{"a"}, Path: []string{"b"}}},
		{{Argv: []string{"ab"}}, {Argv: []string{"a", "b"}}},
		{{Env: map[string]string{"a": "b=c"}}, {Env: map[string]string{"a=b": "c"}}},
		{{Dir: "a", Class: "b"}, {Dir: "ab"}},
		{{Machine: []string{""}}, {}},
	}
	for _, p := range pairs {
		if p[0].Key() == p[1].Key() {
			t.Errorf("%+v and %+v have one key", p[0], p[1])
		}
	}
	if (Meaning{Argv: []string{}, Env: map[string]string{}}).Key() != (Meaning{}).Key() {
		t.Error("an empty list is not like none")
	}
	if k := meaning().Key(); !k.valid() {
		t.Errorf("%q is not valid", k)
	}
	for _, k := range []Key{"", "../../etc/passwd", Key(fmt.Sprintf("%064X", 171)), keyFor(1)[1:]} {
		if k.valid() {
			t.Errorf("%q is valid", k)
		}
	}
}
