// Package measure makes numbers of delivery from the record: how often something is
// deployed, how long a commit takes to get there, how often a deployment fails, how long it
// takes to recover, and how much of the work is repair.
//
// Nothing is reported by anybody for that. A [Fold] takes the events one by one and keeps what they say of
// deployments, incidents and builds; [Numbers] counts them in a span of time. Each
// number carries its definition, how many things it is made from, the interval in
// which it would lie if the weeks had gone a little differently, and the IDs of the
// deployments behind it, so that nobody has to believe it.
//
//	rollout.moved, job.finished, incident.changed ──► Fold ──► Deployments ──► Judged ──► Numbers
//
// What failed has to be evidence, not opinion: a rollout that was taken back, an incident that
// names its deployment, a commit that reverts another, a return to what was there before. An incident
// that only happened soon after a deployment is named, and not counted.
//
// The package does no I/O and reads no clock: time comes in the record.
package measure

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Deployment is a change of what runs in an environment, or the try of one that users saw.
type Deployment struct {
	ID          string    `json:"id"` // "rollout/ID" or "run/ID/ENVIRONMENT"
	Repository  string    `json:"repository"`
	Service     string    `json:"service"` // of a run: the repository's name
	Team        string    `json:"team,omitempty"`
	Environment string    `json:"environment"`
	Release     string    `json:"release"` // ID, or the commit
	Version     string    `json:"version,omitempty"`
	Commits     []Commit  `json:"commits,omitempty"` // that were there for the first time
	Began       time.Time `json:"began"`
	Exposed     time.Time `json:"exposed,omitzero"` // when the first requests went to it, where that is known
	Ended       time.Time `json:"ended"`
	Outcome     Outcome   `json:"outcome"`
	Reason      string    `json:"reason,omitempty"`
	Rollout     string    `json:"rollout,omitempty"`
	Run         string    `json:"run,omitempty"`
	Ref         string    `json:"ref,omitempty"`
	Emergency   bool      `json:"emergency,omitempty"` // gates were passed over
	Seq         int64     `json:"seq"`                 // of the event that ended it
}

// Commit is a commit that a deployment brings.
type Commit struct {
	SHA     string    `json:"sha"`
	Subject string    `json:"subject,omitempty"`
	Made    time.Time `json:"made,omitzero"`
	Pushed  time.Time `json:"pushed,omitzero"` // when the record first heard of it; zero: it did not
}

// since is when the way of the commit begins: when it was pushed, as far as that is known.
func (c *Commit) since() time.Time {
	if !c.Pushed.IsZero() {
		return c.Pushed
	}
	return c.Made
}

// Outcome is how a deployment ended.
type Outcome string

// The outcomes. What never changed anything (aborted, superseded, a job that failed) is no
// deployment.
const (
	Succeeded  Outcome = "succeeded"
	RolledBack Outcome = "rolled back"
	Failed     Outcome = "failed" // and nothing healthy was there to go back to
)

// Build is one run of a pipeline that ended.
type Build struct {
	Run        string
	Of         string // the run that it repeats
	Repository string
	Pipeline   string // its file, or name
	Branch     string
	Default    bool // it is of the default branch
	Attempt    int
	Planned    time.Time
	Started    time.Time
	Ended      time.Time
	Verdict    plan.Verdict
}

// Limits of what a fold keeps; the oldest go first.
const (
	maxDeployments = 50_000
	maxIncidents   = 20_000
	maxBuilds      = 50_000
	// maxOpen is how many rollouts and runs may be under way, and maxPushed how many commits of a branch are
	// known that were not deployed.
	maxOpen, maxPushed = 20_000, 5_000
	maxBranches        = 2_000
	maxTeams           = 20_000
)

// Fold takes in the record, event by event. Its zero value is ready. It keeps a bounded amount: the newest.
type Fold struct {
	deployments []Deployment
	incidents   map[string]*record.Incident
	builds      []Build

	rollouts map[string]*Deployment // under way, by ID
	runs     map[string]*run        // likewise
	branches map[string]*branch     // by repository and ref
	teams    map[string]string      // by release
	reached  map[string]int64       // by environment and branch: up to which commit it has it
	dropped  int
}

// Kinds are the kinds of the events that a fold takes in; others say nothing of delivery.
func Kinds() []record.Kind {
	return []record.Kind{"run.planned", "run.started", "run.finished", "job.expanded", "job.started", "job.finished", "release.made", "rollout.moved", "incident.changed"}
}

// run is a run that is under way.
type run struct {
	build  Build
	change plan.Change
	to     map[string]string // job -> environment
	jobs   map[string]*ended // by environment
}

// ended is what is known of the jobs of one environment.
type ended struct {
	began, ended time.Time
	good, bad    int
}

// branch is what was pushed to one.
type branch struct {
	commits []Commit
	first   int64 // number of the first, counted from the branch's first commit
	seen    map[string]int64
}

// Apply takes in an event.
func (f *Fold) Apply(e record.Event) {
	if f.incidents == nil {
		f.incidents, f.rollouts, f.runs = map[string]*record.Incident{}, map[string]*Deployment{}, map[string]*run{}
		f.branches, f.teams, f.reached = map[string]*branch{}, map[string]string{}, map[string]int64{}
	}
	switch b := e.Body.(type) {
	case *record.ReleaseMade:
		var spec struct {
			Team string `json:"team"`
		}
		if json.Unmarshal(b.Release.Spec, &spec) == nil && spec.Team != "" && len(f.teams) < maxTeams {
			f.teams[b.Release.ID] = spec.Team
		}
	case *record.RolloutMoved:
		f.rollout(e, b)
	case *record.IncidentChanged:
		i := b.Incident
		if f.incidents[i.ID] = &i; len(f.incidents) > maxIncidents {
			oldest := slices.MinFunc(slices.Collect(maps.Values(f.incidents)), func(a, b *record.Incident) int { return a.Opened.Compare(b.Opened) })
			delete(f.incidents, oldest.ID)
		}
	case *record.RunPlanned:
		f.planned(e, b)
	default:
		if r := f.runs[e.Run]; r != nil {
			f.went(r, e)
		}
	}
}

// rollout follows a rollout to its end.
func (f *Fold) rollout(e record.Event, b *record.RolloutMoved) {
	d := f.rollouts[b.Rollout]
	if d == nil {
		if len(f.rollouts) >= maxOpen {
			return
		}
		d = &Deployment{ID: "rollout/" + b.Rollout, Rollout: b.Rollout}
		f.rollouts[b.Rollout] = d
	}
	d.Repository, d.Service, d.Environment = b.Repository, b.Service, b.Environment
	d.Release, d.Version, d.Began = b.Release, cmp.Or(b.Version, d.Version), b.Begun
	d.Team = cmp.Or(f.teams[b.Release], d.Team)
	d.Emergency = d.Emergency || b.Emergency != ""
	d.Reason = cmp.Or(b.Reason, d.Reason)
	for _, c := range b.Commits {
		if !slices.ContainsFunc(d.Commits, func(x Commit) bool { return x.SHA == c.SHA }) {
			d.Commits = append(d.Commits, Commit{SHA: c.SHA, Subject: c.Subject, Made: c.Time, Pushed: f.pushed(b.Repository, c.SHA)})
		}
	}
	// A move that shifts requests has been begun.
	if strings.HasPrefix(b.Move, string(plan.MoveShift)) && d.Exposed.IsZero() && !b.Back {
		d.Exposed = e.Time
	}
	if !b.State.Ended() {
		return
	}
	delete(f.rollouts, b.Rollout)
	switch b.State {
	case record.RolloutDone:
		d.Outcome = Succeeded
		d.Reason = ""
	case record.RolloutRolledBack:
		d.Outcome = RolledBack
	case record.RolloutFailed:
		d.Outcome = Failed
	default:
		return
	}
	d.Ended, d.Seq = e.Time, e.Seq
	f.add(*d)
}

// pushed is when the record heard of a commit first; zero for never.
func (f *Fold) pushed(repository, sha string) time.Time {
	for _, b := range f.branches {
		if n, ok := b.seen[repository+"\n"+sha]; ok && n >= b.first {
			return b.commits[n-b.first].Pushed
		}
	}
	return time.Time{}
}

func (f *Fold) add(d Deployment) {
	f.deployments = append(f.deployments, d)
	if len(f.deployments) > maxDeployments+maxDeployments/10 {
		f.dropped += len(f.deployments) - maxDeployments
		f.deployments = slices.Delete(f.deployments, 0, len(f.deployments)-maxDeployments)
	}
}

// planned begins a run, and takes down what was pushed.
func (f *Fold) planned(e record.Event, b *record.RunPlanned) {
	if b.Change == nil || b.Pipeline == nil || len(f.runs) >= maxOpen {
		return
	}
	c := *b.Change
	repository := c.Repository
	if b.Origin != nil {
		repository = b.Origin.Repository
	}
	r := &run{change: c, to: map[string]string{}, jobs: map[string]*ended{}}
	r.change.Payload = nil
	r.change.Repository = repository
	name, _ := strings.CutPrefix(c.Ref, "refs/heads/")
	r.build = Build{Run: e.Run, Of: b.Of, Repository: repository, Pipeline: cmp.Or(b.Pipeline.File, b.Pipeline.Name), Branch: name, Attempt: b.Attempt, Planned: e.Time,
		Default: c.BaseRef == "" && c.DefaultBranch != "" && name == c.DefaultBranch}
	for i := range b.Pipeline.Jobs {
		if j := &b.Pipeline.Jobs[i]; j.Environment != nil && j.Environment.Name != "" && !strings.Contains(j.Environment.Name, "${{") {
			r.to[j.ID] = j.Environment.Name
		}
	}
	f.runs[e.Run] = r
	if c.Event == "push" && strings.HasPrefix(c.Ref, "refs/heads/") && !c.Dirty {
		f.push(e, repository, b.Change)
	}
}

// push takes down the commits of a push, which the run of it came with.
func (f *Fold) push(e record.Event, repository string, c *plan.Change) {
	key := repository + "\n" + c.Ref
	br := f.branches[key]
	if br == nil {
		if len(f.branches) >= maxBranches {
			return
		}
		br = &branch{seen: map[string]int64{}}
		f.branches[key] = br
	}
	add := func(x Commit) {
		id := repository + "\n" + x.SHA
		if _, known := br.seen[id]; known || x.SHA == "" {
			return
		}
		br.seen[id] = br.first + int64(len(br.commits))
		br.commits = append(br.commits, x)
		if over := len(br.commits) - maxPushed; over > 0 {
			for _, gone := range br.commits[:over] {
				delete(br.seen, repository+"\n"+gone.SHA)
			}
			br.commits, br.first = slices.Delete(br.commits, 0, over), br.first+int64(over)
		}
	}
	// The host says what else was pushed with it, the oldest first.
	list, _ := c.Payload["commits"].([]any)
	for _, one := range list {
		m, _ := one.(map[string]any)
		sha, _ := m["id"].(string)
		message, _ := m["message"].(string)
		stamp, _ := m["timestamp"].(string)
		made, _ := time.Parse(time.RFC3339, stamp)
		if sha != c.SHA {
			add(Commit{SHA: sha, Subject: subject(message), Made: made.UTC(), Pushed: e.Time})
		}
	}
	head := Commit{SHA: c.SHA, Pushed: e.Time}
	if c.Commit != nil {
		head.Subject, head.Made = subject(c.Commit.Message), c.Commit.Time
	}
	add(head)
}

func subject(message string) string {
	line, _, _ := strings.Cut(message, "\n")
	return strings.TrimSpace(line)
}

// went follows a run to its end.
func (f *Fold) went(r *run, e record.Event) {
	at := func() *ended {
		env := r.to[e.Job]
		if env == "" {
			return nil
		}
		if r.jobs[env] == nil {
			r.jobs[env] = &ended{}
		}
		return r.jobs[env]
	}
	switch b := e.Body.(type) {
	case *record.RunStarted:
		if r.build.Started.IsZero() {
			r.build.Started = e.Time
		}
	case *record.JobExpanded:
		if env := r.to[e.Job]; env != "" {
			for _, h := range b.Jobs {
				r.to[h.ID] = env
			}
			delete(r.to, e.Job) // the jobs that it became say it
		}
	case *record.JobStarted:
		if x := at(); x != nil && (x.began.IsZero() || e.Time.Before(x.began)) {
			x.began = e.Time
		}
	case *record.JobFinished:
		x := at()
		switch {
		case x == nil || b.Verdict == plan.Skipped:
		case b.Verdict == plan.Success:
			x.good++
			if e.Time.After(x.ended) {
				x.ended = e.Time
			}
		default:
			x.bad++
		}
	case *record.RunFinished:
		delete(f.runs, e.Run)
		r.build.Ended, r.build.Verdict = e.Time, b.Verdict
		if f.builds = append(f.builds, r.build); len(f.builds) > maxBuilds+maxBuilds/10 {
			f.builds = slices.Delete(f.builds, 0, len(f.builds)-maxBuilds)
		}
		for _, env := range slices.Sorted(maps.Keys(r.jobs)) {
			if x := r.jobs[env]; x.good > 0 && x.bad == 0 {
				f.add(f.deployed(r, env, x, e.Seq))
			}
		}
	}
}

// deployed is the deployment that a run was.
func (f *Fold) deployed(r *run, env string, x *ended, seq int64) Deployment {
	c := &r.change
	_, short, _ := strings.Cut(c.Repository, "/")
	d := Deployment{
		ID: "run/" + r.build.Run + "/" + env, Run: r.build.Run, Repository: c.Repository, Service: cmp.Or(short, c.Repository), Environment: env,
		Release: c.SHA, Version: shortSHA(c.SHA), Began: x.began, Ended: x.ended, Exposed: x.ended, Outcome: Succeeded, Ref: c.Ref, Seq: seq,
	}
	if d.Began.IsZero() {
		d.Began = x.ended
	}
	key := c.Repository + "\n" + c.Ref
	if br := f.branches[key]; br != nil {
		n, known := br.seen[c.Repository+"\n"+c.SHA]
		from, before := f.reached[env+"\n"+key]
		if known && before { // before the first one nothing is known of what was there
			for i := max(from+1, br.first); i <= n; i++ {
				d.Commits = append(d.Commits, br.commits[i-br.first])
			}
		} else if known {
			d.Commits = []Commit{br.commits[n-br.first]}
		}
		if known && n > from || known && !before {
			f.reached[env+"\n"+key] = n
		}
		slices.Reverse(d.Commits)
	} else if c.Commit != nil {
		d.Commits = []Commit{{SHA: c.SHA, Subject: subject(c.Commit.Message), Made: c.Commit.Time, Pushed: f.pushed(c.Repository, c.SHA)}}
	}
	return d
}

func shortSHA(sha string) string { return sha[:min(len(sha), 12)] }

// Deployments are those that have ended, by when they did.
func (f *Fold) Deployments() []Deployment {
	list := slices.Clone(f.deployments)
	slices.SortStableFunc(list, order)
	return list
}

func order(a, b Deployment) int {
	return cmp.Or(a.Ended.Compare(b.Ended), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.ID, b.ID))
}

// Incidents are all that are known, the newest first.
func (f *Fold) Incidents() []record.Incident {
	list := make([]record.Incident, 0, len(f.incidents))
	for _, i := range f.incidents {
		list = append(list, *i)
	}
	slices.SortFunc(list, func(a, b record.Incident) int { return cmp.Or(b.Opened.Compare(a.Opened), cmp.Compare(a.ID, b.ID)) })
	return list
}

// Builds are the runs that have ended, in the order of their ends.
func (f *Fold) Builds() []Build { return slices.Clone(f.builds) }

// Dropped is how many deployments are no longer kept.
func (f *Fold) Dropped() int { return f.dropped }
