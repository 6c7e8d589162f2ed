package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// A page has one stream of server-sent events, GET /api/v1/events?topic=…&topic=…
// Topics are:
//
//	run/ID       everything that happens in a run
//	runs         runs are planned, begin, end
//	queue        what waits and what runs changes, workers come and go
//	log/ID/JOB   how many lines a job's log has
//	deployments  what is deployed changes, or drifts
//	rollout/ID   everything that happens to a rollout
//
// Messages are small: they say that there is something new, not what. A
// [Notice] has the event's Seq as its id, so that a browser that lost the stream
// goes on where it was (Last-Event-ID, or ?after=SEQ), and misses nothing. A
// [Growth] has no id: the newest is all that counts.

// Notice says that an event was appended.
type Notice struct {
	Seq    int64       `json:"seq"`
	Topics []string    `json:"topics"` // those that were asked for and that it belongs to
	Kind   record.Kind `json:"kind"`
	Run    string      `json:"run,omitempty"`
	Job    string      `json:"job,omitempty"`
	Step   string      `json:"step,omitempty"`
	// Rollout that it is of; "" for none.
	Rollout string `json:"rollout,omitempty"`

	repository string
}

// Growth says how long a log is.
type Growth struct {
	Topic  string `json:"topic"` // "log/12/test"
	Lines  int64  `json:"lines"`
	Closed bool   `json:"closed,omitempty"` // it will not grow any longer
}

const (
	eventStream = "text/event-stream"
	maxTopics   = 32
	maxStreams  = 2000 // at a time
	ownStreams  = 100  // of one account, or of one address without any
	// kept is how many notices are at hand for those who come back.
	kept = 8192
	// beat is how often a stream says that it is there, and looks whether who reads
	// it still may.
	beat = 15 * time.Second
	// growth is how often logs are looked at.
	growth = 200 * time.Millisecond
	// reopen is how often a log is looked for that is not there, or has ended.
	reopen = time.Second
	// reconnect is how long a browser waits before it comes back.
	reconnect = 2 * time.Second
	// feedPause is how long the record is left alone after an error.
	feedPause = time.Second
)

// runKinds are the events that change a list of runs; queueKinds those that
// change the queue.
var (
	runKinds   = []record.Kind{"run.planned", "run.started", "run.finished", "run.approved"}
	queueKinds = []record.Kind{"run.planned", "run.started", "run.finished", "run.approved", "worker.seen"}
	// deployKinds change what pages say of what is deployed where.
	deployKinds = []record.Kind{"rollout.moved", "release.rejected", "drift.found"}
)

// hub reads the record once for all streams. Streams hold a Seq, not a queue:
// one that is slow holds nobody up, and loses nothing.
type hub struct {
	mu      sync.Mutex
	begun   bool
	notices []Notice // the newest, in order
	seq     int64    // up to which notices are complete
	first   int64    // after which
	changed chan struct{}
	open    int            // streams
	streams map[string]int // of them, by who reads
	tails   map[string]*tail
	repos   map[string]string // by run
}

// beginHub begins to follow the record, if nobody did yet.
func (s *Server) beginHub(ctx context.Context) error {
	seq, err := s.Feed.Watch(ctx, -1)
	if err != nil {
		return err
	}
	h := &s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.begun {
		return nil
	}
	h.begun, h.seq, h.first = true, seq, seq
	h.changed, h.streams, h.tails, h.repos = make(chan struct{}), map[string]int{}, map[string]*tail{}, map[string]string{}
	go s.feed()
	return nil
}

// feed brings notices until the server is closed.
func (s *Server) feed() {
	for s.life.Err() == nil {
		err := s.feedOnce(s.life)
		if err == nil || s.life.Err() != nil {
			continue
		}
		s.Log.LogAttrs(s.life, slog.LevelError, "the record cannot be followed", slog.Any("error", err))
		select {
		case <-s.life.Done():
		case <-time.After(feedPause):
		}
	}
}

// feedOnce waits for something new and brings it.
func (s *Server) feedOnce(ctx context.Context) error {
	h := &s.hub
	seq := h.newest()
	if _, err := s.Feed.Watch(ctx, seq); err != nil {
		return err
	}
	var batch []Notice
	for e, err := range s.Feed.After(ctx, seq) {
		if e.Seq == 0 {
			h.add(batch)
			return err
		}
		n := Notice{Seq: e.Seq} // of a newer Fairlead: nobody here waits for it
		if err == nil {
			n = s.notice(ctx, e)
		}
		if batch = append(batch, n); len(batch) == kept {
			break
		}
	}
	h.add(batch)
	return nil
}

// notice makes a notice of an event.
func (s *Server) notice(ctx context.Context, e record.Event) Notice {
	n := Notice{Seq: e.Seq, Kind: e.Kind(), Run: e.Run, Job: e.Job, Step: e.Step}
	if e.Run != "" && slices.Contains(runKinds, n.Kind) {
		n.repository = s.repositoryOfRun(ctx, e.Run)
	}
	switch b := e.Body.(type) {
	case *record.RolloutMoved:
		n.repository, n.Rollout = b.Repository, b.Rollout
	case *record.ReleaseRejected:
		n.repository = b.Repository
	case *record.DriftFound:
		n.repository = b.Repository
	}
	return n
}

// repositoryOfRun is where the verbs of a run are decided.
func (s *Server) repositoryOfRun(ctx context.Context, run string) string {
	h := &s.hub
	h.mu.Lock()
	name, known := h.repos[run]
	h.mu.Unlock()
	if known {
		return name
	}
	head, err := s.Runs.Head(ctx, run)
	if err != nil {
		return "" // then only who may see all sees it
	}
	name = repositoryOf(&head)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.repos) >= maxNames {
		clear(h.repos)
	}
	h.repos[run] = name
	return name
}

func (h *hub) newest() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seq
}

func (h *hub) add(batch []Notice) {
	if len(batch) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notices = append(h.notices, batch...)
	if over := len(h.notices) - kept; over > kept/2 {
		h.first = h.notices[over-1].Seq
		h.notices = slices.Clone(h.notices[over:])
	}
	h.seq = batch[len(batch)-1].Seq
	close(h.changed)
	h.changed = make(chan struct{})
}

// since are the notices after seq; known is false when they are not at hand
// any more. The channel is closed when there are more.
func (h *hub) since(seq int64) (news []Notice, upTo int64, known bool, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if seq < h.first {
		return nil, h.seq, false, h.changed
	}
	i, _ := slices.BinarySearchFunc(h.notices, seq+1, func(n Notice, seq int64) int { return int(n.Seq - seq) })
	return h.notices[i:len(h.notices):len(h.notices)], h.seq, true, h.changed
}

// topics are what a stream is about.
type topics struct {
	runs, queue, deployments bool
	run, rollout             map[string]bool
	logs                     []string
}

// topicsOf reads the topics of a request and decides about them.
func (s *Server) topicsOf(r *request) (t topics, err error) {
	asked := r.URL.Query()["topic"]
	if len(asked) == 0 || len(asked) > maxTopics {
		return t, problem(http.StatusBadRequest, "parameter", "/events?topic=run/12&topic=queue", "a stream has 1 to %d topics", maxTopics)
	}
	t.run, t.rollout = map[string]bool{}, map[string]bool{}
	for _, topic := range asked {
		kind, rest, _ := strings.Cut(topic, "/")
		switch {
		case topic == "runs":
			t.runs, err = true, s.somewhere(r, access.SeeRuns)
		case topic == "queue":
			t.queue, err = true, s.somewhere(r, access.SeeQueue)
		case topic == "deployments":
			t.deployments, err = true, s.somewhere(r, access.SeeRuns)
		case kind == "rollout" && rest != "":
			t.rollout[rest], err = true, s.seeRollout(r, rest)
		case kind == "run" && rest != "":
			t.run[rest], err = true, s.seeRun(r, rest)
		case kind == "log" && strings.Contains(rest, "/"):
			run, _, _ := strings.Cut(rest, "/")
			t.logs, err = append(t.logs, rest), s.seeRun(r, run)
		default:
			err = problem(http.StatusBadRequest, "parameter", "topics are runs, queue, run/ID, log/ID/JOB, deployments, rollout/ID", "there is no topic %q", topic)
		}
		if err != nil {
			return t, err
		}
	}
	return t, nil
}

func (s *Server) somewhere(r *request, v access.Verb) error {
	if d := access.Anywhere(r.Who, v); !d.Allowed {
		return s.deny(r, &route{Verb: v}, false, d)
	}
	return nil
}

func (s *Server) seeRun(r *request, run string) error {
	head, err := s.Runs.Head(r.Context(), run)
	if err != nil {
		return err
	}
	r.Object = access.Object{Repository: repositoryOf(&head)}
	if d := access.Decide(r.Who, access.SeeRuns, r.Object); !d.Allowed {
		return s.deny(r, &route{Verb: access.SeeRuns}, false, d)
	}
	return nil
}

func (s *Server) seeRollout(r *request, id string) error {
	if s.Mover == nil {
		return lacking("deployments")
	}
	row, err := s.rolloutNamed(r.Context(), id)
	if err != nil {
		return err
	}
	r.Object = access.Object{Repository: row.Repository}
	if d := access.Decide(r.Who, access.SeeRuns, r.Object); !d.Allowed {
		return s.deny(r, &route{Verb: access.SeeRuns}, false, d)
	}
	return nil
}

// of are the topics of a stream that a notice belongs to.
func (t *topics) of(r *request, n *Notice) (found []string) {
	if t.run[n.Run] {
		found = append(found, "run/"+n.Run)
	}
	if t.runs && slices.Contains(runKinds, n.Kind) && r.May(access.SeeRuns, access.Object{Repository: n.repository}) {
		found = append(found, "runs")
	}
	if t.queue && slices.Contains(queueKinds, n.Kind) {
		found = append(found, "queue")
	}
	if n.Rollout != "" && t.rollout[n.Rollout] {
		found = append(found, "rollout/"+n.Rollout)
	}
	if t.deployments && slices.Contains(deployKinds, n.Kind) && r.May(access.SeeRuns, access.Object{Repository: n.repository}) {
		found = append(found, "deployments")
	}
	return found
}

// events is a stream.
func (s *Server) events(w http.ResponseWriter, r *request) error {
	if s.Feed == nil {
		return lacking("record that could be followed")
	}
	t, err := s.topicsOf(r)
	if err != nil {
		return err
	}
	if err := s.beginHub(r.Context()); err != nil {
		return err
	}
	h := &s.hub
	reader := cmp.Or(r.Who.Name, r.Who.From)
	if !h.enter(reader) {
		w.Header().Set("Retry-After", seconds(beat))
		return problem(http.StatusTooManyRequests, "too_many", "close some pages", "too many streams are open: %d of one reader or %d in all", ownStreams, maxStreams)
	}
	defer h.leave(reader)
	seq := h.newest()
	last := r.Header.Get("Last-Event-ID")
	if last == "" {
		last = r.URL.Query().Get("after")
	}
	if last != "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n < 0 {
			return problem(http.StatusBadRequest, "parameter", "", "%q is no number of an event", last)
		}
		seq = min(seq, n)
	}
	head := w.Header()
	head.Set("Content-Type", eventStream)
	head.Set("Cache-Control", "no-store")
	head.Set("X-Accel-Buffering", "no") // proxies shall not collect it
	out := s.patient(w)
	if _, err := fmt.Fprintf(out, "retry: %d\n\n", reconnect.Milliseconds()); err != nil {
		return nil // whoever asked is gone
	}
	st := &streaming{server: s, r: r, out: out, topics: t, seq: seq, grown: map[string]Growth{}}
	for _, name := range t.logs {
		st.tails = append(st.tails, h.follow(s, name))
	}
	defer func() {
		for _, tail := range st.tails {
			h.unfollow(tail)
		}
	}()
	st.run()
	return nil
}

func (h *hub) enter(reader string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open >= maxStreams || h.streams[reader] >= ownStreams {
		return false
	}
	h.open++
	h.streams[reader]++
	return true
}

func (h *hub) leave(reader string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open--
	if h.streams[reader]--; h.streams[reader] == 0 {
		delete(h.streams, reader)
	}
}

// streaming is a stream that is open.
type streaming struct {
	server *Server
	r      *request
	out    *patient
	topics topics
	seq    int64
	tails  []*tail
	grown  map[string]Growth
}

// run writes until the reader or the server goes, or the reader may no longer.
func (st *streaming) run() {
	beats := time.NewTicker(beat)
	defer beats.Stop()
	var looks <-chan time.Time
	if len(st.tails) > 0 {
		tick := time.NewTicker(growth)
		defer tick.Stop()
		looks = tick.C
	}
	for {
		changed, err := st.news()
		if err == nil {
			err = st.growths()
		}
		if err == nil {
			err = st.out.flush()
		}
		if err != nil {
			return
		}
		select {
		case <-changed:
		case <-looks:
		case <-beats.C:
			if _, err := st.out.Write([]byte(": still here\n\n")); err != nil || !st.still() {
				return
			}
		case <-st.r.Context().Done():
			return
		case <-st.server.life.Done():
			return
		}
	}
}

// still reports whether who reads the stream may go on: a session ends, a role
// is taken away.
func (st *streaming) still() bool {
	if _, err := st.server.identify(st.r); err != nil {
		return false
	}
	_, err := st.server.topicsOf(st.r)
	return err == nil
}

// news writes what happened since.
func (st *streaming) news() (changed <-chan struct{}, err error) {
	for {
		news, upTo, known, changed := st.server.hub.since(st.seq)
		if known {
			for i := range news {
				if err := st.tell(&news[i]); err != nil {
					return nil, err
				}
			}
			st.seq = max(st.seq, upTo)
			return changed, nil
		}
		// It was away for long: the record has it all.
		for e, err := range st.server.Feed.After(st.r.Context(), st.seq) {
			if e.Seq == 0 {
				return nil, err
			}
			if e.Seq > upTo {
				break
			}
			st.seq = e.Seq
			if err != nil {
				continue // of a newer Fairlead
			}
			n := st.server.notice(st.r.Context(), e)
			if err := st.tell(&n); err != nil {
				return nil, err
			}
		}
	}
}

func (st *streaming) tell(n *Notice) error {
	told := *n
	if told.Topics = st.topics.of(st.r, n); told.Topics == nil {
		return nil
	}
	return st.write("notice", told.Seq, told)
}

// growths writes how logs have grown.
func (st *streaming) growths() error {
	for _, t := range st.tails {
		g, ok := t.now()
		if !ok || st.grown[t.name] == g {
			continue
		}
		st.grown[t.name] = g
		if err := st.write("growth", 0, g); err != nil {
			return err
		}
	}
	return nil
}

func (st *streaming) write(event string, id int64, v any) error {
	data, err := json.Marshal(v) // in one line
	if err != nil {
		return err
	}
	if id > 0 {
		_, err = fmt.Fprintf(st.out, "id: %d\nevent: %s\ndata: %s\n\n", id, event, data)
	} else {
		_, err = fmt.Fprintf(st.out, "event: %s\ndata: %s\n\n", event, data)
	}
	return err
}

// tail watches one log for all streams that are about it.
type tail struct {
	name    string // "12/test"
	streams int
	stop    context.CancelFunc

	mu    sync.Mutex
	last  Growth
	known bool
}

func (t *tail) now() (Growth, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last, t.known
}

// follow begins to watch a log, or joins those who do.
func (h *hub) follow(s *Server, name string) *tail {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.tails[name]
	if t == nil {
		ctx, cancel := context.WithCancel(context.Background())
		t = &tail{name: name, stop: cancel}
		h.tails[name] = t
		go t.watch(ctx, s)
	}
	t.streams++
	return t
}

func (h *hub) unfollow(t *tail) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.streams--; t.streams == 0 {
		t.stop()
		delete(h.tails, t.name)
	}
}

// watch looks at the log as long as anybody is interested. A job that has not
// begun has no log yet, and a log that has ended goes on when its job does.
func (t *tail) watch(ctx context.Context, s *Server) {
	run, job, _ := strings.Cut(t.name, "/")
	tick := time.NewTicker(reopen)
	defer tick.Stop()
	var missed int
	for {
		err := t.look(ctx, s, run, job)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
			if missed++; missed == 1 {
				s.Log.LogAttrs(ctx, slog.LevelWarn, "a log cannot be followed", slog.String("log", t.name), slog.Any("error", err))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-s.life.Done():
			return
		case <-tick.C:
		}
	}
}

// look opens the log and counts until it is closed or ctx ends.
func (t *tail) look(ctx context.Context, s *Server, run, job string) error {
	r, err := s.openLog(ctx, run, job)
	if err != nil {
		return err
	}
	defer r.Close()
	tick := time.NewTicker(growth)
	defer tick.Stop()
	for {
		closed := r.Closed() // before the count: no line comes after it
		t.mu.Lock()
		t.last, t.known = Growth{Topic: "log/" + t.name, Lines: r.Lines(), Closed: closed}, true
		t.mu.Unlock()
		if closed {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.life.Done():
			return nil
		case <-tick.C:
		}
	}
}
