package cache

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Zone is a place that a tool keeps for itself: what lies there changes how
// fast a step is and not what comes of it. It is neither input nor output.
//
// What decides results is no zone, however much it looks like a cache: places
// into which people and other steps publish (Maven's local repository, Ivy's
// local), environments that are put together (virtualenvs, Bazel's output
// base), and data that answers questions (databases of vulnerabilities).
type Zone struct {
	Tool string // "go"
	// Vars are environment variables that name the directory, the first one
	// that is set counts; what follows a slash is below it: "GOPATH/pkg/mod".
	Vars []string
	// Path is where the directory is when none of them is set. ~ is the home
	// directory; $XDG_CACHE_HOME and its like have their usual defaults;
	// $UID, $UID36 (in base 36) and $USER are the user's. "**/name" is any
	// directory of that name outside of the job's directories.
	Path string
	Why  string // one line: why it may be left out
}

// Zones are the built-in zones, by tool.
func Zones() []Zone {
	const (
		fetched  = "what is fetched is named and checked by the lock file"
		compiled = "results of compilations under the digest of all that went into them"
		own      = "the tool asks again when its inputs have changed"
		notes    = "counters and logs that nothing is decided by"
	)
	return []Zone{
		{Tool: "go", Vars: []string{"GOCACHE"}, Path: "$XDG_CACHE_HOME/go-build", Why: compiled},
		{Tool: "go", Vars: []string{"GOMODCACHE", "GOPATH/pkg/mod"}, Path: "~/go/pkg/mod", Why: "modules are named and checked by go.sum"},
		{Tool: "go", Vars: []string{"GOPATH/pkg/sumdb"}, Path: "~/go/pkg/sumdb", Why: "what the checksum database has proved"},
		{Tool: "go", Path: "$XDG_CONFIG_HOME/go/telemetry", Why: notes},
		{Tool: "golangci-lint", Vars: []string{"GOLANGCI_LINT_CACHE"}, Path: "$XDG_CACHE_HOME/golangci-lint", Why: own},
		{Tool: "staticcheck", Vars: []string{"STATICCHECK_CACHE"}, Path: "$XDG_CACHE_HOME/staticcheck", Why: own},
		{Tool: "gopls", Path: "$XDG_CACHE_HOME/gopls", Why: own},

		{Tool: "npm", Vars: []string{"npm_config_cache/_cacache", "NPM_CONFIG_CACHE/_cacache"}, Path: "~/.npm/_cacache", Why: fetched},
		{Tool: "npm", Vars: []string{"npm_config_cache/_logs", "NPM_CONFIG_CACHE/_logs"}, Path: "~/.npm/_logs", Why: notes},
		{Tool: "npm", Vars: []string{"npm_config_cache/_locks", "NPM_CONFIG_CACHE/_locks"}, Path: "~/.npm/_locks", Why: notes},
		{Tool: "npm", Vars: []string{"npm_config_cache/_update-notifier-last-checked", "NPM_CONFIG_CACHE/_update-notifier-last-checked"},
			Path: "~/.npm/_update-notifier-last-checked", Why: notes},
		{Tool: "node", Vars: []string{"NODE_COMPILE_CACHE"}, Path: "/tmp/node-compile-cache", Why: compiled},
		{Tool: "node", Path: "/tmp/v8-compile-cache-$UID", Why: compiled},
		{Tool: "node-gyp", Path: "$XDG_CACHE_HOME/node-gyp", Why: "headers of the version of node that asks"},
		{Tool: "corepack", Vars: []string{"COREPACK_HOME"}, Path: "$XDG_CACHE_HOME/node/corepack", Why: "package managers in the version that package.json names"},
		{Tool: "yarn", Vars: []string{"YARN_CACHE_FOLDER"}, Path: "$XDG_CACHE_HOME/yarn", Why: fetched},
		{Tool: "yarn", Vars: []string{"YARN_GLOBAL_FOLDER"}, Path: "~/.yarn/berry", Why: fetched},
		{Tool: "pnpm", Vars: []string{"npm_config_store_dir", "PNPM_HOME/store"}, Path: "$XDG_DATA_HOME/pnpm/store", Why: fetched},
		{Tool: "pnpm", Path: "~/.pnpm-store", Why: fetched},
		{Tool: "pnpm", Path: "$XDG_CACHE_HOME/pnpm", Why: fetched},
		{Tool: "pnpm", Path: "$XDG_STATE_HOME/pnpm", Why: notes},
		{Tool: "bun", Vars: []string{"BUN_INSTALL_CACHE_DIR", "BUN_INSTALL/install/cache"}, Path: "~/.bun/install/cache", Why: fetched},
		{Tool: "deno", Vars: []string{"DENO_DIR"}, Path: "$XDG_CACHE_HOME/deno", Why: fetched},
		{Tool: "jest", Path: "/tmp/jest_$UID36", Why: compiled},
		{Tool: "tsx", Path: "/tmp/tsx-$UID", Why: compiled},
		{Tool: "turbo", Vars: []string{"TURBO_CACHE_DIR"}, Path: "$XDG_DATA_HOME/turborepo", Why: own},
		{Tool: "nx", Vars: []string{"NX_CACHE_DIRECTORY"}, Path: "~/.nx/cache", Why: own},

		{Tool: "python", Vars: []string{"PYTHONPYCACHEPREFIX"}, Path: "**/__pycache__", Why: "compiled again when its source has changed"},
		{Tool: "pip", Vars: []string{"PIP_CACHE_DIR"}, Path: "$XDG_CACHE_HOME/pip", Why: fetched},
		{Tool: "uv", Vars: []string{"UV_CACHE_DIR"}, Path: "$XDG_CACHE_HOME/uv", Why: fetched},
		{Tool: "poetry", Vars: []string{"POETRY_CACHE_DIR/cache"}, Path: "$XDG_CACHE_HOME/pypoetry/cache", Why: fetched},
		{Tool: "poetry", Vars: []string{"POETRY_CACHE_DIR/artifacts"}, Path: "$XDG_CACHE_HOME/pypoetry/artifacts", Why: fetched},
		{Tool: "pipenv", Vars: []string{"PIPENV_CACHE_DIR"}, Path: "$XDG_CACHE_HOME/pipenv", Why: fetched},
		{Tool: "virtualenv", Path: "$XDG_DATA_HOME/virtualenv", Why: "wheels that virtualenv brings with it, unpacked"},
		{Tool: "pre-commit", Vars: []string{"PRE_COMMIT_HOME"}, Path: "$XDG_CACHE_HOME/pre-commit", Why: "hooks in the revision that .pre-commit-config.yaml names"},
		{Tool: "black", Vars: []string{"BLACK_CACHE_DIR"}, Path: "$XDG_CACHE_HOME/black", Why: own},
		{Tool: "pylint", Vars: []string{"PYLINTHOME"}, Path: "$XDG_CACHE_HOME/pylint", Why: own},

		{Tool: "cargo", Vars: []string{"CARGO_HOME/registry"}, Path: "~/.cargo/registry", Why: fetched},
		{Tool: "cargo", Vars: []string{"CARGO_HOME/git"}, Path: "~/.cargo/git", Why: fetched},
		{Tool: "cargo", Vars: []string{"CARGO_HOME/.package-cache"}, Path: "~/.cargo/.package-cache", Why: notes},
		{Tool: "cargo", Vars: []string{"CARGO_HOME/.package-cache-mutate"}, Path: "~/.cargo/.package-cache-mutate", Why: notes},
		{Tool: "cargo", Vars: []string{"CARGO_HOME/.global-cache"}, Path: "~/.cargo/.global-cache", Why: notes},
		{Tool: "cargo", Vars: []string{"CARGO_HOME/.global-cache-journal"}, Path: "~/.cargo/.global-cache-journal", Why: notes},
		{Tool: "rustup", Vars: []string{"RUSTUP_HOME/tmp"}, Path: "~/.rustup/tmp", Why: notes},
		{Tool: "rustup", Vars: []string{"RUSTUP_HOME/downloads"}, Path: "~/.rustup/downloads", Why: fetched},

		{Tool: "ccache", Vars: []string{"CCACHE_DIR"}, Path: "$XDG_CACHE_HOME/ccache", Why: compiled},
		{Tool: "ccache", Path: "~/.ccache", Why: compiled},
		{Tool: "sccache", Vars: []string{"SCCACHE_DIR"}, Path: "$XDG_CACHE_HOME/sccache", Why: compiled},
		{Tool: "zig", Vars: []string{"ZIG_GLOBAL_CACHE_DIR"}, Path: "$XDG_CACHE_HOME/zig", Why: compiled},

		{Tool: "gradle", Vars: []string{"GRADLE_USER_HOME/caches"}, Path: "~/.gradle/caches", Why: fetched},
		{Tool: "gradle", Vars: []string{"GRADLE_USER_HOME/wrapper"}, Path: "~/.gradle/wrapper", Why: "Gradle in the version that the wrapper's properties name"},
		{Tool: "gradle", Vars: []string{"GRADLE_USER_HOME/daemon"}, Path: "~/.gradle/daemon", Why: notes},
		{Tool: "gradle", Vars: []string{"GRADLE_USER_HOME/native"}, Path: "~/.gradle/native", Why: "libraries that Gradle brings with it, unpacked"},
		{Tool: "gradle", Vars: []string{"GRADLE_USER_HOME/notifications"}, Path: "~/.gradle/notifications", Why: notes},
		{Tool: "gradle", Vars: []string{"GRADLE_USER_HOME/workers"}, Path: "~/.gradle/workers", Why: notes},
		{Tool: "gradle", Vars: []string{"GRADLE_USER_HOME/.tmp"}, Path: "~/.gradle/.tmp", Why: notes},
		{Tool: "maven", Vars: []string{"MAVEN_USER_HOME/wrapper"}, Path: "~/.m2/wrapper", Why: "Maven in the version that the wrapper's properties name"},
		{Tool: "ivy", Path: "~/.ivy2/cache", Why: fetched},
		{Tool: "sbt", Path: "~/.sbt/boot", Why: "sbt and Scala in the versions that build.properties names"},
		{Tool: "coursier", Vars: []string{"COURSIER_CACHE"}, Path: "$XDG_CACHE_HOME/coursier", Why: fetched},
		{Tool: "java", Path: "/tmp/hsperfdata_$USER", Why: notes},

		{Tool: "nuget", Vars: []string{"NUGET_PACKAGES"}, Path: "~/.nuget/packages", Why: fetched},
		{Tool: "nuget", Vars: []string{"NUGET_HTTP_CACHE_PATH"}, Path: "$XDG_DATA_HOME/NuGet", Why: fetched},
		{Tool: "nuget", Vars: []string{"NUGET_SCRATCH"}, Path: "/tmp/NuGetScratch", Why: notes},
		{Tool: "composer", Vars: []string{"COMPOSER_CACHE_DIR"}, Path: "$XDG_CACHE_HOME/composer", Why: fetched},
		{Tool: "bundler", Vars: []string{"BUNDLE_USER_CACHE"}, Path: "~/.bundle/cache", Why: fetched},
		{Tool: "gem", Path: "$XDG_CACHE_HOME/gem", Why: fetched},
		{Tool: "hex", Vars: []string{"HEX_HOME/packages"}, Path: "~/.hex/packages", Why: fetched},
		{Tool: "dart", Vars: []string{"PUB_CACHE/hosted"}, Path: "~/.pub-cache/hosted", Why: fetched},
		{Tool: "swift", Path: "$XDG_CACHE_HOME/org.swift.swiftpm", Why: fetched},

		{Tool: "fontconfig", Path: "$XDG_CACHE_HOME/fontconfig", Why: own},
		{Tool: "mesa", Vars: []string{"MESA_SHADER_CACHE_DIR"}, Path: "$XDG_CACHE_HOME/mesa_shader_cache", Why: compiled},
	}
}

// Ignored are the directories and files that are neither inputs nor outputs of
// a step with the given environment ("NAME=value"): what trace.Spec.Ignored
// wants. They are the built-in zones and the rule's own, in which ~ and
// variables stand for what they are in that environment. A zone that holds one
// of the job's directories, the home directory, or a whole top directory of
// the machine is not believed: with it nearly nothing would be seen.
func Ignored(environ []string, r Rule, dirs plan.Dirs) []string {
	e := environment{}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			e[name] = value
		}
	}
	var all []string
	add := func(path string) {
		if e.credible(path, dirs) {
			all = append(all, path)
		}
	}
	for _, z := range Zones() {
		add(e.locate(z))
	}
	for _, zone := range r.Zones {
		add(e.expand(zone))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// environment is that of a step.
type environment map[string]string

// locate is where a zone is, "" when that cannot be said.
func (e environment) locate(z Zone) string {
	for _, v := range z.Vars {
		name, below, _ := strings.Cut(v, "/")
		value := e[name]
		if name == "GOPATH" {
			value, _, _ = strings.Cut(value, string(filepath.ListSeparator)) // modules go to the first
		}
		if value != "" {
			return e.expand(filepath.Join(value, below))
		}
	}
	return e.expand(z.Path)
}

// expand puts the environment into a path, "" when something in it is not set.
func (e environment) expand(path string) string {
	if path == "~" || strings.HasPrefix(path, "~/") {
		path = "$HOME" + path[1:]
	}
	known := true
	path = os.Expand(path, func(name string) string {
		value := e.value(name)
		known = known && value != ""
		return value
	})
	switch {
	case !known:
		return ""
	case strings.HasPrefix(path, "**/"):
		return path
	}
	return filepath.Clean(path)
}

func (e environment) value(name string) string {
	below := func(dir string) string {
		if home := e.value("HOME"); home != "" {
			return home + dir
		}
		return ""
	}
	switch name {
	case "HOME":
		if home := e["HOME"]; home != "" {
			return home
		}
		home, _ := os.UserHomeDir() // "" when there is none
		return home
	case "XDG_CACHE_HOME":
		return cmp.Or(e[name], below("/.cache"))
	case "XDG_CONFIG_HOME":
		return cmp.Or(e[name], below("/.config"))
	case "XDG_DATA_HOME":
		return cmp.Or(e[name], below("/.local/share"))
	case "XDG_STATE_HOME":
		return cmp.Or(e[name], below("/.local/state"))
	case "UID":
		return strconv.Itoa(os.Getuid())
	case "UID36":
		return strconv.FormatInt(int64(os.Getuid()), 36)
	case "USER":
		if user := cmp.Or(e["USER"], e["LOGNAME"]); user != "" || os.Getuid() != 0 {
			return user
		}
		return "root"
	}
	return e[name]
}

// credible reports whether a zone is one.
func (e environment) credible(zone string, dirs plan.Dirs) bool {
	if name, ok := strings.CutPrefix(zone, "**/"); ok {
		return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/*")
	}
	if !filepath.IsAbs(zone) || strings.Count(zone, "/") < 2 {
		return false
	}
	for _, dir := range append(sharedTemp(), dirs.Workspace, dirs.Temp, e.value("HOME")) {
		if dir != "" && below(dir, zone) {
			return false
		}
	}
	return true
}
