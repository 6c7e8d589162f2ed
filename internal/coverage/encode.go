package coverage

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// magic begins an encoded report, and is its version.
const magic = "fairlead coverage 1\n"

// Encode writes a report as bytes: the same report gives the same ones, about
// three for each line. Paths, numbers and lengths are varints and plain bytes;
// a line's number is its distance from the one before.
//
//	magic
//	1, path, commit it was carried from, lines
//	  distance, bits (state 1-3, 4 carried, 8 branches follow, 16 hits follow), [taken, branches], [hits]
//	0, number of files
func Encode(w io.Writer, r *Report) error {
	e := encoder{w: bufio.NewWriter(w)}
	e.bytes(magic)
	files := r.Files()
	for _, f := range files {
		e.number(1)
		e.text(f.Path)
		e.text(f.Carried)
		e.number(uint64(len(f.Lines)))
		last := int32(0)
		for _, l := range f.Lines {
			e.number(uint64(l.Number - last))
			last = l.Number
			bits := uint64(l.State)
			if l.Carried {
				bits |= carriedBit
			}
			if l.Branches > 0 {
				bits |= branchesBit
			}
			if l.Hits != usual(l.State) {
				bits |= hitsBit
			}
			e.number(bits)
			if bits&branchesBit != 0 {
				e.number(uint64(l.Taken))
				e.number(uint64(l.Branches))
			}
			if bits&hitsBit != 0 {
				e.number(uint64(l.Hits))
			}
		}
	}
	e.number(0)
	e.number(uint64(len(files)))
	if e.err == nil {
		e.err = e.w.Flush()
	}
	if e.err != nil {
		return fmt.Errorf("write coverage: %w", e.err)
	}
	return nil
}

const (
	stateBits   = 3
	carriedBit  = 4
	branchesBit = 8
	hitsBit     = 16
)

// usual is how often a line of a state was run, unless it is said.
func usual(s State) int32 {
	if s == Miss {
		return 0
	}
	return 1
}

// encoder writes until something fails.
type encoder struct {
	w   *bufio.Writer
	buf [binary.MaxVarintLen64]byte
	err error
}

func (e *encoder) bytes(s string) {
	if e.err == nil {
		_, e.err = e.w.WriteString(s)
	}
}

func (e *encoder) number(n uint64) {
	if e.err == nil {
		_, e.err = e.w.Write(binary.AppendUvarint(e.buf[:0], n))
	}
}

func (e *encoder) text(s string) {
	e.number(uint64(len(s)))
	e.bytes(s)
}

// Decode reads what [Encode] wrote. Whatever it is given, it takes no more
// memory than a report of [MaxLines] lines; what is no whole report is an
// error.
func Decode(r io.Reader) (*Report, error) {
	d := decoder{r: bufio.NewReaderSize(r, 64<<10)}
	out, err := d.report()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read coverage: %w", err)
	}
	return out, nil
}

type decoder struct{ r *bufio.Reader }

var errDamaged = errors.New("it is damaged")

func (d *decoder) report() (*Report, error) {
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(d.r, head); err != nil {
		return nil, err
	}
	if string(head) != magic {
		return nil, errors.New("it is no coverage report, or one of another version")
	}
	out := &Report{}
	for {
		more, err := d.number(1)
		if err != nil {
			return nil, err
		}
		if more == 0 {
			n, err := d.number(MaxFiles)
			if err != nil {
				return nil, err
			}
			if n != len(out.files) {
				return nil, errDamaged
			}
			return out, nil
		}
		f, err := d.file()
		if err != nil {
			return nil, err
		}
		if out.files[f.Path] != nil {
			return nil, errDamaged
		}
		if err := out.Add(f.Path, f.Lines); err != nil {
			return nil, err
		}
		if out.files[f.Path] == nil {
			return nil, errDamaged // the path is none
		}
		out.files[f.Path].Carried = f.Carried
	}
}

func (d *decoder) file() (*File, error) {
	f := &File{}
	var err error
	if f.Path, err = d.text(); err != nil {
		return nil, err
	}
	if f.Carried, err = d.text(); err != nil {
		return nil, err
	}
	n, err := d.number(MaxLines)
	if err != nil {
		return nil, err
	}
	// What a damaged length claims is not believed before the lines are there.
	if n > 0 {
		f.Lines = make([]Line, 0, min(n, 4096))
	}
	last := 0
	for range n {
		l, err := d.line(&last)
		if err != nil {
			return nil, err
		}
		f.Lines = append(f.Lines, l)
	}
	return f, nil
}

func (d *decoder) line(last *int) (l Line, err error) {
	step, err := d.number(MaxLine)
	if err != nil {
		return l, err
	}
	bits, err := d.number(31)
	if err != nil {
		return l, err
	}
	*last += step
	l.State, l.Carried = State(bits&stateBits), bits&carriedBit != 0
	if step == 0 || *last > MaxLine || l.State == None {
		return l, errDamaged
	}
	l.Number, l.Hits = int32(*last), usual(l.State)
	if bits&branchesBit != 0 {
		taken, err := d.number(math.MaxUint16)
		if err != nil {
			return l, err
		}
		branches, err := d.number(math.MaxUint16)
		if err != nil {
			return l, err
		}
		if taken > branches || branches == 0 {
			return l, errDamaged
		}
		l.Taken, l.Branches = uint16(taken), uint16(branches)
	}
	if bits&hitsBit != 0 {
		hits, err := d.number(math.MaxInt32)
		if err != nil {
			return l, err
		}
		l.Hits = int32(hits)
	}
	return l, nil
}

// number reads one that is no larger than a limit.
func (d *decoder) number(most int) (int, error) {
	n, err := binary.ReadUvarint(d.r)
	if err != nil {
		return 0, err
	}
	if n > uint64(most) {
		return 0, errDamaged
	}
	return int(n), nil
}

func (d *decoder) text() (string, error) {
	n, err := d.number(maxPath)
	if err != nil {
		return "", err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(d.r, b); err != nil {
		return "", err
	}
	return string(b), nil
}
