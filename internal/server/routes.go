package server

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/access"
)

// route is a row of the table of addresses.
//
// A row that answers with a view and names a template is a page at Path, the same
// view as JSON at Path?format=json, and as JSON below /api/v1. A row without a template
// is below /api/v1 only. An act (any method but GET) is below /api/v1 and, when
// it has a Form, also what the forms of pages post to.
//
// Names that hold slashes (repositories, jobs) are the last part of a path:
// "/repositories/{repository...}", "/runs/{run}/log/{job...}".
type route struct {
	Method string
	Path   string
	// Verb is what the address takes. Only a row with an Open may have none.
	Verb access.Verb
	// Open says why everybody may come here; "" for most.
	Open string
	// Object is what the verb is done to; nil: the whole server.
	Object func(*request) (access.Object, error)
	// Somewhere lets in whoever may do the verb in some repository: the view shows
	// only what of them they may see.
	Somewhere bool
	// Do answers. See view, act and stream.
	Do handler
	// Template makes a page of the view; "" for no page. Of an act it shows what is
	// shown once; else the sender of a form is sent on.
	Template string
	// Faces is where the row is served: by default as said above.
	Faces face
	// Form is where forms post an act: Path for most, another address where
	// the method is not POST; "" for none.
	Form string
	// Then says where a form's sender goes, and what is said there. nil: back,
	// without a word.
	Then func(r *request, answer any) (path, said string)
	// MaxBody is the size of the largest body; 0: [maxInput].
	MaxBody int64
	// Untimed rows stay open for as long as they like: streams, uploads.
	Untimed bool

	// For the document of the API.
	Says   string
	Query  []param
	Status int // of success; 0: 200
	Media  string
}

// face is where a row is served.
type face int

const (
	anyFace  face = iota
	pageOnly      // its API is a row of its own, or there is none
	apiOnly
	rootOnly // at Path itself, without session or page: hooks, health
)

// param is a query parameter.
type param struct {
	Name, Says string
	Kind       string // "string", "integer", "boolean"; "" is string
	Many       bool   // may be given several times
}

// handler answers a row's requests, and says what it takes and gives.
type handler struct {
	in, out reflect.Type // nil for none
	call    func(*request) (any, error)
	stream  func(http.ResponseWriter, *request) error
}

// view is the handler of a row that shows something.
func view[O any](fn func(*request) (O, error)) handler {
	return handler{out: reflect.TypeFor[O](), call: func(r *request) (any, error) { return fn(r) }}
}

// act is the handler of a row that does something. Its input comes as JSON or as a
// form.
func act[I, O any](fn func(*request, *I) (O, error)) handler {
	return handler{in: reflect.TypeFor[I](), out: reflect.TypeFor[O](), call: func(r *request) (any, error) {
		in := new(I)
		if err := r.decode(in); err != nil {
			return nil, err
		}
		return fn(r, in)
	}}
}

// stream is the handler of a row that writes its answer itself. An error it
// returns before it wrote is answered like any other.
func stream(fn func(http.ResponseWriter, *request) error) handler { return handler{stream: fn} }

// nothing is the answer of an act that has none.
type nothing struct{}

// apiRoot is what addresses of the API begin with.
const apiRoot = "/api/v1"

// routes is the table of all addresses.
func (s *Server) routes() []route {
	return slices.Concat(s.signRoutes(), s.pageRoutes(), s.apiRoutes(), s.workerRoutes(), s.hookRoutes(), s.metricsRoutes(), s.faultRoutes(), s.testRoutes(), s.splitRoutes(), s.coverageRoutes(), s.flagRoutes(), s.flagClientRoutes(), s.releaseRoutes(), s.deliveryRoutes(), s.deploymentRoutes(), s.deployRoutes())
}

// address is one way to reach a row.
type address struct {
	Method, Pattern string
	API             bool // answers are JSON
	Row             *route
}

// addresses lists where each row is served. It is what the router is made of, and
// what the test of all routes walks.
func addresses(rows []route) (all []address) {
	for i := range rows {
		row := &rows[i]
		add := func(method, path string, api bool) {
			all = append(all, address{method, path, api, row})
		}
		switch {
		case row.Faces == rootOnly:
			add(row.Method, row.Path, true)
			continue
		case row.Form != "":
			add(http.MethodPost, row.Form, false)
		case row.Template != "" && row.Faces != apiOnly:
			add(row.Method, row.Path, false)
		}
		if row.Faces != pageOnly {
			add(row.Method, apiRoot+strings.TrimSuffix(row.Path, "{$}"), true)
		}
	}
	return all
}

// check says what is wrong with the table.
func check(rows []route) error {
	for i := range rows {
		row := &rows[i]
		at := row.Method + " " + row.Path
		switch {
		case row.Verb == "" && row.Open == "":
			return fmt.Errorf("route %s takes no verb and does not say why it is open", at)
		case row.Do.call == nil && row.Do.stream == nil:
			return fmt.Errorf("route %s does nothing", at)
		case row.Method == http.MethodGet && row.Form != "":
			return fmt.Errorf("route %s only shows, and has a form", at)
		case !strings.HasPrefix(row.Path, "/"):
			return fmt.Errorf("route %s has no path", at)
		}
	}
	return nil
}
