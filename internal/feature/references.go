package feature

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// Reference is a line of code that names a flag.
type Reference struct {
	Flag string `json:"flag"`
	File string `json:"file"`
	Line int    `json:"line"` // from 1
	Text string `json:"text"` // of the line, cut
}

// Limits of a search for references.
const (
	maxSearched   = 200_000 // files
	maxSource     = 2 << 20 // bytes of a file that is searched; larger ones are no source
	maxReferences = 10_000
	maxReferred   = 200 // bytes of a line that are kept
)

// aside are directories that hold nothing a team wrote.
var aside = []string{".git", "node_modules", "vendor", ".venv", "dist", "build", "target", "testdata"}

// References finds the lines of a tree that name flags: where a key stands whole, not as part
// of a longer word. Definitions themselves (skip) are none.
func References(ctx context.Context, tree fs.FS, keys []string, skip func(file string) bool) ([]Reference, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	// Lines are few that have the first word of any key: one pass looks for those.
	byFirst := map[string][]anchored{}
	for _, k := range keys {
		word, at := firstWord(k)
		byFirst[word] = append(byFirst[word], anchored{k, at})
	}
	var found []Reference
	files := 0
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
				return nil
			}
			return err
		case d.IsDir() && name != "." && slices.Contains(aside, path.Base(name)):
			return fs.SkipDir
		case d.IsDir() || !d.Type().IsRegular() || skip != nil && skip(name):
			return nil
		}
		if files++; files > maxSearched || len(found) >= maxReferences {
			return fs.SkipAll
		}
		refs, err := referencesIn(tree, name, byFirst)
		found = append(found, refs...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for flags in the code: %w", err)
	}
	slices.SortStableFunc(found, func(a, b Reference) int { return cmp.Compare(a.Flag, b.Flag) })
	return found, nil
}

func referencesIn(tree fs.FS, name string, byFirst map[string][]anchored) (found []Reference, err error) {
	f, err := tree.Open(name)
	if err != nil {
		return nil, nil // gone, or not ours to read
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() > maxSource {
		return nil, nil
	}
	lines := bufio.NewReaderSize(io.LimitReader(f, maxSource), 64<<10)
	if head, _ := lines.Peek(512); bytes.IndexByte(head, 0) >= 0 {
		return nil, nil // no text
	}
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		for _, key := range keysOn(line, byFirst) {
			found = append(found, Reference{key, name, n, CutLine(line)})
		}
		if err != nil {
			return found, nil
		}
	}
}

// CutLine is a line of code as a reference has it.
func CutLine(line string) string {
	line = strings.TrimSpace(line)
	return strings.ToValidUTF8(line[:min(len(line), maxReferred)], "�")
}

// Names reports whether a line names a flag: its key stands there whole.
func Names(line, key string) bool {
	word, at := firstWord(key)
	return len(keysOn(line, map[string][]anchored{word: {{key, at}}})) > 0
}

// keysOn are the keys that a line names.
func keysOn(line string, byFirst map[string][]anchored) (keys []string) {
	for i := 0; i < len(line); {
		if !wordByte(line[i]) {
			i++
			continue
		}
		end := i
		for end < len(line) && wordByte(line[end]) {
			end++
		}
		for _, a := range byFirst[line[i:end]] {
			begin := i - a.at
			rest := begin + len(a.key)
			if begin >= 0 && strings.HasPrefix(line[begin:], a.key) && (rest == len(line) || !keyByte(line[rest])) && (begin == 0 || !keyByte(line[begin-1])) && !slices.Contains(keys, a.key) {
				keys = append(keys, a.key)
			}
		}
		i = end
	}
	return keys
}

// anchored is a key, and where in it its first word begins.
type anchored struct {
	key string
	at  int
}

func firstWord(key string) (word string, at int) {
	for at < len(key) && !wordByte(key[at]) {
		at++
	}
	end := at
	for end < len(key) && wordByte(key[end]) {
		end++
	}
	return key[at:end], at
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80
}

// keyByte may be part of a key, so that a key beside one is part of a longer one.
func keyByte(c byte) bool { return wordByte(c) || c == '-' }

// Stale says why a flag may have outlived its use; "" when it has not.
type Stale struct {
	Flag string `json:"flag"`
	Why  string `json:"why"`
}

// staleAfter is how long a flag may be the same for everybody before it is called stale.
const staleAfter = 30 * 24 * time.Hour

// FindStale finds flags that may be removed: no line of the code names them, their time is over, or
// they have been the same for everybody for long. changed is when a flag was changed last, zero if that
// is not known; references is nil when the code was not searched.
func FindStale(d *Definitions, references []Reference, searched bool, changed func(flag string) time.Time, now time.Time) []Stale {
	named := map[string]bool{}
	for _, r := range references {
		named[r.Flag] = true
	}
	stale := []Stale{}
	for i := range d.Flags {
		f := &d.Flags[i]
		at := changed(f.Key)
		if at.IsZero() {
			at = f.Care.Created
		}
		switch {
		case searched && !named[f.Key]:
			stale = append(stale, Stale{f.Key, "no line of the code names it"})
		case !f.Care.Until.IsZero() && !now.Before(f.Care.Until):
			stale = append(stale, Stale{f.Key, "its time is over since " + f.Care.Until.UTC().Format(time.DateOnly)})
		case f.settled() && !at.IsZero() && now.Sub(at) > staleAfter:
			stale = append(stale, Stale{f.Key, fmt.Sprintf("it has been the same for everybody for %d days", int(now.Sub(at).Hours()/24))})
		}
	}
	return stale
}

// settled reports whether the flag is the same for everybody.
func (f *Flag) settled() bool {
	if f.Care.Unleash != nil || f.Rule != nil || len(f.Care.Needs) > 0 || !f.Care.From.IsZero() {
		return false
	}
	for _, s := range f.Shares() {
		if s.Percent > 0 && s.Percent < 100 {
			return false
		}
	}
	return true
}
