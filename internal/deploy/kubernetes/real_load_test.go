package kubernetes_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/project"
)

// load asks a service all the time until it is stopped, and counts.
type load struct {
	mu       sync.Mutex
	requests int
	by       map[string]int // by version that answered
	failed   []string
	stop     context.CancelFunc
	done     sync.WaitGroup
}

// maxLoad is how long a load lasts at most.
const maxLoad = time.Hour

// press starts a load on an address of this machine's own test cluster: readers and writers over
// kept and over new connections, and some that take their time.
func press(t *testing.T, address string) *load {
	ctx, cancel := context.WithTimeout(t.Context(), maxLoad)
	l := &load{by: map[string]int{}, stop: cancel}
	for i := range 8 {
		client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: i%2 == 0}}
		method, path := http.MethodGet, "/"
		if i%4 >= 2 {
			method = http.MethodPost
		}
		if i >= 6 {
			path = "/?sleep=700ms"
		}
		l.done.Go(func() {
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				l.ask(client, method, "http://"+address+path)
				// A few hundred requests a second find what there is to be found.
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	return l
}

func (l *load) ask(client *http.Client, method, url string) {
	q, err := http.NewRequest(method, url, strings.NewReader("order"))
	if err != nil {
		panic(err) // the test's own address
	}
	if method == http.MethodPost {
		q.GetBody = nil // a request that changes something is not sent again
	}
	version := ""
	answer, err := client.Do(q)
	if err == nil {
		var body []byte
		body, err = io.ReadAll(answer.Body)
		answer.Body.Close()
		version, _, _ = strings.Cut(string(body), " ")
		if err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d", answer.StatusCode)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	if err != nil {
		l.failed = append(l.failed, fmt.Sprintf("%s %s: %v", time.Now().Format("05.000"), method, err))
		return
	}
	l.by[version]++
}

// end stops the load and fails for each request that did.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.done.Wait()
	t.Logf("%d requests, %d failed, answered by %v", l.requests, len(l.failed), l.by)
	for i, f := range l.failed {
		if i == 10 {
			break
		}
		t.Log(f)
	}
	if len(l.failed) > 0 {
		t.Errorf("%d of %d requests failed", len(l.failed), l.requests)
	}
	if l.by["v1"] == 0 || l.by["v2"] == 0 {
		t.Errorf("not both versions answered: %v", l.by)
	}
}

// TestRealLoad goes from one release to the next and back, by each strategy, under load. No request
// may fail.
func TestRealLoad(t *testing.T) {
	const n = 3
	rollouts := 3
	if text := os.Getenv("FAIRLEAD_TEST_ROLLOUTS"); text != "" {
		var err error
		if rollouts, err = strconv.Atoi(text); err != nil || rollouts < 1 || rollouts > 200 {
			t.Fatalf("FAIRLEAD_TEST_ROLLOUTS is %q, not 1 to 200", text)
		}
	}
	all := func(number int) []deploy.Share { return []deploy.Share{{Number: number, Percent: 100}} }
	for name, way := range map[string]func(r *real, target *deploy.Target, from, to *deploy.Revision){
		"blue-green": func(r *real, target *deploy.Target, from, to *deploy.Revision) {
			r.must(r.driver.Ensure(r.Context(), target, to, n))
			r.await(target, to.Number, "ready", ready(n))
			r.must(r.driver.Shift(r.Context(), target, all(to.Number)))
			r.must(r.driver.Remove(r.Context(), target, from.Number))
		},
		"rolling": func(r *real, target *deploy.Target, from, to *deploy.Revision) {
			for i := 1; i <= n; i++ {
				r.must(r.driver.Ensure(r.Context(), target, to, i))
				r.await(target, to.Number, "ready", ready(i))
				if i < n {
					r.must(r.driver.Shift(r.Context(), target, []deploy.Share{{Number: from.Number, Percent: 100 - 100*i/n}, {Number: to.Number, Percent: 100 * i / n}}))
				} else {
					r.must(r.driver.Shift(r.Context(), target, all(to.Number)))
				}
				r.must(r.driver.Ensure(r.Context(), target, from, n-i))
			}
			r.must(r.driver.Remove(r.Context(), target, from.Number))
		},
		"canary": func(r *real, target *deploy.Target, from, to *deploy.Revision) {
			r.must(r.driver.Ensure(r.Context(), target, to, 1))
			r.await(target, to.Number, "ready", ready(1))
			r.must(r.driver.Shift(r.Context(), target, []deploy.Share{{Number: from.Number, Percent: 75}, {Number: to.Number, Percent: 25}}))
			r.must(r.driver.Ensure(r.Context(), target, to, n))
			r.await(target, to.Number, "ready", ready(n))
			r.must(r.driver.Shift(r.Context(), target, all(to.Number)))
			r.must(r.driver.Remove(r.Context(), target, from.Number))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := realCluster(t)
			r.write("deploy/web.yaml", web)
			target := r.target(1)
			from := r.revision(target, 1, 0)
			r.must(r.driver.Ensure(t.Context(), target, from, n))
			r.await(target, 1, "ready", ready(n))
			r.must(r.driver.Shift(t.Context(), target, all(1)))
			l := press(t, r.address())
			for number := 2; number <= rollouts+1; number++ {
				to := r.revision(target, number, (number+1)%2)
				began := time.Now()
				way(r, target, from, to)
				t.Logf("to revision %d in %.1f s", number, time.Since(began).Seconds())
				from = to
			}
			l.end(t)
			r.must(r.driver.Remove(t.Context(), target, from.Number))
		})
	}
}

// TestRealRoute sets the weights of a route. There is no gateway in the cluster: that the
// requests go by the weights is the gateway's part.
func TestRealRoute(t *testing.T) {
	r := realCluster(t)
	r.write("crd.yaml", `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: httproutes.gateway.networking.k8s.io
  annotations: {api-approved.kubernetes.io: https://example.com/a-stand-in-for-tests}
spec:
  group: gateway.networking.k8s.io
  names: {kind: HTTPRoute, listKind: HTTPRouteList, plural: httproutes, singular: httproute}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`)
	r.do("apply", "-f", r.root+"/crd.yaml")
	t.Cleanup(func() { r.do("delete", "-f", r.root+"/crd.yaml") })
	r.do("wait", "--for=condition=Established", "crd/httproutes.gateway.networking.k8s.io")
	const route = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  rules:
  - matches: [{path: {value: /}}]
    backendRefs: [{name: web, port: 80}, {name: other, port: 80, weight: 0}]
`
	weights := func() string {
		return r.in("get", "httproute", "shop", "-o", `jsonpath={range .spec.rules[*].backendRefs[*]}{.name}={.weight} {end}`)
	}
	for name, declared := range map[string]bool{"declared": true, "somebody else's": false} {
		t.Run(name, func(t *testing.T) {
			r := *r
			r.T = t
			fence, base := int64(1), 0
			if declared {
				r.write("deploy/web.yaml", web+"---\n"+route)
			} else {
				fence, base = 2, 10
				r.write("deploy/web.yaml", web)
				r.write("route.yaml", route)
				r.in("delete", "httproute", "shop", "--ignore-not-found")
				r.in("apply", "-f", r.root+"/route.yaml")
			}
			target := r.target(fence)
			target.Spec.Kubernetes = &project.Kubernetes{Manifests: []string{"deploy"}, Namespace: r.namespace, Route: "shop", Prune: true}
			if c := r.driver.Capabilities(target); !c.Split {
				t.Fatalf("capabilities %+v", c)
			}
			one, two := r.revision(target, base+1, 0), r.revision(target, base+2, 1)
			for _, v := range []*deploy.Revision{one, two} {
				r.sound(target, v)
				r.must(r.driver.Ensure(t.Context(), target, v, 1))
				r.await(target, v.Number, "ready", ready(1))
				if v == one {
					r.must(r.driver.Shift(t.Context(), target, []deploy.Share{{Number: v.Number, Percent: 100}}))
				}
			}
			r.must(r.driver.Shift(t.Context(), target, []deploy.Share{{Number: base + 1, Percent: 93}, {Number: base + 2, Percent: 7}}))
			if got, want := weights(), fmt.Sprintf("web-r%d=93 web-r%d=7 other=0 ", base+1, base+2); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			w, err := r.driver.Observe(t.Context(), target)
			if err != nil || w.Revision(base+2).Percent != 7 || w.Revision(base+1).Percent != 93 {
				t.Errorf("seen %+v, %v", w, err)
			}
			r.must(r.driver.Shift(t.Context(), target, []deploy.Share{{Number: base + 2, Percent: 100}}))
			if got, want := weights(), fmt.Sprintf("web-r%d=100 other=0 ", base+2); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if d, err := r.driver.Drift(t.Context(), target, two); err != nil || len(d) > 0 {
				t.Errorf("drift %+v, %v", d, err)
			}
			r.must(r.driver.Remove(t.Context(), target, base+1))
			r.must(r.driver.Remove(t.Context(), target, base+2))
		})
	}
}
