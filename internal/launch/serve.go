package launch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

const (
	deskMark = "desk" // everything up to it is settled
	// settlers is how many requests are settled at a time.
	settlers = 4
	// keepTasks is how many requests wait in memory, keepTask the size of the largest that
	// does; others are read again when it is their turn.
	keepTasks = 500
	keepTask  = 64 << 10
	// retryFirst is how long a request waits that failed; that doubles up to retryMost.
	retryFirst = time.Second
	retryMost  = time.Minute
	// again is how long anything else waits that failed.
	again = 5 * time.Second
	// markEvery is how often it is written down how far the desk has come.
	markEvery = time.Second
	// keepTrees is how long working trees are kept that no unfinished run needs, tidyTrees
	// how often they are looked for.
	keepTrees = 3 * 24 * time.Hour
	tidyTrees = 6 * time.Hour

	tokenSecret = "$TOKEN" // for the forge and for https, in the vault
)

// tasks is what the record asks for and is not done.
type tasks struct {
	mu   sync.Mutex
	open map[int64]*task // by Seq
	seen int64           // the newest event that was looked at
	wake chan struct{}   // holds a token for each settler that may look
}

type task struct {
	seq   int64
	run   string      // that has ended; "" for a request
	body  record.Body // nil: to be read again
	busy  bool
	tries int
	next  time.Time
}

func (t *tasks) add(one *task) {
	t.mu.Lock()
	if t.open[one.seq] == nil {
		t.open[one.seq] = one
	}
	t.mu.Unlock()
	t.poke()
}

func (t *tasks) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

func (t *tasks) done(seq int64) {
	t.mu.Lock()
	delete(t.open, seq)
	t.mu.Unlock()
}

func (t *tasks) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// next takes the oldest that may be tried, or says how long there is none.
func (t *tasks) next(now time.Time) (one *task, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	wait = retryMost
	for _, x := range t.open {
		switch {
		case x.busy:
		case x.next.After(now):
			wait = min(wait, x.next.Sub(now))
		case one == nil || x.seq < one.seq:
			one = x
		}
	}
	if one != nil {
		one.busy = true
	}
	return one, wait
}

// mark is up to where everything is done.
func (t *tasks) mark() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	mark := t.seen
	for seq := range t.open {
		mark = min(mark, seq-1)
	}
	return mark
}

// Serve works until ctx ends: it settles what is asked for, gives out the queue, looks at the
// clock and at repositories, and tells outside what became of it. Runs that are under way when
// ctx ends go on for d.Stop; then they are left. The error is that of a record that cannot be
// read at the start; later ones are told to d.Log, and tried again.
func (d *Desk) Serve(ctx context.Context) error {
	d.tasks.open, d.tasks.wake = map[int64]*task{}, make(chan struct{}, settlers)
	d.queue.mu.Lock()
	d.queue.runs, d.queue.wake = map[string]*unfinished{}, make(chan struct{}, 1)
	d.queue.mu.Unlock()
	newest, err := d.Runs.Watch(ctx, -1)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	from, err := d.Store.Marked(ctx, deskMark)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	if err := d.catchUp(ctx, from, newest); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	if err := d.load(ctx); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	stop := make(chan struct{})
	var parts, runs sync.WaitGroup
	runs.Go(func() { d.dispatch(ctx, d.runner(stop), stop) })
	parts.Go(func() { d.follow(ctx) })
	for range settlers {
		parts.Go(func() { d.settler(ctx) })
	}
	parts.Go(func() { d.watchClock(ctx) })
	parts.Go(func() { d.poll(ctx) })
	parts.Go(func() { d.outbox(ctx) })
	parts.Go(func() { d.tidyTrees(ctx) })
	if d.Tests != nil {
		parts.Go(func() { d.Tests.Follow(ctx) })
	}
	if d.Faults != nil {
		parts.Go(func() { d.Faults.Follow(ctx) })
	}
	<-ctx.Done()
	ended := make(chan struct{})
	go func() {
		runs.Wait()
		close(ended)
	}()
	grace := time.NewTimer(d.Stop)
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
	}
	close(stop)
	<-ended
	parts.Wait()
	return nil
}

// catchUp reads what happened while nobody served, up to a Seq.
func (d *Desk) catchUp(ctx context.Context, from, to int64) error {
	for e, err := range d.Store.After(ctx, from) {
		if err != nil && e.Seq == 0 {
			return err
		}
		if e.Seq > to {
			break
		}
		if err != nil {
			d.complain(fmt.Sprintf("read event %d", e.Seq), err)
			continue
		}
		d.note(e)
	}
	d.tasks.mu.Lock()
	d.tasks.seen = to
	d.tasks.mu.Unlock()
	return nil
}

// note takes down what an event asks for.
func (d *Desk) note(e record.Event) {
	switch b := e.Body.(type) {
	case *record.HookReceived:
		one := &task{seq: e.Seq}
		if len(b.Body) <= keepTask && d.tasks.len() < keepTasks {
			one.body = b
		}
		d.tasks.add(one)
	case *record.RunRequested:
		d.tasks.add(&task{seq: e.Seq, body: b})
	case *record.RequestSettled:
		d.tasks.done(b.Request)
	case *record.RunFinished:
		d.tasks.add(&task{seq: e.Seq, run: e.Run})
	}
}

// follow follows the record.
func (d *Desk) follow(ctx context.Context) {
	d.tasks.mu.Lock()
	seen := d.tasks.seen
	d.tasks.mu.Unlock()
	var marked, wrote = int64(-1), time.Time{}
	for ctx.Err() == nil {
		for e, err := range d.Store.After(ctx, seen) {
			if e.Seq > 0 {
				seen = e.Seq
			}
			if err != nil {
				d.complain("follow the record", err)
				continue
			}
			d.note(e)
			d.heed(e)
		}
		d.tasks.mu.Lock()
		d.tasks.seen = seen
		d.tasks.mu.Unlock()
		if mark := d.tasks.mark(); mark != marked && time.Since(wrote) >= markEvery {
			if err := d.Store.Mark(ctx, deskMark, mark); err != nil {
				d.complain("write down how far the desk has come", err)
			}
			marked, wrote = mark, time.Now()
		}
		within, cancel := context.WithTimeout(ctx, again)
		_, err := d.Runs.Watch(within, seen)
		late := within.Err() != nil
		cancel()
		if err != nil && !late {
			d.complain("follow the record", err)
			pause(ctx, again)
		}
	}
	// Without its mark the next desk would only read more.
	_ = d.Store.Mark(context.WithoutCancel(ctx), deskMark, d.tasks.mark())
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, long time.Duration) {
	t := time.NewTimer(long)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// settler does tasks, one after another.
func (d *Desk) settler(ctx context.Context) {
	for ctx.Err() == nil {
		one, wait := d.tasks.next(time.Now())
		if one == nil {
			t := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-t.C:
			case <-d.tasks.wake:
			}
			t.Stop()
			continue
		}
		d.tasks.poke() // there may be more
		err := d.do(ctx, one)
		if err == nil {
			d.tasks.done(one.seq)
			continue
		}
		var held *store.HeldError
		if !errors.As(err, &held) && ctx.Err() == nil {
			d.complain(fmt.Sprintf("settle request %d", one.seq), err)
		}
		d.tasks.mu.Lock()
		one.busy, one.next = false, time.Now().Add(min(retryFirst<<min(one.tries, 10), retryMost))
		if held == nil {
			one.tries++
		}
		d.tasks.mu.Unlock()
	}
}

// do tries a task. Of several desks one does it.
func (d *Desk) do(ctx context.Context, one *task) error {
	lease, err := d.Store.Lease(ctx, fmt.Sprintf("task/%d", one.seq), "a desk")
	if err != nil {
		return err
	}
	defer func() { _ = lease.Release() }()
	if one.run != "" {
		if err = d.chain(ctx, one.run); err != nil && ctx.Err() == nil && one.tries+1 >= patience(err) {
			d.complain("find what follows run "+one.run, err)
			return nil
		}
		return err
	}
	body := one.body
	if body == nil {
		if body, err = d.request(ctx, one.seq); err != nil {
			return err
		}
	}
	err = d.settle(ctx, one.seq, body)
	if err != nil && ctx.Err() == nil && one.tries+1 >= patience(err) {
		return d.giveUp(ctx, one.seq, err)
	}
	return err
}

// request reads a request again.
func (d *Desk) request(ctx context.Context, seq int64) (record.Body, error) {
	list, err := d.Runs.Events(ctx, store.EventFilter{Kinds: []record.Kind{"hook.received", "run.requested"}, Before: seq + 1, Limit: 1})
	if err != nil {
		return nil, fmt.Errorf("read request %d: %w", seq, err)
	}
	if len(list) == 0 || list[0].Seq != seq {
		return nil, fmt.Errorf("event %d is no request", seq)
	}
	return list[0].Body, nil
}

// mirror is our copy of a repository.
func (d *Desk) mirror(ctx context.Context, repo *Repository) (*workspace.Mirror, error) {
	token, err := d.token(ctx, repo.Name)
	if err != nil {
		return nil, err
	}
	return &workspace.Mirror{Dir: d.mirrorDir(repo), URL: repo.URL, Token: token, Insecure: repo.InsecureToken, Allowed: d.allowed}, nil
}

// token is what the server shows to a repository's code host; "" for none.
func (d *Desk) token(ctx context.Context, repository string) (string, error) {
	if d.Vault == nil {
		return "", nil
	}
	token, _, err := d.Vault.Internal(ctx, repository, tokenSecret)
	if err != nil {
		return "", fmt.Errorf("the token of %s: %w", repository, err)
	}
	return token, nil
}

// mirrorDir is where our copy lies: another one when the repository has moved.
func (d *Desk) mirrorDir(repo *Repository) string {
	sum := sha256.Sum256([]byte(repo.URL))
	return filepath.Join(d.Dir, strings.ReplaceAll(repo.Name, "/", "+")+"-"+hex.EncodeToString(sum[:4]))
}

// tidyTrees removes working trees that are not needed any more, now and then.
func (d *Desk) tidyTrees(ctx context.Context) {
	for ctx.Err() == nil {
		if err := d.tidyOnce(ctx); err != nil {
			d.complain("remove old working trees", err)
		}
		pause(ctx, tidyTrees)
	}
}

func (d *Desk) tidyOnce(ctx context.Context) error {
	heads, err := d.Runs.Runs(ctx, store.RunFilter{Unfinished: true, Limit: maxWaiting})
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, h := range heads {
		used[cmp.Or(h.SHA, h.ID)] = true
	}
	repos, err := d.Repositories(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range repos {
		m := &workspace.Mirror{Dir: d.mirrorDir(&r), URL: r.URL}
		errs = append(errs, m.Prune(ctx, keepTrees, func(sha string) bool { return used[sha] }))
	}
	return errors.Join(append(errs, d.tidyMirrors(repos, heads))...)
}

// tidyMirrors removes what is left of repositories that are no more, or have moved.
func (d *Desk) tidyMirrors(repos []Repository, unfinished []store.RunHead) error {
	entries, err := os.ReadDir(d.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, e := range entries {
		dir := filepath.Join(d.Dir, e.Name())
		mirror := filepath.Join(dir, "mirror.git")
		st, err := os.Stat(mirror)
		if err != nil || time.Since(st.ModTime()) < keepTrees || // it is no mirror, or was used lately
			slices.ContainsFunc(repos, func(r Repository) bool { return d.mirrorDir(&r) == dir }) ||
			slices.ContainsFunc(unfinished, func(h store.RunHead) bool { return strings.HasPrefix(h.Root, dir+string(filepath.Separator)) }) {
			continue
		}
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(append(errs, err)...)
}
