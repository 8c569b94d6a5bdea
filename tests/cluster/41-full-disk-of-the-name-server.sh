#!/bin/bash
# A full disk of the name server: what needs room is refused with ENOSPC, reads and removals go on, nothing is lost, also over a restart,
# and all is well when there is room again.
. "$(dirname "$0")/lib.sh"
extra_cleanup() {
  timeout 30 "$DFS" dev down --root "$ROOT/c" > /dev/null 2>&1
  umount -l "$ROOT/disk" 2> /dev/null
}
mkdir "$ROOT/disk"
truncate -s 300M "$ROOT/image"
mkfs.ext4 -q -m 0 "$ROOT/image"
mount -o loop "$ROOT/image" "$ROOT/disk"
up --stores 2 --mounts 1 --replicas 2
dev down > /dev/null
mv "$ROOT/c/name1" "$ROOT/disk/data"
ln -s "$ROOT/disk/data" "$ROOT/c/name1"
up --stores 2 --mounts 1 --replicas 2
mkdir "$M1/d"
for i in $(seq 200); do echo $i > "$M1/d/f$i"; done
sync "$M1/d/f200"

say "fill"
dd if=/dev/zero of="$ROOT/disk/ballast" bs=1M 2> /dev/null || true
full() { ! mkdir "$M1/more" 2> "$ROOT/err" || { rmdir "$M1/more"; false; }; }
until_true 20 full || fail "directories are made on a full disk"
grep -qi 'no space left' "$ROOT/err" || { cat "$ROOT/err"; fail "it was told something else"; }
[ "$(cat "$M1/d/f77")" = 77 ] || fail "no read"
[ "$(ls "$M1/d" | wc -l)" -eq 200 ] || fail "no listing"
rm "$M1/d/f1" || fail "no removal"

say "restart"
dev kill name1
dev start name1
[ "$(timeout 60 cat "$M1/d/f78")" = 78 ] || fail "no read after a restart"
rm "$M1/d/f2" || fail "no removal after a restart"
if mkdir "$M1/more" 2> "$ROOT/err"; then fail "a directory is made on a full disk"; fi

say "room"
rm "$ROOT/disk/ballast"
makes() { mkdir "$M1/again"; }
until_true 30 makes 2> /dev/null || fail "nothing can be made 30 s after there was room"
for i in $(seq 3 200); do [ "$(cat "$M1/d/f$i")" = $i ] || fail "file $i is lost"; done
[ "$(ls "$M1/d" | wc -l)" -eq 198 ] || fail "the removals are lost"
until_true 60 healthy || { "$DFS" status --root "$ROOT/c"; fail "not healthy"; }
fsck_clean
