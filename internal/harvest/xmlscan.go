package harvest

import (
	"bufio"
	"bytes"
	"fmt"
	"html"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxAttrs is how many attributes of an element are kept.
	maxAttrs = 100
	// maxTag is how many bytes a tag may have that is believed to be one.
	maxTag = 8 << 20
)

// xmlScanner reads XML as tools write it, which is not always XML: a "<" or
// "&" that stands for itself, ends of nothing, a file that breaks off. It holds
// one tag at a time, and text comes in pieces. No entity is ever defined and
// nothing is fetched: a document type is passed over.
//
// encoding/xml would not do: it holds the whole of a text before it hands it
// out, and gives up at the first thing that is wrong.
type xmlScanner struct {
	r     *bufio.Reader
	lines int               // ends of line that were passed
	names map[string]string // of elements and attributes: there are few
	tag   []byte            // room for a tag that does not fit r's buffer
	cdata bool              // within a CDATA section
	empty bool              // the element that was found has no content: its end is next

	// What was found.
	name  string // of the element, without a namespace
	attrs []xmlAttr
	text  []byte // valid until the next call
}

type xmlAttr struct{ name, value string }

type xmlKind uint8

const (
	xmlStart xmlKind = iota + 1
	xmlEnd
	xmlChars
	xmlCut // the file ends within a tag, a comment or a CDATA section
	xmlEOF
)

func newXMLScanner(r *bufio.Reader) *xmlScanner {
	return &xmlScanner{r: r, names: map[string]string{}}
}

// line is where the scanner is, from 1.
func (x *xmlScanner) line() int { return x.lines + 1 }

// next finds what comes next. The error is the reader's own.
func (x *xmlScanner) next() (xmlKind, error) {
	if x.empty {
		x.empty = false
		return xmlEnd, nil
	}
	for {
		if x.cdata {
			return x.section()
		}
		head, err := x.r.Peek(1)
		switch {
		case err == io.EOF:
			return xmlEOF, nil
		case err != nil:
			return 0, err
		case head[0] != '<':
			return x.chars(0)
		}
		head, err = x.r.Peek(len("<![CDATA["))
		if err != nil && err != io.EOF {
			return 0, err
		}
		found := true
		switch {
		case len(head) == 1:
			x.pass(1)
			return xmlCut, nil
		case string(head) == "<![CDATA[":
			x.pass(len(head))
			x.cdata = true
		case head[1] == '/' || nameStart(head[1]):
			return x.element()
		case bytes.HasPrefix(head, []byte("<!--")):
			x.pass(len("<!--"))
			found, err = x.through("-->")
		case head[1] == '!':
			found, err = x.doctype()
		case head[1] == '?':
			found, err = x.through("?>")
		default: // it stands for itself
			return x.chars(1)
		}
		if err != nil && err != io.EOF {
			return 0, err
		}
		if !found {
			return xmlCut, nil
		}
	}
}

func nameStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == ':' || c >= utf8.RuneSelf
}

// pass goes on by n bytes, which have been seen.
func (x *xmlScanner) pass(n int) {
	seen, _ := x.r.Peek(n)
	x.lines += bytes.Count(seen, []byte{'\n'})
	_, _ = x.r.Discard(n)
}

// buffered is what can be seen without reading; at least one byte, unless the
// file ends.
func (x *xmlScanner) buffered() ([]byte, error) {
	if _, err := x.r.Peek(1); err != nil {
		return nil, err
	}
	return x.r.Peek(x.r.Buffered())
}

// chars takes a piece of text, at least of the length given.
func (x *xmlScanner) chars(least int) (xmlKind, error) {
	seen, err := x.buffered()
	if err != nil {
		return 0, err
	}
	n := bytes.IndexByte(seen[least:], '<')
	if n < 0 {
		n = len(seen) - least
		// The beginning of an entity waits for its end.
		const longest = 32
		if i := bytes.LastIndexByte(seen, '&'); i > 0 && i >= least && len(seen)-i < longest && !bytes.Contains(seen[i:], []byte{';'}) {
			n = i - least
		}
	}
	x.take(seen[:least+n])
	x.text = unescape(x.text)
	return xmlChars, nil
}

// section takes a piece of a CDATA section.
func (x *xmlScanner) section() (xmlKind, error) {
	const end = "]]>"
	// There may be fewer bytes than the end has.
	if _, err := x.r.Peek(len(end)); err != nil && err != io.EOF {
		return 0, err
	}
	seen, err := x.buffered()
	if err == io.EOF {
		x.cdata = false
		return xmlCut, nil
	}
	if err != nil {
		return 0, err
	}
	if n := bytes.Index(seen, []byte(end)); n >= 0 {
		x.take(seen[:n])
		x.pass(len(end))
		x.cdata = false
	} else {
		x.take(seen[:max(1, len(seen)-len(end)+1)])
	}
	return xmlChars, nil
}

// take makes what was seen the text, and passes it.
func (x *xmlScanner) take(seen []byte) {
	x.text = append(x.text[:0], seen...)
	x.pass(len(seen))
}

// through passes everything to the end of a word.
func (x *xmlScanner) through(end string) (bool, error) {
	for {
		if _, err := x.r.Peek(len(end)); err != nil {
			return false, err
		}
		seen, _ := x.buffered()
		if n := bytes.Index(seen, []byte(end)); n >= 0 {
			x.pass(n + len(end))
			return true, nil
		}
		x.pass(len(seen) - len(end) + 1)
	}
}

// doctype passes a document type and what is declared in it.
func (x *xmlScanner) doctype() (bool, error) {
	brackets, quote := 0, byte(0)
	for n := 0; ; n++ {
		c, err := x.r.ReadByte()
		if err != nil {
			return false, err
		}
		switch {
		case c == '\n':
			x.lines++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '[':
			brackets++
		case c == ']':
			brackets--
		case c == '>' && brackets <= 0:
			return true, nil
		}
	}
}

// element takes a tag.
func (x *xmlScanner) element() (xmlKind, error) {
	x.tag = x.tag[:0]
	state := tagState{}
	for {
		seen, err := x.buffered()
		if err == io.EOF {
			return xmlCut, nil
		}
		if err != nil {
			return 0, err
		}
		if n := state.end(seen); n > 0 {
			tag := seen[:n]
			if len(x.tag) > 0 {
				x.tag = append(x.tag, tag...)
				tag = x.tag
			}
			kind := x.parse(tag[1 : len(tag)-1])
			x.pass(n)
			return kind, nil
		}
		if len(x.tag)+len(seen) > maxTag {
			return 0, fmt.Errorf("line %d: a tag is larger than %d bytes", x.line(), maxTag)
		}
		x.tag = append(x.tag, seen...)
		x.pass(len(seen))
	}
}

// tagState is what is known within a tag: a ">" in quotes does not end it.
type tagState struct{ quote, last byte }

// end is how many of the bytes belong to the tag; 0 when it does not end here.
func (s *tagState) end(seen []byte) int {
	for i := 0; i < len(seen); i++ {
		c := seen[i]
		switch {
		case s.quote != 0:
			n := bytes.IndexByte(seen[i:], s.quote)
			if n < 0 {
				return 0
			}
			i += n
			s.quote, s.last = 0, '"'
		case c == '>':
			return i + 1
		case (c == '"' || c == '\'') && s.last == '=':
			s.quote = c
		case c != ' ' && c != '\t' && c != '\n' && c != '\r':
			s.last = c
		}
	}
	return 0
}

// parse takes a tag apart, which is without its angles.
func (x *xmlScanner) parse(tag []byte) xmlKind {
	kind := xmlStart
	if tag[0] == '/' {
		kind, tag = xmlEnd, tag[1:]
	} else if n := len(tag) - 1; tag[n] == '/' {
		tag, x.empty = tag[:n], true
	}
	name, rest := word(tag)
	x.name = x.known(name)
	x.attrs = x.attrs[:0]
	for kind == xmlStart {
		rest = bytes.TrimLeft(rest, " \t\r\n=\"'/")
		if len(rest) == 0 {
			break
		}
		name, rest = word(rest)
		rest = bytes.TrimLeft(rest, " \t\r\n")
		var value []byte
		if len(rest) > 0 && rest[0] == '=' {
			rest = bytes.TrimLeft(rest[1:], " \t\r\n")
			end := -1
			if len(rest) > 0 && (rest[0] == '"' || rest[0] == '\'') {
				quote := rest[0]
				rest = rest[1:]
				end = bytes.IndexByte(rest, quote)
			} else {
				end = bytes.IndexAny(rest, " \t\r\n")
			}
			if end < 0 {
				end = len(rest)
			}
			value, rest = rest[:end], rest[end:]
		}
		if len(x.attrs) < maxAttrs && len(name) > 0 {
			value = value[:min(len(value), maxText)]
			x.attrs = append(x.attrs, xmlAttr{x.known(name), unescaped(value)})
		}
	}
	return kind
}

// word is the name that a tag, or an attribute, begins with.
func word(tag []byte) (name, rest []byte) {
	n := bytes.IndexAny(tag, " \t\r\n=/\"'")
	if n < 0 {
		n = len(tag)
	}
	return tag[:n], tag[n:]
}

// known is a name without its namespace.
func (x *xmlScanner) known(name []byte) string {
	if s, ok := x.names[string(name)]; ok {
		return s
	}
	const most = 1000
	s := clip(string(name[bytes.LastIndexByte(name, ':')+1:]), maxName)
	if len(x.names) < most {
		x.names[string(name)] = s
	}
	return s
}

func unescaped(text []byte) string {
	if bytes.IndexByte(text, '&') < 0 {
		return string(text)
	}
	return string(unescape(bytes.Clone(text)))
}

// unescape puts the signs that entities stand for in their place, in text
// itself: no entity is shorter than its sign. What is no entity stays.
func unescape(text []byte) []byte {
	at := bytes.IndexByte(text, '&')
	if at < 0 {
		return text
	}
	out := text[:at]
	for rest := text[at:]; ; {
		const longest = 32
		end := bytes.IndexByte(rest[:min(len(rest), longest)], ';')
		sign := ""
		if end > 1 {
			sign = entity(string(rest[1:end]))
		}
		if sign == "" || len(sign) > end+1 {
			out, rest = append(out, '&'), rest[1:]
		} else {
			out, rest = append(out, sign...), rest[end+1:]
		}
		n := bytes.IndexByte(rest, '&')
		if n < 0 {
			return append(out, rest...)
		}
		out, rest = append(out, rest[:n]...), rest[n:]
	}
}

// entity is what a name between "&" and ";" stands for; "" when for nothing.
func entity(name string) string {
	switch name {
	case "lt":
		return "<"
	case "gt":
		return ">"
	case "amp":
		return "&"
	case "quot":
		return `"`
	case "apos":
		return "'"
	}
	if name[0] == '#' {
		base, digits := 10, name[1:]
		if strings.HasPrefix(digits, "x") || strings.HasPrefix(digits, "X") {
			base, digits = 16, digits[1:]
		}
		n, err := strconv.ParseUint(digits, base, 32)
		switch {
		case err != nil:
			return ""
		case n < ' ' && n != '\n' && n != '\t' && n != '\r', n == 0x7f:
			return " " // as a control character that stands there itself
		case n > utf8.MaxRune || !utf8.ValidRune(rune(n)):
			return "?"
		}
		return string(rune(n))
	}
	if s := html.UnescapeString("&" + name + ";"); s[0] != '&' {
		return s
	}
	return ""
}
