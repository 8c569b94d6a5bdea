#!/bin/bash
# A tree with everything that a file system can hold (links, holes, owners, modes, times, attributes, access lists, special files) is
# the same after cp -a, rsync -aAXH and tar, made through one mount and looked at through the other.
. "$(dirname "$0")/lib.sh"
up --stores 2 --mounts 2 --replicas 2
source=$ROOT/source
mkdir "$source"
cd "$source"
mkdir -p files links 'a name with spaces' $'two\nlines'
echo bytes > $'not\xffutf8'
for i in $(seq 12); do echo "$i" > "files/f$i"; done
ln files/f1 links/one
ln files/f1 links/two
ln -s nowhere dangling
ln -s files/f1 symlink
mkfifo pipe
mknod null c 1 3
mknod loop b 7 0
setfattr -n user.short -v 1 files/f2
setfattr -n user.long -v "$(printf '%2000s' x)" files/f2
setfattr -n trusted.t -v t files/f3
setfattr -n security.s -v s files/f3
setfattr -n user.d -v d files
setfacl -m u:daemon:r,g:games:rwx files/f4
setfacl -d -m u:daemon:rx links
chown 1000:1001 files/f5
chown 33:33 files/f6
chmod 6711 files/f6
chmod 0 files/f7
setcap cap_net_raw+ep files/f8
touch -d '1969-01-01 00:00:00.123456789' files/f9
touch -d '2100-01-01 00:00:00.987654321' files/f10
touch -h -d 2001-01-01 symlink
truncate -s 64M sparse
dd if=/dev/urandom of=sparse bs=1M count=1 seek=28 conv=notrunc status=none
dd if=/dev/urandom of=sparse bs=4k count=1 seek=15361 conv=notrunc status=none
dd if=/dev/urandom of=large bs=1M count=20 status=none
echo end >> large
chmod 2775 links
chmod 1777 files

# All that can be seen of a tree but the sizes of directories and the numbers of inodes.
picture() {
  (
    cd "$1"
    find . -printf '%y %m %U:%G %n %t %l %P\0' | LC_ALL=C sort -z | tr '\0' '\n'
    find . \( -type b -o -type c \) -exec stat -c '%n %t:%T' {} + | sort
    find . -type f -size -1G -exec stat -c '%n %s' {} + | sort
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha1sum
    find . -print0 | LC_ALL=C sort -z | xargs -0 -n 1 getfattr -h -d -m - --absolute-names | sort
    find . ! -type l -print0 | LC_ALL=C sort -z | xargs -0 getfacl -n
  ) 2>&1
}
same() { # TREE: is it the source?
  picture "$1" > "$ROOT/seen"
  diff "$ROOT/expected" "$ROOT/seen" > "$ROOT/difference" || fail "$1 differs: $(cut -c 1-160 "$ROOT/difference" | head -20)"
}
taken() { du -k "$1" | cut -f 1; } # KiB
picture "$source" > "$ROOT/expected"

say "cp -a"
cp -a "$source" "$M1/cp"
same "$M2/cp"
[ "$(taken "$M2/cp/sparse")" -lt 12288 ] || fail "the holes were filled: $(taken "$M2/cp/sparse") KiB"
cp -a "$M2/cp" "$M2/cp2"
same "$M1/cp2"
rm -rf "$M1/cp2"

say "cp --reflink and --sparse"
cp --reflink=auto "$M1/cp/large" "$M1/copy"
echo changed | dd of="$M1/copy" bs=1 seek=5000000 conv=notrunc status=none
cmp "$source/large" "$M2/cp/large"
[ "$(cmp -l "$M2/copy" "$source/large" | wc -l)" -le 8 ] || fail "more than the written bytes changed"
for how in always auto never; do
  cp --sparse=$how "$M1/cp/sparse" "$M2/sparse-$how"
  cmp "$source/sparse" "$M1/sparse-$how"
done
[ "$(taken "$M1/sparse-never")" -ge 65536 ] || fail "cp --sparse=never has made holes"
[ "$(taken "$M1/sparse-always")" -lt 12288 ] || fail "cp --sparse=always has made none"
rm "$M2"/sparse-* "$M2/copy"

say "rsync -aAXHS"
rsync -aAXHS "$source/" "$M1/rsync/"
same "$M2/rsync"
rsync -naAXHc --itemize-changes --delete "$source/" "$M2/rsync/" > "$ROOT/changes"
[ ! -s "$ROOT/changes" ] || fail "rsync sees differences in what it has just copied: $(head "$ROOT/changes")"
echo more >> "$M2/rsync/links/two"
setfattr -x user.short "$M1/rsync/files/f2"
setfacl -b "$M2/rsync/files/f4"
rsync -aAXH --delete --inplace --no-whole-file "$source/" "$M1/rsync/"
same "$M2/rsync"

say "tar with attributes and access lists"
everything=(--xattrs --xattrs-include='*' --acls)
tar "${everything[@]}" -S -C "$M2/rsync" -cf "$M2/tar.tar" .
mkdir "$M1/tar"
tar "${everything[@]}" -C "$M1/tar" -xpf "$M1/tar.tar" --warning=no-timestamp
same "$M2/tar"
tar "${everything[@]}" -C "$M2/tar" --compare -f "$M1/tar.tar"
[ "$(stat -c %s "$M1/tar.tar")" -lt 30000000 ] || fail "tar -S has not seen the holes"

say "mv from a file system to another and back"
mv "$M1/tar" "$ROOT/moved"
same "$ROOT/moved"
mv "$ROOT/moved" "$M2/moved"
same "$M1/moved"

say "everything is removed from the other mount"
rm -rf "${M2:?}"/*
[ -z "$(ls -A "$M1")" ] || fail "rm -rf has left something"
fsck_clean
