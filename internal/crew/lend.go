package crew

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// What a server lends a worker for a job: the secrets that it names, its tree, and what
// other jobs of the run have saved.

// tokenName is the secret that every job has, as code hosts give it to all: actions use it
// without naming it.
const tokenName = "GITHUB_TOKEN"

// secretsOf are the secrets that a job names. Of a job that asks for all of them at once,
// nobody can say which it means.
func secretsOf(j *plan.Job, secrets map[string]string) map[string]string {
	data, err := json.Marshal(j)
	if err != nil || len(secrets) == 0 {
		return nil
	}
	text := strings.ToLower(string(data))
	all := false
	for rest := text; !all; {
		i := strings.Index(rest, "secrets")
		if i < 0 {
			break
		}
		rest = rest[i+len("secrets"):]
		// secrets.NAME names one; secrets['NAME'] too, but secrets[matrix.name] may
		// be any, as may toJSON(secrets).
		switch after := strings.TrimLeft(rest, " "); {
		case strings.HasPrefix(after, "['"):
		case after != "" && strings.Contains(")[,}", after[:1]), strings.HasPrefix(after, ".*"):
			all = true
		}
	}
	given := map[string]string{}
	for name, value := range secrets {
		if all || name == tokenName || strings.Contains(text, strings.ToLower(name)) {
			given[name] = value
		}
	}
	return given
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
		return "", &launch.UsageError{Message: "it has changes that are in no commit, which workers cannot have", Hint: "commit them first"}
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
	from map[blob.Digest]func(ctx context.Context) (io.ReadCloser, error)
}

// tell says where a blob can be had that is not here.
func (l *Lent) tell(d blob.Digest, from func(ctx context.Context) (io.ReadCloser, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.from == nil {
		l.from = map[blob.Digest]func(ctx context.Context) (io.ReadCloser, error){}
	}
	l.from[d] = from
}

func (l *Lent) source(d blob.Digest) func(ctx context.Context) (io.ReadCloser, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.from[d]
}

// Open implements [blob.Store]. What comes from the server is proved, and kept.
func (l *Lent) Open(ctx context.Context, d blob.Digest) (io.ReadCloser, error) {
	r, err := l.Store.Open(ctx, d)
	from := l.source(d)
	if from == nil || !errors.Is(err, blob.ErrNotFound) {
		return r, err
	}
	body, err := from(ctx)
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
