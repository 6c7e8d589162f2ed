package kubernetes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/cluster"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/object"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

var _ deploy.Proposer = (*Driver)(nil)

// maxChanges is how many lines a proposal has.
const maxChanges = 500

// Propose implements [deploy.Proposer]: what applying the revision in place would change, thing by
// thing and field by field.
func (d *Driver) Propose(ctx context.Context, t *deploy.Target, r *deploy.Revision) (*record.Proposal, error) {
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
	b, problems, err := d.fresh(ctx, s, r, 0)
	if err != nil {
		return nil, err
	}
	for _, p := range problems {
		if p.Severity == plan.Error {
			return nil, fmt.Errorf("%s: %w", p, deploy.ErrRefused)
		}
	}
	return s.propose(ctx, b, state)
}

// propose looks what a bundle would change.
func (s *site) propose(ctx context.Context, b *bundle, state object.Object) (*record.Proposal, error) {
	var p record.Proposal
	var made, changed, deleted int
	sum := sha256.New()
	for _, o := range b.all() {
		r, have, err := s.standing(ctx, o)
		if err != nil {
			return nil, err
		}
		declared := o.Clone()
		declared.Drop("metadata", "labels", labelFence)
		declared.Drop("metadata", "labels", labelRollout)
		text, err := json.Marshal(declared)
		if err != nil {
			return nil, fmt.Errorf("describe %s: %w", o.Ref(), err)
		}
		sum.Write(text)
		if have == nil {
			made++
			p.Changes = append(p.Changes, "make "+o.Ref().String())
			continue
		}
		if o.Kind().GroupKind() == "Job.batch" {
			continue
		}
		want, err := s.rehearsed(ctx, r, b, o, have)
		if err != nil {
			return nil, err
		}
		differences := object.Compare(bare(want), bare(have))
		if len(differences) > 0 {
			changed++
		}
		for _, diff := range differences {
			hidden := o.Kind() == kindSecret
			p.Changes = append(p.Changes, fmt.Sprintf("change %s: %s from %s to %s", o.Ref(), diff.Path, none(show(diff.Have, hidden)), none(show(diff.Want, hidden))))
		}
	}
	if s.t.Spec.Kubernetes.Prune && state != nil {
		old, err := s.leftover(ctx, b, state)
		if err != nil {
			return nil, err
		}
		for _, o := range old {
			if !precious(o) {
				deleted++
				p.Changes = append(p.Changes, "delete "+o.Ref().String())
			}
		}
	}
	sum.Write([]byte(strings.Join(p.Changes, "\n")))
	p.Digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	p.Summary = fmt.Sprintf("%d to make, %d to change, %d to delete", made, changed, deleted)
	if more := len(p.Changes) - maxChanges; more > 0 {
		p.Changes = append(p.Changes[:maxChanges], fmt.Sprintf("and %d more", more))
	}
	return &p, nil
}

func none(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}

// standing is a thing as it is there; nil if it is not, or its kind is not known yet.
func (s *site) standing(ctx context.Context, o object.Object) (cluster.Resource, object.Object, error) {
	r, err := s.Resource(ctx, o.Kind())
	if errors.Is(err, cluster.ErrUnknownKind) {
		return r, nil, nil
	}
	if err != nil {
		return r, nil, err
	}
	have, err := s.Get(ctx, r, o.Namespace(), o.Name())
	if cluster.NotFound(err) {
		return r, nil, nil
	}
	return r, have, err
}

// leftover are things that all revisions share and that a bundle does not declare.
func (s *site) leftover(ctx context.Context, b *bundle, state object.Object) ([]object.Object, error) {
	declared := []string{state.Ref().Key()}
	for _, o := range b.all() {
		declared = append(declared, o.Ref().Key())
	}
	var list []object.Object
	for _, k := range made(state) {
		things, err := s.of(ctx, k, labelRevision+"="+shared)
		if err != nil {
			return nil, err
		}
		for _, o := range things {
			if !slices.Contains(declared, o.Ref().Key()) {
				list = append(list, o)
			}
		}
	}
	return list, nil
}

// agreed fails when people have agreed to a proposal, and what would be changed is not that any
// more.
func (s *site) agreed(ctx context.Context, r *deploy.Revision, b *bundle, state object.Object) error {
	if r.Proposal == nil || b.Main != "" {
		return nil
	}
	now, err := s.propose(ctx, b, state)
	if err != nil {
		return err
	}
	if now.Digest != r.Proposal.Digest {
		return fmt.Errorf("%s was agreed to, and by now it is %s: %w", r.Proposal.Summary, now.Summary, deploy.ErrStale)
	}
	return nil
}
