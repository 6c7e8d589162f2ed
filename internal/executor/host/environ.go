package host

import (
	"slices"
	"strings"
)

// environment is what every step starts from. A developer expects the tools of
// the shell to work (PATH, proxies, GOPATH, JAVA_HOME, virtual environments),
// so everything passes that nothing speaks against. Against it speak: secrets
// (a step must be given them by name), the marks of another CI system or of a
// program around us, what bends git or the shell, and the terminal.
type environment struct {
	entries []entry // sorted by name
	path    string
}

type entry struct{ name, text string } // text is NAME=value

// keptOut are the names that steps do not inherit: "NAME", "PREFIX*" or
// "*SUFFIX".
var keptOut = []string{
	// Ours, and those of the systems whose part we play.
	"FAIRLEAD_*", "GITHUB_*", "RUNNER_*", "ACTIONS_*", "INPUT_*", "STATE_*",
	"CI", "CI_*", "CONTINUOUS_INTEGRATION", "GITLAB_*", "JENKINS_*", "HUDSON_*", "TF_BUILD", "SYSTEM_*", "AGENT_*",
	"BUILD_ID", "BUILD_NUMBER", "BUILD_TAG", "BUILD_URL", "BUILDKITE*", "CIRCLE*", "TRAVIS*", "APPVEYOR*",
	"TEAMCITY*", "DRONE*", "BITBUCKET_*", "WOODPECKER*",

	// Secrets and the doors to them.
	"*_TOKEN", "*_TOKENS", "*_SECRET", "*_SECRETS", "*_SECRET_KEY", "*_PASSWORD", "*_PASSWD", "*_PASSPHRASE", "*_PASS",
	"*_CREDENTIALS", "*_CREDENTIAL", "*_API_KEY", "*_APIKEY", "*_ACCESS_KEY", "*_ACCESS_KEY_ID", "*_PRIVATE_KEY", "*_PAT",
	"TOKEN", "SECRET", "PASSWORD", "API_KEY", "PGPASSWORD", "MYSQL_PWD", "AWS_*", "AZURE_*", "ARM_*", "VAULT_*", "DOCKER_AUTH_CONFIG",
	"*_AUTHTOKEN", "*_AUTH", "SSH_*", "GPG_*", "DBUS_*", "SUDO_*",

	// What bends git, the shell, the dynamic linker, make and node.
	"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
	"GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_QUARANTINE_PATH", "GIT_PUSH_OPTION_*", "GIT_REFLOG_ACTION",
	"GIT_EXEC_PATH", "GIT_INTERNAL_*", "GIT_EDITOR", "GIT_ASKPASS", "GIT_CEILING_DIRECTORIES",
	"BASH_ENV", "ENV", "BASHOPTS", "SHELLOPTS", "BASH_FUNC_*", "PROMPT_COMMAND", "PS0", "PS1", "PS2", "PS3", "PS4", "CDPATH", "GLOBIGNORE",
	"IFS", "POSIXLY_CORRECT", "HISTFILE", "HISTCONTROL", "HISTSIZE", "SHLVL", "PWD", "OLDPWD", "_",
	"LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "PYTHONSTARTUP", "PYTHONINSPECT",
	"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "NODE_CHANNEL_FD", "npm_lifecycle_*", "npm_package_*", "npm_execpath", "npm_command",
	"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC", "INVOCATION_ID", "JOURNAL_STREAM",

	// The terminal and the desktop.
	"TERM", "TERM_*", "TERMINFO", "COLORTERM", "LS_COLORS", "COLUMNS", "LINES", "TMUX*", "STY", "WINDOWID", "VTE_VERSION", "VSCODE_*",
	"DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_SESSION_*", "DESKTOP_SESSION", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE",
}

// inherit chooses from the entries of a process's environment.
func inherit(environ, patterns []string) environment {
	names := make(map[string]bool)
	var e environment
	for _, text := range environ {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" || names[name] || !allowed(name, patterns) {
			continue
		}
		names[name] = true
		if name == "PATH" {
			e.path = value
			continue
		}
		e.entries = append(e.entries, entry{name, text})
	}
	slices.SortFunc(e.entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	if e.path == "" {
		e.path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	return e
}

func allowed(name string, patterns []string) bool {
	ok := !slices.ContainsFunc(keptOut, func(p string) bool { return matches(p, name) })
	for _, p := range patterns {
		p, no := strings.CutPrefix(p, "!")
		if matches(p, name) {
			ok = !no
		}
	}
	return ok
}

// matches compares without regard to upper and lower case, as http_proxy and
// npm_config_token are also written.
func matches(pattern, name string) bool {
	if p, ok := strings.CutSuffix(pattern, "*"); ok {
		return len(name) >= len(p) && strings.EqualFold(name[:len(p)], p)
	}
	if s, ok := strings.CutPrefix(pattern, "*"); ok {
		return len(name) >= len(s) && strings.EqualFold(name[len(name)-len(s):], s)
	}
	return strings.EqualFold(name, pattern)
}

// with is the environment of one command: set overrules what is inherited, dirs
// go in front of PATH, and extra (NAME=value) is added when its name is not set.
// The second result is the PATH in it.
func (e *environment) with(set map[string]string, dirs []string, extra ...entry) ([]string, string) {
	env := make([]string, 0, len(e.entries)+len(set)+len(extra)+1)
	for _, x := range extra {
		if _, over := set[x.name]; !over {
			env = append(env, x.text)
		}
	}
	given := len(env)
	for _, x := range e.entries {
		_, over := set[x.name]
		if !over && !slices.ContainsFunc(extra, func(y entry) bool { return y.name == x.name }) {
			env = append(env, x.text)
		}
	}
	path, ok := set["PATH"]
	if !ok {
		path = e.path
	}
	if len(dirs) > 0 {
		path = strings.Join(dirs, ":") + ":" + path
		path = strings.TrimSuffix(path, ":")
	}
	for k, v := range set {
		if k != "PATH" {
			env = append(env, k+"="+v)
		}
	}
	slices.Sort(env[given:])
	return append(env, "PATH="+path), path
}
