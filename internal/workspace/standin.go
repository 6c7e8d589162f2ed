package workspace

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// standIn is the .git of a slot, made by hand for the working tree at a path
// below the top. HEAD, refs and index are the user's; the objects are reached as
// an alternate; of the configuration only what cannot run anything and holds no
// secret is taken over. Hooks, logs and stashes stay behind.
//
// The index is copied as it is. It stays valid because slots keep the sources'
// times of modification and the configuration tells git to compare only these
// and the sizes: no git in a slot reads 20,000 files again to learn that they
// are what they were.
//
// With split the index may be in two halves.
func (r *repository) standIn(at string, split bool) (*node, error) {
	top := &node{name: ".git", path: join(at, ".git"), perm: 0o755}
	b := standInBuilder{top: top}
	for _, f := range []struct{ name, from string }{
		{"HEAD", filepath.Join(r.git, "HEAD")},
		{"index", filepath.Join(r.git, "index")},
		{"packed-refs", filepath.Join(r.common, "packed-refs")},
		{"shallow", filepath.Join(r.common, "shallow")},
		{"info/attributes", filepath.Join(r.common, "info", "attributes")},
		{"info/exclude", filepath.Join(r.common, "info", "exclude")},
		{"info/sparse-checkout", filepath.Join(r.git, "info", "sparse-checkout")},
	} {
		b.copy(f.name, f.from)
	}
	if split {
		halves, err := filepath.Glob(filepath.Join(globQuote(r.git), "sharedindex.*"))
		if err != nil {
			return nil, fmt.Errorf("find the shared index of %s: %w", r.git, err)
		}
		for _, h := range halves {
			b.copy(filepath.Base(h), h)
		}
	}
	if r.tables {
		b.all("reftable", filepath.Join(r.common, "reftable"))
	}
	b.all("refs", filepath.Join(r.common, "refs"))
	for _, d := range []string{"refs/heads", "refs/tags", "objects/info", "objects/pack"} {
		b.dir(d).stays = true
	}
	b.make("config", r.standInConfig())
	b.make("objects/info/alternates", alternate(filepath.Join(r.common, "objects")))
	if b.err != nil {
		return nil, fmt.Errorf("read %s: %w", r.git, b.err)
	}
	sortNodes(top)
	return top, nil
}

// standInBuilder builds a tree of nodes file by file.
type standInBuilder struct {
	top *node
	err error
}

func (b *standInBuilder) dir(path string) *node {
	n := b.top
	for part := range strings.SplitSeq(path, "/") {
		i := slices.IndexFunc(n.dirs, func(d *node) bool { return d.name == part })
		if i < 0 {
			i = len(n.dirs)
			n.dirs = append(n.dirs, &node{name: part, path: join(n.path, part), perm: 0o755})
		}
		n = n.dirs[i]
	}
	return n
}

func (b *standInBuilder) add(path string, f file) {
	n := b.top
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		n, path = b.dir(path[:i]), path[i+1:]
	}
	f.name = path
	n.files = append(n.files, f)
}

// copy takes over a file of the user's, if there is one.
func (b *standInBuilder) copy(path, from string) {
	var st unix.Stat_t
	err := statAt(unix.AT_FDCWD, from, &st)
	l := lookOf(&st)
	if err != nil || !l.is(unix.S_IFREG) && !l.is(unix.S_IFLNK) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) && b.err == nil {
			b.err = err
		}
		return
	}
	b.add(path, file{look: l, dev: uint64(st.Dev), links: uint64(st.Nlink), from: from, git: true})
}

// all takes over a directory of the user's.
func (b *standInBuilder) all(path, from string) {
	entries, err := os.ReadDir(from)
	if err != nil {
		return // no refs but packed ones
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case strings.HasSuffix(name, ".lock"): // a ref being written
		case e.IsDir():
			b.dir(path + "/" + name)
			b.all(path+"/"+name, filepath.Join(from, name))
		default:
			b.copy(path+"/"+name, filepath.Join(from, name))
		}
	}
}

// make adds a file whose content is given.
func (b *standInBuilder) make(path string, body []byte) {
	sum := sha256.Sum256(body)
	// A made file is recognised by its content.
	l := look{size: int64(len(body)), ino: binary.LittleEndian.Uint64(sum[:]), mode: unix.S_IFREG | 0o644}
	b.add(path, file{look: l, body: body, made: true})
}

func sortNodes(n *node) {
	sort.Slice(n.files, func(i, j int) bool { return n.files[i].name < n.files[j].name })
	sort.Slice(n.dirs, func(i, j int) bool { return n.dirs[i].name < n.dirs[j].name })
	for _, d := range n.dirs {
		sortNodes(d)
	}
}

// alternate is the content of objects/info/alternates.
func alternate(objects string) []byte {
	if strings.ContainsAny(objects, "\"\n\\") || strings.HasPrefix(objects, "#") {
		objects = strconv.Quote(objects)
	}
	return []byte(objects + "\n")
}

func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// What a slot's configuration takes over: nothing that names a program, a
// credential or another file.
var standInKeys = map[string][]string{
	"core":       {"filemode", "ignorecase", "autocrlf", "eol", "safecrlf", "symlinks", "precomposeunicode", "quotepath", "abbrev", "repositoryformatversion", "sparsecheckout", "sparsecheckoutcone"},
	"extensions": {"objectformat", "refstorage", "partialclone", "compatobjectformat"},
	"index":      {"sparse"},
	"user":       {"name", "email"},
	"init":       {"defaultbranch"},
	"remote":     {"url", "pushurl", "fetch", "tagopt", "promisor", "partialclonefilter"},
	"branch":     {"remote", "merge"},
	"submodule":  {"url", "active"},
}

func (r *repository) standInConfig() []byte {
	var b strings.Builder
	b.WriteString("# Made by fairlead for this job.\n")
	section, sub := "", ""
	put := func(e setting) {
		if e.section != section || e.sub != sub {
			section, sub = e.section, e.sub
			b.WriteString("[" + section)
			if sub != "" {
				b.WriteString(` "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(sub) + `"`)
			}
			b.WriteString("]\n")
		}
		b.WriteString("\t" + e.key + " = " + quoteConfig(e.value) + "\n")
	}
	for _, e := range r.local {
		if !slices.Contains(standInKeys[e.section], e.key) || strings.ContainsAny(e.sub, "\n\x00") {
			continue
		}
		if e.key == "url" || e.key == "pushurl" {
			e.value = r.publicURL(e.value)
		}
		put(e)
	}
	for _, e := range (settings{
		{"core", "", "bare", "false"},
		{"core", "", "logallrefupdates", "true"},
		// See standIn: the copies have other inodes and changed later.
		{"core", "", "checkstat", "minimal"},
		{"core", "", "trustctime", "false"},
		{"core", "", "untrackedcache", "false"},
		{"core", "", "fsmonitor", "false"},
		{"gc", "", "auto", "0"},
		{"maintenance", "", "auto", "false"},
	}) {
		put(e)
	}
	return []byte(b.String())
}

// publicURL is a remote's address without credentials; a relative path, which
// would mean another place in the slot, is made absolute.
func (r *repository) publicURL(url string) string {
	if remote, err := parseRemote(url); err == nil && remote.local != "" && !strings.Contains(url, "://") {
		if !filepath.IsAbs(url) {
			return filepath.Join(r.work, url)
		}
		return url
	}
	return withoutCredentials(url)
}

func quoteConfig(v string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "\b", `\b`).Replace(v) + `"`
}

// fresh reports whether a file changed so lately that its clock may not yet
// tell a second change from the first.
func fresh(l look, at time.Time) bool {
	step := clockStep
	if l.ctime%1e9 == 0 { // a file system that counts seconds
		step = 2 * time.Second
	}
	return l.ctime > at.Add(-step).UnixNano()
}
