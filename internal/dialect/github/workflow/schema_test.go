package workflow

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// official is a definition of the schema that GitHub publishes.
type official struct {
	Context []string `json:"context"`
	OneOf   []string `json:"one-of"`
	Allowed []string `json:"allowed-values"`
	Null    *struct{}
	Boolean *struct{}
	Number  *struct{}
	String  *struct {
		Filled   bool   `json:"require-non-empty"`
		Constant string `json:"constant"`
	}
	Sequence *struct {
		Item string `json:"item-type"`
	}
	Mapping *struct {
		Properties map[string]property `json:"properties"`
		LooseKey   string              `json:"loose-key-type"`
		LooseValue string              `json:"loose-value-type"`
	}
}

// property is a name of a definition, or an object with one.
type property struct {
	Type     string
	Required bool
}

func (p *property) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &p.Type) == nil {
		return nil
	}
	type plain property
	return json.Unmarshal(b, (*plain)(p))
}

// schemaDiff compares one of our tables with an official one.
type schemaDiff struct {
	t           *testing.T
	definitions map[string]official
	used        map[string]bool
	done        map[string]bool
	excused     map[string]string // path: why it differs
	excusedUsed map[string]bool
}

// facets is what an official definition allows, choices resolved.
type facets struct {
	null, boolean, number bool
	texts                 []string
	items                 []string
	objects               []official
}

func (d *schemaDiff) facets(name string, f *facets) {
	d.used[name] = true
	def, ok := d.definitions[name]
	switch {
	case ok:
	case name == "any":
		f.null, f.boolean, f.number = true, true, true
		f.texts = append(f.texts, "")
		f.items = append(f.items, "any")
		var o official
		if err := json.Unmarshal([]byte(`{"mapping":{"loose-key-type":"string","loose-value-type":"any"}}`), &o); err != nil {
			d.t.Fatal(err)
		}
		f.objects = append(f.objects, o)
		return
	case name == "string":
		f.texts = append(f.texts, "")
	case name == "boolean":
		f.boolean = true
	case name == "number":
		f.number = true
	case name == "null":
		f.null = true
	case name == "sequence":
		f.items = append(f.items, "any")
	default:
		d.t.Errorf("the official schema names %q and does not define it", name)
	}
	f.null = f.null || def.Null != nil
	f.boolean = f.boolean || def.Boolean != nil
	f.number = f.number || def.Number != nil
	if s := def.String; s != nil {
		switch {
		case s.Constant != "":
			f.texts = append(f.texts, "="+s.Constant)
		case s.Filled:
			f.texts = append(f.texts, "+")
		default:
			f.texts = append(f.texts, "")
		}
	}
	for _, v := range def.Allowed {
		f.texts = append(f.texts, "="+v)
	}
	if def.Sequence != nil {
		f.items = append(f.items, def.Sequence.Item)
	}
	if def.Mapping != nil {
		f.objects = append(f.objects, def)
	}
	for _, choice := range def.OneOf {
		d.facets(choice, f)
	}
}

func (d *schemaDiff) compare(path, name string, scope []string, r *rule) {
	def := d.definitions[name]
	scope = append(slices.Clone(scope), def.Context...)
	slices.Sort(scope)
	scope = slices.Compact(scope)
	id := fmt.Sprintf("%s %v %p", name, scope, r)
	if d.done[id] {
		return
	}
	d.done[id] = true
	if why := d.excused[path]; why != "" {
		d.excusedUsed[path] = true
		d.t.Logf("differs on purpose: %s: %s", path, why)
	}
	var theirs facets
	d.facets(name, &theirs)
	differ := func(what string, want, got any) {
		if d.excused[path] == "" {
			d.t.Errorf("%s (%s): %s: official %v, ours %v", path, name, what, want, got)
		}
	}
	var ours []string
	if r.scope != nil {
		ours = r.scope.names
	}
	if !slices.Equal(scope, ours) {
		differ("contexts", scope, ours)
	}
	if theirs.null != r.null || theirs.boolean != r.boolean || theirs.number != r.number {
		differ("null, boolean, number", []bool{theirs.null, theirs.boolean, theirs.number}, []bool{r.null, r.boolean, r.number})
	}
	var texts []string
	for _, t := range r.texts {
		switch {
		case t.word != "":
			texts = append(texts, "="+t.word)
		case t.filled:
			texts = append(texts, "+")
		default:
			texts = append(texts, "")
		}
	}
	slices.Sort(texts)
	slices.Sort(theirs.texts)
	if !slices.Equal(texts, theirs.texts) {
		differ("strings", theirs.texts, texts)
	}
	switch {
	case (len(theirs.items) > 0) != (r.item != nil):
		differ("list", theirs.items, r.item)
	case r.item != nil:
		for _, item := range theirs.items {
			d.compare(path+"[]", item, scope, r.item)
		}
	}
	if len(theirs.objects) != len(r.shapes) {
		differ("mappings", len(theirs.objects), len(r.shapes))
		return
	}
	for i, o := range theirs.objects {
		d.compareShape(path, o, scope, r.shapes[i], differ)
	}
}

func (d *schemaDiff) compareShape(path string, o official, scope []string, s *shape, differ func(string, any, any)) {
	if k := o.Mapping.LooseKey; k != "" {
		d.used[k] = true
	}
	for name, p := range o.Mapping.Properties {
		i := slices.IndexFunc(s.keys, func(k key) bool { return k.name == name })
		if i < 0 {
			differ("key "+name, "known", "unknown")
			continue
		}
		if s.keys[i].required != p.Required {
			differ("key "+name+" required", p.Required, s.keys[i].required)
		}
		d.compare(path+"."+name, p.Type, scope, s.known[name])
	}
	for _, k := range s.keys {
		if _, ok := o.Mapping.Properties[k.name]; !ok {
			differ("key "+k.name, "unknown", "known")
		}
	}
	if (o.Mapping.LooseValue != "") != (s.others != nil) {
		differ("other keys", o.Mapping.LooseValue, s.others != nil)
	} else if s.others != nil {
		d.compare(path+".*", o.Mapping.LooseValue, scope, s.others)
	}
}

// TestTablesAgainstOfficialSchema compares our tables with the published ones:
// every key, every type, whether it is required and which contexts and functions
// are allowed in it.
func TestTablesAgainstOfficialSchema(t *testing.T) {
	t.Parallel()
	dir := testData(t, "FAIRLEAD_CONFORMANCE", "../shared/conformance", "github", "schema")
	for _, table := range []struct {
		file, root string
		rule       *rule
		excused    map[string]string
		aside      string // definitions that no file is read by
	}{
		{
			file: "workflow-v1.0.json", root: "workflow-root-strict", rule: workflowGrammar(),
			excused: map[string]string{
				"workflow.on":                            "the official name of repository_dispatch is that of another event",
				"workflow.on[]":                          "the same",
				"workflow.on.workflow_dispatch.inputs":   "may be empty",
				"workflow.on.workflow_dispatch.inputs.*": "an input may have no settings",
			},
			// The lenient root, and the types of computed values.
			aside: "workflow-root on on-mapping job-if-result step-if-result boolean-needs-context number-needs-context " +
				"string-needs-context boolean-steps-context number-steps-context string-runner-context-no-secrets",
		},
		{
			file: "action-v1.0.json", root: "action-root-strict", rule: actionGrammar(),
			// The lenient root.
			aside: "action-root inputs input runs plugin-runs container-runs node-runs composite-runs",
		},
	} {
		b, err := os.ReadFile(filepath.Join(dir, table.file))
		if err != nil {
			t.Fatal(err)
		}
		var schema struct {
			Definitions map[string]official `json:"definitions"`
		}
		if err := json.Unmarshal(b, &schema); err != nil {
			t.Fatal(err)
		}
		d := &schemaDiff{
			t: t, definitions: schema.Definitions, excused: table.excused,
			used: map[string]bool{}, done: map[string]bool{}, excusedUsed: map[string]bool{},
		}
		d.compare(strings.TrimSuffix(table.root, "-root-strict"), table.root, nil, table.rule)
		for path := range table.excused {
			if !d.excusedUsed[path] {
				t.Errorf("%s: %s is excused and not there", table.file, path)
			}
		}
		aside := strings.Fields(table.aside)
		compared := 0
		for name := range schema.Definitions {
			switch {
			case d.used[name]:
				compared++
			case !slices.Contains(aside, name):
				t.Errorf("%s: the definition %s was not compared", table.file, name)
			}
		}
		t.Logf("%s: %d of %d definitions compared, %d are not for files", table.file, compared, len(schema.Definitions), len(schema.Definitions)-compared)
	}
}
