package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/cli"
	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/forge/azure"
	"github.com/fairlead-dev/fairlead/internal/forge/bitbucket"
	"github.com/fairlead-dev/fairlead/internal/forge/gitea"
	"github.com/fairlead-dev/fairlead/internal/forge/github"
	"github.com/fairlead-dev/fairlead/internal/forge/gitlab"
	"github.com/fairlead-dev/fairlead/internal/insight"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/notify/shoutrrr"
	"github.com/fairlead-dev/fairlead/internal/notify/slack"
	"github.com/fairlead-dev/fairlead/internal/notify/smtp"
	"github.com/fairlead-dev/fairlead/internal/notify/teams"
	"github.com/fairlead-dev/fairlead/internal/notify/webhook"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/secret"
	"github.com/fairlead-dev/fairlead/internal/server"
	"github.com/fairlead-dev/fairlead/internal/store/sqlite"
)

// office makes what a team's server adds to runs: repositories, accounts, secrets, and
// the trail of what was done. guard says which addresses it may talk to.
func (o *opened) office(guard forge.Guard, oidc *access.OIDC, s cli.Serving, log *slog.Logger) (*cli.Office, error) {
	dir := filepath.Join(o.data, "keys")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	keys, err := secret.OpenKeys(filepath.Join(dir, "secrets.age"))
	if err != nil {
		return nil, err
	}
	audit, err := access.OpenKey(filepath.Join(dir, "audit.key"))
	if err != nil {
		return nil, err
	}
	vault := &secret.Vault{Registers: o.record, Keys: keys, Run: printedBy}
	client := forge.NewClient(forge.ClientOptions{Guard: guard, Proxy: http.ProxyFromEnvironment})
	desk := &launch.Desk{
		Launcher: o.launcher, Runs: o.record, Vault: vault, Guard: guard,
		Dir: filepath.Join(o.caches, "repositories"), URL: s.URL, Jobs: s.Runs, Stop: s.Stop,
		Forges: forges(client),
		Channels: map[string]notify.Channel{
			"webhook": &webhook.Channel{Client: client, Source: s.URL}, "slack": slack.Channel{Client: client}, "teams": teams.Channel{Client: client},
			"smtp": smtp.Channel{Dial: guarded(guard)}, "shoutrrr": shoutrrr.Channel{Permit: permitted(guard)},
		},
		Log: func(doing string, err error) { log.Warn(doing, "error", err) },
	}
	o.desk = desk
	o.launcher.Tests.Log = desk.Log
	o.launcher.Coverage.Log, o.launcher.Coverage.Past = desk.Log, desk.Past
	o.launcher.Faults.Log = desk.Log
	flags := &launch.Flags{
		Store: o.record, Log: o.record, Dir: filepath.Join(o.data, "flags"), Complain: desk.Log, Past: desk.Past,
		Known: func(ctx context.Context, repository string) error {
			_, err := desk.Repository(ctx, repository)
			return err
		},
	}
	return &cli.Office{
		Flags: flags,
		Desk:  desk, Vault: vault, Keys: keys, Key: audit,
		Gate:     access.New(access.Options{Registers: o.record, Public: s.Public, OIDC: oidc}),
		Trail:    access.NewTrail(o.record, o.record, audit),
		Evidence: access.Evidence{Log: o.record, Registers: o.record, Keys: audit.Public()},
		Events:   o.record,
	}, nil
}

// forges are the code hosts, spoken to through one client.
func forges(client *http.Client) map[string]forge.Forge {
	return map[string]forge.Forge{
		"github": github.New(github.Options{Client: client}), "gitlab": gitlab.New(gitlab.Options{Client: client}),
		"gitea": gitea.New(gitea.Options{Client: client}), "bitbucket": bitbucket.New(bitbucket.Options{Client: client}),
		"azure": azure.New(azure.Options{Client: client}),
	}
}

// issuerSecret is the key that ID tokens are signed with, in the vault.
const issuerSecret = "$ID_TOKENS"

// issuerKey opens the key that ID tokens are signed with. The first to ask for it
// makes it.
func issuerKey(vault *secret.Vault) func(ctx context.Context) (string, error) {
	var mu sync.Mutex
	return func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		key, known, err := vault.Internal(ctx, "", issuerSecret)
		if known || err != nil {
			return key, err
		}
		if key, err = access.NewIssuerKey(); err != nil {
			return "", err
		}
		if err := vault.Set(ctx, secret.By{Name: "fairlead", Via: "server"}, secret.Scope{}, issuerSecret, []byte(key)); err != nil {
			return "", err
		}
		// Another server may have been faster, or will be: what is kept counts.
		key, _, err = vault.Internal(ctx, "", issuerSecret)
		return key, err
	}
}

// guarded connects to addresses that the guard lets pass.
func guarded(g forge.Guard) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: 10 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return g.Check(a.Addr())
	}}
	return d.DialContext
}

// permitted says why a host may not be talked to, for those that connect by
// themselves.
func permitted(g forge.Guard) func(ctx context.Context, host string) error {
	return func(ctx context.Context, host string) error {
		addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		for _, a := range addresses {
			err = errors.Join(err, g.Check(a.Unmap()))
		}
		return err
	}
}

const (
	// sourceWithin is how long a command that a secret comes from may take, and
	// sourceBytes how much it may print.
	sourceWithin = 30 * time.Second
	sourceBytes  = 1 << 20
)

// printedBy runs the command that a secret comes from. What it printed is in no
// error: it may be half of the secret.
func printedBy(ctx context.Context, command []string) ([]byte, error) {
	if len(command) == 0 {
		return nil, errors.New("there is no command")
	}
	ctx, cancel := context.WithTimeout(ctx, sourceWithin)
	defer cancel()
	c := exec.CommandContext(ctx, command[0], command[1:]...)
	c.WaitDelay = time.Second
	out, in := io.Pipe()
	c.Stdout = in
	read := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(io.LimitReader(out, sourceBytes+1))
		_ = out.Close()
		read <- b
	}()
	err := c.Run()
	_ = in.Close()
	b := <-read
	switch {
	case err != nil:
		return nil, fmt.Errorf("run %s: %w", command[0], err)
	case len(b) > sourceBytes:
		return nil, fmt.Errorf("%s printed more than %d bytes", command[0], sourceBytes)
	}
	return bytes.TrimRight(b, "\r\n"), nil
}

// serve is a team's server, until ctx ends.
func serve(ctx context.Context, w cli.Wiring, s cli.Serving) (err error) {
	o, err := wire(ctx, w, sqlite.Full)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))

	var proxies []netip.Prefix
	for _, text := range s.Proxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return &plan.UsageError{Message: fmt.Sprintf("--proxy %q is no network", text), Hint: "it is like 10.0.0.0/8"}
		}
		proxies = append(proxies, p)
	}
	listener, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer listener.Close()
	scheme := "http"
	if s.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(s.Certificate, s.Key)
		if err != nil {
			return fmt.Errorf("read the certificate: %w", err)
		}
		scheme = "https"
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}})
	}
	if s.URL == "" {
		s.URL = scheme + "://" + listener.Addr().String()
	}
	s.URL = strings.TrimRight(s.URL, "/")

	var oidc *access.OIDC
	if s.Issuer != "" {
		oidc = &access.OIDC{Issuer: s.Issuer, ClientID: s.ClientID, Redirect: s.URL + "/sign-in/oidc/done"}
		if s.ClientSecretFile != "" {
			b, err := os.ReadFile(s.ClientSecretFile)
			if err != nil {
				return fmt.Errorf("read the client's secret: %w", err)
			}
			oidc.ClientSecret = strings.TrimSpace(string(b))
		}
		if err := oidc.Check(); err != nil {
			return &plan.UsageError{Message: err.Error(), Hint: "see --oidc-issuer and --oidc-client-id"}
		}
	}
	office, err := o.office(forge.Guard{Private: s.Private, Loopback: s.Loopback}, oidc, s, log)
	if err != nil {
		return err
	}
	hands, err := o.hands(ctx, w, s, log)
	if err != nil {
		return err
	}
	mover, _, err := o.delivery(w, launch.RepositoryPlaces{Desk: office.Desk}, vaultSecrets{office.Vault}, office.Flags)
	if err != nil {
		return err
	}
	mover.Log = func(rollout, line string) { log.Info("rollout", "rollout", rollout, "says", line) }
	deployed := &insight.Pipelines{Store: o.record, Runs: o.record, Log: office.Desk.Log}
	issuer := &access.Issuer{URL: s.URL, Key: issuerKey(office.Vault)}
	office.Desk.Issuer, o.identity = issuer, office.Desk.Identity
	o.launcher.Hands, o.launcher.Places, office.Desk.Further = hands, s.Jobs, hands.Runs
	web, err := server.New(server.Config{
		Desk: office.Desk, Runs: o.record, Feed: o.record, Gate: office.Gate, Trail: office.Trail, Vault: office.Vault,
		Pushes: o.record, LogPath: o.launcher.LogPath, Coverage: o.launcher.Coverage, Reports: o.reports(), Publications: o.record, Logs: o.launcher, Faults: o.launcher.Faults, Blobs: o.blobs, Forges: office.Desk.Forges, Channels: slices.Sorted(maps.Keys(office.Desk.Channels)),
		Tests: o.histories(), Wards: o.wards(), Flags: office.Flags, Mover: mover, Board: &insight.Board{Store: o.record}, Sharing: &server.Sharing{Registers: o.record, Ledger: o.record},
		Deliveries: &insight.Deliveries{Log: o.record}, Incidents: &launch.Incidents{Store: o.record},
		Workers: hands, Crew: hands, Issuer: issuer, Log: log, OIDC: office.Gate.OIDCName(), Version: o.launcher.Version, URL: s.URL, Proxies: proxies,
	})
	if err != nil {
		return err
	}
	up := cli.Up{Address: listener.Addr().String(), URL: s.URL}
	first, fresh, err := office.Gate.FirstLink(ctx)
	if err != nil {
		return fmt.Errorf("look for accounts: %w", err)
	}
	if fresh {
		up.First = web.JoinLink(first, true)
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// While runs are given time to end, people may look and workers may say what they did.
	answering, hush := context.WithCancel(context.WithoutCancel(ctx))
	defer hush()
	defer context.AfterFunc(ctx, web.Leave)()
	ended := make(chan error, 2)
	go func() { ended <- web.Serve(answering, listener) }()
	go func() { ended <- office.Desk.Serve(ctx) }()
	moved := make(chan struct{})
	go func() {
		defer close(moved)
		// A database that is away for a while is no reason for a server to end.
		for ctx.Err() == nil {
			if err := mover.Serve(ctx); err != nil {
				log.Warn("move rollouts", "error", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()
	found := make(chan struct{})
	go func() {
		defer close(found)
		deployed.Follow(ctx)
	}()
	trailed := make(chan struct{})
	go func() {
		defer close(trailed)
		office.Trail.Serve(ctx, o.record.Watch, func(err error) { log.Error("audit trail", "error", err) })
	}()
	flagged := make(chan struct{})
	go func() {
		defer close(flagged)
		office.Flags.Serve(answering)
	}()
	handed := make(chan struct{})
	go func() {
		defer close(handed)
		hands.Serve(answering)
	}()
	s.Ready(up)
	err = <-ended
	stop() // one of them without the others is no server
	hush()
	err = errors.Join(err, <-ended)
	<-moved
	<-trailed
	<-found
	<-handed
	<-flagged
	return err
}
