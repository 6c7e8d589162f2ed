package probe

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// Limits of a load.
const (
	maxRate = 10_000 // requests a second
	maxLoad = time.Hour
	// maxOpen is how many requests may be unanswered at a time; further ones count as failed, since by then
	// the server has fallen behind by far.
	maxOpen = 4096
)

func loadable(l *plan.LoadCheck) error {
	switch {
	case l.Rate < 1 || l.Rate > maxRate:
		return fmt.Errorf("a load has 1 to %d requests a second, not %d", maxRate, l.Rate)
	case l.For <= 0 || l.For > maxLoad:
		return fmt.Errorf("a load lasts at most %s, not %s", maxLoad, l.For)
	}
	return nil
}

// load offers requests at a constant rate, to the instances in turn.
func (p *Probe) load(ctx context.Context, c plan.Check, at []deploy.Instance) record.Evidence {
	var addresses []string
	for i := range at {
		if at[i].Address != "" {
			addresses = append(addresses, at[i].Address)
		}
	}
	if len(addresses) == 0 {
		return evidence(false, "%s: no instance has an address", c.Name)
	}
	l := c.Load
	client := &http.Client{
		Transport:     &http.Transport{DialContext: (&net.Dialer{Timeout: patience}).DialContext, MaxIdleConnsPerHost: maxOpen, MaxIdleConns: maxOpen},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	var (
		took         spans
		sent, failed atomic.Int64
		open         atomic.Int64
		first        atomic.Pointer[string] // failure
		all          sync.WaitGroup
	)
	fail := func(why string) {
		failed.Add(1)
		first.CompareAndSwap(nil, &why)
	}
	ask := func(due time.Time, address string) {
		ctx, stop := context.WithTimeout(ctx, patience)
		defer stop()
		r, err := request(ctx, http.MethodGet, address, l.Path, nil)
		if err != nil {
			fail(err.Error())
			return
		}
		answer, err := client.Do(r)
		if err == nil {
			_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, maxBody))
			_ = answer.Body.Close()
		}
		switch {
		case err != nil:
			fail(unwrapped(err).Error())
		case answer.StatusCode >= http.StatusInternalServerError:
			fail("the status is " + status(answer))
		}
		took.add(time.Since(due))
	}
	n := int(math.Ceil(l.For.Seconds() * float64(l.Rate)))
	begun := time.Now()
	clock := time.NewTimer(0)
	defer clock.Stop()
offer:
	for i := range n {
		due := begun.Add(time.Duration(float64(i) / float64(l.Rate) * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			clock.Reset(wait)
			select {
			case <-clock.C:
			case <-ctx.Done():
				break offer
			}
		} else if ctx.Err() != nil {
			break
		}
		sent.Add(1)
		if open.Add(1) > maxOpen {
			open.Add(-1)
			fail(fmt.Sprintf("%d requests were unanswered", maxOpen))
			took.add(patience)
			continue
		}
		all.Go(func() {
			defer open.Add(-1)
			ask(due, addresses[i%len(addresses)])
		})
	}
	all.Wait()
	if int(sent.Load()) < n {
		return evidence(false, "%s: the load was broken off after %d of %d requests: %v", c.Name, sent.Load(), n, context.Cause(ctx))
	}
	return judged(c, n, int(failed.Load()), &took, first.Load())
}

// judged holds what a load found against its limits.
func judged(c plan.Check, n, failed int, took *spans, first *string) record.Evidence {
	l := c.Load
	p50, p99 := took.quantile(.5), took.quantile(.99)
	share := float64(failed) / float64(n)
	latency := record.Fact{Name: "latency p99", New: float64(p99) / float64(time.Millisecond), Limit: float64(l.Latency) / float64(time.Millisecond), Unit: "ms", Verdict: "ok"}
	errs := record.Fact{Name: "errors", New: share, Limit: l.Errors, Unit: "share", Verdict: "ok"}
	e := evidence(true, "%s: %d requests at %d a second, %.3g %% failed, half were answered within %s, 99 %% within %s", c.Name, n, l.Rate, 100*share, p50, p99)
	if share > l.Errors {
		errs.Verdict, e.OK = "worse", false
		e.Text += fmt.Sprintf("; %.3g %% may fail", 100*l.Errors)
	}
	if first != nil {
		e.Text += "; the first failure: " + *first
	}
	if l.Latency > 0 && p99 > l.Latency {
		latency.Verdict, e.OK = "worse", false
		e.Text += fmt.Sprintf("; 99 %% have to be within %s", l.Latency)
	}
	e.Facts = []record.Fact{errs, latency}
	return e
}

// spans counts durations in buckets, 32 for each doubling: a quantile is at most 2.2 % too long. Its zero
// value is ready.
type spans struct {
	mu     sync.Mutex
	counts [40 * 32]int64 // from 1 µs
	n      int64
}

func (s *spans) add(d time.Duration) {
	i := 0
	if d > time.Microsecond {
		i = min(int(math.Log2(float64(d)/float64(time.Microsecond))*32), len(s.counts)-1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[i]++
	s.n++
}

// quantile is the duration that a share of them does not exceed.
func (s *spans) quantile(q float64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	want := int64(math.Ceil(q * float64(s.n)))
	for i, n := range s.counts {
		if want -= n; n > 0 && want <= 0 {
			d := time.Duration(math.Exp2(float64(i+1)/32) * float64(time.Microsecond))
			return d.Round(max(d/1000, 1)).Round(time.Microsecond)
		}
	}
	return 0
}
