package launch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/feature"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// Flags are the feature flags of a server's repositories, environment by environment. A flag
// is a register; a change is one transaction of the register, the event that says who, why, what it
// was and what it is ([record.FlagChanged]), the leaf of the audit trail, and the counter of its
// environment, which has two changes that meet come one after the other.
//
// What programs are answered with is kept ready in memory ([Flags.Live]), follows the record, and is
// written to disk, so that a store that is down takes nobody's flags away.
//
// Its fields are set once, before any of its methods is called.
type Flags struct {
	Store store.Registers
	Log   FlagLog
	// Known says whether there is such a repository; nil: any.
	Known func(ctx context.Context, repository string) error
	// Past is the history of a repository, in which the lines are looked for that name a flag;
	// nil: they are not.
	Past func(ctx context.Context, repository string) workspace.Past
	// Dir is where the newest sets are kept for the time that the store is down; "" for
	// nowhere.
	Dir string
	// Complain is told of what failed and is tried again; nil: nobody is.
	Complain func(doing string, err error)
	Now      func() time.Time // nil: time.Now

	mu   sync.Mutex
	live map[[2]string]*LiveFlags
}

// FlagLog is what flags ask of the record; see [Runs].
type FlagLog interface {
	Events(ctx context.Context, f store.EventFilter) ([]record.Event, error)
	Watch(ctx context.Context, seq int64) (int64, error)
}

const (
	flagKind    = "flag"  // by repository, environment and key: a keptFlag
	flagSetKind = "flags" // by repository and environment: how often it was changed
	// maxFlags is how many flags an environment of a server has.
	maxFlags = 2000
	// maxFlagReason is the size of the longest reason.
	maxFlagReason = 1000
	// flagTries is how often a change is made again that met another one.
	flagTries = 20
	// maxFlagHistory is how many changes of flags are looked through for those of one.
	maxFlagHistory = 20_000
)

// FlagRef names a flag on a server.
type FlagRef struct {
	Repository  string `json:"repository"`
	Environment string `json:"environment"`
	Flag        string `json:"flag"`
}

// String is the reference for people.
func (r FlagRef) String() string { return r.Flag + " of " + r.Repository + ", " + r.Environment }

// KeptFlag is a flag as the server has it.
type KeptFlag struct {
	feature.Flag
	Changed time.Time
	By, Why string
}

// keptFlag is the register of a flag.
type keptFlag struct {
	Key     string          `json:"key"`
	Flag    json.RawMessage `json:"flag"`
	Changed time.Time       `json:"changed"`
	By      string          `json:"by"`
	Why     string          `json:"why"`
}

// FlagChange is a change of a flag that was made.
type FlagChange struct {
	Seq  int64     `json:"seq"`
	Time time.Time `json:"time"`
	record.FlagChanged
}

func flagsOf(repository, environment string) string {
	return repository + "\n" + strings.ToLower(environment) + "\n"
}

func (f *Flags) now() time.Time {
	if f.Now != nil {
		return f.Now().UTC()
	}
	return time.Now().UTC()
}

// Environments are the environments of a repository that have flags, sorted.
func (f *Flags) Environments(ctx context.Context, repository string) ([]string, error) {
	list, err := f.Store.Registers(ctx, flagSetKind, repository+"\n")
	if err != nil {
		return nil, fmt.Errorf("list the environments of the flags of %s: %w", repository, err)
	}
	names := make([]string, 0, len(list))
	for _, r := range list {
		_, name, _ := strings.Cut(strings.TrimSuffix(r.ID, "\n"), "\n")
		names = append(names, name)
	}
	return names, nil
}

// List are the flags of an environment, by key.
func (f *Flags) List(ctx context.Context, repository, environment string) ([]KeptFlag, error) {
	list, _, err := f.read(ctx, repository, environment)
	return list, err
}

// read gives the flags of an environment and the versions of their registers, under "" that of
// the counter.
func (f *Flags) read(ctx context.Context, repository, environment string) ([]KeptFlag, map[string]int64, error) {
	id := flagsOf(repository, environment)
	counter, err := f.Store.Register(ctx, flagSetKind, id)
	if err != nil {
		return nil, nil, fmt.Errorf("read the flags of %s, %s: %w", repository, environment, err)
	}
	list, err := f.Store.Registers(ctx, flagKind, id)
	if err != nil {
		return nil, nil, fmt.Errorf("read the flags of %s, %s: %w", repository, environment, err)
	}
	flags, versions := make([]KeptFlag, 0, len(list)), map[string]int64{"": counter.Version}
	for _, r := range list {
		var k keptFlag
		if err := json.Unmarshal(r.Body, &k); err != nil {
			return nil, nil, fmt.Errorf("read flag %s: %w", r.ID, err)
		}
		flag, problems := feature.ReadFlag("the record", k.Key, k.Flag)
		if i := slices.IndexFunc(problems, func(p plan.Problem) bool { return p.Severity == plan.Error }); i >= 0 {
			return nil, nil, fmt.Errorf("read flag %s: %s", k.Key, problems[i].Message)
		}
		flag.Source = plan.Source{}
		flags = append(flags, KeptFlag{flag, k.Changed, k.By, k.Why})
		versions[k.Key] = r.Version
	}
	slices.SortFunc(flags, func(a, b KeptFlag) int { return cmp.Compare(a.Key, b.Key) })
	return flags, versions, nil
}

// Find is one flag. The error is a [*plan.UsageError] when there is no such.
func (f *Flags) Find(ctx context.Context, ref FlagRef) (KeptFlag, error) {
	list, err := f.List(ctx, ref.Repository, ref.Environment)
	if err != nil {
		return KeptFlag{}, err
	}
	if i := slices.IndexFunc(list, func(k KeptFlag) bool { return k.Key == ref.Flag }); i >= 0 {
		return list[i], nil
	}
	return KeptFlag{}, noFlag(ref, list)
}

func noFlag(ref FlagRef, list []KeptFlag) error {
	keys := make([]string, len(list))
	for i, k := range list {
		keys[i] = k.Key
	}
	hint := "`fairlead flag list` shows those there are"
	if near := plan.Nearest(ref.Flag, keys); near != "" {
		hint = "did you mean " + near + "?"
	}
	return &plan.UsageError{Message: "there is no flag " + ref.String(), Hint: hint}
}

// definitions are flags without what only a server knows of them.
func definitions(list []KeptFlag) *feature.Definitions {
	d := &feature.Definitions{Flags: make([]feature.Flag, len(list))}
	for i, k := range list {
		d.Flags[i] = k.Flag
	}
	return d
}

// edit is what becomes of a flag: nil takes it away.
type edit struct {
	key string
	to  *feature.Flag
	act string
}

// change makes edits in one transaction. decide is given the flags as they are, and is asked again
// when somebody else was faster.
func (f *Flags) change(ctx context.Context, by By, verb access.Verb, repository, environment, why string, fence int64, decide func([]KeptFlag) ([]edit, error)) (int, error) {
	environment = strings.ToLower(environment)
	switch {
	case environment == "" || len(environment) > maxName || hasControl(environment) || strings.Contains(environment, "/"):
		return 0, &plan.UsageError{Message: fmt.Sprintf("%.40q cannot be the name of an environment", environment), Hint: "write one such as production"}
	case strings.TrimSpace(why) == "":
		return 0, &plan.UsageError{Message: "a change of a flag needs a reason", Hint: "say why, in a few words: it stands in the history"}
	case len(why) > maxFlagReason:
		return 0, &plan.UsageError{Message: fmt.Sprintf("the reason has more than %d bytes", maxFlagReason), Hint: "say it shorter"}
	}
	if f.Known != nil {
		if err := f.Known(ctx, repository); err != nil {
			return 0, err
		}
	}
	for try := 1; ; try++ {
		n, err := f.attempt(ctx, by, verb, repository, environment, why, fence, decide)
		if err == nil || !errors.Is(err, record.ErrConflict) || try == flagTries {
			return n, err
		}
	}
}

func (f *Flags) attempt(ctx context.Context, by By, verb access.Verb, repository, environment, why string, fence int64, decide func([]KeptFlag) ([]edit, error)) (int, error) {
	list, versions, err := f.read(ctx, repository, environment)
	if err != nil {
		return 0, err
	}
	edits, err := decide(slices.Clone(list))
	if err != nil {
		return 0, err
	}
	at, id := f.now(), flagsOf(repository, environment)
	var changes []record.Register
	var events []record.Event
	after := slices.Clone(list)
	for _, e := range edits {
		i, there := slices.BinarySearchFunc(after, e.key, func(k KeptFlag, key string) int { return cmp.Compare(k.Key, key) })
		changed := record.FlagChanged{Repository: repository, Environment: environment, Flag: e.key, Act: e.act, By: by.Name, Why: why, Fence: fence}
		if there {
			changed.Before, _ = after[i].MarshalJSON() // never fails
		}
		if e.to != nil {
			changed.After, _ = e.to.MarshalJSON()
		}
		if bytes.Equal(changed.Before, changed.After) {
			continue
		}
		to := record.Register{Kind: flagKind, ID: id + e.key, Version: versions[e.key]}
		switch {
		case e.to == nil:
			after = slices.Delete(after, i, i+1)
		case there:
			after[i].Flag = *e.to
		default:
			after = slices.Insert(after, i, KeptFlag{Flag: *e.to})
		}
		if e.to != nil {
			to = register(flagKind, to.ID, to.Version, keptFlag{e.key, changed.After, at, by.Name, why})
		}
		changes = append(changes, to)
		events = append(events, record.Event{Body: &changed}, by.Acted(verb, repository,
			map[string]string{"environment": environment, "flag": e.key, "act": e.act, "why": why}))
	}
	if len(changes) == 0 {
		return 0, nil
	}
	if len(after) > maxFlags {
		return 0, &plan.UsageError{Message: fmt.Sprintf("an environment has at most %d flags", maxFlags), Hint: "remove those that nobody asks for: `fairlead flag stale` finds them"}
	}
	if _, problems := feature.Compile(definitions(after)); len(problems) > 0 {
		return 0, &plan.UsageError{Message: problems[0].Message, Hint: problems[0].Hint}
	}
	n := versions[""] + 1
	changes = append(changes, register(flagSetKind, id, versions[""], struct {
		Changes int64 `json:"changes"`
	}{n}))
	if _, err := f.Store.Change(ctx, changes, events...); err != nil {
		return 0, fmt.Errorf("change the flags of %s, %s: %w", repository, environment, err)
	}
	f.renew(ctx, repository, environment)
	return len(changes) - 1, nil
}

// Set says what a flag is from now on. Its share, when a rollout has set it, and a pulled kill
// switch stay as they are unless the flag says otherwise.
func (f *Flags) Set(ctx context.Context, by By, repository, environment string, flag feature.Flag, why string) error {
	if said := feature.CheckKey(flag.Key); said != "" {
		return &plan.UsageError{Message: said, Hint: "write a key such as new-checkout"}
	}
	_, err := f.change(ctx, by, access.SetFlags, repository, environment, why, 0, func(list []KeptFlag) ([]edit, error) {
		return []edit{{flag.Key, f.carried(flag, list), "set"}}, nil
	})
	return err
}

// carried is a flag that takes the place of another with what nobody means to lose by that.
func (f *Flags) carried(flag feature.Flag, list []KeptFlag) *feature.Flag {
	i := slices.IndexFunc(list, func(k KeptFlag) bool { return k.Key == flag.Key })
	switch {
	case i >= 0:
		old := list[i].Care
		flag.Care.Fence = old.Fence
		flag.Care.Killed = cmp.Or(flag.Care.Killed, old.Killed)
		if flag.Care.Created.IsZero() {
			flag.Care.Created = old.Created
		}
		if flag.Care.Guard != nil && old.Guard != nil && flag.Care.Guard.Variant == old.Guard.Variant && old.Fence > 0 {
			flag.Care.Split = old.Split // the rollout's
		}
	case flag.Care.Created.IsZero():
		flag.Care.Created = f.now().Truncate(time.Second)
	}
	return &flag
}

// Remove takes a flag away.
func (f *Flags) Remove(ctx context.Context, by By, ref FlagRef, why string) error {
	return f.alter(ctx, by, access.SetFlags, ref, why, 0, "removed", func(*feature.Flag) (bool, error) { return false, nil })
}

// Kill turns a flag off for everybody, at once, whatever its rules say.
func (f *Flags) Kill(ctx context.Context, by By, ref FlagRef, why string) error {
	return f.alter(ctx, by, access.KillFlag, ref, why, 0, "killed", func(flag *feature.Flag) (bool, error) {
		flag.Care.Killed = why
		return true, nil
	})
}

// Revive takes back what Kill did.
func (f *Flags) Revive(ctx context.Context, by By, ref FlagRef, why string) error {
	return f.alter(ctx, by, access.SetFlags, ref, why, 0, "revived", func(flag *feature.Flag) (bool, error) {
		flag.Care.Killed = ""
		return true, nil
	})
}

// Share sets the share of the users that a variant has, in percent. People's changes have no
// fence, and end no rollout: the next step of one sets the share again.
func (f *Flags) Share(ctx context.Context, by By, ref FlagRef, variant string, percent float64, why string) error {
	return f.alter(ctx, by, access.SetFlags, ref, why, 0, "share", func(flag *feature.Flag) (bool, error) {
		return true, setShare(flag, variant, percent)
	})
}

// SetShare sets the share of the guarded variant of a flag, for a rollout. It may be done again:
// the same share is no change. fence is the rollout's, growing with each rollout and each owner; a
// lower one than the flag has seen is refused with a [*StaleFenceError], so that a rollout
// that was taken over cannot move the share any more.
func (f *Flags) SetShare(ctx context.Context, by By, ref FlagRef, percent float64, fence int64, why string) error {
	return f.alter(ctx, by, access.SetFlags, ref, why, fence, "share", func(flag *feature.Flag) (bool, error) {
		switch {
		case flag.Care.Guard == nil:
			return true, notGuarded(ref)
		case fence < flag.Care.Fence:
			return true, &StaleFenceError{ref, fence, flag.Care.Fence}
		}
		flag.Care.Fence = fence
		return true, setShare(flag, flag.Care.Guard.Variant, percent)
	})
}

// FlagShares is what a rollout moves guarded flags by.
type FlagShares struct {
	Flags *Flags
	By    By // for whom the record says that it was done
}

// SetShare sets the share of users, in percent, who get the guarded variant of a flag. See
// [Flags.SetShare].
func (s FlagShares) SetShare(ctx context.Context, repository, environment, flag string, percent float64, fence int64) error {
	return s.Flags.SetShare(ctx, s.By, FlagRef{repository, environment, flag}, percent, fence, fmt.Sprintf("a rollout goes to %g %%", percent))
}

// Share is the share that the guarded variant has, in percent.
func (s FlagShares) Share(ctx context.Context, repository, environment, flag string) (float64, error) {
	ref := FlagRef{repository, environment, flag}
	k, err := s.Flags.Find(ctx, ref)
	switch {
	case err != nil:
		return 0, err
	case k.Care.Guard == nil:
		return 0, notGuarded(ref)
	}
	return k.ShareOf(k.Care.Guard.Variant), nil
}

func notGuarded(ref FlagRef) error {
	return &plan.UsageError{Message: "flag " + ref.String() + " is not guarded", Hint: "give it a guard: the variant and the steps of its share"}
}

// StaleFenceError says that a rollout no longer owns a flag.
type StaleFenceError struct {
	Flag         FlagRef
	Fence, Newer int64
}

func (e *StaleFenceError) Error() string {
	return fmt.Sprintf("flag %s belongs to a newer rollout (fence %d, this is %d)", e.Flag, e.Newer, e.Fence)
}

// Unwrap is [deploy.ErrFenced].
func (e *StaleFenceError) Unwrap() error { return deploy.ErrFenced }

func setShare(flag *feature.Flag, variant string, percent float64) error {
	if !(percent >= 0 && percent <= 100) {
		return &plan.UsageError{Message: fmt.Sprintf("a share is 0 to 100 percent, not %g", percent)}
	}
	split := feature.Split{}
	if old := flag.Care.Split; old != nil {
		split.By, split.Shares = old.By, slices.Clone(old.Shares)
	}
	i := slices.IndexFunc(split.Shares, func(s feature.Share) bool { return s.Variant == variant })
	if i < 0 {
		i = len(split.Shares)
		split.Shares = append(split.Shares, feature.Share{Variant: variant})
	}
	split.Shares[i].Percent = percent
	flag.Care.Split = &split
	return flag.Check()
}

// alter changes one flag that there is; change returns false to take it away.
func (f *Flags) alter(ctx context.Context, by By, verb access.Verb, ref FlagRef, why string, fence int64, act string, change func(*feature.Flag) (keep bool, err error)) error {
	_, err := f.change(ctx, by, verb, ref.Repository, ref.Environment, why, fence, func(list []KeptFlag) ([]edit, error) {
		i := slices.IndexFunc(list, func(k KeptFlag) bool { return k.Key == ref.Flag })
		if i < 0 {
			return nil, noFlag(ref, list)
		}
		to := list[i].Flag
		keep, err := change(&to)
		switch {
		case err != nil:
			return nil, err
		case !keep:
			return []edit{{ref.Flag, nil, act}}, nil
		}
		return []edit{{ref.Flag, &to, act}}, nil
	})
	return err
}

// Import takes definitions over in one transaction, and returns how many flags are different
// now. With prune, flags that the definitions do not have are removed.
func (f *Flags) Import(ctx context.Context, by By, repository, environment string, d *feature.Definitions, prune bool, why string) (int, error) {
	return f.change(ctx, by, access.SetFlags, repository, environment, why, 0, func(list []KeptFlag) (edits []edit, err error) {
		for _, flag := range d.Flags {
			flag.Metadata = OverMetadata(d.Metadata, flag.Metadata) // a server's flags stand by themselves
			edits = append(edits, edit{flag.Key, f.carried(flag, list), "imported"})
		}
		for _, k := range list {
			if prune && d.Find(k.Key) == nil {
				edits = append(edits, edit{k.Key, nil, "removed"})
			}
		}
		return edits, nil
	})
}

// OverMetadata is the metadata of a flag over that of its set.
func OverMetadata(set, flag map[string]any) map[string]any {
	if len(set) == 0 {
		return flag
	}
	all := make(map[string]any, len(set)+len(flag))
	maps.Copy(all, set)
	maps.Copy(all, flag)
	return all
}

// History are the newest changes of a flag, the newest first; of all flags of the environment
// when the reference names none.
func (f *Flags) History(ctx context.Context, ref FlagRef, limit int) ([]FlagChange, error) {
	changes := []FlagChange{}
	filter := store.EventFilter{Kinds: []record.Kind{"flag.changed"}, Limit: 500}
	for looked := 0; looked < maxFlagHistory; {
		events, err := f.Log.Events(ctx, filter)
		if err != nil {
			return nil, fmt.Errorf("read the history of flags: %w", err)
		}
		for _, e := range events {
			c, ok := e.Body.(*record.FlagChanged)
			if !ok || c.Repository != ref.Repository || c.Environment != strings.ToLower(ref.Environment) || ref.Flag != "" && c.Flag != ref.Flag {
				continue
			}
			if changes = append(changes, FlagChange{e.Seq, e.Time, *c}); len(changes) == limit {
				return changes, nil
			}
		}
		if len(events) < filter.Limit {
			break
		}
		looked += len(events)
		filter.Before = events[len(events)-1].Seq
	}
	return changes, nil
}

// findWithin is how long the code of a repository is searched for a page.
const findWithin = 3 * time.Second

// References are the lines of the repository's default branch that name a flag, and the commit
// that was searched; "" when none was.
func (f *Flags) References(ctx context.Context, repository, flag string) (references []feature.Reference, commit string) {
	if f.Past == nil {
		return nil, ""
	}
	past := f.Past(ctx, repository)
	if past.Dir == "" {
		return nil, ""
	}
	ctx, cancel := context.WithTimeout(ctx, findWithin)
	defer cancel()
	commit, err := past.Commit(ctx, "HEAD")
	if err != nil {
		return nil, ""
	}
	found, err := past.Grep(ctx, commit, flag)
	if err != nil {
		f.complain("look for flag "+flag+" in the code of "+repository, err)
		return nil, ""
	}
	references = []feature.Reference{}
	for _, x := range found {
		if feature.Names(x.Text, flag) {
			references = append(references, feature.Reference{Flag: flag, File: x.File, Line: x.Line, Text: feature.CutLine(x.Text)})
		}
	}
	return references, commit
}

// Summary says a change for people: "share of on from 5 % to 25 %".
func (c *FlagChange) Summary() string {
	read := func(src json.RawMessage) (flag feature.Flag) {
		if src != nil {
			flag, _ = feature.ReadFlag("the record", c.Flag, src)
		}
		return flag
	}
	before, after := read(c.Before), read(c.After)
	switch {
	case c.Before == nil:
		return "added"
	case c.After == nil:
		return "removed"
	case c.Act == "killed":
		return "killed"
	case c.Act == "revived":
		return "revived"
	}
	var said []string
	if before.State != after.State {
		said = append(said, strings.ToLower(string(after.State)))
	}
	if before.Default != after.Default {
		said = append(said, "default "+strconv.Quote(after.Default))
	}
	if !bytes.Equal(before.Rule, after.Rule) {
		said = append(said, "another rule")
	}
	for _, s := range after.Shares() {
		if was := before.ShareOf(s.Variant); was != s.Percent {
			said = append(said, fmt.Sprintf("share of %s from %g %% to %g %%", s.Variant, was, s.Percent))
		}
	}
	if len(said) == 0 {
		return "changed"
	}
	return strings.Join(said, ", ")
}
