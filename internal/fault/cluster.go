package fault

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of [Clusters].
const (
	maxClusters = 2000 // the ones not seen for longest go
	maxPrints   = 32   // fingerprints of one cluster
	maxNames    = 50   // branches, jobs and tests of one cluster that have names
	maxDays     = 60   // of one cluster, with a failure
	maxRuns     = 64   // of one cluster: the newest
	// together is the share of runs that two clusters must have in common to
	// be thought of as one trouble (Jaccard's index).
	together = 0.5
)

// Failure is a step or a test that failed in a run.
type Failure struct {
	Run    string // decimal, growing
	Time   time.Time
	Branch string
	Commit string
	OnBase bool // of the branch that changes go to
	Job    string
	Step   string
	Test   string // record.TestResult.Key; "" when a step failed and no test is known
	// Print tells it by: [Fingerprint] of a test, [Cause.Print] of a step; 0
	// takes the title's.
	Print   uint64
	Rule    string // record.Diagnosis.Rule, or the type of what was thrown
	Title   string // one line: the message, or the causal line
	Verdict plan.Verdict
}

// Named is how often something was there.
type Named struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// Day is how often a failure was seen on a day, of the time zone that its times
// are in.
type Day struct {
	Day   string `json:"day"` // 2026-11-23
	Count int64  `json:"count"`
}

// Cluster is failures that are one trouble: they have a fingerprint in common,
// or say the same.
type Cluster struct {
	ID       string    `json:"id"` // for ever: 16 hexadecimal digits
	Title    string    `json:"title"`
	Rule     string    `json:"rule,omitempty"`
	Count    int64     `json:"count"`
	OnBase   int64     `json:"on_base,omitempty"` // of Count
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	FirstRun string    `json:"first_run"`
	LastRun  string    `json:"last_run"`
	Branches []Named   `json:"branches,omitempty"`
	Jobs     []Named   `json:"jobs,omitempty"`
	Tests    []Named   `json:"tests,omitempty"`
	Days     []Day     `json:"days,omitempty"` // in order
	Runs     []string  `json:"runs,omitempty"` // the newest last
	Prints   []uint64  `json:"prints,omitempty"`
	Template int       `json:"template"` // -1 for none
}

// Clusters sorts the failures of a repository. Failures belong together when
// their fingerprints are equal, or when what they say is of one template; what
// assertions say ("expected <*>, got <*>") is too much alike for that.
//
// It takes failure after failure, keeps a bounded number of clusters, and can
// be written down and read again in between: an ID stays what it was. The zero
// value is ready.
type Clusters struct {
	clusters  map[string]*Cluster
	prints    map[uint64]string // to ID
	byText    map[int]string    // template to ID
	templates Templates
}

// Add adds a failure, and returns its cluster as it is with it.
func (c *Clusters) Add(f Failure) Cluster {
	c.init()
	title := oneLine(f.Title)
	if f.Print == 0 {
		f.Print = Fingerprint(f.Rule, title, "", nil)
	}
	id, known := c.prints[f.Print]
	text := -1
	if telling(title) {
		if c.templates.Len() >= maxTemplates {
			c.forget()
		}
		text = c.templates.Of(c.templates.Add(f.Rule + " " + title))
	}
	if !known && text >= 0 {
		id, known = c.byText[text]
	}
	if !known {
		id = fmt.Sprintf("%016x", f.Print)
		c.clusters[id] = &Cluster{ID: id, Title: title, Rule: f.Rule, First: f.Time, FirstRun: f.Run, Template: text}
		if len(c.clusters) > maxClusters {
			c.evict(id)
		}
	}
	k := c.clusters[id]
	k.add(f)
	if k.Template < 0 {
		k.Template = text
	}
	if c.prints[f.Print] = id; !slices.Contains(k.Prints, f.Print) {
		if len(k.Prints) == maxPrints {
			delete(c.prints, k.Prints[0])
			k.Prints = slices.Delete(k.Prints, 0, 1)
		}
		k.Prints = append(k.Prints, f.Print)
	}
	if text >= 0 {
		if _, taken := c.byText[text]; !taken {
			c.byText[text] = id
		}
	}
	return k.clone()
}

func (c *Clusters) init() {
	if c.clusters == nil {
		c.clusters, c.prints, c.byText = map[string]*Cluster{}, map[uint64]string{}, map[int]string{}
	}
}

// placed is a title that begins with a place in the code: the same words at
// another place are another trouble.
var placed = compile(`^\S+\.\w+[:(]\d+`)

// telling reports whether failures with a title are one trouble: it has a few
// words of its own, and is not what any assertion could say.
func telling(title string) bool {
	low := strings.ToLower(title)
	if placed().MatchString(title) || strings.Contains(low, "assert") || strings.Contains(low, "expect") || comparison().MatchString(title) {
		return false
	}
	words := 0
	for _, w := range scan(nil, title) {
		if !w.wild {
			words++
		}
	}
	return words >= 3
}

// add counts a failure.
func (k *Cluster) add(f Failure) {
	k.Count++
	if f.OnBase {
		k.OnBase++
	}
	if k.First.IsZero() || f.Time.Before(k.First) {
		k.First, k.FirstRun = f.Time, f.Run
	}
	if !f.Time.Before(k.Last) {
		k.Last, k.LastRun = f.Time, f.Run
	}
	k.Branches = count(k.Branches, f.Branch)
	k.Jobs = count(k.Jobs, f.Job)
	k.Tests = count(k.Tests, f.Test)
	day := f.Time.Format(time.DateOnly)
	at, ok := slices.BinarySearchFunc(k.Days, day, func(d Day, day string) int { return cmp.Compare(d.Day, day) })
	if !ok {
		k.Days = slices.Insert(k.Days, at, Day{Day: day})
	}
	k.Days[at].Count++
	if len(k.Days) > maxDays {
		k.Days = slices.Delete(k.Days, 0, 1)
	}
	if f.Run != "" && !slices.Contains(k.Runs, f.Run) {
		if k.Runs = append(k.Runs, f.Run); len(k.Runs) > maxRuns {
			k.Runs = slices.Delete(k.Runs, 0, 1)
		}
	}
}

func count(names []Named, name string) []Named {
	if name == "" {
		return names
	}
	for i := range names {
		if names[i].Name == name {
			names[i].Count++
			return names
		}
	}
	if len(names) >= maxNames {
		return names
	}
	return append(names, Named{strings.Clone(name), 1})
}

func (k *Cluster) clone() Cluster {
	out := *k
	out.Branches, out.Jobs, out.Tests = slices.Clone(k.Branches), slices.Clone(k.Jobs), slices.Clone(k.Tests)
	out.Days, out.Runs, out.Prints = slices.Clone(k.Days), slices.Clone(k.Runs), slices.Clone(k.Prints)
	return out
}

// evict forgets an eighth of the clusters, those not seen for longest, but not
// the one that was just made.
func (c *Clusters) evict(but string) {
	all := c.sorted(func(a, b *Cluster) int { return a.Last.Compare(b.Last) })
	for _, k := range all[:maxClusters/8] {
		if k.ID == but {
			continue
		}
		delete(c.clusters, k.ID)
		for _, p := range k.Prints {
			delete(c.prints, p)
		}
	}
	for text, id := range c.byText {
		if c.clusters[id] == nil {
			delete(c.byText, text)
		}
	}
}

// forget begins the templates anew, with those of the clusters that are left.
func (c *Clusters) forget() {
	c.templates, c.byText = Templates{}, map[int]string{}
	for _, k := range c.sorted(func(a, b *Cluster) int { return a.First.Compare(b.First) }) {
		if k.Template = -1; telling(k.Title) {
			k.Template = c.templates.Of(c.templates.Add(k.Rule + " " + k.Title))
			if _, taken := c.byText[k.Template]; !taken {
				c.byText[k.Template] = k.ID
			}
		}
	}
}

// sorted is the clusters in an order; those that are equal in it by ID.
func (c *Clusters) sorted(order func(a, b *Cluster) int) []*Cluster {
	all := make([]*Cluster, 0, len(c.clusters))
	for _, k := range c.clusters {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *Cluster) int { return cmp.Or(order(a, b), cmp.Compare(a.ID, b.ID)) })
	return all
}

// Get is a cluster by its ID.
func (c *Clusters) Get(id string) (Cluster, bool) {
	k, ok := c.clusters[id]
	if !ok {
		return Cluster{}, false
	}
	return k.clone(), true
}

// Of is the cluster that failures with a fingerprint belong to.
func (c *Clusters) Of(fingerprint uint64) (Cluster, bool) { return c.Get(c.prints[fingerprint]) }

// Len is how many clusters there are.
func (c *Clusters) Len() int { return len(c.clusters) }

// Top is the clusters with the most failures since a day, at most limit.
func (c *Clusters) Top(since time.Time, limit int) []Cluster {
	all := c.sorted(func(a, b *Cluster) int {
		return cmp.Or(cmp.Compare(b.Since(since), a.Since(since)), b.Last.Compare(a.Last))
	})
	var out []Cluster
	for _, k := range all {
		if len(out) < limit && k.Since(since) > 0 {
			out = append(out, k.clone())
		}
	}
	return out
}

// Together are the clusters that fail in the same runs as one does, and may
// have the same cause, by their IDs.
func (c *Clusters) Together(id string) []string {
	k, ok := c.clusters[id]
	if !ok || len(k.Runs) < 2 {
		return nil
	}
	runs := map[string]bool{}
	for _, r := range k.Runs {
		runs[r] = true
	}
	var out []string
	for _, o := range c.sorted(func(a, b *Cluster) int { return 0 }) {
		both := 0
		for _, r := range o.Runs {
			if runs[r] {
				both++
			}
		}
		if o != k && len(o.Runs) > 1 && float64(both) >= together*float64(len(k.Runs)+len(o.Runs)-both) {
			out = append(out, o.ID)
		}
	}
	return out
}

// Since is how many failures there were on a day and after it.
func (k *Cluster) Since(day time.Time) int64 {
	n, from := int64(0), day.Format(time.DateOnly)
	for _, d := range k.Days {
		if d.Day >= from {
			n += d.Count
		}
	}
	return n
}

// Say is how often it was seen, for people, at a time: "seen 14 times since
// Tuesday, in 3 branches".
func (k *Cluster) Say(now time.Time) string {
	if k.Count <= 1 {
		return "seen for the first time"
	}
	const week = 7
	midnight := func(t time.Time) time.Time {
		y, m, d := t.Date()
		return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	}
	first := k.First.In(now.Location())
	n, since := k.Count, ""
	switch days := int(midnight(now).Sub(midnight(first)).Hours() / 24); {
	case days <= 0:
		since = "today"
	case days == 1:
		since = "since yesterday"
	case days < week:
		since = "since " + first.Weekday().String()
	default:
		since = "since " + first.Format("2 January")
		if first.Year() != now.Year() {
			since += first.Format(" 2006")
		}
		if recent := k.Since(now.AddDate(0, 0, -week+1)); recent > 0 {
			since += fmt.Sprintf(", %d of them in the last 7 days", recent)
		}
	}
	s := fmt.Sprintf("seen %d times %s", n, since)
	switch b := len(k.Branches); {
	case b >= maxNames:
		s += fmt.Sprintf(", in %d branches or more", b)
	case b > 1:
		s += fmt.Sprintf(", in %d branches", b)
	}
	return s
}

// kept is Clusters, written down.
type kept struct {
	Clusters  []*Cluster     `json:"clusters"`
	Texts     map[int]string `json:"texts"`
	Templates *Templates     `json:"templates"`
}

// MarshalBinary is what UnmarshalBinary reads.
func (c *Clusters) MarshalBinary() ([]byte, error) {
	return json.Marshal(kept{c.sorted(func(a, b *Cluster) int { return 0 }), c.byText, &c.templates})
}

// UnmarshalBinary replaces what is there.
func (c *Clusters) UnmarshalBinary(b []byte) error {
	k := kept{Templates: new(Templates)}
	if err := json.Unmarshal(b, &k); err != nil {
		return fmt.Errorf("reading clusters of failures: %w", err)
	}
	var out Clusters
	out.init()
	if k.Templates != nil {
		out.templates = *k.Templates
	}
	if len(k.Clusters) > maxClusters {
		return fmt.Errorf("reading clusters of failures: %d are more than %d", len(k.Clusters), maxClusters)
	}
	for i, cl := range k.Clusters {
		if cl == nil || cl.ID == "" || len(cl.Prints) > maxPrints || len(cl.Runs) > maxRuns || len(cl.Days) > maxDays {
			return fmt.Errorf("reading clusters of failures: the %dth is damaged", i)
		}
		out.clusters[cl.ID] = cl
		for _, p := range cl.Prints {
			out.prints[p] = cl.ID
		}
	}
	for text, id := range k.Texts {
		if out.clusters[id] != nil {
			out.byText[text] = id
		}
	}
	*c = out
	return nil
}
