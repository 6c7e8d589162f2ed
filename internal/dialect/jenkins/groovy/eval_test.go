package groovy

import (
	"context"
	"strings"
	"testing"
)

// run runs a script and returns what it printed and the text of its value, or
// the error.
func run(t *testing.T, src string) (printed, value string, err error) {
	t.Helper()
	script, problems := Parse("Jenkinsfile", src)
	if len(problems) > 0 {
		return "", "", problems[0]
	}
	var out strings.Builder
	in := New(Config{Print: func(s string) { out.WriteString(s) }})
	err = in.Do(context.Background(), func(th *Thread) error {
		v, err := th.Run(script)
		if err != nil {
			return err
		}
		value, err = th.inspect(v)
		return err
	})
	return out.String(), value, err
}

func TestSmoke(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"1 + 2", "3"},
		{"def x = 5; [1,2,3].collect { it * x }", "[5, 10, 15]"},
		{"def m = [a: 1, b: 2]; m.c = 3; \"${m.a} $m.c\"", "'1 3'"},
	} {
		_, got, err := run(t, c.src)
		if err != nil || got != c.want {
			t.Errorf("%s: %s, %v", c.src, got, err)
		}
	}
}
