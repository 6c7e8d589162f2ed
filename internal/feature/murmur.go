package feature

import (
	"encoding/binary"
	"math/bits"
)

// murmur is MurmurHash3 (x86, 32 bits) of the bytes of the words one after another. flagd
// and Unleash both find a user's bucket by it, so whoever hashes the same bytes finds the same.
func murmur(seed uint32, words ...string) uint32 {
	var room [128]byte
	b := room[:0]
	for _, w := range words {
		b = append(b, w...)
	}
	const c1, c2 = 0xcc9e2d51, 0x1b873593
	h, n := seed, uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := bits.RotateLeft32(binary.LittleEndian.Uint32(b)*c1, 15) * c2
		h = bits.RotateLeft32(h^k, 13)*5 + 0xe6546b64
	}
	var k uint32
	for i := len(b) - 1; i >= 0; i-- {
		k = k<<8 | uint32(b[i])
	}
	if len(b) > 0 {
		h ^= bits.RotateLeft32(k*c1, 15) * c2
	}
	h ^= n
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}
