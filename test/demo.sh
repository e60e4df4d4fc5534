#!/usr/bin/env bash
# The second half of make run: the agent watches this machine, a container is attacked in
# front of it. Everything is gone afterwards. Needs root and runc; says so without them.
set -euo pipefail
agent=$1
if [ "$(id -u)" != 0 ]; then
  echo "The agent needs root: run \`sudo make run\` to see it catch an attack. What this kernel allows: sudo $agent doctor"
  exit 0
fi
if ! command -v runc >/dev/null; then
  echo "runc is not installed, so there is no container to attack; what this kernel allows is shown by: $agent doctor"
  exit 0
fi
work=$(mktemp -d) box=$(mktemp -d /dev/shm/bollwerk-demo-XXXXXX) id=bollwerk-demo-$$ pid=
cleanup() {
  [ -z "$pid" ] || { kill -TERM "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; } || true
  runc delete --force "$id" >/dev/null 2>&1 || true
  umount -l "$box/bundle/rootfs" 2>/dev/null || true
  rm -rf "$work" "$box"
}
trap cleanup EXIT
await() { for _ in $(seq 300); do "$@" && return 0; sleep 0.05; done; echo "this took too long: $*" >&2; cat "$work/log" >&2; return 1; }
ask() { "$agent" --state "$work/state" --socket "$work/socket" "$@"; }

# Not through ask: the shell's own copy would be what is ended.
"$agent" --state "$work/state" --socket "$work/socket" run >"$work/told" 2>"$work/log" &
pid=$!
await grep -q ^watching "$work/log"
sed 's/^/  /' "$work/log"

# A container whose image is this machine's own root, with an empty writable layer.
mkdir -p "$box"/{bundle/rootfs,upper/tmp,work}
chmod 1777 "$box/upper/tmp"
setfattr -n trusted.overlay.opaque -v y "$box/upper/tmp" 2>/dev/null || true
mount -t overlay overlay -o "lowerdir=/,upperdir=$box/upper,workdir=$box/work" "$box/bundle/rootfs"
(cd "$box/bundle" && runc spec && sed -i 's/"terminal": true/"terminal": false/; s/"readonly": true/"readonly": false/; s/"sh"$/"sleep", "60"/' config.json)
runc run --detach --bundle "$box/bundle" "$id" </dev/null >/dev/null 2>&1
# (status ends with 5 where this kernel is degraded)
protected() { { ask status --json 2>/dev/null || true; } | tr -d ' \n' | grep -q "\"name\":\"$id\"[^}]*\"enforced\":\"[a-z]"; }
await protected
echo "  A container runs: $id. Now somebody breaks in."

# Not as a child of make, whose work may well fetch and decode what it runs: the agent would
# say so, and take it for less grave.
attack() {
  printf '\n  $ %s\n' "$1"
  box=$id script=$1 said=$work/said setsid --fork sh -c 'runc exec "$box" sh -c "$script" >"$said" 2>&1 </dev/null; : >"$said-over"'
  await test -e "$work/said-over"
  sed 's/^/  /' "$work/said"
  rm -f "$work"/said*
}
attack 'cp /bin/echo /tmp/miner; /tmp/miner "the dropped program runs"'
attack 'cat /etc/shadow | wc -l'
attack 'echo ZWNobyB0aGUgZGVjb2RlZCBzY3JpcHQgcnVucwo= | base64 -d | sh'
await grep -q 'drift-execution' "$work/told"
await grep -q 'decode-and-run' "$work/told"
printf '\n  What the agent told:\n\n'
grep -v '^$' "$work/told" | sed 's/^/  /'
printf '\n  Its flight recorder (recall --kind exec --since 1m):\n'
ask recall --workload "$id*" --kind exec --since 1m | tail -n 6 | sed -E 's/^(.{110}).+/\1…/; s/^/  /' || true
