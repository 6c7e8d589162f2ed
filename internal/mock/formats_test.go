package mock_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/mock"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// TestFormats: files as the three servers write them, each with requests and what their
// documentation says that they are answered.
func TestFormats(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/formats/*/*.json")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(filepath.ToSlash(file), "testdata/formats/"), ".json"), func(t *testing.T) {
			t.Parallel()
			stubs, problems, err := mock.Load(file)
			if err != nil || len(problems) > 0 {
				t.Fatalf("%v, %v", problems, err)
			}
			_, base := serve(t, stubs, mock.Options{})
			talk, err := os.ReadFile(strings.TrimSuffix(file, ".json") + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			var request []string
			for line := range strings.Lines(string(talk)) {
				line = strings.TrimRight(line, "\n")
				if said, ok := strings.CutPrefix(line, ">"); ok {
					said = strings.TrimPrefix(said, " ")
					if strings.Contains(said, `\x`) {
						if said, err = strconv.Unquote(`"` + said + `"`); err != nil {
							t.Fatal(err)
						}
					}
					request = append(request, said)
					continue
				}
				want := strings.TrimPrefix(line, "< ")
				code, body, _ := ask(t, base, strings.Join(request, "\n"))
				got := strings.TrimSpace(fmt.Sprintf("%d %s", code, body))
				if want == "404" { // nothing fits, which the body explains
					got = strconv.Itoa(code)
				}
				if got != want {
					t.Errorf("%q: %q, want %q", request, got, want)
				}
				request = nil
			}
		})
	}
}

// listening serves the text of imposters at free ports.
func listening(t *testing.T, text string) *mock.Running {
	t.Helper()
	r, err := mock.New(parse(t, text), mock.Options{}).Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func fetch(t *testing.T, url string, certificates []byte) (string, error) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificates)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true, ForceAttemptHTTP2: true}}
	res, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.Proto + " " + string(b), err
}

// TestImpostersOfHTTPS speak TLS: with a certificate of ours, or their own.
func TestImpostersOfHTTPS(t *testing.T) {
	t.Parallel()
	const one = `{"imposters":[{"protocol":"https","mutualAuth":true,%s"stubs":[{"responses":[{"is":{"body":"secret"}}]}]}]}`
	r := listening(t, fmt.Sprintf(one, ""))
	if got, err := fetch(t, r.URL, r.Certificates); err != nil || got != "HTTP/1.1 secret" || !strings.HasPrefix(r.URL, "https://127.0.0.1:") {
		t.Errorf("%s: %q, %v", r.URL, got, err)
	}
	if got, err := fetch(t, strings.Replace(r.URL, "127.0.0.1", "localhost", 1), r.Certificates); err != nil || got != "HTTP/1.1 secret" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := fetch(t, r.URL, nil); err == nil {
		t.Error("whoever does not know the certificate trusts it")
	}

	// A pair of the file's own: here that of another server.
	other := listening(t, fmt.Sprintf(one, ""))
	if string(other.Certificates) == string(r.Certificates) {
		t.Error("two servers show the same certificate")
	}
	cert, key := pairOf(t)
	own := listening(t, fmt.Sprintf(one, fmt.Sprintf(`"key":%q,"cert":%q,`, key, cert)))
	if string(own.Certificates) != cert {
		t.Errorf("it shows %s", own.Certificates)
	}

	// Beside others, each at its own port as it is.
	secure, plain := freePort(t), freePort(t)
	both := listening(t, fmt.Sprintf(`{"imposters":[{"port":%s,"protocol":"https","stubs":[{"responses":[{"is":{"body":"s"}}]}]},
		{"port":%s,"protocol":"http","stubs":[{"responses":[{"is":{"body":"p"}}]}]}]}`, secure, plain))
	if got, err := fetch(t, "https://127.0.0.1:"+secure, both.Certificates); err != nil || got != "HTTP/1.1 s" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := fetch(t, "http://127.0.0.1:"+plain, nil); err != nil || got != "HTTP/1.1 p" {
		t.Errorf("%q, %v", got, err)
	}
	if !strings.HasPrefix(both.URL, "http://") {
		t.Error(both.URL)
	}

	for text, want := range map[string]string{
		`"key":"x",`:            "key and cert belong together",
		`"key":"x","cert":"y",`: "no pair in PEM form",
		`"ca":["x"],`:           `"ca" in an imposter is not supported`,
	} {
		_, problems := mock.Parse("f.json", fmt.Appendf(nil, one, text), nil)
		if !plan.Errors(problems) || !strings.Contains(problems[0].String(), want) {
			t.Errorf("%s: %v, want %s", text, problems, want)
		}
	}
	if _, err := fetch(t, listening(t, strings.Replace(fmt.Sprintf(one, ""), `{"is":{"body":"secret"}}`, `{"fault":"CONNECTION_RESET_BY_PEER"}`, 1)).URL, r.Certificates); err == nil {
		t.Error("a fault was answered")
	}
}

// freePort is a port that nobody has now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// pairOf is a certificate and its key, in PEM form.
func pairOf(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(7)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}
