package record

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// TestsReported sums up the test results that a step left behind.
type TestsReported struct {
	Source  string       `json:"source"`           // "go test -json", or the report's path
	Format  string       `json:"format,omitempty"` // as package harvest names it: "junit", "trx", "tap"
	Passed  int          `json:"passed"`
	Failed  int          `json:"failed"`
	Skipped int          `json:"skipped"`
	Flaky   int          `json:"flaky,omitempty"` // of the passed: at a later attempt
	Muted   int          `json:"muted,omitempty"` // of the failed: quarantined, they do not gate
	Seconds float64      `json:"seconds,omitempty"`
	Bad     []TestResult `json:"bad,omitempty"`    // the failed ones, the first hundred
	Unread  string       `json:"unread,omitempty"` // why the report could not be read
	// Salvaged says, with lines, what was wrong with a report that was read
	// all the same: "line 12: the file ends in the middle of a test".
	Salvaged []string `json:"salvaged,omitempty"`
	// Results is the digest of the blob that holds every result, as package
	// harvest keeps them; "" when only the counts are known.
	Results string `json:"results,omitempty"`
	// Variant is what of the job tells its environments apart: "windows, node 22".
	Variant string `json:"variant,omitempty"`
	// Reused says that the step was reused: no test was run.
	Reused bool `json:"reused,omitempty"`
	// Cached are the suites of which the runner told what it remembered: their tests were
	// not run. At most ten thousand.
	Cached []string `json:"cached,omitempty"`
	// Commit and Branch are of a report that was handed in and not found in a
	// step: whose code the tests were run on.
	Commit string `json:"commit,omitempty"`
	Branch string `json:"branch,omitempty"`
}

// Mute names a test in quarantine: until then its failures do not count.
type Mute struct {
	Key     string    `json:"key"`
	Variant string    `json:"variant,omitempty"`
	Until   time.Time `json:"until"`
}

// TestResult is how one attempt at one test ended.
type TestResult struct {
	Suite   string   `json:"suite,omitempty"`  // the outermost: package, file or class, as the report has it
	Groups  []string `json:"groups,omitempty"` // what it is in below Suite, outermost first: describe blocks, classes, parent tests
	Name    string   `json:"name"`
	Params  string   `json:"params,omitempty"`  // what tells the cases of one parametrised test apart
	Status  string   `json:"status"`            // one of the words below
	Attempt int      `json:"attempt,omitempty"` // from 1; 0 for one that was the first when it was told, and mostly the only one
	Seconds float64  `json:"seconds,omitempty"`
	Message string   `json:"message,omitempty"`
	Type    string   `json:"type,omitempty"` // of what was thrown
	Stack   string   `json:"stack,omitempty"`
	Output  string   `json:"output,omitempty"`
	File    string   `json:"file,omitempty"`
	Line    int      `json:"line,omitempty"` // from 1
	Owner   string   `json:"owner,omitempty"`
	Tags    []string `json:"tags,omitempty"`
	// Attachments are files beside the report that belong to the result.
	Attachments []string `json:"attachments,omitempty"`
}

// How a test ended.
const (
	TestPassed  = "passed"
	TestFailed  = "failed"
	TestError   = "error"   // it did not come to its end
	TestSkipped = "skipped" // also when it is said to be still to do
	TestXFail   = "xfail"   // it failed, as its author expects
	TestXPass   = "xpass"   // it passed, against its author's expectation; not a failure unless the report says so
)

// Key is the test's identity in its project: made of the names of what the
// test is in and its own, so that it is the same for another line, other
// parameters, another machine. A test whose suite is a file has another Key
// when the file moves: package suite then finds the one that it was. 16
// hexadecimal digits.
func (r *TestResult) Key() string {
	h := sha256.New()
	for _, part := range append([]string{r.Suite}, r.Groups...) {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	h.Write([]byte(r.Name))
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Title is the test's full name, for people.
func (r *TestResult) Title() string {
	parts := make([]string, 0, len(r.Groups)+2)
	if r.Suite != "" {
		parts = append(parts, r.Suite)
	}
	return strings.Join(append(append(parts, r.Groups...), r.Name), " › ")
}

// TestJudged says that a test's state has changed, by what was learned or by a
// person.
type TestJudged struct {
	Repository string    `json:"repository"`
	Key        string    `json:"key"`
	Variant    string    `json:"variant,omitempty"`
	Title      string    `json:"title"`
	From       TestState `json:"from"`
	To         TestState `json:"to"`
	Why        string    `json:"why"`
	Evidence   []string  `json:"evidence,omitempty"` // runs, and what they showed
	Owner      string    `json:"owner,omitempty"`
	Until      time.Time `json:"until,omitzero"` // when a quarantine lapses
	By         string    `json:"by,omitempty"`   // the person; "" for Fairlead itself
}

// TestState is what is thought of a test.
type TestState string

// The states of a test. A quarantined test still runs; its failures do not
// count.
const (
	TestHealthy     TestState = "healthy"
	TestSuspected   TestState = "suspected"
	TestQuarantined TestState = "quarantined"
	TestBroken      TestState = "broken"
)

// CoverageReported sums up what a report says of the lines that tests ran.
type CoverageReported struct {
	Source  string `json:"source"`
	Format  string `json:"format,omitempty"`
	Flag    string `json:"flag,omitempty"` // what part of the tests it is of, as the team names it
	Files   int    `json:"files"`
	Hit     int    `json:"hit"`     // lines
	Partial int    `json:"partial"` // lines of which not every branch was taken
	Miss    int    `json:"miss"`
	// Report is the digest of the blob that holds every line, as package
	// coverage keeps it.
	Report   string   `json:"report,omitempty"`
	Salvaged []string `json:"salvaged,omitempty"`
	Unread   string   `json:"unread,omitempty"`
	Commit   string   `json:"commit,omitempty"`
	Branch   string   `json:"branch,omitempty"`
}

// LoadReported sums up a load test.
type LoadReported struct {
	Source   string  `json:"source"`
	Format   string  `json:"format,omitempty"`
	Requests int64   `json:"requests"`
	Failed   int64   `json:"failed"`
	Rate     float64 `json:"rate,omitempty"` // requests a second
	// Latency is in seconds, by what it is: "mean", "p50", "p95", "max".
	Latency    map[string]float64 `json:"latency,omitempty"`
	Thresholds []Threshold        `json:"thresholds,omitempty"`
	Salvaged   []string           `json:"salvaged,omitempty"`
	Unread     string             `json:"unread,omitempty"`
	Commit     string             `json:"commit,omitempty"`
	Branch     string             `json:"branch,omitempty"`
}

// Threshold is what a load test was to keep to.
type Threshold struct {
	Name string `json:"name"`
	Kept bool   `json:"kept"`
}

// FindingsReported sums up what a checker found.
type FindingsReported struct {
	Source   string         `json:"source"`
	Format   string         `json:"format,omitempty"`
	Tool     string         `json:"tool,omitempty"`
	Levels   map[string]int `json:"levels,omitempty"`   // how many of each
	Findings []Finding      `json:"findings,omitempty"` // the first hundred, the gravest first
	Salvaged []string       `json:"salvaged,omitempty"`
	Unread   string         `json:"unread,omitempty"`
	Commit   string         `json:"commit,omitempty"`
	Branch   string         `json:"branch,omitempty"`
}

// Finding is something that a checker has to say about the code.
type Finding struct {
	Rule        string `json:"rule"`
	Level       string `json:"level"` // error, warning, note
	Message     string `json:"message"`
	File        string `json:"file,omitempty"`
	Line        int    `json:"line,omitempty"` // from 1
	Fingerprint string `json:"fingerprint,omitempty"`
	URL         string `json:"url,omitempty"` // of the rule's explanation
}

func (*TestsReported) kind() Kind    { return "tests.reported" }
func (*TestJudged) kind() Kind       { return "test.judged" }
func (*CoverageReported) kind() Kind { return "coverage.reported" }
func (*LoadReported) kind() Kind     { return "load.reported" }
func (*FindingsReported) kind() Kind { return "findings.reported" }
