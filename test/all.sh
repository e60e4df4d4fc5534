#!/usr/bin/env bash
# make test: everything that has a test, or one part of it: units, attack, vm. What runs a
# whole agent comes alone: an agent guards every container of the machine, also those of
# other tests. Virtual machines have one processor and disturb nobody.
set -euo pipefail
cd "$(dirname "$0")/.."
start=$SECONDS
units() {
  go build ./...
  # Packages run in parallel, in this order: the slowest first, so that none runs alone at the end.
  go test -timeout 30m ./test/system ./cmd/bollwerk ./artifact ./sensor/process \
    $(go list ./... | grep -v -e '/test/attack$' -e '/test/vm$')
}
attack() { go test -timeout 30m -skip 'InVM$' ./test/attack; }
vm() { test/vm.sh; }
if [ $# -gt 0 ]; then
  for part; do "$part"; done
  exit
fi
units
attack
vm
echo "make test: all passed in $((SECONDS - start)) s"
