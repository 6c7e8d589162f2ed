package access

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"time"
)

// Issuer signs ID tokens: short-lived texts by which a job proves to others
// what it is a job of. Whoever is shown one asks the issuer's address for its keys
// (OpenID Connect Discovery 1.0), and needs to keep no secret for it.
//
// It signs with RS256, which every cloud provider reads.
type Issuer struct {
	// URL is the server's public address, and the tokens' iss.
	URL string
	// Key is the private key as [NewIssuerKey] makes it; whoever gives it keeps it
	// sealed.
	Key func(ctx context.Context) (string, error)
	// Now is the time; nil: time.Now.
	Now func() time.Time
}

const (
	issuerBits = 2048
	issuerPEM  = "PRIVATE KEY"
	// maxTokenLife is how long a token holds at most.
	maxTokenLife = time.Hour
	// skew is how far clocks of others may be behind.
	skew = 5 * time.Second
)

// NewIssuerKey makes a private key for an issuer, as PEM.
func NewIssuerKey() (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, issuerBits)
	if err != nil {
		return "", fmt.Errorf("make a key for ID tokens: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("make a key for ID tokens: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: issuerPEM, Bytes: der})), nil
}

// key reads the private key, and its name: its thumbprint (RFC 7638).
func (i *Issuer) key(ctx context.Context) (key *rsa.PrivateKey, id string, err error) {
	text, err := i.Key(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("open the key of ID tokens: %w", err)
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != issuerPEM {
		return nil, "", errors.New("the key of ID tokens is damaged")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok {
		return nil, "", errors.New("the key of ID tokens is damaged")
	}
	n, e := numbers(key)
	sum := sha256.Sum256([]byte(`{"e":"` + e + `","kty":"RSA","n":"` + n + `"}`))
	return key, raw(sum[:]), nil
}

func raw(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// numbers are the modulus and the exponent of a public key.
func numbers(key *rsa.PrivateKey) (n, e string) {
	return raw(key.N.Bytes()), raw(big.NewInt(int64(key.E)).Bytes())
}

// Sign makes a token of claims, which holds for that long, an hour at most.
// The issuer, the times and an ID of the token's own are added.
func (i *Issuer) Sign(ctx context.Context, claims map[string]any, life time.Duration) (string, error) {
	key, id, err := i.key(ctx)
	if err != nil {
		return "", err
	}
	now := time.Now
	if i.Now != nil {
		now = i.Now
	}
	if life <= 0 || life > maxTokenLife {
		life = maxTokenLife
	}
	all := maps.Clone(claims)
	at := now()
	unique := make([]byte, 16)
	rand.Read(unique) // never fails
	all["iss"], all["jti"] = i.URL, raw(unique)
	all["iat"], all["nbf"], all["exp"] = at.Unix(), at.Add(-skew).Unix(), at.Add(life).Unix()
	header, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": id})
	if err != nil {
		return "", fmt.Errorf("sign an ID token: %w", err)
	}
	body, err := json.Marshal(all)
	if err != nil {
		return "", fmt.Errorf("sign an ID token: %w", err)
	}
	text := raw(header) + "." + raw(body)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign an ID token: %w", err)
	}
	return text + "." + raw(signature), nil
}

// IssuerKeys are the public keys, as a JSON Web Key Set (RFC 7517).
type IssuerKeys struct {
	Keys []IssuerKey `json:"keys"`
}

// IssuerKey is one public key.
type IssuerKey struct {
	Type      string `json:"kty"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"`
	N         string `json:"n"`
	E         string `json:"e"`
}

// Keys are the keys that tokens are checked with.
func (i *Issuer) Keys(ctx context.Context) (IssuerKeys, error) {
	key, id, err := i.key(ctx)
	if err != nil {
		return IssuerKeys{}, err
	}
	n, e := numbers(key)
	return IssuerKeys{Keys: []IssuerKey{{Type: "RSA", Use: "sig", Algorithm: "RS256", ID: id, N: n, E: e}}}, nil
}

// Discovery is what an issuer says of itself (OpenID Connect Discovery 1.0, section 3).
type Discovery struct {
	Issuer     string   `json:"issuer"`
	Keys       string   `json:"jwks_uri"`
	Subjects   []string `json:"subject_types_supported"`
	Responses  []string `json:"response_types_supported"`
	Algorithms []string `json:"id_token_signing_alg_values_supported"`
	Claims     []string `json:"claims_supported"`
	Scopes     []string `json:"scopes_supported"`
}

// The addresses below the issuer's URL.
const (
	DiscoveryPath  = "/.well-known/openid-configuration"
	IssuerKeysPath = "/.well-known/jwks"
)

// Discover says what the issuer is.
func (i *Issuer) Discover() Discovery {
	return Discovery{
		Issuer: i.URL, Keys: strings.TrimRight(i.URL, "/") + IssuerKeysPath, Subjects: []string{"public"}, Responses: []string{"id_token"},
		Algorithms: []string{"RS256"}, Claims: []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "project_path", "ref", "ref_type", "sha", "environment"}, Scopes: []string{"openid"},
	}
}
