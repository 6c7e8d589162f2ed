package release

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Ask is what is asked of [Decide].
type Ask struct {
	Component
	Source Source    // "" is FromCommits
	Words  []Meaning // of types or labels; nil for [Types] or [Labels]
	Head   string    // the commit to release
	Tags   []Tag
	// Commits are those of Head's history, Head first, no commit before its children, as
	// [Attribute] left them. What the last final release has may be missing.
	Commits []Commit
	Pre     string    // makes a pre-release of this channel: "rc"
	As      string    // the version that a person chose; "" finds it
	At      time.Time // now
}

// Decision is what is to be released, and why.
type Decision struct {
	Component string
	Base      Release  // the last final release; zero for none
	Previous  Release  // the last of any kind; zero for none
	From      Release  // what Changes are since: Base, or Previous of a pre-release; zero for none
	Version   Version  // zero when there is nothing to be released
	Tag       string   // of the version
	Bump      Bump     // how much the changes ask for since Base
	Why       string   // one sentence
	Because   *Change  // the change that decided; nil for none
	Changes   []Change // since From, in the order of the notes
	Silent    int      // commits since From that ask for no release
}

// Nothing reports whether there is nothing to be released.
func (d *Decision) Nothing() bool { return d.Version.IsZero() }

// Change is one thing that changed.
type Change struct {
	SHA      string
	Author   string
	Email    string
	Number   string // of the pull or merge request; "" for none
	Type     string // of the message; "" when labels are the source
	Scope    string
	Text     string   // one line
	Breaking []string // what breaks, each in words
	Bump     Bump
	Section  string // "" is not in the notes
}

// preName is what a channel of pre-releases may be called: an identifier of
// SemVer that is no number.
func preName(s string) bool {
	return s != "" && len(s) <= 40 && !digits(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
	})
}

// CheckPre says what is wrong with the name of a channel of pre-releases.
func CheckPre(name string) error {
	if !preName(name) {
		return fmt.Errorf("%.80q cannot name pre-releases: letters, digits and -, such as rc, beta or next", name)
	}
	return nil
}

// Decide says what is to be released. Problems of severity [plan.Error] say
// why it cannot be; others are commits that could not be understood.
func Decide(a *Ask) (*Decision, []plan.Problem) {
	bases, problems := a.Find(a.Tags)
	d := &Decision{Component: a.Name, Base: bases.Final, Previous: bases.Last}
	if a.Pre != "" {
		if err := CheckPre(a.Pre); err != nil {
			return d, append(problems, refusal(err.Error(), "name another channel"))
		}
	}
	if in := reach(a.Commits, bases.Final.SHA); len(in) > 0 {
		rest := *a
		rest.Commits = slices.DeleteFunc(slices.Clone(a.Commits), func(c Commit) bool { return in[c.SHA] })
		a = &rest
	}
	d.From = d.Base
	if a.Pre != "" || strings.Contains(a.As, "-") {
		d.From = d.Previous
	}
	changes, said := a.changes()
	old := reach(a.Commits, d.From.SHA)
	for _, p := range said {
		if !old[p.sha] {
			problems = append(problems, p.Problem)
		}
	}
	var fresh []Change
	for i := range changes {
		c := &changes[i]
		if c.Bump > d.Bump {
			d.Bump, d.Because = c.Bump, c
		}
		if old[c.SHA] {
			continue
		}
		if c.Section == "" && c.Bump == None {
			d.Silent++
		}
		fresh = append(fresh, *c)
	}
	d.Changes = ordered(fresh)
	version, refused := a.version(d, len(fresh))
	if refused != nil {
		return d, append(problems, *refused)
	}
	if version.IsZero() {
		return d, problems
	}
	d.Version, d.Tag = version, a.Tag.Tag(version.String())
	for _, t := range a.Tags {
		if t.Name == d.Tag {
			d.Version = Version{}
			where := "by commit " + short(t.SHA) + ", which is not in the history of what is to be released"
			if t.Merged {
				where = "by commit " + short(t.SHA)
			}
			return d, append(problems, refusal(fmt.Sprintf("tag %s is taken %s", d.Tag, where), "name a version with --as, or release from the branch that has it"))
		}
	}
	return d, problems
}

// version finds the next version and says why; the zero one for none.
func (a *Ask) version(d *Decision, fresh int) (Version, *plan.Problem) {
	refuse := func(err error, hint string) (Version, *plan.Problem) {
		p := refusal(err.Error(), hint)
		return Version{}, &p
	}
	if a.As != "" {
		v, err := a.Scheme.Parse(a.As)
		if err != nil {
			return refuse(err, "give --as a version without what the tag has before it")
		}
		if v.Build != "" {
			return refuse(fmt.Errorf("%s has a build: two builds of one version are one version", v), "leave out what is after the +")
		}
		if last := d.Previous; last.Tag != "" && v.Compare(last.Version) <= 0 {
			return refuse(fmt.Errorf("%s is not after %s, which is released", v, last.Version), "name a later one")
		}
		d.Why = "a person chose it"
		return v, nil
	}
	first := d.Base.Tag == ""
	if d.Bump == None && !(a.Scheme.Calendar() && fresh > 0) {
		if d.Previous.Tag != "" || len(a.Commits) == 0 {
			d.Why = "nothing that was changed since " + cmp.Or(d.Previous.Tag, "the beginning") + " asks for a release"
			return Version{}, nil
		}
	}
	core, why, err := a.core(d, first)
	if err != nil {
		return refuse(err, "use --as")
	}
	// Who has published 2.0.0-rc.1 does not go back to 1.9.0.
	if last := d.Previous.Version; !last.Final() && slices.Compare(last.Core, core) > 0 {
		core, why = last.Core, fmt.Sprintf("%s was published before", d.Previous.Tag)
	}
	if a.Pre == "" {
		d.Why = why
		return a.Scheme.version(core), nil
	}
	if !a.asks(d, fresh) {
		d.Why = "nothing that was changed since " + d.Previous.Tag + " asks for a release"
		return Version{}, nil
	}
	n := uint64(1)
	for _, t := range a.Tags { // merged or not: a tag is there once
		text, ok := a.Tag.Version(t.Name)
		v, err := a.Scheme.Parse(text)
		if !ok || err != nil || !slices.Equal(v.Core, core) || len(v.Pre) != 2 || v.Pre[0] != a.Pre {
			continue
		}
		if k, err := strconv.ParseUint(v.Pre[1], 10, 63); err == nil {
			n = max(n, k+1)
		}
	}
	v := a.Scheme.version(core, a.Pre, strconv.FormatUint(n, 10))
	if last := d.Previous; last.Tag != "" && v.Compare(last.Version) <= 0 {
		return refuse(fmt.Errorf("%s is not after %s, which is released: %s comes before %s", v, last.Version, a.Pre, last.Version.Pre[0]), "name a channel that sorts after it, or release "+a.Scheme.version(core).String())
	}
	d.Why = why + "; pre-release " + strconv.FormatUint(n, 10) + " of channel " + a.Pre
	return v, nil
}

// asks reports whether what was changed since the last release of any kind asks for
// a pre-release.
func (a *Ask) asks(d *Decision, fresh int) bool {
	if d.Previous.Version.Final() {
		return true
	}
	return slices.ContainsFunc(d.Changes, func(c Change) bool { return c.Bump > None }) || a.Scheme.Calendar() && fresh > 0
}

// core is the next version without a pre-release.
func (a *Ask) core(d *Decision, first bool) (core []uint64, why string, err error) {
	if a.Scheme.Calendar() {
		v, err := a.Scheme.next(d.Base.Version, None, a.At)
		return v.Core, "the calendar says so", err
	}
	if first {
		v, err := a.Scheme.Parse(cmp.Or(a.First, firstVersion))
		if err != nil {
			return nil, "", fmt.Errorf("the first version: %w", err)
		}
		return v.Core, "it is the first release", nil
	}
	bump, why := d.Bump, ""
	if d.Because != nil {
		why = d.Because.reason()
	}
	if d.Base.Version.Core[0] == 0 && bump == Major {
		// SemVer, section 4: before 1.0.0 nothing is promised; the second number counts what breaks.
		bump, why = Minor, why+"; before 1.0.0 that raises the second number"
	}
	v, err := a.Scheme.next(d.Base.Version, bump, a.At)
	return v.Core, why, err
}

// reason is why a change asks for its bump.
func (c *Change) reason() string {
	what := fmt.Sprintf("%s (%s)", short(c.SHA), clip(c.Text))
	switch {
	case len(c.Breaking) > 0:
		return "a breaking change: " + what
	case c.Type != "":
		return c.Type + ": " + what
	}
	return "label " + c.Bump.String() + ": " + what
}

func short(sha string) string { return sha[:min(len(sha), 10)] }

func clip(s string) string {
	const most = 72
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// ordered sorts changes as notes have them: by section, then oldest first.
func ordered(list []Change) []Change {
	slices.Reverse(list)
	order := Sections()
	rank := func(c Change) int {
		if i := slices.Index(order, c.Section); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(list, func(x, y Change) int { return cmp.Compare(rank(x), rank(y)) })
	return list
}

// reach are the commits of a list that are in the history of one of them.
func reach(list []Commit, from string) map[string]bool {
	seen := map[string]bool{}
	if from == "" {
		return seen
	}
	byName := make(map[string]*Commit, len(list))
	for i := range list {
		byName[list[i].SHA] = &list[i]
	}
	for todo := []string{from}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if c := byName[at]; c != nil && !seen[at] {
			seen[at] = true
			todo = append(todo, c.Parents...)
		}
	}
	return seen
}
