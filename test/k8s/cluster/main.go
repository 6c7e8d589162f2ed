// The cluster command starts a whole Kubernetes with one node, runs a command
// against it, and stops it again:
//
//	cluster -kube FILE -app FILE -pause FILE -dir DIR -- go test ./…
//
// It has to be root in network, mount and process namespaces of its own (see
// run.sh), so that nothing of it is left behind. The command finds the cluster by
// KUBECONFIG, kubectl by FAIRLEAD_TEST_KUBECTL, and the images that it may run by
// FAIRLEAD_TEST_IMAGES: two versions of the app, by digest.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The node is not the loopback interface: kubelet and kube-proxy refuse that as
// the address of a node.
const (
	nodeIP   = "172.31.99.1"
	gateway  = "172.31.99.2"
	api      = "https://127.0.0.1:16443"
	etcdAt   = "http://127.0.0.1:12379"
	etcdPeer = "http://127.0.0.1:12380"
	services = "10.96.0.0/24"
	pods     = "10.88.77.0/24"
)

// cluster is what has been started.
type cluster struct {
	kube, dir string
	began     time.Time
	running   []*exec.Cmd
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("cluster: ")
	kube := flag.String("kube", "", "the kube `binary`")
	app := flag.String("app", "", "the app's `binary`, which becomes an image")
	pause := flag.String("pause", "", "the pause `binary`, which becomes an image")
	dir := flag.String("dir", "", "an empty `directory` for all that the cluster keeps")
	flag.Parse()
	if *kube == "" || *app == "" || *pause == "" || *dir == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := &cluster{kube: *kube, dir: *dir, began: time.Now()}
	code, err := c.run(ctx, *app, *pause, flag.Args())
	c.stop()
	if err != nil {
		log.Print(err)
		os.Exit(1)
	}
	os.Exit(code)
}

// run starts everything, and then the command, whose exit code it returns.
func (c *cluster) run(ctx context.Context, app, pause string, command []string) (int, error) {
	if err := c.network(ctx); err != nil {
		return 0, err
	}
	keys, err := makeKeys(filepath.Join(c.dir, "pki"), nodeIP)
	if err != nil {
		return 0, fmt.Errorf("make the certificates: %w", err)
	}
	for _, name := range keys.clients() {
		if err := os.WriteFile(c.path(name+".kubeconfig"), keys.kubeconfig(name, api), 0o600); err != nil {
			return 0, err
		}
	}
	names, err := writeImages(c.path("images.tar"), pause, app)
	if err != nil {
		return 0, fmt.Errorf("make the images: %w", err)
	}
	if err := c.control(ctx, keys); err != nil {
		return 0, err
	}
	if err := c.node(ctx, keys); err != nil {
		return 0, err
	}
	kubectl := c.path("kubectl")
	if err := os.WriteFile(kubectl, []byte("#!/bin/sh\nexec "+c.kube+" kubectl \"$@\"\n"), 0o755); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(),
		"KUBECONFIG="+c.path("admin.kubeconfig"),
		"FAIRLEAD_TEST_KUBECONFIG="+c.path("admin.kubeconfig"),
		"FAIRLEAD_TEST_KUBECTL="+kubectl,
		"FAIRLEAD_TEST_IMAGES="+strings.Join(names, " "))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

func (c *cluster) path(name string) string { return filepath.Join(c.dir, name) }

// reached tells how long it took.
func (c *cluster) reached(what string) {
	log.Printf("%5.1f s  %s", time.Since(c.began).Seconds(), what)
}

// start starts a program, whose output goes to a log of its own.
func (c *cluster) start(name, program string, args ...string) error {
	out, err := os.Create(c.path(name + ".log"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	c.running = append(c.running, cmd)
	return nil
}

// stop ends what was started, last first.
func (c *cluster) stop() {
	for i := len(c.running) - 1; i >= 0; i-- {
		cmd := c.running[i]
		_ = cmd.Process.Signal(syscall.SIGTERM) // if it is gone, so much the better
		gone := make(chan struct{})
		go func() { _ = cmd.Wait(); close(gone) }()
		select {
		case <-gone:
		case <-time.After(3 * time.Second):
			_ = cmd.Process.Kill()
			<-gone
		}
	}
}

// await asks until the answer is yes, and says what the log has when it never is.
func (c *cluster) await(ctx context.Context, what, name string, within time.Duration, yes func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for !yes() {
		select {
		case <-ctx.Done():
			data, _ := os.ReadFile(c.path(name + ".log")) // it may not have come that far
			lines := strings.Split(strings.TrimSpace(string(data)), "\n")
			return fmt.Errorf("%s: not within %v; the end of its log:\n%s", what, within, strings.Join(lines[max(0, len(lines)-15):], "\n"))
		case <-time.After(100 * time.Millisecond):
		}
	}
	c.reached(what)
	return nil
}

// do runs a command to its end.
func do(ctx context.Context, program string, args ...string) error {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// network gives the node an address and a way out, which leads nowhere.
func (c *cluster) network(ctx context.Context) error {
	for _, line := range []string{
		"link set lo up",
		"link add n0 type veth peer name n1",
		"addr add " + nodeIP + "/24 dev n0",
		"link set n0 up",
		"link set n1 up",
		"route add default via " + gateway,
	} {
		if err := do(ctx, "ip", strings.Fields(line)...); err != nil {
			return err
		}
	}
	return nil
}

// control starts etcd, the server and what works on it.
func (c *cluster) control(ctx context.Context, keys *keys) error {
	err := c.start("etcd", c.kube, "etcd", "--data-dir", c.path("etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", etcdAt, "--advertise-client-urls", etcdAt,
		"--listen-peer-urls", etcdPeer, "--initial-advertise-peer-urls", etcdPeer, "--initial-cluster", "default="+etcdPeer)
	if err != nil {
		return err
	}
	err = c.start("apiserver", c.kube, "kube-apiserver", "--etcd-servers="+etcdAt,
		"--bind-address=127.0.0.1", "--secure-port=16443", "--advertise-address="+nodeIP, "--endpoint-reconciler-type=none",
		"--service-cluster-ip-range="+services, "--authorization-mode=Node,RBAC", "--allow-privileged=true",
		"--tls-cert-file="+keys.certificate("apiserver"), "--tls-private-key-file="+keys.key("apiserver"), "--client-ca-file="+keys.certificate("ca"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+keys.key("accounts"), "--service-account-signing-key-file="+keys.key("accounts"),
		"--kubelet-client-certificate="+keys.certificate("admin"), "--kubelet-client-key="+keys.key("admin"))
	if err != nil {
		return err
	}
	client, err := keys.client("admin")
	if err != nil {
		return err
	}
	err = c.await(ctx, "the server is ready", "apiserver", 2*time.Minute, func() bool {
		answer, err := client.Get(api + "/readyz")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	if err != nil {
		return err
	}
	err = c.start("controllers", c.kube, "kube-controller-manager", "--kubeconfig="+c.path("controllers.kubeconfig"), "--leader-elect=false",
		"--bind-address=127.0.0.1", "--secure-port=16257", "--use-service-account-credentials=true",
		"--service-account-private-key-file="+keys.key("accounts"), "--root-ca-file="+keys.certificate("ca"),
		"--cluster-signing-cert-file="+keys.certificate("ca"), "--cluster-signing-key-file="+keys.key("ca"))
	if err != nil {
		return err
	}
	return c.start("scheduler", c.kube, "kube-scheduler", "--kubeconfig="+c.path("scheduler.kubeconfig"), "--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=16259")
}

// node starts the runtime of containers, the kubelet and the proxy of services.
func (c *cluster) node(ctx context.Context, keys *keys) error {
	socket := c.path("containerd.sock")
	plugins := "/usr/lib/cni"
	files := map[string]string{
		// Without restrict_oom_score_adj pods fail where CAP_SYS_RESOURCE is missing.
		"containerd.toml": fmt.Sprintf(`version = 2
root = %q
state = %q
[grpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
`, c.path("containerd/root"), c.path("containerd/state"), socket, pauseImage, plugins, c.path("cni")),
		"cni/1.conflist": fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "bridge", "plugins": [{"type": "bridge", "bridge": "k0", "isGateway": true, "hairpinMode": true,
"ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": %q}}]}`, pods, c.path("addresses")),
		// A machine of CI has one old hierarchy of control groups or the new one,
		// swap or none, and a small disk: the kubelet is to bear it all.
		"kubelet.yaml": fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: 16250
readOnlyPort: 0
healthzPort: 0
containerRuntimeEndpoint: unix://%s
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
failCgroupV1: false
localStorageCapacityIsolation: false
evictionHard: {}
resolvConf: ""
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %s}}
authorization: {mode: Webhook}
tlsCertFile: %s
tlsPrivateKeyFile: %s
`, socket, keys.certificate("ca"), keys.certificate("kubelet"), keys.key("kubelet")),
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(c.path(name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(c.path(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if err := c.start("containerd", "containerd", "-c", c.path("containerd.toml")); err != nil {
		return err
	}
	err := c.await(ctx, "the images are there", "containerd", time.Minute, func() bool {
		return do(ctx, "ctr", "-a", socket, "-n", "k8s.io", "images", "import", c.path("images.tar")) == nil
	})
	if err != nil {
		return err
	}
	err = c.start("kubelet", c.kube, "kubelet", "--config="+c.path("kubelet.yaml"), "--kubeconfig="+c.path("node.kubeconfig"),
		"--hostname-override="+nodeName, "--root-dir="+c.path("kubelet"), "--node-ip="+nodeIP)
	if err != nil {
		return err
	}
	kubectl := func(args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, c.kube, append([]string{"kubectl", "--kubeconfig=" + c.path("admin.kubeconfig")}, args...)...)
	}
	err = c.await(ctx, "the node is ready", "kubelet", 2*time.Minute, func() bool {
		out, err := kubectl("get", "node", nodeName, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`).Output()
		return err == nil && string(out) == "True"
	})
	if err != nil {
		return err
	}
	if out, err := kubectl("create", "clusterrolebinding", "proxy", "--clusterrole=system:node-proxier", "--user=system:kube-proxy").CombinedOutput(); err != nil {
		return fmt.Errorf("let the proxy read services: %w: %s", err, out)
	}
	return c.start("proxy", c.kube, "kube-proxy", "--kubeconfig="+c.path("proxy.kubeconfig"), "--hostname-override="+nodeName,
		"--proxy-mode=iptables", "--cluster-cidr="+pods, "--healthz-bind-address=127.0.0.1:16256", "--metrics-bind-address=127.0.0.1:16249",
		"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s")
}
