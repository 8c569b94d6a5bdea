#!/bin/bash
# A full disk of the stores: the writer gets ENOSPC, nothing acknowledged is lost, reads go on, rm frees space within seconds, and
# service resumes by itself.
. "$(dirname "$0")/lib.sh"
extra_cleanup() {
  timeout 30 "$DFS" dev down --root "$ROOT/c" > /dev/null 2>&1
  for m in "$ROOT"/disk*; do umount -l "$m" 2> /dev/null; done
}
mkdir -p "$ROOT/c"
for i in 1 2; do
  truncate -s 400M "$ROOT/image$i"
  mkfs.ext4 -q -m 0 "$ROOT/image$i"
  mkdir "$ROOT/disk$i"
  mount -o loop "$ROOT/image$i" "$ROOT/disk$i"
  mkdir "$ROOT/disk$i/data"
  ln -s "$ROOT/disk$i/data" "$ROOT/c/store$i"
done
up --stores 2 --mounts 1 --replicas 2
head -c 20M /dev/urandom > "$ROOT/good"
cp "$ROOT/good" "$M1/good"
sync "$M1/good"

say "fill"
if dd if=/dev/zero of="$M1/big" bs=1M count=1000 conv=fsync 2> "$ROOT/err"; then fail "1000 MiB fit on 400 MiB"; fi
grep -qi 'no space left' "$ROOT/err" || { cat "$ROOT/err"; fail "the writer was told something else"; }
cmp "$ROOT/good" "$M1/good" || fail "what was synced is lost"
ls -l "$M1"
mkdir "$M1/still-works" && rmdir "$M1/still-works"

say "free"
rm "$M1/big"
again() { dd if=/dev/zero of="$M1/after" bs=1M count=100 conv=fsync 2> /dev/null; }
until_true 30 again || fail "no room 30 s after the removal"
cmp "$ROOT/good" "$M1/good"
rm "$M1/after"
until_true 60 healthy || { "$DFS" status --root "$ROOT/c"; fail "not healthy"; }
fsck_clean
