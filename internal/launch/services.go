package launch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// ServiceOrder says whose services somebody wants around him for work.
type ServiceOrder struct {
	Dir      string
	Pipeline string // a file's path, base name or stem, or a pipeline's name; "" for all
	Job      string // an ID or a name; "" for all
	Secrets  map[string]string
}

// Services are those that jobs of a tree's pipelines declare.
type Services struct {
	All   map[string]plan.Container
	Notes []string // whose services are not among them, and why: a line each

	root   string
	values map[plan.Expr]func() (string, error)
	from   map[string]string // by service: the job that declares it, for people
}

// maxExpanded is how deep jobs are looked into that become others.
const maxExpanded = 6

// previewer is a dialect that can say what a deferred job will become, if that can
// be known before a run.
type previewer interface {
	Preview(job *plan.Job, c *plan.Context) (*plan.Expansion, bool)
}

// Services finds the services that jobs declare. Nothing of the repository is run.
// A job whose services only a run can know is in the notes, unless it was asked for.
func (l *Launcher) Services(ctx context.Context, o ServiceOrder) (s *Services, problems []plan.Problem, err error) {
	p, err := l.Prepare(ctx, Order{Dir: o.Dir, Workflow: o.Pipeline, Secrets: o.Secrets})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, p.Tree.Close()) }()
	s = &Services{All: map[string]plan.Container{}, root: p.Tree.Root(), values: map[plan.Expr]func() (string, error){}, from: map[string]string{}}
	found := o.Job == ""
	for i := range p.Pipelines {
		pl := &p.Pipelines[i]
		if o.Pipeline != "" && !answersTo(pl, o.Pipeline) || o.Pipeline == "" && slices.Contains(p.Others, pl.Dialect) {
			continue
		}
		if own := p.ProblemsOf(pl); plan.Errors(own) {
			if o.Pipeline != "" {
				return nil, own, nil
			}
			s.Notes = append(s.Notes, pl.File+" has errors, and its services are left out: see `fairlead lint`")
			continue
		}
		d, err := l.dialect(pl.Dialect)
		if err != nil {
			return nil, nil, err
		}
		c := &plan.Context{
			Pipeline: pl, Change: p.ChangeFor(pl), Root: s.root, RunID: "0", Secrets: o.Secrets, Inputs: map[string]any{},
		}
		for j := range pl.Jobs {
			known, err := s.look(d, c, &pl.Jobs[j], o.Job, 0)
			if err != nil {
				return nil, nil, err
			}
			found = found || known
		}
	}
	if !found {
		return nil, nil, &plan.UsageError{Message: fmt.Sprintf("no pipeline here has a job %q whose services are known before a run", plan.Clip(o.Job)), Hint: "`fairlead run --list` shows the jobs"}
	}
	return s, nil, nil
}

// look adds the services of a job, and of those that it becomes. want names the only
// job that is wanted; known says that it was this one, or one of those.
func (s *Services) look(d dialect.Dialect, c *plan.Context, job *plan.Job, want string, depth int) (known bool, err error) {
	this := want == "" || job.ID == want || job.Name == want
	if this {
		want = "" // what it becomes is wanted, too
	}
	if job.Deferred == nil {
		if !this {
			return false, nil
		}
		return true, s.add(d, c, job)
	}
	var x *plan.Expansion
	ok := false
	if p, can := d.(previewer); can && depth < maxExpanded {
		x, ok = p.Preview(job, c)
	}
	if !ok {
		if this {
			s.Notes = append(s.Notes, fmt.Sprintf("%s: what job %s becomes is known only in a run, and so are its services", c.Pipeline.File, job.ID))
		}
		return false, nil
	}
	for i := range x.Jobs {
		k, err := s.look(d, c, &x.Jobs[i], want, depth+1)
		if err != nil {
			return false, err
		}
		known = known || k
	}
	return known || this, nil
}

// add adds the services of a job.
func (s *Services) add(d dialect.Dialect, c *plan.Context, job *plan.Job) error {
	who := fmt.Sprintf("job %s of %s", job.ID, c.Pipeline.File)
	scope := &plan.Scope{Context: c, Job: job, Dirs: plan.Dirs{Workspace: c.Root}}
	for _, name := range slices.Sorted(maps.Keys(job.Place.Services)) {
		service := job.Place.Services[name]
		if other, there := s.All[name]; there && !alike(other, service) {
			return &plan.UsageError{
				Message: fmt.Sprintf("two services are named %s: that of %s is not that of %s", name, who, s.from[name]),
				Hint:    "choose one of the jobs with --job, or a file with --pipeline",
			}
		}
		exprs := []plan.Expr{service.Username, service.Password}
		for _, b := range service.Private {
			exprs = append(exprs, b.Value)
		}
		for _, e := range exprs {
			s.values[e] = func() (string, error) {
				v, err := d.Eval(e, dialect.Text, scope)
				text, _ := v.(string)
				return text, err
			}
		}
		s.All[name], s.from[name] = service, who
	}
	return nil
}

// alike reports whether two services are the same, wherever they were written.
func alike(a, b plan.Container) bool {
	for _, c := range []*plan.Container{&a, &b} {
		c.Source, c.Username.Source, c.Password.Source = plan.Source{}, plan.Source{}, plan.Source{}
		c.Private = slices.Clone(c.Private)
		for i := range c.Private {
			c.Private[i].Value.Source = plan.Source{}
		}
	}
	return reflect.DeepEqual(a, b)
}

// keepWord is the word under which the services of a tree are kept.
func keepWord(root string) string { return "env " + root }

// keepMark is a file that is there as long as services of a tree may be up: where no
// engine answers, nobody else could say so.
func (l *Launcher) keepMark(root string) string {
	sum := sha256.Sum256([]byte(keepWord(root)))
	return filepath.Join(l.Data, "environments", hex.EncodeToString(sum[:10]))
}

// inTurn does something with the services of a tree, of which one at a time may.
func (l *Launcher) inTurn(ctx context.Context, root string, do func(k executor.Keeper) error) error {
	k, ok := l.Executor.(executor.Keeper)
	if !ok {
		return &plan.UsageError{Message: "this Fairlead runs no containers, which services are", Hint: "use one for Linux"}
	}
	lease, err := l.Store.Lease(ctx, keepWord(root), fmt.Sprintf("pid %d", os.Getpid()))
	if held := new(store.HeldError); errors.As(err, &held) {
		return &plan.UsageError{Message: "somebody else is just bringing services of this directory up or down (" + cmp.Or(held.Holder, "another process") + ")", Hint: "try again when that is done"}
	}
	if err != nil {
		return fmt.Errorf("take turns with services: %w", err)
	}
	return errors.Join(do(k), lease.Release())
}

// KeepServices brings services up and returns when they are healthy. They stay until
// [Launcher.DropServices]; those that are up stay as they are.
func (l *Launcher) KeepServices(ctx context.Context, s *Services, note func(string)) (kept []executor.Kept, err error) {
	err = l.inTurn(ctx, s.root, func(k executor.Keeper) error {
		mark := l.keepMark(s.root)
		_, before := os.Stat(mark)
		if err := errors.Join(os.MkdirAll(filepath.Dir(mark), 0o700), os.WriteFile(mark, []byte(s.root+"\n"), 0o600)); err != nil {
			return fmt.Errorf("write down that services are up: %w", err)
		}
		spec := executor.Spec{
			Run: "env", Place: plan.Place{Services: s.All}, Dirs: plan.Dirs{Workspace: s.root}, Note: note,
			Value: func(e plan.Expr) (string, error) {
				if value := s.values[e]; value != nil {
					return value()
				}
				return "", fmt.Errorf("%s: the value of %q is not known", e.Source, e.Text)
			},
		}
		kept, err = k.Keep(ctx, keepWord(s.root), spec)
		if lost := new(executor.EngineError); errors.As(err, &lost) && errors.Is(before, fs.ErrNotExist) {
			return errors.Join(err, os.Remove(mark)) // nothing has begun
		}
		return err
	})
	return kept, err
}

// KeptServices are the services that are up for a directory. Where no container
// engine answers there are none, unless some may be up.
func (l *Launcher) KeptServices(ctx context.Context, root string) ([]executor.Kept, error) {
	k, ok := l.Executor.(executor.Keeper)
	if !ok {
		return nil, nil
	}
	kept, err := k.Kept(ctx, keepWord(root))
	return kept, l.excuse(err, root)
}

// DropServices removes the services that are up for a directory.
func (l *Launcher) DropServices(ctx context.Context, root string) error {
	if _, ok := l.Executor.(executor.Keeper); !ok {
		return nil
	}
	return l.inTurn(ctx, root, func(k executor.Keeper) error {
		if err := l.excuse(k.Drop(ctx, keepWord(root)), root); err != nil {
			return err
		}
		if err := os.Remove(l.keepMark(root)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// excuse forgives that no engine answers when nothing was ever brought up.
func (l *Launcher) excuse(err error, root string) error {
	if lost := new(executor.EngineError); !errors.As(err, &lost) {
		return err
	}
	if _, serr := os.Stat(l.keepMark(root)); errors.Is(serr, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("services of this directory may be up: %w", err)
}

// ServiceEnv is what the environment of somebody gets who has services: for each
// NAME_HOST, NAME_PORT_5432 with the port of this machine for the service's own
// port 5432, and NAME_PORT, that of its first.
func ServiceEnv(kept []executor.Kept) map[string]string {
	env := map[string]string{}
	for _, k := range kept {
		name := variableOf(k.Name)
		if len(k.Ports) == 0 {
			continue
		}
		env[name+"_HOST"] = "127.0.0.1"
		inside := slices.SortedFunc(maps.Keys(k.Ports), func(a, b string) int {
			n, _, udp := portOf(a)
			m, _, udp2 := portOf(b)
			if udp != udp2 { // TCP first
				return map[bool]int{true: 1, false: -1}[udp]
			}
			return cmp.Or(cmp.Compare(n, m), strings.Compare(a, b))
		})
		env[name+"_PORT"] = k.Ports[inside[0]]
		for _, p := range inside {
			_, suffix, _ := portOf(p)
			env[name+"_PORT_"+suffix] = k.Ports[p]
		}
	}
	return env
}

// portOf reads "5432" or "53/udp".
func portOf(text string) (number int, suffix string, other bool) {
	digits, protocol, other := strings.Cut(text, "/")
	number, _ = strconv.Atoi(digits)
	if other {
		digits += "_" + variableOf(protocol)
	}
	return number, digits, other
}

// variableOf makes a name one for a variable: "my-db" is "MY_DB".
func variableOf(name string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)
	if clean == "" || clean[0] >= '0' && clean[0] <= '9' {
		clean = "_" + clean
	}
	return clean
}
