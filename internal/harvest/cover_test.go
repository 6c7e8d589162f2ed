package harvest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/coverage"
)

// states is a report in a form that is easily read: "a.c: 1+ 2- 3~(1/2)".
func states(r *coverage.Report) string {
	var b strings.Builder
	for _, f := range r.Files() {
		fmt.Fprintf(&b, "%s:", f.Path)
		for _, l := range f.Lines {
			fmt.Fprintf(&b, " %d%s", l.Number, map[coverage.State]string{coverage.Hit: "+", coverage.Partial: "~", coverage.Miss: "-"}[l.State])
			if l.Hits > 1 {
				fmt.Fprintf(&b, "%d", l.Hits)
			}
			if l.Branches > 0 {
				fmt.Fprintf(&b, "(%d/%d)", l.Taken, l.Branches)
			}
		}
		b.WriteString("\n")
	}
	return strings.TrimSpace(b.String())
}

func TestCover(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, format, in, want string }{
		{"go: blocks that meet on a line, repeated blocks, closing brackets", "go-cover", `mode: count
example.org/a/a.go:3.10,5.16 2 4
example.org/a/a.go:5.16,7.3 1 0
example.org/a/a.go:8.2,8.12 1 4
example.org/a/a.go:10.14,12.2 1 0
example.org/a/a.go:10.14,12.2 1 1
`, "example.org/a/a.go: 3+4 4+4 5~4 6- 7- 8+4 10+ 11+"},
		{"go: without a mode, as merged by hand", "go-cover", "a.go:1.1,1.9 1 1\n", "a.go: 1+"},
		{"lcov: branches, lines known by branches alone, windows' ends", "lcov", "TN:\r\nSF:src/a.c\r\nFN:1,main\r\nFNDA:1,main\r\nDA:1,1\r\nDA:2,0,abc=\r\nDA:3,7\r\nBRDA:3,0,0,7\r\nBRDA:3,0,1,-\r\nBRDA:4,0,x == 1, y,1\r\nLF:3\r\nend_of_record\r\n",
			"src/a.c: 1+ 2- 3~7(1/2) 4+(1/1)"},
		{"lcov: the same file twice, the better holds", "lcov", "SF:a.c\nDA:1,0\nDA:2,3\nend_of_record\nSF:./a.c\nDA:1,2\nDA:2,0\nDA:9,0\nend_of_record\n", "a.c: 1+2 2+3 9-"},
		{"lcov: without the end of a record between files", "lcov", "SF:a.c\nDA:1,1\nSF:b.c\nDA:1,0\nend_of_record\n", "a.c: 1+\nb.c: 1-"},
		{"cobertura: partial lines, a source, several classes in a file", "cobertura", `<?xml version="1.0" ?><!DOCTYPE coverage SYSTEM "x"><coverage line-rate="0.5"><sources><source>/src/app</source></sources><packages><package name="p"><classes>
<class filename="a.py"><methods><method name="m"><lines><line number="9" hits="1"/></lines></method></methods><lines><line number="1" hits="3"/><line number="2" hits="1" branch="true" condition-coverage="50% (1/2)"/></lines></class>
<class filename="a.py"><methods/><lines><line number="3" hits="0" branch="true" condition-coverage="0% (0/2)"/><line number="1" hits="0"/></lines></class></classes></package></packages></coverage>`,
			"/src/app/a.py: 1+3 2~(1/2) 3-(0/2)"},
		{"cobertura: conditions without a sum, lines of methods alone", "cobertura", `<coverage branch-rate="1"><packages><class filename="/x/b.cs"><methods><method><lines><line number="4" hits="2" branch="True"><conditions><condition number="1" type="jump" coverage="50%"/><condition number="2" type="jump" coverage="100%"/></conditions></line></lines></method></methods></class></packages></coverage>`,
			"/x/b.cs: 4~2(3/4)"},
		{"jacoco: instructions and branches", "jacoco", `<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE report PUBLIC "-//JACOCO//DTD Report 1.1//EN" "report.dtd"><report name="x"><package name="org/a"><class name="org/a/A"/><sourcefile name="A.java"><line nr="3" mi="0" ci="3" mb="0" cb="0"/><line nr="4" mi="2" ci="3" mb="1" cb="1"/><line nr="5" mi="4" ci="0" mb="2" cb="0"/><line nr="6" mi="1" ci="1" mb="0" cb="0"/></sourcefile></package></report>`,
			"org/a/A.java: 3+ 4~(1/2) 5-(0/2) 6~"},
		{"clover: conditions as OpenClover counts them", "clover", `<coverage generated="1" clover="4.1"><project><package name="org.a"><file name="A.java"><line num="1" count="2" type="method"/><line num="2" count="2" type="stmt"/><line num="3" truecount="2" falsecount="0" type="cond"/><line num="4" truecount="0" falsecount="0" type="cond"/></file></package></project></coverage>`,
			"org/a/A.java: 2+2 3~2(1/2) 4-(0/2)"},
		{"clover: conditions as Istanbul counts them", "clover", `<coverage generated="1" clover="3.2.0"><project><file name="a.js" path="/w/a.js"><line num="3" count="7" type="cond" truecount="3" falsecount="1"/><line num="4" count="7" type="stmt"/></file></project></coverage>`,
			"/w/a.js: 3~7(3/4) 4+7"},
		{"opencover: statements of several lines, hidden ones", "opencover", `<CoverageSession><Modules><Module skippedDueTo="Filter"><Files><File uid="9" fullPath="z.cs"/></Files><SequencePoint vc="1" sl="1" el="1" fileid="9"/></Module><Module><Files><File uid="1" fullPath="C:\src\a.cs"/></Files><Classes><Class><Methods><Method><FileRef uid="1"/><SequencePoints><SequencePoint vc="2" sl="5" el="6" bec="2" bev="1" fileid="1"/><SequencePoint vc="0" sl="8" el="8"/><SequencePoint vc="0" sl="16707566" el="16707566"/></SequencePoints></Method></Methods></Class></Classes></Module></Modules></CoverageSession>`,
			"C:/src/a.cs: 5~2(1/2) 6~2 8-"},
		{"dotcover", "dotcover", `<Root ReportType="DetailedXml" DotCoverVersion="2023.3"><FileIndices><File Index="1" Name="C:\a.cs"/></FileIndices><Statement FileIndex="1" Line="2" EndLine="3" Covered="True"/><Statement FileIndex="1" Line="4" EndLine="4" Covered="False"/></Root>`,
			"C:/a.cs: 2+ 3+ 4-"},
		{"vs: files are named after their ranges", "vs", `<results><modules><module><functions><function><ranges><range source_id="0" covered="yes" start_line="1" end_line="1"/><range source_id="0" covered="partial" start_line="2" end_line="2"/><range source_id="0" covered="no" start_line="3" end_line="4"/></ranges></function></functions><source_files><source_file id="0" path="a.cs"/></source_files></module></modules></results>`,
			"a.cs: 1+ 2~ 3- 4-"},
		{"vs: its older form", "vs", `<CoverageDSPriv><Module><Class><Method><Lines><LnStart>1</LnStart><LnEnd>2</LnEnd><Coverage>0</Coverage><SourceFileID>1</SourceFileID></Lines><Lines><LnStart>3</LnStart><LnEnd>3</LnEnd><Coverage>2</Coverage><SourceFileID>1</SourceFileID></Lines></Method></Class></Module><SourceFileNames><SourceFileID>1</SourceFileID><SourceFileName>c:\a.vb</SourceFileName></SourceFileNames></CoverageDSPriv>`,
			"c:/a.vb: 1+ 2+ 3-"},
		{"cobertura: statements of Scala, a source that is no path", "cobertura", `<coverage line-rate="1"><sources><source>not a path</source></sources><packages><class filename="a.scala"><methods><statements><statement source="a.scala" line="1" invocation-count="0"/><statement line="2" invocation-count="3"/></statements></methods></class></packages></coverage>`,
			"a.scala: 1- 2+3"},
		{"gcov: what is left out, exceptions", "gcov", "        -:    0:Source:a.cc\n    #####:    1:a(); // LCOV_EXCL_LINE\n        1:    2:b(); // GCOVR_EXCL_START\n    #####:    3:c();\nbranch  0 taken 0\n        1:    4:d(); // GCOVR_EXCL_STOP\n        1:    5:e();\nbranch  0 taken 1 (fallthrough)\nbranch  1 taken 0 (throw)\n", "a.cc: 5+(1/1)"},
		{"lcov: exceptions", "lcov", "SF:a.cc\nDA:1,1\nBRDA:1,0,0,1\nBRDA:1,e0,1,-\nend_of_record\n", "a.cc: 1+(1/1)"},
		{"scoverage: attributes", "scoverage", `<scoverage><packages><class name="A" filename="A.scala"><statements><statement source="A.scala" line="3" branch="true" invocation-count="1"/><statement source="A.scala" line="3" branch="true" invocation-count="0"/><statement source="A.scala" line="4" branch="false" invocation-count="0"/><statement source="A.scala" line="5" ignored="true" invocation-count="0"/></statements></class></packages></scoverage>`,
			"A.scala: 3~(1/2) 4-"},
		{"scoverage: elements", "scoverage", `<statements><statement><source>B.scala</source><line>1</line><branch>false</branch><count>5</count></statement></statements>`, "B.scala: 1+5"},
		{"mono", "mono", `<coverage version="0.3"><assembly name="T"/><method filename="C:\t.cs"><statement line="3" counter="4"/><statement line="4" counter="0"/></method></coverage>`, "C:/t.cs: 3+4 4-"},
		{"istanbul: an else that is not written, skipped code", "istanbul", `{"/w/a.js":{"path":"/w/a.js","statementMap":{"0":{"start":{"line":1,"column":0},"end":{"line":1,"column":9}},"1":{"start":{"line":2},"end":{"line":2},"skip":true}},"fnMap":{"0":{"name":"f","decl":{},"loc":{"start":{"line":4,"column":2},"end":{"line":5,"column":null}}}},"branchMap":{"0":{"loc":{"start":{"line":1},"end":{"line":1}},"type":"if","locations":[{"start":{"line":1},"end":{"line":1}},{"start":{},"end":{}}]}},"s":{"0":2,"1":0},"f":{"0":0},"b":{"0":[2,0]}}}`,
			"/w/a.js: 1~2(1/2) 4-"},
		{"coverage.py: jumps", "coverage-py", `{"meta":{"format":3,"version":"7.6","branch_coverage":true},"files":{"a.py":{"executed_lines":[1,2],"missing_lines":[3],"excluded_lines":[9],"executed_branches":[[2,4]],"missing_branches":[[2,-1]],"summary":{}}},"totals":{}}`,
			"a.py: 1+ 2~(1/2) 3-"},
		{"coverage.py: without branches", "coverage-py", `{"meta":{"version":"5.0","timestamp":"x","branch_coverage":false,"show_contexts":false},"files":{"a.py":{"executed_lines":[1],"summary":{},"missing_lines":[]}}}`, "a.py: 1+"},
		{"llvm: regions within a line, lines between segments", "llvm", `{"data":[{"files":[{"branches":[[2,5,2,9,3,0,0,0,4]],"expansions":[],"filename":"/a.rs","segments":[[1,1,4,true,true,false],[2,8,0,true,true,false],[3,2,4,true,false,false],[6,2,0,false,false,false]],"summary":{}}]}],"type":"llvm.coverage.json.export","version":"2.0.1"}`,
			"/a.rs: 1+4 2~4(1/2) 3- 4+4 5+4 6+4"},
		{"gcov json", "gcov-json", `{"format_version":"1","gcc_version":"9.1","files":[{"file":"a.c","lines":[{"line_number":1,"count":2,"unexecuted_block":true,"branches":[]},{"line_number":2,"count":2,"branches":[{"count":2},{"count":0}]},{"line_number":3,"count":0}]}]}`,
			"a.c: 1~2 2~2(1/2) 3-"},
		{"gcovr json", "gcov-json", `{"gcovr/format_version":"0.5","files":[{"file":"a.c","lines":[{"line_number":1,"count":1,"gcovr/noncode":true},{"line_number":2,"count":0,"branches":[]}]}]}`, "a.c: 2-"},
		{"coveralls", "coveralls", `{"service_name":"x","source_files":[{"name":"a.c","coverage":[null,1,0],"branches":[2,0,0,1,2,0,1,0]}]}`, "a.c: 2~(1/2) 3-"},
		{"simplecov: suites, lines, branches, what is ignored", "simplecov", `{"RSpec":{"coverage":{"/a.rb":{"lines":[1,null,0,"ignored"],"branches":{"[:if, 0, 1, 4, 14, 7]":{"[:then, 1, 2, 6, 2, 11]":1,"[:else, 2, 1, 4, 3, 7]":0}}}},"timestamp":1},"Minitest":{"coverage":{"/a.rb":[0,null,2]}}}`, "/a.rb: 1~(1/2) 3+2"},
		{"simplecov: its JSON formatter", "simplecov", `{"meta":{"simplecov_version":"0.22"},"coverage":{"/a.rb":{"lines":[null,1,0]}},"groups":{}}`, "/a.rb: 2+ 3-"},
		{"codecov's own", "simplecov", `{"coverage":{"a.go":[null,1,0],"b.go":{"1":1,"2":"1/2","3":null}}}`, "a.go: 1+ 2-\nb.go: 1+ 2~(1/2)"},
		{"gcov: branches, blocks, exceptions", "gcov", "        -:    0:Source:a.c\n        -:    0:Runs:1\n        2:    1:int f()\nbranch  0 taken 2 (fallthrough)\nbranch  1 taken 0\nfunction f called 2 returned 100% blocks executed 75%\n       1*:    2:  g();\n    #####:    3:  h();\n    =====:    4:  i();\n     1.2k:    5:  j();\nbranch  0 never executed\n", "a.c: 1~2(1/2) 2~ 3- 4- 5~1200(0/1)"},
		{"luacov", "luacov", strings.Repeat("=", 30) + "\n./a.lua\n" + strings.Repeat("=", 30) + "\n  1 local x\n    5 + 1\n**0 y()\n\n" + strings.Repeat("=", 30) + "\nSummary\n" + strings.Repeat("=", 30) + "\n\n  1 a\n", "a.lua: 1+ 3-"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			report, sum, err := Cover(strings.NewReader(test.in), "x")
			if err != nil {
				t.Fatal(err)
			}
			if sum.Format != test.format || len(sum.Salvaged) > 0 {
				t.Errorf("read as %s, with %q", sum.Format, sum.Salvaged)
			}
			if got := states(report); got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
			if named := IsCoverage([]byte(test.in), "x"); named != test.format {
				t.Errorf("its beginning is taken for %q", named)
			}
			// With a byte order mark it is the same report.
			marked, _, err := Cover(strings.NewReader("\ufeff"+test.in), "x")
			if err != nil || states(marked) != test.want {
				t.Errorf("with a byte order mark: %v", err)
			}
		})
	}
}

func TestCoverSalvages(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, in, want, salvaged, unread string }{
		{"lcov cut off", "SF:a.c\nDA:1,1\nDA:2,0\n", "a.c: 1+ 2-", "line 3: it ends in the middle of a record", ""},
		{"lcov with nonsense", "SF:a.c\nDA:x,1\nDA:1,undefined\nDA:2,-5\nBRDA:1,2\nDA:3,1\nend_of_record\n", "a.c: 2- 3+", "line 2: it is no count", ""},
		{"go with nonsense", "mode: set\na.go:1.1,2.9 1 1\na.go:nonsense\na.go:9.1,3.2 1 1\n", "a.go: 1+ 2+", `line 3: it is no block: "a.go:nonsense"`, ""},
		{"xml cut off", `<coverage line-rate="1"><packages><class filename="a.py"><lines><line number="1" hits="1"/><line num`, "a.py: 1+", "line 1: the file ends in the middle of <lines>", ""},
		{"xml with an end too many", `<coverage line-rate="1"></x><packages><class filename="a.py"><lines><line number="1" hits="1"/></lines></class></packages></coverage>`, "a.py: 1+", "line 1: </x> ends nothing", ""},
		{"json cut off", "{\"a.js\":{\"statementMap\":{\"0\":{\"start\":{\"line\":1}}},\"s\":{\"0\":1}},\n\"b.js\":{\"statem", "a.js: 1+", "line 2: it ends in the middle; what comes after was not read", ""},
		{"json of another shape", `{"a.js":{"statementMap":{"0":{"start":{"line":1}}},"s":{"0":1},"b":7,"branchMap":{}}}`, "a.js: 1+", "line 1: a.js: b is a number", ""},
		{"a statement of a million lines", `<CoverageSession><Module><File uid="1" fullPath="a.cs"/><SequencePoint vc="1" sl="1" el="999999" fileid="1"/><SequencePoint vc="1" sl="3" el="3" fileid="1"/></Module></CoverageSession>`, "a.cs: 3+", "line 1: a statement from line 1 to 999999 is no statement", ""},
		{"lines of no file", `<CoverageSession><Module><SequencePoint vc="1" sl="1" el="1" fileid="7"/></Module></CoverageSession>`, "", `the report has lines of a file "7"`, ""},
		{"empty", "", "", "", "it is empty"},
		{"something else", "hello\n", "", "", "it is no coverage report that is known here"},
		{"a report of tests", `<testsuites><testsuite/></testsuites>`, "", "", "it is no coverage report that is known here"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			report, sum, err := Cover(strings.NewReader(test.in), "reports/x")
			if test.unread != "" {
				if err == nil || !strings.Contains(err.Error(), test.unread) || sum.Unread != err.Error() {
					t.Fatalf("error is %v, Unread %q", err, sum.Unread)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := states(report); got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
			if !strings.Contains(strings.Join(sum.Salvaged, "\n"), test.salvaged) {
				t.Errorf("salvaged %q, want %q", sum.Salvaged, test.salvaged)
			}
		})
	}
}

func TestCoverTellsWhenReadingFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is gone")
	r := io.MultiReader(strings.NewReader("SF:a.c\nDA:1,1\nend_of_record\n"+strings.Repeat("x\n", 100_000)), &failing{broken})
	_, sum, err := Cover(r, "x")
	if err != nil || !strings.Contains(strings.Join(sum.Salvaged, "\n"), broken.Error()) {
		t.Errorf("Cover = %q, %v; want the reader's error to be told", sum.Salvaged, err)
	}
	if _, _, err := Cover(&failing{broken}, "x"); !errors.Is(err, broken) {
		t.Errorf("error is %v, want the reader's", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

// measuredCorpus is where real reports of coverage, load and findings are.
func measuredCorpus(t *testing.T) string {
	root := cmp.Or(os.Getenv("FAIRLEAD_CORPUS"), "../../../shared/corpus")
	dir := filepath.Join(root, "testreports")
	if _, err := os.Stat(filepath.Join(dir, "index.tsv")); err != nil {
		t.Skipf("no corpus of reports in %s (set FAIRLEAD_CORPUS)", root)
	}
	return dir
}

// measuredFiles are the files of the folders of a corpus that match a pattern.
func measuredFiles(t *testing.T, pattern string) (files []string) {
	dir := measuredCorpus(t)
	all, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(f string) bool { return strings.HasSuffix(f, ".oracle.json") })
}

// notCoverage are files of the corpus's folders of coverage that are none, or
// that hold nothing, each with the reason.
var notCoverage = map[string]string{
	"coverage-model__parser_pit_mutation.xml":                         "mutation tests: they say which changes tests would notice, not which lines they ran",
	"coverage-model__parser_pit_mutation-with-blocks-and-indexes.xml": "mutation tests",
	"coverage-model__parser_stryker_mutation-report.json":             "mutation tests",
	"ReportGenerator__src_Testprojects_DynamicCodeCoverage.ps1":       "a script that calls a coverage tool",
	"ReportGenerator__src_Testprojects_JaCoCo_Ant.xml":                "a build file that calls one",
	"coverage-reporter__fixtures_clover_clover.xml":                   "0 bytes",
	"coverage-reporter__fixtures_lcov_empty.lcov":                     "0 bytes",
	"coverage-reporter__fixtures_cobertura_cobertura-coverage.xml":    "one end of line",
}

// coverOracles are results of other tools for files of the corpus: lines that
// are covered, wholly or in part, and lines that are not. By: who says so.
// Where Fairlead differs, own is its answer, and why the reason.
var coverOracles = []struct {
	file            string
	covered, missed int
	by              string
	own             [2]int
	why             string
}{
	// What the expectations in the tests of Jenkins' coverage model say.
	{file: "clover.xml", covered: 143, missed: 22, by: "jenkins"},
	{file: "clover-java.xml", covered: 1, missed: 16, by: "jenkins"},
	{file: "clover-empty-package.xml", covered: 69, missed: 0, by: "jenkins"},
	{file: "cobertura-merge-a.xml", covered: 22, missed: 0, by: "jenkins"},
	{file: "cobertura-merge-b.xml", covered: 16, missed: 6, by: "jenkins"},
	{file: "cobertura-ts.xml", covered: 63, missed: 93, by: "jenkins"},
	{file: "cobertura-npe.xml", covered: 44, missed: 9, by: "jenkins"},
	{file: "cobertura-absolute-path.xml", covered: 12, missed: 0, by: "jenkins"},
	{file: "cobertura-python.xml", covered: 19, missed: 0, by: "jenkins"},
	{file: "cobertura.xml", covered: 62, missed: 20, by: "jenkins", own: [2]int{63, 19},
		why: "a line that was run and took neither branch (hits=1, 0/2) is partial here; the report itself counts 63 of 82 lines as covered"},
	{file: "opencover-reporttotestsourcefiles.xml", covered: 9, missed: 6, by: "jenkins"},
	// What the report itself claims.
	{file: "c_-cobertura.xml", covered: 289, missed: 113, by: "itself"},
	{file: "coverage-missing-sources.xml", covered: 27, missed: 2, by: "itself"},
	{file: "cobertura-small.xml", covered: 8, missed: 0, by: "itself"},
	{file: "cobertura-ruby.xml", covered: 16, missed: 0, by: "itself"},
	{file: "cobertura-js.xml", covered: 4, missed: 0, by: "itself"},
	{file: "cobertura-conditions.xml", covered: 5, missed: 1, by: "itself"},
	{file: "cobertura-cpp.xml", covered: 4, missed: 0, by: "itself", own: [2]int{2, 0}, why: "two of its four lines were taken out of the file"},
	{file: "Cobertura_Swift.xml", covered: 1, missed: 1, by: "itself"},
	{file: "JaCoCo0.7.7.xml", covered: 26, missed: 12, by: "itself"},
	{file: "JaCoCo0.8.3.xml", covered: 26, missed: 12, by: "itself"},
	{file: "file-subpackage.xml", covered: 497, missed: 35, by: "itself"},
	{file: "jacoco-codingstyle.xml", covered: 294, missed: 29, by: "itself"},
	{file: "jacoco-codingstyle-no-sourcefilename.xml", covered: 294, missed: 29, by: "itself"},
	{file: "jacoco-merge-a.xml", covered: 8, missed: 18, by: "itself"},
	{file: "jacocoTestReport.xml", covered: 225, missed: 0, by: "itself"},
	{file: "pester.xml", covered: 3, missed: 1, by: "itself"},
	{file: "jacoco-report.xml", covered: 5, missed: 1, by: "itself"},
	{file: "jacoco-oneline-report.xml", covered: 5, missed: 1, by: "itself"},
	{file: "jacoco-report-multiple-packages.xml", covered: 5, missed: 1, by: "itself", own: [2]int{10, 2}, why: "the sum at its end is that of one of its two packages"},
	{file: "OpenClover4.3.1.xml", covered: 15, missed: 7, by: "itself"},
	{file: "clover-empty-project-name.xml", covered: 12, missed: 0, by: "itself"},
	{file: "clover-phpcsutils.xml", covered: 79, missed: 0, by: "itself"},
	{file: "octocov__clover_coverage_path.xml", covered: 20, missed: 10, by: "itself"},
	{file: "C__Reports_lcov.info", covered: 17, missed: 2, by: "itself"},
	{file: "fixtures_lcov_test.lcov", covered: 16, missed: 1, by: "itself"},
	{file: "polygonid-flutter-sdk__coverage_lcov.info", covered: 1803, missed: 4973, by: "itself"},
	{file: "luacov_single-file_luacov.report.out", covered: 7, missed: 2, by: "itself"},
	{file: "octocov__lcov_lcov.info", covered: 1147, missed: 55, by: "the same run as SimpleCov wrote it"},
	{file: "octocov__simplecov_.resultset2.json", covered: 1147, missed: 55, by: "the same run as SimpleCov's lcov formatter wrote it"},
	// What Codecov made of it.
	{file: "worker__unit_node_node2.json", covered: 303, missed: 200, by: "codecov"},
}

func TestCoverCorpus(t *testing.T) {
	t.Parallel()
	files := measuredFiles(t, "cov-*/*")
	read, agree, explained, oracles := 0, 0, 0, 0
	for _, file := range files {
		base := filepath.Base(file)
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		report, sum, err := Cover(f, base)
		f.Close()
		if why, none := notCoverage[base]; none {
			if err == nil {
				t.Errorf("%s was read, and is no coverage: %s", base, why)
			}
			read++
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		read++
		if len(report.Files()) != sum.Files {
			t.Errorf("%s: %d files in the sum, %d in the report", base, sum.Files, len(report.Files()))
		}
		var kept bytes.Buffer
		if err := coverage.Encode(&kept, report); err != nil {
			t.Error(err)
		}
		again, err := coverage.Decode(&kept)
		if err != nil || again.Totals() != report.Totals() {
			t.Errorf("%s is not the same when it was kept: %v", base, err)
		}
		for _, o := range coverOracles {
			if base != o.file && !strings.HasSuffix(base, "_"+o.file) || o.file == "cobertura.xml" && strings.HasPrefix(base, "coverage-reporter") {
				continue
			}
			oracles++
			got := [2]int{sum.Hit + sum.Partial, sum.Miss}
			switch want := [2]int{o.covered, o.missed}; {
			case o.why == "" && got == want:
				agree++
			case o.why != "" && got == o.own:
				explained++
			default:
				t.Errorf("%s: covered and missed lines are %v, %s has %v %s", base, got, o.by, want, o.why)
			}
		}
	}
	t.Logf("%d of %d files read; %d of %d agree with another result, %d more differ for a reason", read, len(files), agree, oracles, explained)
	const floor = 38
	if agree < floor || read < len(files) {
		t.Errorf("%d files agree, %d are the floor", agree, floor)
	}
}

// TestCoverCodecov holds files of Istanbul against what Codecov has for each
// of their files.
func TestCoverCodecov(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(measuredCorpus(t), "cov-istanbul")
	oracle, err := os.ReadFile(filepath.Join(dir, "worker__unit_node_node2.json.oracle.json"))
	if err != nil {
		t.Skip(err)
	}
	var want struct {
		Report struct {
			Files map[string][]json.RawMessage
		}
	}
	if err := json.Unmarshal(oracle, &want); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "worker__unit_node_node2.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	report, _, err := Cover(f, "x")
	if err != nil {
		t.Fatal(err)
	}
	agree := 0
	for name, row := range want.Report.Files {
		var n []any
		if err := json.Unmarshal(row[1], &n); err != nil {
			t.Fatal(err)
		}
		file := report.File(coverage.Clean(name))
		if file == nil {
			t.Errorf("%s is missing", name)
			continue
		}
		got := file.Totals()
		if fmt.Sprint(got.Lines(), got.Hit, got.Miss, got.Partial) != fmt.Sprint(n[1:5]...) {
			t.Errorf("%s: %+v, Codecov has %v", name, got, n[1:5])
			continue
		}
		agree++
	}
	t.Logf("%d of %d files agree, line for line", agree, len(want.Report.Files))
	// These hold a report and what is expected, in one file each.
	for _, name := range []string{"inline", "inlinehit", "ifbinary", "ifbinarymb"} {
		text, err := os.ReadFile(filepath.Join(dir, "worker__unit_node_"+name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var unit struct {
			Report json.RawMessage
			Result map[string]map[string][]any
		}
		if err := json.Unmarshal(text, &unit); err != nil {
			t.Fatal(err)
		}
		report, _, err := Cover(bytes.NewReader(unit.Report), name)
		if err != nil {
			t.Fatal(err)
		}
		for file, lines := range unit.Result {
			for number, result := range lines {
				var n int
				if _, err := fmt.Sscan(number, &n); err != nil {
					t.Fatal(err)
				}
				want := coverage.Hit
				switch cov := fmt.Sprint(result[0]); {
				case cov == "0" || strings.HasPrefix(cov, "0/"):
					want = coverage.Miss
				case strings.Contains(cov, "/"):
					taken, all, _ := strings.Cut(cov, "/")
					if taken != all {
						want = coverage.Partial
					}
				}
				if got := report.File(file).Line(n); got.State != want {
					t.Errorf("%s: line %d is %v, Codecov has %v", name, n, got.State, result[0])
				}
			}
		}
	}
}

// repeated is a report that is written again and again, never held whole.
type repeated struct {
	part  []byte
	at    int
	times int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.times == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.part[r.at:])
	if r.at += n; r.at == len(r.part) {
		r.at, r.times = 0, r.times-1
	}
	return n, nil
}

// tracefile is one of lcov with so many files and lines.
func tracefile(files, lines int) []byte {
	var b bytes.Buffer
	for f := range files {
		fmt.Fprintf(&b, "TN:\nSF:/home/ci/work/src/package%d/file%d.c\n", f%40, f)
		for l := 1; l <= lines; l++ {
			fmt.Fprintf(&b, "DA:%d,%d\n", l*2, (f*l)%5)
			if l%8 == 0 {
				fmt.Fprintf(&b, "BRDA:%d,0,0,%d\nBRDA:%d,0,1,-\n", l*2, l%3, l*2)
			}
		}
		b.WriteString("end_of_record\n")
	}
	return b.Bytes()
}

// TestCoverMemory reads a large tracefile, in which test after test says the
// same of the same files. With FAIRLEAD_LARGE it is of 500 MB.
func TestCoverMemory(t *testing.T) {
	size := 20 << 20
	if os.Getenv("FAIRLEAD_LARGE") != "" {
		size = 500 << 20
	}
	part := tracefile(200, 500)
	in := &repeated{part: part, times: size/len(part) + 1}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	report, sum, err := Cover(in, "lcov.info")
	if err != nil || sum.Files != 200 || report.Totals().Lines() != 200*500 || len(sum.Salvaged) > 0 {
		t.Fatalf("%+v, %v", sum, err)
	}
	runtime.ReadMemStats(&after)
	const most = 128 << 20
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > most {
		t.Errorf("%d MB of report took %d MB", size>>20, grown>>20)
	} else {
		t.Logf("%d MB of report, the heap grew by %d MB", size>>20, grown>>20)
	}
}

func BenchmarkCover(b *testing.B) {
	lcov := tracefile(200, 500)
	var gocover, cobertura, jacoco, istanbul bytes.Buffer
	gocover.WriteString("mode: set\n")
	cobertura.WriteString(`<coverage line-rate="1"><packages><package><classes>`)
	jacoco.WriteString(`<report name="x"><package name="org/a">`)
	istanbul.WriteString("{")
	lines := 0
	for f := range 200 {
		fmt.Fprintf(&cobertura, "<class filename=\"src/f%d.py\"><methods/><lines>\n", f)
		fmt.Fprintf(&jacoco, "<sourcefile name=\"F%d.java\">", f)
		maps, counts := []string{}, []string{}
		for l := 1; l <= 500; l++ {
			lines++
			fmt.Fprintf(&gocover, "example.org/app/package%d/f%d.go:%d.10,%d.20 1 %d\n", f%40, f, l, l, l%3)
			fmt.Fprintf(&cobertura, "<line number=\"%d\" hits=\"%d\"/>\n", l, l%3)
			fmt.Fprintf(&jacoco, `<line nr="%d" mi="%d" ci="3" mb="0" cb="0"/>`, l, l%2)
			maps = append(maps, fmt.Sprintf(`"%d":{"start":{"line":%d,"column":2},"end":{"line":%d,"column":20}}`, l, l, l))
			counts = append(counts, fmt.Sprintf(`"%d":%d`, l, l%4))
		}
		cobertura.WriteString("</lines></class>\n")
		jacoco.WriteString("</sourcefile>")
		fmt.Fprintf(&istanbul, `%s"/w/f%d.js":{"path":"/w/f%d.js","statementMap":{%s},"s":{%s},"fnMap":{},"f":{},"branchMap":{},"b":{}}`,
			map[bool]string{true: "", false: ","}[f == 0], f, f, strings.Join(maps, ","), strings.Join(counts, ","))
	}
	cobertura.WriteString("</classes></package></packages></coverage>")
	jacoco.WriteString("</package></report>")
	istanbul.WriteString("}")
	for name, in := range map[string][]byte{"lcov": lcov, "go": gocover.Bytes(), "cobertura": cobertura.Bytes(), "jacoco": jacoco.Bytes(), "istanbul": istanbul.Bytes()} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				if _, sum, err := Cover(bytes.NewReader(in), "x"); err != nil || sum.Hit+sum.Partial+sum.Miss != lines {
					b.Fatal(sum, err)
				}
			}
			b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

func FuzzCover(f *testing.F) {
	for _, seed := range []string{
		"mode: set\na.go:1.1,2.9 1 1\n", "SF:a\nDA:1,1\nBRDA:1,0,0,-\nend_of_record\n",
		`<coverage line-rate="1"><class filename="a"><line number="1" hits="1" condition-coverage="50% (1/2)"/></class></coverage>`,
		`<report name="x"><package name="p"><sourcefile name="A"><line nr="3" mi="0" ci="3" mb="1" cb="1"/></sourcefile></package></report>`,
		`<coverage clover="1"><project><file name="a"><line num="1" type="cond" truecount="1" falsecount="0"/></file></project></coverage>`,
		`<CoverageSession><Module><File uid="1" fullPath="a"/><SequencePoint vc="1" sl="1" el="9" fileid="1"/></Module></CoverageSession>`,
		`<results><modules><module><range source_id="0" covered="yes" start_line="1" end_line="1"/><source_file id="0" path="a"/></module></modules></results>`,
		`<Root DotCoverVersion="1"><FileIndices><File Index="1" Name="a"/></FileIndices><Statement FileIndex="1" Line="2" EndLine="3" Covered="True"/></Root>`,
		`<scoverage><class filename="a"><statement line="1" branch="true" invocation-count="1"/></class></scoverage>`,
		`{"a":{"statementMap":{"0":{"start":{"line":1}}},"s":{"0":1},"branchMap":{"0":{"locations":[{"start":{"line":1}}]}},"b":{"0":[1,0]}}}`,
		`{"meta":{"branch_coverage":true},"files":{"a":{"executed_lines":[1],"missing_branches":[[1,-1]]}}}`,
		`{"data":[{"files":[{"filename":"a","segments":[[1,1,4,true,true,false]],"branches":[]}]}]}`,
		`{"source_files":[{"name":"a","coverage":[1,null],"branches":[1,0,0,1]}]}`,
		`{"S":{"coverage":{"a":{"lines":[1],"branches":{"[:if, 0, 1]":{"x":1}}}}}}`, `{"coverage":{"a":{"1":"1/2"}}}`,
		"        -:    0:Source:a\n        1*:    1:x\nbranch 0 taken 1\n",
		strings.Repeat("=", 30) + "\na\n" + strings.Repeat("=", 30) + "\n  1 x\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		report, sum, err := Cover(bytes.NewReader(in), "x")
		if (err == nil) != (sum.Unread == "") {
			t.Fatalf("error %v, Unread %q", err, sum.Unread)
		}
		for _, file := range report.Files() {
			last := int32(0)
			for _, l := range file.Lines {
				if l.Number <= last || l.State == coverage.None || l.Taken > l.Branches || l.Hits < 0 || l.Number > coverage.MaxLine {
					t.Fatalf("%s: %+v after line %d", file.Path, l, last)
				}
				last = l.Number
			}
			if path.Clean(file.Path) != file.Path {
				t.Fatalf("the path %q is not clean", file.Path)
			}
		}
		if got := report.Totals(); got.Hit != sum.Hit || got.Partial != sum.Partial || got.Miss != sum.Miss {
			t.Fatalf("%+v, but %+v", sum, got)
		}
	})
}
