package docker

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/client"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of what is sent to be built.
const (
	maxContext     = 4 << 30 // bytes
	maxIgnoreRules = 10_000
)

// builds are named after what they were made from, so that the same files are
// built once.
const buildName = "fairlead/build"

// recipe is a build whose files have been looked at.
type recipe struct {
	dir    string
	file   string // the Dockerfile, a slash path below dir
	build  *plan.Build
	ignore *ignore
	target string
	fresh  bool // without what the daemon remembers of earlier builds
	parent bool // base images are fetched, even if they are there
}

// read looks at what is to be built.
func readRecipe(b *plan.Build, workspace string) (*recipe, error) {
	r := &recipe{dir: b.Dir, file: filepath.ToSlash(b.File), build: b}
	if !filepath.IsAbs(r.dir) {
		r.dir = filepath.Join(workspace, r.dir)
	}
	if r.file == "" {
		r.file = "Dockerfile"
	}
	words := plan.Words(b.Options)
	for len(words) > 0 {
		name, value, given := strings.Cut(words[0], "=")
		words = words[1:]
		next := func() string {
			if !given && len(words) > 0 {
				value, words = words[0], words[1:]
			}
			return value
		}
		switch name {
		case "--target":
			r.target = next()
		case "--no-cache":
			r.fresh = true
		case "--pull":
			r.parent = true
		case "--rm", "--force-rm", "-q", "--quiet":
		case "--build-arg":
			k, v, _ := strings.Cut(next(), "=")
			args := maps.Clone(b.Args)
			if args == nil {
				args = map[string]string{}
			}
			args[k] = v
			b = &plan.Build{Dir: b.Dir, File: b.File, Args: args}
			r.build = b
		case "-f", "--file":
			r.file = filepath.ToSlash(next())
		default:
			return nil, fmt.Errorf("the option %s of docker build is not known: --target, --build-arg, --file, --no-cache and --pull are", name)
		}
	}
	if filepath.IsAbs(r.file) {
		rel, err := filepath.Rel(r.dir, r.file)
		if err != nil || !filepath.IsLocal(rel) {
			return nil, fmt.Errorf("the Dockerfile %s is outside of %s", r.file, r.dir)
		}
		r.file = filepath.ToSlash(rel)
	}
	r.file = path.Clean(r.file)
	if !filepath.IsLocal(r.file) {
		return nil, fmt.Errorf("the Dockerfile %s is outside of %s", r.file, r.dir)
	}
	text, err := os.ReadFile(filepath.Join(r.dir, filepath.FromSlash(r.file)))
	if err != nil {
		return nil, fmt.Errorf("read the Dockerfile: %w", err)
	}
	if why := modern(text); why != "" {
		return nil, fmt.Errorf("%s needs BuildKit (%s), which only the docker command drives: build the image in a step of its own", r.file, why)
	}
	r.ignore, err = readIgnore(r.dir, r.file)
	return r, err
}

var modernWords = regexp.MustCompile(`(?im)^\s*(?:RUN|COPY|ADD)\s[^\n]*(--mount=\S*|<<-?["']?\w+|--link|--chmod=\S+)`)

// modern is what in a Dockerfile the classic builder does not understand, "" for nothing.
func modern(text []byte) string {
	if m := modernWords.FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return ""
}

// tag is the image's name: a digest of all that goes into it.
func (r *recipe) tag() (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q\n", r.file, r.target)
	for _, name := range slices.Sorted(maps.Keys(r.build.Args)) {
		fmt.Fprintf(h, "%q=%q\n", name, r.build.Args[name])
	}
	if err := r.pack(h); err != nil {
		return "", err
	}
	return buildName + ":" + hex.EncodeToString(h.Sum(nil))[:40], nil
}

// pack writes the files of the build as a tar, the same for the same files.
func (r *recipe) pack(w io.Writer) error {
	tw := tar.NewWriter(w)
	total := int64(0)
	err := filepath.WalkDir(r.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(r.dir, name)
		if err != nil || rel == "." {
			return err
		}
		rel = filepath.ToSlash(rel)
		if rel != r.file && rel != ".dockerignore" && r.ignore.out(rel) {
			if d.IsDir() && !r.ignore.exceptions && !strings.HasPrefix(r.file, rel+"/") {
				return fs.SkipDir
			}
			return nil // of a directory, something may be let in
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		link := ""
		switch {
		case info.Mode().Type() == fs.ModeSymlink:
			if link, err = os.Readlink(name); err != nil {
				return err
			}
		case !info.IsDir() && !info.Mode().IsRegular():
			return nil // a socket or the like: docker leaves it out, too
		}
		if total += info.Size(); total > maxContext {
			return fmt.Errorf("the files to build from are more than %d bytes; name in .dockerignore what is not needed", int64(maxContext))
		}
		head := &tar.Header{Name: rel, Linkname: link, Mode: int64(info.Mode().Perm()), Format: tar.FormatPAX}
		switch {
		case info.IsDir():
			head.Typeflag, head.Name = tar.TypeDir, rel+"/"
		case link != "":
			head.Typeflag = tar.TypeSymlink
		default:
			head.Typeflag, head.Size = tar.TypeReg, info.Size()
		}
		if err := tw.WriteHeader(head); err != nil || head.Typeflag != tar.TypeReg {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyN(tw, f, head.Size)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the files to build from: %w", err)
	}
	return tw.Close()
}

// build has the image of a recipe here. Its messages go to log.
func (d *daemon) build(ctx context.Context, r *recipe, log io.Writer) (*image, error) {
	tag, err := r.tag()
	if err != nil {
		return nil, err
	}
	if !r.fresh && !r.parent {
		if i, err := d.inspect(ctx, tag); err == nil {
			return i, nil
		}
	}
	opts := client.ImageBuildOptions{
		Tags: []string{tag}, Dockerfile: r.file, Target: r.target, Remove: true, ForceRemove: true, NoCache: r.fresh, PullParent: r.parent,
		Version: build.BuilderV1, BuildArgs: map[string]*string{}, Labels: map[string]string{labelBuilt: "yes"},
	}
	for name, value := range r.build.Args {
		opts.BuildArgs[name] = &value
	}
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(r.pack(pw)) }()
	defer pr.Close()
	resp, err := d.ImageBuild(ctx, pr, opts)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", r.file, plain(err))
	}
	defer resp.Body.Close()
	last := &lastLines{out: log}
	if _, err := progress(resp.Body, last); err != nil {
		return nil, fmt.Errorf("build %s: %w%s", r.file, err, last.told())
	}
	return d.inspect(ctx, tag)
}

// lastLines passes text on and remembers the end of it.
type lastLines struct {
	out io.Writer
	buf []byte
}

const lastBytes = 4 << 10

func (l *lastLines) Write(p []byte) (int, error) {
	l.buf = append(l.buf, p...)
	if n := len(l.buf) - lastBytes; n > 0 {
		l.buf = slices.Delete(l.buf, 0, n)
	}
	if l.out == nil {
		return len(p), nil
	}
	return l.out.Write(p)
}

// told is what it remembers, for the end of an error.
func (l *lastLines) told() string {
	text := strings.TrimSpace(strings.ToValidUTF8(string(l.buf), "\uFFFD"))
	if text == "" {
		return ""
	}
	return ":\n" + text
}

// ignore are the rules of a .dockerignore, of which the last that matches counts.
type ignore struct {
	rules      []ignoreRule
	exceptions bool
}

type ignoreRule struct {
	re *regexp.Regexp
	in bool // an exception: !pattern
}

// readIgnore reads Dockerfile.dockerignore or .dockerignore.
func readIgnore(dir, dockerfile string) (*ignore, error) {
	g := &ignore{}
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(dockerfile)+".dockerignore"))
	if errors.Is(err, fs.ErrNotExist) {
		data, err = os.ReadFile(filepath.Join(dir, ".dockerignore"))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read .dockerignore: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	for lines.Scan() {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		if len(g.rules) == maxIgnoreRules {
			return nil, fmt.Errorf(".dockerignore has more than %d rules", maxIgnoreRules)
		}
		text, in := strings.CutPrefix(text, "!")
		text = strings.TrimPrefix(path.Clean("/"+filepath.ToSlash(strings.TrimSpace(text))), "/")
		re, err := regexp.Compile(ignorePattern(text))
		if err != nil {
			return nil, fmt.Errorf(".dockerignore: the pattern %q cannot be read", text)
		}
		g.rules = append(g.rules, ignoreRule{re, in})
		g.exceptions = g.exceptions || in
	}
	return g, lines.Err()
}

// ignorePattern is a pattern as a regular expression that matches a path, or
// any below it: * and ? within a name, ** across names, [a-z].
func ignorePattern(text string) string {
	var b strings.Builder
	b.WriteString("^")
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case strings.HasPrefix(text[i:], "**/"):
			b.WriteString("(?:.*/)?")
			i += 2
		case strings.HasPrefix(text[i:], "**"):
			b.WriteString(".*")
			i++
		case c == '*':
			b.WriteString("[^/]*")
		case c == '?':
			b.WriteString("[^/]")
		case c == '[':
			end := strings.IndexByte(text[i:], ']')
			if end < 0 {
				b.WriteString(`\[`)
				continue
			}
			b.WriteString(text[i : i+end+1])
			i += end
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteString(regexp.QuoteMeta(text[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(text[i : i+1]))
		}
	}
	b.WriteString("(?:/.*)?$")
	return b.String()
}

func (g *ignore) out(rel string) bool {
	out := false
	for _, r := range g.rules {
		if r.re.MatchString(rel) {
			out = !r.in
		}
	}
	return out
}
