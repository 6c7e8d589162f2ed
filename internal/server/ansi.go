package server

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// style is how a piece of a line looks: what SGR sequences set.
type style struct {
	fg, bg int16 // 0 to 255; -1: as usual
	flags  uint8
}

const (
	bold = 1 << iota
	dim
	italic
	underline
	inverse
	strike
)

// flagClasses are the classes of the flags, by bit.
var flagClasses = [...]string{"ab", "ad", "ai", "au", "an", "as"}

var plainStyle = style{fg: -1, bg: -1}

// appendANSI appends a line as HTML: text, spans with classes, and links, and
// nothing else whatever the line holds. Colours and links (OSC 8, http and
// https only) are kept, a carriage return begins the line anew as on a
// terminal, other control sequences are left out, and characters that would have
// text read in another order than it is written in are shown by their number.
func appendANSI(dst []byte, line string) []byte {
	if plainText(line) {
		return append(dst, line...)
	}
	a := ansi{dst: dst, style: plainStyle}
	a.line(lastState(line))
	a.close()
	return a.dst
}

// plainText reports whether a line is its own HTML.
func plainText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c >= 0x7f || c == '<' || c == '>' || c == '&' || c == '"' || c == '\'' {
			return false
		}
	}
	return true
}

// lastState is what remains of a line that was begun anew.
func lastState(s string) string {
	s = strings.TrimRight(s, "\r")
	if i := strings.LastIndexByte(s, '\r'); i >= 0 {
		return s[i+1:]
	}
	return s
}

// ansi writes one line.
type ansi struct {
	dst   []byte
	style style // of what comes
	shown style // of the span that is open
	open  bool
	link  bool
}

func (a *ansi) line(s string) {
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == 0x1b:
			i += a.escape(s[i:])
		case c == '\t' || c >= ' ' && c < 0x7f:
			j := i + 1
			for j < len(s) && (s[j] >= ' ' && s[j] < 0x7f || s[j] == '\t') && s[j] != '<' && s[j] != '>' && s[j] != '&' && s[j] != '"' && s[j] != '\'' {
				j++
			}
			a.begin()
			a.dst = appendEscaped(a.dst, s[i:i+1])
			a.dst = append(a.dst, s[i+1:j]...)
			i = j
		case c < utf8.RuneSelf: // control
			i++
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			a.rune(r, s[i:i+n])
			i += n
		}
	}
}

func (a *ansi) rune(r rune, text string) {
	switch {
	case r == utf8.RuneError:
		a.begin()
		a.dst = append(a.dst, "\uFFFD"...)
	case r >= 0x80 && r < 0xa0: // C1 controls
	case turns(r):
		a.begin()
		a.dst = fmt.Appendf(a.dst, `<b class="bidi">U+%04X</b>`, r)
	default:
		a.begin()
		a.dst = append(a.dst, text...)
	}
}

// turns reports whether a character changes the order in which others are
// read, or is not there to see.
func turns(r rune) bool {
	switch {
	case r == 0x61c, r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x2069, r == 0xfeff, r >= 0xe0000 && r <= 0xe007f:
		return true
	}
	return false
}

func appendEscaped(dst []byte, s string) []byte {
	for i := range len(s) {
		switch s[i] {
		case '<':
			dst = append(dst, "&lt;"...)
		case '>':
			dst = append(dst, "&gt;"...)
		case '&':
			dst = append(dst, "&amp;"...)
		case '"':
			dst = append(dst, "&#34;"...)
		case '\'':
			dst = append(dst, "&#39;"...)
		default:
			dst = append(dst, s[i])
		}
	}
	return dst
}

// begin has the span open that the style asks for.
func (a *ansi) begin() {
	if a.open && a.shown == a.style || !a.open && a.style == plainStyle {
		return
	}
	a.endSpan()
	if a.style == plainStyle {
		return
	}
	fg, bg := a.style.fg, a.style.bg
	if a.style.flags&inverse != 0 && (fg >= 0 || bg >= 0) {
		fg, bg = bg, fg
	}
	a.dst = append(a.dst, `<span class="`...)
	space := false
	class := func(prefix string, n int16) {
		if space {
			a.dst = append(a.dst, ' ')
		}
		space = true
		a.dst = append(a.dst, prefix...)
		if n >= 0 {
			a.dst = strconv.AppendInt(a.dst, int64(n), 10)
		}
	}
	for bit, name := range flagClasses {
		if a.style.flags&(1<<bit) != 0 && (1<<bit != inverse || fg < 0 && bg < 0) {
			class(name, -1)
		}
	}
	if fg >= 0 {
		class("f", fg)
	}
	if bg >= 0 {
		class("b", bg)
	}
	if !space {
		class("an", -1)
	}
	a.dst = append(a.dst, `">`...)
	a.open, a.shown = true, a.style
}

func (a *ansi) endSpan() {
	if a.open {
		a.dst = append(a.dst, "</span>"...)
		a.open = false
	}
}

func (a *ansi) endLink() {
	a.endSpan()
	if a.link {
		a.dst = append(a.dst, "</a>"...)
		a.link = false
	}
}

func (a *ansi) close() { a.endLink() }

// escape reads an escape sequence and says how long it is.
func (a *ansi) escape(s string) int {
	if len(s) < 2 {
		return len(s)
	}
	switch s[1] {
	case '[':
		i := 2
		for i < len(s) && s[i] >= 0x20 && s[i] <= 0x3f {
			i++
		}
		if i == len(s) {
			return i
		}
		if s[i] == 'm' {
			a.sgr(s[2:i])
		}
		if s[i] < 0x40 || s[i] > 0x7e { // not the end of one
			return i
		}
		return i + 1
	case ']', 'P', '_', '^', 'X': // up to BEL or ST
		for i := 2; i < len(s); i++ {
			if s[i] == 0x07 || s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
				if s[1] == ']' {
					a.osc(s[2:i])
				}
				if s[i] == 0x1b {
					i++
				}
				return i + 1
			}
			if s[i] < ' ' {
				return i
			}
		}
		return 2
	}
	if s[1] >= 0x20 && s[1] <= 0x2f { // a character set
		return min(3, len(s))
	}
	if s[1] < 0x20 || s[1] > 0x7e {
		return 1
	}
	return 2
}

// osc is an operating system command. Of all of them links are shown.
func (a *ansi) osc(s string) {
	rest, ok := strings.CutPrefix(s, "8;")
	if !ok {
		return
	}
	_, target, ok := strings.Cut(rest, ";")
	if !ok {
		return
	}
	a.endLink()
	u, err := url.Parse(target)
	if target == "" || err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return
	}
	a.dst = append(a.dst, `<a class="out" rel="noopener noreferrer nofollow" href="`...)
	a.dst = appendEscaped(a.dst, u.String())
	a.dst = append(a.dst, `">`...)
	a.link = true
}

// sgr is "select graphic rendition": colours and the like.
func (a *ansi) sgr(params string) {
	if params == "" {
		a.style = plainStyle
		return
	}
	var buf [32]int16
	ps := buf[:0]
	n := 0
	for i := 0; i <= len(params) && len(ps) < cap(ps); i++ {
		switch {
		case i == len(params) || params[i] == ';' || params[i] == ':':
			ps = append(ps, int16(min(n, 999)))
			n = 0
		case params[i] >= '0' && params[i] <= '9':
			if n < 1000 {
				n = n*10 + int(params[i]-'0')
			}
		default:
			return // private
		}
	}
	for i := 0; i < len(ps); i++ {
		switch p := ps[i]; {
		case p == 0:
			a.style = plainStyle
		case p >= 1 && p <= 9: // text that asks to be hidden is shown
			a.style.flags |= [...]uint8{bold, dim, italic, underline, 0, 0, inverse, 0, strike}[p-1]
		case p == 21:
			a.style.flags |= underline
		case p == 22:
			a.style.flags &^= bold | dim
		case p == 23:
			a.style.flags &^= italic
		case p == 24:
			a.style.flags &^= underline
		case p == 27:
			a.style.flags &^= inverse
		case p == 29:
			a.style.flags &^= strike
		case p >= 30 && p <= 37:
			a.style.fg = p - 30
		case p == 39:
			a.style.fg = -1
		case p >= 40 && p <= 47:
			a.style.bg = p - 40
		case p == 49:
			a.style.bg = -1
		case p >= 90 && p <= 97:
			a.style.fg = p - 90 + 8
		case p >= 100 && p <= 107:
			a.style.bg = p - 100 + 8
		case p == 38 || p == 48:
			colour, used := extended(ps[i+1:])
			i += used
			if colour < 0 {
				break
			}
			if p == 38 {
				a.style.fg = colour
			} else {
				a.style.bg = colour
			}
		}
	}
}

// extended reads the colour after 38 or 48: one of 256, or the one of them that
// is nearest to a true one.
func extended(ps []int16) (colour int16, used int) {
	switch {
	case len(ps) >= 2 && ps[0] == 5:
		if ps[1] > 255 {
			return -1, 2
		}
		return ps[1], 2
	case len(ps) >= 4 && ps[0] == 2:
		return nearest(ps[1], ps[2], ps[3]), 4
	}
	return -1, len(ps)
}

// cube are the levels of the 6×6×6 colours from 16 on.
var cube = [...]int16{0, 95, 135, 175, 215, 255}

// nearest is the one of the colours 16 to 255 that is nearest to a true colour.
func nearest(r, g, b int16) int16 {
	near := func(v int16) int16 {
		best := int16(0)
		for i, level := range cube {
			if absolute(level-v) < absolute(cube[best]-v) {
				best = int16(i)
			}
		}
		return best
	}
	r, g, b = min(r, 255), min(g, 255), min(b, 255)
	i, j, k := near(r), near(g), near(b)
	grey := min(max((r+g+b)/3-8+5, 0)/10, 23)
	level := 8 + 10*grey
	if distance(r, g, b, level, level, level) < distance(r, g, b, cube[i], cube[j], cube[k]) {
		return 232 + grey
	}
	return 16 + 36*i + 6*j + k
}

func absolute(v int16) int16 { return max(v, -v) }

func distance(r, g, b, s, h, c int16) int {
	x, y, z := int(r-s), int(g-h), int(b-c)
	return x*x + y*y + z*z
}

// rgb is a colour, each part from 0 to 1.
type rgb [3]float64

// basic are the first sixteen colours.
var basic = [16]rgb{
	web(0x24292f), web(0xcf222e), web(0x1a7f37), web(0x9a6700), web(0x0969da), web(0x8250df), web(0x1b7c83), web(0x8c959f),
	web(0x6e7781), web(0xff5f57), web(0x3fb950), web(0xd29922), web(0x58a6ff), web(0xbc8cff), web(0x39c5cf), web(0xf0f3f6),
}

func web(v int) rgb {
	return rgb{float64(v>>16) / 255, float64(v>>8&255) / 255, float64(v&255) / 255}
}

// colour is one of the 256.
func colour(n int) rgb {
	switch {
	case n < 16:
		return basic[n]
	case n < 232:
		n -= 16
		return rgb{float64(cube[n/36]) / 255, float64(cube[n/6%6]) / 255, float64(cube[n%6]) / 255}
	}
	grey := float64(8+10*(n-232)) / 255
	return rgb{grey, grey, grey}
}

// luminance is how bright a colour is, as WCAG has it.
func (c rgb) luminance() float64 {
	part := func(v float64) float64 {
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*part(c[0]) + 0.7152*part(c[1]) + 0.0722*part(c[2])
}

func contrast(a, b rgb) float64 {
	x, y := a.luminance(), b.luminance()
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func (c rgb) String() string {
	return fmt.Sprintf("#%02x%02x%02x", int(math.Round(c[0]*255)), int(math.Round(c[1]*255)), int(math.Round(c[2]*255)))
}

// readable is the colour, mixed with as much of another as it takes to be read on
// a ground.
func readable(c, ground, with rgb) rgb {
	for mix := 0.0; mix < 1; mix += 0.04 {
		var m rgb
		for i := range m {
			m[i] = c[i]*(1-mix) + with[i]*mix
		}
		if contrast(m, ground) >= 4.6 {
			return m
		}
	}
	return with
}

// The grounds of logs, as in the style sheet.
var (
	lightGround = web(0xfcfcfd)
	darkGround  = web(0x0b0e12)
)

// colourRules are the style sheet's rules for the colours of logs: each is changed
// just so much that it can be read on light and on dark.
func colourRules() []byte {
	black, white := rgb{}, rgb{1, 1, 1}
	out := []byte("\n.ab{font-weight:700}.ad{opacity:.72}.ai{font-style:italic}.au{text-decoration:underline}.as{text-decoration:line-through}" +
		".an{background:var(--log-ink);color:var(--log-bg)}.bidi{color:var(--bad);font-weight:400;border:1px solid;border-radius:3px;padding:0 .2em;font-size:.85em}.out{text-decoration:underline}\n")
	for n := range 256 {
		ground, ink := colour(n), black
		if contrast(ground, white) > contrast(ground, black) {
			ink = white
		}
		out = fmt.Appendf(out, ".b%d{background:%s;color:%s}", n, ground, ink)
	}
	for n := range 256 {
		out = fmt.Appendf(out, ".f%d{color:%s}", n, readable(colour(n), lightGround, black))
	}
	out = append(out, "\n@media (prefers-color-scheme:dark){"...)
	for n := range 256 {
		out = fmt.Appendf(out, ".f%d{color:%s}", n, readable(colour(n), darkGround, white))
	}
	// On a ground of its own a colour stays what it is.
	out = append(out, "}\n"...)
	for n := range 16 {
		out = fmt.Appendf(out, "[class*=\" b\"].f%d{color:%s}", n, colour(n))
	}
	return append(out, '\n')
}
