package workspace

import (
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// CommitInfo is a commit.
type CommitInfo struct {
	SHA     string
	Tree    string
	Parents []string
	// Author made the change, Committer the commit.
	Author, Committer Signature
	Message           string // as written, with its line ends
}

// Signature is who and when.
type Signature struct {
	Name, Email string
	When        time.Time
}

// ErrNoCommit says that a revision names no commit of the repository.
var ErrNoCommit = errors.New("no such commit")

// Commit reads a commit. rev is whatever git understands: "HEAD", a branch, a
// tag, the beginning of a commit's name. Unknown ones are ErrNoCommit.
func (t *Tree) Commit(ctx context.Context, rev string) (CommitInfo, error) {
	if t.repo == nil {
		return CommitInfo{}, fmt.Errorf("commit %s: %s is not a git repository: %w", rev, t.root, ErrNoCommit)
	}
	return t.repo.commit(ctx, rev)
}

func (r *repository) commit(ctx context.Context, rev string) (CommitInfo, error) {
	if !plainWord(rev) {
		return CommitInfo{}, fmt.Errorf("commit %q: %w", rev, ErrNoCommit)
	}
	sha := rev
	if rev == "HEAD" {
		_, at, err := r.head(ctx)
		if err != nil {
			return CommitInfo{}, err
		}
		if at == "" {
			return CommitInfo{}, fmt.Errorf("commit HEAD: the repository has no commits yet: %w", ErrNoCommit)
		}
		sha = at
	}
	if last := r.last.Load(); last != nil && last.SHA == sha {
		return *last, nil
	}
	c, err := r.readCommit(ctx, rev, sha)
	if err == nil {
		r.last.Store(&c)
	}
	return c, err
}

func (r *repository) readCommit(ctx context.Context, rev, sha string) (CommitInfo, error) {
	if isSHA(sha) {
		if kind, body, err := r.looseObject(sha); err == nil && kind == "commit" {
			return parseCommit(sha, body)
		}
	}
	// Packed, or a name: git knows how.
	out, err := git{dir: r.work}.pipe(ctx, strings.NewReader(sha+"^{commit}\n"), "cat-file", "--batch")
	if err != nil {
		return CommitInfo{}, fmt.Errorf("commit %s: %w", rev, err)
	}
	head, body, ok := bytes.Cut(out, []byte("\n"))
	word := strings.Fields(string(head))
	if !ok || len(word) != 3 || word[1] != "commit" {
		return CommitInfo{}, fmt.Errorf("commit %s: %w", rev, ErrNoCommit)
	}
	return parseCommit(word[0], bytes.TrimSuffix(body, []byte("\n")))
}

// plainWord reports whether a word of the user's may stand among git's
// arguments: no option, nothing that ends a line.
func plainWord(s string) bool {
	return s != "" && s[0] != '-' && len(s) <= maxRefBytes && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func parseCommit(sha string, body []byte) (CommitInfo, error) {
	c := CommitInfo{SHA: sha}
	head, message, ok := bytes.Cut(body, []byte("\n\n"))
	if !ok {
		head = body
	}
	c.Message = string(message)
	for line := range strings.SplitSeq(string(head), "\n") {
		key, value, _ := strings.Cut(line, " ")
		switch key {
		case "tree":
			c.Tree = value
		case "parent":
			c.Parents = append(c.Parents, value)
		case "author":
			c.Author = parseSignature(value)
		case "committer":
			c.Committer = parseSignature(value)
		}
	}
	if c.Tree == "" {
		return c, fmt.Errorf("commit %s: malformed object", sha)
	}
	return c, nil
}

// parseSignature reads "Name <mail> seconds +hhmm".
func parseSignature(s string) Signature {
	var sig Signature
	open, end := strings.IndexByte(s, '<'), strings.LastIndexByte(s, '>')
	if open < 0 || end < open {
		sig.Name = s
		return sig
	}
	sig.Name, sig.Email = strings.TrimSpace(s[:open]), s[open+1:end]
	seconds, zone, _ := strings.Cut(strings.TrimSpace(s[end+1:]), " ")
	if n, err := strconv.ParseInt(seconds, 10, 64); err == nil {
		at := time.UTC
		if hm, err := strconv.Atoi(zone); err == nil && hm > -2400 && hm < 2400 {
			at = time.FixedZone("", (hm/100*60+hm%100)*60)
		}
		sig.When = time.Unix(n, 0).In(at)
	}
	return sig
}

// looseObject reads an object that is a file of its own.
func (r *repository) looseObject(sha string) (kind string, body []byte, err error) {
	f, err := os.Open(filepath.Join(r.common, "objects", sha[:2], sha[2:]))
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	z, err := zlib.NewReader(f)
	if err != nil {
		return "", nil, err
	}
	defer z.Close()
	data, err := io.ReadAll(io.LimitReader(z, maxObjectBytes+1))
	if err != nil {
		return "", nil, err
	}
	head, body, ok := bytes.Cut(data, []byte{0})
	kind, size, _ := strings.Cut(string(head), " ")
	if n, err := strconv.Atoi(size); !ok || err != nil || n != len(body) {
		return "", nil, fmt.Errorf("object %s is malformed or larger than %d bytes", sha, maxObjectBytes)
	}
	return kind, body, nil
}

// objectField is the first value of a field in an object's head.
func objectField(body []byte, key string) string {
	head, _, _ := bytes.Cut(body, []byte("\n\n"))
	for line := range strings.SplitSeq(string(head), "\n") {
		if k, v, _ := strings.Cut(line, " "); k == key {
			return v
		}
	}
	return ""
}
