package harvest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// checked is a report with these parts of a run.
func checked(run string) string {
	return `{"$schema":"https://json.schemastore.org/sarif-2.1.0.json","version":"2.1.0","runs":[{` + run + `}]}`
}

func TestFindings(t *testing.T) {
	t.Parallel()
	const tool = `"tool":{"driver":{"name":"Lint","rules":[{"id":"A1","helpUri":"https://example.org/a1","defaultConfiguration":{"level":"error"},"messageStrings":{"m":{"text":"{0} is {1}"}}},{"id":"A2","helpUri":"javascript:alert(1)","shortDescription":{"text":"short"}}]},"extensions":[{"name":"Plug","rules":[{"id":"P1","defaultConfiguration":{"level":"note"}}]}]}`
	for _, test := range []struct {
		name, in string
		levels   map[string]int
		want     []record.Finding
	}{
		{"levels of rules, messages of rules, places", checked(tool + `,"results":[{"ruleId":"A1","message":{"id":"m","arguments":["x","y"]},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"src/a%20b.c"},"region":{"startLine":7}}}],"partialFingerprints":{"z":"2","primaryLocationLineHash":"abc:1"}}]`),
			map[string]int{"error": 1}, []record.Finding{{Rule: "A1", Level: "error", Message: "x is y", File: "src/a b.c", Line: 7, Fingerprint: "abc:1", URL: "https://example.org/a1"}}},
		{"the rules come last", checked(`"results":[{"ruleIndex":1,"message":{}},{"ruleId":"A1","message":{"text":"m"}}],` + tool),
			map[string]int{"error": 1, "warning": 1}, []record.Finding{{Rule: "A1", Level: "error", Message: "m", URL: "https://example.org/a1"}, {Rule: "A2", Level: "warning", Message: "short"}}},
		{"a rule of an extension, a rule's part", checked(tool + `,"results":[{"rule":{"index":0,"toolComponent":{"index":0}},"message":{"text":"m"}},{"ruleId":"A1/sub","message":{"markdown":"*m*"}}]`),
			map[string]int{"error": 1, "note": 1}, []record.Finding{{Rule: "A1/sub", Level: "error", Message: "*m*", URL: "https://example.org/a1"}, {Rule: "P1", Level: "note", Message: "m"}}},
		{"what is no problem, or one that is lived with", checked(`"results":[{"kind":"pass","message":{"text":"m"}},{"level":"none","message":{"text":"m"}},{"message":{"text":"s"},"suppressions":[{"kind":"inSource"}]},{"message":{"text":"r"},"suppressions":[{"kind":"external","status":"rejected"}]},{"baselineState":"absent","message":{"text":"gone"}},{"level":"grave","message":{"text":"w"}}]`),
			map[string]int{"none": 2, "suppressed": 1, "warning": 2}, []record.Finding{{Level: "warning", Message: "r"}, {Level: "warning", Message: "w"}}},
		{"paths", checked(`"originalUriBaseIds":{"SRC":{"uri":"file:///home/ci/w/"},"SUB":{"uri":"sub/","uriBaseId":"SRC"}},"artifacts":[{"location":{"uri":"third.c","uriBaseId":"SUB"}}],"results":[
{"message":{"text":"1"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"a.c","uriBaseId":"SRC"}}}]},
{"message":{"text":"2"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"./a.c","uriBaseId":"%SRCROOT%"}}}]},
{"message":{"text":"3"},"locations":[{"physicalLocation":{"artifactLocation":{"index":0}}}]},
{"message":{"text":"4"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"file:///C:/w/a.c"}}}]},
{"message":{"text":"5"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"file:///w/a.c"}}}]},
{"message":{"text":"6"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"https://example.org/a"}}}]},
{"message":{"text":"7"},"locations":[{"physicalLocation":{"artifactLocation":{"index":99}}}]}]`),
			map[string]int{"warning": 7}, []record.Finding{
				{Level: "warning", Message: "1", File: "a.c"}, {Level: "warning", Message: "2", File: "a.c"}, {Level: "warning", Message: "3", File: "sub/third.c"},
				{Level: "warning", Message: "4", File: "C:/w/a.c"}, {Level: "warning", Message: "5", File: "/w/a.c"}, {Level: "warning", Message: "6", File: "https://example.org/a"}, {Level: "warning", Message: "7"},
			}},
		{"no results", checked(`"tool":{"driver":{"name":"Lint"}}`), map[string]int{}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := Findings(strings.NewReader(test.in), "x.sarif")
			if err != nil || len(got.Salvaged) > 0 {
				t.Fatal(err, got.Salvaged)
			}
			if !maps.Equal(got.Levels, test.levels) {
				t.Errorf("levels are %v, want %v", got.Levels, test.levels)
			}
			if !reflect.DeepEqual(got.Findings, test.want) {
				t.Errorf("got  %+v\nwant %+v", got.Findings, test.want)
			}
			if IsFindings([]byte(test.in), "x") != "sarif" || IsCoverage([]byte(test.in), "x")+IsLoad([]byte(test.in), "x") != "" {
				t.Error("it is taken for something else")
			}
		})
	}
}

func TestFindingsAreTheGravest(t *testing.T) {
	t.Parallel()
	var results []string
	for i := range 500 {
		level := "note"
		if i%5 == 4 {
			level = "error"
		}
		results = append(results, fmt.Sprintf(`{"level":%q,"message":{"text":"%d"}}`, level, i))
	}
	got, err := Findings(strings.NewReader(checked(`"results":[`+strings.Join(results, ",")+`]`)), "x")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Findings) != maxFindings || got.Findings[99].Level != "error" || got.Levels["note"] != 400 || got.Levels["error"] != 100 {
		t.Errorf("%d findings, the last %+v, %v", len(got.Findings), got.Findings[len(got.Findings)-1], got.Levels)
	}
}

func TestFindingsSalvages(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, in, salvaged, unread string }{
		{"spoilt", `{"version":"2.1.0","runs":[{"results":[{"message":{"text":"a"}}` + "\n" + `"tool":{}]}]}`, "line 2: expected comma", ""},
		{"cut off after a result", `{"version":"2.1.0","runs":[{"results":[{"message":{"text":"a"}},` + "\n", "line 2: it ends in the middle", ""},
		{"another shape", checked(`"results":[{"message":{"text":7}},{"message":{"text":"b"}}]`), "Message.Text is a number", ""},
		{"an older version", `{"version":"1.0.0","runs":[]}`, "line 1: it is SARIF 1.0.0", ""},
		{"empty", "", "", "it is empty"},
		{"something else", `{"a":1}`, "", "it is no report of findings that is known here"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := Findings(strings.NewReader(test.in), "x")
			if test.unread != "" {
				if err == nil || !strings.Contains(got.Unread, test.unread) {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err != nil || !strings.Contains(strings.Join(got.Salvaged, "\n"), test.salvaged) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// results are how many a report has, counted without knowing the format.
func results(t *testing.T, file string) (n int, ok bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Runs []struct{ Results []json.RawMessage }
	}
	if json.Unmarshal(bytes.TrimPrefix(text, []byte("\ufeff")), &report) != nil {
		return 0, false
	}
	for _, r := range report.Runs {
		n += len(r.Results)
	}
	return n, true
}

func TestFindingsCorpus(t *testing.T) {
	t.Parallel()
	files := measuredFiles(t, "sarif/*")
	read, agree, salvaged := 0, 0, 0
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Findings(f, filepath.Base(file))
		f.Close()
		if err != nil {
			t.Error(err)
			continue
		}
		read++
		sum := 0
		for _, n := range got.Levels {
			sum += n
		}
		want, whole := results(t, file)
		switch {
		case whole && sum == want && len(got.Salvaged) == 0:
			agree++
		case !whole && sum > 0 && len(got.Salvaged) > 0: // those of BinSkim have a comma too many
			salvaged++
		default:
			t.Errorf("%s: %d findings, want %d; %q", filepath.Base(file), sum, want, got.Salvaged)
		}
	}
	t.Logf("%d of %d files read, %d have all results, %d were salvaged", read, len(files), agree, salvaged)
	if read < 30 || agree < 27 {
		t.Error("the floor is 30 files, 27 with all results")
	}
}

func FuzzFindings(f *testing.F) {
	f.Add([]byte(checked(`"tool":{"driver":{"name":"L","rules":[{"id":"A"}]}},"artifacts":[{"location":{"uri":"a"}}],"originalUriBaseIds":{"X":{"uri":"x/","uriBaseId":"X"}},"results":[{"ruleId":"A/b","ruleIndex":0,"message":{"id":"m","arguments":["{0}"]},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"a","uriBaseId":"X","index":0},"region":{"startLine":1}}}],"fingerprints":{"a":{"b":"c"}}}]`)))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := Findings(bytes.NewReader(in), "x")
		if (err == nil) != (got.Unread == "") {
			t.Fatalf("error %v, Unread %q", err, got.Unread)
		}
		if len(got.Findings) > maxFindings {
			t.Fatalf("%d findings", len(got.Findings))
		}
		for _, finding := range got.Findings {
			if finding.Line < 0 || len(finding.Message) > maxMessage || len(finding.File) > maxName {
				t.Fatalf("%+v", finding)
			}
		}
	})
}
