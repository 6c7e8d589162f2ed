package rollout_test

import (
	"testing"

	"github.com/fairlead-dev/fairlead/internal/record"
)

func TestCanaryGoesOut(t *testing.T) {
	t.Parallel()
	stage(t, func(t *testing.T, open func(string) *scene) {
		sc := open("acme/shop")
		sc.deployed("v1")
		sc.onlyOn(1)
		row := sc.begin(sc.release("v2", ""))
		row = sc.move(row.ID)
		if row.State != record.RolloutDone {
			t.Errorf("%s: %s", row.State, row.Reason)
		}
		sc.onlyOn(2)
		for _, mv := range row.Plan.Moves {
			t.Log(mv.Key, row.Evidence[mv.Key].Text)
		}
		t.Log(sc.said)
	})
}
