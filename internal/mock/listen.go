package mock

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Running is a server that listens.
type Running struct {
	URL string // for clients on this machine
	// Certificates are those by which clients know imposters that speak TLS, in PEM
	// form; nil when none does.
	Certificates []byte

	own     *tls.Certificate // made here, for all imposters that bring none
	servers []*http.Server
	serving sync.WaitGroup
}

// patience is how long answers that are under way may take when a server ends.
const patience = time.Second

// Close ends the server; answers under way have a moment.
func (r *Running) Close() error {
	var errs []error
	for _, s := range r.servers {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		if s.Shutdown(ctx) != nil { // somebody holds on to an answer
			errs = append(errs, s.Close())
		}
		cancel()
	}
	r.serving.Wait()
	return errors.Join(errs...)
}

// add listens at an address; with an identity, it speaks TLS.
func (r *Running) add(address string, id *identity, h http.Handler) (net.Addr, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	if id != nil {
		host, _, _ := net.SplitHostPort(address)
		secured, err := r.secured(l, id, host)
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l = secured
	}
	// A client that trusts no certificate of ours says so itself.
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	r.servers = append(r.servers, s)
	r.serving.Go(func() { _ = s.Serve(l) }) // it ends when it is told to
	return l.Addr(), nil
}

// begin listens at an address.
func begin(address string, id *identity, h http.Handler) (*Running, error) {
	r := &Running{}
	at, err := r.add(address, id, h)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(at.String())
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	r.URL = "http://" + net.JoinHostPort(host, port)
	if id != nil {
		r.URL = "https://" + net.JoinHostPort(host, port)
	}
	return r, nil
}

// Listen serves at an address (host:port; port 0 is a free one), and, when there
// are imposters of several ports, at those, too. When nothing but one imposter
// answers, the address speaks TLS if it does; else it never does.
func (s *Server) Listen(address string) (*Running, error) {
	ports := s.Ports()
	var id *identity
	if len(ports) <= 1 && !slices.ContainsFunc(s.stubs, func(x Stub) bool { return x.tls == nil }) && len(s.stubs) > 0 {
		id = s.stubs[0].tls
	}
	r, err := begin(address, id, s.Handler(0))
	if err != nil || len(ports) < 2 {
		return r, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	for _, p := range ports {
		i := slices.IndexFunc(s.stubs, func(x Stub) bool { return x.Port == p })
		if _, err := r.add(net.JoinHostPort(host, strconv.Itoa(p)), s.stubs[i].tls, s.Handler(p)); err != nil {
			return nil, errors.Join(fmt.Errorf("the imposter of port %d: %w", p, err), r.Close())
		}
	}
	return r, nil
}

// Listen records what comes to an address (host:port; port 0 is a free one).
func (rec *Recorder) Listen(address string) (*Running, error) { return begin(address, nil, rec) }
