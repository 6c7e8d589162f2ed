package front

import (
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFind(t *testing.T) {
	t.Parallel()
	f := opened(t, Table{Routes: []Route{
		{Service: "any"},
		{Service: "any-api", Path: "/api/"},
		{Service: "shop", Hosts: []string{"Shop.example.com", "www.example.com"}},
		{Service: "shop-api", Hosts: []string{"shop.example.com"}, Path: "/api"},
		{Service: "shop-api-v2", Hosts: []string{"shop.example.com"}, Path: "/api/v2"},
		{Service: "below", Hosts: []string{"*.example.com"}},
		{Service: "deep", Hosts: []string{"*.a.example.com"}, Path: "/only"},
		{Service: "address", Hosts: []string{"192.0.2.1"}},
	}})
	for _, tt := range []struct{ host, path, want string }{
		{"shop.example.com", "/", "shop"},
		{"SHOP.example.COM.:8080", "/x", "shop"},
		{"www.example.com", "/api", "shop"},
		{"shop.example.com", "/api", "shop-api"},
		{"shop.example.com", "/api/", "shop-api"},
		{"shop.example.com", "/apix", "shop"},
		{"shop.example.com", "/api/v2/x", "shop-api-v2"},
		{"shop.example.com", "/api/v2/../v1", "shop-api"},
		{"shop.example.com", "//api//v2", "shop-api-v2"},
		{"shop.example.com", "/x/%2e%2e/api/v2", "shop-api-v2"},
		{"shop.example.com", "/api%2fv2", "shop-api-v2"},
		{"shop.example.com", "/../../api", "shop-api"},
		{"b.example.com", "/api", "below"},
		{"c.b.example.com", "/", "below"},
		{"c.a.example.com", "/only/x", "deep"},
		{"c.a.example.com", "/", "below"},
		{"example.com", "/", "any"},
		{"example.com", "/api", "any-api"},
		{"xexample.com", "/", "any"},
		{"192.0.2.1:80", "/", "address"},
		{"[::1]:80", "/", "any"},
		{"", "/", "any"},
		{"a..b", "/", "none"},
		{".example.com", "/", "none"},
		{"a:b:c", "/", "none"},
		{":80", "/", "none"},
		{".", "/", "none"},
	} {
		host, ok := hostOf(tt.host)
		got := "none"
		if u, err := url.ParseRequestURI(tt.path); err != nil {
			t.Fatal(err)
		} else if ok {
			got = f.live.Load().find(host, clean(u.Path)).Service
		}
		if got != tt.want {
			t.Errorf("%s%s: %s, want %s", tt.host, tt.path, got, tt.want)
		}
	}
	apply(t, f, Table{Routes: []Route{{Service: "shop", Hosts: []string{"shop.example.com"}}}})
	addr := serving(t, f)
	if status, _, _ := get(t, addr); status != 404 {
		t.Errorf("without a route: %d", status)
	}
	if n := f.Counts().Unrouted; n != 1 {
		t.Errorf("%d requests without a route", n)
	}
}

// weighted is a route with instances a, b, … of releases of the same names.
func weighted(weights ...int) *route {
	r := &route{service: &service{}}
	for i, weight := range weights {
		name := string(rune('a' + i))
		r.add(target{newBackend(Backend{Name: name, Release: name}, r.service), uint64(weight)})
	}
	return r
}

// TestWeightsAreKeptAtEveryMoment holds the share of each backend, after any
// number of requests, against what its weight says.
func TestWeightsAreKeptAtEveryMoment(t *testing.T) {
	t.Parallel()
	for _, weights := range [][]int{{1}, {1, 1}, {90, 10}, {999, 1}, {5, 0, 3, 2}, {1, 2, 3, 4, 5, 6, 7}, {1000, 333, 1}} {
		r := weighted(weights...)
		got := map[string]float64{}
		worst := 0.0
		for n := 1; n <= 20000; n++ {
			got[r.choose(wish{}, 0).name]++
			for i, weight := range weights {
				share := float64(n) * float64(weight) / float64(r.total)
				worst = max(worst, math.Abs(got[string(rune('a'+i))]-share))
			}
		}
		if worst > 4 {
			t.Errorf("%v: %.1f requests beside the share", weights, worst)
		}
	}
}

func TestChooseAmongWhatIsThere(t *testing.T) {
	t.Parallel()
	r := weighted(5, 3, 2, 0)
	chosen := func(w wish) string {
		seen := map[string]bool{}
		for range 200 {
			if b := r.choose(w, 1000); b != nil {
				seen[b.name] = true
			}
		}
		return strings.Join(slices.Sorted(maps.Keys(seen)), "")
	}
	is := func(what, want string, w wish) {
		t.Helper()
		if got := chosen(w); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	a, b, c := r.targets[0].backend, r.targets[1].backend, r.targets[2].backend
	is("all with a weight", "abc", wish{})
	is("not the one that was tried", "bc", wish{not: a})
	is("forced", "b", wish{forced: "b"})
	is("forced, without a weight", "d", wish{forced: "d"})
	is("forced, unknown", "", wish{forced: "x"})
	a.outUntil.Store(2000)
	is("without one that refuses connections", "bc", wish{})
	is("forced to it", "a", wish{forced: "a"})
	b.close()
	is("without one that is drained", "c", wish{})
	is("forced to one that is drained", "", wish{forced: "b"})
	c.outUntil.Store(2000)
	is("only such as refuse connections", "ac", wish{})
	c.close()
	is("the last is never left out", "a", wish{})
	is("the last was tried", "", wish{not: a})
	a.close()
	is("none", "", wish{})
}

// TestUsersMoveOnlyWhereSharesMove changes weights and looks at who moves.
func TestUsersMoveOnlyWhereSharesMove(t *testing.T) {
	t.Parallel()
	const users = 20000
	homes := func(r *route) []string {
		list := make([]string, users)
		for i := range list {
			list[i] = r.home(fmt.Sprint("user-", i))
		}
		return list
	}
	before := homes(weighted(95, 5))
	for _, tt := range []struct {
		weights []int
		share   float64 // of b
	}{{[]int{90, 10}, .1}, {[]int{50, 50}, .5}, {[]int{1, 99}, .99}} {
		after := homes(weighted(tt.weights...))
		var b, back int
		for i := range after {
			if after[i] == "b" {
				b++
			} else if before[i] == "b" {
				back++
			}
		}
		if back > 0 || math.Abs(float64(b)/users-tt.share) > .012 {
			t.Errorf("%v: b has %d of %d users, and %d have left it", tt.weights, b, users, back)
		}
		before = after
	}
	// A third release takes from both.
	for i, home := range homes(weighted(1, 99, 100)) {
		if home != before[i] && home != "c" {
			t.Fatalf("user %d went from %s to %s", i, before[i], home)
		}
	}
	// One that is full for a moment sends nobody anywhere for good.
	r := weighted(50, 50)
	r.targets[0].closed.Store(true)
	for i := range 20 {
		if b := r.choose(wish{user: fmt.Sprint(i)}, 0); b == nil || b.name != "b" {
			t.Errorf("user %d got %v", i, b)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	good := Backend{Name: "v1-0", Release: "v1", Address: "127.0.0.1:80", Weight: 1}
	for _, tt := range []struct {
		name string
		r    Route
		want string // "": nothing is wrong
	}{
		{"good", Route{Service: "a", Hosts: []string{"x.example.com", "*.example.com", "", "::1"}, Path: "/a/b", Backends: []Backend{good, {Name: "v1-1", Release: "v1", Address: "/run/s"}},
			Sticky: &Sticky{Header: "X-User"}, Force: "X-Release", Hold: time.Second}, ""},
		{"no service", Route{}, "the service has no usable name"},
		{"service with a line break", Route{Service: "a\nb"}, "the service has no usable name"},
		{"host with a port", Route{Service: "a", Hosts: []string{"a:80"}}, "without a port"},
		{"host with a star inside", Route{Service: "a", Hosts: []string{"a.*.b"}}, "without a port"},
		{"only a star", Route{Service: "a", Hosts: []string{"*."}}, "without a port"},
		{"long host", Route{Service: "a", Hosts: []string{strings.Repeat("a", 300)}}, "without a port"},
		{"many hosts", Route{Service: "a", Hosts: make([]string, MaxHosts+1)}, "at most 256"},
		{"the same host twice", Route{Service: "a", Hosts: []string{"a", "A"}}, "is that of route 1, too"},
		{"path without a slash", Route{Service: "a", Path: "a"}, "must begin with /"},
		{"path with dots", Route{Service: "a", Path: "/a/../b"}, "must begin with /"},
		{"weight", Route{Service: "a", Backends: []Backend{{Name: "n", Release: "r", Address: "a:1", Weight: 1001}}}, "is not between 0 and 1000"},
		{"address without a port", Route{Service: "a", Backends: []Backend{{Name: "n", Release: "r", Address: "localhost"}}}, "must be host:port"},
		{"address with port 0", Route{Service: "a", Backends: []Backend{{Name: "n", Release: "r", Address: "localhost:0"}}}, "must be host:port"},
		{"address without a host", Route{Service: "a", Backends: []Backend{{Name: "n", Release: "r", Address: ":80"}}}, "must be host:port"},
		{"backend without a release", Route{Service: "a", Backends: []Backend{{Name: "n", Address: "a:1"}}}, "both need 1 to"},
		{"backend twice", Route{Service: "a", Backends: []Backend{good, good}}, "named twice"},
		{"many backends", Route{Service: "a", Backends: make([]Backend, MaxBackends+1)}, "at most 1024"},
		{"sticky without a name", Route{Service: "a", Sticky: &Sticky{}}, "needs the name"},
		{"sticky with both", Route{Service: "a", Sticky: &Sticky{Cookie: "a", Header: "b"}}, "not both"},
		{"sticky with a bad name", Route{Service: "a", Sticky: &Sticky{Cookie: "a b"}}, "is no name"},
		{"force", Route{Service: "a", Force: "a:"}, "is no name"},
		{"times", Route{Service: "a", Answer: -1}, "is not between 0"},
		{"long times", Route{Service: "a", Hold: 100 * time.Hour}, "is not between 0"},
		{"limit", Route{Service: "a", MaxBody: -1}, "is negative"},
		{"half a certificate", Route{Service: "a", TLS: &TLS{Cert: "x"}}, "both the certificate and the key"},
	} {
		err := Table{Routes: []Route{tt.r}}.Check()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	other := good
	other.Address = "127.0.0.1:81"
	for name, table := range map[string]Table{
		"one name, two addresses": {Routes: []Route{{Service: "a", Backends: []Backend{good}}, {Service: "a", Path: "/b", Backends: []Backend{other}}}},
		"one name, two services":  {Routes: []Route{{Service: "a", Backends: []Backend{good}}, {Service: "b", Path: "/b", Backends: []Backend{good}}}},
		"a network that is none":  {Trusted: []string{"10.0.0.0"}},
		"too many routes":         {Routes: make([]Route, MaxRoutes+1)},
	} {
		if table.Check() == nil {
			t.Errorf("%s: nothing is wrong", name)
		}
	}
	many := Table{Routes: make([]Route, MaxRoutes)}
	if err := many.Check(); strings.Count(err.Error(), "\n") > faultLimit {
		t.Error("all faults are told")
	}
}

// FuzzFind leads hostile hosts and paths. A request must come to a route whose
// host and path are its own, whichever way an instance reads them.
func FuzzFind(f *testing.F) {
	for _, seed := range [][2]string{{"shop.example.com", "/api/v1"}, {"a.example.com:80", "/%2e%2e/api"}, {"[::1]", "//api"}, {"x", "/api/../../x"}, {"EXAMPLE.com.", "/api%2f.."}} {
		f.Add(seed[0], seed[1])
	}
	front, err := Open(f.TempDir(), Options{})
	if err != nil {
		f.Fatal(err)
	}
	table := Table{Routes: []Route{{Service: "any"}, {Service: "api", Path: "/api", Strip: true}, {Service: "below", Hosts: []string{"*.example.com"}, Path: "/api"}, {Service: "shop", Hosts: []string{"shop.example.com"}}}}
	if err := front.Apply(testContext(), table); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, field, uri string) {
		u, err := url.ParseRequestURI(uri)
		host, ok := hostOf(field)
		if err != nil || !ok || !strings.HasPrefix(uri, "/") {
			return
		}
		if strings.ContainsAny(host, "/\\\"@ \r\n\x00") || host != strings.ToLower(host) {
			t.Errorf("host %q was taken from %q", host, field)
		}
		path := clean(u.Path)
		if strings.Contains(path, "//") || strings.HasSuffix(path, "/") || strings.Contains(path+"/", "/../") || strings.Contains(path+"/", "/./") {
			t.Errorf("%q was cleaned to %q", u.Path, path)
		}
		r := front.live.Load().find(host, path)
		api := path == "/api" || strings.HasPrefix(path, "/api/")
		want := "any"
		switch {
		case host == "shop.example.com":
			want = "shop"
		case api && strings.HasSuffix(host, ".example.com"):
			want = "below"
		case api:
			want = "api"
		}
		if r == nil || r.Service != want {
			t.Fatalf("%q %q came to %+v, want %s", field, uri, r, want)
		}
		if r.Strip {
			rest, err := url.ParseRequestURI(stripped(u, r.prefix))
			if err != nil || clean("/api"+rest.Path) != path {
				t.Errorf("%q was stripped to %v, %v", uri, rest, err)
			}
		}
	})
}
