#!/usr/bin/env bash
# Runs a command against a real Kubernetes: one node with etcd, the server, the
# controllers, the scheduler, kubelet, containerd and kube-proxy, in namespaces of its
# own, of which nothing is left at the end. Without a command, the tests of the
# driver.
#
#   test/k8s/run.sh                     go test of internal/deploy/kubernetes
#   test/k8s/run.sh COMMAND ARG …       something else, with KUBECONFIG set
#   test/k8s/run.sh build               only build what it needs
#
# The first build takes several minutes; what it makes is kept under its digest in
# FAIRLEAD_K8S_CACHE (default ~/.cache/fairlead-k8s). It needs Linux, root, Go, and
# Debian's packages containerd, runc, containernetworking-plugins, iptables, iproute2.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${FAIRLEAD_K8S_CACHE:-$HOME/.cache/fairlead-k8s}

missing=""
for tool in go containerd ctr runc iptables ip unshare; do
  PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null || missing="$missing $tool"
done
[ -x /usr/lib/cni/bridge ] || missing="$missing containernetworking-plugins"
if [ -n "$missing" ]; then
  echo "run.sh: there is no real Kubernetes here: missing$missing" >&2
  exit 3
fi
if [ "$(id -u)" != 0 ]; then
  echo "run.sh: there is no real Kubernetes here: only root can start a node" >&2
  exit 3
fi

cd "$here"
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
digest=$(cat go.mod go.sum kube/main.go | sha256sum | cut -c1-16)
kube=$cache/kube-$version-$digest
if [ ! -x "$kube" ]; then
  echo "run.sh: building Kubernetes $version, which takes some minutes" >&2
  mkdir -p "$cache"
  # Under its name only once it is whole.
  part=$(mktemp "$cache/part.XXXXXX")
  stamp=k8s.io/component-base/version
  CGO_ENABLED=0 go build -trimpath -o "$part" -ldflags="-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=$(echo "$version" | cut -d. -f2)" ./kube
  mv "$part" "$kube"
  # The others are of versions that nobody needs any more.
  find "$cache" -maxdepth 1 -name 'kube-*' ! -name "$(basename "$kube")" -delete
fi
CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o "$cache/" ./cluster ./app ./pause
[ "${1:-}" = build ] && exit

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$here/../.."
if [ $# = 0 ]; then
  set -- go test -count=1 -timeout 20m ./internal/deploy/kubernetes -run '^TestReal' -v
fi
PATH=$PATH:/usr/sbin unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private \
  "$cache/cluster" -kube "$kube" -app "$cache/app" -pause "$cache/pause" -dir "$dir" -- "$@"
