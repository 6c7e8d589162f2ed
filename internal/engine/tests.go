package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/coverage"
	"github.com/fairlead-dev/fairlead/internal/harvest"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Tests is what a run does with the results of tests.
type Tests struct {
	// Blobs keep all results of each report; nil: only the counts are known.
	Blobs blob.Store
	// Muted are the tests in quarantine.
	Muted []record.Mute
	// Retry is how often the failed tests of a step are run again, where that is known
	// how to.
	Retry int
	// Affected has the tests of a step run unit by unit where it is known how to, and
	// leaves out those that passed before with the same inputs.
	Affected bool
	// Reports are patterns of reports that are not found by themselves, as those of
	// [coverage.Component].
	Reports []string
}

// maxFailing is how many failed tests of a step are looked up among those in
// quarantine. When there are more, something else is wrong.
const maxFailing = 10_000

// maxBad and maxSalvaged are how many failed tests, and how many things that were
// wrong, a report of several files or attempts tells of.
const maxBad, maxSalvaged = 100, 20

// written is the reports among files that a command has written: those that are
// found by themselves, and those that the project names.
func (j *job) written(root *os.Root, names []string) []string {
	return j.named(names, harvest.Among(root.FS(), names))
}

// lately is the reports that were written since a time, where nobody watched.
func (j *job) lately(root *os.Root, since time.Time) []string {
	found := harvest.Find(root.FS(), since)
	if len(j.req.Tests.Reports) == 0 {
		return found
	}
	return j.named(harvest.Since(root.FS(), since), found)
}

// named adds to the reports that were found those of the files that the project names.
func (j *job) named(names, found []string) []string {
	patterns := coverage.Component{Paths: j.req.Tests.Reports}
	for _, name := range names {
		if patterns.Has(name) && !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	return found
}

// read reads reports, by name below the workspace. Those of tests go to the step's;
// what others say is returned.
func (j *job) read(root *os.Root, names []string, step *trial) (bodies []record.Body) {
	for _, name := range names {
		// What a command beside this one wrote may be among its outputs, too.
		info, err := root.Stat(name)
		if err != nil || !info.Mode().IsRegular() || j.known(name, info.ModTime()) {
			continue
		}
		file, err := root.Open(name)
		if err != nil {
			step.keep(name).end(record.TestsReported{Source: name, Unread: err.Error()})
			continue
		}
		if body := j.readOne(file, name, step); body != nil {
			bodies = append(bodies, body)
		}
		_ = file.Close() // it was only read
	}
	return bodies
}

func (j *job) readOne(file *os.File, name string, step *trial) record.Body {
	head := make([]byte, harvest.HeadSize)
	n, _ := io.ReadFull(file, head) // what cannot be read cannot be again
	head = head[:n]
	source := harvest.Source(head, name)
	var keep *keeping
	body, lines, _ := harvest.Any(io.MultiReader(bytes.NewReader(head), file), name, func(r record.TestResult) error {
		if keep == nil {
			keep = step.keep(source)
		}
		return keep.add(r) // which never fails
	})
	m := j.req.Masker
	switch b := body.(type) {
	case *record.TestsReported:
		b.Source = source
		step.keep(source).end(*b)
		return nil
	case *record.CoverageReported:
		if lines != nil {
			b.Report = j.keepLines(lines)
		}
		b.Unread, b.Salvaged = m.String(b.Unread), masked(j, b.Salvaged)
	case *record.LoadReported:
		b.Unread, b.Salvaged = m.String(b.Unread), masked(j, b.Salvaged)
	case *record.FindingsReported:
		b.Unread, b.Salvaged = m.String(b.Unread), masked(j, b.Salvaged)
		for i := range b.Findings {
			f := &b.Findings[i]
			for _, s := range []*string{&f.Rule, &f.Message, &f.File, &f.Fingerprint, &f.URL} {
				*s = m.String(*s)
			}
		}
	}
	return body
}

// keepLines keeps the lines of a coverage report, "" when that cannot be: then the
// counts are known.
func (j *job) keepLines(lines *coverage.Report) string {
	if j.req.Tests.Blobs == nil {
		return ""
	}
	out, in := io.Pipe()
	go func() { in.CloseWithError(coverage.Encode(in, lines)) }()
	digest, _, err := j.req.Tests.Blobs.Put(context.WithoutCancel(j.hard), out)
	out.CloseWithError(err)
	if err != nil {
		return ""
	}
	return string(digest)
}

// trial is what the tests of a step, or of a job's end, came to, all its attempts
// together.
type trial struct {
	job     *job
	attempt int                          // from 1
	failing map[string]record.TestResult // by case: what failed at its last attempt
	reports map[string]*keeping          // by source
	order   []*keeping
	lost    bool // not all is known
}

func (j *job) trial() *trial {
	return &trial{job: j, attempt: 1, failing: map[string]record.TestResult{}, reports: map[string]*keeping{}}
}

// stdout is the source of the results that a step prints.
const stdout = "\x00"

// keep begins the report of a source, or goes on with it at a further attempt.
func (t *trial) keep(source string) *keeping {
	k := t.reports[source]
	if k == nil {
		k = &keeping{step: t, failed: map[string]bool{}}
		t.reports[source], t.order = k, append(t.order, k)
	}
	return k
}

// close ends all reports.
func (t *trial) close() (bodies []record.Body) {
	if t == nil {
		return nil
	}
	for _, k := range t.order {
		if k.close(); k.report != nil {
			bodies = append(bodies, k.report)
		}
	}
	t.order = nil
	return bodies
}

// quarantined reports whether all failed tests of the step, of which there are some,
// are in quarantine. What is not known is taken for no.
func (t *trial) quarantined(now time.Time) bool {
	if t.lost || len(t.failing) == 0 {
		return false
	}
	for _, r := range t.failing {
		if !t.muted(&r, now) {
			return false
		}
	}
	return true
}

// muted reports whether the failure of a test does not count: it is in quarantine, or
// failed only because tests in it did that are.
func (t *trial) muted(r *record.TestResult, now time.Time) bool {
	if t.mute(r.Key(), now) {
		return true
	}
	if r.Message != "" {
		return false
	}
	within := append(slices.Clone(r.Groups), r.Name)
	inner := false
	for _, o := range t.failing {
		if o.Suite != r.Suite || len(o.Groups) < len(within) || !slices.Equal(o.Groups[:len(within)], within) {
			continue
		}
		if inner = true; o.Message != "" && !t.mute(o.Key(), now) {
			return false
		}
	}
	return inner
}

func (t *trial) mute(key string, now time.Time) bool {
	own := variant(t.job.plan)
	return slices.ContainsFunc(t.job.req.Tests.Muted, func(m record.Mute) bool {
		return m.Key == key && m.Variant == own && now.Before(m.Until)
	})
}

// keeping is a report while it is read: its results go to a blob.
type keeping struct {
	step   *trial
	report *record.TestsReported // of the first attempt, until it is closed
	failed map[string]bool       // cases
	first  int                   // that failed at the first attempt
	ended  int                   // the attempt at which a part of it was read last
	pipe   *io.PipeWriter        // nil until there is a result
	keeper *harvest.Keeper
	done   chan struct{} // closed when digest is set
	digest blob.Digest
	err    error
}

// add takes a result. What cannot be kept is counted all the same.
func (k *keeping) add(r record.TestResult) error {
	if n := k.step.attempt; n > 1 {
		r.Attempt = max(r.Attempt, n)
	}
	mask(k.step.job, &r)
	harvest.Relative(&r, k.step.job.base.Dirs.Workspace)
	k.note(&r)
	blobs := k.step.job.req.Tests.Blobs
	if blobs == nil || k.err != nil {
		return nil
	}
	if k.pipe == nil {
		k.begin(blobs)
	}
	if k.err == nil {
		k.err = k.keeper.Add(&r)
	}
	return nil
}

// take is add for results that are read while they are printed.
func (k *keeping) take(r record.TestResult) { _ = k.add(r) } // which never fails

// note remembers a result that is bad, until the case passes at a later attempt.
func (k *keeping) note(r *record.TestResult) {
	t := k.step
	bad := r.Status == record.TestFailed || r.Status == record.TestError
	if !bad && len(t.failing) == 0 {
		return
	}
	name := r.Key() + r.Params
	_, known := t.failing[name]
	switch {
	case r.Status == record.TestSkipped:
	case !bad:
		delete(t.failing, name)
		delete(k.failed, name)
	case known || len(t.failing) < maxFailing:
		t.failing[name] = record.TestResult{Suite: r.Suite, Groups: r.Groups, Name: r.Name, Params: r.Params, Message: r.Message, Status: r.Status}
		k.failed[name] = true
	default:
		t.lost = true
	}
}

func (k *keeping) begin(blobs blob.Store) {
	out, in := io.Pipe()
	k.pipe, k.done = in, make(chan struct{})
	go func() {
		defer close(k.done)
		digest, _, err := blobs.Put(context.WithoutCancel(k.step.job.hard), out)
		if err == nil {
			k.digest = digest
		}
		out.CloseWithError(err)
	}()
	k.keeper, k.err = harvest.NewKeeper(in)
}

// end takes the sum of a report. That of a further attempt is not added: what counts
// of it is which of the failed tests passed.
func (k *keeping) end(report record.TestsReported) {
	if report.Unread != "" || len(report.Salvaged) > 0 || report.Failed > 0 && len(k.step.failing) == 0 {
		k.step.lost = true
	}
	for i := range report.Bad {
		harvest.Relative(&report.Bad[i], k.step.job.base.Dirs.Workspace)
	}
	again := k.ended != k.step.attempt
	k.ended = k.step.attempt
	switch {
	case k.report == nil:
		k.report, k.first = &report, len(k.failed)
		return
	case !again: // a further file of one report
		k.report.Passed, k.report.Failed = k.report.Passed+report.Passed, k.report.Failed+report.Failed
		k.report.Skipped, k.report.Flaky = k.report.Skipped+report.Skipped, k.report.Flaky+report.Flaky
		if report.Unread != "" {
			k.report.Salvaged = append(k.report.Salvaged, report.Unread)
		}
		if k.step.attempt == 1 {
			k.first = len(k.failed)
		}
	}
	k.report.Seconds = math.Round((k.report.Seconds+report.Seconds)*1e6) / 1e6
	k.report.Bad = append(k.report.Bad, report.Bad...)
	k.report.Salvaged = append(k.report.Salvaged, report.Salvaged...)
}

// close completes the report, if there is one.
func (k *keeping) close() {
	if k.pipe != nil {
		err := k.err
		if err == nil {
			err = k.keeper.Close()
		}
		if k.report == nil {
			err = errNoReport
		}
		_ = k.pipe.CloseWithError(err) // never fails; nil is the end of the stream
		<-k.done
	}
	if k.report == nil {
		return
	}
	j, r := k.step.job, k.report
	r.Results, r.Variant = string(k.digest), variant(j.plan)
	if passed := k.first - len(k.failed); k.step.attempt > 1 {
		r.Failed = max(r.Failed-passed, 0)
		r.Passed, r.Flaky = r.Passed+max(passed, 0), r.Flaky+max(passed, 0)
		seen := map[string]bool{}
		r.Bad = slices.DeleteFunc(r.Bad, func(b record.TestResult) bool {
			name := b.Key() + b.Params
			gone := !k.failed[name] || seen[name]
			seen[name] = true
			return gone
		})
	}
	r.Bad, r.Salvaged = r.Bad[:min(len(r.Bad), maxBad)], r.Salvaged[:min(len(r.Salvaged), maxSalvaged)]
	for i := range r.Bad {
		mask(j, &r.Bad[i])
	}
	r.Unread, r.Salvaged = j.req.Masker.String(r.Unread), masked(j, r.Salvaged)
	now := time.Now()
	for name := range k.failed {
		if t := k.step.failing[name]; k.step.muted(&t, now) {
			r.Muted++
		}
	}
}

var errNoReport = errors.New("no report came of it")

// mask removes the values of secrets from a result.
func mask(j *job, r *record.TestResult) {
	m := j.req.Masker
	for _, s := range []*string{&r.Suite, &r.Name, &r.Params, &r.Message, &r.Type, &r.Stack, &r.Output, &r.File, &r.Owner} {
		*s = m.String(*s)
	}
	r.Groups, r.Tags, r.Attachments = masked(j, r.Groups), masked(j, r.Tags), masked(j, r.Attachments)
}

// masked is a list of texts without the values of secrets. The list itself may be
// shared, and stays as it is.
func masked(j *job, list []string) []string {
	if !slices.ContainsFunc(list, j.req.Masker.Holds) {
		return list
	}
	list = slices.Clone(list)
	for i, s := range list {
		list[i] = j.req.Masker.String(s)
	}
	return list
}

// variant is what of a job tells it apart from its siblings: what languages put
// into brackets at the end of its name. Which share of the tests it has does not
// belong to it: a test that another share has is the same test.
func variant(j *plan.Job) string {
	name := strings.TrimSpace(j.Name)
	if name == "" {
		return ""
	}
	open, end := "(", name[len(name)-1]
	switch end {
	case ')':
	case ']':
		open = "["
	default:
		return ""
	}
	_, inside, ok := strings.Cut(name[:len(name)-1], open)
	if !ok {
		return ""
	}
	shares := map[string]bool{}
	collect(j.Values, shares, 0)
	var parts []string
	for part := range strings.SplitSeq(inside, ",") {
		if part = strings.TrimSpace(part); part != "" && !shares[part] {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ", ")
}

// maxNested is how deep the values of a job are looked into.
const maxNested = 8

// collect finds the values of what says by its name that it chooses a share of tests.
func collect(v any, shares map[string]bool, depth int) {
	m, ok := v.(map[string]any)
	if !ok || depth > maxNested {
		return
	}
	for name, value := range m {
		switch strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(name)) {
		case "shard", "shards", "shardindex", "shardtotal", "index", "total", "nodeindex", "nodetotal", "part", "parts", "partition", "chunk", "chunks", "split", "slice", "bucket":
			shares[fmt.Sprint(value)] = true
		}
		collect(value, shares, depth+1)
	}
}
