package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"strings"
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
	base64Forms(s, yield)

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
		}
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
			digits := raw.EncodeToString(append(make([]byte, before), s...))
			from, to := (before*8+5)/6, (before+len(s))*8/6
			if to-from >= minDigits {
				pieces(digits[from:to], yield)
			}
		}
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
