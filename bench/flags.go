package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
)

const (
	flagClients = 32
	flagTime    = 5 * time.Second
)

// flags measures how fast programs are answered by OFREP: one flag a request, and twenty flags a
// request. The programs are connections of this process that are kept open; what they take of the
// processors is subtracted nowhere.
func (b *serving) flags() error {
	h, err := b.team("flags", nil)
	if err != nil {
		return err
	}
	defer h.stop()
	var file strings.Builder
	file.WriteString(`{"flags":{`)
	for i := range 20 {
		if i > 0 {
			file.WriteByte(',')
		}
		fmt.Fprintf(&file, `"flag-%d":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off",
			"targeting":{"if":[{"and":[{"in":[{"var":"country"},["DE","FR"]]},{">=":[{"var":"age"},18]}]},{"fractional":[["on",25],["off",75]]},"off"]}}`, i)
	}
	file.WriteString(`}}`)
	name := filepath.Join(b.tmp, "flags.json")
	if err := os.WriteFile(name, []byte(file.String()), 0o600); err != nil {
		return err
	}
	if _, err := h.fairlead("", "flag", "import", name, "--repo", "team/app", "--env", "production", "--why", "bench"); err != nil {
		return err
	}
	token, err := h.programToken()
	if err != nil {
		return err
	}
	for _, c := range []struct {
		what, path string
		each       int
		bar        string
	}{
		{"OFREP, one flag a request: evaluations a second; processor time of the server each", "/flag-7", 1, "30,000"},
		{"OFREP, twenty flags a request: evaluations a second; processor time of the server each", "", 20, "30,000"},
	} {
		before, err := h.processorTime()
		if err != nil {
			return err
		}
		n, err := h.programs(c.path, token)
		if err != nil {
			return err
		}
		after, err := h.processorTime()
		if err != nil {
			return err
		}
		evaluations := n * c.each
		b.row(c.what, fmt.Sprintf("%d; %.1f µs", int(float64(evaluations)/flagTime.Seconds()), float64((after-before).Microseconds())/float64(evaluations)), c.bar)
	}
	return nil
}

// programToken makes a token that may evaluate, and nothing else.
func (h *host) programToken() (string, error) {
	ctx := context.Background()
	st, err := sqlite.Open(ctx, h.data, sqlite.Options{})
	if err != nil {
		return "", err
	}
	defer st.Close()
	gate := access.New(access.Options{Registers: st})
	first, _, err := gate.FirstLink(ctx)
	if err != nil {
		return "", err
	}
	session, err := gate.UseFirst(ctx, first, "ada", "a long enough password", "127.0.0.1")
	if err != nil {
		return "", err
	}
	who, _, err := gate.Session(ctx, session.Cookie, "127.0.0.1")
	if err != nil {
		return "", err
	}
	plain, _, err := gate.IssueToken(ctx, who, access.TokenSpec{Name: "bench", Verbs: []access.Verb{access.EvaluateFlags}})
	return plain, err
}

// processorTime is what the server has taken of the processors.
func (h *host) processorTime() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, errors.New("the kernel does not say how long a process has run")
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// programs asks on connections that are kept open until the time is over, and returns how many answers
// there were.
func (h *host) programs(path, token string) (int, error) {
	body := `{"context":{"targetingKey":"user-4711","country":"DE","age":36}}`
	address := strings.TrimPrefix(h.url, "http://")
	request := fmt.Appendf(nil, "POST /client/flags/team/app/production/ofrep/v1/evaluate/flags%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, address, token, len(body), body)
	var wg sync.WaitGroup
	counts, errs := make([]int, flagClients), make([]error, flagClients)
	end := time.Now().Add(flagTime)
	for i := range flagClients {
		wg.Go(func() { counts[i], errs[i] = asking(address, request, end) })
	}
	wg.Wait()
	n := 0
	for _, c := range counts {
		n += c
	}
	return n, errors.Join(errs...)
}

// asking sends the same request again and again.
func asking(address string, request []byte, end time.Time) (n int, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	head := textproto.NewReader(in)
	for ; time.Now().Before(end); n++ {
		if _, err := conn.Write(request); err != nil {
			return n, err
		}
		status, err := head.ReadLine()
		if err != nil {
			return n, err
		}
		if !strings.HasPrefix(status, "HTTP/1.1 200") {
			return n, fmt.Errorf("the server answers %s", status)
		}
		length := int64(-1)
		for {
			line, err := head.ReadLineBytes()
			if err != nil {
				return n, err
			}
			if len(line) == 0 {
				break
			}
			if value, ok := strings.CutPrefix(string(line), "Content-Length: "); ok {
				if length, err = strconv.ParseInt(value, 10, 64); err != nil {
					return n, err
				}
			}
		}
		if length < 0 {
			return n, errors.New("the answer has no length")
		}
		if _, err := io.CopyN(io.Discard, in, length); err != nil {
			return n, err
		}
	}
	return n, nil
}
