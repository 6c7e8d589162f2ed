package kubernetes

import (
	"context"
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

// Shift implements [deploy.Driver].
func (d *Driver) Shift(ctx context.Context, t *deploy.Target, shares []deploy.Share) error {
	s, state, err := d.begin(ctx, t)
	if err != nil {
		return err
	}
	var sum int
	var to []deploy.Share
	for _, share := range shares {
		if share.Percent > 0 {
			to = append(to, share)
			sum += share.Percent
		}
	}
	if sum != 100 && len(to) > 0 {
		return fmt.Errorf("the shares of %s come to %d percent", t.Name(), sum)
	}
	all, err := s.revisions(ctx)
	if err != nil {
		return err
	}
	var bundles []*bundle
	for _, share := range to {
		i := slices.IndexFunc(all, func(b *bundle) bool { return b.Number == share.Number })
		if i < 0 {
			return fmt.Errorf("there is no revision %d of %s to send requests to", share.Number, t.Name())
		}
		bundles = append(bundles, all[i])
	}
	if len(to) == 0 {
		return s.nowhere(ctx, all)
	}
	if len(to) == 1 && bundles[0].Main == "" {
		return nil // it was applied in place
	}
	if err := s.steer(ctx, to, bundles, all); err != nil {
		return err
	}
	s.logged("requests go to %s", write(to))
	whole := ""
	if len(to) == 1 {
		whole = strconv.Itoa(to[0].Number)
	}
	if state.Text("data", stateShares) != write(to) || state.Text("data", stateWhole) != whole {
		if err := s.note(ctx, map[string]string{stateShares: write(to), stateWhole: whole}); err != nil {
			return err
		}
	}
	if err := s.arrive(ctx, bundles[0], to); err != nil || whole == "" {
		return err
	}
	return s.prune(ctx, bundles[0])
}

// steer makes the requests go by shares.
func (s *site) steer(ctx context.Context, to []deploy.Share, bundles, all []*bundle) error {
	whole := bundles[0]
	selector := map[string]any{labelTarget: s.key, labelRevision: strconv.Itoa(whole.Number)}
	if len(to) > 1 {
		i := slices.IndexFunc(bundles, func(b *bundle) bool { return s.together(bundles, b.Number) })
		if i < 0 && s.t.Spec.Kubernetes.Route == "" {
			return fmt.Errorf("revisions %s of %s were not begun one on top of the other, so no Service can choose just them; a route: of the Gateway API can: %w", numbers(to), s.t.Name(), deploy.ErrRefused)
		}
		if i >= 0 {
			whole = bundles[i]
			selector = map[string]any{labelTarget: s.key, labelSince + strconv.Itoa(whole.Number): "yes"}
		}
		if s.t.Spec.Kubernetes.Route == "" {
			if err := s.alone(ctx, to, whole, all); err != nil {
				return err
			}
		}
	}
	if len(to) == 1 {
		if err := s.lay(ctx, whole.Ground); err != nil {
			return err
		}
	}
	routed := s.t.Spec.Kubernetes.Route != ""
	for _, o := range whole.Front {
		o = o.Clone()
		s.sign(o)
		switch kind := o.Kind().GroupKind(); {
		case kind == "Service" && slices.Contains(whole.Services, o.Name()):
			// With a route, those who call the Service itself stay where they are until one
			// revision gets everything.
			if routed && len(to) > 1 {
				continue
			}
			for k, v := range selector {
				o.Set(v, "spec", "selector", k)
			}
		case kind == "HTTPRoute.gateway.networking.k8s.io" && o.Name() == s.t.Spec.Kubernetes.Route:
			weigh(o, whole.Services, to)
		case len(to) > 1:
			continue // only whoever gets everything says how the rest is
		}
		if _, err := s.put(ctx, o); err != nil {
			return err
		}
	}
	if routed {
		return s.route(ctx, whole, to)
	}
	return nil
}

// together reports whether all bundles have pods that carry the mark of one revision.
func (s *site) together(bundles []*bundle, number int) bool {
	for _, b := range bundles {
		if b.Number != number && b.Base != number {
			return false
		}
	}
	return true
}

// alone refuses shares by number of pods when a further revision has pods that the Service could
// not tell apart.
func (s *site) alone(ctx context.Context, to []deploy.Share, whole *bundle, all []*bundle) error {
	for _, b := range all {
		if b.Base != whole.Number || slices.ContainsFunc(to, func(sh deploy.Share) bool { return sh.Number == b.Number }) {
			continue
		}
		o, err := s.get(ctx, kindDeployment, b.Main)
		if err != nil {
			return err
		}
		if o != nil && o.Int(1, "spec", "replicas") > 0 {
			return fmt.Errorf("revision %d still has pods, and a Service cannot tell them from those of revisions %s; it has to be removed first", b.Number, numbers(to))
		}
	}
	return nil
}

func numbers(to []deploy.Share) string {
	var list []string
	for _, share := range to {
		list = append(list, strconv.Itoa(share.Number))
	}
	return strings.Join(list, " and ")
}

// write and read keep shares as a text: 41=75 42=25.
func write(to []deploy.Share) string {
	var list []string
	for _, share := range to {
		list = append(list, fmt.Sprintf("%d=%d", share.Number, share.Percent))
	}
	return strings.Join(list, " ")
}

func read(text string) []deploy.Share {
	var list []deploy.Share
	for part := range strings.FieldsSeq(text) {
		var share deploy.Share
		if _, err := fmt.Sscanf(part, "%d=%d", &share.Number, &share.Percent); err == nil {
			list = append(list, share)
		}
	}
	return list
}

// weigh shares the requests of a route out: where it points at one of the Services, or at what a
// revision has in its place, it then points at each revision's with its share.
func weigh(route object.Object, services []string, to []deploy.Share) {
	for _, rule := range route.List("spec", "rules") {
		var refs []any
		seen := map[string]bool{}
		for _, ref := range rule.List("backendRefs") {
			service := stem(ref.Text("name"), services)
			if kind := ref.Text("kind"); service == "" || kind != "" && kind != "Service" || ref.Text("group") != "" {
				refs = append(refs, map[string]any(ref))
				continue
			}
			if seen[service] {
				continue
			}
			seen[service] = true
			for _, share := range to {
				to := ref.Clone()
				to["name"] = service + "-r" + strconv.Itoa(share.Number)
				to["weight"] = int64(share.Percent)
				refs = append(refs, map[string]any(to))
			}
		}
		if len(seen) > 0 {
			rule["backendRefs"] = refs
		}
	}
}

// stem is which of the Services a name is, or is derived of; "" for none.
func stem(name string, services []string) string {
	for _, service := range services {
		if rest, ok := strings.CutPrefix(name, service); ok {
			if rest == "" {
				return service
			}
			if number, ok := strings.CutPrefix(rest, "-r"); ok && isNumber(number) {
				return service
			}
		}
	}
	return ""
}

func isNumber(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}

// route sets the weights of a route that somebody else declares.
func (s *site) route(ctx context.Context, whole *bundle, to []deploy.Share) error {
	name := s.t.Spec.Kubernetes.Route
	if slices.ContainsFunc(whole.Front, func(o object.Object) bool { return o.Kind().GroupKind() == kindRoute.GroupKind() && o.Name() == name }) {
		return nil // it is declared here, and has been written
	}
	r, err := s.Resource(ctx, kindRoute)
	if err != nil {
		return s.refusal(fmt.Errorf("set the weights of HTTPRoute %s: %w", name, err))
	}
	for range maxContests {
		have, err := s.get(ctx, kindRoute, name)
		if err != nil {
			return err
		}
		if have == nil {
			return fmt.Errorf("there is no HTTPRoute %s in namespace %s: %w", name, s.namespace, deploy.ErrRefused)
		}
		if err := s.fenced(have); err != nil {
			return err
		}
		weigh(have, whole.Services, to)
		_, err = s.Merge(ctx, r, s.namespace, name, object.Object{
			"metadata": map[string]any{
				"resourceVersion": have.Text("metadata", "resourceVersion"),
				"labels":          map[string]any{labelFence: strconv.FormatInt(s.t.Fence, 10)},
			},
			"spec": map[string]any{"rules": have.At("spec", "rules")},
		})
		if cluster.Reason(err) == "Conflict" {
			continue
		}
		return s.refusal(err)
	}
	return fmt.Errorf("HTTPRoute %s changes too fast to be written", name)
}

// nowhere lets no request go anywhere.
func (s *site) nowhere(ctx context.Context, all []*bundle) error {
	r, err := s.Resource(ctx, kindService)
	if err != nil {
		return err
	}
	done := map[string]bool{}
	for _, b := range all {
		for _, name := range b.Services {
			if done[name] {
				continue
			}
			done[name] = true
			have, err := s.get(ctx, kindService, name)
			if err != nil {
				return err
			}
			if have == nil || !s.ours(have) {
				continue
			}
			if err := s.fenced(have); err != nil {
				return err
			}
			_, err = s.Merge(ctx, r, s.namespace, name, object.Object{
				"metadata": map[string]any{"resourceVersion": have.Text("metadata", "resourceVersion")},
				"spec":     map[string]any{"selector": map[string]any{labelTarget: s.key, labelRevision: "none"}},
			})
			if err != nil {
				return s.refusal(err)
			}
		}
	}
	return s.note(ctx, map[string]string{stateShares: ""})
}

// arrive waits until the cluster sends the requests of the Services to the pods that they
// are for, and to no others.
func (s *site) arrive(ctx context.Context, whole *bundle, to []deploy.Share) error {
	if len(whole.Services) == 0 {
		return nil
	}
	r, err := s.Resource(ctx, kindSlice)
	if errors.Is(err, cluster.ErrUnknownKind) {
		return pause(ctx, spread)
	}
	if err != nil {
		return err
	}
	if s.t.Spec.Kubernetes.Route != "" && len(to) > 1 {
		return pause(ctx, spread) // the Services stay as they are
	}
	for _, name := range whole.Services {
		q := cluster.Query{Namespace: s.namespace, Labels: "kubernetes.io/service-name=" + name}
		for slicesNow, err := range s.Follow(ctx, r, q) {
			if cluster.Reason(err) == "Forbidden" {
				s.logged("this account may not read EndpointSlices, so the nodes are given %v without looking", spread)
				break
			}
			if err != nil {
				return fmt.Errorf("wait until requests to Service %s go by the new shares: %w", name, err)
			}
			there, err := s.arrived(ctx, slicesNow, to)
			if err != nil {
				return err
			}
			if there {
				break
			}
		}
	}
	return pause(ctx, spread)
}

// pause lets time pass.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// arrived compares where requests go with the pods of the revisions that are to get them.
func (s *site) arrived(ctx context.Context, endpoints map[string]object.Object, to []deploy.Share) (bool, error) {
	pods, err := s.of(ctx, kindPod, "")
	if err != nil {
		return false, err
	}
	wanted, ready := map[string]bool{}, 0
	for _, pod := range pods {
		number, _ := numberOf(pod)
		wanted[pod.Name()] = slices.ContainsFunc(to, func(share deploy.Share) bool { return share.Number == number })
		if wanted[pod.Name()] && readiness.Of(pod, s.now()).State == readiness.Ready {
			ready++
		}
	}
	found := 0
	for _, slice := range endpoints {
		for _, e := range slice.List("endpoints") {
			if e.At("conditions", "ready") != true {
				continue
			}
			if !wanted[e.Text("targetRef", "name")] {
				return false, nil
			}
			found++
		}
	}
	// Between two looks pods come and go: some have to be there, not each one.
	return found > 0 || ready == 0, nil
}
