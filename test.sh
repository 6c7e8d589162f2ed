#!/usr/bin/env bash
# Runs everything that must pass before a change lands: formatting, vet,
# staticcheck, short fuzz runs and all tests with the race detector. On a
# fresh machine it first installs what the tests need.
#
#   ./test.sh          everything
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
  [ -e /usr/include/stdlib.h ] || need nosuchcommand libc6-dev
}

lint() {
  local unformatted
  unformatted=$(gofmt -l $(git ls-files '*.go'))
  if [ -n "$unformatted" ]; then
    printf 'not formatted with gofmt:\n%s\n' "$unformatted" >&2
    exit 1
  fi
  go vet ./...
  GOOS=darwin GOARCH=arm64 go vet ./cmd/... ./internal/executor/... ./internal/workspace/... ./internal/logs/... ./internal/store/...
  go run "$staticcheck" ./...
}

fuzz() {
  local package targets target
  for package in $(go list ./...); do
    targets=$(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true)
    for target in $targets; do
      echo "fuzz $package $target"
      go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-3s}" -parallel 2 "$package" >fuzz.log 2>&1 || {
        cat fuzz.log >&2
        exit 1
      }
    done
  done
  rm -f fuzz.log
}

tests() {
  go test -race -timeout 25m ./...
}

setup
case "${1:-all}" in
lint) lint ;;
fuzz) fuzz ;;
test) tests ;;
all)
  lint
  fuzz
  tests
  ;;
*)
  sed -n '2,10p' "$0" >&2
  exit 2
  ;;
esac
