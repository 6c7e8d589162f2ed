package server

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Environments is what protects those that jobs deploy to; package launch says what
// its methods promise.
type Environments interface {
	Environments(ctx context.Context, repository string) ([]record.Environment, error)
	SetEnvironment(ctx context.Context, by launch.By, e record.Environment) error
	RemoveEnvironment(ctx context.Context, by launch.By, repository, name string) error
	ApproveEnvironment(ctx context.Context, by launch.By, run, name, why string) error
}

// maxAsked is how many of the newest requests to deploy are looked at for those that
// still wait.
const maxAsked = 200

func (s *Server) environmentRoutes() []route {
	return []route{
		{Method: "GET", Path: "/environments/{repository...}", Verb: access.SeeRepos, Object: inPath, Template: "environments", Do: view(s.environments), Says: "What protects the environments of a repository, and which runs wait for people to let them deploy."},
		{Method: "PUT", Path: "/environments/{repository...}", Verb: access.SetRepo, Object: inPath, Form: "/environments/{repository...}", Do: act(s.setEnvironment), Says: "Say what protects an environment: all of it is given."},
		{Method: "DELETE", Path: "/environments/{repository...}", Verb: access.SetRepo, Object: inPath, Form: "/remove-environment/{repository...}", Do: act(s.removeEnvironment), Says: "Protect an environment no more.",
			Query: []param{{Name: "name", Says: "the environment"}}},
		{Method: "POST", Path: "/runs/{run}/environment", Verb: access.ApproveRun, Object: s.runObject, Form: "/runs/{run}/environment", Do: act(s.approveEnvironment), Says: "Let a run deploy to a protected environment, as far as one person can."},
	}
}

// EnvironmentsView is what protects the environments of a repository.
type EnvironmentsView struct {
	Repository   string               `json:"repository"`
	Environments []record.Environment `json:"environments"`
	Waiting      []WaitingDeployment  `json:"waiting"` // for approvals, the newest first
}

// WaitingDeployment is a run that waits for people to let it deploy.
type WaitingDeployment struct {
	Run         string    `json:"run"`
	Pipeline    string    `json:"pipeline"`
	Branch      string    `json:"branch"`
	Actor       string    `json:"actor"`
	Environment string    `json:"environment"`
	Approvals   int       `json:"approvals"` // that it takes
	ApprovedBy  []string  `json:"approved_by"`
	Until       time.Time `json:"until,omitzero"` // it waits at least
}

func (s *Server) environments(r *request) (v EnvironmentsView, err error) {
	v.Repository = r.PathValue("repository")
	if _, err = s.Desk.Repository(r.Context(), v.Repository); err != nil {
		return v, err
	}
	if v.Environments, err = s.Desk.Environments(r.Context(), v.Repository); err != nil {
		return v, err
	}
	v.Waiting = []WaitingDeployment{}
	asked, err := s.Runs.Events(r.Context(), store.EventFilter{Kinds: []record.Kind{"environment.asked"}, Limit: maxAsked})
	if err != nil {
		return v, err
	}
	var looked []string
	for _, e := range asked {
		if slices.Contains(looked, e.Run) {
			continue
		}
		looked = append(looked, e.Run)
		head, err := s.Runs.Head(r.Context(), e.Run)
		if err != nil {
			return v, err
		}
		if head.Verdict != "" || head.Origin == nil || head.Origin.Repository != v.Repository {
			continue
		}
		run, err := s.Runs.Run(r.Context(), e.Run)
		if err != nil {
			return v, err
		}
		for _, x := range run.Environments {
			if len(x.ApprovedBy) < x.Asked.Approvals {
				v.Waiting = append(v.Waiting, WaitingDeployment{Run: e.Run, Pipeline: head.Name, Branch: head.Branch, Actor: head.Actor,
					Environment: x.Asked.Environment, Approvals: x.Asked.Approvals, ApprovedBy: slices.Concat([]string{}, x.ApprovedBy), Until: x.Asked.Until})
			}
		}
	}
	return v, nil
}

func (s *Server) setEnvironment(r *request, in *record.Environment) (nothing, error) {
	in.Repository = r.PathValue("repository")
	return nothing{}, s.Desk.SetEnvironment(r.Context(), r.by(), *in)
}

// RemovingEnvironment names an environment. It may stand in the query as well.
type RemovingEnvironment struct {
	Name string `json:"name"`
}

func (s *Server) removeEnvironment(r *request, in *RemovingEnvironment) (nothing, error) {
	return nothing{}, s.Desk.RemoveEnvironment(r.Context(), r.by(), r.PathValue("repository"), cmp.Or(in.Name, r.URL.Query().Get("name")))
}

// ApprovingEnvironment lets a run deploy.
type ApprovingEnvironment struct {
	Environment string `json:"environment"`
	Why         string `json:"why,omitempty"`
}

func (s *Server) approveEnvironment(r *request, in *ApprovingEnvironment) (nothing, error) {
	if err := r.may(access.ApproveRun, access.Object{Repository: r.Object.Repository, Environment: in.Environment}); err != nil {
		return nothing{}, err
	}
	return nothing{}, s.Desk.ApproveEnvironment(r.Context(), r.by(), r.PathValue("run"), in.Environment, in.Why)
}

// Protects says for people what protects an environment.
func (v EnvironmentsView) Protects(e record.Environment) (list []string) {
	if e.Approvals > 0 {
		list = append(list, strconv.Itoa(e.Approvals)+" approvals")
	}
	if e.NotAuthor {
		list = append(list, "not of the author")
	}
	if e.Wait > 0 {
		list = append(list, "waits "+(time.Duration(e.Wait)*time.Second).String())
	}
	return list
}
