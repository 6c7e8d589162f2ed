package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/engine"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// environmentKind is the kind of the registers that say what protects environments, by
// repository and name.
const environmentKind = "environment"

// Limits of what protects an environment.
const (
	maxApprovals = 20
	maxApprovers = 100
	maxBranches  = 100
	maxTimer     = 30 * 24 * time.Hour
)

// environmentID is the ID of an environment's register.
func environmentID(repository, name string) string { return repository + "\n" + strings.ToLower(name) }

// Environments are the protected ones of a repository, by name.
func (d *Desk) Environments(ctx context.Context, repository string) ([]record.Environment, error) {
	list, err := d.Store.Registers(ctx, environmentKind, repository+"\n")
	if err != nil {
		return nil, fmt.Errorf("list the environments of %s: %w", repository, err)
	}
	all := make([]record.Environment, len(list))
	for i, r := range list {
		if err := json.Unmarshal(r.Body, &all[i]); err != nil {
			return nil, fmt.Errorf("read an environment of %s: %w", repository, err)
		}
	}
	return all, nil
}

// SetEnvironment says what protects an environment from now on. The error is a
// [*plan.UsageError] when it cannot be as it is given.
func (d *Desk) SetEnvironment(ctx context.Context, by By, e record.Environment) error {
	if _, err := d.Repository(ctx, e.Repository); err != nil {
		return err
	}
	unsound := func(format string, args ...any) error {
		return &plan.UsageError{Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case e.Name == "" || len(e.Name) > maxName || hasControl(e.Name):
		return unsound("%.40q cannot be the name of an environment", e.Name)
	case e.Approvals < 0 || e.Approvals > maxApprovals:
		return unsound("a deployment takes 0 to %d approvals, not %d", maxApprovals, e.Approvals)
	case len(e.Approvers) > maxApprovers || len(e.Branches) > maxBranches:
		return unsound("an environment has at most %d approvers and %d branches", maxApprovers, maxBranches)
	case e.Wait < 0 || time.Duration(e.Wait)*time.Second > maxTimer:
		return unsound("a deployment waits at most %d days", maxTimer/(24*time.Hour))
	}
	for _, p := range e.Branches {
		if _, err := path.Match(p, ""); err != nil || p == "" || len(p) > maxName || hasControl(p) {
			return unsound("%.40q is no pattern of branches", p)
		}
	}
	if slices.Contains(e.Approvers, "") {
		return unsound("an approver has no name")
	}
	if e.Approvals == 0 && len(e.Approvers) > 0 {
		e.Approvals = 1
	}
	if len(e.Approvers) > 0 && e.Approvals > len(e.Approvers) {
		return unsound("%d approvals are more than there are approvers", e.Approvals)
	}
	detail := map[string]string{"environment": e.Name, "approvals": strconv.Itoa(e.Approvals), "approvers": strings.Join(e.Approvers, " "),
		"branches": strings.Join(e.Branches, " "), "wait": strconv.Itoa(e.Wait), "not_author": strconv.FormatBool(e.NotAuthor)}
	return d.changeEnvironment(ctx, by, e.Repository, e.Name, detail, &e)
}

// RemoveEnvironment lets everybody deploy to an environment who may start runs.
func (d *Desk) RemoveEnvironment(ctx context.Context, by By, repository, name string) error {
	return d.changeEnvironment(ctx, by, repository, name, map[string]string{"environment": name, "protected": "no"}, nil)
}

func (d *Desk) changeEnvironment(ctx context.Context, by By, repository, name string, detail map[string]string, to *record.Environment) error {
	id := environmentID(repository, name)
	old, err := d.Store.Register(ctx, environmentKind, id)
	if err != nil {
		return fmt.Errorf("read environment %s: %w", name, err)
	}
	change := record.Register{Kind: environmentKind, ID: id, Version: old.Version}
	if to != nil {
		change = register(environmentKind, id, old.Version, to)
	} else if old.Version == 0 {
		return &plan.UsageError{Message: fmt.Sprintf("nothing protects the environment %s of %s", name, repository)}
	}
	_, err = d.Store.Change(ctx, []record.Register{change}, by.Acted(access.SetRepo, repository, detail))
	if errors.Is(err, record.ErrConflict) {
		return &plan.UsageError{Message: "environment " + name + " was changed by somebody else meanwhile", Hint: "look at it, and try again"}
	}
	if err != nil {
		return fmt.Errorf("change environment %s: %w", name, err)
	}
	return nil
}

// environmentOf is what protects an environment; ok is false when nothing does.
func (d *Desk) environmentOf(ctx context.Context, repository, name string) (e record.Environment, ok bool, err error) {
	version, err := d.read(ctx, environmentKind, environmentID(repository, name), &e)
	return e, version > 0, err
}

// protection is what a job of a run waits for that deploys to an environment.
func (d *Desk) protection(ctx context.Context, run, name string) (*engine.Protection, error) {
	r, err := d.Store.Run(ctx, run)
	if err != nil {
		return nil, err
	}
	if r.Planned == nil || r.Planned.Origin == nil {
		return nil, nil
	}
	env, ok, err := d.environmentOf(ctx, r.Planned.Origin.Repository, name)
	if !ok || err != nil {
		return nil, err
	}
	if why := refused(&env, r); why != "" {
		return &engine.Protection{Refused: why}, nil
	}
	asked := record.EnvironmentAsked{Environment: env.Name, Approvals: env.Approvals}
	if x := r.Environments[env.Name]; x != nil && !x.Asked.Until.IsZero() {
		asked.Until = x.Asked.Until // the first job that came here began to wait
	} else {
		asked.Until = time.Now().UTC().Add(time.Duration(env.Wait) * time.Second)
		if _, err := d.Store.Append(ctx, record.Event{Run: run, Body: &asked}); err != nil {
			return nil, err
		}
	}
	if missing(&env, r) == 0 && !time.Now().Before(asked.Until) {
		return nil, nil
	}
	p := &engine.Protection{Why: "waits until it may deploy to " + env.Name, Until: asked.Until}
	if n := missing(&env, r); n > 0 {
		p.Why = fmt.Sprintf("waits for %d approvals for %s", n, env.Name)
		if len(env.Approvers) > 0 {
			p.Why += ", of " + strings.Join(env.Approvers, ", ")
		}
	}
	p.Wait = func(ctx context.Context) error { return d.admitted(ctx, run, env.Repository, env.Name, asked.Until) }
	return p, nil
}

// refused says why a run may not deploy to an environment at all; "" if it may.
func refused(e *record.Environment, r *record.Run) string {
	c := r.Planned.Change
	if len(e.Branches) == 0 {
		return ""
	}
	branch, isBranch := strings.CutPrefix(c.Ref, "refs/heads/")
	tag, isTag := strings.CutPrefix(c.Ref, "refs/tags/")
	for _, p := range e.Branches {
		for name, is := range map[string]bool{branch: isBranch, tag: isTag} {
			if ok, err := path.Match(p, name); is && ok && err == nil {
				return ""
			}
		}
	}
	return fmt.Sprintf("%s may not be deployed to %s, which takes %s", c.Ref, e.Name, strings.Join(e.Branches, ", "))
}

// missing is how many approvals a run still lacks. Only those count that would
// count now.
func missing(e *record.Environment, r *record.Run) int {
	n := e.Approvals
	if x := r.Environments[e.Name]; x != nil {
		for i, by := range x.ApprovedBy {
			if !slices.Contains(x.ApprovedBy[:i], by) && mayApprove(e, r, by) == "" {
				n--
			}
		}
	}
	return max(n, 0)
}

// mayApprove says why somebody's approval does not count; "" if it does. That
// the person may approve runs of the repository at all is asked elsewhere.
func mayApprove(e *record.Environment, r *record.Run, by string) string {
	switch {
	case len(e.Approvers) > 0 && !slices.ContainsFunc(e.Approvers, func(a string) bool { return strings.EqualFold(a, by) }):
		return fmt.Sprintf("%s is none of those who approve deployments to %s: %s", by, e.Name, strings.Join(e.Approvers, ", "))
	case e.NotAuthor && r.Planned != nil && r.Planned.Change != nil && strings.EqualFold(r.Planned.Change.Actor, by):
		return fmt.Sprintf("%s made the change, and somebody else has to approve it", by)
	}
	return ""
}

// admitted waits until a run may deploy to an environment: its approvals are there, and
// its time has come. It looks again whenever somebody approves anything, and at what
// protects the environment by then.
func (d *Desk) admitted(ctx context.Context, run, repository, name string, until time.Time) error {
	seq, err := d.Runs.Watch(ctx, -1)
	if err != nil {
		return err
	}
	for {
		r, err := d.Store.Run(ctx, run)
		if err != nil {
			return err
		}
		env, protected, err := d.environmentOf(ctx, repository, name)
		if err != nil {
			return err
		}
		if !protected || missing(&env, r) == 0 {
			break
		}
		for relevant := false; !relevant; {
			newest, err := d.Runs.Watch(ctx, seq)
			if err != nil {
				return err
			}
			for e, err := range d.Runs.AfterKinds(ctx, seq, "environment.approved", "acted") {
				if err != nil {
					return err
				}
				acted, _ := e.Body.(*record.Acted)
				relevant = relevant || e.Run == run || acted != nil && acted.Object == repository && acted.Detail["environment"] != ""
			}
			seq = newest
		}
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ApproveEnvironment lets a run deploy to an environment, as far as one person can.
func (d *Desk) ApproveEnvironment(ctx context.Context, by By, run, name, why string) error {
	r, err := d.Store.Run(ctx, run)
	if err != nil {
		return err
	}
	switch {
	case r.Verdict != "":
		return &plan.UsageError{Message: fmt.Sprintf("run %s has ended (%s)", run, r.Verdict)}
	case r.Planned == nil || r.Planned.Origin == nil:
		return &plan.UsageError{Message: "run " + run + " is none of this server's"}
	}
	env, ok, err := d.environmentOf(ctx, r.Planned.Origin.Repository, name)
	if err != nil {
		return err
	}
	x := r.Environments[env.Name]
	switch {
	case !ok || x == nil || env.Approvals == 0:
		return &plan.UsageError{Message: fmt.Sprintf("run %s waits for no approval of environment %s", run, name)}
	case slices.Contains(x.ApprovedBy, by.Name):
		return &plan.UsageError{Message: fmt.Sprintf("%s has approved the deployment to %s already", by.Name, env.Name)}
	}
	if why := mayApprove(&env, r, by.Name); why != "" {
		return &plan.UsageError{Message: why}
	}
	_, err = d.Store.Append(ctx, record.Event{Run: run, Body: &record.EnvironmentApproved{Environment: env.Name, By: by.Name, Why: why}},
		by.Acted(access.ApproveRun, env.Repository, map[string]string{"run": run, "environment": env.Name, "commit": r.Planned.Change.SHA}))
	if err != nil {
		return fmt.Errorf("approve the deployment of run %s to %s: %w", run, env.Name, err)
	}
	return nil
}
