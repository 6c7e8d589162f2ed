package cluster

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Limits of what is read to find a cluster.
const (
	maxKubeconfig  = 4 << 20 // bytes of one file
	maxKubeconfigs = 32      // files of KUBECONFIG
	maxSecretFile  = 1 << 20 // bytes of a certificate, key or token
)

// Where a pod finds who it is and what it speaks to.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// Place says which cluster is meant, and where to look for how to speak to it.
type Place struct {
	// Kubeconfig is the file to read; "" stands for those that the variable KUBECONFIG
	// lists, else ~/.kube/config, else the account that a pod has.
	Kubeconfig string
	Context    string // "" is the current one
	Namespace  string // "" is the context's
	// Getenv reads a variable of the environment.
	Getenv func(name string) string
}

// Config is how to speak to a cluster, as kubeconfig files and pods say it.
type Config struct {
	Server    string // https://host:port, perhaps with a path
	Namespace string
	Context   string // its name; "" in a pod
	From      string // the file, for messages
	// Digest tells configurations apart: namespace excepted, those with the same one are
	// the same.
	Digest string

	tls         *tls.Config
	proxy       *url.URL
	impersonate map[string][]string // headers
	user        user
	dir         string // of the file that the user stands in
	getenv      func(string) string
	caData      string // base64, for plugins
}

// user is who somebody is, as kubeconfig files write it down.
type user struct {
	ClientCertificate     string              `yaml:"client-certificate"`
	ClientCertificateData string              `yaml:"client-certificate-data"`
	ClientKey             string              `yaml:"client-key"`
	ClientKeyData         string              `yaml:"client-key-data"`
	Token                 string              `yaml:"token"`
	TokenFile             string              `yaml:"tokenFile"`
	Username              string              `yaml:"username"`
	Password              string              `yaml:"password"`
	As                    string              `yaml:"as"`
	AsUID                 string              `yaml:"as-uid"`
	AsGroups              []string            `yaml:"as-groups"`
	AsUserExtra           map[string][]string `yaml:"as-user-extra"`
	Exec                  *plugin             `yaml:"exec"`
	AuthProvider          any                 `yaml:"auth-provider"`
}

type server struct {
	Server                   string `yaml:"server"`
	TLSServerName            string `yaml:"tls-server-name"`
	InsecureSkipTLSVerify    bool   `yaml:"insecure-skip-tls-verify"`
	CertificateAuthority     string `yaml:"certificate-authority"`
	CertificateAuthorityData string `yaml:"certificate-authority-data"`
	ProxyURL                 string `yaml:"proxy-url"`
}

type surroundings struct {
	Cluster   string `yaml:"cluster"`
	User      string `yaml:"user"`
	Namespace string `yaml:"namespace"`
}

// kubeconfig is a file of that name.
type kubeconfig struct {
	Kind           string `yaml:"kind"`
	CurrentContext string `yaml:"current-context"`
	Clusters       []struct {
		Name    string `yaml:"name"`
		Cluster server `yaml:"cluster"`
	} `yaml:"clusters"`
	Users []struct {
		Name string `yaml:"name"`
		User user   `yaml:"user"`
	} `yaml:"users"`
	Contexts []struct {
		Name    string       `yaml:"name"`
		Context surroundings `yaml:"context"`
	} `yaml:"contexts"`
}

// located is an entry of a kubeconfig and the file that it stands in.
type located[T any] struct {
	entry T
	file  string
}

// Find reads how to speak to a cluster. Of several files the first one that has an
// entry counts, as for kubectl.
func Find(p Place) (*Config, error) {
	files, wanted, err := candidates(p)
	if err != nil {
		return nil, err
	}
	var (
		current  string
		read     []string
		all      = sha256.New()
		clusters = map[string]located[server]{}
		users    = map[string]located[user]{}
		contexts = map[string]located[surroundings]{}
	)
	for _, file := range files {
		k, data, err := readKubeconfig(file)
		if errors.Is(err, fs.ErrNotExist) && !wanted {
			continue
		}
		if err != nil {
			return nil, err
		}
		read = append(read, file)
		fmt.Fprintf(all, "%s\x00%d\x00", file, len(data))
		all.Write(data)
		current = cmp.Or(current, k.CurrentContext)
		for _, e := range k.Clusters {
			first(clusters, e.Name, located[server]{e.Cluster, file})
		}
		for _, e := range k.Users {
			first(users, e.Name, located[user]{e.User, file})
		}
		for _, e := range k.Contexts {
			first(contexts, e.Name, located[surroundings]{e.Context, file})
		}
	}
	if len(read) == 0 {
		if p.Context == "" && p.Getenv("KUBERNETES_SERVICE_HOST") != "" {
			return inPod(p, serviceAccount)
		}
		return nil, fmt.Errorf("no cluster is known: there is no kubeconfig (looked for %s), and this is no pod", strings.Join(files, ", "))
	}
	where := strings.Join(read, ", ")
	name := cmp.Or(p.Context, current)
	if name == "" {
		return nil, fmt.Errorf("%s has no current-context; say which context is meant", where)
	}
	context, ok := contexts[name]
	if !ok {
		return nil, fmt.Errorf("%s has no context %q", where, name)
	}
	s, ok := clusters[context.entry.Cluster]
	if !ok {
		return nil, fmt.Errorf("context %s names the cluster %q, and %s has none", name, context.entry.Cluster, where)
	}
	u, ok := users[context.entry.User]
	if !ok && context.entry.User != "" {
		return nil, fmt.Errorf("context %s names the user %q, and %s has none", name, context.entry.User, where)
	}
	c := &Config{
		Server:    s.entry.Server,
		Namespace: cmp.Or(p.Namespace, context.entry.Namespace, "default"),
		Context:   name,
		From:      where,
		Digest:    hex.EncodeToString(all.Sum([]byte(name))),
		user:      u.entry,
		dir:       filepath.Dir(u.file),
		getenv:    p.Getenv,
	}
	if err := c.secure(s); err != nil {
		return nil, fmt.Errorf("read context %s of %s: %w", name, where, err)
	}
	if err := c.identify(); err != nil {
		return nil, fmt.Errorf("read the user %s of %s: %w", context.entry.User, where, err)
	}
	return c, nil
}

func first[T any](m map[string]T, name string, v T) {
	if _, ok := m[name]; !ok {
		m[name] = v
	}
}

// candidates are the files to read, and whether each has to be there.
func candidates(p Place) (files []string, wanted bool, err error) {
	if p.Kubeconfig != "" {
		return []string{p.Kubeconfig}, true, nil
	}
	for _, file := range filepath.SplitList(p.Getenv("KUBECONFIG")) {
		if file != "" {
			files = append(files, file)
		}
	}
	if len(files) > maxKubeconfigs {
		return nil, false, fmt.Errorf("KUBECONFIG lists %d files; at most %d are read", len(files), maxKubeconfigs)
	}
	if len(files) == 0 {
		files = []string{filepath.Join(p.Getenv("HOME"), ".kube", "config")}
	}
	return files, false, nil
}

func readKubeconfig(file string) (*kubeconfig, []byte, error) {
	data, err := readLimited(file, maxKubeconfig)
	if err != nil {
		return nil, nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	var k kubeconfig
	if err := yaml.Unmarshal(data, &k); err != nil {
		// A parser's message may hold what it could not make sense of, and
		// that may be a secret.
		return nil, nil, fmt.Errorf("read the kubeconfig %s: it is not the YAML of a kubeconfig", file)
	}
	return &k, data, nil
}

func readLimited(file string, most int64) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", file)
	}
	if info.Size() > most {
		return nil, fmt.Errorf("%s has %d bytes; at most %d are read", file, info.Size(), most)
	}
	return os.ReadFile(file)
}

// inPod is how a pod speaks to the cluster that it runs in.
func inPod(p Place, dir string) (*Config, error) {
	ca, err := readLimited(filepath.Join(dir, "ca.crt"), maxSecretFile)
	if err != nil {
		return nil, fmt.Errorf("read the account of this pod: %w", err)
	}
	namespace, err := readLimited(filepath.Join(dir, "namespace"), maxSecretFile)
	if err != nil && p.Namespace == "" {
		return nil, fmt.Errorf("read the account of this pod: %w", err)
	}
	host := p.Getenv("KUBERNETES_SERVICE_HOST")
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	c := &Config{
		Server:    "https://" + host + ":" + cmp.Or(p.Getenv("KUBERNETES_SERVICE_PORT"), "443"),
		Namespace: cmp.Or(p.Namespace, strings.TrimSpace(string(namespace)), "default"),
		From:      "the account of this pod",
		Digest:    "pod",
		user:      user{TokenFile: filepath.Join(dir, "token")},
		dir:       dir,
		getenv:    p.Getenv,
	}
	if err := c.secure(located[server]{server{Server: c.Server, CertificateAuthorityData: base64.StdEncoding.EncodeToString(ca)}, ""}); err != nil {
		return nil, fmt.Errorf("read the account of this pod: %w", err)
	}
	return c, nil
}

// secure reads how the server is reached, and how it proves who it is.
func (c *Config) secure(s located[server]) error {
	u, err := url.Parse(s.entry.Server)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%q is no address of a server", s.entry.Server)
	}
	c.Server = strings.TrimSuffix(u.String(), "/")
	if s.entry.ProxyURL != "" {
		if c.proxy, err = url.Parse(s.entry.ProxyURL); err != nil || c.proxy.Host == "" {
			return fmt.Errorf("its proxy-url is no address")
		}
	}
	c.tls = &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: s.entry.TLSServerName,
		// Only where the kubeconfig says so: somebody's test cluster.
		InsecureSkipVerify: s.entry.InsecureSkipTLSVerify,
	}
	ca, err := material(s.entry.CertificateAuthorityData, s.entry.CertificateAuthority, filepath.Dir(s.file))
	if err != nil {
		return fmt.Errorf("its certificate-authority: %w", err)
	}
	if len(ca) == 0 {
		return nil
	}
	c.caData = base64.StdEncoding.EncodeToString(ca)
	c.tls.RootCAs = x509.NewCertPool()
	if !c.tls.RootCAs.AppendCertsFromPEM(ca) {
		return fmt.Errorf("its certificate-authority holds no certificate in PEM form")
	}
	return nil
}

// identify reads who we are to the server.
func (c *Config) identify() error {
	u := &c.user
	if u.AuthProvider != nil {
		return errors.New("auth-provider was taken out of Kubernetes in 1.26; give the user an exec plugin instead")
	}
	certificate, err := material(u.ClientCertificateData, u.ClientCertificate, c.dir)
	if err != nil {
		return fmt.Errorf("its client-certificate: %w", err)
	}
	key, err := material(u.ClientKeyData, u.ClientKey, c.dir)
	if err != nil {
		return fmt.Errorf("its client-key: %w", err)
	}
	if len(certificate)+len(key) > 0 {
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			return errors.New("its client-certificate and client-key are no pair in PEM form")
		}
		c.tls.Certificates = []tls.Certificate{pair}
	}
	if u.TokenFile != "" && !filepath.IsAbs(u.TokenFile) {
		u.TokenFile = filepath.Join(c.dir, u.TokenFile)
	}
	if u.Exec != nil {
		if err := u.Exec.check(); err != nil {
			return err
		}
	}
	if u.As == "" {
		return nil
	}
	c.impersonate = map[string][]string{"Impersonate-User": {u.As}}
	if u.AsUID != "" {
		c.impersonate["Impersonate-Uid"] = []string{u.AsUID}
	}
	if len(u.AsGroups) > 0 {
		c.impersonate["Impersonate-Group"] = u.AsGroups
	}
	for name, values := range u.AsUserExtra {
		c.impersonate["Impersonate-Extra-"+url.QueryEscape(name)] = values
	}
	return nil
}

// material is what a kubeconfig holds itself, or names a file for.
func material(data, file, dir string) ([]byte, error) {
	switch {
	case data != "":
		decoded, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil, errors.New("the data is not base64")
		}
		return decoded, nil
	case file != "":
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		return readLimited(file, maxSecretFile)
	}
	return nil, nil
}
