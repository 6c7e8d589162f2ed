package cli

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// showCommand is `fairlead show`.
func (g *global) showCommand() *cobra.Command {
	var dir string
	var at site
	c := &cobra.Command{
		Use:   "show RUN",
		Short: "Show a run: jobs, steps, failures, annotations, tests, artifacts",
		Long: `Show all that is known of a run: its jobs and steps with their durations, why
jobs were skipped, failures with the lines that show them, annotations,
summaries, test results, artifacts, and what it used from outside.

RUN is a number, or counted back: last or -1, -2 …`,
		Example:           "  fairlead show last\n  fairlead show 12 --output json\n  fairlead show 12 --server https://ci.example.org",
		Args:              args("RUN"),
		ValidArgsFunction: g.completeRuns,
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	at.flags(c)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		o, err := g.look(cmd.Context(), &at, a[0], dir)
		if err != nil {
			return err
		}
		defer o.Close()
		x, err := o.explained(cmd.Context())
		if err != nil {
			return err
		}
		tail := func(_, job string, from, to int64, n int) []string { return o.tail(cmd.Context(), job, from, to, n) }
		if g.json() {
			d := runJSON(o.run, tail)
			d.Explained = x
			return writeJSON(g.Stdout, d)
		}
		head, err := o.Head(cmd.Context(), o.id)
		if err != nil {
			return err
		}
		st, cols := g.style(g.Stdout), columns(g.Stdout)
		out := bufio.NewWriterSize(g.Stdout, flushAt)
		showRun(out, o.run, head, x, failures(o.run, tail), st, cols)
		return out.Flush()
	}
	return c
}

// showRun writes all that is known of a run.
func showRun(w io.Writer, r *record.Run, h store.RunHead, x *insight.Explanation, list []failure, st style, cols int) {
	put := func(text string) { fmt.Fprintln(w, clip(text, cols, st.ellipsis())) }
	title := func(text string) { fmt.Fprintf(w, "\n%s\n", st.bold(text)) }
	verdict := st.glyph(r.Verdict) + " " + st.bold("run "+r.ID) + " " + st.verdict(r.Verdict)
	if h.Interrupted() {
		verdict = st.yellow(st.pick("◌", "?")) + " " + st.bold("run "+r.ID) + " " + st.yellow("interrupted")
	}
	if !r.Ended.IsZero() {
		verdict += " in " + duration(r.Ended.Sub(r.Begun))
	}
	if h.Name != "" {
		verdict += st.dim(" "+st.dot()+" ") + shown(h.Name)
		if h.Name != h.File {
			verdict += st.dim(" (" + shown(h.File) + ")")
		}
	}
	put(verdict)
	field := func(name, text string) { put("  " + st.dim(pad(name, 8)) + " " + text) }
	if r.Why != "" {
		field("why", shown(r.Why))
	}
	what := h.Event
	if h.Branch != "" {
		what += " on " + h.Branch
	}
	if len(h.SHA) >= 7 && strings.Trim(h.SHA, "0") != "" {
		what += " at " + h.SHA[:7]
	}
	if h.Dirty {
		what += " with uncommitted changes"
	}
	field("answers", shown(what))
	begun := h.Begun.Local().Format("2006-01-02 15:04:05") + st.dim(" ("+ago(time.Since(h.Begun))+")")
	if h.Actor != "" {
		begun += st.dim(" by ") + shown(h.Actor)
	}
	field("begun", begun)
	if h.Root != "" {
		field("in", shown(h.Root))
	}
	if h.Of != "" {
		field("repeats", fmt.Sprintf("run %s%s", h.Of, st.dim(fmt.Sprintf(", attempt %d", h.Attempt))))
	}
	t := tallyOf(r)
	field("jobs", t.text(st))
	sum := runSums(r)
	sum.fields(r, st, field)
	if t.Tests > 0 {
		field("tests", t.testText(st))
	}
	if h.Interrupted() {
		field("go on", "fairlead run --resume "+r.ID)
	}
	title("Jobs")
	showJobs(w, r, st, cols)
	showNotes(r, title, put, st)
	showTests(r, title, put, st)
	showArtifacts(r, title, put, st)
	showMaterials(r, title, put, st)
	showSummaries(w, r, title, st, cols)
	showTroubles(w, x, title, st, cols)
	for _, f := range list {
		fmt.Fprintln(w)
		writeFailure(w, f, shown(f.Job), st, cols)
		next(w, r.ID, f, h.Root != "", st)
	}
}

// showJobs writes the jobs with their steps.
func showJobs(w io.Writer, r *record.Run, st style, cols int) {
	widest := 0
	for _, id := range r.Order {
		if j := r.Jobs[id]; !passing(j) {
			widest = max(widest, min(width(shown(id)), cols/2))
		}
	}
	for _, id := range r.Order {
		j := r.Jobs[id]
		if passing(j) {
			continue
		}
		took := ""
		if !j.Ended.IsZero() && len(j.Steps) > 0 {
			took = duration(j.Ended.Sub(j.Begun))
		}
		line := "  " + st.glyph(j.Verdict) + " " + pad(shown(id), widest) + "  " + pad(took, 6)
		if j.Attempt > 1 {
			line += st.dim(fmt.Sprintf(" attempt %d", j.Attempt))
		}
		if j.Why != "" {
			line += " " + st.dim(shown(j.Why))
			if j.Verdict == plan.Skipped {
				line += st.dim(at(j.At))
			}
		} else if j.Verdict == "" {
			line += " " + st.dim(string(j.State))
		}
		if j.Name != id && j.Why == "" {
			line += " " + st.dim(shown(j.Name))
		}
		if x := sumsOf(j); x.Reused > 0 {
			line += " " + st.dim(x.jobText())
		}
		fmt.Fprintln(w, clip(strings.TrimRight(line, " "), cols, st.ellipsis()))
		for _, s := range j.Steps {
			v := plan.Verdict("")
			took, why := "", ""
			if s.Finished != nil {
				v, why = s.Finished.Conclusion, s.Finished.Why
				if s.Finished.Outcome.Bad() && !v.Bad() {
					v, why = s.Finished.Outcome, why+" ("+tolerated(s.Finished)+")"
				}
				switch {
				case reused(s.Finished):
					took = savedText(s.Finished.Reuse.Saved) + " (run " + s.Finished.Reuse.From.Run + ")"
				case v != plan.Skipped:
					took = duration(s.Duration())
				}
			}
			indent := strings.Repeat("  ", strings.Count(s.Key, "."))
			line := "      " + indent + st.glyph(v) + " " + st.dim(pad(s.Key, 3)) + " " + shown(s.Start.Name)
			if took != "" {
				line += "  " + st.dim(took)
			}
			if why != "" {
				line += "  " + st.dim(shown(why))
			}
			if differs(s.Finished) {
				line += "  " + st.red(differsText(s.Finished))
			}
			fmt.Fprintln(w, clip(line, cols, st.ellipsis()))
		}
	}
}

// maxNotes is how many annotations are shown of a run.
const maxNotes = 50

func showNotes(r *record.Run, title, put func(string), st style) {
	n := 0
	for _, level := range []plan.Level{plan.ErrorLevel, plan.WarningLevel, plan.Notice} {
		for _, id := range r.Order {
			for _, s := range r.Jobs[id].Steps {
				if s.Finished == nil {
					continue
				}
				for _, note := range s.Finished.Effects.Notes {
					if note.Level != level {
						continue
					}
					if n++; n == 1 {
						title("Annotations")
					}
					if n > maxNotes {
						continue
					}
					paint := st.dim
					switch level {
					case plan.ErrorLevel:
						paint = st.red
					case plan.WarningLevel:
						paint = st.yellow
					}
					put("  " + paint(pad(string(level), 7)) + "  " + annotation(note) + st.dim("  "+shown(id)))
				}
			}
		}
	}
	if n > maxNotes {
		put("  " + st.dim(fmt.Sprintf("%s and %d more", st.ellipsis(), n-maxNotes)))
	}
}

func showTests(r *record.Run, title, put func(string), st style) {
	first := true
	for _, id := range r.Order {
		for _, x := range r.Jobs[id].Tests {
			if first {
				title("Tests")
				first = false
			}
			t := tally{Passed: x.Passed, Bad: x.Failed, Ignored: x.Skipped}
			put("  " + shown(id) + "  " + t.testText(st) + st.dim("  "+shown(x.Source)))
			for _, bad := range x.Bad {
				name := strings.ReplaceAll(bad.Title(), "›", st.into())
				if bad.Params != "" {
					name += " [" + bad.Params + "]"
				}
				line := "    " + st.glyph(plan.Failure) + " " + shown(name)
				if bad.File != "" {
					line += st.dim(at(plan.Source{File: shown(bad.File), Line: bad.Line}))
				}
				if bad.Message != "" {
					line += "  " + st.dim(shown(bad.Message))
				}
				put(line)
			}
		}
	}
}

func showArtifacts(r *record.Run, title, put func(string), st style) {
	first := true
	for _, id := range r.Order {
		for _, x := range r.Jobs[id].Artifacts {
			if first {
				title("Artifacts")
				first = false
			}
			line := "  " + shown(x.Name) + "  " + bytesText(x.Size) + st.dim("  "+shown(id))
			if x.Path != "" {
				line += st.dim("  " + shown(x.Path))
			} else if x.Digest != "" {
				digest, _ := x.Given()
				line += st.dim("  " + shown(digest))
			}
			put(line)
			if remark := x.Remark(); remark != "" {
				put("    " + st.dim(shown(remark)))
			}
		}
	}
}

func showMaterials(r *record.Run, title, put func(string), st style) {
	var lines []string
	for _, id := range r.Order {
		for _, m := range r.Jobs[id].Materials {
			line := "  " + shown(m.Name)
			switch {
			case m.Local != "":
				line += st.dim("  local " + shown(m.Local))
			case m.Commit != "":
				line += st.dim("  " + shown(m.Commit))
			case m.Digest != "":
				line += st.dim("  " + shown(m.Digest))
			}
			if !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
	}
	if len(lines) == 0 {
		return
	}
	title("Used from outside")
	for _, l := range lines {
		put(l)
	}
}

// maxSummary is how many lines of a step's summary are shown.
const maxSummary = 40

func showSummaries(w io.Writer, r *record.Run, title func(string), st style, cols int) {
	first := true
	for _, id := range r.Order {
		for _, s := range r.Jobs[id].Steps {
			if len(s.Summary) == 0 {
				continue
			}
			if first {
				title("Summaries")
				first = false
			}
			fmt.Fprintln(w, "  "+st.dim(shown(id)+" "+st.into()+" "+shown(s.Start.Name)))
			lines := strings.Split(strings.TrimRight(string(s.Summary), "\n"), "\n")
			for i, l := range lines {
				if i == maxSummary {
					fmt.Fprintln(w, "  "+st.dim(fmt.Sprintf("%s %d more lines", st.ellipsis(), len(lines)-i)))
					break
				}
				fmt.Fprintln(w, "  "+st.dim(st.bar())+" "+clip(string(sanitize(nil, []byte(l), false)), max(cols-4, 1), st.ellipsis()))
			}
		}
	}
}

// The run as one document of JSON.

type runDocument struct {
	Schema   int           `json:"v"`
	ID       string        `json:"id"`
	Number   int           `json:"number"`
	Attempt  int           `json:"attempt"`
	Of       string        `json:"of,omitempty"`
	File     string        `json:"file"`
	Name     string        `json:"name"`
	Root     string        `json:"root"`
	Event    string        `json:"event"`
	Ref      string        `json:"ref"`
	SHA      string        `json:"sha"`
	Dirty    bool          `json:"dirty,omitempty"`
	Verdict  plan.Verdict  `json:"verdict,omitempty"`
	Why      string        `json:"why,omitempty"`
	Begun    time.Time     `json:"begun"`
	Ended    *time.Time    `json:"ended,omitempty"`
	Seconds  float64       `json:"seconds"`
	Count    tally         `json:"count"`
	Reuse    *sumsJSON     `json:"reuse,omitempty"`
	Tests    *testCount    `json:"tests,omitempty"`
	Jobs     []jobDocument `json:"jobs"`
	Failures []failure     `json:"failures,omitempty"`
	// Explained says which of them are new, and whose fault each is.
	Explained *insight.Explanation `json:"explained,omitempty"`
}

type testCount struct {
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
}

type jobDocument struct {
	ID        string                 `json:"id"`
	Name      string                 `json:"name"`
	Needs     []string               `json:"needs,omitempty"`
	Parent    string                 `json:"parent,omitempty"`
	Children  []string               `json:"children,omitempty"`
	State     record.State           `json:"state"`
	Verdict   plan.Verdict           `json:"verdict,omitempty"`
	Result    plan.Verdict           `json:"result,omitempty"`
	Why       string                 `json:"why,omitempty"`
	At        plan.Source            `json:"at,omitzero"`
	Attempt   int                    `json:"attempt,omitempty"`
	Seconds   float64                `json:"seconds"`
	Outputs   map[string]string      `json:"outputs,omitempty"`
	Steps     []stepDocument         `json:"steps,omitempty"`
	Tests     []record.TestsReported `json:"tests,omitempty"`
	Artifacts []record.ArtifactSaved `json:"artifacts,omitempty"`
	Materials []record.Material      `json:"materials,omitempty"`
}

type stepDocument struct {
	Key        string            `json:"key"`
	ID         string            `json:"id,omitempty"`
	Name       string            `json:"name"`
	Phase      plan.Phase        `json:"phase,omitempty"`
	At         plan.Source       `json:"at,omitzero"`
	Outcome    plan.Verdict      `json:"outcome,omitempty"`
	Conclusion plan.Verdict      `json:"conclusion,omitempty"`
	Exit       int               `json:"exit,omitempty"`
	Signal     string            `json:"signal,omitempty"`
	Why        string            `json:"why,omitempty"`
	Seconds    float64           `json:"seconds"`
	FirstLine  int64             `json:"first_line"` // of the job's log
	EndLine    int64             `json:"end_line"`   // after its last
	Notes      []plan.Annotation `json:"annotations,omitempty"`
	Summary    string            `json:"summary,omitempty"`
	Reuse      *reuseJSON        `json:"reuse,omitempty"`
	Watched    *watchedJSON      `json:"watched,omitempty"`
}

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

func runJSON(r *record.Run, tail func(run, job string, from, to int64, n int) []string) runDocument {
	d := runDocument{Schema: jsonSchema, ID: r.ID, Verdict: r.Verdict, Why: r.Why, Begun: r.Begun, Count: tallyOf(r), Reuse: sumsJSONOf(r), Failures: failures(r, tail), Jobs: []jobDocument{}}
	if !r.Ended.IsZero() {
		d.Ended, d.Seconds = &r.Ended, seconds(r.Ended.Sub(r.Begun))
	}
	if d.Count.Tests > 0 {
		d.Tests = &testCount{d.Count.Passed, d.Count.Bad, d.Count.Ignored}
	}
	if p := r.Planned; p != nil {
		d.Number, d.Attempt, d.Of, d.Root = p.Number, p.Attempt, p.Of, p.Root
		if p.Pipeline != nil {
			d.File, d.Name = p.Pipeline.File, p.Pipeline.Name
		}
		if c := p.Change; c != nil {
			d.Event, d.Ref, d.SHA, d.Dirty = c.Event, c.Ref, c.SHA, c.Dirty
		}
	}
	for _, id := range r.Order {
		j := r.Jobs[id]
		x := jobDocument{
			ID: j.ID, Name: j.Name, Needs: j.Needs, Parent: j.Parent, Children: j.Children, State: j.State, Verdict: j.Verdict,
			Result: j.Result, Why: j.Why, At: j.At, Attempt: j.Attempt, Outputs: j.Outputs, Tests: j.Tests, Artifacts: j.Artifacts, Materials: j.Materials,
		}
		if !j.Ended.IsZero() {
			x.Seconds = seconds(j.Ended.Sub(j.Begun))
		}
		for _, s := range j.Steps {
			y := stepDocument{Key: s.Key, ID: s.Start.ID, Name: s.Start.Name, Phase: s.Start.Phase, At: s.Start.At, Seconds: seconds(s.Duration()), FirstLine: s.Start.Line, Summary: string(s.Summary)}
			if f := s.Finished; f != nil {
				y.Outcome, y.Conclusion, y.Exit, y.Signal, y.Why, y.EndLine, y.Notes = f.Outcome, f.Conclusion, f.Exit, f.Signal, f.Why, f.Line, f.Effects.Notes
				y.Reuse, y.Watched = reuseOf(f), watchedOf(f)
			}
			x.Steps = append(x.Steps, y)
		}
		d.Jobs = append(d.Jobs, x)
	}
	return d
}
