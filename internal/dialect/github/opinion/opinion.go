// Package opinion asks a second reader about workflows: actionlint, which knows
// much about what is allowed and yet a mistake: text of strangers in scripts,
// misspelled inputs of well-known actions, comparisons that never hold.
//
// It lags behind the language, though, and is strict where GitHub is not. So
// what it finds are warnings, and what it only does not know yet is left out:
// new keys, events and functions are checked by our own reader, whose table is
// compared with GitHub's.
package opinion

import (
	"cmp"
	"regexp"
	"slices"

	"github.com/rhysd/actionlint"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Of is what actionlint says about a workflow, in its words and with our names
// for the rules. It starts no programs and looks at no other files.
func Of(file string, body []byte) (out []plan.Problem) {
	defer func() {
		if recover() != nil {
			out = nil // a reader that stumbles over a file has no opinion of it
		}
	}()
	w, found := actionlint.Parse(body)
	if w != nil {
		actions := actionlint.NewLocalActionsCache(nil, nil)
		workflows := actionlint.NewLocalReusableWorkflowCache(nil, "", nil)
		rules := []actionlint.Rule{
			actionlint.NewRuleMatrix(), actionlint.NewRuleCredentials(), actionlint.NewRuleShellName(),
			actionlint.NewRuleRunnerLabel(), actionlint.NewRuleEvents(), actionlint.NewRuleJobNeeds(),
			actionlint.NewRuleAction(actions), actionlint.NewRuleEnvVar(), actionlint.NewRuleID(),
			actionlint.NewRuleGlob(), actionlint.NewRulePermissions(), actionlint.NewRuleWorkflowCall(file, workflows),
			actionlint.NewRuleExpression(actions, workflows), actionlint.NewRuleDeprecatedCommands(), actionlint.NewRuleIfCond(),
		}
		v := actionlint.NewVisitor()
		for _, r := range rules {
			v.AddPass(r)
		}
		if v.Visit(w) == nil {
			for _, r := range rules {
				found = append(found, r.Errs()...)
			}
		}
	}
	for _, e := range found {
		if behind.MatchString(e.Message) {
			continue
		}
		out = append(out, plan.Problem{
			Source:   plan.Source{File: file, Line: e.Line, Col: e.Column},
			Severity: plan.Warning, Rule: Rule(e.Kind), Message: e.Message,
		})
	}
	slices.SortFunc(out, func(a, b plan.Problem) int { return cmp.Or(a.Line-b.Line, a.Col-b.Col) })
	return out
}

// Rule is our name for a kind of finding.
func Rule(kind string) string {
	switch kind {
	case "syntax-check":
		return "syntax"
	case "job-needs":
		return "needs"
	case "action":
		return "uses"
	case "workflow-call":
		return "call"
	case "shell-name":
		return "shell"
	}
	return kind
}

// behind matches what actionlint says about the language of 2026 because it does
// not know it. Where one of these really is wrong, our own reader says so.
var behind = regexp.MustCompile(
	`^unexpected key "(queue|background|wait|wait-all|cancel|parallel|cancel-timeout-minutes|deployment|timezone|snapshot|entrypoint|command)"` +
		`|^undefined function "case"` +
		`|^specifying action "\\$/|^reusable workflow call "\\$/` +
		`|^unknown permission scope` +
		`|^step must run script with "run" section or run action with "uses" section` +
		`|^invalid activity type "(stacked|field_added|field_removed|typed|untyped)"` +
		`|^property "(check_run_id|workflow_ref|workflow_sha|workflow_repository|workflow_file_path)" is not defined` +
		`|^invalid runner name "node24"` +
		`|^label "(ubuntu-(slim|2[6-9])|macos-2[6-9]|windows-(11|202[89]))[^"]*" is unknown`)
