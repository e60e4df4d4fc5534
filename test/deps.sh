#!/usr/bin/env bash
# Installs the Debian packages that the tests use and that are missing. Needs root
# for that; without it, says what to install and leaves the decision to the tests.
set -euo pipefail
# program (or file):package
wanted="debootstrap:debootstrap skopeo:skopeo rpm:rpm xmllint:libxml2-utils containerd:containerd podman:podman dockerd:docker.io git:git gcc:gcc dpkg-query:dpkg
  clang-22:clang-22 llvm-strip-22:llvm-22 qemu-system-x86_64:qemu-system-x86 busybox:busybox-static ip:iproute2 cpio:cpio xz:xz-utils
  runc:runc strace:strace nc:netcat-openbsd socat:socat ruby:ruby php:php-cli perl:perl python3:python3 node:nodejs redis-server:redis-server nginx:nginx-light curl:curl cron:cron logrotate:logrotate make:make setfattr:attr npm:npm java:default-jre-headless /usr/lib/postgresql/15/bin/initdb:postgresql
  useradd:passwd dpkg-scanpackages:dpkg-dev ssh-keygen:openssh-client openssl:openssl setpriv:util-linux
  /usr/include/bpf/bpf_helpers.h:libbpf-dev /usr/include/linux/bpf.h:linux-libc-dev"
missing=()
for w in $wanted; do
  case "$w" in
  /*) [ -e "${w%%:*}" ] ;;
  *) command -v "${w%%:*}" >/dev/null 2>&1 ;;
  esac || missing+=("${w##*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "deps: missing: ${missing[*]}; tests that need them are skipped (install them as root)" >&2
  exit 0
fi
echo "deps: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# The tests start the daemons they need in folders of their own; installing their
# packages must not start services on this machine.
policy=/usr/sbin/policy-rc.d made=
if [ ! -e "$policy" ]; then printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod 755 "$policy"; made=$policy; fi
trap 'rm -f "$log" $made' EXIT
{ apt-get update -q && apt-get install -q -y "${missing[@]}"; } >"$log" 2>&1 || { tail -20 "$log" >&2; exit 1; }
