#!/usr/bin/env bash
# The race run of CI, in two parts: `portable`, packages that neither speak with this kernel
# nor measure time and may run beside a virtual machine, and `kernel`, all others. Slow
# suites are left out (-short), and go vet has looked at everything by then.
set -euo pipefail
cd "$(dirname "$0")/.."
kernel='/(sensor|workload|agent|test|cmd/bollwerk-agent)(/|$)'
case "${1:-}" in
portable) packages=$(go list ./... | grep -vE "$kernel") ;;
kernel) packages=$(go list ./... | grep -E "$kernel") ;;
*) echo "usage: test/race.sh portable|kernel" >&2; exit 2 ;;
esac
# shellcheck disable=SC2086 # a list
CGO_ENABLED=1 exec go test -race -short -vet=off -timeout 30m $packages
