// Package release finds out what the next release is: its version, what is in
// it, and the text that tells people.
//
// It is given what git knows, commits and tags, and says what follows; it
// starts nothing, reads no clock and changes nothing.
//
//	message ── Parse ──► Message ─┐
//	commits ── merges, reverts ───┼─► Decide ──► Decision: version, why, changes ──► Notes ──► changelog
//	tags ───── Find ──────────────┘
//
// Two sources can say how much a change changes: the messages of commits, by the
// specification of Conventional Commits 1.0.0, or the labels of pull requests.
// Versions follow Semantic Versioning 2.0.0, or the calendar.
//
// A repository may hold several components, each with its own versions, tags
// and paths. A commit belongs to those whose files it touches.
//
// A commit that says nothing is a [plan.Problem], and no failure: it is told of,
// and the release goes on without it.
package release

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// rule is the name of all problems with what is to be released.
const rule = "release"

// Commit is a commit, as git and the code host tell of it.
type Commit struct {
	SHA     string
	Parents []string
	Author  string
	Email   string
	Time    time.Time // of the author
	Message string
	Files   []string // slash paths that it changed; none of a merge
	// Number is the pull or merge request that brought it, "17"; [Attribute] finds
	// it in the history.
	Number string
	Labels []string // of that request
}

// Tag is a tag of the repository.
type Tag struct {
	Name   string
	SHA    string // of the commit
	Merged bool   // the commit is in the history of what is to be released
}

// Source is what says how much a change changes.
type Source string

// The sources.
const (
	FromCommits Source = "commits"
	FromLabels  Source = "labels"
)

// Meaning is what a type of commit, or a label, means.
type Meaning struct {
	Word    string // the type in lower case, or the label
	Bump    Bump
	Section string // of the notes; "" leaves the change out
}

// The sections of notes, in their order, as keepachangelog.com has them, with what
// breaks before them.
const (
	Breaking   = "Breaking changes"
	Added      = "Added"
	Changed    = "Changed"
	Deprecated = "Deprecated"
	Removed    = "Removed"
	Fixed      = "Fixed"
	Security   = "Security"
	Reverted   = "Reverted"
)

// Sections are the sections in the order of notes; others come after them.
func Sections() []string {
	return []string{Breaking, Added, Changed, Deprecated, Removed, Fixed, Security, Reverted}
}

// Types are what types mean when nothing else is said. Types that are not here ask
// for no release: docs, test, ci, chore …
func Types() []Meaning {
	return []Meaning{
		{"feat", Minor, Added}, {"fix", Patch, Fixed}, {"perf", Patch, Changed}, {"deprecate", Minor, Deprecated},
		{"security", Patch, Security}, {revertType, Patch, Reverted}, {reapplyType, Patch, Changed},
	}
}

// Labels are what labels mean when nothing else is said.
func Labels() []Meaning {
	return []Meaning{
		{"breaking", Major, Breaking}, {"breaking-change", Major, Breaking}, {"major", Major, Breaking},
		{"feature", Minor, Added}, {"enhancement", Minor, Added}, {"minor", Minor, Added},
		{"bug", Patch, Fixed}, {"fix", Patch, Fixed}, {"patch", Patch, Fixed}, {"security", Patch, Security},
		{"documentation", None, ""}, {"skip-changelog", None, ""}, {"chore", None, ""}, {"dependencies", Patch, Changed},
	}
}

// Component is what has versions of its own.
type Component struct {
	Name string // "" for the one of a repository that has no others
	// Paths are patterns of the files that it is made of: ** is any directories, a name
	// without * is a file or all below a directory, one after ! is left out. None: all files.
	Paths  []string
	Tag    TagPattern
	Scheme Scheme
	First  string // version of its first release; "": 0.1.0
}

// firstVersion is that of a first release when nobody says otherwise: nothing is
// promised yet.
const firstVersion = "0.1.0"

// Owns reports whether a file belongs to the component.
func (c *Component) Owns(file string) bool {
	owned := len(c.Paths) == 0 || strings.HasPrefix(c.Paths[0], "!")
	for _, p := range c.Paths {
		if out, ok := strings.CutPrefix(p, "!"); ok {
			owned = owned && !Match(out, file)
		} else {
			owned = owned || Match(p, file)
		}
	}
	return owned
}

// Match reports whether a file is meant by a pattern: slash paths, in which ** as a
// part stands for any number of directories, and a pattern also means
// all that is below what it names.
func Match(pattern, file string) bool {
	return match(strings.Split(strings.Trim(path.Clean(pattern), "/"), "/"), strings.Split(file, "/"))
}

func match(pattern, parts []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" || pattern[0] == "." {
			for len(pattern) > 0 && (pattern[0] == "**" || pattern[0] == ".") {
				pattern = pattern[1:]
			}
			if len(pattern) == 0 {
				return true
			}
			// Only the first place that fits the next part up to the next ** has to be tried
			// last: all are, and each with a shorter rest.
			for i := range parts {
				if match(pattern, parts[i:]) {
					return true
				}
			}
			return false
		}
		if len(parts) == 0 {
			return false
		}
		if ok, err := path.Match(pattern[0], parts[0]); err != nil || !ok {
			return false
		}
		pattern, parts = pattern[1:], parts[1:]
	}
	return true
}

// maxStars bounds the ** of a pattern: each multiplies what is to be tried.
const maxStars = 4

// CheckPattern says what is wrong with a pattern of files.
func CheckPattern(pattern string) error {
	p := strings.TrimPrefix(pattern, "!")
	if p == "" || strings.HasPrefix(p, "/") || strings.Contains(p, `\`) || slices.Contains(strings.Split(p, "/"), "..") {
		return fmt.Errorf("%.80q is no path inside of the repository", pattern)
	}
	if strings.Count(p, "**") > maxStars {
		return fmt.Errorf("%.80q has more than %d times **", pattern, maxStars)
	}
	if _, err := path.Match(p, ""); err != nil {
		return fmt.Errorf("%.80q is no pattern: a bracket is not closed", pattern)
	}
	return nil
}

// Bases are the releases of a component that a history holds.
type Bases struct {
	Final Release // the last that is no pre-release; what the next version counts from
	Last  Release // the last of any kind; what the next release adds to
}

// Release is a release that was made.
type Release struct {
	Version Version
	Tag     string // "" when there is none
	SHA     string
}

// Find looks for the component's releases among tags. Of a tag that fits the
// pattern and holds no version it is told.
func (c *Component) Find(tags []Tag) (b Bases, problems []plan.Problem) {
	for _, t := range tags {
		text, ok := c.Tag.Version(t.Name)
		if !ok || !t.Merged {
			continue
		}
		v, err := c.Scheme.Parse(text)
		if err != nil {
			if len(text) > 0 && text[0] >= '0' && text[0] <= '9' && !strings.Contains(text, "/") {
				problems = append(problems, warning(fmt.Sprintf("tag %s is passed over: %v", t.Name, err), "remove it if it was to be a release, or change the tag's pattern"))
			}
			continue
		}
		r := Release{v, t.Name, t.SHA}
		if b.Last.Tag == "" || v.Compare(b.Last.Version) > 0 {
			b.Last = r
		}
		if v.Final() && (b.Final.Tag == "" || v.Compare(b.Final.Version) > 0) {
			b.Final = r
		}
	}
	return b, problems
}

func warning(message, hint string) plan.Problem {
	return plan.Problem{Severity: plan.Warning, Rule: rule, Message: message, Hint: hint}
}

func refusal(message, hint string) plan.Problem {
	return plan.Problem{Severity: plan.Error, Rule: rule, Message: message, Hint: hint}
}
