package harvest

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// What is kept for later is a stream of JSON lines, compressed: all results of
// a report, and what a step that ran tests has touched. The first line says
// which of the two it is. Streams are read and written a line at a time, however
// long they are.

// Limits of what is kept. What is beyond them is not written, and refused when it
// is read.
const (
	// MaxKept is how many results a stream holds.
	MaxKept = 5_000_000
	// maxKeptLine is the length of the longest line, in bytes: a result has a
	// few texts of at most maxText, which JSON may write six times as long.
	maxKeptLine = 1 << 20
	// maxPaths is how many inputs and outputs an observation has.
	maxPaths = 2_000_000
	// keptWindow is the memory that compression looks back into, in bytes.
	keptWindow = 1 << 20
)

// keptHead is the first line.
type keptHead struct {
	Kept    string `json:"kept"`
	Version int    `json:"version"`
}

const (
	keptResults     = "test results"
	keptObservation = "observation"
	keptVersion     = 1
)

// Keeper writes all results of a report, for [ReadKept]. It is not safe for
// concurrent use.
type Keeper struct {
	w *keptWriter
	n int
}

// NewKeeper begins a stream of results.
func NewKeeper(w io.Writer) (*Keeper, error) {
	k, err := newKeptWriter(w, keptResults)
	if err != nil {
		return nil, fmt.Errorf("keep test results: %w", err)
	}
	return &Keeper{w: k}, nil
}

// Add adds a result. The error is that of the writer, or says that there are
// more results than are kept.
func (k *Keeper) Add(r *record.TestResult) error {
	if k.n == MaxKept {
		return fmt.Errorf("keep test results: there are more than %d", MaxKept)
	}
	k.n++
	if err := k.w.line(r); err != nil {
		return fmt.Errorf("keep test results: %w", err)
	}
	return nil
}

// Close ends the stream. It does not close the writer below.
func (k *Keeper) Close() error {
	if err := k.w.close(); err != nil {
		return fmt.Errorf("keep test results: %w", err)
	}
	return nil
}

// ReadKept gives each result that a [Keeper] wrote, in order. The error says that
// the stream is damaged or not one of results, or is that of each. What each is
// given is its own.
func ReadKept(r io.Reader, each func(record.TestResult) error) error {
	n := 0
	err := readKept(r, keptResults, func(line []byte) error {
		var t record.TestResult
		if n++; n > MaxKept {
			return fmt.Errorf("there are more than %d", MaxKept)
		}
		if err := json.Unmarshal(line, &t); err != nil {
			return fmt.Errorf("result %d: %w", n, err)
		}
		return each(t)
	})
	if err != nil {
		return fmt.Errorf("read kept test results: %w", err)
	}
	return nil
}

// keptSeen is the second line of a kept observation; the paths follow.
type keptSeen struct {
	record.Observation
	// What has lines of its own, and shadows the fields of the same names.
	Inputs  int `json:",omitempty"`
	Outputs int `json:",omitempty"`
}

// keptPath is an input or an output.
type keptPath struct {
	Path   string          `json:"p"`
	Use    record.Use      `json:"u,omitempty"` // 0: an output
	Kind   record.FileKind `json:"k,omitempty"`
	Perm   uint32          `json:"m,omitempty"`
	Size   int64           `json:"s,omitempty"`
	MTime  int64           `json:"t,omitempty"`
	Digest string          `json:"d,omitempty"`
	Own    bool            `json:"o,omitempty"` // of an output: Made
}

// KeepObservation writes what a step touched, for [ReadObservation].
func KeepObservation(w io.Writer, o *record.Observation) error {
	if len(o.Inputs)+len(o.Outputs) > maxPaths {
		return fmt.Errorf("keep an observation: %d paths are more than %d", len(o.Inputs)+len(o.Outputs), maxPaths)
	}
	k, err := newKeptWriter(w, keptObservation)
	if err == nil {
		err = k.line(keptSeen{Observation: *o, Inputs: len(o.Inputs), Outputs: len(o.Outputs)})
	}
	path := func(p string, use record.Use, s *record.FileState, own bool) {
		if err != nil {
			return
		}
		line := keptPath{Path: p, Use: use, Kind: s.Kind, Perm: s.Perm, Size: s.Size, MTime: s.MTime, Own: own}
		if s.Digest != [32]byte{} {
			line.Digest = hex.EncodeToString(s.Digest[:])
		}
		err = k.line(line)
	}
	for i := range o.Inputs {
		path(o.Inputs[i].Path, o.Inputs[i].Use, &o.Inputs[i].FileState, o.Inputs[i].Own)
	}
	for i := range o.Outputs {
		path(o.Outputs[i].Path, 0, &o.Outputs[i].FileState, o.Outputs[i].Made)
	}
	if err == nil {
		err = k.close()
	}
	if err != nil {
		return fmt.Errorf("keep an observation: %w", err)
	}
	return nil
}

// ReadObservation reads what [KeepObservation] wrote. The error says that it is
// damaged, or something else.
func ReadObservation(r io.Reader) (*record.Observation, error) {
	var o *record.Observation
	var seen keptSeen
	err := readKept(r, keptObservation, func(line []byte) error {
		if o == nil {
			if err := json.Unmarshal(line, &seen); err != nil {
				return err
			}
			o = &seen.Observation
			return nil
		}
		var p keptPath
		if err := json.Unmarshal(line, &p); err != nil {
			return err
		}
		state := record.FileState{Kind: p.Kind, Perm: p.Perm, Size: p.Size, MTime: p.MTime}
		if n, err := hex.Decode(state.Digest[:], []byte(p.Digest[:min(len(p.Digest), 64)])); err != nil || n != 0 && n != 32 {
			return errors.New("a digest is none")
		}
		switch {
		case len(o.Inputs)+len(o.Outputs) == maxPaths:
			return fmt.Errorf("more than %d paths", maxPaths)
		case p.Use > record.UseKind || p.Kind > record.Other:
			return errors.New("a path is used in a way that is not known")
		case p.Use != 0:
			o.Inputs = append(o.Inputs, record.Input{Path: p.Path, Use: p.Use, FileState: state, Own: p.Own})
		default:
			o.Outputs = append(o.Outputs, record.Output{Path: p.Path, FileState: state, Made: p.Own})
		}
		return nil
	})
	if err == nil && (o == nil || len(o.Inputs) != seen.Inputs || len(o.Outputs) != seen.Outputs) {
		err = errors.New("it is not whole")
	}
	if err != nil {
		return nil, fmt.Errorf("read a kept observation: %w", err)
	}
	return o, nil
}

// keptWriter writes lines.
type keptWriter struct {
	zip  *zstd.Encoder
	buf  *bufio.Writer
	json *json.Encoder
}

func newKeptWriter(w io.Writer, what string) (*keptWriter, error) {
	zip, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(keptWindow))
	if err != nil {
		return nil, err
	}
	k := &keptWriter{zip: zip, buf: bufio.NewWriterSize(zip, 64<<10)}
	k.json = json.NewEncoder(k.buf)
	k.json.SetEscapeHTML(false)
	return k, k.line(keptHead{what, keptVersion})
}

func (k *keptWriter) line(v any) error { return k.json.Encode(v) }

func (k *keptWriter) close() error {
	err := k.buf.Flush()
	return errors.Join(err, k.zip.Close())
}

// readKept gives each line after the first, which has to say what it is.
func readKept(r io.Reader, what string, each func(line []byte) error) error {
	zip, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(keptWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return err
	}
	defer zip.Close()
	lines := bufio.NewScanner(zip)
	lines.Buffer(make([]byte, 64<<10), maxKeptLine)
	var head keptHead
	switch {
	case !lines.Scan():
		if err := lines.Err(); err != nil {
			return err
		}
		return errors.New("it is empty")
	case json.Unmarshal(lines.Bytes(), &head) != nil || head.Kept != what:
		return fmt.Errorf("it holds no %s", what)
	case head.Version > keptVersion:
		return errors.New("a newer Fairlead wrote it")
	}
	for lines.Scan() {
		if err := each(lines.Bytes()); err != nil {
			return err
		}
	}
	return lines.Err()
}
