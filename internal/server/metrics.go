package server

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// The server's numbers, as Prometheus reads them. They name no repository and
// no person: labels are few, and what one may see is the same for all who may
// see the queue.

// metricsMedia is the text format of Prometheus.
const metricsMedia = "text/plain; version=0.0.4; charset=utf-8"

// maxDemands is how many sets of labels have a number of their own; pipelines
// choose them.
const maxDemands = 200

// metricsRoutes are what a monitoring system asks.
func (s *Server) metricsRoutes() []route {
	return []route{{Method: "GET", Path: "/metrics", Verb: access.SeeQueue, Faces: rootOnly, Somewhere: true, Do: stream(s.metrics), Media: metricsMedia}}
}

// tally counts what happened since it was first asked.
type tally struct {
	mu    sync.Mutex
	begun bool
	seq   int64 // up to which it is counted
	hooks int64
	lost  int64                  // workers
	runs  map[plan.Verdict]int64 // that ended
	jobs  map[plan.Verdict]int64
}

// verdicts are those that runs and jobs end in.
var verdicts = [...]plan.Verdict{plan.Success, plan.Failure, plan.Fault, plan.Timeout, plan.Cancelled, plan.Skipped}

// catchUp counts what is new in the record.
func (t *tally) catchUp(ctx context.Context, feed Feed) error {
	if !t.begun {
		seq, err := feed.Watch(ctx, -1)
		if err != nil {
			return err
		}
		t.begun, t.seq, t.runs, t.jobs = true, seq, map[plan.Verdict]int64{}, map[plan.Verdict]int64{}
	}
	for e, err := range feed.After(ctx, t.seq) {
		if err != nil && e.Seq == 0 {
			return err
		}
		t.seq = e.Seq
		switch b := e.Body.(type) {
		case *record.HookReceived:
			t.hooks++
		case *record.RunFinished:
			t.runs[b.Verdict]++
		case *record.JobFinished:
			t.jobs[b.Verdict]++
		case *record.WorkerSeen:
			if b.State == "lost" {
				t.lost++
			}
		}
	}
	return nil
}

func (s *Server) metrics(w http.ResponseWriter, r *request) error {
	if s.Desk == nil || s.Feed == nil {
		return lacking("repositories")
	}
	var m exposition
	m.one("fairlead_build_info", "gauge", "The version that serves.", 1, "version", s.Version)
	q := s.Desk.Metrics()
	m.one("fairlead_runs_waiting", "gauge", "Runs that wait for their turn.", float64(q.Waiting))
	m.one("fairlead_runs_running", "gauge", "Runs under way.", float64(q.Running))
	m.one("fairlead_runs_oldest_wait_seconds", "gauge", "How long the first run that waits for a place has.", q.Oldest.Seconds())
	if err := s.workerMetrics(r.Context(), &m); err != nil {
		return err
	}
	t := &s.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.catchUp(r.Context(), s.Feed); err != nil {
		return err
	}
	m.one("fairlead_hooks_total", "counter", "Deliveries of code hosts that were taken.", float64(t.hooks))
	m.one("fairlead_workers_lost_total", "counter", "Workers that were not heard of any more.", float64(t.lost))
	m.family("fairlead_runs_total", "counter", "Runs that have ended.")
	for _, v := range verdicts {
		m.sample(float64(t.runs[v]), "verdict", string(v))
	}
	m.family("fairlead_jobs_total", "counter", "Jobs that have ended.")
	for _, v := range verdicts {
		m.sample(float64(t.jobs[v]), "verdict", string(v))
	}
	if err := s.deliveryMetrics(r.Context(), &m); err != nil {
		return err
	}
	w.Header().Set("Content-Type", metricsMedia)
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(m.text.Bytes()) // whoever asked may be gone
	return nil
}

// workerMetrics are the numbers of workers and of what waits for them.
func (s *Server) workerMetrics(ctx context.Context, m *exposition) error {
	if s.Workers == nil {
		return nil
	}
	list, err := s.Workers.Workers(ctx)
	if err != nil {
		return err
	}
	states := map[string]int{"joined": 0, "paused": 0, "draining": 0, "lost": 0}
	places, busy := 0, 0
	for _, w := range list {
		states[w.State]++
		if w.State != "lost" {
			places += w.Places
		}
		busy += len(w.Jobs)
	}
	m.family("fairlead_workers", "gauge", "Workers, by their state.")
	for _, state := range slices.Sorted(maps.Keys(states)) {
		m.sample(float64(states[state]), "state", state)
	}
	m.one("fairlead_worker_places", "gauge", "Jobs that the workers could do at a time.", float64(places))
	m.one("fairlead_worker_jobs", "gauge", "Jobs that workers have.", float64(busy))
	waiting := s.Workers.Demand()
	waiting = waiting[:min(len(waiting), maxDemands)]
	m.family("fairlead_jobs_waiting", "gauge", "Jobs that wait for a worker, by the labels that they ask for.")
	for _, d := range waiting {
		m.sample(float64(d.Jobs), "labels", strings.Join(d.Labels, ","))
	}
	m.family("fairlead_jobs_oldest_wait_seconds", "gauge", "How long the first of them has.")
	for _, d := range waiting {
		m.sample(d.Oldest.Seconds(), "labels", strings.Join(d.Labels, ","))
	}
	m.family("fairlead_jobs_places_free", "gauge", "Places that workers have left which take such jobs.")
	for _, d := range waiting {
		m.sample(float64(d.Free), "labels", strings.Join(d.Labels, ","))
	}
	return nil
}

// exposition is a text for Prometheus while it is written.
type exposition struct {
	text bytes.Buffer
	name string // of the family
}

// family begins a family of samples.
func (m *exposition) family(name, kind, help string) {
	m.name = name
	fmt.Fprintf(&m.text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample adds one to the family; labels are names and values in turn.
func (m *exposition) sample(value float64, labels ...string) {
	m.text.WriteString(m.name)
	for i := 0; i+1 < len(labels); i += 2 {
		m.text.WriteByte("{,"[min(i, 1)])
		// The format knows these three escapes, and none else.
		escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(labels[i+1], "?"))
		fmt.Fprintf(&m.text, `%s="%s"`, labels[i], escaped)
	}
	if len(labels) > 0 {
		m.text.WriteByte('}')
	}
	m.text.WriteByte(' ')
	m.text.WriteString(strconv.FormatFloat(value, 'g', -1, 64))
	m.text.WriteByte('\n')
}

// one is a family of a single sample.
func (m *exposition) one(name, kind, help string, value float64, labels ...string) {
	m.family(name, kind, help)
	m.sample(value, labels...)
}
