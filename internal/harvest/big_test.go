package harvest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// endless is a report that is made while it is read: a beginning, one part
// again and again, an end.
type endless struct {
	begin, end string
	part       func(n int) string
	size       int64 // how much of the parts there is to be
	n          int
	rest       string
	ended      bool
}

func (e *endless) Read(p []byte) (int, error) {
	for e.rest == "" {
		switch {
		case e.n == 0:
			e.rest = e.begin
		case e.size > 0:
			e.rest = e.part(e.n)
			e.size -= int64(len(e.rest))
		case !e.ended:
			e.rest, e.ended = e.end, true
		default:
			return 0, io.EOF
		}
		e.n++
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// reports are large reports of several formats, of a size.
func reports(size int64) map[string]*endless {
	return map[string]*endless{
		"junit": {
			size: size, begin: "<testsuites><testsuite name='s'>", end: "</testsuite></testsuites>",
			part: func(n int) string {
				if n%50 == 0 {
					return fmt.Sprintf("<testcase classname='com.example.Test%d' name='case %d' time='0.001'><failure message='no' type='E'>at com.example.Test(Test.java:12)</failure></testcase>\n", n/100, n)
				}
				return fmt.Sprintf("<testcase classname='com.example.Test%d' name='case %d' time='0.001'><system-out>some output of it</system-out></testcase>\n", n/100, n)
			},
		},
		"junit, one output": {
			size: size, begin: "<testsuite name='s'><testcase name='a'><system-out><![CDATA[", end: "]]></system-out></testcase></testsuite>",
			part: func(int) string { return "a line that a test has printed, and no end of them\n" },
		},
		"go-test": {
			size: size,
			part: func(n int) string {
				name := fmt.Sprintf("TestSomething/case_%d", n)
				end := "pass"
				if n%50 == 0 {
					end = "fail"
				}
				return strings.ReplaceAll(`{"Time":"2026-01-01T00:00:00.000000000Z","Action":"run","Package":"example.com/some/package","Test":"NAME"}
{"Time":"2026-01-01T00:00:00.000000000Z","Action":"output","Package":"example.com/some/package","Test":"NAME","Output":"=== RUN   NAME\n"}
{"Time":"2026-01-01T00:00:00.000000000Z","Action":"output","Package":"example.com/some/package","Test":"NAME","Output":"    x_test.go:12: progress \"42\"\n"}
{"Time":"2026-01-01T00:00:00.000000000Z","Action":"`+end+`","Package":"example.com/some/package","Test":"NAME","Elapsed":0.01}
`, "NAME", name)
			},
		},
		"playwright": {
			size: size, begin: `{"config":{},"suites":[{"title":"a","file":"a","specs":[]}`, end: `]}`,
			part: func(n int) string {
				return fmt.Sprintf(`,{"title":"f%d.spec.ts","file":"f%d.spec.ts","specs":[{"title":"works","tests":[{"projectName":"chromium","expectedStatus":"passed","results":[{"status":"passed","duration":12}]}]}]}`, n, n)
			},
		},
		"tap": {
			size: size, begin: "TAP version 13\n", end: "",
			part: func(n int) string { return fmt.Sprintf("ok %d - does thing %d\n", n, n) },
		},
		"trx": {
			size: size, begin: `<TestRun xmlns="http://microsoft.com/schemas/VisualStudio/TeamTest/2010"><Results>`, end: "</Results></TestRun>",
			part: func(n int) string {
				return fmt.Sprintf(`<UnitTestResult testId="%d" testName="Example.Test%d.Case" duration="00:00:00.001" outcome="Passed"><Output><StdOut>some output of it</StdOut></Output></UnitTestResult>`, n, n)
			},
		},
	}
}

// TestConstantMemory reads reports of a gigabyte, or of a few megabytes where
// nobody asks for more (FAIRLEAD_BIG=1), and looks at the memory that is held while
// it does. TRX holds results back, up to a limit.
func TestConstantMemory(t *testing.T) {
	const most = 48 << 20
	size := int64(4 << 20)
	if os.Getenv("FAIRLEAD_BIG") != "" {
		size = 1 << 30
	}
	for name, r := range reports(size) {
		if strings.HasPrefix(name, "trx") {
			continue
		}
		var results int
		var peak uint64
		began := time.Now()
		report, err := Read(r, "r", func(record.TestResult) error {
			if results++; results%100_000 == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
			return nil
		})
		took := time.Since(began)
		if err != nil || len(report.Salvaged) > 0 || results == 0 {
			t.Errorf("%s: %d results, %v, %v", name, results, report.Salvaged, err)
		}
		if peak > most {
			t.Errorf("%s: %d MB were held", name, peak>>20)
		}
		t.Logf("%s: %d results of %d MB in %v (%.0f a second), at most %d MB held", name, results, size>>20, took.Round(time.Millisecond), float64(results)/took.Seconds(), peak>>20)
	}
}

func BenchmarkRead(b *testing.B) {
	for name, r := range reports(8 << 20) {
		data, err := io.ReadAll(r)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			results := 0
			for b.Loop() {
				if _, err := Read(bytes.NewReader(data), "r", func(record.TestResult) error { results++; return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(results)/b.Elapsed().Seconds(), "results/s")
		})
	}
}
