#!/usr/bin/env bash
# make test: everything that has a test. Packages run in parallel. What runs a whole agent
# comes alone: an agent guards every container of the machine, also those of other tests.
# Virtual machines come last; two of them, behind everything else, wait gladly, so that CI
# names in BESIDE_VM what else is to be done meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
start=$SECONDS
BOLLWERK_SOURCES=$(test/sources.sh)
export BOLLWERK_SOURCES
go build ./...
GOARCH=arm64 go build -o /dev/null ./cmd/bollwerk
GOARCH=arm64 go build -o /dev/null ./cmd/bollwerk-agent
# Packages run in parallel, in this order: the slowest first, so that none runs alone at the end.
go test -timeout 30m ./test/system ./cmd/bollwerk ./artifact ./sensor/process \
  $(go list ./... | grep -v -e '/test/attack$' -e '/test/vm$')
go test -timeout 30m -skip 'InVM$' ./test/attack
if [ -z "${BESIDE_VM:-}" ]; then
  test/vm.sh
else
  log=$(mktemp)
  trap 'rm -f "$log"; kill $(jobs -p) 2>/dev/null || true' EXIT
  test/vm.sh >"$log" 2>&1 &
  vm=$! code=0
  $BESIDE_VM || code=$?
  wait "$vm" || code=$?
  cat "$log"
  [ "$code" = 0 ] || exit "$code"
fi
echo "make test: all passed in $((SECONDS - start)) s"
