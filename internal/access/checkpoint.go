package access

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// maxNote is the size of the largest checkpoint, proof or key that is read.
	maxNote = 1 << 20
	maxKeys = 100
)

// Checkpoint is what a signed checkpoint says: the tree that the first Size acts
// of the record make has this Root. Seq and Time are those of the last of
// them, for people.
type Checkpoint struct {
	Origin string // the log's own name, which is that of its key
	Size   int64
	Root   tlog.Hash
	Seq    int64
	Time   time.Time
}

// text is the text that is signed, after c2sp.org/tlog-checkpoint: origin, size and
// root, then lines of our own.
func (c Checkpoint) text() string {
	s := fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, c.Root)
	if c.Size > 0 {
		s += fmt.Sprintf("event %d %s\n", c.Seq, c.Time.UTC().Format(time.RFC3339Nano))
	}
	return s
}

// ParseCheckpoint reads a checkpoint that one of the keys has signed. keys are
// public keys, one a line, as they stand in the file beside the key.
func ParseCheckpoint(text []byte, keys string) (Checkpoint, error) {
	known, err := verifiers(keys)
	if err != nil {
		return Checkpoint{}, err
	}
	return openCheckpoint(text, known)
}

func verifiers(keys string) (note.Verifiers, error) {
	if len(keys) > maxNote {
		return nil, errors.New("the public key is longer than any key")
	}
	var list []note.Verifier
	for line := range strings.Lines(keys) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		v, err := note.NewVerifier(line)
		if err != nil {
			return nil, fmt.Errorf("%q is no public key of an audit trail: %w", cut(line), err)
		}
		if list = append(list, v); len(list) > maxKeys {
			return nil, fmt.Errorf("there are more than %d public keys", maxKeys)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("there is no public key: it stands in the file audit.pub beside the server's key")
	}
	return note.VerifierList(list...), nil
}

func openCheckpoint(text []byte, known note.Verifiers) (Checkpoint, error) {
	if len(text) > maxNote {
		return Checkpoint{}, errors.New("it is longer than any checkpoint")
	}
	n, err := note.Open(text, known)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("the checkpoint's signature is not that of the key: %w", err)
	}
	// What follows was signed by somebody whom we trust, and is read with care
	// all the same.
	bad := func(what string) (Checkpoint, error) {
		return Checkpoint{}, fmt.Errorf("the checkpoint has a bad %s", what)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 4 {
		return bad("form")
	}
	c := Checkpoint{Origin: lines[0]}
	if c.Origin != n.Sigs[0].Name {
		return bad("origin: it is of another log")
	}
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Size < 0 || lines[1] != strconv.FormatInt(c.Size, 10) {
		return bad("size")
	}
	if c.Root, err = tlog.ParseHash(lines[2]); err != nil {
		return bad("root")
	}
	if words := strings.Fields(lines[3]); len(words) == 3 && words[0] == "event" {
		if c.Seq, err = strconv.ParseInt(words[1], 10, 64); err != nil || c.Seq < 1 {
			return bad("event")
		}
		if c.Time, err = time.Parse(time.RFC3339Nano, words[2]); err != nil {
			return bad("time")
		}
	}
	return c, nil
}

// Key signs checkpoints. It lies in a file outside the database, so that who can
// write the database alone cannot sign what was made of it.
type Key struct {
	path   string
	signer note.Signer
	known  note.Verifiers
	public string
}

// Public is the public key, one line; whoever is to verify the trail needs it.
func (k *Key) Public() string { return k.public }

// OpenKey reads the key in a file, or makes one there at first: the file is for
// its owner alone, beside it is the public key in a file that ends in .pub, and
// later the checkpoint that was signed last in one that ends in .checkpoint.
// Several servers over one database have copies of one key.
func OpenKey(path string) (*Key, error) {
	k, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	name := "fairlead-audit-" + strings.ToLower(rand.Text()[:8])
	secret, _, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return nil, fmt.Errorf("make the key of the audit trail: %w", err)
	}
	if err := writeFile(path, secret+"\n", 0o600, false); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("write the key of the audit trail: %w", err)
	}
	return readKey(path) // somebody else's, when two started at once
}

func readKey(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the key of the audit trail: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the key of the audit trail: %w", err)
	}
	if p := fi.Mode().Perm(); p&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("others on this machine may read the key of the audit trail: the mode of %s is %04o; do: chmod 600 %s", path, p, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxNote))
	if err != nil {
		return nil, fmt.Errorf("read the key of the audit trail: %w", err)
	}
	k, err := parseKey(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s is no key of an audit trail: it is damaged, put back a copy of it", path)
	}
	k.path = path
	// The public key is there for people to take; we read the other alone.
	pub := publicPath(path)
	if old, err := os.ReadFile(pub); err != nil || string(old) != k.public+"\n" {
		if err := writeFile(pub, k.public+"\n", 0o644, true); err != nil {
			return nil, fmt.Errorf("write the public key of the audit trail: %w", err)
		}
	}
	return k, nil
}

func publicPath(path string) string { return strings.TrimSuffix(path, filepath.Ext(path)) + ".pub" }

// parseKey reads a secret key. Errors of it are not shown: they may quote the key.
func parseKey(secret string) (*Key, error) {
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, err
	}
	// PRIVATE+KEY+name+hash+base64 of a 1 for Ed25519 and the 32 bytes of the seed.
	parts := strings.SplitN(secret, "+", 5)
	raw, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return nil, errors.New("no Ed25519 seed")
	}
	public, err := note.NewEd25519VerifierKey(signer.Name(), ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(public)
	if err != nil {
		return nil, err
	}
	if v.KeyHash() != signer.KeyHash() {
		return nil, errors.New("its two halves are not a pair")
	}
	return &Key{signer: signer, known: note.VerifierList(v), public: public}, nil
}

// sign makes the signed text of a checkpoint.
func (k *Key) sign(c Checkpoint) ([]byte, error) {
	c.Origin = k.signer.Name()
	text, err := note.Sign(&note.Note{Text: c.text()}, k.signer)
	if err != nil {
		return nil, fmt.Errorf("sign a checkpoint of the audit trail: %w", err)
	}
	return text, nil
}

// lastPath is the file of the checkpoint that was signed last here.
func (k *Key) lastPath() string { return k.path + ".checkpoint" }

// Last is the checkpoint that was signed last here, nil when there is none. It
// lies outside the database, so that an older copy of that is found out.
func (k *Key) Last() ([]byte, error) {
	f, err := os.Open(k.lastPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the last checkpoint: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxNote+1))
	if err != nil {
		return nil, fmt.Errorf("read the last checkpoint: %w", err)
	}
	return text, nil
}

// last reads Last; its Size is 0 when there is none.
func (k *Key) last() (Checkpoint, error) {
	text, err := k.Last()
	if err != nil || text == nil {
		return Checkpoint{}, err
	}
	c, err := openCheckpoint(text, k.known)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("read %s: %w", k.lastPath(), err)
	}
	return c, nil
}

// remember keeps a checkpoint as the last.
func (k *Key) remember(text []byte) error {
	if err := writeFile(k.lastPath(), string(text), 0o644, true); err != nil {
		return fmt.Errorf("keep the last checkpoint: %w", err)
	}
	return nil
}

// writeFile writes a file as a whole or not at all, also when the power goes.
// Unless it may replace one, the error is an fs.ErrExist when there is one.
func writeFile(path, text string, mode fs.FileMode, replace bool) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ignoreAbsent(os.Remove(f.Name()))) }()
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if replace {
		err = os.Rename(f.Name(), path)
	} else {
		err = os.Link(f.Name(), path)
	}
	if err != nil {
		return err
	}
	if runtime.GOOS == "windows" { // which cannot sync a directory
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
