package task

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/depot"
	"github.com/fairlead-dev/fairlead/internal/dialect"
)

// tools are the tasks that run a tool, and those that find one.
func tools() []*Task {
	return []*Task{
		{Name: "Npm", Versions: []int{1}, names: map[string]string{"cwd": "workingdir", "workingdirectory": "workingdir"}, resolve: npm},
		{Name: "Go", Versions: []int{0}, resolve: goTask},
		{Name: "DotNetCoreCLI", Versions: []int{1, 2}, resolve: dotnet},
		{Name: "Maven", Versions: []int{2, 3, 4}, names: map[string]string{"mavenpom": "mavenpomfile"}, resolve: maven},
		{Name: "Gradle", Versions: []int{2, 3, 4}, names: map[string]string{"wrapperscript": "gradlewrapperfile", "cwd": "workingdirectory"}, resolve: gradle},
		{Name: "Docker", Versions: []int{2}, resolve: docker},
		{Name: "NodeTool", Versions: []int{0}, resolve: tool("node", "versionSpec", "node", "node --version")},
		{Name: "UseNode", Versions: []int{1}, resolve: tool("node", "version", "node", "node --version")},
		{Name: "UsePythonVersion", Versions: []int{0}, resolve: tool("Python", "versionSpec", "python3", "python3 --version")},
		{Name: "GoTool", Versions: []int{0}, resolve: tool("go", "version", "go", "go version")},
		{Name: "UseDotNet", Versions: []int{2}, resolve: tool("dotnet", "version", "dotnet", "dotnet --version")},
		{Name: "UseRubyVersion", Versions: []int{0}, resolve: tool("Ruby", "versionSpec", "ruby", "ruby --version")},
		{Name: "JavaToolInstaller", Versions: []int{0, 1}, resolve: tool("Java", "versionSpec", "java", "java -version 2>&1")},
	}
}

func npm(c *call) error {
	if err := c.has("npm"); err != nil {
		return err
	}
	line := "npm " + cmp.Or(c.input("command"), "install")
	if strings.EqualFold(c.input("command"), "custom") {
		line = "npm " + c.input("customCommand")
	}
	if c.flag("verbose", false) {
		line += " --loglevel verbose"
	}
	c.in["workingdirectory"] = c.input("workingDir")
	return c.commands(line)
}

func goTask(c *call) error {
	if err := c.has("go"); err != nil {
		return err
	}
	command := cmp.Or(c.input("command"), "get")
	if command == "custom" {
		command = c.input("customCommand")
	}
	return c.commands(strings.TrimSpace("go " + command + " " + c.input("arguments")))
}

// dotnet runs one command for each project that the pattern finds.
func dotnet(c *call) error {
	if err := c.has("dotnet"); err != nil {
		return err
	}
	command := cmp.Or(c.input("command"), "build")
	arguments := c.input("arguments")
	switch command {
	case "custom":
		command = c.input("custom")
	case "push":
		return failf("DotNetCoreCLI: push needs a feed's credentials, which are not here; run dotnet nuget push in a script")
	case "pack":
		arguments = strings.TrimSpace(arguments + " --output " + quote(cmp.Or(c.input("packDirectory", "outputDir"), c.Staging)))
	case "test":
		if c.flag("publishTestResults", true) {
			arguments = strings.TrimSpace("--logger trx --results-directory " + quote(c.Scope.Dirs.Temp) + " " + arguments)
		}
	}
	patterns := c.lines("projects")
	if len(patterns) == 0 {
		return c.commands(strings.TrimSpace("dotnet " + command + " " + arguments))
	}
	found, err := c.find(c.Scope.Dirs.Workspace, patterns, depot.Search{})
	if err != nil {
		return err
	}
	var lines []string
	for _, f := range found {
		lines = append(lines, strings.TrimSpace("dotnet "+command+" "+quote(f.Path)+" "+arguments))
	}
	if len(lines) == 0 {
		return failf("DotNetCoreCLI: no project matches %s", strings.Join(patterns, ", "))
	}
	return c.commands(lines...)
}

func maven(c *call) error {
	program := "mvn"
	if err := c.has(program); err != nil {
		return err
	}
	pom := cmp.Or(c.input("mavenPomFile"), "pom.xml")
	return c.commands(strings.TrimSpace(fmt.Sprintf("%s -f %s %s %s", program, quote(c.path(pom)), c.input("options"), cmp.Or(c.input("goals"), "package"))))
}

func gradle(c *call) error {
	wrapper := c.path(cmp.Or(c.input("gradleWrapperFile"), "gradlew"))
	line := quote(wrapper) + " " + strings.TrimSpace(c.input("options")+" "+cmp.Or(c.input("tasks"), "build"))
	if options := c.input("gradleOptions"); options != "" {
		line = "GRADLE_OPTS=" + quote(options) + " " + line
	}
	return c.commands("chmod +x "+quote(wrapper), line)
}

// docker builds and pushes images with the credentials of whoever runs this:
// the service's connections are not here.
func docker(c *call) error {
	command := cmp.Or(c.input("command"), "buildAndPush")
	if command == "login" || command == "logout" {
		return c.commands("echo " + quote("Docker "+command+": the credentials of this machine are used"))
	}
	if err := c.has("docker"); err != nil {
		return err
	}
	repository := c.input("repository")
	var names []string
	for _, tag := range strings.FieldsFunc(cmp.Or(c.input("tags"), "latest"), func(r rune) bool { return r == '\n' || r == ',' }) {
		if tag = strings.TrimSpace(tag); repository != "" && tag != "" {
			names = append(names, repository+":"+tag)
		}
	}
	var lines []string
	if command == "build" || command == "buildAndPush" {
		pattern := cmp.Or(c.input("Dockerfile"), "**/Dockerfile")
		found, err := c.find(c.Scope.Dirs.Workspace, []string{pattern}, depot.Search{})
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return failf("Docker: no Dockerfile matches %s", pattern)
		}
		file := found[0].Path
		dir := c.input("buildContext")
		if dir == "" || dir == "**" {
			dir = filepath.Dir(file)
		}
		line := "docker build -f " + quote(file)
		for _, n := range names {
			line += " -t " + quote(n)
		}
		if a := c.input("arguments"); a != "" && command == "build" {
			line += " " + a
		}
		lines = append(lines, line+" "+quote(c.path(dir)))
	}
	switch command {
	case "build":
	case "push", "buildAndPush":
		for _, n := range names {
			lines = append(lines, "docker push "+quote(n))
		}
	case "start", "stop":
		lines = append(lines, "docker "+command+" "+c.input("container", "arguments"))
	default:
		lines = append(lines, strings.TrimSpace("docker "+command+" "+c.input("arguments")))
	}
	if len(lines) == 0 {
		return failf("Docker: the input \"repository\" is required to push, and was not given")
	}
	return c.commands(lines...)
}

// tool finds an installed toolchain: in the tool cache, or on PATH if its
// version fits. What is asked of a program about itself is a command like any
// other; so the answer is part of what the step observed.
func tool(folder, input, program, ask string) func(*call) error {
	return func(c *call) error {
		spec := c.input(input, "versionSpec", "version")
		if file := c.input("versionFilePath"); file != "" {
			if c.Scope.Paper {
				return dialect.ErrPaper
			}
			body, err := os.ReadFile(c.path(file))
			if err != nil {
				return failf("%s: the version file cannot be read: %v", c.task.Name, err)
			}
			spec = strings.TrimPrefix(strings.TrimSpace(string(body)), "v")
		}
		if dir := installed(c.Scope.Dirs.Tools, folder, spec); dir != "" {
			bin := dir
			if info, err := os.Stat(filepath.Join(dir, "bin")); err == nil && info.IsDir() {
				bin = filepath.Join(dir, "bin")
			}
			return c.commands("echo "+quote(program+" is in "+dir), "echo "+quote("##vso[task.prependpath]"+bin), "echo "+quote("##vso[task.setvariable variable=pythonLocation]"+dir))
		}
		if err := c.has(program); err != nil {
			return err
		}
		return c.commands(
			fmt.Sprintf("have=$(%s | sed -n 's/[^0-9]*\\([0-9][0-9.]*\\).*/\\1/p' | head -n 1)", ask),
			fmt.Sprintf("echo \"%s $have is on PATH\"", program),
			versionCheck(c.task.Name, program, spec),
		)
	}
}

// installed is the newest version in the tool cache that fits.
func installed(tools, folder, spec string) string {
	entries, err := os.ReadDir(filepath.Join(tools, folder))
	if err != nil {
		return ""
	}
	arch := map[string]string{"amd64": "x64", "arm64": "arm64", "386": "x86"}[runtime.GOARCH]
	best, dir := []int(nil), ""
	for _, e := range entries {
		at := filepath.Join(tools, folder, e.Name(), arch)
		if _, err := os.Stat(at + ".complete"); err != nil || !fits(spec, e.Name()) {
			continue
		}
		if v := parts(e.Name()); best == nil || slices.Compare(v, best) > 0 {
			best, dir = v, at
		}
	}
	return dir
}

func parts(version string) []int {
	var list []int
	for p := range strings.SplitSeq(strings.TrimPrefix(version, "v"), ".") {
		n, err := strconv.Atoi(p)
		if err != nil {
			break
		}
		list = append(list, n)
	}
	return list
}

// fits reports whether a version is what a specification asks for: 3.x,
// >=20, 18.12, a list of them with || between; "" and * are any.
func fits(spec, version string) bool {
	for one := range strings.SplitSeq(spec, "||") {
		all := true
		for part := range strings.FieldsSeq(one) {
			all = all && fitsOne(part, parts(version))
		}
		if all {
			return true
		}
	}
	return false
}

func fitsOne(spec string, have []int) bool {
	n := strings.IndexFunc(spec, func(r rune) bool { return r >= '0' && r <= '9' || r == 'v' || r == 'x' || r == '*' })
	if n < 0 {
		return false
	}
	sign, want := spec[:n], parts(strings.TrimPrefix(spec[n:], "v"))
	order := slices.Compare(have, want)
	prefix := len(have) >= len(want) && slices.Equal(have[:len(want)], want)
	switch sign {
	case ">=":
		return order >= 0
	case ">":
		return order > 0 && !prefix
	case "<":
		return order < 0
	case "<=":
		return order < 0 || prefix
	case "^":
		return order >= 0 && len(want) > 0 && len(have) > 0 && have[0] == want[0]
	case "~":
		most := min(len(want), 2)
		return order >= 0 && len(have) >= most && slices.Equal(have[:most], want[:most])
	case "", "=":
		return prefix
	}
	return false
}

// versionCheck is the line of a script that fails when $have is not what the
// specification asks for. Only plain versions and x-ranges are compared; what
// is more than that is taken as met.
func versionCheck(task, program, spec string) string {
	want := parts(strings.TrimPrefix(spec, "="))
	if len(want) == 0 {
		return ":"
	}
	texts := make([]string, len(want))
	for i, n := range want {
		texts[i] = strconv.Itoa(n)
	}
	prefix := strings.Join(texts, ".")
	return fmt.Sprintf("case \"$have.\" in %s.*) ;; *) echo \"##vso[fairlead.lacking]%s: %s %s is wanted, and this machine has $have\"; exit 1;; esac", prefix, task, program, prefix)
}
