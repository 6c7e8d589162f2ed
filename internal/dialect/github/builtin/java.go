package builtin

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// vendors are the words by which a JDK's release file tells its distribution.
var vendors = map[string][]string{
	"temurin": {"Eclipse Adoptium", "Temurin"}, "adopt": {"AdoptOpenJDK", "Adoptium"}, "adopt-hotspot": {"AdoptOpenJDK"}, "adopt-openj9": {"AdoptOpenJDK"},
	"zulu": {"Azul"}, "liberica": {"BellSoft"}, "microsoft": {"Microsoft"}, "corretto": {"Amazon"}, "semeru": {"IBM", "Semeru"},
	"oracle": {"Oracle"}, "dragonwell": {"Alibaba"}, "sapmachine": {"SAP"}, "graalvm": {"GraalVM"}, "graalvm-community": {"GraalVM"},
	"jetbrains": {"JetBrains"}, "kona": {"Tencent"}, "jdkfile": nil,
}

// setupJava is actions/setup-java.
func setupJava(_ context.Context, c *call) error {
	wanted, distribution := c.lines("java-version"), c.input("distribution")
	file := c.input("java-version-file")
	if len(wanted) == 0 {
		if file == "" {
			return failf("setup-java: java-version or java-version-file must be given")
		}
		text, err := c.versionFile("setup-java", file)
		if err != nil {
			return err
		}
		v, d := javaVersion(filepath.Base(file), text)
		if v == "" {
			return failf("setup-java: the version file %s names no version of Java", file)
		}
		wanted = []string{v}
		if distribution == "" {
			distribution = d
		}
	}
	distribution = strings.ToLower(distribution)
	words, known := vendors[distribution]
	switch {
	case distribution == "":
		return failf("setup-java: the input \"distribution\" is required")
	case !known:
		return failf("setup-java: there is no distribution named %q", distribution)
	case distribution == "jdkfile":
		return failf("setup-java: a JDK file cannot be unpacked here; install the JDK, and name its distribution")
	}
	makeDefault, err := c.flag("set-default")
	if err != nil {
		return err
	}
	for _, name := range []string{"gpg-private-key", "settings-path", "mvn-toolchain-id"} {
		if c.input(name) != "" {
			c.warn("setup-java: the input %q is not used here: your own Maven and GPG configuration is left as it is", name)
		}
	}
	have := c.installedJava(!strings.HasPrefix(c.input("java-package"), "jre"))
	var t toolchain
	for i, w := range wanted {
		var ours bool
		t, ours, err = c.pickJava(w, distribution, words, have)
		if err != nil {
			return err
		}
		if !ours {
			c.warn("setup-java: the %s build of Java %s is not installed; that of %s is used (%s)", distribution, w, t.vendor, t.version.text)
		}
		c.say("Using Java %s (%s)", t.version.text, t.dir)
		c.setenv(fmt.Sprintf("JAVA_HOME_%d_%s", t.version.number[0], strings.ToUpper(c.arch())), t.dir)
		if makeDefault && i == len(wanted)-1 {
			c.setenv("JAVA_HOME", t.dir)
			c.prepend(t, "java", "javac")
		}
	}
	c.output("distribution", distribution)
	c.output("version", t.version.text)
	c.output("path", t.dir)
	c.keepsCaches()
	if matchers, err := c.flag("problem-matcher"); err != nil || !matchers {
		return err
	}
	return c.addMatchers("java", javaMatchers)
}

// pickJava picks the newest that fits, of the distribution if there is one:
// builds of the same version differ little, and a warning tells.
func (c *call) pickJava(wanted, distribution string, words []string, have []toolchain) (t toolchain, ours bool, err error) {
	spec := strings.ToLower(wanted)
	if spec == "latest" {
		spec = "x"
	}
	early := strings.HasSuffix(spec, "-ea")
	spec = strings.TrimSuffix(spec, "-ea")
	if rest, ok := strings.CutPrefix(spec, "1."); ok && (rest == "8" || strings.HasPrefix(rest, "8.")) {
		spec = rest // 1.8 is Java 8
	}
	spec, _, _ = strings.Cut(spec, "+")
	r, err := parseRange(spec)
	if err != nil {
		return t, false, failf("setup-java: %v", err)
	}
	r.pre = early
	isOurs := func(t toolchain) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(strings.ToLower(t.vendor), strings.ToLower(w)) })
	}
	var own []toolchain
	for _, h := range have {
		if isOurs(h) {
			own = append(own, h)
		}
	}
	if t, ok := pick(own, r); ok {
		return t, true, nil
	}
	if t, ok := pick(have, r); ok {
		return t, false, nil
	}
	of := javaTool
	of.cache = "Java_" + distribution + "_jdk"
	return t, false, c.absentError(of, wanted, example(spec), have)
}

var (
	javaNumber = regexp.MustCompile(`\d+(?:[._]\d+)*(?:\+\d+)?(?:-ea)?`)
	sdkman     = regexp.MustCompile(`(?m)^\s*java\s*=\s*([^\s#-]+)(?:-(\w+))?`)
)

// javaVersion reads a version file of Java, and the distribution if it tells.
func javaVersion(base, text string) (version, distribution string) {
	switch base {
	case ".sdkmanrc":
		m := sdkman.FindStringSubmatch(text)
		if m == nil {
			return "", ""
		}
		return m[1], map[string]string{
			"tem": "temurin", "zulu": "zulu", "amzn": "corretto", "librca": "liberica", "ms": "microsoft", "sem": "semeru",
			"oracle": "oracle", "albba": "dragonwell", "sapmchn": "sapmachine", "graal": "graalvm", "graalce": "graalvm-community",
		}[m[2]]
	case ".tool-versions":
		text = toolVersions(text, "java")
	default:
		text = firstLine(text)
	}
	for name := range vendors {
		if strings.HasPrefix(strings.ToLower(text), name+"-") && len(name) > len(distribution) {
			distribution = name
		}
	}
	return javaNumber.FindString(text), distribution
}
