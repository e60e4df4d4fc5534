#!/usr/bin/env bash
# make test: everything that has a test. Packages run in parallel; the whole-system
# tests come with them and build on the same build cache.
set -euo pipefail
cd "$(dirname "$0")/.."
start=$SECONDS
go build ./...
go test -timeout 30m ./...
echo "make test: all passed in $((SECONDS - start)) s"
