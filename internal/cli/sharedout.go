package cli

import (
	"bytes"
	"io"
	"sync"
)

// sharedOut lets several write to one stream, line by line.
type sharedOut struct {
	mu sync.Mutex
	to io.Writer
}

// writer is that of one of them, which ends with Close.
func (w *sharedOut) writer() *wholeLines { return &wholeLines{sharedOut: w} }

type wholeLines struct {
	*sharedOut
	rest []byte // of a line that has not ended
}

// maxRest is how long a line may be before a part of it is written.
const maxRest = 1 << 20

func (l *wholeLines) Write(p []byte) (int, error) {
	end := bytes.LastIndexByte(p, '\n') + 1
	if end == 0 && len(l.rest)+len(p) < maxRest {
		l.rest = append(l.rest, p...)
		return len(p), nil
	}
	if end == 0 {
		end = len(p)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.to.Write(append(l.rest, p[:end]...)); err != nil {
		return 0, err
	}
	l.rest = append(l.rest[:0], p[end:]...)
	return len(p), nil
}

// Close writes what is left.
func (l *wholeLines) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.to.Write(l.rest)
	l.rest = nil
	return err
}
