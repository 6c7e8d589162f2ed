package server

import (
	"cmp"
	"slices"

	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

// RoutesView lists who is told of what.
type RoutesView struct {
	Routes   []notify.Route `json:"routes"`
	Channels []string       `json:"channels"` // that there are
	Edges    []notify.Edge  `json:"edges"`    // that one can be told of
}

func (s *Server) routesOfMessages(r *request) (v RoutesView, err error) {
	v.Channels, v.Edges = slices.Clone(s.Channels), notify.Edges()
	if v.Channels == nil {
		v.Channels = []string{}
	}
	if v.Routes, err = s.Desk.Routes(r.Context()); v.Routes == nil {
		v.Routes = []notify.Route{}
	}
	return v, err
}

// SettingRoute is what a route of messages is to be.
type SettingRoute struct {
	Channel string `json:"channel"`
	// Target is where messages go. It is sealed and never shown; "" leaves it.
	Target string `json:"target,omitempty"`
	// Secret names the secret that holds the target; "" for the route's own.
	Secret       string        `json:"secret,omitempty"`
	Repositories []string      `json:"repositories,omitempty"`
	Branches     []string      `json:"branches,omitempty"`
	Edges        []notify.Edge `json:"edges,omitempty"`
}

// NamedRoute is a route whose name comes from a form.
type NamedRoute struct {
	SettingRoute
	Name string `json:"name"`
}

func (s *Server) newRoute(r *request, in *NamedRoute) (nothing, error) {
	return nothing{}, s.putRoute(r, in.Name, &in.SettingRoute)
}

func (s *Server) setRoute(r *request, in *SettingRoute) (nothing, error) {
	return nothing{}, s.putRoute(r, r.PathValue("route"), in)
}

func (s *Server) putRoute(r *request, name string, in *SettingRoute) error {
	if s.Vault == nil {
		return lacking("vault")
	}
	route := notify.Route{
		Name: name, Channel: in.Channel, Secret: cmp.Or(in.Secret, notify.TargetSecret(name)),
		Repositories: in.Repositories, Branches: in.Branches, Edges: in.Edges,
	}
	if in.Target != "" {
		if err := s.Desk.CheckTarget(in.Channel, in.Target); err != nil {
			return err
		}
	}
	if err := s.Desk.SetRoute(r.Context(), r.by(), route); err != nil || in.Target == "" {
		return err
	}
	return s.Vault.Set(r.Context(), secret.By(r.by()), secret.Scope{}, route.Secret, []byte(in.Target))
}

func (s *Server) removeRoute(r *request, _ *nothing) (nothing, error) {
	return nothing{}, s.Desk.RemoveRoute(r.Context(), r.by(), r.PathValue("route"))
}

func (s *Server) testRoute(r *request, _ *nothing) (nothing, error) {
	return nothing{}, s.Desk.TestRoute(r.Context(), r.by(), r.PathValue("route"))
}

// routed sends whoever did something to a route back to the settings.
func routed(what string) func(*request, any) (string, string) {
	return func(*request, any) (string, string) { return "/settings#h-routes", "The route was " + what + "." }
}
