package harvest

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// table reads rows of separated values, as tools and spreadsheets write them.
type table struct {
	l      *loading
	r      *csv.Reader
	pieces *pieces
}

func (l *loading) table(separator rune) *table {
	p := &pieces{r: l.Reader}
	p.next()
	t := &table{l: l, r: csv.NewReader(p), pieces: p}
	t.r.Comma = separator
	t.r.FieldsPerRecord = -1
	t.r.LazyQuotes = true
	t.r.ReuseRecord = true
	return t
}

// next is the next row; it is good until the one after. Rows that are none are
// passed over, with a warning.
func (t *table) next() ([]string, error) {
	for {
		t.pieces.next()
		row, err := t.r.Read()
		var wrong *csv.ParseError
		if !errors.As(err, &wrong) {
			return row, err
		}
		t.l.warn(int64(wrong.StartLine), "%v", wrong.Err)
	}
}

// jtlColumns is what columns a table of JMeter has when its first row does not
// say.
var jtlColumns = []string{"timeStamp", "elapsed", "label", "responseCode", "responseMessage", "threadName", "dataType", "success", "bytes"}

// transaction is how the message of a sample begins that only sums up others.
const transaction = "Number of samples in transaction"

func isJTL(s *sniff) bool {
	first := s.beginning(1)
	if len(first) == 0 {
		return false
	}
	if _, columns := jtlHeader(first[0]); columns != nil {
		return true
	}
	// Without a header: a time in milliseconds, how many it took.
	f := strings.Split(first[0], ",")
	return len(f) >= 9 && len(f[0]) == 13 && decimalOnly(f[0]) && decimalOnly(f[1]) && (f[7] == "true" || f[7] == "false")
}

func decimalOnly(s string) bool {
	_, ok := decimal(s)
	return ok
}

// jtlHeader is what separates the columns, and their names; nil when the line
// is no header.
func jtlHeader(line string) (rune, []string) {
	for _, separator := range ",;\t|" {
		columns := strings.Split(strings.TrimSpace(line), string(separator))
		if slices.Contains(columns, "elapsed") && (slices.Contains(columns, "timeStamp") || slices.Contains(columns, "label")) {
			return separator, columns
		}
	}
	return ',', nil
}

// readJTL reads JMeter's table of samples. A transaction, which sums up
// samples that have rows of their own, is no request.
func readJTL(l *loading) error {
	separator, columns := rune(','), jtlColumns
	header := false
	for _, line := range l.head.beginning(1) {
		if s, named := jtlHeader(line); named != nil {
			separator, columns, header = s, named, true
		}
	}
	at := func(name string) int { return slices.Index(columns, name) }
	began, elapsed, success, code, message := at("timeStamp"), at("elapsed"), at("success"), at("responseCode"), at("responseMessage")
	rows := l.table(separator)
	for first := true; ; first = false {
		row, err := rows.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if first && header {
			continue
		}
		field := func(n int) string {
			if n < 0 || n >= len(row) {
				return ""
			}
			return row[n]
		}
		took := number(field(elapsed))
		line, _ := rows.r.FieldPos(0)
		if !finite(took) {
			l.warn(int64(line), "a row that is no sample")
			continue
		}
		if strings.HasPrefix(field(message), transaction) {
			continue
		}
		ok := field(success) == "true"
		if success < 0 {
			ok = goodCode(field(code))
		}
		l.request(jtlTime(field(began)), took/1e3, ok)
	}
}

// goodCode says whether a status of HTTP is no failure.
func goodCode(s string) bool {
	n, ok := decimal(s)
	return ok && n >= 100 && n < 400
}

// jtlTime reads when a sample began: milliseconds, or a date as it is
// configured; 0 when that is not known here.
func jtlTime(s string) float64 {
	if ms, ok := decimal(s); ok {
		return float64(ms) / 1e3
	}
	for _, layout := range []string{"2006-01-02 15:04:05.000", "2006/01/02 15:04:05.000", "2006-01-02T15:04:05.000Z07:00", "2006/01/02 15:04:05", "2006-01-02 15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			return epoch(t)
		}
	}
	return 0
}

func isJTLXML(s *sniff) bool {
	return s.root == "testResults" && (s.attr("version") != "" || s.holds("sample", "httpSample"))
}

// readJTLXML reads JMeter's samples as XML. What stands in a sample are its
// parts (redirects, images), which are no requests of the test; but what
// stands in a transaction are.
func readJTLXML(l *loading) error {
	var open []bool // the samples that are open: whether they count as requests
	return l.elements(func(e element) error {
		if e.name != "sample" && e.name != "httpSample" {
			return nil
		}
		sums := strings.HasPrefix(e.str("rm"), transaction)
		counts := !sums && !slices.Contains(open, true)
		open = append(open, counts)
		if !counts {
			return nil
		}
		took := number(e.str("t"))
		if !finite(took) {
			l.warn(e.line, "a sample without a time")
			return nil
		}
		l.request(jtlTime(e.str("ts")), took/1e3, e.str("s") == "true" || !e.has("s") && goodCode(e.str("rc")))
		return nil
	}, func(name, _ string) error {
		if (name == "sample" || name == "httpSample") && len(open) > 0 {
			open = open[:len(open)-1]
		}
		return nil
	})
}

func isLocust(s *sniff) bool {
	for _, l := range s.beginning(1) {
		l = strings.ToLower(strings.ReplaceAll(l, `"`, ""))
		return strings.Contains(l, "name,request count,failure count") || strings.Contains(l, "name,# requests,# failures")
	}
	return false
}

// readLocust reads the table of statistics, whose last row is of all requests.
// Times are milliseconds.
func readLocust(l *loading) error {
	rows := l.table(',')
	row, err := rows.next()
	if err != nil {
		return fmt.Errorf("line 1: %w", err)
	}
	columns := slices.Clone(row)
	for i, c := range columns {
		columns[i] = strings.ToLower(c)
	}
	column := func(names ...string) int {
		return slices.IndexFunc(columns, func(c string) bool { return slices.Contains(names, c) })
	}
	name := column("name")
	count, failures := column("request count", "# requests"), column("failure count", "# failures")
	summed := false
	for {
		row, err := rows.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if max(name, count, failures) >= len(row) || count < 0 || failures < 0 || name < 0 {
			continue
		}
		requests, failed := whole(row[count]), whole(row[failures])
		all := row[name] == "Aggregated" || row[name] == "Total"
		if !all && !summed { // until the sum comes, if it does
			l.out.Requests += max(requests, 0)
			l.out.Failed += max(failed, 0)
		}
		if !all {
			continue
		}
		summed = true
		l.out.Requests, l.out.Failed = requests, failed
		for i, c := range columns {
			if i >= len(row) {
				break
			}
			value := number(row[i])
			switch c {
			case "requests/s":
				l.out.Rate = value
			case "median response time", "average response time", "min response time", "max response time":
				word, _, _ := strings.Cut(c, " ")
				l.latency(statistic(word), value/1e3)
			default:
				if p, ok := percentOf(c); ok && strings.HasSuffix(c, "%") && p != "p100" {
					l.latency(p, value/1e3)
				}
			}
		}
	}
}

func isHeyCSV(s *sniff) bool {
	for _, l := range s.beginning(1) {
		return strings.HasPrefix(l, "response-time,") && strings.Contains(l, ",status-code")
	}
	return false
}

// readHeyCSV reads hey's table of requests: how long each took, and when it
// began, counted from the beginning of the test.
func readHeyCSV(l *loading) error {
	rows := l.table(',')
	row, err := rows.next()
	if err != nil {
		return fmt.Errorf("line 1: %w", err)
	}
	columns := slices.Clone(row)
	code, offset := slices.Index(columns, "status-code"), slices.Index(columns, "offset")
	if code < 0 {
		return errors.New("line 1: there is no column status-code")
	}
	for {
		row, err := rows.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		took := number(row[0])
		if !finite(took) || code >= len(row) {
			continue
		}
		began := math.NaN()
		if offset >= 0 && offset < len(row) {
			began = number(row[offset])
		}
		n := whole(row[code])
		// The first begins at 0, which is a time here too.
		l.request(began+1, took, n >= 200 && n < 400)
	}
}
