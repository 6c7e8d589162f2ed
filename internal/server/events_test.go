package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// listener reads a stream of events.
type listener struct {
	t     *testing.T
	lines *bufio.Scanner
	res   *http.Response
	stop  context.CancelFunc
}

// message is one event of a stream.
type message struct {
	ID, Event, Data string
}

func listen(t *testing.T, base, query, token string, options ...func(*http.Request)) *listener {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	r, err := http.NewRequestWithContext(ctx, "GET", base+"/api/v1/events?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	for _, o := range options {
		o(r)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 {
		t.Fatalf("%s: %s", query, res.Status)
	}
	l := &listener{t: t, lines: bufio.NewScanner(res.Body), res: res, stop: cancel}
	t.Cleanup(l.close)
	return l
}

func (l *listener) close() {
	l.stop()
	l.res.Body.Close()
}

// next is the next message; ok is false at the end of the stream.
func (l *listener) next() (m message, ok bool) {
	for l.lines.Scan() {
		name, value, _ := strings.Cut(l.lines.Text(), ": ")
		switch name {
		case "id":
			m.ID = value
		case "event":
			m.Event = value
		case "data":
			m.Data = value
		case "":
			if m.Event != "" {
				return m, true
			}
		}
	}
	return m, false
}

// notice is the next message, which is a notice.
func (l *listener) notice() (n Notice) {
	l.t.Helper()
	m, ok := l.next()
	if !ok || m.Event != "notice" {
		l.t.Fatalf("no notice but %+v", m)
	}
	if err := json.Unmarshal([]byte(m.Data), &n); err != nil || m.ID != fmt.Sprint(n.Seq) {
		l.t.Fatalf("%+v: %v", m, err)
	}
	return n
}

// TestStreamGoesOn: who loses the stream at any point and comes back gets every
// notice once, also what is no longer at hand.
func TestStreamGoesOn(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	h := httptest.NewServer(sc.s)
	t.Cleanup(h.Close) // after the streams are closed
	token := sc.token(access.TokenSpec{Name: "t"})
	run := sc.run("team/app", nil)
	sc.run("team/app", nil) // another one, of which nobody asked
	head, err := sc.store.Head(t.Context(), run)
	if err != nil || head.ID != run {
		t.Fatal(err)
	}
	var want []int64
	for e := range sc.store.After(t.Context(), 0) {
		if e.Run == run {
			want = append(want, e.Seq)
		}
	}
	// All of it, from the record: the hub begins now.
	l := listen(t, h.URL, "topic=run/"+run+"&after=0", token)
	var got []int64
	for range want {
		got = append(got, l.notice().Seq)
	}
	l.close()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("from the record: %v, want %v", got, want)
	}
	// What comes while nobody listens, with cuts after each one.
	last := got[len(got)-1]
	for i := range 5 {
		appended, err := sc.store.Append(t.Context(),
			record.Event{Run: run, Job: "test", Body: &record.JobQueued{}}, record.Event{Run: "99999", Body: &record.RunFinished{}}, record.Event{Run: run, Job: "test", Body: &record.JobQueued{}})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []record.Event{appended[0], appended[2]} {
			l := listen(t, h.URL, "topic=run/"+run, token, header("Last-Event-ID", fmt.Sprint(last)))
			n := l.notice()
			l.close()
			if n.Seq != e.Seq || n.Kind != "job.queued" || fmt.Sprint(n.Topics) != "[run/"+run+"]" {
				t.Fatalf("cut %d: %+v, want event %d", i, n, e.Seq)
			}
			last = n.Seq
		}
	}
}

// TestStreamShowsWhatMayBeSeen, and ends when the server does.
func TestStreamShowsWhatMayBeSeen(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	h := httptest.NewServer(sc.s)
	t.Cleanup(h.Close) // after the streams are closed
	token := sc.token(access.TokenSpec{Name: "t", Grants: []access.Grant{{Repository: "team/app", Role: access.Viewer}}})
	l := listen(t, h.URL, "topic=runs", token)
	sc.run("team/other", nil)
	run := sc.run("team/app", nil)
	for _, kind := range []record.Kind{"run.planned", "run.started", "run.finished"} {
		if n := l.notice(); n.Run != run || n.Kind != kind {
			t.Fatalf("%+v, want %s of run %s", n, kind, run)
		}
	}
	hidden := sc.run("team/other", nil)
	for topic, want := range map[string]int{"run/" + hidden: 404, "log/" + hidden + "/test": 404, "run/none": 404, "nonsense": 400, "": 400} {
		if w := sc.call("GET", "/api/v1/events?topic="+topic, "", bearer(token)); w.Code != want {
			t.Errorf("topic %q: %d %s", topic, w.Code, w.Body)
		}
	}
	sc.s.Close()
	for {
		if _, ok := l.next(); !ok {
			break
		}
	}
}

// TestStreamOfALog counts lines while they are written.
func TestStreamOfALog(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	h := httptest.NewServer(sc.s)
	t.Cleanup(h.Close) // after the streams are closed
	token := sc.token(access.TokenSpec{Name: "t"})
	run := sc.run("team/app", nil)
	l := listen(t, h.URL, "topic=log/"+run+"/test", token)
	sc.writeLog(run, "one")
	w, err := logs.Create(launch.LogPath(sc.data, run, "test"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if _, err := w.Line("0", time.Now(), fmt.Appendf(nil, "line %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for {
		m, ok := l.next()
		var g Growth
		if !ok || m.ID != "" || json.Unmarshal([]byte(m.Data), &g) != nil || g.Topic != "log/"+run+"/test" {
			t.Fatalf("%+v", m)
		}
		if g.Lines == 101 && g.Closed {
			break
		}
	}
}

// TestHubForgets what is old, and knows that it did.
func TestHubForgets(t *testing.T) {
	t.Parallel()
	h := &hub{changed: make(chan struct{})}
	for seq := int64(1); seq <= 3*kept; seq++ {
		h.add([]Notice{{Seq: seq}})
	}
	if len(h.notices) > 2*kept {
		t.Errorf("it remembers %d", len(h.notices))
	}
	if _, _, known, _ := h.since(1); known {
		t.Error("it says it knows all since 1")
	}
	news, upTo, known, _ := h.since(3*kept - 10)
	if !known || len(news) != 10 || upTo != 3*kept || news[0].Seq != 3*kept-9 {
		t.Errorf("%d news up to %d, %v", len(news), upTo, known)
	}
	if _, _, known, _ := h.since(h.first); !known {
		t.Error("it does not know what it has")
	}
}

// TestStreamsAreCounted: one reader does not take all of them.
func TestStreamsAreCounted(t *testing.T) {
	t.Parallel()
	h := &hub{streams: map[string]int{}}
	for range ownStreams {
		if !h.enter("ada") {
			t.Fatal("a stream of few is refused")
		}
	}
	if h.enter("ada") || !h.enter("bob") {
		t.Error("one reader may have all, or keeps another out")
	}
	h.leave("ada")
	if !h.enter("ada") {
		t.Error("a stream that was closed counts")
	}
}

// BenchmarkStreams is what fifty readers of a busy run cost.
func BenchmarkStreams(b *testing.B) {
	h := &hub{changed: make(chan struct{})}
	batch := make([]Notice, 100)
	var seq int64
	t := topics{run: map[string]bool{"1": true}}
	r := &request{Who: &access.Principal{Kind: access.Person, Grants: []access.Grant{{Role: access.Viewer}}}}
	for b.Loop() {
		for i := range batch {
			seq++
			batch[i] = Notice{Seq: seq, Run: fmt.Sprint(i % 3), Kind: "step.finished"}
		}
		h.add(batch)
		for range 50 {
			news, _, _, _ := h.since(seq - int64(len(batch)))
			for i := range news {
				t.of(r, &news[i])
			}
		}
	}
}
