package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/cluster"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/object"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/readiness"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// begin finds the cluster and raises the fence.
func (d *Driver) begin(ctx context.Context, t *deploy.Target) (*site, object.Object, error) {
	s, err := d.visit(t)
	if err != nil {
		return nil, nil, err
	}
	if err := s.meet(ctx); err != nil {
		return nil, nil, fmt.Errorf("reach the cluster of %s: %w", t.Name(), err)
	}
	state, err := s.claim(ctx)
	return s, state, err
}

// bundleOf is what a revision declares: as it was kept when it was begun, or else as its
// manifests say now.
func (d *Driver) bundleOf(ctx context.Context, s *site, r *deploy.Revision, base int) (b *bundle, fresh bool, err error) {
	if b, err := s.kept(ctx, r.Number); err != nil || b != nil {
		return b, false, err
	}
	b, problems, err := d.fresh(ctx, s, r, base)
	if err != nil {
		return nil, false, err
	}
	for _, p := range problems {
		if p.Severity == plan.Error {
			return nil, false, fmt.Errorf("%s: %w", p, deploy.ErrRefused)
		}
	}
	return b, true, nil
}

// fresh makes a bundle of the manifests.
func (d *Driver) fresh(ctx context.Context, s *site, r *deploy.Revision, base int) (*bundle, []plan.Problem, error) {
	things, problems, err := d.declared(ctx, s.t, r.Spec.Kubernetes)
	if err != nil || plan.Errors(problems) {
		return nil, problems, err
	}
	b, more := s.shape(things, r, base)
	problems = append(problems, more...)
	namespaced := map[string]bool{}
	for _, k := range b.kinds() {
		resource, err := s.Resource(ctx, k)
		if errors.Is(err, cluster.ErrUnknownKind) {
			// One that is defined here as well is known once that is applied.
			namespaced[k.String()] = definedIn(things, k).Text("spec", "scope") == "Namespaced"
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		namespaced[k.String()] = resource.Namespaced
	}
	return b, append(problems, s.inNamespace(b, namespaced)...), nil
}

// Ensure implements [deploy.Driver].
func (d *Driver) Ensure(ctx context.Context, t *deploy.Target, r *deploy.Revision, n int) error {
	t = as(t, r)
	s, state, err := d.begin(ctx, t)
	if cluster.NotFound(err) {
		// The namespace is not there; perhaps it is declared.
		if err := d.settle(ctx, s, r); err != nil {
			return err
		}
		s, state, err = d.begin(ctx, t)
	}
	if err != nil {
		return err
	}
	all, err := s.revisions(ctx)
	if err != nil {
		return err
	}
	base := 0
	if shares, err := s.shares(ctx, all, state); err != nil {
		return err
	} else if len(shares) > 0 {
		base = shares[0].Number
	}
	b, fresh, err := d.bundleOf(ctx, s, r, base)
	if err != nil {
		return err
	}
	if fresh {
		if n == 0 && b.Main != "" {
			return nil
		}
		if err := s.agreed(ctx, r, b, state); err != nil {
			return err
		}
		if err := s.keep(ctx, b); err != nil {
			return err
		}
		all = append(all, b)
	}
	if err := s.remember(ctx, state, b); err != nil {
		return err
	}
	if b.Main == "" {
		return s.inPlace(ctx, b)
	}
	// An older revision is only made fewer or more: what all share is the newest one's.
	if n > 0 && r.Number == slices.MaxFunc(all, func(x, y *bundle) int { return x.Number - y.Number }).Number {
		if err := s.lay(ctx, b.Ground); err != nil {
			return err
		}
	}
	for _, o := range b.Beside {
		if err := s.beside(ctx, b, o, n); err != nil {
			return err
		}
	}
	t.Log(fmt.Sprintf("%s is to have %d pods", b.Main, n))
	if state.Text("data", stateWhole) == strconv.Itoa(r.Number) {
		// What has drifted of the front is put right, too.
		if shares, err := s.shares(ctx, all, state); err != nil || len(shares) != 1 || shares[0].Number != r.Number {
			return err
		}
		return s.steer(ctx, []deploy.Share{{Number: r.Number, Percent: 100}}, []*bundle{b}, all)
	}
	return nil
}

// settle makes the namespace of the target, if its manifests declare it.
func (d *Driver) settle(ctx context.Context, s *site, r *deploy.Revision) error {
	b, _, err := d.bundleOf(ctx, s, r, 0)
	if err != nil {
		return err
	}
	for _, o := range b.Ground {
		if o.Kind() == kindNamespace && o.Name() == s.namespace {
			return s.lay(ctx, []object.Object{o})
		}
	}
	return fmt.Errorf("there is no namespace %s in the cluster, and the manifests of %s declare none: %w", s.namespace, s.t.Service, deploy.ErrRefused)
}

// remember adds the kinds of a bundle to those that were ever made.
func (s *site) remember(ctx context.Context, state object.Object, b *bundle) error {
	known := map[string]bool{}
	for _, k := range made(state) {
		known[line(k)] = true
	}
	before := len(known)
	for _, k := range b.kinds() {
		known[line(k)] = true
	}
	if len(known) == before {
		return nil
	}
	return s.note(ctx, map[string]string{stateKinds: strings.Join(slices.Sorted(maps.Keys(known)), "\n")})
}

func line(k object.Kind) string { return k.Group + " " + k.Version + " " + k.Kind }

// made are the kinds of all that was ever made for the target.
func made(state object.Object) []object.Kind {
	var list []object.Kind
	for text := range strings.SplitSeq(state.Text("data", stateKinds), "\n") {
		if parts := strings.Split(text, " "); len(parts) == 3 {
			list = append(list, object.Kind{Group: parts[0], Version: parts[1], Kind: parts[2]})
		}
	}
	return list
}

// rank puts things into the order in which they are made: what others stand in comes first.
func rank(o object.Object) int {
	switch o.Kind().GroupKind() {
	case "Namespace":
		return 0
	case "CustomResourceDefinition.apiextensions.k8s.io":
		return 1
	case "ServiceAccount", "Secret", "ConfigMap", "ResourceQuota", "LimitRange", "PriorityClass.scheduling.k8s.io", "StorageClass.storage.k8s.io":
		return 2
	case "Role.rbac.authorization.k8s.io", "ClusterRole.rbac.authorization.k8s.io", "PersistentVolume":
		return 3
	case "RoleBinding.rbac.authorization.k8s.io", "ClusterRoleBinding.rbac.authorization.k8s.io", "PersistentVolumeClaim":
		return 4
	case "Service":
		return 5
	}
	return 6
}

// lay applies things of which there is one.
func (s *site) lay(ctx context.Context, things []object.Object) error {
	things = slices.Clone(things)
	slices.SortStableFunc(things, func(x, y object.Object) int { return rank(x) - rank(y) })
	for _, o := range things {
		o = o.Clone()
		s.sign(o)
		now, err := s.put(ctx, o)
		if err != nil {
			return err
		}
		if rank(o) == 1 {
			if err := s.await(ctx, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// await follows a thing until it is ready. The error says why it will not be.
func (s *site) await(ctx context.Context, o object.Object) error {
	r, err := s.Resource(ctx, o.Kind())
	if err != nil {
		return err
	}
	why := ""
	for all, err := range s.Follow(ctx, r, cluster.Query{Namespace: o.Namespace(), Fields: "metadata.name=" + o.Name()}) {
		if err != nil {
			return fmt.Errorf("wait for %s%s: %w", o.Ref(), after(": ", why), err)
		}
		now, ok := all[o.Ref().Key()]
		if !ok {
			why = "it is not there"
			continue
		}
		status := readiness.Of(now, s.now())
		switch why = status.Why; status.State {
		case readiness.Ready, readiness.Suspended:
			return nil
		case readiness.Failed:
			return fmt.Errorf("%s: %s: %w", o.Ref(), why, deploy.ErrRefused)
		}
	}
	return fmt.Errorf("wait for %s%s: %w", o.Ref(), after(": ", why), ctx.Err())
}

func after(sign, text string) string {
	if text == "" {
		return ""
	}
	return sign + text
}

// beside makes a thing of a revision's own.
func (s *site) beside(ctx context.Context, b *bundle, o object.Object, n int) error {
	o = o.Clone()
	s.sign(o)
	switch o.Kind().GroupKind() {
	case "Job.batch":
		// It runs once. When it is there, it is not touched: it may have ended.
		if have, err := s.get(ctx, o.Kind(), o.Name()); err != nil || have != nil || n == 0 {
			return err
		}
	case "Deployment.apps":
		if o.Name() == b.Main {
			o.Set(int64(s.scaled(ctx, b, n)), "spec", "replicas")
			o.Set(strconv.Itoa(n), "metadata", "annotations", annotationInstances)
		} else if n == 0 {
			o.Set(int64(0), "spec", "replicas")
		}
	}
	_, err := s.put(ctx, o)
	return err
}

// scaled is how many pods a revision gets: what was asked for, unless an autoscaler that is
// in charge of it has found that it takes more.
func (s *site) scaled(ctx context.Context, b *bundle, n int) int {
	if n == 0 {
		return 0
	}
	for _, o := range b.Front {
		if o.Kind().GroupKind() != "HorizontalPodAutoscaler.autoscaling" || o.Text("spec", "scaleTargetRef", "name") != b.Main {
			continue
		}
		live, err := s.get(ctx, o.Kind(), o.Name())
		if err != nil || live == nil || live.Text("spec", "scaleTargetRef", "name") != b.Main {
			continue // it is in charge of another revision
		}
		return max(n, int(live.Int(0, "status", "desiredReplicas")))
	}
	return n
}

// inPlace applies a bundle that has no Deployment, and waits until everything is as declared.
func (s *site) inPlace(ctx context.Context, b *bundle) error {
	things := slices.Concat(b.Ground, b.Front)
	for _, o := range b.Beside {
		if err := s.beside(ctx, b, o, 1); err != nil {
			return err
		}
	}
	if err := s.lay(ctx, things); err != nil {
		return err
	}
	if err := s.note(ctx, map[string]string{stateWhole: strconv.Itoa(b.Number)}); err != nil {
		return err
	}
	if err := s.unstick(ctx, b.Number); err != nil {
		return err
	}
	// A workload does not tell that its pods fail: they do.
	within, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	go s.lookout(within, b.Number, fail)
	for _, o := range slices.Concat(b.Beside, things) {
		if err := s.await(within, o); err != nil {
			if cause := context.Cause(within); cause != nil && ctx.Err() == nil {
				return cause
			}
			return err
		}
	}
	if slices.ContainsFunc(things, func(o object.Object) bool { return o.Kind() == kindService }) {
		if err := pause(ctx, spread); err != nil {
			return err
		}
	}
	return s.prune(ctx, b)
}

// lookout watches the pods of a revision until one has a trouble that waiting does not mend.
func (s *site) lookout(ctx context.Context, number int, fail context.CancelCauseFunc) {
	r, err := s.Resource(ctx, kindPod)
	if err != nil {
		return
	}
	q := cluster.Query{Namespace: s.namespace, Labels: labelTarget + "=" + s.key + "," + labelRevision + "=" + strconv.Itoa(number)}
	for pods, err := range s.Follow(ctx, r, q) {
		if err != nil {
			return // without it, the deadline tells
		}
		for _, pod := range pods {
			if status := readiness.Of(pod, s.now()); status.State == readiness.Failed && pod.Label("job-name") == "" {
				fail(fmt.Errorf("%s: %s: %w", pod.Ref(), s.unsaid(ctx, number, status.Why), deploy.ErrRefused))
				return
			}
		}
	}
}

// unstick deletes pods of earlier revisions that a StatefulSet does not get ready: it waits for
// them before it replaces them, and so for ever.
func (s *site) unstick(ctx context.Context, number int) error {
	pods, err := s.of(ctx, kindPod, labelRevision+"!="+strconv.Itoa(number))
	if err != nil {
		return err
	}
	r, err := s.Resource(ctx, kindPod)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		owned := slices.ContainsFunc(pod.List("metadata", "ownerReferences"), func(o object.Object) bool { return o.Text("kind") == "StatefulSet" })
		if state := readiness.Of(pod, s.now()).State; !owned || state == readiness.Ready || state == readiness.Leaving {
			continue
		}
		if err := s.Delete(ctx, r, pod.Namespace(), pod.Name(), pod.Text("metadata", "uid"), cluster.Background); err != nil {
			return s.refusal(err)
		}
		s.logged("%s is deleted: it was of another revision and not ready", pod.Ref())
	}
	return nil
}

// Remove implements [deploy.Driver].
func (d *Driver) Remove(ctx context.Context, t *deploy.Target, number int) error {
	s, state, err := d.begin(ctx, t)
	if cluster.NotFound(err) {
		return nil // not even the namespace is there
	}
	if err != nil {
		return err
	}
	all, err := s.revisions(ctx)
	if err != nil {
		return err
	}
	last := !slices.ContainsFunc(all, func(b *bundle) bool { return b.Number != number })
	inPlace := slices.ContainsFunc(all, func(b *bundle) bool { return b.Number == number && b.Main == "" })
	own := labelRevision + "=" + strconv.Itoa(number)
	kinds := append(made(state), kindDeployment, kindService, kindConfigMap)
	slices.SortFunc(kinds, func(x, y object.Kind) int { return strings.Compare(line(x), line(y)) })
	kinds = slices.DeleteFunc(slices.Compact(kinds), func(k object.Kind) bool { return k == kindSecret })
	// Pods first: what they read is there until they have ended.
	slices.SortStableFunc(kinds, func(x, y object.Kind) int { return late(x) - late(y) })
	for i, k := range kinds {
		if late(k) > 0 && (i == 0 || late(kinds[i-1]) == 0) {
			if last {
				if err := s.leave(ctx, kinds); err != nil {
					return err
				}
			}
			// In place, the pods are those of things that may be another revision's by now.
			if !inPlace || last && t.Spec.Kubernetes.Prune {
				if err := s.gone(ctx, own); err != nil {
					return err
				}
			}
		}
		if err := s.deleteAll(ctx, k, own, nil); err != nil {
			return err
		}
	}
	// What is kept of the revision goes last: until then, all can be done again.
	return s.deleteAll(ctx, kindSecret, own, nil)
}

// late is 1 for what goes only after the pods have gone.
func late(k object.Kind) int {
	switch k.GroupKind() {
	case "Deployment.apps", "Job.batch":
		return 0
	}
	return 1
}

// gone waits until no pod is left that a selector means.
func (s *site) gone(ctx context.Context, selector string) error {
	r, err := s.Resource(ctx, kindPod)
	if err != nil {
		return err
	}
	q := cluster.Query{Namespace: s.namespace, Labels: labelTarget + "=" + s.key + "," + selector}
	for pods, err := range s.Follow(ctx, r, q) {
		if err != nil {
			return fmt.Errorf("wait until the pods have ended: %w", err)
		}
		if len(pods) == 0 {
			break
		}
	}
	return nil
}

// deleteAll deletes the things of a kind that the target owns and a selector means, but those
// that are to stay.
func (s *site) deleteAll(ctx context.Context, k object.Kind, selector string, stay func(object.Object) bool) error {
	list, err := s.of(ctx, k, selector)
	if err != nil {
		return err
	}
	for _, o := range list {
		if stay != nil && stay(o) {
			continue
		}
		if err := s.delete(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// precious reports whether a thing holds what nobody could make again, or what others may
// be in.
func precious(o object.Object) bool {
	switch o.Kind().GroupKind() {
	case "Namespace", "PersistentVolumeClaim", "PersistentVolume", "CustomResourceDefinition.apiextensions.k8s.io":
		return true
	}
	return false
}

// leave takes away what all revisions shared, if pruning is asked for: the service leaves the
// environment.
func (s *site) leave(ctx context.Context, kinds []object.Kind) error {
	for _, k := range append(slices.Clone(kinds), kindSecret) {
		err := s.deleteAll(ctx, k, labelRevision+"="+shared, func(o object.Object) bool {
			if o.Ref() == (object.Ref{Kind: kindConfigMap, Namespace: s.namespace, Name: s.t.Name()}) {
				return true // it keeps the fence
			}
			if precious(o) || !s.t.Spec.Kubernetes.Prune {
				s.logged("%s stays: delete it by hand if nobody needs it", o.Ref())
				return true
			}
			return false
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// prune deletes what earlier revisions declared for all, and this one does not declare any
// more.
func (s *site) prune(ctx context.Context, b *bundle) error {
	if !s.t.Spec.Kubernetes.Prune {
		return nil
	}
	state, err := s.get(ctx, kindConfigMap, s.t.Name())
	if err != nil || state == nil {
		return err
	}
	things, err := s.leftover(ctx, b, state)
	if err != nil {
		return err
	}
	for _, o := range things {
		if precious(o) {
			s.logged("%s is not declared any more and stays: delete it by hand if nobody needs what it holds", o.Ref())
			continue
		}
		if err := s.delete(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// delete deletes a thing of the target's, unless somebody newer has written it.
func (s *site) delete(ctx context.Context, o object.Object) error {
	if err := s.fenced(o); err != nil {
		return err
	}
	r, err := s.Resource(ctx, o.Kind())
	if err != nil {
		return err
	}
	if err := s.Delete(ctx, r, o.Namespace(), o.Name(), o.Text("metadata", "uid"), cluster.Background); err != nil {
		return s.refusal(err)
	}
	s.logged("%s is deleted", o.Ref())
	return nil
}

// spread is how long nodes may take to learn where the requests of a Service go, which no
// cluster tells: twice the time that kube-proxy lets pass between two writes.
const spread = 2 * time.Second
