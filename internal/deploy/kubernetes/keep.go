package kubernetes

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/cluster"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/object"
)

// What each revision declares is a Secret beside it, for it may hold secrets. Going back
// to a revision needs nothing but that: no tree, no helm.

const (
	keptType   = "fairlead.dev/revision"
	keptKey    = "bundle"
	maxKept    = 900 << 10 // bytes, packed: the server takes 1 MiB
	maxUnknown = 64 << 20  // bytes, unpacked
)

// keep writes down a bundle before anything of it is made.
func (s *site) keep(ctx context.Context, b *bundle) error {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if err := json.NewEncoder(z).Encode(b); err != nil {
		return fmt.Errorf("keep what revision %d declares: %w", b.Number, err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("keep what revision %d declares: %w", b.Number, err)
	}
	if packed.Len() > maxKept {
		return fmt.Errorf("the manifests of %s have %d bytes when packed, and a cluster keeps at most %d: make large parts, such as definitions of kinds, a service of their own: %w",
			s.t.Service, packed.Len(), maxKept, deploy.ErrRefused)
	}
	o := object.Object{
		"apiVersion": "v1", "kind": "Secret", "type": keptType,
		"metadata": map[string]any{"name": s.t.RevisionName(b.Number), "namespace": s.namespace},
		"data":     map[string]any{keptKey: base64.StdEncoding.EncodeToString(packed.Bytes())},
	}
	s.mark(o, fmt.Sprint(b.Number))
	if b.Release != "" {
		o.Set(b.Release, "metadata", "annotations", annotationRelease)
	}
	_, err := s.put(ctx, o)
	return err
}

// kept is what a revision declares; nil when nothing is known of it.
func (s *site) kept(ctx context.Context, number int) (*bundle, error) {
	o, err := s.get(ctx, kindSecret, s.t.RevisionName(number))
	if err != nil || o == nil {
		return nil, err
	}
	if !s.ours(o) {
		return nil, fmt.Errorf("%s of namespace %s is not of this service in this environment; rename one of the two: %w", o.Ref(), s.namespace, deploy.ErrRefused)
	}
	return unpack(o)
}

func unpack(o object.Object) (*bundle, error) {
	broken := func(err error) (*bundle, error) {
		return nil, fmt.Errorf("read what %s keeps of its revision: %w", o.Ref(), err)
	}
	packed, err := base64.StdEncoding.DecodeString(o.Text("data", keptKey))
	if err != nil {
		return broken(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return broken(err)
	}
	text, err := io.ReadAll(io.LimitReader(z, maxUnknown))
	if err != nil {
		return broken(err)
	}
	var b bundle
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&b); err != nil {
		return broken(err)
	}
	return &b, nil
}

// revisions reads what is kept of all revisions, in order of their numbers. What cannot be read
// any more is left out.
func (s *site) revisions(ctx context.Context) ([]*bundle, error) {
	list, err := s.of(ctx, kindSecret, labelRevision)
	if err != nil {
		return nil, err
	}
	var all []*bundle
	for _, o := range list {
		if o.Text("type") != keptType {
			continue
		}
		b, err := unpack(o)
		if err != nil {
			s.logged("%v", err)
			continue
		}
		all = append(all, b)
	}
	slices.SortFunc(all, func(x, y *bundle) int { return x.Number - y.Number })
	return all, nil
}

// The fields of the target's own ConfigMap.
const (
	stateKinds  = "kinds"  // group, version and kind of all that was ever made, a line each
	stateShares = "shares" // number=percent, where nothing in the cluster shows it
	stateWhole  = "whole"  // the revision that front and ground are of
)

// note writes into the target's ConfigMap.
func (s *site) note(ctx context.Context, fields map[string]string) error {
	r, err := s.Resource(ctx, kindConfigMap)
	if err != nil {
		return err
	}
	data := map[string]any{}
	for k, v := range fields {
		data[k] = v
	}
	for range maxContests {
		have, err := s.get(ctx, kindConfigMap, s.t.Name())
		if err != nil {
			return err
		}
		if have == nil {
			return fmt.Errorf("the ConfigMap %s is gone: %w", s.t.Name(), deploy.ErrFenced)
		}
		if err := s.fenced(have); err != nil {
			return err
		}
		_, err = s.Merge(ctx, r, s.namespace, s.t.Name(), object.Object{
			"metadata": map[string]any{"resourceVersion": have.Text("metadata", "resourceVersion")}, "data": data,
		})
		if cluster.Reason(err) == "Conflict" {
			continue
		}
		return s.refusal(err)
	}
	return errors.New("the target's ConfigMap changes too fast to be written")
}
