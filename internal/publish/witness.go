package publish

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/attest"
	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Witness says what the record knows of how files were made.
type Witness struct{ Blobs blob.Store }

// Build is what is known of how an artifact of a job was made. What was not kept of what
// its steps did is a gap, and no error.
func (w *Witness) Build(ctx context.Context, run *record.Run, job *record.JobRun, saved *record.ArtifactSaved) *attest.Build {
	var seen []attest.Seen
	for _, e := range saved.Earlier {
		seen = append(seen, attest.Seen{Step: e.Step, Observation: w.observation(ctx, e.Kept)})
	}
	b := attest.OfRun(run, job, seen, attest.Workstation)
	b.Temporary = []string{os.TempDir(), "/tmp", "/var/tmp"}
	if run.Verdict != plan.Success {
		b.Gaps = append(b.Gaps, "the run did not succeed: "+string(run.Verdict))
	}
	return b
}

func (w *Witness) observation(ctx context.Context, digest string) *record.Observation {
	if digest == "" {
		return nil
	}
	r, err := w.Blobs.Open(ctx, blob.Digest(digest))
	if err != nil {
		return nil
	}
	defer r.Close()
	o, err := harvest.ReadObservation(r)
	if err != nil {
		return nil
	}
	return o
}

// Statements are those about the artifacts of a run, one for each job's artifact.
func (w *Witness) Statements(ctx context.Context, run *record.Run) ([]*attest.Statement, error) {
	var list []*attest.Statement
	for _, id := range run.Order {
		j := run.Jobs[id]
		for k := range j.Artifacts {
			s := &j.Artifacts[k]
			if s.Digest == "" {
				continue
			}
			b := w.Build(ctx, run, j, s)
			digest, _ := s.Given() // what people have in hand
			b.Subjects = []attest.Subject{{Name: s.Name, Digest: digest}}
			one, err := b.Statement()
			if err != nil {
				return nil, err
			}
			list = append(list, one)
		}
	}
	return list, nil
}

// maxEnvelope bounds the bytes of a statement that was kept.
const maxEnvelope = 128 << 20

// Published are the sealed statements of releases about the file with that digest.
func (w *Witness) Published(ctx context.Context, r Reader, digest string) ([][]byte, error) {
	all, err := Publications(ctx, r, "")
	if err != nil {
		return nil, err
	}
	var list [][]byte
	seen := map[string]bool{}
	for _, one := range all {
		for _, a := range one.Assets {
			if a.Digest != digest || a.Provenance == "" || seen[a.Provenance] {
				continue
			}
			seen[a.Provenance] = true
			body, err := w.Blobs.Open(ctx, blob.Digest(a.Provenance))
			if err != nil {
				return nil, fmt.Errorf("open the provenance of %s %s: %w", a.Name, one.Tag, err)
			}
			text, err := io.ReadAll(io.LimitReader(body, maxEnvelope))
			body.Close()
			if err != nil {
				return nil, fmt.Errorf("read the provenance of %s %s: %w", a.Name, one.Tag, err)
			}
			list = append(list, text)
		}
	}
	return list, nil
}

// Kept are the statements about runs that kept the file with that digest, newest first, of
// the newest runs of the record.
func (w *Witness) Kept(ctx context.Context, runs Runs, digest string) ([]*attest.Statement, error) {
	heads, err := runs.Runs(ctx, store.RunFilter{Limit: maxRuns})
	if err != nil {
		return nil, err
	}
	var list []*attest.Statement
	for _, h := range heads {
		run, err := runs.Run(ctx, h.ID)
		if err != nil {
			return nil, err
		}
		all, err := w.Statements(ctx, run)
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			if s.Has(strings.TrimPrefix(digest, "sha256:")) {
				list = append(list, s)
			}
		}
	}
	return list, nil
}
