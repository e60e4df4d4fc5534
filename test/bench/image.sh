#!/usr/bin/env bash
# Makes the bench image: a bookworm root with run-times, 500 npm packages, large Go
# binaries; three gzip layers, about 1.4 GB uncompressed. Kept until its recipe changes.
#   image.sh FOLDER   prints the layout's path
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$1
recipe=$(cat test/bench/image.sh test/bench/node/package.json go.mod | sha256sum | cut -c1-16)
layout=$dir/layout-$recipe
if [ -f "$layout/index.json" ]; then echo "$layout"; exit 0; fi
mkdir -p "$dir"
say() { echo "bench image: $*" >&2; }
root=$dir/root
if [ ! -f "$root/.done" ]; then
  say "bookworm root with Python, Node, OpenJDK, Ruby, PHP and nginx (debootstrap)"
  rm -rf "$root"
  debootstrap --variant=minbase --include=python3,python3-pip,nodejs,openjdk-17-jre-headless,ruby,php-cli,nginx,ca-certificates \
    bookworm "$root" >"$dir/debootstrap.log" 2>&1 || { tail -5 "$dir/debootstrap.log" >&2; exit 1; }
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/dev/* ; touch "$root/.done"
fi
node=$dir/node
if [ ! -f "$node/.done" ]; then
  say "node_modules of 500 packages (npm)"
  rm -rf "$node"; mkdir -p "$node/app"; cp test/bench/node/package.json "$node/app/"
  (cd "$node/app" && npm install --ignore-scripts --no-audit --no-fund >"$dir/npm.log" 2>&1) || { tail -5 "$dir/npm.log" >&2; exit 1; }
  touch "$node/.done"
fi
gobin=$dir/go
say "large Go binaries"
rm -rf "$gobin"; mkdir -p "$gobin/usr/local/bin"
CGO_ENABLED=0 go build -o "$gobin/usr/local/bin/staticcheck" honnef.co/go/tools/cmd/staticcheck
for arch in amd64 arm64; do
  GOARCH=$arch CGO_ENABLED=0 go build -trimpath -o "$gobin/usr/local/bin/bollwerk-$arch" ./cmd/bollwerk
  # The same program again with other bytes: debug information compressed differently.
  GOARCH=$arch CGO_ENABLED=0 go build -trimpath -ldflags -compressdwarf=false -o "$gobin/usr/local/bin/bollwerk-$arch-dwarf" ./cmd/bollwerk
  GOARCH=$arch CGO_ENABLED=0 go build -trimpath -ldflags -s -o "$gobin/usr/local/bin/bollwerk-$arch-stripped" ./cmd/bollwerk
done
say "packing"
rm -rf "$layout.new" "$layout"
go run ./test/mkimage -o "$layout.new" -tag bench "$root=debootstrap bookworm" "$node=COPY app /app" "$gobin=COPY bin /usr/local/bin" >&2
mv "$layout.new" "$layout"
echo "$layout"
