#!/usr/bin/env bash
# make test: everything that has a test. Packages run in parallel; the whole-system
# tests come with them and build on the same build cache. What runs a whole agent comes
# last and alone: an agent guards every container of the machine, also those of other tests.
set -euo pipefail
cd "$(dirname "$0")/.."
start=$SECONDS
go build ./...
go test -timeout 30m $(go list ./... | grep -v -e '/test/attack$' -e '/test/vm$')
go test -timeout 30m -skip 'InVM$' ./test/attack
test/vm.sh
echo "make test: all passed in $((SECONDS - start)) s"
