package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// What the SQL stores have in common: how an event, a register and the head of
// a run look in columns.

const (
	// packAt is the size from which on a body is compressed. Small events stay
	// readable with any SQL tool; a plan of ten thousand jobs does not cost
	// tens of megabytes.
	packAt = 16 << 10
	// maxBody is the size of the largest body of an event, as JSON.
	maxBody = 512 << 20
	// maxRegister is the size of the largest body of a register. They are read
	// by the dozen.
	maxRegister = 4 << 20
	// maxRegisterName is the size of the longest kind or ID of a register.
	maxRegisterName = 1024
)

// Row is an event in columns.
type Row struct {
	Event  record.Event // without its body
	Run    int64        // 0: of none
	Kind   record.Kind
	Text   string // the body as JSON; "" when it is packed
	Packed []byte // the body as JSON, compressed
}

// Size is about how many bytes the row takes.
func (r *Row) Size() int { return len(r.Text) + len(r.Packed) + 64 }

// Codec makes rows of events and events of rows. It may be used by several
// goroutines.
type Codec struct {
	encoder func() *zstd.Encoder
	decoder func() *zstd.Decoder
}

// NewCodec returns a codec. What compresses is made when it is first needed:
// a short run has nothing large to say.
func NewCodec() *Codec {
	return &Codec{encoder: sync.OnceValue(newEncoder), decoder: sync.OnceValue(newDecoder)}
}

// Encode makes the row of an event. Its time stays zero when it was.
func (c *Codec) Encode(e record.Event) (Row, error) {
	if e.Body == nil {
		return Row{}, errors.New("append to record: an event without a body")
	}
	r := Row{Event: e, Kind: e.Kind()}
	r.Event.Body = nil
	// As encoding/json does to all texts of the body.
	r.Event.Job, r.Event.Step = Clean(e.Job), Clean(e.Step)
	if !e.Time.IsZero() {
		r.Event.Time = Cut(e.Time)
	}
	if e.Run != "" {
		var err error
		if r.Run, err = RunNumber(e.Run); err != nil {
			return Row{}, fmt.Errorf("append to record: %w", err)
		}
	}
	text, err := json.Marshal(e.Body)
	switch {
	case err != nil:
		return Row{}, fmt.Errorf("append to record: encode %s: %w", r.Kind, err)
	case len(text) > maxBody:
		return Row{}, fmt.Errorf("append to record: %s of %d bytes is larger than %d", r.Kind, len(text), maxBody)
	case len(text) >= packAt:
		r.Packed = c.encoder().EncodeAll(text, make([]byte, 0, len(text)/8))
	default:
		r.Text = string(text)
	}
	return r, nil
}

// EncodeAll makes the rows of events.
func (c *Codec) EncodeAll(events []record.Event) ([]Row, error) {
	rows := make([]Row, len(events))
	for i, e := range events {
		var err error
		if rows[i], err = c.Encode(e); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// Decode makes the event of a row. With an error all fields but Body are set.
func (c *Codec) Decode(r Row) (record.Event, error) {
	e := r.Event
	if r.Run != 0 {
		e.Run = strconv.FormatInt(r.Run, 10)
	}
	text := []byte(r.Text)
	if r.Packed != nil {
		var err error
		if text, err = c.decoder().DecodeAll(r.Packed, nil); err != nil {
			return e, fmt.Errorf("event %d: decompress: %w", e.Seq, err)
		}
	}
	body, err := record.Decode(r.Kind, text)
	if err != nil {
		return e, fmt.Errorf("event %d: %w", e.Seq, err)
	}
	e.Body = body
	return e, nil
}

func newEncoder() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err) // the options above are constants
	}
	return e
}

func newDecoder() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBody))
	if err != nil {
		panic(err) // the options above are constants
	}
	return d
}

// Cut is a time as it is stored: UTC, in microseconds.
func Cut(t time.Time) time.Time { return time.UnixMicro(t.UnixMicro()).UTC() }

// Clean replaces what a database does not take in a text.
func Clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// RunNumber is the number of a run, whose ID is decimal digits.
func RunNumber(id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != id {
		return 0, fmt.Errorf("%q is not the ID of a run, which is a number", id)
	}
	return n, nil
}

// PlannedHead is what a list shows of a planned run. The ID and the times are
// the event's.
func PlannedHead(b *record.RunPlanned) RunHead {
	h := RunHead{Number: b.Number, Attempt: b.Attempt, Of: Clean(b.Of), Root: Clean(b.Root), Origin: b.Origin}
	if p := b.Pipeline; p != nil {
		h.File, h.Name = Clean(p.File), Clean(p.Name)
	}
	if c := b.Change; c != nil {
		h.Repository, h.Event, h.Ref, h.SHA = Clean(c.Repository), Clean(c.Event), Clean(c.Ref), Clean(c.SHA)
		h.Dirty, h.Actor = c.Dirty, Clean(c.Actor)
		if branch, ok := strings.CutPrefix(h.Ref, "refs/heads/"); ok {
			h.Branch = branch
		}
		if c.HeadRef != "" {
			h.Branch = Clean(c.HeadRef)
		}
	}
	return h
}

// OriginText is an origin as a list keeps it, "" for none.
func OriginText(o *record.Origin) (string, error) {
	if o == nil {
		return "", nil
	}
	text, err := json.Marshal(o)
	return string(text), err
}

// ApprovalText is what takes the place of the last character of an [OriginText] when
// the run was approved.
func ApprovalText(by string) (string, error) {
	text, err := json.Marshal(by)
	return `,"approved_by":` + string(text) + "}", err
}

// ParseOrigin reads what [OriginText] and [ApprovalText] wrote.
func ParseOrigin(text string) (o *record.Origin, approvedBy string, err error) {
	if text == "" {
		return nil, "", nil
	}
	var kept struct {
		record.Origin
		ApprovedBy string `json:"approved_by"`
	}
	if err := json.Unmarshal([]byte(text), &kept); err != nil {
		return nil, "", fmt.Errorf("origin of a run: %w", err)
	}
	return &kept.Origin, kept.ApprovedBy, nil
}

// Loud are the kinds of events that every job of every run appends. A store
// keeps no index of them: asking for them means reading what was appended
// last, where they are.
func Loud() []record.Kind {
	return []record.Kind{
		"job.expanded", "job.queued", "job.started", "job.finished", "material",
		"step.started", "step.finished", "tests.reported", "artifact.saved",
	}
}

// Quiet is the condition that a kind is none of [Loud], as SQL. The index of kinds
// is made with it word for word, and is used by queries that say it word for word.
func Quiet() string {
	var b strings.Builder
	for i, k := range Loud() {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("'" + string(k) + "'")
	}
	return "kind NOT IN (" + b.String() + ")"
}

// AllQuiet reports whether the kinds, of which there is one at least, can be
// found by the index of kinds.
func AllQuiet(kinds []record.Kind) bool {
	loud := Loud()
	return len(kinds) > 0 && !slices.ContainsFunc(kinds, func(k record.Kind) bool { return slices.Contains(loud, k) })
}

// CheckChanges says what is wrong with registers that somebody wants to write,
// before others are involved: a name that cannot be one, a body that is not
// JSON, the same register twice.
func CheckChanges(changes []record.Register) error {
	seen := make(map[[2]string]bool, len(changes))
	for _, r := range changes {
		switch {
		case r.Kind == "" || r.ID == "":
			return fmt.Errorf("change register: it has no kind or no ID (%q, %q)", r.Kind, r.ID)
		case len(r.Kind) > maxRegisterName || len(r.ID) > maxRegisterName:
			return fmt.Errorf("change register %.40q: its name is longer than %d bytes", r.Kind, maxRegisterName)
		case !Plain(r.Kind) || !Plain(r.ID):
			return fmt.Errorf("change register %q %q: its name is no text", r.Kind, r.ID)
		case r.Version < 0:
			return fmt.Errorf("change register %s %s: version %d", r.Kind, r.ID, r.Version)
		case len(r.Body) > maxRegister:
			return fmt.Errorf("change register %s %s: %d bytes are more than %d", r.Kind, r.ID, len(r.Body), maxRegister)
		case r.Body != nil && !(json.Valid(r.Body) && utf8.Valid(r.Body)):
			return fmt.Errorf("change register %s %s: its body is not JSON", r.Kind, r.ID)
		case seen[[2]string{r.Kind, r.ID}]:
			return fmt.Errorf("change register %s %s: it is to be changed twice at once", r.Kind, r.ID)
		}
		seen[[2]string{r.Kind, r.ID}] = true
	}
	return nil
}

// Plain reports whether a database takes the text as it is. What is not plain is
// the name of nothing.
func Plain(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// Conflict is the error of a register that is not of the version that was to
// be changed.
func Conflict(r record.Register) error {
	return fmt.Errorf("%s %s: %w", r.Kind, r.ID, record.ErrConflict)
}

// PrefixEnd is the least text that is greater than all texts with the prefix, in
// the order of code points, which is that of bytes; "" when there is none.
func PrefixEnd(prefix string) string {
	runes := []rune(prefix)
	for i := len(runes) - 1; i >= 0; i-- {
		switch r := runes[i]; {
		case r == utf8.MaxRune:
			continue
		case r == 0xD7FF: // before the surrogates, which no text has
			runes[i] = 0xE000
		default:
			runes[i] = r + 1
		}
		return string(runes[:i+1])
	}
	return ""
}
