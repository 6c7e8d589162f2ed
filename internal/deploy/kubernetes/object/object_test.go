package object

import (
	"fmt"
	"slices"
	"testing"
)

func parse(t *testing.T, text string) Object {
	t.Helper()
	o, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, want, have string
		list             []string
	}{
		{"nothing differs", `{"a":1,"b":[1,2],"c":{}}`, `{"b":[1,2],"a":1}`, nil},
		{"numbers by value", `{"a":3}`, `{"a":3}`, nil},
		{"a value", `{"spec":{"replicas":3}}`, `{"spec":{"replicas":5}}`, []string{"spec.replicas: 3 is 5"}},
		{"missing", `{"spec":{"paused":true}}`, `{"spec":{}}`, []string{"spec.paused: true is <nil>"}},
		{"containers by name", `{"c":[{"name":"a","image":"x"},{"name":"b","image":"y"}]}`, `{"c":[{"name":"b","image":"z"},{"name":"a","image":"x"}]}`, []string{"c[name=b].image: y is z"}},
		{"one more", `{"c":[{"name":"a"}]}`, `{"c":[{"name":"a"},{"name":"sidecar"}]}`, []string{"c[name=sidecar]: <nil> is map[name:sidecar]"}},
		{"ports by number", `{"p":[{"port":80,"targetPort":8080}]}`, `{"p":[{"port":80,"targetPort":9090}]}`, []string{"p[port=80].targetPort: 8080 is 9090"}},
		{"a list by place", `{"args":["-a","-b"]}`, `{"args":["-a","-c","-d"]}`, []string{"args[1]: -b is -c", "args[2]: <nil> is -d"}},
		{"labels", `{"l":{"fairlead.dev/x":"1"}}`, `{"l":{"fairlead.dev/x":"2"}}`, []string{"l[fairlead.dev/x]: 1 is 2"}},
		{"another shape", `{"a":{"b":1}}`, `{"a":[1]}`, []string{"a: map[b:1] is [1]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, d := range Compare(parse(t, c.want), parse(t, c.have)) {
				got = append(got, fmt.Sprintf("%s: %v is %v", d.Path, d.Want, d.Have))
			}
			if !slices.Equal(got, c.list) {
				t.Errorf("got %q, want %q", got, c.list)
			}
		})
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	o := parse(t, `{"metadata":{"labels":null}}`)
	copied := o.Clone()
	o.Set("web", "metadata", "labels", "app")
	o.Set(int64(3), "spec", "replicas")
	o.Drop("spec", "nothing")
	if o.Label("app") != "web" || o.Int(0, "spec", "replicas") != 3 {
		t.Errorf("got %v", o)
	}
	if copied.Label("app") != "" {
		t.Error("the copy changed with it")
	}
	o.Drop("spec", "replicas")
	if o.Int(-1, "spec", "replicas") != -1 {
		t.Error("the value is still there")
	}
}

func TestKind(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop"}}`:         "Service/shop/web",
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"shop"}}`: "Deployment.apps/shop/web",
		`{"kind":7,"metadata":[]}`: "//",
	} {
		if got := parse(t, text).Ref().Key(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
