package access

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

const (
	// minPassword and maxPassword limit a password's length, in bytes.
	minPassword = 10
	maxPassword = 1024

	saltSize = 16
	hashSize = 32

	// hashesAtOnce is how many passwords are hashed at a time. Each takes
	// tens of MiB, so their number is also the limit of what strangers can make
	// the server use.
	hashesAtOnce = 2
	// hashQueue is how many are hashed or wait for it.
	hashQueue = 100

	// What a stored hash may ask for at most, so that a damaged database cannot
	// exhaust the machine.
	maxHashMemory = 1 << 20 // KiB
	maxHashTime   = 32
)

// cost is how dear it is to guess a password: argon2id's parameters. They stand
// in every hash, so that they can be raised without asking anybody for a new
// password.
type cost struct {
	Memory  uint32 // KiB
	Time    uint32 // passes
	Threads uint8
}

// usual costs about 50 ms and is above what OWASP's cheat sheet of 2025 asks for
// (19 MiB and two passes).
var usual = cost{Memory: 32 << 10, Time: 3, Threads: 1}

// hasher hashes a password; tests count its calls.
type hasher func(password, salt []byte, c cost) []byte

func argon2id(password, salt []byte, c cost) []byte {
	return argon2.IDKey(password, salt, c.Time, c.Memory, c.Threads, hashSize)
}

// checkPassword says why a text may not become somebody's password. Length is
// what counts; rules about signs only make people write passwords down.
func checkPassword(name, password string) error {
	switch {
	case len(password) < minPassword:
		return fmt.Errorf("the password is shorter than %d characters: take a longer one, such as four words", minPassword)
	case len(password) > maxPassword:
		return fmt.Errorf("the password is longer than %d characters", maxPassword)
	case !utf8.ValidString(password):
		return errors.New("the password is not UTF-8 text")
	case strings.EqualFold(password, name):
		return errors.New("the password is the name of the account")
	case strings.Count(password, password[:1]) == len(password):
		return errors.New("the password is one character, repeated")
	}
	return nil
}

// seal makes the text that is stored of a password, in the form that argon2's own
// tools write: $argon2id$v=19$m=32768,t=3,p=1$salt$hash.
func seal(hash hasher, password string) string {
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails
	return encodeHash(usual, salt, hash([]byte(password), salt, usual))
}

func encodeHash(c cost, salt, sum []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.Memory, c.Time, c.Threads, b64.EncodeToString(salt), b64.EncodeToString(sum))
}

// parseHash reads what seal made.
func parseHash(stored string) (c cost, salt, sum []byte, err error) {
	bad := func(why string) (cost, []byte, []byte, error) {
		return cost{}, nil, nil, errors.New("the stored hash of the password is damaged: " + why)
	}
	parts := strings.Split(stored, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return bad("it is not argon2id")
	}
	var version int
	if n, err := fmt.Sscanf(parts[2], "v=%d", &version); n != 1 || err != nil || version != argon2.Version {
		return bad("version")
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.Memory, &c.Time, &c.Threads); n != 3 || err != nil {
		return bad("parameters")
	}
	if c.Threads == 0 || c.Time == 0 || c.Time > maxHashTime || c.Memory < 8*uint32(c.Threads) || c.Memory > maxHashMemory {
		return bad("parameters out of bounds")
	}
	if salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil || len(salt) < 8 || len(salt) > 64 {
		return bad("salt")
	}
	if sum, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil || len(sum) != hashSize {
		return bad("length")
	}
	return c, salt, sum, nil
}

// unseal compares a password with what is stored of one. Old says that it fits
// and that the hash was made at another cost than is usual now. When there is
// nothing to compare with, it takes as long as when there is.
func unseal(hash hasher, stored, password string) (fits, old bool) {
	c, salt, sum, err := parseHash(stored)
	real := 1
	if err != nil {
		c, salt, sum, real = usual, make([]byte, saltSize), make([]byte, hashSize), 0
	}
	given := hash([]byte(password), salt, c)
	fits = subtle.ConstantTimeCompare(given, sum)&real == 1
	return fits, fits && c != usual
}
