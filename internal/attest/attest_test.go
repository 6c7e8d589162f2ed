package attest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

var update = flag.Bool("update", false, "write the golden statement instead of comparing it")

func digest(s string) [32]byte { return sha256.Sum256([]byte(s)) }

func named(s string) string {
	d := digest(s)
	return "sha256:" + hex.EncodeToString(d[:])
}

func read(path, text string) record.Input {
	return record.Input{Path: path, Use: record.UseContent, FileState: record.FileState{Kind: record.Regular, Digest: digest(text)}}
}

// made is a run of two steps: one makes the program, one packs it.
func made() (*record.Run, *record.JobRun, []Seen) {
	begun := time.Date(2026, 11, 23, 10, 0, 0, 5, time.UTC)
	r := record.NewRun("12")
	r.Verdict = plan.Success
	r.Planned = &record.RunPlanned{
		Number: 3, Attempt: 1, Version: "1.0.0",
		Change:   &plan.Change{Event: "push", Ref: "refs/heads/main", SHA: strings.Repeat("ab", 20), Server: "https://github.com", Repository: "team/app", Actor: "ann"},
		Pipeline: &plan.Pipeline{Dialect: "github", File: ".github/workflows/ci.yml"},
		Settings: record.Settings{Inputs: map[string]any{"b": true, "a": "x"}, Secrets: []string{"TOKEN", "KEY"}},
		Origin:   &record.Origin{Trust: record.Protected, Change: "17"},
	}
	j := r.Job("build")
	j.Begun, j.Ended = begun, begun.Add(time.Minute)
	j.Started = record.JobStarted{Workspace: "/w", Place: "host"}
	j.Materials = []record.Material{{Name: "actions/checkout@v4", URL: "https://github.com/actions/checkout", Commit: strings.Repeat("cd", 20)}, {Name: "golang:1.26", Digest: named("image")}}
	seen := []Seen{
		{"1", &record.Observation{
			Mechanism: "seccomp", Peers: []string{"tcp 10.0.0.1:443", "unix /run/x"},
			Inputs:  []record.Input{read("/w/main.go", "main"), read("/w/ü x", "x"), read("/usr/bin/cc", "cc"), read("/tmp/t", "t"), {Path: "/w/none", Use: record.UseAbsent}},
			Outputs: []record.Output{{Path: "/w/app", FileState: record.FileState{Kind: record.Regular, Digest: digest("app")}, Made: true}},
		}},
		{"2", &record.Observation{Mechanism: "seccomp", Inputs: []record.Input{read("/w/app", "app"), read("/w/main.go", "changed")}, Barred: []record.Bar{{Kind: record.BarNetwork, Detail: "x"}}}},
	}
	return r, j, seen
}

func TestStatement(t *testing.T) {
	t.Parallel()
	statement := func() []byte {
		b := func() *Build {
			r, j, seen := made()
			return OfRun(r, j, seen, Workstation, Subject{"z.tar.gz", named("z")}, Subject{"app.tar.gz", named("a")})
		}()
		b.Temporary = []string{"/tmp"}
		s, err := b.Statement()
		if err != nil {
			t.Fatal(err)
		}
		text, err := s.JSON()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	first := statement()
	for range 20 {
		if string(statement()) != string(first) {
			t.Fatal("the same facts made other bytes")
		}
	}
	var pretty strings.Builder
	e := json.NewEncoder(&pretty)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(json.RawMessage(first)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("testdata", "statement.json")
	if *update {
		if err := os.WriteFile(name, []byte(pretty.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil || string(want) != pretty.String() {
		t.Errorf("%v; got:\n%s", err, pretty.String())
	}
	shape(t, first)
}

// shape holds a statement against what in-toto's Statement v1 and SLSA's Provenance v1 say
// of each field: its name, its type, whether it has to be there.
func shape(t *testing.T, text []byte) {
	t.Helper()
	type object = map[string]any
	var doc object
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	fields := func(where string, o object, required []string, allowed ...string) {
		t.Helper()
		for _, name := range required {
			if o[name] == nil {
				t.Errorf("%s has no %s", where, name)
			}
		}
		all := " " + strings.Join(append(allowed, required...), " ") + " "
		for name := range o {
			if !strings.Contains(all, " "+name+" ") {
				t.Errorf("%s has a field %s that the specification does not know", where, name)
			}
		}
	}
	resource := func(where string, v any, subject bool) {
		t.Helper()
		o, _ := v.(object)
		fields(where, o, nil, "name", "uri", "digest", "content", "downloadLocation", "mediaType", "annotations")
		if o["uri"] == nil && o["digest"] == nil && o["content"] == nil || subject && o["digest"] == nil {
			t.Errorf("%s: %v names nothing", where, o)
		}
		digests, _ := o["digest"].(object)
		for algorithm, d := range digests {
			if _, err := hex.DecodeString(d.(string)); err != nil || algorithm == "" {
				t.Errorf("%s: digest %v", where, d)
			}
		}
	}
	fields("the statement", doc, []string{"_type", "subject", "predicateType", "predicate"})
	if doc["_type"] != "https://in-toto.io/Statement/v1" || doc["predicateType"] != "https://slsa.dev/provenance/v1" {
		t.Errorf("%v, %v", doc["_type"], doc["predicateType"])
	}
	for _, s := range doc["subject"].([]any) {
		resource("a subject", s, true)
	}
	predicate := doc["predicate"].(object)
	fields("the predicate", predicate, []string{"buildDefinition", "runDetails"})
	definition := predicate["buildDefinition"].(object)
	fields("buildDefinition", definition, []string{"buildType", "externalParameters"}, "internalParameters", "resolvedDependencies")
	for _, d := range definition["resolvedDependencies"].([]any) {
		resource("a dependency", d, false)
	}
	details := predicate["runDetails"].(object)
	fields("runDetails", details, []string{"builder"}, "metadata", "byproducts")
	fields("builder", details["builder"].(object), []string{"id"}, "version", "builderDependencies")
	metadata := details["metadata"].(object)
	fields("metadata", metadata, nil, "invocationId", "startedOn", "finishedOn")
	for _, name := range []string{"startedOn", "finishedOn"} {
		if at, err := time.Parse(time.RFC3339, metadata[name].(string)); err != nil || !strings.HasSuffix(metadata[name].(string), "Z") || at.IsZero() {
			t.Errorf("%s: %v", name, metadata[name])
		}
	}
}

func TestWhatWasNotSeenIsSaid(t *testing.T) {
	t.Parallel()
	r, j, seen := made()
	seen = append(seen, Seen{"3", nil}, Seen{"4", &record.Observation{Mechanism: "ptrace", Barred: []record.Bar{{Kind: record.BarLost, Detail: "too many"}}}})
	s, err := OfRun(r, j, seen, Workstation, Subject{"a", named("a")}).Statement()
	if err != nil {
		t.Fatal(err)
	}
	internal := s.Predicate.BuildDefinition.InternalParameters
	if internal["observed"] != "in part" || strings.Join(internal["unobserved"].([]string), ";") != "step 3 was not watched;step 4: lost too many" {
		t.Errorf("%v", internal)
	}
	if s, err = OfRun(r, j, nil, Workstation, Subject{"a", named("a")}).Statement(); err != nil || s.Predicate.BuildDefinition.InternalParameters["observed"] != "in part" {
		t.Errorf("%v, %v", s, err)
	}
	if _, err := OfRun(r, j, nil, Workstation).Statement(); err == nil {
		t.Error("a statement about nothing")
	}
	if !s.Has(named("a")) || s.Has(named("b")) || s.Has("") {
		t.Error("Has")
	}
}

func TestSeal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, err := OpenKey(filepath.Join(dir, "release.key"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenKey(filepath.Join(dir, "release.key"))
	if err != nil || again.Public().ID() != key.Public().ID() {
		t.Fatal(err)
	}
	pub, err := os.ReadFile(filepath.Join(dir, "release.pub"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseKeys(pub)
	if err != nil {
		t.Fatal(err)
	}
	other, err := OpenKey(filepath.Join(dir, "other.key"))
	if err != nil {
		t.Fatal(err)
	}
	r, j, seen := made()
	s, err := OfRun(r, j, seen, Workstation, Subject{"a", named("a")}).Statement()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := Seal(s, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := sealed.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Open(text, keys); err != nil || !got.Has(named("a")) {
		t.Errorf("%v", err)
	}
	if _, err := Open(text, []PublicKey{other.Public()}); !errors.Is(err, ErrStranger) {
		t.Errorf("%v", err)
	}
	// Other bytes, the same signature.
	payload, _ := base64.StdEncoding.DecodeString(sealed.Payload)
	forged := *sealed
	forged.Payload = base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(payload), `"ann"`, `"bob"`, 1)))
	text, _ = forged.JSON()
	if _, err := Open(text, keys); !errors.Is(err, ErrStranger) {
		t.Errorf("%v", err)
	}
	plain, _ := Seal(s, nil)
	text, _ = plain.JSON()
	if got, err := Open(text, keys); !errors.Is(err, ErrUnsigned) || got == nil {
		t.Errorf("%v", err)
	}
	// The example of the specification of DSSE.
	if got := string(pae("http://example.com/HelloWorld", []byte("hello world"))); got != "DSSEv1 29 http://example.com/HelloWorld 11 hello world" {
		t.Errorf("%q", got)
	}
	private, err := os.ReadFile(filepath.Join(dir, "release.key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseKeys(private); err == nil || strings.Contains(err.Error(), "MC4C") {
		t.Errorf("a private key is taken for a public one: %v", err)
	}
	if err := os.Chmod(filepath.Join(dir, "other.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey(filepath.Join(dir, "other.key")); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bad.key"), []byte("secret bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey(filepath.Join(dir, "bad.key")); err == nil || strings.Contains(err.Error(), "secret bytes") {
		t.Errorf("%v", err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"sig":"AA=="}]}`))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":""}}],"predicateType":"https://slsa.dev/provenance/v1"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := Open(text, nil); err == nil {
			t.Fatalf("%+v was signed", s)
		}
		if s, err := Parse(text); err == nil {
			if again, err := s.JSON(); err != nil {
				t.Fatal(err)
			} else if _, err := Parse(again); err != nil {
				t.Fatal(err)
			}
		}
	})
}
