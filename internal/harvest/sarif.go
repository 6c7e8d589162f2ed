package harvest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	// maxFindings is how many findings a report tells of.
	maxFindings = 100
	// maxUnruled is how many findings of a run wait for the rules that say how
	// grave they are, where those come last.
	maxUnruled = 10_000
	// maxRules and maxArtifacts are how many of them are known of a run.
	maxRules, maxArtifacts = 50_000, 200_000
)

// sarifFiles is how such reports are called.
var sarifFiles = []string{"*.sarif", "*.sarif.json"}

// The levels that are counted besides those of [record.Finding].
const (
	levelError, levelWarning, levelNote = "error", "warning", "note"
	levelNone                           = "none"       // it was looked at, and is no problem
	levelSuppressed                     = "suppressed" // it is a problem, and somebody decided to live with it
)

// IsFindings names the format of a checker's report that begins like this, ""
// if it is none that is known.
func IsFindings(head []byte, name string) string {
	if newInput(bytes.NewReader(head), name).isSARIF() {
		return "sarif"
	}
	return ""
}

func (in *input) isSARIF() bool {
	s := &in.head
	return s.key("runs") && (s.key("version") || strings.Contains(s.text, "sarif")) ||
		s.key("$schema") && strings.Contains(s.text, "sarif")
}

// Findings reads what a checker found, in SARIF 2. It reads a stream and holds
// one finding at a time, and the rules.
//
// Levels counts all findings, by how grave they are: what the finding says or,
// where it says nothing, its rule. "suppressed" and "none" are counted and not
// told of. Paths are relative to the tree where the report says what they are
// relative to.
//
// A report that is damaged is read as far as it goes, and Salvaged says what
// was wrong, where. The error is of one of which nothing could be read.
func Findings(r io.Reader, name string) (record.FindingsReported, error) {
	s := &sarif{measured: newMeasured(r, name)}
	s.out = record.FindingsReported{Source: name, Format: "sarif", Levels: map[string]int{}}
	fail := func(err error) (record.FindingsReported, error) {
		err = fmt.Errorf("read findings %s: %w", name, err)
		return record.FindingsReported{Source: name, Unread: err.Error()}, err
	}
	if !s.isSARIF() {
		return fail(s.unread("report of findings"))
	}
	runs := 0
	j := s.json()
	err := j.object(func(key string) error {
		switch key {
		case "version":
			var version string
			_, err := j.value(&version)
			if !strings.HasPrefix(version, "2.") && err == nil {
				s.warn(j.at(), "it is SARIF %s; 2.1.0 is what is known here", clip(version, 20))
			}
			return err
		case "runs":
			return j.array(func() error {
				runs++
				return s.run(j)
			})
		}
		return j.skip()
	})
	if err != nil {
		if runs == 0 {
			return fail(err)
		}
		s.salvage(err.Error() + "; what comes after was not read")
	}
	s.sort()
	s.out.Tool = strings.Join(s.tools, ", ")
	s.out.Salvaged = s.salvaged()
	return s.out, nil
}

// sarif is a report while it is read.
type sarif struct {
	measured
	out   record.FindingsReported
	tools []string
	kept  map[string][]record.Finding // by level, the first of each
}

// The parts of SARIF that say something here. Their names are the format's.
type (
	sarifMessage struct {
		Text, Markdown, ID string
		Arguments          []string
	}
	sarifRule struct {
		ID                   string
		HelpURI              string `json:"helpUri"`
		MessageStrings       map[string]sarifMessage
		ShortDescription     sarifMessage
		DefaultConfiguration struct{ Level string }
	}
	sarifComponent struct {
		Name                 string
		Rules                []sarifRule
		GlobalMessageStrings map[string]sarifMessage
	}
	sarifArtifactLocation struct {
		URI       string `json:"uri"`
		URIBaseID string `json:"uriBaseId"`
		Index     *int
	}
	sarifRuleRef struct {
		ID            string
		Index         *int
		ToolComponent struct{ Index *int }
	}
	sarifResult struct {
		RuleID        string `json:"ruleId"`
		RuleIndex     *int
		Rule          sarifRuleRef
		Level, Kind   string
		BaselineState string
		Message       sarifMessage
		Locations     []struct {
			PhysicalLocation struct {
				ArtifactLocation sarifArtifactLocation
				FileLocation     sarifArtifactLocation // as it was called in SARIF 2.0
				Region           struct{ StartLine amount }
			}
		}
		Fingerprints, PartialFingerprints sarifPrints
		Suppressions                      []struct{ Status, State string }
	}
)

// sarifPrints are fingerprints by name. Some tools put an object where the
// format has a string: its strings are taken.
type sarifPrints map[string]string

func (p *sarifPrints) UnmarshalJSON(b []byte) error {
	var all map[string]json.RawMessage
	if json.Unmarshal(b, &all) != nil {
		return nil
	}
	*p = sarifPrints{}
	for name, raw := range all {
		var text string
		var inner map[string]any
		if json.Unmarshal(raw, &text) == nil {
			(*p)[name] = text
		} else if json.Unmarshal(raw, &inner) == nil {
			for sub, v := range inner {
				if text, ok := v.(string); ok {
					(*p)[name+"/"+sub] = text
				}
			}
		}
	}
	return nil
}

// sarifRun is a run while it is read.
type sarifRun struct {
	components []sarifComponent // the driver, then its extensions
	artifacts  []sarifArtifactLocation
	bases      map[string]sarifArtifactLocation
	waiting    []sarifResult
	late       bool // there were too many to wait with
}

// run reads a run. What it says of rules and files may come after its results.
func (s *sarif) run(j *jsonStream) error {
	run := sarifRun{}
	take := func(into any) error {
		odd, err := j.value(into)
		if odd != "" {
			s.warn(j.at(), "%s", odd)
		}
		return err
	}
	known := map[string]bool{}
	err := j.object(func(key string) error {
		known[key] = true
		switch key {
		case "tool":
			var tool struct {
				Name       string // in SARIF 2.0
				Driver     sarifComponent
				Extensions []sarifComponent
			}
			err := take(&tool)
			run.components = append([]sarifComponent{tool.Driver}, tool.Extensions...)
			if name := clip(cmp.Or(tool.Driver.Name, tool.Name), maxName); name != "" && !slices.Contains(s.tools, name) && len(s.tools) < maxList {
				s.tools = append(s.tools, name)
			}
			return err
		case "artifacts":
			return j.array(func() error {
				var a struct{ Location sarifArtifactLocation }
				err := take(&a)
				if len(run.artifacts) < maxArtifacts {
					run.artifacts = append(run.artifacts, a.Location)
				}
				return err
			})
		case "originalUriBaseIds":
			return take(&run.bases)
		case "results":
			return j.array(func() error {
				var r sarifResult
				if err := take(&r); err != nil {
					return err
				}
				if run.late = run.late || len(run.waiting) >= maxUnruled; run.late || known["tool"] && known["artifacts"] && known["originalUriBaseIds"] {
					s.result(&run, &r)
				} else {
					run.waiting = append(run.waiting, r)
				}
				return nil
			})
		}
		return j.skip()
	})
	for i := range run.waiting {
		s.result(&run, &run.waiting[i])
	}
	return err
}

// result counts a finding and, if there is room, keeps it.
func (s *sarif) result(run *sarifRun, r *sarifResult) {
	if r.BaselineState == "absent" {
		return // it was found before, and is not any more
	}
	component, rule := run.rule(r)
	level := r.Level
	switch {
	case r.Kind != "" && r.Kind != "fail":
		level = levelNone
	case level == "":
		level = cmp.Or(rule.DefaultConfiguration.Level, levelWarning)
	}
	if slices.ContainsFunc(r.Suppressions, func(x struct{ Status, State string }) bool {
		status := cmp.Or(x.Status, x.State)
		return status != "rejected" && status != "underReview"
	}) {
		level = levelSuppressed
	}
	switch level {
	case levelError, levelWarning, levelNote, levelNone, levelSuppressed:
	case "pass", "notApplicable", "open": // SARIF 2.0 has no kinds
		level = levelNone
	default:
		level = levelWarning
	}
	s.out.Levels[level]++
	if level == levelNone || level == levelSuppressed || len(s.kept[level]) >= maxFindings {
		return
	}
	f := record.Finding{
		Rule: clip(cmp.Or(r.RuleID, r.Rule.ID, rule.ID), maxName), Level: level,
		Message: clip(sarifText(r.Message, rule, component), maxMessage),
		URL:     webLink(rule.HelpURI), Fingerprint: clip(fingerprint(r), maxName),
	}
	if len(r.Locations) > 0 {
		p := r.Locations[0].PhysicalLocation
		at := p.ArtifactLocation
		if at.URI == "" && at.Index == nil {
			at = p.FileLocation
		}
		f.File = clip(run.path(at), maxName)
		f.Line = int(min(max(p.Region.StartLine.n, 0), 1<<30))
	}
	if s.kept == nil {
		s.kept = map[string][]record.Finding{}
	}
	s.kept[level] = append(s.kept[level], f)
}

// rule is what the run says of the rule that a result broke, and the component
// that has it: named by its place, or by its name. "CA1000/1" is of the rule
// CA1000.
func (run *sarifRun) rule(r *sarifResult) (sarifComponent, sarifRule) {
	of := 0
	if i := r.Rule.ToolComponent.Index; i != nil {
		of = *i + 1
	}
	if of >= 0 && of < len(run.components) {
		c := run.components[of]
		at := r.RuleIndex
		if at == nil {
			at = r.Rule.Index
		}
		if at != nil && *at >= 0 && *at < len(c.Rules) {
			return c, c.Rules[*at]
		}
	}
	id := cmp.Or(r.RuleID, r.Rule.ID)
	for id != "" {
		for _, c := range run.components {
			for _, rule := range c.Rules[:min(len(c.Rules), maxRules)] {
				if rule.ID == id {
					return c, rule
				}
			}
		}
		id = id[:max(strings.LastIndexByte(id, '/'), 0)]
	}
	if len(run.components) > 0 {
		return run.components[0], sarifRule{}
	}
	return sarifComponent{}, sarifRule{}
}

// sarifText is a result's text: its own, or the rule's with its arguments.
func sarifText(m sarifMessage, rule sarifRule, component sarifComponent) string {
	text := cmp.Or(m.Text, m.Markdown)
	if text == "" && m.ID != "" {
		of, ok := rule.MessageStrings[m.ID]
		if !ok {
			of = component.GlobalMessageStrings[m.ID]
		}
		text = cmp.Or(of.Text, of.Markdown, m.ID)
	}
	for i, a := range m.Arguments[:min(len(m.Arguments), maxList)] {
		if len(text) > maxMessage {
			break
		}
		text = strings.ReplaceAll(text, "{"+strconv.Itoa(i)+"}", clip(a, maxMessage))
	}
	return cmp.Or(text, rule.ShortDescription.Text)
}

// path is a file's path: of the tree, if the report says enough.
func (run *sarifRun) path(at sarifArtifactLocation) string {
	if at.URI == "" && at.Index != nil && *at.Index >= 0 && *at.Index < len(run.artifacts) {
		at = run.artifacts[*at.Index]
	}
	uri := at.URI
	// The base that a path is relative to is itself relative to another, and
	// so on: the outermost is the tree's place on some machine, and is left
	// out unless it is the only way to say where the file is.
	for n, base := 0, at.URIBaseID; base != "" && n < maxList; n++ {
		of, ok := run.bases[base]
		if !ok || strings.Contains(of.URI, "://") || strings.HasPrefix(of.URI, "/") || strings.Contains(uri, "://") {
			break
		}
		uri, base = of.URI+uri, of.URIBaseID
	}
	rest, ok := strings.CutPrefix(uri, "file://")
	if strings.Contains(uri, "://") && !ok {
		return uri // no file
	}
	if ok && len(rest) > 2 && rest[0] == '/' && rest[2] == ':' {
		rest = rest[1:] // of Windows
	}
	if !ok {
		rest = strings.TrimPrefix(uri, "file:")
	}
	if plain, err := url.PathUnescape(rest); err == nil {
		rest = plain
	}
	return strings.TrimPrefix(rest, "./")
}

// webLink is an address that a page may link to, "" if it is none.
func webLink(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(s) > maxName {
		return ""
	}
	return s
}

// fingerprint is what a result is known again by in a later report: the one
// that code hosts use, or the first by name.
func fingerprint(r *sarifResult) string {
	for _, prints := range []sarifPrints{r.Fingerprints, r.PartialFingerprints} {
		if p := prints["primaryLocationLineHash"]; p != "" {
			return p
		}
		for _, name := range slices.Sorted(maps.Keys(prints)) {
			if prints[name] != "" {
				return prints[name]
			}
		}
	}
	return ""
}

// sort makes the kept findings one list, the gravest first.
func (s *sarif) sort() {
	for _, level := range []string{levelError, levelWarning, levelNote} {
		s.out.Findings = append(s.out.Findings, s.kept[level]...)
	}
	s.out.Findings = s.out.Findings[:min(len(s.out.Findings), maxFindings)]
}
