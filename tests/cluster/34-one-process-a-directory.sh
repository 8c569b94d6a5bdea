#!/bin/bash
# A daemon that is started a second time on the data of one that runs is refused, and harms nothing.
. "$(dirname "$0")/lib.sh"
up --stores 2 --mounts 1 --replicas 2

(i=0; while [ -e "$ROOT/go" ] || [ $i -eq 0 ]; do i=$((i + 1)); dd if=/dev/zero of="$M1/f$i" bs=1k count=1 conv=fsync status=none || exit 1; echo $i > "$ROOT/done"; done) &
touch "$ROOT/go"
refused() { # PROGRAM DIRECTORY FLAGS...
  local out program=$1 directory=$2
  shift 2
  say "$(basename "$program") again on $(basename "$directory")"
  if out=$(timeout 30 "$program" --data "$directory" "$@" 2>&1); then fail "it ran: $out"; fi
  case $out in *"another process is at work in this data directory"*"$directory"*) ;; *) fail "says: $out" ;; esac
}
address=$(sed -n 's/.*"address": "\([^"]*\)".*/\1/p' "$ROOT/c/cluster.json" | head -n 1)
refused "$DFS_BUILD/nameserver/dfs-nameserver" "$ROOT/c/name1" --listen 127.0.0.1:0 --http 127.0.0.1:0
refused "$DFS_BUILD/nameserver/dfs-nameserver" "$ROOT/c/name1" --create --listen 127.0.0.1:0 --http 127.0.0.1:0
refused "$DFS_BUILD/storaged/dfs-storaged" "$ROOT/c/store1" --nameserver "${address:-127.0.0.1:7400}" --listen 127.0.0.1:0
rm "$ROOT/go"
wait $! || fail "a program met an error"
n=$(cat "$ROOT/done")
[ "$n" -gt 10 ] || fail "nothing was written meanwhile"

say "and all $n files are there after a restart of everything"
for id in name1 store1 store2; do dev kill $id; done
for id in name1 store1 store2; do dev start $id; done
until_true 60 healthy || fail "not healthy"
[ "$(ls "$M1" | wc -l)" -eq "$n" ] || fail "files are missing"
fsck_clean
