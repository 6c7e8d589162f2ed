package cli

import (
	"bytes"
	"context"

	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/attest"
	"github.com/fairlead-dev/fairlead/internal/publish"
)

// maxBundle is the size of the largest file of statements that is read.
const maxBundle = 256 << 20

// provenanceCommand is `fairlead provenance`.
func (g *global) provenanceCommand() *cobra.Command {
	var dir, bundle, keys string
	c := &cobra.Command{
		Use:   "provenance FILE|DIGEST|RUN",
		Short: "Say how a file was made, or verify what is said of it",
		Long: `Say how a file was made: by which run, job and builder, from which commit, out of which
files, talking to whom. The statements are in-toto's, with SLSA's provenance of version 1, and are
made from the record; --output json shows them as they are.

FILE is a file here, DIGEST the SHA-256 of one (sha256:…), and RUN a run whose
artifacts are meant: a number, or counted back: last or -1, -2 …

With --verify, the statements of a release (provenance.intoto.jsonl) are checked: that one of
them is about the FILE, and that one of the keys has signed it. Nothing is asked of
anybody, so this works anywhere. Without --keys, the key of this machine counts. The
exit code is 1 when the file is not what the statements speak of, or nobody known has
signed them.`,
		Example: `  fairlead provenance dist/app.tar.gz
  fairlead provenance last --output json
  fairlead provenance app.tar.gz --verify provenance.intoto.jsonl --keys release.pub`,
		Args: args("FILE|DIGEST|RUN"),
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&bundle, "verify", "", "check the statements in this `file`")
	f.StringVar(&keys, "keys", "", "`file` with the public keys that count (PEM)")
	f.StringVarP(&dir, "dir", "C", ".", "`directory` of the repository, for runs")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		if bundle != "" {
			return g.verifyProvenance(cmd.Context(), a[0], bundle, keys)
		}
		if keys != "" {
			return usage("add --verify FILE", "--keys says whose signatures count, and nothing is to be verified")
		}
		return g.showProvenance(cmd.Context(), a[0], dir)
	}
	return c
}

// fileDigest is the digest that a person means: of a file, or as it is written.
func fileDigest(name string) (digest string, ok bool, err error) {
	if strings.HasPrefix(name, "sha256:") {
		return strings.ToLower(name), true, nil
	}
	if !regular(name) {
		return "", false, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	digest, err = publish.DigestOf(f)
	return digest, true, err
}

// showProvenance shows what the record knows.
func (g *global) showProvenance(ctx context.Context, name, dir string) (err error) {
	digest, isFile, err := fileDigest(name)
	if err != nil {
		return err
	}
	var list []*attest.Statement
	if isFile {
		tools, err := g.open(ctx)
		if err != nil {
			return err
		}
		defer tools.Close()
		sealed, err := tools.Witness.Published(ctx, tools.Store, digest)
		if err != nil {
			return err
		}
		for _, text := range sealed {
			s, err := attest.Open(text, nil)
			if s == nil {
				return err
			}
			list = append(list, s)
		}
		if len(list) == 0 {
			if list, err = tools.Witness.Kept(ctx, tools.History, digest); err != nil {
				return err
			}
		}
		if len(list) == 0 {
			return usage("it was not kept by any run, nor released, on this machine", "nothing is known of how %s was made", name)
		}
	} else {
		o, err := g.look(ctx, new(site), name, dir)
		if err != nil {
			return err
		}
		defer o.Close()
		if list, err = o.archive.(near).Witness.Statements(ctx, o.run); err != nil {
			return err
		}
	}
	if g.json() {
		if list == nil {
			list = []*attest.Statement{}
		}
		return writeJSON(g.Stdout, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(g.Stderr, "the run kept no files")
	}
	for k, s := range list {
		if k > 0 {
			fmt.Fprintln(g.Stdout)
		}
		g.statement(s)
	}
	return nil
}

// statement is a statement for people.
func (g *global) statement(s *attest.Statement) {
	st := g.style(g.Stdout)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(g.Stdout, "  %-9s %s\n", name, shown(fmt.Sprintf(format, args...)))
	}
	for _, x := range s.Subject {
		fmt.Fprintf(g.Stdout, "%s %s\n", st.bold(shown(x.Name)), st.dim("sha256:"+shown(x.Digest["sha256"])))
	}
	d, r := &s.Predicate.BuildDefinition, &s.Predicate.RunDetails
	p := d.ExternalParameters
	if command, ok := p["command"].(string); ok {
		row("made by", "command %s", command)
	} else {
		row("made by", "%v, job %v, of %v", r.Metadata.InvocationID, p["job"], p["pipeline"])
	}
	row("builder", "%s %s", r.Builder.ID, r.Builder.Version["fairlead"])
	if at := r.Metadata.FinishedOn; at != nil {
		row("at", "%s", at.Format("2006-01-02 15:04:05Z07:00"))
	}
	files, peers := 0, 0
	for _, m := range d.ResolvedDependencies {
		switch {
		case m.Name == "source":
			row("source", "%s %s", m.URI, m.Digest["gitCommit"])
		case strings.HasPrefix(m.URI, "file:"):
			files++
		case m.Annotations["kind"] == "peer":
			peers++
		default:
			row("used", "%s %s", m.Name, m.URI)
		}
	}
	row("read", "%s, talked to %s", plural(files, "file"), plural(peers, "address"))
	row("seen", "%v", d.InternalParameters["observed"])
	switch gaps := d.InternalParameters["unobserved"].(type) {
	case []string:
		for _, gap := range gaps {
			row("", "%s", gap)
		}
	case []any:
		for _, gap := range gaps {
			row("", "%v", gap)
		}
	}
}

// verifyProvenance checks the statements of a file.
func (g *global) verifyProvenance(ctx context.Context, name, bundle, keys string) error {
	digest, isFile, err := fileDigest(name)
	if err != nil {
		return err
	}
	if !isFile {
		return usage("name a file that is here", "there is no file %q to verify", name)
	}
	known, err := g.publicKeys(ctx, keys)
	if err != nil {
		return err
	}
	f, err := os.Open(bundle)
	if err != nil {
		return usage("name the file provenance.intoto.jsonl of the release", "--verify: %v", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBundle+1))
	if err != nil {
		return err
	}
	if len(text) > maxBundle {
		return usage("", "%s is larger than %d MiB", bundle, maxBundle>>20)
	}
	bad := fmt.Errorf("no statement in %s is about it: it is not the file that was released", bundle)
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		s, err := attest.Open(line, known)
		switch {
		case s == nil:
			bad = err
		case s.Has(digest) && err == nil:
			if g.json() {
				return writeJSON(g.Stdout, s)
			}
			fmt.Fprintf(g.Stdout, "%s is what was released, and signed\n", shown(name))
			g.statement(s)
			return nil
		case s.Has(digest):
			bad = err
		}
	}
	fmt.Fprintf(g.Stderr, "fairlead: %s %s cannot be believed: %s\n", shown(name), shown(digest), shown(bad.Error()))
	return exit(ExitFailed)
}

// publicKeys are those of a file, or of this machine.
func (g *global) publicKeys(ctx context.Context, name string) ([]attest.PublicKey, error) {
	if name != "" {
		text, err := os.ReadFile(name)
		if err == nil {
			var keys []attest.PublicKey
			if keys, err = attest.ParseKeys(text); err == nil {
				return keys, nil
			}
		}
		return nil, usage("name the file of public keys of whoever released it: release.pub", "--keys: %v", err)
	}
	tools, err := g.open(ctx)
	if err != nil {
		return nil, err
	}
	key, err := tools.ReleaseKey()
	if err = errors.Join(err, tools.Close()); err != nil {
		return nil, err
	}
	return []attest.PublicKey{key.Public()}, nil
}
