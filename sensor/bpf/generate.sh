#!/bin/sh
# Compiles every *.bpf.c for amd64 and arm64 and generates its Go structs. Each source
# says which structs it shares in lines "// bpf2go-type: name name …".
set -eu
cd "$(dirname "$0")"
out=${1:-.}
only=${2:-}
cc=${BOLLWERK_CLANG:-clang-22}
strip=$(echo "$cc" | sed 's/clang/llvm-strip/')
for c in ${only:-*.bpf.c}; do
  name=${c%.bpf.c}
  ident=$(echo "$name" | cut -c1 | tr a-z A-Z)$(echo "$name" | cut -c2-)
  types=$(sed -n 's,^// bpf2go-type:,,p' "$c" | tr '\n' ' ')
  set --
  for t in $types; do set -- "$@" -type "$t"; done
  GOPACKAGE=bpf go tool bpf2go -cc "$cc" -strip "$strip" -no-global-types -target amd64,arm64 -go-package bpf \
    -output-dir "$out" -output-stem "$name" "$@" "$ident" "$c" -- \
    -O2 -g -Wall -Werror -Wno-unused-value -mcpu=v3 -I. -I/usr/include/"$(uname -m)"-linux-gnu
done
