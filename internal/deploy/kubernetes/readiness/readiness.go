// Package readiness says whether a thing of a cluster has become what was asked
// for, from what its controller wrote into its status.
//
// The rules are those of the field: a controller that has not yet seen the
// newest generation is still at it; the conditions Reconciling and Stalled say
// it outright; the kinds that are older than those conventions each have rules
// of their own; any other kind goes by its condition Ready, and a kind that has
// none is ready when it is there.
package readiness

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/object"
)

// State is how far a thing has come.
type State string

// The states.
const (
	Ready      State = "ready"      // it is what was asked for
	InProgress State = "progress"   // its controller is at it
	Failed     State = "failed"     // it will not become so by waiting
	Leaving    State = "leaving"    // it is being deleted
	Suspended  State = "suspended"  // somebody has paused it
	Undetected State = "undetected" // its status makes no sense to us
)

// Status is a state and what shows it.
type Status struct {
	State State
	Why   string // for people; "" where there is nothing to say
}

// unscheduled is how long a pod may wait for a node before that is a failure: a
// scheduler that has to make room needs a while.
const unscheduled = 15 * time.Second

func progress(format string, args ...any) Status {
	return Status{InProgress, fmt.Sprintf(format, args...)}
}

func failed(format string, args ...any) Status { return Status{Failed, fmt.Sprintf(format, args...)} }

// Of judges a thing as it was read from the cluster. The time tells how long a pod
// has been waiting.
func Of(o object.Object, now time.Time) Status {
	if o.Text("metadata", "deletionTimestamp") != "" {
		return Status{Leaving, "it is being deleted"}
	}
	generation, seen := o.Int(-1, "metadata", "generation"), o.Int(-1, "status", "observedGeneration")
	if generation >= 0 && seen >= 0 && seen != generation {
		return progress("its controller has seen generation %d, and %d is the newest", seen, generation)
	}
	for _, c := range o.Conditions() {
		switch {
		case c.Type == "Reconciling" && c.True():
			return Status{InProgress, say(c)}
		case c.Type == "Stalled" && c.True():
			return Status{Failed, say(c)}
		}
	}
	switch k := o.Kind(); k.GroupKind() {
	case "Deployment.apps", "Deployment.extensions":
		return deployment(o)
	case "StatefulSet.apps":
		return statefulSet(o)
	case "DaemonSet.apps", "DaemonSet.extensions":
		return daemonSet(o)
	case "ReplicaSet.apps", "ReplicaSet.extensions":
		return replicaSet(o)
	case "Job.batch":
		return job(o)
	case "CronJob.batch":
		if o.Bool("spec", "suspend") {
			return Status{Suspended, "spec.suspend is true"}
		}
		return Status{State: Ready}
	case "Pod":
		return pod(o, now)
	case "PersistentVolumeClaim":
		return claim(o)
	case "Service":
		if o.Text("spec", "type") == "LoadBalancer" && len(o.List("status", "loadBalancer", "ingress")) == 0 {
			return progress("no load balancer has been given to it yet")
		}
		return Status{State: Ready}
	case "HorizontalPodAutoscaler.autoscaling":
		return autoscaler(o)
	case "CustomResourceDefinition.apiextensions.k8s.io":
		return definition(o)
	case "APIService.apiregistration.k8s.io":
		return available(o)
	case "HTTPRoute.gateway.networking.k8s.io":
		return route(o)
	case "Ingress.networking.k8s.io", "PodDisruptionBudget.policy", "Secret", "ConfigMap":
		// An ingress without an address is one whose controller writes none,
		// as often as one that is not ready. A budget is about others.
		return Status{State: Ready}
	}
	return generic(o)
}

// say is a condition in words.
func say(c object.Condition) string { return cmp.Or(c.Message, c.Reason, c.Type) }

// generic judges a kind that nothing is known of by its condition Ready.
func generic(o object.Object) Status {
	switch c := o.Condition("Ready"); c.Status {
	case "":
		return Status{State: Ready}
	case "True":
		return Status{State: Ready, Why: c.Message}
	default:
		return Status{InProgress, say(c)}
	}
}

func deployment(o object.Object) Status {
	if o.Bool("spec", "paused") {
		return Status{Suspended, "spec.paused is true"}
	}
	// A deadline that is not set, or the largest number, switches the
	// condition Progressing off.
	deadline := o.Int(math.MaxInt32, "spec", "progressDeadlineSeconds")
	complete := deadline == math.MaxInt32
	switch c := o.Condition("Progressing"); {
	case c.Reason == "ProgressDeadlineExceeded":
		return failed("it made no progress for %d seconds (progressDeadlineSeconds): %s", deadline, say(c))
	case c.True() && c.Reason == "NewReplicaSetAvailable":
		complete = true
	}
	if c := o.Condition("ReplicaFailure"); c.True() && c.Reason == "FailedCreate" {
		return Status{InProgress, "pods cannot be made: " + say(c)}
	}
	want, all := o.Int(1, "spec", "replicas"), o.Int(0, "status", "replicas")
	updated, up, ready := o.Int(0, "status", "updatedReplicas"), o.Int(0, "status", "availableReplicas"), o.Int(0, "status", "readyReplicas")
	switch {
	case want > all:
		return progress("%d of %d pods have been made", all, want)
	case want > updated:
		return progress("%d of %d pods are of the newest version", updated, want)
	case all > want:
		return progress("%d pods have still to go", all-want)
	case updated > up:
		return progress("%d of %d pods are available", up, updated)
	case want > ready:
		return progress("%d of %d pods are ready", ready, want)
	case !complete:
		return progress("the newest set of pods is not complete")
	case !o.Condition("Available").True():
		return progress("it does not count as available yet")
	}
	return Status{Ready, fmt.Sprintf("%d pods are available", all)}
}

func statefulSet(o object.Object) Status {
	if o.Text("spec", "updateStrategy", "type") == "OnDelete" {
		return Status{Ready, "its pods are replaced when somebody deletes them (OnDelete)"}
	}
	want, all := o.Int(1, "spec", "replicas"), o.Int(0, "status", "replicas")
	ready, current, updated := o.Int(0, "status", "readyReplicas"), o.Int(0, "status", "currentReplicas"), o.Int(0, "status", "updatedReplicas")
	partition := o.Int(-1, "spec", "updateStrategy", "rollingUpdate", "partition")
	switch {
	case want > all:
		return progress("%d of %d pods have been made", all, want)
	case want > ready:
		return progress("%d of %d pods are ready", ready, want)
	case all > want:
		return progress("%d pods have still to go", all-want)
	// Servers write partition 0 where none is given.
	case partition >= 0 && updated < want-partition:
		return progress("%d of %d pods are of the newest version", updated, want-partition)
	case partition >= 0:
		return Status{Ready, fmt.Sprintf("%d pods are ready, %d of the newest version", ready, updated)}
	case want > current:
		return progress("%d of %d pods are of the newest version", current, want)
	case o.Text("status", "currentRevision") != o.Text("status", "updateRevision"):
		return progress("%d of %d pods are of the newest version", updated, want)
	}
	return Status{Ready, fmt.Sprintf("%d pods are ready", all)}
}

func daemonSet(o object.Object) Status {
	if o.Text("spec", "updateStrategy", "type") == "OnDelete" {
		return Status{Ready, "its pods are replaced when somebody deletes them (OnDelete)"}
	}
	want := o.Int(-1, "status", "desiredNumberScheduled")
	if o.Int(-1, "metadata", "generation") < 0 || o.Int(-1, "status", "observedGeneration") < 0 || want < 0 {
		return progress("its controller has not seen it yet")
	}
	for _, part := range [...]struct{ field, words string }{
		{"currentNumberScheduled", "have a pod"},
		{"updatedNumberScheduled", "have a pod of the newest version"},
		{"numberAvailable", "have an available pod"},
		{"numberReady", "have a ready pod"},
	} {
		if have := o.Int(0, "status", part.field); want > have {
			return progress("%d of %d nodes %s", have, want, part.words)
		}
	}
	return Status{Ready, fmt.Sprintf("%d nodes have a ready pod", want)}
}

func replicaSet(o object.Object) Status {
	if c := o.Condition("ReplicaFailure"); c.True() {
		return Status{InProgress, "pods cannot be made: " + say(c)}
	}
	want, all := o.Int(1, "spec", "replicas"), o.Int(0, "status", "replicas")
	labelled, up, ready := o.Int(0, "status", "fullyLabeledReplicas"), o.Int(0, "status", "availableReplicas"), o.Int(0, "status", "readyReplicas")
	switch {
	case want > labelled:
		return progress("%d of %d pods have been made", labelled, want)
	case want > up:
		return progress("%d of %d pods are available", up, want)
	case want > ready:
		return progress("%d of %d pods are ready", ready, want)
	case all > want:
		return progress("%d pods have still to go", all-want)
	}
	return Status{Ready, fmt.Sprintf("%d pods are available", all)}
}

// job holds for a job that is part of a release: it has to end well before the release
// counts as ready.
func job(o object.Object) Status {
	for _, c := range o.Conditions() {
		switch {
		case !c.True():
		case c.Type == "Complete":
			return Status{Ready, "it has ended well"}
		case c.Type == "Failed":
			return failed("%s", say(c))
		case c.Type == "Suspended":
			return Status{Suspended, say(c)}
		}
	}
	if o.Text("status", "startTime") == "" {
		return progress("it has not begun")
	}
	return progress("%d pods are at it, %d have ended well, %d have failed", o.Int(0, "status", "active"), o.Int(0, "status", "succeeded"), o.Int(0, "status", "failed"))
}

func claim(o object.Object) Status {
	switch phase := o.Text("status", "phase"); phase {
	case "Bound":
		return Status{State: Ready}
	case "Lost":
		return failed("the volume that it was bound to is gone")
	default:
		return progress("no volume is bound to it yet")
	}
}

func pod(o object.Object, now time.Time) Status {
	phase := o.Text("status", "phase")
	switch {
	case phase == "Succeeded":
		return Status{Ready, "it has ended well"}
	case phase == "Running" && o.Condition("Ready").True():
		return Status{State: Ready}
	}
	// A pod that ends by itself may yet get over an image that is missing:
	// its own backoff decides that.
	if policy := o.Text("spec", "restartPolicy"); policy == "" || policy == "Always" {
		if why := Trouble(o); why != "" {
			return failed("%s", why)
		}
	}
	switch phase {
	case "Failed":
		return failed("%s", cmp.Or(Ended(o), o.Text("status", "message"), o.Text("status", "reason"), "it has failed"))
	case "Running":
		if why := Ended(o); why != "" {
			return progress("it was started again: %s", why)
		}
		return progress("it runs and is not ready: its readiness probe has not answered yet")
	case "Pending", "":
		c := o.Condition("PodScheduled")
		if c.Status != "False" || c.Reason != "Unschedulable" {
			return progress("it is being started")
		}
		made, err := time.Parse(time.RFC3339, o.Text("metadata", "creationTimestamp"))
		if err == nil && now.Sub(made) < unscheduled {
			return progress("no node has room for it yet: %s", c.Message)
		}
		return failed("no node has room for it: %s", c.Message)
	default:
		return Status{Undetected, "its phase is " + phase}
	}
}

// Trouble says what keeps a pod's containers from running that waiting alone does not
// mend: an image that cannot be had, a container that cannot be made or dies each time.
// "" is none.
func Trouble(pod object.Object) string {
	var all []string
	for _, c := range containers(pod) {
		reason, message := c.Text("state", "waiting", "reason"), c.Text("state", "waiting", "message")
		switch {
		case reason == "ErrImagePull" || reason == "ImagePullBackOff" || reason == "InvalidImageName" || reason == "ErrImageNeverPull":
			all = append(all, fmt.Sprintf("the image %s of container %s cannot be had: %s", c.Text("image"), c.Text("name"), cmp.Or(message, reason)))
		case reason == "CrashLoopBackOff":
			all = append(all, fmt.Sprintf("container %s ends again and again (%d times so far%s)", c.Text("name"), c.Int(0, "restartCount"), after(", ", end(c, "lastState"))))
		case strings.HasPrefix(reason, "Err") || strings.HasSuffix(reason, "Error") || strings.HasSuffix(reason, "BackOff"):
			all = append(all, fmt.Sprintf("container %s cannot be started: %s", c.Text("name"), cmp.Or(message, reason)))
		}
	}
	return strings.Join(all, "; ")
}

// Ended says how the containers of a pod that are not running any more, or again,
// came to their end; "" when none did badly.
func Ended(pod object.Object) string {
	var all []string
	for _, c := range containers(pod) {
		if c.Bool("ready") {
			continue
		}
		if how := cmp.Or(end(c, "state"), end(c, "lastState")); how != "" {
			all = append(all, "container "+c.Text("name")+": "+how)
		}
	}
	return strings.Join(all, "; ")
}

func containers(pod object.Object) []object.Object {
	return slices.Concat(pod.List("status", "initContainerStatuses"), pod.List("status", "containerStatuses"))
}

// end says how a container came to its end, by its state or the one before.
func end(c object.Object, state string) string {
	t := c.Map(state, "terminated")
	switch code := t.Int(0, "exitCode"); {
	case t == nil:
		return ""
	case t.Text("reason") == "OOMKilled":
		return "the kernel ended it for want of memory (OOMKilled)"
	case code == 0:
		return ""
	default:
		return fmt.Sprintf("it ended with exit code %d%s", code, after(": ", last(t.Text("message"))))
	}
}

// maxSaid is how many bytes are kept of what a container said.
const maxSaid = 300

// last is the end of what a container said.
func last(message string) string {
	message = strings.TrimSpace(message)
	message = message[strings.LastIndexByte(message, '\n')+1:]
	if len(message) > maxSaid {
		message = strings.ToValidUTF8(message[:maxSaid], "") + "…"
	}
	return message
}

func after(sign, text string) string {
	if text == "" {
		return ""
	}
	return sign + text
}

// autoscaler goes by the first condition that decides.
func autoscaler(o object.Object) Status {
	conditions := o.Conditions()
	if text := o.Annotation("autoscaling.alpha.kubernetes.io/conditions"); len(conditions) == 0 && text != "" {
		// The first version keeps them in an annotation.
		if old, err := object.Parse([]byte(`{"status":{"conditions":` + text + `}}`)); err == nil {
			conditions = old.Conditions()
		}
	}
	for _, c := range conditions {
		switch c.Type + "/" + c.Reason {
		case "AbleToScale/FailedGetScale", "AbleToScale/FailedUpdateScale", "ScalingActive/FailedGetResourceMetric", "ScalingActive/InvalidSelector":
			return Status{Failed, say(c)}
		case "AbleToScale/SucceededRescale", "ScalingLimited/DesiredWithinRange", "ScalingLimited/TooFewReplicas", "ScalingLimited/TooManyReplicas":
			return Status{Ready, c.Message}
		}
	}
	for _, c := range conditions {
		if (c.Type == "AbleToScale" || c.Type == "ScalingActive") && c.True() {
			return Status{Ready, c.Message}
		}
	}
	return progress("it has not scaled yet")
}

func definition(o object.Object) Status {
	if c := o.Condition("NamesAccepted"); c.Status == "False" {
		return Status{Failed, "its names are taken: " + say(c)}
	}
	switch c := o.Condition("Established"); {
	case c.True():
		return Status{State: Ready}
	case c.Status == "False" && c.Reason != "Installing":
		return Status{Failed, say(c)}
	}
	return progress("the server does not serve it yet")
}

func available(o object.Object) Status {
	switch c := o.Condition("Available"); c.Status {
	case "True":
		return Status{State: Ready}
	case "":
		return progress("nobody has said yet whether it answers")
	default:
		return Status{InProgress, say(c)}
	}
}

// route is ready when every gateway that has answered takes it and finds what
// it points at.
func route(o object.Object) Status {
	parents := o.List("status", "parents")
	if len(parents) == 0 {
		return progress("no gateway has taken it yet")
	}
	generation := o.Int(0, "metadata", "generation")
	for _, p := range parents {
		for _, c := range p.List("conditions") {
			kind, status := c.Text("type"), c.Text("status")
			switch {
			case kind != "Accepted" && kind != "ResolvedRefs":
			case c.Int(generation, "observedGeneration") < generation:
				return progress("its gateway has not seen the newest generation")
			case status == "False":
				return failed("gateway %s: %s", p.Text("parentRef", "name"), cmp.Or(c.Text("message"), c.Text("reason")))
			}
		}
	}
	return Status{State: Ready}
}
