package project

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"regexp/syntax"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// KnownIssue is an entry of the section known-issues: a trouble that the team
// knows, what it looks like, and what to think of it.
type KnownIssue struct {
	Name                    string
	Pattern                 string // RE2, for one line
	Job, Step, Test, Branch string // where it counts, with * for anything; "" is everywhere
	Note, Link              string
	Verdict                 string // as package fault has them: "flaky"; "" leaves it open
	Until                   time.Time
	Source                  plan.Source
}

// maxKnownIssues bounds the section.
const maxKnownIssues = 200

func knownIssues() kind[[]KnownIssue] {
	return list("known issues", maxKnownIssues, placed(func(i *KnownIssue) *plan.Source { return &i.Source }, mapping("keys of a known issue",
		at("name", func(i *KnownIssue) *string { return &i.Name }, plain("a name", "the registry is slow"), "What people call it.").required(),
		at("pattern", func(i *KnownIssue) *string { return &i.Pattern }, linePattern(), "What a line of the failure looks like: its title, what the test said, or one of the last lines of the log.").required(),
		at("job", func(i *KnownIssue) *string { return &i.Job }, plain("a job, with * for anything", "e2e*"), "The jobs in which it counts."),
		at("step", func(i *KnownIssue) *string { return &i.Step }, plain("a step, with * for anything", "Install*"), "The steps in which it counts."),
		at("test", func(i *KnownIssue) *string { return &i.Test }, plain("a test, with * for anything", "*checkout*"), "The tests in which it counts."),
		at("branch", func(i *KnownIssue) *string { return &i.Branch }, plain("a branch, with * for anything", "release/*"), "The branches on which it counts."),
		at("note", func(i *KnownIssue) *string { return &i.Note }, plain("a text", "run again, it is being moved"), "What people are told."),
		at("link", func(i *KnownIssue) *string { return &i.Link }, link(), "Where it is worked on."),
		at("verdict", func(i *KnownIssue) *string { return &i.Verdict }, choice("your change", "flaky", "infrastructure", "already broken"), "Whose fault it is."),
		at("until", func(i *KnownIssue) *time.Time { return &i.Until }, day(), "The day from which it no longer counts: a list of known issues should not grow old."),
	)))
}

// linePattern is a regular expression for one line.
func linePattern() kind[string] {
	s := &schema{words: "a regular expression", way: "write it in RE2's syntax, such as ETIMEDOUT .*registry", Type: one("string"), MinLength: 1, Examples: []any{"ETIMEDOUT .*registry"}}
	return scalar(s, func(text string) (string, *fault) {
		if len(text) > maxText {
			return "", faulty(text, "is too long")
		}
		re, err := regexp.Compile(text)
		var wrong *syntax.Error
		switch {
		case errors.As(err, &wrong):
			return "", faulty(text, "is no regular expression: "+wrong.Code.String())
		case err != nil:
			return "", faulty(text, "is no regular expression")
		case re.MatchString(""):
			return "", &fault{quote(text) + " matches every line", "name words that must be there"}
		}
		return text, nil
	})
}

// link is the address of a page.
func link() kind[string] {
	s := &schema{words: "an address", way: "write it with https://", Type: one("string"), Pattern: "^https?://", Examples: []any{"https://example.com/issues/12"}}
	return scalar(s, func(text string) (string, *fault) {
		u, err := url.Parse(text)
		if err != nil || len(text) > maxText || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
			return "", faulty(text, "is no address of a page")
		}
		return text, nil
	})
}

// day is a day, of UTC.
func day() kind[time.Time] {
	s := &schema{words: "a day", way: "write year, month and day, such as 2026-12-24", Type: one("string"), Pattern: `^\d{4}-\d\d-\d\d$`, Examples: []any{"2026-12-24"}}
	return kind[time.Time]{s, func(r *reader, n *yaml.Node, v *time.Time) {
		t, err := time.Parse(time.DateOnly, n.Value)
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" && n.ShortTag() != "!!timestamp" || err != nil {
			r.report(n, fmt.Sprintf("%s must be %s, not %s", r.subject(), s.words, shape(n)), s.way)
			return
		}
		*v = t
	}}
}
