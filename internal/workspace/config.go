package workspace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Limits on what is read from a repository's own files, which may come from
// anywhere.
const (
	maxConfigBytes   = 4 << 20
	maxConfigDepth   = 10 // nested includes, as in git
	maxRefBytes      = 4 << 10
	maxPackedRefs    = 256 << 20
	maxIndexBytes    = 1 << 30
	maxIgnoreBytes   = 16 << 20
	maxSymrefDepth   = 5 // as in git
	maxObjectBytes   = 16 << 20
	maxSubmoduleNest = 32
)

// setting is one line of a git configuration: section.sub.key = value. Section
// and key are lower case, sub is as written. A key without "=" has the value
// "true".
type setting struct{ section, sub, key, value string }

// settings are lines in order; later lines win.
type settings []setting

func (s settings) get(section, sub, key string) (string, bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if e := &s[i]; e.key == key && e.section == section && e.sub == sub {
			return e.value, true
		}
	}
	return "", false
}

func (s settings) truth(section, key string) bool {
	v, ok := s.get(section, "", key)
	if !ok {
		return false
	}
	switch strings.ToLower(v) {
	case "", "false", "no", "off", "0":
		return false
	}
	return true
}

// errConditional says that a configuration has conditional includes, which
// are left to git.
var errConditional = errors.New("conditional includes")

// parseConfig reads the text of a git configuration file (git-config(1),
// "Syntax").
func parseConfig(text []byte) (settings, error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	p := configParser{text: text, line: 1}
	for {
		p.space()
		switch c, ok := p.peek(); {
		case !ok:
			return p.out, nil
		case c == '\n':
			p.next()
		case c == '#' || c == ';':
			p.comment()
		case c == '[':
			if err := p.header(); err != nil {
				return nil, err
			}
		default:
			if err := p.setting(); err != nil {
				return nil, err
			}
		}
	}
}

type configParser struct {
	text         []byte
	at, line     int
	section, sub string
	out          settings
}

func (p *configParser) peek() (byte, bool) {
	// CRLF counts as LF.
	if p.at+1 < len(p.text) && p.text[p.at] == '\r' && p.text[p.at+1] == '\n' {
		p.at++
	}
	if p.at >= len(p.text) {
		return 0, false
	}
	return p.text[p.at], true
}

func (p *configParser) next() (byte, bool) {
	c, ok := p.peek()
	if ok {
		p.at++
		if c == '\n' {
			p.line++
		}
	}
	return c, ok
}

func (p *configParser) space() {
	for {
		if c, ok := p.peek(); !ok || c != ' ' && c != '\t' && c != '\r' {
			return
		}
		p.next()
	}
}

func (p *configParser) comment() {
	for {
		if c, ok := p.peek(); !ok || c == '\n' {
			return
		}
		p.next()
	}
}

func (p *configParser) bad(what string) error { return fmt.Errorf("line %d: %s", p.line, what) }

func isKeyByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-'
}

func (p *configParser) header() error {
	p.next()
	var name []byte
	for {
		c, ok := p.next()
		switch {
		case !ok || c == '\n':
			return p.bad("section header without its end")
		case c == ']':
			p.section, p.sub = strings.ToLower(string(name)), ""
			// The old form [section.sub] has a sub that ignores case.
			if s, sub, ok := strings.Cut(p.section, "."); ok {
				p.section, p.sub = s, sub
			}
			if p.section == "" {
				return p.bad("section without a name")
			}
			return nil
		case c == ' ' || c == '\t':
			p.space()
			if c, _ := p.next(); c != '"' {
				return p.bad("subsection without its quote")
			}
			var sub []byte
			for {
				c, ok := p.next()
				if ok && c == '\\' {
					c, ok = p.next()
				} else if c == '"' {
					break
				}
				if !ok || c == '\n' {
					return p.bad("subsection without its end")
				}
				sub = append(sub, c)
			}
			if c, _ := p.next(); c != ']' {
				return p.bad("section header without its end")
			}
			p.section, p.sub = strings.ToLower(string(name)), string(sub)
			return nil
		case isKeyByte(c) || c == '.':
			name = append(name, c)
		default:
			return p.bad("bad character in a section's name")
		}
	}
}

func (p *configParser) setting() error {
	if p.section == "" {
		return p.bad("a setting outside of any section")
	}
	start := p.at
	for {
		if c, ok := p.peek(); !ok || !isKeyByte(c) {
			break
		}
		p.next()
	}
	key := strings.ToLower(string(p.text[start:p.at]))
	if key == "" {
		return p.bad("bad character in a setting's name")
	}
	p.space()
	c, ok := p.peek()
	value := "true"
	switch {
	case !ok || c == '\n' || c == '#' || c == ';':
	case c == '=':
		p.next()
		v, err := p.value()
		if err != nil {
			return err
		}
		value = v
	default:
		return p.bad("a setting without =")
	}
	p.out = append(p.out, setting{p.section, p.sub, key, value})
	return nil
}

func (p *configParser) value() (string, error) {
	p.space()
	var v []byte
	keep := 0 // spaces at the end do not count unless quoted
	quoted := false
	for {
		c, ok := p.next()
		switch {
		case !ok || c == '\n':
			if quoted {
				return "", p.bad("a value without its closing quote")
			}
			return string(v[:keep]), nil
		case c == '"':
			quoted = !quoted
			keep = len(v)
			continue
		case !quoted && (c == '#' || c == ';'):
			p.comment()
			return string(v[:keep]), nil
		case c == '\\':
			c, ok = p.next()
			switch {
			case !ok:
				return string(v[:keep]), nil
			case c == '\n':
				continue
			case c == 'n':
				c = '\n'
			case c == 't':
				c = '\t'
			case c == 'b':
				c = '\b'
			case c == '\\' || c == '"':
			default:
				return "", p.bad("unknown escape in a value")
			}
			v = append(v, c)
			keep = len(v)
			continue
		}
		v = append(v, c)
		if quoted || c != ' ' && c != '\t' && c != '\r' {
			keep = len(v)
		}
	}
}

// readConfig reads a configuration file and those it includes. A file that is
// not there holds nothing.
func readConfig(path string, depth int) (settings, error) {
	if path == os.DevNull { // how people say: no such configuration
		return nil, nil
	}
	text, err := readLimited(path, maxConfigBytes)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	own, err := parseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var all settings
	for _, e := range own {
		switch {
		case e.section == "includeif":
			return nil, errConditional
		case e.section == "include" && e.sub == "" && e.key == "path":
			if depth >= maxConfigDepth {
				return nil, fmt.Errorf("%s: includes nested deeper than %d", path, maxConfigDepth)
			}
			inner, err := readConfig(expandHome(e.value, filepath.Dir(path)), depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, inner...)
		default:
			all = append(all, e)
		}
	}
	return all, nil
}

// expandHome resolves a path of a configuration: ~ is the home directory,
// relative paths start at base.
func expandHome(path, base string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(base, path)
}

// userConfigFiles are the files of the machine and the account, weakest first.
func userConfigFiles() []string {
	var files []string
	if no := os.Getenv("GIT_CONFIG_NOSYSTEM"); no == "" || no == "0" || no == "false" {
		if f, ok := os.LookupEnv("GIT_CONFIG_SYSTEM"); ok {
			files = append(files, f)
		} else {
			files = append(files, "/etc/gitconfig")
		}
	}
	if f, ok := os.LookupEnv("GIT_CONFIG_GLOBAL"); ok {
		return append(files, f)
	}
	if dir := accountConfigDir(); dir != "" {
		files = append(files, filepath.Join(dir, "config"))
	}
	if home, err := os.UserHomeDir(); err == nil {
		files = append(files, filepath.Join(home, ".gitconfig"))
	}
	return files
}

// accountConfigDir is where git looks for the account's files besides
// ~/.gitconfig, "" when there is no home.
func accountConfigDir() string {
	if x := os.Getenv("XDG_CONFIG_HOME"); x != "" {
		return filepath.Join(x, "git")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".config", "git")
	}
	return ""
}

// readLimited reads a regular file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file: %w", path, fs.ErrInvalid)
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes is more than the limit of %d", path, st.Size(), limit)
	}
	// One byte more than it said, so that the end is seen in one read.
	b := make([]byte, 0, st.Size()+1)
	for {
		n, err := f.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
		if int64(len(b)) > limit {
			return nil, fmt.Errorf("%s: more than the limit of %d bytes", path, limit)
		}
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
	}
}
