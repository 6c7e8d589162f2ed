package harvest

import (
	"math"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// seconds reads a duration: "0.012", "1,234.5", and in some places "0,012".
func seconds(s string) float64 {
	s = strings.TrimSuffix(strings.TrimSpace(s), "s")
	if strings.Contains(s, ".") || strings.Count(s, ",") != 1 {
		s = strings.ReplaceAll(s, ",", "")
	} else {
		s = strings.Replace(s, ",", ".", 1)
	}
	const century = 100 * 365 * 24 * 3600
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > century {
		return 0
	}
	return f
}

// placed is a place in a stack or a message: x_test.go:12, (FooTest.java:12),
// File "/w/x.py", line 12; in C:\w\x.cs:line 12.
var placed = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`([^\s():"']+\.[A-Za-z]{1,6}):(\d+)\b|File "([^"]+)", line (\d+)| in ([^\n"]{1,400}?\.[A-Za-z]{1,6}):line (\d+)`)
})

// locate finds the place of a failure in its text: the first one in the file
// that the test is known to be in or, failing that, in a file named like its
// class, or else the first.
func locate(r *record.TestResult, text string) {
	class := r.Suite[strings.LastIndexAny(r.Suite, "./\\")+1:]
	file, n := "", 0
	for _, m := range placed().FindAllStringSubmatch(text, 50) {
		f, l := m[1]+m[3]+m[5], m[2]+m[4]+m[6]
		line, err := strconv.Atoi(l)
		if err != nil {
			continue
		}
		base := path.Base(strings.ReplaceAll(f, "\\", "/"))
		if r.File != "" && path.Base(r.File) == base {
			r.Line = line
			return
		}
		if file == "" || class != "" && strings.TrimSuffix(base, path.Ext(base)) == class {
			file, n = f, line
			if r.File == "" && strings.TrimSuffix(base, path.Ext(base)) == class {
				break
			}
		}
	}
	if r.File == "" && file != "" {
		r.File, r.Line = clip(file, maxName), n
	}
}

// parametrised takes a test's name apart where a tool has put the parameters
// of a case into it: "test_a[1-2]", "adds(int)[1]", "testA with data set #0".
// What reads like a sentence is left whole.
func parametrised(name string) (plain, params string) {
	if at := strings.LastIndex(name, " with data set "); at > 0 {
		return name[:at], name[at+len(" with data set "):]
	}
	if !strings.HasSuffix(name, "]") {
		return name, ""
	}
	at := strings.IndexByte(name, '[')
	if at <= 0 || !identifier(name[:at]) {
		return name, ""
	}
	return name[:at], name[at+1 : len(name)-1]
}

// called takes the arguments off a name: "Adds(1,2)".
func called(name string) (plain, params string) {
	at := strings.IndexByte(name, '(')
	if at <= 0 || !strings.HasSuffix(name, ")") || !identifier(name[:at]) {
		return name, ""
	}
	return name[:at], name[at+1 : len(name)-1]
}

// identifier says whether a name is that of a function, with the types of its
// parameters perhaps, and not a sentence.
func identifier(name string) bool {
	name, types, typed := strings.Cut(name, "(")
	if typed && !strings.HasSuffix(types, ")") {
		return false
	}
	name, _, _ = strings.Cut(name, "{") // Surefire's form of the same
	return name != "" && !strings.ContainsAny(name, " \t\"'/")
}

// Relative makes the files that a result names, and the suite when that is a
// file, relative to a directory that they are in: some tools write where on
// their machine a test was, and a test is the same on another. The root is
// absolute, with slashes or backslashes.
func Relative(r *record.TestResult, root string) {
	root = strings.TrimRight(strings.ReplaceAll(root, "\\", "/"), "/")
	if root == "" {
		return
	}
	within := func(name string) string {
		slashed := strings.ReplaceAll(name, "\\", "/")
		if rest, ok := strings.CutPrefix(slashed, root+"/"); ok {
			return rest
		}
		return name
	}
	r.File = within(r.File)
	if suite := within(r.Suite); suite != r.Suite {
		if r.Name == r.Suite { // the file itself broke
			r.Name = suite
		}
		r.Suite = suite
	}
}
