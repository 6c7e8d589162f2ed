package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/deploytest"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Tests named TestReal need a real cluster: test/k8s/run.sh starts one and runs them.

// real is a namespace of its own in the real cluster.
type real struct {
	*testing.T
	driver    deploy.Driver
	config    string
	kubectl   string
	images    []string
	namespace string
	root      string
}

func realCluster(t *testing.T) *real {
	t.Helper()
	config := os.Getenv("FAIRLEAD_TEST_KUBECONFIG")
	if config == "" {
		t.Skip("SKIPPED: there is no real cluster here; test/k8s/run.sh starts one and runs this test against it")
	}
	r := &real{
		T: t, kubectl: os.Getenv("FAIRLEAD_TEST_KUBECTL"), images: strings.Fields(os.Getenv("FAIRLEAD_TEST_IMAGES")),
		namespace: strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "'", "").Replace(t.Name())), root: t.TempDir(),
		config: config,
	}
	r.driver = r.again()
	r.do("create", "namespace", r.namespace)
	t.Cleanup(func() { r.do("delete", "namespace", r.namespace, "--wait=false") })
	return r
}

// again makes another driver for the cluster.
func (r *real) again() deploy.Driver {
	return kubernetes.New(kubernetes.Options{Getenv: func(name string) string {
		if name == "KUBECONFIG" {
			return r.config
		}
		return ""
	}})
}

// do runs kubectl.
func (r *real) do(args ...string) string {
	r.Helper()
	out, err := exec.Command(r.kubectl, args...).CombinedOutput()
	if err != nil {
		r.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// in runs kubectl in the namespace.
func (r *real) in(args ...string) string {
	r.Helper()
	return r.do(append([]string{"-n", r.namespace}, args...)...)
}

// write writes a file of the tree.
func (r *real) write(name, text string) {
	r.Helper()
	file := filepath.Join(r.root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		r.Fatal(err)
	}
}

// web is the manifests of a web service.
const web = `apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  GREETING: hello
---
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 3
  progressDeadlineSeconds: 20
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 20
      containers:
      - name: app
        image: fairlead.test/app:latest
        imagePullPolicy: Never
        envFrom: [{configMapRef: {name: settings}}]
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /up, port: 8080}, periodSeconds: 1}
`

// target is the service web.
func (r *real) target(fence int64) *deploy.Target {
	return &deploy.Target{
		Repository: "shop/web", Service: "web", Environment: "staging", Root: r.root, Fence: fence, Rollout: fmt.Sprintf("rollout-%d", fence),
		Spec: &project.Service{Name: "web", Instances: 3, Kubernetes: &project.Kubernetes{Manifests: []string{"deploy"}, Namespace: r.namespace, Prune: true}},
		Log:  func(line string) { r.Logf("%s  %s", time.Now().Format("05.000"), line) },
	}
}

// revision is a release of one of the images.
func (r *real) revision(t *deploy.Target, number, image int) *deploy.Revision {
	name, digest, _ := strings.Cut(r.images[image], "@")
	return &deploy.Revision{
		Number: number, Spec: t.Spec,
		Release: &record.Release{ID: fmt.Sprintf("sha256:%064d", number), Artifact: record.Packed{Kind: "image", Name: name, Digest: digest}},
		Env:     map[string]string{"TIER": "staging", "PASSWORD": "hunter2"}, Secret: []string{"PASSWORD"},
	}
}

// within is a context that ends before the test does.
func (r *real) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(r.Context(), d)
	r.Cleanup(cancel)
	return ctx
}

// await observes until what is seen of a revision is as wanted.
func (r *real) await(t *deploy.Target, number int, what string, yes func(*deploy.Seen) bool) *deploy.Seen {
	r.Helper()
	ctx := r.within(60 * time.Second)
	for {
		w, err := r.driver.Observe(ctx, t)
		if err != nil {
			r.Fatalf("observe: %v", err)
		}
		seen := w.Revision(number)
		if seen != nil && yes(seen) {
			return seen
		}
		select {
		case <-ctx.Done():
			r.Fatalf("revision %d is not %s: %+v\n%s", number, what, seen, r.in("get", "all"))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func ready(n int) func(*deploy.Seen) bool {
	return func(s *deploy.Seen) bool { return s.Ready() == n && len(s.Instances) == n }
}

// sound checks a revision, and fails for each problem.
func (r *real) sound(t *deploy.Target, v *deploy.Revision) {
	r.Helper()
	problems, err := r.driver.Check(r.Context(), t, v)
	if err != nil {
		r.Fatal(err)
	}
	for _, p := range problems {
		r.Errorf("a problem: %s", p)
	}
	if len(problems) > 0 {
		r.FailNow()
	}
}

func (r *real) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// address is the one of Service web.
func (r *real) address() string {
	return strings.TrimSpace(r.in("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"))
}

// get asks the Service, over a connection of its own.
func get(ctx context.Context, address string) (string, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return "", err
	}
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(q)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

// suite runs what every driver must do, with manifests whose Service is web and whose workload is
// that of a revision. Services get addresses from the first one on.
func suite(t *testing.T, manifests string, workload func(number int) string, first int) {
	number := first
	deploytest.Suite(t, func(t *testing.T) *deploytest.Place {
		r := realCluster(t)
		number++
		address := fmt.Sprintf("10.96.0.%d", number)
		sound := strings.Replace(strings.Replace(manifests, "GREETING: hello", "OTHER: hello", 1), "  selector: {app: web}\n  ports", "  clusterIP: "+address+"\n  selector: {app: web}\n  ports", 1)
		r.write("deploy/web.yaml", sound)
		r.write("broken/web.yaml", strings.Replace(sound, "containerPort: 8080", "containerPort: many", 1))
		target := r.target(0)
		revision := func(number int) *deploy.Revision {
			v := r.revision(target, number, number%2)
			v.Env["GREETING"] = strconv.Itoa(number)
			return v
		}
		with := func(change func(v *deploy.Revision, k *project.Kubernetes)) func(int) *deploy.Revision {
			return func(number int) *deploy.Revision {
				v := revision(number)
				spec, release := *v.Spec, *v.Release
				k := *spec.Kubernetes
				spec.Kubernetes, v.Spec, v.Release = &k, &spec, &release
				change(v, &k)
				return v
			}
		}
		return &deploytest.Place{
			Driver: r.driver, Again: r.again, Target: *target, Revision: revision, Within: 2 * time.Minute,
			Broken: with(func(v *deploy.Revision, _ *project.Kubernetes) { v.Env["CRASH"] = "no database" }),
			Unfit: map[string]func(int) *deploy.Revision{
				"a manifest with a text for a number": with(func(_ *deploy.Revision, k *project.Kubernetes) { k.Manifests = []string{"broken"} }),
				"manifests that are not there":        with(func(_ *deploy.Revision, k *project.Kubernetes) { k.Manifests = []string{"nowhere"} }),
				"manifests outside of the tree":       with(func(_ *deploy.Revision, k *project.Kubernetes) { k.Manifests = []string{"../deploy"} }),
				"a tag for a digest":                  with(func(v *deploy.Revision, _ *project.Kubernetes) { v.Release.Artifact.Digest = "latest" }),
				"a route where there is no gateway":   with(func(_ *deploy.Revision, k *project.Kubernetes) { k.Route = "web" }),
			},
			Get: func(ctx context.Context) (int, error) {
				text, err := get(ctx, address)
				if err != nil {
					return 0, err
				}
				_, text, _ = strings.Cut(text, " ")
				return strconv.Atoi(strings.TrimSpace(text))
			},
			Meddle: func(t *testing.T, number int) {
				r.in("set", "env", workload(number), "DEBUG=1")
			},
		}
	})
}

func TestRealSuite(t *testing.T) {
	suite(t, web, func(number int) string { return fmt.Sprintf("deployment/web-r%d", number) }, 100)
}

// TestRealSuiteInPlace has a StatefulSet instead of a Deployment.
func TestRealSuiteInPlace(t *testing.T) {
	set := strings.NewReplacer("kind: Deployment", "kind: StatefulSet", "  progressDeadlineSeconds: 20\n", "  serviceName: web\n", "replicas: 3", "replicas: 1").Replace(web)
	suite(t, set, func(int) string { return "statefulset/web" }, 150)
}

func TestRealLife(t *testing.T) {
	r := realCluster(t)
	r.write("deploy/web.yaml", web)
	d, target := r.driver, r.target(1)
	one := r.revision(target, 1, 0)
	r.sound(target, one)
	if w, err := d.Observe(t.Context(), target); err != nil || len(w.Revisions) > 0 {
		t.Fatalf("before anything: %+v, %v", w, err)
	}
	r.must(d.Ensure(t.Context(), target, one, 2))
	seen := r.await(target, 1, "ready", ready(2))
	if seen.Percent != 0 || seen.Instances[0].Address == "" || seen.Release != one.Release.ID {
		t.Errorf("seen %+v", seen)
	}
	r.must(d.Shift(t.Context(), target, []deploy.Share{{Number: 1, Percent: 100}}))
	if seen := r.await(target, 1, "served", ready(2)); seen.Percent != 100 {
		t.Errorf("seen %+v", seen)
	}

	target = r.target(2)
	r.write("deploy/web.yaml", strings.Replace(web, "hello", "good day", 1))
	two := r.revision(target, 2, 1)
	r.sound(target, two)
	r.must(d.Ensure(t.Context(), target, two, 1))
	r.await(target, 2, "ready", ready(1))
	r.must(d.Shift(t.Context(), target, []deploy.Share{{Number: 1, Percent: 67}, {Number: 2, Percent: 33}}))
	if seen := r.await(target, 2, "served", ready(1)); seen.Percent != 34 && seen.Percent != 33 {
		t.Errorf("seen %+v", seen)
	}
	if err := d.Shift(t.Context(), r.target(1), []deploy.Share{{Number: 1, Percent: 100}}); err == nil {
		t.Error("a lower fence may shift")
	}
	r.must(d.Shift(t.Context(), target, []deploy.Share{{Number: 2, Percent: 100}}))
	r.must(d.Remove(t.Context(), target, 1))
	w, err := d.Observe(t.Context(), target)
	if err != nil || len(w.Revisions) != 1 || w.Revisions[0].Percent != 100 || w.Fence != 2 {
		t.Errorf("at the end: %+v, %v", w, err)
	}
	t.Log(r.in("get", "all,configmaps,secrets", "--show-labels"))
	r.must(d.Remove(t.Context(), target, 2))
	t.Log(r.in("get", "all,configmaps,secrets"))
}

func TestRealProblems(t *testing.T) {
	r := realCluster(t)
	r.in("create", "quota", "small", "--hard=configmaps=30")
	r.in("create", "service", "clusterip", "taken", "--tcp=80:80")
	r.in("label", "service", "taken", "fairlead.dev/target=ffffffffffff", "fairlead.dev/service=shop", "fairlead.dev/environment=production")
	for _, c := range []struct {
		name, old, new, want string
	}{
		{"a slip in a field", "imagePullPolicy: Never", "imagePullPolicie: Never", "deploy/web.yaml:33:9: Deployment has no field spec.template.spec.containers[name=\"app\"].imagePullPolicie [cluster]: did you mean imagePullPolicy?"},
		{"one level too deep", "replicas: 3", "template2: {}", "deploy/web.yaml:22:3: Deployment has no field spec.template2 [cluster]: did you mean template?"},
		{"another shape", "replicas: 3", "progressDeadlineSeconds2: 3", "progressDeadlineSeconds"},
		{"an invalid value", "containerPort: 8080", "containerPort: 808080", "deploy/web.yaml:35:33: Deployment web-r1: spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 808080: must be between 1 and 65535, inclusive [cluster]"},
		{"a text for a number", "periodSeconds: 1", "periodSeconds: often", "deploy/web.yaml:36:75: Deployment web-r1: spec.template.spec.containers[name=\"app\"].readinessProbe.periodSeconds must be numeric (int or float), not string"},
		{"a selector that does not fit", "matchLabels: {app: web}", "matchLabels: {app: shop}", "deploy/web.yaml:26:24: Deployment web-r1: spec.template.metadata.labels: `selector` does not match template `labels`"},
		{"an unknown kind", "kind: ConfigMap", "kind: ConfMap", "deploy/web.yaml:1:13: the cluster knows no v1 ConfMap [cluster]"},
		{"another namespace", "name: settings\ndata", "name: settings\n  namespace: elsewhere\ndata", "deploy/web.yaml:5:14: ConfigMap settings-r1 is in namespace elsewhere, and the service goes to " + r.namespace},
		{"somebody else's", "kind: Service\nmetadata:\n  name: web", "kind: Service\nmetadata:\n  name: taken", "deploy/web.yaml:11:9: Service taken of namespace " + r.namespace + " belongs to service shop in production"},
		{"no image to replace", "fairlead.test/app:latest", "fairlead.test/app:latest\n      - name: proxy\n        image: a\n      - name: two\n        image: b", ""},
		{"broken YAML", "metadata: {labels: {app: web}}", "metadata: {labels: {app: web}", "not valid YAML"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(web, c.old, c.new, 1)
			if text == web {
				t.Fatal("nothing was replaced")
			}
			r.write("deploy/web.yaml", text)
			target := r.target(1)
			problems, err := r.driver.Check(t.Context(), target, r.revision(target, 1, 0))
			if err != nil {
				t.Fatal(err)
			}
			var all []string
			for _, p := range problems {
				all = append(all, p.String())
			}
			t.Log(strings.Join(all, "\n"))
			if got := strings.Join(all, "\n"); c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if left := r.in("get", "deployments,configmaps", "-l", "fairlead.dev/target", "-o", "name"); left != "" {
		t.Errorf("a check has made %s", left)
	}
}

func TestRealTrouble(t *testing.T) {
	for _, c := range []struct {
		name, old, new string
		prepare        []string
		want           string
	}{
		{"a missing image", "fairlead.test/app:latest", "fairlead.test/other:7", nil, "the image fairlead.test/other:7 of container app cannot be had"},
		{"a crash", "imagePullPolicy: Never", "imagePullPolicy: Never\n        env: [{name: CRASH, value: no database for hunter2}]", nil, "it ended with exit code 3: no database for ***)"},
		{"a quota", "replicas: 3", "replicas: 3", []string{"create", "quota", "small", "--hard=pods=0"}, "exceeded quota: small"},
		{"a slow start", "imagePullPolicy: Never", "imagePullPolicy: Never\n        env: [{name: START, value: 1h}]", nil, "it made no progress for 20 seconds"},
		{"a missing secret", "envFrom: [{", "envFrom: [{secretRef: {name: nothing}}, {", nil, `secret "nothing" not found`},
		{"no room", "imagePullPolicy: Never", "imagePullPolicy: Never\n        resources: {requests: {cpu: 900}}", nil, "no node has room for it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := realCluster(t)
			if c.prepare != nil {
				r.in(c.prepare...)
			}
			r.write("deploy/web.yaml", strings.Replace(web, c.old, c.new, 1))
			target := r.target(1)
			v := r.revision(target, 1, 0)
			if c.name == "a missing image" {
				v.Release.Artifact = record.Packed{Kind: "none"}
			}
			r.sound(target, v)
			r.must(r.driver.Ensure(t.Context(), target, v, 1))
			seen := r.await(target, 1, "failed", func(s *deploy.Seen) bool { return len(s.Instances) > 0 && s.Instances[0].Failed })
			t.Log(seen.Instances[0].Why)
			if !strings.Contains(seen.Instances[0].Why, c.want) {
				t.Errorf("got %q, want %q", seen.Instances[0].Why, c.want)
			}
			r.must(r.driver.Remove(t.Context(), target, 1))
		})
	}
}

func TestRealDrift(t *testing.T) {
	r := realCluster(t)
	r.write("deploy/web.yaml", web+`---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
`)
	d, target := r.driver, r.target(1)
	v := r.revision(target, 1, 0)
	r.must(d.Ensure(t.Context(), target, v, 2))
	r.await(target, 1, "ready", ready(2))
	r.must(d.Shift(t.Context(), target, []deploy.Share{{Number: 1, Percent: 100}}))
	drift := func() string {
		t.Helper()
		list, err := d.Drift(t.Context(), target, v)
		r.must(err)
		var all []string
		for _, x := range list {
			all = append(all, fmt.Sprintf("%s %s: want %q, have %q, by %q", x.Resource, x.Field, x.Want, x.Have, x.Author))
		}
		return strings.Join(all, "\n")
	}
	if got := drift(); got != "" {
		t.Errorf("nothing was changed, and there is drift:\n%s", got)
	}
	r.in("scale", "deployment", "web-r1", "--replicas=1")
	r.in("patch", "service", "web", "--type=json", "-p", `[{"op":"replace","path":"/spec/ports/0/targetPort","value":9090}]`)
	r.in("set", "env", "deployment/web-r1", "DEBUG=1")
	r.in("delete", "serviceaccount", "web")
	r.in("patch", "configmap", "settings-r1", "--type=merge", "-p", `{"data":{"GREETING":"bye"}}`)
	got := drift()
	t.Log(got)
	for _, line := range []string{
		`ServiceAccount web : want "declared", have "", by ""`,
		`ConfigMap settings-r1 data.GREETING: want "hello", have "bye", by "kubectl-patch"`,
		`Deployment web-r1 spec.replicas: want "2", have "1", by "kubectl"`,
		`Service web spec.ports[port=80].targetPort: want "8080", have "9090", by "kubectl-patch"`,
		`Deployment web-r1 spec.template.spec.containers[name=app].env: want "", have "[{\"name\":\"DEBUG\",\"value\":\"1\"}]", by "kubectl-set"`,
	} {
		if !strings.Contains(got, line) {
			t.Errorf("%s is missing", line)
		}
	}
	// What has drifted is put right by what brought it about.
	r.must(d.Ensure(t.Context(), target, v, 2))
	r.must(d.Shift(t.Context(), target, []deploy.Share{{Number: 1, Percent: 100}}))
	if got := drift(); got != "" {
		t.Errorf("it was put right, and there is drift:\n%s", got)
	}
}

// TestRealInPlace applies manifests without a Deployment.
func TestRealInPlace(t *testing.T) {
	r := realCluster(t)
	const set = `apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {GREETING: hello}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 1
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 5
      containers:
      - name: app
        image: fairlead.test/app
        imagePullPolicy: Never
        envFrom: [{configMapRef: {name: settings}}]
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /up, port: 8080}, periodSeconds: 1}
`
	r.write("deploy/db.yaml", set)
	target := r.target(1)
	if c := r.driver.Capabilities(target); c.Instances || c.Beside || c.Why == "" {
		t.Errorf("capabilities %+v", c)
	}
	ctx := r.within(2 * time.Minute)
	proposer, ok := r.driver.(deploy.Proposer)
	if !ok || !r.driver.Capabilities(target).Propose {
		t.Fatal("it does not propose")
	}
	for number := 1; number <= 2; number++ {
		v := r.revision(target, number, number-1)
		r.sound(target, v)
		p, err := proposer.Propose(ctx, target, v)
		r.must(err)
		if want := [...]string{"5 to make, 0 to change, 0 to delete", "3 to make, 2 to change, 0 to delete"}[number-1]; p.Summary != want {
			t.Errorf("proposed %s: %s", p.Summary, strings.Join(p.Changes, "\n"))
		}
		if again, err := proposer.Propose(ctx, r.target(9), v); err != nil || again.Digest != p.Digest {
			t.Errorf("proposed again: %+v, %v", again, err)
		}
		v.Proposal = &record.Proposal{Digest: "sha256:another", Summary: "nothing"}
		if err := r.driver.Ensure(ctx, target, v, 1); !errors.Is(err, deploy.ErrStale) {
			t.Errorf("something else was agreed to: %v", err)
		}
		v.Proposal = p
		r.must(r.driver.Ensure(ctx, target, v, 1))
		seen := r.await(target, number, "ready", ready(1))
		if seen.Percent != 100 {
			t.Errorf("seen %+v", seen)
		}
		text, err := get(ctx, seen.Instances[0].Address)
		if err != nil || text != fmt.Sprintf("v%d hello ", number) {
			t.Errorf("it answers %q, %v", text, err)
		}
	}
	w, err := r.driver.Observe(ctx, target)
	if err != nil || len(w.Revisions) != 1 {
		t.Errorf("seen %+v, %v", w, err)
	}
	// A release that does not come up is told of by the act itself.
	broken := r.revision(target, 3, 0)
	broken.Env["CRASH"] = "no disk"
	if err := r.driver.Ensure(ctx, r.target(2), broken, 1); !errors.Is(err, deploy.ErrRefused) || !strings.Contains(err.Error(), "no disk") {
		t.Errorf("got %v", err)
	}
	// The way back brings back the configuration, too.
	r.must(r.driver.Ensure(ctx, r.target(3), r.revision(target, 2, 1), 1))
	if text, err := get(ctx, r.await(target, 2, "ready", ready(1)).Instances[0].Address); err != nil || text != "v2 hello " {
		t.Errorf("it answers %q, %v", text, err)
	}
	r.must(r.driver.Remove(ctx, r.target(3), 3))
	r.must(r.driver.Remove(ctx, r.target(3), 2))
	r.must(r.driver.Remove(ctx, r.target(3), 1))
	if left := r.in("get", "statefulsets,services,secrets", "-l", "fairlead.dev/target", "-o", "name"); left != "" {
		t.Errorf("left: %s", left)
	}
}

// TestRealOthers looks at what others have of a service: fields, things, and the rights that
// they have not given us.
func TestRealOthers(t *testing.T) {
	r := realCluster(t)
	const extra = `---
apiVersion: v1
kind: ConfigMap
metadata: {name: shared}
data: {mode: fast}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: old}
data: {a: b}
`
	r.write("deploy/web.yaml", web+extra)
	r.write("theirs.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared}\ndata: {mode: slow}\n")
	r.in("apply", "--server-side", "--field-manager=ops", "-f", r.root+"/theirs.yaml")
	target := r.target(1)
	one := r.revision(target, 1, 0)
	problems, err := r.driver.Check(t.Context(), target, one)
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].String(), "deploy/web.yaml:41:14: data.mode of ConfigMap shared is set by ops, to another value") {
		t.Errorf("got %v, %v", problems, err)
	}
	// What the acts do, they do; and what is not declared any more goes, if it is ours.
	r.must(r.driver.Ensure(t.Context(), target, one, 1))
	r.await(target, 1, "ready", ready(1))
	r.must(r.driver.Shift(t.Context(), target, []deploy.Share{{Number: 1, Percent: 100}}))
	r.in("create", "configmap", "bystander")
	r.write("deploy/web.yaml", web)
	two := r.revision(target, 2, 1)
	r.must(r.driver.Ensure(t.Context(), target, two, 1))
	r.await(target, 2, "ready", ready(1))
	r.must(r.driver.Shift(t.Context(), target, []deploy.Share{{Number: 2, Percent: 100}}))
	left := r.in("get", "configmaps", "-o", "name")
	if strings.Contains(left, "configmap/old") || strings.Contains(left, "configmap/shared") || !strings.Contains(left, "configmap/bystander") {
		t.Errorf("left after pruning: %s", left)
	}
	// Back: all that it declared is there again.
	r.must(r.driver.Shift(t.Context(), target, []deploy.Share{{Number: 1, Percent: 100}}))
	if got := r.in("get", "configmap", "shared", "-o", "jsonpath={.data.mode}"); got != "fast" {
		t.Errorf("the way back has mode %q", got)
	}
	r.must(r.driver.Remove(t.Context(), target, 2))

	// An account with the rules of the documentation, and one with less.
	page, err := os.ReadFile("../../../docs/how-to/deploy-kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rules, _ := strings.Cut(string(page), "```yaml\n# rules\n")
	rules, _, _ = strings.Cut(rules, "```")
	r.write("rules.yaml", strings.ReplaceAll(rules, "shop-staging", r.namespace))
	r.do("apply", "-f", r.root+"/rules.yaml")
	r.in("create", "serviceaccount", "nobody")
	for account, allowed := range map[string]bool{"fairlead": true, "nobody": false} {
		token := strings.TrimSpace(r.in("create", "token", account))
		config := filepath.Join(t.TempDir(), "config")
		admin, err := os.ReadFile(r.config)
		if err != nil {
			t.Fatal(err)
		}
		text := string(admin)
		i, j := strings.Index(text, "users:"), strings.Index(text, "contexts:")
		text = text[:i] + "users: [{name: admin, user: {token: " + token + "}}]\n" + text[j:]
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		as := *r
		as.config = config
		d := as.again()
		target := r.target(5)
		three := r.revision(target, 3, 1)
		problems, err := d.Check(t.Context(), target, three)
		if !allowed {
			if err != nil || len(problems) == 0 || !strings.Contains(problems[0].Message, "the account of Fairlead may not do that") {
				t.Errorf("%s: %v, %v", account, problems, err)
			}
			continue
		}
		if err != nil || len(problems) > 0 {
			t.Fatalf("%s: %v, %v", account, problems, err)
		}
		r.must(d.Ensure(t.Context(), target, three, 1))
		r.await(target, 3, "ready", ready(1))
		r.must(d.Shift(t.Context(), target, []deploy.Share{{Number: 3, Percent: 100}}))
		if _, err := d.Drift(t.Context(), target, three); err != nil {
			t.Error(err)
		}
		if w, err := d.Observe(t.Context(), target); err != nil || w.Revision(3).Percent != 100 {
			t.Errorf("seen %+v, %v", w, err)
		}
		r.must(d.Remove(t.Context(), target, 1))
		r.must(d.Remove(t.Context(), target, 3))
	}
}

// TestRealKustomize deploys what kubectl's kustomize renders.
func TestRealKustomize(t *testing.T) {
	r := realCluster(t)
	t.Setenv("PATH", filepath.Dir(r.kubectl)+string(filepath.ListSeparator)+os.Getenv("PATH"))
	r.write("base/web.yaml", web)
	r.write("base/kustomization.yaml", "resources: [web.yaml]\n")
	r.write("staging/kustomization.yaml", "resources: [../base]\nnamePrefix: st-\n")
	target := r.target(1)
	target.Spec.Kubernetes = &project.Kubernetes{Kustomize: "{{environment}}", Namespace: r.namespace, Prune: true}
	one := r.revision(target, 1, 0)
	r.sound(target, one)
	r.must(r.driver.Ensure(t.Context(), target, one, 1))
	if seen := r.await(target, 1, "ready", ready(1)); !strings.HasPrefix(seen.Instances[0].Name, "st-web-r1-") {
		t.Errorf("seen %+v", seen)
	}
	r.write("staging/kustomization.yaml", "resources: [../nowhere]\n")
	problems, err := r.driver.Check(t.Context(), target, r.revision(target, 2, 1))
	if err != nil || len(problems) != 1 || problems[0].File != "staging" || !strings.Contains(problems[0].Message, "nowhere") {
		t.Errorf("got %v, %v", problems, err)
	}
	r.must(r.driver.Remove(t.Context(), target, 1))
}

// TestRealEverything deploys a service with things of many kinds, in a namespace of its own.
func TestRealEverything(t *testing.T) {
	r := realCluster(t)
	r.do("delete", "namespace", r.namespace, "--wait")
	r.write("deploy/web.yaml", strings.ReplaceAll(web, "hello", "good day")+`---
apiVersion: v1
kind: Namespace
metadata: {name: `+r.namespace+`}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker}
spec:
  replicas: 2
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}}
    spec:
      automountServiceAccountToken: false
      containers: [{name: app, image: fairlead.test/app, imagePullPolicy: Never}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 1
  maxReplicas: 5
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: warm}
spec: {template: {spec: {restartPolicy: Never, automountServiceAccountToken: false, containers: [{name: warm, image: fairlead.test/app, imagePullPolicy: Never, env: [{name: CRASH, value: cold}]}]}}, backoffLimit: 0}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: `+r.namespace+`}
rules: []
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: recipes.shop.example}
spec:
  group: shop.example
  names: {kind: Recipe, listKind: RecipeList, plural: recipes, singular: recipe}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
apiVersion: shop.example/v1
kind: Recipe
metadata: {name: soup}
spec: {salt: yes}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: disk}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`)
	t.Cleanup(func() { r.do("delete", "crd", "recipes.shop.example") })
	d, target := r.driver, r.target(1)
	// There is nothing yet, not even a namespace.
	if w, err := d.Observe(t.Context(), target); err != nil || len(w.Revisions) > 0 {
		t.Errorf("seen %+v, %v", w, err)
	}
	r.must(d.Remove(t.Context(), target, 1))
	all := func(number int) []deploy.Share { return []deploy.Share{{Number: number, Percent: 100}} }
	for number := 1; number <= 2; number++ {
		v := r.revision(target, number, number-1)
		r.sound(target, v)
		r.must(d.Ensure(t.Context(), target, v, 2))
		r.await(target, number, "ready", ready(2))
		r.must(d.Shift(t.Context(), target, all(number)))
		if got := r.in("get", "hpa", "web", "-o", "jsonpath={.spec.scaleTargetRef.name}"); got != fmt.Sprintf("web-r%d", number) {
			t.Errorf("the autoscaler is in charge of %s", got)
		}
		if list, err := d.Drift(t.Context(), target, v); err != nil || len(list) > 0 {
			t.Errorf("drift %+v, %v", list, err)
		}
	}
	if got := r.in("get", "deployments,jobs,recipes", "-o", "jsonpath={.items[*].metadata.name}"); got != "web-r1 web-r2 worker-r1 worker-r2 warm-r1 warm-r2 soup" {
		t.Errorf("there are %s", got)
	}
	// The way back, and then away.
	r.must(d.Shift(t.Context(), target, all(1)))
	r.must(d.Remove(t.Context(), target, 2))
	r.must(d.Remove(t.Context(), target, 1))
	left := strings.Fields(r.in("get", "all,ingress,pdb,hpa,secrets,configmaps,pvc,recipes,clusterroles", "-l", "fairlead.dev/target", "-o", "name"))
	if got := strings.Join(left, " "); got != "configmap/web-staging persistentvolumeclaim/disk" {
		t.Errorf("left: %s", got)
	}
}
