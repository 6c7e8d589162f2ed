package launch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/feature"
)

// LiveFlags are the flags of an environment as programs are answered with them now.
type LiveFlags struct {
	repository, environment string

	mu          sync.Mutex
	set         *feature.Set
	definitions *feature.Definitions
	changed     chan struct{}
	stale       bool // from disk: the store did not answer
}

// Now is the set of flags, and a channel that is closed when there is another one, or when the
// time of a flag of it has come or is over.
func (l *LiveFlags) Now() (set *feature.Set, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.set, l.changed
}

// Definitions are what the set was made of. Nobody changes them.
func (l *LiveFlags) Definitions() *feature.Definitions {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.definitions
}

// Stale says that the store did not answer, and these are the flags as it last had them.
func (l *LiveFlags) Stale() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stale
}

func (l *LiveFlags) put(d *feature.Definitions, stale bool) (fresh bool) {
	set, _ := feature.Compile(d)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stale = stale
	if l.set != nil && l.set.Digest() == set.Digest() {
		return false
	}
	l.set, l.definitions = set, d
	l.wakeLocked()
	return true
}

func (l *LiveFlags) wakeLocked() {
	if l.changed != nil {
		close(l.changed)
	}
	l.changed = make(chan struct{})
}

const (
	// maxLive is how many environments are kept ready.
	maxLive = 5000
	// liveBeat is how often flags whose time may have come are looked at.
	liveBeat = time.Second
)

// Live are the flags of an environment, kept ready. When the store does not answer they are
// those that it last had, of memory or of disk.
func (f *Flags) Live(ctx context.Context, repository, environment string) (*LiveFlags, error) {
	environment = strings.ToLower(environment)
	key := [2]string{repository, environment}
	f.mu.Lock()
	l := f.live[key]
	f.mu.Unlock()
	if l != nil {
		return l, nil
	}
	if f.Known != nil {
		// A store that does not answer is no reason to turn away whom a snapshot serves.
		if err := f.Known(ctx, repository); err != nil && f.snapshot(repository, environment) == nil {
			return nil, err
		}
	}
	l = &LiveFlags{repository: repository, environment: environment}
	if err := f.load(ctx, l); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if was := f.live[key]; was != nil {
		return was, nil
	}
	if f.live == nil || len(f.live) >= maxLive {
		f.live = map[[2]string]*LiveFlags{}
	}
	f.live[key] = l
	return l, nil
}

// load brings the flags of the store, or else those of the disk.
func (f *Flags) load(ctx context.Context, l *LiveFlags) error {
	list, err := f.List(ctx, l.repository, l.environment)
	if err != nil {
		if set, _ := l.Now(); set != nil {
			l.mu.Lock()
			l.stale = true
			l.mu.Unlock()
			return err
		}
		if d := f.snapshot(l.repository, l.environment); d != nil {
			f.complain("flags are served as the store last had them", err)
			l.put(d, true)
			return nil
		}
		return err
	}
	d := definitions(list)
	if l.put(d, false) && f.Dir != "" {
		if err := f.keep(l.repository, l.environment, d); err != nil {
			f.complain("keep flags for when the store is down", err)
		}
	}
	return nil
}

// renew brings what just changed, without waiting for the record to tell.
func (f *Flags) renew(ctx context.Context, repository, environment string) {
	f.mu.Lock()
	l := f.live[[2]string{repository, environment}]
	f.mu.Unlock()
	if l != nil {
		if err := f.load(ctx, l); err != nil {
			f.complain("bring flags that have changed", err)
		}
	}
}

// Serve keeps what is live up to the record and the clock until ctx ends.
func (f *Flags) Serve(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.follow(ctx)
	}()
	defer func() { <-done }()
	beat := time.NewTicker(liveBeat)
	defer beat.Stop()
	last := f.now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
		now := f.now()
		for _, l := range f.all() {
			l.mu.Lock()
			if l.set.Timed(last, now) {
				l.wakeLocked()
			}
			stale := l.stale
			l.mu.Unlock()
			if stale {
				_ = f.load(ctx, l) // that it fails was said
			}
		}
		last = now
	}
}

func (f *Flags) all() []*LiveFlags {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]*LiveFlags, 0, len(f.live))
	for _, l := range f.live {
		list = append(list, l)
	}
	return list
}

// follow brings what others changed: another server, or the command line. It looks at the
// counters of what is live, which is one small read each, whenever the record has grown.
func (f *Flags) follow(ctx context.Context) {
	seq := int64(-1)
	counted := map[*LiveFlags]int64{}
	for ctx.Err() == nil {
		newest, err := f.Log.Watch(ctx, seq)
		for _, l := range f.all() {
			if err != nil {
				break
			}
			r, failed := f.Store.Register(ctx, flagSetKind, flagsOf(l.repository, l.environment))
			if err = failed; err == nil && counted[l] != r.Version {
				if err = f.load(ctx, l); err == nil {
					counted[l] = r.Version
				}
			}
		}
		if err != nil {
			f.complain("follow changes of flags", err)
			select {
			case <-ctx.Done():
			case <-time.After(again):
			}
			continue
		}
		seq = newest
	}
}

func (f *Flags) complain(doing string, err error) {
	if f.Complain != nil && err != nil && !errors.Is(err, context.Canceled) {
		f.Complain(doing, err)
	}
}

// file is where the flags of an environment are kept.
func (f *Flags) file(repository, environment string) string {
	sum := sha256.Sum256([]byte(flagsOf(repository, environment)))
	return filepath.Join(f.Dir, hex.EncodeToString(sum[:16])+".json")
}

// keep writes definitions to disk: whole or not at all.
func (f *Flags) keep(repository, environment string, d *feature.Definitions) error {
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return err
	}
	name := f.file(repository, environment)
	t, err := os.CreateTemp(f.Dir, "flags-*")
	if err != nil {
		return err
	}
	defer os.Remove(t.Name())
	_, err = t.Write(feature.Write(d, false))
	if err == nil {
		err = t.Sync()
	}
	if err = errors.Join(err, t.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(t.Name(), name); err != nil {
		return err
	}
	dir, err := os.Open(f.Dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// snapshot are the flags that were kept; nil when there are none.
func (f *Flags) snapshot(repository, environment string) *feature.Definitions {
	if f.Dir == "" {
		return nil
	}
	src, err := os.ReadFile(f.file(repository, environment))
	if err != nil {
		return nil
	}
	d, problems := feature.Read(feature.Name, src)
	if len(d.Flags) == 0 && len(problems) > 0 {
		return nil
	}
	return d
}
