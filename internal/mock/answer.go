package mock

import (
	"crypto/tls"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// delay says how long an answer is held back.
type delay struct {
	fixed        time.Duration
	lower, upper time.Duration // of a random part; bounds when there is a median
	median       time.Duration // of a log-normal part
	sigma        float64
	also         []globalDelay
}

// spread is the sigma of the log-normal curve with such a median and mean.
func spread(median, mean time.Duration) float64 {
	if median <= 0 || mean <= median {
		return 0
	}
	return math.Sqrt(2 * math.Log(float64(mean)/float64(median)))
}

// of is the delay for one request.
func (d delay) of(r *Request, random func(n int) int) time.Duration {
	const fine = 1 << 30
	uniform := func() float64 { return (float64(random(fine)) + 0.5) / fine }
	sum := d.fixed
	switch {
	case d.median > 0:
		// Box and Muller: a normal number of two even ones.
		normal := math.Sqrt(-2*math.Log(uniform())) * math.Cos(2*math.Pi*uniform())
		x := time.Duration(min(float64(d.median)*math.Exp(d.sigma*normal), float64(maxDelay)))
		if d.upper > 0 {
			x = min(x, d.upper)
		}
		sum += max(x, d.lower)
	case d.upper > 0:
		sum += d.lower + time.Duration(uniform()*float64(d.upper-d.lower))
	}
	for _, g := range d.also {
		if (g.method == "" || g.method == r.Method) && g.address(r.Host+r.target()) {
			sum += g.by.of(r, random)
		}
	}
	return min(sum, maxDelay)
}

// rubbish is what is sent when an answer is to be none.
const rubbish = "\x13\x37lskdjf\x00\xff-not-http-\xfe\x01\x80"

// misbehave ends the connection as the fault has it.
func misbehave(w http.ResponseWriter, f fault, status int) error {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("take over the connection: %w", err)
	}
	defer conn.Close()
	switch f {
	case faultReset:
		raw := conn
		if t, ok := conn.(*tls.Conn); ok {
			raw = t.NetConn() // TLS itself would take its leave first
		}
		if c, ok := raw.(interface{ SetLinger(sec int) error }); ok {
			err := c.SetLinger(0) // closing then resets
			_ = raw.Close()       // the client is to see just that
			return err
		}
	case faultGarbage:
		_, _ = buf.WriteString(rubbish)
	case faultBroken:
		fmt.Fprintf(buf, "HTTP/1.1 %d %s\r\nTransfer-Encoding: chunked\r\n\r\n", status, statusText(status))
		_, _ = buf.WriteString(rubbish)
	}
	return buf.Flush()
}

// filled is a response with what comes from the request put in.
func (a *response) filled(s *scope) (header []pair, body []byte) {
	s.shape = a.shape
	fill := func(text string, t *template) string {
		if t != nil {
			text = t.render(s)
		}
		for _, c := range a.copies {
			text = c.fill(text, s.request)
		}
		return text
	}
	for _, h := range a.header {
		header = append(header, pair{name: h.name, value: fill(h.value, h.template)})
	}
	body = a.body
	if a.template != nil || len(a.copies) > 0 {
		body = []byte(fill(string(a.body), a.template))
	}
	return header, body
}

// framing are the headers that say how a body is sent, which is ours to say.
func framing(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive":
		return true
	}
	return false
}

// write sends an answer.
func (a *response) write(w http.ResponseWriter, r *http.Request, header []pair, body []byte) {
	for _, h := range header {
		if !framing(h.name) {
			w.Header().Add(h.name, h.value)
		}
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header()["Content-Type"] = nil // never guessed: the stub is the server
	}
	if a.dribble == nil {
		if bodyAllowed(a.status) {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		w.WriteHeader(a.status)
		_, _ = w.Write(body)
		return
	}
	w.WriteHeader(a.status)
	parts := min(a.dribble.parts, max(len(body), 1))
	for i := range parts {
		if !pause(r, a.dribble.over/time.Duration(parts)) {
			return
		}
		_, _ = w.Write(body[len(body)*i/parts : len(body)*(i+1)/parts])
		_ = http.NewResponseController(w).Flush()
	}
}

func bodyAllowed(status int) bool { return status >= 200 && status != 204 && status != 304 }

// pause waits, unless the client goes away.
func pause(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}
