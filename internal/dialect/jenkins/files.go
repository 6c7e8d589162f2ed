package jenkins

import (
	"fmt"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/builtin"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
)

// fileSteps are the steps that are built-ins: their arguments go there by
// name, their outputs come back.
func (b *build) fileSteps(step func(string, func(*build, *groovy.Call, *frame) (groovy.Value, error))) {
	// plain is a step whose arguments are passed on as they are.
	plain := func(name, first, output string, names ...string) {
		step(name, func(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
			a, err := b.args(c, first)
			if err != nil {
				return nil, err
			}
			if err := b.needNode(c.Thread, f, name); err != nil {
				return nil, err
			}
			out, err := b.builtin(c, f, name, strings.TrimSpace(name+" "+label("", a.text(first))), a.inputs(append(names, first)...))
			if err != nil || output == "" {
				return nil, err
			}
			if output == builtin.OutFound {
				return out[output] == "true", nil
			}
			return out[output], nil
		})
	}
	plain("readFile", "file", builtin.OutText, "encoding")
	plain("writeFile", "file", "", "text", "encoding")
	plain("fileExists", "file", builtin.OutFound)
	plain("touch", "file", "")
	plain("stash", "name", "", "includes", "excludes", "allowEmpty", "useDefaultExcludes")
	plain("unstash", "name", "")
	plain("unzip", "zipFile", "", "dir", "glob")
	step("deleteDir", deleteDir)
	step("cleanWs", cleanWs)
	step("archiveArtifacts", archiveArtifacts)
	step("archive", archiveArtifacts)
	step("publishHTML", publishHTML)
	step("junit", junit)
	step("zip", zipStep)
	step("findFiles", findFiles)
	step("pwd", pwd)
	for _, name := range []string{"sha256", "sha1"} {
		step(name, func(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
			a, err := b.args(c, "file")
			if err != nil {
				return nil, err
			}
			if err := b.needNode(c.Thread, f, name); err != nil {
				return nil, err
			}
			out, err := b.builtin(c, f, "digest", name+" "+a.text("file"), map[string]string{"file": a.text("file"), "algorithm": name})
			return out[builtin.OutText], err
		})
	}
}

// inputs are the arguments of these names that were given.
func (a *arguments) inputs(names ...string) map[string]string {
	in := map[string]string{}
	for _, name := range names {
		if a.has(name) {
			in[name] = a.text(name)
		}
	}
	return in
}

func deleteDir(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	if err := b.needNode(c.Thread, f, "deleteDir"); err != nil {
		return nil, err
	}
	_, err := b.builtin(c, f, "deleteDir", "deleteDir", map[string]string{})
	return nil, err
}

func cleanWs(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c)
	if err != nil {
		return nil, err
	}
	if err := b.needNode(c.Thread, f, "cleanWs"); err != nil {
		return nil, err
	}
	var include, exclude []string
	if list, ok := a.value("patterns").(*groovy.List); ok {
		for _, item := range list.Items {
			m, ok := item.(*groovy.Map)
			if !ok {
				continue
			}
			pattern, _ := m.Text("pattern")
			kind, _ := m.Text("type")
			text, err := c.Text(pattern)
			if err != nil {
				return nil, err
			}
			if kind == "EXCLUDE" {
				exclude = append(exclude, text)
			} else {
				include = append(include, text)
			}
		}
	}
	_, err = b.builtin(c, f, "cleanWs", "cleanWs", map[string]string{"include": strings.Join(include, ","), "exclude": strings.Join(exclude, ",")})
	return nil, err
}

// archiveName is a name for what a build keeps: the one that is given, with a
// number if the build has used it before.
func (b *build) archiveName(name string) string {
	b.artifacts[name]++
	if n := b.artifacts[name]; n > 1 {
		return fmt.Sprintf("%s-%d", name, n)
	}
	return name
}

func archiveArtifacts(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	first := "artifacts"
	if c.Name == "archive" {
		first = "includes"
	}
	a, err := b.args(c, first)
	if err != nil {
		return nil, err
	}
	if err := b.needNode(c.Thread, f, c.Name); err != nil {
		return nil, err
	}
	if a.flag("onlyIfSuccessful", false) && b.result > success {
		f.say("Skipped archiving because build is not successful")
		return nil, nil
	}
	in := a.inputs("artifacts", "excludes", "allowEmptyArchive", "defaultExcludes")
	if _, given := in["artifacts"]; !given {
		in["artifacts"] = a.text("includes")
	}
	if list, ok := a.value(first).(*groovy.List); ok {
		var parts []string
		for _, item := range list.Items {
			text, err := c.Text(item)
			if err != nil {
				return nil, err
			}
			parts = append(parts, text)
		}
		in["artifacts"] = strings.Join(parts, ",")
	}
	in["as"] = b.archiveName("archive")
	_, err = b.builtin(c, f, "archiveArtifacts", "archiveArtifacts "+label("", in["artifacts"]), in)
	return nil, err
}

func publishHTML(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "target")
	if err != nil {
		return nil, err
	}
	if m, ok := a.value("target").(*groovy.Map); ok {
		for k, v := range m.All() {
			if name, ok := k.(string); ok {
				a.values[name] = v
			}
		}
	}
	if err := b.needNode(c.Thread, f, c.Name); err != nil {
		return nil, err
	}
	in := a.inputs("reportDir", "allowMissing")
	name := a.text("reportName")
	if name == "" {
		name = "HTML Report"
	}
	in["as"] = b.archiveName(name)
	_, err = b.builtin(c, f, "publish", "publishHTML "+name, in)
	return nil, err
}

// junit reads test reports. Failed tests make the build unstable.
func junit(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "testResults")
	if err != nil {
		return nil, err
	}
	if err := b.needNode(c.Thread, f, c.Name); err != nil {
		return nil, err
	}
	out, err := b.builtin(c, f, "junit", "junit "+label("", a.text("testResults")), a.inputs("testResults", "allowEmptyResults", "skipMarkingBuildUnstable"))
	if err != nil {
		return nil, err
	}
	if out[builtin.OutWorse] != "" {
		b.worsen(unstable, "there are test failures")
		f.stage.worsen(unstable, "there are test failures")
	}
	if out[builtin.OutJSON] == "" {
		return nil, nil
	}
	return groovy.ParseJSON(out[builtin.OutJSON])
}

func zipStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "zipFile")
	if err != nil {
		return nil, err
	}
	if !a.has("zipFile") {
		return symbolCall(b, c, f)
	}
	if err := b.needNode(c.Thread, f, c.Name); err != nil {
		return nil, err
	}
	if _, err := b.builtin(c, f, "zip", "zip "+a.text("zipFile"), a.inputs("zipFile", "dir", "glob", "exclude", "overwrite", "defaultExcludes")); err != nil {
		return nil, err
	}
	if a.flag("archive", false) {
		_, err = b.builtin(c, f, "archiveArtifacts", "archive "+a.text("zipFile"), map[string]string{"artifacts": a.text("zipFile"), "as": b.archiveName("archive")})
	}
	return nil, err
}

// findFiles lists files, each with name, path, directory, length and
// lastModified.
func findFiles(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "glob")
	if err != nil {
		return nil, err
	}
	if err := b.needNode(c.Thread, f, c.Name); err != nil {
		return nil, err
	}
	out, err := b.builtin(c, f, "findFiles", "findFiles "+a.text("glob"), a.inputs("glob", "excludes"))
	if err != nil {
		return nil, err
	}
	v, err := groovy.ParseJSON(out[builtin.OutJSON])
	if err != nil {
		return nil, err
	}
	if list, ok := v.(*groovy.List); ok {
		for i, item := range list.Items {
			if m, ok := item.(*groovy.Map); ok {
				list.Items[i] = foundFile{m}
			}
		}
	}
	return v, nil
}

// foundFile is a file that findFiles found; as a text it is its path.
type foundFile struct{ of *groovy.Map }

func (foundFile) ClassName() string {
	return "org.jenkinsci.plugins.pipeline.utility.steps.fs.FileWrapper"
}
func (v foundFile) Get(c *groovy.Call) (groovy.Value, error) {
	if value, ok := v.of.Text(c.Name); ok {
		return value, nil
	}
	return nil, groovy.ErrMissing
}
func (foundFile) Set(*groovy.Call, groovy.Value) error { return groovy.ErrMissing }
func (v foundFile) String() string {
	path, _ := v.of.Text("path")
	return fmt.Sprint(path)
}
func (v foundFile) Invoke(c *groovy.Call) (groovy.Value, error) {
	if c.Name == "toString" {
		path, _ := v.of.Text("path")
		return path, nil
	}
	if name, ok := property(c.Name); ok && len(c.Args) == 0 {
		if value, ok := v.of.Text(name); ok {
			return value, nil
		}
	}
	return nil, groovy.ErrMissing
}

func pwd(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "tmp")
	if err != nil {
		return nil, err
	}
	if err := b.needNode(c.Thread, f, c.Name); err != nil {
		return nil, err
	}
	if a.flag("tmp", false) {
		return b.known(f)["WORKSPACE_TMP"], nil
	}
	return f.dir, nil
}
