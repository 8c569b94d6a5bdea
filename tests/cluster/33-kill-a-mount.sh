#!/bin/bash
# A mount that is killed loses nothing that was fsynced, holds nobody up for longer than its session, and its dead mount point is
# cleaned up by the next start.
. "$(dirname "$0")/lib.sh"
up --stores 3 --mounts 2 --replicas 2
python3 "$here/load.py" "$M1/a" "$ROOT/j1" 60 1 2> /dev/null & load=$!
sleep 4
dev kill mount1
wait $load && fail "the load went on without its mount"
say "the other mount writes the same files"
start=$SECONDS
for f in "$M2"/a/s1-*; do echo x >> "$f"; done
[ $((SECONDS - start)) -le 30 ] || fail "waited $((SECONDS - start)) s for a dead client's files"
dev start mount1
for f in "$M1"/a/s1-*; do tail -c 2 "$f" | grep -q x || fail "an append of the other mount is not seen"; done
for f in "$M2"/a/s1-*; do truncate -s -2 "$f"; done
python3 "$here/load.py" verify "$M1/a" "$ROOT/j1"
fsck_clean
