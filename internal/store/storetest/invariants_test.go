package storetest

import (
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// script makes events from words: "plan start job step=1 done=1 end finish".
// A word may have a value: end=failure, finish=success, done=1:skipped.
func script(t *testing.T, text string) []record.Event {
	t.Helper()
	var events []record.Event
	for i, word := range strings.Fields(text) {
		word, value, _ := strings.Cut(word, "=")
		verdict := plan.Verdict(value)
		if value == "" {
			verdict = plan.Success
		}
		e := record.Event{Seq: int64(i + 1), Run: "1"}
		switch word {
		case "plan":
			e.Body = &record.RunPlanned{}
		case "start":
			e.Body = &record.RunStarted{}
		case "resume":
			e.Body = &record.RunStarted{Resume: true}
		case "cancel":
			e.Body = &record.CancelRequested{}
		case "finish":
			e.Body = &record.RunFinished{Verdict: verdict}
		case "job":
			e.Job, e.Body = "build", &record.JobStarted{Attempt: 1}
		case "retry":
			e.Job, e.Body = "build", &record.JobStarted{Attempt: 2}
		case "queue":
			e.Job, e.Body = "build", &record.JobQueued{}
		case "end":
			e.Job, e.Body = "build", &record.JobFinished{Verdict: verdict, Result: verdict}
		case "step":
			e.Job, e.Step, e.Body = "build", value, &record.StepStarted{}
		case "done":
			key, outcome, ok := strings.Cut(value, ":")
			if !ok {
				outcome = "success"
			}
			e.Job, e.Step = "build", key
			e.Body = &record.StepFinished{Outcome: plan.Verdict(outcome), Conclusion: plan.Verdict(outcome)}
		default:
			t.Fatalf("unknown word %q", word)
		}
		events = append(events, e)
	}
	return events
}

func TestCheckRun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ events, want string }{
		{"", ""},
		{"plan", ""},
		{"plan start", ""},
		{"plan start queue job step=1 done=1 done=2:skipped end finish", ""},
		{"plan start job step=1 step=2 done=1 done=2 end finish", ""}, // side by side
		{"plan start job step=1 done=1:failure end=failure finish=failure", ""},
		{"plan start job step=1 done=1:failure retry step=1 done=1 end finish", ""},
		{"plan start end=skipped finish", ""},
		{"plan start job step=1 cancel done=1:cancelled end=cancelled finish=cancelled", ""},
		{"plan cancel start finish=cancelled", ""},
		{"plan start job step=1 resume job step=1 done=1 end finish", ""}, // killed in step 1
		{"plan start job step=1 done=1:failure end=failure finish=failure resume job step=1 done=1 end finish", ""},

		{"start", "has not been planned"},
		{"plan plan", "planned before"},
		{"plan job", "has not started"},
		{"plan start start", "does not resume"},
		{"plan start step=1", "its job has not started"},
		{"plan start job done=1", "without having started"},
		{"plan start job step=1 step=1", "was started before"},
		{"plan start job step=1 done=1 done=1", "has finished before"},
		{"plan start job step=1 end", "step 1 still runs"},
		{"plan start job end step=1", "the job has finished"},
		{"plan start job end end", "the job has finished"},
		{"plan start job step=1 done=1 job", "attempt 1 was started before"},
		{"plan start job finish", "build has not finished"},
		{"plan start job end=failure finish", "but a job ended in failure"},
		{"plan start finish job", "the run has finished"},
		{"plan start finish finish", "has finished before"},
	} {
		err := CheckRun(script(t, c.events))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.events, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", c.events, err, c.want)
		}
	}
}

func TestCheckLog(t *testing.T) {
	t.Parallel()
	good := script(t, "plan start finish")
	for i := range good {
		good[i].Time = good[i].Time.AddDate(2026, 0, 0)
	}
	if err := CheckLog(good); err != nil {
		t.Error(err)
	}
	if err := CheckLog(append(good[:1:1], good[2])); err == nil {
		t.Error("a gap was not noticed")
	}
}
