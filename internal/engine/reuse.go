package engine

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// Reuse is what lets the steps of a run be reused.
type Reuse struct {
	Cache  *cache.Cache
	Policy *cache.Policy
	Scopes cache.Scopes
	// Version is Fairlead's own; Repository and Root say of what a record is.
	Version, Repository, Root string
	// Verify is how many of a hundred steps that could be reused are run all
	// the same, to see whether they still do the same.
	Verify int
	// Tree is the user's tree as a workspace would hold it now; nil when jobs
	// work in the tree itself.
	Tree func(ctx context.Context) (cache.Tree, error)
	// Places are the directories that a job could be given.
	Places func() []plan.Dirs
}

// reusing is reuse in one attempt at a job.
type reusing struct {
	*Reuse
	view   *cache.View
	class  executor.Class
	missed map[string]*asked // what was found on paper of steps that have to run
	beside []*besides        // commands that run, or ran beside one that still does
	// declared are the artifacts that commands of the job have named so far.
	declared []byte

	// On paper: what is held back until the job is done or its workspace is
	// there.
	paper   bool
	fill    bool // the workspace may be filled when it is wanted; else this is a rehearsal
	over    bool // it was wanted and could not be had: nothing of this attempt counts
	reused  int  // steps
	dirs    plan.Dirs
	tree    cache.Tree
	events  []record.Event
	printed []printed
	lines   int64
}

// printed is what a step would have printed into the job's log.
type printed struct {
	step string
	log  blob.Digest
}

// onPaper reports whether the job has no workspace yet.
func (j *job) onPaper() bool { return j.reuse != nil && j.reuse.paper }

// over reports whether this attempt has been given up.
func (j *job) over() bool { return j.reuse != nil && j.reuse.over }

// papers are the ways to begin the job on paper: one for each place that it
// could be given. There are none when it cannot be begun like that.
func (o *owner) papers(ctx context.Context, n *node) []*reusing {
	r := o.req.Reuse
	if r == nil || r.Tree == nil || o.prior(n) != nil {
		return nil
	}
	tree, err := r.Tree(ctx)
	if err != nil {
		return nil // the workspace cannot be made either, and that says why
	}
	var all []*reusing
	for _, dirs := range r.Places() {
		all = append(all, o.inEarnest(n).onPaper(dirs, tree))
	}
	return all
}

// inEarnest is reuse in a job that begins in a workspace.
func (o *owner) inEarnest(n *node) *reusing {
	if o.req.Reuse == nil {
		return nil
	}
	return &reusing{Reuse: o.req.Reuse, class: o.Executor.Class(&n.job.Place), missed: map[string]*asked{}}
}

// onPaper is the same in a job that begins without.
func (r *reusing) onPaper(dirs plan.Dirs, tree cache.Tree) *reusing {
	return &reusing{
		Reuse: r.Reuse, class: r.class, missed: map[string]*asked{},
		paper: true, dirs: dirs, tree: tree, view: r.Cache.NewView(dirs, tree),
	}
}

// attempt runs the job to its end, once.
func (o *owner) attempt(soft context.Context, n *node, number int, again func(*end) bool) end {
	papers := o.papers(soft, n)
	for _, r := range papers {
		r.fill = len(papers) == 1
		if e := o.job(soft, n, r).run(number, again); !r.over {
			return e
		}
	}
	// Not all of it can be reused anywhere: where most can, if that place is free.
	if len(papers) > 1 {
		slices.SortStableFunc(papers, func(a, b *reusing) int { return b.reused - a.reused })
		for _, r := range papers {
			if r.reused == 0 {
				break
			}
			r = r.onPaper(r.dirs, r.tree)
			r.fill = true
			if e := o.job(soft, n, r).run(number, again); !r.over {
				return e
			}
		}
	}
	return o.job(soft, n, o.inEarnest(n)).run(number, again)
}

// realise makes the workspace of a job that has been on paper, and everything
// that its steps so far would have left in it. If that cannot be done the
// attempt is over.
func (t *thread) realise() {
	r := t.reuse
	if r.over || !r.fill {
		r.over = true
		return
	}
	// When something is in the way, beginning in earnest meets it again and
	// says so, or finds another place.
	r.over = true
	t.earnest()
	var err error
	if t.ws, err = t.req.Open(t.soft, Opening{Job: t.plan.ID, At: r.dirs.Workspace, Tree: r.tree}); err != nil {
		return
	}
	if t.furnish() != nil || t.place() != nil {
		return
	}
	for _, rec := range r.view.Materialise() {
		if _, _, err := r.Cache.Restore(t.ctx, rec); err != nil {
			_ = r.Cache.Drop(rec) // if that fails, too, it is found out again
			return
		}
	}
	for _, p := range r.printed {
		if err := t.reprint(p.step, p.log); err != nil {
			return
		}
	}
	if t.remark() != nil {
		return
	}
	r.over, r.paper = false, false
	base := *t.base
	base.Paper, base.Beside = false, t.beside()
	t.base = &base
	t.append(r.events)
	r.events, r.printed = nil, nil
}

// reprint adds to the job's log what a step printed when it ran.
func (t *thread) reprint(step string, log blob.Digest) error {
	now := time.Now()
	return t.reuse.Cache.Printed(t.ctx, log, func(text []byte) error {
		_, err := t.log.Line(step, now, text)
		return err
	})
}

// lines is how many lines the job's log has.
func (j *job) lines() int64 {
	if j.onPaper() {
		return j.reuse.lines
	}
	return j.log.Lines()
}

// asked is what was found out about a command before it was run.
type asked struct {
	key     cache.Key
	habit   string    // by which its step is known from run to run
	stable  cache.Key // by which it is known whether it does the same each time, wherever it runs
	class   executor.Class
	unsound string // why what it did before is not to be trusted
	rule    cache.Rule
	vars    map[string]string // volatile variables and those that hold secrets
	secrets map[string]bool
	found   *cache.Record // whose results can stand for it
	verify  *cache.Record // whose results could, and are to be compared
	off     bool          // watching it costs more than it saves
	told    record.Reuse
}

// ask finds out whether a command was run before and would do the same again.
func (t *thread) ask(s *plan.Step, act *plan.Act) *asked {
	r := t.reuse
	c := act.Command
	if a := r.missed[s.Key]; a != nil {
		for _, name := range c.Volatile {
			a.vars[name] = c.Env[name] // some are known only in earnest
		}
		return a
	}
	return t.inquire(s, act, "")
}

// inquire is ask for a part of what a step runs, which a name tells from its others.
func (t *thread) inquire(s *plan.Step, act *plan.Act, part string) *asked {
	r := t.reuse
	c := act.Command
	a := &asked{
		rule: r.Policy.For(t.plan.ID, act.Name, s.ID, s.Key),
		vars: map[string]string{}, secrets: map[string]bool{},
		habit: strings.Join([]string{r.Repository, t.base.Pipeline.File, t.plan.ID, s.Key + part}, "/"),
		class: r.class,
	}
	if c.Container != nil {
		a.class = t.Executor.Class(&plan.Place{Container: c.Container})
	}
	env := maps.Clone(c.Env)
	for _, name := range c.Volatile {
		a.vars[name] = env[name]
		delete(env, name)
	}
	for name, value := range c.Env {
		if t.req.Masker.Holds(value) {
			a.vars[name], a.secrets[name] = value, true
			delete(env, name)
		}
	}
	files := c.Files
	t.mu.Lock()
	declared := r.declared
	t.mu.Unlock()
	if len(declared) > 0 {
		// Its dialect may tell it of them, in a file that is not watched.
		files = slices.Concat(files, []plan.File{{Path: "artifacts", Body: declared}})
	}
	if part != "" { // it leaves no log, and stands for no step that is written like it
		files = slices.Concat(files, []plan.File{{Path: "part"}})
	}
	a.key = cache.Meaning{
		Argv: c.Argv, Path: c.Path, Files: files, Env: env, Dir: c.Dir, Dirs: t.base.Dirs,
		Class: a.class.Name, Machine: a.class.Environ, Rules: a.rule, Version: r.Version,
	}.Key()
	a.stable = cache.Meaning{Argv: []string{a.habit, c.Script}}.Key()
	a.told.Key = string(a.key)
	if why := t.altered(c); why != "" {
		a.told.Miss = &record.Miss{Why: why}
		return a
	}
	answer := r.Cache.Lookup(t.ctx, cache.Query{
		Key: a.key, Stable: a.stable, Scopes: r.Scopes, Vars: a.vars, Secrets: a.secrets, View: r.view, Now: time.Now(), Rule: a.rule,
		InPlace: r.Tree == nil, Ignored: func() []string { return t.ignored(a, c.Env) },
	})
	a.told.Miss, a.unsound = answer.Miss, answer.Unsound
	switch {
	case answer.Record == nil:
		a.off = r.Cache.Habit(a.habit).Off()
	case rand.IntN(100) < r.Verify:
		a.verify = answer.Record
	case a.unsound != "":
		a.told.Miss = &record.Miss{Why: "a verification found that it does not do the same each time: " + a.unsound}
	default:
		a.found = answer.Record
	}
	return a
}

// altered says why a room is not any more what its class says it is, "" when
// it is. A container of the command's own is always new.
func (t *thread) altered(c *plan.Command) string {
	if room, ok := t.room.(executor.Located); ok && c.Container == nil {
		return room.Altered()
	}
	return ""
}

// reuseStep lets what a command did in another run stand for it. It reports
// false when that turns out to be impossible.
func (t *thread) reuseStep(s *plan.Step, act *plan.Act, a *asked) (stepEnd, bool) {
	r, rec := t.reuse, a.found
	begun := t.lines()
	if r.paper {
		r.view.Apply(rec)
		r.printed = append(r.printed, printed{s.Key, rec.Log})
		r.lines += rec.Lines
	} else {
		_, _, err := r.Cache.Restore(t.ctx, rec)
		if err == nil {
			err = t.reprint(s.Key, rec.Log)
		}
		r.view.Changed()
		if err != nil {
			_ = r.Cache.Drop(rec) // if that fails, too, it is found out again
			a.found, a.told.Miss = nil, &record.Miss{Why: "what it left cannot be restored: " + err.Error()}
			return stepEnd{}, false
		}
	}
	r.reused++
	t.remember(s.Key, observed(rec))
	r.Cache.Note(a.habit, cache.Turn{Hit: true, Took: rec.Took})
	from := rec.Writer.StepRef
	a.told.From, a.told.Saved, a.told.Log, a.told.Lines = &from, rec.Took, string(rec.Log), rec.Lines
	name := t.req.Masker.String(act.Name)
	fin := &record.StepFinished{Name: name, Outcome: plan.Success, Conclusion: plan.Success, Effects: rec.Effects, Line: t.lines(), Reuse: &a.told}
	t.heed(&rec.Effects)
	t.save(s, rec.Effects.State)
	bodies := []record.Body{&record.StepStarted{Name: name, ID: s.ID, Phase: s.Phase, At: s.Source, Line: begun, Script: t.req.Masker.String(act.Command.Script)}}
	bodies = t.saved(append(bodies, t.again(rec)...), rec.Effects.Artifacts)
	t.note(s.Key, append(bodies, fin)...)
	return stepEnd{outcome: plan.Success, conclusion: plan.Success, outputs: settings(rec.Effects.Outputs), finished: fin}, true
}

// aloof does a built-in that needs no workspace while there is none.
func (t *thread) aloof(ctx context.Context, s *plan.Step, act *plan.Act, scope *plan.Scope) (w stepWork) {
	var text strings.Builder
	w.fx, w.err = t.session.Do(ctx, act.Builtin, scope, &text)
	t.req.Masker.Add(w.fx.Masks...)
	w.tail = new(tail)
	shown := t.req.Masker.String(text.String())
	if shown == "" {
		return w
	}
	if !strings.HasSuffix(shown, "\n") {
		shown += "\n"
	}
	digest, _, err := t.reuse.Cache.Blobs().Put(t.ctx, strings.NewReader(shown))
	if err != nil {
		return w // a few lines about what was done are not worth an error
	}
	w.told = &record.Reuse{Log: string(digest), Lines: int64(strings.Count(shown, "\n"))}
	t.reuse.printed = append(t.reuse.printed, printed{s.Key, digest})
	t.reuse.lines += w.told.Lines
	return w
}

// ignored is what a command with an environment is not watched for.
func (t *thread) ignored(a *asked, env map[string]string) []string {
	environ := slices.Clone(a.class.Environ)
	for name, value := range env {
		environ = append(environ, name+"="+value)
	}
	return cache.Ignored(environ, a.rule, t.base.Dirs)
}

// watch says how a command is to be watched, and what is not to be seen: the
// files by which it talks to its dialect.
func (t *thread) watch(a *asked, c *plan.Command, talk map[string]string) *trace.Spec {
	ignored := t.ignored(a, c.Env)
	for _, f := range c.Files {
		ignored = append(ignored, f.Path)
	}
	temp := t.base.Dirs.Temp + string(filepath.Separator)
	for _, value := range talk {
		if below, ok := strings.CutPrefix(value, temp); ok {
			first, _, _ := strings.Cut(below, string(filepath.Separator))
			ignored = append(ignored, temp+first)
		} else if filepath.IsAbs(value) {
			ignored = append(ignored, value)
		}
	}
	slices.Sort(ignored)
	return &trace.Spec{Inside: cache.Inside(t.base.Dirs), Ignored: slices.Compact(ignored), Digest: t.reuse.Cache.Facts().Digest}
}

// keep makes what a command did a record, if it may be reused, and tells in
// its end what became of that.
func (t *thread) keep(s *plan.Step, act *plan.Act, w *stepWork, fin *record.StepFinished) {
	a, o := w.asked, w.result.Observation
	if w.seen != nil {
		o = w.seen
	}
	r := t.reuse
	fin.Reuse = &a.told
	if o != nil {
		fin.Watched = &record.Watched{
			Mechanism: o.Mechanism, Inputs: len(o.Inputs), Outputs: len(o.Outputs), Calls: o.Calls, Overhead: o.Overhead,
			Peers: o.Peers[:min(len(o.Peers), 8)], Digest: t.inputs(a, act.Command, o),
		}
		if w.tested() || fin.Outcome == plan.Failure {
			fin.Watched.Kept = t.keepSeen(o)
			if fin.Outcome.Bad() {
				fin.Watched.Earlier = t.keepEarlier()
			}
		}
	}
	a.told.Verified = a.verify != nil
	switch {
	case fin.Outcome != plan.Success:
		a.told.Barred = []record.Bar{{Kind: record.BarFailed, Detail: string(fin.Outcome)}}
		return
	case w.tries > 0:
		// What the other attempts have done was not looked at.
		a.told.Barred = []record.Bar{{Kind: record.BarFailed, Detail: fmt.Sprintf("it succeeded at attempt %d", w.tries+1)}}
		return
	case w.apart:
		a.told.Barred = []record.Bar{{Kind: record.BarParts}}
		return
	case a.off:
		a.told.Barred = []record.Bar{{Kind: record.BarOff}}
		r.Cache.Note(a.habit, cache.Turn{Took: w.took})
		return
	case o == nil:
		a.told.Barred = []record.Bar{{Kind: record.BarNotWatched}}
		return
	case len(w.fx.Artifacts) > 0:
		// Later steps would have to be told of them again.
		a.told.Barred = []record.Bar{{Kind: record.BarProtocol, Detail: "it names artifacts"}}
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, artifact := range w.fx.Artifacts {
			r.declared = fmt.Appendf(r.declared, "%q %q\n", artifact.Name, artifact.Digest)
		}
		return
	}
	r.Cache.Note(a.habit, cache.Turn{Watched: true, Took: w.took, Overhead: o.Overhead})
	text, err := t.log.Text(s.Key, w.begun, t.log.Lines())
	if err != nil {
		a.told.Barred = []record.Bar{{Kind: record.BarLost, Detail: err.Error()}}
		return
	}
	defer text.Close()
	writer := cache.Writer{
		StepRef: record.StepRef{Run: t.base.RunID, Job: t.plan.ID, Step: s.Key, Commit: t.base.Change.SHA},
		Name:    fin.Name, JobName: t.plan.Name, Repository: r.Repository, Root: r.Root, Pipeline: t.base.Pipeline.File,
		Scope: r.Scopes.Write, Time: time.Now(),
	}
	pending, barred, err := r.Cache.Save(t.ctx, cache.Saving{
		Key: a.key, Writer: writer, Dirs: t.base.Dirs, Observation: o, Effects: fin.Effects, Masked: fin.Masked || len(w.fx.Masks) > 0,
		Reports: w.said, Log: text, Lines: w.lines, Script: act.Command.Script, Vars: a.vars, Secrets: a.secrets, Rule: a.rule,
	})
	a.told.Barred = barred
	switch {
	case err != nil:
		a.told.Barred = []record.Bar{{Kind: record.BarLost, Detail: err.Error()}}
	case pending == nil:
	case a.verify != nil:
		a.told.Differs = cache.Compare(a.verify, pending)
		if len(a.told.Differs) > 0 {
			a.unsound = a.told.Differs[0]
			err = r.Cache.Condemn(a.stable, a.unsound)
		} else if a.unsound != "" {
			a.unsound, err = "", r.Cache.Pardon(a.stable)
		}
		if err != nil {
			a.unsound += "; that cannot be kept: " + err.Error()
		}
	default:
		// Also of what is not to be trusted: the next verification compares with it.
		w.beside.pending = pending
	}
	if a.unsound != "" && len(a.told.Barred) == 0 {
		a.told.Barred = []record.Bar{{Kind: record.BarUnstable, Detail: a.unsound}}
	}
}

// reports reads the reports that a command has written. Those of a command that
// nobody watched are looked for at the end of the job. Processes that it left may
// go on writing: then, too.
func (t *thread) reports(w *stepWork, begun time.Time) []record.Body {
	o := w.result.Observation
	unseen := o == nil || o.Mechanism == "" || o.LeftOver > 0
	if unseen {
		t.mu.Lock()
		t.unseen = true
		t.mu.Unlock()
		// Whether its failures count, and which of its tests are to run again, cannot be
		// asked so late.
		if w.tests.attempt == 1 && (w.result.Exit == 0 || len(t.req.Tests.Muted) == 0 && t.req.Tests.Retry == 0) {
			return nil
		}
	}
	workspace := t.base.Dirs.Workspace
	var names []string
	if !unseen {
		for i := range o.Outputs {
			if below, ok := strings.CutPrefix(o.Outputs[i].Path, workspace+string(filepath.Separator)); ok && o.Outputs[i].Kind == record.Regular {
				names = append(names, filepath.ToSlash(below))
			}
		}
		if len(names) == 0 {
			return nil
		}
	}
	if workspace == "" {
		return nil
	}
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return nil
	}
	defer root.Close()
	if unseen {
		names = t.lately(root, begun)
	} else {
		names = t.written(root, names)
	}
	return t.read(root, names, w.tests)
}

// again is what was read in what a step left when it ran. No test was run now.
func (t *thread) again(rec *cache.Record) (bodies []record.Body) {
	for _, r := range rec.Reports {
		body, err := record.Decode(r.Kind, r.Body)
		if err != nil {
			continue // a newer Fairlead wrote it
		}
		switch b := body.(type) {
		case *record.TestsReported:
			b.Reused, b.Results = true, t.there(b.Results)
		case *record.CoverageReported:
			b.Report = t.there(b.Report)
		}
		bodies = append(bodies, body)
	}
	return bodies
}

// there is the digest of a blob of results if it is there still.
func (t *thread) there(digest string) string {
	if digest == "" || t.req.Tests.Blobs == nil {
		return ""
	}
	if missing, err := t.req.Tests.Blobs.Missing(t.ctx, []blob.Digest{blob.Digest(digest)}); err != nil || len(missing) > 0 {
		return ""
	}
	return digest
}

// known reports whether a report was read as it was at that time, and notes
// that it now is.
func (j *job) known(name string, written time.Time) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	before, ok := j.reported[name]
	j.reported[name] = written
	return ok && before.Equal(written)
}

// besides is a command in a workspace where others run at the same time.
// Whether what it did may be reused hangs on what they did meanwhile.
type besides struct {
	active  bool
	seen    *record.Observation // nil: nobody knows what it did
	pending *cache.Pending
	with    []*besides
}

// enter notes that a command begins.
func (j *job) enter() *besides {
	if j.reuse == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	b := &besides{active: true}
	for _, other := range j.reuse.beside {
		if other.active {
			b.with, other.with = append(b.with, other), append(other.with, b)
		}
	}
	j.reuse.beside = append(j.reuse.beside, b)
	return b
}

// exit notes that a command has ended, and makes records of those that nobody
// runs beside any more, unless one has touched what the other did. It reports
// whether that is known of this one.
func (j *job) exit(b *besides, seen *record.Observation) (meddled bool) {
	if b == nil {
		return false
	}
	j.mu.Lock()
	b.active, b.seen = false, seen
	var settled []*besides
	j.reuse.beside = slices.DeleteFunc(j.reuse.beside, func(b *besides) bool {
		done := !b.active && !slices.ContainsFunc(b.with, func(o *besides) bool { return o.active })
		if done {
			settled = append(settled, b)
		}
		return done
	})
	j.mu.Unlock()
	for _, other := range settled {
		switch {
		case other.pending == nil:
		case slices.ContainsFunc(other.with, func(o *besides) bool { return hazard(other.seen, o.seen) }):
			meddled = meddled || other == b
		default:
			// A record that cannot be kept is a step that runs again.
			_ = other.pending.Commit(j.hard)
		}
	}
	return meddled
}

// hazard reports whether two commands that ran at the same time may have got
// into each other's way: one has changed what the other read or changed.
func hazard(a, b *record.Observation) bool {
	if a == nil || b == nil || a.Mechanism == "" || b.Mechanism == "" {
		return true
	}
	return meddles(a, b) || meddles(b, a)
}

// meddles reports whether a has changed a path that b used.
func meddles(a, b *record.Observation) bool {
	changed := make(map[string]bool, 2*len(a.Outputs))
	listed := make(map[string]bool, len(a.Outputs))
	for i := range a.Outputs {
		changed[a.Outputs[i].Path] = true
		listed[filepath.Dir(a.Outputs[i].Path)] = true
	}
	for i := range b.Inputs {
		in := &b.Inputs[i]
		if changed[in.Path] || in.Use == record.UseListed && listed[in.Path] {
			return true
		}
	}
	return slices.ContainsFunc(b.Outputs, func(o record.Output) bool { return changed[o.Path] })
}

// environment is the command's own and what it needs to talk to its dialect.
func environment(own, talk map[string]string) map[string]string {
	env := make(map[string]string, len(own)+len(talk))
	maps.Copy(env, own)
	maps.Copy(env, talk)
	return env
}
