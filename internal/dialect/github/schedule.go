package github

import "github.com/fairlead-dev/fairlead/internal/plan"

// Schedules are the times at which a pipeline wants to be started: the lines of
// its cron:, five fields each, after "CRON_TZ=zone " where they name a zone. They
// are read from the pipeline's own text.
func (d *Dialect) Schedules(p *plan.Pipeline) []string {
	for _, t := range p.Texts {
		if t.Path != p.File || t.Commit != "" {
			continue
		}
		w, _ := d.read(t)
		if w == nil {
			break
		}
		trigger := w.On.Event("schedule")
		if trigger == nil {
			break
		}
		var lines []string
		for _, c := range trigger.Cron {
			line := c.Line.Text
			if c.Timezone.Text != "" {
				line = "CRON_TZ=" + c.Timezone.Text + " " + line
			}
			lines = append(lines, line)
		}
		return lines
	}
	return nil
}
