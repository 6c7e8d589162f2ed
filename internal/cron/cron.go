// Package cron says when a line of cron is due.
//
// A line has five fields, "minute hour day month weekday", as the code hosts read
// them: names of days and months, lists, ranges, steps. "CRON_TZ=Europe/Berlin "
// before them says whose clock is meant; without it, it is that of UTC.
package cron

import (
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
)

// Next is the first time after another at which the line is due; zero when it
// never is. The error says that the line is none.
func Next(line string, after time.Time) (time.Time, error) {
	s, err := cron.ParseStandard(line)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the time %.80q: %w", line, err)
	}
	return s.Next(after.UTC()), nil
}
