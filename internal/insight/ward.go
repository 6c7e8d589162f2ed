package insight

import (
	"context"
	"fmt"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// Wards lets people decide about tests, and has the audit trail hold what they did.
type Wards struct {
	Tests Decider
	Log   Appender
	Now   func() time.Time // nil: time.Now
}

// Decider puts tests into quarantine and lets them out of it, as a person wants. Its
// errors are for that person.
type Decider interface {
	Quarantine(ctx context.Context, id suite.ID, by, why, owner string, until time.Time) (*record.TestJudged, error)
	Release(ctx context.Context, id suite.ID, by, why string) (*record.TestJudged, error)
}

// Appender appends to the record.
type Appender interface {
	Append(ctx context.Context, events ...record.Event) ([]record.Event, error)
}

// Person is who decides, for the record.
type Person struct {
	Name string // "ada"
	Via  string // "session", "token deploy", "command line"
	From string // address
}

// Quarantining is what is wanted of a quarantine.
type Quarantining struct {
	Why   string `json:"why"`
	Days  int    `json:"days,omitempty"`  // it lasts; 0: as long as is usual in the project
	Owner string `json:"owner,omitempty"` // who answers for the test; "" for the one of CODEOWNERS
}

// Quarantine puts a test into quarantine: it still runs, and its failures do not count
// until the days are over. See [Decider].
func (w *Wards) Quarantine(ctx context.Context, by Person, id suite.ID, q Quarantining) (*record.TestJudged, error) {
	var until time.Time
	if q.Days > 0 {
		now := time.Now
		if w.Now != nil {
			now = w.Now
		}
		// An hour less than so many days stays below the longest that may be ordered,
		// whatever the clock does meanwhile.
		until = now().UTC().AddDate(0, 0, q.Days).Add(-time.Hour)
	}
	j, err := w.Tests.Quarantine(ctx, id, by.Name, q.Why, q.Owner, until)
	return j, w.acted(ctx, by, j, err)
}

// Release lets the failures of a test count again, for a reason. See [Decider].
func (w *Wards) Release(ctx context.Context, by Person, id suite.ID, why string) (*record.TestJudged, error) {
	j, err := w.Tests.Release(ctx, id, by.Name, why)
	return j, w.acted(ctx, by, j, err)
}

// acted writes an act down beside the decision, which holds what was decided and by
// whom.
func (w *Wards) acted(ctx context.Context, by Person, j *record.TestJudged, err error) error {
	if err != nil {
		return err
	}
	detail := map[string]string{"test": j.Title, "state": string(j.To), "why": j.Why}
	for name, value := range map[string]string{"variant": j.Variant, "owner": j.Owner} {
		if value != "" {
			detail[name] = value
		}
	}
	if !j.Until.IsZero() {
		detail["until"] = j.Until.UTC().Format(time.RFC3339)
	}
	_, err = w.Log.Append(context.WithoutCancel(ctx), record.Event{Body: &record.Acted{
		By: by.Name, Via: by.Via, From: by.From, Verb: string(access.MuteTests), Object: j.Repository + ", test " + j.Key, Detail: detail,
	}})
	if err != nil {
		return fmt.Errorf("write down who decided about test %s: %w", j.Key, err)
	}
	return nil
}
