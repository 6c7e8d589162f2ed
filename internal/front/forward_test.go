package front

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// scripted is an instance that reads one request as text, and answers with what
// the script says, word for word.
func scripted(t *testing.T, name string, script func(in *bufio.Reader, c net.Conn)) Backend {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				script(bufio.NewReader(c), c)
			}()
		}
	}()
	return backendAt(name, l.Addr().String(), 1)
}

// header reads the lines of a header, the first one first and the others sorted.
func header(in *bufio.Reader) []string {
	var lines []string
	for {
		text, err := in.ReadString('\n')
		if text = strings.TrimRight(text, "\r\n"); text == "" || err != nil {
			break
		}
		lines = append(lines, text)
	}
	if len(lines) > 1 {
		slices.Sort(lines[1:])
	}
	return lines
}

// TestRequestsAsInstancesSeeThem holds what a client sends against what arrives.
func TestRequestsAsInstancesSeeThem(t *testing.T) {
	t.Parallel()
	seen := make(chan []string, 1)
	b := scripted(t, "v1-0", func(in *bufio.Reader, c net.Conn) {
		seen <- header(in)
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	})
	forwarded := func(host string) []string {
		return []string{"Forwarded: for=127.0.0.1;host=\"" + host + "\";proto=http", "Host: " + host, "Via: 1.1 fairlead",
			"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: " + host, "X-Forwarded-Proto: http"}
	}
	f := opened(t, one(b))
	addr := serving(t, f)
	for _, tt := range []struct {
		name, text string
		trusted    []string
		path       string
		want       []string
	}{
		{name: "plain", text: "GET /a%2Fb//../c?x=1;y HTTP/1.1\r\nHost: Shop.example.com:8080\r\nAccept: a\r\nAccept: b\r\n\r\n",
			want: append(forwarded("Shop.example.com:8080"), "GET /a%2Fb//../c?x=1;y HTTP/1.1", "Accept: a", "Accept: b")},
		{name: "of one connection alone", text: "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop , Cookie\r\nKeep-Alive: 5\r\nX-Hop: 1\r\nCookie: a=b\r\nTE: trailers, deflate\r\nProxy-Authorization: x\r\nProxy-Connection: y\r\nX-Stays: 1\r\n\r\n",
			want: append(forwarded("a"), "GET / HTTP/1.1", "X-Stays: 1", "Te: trailers")},
		{name: "said by a stranger", text: "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 1\r\nX-Real-Ip: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n\r\n",
			want: append(forwarded("a"), "GET / HTTP/1.1")},
		{name: "said by a proxy", trusted: []string{"127.0.0.0/8"}, text: "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 b\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\nX-Forwarded-Host: h\r\nX-Forwarded-Proto: https\r\nX-Real-Ip: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n\r\n",
			want: []string{"GET / HTTP/1.1", "Forwarded: for=1.1.1.1, for=127.0.0.1;host=\"a\";proto=http", "Host: a", "Via: 1.0 b, 1.1 fairlead",
				"X-Forwarded-For: 1.1.1.1, 2.2.2.2, 127.0.0.1", "X-Forwarded-Host: h", "X-Forwarded-Proto: https", "X-Real-Ip: 1.1.1.1"}},
		{name: "an absolute address", text: "GET http://b/x?y HTTP/1.1\r\nHost: a\r\n\r\n", want: append(forwarded("b"), "GET /x?y HTTP/1.1")},
		{name: "HTTP/1.0", text: "GET / HTTP/1.0\r\nHost: a\r\n\r\n", want: append(slices.DeleteFunc(forwarded("a"), func(s string) bool { return s[0] == 'V' }), "GET / HTTP/1.1", "Via: 1.0 fairlead")},
		{name: "no body", text: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", want: append(forwarded("a"), "POST / HTTP/1.1", "Content-Length: 0")},
		{name: "another protocol", text: "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", want: append(forwarded("a"), "GET / HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket")},
		{name: "a protocol that hides requests", text: "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n", want: append(forwarded("a"), "GET / HTTP/1.1")},
		{name: "stripped", path: "/api", text: "GET /api/x%2Fy?z HTTP/1.1\r\nHost: a\r\n\r\n", want: append(forwarded("a"), "GET /x%2Fy?z HTTP/1.1", "X-Forwarded-Prefix: /api")},
		{name: "stripped to nothing", path: "/api", text: "GET /api HTTP/1.1\r\nHost: a\r\n\r\n", want: append(forwarded("a"), "GET / HTTP/1.1", "X-Forwarded-Prefix: /api")},
		{name: "stripped, by a detour", path: "/api", text: "GET /x/..//%61pi/y%20z/ HTTP/1.1\r\nHost: a\r\n\r\n", want: append(forwarded("a"), "GET /y%20z/ HTTP/1.1", "X-Forwarded-Prefix: /api")},
	} {
		table := one(b)
		table.Trusted, table.Routes[0].Path, table.Routes[0].Strip = tt.trusted, tt.path, tt.path != ""
		apply(t, f, table)
		c := dial(t, addr)
		fmt.Fprint(c, tt.text)
		got := <-seen
		i := slices.IndexFunc(tt.want, func(s string) bool { return strings.Contains(s, " HTTP/1.1") })
		want := slices.Concat(tt.want[i:i+1], slices.Sorted(slices.Values(slices.Delete(slices.Clone(tt.want), i, i+1))))
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if status := line(t, bufio.NewReader(c)); !strings.HasSuffix(status, " 204 No Content") {
			t.Errorf("%s: the client got %s", tt.name, status)
		}
	}
}

// TestHostileRequests must reach no instance.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	f := opened(t, one(instance(t, "v1-0", 1, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s got through", r.Method, r.URL) })))
	addr := serving(t, f)
	for _, tt := range []struct{ name, text, want string }{
		{"no host", "GET / HTTP/1.1\r\n\r\n", "400"},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"},
		{"a host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"},
		{"a host with a quote", "GET / HTTP/1.1\r\nHost: a\";by=b\r\n\r\n", "400"},
		{"a host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400"},
		{"a host with a user", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "400"},
		{"a host with a port that is none", "GET / HTTP/1.1\r\nHost: a:80x\r\n\r\n", "400"},
		{"a length and chunks", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "501"},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", "400"},
		{"a length with a sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd", "400"},
		{"another coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "501"},
		{"a coding in disguise", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400"},
		{"a field that is folded", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\x00\r\n\r\n", "400"},
		{"a target with a space", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		{"a tunnel", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "405"},
		{"a large header", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", headerBytes+8<<10) + "\r\n\r\n", "431"},
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\r\n\r\n", "400"},
		{"an unknown expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: more\r\nContent-Length: 1\r\n\r\nx", "417"},
	} {
		c := dial(t, addr)
		fmt.Fprint(c, tt.text)
		if got := line(t, bufio.NewReader(c)); !strings.HasPrefix(got, "HTTP/1.1 "+tt.want) {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		c.Close()
	}
}

// TestSmuggling sends requests whose end can be seen in two ways: an instance
// must see exactly the one that we saw.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 4)
	f := opened(t, one(instance(t, "v1-0", 1, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen <- fmt.Sprintf("%s %d %s", r.URL, r.ContentLength, body)
	})))
	addr := serving(t, f)
	raw(t, addr, "POST /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n")
	if got := <-seen; got != "/1 -1 hello" {
		t.Error(got)
	}
	c := dial(t, addr)
	fmt.Fprint(c, "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nGET /admin HTTP/1.1\r\n\r\n")
	if got := line(t, bufio.NewReader(c)); !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Error(got)
	}
	select {
	case got := <-seen:
		if !strings.HasPrefix(got, "/2 -1 ") {
			t.Error(got)
		}
	default:
	}
}

func TestStreamsAtOnce(t *testing.T) {
	t.Parallel()
	more := make(chan bool)
	f := opened(t, one(instance(t, "v1-0", 1, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n", i)
			w.(http.Flusher).Flush()
			<-more
		}
	})))
	addr := serving(t, f)
	resp, err := http.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for i := range 3 {
		if got := line(t, in); got != fmt.Sprint("data: ", i) {
			t.Error(got)
		}
		more <- true // only now does the instance go on
	}
}

// TestBothWaysAtOnce has client and instance take turns within one request.
func TestBothWaysAtOnce(t *testing.T) {
	t.Parallel()
	f := opened(t, one(instance(t, "v1-0", 1, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		in := bufio.NewReader(r.Body)
		for {
			text, err := in.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(w, "re: "+text)
			w.(http.Flusher).Flush()
		}
	})))
	addr := serving(t, f)
	up, words := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, "http://"+addr, up)
	if err != nil {
		t.Fatal(err)
	}
	go fmt.Fprintln(words, "0")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for i := range 4 {
		if got := line(t, in); got != fmt.Sprint("re: ", i) {
			t.Error(got)
		}
		fmt.Fprintln(words, i+1)
	}
	words.Close()
}

func TestTrailers(t *testing.T) {
	t.Parallel()
	f := opened(t, one(instance(t, "v1-0", 1, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Announced")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Announced", r.Trailer.Get("X-Sum"))
		if r.URL.Path == "/more" {
			w.Header().Set(http.TrailerPrefix+"X-Surprise", "yes")
		}
	})))
	addr := serving(t, f)
	for _, path := range []string{"/", "/more"} {
		req, err := http.NewRequest(http.MethodPost, "http://"+addr+path, io.MultiReader(strings.NewReader("hello"))) // of unknown length
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{"X-Sum": {"5"}}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "hello" || resp.Trailer.Get("X-Announced") != "5" || resp.Trailer.Get("X-Surprise") != map[string]string{"/more": "yes"}[path] {
			t.Errorf("%s: %q %v %v", path, body, resp.Trailer, err)
		}
	}
}

func TestContinue(t *testing.T) {
	t.Parallel()
	f := opened(t, one(instance(t, "v1-0", 1, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		_, _ = io.Copy(w, r.Body)
	})))
	addr := serving(t, f)
	text := func(path string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
	}
	c := dial(t, addr)
	in := bufio.NewReader(c)
	fmt.Fprint(c, text("/yes"))
	if got := line(t, in); got != "HTTP/1.1 100 Continue" {
		t.Fatal(got)
	}
	line(t, in)
	fmt.Fprint(c, "hello")
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != "hello" {
		t.Errorf("%s %s", resp.Status, body)
	}
	// One that is not wanted is not asked for, unless the instance takes its time.
	begin := time.Now()
	fmt.Fprint(c, text("/no"))
	resp, err = http.ReadResponse(in, nil)
	if (err != nil || resp.StatusCode != http.StatusExpectationFailed || !resp.Close) && time.Since(begin) < continueTime {
		t.Errorf("%+v, %v", resp, err)
	}
}

// TestEarlyAnswer has an instance that answers before the client has sent all.
func TestEarlyAnswer(t *testing.T) {
	t.Parallel()
	b := scripted(t, "v1-0", func(in *bufio.Reader, c net.Conn) {
		header(in)
		_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
		_, _ = io.Copy(io.Discard, in)
	})
	f := opened(t, one(b))
	addr := serving(t, f)
	c := dial(t, addr)
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nonly this")
	back, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(back), "HTTP/1.1 403 Forbidden\r\n") || !strings.Contains(string(back), "Connection: close") || !strings.HasSuffix(string(back), "\r\n\r\nno") {
		t.Errorf("%q %v", back, err)
	}
	await(t, func() bool { return f.Counts().Services[0].Releases[0].InFlight == 0 })
}

// TestClientThatBreaksOff must not make an instance believe that it has the whole.
func TestClientThatBreaksOff(t *testing.T) {
	t.Parallel()
	for _, framing := range []string{"Content-Length: 100", "Transfer-Encoding: chunked"} {
		read := make(chan error, 1)
		f := opened(t, one(instance(t, "v1-0", 1, func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			read <- err
		})))
		c := dial(t, serving(t, f))
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n5\r\nhello\r\n", framing)
		c.Close()
		if err := <-read; err == nil {
			t.Errorf("%s: the instance took a part for the whole", framing)
		}
		await(t, func() bool { return f.Counts().Services[0].Releases[0].Cancelled == 1 })
		if c := f.Counts().Services[0].Releases[0].Count; c.Broken != 0 {
			t.Errorf("%s: the instance is blamed: %+v", framing, c)
		}
	}
}

func TestClientThatLeaves(t *testing.T) {
	t.Parallel()
	begun, left := make(chan bool, 1), make(chan bool)
	f := opened(t, one(instance(t, "v1-0", 1, func(_ http.ResponseWriter, r *http.Request) {
		begun <- true
		<-r.Context().Done()
		close(left)
	})))
	c := dial(t, serving(t, f))
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-begun
	c.Close()
	<-left // the instance may stop, too
	await(t, func() bool { return f.Counts().Services[0].Releases[0].Cancelled == 1 })
}

// TestAnswersOfInstances are those that are none, or only part of one.
func TestAnswersOfInstances(t *testing.T) {
	t.Parallel()
	answer := make(chan string, 2)
	b := scripted(t, "v1-0", func(in *bufio.Reader, c net.Conn) {
		header(in)
		_, _ = io.WriteString(c, <-answer)
	})
	f := opened(t, one(b))
	addr := serving(t, f)
	for _, tt := range []struct {
		name, text, status, body string
		broken                   bool // it ends before its end
	}{
		{"whole", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", "200", "hi", false},
		{"up to the end of the connection", "HTTP/1.0 200 OK\r\n\r\nhi", "200", "hi", false},
		{"after interim ones", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "201", "", false},
		{"none", "", "502", "The service did not answer.\n", false},
		{"half a header", "HTTP/1.1 200 OK\r\nContent-", "502", "The service did not answer.\n", false},
		{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", "502", "The service did not answer.\n", false},
		{"a status below 100", "HTTP/1.1 099 Odd\r\n\r\n", "502", "The service did not answer.\n", false},
		{"an upgrade that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", "502", "The service did not answer.\n", false},
		{"interim ones for ever", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100), "502", "The service did not answer.\n", false},
		{"a header without end", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", headerSize+64<<10), "502", "The service did not answer.\n", false},
		{"part of a length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhi", "200", "", true},
		{"part of chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", "200", "", true},
	} {
		answer <- tt.text
		c := dial(t, addr)
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") // which is not tried again
		var interim []int
		in := bufio.NewReader(c)
		resp, err := http.ReadResponse(in, nil)
		for err == nil && resp.StatusCode < 200 {
			interim = append(interim, resp.StatusCode)
			resp, err = http.ReadResponse(in, nil)
		}
		if err != nil {
			if !tt.broken {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if tt.broken && err == nil || !tt.broken && (err != nil || string(body) != tt.body) || !strings.HasPrefix(resp.Status, tt.status) {
			t.Errorf("%s: %s %q %v", tt.name, resp.Status, body, err)
		}
		if tt.name == "after interim ones" && !slices.Equal(interim, []int{102, 103}) {
			t.Errorf("%s: %v", tt.name, interim)
		}
	}
}

func TestAnswerThatIsLate(t *testing.T) {
	t.Parallel()
	end := make(chan bool)
	table := one(instance(t, "v1-0", 1, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-end
	}))
	table.Routes[0].Answer = 20 * time.Millisecond
	f := opened(t, table)
	addr := serving(t, f)
	defer close(end)
	if status, _, _ := get(t, addr); status != http.StatusGatewayTimeout {
		t.Errorf("GET: %d", status)
	}
	if got := raw(t, addr, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"); !strings.HasPrefix(got, "HTTP/1.1 504 ") {
		t.Error(got)
	}
}

// TestInstanceThatDoesNotRead must not hold an upload for ever.
func TestInstanceThatDoesNotRead(t *testing.T) {
	t.Parallel()
	end := make(chan bool)
	defer close(end)
	table := one(scripted(t, "v1-0", func(*bufio.Reader, net.Conn) { <-end }))
	table.Routes[0].Answer = 50 * time.Millisecond
	f := opened(t, table)
	c := dial(t, serving(t, f))
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
	go func() { // until it is cut off
		_, _ = io.CopyN(c, zeroes{}, 1000000000)
	}()
	await(t, func() bool { c := f.Counts().Services[0].Releases[0]; return c.Broken == 1 && c.InFlight == 0 })
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { return len(p), nil }

// TestSlowHeader is a client that never comes to the end of its request.
func TestSlowHeader(t *testing.T) {
	t.Parallel()
	f := opened(t, one())
	if f.plain.ReadHeaderTimeout != headerTime || f.tls.ReadHeaderTimeout != headerTime {
		t.Error("headers may take as long as they like")
	}
	f.plain.ReadHeaderTimeout = 20 * time.Millisecond
	c := dial(t, serving(t, f))
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\nX-Slow:")
	if back, err := io.ReadAll(c); err != nil || strings.Contains(string(back), " 200 ") {
		t.Errorf("%q %v", back, err)
	}
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	table := one(instance(t, "v1-0", 1, named("v1")))
	table.Routes[0].MaxBody = 10
	addr := serving(t, opened(t, table))
	for text, want := range map[string]string{
		"Content-Length: 10\r\n\r\n0123456789":                               "200",
		"Content-Length: 11\r\n\r\n0123456789x":                              "413",
		"Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n":     "200",
		"Transfer-Encoding: chunked\r\n\r\nb\r\n0123456789x\r\n0\r\n\r\n":    "413",
		"Content-Length: 1000000000000\r\nExpect: 100-continue\r\n\r\n":      "413",
		"Content-Length: 10\r\nContent-Type: x\r\n\r\n0123456789GET / HTTP/": "200",
	} {
		c := dial(t, addr)
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\n"+text)
		if got := line(t, bufio.NewReader(c)); !strings.HasPrefix(got, "HTTP/1.1 "+want) {
			t.Errorf("%.60q: %s, want %s", text, got, want)
		}
		c.Close()
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(named("v1"))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	addr := serving(t, opened(t, one(backendAt("v1-0", path, 1))))
	for range 3 {
		if err := kept(addr, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 3, nil); err != nil {
			t.Error(err)
		}
	}
}

// TestHTTP2 goes through the same over TLS and HTTP/2.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	begun, finish := make(chan bool, 1), make(chan bool)
	table := one(instance(t, "v1-0", 1, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			begun <- true
			<-finish
		}
		w.Header().Set("Trailer", "X-Sum")
		n, _ := io.Copy(w, r.Body)
		w.Header().Set("X-Sum", fmt.Sprint(n, " ", r.Header.Get("X-Forwarded-Proto"), " ", r.Header.Get("Via")))
	}))
	dir := t.TempDir()
	table.Routes[0].TLS = certify(t, dir, "one", "localhost")
	f := opened(t, table)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- f.ServeTLS(l) }()
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}}}
	url := "https://" + l.Addr().String()
	for i := range 3 {
		resp, err := client.Post(url, "text/plain", io.MultiReader(strings.NewReader("hello")))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.ProtoMajor != 2 || string(body) != "hello" || resp.Trailer.Get("X-Sum") != "5 https 2.0 fairlead" {
			t.Errorf("%d: %s %q %v %v", i, resp.Proto, body, resp.Trailer, err)
		}
	}
	// What is too large ends its stream, and not the connection.
	table.Routes[0].MaxBody = 5
	apply(t, f, table)
	var conns atomic.Int64
	reused := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if !i.Reused {
			conns.Add(1)
		}
	}}
	for body, want := range map[string]int{"hello": http.StatusOK, "hello again": http.StatusRequestEntityTooLarge} {
		req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), reused), http.MethodPost, url, io.MultiReader(strings.NewReader(body)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, _ = io.Copy(io.Discard, resp.Body); resp.StatusCode != want || conns.Load() > 0 {
			t.Errorf("%q: %d, %d connections", body, resp.StatusCode, conns.Load())
		}
	}
	table.Routes[0].MaxBody = 0
	apply(t, f, table)
	// A client that leaves resets its stream alone.
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/wait", nil)
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan error, 1)
	go func() {
		_, err := client.Do(req)
		left <- err
	}()
	<-begun
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	await(t, func() bool { return f.Counts().Services[0].Releases[0].Cancelled == 1 })
	close(finish)
	// What is under way when the front ends is finished.
	answered := make(chan error, 1)
	up, words := io.Pipe()
	wrote := make(chan struct{})
	trace := &httptrace.ClientTrace{WroteHeaders: func() { close(wrote) }}
	req, err = http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodPost, url, up)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		resp, err := client.Do(req)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
		}
		answered <- err
	}()
	<-wrote
	await(t, func() bool { return f.Counts().Services[0].Releases[0].InFlight == 1 })
	ended := make(chan int, 1)
	go func() {
		cut, _ := f.Shutdown(t.Context())
		ended <- cut
	}()
	await(t, f.ending.Load)
	fmt.Fprintln(words, "the rest")
	words.Close()
	if err := <-answered; err != nil {
		t.Error(err)
	}
	client.CloseIdleConnections()
	if cut := <-ended; cut != 0 {
		t.Errorf("%d were cut off", cut)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestForceAndSticky are requests that do not go by weight alone.
func TestForceAndSticky(t *testing.T) {
	t.Parallel()
	table := one(instances(t, map[string]int{"v1-0": 90, "v2-0": 10, "v3-0": 0})...)
	table.Routes[0].Force, table.Routes[0].Sticky = "X-Release", &Sticky{Cookie: "seat"}
	f := opened(t, table)
	addr := serving(t, f)
	for range 5 {
		if _, body, h := get(t, addr, "X-Release: v3"); body != "v3-0" || len(h["Set-Cookie"]) > 0 {
			t.Errorf("forced: %s %v", body, h)
		}
	}
	if status, _, _ := get(t, addr, "X-Release: v4"); status != http.StatusServiceUnavailable {
		t.Errorf("forced to what is not there: %d", status)
	}
	users := map[string][]string{}
	for range 400 {
		_, body, h := get(t, addr)
		cookies, err := http.ParseSetCookie(h.Get("Set-Cookie"))
		if err != nil || !cookies.HttpOnly || cookies.Name != "seat" {
			t.Fatalf("%v %v", h, err)
		}
		users[body] = append(users[body], cookies.Value)
	}
	if n := len(users["v2-0"]); n < 8 || n > 90 || len(users) != 2 {
		t.Errorf("%d of 400 users at a share of a tenth, %v", n, slices.Collect(maps.Keys(users)))
	}
	// As its share grows a canary's users stay, and each user stays with the
	// release that it comes to.
	for _, weight := range []int{10, 30, 60, 99} {
		for i := range table.Routes[0].Backends {
			switch b := &table.Routes[0].Backends[i]; b.Name {
			case "v1-0":
				b.Weight = 100 - weight
			case "v2-0":
				b.Weight = weight
			}
		}
		apply(t, f, table)
		for _, user := range users["v2-0"] {
			if _, body, h := get(t, addr, "Cookie: seat="+user); body != "v2-0" || len(h["Set-Cookie"]) > 0 {
				t.Fatalf("at %d of 100 user %s of v2 got %s %v", weight, user, body, h)
			}
		}
		for i, user := range users["v1-0"][:40] {
			_, body, _ := get(t, addr, "Cookie: seat="+user)
			if body == "v2-0" {
				users["v2-0"] = append(users["v2-0"], users["v1-0"][i])
			}
		}
	}
}
