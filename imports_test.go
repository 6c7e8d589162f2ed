// Package fairlead_test holds the rules of the house. They are tests, because a
// rule that is only written down drifts: see docs/ARCHITECTURE.md for what the
// rooms are for.
package fairlead_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/fairlead-dev/fairlead"

// floors says on which floor each room is. A room imports only rooms on lower
// floors; a child (dialect/github) stands just above its contract, a
// grandchild (dialect/github/expression) just below the child it is part of.
var floors = map[string]int{
	"plan":   0, // what we intend
	"record": 0, // what happened

	"workspace": 1, // a checked-out tree
	"blob":      1, // bytes under their own digest
	"logs":      1, // what steps printed
	"secret":    1, // removes values from whatever is shown
	"fault":     1, // whose fault a failure is
	"trace":     1, // watches a process tree
	"suite":     1, // a project's tests: history, flakes, order, shards, culprits
	"coverage":  1, // which lines the tests ran, and which of a change's they did not
	"outline":   1, // a pipeline in the words that all languages share
	"access":    1, // who may do what, and the proof of what was done
	"cron":      1, // when a line of cron is due
	"front":     1, // the proxy before the instances of services
	"feature":   1, // feature flags
	"release":   1, // versions and changelogs from commits

	"project":   2, // what fairlead.yaml says
	"depot":     2, // artifacts and caches
	"executor":  2, // a place where steps run
	"store":     2, // append events, read after, leases
	"harvest":   2, // reads what tools leave behind
	"cache":     2, // have we done this before?
	"forge":     2, // a code host: hooks in, statuses and comments out
	"notify":    2, // tells people and systems
	"mock":      2, // an HTTP server that stands for another
	"dataset":   2, // files of tests that a repository only names
	"measure":   2, // deployments and incidents -> numbers
	"attest":    2, // provenance: made from the record, verified offline
	"supervise": 2, // keeps instances running on one host

	"dialect": 3, // pipeline language -> plan
	"fixture": 3, // a fresh database for a job
	"deploy":  3, // strategy -> moves; drivers that bring them about

	"engine":  4, // runs a plan
	"insight": 4, // what the record teaches, and answers to what is asked of it
	"publish": 4, // takes a release out: tag, files, code host
	"testrun": 4, // runs tests by itself: shared out, again and again, at one commit after another
	"launch":  5, // from an event to a running plan
	"crew":    6, // machines that do a server's jobs
	"rollout": 6, // brings environments from one release to another, move by move

	"cli":    7, // the command line
	"server": 7, // hooks, API, pages
}

// guests are the third-party modules, room by room, each with its reason. A
// module that is not here may not be imported there.
var guests = map[string]map[string]string{
	"github.com/spf13/cobra":               {"cli": "commands, completion, manual pages and suggestions that people know"},
	"github.com/rhysd/actionlint":          {"dialect/github/opinion": "a second opinion for lint, by the linter that the field uses"},
	"github.com/dlclark/regexp2":           {"mock": "mappings are written for Java's and JavaScript's", "dialect/github/protocol": "problem matchers are written for JavaScript's regular expressions", "dialect/jenkins": "pipelines are written for Java's", "dialect/jenkins/groovy": "Java's regular expressions, where they go beyond Go's", "dialect/jenkins/declarative": "pipelines are written for Java's"},
	"github.com/bmatcuk/doublestar/v4":     {"dialect/github": "hashFiles globs", "dialect/github/builtin": "names of artifacts", "depot": "artifact and cache globs", "dialect/jenkins": "patterns of branches and files", "dialect/jenkins/builtin": "Ant's patterns"},
	"go.yaml.in/yaml/v4":                   {"deploy/kubernetes/manifest": "manifests, with the lines of their fields", "deploy/kubernetes/cluster": "kubeconfigs", "dialect/github/workflow": "YAML with positions; the maintained successor of yaml.v3, at the version that actionlint builds with", "dialect/gitlab/document": "the same for GitLab's files", "project": "the same for fairlead.yaml", "outline": "writes pipeline files", "dialect/azure/template": "the same for azure-pipelines.yml and its templates", "dialect/jenkins": "readYaml and writeYaml", "feature": "definitions of flags with positions"},
	"github.com/klauspost/compress":        {"logs": "zstd for logs", "store": "zstd for plans", "harvest": "zstd for the results that are kept", "depot": "zstd for caches, deflate for artifacts", "dialect/github/builtin": "zstd for caches"},
	"modernc.org/sqlite":                   {"store/sqlite": "SQLite without cgo: the binary stays one static file", "fixture/sqlite": "fills databases that jobs get"},
	"golang.org/x/sys":                     {"supervise": "room on disks, holes in files, descriptors of sockets", "workspace": "reflinks, locks, stat without garbage", "executor/host": "process groups, cgroups, subreapers", "store/sqlite": "file locks", "logs": "file locks", "blob/disk": "reflinks and times of files", "trace": "seccomp, ptrace, reading other processes", "cache": "stat without garbage, directories kept open"},
	"golang.org/x/term":                    {"cli": "terminal size", "executor/docker": "a shell in a container"},
	"github.com/moby/moby/client":          {"executor/docker": "the engine's own client: negotiates versions, hijacks connections", "executor/docker/dockertest": "the same, for tests", "test/containers": "looks at what is left (tests only)"},
	"github.com/moby/moby/api":             {"executor/docker": "the words of the engine's interface"},
	"github.com/containerd/errdefs":        {"executor/docker": "tells the engine's errors apart"},
	"github.com/opencontainers/image-spec": {"executor/docker": "platforms of images"},
	"github.com/creack/pty":                {"cli": "a terminal in tests of the terminal"},
	"github.com/jackc/pgx/v5":              {"store/postgres": "PostgreSQL's own protocol, pipelined", "fixture/postgres": "copies databases, and fills them"},
	"filippo.io/age":                       {"secret": "seals what lies in the database"},
	"golang.org/x/crypto":                  {"access": "argon2id for passwords", "deploy/ssh": "the protocol of SSH, known_hosts and agents"},
	"golang.org/x/mod":                     {"access": "Merkle trees and signed checkpoints, as Go's own checksum database has them"},
	"golang.org/x/oauth2":                  {"access": "the flow of OpenID Connect"},
	"github.com/coreos/go-oidc/v3":         {"access": "signatures and keys of OpenID Connect"},
	"github.com/zitadel/oidc/v3":           {"access": "a real provider in process (tests only)"},
	"github.com/nicholas-fedor/shoutrrr":   {"notify/shoutrrr": "the services that we do not speak ourselves"},
	"github.com/robfig/cron/v3":            {"launch": "cron expressions, as the code hosts read them", "cron": "cron expressions, as the code hosts read them"},
	"github.com/getkin/kin-openapi":        {"server": "checks answers against the document (tests only)", "mock": "reads OpenAPI documents, and holds requests and answers against them"},
	"github.com/chromedp/chromedp":         {"server": "a browser looks at the pages (tests only)", "test/serve": "a browser goes through a team's day (tests only)"},
	"github.com/chromedp/cdproto":          {"server": "what that browser says (tests only)"},
	"github.com/rogpeppe/go-internal":      {"cli": "testscript: command lines as little texts (tests only)", "cmd/fairlead": "testscript (tests only)"},
}

// starters may start processes; openers may open sockets. fixture starts servers of
// databases and talks to them, and runs what fills a template; mock passes
// requests on to the server that it records or stands for; supervise keeps the
// processes of services and speaks with the daemon that does, front stands before them.
var (
	starters = []string{"executor/", "scan", "workspace", "trace", "deploy/", "fixture", "supervise"}
	openers  = []string{"forge/", "notify/", "deploy/", "blob/", "store/", "executor/", "server", "fixture/", "mock", "front", "supervise"}
)

// vague names tell nothing of what is inside.
var vague = []string{"util", "utils", "common", "helper", "helpers", "shared", "base", "core", "types", "models", "manager", "service"}

type file struct {
	room string // "dialect/github", "cmd/fairlead"
	name string
	ast  *ast.File
	test bool
}

// house parses every Go file of the module. It reads the files itself: what
// a child process reads is invisible to the test cache.
func house(t *testing.T) (files []file) {
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || name != "." && strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() && name != ".":
			if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
				return fs.SkipDir // a module of its own
			}
			return nil
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		parsed, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		room := strings.TrimPrefix(path.Dir(filepath.ToSlash(name)), "internal/")
		files = append(files, file{room: room, name: filepath.ToSlash(name), ast: parsed, test: strings.HasSuffix(name, "_test.go")})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// suite reports whether the room is a contract's conformance suite.
func suite(room string) bool {
	parts := strings.Split(room, "/")
	return len(parts) == 2 && parts[1] == parts[0]+"test"
}

func floorOf(room string) (floor int, known bool) {
	top, _, _ := strings.Cut(room, "/")
	floor, known = floors[top]
	return floor, known
}

// mayImport says why the room may not import the other, or "".
func mayImport(room, other string) string {
	if strings.HasPrefix(room, "cmd/") || room == "bench" || strings.HasPrefix(room, "test/") || room == "." {
		return ""
	}
	from, known := floorOf(room)
	if !known {
		return "room " + room + " is not in the floor table"
	}
	to, known := floorOf(other)
	if !known {
		return "room " + other + " is not in the floor table"
	}
	mine, theirs := strings.Split(room, "/"), strings.Split(other, "/")
	if mine[0] == theirs[0] {
		switch {
		case len(theirs) == 1 && len(mine) > 1:
			return "" // its own contract
		case len(theirs) == 3 && len(mine) >= 2 && mine[1] == theirs[1]:
			return "" // a part of the same child
		}
		return "a child imports its contract and lower floors, never a sibling"
	}
	if len(theirs) > 1 {
		return "children are imported by cmd/fairlead alone"
	}
	if room == "record" && other == "plan" {
		return ""
	}
	if to >= from {
		return "an arrow runs down: " + other + " is not on a lower floor"
	}
	return ""
}

func TestArrowsRunDown(t *testing.T) {
	for _, f := range house(t) {
		if suite(f.room) {
			continue
		}
		for _, imp := range f.ast.Imports {
			other, ok := strings.CutPrefix(imported(imp), module+"/internal/")
			if !ok || other == f.room || f.test && strings.Contains(other, "/") {
				continue // tests may use any child
			}
			if why := mayImport(f.room, other); why != "" {
				t.Errorf("%s imports %s: %s", f.name, other, why)
			}
		}
	}
}

func TestVocabulariesImportNothing(t *testing.T) {
	for _, f := range house(t) {
		if f.room != "plan" && f.room != "record" || f.test {
			continue
		}
		for _, imp := range f.ast.Imports {
			if p := imported(imp); strings.Contains(p, ".") && !(f.room == "record" && p == module+"/internal/plan") {
				t.Errorf("%s imports %s", f.name, p)
			}
		}
	}
}

func TestGuestList(t *testing.T) {
	met := map[string]bool{}
	for _, f := range house(t) {
		for _, imp := range f.ast.Imports {
			p := imported(imp)
			first, _, _ := strings.Cut(p, "/")
			if !strings.Contains(first, ".") || strings.HasPrefix(p, module) {
				continue
			}
			guest := guestOf(p)
			met[guest] = true
			if guests[guest][f.room] == "" {
				t.Errorf("%s imports %s, which is not on the guest list for %s", f.name, p, f.room)
			}
		}
	}
	for _, guest := range slices.Sorted(maps.Keys(guests)) {
		if !met[guest] {
			t.Errorf("guest %s is on the list and has not come", guest)
		}
	}
}

func guestOf(p string) string {
	for guest := range guests {
		if p == guest || strings.HasPrefix(p, guest+"/") {
			return guest
		}
	}
	return p
}

func TestWhoStartsProcessesAndOpensSockets(t *testing.T) {
	allowed := func(room string, list []string) bool {
		return strings.HasPrefix(room, "cmd/") || room == "bench" || strings.HasPrefix(room, "test/") || slices.ContainsFunc(list, func(p string) bool {
			return room == p || strings.HasPrefix(room, strings.TrimSuffix(p, "/")+"/")
		})
	}
	sockets := map[string]bool{"Listen": true, "Dial": true, "DialTimeout": true, "ListenPacket": true, "DialContext": true, "ListenAndServe": true, "Get": true, "Post": true, "DefaultClient": true}
	for _, f := range house(t) {
		if f.test || suite(f.room) || f.room == "." {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && (x.Name == "exec" && strings.HasPrefix(sel.Sel.Name, "Command") || sel.Sel.Name == "StartProcess" || sel.Sel.Name == "ForkExec") && !allowed(f.room, starters) {
				t.Errorf("%s uses %s.%s: this room starts no processes", f.name, x.Name, sel.Sel.Name)
			}
			if x, ok := sel.X.(*ast.Ident); ok && (x.Name == "net" || x.Name == "http") && x.Obj == nil && sockets[sel.Sel.Name] && !allowed(f.room, openers) {
				t.Errorf("%s uses %s.%s: this room opens no sockets", f.name, x.Name, sel.Sel.Name)
			}
			return true
		})
	}
}

func TestPackagesTeachTheirIdea(t *testing.T) {
	doc := map[string]int{}
	names := map[string]string{}
	for _, f := range house(t) {
		if f.test {
			continue
		}
		names[f.room] = f.ast.Name.Name
		if f.ast.Doc != nil {
			doc[f.room] = max(doc[f.room], len(f.ast.Doc.Text()))
		}
	}
	for room, name := range names {
		if doc[room] < 80 {
			t.Errorf("package %s has no comment that teaches its idea", room)
		}
		if slices.Contains(vague, name) {
			t.Errorf("package %s: the name tells nothing", room)
		}
	}
}

func TestNoInitRegistration(t *testing.T) {
	for _, f := range house(t) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function", f.name)
			}
		}
	}
}

// TestFoldsReadNoClock keeps folds pure: time comes in the record.
func TestFoldsReadNoClock(t *testing.T) {
	folds := []string{"fault", "gate", "suite", "measure"}
	for _, f := range house(t) {
		if f.test || !slices.Contains(folds, f.room) {
			continue
		}
		for _, imp := range f.ast.Imports {
			if p := imported(imp); p == "os" || p == "net" || strings.HasPrefix(p, "net/") || p == "io/fs" {
				t.Errorf("%s imports %s: a fold does no I/O", f.name, p)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && (sel.Sel.Name == "Now" || sel.Sel.Name == "Since") {
					t.Errorf("%s reads the clock", f.name)
				}
			}
			return true
		})
	}
}

func imported(spec *ast.ImportSpec) string {
	p, _ := strconv.Unquote(spec.Path.Value)
	return p
}
