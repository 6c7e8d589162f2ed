package declarative_test

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/declarative"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/jenkinstest"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

func read(t testing.TB, file, text string, known declarative.Known) (*declarative.Pipeline, []plan.Problem) {
	t.Helper()
	s, wrong := groovy.Parse(file, text)
	var problems []plan.Problem
	for _, p := range wrong {
		problems = append(problems, plan.Problem{Source: plan.Source{File: p.File, Line: p.Line, Col: p.Column}, Severity: plan.Error, Rule: "syntax", Message: p.Message, Hint: p.Hint})
	}
	if len(problems) > 0 {
		return nil, problems
	}
	call, problem := declarative.Find(s)
	if problem != nil {
		return nil, []plan.Problem{*problem}
	}
	if call == nil {
		return nil, nil
	}
	return declarative.Read(s, call, known)
}

// known is what the installation of the plug-in's tests has.
func known() declarative.Known {
	return declarative.Known{
		Agents: map[string][]string{"otherField": {"label", "otherField", "nested"}},
		Tools:  map[string][]string{"maven": {"apache-maven-3.0.1"}},
	}
}

// validatorFloor is how many cases passed when this was written.
const validatorFloor = 88

// excused says why cases do not pass.
var excused = map[string]string{
	"validatorContributor":       "a validator that only a plug-in of the tests brings",
	"postValidatorContributor":   "a validator that only a plug-in of the tests brings",
	"optionValidatorContributor": "a validator that only a plug-in of the tests brings",
}

func TestValidatorConformance(t *testing.T) {
	t.Parallel()
	cases, dir := jenkinstest.Cases(t)
	pass, all, literal, passLiteral := 0, 0, 0, 0
	for _, c := range cases {
		if c.Class != "ValidatorTest" || c.Ignored || strings.HasPrefix(c.Test, "scriptSecurity") {
			continue // the last are cases that run: see the package above
		}
		all++
		body, err := os.ReadFile(filepath.Join(dir, c.File))
		if err != nil {
			t.Fatal(err)
		}
		_, problems := read(t, filepath.Base(c.File), string(body), known())
		var log strings.Builder
		for _, p := range problems {
			log.WriteString(p.String() + "\n")
		}
		got := jenkinstest.Plain(log.String())
		missing := ""
		for _, want := range c.Contains {
			if !strings.Contains(got, jenkinstest.Plain(want)) {
				missing = want
			}
		}
		for _, not := range c.NotContains {
			if not != "" && strings.Contains(got, jenkinstest.Plain(not)) {
				missing = "not " + not
			}
		}
		if c.Result == "FAILURE" && len(problems) == 0 {
			missing = "no problem at all"
		}
		if len(c.Contains) > 0 {
			literal++
		}
		if missing != "" {
			t.Logf("%s (%s): want %s; got %s", c.Test, c.File, missing, got)
			t.Attr("scoreboard-rest", fmt.Sprintf("jenkins-validator %s: %s", c.Test, cmp.Or(excused[c.Test], missing)))
			continue
		}
		pass++
		if len(c.Contains) > 0 {
			passLiteral++
		}
	}
	t.Logf("%d of %d validator cases pass, %d of %d with literal messages", pass, all, passLiteral, literal)
	t.Attr("scoreboard", fmt.Sprintf("jenkins-validator %d/%d", pass, all))
	if pass < validatorFloor {
		t.Errorf("%d pass, %d did before", pass, validatorFloor)
	}
}

// acceptFloor is how many pipelines were accepted when this was written.
const acceptFloor = 235

// TestAccepts reads every pipeline of the plug-in's tests that is no error:
// none is given a false problem.
func TestCorpus(t *testing.T) {
	t.Parallel()
	dir := jenkinstest.Corpus(t, "jenkins")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	pass, all := 0, 0
	for _, e := range entries {
		body, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		p, problems := read(t, e.Name(), string(body), declarative.Known{})
		if p == nil && len(problems) == 0 {
			continue // it is scripted
		}
		all++
		for _, p := range problems {
			t.Logf("%s: %s", e.Name(), p)
		}
		if !plan.Errors(problems) {
			pass++
		}
	}
	t.Logf("%d of %d declarative pipelines of the corpus are accepted", pass, all)
	if pass < all {
		t.Errorf("%d of %d", pass, all)
	}
}

func TestAccepts(t *testing.T) {
	t.Parallel()
	dir := jenkinstest.Conformance(t, "jenkins", "resources")
	pass, all := 0, 0
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(file) != ".groovy" || strings.Contains(file, "/errors/") {
			return err
		}
		body, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		all++
		_, problems := read(t, filepath.Base(file), string(body), declarative.Known{Agents: known().Agents})
		for _, p := range problems {
			t.Logf("%s: %s", file[len(dir):], p)
			t.Attr("scoreboard-rest", fmt.Sprintf("jenkins-accepts %s: %s", file[len(dir)+1:], p.Message))
		}
		if len(problems) == 0 {
			pass++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d pipelines of the plug-in's tests are accepted", pass, all)
	t.Attr("scoreboard", fmt.Sprintf("jenkins-accepts %d/%d", pass, all))
	// The others have errors indeed, or an option of a test's own plug-in.
	if pass < acceptFloor {
		t.Errorf("%d are accepted, %d were before", pass, acceptFloor)
	}
}
