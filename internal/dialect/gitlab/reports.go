package gitlab

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of reports.
const (
	maxDotenv     = 64 << 10 // bytes of all of a job's dotenv reports
	maxDotenvVars = 1000
	maxReport     = 16 << 20 // bytes of one that holds findings
	maxFindings   = 50       // of a kind that are annotations; the rest is in the report
)

// report keeps a report, and takes from it what counts here.
func (w *work) report(ctx context.Context, kind string, patterns []string) error {
	list, err := w.collect(ctx, selection{paths: patterns})
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(f depot.Found) bool { return !f.Info.Mode().IsRegular() })
	if len(list) == 0 {
		return nil
	}
	switch kind {
	case "dotenv":
		err = w.dotenv(list)
	case "annotations":
		err = w.findings(list, readAnnotations)
	case "codequality":
		err = w.findings(list, readCodeQuality)
	case "sast", "secret_detection", "dependency_scanning", "container_scanning", "dast", "cluster_image_scanning", "coverage_fuzzing", "api_fuzzing":
		err = w.findings(list, readSecurity)
	}
	if err != nil || w.fx.Fail != "" {
		return err
	}
	if w.d.cfg.Depot == nil {
		return nil
	}
	a, err := w.keep(ctx, kind, list, w.spec.Artifacts.ExpireIn)
	if a == nil || err != nil {
		return err
	}
	w.fx.Artifacts = append(w.fx.Artifacts, plan.Artifact{Name: kind, Digest: string(a.Digest), Size: a.Size})
	w.say("The report %s is kept: %d files", kind, len(list))
	return nil
}

// dotenv makes outputs of the variables of dotenv reports.
func (w *work) dotenv(list []depot.Found) error {
	root, err := os.OpenRoot(w.s.Dirs.Workspace)
	if err != nil {
		return err
	}
	defer root.Close()
	left := maxDotenv
	vars := map[string]string{}
	for _, f := range list {
		name, err := filepath.Rel(w.s.Dirs.Workspace, f.Path)
		if err != nil {
			return err
		}
		body, err := root.ReadFile(name)
		if err != nil {
			return err
		}
		if left -= len(body); left < 0 {
			w.fail("the dotenv report is longer than %d bytes", maxDotenv)
			return nil
		}
		if line, err := parseDotenv(body, vars); err != nil {
			w.fail("%s:%d: %v", name, line, err)
			return nil
		}
		if emptyLine.Match(body) {
			w.warn("%s has an empty line, for which GitLab refuses the whole report", name)
		}
		if len(vars) > maxDotenvVars {
			w.fail("the dotenv report has more than %d variables", maxDotenvVars)
			return nil
		}
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		w.fx.Outputs = append(w.fx.Outputs, plan.Setting{Name: name, Value: vars[name]})
	}
	return nil
}

var emptyLine = regexp.MustCompile(`(?m)^[ \t]*\r?\n`)

var dotenvName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// parseDotenv reads the lines NAME=VALUE of a report into vars. As on GitLab
// there are no quotes and no comments; unlike there an empty line harms
// nobody. With an error comes the number of the line.
func parseDotenv(body []byte, vars map[string]string) (line int, err error) {
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	for text := range strings.SplitSeq(strings.ToValidUTF8(string(body), "\ufffd"), "\n") {
		line++
		text = strings.TrimSuffix(text, "\r")
		if strings.TrimSpace(text) == "" {
			continue
		}
		name, value, ok := strings.Cut(text, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch {
		case strings.HasPrefix(name, "#"):
			return line, fmt.Errorf("a dotenv report may hold no comments, and %.60q is one: GitLab refuses the whole report", text)
		case !ok:
			return line, fmt.Errorf("%.60q is not NAME=VALUE", text)
		case !dotenvName.MatchString(name):
			return line, fmt.Errorf("%.60q cannot be the name of a variable: it may hold letters, digits and underscores", name)
		}
		vars[name] = value
	}
	return 0, nil
}

// findings makes annotations of what the files of a report tell. A file that
// cannot be understood is told of, and harms nobody: GitLab shows it as it is.
func (w *work) findings(list []depot.Found, read func([]byte) ([]plan.Annotation, error)) error {
	root, err := os.OpenRoot(w.s.Dirs.Workspace)
	if err != nil {
		return err
	}
	defer root.Close()
	told, left := 0, 0
	for _, f := range list {
		name, err := filepath.Rel(w.s.Dirs.Workspace, f.Path)
		if err != nil {
			return err
		}
		body, err := readReport(root, name)
		var notes []plan.Annotation
		if err == nil {
			notes, err = read(body)
		}
		if err != nil {
			w.warn("%s cannot be read: %v", name, err)
			continue
		}
		for _, n := range notes {
			if told++; told > maxFindings {
				left++
				continue
			}
			n.Message, n.Title = oneLine(n.Message), oneLine(n.Title)
			w.fx.Notes = append(w.fx.Notes, n)
		}
	}
	if left > 0 {
		w.say("%d findings more are in the report.", left)
	}
	return nil
}

func readReport(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, maxReport+1))
	if err == nil && len(body) > maxReport {
		err = fmt.Errorf("it is longer than %d bytes", maxReport)
	}
	return body, err
}

// levels are how loud the words for severity are, of code quality and of
// security reports.
var levels = map[string]plan.Level{
	"info": plan.Notice, "minor": plan.Notice, "low": plan.Notice,
	"major": plan.WarningLevel, "medium": plan.WarningLevel, "unknown": plan.WarningLevel,
	"critical": plan.ErrorLevel, "blocker": plan.ErrorLevel, "high": plan.ErrorLevel,
}

func levelOf(severity string) plan.Level {
	return cmp.Or(levels[strings.ToLower(severity)], plan.WarningLevel)
}

// readCodeQuality reads a report in the format of Code Climate
// (docs.gitlab.com/ci/testing/code_quality, "report format").
func readCodeQuality(body []byte) (notes []plan.Annotation, err error) {
	var report []struct {
		Description string `json:"description"`
		Check       string `json:"check_name"`
		Severity    string `json:"severity"`
		Location    struct {
			Path  string `json:"path"`
			Lines struct {
				Begin int `json:"begin"`
				End   int `json:"end"`
			} `json:"lines"`
			Positions struct {
				Begin struct {
					Line   int `json:"line"`
					Column int `json:"column"`
				} `json:"begin"`
			} `json:"positions"`
		} `json:"location"`
	}
	if err := json.Unmarshal(body, &report); err != nil {
		return nil, err
	}
	for _, r := range report {
		at := r.Location
		notes = append(notes, plan.Annotation{
			Level: levelOf(r.Severity), Title: r.Check, Message: r.Description, File: at.Path,
			Line: max(at.Lines.Begin, at.Positions.Begin.Line), EndLine: at.Lines.End, Col: at.Positions.Begin.Column,
		})
	}
	return notes, nil
}

// readSecurity reads a security report
// (gitlab.com/gitlab-org/security-products/security-report-schemas).
func readSecurity(body []byte) (notes []plan.Annotation, err error) {
	var report struct {
		Vulnerabilities []struct {
			Name        string `json:"name"`
			Message     string `json:"message"`
			Description string `json:"description"`
			Severity    string `json:"severity"`
			Location    struct {
				File      string `json:"file"`
				StartLine int    `json:"start_line"`
				EndLine   int    `json:"end_line"`
			} `json:"location"`
		} `json:"vulnerabilities"`
	}
	if err := json.Unmarshal(body, &report); err != nil {
		return nil, err
	}
	for _, v := range report.Vulnerabilities {
		notes = append(notes, plan.Annotation{
			Level: levelOf(v.Severity), Title: v.Severity, Message: cmp.Or(v.Name, v.Message, v.Description),
			File: v.Location.File, Line: v.Location.StartLine, EndLine: v.Location.EndLine,
		})
	}
	return notes, nil
}

// readAnnotations reads links that a job wants shown
// (docs.gitlab.com/ci/yaml/artifacts_reports, "artifacts:reports:annotations").
func readAnnotations(body []byte) (notes []plan.Annotation, err error) {
	var report map[string][]struct {
		Link *struct {
			Label string `json:"label"`
			URL   string `json:"url"`
		} `json:"external_link"`
	}
	if err := json.Unmarshal(body, &report); err != nil {
		return nil, err
	}
	for _, section := range slices.Sorted(maps.Keys(report)) {
		for _, a := range report[section] {
			if a.Link != nil {
				notes = append(notes, plan.Annotation{Level: plan.Notice, Title: section, Message: a.Link.Label + ": " + a.Link.URL})
			}
		}
	}
	return notes, nil
}

// dotenvOutputs is what Dialect.Eval answers for outputDotenv: the variables
// that the job has left in dotenv reports, as a JSON object; "" for none.
func dotenvOutputs(s *plan.Scope) (string, error) {
	outputs := s.Steps[stepUpload].Outputs
	if len(outputs) == 0 {
		return "", nil
	}
	text, err := json.Marshal(outputs)
	return string(text), err
}
