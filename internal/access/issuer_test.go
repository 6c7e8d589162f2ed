package access

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// A token is believed by a client that knows nothing but the issuer's address.
func TestIssuer(t *testing.T) {
	t.Parallel()
	key, err := NewIssuerKey()
	if err != nil {
		t.Fatal(err)
	}
	issuer := &Issuer{Key: func(context.Context) (string, error) { return key, nil }}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+DiscoveryPath, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(issuer.Discover()) })
	mux.HandleFunc("GET "+IssuerKeysPath, func(w http.ResponseWriter, r *http.Request) {
		keys, err := issuer.Keys(r.Context())
		if err != nil {
			t.Error(err)
		}
		_ = json.NewEncoder(w).Encode(keys)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	issuer.URL = server.URL
	token, err := issuer.Sign(t.Context(), map[string]any{"sub": "project_path:a/b", "aud": "cloud", "iss": "somebody else"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	provider, err := oidc.NewProvider(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	got, err := provider.Verifier(&oidc.Config{ClientID: "cloud"}).Verify(t.Context(), token)
	if err != nil || got.Subject != "project_path:a/b" || time.Until(got.Expiry) > time.Minute+time.Second {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := provider.Verifier(&oidc.Config{ClientID: "another"}).Verify(t.Context(), token); err == nil {
		t.Error("a token for somebody else is believed")
	}
	issuer.Now = func() time.Time { return time.Now().Add(-2 * time.Hour) }
	old, err := issuer.Sign(t.Context(), map[string]any{"sub": "x", "aud": "cloud"}, 5*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Verifier(&oidc.Config{ClientID: "cloud"}).Verify(t.Context(), old); err == nil {
		t.Error("a token holds for more than an hour")
	}
	issuer.Key = func(context.Context) (string, error) { return "no key", nil }
	if _, err := issuer.Keys(t.Context()); err == nil {
		t.Error("a damaged key is none")
	}
}
