package harvest

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/record"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, in string
		want     record.LoadReported
	}{
		{"k6: summary export, in which true is crossed", `{"metrics":{"http_reqs":{"count":10,"rate":2.5},"http_req_duration":{"avg":12.5,"min":1,"med":10,"max":40,"p(90)":20,"p(95)":30,"thresholds":{"p(95)<20":true,"avg<100":false}},"http_req_failed":{"value":0.1,"passes":1,"fails":9}},"root_group":{"name":""}}`,
			record.LoadReported{Format: "k6", Requests: 10, Failed: 1, Rate: 2.5,
				Latency:    map[string]float64{"mean": .0125, "min": .001, "p50": .01, "max": .04, "p90": .02, "p95": .03},
				Thresholds: []record.Threshold{{Name: "http_req_duration: avg<100", Kept: true}, {Name: "http_req_duration: p(95)<20", Kept: false}}}},
		{"k6: handleSummary", `{"root_group":{},"options":{},"state":{"testRunDurationMs":4000},"metrics":{"http_reqs":{"type":"counter","contains":"default","values":{"count":8,"rate":2}},"http_req_duration":{"type":"trend","values":{"med":5},"thresholds":{"med<1":{"ok":false}}}}}`,
			record.LoadReported{Format: "k6", Requests: 8, Rate: 2, Latency: map[string]float64{"p50": .005}, Thresholds: []record.Threshold{{Name: "http_req_duration: med<1"}}}},
		{"k6: no HTTP", `{"metrics":{"iterations":{"count":4,"rate":1},"iteration_duration":{"avg":2}}}`,
			record.LoadReported{Format: "k6", Requests: 4, Rate: 1, Latency: map[string]float64{"mean": .002}}},
		{"k6: points", `{"type":"Metric","data":{"name":"http_reqs","type":"counter","contains":"default","thresholds":[]},"metric":"http_reqs"}
{"metric":"http_reqs","type":"Point","data":{"time":"2026-01-01T00:00:01.1Z","value":1,"tags":{}}}
{"metric":"http_req_duration","type":"Point","data":{"time":"2026-01-01T00:00:01.1Z","value":100,"tags":{}}}
{"metric":"http_req_failed","type":"Point","data":{"time":"2026-01-01T00:00:01.1Z","value":0,"tags":{}}}
{"metric":"http_reqs","type":"Point","data":{"time":"2026-01-01T00:00:03Z","value":1,"tags":{}}}
{"metric":"http_req_duration","type":"Point","data":{"time":"2026-01-01T00:00:03Z","value":300,"tags":{}}}
{"metric":"http_req_failed","type":"Point","data":{"time":"2026-01-01T00:00:03Z","value":1,"tags":{}}}
`, record.LoadReported{Format: "k6-points", Requests: 2, Failed: 1, Rate: 1, Latency: sorted(.1, .3)}},
		{"k6: points as a table", "metric_name,timestamp,metric_value,check,error\nhttp_reqs,1700000001,1,,\nhttp_req_duration,1700000001,1000,,\nhttp_reqs,1700000002,1,,\nhttp_req_duration,1700000002,1000,,\nhttp_req_failed,1700000002,1.0,,\n",
			record.LoadReported{Format: "k6-csv", Requests: 2, Failed: 1, Rate: 1, Latency: sorted(1, 1)}},
		{"jmeter: a semicolon, quotes over lines, transactions", "timeStamp;elapsed;label;responseCode;responseMessage;success\n1700000000000;100;a;200;OK;true\n1700000000500;500;\"b\n\"\"c\"\"\";500;Oops;false\n1700000000000;1000;t;200;\"Number of samples in transaction : 2, number of failing samples : 1\";false\n",
			record.LoadReported{Format: "jtl", Requests: 2, Failed: 1, Rate: 2, Latency: sorted(.1, .5)}},
		{"jmeter: no header", "1700000000000,100,a,200,OK,g 1-1,text,true,10,20\n1700000001000,1000,a,200,OK,g 1-1,text,false,10,20\n",
			record.LoadReported{Format: "jtl", Requests: 2, Failed: 1, Rate: 1, Latency: sorted(.1, 1)}},
		{"jmeter: xml with parts and transactions", `<?xml version="1.0" encoding="UTF-8"?><testResults version="1.2"><sample t="900" ts="1700000000000" s="true" rm="Number of samples in transaction : 2, number of failing samples : 0"><httpSample t="400" ts="1700000000000" s="true" rc="200"><httpSample t="1" ts="1700000000000" s="true"/></httpSample><httpSample t="500" ts="1700000000500" s="false" rc="500"/></sample></testResults>`,
			record.LoadReported{Format: "jtl-xml", Requests: 2, Failed: 1, Rate: 2, Latency: sorted(.4, .5)}},
		{"locust", "Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,Min Response Time,Max Response Time,Average Content Size,Requests/s,Failures/s,50%,66%,95%,99.9%,100%\nGET,/a,3,1,10,12.5,2,30,100,1.5,0.5,10,12,20,30,30\n,Aggregated,3,1,10,12.5,2,30,100,1.5,0.5,10,12,20,30,30\n",
			record.LoadReported{Format: "locust", Requests: 3, Failed: 1, Rate: 1.5, Latency: map[string]float64{"p50": .01, "mean": .0125, "min": .002, "max": .03, "p66": .012, "p95": .02, "p99.9": .03}}},
		{"vegeta: json", `{"latencies":{"total":3000000,"mean":1500000,"50th":1000000,"90th":2000000,"95th":2000000,"99th":2000000,"max":2000000,"min":1000000},"bytes_in":{},"earliest":"2026-01-01T00:00:00Z","requests":2,"rate":4,"throughput":2,"success":0.5,"status_codes":{"200":1,"500":1},"errors":["500"]}`,
			record.LoadReported{Format: "vegeta", Requests: 2, Failed: 1, Rate: 4, Latency: map[string]float64{"mean": .0015, "p50": .001, "p90": .002, "p95": .002, "p99": .002, "max": .002, "min": .001}}},
		{"vegeta: text", "Requests      [total, rate, throughput]         100, 50.50, 25.00\nDuration      [total, attack, wait]             2s, 1.98s, 1ms\nLatencies     [min, mean, 50, 90, 95, 99, max]  100µs, 1.5ms, 1ms, 2ms, 3ms, 1.2s, 1m1s\nBytes In      [total, mean]                     1, 1\nSuccess       [ratio]                           75.00%\nStatus Codes  [code:count]                      200:75  500:25\n",
			record.LoadReported{Format: "vegeta", Requests: 100, Failed: 25, Rate: 50.5, Latency: map[string]float64{"min": .0001, "mean": .0015, "p50": .001, "p90": .002, "p95": .003, "p99": 1.2, "max": 61}}},
		{"vegeta: results", `{"attack":"","seq":0,"code":200,"timestamp":"2026-01-01T00:00:00Z","latency":100000000,"bytes_out":0,"bytes_in":2,"error":"","body":"","method":"GET","url":"http://a"}
{"attack":"","seq":1,"code":0,"timestamp":"2026-01-01T00:00:01.5Z","latency":500000000,"bytes_out":0,"bytes_in":0,"error":"refused","body":null,"method":"GET","url":"http://a"}
`, record.LoadReported{Format: "vegeta-results", Requests: 2, Failed: 1, Rate: 1, Latency: sorted(.1, .5)}},
		{"wrk", "Running 30s test @ http://127.0.0.1/\n  2 threads and 10 connections\n  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency   635.91us    0.89ms  12.92ms   93.69%\n    Req/Sec    56.20k     8.07k   62.00k    86.54%\n  Latency Distribution\n     50%  250.00us\n     99%    5.00ms\n  1000 requests in 30.00s, 17.76MB read\n  Socket errors: connect 1, read 2, write 0, timeout 3\n  Non-2xx or 3xx responses: 4\nRequests/sec:     33.33\nTransfer/sec:    606.33MB\n",
			record.LoadReported{Format: "wrk", Requests: 1000, Failed: 10, Rate: 33.33, Latency: map[string]float64{"mean": .00063591, "max": .01292, "p50": .00025, "p99": .005}}},
		{"hey", "\nSummary:\n  Total:\t2.0000 secs\n  Slowest:\t0.5000 secs\n  Fastest:\t0.0100 secs\n  Average:\t0.1000 secs\n  Requests/sec:\t50.0000\n  \n\nLatency distribution:\n  50% in 0.0900 secs\n  95%% in 0.2000 secs\n\nStatus code distribution:\n  [200]\t90 responses\n  [500]\t6 responses\n\nError distribution:\n  [4]\tGet \"http://a\": refused\n",
			record.LoadReported{Format: "hey", Requests: 100, Failed: 10, Rate: 50, Latency: map[string]float64{"max": .5, "min": .01, "mean": .1, "p50": .09, "p95": .2}}},
		{"hey: table", "response-time,DNS+dialup,DNS,Request-write,Response-delay,Response-read,status-code,offset\n0.1000,0,0,0,0,0,200,0.0000\n0.5000,0,0,0,0,0,404,1.5000\n",
			record.LoadReported{Format: "hey-csv", Requests: 2, Failed: 1, Rate: 1, Latency: sorted(.1, .5)}},
		{"go benchmarks: of two packages, run twice", "goos: linux\npkg: example.org/a\nBenchmarkX-8   \t 100\t 2000 ns/op\t 3 B/op\nBenchmarkX-8   \t 300\t 4000 ns/op\nBenchmarkY/case=1-8 \t 10\t 1e3 ns/op\nPASS\npkg: example.org/b\nBenchmarkY/case=1-8 \t 10\t 3000 ns/op\n",
			record.LoadReported{Format: "go-bench", Requests: 420, Latency: map[string]float64{"BenchmarkX-8": 3.5e-6, "example.org/a.BenchmarkY/case=1-8": 1e-6, "example.org/b.BenchmarkY/case=1-8": 3e-6}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := Load(strings.NewReader(test.in), "x")
			if err != nil {
				t.Fatal(err)
			}
			test.want.Source = "x"
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			if named := IsLoad([]byte(test.in), "x"); named != test.want.Format {
				t.Errorf("its beginning is taken for %q", named)
			}
			if named := IsCoverage([]byte(test.in), "x"); named != "" {
				t.Errorf("it is taken for coverage, too: %s", named)
			}
		})
	}
}

// sorted is what is said of two latencies.
func sorted(a, b float64) map[string]float64 {
	return map[string]float64{"min": a, "mean": significant((a + b) / 2), "p50": a, "p90": b, "p95": b, "p99": b, "max": b}
}

func TestLoadSalvages(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, in, salvaged, unread string
		requests                   int64
	}{
		{"a row that is none", "timeStamp,elapsed,label,success\n1,100,a,true\nnonsense\n2,100,a,true\n", "line 3: a row that is no sample", "", 2},
		{"points with nonsense", `{"metric":"http_reqs","type":"Point","data":{"time":"2026-01-01T00:00:01Z","value":1}}` + "\n{\"metric\":\n", "line 2: unexpected end of JSON input", "", 1},
		{"xml cut off", `<testResults version="1.2"><httpSample t="1" ts="1" s="true"/><httpSample t="2"`, "line 1: the file ends in the middle of <testResults>", "", 1},
		{"a summary cut off", `{"metrics":{"http_reqs":{"count":3,"rate":1},"http_req_duration":{"avg":1`, "line 1: it ends in the middle; what comes after was not read", "", 3},
		{"numbers without end", "timeStamp,elapsed,success\n1,1e400,true\n1,NaN,true\n1,-4,true\n1,5,true\n", "no sample", "", 1},
		{"empty", "", "", "it is empty", 0},
		{"something else", "a,b,c\n1,2,3\n", "", "it is no load test that is known here", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := Load(strings.NewReader(test.in), "x")
			if test.unread != "" {
				if err == nil || !strings.Contains(got.Unread, test.unread) {
					t.Fatalf("%+v, %v", got, err)
				}
				return
			}
			if err != nil || got.Requests != test.requests || !strings.Contains(strings.Join(got.Salvaged, "\n"), test.salvaged) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestLatencies(t *testing.T) {
	t.Parallel()
	var l latencies
	const n = 200_000
	for i := range n {
		l.add(float64((i*7919)%n+1) / 1e5) // each of 10 µs … 2 s once
	}
	if len(l.exact) > 0 || len(l.buckets) > 2000 {
		t.Fatalf("%d latencies and %d buckets are kept", len(l.exact), len(l.buckets))
	}
	for _, p := range []float64{1, 50, 90, 99, 99.9, 100} {
		want := p / 100 * n / 1e5
		if got := l.percentile(p); math.Abs(got-want)/want > 0.01 {
			t.Errorf("p%v is %v, want %v within one percent", p, got, want)
		}
	}
}

// loadOracles are sums for files of the corpus: those that the tests of the
// plugin they come from expect, or that the report itself claims.
var loadOracles = map[string][2]int64{
	"JENKINS-16627_CSV_instead_of_XML.jtl": {3, 0},
	"JMeterCsvResults.csv":                 {3, 0},
	"JMeterPublisher.csv":                  {3, 1},
	"JMeterResults.jtl":                    {8, 0},
	"JMeterResultsMultiLevel.jtl":          {10, 0},
	"JMeterResultsMultiThread.jtl":         {5, 0},
	"JMeterResultsTenSamples.jtl":          {10, 0},
	"JMeterResultsThreeSamples.jtl":        {3, 0},
	"multiLineCSV.jtl":                     {2, 1},
	"IagoResults.log":                      {204, 1},
	"k6_summary.json":                      {1441114, 853649},
}

func TestLoadCorpus(t *testing.T) {
	t.Parallel()
	read, agree, all := 0, 0, 0
	for _, folder := range []string{"jmeter", "iago", "k6-summary-json", "go-bench"} {
		for _, file := range measuredFiles(t, folder+"/*") {
			all++
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Load(f, filepath.Base(file))
			f.Close()
			if err != nil || got.Requests == 0 || len(got.Latency) == 0 || len(got.Salvaged) > 0 {
				t.Errorf("%s: %+v, %v", file, got, err)
				continue
			}
			read++
			for name, want := range loadOracles {
				if strings.HasSuffix(file, "_"+name) {
					if got := [2]int64{got.Requests, got.Failed}; got != want {
						t.Errorf("%s: requests and failures are %v, want %v", name, got, want)
						continue
					}
					agree++
				}
			}
		}
	}
	t.Logf("%d of %d files read, %d of %d have the sums that are expected", read, all, agree, len(loadOracles))
	if read < 24 || agree < len(loadOracles) {
		t.Errorf("the floor is 24 files, %d sums", len(loadOracles))
	}
}

// TestLoadMemory reads a table of many samples. With FAIRLEAD_LARGE it is of
// 500 MB.
func TestLoadMemory(t *testing.T) {
	var part bytes.Buffer
	for i := range 10_000 {
		fmt.Fprintf(&part, "%d,%d,GET /some/where,200,OK,Thread Group 1-%d,text,true,,1234,567,1,1\n", 1_700_000_000_000+i*10, i%997, i%50)
	}
	times := 10
	if os.Getenv("FAIRLEAD_LARGE") != "" {
		times = 500<<20/part.Len() + 1
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	got, err := Load(&repeated{part: part.Bytes(), times: times}, "x.jtl")
	if err != nil || got.Requests != int64(times)*10_000 {
		t.Fatalf("%+v, %v", got, err)
	}
	runtime.ReadMemStats(&after)
	const most = 64 << 20
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > most {
		t.Errorf("the heap grew by %d MB", grown>>20)
	}
}

func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		`{"metrics":{"http_reqs":{"count":10,"rate":2.5},"http_req_duration":{"avg":1,"thresholds":{"a":true}}}}`,
		`{"metric":"http_reqs","type":"Point","data":{"time":"2026-01-01T00:00:01Z","value":1}}`,
		"timeStamp,elapsed,label,success\n1,100,\"a\nb\",true\n", `<testResults version="1.2"><httpSample t="1" ts="1" s="true"/></testResults>`,
		"Type,Name,Request Count,Failure Count,50%\n,Aggregated,3,1,10\n", `{"latencies":{"mean":1},"requests":2,"rate":4,"success":0.5,"status_codes":{}}`,
		"Requests      [total, rate]  1, 2\nLatencies [min]  1ms\n", "Running 1s test @ x\n Latency 1us 1us 1us 1%\n 1 requests in 1s, 1B read\n",
		"Summary:\n  Slowest:\t1 secs\n  Requests/sec:\t1\n", "response-time,status-code,offset\n1,200,0\n",
		"metric_name,timestamp,metric_value\nhttp_reqs,1,1\n", `INF stats: {"client\/requests":3,"requests_sent":3}`, "BenchmarkX 1 2 ns/op\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := Load(bytes.NewReader(in), "x")
		if (err == nil) != (got.Unread == "") {
			t.Fatalf("error %v, Unread %q", err, got.Unread)
		}
		if got.Failed < 0 || got.Failed > got.Requests || !finite(got.Rate) {
			t.Fatalf("%+v", got)
		}
		for name, s := range got.Latency {
			if !finite(s) || name == "" {
				t.Fatalf("%s is %v", name, s)
			}
		}
	})
}
