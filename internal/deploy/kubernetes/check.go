package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/cluster"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/manifest"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/object"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Check implements [deploy.Driver]. Everything is applied for show: the cluster's own
// validation, admission and rights decide.
func (d *Driver) Check(ctx context.Context, t *deploy.Target, r *deploy.Revision) ([]plan.Problem, error) {
	t = as(t, r)
	s, err := d.visit(t)
	if err != nil {
		return []plan.Problem{{Source: t.Spec.Source, Severity: plan.Error, Rule: "cluster", Message: err.Error(), Hint: "look at context: in fairlead.yaml, and at the kubeconfig"}}, nil
	}
	if err := s.meet(ctx); err != nil {
		return nil, fmt.Errorf("reach the cluster of %s: %w", t.Name(), err)
	}
	if a := r.Release.Artifact; a.Kind == "image" && !digest.MatchString(a.Digest) {
		return []plan.Problem{{Source: t.Spec.Source, Severity: plan.Error, Rule: "artifact",
			Message: fmt.Sprintf("the image %s has no digest but %q", a.Name, plan.Clip(a.Digest)), Hint: "deploy what was built, by its digest sha256:…"}}, nil
	}
	base := 0
	if all, err := s.revisions(ctx); err == nil && len(all) > 0 {
		base = all[len(all)-1].Number
	}
	b, problems, err := d.fresh(ctx, s, r, base)
	if err != nil || plan.Errors(problems) {
		return problems, err
	}
	if packed := s.t.RevisionName(r.Number); len(packed) > maxName {
		problems = append(problems, plan.Problem{Source: t.Spec.Source, Severity: plan.Error, Rule: "cluster",
			Message: fmt.Sprintf("the name %s has %d letters, and a cluster takes %d", packed, len(packed), maxName), Hint: "give the service or the environment a shorter name"})
	}
	for _, o := range b.all() {
		p, err := s.rehearse(ctx, b, o)
		if err != nil {
			return nil, err
		}
		problems = append(problems, p...)
	}
	return append(problems, s.routeThere(ctx, b)...), nil
}

// maxName is how long the name of what the driver makes may be.
const maxName = 63

var digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// rehearse applies one thing for show.
func (s *site) rehearse(ctx context.Context, b *bundle, o object.Object) ([]plan.Problem, error) {
	told := &telling{s: s, b: b, o: o, thing: b.sources[o.Ref().Key()]}
	r, err := s.Resource(ctx, o.Kind())
	if errors.Is(err, cluster.ErrUnknownKind) {
		if definedAmong(b.Ground, o.Kind()) != nil {
			return nil, nil // it will be known by then
		}
		return told.problem("apiVersion", fmt.Sprintf("the cluster knows no %s", o.Kind()), "look at apiVersion and kind; if it is a kind of the team's own, its CustomResourceDefinition has to be installed first"), nil
	}
	if err != nil {
		return nil, err
	}
	o = o.Clone()
	have, err := s.Get(ctx, r, o.Namespace(), o.Name())
	switch {
	case cluster.NotFound(err):
	case err != nil:
		return told.error(err)
	default:
		if err := s.belongs(have); err != nil {
			return told.problem("metadata.name", strings.TrimSuffix(err.Error(), ": "+deploy.ErrRefused.Error()), "each service in each environment needs its own; a namespace: with {{environment}} in it keeps environments apart"), nil
		}
		// What we steer by ourselves, nobody else can hold.
		if slices.Contains(b.Services, o.Name()) && o.Kind() == kindService {
			o.Set(have.At("spec", "selector"), "spec", "selector")
		}
		if o.Kind().GroupKind() == kindRoute.GroupKind() && o.Name() == s.t.Spec.Kubernetes.Route {
			o.Set(have.At("spec", "rules"), "spec", "rules")
		}
	}
	if o.Kind().GroupKind() == "Deployment.apps" && o.Name() == b.Main && o.At("spec", "replicas") == nil {
		o.Set(int64(s.t.Spec.In(s.t.Environment)), "spec", "replicas")
	}
	_, err = s.Apply(ctx, r, o, cluster.Apply{Dry: true})
	if err == nil {
		return nil, nil
	}
	if o.Kind() != kindNamespace && s.namespaceComes(ctx, b, err) {
		return nil, nil
	}
	return told.error(err)
}

var kindNamespace = object.Kind{Version: "v1", Kind: "Namespace"}

// namespaceComes reports whether a thing could not be rehearsed only because its namespace is
// declared and not there yet.
func (s *site) namespaceComes(ctx context.Context, b *bundle, err error) bool {
	if !cluster.NotFound(err) {
		return false
	}
	declared := slices.ContainsFunc(b.Ground, func(o object.Object) bool { return o.Kind() == kindNamespace && o.Name() == s.namespace })
	if !declared {
		return false
	}
	r, err := s.Resource(ctx, kindNamespace)
	if err != nil {
		return false
	}
	_, err = s.Get(ctx, r, "", s.namespace)
	return cluster.NotFound(err)
}

// routeThere looks whether the route whose weights are to be set can be.
func (s *site) routeThere(ctx context.Context, b *bundle) []plan.Problem {
	name := s.t.Spec.Kubernetes.Route
	if name == "" || slices.ContainsFunc(b.Front, func(o object.Object) bool { return o.Kind().Kind == kindRoute.Kind && o.Name() == name }) {
		return nil
	}
	problem := func(message, hint string) []plan.Problem {
		return []plan.Problem{{Source: s.t.Spec.Source, Severity: plan.Error, Rule: "cluster", Message: message, Hint: hint}}
	}
	have, err := s.get(ctx, kindRoute, name)
	switch {
	case errors.Is(err, cluster.ErrUnknownKind):
		return problem("the cluster has no Gateway API, so there can be no HTTPRoute "+name, "install a gateway, or take route: out: requests are then shared out by the number of pods")
	case err != nil:
		return problem(fmt.Sprintf("HTTPRoute %s cannot be read: %v", name, err), "let Fairlead's account read and change HTTPRoutes")
	case have == nil:
		return problem(fmt.Sprintf("there is no HTTPRoute %s in namespace %s", name, s.namespace), "declare it among the manifests, or look at route: in fairlead.yaml")
	}
	for _, rule := range have.List("spec", "rules") {
		for _, ref := range rule.List("backendRefs") {
			if stem(ref.Text("name"), b.Services) != "" {
				return nil
			}
		}
	}
	return problem(fmt.Sprintf("HTTPRoute %s points at none of the Services of %s (%s)", name, s.t.Service, strings.Join(b.Services, ", ")), "give one of its rules a backendRef to the Service")
}

// definedIn is the definition of a kind among things that are declared; nil for none.
func definedIn(things []manifest.Thing, k object.Kind) object.Object {
	for _, t := range things {
		if defines(t.Object, k) {
			return t.Object
		}
	}
	return nil
}

func definedAmong(things []object.Object, k object.Kind) object.Object {
	for _, o := range things {
		if defines(o, k) {
			return o
		}
	}
	return nil
}

func defines(o object.Object, k object.Kind) bool {
	return o.Kind().GroupKind() == "CustomResourceDefinition.apiextensions.k8s.io" && o.Text("spec", "group") == k.Group && o.Text("spec", "names", "kind") == k.Kind
}

// telling puts a cluster's errors about a thing into words of the files that declare it.
type telling struct {
	s     *site
	b     *bundle
	o     object.Object
	thing *manifest.Thing // nil for what the driver itself declares
}

func (t *telling) problem(path, message, hint string) []plan.Problem {
	at := t.s.t.Spec.Source
	if t.thing != nil {
		at = t.thing.At(path)
	}
	if hint == "" {
		field := strings.TrimSuffix(strings.ToLower(t.o.Kind().Kind)+"."+indexes.ReplaceAllString(path, ""), ".")
		hint = "kubectl explain " + field + " tells what it may be"
	}
	return []plan.Problem{{Source: at, Severity: plan.Error, Rule: "cluster", Message: message, Hint: hint}}
}

// indexes are the parts of a path that say which item of a list is meant.
var indexes = regexp.MustCompile(`\[[^\]]*\]`)

// wholeValue is a mapping that a server repeats before it says what is wrong with it.
var wholeValue = regexp.MustCompile(`^Invalid value: \{.*\}: `)

// The ways in which servers name a field in a message.
var (
	unknownField = regexp.MustCompile(`unknown field "([^"]+)"`)
	undeclared   = regexp.MustCompile(`\.([a-zA-Z][\w.\-\[\]="/]*): field not declared in schema`)
	wrongShape   = regexp.MustCompile(`\.([a-zA-Z][\w.\-\[\]="/]*): expected ([^,]+), got (.*)`)
)

// error says what the cluster has against a thing. An error of another kind is handed back.
func (t *telling) error(err error) ([]plan.Problem, error) {
	var e *cluster.Error
	if !errors.As(err, &e) {
		return nil, err
	}
	name := t.o.Ref().String()
	if claims := cluster.Claims(err); len(claims) > 0 {
		var all []plan.Problem
		for _, c := range claims {
			all = append(all, t.problem(c.Field, fmt.Sprintf("%s of %s is set by %s, to another value", c.Field, name, c.Manager),
				"give it the value that it has, or take it out of the manifest so that it stays theirs, or take it away from them (kubectl apply --server-side --force-conflicts --field-manager=fairlead)")...)
		}
		return all, nil
	}
	switch {
	case e.Code == http.StatusForbidden && strings.Contains(e.Message, "exceeded quota"):
		return t.problem("spec", fmt.Sprintf("%s does not fit into the quota of namespace %s: %s", name, t.s.namespace, e.Message), "ask for less, or have the quota raised"), nil
	case e.Code == http.StatusForbidden && (strings.Contains(e.Message, "cannot ") || e.Message == ""):
		return t.problem("", fmt.Sprintf("the account of Fairlead may not do that: %s", e.Message), "give it the rules that the page Deploy to Kubernetes lists"), nil
	case e.Code == http.StatusUnauthorized:
		return t.problem("", "the cluster does not know who we are: "+e.Error(), "look at the user of the kubeconfig"), nil
	case cluster.NotFound(err) && strings.Contains(e.Message, "namespaces"):
		return t.problem("", fmt.Sprintf("there is no namespace %s in the cluster", t.s.namespace), "create it, or declare it among the manifests"), nil
	case len(e.Causes) > 0 && e.Reason == "Invalid":
		var all []plan.Problem
		for _, c := range e.Causes {
			all = append(all, t.problem(c.Field, fmt.Sprintf("%s: %s: %s", name, c.Field, plan.Clip(wholeValue.ReplaceAllString(c.Message, ""))), "")...)
		}
		return all, nil
	case e.Code >= http.StatusInternalServerError && !undeclared.MatchString(e.Message) && !wrongShape.MatchString(e.Message) && !strings.Contains(e.Message, "webhook"):
		return nil, err // the cluster is not well
	}
	for _, way := range []*regexp.Regexp{unknownField, undeclared} {
		if m := way.FindStringSubmatch(e.Message); m != nil {
			all := t.problem(m[1], fmt.Sprintf("%s has no field %s", t.o.Kind().Kind, m[1]), t.nearest(m[1]))
			if t.thing != nil {
				all[0].Source = t.thing.Key(m[1])
			}
			return all, nil
		}
	}
	if m := wrongShape.FindStringSubmatch(e.Message); m != nil {
		return t.problem(m[1], fmt.Sprintf("%s: %s must be %s, not %s", name, m[1], m[2], plan.Clip(m[3])), ""), nil
	}
	return t.problem("", fmt.Sprintf("the cluster refuses %s: %s", name, plan.Clip(e.Error())), ""), nil
}

// nearest is what was probably meant by a field that there is not.
func (t *telling) nearest(path string) string {
	field := path[strings.LastIndexByte(path, '.')+1:]
	if near := plan.Nearest(field, fields); near != "" && near != field {
		return "did you mean " + near + "?"
	}
	return "look at how it is written, and at the line before it: it may stand one level too deep"
}

// fields are those that manifests have most.
var fields = []string{
	"image", "imagePullPolicy", "command", "args", "env", "envFrom", "ports", "containerPort", "resources", "limits", "requests", "livenessProbe", "readinessProbe",
	"startupProbe", "volumeMounts", "volumes", "mountPath", "containers", "initContainers", "replicas", "selector", "matchLabels", "template", "metadata", "labels", "annotations",
	"strategy", "progressDeadlineSeconds", "terminationGracePeriodSeconds", "serviceAccountName", "securityContext", "nodeSelector", "tolerations", "affinity", "targetPort",
	"port", "protocol", "type", "data", "stringData", "schedule", "backoffLimit", "restartPolicy", "httpGet", "periodSeconds", "failureThreshold", "initialDelaySeconds", "timeoutSeconds",
	"configMap", "secret", "secretName", "valueFrom", "configMapKeyRef", "secretKeyRef", "imagePullSecrets", "hostNetwork", "lifecycle", "preStop", "minReadySeconds", "revisionHistoryLimit",
}
