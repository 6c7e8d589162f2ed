package crew

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// TestSecretsOf gives a job what it names.
func TestSecretsOf(t *testing.T) {
	t.Parallel()
	all := map[string]string{"TOKEN": "1", "DEPLOY_KEY": "2", "GITHUB_TOKEN": "3"}
	for text, want := range map[string]string{
		"echo hello":                          "GITHUB_TOKEN",
		"${{ secrets.TOKEN }}":                "GITHUB_TOKEN TOKEN",
		"${{ secrets.token }}":                "GITHUB_TOKEN TOKEN",
		"${{ secrets['DEPLOY_KEY'] }}":        "DEPLOY_KEY GITHUB_TOKEN",
		"${{ secrets[\"deploy_key\"] }}":      "DEPLOY_KEY GITHUB_TOKEN",
		"first line\nTOKEN=x":                 "GITHUB_TOKEN TOKEN",
		"${{ secrets[matrix.name] }}":         "DEPLOY_KEY GITHUB_TOKEN TOKEN",
		"${{ toJSON(secrets) }}":              "DEPLOY_KEY GITHUB_TOKEN TOKEN",
		"${{ join(secrets.*, ',') }}":         "DEPLOY_KEY GITHUB_TOKEN TOKEN",
		"${{ secrets }}":                      "DEPLOY_KEY GITHUB_TOKEN TOKEN",
		"curl -H \"Token: $DEPLOY_KEY\"":      "DEPLOY_KEY GITHUB_TOKEN",
		"we have no secrets from each other.": "GITHUB_TOKEN",
	} {
		j := &plan.Job{ID: "a", Steps: []plan.Step{{Run: &plan.Script{Text: plan.Expr{Text: text}}}}}
		var names []string
		for name := range secretsOf(j, all) {
			names = append(names, name)
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	program := &plan.Job{ID: "a", Steps: []plan.Step{{Data: map[string]any{"file": "Jenkinsfile"}}}}
	if got := secretsOf(program, all); len(got) != len(all) {
		t.Errorf("a job that is a program is given %v", got)
	}
	if got := secretsOf(&plan.Job{}, nil); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}

// FuzzEntries reads what a worker might say: nothing of it may harm the server.
func FuzzEntries(f *testing.F) {
	lines := appendLine(appendLine(beginLines(nil, 7), "1", time.Unix(1, 0), []byte("one")), "1.2", time.Unix(2, 0), nil)
	events, err := eventsEntry([]record.Event{{Time: time.Unix(1, 0), Step: "1", Body: &record.StepStarted{Name: "x"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frame(frame(frame(nil, lines), events), append([]byte{entryEnd}, `{"verdict":"success"}`...)))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, said []byte) {
		for len(said) > 0 {
			entry, rest, err := unframe(said)
			if err != nil {
				return
			}
			said = rest
			switch entry[0] {
			case entryLines:
				var again []byte
				first := int64(-1)
				err := eachLine(entry[1:], func(n int64, step string, at time.Time, text []byte) error {
					if first < 0 {
						first = n
						again = beginLines(nil, n)
					}
					if len(text) > logs.MaxLine || len(step) > logs.MaxStep {
						t.Errorf("line %d is too long", n)
					}
					again = appendLine(again, step, at, text)
					return nil
				})
				if err == nil && first >= 0 {
					same := 0
					if err := eachLine(again[1:], func(int64, string, time.Time, []byte) error { same++; return nil }); err != nil || same == 0 {
						t.Errorf("what was read cannot be read again: %v", err)
					}
				}
			case entryEvents:
				list, err := readEvents(entry[1:], "1", "job")
				for _, e := range list {
					if err == nil && (e.Run != "1" || e.Job != "job" || !workersKind(e.Kind())) {
						t.Errorf("it may say %s of %s/%s", e.Kind(), e.Run, e.Job)
					}
				}
			case entryEnd:
				_, _ = readEnd(entry[1:])
			}
		}
	})
}

// TestSpool keeps what was said over the death of its process, up to what was cut off.
func TestSpool(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool", "one")
	ref := Ref{"7", "build/linux", 3}
	s, err := newSpool(dir, ref, 10)
	if err != nil {
		t.Fatal(err)
	}
	d := blob.Of([]byte("x"))
	for i := range 5 {
		if n, err := s.Line("1", time.Now(), fmt.Appendf(nil, "line %d\nof two", i)); err != nil || n != int64(10+i) {
			t.Errorf("line %d: %v", n, err)
		}
	}
	told, err := s.Append(context.Background(), record.Event{Step: "1", Body: &record.ArtifactSaved{Artifact: plan.Artifact{Name: "a", Digest: string(d)}}}, record.Event{Body: &record.StepStarted{Name: "s"}})
	if err != nil || told[1].Seq != 2 || told[0].Time.IsZero() {
		t.Errorf("%+v %v", told, err)
	}
	if _, err := s.Line("2", time.Now(), []byte("more")); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	r, err := s.Text("1", 11, 13)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(r); err != nil || string(text) != "line 1 of two\nline 2 of two\n" {
		t.Errorf("text %q (%v)", text, err)
	}
	if _, err := s.Line("1", time.Now(), make([]byte, logs.MaxLine+1)); err == nil {
		t.Error("a line without end was taken")
	}
	said, next, needs, _, err := s.batch(0, 1<<20)
	if err != nil || next != 3 || !slices.Equal(needs, []blob.Digest{d}) {
		t.Errorf("next %d, needs %v (%v)", next, needs, err)
	}
	// The process dies with half of an entry written.
	s.file.Close()
	f, err := os.OpenFile(filepath.Join(dir, "entries"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte{200, 0, 0, 0, 1, 2, 3, 4, 'L', 5}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.Mkdir(filepath.Join(filepath.Dir(dir), "damaged"), 0o700); err != nil {
		t.Fatal(err)
	}
	left, err := spools(filepath.Dir(dir))
	if err != nil || len(left) != 1 || left[0].ref != ref || left[0].ended {
		t.Fatalf("left are %+v (%v)", left, err)
	}
	if err := left[0].end(ending{Lost: "was started anew"}); err != nil {
		t.Fatal(err)
	}
	again, next, needs, _, err := left[0].batch(0, 1<<20)
	if err != nil || next != 4 || !bytes.HasPrefix(again, said) || !slices.Equal(needs, []blob.Digest{d}) {
		t.Errorf("again: next %d, needs %v (%v)", next, needs, err)
	}
	if err := left[0].remove(); err != nil {
		t.Error(err)
	}
	if left, err := spools(filepath.Dir(dir)); err != nil || len(left) != 0 {
		t.Errorf("left are %v (%v)", left, err)
	}
}
