package kubernetes

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/cluster"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/object"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/readiness"
)

// Capabilities implements [deploy.Driver]. The manifests say whether there is a
// Deployment; if they cannot be read, Check tells why.
func (d *Driver) Capabilities(t *deploy.Target) deploy.Capabilities {
	c := deploy.Capabilities{Drift: true}
	spec := t.Spec.Kubernetes
	if spec == nil {
		c.Why = "the service does not go to Kubernetes"
		return c
	}
	ctx, cancel := context.WithTimeout(context.Background(), renderTime)
	defer cancel()
	things, _, err := d.declared(ctx, t, spec)
	if err == nil && len(things) > 0 {
		deployment := false
		for _, thing := range things {
			deployment = deployment || thing.Kind().GroupKind() == "Deployment.apps"
		}
		if !deployment {
			c.Propose = true
			c.Why = "its manifests have no Deployment, so the cluster goes from one release to the next in place"
			return c
		}
	}
	c.Instances, c.Beside = true, true
	if spec.Route != "" {
		c.Split = true
		return c
	}
	c.Steps = max(t.Spec.In(t.Environment), 1)
	c.Why = "a Service of Kubernetes shares requests out by the number of pods; a route: of the Gateway API does it by percentages"
	return c
}

// Observe implements [deploy.Driver].
func (d *Driver) Observe(ctx context.Context, t *deploy.Target) (*deploy.World, error) {
	s, err := d.visit(t)
	if err != nil {
		return nil, err
	}
	state, err := s.get(ctx, kindConfigMap, t.Name())
	if err != nil {
		return nil, err
	}
	w := &deploy.World{}
	if state == nil || !s.ours(state) {
		return w, nil
	}
	w.Fence = fenceOf(state)
	all, err := s.revisions(ctx)
	if err != nil {
		return nil, err
	}
	pods, err := s.of(ctx, kindPod, "")
	if err != nil {
		return nil, err
	}
	deployments, err := s.of(ctx, kindDeployment, "")
	if err != nil {
		return nil, err
	}
	for _, b := range all {
		if b.Main == "" && state.Text("data", stateWhole) != strconv.Itoa(b.Number) {
			continue // it was, and another one has taken its place
		}
		w.Revisions = append(w.Revisions, s.seen(b, pods, deployments))
	}
	s.explain(ctx, w)
	s.mask(ctx, w)
	shares, err := s.sharesOf(ctx, all, state, w)
	if err != nil {
		return nil, err
	}
	for _, share := range shares {
		if seen := w.Revision(share.Number); seen != nil {
			seen.Percent = share.Percent
		}
	}
	return w, nil
}

// explain adds what the cluster warns of to the instances that are not ready and whose own
// status does not say much: a volume that cannot be mounted, a probe that fails.
func (s *site) explain(ctx context.Context, w *deploy.World) {
	waiting := map[string][]*deploy.Instance{}
	for i := range w.Revisions {
		for j := range w.Revisions[i].Instances {
			if in := &w.Revisions[i].Instances[j]; !in.Ready && !in.Failed {
				waiting[in.Name] = append(waiting[in.Name], in)
			}
		}
	}
	if len(waiting) == 0 {
		return
	}
	r, err := s.Resource(ctx, kindEvent)
	if err != nil {
		return // it is only an explanation
	}
	events, _, err := s.List(ctx, r, cluster.Query{Namespace: s.namespace, Fields: "type=Warning,involvedObject.kind=Pod"})
	if err != nil {
		return
	}
	slices.SortStableFunc(events, func(x, y object.Object) int { return strings.Compare(x.Text("lastTimestamp"), y.Text("lastTimestamp")) })
	for _, e := range slices.Backward(events) {
		switch e.Text("reason") {
		case "MissingClusterDNS", "DNSConfigForming", "Preempting":
			continue // no reason for a pod not to be ready
		}
		for _, in := range waiting[e.Text("involvedObject", "name")] {
			in.Why = strings.TrimPrefix(in.Why+"; "+strings.TrimSpace(e.Text("message")), "; ")
		}
		delete(waiting, e.Text("involvedObject", "name"))
	}
}

// minHidden is how long a value has to be to be looked for: a shorter one stands everywhere.
const minHidden = 4

// mask takes the values of a revision's secrets out of what its containers said at their end.
func (s *site) mask(ctx context.Context, w *deploy.World) {
	for i := range w.Revisions {
		seen := &w.Revisions[i]
		var whys []string
		for _, in := range seen.Instances {
			whys = append(whys, in.Why)
		}
		if strings.Join(whys, "") == "" {
			continue
		}
		const mark = "\x00" // no such text has one
		whys = strings.Split(s.unsaid(ctx, seen.Number, strings.Join(whys, mark)), mark)
		for j := range seen.Instances {
			if seen.Instances[j].Why != "" {
				seen.Instances[j].Why = whys[min(j, len(whys)-1)]
			}
		}
	}
}

// unsaid is a text without the values of a revision's secrets.
func (s *site) unsaid(ctx context.Context, number int, text string) string {
	hidden, err := s.get(ctx, kindSecret, variables(s.t, number))
	if err != nil {
		return "its secrets cannot be read, so what it said is not shown"
	}
	var pairs []string
	for name := range hidden.Map("data") {
		value, err := base64.StdEncoding.DecodeString(hidden.Text("data", name))
		if err == nil && len(value) >= minHidden {
			pairs = append(pairs, string(value), "***")
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// seen is what there is of a revision.
func (s *site) seen(b *bundle, pods, deployments []object.Object) deploy.Seen {
	seen := deploy.Seen{Number: b.Number, Release: b.Release}
	if b.Main == "" {
		seen.Percent = 100
	}
	for _, pod := range pods {
		if n, ok := numberOf(pod); ok && n == b.Number && s.instance(b, pod) {
			seen.Instances = append(seen.Instances, s.look(b, pod))
		}
	}
	slices.SortFunc(seen.Instances, func(x, y deploy.Instance) int {
		return cmp.Or(x.Started.Compare(y.Started), strings.Compare(x.Name, y.Name))
	})
	for _, o := range deployments {
		if o.Name() != b.Main {
			continue
		}
		// Pods that cannot even be made are told of by their Deployment.
		if i := wanting(o); i != nil && len(seen.Instances) < int(o.Int(1, "spec", "replicas")) {
			seen.Instances = append(seen.Instances, *i)
			continue
		}
		if status := readiness.Of(o, s.now()); status.State == readiness.Failed {
			for i := range seen.Instances {
				if in := &seen.Instances[i]; !in.Ready {
					in.Failed, in.Why = true, strings.TrimSuffix(status.Why+"; "+in.Why, "; ")
				}
			}
		}
	}
	return seen
}

// wanting stands for the pods of a Deployment that the cluster refuses to make.
func wanting(o object.Object) *deploy.Instance {
	c := o.Condition("ReplicaFailure")
	if !c.True() {
		return nil
	}
	return &deploy.Instance{
		Name: o.Name(), Why: "the cluster makes no pod: " + cmp.Or(c.Message, c.Reason),
		// A quota or a rule that refuses the pod does so each time.
		Failed: c.Reason == "FailedCreate" && (strings.Contains(c.Message, "exceeded quota") || strings.Contains(c.Message, "forbidden") || strings.Contains(c.Message, "denied")),
	}
}

// instance reports whether a pod is one of the instances: not one of a Job's, nor of another
// Deployment's of the service, nor one that is on its way out.
func (s *site) instance(b *bundle, pod object.Object) bool {
	if pod.Text("metadata", "deletionTimestamp") != "" {
		return false
	}
	if b.Main == "" {
		return pod.Label("job-name") == ""
	}
	return pod.Label(labelSince+strconv.Itoa(b.Number)) != ""
}

func (s *site) look(b *bundle, pod object.Object) deploy.Instance {
	status := readiness.Of(pod, s.now())
	in := deploy.Instance{Name: pod.Name(), Ready: status.State == readiness.Ready, Failed: status.State == readiness.Failed}
	if !in.Ready {
		in.Why = status.Why
	}
	if ip := pod.Text("status", "podIP"); ip != "" && b.Port > 0 {
		if strings.Contains(ip, ":") {
			ip = "[" + ip + "]"
		}
		in.Address = fmt.Sprintf("%s:%d", ip, b.Port)
	}
	in.Started, _ = time.Parse(time.RFC3339, cmp.Or(pod.Text("status", "startTime"), pod.Text("metadata", "creationTimestamp"))) // else it is not known
	for _, c := range pod.List("status", "containerStatuses") {
		in.Restarts += int(c.Int(0, "restartCount"))
	}
	return in
}

// shares are the revisions that get requests, the one that others were begun on top of first.
func (s *site) shares(ctx context.Context, all []*bundle, state object.Object) ([]deploy.Share, error) {
	return s.sharesOf(ctx, all, state, nil)
}

// sharesOf reads from the cluster where requests go. The world tells how many pods are ready,
// which are the shares when a Service chooses several revisions.
func (s *site) sharesOf(ctx context.Context, all []*bundle, state object.Object, w *deploy.World) ([]deploy.Share, error) {
	var services []string
	for _, b := range slices.Backward(all) {
		if len(b.Services) > 0 {
			services = b.Services
			break
		}
	}
	if len(services) == 0 {
		return read(state.Text("data", stateShares)), nil
	}
	if name := s.t.Spec.Kubernetes.Route; name != "" {
		if shares, err := s.weights(ctx, name, services); err != nil || len(shares) > 0 {
			return shares, err
		}
	}
	service, err := s.get(ctx, kindService, services[0])
	if err != nil || service == nil {
		return nil, err
	}
	selector := service.Map("spec", "selector")
	if selector.Text(labelTarget) != s.key {
		return nil, nil // requests go to what is not ours
	}
	if n, err := strconv.Atoi(selector.Text(labelRevision)); err == nil {
		return []deploy.Share{{Number: n, Percent: 100}}, nil
	}
	for k := range selector {
		base, err := strconv.Atoi(strings.TrimPrefix(k, labelSince))
		if err != nil || !strings.HasPrefix(k, labelSince) {
			continue
		}
		return byPods(all, base, w), nil
	}
	return nil, nil
}

// byPods shares out by the number of ready pods, among a revision and those that were begun on
// top of it.
func byPods(all []*bundle, base int, w *deploy.World) []deploy.Share {
	shares := []deploy.Share{{Number: base}}
	for _, b := range all {
		if b.Base == base && b.Number != base {
			shares = append(shares, deploy.Share{Number: b.Number})
		}
	}
	if w == nil {
		return shares
	}
	total := 0
	for _, share := range shares {
		if seen := w.Revision(share.Number); seen != nil {
			total += seen.Ready()
		}
	}
	left, last := 100, -1
	for i := range shares {
		if seen := w.Revision(shares[i].Number); seen != nil && total > 0 && seen.Ready() > 0 {
			shares[i].Percent = seen.Ready() * 100 / total
			left -= shares[i].Percent
			last = i
		}
	}
	if last >= 0 {
		shares[last].Percent += left // what rounding has left over
	}
	return shares
}

// weights are the shares that a route gives the revisions' own Services, the oldest first.
func (s *site) weights(ctx context.Context, name string, services []string) ([]deploy.Share, error) {
	route, err := s.get(ctx, kindRoute, name)
	if errors.Is(err, cluster.ErrUnknownKind) || route == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	sums, total := map[int]int{}, 0
	for _, rule := range route.List("spec", "rules") {
		for _, ref := range rule.List("backendRefs") {
			service := stem(ref.Text("name"), services)
			number, err := strconv.Atoi(strings.TrimPrefix(ref.Text("name"), service+"-r"))
			if service == "" || err != nil {
				continue
			}
			weight := int(ref.Int(1, "weight"))
			sums[number] += weight
			total += weight
		}
		if total > 0 {
			break // the rules of a route are written alike
		}
	}
	var shares []deploy.Share
	for number, weight := range sums {
		if weight > 0 {
			shares = append(shares, deploy.Share{Number: number, Percent: weight * 100 / total})
		}
	}
	slices.SortFunc(shares, func(x, y deploy.Share) int { return x.Number - y.Number })
	return shares, nil
}
