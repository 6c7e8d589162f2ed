package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
)

// keyFormat is part of every key: it changes when what is under a key, or how
// it is compared, does.
const keyFormat = "fairlead step 1\n"

// Key is the digest of the meaning: SHA-256 over every field, each text and
// each list with its length in front, so that no two meanings are written
// alike. The order of the environment does not matter; Machine is compared as
// it is given.
func (m Meaning) Key() Key {
	b := make([]byte, 0, 8<<10)
	b = append(b, keyFormat...)
	b = appendTexts(b, m.Argv)
	b = appendTexts(b, m.Path)
	b = binary.AppendUvarint(b, uint64(len(m.Files)))
	for _, f := range m.Files {
		b = appendText(b, f.Path)
		b = binary.AppendUvarint(b, uint64(f.Mode))
		b = appendText(b, f.Body)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Env)))
	for _, name := range slices.Sorted(maps.Keys(m.Env)) {
		b = appendText(b, name)
		b = appendText(b, m.Env[name])
	}
	b = appendText(b, m.Dir)
	b = appendTexts(b, []string{m.Dirs.Workspace, m.Dirs.Temp, m.Dirs.Tools, m.Dirs.Home})
	b = appendText(b, m.Class)
	b = appendTexts(b, m.Machine)
	if m.Rules.Never {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = appendText(b, m.Rules.Network)
	b = binary.AppendVarint(b, int64(m.Rules.MaxAge))
	b = appendTexts(b, m.Rules.Zones)
	b = appendText(b, m.Version)
	sum := sha256.Sum256(b)
	return Key(hex.EncodeToString(sum[:]))
}

func appendText[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTexts(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

// valid reports whether the key is written as Meaning.Key writes it: only then
// may it be part of a file's name.
func (k Key) valid() bool {
	if len(k) != 2*sha256.Size {
		return false
	}
	for i := range len(k) {
		if c := k[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
