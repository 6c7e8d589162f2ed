package storetest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// PostgresVar names an environment variable: the URL of a PostgreSQL for tests,
// which make schemas in it. Without it they start a server of their own. The
// child processes of a test find their parent's there.
const PostgresVar = "FAIRLEAD_TEST_POSTGRES"

// Postgres returns the URL of an empty schema in a PostgreSQL. The test is skipped
// where none is installed, and fails for it where CI is set.
func Postgres(t testing.TB) string {
	t.Helper()
	return PostgresSchema(t, "t_"+strings.ToLower(rand.Text()))
}

// PostgresSchema is Postgres with a schema of that name, for tests whose processes
// share one.
func PostgresSchema(t testing.TB, schema string) string {
	t.Helper()
	server, err := postgresServer()
	var missing *missingError
	switch {
	case errors.As(err, &missing) && os.Getenv("CI") == "":
		t.Skipf("SKIPPED, NOT TESTED: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatalf("%s: %v", PostgresVar, err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String()
}

type missingError struct{ what string }

func (e *missingError) Error() string {
	return fmt.Sprintf("%s: install PostgreSQL (Debian: apt-get install postgresql), or set %s to the URL of one", e.what, PostgresVar)
}

// postgresServer is the one server of this process. It ends when the process
// ends, however that does.
var postgresServer = sync.OnceValues(func() (*PostgresServer, error) {
	if u := os.Getenv(PostgresVar); u != "" {
		return &PostgresServer{URL: u}, nil
	}
	server, err := StartPostgres("-c", "fsync=off")
	if err != nil {
		return nil, err
	}
	return server, os.Setenv(PostgresVar, server.URL)
})

// PostgresServer is a server of a test's own: one that it may kill, or measure.
type PostgresServer struct {
	URL string

	bin, dir string
	flags    []string
	watchdog *exec.Cmd
	hold     *os.File // the watchdog waits for its end
	cmd      *exec.Cmd
	exited   chan struct{} // closed when cmd has ended
}

// watchdog is a script that waits until its standard input ends, and then ends
// the server and removes its directory. The kernel ends the input when we die, so
// that no server outlives its test.
const watchdog = `read -r end
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -INT "$pid" 2>/dev/null
while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
rm -rf "$1"`

// StartPostgres starts a server with such flags, which listens on a socket in a
// directory of its own.
func StartPostgres(flags ...string) (*PostgresServer, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "fairlead-pg")
	if err != nil {
		return nil, err
	}
	s := &PostgresServer{URL: "postgres://fairlead@/postgres?host=" + url.QueryEscape(dir), bin: bin, dir: dir, flags: flags}
	if err := s.make(); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

func (s *PostgresServer) make() error {
	if err := s.own(); err != nil {
		return err
	}
	init := s.command(filepath.Join(s.bin, "initdb"), "-D", filepath.Join(s.dir, "data"), "-A", "trust", "-U", "fairlead",
		"-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	s.hold = w
	s.watchdog = s.command("/bin/sh", "-c", watchdog, "watchdog", s.dir)
	s.watchdog.Stdin, s.watchdog.Dir = r, "/"
	if err := errors.Join(s.watchdog.Start(), r.Close()); err != nil {
		return err
	}
	return s.Start()
}

// Start starts the server, again after Crash or Stop, and waits until it takes
// connections.
func (s *PostgresServer) Start() error {
	const tries = 100
	for try := 1; ; try++ {
		ready, err := s.try()
		if err != nil || ready {
			return err
		}
		// The processes of a server that was killed go by and by, and keep the
		// next one from its data till then.
		if try == tries {
			text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("PostgreSQL does not start:\n%s", bytes.TrimSpace(text))
		}
		pause()
	}
}

// try starts the server, and says whether it takes connections or has ended.
func (s *PostgresServer) try() (ready bool, err error) {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
	if err != nil {
		return false, err
	}
	defer log.Close()
	s.cmd = s.command(filepath.Join(s.bin, "postgres"), append([]string{"-D", filepath.Join(s.dir, "data"), "-k", s.dir,
		"-c", "listen_addresses=", "-c", "max_connections=200"}, s.flags...)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return false, err
	}
	s.exited = make(chan struct{})
	go func() {
		_ = s.cmd.Wait() // its log says why it ended
		close(s.exited)
	}()
	for {
		select {
		case <-s.exited:
			return false, nil
		default:
		}
		if s.ready() {
			return true, nil
		}
		pause()
	}
}

// ready reports whether the server says, in a line of its PID file, that it takes
// connections.
func (s *PostgresServer) ready() bool {
	text, err := os.ReadFile(filepath.Join(s.dir, "data", "postmaster.pid"))
	lines := strings.Split(string(text), "\n")
	return err == nil && len(lines) > 7 && lines[0] == strconv.Itoa(s.cmd.Process.Pid) && strings.TrimSpace(lines[7]) == "ready"
}

// Crash kills the server as kill -9 does. Its data stay.
func (s *PostgresServer) Crash() error { return s.signal(os.Kill) }

// Stop ends the server in order, and at once. Its data stay.
func (s *PostgresServer) Stop() error { return s.signal(os.Interrupt) }

func (s *PostgresServer) signal(sig os.Signal) error {
	err := s.cmd.Process.Signal(sig)
	<-s.exited
	return err
}

// Remove ends the server and removes its data.
func (s *PostgresServer) Remove() error {
	if s.hold == nil {
		return os.RemoveAll(s.dir)
	}
	return errors.Join(s.hold.Close(), s.watchdog.Wait())
}

func postgresBin() (string, error) {
	var dirs []string
	if path, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is a good one
	slices.Reverse(debian)                                  // the newest first
	for _, dir := range append(dirs, debian...) {
		if _, err := exec.LookPath(filepath.Join(dir, "postgres")); err == nil {
			return dir, nil
		}
	}
	return "", &missingError{"there is no PostgreSQL here"}
}
