package expression

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// conformanceCase is one case of GitHub's own tests of the language.
type conformanceCase struct {
	Expr     string          `json:"expr"`
	Contexts json.RawMessage `json:"contexts"`
	Result   *struct {
		Kind  Kind            `json:"kind"`
		Value json.RawMessage `json:"value"`
	} `json:"result"`
	Err *struct {
		Kind  ErrorKind `json:"kind"`
		Value string    `json:"value"`
	} `json:"err"`
}

// TestConformance runs every case, also those that another implementation
// skips. A case passes when the value has the same kind and is written the
// same, or the error has the same kind.
func TestConformance(t *testing.T) {
	t.Parallel()
	root := os.Getenv("FAIRLEAD_CONFORMANCE")
	if root == "" {
		root = filepath.FromSlash("../../../../../shared/conformance")
	}
	files, _ := filepath.Glob(filepath.Join(root, "github", "expressions", "*.json"))
	if len(files) == 0 {
		t.Skipf("no cases below %s: set FAIRLEAD_CONFORMANCE", root)
	}
	passed, total, placed, places := 0, 0, 0, 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var groups map[string][]conformanceCase
		if err := json.Unmarshal(raw, &groups); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for group, cases := range groups {
			for i, c := range cases {
				total++
				got, err := c.run()
				if err != nil {
					t.Errorf("%s: %s[%d]: %s: %v", filepath.Base(file), group, i, c.Expr, err)
					t.Attr("scoreboard-rest", fmt.Sprintf("expressions %s[%d]: %q", group, i, c.Expr))
					continue
				}
				passed++
				if want, ok := c.position(); ok {
					places++
					// The cases compare prefixes of messages: 1 stands for 10.
					if strings.HasPrefix(strconv.Itoa(got), want) {
						placed++
					} else {
						t.Logf("%s: %s[%d]: %s: error at %d, GitHub's is at %s", filepath.Base(file), group, i, c.Expr, got, want)
					}
				}
			}
		}
	}
	t.Attr("scoreboard", fmt.Sprintf("expressions %d/%d", passed, total))
	t.Logf("expressions: %d of %d pass (positions of errors: %d of %d the same)", passed, total, placed, places)
}

// run evaluates the case. It returns the position of the error, counted in
// characters from 1, when an error is what the case wants.
func (c conformanceCase) run() (position int, err error) {
	contexts := NewObject()
	if len(c.Contexts) > 0 {
		v, err := ParseJSON(string(c.Contexts))
		if err != nil {
			return 0, err
		}
		contexts = v.(*Object)
	}
	value, evalErr := evaluate(c.Expr, contexts)
	if c.Err != nil {
		if evalErr == nil {
			return 0, fmt.Errorf("got %s, want a %s error: %s", String(value), c.Err.Kind, c.Err.Value)
		}
		if evalErr.Kind != c.Err.Kind {
			return 0, fmt.Errorf("got %s error %q, want %s: %s", evalErr.Kind, evalErr, c.Err.Kind, c.Err.Value)
		}
		return 1 + utf16Len(c.Expr[:evalErr.Offset]), nil
	}
	if evalErr != nil {
		return 0, evalErr
	}
	if got := KindOf(value); got != c.Result.Kind {
		return 0, fmt.Errorf("got kind %s, want %s", got, c.Result.Kind)
	}
	wanted, err := ParseJSON(string(c.Result.Value))
	if err != nil {
		return 0, err
	}
	got, err := appendCompact(nil, value, 0)
	if err != nil {
		return 0, err
	}
	want, err := appendCompact(nil, wanted, 0)
	if err != nil {
		return 0, err
	}
	if string(got) != string(want) {
		return 0, fmt.Errorf("got %s, want %s", got, want)
	}
	return 0, nil
}

// evaluate does what a workflow does with an expression: parse, check, run.
func evaluate(text string, contexts *Object) (any, *Error) {
	e, err := Parse(text)
	if err != nil {
		return nil, err.(*Error)
	}
	if errs := e.Check(Allowed{Contexts: contexts.Keys()}); len(errs) > 0 {
		return nil, errs[0]
	}
	v, err := e.Eval(&Scope{Context: contexts.Get})
	if err != nil {
		return nil, err.(*Error)
	}
	return v, nil
}

var located = regexp.MustCompile(`Located at position (\d+)`)

// position is where GitHub's own implementation puts the error.
func (c conformanceCase) position() (string, bool) {
	if c.Err == nil {
		return "", false
	}
	m := located.FindStringSubmatch(c.Err.Value)
	if m == nil {
		return "", false
	}
	return m[1], true
}
