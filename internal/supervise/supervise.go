// Package supervise keeps the instances of services running on one host.
//
// A [Host] is a daemon with a directory. What is to be there is written down in it,
// a document for each target (a service in an environment): which revisions, how many
// instances of each, and how many of a hundred requests each gets. Everything else
// follows from the documents, and is brought about again and again:
//
//	                 ┌── releases/<digest>: the bytes, unpacked once
//	document ──► reconcile ──► instance shop-staging-r42-0 (a session of its own, $PORT)
//	                 │             │ started, probed, restarted, drained, stopped
//	                 └──────► front ◄┘ the shares of the revisions over those that are ready
//
// Nothing hangs on the daemon's life. The instances are sessions of their own that
// write to files, so they outlive it; a daemon that is started again takes up those that
// the documents ask for, known by process ID and time of start, and ends the others. The
// documents are in two generations with a sum each, of which the one that is being
// written is never the only one. A new program takes the sockets and the instances over
// from the old one while it runs ([Host.Upgrade]).
//
// Who changes a document says with which fence, and lower ones than the highest are
// refused. The daemon is asked over a Unix socket that only its user may open, by a
// [Client].
package supervise

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/front"
)

// Limits of what a host is asked for. What is larger is refused.
const (
	maxTargets   = 1000
	maxRevisions = 20  // of a target at a time
	maxInstances = 100 // of a revision
	maxArgs      = 256
	maxEnv       = 1 << 20 // bytes of a revision's environment
	maxName      = 200
	maxWait      = time.Hour // of Stop and Drain
)

// What holds where a revision says nothing.
const (
	DefaultListen = ":8080"
	DefaultDrain  = 30 * time.Second
	DefaultStop   = 10 * time.Second
)

// Errors that a host answers with, and a [Client] passes on.
var (
	// ErrFenced says that somebody with a higher fence has changed the target.
	ErrFenced = errors.New("somebody newer has taken the target over")
	// ErrNoRelease says that the bytes of a release are not on the host: [Client.Put]
	// brings them there.
	ErrNoRelease = errors.New("the release is not on this host")
	// ErrRefused says that the host will not do it however often it is asked.
	ErrRefused = errors.New("refused")
	// ErrNotReady says that a revision cannot get requests, as no instance is ready.
	ErrNotReady = errors.New("no instance is ready")
	// ErrEnding says that the host is being ended or replaced.
	ErrEnding = errors.New("the host is ending")
)

// Target is the document of a service in an environment.
type Target struct {
	Name        string     `json:"name"` // "shop-staging"
	Repository  string     `json:"repository"`
	Service     string     `json:"service"`
	Environment string     `json:"environment"`
	Fence       int64      `json:"fence"` // the highest that was seen
	Revisions   []Revision `json:"revisions,omitempty"`
}

// Revision is a release as it is to run.
type Revision struct {
	Number    int               `json:"number"`
	Release   string            `json:"release"` // ID
	Artifact  Artifact          `json:"artifact"`
	Run       Run               `json:"run"`
	Route     Route             `json:"route"`
	Env       map[string]string `json:"env,omitempty"` // values of secrets among them
	Rollout   string            `json:"rollout,omitempty"`
	Instances int               `json:"instances"`
	Percent   int               `json:"percent"`
}

// Artifact names the bytes of a release.
type Artifact struct {
	Kind   string `json:"kind,omitempty"`   // [KindFile], [KindTree]; "" for none
	Name   string `json:"name,omitempty"`   // of the file
	Digest string `json:"digest,omitempty"` // "sha256:…"
	Size   int64  `json:"size,omitempty"`   // bytes
}

// The kinds of artifacts.
const (
	KindFile = "file" // one file, which is made executable
	KindTree = "tree" // a tar
)

// Run is how an instance is run.
type Run struct {
	// Command is its argv; in its words $PORT is replaced. Its directory is the
	// release's.
	Command []string      `json:"command"`
	Ready   string        `json:"ready,omitempty"` // path that answers 2xx when it is ready; "": its port is open
	Stop    time.Duration `json:"stop,omitempty"`  // between TERM and KILL
	Drain   time.Duration `json:"drain,omitempty"` // how long requests may take to end
	User    string        `json:"user,omitempty"`
	Memory  int64         `json:"memory,omitempty"` // bytes; 0: no limit
	Systemd bool          `json:"systemd,omitempty"`
}

// Route is how requests come to a target. That of the revision with the largest share
// holds, of equal ones the newest's.
type Route struct {
	Listen  string   `json:"listen,omitempty"` // ":8080"
	Hosts   []string `json:"hosts,omitempty"`
	Prefix  string   `json:"prefix,omitempty"`
	TLSCert string   `json:"tls_cert,omitempty"`
	TLSKey  string   `json:"tls_key,omitempty"`
	Sticky  string   `json:"sticky,omitempty"` // "cookie", or the name of a header
}

// Share is how many of a hundred requests a revision gets.
type Share struct {
	Number  int `json:"number"`
	Percent int `json:"percent"`
}

// Seen is what there is of a target.
type Seen struct {
	Name        string         `json:"name"`
	Repository  string         `json:"repository"`
	Service     string         `json:"service"`
	Environment string         `json:"environment"`
	Fence       int64          `json:"fence"`
	Revisions   []SeenRevision `json:"revisions,omitempty"`
}

// SeenRevision is what there is of a revision.
type SeenRevision struct {
	Number    int            `json:"number"`
	Release   string         `json:"release"`
	Percent   int            `json:"percent"`
	Want      int            `json:"want"` // instances
	Instances []SeenInstance `json:"instances,omitempty"`
}

// SeenInstance is what there is of an instance.
type SeenInstance struct {
	Name     string    `json:"name"`
	Address  string    `json:"address"`
	PID      int       `json:"pid,omitempty"` // 0: none is running
	Ready    bool      `json:"ready"`
	Failed   bool      `json:"failed,omitempty"` // it was tried several times, and never became ready
	Leaving  bool      `json:"leaving,omitempty"`
	Why      string    `json:"why,omitempty"` // it is not ready
	Started  time.Time `json:"started,omitzero"`
	Restarts int       `json:"restarts,omitempty"`
	Memory   int64     `json:"memory,omitempty"` // bytes
}

// Status is what there is of a host.
type Status struct {
	Directory string          `json:"directory"`
	Version   string          `json:"version"`
	PID       int             `json:"pid"`
	Since     time.Time       `json:"since"`
	Listening []string        `json:"listening,omitempty"`
	Limits    string          `json:"limits"` // how limits of memory are kept: "control groups", "by looking"
	Damage    string          `json:"damage,omitempty"`
	Targets   []Seen          `json:"targets,omitempty"`
	Releases  []StoredRelease `json:"releases,omitempty"`
}

// StoredRelease is a release that is on the host.
type StoredRelease struct {
	Digest string    `json:"digest"`
	Files  int       `json:"files"`
	Size   int64     `json:"size"` // bytes
	Since  time.Time `json:"since"`
}

// Trouble is why a revision could not be run here.
type Trouble struct {
	Rule    string `json:"rule"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// Difference is one thing that is not as the document says.
type Difference struct {
	Resource string `json:"resource"`
	Field    string `json:"field,omitempty"`
	Want     string `json:"want"`
	Have     string `json:"have"`
}

// Traffic are the requests of a target by revision.
type Traffic struct {
	Since     time.Time           `json:"since"`
	Revisions map[int]front.Count `json:"revisions"`
}

// revision is the one with the number; nil for none.
func (t *Target) revision(number int) *Revision {
	for i := range t.Revisions {
		if t.Revisions[i].Number == number {
			return &t.Revisions[i]
		}
	}
	return nil
}

// leading is the revision whose route holds.
func (t *Target) leading() *Revision {
	var lead *Revision
	for i := range t.Revisions {
		r := &t.Revisions[i]
		if lead == nil || r.Percent > lead.Percent || r.Percent == lead.Percent && r.Number > lead.Number {
			lead = r
		}
	}
	return lead
}

// name is that of all that belongs to a revision of the target.
func (t *Target) revisionName(number int) string { return fmt.Sprintf("%s-r%d", t.Name, number) }

// print is the sum of all that an instance is started with. If it changes, what runs
// is no longer what is declared.
func (r *Revision) print(unpacked time.Time) string {
	data, err := json.Marshal(struct {
		Artifact Artifact
		Run      Run
		Env      map[string]string
		Unpacked time.Time
	}{r.Artifact, r.Run, r.Env, unpacked})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// listen is the address at which the front takes the revision's requests.
func (r *Route) listen() string {
	if r.Listen == "" {
		return DefaultListen
	}
	return r.Listen
}

// check says what is wrong with a target and a revision that somebody asks for.
func check(t *Target, r *Revision, n int) []Trouble {
	var all []Trouble
	trouble := func(rule, hint, format string, args ...any) {
		all = append(all, Trouble{Rule: rule, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	switch {
	case !plainName(t.Name):
		trouble("name", "letters, digits, - . and _", "%.80q cannot be the name of a target", t.Name)
	case r.Number < 1:
		trouble("revision", "numbers begin with 1", "there is no revision %d", r.Number)
	}
	if n < 0 || n > maxInstances {
		trouble("instances", fmt.Sprintf("at most %d", maxInstances), "%d instances cannot be kept", n)
	}
	if len(r.Run.Command) == 0 || r.Run.Command[0] == "" {
		trouble("command", "say in fairlead.yaml which command starts an instance", "there is no command")
	} else if len(r.Run.Command) > maxArgs {
		trouble("command", "put them into a script", "the command has %d words; at most %d are taken", len(r.Run.Command), maxArgs)
	}
	for _, word := range r.Run.Command {
		if strings.IndexByte(word, 0) >= 0 {
			trouble("command", "remove it", "a word of the command has a NUL byte")
		}
	}
	size := 0
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.IndexByte(r.Env[name], 0) >= 0 {
			trouble("environment", "rename or remove it", "the variable %.80q cannot be set", name)
		}
		size += len(name) + len(r.Env[name]) + 2
	}
	if size > maxEnv {
		trouble("environment", "put large values into files", "the environment takes %d bytes; at most %d are taken", size, maxEnv)
	}
	for name, d := range map[string]time.Duration{"stop": r.Run.Stop, "drain": r.Run.Drain} {
		if d < 0 || d > maxWait {
			trouble(name, fmt.Sprintf("between 0 and %s", maxWait), "%s: %s cannot be waited", name, d)
		}
	}
	if r.Run.Ready != "" && r.Run.Ready[0] != '/' {
		trouble("ready", "a path such as /healthz", "%.80q is no path that could be asked for", r.Run.Ready)
	}
	if r.Run.Memory < 0 {
		trouble("memory", "say how many bytes, or nothing", "a limit of %d bytes", r.Run.Memory)
	}
	switch a := r.Artifact; {
	case a.Kind == "":
	case a.Kind != KindFile && a.Kind != KindTree:
		trouble("artifact", "a file, a directory, or none", "artifacts of kind %.40q cannot be run as processes", a.Kind)
	case hexOf(a.Digest) == "":
		trouble("artifact", "sha256: and 64 digits", "%.80q is no digest", a.Digest)
	case a.Kind == KindFile && (!plainName(a.Name)):
		trouble("artifact", "letters, digits, - . and _", "%.80q cannot be the name of a file here", a.Name)
	case a.Size < 0 || a.Size > maxReleaseBytes:
		trouble("artifact", "deploy less", "the artifact has %d bytes; at most %d are taken", a.Size, int64(maxReleaseBytes))
	}
	if r.Route.Sticky != "" && (strings.ContainsAny(r.Route.Sticky, " \t\r\n:;=,") || len(r.Route.Sticky) > maxName) {
		trouble("sticky", "cookie, or the name of a header", "%.80q is no name of a header", r.Route.Sticky)
	}
	return all
}

// refusal is the first trouble as an error; nil for none.
func refusal(all []Trouble) error {
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s: %s", ErrRefused, all[0].Message, all[0].Hint)
}

// plainName reports whether the text may be part of a file's name.
func plainName(s string) bool {
	if s == "" || len(s) > maxName || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// hexOf is the digits of a digest, "" if it is none.
func hexOf(digest string) string {
	digits, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(digits) != 64 || strings.Trim(digits, "0123456789abcdef") != "" {
		return ""
	}
	return digits
}
