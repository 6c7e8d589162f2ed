package plan

import (
	"slices"
	"testing"
)

func TestWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                               nil,
		"  \t\n":                         nil,
		"a b  c":                         {"a", "b", "c"},
		`--name "a b" -e 'x=$y'`:         {"--name", "a b", "-e", "x=$y"},
		`--health-cmd="pg_isready -U x"`: {"--health-cmd=pg_isready -U x"},
		`a\ b "c\"d" "e\f" 'g\h'`:        {"a b", `c"d`, `e\f`, `g\h`},
		`'' ""`:                          {"", ""},
		`"open`:                          {"open"},
		`end\`:                           {`end\`},
		"x\\\ny":                         {"xy"},
	} {
		if got := Words(text); !slices.Equal(got, want) {
			t.Errorf("Words(%q) = %q, want %q", text, got, want)
		}
	}
}
