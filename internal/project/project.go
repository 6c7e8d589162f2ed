// Package project reads fairlead.yaml, which says what pipeline files cannot.
//
// Everything in it has a default, and most projects have no such file. What it
// may hold is one table: each section of the file is a struct with a list of
// keys beside it (reuse.go), and each key says what it is called, what kind of
// value it takes, where that value goes and what it means. The table is read
// three times over:
//
//	            ┌─► Read: values, and problems with their place
//	table ──────┼─► Schema: for editors
//	            └─► docs/reference/fairlead-yaml.md (a test compares)
//
// so the reader, the schema and the reference cannot come to differ. A new
// section is a file with its struct and keys, a field of [File], and a row of
// its table.
//
// The file is somebody's, and may be wrong or hostile: whatever is in it, the
// answer is values and [plan.Problem]s, within limits. Aliases are followed
// only as deep as the table goes, and what they repeat is counted each time.
package project

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Name is the file's name, at the root of the tree.
const Name = "fairlead.yaml"

// strays are names under which the file is not read, and people look for it.
var strays = []string{"fairlead.yml", ".fairlead.yaml", ".fairlead.yml"}

// Limits of what is read.
const (
	maxFileSize = 1 << 20 // bytes
	maxValues   = 50_000  // those that aliases repeat counted each time
	maxProblems = 100     // more help nobody
	maxText     = 1000    // bytes of a name, a pattern, a path
)

// rule is the name of all problems with the file.
const rule = "fairlead-yaml"

// File is what fairlead.yaml says. The zero File is that of a project without
// one.
type File struct {
	Pipelines Pipelines
	Reuse     Reuse
	Tests     Tests
	GitLab    GitLab
	Azure     Azure
	Jenkins   Jenkins
	Known     []KnownIssue
	Databases []Database
	Coverage  Coverage
	Release   Release
	Services  []Service
	// Environments are in the order in which a release goes through them.
	Environments []DeployEnvironment
	Flags        Flags
}

func file() kind[File] {
	return mapping("sections",
		at("pipelines", func(f *File) *Pipelines { return &f.Pipelines }, pipelines(),
			"Which of the pipeline files count."),
		at("reuse", func(f *File) *Reuse { return &f.Reuse }, reuse(),
			"What may be reused: Fairlead skips steps whose inputs did not change."),
		at("tests", func(f *File) *Tests { return &f.Tests }, tests(),
			"What becomes of tests that fail, and of those that fail by chance."),
		at("gitlab", func(f *File) *GitLab { return &f.GitLab }, gitlab(),
			"What the settings of a GitLab project say and its pipeline files cannot."),
		at("azure", func(f *File) *Azure { return &f.Azure }, azure(),
			"What Azure Pipelines keep on their server: variable groups, and what stands for tasks of the marketplace."),
		at("jenkins", func(f *File) *Jenkins { return &f.Jenkins }, jenkins(),
			"What a Jenkinsfile takes from the installation that it is written for."),
		at("known-issues", func(f *File) *[]KnownIssue { return &f.Known }, knownIssues(),
			"Troubles that the team knows: failures that look like one are shown with its name, its note and its verdict."),
		at("databases", func(f *File) *[]Database { return &f.Databases }, databases(),
			"Databases that jobs are given fresh, and `fairlead env` brings up for work."),
		at("coverage", func(f *File) *Coverage { return &f.Coverage }, coverage(),
			"How what the tests covered is shown."),
		at("release", func(f *File) *Release { return &f.Release }, releases(),
			"What a release is: its versions, its files, and where they go."),
		at("services", func(f *File) *[]Service { return &f.Services }, services(),
			"What is deployed: of what it is made, how it goes from one release to the next, where it runs."),
		at("environments", func(f *File) *[]DeployEnvironment { return &f.Environments }, environments(),
			"Where services go, in the order in which a release goes through them, and what has to be so before."),
		at("flags", func(f *File) *Flags { return &f.Flags }, flags(),
			"Where the definitions of feature flags stand."),
	).holds(constraint[File]{check: places})
}

// Read reads the file at the root of the tree. Without one the result is the
// zero File. Problems are the user's, and a file that has any with severity
// [plan.Error] must not be acted on: values that could not be understood are
// missing in the result. An error says that the tree could not be read.
func Read(tree fs.FS) (*File, []plan.Problem, error) {
	f := &File{}
	src, problems, err := load(tree)
	if err != nil || src == nil {
		return f, problems, err
	}
	r := newReader()
	if root := r.parse(src); root != nil {
		file().read(r, root, f)
	}
	for i := range f.Environments {
		f.Environments[i].Order = i + 1
	}
	return f, r.problems, nil
}

// Schema is the JSON Schema of the file, indented.
func Schema() []byte {
	s := *file().schema
	// Draft 7 is what editors' YAML plug-ins know best.
	s.Draft = "http://json-schema.org/draft-07/schema#"
	s.Title = Name
	s.Description = "What pipeline files cannot say to Fairlead."
	b, err := json.MarshalIndent(&s, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("project: the schema is no JSON: %v", err)) // a fault of the table, which a test would show
	}
	return append(b, '\n')
}

// load is the file's text; nil when there is none, or when problems say why
// not.
func load(tree fs.FS) ([]byte, []plan.Problem, error) {
	// Looking before opening: opening a fifo would wait for a writer.
	info, err := fs.Stat(tree, Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, astray(tree), nil
	case err != nil:
		return nil, unreadable(fmt.Sprintf("the file cannot be read: %v", err), "make it a plain file of the repository that you may read"), nil
	case !info.Mode().IsRegular():
		return nil, unreadable("it is not a plain file", "make it one, or give it another name"), nil
	case info.Size() > maxFileSize:
		return nil, tooLarge(), nil
	}
	f, err := tree.Open(Name)
	if err != nil {
		return nil, unreadable(fmt.Sprintf("the file cannot be read: %v", err), "make it a plain file of the repository that you may read"), nil
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", Name, err)
	}
	if len(src) > maxFileSize {
		return nil, tooLarge(), nil
	}
	return src, nil, nil
}

// astray warns of a file that was probably meant to be read.
func astray(tree fs.FS) []plan.Problem {
	for _, name := range strays {
		if _, err := fs.Stat(tree, name); err == nil {
			return []plan.Problem{{
				Source: plan.Source{File: name}, Severity: plan.Warning, Rule: rule,
				Message: fmt.Sprintf("a file of this name is not read; the name is %s", Name), Hint: "rename it to " + Name,
			}}
		}
	}
	return nil
}

func tooLarge() []plan.Problem {
	return unreadable(fmt.Sprintf("the file has more than %d bytes", maxFileSize), "remove what is no setting of Fairlead's")
}

func unreadable(message, hint string) []plan.Problem {
	return []plan.Problem{{Source: plan.Source{File: Name}, Severity: plan.Error, Rule: rule, Message: message, Hint: hint}}
}
