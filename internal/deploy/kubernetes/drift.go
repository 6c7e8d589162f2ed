package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/cluster"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/object"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Drift implements [deploy.Driver]: everything that the revision declares is applied for show,
// and what would become of it compared with what is there. Who set a field, and when,
// the cluster itself remembers.
func (d *Driver) Drift(ctx context.Context, t *deploy.Target, r *deploy.Revision) ([]record.Difference, error) {
	t = as(t, r)
	s, err := d.visit(t)
	if err != nil {
		return nil, err
	}
	if err := s.meet(ctx); err != nil {
		return nil, fmt.Errorf("reach the cluster of %s: %w", t.Name(), err)
	}
	state, err := s.get(ctx, kindConfigMap, t.Name())
	if err != nil {
		return nil, err
	}
	if state == nil {
		return []record.Difference{{Resource: "ConfigMap " + t.Name(), Want: "there", Have: ""}}, nil
	}
	b, err := s.kept(ctx, r.Number)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return []record.Difference{{Resource: "Secret " + t.RevisionName(r.Number), Want: "there", Have: ""}}, nil
	}
	var all []record.Difference
	for _, o := range b.all() {
		list, err := s.drifted(ctx, b, o)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	undeclared, err := s.undeclared(ctx, b, state)
	return append(all, undeclared...), err
}

// drifted compares one thing.
func (s *site) drifted(ctx context.Context, b *bundle, o object.Object) ([]record.Difference, error) {
	name := o.Ref().String()
	r, have, err := s.standing(ctx, o)
	if err != nil {
		return nil, err
	}
	if have == nil {
		return []record.Difference{{Resource: name, Want: "declared", Have: ""}}, nil
	}
	if o.Kind().GroupKind() == "Job.batch" {
		return nil, nil // it runs once; what it is made of cannot be changed
	}
	want, err := s.rehearsed(ctx, r, b, o, have)
	if err != nil {
		return nil, err
	}
	hidden := o.Kind() == kindSecret
	var list []record.Difference
	for _, diff := range object.Compare(bare(want), bare(have)) {
		who := have.Author(diff.Fields, cluster.Manager)
		list = append(list, record.Difference{
			Resource: name, Field: diff.Path, Want: show(diff.Want, hidden), Have: show(diff.Have, hidden), Author: who.Manager, Since: who.Time,
		})
	}
	for _, f := range have.Foreign(cluster.Manager) {
		// What differs was told already, perhaps as a part of this, or as a whole.
		if slices.ContainsFunc(list, func(d record.Difference) bool {
			return strings.HasPrefix(d.Field, f.Path) || strings.HasPrefix(f.Path, d.Field)
		}) {
			continue
		}
		list = append(list, record.Difference{Resource: name, Field: f.Path, Have: show(f.Value, hidden), Author: f.Manager, Since: f.Time})
	}
	return list, nil
}

// rehearsed is what would become of a thing that is there if it were written as declared, but
// for what the driver itself steers by.
func (s *site) rehearsed(ctx context.Context, r cluster.Resource, b *bundle, o, have object.Object) (object.Object, error) {
	o = o.Clone()
	switch kind := o.Kind().GroupKind(); {
	case kind == "Deployment.apps" && o.Name() == b.Main:
		if n, err := strconv.Atoi(have.Annotation(annotationInstances)); err == nil && s.scaled(ctx, b, n) == n {
			o.Set(int64(n), "spec", "replicas")
		} else {
			o.Set(have.At("spec", "replicas"), "spec", "replicas")
		}
	case kind == "Service" && slices.Contains(b.Services, o.Name()):
		// Of the selector, what chooses the revision is the rollout's.
		for k, v := range have.Map("spec", "selector") {
			if strings.HasPrefix(k, "fairlead.dev/") {
				o.Set(v, "spec", "selector", k)
			}
		}
	case kind == kindRoute.GroupKind() && o.Name() == s.t.Spec.Kubernetes.Route:
		o.Set(have.At("spec", "rules"), "spec", "rules")
	}
	// Who wrote it last is no difference.
	for _, label := range []string{labelFence, labelRollout} {
		if value := have.Label(label); value != "" {
			o.Set(value, "metadata", "labels", label)
		} else {
			o.Drop("metadata", "labels", label)
		}
	}
	if instances := have.Annotation(annotationInstances); instances != "" {
		o.Set(instances, "metadata", "annotations", annotationInstances)
	}
	want, err := s.Apply(ctx, r, o, cluster.Apply{Force: true, Dry: true})
	return want, s.refusal(err)
}

// bare is a thing without what the cluster keeps of it.
func bare(o object.Object) object.Object {
	o = o.Clone()
	o.Drop("status")
	for _, field := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"} {
		o.Drop("metadata", field)
	}
	return o
}

// maxShown is how many bytes of a value are shown.
const maxShown = 200

// show is a value for people.
func show(v any, hidden bool) string {
	if v == nil {
		return ""
	}
	if hidden {
		return "(not shown)"
	}
	text, ok := v.(string)
	if !ok {
		data, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		text = string(data)
	}
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}

// undeclared are things of the target that all share and that the revision does not declare, if
// pruning is asked for: without, they are left on purpose.
func (s *site) undeclared(ctx context.Context, b *bundle, state object.Object) ([]record.Difference, error) {
	if !s.t.Spec.Kubernetes.Prune || state.Text("data", stateWhole) != strconv.Itoa(b.Number) {
		return nil, nil
	}
	things, err := s.leftover(ctx, b, state)
	if err != nil {
		return nil, err
	}
	var list []record.Difference
	for _, o := range things {
		since, _ := time.Parse(time.RFC3339, o.Text("metadata", "creationTimestamp")) // else it is not known
		list = append(list, record.Difference{Resource: o.Ref().String(), Have: "there", Since: since})
	}
	return list, nil
}
