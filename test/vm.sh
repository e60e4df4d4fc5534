#!/usr/bin/env bash
# make test-vm: the sensor's own tests and the attacks on kernels of Debian with BPF LSM,
# in QEMU without hardware help. make test takes the parts in which LSM refuses on 6.1 and
# 6.12, and on 6.12 all attacks, restrict mode with the agent killed, module
# loads without LSM, and a machine treated roughly; `test/vm.sh all [KERNEL…]` takes everything and prints a table.
set -euo pipefail
cd "$(dirname "$0")/.."
BOLLWERK_SOURCES=${BOLLWERK_SOURCES:-$(test/sources.sh)}
export BOLLWERK_SOURCES
if [ "${1:-}" != all ]; then
  # Two machines at a time, behind whatever else is to be done (nice): each has one
  # processor, and a clock that waits for it.
  log=$(mktemp)
  trap 'rm -f "$log"; kill $(jobs -p) 2>/dev/null || true' EXIT
  {
    code=0
    for k in 6.1 6.12; do
      nice -n 10 go test -timeout 60m -run '^(TestBoot|TestPackages)$' ./test/vm -packages sensor/lsm -kernel "$k" || code=$?
    done
    nice -n 10 go test -timeout 60m -run '^TestRoughInVM$' ./test/attack || code=$?
    exit "$code"
  } >"$log" 2>&1 &
  other=$! code=0
  nice -n 10 go test -timeout 60m -run '^TestInVM$' ./test/attack || code=$?
  nice -n 10 go test -timeout 60m -run '^TestRestrictInVM$' ./test/attack || code=$?
  wait "$other" || code=$?
  cat "$log"
  exit "$code"
fi
shift
[ $# -gt 0 ] || set -- 5.10 6.1 6.12
log=$(mktemp)
trap 'rm -f "$log"' EXIT
rows=() failed=0 start=$SECONDS
row() {
  rows+=("$(printf '%-6s %-34s %-5s %5d s' "$@")")
  echo "${rows[-1]}"
}
step() { # KERNEL WHAT PACKAGE arguments
  local k=$1 what=$2 began=$SECONDS result=pass
  shift 2
  go test -timeout 240m -count 1 -v "$@" -kernel "$k" >"$log" 2>&1 || { result=FAIL failed=1; cat "$log"; }
  # One machine runs several packages: each says how it ended.
  local package code took
  while read -r package code took; do
    [ "$code" = 0 ] && code=pass || code=FAIL
    row "$k" "  $package" "$code" "${took%.*}"
  done < <(sed -nE 's/^ *packages_test.go:[0-9]+: ([a-z-]+): code (-?[0-9]+) in ([0-9.]+) s$/\1 \2 \3/p' "$log")
  row "$k" "$what" "$result" $((SECONDS - began))
}
for k in "$@"; do
  step "$k" "boot, layouts, doctor" ./test/vm -run '^(TestBoot|TestCgroups|TestDoctor)$'
  step "$k" "packages" ./test/vm -run '^TestPackages$'
  step "$k" "packages on cgroup v1" ./test/vm -run '^TestPackages$' -packages sensor/process,sensor/network,sensor/tracing,sensor,workload,agent -cgroups v1
  step "$k" "packages on hybrid" ./test/vm -run '^TestPackages$' -packages sensor/process,sensor/tracing,sensor,workload,agent -cgroups hybrid
  step "$k" "attacks" ./test/attack -run '^TestInVM$'
  step "$k" "attacks on cgroup v1" ./test/attack -run '^TestInVM$' -inside lsm -cgroups v1
  step "$k" "attacks on hybrid" ./test/attack -run '^TestInVM$' -inside lsm -cgroups hybrid
  step "$k" "rough treatment" ./test/attack -run '^TestRoughInVM$'
  [ "$k" != 6.12 ] || step "$k" "restrict mode" ./test/attack -run '^TestRestrictInVM$' -inside '^TestRestrict(Kill)?$'
done
echo
printf '%s\n' "${rows[@]}"
echo "in all $(((SECONDS - start) / 60)) minutes"
exit $failed
