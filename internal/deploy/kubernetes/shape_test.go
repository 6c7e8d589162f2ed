package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/cluster"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/manifest"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/object"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
)

const digest64 = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// shop is a target of service shop in staging, without a cluster.
func shop(k *project.Kubernetes) (*site, *deploy.Revision) {
	spec := &project.Service{Name: "shop", Kubernetes: k, Source: plan.Source{File: "fairlead.yaml", Line: 3}}
	t := &deploy.Target{Repository: "r", Service: "shop", Environment: "staging", Fence: 5, Rollout: "abc", Spec: spec, Log: func(string) {}}
	r := &deploy.Revision{
		Number: 42, Spec: spec, Env: map[string]string{"TIER": "staging", "PASSWORD": "hunter2"}, Secret: []string{"PASSWORD"},
		Release: &record.Release{ID: "sha256:feedfacecafe0000", Artifact: record.Packed{Kind: "image", Name: "registry.example/shop:1.2", Digest: digest64}},
	}
	return &site{t: t, namespace: "ns", key: "aaaabbbbcccc", sleeps: true, now: time.Now, logged: func(string, ...any) {}}, r
}

func things(t *testing.T, text string) []manifest.Thing {
	t.Helper()
	list, problems := manifest.Read("deploy.yaml", []byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return list
}

const (
	service    = "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: NodePort, clusterIP: 10.0.0.9, selector: {app: web}, ports: [{port: 80, nodePort: 30080}]}\n"
	deployment = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {volumes: [{name: v, configMap: {name: settings}}, {name: w, projected: {sources: [{secret: {name: keys}}]}}], containers: [{name: app, image: 'registry.example/shop:latest', ports: [{containerPort: 8080}], env: [{name: A, valueFrom: {configMapKeyRef: {name: elsewhere, key: a}}}]}, {name: proxy, image: 'proxy:1'}]}}}\n"
	settings   = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: lonely}\n"
)

func names(list []object.Object) string {
	var all []string
	for _, o := range list {
		all = append(all, o.Ref().String())
	}
	return strings.Join(all, ", ")
}

// mainOf is the Deployment whose pods are the instances.
func mainOf(b *bundle) object.Object {
	i := slices.IndexFunc(b.Beside, func(o object.Object) bool { return o.Kind() == kindDeployment && o.Name() == b.Main })
	return b.Beside[i]
}

// dig is the value at the end of a path, for people.
func dig(v any, path string) string {
	for key := range strings.FieldsSeq(path) {
		switch at := v.(type) {
		case object.Object:
			v = at[key]
		case map[string]any:
			v = at[key]
		case []any:
			v = at[key[0]-'0']
		}
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func TestShape(t *testing.T) {
	t.Parallel()
	s, r := shop(&project.Kubernetes{})
	b, problems := s.shape(things(t, settings+service+deployment), r, 41)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if got, want := names(b.Beside), "ConfigMap shop-staging-r42-env, Secret shop-staging-r42-env, ConfigMap settings-r42, Secret keys-r42, Deployment web-r42"; got != want {
		t.Errorf("beside: %s, want %s", got, want)
	}
	if got := names(b.Ground) + "; " + names(b.Front); got != "ConfigMap lonely; Service web" {
		t.Errorf("ground and front: %s", got)
	}
	if b.Main != "web-r42" || b.Port != 8080 || b.Base != 41 || !slices.Equal(b.Services, []string{"web"}) {
		t.Errorf("bundle %+v", b)
	}
	main := mainOf(b)
	for path, want := range map[string]string{
		"metadata labels fairlead.dev/target":                                  "aaaabbbbcccc",
		"metadata labels fairlead.dev/fence":                                   "5",
		"metadata labels fairlead.dev/release":                                 "feedfacecafe",
		"metadata annotations fairlead.dev/release":                            "sha256:feedfacecafe0000",
		"spec selector matchLabels fairlead.dev/revision":                      "42",
		"spec selector matchLabels app":                                        "web",
		"spec template metadata labels fairlead.dev/since-r41":                 "yes",
		"spec template metadata labels fairlead.dev/since-r42":                 "yes",
		"spec template metadata labels fairlead.dev/environment":               "staging",
		"spec template metadata labels fairlead.dev/fence":                     "", // it would be another pod each time
		"spec template spec volumes 0 configMap name":                          "settings-r42",
		"spec template spec volumes 1 projected sources 0 secret name":         "keys-r42",
		"spec template spec containers 0 image":                                "registry.example/shop@" + digest64,
		"spec template spec containers 0 env 0 valueFrom configMapKeyRef name": "elsewhere",
		"spec template spec containers 0 envFrom 0 configMapRef name":          "shop-staging-r42-env",
		"spec template spec containers 0 envFrom 1 secretRef name":             "shop-staging-r42-env",
		"spec template spec containers 0 lifecycle preStop sleep seconds":      "3",
		"spec template spec containers 1 image":                                "proxy:1",
		"spec template spec containers 1 envFrom":                              "",
	} {
		if got := dig(main, path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if dig(b.Beside[1], "data PASSWORD") != "aHVudGVyMg==" || strings.Contains(dig(b.Beside[0], "data"), "hunter2") {
		t.Errorf("the secret is in %v, %v", b.Beside[0], b.Beside[1])
	}
	// What is kept comes back as it was.
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	var again bundle
	if err := json.Unmarshal(text, &again); err != nil || names(again.all()) != names(b.all()) {
		t.Errorf("read again: %s, %v", names(again.all()), err)
	}
}

func TestShapeWithRoute(t *testing.T) {
	t.Parallel()
	s, r := shop(&project.Kubernetes{Route: "edge"})
	b, problems := s.shape(things(t, service+deployment), r, 0)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	i := slices.IndexFunc(b.Beside, func(o object.Object) bool { return o.Name() == "web-r42" && o.Kind() == kindService })
	if i < 0 {
		t.Fatalf("beside: %s", names(b.Beside))
	}
	own := b.Beside[i]
	for path, want := range map[string]string{"type": "ClusterIP", "clusterIP": "", "ports 0 nodePort": "", "ports 0 port": "80", "selector app": "web", "selector " + labelRevision: "42"} {
		if got := dig(own, "spec "+path); got != want {
			t.Errorf("the revision's own Service has %s %q, want %q", path, got, want)
		}
	}
	if front := b.Front[0]; dig(front, "spec type") != "NodePort" || dig(front, "spec selector "+labelRevision) != "" {
		t.Errorf("the team's Service: %v", front)
	}
}

// TestImage says which container gets the release's image, and which must not.
func TestImage(t *testing.T) {
	t.Parallel()
	workload := func(kind, name string, images ...string) string {
		text := "---\napiVersion: apps/v1\nkind: " + kind + "\nmetadata: {name: " + name + "}\nspec: {template: {spec: {containers: ["
		for i, image := range images {
			text += fmt.Sprintf("{name: c%d, image: %q},", i, image)
		}
		return text + "]}}}\n"
	}
	const want = "registry.example/shop@" + digest64
	for _, c := range []struct{ name, text, container, images string }{
		{"by its name", workload("Deployment", "a", "x:1", "registry.example/shop"), "", "x:1 " + want},
		{"with a port", workload("Deployment", "a", "localhost:5000/shop", "registry.example/shop:2"), "", "localhost:5000/shop " + want},
		{"the only one", workload("Deployment", "a", "anything:1"), "", want},
		{"the only one of the instances", workload("Deployment", "a", "anything:1") + workload("StatefulSet", "db", "postgres:17"), "", want + " postgres:17"},
		{"all that have its name", workload("Deployment", "web", "registry.example/shop:1") + workload("Deployment", "worker", "registry.example/shop:1") + workload("Deployment", "redis", "redis:8"), "", want + " " + want + " redis:8"},
		{"the named one", workload("Deployment", "a", "x:1", "y:1"), "c1", "x:1 " + want},
		{"nobody knows which", workload("Deployment", "a", "x:1", "y:1"), "", "deploy.yaml:2:1: no container of the manifests gets the image registry.example/shop:1.2"},
		{"no such container", workload("Deployment", "a", "x:1"), "c7", "deploy.yaml:2:1: no container"},
		{"in place", workload("StatefulSet", "db", "anything:1"), "", want},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, r := shop(&project.Kubernetes{Container: c.container})
			b, problems := s.shape(things(t, c.text), r, 0)
			var got []string
			for _, o := range slices.Concat(b.Beside, b.Ground) {
				for _, c := range o.List("spec", "template", "spec", "containers") {
					got = append(got, c.Text("image"))
				}
			}
			if len(problems) > 0 {
				got = []string{problems[0].String()}
			}
			if text := strings.Join(got, " "); !strings.HasPrefix(text, c.images) {
				t.Errorf("got %s, want %s", text, c.images)
			}
		})
	}
}

func TestWeigh(t *testing.T) {
	t.Parallel()
	route, err := object.Parse([]byte(`{"spec":{"rules":[
		{"backendRefs":[{"name":"web-r41","port":80,"weight":90},{"name":"web-r42","port":80,"weight":10},{"name":"other"}]},
		{"backendRefs":[{"name":"web","port":80}],"filters":[]},
		{"backendRefs":[{"name":"web-api","port":80},{"name":"web","kind":"Bucket"}]}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	weigh(route, []string{"web"}, []deploy.Share{{Number: 42, Percent: 75}, {Number: 43, Percent: 25}})
	got, err := json.Marshal(route.At("spec", "rules"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"backendRefs":[{"name":"web-r42","port":80,"weight":75},{"name":"web-r43","port":80,"weight":25},{"name":"other"}]},` +
		`{"backendRefs":[{"name":"web-r42","port":80,"weight":75},{"name":"web-r43","port":80,"weight":25}],"filters":[]},` +
		`{"backendRefs":[{"name":"web-api","port":80},{"kind":"Bucket","name":"web"}]}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestByPods(t *testing.T) {
	t.Parallel()
	pods := func(n int) (list []deploy.Instance) {
		for range n {
			list = append(list, deploy.Instance{Ready: true})
		}
		return list
	}
	w := &deploy.World{Revisions: []deploy.Seen{{Number: 40, Instances: pods(5)}, {Number: 41, Instances: pods(2)}, {Number: 42, Instances: pods(1)}}}
	all := []*bundle{{Number: 40}, {Number: 41, Base: 40}, {Number: 42, Base: 41}}
	if got := byPods(all, 41, w); !slices.Equal(got, []deploy.Share{{Number: 41, Percent: 66}, {Number: 42, Percent: 34}}) {
		t.Errorf("got %v", got)
	}
	if got := byPods(all, 41, &deploy.World{}); !slices.Equal(got, []deploy.Share{{Number: 41}, {Number: 42}}) {
		t.Errorf("with no pod: %v", got)
	}
}

func TestDeclared(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for name, text := range map[string]string{
		"deploy/web.yaml":       service,
		"deploy/more/app.yml":   deployment,
		"deploy/notes.txt":      "not a manifest",
		"staging/settings.json": `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings"}}`,
		"twice.yaml":            service,
		"empty/notes.txt":       "",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc", filepath.Join(root, "deploy", "out")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		manifests []string
		want      string
	}{
		{[]string{"deploy", "{{environment}}/settings.json"}, "deploy/more/app.yml:2:1 Deployment web, deploy/web.yaml:2:1 Service web, staging/settings.json:1:1 ConfigMap settings"},
		{[]string{"deploy/web.yaml", "twice.yaml"}, "twice.yaml:2:1: Service web is declared twice; the other one is at deploy/web.yaml:2:1 [manifest]: keep one of the two"},
		{[]string{"nowhere"}, "fairlead.yaml:3: there is no file or directory nowhere [manifest]: look at manifests: in fairlead.yaml"},
		{[]string{"../x"}, "fairlead.yaml:3: ../x is outside of the tree [manifest]: name a file or a directory below the root of the repository"},
		{[]string{"/etc"}, "fairlead.yaml:3: /etc is outside of the tree"},
		{[]string{"empty"}, "fairlead.yaml:3: the service declares nothing"},
	} {
		s, _ := shop(&project.Kubernetes{Manifests: c.manifests})
		s.t.Root = root
		list, problems, err := New(Options{}).declared(t.Context(), s.t, s.t.Spec.Kubernetes)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range problems {
			got = append(got, p.String())
		}
		for i := range list {
			if len(problems) == 0 {
				got = append(got, list[i].Source.String()+" "+list[i].Ref().String())
			}
		}
		if text := strings.Join(got, ", "); !strings.HasPrefix(text, c.want) {
			t.Errorf("%v: got %s, want %s", c.manifests, text, c.want)
		}
	}
}

func TestInNamespace(t *testing.T) {
	t.Parallel()
	s, r := shop(&project.Kubernetes{Container: "app"})
	list := things(t, deployment+"---\napiVersion: v1\nkind: Service\nmetadata:\n  name: other\n  namespace: elsewhere\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: all}\n")
	b, problems := s.shape(list, r, 0)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	problems = s.inNamespace(b, map[string]bool{"apps/v1 Deployment": true, "v1 Service": true, "v1 ConfigMap": true})
	if len(problems) != 1 || problems[0].Line != 11 || !strings.Contains(problems[0].Message, "is in namespace elsewhere, and the service goes to ns") {
		t.Errorf("problems: %v", problems)
	}
	spaces := map[string]string{}
	for _, o := range b.all() {
		spaces[o.Ref().String()] = o.Namespace()
	}
	if spaces["Deployment web-r42"] != "ns" || spaces["ClusterRole all"] != "" {
		t.Errorf("namespaces: %v", spaces)
	}
	if b.sources[mainOf(b).Ref().Key()] == nil {
		t.Error("it is not known any more where the Deployment stands")
	}
}

// TestTelling puts errors of servers into words.
func TestTelling(t *testing.T) {
	t.Parallel()
	s, r := shop(&project.Kubernetes{})
	b, _ := s.shape(things(t, deployment), r, 0)
	main := mainOf(b)
	told := &telling{s: s, b: b, o: main, thing: b.sources[main.Ref().Key()]}
	for _, c := range []struct {
		err  cluster.Error
		want string // "" for an error that is not the user's
	}{
		{cluster.Error{Code: http.StatusForbidden, Reason: "Forbidden", Message: `deployments.apps is forbidden: User "x" cannot patch resource "deployments"`}, "the account of Fairlead may not do that"},
		{cluster.Error{Code: http.StatusForbidden, Reason: "Forbidden", Message: `exceeded quota: small`}, "does not fit into the quota of namespace ns"},
		{cluster.Error{Code: http.StatusForbidden, Reason: "Forbidden", Message: `admission webhook "policy" denied the request: no root`}, "the cluster refuses Deployment web-r42: admission webhook"},
		{cluster.Error{Code: http.StatusUnauthorized, Reason: "Unauthorized"}, "the cluster does not know who we are"},
		{cluster.Error{Code: http.StatusNotFound, Reason: "NotFound", Message: `namespaces "ns" not found`}, "there is no namespace ns in the cluster"},
		{cluster.Error{Code: http.StatusInternalServerError, Reason: "InternalError", Message: "etcdserver: request timed out"}, ""},
		{cluster.Error{Code: http.StatusInternalServerError, Reason: "InternalError", Message: `failed calling webhook "policy": no endpoints`}, "failed calling webhook"},
		{cluster.Error{Code: http.StatusBadRequest, Reason: "BadRequest", Message: `strict decoding error: unknown field "spec.replicass"`}, "Deployment has no field spec.replicass [cluster]: did you mean replicas?"},
	} {
		problems, err := told.error(fmt.Errorf("apply: %w", &c.err))
		if c.want == "" {
			if err == nil {
				t.Errorf("%s: blamed on the user: %v", c.err.Message, problems)
			}
			continue
		}
		if err != nil || len(problems) != 1 || !strings.Contains(problems[0].String(), c.want) || problems[0].Hint == "" || problems[0].File != "deploy.yaml" {
			t.Errorf("%s: got %v, %v, want %s", c.err.Message, problems, err, c.want)
		}
	}
	if _, err := told.error(errors.New("no route to host")); err == nil {
		t.Error("a broken network is blamed on the user")
	}
}

func TestLabelValue(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"shop": "shop", "pr/17": "pr-17", "-x-": "x", "": "", strings.Repeat("a", 70): strings.Repeat("a", 63)} {
		if got := labelValue(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
