package release

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Where code hosts write the number of a pull or merge request.
var (
	subjectNumber = regexp.MustCompile(`(?:\(#([0-9]{1,9})\)|\(pull request #([0-9]{1,9})\)|^Merge pull request #([0-9]{1,9}) from |^Pull request #([0-9]{1,9}): |^Merged PR ([0-9]{1,9}): |^Merge pull request '.*' \(#([0-9]{1,9})\) from )`)
	trailing      = regexp.MustCompile(`\s*\(#[0-9]{1,9}\)$`)
	bodyNumber    = regexp.MustCompile(`(?m)^See merge request \S*!([0-9]{1,9})\s*$`)
	quotedTitle   = regexp.MustCompile(`^Merge pull request '(.*)' \(#`)
	colonTitle    = regexp.MustCompile(`^(?:Pull request #|Merged PR )[0-9]{1,9}: +(.*)$`)
)

// numberOf is the pull or merge request that a message names; "" for none.
func numberOf(message string) string {
	subject, body, _ := strings.Cut(message, "\n")
	if all := subjectNumber.FindAllStringSubmatch(strings.TrimSpace(subject), -1); len(all) > 0 {
		return strings.Join(all[len(all)-1][1:], "") // of a backport's two, the newer
	}
	if m := bodyNumber.FindStringSubmatch(body); m != nil {
		return m[1]
	}
	return ""
}

// titleOf is the title of what a merge brought; "" when its message does not say.
func titleOf(message string) string {
	subject, body, _ := strings.Cut(message, "\n")
	if m := quotedTitle.FindStringSubmatch(subject); m != nil {
		return m[1]
	}
	if m := colonTitle.FindStringSubmatch(subject); m != nil {
		return m[1]
	}
	for line := range strings.Lines(body) {
		if line = strings.TrimSpace(line); line != "" {
			if bodyNumber.MatchString(line) {
				return ""
			}
			return line
		}
	}
	return ""
}

// Attribute finds out which pull or merge request brought which commit: from its
// own message, or from that of the merge. The list is as [Ask.Commits] wants it.
func Attribute(list []Commit) {
	for i := range list {
		list[i].Number = cmp.Or(list[i].Number, numberOf(list[i].Message))
	}
	for merge, brought := range merges(list) {
		for _, i := range brought {
			list[i].Number = cmp.Or(list[i].Number, list[merge].Number)
		}
	}
}

// merges are the commits that each merge brought, by their places in the list: what
// is in the history of its other parents and of nothing on the way of first
// parents before it. Going from the oldest, each commit is met once.
func merges(list []Commit) map[int][]int {
	place := make(map[string]int, len(list))
	for i := range list {
		place[list[i].SHA] = i
	}
	var trunk []int
	if len(list) > 0 {
		for i, ok := 0, true; ok; {
			trunk = append(trunk, i)
			if len(list[i].Parents) == 0 {
				break
			}
			next, there := place[list[i].Parents[0]]
			i, ok = next, there && next > trunk[len(trunk)-1]
		}
	}
	met := make([]bool, len(list))
	brought := map[int][]int{}
	for _, i := range slices.Backward(trunk) {
		met[i] = true
		for _, p := range list[i].Parents[min(1, len(list[i].Parents)):] {
			for todo := []string{p}; len(todo) > 0; {
				k, ok := place[todo[len(todo)-1]]
				todo = todo[:len(todo)-1]
				if !ok || met[k] {
					continue
				}
				met[k] = true
				brought[i] = append(brought[i], k)
				todo = append(todo, list[k].Parents...)
			}
		}
	}
	return brought
}

// silent is a commit that could not be understood.
type silent struct {
	plan.Problem
	sha string
}

// maxSilent is how many commits that could not be understood are told of one by one.
const maxSilent = 50

// changes is what the commits changed of the component, newest first.
func (a *Ask) changes() (list []Change, said []silent) {
	words := a.Words
	if words == nil && a.Source == FromLabels {
		words = Labels()
	} else if words == nil {
		words = Types()
	}
	meaning := func(word string) (Meaning, bool) {
		i := slices.IndexFunc(words, func(m Meaning) bool { return strings.EqualFold(m.Word, word) })
		if i < 0 {
			return Meaning{}, false
		}
		return words[i], true
	}
	brought := merges(a.Commits)
	touched := make([]bool, len(a.Commits))
	for i := range a.Commits {
		touched[i] = a.touches(i, brought)
	}
	if a.Source == FromLabels {
		list, said = a.labelled(touched, meaning)
	} else {
		list, said = a.conventional(touched, brought, meaning)
	}
	if len(said) > maxSilent {
		rest := len(said) - maxSilent
		said = append(said[:maxSilent:maxSilent], silent{warning(fmt.Sprintf("%d more commits cannot be understood", rest), headerForm), ""})
	}
	return list, said
}

// touches reports whether a commit is about the component. A merge is, if what it
// brought is; a commit without files is about all.
func (a *Ask) touches(i int, brought map[int][]int) bool {
	c := &a.Commits[i]
	if len(a.Paths) == 0 {
		return true
	}
	if len(c.Parents) > 1 {
		return slices.ContainsFunc(brought[i], func(k int) bool { return slices.ContainsFunc(a.Commits[k].Files, a.Owns) })
	}
	return len(c.Files) == 0 || slices.ContainsFunc(c.Files, a.Owns)
}

// conventional reads messages.
func (a *Ask) conventional(touched []bool, brought map[int][]int, meaning func(string) (Meaning, bool)) (list []Change, said []silent) {
	n := len(a.Commits)
	messages, faults := make([]Message, n), make([]error, n)
	for i := range a.Commits {
		messages[i], faults[i] = Parse(a.Commits[i].Message)
	}
	dead := undone(a.Commits, messages)
	for i := range a.Commits {
		c, m := &a.Commits[i], &messages[i]
		if !touched[i] || dead[i] {
			continue
		}
		if len(c.Parents) > 1 {
			// What a merge brought speaks for itself. If none of it does, the title may.
			if slices.ContainsFunc(brought[i], func(k int) bool { return faults[k] == nil }) {
				continue
			}
			title, err := Parse(cmp.Or(titleOf(c.Message), "merge"))
			if err != nil {
				continue // each of those that it brought is told of
			}
			m = &title
			for _, k := range brought[i] {
				faults[k] = nil
				dead[k] = true // it has spoken for them
			}
		} else if faults[i] != nil && len(m.Entries) > 0 {
			// A squashed change without a conventional title: those that it was made of count.
			for k := range m.Entries {
				e := a.change(c, &m.Entries[k], meaning)
				list = append(list, e)
			}
			continue
		}
		if err := faults[i]; err != nil && len(c.Parents) <= 1 {
			var f *Fault
			hint := headerForm
			if errors.As(err, &f) {
				hint = f.Hint
			}
			said = append(said, silent{warning(fmt.Sprintf("commit %s %q %v", short(c.SHA), clip(m.Description), err), hint), c.SHA})
			if m.Type == "" && len(m.Breaking) == 0 {
				continue
			}
		}
		list = append(list, a.change(c, m, meaning))
	}
	return list, said
}

// change is what a message says that was changed.
func (a *Ask) change(c *Commit, m *Message, meaning func(string) (Meaning, bool)) Change {
	means, _ := meaning(m.Type)
	x := Change{
		SHA: c.SHA, Author: c.Author, Email: c.Email, Number: cmp.Or(c.Number, numberOf(m.Description)),
		Type: m.Type, Scope: m.Scope, Text: trailing.ReplaceAllString(m.Description, ""),
		Breaking: m.Breaking, Bump: means.Bump, Section: means.Section,
	}
	if len(m.Breaking) > 0 {
		x.Bump, x.Section = Major, Breaking
	}
	return x
}

// undone are the commits that count for nothing: those that a later one of the list
// took back, and that later one. A commit that was itself taken back takes nothing back.
func undone(list []Commit, messages []Message) []bool {
	dead := make([]bool, len(list))
	for i := range list {
		if dead[i] || len(messages[i].Reverts) == 0 {
			continue
		}
		all := true
		for _, sha := range messages[i].Reverts {
			k := slices.IndexFunc(list[i+1:], func(c Commit) bool { return strings.HasPrefix(c.SHA, sha) })
			if k < 0 || dead[i+1+k] {
				all = false // it was released before
				continue
			}
			dead[i+1+k] = true
		}
		dead[i] = all
	}
	return dead
}

// labelled reads the labels of pull and merge requests: one change each.
func (a *Ask) labelled(touched []bool, meaning func(string) (Meaning, bool)) (list []Change, said []silent) {
	place := map[string]int{}
	for i := range a.Commits {
		c := &a.Commits[i]
		if !touched[i] {
			continue
		}
		if c.Number == "" {
			if len(c.Parents) <= 1 {
				said = append(said, silent{warning(fmt.Sprintf("commit %s %q came without a pull request, so that no label says what it is", short(c.SHA), clip(firstLine(c.Message))), "add it to the notes by hand, under Unreleased"), c.SHA})
			}
			continue
		}
		title := firstLine(c.Message)
		if len(c.Parents) > 1 {
			title = cmp.Or(titleOf(c.Message), title)
		}
		title = trailing.ReplaceAllString(title, "")
		k, known := place[c.Number]
		if !known {
			place[c.Number] = len(list)
			k = len(list)
			list = append(list, Change{SHA: c.SHA, Author: c.Author, Email: c.Email, Number: c.Number, Text: title})
			x, found := &list[k], false
			for _, l := range c.Labels {
				if m, ok := meaning(l); ok {
					if !found || m.Bump > x.Bump {
						x.Bump, x.Section = m.Bump, m.Section
					}
					found = true
				}
			}
			if !found {
				said = append(said, silent{warning(fmt.Sprintf("pull request %s %q has no label that says what it is", c.Number, clip(title)), "give it one of those that the section release of fairlead.yaml knows"), c.SHA})
			}
			continue
		}
		// Newest first: what wrote the code stands below the merge.
		list[k].Author, list[k].Email = c.Author, c.Email
	}
	for i := range list {
		if list[i].Bump == Major {
			list[i].Breaking = []string{list[i].Text}
		}
	}
	return list, said
}

func firstLine(s string) string {
	if lines := linesOf(s); len(lines) > 0 {
		return lines[0]
	}
	return ""
}
