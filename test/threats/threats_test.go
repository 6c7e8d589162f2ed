// Package threats_test holds what Fairlead's server is afraid of, as one table: a row is a
// threat, what stands against it, and how that is tried: by an attempt here, on a whole
// server, and by tests of the rooms. docs/explanation/threats.md is made of the table, so
// that it claims nothing that is not tried:
//
//	go test ./test/threats -run Document -update
package threats_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/explanation/threats.md instead of comparing it")

const document = "../../docs/explanation/threats.md"

// threat is a row of the table.
type threat struct {
	Name    string
	Control string // what stands against it
	// Try attempts it on a whole server; nil: only the rooms do.
	Try func(t *testing.T)
	// Rooms are tests of rooms that try it, "room TestA TestB".
	Rooms []string
	// Open is what is not done about it yet; "" for nothing.
	Open string
}

// TestThreats attempts each threat.
func TestThreats(t *testing.T) {
	t.Parallel()
	for i, x := range threats() {
		if x.Try != nil {
			t.Run(fmt.Sprintf("%d %s", i+1, x.Name), func(t *testing.T) {
				t.Parallel()
				x.Try(t)
			})
		}
	}
}

// TestRoomsTry makes sure that the tests which the table names are there.
func TestRoomsTry(t *testing.T) {
	t.Parallel()
	found := map[string]map[string]bool{}
	for _, x := range threats() {
		if x.Try == nil && len(x.Rooms) == 0 && x.Open == "" {
			t.Errorf("%s: nothing tries it, and nobody says so", x.Name)
		}
		for _, named := range x.Rooms {
			words := strings.Fields(named)
			if found[words[0]] == nil {
				found[words[0]] = testsOf(t, words[0])
			}
			for _, name := range words[1:] {
				if !found[words[0]][name] {
					t.Errorf("%s: there is no %s in %s", x.Name, name, words[0])
				}
			}
		}
	}
}

// testsOf are the names of the tests of a room.
func testsOf(t *testing.T, room string) map[string]bool {
	files, err := filepath.Glob(filepath.Join("..", "..", "internal", filepath.FromSlash(room), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}

// TestDocument compares the page with the table.
func TestDocument(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(`# Threats

What a server that runs other people's code has to be afraid of, what stands against it here, and how that is tried. This page is made of the table in
` + "`test/threats`" + `: an attempt is made on a whole server each time the tests run, beside the tests of the rooms that are named. What is not done yet is said.

Whoever may push to a repository may run code on the machines that run its jobs, as the account that runs them: trust is in people, and in the commits that they let in.
The table is about everybody else, and about what a job may learn of other jobs.

| | threat | what stands against it | tried by |
|---|---|---|---|
`)
	tried, open := 0, 0
	for i, x := range threats() {
		var by []string
		if x.Try != nil {
			tried++
			by = append(by, "**an attempt on a whole server**")
		}
		for _, named := range x.Rooms {
			room, tests, _ := strings.Cut(named, " ")
			by = append(by, "`"+room+"`: "+strings.Join(strings.Fields(tests), ", "))
		}
		control := x.Control
		if x.Open != "" {
			open++
			control += " *Not yet: " + x.Open + "*"
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", i+1, x.Name, control, strings.Join(by, "; "))
	}
	fmt.Fprintf(&b, "\n%d threats; %d are attempted on a whole server; of %d something is still to be done.\n", len(threats()), tried, open)
	t.Logf("%d threats, %d attempted on a whole server, %d with something open", len(threats()), tried, open)
	if *update {
		if err := os.WriteFile(document, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(document); err != nil || string(got) != b.String() {
		t.Errorf("%s is not what the table says (%v): go test ./test/threats -run Document -update", document, err)
	}
}
