package deploytest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/deploy/deploytest"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// TestModel holds the model to the suite: what rollouts are tried against keeps the same promises as what they are used with.
func TestModel(t *testing.T) {
	t.Parallel()
	deploytest.Suite(t, func(t *testing.T) *deploytest.Place {
		m := deploytest.NewModel(nil)
		m.Caps = deploy.Capabilities{Instances: true, Beside: true, Split: true, Drift: true}
		m.Boot, m.Faults, m.Outage = 5*time.Millisecond, map[string]deploytest.Fault{}, true
		dice := rand.New(rand.NewPCG(1, 2))
		revision := func(number int) *deploy.Revision {
			return &deploy.Revision{Number: number, Release: &record.Release{ID: fmt.Sprint("sha256:", number)}, Spec: &project.Service{Name: "shop"}}
		}
		at := func(fault deploytest.Fault) func(int) *deploy.Revision {
			return func(number int) *deploy.Revision {
				r := revision(number)
				r.Release.ID += string(fault)
				m.Faults[r.Release.ID] = fault
				return r
			}
		}
		return &deploytest.Place{Driver: m, Again: func() deploy.Driver { return deploytest.NewModel(m) },
			Target:   deploy.Target{Repository: "acme/shop", Service: "shop", Environment: "production", Spec: &project.Service{Name: "shop"}},
			Revision: revision, Broken: at(deploytest.Crashes), Unfit: map[string]func(int) *deploy.Revision{"refused": at(deploytest.Refused)},
			Get: func(context.Context) (int, error) {
				draw := dice.IntN(100)
				for n, k := range m.State().Revisions {
					if draw -= k.Percent; draw < 0 && k.Percent > 0 {
						return n, nil
					}
				}
				return 0, errors.New("nobody answers")
			},
			Meddle: func(_ *testing.T, number int) { m.Kill(number) }}
	})
}
