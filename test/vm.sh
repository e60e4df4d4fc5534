#!/usr/bin/env bash
# make test-vm: the sensor's own tests and the attacks on kernels of Debian with BPF LSM,
# in QEMU without hardware help. make test takes the parts in which LSM refuses, on the
# newest kernel; `test/vm.sh all [KERNEL…]` takes everything and prints a table.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" != all ]; then
  go test -timeout 20m -run '^(TestBoot|TestPackages)$' ./test/vm -packages sensor/lsm -kernel 6.12
  go test -timeout 20m -run '^(TestInVM|TestRoughInVM)$' ./test/attack
  exit
fi
shift
[ $# -gt 0 ] || set -- 5.10 6.1 6.12
log=$(mktemp)
trap 'rm -f "$log"' EXIT
rows=() failed=0 start=$SECONDS
step() { # KERNEL WHAT PACKAGE arguments
  local k=$1 what=$2 began=$SECONDS result=pass
  shift 2
  go test -timeout 40m -count 1 "$@" -kernel "$k" >"$log" 2>&1 || { result=FAIL failed=1; cat "$log"; }
  rows+=("$(printf '%-6s %-28s %-5s %5d s' "$k" "$what" "$result" $((SECONDS - began)))")
  echo "${rows[-1]}"
}
for k in "$@"; do
  step "$k" "boot, layouts, doctor" ./test/vm -run '^(TestBoot|TestCgroups|TestDoctor)$'
  for p in lsm process network tracing; do
    step "$k" "sensor/$p" ./test/vm -run '^TestPackages$' -packages "sensor/$p"
  done
  step "$k" "process, network on v1" ./test/vm -run '^TestPackages$' -packages sensor/process,sensor/network -cgroups v1
  step "$k" "attacks" ./test/attack -run '^TestInVM$' -inside .
  step "$k" "rough treatment" ./test/attack -run '^TestRoughInVM$'
  [ "$k" != 6.12 ] || step "$k" "restrict mode" ./test/attack -run '^TestRestrictInVM$'
done
echo
printf '%s\n' "${rows[@]}"
echo "in all $(((SECONDS - start) / 60)) minutes"
exit $failed
