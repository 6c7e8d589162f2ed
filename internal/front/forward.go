package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A request is passed on by the goroutine that serves it: it writes the header
// to a connection of the instance, reads the answer from it, and writes that to
// the client. Only a body goes up on a goroutine of its own, because an instance
// may answer before it has read all of it. Nothing between the two connections has
// to be woken for a byte to go on, which is what a general client spends
// half of its time with.

const (
	copySize     = 32 << 10
	continueTime = time.Second            // how long a body waits for 100 (Continue)
	settleTime   = 100 * time.Millisecond // for the last bytes of a body whose answer is there
	maxInterim   = 16                     // answers 1xx before the final one
)

// refusal is an answer of our own.
type refusal struct {
	status int
	text   string
}

var (
	notRouted  = refusal{http.StatusNotFound, "No service answers at this address."}
	notReady   = refusal{http.StatusServiceUnavailable, "The service is not available at the moment. Try again soon."}
	badHost    = refusal{http.StatusBadRequest, "The request names no valid host."}
	badTarget  = refusal{http.StatusBadRequest, "The address of the request cannot be passed on."}
	badBody    = refusal{http.StatusBadRequest, "The body of the request is broken."}
	noConnect  = refusal{http.StatusMethodNotAllowed, "This server opens no tunnels."}
	tooLarge   = refusal{http.StatusRequestEntityTooLarge, "The body of the request is too large."}
	noAnswer   = refusal{http.StatusBadGateway, "The service did not answer."}
	lateAnswer = refusal{http.StatusGatewayTimeout, "The service took too long to answer."}
)

func refuse(w http.ResponseWriter, why refusal) {
	h := w.Header()
	h["Content-Type"] = []string{"text/plain; charset=utf-8"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	h["Cache-Control"] = []string{"no-store"}
	if why.status == http.StatusServiceUnavailable {
		h["Retry-After"] = []string{"1"}
	}
	w.WriteHeader(why.status)
	_, _ = io.WriteString(w, why.text+"\n")
}

// exchange is one request on its way.
type exchange struct {
	f      *Front
	w      http.ResponseWriter
	r      *http.Request
	client *client
	host   string // as routes have it
	path   string // clean
	target string // what the instance is asked for

	route   *route
	b       *backend // whose request it is
	count   *shard   // of b
	begun   time.Time
	user    string  // who is kept at a release
	cookie  bool    // the user is new, and is to be told who it is
	upgrade string  // the protocol that the client wants to change to, if it is passed on
	up      *upload // of the body; nil without one
}

// ServeHTTP passes the request on to an instance, as the table says.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.ending.Load() {
		w.Header()["Connection"] = []string{"close"} // the client's next request is our successor's
	}
	x := exchange{f: f, w: w, r: r}
	var valid bool
	if x.host, valid = hostOf(r.Host); !valid {
		refuse(w, badHost)
		return
	}
	if r.Method == http.MethodConnect {
		refuse(w, noConnect)
		return
	}
	x.path = clean(r.URL.Path)
	if x.client, _ = r.Context().Value(clientKey{}).(*client); x.client == nil { // not from one of our listeners
		x.client = newClient(0, r.RemoteAddr)
	}
	x.serve()
}

// serve has the request answered by the backend that the table names; if that
// did not take it, once by another.
func (x *exchange) serve() {
	if why, ok := x.lead(nil); !ok {
		x.refuse(why)
		return
	}
	if !x.aim() {
		return
	}
	if limit := x.route.MaxBody; limit > 0 && x.r.ContentLength > limit {
		x.b.leave()
		x.route.service.refused.Add(1)
		x.hangUp()
		x.refuse(tooLarge)
		return
	}
	x.upgrade = upgradeOf(x.r)
	failed := x.try(false)
	if failed == nil {
		return
	}
	first := x.b
	_, ok := x.lead(first)
	if !ok && failed.kept && first.acquire() {
		x.b, ok = first, true // only its connection was at fault
	}
	if ok {
		if !x.aim() { // the table may be another by now
			return
		}
		failed = x.try(true)
	}
	if failed != nil {
		x.refuse(failed.why)
	}
}

// hangUp has the server close the client's connection after the answer, since
// nobody will read the rest of the request. In HTTP/2 it is a stream of its own.
func (x *exchange) hangUp() {
	if x.r.ProtoMajor == 1 {
		x.w.Header()["Connection"] = []string{"close"}
	}
}

// aim finds out what the instance is asked for.
func (x *exchange) aim() (ok bool) {
	if x.target, ok = x.route.target(x.r); !ok {
		x.b.leave()
		x.refuse(badTarget)
	}
	return ok
}

// refuse answers the client itself. One that has left gets nothing: a handler
// that just returned would be taken to say 200.
func (x *exchange) refuse(why refusal) {
	if why.status == 0 {
		panic(http.ErrAbortHandler)
	}
	refuse(x.w, why)
}

// failure is a request that an instance did not answer, of which the client has
// not seen anything.
type failure struct {
	why  refusal
	kept bool // it was sent on a connection that had been kept
}

// try passes the request to x.b. With last, it tells the client of any failure;
// otherwise it returns one after which the request may be sent again.
func (x *exchange) try(last bool) *failure {
	defer x.b.leave()
	x.begun = time.Now()
	x.count = x.b.tally.at(x.client.shard)
	x.count.requests.Add(1)
	ctx := x.r.Context()
	hasBody := x.r.ContentLength != 0 && x.r.Body != nil && x.r.Body != http.NoBody
	twice := !hasBody && idempotent(x.r.Method)
	age := freshTime
	switch {
	case last:
		age = 0
	case twice:
		age = keepTime
	}
	c, err := x.b.get(ctx, x.route.connectTime(), age)
	if err != nil {
		if ctx.Err() != nil {
			x.count.cancelled.Add(1)
			panic(http.ErrAbortHandler)
		}
		x.count.broken.Add(1)
		if !errors.Is(err, errCut) {
			x.b.outUntil.Store(x.f.clock() + int64(outTime))
		}
		x.f.log.Debug("an instance takes no connections", "service", x.route.Service, "instance", x.b.name, "error", err)
		return &failure{why: noAnswer}
	}
	// A client that leaves takes the connection with it.
	stop := context.AfterFunc(ctx, func() { c.Conn.Close() })
	resp, err := x.ask(c, hasBody)
	if err != nil {
		left := !stop()
		x.settle(c)
		x.b.drop(c)
		return x.unanswered(c, err, left, twice || !c.sent && (x.up == nil || !x.up.touched.Load()), last)
	}
	x.count.status[min(resp.StatusCode/100, 5)-1].Add(1)
	x.count.latency[Bucket(time.Since(x.begun))].Add(1)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		stop()
		x.tunnel(c, resp)
		x.b.drop(c)
		return nil
	}
	readErr, writeErr := x.answer(c, resp)
	left := !stop() // before settle, which may end what is read from the client
	settled := x.settle(c)
	if readErr == nil && writeErr == nil && settled && !left && !resp.Close {
		x.b.put(c)
		return nil
	}
	x.b.drop(c)
	switch {
	case writeErr != nil, readErr != nil && left:
		x.count.cancelled.Add(1)
	case readErr != nil && resp.StatusCode < 500:
		x.count.broken.Add(1)
	}
	if readErr != nil {
		panic(http.ErrAbortHandler) // the client must not take what it has for the whole
	}
	return nil
}

// unanswered counts a request that got no answer, and decides whether it is tried
// again.
func (x *exchange) unanswered(c *conn, err error, left, again, last bool) *failure {
	if up := x.up; up != nil && up.clientErr != nil {
		x.count.cancelled.Add(1)
		x.hangUp()
		if errors.Is(up.clientErr, errTooLarge) {
			x.refuse(tooLarge)
		} else {
			x.refuse(badBody)
		}
		return nil
	}
	if left {
		x.count.cancelled.Add(1)
		panic(http.ErrAbortHandler)
	}
	x.count.broken.Add(1)
	late := isTimeout(err) || x.up != nil && x.up.late
	x.f.log.Debug("an instance has not answered", "service", x.route.Service, "instance", x.b.name, "error", err)
	why := noAnswer
	if late {
		why = lateAnswer
	}
	if again && !late && !c.heard && !last {
		return &failure{why: why, kept: c.used}
	}
	if !x.whole() {
		x.hangUp()
	}
	x.refuse(why)
	return nil
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// whole reports whether nothing of the request is left to be read.
func (x *exchange) whole() bool { return x.up == nil || x.up.whole.Load() }

// ask sends the request and reads the header of the answer.
func (x *exchange) ask(c *conn, hasBody bool) (*http.Response, error) {
	x.up = nil
	x.writeHeader(c.out, hasBody)
	if !hasBody {
		if err := c.out.Flush(); err != nil {
			return nil, err
		}
		if err := c.SetReadDeadline(x.begun.Add(x.route.answerTime())); err != nil {
			return nil, err
		}
	} else {
		x.up = newUpload(x.r, x.route.MaxBody, x.route.answerTime())
		if x.up.expects {
			if err := c.out.Flush(); err != nil {
				return nil, err
			}
		}
		x.up.started = true
		go x.up.run(c)
	}
	for i := 0; ; i++ {
		c.left = headerSize
		resp, err := http.ReadResponse(c.in, x.r)
		c.left = -1
		switch {
		case err != nil:
			return nil, fmt.Errorf("read the answer: %w", err)
		case resp.StatusCode >= 200 && resp.StatusCode <= 999:
			return resp, x.answered(c)
		case resp.StatusCode == http.StatusSwitchingProtocols:
			if x.upgrade == "" || !strings.EqualFold(resp.Header.Get("Upgrade"), x.upgrade) {
				return nil, fmt.Errorf("the instance changes to the protocol %q, and the client asked for %q", resp.Header.Get("Upgrade"), x.upgrade)
			}
			return resp, x.answered(c)
		case resp.StatusCode < 100:
			return nil, fmt.Errorf("the instance answers with the status %d", resp.StatusCode)
		case i == maxInterim:
			return nil, fmt.Errorf("the instance sent more than %d preliminary answers", maxInterim)
		case resp.StatusCode == http.StatusContinue:
			if x.up != nil {
				x.up.proceed() // then the server tells the client, too
			}
		case x.r.ProtoAtLeast(1, 1):
			h := x.w.Header()
			copyHeader(h, resp.Header)
			x.w.WriteHeader(resp.StatusCode)
			for name := range resp.Header {
				if !hopByHop(name) {
					delete(h, name)
				}
			}
		}
	}
}

// answered takes away the time limit: what follows may take as long as it likes.
func (x *exchange) answered(c *conn) error {
	if x.up == nil {
		return c.SetReadDeadline(time.Time{})
	}
	x.up.mu.Lock()
	defer x.up.mu.Unlock()
	x.up.answered = true
	return c.SetReadDeadline(time.Time{})
}

// answer writes the answer to the client, each part as soon as it is there.
func (x *exchange) answer(c *conn, resp *http.Response) (readErr, writeErr error) {
	h := x.w.Header()
	copyHeader(h, resp.Header)
	if _, named := h["Content-Type"]; !named {
		h["Content-Type"] = nil // it is not for us to guess
	}
	x.setCookie(h)
	for name := range resp.Trailer {
		h["Trailer"] = append(h["Trailer"], name)
	}
	if !x.whole() {
		x.hangUp()
	}
	announced := len(resp.Trailer)
	x.w.WriteHeader(resp.StatusCode)
	if resp.Body == http.NoBody {
		return nil, nil
	}
	readErr, writeErr = x.copyBody(c, resp)
	if readErr != nil || writeErr != nil || len(resp.Trailer) == 0 {
		return readErr, writeErr
	}
	if flusher, ok := x.w.(http.Flusher); ok {
		flusher.Flush() // so that there is a last chunk for them to follow
	}
	for name, values := range resp.Trailer {
		if announced != len(resp.Trailer) {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
	return nil, nil
}

func (x *exchange) copyBody(c *conn, resp *http.Response) (readErr, writeErr error) {
	flusher, _ := x.w.(http.Flusher)
	if resp.ContentLength >= 0 && !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		flusher = nil
	}
	buf := x.f.buffers.Get().(*[copySize]byte)
	defer x.f.buffers.Put(buf)
	for {
		n, err := resp.Body.Read(buf[:])
		if n > 0 {
			if _, writeErr = x.w.Write(buf[:n]); writeErr != nil {
				return nil, writeErr
			}
			if flusher != nil && c.in.Buffered() == 0 {
				flusher.Flush()
			}
		}
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return err, nil
		}
	}
}

// settle ends the upload, and reports whether the connection has carried the
// whole request.
func (x *exchange) settle(c *conn) bool {
	up := x.up
	if up == nil {
		return true
	}
	if !up.started {
		return false
	}
	select {
	case <-up.done:
		return up.sent
	default:
	}
	close(up.halt)
	if up.whole.Load() { // its last bytes are on their way
		timer := time.NewTimer(settleTime)
		defer timer.Stop()
		select {
		case <-up.done:
			return up.sent
		case <-timer.C:
		}
	}
	c.Conn.Close()
	if up.touched.Load() && !up.whole.Load() {
		// It may be waiting for the client. The server closes the client's connection,
		// as it was told by "Connection: close".
		_ = http.NewResponseController(x.w).SetReadDeadline(time.Unix(1, 0))
	}
	<-up.done
	return false
}

// upload sends the body of a request.
type upload struct {
	r       *http.Request
	limit   int64 // bytes; 0: none
	wait    time.Duration
	expects bool // the client waits for 100 (Continue)
	started bool

	halt    chan struct{} // closed: the body is not wanted any more
	more    chan struct{} // told when the instance asks for the body
	touched atomic.Bool   // something was read from the client
	whole   atomic.Bool   // all of it was

	mu       sync.Mutex
	answered bool // the answer's header is there, and has no time limit

	// Once done is closed:
	done      chan struct{}
	sent      bool  // the instance was sent all
	late      bool  // the instance did not read it in time
	clientErr error // why it could not be read from the client
}

var errTooLarge = errors.New("the body is larger than the route takes")

func newUpload(r *http.Request, limit int64, wait time.Duration) *upload {
	return &upload{r: r, limit: limit, wait: wait, expects: r.Header.Get("Expect") != "",
		halt: make(chan struct{}), more: make(chan struct{}, 1), done: make(chan struct{})}
}

func (u *upload) proceed() {
	select {
	case u.more <- struct{}{}:
	default:
	}
}

func (u *upload) run(c *conn) {
	if !u.expects || u.wanted() {
		u.touched.Store(true)
		err := u.send(c)
		u.sent = err == nil
		u.late = u.clientErr == nil && isTimeout(err)
	}
	if u.sent {
		_ = c.SetWriteDeadline(time.Time{})
		u.mu.Lock()
		if !u.answered {
			_ = c.SetReadDeadline(time.Now().Add(u.wait))
		}
		u.mu.Unlock()
	}
	over := u.late || u.clientErr != nil
	close(u.done)
	if over {
		c.Conn.Close() // the instance must not take what it has for the whole
	}
}

// wanted waits until the instance asks for the body, or has had time to refuse it.
func (u *upload) wanted() bool {
	timer := time.NewTimer(continueTime)
	defer timer.Stop()
	select {
	case <-u.more:
	case <-timer.C:
	case <-u.halt:
		return false
	}
	return true
}

func (u *upload) send(c *conn) error {
	size := u.r.ContentLength
	buf := make([]byte, bodyBuffer(size))
	var total int64
	for {
		n, err := u.r.Body.Read(buf)
		total += int64(n)
		if u.limit > 0 && total > u.limit {
			u.clientErr = errTooLarge
			return errTooLarge
		}
		if err == io.EOF || err == nil && total == size {
			u.whole.Store(true)
		} else if err != nil {
			select {
			case <-u.halt: // that was us
			default:
				u.clientErr = err
			}
			return err
		}
		if n > 0 {
			if size < 0 {
				fmt.Fprintf(c.out, "%x\r\n", n)
			}
			_, _ = c.out.Write(buf[:n]) // its error stays, and is that of Flush
			if size < 0 {
				_, _ = c.out.WriteString("\r\n")
			}
		}
		_ = c.SetWriteDeadline(time.Now().Add(u.wait))
		if u.whole.Load() {
			break
		}
		if err := c.out.Flush(); err != nil {
			return err
		}
	}
	if size < 0 {
		_, _ = c.out.WriteString("0\r\n")
		for name, values := range u.r.Trailer {
			for _, value := range values {
				writeField(c.out, name, value)
			}
		}
		_, _ = c.out.WriteString("\r\n")
	}
	return c.out.Flush()
}

func bodyBuffer(size int64) int64 {
	if size > 0 && size < copySize {
		return size
	}
	return copySize
}

// idempotent reports whether a request with the method may be sent twice (RFC
// 9110, 9.2.2).
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

func (r *route) connectTime() time.Duration {
	if r.Connect > 0 {
		return r.Connect
	}
	return ConnectTime
}

func (r *route) answerTime() time.Duration {
	if r.Answer > 0 {
		return r.Answer
	}
	return AnswerTime
}
