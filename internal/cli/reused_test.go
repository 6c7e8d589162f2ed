package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// story are events of a run, told in few words: one for each call.
type story struct {
	events []record.Event
	p      plan.Pipeline
	at     time.Time
}

func (s *story) add(job, step string, b record.Body) {
	s.at = s.at.Add(time.Millisecond)
	s.events = append(s.events, record.Event{Run: "2", Job: job, Step: step, Time: s.at, Seq: int64(len(s.events) + 1), Body: b})
}

// job tells of a job, with its steps; it ends well.
func (s *story) job(id string, steps ...*record.StepFinished) {
	s.p.Jobs = append(s.p.Jobs, plan.Job{ID: id, Name: id})
	s.add(id, "", &record.JobStarted{Attempt: 1, Place: "host"})
	for i, fin := range steps {
		key := fmt.Sprint(i + 1)
		s.add(id, key, &record.StepStarted{Name: fin.Name})
		fin.Outcome, fin.Conclusion = plan.Success, plan.Success
		s.add(id, key, fin)
	}
	s.add(id, "", &record.JobFinished{Verdict: plan.Success, Result: plan.Success})
}

func (s *story) told() []record.Event {
	head := []record.Event{
		{Run: "2", Body: &record.RunPlanned{Number: 2, Attempt: 1, Pipeline: &s.p}},
		{Run: "2", Body: &record.RunStarted{Host: "here"}},
	}
	s.add("", "", &record.RunFinished{Verdict: plan.Success})
	return append(head, s.events...)
}

func reusedStep(name string, saved time.Duration) *record.StepFinished {
	return &record.StepFinished{Name: name, Reuse: &record.Reuse{Key: "k", From: &record.StepRef{Run: "1", Job: "j", Step: "1"}, Saved: saved}}
}

func ranStep(name string, barred ...record.Bar) *record.StepFinished {
	return &record.StepFinished{Name: name, Reuse: &record.Reuse{Key: "k", Barred: barred}}
}

func builtinStep(name string) *record.StepFinished { return &record.StepFinished{Name: name} }

// fold is the run that the events tell of.
func fold(events []record.Event) *record.Run {
	r := record.NewRun("2")
	for _, e := range events {
		r.Apply(e)
	}
	return r
}

// mixed is a run of which most was reused.
func mixed() *story {
	s := new(story)
	s.job("build", builtinStep("Check out"), reusedStep("Make", 12*time.Second), reusedStep("Test", 300*time.Millisecond))
	s.job("half", reusedStep("Generate", 42*time.Millisecond), ranStep("Compile"))
	s.job("none", ranStep("Talk", record.Bar{Kind: record.BarNetwork, Detail: "tcp 10.0.0.1:443"}))
	s.job("plain", builtinStep("Check out"))
	return s
}

func many(n int, between string) *story {
	s := new(story)
	for i := range n {
		s.job(fmt.Sprintf("p%02d", i+1), reusedStep("Make", time.Second))
		if i == n/2 && between != "" {
			s.job(between, ranStep("Make"))
		}
	}
	return s
}

func TestReuseOnDisplays(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	clock := func() time.Time { return now }
	group := &folds{
		begin: func(_, title string, _ time.Time) string { return "[" + title + "\n" },
		end:   func(string, string, time.Time) string { return "]\n" },
	}
	for _, tt := range []struct {
		name    string
		story   *story
		display func(out *bytes.Buffer) display
		want    string
	}{
		{"plain", mixed(), func(out *bytes.Buffer) display { return &plain{out: out, now: clock, began: now} }, `
✓   0.0s  build  reused, 12.3s saved
  0.0s half | ▸ Generate  (reused, 42ms saved)
  0.0s half | ▸ Compile
✓   0.0s  half  1 of 2 steps reused, 42ms saved
  0.0s none | ▸ Talk
✓   0.0s  none
  0.0s plain | ▸ Check out
✓   0.0s  plain
`},
		{"plain, more", mixed(), func(out *bytes.Buffer) display { return &plain{out: out, now: clock, began: now, verbose: 1} }, `
  0.0s build | ▸ Check out
  0.0s build | ▸ Make  (reused, 12.0s saved)
  0.0s build | ▸ Test  (reused, 0.3s saved)
✓   0.0s  build  reused, 12.3s saved
  0.0s half | ▸ Generate  (reused, 42ms saved)
  0.0s half | ▸ Compile
✓   0.0s  half  1 of 2 steps reused, 42ms saved
  0.0s none | ▸ Talk
✓   0.0s  none
  0.0s plain | ▸ Check out
✓   0.0s  plain
`},
		{"folds", mixed(), func(out *bytes.Buffer) display { return &plain{out: out, now: clock, began: now, folds: group} }, `
✓   0.0s  build  reused, 12.3s saved
  0.0s half | ▸ Generate  (reused, 42ms saved)
[half › Compile
]
✓   0.0s  half  1 of 2 steps reused, 42ms saved
[none › Talk
]
✓   0.0s  none
[plain › Check out
]
✓   0.0s  plain
`},
		{"terminal", mixed(), func(out *bytes.Buffer) display {
			return &tty{out: out, size: func() (int, int) { return 80, 24 }, now: clock, began: now}
		}, `
✓   0.0s  build  reused, 12.3s saved
✓   0.0s  half  1 of 2 steps reused, 42ms saved
✓   0.0s  none
✓   0.0s  plain
`},
		{"a few", many(3, ""), func(out *bytes.Buffer) display { return &plain{out: out, now: clock, began: now} }, `
✓   0.0s  p01  reused, 1.0s saved
✓   0.0s  p02  reused, 1.0s saved
✓   0.0s  p03  reused, 1.0s saved
`},
		{"many", many(1000, "changed"), func(out *bytes.Buffer) display { return &plain{out: out, now: clock, began: now} }, `
✓         501 jobs  reused, 8m21s saved
  0.0s changed | ▸ Make
✓   0.0s  changed
✓         499 jobs  reused, 8m19s saved
`},
		{"many on a terminal", many(1000, "changed"), func(out *bytes.Buffer) display {
			return &tty{out: out, size: func() (int, int) { return 80, 24 }, now: clock, began: now}
		}, `
✓         501 jobs  reused, 8m21s saved
✓   0.0s  changed
✓         499 jobs  reused, 8m19s saved
`},
		{"quiet", mixed(), func(out *bytes.Buffer) display { return &quiet{out: out, cols: 80} }, "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			s := &stage{progress: &progress{display: tt.display(&out)}}
			for _, e := range tt.story.told() {
				s.Event(e)
			}
			s.close()
			if got := "\n" + out.String(); got != tt.want {
				t.Errorf("it shows:%swant:%s", got, tt.want)
			}
		})
	}
}

// TestHeldBack: that a step runs is shown at the latest when it prints, or after
// a moment.
func TestHeldBack(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	var out bytes.Buffer
	d := &plain{out: &out, now: func() time.Time { return now }, began: now}
	s := &stage{progress: &progress{display: d}, run: record.NewRun("2")}
	shows := func(want string) {
		t.Helper()
		d.flush()
		if got := out.String(); got != want {
			t.Errorf("it shows:\n%swant:\n%s", got, want)
		}
		out.Reset()
	}
	tell := func(job, step string, b record.Body) {
		s.Event(record.Event{Run: "2", Job: job, Step: step, Time: now, Body: b})
	}
	tell("a", "1", &record.StepStarted{Name: "Print"})
	shows("")
	s.Line("b", "1", 0, []byte("another job's"))
	shows("  0.0s b | another job's\n")
	s.Line("a", "1", 0, []byte("first"))
	shows("  0.0s a | ▸ Print\n  0.0s a | first\n")
	s.Line("a", "1", 0, []byte("second"))
	shows("  0.0s a | second\n")
	tell("a", "1", ranStep("Print"))
	tell("a", "2", &record.StepStarted{Name: "Wait"})
	now = now.Add(heldFor / 2)
	d.age(now)
	shows("")
	now = now.Add(heldFor)
	d.age(now)
	shows("  0.1s a | ▸ Wait\n")
	fin := reusedStep("Reused", time.Second)
	tell("c", "1", &record.StepStarted{Name: "Reused"})
	tell("c", "1", fin)
	fin.Outcome = plan.Success
	tell("c", "", &record.JobFinished{Verdict: plan.Success, Result: plan.Success})
	now = now.Add(heldFor)
	d.age(now)
	shows("")
	now = now.Add(streakHeld)
	d.age(now)
	shows("✓   0.0s  c  reused, 1.0s saved\n")
	bad := ranStep("Wait")
	bad.Outcome, bad.Conclusion, bad.Why = plan.Failure, plan.Failure, "exit code 1"
	tell("d", "1", &record.StepStarted{Name: "Fail"})
	tell("d", "1", bad)
	shows("  0.7s d | ▸ Fail\n✗ d › Fail  exit code 1\n")
	s.close()
	shows("")
}

func TestReuseInTheFinalBlock(t *testing.T) {
	t.Parallel()
	unwatched := record.Bar{Kind: record.BarNotWatched, Detail: "the kernel is too old"}
	differing := func(name string, what ...string) *record.StepFinished {
		f := ranStep(name, record.Bar{Kind: record.BarUnstable, Detail: what[0]})
		f.Reuse.Verified, f.Reuse.Differs = true, what
		return f
	}
	verified := ranStep("Make")
	verified.Reuse.Verified = true
	all := func(steps ...*record.StepFinished) *story {
		s := new(story)
		s.job("j", steps...)
		return s
	}
	for _, tt := range []struct {
		name  string
		story *story
		want  string // the lines after that of the jobs
	}{
		{"nothing to say", all(ranStep("Make")), ""},
		{"nothing was asked", all(builtinStep("Make")), ""},
		{"some", mixed(), "  steps    3 of 5 reused, 12.3s saved\n"},
		{"all", many(1234, ""), "  steps    all 1,234 reused, 20m34s saved\n"},
		{"verified", all(verified, ranStep("Talk")), "  steps    1 verified: it did the same\n"},
		{"partly verified", all(reusedStep("Make", time.Minute), verified, verified), "  steps    1 of 3 reused, 1m00s saved · 2 verified: all did the same\n"},
		{"differing", all(verified, differing("Stamp", "out/a differs: 1 before, 2 now", "b", "c", "d", "e", "f")), `  steps    2 verified, 1 did not do the same
  differs  j/2 Stamp: out/a differs: 1 before, 2 now
           j/2 Stamp: b
           j/2 Stamp: c
           j/2 Stamp: d
           … and 2 more
           with the same inputs; they are not reused any more: fairlead why 2
`},
		{"nothing can be watched", all(ranStep("a", unwatched), ranStep("b", unwatched)), "  reuse    nothing can be reused here: the kernel is too old\n"},
		{"one could not be watched", all(ranStep("a", unwatched), ranStep("b")), "  reuse    1 step could not be watched: the kernel is too old\n"},
		{"switched off", all(ranStep("a", record.Bar{Kind: record.BarOff}), reusedStep("b", 0)), `  steps    1 of 2 reused
  reuse    1 step not watched for a while: watching cost more than it saved · fairlead why 2
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			report(&out, fold(tt.story.told()), nil, style{}, plainColumns)
			_, jobs, _ := strings.Cut(out.String(), "\n  jobs ")
			if _, got, _ := strings.Cut(jobs, "\n"); got != tt.want {
				t.Errorf("it says:\n%swant:\n%s", got, tt.want)
			}
		})
	}
}

// TestWhy is what is said of steps, in a line.
func TestWhy(t *testing.T) {
	t.Parallel()
	missed := ranStep("Miss")
	missed.Reuse.Miss = &record.Miss{Why: "go.sum has changed", Path: "go.sum", Old: "1", New: "2"}
	verified := ranStep("Verify")
	verified.Reuse.Verified = true
	s := new(story)
	s.job("job", builtinStep("Check out"), reusedStep("Reuse", 3*time.Second), missed, verified,
		ranStep("Off", record.Bar{Kind: record.BarOff}), ranStep("Never"))
	s.add("job", "7", &record.StepFinished{Name: "Skip", Outcome: plan.Skipped, Conclusion: plan.Skipped})
	s.add("job", "8", &record.StepStarted{Name: "Group"})
	s.add("job", "8.1", &record.StepStarted{Name: "Inner"})
	s.add("job", "8.1", ranStep("Inner"))
	s.add("job", "8", builtinStep("Group"))
	s.add("job", "9", &record.StepStarted{Name: "Open"})
	r := fold(s.told())
	var got strings.Builder
	for _, x := range reasons(r, "job", "") {
		fmt.Fprintf(&got, "%s %s: %s: %s %v\n", x.Step, x.Name, x.State, x.Why, x.Next)
	}
	want := `1 Check out: built-in: it is part of Fairlead, and done each time false
2 Reuse: reused: as in run 1, 3.0s saved true
3 Miss: ran: go.sum has changed true
4 Verify: ran: verified: it did the same true
5 Off: ran: it was left alone false
6 Never: ran: nothing of it is kept from before true
7 Skip: skipped: its condition did not hold false
8 Group: group: it stands for the steps inside it false
8.1 Inner: ran: nothing of it is kept from before true
9 Open: unfinished: it has not ended false
`
	if got.String() != want {
		t.Errorf("got:\n%swant:\n%s", got.String(), want)
	}
	if n := len(reasons(r, "", "")); n != 6 {
		t.Errorf("of a run, %d steps are told of, want the 6 that reuse is about", n)
	}
	if list := reasons(r, "job", "8"); len(list) != 2 {
		t.Errorf("of a group, %d steps are told of, want it and its part", len(list))
	}
	for name, is := range map[string]bool{"12": true, "#12": true, "last": true, "last~2": true, "build": false, "build/3": false, "": false, "12/3": false} {
		if namesRun(name) != is {
			t.Errorf("namesRun(%q) = %v", name, !is)
		}
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0ms", 0: "0ms", 400 * time.Microsecond: "0ms", 54321 * time.Microsecond: "54ms", 99400 * time.Microsecond: "99ms",
		99600 * time.Microsecond: "0.1s", 1500 * time.Millisecond: "1.5s", 192 * time.Second: "3m12s",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%s) = %s, want %s", d, got, want)
		}
	}
}
