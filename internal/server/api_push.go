package server

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// A run of a developer's machine is pushed in three steps, each of which may be
// repeated: first its events, which become a run of this server in one
// transaction; then the logs and artifacts that the answer says are missing. A
// push that breaks off is pushed again, and goes on where it was.

// Pushes is what keeping pushed runs takes of the store.
type Pushes interface {
	NewRun(ctx context.Context, repository, pipeline string) (id string, number int, err error)
	Register(ctx context.Context, kind, id string) (record.Register, error)
	Change(ctx context.Context, changes []record.Register, events ...record.Event) ([]record.Event, error)
}

const (
	maxPush       = 64 << 20 // bytes of a push
	maxPushed     = 100_000  // events of it
	maxPushedLog  = 1 << 30
	maxPushedBlob = 4 << 30
	maxPushedLine = 8 << 20 // of a log line as JSON: a line of logs.MaxLine, escaped
	maxPushedName = 200     // of a job: it becomes the name of a file
)

// The kinds of registers.
const (
	pushDigests = "push"   // by digest of who, where and what: the run it became
	pushedRuns  = "pushed" // by run: pushed
)

// pushedKinds are the events that a machine may tell of its own run. What people
// do on the server nobody can push.
var pushedKinds = []record.Kind{"run.planned", "run.started", "run.finished", "cancel.requested", "job.expanded", "job.queued", "job.started", "job.finished", "material", "step.started", "step.finished", "tests.reported", "coverage.reported", "load.reported", "findings.reported", "artifact.saved", "change.compared"}

// Pushing is a run to be pushed, after it has ended.
type Pushing struct {
	Repository string  `json:"repository"` // as the server calls it
	Events     []Event `json:"events"`     // all of the run's, in order
}

// Pushed is what a push came to.
type Pushed struct {
	Run   string   `json:"run"`             // its ID on the server
	Known bool     `json:"known,omitempty"` // it had been pushed before
	Logs  []string `json:"logs"`            // jobs whose log is still to be sent
	Blobs []string `json:"blobs"`           // digests of artifacts still to be sent
}

// pushed is what is kept of a pushed run beside its events.
type pushed struct {
	By string `json:"by"`
	// Had are the digests of the artifacts whose bytes came with it. Only these are
	// given out: to know the digest of somebody else's file is not to have it.
	Had []string `json:"had,omitempty"`
}

func (s *Server) pushRoutes() []route {
	return []route{
		{Method: "POST", Path: "/runs/push", Verb: access.PushRun, Somewhere: true, MaxBody: maxPush, Untimed: true, Do: act(s.push), Says: "Push a run of one's own machine. It may be repeated."},
		{Method: "PUT", Path: "/runs/{run}/log/{job...}", Verb: access.PushRun, Object: s.runObject, MaxBody: maxPushedLog, Untimed: true, Do: stream(s.pushLog), Says: "The log of a job of a pushed run: lines as GET …/lines/… gives them.", Status: http.StatusNoContent},
		{Method: "PUT", Path: "/runs/{run}/blobs/{digest}", Verb: access.PushRun, Object: s.runObject, MaxBody: maxPushedBlob, Untimed: true, Do: stream(s.pushBlob), Says: "The bytes of an artifact of a pushed run.", Status: http.StatusNoContent},
	}
}

func (s *Server) push(r *request, in *Pushing) (p Pushed, err error) {
	if err := r.may(access.PushRun, access.Object{Repository: in.Repository}); err != nil {
		return p, err
	}
	if s.Pushes == nil || s.LogPath == nil {
		return p, lacking("place for pushed runs")
	}
	if _, err := s.Desk.Repository(r.Context(), in.Repository); err != nil {
		return p, err
	}
	events, err := pushedEvents(in.Events)
	if err != nil {
		return p, problem(http.StatusUnprocessableEntity, "unusable", "push a run that has ended, all of it", "this is no run: %s", err)
	}
	key, err := pushKey(r.Who.Name, in)
	if err != nil {
		return p, err
	}
	if p.Run, err = s.keepPushed(r, key, in.Repository, events, &p.Known); err != nil {
		return p, err
	}
	return p, s.lackingOf(r.Context(), &p)
}

// pushedEvents reads the events and makes sure that they are those of one run
// that has ended.
func pushedEvents(in []Event) (events []record.Event, err error) {
	if len(in) < 2 || len(in) > maxPushed {
		return nil, fmt.Errorf("it has %d events, and may have 2 to %d", len(in), maxPushed)
	}
	for i, e := range in {
		at := func(format string, args ...any) error {
			return fmt.Errorf("event %d (%s): "+format, append([]any{i + 1, e.Kind}, args...)...)
		}
		if !slices.Contains(pushedKinds, e.Kind) {
			return nil, at("nobody can push that")
		}
		if e.Run != in[0].Run {
			return nil, at("it is of run %q, the first one of %q", e.Run, in[0].Run)
		}
		if len(e.Job) > maxPushedName || len(e.Step) > logs.MaxStep {
			return nil, at("the name of its job or step is too long")
		}
		if e.Time.IsZero() || i > 0 && e.Time.Before(in[0].Time) {
			return nil, at("its time is before the run's")
		}
		body, err := record.Decode(e.Kind, e.Body)
		if err != nil {
			return nil, at("%w", err)
		}
		switch b := body.(type) {
		case *record.RunPlanned:
			if i != 0 || b.Pipeline == nil || b.Change == nil {
				return nil, at("a run is planned once, at first, with a pipeline and a change")
			}
			// What only the other machine knows: its directories, its other runs.
			b.Root, b.Of, b.Again = "", "", nil
		case *record.StepFinished:
			if b.Reuse != nil && b.Reuse.From != nil {
				b.Reuse.From.Run = ""
			}
		case *record.ArtifactSaved:
			d, err := blob.Parse(b.Digest)
			if err != nil {
				return nil, at("%w", err)
			}
			b.Digest, b.Path = string(d), ""
			if b.Shown != nil && b.Shown.Digest != "" {
				if d, err = blob.Parse(b.Shown.Digest); err != nil {
					return nil, at("%w", err)
				}
				b.Shown.Digest = string(d)
			}
		}
		events = append(events, record.Event{Time: e.Time, Job: e.Job, Step: e.Step, Body: body})
	}
	if in[0].Kind != "run.planned" {
		return nil, errors.New("it does not begin with run.planned")
	}
	if in[len(in)-1].Kind != "run.finished" {
		return nil, errors.New("it has not ended")
	}
	return events, nil
}

// pushKey is the same for the same run pushed again by the same person.
func pushKey(by string, in *Pushing) (string, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(struct {
		By string
		*Pushing
	}{by, in}); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// keepPushed makes a run of the events, unless that was done before.
func (s *Server) keepPushed(r *request, key, repository string, events []record.Event, known *bool) (run string, err error) {
	ctx := r.Context()
	for {
		reg, err := s.Pushes.Register(ctx, pushDigests, key)
		if err != nil {
			return "", err
		}
		if reg.Version > 0 {
			*known = true
			return run, json.Unmarshal(reg.Body, &run)
		}
		planned := events[0].Body.(*record.RunPlanned)
		id, number, err := s.Pushes.NewRun(ctx, repository, planned.Pipeline.File)
		if err != nil {
			return "", err
		}
		planned.Number = number
		planned.Origin = &record.Origin{Repository: repository, Trust: record.Contributor, Pushed: true}
		for i := range events {
			events[i].Run = id
		}
		as, err := json.Marshal(id)
		if err != nil {
			return "", err
		}
		mine, err := json.Marshal(pushed{By: r.Who.Name})
		if err != nil {
			return "", err
		}
		by := r.by()
		acted := record.Event{Run: id, Body: &record.Acted{By: by.Name, Via: by.Via, From: by.From, Verb: string(access.PushRun), Object: repository, Detail: map[string]string{"run": id}}}
		_, err = s.Pushes.Change(ctx, []record.Register{{Kind: pushDigests, ID: key, Body: as}, {Kind: pushedRuns, ID: id, Body: mine}}, append(slices.Clip(events), acted)...)
		if !errors.Is(err, record.ErrConflict) {
			return id, err
		}
		// Somebody pushed the same at the same time, and was faster.
	}
}

// lackingOf finds which logs and artifacts of a pushed run are still to come.
func (s *Server) lackingOf(ctx context.Context, p *Pushed) error {
	run, mine, _, err := s.pushedRun(ctx, p.Run)
	if err != nil {
		return err
	}
	p.Logs, p.Blobs = []string{}, []string{}
	for _, id := range run.Order {
		j := run.Jobs[id]
		if len(j.Steps) > 0 {
			if _, err := os.Stat(s.LogPath(p.Run, id)); errors.Is(err, fs.ErrNotExist) {
				p.Logs = append(p.Logs, id)
			} else if err != nil {
				return err
			}
		}
		for _, a := range j.Artifacts {
			// What people are given: true bytes that hold a secret stay where they are.
			if given, _ := a.Given(); !slices.Contains(mine.Had, given) && !slices.Contains(p.Blobs, given) {
				p.Blobs = append(p.Blobs, given)
			}
		}
	}
	return nil
}

// pushedRun reads a run that was pushed, and what is kept beside it.
func (s *Server) pushedRun(ctx context.Context, id string) (run *record.Run, p pushed, reg record.Register, err error) {
	if s.Pushes == nil {
		return nil, p, reg, missing("pushed run")
	}
	if reg, err = s.Pushes.Register(ctx, pushedRuns, id); err != nil {
		return nil, p, reg, err
	}
	if reg.Version == 0 {
		return nil, p, reg, missing("pushed run")
	}
	if err = json.Unmarshal(reg.Body, &p); err != nil {
		return nil, p, reg, fmt.Errorf("read pushed run %s: %w", id, err)
	}
	run, err = s.Runs.Run(ctx, id)
	return run, p, reg, err
}

// mine is the run that the path names, if it was pushed by who asks.
func (s *Server) mine(r *request) (*record.Run, error) {
	run, p, _, err := s.pushedRun(r.Context(), r.PathValue("run"))
	if err == nil && p.By != r.Who.Name {
		err = problem(http.StatusForbidden, "denied", "", "run %s was pushed by somebody else", r.PathValue("run"))
	}
	return run, err
}

// pushLog takes the log of a job. It is there as a whole or not at all, and the
// first one stays.
func (s *Server) pushLog(w http.ResponseWriter, r *request) error {
	run, err := s.mine(r)
	if err != nil {
		return err
	}
	job := r.PathValue("job")
	if j := run.Jobs[job]; j == nil || len(j.Steps) == 0 {
		return missing("job that printed anything")
	}
	to := s.LogPath(run.ID, job)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	as := filepath.Join(filepath.Dir(to), ".push-"+rand.Text())
	defer os.Remove(as)
	if err := writeLog(as, r.Body); err != nil {
		return err
	}
	// Unlike a rename a link does not replace what is there.
	if err := os.Link(as, to); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// writeLog makes a log of lines of JSON.
func writeLog(name string, from io.Reader) (err error) {
	log, err := logs.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, log.Close())
	}()
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 0, 64<<10), maxPushedLine)
	for lines.Scan() {
		var l LogLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return unreadable(err)
		}
		if strings.ContainsAny(l.Text, "\n") || len(l.Text) > logs.MaxLine || len(l.Step) > logs.MaxStep {
			return unreadable(fmt.Errorf("line %d is none: it is too long, or several", l.N))
		}
		if _, err := log.Line(l.Step, l.Time, []byte(l.Text)); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return unreadable(err)
		}
		return err
	}
	return log.Sync()
}

// pushBlob takes the bytes of an artifact.
func (s *Server) pushBlob(w http.ResponseWriter, r *request) error {
	run, err := s.mine(r)
	if err != nil {
		return err
	}
	d, err := blob.Parse(r.PathValue("digest"))
	if err != nil {
		return unreadable(err)
	}
	wanted := false
	for _, j := range run.Jobs {
		for _, a := range j.Artifacts {
			given, _ := a.Given()
			wanted = wanted || given == string(d)
		}
	}
	if !wanted {
		return missing("artifact of that digest")
	}
	if s.Blobs == nil {
		return lacking("artifacts")
	}
	if _, _, err := s.Blobs.Put(r.Context(), &digesting{r: r.Body, sum: sha256.New(), want: d}); err != nil {
		return err
	}
	for {
		_, p, reg, err := s.pushedRun(r.Context(), run.ID)
		if err != nil {
			return err
		}
		if !slices.Contains(p.Had, string(d)) {
			p.Had = append(p.Had, string(d))
			if reg.Body, err = json.Marshal(p); err != nil {
				return err
			}
			_, err = s.Pushes.Change(r.Context(), []record.Register{reg})
		}
		if !errors.Is(err, record.ErrConflict) {
			if err == nil {
				w.WriteHeader(http.StatusNoContent)
			}
			return err
		}
	}
}

// digesting fails at the end of what does not have the digest, so that it is
// not stored.
type digesting struct {
	r    io.Reader
	sum  hash.Hash
	want blob.Digest
}

func (d *digesting) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && blob.FromSum(d.sum.Sum(nil)) != d.want {
		return n, problem(http.StatusUnprocessableEntity, "digest", "send it again", "these are not the bytes of %s", d.want)
	}
	return n, err
}

// given reports whether an artifact of a run may be given out.
func (s *Server) given(ctx context.Context, h *store.RunHead, digest string) (bool, error) {
	if h.Origin == nil || !h.Origin.Pushed {
		return true, nil
	}
	_, p, _, err := s.pushedRun(ctx, h.ID)
	return slices.Contains(p.Had, digest), err
}
