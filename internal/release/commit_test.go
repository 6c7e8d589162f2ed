package release

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, message string
		want          Message
	}{
		{"a type", "docs: correct spelling", Message{Type: "docs", Description: "correct spelling"}},
		{"a scope", "feat(lang): add Polish", Message{Type: "feat", Scope: "lang", Description: "add Polish"}},
		{"a scope of a path", "fix(api/v2, web): a colon: inside", Message{Type: "fix", Scope: "api/v2, web", Description: "a colon: inside"}},
		{"a type in any case", "FEAT(Lang): Add", Message{Type: "feat", Scope: "Lang", Description: "Add"}},
		{"two spaces", "fix:  two", Message{Type: "fix", Description: "two"}},
		{"a bang", "feat!: send mail", Message{Type: "feat", Bang: true, Description: "send mail", Breaking: []string{"send mail"}}},
		{"a bang and a scope", "feat(api)!: send mail", Message{Type: "feat", Scope: "api", Bang: true, Description: "send mail", Breaking: []string{"send mail"}}},
		{"a bang and a footer: the footer says it", "chore!: drop Node 6\n\nBREAKING CHANGE: use what Node 6 has not", Message{
			Type: "chore", Bang: true, Description: "drop Node 6", Breaking: []string{"use what Node 6 has not"},
			Footers: []Footer{{"BREAKING CHANGE", "use what Node 6 has not"}},
		}},
		{"a footer that breaks, of any type", "ci: x\n\nBREAKING-CHANGE: y", Message{
			Type: "ci", Description: "x", Breaking: []string{"y"}, Footers: []Footer{{"BREAKING-CHANGE", "y"}},
		}},
		{"these words in lower case are no footer", "ci: x\n\nbreaking change: y", Message{Type: "ci", Description: "x", Body: "breaking change: y"}},
		{"body and footers", "fix: prevent racing\n\nOne.\nTwo.\n\nThree.\n\nReviewed-by: Z\nRefs: #123\nFixes #4", Message{
			Type: "fix", Description: "prevent racing", Body: "One.\nTwo.\n\nThree.",
			Footers: []Footer{{"Reviewed-by", "Z"}, {"Refs", "#123"}, {"Fixes", "#4"}},
		}},
		{"a footer of several lines and paragraphs", "fix: x\n\nBREAKING CHANGE: one\n  two\n\nthree\nSigned-off-by: Z", Message{
			Type: "fix", Description: "x", Breaking: []string{"one\n  two\n\nthree"},
			Footers: []Footer{{"BREAKING CHANGE", "one\n  two\n\nthree"}, {"Signed-off-by", "Z"}},
		}},
		{"no blank line before what breaks", "fix: x\n\nText\nBREAKING CHANGE: y", Message{
			Type: "fix", Description: "x", Body: "Text", Breaking: []string{"y"}, Footers: []Footer{{"BREAKING CHANGE", "y"}},
		}},
		{"a revert as the specification has it", "revert: let us never speak of it\n\nRefs: 676104e, A215868", Message{
			Type: "revert", Description: "let us never speak of it", Footers: []Footer{{"Refs", "676104e, A215868"}}, Reverts: []string{"676104e", "a215868"},
		}},
		{"a revert as git has it", "Revert \"feat: x\"\n\nThis reverts commit 676104e0000000000000000000000000000000aa.", Message{
			Type: "revert", Description: "feat: x", Body: "This reverts commit 676104e0000000000000000000000000000000aa.",
			Reverts: []string{"676104e0000000000000000000000000000000aa"},
		}},
		{"a squash lists what it was made of", "feat: all (#12)\n\n* fix: a\n\n* feat!: b\n\n* work", Message{
			Type: "feat", Description: "all (#12)", Body: "* fix: a\n\n* feat!: b\n\n* work", Breaking: []string{"b"},
			Entries: []Message{{Type: "fix", Description: "a"}, {Type: "feat", Bang: true, Description: "b", Breaking: []string{"b"}}},
		}},
		{"Azure's prefix", "Merged PR 12: fix(web): x", Message{Type: "fix", Scope: "web", Description: "x"}},
		{"line ends of Windows", "fix: x\r\n\r\nbody\r\n", Message{Type: "fix", Description: "x", Body: "body"}},
	}
	for _, tt := range tests {
		got, err := Parse(tt.message)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", tt.name, got, err, tt.want)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"":                    "is empty",
		"  \n\n":              "is empty",
		"fixed things":        "does not begin with a type and a colon",
		"fix:x":               "has no space after the colon",
		"fix: ":               "has nothing after the colon",
		"fix(a) : x":          "does not begin with a type and a colon",
		"fix : x":             "has a space between the type and what follows it",
		"feat(): x":           "has an empty scope",
		"feat(a(b)): x":       "does not begin with a type and a colon",
		"what is this: a fix": "does not begin with a type and a colon",
		"fix: x\nat once":     "has no blank line after its first line",
	} {
		if _, err := Parse(message); err == nil || err.Error() != want {
			t.Errorf("%q: %v, not %q", message, err, want)
		}
	}
	// What breaks is heard all the same.
	if m, err := Parse("rework it\n\nBREAKING CHANGE: all is new"); err == nil || len(m.Breaking) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"feat(a)!: b\n\nc\n\nBREAKING CHANGE: d\nRefs: abcdef1", "Revert \"x\"\n\nThis reverts commit abcdef1.", "fix: a\n\n* feat!: b\n- fix: c", "a\xff\r\n\x00", "Merged PR 1: fix: x", "feat(" + strings.Repeat("(", 1000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Parse(text)
		for _, s := range append([]string{m.Type, m.Scope, m.Description}, m.Breaking...) {
			if !utf8.ValidString(s) || strings.Contains(s, "\r") {
				t.Fatalf("%q is no text", s)
			}
		}
		if strings.Contains(m.Description, "\n") {
			t.Fatalf("%q has several lines", m.Description)
		}
		if err == nil && (m.Type == "" || m.Description == "" && m.Type != revertType && m.Type != reapplyType) {
			t.Fatalf("%+v is understood", m)
		}
		if len(m.Footers) > maxFooters || len(m.Entries) > 2*maxEntries {
			t.Fatal("no limit")
		}
		// What is written again reads the same.
		if err == nil && m.Type != revertType && m.Type != reapplyType {
			scope, bang := "", ""
			if m.Scope != "" {
				scope = "(" + m.Scope + ")"
			}
			if m.Bang {
				bang = "!"
			}
			again, err := Parse(fmt.Sprintf("%s%s%s: %s", m.Type, scope, bang, m.Description))
			if err != nil || again.Type != m.Type || again.Scope != m.Scope || again.Description != m.Description {
				t.Fatalf("%+v became %+v: %v", m, again, err)
			}
		}
		d := Decision{Changes: []Change{{SHA: "1234567", Text: m.Description, Scope: m.Scope, Breaking: m.Breaking, Section: Breaking}}}
		d.Version, _ = ParseVersion("1.0.0")
		notes := d.Notes(Links{}, "")
		log, changed := d.Insert("", notes, Links{}, noon())
		if _, twice := d.Insert(log, notes, Links{}, noon()); !changed || twice {
			t.Fatalf("inserted %v, again %v:\n%s", changed, twice, log)
		}
	})
}
