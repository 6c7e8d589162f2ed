package launch

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Issuer signs ID tokens; see [access.Issuer].
type Issuer interface {
	Sign(ctx context.Context, claims map[string]any, life time.Duration) (string, error)
}

// tokenLife is how long an ID token holds whose job says nothing of its own time.
const tokenLife = 5 * time.Minute

// identities are the ID tokens that a job asks for, by name. Whom nobody trusts gets none.
func (d *Desk) identities(ctx context.Context, run string, job *plan.Job) (map[string]string, error) {
	if len(job.Tokens) == 0 {
		return nil, nil
	}
	r, err := d.Store.Run(ctx, run)
	if err != nil {
		return nil, fmt.Errorf("the ID tokens of job %s: %w", job.ID, err)
	}
	tokens := make(map[string]string, len(job.Tokens))
	for _, t := range job.Tokens {
		if tokens[t.Name], err = d.identity(ctx, r, job, t.Audience); err != nil {
			return nil, fmt.Errorf("the ID token %s of job %s: %w", t.Name, job.ID, err)
		}
	}
	return tokens, nil
}

func (d *Desk) identity(ctx context.Context, r *record.Run, job *plan.Job, audience []string) (string, error) {
	if d.Issuer == nil || r.Planned == nil {
		return "", errors.New("nobody signs one here")
	}
	approved, err := d.approved(ctx, r.ID)
	if err != nil {
		return "", err
	}
	if !confides(r.Planned.Origin, approved) {
		return "", errors.New("a change that nobody trusts gets none")
	}
	life := job.Timeout
	if life <= 0 {
		life = tokenLife
	}
	return d.Issuer.Sign(ctx, claimsOf(r, job, audience), life)
}

// claimsOf is what a token says of a job: in the words of the language that its
// pipeline is written in, so that what trusts that language's own server
// needs to learn another address and nothing else. Unlike there, IDs of projects and
// users are their names.
func claimsOf(r *record.Run, job *plan.Job, audience []string) map[string]any {
	p := r.Planned
	c := p.Change
	owner, _, _ := strings.Cut(c.Repository, "/")
	if i := strings.LastIndexByte(c.Repository, '/'); i > 0 && p.Pipeline.Dialect == "gitlab" {
		owner = c.Repository[:i]
	}
	ref, kind := strings.TrimPrefix(c.Ref, "refs/heads/"), "branch"
	if tag, ok := strings.CutPrefix(c.Ref, "refs/tags/"); ok {
		ref, kind = tag, "tag"
	}
	protected := strconv.FormatBool(p.Origin.Trust == record.Protected)
	claims := map[string]any{"ref_protected": protected, "ref_type": kind, "sha": c.SHA, "runner_environment": "self-hosted"}
	switch len(audience) {
	case 0:
		claims["aud"] = "fairlead"
	case 1:
		claims["aud"] = audience[0]
	default:
		claims["aud"] = audience
	}
	environment := ""
	if job.Environment != nil {
		environment = job.Environment.Name
		claims["environment"] = environment
	}
	if p.Pipeline.Dialect == "gitlab" {
		claims["sub"] = fmt.Sprintf("project_path:%s:ref_type:%s:ref:%s", c.Repository, kind, ref)
		claims["project_path"], claims["namespace_path"], claims["project_id"], claims["namespace_id"] = c.Repository, owner, c.Repository, owner
		claims["user_login"], claims["user_id"], claims["pipeline_id"], claims["job_id"] = c.Actor, c.Actor, r.ID, r.ID+"/"+job.ID
		claims["pipeline_source"], claims["ref"], claims["ref_path"] = c.Event, ref, c.Ref
		claims["ci_config_ref_uri"] = fmt.Sprintf("%s/%s//%s@%s", strings.TrimPrefix(strings.TrimPrefix(c.Server, "https://"), "http://"), c.Repository, p.Pipeline.File, c.Ref)
		claims["ci_config_sha"] = c.SHA
		return claims
	}
	subject := "ref:" + c.Ref
	switch {
	case environment != "":
		subject = "environment:" + environment
	case c.Event == "pull_request":
		subject = "pull_request"
	}
	claims["sub"] = "repo:" + c.Repository + ":" + subject
	claims["repository"], claims["repository_owner"], claims["actor"] = c.Repository, owner, c.Actor
	claims["ref"], claims["event_name"], claims["head_ref"], claims["base_ref"] = c.Ref, c.Event, c.HeadRef, c.BaseRef
	claims["workflow"], claims["workflow_ref"] = p.Pipeline.Name, c.Repository+"/"+p.Pipeline.File+"@"+c.Ref
	claims["run_id"], claims["run_number"], claims["run_attempt"] = r.ID, strconv.Itoa(p.Number), strconv.Itoa(p.Attempt)
	return claims
}

// Identity is the ID token that a job asks for while it runs, for one audience: of
// those whose language lets them ask so. The job must have said that it would.
func (d *Desk) Identity(ctx context.Context, run string, job *plan.Job, audience string) (string, error) {
	r, err := d.Store.Run(ctx, run)
	if err != nil {
		return "", err
	}
	var list []string
	if audience != "" {
		list = []string{audience}
	}
	return d.identity(ctx, r, job, list)
}
