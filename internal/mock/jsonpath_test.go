package mock

import (
	"strings"
	"testing"
)

func TestJSONPath(t *testing.T) {
	t.Parallel()
	doc, _ := parseJSON([]byte(`{"store":{"book":[{"t":"a","p":8,"isbn":"1"},{"t":"b","p":12},{"t":"c","p":9,"x y":true}],"bike":{"p":20}},"l":[0,1,2,3,4]}`))
	for text, want := range map[string]string{
		"$.store.book[0].t":                     `["a"]`,
		"store.bike.p":                          `[20]`,
		"$['store']['bike']":                    `[{"p":20}]`,
		"$.store.book[*].t":                     `["a","b","c"]`,
		"$..p":                                  `[20,8,12,9]`,
		"$.store.book[-1].t":                    `["c"]`,
		"$.l[1:3]":                              `[1,2]`,
		"$.l[-2:]":                              `[3,4]`,
		"$.l[0,2]":                              `[0,2]`,
		"$.l[::2]":                              `[0,2,4]`,
		"$.l.length()":                          `[5]`,
		"$.store.book[?(@.p < 10)].t":           `["a","c"]`,
		"$.store.book[?@.isbn].t":               `["a"]`,
		"$.store.book[?(!@.isbn && @.p>=12)].t": `["b"]`,
		"$.store.book[?(@.t == 'a' || @.p==9)].p": `[8,9]`,
		"$.store.book[?(@.t =~ /[AB]/i)].t":       `["a","b"]`,
		"$.store.book[?(@['x y'] == true)].t":     `["c"]`,
		"$.none.x":                                `[]`,
	} {
		p, err := compilePath(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := string(mustJSON(append([]any{}, p.find(doc)...))); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"$.", "$[", "$[?(@.a ==)]", "$['a", "$[x]", "$.a b", "$[?(@.a =~ /(/)]", "$[" + strings.Repeat("?(!", 500), "$[1:2:0]"} {
		if _, err := compilePath(text); err == nil {
			t.Errorf("%.40q was read", text)
		}
	}
}

func FuzzJSONPath(f *testing.F) {
	f.Add("$..a[?(@.b == 'c')]['d',1:2]", `{"a":[{"b":"c","d":1}]}`)
	f.Fuzz(func(t *testing.T, text, doc string) {
		v, ok := parseJSON([]byte(doc))
		if p, err := compilePath(text); err == nil && ok && strings.Count(text, "..") < 3 {
			p.find(v)
		}
	})
}
