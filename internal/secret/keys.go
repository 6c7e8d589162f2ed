package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"filippo.io/age"
)

// maxKeys is how large a file of keys may be: hundreds of rotations.
const maxKeys = 1 << 20

// ErrNoKey says that something was sealed with a key that is not in the file of
// keys, or was altered since.
var ErrNoKey = errors.New("none of the keys opens it")

// Keys opens and seals values with the identities of a file, as age writes it:
// one a line, lines that begin with # are comments. The first one seals, all of
// them open, so a new one is put before the others (see [Keys.Rotate]).
//
// The file is read again when it has changed, so that a server that goes on
// learns of a rotation on the command line. Keys is safe for concurrent use.
type Keys struct {
	path string

	mu         sync.Mutex
	info       fs.FileInfo // of the file as it was read
	identities []age.Identity
	recipient  age.Recipient // of the first
}

// OpenKeys reads the file of keys at path, and makes one with a new key when
// there is none. It refuses a file that others on the machine may read. Whoever
// has the file and the database has the secrets, so a backup of the one should
// not lie beside a backup of the other.
func OpenKeys(path string) (*Keys, error) {
	k := &Keys{path: path}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := createKeys(path); err != nil {
			return nil, fmt.Errorf("make the file of keys: %w", err)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.refresh(); err != nil {
		return nil, err
	}
	return k, nil
}

// createKeys makes a file with one key. When two processes do so at once, both
// end with the file of one of them.
func createKeys(path string) error {
	text, err := newKey()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := writeSync(f, text); err != nil {
		return err
	}
	// A link never replaces; a rename would replace the key that another
	// process has begun to use.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// newKey is the text of a new identity.
func newKey() ([]byte, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "# made by fairlead at %s; the first key seals, all of them open\n%s\n",
		time.Now().UTC().Format(time.RFC3339), id), nil
}

// writeSync writes, syncs and closes f.
func writeSync(f *os.File, text []byte) error {
	_, err := f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes a new name in a directory last.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// refresh reads the file if it is another one than was read before.
func (k *Keys) refresh() error {
	info, err := os.Stat(k.path)
	if err != nil {
		return fmt.Errorf("read the keys of the secrets: %w", err)
	}
	if k.info != nil && os.SameFile(k.info, info) && k.info.Size() == info.Size() &&
		k.info.ModTime().Equal(info.ModTime()) && k.info.Mode() == info.Mode() {
		return nil
	}
	identities, _, err := readKeys(k.path)
	if err != nil {
		return err
	}
	var recipient age.Recipient
	switch id := identities[0].(type) {
	case *age.X25519Identity:
		recipient = id.Recipient()
	case *age.HybridIdentity:
		recipient = id.Recipient()
	default:
		return fmt.Errorf("read the keys of the secrets: the first key of %s can only open; put one made by age-keygen before it", k.path)
	}
	k.info, k.identities, k.recipient = info, identities, recipient
	return nil
}

// readKeys reads and checks a file of keys. Errors hold nothing of its text.
func readKeys(path string) ([]age.Identity, []byte, error) {
	fail := func(format string, args ...any) ([]age.Identity, []byte, error) {
		return nil, nil, fmt.Errorf("read the keys of the secrets: "+format, args...)
	}
	f, err := os.Open(path)
	if err != nil {
		return fail("%w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fail("%w", err)
	}
	if !info.Mode().IsRegular() {
		return fail("%s is not a regular file", path)
	}
	if p := info.Mode().Perm(); p&0o077 != 0 && runtime.GOOS != "windows" {
		return fail("others on this machine may open %s: its mode is %04o. Run chmod 600 %s, and rotate the key if somebody may have read it", path, p, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeys+1))
	if err != nil {
		return fail("%w", err)
	}
	if len(text) > maxKeys {
		return fail("%s is larger than %d KiB", path, maxKeys>>10)
	}
	identities, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		// What age says quotes the line that it cannot read.
		return fail("%s holds a line that is no age identity, or no identity at all. Lines begin with AGE-SECRET-KEY- or #; restore the file from its backup, or move it away to begin with a new key, and set all secrets again", path)
	}
	return identities, text, nil
}

// Rotate puts a new key before the others: from now on it seals. What was
// sealed before still opens; [Vault.Reseal] seals it again, and then the lines of
// the old keys may be removed from the file.
func (k *Keys) Rotate() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.rotate(); err != nil {
		return fmt.Errorf("rotate the key of the secrets: %w", err)
	}
	return k.refresh()
}

func (k *Keys) rotate() error {
	// The file has one name, and not a name of its own for each rotation, so that two
	// at once cannot lose the key of one of them.
	next := k.path + ".next"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: another rotation is under way, or was interrupted. If none is, remove it and rotate again", next)
	}
	if err != nil {
		return err
	}
	text, err := k.withNew()
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(next))
	}
	if err = writeSync(f, text); err == nil {
		err = os.Rename(next, k.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next))
	}
	// From here on a file of that name is another rotation's.
	return syncDir(filepath.Dir(k.path))
}

// withNew is the text of the file, as it is now, after a new key.
func (k *Keys) withNew() ([]byte, error) {
	_, old, err := readKeys(k.path)
	if err != nil {
		return nil, err
	}
	text, err := newKey()
	return append(text, old...), err
}

// seal encrypts with the first key.
func (k *Keys) seal(plain []byte) ([]byte, error) {
	k.mu.Lock()
	err := k.refresh()
	recipient := k.recipient
	k.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w, err := age.Encrypt(&b, recipient)
	if err == nil {
		if _, err = w.Write(plain); err == nil {
			err = w.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return b.Bytes(), nil
}

// open decrypts, and says whether it was the first key that could. The plain
// text is at most limit bytes long; that nothing fits is an ErrNoKey.
func (k *Keys) open(sealed []byte, limit int) (plain []byte, first bool, err error) {
	k.mu.Lock()
	err = k.refresh()
	identities := k.identities
	k.mu.Unlock()
	if err != nil {
		return nil, false, err
	}
	for i, id := range identities {
		r, err := age.Decrypt(bytes.NewReader(sealed), id)
		if err != nil {
			continue
		}
		plain, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
		if err != nil || len(plain) > limit {
			break // its own key, and yet it does not open: altered
		}
		return plain, i == 0, nil
	}
	return nil, false, fmt.Errorf("%w (%s holds %d)", ErrNoKey, k.path, len(identities))
}
