package workflow

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// cronField is one of the five fields of a schedule.
type cronField struct {
	name        string
	first, last int
	words       string // names of the values, from first on
}

var cronFields = [...]cronField{
	{name: "minute", first: 0, last: 59},
	{name: "hour", first: 0, last: 23},
	{name: "day of the month", first: 1, last: 31},
	{name: "month", first: 1, last: 12, words: "jan feb mar apr may jun jul aug sep oct nov dec"},
	{name: "day of the week", first: 0, last: 7, words: "sun mon tue wed thu fri sat"},
}

// cronProblem says why a schedule cannot be read; "" when it can. The syntax is
// POSIX cron's: lists of values and ranges, and steps. Forms such as @daily are
// not supported by GitHub.
func cronProblem(line string) string {
	parts := strings.Fields(line)
	if len(parts) != len(cronFields) {
		return fmt.Sprintf("it has %d fields and not %d", len(parts), len(cronFields))
	}
	for i, part := range parts {
		if problem := cronFields[i].problem(part); problem != "" {
			return problem
		}
	}
	return ""
}

func (f cronField) problem(text string) string {
	for _, item := range strings.Split(text, ",") {
		span, step, stepped := strings.Cut(item, "/")
		if stepped {
			if n, err := strconv.Atoi(step); err != nil || n < 1 || n > f.last {
				return fmt.Sprintf("%q is no step for the %s", plan.Clip(step), f.name)
			}
		}
		if span == "*" {
			continue
		}
		low, high, ranged := strings.Cut(span, "-")
		from, ok := f.number(low)
		if !ok {
			return fmt.Sprintf("%q is no %s (%d to %d)", plan.Clip(low), f.name, f.first, f.last)
		}
		if !ranged {
			continue
		}
		to, ok := f.number(high)
		switch {
		case !ok:
			return fmt.Sprintf("%q is no %s (%d to %d)", plan.Clip(high), f.name, f.first, f.last)
		case to < from:
			return fmt.Sprintf("the range %s of the %s ends before it begins", plan.Clip(span), f.name)
		}
	}
	return ""
}

// minCronGap is the shortest time between two runs of a schedule, in minutes.
const minCronGap = 5

// shortestGap is the least number of minutes between two runs of a schedule that
// can be read, within an hour and from hour to hour.
func shortestGap(line string) int {
	parts := strings.Fields(line)
	minutes, hours := cronFields[0].values(parts[0]), cronFields[1].values(parts[1])
	gap, last := 60, -1
	for m, runs := range minutes {
		if !runs {
			continue
		}
		if last >= 0 {
			gap = min(gap, m-last)
		}
		last = m
	}
	for h, runs := range hours {
		if first := slices.Index(minutes, true); runs && hours[(h+1)%24] && first >= 0 {
			return min(gap, 60-last+first)
		}
	}
	return gap
}

// values says for each number up to the last whether the field names it.
func (f cronField) values(text string) []bool {
	all := make([]bool, f.last+1)
	for _, item := range strings.Split(text, ",") {
		span, stride, stepped := strings.Cut(item, "/")
		step := 1
		if stepped {
			step, _ = strconv.Atoi(stride) // has been checked
		}
		from, to := f.first, f.last
		if span != "*" {
			low, high, ranged := strings.Cut(span, "-")
			from, _ = f.number(low)
			if ranged {
				to, _ = f.number(high)
			} else if !stepped {
				to = from
			}
		}
		for n := from; n <= to; n += max(step, 1) {
			all[n] = true
		}
	}
	return all
}

// number reads a value of the field, by number or by name.
func (f cronField) number(text string) (int, bool) {
	for i, w := range strings.Fields(f.words) {
		if strings.EqualFold(w, text) {
			return f.first + i, true
		}
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && len(text) <= 2 && n >= f.first && n <= f.last
}
