package main

import (
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
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// nodeName is the one node's name.
const nodeName = "node1"

// keys are the certificates of a cluster that lives for a test.
type keys struct {
	dir  string
	root *x509.Certificate
	own  *ecdsa.PrivateKey // the root's
}

// subjects are who has a certificate, by the name of its files.
func subjects(ip string) map[string]x509.Certificate {
	client := func(name string, groups ...string) x509.Certificate {
		return x509.Certificate{
			Subject:     pkix.Name{CommonName: name, Organization: groups},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
	}
	server := func(name string, names ...string) x509.Certificate {
		return x509.Certificate{
			Subject: pkix.Name{CommonName: name}, DNSNames: names,
			IPAddresses: []net.IP{net.ParseIP("127.0.0.1"), net.ParseIP("10.96.0.1"), net.ParseIP(ip)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
	}
	return map[string]x509.Certificate{
		"apiserver":   server("kube-apiserver", "localhost", "kubernetes.default.svc"),
		"kubelet":     server(nodeName, nodeName),
		"admin":       client("admin", "system:masters"),
		"controllers": client("system:kube-controller-manager"),
		"scheduler":   client("system:kube-scheduler"),
		"node":        client("system:node:"+nodeName, "system:nodes"),
		"proxy":       client("system:kube-proxy"),
	}
}

// makeKeys writes a root, a certificate for each subject, and the key with which the server
// signs the tokens of accounts.
func makeKeys(dir, ip string) (*keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	k := &keys{dir: dir}
	var err error
	if k.own, err = k.write("ca"); err != nil {
		return nil, err
	}
	k.root = &x509.Certificate{Subject: pkix.Name{CommonName: "test-ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	if err := k.sign("ca", k.root, &k.own.PublicKey); err != nil {
		return nil, err
	}
	for name, c := range subjects(ip) {
		key, err := k.write(name)
		if err != nil {
			return nil, err
		}
		c.KeyUsage = x509.KeyUsageDigitalSignature
		if err := k.sign(name, &c, &key.PublicKey); err != nil {
			return nil, err
		}
	}
	_, err = k.write("accounts")
	return k, err
}

func (k *keys) key(name string) string         { return filepath.Join(k.dir, name+".key") }
func (k *keys) certificate(name string) string { return filepath.Join(k.dir, name+".crt") }

// clients are those who get a kubeconfig.
func (k *keys) clients() []string {
	return []string{"admin", "controllers", "scheduler", "node", "proxy"}
}

func (k *keys) write(name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, os.WriteFile(k.key(name), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func (k *keys) sign(name string, c *x509.Certificate, public *ecdsa.PublicKey) error {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return err
	}
	c.SerialNumber = serial
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(72*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, k.root, public, k.own)
	if err != nil {
		return err
	}
	return os.WriteFile(k.certificate(name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}

func (k *keys) kubeconfig(name, server string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: %[3]s, user: {client-certificate: %q, client-key: %q}}]
contexts: [{name: test, context: {cluster: test, user: %[3]s}}]
current-context: test
`, server, k.certificate("ca"), name, k.certificate(name), k.key(name))
}

// client makes requests as one of the subjects.
func (k *keys) client(name string) (*http.Client, error) {
	pair, err := tls.LoadX509KeyPair(k.certificate(name), k.key(name))
	if err != nil {
		return nil, err
	}
	root, err := os.ReadFile(k.certificate("ca"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}}, nil
}
