package builtin

import (
	"fmt"
	"os"
	"path/filepath"
)

// Problem matchers that the setup actions register, so that what compilers
// and test runners complain about becomes remarks in the code
// (https://github.com/actions/toolkit/blob/main/docs/problem-matchers.md).
// The messages are those of the tools; the owners are the names that users
// give to ::remove-matcher.
const (
	goMatchers = `{"problemMatcher": [
  {"owner": "go", "pattern": [
    {"regexp": "^\\s*(?:vet: )?(\\S[^:]*\\.go):(\\d+)(?::(\\d+))?: (.+)$", "file": 1, "line": 2, "column": 3, "message": 4}]}
]}`

	nodeMatchers = `{"problemMatcher": [
  {"owner": "tsc", "pattern": [
    {"regexp": "^(\\S[^()]*)\\((\\d+),(\\d+)\\): (error|warning|info) (TS\\d+): (.+)$", "file": 1, "line": 2, "column": 3, "severity": 4, "code": 5, "message": 6}]},
  {"owner": "eslint-compact", "pattern": [
    {"regexp": "^(\\S.*): line (\\d+), col (\\d+), (Error|Warning|Info) - (.+) \\((.+)\\)$", "file": 1, "line": 2, "column": 3, "severity": 4, "message": 5, "code": 6}]},
  {"owner": "eslint-stylish", "pattern": [
    {"regexp": "^(\\S.*\\.\\w+)$", "file": 1},
    {"regexp": "^\\s+(\\d+):(\\d+)\\s+(error|warning|info)\\s+(.+?)\\s\\s+(\\S+)$", "line": 1, "column": 2, "severity": 3, "message": 4, "code": 5, "loop": true}]}
]}`

	pythonMatchers = `{"problemMatcher": [
  {"owner": "python", "pattern": [
    {"regexp": "^\\s*File \"(.+)\", line (\\d+)(?:, in .+)?$", "file": 1, "line": 2},
    {"regexp": "^\\s+\\S.*$"},
    {"regexp": "^(\\w[\\w.]*(?:Error|Exception|Warning|Interrupt|Exit)(?:: .*)?)$", "message": 1}]}
]}`

	javaMatchers = `{"problemMatcher": [
  {"owner": "javac", "pattern": [
    {"regexp": "^(\\S.*\\.java):(\\d+): (error|warning): (.+)$", "file": 1, "line": 2, "severity": 3, "message": 4}]},
  {"owner": "java", "pattern": [
    {"regexp": "^Exception in thread \"[^\"]*\" (\\S+: .+)$", "message": 1},
    {"regexp": "^\\s+at .+\\((\\S+\\.java):(\\d+)\\)$", "file": 1, "line": 2}]}
]}`
)

// addMatchers registers problem matchers, with the command that a step of a
// workflow would use.
func (c *call) addMatchers(tool, text string) error {
	file := filepath.Join(c.Scope.Dirs.Temp, "matchers-"+tool+".json")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the problem matchers: %w", err)
	}
	fmt.Fprintln(c.log, "##[add-matcher]"+file)
	return nil
}
