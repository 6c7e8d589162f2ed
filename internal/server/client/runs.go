package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/logs"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/server"
)

// Me is who asks, as the server sees it.
func (c *Client) Me(ctx context.Context) (server.Me, error) {
	return get[server.Me](ctx, c, "/me", nil)
}

// Runs lists runs, the newest first.
func (c *Client) Runs(ctx context.Context, a server.RunsAsk) (server.RunsView, error) {
	q := only("repository", a.Repository, "pipeline", a.Pipeline, "branch", a.Branch, "state", a.State, "actor", a.Actor, "change", a.Change, "before", a.Before)
	if a.Limit > 0 {
		q.Set("limit", strconv.Itoa(a.Limit))
	}
	return get[server.RunsView](ctx, c, "/runs", q)
}

// View is a run as its page shows it.
func (c *Client) View(ctx context.Context, run string) (server.RunView, error) {
	return get[server.RunView](ctx, c, "/runs/"+escape(run), nil)
}

// Events yields the events of a run after a Seq, in order, to fn. Events of a
// kind that this Fairlead does not know are left out.
func (c *Client) Events(ctx context.Context, run string, after int64, fn func(record.Event) error) error {
	return c.lines(ctx, "/runs/"+escape(run)+"/events", only("after", strconv.FormatInt(after, 10)), func(line []byte) error {
		var e server.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("read an event of run %s: %w", run, err)
		}
		body, err := record.Decode(e.Kind, e.Body)
		if err != nil {
			return nil
		}
		return fn(record.Event{Seq: e.Seq, Time: e.Time, Run: e.Run, Job: e.Job, Step: e.Step, Body: body})
	})
}

// Run is all that is known of a run, as the command line shows its own runs.
func (c *Client) Run(ctx context.Context, run string) (*record.Run, error) {
	r := record.NewRun(run)
	return r, c.Events(ctx, run, 0, func(e record.Event) error {
		r.Apply(e)
		return nil
	})
}

// lines gives the lines of an answer to fn.
func (c *Client) lines(ctx context.Context, path string, query url.Values, fn func(line []byte) error) error {
	res, err := c.send(ctx, http.MethodGet, path, query, "", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	lines.Split(whole)
	for lines.Scan() {
		if err := fn(lines.Bytes()); err != nil {
			return stopped{err}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read from %s: %w", c.base.Host, err)
	}
	return nil
}

// whole is a bufio.SplitFunc of lines that have their end: what a broken
// connection left of one is none.
func whole(data []byte, _ bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	return 0, nil, nil
}

// stopped is an error of who reads, not of the connection.
type stopped struct{ error }

func (s stopped) Unwrap() error { return s.error }

// Length is how many lines the log of a job has so far; ok is false when there is
// none.
func (c *Client) Length(ctx context.Context, run, job string) (lines int64, ok bool, err error) {
	v, err := get[server.LogView](ctx, c, "/runs/"+escape(run)+"/log/"+escape(job), only("n", "1"))
	return v.Lines, err == nil && !v.None, err
}

// LogAsk says which lines of a log are wanted.
type LogAsk struct {
	From   int64  // the first one, from 1; 0 for the first there is
	Step   string // the key of the only step; "" for all
	Follow bool   // go on until the log has ended
}

// Log gives the lines of a job's log to fn. A log that is followed is read on
// after the connection, or the server, was gone.
func (c *Client) Log(ctx context.Context, run, job string, a LogAsk, fn func(server.LogLine) error) error {
	from, failed := max(a.From, 1), 0
	for {
		q := only("from", strconv.FormatInt(from, 10), "step", a.Step)
		if a.Follow {
			q.Set("follow", "1")
		}
		err := c.lines(ctx, "/runs/"+escape(run)+"/lines/"+escape(job), q, func(line []byte) error {
			var l server.LogLine
			if err := json.Unmarshal(line, &l); err != nil {
				return fmt.Errorf("read a line of the log: %w", err)
			}
			from, failed = l.N+1, 0
			return fn(l)
		})
		var mine stopped
		switch {
		case errors.As(err, &mine):
			return mine.error
		case err == nil && !a.Follow:
			return nil
		case err == nil: // its end, or that of the server
			if ended, eerr := c.ended(ctx, run, job); eerr == nil && ended {
				return nil
			} else if eerr != nil && !passing(eerr) {
				return eerr
			}
		case !a.Follow || !passing(err) || ctx.Err() != nil || failed >= tries:
			return err
		}
		failed++
		if err := pause(ctx, failed); err != nil {
			return err
		}
	}
}

// ended reports whether a job has ended: nothing is added to its log any more.
func (c *Client) ended(ctx context.Context, run, job string) (bool, error) {
	r, err := c.Run(ctx, run)
	if err != nil {
		return false, err
	}
	j := r.Jobs[job]
	return r.Verdict != "" || j != nil && j.Verdict != "", nil
}

// Watch gives the notices of a stream's topics to fn, those after a Seq first,
// until fn returns an error or ctx ends. A stream that breaks is opened again
// where it was.
func (c *Client) Watch(ctx context.Context, topics []string, after int64, fn func(server.Notice) error) error {
	last, failed := strconv.FormatInt(after, 10), 0
	for {
		err := c.watch(ctx, topics, &last, func(n server.Notice) error {
			failed = 0
			return fn(n)
		})
		var mine stopped
		switch {
		case errors.As(err, &mine):
			return mine.error
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && (!passing(err) || failed >= tries):
			return err
		}
		failed++
		if err := pause(ctx, failed); err != nil {
			return err
		}
	}
}

func (c *Client) watch(ctx context.Context, topics []string, last *string, fn func(server.Notice) error) error {
	res, err := c.send(ctx, http.MethodGet, "/events", url.Values{"topic": topics}, "", nil, func(r *http.Request) { r.Header.Set("Last-Event-ID", *last) })
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 0, 4<<10), maxLine)
	lines.Split(whole)
	var id, event, data string
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			id = value
		case "event":
			event = value
		case "data":
			data = value
		case "":
			if event == "notice" {
				var n server.Notice
				if err := json.Unmarshal([]byte(data), &n); err != nil {
					return stopped{fmt.Errorf("read a notice: %w", err)}
				}
				if err := fn(n); err != nil {
					return stopped{err}
				}
				*last = id
			}
			id, event, data = "", "", ""
		}
	}
	return lines.Err()
}

// Start starts what a workflow file allows to be started by hand.
func (c *Client) Start(ctx context.Context, in server.Starting) (server.Requested, error) {
	return post[server.Requested](ctx, c, "/runs", in)
}

// Rerun begins a new run of the same commit, and returns its ID.
func (c *Client) Rerun(ctx context.Context, run string, a record.Again) (string, error) {
	v, err := post[server.Repeated](ctx, c, "/runs/"+escape(run)+"/rerun", a)
	return v.Run, err
}

// Cancel asks a run to stop, or with a job only that one.
func (c *Client) Cancel(ctx context.Context, run, job string) error {
	return c.ask(ctx, http.MethodPost, "/runs/"+escape(run)+"/cancel", nil, server.Cancelling{Job: job}, nil)
}

// Approve lets a run start that waits for approval.
func (c *Client) Approve(ctx context.Context, run string) error {
	return c.ask(ctx, http.MethodPost, "/runs/"+escape(run)+"/approve", nil, struct{}{}, nil)
}

// Artifacts lists the files that a run kept.
func (c *Client) Artifacts(ctx context.Context, run string) ([]server.Kept, error) {
	v, err := get[server.ArtifactsView](ctx, c, "/runs/"+escape(run)+"/artifacts", nil)
	return v.Artifacts, err
}

// Download writes a file that a run kept to w, and makes sure that it is the
// one. After an error what was written is worth nothing.
func (c *Client) Download(ctx context.Context, run string, a server.Kept, w io.Writer) error {
	res, err := c.send(ctx, http.MethodGet, "/runs/"+escape(run)+"/artifacts/"+escape(a.Name), only("job", a.Job), "", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, sum), res.Body); err != nil {
		return fmt.Errorf("download %s: %w", a.Name, err)
	}
	if got := blob.FromSum(sum.Sum(nil)); string(got) != a.Digest {
		return fmt.Errorf("download %s: what came has the digest %s, not %s", a.Name, got, a.Digest)
	}
	return nil
}

// Pushing is a run of this machine, to be pushed.
type Pushing struct {
	Repository string         // as the server calls it
	Events     []record.Event // all of the run's, in order
	// Log opens the log of a job, Blob the bytes of an artifact.
	Log  func(ctx context.Context, job string) (*logs.Reader, error)
	Blob func(ctx context.Context, d blob.Digest) (io.ReadCloser, error)
}

// Push pushes a run, and returns its ID on the server. When it breaks off it may be
// called again: what is there already is not sent twice.
func (c *Client) Push(ctx context.Context, p Pushing) (string, error) {
	in := server.Pushing{Repository: p.Repository}
	for _, e := range p.Events {
		body, err := json.Marshal(e.Body)
		if err != nil {
			return "", fmt.Errorf("push: %w", err)
		}
		in.Events = append(in.Events, server.Event{Time: e.Time, Run: e.Run, Job: e.Job, Step: e.Step, Kind: e.Kind(), Body: body})
	}
	to, err := post[server.Pushed](ctx, c, "/runs/push", in)
	if err != nil {
		return "", err
	}
	path := "/runs/" + escape(to.Run)
	for _, job := range to.Logs {
		log, err := p.Log(ctx, job)
		if err != nil {
			return to.Run, fmt.Errorf("push the log of job %s: %w", job, err)
		}
		err = c.put(ctx, path+"/log/"+escape(job), "application/x-ndjson", linesOf(log))
		if err = errors.Join(err, log.Close()); err != nil {
			return to.Run, fmt.Errorf("push the log of job %s: %w", job, err)
		}
	}
	for _, d := range to.Blobs {
		b, err := p.Blob(ctx, blob.Digest(d))
		if err != nil {
			return to.Run, fmt.Errorf("push artifact %s: %w", d, err)
		}
		err = c.put(ctx, path+"/blobs/"+escape(d), "application/octet-stream", b)
		if err = errors.Join(err, b.Close()); err != nil {
			return to.Run, fmt.Errorf("push artifact %s: %w", d, err)
		}
	}
	return to.Run, nil
}

func (c *Client) put(ctx context.Context, path, media string, body io.Reader) error {
	res, err := c.send(ctx, http.MethodPut, path, nil, media, io.NopCloser(body))
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// linesOf writes a log as lines of JSON while they are read.
func linesOf(log *logs.Reader) io.Reader {
	r, w := io.Pipe()
	go func() {
		out := bufio.NewWriterSize(w, 64<<10)
		enc := json.NewEncoder(out)
		var gone error
		err := log.Read(0, func(l logs.Line) bool {
			gone = enc.Encode(server.LogLine{N: l.N + 1, Step: l.Step, Time: l.Time, Text: strings.ToValidUTF8(string(l.Text), "�")})
			return gone == nil
		})
		w.CloseWithError(errors.Join(err, gone, out.Flush()))
	}()
	return r
}
