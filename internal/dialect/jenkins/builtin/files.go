package builtin

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
)

// readFile gives a file's text.
func readFile(k *call) error {
	name := k.arg("file")
	f, err := os.Open(k.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return failf("java.nio.file.NoSuchFileException: %s", k.path(name))
	}
	if err != nil {
		return blame("read "+name, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		return failf("read %s: it is not a plain file", name)
	}
	body, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return blame("read "+name, err)
	}
	if len(body) > maxText {
		return failf("%s has more than %d bytes, which a pipeline does not read", name, maxText)
	}
	text, err := decode(body, k.arg("encoding"))
	if err != nil {
		return failf("read %s: %v", name, err)
	}
	k.output(OutText, text)
	return nil
}

// decode is the text of bytes in a Java charset.
func decode(body []byte, encoding string) (string, error) {
	switch strings.ToUpper(strings.ReplaceAll(encoding, "_", "-")) {
	case "", "UTF-8", "UTF8", "US-ASCII", "ASCII":
		return strings.ToValidUTF8(string(body), "\uFFFD"), nil
	case "BASE64":
		return base64.StdEncoding.EncodeToString(body), nil
	case "ISO-8859-1", "LATIN1", "WINDOWS-1252":
		var b strings.Builder
		for _, c := range body {
			b.WriteRune(rune(c))
		}
		return b.String(), nil
	}
	return "", fmt.Errorf("the encoding %.40q is not known", encoding)
}

// encode is the reverse of decode.
func encode(text, encoding string) ([]byte, error) {
	switch strings.ToUpper(strings.ReplaceAll(encoding, "_", "-")) {
	case "", "UTF-8", "UTF8", "US-ASCII", "ASCII":
		return []byte(text), nil
	case "BASE64":
		return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	case "ISO-8859-1", "LATIN1", "WINDOWS-1252":
		out := make([]byte, 0, len(text))
		for _, r := range text {
			if r > 0xff || r == utf8.RuneError {
				r = '?'
			}
			out = append(out, byte(r))
		}
		return out, nil
	}
	return nil, fmt.Errorf("the encoding %.40q is not known", encoding)
}

// writeFile writes a text to a file, making the directories above it.
func writeFile(k *call) error {
	name := k.arg("file")
	body, err := encode(k.arg("text"), k.arg("encoding"))
	if err != nil {
		return failf("write %s: %v", name, err)
	}
	file := k.path(name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return blame("write "+name, err)
	}
	return blame("write "+name, os.WriteFile(file, body, 0o644))
}

// touch makes a file, or makes it new.
func touch(k *call) error {
	file := k.path(k.arg("file"))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return blame("touch "+k.arg("file"), err)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return blame("touch "+k.arg("file"), err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	now := time.Now()
	return blame("touch "+k.arg("file"), os.Chtimes(file, now, now))
}

func fileExists(k *call) error {
	_, err := os.Stat(k.path(k.arg("file")))
	k.output(OutFound, fmt.Sprint(err == nil))
	return nil
}

// digest is a file's digest, by the algorithm of the step that asks.
func digest(k *call) error {
	sums := map[string]func() hash.Hash{"sha256": sha256.New, "sha1": sha1.New, "sha512": sha512.New, "md5": md5.New}
	make, ok := sums[k.arg("algorithm")]
	if !ok {
		return failf("there is no algorithm %.40q", k.arg("algorithm"))
	}
	f, err := os.Open(k.path(k.arg("file")))
	if err != nil {
		return blame("read "+k.arg("file"), err)
	}
	defer f.Close()
	h := make()
	if _, err := io.Copy(h, f); err != nil {
		return blame("read "+k.arg("file"), err)
	}
	k.output(OutText, hex.EncodeToString(h.Sum(nil)))
	return nil
}

// Found is a file as findFiles tells of it.
type Found struct {
	Name      string `json:"name"`
	Path      string `json:"path"`
	Directory bool   `json:"directory"`
	Length    int64  `json:"length"`
	Modified  int64  `json:"lastModified"` // milliseconds since 1970
}

// findFiles lists what a pattern selects, or what is in the directory.
func findFiles(k *call) error {
	var names []string
	if k.arg("glob") == "" {
		entries, err := os.ReadDir(k.Dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return blame("list the files", err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
	} else {
		var err error
		if names, err = k.selectFiles(k.Dir, k.arg("glob"), k.arg("excludes"), false); err != nil {
			return err
		}
	}
	found := []Found{}
	for _, name := range names {
		info, err := os.Stat(filepath.Join(k.Dir, name))
		if err != nil {
			continue // it is gone, or a link to nowhere
		}
		f := Found{Name: path.Base(name), Path: name, Directory: info.IsDir(), Length: info.Size(), Modified: info.ModTime().UnixMilli()}
		if f.Directory {
			f.Path, f.Length = name+"/", 0
		}
		found = append(found, f)
	}
	text, err := json.Marshal(found)
	if err != nil {
		return err
	}
	k.output(OutJSON, string(text))
	return nil
}

// deleteDir removes the current directory and all that is in it.
func deleteDir(k *call) error {
	if !k.own(k.Dir) {
		return failf("deleteDir: %s is not one of the job's own directories, and stays", k.Dir)
	}
	if k.Dir == k.Scope.Dirs.Workspace {
		return empty(k.Dir, func(string) bool { return true })
	}
	return os.RemoveAll(k.Dir)
}

// empty removes what is in a directory and is chosen, by its first name.
func empty(dir string, chosen func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if chosen(e.Name()) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// cleanWs removes what its patterns select, and without any everything.
func cleanWs(k *call) error {
	k.say("[WS-CLEANUP] Deleting project workspace...")
	if !k.own(k.Dir) {
		return failf("cleanWs: %s is not one of the job's own directories, and stays", k.Dir)
	}
	include, exclude := k.arg("include"), k.arg("exclude")
	if include == "" && exclude == "" {
		if err := empty(k.Dir, func(string) bool { return true }); err != nil {
			return err
		}
		k.say("[WS-CLEANUP] done")
		return nil
	}
	if include == "" {
		include = "**"
	}
	names, err := k.selectFiles(k.Dir, include, exclude, false)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Remove(filepath.Join(k.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	k.say("[WS-CLEANUP] done")
	return nil
}

// sleep waits, so that a pipeline that is resumed does not wait again.
func sleep(k *call) error {
	d, err := time.ParseDuration(k.arg("duration"))
	if err != nil {
		return err
	}
	k.say("Sleeping for %s", k.arg("words"))
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-k.ctx.Done():
		return k.ctx.Err()
	case <-t.C:
		return nil
	}
}

// credentialFile writes a credential's bytes where the steps that need it
// find them, or takes them away. Its file is readable by its owner alone.
func credentialFile(k *call) error {
	file := k.arg("file")
	if rel, err := filepath.Rel(k.Scope.Dirs.Temp, file); err != nil || !filepath.IsLocal(rel) {
		return fmt.Errorf("the file of a credential is not below %s", k.Scope.Dirs.Temp)
	}
	if k.flag("remove", false) {
		return os.RemoveAll(filepath.Dir(file))
	}
	body, ok := k.Scope.Secrets[k.arg("secret")]
	if !ok {
		return failf("Could not find credentials entry with ID '%s'", k.arg("secret"))
	}
	if k.flag("base64", false) {
		plain, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(body), ""))
		if err != nil {
			return failf("the secret %s is not in base64: a key store has bytes that are no text", k.arg("secret"))
		}
		body = string(plain)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	if k.flag("line", false) && !strings.HasSuffix(body, "\n") {
		body += "\n" // a key of ssh ends with one
	}
	return os.WriteFile(file, []byte(body), 0o600)
}

// usual are the files that Ant leaves out unless it is told not to.
var usual = [...]string{
	"**/*~", "**/#*#", "**/.#*", "**/%*%", "**/._*", "**/CVS", "**/CVS/**", "**/.cvsignore", "**/SCCS", "**/SCCS/**",
	"**/vssver.scc", "**/.svn", "**/.svn/**", "**/.git", "**/.git/**", "**/.gitattributes", "**/.gitignore", "**/.gitmodules",
	"**/.hg", "**/.hg/**", "**/.hgignore", "**/.hgsub", "**/.hgsubstate", "**/.hgtags", "**/.bzr", "**/.bzr/**", "**/.bzrignore", "**/.DS_Store",
}

// patterns are the patterns of a list as Ant writes them: between commas or
// blanks, a slash at the end meaning all below.
func patterns(list string) ([]string, error) {
	var out []string
	for _, p := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' }) {
		p = strings.TrimPrefix(strings.ReplaceAll(p, `\`, "/"), "./")
		if strings.HasSuffix(p, "/") {
			p += "**"
		}
		if !doublestar.ValidatePattern(p) {
			return nil, failf("%.80q is no pattern of files", p)
		}
		// What doublestar has beyond Ant is literal there.
		p = strings.NewReplacer("[", `\[`, "]", `\]`, "{", `\{`, "}", `\}`).Replace(p)
		out = append(out, p)
	}
	return out, nil
}

// selectFiles lists the files below dir that the patterns select, slash names
// in order. With usuals the files that Ant leaves out are left out.
func (k *call) selectFiles(dir, include, exclude string, usuals bool) ([]string, error) {
	in, err := patterns(include)
	if err != nil {
		return nil, err
	}
	out, err := patterns(exclude)
	if err != nil {
		return nil, err
	}
	if usuals {
		out = append(out, usual[:]...)
	}
	matches := func(list []string, name string) bool {
		for _, p := range list {
			if ok, _ := doublestar.Match(p, name); ok {
				return true
			}
		}
		return false
	}
	var names []string
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if err := k.ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if d.IsDir() {
			if usuals && d.Name() == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		if !matches(in, name) || matches(out, name) {
			return nil
		}
		if len(names) == maxFiles {
			return failf("the pattern %.80q selects more than %d files", include, maxFiles)
		}
		names = append(names, name)
		return nil
	})
	if err != nil {
		return nil, blame("look for files", err)
	}
	return names, nil
}
