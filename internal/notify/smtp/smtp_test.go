package smtp

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/notify/notifytest"
)

const password = "p4ssw0rd/of mail"

// server is a mail server, as much of one as a client notices.
type server struct {
	net.Listener
	config   *tls.Config
	roots    *x509.CertPool
	implicit bool   // encrypted from the beginning
	noTLS    bool   // STARTTLS is not offered
	auth     string // methods that are offered
	refuse   string // a recipient that is refused

	arrived chan struct{}
	stop    chan struct{}
	once    sync.Once
	wg      sync.WaitGroup

	mu       sync.Mutex
	mood     notifytest.Mood
	last     string   // the mail
	commands []string // all that clients said, but for mails
}

// serve starts one, with the certificate of example.com and 127.0.0.1 that httptest has.
func serve(t *testing.T, change func(*server)) *server {
	t.Helper()
	certs := httptest.NewUnstartedServer(nil)
	certs.StartTLS()
	certs.Close()
	s := &server{config: &tls.Config{Certificates: certs.TLS.Certificates}, roots: x509.NewCertPool(), auth: "PLAIN LOGIN", arrived: make(chan struct{}, 100), stop: make(chan struct{})}
	s.roots.AddCert(certs.Certificate())
	if change != nil {
		change(s)
	}
	var err error
	if s.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.wg.Go(func() {
		for {
			conn, err := s.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.talk(conn) })
		}
	})
	t.Cleanup(func() { s.Close(); s.wg.Wait() })
	return s
}

func (s *server) Close() {
	s.once.Do(func() {
		close(s.stop)
		s.Listener.Close()
	})
}

func (s *server) channel() Channel { return Channel{TLS: &tls.Config{RootCAs: s.roots}} }

func (s *server) to(scheme, user, query string) string {
	return fmt.Sprintf("%s://%s%s/?from=Fairlead%%20%%3Cci@example.org%%3E&to=team@example.org,ada@example.org%s", scheme, user, s.Addr(), query)
}

func (s *server) Target() string           { return s.to("smtp", "ci-user:p4ssw0rd%2Fof%20mail@", "") }
func (s *server) Secrets() []string        { return []string{password, "p4ssw0rd%2F", "p4ssw0rd"} }
func (s *server) Arrived() <-chan struct{} { return s.arrived }
func (s *server) Play(m notifytest.Mood)   { s.mu.Lock(); s.mood = m; s.mu.Unlock() }
func (s *server) Got() string              { s.mu.Lock(); defer s.mu.Unlock(); return s.last }
func (s *server) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.commands, "\n")
}
func (s *server) playing() (m notifytest.Mood) { s.mu.Lock(); defer s.mu.Unlock(); return s.mood }

// talk is one connection.
func (s *server) talk(conn net.Conn) {
	defer conn.Close()
	go func() { <-s.stop; conn.Close() }()
	secure := s.implicit
	if s.implicit {
		conn = tls.Server(conn, s.config)
	}
	r := bufio.NewReader(conn)
	say := func(line string) { io.WriteString(conn, line+"\r\n") }
	say("220 mail.example.org ESMTP")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		s.mu.Lock()
		s.commands = append(s.commands, line)
		s.mu.Unlock()
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			say("250-mail.example.org")
			if !secure && !s.noTLS {
				say("250-STARTTLS")
			}
			say("250 AUTH " + s.auth)
		case "STARTTLS":
			say("220 go on")
			conn = tls.Server(conn, s.config)
			r = bufio.NewReader(conn)
			secure = true
		case "AUTH":
			method, initial, _ := strings.Cut(rest, " ")
			ok := false
			if method == "PLAIN" {
				text, _ := base64.StdEncoding.DecodeString(initial)
				ok = string(text) == "\x00ci-user\x00"+password
			} else {
				var answers []string
				for _, ask := range []string{"Username:", "Password:"} {
					say("334 " + base64.StdEncoding.EncodeToString([]byte(ask)))
					answer, _ := r.ReadString('\n')
					text, _ := base64.StdEncoding.DecodeString(strings.TrimRight(answer, "\r\n"))
					answers = append(answers, string(text))
				}
				ok = answers[0] == "ci-user" && answers[1] == password
			}
			if s.playing() == notifytest.Gossip {
				say("535-no, " + password + " is wrong, \x1b[31mwho would think of " + base64.StdEncoding.EncodeToString([]byte(password)))
				say("535 " + strings.Repeat("blah ", 1000))
				return
			}
			if !ok {
				say("535 5.7.8 wrong")
				continue
			}
			say("235 welcome")
		case "RCPT":
			switch {
			case s.playing() == notifytest.Refusing || s.refuse != "" && strings.Contains(rest, s.refuse):
				say("550 5.1.1 no such user")
			case s.playing() == notifytest.Busy:
				say("451 4.3.0 later")
			default:
				say("250 ok")
			}
		case "DATA":
			say("354 go on")
			var mail strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				mail.WriteString(strings.TrimPrefix(line, "."))
			}
			if s.playing() == notifytest.Silent {
				s.arrived <- struct{}{}
				<-s.stop
				return
			}
			s.mu.Lock()
			s.last = mail.String()
			s.mu.Unlock()
			say("250 queued")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func TestSMTP(t *testing.T) {
	notifytest.Run(t, notifytest.Suite{
		Open: func(t *testing.T) (notify.Channel, notifytest.Far) {
			s := serve(t, nil)
			return s.channel(), s
		},
		Bad: []string{
			"smtp://host", "smtp://host/?from=ci@example.org", "smtp://host/?to=ci@example.org", "smtp://host/?from=x&to=y",
			"smtp://host/?from=a@b&to=c@d&tls=perhaps", "smtp://host/?from=a@b&to=c@d&verify=no", "smtps://host/?from=a@b&to=c@d&tls=none",
			"smtp://user:secret@mail.example.org/?from=a@b&to=c@d&tls=none",
			"smtp://host/?from=a@b&to=c@d%0d%0aRCPT%20TO:%3Cx@y%3E", "smtp://host/?from=%22x%0d%0aBcc:%20y@z%22%20%3Ca@b%3E&to=c@d",
			"smtp://host/?from=a@b&to=" + strings.Repeat("x@y,", 200) + "x@y", "http://host/?from=a@b&to=c@d",
		},
		Harmless: harmless,
	})
}

// harmless reads the mail as a reader's program does: it has the header fields that
// we wrote and no others, and two parts.
func harmless(got string) error {
	m, err := mail.ReadMessage(strings.NewReader(got))
	if err != nil {
		return err
	}
	for name := range m.Header {
		switch name {
		case "From", "To", "Subject", "Date", "Message-Id", "In-Reply-To", "References", "Auto-Submitted", "Mime-Version", "Content-Type":
		default:
			return fmt.Errorf("header %s: %s", name, m.Header.Get(name))
		}
		if len(m.Header[name]) != 1 {
			return fmt.Errorf("header %s %d times", name, len(m.Header[name]))
		}
	}
	if to, err := m.Header.AddressList("To"); err != nil || len(to) != 2 {
		return fmt.Errorf("to %v, %v", to, err)
	}
	if subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil || strings.ContainsAny(subject, "\r\n\x1b") {
		return fmt.Errorf("subject %q, %v", subject, err)
	}
	for line := range strings.SplitSeq(got, "\r\n") {
		if strings.HasPrefix(line, "Subject: =?") && len(line) > 90 || len(line) > 998 || strings.ContainsAny(line, "\r\n") {
			return fmt.Errorf("line of %d bytes: %.100q", len(line), line)
		}
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for i, kind := range []string{"text/plain", "text/html"} {
		p, err := parts.NextRawPart()
		if err != nil {
			return err
		}
		text, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil || !strings.HasPrefix(p.Header.Get("Content-Type"), kind) {
			return fmt.Errorf("part %d: %v, %v", i, p.Header, err)
		}
		for _, bad := range []string{"<script", "<img", "<at>", "<!channel", "\u202e"} {
			if (i == 1 || bad == "\u202e") && bytes.Contains(text, []byte(bad)) {
				return fmt.Errorf("part %d holds %q", i, bad)
			}
		}
	}
	if _, err := parts.NextRawPart(); err != io.EOF {
		return fmt.Errorf("a third part, or %v", err)
	}
	return nil
}

func TestWays(t *testing.T) {
	t.Parallel()
	const user = "ci-user:p4ssw0rd%2Fof%20mail@"
	for _, test := range []struct {
		name, scheme, user, query string
		server                    func(*server)
		fault                     string // in the error; "" for none
		said                      string // in what the client says
	}{
		{"STARTTLS and PLAIN", "smtp", user, "", nil, "", "STARTTLS"},
		{"implicit TLS and LOGIN", "smtps", user, "", func(s *server) { s.implicit, s.auth = true, "LOGIN XOAUTH2" }, "", "AUTH LOGIN"},
		{"relay", "smtp", "", "&tls=none", func(s *server) { s.noTLS = true }, "", "MAIL"},
		{"loopback may sign in", "smtp", user, "&tls=none", func(s *server) { s.noTLS = true }, "", "AUTH PLAIN"},
		{"no STARTTLS", "smtp", user, "", func(s *server) { s.noTLS = true }, "does not offer STARTTLS", "QUIT"},
		{"unknown certificate", "smtp", user, "", func(s *server) { s.roots = x509.NewCertPool() }, "certificate", "STARTTLS"},
		{"wrong password", "smtp", "ci-user:wrong-p4ssw0rd@", "", nil, "sign in: 535", "AUTH PLAIN"},
		{"one of two", "smtp", user, "", func(s *server) { s.refuse = "ada@" }, "recipient ada@example.org: 550", "DATA"},
		{"nobody", "smtp", user, "", func(s *server) { s.refuse = "@example.org" }, "recipient team@example.org: 550", "RCPT"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, test.server)
			m := notifytest.Samples()[4]
			err := s.channel().Send(t.Context(), s.to(test.scheme, test.user, test.query), &m)
			if test.fault == "" && err != nil || test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)) {
				t.Errorf("%v, want %q", err, test.fault)
			}
			s.Close()
			s.wg.Wait()
			said := s.said()
			if test.said != "QUIT" && !strings.Contains(said, test.said) {
				t.Errorf("the client did not say %s:\n%s", test.said, said)
			}
			if before, _, found := strings.Cut(said, "STARTTLS"); found && strings.Contains(before, "AUTH") || test.said == "QUIT" && strings.Contains(said, "AUTH") {
				t.Errorf("it signed in before the connection was encrypted:\n%s", said)
			}
			if strings.HasPrefix(test.fault, "recipient") && !errors.Is(err, notify.ErrRefused) {
				t.Errorf("%v is no ErrRefused", err)
			}
		})
	}
}

// TestThread: mails of one incident hang together.
func TestThread(t *testing.T) {
	t.Parallel()
	a, err := parse("smtp://host/?from=ci@example.org&to=team@example.org")
	if err != nil {
		t.Fatal(err)
	}
	root := ""
	for _, m := range notifytest.Samples()[4:7] {
		text, err := render(a, &m)
		if err != nil {
			t.Fatal(err)
		}
		mail, err := mail.ReadMessage(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if m.Edge == notify.Broke {
			root = mail.Header.Get("Message-ID")
		} else if got := mail.Header.Get("References"); got != root || mail.Header.Get("Message-ID") == root {
			t.Errorf("%s refers to %s, not to %s", m.Edge, got, root)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("smtp://user:pw@host:587/?from=A%20%3Ca@b%3E&to=c@d,e@f&tls=none")
	f.Add("smtps://host/?from=%22x%22@y&to=%0d%0a")
	f.Fuzz(func(t *testing.T, target string) {
		a, err := parse(target)
		if err != nil {
			return
		}
		m := notifytest.Samples()[4]
		text, err := render(a, &m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := mail.ReadMessage(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Header) != 8 {
			t.Errorf("%d header fields: %v", len(got.Header), got.Header)
		}
	})
}
