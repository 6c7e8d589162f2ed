package secret

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// Limits of the vault.
const (
	MaxValue   = 64 << 10 // bytes of a value
	maxNameLen = 128
	maxScope   = 512 // bytes of a repository's or environment's name
	maxCommand = 4 << 10
	maxNames   = 10_000 // that one job asks for
	// patience is how long a command may take to print a value.
	patience = 30 * time.Second
)

// Vault keeps secrets sealed: what lies in the database is of no use without a key
// that lies elsewhere. A value goes in and comes out for a job that names it;
// nobody else ever sees it.
//
// A secret's value is sealed together with where it holds, so a row that somebody
// copies to another scope, or renames, does not open. So is where a value that
// lies elsewhere comes from: whoever can write the database cannot make
// the server read a file or run a command.
//
// Names are of letters, digits and _, and those that differ in case only are the same,
// as they are on the code hosts. Names that begin with $ are the server's own (the secret of a
// repository's hook is "$HOOK"): [Vault.Internal] opens them, and no job can.
type Vault struct {
	Registers Registers
	// Keys opens and seals. It is read from a file outside the database.
	Keys *Keys
	// Run runs a command for a source of kind "command", and returns what it printed.
	// It is given by main, as this room starts no processes. Its error must not
	// hold what the command printed to its standard output; nil: there are no commands.
	Run func(ctx context.Context, command []string) ([]byte, error)
}

// Registers is where sealed values are kept; package store says what its
// methods promise.
type Registers interface {
	Register(ctx context.Context, kind, id string) (record.Register, error)
	Registers(ctx context.Context, kind, prefix string) ([]record.Register, error)
	Change(ctx context.Context, changes []record.Register, events ...record.Event) ([]record.Event, error)
}

// By is who changes something, for the audit trail. A launch.By converts to it.
type By struct {
	Name, Via, From string
}

// Scope is where a secret holds. The narrower one wins: that of the repository's
// environment, of the repository, of the organisation's environment, of
// the organisation.
type Scope struct {
	Repository  string `json:"repository,omitempty"`  // "" for all: the organisation's
	Environment string `json:"environment,omitempty"` // "" for all
}

// String is the scope for people.
func (s Scope) String() string {
	switch {
	case s == Scope{}:
		return "the organisation"
	case s.Environment == "":
		return s.Repository
	case s.Repository == "":
		return "environment " + s.Environment + " of the organisation"
	}
	return "environment " + s.Environment + " of " + s.Repository
}

// Named is a secret as a list shows it: without its value.
type Named struct {
	Scope
	Name    string `json:"name"`
	Source  string `json:"source"` // "sealed", "file /run/secrets/x", "environment X", "command vault …"
	By      string `json:"by"`
	Changed int64  `json:"changed"` // seconds since 1970
}

// The kind of the vault's registers, and the verb of its acts (access.SetSecrets,
// which a room of the same floor may not import).
const (
	registerKind = "secret"
	verb         = "secrets.set"
)

// Kinds of sources. Anything else than a sealed value is asked for anew each time.
const (
	sourceSealed      = "sealed"
	SourceFile        = "file"        // an absolute path
	SourceEnvironment = "environment" // a variable of the server's
	SourceCommand     = "command"     // a program and its arguments, without a shell
)

// row is a secret's register. Only Sealed is believed; the rest is for lists.
type row struct {
	Named
	Sealed []byte `json:"sealed"`
}

// content is what is sealed. Value is not part of the JSON, which stands before
// it, ended by a newline.
type content struct {
	Scope
	Name   string   `json:"name"` // as in the ID
	Source string   `json:"kind"`
	At     []string `json:"at,omitempty"` // the path, the variable, the command
	Value  []byte   `json:"-"`
}

// maxContent is more than a content's JSON is long, escaped in any way.
const maxContent = MaxValue + 6*(2*maxScope+maxNameLen+maxCommand) + 1<<10

// CheckName says why a secret cannot have that name, for who wants to set it.
func CheckName(name string) error {
	plain := strings.TrimPrefix(name, "$")
	switch {
	case len(name) > maxNameLen:
		return fmt.Errorf("the name of the secret is longer than %d characters", maxNameLen)
	case !validName(plain):
		return fmt.Errorf("%.40q cannot be the name of a secret: a name has letters A-Z and a-z, digits and _, and begins with no digit", name)
	}
	return nil
}

func checkScope(s Scope) error {
	for _, part := range []string{s.Repository, s.Environment} {
		if len(part) > maxScope || strings.ContainsFunc(part, func(r rune) bool { return r < ' ' || r == 0x7F || r == '\uFFFD' }) {
			return fmt.Errorf("%.40q cannot be the name of a repository or an environment", part)
		}
	}
	return nil
}

// id is the ID of a secret's register. Its parts are escaped, so that a
// repository's secrets are those that begin with the repository's part.
func id(s Scope, name string) string {
	return url.PathEscape(s.Repository) + "/" + url.PathEscape(s.Environment) + "/" + canonical(name)
}

func canonical(name string) string { return strings.ToUpper(name) }

// Set seals a value, and replaces the one that there may be.
func (v *Vault) Set(ctx context.Context, by By, scope Scope, name string, value []byte) error {
	switch {
	case len(value) == 0:
		return fmt.Errorf("set secret %.128q: it is empty; remove it instead", name)
	case len(value) > MaxValue:
		return fmt.Errorf("set secret %.128q: the value is %d bytes long, the limit is %d; keep it in a file of the server's and name that as the source", name, len(value), MaxValue)
	}
	return v.set(ctx, by, sourceSealed, content{Scope: scope, Name: name, Source: sourceSealed, Value: value})
}

// SetSource says that a secret's value lies elsewhere: in a file, in a variable of
// the server's environment, or in what a command prints. It is read each time a
// job asks for it; a newline at its end is left out.
//
// Whoever may call this can read and run what the server's user can. It is for admins.
func (v *Vault) SetSource(ctx context.Context, by By, scope Scope, name, kind string, at ...string) error {
	fail := func(why string) error { return fmt.Errorf("set secret %.128q: %s", name, why) }
	size := 0
	for _, a := range at {
		size += len(a)
		if strings.ContainsRune(a, 0) || !utf8.ValidString(a) {
			return fail("the source is no UTF-8 text")
		}
	}
	switch {
	case len(at) == 0 || at[0] == "":
		return fail("it is not said where the value comes from")
	case size > maxCommand || len(at) > 256:
		return fail("the source is too long")
	case kind != SourceFile && kind != SourceEnvironment && kind != SourceCommand:
		return fail(fmt.Sprintf("there is no source of kind %.40q: it is %s, %s or %s", kind, SourceFile, SourceEnvironment, SourceCommand))
	case kind != SourceCommand && len(at) > 1:
		return fail(kind + " is one word")
	case kind == SourceFile && !filepath.IsAbs(at[0]):
		return fail("the path of the file is not absolute")
	case kind == SourceCommand && v.Run == nil:
		return fail("this server runs no commands for secrets")
	}
	return v.set(ctx, by, kind+" "+strings.Join(at, " "), content{Scope: scope, Name: name, Source: kind, At: at})
}

// set seals c and writes it.
func (v *Vault) set(ctx context.Context, by By, shown string, c content) error {
	fail := func(err error) error { return fmt.Errorf("set secret %.128q: %w", c.Name, err) }
	if err := errors.Join(CheckName(c.Name), checkScope(c.Scope)); err != nil {
		return fail(err)
	}
	name := c.Name
	sealed, err := v.seal(c)
	if err != nil {
		return fail(err)
	}
	if len(shown) > 200 {
		shown = strings.ToValidUTF8(shown[:200], "") + " …"
	}
	body, err := json.Marshal(row{
		Named:  Named{Scope: c.Scope, Name: name, Source: shown, By: by.Name, Changed: time.Now().Unix()},
		Sealed: sealed,
	})
	if err != nil {
		return fail(err)
	}
	err = v.change(ctx, id(c.Scope, name), func(r *record.Register) (*record.Acted, error) {
		act := "replaced"
		if r.Version == 0 {
			act = "added"
		}
		r.Body = body
		return acted(by, c.Scope, name, act, shown), nil
	})
	if err != nil {
		return fail(err)
	}
	return nil
}

// ErrNotThere says that there is no such secret.
var ErrNotThere = errors.New("there is no such secret")

// Remove removes a secret. That there is none is an ErrNotThere.
func (v *Vault) Remove(ctx context.Context, by By, scope Scope, name string) error {
	err := errors.Join(CheckName(name), checkScope(scope))
	if err == nil {
		err = v.change(ctx, id(scope, name), func(r *record.Register) (*record.Acted, error) {
			if r.Version == 0 {
				return nil, fmt.Errorf("%w in %s", ErrNotThere, scope)
			}
			r.Body = nil
			return acted(by, scope, name, "removed", ""), nil
		})
	}
	if err != nil {
		return fmt.Errorf("remove secret %.128q: %w", name, err)
	}
	return nil
}

// RemoveAll removes a repository's secrets, those of its environments and the server's own for
// it: another repository that gets its name must not inherit them. It returns how many there were.
func (v *Vault) RemoveAll(ctx context.Context, by By, repository string) (int, error) {
	fail := func(err error) error {
		return fmt.Errorf("remove the secrets of %s: %w", Scope{Repository: repository}, err)
	}
	if repository == "" {
		return 0, fail(errors.New("it is not said of which repository"))
	}
	for try := 0; ; try++ {
		list, err := v.Registers.Registers(ctx, registerKind, url.PathEscape(repository)+"/")
		if err != nil {
			return 0, fail(err)
		}
		if len(list) == 0 {
			return 0, nil
		}
		changes := make([]record.Register, len(list))
		for i, r := range list {
			changes[i] = record.Register{Kind: r.Kind, ID: r.ID, Version: r.Version}
		}
		body := acted(by, Scope{Repository: repository}, "", "removed all", "")
		_, err = v.Registers.Change(ctx, changes, record.Event{Body: body})
		if errors.Is(err, record.ErrConflict) && try < maxTries {
			continue
		}
		if err != nil {
			return 0, fail(err)
		}
		return len(list), nil
	}
}

// maxTries is how often a change is tried again when somebody was faster.
const maxTries = 5

// change changes a register, together with the event that tells of it.
func (v *Vault) change(ctx context.Context, id string, edit func(*record.Register) (*record.Acted, error)) error {
	for try := 0; ; try++ {
		r, err := v.Registers.Register(ctx, registerKind, id)
		if err != nil {
			return err
		}
		next := record.Register{Kind: registerKind, ID: id, Version: r.Version, Body: r.Body}
		act, err := edit(&next)
		if err != nil {
			return err
		}
		if _, err = v.Registers.Change(ctx, []record.Register{next}, record.Event{Body: act}); !errors.Is(err, record.ErrConflict) || try == maxTries {
			return err
		}
	}
}

func acted(by By, scope Scope, name, act, source string) *record.Acted {
	detail := map[string]string{"act": act}
	for key, value := range map[string]string{"name": name, "environment": scope.Environment, "source": source} {
		if value != "" {
			detail[key] = value
		}
	}
	return &record.Acted{By: by.Name, Via: by.Via, From: by.From, Verb: verb, Object: scope.Repository, Detail: detail}
}

// List is a repository's secrets and those of its environments, by environment and name;
// "" lists the organisation's. The server's own are among them.
func (v *Vault) List(ctx context.Context, repository string) ([]Named, error) {
	list, err := v.Registers.Registers(ctx, registerKind, url.PathEscape(repository)+"/")
	if err != nil {
		return nil, fmt.Errorf("list secrets of %s: %w", Scope{Repository: repository}, err)
	}
	named := make([]Named, 0, len(list))
	for _, r := range list {
		var s row
		if err := json.Unmarshal(r.Body, &s); err != nil {
			return nil, fmt.Errorf("list secrets of %s: %s is damaged: %w", Scope{Repository: repository}, r.ID, err)
		}
		named = append(named, s.Named)
	}
	slices.SortFunc(named, func(a, b Named) int {
		return cmp.Or(cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.Name, b.Name))
	})
	return named, nil
}

// Resolve gives the values of those of the names that there are, in the narrowest
// scope each, for a job of the repository that names the environment (or
// none: ""). Only what is named is opened. Names that no secret of a job can have, those
// of the server among them, are not there. The error names the secret that could
// not be had, and never holds a value.
func (v *Vault) Resolve(ctx context.Context, repository, environment string, names []string) (map[string]string, error) {
	if len(names) > maxNames {
		return nil, fmt.Errorf("open secrets: %d are asked for, the limit is %d", len(names), maxNames)
	}
	values := make(map[string]string, len(names))
	for _, name := range names {
		if len(name) > maxNameLen || !validName(name) {
			continue
		}
		if _, done := values[name]; done {
			continue
		}
		value, ok, err := v.resolve(ctx, repository, environment, name)
		if err != nil {
			return nil, err
		}
		if ok {
			values[name] = value
		}
	}
	return values, nil
}

// Internal is the value of a secret of the server's own: its name begins with $. It
// says whether there is one, in the repository's scope or, with "", the organisation's.
func (v *Vault) Internal(ctx context.Context, repository, name string) (value string, ok bool, err error) {
	if !strings.HasPrefix(name, "$") || CheckName(name) != nil {
		return "", false, fmt.Errorf("open secret: %.40q is no name of the server's own", name)
	}
	return v.at(ctx, Scope{Repository: repository}, name)
}

func (v *Vault) resolve(ctx context.Context, repository, environment, name string) (value string, ok bool, err error) {
	for _, repository := range slices.Compact([]string{repository, ""}) {
		for _, environment := range slices.Compact([]string{environment, ""}) {
			if value, ok, err = v.at(ctx, Scope{repository, environment}, name); ok || err != nil {
				return value, ok, err
			}
		}
	}
	return "", false, nil
}

// at opens the secret of that very scope.
func (v *Vault) at(ctx context.Context, scope Scope, name string) (value string, ok bool, err error) {
	r, err := v.Registers.Register(ctx, registerKind, id(scope, name))
	if err != nil {
		return "", false, fmt.Errorf("open secret %s: %w", name, err)
	}
	if r.Version == 0 {
		return "", false, nil
	}
	c, _, err := v.open(r, scope, name)
	if err == nil {
		value, err = v.fetch(ctx, c)
	}
	if err != nil {
		return "", false, fmt.Errorf("open secret %s of %s: %w", name, scope, err)
	}
	return value, true, nil
}

func (v *Vault) seal(c content) ([]byte, error) {
	c.Name = canonical(c.Name)
	head, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return v.Keys.seal(append(append(head, '\n'), c.Value...))
}

var errMoved = errors.New("it was sealed for another name or scope: somebody has copied or altered it in the database. Set it again, and look at the audit trail")

// open opens a register and makes sure that it was sealed for that place. It says
// whether it was sealed with the newest key.
func (v *Vault) open(r record.Register, scope Scope, name string) (c content, newest bool, err error) {
	var s row
	if err := json.Unmarshal(r.Body, &s); err != nil {
		return c, false, fmt.Errorf("it is damaged: %w", err)
	}
	plain, newest, err := v.Keys.open(s.Sealed, maxContent)
	if errors.Is(err, ErrNoKey) {
		return c, false, fmt.Errorf("%w: it was sealed with another key, or is damaged. Put the file of keys back that it was sealed with, or set the secret again", err)
	}
	if err != nil {
		return c, false, err
	}
	head, value, _ := bytes.Cut(plain, []byte("\n"))
	if err := json.Unmarshal(head, &c); err != nil {
		return content{}, false, errMoved
	}
	if c.Scope != scope || c.Name != canonical(name) {
		return content{}, false, errMoved
	}
	c.Value = value
	return c, newest, nil
}

// fetch is the value, from where it lies.
func (v *Vault) fetch(ctx context.Context, c content) (string, error) {
	var text []byte
	var err error
	switch c.Source {
	case sourceSealed:
		return string(c.Value), nil
	case SourceFile:
		text, err = readValue(c.At[0])
	case SourceEnvironment:
		value, set := os.LookupEnv(c.At[0])
		if !set {
			return "", fmt.Errorf("the server's environment has no variable %s", c.At[0])
		}
		text = []byte(value)
	case SourceCommand:
		if v.Run == nil {
			return "", errors.New("this server runs no commands for secrets")
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if text, err = v.Run(ctx, slices.Clone(c.At)); err != nil {
			// Whatever it printed before it failed may be the value.
			var m Masker
			m.Add(string(text))
			err = fmt.Errorf("command %s failed: %s", c.At[0], m.String(err.Error()))
		}
	default:
		return "", fmt.Errorf("this version knows no source of kind %q", c.Source)
	}
	if err != nil {
		return "", err
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	switch {
	case len(text) == 0:
		return "", fmt.Errorf("its %s is empty", c.Source)
	case len(text) > MaxValue:
		return "", fmt.Errorf("its %s holds more than %d bytes", c.Source, MaxValue)
	}
	return string(text), nil
}

// readValue reads a file that holds a value, and never waits for one.
func readValue(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxValue+3)) // one too many, after a line's end
}

// Reseal seals with the newest key what was sealed with an older one. It returns how
// many secrets that were. Those that cannot be opened stay as they are, and are
// told in the error, all of them.
func (v *Vault) Reseal(ctx context.Context, by By) (int, error) {
	list, err := v.Registers.Registers(ctx, registerKind, "")
	if err != nil {
		return 0, fmt.Errorf("seal secrets again: %w", err)
	}
	n := 0
	var faults []error
	for _, r := range list {
		done, err := v.reseal(ctx, by, r)
		if err != nil {
			faults = append(faults, fmt.Errorf("secret %s: %w", r.ID, err))
		}
		if done {
			n++
		}
	}
	if len(faults) > 0 {
		return n, fmt.Errorf("seal secrets again: %w", errors.Join(faults...))
	}
	return n, nil
}

func (v *Vault) reseal(ctx context.Context, by By, r record.Register) (bool, error) {
	for try := 0; ; try++ {
		var s row
		if err := json.Unmarshal(r.Body, &s); err != nil {
			return false, fmt.Errorf("it is damaged: %w", err)
		}
		if id(s.Scope, s.Name) != r.ID {
			return false, errMoved
		}
		c, newest, err := v.open(r, s.Scope, s.Name)
		if err != nil || newest {
			return false, err
		}
		if s.Sealed, err = v.seal(c); err != nil {
			return false, err
		}
		next := record.Register{Kind: r.Kind, ID: r.ID, Version: r.Version}
		if next.Body, err = json.Marshal(s); err != nil {
			return false, err
		}
		_, err = v.Registers.Change(ctx, []record.Register{next}, record.Event{Body: acted(by, s.Scope, s.Name, "sealed again", "")})
		if !errors.Is(err, record.ErrConflict) || try == maxTries {
			return err == nil, err
		}
		if r, err = v.Registers.Register(ctx, registerKind, r.ID); err != nil || r.Version == 0 {
			return false, err // somebody removed it
		}
	}
}
