package docker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// kind says what a message means.
type kind uint8

// The messages. The number that goes with a message tells which command it is
// about.
const (
	kindBegin  kind = iota + 1 // outside says: beginning, the room's terms
	kindReady                  // inside says: ready
	kindRun                    // outside says: order
	kindOutput                 // inside says: bytes
	kindCredit                 // outside says: how many more bytes of output it takes, a uvarint
	kindStop                   // outside says: end the command
	kindDone                   // inside says: outcome
	kindEnd                    // outside says: close the room
	kindGone                   // inside says: problem, "" when the room is closed
)

// Limits of the line. Both ends keep to them; who does not is not listened to any more.
const (
	maxFrame   = 256 << 10 // bytes of one frame
	maxMessage = 512 << 20 // bytes of a message in many frames
	window     = 1 << 20   // bytes of output that may be under way for a command
)

const headerSize = 10 // kind, more, id, length

// beginning is what a room inside is to be.
type beginning struct {
	Dirs  plan.Dirs
	Grace time.Duration
	// Owner is the user and group, by their numbers outside, that all files in
	// the directories belong to in the end; root in the container sees to that.
	Owner [2]int
}

// ready says that a room inside is open, and who lives there; or why it is not.
type ready struct {
	User    [2]int // that the agent runs as
	Owner   [2]int // beginning.Owner, by its numbers inside
	Problem problem
}

// order is a command and what is to be watched of it.
type order struct {
	Command plan.Command
	Watch   *sight
}

// sight is trace.Spec without what cannot be sent.
type sight struct {
	Inside, Ignored []string
	Mounted         []string // directories that are not the container's own: of others nothing need be told
}

// outcome is executor.Result, or why there is none.
type outcome struct {
	Exit     int
	Signal   string
	Stopped  bool
	LeftOver int
	OOM      bool
	Seen     *seen
	Problem  problem
}

// problem is an error on its way through the line.
type problem struct {
	Text string
	Is   cause
}

// cause is what the other end has to know of an error beside its text.
type cause uint8

const (
	causeOther cause = iota
	causeNotExist
	causePermission
)

// line carries messages over a connection. Sending may be done by several
// goroutines, receiving by one.
type line struct {
	conn io.ReadWriteCloser
	r    *bufio.Reader

	mu  sync.Mutex
	buf []byte

	parts map[uint64][]byte // of messages that have not wholly come
	held  int               // bytes in them
}

func newLine(conn io.ReadWriteCloser) *line {
	return &line{conn: conn, r: bufio.NewReaderSize(conn, maxFrame), parts: map[uint64][]byte{}}
}

// send sends a message as it is.
func (l *line) send(k kind, id uint32, body []byte) error {
	for {
		n := min(len(body), maxFrame)
		more := byte(0)
		if n < len(body) {
			more = 1
		}
		l.mu.Lock()
		l.buf = append(l.buf[:0], byte(k), more)
		l.buf = binary.BigEndian.AppendUint32(l.buf, id)
		l.buf = binary.BigEndian.AppendUint32(l.buf, uint32(n))
		l.buf = append(l.buf, body[:n]...)
		_, err := l.conn.Write(l.buf)
		l.mu.Unlock()
		if err != nil || more == 0 {
			return err
		}
		body = body[n:]
	}
}

// ask sends a message from outside, which is a value. It is written as Go
// writes it, as it may hold any bytes in any text.
func (l *line) ask(k kind, id uint32, v any) error {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(v); err != nil {
		return fmt.Errorf("write a message: %w", err)
	}
	return l.sendWhole(k, id, b.Bytes())
}

// answer sends a message from inside, which is a value. It is written as JSON:
// who reads it does not trust it, and Go's own way is not made for that.
func (l *line) answer(k kind, id uint32, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write a message: %w", err)
	}
	return l.sendWhole(k, id, b)
}

func (l *line) sendWhole(k kind, id uint32, body []byte) error {
	if len(body) > maxMessage {
		return errTooLong
	}
	return l.send(k, id, body)
}

var errTooLong = errors.New("the message is too long")

// receive waits for a whole message. The body is valid until the next call.
func (l *line) receive() (k kind, id uint32, body []byte, err error) {
	for {
		var head [headerSize]byte
		if _, err := io.ReadFull(l.r, head[:]); err != nil {
			return 0, 0, nil, err
		}
		k, more := kind(head[0]), head[1]
		id := binary.BigEndian.Uint32(head[2:])
		n := binary.BigEndian.Uint32(head[6:])
		if n > maxFrame || more > 1 || k < kindBegin || k > kindGone {
			return 0, 0, nil, errors.New("that is no message of ours")
		}
		key := uint64(k)<<32 | uint64(id)
		part := l.parts[key]
		if l.held+int(n) > maxMessage {
			return 0, 0, nil, errTooLong
		}
		part = append(part, make([]byte, n)...)
		if _, err := io.ReadFull(l.r, part[len(part)-int(n):]); err != nil {
			return 0, 0, nil, err
		}
		if more == 1 {
			l.parts[key] = part
			l.held += int(n)
			continue
		}
		l.held -= len(part) - int(n)
		delete(l.parts, key)
		return k, id, part, nil
	}
}

// asked reads a message from outside.
func asked(body []byte, v any) error {
	if err := gob.NewDecoder(bytes.NewReader(body)).Decode(v); err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	return nil
}

// answered reads a message from inside.
func answered(body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	return nil
}
