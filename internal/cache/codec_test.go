package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// randomRecord fills a record by reflection, so that a field that will be
// added and is not written shows.
func randomRecord(rng *rand.Rand) *Record {
	var fill func(v reflect.Value, depth int)
	fill = func(v reflect.Value, depth int) {
		switch v.Kind() {
		case reflect.String:
			v.SetString([]string{"", "a", "é\xff\x00", "/usr/bin/gcc", fmt.Sprint(rng.Uint64()), strings.Repeat("long ", rng.IntN(100))}[rng.IntN(6)])
		case reflect.Bool:
			v.SetBool(rng.IntN(2) == 0)
		case reflect.Int, reflect.Int64:
			v.SetInt(int64(rng.Uint64()) >> rng.IntN(64))
		case reflect.Uint8:
			v.SetUint(uint64(rng.IntN(256)))
		case reflect.Uint32:
			v.SetUint(uint64(rng.Uint32()))
		case reflect.Float64:
			v.SetFloat(rng.NormFloat64())
		case reflect.Array:
			for i := range v.Len() {
				fill(v.Index(i), depth)
			}
		case reflect.Slice:
			if n := rng.IntN(4); n > 0 {
				v.Set(reflect.MakeSlice(v.Type(), n, n))
				for i := range n {
					fill(v.Index(i), depth+1)
				}
			}
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[time.Time]() {
				v.Set(reflect.ValueOf(time.Unix(rng.Int64N(1<<33), rng.Int64N(1e9)).UTC()))
				return
			}
			for i := range v.NumField() {
				fill(v.Field(i), depth+1)
			}
		default:
			panic("this test cannot fill a " + v.Kind().String())
		}
	}
	r := new(Record)
	fill(reflect.ValueOf(r).Elem(), 0)
	r.Effects.Masks, r.Effects.Reports = nil, nil // neither is replayed
	r.Inputs, r.Outputs = nil, nil
	state := func() record.FileState {
		s := record.FileState{Kind: record.FileKind(rng.IntN(int(record.Other) + 1)), Perm: rng.Uint32N(0o10000), Size: rng.Int64N(1 << 40), MTime: int64(rng.Uint64())}
		if rng.IntN(3) > 0 {
			s.Digest = sha256.Sum256(binary.LittleEndian.AppendUint64(nil, rng.Uint64()))
		}
		if s.Kind == record.Nothing {
			s.Perm, s.Size, s.MTime = 0, 0, 0
		}
		return s
	}
	path := func() string {
		parts := []string{"", "a", "bb", "lib", "\xff", "ab", "main.go", strings.Repeat("x", 200)}
		p := "/" + parts[1+rng.IntN(7)]
		for range rng.IntN(5) {
			p += "/" + parts[1+rng.IntN(7)]
		}
		return p
	}
	for range rng.IntN(60) {
		r.Inputs = append(r.Inputs, record.Input{Path: path(), Use: record.Use(1 + rng.IntN(int(record.UseKind))), FileState: state(), Own: rng.IntN(5) == 0})
	}
	slices.SortFunc(r.Inputs, byPathAndUse)
	r.Inputs = slices.CompactFunc(r.Inputs, func(a, b record.Input) bool { return byPathAndUse(a, b) == 0 })
	for range rng.IntN(20) {
		r.Outputs = append(r.Outputs, record.Output{Path: path(), FileState: state(), Made: rng.IntN(2) == 0})
	}
	slices.SortFunc(r.Outputs, func(a, b record.Output) int { return strings.Compare(a.Path, b.Path) })
	r.Outputs = slices.CompactFunc(r.Outputs, func(a, b record.Output) bool { return a.Path == b.Path })
	return r
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		r := randomRecord(rand.New(rand.NewPCG(seed, 1)))
		b, err := encode(r)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		got, err := decode(b)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !reflect.DeepEqual(got, r) {
			t.Fatalf("seed %d: got\n%+v\nwant\n%+v", seed, got, r)
		}
		if again, _ := encode(got); !bytes.Equal(again, b) {
			t.Fatalf("seed %d: written again it is not the same", seed)
		}
		c, err := splitTable(b[headSize(b):])
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		if err := c.scan(func(path []byte, use record.Use) bool {
			if in := r.Inputs[i]; string(path) != in.Path || use != in.Use {
				t.Errorf("seed %d: row %d is %q %d, want %q %d", seed, i, path, use, in.Path, in.Use)
			}
			i++
			return true
		}); err != nil || i != len(r.Inputs) {
			t.Errorf("seed %d: %d rows of %d: %v", seed, i, len(r.Inputs), err)
		}
	}
}

func TestRoundTripOfNothing(t *testing.T) {
	t.Parallel()
	b, err := encode(&Record{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := decode(b); err != nil || !reflect.DeepEqual(r, &Record{}) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	b, err := encode(sample(keyFor(1), 20_000))
	if err != nil {
		t.Fatal(err)
	}
	if per := float64(len(b)) / 20_000; per > 70 {
		t.Errorf("%.1f bytes for each input", per)
	}
}

func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	b, err := encode(sample(keyFor(1), 45))
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		for _, flip := range []byte{1, 0x80, 0xff} {
			bad := bytes.Clone(b)
			bad[i] ^= flip
			if _, err := decode(bad); !errors.Is(err, errDamaged) {
				t.Fatalf("byte %d changed: %v", i, err)
			}
		}
		if _, err := decode(b[:i]); !errors.Is(err, errDamaged) {
			t.Fatalf("cut after %d bytes: %v", i, err)
		}
		n := headSize(b)
		if bad := bytes.Clone(b[:n]); i < n {
			bad[i] ^= 4
			if _, _, err := decodeHead(bad); !errors.Is(err, errDamaged) {
				t.Fatalf("byte %d of the head changed: %v", i, err)
			}
		}
	}
	if _, err := decode(append(bytes.Clone(b), 0)); !errors.Is(err, errDamaged) {
		t.Errorf("with a byte more: %v", err)
	}
}

func TestNotKept(t *testing.T) {
	t.Parallel()
	in := func(path string, use record.Use, kind record.FileKind) record.Input {
		return record.Input{Path: path, Use: use, FileState: record.FileState{Kind: kind}}
	}
	for name, r := range map[string]*Record{
		"masks":        {Effects: plan.Effects{Masks: []string{"x"}}},
		"path twice":   {Inputs: []record.Input{in("/a", 1, 0), in("/a", 1, 1)}},
		"output twice": {Outputs: []record.Output{{Path: "/a"}, {Path: "/a"}}},
		"no path":      {Inputs: []record.Input{in("", 1, 0)}},
		"long path":    {Inputs: []record.Input{in("/"+strings.Repeat("x", maxPath), 1, 0)}},
		"use":          {Inputs: []record.Input{in("/a", record.UseKind+1, 0)}},
		"kind":         {Inputs: []record.Input{in("/a", 1, record.Other+1)}},
		"long list":    {Peers: make([]string, maxList+1)},
	} {
		if _, err := encode(r); err == nil {
			t.Errorf("%s: kept", name)
		}
	}
	// What is in another order is put in order.
	b, err := encode(&Record{Inputs: []record.Input{in("/b", 2, 1), in("/b", 1, 0), in("/a", 1, 0)}})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := decode(b); err != nil || r.Inputs[0].Path != "/a" || r.Inputs[1].Use != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// seal gives bytes the right sums, so that what is behind them is put to the
// test.
func seal(b []byte) []byte {
	b = bytes.Clone(b)
	if n := headSize(b); n > 0 && n <= len(b) {
		sum := sha256.Sum256(b[:n-headSumSize])
		copy(b[n-headSumSize:], sum[:headSumSize])
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// TestBombs holds records that claim to be much bigger than they are.
func TestBombs(t *testing.T) {
	t.Parallel()
	whole, err := encode(&Record{})
	if err != nil {
		t.Fatal(err)
	}
	head := whole[:headSize(whole)]
	uvarints := func(v ...uint64) (b []byte) {
		for _, v := range v {
			b = binary.AppendUvarint(b, v)
		}
		return b
	}
	// Paths that share everything with the one before: each a byte longer.
	var paths []byte
	total := 0
	for i := range 10_000 {
		paths = append(uvarintPair(paths, i), 'x')
		total += i + 1
	}
	shared := append(uvarints(10_000, uint64(total), 0), binary.LittleEndian.AppendUint32(nil, uint32(len(paths)))...)
	shared = append(shared, paths...)
	shared = append(shared, bytes.Repeat([]byte{1}, 10_000)...)
	shared = append(shared, 0, 0, 0, 0)
	for name, body := range map[string][]byte{
		"rows":         uvarints(1<<40, 0, 0),
		"rows of none": uvarints(maxRows, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"arena":        uvarints(1, 1<<60, 0),
		"digests":      append(uvarints(1, 2, 1), 3, 0, 0, 0, 0, 2, '/', 'a', 1|bitDigest, 0, 0, 0, 0),
		"column":       append(uvarints(1, 2, 0), 0xff, 0xff, 0xff, 0xff),
		"shared":       shared,
		"prefix":       append(uvarints(1, 2, 0), 3, 0, 0, 0, 9, 1, 'a', 1, 0, 0, 0, 0),
		"list":         append(uvarints(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), append(make([]byte, 11), uvarints(1<<50)...)...),
	} {
		if _, err := decode(seal(append(bytes.Clone(head), body...))); !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func uvarintPair(b []byte, prefix int) []byte {
	return append(binary.AppendUvarint(b, uint64(prefix)), 1)
}

func FuzzDecode(f *testing.F) {
	for _, n := range []int{0, 3, 45} {
		b, err := encode(sample(keyFor(n), n))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:len(b)-sha256.Size])
	}
	for seed := range uint64(5) {
		b, _ := encode(randomRecord(rand.New(rand.NewPCG(seed, 2))))
		f.Add(b[:len(b)-sha256.Size])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decode(b); err == nil {
			t.Error("bytes without a sum were taken for a record")
		}
		r, err := decode(seal(b))
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := encode(r)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if r2, err := decode(again); err != nil || !equalRecords(r, r2) {
			t.Fatalf("not the same when written again: %v", err)
		}
	})
}

// equalRecords compares what is written: a NaN is equal to itself there.
func equalRecords(a, b *Record) bool {
	x, err1 := encode(a)
	y, err2 := encode(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}
