package attest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Envelope is a DSSE envelope: a statement and who signed it.
type Envelope struct {
	PayloadType string      `json:"payloadType"`
	Payload     string      `json:"payload"` // base64
	Signatures  []Signature `json:"signatures"`
}

// Signature is one signature of an envelope.
type Signature struct {
	KeyID string `json:"keyid"` // see [PublicKey.ID]
	Sig   string `json:"sig"`   // base64
}

// pae is DSSE's pre-authentication encoding: what is signed is the type and the payload, each
// with its length, so that neither can pass for the other.
func pae(kind string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(payload), payload)
}

// Key signs statements. It lies in a file of its owner's alone, as PEM (PKCS #8),
// beside its public half in a file that ends in .pub (PEM, PKIX), which other tools
// read, too.
type Key struct {
	private ed25519.PrivateKey
	public  PublicKey
}

// Public is the public half.
func (k *Key) Public() PublicKey { return k.public }

// PublicKey verifies.
type PublicKey struct {
	key ed25519.PublicKey
	der []byte
}

// ID names the key: the SHA-256 of its PKIX form, in hexadecimal digits.
func (p PublicKey) ID() string {
	sum := sha256.Sum256(p.der)
	return hex.EncodeToString(sum[:])
}

// PEM is the key for a file.
func (p PublicKey) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: p.der})
}

const (
	privateBlock = "PRIVATE KEY"
	publicBlock  = "PUBLIC KEY"
	maxKeyFile   = 64 << 10
)

// OpenKey reads the key in a file, or makes one there at first.
func OpenKey(path string) (*Key, error) {
	k, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of releases: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("make the key of releases: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der})
	if err := placeNew(path, text, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("write the key of releases: %w", err)
	}
	return readKey(path) // somebody else's, when two began at once
}

// readKey reads the key in a file. Errors hold nothing of it.
func readKey(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the key of releases: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the key of releases: %w", err)
	}
	if p := info.Mode().Perm(); p&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("others on this machine may read the key of releases: the mode of %s is %04o; do: chmod 600 %s", path, p, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read the key of releases: %w", err)
	}
	block, _ := pem.Decode(text)
	damaged := fmt.Errorf("%s is no Ed25519 key (PEM, PKCS #8): put back a copy of it", path)
	if block == nil || block.Type != privateBlock {
		return nil, damaged
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, damaged
	}
	public, err := newPublic(private.Public())
	if err != nil {
		return nil, damaged
	}
	k := &Key{private, public}
	pub := strings.TrimSuffix(path, filepath.Ext(path)) + ".pub"
	if err := placeNew(pub, public.PEM(), 0o644); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("write the public key of releases: %w", err)
	}
	return k, nil
}

func newPublic(key any) (PublicKey, error) {
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return PublicKey{}, errors.New("it is no Ed25519 key")
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	return PublicKey{public, der}, err
}

// placeNew writes a file as a whole, unless there is one: fs.ErrExist.
func placeNew(path string, text []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if gone := os.Remove(f.Name()); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path) // a link never replaces
}

// ParseKeys reads public keys: PEM, one after another.
func ParseKeys(text []byte) ([]PublicKey, error) {
	if len(text) > maxKeyFile {
		return nil, errors.New("the file of keys is too large")
	}
	var keys []PublicKey
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		if block.Type == privateBlock {
			return nil, errors.New("this is a private key; give the public one, which lies beside it and ends in .pub")
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, errors.New("a public key cannot be read (PEM, PKIX)")
		}
		key, err := newPublic(parsed)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no public key (PEM) in it")
	}
	return keys, nil
}

// Seal signs a statement; with no key the envelope has no signatures.
func Seal(s *Statement, k *Key) (*Envelope, error) {
	text, err := s.JSON()
	if err != nil {
		return nil, err
	}
	e := &Envelope{PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(text), Signatures: []Signature{}}
	if k != nil {
		sig := ed25519.Sign(k.private, pae(payloadType, text))
		e.Signatures = append(e.Signatures, Signature{k.public.ID(), base64.StdEncoding.EncodeToString(sig)})
	}
	return e, nil
}

// JSON is the envelope as one line, with its end.
func (e *Envelope) JSON() ([]byte, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("write an envelope: %w", err)
	}
	return append(text, '\n'), nil
}

// The errors of Open, besides those of bytes that are no envelope.
var (
	ErrUnsigned = errors.New("nobody has signed it")
	ErrStranger = errors.New("none of the keys has signed it")
)

// maxSignatures bounds the signatures of an envelope.
const maxSignatures = 100

// Open reads an envelope and verifies that one of the keys has signed it. It talks
// to nobody. With an ErrUnsigned or ErrStranger comes the statement, for those who
// want to see what it says all the same.
func Open(text []byte, keys []PublicKey) (*Statement, error) {
	var e Envelope
	if len(text) > maxStatement*2 || json.Unmarshal(text, &e) != nil || e.PayloadType != payloadType {
		return nil, errors.New("it is no DSSE envelope of an in-toto statement")
	}
	payload, err := base64.StdEncoding.DecodeString(e.Payload)
	if err != nil {
		return nil, errors.New("the envelope's payload is not base64")
	}
	s, err := Parse(payload)
	if err != nil {
		return nil, err
	}
	if len(e.Signatures) == 0 {
		return s, ErrUnsigned
	}
	signed := pae(e.PayloadType, payload)
	for _, sig := range e.Signatures[:min(len(e.Signatures), maxSignatures)] {
		raw, err := base64.StdEncoding.DecodeString(sig.Sig)
		if err != nil {
			continue
		}
		for _, k := range keys {
			if ed25519.Verify(k.key, signed, raw) {
				return s, nil
			}
		}
	}
	return s, ErrStranger
}
