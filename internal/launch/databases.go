package launch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/fairlead-dev/fairlead/internal/dataset"
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/fixture"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

// Databases makes the databases that a project declares, for jobs and for work.
type Databases struct {
	Pool *fixture.Pool
	// Sets are the data sets of a tree.
	Sets func(root string) *dataset.Shelf
	// Getenv answers for addresses that are variables.
	Getenv func(string) string
}

// maxTemplate is how many bytes all files of a template may have together.
const maxTemplate = 1 << 30

// serverVars are the variables that an address may be: a project says which,
// and is not to read others of a server that runs it.
var serverVars = regexp.MustCompile(`^\$(TEST_[A-Z0-9_]+)$`)

// Address is the address of the server that a database is made in.
func (d *Databases) Address(b *project.Database) (string, error) {
	if !strings.HasPrefix(b.URL, "$") {
		return b.URL, nil
	}
	m := serverVars.FindStringSubmatch(b.URL)
	if m == nil {
		return "", &plan.UsageError{Message: fmt.Sprintf("%s: the variable %s is not read", b.Source, b.URL), Hint: "only variables whose names begin with TEST_ are: set $TEST_POSTGRES, or the like"}
	}
	address := d.Getenv(m[1])
	if address == "" {
		return "", &plan.UsageError{Message: fmt.Sprintf("%s: the variable %s, which is the address of the server, is not set", b.Source, m[1]), Hint: "set it, or remove url: to have a server started"}
	}
	return address, nil
}

// Wants says what a pool is to make: the templates, with the digests of all
// they are made of. clean removes what was written for that.
func (d *Databases) Wants(ctx context.Context, root string, all []project.Database) (wants []fixture.Want, clean func() error, err error) {
	var temps []string
	clean = func() error {
		var errs []error
		for _, t := range temps {
			errs = append(errs, os.RemoveAll(t))
		}
		return errors.Join(errs...)
	}
	for i := range all {
		b := &all[i]
		w := fixture.Want{Name: b.Name, Kind: b.Kind, Env: b.Env, Count: max(b.Shards, 1)}
		if w.Address, err = d.Address(b); err != nil {
			return nil, nil, errors.Join(err, clean())
		}
		m := &mould{want: &w, of: b, sum: sha256.New()}
		m.note("kind", b.Kind)
		if b.Data != "" {
			temp, err := os.MkdirTemp("", "fairlead-data-")
			if err != nil {
				return nil, nil, errors.Join(err, clean())
			}
			temps = append(temps, temp)
			pin, _, err := d.Sets(root).Get(ctx, b.Data, temp)
			if e := new(dataset.Error); errors.As(err, &e) {
				err = &plan.UsageError{Message: fmt.Sprintf("%s: %s", b.Source, e.Message), Hint: e.Hint}
			}
			if err == nil {
				m.note("data", string(pin.Digest))
				err = m.add(temp, ".")
			}
			if err != nil {
				return nil, nil, errors.Join(err, clean())
			}
		}
		for _, name := range b.Template {
			if err := m.add(root, name); err != nil {
				return nil, nil, errors.Join(err, clean())
			}
		}
		if err := m.command(root); err != nil {
			return nil, nil, errors.Join(err, clean())
		}
		w.Template.Digest = hex.EncodeToString(m.sum.Sum(nil))
		wants = append(wants, w)
	}
	return wants, clean, nil
}

// mould collects what a template is made of.
type mould struct {
	want *fixture.Want
	of   *project.Database
	sum  interface {
		io.Writer
		Sum([]byte) []byte
	}
	size int64
}

func (m *mould) note(parts ...string) {
	for _, p := range parts {
		fmt.Fprintf(m.sum, "%d:%s", len(p), p)
	}
}

// each calls do with the files of a path below a root, in order.
func (m *mould) each(root, name string, do func(r *os.Root, name string) error) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer r.Close()
	name = path.Clean(filepath.ToSlash(name))
	if !fs.ValidPath(name) {
		return &plan.UsageError{Message: fmt.Sprintf("%s: %q is no path in the repository", m.of.Source, plan.Clip(name)), Hint: "write it from the root of the repository, without .."}
	}
	err = fs.WalkDir(r.FS(), name, func(p string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(path.Base(p), ".") && p != name:
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir():
			return nil
		}
		return do(r, p)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return &plan.UsageError{Message: fmt.Sprintf("%s: there is no %s", m.of.Source, name), Hint: "correct the path, which begins at the root of the repository"}
	}
	return err
}

// add takes files into the template.
func (m *mould) add(root, name string) error {
	return m.each(root, name, func(r *os.Root, name string) error {
		f, err := r.Open(filepath.FromSlash(name))
		if err != nil {
			return err
		}
		defer f.Close()
		body, err := io.ReadAll(io.LimitReader(f, maxTemplate-m.size+1))
		if err != nil {
			return err
		}
		if m.size += int64(len(body)); m.size > maxTemplate {
			return &plan.UsageError{Message: fmt.Sprintf("%s: the files of the template have more than %d bytes together", m.of.Source, maxTemplate), Hint: "make them smaller, or let a command fill the database"}
		}
		m.note("file", string(body))
		t := &m.want.Template
		if begin := string(body[:min(len(body), 15)]); m.of.Kind == project.SQLite && begin == "SQLite format 3" || m.of.Kind == project.Redis && strings.HasPrefix(begin, "REDIS0") {
			if t.Image != "" {
				return &plan.UsageError{Message: fmt.Sprintf("%s: two files are databases themselves: %s is the second", m.of.Source, name), Hint: "a template begins with one"}
			}
			t.Image = filepath.Join(root, filepath.FromSlash(name))
			return nil
		}
		t.Texts = append(t.Texts, fixture.Text{Name: name, Body: string(body)})
		return nil
	})
}

// command adds the template's command, and what it reads to the digest.
func (m *mould) command(root string) error {
	if m.of.Command == "" {
		return nil
	}
	m.note("command", m.of.Command)
	for _, name := range m.of.Inputs {
		err := m.each(root, name, func(r *os.Root, name string) error {
			f, err := r.Open(filepath.FromSlash(name))
			if err != nil {
				return err
			}
			defer f.Close()
			h := sha256.New()
			_, err = io.Copy(h, f)
			m.note(name, string(h.Sum(nil)))
			return err
		})
		if err != nil {
			return err
		}
	}
	script, variable := m.of.Command, m.of.Env
	m.want.Template.Command = func(ctx context.Context, url string) error {
		return fixture.Shell(ctx, root, script, map[string]string{variable: url})
	}
	return nil
}

// furnish gives a run what fairlead.yaml says that its jobs get: a seed, and
// databases. A file that is not whole gives nothing.
func (l *Launcher) furnish(ctx context.Context, s *start, req *engine.Request, masker *secret.Masker) error {
	req.Seed = s.settings.Seed
	file, problems, err := project.Read(s.tree.FS())
	if err != nil {
		return fmt.Errorf("read the project's file: %w", err)
	}
	if plan.Errors(problems) {
		return nil
	}
	req.Tests.Reports = file.Tests.Reports
	if req.SeedAll = file.Tests.Seed; l.Databases == nil || len(file.Databases) == 0 {
		return nil
	}
	lends, err := l.lends(ctx, s)
	if err != nil {
		return err
	}
	req.Lending = l.lending(s.tree.Root(), file, masker, lends)
	return nil
}

// unlent is why the jobs of a change from outside get no databases: what fills one
// is run outside of any step, what a server of ours lends opens the whole of it,
// and the address of a given one may hold a password.
const unlent = "this run gets no databases: it is of a change from outside that nobody has approved"

// lends reports whether jobs of a run are lent databases: those of a run that would be
// given secrets.
func (l *Launcher) lends(ctx context.Context, s *start) (bool, error) {
	if s.origin == nil || confides(s.origin, false) {
		return true, nil
	}
	r, err := l.Store.Run(ctx, s.id)
	if err != nil {
		return false, fmt.Errorf("who approved the run: %w", err)
	}
	return confides(s.origin, r.ApprovedBy != ""), nil
}

// unlentProblems tell a person, before a run begins, that its jobs will get no
// databases.
func unlentProblems(file *project.File, o *record.Origin) (problems []plan.Problem) {
	if confides(o, true) { // it does not begin before somebody has approved it
		return nil
	}
	for _, b := range file.Databases {
		problems = append(problems, plan.Problem{
			Source: b.Source, Severity: plan.Warning, Rule: "databases", Message: unlent,
			Hint: "approve such runs one by one (forks: approve), or use services in the pipeline, which each job has for itself",
		})
	}
	return problems
}

// newSeed is a number that tests can begin their chance with: it fits into 31
// bits, for there are generators that take no more.
func newSeed() string { return strconv.Itoa(rand.IntN(math.MaxInt32)) }

// lending is what a run whose tree is at root lends to a job: the databases that are
// declared for it, unless it lends none.
func (l *Launcher) lending(root string, file *project.File, masker *secret.Masker, lends bool) func(job *plan.Job) *engine.Lending {
	if l.Databases == nil || len(file.Databases) == 0 {
		return nil
	}
	return func(job *plan.Job) *engine.Lending {
		var mine []project.Database
		var names []string
		for _, b := range file.Databases {
			if !forJob(b.Jobs, job) {
				continue
			}
			mine = append(mine, b)
			names = append(names, b.Env)
			for i := range b.Shards {
				names = append(names, fmt.Sprintf("%s_%d", b.Env, i+1))
			}
		}
		switch {
		case len(mine) == 0:
			return nil
		case !lends:
			return &engine.Lending{Refused: unlent}
		}
		return &engine.Lending{Names: names, Lend: func(ctx context.Context, temp string) (*engine.Lent, error) {
			return l.lend(ctx, root, mine, masker, temp)
		}}
	}
}

// lend makes databases for a job. Files go to its directory for such, where all of
// its steps find them, those in containers, too.
func (l *Launcher) lend(ctx context.Context, root string, mine []project.Database, masker *secret.Masker, temp string) (_ *engine.Lent, err error) {
	wants, clean, err := l.Databases.Wants(ctx, root, mine)
	if err != nil {
		return nil, err
	}
	loan, err := l.Databases.Pool.Lend(ctx, wants, "")
	if err = errors.Join(err, clean()); err != nil {
		if loan != nil {
			err = errors.Join(err, loan.Close(context.WithoutCancel(ctx)))
		}
		return nil, err
	}
	lent := &engine.Lent{Env: loan.Env()}
	var moved []string
	lent.Back = func() error {
		var errs []error
		for _, dir := range moved {
			errs = append(errs, os.RemoveAll(dir))
		}
		return errors.Join(append(errs, loan.Close(context.WithoutCancel(ctx)))...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lent.Back())
		}
	}()
	places := map[string]string{} // of files: where they are now, by where they were
	for _, x := range loan.Lent {
		if x.Kind == project.SQLite {
			if places[x.URL] == "" {
				dir, err := os.MkdirTemp(temp, "database-")
				if err != nil {
					return nil, fmt.Errorf("database %s: %w", x.Name, err)
				}
				moved = append(moved, dir)
				places[x.URL] = filepath.Join(dir, filepath.Base(x.URL))
				if err := move(x.URL, places[x.URL]); err != nil {
					return nil, fmt.Errorf("database %s: %w", x.Name, err)
				}
			}
			lent.Env[x.Env] = places[x.URL]
			continue
		}
		u, err := url.Parse(x.URL)
		if err != nil {
			continue // only what reads it knows what it is
		}
		if password, ok := u.User.Password(); ok {
			masker.Add(password)
		}
		if port := loopbackPort(u); port > 0 && !slices.Contains(lent.Loopback, port) {
			lent.Loopback = append(lent.Loopback, port)
		}
	}
	return lent, nil
}

// loopbackPort is the port of an address that is this machine's own, 0 for others.
func loopbackPort(u *url.URL) int {
	if a, err := netip.ParseAddr(u.Hostname()); u.Hostname() != "localhost" && (err != nil || !a.IsLoopback()) {
		return 0
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"postgres": "5432", "postgresql": "5432", "redis": "6379"}[u.Scheme]
	}
	n, _ := strconv.Atoi(port)
	return n
}

// move moves a file, also to another file system.
func move(from, to string) error {
	err := os.Rename(from, to)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close()) // the other goes with the loan
}

// forJob reports whether one of the patterns is for the job; none is for all.
func forJob(patterns []string, job *plan.Job) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
		words := strings.Split(p, "*")
		for i := range words {
			words[i] = regexp.QuoteMeta(words[i])
		}
		re := regexp.MustCompile("^(?s:" + strings.Join(words, ".*") + ")$")
		base, _, _ := strings.Cut(job.ID, "/")
		return re.MatchString(job.ID) || re.MatchString(base) || re.MatchString(job.Name)
	})
}

// DatabaseEnv is what the environment of somebody gets who has databases.
func DatabaseEnv(lent []fixture.Lent) map[string]string {
	env := map[string]string{}
	for _, x := range lent {
		env[x.Env] = x.URL
	}
	return env
}
