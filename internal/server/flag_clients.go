package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/feature"
	"github.com/fairlead-dev/fairlead/internal/launch"
)

// Programs ask for flags below an address of their own for each repository and environment,
//
//	https://fairlead.example.org/client/flags/team/app/production
//
// which is the base URL of their OpenFeature provider (OFREP, .../ofrep/v1/...) and, with
// /unleash/api behind it, of their Unleash client. They are tokens, never sessions: what
// such a token may do is evaluate ([access.EvaluateFlags]), and a page of another site can do
// nothing with somebody's cookie here.
//
// Nothing on this way waits for the store: flags are in memory (launch.Flags), and a token that was
// looked at is believed for a while, longer when the store does not answer.

const (
	clientRoot = "/client/flags/"
	// maxContext is the size of the largest body of a program.
	maxContext = 256 << 10
	// believed is how long a token is taken that was looked at, believedLong how long while the
	// store does not answer.
	believed     = 5 * time.Second
	believedLong = 24 * time.Hour
	maxPrograms  = 10_000
	// streamLife is how long a stream of changes is open before the program has to come
	// again.
	streamLife = 30 * time.Minute
	// maxFlagStreams is how many of them are open at a time.
	maxFlagStreams = 10_000
)

// programs remembers which tokens may ask for the flags of what.
type programs struct {
	mu   sync.Mutex
	seen map[[sha256.Size]byte]time.Time // when it was looked at

	streams atomic.Int64 // that are open
}

func (s *Server) flagClientRoutes() []route {
	const open = "a program's token is looked at by the row, which must answer while the store is down"
	row := route{Path: clientRoot + "{place...}", Open: open, Faces: rootOnly, Do: stream(s.flagClient), MaxBody: maxContext}
	get, post, options := row, row, row
	get.Method, post.Method, options.Method = http.MethodGet, http.MethodPost, http.MethodOptions
	return []route{get, post, options}
}

// flagClient answers a program.
func (s *Server) flagClient(w http.ResponseWriter, r *request) error {
	if s.Flags == nil {
		return lacking("feature flags")
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	// Programs in browsers come from anywhere, with a token and no cookie.
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "ETag")
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-None-Match, X-API-Key, Last-Event-ID")
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	place := r.PathValue("place")
	before, rest, ok := strings.Cut(place, "/ofrep/v1/")
	unleash := false
	if !ok {
		if before, rest, unleash = strings.Cut(place, "/unleash/api/"); !unleash {
			return missing("page")
		}
	}
	i := strings.LastIndexByte(before, '/')
	if i < 1 || i == len(before)-1 {
		return missing("repository and environment")
	}
	c := &flagCall{Server: s, w: w, r: r, repository: before[:i], environment: strings.ToLower(before[i+1:])}
	stream := !unleash && rest == "events"
	if !stream || !c.ticketed() {
		if err := c.admit(); err != nil {
			return err
		}
	}
	live, err := s.Flags.Live(r.Context(), c.repository, c.environment)
	if err != nil {
		return err
	}
	c.live = live
	switch {
	case stream && r.Method == http.MethodGet:
		return c.stream()
	case unleash:
		return c.unleash(rest)
	case r.Method == http.MethodPost && rest == "evaluate/flags":
		return c.evaluateAll()
	case r.Method == http.MethodPost && strings.HasPrefix(rest, "evaluate/flags/"):
		return c.evaluate(strings.TrimPrefix(rest, "evaluate/flags/"))
	}
	return missing("page")
}

// flagCall is a call of a program.
type flagCall struct {
	*Server
	w                       http.ResponseWriter
	r                       *request
	repository, environment string
	live                    *launch.LiveFlags
}

// admit looks at the token: "Bearer TOKEN", as OpenFeature's providers are told to send it, TOKEN
// alone as Unleash's clients do, or X-API-Key.
func (c *flagCall) admit() error {
	token := c.r.Header.Get("Authorization")
	if t, ok := cutFold(token, "Bearer "); ok {
		token = t
	}
	if token == "" {
		token = c.r.Header.Get("X-API-Key")
	}
	if token = strings.TrimSpace(token); token == "" || c.Gate == nil {
		c.w.Header().Set("WWW-Authenticate", `Bearer realm="fairlead"`)
		return problem(http.StatusUnauthorized, "sign_in", "make a token with the right flags.evaluate, and send it as Authorization: Bearer …", "this needs a token")
	}
	key := sha256.Sum256([]byte(token + "\n" + c.repository + "\n" + c.environment))
	now := time.Now()
	p := &c.programs
	p.mu.Lock()
	last, known := p.seen[key]
	p.mu.Unlock()
	if known && now.Sub(last) < believed {
		return nil
	}
	who, err := c.Gate.Token(c.r.Context(), token, c.r.Who.From)
	switch {
	case errors.Is(err, access.ErrNoToken):
		p.forget(key)
		return problem(http.StatusUnauthorized, "token", "make another one", "the token is not known, or not any more")
	case err != nil && known && now.Sub(last) < believedLong:
		return nil // the store does not answer, and it was good
	case err != nil:
		return err
	}
	c.r.Who = who
	if d := access.Decide(who, access.EvaluateFlags, access.Object{Repository: c.repository, Environment: c.environment}); !d.Allowed {
		p.forget(key)
		return problem(http.StatusForbidden, "denied", "use a token that has the right flags.evaluate there", "you may not: %s", d.Why)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil || len(p.seen) >= maxPrograms {
		p.seen = map[[sha256.Size]byte]time.Time{}
	}
	p.seen[key] = now
	return nil
}

func (p *programs) forget(key [sha256.Size]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.seen, key)
}

// context reads who asks.
func (c *flagCall) context() (map[string]any, feature.ErrorCode, string) {
	body, err := io.ReadAll(c.r.Body)
	if err != nil {
		return nil, feature.ParseError, "the body cannot be read"
	}
	if len(body) == 0 {
		return nil, "", ""
	}
	var in struct {
		Context any `json:"context"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, feature.ParseError, "the body is no JSON: " + err.Error()
	}
	context, ok := in.Context.(map[string]any)
	if !ok && in.Context != nil {
		return nil, "INVALID_CONTEXT", "the context is no object"
	}
	return context, "", ""
}

func (c *flagCall) evaluate(flag string) error {
	set, _ := c.live.Now()
	context, code, why := c.context()
	e := feature.Evaluation{Key: flag, Reason: feature.ErrorReason, Code: code, Details: why}
	if code == "" {
		e = set.Evaluate(flag, context, c.Now())
	}
	status := http.StatusOK
	switch e.Code {
	case "":
	case feature.FlagNotFound:
		status = http.StatusNotFound
	default:
		status = http.StatusBadRequest
	}
	c.send(status, e.AppendJSON(make([]byte, 0, 256)))
	return nil
}

func (c *flagCall) evaluateAll() error {
	set, _ := c.live.Now()
	context, code, why := c.context()
	if code != "" {
		b, _ := json.Marshal(map[string]any{"errorCode": code, "errorDetails": why})
		c.send(http.StatusBadRequest, b)
		return nil
	}
	b := append(make([]byte, 0, 4096), `{"flags":[`...)
	for i, e := range set.All(context, c.Now()) {
		if i > 0 {
			b = append(b, ',')
		}
		b = e.AppendJSON(b)
	}
	b = append(b, `],"eventStreams":[{"type":"sse","endpoint":{"requestUri":`...)
	uri, _ := json.Marshal(c.streamURI())
	b = append(append(b, uri...), "}}]"...)
	if m := set.Metadata(); len(m) > 0 {
		if meta, err := json.Marshal(m); err == nil {
			b = append(append(b, `,"metadata":`...), meta...)
		}
	}
	c.tagged(append(b, '}'))
	return nil
}

// tagged answers with an ETag, or that nothing has changed.
func (c *flagCall) tagged(b []byte) {
	sum := sha256.Sum256(b)
	tag := `"` + hex.EncodeToString(sum[:12]) + `"`
	c.w.Header().Set("ETag", tag)
	for given := range strings.SplitSeq(c.r.Header.Get("If-None-Match"), ",") {
		if given = strings.TrimPrefix(strings.TrimSpace(given), "W/"); given == tag || given == "*" {
			c.w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	c.send(http.StatusOK, b)
}

func (c *flagCall) send(status int, b []byte) {
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(b) // whoever asked may be gone
}

// A browser's stream cannot send a token, and a token is nothing for a URL. So the address of the
// stream has a ticket: good for this stream alone, which says no more than that something has
// changed, for a day or two.
func (c *flagCall) ticket(day int64) string {
	mac := hmac.New(sha256.New, c.streamKey[:])
	fmt.Fprintf(mac, "%s\n%s\n%d", c.repository, c.environment, day)
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

func (c *flagCall) today() int64 { return c.Now().Unix() / (24 * 60 * 60) }

func (c *flagCall) streamURI() string {
	return clientRoot + escapePath(c.repository) + "/" + escapePath(c.environment) + "/ofrep/v1/events?ticket=" + c.ticket(c.today())
}

func (c *flagCall) ticketed() bool {
	given := []byte(c.r.URL.Query().Get("ticket"))
	return subtle.ConstantTimeCompare(given, []byte(c.ticket(c.today())))|subtle.ConstantTimeCompare(given, []byte(c.ticket(c.today()-1))) == 1
}

// stream says, as server-sent events, when the flags are others.
func (c *flagCall) stream() error {
	if c.programs.streams.Add(1) > maxFlagStreams {
		c.programs.streams.Add(-1)
		c.w.Header().Set("Retry-After", seconds(beat))
		return problem(http.StatusTooManyRequests, "too_many", "have programs ask now and then instead", "more than %d streams are open", maxFlagStreams)
	}
	defer c.programs.streams.Add(-1)
	c.Server.untime(c.w, c.r.Request)
	h := c.w.Header()
	h.Set("Content-Type", eventStream)
	h.Set("X-Accel-Buffering", "no") // proxies shall not collect it
	out := c.patient(c.w)
	say := func(format string, args ...any) bool {
		_, err := fmt.Fprintf(out, format, args...)
		return err == nil && out.flush() == nil
	}
	set, changed := c.live.Now()
	// Who comes may have asked for the flags a moment ago, or before the stream broke: the
	// first event tells which flags these are, and has them asked for again if they are others.
	sent := c.r.Header.Get("Last-Event-ID")
	if !say("retry: %d\n\n", reconnect.Milliseconds()) {
		return nil // whoever asked is gone
	}
	pulse := time.NewTicker(beat)
	defer pulse.Stop()
	end := time.NewTimer(streamLife)
	defer end.Stop()
	for {
		if d := set.Digest(); d != sent || sent == "" {
			if !say("id: %s\ndata: {\"type\":\"refetchEvaluation\",\"etag\":\"%s\"}\n\n", d, d) {
				return nil
			}
			sent = d
		}
		select {
		case <-changed:
			before := set
			if set, changed = c.live.Now(); set == before {
				sent = "" // the same flags, but the time of one has come
			}
		case <-pulse.C:
			if !say(": still here\n\n") {
				return nil
			}
		case <-end.C:
			return nil
		case <-c.r.Context().Done():
			return nil
		case <-c.life.Done():
			return nil
		}
	}
}

// unleash answers Unleash's clients. What they say of themselves and count is taken, and not
// kept.
func (c *flagCall) unleash(rest string) error {
	switch method := c.r.Method; {
	case method == http.MethodGet && rest == "client/features":
		body, _ := feature.WriteUnleash(c.live.Definitions(), c.Now())
		c.tagged(body)
	case method == http.MethodPost && (rest == "client/register" || rest == "client/metrics"):
		_, _ = io.Copy(io.Discard, c.r.Body)
		c.w.WriteHeader(http.StatusAccepted)
	default:
		return missing("page")
	}
	return nil
}
