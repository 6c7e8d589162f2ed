package docker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/moby/client"
)

// oldest is the version of the engine's interface that is needed: that of
// Docker 20.10.
const oldest = "1.41"

// answerTime is how long a daemon may take to say that it is there.
const answerTime = 10 * time.Second

// daemon is an engine that answers.
type daemon struct {
	*client.Client
	at string // its address
	os string // what its containers run
}

// address is where a daemon may be, and who says so.
type address struct{ host, from string }

// addresses are the places to look for a daemon at. If somebody has named
// one, there is no other.
func addresses(getenv func(string) string) ([]address, error) {
	if host := getenv("DOCKER_HOST"); host != "" {
		return []address{{host, "DOCKER_HOST"}}, nil
	}
	home := getenv("HOME")
	config := getenv("DOCKER_CONFIG")
	if config == "" && home != "" {
		config = filepath.Join(home, ".docker")
	}
	if config != "" {
		a, err := fromContext(config, getenv("DOCKER_CONTEXT"))
		if a.host != "" || err != nil {
			return []address{a}, err
		}
	}
	all := []address{{"unix:///var/run/docker.sock", "Docker's usual socket"}}
	if dir := getenv("XDG_RUNTIME_DIR"); dir != "" {
		all = append(all, address{"unix://" + dir + "/docker.sock", "rootless Docker"})
	}
	if home != "" {
		all = append(all, address{"unix://" + home + "/.docker/run/docker.sock", "Docker Desktop"})
	}
	if dir := getenv("XDG_RUNTIME_DIR"); dir != "" {
		all = append(all, address{"unix://" + dir + "/podman/podman.sock", "rootless Podman"})
	}
	return append(all, address{"unix:///run/podman/podman.sock", "Podman"}), nil
}

// fromContext reads the address that the docker command would use: that of the
// context with this name, or else of the chosen one. The default context has none.
func fromContext(config, name string) (address, error) {
	if name == "" {
		var chosen struct {
			CurrentContext string `json:"currentContext"`
		}
		data, err := os.ReadFile(filepath.Join(config, "config.json"))
		if err != nil || json.Unmarshal(data, &chosen) != nil {
			return address{}, nil // the docker command does without one, too
		}
		name = chosen.CurrentContext
	}
	if name == "" || name == "default" {
		return address{}, nil
	}
	id := sha256.Sum256([]byte(name))
	file := filepath.Join(config, "contexts", "meta", hex.EncodeToString(id[:]), "meta.json")
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &meta)
	}
	if err != nil {
		return address{from: "the context " + name}, fmt.Errorf("the Docker context %q cannot be read: %w", name, err)
	}
	return address{meta.Endpoints["docker"].Host, "the context " + name}, nil
}

// lost says that there is no daemon, and where it was looked for.
type lostDaemon struct{ tried []string }

func (e *lostDaemon) Error() string {
	return "no container engine answers (tried " + strings.Join(e.tried, "; ") + ")"
}

// find connects to the first daemon that answers.
func find(ctx context.Context, getenv func(string) string) (*daemon, error) {
	all, err := addresses(getenv)
	if err != nil {
		return nil, err
	}
	lost := &lostDaemon{}
	for _, a := range all {
		d, err := connect(ctx, a, getenv)
		if err == nil {
			return d, nil
		}
		lost.tried = append(lost.tried, fmt.Sprintf("%s, %s: %v", a.host, a.from, err))
	}
	return nil, lost
}

func connect(ctx context.Context, a address, getenv func(string) string) (*daemon, error) {
	u, err := url.Parse(a.host)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "unix":
		// The client's own message for a socket that is not there is long.
		if _, err := os.Stat(u.Path); err != nil {
			return nil, fmt.Errorf("no such socket")
		}
	case "tcp", "http", "https":
	default:
		return nil, fmt.Errorf("%s addresses are not spoken; forward the engine's socket to a local one", u.Scheme)
	}
	opts := []client.Opt{client.WithHost(a.host), client.WithAPIVersionFromEnv()}
	if dir := getenv("DOCKER_CERT_PATH"); dir != "" && u.Scheme != "unix" {
		opts = append(opts, client.WithTLSClientConfig(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")))
	}
	c, err := client.New(opts...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	ping, err := c.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	if err != nil {
		c.Close()
		if os.IsPermission(err) || strings.Contains(err.Error(), "permission denied") {
			return nil, fmt.Errorf("permission denied: be in the group `docker`, or use rootless Docker")
		}
		return nil, err
	}
	if v := c.ClientVersion(); older(v, oldest) {
		c.Close()
		return nil, fmt.Errorf("it speaks version %s of the interface, and at least %s is needed (Docker 20.10)", v, oldest)
	}
	// Podman's ping does not say, and it has no containers but Linux's.
	return &daemon{Client: c, at: a.host, os: cmp.Or(ping.OSType, "linux")}, nil
}

// older compares versions like 1.41.
func older(v, than string) bool {
	var a, b [2]int
	_, _ = fmt.Sscanf(v, "%d.%d", &a[0], &a[1])
	_, _ = fmt.Sscanf(than, "%d.%d", &b[0], &b[1])
	return a[0] < b[0] || a[0] == b[0] && a[1] < b[1]
}
