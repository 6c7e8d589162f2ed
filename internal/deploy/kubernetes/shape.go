package kubernetes

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/manifest"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/object"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// bundle is all that a revision declares, with derived names, labels, image and
// configuration. It is kept in the cluster beside the revision.
type bundle struct {
	Number  int
	Release string
	// Main is the Deployment whose pods are the instances; "" if things are applied in
	// place.
	Main string
	// Base is the number of the revision that served when this one was begun; 0 for none.
	Base int
	// Beside has what each revision has for itself, Main included.
	Beside []object.Object
	// Ground and Front have what there is one of.
	Ground, Front []object.Object
	// Services are those in front of Main.
	Services []string
	// Port is where Main's pods listen; 0 if nobody says.
	Port int
	// sources say where a thing stands, by [object.Ref.Key].
	sources map[string]*manifest.Thing
}

// all are the things of a bundle in the order in which they are to be made.
func (b *bundle) all() []object.Object { return slices.Concat(b.Ground, b.Beside, b.Front) }

// shaping is the making of a bundle.
type shaping struct {
	s        *site
	r        *deploy.Revision
	b        *bundle
	problems []plan.Problem
	renamed  map[string]string // ConfigMaps and Secrets of the revision, by kind and name
	images   int               // containers that got the artifact's image
	exact    bool              // containers say themselves that they are of the artifact's image
	total    int               // containers of all things
}

// shape makes a bundle of what is declared. The base is the revision that serves.
func (s *site) shape(things []manifest.Thing, r *deploy.Revision, base int) (*bundle, []plan.Problem) {
	sh := &shaping{
		s: s, r: r, renamed: map[string]string{},
		b: &bundle{Number: r.Number, Base: base, sources: map[string]*manifest.Thing{}},
	}
	if r.Release != nil {
		sh.b.Release = r.Release.ID
	}
	for i := range things {
		things[i].Object = things[i].Clone() // the caller's stay as they are read
	}
	for i := range things {
		for _, c := range sh.containers(things[i].Object) {
			sh.total++
			sh.exact = sh.exact || sh.named(c)
		}
	}
	main := sh.choose(things)
	if main != nil {
		sh.b.Main = sh.derived(main.Name())
		sh.services(things, main)
		sh.b.Port = port(main.Object)
	}
	for i := 0; i < len(things) && main == nil && sh.b.Port == 0; i++ {
		sh.b.Port = port(things[i].Object)
	}
	sh.find(things)
	sh.configuration()
	for i := range things {
		sh.take(&things[i], &things[i] == main)
	}
	if r.Release != nil && r.Release.Artifact.Kind == "image" && sh.images == 0 && len(sh.problems) == 0 {
		at := s.t.Spec.Source
		if len(things) > 0 {
			at = things[0].Source
		}
		sh.report(at, fmt.Sprintf("no container of the manifests gets the image %s that the release is made of", r.Release.Artifact.Name),
			"give a container an image of that name, or name the container with container: in fairlead.yaml")
	}
	return sh.b, sh.problems
}

func (sh *shaping) report(at plan.Source, message, hint string) {
	sh.problems = append(sh.problems, plan.Problem{Source: at, Severity: plan.Error, Rule: manifest.Rule, Message: message, Hint: hint})
}

// derived is the name of a revision's own thing.
func (sh *shaping) derived(name string) string { return name + "-r" + strconv.Itoa(sh.r.Number) }

// choose finds the Deployment whose pods are the instances: the one that the artifact's
// image goes into and that a Service stands before, or else the next best.
func (sh *shaping) choose(things []manifest.Thing) *manifest.Thing {
	var best *manifest.Thing
	most := -1
	for i := range things {
		t := &things[i]
		if t.Kind().GroupKind() != "Deployment.apps" {
			continue
		}
		rank := 0
		for _, other := range things {
			if other.Kind().GroupKind() == "Service" && selects(other.Object, t.Object) {
				rank++
				break
			}
		}
		for _, c := range sh.containers(t.Object) {
			if sh.named(c) {
				rank += 2
				break
			}
		}
		if rank > most {
			best, most = t, rank
		}
	}
	return best
}

// selects reports whether a Service is one for the Deployment's pods.
func selects(service, deployment object.Object) bool {
	selector, labels := service.Map("spec", "selector"), deployment.Map("spec", "template", "metadata", "labels")
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

func (sh *shaping) services(things []manifest.Thing, main *manifest.Thing) {
	for _, t := range things {
		if t.Kind().GroupKind() == "Service" && selects(t.Object, main.Object) {
			sh.b.Services = append(sh.b.Services, t.Name())
		}
	}
}

// port is the first one that the containers of a thing's pods open; 0 for none.
func port(o object.Object) int {
	if template(o) == nil {
		return 0
	}
	for _, c := range o.List(inside(o, "spec", "containers")...) {
		for _, p := range c.List("ports") {
			if n := p.Int(0, "containerPort"); n > 0 {
				return int(n)
			}
		}
	}
	return 0
}

// template is where the pods of a kind are described; nil for a kind that has none.
func template(o object.Object) []string {
	switch o.Kind().GroupKind() {
	case "Deployment.apps", "StatefulSet.apps", "DaemonSet.apps", "ReplicaSet.apps", "Job.batch":
		return []string{"spec", "template"}
	case "CronJob.batch":
		return []string{"spec", "jobTemplate", "spec", "template"}
	}
	return nil
}

// inside is a path below where the pods of a kind are described.
func inside(o object.Object, path ...string) []string {
	return slices.Concat(template(o), path)
}

// containers are those of the pods, those that come first excluded.
func (sh *shaping) containers(o object.Object) []object.Object {
	if template(o) == nil {
		return nil
	}
	return o.List(inside(o, "spec", "containers")...)
}

// named says whether a container is meant by its name, or by that of its image.
func (sh *shaping) named(c object.Object) bool {
	if name := sh.r.Spec.Kubernetes.Container; name != "" {
		return c.Text("name") == name
	}
	return sh.r.Release != nil && sh.r.Release.Artifact.Name != "" && repository(c.Text("image")) == repository(sh.r.Release.Artifact.Name)
}

// fits says whether a container gets the artifact's image: one that is meant, or the only one
// of the instances if none is.
func (sh *shaping) fits(c object.Object, only bool) bool {
	if sh.exact || sh.r.Spec.Kubernetes.Container != "" {
		return sh.named(c)
	}
	return only
}

// repository is the name of an image without tag and digest.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		image = image[:i]
	}
	return image
}

// refer calls back for each place of a pod where a ConfigMap or a Secret is named: the mapping
// and the key that has the name.
func refer(pod object.Object, each func(kind string, in object.Object, key string)) {
	named := func(kind string, in object.Object, key string) {
		if in.Text(key) != "" {
			each(kind, in, key)
		}
	}
	for _, v := range pod.List("volumes") {
		named("ConfigMap", v.Map("configMap"), "name")
		named("Secret", v.Map("secret"), "secretName")
		for _, source := range v.List("projected", "sources") {
			named("ConfigMap", source.Map("configMap"), "name")
			named("Secret", source.Map("secret"), "name")
		}
	}
	for _, list := range []string{"initContainers", "containers"} {
		for _, c := range pod.List(list) {
			for _, e := range c.List("env") {
				named("ConfigMap", e.Map("valueFrom", "configMapKeyRef"), "name")
				named("Secret", e.Map("valueFrom", "secretKeyRef"), "name")
			}
			for _, e := range c.List("envFrom") {
				named("ConfigMap", e.Map("configMapRef"), "name")
				named("Secret", e.Map("secretRef"), "name")
			}
		}
	}
}

// find looks which of the declared ConfigMaps and Secrets are read by pods: those are the
// revision's own.
func (sh *shaping) find(things []manifest.Thing) {
	declared := map[string]bool{}
	for _, t := range things {
		if k := t.Kind(); k.Group == "" && (k.Kind == "ConfigMap" || k.Kind == "Secret") {
			declared[k.Kind+"/"+t.Name()] = true
		}
	}
	for _, t := range things {
		if template(t.Object) == nil {
			continue
		}
		refer(t.Map(inside(t.Object, "spec")...), func(kind string, in object.Object, key string) {
			if name := in.Text(key); declared[kind+"/"+name] {
				sh.renamed[kind+"/"+name] = sh.derived(name)
			}
		})
	}
}

// variables is the name of what holds a revision's variables.
func variables(t *deploy.Target, number int) string { return t.RevisionName(number) + "-env" }

// configuration makes what holds the variables of the environment.
func (sh *shaping) configuration() {
	plain, hidden := map[string]any{}, map[string]any{}
	for name, value := range sh.r.Env {
		if slices.Contains(sh.r.Secret, name) {
			hidden[name] = base64.StdEncoding.EncodeToString([]byte(value))
		} else {
			plain[name] = value
		}
	}
	if len(plain) > 0 {
		sh.add(object.Object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": variables(sh.s.t, sh.r.Number)}, "data": plain})
	}
	if len(hidden) > 0 {
		sh.add(object.Object{"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": map[string]any{"name": variables(sh.s.t, sh.r.Number)}, "data": hidden})
	}
}

// add takes up a thing of the revision's own that no manifest declares.
func (sh *shaping) add(o object.Object) {
	o.Set(sh.s.namespace, "metadata", "namespace")
	sh.label(o, strconv.Itoa(sh.r.Number))
	sh.b.Beside = append(sh.b.Beside, o)
}

func (sh *shaping) label(o object.Object, revision string) {
	sh.s.mark(o, revision)
	if sh.b.Release == "" {
		return
	}
	o.Set(short(sh.b.Release), "metadata", "labels", labelRelease)
	o.Set(sh.b.Release, "metadata", "annotations", annotationRelease)
}

// short is the beginning of a release's digest.
func short(release string) string {
	_, digest, ok := strings.Cut(release, ":")
	if !ok {
		digest = release
	}
	return labelValue(digest[:min(len(digest), 12)])
}

// take puts a thing where it belongs.
func (sh *shaping) take(t *manifest.Thing, main bool) {
	o := t.Object
	sh.pods(t, main)
	switch kind := o.Kind(); kind.GroupKind() {
	case "Deployment.apps":
		name := sh.derived(o.Name())
		for _, path := range [][]string{{"spec", "selector", "matchLabels"}, {"spec", "template", "metadata", "labels"}} {
			o.Set(sh.s.key, append(path, labelTarget)...)
			o.Set(strconv.Itoa(sh.r.Number), append(path, labelRevision)...)
		}
		for _, number := range []int{sh.r.Number, sh.b.Base} {
			if main && number > 0 {
				o.Set("yes", "spec", "template", "metadata", "labels", labelSince+strconv.Itoa(number))
			}
		}
		sh.own(t, name)
	case "Job.batch":
		sh.own(t, sh.derived(o.Name()))
	case "ConfigMap", "Secret":
		if name, ok := sh.renamed[kind.Kind+"/"+o.Name()]; ok {
			sh.own(t, name)
			return
		}
		sh.ground(t)
	case "Service":
		if !slices.Contains(sh.b.Services, o.Name()) {
			sh.ground(t)
			return
		}
		if sh.r.Spec.Kubernetes.Route != "" {
			sh.apart(t)
		}
		sh.front(t)
	case "HTTPRoute.gateway.networking.k8s.io", "Ingress.networking.k8s.io":
		sh.front(t)
	case "HorizontalPodAutoscaler.autoscaling":
		if sh.scales(o, "Deployment") {
			o.Set(sh.derived(o.Text("spec", "scaleTargetRef", "name")), "spec", "scaleTargetRef", "name")
			sh.front(t)
			return
		}
		sh.ground(t)
	default:
		sh.ground(t)
	}
}

func (sh *shaping) scales(o object.Object, kind string) bool {
	return o.Text("spec", "scaleTargetRef", "kind") == kind
}

func (sh *shaping) own(t *manifest.Thing, name string) {
	t.Set(name, "metadata", "name")
	sh.keep(t, strconv.Itoa(sh.r.Number))
	sh.b.Beside = append(sh.b.Beside, t.Object)
}

func (sh *shaping) front(t *manifest.Thing) {
	sh.keep(t, shared)
	sh.b.Front = append(sh.b.Front, t.Object)
}

func (sh *shaping) ground(t *manifest.Thing) {
	sh.keep(t, shared)
	sh.b.Ground = append(sh.b.Ground, t.Object)
}

// keep labels a thing and remembers where it stands.
func (sh *shaping) keep(t *manifest.Thing, revision string) {
	sh.label(t.Object, revision)
	sh.b.sources[t.Ref().Key()] = t
}

// apart makes a Service for the revision alone, for a route to point at.
func (sh *shaping) apart(t *manifest.Thing) {
	o := t.Clone()
	for _, field := range []string{"clusterIP", "clusterIPs", "externalIPs", "loadBalancerIP", "externalTrafficPolicy", "healthCheckNodePort", "loadBalancerClass"} {
		o.Drop("spec", field)
	}
	for _, p := range o.List("spec", "ports") {
		delete(p, "nodePort")
	}
	o.Set("ClusterIP", "spec", "type")
	o.Set(sh.derived(t.Name()), "metadata", "name")
	o.Set(sh.s.key, "spec", "selector", labelTarget)
	o.Set(strconv.Itoa(sh.r.Number), "spec", "selector", labelRevision)
	sh.add(o)
}

// grace is how long a container goes on when it has been told to end and is still being
// found: node by node learns of that with a delay.
const grace = 3 // seconds

// pods shapes the pods that a thing describes: image, variables, names of what they read, labels.
func (sh *shaping) pods(t *manifest.Thing, main bool) {
	o := t.Object
	if template(o) == nil {
		return
	}
	pod := o.Map(inside(o, "spec")...)
	if pod == nil {
		return // the dry run tells what is wrong with it
	}
	refer(pod, func(kind string, in object.Object, key string) {
		if name, ok := sh.renamed[kind+"/"+in.Text(key)]; ok {
			in.Set(name, key)
		}
	})
	for label, value := range map[string]string{
		labelTarget: sh.s.key, labelService: labelValue(sh.s.t.Service),
		labelEnvironment: labelValue(sh.s.t.Environment), labelRevision: strconv.Itoa(sh.r.Number),
	} {
		o.Set(value, inside(o, "metadata", "labels", label)...)
	}
	containers := pod.List("containers")
	only := main && len(containers) == 1 || sh.total == 1
	for _, c := range slices.Concat(pod.List("initContainers"), containers) {
		sh.image(c, only)
		if c.Text("terminationMessagePolicy") == "" {
			// What a container that fails has said last is then in its status.
			c["terminationMessagePolicy"] = "FallbackToLogsOnError"
		}
	}
	for i, c := range containers {
		if !sh.configured(c, i, only) {
			continue
		}
		sh.environment(c)
		if main && len(sh.b.Services) > 0 && len(c.Map("lifecycle", "preStop")) == 0 && sh.s.sleeps {
			c.Set(map[string]any{"sleep": map[string]any{"seconds": int64(grace)}}, "lifecycle", "preStop")
		}
	}
}

// image gives a container the artifact's image, by digest.
func (sh *shaping) image(c object.Object, only bool) {
	if sh.r.Release == nil || sh.r.Release.Artifact.Kind != "image" || !sh.fits(c, only) {
		return
	}
	a := sh.r.Release.Artifact
	c["image"] = repository(a.Name) + "@" + a.Digest
	sh.images++
}

// configured says whether a container gets the variables of the environment: the one that gets
// the image, or the first one.
func (sh *shaping) configured(c object.Object, i int, only bool) bool {
	if sh.exact || sh.r.Spec.Kubernetes.Container != "" || only {
		return sh.fits(c, only)
	}
	return i == 0
}

// environment lets a container have the variables. What the manifest gives it itself comes first.
func (sh *shaping) environment(c object.Object) {
	var from []any
	for _, o := range sh.b.Beside {
		if o.Name() != variables(sh.s.t, sh.r.Number) {
			continue
		}
		ref := map[string]string{"ConfigMap": "configMapRef", "Secret": "secretRef"}[o.Kind().Kind]
		from = append(from, map[string]any{ref: map[string]any{"name": o.Name()}})
	}
	if len(from) == 0 {
		return
	}
	own, _ := c["envFrom"].([]any)
	c["envFrom"] = append(from, own...)
}

// inNamespace gives the things that are in a namespace theirs, and refuses those of another one.
func (s *site) inNamespace(b *bundle, namespaced map[string]bool) []plan.Problem {
	var problems []plan.Problem
	for _, o := range b.all() {
		if !namespaced[o.Kind().String()] {
			continue
		}
		if n := o.Namespace(); n != "" && n != s.namespace {
			p := plan.Problem{Severity: plan.Error, Rule: manifest.Rule,
				Message: fmt.Sprintf("%s is in namespace %s, and the service goes to %s", o.Ref(), n, s.namespace),
				Hint:    "take the namespace out of the manifest, or make it a service of its own"}
			if t := b.sources[o.Ref().Key()]; t != nil {
				p.Source = t.At("metadata.namespace")
			}
			problems = append(problems, p)
			continue
		}
		key := o.Ref().Key()
		o.Set(s.namespace, "metadata", "namespace")
		if t := b.sources[key]; t != nil {
			delete(b.sources, key)
			b.sources[o.Ref().Key()] = t
		}
	}
	return problems
}

// kinds are those of a bundle, each once.
func (b *bundle) kinds() []object.Kind {
	all := map[object.Kind]bool{}
	for _, o := range b.all() {
		all[o.Kind()] = true
	}
	return slices.SortedFunc(maps.Keys(all), func(x, y object.Kind) int { return strings.Compare(x.String(), y.String()) })
}
