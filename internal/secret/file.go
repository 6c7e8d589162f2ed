package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// maxFile is how large a file of secrets may be.
const maxFile = 4 << 20

// ReadFile reads a file of secrets, by name. It is an object of strings in
// JSON, or lines as in a .env file:
//
//	# a comment
//	NAME=value             # a comment, after white space
//	export NAME=value
//	NAME='as it is, with "quotes" and # and \'
//	NAME="with \n \r \t \" \\ \$, and
//	over several lines"
//
// Without quotes a value ends with the line and is trimmed. Nothing is
// replaced by variables. The last of equal names wins.
//
// What is wrong in the file is told by the problems, which never hold a value;
// the error is for a file that cannot be read.
func ReadFile(path string) (map[string]string, []plan.Problem, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read secrets: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("read secrets: %w", err)
	}
	if fi.IsDir() {
		return nil, nil, fmt.Errorf("read secrets: %w", &fs.PathError{Op: "read", Path: path, Err: errors.New("is a directory")})
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1)) // may be a pipe: <(pass show ci)
	if err != nil {
		return nil, nil, fmt.Errorf("read secrets: %w", err)
	}
	if len(text) > maxFile {
		return nil, nil, fmt.Errorf("read secrets: %s is larger than %d MiB", path, maxFile>>20)
	}
	values, problems := parse(path, text)
	if p := fi.Mode().Perm(); fi.Mode().IsRegular() && p&0o077 != 0 && runtime.GOOS != "windows" {
		problems = append([]plan.Problem{{
			Source:   plan.Source{File: path},
			Severity: plan.Warning,
			Rule:     "secret-file",
			Message:  fmt.Sprintf("others on this machine may open the file: its mode is %04o", p),
			Hint:     "chmod 600 " + path,
		}}, problems...)
	}
	return values, problems, nil
}

// parse reads the text of a file of secrets.
func parse(path string, text []byte) (map[string]string, []plan.Problem) {
	text = bytes.TrimPrefix(text, []byte("\uFEFF"))
	p := &parser{file: path, text: string(text), line: 1, values: map[string]string{}}
	if !utf8.Valid(text) {
		p.problem(1, 0, "the file is not UTF-8 text", "")
		return p.values, p.problems
	}
	if strings.HasPrefix(strings.TrimLeft(p.text, " \t\r\n"), "{") {
		p.json()
	} else {
		p.dotenv()
	}
	return p.values, p.problems
}

type parser struct {
	file     string
	text     string // what is left
	line     int    // of its beginning
	values   map[string]string
	problems []plan.Problem
}

func (p *parser) problem(line, col int, message, hint string) {
	p.problems = append(p.problems, plan.Problem{
		Source:   plan.Source{File: p.file, Line: line, Col: col},
		Severity: plan.Error,
		Rule:     "secret-file",
		Message:  message,
		Hint:     hint,
	})
}

// json reads an object of strings. Problems do not quote the text: it is
// secret.
func (p *parser) json() {
	var values map[string]json.RawMessage
	at := func(offset int64) (line, col int) {
		before := p.text[:min(max(offset-1, 0), int64(len(p.text)))]
		return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	}
	err := json.Unmarshal([]byte(p.text), &values)
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		line, col := at(syntax.Offset)
		p.problem(line, col, "the file begins with { but is not JSON from here on", "")
		return
	} else if err != nil {
		p.problem(1, 1, "the file is JSON, but not an object of strings", "")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		raw := values[name]
		var s string
		switch {
		case json.Unmarshal(raw, &s) == nil && raw[0] == '"':
			p.values[name] = s
		case raw[0] == '{' || raw[0] == '[' || string(raw) == "null":
			p.problem(1, 0, fmt.Sprintf("the value of %q is not a string", name), "write it as a string")
		default: // a number or a boolean is what stands there
			p.values[name] = string(raw)
		}
	}
}

// dotenv reads lines of NAME=value.
func (p *parser) dotenv() {
	for p.text != "" {
		p.text = strings.TrimLeft(p.text, " \t\r")
		switch {
		case p.text == "":
		case p.text[0] == '\n' || p.text[0] == '#':
			p.rest()
		default:
			p.setting()
		}
	}
}

// rest takes what is left of the line, without its end.
func (p *parser) rest() string {
	line, rest, _ := strings.Cut(p.text, "\n")
	p.text = rest
	p.line++
	return strings.TrimSuffix(line, "\r")
}

func (p *parser) setting() {
	line := p.line
	end := strings.IndexAny(p.text, "=\n")
	if end < 0 || p.text[end] == '\n' {
		p.rest()
		p.problem(line, 1, "the line is not NAME=value", "values of several lines need double quotes")
		return
	}
	name := strings.TrimSpace(p.text[:end])
	if after, ok := strings.CutPrefix(name, "export"); ok && after != "" && strings.TrimLeft(after, " \t") != after {
		name = strings.TrimLeft(after, " \t")
	}
	if !validName(name) {
		p.rest()
		p.problem(line, 1, "what stands before the = is not a name of letters, digits and _", "values of several lines need double quotes")
		return
	}
	p.text = strings.TrimLeft(p.text[end+1:], " \t")
	var value string
	ok := true
	switch {
	case strings.HasPrefix(p.text, `"`), strings.HasPrefix(p.text, `'`):
		quote := p.text[0]
		if value, ok = p.quoted(quote); !ok {
			p.problem(line, 1, fmt.Sprintf("the value of %s has no closing %c", name, quote), "")
			return
		}
		if after := strings.TrimSpace(p.rest()); after != "" && after[0] != '#' {
			p.problem(line, 1, fmt.Sprintf("something stands after the closing %c of the value of %s", quote, name), "")
			return
		}
	default:
		value = p.rest()
		if strings.HasPrefix(value, "#") {
			value = ""
		}
		for _, comment := range []string{" #", "\t#"} {
			value, _, _ = strings.Cut(value, comment)
		}
		value = strings.TrimSpace(value)
	}
	p.values[name] = value
}

// quoted takes a value in quotes. In double quotes a backslash makes n, r and t
// control characters and any other character itself, when that is needed.
func (p *parser) quoted(quote byte) (string, bool) {
	var b strings.Builder
	for i := 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == quote:
			p.line += strings.Count(p.text[:i], "\n")
			p.text = p.text[i+1:]
			return b.String(), true
		case c == '\\' && quote == '"' && i+1 < len(p.text):
			i++
			switch e := p.text[i]; e {
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case 't':
				b.WriteByte('\t')
			case '"', '\\', '$', '`':
				b.WriteByte(e)
			default:
				b.WriteByte('\\')
				b.WriteByte(e)
			}
		case c == '\r' && i+1 < len(p.text) && p.text[i+1] == '\n': // a file with CRLF
		default:
			b.WriteByte(c)
		}
	}
	p.text = ""
	return "", false
}

func validName(s string) bool {
	for i, c := range []byte(s) {
		switch {
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case '0' <= c && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}
