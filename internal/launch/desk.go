package launch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// Desk is where a server's work comes in and is given out. It reads the record:
// a HookReceived or a RunRequested becomes planned runs, a planned run that has
// its turn is started, what became of it is told outside. All its state is in the
// record and in registers, so that any number of desks share one store, and a desk that dies is
// replaced by any other:
//
//	HookReceived ─┐                       ┌► RunPlanned (waiting) ─► queue ─► Launcher.Start ─► RunFinished
//	RunRequested ─┴► settle: check out, ──┤
//	                 compile, choose      └► RequestSettled ("no workflow is started by …")
//
// The first event of a planned run and the RequestSettled are one transaction with
// the register "request/SEQ", so a request is settled once, whoever dies when.
//
// Its fields are set once, before any of its methods is called.
type Desk struct {
	*Launcher
	Runs     Runs
	Forges   map[string]forge.Forge
	Channels map[string]notify.Channel
	Vault    Secrets
	Issuer   Issuer // signs ID tokens; nil: jobs get none
	Dir      string // mirrors and checkouts; the same path on all machines that share the store
	URL      string // the server's own, for links; "" for none
	Jobs     int    // how many runs go on at a time here; 0: by the machine
	// Further is how many more runs may go on because jobs are done elsewhere;
	// nil: none.
	Further func() int
	// Guard says in which networks repositories may lie.
	Guard forge.Guard
	// Stop is how long runs that are under way may go on when Serve is to end.
	// Then they are left as they are, to be gone on with by whoever serves next.
	Stop time.Duration
	// Log is told of failures that are tried again; nil: nobody is.
	Log func(doing string, err error)

	queue queue
	tasks tasks
}

// Runs is what the desk asks of the record besides the log.
type Runs interface {
	Runs(ctx context.Context, f store.RunFilter) ([]store.RunHead, error)
	Head(ctx context.Context, run string) (store.RunHead, error)
	Events(ctx context.Context, f store.EventFilter) ([]record.Event, error)
	// Watch waits until the record goes beyond seq, and returns the newest Seq.
	Watch(ctx context.Context, seq int64) (int64, error)
	// AfterKinds yields the events after seq that are of these kinds, in order.
	AfterKinds(ctx context.Context, seq int64, kinds ...record.Kind) iter.Seq2[record.Event, error]
}

// Secrets opens secrets; see [secret.Vault].
type Secrets interface {
	// Resolve gives the values of those of the names that there are.
	Resolve(ctx context.Context, repository, environment string, names []string) (map[string]string, error)
	// List names the secrets of a repository and its environments; "" those of
	// the organisation.
	List(ctx context.Context, repository string) ([]secret.Named, error)
	// Internal is a secret of the server's own.
	Internal(ctx context.Context, repository, name string) (value string, ok bool, err error)
}

// The kinds of the desk's registers.
const (
	repositoryKind = "repository" // by name: a Repository
	deliveryKind   = "delivery"   // by repository and delivery: nothing
	requestKind    = "request"    // by Seq: the RequestSettled
	approvalKind   = "approval"   // by run: the RunApproved
	chainKind      = "chain"      // by run: nothing; its end was passed on to workflow_run
	downstreamKind = "downstream" // by run and job: the request for pipelines of another project
	seenKind       = "seen"       // by repository: the refs as polling saw them last
	clockKind      = "clock"      // by repository: what the default branch wants at what time
	effectKind     = "effect"     // by key: the EffectDone, once it is done
	commentKind    = "comment"    // by repository and change: what the host calls our comment
	routeKind      = "route"      // by name: a notify.Route
	foldKind       = "fold"       // "notify": the state of the messages
	statusKind     = "status"     // by run: what the host calls the state of its commit
)

// How long registers are kept that say that something has happened already.
const (
	keepDelivery = 30 * 24 * time.Hour
	keepBody     = 7 * 24 * time.Hour
	keepSettled  = 90 * 24 * time.Hour
)

// By is who wants something, for the record.
type By struct {
	Name, Via, From string
}

// Acted is what the audit trail holds of an act.
func (b By) Acted(v access.Verb, object string, detail map[string]string) record.Event {
	return record.Event{Body: &record.Acted{By: b.Name, Via: b.Via, From: b.From, Verb: string(v), Object: object, Detail: detail}}
}

// Wish asks for runs.
type Wish struct {
	Repository string
	Cause      string // see record.RunRequested; "" for "manual"
	Event      string // "workflow_dispatch", which is the default, "repository_dispatch", "push"
	Ref        string // branch, tag or commit; "" for the default branch
	Workflow   string // only this one
	Inputs     map[string]string
	Payload    map[string]any // of repository_dispatch: "event_type" or "action", and "client_payload"
	Priority   int
}

// Limits of a wish.
const (
	maxInputs   = 100
	maxValue    = 64 << 10 // of all inputs together
	maxPayload  = 1 << 20  // as JSON
	maxPriority = 1000
)

// Deliver takes a delivery of a code host whose signature was verified. When it
// returns, the delivery is in the record and will be settled, whatever happens.
// fresh is false, and nothing is written, when it had been delivered before: with the
// same identity, or (of pushes and changes) with the same body, since signatures are over the
// body alone.
func (d *Desk) Deliver(ctx context.Context, repository string, dl *forge.Delivery, from string) (seq int64, fresh bool, err error) {
	repo, err := d.Repository(ctx, repository)
	if err != nil {
		return 0, false, err
	}
	host := d.Forges[repo.Forge]
	if host == nil {
		return 0, false, &plan.UsageError{Message: fmt.Sprintf("repository %s is on no code host whose hooks are known", repository), Hint: "set its forge"}
	}
	now := time.Now()
	once := func(id string, keep time.Duration) record.Register {
		return record.Register{Kind: deliveryKind, ID: repository + "/" + id, Body: json.RawMessage("{}"), Expires: now.Add(keep)}
	}
	changes := []record.Register{once(dl.ID(), keepDelivery)}
	if h, err := host.Parse(dl); err == nil && (h.Kind == forge.Push || h.Kind == forge.Change) {
		sum := sha256.Sum256(dl.Body)
		changes = append(changes, once("body:"+hex.EncodeToString(sum[:]), keepBody))
	}
	events, err := d.Store.Change(ctx, changes, record.Event{Body: &record.HookReceived{
		Repository: repository, Forge: repo.Forge, Delivery: dl.ID(), Header: dl.Header, Body: dl.Body, From: from,
	}})
	if errors.Is(err, record.ErrConflict) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("write down a delivery: %w", err)
	}
	return events[0].Seq, true, nil
}

// Replay takes a hook again, by the Seq of its HookReceived, and returns the new
// one's.
func (d *Desk) Replay(ctx context.Context, by By, seq int64) (int64, error) {
	unknown := &plan.UsageError{Message: fmt.Sprintf("event %d is no delivery of a code host", seq)}
	list, err := d.Runs.Events(ctx, store.EventFilter{Kinds: []record.Kind{"hook.received"}, Before: seq + 1, Limit: 1})
	if err != nil {
		return 0, fmt.Errorf("read event %d: %w", seq, err)
	}
	if seq <= 0 || len(list) == 0 || list[0].Seq != seq {
		return 0, unknown
	}
	again := *list[0].Body.(*record.HookReceived)
	if _, err := d.Repository(ctx, again.Repository); err != nil {
		return 0, err
	}
	again.Delivery = replayOf + strconv.FormatInt(seq, 10)
	events, err := d.Store.Append(ctx, record.Event{Body: &again},
		by.Acted(access.StartRun, again.Repository, map[string]string{"replay": strconv.FormatInt(seq, 10)}))
	if err != nil {
		return 0, fmt.Errorf("replay a delivery: %w", err)
	}
	return events[0].Seq, nil
}

// replayOf begins the identity of a delivery that is taken again.
const replayOf = "replay of "

// replayed reports whether somebody wants the hook once more.
func replayed(b *record.HookReceived) bool { return strings.HasPrefix(b.Delivery, replayOf) }

// Ask asks for runs; Await says what became of it.
func (d *Desk) Ask(ctx context.Context, by By, w Wish) (seq int64, err error) {
	repo, err := d.Repository(ctx, w.Repository)
	if err != nil {
		return 0, err
	}
	w.Cause = cmp.Or(w.Cause, "manual")
	w.Event = cmp.Or(w.Event, "workflow_dispatch")
	if err := w.check(); err != nil {
		return 0, err
	}
	if repo.Paused {
		return 0, &plan.UsageError{Message: "repository " + repo.Name + " is paused", Hint: "set it going first"}
	}
	events, err := d.Store.Append(ctx,
		record.Event{Body: &record.RunRequested{
			Repository: w.Repository, By: by.Name, Cause: w.Cause, Workflow: w.Workflow, Priority: w.Priority,
			Change: &plan.Change{Event: w.Event, Ref: w.Ref, Inputs: w.Inputs, Payload: w.Payload, Actor: by.Name},
		}},
		by.Acted(access.StartRun, w.Repository, map[string]string{"workflow": w.Workflow, "ref": w.Ref, "event": w.Event}))
	if err != nil {
		return 0, fmt.Errorf("ask for a run: %w", err)
	}
	return events[0].Seq, nil
}

func (w *Wish) check() error {
	size := 0
	for name, value := range w.Inputs {
		size += len(name) + len(value)
	}
	payload, err := json.Marshal(w.Payload)
	for key := range w.Payload { // what else a payload says is the server's to say
		if w.Event != "repository_dispatch" || key != "event_type" && key != "action" && key != "client_payload" {
			return &plan.UsageError{Message: fmt.Sprintf("the payload holds %.40q", key), Hint: "that of a repository_dispatch holds event_type and client_payload, others have none"}
		}
	}
	switch {
	case w.Event != "workflow_dispatch" && w.Event != "repository_dispatch" && w.Event != "push" && w.Event != "schedule":
		return &plan.UsageError{Message: fmt.Sprintf("nobody can ask for the event %.40q", w.Event), Hint: "workflow_dispatch, repository_dispatch, push or schedule"}
	case w.Event == "workflow_dispatch" && w.Workflow == "":
		return &plan.UsageError{Message: "it is not said which workflow is to run"}
	case w.Ref != "" && !plausibleRef(w.Ref):
		return &plan.UsageError{Message: fmt.Sprintf("%.80q is not a branch, a tag or a commit", w.Ref)}
	case len(w.Workflow) > maxName || hasControl(w.Workflow):
		return &plan.UsageError{Message: fmt.Sprintf("%.80q is not a workflow's name", w.Workflow)}
	case len(w.Inputs) > maxInputs || size > maxValue:
		return &plan.UsageError{Message: fmt.Sprintf("there are more than %d inputs, or more than %d bytes of them", maxInputs, maxValue)}
	case err != nil || len(payload) > maxPayload:
		return &plan.UsageError{Message: fmt.Sprintf("the payload is more than %d bytes of JSON", maxPayload)}
	case w.Priority < -maxPriority || w.Priority > maxPriority:
		return &plan.UsageError{Message: fmt.Sprintf("the priority is not between %d and %d", -maxPriority, maxPriority)}
	}
	return nil
}

// Await waits until a request was settled, and says what it came to.
func (d *Desk) Await(ctx context.Context, seq int64) (*record.RequestSettled, error) {
	var newest int64
	for {
		r, err := d.Store.Register(ctx, requestKind, strconv.FormatInt(seq, 10))
		if err != nil {
			return nil, fmt.Errorf("await request %d: %w", seq, err)
		}
		if r.Version > 0 {
			b := new(record.RequestSettled)
			if err := json.Unmarshal(r.Body, b); err != nil {
				return nil, fmt.Errorf("await request %d: %w", seq, err)
			}
			return b, nil
		}
		if newest, err = d.Runs.Watch(ctx, newest); err != nil {
			return nil, err
		}
	}
}

// Repeat plans a new run that repeats one, or goes on from it.
func (d *Desk) Repeat(ctx context.Context, by By, run string, a record.Again) (newRun string, err error) {
	old, err := d.Runs.Head(ctx, run)
	if err != nil {
		return "", err
	}
	switch {
	case old.Origin == nil, old.Origin.Pushed:
		return "", &plan.UsageError{Message: "run " + run + " was not run by this server", Hint: "fairlead rerun " + run + " where it ran"}
	case old.Verdict == "":
		return "", &plan.UsageError{Message: "run " + run + " has not ended", Hint: "cancel it first"}
	}
	if _, err := d.Repository(ctx, old.Origin.Repository); err != nil {
		return "", err
	}
	approval, err := d.Store.Register(ctx, approvalKind, run)
	if err != nil {
		return "", fmt.Errorf("repeat run %s: %w", run, err)
	}
	if old.Origin.Approval && approval.Version == 0 {
		return "", &plan.UsageError{Message: "run " + run + " was not approved", Hint: "a new commit of the change brings a run that can be"}
	}
	e, err := d.PlanAgain(ctx, run, a)
	if err != nil {
		return "", err
	}
	var changes []record.Register
	events := []record.Event{e}
	if approval.Version > 0 { // what was approved is the plan, and that is the same
		approved := new(record.RunApproved)
		if err := json.Unmarshal(approval.Body, approved); err != nil {
			return "", fmt.Errorf("read the approval of run %s: %w", run, err)
		}
		approved.Why = "it repeats run " + run
		changes = append(changes, register(approvalKind, e.Run, 0, approved))
		events = append(events, record.Event{Run: e.Run, Body: approved})
	}
	detail := map[string]string{"run": run, "new": e.Run, "from": a.From}
	if a.Failed {
		detail["failed"] = "only"
	}
	events = append(events, by.Acted(access.RepeatRun, old.Origin.Repository, detail))
	if _, err := d.Store.Change(ctx, changes, events...); err != nil {
		return "", fmt.Errorf("repeat run %s: %w", run, err)
	}
	return e.Run, nil
}

// Approve lets a run start that waits for it.
func (d *Desk) Approve(ctx context.Context, by By, run string) error {
	h, err := d.Runs.Head(ctx, run)
	if err != nil {
		return err
	}
	switch {
	case h.Verdict != "":
		return &plan.UsageError{Message: fmt.Sprintf("run %s has ended (%s)", run, h.Verdict)}
	case !h.Waiting() || !h.Origin.Approval:
		return &plan.UsageError{Message: "run " + run + " waits for no approval"}
	}
	approved := &record.RunApproved{By: by.Name}
	changes := []record.Register{register(approvalKind, run, 0, approved)}
	_, err = d.Store.Change(ctx, changes, record.Event{Run: run, Body: approved},
		by.Acted(access.ApproveRun, h.Origin.Repository, map[string]string{"run": run, "commit": h.SHA}))
	if errors.Is(err, record.ErrConflict) {
		return &plan.UsageError{Message: "run " + run + " has been approved already"}
	}
	if err != nil {
		return fmt.Errorf("approve run %s: %w", run, err)
	}
	return nil
}

// Cancel ends a run, or one job of it. One that waits is ended here; who runs it is
// asked to.
func (d *Desk) Cancel(ctx context.Context, by By, run, job string) error {
	h, err := d.Runs.Head(ctx, run)
	if err != nil {
		return err
	}
	if h.Verdict != "" {
		return &plan.UsageError{Message: fmt.Sprintf("run %s has ended (%s)", run, h.Verdict)}
	}
	repository := h.Repository
	if h.Origin != nil {
		repository = h.Origin.Repository
	}
	acted := by.Acted(access.CancelRun, repository, map[string]string{"run": run, "job": job})
	asked := record.Event{Run: run, Job: job, Body: &record.CancelRequested{By: by.Name}}
	if job == "" {
		ended, err := d.end(ctx, run, plan.Cancelled, "cancelled by "+by.Name, asked, acted)
		if err != nil || ended {
			return err
		}
	}
	if _, err := d.Store.Append(ctx, asked, acted); err != nil {
		return fmt.Errorf("cancel run %s: %w", run, err)
	}
	return nil
}

// end ends a run that still waits, unless somebody is about to start it.
func (d *Desk) end(ctx context.Context, run string, v plan.Verdict, why string, events ...record.Event) (bool, error) {
	lease, err := d.Store.Lease(ctx, turnLease(run), "the end of run "+run)
	var held *store.HeldError
	if errors.As(err, &held) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("end run %s: %w", run, err)
	}
	defer func() { _ = lease.Release() }()
	h, err := d.Runs.Head(ctx, run)
	if err != nil || !h.Waiting() {
		return false, err
	}
	events = append(events, record.Event{Run: run, Body: &record.RunFinished{Verdict: v, Why: why}})
	if _, err := d.Store.Append(ctx, events...); err != nil {
		return false, fmt.Errorf("end run %s: %w", run, err)
	}
	return true, nil
}

// turnLease is the name of the lease of whoever looks whether it is a run's turn
// and starts it. Unlike the run's own it is taken before the run is read, so that a run
// is not started by somebody who has not seen its end.
func turnLease(run string) string { return "turn/" + run }

// register is a change of a register.
func register(kind, id string, version int64, body any) record.Register {
	text, err := json.Marshal(body)
	if err != nil {
		panic("launch: a register that is no JSON: " + err.Error()) // they are structs of strings and numbers
	}
	return record.Register{Kind: kind, ID: id, Version: version, Body: text}
}

// read decodes a register into body, and gives its version: 0 when there is none.
func (d *Desk) read(ctx context.Context, kind, id string, body any) (version int64, err error) {
	r, err := d.Store.Register(ctx, kind, id)
	if err == nil && r.Version > 0 {
		err = json.Unmarshal(r.Body, body)
	}
	if err != nil {
		return 0, fmt.Errorf("read %s %s: %w", kind, id, err)
	}
	return r.Version, nil
}

// complain says what failed and is tried again.
func (d *Desk) complain(doing string, err error) {
	if d.Log != nil && err != nil && !errors.Is(err, context.Canceled) {
		d.Log(doing, err)
	}
}
