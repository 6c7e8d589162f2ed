package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// logsCommand is `fairlead logs`.
func (g *global) logsCommand() *cobra.Command {
	o := new(logging)
	var at site
	c := &cobra.Command{
		Use:   "logs RUN [JOB[/STEP]]",
		Short: "Print what the steps of a run printed",
		Long: `Print what the steps of a run printed: of all jobs one after another, of one
job, or of one step of it. RUN is a number, or counted back: last or -1, -2 …
A STEP is named by its number, its id or its name.`,
		Example: `  fairlead logs last test             the log of one job
  fairlead logs 12 test/3             of one step
  fairlead logs -f last               of a run that goes on, as it grows
  fairlead logs 12 --search 'no such' lines that hold a text, with true counts
  fairlead logs -f 12 --server https://ci.example.org`,
		Args:              args("RUN", "[JOB[/STEP]]"),
		ValidArgsFunction: g.completeJobs,
	}
	f := c.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on printing until the run has ended")
	f.BoolVarP(&o.stamps, "timestamps", "t", false, "print when each line was written")
	f.BoolVarP(&o.numbers, "line-numbers", "n", false, "print the number of each line")
	f.Int64Var(&o.tail, "tail", -1, "print only the last `lines` of each job")
	f.StringVar(&o.search, "search", "", "print only lines that hold this `text`")
	f.BoolVarP(&o.regex, "regexp", "E", false, "the text of --search is a regular expression")
	f.BoolVarP(&o.fold, "ignore-case", "i", false, "upper and lower case are the same to --search")
	f.StringVarP(&o.dir, "dir", "C", ".", "`directory` of the repository")
	at.flags(c)
	c.RunE = func(cmd *cobra.Command, a []string) error {
		if o.follow && o.search != "" {
			return usage("pipe --follow into grep for that", "--follow and --search do not go together")
		}
		if err := o.compile(); err != nil {
			return err
		}
		run, err := g.look(cmd.Context(), &at, a[0], o.dir)
		if err != nil {
			return err
		}
		defer run.Close()
		var only string
		if len(a) > 1 {
			if only, o.step, err = findIn(run.run, a[1]); err != nil {
				return err
			}
		}
		o.out = bufio.NewWriterSize(g.Stdout, flushAt)
		o.st = g.style(g.Stdout)
		defer o.out.Flush()
		switch {
		case o.follow:
			ctx, _, done := interruptible(cmd.Context())
			defer done()
			err = o.following(ctx, run, only)
			if ctx.Err() != nil {
				return exit(ExitInterrupted)
			}
		case o.search != "":
			err = o.searching(cmd.Context(), g, run, only)
		default:
			err = o.printing(cmd.Context(), g, run, only)
		}
		return err
	}
	return c
}

// logging are the flags of `fairlead logs`.
type logging struct {
	follow, stamps, numbers, fold bool
	tail                          int64
	search, dir                   string
	pattern                       *regexp.Regexp // nil for a text
	regex                         bool
	step                          string // key of the only step; "" for all

	st  style
	mu  sync.Mutex
	out *bufio.Writer
	buf []byte
}

// compile reads the pattern, if it is one that is looked for.
func (o *logging) compile() (err error) {
	if !o.regex {
		return nil
	}
	text := o.search
	if o.fold {
		text = "(?i)" + text
	}
	if o.pattern, err = regexp.Compile(text); err != nil {
		return usage("write it as Go's regular expressions are written, or leave out -E", "--search: %v", err)
	}
	return nil
}

// findIn finds the job, and the step if one is named; "" names neither.
func findIn(r *record.Run, name string) (job, step string, err error) {
	if name == "" {
		return "", "", nil
	}
	if j, err := launch.FindJob(r, name); err == nil || !strings.Contains(name, "/") {
		if err != nil {
			return "", "", suggestJob(r, name, err)
		}
		return j.ID, "", nil
	}
	job, step, err = launch.FindStep(r, name)
	return job, step, suggestJob(r, name, err)
}

// suggestJob adds the name that was probably meant to an error about a job.
func suggestJob(r *record.Run, name string, err error) error {
	var use *plan.UsageError
	if !errors.As(err, &use) || !strings.Contains(use.Message, "has no job") {
		return err
	}
	if near := plan.Nearest(name, r.Order); near != "" {
		return &plan.UsageError{Message: use.Message, Hint: "did you mean " + near + "? " + use.Hint}
	}
	return err
}

// wanted reports whether the line is of the step that was asked for, or of one
// inside it.
func (o *logging) wanted(step string) bool {
	return o.step == "" || step == o.step || strings.HasPrefix(step, o.step+".")
}

// line prints a line.
func (o *logging) line(prefix string, l logs.Line) {
	o.buf = append(o.buf[:0], prefix...)
	if o.numbers {
		o.buf = strconv.AppendInt(o.buf, l.N+1, 10)
		o.buf = append(o.buf, '\t')
	}
	if o.stamps {
		o.buf = l.Time.AppendFormat(o.buf, "2006-01-02T15:04:05.000Z")
		o.buf = append(o.buf, ' ')
	}
	o.buf = sanitize(o.buf, l.Text, o.st.colour)
	o.buf = append(o.buf, '\n')
	_, _ = o.out.Write(o.buf)
}

// prefix is put in front of the lines of a job when there are several.
func (o *logging) prefix(job string, alone bool) string {
	if alone {
		return ""
	}
	return o.st.cyan(shown(job)) + o.st.dim(" | ")
}

// jobsOf are the jobs whose logs are wanted.
func jobsOf(r *record.Run, only string) (list []string) {
	for _, id := range r.Order {
		j := r.Jobs[id]
		if only == id && passing(j) {
			for _, c := range j.Children {
				list = append(list, jobsOf(r, c)...)
			}
			return list
		}
		if only == id || only == "" && !passing(j) {
			list = append(list, id)
		}
	}
	return list
}

// reader opens the log of a job; nil, if it has none.
func reader(ctx context.Context, o *looked, job string) (jobLog, error) {
	r, err := o.Log(ctx, o.id, o.run.Jobs[job])
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return r, err
}

// each opens one log after another.
func each(ctx context.Context, run *looked, only string, fn func(job string, alone bool, r jobLog) error) (printed int, err error) {
	jobs := jobsOf(run.run, only)
	var damage error
	for _, job := range jobs {
		r, err := reader(ctx, run, job)
		if err != nil {
			return printed, err
		}
		if r == nil {
			continue
		}
		printed++
		err = fn(job, len(jobs) == 1, r)
		r.Close()
		var d *logs.Damage
		if errors.As(err, &d) {
			damage = errors.Join(damage, err)
		} else if err != nil {
			return printed, err
		}
	}
	return printed, damage
}

func (o *logging) printing(ctx context.Context, g *global, run *looked, only string) error {
	n, err := each(ctx, run, only, func(job string, alone bool, r jobLog) error {
		prefix := o.prefix(job, alone)
		put := func(l logs.Line) bool {
			if o.wanted(l.Step) {
				o.line(prefix, l)
			}
			return true
		}
		if o.tail < 0 {
			return r.Read(0, put)
		}
		if o.step == "" {
			return r.Tail(o.tail, put)
		}
		s := run.run.Job(job).Step(o.step)
		if s == nil || s.Finished == nil {
			return r.Tail(o.tail, put)
		}
		from := max(s.Start.Line, s.Finished.Line-o.tail)
		return r.Read(from, func(l logs.Line) bool { return l.N < s.Finished.Line && put(l) })
	})
	if err == nil && n == 0 {
		fmt.Fprintf(g.Stderr, "run %s has printed nothing; `fairlead show %s` says why\n", run.id, run.id)
	}
	return err
}

func (o *logging) searching(ctx context.Context, g *global, run *looked, only string) error {
	var lines, matches int64
	jobs := 0
	_, err := each(ctx, run, only, func(job string, alone bool, r jobLog) error {
		prefix := o.prefix(job, alone)
		found, err := r.Search(ctx, logs.Query{Text: o.search, Pattern: o.pattern, Fold: o.fold, Step: o.step}, func(l logs.Line) bool {
			o.line(prefix, l)
			return true
		})
		lines, matches = lines+found.Lines, matches+found.Matches
		if found.Lines > 0 {
			jobs++
		}
		return err
	})
	if ferr := o.out.Flush(); err == nil {
		err = ferr
	}
	times := ""
	if matches != lines {
		times = " " + thousands(matches) + " times"
	}
	verb := "hold"
	if lines == 1 {
		verb = "holds"
	}
	fmt.Fprintf(g.Stderr, "%s of %s %s it%s\n", plural(int(lines), "line"), plural(jobs, "job"), verb, times)
	return err
}

// How often the record is asked for news of a run: this machine's, and a server's.
const (
	followEvery    = 100 * time.Millisecond
	followFarEvery = time.Second
)

// settleFor is how long the logs of a run that died are followed.
const settleFor = 200 * time.Millisecond

// following prints the logs of a run, the lines of its jobs as they come, until
// it ends or nobody runs it any more.
func (o *logging) following(ctx context.Context, run *looked, only string) error {
	following := map[string]bool{}
	var wg sync.WaitGroup
	defer wg.Wait()
	over, end := context.WithCancel(ctx)
	defer end()
	alone := only != "" && len(jobsOf(run.run, only)) == 1
	begin := func() error {
		for _, job := range jobsOf(run.run, only) {
			if following[job] {
				continue
			}
			r, err := reader(ctx, run, job)
			if err != nil {
				return err
			}
			if r == nil {
				continue
			}
			following[job] = true
			wg.Go(func() {
				defer r.Close()
				from := int64(0)
				if o.tail >= 0 {
					from = max(r.Lines()-o.tail, 0)
				}
				prefix := o.prefix(job, alone)
				_ = r.Follow(over, from, func(l logs.Line) bool {
					o.mu.Lock()
					defer o.mu.Unlock()
					if o.wanted(l.Step) {
						o.line(prefix, l)
					}
					return true
				})
			})
		}
		return nil
	}
	tick := time.NewTicker(run.every())
	defer tick.Stop()
	for {
		head, err := run.Head(ctx, run.id)
		if err != nil {
			return err
		}
		ended := head.Verdict != "" || head.Interrupted()
		if run.run, err = run.Run(ctx, run.id); err != nil {
			return err
		}
		if only != "" && run.run.Job(only).State == record.Finished {
			ended = true
		}
		if err := begin(); err != nil {
			return err
		}
		o.mu.Lock()
		err = o.out.Flush()
		o.mu.Unlock()
		if err != nil {
			return nil // who reads us has gone
		}
		if ended {
			if head.Interrupted() { // its logs are never closed: print what there is
				time.AfterFunc(settleFor, end)
			}
			wg.Wait()
			return errors.Join(ctx.Err(), o.out.Flush())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
