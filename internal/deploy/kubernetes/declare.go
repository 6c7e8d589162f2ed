package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/manifest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
)

// Limits of what a service is declared with.
const (
	maxFiles   = 1000
	renderTime = 2 * time.Minute // that helm or kustomize may take
)

// declared reads the things that a service is declared with. Problems are those of its
// files; things are then not complete.
func (d *Driver) declared(ctx context.Context, t *deploy.Target, spec *project.Kubernetes) ([]manifest.Thing, []plan.Problem, error) {
	if t.Root == "" {
		return nil, nil, fmt.Errorf("the manifests of %s are in the tree, and there is none here", t.Service)
	}
	root, err := os.OpenRoot(t.Root)
	if err != nil {
		return nil, nil, fmt.Errorf("read the manifests of %s: %w", t.Service, err)
	}
	defer root.Close()
	r := &reading{ctx: ctx, t: t, root: root, getenv: d.getenv}
	for _, name := range spec.Manifests {
		r.files(fill(name, t))
	}
	if spec.Kustomize != "" {
		r.kustomize(fill(spec.Kustomize, t))
	}
	if spec.Helm != "" {
		values := make([]string, len(spec.Values))
		for i, v := range spec.Values {
			values[i] = fill(v, t)
		}
		r.helm(fill(spec.Helm, t), values, fill(spec.Namespace, t))
	}
	if r.err != nil {
		return nil, nil, r.err
	}
	if len(r.things) == 0 && len(r.problems) == 0 {
		r.report("", "the service declares nothing: its manifests hold no thing", "name the files with manifests:, or kustomize: or helm:")
	}
	r.twins()
	return r.things, r.problems, nil
}

// reading is the reading of all manifests of a service.
type reading struct {
	ctx      context.Context
	t        *deploy.Target
	root     *os.Root
	getenv   func(string) string
	things   []manifest.Thing
	problems []plan.Problem
	count    int // files
	err      error
}

func (r *reading) report(file, message, hint string) {
	at := plan.Source{File: file}
	if file == "" {
		at = r.t.Spec.Source
	}
	r.problems = append(r.problems, plan.Problem{Source: at, Severity: plan.Error, Rule: manifest.Rule, Message: message, Hint: hint})
}

// local says whether a name stays inside of the tree.
func (r *reading) local(name string) bool {
	if filepath.IsLocal(name) {
		return true
	}
	r.report("", fmt.Sprintf("%s is outside of the tree", plan.Clip(name)), "name a file or a directory below the root of the repository")
	return false
}

// files reads a file, or the manifests of a directory and those below it.
func (r *reading) files(name string) {
	if !r.local(name) {
		return
	}
	name = path.Clean(filepath.ToSlash(name))
	info, err := r.root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		r.report("", fmt.Sprintf("there is no file or directory %s", plan.Clip(name)), "look at manifests: in fairlead.yaml")
		return
	}
	if err != nil {
		r.err = fmt.Errorf("read the manifests of %s: %w", r.t.Service, err)
		return
	}
	if !info.IsDir() {
		r.file(name)
		return
	}
	err = fs.WalkDir(r.root.FS(), name, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ext := path.Ext(p); d.Type().IsRegular() && (ext == ".yaml" || ext == ".yml" || ext == ".json") {
			r.file(p)
		}
		return nil
	})
	if err != nil {
		r.err = fmt.Errorf("read the manifests of %s: %w", r.t.Service, err)
	}
}

func (r *reading) file(name string) {
	if r.count++; r.count > maxFiles {
		if r.count == maxFiles+1 {
			r.report(name, fmt.Sprintf("there are more than %d manifests", maxFiles), "name the files, or a smaller directory")
		}
		return
	}
	info, err := r.root.Stat(name)
	if err == nil && info.Size() > manifest.MaxFile {
		r.report(name, fmt.Sprintf("the file has %d bytes; at most %d are read", info.Size(), manifest.MaxFile), "split it")
		return
	}
	src, err := r.root.ReadFile(name)
	if err != nil {
		r.err = fmt.Errorf("read the manifests of %s: %w", r.t.Service, err)
		return
	}
	r.take(manifest.Read(name, src))
}

func (r *reading) take(things []manifest.Thing, problems []plan.Problem) {
	r.things = append(r.things, things...)
	r.problems = append(r.problems, problems...)
}

// twins refuses things that are declared twice: the second would silently win.
func (r *reading) twins() {
	first := map[string]plan.Source{}
	for _, t := range r.things {
		key := t.Ref().Key()
		if at, twice := first[key]; twice {
			r.problems = append(r.problems, plan.Problem{
				Source: t.Source, Severity: plan.Error, Rule: manifest.Rule,
				Message: fmt.Sprintf("%s is declared twice; the other one is at %s", t.Ref(), at), Hint: "keep one of the two",
			})
			continue
		}
		first[key] = t.Source
	}
}

// kustomize renders a directory with kustomize, or kubectl, whose newest versions have it
// inside.
func (r *reading) kustomize(dir string) {
	if !r.local(dir) {
		return
	}
	for _, command := range [][]string{{"kustomize", "build"}, {"kubectl", "kustomize"}} {
		if program, err := exec.LookPath(command[0]); err == nil {
			r.render(dir, program, append(command[1:], filepath.Join(r.root.Name(), dir)))
			return
		}
	}
	r.report(dir, "neither kustomize nor kubectl is installed here, and one of them has to render this directory", "install kustomize, or commit what it renders and name that with manifests:")
}

// helm renders a chart. Nothing of Helm's own keeping of releases is used.
func (r *reading) helm(dir string, values []string, namespace string) {
	if !r.local(dir) {
		return
	}
	program, err := exec.LookPath("helm")
	if err != nil {
		r.report(dir, "helm is not installed here, and it has to render this chart", "install helm, or commit what helm template prints and name that with manifests:")
		return
	}
	args := []string{"template", r.t.Service, filepath.Join(r.root.Name(), dir)}
	if namespace != "" {
		args = append(args, "--namespace", namespace)
	}
	for _, v := range values {
		if !r.local(v) {
			return
		}
		args = append(args, "--values", filepath.Join(r.root.Name(), v))
	}
	r.render(dir, program, args)
}

// helmSource is the line that helm writes before what it renders of a file.
var helmSource = regexp.MustCompile(`(?m)^# Source: (\S+)`)

// render runs a program that prints manifests. Lines of what it prints are lines of no file, so
// problems name the directory, or the template if that is known, alone.
func (r *reading) render(dir, program string, args []string) {
	ctx, cancel := context.WithTimeout(r.ctx, renderTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.WaitDelay = time.Second
	name := filepath.Base(program)
	if err := cmd.Run(); err != nil {
		if r.ctx.Err() != nil {
			r.err = fmt.Errorf("render %s with %s: %w", dir, name, r.ctx.Err())
			return
		}
		r.report(dir, fmt.Sprintf("%s cannot render it: %s", name, lastLine(complaint.String(), err.Error())), "run it by hand: "+name+" "+strings.Join(args, " "))
		return
	}
	things, problems := manifest.Read(dir, out.Bytes())
	sources := helmSource.FindAllSubmatchIndex(out.Bytes(), -1)
	for i := range things {
		line := things[i].Source.Line
		things[i].Source = plan.Source{File: dir}
		// The last one before the thing is the thing's.
		for _, m := range slices.Backward(sources) {
			if 1+bytes.Count(out.Bytes()[:m[0]], []byte("\n")) <= line {
				_, file, _ := strings.Cut(string(out.Bytes()[m[2]:m[3]]), "/") // without the chart's name
				things[i].Source = plan.Source{File: path.Join(filepath.ToSlash(dir), file)}
				break
			}
		}
		things[i].Rendered = true
	}
	for i := range problems {
		problems[i].Message = fmt.Sprintf("line %d of what %s renders: %s", problems[i].Line, name, problems[i].Message)
		problems[i].Source = plan.Source{File: dir}
	}
	r.take(things, problems)
}

// maxComplaint is how many bytes of a program's complaint are told.
const maxComplaint = 500

// lastLine is the last line that says something, or its error alone if it is a line of a log.
func lastLine(text, otherwise string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if _, message, ok := strings.Cut(last, ` err="`); ok {
		last = strings.TrimSuffix(message, `"`)
	}
	if last == "" {
		return otherwise
	}
	if len(last) > maxComplaint {
		last = last[:maxComplaint] + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(last, ""))
}
