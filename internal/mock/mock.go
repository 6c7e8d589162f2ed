// Package mock is an HTTP server that stands for another: it answers as it was
// told, and tells what it was asked.
//
// There is no mock language of ours. What a team has is read as it is
// (WireMock's mappings, Hoverfly's simulations, Mountebank's imposters, an
// OpenAPI document), and what is recorded is written as WireMock's mappings,
// which other tools read, too.
//
//	mappings ┐                    ┌─ conditions ─► the first that fits answers
//	simulation ├─ Load ─► []Stub ─┤                (priority, then rank)
//	imposters ┘     │             └─ none fits ──► Journal: the nearest, and why not
//	                └─► Problems: what is not supported, with its place
//
// A [Stub] is a list of conditions and of responses. Each format is translated
// to the same few conditions, so that there is one way to match, and one way
// to say why a request did not. What a format can say and this package cannot
// do is a [plan.Problem] at its line; nothing is left out silently, because a
// mock that answers what it should not makes tests pass that should not.
package mock

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of what is read.
const (
	maxFile     = 64 << 20 // bytes of a file of stubs, and of all files of bodies together
	maxFiles    = 20_000   // in a directory
	maxValues   = 2_000_000
	maxDepth    = 100
	maxStubs    = 50_000
	maxProblems = 200
	// MaxBody is how many bytes of a request or a response are looked at.
	MaxBody = 10 << 20
	// maxDelay is the longest that a response is held back.
	maxDelay = 5 * time.Minute
)

// rule is the name of all problems with files of stubs.
const rule = "mock"

// defaultPriority is that of a stub that names none, as WireMock has it.
const defaultPriority = 5

// Stub says what is answered to requests that meet its conditions.
type Stub struct {
	Name   string
	Source plan.Source
	// Priority: of the stubs that fit, one with the lowest number answers;
	// among these the one with the highest Rank, and then the first, or the last
	// when it is late.
	Priority int
	Rank     int
	late     bool
	// Port is that of an imposter; 0 for a stub that answers at any.
	Port int
	tls  *identity // of an imposter that speaks TLS

	conditions []condition
	responses  []response // in turn, and from the beginning again

	requires map[string]string // states that must hold
	sets     map[string]string // states from then on; "" takes one away
}

// Request is what a request is matched by.
type Request struct {
	Method, Scheme, Host string
	Port                 int
	Path                 string // decoded
	RawPath              string // as sent
	RawQuery             string
	Query                map[string][]string
	Header               http.Header
	Body                 []byte
	Remote               string // address of the client, without its port
	Proxied              bool   // the client takes us for a proxy

	formed  map[string][]string
	cookies map[string][]string
}

// target is the path and the query, as sent.
func (r *Request) target() string {
	if r.RawQuery == "" {
		return r.RawPath
	}
	return r.RawPath + "?" + r.RawQuery
}

// parseJSON is the value of a text that is one JSON value and no more.
func parseJSON(text []byte) (v any, ok bool) {
	err := json.Unmarshal(text, &v)
	return v, err == nil
}

// response is one answer.
type response struct {
	shape    string // the path that names its parts, for templates
	status   int
	header   []pair
	body     []byte
	template *template // of the body

	delay    delay
	dribble  *dribble
	fault    fault
	proxy    string // base URL of who answers instead
	remove   string // prefix of the path that is not passed on
	forward  []pair // headers set in what is passed on
	copies   []copying
	repeat   int  // how often in turn; 0 is once
	defaults bool // it is what an imposter says when nothing fits
}

// pair is a header.
type pair struct {
	name, value string
	template    *template
}

// dribble sends a body in parts.
type dribble struct {
	parts int
	over  time.Duration
}

// fault is a way to answer badly.
type fault string

// The faults.
const (
	faultEmpty   fault = "empty"   // the connection is closed without a word
	faultReset   fault = "reset"   // it is reset
	faultGarbage fault = "garbage" // rubbish, then the end
	faultBroken  fault = "broken"  // a good status line, then rubbish
)

// title names a stub for people.
func (s *Stub) title() string {
	if s.Name != "" {
		return s.Name + " (" + s.Source.String() + ")"
	}
	return s.Source.String()
}

// slug makes a text a part of a file's name.
func slug(text string) string {
	var b strings.Builder
	dash := true
	for _, r := range strings.ToLower(text) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
			dash = false
		case !dash:
			b.WriteByte('-')
			dash = true
		}
		if b.Len() >= 60 {
			break
		}
	}
	return strings.Trim(b.String(), "-")
}
