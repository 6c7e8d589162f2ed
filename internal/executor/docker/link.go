package docker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/executor"
)

// link is our end of the line to an agent.
type link struct {
	line *line
	gone chan struct{} // closed when nothing more will come
	over chan error    // the room inside was closed

	mu   sync.Mutex
	next uint32
	runs map[uint32]*outer
	err  error // why nothing more will come
}

// greet opens the room inside and begins to listen.
func greet(conn net.Conn, b beginning) (*link, ready, error) {
	l := &link{line: newLine(conn), gone: make(chan struct{}), over: make(chan error, 1), runs: map[uint32]*outer{}}
	if err := l.line.ask(kindBegin, 0, &b); err != nil {
		return nil, ready{}, err
	}
	k, _, body, err := l.line.receive()
	if err != nil {
		return nil, ready{}, err
	}
	var r ready
	if err := answered(body, &r); err != nil {
		return nil, ready{}, err
	}
	if k != kindReady || r.Problem.Text != "" {
		return nil, ready{}, errors.Join(errors.New("the agent cannot"), r.Problem.error())
	}
	go l.listen()
	return l, r, nil
}

func (l *link) listen() {
	err := l.hear()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	for _, r := range l.runs {
		r.end(outcome{}, errLost)
	}
	close(l.gone)
}

// errLost says that the container has gone while something ran in it.
var errLost = errors.New("the container has ended")

// hear sorts what comes until the line ends.
func (l *link) hear() error {
	for {
		k, id, body, err := l.line.receive()
		if err != nil {
			return err
		}
		l.mu.Lock()
		r := l.runs[id]
		l.mu.Unlock()
		switch {
		case k == kindOutput && r != nil:
			if !r.put(body) {
				return errors.New("it prints more than it was allowed to")
			}
		case k == kindDone && r != nil:
			var o outcome
			err := answered(body, &o)
			r.end(o, err)
		case k == kindGone:
			var p problem
			if err := answered(body, &p); err != nil {
				return err
			}
			select {
			case l.over <- p.error():
			default:
			}
		}
	}
}

// run runs a command inside, to its end.
func (l *link) run(ctx context.Context, o *order, out io.Writer) (executor.Result, error) {
	r := &outer{}
	r.more.L = &r.mu
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return executor.Result{}, errLost
	}
	l.next++
	id := l.next
	l.runs[id] = r
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.runs, id)
		l.mu.Unlock()
	}()
	if err := l.line.ask(kindRun, id, o); err != nil {
		return executor.Result{}, fmt.Errorf("%w: %w", errLost, err)
	}
	// If it cannot be said that the command is to end, it has ended.
	stop := func() { _ = l.line.send(kindStop, id, nil) }
	release := context.AfterFunc(ctx, stop)
	defer release()
	var werr error
	for {
		text, ended := r.take()
		if len(text) > 0 {
			if werr == nil {
				var n int
				if n, werr = out.Write(text); werr == nil && n < len(text) {
					werr = io.ErrShortWrite
				}
				if werr != nil {
					stop()
				}
			}
			_ = l.line.send(kindCredit, id, binary.AppendUvarint(nil, uint64(len(text))))
		}
		if ended {
			break
		}
	}
	res := executor.Result{
		Exit: r.outcome.Exit, Signal: r.outcome.Signal, Stopped: r.outcome.Stopped, LeftOver: r.outcome.LeftOver,
		OOM: r.outcome.OOM, Observation: r.outcome.Seen.observation(),
	}
	switch {
	case werr != nil:
		return res, fmt.Errorf("deliver output: %w", werr)
	case r.err != nil:
		return res, r.err
	}
	return res, r.outcome.Problem.error()
}

// end closes the room inside. The line is still there.
func (l *link) end(patience time.Duration) error {
	if err := l.line.send(kindEnd, 0, nil); err != nil {
		return nil // it has gone, and everybody inside with it
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-l.over:
		return err
	case <-l.gone:
		return nil
	case <-timer.C:
		return errors.New("the room inside does not close")
	}
}

// outer is one command while it runs, seen from outside. What it has printed
// and nobody has taken is bounded by the window.
type outer struct {
	mu      sync.Mutex
	more    sync.Cond
	text    []byte
	spare   []byte
	ended   bool
	outcome outcome
	err     error
}

// put reports false when that is more than the window.
func (r *outer) put(p []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.text)+len(p) > window {
		return false
	}
	r.text = append(r.text, p...)
	r.more.Signal()
	return true
}

func (r *outer) end(o outcome, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	r.ended, r.outcome, r.err = true, o, err
	r.more.Signal()
}

// take waits for output, or for the end, and gives what has come. The text is
// valid until the next call.
func (r *outer) take() (text []byte, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.text) == 0 && !r.ended {
		r.more.Wait()
	}
	text = r.text
	r.text, r.spare = r.spare[:0], text
	return text, r.ended
}

// error is the error that a problem was, nil when there was none.
func (p problem) error() error {
	if p.Text == "" {
		return nil
	}
	return &innerError{p}
}

// innerError is an error from inside a container.
type innerError struct{ problem }

func (e *innerError) Error() string { return e.Text }

func (e *innerError) Is(target error) bool {
	switch e.problem.Is {
	case causeNotExist:
		return target == fs.ErrNotExist
	case causePermission:
		return target == fs.ErrPermission
	}
	return false
}
