// Package cron says when a line of cron is due.
//
// A line has five fields, "minute hour day month weekday", as the code hosts read
// them: names of days and months, lists, ranges, steps. "CRON_TZ=Europe/Berlin "
// before them says whose clock is meant; without it, it is that of UTC.
package cron

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// fields are those of a line; names such as @daily are none of them.
var fields = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// Next is the first time after another at which the line is due; zero when it
// never is. The error says that the line is none.
func Next(line string, after time.Time) (time.Time, error) {
	zone, rest := time.UTC, strings.TrimSpace(line)
	for _, prefix := range []string{"CRON_TZ=", "TZ="} {
		named, ok := strings.CutPrefix(rest, prefix)
		if !ok {
			continue
		}
		name, after, _ := strings.Cut(named, " ")
		place, err := time.LoadLocation(name)
		if err != nil || name == "" {
			return time.Time{}, fmt.Errorf("read the time %.80q: there is no time zone %.80q", line, name)
		}
		zone, rest = place, strings.TrimSpace(after)
	}
	// The parser does not expect a zone without fields behind it.
	if strings.Contains(rest, "=") {
		return time.Time{}, fmt.Errorf("read the time %.80q: a zone belongs before the fields, once", line)
	}
	s, err := fields.Parse(rest)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the time %.80q: %w", line, err)
	}
	return s.Next(after.In(zone)), nil
}
