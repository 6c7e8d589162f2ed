package client

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/server"
)

// Report hands in a report, packed on its way.
func (c *Client) Report(ctx context.Context, h insight.Handed, f insight.ReportFileOf) (t insight.Taken, err error) {
	file, err := f.Open()
	if err != nil {
		return t, err
	}
	defer file.Close()
	out, in := io.Pipe()
	go func() {
		z, err := gzip.NewWriterLevel(in, gzip.BestSpeed)
		if err == nil {
			_, err = io.Copy(z, file)
			err = errors.Join(err, z.Close())
		}
		in.CloseWithError(err)
	}()
	defer out.Close()
	query := only("name", f.Name, "commit", h.Commit, "branch", h.Branch, "run", h.Run, "flag", h.Flag, "variant", h.Variant)
	res, err := c.send(ctx, http.MethodPost, "/reports/"+escape(h.Repository), query, "application/gzip", out)
	if err != nil {
		return t, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&t); err != nil {
		return t, fmt.Errorf("read the answer of %s: %w", c.base.Host, err)
	}
	return t, nil
}

// Coverage is what the tests of a repository cover: of a run, or of the newest one of a
// branch.
func (c *Client) Coverage(ctx context.Context, repository, run, branch, path string) (server.CoverageView, error) {
	return get[server.CoverageView](ctx, c, "/coverage/"+escape(repository), only("run", run, "branch", branch, "path", path))
}

// Patch is how much of a run's change was covered.
func (c *Client) Patch(ctx context.Context, run, base string) (server.PatchView, error) {
	return get[server.PatchView](ctx, c, "/runs/"+escape(run)+"/coverage", only("base", base))
}
