#!/bin/bash
# How DFS is mounted: a directory of the cluster, by mount(8) and fstab, read-only, changed while it is mounted, several times on one
# machine, in use while it is unmounted; and what df says.
. "$(dirname "$0")/lib.sh"
code() { local c=0; "$@" > "$ROOT/out" 2> "$ROOT/err" || c=$?; echo $c; }
says() { grep -q -- "$1" "$ROOT/err" || fail "says: $(cat "$ROOT/err")"; }
mounted() { grep -qF " $1 " /proc/self/mountinfo; }
gone() { ! mounted "$1" && ! pgrep -f -- "$1" > /dev/null; }

# mount(8) and umount(8) look for helpers in /sbin alone. Ours stand there for the time of the test, one test at a time.
exec 9> /run/lock/dfs-test-helpers
flock 9
helpers="mount.dfs mount.fuse.dfs umount.fuse.dfs"
extra_cleanup() {
  local h
  timeout 30 "$DFS" dev down --root "$ROOT/c" > /dev/null 2>&1
  umount -l "$ROOT/c"
  for h in $helpers; do
    rm -f "/sbin/$h"
    [ ! -L "/sbin/$h.before-test" ] || mv "/sbin/$h.before-test" "/sbin/$h"
  done
}
for h in $helpers; do
  [ ! -L "/sbin/$h" ] || mv "/sbin/$h" "/sbin/$h.before-test"
  case $h in u*) ln -s "$(realpath "$DFS")" "/sbin/$h" ;; *) ln -s "$(realpath "$DFS_MOUNT")" "/sbin/$h" ;; esac
done

# A disk of its own, on which nobody else's bytes come and go.
truncate -s 3G "$ROOT/image"
mkfs.ext4 -q -m 0 "$ROOT/image"
mkdir "$ROOT/c"
mount -o loop "$ROOT/image" "$ROOT/c"
up --stores 2 --mounts 1 --replicas 2
ns=$(python3 -c "import json; print(json.load(open('$ROOT/c/cluster.json'))['nameservers'][0]['address'])")
mkdir -p "$M1/top/sub/deep" "$ROOT/a" "$ROOT/b"
echo inside > "$M1/top/sub/f"
echo outside > "$M1/secret"
ln -s top/sub "$M1/link"
A=$ROOT/a B=$ROOT/b
mnt() { mount -t dfs "$@"; }

say "df counts each byte of a user once, and sees it come and go"
python3 - "$M1" <<'P'
import os, sys, time
m = sys.argv[1]
def look():
    s = os.statvfs(m)
    assert s.f_bavail <= s.f_bfree <= s.f_blocks and s.f_ffree <= s.f_files, s
    return s.f_blocks * s.f_frsize, s.f_bfree * s.f_frsize, s.f_files - s.f_ffree
host = os.statvfs(os.path.dirname(m))
size, free, inodes = look()
# Two stores on one disk, two copies: each byte takes two of that disk.
assert 0 < size <= host.f_blocks * host.f_frsize / 2 * 1.01, (size, host)
with open(m + '/big', 'wb') as f:
    for _ in range(96):
        f.write(os.urandom(1 << 20))
    os.fsync(f.fileno())
for i in range(50):
    open(f'{m}/n{i}', 'w').close()
end = time.time() + 20
while True:
    now = look()
    used = free - now[1]
    if 95 << 20 <= used <= 110 << 20 and now[2] - inodes == 51:
        break
    assert time.time() < end, (used >> 20, now[2] - inodes)
    time.sleep(0.5)
os.unlink(m + '/big')
for i in range(50):
    os.unlink(f'{m}/n{i}')
end = time.time() + 20
while look()[2] != inodes or free - look()[1] > 8 << 20:
    assert time.time() < end, (look()[2] - inodes, free - look()[1])
    time.sleep(0.5)
P

say "a directory of the cluster"
mnt "$ns:/top/sub" "$A" -o "log_file=$ROOT/a.log"
[ "$(cat "$A/f")" = inside ]
[ "$(ls -A "$A" | sort | tr '\n' ' ')" = "deep f " ] || fail "ls: $(ls -A "$A")"
[ "$(stat -c %i "$A/.")" = "$(stat -c %i "$M1/top/sub")" ] || fail "the root's inode"
python3 - "$A" "$M1" <<'P'
# The root's .. is itself in the listing too; what is above cannot be opened by a handle.
import ctypes, os, struct, sys
a, m = sys.argv[1:]
class Dirent(ctypes.Structure):
    _fields_ = [('ino', ctypes.c_ulong), ('off', ctypes.c_long), ('len', ctypes.c_ushort), ('type', ctypes.c_ubyte), ('name', ctypes.c_char * 256)]
libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.POINTER(Dirent)
libc.readdir.argtypes = [ctypes.c_void_p]
d = libc.opendir(a.encode())
inos = {}
while e := libc.readdir(d):
    inos[e.contents.name] = e.contents.ino
assert inos[b'..'] == inos[b'.'] == os.stat(a).st_ino, inos
class Handle(ctypes.Structure):
    _fields_ = [('bytes', ctypes.c_uint), ('type', ctypes.c_int), ('data', ctypes.c_char * 128)]
fd = os.open(a, os.O_RDONLY)
for outside in (os.stat(m + '/secret').st_ino, 1):
    h = Handle()
    h.type = 0x81  # FUSE's: node id and generation
    h.bytes = 12
    ctypes.memmove(ctypes.addressof(h) + 8, struct.pack('=QI', outside, 0), 12)
    got = libc.open_by_handle_at(fd, ctypes.byref(h), os.O_RDONLY)
    if got >= 0:
        assert os.fstat(got).st_ino == os.stat(a).st_ino, 'left by a handle'
P
echo new > "$A/new"
mkdir "$A/d"
mv "$A/new" "$A/d/new"
[ "$(cat "$M1/top/sub/d/new")" = new ]
rm -r "$M1/top/sub/d"
[ ! -e "$A/d" ]
"$DFS" sync "$A"
df -B1 --output=size,avail "$A" > "$ROOT/df.a"
df -B1 --output=size,avail "$M1" > "$ROOT/df.m"
[ "$(code "$DFS" where "$A/f")" = 0 ] || fail "where: $(cat "$ROOT/err")"

say "two mounts of different directories are one tree"
mnt "$ns,$ns:/top" "$B" -o "log_file=$ROOT/b.log"
echo across > "$B/sub/g"
[ "$(cat "$A/g")" = across ]
findmnt -n -o SOURCE,FSTYPE "$A" | grep -q "^$ns:/top/sub *fuse.dfs" || fail "$(findmnt "$A")"
findmnt -n -o SOURCE "$B" | grep -q "^$ns,$ns:/top" || fail "$(findmnt "$B")"
[ "$(code mnt "$ns:/top" "$B")" = 32 ]
says "mounted there already"
umount "$B"
gone "$B" || fail "umount returned before all was saved"

say "the directory is removed while it is mounted"
mnt "$ns:/top/sub/deep" "$B" -o "log_file=$ROOT/b.log"
rmdir "$M1/top/sub/deep"
[ -z "$(ls -A "$B")" ]
[ "$(stat -c %h "$B")" = 0 ] || [ "$(stat -c %h "$B")" = 2 ] || fail "links of a removed root: $(stat -c %h "$B")"
[ "$(code touch "$B/x")" = 1 ]
says "No such file"
umount "$B"

say "what is no directory of the cluster is said"
for bad in /nowhere /top/none/x; do
  [ "$(code mnt "$ns:$bad" "$B")" = 32 ]
  says "there is no such directory in the cluster"
done
[ "$(code mnt "$ns:/secret" "$B")" = 32 ]
says "no directory in the cluster: /secret"
[ "$(code mnt "$ns:/link" "$B")" = 32 ]
says "symbolic link"
[ "$(code mnt "$ns:/" "$B" -o noatmie)" = 1 ]
says 'did you mean "noatime"'
[ "$(code mnt host:99999:/ "$B")" = 1 ]
[ "$(code mnt "$ns:/" "$ROOT/c/cluster.json")" = 32 ]
says "not a directory"
mounted "$B" && fail "left mounted"
"$DFS" status --root "$ROOT/c" | grep -q SILENT && fail "a mount that failed has left a session"

say "read-only"
mnt "$ns:/top" "$B" -o "ro,log_file=$ROOT/b.log"
touch -ad '2001-01-01' "$M1/top/sub/f"
[ "$(cat "$B/sub/f")" = inside ]
[ "$(stat -c %X "$M1/top/sub/f")" = "$(date -d '2001-01-01' +%s)" ] || fail "reading through ro moved the access time"
python3 - "$B" <<'P'
import errno, os, sys
b = sys.argv[1]
f = b + '/sub/f'
for name, call in {
    'open': lambda: os.open(f, os.O_WRONLY), 'creat': lambda: os.open(b + '/x', os.O_CREAT | os.O_WRONLY),
    'mkdir': lambda: os.mkdir(b + '/x'), 'rmdir': lambda: os.rmdir(b + '/sub'), 'unlink': lambda: os.unlink(f),
    'rename': lambda: os.rename(f, b + '/x'), 'link': lambda: os.link(f, b + '/x'), 'symlink': lambda: os.symlink('x', b + '/x'),
    'chmod': lambda: os.chmod(f, 0o600), 'chown': lambda: os.chown(f, 1, 1), 'utime': lambda: os.utime(f),
    'truncate': lambda: os.truncate(f, 0), 'mkfifo': lambda: os.mkfifo(b + '/x'),
    'setxattr': lambda: os.setxattr(f, 'user.x', b'y')}.items():
    try:
        call()
        raise SystemExit(name + ' went through')
    except OSError as e:
        assert e.errno == errno.EROFS, (name, e)
assert not os.access(f, os.W_OK)
P
[ "$(code mount -o remount,rw "$B")" = 32 ]
says "it was mounted read-only"
umount "$B"
mnt "$ns:/top" "$B" -o "log_file=$ROOT/b.log"
exec 8>> "$B/sub/f"
[ "$(code mount -o remount,ro "$B")" = 32 ] || fail "read-only while a file is open for writing"
says "open for writing"
exec 8>&-
mount -o remount,ro "$B"
[ "$(code touch "$B/sub/f")" = 1 ]
says "Read-only"
mount -o remount,rw,noexec "$B"
echo more >> "$B/sub/f"
findmnt -n -o OPTIONS "$B" | grep -q noexec || fail "$(findmnt "$B")"
[ "$(code mount -o remount,soft "$B")" = 32 ]
says "cannot be changed while it is mounted"
umount "$B"

say "flags"
mnt "$ns:/" "$B" -o "nosuid,nodev,noexec,log_file=$ROOT/b.log"
cp /bin/true "$B/true"
[ "$(code "$B/true")" = 126 ] || fail "noexec"
findmnt -n -o OPTIONS "$B" | grep -q nosuid,nodev,noexec || fail "$(findmnt "$B")"
umount "$B"

say "by fstab"
cat > "$ROOT/fstab" <<T
$ns:/top $B dfs _netdev,nofail,noatime,x-systemd.automount,log_file=$ROOT/b.log 0 0
T
mount -T "$ROOT/fstab" "$B"
[ "$(cat "$B/sub/g")" = across ]
mount -a -T "$ROOT/fstab" 2> "$ROOT/err" || fail "mount -a tries again what is mounted: $(cat "$ROOT/err")"
umount "$B"
mount -a -T "$ROOT/fstab"
mounted "$B" || fail "mount -a"
umount "$B"
mount -f -T "$ROOT/fstab" "$B" || true
mounted "$B" && fail "mount -f mounts"

say "over a directory that is not empty; in use while it is unmounted"
echo below > "$B/below"
mnt "$ns:/top" "$B" -o "log_file=$ROOT/b.log"
[ ! -e "$B/below" ]
exec 8> "$B/open"
echo one >&8
[ "$(code umount "$B")" != 0 ] || fail "unmounted although it is in use"
says "programs use it"
umount -l "$B"
[ "$(cat "$B/below")" = below ]
echo two >&8
exec 8>&-
until_true 10 eval '[ "$(cat "$M1/top/open")" = "$(printf "one\ntwo")" ]' || fail "what was written after umount -l: $(cat "$M1/top/open")"
until_true 20 eval '! pgrep -f -- "$B" > /dev/null' || fail "its process goes on"
umount "$A"

[ "$(awk 'NR == 2 {print $1}' "$ROOT/df.a")" = "$(awk 'NR == 2 {print $1}' "$ROOT/df.m")" ] || fail "df of a directory's mount"
fsck_clean
