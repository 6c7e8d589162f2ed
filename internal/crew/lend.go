package crew

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// What a server lends a worker for a job: the secrets that it names, its tree, and what
// other jobs of the run have saved.

// tokenName is the secret that every job has, as code hosts give it to all: actions use it
// without naming it.
const tokenName = "GITHUB_TOKEN"

var (
	secretWord  = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)
	secretNamed = regexp.MustCompile(`(?i)\bsecrets\s*(?:\.\s*|\[\s*['"])([a-z_][a-z0-9_]*)`)
	// secretAny names none: toJSON(secrets), secrets.*, secrets[matrix.name].
	secretAny = regexp.MustCompile(`(?i)\bsecrets\s*(?:[),}]|\.\s*\*|\[\s*[^'"\s\\])`)
)

// secretsOf are the secrets that a job names, in whatever language: by their name alone, or
// as secrets.NAME or secrets['NAME'], where upper and lower case are the same. Of a job
// that asks for all of them at once, nobody can say which it means; nor of one whose
// steps are programs, whose text is not in the plan: the run was given what its text names.
func secretsOf(j *plan.Job, secrets map[string]string) map[string]string {
	if len(secrets) == 0 {
		return nil
	}
	text := textsOf(j)
	given := map[string]string{}
	words := map[string]bool{}
	for _, w := range secretWord.FindAllString(text, -1) {
		words[w] = true
	}
	for _, m := range secretNamed.FindAllStringSubmatch(text, -1) {
		words[strings.ToUpper(m[1])] = true
	}
	all := secretAny.MatchString(text) || slices.ContainsFunc(j.Steps, func(s plan.Step) bool {
		return s.Run == nil && s.Use == nil && s.Wait == nil && s.Cancel == "" && s.Parallel == nil
	})
	for name, value := range secrets {
		if all || name == tokenName || words[name] || words[strings.ToUpper(name)] {
			given[name] = value
		}
	}
	return given
}

// textsOf are all texts in a job, a line each.
func textsOf(j *plan.Job) string {
	data, err := json.Marshal(j)
	var tree any
	if err == nil {
		err = json.Unmarshal(data, &tree)
	}
	if err != nil {
		return "secrets.*" // it may name any: what cannot be written is not given away anyhow
	}
	var text strings.Builder
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			text.WriteString(v)
			text.WriteByte('\n')
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			for name, x := range v {
				walk(name)
				walk(x)
			}
		}
	}
	walk(tree)
	return text.String()
}

// GitTrees are the checkouts that runs were started in.
type GitTrees struct{}

// Head implements [Trees].
func (GitTrees) Head(ctx context.Context, c *plan.Context) (string, error) {
	tree, err := workspace.Open(ctx, c.Root)
	if err != nil {
		return "", err
	}
	defer tree.Close()
	if c.Change.Dirty {
		return "", &plan.UsageError{Message: "it has changes that are in no commit, which workers cannot have", Hint: "commit them first"}
	}
	return tree.Head(ctx)
}

// Bundle implements [Trees].
func (GitTrees) Bundle(ctx context.Context, c *plan.Context, have []string, to io.Writer) error {
	tree, err := workspace.Open(ctx, c.Root)
	if err != nil {
		return err
	}
	defer tree.Close()
	return tree.Bundle(ctx, to, have)
}

// proving is a reader that fails at the end of bytes that do not have the digest.
func proving(r io.Reader, d blob.Digest) io.Reader {
	return &proof{r: r, sum: sha256.New(), want: d}
}

type proof struct {
	r    io.Reader
	sum  hash.Hash
	want blob.Digest
}

func (p *proof) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.sum.Write(b[:n])
	if errors.Is(err, io.EOF) && blob.FromSum(p.sum.Sum(nil)) != p.want {
		return n, fmt.Errorf("%w: these are not the bytes of %s", ErrUnsound, p.want)
	}
	return n, err
}

// Lent are the blobs of a worker: its own, and those of its server that jobs were told
// of.
type Lent struct {
	blob.Store

	mu   sync.Mutex
	lent map[Ref]*lending
}

// lending is what a job was told of.
type lending struct {
	digests map[blob.Digest]bool
	open    func(ctx context.Context, d blob.Digest) (io.ReadCloser, error)
}

// tell says which blobs a job may have that are not here, until it is forgotten.
func (l *Lent) tell(ref Ref, x *lending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lent == nil {
		l.lent = map[Ref]*lending{}
	}
	l.lent[ref] = x
}

func (l *Lent) forget(ref Ref) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.lent, ref)
}

// source is where a blob can be had; nil for nowhere.
func (l *Lent) source(d blob.Digest) *lending {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.lent {
		if x.digests[d] {
			return x
		}
	}
	return nil
}

// Open implements [blob.Store]. What comes from the server is proved, and kept.
func (l *Lent) Open(ctx context.Context, d blob.Digest) (io.ReadCloser, error) {
	r, err := l.Store.Open(ctx, d)
	from := l.source(d)
	if from == nil || !errors.Is(err, blob.ErrNotFound) {
		return r, err
	}
	body, err := from.open(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("ask the server for %s: %w", d, err)
	}
	_, _, err = l.Put(ctx, proving(body, d))
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, fmt.Errorf("bring %s from the server: %w", d, err)
	}
	return l.Store.Open(ctx, d)
}

// Missing implements [blob.Store].
func (l *Lent) Missing(ctx context.Context, digests []blob.Digest) ([]blob.Digest, error) {
	missing, err := l.Store.Missing(ctx, digests)
	return slices.DeleteFunc(missing, func(d blob.Digest) bool { return l.source(d) != nil }), err
}
