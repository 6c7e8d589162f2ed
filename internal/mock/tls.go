package mock

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Imposters that speak TLS show the certificate of their file, or one that is made when
// the server starts: for this machine's loopback names, signed by itself, gone with the
// server. Whoever asks them trusts [Running.Certificates].

// identity is what an imposter that speaks TLS shows.
type identity struct {
	pair *tls.Certificate // nil: one that is made at start
}

// certified is how long a certificate of ours is valid: longer than tests take.
const certified = 30 * 24 * time.Hour

// selfSigned makes a certificate for the loopback names of this machine, and a host.
func selfSigned(host string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "fairlead mock"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certified),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true, // some clients trust nothing else
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if ip := net.ParseIP(host); ip == nil && host != "" {
		c.DNSNames = append(c.DNSNames, host)
	} else if ip != nil && !ip.IsUnspecified() {
		c.IPAddresses = append(c.IPAddresses, ip)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// secured is the listener of an imposter that speaks TLS.
func (r *Running) secured(l net.Listener, id *identity, host string) (net.Listener, error) {
	pair := id.pair
	if pair == nil {
		if r.own == nil {
			own, err := selfSigned(host)
			if err != nil {
				return nil, err
			}
			r.own = own
		}
		pair = r.own
	}
	var text []byte
	for _, der := range pair.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	if !bytes.Contains(r.Certificates, text) {
		r.Certificates = append(r.Certificates, text...)
	}
	// HTTP/1.1 alone, as imposters speak it: their faults are faults of a connection.
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*pair}, NextProtos: []string{"http/1.1"}}), nil
}
