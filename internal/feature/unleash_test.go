package feature

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/feature/featuretest"
)

// TestUnleashSpecification runs Unleash's own specification of its clients.
func TestUnleashSpecification(t *testing.T) {
	t.Parallel()
	modules := featuretest.Install(t, "@unleash/client-specification@6.1.0")
	var index []string
	readJSON(t, modules.Path("@unleash", "client-specification", "specifications", "index.json"), &index)
	passed, total := 0, 0
	for _, name := range index {
		var spec struct {
			State json.RawMessage
			Tests []struct {
				Description    string
				Context        map[string]any
				ToggleName     string
				ExpectedResult bool
			}
			VariantTests []struct {
				Description    string
				Context        map[string]any
				ToggleName     string
				ExpectedResult map[string]any
			}
		}
		readJSON(t, modules.Path("@unleash", "client-specification", "specifications", name), &spec)
		d, problems := ReadUnleash(name, spec.State)
		if len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
		set, problems := Compile(d)
		if len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
		for _, c := range spec.Tests {
			total++
			if got := set.toggles.enabled(c.ToggleName, newAsker(c.Context, time.Now())); got != c.ExpectedResult {
				t.Errorf("%s: %s: %v", name, c.Description, got)
				continue
			}
			// The whole way, as OFREP asks.
			if e := set.Evaluate(c.ToggleName, c.Context, time.Now()); e.Code == "" && e.Value != c.ExpectedResult || e.Code == FlagNotFound && c.ExpectedResult {
				t.Errorf("%s: %s: evaluated %+v", name, c.Description, e)
				continue
			}
			passed++
		}
		for _, c := range spec.VariantTests {
			total++
			b, err := json.Marshal(set.toggles.variant(c.ToggleName, newAsker(c.Context, time.Now())))
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			delete(c.ExpectedResult, "featureEnabled")
			if !reflect.DeepEqual(got, c.ExpectedResult) {
				t.Errorf("%s: %s: got %s, want %v", name, c.Description, b, c.ExpectedResult)
				continue
			}
			passed++
		}
	}
	t.Logf("Unleash client specification: %d of %d", passed, total)
	if passed < 279 || passed != total {
		t.Errorf("%d of %d cases; the floor is all of 279", passed, total)
	}
}

func readJSON(t *testing.T, name string, to any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, to); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
