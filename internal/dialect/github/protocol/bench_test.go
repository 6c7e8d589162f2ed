package protocol

import (
	"bytes"
	"testing"
)

// logLines is text like a build's log.
func logLines() [][]byte {
	return bytes.Split(bytes.TrimSpace(bytes.Repeat([]byte(
		"go: downloading github.com/spf13/cobra v1.10.2\n"+
			"ok  \tgithub.com/fairlead-dev/fairlead/internal/plan\t0.012s\tcoverage: 81.2% of statements in ./internal/plan and its children\n"+
			"    --- PASS: TestSomething/with_a_name_that_is_long_enough (0.00s)\n"+
			"   Compiling serde v1.0.210 [features: std, derive] ######## 73% std::vec::Vec<alloc::string::String>\n"+
			"2026-11-23T03:37:32.123456Z INFO request{method=GET path=/api/v1/runs}: handled status=200 in 3.2ms\n"), 20)), []byte("\n"))
}

func benchmarkLine(b *testing.B, j *Job) {
	l := listen(b, j, nil)
	lines := logLines()
	size := 0
	for _, line := range lines {
		size += len(line)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for _, line := range lines {
			if shown, _ := l.Line(line); len(shown) != len(line) {
				b.Fatal("a plain line was changed")
			}
		}
	}
}

func BenchmarkLine(b *testing.B) { benchmarkLine(b, newJob(b, Options{})) }

// BenchmarkLineMatchers is with the matchers that setup-go and setup-node add.
func BenchmarkLineMatchers(b *testing.B) {
	j := newJob(b, Options{})
	for _, text := range []string{
		one("go", `{"regexp":"^\\s*(\\.{0,2}[\\/\\\\].+\\.go):(?:(\\d+):(\\d+):)? (.*)$","file":1,"line":2,"column":3,"message":4}`),
		one("tsc", `{"regexp":"^(?:\\s+\\d+\\>)?([^\\s].*)[\\(:](\\d+)[,:](\\d+)(?:\\):\\s+|\\s+-\\s+)(error|warning|info)\\s+TS(\\d+)\\s*:\\s*(.*)$","file":1,"line":2,"column":3,"severity":4,"code":5,"message":6}`),
		one("eslint", `{"regexp":"^([^\\s].*)$","file":1}`, `{"regexp":"^\\s+(\\d+):(\\d+)\\s+(error|warning|info)\\s+(.*)\\s\\s+(.*)$","line":1,"column":2,"severity":3,"message":4,"code":5,"loop":true}`),
	} {
		list, err := parseMatchers([]byte(text))
		if err != nil {
			b.Fatal(err)
		}
		j.add(list)
	}
	benchmarkLine(b, j)
}

// BenchmarkStep is what listening to a step that says nothing costs.
func BenchmarkStep(b *testing.B) {
	j := newJob(b, Options{})
	b.ReportAllocs()
	for b.Loop() {
		l, err := j.Listen(ListenOptions{})
		if err != nil {
			b.Fatal(err)
		}
		l.Env()
		if _, err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
