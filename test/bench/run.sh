#!/usr/bin/env bash
# make bench: builds the bench image when its recipe changed, then measures.
# BOLLWERK_BENCH_DIR holds the image (default: the user's cache folder);
# BOLLWERK_MIRROR names an OSV mirror to build a database from (default: the starter).
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$1
dir=${BOLLWERK_BENCH_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/bollwerk-bench}
mkdir -p "$dir"
layout=$(test/bench/image.sh "$dir")
if [ -n "${BOLLWERK_MIRROR:-}" ]; then
  db=$dir/mirror.db
  "$bin" db build --from "$BOLLWERK_MIRROR" --output "$db"
else
  # Any scan installs the advisories that ship with the program.
  export BOLLWERK_CACHE_DIR=$dir/cache
  db=$BOLLWERK_CACHE_DIR/advisories.db
  rm -f "$db"; "$bin" scan --quiet --fail-on none --format json --output /dev/null file:go.mod
fi
go build -o bin/bench ./test/bench
bin/bench -bin "$bin" -image "$layout" -db "$db" ${BOLLWERK_MIRROR:+-mirror "$BOLLWERK_MIRROR"}
echo
go test -run '^$' -bench . ./vuln/ ./internal/version/ ./artifact/
