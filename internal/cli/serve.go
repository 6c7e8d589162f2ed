package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// Serving are the flags of `fairlead serve`.
type Serving struct {
	Listen           string // address and port
	URL              string // by which people and code hosts know the server; "" for the address
	Certificate, Key string // files; "" for none: plain HTTP
	Runs             int    // at a time; 0: by the machine
	Jobs             int    // at a time on this machine; 0: by the machine
	Elsewhere        bool   // no job on this machine: workers do them all
	Stop             time.Duration
	Public           bool // everybody may look
	Private          bool // repositories and hooks may lie in private networks
	Loopback         bool // and on this machine
	Proxies          []string
	Issuer           string // of OpenID Connect; "" for none
	ClientID         string
	ClientSecretFile string
	// Ready is told once the server answers.
	Ready func(Up)
}

// Up says where a server answers.
type Up struct {
	Address string `json:"address"`
	URL     string `json:"url"`
	// First is the link by which the first admin makes an account; "" once
	// there is one.
	First string `json:"first,omitempty"`
}

// serveCommand is `fairlead serve`.
func (g *global) serveCommand() *cobra.Command {
	var s Serving
	var jobs string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve a team: hooks, pages, and an API",
		Long: `Serve a team: code hosts call its hook addresses, runs start, people watch them in
the browser. It works on the same data as the command line, so the runs of this
machine are there, too.

The first time it prints a link by which the first admin makes an account. When it
is told to end (TERM, or interrupt) it starts nothing more, lets runs go on for
--stop, and leaves the others to be gone on with at its next start. It may be
killed at any time: what it had answered to a code host is not lost.

Jobs run on this machine, but those whose labels fit a worker that has joined
(fairlead worker) run there.`,
		Example: `  fairlead serve                                   on this machine alone
  fairlead serve --listen :443 --tls-cert c.pem --tls-key k.pem --url https://ci.example.org
  fairlead serve --url https://ci.example.org --proxy 10.0.0.0/8   behind a proxy that speaks TLS
  FAIRLEAD_DATABASE=postgres://ci@db/ci fairlead serve              one of several`,
		Args: args(),
	}
	f := c.Flags()
	f.StringVar(&s.Listen, "listen", "127.0.0.1:8080", "`address` to answer at")
	f.StringVar(&s.URL, "url", "", "`URL` by which people and code hosts know this server")
	f.StringVar(&s.Certificate, "tls-cert", "", "`file` with the certificate, to speak TLS")
	f.StringVar(&s.Key, "tls-key", "", "`file` with its key")
	f.IntVar(&s.Runs, "runs", 0, "runs at a `time` (default: as many as there are processors)")
	f.StringVar(&jobs, "jobs", "", "jobs at a `time` on this machine; 0: none, workers do them all (default: as many as it bears)")
	f.DurationVar(&s.Stop, "stop", 30*time.Second, "how `long` runs may go on when the server is to end")
	f.BoolVar(&s.Public, "public", false, "let everybody look at runs, without an account")
	f.BoolVar(&s.Private, "private-addresses", false, "let repositories, code hosts and channels lie in private networks")
	f.BoolVar(&s.Loopback, "loopback-addresses", false, "and on this machine")
	f.StringArrayVar(&s.Proxies, "proxy", nil, "`network` of proxies whose X-Forwarded-For is believed; may be repeated")
	f.StringVar(&s.Issuer, "oidc-issuer", "", "let people sign in by OpenID Connect: `URL` of the provider")
	f.StringVar(&s.ClientID, "oidc-client-id", "", "this server's `ID` there")
	f.StringVar(&s.ClientSecretFile, "oidc-client-secret-file", "", "`file` with its secret there")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case (s.Certificate == "") != (s.Key == ""):
			return usage("give both --tls-cert and --tls-key, or none", "a certificate needs its key")
		case s.Issuer != "" && s.ClientID == "":
			return usage("it is what the provider calls this server", "--oidc-issuer needs --oidc-client-id")
		case s.Runs < 0:
			return usage("", "--runs cannot be %d", s.Runs)
		}
		if jobs != "" {
			n, err := strconv.Atoi(jobs)
			if err != nil || n < 0 {
				return usage("", "--jobs cannot be %s", jobs)
			}
			s.Jobs, s.Elsewhere = n, n == 0
		}
		s.Ready = func(up Up) {
			if g.json() {
				_ = writeJSON(g.Stdout, up)
				return
			}
			fmt.Fprintf(g.Stdout, "Fairlead serves at %s\n", up.URL)
			if up.First != "" {
				fmt.Fprintf(g.Stdout, "There is no account yet. The first admin makes one here:\n  %s\n", up.First)
			}
		}
		ctx, stop := untilAsked(cmd.Context())
		defer stop()
		return g.Serve(ctx, g.wiring, s)
	}
	return c
}
