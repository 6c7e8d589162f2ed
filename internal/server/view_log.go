package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	// plainLines is how long a log may be to be a page as a whole. A longer one
	// is shown through a window that fetches its lines.
	plainLines = 20_000
	windowed   = 400   // lines of the first part of a longer log
	mostLines  = 5_000 // lines of a part
	maxLine    = 64 << 10
	// maxPart is how many bytes a part has. Lines after that are cut short: a page of
	// the longest lines would otherwise be a gigabyte.
	maxPart = 4 << 20
	maxHits = 5_000
)

// LogAsk is what a log is asked for.
type LogAsk struct {
	From, N int64  // N lines from From on; 0: as its page shows it; less: none
	At, To  int64  // lines that are selected
	Query   string // what to look for
	Case    bool   // upper and lower case differ
	Regexp  bool   // Query is a regular expression of Go's
	After   int64  // hits after this line
	Step    string // only of this step
	Whole   bool   // also the lines when only hits are of interest
}

// log is the view of a job's log.
func (v *views) log(ctx context.Context, run, job string, ask LogAsk) (LogView, error) {
	head, r, err := v.fold(ctx, run)
	if err != nil {
		return LogView{}, err
	}
	j := r.Jobs[job]
	if j == nil {
		return LogView{}, missing("job")
	}
	view := LogView{Run: rowOf(&head, v.now()), Job: v.job(r, j), At: ask.At, To: max(ask.At, ask.To), Query: ask.Query}
	for _, id := range r.Order {
		view.Jobs = append(view.Jobs, v.job(r, r.Jobs[id]))
	}
	log, err := v.openLog(ctx, run, j)
	if errors.Is(err, fs.ErrNotExist) {
		view.None, view.Closed = true, !view.Job.State.Live()
		return view, nil
	}
	if err != nil {
		return view, fmt.Errorf("open the log of job %s: %w", job, err)
	}
	defer log.Close()
	view.Closed = log.Closed() // before the count: no line comes after it
	view.Lines = log.Lines()
	if ask.Query != "" {
		if view.Found, err = search(ctx, log, ask); err != nil {
			return view, view.damaged(err)
		}
		if !ask.Whole {
			return view, nil
		}
	}
	from, n := ask.From, ask.N
	if n < 0 {
		return view, nil
	}
	if n == 0 {
		if n = view.Lines; view.Lines > plainLines {
			n = windowed
			if from == 0 && ask.At > 0 {
				from = ask.At - windowed/2
			}
		}
	}
	view.From = max(from, 1)
	size, most := 0, maxLine
	err = log.Read(view.From-1, func(l logs.Line) bool {
		if l.N >= view.From-1+n {
			return false
		}
		if ask.Step == "" || l.Step == ask.Step {
			view.Part = append(view.Part, logLine(l, most))
			if size += min(len(l.Text), most); size > maxPart {
				most = maxShown
			}
		}
		return ctx.Err() == nil
	})
	return view, view.damaged(err)
}

func (v *views) openLog(ctx context.Context, run string, j *record.JobRun) (*logs.Reader, error) {
	if v.logs == nil {
		return nil, fs.ErrNotExist
	}
	return v.logs.OpenLog(ctx, run, j)
}

// damaged takes note of lines that cannot be read. Other errors it returns.
func (v *LogView) damaged(err error) error {
	var damage *logs.Damage
	if !errors.As(err, &damage) {
		return err
	}
	var lost int64
	for _, d := range damage.Ranges {
		lost += d.To - d.From
	}
	v.Damage = plural(lost, "line") + " of this log cannot be read: the file was changed, or the disk is failing."
	return nil
}

// search looks through a log. The counts are of all of it.
func search(ctx context.Context, log *logs.Reader, ask LogAsk) (*Found, error) {
	f := &Found{Hits: []int64{}}
	var pattern *regexp.Regexp
	if ask.Regexp {
		var err error
		if pattern, err = patternOf(ask); err != nil {
			return nil, err
		}
	}
	hit := func(l logs.Line) bool {
		if l.N+1 <= ask.After {
			return true
		}
		if len(f.Hits) == maxHits {
			f.More = true
			return false
		}
		f.Hits = append(f.Hits, l.N+1)
		return true
	}
	counts, err := log.Search(ctx, logs.Query{Text: ask.Query, Pattern: pattern, Fold: !ask.Case, Step: ask.Step}, hit)
	f.Lines, f.Matches = counts.Lines, counts.Matches
	return f, err
}

// maxPattern is how many bytes a pattern may have: what it costs grows with it.
const maxPattern = 1000

// patternOf is what to look for. Go's regular expressions take time in proportion to the
// text, whatever somebody thinks up.
func patternOf(ask LogAsk) (*regexp.Regexp, error) {
	text := ask.Query
	if len(text) > maxPattern {
		return nil, problem(http.StatusUnprocessableEntity, "unusable", "", "a pattern may have %d bytes, this one has %d", maxPattern, len(text))
	}
	if !ask.Case {
		text = "(?i)" + text
	}
	p, err := regexp.Compile(text)
	var bad *syntax.Error
	if errors.As(err, &bad) {
		return nil, problem(http.StatusUnprocessableEntity, "unusable", "write it as Go's regular expressions are written, or look for it as text", "it is no pattern: %s", bad.Code)
	}
	return p, err
}

// logLine is a line for people: valid UTF-8, cut when it is too long.
func logLine(l logs.Line, most int) LogLine {
	text := l.Text
	cut := len(text) > most
	if cut {
		for text = text[:most]; len(text) > 0 && !utf8.RuneStart(text[len(text)-1]); {
			text = text[:len(text)-1]
		}
		text = text[:max(0, len(text)-1)]
	}
	return LogLine{N: l.N + 1, Step: l.Step, Time: l.Time, Text: strings.ToValidUTF8(string(text), "�"), Cut: cut}
}

// mark is what a line means to whoever shows logs.
type mark int

const (
	noMark mark = iota
	foldBegins
	foldEnds
	isError
	isWarning
)

// markOf finds the commands of runners in a line: they begin and end folds, or say
// how bad a line is. The rest is what to show.
func markOf(text string) (m mark, rest string) {
	for _, c := range []struct {
		prefix string
		mark   mark
	}{
		{"::group::", foldBegins}, {"##[group]", foldBegins}, {"::endgroup::", foldEnds}, {"##[endgroup]", foldEnds},
		{"##[error]", isError}, {"##[warning]", isWarning}, {"::error", isError}, {"::warning", isWarning},
	} {
		rest, ok := strings.CutPrefix(text, c.prefix)
		switch {
		case !ok:
		case c.prefix[0] == ':' && c.mark >= isError:
			// ::error file=x,line=1::what is wrong
			if rest == "" || rest[0] != ':' && rest[0] != ' ' {
				continue
			}
			if _, says, found := strings.Cut(rest, "::"); found {
				return c.mark, says
			}
		default:
			return c.mark, rest
		}
	}
	// section_start:1560896352:my_section[collapsed=true]\r\e[0KHeader
	text = strings.TrimPrefix(text, "\x1b[0K")
	if rest, ok := strings.CutPrefix(text, "section_start:"); ok {
		if _, header, found := strings.Cut(rest, "\r"); found {
			return foldBegins, header
		}
		_, name, _ := strings.Cut(rest, ":")
		return foldBegins, name
	}
	if strings.HasPrefix(text, "section_end:") {
		_, after, _ := strings.Cut(text, "\r")
		return foldEnds, strings.TrimPrefix(after, "\x1b[0K")
	}
	return noMark, text
}
