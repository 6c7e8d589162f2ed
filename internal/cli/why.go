package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// whyCommand is `fairlead why`.
func (g *global) whyCommand() *cobra.Command {
	var dir string
	var where site
	c := &cobra.Command{
		Use:   "why [RUN] [JOB[/STEP]]",
		Short: "Say why steps ran, were reused, cannot be reused, or failed",
		Long: `Say of each step of a run whether it was reused or, if it ran, what had changed
since it ran before, and whether it can be reused the next time.

Of one step, say all that is known: the path that decided, what it held then and
now, what was seen of the step, and how to make it reusable. Of one that failed, also
whose fault that is: your change, a flaky test, the machine, or what was broken before.

RUN is a number, or counted back: last or -1, -2 …; without one it is the last
run. A STEP is named by its number, its id or its name.`,
		Example: `  fairlead why                     all steps of the last run
  fairlead why build               those of one job
  fairlead why build/3             one step
  fairlead why 12 "test/Run tests" of another run`,
		Args: args("[RUN]", "[JOB[/STEP]]"), ValidArgsFunction: g.completeWhy,
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	where.flags(c)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		name, at := "last", ""
		switch {
		case len(a) == 2:
			name, at = a[0], a[1]
		case len(a) == 1 && namesRun(a[0]):
			name = a[0]
		case len(a) == 1:
			at = a[0]
		}
		o, err := g.look(cmd.Context(), &where, name, dir)
		if err != nil {
			return err
		}
		defer o.Close()
		job, step, err := findIn(o.run, at)
		if err != nil {
			return err
		}
		list := reasons(o.run, job, step)
		if step != "" {
			x, err := o.explained(cmd.Context())
			if err != nil {
				return err
			}
			for i := range list {
				list[i].failed(x)
			}
		}
		if g.json() {
			return writeJSON(g.Stdout, list)
		}
		g.reasons(o.run, list, job, step)
		return nil
	}
	return c
}

// namesRun reports whether an argument can only be a run.
func namesRun(name string) bool {
	name = strings.TrimPrefix(name, "#")
	return name == "last" || strings.HasPrefix(name, "last~") || name != "" && strings.Trim(name, "0123456789") == ""
}

// What a step was, with respect to reuse.
const (
	didReuse   = "reused"
	didRun     = "ran"
	didSkip    = "skipped"
	isOpen     = "unfinished"
	isBuiltin  = "built-in"
	isGroup    = "group"     // it stands for the steps inside it
	isUnasked  = "not-asked" // of a run that was told to reuse nothing
	noReuseWhy = "the run was told to reuse nothing"
	neverWhy   = "nothing of it is kept from before"
)

// reason is why a step ran, or did not.
type reason struct {
	Run     string        `json:"run"`
	Job     string        `json:"job"`
	Step    string        `json:"step"`
	Name    string        `json:"name"`
	State   string        `json:"state"` // reused, ran, skipped, unfinished, built-in, group, not-asked
	Outcome plan.Verdict  `json:"outcome,omitempty"`
	Why     string        `json:"why"`      // in one line
	Next    bool          `json:"reusable"` // what it did now can be reused
	Seconds float64       `json:"seconds"`
	Reuse   *reuseJSON    `json:"reuse,omitempty"`
	Watched *watchedJSON  `json:"watched,omitempty"`
	Bars    []barrierJSON `json:"barriers,omitempty"`
	// Failures are why it failed, of a step that is asked for by name.
	Failures []insight.Trouble `json:"failures,omitempty"`

	fin  *record.StepFinished
	took string
}

// barrierJSON is why a step cannot be reused, and what can be done about it.
type barrierJSON struct {
	Kind   string `json:"kind"`
	Why    string `json:"why"`
	WayOut string `json:"way_out,omitempty"`
}

// reasons are those of all steps that reuse is about, or of all of a job, or of one
// and those inside it.
func reasons(r *record.Run, job, key string) []reason {
	list := []reason{}
	for _, id := range r.Order {
		j := r.Jobs[id]
		if job != "" && id != job && j.Parent != job {
			continue
		}
		for _, s := range j.Steps {
			if key != "" && s.Key != key && !strings.HasPrefix(s.Key, key+".") || job == "" && !asks(s) {
				continue
			}
			list = append(list, reasonOf(r, j, s))
		}
	}
	return list
}

func reasonOf(r *record.Run, j *record.JobRun, s *record.StepRun) reason {
	x := reason{Run: r.ID, Job: j.ID, Step: s.Key, Name: s.Start.Name, Seconds: seconds(s.Duration()), took: duration(s.Duration()), fin: s.Finished}
	if x.fin != nil {
		x.Outcome, x.Reuse, x.Watched = x.fin.Outcome, reuseOf(x.fin), watchedOf(x.fin)
	}
	switch {
	case x.fin == nil:
		x.State, x.Why = isOpen, "it has not ended"
	case x.Outcome == plan.Skipped:
		x.State, x.Why = didSkip, "its condition did not hold"
	case reused(x.fin):
		x.State, x.Next = didReuse, true
		x.Why = "as in run " + x.fin.Reuse.From.Run
		if x.fin.Reuse.Saved > 0 {
			x.Why += ", " + span(x.fin.Reuse.Saved) + " saved"
		}
	case parts(j, s.Key):
		x.State, x.Why = isGroup, "it stands for the steps inside it"
	case asks(s):
		x.State = didRun
		x.Why, x.Next = ranWhy(x.fin.Reuse), len(x.fin.Reuse.Barred) == 0
		for _, b := range x.fin.Reuse.Barred {
			e := cache.Explain(b)
			x.Bars = append(x.Bars, barrierJSON{b.Kind, e.Why, e.WayOut})
		}
	case r.Planned != nil && r.Planned.Settings.NoReuse:
		x.State, x.Why = isUnasked, noReuseWhy
	default:
		x.State, x.Why = isBuiltin, "it is part of Fairlead, and done each time"
	}
	return x
}

// ranWhy is why a step ran.
func ranWhy(u *record.Reuse) string {
	switch {
	case u.Verified && len(u.Differs) > 0:
		return "verified, and not as before: " + u.Differs[0]
	case u.Verified:
		return "verified: it did the same"
	case u.Miss != nil:
		return u.Miss.Why
	case slices.ContainsFunc(u.Barred, func(b record.Bar) bool { return b.Kind == record.BarOff }):
		return "it was left alone"
	}
	return neverWhy
}

// reasons writes them: a step's in full, others' as a table.
func (g *global) reasons(r *record.Run, list []reason, job, step string) {
	st, cols := g.style(g.Stdout), columns(g.Stdout)
	if step != "" {
		for i := range list {
			if i > 0 {
				fmt.Fprintln(g.Stdout)
			}
			list[i].write(g.Stdout, st, cols)
		}
		return
	}
	if len(list) == 0 {
		why := "no step of it has run"
		if r.Planned != nil && r.Planned.Settings.NoReuse {
			why = noReuseWhy + " (--no-reuse)"
		} else if slices.ContainsFunc(r.Order, func(id string) bool { return len(r.Jobs[id].Steps) > 0 }) {
			why = "none of its steps runs a command that could be reused"
		}
		fmt.Fprintf(g.Stderr, "run %s: %s\n", r.ID, why)
		return
	}
	rows := make([][]string, 0, len(list))
	for i := range list {
		x := &list[i]
		why := shown(x.Why)
		if len(x.Bars) > 0 && !differs(x.fin) {
			bar := st.yellow("not reusable: ") + shown(x.Bars[0].Why)
			if why == neverWhy {
				why = bar
			} else {
				why += st.dim(" "+st.dot()+" ") + bar
			}
		}
		rows = append(rows, []string{
			st.bold(shown(x.Job + "/" + x.Step)), clip(shown(x.Name), maxListed, st.ellipsis()), x.mark(st), why,
		})
	}
	table(g.Stdout, rows, nil, st, cols)
	sum := sums{}
	for i := range r.Order {
		if j := r.Jobs[r.Order[i]]; job == "" || j.ID == job || j.Parent == job {
			for _, s := range j.Steps {
				sum.add(s)
			}
		}
	}
	if text := sum.text("step"); text != "" {
		fmt.Fprintf(g.Stderr, "run %s: %s\n", r.ID, text)
	}
}

// maxListed is how much of a step's name a table shows.
const maxListed = 40

func (x *reason) mark(st style) string {
	switch {
	case x.State == didReuse:
		return st.green(x.State)
	case x.fin != nil && x.Outcome.Bad():
		return st.verdict(x.Outcome)
	case x.State == didRun:
		return x.State
	}
	return st.dim(x.State)
}

// failed adds why the step failed.
func (x *reason) failed(e *insight.Explanation) {
	if e == nil {
		return
	}
	for _, t := range e.Troubles {
		if t.Job == x.Job && t.Step == x.Step {
			x.Failures = append(x.Failures, t)
		}
	}
}

// write tells all that is known of a step.
func (x *reason) write(w io.Writer, st style, cols int) {
	x.writeReuse(w, st, cols)
	if len(x.Failures) == 0 {
		return
	}
	fmt.Fprintln(w, "  Why it failed:")
	for i := range x.Failures {
		t := &x.Failures[i]
		if t.Test != "" {
			fmt.Fprintln(w, clip("  "+st.bold(shown(t.Test))+st.dim(at(t.At)), cols, st.ellipsis()))
		}
		writeTrouble(w, t, false, st, cols)
	}
}

// writeReuse tells what is known of a step with respect to reuse.
func (x *reason) writeReuse(w io.Writer, st style, cols int) {
	head := st.bold(shown(x.Job+"/"+x.Step)) + "  " + shown(x.Name) + "  " + x.mark(st)
	if x.State == didRun || x.State == isBuiltin {
		head += " " + x.took
	}
	fmt.Fprintln(w, clip(head+st.dim("  run "+x.Run), cols, st.ellipsis()))
	plainly := func(s string) string { return s }
	say := func(format string, args ...any) { wrap(w, "  ", shown(fmt.Sprintf(format, args...)), cols, plainly) }
	if x.State == didReuse {
		from := x.fin.Reuse.From
		at := from.Job + "/" + from.Step
		say("Reused: all that it reads is as it was in run %s, where it took %s.", from.Run, span(x.fin.Reuse.Saved))
		say("What it did then: fairlead logs %s %s, fairlead why %s %s", from.Run, quoted(at), from.Run, quoted(at))
		return
	}
	if x.State != didRun {
		say("%s.", upper(x.Why))
		return
	}
	u := x.fin.Reuse
	switch {
	case u.Verified && len(u.Differs) > 0:
		say("It ran to be verified. All that it reads was the same, and what it did was not:")
		for _, d := range u.Differs {
			wrap(w, "    ", shown(d), cols, st.red)
		}
	case u.Verified:
		say("It ran to be verified, and did the same as before.")
	case u.Miss != nil:
		say("It ran because %s.", u.Miss.Why)
		writeMiss(w, u.Miss, st, cols)
	case slices.ContainsFunc(u.Barred, func(b record.Bar) bool { return b.Kind == record.BarOff }):
	default:
		say("It ran because nothing is kept of an earlier time with this script, environment, place and Fairlead.")
	}
	if v := x.Watched; v != nil {
		say("Watched by %s: %s, %s, %s, at the cost of %s.", v.Mechanism, plural(v.Inputs, "input"), plural(v.Outputs, "output"),
			plural(int(v.Calls), "system call"), span(x.fin.Watched.Overhead))
		if len(v.Peers) > 0 {
			say("It talked to %s.", strings.Join(v.Peers, ", "))
		}
	}
	if len(x.Bars) == 0 {
		say("What it did is kept, and reused as long as what it reads stays as it is.")
		return
	}
	say("What it did cannot be reused:")
	for _, b := range x.Bars {
		wrap(w, "  - ", shown(b.Why), cols, st.yellow)
		if b.WayOut != "" {
			wrap(w, "    "+st.arrow()+" ", shown(b.WayOut), cols, st.cyan)
		}
	}
}

// writeMiss shows what was there and what is there now.
func writeMiss(w io.Writer, m *record.Miss, st style, cols int) {
	if m.Old == "" && m.New == "" {
		return
	}
	put := func(when, what string) {
		fmt.Fprintln(w, clip("    "+st.dim(pad(when, 5))+shown(or(what, "nothing")), cols, st.ellipsis()))
	}
	if m.Path != "" && !strings.Contains(m.Why, m.Path) {
		put("of", m.Path)
	}
	put("was", m.Old)
	put("is", m.New)
}

// upper begins a sentence with a clause.
func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// completeWhy completes a run, or a job or step of the last one; then a job or
// step of the run.
func (g *global) completeWhy(c *cobra.Command, a []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(a) > 0 {
		return g.completeJobs(c, a, word)
	}
	runs, _ := g.completeRuns(c, a, word)
	jobs, directive := g.completeJobs(c, []string{"last"}, word)
	return append(jobs, runs...), directive
}
