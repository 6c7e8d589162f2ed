package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	tokenAge    = time.Minute // a file with a token is read again after that
	pluginTime  = time.Minute // a plugin may take
	pluginBytes = 1 << 20     // a plugin may print
	beforeEnd   = 10 * time.Second
)

// plugin is a command that says who we are: the exec of a kubeconfig's user.
type plugin struct {
	APIVersion         string   `yaml:"apiVersion"`
	Command            string   `yaml:"command"`
	Args               []string `yaml:"args"`
	InstallHint        string   `yaml:"installHint"`
	ProvideClusterInfo bool     `yaml:"provideClusterInfo"`
	InteractiveMode    string   `yaml:"interactiveMode"`
	Env                []struct {
		Name  string `yaml:"name"`
		Value string `yaml:"value"`
	} `yaml:"env"`
}

func (p *plugin) check() error {
	switch {
	case p.Command == "":
		return errors.New("its exec plugin has no command")
	case p.APIVersion != "client.authentication.k8s.io/v1" && p.APIVersion != "client.authentication.k8s.io/v1beta1":
		return fmt.Errorf("its exec plugin speaks %q, not client.authentication.k8s.io/v1 or v1beta1", p.APIVersion)
	case p.InteractiveMode == "Always":
		return errors.New("its exec plugin wants to ask a person each time (interactiveMode: Always), and nobody is there to answer")
	}
	return nil
}

// credential is what a plugin says.
type credential struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Status     struct {
		ExpirationTimestamp   time.Time `json:"expirationTimestamp"`
		Token                 string    `json:"token"`
		ClientCertificateData string    `json:"clientCertificateData"`
		ClientKeyData         string    `json:"clientKeyData"`
	} `json:"status"`
}

// identity says who we are with each request, and asks anew when an answer has grown
// old. It is safe for several goroutines.
type identity struct {
	config *Config

	mu          sync.Mutex
	token       string
	until       time.Time // the token, or the certificate, is good until then
	certificate *tls.Certificate
	asked       bool // the plugin has answered once
}

// sign puts into a request who we are.
func (i *identity) sign(ctx context.Context, h http.Header) error {
	for name, values := range i.config.impersonate {
		h[http.CanonicalHeaderKey(name)] = values
	}
	u := &i.config.user
	switch {
	case u.Exec != nil:
		i.mu.Lock()
		defer i.mu.Unlock()
		if err := i.refresh(ctx); err != nil {
			return err
		}
		if i.token != "" {
			h.Set("Authorization", "Bearer "+i.token)
		}
	case u.TokenFile != "":
		token, err := i.fromFile(u.TokenFile)
		if err != nil {
			return err
		}
		h.Set("Authorization", "Bearer "+token)
	case u.Token != "":
		h.Set("Authorization", "Bearer "+u.Token)
	case u.Username != "":
		r := http.Request{Header: h}
		r.SetBasicAuth(u.Username, u.Password)
	}
	return nil
}

// refused is told when the server did not believe us. It reports whether asking
// again may help.
func (i *identity) refused() bool {
	if i.config.user.Exec == nil && i.config.user.TokenFile == "" {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.until, i.asked = time.Time{}, false
	return true
}

// present is the certificate for a connection, from a plugin.
func (i *identity) present(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.refresh(r.Context()); err != nil {
		return nil, err
	}
	if i.certificate == nil {
		return &tls.Certificate{}, nil
	}
	return i.certificate, nil
}

// fromFile is the token of a file that somebody else replaces now and then.
func (i *identity) fromFile(file string) (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.token != "" && time.Now().Before(i.until) {
		return i.token, nil
	}
	data, err := readLimited(file, maxSecretFile)
	if err != nil {
		return "", fmt.Errorf("read the token for the cluster: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", fmt.Errorf("read the token for the cluster: %s is empty", file)
	}
	i.token, i.until = token, time.Now().Add(tokenAge)
	return token, nil
}

// refresh asks the plugin, unless its last answer is still good. The caller holds mu.
func (i *identity) refresh(ctx context.Context) error {
	if i.asked && (i.until.IsZero() || time.Now().Before(i.until.Add(-beforeEnd))) {
		return nil
	}
	answer, err := i.ask(ctx)
	if err != nil {
		return err
	}
	s := &answer.Status
	i.certificate = nil
	if s.ClientCertificateData != "" {
		pair, err := tls.X509KeyPair([]byte(s.ClientCertificateData), []byte(s.ClientKeyData))
		if err != nil {
			return fmt.Errorf("%s gave a certificate and a key that are no pair", i.config.user.Exec.Command)
		}
		i.certificate = &pair
	}
	i.token, i.until, i.asked = s.Token, s.ExpirationTimestamp, true
	return nil
}

func (i *identity) ask(ctx context.Context) (*credential, error) {
	p := i.config.user.Exec
	command := p.Command
	// As for kubectl: a path is relative to the file, a name is looked for.
	if strings.ContainsRune(command, filepath.Separator) && !filepath.IsAbs(command) {
		command = filepath.Join(i.config.dir, command)
	}
	spec := map[string]any{"interactive": false}
	if p.ProvideClusterInfo {
		spec["cluster"] = map[string]any{
			"server":                     i.config.Server,
			"certificate-authority-data": i.config.caData,
			"tls-server-name":            i.config.tls.ServerName,
			"insecure-skip-tls-verify":   i.config.tls.InsecureSkipVerify,
		}
	}
	info, err := json.Marshal(map[string]any{"apiVersion": p.APIVersion, "kind": "ExecCredential", "spec": spec})
	if err != nil {
		return nil, fmt.Errorf("describe the cluster to %s: %w", p.Command, err)
	}
	ctx, cancel := context.WithTimeout(ctx, pluginTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, command, p.Args...)
	cmd.Env = os.Environ()
	for _, e := range p.Env {
		cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
	}
	cmd.Env = append(cmd.Env, "KUBERNETES_EXEC_INFO="+string(info))
	out, complaint := &limited{most: pluginBytes}, &limited{most: 4 << 10}
	cmd.Stdout, cmd.Stderr = out, complaint
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		hint := ""
		if errors.Is(err, exec.ErrNotFound) && p.InstallHint != "" {
			hint = "; " + p.InstallHint
		}
		return nil, fmt.Errorf("ask %s who we are to the cluster: %w%s%s", p.Command, err, after(": ", strings.TrimSpace(complaint.kept.String())), hint)
	}
	var c credential
	if out.over || json.Unmarshal(out.kept.Bytes(), &c) != nil || c.Kind != "ExecCredential" || c.APIVersion != p.APIVersion {
		return nil, fmt.Errorf("ask %s who we are to the cluster: it did not print an ExecCredential of %s", p.Command, p.APIVersion)
	}
	if c.Status.Token == "" && c.Status.ClientCertificateData == "" {
		return nil, fmt.Errorf("ask %s who we are to the cluster: its answer holds neither a token nor a certificate", p.Command)
	}
	return &c, nil
}

func after(sign, text string) string {
	if text == "" {
		return ""
	}
	return sign + text
}

// limited keeps the beginning of what is written.
type limited struct {
	kept bytes.Buffer
	most int
	over bool
}

func (l *limited) Write(p []byte) (int, error) {
	keep := min(len(p), l.most-l.kept.Len())
	l.kept.Write(p[:keep])
	l.over = l.over || keep < len(p)
	return len(p), nil
}
