package jenkins

import (
	"fmt"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/declarative"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
)

// when reports whether all conditions of a when hold.
func (m *model) when(t *groovy.Thread, f *frame, w *declarative.When) (bool, error) {
	for _, c := range w.Conditions {
		if ok, err := m.condition(t, f, c); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// condition reports whether one condition holds.
func (m *model) condition(t *groovy.Thread, f *frame, w *declarative.When) (bool, error) {
	text := func(name string) (string, error) {
		e := w.Get(name)
		if e == nil {
			return "", nil
		}
		return m.evalText(t, f, m.where, e)
	}
	// main is the argument that may stand without its name.
	main := func(name string) (string, error) {
		if w.Value != nil {
			return m.evalText(t, f, m.where, w.Value)
		}
		return text(name)
	}
	flag := func(name string, unset bool) (bool, error) {
		e := w.Get(name)
		if e == nil {
			return unset, nil
		}
		v, err := f.within(t).Eval(m.where, e, nil)
		return v == true, err
	}
	variable := func(name string) string {
		v, _, _ := m.variable(t, f, name)
		return v
	}
	compare := func(pattern, value string) (bool, error) {
		how, err := text("comparator")
		if err != nil {
			return false, err
		}
		return matches(t, how, pattern, value)
	}
	switch w.Name {
	case "allOf":
		return m.when(t, f, w)
	case "anyOf":
		for _, c := range w.Conditions {
			if ok, err := m.condition(t, f, c); ok || err != nil {
				return ok, err
			}
		}
		return false, nil
	case "not":
		ok, err := m.when(t, f, w)
		return !ok, err
	case "expression":
		in := f.within(t)
		v, err := in.Exec(m.where, w.Body.Body, nil)
		if err != nil {
			return false, err
		}
		return in.Truth(v)
	case "branch":
		pattern, err := main("pattern")
		branch := variable("BRANCH_NAME")
		for _, other := range []string{"GIT_LOCAL_BRANCH", "GIT_BRANCH"} {
			if branch == "" { // not a multibranch project
				branch = strings.TrimPrefix(variable(other), "origin/")
			}
		}
		if err != nil || branch == "" {
			return false, err
		}
		return compare(pattern, branch)
	case "tag":
		pattern, err := main("pattern")
		tag := variable("TAG_NAME")
		if err != nil || tag == "" {
			return false, err
		}
		return compare(pattern, tag)
	case "buildingTag":
		return variable("TAG_NAME") != "", nil
	case "changeRequest":
		return m.changeRequest(w, variable, text, compare)
	case "environment":
		name, err := text("name")
		if err != nil {
			return false, err
		}
		want, err := text("value")
		if err != nil {
			return false, err
		}
		ignore, err := flag("ignoreCase", false)
		if err != nil {
			return false, err
		}
		got, ok, err := m.variable(t, f, name)
		if err != nil || !ok {
			return false, err
		}
		return got == want || ignore && strings.EqualFold(got, want), nil
	case "equals":
		in := f.within(t)
		want, err := in.Eval(m.where, w.Get("expected"), nil)
		if err != nil {
			return false, err
		}
		got, err := in.Eval(m.where, w.Get("actual"), nil)
		if err != nil {
			return false, err
		}
		return in.Equal(want, got)
	case "triggeredBy":
		return m.triggeredBy(w, main, text)
	case "isRestartedRun":
		return m.scope.Attempt > 1, nil
	case "changeset":
		return m.changeset(t, f, main, text, flag)
	case "changelog":
		return m.changelog(t, f, main, flag)
	}
	return false, fmt.Errorf("jenkins: condition %s is not known", w.Name)
}

// matches compares as Jenkins does: by Ant's patterns (GLOB), by a regular
// expression, or as it is.
func matches(t *groovy.Thread, how, pattern, value string) (bool, error) {
	switch strings.ToUpper(how) {
	case "EQUALS":
		return pattern == value, nil
	case "REGEXP":
		return matchesWhole(t, pattern, value)
	}
	ok, err := doublestar.Match(pattern, value)
	if err != nil {
		return false, nil
	}
	if !ok && !strings.Contains(pattern, "/") {
		// Jenkins takes the name of a branch for the path of a file, and a
		// pattern without a slash for a part of it.
		return false, nil
	}
	return ok, nil
}

// matchesWhole matches a whole text against a Java regular expression.
func matchesWhole(t *groovy.Thread, pattern, value string) (bool, error) {
	re, err := declarative.Pattern(pattern)
	if err != nil {
		return false, t.Throw("java.util.regex.PatternSyntaxException", "%v", err)
	}
	return declarative.Matches(re, value), nil
}

// changeRequest holds for a pull request, and for what is asked of it.
func (m *model) changeRequest(w *declarative.When, variable func(string) string, text func(string) (string, error), compare func(pattern, value string) (bool, error)) (bool, error) {
	if variable("CHANGE_ID") == "" {
		return false, nil
	}
	for name, v := range map[string]string{
		"id": "CHANGE_ID", "target": "CHANGE_TARGET", "branch": "CHANGE_BRANCH", "fork": "CHANGE_FORK", "url": "CHANGE_URL", "title": "CHANGE_TITLE",
		"author": "CHANGE_AUTHOR", "authorDisplayName": "CHANGE_AUTHOR_DISPLAY_NAME", "authorEmail": "CHANGE_AUTHOR_EMAIL",
	} {
		if w.Get(name) == nil {
			continue
		}
		pattern, err := text(name)
		if err != nil {
			return false, err
		}
		value := variable(v)
		if w.Get("comparator") == nil {
			if pattern != value {
				return false, nil
			}
			continue
		}
		if ok, err := compare(pattern, value); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// triggeredBy asks why the build was started.
func (m *model) triggeredBy(w *declarative.When, main, text func(string) (string, error)) (bool, error) {
	class, err := main("cause")
	if err != nil {
		return false, err
	}
	detail, err := text("detail")
	if err != nil {
		return false, err
	}
	cause := m.cause()
	if !strings.Contains(cause[0], class) {
		return false, nil
	}
	return detail == "" || strings.EqualFold(detail, m.scope.Change.Actor), nil
}

// changeset holds when a file that the change touches matches.
func (m *model) changeset(t *groovy.Thread, f *frame, main, text func(string) (string, error), flag func(string, bool) (bool, error)) (bool, error) {
	pattern, err := main("pattern")
	if err != nil {
		return false, err
	}
	how, err := text("comparator")
	if err != nil {
		return false, err
	}
	strict, err := flag("caseSensitive", false)
	if err != nil {
		return false, err
	}
	change := m.scope.Change
	if !change.FilesKnown {
		f.say("Warning, empty changelog. Probably because this is the first build.")
		return false, nil
	}
	for _, name := range change.Files {
		if !strict && strings.ToUpper(how) != "REGEXP" {
			name, pattern = strings.ToLower(name), strings.ToLower(pattern)
		}
		if ok, err := matches(t, how, pattern, name); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// changelog holds when the message of a commit of the change matches.
func (m *model) changelog(t *groovy.Thread, f *frame, main func(string) (string, error), flag func(string, bool) (bool, error)) (bool, error) {
	pattern, err := main("pattern")
	if err != nil {
		return false, err
	}
	strict, err := flag("caseSensitive", false)
	if err != nil {
		return false, err
	}
	if _, err := declarative.Pattern(pattern); err != nil {
		return false, t.Throw(illegalArgument, "\"%s\" is not a valid regular expression. %v", pattern, err)
	}
	if !strict {
		pattern = "(?i:" + pattern + ")"
	}
	messages := commitMessages(m.scope.Change)
	if len(messages) == 0 {
		f.say("Warning, empty changelog. Probably because this is the first build.")
		return false, nil
	}
	for _, message := range messages {
		for _, text := range append(strings.Split(message, "\n"), message) {
			if ok, err := matchesWhole(t, pattern, text); ok || err != nil {
				return ok, err
			}
		}
	}
	return false, nil
}
