package task

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/depot"
)

// maxReport is how large a report may be that is read for its failures.
const maxReport = 64 << 20

// publishTests looks for reports and fails for the tests that did, when it is
// to. The results themselves are read from the files of every step, declared
// or not.
func publishTests(ctx context.Context, c *call) error {
	dir := c.path(c.input("searchFolder"))
	patterns := c.lines("testResultsFiles")
	if len(patterns) == 0 {
		patterns = []string{"**/TEST-*.xml"}
	}
	list, err := c.find(dir, patterns, depot.Search{})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		if c.flag("failTaskOnMissingResultsFile", false) {
			return failf("PublishTestResults: no report matches %s", strings.Join(patterns, ", "))
		}
		c.warn("no test report matches %s", strings.Join(patterns, ", "))
		return nil
	}
	failed := 0
	for _, f := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		total, bad, err := countFailures(f.Path)
		if err != nil {
			c.warn("the report %s cannot be read: %v", filepath.Base(f.Path), err)
			if c.flag("failTaskOnFailureToPublishResults", false) {
				return failf("PublishTestResults: the report %s cannot be read", f.Path)
			}
			continue
		}
		failed += bad
		c.say("Test report %s: %d tests, %d failed", f.Path, total, bad)
	}
	if failed > 0 && c.flag("failTaskOnFailedTests", false) {
		return failf("PublishTestResults: %d tests failed", failed)
	}
	return nil
}

// countFailures counts the tests of a report and those that failed, in the
// formats of JUnit, NUnit, xUnit, CTest and Visual Studio.
func countFailures(file string) (total, failed int, err error) {
	in, err := os.Open(file)
	if err != nil {
		return 0, 0, err
	}
	defer in.Close()
	d := xml.NewDecoder(io.LimitReader(in, maxReport))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	inside, bad := false, false
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return total, failed, nil
		}
		if err != nil {
			return total, failed, fmt.Errorf("not XML: %w", err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			switch strings.ToLower(t.Name.Local) {
			case "testcase", "test-case", "unittestresult", "test":
				total++
				inside, bad = true, false
				for _, a := range t.Attr {
					switch strings.ToLower(a.Name.Local) {
					case "result", "outcome", "status":
						bad = bad || strings.EqualFold(a.Value, "failed") || strings.EqualFold(a.Value, "fail")
					}
				}
			case "failure", "error":
				bad = bad || inside
			}
		case xml.EndElement:
			switch strings.ToLower(t.Name.Local) {
			case "testcase", "test-case", "unittestresult", "test":
				if bad {
					failed++
				}
				inside, bad = false, false
			}
		}
	}
}
