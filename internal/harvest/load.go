package harvest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	// maxThresholds and maxLatencies are how many thresholds, and how many
	// kinds of latency, a load test has.
	maxThresholds, maxLatencies = 100, 1000
	// maxExact is how many latencies are kept as they are; of more, buckets.
	maxExact = 10_000
)

// loadFormat is a format of load tests; its fields are those of format.
type loadFormat struct {
	name, title, of string
	files           []string
	is              func(*sniff) bool
	// read fills in what the report says. An error says why it ended early.
	read func(*loading) error
}

// loadFormats are the formats of load tests that are read, in the order in
// which a report is held against them.
var loadFormats = []loadFormat{
	{"k6", "k6 summary", "k6 run --summary-export, handleSummary", []string{"*k6*.json", "*summary*.json"}, isK6, readK6},
	{"k6-points", "k6 metric points", "k6 run --out json", []string{"*k6*.json"}, isK6Points, readK6Points},
	{"k6-csv", "k6 metric points as CSV", "k6 run --out csv", []string{"*k6*.csv"}, isK6CSV, readK6CSV},
	{"jtl", "JMeter results", "JMeter, Taurus", []string{"*.jtl", "*jmeter*.csv"}, isJTL, readJTL},
	{"jtl-xml", "JMeter results as XML", "JMeter", []string{"*.jtl"}, isJTLXML, readJTLXML},
	{"locust", "Locust statistics", "locust --csv", []string{"*_stats.csv"}, isLocust, readLocust},
	{"vegeta", "vegeta report", "vegeta report, vegeta report -type=json", []string{"*vegeta*"}, isVegeta, readVegeta},
	{"vegeta-results", "vegeta results", "vegeta encode", []string{"*vegeta*"}, isVegetaResults, readVegetaResults},
	{"wrk", "wrk", "wrk, wrk2", []string{"wrk*.txt", "*wrk.txt"}, isWrk, readWrk},
	{"hey", "hey", "hey", []string{"hey*.txt"}, isHey, readHey},
	{"hey-csv", "hey's CSV", "hey -o csv", []string{"hey*.csv"}, isHeyCSV, readHeyCSV},
	{"iago", "Iago statistics", "Iago", []string{"parrot-server-stats.log"}, isIago, readIago},
	{"go-bench", "Go benchmarks", "go test -bench, benchstat's input", []string{"*.bench", "*bench*.txt"}, isGoBench, readGoBench},
}

// IsLoad names the format of a load test's report that begins like this, "" if
// it is none that is known. The head is at least the first few thousand bytes,
// or the whole file.
func IsLoad(head []byte, name string) string {
	if f := newInput(bytes.NewReader(head), name).loadFormat(); f != nil {
		return f.name
	}
	return ""
}

func (in *input) loadFormat() *loadFormat {
	for n := range loadFormats {
		if f := &loadFormats[n]; f.is(&in.head) {
			return f
		}
	}
	return nil
}

// Load reads what a load test left behind, in any format that is known here,
// which its content shows. It reads a stream and holds one result at a time.
// Latencies are in seconds: "min", "mean", "p50", "p95", "max" and what else
// the tool says or, where it gives each request, is computed from them: exactly
// for ten thousand of them, to one percent for more. Of Go benchmarks, which
// are such tests of functions, Latency has the mean of each benchmark under
// its name, and Requests counts iterations.
//
// A report that is damaged is read as far as it goes, and Salvaged says what
// was wrong, where. The error is of one of which nothing could be read.
func Load(r io.Reader, name string) (record.LoadReported, error) {
	l := &loading{measured: newMeasured(r, name), out: record.LoadReported{Source: name}}
	fail := func(err error) (record.LoadReported, error) {
		err = fmt.Errorf("read load test %s: %w", name, err)
		return record.LoadReported{Source: name, Format: l.out.Format, Unread: err.Error()}, err
	}
	f := l.loadFormat()
	if f == nil {
		return fail(l.unread("load test"))
	}
	l.out.Format = f.name
	if err := f.read(l); err != nil {
		if l.out.Requests == 0 {
			return fail(err)
		}
		l.salvage(err.Error() + "; what comes after was not read")
	}
	l.finish()
	return l.out, nil
}

// loading is a load test while it is read.
type loading struct {
	measured
	out   record.LoadReported
	times latencies
	// When the first request began and the last one ended, in seconds of any
	// clock; both 0 when the report does not say.
	from, to float64
}

// request counts one that began at a time, 0 for an unknown one, and took so
// many seconds.
func (l *loading) request(began, seconds float64, ok bool) {
	l.out.Requests++
	if !ok {
		l.out.Failed++
	}
	l.times.add(seconds)
	if began > 0 {
		if l.from == 0 || began < l.from {
			l.from = began
		}
		l.to = max(l.to, began+max(seconds, 0))
	}
}

// latency notes a number of seconds.
func (l *loading) latency(name string, seconds float64) {
	if !finite(seconds) || len(l.out.Latency) >= maxLatencies {
		return
	}
	if l.out.Latency == nil {
		l.out.Latency = map[string]float64{}
	}
	l.out.Latency[name] = significant(seconds)
}

// finish computes what the report leaves to be computed, and keeps numbers
// within reason.
func (l *loading) finish() {
	if l.times.count > 0 {
		l.latency("min", l.times.min)
		l.latency("mean", l.times.sum/float64(l.times.count))
		l.latency("max", l.times.max)
		for _, p := range []int{50, 90, 95, 99} {
			l.latency("p"+strconv.Itoa(p), l.times.percentile(float64(p)))
		}
	}
	if l.out.Rate == 0 && l.to > l.from {
		l.out.Rate = float64(l.out.Requests) / (l.to - l.from)
	}
	if !finite(l.out.Rate) {
		l.out.Rate = 0
	}
	l.out.Rate = significant(l.out.Rate)
	l.out.Requests = max(l.out.Requests, 0)
	l.out.Failed = min(max(l.out.Failed, 0), l.out.Requests)
	l.out.Salvaged = l.salvaged()
}

// threshold notes whether one was kept.
func (l *loading) threshold(name string, kept bool) {
	if len(l.out.Thresholds) < maxThresholds {
		l.out.Thresholds = append(l.out.Thresholds, record.Threshold{Name: clip(name, maxName), Kept: kept})
	}
}

func finite(f float64) bool { return f >= 0 && f <= math.MaxFloat64 }

// significant is a number with nine digits: what is behind them is dust.
func significant(f float64) float64 {
	s, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 9, 64), 64)
	if err != nil {
		return f
	}
	return s
}

// latencies sums up any number of seconds in little room: as they are while
// they are few, and then in buckets each one percent wide.
type latencies struct {
	count         int64
	sum, min, max float64
	exact         []float64
	buckets       map[int]int64
}

// bucketWidth is how much larger a bucket's upper end is than its lower one.
const bucketWidth = 1.01

func (l *latencies) add(seconds float64) {
	if !finite(seconds) {
		return
	}
	if l.count == 0 || seconds < l.min {
		l.min = seconds
	}
	l.max = max(l.max, seconds)
	l.count++
	l.sum += seconds
	if l.buckets == nil && len(l.exact) < maxExact {
		l.exact = append(l.exact, seconds)
		return
	}
	if l.buckets == nil {
		l.buckets = map[int]int64{}
		for _, s := range l.exact {
			l.buckets[bucket(s)]++
		}
		l.exact = nil
	}
	l.buckets[bucket(seconds)]++
}

// bucket is the number of a latency's bucket; those below a nanosecond share
// one.
func bucket(seconds float64) int {
	return int(math.Ceil(math.Log(max(seconds, 1e-9)) / math.Log(bucketWidth)))
}

// percentile is the latency that so many of a hundred requests did not exceed.
func (l *latencies) percentile(p float64) float64 {
	rank := max(int64(math.Ceil(p/100*float64(l.count))), 1)
	if l.buckets == nil {
		slices.Sort(l.exact)
		return l.exact[min(rank, int64(len(l.exact)))-1]
	}
	seen := int64(0)
	for _, b := range slices.Sorted(maps.Keys(l.buckets)) {
		if seen += l.buckets[b]; seen >= rank {
			// The middle of the bucket, within what was seen.
			return min(max(math.Pow(bucketWidth, float64(b)-0.5), l.min), l.max)
		}
	}
	return l.max
}

// number reads a decimal number; NaN when it is none.
func number(s string) float64 {
	f, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSpace(s), ",", ""), 64)
	if err != nil {
		return math.NaN()
	}
	return f
}

// span reads a duration as tools print it: "1.23ms", "635.91us", "12s",
// "1.5m", "2h"; NaN when it is none.
func span(s string) float64 {
	s = strings.TrimSpace(s)
	end := strings.LastIndexAny(s, "0123456789.") + 1
	if end == 0 {
		return math.NaN()
	}
	units := map[string]float64{"": 1, "s": 1, "sec": 1, "secs": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9, "m": 60, "min": 60, "h": 3600}
	unit, ok := units[strings.TrimSpace(s[end:])]
	if f := number(s[:end]); ok && !math.IsNaN(f) {
		return f * unit
	}
	if d, err := time.ParseDuration(s); err == nil { // 1m2.5s
		return d.Seconds()
	}
	return math.NaN()
}

// percentOf is how a percentile is named: "p(95)", "95th", "95%", "95" are p95.
func percentOf(s string) (name string, ok bool) {
	s = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(s, "p"), "("), ")")
	s = strings.TrimSuffix(strings.TrimSuffix(s, "th"), "%")
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 || f > 100 {
		return "", false
	}
	return "p" + strconv.FormatFloat(f, 'f', -1, 64), true
}

// statistic is how a statistic that tools name is named here; "" for none.
func statistic(s string) string {
	switch s {
	case "avg", "average", "mean":
		return "mean"
	case "med", "median":
		return "p50"
	case "min", "minimum", "fastest":
		return "min"
	case "max", "maximum", "slowest":
		return "max"
	}
	name, _ := percentOf(s)
	return name
}

func isGoBench(s *sniff) bool {
	if s.root != "" || s.keys != nil {
		return false
	}
	for line := range strings.Lines(s.text) {
		if _, ok := goBenchLine(line); ok {
			return true
		}
	}
	return false
}

// goBenchmark is one line of results.
type goBenchmark struct {
	name       string
	iterations int64
	seconds    float64 // per iteration, NaN when it is not said
}

// goBenchLine reads "BenchmarkX/case-8   1000   1234 ns/op   3 B/op".
func goBenchLine(s string) (b goBenchmark, ok bool) {
	if !strings.HasPrefix(s, "Benchmark") {
		return b, false
	}
	f := strings.Fields(s)
	if len(f) < 4 {
		return b, false
	}
	n, ok := decimal(f[1])
	if !ok {
		return b, false
	}
	b = goBenchmark{name: f[0], iterations: n, seconds: math.NaN()}
	for i := 2; i+1 < len(f); i += 2 {
		if f[i+1] == "ns/op" {
			b.seconds = number(f[i]) / 1e9
		}
	}
	return b, true
}

// readGoBench reads what go test -bench prints. The mean of a benchmark is of
// all its runs, each weighed by its iterations.
func readGoBench(l *loading) error {
	type sum struct{ seconds, iterations float64 }
	sums := map[string]sum{}
	pkg := ""
	names := map[string]map[string]bool{} // packages, by benchmark
	for {
		line, err := l.line()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			for key, s := range sums {
				name, of, _ := strings.Cut(key, "\x00")
				if len(names[name]) > 1 { // the same name in several packages
					name = of + "." + name
				}
				if s.iterations > 0 {
					l.latency(clip(name, maxName), s.seconds/s.iterations)
				}
			}
			return err
		}
		text := string(line)
		if p, ok := strings.CutPrefix(text, "pkg: "); ok {
			pkg = clip(p, maxName)
		}
		b, ok := goBenchLine(text)
		if !ok {
			continue
		}
		l.out.Requests += b.iterations
		key := b.name + "\x00" + pkg
		if s, known := sums[key]; known || len(sums) < maxLatencies {
			if finite(b.seconds) {
				sums[key] = sum{s.seconds + b.seconds*float64(b.iterations), s.iterations + float64(b.iterations)}
			}
			if names[b.name] == nil {
				names[b.name] = map[string]bool{}
			}
			names[b.name][pkg] = true
		}
	}
}

func isWrk(s *sniff) bool {
	return slices.ContainsFunc(s.beginning(3), func(l string) bool {
		return strings.HasPrefix(l, "Running ") && strings.Contains(l, " test @ ")
	})
}

// readWrk reads what wrk and wrk2 print.
//
//	Thread Stats   Avg      Stdev     Max   +/- Stdev
//	  Latency   635.91us    0.89ms  12.92ms   93.69%
//	   50%  250.00us
//	22464657 requests in 30.00s, 17.76GB read
//	Socket errors: connect 0, read 5, write 0, timeout 10
//	Non-2xx or 3xx responses: 12
//	Requests/sec: 748868.53
func readWrk(l *loading) error {
	return l.texts(func(line string) {
		f := strings.Fields(line)
		switch {
		case len(f) == 5 && f[0] == "Latency":
			l.latency("mean", span(f[1]))
			l.latency("max", span(f[3]))
		case len(f) == 2 && strings.HasSuffix(f[0], "%"):
			if p, ok := percentOf(f[0]); ok {
				l.latency(p, span(f[1]))
			}
		case len(f) > 3 && f[1] == "requests" && f[2] == "in":
			l.out.Requests = whole(f[0])
		case strings.HasPrefix(strings.TrimSpace(line), "Socket errors:"):
			for i := 2; i+1 < len(f); i += 2 {
				l.out.Failed += whole(strings.TrimSuffix(f[i+1], ","))
			}
		case strings.HasPrefix(strings.TrimSpace(line), "Non-2xx or 3xx responses:"):
			l.out.Failed += whole(f[len(f)-1])
		case len(f) == 2 && f[0] == "Requests/sec:":
			l.out.Rate = number(f[1])
		}
	})
}

// texts calls with each line.
func (l *loading) texts(with func(line string)) error {
	for {
		line, err := l.line()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		with(string(line))
	}
}

func isHey(s *sniff) bool {
	return strings.Contains(s.text, "Summary:") && strings.Contains(s.text, "Requests/sec:") && strings.Contains(s.text, "Slowest:")
}

// readHey reads what hey prints.
//
//	Average:	0.0101 secs
//	Requests/sec:	4923.7
//	  50% in 0.0091 secs
//	  [200]	1000 responses
//	  [3]	Get "http://…": connection refused
func readHey(l *loading) error {
	part := ""
	return l.texts(func(line string) {
		if line != "" && line[0] != ' ' && line[0] != '\t' {
			part, _, _ = strings.Cut(line, ":")
			return
		}
		f := strings.Fields(line)
		if len(f) < 2 {
			return
		}
		key := strings.ToLower(strings.TrimSuffix(f[0], ":"))
		switch part {
		case "Summary":
			if name := statistic(key); name != "" {
				l.latency(name, span(f[1]))
			}
			if key == "requests/sec" {
				l.out.Rate = number(f[1])
			}
		case "Latency distribution":
			// hey's own mistake: some versions print "50%%".
			if p, ok := percentOf(strings.TrimRight(f[0], "%")); ok && f[1] == "in" && len(f) > 2 {
				l.latency(p, span(f[2]))
			}
		case "Status code distribution":
			code, n := whole(strings.Trim(f[0], "[]")), whole(f[1])
			l.out.Requests += n
			if code < 200 || code >= 400 {
				l.out.Failed += n
			}
		case "Error distribution":
			n := whole(strings.Trim(f[0], "[]"))
			l.out.Requests += n
			l.out.Failed += n
		}
	})
}

func isIago(s *sniff) bool {
	return slices.ContainsFunc(s.beginning(5), func(l string) bool {
		return strings.Contains(l, " stats: {") && strings.Contains(l, `"requests_sent"`) || strings.Contains(l, `client\/requests"`)
	})
}

// readIago reads the statistics that Iago logs every minute. Each line is of
// its minute alone: requests and failures add up, and of each percentile the
// worst minute's is given, for they cannot be put together.
func readIago(l *loading) error {
	sum, lines, first, last := 0.0, 0, 0.0, 0.0
	worst := map[string]float64{}
	err := l.texts(func(line string) {
		_, text, ok := strings.Cut(line, " stats: ")
		if !ok {
			return
		}
		var stats map[string]any
		if err := unmarshal(text, &stats); err != nil {
			l.warn(l.measured.number, "%v", err)
			return
		}
		get := func(name string) float64 {
			f, ok := stats[name].(float64)
			if !ok {
				return math.NaN()
			}
			return f
		}
		n, good := get("client/requests"), get("client/success")
		if !finite(n) || n > math.MaxInt32 {
			return
		}
		l.out.Requests += int64(n)
		if finite(good) && good <= n {
			l.out.Failed += int64(n - good)
		}
		const latency = "client/request_latency_ms_"
		if s := get(latency + "sum"); finite(s) {
			sum += s
		}
		for _, name := range []string{"maximum", "p50", "p90", "p95", "p99"} {
			if ms := get(latency + name); finite(ms) {
				worst[statistic(name)] = max(worst[statistic(name)], ms/1e3)
			}
		}
		if at := get("timestamp"); finite(at) {
			if lines == 0 {
				first = at
			}
			last = at
			lines++
		}
	})
	for name, seconds := range worst {
		l.latency(name, seconds)
	}
	if l.out.Requests > 0 {
		l.latency("mean", sum/1e3/float64(l.out.Requests))
	}
	if lines > 1 && last > first {
		l.out.Rate = float64(l.out.Requests) / ((last - first) * float64(lines) / float64(lines-1))
	}
	return err
}

func isVegeta(s *sniff) bool {
	return s.has("latencies", "status_codes") || slices.ContainsFunc(s.beginning(2), func(l string) bool {
		return strings.HasPrefix(l, "Requests ") && strings.Contains(l, "[total, rate")
	})
}

// readVegeta reads vegeta's report, as text or as JSON.
func readVegeta(l *loading) error {
	if l.head.keys == nil {
		return l.texts(func(line string) {
			head, values, ok := strings.Cut(line, "]")
			if !ok {
				return
			}
			what, names, _ := strings.Cut(head, "[")
			name, value := strings.Split(names, ","), strings.Split(values, ",")
			for i := range min(len(name), len(value)) {
				key, v := strings.TrimSpace(name[i]), strings.TrimSpace(value[i])
				switch strings.TrimSpace(what) + " " + key {
				case "Requests total":
					l.out.Requests = whole(v)
				case "Requests rate":
					l.out.Rate = number(v)
				case "Success ratio":
					l.out.Failed = l.out.Requests - int64(math.Round(number(strings.TrimSuffix(v, "%"))/100*float64(l.out.Requests)))
				default:
					if name := statistic(key); strings.HasPrefix(what, "Latencies") && name != "" {
						l.latency(name, span(v))
					}
				}
			}
		})
	}
	var report struct {
		Latencies map[string]float64
		Requests  amount
		Rate      float64
		Success   float64
	}
	odd, err := l.json().value(&report)
	if odd != "" {
		l.warn(1, "%s", odd)
	}
	for key, ns := range report.Latencies {
		if name := statistic(key); name != "" {
			l.latency(name, ns/1e9)
		}
	}
	l.out.Requests, l.out.Rate = report.Requests.n, report.Rate
	if report.Success >= 0 && report.Success <= 1 {
		l.out.Failed = l.out.Requests - int64(math.Round(report.Success*float64(l.out.Requests)))
	}
	return err
}

func isVegetaResults(s *sniff) bool { return s.has("attack", "code", "latency", "timestamp") }

// readVegetaResults reads the results that vegeta encodes as JSON, one a line.
func readVegetaResults(l *loading) error {
	return l.texts(func(line string) {
		if strings.TrimSpace(line) == "" {
			return
		}
		var r struct {
			Code      int
			Timestamp time.Time
			Latency   float64
			Error     string
		}
		if err := unmarshal(line, &r); err != nil {
			l.warn(l.measured.number, "%v", err)
			return
		}
		l.request(epoch(r.Timestamp), r.Latency/1e9, r.Error == "" && r.Code >= 200 && r.Code < 400)
	})
}

// epoch is a time as seconds; 0 for none.
func epoch(t time.Time) float64 {
	if t.IsZero() || t.Unix() < 0 {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}
