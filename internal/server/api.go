package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// apiRoutes are the rows that are no page: acts, streams and files. The views
// of pages are answers of the API by themselves.
func (s *Server) apiRoutes() []route {
	rows := []route{
		{Method: "GET", Path: "/openapi.json", Open: "it is the same for every Fairlead of this version", Faces: apiOnly, Do: stream(s.openAPI), Says: "This document.", Media: "application/json"},
		{Method: "GET", Path: "/me", Open: "it says who asks, if anybody", Do: view(s.me), Says: "Who asks, and what they may do anywhere."},
		{Method: "GET", Path: "/events", Verb: access.SeeRuns, Somewhere: true, Untimed: true, Do: stream(s.events), Media: eventStream,
			Says:  "A stream of server-sent events: notices of what was appended to the record, and of how logs have grown.",
			Query: []param{{Name: "topic", Says: "runs, queue, run/ID or log/ID/JOB", Many: true}, {Name: "after", Says: "begin after the event with this number; Last-Event-ID does the same", Kind: "integer"}}},

		{Method: "POST", Path: "/runs", Verb: access.StartRun, Somewhere: true, Form: "/runs", Do: act(s.start), Then: started, Status: http.StatusAccepted,
			Says: "Start what a workflow file allows to be started by hand."},
		{Method: "POST", Path: "/runs/{run}/cancel", Verb: access.CancelRun, Object: s.runObject, Form: "/runs/{run}/cancel", Do: act(s.cancel), Says: "Cancel a run, or one job of it."},
		{Method: "POST", Path: "/runs/{run}/rerun", Verb: access.RepeatRun, Object: s.runObject, Form: "/runs/{run}/rerun", Do: act(s.rerun), Status: http.StatusCreated,
			Then: func(_ *request, a any) (string, string) { return "/runs/" + a.(Repeated).Run, "" }, Says: "Begin a new run of the same commit: of all jobs, of those that failed, or from a step on in its kept workspace."},
		{Method: "POST", Path: "/runs/{run}/approve", Verb: access.ApproveRun, Object: s.runObject, Form: "/runs/{run}/approve", Do: act(s.approve), Says: "Let a run start that waits for approval."},
		{Method: "GET", Path: "/runs/{run}/events", Verb: access.SeeRuns, Object: s.runObject, Do: stream(s.runEvents), Media: "application/x-ndjson",
			Says: "The events of a run, one JSON object a line.", Query: []param{{Name: "after", Says: "only those with a greater number", Kind: "integer"}}},
		{Method: "GET", Path: "/runs/{run}/raw/{job...}", Verb: access.SeeRuns, Object: s.runObject, Do: stream(s.rawLog), Media: "text/plain",
			Says: "What a job printed, as text.", Query: []param{{Name: "step", Says: "the key of the only step"}, {Name: "download", Says: "1: as a file", Kind: "integer"}, {Name: "stamps", Says: "1: with times", Kind: "integer"}}},
		{Method: "GET", Path: "/runs/{run}/lines/{job...}", Verb: access.SeeRuns, Object: s.runObject, Untimed: true, Do: stream(s.logLines), Media: "application/x-ndjson",
			Says: "The lines of a job's log, one JSON object a line.", Query: []param{{Name: "from", Says: "the first line, from 1", Kind: "integer"}, {Name: "n", Says: "at most so many", Kind: "integer"}, {Name: "step", Says: "the key of the only step"}, {Name: "follow", Says: "1: go on until the log has ended", Kind: "integer"}}},
		{Method: "GET", Path: "/runs/{run}/artifacts", Verb: access.SeeRuns, Object: s.runObject, Do: view(s.artifacts), Says: "The files that a run kept."},
		{Method: "GET", Path: "/runs/{run}/artifacts/{name...}", Verb: access.SeeRuns, Object: s.runObject, Untimed: true, Do: stream(s.download), Media: "application/octet-stream",
			Says: "A file that a run kept.", Query: []param{{Name: "job", Says: "the job that kept it, where several kept one of that name"}}},

		{Method: "GET", Path: "/requests", Verb: access.SeeRuns, Somewhere: true, Do: view(s.requests), Says: "What was delivered or asked for, the newest first, and what came of it.",
			Query: []param{{Name: "repository", Says: "only those of this one"}, {Name: "before", Says: "only those with a smaller number", Kind: "integer"}, {Name: "limit", Says: "at most so many", Kind: "integer"}}},
		{Method: "GET", Path: "/requests/{seq}", Verb: access.SeeRuns, Object: s.requestObject, Do: view(s.requested), Says: "One of them."},
		{Method: "POST", Path: "/requests/{seq}/replay", Verb: access.SetRepo, Object: s.requestObject, Form: "/requests/{seq}/replay", Do: act(s.replay), Status: http.StatusAccepted,
			Says: "Take a delivery of a code host once more."},
	}
	return slices.Concat(rows, s.adminRoutes(), s.pushRoutes(), s.environmentRoutes())
}

// Me is who asks.
type Me struct {
	Name  string         `json:"name,omitempty"`
	Kind  string         `json:"kind,omitempty"` // person, token, worker; "" for nobody
	Via   string         `json:"via,omitempty"`
	Verbs []access.Verb  `json:"verbs"` // that may be done to something here
	Roles []access.Grant `json:"grants,omitempty"`
	CSRF  string         `json:"csrf,omitempty"` // for X-CSRF-Token, with a session
}

func (s *Server) me(r *request) (Me, error) {
	if _, err := s.identify(r); err != nil {
		return Me{}, err
	}
	m := Me{Name: r.Who.Name, Kind: r.Who.Kind, Via: r.Who.Via, Roles: r.Who.Grants, CSRF: r.CSRF, Verbs: []access.Verb{}}
	for _, rule := range access.Verbs() {
		if access.Anywhere(r.Who, rule.Verb).Allowed {
			m.Verbs = append(m.Verbs, rule.Verb)
		}
	}
	return m, nil
}

// Starting is what is to be started.
type Starting struct {
	Repository string            `json:"repository"`
	Ref        string            `json:"ref,omitempty"`      // branch, tag or commit; "" for the default branch
	Workflow   string            `json:"workflow,omitempty"` // only this one
	Inputs     map[string]string `json:"inputs,omitempty"`
	// Event is workflow_dispatch unless it says otherwise: repository_dispatch.
	Event    string         `json:"event,omitempty"`
	Payload  map[string]any `json:"payload,omitempty"` // of a repository_dispatch
	Priority int            `json:"priority,omitempty"`
}

// Requested is what came of a delivery, or of what somebody asked for.
type Requested struct {
	Request    int64          `json:"request"` // its number
	Repository string         `json:"repository"`
	Time       time.Time      `json:"time,omitzero"`
	Kind       record.Kind    `json:"kind,omitempty"`
	What       string         `json:"what,omitempty"` // "github delivery 72d3", "manual ci.yml on refs/heads/main"
	By         string         `json:"by,omitempty"`
	Settled    bool           `json:"settled"` // the rest is known
	Runs       []string       `json:"runs,omitempty"`
	Why        string         `json:"why,omitempty"` // there are none
	Fault      bool           `json:"fault,omitempty"`
	Problems   []plan.Problem `json:"problems,omitempty"`
}

// awaitWithin is how long whoever starts a run is kept waiting for its name.
const awaitWithin = 10 * time.Second

func (s *Server) start(r *request, in *Starting) (Requested, error) {
	if err := r.may(access.StartRun, access.Object{Repository: in.Repository}); err != nil {
		return Requested{}, err
	}
	w := launch.Wish{Repository: in.Repository, Cause: "manual", Event: in.Event, Ref: in.Ref, Workflow: in.Workflow, Inputs: in.Inputs, Payload: in.Payload, Priority: in.Priority}
	switch in.Event {
	case "":
		w.Event = "workflow_dispatch"
	case "workflow_dispatch":
	case "repository_dispatch":
		w.Cause = "dispatch"
	default:
		return Requested{}, problem(http.StatusUnprocessableEntity, "unusable", "workflow_dispatch or repository_dispatch", "nobody can start runs by the event %q", in.Event)
	}
	seq, err := s.Desk.Ask(r.Context(), r.by(), w)
	if err != nil {
		return Requested{}, err
	}
	answer := Requested{Request: seq, Repository: in.Repository}
	ctx, cancel := context.WithTimeout(r.Context(), awaitWithin)
	defer cancel()
	settled, err := s.Desk.Await(ctx, seq)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = nil // it goes on without us
		}
		return answer, err
	}
	answer.settle(settled)
	return answer, nil
}

func (q *Requested) settle(b *record.RequestSettled) {
	q.Settled, q.Runs, q.Why, q.Fault, q.Problems = true, b.Runs, b.Why, b.Fault, b.Problems
}

// started sends whoever started something there.
func started(_ *request, answer any) (path, said string) {
	q := answer.(Requested)
	switch {
	case len(q.Runs) == 1:
		return "/runs/" + q.Runs[0], ""
	case len(q.Runs) > 1:
		return "/runs", strconv.Itoa(len(q.Runs)) + " runs were started."
	case q.Settled:
		return "", "Nothing was started: " + q.Why
	}
	return "/queue", "It will start soon."
}

// Cancelling is what is to be cancelled.
type Cancelling struct {
	Job string `json:"job,omitempty"` // "" for the whole run
}

func (s *Server) cancel(r *request, in *Cancelling) (nothing, error) {
	return nothing{}, s.Desk.Cancel(r.Context(), r.by(), r.PathValue("run"), in.Job)
}

// Repeated is a run that repeats another.
type Repeated struct {
	Run string `json:"run"`
}

func (s *Server) rerun(r *request, in *record.Again) (Repeated, error) {
	id := r.PathValue("run")
	head, err := s.Runs.Head(r.Context(), id)
	if err != nil {
		return Repeated{}, err
	}
	if o := head.Origin; o == nil || o.Pushed {
		return Repeated{}, problem(http.StatusUnprocessableEntity, "unusable", "repeat it there with fairlead rerun, or start its workflow here", "run %s ran on a developer's machine", id)
	}
	run, err := s.Desk.Repeat(r.Context(), r.by(), id, *in)
	return Repeated{run}, err
}

func (s *Server) approve(r *request, _ *nothing) (nothing, error) {
	return nothing{}, s.Desk.Approve(r.Context(), r.by(), r.PathValue("run"))
}

// requestObject is what the verbs of a request are done to: its repository.
func (s *Server) requestObject(r *request) (access.Object, error) {
	q, err := s.requestOf(r)
	return access.Object{Repository: q.Repository}, err
}

// requestOf reads the request that the path names.
func (s *Server) requestOf(r *request) (q Requested, err error) {
	seq, err := strconv.ParseInt(r.PathValue("seq"), 10, 64)
	if err != nil || seq <= 0 {
		return q, missing("request")
	}
	for e, err := range s.Feed.After(r.Context(), seq-1) {
		if err != nil {
			return q, err
		}
		if q, ok := requestIn(e); ok && e.Seq == seq {
			return q, nil
		}
		break
	}
	return q, missing("request")
}

// requestIn is the request that an event tells of.
func requestIn(e record.Event) (q Requested, ok bool) {
	q = Requested{Request: e.Seq, Time: e.Time}
	switch b := e.Body.(type) {
	case *record.HookReceived:
		q.Repository, q.What = b.Repository, b.Forge+" delivery "+b.Delivery
	case *record.RunRequested:
		q.Repository, q.By, q.What = b.Repository, b.By, b.Cause
		if b.Workflow != "" {
			q.What += " " + b.Workflow
		}
		if b.Change != nil && b.Change.Ref != "" {
			q.What += " on " + b.Change.Ref
		}
	default:
		return q, false
	}
	q.Kind = e.Kind()
	return q, true
}

func (s *Server) requested(r *request) (Requested, error) {
	q, err := s.requestOf(r)
	if err != nil {
		return q, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	settled, err := s.Desk.Await(ctx, q.Request)
	if errors.Is(err, context.DeadlineExceeded) {
		return q, nil
	}
	if err == nil {
		q.settle(settled)
	}
	return q, err
}

// RequestsView is a list of what was delivered or asked for.
type RequestsView struct {
	Requests []Requested `json:"requests"`
	Next     int64       `json:"next,omitempty"` // the `before` of the page that follows
}

const (
	mostRows = 1000 // of a page
	fewRows  = 100
	// mostRead is how many events a page may look through to find its own.
	mostRead = 20_000
)

func (s *Server) requests(r *request) (v RequestsView, err error) {
	v.Requests = []Requested{}
	limit, err := r.whole("limit", fewRows, mostRows)
	if err != nil {
		return v, err
	}
	before, err := r.whole("before", 0, 1<<62)
	if err != nil {
		return v, err
	}
	only := r.URL.Query().Get("repository")
	settled := map[int64]*record.RequestSettled{}
	f := store.EventFilter{Kinds: []record.Kind{"hook.received", "run.requested", "request.settled"}, Before: before, Limit: mostRows}
	if before > 0 {
		f.Before = 0 // what settled those of this page came later than they
	}
	for read := 0; read < mostRead; {
		batch, err := s.Runs.Events(r.Context(), f)
		if err != nil {
			return v, err
		}
		for _, e := range batch {
			f.Before = e.Seq
			if b, ok := e.Body.(*record.RequestSettled); ok {
				settled[b.Request] = b
				continue
			}
			q, ok := requestIn(e)
			if !ok || before > 0 && e.Seq >= before || only != "" && q.Repository != only || !r.May(access.SeeRuns, access.Object{Repository: q.Repository}) {
				continue
			}
			if int64(len(v.Requests)) == limit {
				v.Next = v.Requests[limit-1].Request
				return v, nil
			}
			if b := settled[e.Seq]; b != nil {
				q.settle(b)
			}
			v.Requests = append(v.Requests, q)
		}
		if read += len(batch); len(batch) < mostRows {
			return v, nil
		}
	}
	v.Next = f.Before
	return v, nil
}

// Replayed is a delivery that was taken again.
type Replayed struct {
	Request int64 `json:"request"`
}

func (s *Server) replay(r *request, _ *nothing) (Replayed, error) {
	q, err := s.requestOf(r)
	if err != nil {
		return Replayed{}, err
	}
	seq, err := s.Desk.Replay(r.Context(), r.by(), q.Request)
	return Replayed{seq}, err
}

// Event is an event of the record, as the API shows it and takes it.
type Event struct {
	Seq  int64           `json:"seq,omitempty"`
	Time time.Time       `json:"time"`
	Run  string          `json:"run,omitempty"`
	Job  string          `json:"job,omitempty"`
	Step string          `json:"step,omitempty"`
	Kind record.Kind     `json:"kind"`
	Body json.RawMessage `json:"body"`
}

// runEvents tells all that happened in a run.
func (s *Server) runEvents(w http.ResponseWriter, r *request) error {
	after, err := r.whole("after", 0, 1<<62)
	if err != nil {
		return err
	}
	// The newest come first, a page at a time.
	f := store.EventFilter{Run: r.PathValue("run"), Limit: mostRows}
	var all []record.Event
	for done := false; !done; {
		batch, err := s.Runs.Events(r.Context(), f)
		if err != nil {
			return err
		}
		done = len(batch) < mostRows
		for _, e := range batch {
			if f.Before = e.Seq; e.Seq <= after {
				done = true
				break
			}
			all = append(all, e)
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	out := bufio.NewWriterSize(s.patient(w), 64<<10)
	enc := json.NewEncoder(out)
	for i := len(all) - 1; i >= 0; i-- {
		e := &all[i]
		body, err := json.Marshal(e.Body)
		if err != nil {
			return abandon(s, r, err)
		}
		if enc.Encode(Event{Seq: e.Seq, Time: e.Time, Run: e.Run, Job: e.Job, Step: e.Step, Kind: e.Kind(), Body: body}) != nil {
			return nil // whoever asked is gone
		}
	}
	_ = out.Flush() // likewise
	return nil
}

// abandon ends an answer that was begun so that its reader sees that it is not
// whole.
func abandon(s *Server, r *request, err error) error {
	if r.Context().Err() == nil {
		s.Log.Error("answer abandoned", "request", r.ID, "error", err)
	}
	panic(http.ErrAbortHandler)
}

// openLog opens the log of a job of a run.
func (s *Server) openLog(ctx context.Context, run, job string) (*logs.Reader, error) {
	r, err := s.Runs.Run(ctx, run)
	if err != nil {
		return nil, err
	}
	j := r.Jobs[job]
	if j == nil {
		return nil, missing("job")
	}
	return s.Logs.OpenLog(ctx, run, j)
}

// rawLog is what a job printed, as it printed it.
func (s *Server) rawLog(w http.ResponseWriter, r *request) error {
	q := r.URL.Query()
	log, err := s.openLog(r.Context(), r.PathValue("run"), r.PathValue("job"))
	if err != nil {
		return err
	}
	defer log.Close()
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Security-Policy", sandbox)
	h.Set("Cache-Control", "no-store")
	if q.Get("download") == "1" {
		h.Set("Content-Disposition", attachment(strings.ReplaceAll(r.PathValue("job"), "/", "-")+".log"))
	}
	step, stamps := q.Get("step"), q.Get("stamps") == "1"
	out := bufio.NewWriterSize(s.patient(w), 64<<10)
	var gone error
	err = log.Read(0, func(l logs.Line) bool {
		if step != "" && l.Step != step {
			return true
		}
		if stamps {
			_, _ = out.WriteString(l.Time.Format(stampForm)) // a bufio.Writer keeps its error
		}
		_, _ = out.Write(l.Text)
		gone = out.WriteByte('\n')
		return gone == nil && r.Context().Err() == nil
	})
	var damage *logs.Damage
	if err != nil && !errors.As(err, &damage) {
		return abandon(s, r, err)
	}
	_ = out.Flush()
	if damage != nil {
		return abandon(s, r, damage)
	}
	return nil
}

// stampForm is the time of a line, as runners of other systems write it, too.
const stampForm = "2006-01-02T15:04:05.000000Z "

// logLines are the lines of a log; with follow=1 also those still to come.
func (s *Server) logLines(w http.ResponseWriter, r *request) error {
	from, err := r.whole("from", 1, 1<<62)
	if err != nil {
		return err
	}
	n, err := r.whole("n", 1<<62, 1<<62)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	step, follow := q.Get("step"), q.Get("follow") == "1"
	log, err := s.openLog(r.Context(), r.PathValue("run"), r.PathValue("job"))
	if err != nil {
		return err
	}
	defer log.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	patient := s.patient(w)
	out := bufio.NewWriterSize(patient, 64<<10)
	enc := json.NewEncoder(out)
	told := time.Now()
	each := func(l logs.Line) bool {
		if step != "" && l.Step != step {
			return true
		}
		if n--; n < 0 {
			return false
		}
		if enc.Encode(LogLine{N: l.N + 1, Step: l.Step, Time: l.Time, Text: strings.ToValidUTF8(string(l.Text), "�")}) != nil {
			return false
		}
		if follow && time.Since(told) > growth {
			told = time.Now()
			return out.Flush() == nil && patient.flush() == nil
		}
		return true
	}
	first := max(from-1, 0)
	if follow {
		err = s.follow(r, log, first, each, func() error { return errors.Join(out.Flush(), patient.flush()) })
	} else {
		err = log.Read(first, each)
	}
	var damage *logs.Damage
	if err != nil && !errors.As(err, &damage) && r.Context().Err() == nil {
		return abandon(s, r, err)
	}
	_ = out.Flush() // whoever asked may be gone
	return nil
}

// follow reads a log until it is closed, the reader goes or the server stops,
// and sends what there is whenever nothing comes for a moment.
func (s *Server) follow(r *request, log *logs.Reader, from int64, each func(logs.Line) bool, send func() error) error {
	tick := time.NewTicker(growth)
	defer tick.Stop()
	for going := true; going; {
		closed := log.Closed()
		err := log.Read(from, func(l logs.Line) bool {
			from = l.N + 1
			going = each(l)
			return going
		})
		if err != nil {
			return err
		}
		if err := send(); err != nil || closed {
			return nil // whoever asked is gone, or it is all there
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-s.life.Done():
			return nil
		case <-tick.C:
		}
	}
	return nil
}

// ArtifactsView are the files that a run kept.
type ArtifactsView struct {
	Artifacts []Kept `json:"artifacts"`
}

// Kept is a file that a job of a run kept.
type Kept struct {
	Job    string `json:"job"`
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	// Remark says that values of secrets were masked in it, or could not be.
	Remark string `json:"remark,omitempty"`
}

func (s *Server) artifacts(r *request) (v ArtifactsView, err error) {
	run, err := s.Runs.Run(r.Context(), r.PathValue("run"))
	if err != nil {
		return v, err
	}
	v.Artifacts = []Kept{}
	for _, id := range run.Order {
		for _, a := range run.Jobs[id].Artifacts {
			digest, size := a.Given()
			v.Artifacts = append(v.Artifacts, Kept{Job: id, Name: a.Name, Digest: digest, Size: size, Remark: a.Remark()})
		}
	}
	return v, nil
}

// download sends a file that a run kept. Nothing in it can act on our pages: it
// is a file to be saved, of no type, in a sandbox.
func (s *Server) download(w http.ResponseWriter, r *request) error {
	v, err := s.artifacts(r)
	if err != nil {
		return err
	}
	if s.Blobs == nil {
		return lacking("artifacts")
	}
	name, job := r.PathValue("name"), r.URL.Query().Get("job")
	for i := len(v.Artifacts) - 1; i >= 0; i-- { // the newest of that name
		a := v.Artifacts[i]
		if a.Name != name || job != "" && a.Job != job {
			continue
		}
		d, err := blob.Parse(a.Digest)
		if err != nil {
			return missing("artifact")
		}
		head, err := s.Runs.Head(r.Context(), r.PathValue("run"))
		if err != nil {
			return err
		}
		if ok, err := s.given(r.Context(), &head, a.Digest); err != nil {
			return err
		} else if !ok {
			return problem(http.StatusConflict, "not_pushed", "push the run again: what is missing follows", "the artifact was not pushed yet")
		}
		h := w.Header()
		tag := `"` + string(d) + `"`
		h.Set("ETag", tag)
		h.Set("Cache-Control", "private, no-cache")
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
		return s.sendBlob(w, r, d, a.Size, name)
	}
	return missing("artifact")
}

// sendBlob sends a blob as a file. Its last piece goes out only when its bytes were
// found to be those that were put in: who gets all of it got the right one.
func (s *Server) sendBlob(w http.ResponseWriter, r *request, d blob.Digest, size int64, name string) error {
	b, err := s.Blobs.Open(r.Context(), d)
	if errors.Is(err, blob.ErrNotFound) {
		return problem(http.StatusGone, "gone", "repeat the run to make it again", "it is not kept any more")
	}
	if err != nil {
		return err
	}
	defer b.Close()
	piece, next := make([]byte, 64<<10), make([]byte, 64<<10)
	n, err := io.ReadFull(b, piece)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Security-Policy", sandbox)
	h.Set("Content-Disposition", attachment(path.Base(name)))
	if size > 0 {
		h.Set("Content-Length", strconv.FormatInt(size, 10))
	}
	out := s.patient(w)
	for err == nil {
		var m int
		m, err = io.ReadFull(b, next)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return abandon(s, r, err)
		}
		if _, werr := out.Write(piece[:n]); werr != nil {
			return nil // whoever asked is gone
		}
		piece, next, n = next, piece, m
	}
	_, _ = out.Write(piece[:n])
	return nil
}

// attachment is the Content-Disposition of a file, whatever somebody called it.
func attachment(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '/' || r == '\\' {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(name, "_"))
	if v := mime.FormatMediaType("attachment", map[string]string{"filename": name}); v != "" {
		return v
	}
	return "attachment"
}
