package probe

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The variables that hold what a Prometheus server wants to see. They are sent to the server at
// VarServer alone: which one is asked, a repository's file says, and it must not choose who gets a token.
const (
	VarServer   = "FAIRLEAD_PROMETHEUS"
	VarToken    = "FAIRLEAD_PROMETHEUS_TOKEN"
	VarUser     = "FAIRLEAD_PROMETHEUS_USER"
	VarPassword = "FAIRLEAD_PROMETHEUS_PASSWORD"
)

const (
	// maxAnswer is the size of the largest answer of Prometheus that is read, in bytes.
	maxAnswer = 8 << 20
	// askFor is how long Prometheus may take.
	askFor = 20 * time.Second
	// maxPoints is how many values a series may have, Prometheus's own limit.
	maxPoints = 11_000
)

// answered is an answer of the HTTP API.
type answered struct {
	Status    string   `json:"status"`
	ErrorType string   `json:"errorType"`
	Error     string   `json:"error"`
	Warnings  []string `json:"warnings"`
	Data      struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
	} `json:"data"`
}

// sample is a value at a time: [1700000000.1, "0.5"].
type sample [2]json.RawMessage

func (s sample) value() (float64, error) {
	var text string
	if err := json.Unmarshal(s[1], &text); err != nil {
		return 0, errors.New("a value is no string")
	}
	v, err := strconv.ParseFloat(text, 64) // NaN and +Inf, too
	if err != nil {
		return 0, fmt.Errorf("%.20q is no value", text)
	}
	return v, nil
}

// Query asks for the value of an expression now. There is none when nothing matches, and when it is no number
// (0/0); an expression with several values is an error, since which one is meant cannot be known. Who asks
// is shown by the variables [VarToken], or [VarUser] and [VarPassword].
func (p *Probe) Query(ctx context.Context, server, expression string) (value float64, ok bool, err error) {
	a, err := p.ask(ctx, server, "query", url.Values{"query": {expression}})
	if err != nil {
		return 0, false, err
	}
	var s sample
	switch a.Data.ResultType {
	case "scalar":
		err = json.Unmarshal(a.Data.Result, &s)
	case "vector":
		var list []struct{ Value sample }
		if err = json.Unmarshal(a.Data.Result, &list); err == nil {
			switch len(list) {
			case 0:
				if len(a.Warnings) > 0 {
					return 0, false, fmt.Errorf("ask %s: no value, and a warning: %s", hostOf(server), clip([]byte(a.Warnings[0])))
				}
				return 0, false, nil
			case 1:
				s = list[0].Value
			default:
				return 0, false, fmt.Errorf("ask %s: the expression has %d values and should have one: sum(…) makes one of them", hostOf(server), len(list))
			}
		}
	default:
		return 0, false, fmt.Errorf("ask %s: the expression gives a %s, not a number", hostOf(server), cmp.Or(a.Data.ResultType, "nothing"))
	}
	if err == nil {
		value, err = s.value()
	}
	if err != nil {
		return 0, false, fmt.Errorf("ask %s: read the answer: %w", hostOf(server), err)
	}
	return value, !math.IsNaN(value) && !math.IsInf(value, 0), nil
}

// Series asks for the values of an expression between two instants, in order; those that are
// no numbers are left out.
func (p *Probe) Series(ctx context.Context, server, expression string, from, to time.Time, every time.Duration) ([]float64, error) {
	every = max(every, time.Second)
	if to.Before(from) {
		return nil, errors.New("ask for a series: it ends before it begins")
	}
	if int64(to.Sub(from)/every) >= maxPoints {
		return nil, fmt.Errorf("ask for a series: it has more than %d values", maxPoints)
	}
	stamp := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }
	a, err := p.ask(ctx, server, "query_range", url.Values{"query": {expression}, "start": {stamp(from)}, "end": {stamp(to)}, "step": {strconv.FormatFloat(every.Seconds(), 'f', 3, 64)}})
	if err != nil {
		return nil, err
	}
	if a.Data.ResultType != "matrix" {
		return nil, fmt.Errorf("ask %s: the answer is a %s, not a series", hostOf(server), cmp.Or(a.Data.ResultType, "nothing"))
	}
	var list []struct{ Values []sample }
	if err := json.Unmarshal(a.Data.Result, &list); err != nil {
		return nil, fmt.Errorf("ask %s: read the answer: %w", hostOf(server), err)
	}
	if len(list) > 1 {
		return nil, fmt.Errorf("ask %s: the expression has %d series and should have one: sum(…) makes one of them", hostOf(server), len(list))
	}
	var values []float64
	for _, s := range list {
		for _, x := range s.Values {
			v, err := x.value()
			if err != nil {
				return nil, fmt.Errorf("ask %s: read the answer: %w", hostOf(server), err)
			}
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				values = append(values, v)
			}
		}
	}
	return values, nil
}

// ask asks the HTTP API. The expression goes in the body: it may be long, and addresses are logged by whoever
// stands between.
func (p *Probe) ask(ctx context.Context, server, what string, form url.Values) (*answered, error) {
	root, err := url.Parse(server)
	if err != nil || root.Host == "" || root.Scheme != "http" && root.Scheme != "https" {
		return nil, errors.New("ask Prometheus: its address is not http://host or https://host")
	}
	if root.User != nil || root.RawQuery != "" || root.Fragment != "" {
		return nil, fmt.Errorf("ask %s: its address holds more than a host and a path: put who asks into %s, %s and %s", root.Host, VarServer, VarUser, VarPassword)
	}
	ctx, stop := context.WithTimeout(ctx, askFor)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, root.JoinPath("api/v1", what).String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", root.Host, err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("User-Agent", "fairlead-check")
	if known, err := url.Parse(p.env(VarServer)); err == nil && known.Scheme == root.Scheme && known.Host == root.Host && strings.HasPrefix(root.Path+"/", strings.TrimSuffix(known.Path, "/")+"/") {
		if token := p.env(VarToken); token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		} else if user := p.env(VarUser); user != "" {
			r.SetBasicAuth(user, p.env(VarPassword))
		}
	}
	answer, err := p.metrics.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", root.Host, unwrapped(err))
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask %s: read the answer: %w", root.Host, unwrapped(err))
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("ask %s: the answer has more than %d MB", root.Host, maxAnswer>>20)
	case answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden:
		return nil, fmt.Errorf("ask %s: %s: %s and %s say who asks", root.Host, status(answer), VarServer, VarToken)
	}
	var a answered
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&a); err != nil || a.Status == "" {
		return nil, fmt.Errorf("ask %s: %s, and the answer is not Prometheus's: %s", root.Host, status(answer), clip(body))
	}
	if a.Status != "success" {
		return nil, fmt.Errorf("ask %s: %s: %s", root.Host, cmp.Or(a.ErrorType, status(answer)), clip([]byte(a.Error)))
	}
	return &a, nil
}

func hostOf(server string) string {
	if u, err := url.Parse(server); err == nil && u.Host != "" {
		return u.Host
	}
	return "Prometheus"
}
