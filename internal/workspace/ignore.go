package workspace

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// rules are the ignore rules in force in a directory (gitignore(5)): its own,
// then those of the directories above, then those of the repository and the
// account. The last rule that matches decides.
type rules struct {
	above *rules
	base  int // bytes of the path, slash counted, that the patterns do not see
	list  []pattern
}

// pattern is one line of an ignore file.
type pattern struct {
	text    string
	not     bool // "!": what matches is not ignored
	dirOnly bool // ended in a slash
	path    bool // held a slash: matches the whole path and not the last name
	how     matchKind
}

// matchKind lets the usual patterns do without the matcher.
type matchKind uint8

const (
	matchGlob   matchKind = iota
	matchSame             // no wildcard
	matchSuffix           // "*" and then no wildcard
)

const maxPatternBytes = 4096

// parseIgnore reads the text of an ignore file.
func parseIgnore(text []byte) []pattern {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	var all []pattern
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
		if len(line) == 0 || line[0] == '#' || len(line) > maxPatternBytes {
			continue
		}
		s := trimSpaces(strings.TrimSuffix(string(line), "\r"))
		var p pattern
		if strings.HasPrefix(s, "!") {
			p.not, s = true, s[1:]
		}
		if strings.HasSuffix(s, "/") {
			p.dirOnly, s = true, s[:len(s)-1]
		}
		p.path = strings.Contains(s, "/")
		s = strings.TrimPrefix(s, "/")
		if s == "" {
			continue
		}
		p.text = s
		switch {
		case !strings.ContainsAny(s, "*?[\\"):
			p.how = matchSame
		case !p.path && s[0] == '*' && !strings.ContainsAny(s[1:], "*?[\\"):
			p.how = matchSuffix
		}
		all = append(all, p)
	}
	return all
}

// trimSpaces takes spaces off the end unless a backslash keeps them.
func trimSpaces(s string) string {
	end := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ' ':
		case '\\':
			i++
			end = min(i+1, len(s))
		default:
			end = i + 1
		}
	}
	return s[:end]
}

// ignored decides about a path (relative to the repository's root, slashes)
// whose directories are not ignored.
func (r *rules) ignored(path string, isDir, fold bool) bool {
	name := path[strings.LastIndexByte(path, '/')+1:]
	for ; r != nil; r = r.above {
		for i := len(r.list) - 1; i >= 0; i-- {
			p := &r.list[i]
			if p.dirOnly && !isDir {
				continue
			}
			text := name
			if p.path {
				text = path[r.base:]
			}
			if p.matches(text, fold) {
				return !p.not
			}
		}
	}
	return false
}

func (p *pattern) matches(text string, fold bool) bool {
	if fold {
		return wildmatch(strings.ToLower(p.text), strings.ToLower(text))
	}
	switch p.how {
	case matchSame:
		return text == p.text
	case matchSuffix:
		return strings.HasSuffix(text, p.text[1:])
	}
	return wildmatch(p.text, text)
}

// maxMatchSteps bounds what a pattern full of stars may cost; a match that
// needs more is none.
const maxMatchSteps = 1 << 16

// wildmatch matches a path against a pattern: "*" and "?" stop at slashes,
// "**" between slashes does not.
func wildmatch(pattern, text string) bool {
	steps := maxMatchSteps
	return match(pattern, text, true, &steps)
}

// match does the work; start says that the pattern begins anew or after a
// slash.
func match(p, t string, start bool, steps *int) bool {
	for len(p) > 0 {
		if *steps--; *steps < 0 {
			return false
		}
		c := p[0]
		switch c {
		case '*':
			stars := 1
			for stars < len(p) && p[stars] == '*' {
				stars++
			}
			rest := p[stars:]
			deep := stars > 1 && start && (rest == "" || rest[0] == '/' || strings.HasPrefix(rest, "\\/"))
			if deep && rest != "" {
				// "**/" is any number of directories, also none.
				after := rest[strings.IndexByte(rest, '/')+1:]
				if match(after, t, true, steps) {
					return true
				}
			}
			if rest == "" {
				return deep || strings.IndexByte(t, '/') < 0
			}
			for i := 0; ; i++ {
				if match(rest, t[i:], false, steps) {
					return true
				}
				if *steps < 0 || i >= len(t) || t[i] == '/' && !deep {
					return false
				}
			}
		case '?':
			if t == "" || t[0] == '/' {
				return false
			}
			p, t = p[1:], t[1:]
		case '[':
			if t == "" || t[0] == '/' {
				return false
			}
			rest, ok := matchClass(p, t[0])
			if !ok {
				return false
			}
			p, t = rest, t[1:]
		default:
			if c == '\\' {
				if len(p) < 2 {
					return false // nothing to quote
				}
				p = p[1:]
				c = p[0]
			}
			if t == "" || t[0] != c {
				return false
			}
			p, t = p[1:], t[1:]
		}
		start = c == '/'
	}
	return t == ""
}

// matchClass matches one byte against the bracket expression that p begins
// with and returns what follows it.
func matchClass(p string, c byte) (rest string, ok bool) {
	i := 1
	not := i < len(p) && (p[i] == '!' || p[i] == '^')
	if not {
		i++
	}
	found, prev := false, -1
	for first := true; ; first = false {
		if i >= len(p) {
			return "", false // no end: matches nothing
		}
		d := p[i]
		if d == ']' && !first {
			break
		}
		switch {
		case d == '-' && prev >= 0 && i+1 < len(p) && p[i+1] != ']':
			i++
			if p[i] == '\\' {
				if i++; i >= len(p) {
					return "", false
				}
			}
			if prev <= int(c) && c <= p[i] {
				found = true
			}
			prev = -1
			i++
			continue
		case d == '[' && i+1 < len(p) && p[i+1] == ':':
			end := strings.IndexByte(p[i+2:], ']')
			if end < 0 {
				return "", false
			}
			if end == 0 || p[i+2+end-1] != ':' {
				// No name after all: the bracket stands for itself.
				if c == '[' {
					found = true
				}
				prev = '['
				i++
				continue
			}
			in, known := posixClass(p[i+2:i+2+end-1], c)
			if !known {
				return "", false
			}
			found = found || in
			prev = -1
			i += 2 + end + 1
			continue
		case d == '\\':
			if i++; i >= len(p) {
				return "", false
			}
			d = p[i]
		}
		if d == c {
			found = true
		}
		prev = int(d)
		i++
	}
	return p[i+1:], found != not
}

func posixClass(name string, c byte) (in, known bool) {
	lower, upper, digit := 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9'
	graph := ' ' < c && c < 0x7f
	switch name {
	case "alnum":
		return lower || upper || digit, true
	case "alpha":
		return lower || upper, true
	case "blank":
		return c == ' ' || c == '\t', true
	case "cntrl":
		return c < ' ' || c == 0x7f, true
	case "digit":
		return digit, true
	case "graph":
		return graph, true
	case "lower":
		return lower, true
	case "print":
		return graph || c == ' ', true
	case "punct":
		return graph && !lower && !upper && !digit, true
	case "space":
		return c == ' ' || '\t' <= c && c <= '\r', true
	case "upper":
		return upper, true
	case "xdigit":
		return digit || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F', true
	}
	return false, false
}

// ignoreRules are the rules of the account and the repository, which hold in
// every directory.
func (r *repository) ignoreRules(ctx context.Context) (top *rules, fold bool, err error) {
	cfg, err := r.config(ctx)
	if err != nil {
		return nil, false, err
	}
	account, ok := cfg.get("core", "", "excludesfile")
	if ok {
		account = expandHome(account, r.work)
	} else if dir := accountConfigDir(); dir != "" {
		account = filepath.Join(dir, "ignore")
	}
	for _, file := range []string{account, filepath.Join(r.common, "info", "exclude")} {
		if file == "" {
			continue
		}
		if text, err := readLimited(file, maxIgnoreBytes); err == nil {
			if list := parseIgnore(text); len(list) > 0 {
				top = &rules{above: top, list: list}
			}
		}
	}
	return top, cfg.truth("core", "ignorecase"), nil
}

// readIgnore reads .gitignore of an open directory; a link is not followed.
func readIgnore(dir int) []pattern {
	fd, err := openAt(dir, ".gitignore", unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	l, err := lookFd(fd)
	if err != nil || !l.is(unix.S_IFREG) || l.size > maxIgnoreBytes {
		return nil
	}
	text := make([]byte, l.size)
	for n := 0; n < len(text); {
		m, err := retry(func() (int, error) { return unix.Read(fd, text[n:]) })
		if err != nil || m == 0 {
			text = text[:n]
			break
		}
		n += m
	}
	return parseIgnore(text)
}
