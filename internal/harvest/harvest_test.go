package harvest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

func TestJUnit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, xml string
		want      record.TestsReported
	}{
		{"surefire, with a flake", `<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="com.x.AppTest" tests="4" failures="1" errors="1" time="1,234.5">
  <properties><property name="failure" value="no"/></properties>
  <testcase name="adds" classname="com.x.AppTest" time="0.5">
    <failure message="expected: 4" type="AssertionError"><![CDATA[java.lang.AssertionError: expected: 4
	at org.junit.Assert.fail(Assert.java:89)
	at com.x.AppTest.adds(AppTest.java:12)]]></failure>
  </testcase>
  <testcase name="breaks" classname="com.x.AppTest" time="1,000.25"><error type="NullPointerException"/></testcase>
  <testcase name="flaky" classname="com.x.AppTest" time="0"><flakyFailure message="first try"/></testcase>
  <testcase name="later" classname="com.x.AppTest"><skipped/></testcase>
</testsuite>`, record.TestsReported{Passed: 1, Failed: 2, Skipped: 1, Flaky: 1, Seconds: 1000.75, Bad: []record.TestResult{
			{Suite: "com.x.AppTest", Name: "adds", Status: failed, Seconds: 0.5, Message: "expected: 4", Type: "AssertionError", File: "AppTest.java", Line: 12},
			{Suite: "com.x.AppTest", Name: "breaks", Status: broken, Seconds: 1000.25, Message: "NullPointerException", Type: "NullPointerException"},
		}}},
		{"pytest", `<testsuites><testsuite name="pytest" tests="2">
<testcase classname="tests.test_a" name="test_x[1-2]" file="tests/test_a.py" line="6" time="0.001"><failure message="assert 3 == 4">def test_x():
&gt;       assert add(1, 2) == 4
tests/test_a.py:9: AssertionError</failure></testcase>
<testcase classname="tests.test_a" name="test_y" time="0.001"/></testsuite></testsuites>`,
			record.TestsReported{Passed: 1, Failed: 1, Seconds: 0.002, Bad: []record.TestResult{
				{Suite: "tests.test_a", Name: "test_x", Params: "1-2", Status: failed, Seconds: 0.001, Message: "assert 3 == 4", File: "tests/test_a.py", Line: 6},
			}}},
		{"jest-junit", `<testsuites name="jest tests"><testsuite name="sum"><testcase classname="sum adds" name="sum adds" time="0.003">
<failure>Error: expect(received).toBe(expected)
    at Object.&lt;anonymous&gt; (/w/src/sum.test.js:6:22)</failure></testcase></testsuite></testsuites>`,
			record.TestsReported{Failed: 1, Seconds: 0.003, Bad: []record.TestResult{{
				Suite: "sum adds", Name: "sum adds", Status: failed, Seconds: 0.003, File: "/w/src/sum.test.js", Line: 6,
				Message: "Error: expect(received).toBe(expected)\n    at Object.<anonymous> (/w/src/sum.test.js:6:22)",
			}}}},
		{"gotestsum", `<testsuites><testsuite name="example.com/sum"><testcase classname="example.com/sum" name="TestSum" time="0.000000">
<failure message="Failed" type="">=== RUN   TestSum&#xA;    sum_test.go:9: no&#xA;--- FAIL: TestSum (0.00s)&#xA;</failure></testcase></testsuite></testsuites>`,
			record.TestsReported{Failed: 1, Bad: []record.TestResult{{
				Suite: "example.com/sum", Name: "TestSum", Status: failed, Message: "Failed", File: "sum_test.go", Line: 9,
			}}}},
		{"nested suites, several results in one case", `<testsuite name="outer" file="o.php"><testsuite name="inner">
<testcase name="a"><skipped/><failure message="f"/><error message="e"/><failure message="g"/></testcase></testsuite>
<testcase name="b"/></testsuite>`, record.TestsReported{Passed: 1, Failed: 1, Bad: []record.TestResult{
			{Suite: "outer", Groups: []string{"inner"}, Name: "a", Status: broken, Message: "e", File: "o.php"},
		}}},
		{"googletest", `<testsuites><testsuite name="S"><testcase name="A" status="run" result="completed" classname="S"/>
<testcase name="B" status="notrun" result="suppressed" classname="S"/><testcase name="C" status="run" result="skipped" classname="S"/></testsuite></testsuites>`,
			record.TestsReported{Passed: 1, Skipped: 2}},
		{"a suite that broke", `<testsuites><testsuite name="pkg"><error message="did not compile"/></testsuite></testsuites>`,
			record.TestsReported{Failed: 1, Bad: []record.TestResult{{Suite: "pkg", Name: "pkg", Status: broken, Message: "did not compile"}}}},
		{"what output holds is no result", `<testsuite name="s"><testcase name="a"><system-out><failure message="no"/></system-out></testcase></testsuite>`,
			record.TestsReported{Passed: 1}},
		{"colours, entities, a mark at the beginning", "\xef\xbb\xbf<testsuite name=\"s\"><testcase name=\"a&nbsp;b\"><failure message=\"\x1b[31mred\x1b[0m \xff\"/></testcase></testsuite>",
			record.TestsReported{Failed: 1, Bad: []record.TestResult{{Suite: "s", Name: "a\u00a0b", Status: failed, Message: "[31mred [0m ?"}}}},
		{"latin 1", "<?xml version='1.0' encoding='ISO-8859-1'?><testsuite name='s'><testcase name='\xfc'><error/></testcase></testsuite>",
			record.TestsReported{Failed: 1, Bad: []record.TestResult{{Suite: "s", Name: "ü", Status: broken}}}},
		{"UTF-16", utf16LE(`<?xml version="1.0" encoding="utf-16"?><testsuite name="s"><testcase name="ü€"><error/></testcase></testsuite>`),
			record.TestsReported{Failed: 1, Bad: []record.TestResult{{Suite: "s", Name: "ü€", Status: broken}}}},
		{"suites without cases", `<testsuites tests="9"><testsuite name="a"><testsuite name="b" tests="6" failures="1" errors="1" skipped="2" time="1.5"/></testsuite>
<testsuite name="c" tests="1" failures="7"/><testsuite name="d" tests="-5"/></testsuites>`, record.TestsReported{Passed: 2, Failed: 2, Skipped: 2, Seconds: 1.5}},
		{"no tests", `<testsuites/>`, record.TestsReported{}},
	} {
		c.want.Source, c.want.Format = "r.xml", "junit"
		for _, r := range []io.Reader{strings.NewReader(c.xml), iotest.OneByteReader(strings.NewReader(c.xml))} {
			got, err := JUnit(r, "r.xml")
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s: %v\ngot  %+v\nwant %+v", c.name, err, got, c.want)
			}
		}
	}
}

func utf16LE(s string) string {
	out := "\xff\xfe"
	for _, c := range s {
		out += string([]byte{byte(c), byte(c >> 8)})
	}
	return out
}

func TestJUnitErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, xml, want string }{
		{"empty", "", "it is empty"},
		{"something else", "<html><body>404</body></html>", "no JUnit report"},
		{"no XML", "PASS", "it is empty"},
		{"deep", strings.Repeat("<testsuite>", 1_000), "nested deeper"},
		{"large", "<testsuite>" + strings.Repeat("x", 100_000), "larger than"},
		{"not closed", "<testsuite name='", "r.xml"},
	} {
		got, err := (&format{name: "junit", read: readJUnit}).run(limitedInput(strings.NewReader(c.xml), "r.xml", 50_000), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "r.xml") {
			t.Errorf("%s: got %+v, %v; want %q", c.name, got, err, c.want)
		}
	}
}

// TestSalvage reads reports that are spoilt: what they hold is counted, and
// what is wrong is said with its line.
func TestSalvage(t *testing.T) {
	t.Parallel()
	big := `<testsuite name="s"><testcase name="a"/><testcase name="b"><system-out>` + strings.Repeat("x", 100_000) + `</system-out></testcase></testsuite>`
	for _, c := range []struct {
		name, xml, want         string
		passed, failed, skipped int
	}{
		{"cut off", "<testsuite>\n<testcase name='a'/>\n<testcase name='b'>", "line 3: the file ends in the middle of <testcase>", 1, 1, 0},
		{"cut off in a tag", "<testsuite><testcase name='a'/>\n<testcase nam", "line 2: the file ends in the middle of a tag", 1, 0, 0},
		{"cut off in a section", "<testsuite><testcase name='a'/>\n<testcase name='b'><skipped/><system-out><![CDATA[x", "line 2: the file ends in the middle of a tag", 1, 1, 0},
		{"cut off after a failure", "<testsuite><testcase name='a'><failure>no", "ends in the middle of <failure>", 0, 1, 0},
		{"too large", big, "larger than 50000", 1, 1, 0},
		{"an unknown encoding", "<?xml version='1.0' encoding='EBCDIC'?><testsuite><testcase name='a'/></testsuite>", "line 1: its encoding", 1, 0, 0},
		{"an end of nothing", "<testsuite><testcase name='a'/></testsuite>\n</testsuite>", "line 2: </testsuite> ends nothing", 1, 0, 0},
		{"an end that is missing", "<testsuite><testcase name='a'><failure>no\n</testcase><testcase name='b'/></testsuite>", "line 2: </testcase> comes before the end of <failure>", 1, 1, 0},
		{"laughs", `<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite><testcase name="&b;"/>`, "ends in the middle", 1, 0, 0},
		{"signs that are no tags", "<testsuite><testcase name='a'><failure message='1 < 2'>if a < b && c <3</failure></testcase></testsuite>", "", 0, 1, 0},
	} {
		got, err := (&format{name: "junit", read: readJUnit}).run(limitedInput(strings.NewReader(c.xml), "r.xml", 50_000), nil)
		if err != nil || got.Passed != c.passed || got.Failed != c.failed || got.Skipped != c.skipped {
			t.Errorf("%s: %v\ngot %+v", c.name, err, got)
		}
		if said := strings.Join(got.Salvaged, "\n"); !strings.Contains(said, c.want) || c.want == "" && said != "" {
			t.Errorf("%s: said %q, want %q", c.name, said, c.want)
		}
	}
}

func TestJUnitManyFailures(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("<testsuite name='s'>")
	for n := range 300 {
		fmt.Fprintf(&b, "<testcase name='%d%s'><failure message='%s'/></testcase>", n, strings.Repeat("n", 3000), strings.Repeat("ä", 3000))
	}
	b.WriteString("</testsuite>")
	got, err := JUnit(strings.NewReader(b.String()), "r.xml")
	if err != nil || got.Failed != 300 || len(got.Bad) != maxBad || len(got.Bad[0].Message) > maxMessage || len(got.Bad[0].Name) > maxName {
		t.Errorf("%d failed, %d told of, %v", got.Failed, len(got.Bad), err)
	}
}

// listen gives a text to a GoTest, line by line.
func listen(text string) (record.TestsReported, bool) {
	var g GoTest
	for line := range strings.Lines(text) {
		g.Line([]byte(strings.TrimRight(line, "\r\n")))
	}
	return g.Report()
}

func TestGoTestCached(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string]string{
		"events": `{"Action":"run","Package":"a","Test":"TestA"}
{"Action":"pass","Package":"a","Test":"TestA","Elapsed":0}
{"Action":"output","Package":"a","Output":"ok  \ta\t(cached)\tcoverage: 5.0% of statements\n"}
{"Action":"pass","Package":"a","Elapsed":0}
{"Action":"run","Package":"b","Test":"TestB"}
{"Action":"pass","Package":"b","Test":"TestB","Elapsed":0.2}
{"Action":"output","Package":"b","Output":"ok  \tb\t0.2s\n"}
{"Action":"pass","Package":"b","Elapsed":0.2}`,
		"plain": "=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\nok  \ta\t(cached)\n=== RUN   TestB\n--- PASS: TestB (0.20s)\nPASS\nok  \tb\t0.203s",
	} {
		var g GoTest
		for line := range strings.SplitSeq(lines, "\n") {
			g.Line([]byte(line))
		}
		if r, ok := g.End(); !ok || r.Passed != 2 || !slices.Equal(r.Cached, []string{"a"}) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestGoTest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       record.TestsReported
	}{
		{"quiet", `building
--- FAIL: TestSum (0.01s)
    --- FAIL: TestSum/negative (0.01s)
        sum_test.go:21: Sum(-1, 2) = 3, want 1
        sum_test.go:22: more
    --- FAIL: TestSum/zero (0.00s)
        sum_test.go:21: Sum(0, 0) = 1, want 0
FAIL
FAIL	example.com/sum	0.003s
ok  	example.com/ok	0.100s
--- FAIL: TestB (0.20s)
    b_test.go:9: no
FAIL
FAIL	example.com/b	0.205s
FAIL
`, record.TestsReported{Source: "go test", Failed: 4, Seconds: 0.21, Bad: []record.TestResult{
			{Suite: "example.com/sum", Groups: []string{"TestSum"}, Name: "negative", Status: failed, Seconds: 0.01, File: "sum_test.go", Line: 21,
				Message: "sum_test.go:21: Sum(-1, 2) = 3, want 1\nsum_test.go:22: more"},
			{Suite: "example.com/sum", Groups: []string{"TestSum"}, Name: "zero", Status: failed, File: "sum_test.go", Line: 21, Message: "sum_test.go:21: Sum(0, 0) = 1, want 0"},
			{Suite: "example.com/b", Name: "TestB", Status: failed, Seconds: 0.2, File: "b_test.go", Line: 9, Message: "b_test.go:9: no"},
		}}},
		{"verbose", `=== RUN   TestA
    a_test.go:5: fine so far
--- PASS: TestA (0.00s)
=== RUN   TestB
    b_test.go:7: no good
--- FAIL: TestB (0.50s)
=== RUN   TestC
    c_test.go:8: not here
--- SKIP: TestC (0.00s)
FAIL
FAIL	example.com/v	0.503s
`, record.TestsReported{Source: "go test", Passed: 1, Failed: 1, Skipped: 1, Seconds: 0.5, Bad: []record.TestResult{
			{Suite: "example.com/v", Name: "TestB", Status: failed, Seconds: 0.5, File: "b_test.go", Line: 7, Message: "b_test.go:7: no good"},
		}}},
		{"a package that does not compile, one that panics", `# example.com/c [example.com/c.test]
./c_test.go:3:2: undefined: x
FAIL	example.com/c [build failed]
panic: no [recovered]
	panic: no

goroutine 7 [running]:
FAIL	example.com/p	0.010s
ok  	example.com/ok	(cached)
FAIL
`, record.TestsReported{Source: "go test", Failed: 2, Bad: []record.TestResult{
			{Suite: "example.com/c", Name: "example.com/c", Status: broken, Message: "build failed"},
			{Suite: "example.com/p", Name: "example.com/p", Status: broken, Message: "panic: no [recovered]"},
		}}},
		{"JSON", `go: downloading example.com/x v1.0.0
{"Time":"2026-01-01T00:00:00Z","Action":"start","Package":"example.com/j"}
{"Time":"2026-01-01T00:00:00Z","Action":"run","Package":"example.com/j","Test":"TestA"}
{"Time":"2026-01-01T00:00:00Z","Action":"pass","Package":"example.com/j","Test":"TestA","Elapsed":0.25}
{"Time":"2026-01-01T00:00:00Z","Action":"run","Package":"example.com/j","Test":"TestB"}
{"Time":"2026-01-01T00:00:00Z","Action":"output","Package":"example.com/j","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Time":"2026-01-01T00:00:00Z","Action":"run","Package":"example.com/j","Test":"TestB/x"}
{"Time":"2026-01-01T00:00:00Z","Action":"output","Package":"example.com/j","Test":"TestB/x","Output":"    b_test.go:7: not equal:\n"}
{"Time":"2026-01-01T00:00:00Z","Action":"output","Package":"example.com/j","Test":"TestB/x","Output":"        got 3\n"}
{"Time":"2026-01-01T00:00:00Z","Action":"output","Package":"example.com/j","Test":"TestB/x","Output":"    --- FAIL: TestB/x (0.50s)\n"}
{"Time":"2026-01-01T00:00:00Z","Action":"fail","Package":"example.com/j","Test":"TestB/x","Elapsed":0.5}
{"Time":"2026-01-01T00:00:00Z","Action":"fail","Package":"example.com/j","Test":"TestB","Elapsed":0.5}
{"Time":"2026-01-01T00:00:00Z","Action":"fail","Package":"example.com/j","Elapsed":1.5}
`, record.TestsReported{Source: "go test -json", Passed: 1, Failed: 2, Seconds: 1.5, Bad: []record.TestResult{
			{Suite: "example.com/j", Groups: []string{"TestB"}, Name: "x", Status: failed, Seconds: 0.5, File: "b_test.go", Line: 7, Message: "b_test.go:7: not equal:\ngot 3"},
		}}},
		{"JSON of a build that failed", `{"ImportPath":"example.com/c [example.com/c.test]","Action":"build-output","Output":"# example.com/c [example.com/c.test]\n"}
{"ImportPath":"example.com/c [example.com/c.test]","Action":"build-output","Output":"./c_test.go:3:2: undefined: x\n"}
{"ImportPath":"example.com/c [example.com/c.test]","Action":"build-fail"}
{"Time":"2026-01-01T00:00:00Z","Action":"start","Package":"example.com/c"}
{"Time":"2026-01-01T00:00:00Z","Action":"output","Package":"example.com/c","Output":"FAIL\texample.com/c [build failed]\n"}
{"Time":"2026-01-01T00:00:00Z","Action":"fail","Package":"example.com/c","Elapsed":0,"FailedBuild":"example.com/c [example.com/c.test]"}
`, record.TestsReported{Source: "go test -json", Failed: 1, Bad: []record.TestResult{
			{Suite: "example.com/c", Name: "example.com/c", Status: broken, File: "./c_test.go", Line: 3,
				Message: "./c_test.go:3:2: undefined: x\nFAIL\texample.com/c [build failed]"},
		}}},
		{"JSON that ends in the middle", `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p","Test":"TestB"}
`, record.TestsReported{Source: "go test -json", Passed: 1, Failed: 1, Bad: []record.TestResult{
			{Suite: "p", Name: "TestA", Status: broken, Message: "it did not come to its end"},
		}}},
	} {
		got, ok := listen(c.text)
		if !ok || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", c.name, ok, got, c.want)
		}
	}
	for _, text := range []string{
		"", "hello\n", "ok  \texample.com/a\t0.1s\n?   \texample.com/b\t[no test files]\n", "--- a/file.go\n+++ b/file.go\n",
		"{\"Action\":\"deploy\"}\n", "{\"Action\":\"fail\"\n", "FAIL\nFAILED\n--- FAIL: \n", "--- FAIL: two words (0.00s)\n",
	} {
		if got, ok := listen(text); ok {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	report := func(age time.Duration) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(`<?xml version="1.0"?><testsuites/>`), ModTime: start.Add(-age)}
	}
	tree := fstest.MapFS{
		"junit.xml":                         report(-time.Second),
		"app/target/surefire-reports/T.xml": report(0),
		"build/results.XML":                 report(-time.Hour),
		"old/junit.xml":                     report(time.Minute),
		"node_modules/a/junit.xml":          report(-time.Second),
		".git/junit.xml":                    report(-time.Second),
		"pom.xml":                           report(-time.Second),
		"junit.txt":                         report(-time.Second),
		"other.xml":                         {Data: []byte("<project/>"), ModTime: start.Add(time.Second)},
		"empty.xml":                         {ModTime: start.Add(time.Second)},
		"out/results.trx":                   {Data: []byte(`<TestRun><Results/></TestRun>`), ModTime: start},
		"test-results/results.json":         {Data: []byte(`{"config":{},"suites":[]}`), ModTime: start},
		"allure-results/1-result.json":      {Data: []byte(`{"uuid":"1","status":"passed","labels":[]}`), ModTime: start},
		"test.json":                         {Data: []byte(`{"Action":"pass","Package":"p","Test":"TestA"}`), ModTime: start},
		"results.json":                      {Data: []byte(`{"other":1}`), ModTime: start},
		"cover.out":                         {Data: []byte("mode: set\na.go:1.1,2.2 1 1\n"), ModTime: start},
		"coverage/.resultset.json":          {Data: []byte(`{"RSpec":{"coverage":{"/w/a.rb":{"lines":[1,0,null]}},"timestamp":1}}`), ModTime: start},
		"coverage.xml":                      {Data: []byte(`<coverage line-rate="1"><packages/></coverage>`), ModTime: start},
		"coverage.txt":                      {Data: []byte("no profile"), ModTime: start},
		"lint.sarif":                        {Data: []byte(`{"version":"2.1.0","$schema":"sarif","runs":[]}`), ModTime: start},
		"vegeta.bin":                        {Data: []byte("no results"), ModTime: start},
		strings.Repeat("d/", 20) + "r.xml":  report(-time.Second),
	}
	got := Find(tree, start)
	if want := []string{"allure-results/1-result.json", "app/target/surefire-reports/T.xml", "build/results.XML", "cover.out", "coverage.xml", "coverage/.resultset.json", "junit.xml", "lint.sarif", "out/results.trx", "test-results/results.json"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestFinder asks again and again while a directory changes.
func TestFinder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := NewFinder(os.DirFS(dir))
	start := time.Now().Add(-time.Minute)
	write := func(name string, at time.Time) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("<testsuites/>"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	check := func(since time.Time, want ...string) {
		t.Helper()
		if got := f.Find(since); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check(start)
	write("a/b/r.xml", start)
	check(start, "a/b/r.xml")
	write("a/b/s.xml", start.Add(time.Second))
	write("c/r.xml", start)
	check(start, "a/b/r.xml", "a/b/s.xml", "c/r.xml")
	check(start.Add(time.Second), "a/b/s.xml")
	write("a/b/r.xml", start.Add(2*time.Second)) // written over
	check(start.Add(time.Second), "a/b/r.xml", "a/b/s.xml")
	if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	check(start, "c/r.xml")
}

func FuzzJUnit(f *testing.F) {
	f.Add([]byte(`<testsuites><testsuite name="s" file="f"><testcase name="a" time="1,5"><failure message="m">x.go:1</failure></testcase></testsuite></testsuites>`))
	f.Add([]byte("\xff\xfe<\x00t\x00"))
	f.Add([]byte("<?xml version='1.0' encoding='latin1'?><testsuite><error/></testsuite>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := JUnit(bytes.NewReader(data), "r")
		if err == nil && (len(got.Bad) > got.Failed || got.Seconds < 0) {
			t.Errorf("%+v", got)
		}
	})
}

func FuzzGoTest(f *testing.F) {
	f.Add("--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/b (0.00s)\n        a_test.go:1: x\nFAIL\tp\t0.1s\n")
	f.Add("=== RUN   T\n    a_test.go:1: x\n--- FAIL: T (1.00s)\nFAIL\tp [build failed]\npanic: x\nok  \tp\t1s\n")
	f.Add(`{"Action":"run","Package":"p","Test":"T"}` + "\n" + `{"Action":"fail","Package":"p","FailedBuild":"q"}` + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := listen(text)
		if ok && len(got.Bad) > got.Failed || got.Passed < 0 || got.Seconds < 0 {
			t.Errorf("%+v", got)
		}
	})
}

// BenchmarkLine listens to what is no test.
func BenchmarkLine(b *testing.B) {
	line := []byte("[ 42%] Building CXX object src/CMakeFiles/core.dir/parser/expression_visitor.cpp.o and some more of it")
	var g GoTest
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		g.Line(line)
	}
}

func BenchmarkLineJSON(b *testing.B) {
	line := []byte(`{"Time":"2026-01-01T00:00:00.000000000Z","Action":"output","Package":"example.com/some/package","Test":"TestSomething/of_some_kind","Output":"    progress: 42 of 100 items were looked at\n"}`)
	var g GoTest
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		g.Line(line)
	}
}

// BenchmarkFind looks through a tree of 20,000 files.
func BenchmarkFind(b *testing.B) {
	dir := b.TempDir()
	for d := range 200 {
		sub := filepath.Join(dir, fmt.Sprintf("pkg%d/src", d))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		for n := range 100 {
			name := fmt.Sprintf("file%d.go", n)
			if n == 0 {
				name = "config.xml"
			}
			if err := os.WriteFile(filepath.Join(sub, name), []byte("x"), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	since := time.Now().Add(time.Hour)
	time.Sleep(3 * findSlack) // the directories are no longer new
	for name, tree := range map[string]fs.FS{"DirFS": os.DirFS(dir), "Root": root.FS()} {
		b.Run(name+"/first", func(b *testing.B) {
			for b.Loop() {
				Find(tree, since)
			}
		})
		b.Run(name+"/again", func(b *testing.B) {
			f := NewFinder(tree)
			f.Find(since)
			for b.Loop() {
				f.Find(since)
			}
		})
	}
}

func BenchmarkJUnit(b *testing.B) {
	var buf bytes.Buffer
	w := bufio.NewWriter(&buf)
	io.WriteString(w, "<testsuite name='s'>")
	for n := range 20_000 {
		fmt.Fprintf(w, "<testcase classname='com.example.SomeTest' name='case %d' time='0.001'><system-out>some output of it</system-out></testcase>\n", n)
	}
	io.WriteString(w, "</testsuite>")
	w.Flush()
	b.SetBytes(int64(buf.Len()))
	for b.Loop() {
		if _, err := JUnit(bytes.NewReader(buf.Bytes()), "r"); err != nil {
			b.Fatal(err)
		}
	}
}
