#!/bin/bash
# What `cmake --install` installs: programs, man pages that tell of every option and of no other, units, examples, and the names by which
# mount(8) and umount(8) call them.
. "$(dirname "$0")/lib.sh"
python3 "$here/../check-man.py" "$DFS_BUILD"
source=$(realpath "$here/../..")
cmake -S "$source" -B "$ROOT/build" -G Ninja -DDFS_TESTS=OFF -DCMAKE_INSTALL_PREFIX=/usr/local > "$ROOT/out" 2>&1 || fail "$(tail "$ROOT/out")"
cmake --build "$ROOT/build" --target man > /dev/null
# As if it were built there.
for program in fuse-client/dfs-mount nameserver/dfs-nameserver storaged/dfs-storaged tools/dfs; do
  cp "$DFS_BUILD/$program" "$ROOT/build/$program"
done
DESTDIR=$ROOT/system cmake --install "$ROOT/build" > "$ROOT/out" 2>&1 || fail "$(tail "$ROOT/out")"
cd "$ROOT/system"
for file in usr/local/bin/{dfs,dfs-mount,dfs-nameserver,dfs-storaged} usr/local/share/man/man1/dfs.1 usr/local/share/man/man5/dfs.toml.5 \
  usr/local/share/man/man8/{dfs-mount,mount.dfs,dfs-nameserver,dfs-storaged}.8 etc/systemd/system/dfs-{nameserver,storaged}.service \
  usr/local/share/doc/dfs/examples/{fstab,client.toml,name.toml,store.toml}; do
  [ -s "$file" ] || fail "not installed: $file"
done
for helper in mount.dfs mount.fuse.dfs umount.dfs umount.fuse.dfs; do
  [ -L "sbin/$helper" ] && [ -L "usr/local/sbin/$helper" ] || fail "no $helper"
done
[ "$(readlink sbin/mount.dfs)" = /usr/local/bin/dfs-mount ]
[ "$(readlink sbin/umount.fuse.dfs)" = /usr/local/bin/dfs ]
for page in usr/local/share/man/man*/*; do
  [ -z "$(man -l --warnings "$page" 2>&1 > /dev/null)" ] || fail "$page: $(man -l --warnings "$page" 2>&1 > /dev/null | head -3)"
done
# Each line of the example is taken, each setting of the example files known.
grep -v '^#' usr/local/share/doc/dfs/examples/fstab | while read -r what _ _ options _; do
  mkdir -p "$ROOT/m"
  "$DFS_MOUNT" --version > /dev/null
  ln -sf "$(realpath "$DFS_MOUNT")" "$ROOT/mount.dfs"
  "$ROOT/mount.dfs" "$what" "$ROOT/m" -f -o "$options" || fail "the example: $options"
done
