package readiness

import (
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/object"
)

func TestOf(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, text string
		state      State
		why        string // a part of it
	}{
		{"unknown kind", `{"apiVersion":"example.com/v1","kind":"Thing"}`, Ready, ""},
		{"unknown kind, ready", `{"apiVersion":"example.com/v1","kind":"Thing","status":{"conditions":[{"type":"Ready","status":"True"}]}}`, Ready, ""},
		{"unknown kind, not ready", `{"apiVersion":"example.com/v1","kind":"Thing","status":{"conditions":[{"type":"Ready","status":"False","message":"no disk"}]}}`, InProgress, "no disk"},
		{"being deleted", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"deletionTimestamp":"2026-05-04T12:00:00Z"}}`, Leaving, ""},
		{"generation", `{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"generation":3},"status":{"observedGeneration":2}}`, InProgress, "generation 2"},
		{"stalled", `{"apiVersion":"example.com/v1","kind":"Thing","status":{"conditions":[{"type":"Stalled","status":"True","message":"no such host"}]}}`, Failed, "no such host"},
		{"reconciling", `{"apiVersion":"example.com/v1","kind":"Thing","status":{"conditions":[{"type":"Ready","status":"True"},{"type":"Reconciling","status":"True","reason":"Working"}]}}`, InProgress, "Working"},
		{"conditions of another shape", `{"apiVersion":"example.com/v1","kind":"Thing","status":{"conditions":"none"}}`, Ready, ""},

		{"deployment, new", `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"generation":1},"spec":{"replicas":2,"progressDeadlineSeconds":600}}`, InProgress, "0 of 2 pods have been made"},
		{"deployment, old pods", `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":2,"progressDeadlineSeconds":600},"status":{"replicas":3,"updatedReplicas":1,"readyReplicas":2,"availableReplicas":2}}`, InProgress, "1 of 2 pods are of the newest"},
		{"deployment, to go", `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":2,"progressDeadlineSeconds":600},"status":{"replicas":3,"updatedReplicas":2,"readyReplicas":3,"availableReplicas":3}}`, InProgress, "1 pods have still to go"},
		{"deployment, not available", `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":1,"progressDeadlineSeconds":600},"status":{"replicas":1,"updatedReplicas":1,"readyReplicas":1,"availableReplicas":0}}`, InProgress, "0 of 1 pods are available"},
		{"deployment, incomplete", `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"progressDeadlineSeconds":600},"status":{"replicas":1,"updatedReplicas":1,"readyReplicas":1,"availableReplicas":1,"conditions":[{"type":"Available","status":"True"}]}}`, InProgress, "not complete"},
		{"deployment, ready", `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"progressDeadlineSeconds":600},"status":{"replicas":1,"updatedReplicas":1,"readyReplicas":1,"availableReplicas":1,"conditions":[{"type":"Available","status":"True"},{"type":"Progressing","status":"True","reason":"NewReplicaSetAvailable"}]}}`, Ready, "1 pods"},
		{"deployment without a deadline", `{"apiVersion":"apps/v1","kind":"Deployment","status":{"replicas":1,"updatedReplicas":1,"readyReplicas":1,"availableReplicas":1,"conditions":[{"type":"Available","status":"True"}]}}`, Ready, ""},
		{"deployment, none wanted", `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":0,"progressDeadlineSeconds":600},"status":{"conditions":[{"type":"Available","status":"True"},{"type":"Progressing","status":"True","reason":"NewReplicaSetAvailable"}]}}`, Ready, ""},
		{"deployment, deadline", `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"progressDeadlineSeconds":30},"status":{"conditions":[{"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded","message":"ReplicaSet \"web\" has timed out"}]}}`, Failed, "30 seconds"},
		{"deployment, quota", `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"progressDeadlineSeconds":30},"status":{"conditions":[{"type":"ReplicaFailure","status":"True","reason":"FailedCreate","message":"exceeded quota: small"}]}}`, InProgress, "exceeded quota: small"},
		{"deployment, paused", `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"paused":true}}`, Suspended, "paused"},

		{"stateful set, new", `{"apiVersion":"apps/v1","kind":"StatefulSet","spec":{"replicas":2},"status":{"replicas":1,"readyReplicas":1}}`, InProgress, "1 of 2"},
		{"stateful set, on delete", `{"apiVersion":"apps/v1","kind":"StatefulSet","spec":{"replicas":2,"updateStrategy":{"type":"OnDelete"}}}`, Ready, "OnDelete"},
		{"stateful set, partition", `{"apiVersion":"apps/v1","kind":"StatefulSet","spec":{"replicas":4,"updateStrategy":{"rollingUpdate":{"partition":2}}},"status":{"replicas":4,"readyReplicas":4,"updatedReplicas":1,"currentRevision":"a","updateRevision":"b"}}`, InProgress, "1 of 2"},
		{"stateful set, partition reached", `{"apiVersion":"apps/v1","kind":"StatefulSet","spec":{"replicas":4,"updateStrategy":{"rollingUpdate":{"partition":2}}},"status":{"replicas":4,"readyReplicas":4,"updatedReplicas":2,"currentRevision":"a","updateRevision":"b"}}`, Ready, ""},
		{"stateful set, partition 0 and an old revision", `{"apiVersion":"apps/v1","kind":"StatefulSet","spec":{"replicas":2,"updateStrategy":{"rollingUpdate":{"partition":0}}},"status":{"replicas":2,"readyReplicas":2,"currentReplicas":1,"updatedReplicas":1,"currentRevision":"a","updateRevision":"b"}}`, InProgress, "1 of 2"},
		{"stateful set, revision", `{"apiVersion":"apps/v1","kind":"StatefulSet","spec":{"replicas":1},"status":{"replicas":1,"readyReplicas":1,"currentReplicas":1,"currentRevision":"a","updateRevision":"b"}}`, InProgress, "newest version"},
		{"stateful set, ready", `{"apiVersion":"apps/v1","kind":"StatefulSet","spec":{"replicas":1},"status":{"replicas":1,"readyReplicas":1,"currentReplicas":1,"updatedReplicas":1,"currentRevision":"b","updateRevision":"b"}}`, Ready, ""},

		{"daemon set, unseen", `{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"generation":1}}`, InProgress, "not seen"},
		{"daemon set, updating", `{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"generation":1},"status":{"observedGeneration":1,"desiredNumberScheduled":3,"currentNumberScheduled":3,"updatedNumberScheduled":1,"numberAvailable":3,"numberReady":3}}`, InProgress, "1 of 3 nodes"},
		{"daemon set, ready", `{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"generation":1},"status":{"observedGeneration":1,"desiredNumberScheduled":1,"currentNumberScheduled":1,"updatedNumberScheduled":1,"numberAvailable":1,"numberReady":1}}`, Ready, ""},

		{"replica set, quota", `{"apiVersion":"apps/v1","kind":"ReplicaSet","status":{"conditions":[{"type":"ReplicaFailure","status":"True","message":"exceeded quota"}]}}`, InProgress, "exceeded quota"},
		{"replica set, ready", `{"apiVersion":"apps/v1","kind":"ReplicaSet","status":{"replicas":1,"fullyLabeledReplicas":1,"availableReplicas":1,"readyReplicas":1}}`, Ready, ""},

		{"job, not begun", `{"apiVersion":"batch/v1","kind":"Job"}`, InProgress, "not begun"},
		{"job, at it", `{"apiVersion":"batch/v1","kind":"Job","status":{"startTime":"2026-05-04T11:59:00Z","active":1}}`, InProgress, "1 pods are at it"},
		{"job, done", `{"apiVersion":"batch/v1","kind":"Job","status":{"startTime":"2026-05-04T11:59:00Z","succeeded":1,"conditions":[{"type":"Complete","status":"True"}]}}`, Ready, ""},
		{"job, failed", `{"apiVersion":"batch/v1","kind":"Job","status":{"conditions":[{"type":"Failed","status":"True","message":"Job has reached the specified backoff limit"}]}}`, Failed, "backoff limit"},
		{"job, suspended", `{"apiVersion":"batch/v1","kind":"Job","status":{"conditions":[{"type":"Suspended","status":"True","message":"Job suspended"}]}}`, Suspended, ""},
		{"cron job", `{"apiVersion":"batch/v1","kind":"CronJob","spec":{"suspend":true}}`, Suspended, ""},

		{"pod, ready", `{"apiVersion":"v1","kind":"Pod","status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`, Ready, ""},
		{"pod, not ready", `{"apiVersion":"v1","kind":"Pod","status":{"phase":"Running","conditions":[{"type":"Ready","status":"False"}],"containerStatuses":[{"name":"a","state":{"running":{}}}]}}`, InProgress, "readiness probe"},
		{"pod, no image", `{"apiVersion":"v1","kind":"Pod","status":{"phase":"Pending","containerStatuses":[{"name":"app","image":"shop/web:9","state":{"waiting":{"reason":"ErrImagePull","message":"not found"}}}]}}`, Failed, "the image shop/web:9 of container app cannot be had: not found"},
		{"pod, no image for now", `{"apiVersion":"v1","kind":"Pod","spec":{"restartPolicy":"Never"},"status":{"phase":"Pending","containerStatuses":[{"name":"app","state":{"waiting":{"reason":"ErrImagePull"}}}]}}`, InProgress, ""},
		{"pod, crash loop", `{"apiVersion":"v1","kind":"Pod","status":{"phase":"Running","containerStatuses":[{"name":"app","restartCount":4,"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":3,"message":"no database\n"}}}]}}`, Failed, "container app ends again and again (4 times so far, it ended with exit code 3: no database)"},
		{"pod, out of memory", `{"apiVersion":"v1","kind":"Pod","status":{"phase":"Running","containerStatuses":[{"name":"app","state":{"running":{}},"lastState":{"terminated":{"exitCode":137,"reason":"OOMKilled"}}}]}}`, InProgress, "want of memory"},
		{"pod, bad configuration", `{"apiVersion":"v1","kind":"Pod","status":{"phase":"Pending","containerStatuses":[{"name":"app","state":{"waiting":{"reason":"CreateContainerConfigError","message":"secret \"db\" not found"}}}]}}`, Failed, `secret "db" not found`},
		{"pod, no room yet", `{"apiVersion":"v1","kind":"Pod","metadata":{"creationTimestamp":"2026-05-04T11:59:50Z"},"status":{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","reason":"Unschedulable","message":"0/1 nodes"}]}}`, InProgress, "0/1 nodes"},
		{"pod, no room", `{"apiVersion":"v1","kind":"Pod","metadata":{"creationTimestamp":"2026-05-04T11:59:40Z"},"status":{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","reason":"Unschedulable","message":"0/1 nodes"}]}}`, Failed, "0/1 nodes"},
		{"pod, failed", `{"apiVersion":"v1","kind":"Pod","spec":{"restartPolicy":"Never"},"status":{"phase":"Failed","containerStatuses":[{"name":"app","state":{"terminated":{"exitCode":2}}}]}}`, Failed, "exit code 2"},
		{"pod, evicted", `{"apiVersion":"v1","kind":"Pod","status":{"phase":"Failed","reason":"Evicted","message":"The node was low on resource: memory."}}`, Failed, "low on resource"},
		{"pod, odd phase", `{"apiVersion":"v1","kind":"Pod","status":{"phase":"Unknown"}}`, Undetected, "Unknown"},

		{"claim, bound", `{"apiVersion":"v1","kind":"PersistentVolumeClaim","status":{"phase":"Bound"}}`, Ready, ""},
		{"claim, lost", `{"apiVersion":"v1","kind":"PersistentVolumeClaim","status":{"phase":"Lost"}}`, Failed, ""},
		{"claim, pending", `{"apiVersion":"v1","kind":"PersistentVolumeClaim","status":{"phase":"Pending"}}`, InProgress, ""},
		{"service", `{"apiVersion":"v1","kind":"Service","spec":{"type":"ClusterIP"}}`, Ready, ""},
		{"load balancer, none", `{"apiVersion":"v1","kind":"Service","spec":{"type":"LoadBalancer"}}`, InProgress, "load balancer"},
		{"load balancer", `{"apiVersion":"v1","kind":"Service","spec":{"type":"LoadBalancer"},"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}`, Ready, ""},
		{"autoscaler, ready", `{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","status":{"conditions":[{"type":"AbleToScale","status":"True","reason":"ReadyForNewScale"},{"type":"ScalingLimited","status":"False","reason":"DesiredWithinRange"}]}}`, Ready, ""},
		{"autoscaler, no metrics", `{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","status":{"conditions":[{"type":"AbleToScale","status":"True","reason":"SucceededGetScale"},{"type":"ScalingActive","status":"False","reason":"FailedGetResourceMetric","message":"no metrics"}]}}`, Failed, "no metrics"},
		{"autoscaler, first version", `{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","metadata":{"annotations":{"autoscaling.alpha.kubernetes.io/conditions":"[{\"type\":\"ScalingLimited\",\"status\":\"False\",\"reason\":\"DesiredWithinRange\"}]"}}}`, Ready, ""},
		{"autoscaler, new", `{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler"}`, InProgress, ""},
		{"budget", `{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","status":{"desiredHealthy":2,"currentHealthy":1}}`, Ready, ""},
		{"definition, ready", `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","status":{"conditions":[{"type":"NamesAccepted","status":"True"},{"type":"Established","status":"True"}]}}`, Ready, ""},
		{"definition, names taken", `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","status":{"conditions":[{"type":"Established","status":"False"},{"type":"NamesAccepted","status":"False","message":"things is taken"}]}}`, Failed, "taken"},
		{"definition, being installed", `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","status":{"conditions":[{"type":"Established","status":"False","reason":"Installing"}]}}`, InProgress, ""},
		{"api", `{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","status":{"conditions":[{"type":"Available","status":"False","message":"no endpoints"}]}}`, InProgress, "no endpoints"},
		{"route, refused", `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"generation":2},"status":{"parents":[{"parentRef":{"name":"edge"},"conditions":[{"type":"Accepted","status":"False","observedGeneration":2,"reason":"NotAllowedByListeners"}]}]}}`, Failed, "gateway edge: NotAllowedByListeners"},
		{"route, unseen", `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"generation":2},"status":{"parents":[{"parentRef":{"name":"edge"},"conditions":[{"type":"Accepted","status":"True","observedGeneration":1}]}]}}`, InProgress, ""},
		{"route, taken", `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"generation":2},"status":{"parents":[{"parentRef":{"name":"edge"},"conditions":[{"type":"Accepted","status":"True","observedGeneration":2}]}]}}`, Ready, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o, err := object.Parse([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			got := Of(o, now)
			if got.State != c.state || !strings.Contains(got.Why, c.why) {
				t.Errorf("got %s (%s), want %s (%s)", got.State, got.Why, c.state, c.why)
			}
		})
	}
}
