#!/usr/bin/env bash
# Runs everything that must pass before a change lands: formatting, vet,
# staticcheck and all tests with the race detector, among them every input that
# a fuzz target has for a seed. On a fresh machine it first installs what the
# tests need.
#
# The search for new inputs is not part of it: what it finds is chance, and a
# change is not to be held up by what somebody else's code has been hiding. Run
# it before a release, and after work on a parser.
#
#   ./test.sh          lint and test
#   ./test.sh lint     formatting, vet, staticcheck
#   ./test.sh fuzz     every fuzz target for FUZZTIME (default 3s)
#   ./test.sh test     the tests
set -euo pipefail
cd "$(dirname "$0")"

staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2

# need COMMAND PACKAGE: the command is there, or its Debian package is installed.
need() {
  command -v "$1" >/dev/null && return
  if ! command -v apt-get >/dev/null; then
    echo "test.sh: the tests need $1; install it and try again" >&2
    exit 2
  fi
  local sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  if [ -z "${updated:-}" ]; then
    $sudo apt-get update -qq
    updated=1
  fi
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$2" >/dev/null
}

setup() {
  if ! command -v go >/dev/null; then
    echo "test.sh: Go is missing; install the version that go.mod names, see https://go.dev/dl" >&2
    exit 2
  fi
  need git git
  need gcc gcc
  need python3 python3
  need node nodejs
  need make make
  need strace strace
  need chromium chromium
  need redis-server redis-server
  need ip iproute2
  need ssh-keygen openssh-client
  [ -x /usr/sbin/sshd ] || need nosuchcommand openssh-server
  [ -x /lib/systemd/systemd ] || need nosuchcommand systemd
  # SDKs of feature flags, which come from npm, and a real Prometheus: where they cannot be had,
  # the tests that need them are skipped, and say so.
  need npm npm || echo "test.sh: npm cannot be had" >&2
  need prometheus prometheus || echo "test.sh: prometheus cannot be had" >&2
  [ -n "$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null)" ] || command -v postgres >/dev/null || need nosuchcommand postgresql
  [ -e /usr/include/stdlib.h ] || need nosuchcommand libc6-dev
}

# engine: a container engine answers. If none does, one is started for the time
# of the tests, with everything that it keeps in a directory of its own.
engine() {
  local flags
  [ -n "${DOCKER_HOST:-}" ] || [ -S /var/run/docker.sock ] && return
  if [ "$(uname)" != Linux ] || [ "$(id -u)" != 0 ]; then
    echo "test.sh: no container engine answers and only root can start one: the tests in containers are skipped" >&2
    return
  fi
  need dockerd docker.io
  /bin/busybox --help 2>/dev/null | grep -q BusyBox || need nosuchcommand busybox-static
  lair=$(mktemp -d)
  for flags in "" "--iptables=false --ip6tables=false"; do
    dockerd $flags --host "unix://$lair/socket" --data-root "$lair/data" --exec-root "$lair/exec" --pidfile "$lair/pid" >"$lair/log" 2>&1 &
    dockerd=$!
    # What dockerd leaves mounted is no reason for the tests to fail.
    trap 'kill "$dockerd"; wait "$dockerd" || true; umount "$lair"/exec/netns/* 2>/dev/null || true; rm -rf "$lair" || true' EXIT
    for _ in $(seq 100); do
      grep -q 'API listen on' "$lair/log" && export DOCKER_HOST="unix://$lair/socket" FAIRLEAD_TEST_ENGINE=own && return
      kill -0 "$dockerd" 2>/dev/null || break
      sleep 0.2
    done
    kill "$dockerd" 2>/dev/null || true
    wait "$dockerd" || true
  done
  trap - EXIT
  echo "test.sh: dockerd does not start, and the tests in containers are skipped: $(tail -n 1 "$lair/log")" >&2
  rm -rf "$lair"
}

lint() {
  local unformatted
  unformatted=$(gofmt -l $(git ls-files '*.go'))
  if [ -n "$unformatted" ]; then
    printf 'not formatted with gofmt:\n%s\n' "$unformatted" >&2
    exit 1
  fi
  go vet ./...
  GOOS=darwin GOARCH=arm64 go vet ./cmd/... ./internal/executor/... ./internal/workspace/... ./internal/logs/... ./internal/store/... ./internal/blob/... ./internal/trace/...
  GOOS=darwin GOARCH=arm64 go build ./...
  GOOS=linux GOARCH=arm64 go vet ./internal/trace/... ./internal/executor/...
  go run "$staticcheck" ./...
}

fuzz() {
  local file target
  for file in $(git grep -l -E '^func Fuzz' -- '*_test.go'); do
    for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
      echo "fuzz $(dirname "$file") $target"
      fuzz_one "./$(dirname "$file")" "$target"
    done
  done
  rm -f fuzz.log
}

# fuzz_one PACKAGE TARGET: a finding writes the failing input. Without one, the
# fuzzer itself now and then trips over its own deadline, and is asked again.
fuzz_one() {
  local try
  for try in 1 2 3; do
    if go test -run '^$' -fuzz "^$2\$" -fuzztime "${FUZZTIME:-3s}" -fuzzminimizetime 10x -parallel 2 "$1" >fuzz.log 2>&1; then
      return
    fi
    if grep -q 'Failing input' fuzz.log || ! grep -q 'context deadline exceeded' fuzz.log; then
      break
    fi
  done
  cat fuzz.log >&2
  exit 1
}

tests() {
  engine
  go test -race -timeout 25m ./...
}

setup
case "${1:-all}" in
lint) lint ;;
fuzz) fuzz ;;
test) tests ;;
all)
  lint
  tests
  ;;
*)
  sed -n '2,14p' "$0" >&2
  exit 2
  ;;
esac
