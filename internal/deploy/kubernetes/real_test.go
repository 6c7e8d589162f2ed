package kubernetes_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Tests named TestReal need a real cluster: test/k8s/run.sh starts one and runs them.

// real is a namespace of its own in the real cluster.
type real struct {
	*testing.T
	driver    *kubernetes.Driver
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
		namespace: strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())), root: t.TempDir(),
		driver: kubernetes.New(kubernetes.Options{Getenv: func(name string) string {
			if name == "KUBECONFIG" {
				return config
			}
			return ""
		}}),
	}
	r.do("create", "namespace", r.namespace)
	t.Cleanup(func() { r.do("delete", "namespace", r.namespace, "--wait=false") })
	return r
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
