package launch

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Archive is the runs that there were.
type Archive interface {
	Run(ctx context.Context, id string) (*record.Run, error)
	Runs(ctx context.Context, f store.RunFilter) ([]store.RunHead, error)
}

// maxUpstream is how many runs are looked at for a job that went well.
const maxUpstream = 50

// Upstream finds the newest run of another project that went well at a branch or tag, and in
// it a job by its name: the run's ID and the job's. It is asked on behalf of a run. On a
// server, what strangers made reads nothing of others, and runs of a repository
// read other repositories only from branches that not everybody writes.
func Upstream(ctx context.Context, runs Archive, on, project, ref, job string) (run, id string, err error) {
	asks, err := runs.Run(ctx, on)
	if err != nil {
		return "", "", fmt.Errorf("read run %s: %w", on, err)
	}
	if asks.Planned == nil {
		return "", "", fmt.Errorf("run %s: %w", on, store.ErrNotFound)
	}
	same := asks.Planned.Change != nil && asks.Planned.Change.Repository == project
	if o := asks.Planned.Origin; o != nil {
		switch {
		case o.Trust == record.Untrusted:
			return "", "", errors.New("a change from a fork reads nothing of other runs")
		case !same && o.Trust != record.Protected:
			return "", "", errors.New("only runs of protected branches and tags read what other repositories made")
		}
	}
	heads, err := runs.Runs(ctx, store.RunFilter{Repository: project, Branch: strings.TrimPrefix(ref, "refs/heads/"), Verdict: plan.Success, Limit: maxUpstream})
	if err != nil {
		return "", "", err
	}
	for _, h := range heads {
		if h.Origin != nil && (h.Origin.Pushed || h.Origin.Trust == record.Untrusted) {
			continue // somebody's word, or a stranger's work
		}
		r, err := runs.Run(ctx, h.ID)
		if err != nil {
			return "", "", fmt.Errorf("read run %s: %w", h.ID, err)
		}
		if j, err := FindJob(r, job); err == nil && j.Verdict == plan.Success {
			return r.ID, j.ID, nil
		}
	}
	if len(heads) == 0 {
		return "", "", fmt.Errorf("no run of %s at %s that went well is in the record", project, ref)
	}
	return "", "", fmt.Errorf("none of the %d newest runs of %s at %s that went well has a job %s", len(heads), project, ref, job)
}
