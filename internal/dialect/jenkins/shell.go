package jenkins

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

func (b *build) shellSteps(step func(string, func(*build, *groovy.Call, *frame) (groovy.Value, error))) {
	step("sh", sh)
	for _, name := range []string{"bat", "powershell", "pwsh"} {
		step(name, sh)
	}
	step("git", gitStep)
	step("checkout", checkoutStep)
}

// maxLabel is the length of a step's name that is made of its script.
const maxLabel = 60

// label is a step's name for people.
func label(given, script string) string {
	if given != "" {
		return given
	}
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#!") {
			continue
		}
		if len(line) > maxLabel {
			line = strings.ToValidUTF8(line[:maxLabel], "") + "…"
		}
		return line
	}
	return "sh"
}

// sh runs a script. What becomes of it is one of three: its output, its exit
// code, or nothing, and then an exit code that is not 0 throws.
func sh(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "script")
	if err != nil {
		return nil, err
	}
	if err := a.need("script"); err != nil {
		return nil, err
	}
	if err := b.needNode(c.Thread, f, c.Name); err != nil {
		return nil, err
	}
	script := a.text("script")
	wantOut, wantStatus := a.flag("returnStdout", false), a.flag("returnStatus", false)
	if wantOut && wantStatus {
		return nil, c.Throw(illegalArgument, "you may not specify returnStdout and returnStatus both")
	}
	return b.shell(c, f, script, label(a.text("label"), script), wantOut, wantStatus)
}

func (b *build) shell(c *groovy.Call, f *frame, script, name string, wantOut, wantStatus bool) (groovy.Value, error) {
	env, path, place, dir, masks := b.environ(f), append([]string{}, f.path...), f.place, f.dir, append([]string{}, f.masks...)
	key := f.keys.next(c.Name)
	kind := c.Name
	at := source(c.At)
	out, err := b.step(c.Thread, f, key, name, c.At, &ask{stdout: wantOut, act: func(s *plan.Scope) (*plan.Act, error) {
		act := &plan.Act{Name: name, ContinueOnError: wantStatus, Masks: masks}
		argv, file, problem := shellCommand(kind, script, filepath.Join(s.Dirs.Temp, "jenkins", fileName(key)), at)
		if problem != nil {
			act.Problem = problem
			return act, nil
		}
		if !s.Paper {
			// Jenkins makes the directory that a script is to run in.
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return nil, &dialect.ProblemError{Problem: plan.Problem{Source: at, Severity: plan.Error, Rule: "dir", Message: fmt.Sprintf("the directory %s cannot be made: %v", dir, err)}}
			}
		}
		if wantOut {
			argv = append([]string{"sh", "-c", `exec "$@" >"$` + stdoutVariable + `"`, "sh"}, argv...)
		}
		act.Command = &plan.Command{
			Argv: argv, Env: env, Path: path, Dir: dir, Files: []plan.File{file}, Container: place, Script: script, Volatile: volatile(),
		}
		return act, nil
	}})
	if err != nil {
		return nil, err
	}
	if wantStatus && (out.Exit != 0 || !out.Outcome.Bad()) {
		return int32(out.Exit), nil
	}
	switch {
	case out.Outcome.Bad() && out.Exit == 0:
		return nil, abort(c.Thread, "%s", out.Why)
	case out.Outcome.Bad() || out.Outcome == plan.Cancelled:
		return nil, abort(c.Thread, "script returned exit code %d", out.Exit)
	}
	if wantOut {
		return out.Outputs[outStdout], nil
	}
	return nil, nil
}

// shellCommand is how a script of a kind is run, and the file it is in: as
// sh -xe does, unless the script names its own interpreter.
func shellCommand(kind, script, file string, at plan.Source) ([]string, plan.File, *plan.Problem) {
	switch kind {
	case "bat", "powershell":
		return nil, plan.File{}, &plan.Problem{Source: at, Severity: plan.Error, Rule: "shell",
			Message: fmt.Sprintf("%s runs on Windows, and this machine is none", kind), Hint: "ask isUnix() first, or use pwsh"}
	case "pwsh":
		const stop = "$ErrorActionPreference = 'Stop'\n"
		return []string{"pwsh", "-NoProfile", "-NonInteractive", "-File", file + ".ps1"}, plan.File{Path: file + ".ps1", Mode: 0o644, Body: []byte(stop + script)}, nil
	}
	f := plan.File{Path: file + ".sh", Mode: 0o755, Body: []byte(script)}
	if rest, own := strings.CutPrefix(script, "#!"); own {
		// As the kernel reads it: a program, and the rest as one argument. The
		// file itself is not executed, which a process that was started at the
		// same moment could prevent.
		line, _, _ := strings.Cut(rest, "\n")
		program, argument, _ := strings.Cut(strings.TrimSpace(line), " ")
		argv := []string{program}
		if argument = strings.TrimSpace(argument); argument != "" {
			argv = append(argv, argument)
		}
		if program != "" {
			return append(argv, f.Path), f, nil
		}
	}
	return []string{"sh", "-xe", f.Path}, f, nil
}

// quoteShell is a word as a shell takes it as it is.
func quoteShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// gitStep clones a repository into the current directory.
func gitStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "url")
	if err != nil {
		return nil, err
	}
	if err := b.needNode(c.Thread, f, "git"); err != nil {
		return nil, err
	}
	branch := a.text("branch")
	if branch == "" {
		branch = "master"
	}
	return b.clone(c, f, a.text("url"), branch, "")
}

// clone fetches a branch of a repository into a directory, as the git step
// does: what is there before stays, but for the files of the repository.
func (b *build) clone(c *groovy.Call, f *frame, url, branch, subdir string) (groovy.Value, error) {
	if url == "" {
		return nil, c.Throw(illegalArgument, "git needs a url")
	}
	if ours(url, b.scope.Change) {
		// It is the tree that the run is of, which is there as it is.
		if err := b.checkout(c, f, subdir); err != nil {
			return nil, err
		}
		return gitMap(b.scope.Change), nil
	}
	branch = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(branch, "*/"), "refs/heads/"), "origin/")
	if branch == "**" || branch == "" {
		branch = "HEAD"
	}
	script := "git init -q .\n" +
		"git fetch -q --no-tags --depth 1 -- " + quoteShell(url) + " " + quoteShell(branch) + "\n" +
		"git checkout -q -f FETCH_HEAD\n" +
		"git rev-parse FETCH_HEAD\n"
	if strings.HasPrefix(url, "-") || strings.HasPrefix(branch, "-") {
		return nil, c.Throw(illegalArgument, "%s is no address of a repository", url)
	}
	g := f.inner()
	g.dir = f.at(subdir)
	in := *c
	in.Name = "sh"
	out, err := b.shell(&in, g, script, "git "+url, true, false)
	if err != nil {
		return nil, err
	}
	commit, _ := out.(string)
	m := groovy.NewMap()
	m.Put("GIT_URL", url)
	m.Put("GIT_BRANCH", "origin/"+branch)
	m.Put("GIT_LOCAL_BRANCH", branch)
	m.Put("GIT_COMMIT", strings.TrimSpace(commit))
	return m, nil
}

// checkoutStep is checkout scm, and checkout of another repository.
func checkoutStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	if err := b.needNode(c.Thread, f, "checkout"); err != nil {
		return nil, err
	}
	a, err := b.args(c, "scm")
	if err != nil {
		return nil, err
	}
	of := a.value("scm")
	if of == nil && len(c.Args) > 0 {
		of = c.Args[0]
	}
	m, ok := of.(*groovy.Map)
	if !ok {
		if err := b.checkout(c, f, ""); err != nil {
			return nil, err
		}
		return gitMap(b.scope.Change), nil
	}
	url, branch, subdir := remoteOf(c, m)
	if url == "" {
		if err := b.checkout(c, f, subdir); err != nil {
			return nil, err
		}
		return gitMap(b.scope.Change), nil
	}
	return b.clone(c, f, url, branch, subdir)
}

// remoteOf reads what of a GitSCM's description counts here: the address, the
// branch and the directory.
func remoteOf(c *groovy.Call, m *groovy.Map) (url, branch, subdir string) {
	text := func(m *groovy.Map, name string) string {
		v, _ := m.Text(name)
		if v == nil {
			return ""
		}
		s, err := c.Text(v)
		if err != nil {
			return ""
		}
		return s
	}
	items := func(name string) (maps []*groovy.Map) {
		v, _ := m.Text(name)
		if l, ok := v.(*groovy.List); ok {
			for _, item := range l.Items {
				if m, ok := item.(*groovy.Map); ok {
					maps = append(maps, m)
				}
			}
		}
		return maps
	}
	for _, r := range items("userRemoteConfigs") {
		if url == "" {
			url = text(r, "url")
		}
	}
	if url == "" {
		url = text(m, "url")
	}
	for _, r := range items("branches") {
		if branch == "" {
			branch = text(r, "name")
		}
	}
	if branch == "" {
		branch = text(m, "branch")
	}
	for _, r := range items("extensions") {
		if dir := text(r, "relativeTargetDir"); dir != "" {
			subdir = dir
		}
	}
	return url, branch, subdir
}

// dockerObject is docker.
type dockerObject struct{ b *build }

func (dockerObject) ClassName() string                      { return "org.jenkinsci.plugins.docker.workflow.Docker" }
func (dockerObject) Get(*groovy.Call) (groovy.Value, error) { return nil, groovy.ErrMissing }
func (dockerObject) Set(*groovy.Call, groovy.Value) error   { return groovy.ErrMissing }
func (d dockerObject) Invoke(c *groovy.Call) (groovy.Value, error) {
	b, f := d.b, frameOf(c.Context())
	text := func(i int) (string, error) {
		if i >= len(c.Args) {
			return "", nil
		}
		return c.Text(c.Args[i])
	}
	last := groovy.Value(nil)
	if n := len(c.Args); n > 0 {
		if body, ok := c.Args[n-1].(*groovy.Closure); ok {
			last = body
		}
	}
	switch c.Name {
	case "image":
		name, err := text(0)
		return &dockerImage{b: b, name: name}, err
	case "build":
		name, err := text(0)
		if err != nil {
			return nil, err
		}
		args := "."
		if len(c.Args) > 1 {
			if args, err = text(1); err != nil {
				return nil, err
			}
		}
		in := *c
		in.Name = "sh"
		if err := b.needNode(c.Thread, f, "docker"); err != nil {
			return nil, err
		}
		if _, err := b.shell(&in, f, "docker build -t "+quoteShell(name)+" "+args, "docker build "+name, false, false); err != nil {
			return nil, err
		}
		return &dockerImage{b: b, name: name}, nil
	case "withRegistry":
		url, err := text(0)
		if err != nil {
			return nil, err
		}
		g := f.inner()
		g.registry = url
		return b.block(c, g, last)
	case "withServer", "withTool":
		return b.block(c, f, last)
	case "node":
		in := *c
		v, err := nodeStep(b, &in, f)
		return v, settled(err)
	}
	return nil, groovy.ErrMissing
}

// dockerImage is docker.image('…').
type dockerImage struct {
	b    *build
	name string
}

func (*dockerImage) ClassName() string {
	return "org.jenkinsci.plugins.docker.workflow.Docker$Image"
}
func (i *dockerImage) Get(c *groovy.Call) (groovy.Value, error) {
	switch c.Name {
	case "id":
		return i.name, nil
	case "parsedId":
		return nil, nil
	}
	return nil, groovy.ErrMissing
}
func (*dockerImage) Set(*groovy.Call, groovy.Value) error { return groovy.ErrMissing }

func (i *dockerImage) Invoke(c *groovy.Call) (groovy.Value, error) {
	b, f := i.b, frameOf(c.Context())
	if err := b.needNode(c.Thread, f, "docker"); err != nil {
		return nil, err
	}
	name := i.name
	if f.registry != "" {
		name = inRegistry(f.registry, name)
	}
	var words []string
	var body groovy.Value
	for _, v := range c.Args {
		if _, ok := v.(*groovy.Closure); ok {
			body = v
			continue
		}
		text, err := c.Text(v)
		if err != nil {
			return nil, err
		}
		words = append(words, text)
	}
	run := func(script string) error {
		in := *c
		in.Name = "sh"
		_, err := b.shell(&in, f, script, script, false, false)
		return err
	}
	switch c.Name {
	case "imageName":
		return name, nil
	case "inside":
		g := f.inner()
		g.place = &plan.Container{Image: name, Options: strings.Join(words, " "), Source: source(c.At)}
		return b.block(c, g, body)
	case "pull":
		return nil, run("docker pull " + quoteShell(name))
	case "push":
		target := name
		if len(words) > 0 {
			image, _, _ := strings.Cut(name, ":")
			target = image + ":" + words[0]
			if err := run("docker tag " + quoteShell(name) + " " + quoteShell(target)); err != nil {
				return nil, err
			}
		}
		return nil, run("docker push " + quoteShell(target))
	case "tag":
		image, _, _ := strings.Cut(name, ":")
		tag := "latest"
		if len(words) > 0 {
			tag = words[0]
		}
		return nil, run("docker tag " + quoteShell(name) + " " + quoteShell(image+":"+tag))
	case "run", "withRun":
		args := strings.Join(words, " ")
		if len(words) > 1 {
			args = words[0] + " " + quoteShell(name) + " " + strings.Join(words[1:], " ")
		} else {
			args = strings.TrimSpace(args + " " + quoteShell(name))
		}
		in := *c
		in.Name = "sh"
		out, err := b.shell(&in, f, "docker run -d "+args, "docker run "+name, true, false)
		if err != nil {
			return nil, err
		}
		id, _ := out.(string)
		box := &dockerContainer{b: b, id: strings.TrimSpace(id)}
		if c.Name == "run" {
			return box, nil
		}
		v, err := f.within(c.Thread).Call(body, box)
		err = settled(err)
		if stopped := box.stop(c, f); err == nil {
			err = stopped
		}
		return v, err
	}
	return nil, groovy.ErrMissing
}

// dockerContainer is a container that docker run has started.
type dockerContainer struct {
	b  *build
	id string
}

func (*dockerContainer) ClassName() string {
	return "org.jenkinsci.plugins.docker.workflow.Docker$Container"
}
func (d *dockerContainer) Get(c *groovy.Call) (groovy.Value, error) {
	if c.Name == "id" {
		return d.id, nil
	}
	return nil, groovy.ErrMissing
}
func (*dockerContainer) Set(*groovy.Call, groovy.Value) error { return groovy.ErrMissing }

func (d *dockerContainer) stop(c *groovy.Call, f *frame) error {
	in := *c
	in.Name = "sh"
	_, err := d.b.shell(&in, f, "docker stop "+quoteShell(d.id)+" && docker rm -f "+quoteShell(d.id), "docker stop", false, false)
	return err
}

func (d *dockerContainer) Invoke(c *groovy.Call) (groovy.Value, error) {
	f := frameOf(c.Context())
	switch c.Name {
	case "stop":
		return nil, d.stop(c, f)
	case "port":
		if len(c.Args) != 1 {
			break
		}
		port, err := c.Text(c.Args[0])
		if err != nil {
			return nil, err
		}
		in := *c
		in.Name = "sh"
		out, err := d.b.shell(&in, f, "docker port "+quoteShell(d.id)+" "+quoteShell(port), "docker port", true, false)
		text, _ := out.(string)
		return strings.TrimSpace(text), err
	}
	return nil, groovy.ErrMissing
}
