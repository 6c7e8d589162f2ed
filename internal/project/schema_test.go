package project

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// The schema and the reference are kept where people and editors find them.
// They are made from the table: go test ./internal/project -update.
const docs = "../../docs"

func TestSchemaFile(t *testing.T) {
	t.Parallel()
	golden(t, filepath.Join(docs, "reference", "fairlead-yaml.schema.json"), string(Schema()))
}

func TestReference(t *testing.T) {
	t.Parallel()
	name := filepath.Join(docs, "reference", "fairlead-yaml.md")
	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- Generated: go test ./internal/project -update -->\n", "<!-- End of what is generated. -->"
	before, rest, found := strings.Cut(string(page), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for what is generated", name)
	}
	golden(t, name, before+begin+reference()+end+after)
}

func golden(t *testing.T, name, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the table says: go test ./internal/project -update", name)
	}
}

// reference is the table for people.
func reference() string {
	var b strings.Builder
	var section func(name string, s *schema)
	section = func(name string, s *schema) {
		fmt.Fprintf(&b, "\n### `%s`\n\n", name)
		fmt.Fprintf(&b, "%s\n\n| key | takes | not given | |\n|---|---|---|---|\n", s.Description)
		for _, p := range s.Properties {
			takes, unset := p.schema.words, p.schema.unset
			if ex := p.schema.Examples; len(ex) > 0 {
				takes += fmt.Sprintf(": `%v`", ex[0])
			}
			if slices.Contains(s.Required, p.name) {
				unset = "**required**"
			} else if unset != "" {
				unset = "`" + unset + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", p.name, takes, unset, p.schema.Description)
		}
		for _, p := range s.Properties {
			inner := p.schema
			path := name + "." + p.name
			if inner.Items != nil && len(inner.Items.Properties) > 0 {
				item := *inner.Items
				item.Description = "An entry of `" + p.name + "`:"
				inner, path = &item, path+"[]"
			}
			if len(inner.Properties) > 0 {
				section(path, inner)
			}
		}
	}
	for _, p := range file().schema.Properties {
		if p.schema.Items != nil {
			item := *p.schema.Items
			item.Description = p.schema.Description + " An entry of the list:"
			section(p.name+"[]", &item)
			continue
		}
		section(p.name, p.schema)
	}
	return b.String() + "\n"
}

// TestExamplesOfTheDocs reads every piece of a fairlead.yaml that the
// documentation shows.
func TestExamplesOfTheDocs(t *testing.T) {
	t.Parallel()
	block := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")
	seen := 0
	for _, pattern := range []string{"*.md", "*/*.md"} {
		pages, err := filepath.Glob(filepath.Join(docs, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range pages {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range block.FindAllStringSubmatch(string(text), -1) {
				if !slices.ContainsFunc([]string{"reuse", "databases", "tests"}, func(section string) bool {
					return strings.Contains("\n"+m[1], "\n"+section+":\n")
				}) {
					continue // of a pipeline
				}
				seen++
				_, problems := read(t, m[1])
				for _, p := range problems {
					t.Errorf("%s shows what cannot be read: %s\n%s", page, p, m[1])
				}
			}
		}
	}
	if seen == 0 {
		t.Error("the documentation shows no fairlead.yaml")
	}
}

func TestDefaultsAreTrue(t *testing.T) {
	t.Parallel()
	var got int64
	for _, p := range reuse().schema.Properties {
		if p.name == "size" {
			r := newReader()
			size().read(r, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: p.schema.unset}, &got)
		}
	}
	if got != DefaultSize {
		t.Errorf("the reference says %d, the code %d", got, int64(DefaultSize))
	}
}

func parsedSchema(t *testing.T) map[string]any {
	t.Helper()
	var s map[string]any
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// jsonLike is the text as an editor would hand it to the schema.
func jsonLike(text string) (doc any, ok bool) {
	err := yaml.Unmarshal([]byte(text), &doc)
	return doc, err == nil && text != ""
}

// violates says where a value is not as the schema wants it: as much of JSON
// Schema as ours uses, so that the schema can be held against the reader.
func violates(t *testing.T, schema, v any, path string) string {
	t.Helper()
	if allowed, ok := schema.(bool); ok {
		if !allowed {
			return path + " may not be given"
		}
		return ""
	}
	s := schema.(map[string]any)
	object, isObject := v.(map[string]any)
	array, isArray := v.([]any)
	text, isText := v.(string)
	holds := func(sub any) bool { return violates(t, sub, v, path) == "" }
	for keyword, want := range s {
		bad := ""
		switch keyword {
		case "$schema", "title", "description", "examples", "then":
		case "type":
			names, several := want.([]any)
			if !several {
				names = []any{want}
			}
			_, isBool := v.(bool)
			_, isWhole := v.(int)
			_, isNumber := v.(float64)
			is := map[string]bool{"integer": isWhole, "number": isWhole || isNumber, "object": isObject, "array": isArray, "string": isText, "boolean": isBool, "null": v == nil}
			if !slices.ContainsFunc(names, func(n any) bool { return is[n.(string)] }) {
				bad = fmt.Sprintf("%s is not %v", path, want)
			}
		case "enum":
			if !slices.Contains(want.([]any), v) {
				bad = fmt.Sprintf("%s is none of %v", path, want)
			}
		case "const":
			if v != want {
				bad = fmt.Sprintf("%s is not %v", path, want)
			}
		case "pattern":
			if isText && !regexp.MustCompile(want.(string)).MatchString(text) {
				bad = path + " does not match " + want.(string)
			}
		case "minLength":
			if isText && float64(len(text)) < want.(float64) {
				bad = path + " is too short"
			}
		case "minimum", "maximum":
			if number, ok := v.(int); ok && (keyword == "minimum" && float64(number) < want.(float64) || keyword == "maximum" && float64(number) > want.(float64)) {
				bad = path + " is out of bounds"
			}
		case "maxItems":
			if isArray && float64(len(array)) > want.(float64) {
				bad = path + " has too many items"
			}
		case "items":
			for i := range array {
				if bad == "" {
					bad = violates(t, want, array[i], fmt.Sprintf("%s[%d]", path, i))
				}
			}
		case "properties":
			for name, sub := range want.(map[string]any) {
				if given, ok := object[name]; ok && bad == "" {
					bad = violates(t, sub, given, path+"."+name)
				}
			}
		case "patternProperties":
			for _, sub := range want.(map[string]any) { // the table has but the pattern that matches all
				for name, given := range object {
					if bad == "" {
						bad = violates(t, sub, given, path+"."+name)
					}
				}
			}
		case "oneOf":
			fits := 0
			for _, sub := range want.([]any) {
				if holds(sub) {
					fits++
				}
			}
			if fits != 1 {
				bad = fmt.Sprintf("%s fits %d of what it may be one of", path, fits)
			}
		case "additionalProperties":
			known := s["properties"].(map[string]any)
			for name := range object {
				if _, ok := known[name]; !ok {
					bad = path + "." + name + " is unknown"
				}
			}
		case "required":
			for _, name := range want.([]any) {
				if _, ok := object[name.(string)]; isObject && !ok {
					bad = path + " has no " + name.(string)
				}
			}
		case "allOf":
			for _, sub := range want.([]any) {
				if bad == "" {
					bad = violates(t, sub, v, path)
				}
			}
		case "anyOf":
			if !slices.ContainsFunc(want.([]any), holds) {
				bad = path + " is as none of the alternatives"
			}
		case "not":
			if holds(want) {
				bad = path + " is what it must not be"
			}
		case "if":
			if holds(want) && !holds(s["then"]) {
				bad = path + " breaks a rule"
			}
		default:
			t.Fatalf("the test does not know the keyword %s", keyword)
		}
		if bad != "" {
			return bad
		}
	}
	return ""
}
