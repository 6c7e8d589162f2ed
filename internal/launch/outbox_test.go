package launch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

const failing = "name: PR\non: [pull_request, push]\njobs:\n  job:\n    runs-on: ubuntu-latest\n    steps:\n" +
	"      - name: 'evil | `step` <img src=x> @everyone'\n        run: 'echo \"::error file=a.go,line=3::broken\"; exit 1'\n"

// effects are what became of effects: their kind and their error, in order of their end.
func (s *scene) effects() (all []string) {
	what := map[string]string{}
	for _, e := range s.events("effect.planned") {
		b := e.Body.(*record.EffectPlanned)
		what[b.Key] = b.What
	}
	for _, e := range s.events("effect.done") {
		b := e.Body.(*record.EffectDone)
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s", what[b.Key], b.Error)))
	}
	return all
}

// TestStatusAndComment: a code host is told how a run stands, in one status a pipeline and one
// comment a change.
func TestStatusAndComment(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/pr.yml": failing})
	s.vault["team/app $TOKEN"] = "word"
	s.serve(s.desk)
	sha := s.branch("topic", map[string]string{"a.go": "1"})
	h := s.pull("17", sha, false)
	h.Fetch = "refs/heads/topic"
	run := s.settled(s.deliver(h)).Runs[0]
	if r := s.ended(run); r.Verdict != plan.Failure {
		t.Fatalf("%s %s", r.Verdict, r.Why)
	}
	s.until("the code host knows", func() bool {
		statuses, comments := s.forge.said()
		return len(comments) > 0 && len(statuses) > 0 && statuses[len(statuses)-1].State == forge.Failure
	})
	statuses, comments := s.forge.said()
	last := statuses[len(statuses)-1]
	if last.SHA != sha || last.Context != "fairlead/PR" || !strings.Contains(last.Title, "1 of 1 jobs failed") {
		t.Errorf("%+v", last)
	}
	if len(last.Annotations) == 0 || last.Annotations[0] != (forge.Annotation{Path: "a.go", Line: 3, Level: "failure", Message: "broken"}) {
		t.Errorf("%+v", last.Annotations)
	}
	for i, st := range statuses {
		if st.Ref == "" || i > 0 && st.State == forge.Pending {
			t.Errorf("%d: %+v", i, st)
		}
	}
	body := comments[0].Body
	if comments[0].Number != "17" || comments[0].Marker != "fairlead:summary" || !strings.Contains(body, "(https://ci.example.org/runs/"+run+")") || !strings.Contains(body, "failure") {
		t.Errorf("%+v", comments[0])
	}
	if strings.Contains(body, "<img") && !strings.Contains(body, "`evil ¦ 'step' <img src=x> @everyone`") {
		t.Errorf("what a person wrote means something:\n%s", body)
	}
	// The next commit's comment replaces the first.
	h = s.pull("17", s.branch("topic", map[string]string{"a.go": "2"}), false)
	h.Fetch = "refs/heads/topic"
	s.ended(s.settled(s.deliver(h)).Runs[0])
	s.until("the comment is edited", func() bool {
		_, comments := s.forge.said()
		return len(comments) > 1 && comments[len(comments)-1].Ref == "comment 17" && strings.Contains(comments[len(comments)-1].Body, short(h.Change.SHA))
	})
}

// TestProblemsAreTold: pipeline files that cannot be run are shown at the commit.
func TestProblemsAreTold(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/bad.yml": "on: push\njobs: {x: {runs-on: ubuntu-latest, needs: nobody, steps: [{run: x}]}}\n"})
	s.vault["team/app $TOKEN"] = "word"
	s.serve(s.desk)
	sha := s.git("rev-parse", "HEAD")
	s.settled(s.deliver(s.push("refs/heads/main", sha)))
	s.until("the code host knows", func() bool { statuses, _ := s.forge.said(); return len(statuses) > 0 })
	statuses, _ := s.forge.said()
	if st := statuses[0]; st.SHA != sha || st.State != forge.Failure || !strings.Contains(st.Title, "bad.yml") {
		t.Errorf("%+v", st)
	}
}

// sending is a desk's outbox in a test's hands.
func (s *scene) sending(d *Desk) *sender {
	s.Helper()
	x := &sender{Desk: d, open: map[string]*planned{}, wake: make(chan struct{}, doers)}
	if err := x.load(s.Context()); err != nil {
		s.Fatal(err)
	}
	return x
}

// TestOutboxAfterCrash: what was planned and not done is done by whoever comes next, but a
// message that may have been sent is not sent twice.
func TestOutboxAfterCrash(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := set(t, map[string]string{".github/workflows/ci.yml": pushCI})
	s.vault["team/app $TOKEN"], s.vault[" $CHAT"] = "word", "https://chat.example.org/canary"
	run := s.settle(s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD")))).Runs[0]
	message := func(n string) *planned {
		return &planned{key: "message/chat/" + n, what: "message", effect: effect{Envelope: &notify.Envelope{Channel: "chat", Secret: "$CHAT", Message: notify.Message{Run: n}}}}
	}
	status := &planned{key: "status/" + run + "/1", what: "status", effect: effect{Run: run, Repository: "team/app", SHA: "4711", State: forge.Pending}}
	first := s.sending(s.desk)
	if err := first.propose(ctx, []*planned{status, message("planned"), message("begun"), message("planned")}); err != nil {
		t.Fatal(err)
	}
	if got := len(s.events("effect.planned")); got != 3 {
		t.Fatalf("%d are planned", got)
	}
	s.chat.fail = func() error { return errors.New("the process dies") }
	begun := first.open["message/chat/begun"]
	if err := first.try(ctx, begun); err == nil {
		t.Fatal("it was sent")
	}
	s.chat.fail = nil

	next := s.sending(s.open(s.store))
	if len(next.open) != 2 {
		t.Errorf("%d are open", len(next.open))
	}
	for _, p := range next.open {
		if err := next.try(ctx, p); err != nil {
			t.Error(err)
		}
	}
	if sent := s.chat.all(); len(sent) != 1 || sent[0].Run != "planned" {
		t.Errorf("%+v", sent)
	}
	if statuses, _ := s.forge.said(); len(statuses) != 1 {
		t.Errorf("%+v", statuses)
	}
	unknown := 0
	for _, e := range s.events("effect.done") {
		if b := e.Body.(*record.EffectDone); b.Unknown {
			unknown++
		}
	}
	if unknown != 1 || len(s.events("effect.done")) != 3 {
		t.Errorf("%v, %d unknown", s.effects(), unknown)
	}
	// Whoever reads the record again plans nothing again.
	last := s.sending(s.open(s.store))
	if err := last.propose(ctx, []*planned{status, message("planned"), message("begun")}); err != nil {
		t.Fatal(err)
	}
	if got := len(s.events("effect.planned")); got != 3 || len(last.open) != 0 {
		t.Errorf("%d are planned", got)
	}
}

// TestOutboxGivesUp: a failure is tried again, not for ever; what can never be is not.
func TestOutboxGivesUp(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := set(t, nil)
	s.vault["team/app $TOKEN"] = "word"
	x := s.sending(s.desk)
	status := func(n int) *planned {
		return &planned{key: fmt.Sprintf("status/x/%d", n), what: "status", effect: effect{Repository: "team/app", SHA: "4711", State: forge.Failure, Problem: "x", Seq: int64(n)}}
	}
	tries := 0
	s.forge.fail = func() error { tries++; return errors.New("the host is down") }
	if err := x.propose(ctx, []*planned{status(1)}); err != nil {
		t.Fatal(err)
	}
	p := x.open["status/x/1"]
	for range effectTries - 1 {
		if err := x.try(ctx, p); err == nil {
			t.Fatal("it has worked")
		}
	}
	if err := x.try(ctx, p); err != nil || tries != effectTries {
		t.Errorf("%d tries, %v", tries, err)
	}
	s.forge.fail = func() error { tries++; return fmt.Errorf("no: %w", forge.ErrUnsupported) }
	if err := x.propose(ctx, []*planned{status(2)}); err != nil {
		t.Fatal(err)
	}
	if err := x.try(ctx, x.open["status/x/2"]); err != nil || tries != effectTries+1 {
		t.Errorf("%d tries, %v", tries, err)
	}
	// Of what concerns one thing only the newest is said.
	s.forge.fail = nil
	if err := x.propose(ctx, []*planned{status(3), status(4), status(5)}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p, stale, _ := x.next(time.Now())
		if stale != (p.Seq != 5) {
			t.Errorf("%d is stale: %t", p.Seq, stale)
		}
		if other, _, _ := x.next(time.Now()); other != nil {
			t.Error("two at a time about one thing")
		}
		if stale {
			if err := x.conclude(ctx, p, &record.EffectDone{Key: p.key, Error: "overtaken"}, nil); err != nil {
				t.Fatal(err)
			}
		} else if err := x.try(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.effects(); !slices.Equal(got, []string{"status the host is down", "status no: this code host cannot do that", "status overtaken", "status overtaken", "status"}) {
		t.Errorf("%q", got)
	}
}

// TestMessages: people are told on edges, once, however often who tells them dies.
func TestMessages(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": failing})
	s.vault[" $CHAT"] = "https://chat.example.org/canary"
	route := notify.Route{Name: "all", Channel: "chat", Secret: "$CHAT"}
	if err := s.desk.SetRoute(t.Context(), ada, route); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []notify.Route{{Name: "x", Channel: "none", Secret: "$X"}, {Name: "x", Channel: "chat", Secret: "X"}, {Channel: "chat", Secret: "$X"}} {
		if err := s.desk.SetRoute(t.Context(), ada, bad); err == nil {
			t.Errorf("%+v", bad)
		}
	}
	stop := s.serve(s.desk)
	s.until("it is known from where on", func() bool {
		r, err := s.store.Register(t.Context(), foldKind, "notify")
		return err == nil && r.Version > 0
	})
	s.ended(s.settled(s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD")))).Runs[0])
	s.until("people are told", func() bool { return len(s.chat.all()) == 1 })
	stop()
	s.serve(s.open(s.store))
	s.ended(s.settled(s.deliver(s.push("refs/heads/main", s.commit("again", nil)))).Runs[0])
	s.ended(s.settled(s.deliver(s.push("refs/heads/main", s.commit("mended", map[string]string{".github/workflows/ci.yml": strings.Replace(failing, "exit 1", "exit 0", 1)})))).Runs[0])
	s.until("people are told", func() bool { return len(s.chat.all()) > 1 })
	var told []string
	for _, m := range s.chat.all() {
		told = append(told, fmt.Sprintf("%s %s %s", m.Edge, m.Repository, m.URL))
	}
	if got := strings.Join(told, "; "); got != "broke team/app https://ci.example.org/runs/1; fixed team/app https://ci.example.org/runs/3" {
		t.Errorf("told is %s", got)
	}
	for _, e := range s.events("effect.planned") {
		if strings.Contains(string(e.Body.(*record.EffectPlanned).Body), "canary") {
			t.Error("the target is in the record")
		}
	}
	if err := s.desk.RemoveRoute(t.Context(), ada, "all"); err != nil {
		t.Fatal(err)
	}
	if err := s.desk.RemoveRoute(t.Context(), ada, "all"); err == nil {
		t.Error("it was removed twice")
	}
}

func TestMarkdownOfOthers(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"build": "`build`", "": "-", "a`b|c": "`a'b¦c`", "x\n| y": "`x`", "\x1b[31mred": "`[31mred`", "``` <script>": "`''' <script>`", "\u202eevil": "`evil`",
	} {
		if got := code(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	if got := html("<b>`x`&"); got != "<code>&lt;b&gt;'x'&amp;</code>" {
		t.Error(got)
	}
}

// TestTasksNext: the oldest that may be tried, each by one settler.
func TestTasksNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		x := &tasks{open: map[int64]*task{}, wake: make(chan struct{}, 1)}
		x.add(&task{seq: 3})
		x.add(&task{seq: 2, next: now.Add(time.Minute)})
		x.add(&task{seq: 5})
		x.seen = 9
		if one, _ := x.next(now); one.seq != 3 {
			t.Errorf("%+v", one)
		}
		if one, _ := x.next(now); one.seq != 5 {
			t.Errorf("%+v", one)
		}
		if one, wait := x.next(now); one != nil || wait != time.Minute {
			t.Errorf("%+v %s", one, wait)
		}
		time.Sleep(time.Minute)
		if one, _ := x.next(time.Now()); one.seq != 2 || x.mark() != 1 {
			t.Errorf("%+v %d", one, x.mark())
		}
		x.done(2)
		x.done(3)
		if x.mark() != 4 {
			t.Error(x.mark())
		}
		x.done(5)
		if x.mark() != 9 {
			t.Error(x.mark())
		}
	})
}

// TestAwait: whoever waits is told when it is settled, and no longer than he wants to.
func TestAwait(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": pushCI})
	seq := s.deliver(s.push("refs/heads/main", s.git("rev-parse", "HEAD")))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.desk.Await(ctx, seq); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	var waits sync.WaitGroup
	for range 3 {
		waits.Go(func() {
			if b, err := s.desk.Await(t.Context(), seq); err != nil || len(b.Runs) != 1 {
				t.Errorf("%+v, %v", b, err)
			}
		})
	}
	s.settle(seq)
	waits.Wait()
}

// TestTestRoute: a message is sent at once, whatever the route is for, and what came back
// is said.
func TestTestRoute(t *testing.T) {
	t.Parallel()
	s := set(t, map[string]string{".github/workflows/ci.yml": failing})
	route := notify.Route{Name: "team", Channel: "chat", Secret: "$CHAT", Repositories: []string{"none"}}
	if err := s.desk.SetRoute(t.Context(), ada, route); err != nil {
		t.Fatal(err)
	}
	var use *plan.UsageError
	if err := s.desk.TestRoute(t.Context(), ada, "team"); !errors.As(err, &use) || !strings.Contains(use.Message, "no secret $CHAT") {
		t.Errorf("without a target: %v", err)
	}
	s.vault[" $CHAT"] = "https://chat.example.org/canary"
	if err := s.desk.TestRoute(t.Context(), ada, "team"); err != nil {
		t.Errorf("with one: %v", err)
	}
	if got := s.chat.all(); len(got) != 1 || got[0].Edge != notify.Test || got[0].Actor != "ada" {
		t.Errorf("%+v", got)
	}
	if err := s.desk.TestRoute(t.Context(), ada, "other"); !errors.As(err, &use) {
		t.Errorf("no such route: %v", err)
	}
}

// TestWorthwhile: what a host will answer again is not asked again, and a host that asks
// for a pause gets it.
func TestWorthwhile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what  string
		err   error
		yes   bool
		after time.Duration
	}{
		{"status", &forge.CallError{Code: 404}, false, 0},
		{"status", fmt.Errorf("set it: %w", &forge.CallError{Code: 422}), false, 0},
		{"status", &forge.CallError{Code: 503}, true, 0},
		{"comment", &forge.CallError{Code: 403, After: time.Minute}, true, time.Minute},
		{"comment", errors.New("connection reset"), true, 0},
		{"status", forge.ErrUnsupported, false, 0},
		{"status", fmt.Errorf("%w: no token", errPointless), false, 0},
		{"message", fmt.Errorf("%w: 410", notify.ErrRefused), false, 0},
		{"message", errors.New("it answered 502"), true, 0},
		{"message", nil, false, 0},
	} {
		if yes, after := worthwhile(tt.what, tt.err); yes != tt.yes || after != tt.after {
			t.Errorf("%s, %v: %t after %s", tt.what, tt.err, yes, after)
		}
	}
}

// TestStatusContext: hosts take 255 bytes, and two pipelines are never one.
func TestStatusContext(t *testing.T) {
	t.Parallel()
	if got := statusContext("CI"); got != "fairlead/CI" {
		t.Error(got)
	}
	exact := strings.Repeat("x", maxContext-len("fairlead/"))
	if got := statusContext(exact); got != "fairlead/"+exact {
		t.Error(got)
	}
	long := strings.Repeat("ü", 300)
	a, b := statusContext(long+"a"), statusContext(long+"b")
	if len(a) > maxContext || len(b) > maxContext || a == b || !utf8.ValidString(a) || !strings.HasPrefix(a, "fairlead/üü") {
		t.Errorf("%q (%d), %q (%d)", a, len(a), b, len(b))
	}
}
