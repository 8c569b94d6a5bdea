#!/bin/bash
# From a fresh Debian 12 or 13 to a mounted, replicated file system:
#
#   sudo ./packaging/quickstart.sh /mnt/dfs [DATA-DIRECTORY]
#
# Installs what DFS needs, builds it, installs the programs to /usr/local, and mounts an embedded cluster (a name server and three
# storage daemons on this machine, two copies of everything). Run again, it mounts what is there.
set -euo pipefail

mountpoint=${1:-}
data=${2:-/var/lib/dfs}
if [ -z "$mountpoint" ]; then
  echo "usage: sudo $0 MOUNTPOINT [DATA-DIRECTORY]" >&2
  exit 2
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "$0: run it with sudo: it installs packages and mounts a file system" >&2
  exit 2
fi
mountpoint=$(realpath -m "$mountpoint")
data=$(realpath -m "$data")
source=$(cd "$(dirname "$0")/.." && pwd)
step=starting
say() { step=$*; printf '\n== %s\n' "$*"; }
trap 'echo "$0: stopped: \"$step\" failed (its own message is above)" >&2' ERR

say "installing what DFS needs"
"$source/packaging/install-deps.sh"

say "building (some minutes the first time)"
build=$source/build/quickstart
cmake -S "$source" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DDFS_TESTS=OFF -DCMAKE_INSTALL_PREFIX=/usr/local > /dev/null
cmake --build "$build"
if [ -n "${SUDO_UID:-}" ]; then chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$source/build"; fi

say "installing the programs to /usr/local"
cmake --install "$build" > /dev/null

say "mounting"
mkdir -p "$mountpoint" 2>/dev/null || true
if findmnt -n -t fuse.dfs --mountpoint "$mountpoint" > /dev/null 2>&1 && stat "$mountpoint" > /dev/null 2>&1; then
  echo "$mountpoint is mounted already"
else
  [ -e /dev/fuse ] || modprobe fuse || true
  /usr/local/bin/dfs-mount "$mountpoint" --data "$data" --root-uid "${SUDO_UID:-0}" --root-gid "${SUDO_GID:-0}"
fi

cat <<TEXT

$mountpoint is a file system with two copies of every byte.

  try it      cp -a /usr/include $mountpoint/ && diff -r --no-dereference /usr/include $mountpoint/include
  look        dfs status $mountpoint          dfs where $mountpoint/include/stdio.h
  check       dfs fsck $mountpoint
  stop        sudo dfs umount $mountpoint     (the data stays; run this script again to mount it)
  data        $data
  logs        $data/log and /var/log/dfs
TEXT
