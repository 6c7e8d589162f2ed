package logs

import "bytes"

// Splitter is an io.Writer that cuts what is written to it into lines. A line
// ends with \n or \r\n. A bare \r begins it anew, as on a terminal: of a
// progress bar only the last state remains. A line longer than [MaxLine]
// comes in pieces of at most that size.
type Splitter struct {
	// Pin, unless it is nil, says of a state that a bare \r ends that it stays
	// part of the line, with the \r: it was not written for people's eyes.
	Pin func(state []byte) bool

	fn      func(line []byte) error
	partial []byte // the line so far, at most MaxLine bytes
	pinned  int    // so many of them stay when the line begins anew
	cr      bool   // a \r came last: an end of line if \n follows, else a new beginning
	cut     bool   // a piece of this line has been given on
}

// NewSplitter makes a splitter that gives each line, without its end, to fn.
// The line is valid only during the call. When fn fails, so does Write.
func NewSplitter(fn func(line []byte) error) *Splitter { return &Splitter{fn: fn} }

// Write implements io.Writer.
func (s *Splitter) Write(p []byte) (int, error) {
	size := len(p)
	// Most output has no carriage return at all. To know that is cheaper
	// than to look in every line.
	plain := bytes.IndexByte(p, '\r') < 0
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			break
		}
		line := p[:i]
		p = p[i+1:]
		if len(line) > MaxLine || len(s.partial) > 0 || s.cr || s.cut || !plain && s.Pin != nil {
			if err := s.end(line); err != nil {
				return size - len(p), err
			}
			continue
		}
		if !plain {
			line = lastState(line)
		}
		if err := s.fn(line); err != nil {
			return size - len(p), err
		}
	}
	if err := s.keep(p); err != nil {
		return size, err
	}
	return size, nil
}

// end ends the line so far.
func (s *Splitter) end(rest []byte) error {
	err := s.keep(rest)
	if err == nil && (len(s.partial) > 0 || !s.cut) {
		err = s.fn(s.partial)
	}
	s.partial, s.pinned, s.cr, s.cut = s.partial[:0], 0, false, false
	return err
}

// anew lets the line begin anew.
func (s *Splitter) anew() {
	if s.Pin != nil && len(s.partial) < MaxLine && s.Pin(s.partial[s.pinned:]) {
		s.partial = append(s.partial, '\r')
		s.pinned = len(s.partial)
	}
	s.partial = s.partial[:s.pinned]
}

// keep adds to the line so far. p has no \n.
func (s *Splitter) keep(p []byte) error {
	body := bytes.TrimRight(p, "\r")
	if len(body) > 0 {
		if s.cr {
			s.anew()
		}
		for i := bytes.IndexByte(body, '\r'); i >= 0; i = bytes.IndexByte(body, '\r') {
			if s.Pin != nil {
				s.partial = append(s.partial, body[:min(i, MaxLine-len(s.partial))]...)
			}
			s.anew()
			body = body[i+1:]
		}
		s.cr = false
	}
	s.cr = s.cr || bytes.HasSuffix(p, []byte("\r"))
	for len(s.partial)+len(body) > MaxLine {
		n := MaxLine - len(s.partial)
		s.partial = append(s.partial, body[:n]...)
		body = body[n:]
		if err := s.fn(s.partial); err != nil {
			return err
		}
		s.partial, s.pinned, s.cut = s.partial[:0], 0, true
	}
	s.partial = append(s.partial, body...)
	return nil
}

// lastState is what a terminal would show of a line.
func lastState(line []byte) []byte {
	line = bytes.TrimRight(line, "\r")
	return line[bytes.LastIndexByte(line, '\r')+1:]
}

// Close gives on what was written after the last end of line. The splitter can
// be used again.
func (s *Splitter) Close() error {
	var err error
	if len(s.partial) > 0 {
		err = s.fn(s.partial)
	}
	s.partial, s.pinned, s.cr, s.cut = s.partial[:0], 0, false, false
	return err
}
