package cluster

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestFind(t *testing.T) {
	t.Parallel()
	one := write(t, "one", `current-context: dev
contexts: [{name: dev, context: {cluster: c, user: u, namespace: shop}}]
clusters: [{name: c, cluster: {server: https://dev.example:6443/}}]
users: [{name: u, user: {token: a}}]
`)
	two := write(t, "two", `current-context: prod
contexts:
- {name: prod, context: {cluster: p, user: u}}
- {name: dev, context: {cluster: p, user: u, namespace: other}}
- {name: lost, context: {cluster: nothing, user: u}}
- {name: nobody, context: {cluster: p, user: x}}
clusters: [{name: p, cluster: {server: https://prod.example}}]
users: [{name: u, user: {token: b}}]
`)
	missing := filepath.Join(t.TempDir(), "missing")
	list := func(files ...string) string { return strings.Join(files, string(filepath.ListSeparator)) }
	for _, c := range []struct {
		name        string
		place       Place
		env         map[string]string
		want, wrong string
	}{
		{"one file", Place{Kubeconfig: one}, nil, "https://dev.example:6443 shop dev", ""},
		{"the first one wins", Place{}, map[string]string{"KUBECONFIG": list(missing, one, two)}, "https://dev.example:6443 shop dev", ""},
		{"another context", Place{Context: "prod"}, map[string]string{"KUBECONFIG": list(one, two)}, "https://prod.example default prod", ""},
		{"another namespace", Place{Kubeconfig: one, Namespace: "mine"}, nil, "https://dev.example:6443 mine dev", ""},
		{"a missing file", Place{Kubeconfig: missing}, nil, "", "no such file"},
		{"nothing at all", Place{}, map[string]string{"KUBECONFIG": missing}, "", "no cluster is known"},
		{"no such context", Place{Kubeconfig: one, Context: "prod"}, nil, "", `has no context "prod"`},
		{"no such cluster", Place{Kubeconfig: two, Context: "lost"}, nil, "", `names the cluster "nothing"`},
		{"no such user", Place{Kubeconfig: two, Context: "nobody"}, nil, "", `names the user "x"`},
		{"no YAML", Place{Kubeconfig: write(t, "bad", "token: [s3cret\n")}, nil, "", "is not the YAML of a kubeconfig"},
		{"no address", Place{Kubeconfig: write(t, "bad", "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'ftp://x'}}]\n")}, nil, "", "is no address of a server"},
		{"an old provider", Place{Kubeconfig: write(t, "bad", "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://x'}}]\nusers: [{name: u, user: {auth-provider: {name: gcp}}}]\n")}, nil, "", "auth-provider was taken out"},
		{"a plugin that asks people", Place{Kubeconfig: write(t, "bad", "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://x'}}]\nusers: [{name: u, user: {exec: {command: login, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Always}}}]\n")}, nil, "", "nobody is there to answer"},
		{"a certificate that is none", Place{Kubeconfig: write(t, "bad", "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'https://x', certificate-authority-data: aGVsbG8=}}]\n")}, nil, "", "holds no certificate"},
		{"a directory", Place{Kubeconfig: t.TempDir()}, nil, "", "is no regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.place.Getenv = func(name string) string { return c.env[name] }
			config, err := Find(c.place)
			if err != nil {
				if c.wrong == "" || !strings.Contains(err.Error(), c.wrong) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("got %v, want %q", err, c.wrong)
				}
				return
			}
			if got := fmt.Sprintf("%s %s %s", config.Server, config.Namespace, config.Context); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestInPod(t *testing.T) {
	t.Parallel()
	d, _ := serve(t, func(*double, http.ResponseWriter, *http.Request) {})
	dir := t.TempDir()
	for name, text := range map[string]string{"namespace": "shop\n", "token": "t1\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := func(name string) string {
		return map[string]string{"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}[name]
	}
	if _, err := inPod(Place{Getenv: env}, dir); err == nil {
		t.Error("no certificate is there, and none was missed")
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), d.authority(), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := inPod(Place{Getenv: env}, dir)
	if err != nil || c.Server != "https://[fd00::1]:6443" || c.Namespace != "shop" {
		t.Fatalf("got %+v, %v", c, err)
	}
	h := http.Header{}
	if err := (&identity{config: c}).sign(t.Context(), h); err != nil || h.Get("Authorization") != "Bearer t1" {
		t.Errorf("we are %v, %v", h, err)
	}
}

// as asks the double as a user, and returns the error.
func as(t *testing.T, d *double, user string) error {
	t.Helper()
	config, err := Find(Place{Kubeconfig: d.kubeconfig(user), Getenv: func(string) string { return "" }})
	if err != nil {
		return err
	}
	c := New(config)
	defer c.Close()
	for range 2 {
		if _, err := c.Version(t.Context()); err != nil {
			return err
		}
	}
	return nil
}

func TestIdentities(t *testing.T) {
	t.Parallel()
	var want atomic.Value
	d, _ := serve(t, func(d *double, w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization") + r.Header.Get("Impersonate-User"); got != want.Load() {
			status(w, 401, "Unauthorized", "Unauthorized", "")
			return
		}
		_, _ = io.WriteString(w, `{"gitVersion":"v1.34.4"}`)
	})
	count := filepath.Join(t.TempDir(), "count")
	// The first answer is one that the server does not know any more.
	login := write(t, "login", `#!/bin/sh
echo x >> `+count+`
case "$KUBERNETES_EXEC_INFO" in *'"server":"https://127'*) ;; *) echo "no cluster: $KUBERNETES_EXEC_INFO" >&2; exit 1;; esac
[ "$EXTRA" = more ] || exit 1
if [ "$(wc -l < `+count+`)" -lt 2 ]; then token=old; else token=new; fi
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"'$token'"}}'
`)
	plugin := func(command string) string {
		return "exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, provideClusterInfo: true, env: [{name: EXTRA, value: more}], command: " + command + "}"
	}
	token := write(t, "token", "from-a-file\n")
	for _, c := range []struct{ name, user, header, wrong string }{
		{"a token", "token: abc", "Bearer abc", ""},
		{"a file", "tokenFile: " + token, "Bearer from-a-file", ""},
		{"a password", "username: me, password: pass", "Basic bWU6cGFzcw==", ""},
		{"somebody else", "token: abc, as: ada", "Bearer abcada", ""},
		{"a plugin", plugin(login), "Bearer new", ""},
		{"an empty file", "tokenFile: " + write(t, "token", "\n"), "", "is empty"},
		{"a plugin that is not there", plugin("no-such-login"), "", "no-such-login"},
		{"a plugin that fails", plugin(write(t, "login", "#!/bin/sh\necho no session >&2\nexit 3\n")), "", "exit status 3: no session"},
		{"a plugin that says something else", plugin(write(t, "login", "#!/bin/sh\necho hello\n")), "", "did not print an ExecCredential"},
		{"a plugin that says nothing", plugin(write(t, "login", "#!/bin/sh\necho '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\"}'\n")), "", "neither a token nor a certificate"},
		{"a plugin that never ends saying", plugin(write(t, "login", "#!/bin/sh\nhead -c 2000000 /dev/zero\n")), "", "did not print an ExecCredential"},
		{"a wrong token", "token: abd", "Bearer abc", "Unauthorized"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want.Store(c.header)
			err := as(t, d, c.user)
			if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("got %v, want %q", err, c.wrong)
			}
		})
	}
	if calls, err := os.ReadFile(count); err != nil || len(calls) != 4 {
		t.Errorf("the plugin was asked %d times, not once and once more: %v", len(calls)/2, err)
	}
}

func FuzzKubeconfig(f *testing.F) {
	f.Add("current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://x'}}]\nusers: [{name: u, user: {token: a, as: b, as-groups: [c]}}]\n")
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Find(Place{Kubeconfig: file, Getenv: func(string) string { return "" }})
		if err == nil && (c.Server == "" || c.Namespace == "") {
			t.Errorf("got %+v", c)
		}
	})
}
