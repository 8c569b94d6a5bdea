#!/bin/bash
# cp -a, rsync -aAXH and tar take attributes, lists of access rights, capabilities and hard links along: from a local disk to a mount,
# between mounts and back, and the last copy is what the first was.
. "$(dirname "$0")/lib.sh"
up --stores 2 --mounts 2 --replicas 2
local=/var/tmp/$(basename "$ROOT")  # /tmp may be one that keeps no attributes
mkdir "$local"
extra_cleanup() { rm -rf "$local"; }

make() { # DIRECTORY
  mkdir -p "$1/shared/deep" "$1/plain"
  echo text > "$1/shared/file"
  ln "$1/shared/file" "$1/shared/same"
  ln -s file "$1/shared/link"
  mkfifo "$1/shared/fifo"
  cp /bin/true "$1/plain/program"
  head -c 100000 /dev/urandom > "$1/plain/data"
  setfattr -n user.comment -v "some words" "$1/shared/file"
  setfattr -n user.binary -v 0x00ff0a "$1/shared/deep"
  setfattr -n trusted.note -v roots "$1/plain/data"
  setfattr -h -n trusted.note -v "of the link" "$1/shared/link"
  setfacl -m u:1000:rw,g:2000:r,m::rw "$1/shared/file"
  setfacl -d -m u:1000:rwx,o::- "$1/shared/deep"
  setfacl -m g:2000:rwx "$1/shared" "$1/shared/fifo"
  setcap cap_net_bind_service=ep "$1/plain/program"
  chmod 2775 "$1/plain"
  chown -R --no-dereference 1000:2000 "$1/shared"
}
facts() { # DIRECTORY: all that should travel
  (cd "$1" && find . -printf '%p %y %m %U:%G %n %l %Ts\n' | sort && find . -type f -exec sha256sum {} + | sort -k2 &&
    find . -print0 | sort -z | xargs -0 getfattr -h -d -m - --absolute-names &&
    find . ! -type l -print0 | sort -z | xargs -0 getfacl -n -p)
}
same() { # WHAT DIRECTORY
  facts "$2" > "$local/now"
  diff -u "$local/wanted" "$local/now" > "$local/diff" || { head -40 "$local/diff"; fail "$1: another tree"; }
  say "$1"
}
mkdir "$local/tree"
make "$local/tree"
facts "$local/tree" > "$local/wanted"
grep -q 'user.comment' "$local/wanted" && grep -q 'security.capability' "$local/wanted" && grep -q '^user:1000:rw-' "$local/wanted" ||
  fail "the local disk of this machine does not hold what this test is about"

cp -a "$local/tree" "$M1/cp"
same "cp -a onto a mount" "$M2/cp"
rsync -aAXH "$M2/cp/" "$M1/rsync/"
same "rsync between mounts" "$M2/rsync"
tar -C "$M1/rsync" --xattrs --xattrs-include='*' --acls -cf - . | (mkdir "$M2/tar" && tar -C "$M2/tar" --xattrs --xattrs-include='*' --acls -xpf -)
same "tar" "$M1/tar"
cp -a "$M1/tar" "$local/back"
same "cp -a back to the local disk" "$local/back"
mkdir "$M1/made"
make "$M1/made"
cp -a "$M2/made" "$local/from"
facts "$M1/made" > "$local/wanted"
same "made on a mount" "$local/from"

[ "$(getcap "$M2/made/plain/program")" = "$M2/made/plain/program cap_net_bind_service=ep" ] || fail "the capability is not known"
echo >> "$M1/made/plain/program"
[ -z "$(getcap "$M2/made/plain/program")" ] || fail "a write left the capability"
rm -rf "$M1"/*
fsck_clean
