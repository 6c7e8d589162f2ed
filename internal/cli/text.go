package cli

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// What steps print is hostile until proved otherwise: a log line that moves
// the cursor, sets the window's title or rings the bell would let a build
// forge what Fairlead says. So every text from outside goes through [sanitize]
// before it meets a terminal.

// tabWidth is how far tabs reach.
const tabWidth = 8

// sanitize appends the line to dst as it may be shown: what a carriage return
// overwrote is gone, tabs are blanks, control characters and escape sequences
// are left out, bytes that are no UTF-8 are U+FFFD. Colours (SGR sequences) stay
// if colour is set, and end with the line.
func sanitize(dst, line []byte, colour bool) []byte {
	if harmless(line) {
		return append(dst, line...)
	}
	line = bytes.TrimRight(line, "\r\n")
	if i := bytes.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	start, painted := len(dst), false
	for i := 0; i < len(line); {
		c := line[i]
		switch {
		case c == 0x1b:
			n, sgr := escape(line[i:])
			if sgr && colour {
				dst, painted = append(dst, line[i:i+n]...), true
			}
			i += n
		case c == '\t':
			for n := tabWidth - width(dst[start:])%tabWidth; n > 0; n-- {
				dst = append(dst, ' ')
			}
			i++
		case c < 0x20 || c == 0x7f:
			i++
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			i++
		default:
			r, n := utf8.DecodeRune(line[i:])
			if !hidden(r) {
				dst = utf8.AppendRune(dst, r)
			}
			i += n
		}
	}
	if painted {
		dst = append(dst, reset...)
	}
	return dst
}

// harmless reports whether the line can be shown as it is: the common case,
// which has to be found out quickly.
func harmless(line []byte) bool {
	ascii := true
	for _, c := range line {
		if c < 0x20 || c == 0x7f {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if ascii {
		return true
	}
	if !utf8.Valid(line) {
		return false
	}
	for i := 0; i < len(line); {
		r, n := utf8.DecodeRune(line[i:])
		if hidden(r) {
			return false
		}
		i += n
	}
	return true
}

// hidden reports whether the character has no place in a line of text: the
// upper control characters, and those that turn the direction of writing.
func hidden(r rune) bool {
	return r >= 0x80 && r <= 0x9f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 ||
		r == 0x2028 || r == 0x2029 || r == 0xfeff
}

// escape is the length of the escape sequence at the beginning of s, and
// whether it does nothing but set colours. A sequence that does not end takes
// the rest of the line.
func escape(s []byte) (n int, sgr bool) {
	if len(s) < 2 {
		return len(s), false
	}
	switch s[1] {
	case '[': // CSI: parameters, intermediates, one final byte
		for i := 2; i < len(s); i++ {
			switch c := s[i]; {
			case c >= '0' && c <= '9' || c == ';' || c == ':':
			case c == 'm':
				return i + 1, true
			case c >= 0x40 && c <= 0x7e:
				return i + 1, false
			case c < 0x20 || c > 0x7e: // malformed; the byte is not part of it
				return i, false
			default: // private or intermediate bytes: no colours
				for ; i < len(s); i++ {
					if s[i] >= 0x40 && s[i] <= 0x7e {
						return i + 1, false
					}
				}
				return len(s), false
			}
		}
		return len(s), false
	case ']', 'P', 'X', '^', '_': // strings, ended by BEL or ST
		for i := 2; i < len(s); i++ {
			if s[i] == 0x07 {
				return i + 1, false
			}
			if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2, false
			}
		}
		return len(s), false
	}
	i := 1
	for i < len(s) && s[i] >= 0x20 && s[i] <= 0x2f {
		i++
	}
	if i < len(s) && s[i] >= 0x30 && s[i] <= 0x7e {
		i++
	}
	return i, false
}

// shown is [sanitize] for strings of ours that hold text from outside: names,
// messages. Lines become one.
func shown(s string) string {
	if harmless([]byte(s)) {
		return s
	}
	return string(sanitize(nil, []byte(strings.Join(strings.Fields(s), " ")), false))
}

// width is how many columns a sanitized text takes.
func width[T string | []byte](text T) (w int) {
	s := []byte(text)
	for i := 0; i < len(s); {
		if s[i] == 0x1b {
			n, _ := escape(s[i:])
			i += n
			continue
		}
		if s[i] < utf8.RuneSelf {
			w++
			i++
			continue
		}
		r, n := utf8.DecodeRune(s[i:])
		w += runeWidth(r)
		i += n
	}
	return w
}

// wide are the blocks whose characters take two columns: East Asian Wide and
// Fullwidth (Unicode, UAX #11), and pictographs shown as emoji.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x115f, Stride: 1}, {Lo: 0x231a, Hi: 0x231b, Stride: 1}, {Lo: 0x2329, Hi: 0x232a, Stride: 1},
		{Lo: 0x23e9, Hi: 0x23ec, Stride: 1}, {Lo: 0x23f0, Hi: 0x23f0, Stride: 1}, {Lo: 0x23f3, Hi: 0x23f3, Stride: 1},
		{Lo: 0x25fd, Hi: 0x25fe, Stride: 1}, {Lo: 0x2614, Hi: 0x2615, Stride: 1}, {Lo: 0x2648, Hi: 0x2653, Stride: 1},
		{Lo: 0x267f, Hi: 0x267f, Stride: 1}, {Lo: 0x2693, Hi: 0x2693, Stride: 1}, {Lo: 0x26a1, Hi: 0x26a1, Stride: 1},
		{Lo: 0x26aa, Hi: 0x26ab, Stride: 1}, {Lo: 0x26bd, Hi: 0x26be, Stride: 1}, {Lo: 0x26c4, Hi: 0x26c5, Stride: 1},
		{Lo: 0x26ce, Hi: 0x26ce, Stride: 1}, {Lo: 0x26d4, Hi: 0x26d4, Stride: 1}, {Lo: 0x26ea, Hi: 0x26ea, Stride: 1},
		{Lo: 0x26f2, Hi: 0x26f3, Stride: 1}, {Lo: 0x26f5, Hi: 0x26f5, Stride: 1}, {Lo: 0x26fa, Hi: 0x26fa, Stride: 1},
		{Lo: 0x26fd, Hi: 0x26fd, Stride: 1}, {Lo: 0x2705, Hi: 0x2705, Stride: 1}, {Lo: 0x270a, Hi: 0x270b, Stride: 1},
		{Lo: 0x2728, Hi: 0x2728, Stride: 1}, {Lo: 0x274c, Hi: 0x274c, Stride: 1}, {Lo: 0x274e, Hi: 0x274e, Stride: 1},
		{Lo: 0x2753, Hi: 0x2755, Stride: 1}, {Lo: 0x2757, Hi: 0x2757, Stride: 1}, {Lo: 0x2795, Hi: 0x2797, Stride: 1},
		{Lo: 0x27b0, Hi: 0x27b0, Stride: 1}, {Lo: 0x27bf, Hi: 0x27bf, Stride: 1}, {Lo: 0x2b1b, Hi: 0x2b1c, Stride: 1},
		{Lo: 0x2b50, Hi: 0x2b50, Stride: 1}, {Lo: 0x2b55, Hi: 0x2b55, Stride: 1}, {Lo: 0x2e80, Hi: 0x303e, Stride: 1},
		{Lo: 0x3041, Hi: 0x33ff, Stride: 1}, {Lo: 0x3400, Hi: 0x4dbf, Stride: 1}, {Lo: 0x4e00, Hi: 0x9fff, Stride: 1},
		{Lo: 0xa000, Hi: 0xa4cf, Stride: 1}, {Lo: 0xa960, Hi: 0xa97f, Stride: 1}, {Lo: 0xac00, Hi: 0xd7a3, Stride: 1},
		{Lo: 0xf900, Hi: 0xfaff, Stride: 1}, {Lo: 0xfe10, Hi: 0xfe19, Stride: 1}, {Lo: 0xfe30, Hi: 0xfe6f, Stride: 1},
		{Lo: 0xff00, Hi: 0xff60, Stride: 1}, {Lo: 0xffe0, Hi: 0xffe6, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x16fe0, Hi: 0x18dff, Stride: 1}, {Lo: 0x1aff0, Hi: 0x1b2ff, Stride: 1}, {Lo: 0x1f004, Hi: 0x1f004, Stride: 1},
		{Lo: 0x1f0cf, Hi: 0x1f0cf, Stride: 1}, {Lo: 0x1f18e, Hi: 0x1f18e, Stride: 1}, {Lo: 0x1f191, Hi: 0x1f19a, Stride: 1},
		{Lo: 0x1f1e6, Hi: 0x1f202, Stride: 1}, {Lo: 0x1f210, Hi: 0x1f23b, Stride: 1}, {Lo: 0x1f240, Hi: 0x1f248, Stride: 1},
		{Lo: 0x1f250, Hi: 0x1f251, Stride: 1}, {Lo: 0x1f260, Hi: 0x1f265, Stride: 1}, {Lo: 0x1f300, Hi: 0x1f320, Stride: 1},
		{Lo: 0x1f32d, Hi: 0x1f335, Stride: 1}, {Lo: 0x1f337, Hi: 0x1f37c, Stride: 1}, {Lo: 0x1f37e, Hi: 0x1f393, Stride: 1},
		{Lo: 0x1f3a0, Hi: 0x1f3ca, Stride: 1}, {Lo: 0x1f3cf, Hi: 0x1f3d3, Stride: 1}, {Lo: 0x1f3e0, Hi: 0x1f3f0, Stride: 1},
		{Lo: 0x1f3f4, Hi: 0x1f3f4, Stride: 1}, {Lo: 0x1f3f8, Hi: 0x1f43e, Stride: 1}, {Lo: 0x1f440, Hi: 0x1f440, Stride: 1},
		{Lo: 0x1f442, Hi: 0x1f4fc, Stride: 1}, {Lo: 0x1f4ff, Hi: 0x1f53d, Stride: 1}, {Lo: 0x1f54b, Hi: 0x1f54e, Stride: 1},
		{Lo: 0x1f550, Hi: 0x1f567, Stride: 1}, {Lo: 0x1f57a, Hi: 0x1f57a, Stride: 1}, {Lo: 0x1f595, Hi: 0x1f596, Stride: 1},
		{Lo: 0x1f5a4, Hi: 0x1f5a4, Stride: 1}, {Lo: 0x1f5fb, Hi: 0x1f64f, Stride: 1}, {Lo: 0x1f680, Hi: 0x1f6c5, Stride: 1},
		{Lo: 0x1f6cc, Hi: 0x1f6cc, Stride: 1}, {Lo: 0x1f6d0, Hi: 0x1f6d2, Stride: 1}, {Lo: 0x1f6d5, Hi: 0x1f6d7, Stride: 1},
		{Lo: 0x1f6dc, Hi: 0x1f6df, Stride: 1}, {Lo: 0x1f6eb, Hi: 0x1f6ec, Stride: 1}, {Lo: 0x1f6f4, Hi: 0x1f6fc, Stride: 1},
		{Lo: 0x1f7e0, Hi: 0x1f7eb, Stride: 1}, {Lo: 0x1f90c, Hi: 0x1f9ff, Stride: 1}, {Lo: 0x1fa70, Hi: 0x1faff, Stride: 1},
		{Lo: 0x20000, Hi: 0x3fffd, Stride: 1},
	},
}

func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf), r >= 0x1160 && r <= 0x11ff, r >= 0x1f3fb && r <= 0x1f3ff:
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}

// clip cuts a sanitized text to n columns, with an ellipsis in place of what
// is missing. Colours end with it.
func clip(s string, n int, ellipsis string) string {
	if n <= 0 {
		return ""
	}
	if len(s) <= n || width(s) <= n {
		return s
	}
	room := n - width(ellipsis)
	if room < 0 {
		return strings.Repeat(".", n)
	}
	var b strings.Builder
	painted := false
	for i := 0; i < len(s); {
		if s[i] == 0x1b {
			k, _ := escape([]byte(s[i:]))
			b.WriteString(s[i : i+k])
			painted = true
			i += k
			continue
		}
		r, k := utf8.DecodeRuneInString(s[i:])
		w := runeWidth(r)
		if w > room {
			break
		}
		room -= w
		b.WriteString(s[i : i+k])
		i += k
	}
	b.WriteString(ellipsis)
	if painted {
		b.WriteString(reset)
	}
	return b.String()
}

// pad fills a sanitized text with blanks to n columns.
func pad(s string, n int) string {
	if w := width(s); w < n {
		return s + strings.Repeat(" ", n-w)
	}
	return s
}

// flush puts blanks in front of a sanitized text, up to n columns.
func flush(s string, n int) string {
	if w := width(s); w < n {
		return strings.Repeat(" ", n-w) + s
	}
	return s
}

const reset = "\x1b[0m"

// style is how something is shown: with colours or without, with pictures or
// in ASCII.
type style struct {
	colour bool
	ascii  bool
}

func (s style) paint(code, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + reset
}

func (s style) bold(t string) string   { return s.paint("1", t) }
func (s style) dim(t string) string    { return s.paint("2", t) }
func (s style) red(t string) string    { return s.paint("31", t) }
func (s style) green(t string) string  { return s.paint("32", t) }
func (s style) yellow(t string) string { return s.paint("33", t) }
func (s style) blue(t string) string   { return s.paint("34", t) }
func (s style) cyan(t string) string   { return s.paint("36", t) }

// pick is the first text, or the second one in ASCII.
func (s style) pick(picture, ascii string) string {
	if s.ascii {
		return ascii
	}
	return picture
}

func (s style) ellipsis() string { return s.pick("…", "...") }
func (s style) bar() string      { return s.pick("│", "|") }
func (s style) dot() string      { return s.pick("·", "-") }
func (s style) arrow() string    { return s.pick("→", "->") }
func (s style) into() string     { return s.pick("›", ">") }
func (s style) times() string    { return s.pick("×", "x") }

// spinner is the glyph of something that runs, at a frame.
func (s style) spinner(frame int) string {
	if s.ascii {
		return string(`|/-\`[frame%4])
	}
	return string([]rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")[frame%10])
}

// glyph is the sign of a verdict, one column wide.
func (s style) glyph(v plan.Verdict) string {
	switch v {
	case plan.Success:
		return s.green(s.pick("✓", "+"))
	case plan.Failure:
		return s.red(s.pick("✗", "x"))
	case plan.Fault:
		return s.red(s.pick("!", "!"))
	case plan.Timeout:
		return s.red(s.pick("◷", "T"))
	case plan.Cancelled:
		return s.yellow(s.pick("⊘", "/"))
	case plan.Skipped:
		return s.dim(s.pick("○", "o"))
	}
	return s.blue(s.pick("●", "*"))
}

// verdict is the word for a verdict.
func (s style) verdict(v plan.Verdict) string {
	switch v {
	case plan.Success:
		return s.green("ok")
	case plan.Failure:
		return s.red("failed")
	case plan.Fault:
		return s.red("error")
	case plan.Timeout:
		return s.red("timed out")
	case plan.Cancelled:
		return s.yellow("cancelled")
	case plan.Skipped:
		return s.dim("skipped")
	case "":
		return s.blue("running")
	}
	return string(v)
}

// duration is a time span for people: 0.4s, 12.3s, 2m05s, 1h02m.
func duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0.0s"
	case d < 59950*time.Millisecond:
		tenths := (d + 50*time.Millisecond) / (100 * time.Millisecond)
		return strconv.Itoa(int(tenths/10)) + "." + strconv.Itoa(int(tenths%10)) + "s"
	case d < time.Hour:
		s := int(d.Round(time.Second).Seconds())
		return strconv.Itoa(s/60) + "m" + two(s%60) + "s"
	}
	m := int(d.Round(time.Minute).Minutes())
	return strconv.Itoa(m/60) + "h" + two(m%60) + "m"
}

// span is [duration], and tells milliseconds of what is short.
func span(d time.Duration) string {
	if ms := d.Round(time.Millisecond).Milliseconds(); ms < 100 {
		return strconv.FormatInt(max(ms, 0), 10) + "ms"
	}
	return duration(d)
}

func two(n int) string {
	if n < 10 {
		return "0" + strconv.Itoa(n)
	}
	return strconv.Itoa(n)
}

// thousands writes a number in groups: 1,922.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// bytesText is a number of bytes for people.
func bytesText(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	f, i := float64(n)/1000, 0
	for f >= 1000 && i < 4 {
		f /= 1000
		i++
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " " + string("kMGTP"[i]) + "B"
}

// ago is how long ago something was, for people.
func ago(d time.Duration) string {
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s ago"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m ago"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h ago"
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d ago"
}

// plural is "1 job", "2 jobs".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(int64(n)) + " " + noun + "s"
}
