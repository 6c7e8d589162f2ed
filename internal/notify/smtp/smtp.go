// Package smtp sends messages by mail. The target is a URL that holds the server, who signs in,
// who writes and who reads:
//
//	smtp://user:password@mail.example.org:587/?from=ci@example.org&to=team@example.org,ada@example.org
//	smtps://user:password@mail.example.org/?from=…&to=…
//
// With smtps the connection is encrypted from its beginning (port 465); with smtp it
// must become so by STARTTLS (port 587) before anything is said, unless the target
// has tls=none, for a relay on the same machine or network; then nobody signs in but
// at a loopback address.
//
// A message is plain text and HTML. Those of one incident (it broke, is still broken,
// is fixed) are one thread, and the same message sent again is the same to the reader's
// program.
package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"html/template"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

// Limits.
const (
	maxRecipients = 100
	maxAnswers    = 256 << 10 // bytes that a server may say, certificates included
)

// Channel is the way to a mail server.
type Channel struct {
	// Dial connects, and says which addresses may be reached; nil: any.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS is how servers are believed; nil: as the machine does.
	TLS *tls.Config
}

// Name implements [notify.Channel].
func (Channel) Name() string { return "smtp" }

// Check implements [notify.Channel].
func (Channel) Check(target string) error {
	_, err := parse(target)
	return err
}

// account is a target taken apart.
type account struct {
	host, port     string
	user, password string
	implicit       bool // encrypted from the beginning
	plain          bool // not encrypted at all
	from           *mail.Address
	to             []*mail.Address
}

// parse reads a target. The error holds nothing of it but addresses.
func parse(target string) (*account, error) {
	target = strings.TrimSpace(target)
	u, err := url.Parse(target)
	if err != nil || len(target) > notify.MaxTarget || u.Scheme != "smtp" && u.Scheme != "smtps" || u.Hostname() == "" {
		return nil, errors.New("the target is not like smtp://user:password@host:587/?from=ci@example.org&to=team@example.org")
	}
	a := &account{host: u.Hostname(), port: u.Port(), implicit: u.Scheme == "smtps", user: u.User.Username()}
	a.password, _ = u.User.Password()
	if a.port == "" {
		a.port = map[bool]string{false: "587", true: "465"}[a.implicit]
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("what follows the ? in the target cannot be read")
	}
	for key := range query {
		if !slices.Contains([]string{"from", "to", "tls"}, key) {
			return nil, errors.New("what follows the ? in the target knows from, to and tls only")
		}
	}
	switch t := query.Get("tls"); {
	case t == "none" && !a.implicit:
		a.plain = true
	case t != "" && t != "required":
		return nil, errors.New("tls in the target is none, or required, which is the default; smtps:// is always encrypted")
	}
	if a.plain && a.user != "" && !loopback(a.host) {
		return nil, fmt.Errorf("the password would go to %s unencrypted: leave tls=none out", a.host)
	}
	if a.from, err = address(query.Get("from")); err != nil {
		return nil, fmt.Errorf("from in the target: %w", err)
	}
	list := strings.Split(strings.Join(query["to"], ","), ",")
	if len(list) > maxRecipients {
		return nil, fmt.Errorf("to in the target has more than %d addresses; use a mailing list", maxRecipients)
	}
	for _, s := range list {
		to, err := address(s)
		if err != nil {
			return nil, fmt.Errorf("to in the target: %w", err)
		}
		a.to = append(a.to, to)
	}
	return a, nil
}

// address reads a mail address that is safe in a command and in a header.
func address(s string) (*mail.Address, error) {
	a, err := mail.ParseAddress(s)
	if err != nil || strings.ContainsFunc(a.Address, func(r rune) bool { return r <= ' ' || r >= 0x7F || r == '<' || r == '>' }) ||
		strings.ContainsFunc(a.Name, func(r rune) bool { return r < ' ' || r == 0x7F }) {
		return nil, fmt.Errorf("%.100q is not a mail address", notify.Clean(s, 100))
	}
	return a, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Send implements [notify.Channel]. When some of the recipients are refused the
// others get the message, and the error says who did not.
func (c Channel) Send(ctx context.Context, target string, m *notify.Message) error {
	a, err := parse(target)
	if err != nil {
		return fmt.Errorf("send mail: %w: %w", err, notify.ErrRefused)
	}
	text, err := render(a, m)
	if err != nil {
		return fmt.Errorf("send mail: %w", err)
	}
	if err = c.deliver(ctx, a, text); err == nil {
		return nil
	}
	var hide secret.Masker
	hide.Add(a.password, a.user)
	if reply := (*textproto.Error)(nil); errors.As(err, &reply) && reply.Code/100 == 5 {
		err = fmt.Errorf("%w: %w", err, notify.ErrRefused)
	}
	return &notify.Fault{Text: "send mail by " + a.host + ": " + notify.Clean(hide.String(err.Error()), 300), Err: err}
}

// deliver talks to the server.
func (c Channel) deliver(ctx context.Context, a *account, text []byte) error {
	ctx, cancel := context.WithTimeout(ctx, notify.Patience)
	defer cancel()
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	raw, err := dial(ctx, "tcp", net.JoinHostPort(a.host, a.port))
	if err != nil {
		return err
	}
	defer raw.Close()
	// Closing it is what ends whatever waits.
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	err = converse(c.client(a), &limited{raw, maxAnswers}, a, text)
	if ctx.Err() != nil && err != nil {
		return fmt.Errorf("it took too long: %w", ctx.Err())
	}
	return err
}

func (c Channel) client(a *account) *tls.Config {
	config := new(tls.Config)
	if c.TLS != nil {
		config = c.TLS.Clone()
	}
	config.ServerName = a.host
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	return config
}

func converse(config *tls.Config, conn net.Conn, a *account, text []byte) error {
	if a.implicit {
		conn = tls.Client(conn, config)
	}
	client, err := smtp.NewClient(conn, a.host)
	if err != nil {
		return fmt.Errorf("it does not greet: %w", err)
	}
	defer client.Close()
	if !a.implicit && !a.plain {
		if ok, _ := client.Extension("STARTTLS"); !ok {
			return errors.New("it does not offer STARTTLS; use smtps:// or, on a network that you trust, tls=none")
		}
		if err := client.StartTLS(config); err != nil {
			return fmt.Errorf("STARTTLS: %w", err)
		}
	}
	if a.user != "" {
		_, methods := client.Extension("AUTH")
		if err := client.Auth(credentials(a, methods)); err != nil {
			return fmt.Errorf("sign in: %w", err)
		}
	}
	if err := client.Mail(a.from.Address); err != nil {
		return fmt.Errorf("sender %s: %w", a.from.Address, err)
	}
	var refused error
	n := 0
	for _, to := range a.to {
		if err := client.Rcpt(to.Address); err != nil {
			refused = errors.Join(refused, fmt.Errorf("recipient %s: %w", to.Address, err))
			continue
		}
		n++
	}
	if n == 0 {
		return refused
	}
	w, err := client.Data()
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	_ = client.Quit() // it has the message, whatever it says now
	if refused != nil {
		return fmt.Errorf("sent to the others, %w: %w", notify.ErrRefused, refused)
	}
	return nil
}

// credentials is how to sign in: PLAIN, or LOGIN with servers that know no better.
func credentials(a *account, methods string) smtp.Auth {
	offered := strings.Fields(strings.ToUpper(methods))
	if !slices.Contains(offered, "PLAIN") && slices.Contains(offered, "LOGIN") {
		return &login{a}
	}
	return smtp.PlainAuth("", a.user, a.password, a.host)
}

// login is the method LOGIN: the server asks for the user, then for the password.
type login struct{ *account }

func (l *login) Start(server *smtp.ServerInfo) (string, []byte, error) {
	if !server.TLS && !loopback(server.Name) {
		return "", nil, errors.New("the connection is not encrypted")
	}
	return "LOGIN", nil, nil
}

func (l *login) Next(question []byte, more bool) ([]byte, error) {
	switch q := strings.ToLower(string(question)); {
	case !more:
		return nil, nil
	case strings.HasPrefix(q, "user"):
		return []byte(l.user), nil
	case strings.HasPrefix(q, "pass"):
		return []byte(l.password), nil
	}
	return nil, errors.New("it asks for something unknown")
}

// limited is a connection on which the other side says only so much.
type limited struct {
	net.Conn
	left int
}

var errTalkative = errors.New("it says too much")

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTalkative
	}
	n, err := l.Conn.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// render is a message as a mail, its lines ended by CR LF.
func render(a *account, m *notify.Message) ([]byte, error) {
	_, domain, _ := strings.Cut(a.from.Address, "@")
	var b bytes.Buffer
	header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	header("From", a.from.String())
	to := make([]string, len(a.to))
	for i, t := range a.to {
		to[i] = t.String()
	}
	header("To", strings.Join(to, ",\r\n "))
	header("Subject", subject(m.Headline()))
	header("Date", m.At.UTC().Format(time.RFC1123Z))
	thread := "<" + m.Thread() + "@" + domain + ">"
	if m.Edge == notify.Broke {
		header("Message-ID", thread)
	} else {
		header("Message-ID", "<"+m.ID()+"@"+domain+">")
		header("In-Reply-To", thread)
		header("References", thread)
	}
	header("Auto-Submitted", "auto-generated")
	header("MIME-Version", "1.0")
	parts := multipart.NewWriter(&b)
	if err := parts.SetBoundary("part-" + m.ID()); err != nil {
		return nil, err
	}
	header("Content-Type", `multipart/alternative; boundary="`+parts.Boundary()+`"`)
	b.WriteString("\r\n")
	part := func(kind string, write func(io.Writer) error) error {
		w, err := parts.CreatePart(textproto.MIMEHeader{
			"Content-Type":              {kind + "; charset=utf-8"},
			"Content-Transfer-Encoding": {"quoted-printable"},
		})
		if err != nil {
			return err
		}
		q := quotedprintable.NewWriter(w)
		return errors.Join(write(q), q.Close())
	}
	err := part("text/plain", func(w io.Writer) error {
		_, err := io.WriteString(w, strings.ReplaceAll(m.Text(), "\n", "\r\n"))
		return err
	})
	if err == nil {
		err = part("text/html", func(w io.Writer) error { return writeHTML(w, m) })
	}
	if err = errors.Join(err, parts.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// subject is a headline as a header field's value: encoded when it has to be, and
// never what a reader's program would take for encoded when it was not.
func subject(headline string) string {
	encoded := mime.QEncoding.Encode("utf-8", strings.ReplaceAll(headline, "=?", "= ?"))
	return strings.ReplaceAll(encoded, "?= =?", "?=\r\n =?")
}

// writeHTML writes a message as HTML as mail programs understand it: tables, and
// styles in the elements.
func writeHTML(w io.Writer, m *notify.Message) error {
	colour := "#57606a"
	switch {
	case m.Bad():
		colour = "#b3261e"
	case m.Good():
		colour = "#1a7f37"
	case m.Edge == notify.Approval:
		colour = "#9a6700"
	}
	t, err := template.New("mail").Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, map[string]any{"Colour": colour, "Headline": m.Headline(), "Facts": m.Facts(), "Link": m.Link()})
}

const page = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Headline}}</title></head>
<body style="font-family:sans-serif;font-size:14px;color:#1f2328">
<p style="border-left:4px solid {{.Colour}};padding:4px 12px;font-size:18px;font-weight:bold">{{.Headline}}</p>
<table role="presentation" cellpadding="4">
{{range .Facts}}<tr><td style="color:#57606a;vertical-align:top">{{.Name}}</td><td>{{.Value}}</td></tr>
{{end}}</table>
{{with .Link}}<p><a href="{{.}}">Open the run</a></p>
{{end}}</body></html>
`
