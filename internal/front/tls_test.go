package front

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certify writes a certificate for the names into the directory.
func certify(t *testing.T, dir, subject string, names ...string) *TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: subject}, DNSNames: names, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := &TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for name, block := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	exact, wild := t.TempDir(), t.TempDir()
	f := opened(t, Table{Routes: []Route{
		{Service: "a", Hosts: []string{"A.example.com"}, TLS: certify(t, exact, "exact")},
		{Service: "b", Hosts: []string{"*.example.com"}, TLS: certify(t, wild, "wild")},
	}})
	subject := func(name string) string {
		cert, err := f.certs.get(&tls.ClientHelloInfo{ServerName: name})
		if err != nil {
			return "none"
		}
		return cert.Leaf.Subject.CommonName
	}
	for name, want := range map[string]string{"a.example.com": "exact", "a.EXAMPLE.com.": "exact", "b.example.com": "wild", "c.b.example.com": "wild", "example.com": "none", "": "none"} {
		if got := subject(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	// look lets the next handshake look at the files.
	look := func() {
		for _, c := range *f.certs.byHost.Load() {
			c.mu.Lock()
			c.looked = time.Time{}
			c.mu.Unlock()
		}
	}
	certify(t, exact, "renewed certificate")
	look()
	if got := subject("a.example.com"); got != "renewed certificate" {
		t.Errorf("after a change of the files: %s", got)
	}
	if err := os.WriteFile(filepath.Join(exact, "key.pem"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	look()
	if got := subject("a.example.com"); got != "renewed certificate" {
		t.Errorf("in the midst of a change: %s", got)
	}
	// A front whose certificates are gone still serves the other hosts.
	again, err := Open(f.state.dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.certs.get(&tls.ClientHelloInfo{ServerName: "a.example.com"}); err == nil {
		t.Error("a certificate was made of nothing")
	}
	if _, err := again.certs.get(&tls.ClientHelloInfo{ServerName: "b.example.com"}); err != nil {
		t.Error(err)
	}
}
