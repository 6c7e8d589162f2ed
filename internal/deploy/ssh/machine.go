package ssh

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/supervise"
)

const (
	dialTime  = 15 * time.Second // until a connection is there and we are known
	startTime = 30 * time.Second // until a host answers that was started
	aliveTime = 15 * time.Second // between two questions whether the machine is there still
)

// unreachable is why nothing can be done on a machine, for people.
type unreachable struct {
	rule, hint string
	err        error
}

func (u *unreachable) Error() string { return u.err.Error() }
func (u *unreachable) Unwrap() error { return u.err }

func refuse(rule, hint, format string, args ...any) error {
	return &unreachable{rule: rule, hint: hint, err: fmt.Errorf(format, args...)}
}

// address is a machine as a service names it.
type address struct {
	user, host, port string
	identity, known  string
	dir              string // of the host there; "" for its own
}

// parse reads "user@host:port".
func parse(s *project.SSH, at string) (address, error) {
	a := address{port: "22", identity: atHome(s.Identity), known: atHome(s.Known), dir: s.Process.Directory}
	rest := at
	if name, host, ok := strings.Cut(at, "@"); ok {
		a.user, rest = name, host
	} else if u, err := user.Current(); err == nil {
		a.user = u.Username
	}
	a.host = rest
	if host, port, err := net.SplitHostPort(rest); err == nil {
		a.host, a.port = host, port
	}
	a.host = strings.Trim(a.host, "[]")
	if n, err := strconv.ParseUint(a.port, 10, 16); err != nil || n == 0 || a.host == "" || a.user == "" || strings.ContainsAny(a.host, " \t/\\\"'") {
		return a, refuse("machine", "write user@host or user@host:port", "%.80q is no machine", at)
	}
	return a, nil
}

// atHome is a file whose name may begin with ~/.
func atHome(name string) string {
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return name
}

// machine is a connection to a machine, which is made when it is needed and made anew
// when it has broken.
type machine struct {
	address address
	options Options

	mu      sync.Mutex
	client  *ssh.Client
	broken  chan struct{} // closed when the connection has
	at      deploy.Host
	tunnels map[string]*tunnel // by address there
}

func (m *machine) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop()
}

// drop lets go of the connection. Whoever calls it has mu.
func (m *machine) drop() {
	for at, t := range m.tunnels {
		t.close()
		delete(m.tunnels, at)
	}
	if m.at.Client != nil {
		m.at.Client.Close()
	}
	if m.client != nil {
		m.client.Close()
	}
	m.at, m.client = deploy.Host{}, nil
}

// host is the machine's host: connected, and started if need be.
func (m *machine) host(ctx context.Context, log func(string)) (deploy.Host, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client != nil {
		select {
		case <-m.broken:
			m.drop()
		default:
			return m.at, nil
		}
	}
	if err := m.connect(ctx); err != nil {
		return deploy.Host{}, err
	}
	if err := m.reach(ctx, log); err != nil {
		m.drop()
		return deploy.Host{}, err
	}
	return m.at, nil
}

// connect makes the connection. The key of the machine must be known: whoever answers in
// its place would get the service and its secrets.
func (m *machine) connect(ctx context.Context) error {
	a := m.address
	auth, end, err := a.methods()
	if err != nil {
		return err
	}
	defer end()
	check, kinds, err := a.hostKeys()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	to := net.JoinHostPort(a.host, a.port)
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", to)
	if err != nil {
		return refuse("unreachable", "look whether the machine runs, and whether its sshd can be reached from here", "cannot be reached: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(conn, to, &ssh.ClientConfig{User: a.user, Auth: auth, HostKeyCallback: check, HostKeyAlgorithms: kinds})
	if err != nil {
		conn.Close()
		if known := new(unreachable); errors.As(err, &known) {
			return known
		}
		if strings.Contains(err.Error(), "unable to authenticate") {
			return refuse("login", "put the public key into authorized_keys of "+a.user+" there, or name another with identity", "%s is not let in: %w", a.user, err)
		}
		return refuse("unreachable", "look at the log of its sshd", "no connection came about: %w", err)
	}
	if !stop() {
		conn.Close()
		return context.Cause(ctx)
	}
	m.client = ssh.NewClient(c, channels, requests)
	m.broken = make(chan struct{})
	go watch(m.client, m.broken)
	return nil
}

// watch asks now and then whether the machine is there, and says when it is not.
func watch(c *ssh.Client, broken chan<- struct{}) {
	defer close(broken)
	ended := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(ended)
	}()
	tick := time.NewTicker(aliveTime)
	defer tick.Stop()
	for {
		answered := make(chan error, 1)
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		go func() {
			_, _, err := c.SendRequest("keepalive@openssh.com", true, nil)
			answered <- err
		}()
		select {
		case <-ended:
			return
		case err := <-answered:
			if err == nil {
				continue
			}
		case <-time.After(aliveTime):
		}
		c.Close()
		return
	}
}

// methods are the ways to show who we are: the identity that is named, or else an agent
// and the usual files.
func (a *address) methods() (list []ssh.AuthMethod, end func(), err error) {
	end = func() {}
	if a.identity != "" {
		key, err := identity(a.identity)
		if err != nil {
			return nil, nil, err
		}
		return []ssh.AuthMethod{ssh.PublicKeys(key)}, end, nil
	}
	var signers []ssh.Signer
	if socket := os.Getenv("SSH_AUTH_SOCK"); socket != "" {
		if conn, err := net.Dial("unix", socket); err == nil {
			end = func() { conn.Close() }
			if keys, err := agent.NewClient(conn).Signers(); err == nil {
				signers = keys
			}
		}
	}
	if home, err := os.UserHomeDir(); err == nil {
		for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			if key, err := identity(filepath.Join(home, ".ssh", name)); err == nil {
				signers = append(signers, key)
			}
		}
	}
	if len(signers) == 0 {
		end()
		return nil, nil, refuse("login", "name a key with identity, or start an agent (SSH_AUTH_SOCK)", "there is no key to log in with as %s", a.user)
	}
	return []ssh.AuthMethod{ssh.PublicKeys(signers...)}, end, nil
}

// identity reads a private key.
func identity(name string) (ssh.Signer, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, refuse("login", "name a file that can be read", "the key cannot be read: %w", err)
	}
	key, err := ssh.ParsePrivateKey(data)
	if missing := new(ssh.PassphraseMissingError); errors.As(err, &missing) {
		return nil, refuse("login", "add it to an agent (ssh-add), and leave out identity", "the key %s has a passphrase", name)
	}
	if err != nil {
		return nil, refuse("login", "name a private key", "%s is no key: %w", name, err)
	}
	return key, nil
}

// hostKeys says which keys the machine may show, and of which kinds they are: one of
// another kind would not be known although the machine is.
func (a *address) hostKeys() (ssh.HostKeyCallback, []string, error) {
	name := a.known
	if name == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, nil, err
		}
		name = filepath.Join(home, ".ssh", "known_hosts")
	}
	var files []string
	if _, err := os.Stat(name); err == nil || a.known != "" {
		files = append(files, name)
	}
	known, err := knownhosts.New(files...)
	if err != nil {
		return nil, nil, refuse("host-key", "name a file as ssh keeps it", "the known machines cannot be read: %w", err)
	}
	to := net.JoinHostPort(a.host, a.port)
	check := func(_ string, remote net.Addr, key ssh.PublicKey) error {
		err := known(to, remote, key)
		keyErr, revoked := new(knownhosts.KeyError), new(knownhosts.RevokedError)
		switch {
		case err == nil:
			return nil
		case errors.As(err, &revoked):
			return refuse("host-key", "do not go on; ask whoever keeps the machine", "its key %s has been revoked in %s", ssh.FingerprintSHA256(key), name)
		case errors.As(err, &keyErr) && len(keyErr.Want) == 0:
			return refuse("host-key", fmt.Sprintf("compare it with what the machine says of itself (ssh-keygen -lf on its host key), then add to %s: %s", name, knownhosts.Line([]string{to}, key)),
				"it is not known, and shows the key %s", ssh.FingerprintSHA256(key))
		case errors.As(err, &keyErr):
			return refuse("host-key", "if the machine was made anew, replace its line there; if not, somebody may be in its place",
				"it shows the key %s, and %s has another, %s", ssh.FingerprintSHA256(key), name, ssh.FingerprintSHA256(keyErr.Want[0].Key))
		}
		return err
	}
	// Ask with a key that nobody has, to be told which are wanted.
	var kinds []string
	keyErr := new(knownhosts.KeyError)
	if errors.As(known(to, &net.TCPAddr{IP: net.IPv4zero}, nobody{}), &keyErr) {
		for _, w := range keyErr.Want {
			switch kind := w.Key.Type(); kind {
			case ssh.KeyAlgoRSA:
				kinds = append(kinds, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			default:
				kinds = append(kinds, kind)
			}
		}
	}
	return check, slices.Compact(kinds), nil
}

// nobody is a key that no machine has.
type nobody struct{}

func (nobody) Type() string                        { return "none" }
func (nobody) Marshal() []byte                     { return []byte("none") }
func (nobody) Verify([]byte, *ssh.Signature) error { return errors.New("nobody signs with it") }

// reach makes the client of the machine's host, which is brought there and started if
// none answers. Whoever calls it has mu.
func (m *machine) reach(ctx context.Context, log func(string)) error {
	there, err := m.survey(ctx)
	if err != nil {
		return err
	}
	client := m.client
	socket := supervise.Socket(there.dir)
	if len(socket) > 100 {
		return refuse("directory", "name a directory with a shorter path", "the path %s is too long for a socket", socket)
	}
	m.at = deploy.Host{Client: supervise.Dial(func(ctx context.Context) (net.Conn, error) { return client.DialContext(ctx, "unix", socket) })}
	if _, err = m.at.Client.Status(ctx); err == nil || ctx.Err() != nil {
		return err
	}
	if there.system != runtime.GOOS || there.arch != runtime.GOARCH {
		return refuse("machine", fmt.Sprintf("install fairlead for %s/%s there, and start `fairlead host run --dir %s`", there.system, there.arch, there.dir),
			"no host answers, and this program is for %s/%s and cannot be one there", runtime.GOOS, runtime.GOARCH)
	}
	program, err := m.bring(ctx, there, log)
	if err != nil {
		return err
	}
	log(m.address.host + ": start the host")
	script := fmt.Sprintf(`umask 077; mkdir -p %[1]s && cd / && { command -v setsid >/dev/null && s=setsid; nohup $s %[2]s --dir %[1]s </dev/null >>%[1]s/host.log 2>&1 & }`,
		quote(there.dir), quoteAll(append([]string{program}, m.options.Args...)))
	if _, err := m.run(ctx, script, nil); err != nil {
		return fmt.Errorf("start the host: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		if _, err = m.at.Client.Status(ctx); err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return refuse("host", "look there at "+there.dir+"/host.log, and whether sshd allows AllowStreamLocalForwarding", "the host that was started does not answer: %w", err)
		}
	}
}

// place is what a machine is.
type place struct{ system, arch, dir, cache string }

// survey asks the machine what it is.
func (m *machine) survey(ctx context.Context) (place, error) {
	out, err := m.run(ctx, `uname -s; uname -m; echo "${XDG_STATE_HOME:-$HOME/.local/state}"; echo "${XDG_CACHE_HOME:-$HOME/.cache}"`, nil)
	if err != nil {
		return place{}, err
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 4 || !path.IsAbs(lines[2]) || !path.IsAbs(lines[3]) {
		return place{}, refuse("machine", "log in there by hand, and see what it prints: what a login prints beyond the answer is in the way", "it answers strangely: %.200q", out)
	}
	p := place{system: strings.ToLower(lines[0]), arch: lines[1], dir: m.address.dir, cache: lines[3]}
	switch p.arch {
	case "x86_64":
		p.arch = "amd64"
	case "aarch64":
		p.arch = "arm64"
	}
	if p.dir == "" {
		p.dir = path.Join(lines[2], "fairlead", "host")
	}
	return p, nil
}

// bring makes sure that this program is on the machine, by its digest.
func (m *machine) bring(ctx context.Context, there place, log func(string)) (program string, err error) {
	f, err := os.Open(m.options.Program)
	if err != nil {
		return "", fmt.Errorf("open this program: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return "", fmt.Errorf("read this program: %w", err)
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	dir := path.Join(there.cache, "fairlead", "bin")
	program = path.Join(dir, "fairlead-"+digest[:16])
	whole := fmt.Sprintf(`[ "$(sha256sum <%s | cut -c1-64)" = %s ]`, quote(program), digest)
	if _, err := m.run(ctx, whole+" 2>/dev/null", nil); err == nil {
		return program, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	log(fmt.Sprintf("%s: bring fairlead (%d MiB)", m.address.host, size>>20))
	fresh := quote(path.Join(dir, ".new-")) + "$$"
	script := fmt.Sprintf(`umask 077; mkdir -p %[1]s && trap 'rm -f %[2]s' EXIT && cat >%[2]s && [ "$(sha256sum <%[2]s | cut -c1-64)" = %[3]s ] && chmod 700 %[2]s && mv %[2]s %[4]s`,
		quote(dir), fresh, digest, quote(program))
	if _, err := m.run(ctx, script, f); err != nil {
		return "", fmt.Errorf("bring this program there: %w", err)
	}
	return program, nil
}

// run runs a script on the machine with sh, whatever the user's shell is.
func (m *machine) run(ctx context.Context, script string, in io.Reader) ([]byte, error) {
	s, err := m.client.NewSession()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	var out, said bytes.Buffer
	s.Stdin, s.Stdout, s.Stderr = in, &out, &said
	if err := s.Run("exec sh -c " + quote(script)); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("%w: %.300s", err, bytes.TrimSpace(said.Bytes()))
	}
	return out.Bytes(), nil
}

// quote makes one word of a shell of a text.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// tunnel leads connections to an address of this machine to one of another.
type tunnel struct {
	l  net.Listener
	to string
}

// lead makes tunnels to the instances of a world, and ends those that lead to none of them
// any more. It returns the addresses here by those there.
func (m *machine) lead(w *deploy.World) (map[string]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := map[string]string{}
	for _, r := range w.Revisions {
		for _, in := range r.Instances {
			if in.Address == "" || m.client == nil {
				continue
			}
			t := m.tunnels[in.Address]
			if t == nil {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return nil, err
				}
				t = &tunnel{l: l, to: in.Address}
				m.tunnels[in.Address] = t
				go t.serve(m.client)
			}
			at[in.Address] = t.l.Addr().String()
		}
	}
	for to, t := range m.tunnels {
		if at[to] == "" {
			t.close()
			delete(m.tunnels, to)
		}
	}
	return at, nil
}

func (t *tunnel) close() { t.l.Close() }

func (t *tunnel) serve(c *ssh.Client) {
	for {
		here, err := t.l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer here.Close()
			there, err := c.Dial("tcp", t.to)
			if err != nil {
				return
			}
			defer there.Close()
			done := make(chan struct{}, 2)
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				if half, ok := to.(interface{ CloseWrite() error }); ok {
					_ = half.CloseWrite()
				}
				done <- struct{}{}
			}
			go pass(there, here)
			go pass(here, there)
			<-done
			<-done
		}()
	}
}
