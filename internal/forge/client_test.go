package forge

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	guards := []struct {
		name  string
		guard Guard
	}{
		{"default", Guard{}},
		{"private", Guard{Private: true}},
		{"loopback", Guard{Loopback: true}},
		{"listed", Guard{Allow: []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("10.1.0.0/16")}}},
	}
	for _, c := range []struct {
		address string
		allowed string // the guards that allow it
	}{
		{"140.82.121.4", "default private loopback listed"},
		{"2606:50c0:8000::153", "default private loopback listed"},
		{"::ffff:140.82.121.4", "default private loopback listed"},
		{"64:ff9b::8c52:7904", "default private loopback listed"},
		{"127.0.0.1", "loopback"},
		{"127.8.8.8", "loopback"},
		{"::1", "loopback"},
		{"::ffff:127.0.0.1", "loopback"},
		{"64:ff9b::7f00:1", "loopback"},
		{"10.0.0.1", "private"},
		{"10.1.0.1", "private listed"},
		{"172.16.0.1", "private"},
		{"192.168.1.1", "private"},
		{"100.64.0.1", "private"},
		{"fd12:3456::1", "private"},
		{"::ffff:10.0.0.1", "private"},
		{"64:ff9b::a00:1", "private"},
		{"169.254.169.254", "listed"},
		{"::ffff:169.254.169.254", "listed"},
		{"64:ff9b::a9fe:a9fe", ""},
		{"fe80::1", ""},
		{"fe80::1%eth0", ""},
		{"100.100.100.200", ""},
		{"168.63.129.16", ""},
		{"fd00:ec2::254", ""},
		{"0.0.0.0", ""},
		{"0.1.2.3", ""},
		{"::", ""},
		{"::7f00:1", ""},
		{"224.0.0.1", ""},
		{"ff02::1", ""},
		{"255.255.255.255", ""},
		{"240.0.0.1", ""},
		{"192.0.2.1", ""},
		{"198.18.0.1", ""},
		{"2002:7f00:1::", ""},
		{"2001::1", ""},
	} {
		for _, g := range guards {
			err := g.guard.Check(netip.MustParseAddr(c.address))
			if want := strings.Contains(" "+c.allowed+" ", " "+g.name+" "); (err == nil) != want || err != nil && !errors.Is(err, ErrGuarded) {
				t.Errorf("%s, guard %s: %v", c.address, g.name, err)
			}
		}
	}
	if (Guard{}).Check(netip.Addr{}) == nil {
		t.Error("no address at all is allowed")
	}
}

func TestClientIsGuarded(t *testing.T) {
	t.Parallel()
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/metadata":
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
		case "/long":
			_, _ = io.WriteString(w, strings.Repeat("a", 1001))
		default:
			_, _ = io.WriteString(w, strings.Repeat("a", 1000))
		}
	}))
	t.Cleanup(host.Close)
	u, _ := url.Parse(host.URL)
	named := "http://localhost:" + u.Port()
	closed := NewClient(ClientOptions{})
	for _, address := range []string{host.URL, named, "http://169.254.169.254/", "http://[::ffff:127.0.0.1]:" + u.Port(), "http://2130706433:" + u.Port(), "http://0x7f.1:" + u.Port(), "http://0:" + u.Port()} {
		res, err := closed.Get(address)
		if err == nil {
			res.Body.Close()
			t.Errorf("%s was reached", address)
		}
	}
	for _, address := range []string{host.URL, named} {
		if _, err := closed.Get(address); !errors.Is(err, ErrGuarded) {
			t.Errorf("%s: %v", address, err)
		}
	}
	open := NewClient(ClientOptions{Guard: Guard{Loopback: true}, MaxAnswer: 1000})
	get := func(path string) (int, error) {
		res, err := open.Get(host.URL + path)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return len(body), err
	}
	if n, err := get("/"); n != 1000 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n, err := get("/long"); n != 1000 || !errors.Is(err, ErrTooLong) {
		t.Errorf("%d bytes of a long answer, %v", n, err)
	}
	if _, err := get("/metadata"); !errors.Is(err, ErrGuarded) {
		t.Errorf("a redirect to the metadata service: %v", err)
	}
	open.CloseIdleConnections()
}

func TestClientThroughAProxy(t *testing.T) {
	t.Parallel()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "proxied "+r.URL.Host) }))
	t.Cleanup(proxy.Close)
	at, _ := url.Parse(proxy.URL)
	c := NewClient(ClientOptions{Proxy: func(r *http.Request) (*url.URL, error) {
		switch r.URL.Hostname() {
		case "direct.example":
			return nil, nil
		case "broken.example":
			return nil, errors.New("no proxy for it")
		}
		return at, nil
	}})
	res, err := c.Get("http://git.example/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); string(body) != "proxied git.example" {
		t.Errorf("%q", body)
	}
	if _, err := c.Get("http://169.254.169.254/"); !errors.Is(err, ErrGuarded) {
		t.Errorf("%v", err)
	}
	if _, err := c.Post("http://broken.example/", "text/plain", strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), "no proxy") {
		t.Errorf("%v", err)
	}
}

func TestRedirect(t *testing.T) {
	t.Parallel()
	request := func(method, address string) *http.Request {
		r := httptest.NewRequest(method, address, nil)
		r.Header = http.Header{"Authorization": {"Bearer x"}, "Cookie": {"y"}, "Referer": {"https://a.example/secret"}, "Accept": {"a"}, "Private-Token": {"z"}}
		return r
	}
	for _, c := range []struct {
		method, to string // the request that was made first goes to https://a.example/
		then       string // method after the redirect
		ok, bare   bool
	}{
		{"GET", "https://a.example/moved", "GET", true, false},
		{"GET", "https://a.example:443/moved", "GET", true, false},
		{"GET", "https://b.example/", "GET", true, true},
		{"GET", "https://sub.a.example/", "GET", true, true},
		{"GET", "https://a.example:8443/", "GET", true, true},
		{"GET", "https://user:pass@b.example/", "GET", true, true},
		{"GET", "http://a.example/", "GET", false, false},
		{"GET", "ftp://a.example/", "GET", false, false},
		{"POST", "https://a.example/moved", "POST", true, false},
		{"POST", "https://a.example/moved", "GET", false, false},
		{"POST", "https://b.example/", "POST", false, false},
		{"PATCH", "https://a.example:8443/", "PATCH", false, false},
	} {
		next := request(c.then, c.to)
		err := Redirect(next, []*http.Request{request(c.method, "https://a.example/")})
		if (err == nil) != c.ok {
			t.Errorf("%s to %s %s: %v", c.method, c.then, c.to, err)
			continue
		}
		if bare := len(next.Header) == 1 && next.Header.Get("Accept") == "a" && next.URL.User == nil; err == nil && bare != c.bare {
			t.Errorf("%s to %s: %v", c.method, c.to, next.Header)
		}
		if err != nil && (strings.Contains(err.Error(), "pass") || strings.Contains(err.Error(), "moved/")) {
			t.Errorf("%v", err)
		}
	}
	// There and back: what another host chose is not asked with our name.
	back := request("GET", "https://a.example/delete-all")
	if err := Redirect(back, []*http.Request{request("GET", "https://a.example/"), request("GET", "https://b.example/")}); err != nil || back.Header.Get("Authorization") != "" {
		t.Errorf("%v, %v", err, back.Header)
	}
	via := make([]*http.Request, 6)
	for i := range via {
		via[i] = request("GET", "https://a.example/")
	}
	if Redirect(request("GET", "https://a.example/"), via) == nil {
		t.Error("it never ends")
	}
}
