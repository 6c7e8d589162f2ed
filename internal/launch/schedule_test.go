package launch

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

func TestAlarmDue(t *testing.T) {
	t.Parallel()
	at := func(s string) time.Time {
		x, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for _, tt := range []struct {
		line, after, until string
		want               bool
	}{
		{"*/15 * * * *", "2026-05-01 10:00:00", "2026-05-01 10:14:00", false},
		{"*/15 * * * *", "2026-05-01 10:14:00", "2026-05-01 10:15:00", true},
		{"30 5 * * 1-5", "2026-05-02 05:29:00", "2026-05-02 05:30:00", false}, // a Saturday
		{"30 5 * * 1-5", "2026-05-04 05:29:00", "2026-05-04 05:30:00", true},
		{"0 0 1 * *", "2026-04-30 23:59:00", "2026-05-01 00:00:00", true},
		{"0 0 30 2 *", "2026-01-01 00:00:00", "2026-12-31 00:00:00", false}, // there is no such day
		{"CRON_TZ=Europe/Berlin 0 9 * * *", "2026-07-01 06:59:00", "2026-07-01 07:00:00", true},
		{"no time", "2026-05-01 10:00:00", "2026-05-02 10:00:00", false},
		{"CRON_TZ=Nowhere/None 0 9 * * *", "2026-05-01 10:00:00", "2026-05-02 10:00:00", false},
		{"", "2026-05-01 10:00:00", "2026-05-02 10:00:00", false},
	} {
		if got := (alarm{Line: tt.line}).due(at(tt.after), at(tt.until)); got != tt.want {
			t.Errorf("%s from %s to %s: %t", tt.line, tt.after, tt.until, got)
		}
	}
}

// TestSchedule: the clock starts what the default branch says, once, however many look.
func TestSchedule(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{
		".github/workflows/night.yml": workflow("Night", "{schedule: [{cron: '0 3 * * *'}, {cron: '30 4 * * *'}]}"),
		".github/workflows/ci.yml":    pushCI,
	})
	s.branch("topic", map[string]string{".github/workflows/never.yml": workflow("Never", "{schedule: [{cron: '* * * * *'}]}")})
	ctx := t.Context()
	day := time.Now().UTC().Truncate(24 * time.Hour).Add(48 * time.Hour)
	look := func(now time.Time) int {
		t.Helper()
		var all sync.WaitGroup
		for range 3 {
			desk := s.open(s.store)
			all.Go(func() {
				if err := desk.alarm(ctx, &s.repo, now); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		return len(s.events("run.requested"))
	}
	for _, tt := range []struct {
		at   time.Time
		want int
	}{
		{day.Add(2*time.Hour + 59*time.Minute), 0},
		{day.Add(3*time.Hour + 10*time.Second), 1},
		{day.Add(3*time.Hour + 50*time.Second), 1},
		{day.Add(3*time.Hour + 5*time.Minute), 1},
		{day.Add(5 * time.Hour), 2},  // late, and made up for
		{day.Add(54 * time.Hour), 2}, // too late: nobody served at that time
		{day.Add(75*time.Hour + 30*time.Minute), 3},
	} {
		if got := look(tt.at); got != tt.want {
			t.Errorf("at %s there are %d, want %d", tt.at, got, tt.want)
		}
	}
	for i, e := range s.events("run.requested") {
		b := s.settle(e.Seq)
		if len(b.Runs) != 1 {
			t.Fatalf("%+v", b)
		}
		p := s.run(b.Runs[0]).Planned
		if p.Pipeline.Name != "Night" || p.Change.Event != "schedule" || p.Origin.Trust != record.Protected || p.Change.Ref != "refs/heads/main" || p.Origin.Key != "" {
			t.Errorf("%d: %+v %+v", i, p.Change, p.Origin)
		}
	}
	// A new commit of the default branch has other times.
	s.commit("other times", map[string]string{".github/workflows/night.yml": workflow("Night", "{schedule: [{cron: '0 5 * * *'}]}")})
	s.settle(s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD"))))
	if got := look(day.Add(99 * time.Hour)); got != 3 {
		t.Errorf("the old time counts: %d", got)
	}
	if got := look(day.Add(101 * time.Hour)); got != 4 {
		t.Errorf("the new time does not: %d", got)
	}
	s.change(func(r *Repository) { r.Paused = true })
	if got := look(day.Add(125 * time.Hour)); got != 4 {
		t.Errorf("a paused repository was started: %d", got)
	}
}

// TestPoll: where no hook tells, looking does; and of both, the second starts nothing.
func TestPoll(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": pushCI})
	s.change(func(r *Repository) { r.Poll = time.Minute })
	ctx := t.Context()
	now := time.Now()
	look := func() (refs string) {
		t.Helper()
		before := len(s.events("run.requested"))
		now = now.Add(time.Minute)
		var all sync.WaitGroup
		for range 3 {
			desk := s.open(s.store)
			all.Go(func() {
				if err := desk.look(ctx, &s.repo, now); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		var list []string
		for _, e := range s.events("run.requested")[before:] {
			list = append(list, e.Body.(*record.RunRequested).Change.Ref)
		}
		return strings.Join(list, " ")
	}
	if got := look(); got != "" {
		t.Errorf("what was there before starts %s", got)
	}
	s.commit("second", nil)
	s.git("tag", "-a", "v1", "-m", "one")
	s.branch("topic", nil)
	if got := look(); got != "refs/heads/main refs/heads/topic refs/tags/v1" {
		t.Errorf("new are %s", got)
	}
	for _, e := range s.events("run.requested") {
		if b := s.settle(e.Seq); len(b.Runs) != 1 {
			t.Errorf("%+v", b)
		}
	}
	if b := s.settle(s.deliver(s.push("refs/heads/main", s.git("rev-parse", "main")))); len(b.Runs) != 0 || b.Why != "this push has its runs already" {
		t.Errorf("the hook of what was polled: %+v", b)
	}
	third := s.commit("third", nil)
	if b := s.settle(s.deliver(s.push("refs/heads/main", third))); len(b.Runs) != 1 {
		t.Errorf("%+v", b)
	}
	s.git("branch", "-D", "topic")
	if got := look(); got != "refs/heads/main" {
		t.Errorf("new are %s", got)
	}
	all := s.events("run.requested")
	if b := s.settle(all[len(all)-1].Seq); len(b.Runs) != 0 || b.Why != "this push has its runs already" {
		t.Errorf("polling what a hook told: %+v", b)
	}
	for i := range maxPushes + 5 {
		s.git("branch", fmt.Sprintf("many/%03d", i))
	}
	// The desks look at the same time or, when one is late, one after another.
	first := strings.Count(look(), "many")
	if rest := strings.Count(look(), "many"); first < maxPushes || first+rest != maxPushes+5 {
		t.Errorf("%d, then %d", first, rest)
	}
}

// TestServeClock: serving looks at the clock by itself.
func TestServeClock(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/each.yml": workflow("Each", "{schedule: [{cron: '* * * * *'}]}")})
	if err := s.desk.alarm(t.Context(), &s.repo, time.Now()); err != nil {
		t.Fatal(err)
	}
	// As if the last look had been a while ago.
	var c clock
	version, err := s.desk.read(t.Context(), clockKind, "team/app", &c)
	if err != nil {
		t.Fatal(err)
	}
	c.Looked = c.Looked.Add(-10 * time.Minute)
	if _, err := s.store.Change(t.Context(), []record.Register{register(clockKind, "team/app", version, c)}); err != nil {
		t.Fatal(err)
	}
	s.serve(s.desk)
	s.until("a run has ended", func() bool { return len(s.events("run.finished")) > 0 })
	if p := s.events("run.planned")[0].Body.(*record.RunPlanned); p.Pipeline.Name != "Each" || s.run("1").Verdict != plan.Success {
		t.Errorf("%+v", p.Change)
	}
}
