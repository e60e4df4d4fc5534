#!/usr/bin/env bash
# make test-vm: the sensor's own tests and the attacks on kernels of Debian with BPF LSM,
# in QEMU without hardware help. make test takes the parts in which LSM refuses, on the
# newer kernel; `test/vm.sh all` takes everything on both.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = all ]; then
  go test -timeout 60m -count 1 -v ./test/vm
  go test -timeout 60m -count 1 -v -run '^TestInVM$' ./test/attack -kernel all
else
  go test -timeout 20m -run '^(TestBoot|TestPackages)$' ./test/vm -packages sensor/lsm -kernel 6.12
  go test -timeout 20m -run '^TestInVM$' ./test/attack
fi
