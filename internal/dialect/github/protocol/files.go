package protocol

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf16"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// The environment files of a step: the variable that tells where one is, its
// name, and how much it may hold.
var environmentFiles = [...]struct {
	variable, name string
	limit          int64
}{
	{"GITHUB_ENV", "env", maxFile},
	{"GITHUB_OUTPUT", "output", maxFile},
	{"GITHUB_PATH", "path", maxFile},
	{"GITHUB_STATE", "state", maxFile},
	{"GITHUB_STEP_SUMMARY", "step_summary", maxSummary},
	{"GITHUB_ARTIFACTS", "artifacts", maxDeclared},
	// Not for the step to write: what the job has declared so far.
	{"GITHUB_ARTIFACTS_LIST", "artifacts_list", 0},
}

// listFile is the index of GITHUB_ARTIFACTS_LIST.
const listFile = len(environmentFiles) - 1

// fileSet is a directory with the environment files of one step. All are
// there, since the official library refuses to append to a file that is not.
//
// Making and removing files is slow where every step does it (ext4 passes over
// inodes that were free a moment ago: milliseconds a file), so a set serves
// one step after another. A file that a step has touched is removed and made
// anew, and the directory gets a name that no earlier step knows.
type fileSet struct {
	root    *os.Root
	dir     string // absolute
	there   [len(environmentFiles)]bool
	list    []byte    // what GITHUB_ARTIFACTS_LIST holds,
	written time.Time // since then
}

// files takes a set for a step, one that is idle or a new one.
func (j *Job) files() (*fileSet, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dir == "" {
		temp, err := filepath.Abs(j.opt.Temp)
		if err != nil {
			return nil, err
		}
		j.dir = filepath.Join(temp, "_commands_"+rand.Text())
	}
	dir := filepath.Join(j.dir, rand.Text())
	for len(j.idle) > 0 {
		s := j.idle[len(j.idle)-1]
		j.idle = j.idle[:len(j.idle)-1]
		// The step before may have emptied its temporary directory, and ours
		// with it: then this set is gone.
		if err := os.Rename(s.dir, dir); err == nil {
			s.dir = dir
			if err := s.fill(j.list); err == nil {
				return s, nil
			}
		}
		s.root.Close()
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	s := &fileSet{root: root, dir: dir}
	if err := s.fill(j.list); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return s, nil
}

// fill makes the files that are not there.
func (s *fileSet) fill(list []byte) error {
	if s.there[listFile] && !bytes.Equal(s.list, list) {
		s.remove(listFile)
	}
	for i, f := range environmentFiles {
		if s.there[i] {
			continue
		}
		w, err := s.root.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		if i == listFile {
			_, err = w.Write(list)
			if fi, e := w.Stat(); e == nil {
				s.list, s.written = list, fi.ModTime()
			}
		}
		if err := errors.Join(err, w.Close()); err != nil {
			return err
		}
		s.there[i] = true
	}
	return nil
}

// remove removes a file, or whatever a step has put in its place.
func (s *fileSet) remove(i int) error {
	s.there[i] = false
	name := environmentFiles[i].name
	if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.root.RemoveAll(name)
	}
	return nil
}

// Env implements [dialect.Listener].
func (l *listener) Env() map[string]string {
	env := make(map[string]string, len(environmentFiles))
	for _, f := range environmentFiles {
		env[f.variable] = filepath.Join(l.files.dir, f.name)
	}
	return env
}

// Close implements [dialect.Listener]. What is wrong in one file does not keep
// the others from being read; what stood before a bad line counts.
func (l *listener) Close() (plan.Effects, error) {
	var r reply
	files := l.files
	if files == nil {
		return r.said, nil
	}
	l.files = nil
	path := l.path
	var errs []error
	for i, f := range environmentFiles {
		fi, err := files.root.Lstat(f.name)
		if err == nil && fi.Mode().IsRegular() {
			if i == listFile {
				if fi.Size() == int64(len(files.list)) && fi.ModTime().Equal(files.written) {
					continue
				}
			} else if fi.Size() == 0 {
				continue
			}
		}
		if i != listFile {
			var text []byte
			switch {
			case errors.Is(err, fs.ErrNotExist): // as good as empty
			case err != nil:
				l.trouble(f.variable, fmt.Errorf("cannot be read: %w", err), &r)
			default:
				if text, err = files.read(f.name, fi, f.limit); err != nil {
					l.trouble(f.variable, err, &r)
				}
			}
			switch f.variable {
			case "GITHUB_ENV":
				l.env(text, &r)
			case "GITHUB_OUTPUT":
				r.said.Outputs = l.settings(f.variable, text, &r)
			case "GITHUB_PATH":
				path = append(path, l.paths(text, &r)...)
			case "GITHUB_STATE":
				r.said.State = l.settings(f.variable, text, &r)
			case "GITHUB_STEP_SUMMARY":
				r.said.Summary = text
			case "GITHUB_ARTIFACTS":
				r.said.Artifacts = l.declare(text, &r)
			}
		}
		errs = append(errs, files.remove(i))
	}
	r.said.Path = newestFirst(path)

	l.job.mu.Lock()
	l.job.idle = append(l.job.idle, files)
	l.job.mu.Unlock()
	if err := errors.Join(errs...); err != nil {
		return r.said, fmt.Errorf("remove environment files: %w", err)
	}
	return r.said, nil
}

// trouble tells of a file that cannot be used. It fails the step, but for a
// summary, which never does.
func (l *listener) trouble(variable string, err error, r *reply) {
	message := "$" + variable + " " + err.Error()
	if variable == "GITHUB_STEP_SUMMARY" {
		l.remark(r, plan.ErrorLevel, message)
	} else {
		l.fail(r, message)
	}
}

// read returns the text of a file as UTF-8. The error continues a sentence
// that begins with the file's variable. The step may have put anything in the
// file's place: what is not a regular file is neither waited for nor followed.
func (s *fileSet) read(name string, fi fs.FileInfo, limit int64) ([]byte, error) {
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("was replaced by %s: append to the file, do not replace it", describe(fi.Mode()))
	}
	f, err := s.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	defer f.Close()
	if fi, err = f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, errors.New("was replaced while it was read")
	}
	if fi.Size() > limit {
		return nil, tooLarge(fi.Size(), limit)
	}
	text := make([]byte, 0, fi.Size()+bytes.MinRead)
	buf := bytes.NewBuffer(text)
	if _, err := buf.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	if int64(buf.Len()) > limit {
		return nil, tooLarge(int64(buf.Len()), limit)
	}
	return decode(buf.Bytes()), nil
}

func tooLarge(size, limit int64) error {
	return fmt.Errorf("holds %d KiB; it may hold at most %d KiB", (size+1023)>>10, limit>>10)
}

func describe(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	}
	return "a device or a socket"
}

// decode makes UTF-8 of a file's bytes, as its byte order mark says: older
// PowerShell appends UTF-16. What is not valid becomes U+FFFD.
func decode(b []byte) []byte {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(b, []byte{0xEF, 0xBB, 0xBF}):
		b = b[3:]
	case bytes.HasPrefix(b, []byte{0xFF, 0xFE}):
		order = binary.LittleEndian
	case bytes.HasPrefix(b, []byte{0xFE, 0xFF}):
		order = binary.BigEndian
	}
	if order != nil {
		units := make([]uint16, 0, len(b)/2)
		for b = b[2:]; len(b) >= 2; b = b[2:] {
			units = append(units, order.Uint16(b))
		}
		return []byte(string(utf16.Decode(units)))
	}
	return bytes.ToValidUTF8(b, []byte("\uFFFD"))
}

// lineError is what is wrong with a line of an environment file.
type lineError struct {
	line    int // from 1
	message string
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.message) }

// lines walks through a text.
type lines struct {
	text string
	n    int // number of the line last returned
	crlf bool
}

// next returns the next line without its end.
func (s *lines) next() (string, bool) {
	if s.text == "" {
		return "", false
	}
	line, rest, ended := strings.Cut(s.text, "\n")
	s.text = rest
	s.n++
	if s.crlf && ended {
		line = strings.TrimSuffix(line, "\r")
	}
	return line, true
}

// parseSettings reads the form of GITHUB_ENV, GITHUB_OUTPUT and GITHUB_STATE:
//
//	NAME=VALUE
//	NAME<<DELIMITER
//	any lines
//	DELIMITER
//
// Whichever of = and << stands first in a line decides. Empty lines do not
// count. Settings before a bad line are returned with the error.
func parseSettings(text string, crlf bool) ([]plan.Setting, error) {
	var settings []plan.Setting
	s := lines{text: text, crlf: crlf}
	for {
		line, ok := s.next()
		if !ok {
			return settings, nil
		}
		if line == "" {
			continue
		}
		at := s.n
		equals, heredoc := strings.Index(line, "="), strings.Index(line, "<<")
		var name, value string
		switch {
		case equals < 0 && heredoc < 0:
			return settings, &lineError{at, fmt.Sprintf("%q is neither NAME=VALUE nor NAME<<DELIMITER.", truncate(line, 200))}
		case heredoc < 0 || equals >= 0 && equals < heredoc:
			name, value = line[:equals], line[equals+1:]
		default:
			var delimiter string
			name, delimiter = line[:heredoc], line[heredoc+2:]
			if delimiter == "" {
				return settings, &lineError{at, fmt.Sprintf("%q has no delimiter after the <<.", truncate(line, 200))}
			}
			if value, ok = s.until(delimiter); !ok {
				return settings, &lineError{at, fmt.Sprintf("the value of %s has no end: no line below is exactly %q.", truncate(name, 200), truncate(delimiter, 200))}
			}
		}
		if name == "" {
			return settings, &lineError{at, fmt.Sprintf("%q has no name.", truncate(line, 200))}
		}
		if len(settings) == maxSettings {
			return settings, &lineError{at, fmt.Sprintf("there are more than %d settings.", maxSettings)}
		}
		// Cloned, so that one small value does not keep the whole file.
		settings = append(settings, plan.Setting{Name: strings.Clone(name), Value: strings.Clone(value)})
	}
}

// until returns the lines before the one that is the delimiter, joined as they
// stand in the text.
func (s *lines) until(delimiter string) (string, bool) {
	text, end := s.text, 0
	for {
		from := len(text) - len(s.text)
		line, ok := s.next()
		if !ok {
			return "", false
		}
		if line == delimiter {
			return text[:end], true
		}
		end = from + len(line)
	}
}

// settings reads a file of settings; trouble fails the step.
func (l *listener) settings(variable string, text []byte, r *reply) []plan.Setting {
	settings, err := parseSettings(string(text), l.job.opt.CRLF)
	if err != nil {
		l.fail(r, "$"+variable+" "+err.Error())
	}
	return settings
}

// env reads GITHUB_ENV. Any name may be set but the blocked ones; GITHUB_* and
// RUNNER_* too, as the runner allows (GITHUB_TOKEN is often given so). The
// defaults of these names are put over it when the next step is resolved.
func (l *listener) env(text []byte, r *reply) {
	for _, s := range l.settings("GITHUB_ENV", text, r) {
		switch {
		case blocked(s.Name):
			l.remark(r, plan.ErrorLevel, "$GITHUB_ENV may not set "+s.Name+".")
		case strings.Contains(s.Name, "\x00") || strings.Contains(s.Value, "\x00"):
			l.fail(r, fmt.Sprintf("$GITHUB_ENV: %q holds a NUL byte, which no environment can.", truncate(s.Name, 200)))
		default:
			r.said.Env = append(r.said.Env, s)
		}
	}
}

// paths reads GITHUB_PATH: a directory a line, oldest first.
func (l *listener) paths(text []byte, r *reply) []string {
	var paths []string
	s := lines{text: string(text), crlf: true} // on every system
	for line, ok := s.next(); ok; line, ok = s.next() {
		line = strings.TrimSuffix(line, "\r")
		switch {
		case line == "":
		case strings.Contains(line, "\x00"):
			l.fail(r, fmt.Sprintf("$GITHUB_PATH line %d: holds a NUL byte.", s.n))
			return paths
		case len(paths) == maxSettings:
			l.fail(r, fmt.Sprintf("$GITHUB_PATH line %d: there are more than %d directories.", s.n, maxSettings))
			return paths
		default:
			paths = append(paths, strings.Clone(line))
		}
	}
	return paths
}

// newestFirst reverses a list of directories; of equal ones the newest stays.
func newestFirst(paths []string) []string {
	if len(paths) == 0 {
		return nil
	}
	var out []string
	seen := make(map[string]bool, len(paths))
	for _, p := range slices.Backward(paths) {
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}

// declared is an artifact that a step of the job has declared.
type declared struct {
	plan.Artifact
	kind string // "file" or "oci"
}

// listArtifacts renders the text of GITHUB_ARTIFACTS_LIST. j.mu is held.
func (j *Job) listArtifacts() error {
	type subject struct {
		Name   string `json:"name"`
		Digest string `json:"digest"`
		Kind   string `json:"kind"`
	}
	list := struct {
		Version  int       `json:"version"`
		Subjects []subject `json:"subjects"`
	}{1, []subject{}}
	for _, name := range slices.Sorted(maps.Keys(j.artifacts)) {
		d := j.artifacts[name]
		list.Subjects = append(list.Subjects, subject{name, d.Digest, d.kind})
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	j.list = text
	return nil
}

var (
	uriScheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.\-]*://`)
	ociDigest = regexp.MustCompile(`^(.+)@(sha256|sha384|sha512):([0-9a-fA-F]+)$`)
	hexDigits = map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}
)

// declare reads GITHUB_ARTIFACTS: one product of the step a line, a file (its
// name, or file://name, relative to the workspace) or a container image
// (reference@sha256:hex, or oci:// and that). Lines with # are comments, lines
// with = are kept for a later form. One bad line voids all of the file. The
// same name may come again with the same digest only.
func (l *listener) declare(text []byte, r *reply) []plan.Artifact {
	var found []declared
	var at []int
	s := lines{text: string(text), crlf: true}
	for line, ok := s.next(); ok; line, ok = s.next() {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if len(found) == 2*maxArtifacts { // each costs the reading of a file
			l.fail(r, fmt.Sprintf("$GITHUB_ARTIFACTS line %d: there are too many lines.", s.n))
			return nil
		}
		d, err := l.job.artifact(line)
		if err != nil {
			l.fail(r, fmt.Sprintf("$GITHUB_ARTIFACTS line %d: %v.", s.n, err))
			return nil
		}
		found, at = append(found, d), append(at, s.n)
	}

	j := l.job
	j.mu.Lock()
	defer j.mu.Unlock()
	var added []plan.Artifact
	defer func() {
		if err := j.listArtifacts(); err != nil {
			l.fail(r, "$GITHUB_ARTIFACTS: "+err.Error())
		}
	}()
	for i, d := range found {
		switch old, known := j.artifacts[d.Name]; {
		case known && old.Digest == d.Digest:
		case known:
			l.fail(r, fmt.Sprintf("$GITHUB_ARTIFACTS line %d: %q was declared before with another digest (%s, now %s).", at[i], d.Name, old.Digest, d.Digest))
			return added
		case len(j.artifacts) == maxArtifacts:
			l.fail(r, fmt.Sprintf("$GITHUB_ARTIFACTS line %d: the job has declared more than %d artifacts.", at[i], maxArtifacts))
			return added
		default:
			j.artifacts[d.Name] = d
			added = append(added, d.Artifact)
		}
	}
	return added
}

// artifact reads one line of GITHUB_ARTIFACTS.
func (j *Job) artifact(line string) (declared, error) {
	if strings.Contains(line, "=") {
		return declared{}, errors.New("a line may not hold \"=\"")
	}
	scheme, rest := uriScheme.FindString(line), line
	rest = rest[len(scheme):]
	switch strings.ToLower(scheme) {
	case "":
		if m := ociDigest.FindStringSubmatch(line); m != nil && len(m[3]) == hexDigits[m[2]] {
			return image(m)
		}
		return j.file(line)
	case "file://":
		if strings.TrimSpace(rest) == "" {
			return declared{}, errors.New("file:// needs a name")
		}
		return j.file(rest)
	case "oci://":
		m := ociDigest.FindStringSubmatch(rest)
		if m == nil {
			return declared{}, errors.New("oci:// needs a digest: @sha256:HEX")
		}
		return image(m)
	}
	return declared{}, fmt.Errorf("%s is not known: a line is a file, or a container image with its digest", scheme)
}

// image is an artifact from the parts of reference@algorithm:hex.
func image(m []string) (declared, error) {
	if want := hexDigits[m[2]]; len(m[3]) != want {
		return declared{}, fmt.Errorf("a %s digest has %d hex digits, not %d", m[2], want, len(m[3]))
	}
	return declared{plan.Artifact{Name: m[1], Digest: m[2] + ":" + strings.ToLower(m[3])}, "oci"}, nil
}

// file is an artifact from a file, which is read to know its digest.
func (j *Job) file(name string) (declared, error) {
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(j.opt.Workspace, path)
	}
	path = filepath.Clean(path)
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return declared{}, fmt.Errorf("%q does not exist (names are relative to the workspace)", name)
	case err != nil:
		return declared{}, fmt.Errorf("%q cannot be read: %w", name, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	switch {
	case err != nil:
		return declared{}, fmt.Errorf("%q cannot be read: %w", name, err)
	case !fi.Mode().IsRegular():
		return declared{}, fmt.Errorf("%q is %s, not a file", name, describe(fi.Mode()))
	case fi.Size() > maxArtifact:
		return declared{}, fmt.Errorf("%q is larger than %d GiB", name, maxArtifact>>30)
	}
	h := sha256.New()
	// A file that grows while it is read is read no further than the limit.
	size, err := io.Copy(h, bufio.NewReaderSize(io.LimitReader(f, maxArtifact), 1<<17))
	if err != nil {
		return declared{}, fmt.Errorf("%q cannot be read: %w", name, err)
	}
	return declared{plan.Artifact{
		Name:   filepath.Base(path),
		Digest: "sha256:" + hex.EncodeToString(h.Sum(nil)),
		Size:   size,
		Path:   j.relative(path),
	}, "file"}, nil
}
