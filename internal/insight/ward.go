package insight

import (
	"context"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

// Wards lets people decide about tests, and has the audit trail hold what they did.
type Wards struct {
	Tests Decider
	Now   func() time.Time // nil: time.Now
}

// Decider changes the state of tests as people want it: see [Tests.Decide]. Its errors are for
// those people.
type Decider interface {
	Decide(ctx context.Context, id suite.ID, d suite.Decision, acted func(*record.TestJudged) *record.Acted) (*record.TestJudged, error)
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
	return w.Tests.Decide(ctx, id, suite.Decision{To: record.TestQuarantined, By: by.Name, Why: q.Why, Owner: q.Owner, Until: until}, by.acted)
}

// Release lets the failures of a test count again, for a reason. See [Decider].
func (w *Wards) Release(ctx context.Context, by Person, id suite.ID, why string) (*record.TestJudged, error) {
	return w.Tests.Decide(ctx, id, suite.Decision{To: record.TestSuspected, By: by.Name, Why: why}, by.acted)
}

// acted is the person's act, for the audit trail.
func (p Person) acted(j *record.TestJudged) *record.Acted {
	detail := map[string]string{"test": j.Title, "state": string(j.To), "why": j.Why}
	for name, value := range map[string]string{"variant": j.Variant, "owner": j.Owner} {
		if value != "" {
			detail[name] = value
		}
	}
	if !j.Until.IsZero() {
		detail["until"] = j.Until.UTC().Format(time.RFC3339)
	}
	return &record.Acted{By: p.Name, Via: p.Via, From: p.From, Verb: string(access.MuteTests), Object: j.Repository + ", test " + j.Key, Detail: detail}
}
