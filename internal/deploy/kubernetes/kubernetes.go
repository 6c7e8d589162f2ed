// Package kubernetes moves services in a Kubernetes cluster.
//
// A team's manifests say what there is to be; this driver adds what it takes to have two
// releases of it at a time. Things fall into three sorts:
//
//	own      Deployments and Jobs, and the ConfigMaps and Secrets that pods
//	         read. Each revision has its own, with the number behind the name (web-r42),
//	         so configuration goes back with the code.
//	front    Services in front of the Deployment, Ingresses, routes, autoscalers.
//	         There is one of each. A Service chooses a revision by a label of its
//	         pods, which is one write; a route of the Gateway API shares requests out
//	         by percentages.
//	ground   everything else: accounts, rules, volumes, StatefulSets. There is one of each,
//	         and it is as the newest revision declares it.
//
// When a revision gets all requests, front and ground become as it declares them: so going back
// brings back everything. What each revision declares is kept beside it in the cluster.
//
// Manifests without a Deployment are applied as they are, in place; the cluster then
// does the rolling by itself, and there is nothing to shift.
//
// Everything is written by server-side apply under the name fairlead. The check
// before a rollout applies all of it for show (dry run), and refuses to take fields from
// others; the acts themselves take them, because a way back that a manual change
// blocks is none. Everything carries the label fairlead.dev/target, and nothing
// without it is ever deleted.
package kubernetes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/cluster"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/object"
)

// The labels of what the driver makes. Those of pods never change, since another label
// would be another pod.
const (
	labelTarget      = "fairlead.dev/target"      // digest of repository, service and environment: whose it is
	labelService     = "fairlead.dev/service"     // for people
	labelEnvironment = "fairlead.dev/environment" // for people
	labelRelease     = "fairlead.dev/release"     // first digits of its digest
	labelRollout     = "fairlead.dev/rollout"     // by which it was written last
	labelFence       = "fairlead.dev/fence"       // of who wrote it last
	labelRevision    = "fairlead.dev/revision"    // number; "all" for front and ground
	labelSince       = "fairlead.dev/since-r"     // followed by a number: pods of that revision, and of those begun on top of it
)

// Annotations.
const (
	annotationRelease   = "fairlead.dev/release"
	annotationInstances = "fairlead.dev/instances" // that the Deployment was last told to have
)

// shared is the revision of what there is one of.
const shared = "all"

// Options says how to make a driver.
type Options struct {
	// Getenv reads the environment: where kubeconfigs are. Nil is the process's.
	Getenv func(string) string
	// Now is the clock; nil is the machine's.
	Now func() time.Time
}

// Driver implements [deploy.Driver].
type Driver struct {
	getenv func(string) string
	now    func() time.Time

	mu      sync.Mutex
	clients map[string]*cluster.Client // by what they were made of
}

var _ deploy.Driver = (*Driver)(nil)

// New makes the driver.
func New(o Options) *Driver {
	d := &Driver{getenv: o.Getenv, now: o.Now, clients: map[string]*cluster.Client{}}
	if d.getenv == nil {
		d.getenv = os.Getenv
	}
	if d.now == nil {
		d.now = time.Now
	}
	return d
}

// site is a target in its cluster.
type site struct {
	*cluster.Client
	t         *deploy.Target
	namespace string
	key       string // value of labelTarget
	now       func() time.Time
	logged    func(format string, args ...any)
	sleeps    bool // containers may be told to sleep before they end: from 1.30 on
}

// visit finds the target's cluster. Nothing is asked of it yet.
func (d *Driver) visit(t *deploy.Target) (*site, error) {
	spec := t.Spec.Kubernetes
	if spec == nil {
		return nil, fmt.Errorf("service %s does not go to Kubernetes", t.Service)
	}
	config, err := cluster.Find(cluster.Place{Context: fill(spec.Context, t), Namespace: fill(spec.Namespace, t), Getenv: d.getenv})
	if err != nil {
		return nil, fmt.Errorf("find the cluster of %s: %w", t.Name(), err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	client := d.clients[config.Digest]
	if client == nil {
		client = cluster.New(config)
		d.clients[config.Digest] = client
	}
	sum := sha256.Sum256([]byte(t.Repository + "\x00" + t.Service + "\x00" + t.Environment))
	return &site{
		Client: client, t: t, namespace: config.Namespace, key: hex.EncodeToString(sum[:6]), now: d.now,
		logged: func(format string, args ...any) { t.Log(fmt.Sprintf(format, args...)) },
	}, nil
}

// as is the target as a revision's release has it.
func as(t *deploy.Target, r *deploy.Revision) *deploy.Target {
	if r.Spec == nil {
		return t
	}
	same := *t
	same.Spec = r.Spec
	return &same
}

// sleepsSince is the minor version of Kubernetes that knows a preStop that sleeps.
const sleepsSince = 30

// meet asks the cluster what it can do.
func (s *site) meet(ctx context.Context) error {
	version, err := s.Version(ctx)
	if err != nil {
		return err
	}
	var major, minor int
	if _, err := fmt.Sscanf(version, "v%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("the cluster calls its version %q, which is none", version)
	}
	if major == 1 && minor < oldest {
		return fmt.Errorf("the cluster is of version %s, and at least 1.%d is needed: %w", version, oldest, deploy.ErrRefused)
	}
	s.sleeps = major > 1 || minor >= sleepsSince
	return nil
}

// oldest is the minor version of Kubernetes in which strict server-side apply is stable.
const oldest = 27

// fill puts the names of the target where {{service}} and {{environment}} stand.
func fill(text string, t *deploy.Target) string {
	return strings.NewReplacer("{{service}}", t.Service, "{{environment}}", t.Environment).Replace(text)
}

// The kinds that the driver itself reads and writes.
var (
	kindConfigMap  = object.Kind{Version: "v1", Kind: "ConfigMap"}
	kindSecret     = object.Kind{Version: "v1", Kind: "Secret"}
	kindService    = object.Kind{Version: "v1", Kind: "Service"}
	kindPod        = object.Kind{Version: "v1", Kind: "Pod"}
	kindEvent      = object.Kind{Version: "v1", Kind: "Event"}
	kindDeployment = object.Kind{Group: "apps", Version: "v1", Kind: "Deployment"}
	kindSlice      = object.Kind{Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"}
	kindRoute      = object.Kind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"}
)

// of reads things of a kind that the target's label and another selector mean.
func (s *site) of(ctx context.Context, k object.Kind, selector string) ([]object.Object, error) {
	r, err := s.Resource(ctx, k)
	if errors.Is(err, cluster.ErrUnknownKind) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	labels := labelTarget + "=" + s.key
	if selector != "" {
		labels += "," + selector
	}
	q := cluster.Query{Labels: labels}
	if r.Namespaced {
		q.Namespace = s.namespace
	}
	list, _, err := s.List(ctx, r, q)
	return list, err
}

// get reads one thing of the namespace; nil when there is none.
func (s *site) get(ctx context.Context, k object.Kind, name string) (object.Object, error) {
	r, err := s.Resource(ctx, k)
	if err != nil {
		return nil, err
	}
	o, err := s.Get(ctx, r, s.namespace, name)
	if cluster.NotFound(err) {
		return nil, nil
	}
	return o, err
}

// ours reports whether the target owns the thing.
func (s *site) ours(o object.Object) bool { return o.Label(labelTarget) == s.key }

// fenceOf is the fence that a thing was last written with.
func fenceOf(o object.Object) int64 {
	n, _ := strconv.ParseInt(o.Label(labelFence), 10, 64)
	return n
}

// fenced refuses to touch what somebody newer has written.
func (s *site) fenced(o object.Object) error {
	if have := fenceOf(o); have > s.t.Fence {
		return fmt.Errorf("%s: its fence is %d and ours %d: %w", o.Ref(), have, s.t.Fence, deploy.ErrFenced)
	}
	return nil
}

// claim raises the fence of the target's own ConfigMap to ours, or fails because somebody
// newer has raised it higher. It returns what the ConfigMap holds.
func (s *site) claim(ctx context.Context) (object.Object, error) {
	r, err := s.Resource(ctx, kindConfigMap)
	if err != nil {
		return nil, err
	}
	name := s.t.Name()
	for range maxContests {
		have, err := s.get(ctx, kindConfigMap, name)
		if err != nil {
			return nil, err
		}
		fence := strconv.FormatInt(s.t.Fence, 10)
		if have == nil {
			o := object.Object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": s.namespace}, "data": map[string]any{}}
			s.mark(o, shared)
			made, err := s.Create(ctx, r, o)
			if cluster.Reason(err) == "AlreadyExists" {
				continue
			}
			return made, s.refusal(err)
		}
		if !s.ours(have) {
			return nil, fmt.Errorf("ConfigMap %s of namespace %s is not of this service in this environment; rename one of the two: %w", name, s.namespace, deploy.ErrRefused)
		}
		if err := s.fenced(have); err != nil {
			return nil, err
		}
		if fenceOf(have) == s.t.Fence {
			return have, nil
		}
		have, err = s.Merge(ctx, r, s.namespace, name, object.Object{"metadata": map[string]any{
			"resourceVersion": have.Text("metadata", "resourceVersion"),
			"labels":          map[string]any{labelFence: fence, labelRollout: labelValue(s.t.Rollout)},
		}})
		if cluster.Reason(err) == "Conflict" {
			continue
		}
		return have, s.refusal(err)
	}
	return nil, fmt.Errorf("ConfigMap %s changes too fast to be written", name)
}

// maxContests is how often a write is tried again that another one came before.
const maxContests = 20

// put brings about a thing as it is given, unless somebody newer has written it, or it
// belongs to somebody else. What others hold of it is taken from them.
func (s *site) put(ctx context.Context, o object.Object) (object.Object, error) {
	r, err := s.Resource(ctx, o.Kind())
	if err != nil {
		return nil, s.refusal(err)
	}
	for range maxContests {
		have, err := s.Get(ctx, r, o.Namespace(), o.Name())
		if err != nil && !cluster.NotFound(err) {
			return nil, s.refusal(err)
		}
		if err == nil {
			if err := s.belongs(have); err != nil {
				return nil, err
			}
			if err := s.fenced(have); err != nil {
				return nil, err
			}
			o.Set(have.Text("metadata", "resourceVersion"), "metadata", "resourceVersion")
		} else {
			o.Drop("metadata", "resourceVersion")
		}
		now, err := s.Apply(ctx, r, o, cluster.Apply{Force: true})
		if cluster.Reason(err) == "Conflict" {
			continue
		}
		if err != nil {
			return nil, s.refusal(err)
		}
		return s.purge(ctx, r, now), nil
	}
	return nil, fmt.Errorf("%s changes too fast to be written", o.Ref())
}

// purge takes out of a thing what people have put into it by hand. To apply what is declared
// does not, since they hold it; but a thing that is as declared and more is not as declared.
func (s *site) purge(ctx context.Context, r cluster.Resource, o object.Object) object.Object {
	fields := o.Foreign(cluster.Manager)
	if len(fields) == 0 {
		return o
	}
	var pointers [][]string
	for _, f := range fields {
		pointers = append(pointers, f.Pointer)
	}
	now, err := s.Cut(ctx, r, o, pointers)
	if err != nil {
		s.logged("%s has fields that are not declared, and they cannot be taken out: %v", o.Ref(), err)
		return o
	}
	for _, f := range fields {
		s.logged("%s: %s was set by %s and is taken out, as it is not declared", o.Ref(), f.Path, f.Manager)
	}
	return now
}

// belongs says whether the target may write a thing that is there: one that is its own, or
// that nobody else of ours has taken on.
func (s *site) belongs(have object.Object) error {
	if owner := have.Label(labelTarget); owner != "" && owner != s.key {
		return fmt.Errorf("%s of namespace %s belongs to service %s in %s: %w",
			have.Ref(), have.Namespace(), have.Label(labelService), have.Label(labelEnvironment), deploy.ErrRefused)
	}
	return nil
}

// refusal marks the errors that asking again does not mend.
func (s *site) refusal(err error) error {
	var e *cluster.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, cluster.ErrUnknownKind):
		return fmt.Errorf("%w: %w", err, deploy.ErrRefused)
	case errors.As(err, &e):
		switch e.Code {
		case http.StatusBadRequest, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusUnauthorized:
			return fmt.Errorf("%w: %w", err, deploy.ErrRefused)
		}
	}
	return err
}

// mark gives a thing its labels. The revision is a number, or shared.
func (s *site) mark(o object.Object, revision string) {
	labels := map[string]string{
		labelTarget:      s.key,
		labelService:     labelValue(s.t.Service),
		labelEnvironment: labelValue(s.t.Environment),
		labelRevision:    revision,
	}
	for k, v := range labels {
		o.Set(v, "metadata", "labels", k)
	}
	s.sign(o)
}

// sign writes into a thing who writes it.
func (s *site) sign(o object.Object) {
	o.Set(strconv.FormatInt(s.t.Fence, 10), "metadata", "labels", labelFence)
	if s.t.Rollout != "" {
		o.Set(labelValue(s.t.Rollout), "metadata", "labels", labelRollout)
	}
}

var notLabel = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

// labelValue makes a text fit for a label.
func labelValue(s string) string {
	s = notLabel.ReplaceAllString(s, "-")
	return strings.Trim(s[:min(len(s), 63)], "-_.")
}

// numberOf is the revision that a thing belongs to; ok is false for one that all share.
func numberOf(o object.Object) (n int, ok bool) {
	n, err := strconv.Atoi(o.Label(labelRevision))
	return n, err == nil
}
