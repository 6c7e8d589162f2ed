package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of what is looked for.
const (
	// A value shorter than this is only looked for as it is: its forms would
	// be found everywhere.
	minForms = 4
	// Lines of a value of several lines that are shorter than this, in
	// characters, are not looked for by themselves.
	minLine = 3
	// Fewer digits of base64 than this say nothing.
	minDigits = 6
	// A value longer than this is only looked for as it is, and by its lines.
	// It is more than code hosts let a secret be.
	maxForms = 64 << 10
	// A form longer than twice this is looked for in pieces of this length,
	// which also finds parts of it. It bounds what a stream must keep back.
	piece = 128
	// A value up to this long is also looked for in base64 and hexadecimal that is broken
	// into lines wherever it may be: by windows of its digits, one every step. So of
	// a line fewer than window+step digits remain, and at each break fewer than step.
	maxWindows = 512
	// A value longer than this is not looked for in base64 of base64.
	maxTwice = 4 << 10
	window   = 12
	step     = 4
)

// forms calls yield with the texts that a value may show itself as.
func forms(value string, yield func(string)) {
	if strings.TrimSpace(value) == "" {
		return
	}
	variants(value, yield)
	if !strings.ContainsAny(value, "\r\n") {
		return
	}
	unix := strings.ReplaceAll(value, "\r\n", "\n")
	variants(unix, yield)
	variants(strings.ReplaceAll(unix, "\n", "\r\n"), yield)
	for line := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if utf8.RuneCountInString(strings.TrimSpace(line)) >= minLine {
			variants(line, yield)
		}
	}
}

// variants is a text, without what shells and people trim, and encoded.
func variants(s string, yield func(string)) {
	encodings(s, yield)
	if t := strings.Trim(s, "\r\n\t "); t != s {
		encodings(t, yield)
		s = t
	}
	for _, quote := range []string{`"`, `'`, "`"} {
		if len(s) > 2 && strings.HasPrefix(s, quote) && strings.HasSuffix(s, quote) {
			if t := s[1 : len(s)-1]; strings.TrimSpace(t) != "" {
				encodings(t, yield)
			}
		}
	}
}

// encodings is a text as it is, and as tools encode it.
func encodings(s string, yield func(string)) {
	pieces(s, yield)
	if len(s) < minForms || len(s) > maxForms {
		return
	}
	jsonForms(s, yield)
	urlForms(s, yield)
	hexForms(s, yield)
	base64Forms(s, yield)
	twiceForms(s, yield)

	pieces(xmlEscapes.Replace(s), yield)
	pieces(html.EscapeString(s), yield)
	pieces(strings.ReplaceAll(s, "'", "''"), yield)        // SQL, YAML, PowerShell, GitHub expressions
	pieces(strings.ReplaceAll(s, "'", `'\''`), yield)      // sh
	pieces(strings.ReplaceAll(s, "'", `'"'"'`), yield)     // sh, as Python quotes
	pieces(strings.ReplaceAll(s, `"`, `\"`), yield)        // command lines of Windows
	pieces(doubleQuoted.ReplaceAllString(s, `\$0`), yield) // sh, in double quotes
	pieces(bare.ReplaceAllString(s, `\$0`), yield)         // sh, printf %q
	if i := strings.LastIndexByte(s, '&'); i >= 0 {
		// PowerShell shows what stands before and after an ampersand apart
		// when it complains about one.
		for _, part := range []string{s[:i], strings.TrimPrefix(s[i+1:], "+")} {
			if len(part) >= 6 {
				pieces(part, yield)
			}
		}
	}
}

var (
	xmlEscapes   = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;")
	doubleQuoted = regexp.MustCompile("[\\\\$\"`]")
	bare         = regexp.MustCompile(`[^A-Za-z0-9_@%+=:,./\x80-\x{10FFFF}-]`)
	percent      = regexp.MustCompile(`%[0-9A-F]{2}`)
)

// jsonForms is a text inside a JSON string: as most do it, and as those who
// think of HTML.
func jsonForms(s string, yield func(string)) {
	for _, escapeHTML := range []bool{false, true} {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(escapeHTML)
		if e.Encode(s) == nil {
			quoted := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
			pieces(string(quoted[1:len(quoted)-1]), yield)
			if ascii := asciiJSON(quoted[1 : len(quoted)-1]); ascii != "" {
				pieces(ascii, yield)
			}
		}
	}
}

// asciiJSON is the inside of a JSON string for those who write all of it in ASCII
// (Python, PHP), or "" if it is that already.
func asciiJSON(quoted []byte) string {
	var b strings.Builder
	changed := false
	for _, r := range string(quoted) {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
			continue
		}
		changed = true
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	if !changed {
		return ""
	}
	return b.String()
}

// hexForms is a text in hexadecimal, as xxd -p and most languages write it.
func hexForms(s string, yield func(string)) {
	digits := hex.EncodeToString([]byte(s))
	for _, d := range []string{digits, strings.ToUpper(digits)} {
		pieces(d, yield)
		windows(s, d, yield)
	}
}

// urlForms is a text inside a URL: in a query, in a path, with either case of
// hexadecimal digits.
func urlForms(s string, yield func(string)) {
	query := url.QueryEscape(s)
	for _, u := range []string{query, strings.ReplaceAll(query, "+", "%20"), url.PathEscape(s), url.UserPassword("", s).String()[1:]} {
		pieces(u, yield)
		pieces(percent.ReplaceAllStringFunc(u, strings.ToLower), yield)
	}
}

// base64Forms is a text inside something encoded in base64. Three bytes make
// four digits, so there are three ways, by where the text begins; the digits
// at its ends hold bits of what stands beside it and are left out, but for the
// text alone.
func base64Forms(s string, yield func(string)) {
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		pieces(e.EncodeToString([]byte(s)), yield)
		raw := e.WithPadding(base64.NoPadding)
		pieces(raw.EncodeToString([]byte(s)), yield)
		for before := range 3 {
			if digits := shifted(raw, s, before); len(digits) >= minDigits {
				pieces(digits, yield)
				windows(s, digits, yield)
			}
		}
	}
}

// shifted is the digits that a text alone decides when so many bytes stand before
// it.
func shifted(e *base64.Encoding, s string, before int) string {
	digits := e.EncodeToString(append(make([]byte, before), s...))
	return digits[(before*8+5)/6 : (before+len(s))*8/6]
}

// twiceForms is a text encoded in base64 twice: what attackers do to what they
// want to read in a log.
func twiceForms(s string, yield func(string)) {
	if len(s) > maxTwice {
		return
	}
	for before := range 3 {
		once := shifted(base64.RawStdEncoding, s, before)
		for again := range 3 {
			if digits := shifted(base64.RawStdEncoding, once, again); len(once) >= minDigits {
				pieces(digits, yield)
			}
		}
	}
}

// windows yields parts of the digits that a value is encoded in.
func windows(value, digits string, yield func(string)) {
	if len(value) > maxWindows {
		return
	}
	for i := 0; i+window <= len(digits); i += step {
		yield(digits[i : i+window])
	}
	if n := len(digits); n > window {
		yield(digits[n-window:])
	}
}

// pieces yields a form, in pieces if it is long. The last two pieces may
// overlap.
func pieces(s string, yield func(string)) {
	part := func(s string) {
		if strings.TrimSpace(s) != "" { // a long indentation is no secret
			yield(s)
		}
	}
	for len(s) > 2*piece {
		part(s[:piece])
		if s = s[piece:]; len(s) < 2*piece {
			part(s[:piece])
			s = s[len(s)-piece:]
		}
	}
	part(s)
}
