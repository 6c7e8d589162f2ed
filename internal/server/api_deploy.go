package server

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/rollout"
)

// mostRollouts is how many rollouts a list has.
const mostRollouts = 200

// deployRoutes are the rows that move what is deployed.
func (s *Server) deployRoutes() []route {
	toRollout := func(_ *request, answer any) (string, string) {
		if v, ok := answer.(RolloutAnswer); ok {
			return "/rollout/" + escapePath(v.Rollout), "The rollout has begun."
		}
		return "", ""
	}
	of := func(what string, verb access.Verb, do handler, said, says string) route {
		path := "/rollout/{rollout}/" + what
		return route{Method: "POST", Path: path, Verb: verb, Object: s.rolloutObject, Form: path, Do: do, Says: says, Then: func(r *request, _ any) (string, string) {
			return "/rollout/" + escapePath(r.PathValue("rollout")), said
		}}
	}
	in := func(path string, verb access.Verb, do handler, then func(*request, any) (string, string), says string) route {
		return route{Method: "POST", Path: path, Verb: verb, Object: inPath, Form: path, Do: do, Then: then, Says: says}
	}
	said := func(text string) func(*request, any) (string, string) {
		return func(*request, any) (string, string) { return "", text }
	}
	return []route{
		{Method: "GET", Path: "/rollouts/{repository...}", Verb: access.SeeRuns, Object: inPath, Faces: apiOnly, Do: view(s.rollouts), Says: "The rollouts of a repository, the newest first.",
			Query: []param{{Name: "service", Says: "only of this one"}, {Name: "environment", Says: "only in this one"}}},
		{Method: "GET", Path: "/rollout/{rollout}", Verb: access.SeeRuns, Object: s.rolloutSeen, Template: "rollout", Do: view(s.rollout), Says: "One rollout: its moves, what they found, and what happened."},
		in("/deploy/{repository...}", access.MoveDeploy, act(s.deploy), toRollout, "Begin a rollout of a release: of one that is named, or of the one that is in another environment."),
		in("/rollback/{repository...}", access.MoveDeploy, act(s.rollback), toRollout, "Go back: take back what is under way, or begin a rollout to an earlier release."),
		in("/lift/{repository...}", access.ApproveDeploy, act(s.lift), said("The release may be deployed there again."), "Let a rejected release be deployed to an environment again."),
		in("/drift/{repository...}", access.MoveDeploy, act(s.driftNow), said("It was looked for drift."), "Compare what is there with what was deployed, now."),
		in("/heal/{repository...}", access.MoveDeploy, act(s.heal), toRollout, "Put right what has drifted."),
		of("approve", access.ApproveDeploy, act(s.asked((*rollout.Mover).Approve)), "You have approved it.", "Let a rollout through its gate, as far as one person can."),
		of("override", access.ApproveDeploy, act(s.asked((*rollout.Mover).Override)), "Its gate is passed over.", "Pass over the gate of a rollout, in an emergency. It takes a reason, and is loud in the audit trail."),
		of("pause", access.MoveDeploy, act(s.asked((*rollout.Mover).Pause)), "It is paused.", "Leave a rollout as it is until somebody resumes it."),
		of("resume", access.MoveDeploy, act(s.asked(func(m *rollout.Mover, ctx context.Context, by launch.By, id, _ string) (*record.Rollout, error) {
			return m.Resume(ctx, by, id)
		})), "It goes on.", "Let a paused rollout go on."),
		of("promote", access.MoveDeploy, act(s.asked((*rollout.Mover).Promote)), "It goes on.", "End the hold or the analysis that a rollout is in."),
		of("abort", access.MoveDeploy, act(s.asked((*rollout.Mover).Abort)), "It is broken off.", "Break a rollout off. What it has changed goes back."),
		of("settle", access.MoveDeploy, act(s.settle), "It goes on.", "Answer a rollout that needs attention: what is not known was done, or is to be tried again."),
	}
}

// RolloutsView are rollouts of a repository.
type RolloutsView struct {
	Rollouts []RolloutRow `json:"rollouts"`
}

func (s *Server) rollouts(r *request) (v RolloutsView, err error) {
	v.Rollouts = []RolloutRow{}
	if s.Mover == nil {
		return v, lacking("deployments")
	}
	repository, service, environment := r.PathValue("repository"), r.URL.Query().Get("service"), r.URL.Query().Get("environment")
	tracks, err := s.Mover.Tracks(r.Context(), repository)
	if err != nil {
		return v, err
	}
	for i := range tracks {
		t := &tracks[i]
		if service != "" && t.Service != service || environment != "" && t.Environment != environment {
			continue
		}
		all, err := s.Mover.Rollouts(r.Context(), repository, t.Service, t.Environment)
		if err != nil {
			return v, err
		}
		for k := range all {
			v.Rollouts = append(v.Rollouts, rolloutRow(&all[k]))
		}
	}
	slices.SortStableFunc(v.Rollouts, func(a, b RolloutRow) int { return b.Begun.Compare(a.Begun) })
	v.Rollouts = v.Rollouts[:min(len(v.Rollouts), mostRollouts)]
	return v, nil
}

// RolloutAnswer names the rollout that came of an act, and says how it stands.
type RolloutAnswer struct {
	Rollout string              `json:"rollout"`
	State   record.RolloutState `json:"state"`
	Number  int                 `json:"number"`
}

func answerOf(row *record.Rollout, err error) (RolloutAnswer, error) {
	if err != nil {
		return RolloutAnswer{}, problemsOf(err)
	}
	return RolloutAnswer{row.ID, row.State, row.Number}, nil
}

// problemsOf says what is wrong in files of the repository as people are told of everything.
func problemsOf(err error) error {
	if many, ok := errors.AsType[*rollout.ProblemsError](err); ok {
		lines := make([]string, len(many.Problems))
		for i := range many.Problems {
			lines[i] = strings.TrimPrefix(many.Problems[i].String(), ": ") // what the target says has no place in a file
		}
		return problem(http.StatusUnprocessableEntity, "unusable", "", "%s", strings.Join(lines, "\n"))
	}
	return err
}

// RolloutAct is why something is done to a rollout.
type RolloutAct struct {
	Why string `json:"why,omitempty"`
}

// asked is the handler of what a person asks of a rollout.
func (s *Server) asked(do func(m *rollout.Mover, ctx context.Context, by launch.By, id, why string) (*record.Rollout, error)) func(*request, *RolloutAct) (RolloutAnswer, error) {
	return func(r *request, in *RolloutAct) (RolloutAnswer, error) {
		if s.Mover == nil {
			return RolloutAnswer{}, lacking("deployments")
		}
		return answerOf(do(s.Mover, r.Context(), r.by(), r.PathValue("rollout"), in.Why))
	}
}

// SettlingRollout answers a rollout that needs attention.
type SettlingRollout struct {
	Done bool `json:"done"` // what is not known was done, or need not be; else it is tried again
}

func (s *Server) settle(r *request, in *SettlingRollout) (RolloutAnswer, error) {
	if s.Mover == nil {
		return RolloutAnswer{}, lacking("deployments")
	}
	return answerOf(s.Mover.Settle(r.Context(), r.by(), r.PathValue("rollout"), in.Done))
}

// Deploying asks for a rollout.
type Deploying struct {
	Service     string `json:"service"`
	Environment string `json:"environment"`
	Release     string `json:"release,omitempty"` // ID
	From        string `json:"from,omitempty"`    // or the environment whose release it is
	Why         string `json:"why,omitempty"`
	Emergency   string `json:"emergency,omitempty"` // why gates are passed over
}

// deployAct finds whether an act may be done to an environment.
func (s *Server) deployAct(r *request, v access.Verb, service, environment string) (repository string, err error) {
	repository = r.PathValue("repository")
	switch {
	case s.Mover == nil:
		return repository, lacking("deployments")
	case service == "" || environment == "":
		return repository, &plan.UsageError{Message: "a deployment is one of a service to an environment, and one of them is missing"}
	}
	return repository, r.may(v, access.Object{Repository: repository, Environment: environment})
}

func (s *Server) deploy(r *request, in *Deploying) (RolloutAnswer, error) {
	repository, err := s.deployAct(r, access.MoveDeploy, in.Service, in.Environment)
	if err == nil && in.Emergency != "" {
		_, err = s.deployAct(r, access.ApproveDeploy, in.Service, in.Environment)
	}
	if err != nil {
		return RolloutAnswer{}, err
	}
	w := rollout.Wish{Repository: repository, Service: in.Service, Environment: in.Environment, Release: in.Release, Why: in.Why, Emergency: in.Emergency}
	if in.From != "" {
		t, err := s.Mover.Track(r.Context(), repository, in.Service, in.From)
		if err != nil {
			return RolloutAnswer{}, err
		}
		if t.Release == "" || in.Release != "" && in.Release != t.Release {
			return RolloutAnswer{}, &plan.UsageError{Message: "there is no such release of " + in.Service + " in " + in.From}
		}
		w.Release = t.Release
	}
	return answerOf(s.Mover.Begin(r.Context(), r.by(), w))
}

// DeployedAct names a service in an environment that something is done to.
type DeployedAct struct {
	Service     string `json:"service"`
	Environment string `json:"environment"`
	Release     string `json:"release,omitempty"` // to go back to, or that may be deployed again
	Why         string `json:"why,omitempty"`
}

func (s *Server) rollback(r *request, in *DeployedAct) (RolloutAnswer, error) {
	repository, err := s.deployAct(r, access.MoveDeploy, in.Service, in.Environment)
	if err != nil {
		return RolloutAnswer{}, err
	}
	return answerOf(s.Mover.Rollback(r.Context(), r.by(), repository, in.Service, in.Environment, in.Release, in.Why))
}

func (s *Server) lift(r *request, in *DeployedAct) (nothing, error) {
	repository, err := s.deployAct(r, access.ApproveDeploy, in.Service, in.Environment)
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, s.Mover.Lift(r.Context(), r.by(), repository, in.Service, in.Environment, in.Release, in.Why)
}

func (s *Server) driftNow(r *request, in *DeployedAct) (*record.Drifted, error) {
	repository, err := s.deployAct(r, access.MoveDeploy, in.Service, in.Environment)
	if err != nil {
		return nil, err
	}
	return s.Mover.Drift(r.Context(), repository, in.Service, in.Environment)
}

func (s *Server) heal(r *request, in *DeployedAct) (RolloutAnswer, error) {
	repository, err := s.deployAct(r, access.MoveDeploy, in.Service, in.Environment)
	if err != nil {
		return RolloutAnswer{}, err
	}
	return answerOf(s.Mover.Heal(r.Context(), r.by(), repository, in.Service, in.Environment, cmp.Or(in.Why, "it had drifted")))
}
