package secret

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// memory is Registers as package store promises them.
type memory struct {
	mu     sync.Mutex
	rows   map[string]record.Register
	events []record.Event
	reads  int
	before func() // called before a change, with nothing locked
}

func (m *memory) Register(_ context.Context, kind, id string) (record.Register, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	return m.rows[kind+" "+id], nil
}

func (m *memory) Registers(_ context.Context, kind, prefix string) ([]record.Register, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []record.Register
	for _, key := range slices.Sorted(maps.Keys(m.rows)) {
		if strings.HasPrefix(key, kind+" "+prefix) {
			list = append(list, m.rows[key])
		}
	}
	return list, nil
}

func (m *memory) Change(_ context.Context, changes []record.Register, events ...record.Event) ([]record.Event, error) {
	if m.before != nil {
		m.before()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range changes {
		if m.rows[r.Kind+" "+r.ID].Version != r.Version {
			return nil, record.ErrConflict
		}
	}
	for _, r := range changes {
		key := r.Kind + " " + r.ID
		if r.Body == nil {
			delete(m.rows, key)
			continue
		}
		r.Version++
		m.rows[key] = r
	}
	m.events = append(m.events, events...)
	return events, nil
}

// acts are the audit trail as lines.
func (m *memory) acts() string {
	var lines []string
	for _, e := range m.events {
		a := e.Body.(*record.Acted)
		detail, _ := json.Marshal(a.Detail)
		lines = append(lines, fmt.Sprintf("%s by %s from %s: %s %s %s", a.By, a.Via, a.From, a.Verb, a.Object, detail))
	}
	return strings.Join(lines, "\n")
}

func vault(t *testing.T) (*Vault, *memory) {
	t.Helper()
	m := &memory{rows: map[string]record.Register{}}
	keys, err := OpenKeys(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	return &Vault{Registers: m, Keys: keys}, m
}

var (
	by  = By{Name: "ada", Via: "session", From: "192.0.2.7"}
	org = Scope{}
	app = Scope{Repository: "team/app"}
	// prod is an environment of a repository, all that of the organisation.
	prod = Scope{Repository: "team/app", Environment: "production"}
	all  = Scope{Environment: "production"}
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	v, m := vault(t)
	ctx := t.Context()
	for _, s := range []struct {
		scope       Scope
		name, value string
	}{
		{org, "A", "org"}, {org, "B", "org"}, {org, "C", "org"}, {org, "D", "org"},
		{all, "B", "org production"}, {all, "C", "org production"}, {all, "D", "org production"},
		{app, "C", "app"}, {app, "D", "app"}, {app, "ONLY", "app\x00 with any bytes \xff\n"},
		{prod, "D", "app production"}, {prod, "DEPLOY", "app production"},
		{Scope{Repository: "team/app2"}, "ONLY2", "other"}, {Scope{Repository: "team"}, "ONLY3", "other"},
		{Scope{Repository: "team/app", Environment: "production/eu"}, "ONLY4", "other"},
		{app, "$HOOK", "of the hook"}, {org, "$HOOK", "of the organisation"},
	} {
		must(t, v.Set(ctx, by, s.scope, s.name, []byte(s.value)))
	}
	names := []string{"A", "B", "C", "D", "ONLY", "ONLY2", "ONLY3", "ONLY4", "DEPLOY", "ABSENT", "$HOOK", "", "a b", "A", "-x", strings.Repeat("A", 1000)}
	for _, test := range []struct {
		repository, environment string
		want                    map[string]string
	}{
		{"", "", map[string]string{"A": "org", "B": "org", "C": "org", "D": "org"}},
		{"", "production", map[string]string{"A": "org", "B": "org production", "C": "org production", "D": "org production"}},
		{"team/app", "", map[string]string{"A": "org", "B": "org", "C": "app", "D": "app", "ONLY": "app\x00 with any bytes \xff\n"}},
		{"team/app", "production", map[string]string{"A": "org", "B": "org production", "C": "app", "D": "app production", "ONLY": "app\x00 with any bytes \xff\n", "DEPLOY": "app production"}},
		{"team/app", "staging", map[string]string{"A": "org", "B": "org", "C": "app", "D": "app", "ONLY": "app\x00 with any bytes \xff\n"}},
		{"team%2Fapp", "", map[string]string{"A": "org", "B": "org", "C": "org", "D": "org"}},
	} {
		got, err := v.Resolve(ctx, test.repository, test.environment, names)
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q %q: %q, %v, want %q", test.repository, test.environment, got, err, test.want)
		}
	}
	if got, err := v.Resolve(ctx, "team/app", "", []string{"only", "Only"}); err != nil || got["only"] != got["Only"] || got["only"] == "" {
		t.Errorf("another case: %q, %v", got, err)
	}
	if value, ok, err := v.Internal(ctx, "team/app", "$HOOK"); value != "of the hook" || !ok || err != nil {
		t.Errorf("$HOOK is %q, %v, %v", value, ok, err)
	}
	if value, ok, err := v.Internal(ctx, "team/other", "$HOOK"); ok || err != nil {
		t.Errorf("$HOOK of another is %q, %v", value, err)
	}
	if _, _, err := v.Internal(ctx, "team/app", "ONLY"); err == nil {
		t.Error("a job's secret is opened as the server's own")
	}
	m.reads = 0
	if _, err := v.Resolve(ctx, "team/app", "production", nil); err != nil || m.reads != 0 {
		t.Errorf("%d registers were read for nobody, %v", m.reads, err)
	}
	if _, err := v.Resolve(ctx, "team/app", "", make([]string, maxNames+1)); err == nil {
		t.Error("any number of names is taken")
	}
}

func TestListAndRemove(t *testing.T) {
	t.Parallel()
	v, m := vault(t)
	v.Run = func(context.Context, []string) ([]byte, error) { return []byte("6"), nil }
	ctx := t.Context()
	must(t, v.Set(ctx, by, prod, "Deploy_Key", []byte("1")))
	must(t, v.Set(ctx, by, app, "$TOKEN", []byte("2")))
	must(t, v.Set(ctx, by, app, "NPM", []byte("3")))
	must(t, v.Set(ctx, by, org, "NPM", []byte("4")))
	must(t, v.Set(ctx, By{Name: "grace", Via: "token ops"}, app, "npm", []byte("5")))
	must(t, v.SetSource(ctx, by, app, "CLOUD", SourceCommand, "vault", "read", "x"))

	list := func(repository string) string {
		named, err := v.List(ctx, repository)
		must(t, err)
		var lines []string
		for _, n := range named {
			if age := time.Now().Unix() - n.Changed; age < 0 || age > 60 {
				t.Errorf("%s was changed at %d", n.Name, n.Changed)
			}
			lines = append(lines, fmt.Sprintf("%s %s: %s by %s", n.Scope, n.Name, n.Source, n.By))
		}
		return strings.Join(lines, "\n")
	}
	if got, want := list("team/app"), `team/app $TOKEN: sealed by ada
team/app CLOUD: command vault read x by ada
team/app npm: sealed by grace
environment production of team/app Deploy_Key: sealed by ada`; got != want {
		t.Errorf("list is\n%s\nwant\n%s", got, want)
	}
	if got, want := list(""), "the organisation NPM: sealed by ada"; got != want {
		t.Errorf("list is\n%s\nwant\n%s", got, want)
	}

	must(t, v.Remove(ctx, by, app, "NPM"))
	if err := v.Remove(ctx, by, app, "NPM"); !errors.Is(err, ErrNotThere) {
		t.Errorf("removed twice: %v", err)
	}
	if n, err := v.RemoveAll(ctx, by, "team/app"); n != 3 || err != nil {
		t.Errorf("RemoveAll: %d, %v", n, err)
	}
	if n, err := v.RemoveAll(ctx, by, "team/app"); n != 0 || err != nil {
		t.Errorf("RemoveAll again: %d, %v", n, err)
	}
	if _, err := v.RemoveAll(ctx, by, ""); err == nil {
		t.Error("all secrets of the organisation can be removed by accident")
	}
	if got := list("team/app") + "," + list(""); got != ",the organisation NPM: sealed by ada" {
		t.Errorf("left: %s", got)
	}
	if got, want := m.acts(), `ada by session from 192.0.2.7: secrets.set team/app {"act":"added","environment":"production","name":"Deploy_Key","source":"sealed"}
ada by session from 192.0.2.7: secrets.set team/app {"act":"added","name":"$TOKEN","source":"sealed"}
ada by session from 192.0.2.7: secrets.set team/app {"act":"added","name":"NPM","source":"sealed"}
ada by session from 192.0.2.7: secrets.set  {"act":"added","name":"NPM","source":"sealed"}
grace by token ops from : secrets.set team/app {"act":"replaced","name":"npm","source":"sealed"}
ada by session from 192.0.2.7: secrets.set team/app {"act":"added","name":"CLOUD","source":"command vault read x"}
ada by session from 192.0.2.7: secrets.set team/app {"act":"removed","name":"NPM"}
ada by session from 192.0.2.7: secrets.set team/app {"act":"removed all"}`; got != want {
		t.Errorf("acts\n%s\nwant\n%s", got, want)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	v, m := vault(t)
	ctx := t.Context()
	const value = "canary-value"
	run := *v
	run.Run = func(context.Context, []string) ([]byte, error) { return nil, nil }
	for what, err := range map[string]error{
		"empty name":        v.Set(ctx, by, app, "", []byte(value)),
		"name with space":   v.Set(ctx, by, app, "A B", []byte(value)),
		"name of others":    v.Set(ctx, by, app, "Ä", []byte(value)),
		"name with digit":   v.Set(ctx, by, app, "1A", []byte(value)),
		"only a dollar":     v.Set(ctx, by, app, "$", []byte(value)),
		"two dollars":       v.Set(ctx, by, app, "$$A", []byte(value)),
		"slash":             v.Set(ctx, by, app, "a/b", []byte(value)),
		"line end":          v.Set(ctx, by, app, "A\n", []byte(value)),
		"long name":         v.Set(ctx, by, app, strings.Repeat("A", maxNameLen+1), []byte(value)),
		"long repository":   v.Set(ctx, by, Scope{Repository: strings.Repeat("a", maxScope+1)}, "A", []byte(value)),
		"bad repository":    v.Set(ctx, by, Scope{Repository: "a\xff"}, "A", []byte(value)),
		"bad environment":   v.Set(ctx, by, Scope{Environment: "a\x00"}, "A", []byte(value)),
		"no value":          v.Set(ctx, by, app, "A", nil),
		"large value":       v.Set(ctx, by, app, "A", bytes.Repeat([]byte(value), MaxValue)),
		"no source":         v.SetSource(ctx, by, app, "A", SourceFile),
		"empty source":      v.SetSource(ctx, by, app, "A", SourceFile, ""),
		"relative file":     v.SetSource(ctx, by, app, "A", SourceFile, "../keys"),
		"two files":         v.SetSource(ctx, by, app, "A", SourceFile, "/a", "/b"),
		"unknown source":    v.SetSource(ctx, by, app, "A", "pigeon", "coop"),
		"sealed as source":  v.SetSource(ctx, by, app, "A", sourceSealed, "x"),
		"no commands":       v.SetSource(ctx, by, app, "A", SourceCommand, "vault"),
		"endless command":   run.SetSource(ctx, by, app, "A", SourceCommand, strings.Repeat("a", maxCommand+1)),
		"NUL in a source":   run.SetSource(ctx, by, app, "A", SourceCommand, "a\x00"),
		"bad UTF-8":         run.SetSource(ctx, by, app, "A", SourceCommand, "a\xff"),
		"removed bad name":  v.Remove(ctx, by, app, "a b"),
		"removed bad scope": v.Remove(ctx, by, Scope{Repository: "\x00"}, "A"),
	} {
		switch {
		case err == nil:
			t.Errorf("%s is taken", what)
		case strings.Contains(err.Error(), value) || len(err.Error()) > 600:
			t.Errorf("%s: %v", what, err)
		}
	}
	if len(m.rows) != 0 || len(m.events) != 0 {
		t.Errorf("%d secrets and %d events were written", len(m.rows), len(m.events))
	}
	must(t, v.Set(ctx, by, app, "A", bytes.Repeat([]byte("x"), MaxValue)))
	if got, err := v.Resolve(ctx, "team/app", "", []string{"A"}); err != nil || len(got["A"]) != MaxValue {
		t.Errorf("the largest value has %d bytes, %v", len(got["A"]), err)
	}
}

func TestSources(t *testing.T) {
	v, _ := vault(t)
	ctx := t.Context()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	t.Setenv("FAIRLEAD_TEST_SECRET", "of the environment")
	t.Setenv("FAIRLEAD_TEST_EMPTY", "")
	var ran [][]string
	v.Run = func(ctx context.Context, command []string) ([]byte, error) {
		ran = append(ran, command)
		if _, ok := ctx.Deadline(); !ok {
			t.Error("a command may take for ever")
		}
		switch command[0] {
		case "fails":
			return []byte("canary-value"), errors.New("exit status 1: token canary-value is out of date")
		case "endless":
			return bytes.Repeat([]byte("canary-value"), MaxValue), nil
		case "empty":
			return []byte("\n"), nil
		}
		return []byte("of the command\r\n"), nil
	}
	for _, test := range []struct {
		kind  string
		at    []string
		want  string
		fault string
	}{
		{SourceFile, []string{write("a", "of the file\n")}, "of the file", ""},
		{SourceFile, []string{write("b", "two\nlines\n\n")}, "two\nlines\n", ""},
		{SourceFile, []string{write("c", "")}, "", "its file is empty"},
		{SourceFile, []string{write("d", strings.Repeat("canary-value", MaxValue))}, "", "its file holds more than 65536 bytes"},
		{SourceFile, []string{write("e", strings.Repeat("x", MaxValue)+"\r\n")}, strings.Repeat("x", MaxValue), ""},
		{SourceFile, []string{filepath.Join(dir, "absent")}, "", "no such file"},
		{SourceFile, []string{dir}, "", "is not a regular file"},
		{SourceEnvironment, []string{"FAIRLEAD_TEST_SECRET"}, "of the environment", ""},
		{SourceEnvironment, []string{"FAIRLEAD_TEST_EMPTY"}, "", "is empty"},
		{SourceEnvironment, []string{"FAIRLEAD_TEST_ABSENT"}, "", "has no variable FAIRLEAD_TEST_ABSENT"},
		{SourceCommand, []string{"vault", "kv get", "$x"}, "of the command", ""},
		{SourceCommand, []string{"fails"}, "", "command fails failed: exit status 1: token *** is out of date"},
		{SourceCommand, []string{"endless"}, "", "its command holds more"},
		{SourceCommand, []string{"empty"}, "", "its command is empty"},
	} {
		must(t, v.SetSource(ctx, by, prod, "S", test.kind, test.at...))
		got, err := v.Resolve(ctx, "team/app", "production", []string{"S"})
		if test.fault == "" {
			if err != nil || got["S"] != test.want {
				t.Errorf("%s %.80q: %.80q, %v", test.kind, test.at, got["S"], err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.fault) || !strings.Contains(err.Error(), "secret S of environment production of team/app") || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s %.80q: %v, want %q", test.kind, test.at, err, test.fault)
		}
	}
	if len(ran) != 4 || !slices.Equal(ran[0], []string{"vault", "kv get", "$x"}) {
		t.Errorf("ran %q", ran)
	}
	v.Run = nil
	if _, err := v.Resolve(ctx, "team/app", "production", []string{"S"}); err == nil {
		t.Error("a command ran without Run")
	}
}

// TestMoved: a row does not open anywhere but where it was sealed for, whatever is
// written beside it.
func TestMoved(t *testing.T) {
	t.Parallel()
	v, m := vault(t)
	ctx := t.Context()
	must(t, v.Set(ctx, by, prod, "DEPLOY", []byte("canary-value")))
	must(t, v.Set(ctx, by, app, "OTHER", []byte("other")))
	row := m.rows["secret "+id(prod, "DEPLOY")]
	for _, to := range []struct {
		scope Scope
		name  string
	}{{app, "DEPLOY"}, {org, "DEPLOY"}, {Scope{Repository: "evil/fork", Environment: "production"}, "DEPLOY"}, {prod, "RENAMED"}, {app, "OTHER"}, {app, "$HOOK"}} {
		var body map[string]any
		must(t, json.Unmarshal(row.Body, &body))
		body["repository"], body["environment"], body["name"] = to.scope.Repository, to.scope.Environment, to.name
		moved := row
		moved.ID = id(to.scope, to.name)
		moved.Body, _ = json.Marshal(body)
		m.rows["secret "+moved.ID] = moved
		value, ok, err := v.at(ctx, to.scope, to.name)
		if ok || err == nil || value != "" || !strings.Contains(err.Error(), "sealed for another name or scope") {
			t.Errorf("moved to %s %s it opens: %q, %v", to.scope, to.name, value, err)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Error(err)
		}
	}
	// Nor does anything else that who writes the database may put there.
	for what, body := range map[string]string{
		"nothing":     `{}`,
		"no JSON":     `{"sealed":`,
		"plain":       `{"sealed":"` + base64.StdEncoding.EncodeToString([]byte(`{"name":"DEPLOY","kind":"command","at":["id"]}`+"\n")) + `"}`,
		"flipped bit": strings.Replace(string(row.Body), sealedPart(t, row), flip(sealedPart(t, row)), 1),
	} {
		m.rows["secret "+id(prod, "DEPLOY")] = record.Register{Kind: "secret", ID: id(prod, "DEPLOY"), Version: 9, Body: json.RawMessage(body)}
		if value, ok, err := v.at(ctx, prod, "DEPLOY"); ok || err == nil {
			t.Errorf("%s opens as %q", what, value)
		}
	}
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	v, m := vault(t)
	ctx := t.Context()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if err := v.Set(ctx, by, app, "A", []byte(fmt.Sprint("value ", i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(m.events); n != 4 {
		t.Errorf("%d events for 4 changes", n)
	}
	m.before = func() { // somebody is always faster
		m.mu.Lock()
		defer m.mu.Unlock()
		r := m.rows["secret "+id(app, "A")]
		r.Version++
		m.rows["secret "+r.ID] = r
	}
	if err := v.Set(ctx, by, app, "A", []byte("x")); !errors.Is(err, record.ErrConflict) {
		t.Error(err)
	}
	if _, err := v.RemoveAll(ctx, by, "team/app"); !errors.Is(err, record.ErrConflict) {
		t.Error(err)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	v, m := vault(t)
	ctx := t.Context()
	other, err := OpenKeys(v.Keys.path) // a server that goes on
	must(t, err)
	server := &Vault{Registers: m, Keys: other}
	for i := range 5 {
		must(t, v.Set(ctx, by, app, fmt.Sprint("S", i), []byte(fmt.Sprint("value ", i))))
	}
	old, err := os.ReadFile(v.Keys.path)
	must(t, err)
	must(t, v.Keys.Rotate())
	must(t, v.Set(ctx, by, app, "NEW", []byte("new value")))
	names := []string{"S0", "S1", "S2", "S3", "S4", "NEW"}
	for _, each := range []*Vault{v, server} {
		if got, err := each.Resolve(ctx, "team/app", "", names); err != nil || len(got) != 6 {
			t.Fatalf("%q, %v", got, err)
		}
	}
	before := len(m.events)
	if n, err := v.Reseal(ctx, by); n != 5 || err != nil {
		t.Fatalf("Reseal: %d, %v", n, err)
	}
	if n, err := v.Reseal(ctx, by); n != 0 || err != nil {
		t.Errorf("Reseal again: %d, %v", n, err)
	}
	if n := len(m.events) - before; n != 5 {
		t.Errorf("%d events", n)
	}
	// Without the old key everything still opens.
	text, err := os.ReadFile(v.Keys.path)
	must(t, err)
	if !bytes.HasSuffix(text, old) {
		t.Fatal("the old key is not in the file after the rotation")
	}
	must(t, os.WriteFile(v.Keys.path, bytes.TrimSuffix(text, old), 0o600))
	if got, err := server.Resolve(ctx, "team/app", "", names); err != nil || len(got) != 6 {
		t.Errorf("%q, %v", got, err)
	}
	// With only the old key nothing does, and it is said what is wrong.
	must(t, os.WriteFile(v.Keys.path, old, 0o600))
	_, err = server.Resolve(ctx, "team/app", "", names)
	if !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), "Put the file of keys back") {
		t.Error(err)
	}
	n, err := v.Reseal(ctx, by)
	if n != 0 || !errors.Is(err, ErrNoKey) || strings.Count(err.Error(), "Put the file") != 6 {
		t.Errorf("Reseal without the key: %d, %v", n, err)
	}
}

// sealedPart is the sealed text of a row, as its JSON holds it.
func sealedPart(t *testing.T, r record.Register) string {
	var s row
	must(t, json.Unmarshal(r.Body, &s))
	return base64.StdEncoding.EncodeToString(s.Sealed)
}

// flip changes a digit near the end.
func flip(s string) string {
	b := []byte(s)
	if b[len(b)-8]++; b[len(b)-8] > 'y' {
		b[len(b)-8] = 'a'
	}
	return string(b)
}

func FuzzOpen(f *testing.F) {
	keys, err := OpenKeys(filepath.Join(f.TempDir(), "keys"))
	if err != nil {
		f.Fatal(err)
	}
	v := &Vault{Keys: keys}
	for _, c := range []content{{Scope: app, Name: "A", Source: sourceSealed, Value: []byte("x")}, {Source: SourceFile}} {
		sealed, err := v.seal(c)
		if err != nil {
			f.Fatal(err)
		}
		body, _ := json.Marshal(row{Sealed: sealed})
		f.Add(body)
	}
	f.Add([]byte(`{"sealed":"YWdlLWVuY3J5cHRpb24ub3JnL3YxCg=="}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if c, _, err := v.open(record.Register{Body: body}, prod, "A"); err == nil {
			t.Errorf("%q opens as %+v", body, c)
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	m := &memory{rows: map[string]record.Register{}}
	keys, err := OpenKeys(filepath.Join(b.TempDir(), "keys"))
	if err != nil {
		b.Fatal(err)
	}
	v := &Vault{Registers: m, Keys: keys}
	var names []string
	for i := range 10 {
		names = append(names, fmt.Sprint("S", i))
		if err := v.Set(b.Context(), by, app, names[i], []byte("value")); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if got, err := v.Resolve(b.Context(), "team/app", "production", names); len(got) != 10 {
			b.Fatal(err)
		}
	}
}
