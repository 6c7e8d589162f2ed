package gitlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// stepSources is the step that fills submodules, of jobs that ask for them with
// GIT_SUBMODULE_STRATEGY. All else of the sources is in the workspace.
const stepSources = "sources"

// wantsSubmodules says whether the job asks for submodules, and for theirs.
func wantsSubmodules(env *environment) (wanted, recursive bool) {
	switch env.value("GIT_SUBMODULE_STRATEGY") {
	case "normal":
		return env.value("GIT_STRATEGY") != "none", false
	case "recursive":
		return env.value("GIT_STRATEGY") != "none", true
	}
	return false, false
}

// submodules fills those submodules that the user's tree has left empty. As on
// GitLab the job fails when they cannot be had.
func (w *work) submodules(ctx context.Context) error {
	dir := w.s.Dirs.Workspace
	list, err := os.ReadFile(filepath.Join(dir, ".gitmodules"))
	if errors.Is(err, fs.ErrNotExist) {
		w.say("There are no submodules.")
		return nil
	}
	if err != nil {
		return fmt.Errorf("read .gitmodules: %w", err)
	}
	empty := slices.DeleteFunc(submodulePaths(list), func(path string) bool {
		entries, err := os.ReadDir(filepath.Join(dir, path))
		return err != nil || len(entries) > 0
	})
	_, recursive := wantsSubmodules(w.env)
	if len(empty) == 0 && !recursive {
		w.say("The submodules are there.")
		return nil
	}
	if err := workspace.Submodules(ctx, dir, recursive); err != nil {
		return err
	}
	w.say("Filled submodules: %s", strings.Join(empty, ", "))
	return nil
}

// submodulePaths reads the paths out of a .gitmodules file.
func submodulePaths(body []byte) []string {
	var paths []string
	for line := range bytes.Lines(body) {
		name, value, ok := strings.Cut(string(line), "=")
		if path := strings.Trim(strings.TrimSpace(value), `"`); ok && strings.TrimSpace(name) == "path" && filepath.IsLocal(path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// before are the steps that come before those of the plan: what hangs on
// variables, and what there is to tell.
func (n *session) before(s *plan.Scope, env *environment) []plan.Step {
	var steps []plan.Step
	add := func(id, name string) {
		steps = append(steps, plan.Step{
			Key: id, Name: name, Source: n.spec.Source, Phase: plan.Pre,
			If: plan.Expr{Text: ifSuccess, Source: n.spec.Source}, Use: &plan.Use{Ref: id, Source: n.spec.Source},
		})
	}
	if len(n.notices(s)) > 0 {
		add(stepNotice, "What is different here")
	}
	if wanted, _ := wantsSubmodules(env); wanted {
		add(stepSources, "Fill submodules")
	}
	return steps
}
