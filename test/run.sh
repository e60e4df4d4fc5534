#!/usr/bin/env bash
# make run: loads the advisories that ship with the program, scans this machine and
# an image made on the spot, says what to do, and attacks a container in front of the
# agent. Needs no network.
set -euo pipefail
bin=$1 agent=$2
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
title() { printf '\n== %s\n\n' "$*"; }

title "Advisories"
"$bin" db status | sed -n '1,/^$/p'

title "This machine"
code=0; "$bin" scan --fail-on none / || code=$?
[ $code -eq 0 ] || { echo "the scan of this machine ended with exit code $code" >&2; exit $code; }

title "An image made on the spot"
# A small but real image: this machine's package database and release file, a shell,
# the program itself, and an application with old dependencies.
base=$work/base app=$work/app
mkdir -p "$base"/{etc,bin,var/lib/dpkg,usr/lib} "$app"/{srv/app,usr/local/bin}
cp -L /etc/os-release "$base/etc/os-release"
[ ! -f /var/lib/dpkg/status ] || cp /var/lib/dpkg/status "$base/var/lib/dpkg/status"
cp -L /bin/sh "$base/bin/sh"
cp "$bin" "$app/usr/local/bin/bollwerk"
cat >"$app/srv/app/package-lock.json" <<'JSON'
{"name":"shop","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{
 "":{"name":"shop","version":"1.0.0","dependencies":{"lodash":"4.17.4","minimist":"0.0.8","axios":"0.21.0"}},
 "node_modules/lodash":{"version":"4.17.4"},
 "node_modules/minimist":{"version":"0.0.8"},
 "node_modules/axios":{"version":"0.21.0","dependencies":{"follow-redirects":"^1.10.0"}},
 "node_modules/follow-redirects":{"version":"1.13.0"}}}
JSON
printf 'Django==2.2.1\nPyYAML==5.1\nrequests==2.19.0\n' >"$app/srv/app/requirements.txt"
go run ./test/mkimage -o "$work/layout" -tag demo "$base=base system" "$app=COPY shop /srv/app" >/dev/null
code=0; "$bin" scan --fail-on none "oci:$work/layout:demo" || code=$?
[ $code -eq 0 ] || { echo "the scan of the image ended with exit code $code" >&2; exit $code; }

title "The agent, and an attack in front of it"
test/demo.sh "$agent"

cat <<TXT

Next:
  $bin scan IMAGE            an image from a registry
  $bin scan .                this directory
  $bin explain FINDING       why something is listed, and what to do
  $bin db update             today's advisories (needs the network)
  sudo $agent run        protect this machine
  sudo $agent doctor     what this kernel allows
TXT
