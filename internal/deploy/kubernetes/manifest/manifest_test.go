package manifest

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, src, want string
	}{
		{"two things and a comment", "# shop\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n---\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"}} {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"}}`},
		{"a list", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: a}\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: b}\n", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}} {"apiVersion":"v1","kind":"Secret","metadata":{"name":"b"}}`},
		{"values", "apiVersion: v1\nkind: X\nmetadata: {name: a}\nspec: {a: yes, b: 0644, c: '1', d: 1.5, e: 0x1f, f: ~, g: 2020-01-01, h: 1_000, i: 12345678901234567890, j: off, k: 0o17, l: 500m, m: 1e3, n: !!str 7, o: 08}\n",
			`{"apiVersion":"v1","kind":"X","metadata":{"name":"a"},"spec":{"a":true,"b":420,"c":"1","d":1.5,"e":31,"f":null,"g":"2020-01-01","h":1000,"i":12345678901234567890,"j":false,"k":15,"l":"500m","m":1000,"n":"7","o":8}}`},
		{"anchors", "apiVersion: v1\nkind: X\nmetadata: {name: a, labels: &l {app: web}}\nspec: {selector: *l, more: {<<: *l, tier: front}}\n",
			`{"apiVersion":"v1","kind":"X","metadata":{"labels":{"app":"web"},"name":"a"},"spec":{"more":{"app":"web","tier":"front"},"selector":{"app":"web"}}}`},
		{"JSON", `{"apiVersion":"v1","kind":"X","metadata":{"name":"a"},"data":{"1":"x"}}`, `{"apiVersion":"v1","data":{"1":"x"},"kind":"X","metadata":{"name":"a"}}`},

		{"no apiVersion", "kind: X\n", "m.yaml:1:1: this thing has no apiVersion [manifest]: write apiVersion: v1, apps/v1 …"},
		{"no kind", "\napiVersion: v1\n", "m.yaml:2:1: this thing has no kind [manifest]: write kind: Deployment, Service …"},
		{"no name", "apiVersion: v1\nkind: X\n", "m.yaml:1:1: X has no metadata.name [manifest]: write metadata: {name: …}"},
		{"a made-up name", "apiVersion: v1\nkind: X\nmetadata: {generateName: a-}\n", "m.yaml:1:1: X has no metadata.name [manifest]: generateName would make another one each time; give it a name"},
		{"twice", "apiVersion: v1\nkind: X\nmetadata:\n  name: a\n  name: b\n", "m.yaml:5:3: name is given twice [manifest]: keep one of the two"},
		{"no mapping", "- a\n", "m.yaml:1:1: a document of a manifest must be a mapping with apiVersion, kind and metadata [manifest]"},
		{"broken", "a: [\n", "m.yaml:1: not valid YAML: did not find expected node content [manifest]: look at the indentation and quotes of this line and the one before"},
		{"a circle", "apiVersion: v1\nkind: X\nmetadata: {name: a}\nspec: &s {again: *s}\n", "m.yaml:4:"},
		{"a bomb", "apiVersion: v1\nkind: X\nmetadata: {name: a}\na: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n", "m.yaml:4:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			things, problems := Read("m.yaml", []byte(c.src))
			var got []string
			for _, o := range things {
				text, err := json.Marshal(o.Object)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(text))
			}
			for _, p := range problems {
				got = append(got, p.String())
			}
			if text := strings.Join(got, " "); text != c.want && (!strings.HasSuffix(c.want, ":") || !strings.HasPrefix(text, c.want)) {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
}

func TestAt(t *testing.T) {
	t.Parallel()
	things, problems := Read("m.yaml", []byte(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels:
    example.com/tier: front
spec:
  template:
    spec:
      containers:
      - name: web
        image: a
      - name: sidecar
        ports:
        - containerPort: many
`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for path, want := range map[string]string{
		"spec.template.spec.containers[1].ports[0].containerPort": "m.yaml:15:26",
		`spec.template.spec.containers[name="sidecar"].ports`:     "m.yaml:15:9",
		"spec.template.spec.containers[0].imagePullPolicy":        "m.yaml:11:9",
		"metadata.labels[example.com/tier]":                       "m.yaml:6:23",
		"spec.replicas":                                           "m.yaml:8:3",
		"":                                                        "m.yaml:1:1",
		"[[":                                                      "m.yaml:1:1",
	} {
		if got := things[0].At(path).String(); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: X, metadata: {name: a}}]\n", "spec[0].a")
	f.Add("a: &a [*a]\n", "a[name=b].c")
	f.Fuzz(func(t *testing.T, src, path string) {
		things, problems := Read("m.yaml", []byte(src))
		for i := range things {
			_ = things[i].At(path)
			if _, err := json.Marshal(things[i].Object); err != nil {
				t.Errorf("a thing is no JSON: %v", err)
			}
		}
		for _, p := range problems {
			if p.File != "m.yaml" || p.Message == "" {
				t.Errorf("a problem says nothing: %v", p)
			}
		}
	})
}
