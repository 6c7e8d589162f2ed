package record

import (
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Run is the fold of one run's events: what is known of it so far. It is
// made by [Run.Apply], event by event, and is the one answer to "how does
// this run stand", for the engine, the terminal and the pages alike.
type Run struct {
	ID      string
	Planned *RunPlanned
	Verdict plan.Verdict // "" while it has not ended
	Why     string
	Begun   time.Time // planned
	Started time.Time
	Ended   time.Time

	Jobs  map[string]*JobRun // by ID
	Order []string           // IDs, as they became known

	CancelledBy string
	ApprovedBy  string // who let it start, if it had to wait for somebody
	Compared    *ChangeCompared

	// Environments are those protected ones that it wants to deploy to, by name.
	Environments map[string]*EnvironmentRun
}

// EnvironmentRun is how a run stands with an environment that is protected.
type EnvironmentRun struct {
	Asked      EnvironmentAsked
	ApprovedBy []string
}

// JobRun is what is known of one job.
type JobRun struct {
	ID, Name string
	Stage    string // for people: jobs of one stage are shown together
	Needs    []string
	Parent   string // the deferred job it was expanded from
	Children []string

	State   State
	Why     string
	At      plan.Source
	Attempt int
	Started JobStarted
	Queued  time.Time
	Until   time.Time // when it may begin, if it waits for a time
	Begun   time.Time
	Ended   time.Time
	Verdict plan.Verdict
	Result  plan.Verdict
	Outputs map[string]string
	Waits   bool // a person may ask for it: see JobFinished

	Materials []Material
	Steps     []*StepRun // in order of starting
	Tests     []TestsReported
	Artifacts []ArtifactSaved
}

// State is where a job is on its way.
type State string

// The states.
const (
	Pending  State = "pending" // its needs are not done
	Queued   State = "queued"
	Running  State = "running"
	Finished State = "finished"
)

// StepRun is what is known of one step.
type StepRun struct {
	Key      string
	Start    StepStarted
	Begun    time.Time
	Ended    time.Time // zero while it runs
	Finished *StepFinished
	Summary  []byte
	Tests    []*TestsReported // that the step left
}

// Duration is how long the step took; 0 while it runs.
func (s *StepRun) Duration() time.Duration {
	if s.Ended.IsZero() {
		return 0
	}
	return s.Ended.Sub(s.Begun)
}

// Step returns the step with the key, or nil.
func (j *JobRun) Step(key string) *StepRun {
	for _, s := range j.Steps {
		if s.Key == key {
			return s
		}
	}
	return nil
}

// NewRun is a run of which nothing is known yet.
func NewRun(id string) *Run { return &Run{ID: id, Jobs: map[string]*JobRun{}} }

// Job returns the job with the ID; it becomes known if it was not.
func (r *Run) Job(id string) *JobRun {
	j := r.Jobs[id]
	if j == nil {
		j = &JobRun{ID: id, Name: id, State: Pending}
		r.Jobs[id] = j
		r.Order = append(r.Order, id)
	}
	return j
}

func (r *Run) environment(name string) *EnvironmentRun {
	if r.Environments == nil {
		r.Environments = map[string]*EnvironmentRun{}
	}
	if r.Environments[name] == nil {
		r.Environments[name] = &EnvironmentRun{}
	}
	return r.Environments[name]
}

// Apply adds one event. Events of other runs are ignored.
func (r *Run) Apply(e Event) {
	if e.Run != r.ID {
		return
	}
	switch b := e.Body.(type) {
	case *RunPlanned:
		r.Planned, r.Begun = b, e.Time
		for i := range b.Pipeline.Jobs {
			j := &b.Pipeline.Jobs[i]
			jr := r.Job(j.ID)
			jr.Name, jr.Stage, jr.Needs, jr.At = j.Name, j.Stage, j.Needs, j.Source
		}
	case *RunStarted:
		if r.Started.IsZero() {
			r.Started = e.Time
		}
		r.Verdict, r.Ended = "", time.Time{}
	case *RunFinished:
		r.Verdict, r.Why, r.Ended = b.Verdict, b.Why, e.Time
	case *RunApproved:
		r.ApprovedBy = b.By
	case *EnvironmentAsked:
		r.environment(b.Environment).Asked = *b
	case *EnvironmentApproved:
		x := r.environment(b.Environment)
		x.ApprovedBy = append(x.ApprovedBy, b.By)
	case *ChangeCompared:
		r.Compared = b
	case *CancelRequested:
		if e.Job == "" && b.Newer == "" {
			r.CancelledBy = b.By
		}
	default:
		if e.Job == "" { // the run itself waits for its concurrency group
			break
		}
		r.Job(e.Job).apply(r, e)
	}
}

func (j *JobRun) apply(r *Run, e Event) {
	switch b := e.Body.(type) {
	case *JobExpanded:
		j.State, j.Children = Running, nil
		if j.Begun.IsZero() {
			j.Begun = e.Time
		}
		for _, h := range b.Jobs {
			c := r.Job(h.ID)
			c.Name, c.Stage, c.Needs, c.Parent = h.Name, h.Stage, h.Needs, j.ID
			j.Children = append(j.Children, h.ID)
		}
	case *JobQueued:
		j.State, j.Queued, j.Until, j.Why = Queued, e.Time, b.Until, b.Why
	case *JobStarted:
		j.State, j.Begun, j.Why, j.Started, j.Attempt = Running, e.Time, "", *b, b.Attempt
		if !b.GoesOn {
			j.Steps, j.Tests, j.Artifacts, j.Materials = nil, nil, nil, nil
		}
	case *JobFinished:
		j.State, j.Verdict, j.Result, j.Why, j.Ended, j.Outputs, j.Waits = Finished, b.Verdict, b.Result, b.Why, e.Time, b.Outputs, b.Waits
		if !b.At.IsZero() {
			j.At = b.At
		}
		if j.Begun.IsZero() {
			j.Begun = e.Time
		}
	case *Material:
		j.Materials = append(j.Materials, *b)
	case *StepStarted:
		s := j.Step(e.Step)
		if s == nil {
			s = &StepRun{Key: e.Step}
			j.Steps = append(j.Steps, s)
		}
		*s = StepRun{Key: e.Step, Start: *b, Begun: e.Time}
	case *StepFinished:
		s := j.Step(e.Step)
		if s == nil { // skipped: it never started
			s = &StepRun{Key: e.Step, Begun: e.Time, Start: StepStarted{Name: b.Name, Line: b.Line}}
			j.Steps = append(j.Steps, s)
		}
		s.Finished, s.Ended, s.Summary = b, e.Time, b.Effects.Summary
	case *TestsReported:
		j.Tests = append(j.Tests, *b)
		if s := j.Step(e.Step); s != nil {
			s.Tests = append(s.Tests, b)
		}
	case *ArtifactSaved:
		j.Artifacts = append(j.Artifacts, *b)
	}
}
