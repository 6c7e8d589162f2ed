package gitlab

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// When a job may begin follows from how the jobs before it ended: those of all
// earlier stages, or those that it needs. First they come to one status, then
// the job's when decides:
//
//	              success  skipped  failed  canceled
//	on_success       ✓        ✓                        skipped: by stages only; a job
//	manual           ✓        ✓                        whose need was skipped is skipped
//	on_failure                         ✓
//	always           ✓        ✓        ✓
//
// A manual job that nobody has asked for (plan.Context.Play) does not begin.
// When it may fail it counts as skipped; when not, it blocks: what comes
// after it waits, whatever its when. The engine knows no waiting: in this run
// such jobs are skipped. So why a job was skipped (does it wait, does it block,
// has it nothing to do?) is asked of its own gate again, which is why
// jobs that come after a blocking one need all that it needs, too.

// gate is what a job's beginning hangs on. It is stored in plan.Job.Values.
type gate struct {
	Name  string `json:"name"`
	When  string `json:"when"` // on_success, on_failure, always, manual, delayed
	Allow bool   `json:"allow_failure,omitempty"`
	// DAG says that Needs count, and otherwise all jobs of stages before Stage.
	DAG   bool     `json:"dag,omitempty"`
	Needs []string `json:"needs,omitempty"` // last parts of IDs
	Stage int      `json:"stage"`
	// Others are the gates of the other jobs of a child pipeline. Those of
	// the pipeline that was started are found in the plan.
	Others map[string]*gate `json:"others,omitempty"`
}

// status is what one or several jobs have come to.
type status uint8

const (
	statusSuccess  status = iota // also with warnings: a job that may fail has
	statusSkipped                // it had nothing to do
	statusFailed                 //
	statusCanceled               //
	statusIgnored                // manual, nobody asked for it, and it may be left undone
	statusManual                 // manual, nobody asked for it, and it blocks
	statusWaiting                // behind one that blocks
)

// composite is the status that several come to, of needs (dag) or of stages.
func composite(dag bool, of []status) status {
	if len(of) == 0 {
		return statusSuccess
	}
	has := func(s ...status) bool {
		return slices.ContainsFunc(of, func(o status) bool { return slices.Contains(s, o) })
	}
	only := func(s ...status) bool {
		return !slices.ContainsFunc(of, func(o status) bool { return !slices.Contains(s, o) })
	}
	switch {
	case dag && has(statusSkipped, statusIgnored):
		return statusSkipped
	case has(statusManual, statusWaiting):
		return statusWaiting
	case only(statusSkipped, statusIgnored):
		return statusSkipped
	case only(statusSuccess, statusSkipped, statusIgnored):
		return statusSuccess
	case only(statusCanceled, statusSuccess, statusSkipped, statusIgnored):
		return statusCanceled
	}
	return statusFailed
}

// fate is what a gate says of its job.
type fate uint8

const (
	begins fate = iota
	nothingToDo
	waits
)

// judge asks gates against one scope.
type judge struct {
	s     *plan.Scope
	gates map[string]*gate // of the jobs beside the one that is asked, by the last part of their IDs
	known map[string]status
}

// gateOf reads the gate of a job.
func gateOf(j *plan.Job) (*gate, error) {
	m, ok := j.Values[valueGate].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("gitlab: job %s of the plan has no gate", j.ID)
	}
	return readGate(m), nil
}

// readGate reads one as a plan holds it. All gates of a pipeline may be read for
// each job, so this takes no detour.
func readGate(m map[string]any) *gate {
	g := &gate{}
	g.Name, _ = m["name"].(string)
	g.When, _ = m["when"].(string)
	g.Allow, _ = m["allow_failure"].(bool)
	g.DAG, _ = m["dag"].(bool)
	stage, _ := m["stage"].(float64)
	g.Stage = int(stage)
	needs, _ := m["needs"].([]any)
	for _, n := range needs {
		if id, ok := n.(string); ok {
			g.Needs = append(g.Needs, id)
		}
	}
	if others, ok := m["others"].(map[string]any); ok {
		g.Others = make(map[string]*gate, len(others))
		for id, other := range others {
			if m, ok := other.(map[string]any); ok {
				g.Others[id] = readGate(m)
			}
		}
	}
	return g
}

// begins reports whether the job of a scope is to begin.
func (d *Dialect) begins(s *plan.Scope) (bool, error) {
	if s.Status == plan.Cancelled {
		return false, nil
	}
	g, err := gateOf(s.Job)
	if err != nil {
		return false, err
	}
	if (g.When == "manual") && !asked(s, g, s.Job.ID) {
		return false, nil
	}
	j := &judge{s: s, gates: g.Others, known: map[string]status{}}
	return j.fate(g) == begins, nil
}

// asked reports whether a person asked for a manual job.
func asked(s *plan.Scope, g *gate, id string) bool {
	return s.Context != nil && (slices.Contains(s.Play, id) || slices.Contains(s.Play, g.Name))
}

func (j *judge) fate(g *gate) fate {
	var of []status
	if g.DAG {
		for _, id := range g.Needs {
			if _, there := j.s.Needs[id]; there {
				of = append(of, j.status(id))
			}
		}
	} else {
		for id := range j.s.Needs {
			if other := j.gate(id); other == nil || other.Stage < g.Stage {
				of = append(of, j.status(id))
			}
		}
	}
	all := composite(g.DAG, of)
	if all == statusWaiting {
		return waits
	}
	may := false
	switch g.When {
	case "on_failure":
		may = all == statusFailed
	case "always":
		may = all == statusSuccess || all == statusSkipped || all == statusFailed
	default:
		may = all == statusSuccess || all == statusSkipped && !g.DAG
	}
	if !may {
		return nothingToDo
	}
	return begins
}

// gate is that of another job; nil when it is not known, as of a job whose
// pipeline has no manual one.
func (j *judge) gate(id string) *gate {
	if j.gates != nil || j.s.Context == nil || j.s.Pipeline == nil {
		return j.gates[id]
	}
	j.gates = map[string]*gate{}
	for i := range j.s.Pipeline.Jobs {
		other := &j.s.Pipeline.Jobs[i]
		if g, err := gateOf(other); err == nil {
			j.gates[path.Base(other.ID)] = g
		}
	}
	return j.gates[id]
}

// status is what a job that ended has come to.
func (j *judge) status(id string) status {
	if s, done := j.known[id]; done {
		return s
	}
	s := j.find(id)
	j.known[id] = s
	return s
}

func (j *judge) find(id string) status {
	switch v := j.s.Needs[id].Verdict; {
	case v.Bad():
		return statusFailed
	case v == plan.Cancelled:
		return statusCanceled
	case v != plan.Skipped:
		return statusSuccess
	}
	g := j.gate(id)
	if g == nil {
		return statusSkipped
	}
	prefix := ""
	if i := strings.LastIndexByte(j.s.Job.ID, '/'); i >= 0 {
		prefix = j.s.Job.ID[:i+1]
	}
	manual := g.When == "manual" && !asked(j.s, g, prefix+id)
	switch f := j.fate(g); {
	case f == waits:
		return statusWaiting
	case f == begins && manual && g.Allow:
		return statusIgnored
	case f == begins && manual:
		return statusManual
	}
	return statusSkipped
}
