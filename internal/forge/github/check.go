package github

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/forge"
)

// check sets one check run.
type check struct {
	api  *forge.API
	repo string
	s    *forge.Status
}

const (
	perPage        = 100
	perRequest     = 50  // annotations that one request may bring
	maxAnnotations = 500 // that anybody reads
)

type run struct {
	ID         int64  `json:"id"`
	ExternalID string `json:"external_id"`
	Status     string `json:"status"`
}

type annotation struct {
	Path    string `json:"path"`
	Start   int    `json:"start_line"`
	End     int    `json:"end_line"`
	Level   string `json:"annotation_level"`
	Title   string `json:"title,omitempty"`
	Message string `json:"message"`
}

// set makes the check run, or changes the one that there is, then adds the
// annotations that it does not have yet.
func (c *check) set(ctx context.Context) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	if c.s.Ref == "" {
		if err := c.find(ctx); err != nil {
			return err
		}
	}
	if c.s.Ref == "" {
		body["name"], body["head_sha"], body["external_id"] = c.s.Context, c.s.SHA, c.s.Context
		var made run
		if _, err := c.api.Do(ctx, &forge.Call{What: c.what("make"), Method: http.MethodPost, Path: c.repo + "/check-runs", In: body, Out: &made}); err != nil {
			return err
		}
		c.s.Ref = refCheck + strconv.FormatInt(made.ID, 10)
	} else if _, err := c.api.Do(ctx, &forge.Call{What: c.what("change"), Method: http.MethodPatch, Path: c.path(), In: body}); err != nil {
		return err
	}
	return c.annotate(ctx, body["output"])
}

func (c *check) what(verb string) string {
	return fmt.Sprintf("%s the check of commit %s", verb, c.s.SHA[:12])
}

func (c *check) path() string {
	return c.repo + "/check-runs/" + url.PathEscape(strings.TrimPrefix(c.s.Ref, refCheck))
}

func (c *check) body() (map[string]any, error) {
	body := map[string]any{"output": map[string]any{
		"title":   cmp.Or(c.s.Description(maxTitle), string(c.s.State)),
		"summary": forge.Cut(c.s.Summary, maxSummary),
	}}
	if c.s.URL != "" {
		body["details_url"] = c.s.URL
	}
	switch c.s.State {
	case forge.Pending:
		body["status"] = "queued"
	case forge.Running:
		body["status"] = "in_progress"
	case forge.Success, forge.Failure, forge.Cancelled, forge.Skipped:
		body["status"], body["conclusion"] = "completed", string(c.s.State)
	case forge.Error: // there is no word for a fault of ours; the title tells
		body["status"], body["conclusion"] = "completed", "failure"
	default:
		return nil, forge.Given("there is no state %q", c.s.State)
	}
	return body, nil
}

// find looks for the check run that was made when its making was not seen to
// end. One that has ended does not begin again: whoever runs the same once more
// makes another, and GitHub shows the newest.
func (c *check) find(ctx context.Context) error {
	ended := c.s.State != forge.Pending && c.s.State != forge.Running
	var newest int64
	err := forge.Pages(func(n int) (bool, error) {
		var list struct {
			Runs []run `json:"check_runs"`
		}
		_, err := c.api.Do(ctx, &forge.Call{
			What: c.what("look for"), Method: http.MethodGet, Path: c.repo + "/commits/" + c.s.SHA + "/check-runs", Out: &list,
			Query: url.Values{"check_name": {c.s.Context}, "filter": {"latest"}, "per_page": {strconv.Itoa(perPage)}, "page": {strconv.Itoa(n)}},
		})
		if err != nil {
			return false, err
		}
		for _, r := range list.Runs {
			if r.ExternalID == c.s.Context && (ended || r.Status != "completed") {
				newest = max(newest, r.ID)
			}
		}
		return len(list.Runs) == perPage, nil
	})
	if err == nil && newest != 0 {
		c.s.Ref = refCheck + strconv.FormatInt(newest, 10)
	}
	return err
}

// annotate adds annotations in batches. GitHub adds what it is sent to what is
// there, so what is there is not sent again.
func (c *check) annotate(ctx context.Context, output any) error {
	want := make([]annotation, 0, len(c.s.Annotations))
	for _, a := range c.s.Annotations[:min(len(c.s.Annotations), maxAnnotations)] {
		if a.Path == "" {
			continue
		}
		level := a.Level
		if level != "notice" && level != "warning" {
			level = "failure"
		}
		line := max(1, a.Line)
		want = append(want, annotation{a.Path, line, line, level, forge.Cut(a.Title, maxTitle), forge.Cut(cmp.Or(a.Message, a.Title, level), maxMessage)})
	}
	if len(want) == 0 {
		return nil
	}
	there := map[annotation]bool{}
	err := forge.Pages(func(n int) (bool, error) {
		var list []annotation
		_, err := c.api.Do(ctx, &forge.Call{
			What: c.what("read"), Method: http.MethodGet, Path: c.path() + "/annotations", Out: &list,
			Query: url.Values{"per_page": {strconv.Itoa(perPage)}, "page": {strconv.Itoa(n)}},
		})
		for _, a := range list {
			there[a] = true
		}
		return len(list) == perPage, err
	})
	if err != nil {
		return err
	}
	var missing []annotation
	for _, a := range want {
		if !there[a] {
			there[a] = true
			missing = append(missing, a)
		}
	}
	for len(missing) > 0 {
		batch := missing[:min(len(missing), perRequest)]
		missing = missing[len(batch):]
		out := map[string]any{"annotations": batch}
		for k, v := range output.(map[string]any) {
			out[k] = v
		}
		if _, err := c.api.Do(ctx, &forge.Call{What: c.what("annotate"), Method: http.MethodPatch, Path: c.path(), In: map[string]any{"output": out}}); err != nil {
			return err
		}
	}
	return nil
}
