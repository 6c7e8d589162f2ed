package object

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// managed is a Deployment that four have had their hands on.
const managed = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"team":"shop"},"annotations":{"note":"x"},
"managedFields":[
 {"manager":"fairlead","operation":"Apply","time":"2026-05-04T10:00:00Z","fieldsV1":{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"app\"}":{".":{},"f:name":{},"f:image":{},"f:ports":{"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}},
 {"manager":"kubectl-edit","operation":"Update","time":"2026-05-04T11:00:00Z","fieldsV1":{"f:metadata":{"f:labels":{"f:team":{}},"f:annotations":{"f:note":{}}},"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"app\"}":{"f:env":{".":{},"k:{\"name\":\"DEBUG\"}":{".":{},"f:name":{},"f:value":{}}},"f:image":{}},"k:{\"name\":\"sidecar\"}":{".":{},"f:name":{},"f:image":{}}}}}}}},
 {"manager":"kubectl","operation":"Update","subresource":"scale","time":"2026-05-04T12:00:00Z","fieldsV1":{"f:spec":{"f:replicas":{}}}},
 {"manager":"kube-controller-manager","operation":"Update","subresource":"status","time":"2026-05-04T13:00:00Z","fieldsV1":{"f:status":{"f:replicas":{}}}},
 {"manager":"istio-sidecar-injector","operation":"Update","time":"2026-05-04T13:00:00Z","fieldsV1":{"f:spec":{"f:minReadySeconds":{}}}}]},
"spec":{"replicas":5,"minReadySeconds":3,"template":{"spec":{"containers":[{"name":"app","image":"a","ports":[{"containerPort":8080}],"env":[{"name":"DEBUG","value":"1"}]},{"name":"sidecar","image":"b"}]}}},"status":{"replicas":5}}`

func TestForeign(t *testing.T) {
	t.Parallel()
	var got []string
	for _, f := range parse(t, managed).Foreign("fairlead") {
		got = append(got, fmt.Sprintf("%s at /%s by %s", f.Path, strings.Join(f.Pointer, "/"), f.Manager))
	}
	want := []string{
		"metadata.labels.team at /metadata/labels/team by kubectl-edit",
		"spec.template.spec.containers[name=app].env at /spec/template/spec/containers/0/env by kubectl-edit",
		"spec.template.spec.containers[name=sidecar] at /spec/template/spec/containers/1 by kubectl-edit",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestAuthor(t *testing.T) {
	t.Parallel()
	o := parse(t, managed)
	for path, want := range map[string]string{
		"f:spec f:replicas": "kubectl 12",
		"f:spec f:template f:spec f:containers k:name=app f:image":            "kubectl-edit 11",
		"f:spec f:template f:spec f:containers k:name=app f:ports":            "",
		"f:spec f:template f:spec f:containers k:name=app f:env k:name=DEBUG": "kubectl-edit 11",
		"f:spec f:template f:spec f:containers k:name=other f:image":          "",
		"f:status f:replicas": "",
		"":                    "",
	} {
		who := o.Author(strings.Fields(path), "fairlead")
		got := ""
		if who.Manager != "" {
			got = fmt.Sprintf("%s %d", who.Manager, who.Time.In(time.UTC).Hour())
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

// FuzzForeign goes over fields that say nothing sensible.
func FuzzForeign(f *testing.F) {
	f.Add(managed)
	f.Add(`{"metadata":{"managedFields":[{"manager":"x","fieldsV1":{"f:a":{"k:{":{},"v:":{},"i:9":{},"k:[]":{},"v:1":{}}}}]},"a":[1,{"k":2}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		o, err := Parse([]byte(text))
		if err != nil {
			return
		}
		for _, field := range o.Foreign("fairlead") {
			if field.Value == nil || len(field.Pointer) == 0 {
				t.Errorf("a field that is none: %+v", field)
			}
		}
		_ = o.Author([]string{"f:a", "k:name=b", "f:c"}, "fairlead")
		for _, d := range Compare(o, Object{}) {
			if d.Path == "" && d.Want == nil {
				t.Errorf("a difference that is none: %+v", d)
			}
		}
	})
}
