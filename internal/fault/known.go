package fault

import (
	"fmt"
	"iter"
	"regexp"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of what a team knows.
const (
	maxIssues  = 200
	maxPattern = 1000 // bytes
	// maxHits is how many failures a preview shows.
	maxHits = 50
)

// knownRule is the rule of the problems that are found in issues.
const knownRule = "known-issues"

// Issue is a trouble that a team knows: what it looks like, and what to think
// of it. It is an entry of the section known-issues of fairlead.yaml.
type Issue struct {
	Name    string
	Pattern string // a regular expression (RE2) for one line: of the title, of what the test said, of the log
	// Job, Step, Test and Branch say where it counts, with * for anything;
	// "" is everywhere.
	Job, Step, Test, Branch string
	Note                    string    // what people are told
	Link                    string    // where it is worked on
	Blame                   Blame     // whose fault it is; "" leaves that open
	Until                   time.Time // when it no longer counts; zero for never
	Source                  plan.Source
}

// Issues are issues, ready to be looked for.
type Issues struct {
	issues  []Issue
	pattern []*regexp.Regexp
}

// Recognised is an issue in a failure.
type Recognised struct {
	Issue Issue
	Line  Line // that its pattern matched; N is -1 of a title
	From  int  // of the match in it, in bytes
	To    int
}

// Compile makes issues ready. What is wrong with them are problems, each at its
// Source; an issue that has one is left out.
func Compile(issues []Issue) (*Issues, []plan.Problem) {
	k := &Issues{}
	var problems []plan.Problem
	bad := func(i Issue, message, hint string) {
		problems = append(problems, plan.Problem{Source: i.Source, Severity: plan.Error, Rule: knownRule, Message: message, Hint: hint})
	}
	names := map[string]bool{}
	for n, i := range issues {
		if n == maxIssues {
			bad(i, fmt.Sprintf("there are more than %d known issues", maxIssues), "remove those that are mended")
			break
		}
		title := plan.Clip(i.Name)
		re, err := regexp.Compile(cut(i.Pattern, maxPattern+1))
		switch {
		case i.Name == "":
			bad(i, "a known issue has no name", "give it one that people recognise")
		case names[i.Name]:
			bad(i, fmt.Sprintf("the known issue %q is there twice", title), "give one of them another name")
		case i.Pattern == "":
			bad(i, fmt.Sprintf("the known issue %q has no pattern", title), "write what its line of the log looks like")
		case len(i.Pattern) > maxPattern:
			bad(i, fmt.Sprintf("the pattern of %q is longer than %d bytes", title, maxPattern), "name the words that tell it apart")
		case err != nil:
			bad(i, fmt.Sprintf("the pattern of %q is no regular expression: %s", title, strings.TrimPrefix(err.Error(), "error parsing regexp: ")), "see the syntax of RE2; write \\( for a bracket")
		case re.MatchString(""):
			bad(i, fmt.Sprintf("the pattern of %q matches every line", title), "every failure would be this one: name words that must be there")
		case i.Blame != "" && !i.Blame.known():
			bad(i, fmt.Sprintf("%q is no verdict", plan.Clip(string(i.Blame))), "the verdicts are "+blameWords())
		default:
			k.issues, k.pattern = append(k.issues, i), append(k.pattern, re)
		}
		names[i.Name] = true
	}
	return k, problems
}

// Find finds the issues that a failure is an instance of, each once, in the
// order in which they were written. log is what is known of the failure
// besides its title: the last lines of a step, or what a test said.
func (k *Issues) Find(f Failure, log iter.Seq[Line]) []Recognised {
	if k == nil || len(k.issues) == 0 {
		return nil
	}
	found := make([]*Recognised, len(k.issues))
	open := 0
	for n, i := range k.issues {
		if i.counts(f) {
			found[n] = &Recognised{Issue: i}
			open++
		}
	}
	left := open
	try := func(l Line) bool {
		for n, r := range found {
			if r == nil || r.To > 0 {
				continue
			}
			if at := k.pattern[n].FindStringIndex(l.Text); at != nil {
				r.Line, r.From, r.To = l, at[0], at[1]
				left--
			}
		}
		return left > 0
	}
	if try(Line{N: -1, Text: oneLine(f.Title)}) && log != nil {
		for l := range log {
			if !try(Line{l.N, cleaned(l).s}) {
				break
			}
		}
	}
	var out []Recognised
	for _, r := range found {
		if r != nil && r.To > 0 {
			out = append(out, *r)
		}
	}
	return out
}

// counts reports whether an issue is looked for in a failure.
func (i *Issue) counts(f Failure) bool {
	return (i.Until.IsZero() || f.Time.Before(i.Until)) && like(i.Job, f.Job) && like(i.Step, f.Step) && like(i.Test, f.Test) && like(i.Branch, f.Branch)
}

// like reports whether s is what a pattern with * says; "" says anything.
func like(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	p, i, star, back := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, back = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			back++
			p, i = star+1, back
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// Past is a failure that is remembered with what it said.
type Past struct {
	Failure
	Log []Line
}

// Trial is what an issue would have recognised.
type Trial struct {
	Of       int // failures looked at
	Hits     int
	Branches int          // that the hits are in
	Shown    []Recognised // of the newest hits, the first in each
	Failures []Failure    // theirs
}

// Preview says which of past failures (the newest first) an issue would have
// recognised, for a person who writes it.
func Preview(i Issue, past iter.Seq[Past]) (Trial, []plan.Problem) {
	var t Trial
	i.Until = time.Time{}
	if i.Name == "" {
		i.Name = "this one"
	}
	k, problems := Compile([]Issue{i})
	if len(problems) > 0 {
		return t, problems
	}
	branches := map[string]bool{}
	for p := range past {
		t.Of++
		hits := k.Find(p.Failure, func(yield func(Line) bool) {
			for _, l := range p.Log {
				if !yield(l) {
					return
				}
			}
		})
		if len(hits) == 0 {
			continue
		}
		t.Hits++
		branches[p.Branch] = true
		if len(t.Shown) < maxHits {
			t.Shown, t.Failures = append(t.Shown, hits[0]), append(t.Failures, p.Failure)
		}
	}
	t.Branches = len(branches)
	return t, nil
}
