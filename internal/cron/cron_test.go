package cron

import (
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ line, after, want string }{
		{"* * * * *", "2026-03-01T12:00:30Z", "2026-03-01T12:01:00Z"},
		{"*/15 9-17 * * MON-FRI", "2026-03-06T17:45:00Z", "2026-03-09T09:00:00Z"},
		{"0 0 29 feb *", "2026-03-01T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"0 0 1 * 0", "2026-03-02T00:00:00Z", "2026-03-08T00:00:00Z"}, // either day will do
		{"CRON_TZ=America/New_York 0 9 * * *", "2026-07-01T00:00:00Z", "2026-07-01T13:00:00Z"},
		{"0 0 30 2 *", "2026-03-01T00:00:00Z", ""},
		{"* * * *", "2026-03-01T00:00:00Z", "error"},
		{"61 * * * *", "2026-03-01T00:00:00Z", "error"},
		{"CRON_TZ=Nowhere/None 0 9 * * *", "2026-03-01T00:00:00Z", "error"},
		{"", "2026-03-01T00:00:00Z", "error"},
		{"CRON_TZ=", "2026-03-01T00:00:00Z", "error"},
		{"CRON_TZ=UTC", "2026-03-01T00:00:00Z", "error"},
		{"CRON_TZ=UTC CRON_TZ=", "2026-03-01T00:00:00Z", "error"},
		{"@every 1s", "2026-03-01T00:00:00Z", "error"},
	} {
		after, err := time.Parse(time.RFC3339, tt.after)
		if err != nil {
			t.Fatal(err)
		}
		next, err := Next(tt.line, after)
		got := next.UTC().Format(time.RFC3339)
		switch {
		case err != nil:
			got = "error"
		case next.IsZero():
			got = ""
		}
		if got != tt.want {
			t.Errorf("%q after %s: %s (%v), want %s", tt.line, tt.after, got, err, tt.want)
		}
	}
}

func FuzzNext(f *testing.F) {
	f.Add("0 9 * * 1-5")
	f.Add("CRON_TZ=UTC */5 0-4,20 1,15 jan-mar sun")
	f.Fuzz(func(t *testing.T, line string) {
		after := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		if next, err := Next(line, after); err == nil && !next.IsZero() && !next.After(after) {
			t.Errorf("%q is due at %s, which is not after %s", line, next, after)
		}
	})
}
