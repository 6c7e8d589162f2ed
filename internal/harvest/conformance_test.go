package harvest

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// corpusDir is where the corpus of real reports is.
func corpusDir(t *testing.T) string {
	root := cmp.Or(os.Getenv("FAIRLEAD_CORPUS"), "../../../shared/corpus")
	dir := filepath.Join(root, "testreports")
	if _, err := os.Stat(filepath.Join(dir, "index.tsv")); err != nil {
		t.Skipf("no corpus of test reports in %s (set FAIRLEAD_CORPUS)", root)
	}
	return dir
}

// corpusEntry is a report of the corpus, and what another tool made of it.
type corpusEntry struct{ folder, file, oracle string }

// corpusEntries is the reports of tests in the corpus.
func corpusEntries(t *testing.T, dir string) (entries []corpusEntry) {
	f, err := os.Open(filepath.Join(dir, "index.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.LazyQuotes, r.FieldsPerRecord = '\t', true, -1
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		folder, file := row[0], row[1]
		switch {
		case strings.HasPrefix(folder, "cov-"):
		case slices.Contains([]string{"ci-log", "ci-logs", "sarif", "jmeter", "iago", "k6-summary-json", "go-bench"}, folder):
		case strings.HasSuffix(file, ".err"):
		default:
			e := corpusEntry{folder: folder, file: file}
			if len(row) > 7 {
				e.oracle = row[7]
			}
			entries = append(entries, e)
		}
	}
	return entries
}

// verdict is a result as an oracle tells it.
type verdict struct{ name, status string }

// TestCorpus reads the real reports of the corpus. What another tool made of
// one is what we make of it, each test by its name and how it ended, or the
// difference stands in the table of differences with its reason.
func TestCorpus(t *testing.T) {
	t.Parallel()
	dir := corpusDir(t)
	type score struct{ read, agree, known, all int }
	scores := map[string]*score{}
	together := map[string][]record.TestResult{} // by the text of the oracle: some are of several reports
	for _, e := range corpusEntries(t, dir) {
		if e.oracle != "" {
			got, _, _ := readAll(filepath.Join(dir, e.file))
			text := oracleText(t, filepath.Join(dir, e.oracle))
			together[text] = append(together[text], got...)
		}
	}
	for _, e := range corpusEntries(t, dir) {
		s := scores[e.folder]
		if s == nil {
			s = &score{}
			scores[e.folder] = s
		}
		s.all++
		got, report, err := readAll(filepath.Join(dir, e.file))
		base := path.Base(e.file)
		if err != nil {
			if unreadable[base] == "" {
				t.Errorf("%s: %v", e.file, err)
			}
			continue
		}
		if report.Passed < 0 || report.Failed < 0 || report.Skipped < 0 || len(report.Bad) > report.Failed {
			t.Errorf("%s: %+v", e.file, report)
		}
		s.read++
		if e.oracle == "" {
			continue
		}
		s.known++
		oracle := filepath.Join(dir, e.oracle)
		diff := compare(t, oracle, got, report)
		if diff != "" && compare(t, oracle, together[oracleText(t, oracle)], report) == "" {
			diff = ""
		}
		switch {
		case diff == "":
			s.agree++
			if differences[base] != "" {
				t.Errorf("%s agrees with its oracle now: take it out of the table", base)
			}
		case differences[base] != "":
			s.agree++
			t.Logf("%s differs: %s", base, differences[base])
		default:
			t.Errorf("%s (%s): %s", e.file, report.Format, diff)
		}
	}
	var all score
	for _, folder := range slices.Sorted(maps.Keys(scores)) {
		s := scores[folder]
		t.Logf("%-16s %d of %d read, %d of %d as their oracle, or with a reason", folder, s.read, s.all, s.agree, s.known)
		all.read, all.all, all.agree, all.known = all.read+s.read, all.all+s.all, all.agree+s.agree, all.known+s.known
	}
	t.Logf("%d of %d pass: read; %d of %d agree, or differ with a reason", all.read, all.all, all.agree, all.known)
}

func oracleText(t *testing.T, file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func readAll(file string) (results []record.TestResult, report record.TestsReported, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, report, err
	}
	defer f.Close()
	report, err = Read(f, file, func(r record.TestResult) error {
		results = append(results, r)
		return nil
	})
	return results, report, err
}

// compare says how the results differ from those of an oracle; "" when they do
// not.
func compare(t *testing.T, oracle string, got []record.TestResult, report record.TestsReported) string {
	data, err := os.ReadFile(oracle)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(oracle, ".xml") {
		want, _, err := readAll(oracle)
		if err != nil {
			return fmt.Sprintf("the oracle: %v", err)
		}
		return closest(got, renderings(want))
	}
	var o struct {
		Stats *struct {
			Passed  int `json:"tests_succ"`
			Skipped int `json:"tests_skip"`
			Failed  int `json:"tests_fail"`
			Errors  int `json:"tests_error"`
			Runs    int `json:"runs"`
			RPassed int `json:"runs_succ"`
			RSkip   int `json:"runs_skip"`
			RFailed int `json:"runs_fail"`
			RErrors int `json:"runs_error"`
		}
		Annotations []struct {
			Title string
			Raw   string `json:"raw_details"`
		}
		Events []struct {
			Status   int
			TestPath []struct{ Type, Name string }
		}
	}
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	if s := o.Stats; s != nil {
		have := [3]int{report.Passed, report.Failed, report.Skipped}
		want := [3]int{s.RPassed, s.RFailed + s.RErrors, s.RSkip}
		if s.RPassed < 0 || s.RPassed+s.RFailed+s.RErrors+s.RSkip != s.Runs {
			want = [3]int{s.Passed, s.Failed + s.Errors, s.Skipped}
		}
		if have != want {
			return fmt.Sprintf("%v passed, failed, skipped; the oracle has %v", have, want)
		}
		names := map[string]bool{}
		for _, r := range got {
			names[letters(r.Name+r.Params)], names[letters(r.Name)] = true, true
		}
		for _, a := range o.Annotations {
			if !strings.Contains(a.Title, "found") {
				continue
			}
			for name := range strings.SplitSeq(a.Raw, "\n") {
				_, after, ok := strings.Cut(name, " ‑ ")
				if !ok {
					after = name
				}
				if len(names) > 0 && !names[letters(after)] && !endsOne(names, letters(after)) {
					return fmt.Sprintf("the oracle has a test %q", name)
				}
			}
		}
		return ""
	}
	var last, whole []verdict
	for _, e := range o.Events {
		v := verdict{status: []string{failed, passed, skipped}[min(e.Status, 2)]}
		w := v
		for _, p := range e.TestPath {
			switch p.Type {
			case "testcase", "Test", "subtest":
				v.name = letters(p.Name)
				w.name += v.name
			}
		}
		last, whole = append(last, v), append(whole, w)
	}
	return closest(got, [][]verdict{last, whole})
}

// closest compares in each of the ways in which the parts of a name can be put
// together; "" when the two agree in one of them.
func closest(got []record.TestResult, want [][]verdict) (diff string) {
	for _, ours := range renderings(got) {
		for _, theirs := range want {
			d := differ(ours, theirs)
			if d == "" {
				return ""
			}
			diff = cmp.Or(diff, d)
		}
	}
	return diff
}

// renderings is results by their own name, with the groups they are in, with
// everything, and without their parameters.
func renderings(results []record.TestResult) (all [][]verdict) {
	for _, name := range []func(record.TestResult) string{
		func(r record.TestResult) string { return r.Name + r.Params },
		func(r record.TestResult) string { return strings.Join(r.Groups, "") + r.Name + r.Params },
		func(r record.TestResult) string { return r.Suite + strings.Join(r.Groups, "") + r.Name + r.Params },
		func(r record.TestResult) string { return r.Name },
		func(r record.TestResult) string { return strings.Join(r.Groups, "") + r.Name },
		func(r record.TestResult) string { params, _, _ := strings.Cut(r.Params, ": "); return r.Name + params },
	} {
		var list []verdict
		for _, r := range results {
			v := verdict{letters(name(r)), r.Status}
			switch {
			case bad(v.status):
				v.status = failed
			case v.status != skipped:
				v.status = passed
			}
			list = append(list, v)
		}
		all = append(all, list)
	}
	return all
}

// endsOne says whether a name ends with one of the names: an oracle may have
// put the class before it.
func endsOne(names map[string]bool, name string) bool {
	for n := range names {
		if n != "" && strings.HasSuffix(name, n) {
			return true
		}
	}
	return false
}

func differ(got, want []verdict) string {
	count := map[verdict]int{}
	for _, v := range got {
		count[v]++
	}
	for _, v := range want {
		count[v]--
	}
	var said []string
	for v, n := range count {
		switch {
		case n > 0:
			said = append(said, fmt.Sprintf("ours alone: %s %s ×%d", v.name, v.status, n))
		case n < 0:
			said = append(said, fmt.Sprintf("theirs alone: %s %s ×%d", v.name, v.status, -n))
		}
	}
	slices.Sort(said)
	if len(said) > 6 {
		said = append(said[:6], fmt.Sprintf("and %d more", len(said)-6))
	}
	return strings.Join(said, "; ")
}

// letters is a name without the signs that tools put in their own way.
func letters(name string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsLetter(c) || unicode.IsDigit(c) {
			return c
		}
		return -1
	}, name)
}

// unreadable are the reports that hold nothing to read, with the reason.
var unreadable = map[string]string{
	"action-junit-report__tests_email_pom.xml":                       "it is a Maven project and no report",
	"action-junit-report__test_results_tests_pom.xml":                "it is a Maven project and no report",
	"action-junit-report__tests_utils_pom.xml":                       "it is a Maven project and no report",
	"publish-unit-test-result-action__files_junit-xml_non-junit.xml": "its first element is <suites>: it was made to be refused",
	"smart-tests-cli__maven_reports_dummy.xml":                       "its first element is <bogus>: it was made to be refused",
	"test-results-parser__tests_windows.junit.xml":                   "it is the text of one failure, and no XML",
}

// differences are the reports of which we make something else than the oracle
// does, with the reason.
var differences = map[string]string{
	"publish-unit-test-result-action__junit-xml_tst_disabled.xml":              "googletest says of five tests that they did not run: the oracle counts them as passed, we as skipped",
	"publish-unit-test-result-action__files_junit-xml_unsupported-unicode.xml": "the oracle writes signs beyond the basic plane as escapes",
	"publish-unit-test-result-action__nunit3_jenkins_NUnit-issue33493.xml":     "an inconclusive test is passed for the oracle; NUnit itself counts one passed and one inconclusive",
	"publish-unit-test-result-action__mstest_jenkinsci_testcase2.xml":          "the oracle counts what the assembly claims, three tests; one is in the file",
	"publish-unit-test-result-action__mstest_jenkinsci_testcase6.xml":          "the test has no method: the oracle calls it unknown, we by the name that is shown",
	"smart-tests-cli__data_prove_report.xml":                                   "a file of tests ended badly outside of any test: the oracle leaves that out",
	"smart-tests-cli__cucumber_report_result.json":                             "the steps of two scenarios are not defined: skipped for the oracle, an error for us, as for Cucumber itself",
	"smart-tests-cli__data_robot_dryrun.xml":                                   "the oracle is that of output.xml, in which the two tests failed; in the dry run they passed",
	"smart-tests-cli__data_robot_single-output.xml":                            "the oracle is that of output.xml, which has one more suite",
	"smart-tests-cli__data_bazel_build_event.json":                             "the oracle has looked into the test.xml files that the events name; we read those as reports of their own",
	"smart-tests-cli__data_bazel_build_event_rest.json":                        "the oracle has looked into the test.xml files that the events name; we read those as reports of their own",
	"xunit-plugin__nunit_testcase14_input.xml":                                 "five cases of parameters have names of their own: the oracle repeats the class in them",
	"xunit-plugin__valgrind_testcase1_input.xml":                               "the oracle calls the test after the report's file, we after the program",
	"xunit-plugin__valgrind_testcase2_input.xml":                               "the oracle calls the test after the report's file, we after the program",
	"xunit-plugin__valgrind_testcase3_input.xml":                               "the program was ended by SIGABRT: passed for the oracle, an error for us",
	"xunit-plugin__xunitdotnet_testcase5_input.xml":                            "the tests have names of their own: the oracle has those, we have the methods, which stay when a name is put better",
}
