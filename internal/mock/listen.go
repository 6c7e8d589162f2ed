package mock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Running is a server that listens.
type Running struct {
	URL string // for clients on this machine

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

func (r *Running) add(address string, h http.Handler) (net.Addr, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	r.servers = append(r.servers, s)
	r.serving.Go(func() { _ = s.Serve(l) }) // it ends when it is told to
	return l.Addr(), nil
}

// begin listens at an address.
func begin(address string, h http.Handler) (*Running, error) {
	r := &Running{}
	at, err := r.add(address, h)
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
	return r, nil
}

// Listen serves at an address (host:port; port 0 is a free one), and, when there
// are imposters of several ports, at those, too.
func (s *Server) Listen(address string) (*Running, error) {
	r, err := begin(address, s.Handler(0))
	ports := s.Ports()
	if err != nil || len(ports) < 2 {
		return r, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	for _, p := range ports {
		if _, err := r.add(net.JoinHostPort(host, strconv.Itoa(p)), s.Handler(p)); err != nil {
			return nil, errors.Join(fmt.Errorf("the imposter of port %d: %w", p, err), r.Close())
		}
	}
	return r, nil
}

// Listen records what comes to an address (host:port; port 0 is a free one).
func (rec *Recorder) Listen(address string) (*Running, error) { return begin(address, rec) }
