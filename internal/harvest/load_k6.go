package harvest

import (
	"encoding/json"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// unmarshal reads JSON of one line.
func unmarshal(text string, into any) error { return json.Unmarshal([]byte(text), into) }

func isK6(s *sniff) bool {
	return s.key("metrics") && (s.key("http_reqs") || s.key("iterations") || s.key("http_req_duration") || s.key("root_group") || s.key("iteration_duration"))
}

// k6Metric is a metric of a summary: its numbers beside its name, or under
// "values", as handleSummary is given them.
type k6Metric struct {
	Values     map[string]float64         `json:"values"`
	Thresholds map[string]json.RawMessage `json:"thresholds"`
}

// UnmarshalJSON takes the numbers from where they are.
func (m *k6Metric) UnmarshalJSON(b []byte) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	numbers := all
	if all["values"] != nil {
		numbers = map[string]json.RawMessage{}
		_ = json.Unmarshal(all["values"], &numbers) // what is no object has no numbers
	}
	m.Values = map[string]float64{}
	for name, raw := range numbers {
		var f float64
		if json.Unmarshal(raw, &f) == nil {
			m.Values[name] = f
		}
	}
	_ = json.Unmarshal(all["thresholds"], &m.Thresholds) // nor has it thresholds
	return nil
}

// crossed says whether a threshold was crossed. handleSummary is given
// {"ok": true}; --summary-export writes true for one that was crossed.
func crossed(raw json.RawMessage) bool {
	var yes bool
	if json.Unmarshal(raw, &yes) == nil {
		return yes
	}
	var how struct{ OK *bool }
	return json.Unmarshal(raw, &how) == nil && how.OK != nil && !*how.OK
}

// readK6 reads the summary at the end of a test. Times are milliseconds.
func readK6(l *loading) error {
	j := l.json()
	metrics := map[string]k6Metric{}
	took := 0.0
	err := j.object(func(key string) error {
		switch key {
		case "metrics":
			return j.object(func(name string) error {
				var m k6Metric
				if _, err := j.value(&m); err != nil {
					return err
				}
				if len(metrics) < maxLatencies {
					metrics[name] = m
				}
				return nil
			})
		case "state":
			var state struct{ TestRunDurationMs float64 }
			_, err := j.value(&state)
			took = state.TestRunDurationMs / 1e3
			return err
		}
		return j.skip()
	})
	requests, latency := metrics["http_reqs"], "http_req_duration"
	if requests.Values == nil { // a test of something else than HTTP
		requests, latency = metrics["iterations"], "iteration_duration"
	}
	l.out.Requests = k6Count(requests.Values["count"])
	l.out.Rate = requests.Values["rate"]
	if l.out.Rate == 0 && took > 0 {
		l.out.Rate = float64(l.out.Requests) / took
	}
	// Of a rate, "passes" counts the values that are not zero: of the requests
	// that failed, those that did.
	l.out.Failed = k6Count(metrics["http_req_failed"].Values["passes"])
	for key, ms := range metrics[latency].Values {
		if name := statistic(key); name != "" {
			l.latency(name, ms/1e3)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		for _, t := range slices.Sorted(maps.Keys(metrics[name].Thresholds)) {
			l.threshold(name+": "+t, !crossed(metrics[name].Thresholds[t]))
		}
	}
	return err
}

func k6Count(f float64) int64 {
	if !finite(f) {
		return 0
	}
	return int64(min(f, math.MaxInt64/2))
}

func isK6Points(s *sniff) bool {
	return s.has("type", "metric", "data") && (s.has("data.time") || s.has("data.contains"))
}

// readK6Points reads the points that k6 writes, one a line.
//
//	{"metric":"http_req_duration","type":"Point","data":{"time":"…","value":12.3,"tags":{…}}}
func readK6Points(l *loading) error {
	var k k6Points
	err := l.texts(func(line string) {
		if strings.TrimSpace(line) == "" {
			return
		}
		var p struct {
			Metric, Type string
			Data         struct {
				Time  time.Time
				Value float64
			}
		}
		if err := unmarshal(line, &p); err != nil {
			l.warn(l.measured.number, "%v", err)
			return
		}
		if p.Type == "Point" {
			k.add(l, p.Metric, epoch(p.Data.Time), p.Data.Value)
		}
	})
	k.finish(l)
	return err
}

// k6Points gathers points. A test without HTTP has iterations alone.
type k6Points struct {
	iterations int64
	took       latencies
}

func (k *k6Points) add(l *loading, metric string, at, value float64) {
	if at > 0 && (metric == "http_req_duration" || metric == "iteration_duration") {
		// A point is made when its request has ended.
		if began := at - value/1e3; l.from == 0 || began < l.from {
			l.from = began
		}
		l.to = max(l.to, at)
	}
	switch metric {
	case "http_reqs":
		l.out.Requests += k6Count(value)
	case "http_req_duration":
		l.times.add(value / 1e3)
	case "http_req_failed":
		if value > 0 {
			l.out.Failed++
		}
	case "iterations":
		k.iterations += k6Count(value)
	case "iteration_duration":
		k.took.add(value / 1e3)
	}
}

func (k *k6Points) finish(l *loading) {
	if l.out.Requests == 0 {
		l.out.Requests, l.times = k.iterations, k.took
	}
}

func isK6CSV(s *sniff) bool {
	for _, l := range s.beginning(1) {
		return strings.HasPrefix(l, "metric_name,timestamp,metric_value")
	}
	return false
}

// readK6CSV reads the same points as a table.
func readK6CSV(l *loading) error {
	var k k6Points
	rows := l.table(',')
	if _, err := rows.next(); err != nil {
		return err
	}
	for {
		row, err := rows.next()
		if err != nil {
			k.finish(l)
			if err == io.EOF {
				return nil
			}
			return err
		}
		if len(row) > 2 {
			k.add(l, row[0], number(row[1]), number(row[2]))
		}
	}
}
