package supervise

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The documents lie in two files, state.0 and state.1, of which each has a generation
// and a sum. A generation is written to the file of the one before the last, so
// whatever is being written or torn, the last whole one is beside it.
const (
	stateMagic = "fairlead-host 1 sha256:"
	maxState   = 256 << 20 // bytes
)

// state is what a host remembers.
type state struct {
	Generation int64    `json:"generation"`
	Epoch      uint64   `json:"epoch"` // rises with each process that is the host
	Targets    []Target `json:"targets,omitempty"`
}

// clone is a copy that can be changed without changing the original, down to the
// revisions; what is in a revision is never changed in place.
func (s *state) clone() *state {
	c := *s
	c.Targets = append([]Target(nil), s.Targets...)
	for i := range c.Targets {
		c.Targets[i].Revisions = append([]Revision(nil), c.Targets[i].Revisions...)
	}
	return &c
}

// target is the one with the name; nil for none.
func (s *state) target(name string) *Target {
	for i := range s.Targets {
		if s.Targets[i].Name == name {
			return &s.Targets[i]
		}
	}
	return nil
}

// files are the changes that are made to the disk for the state. Each is a point at
// which tests end the process.
type files interface {
	write(name string, data []byte) error // and force it to the disk
	rename(from, to string) error
	syncDir(dir string) error
}

// disk is the real one.
type disk struct{}

func (disk) write(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (disk) rename(from, to string) error { return os.Rename(from, to) }

func (disk) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func stateFile(dir string, generation int64) string {
	return filepath.Join(dir, fmt.Sprintf("state.%d", generation&1))
}

// saveState makes s the state that loadState reads.
func saveState(on files, dir string, s *state) error {
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	data := append([]byte(stateMagic+hex.EncodeToString(sum[:])+"\n"), body...)
	if len(data) > maxState {
		return fmt.Errorf("%w: what is to be remembered takes %d bytes; at most %d are kept", ErrRefused, len(data), maxState)
	}
	beside := filepath.Join(dir, "state.new")
	if err := on.write(beside, data); err != nil {
		return err
	}
	if err := on.rename(beside, stateFile(dir, s.Generation)); err != nil {
		return err
	}
	return on.syncDir(dir)
}

// loadState reads the newest whole generation; an empty one if none was written. The
// damage says why a file could not be used; it is an error if none can.
func loadState(dir string) (s *state, damage, err error) {
	found := 0
	for generation := range int64(2) {
		one, rerr := readState(stateFile(dir, generation))
		switch {
		case errors.Is(rerr, fs.ErrNotExist):
			continue
		case rerr != nil:
			damage = errors.Join(damage, rerr)
		case s == nil || one.Generation > s.Generation:
			s = one
		}
		found++
	}
	if found == 0 {
		return &state{}, nil, nil
	}
	if s == nil {
		return nil, nil, fmt.Errorf("none of the files of the state can be read; restore one, or move them away to begin with nothing: %w", damage)
	}
	return s, damage, nil
}

func readState(name string) (*state, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return nil, err
	}
	s, err := decodeState(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// decodeState reads what saveState wrote.
func decodeState(data []byte) (*state, error) {
	first, body, found := bytes.Cut(data, []byte("\n"))
	want, ours := strings.CutPrefix(string(first), stateMagic)
	sum := sha256.Sum256(body)
	switch {
	case len(data) > maxState:
		return nil, fmt.Errorf("larger than %d bytes", maxState)
	case !found || !ours:
		return nil, errors.New("damaged: it does not begin as a state does")
	case hex.EncodeToString(sum[:]) != want:
		return nil, errors.New("damaged: its sum is another")
	}
	s := new(state)
	if err := json.Unmarshal(body, s); err != nil {
		return nil, fmt.Errorf("damaged: %w", err)
	}
	if len(s.Targets) > maxTargets {
		return nil, fmt.Errorf("damaged: %d targets", len(s.Targets))
	}
	for i := range s.Targets {
		t := &s.Targets[i]
		if len(t.Revisions) > maxRevisions || !plainName(t.Name) {
			return nil, fmt.Errorf("damaged: target %.80q", t.Name)
		}
		for k := range t.Revisions {
			if all := check(t, &t.Revisions[k], t.Revisions[k].Instances); len(all) > 0 {
				return nil, fmt.Errorf("damaged: %s: %s", t.revisionName(t.Revisions[k].Number), all[0].Message)
			}
		}
	}
	return s, nil
}
