#!/bin/bash
# A user who is not root mounts on a directory of his own: an embedded cluster with everything of it in his home, or a cluster that is
# there; and is told what is missing if he may not.
. "$(dirname "$0")/lib.sh"
user=dfs-tester-$$
home=$ROOT/home
mode=$(stat -c %a /dev/fuse)
extra_cleanup() {
  chmod "$mode" /dev/fuse
  [ ! -e "$ROOT/fuse.conf" ] || cp -p "$ROOT/fuse.conf" /etc/fuse.conf
  pkill -9 -u "$user" 2> /dev/null
  sleep 0.3
  userdel "$user" 2> /dev/null
  true
}
chmod 755 "$ROOT"
useradd --no-create-home --home-dir "$home" --shell /bin/bash "$user"
install -d -o "$user" -m 700 "$home"
mkdir "$ROOT/bin"
for program in fuse-client/dfs-mount nameserver/dfs-nameserver storaged/dfs-storaged tools/dfs; do
  cp "$DFS_BUILD/$program" "$ROOT/bin/"
done
as() { runuser -u "$user" -- env HOME="$home" XDG_DATA_HOME= PATH="$ROOT/bin:$PATH" "$@"; }
code() { local c=0; "$@" > "$ROOT/out" 2> "$ROOT/err" || c=$?; echo $c; }
says() { grep -q -- "$1" "$ROOT/err" || fail "says: $(cat "$ROOT/err")"; }
as mkdir "$home/m" "$home/n"

say "what is missing is said"
chmod 600 /dev/fuse
[ "$(code as dfs-mount "$home/m")" = 32 ]
says "may not open /dev/fuse"
chmod 666 /dev/fuse
mkdir "$ROOT/roots"
[ "$(code as dfs-mount "$ROOT/roots")" = 32 ]
says "directory of his own"
[ "$(code as dfs-mount /tmp)" = 32 ]
says "directory of his own"
[ "$(code as env PATH="$ROOT/bin" dfs-mount "$home/m")" = 32 ]
says "fusermount3"
cp -p /etc/fuse.conf "$ROOT/fuse.conf"
sed -i '/^user_allow_other/d' /etc/fuse.conf
[ "$(code as dfs-mount "$home/m" -o allow_other)" = 32 ]
says "user_allow_other"
[ "$(code as dfs-mount "$home/m" -o suid)" = 32 ]
says "only root"
[ ! -e "$home/.local/share/dfs" ] || fail "something was made"

say "an embedded cluster in his home"
out=$(as dfs-mount "$home/m")
case $out in *"data in $home/.local/share/dfs"*) ;; *) fail "$out" ;; esac
[ -d "$home/.local/share/dfs/store1" ]
ls "$home"/.local/state/dfs/mount-*.log > /dev/null || fail "no log of his own"
as sh -c "echo mine > '$home/m/f'; mkdir '$home/m/d'; chmod 600 '$home/m/f'"
[ "$(as cat "$home/m/f")" = mine ]
[ "$(stat -c %U "$ROOT/home")" = "$user" ]
[ "$(code ls "$home/m")" != 0 ] || fail "root sees a mount that is not for others"
as df "$home/m" > /dev/null
as df -i "$home/m" > /dev/null
[ "$(as dfs health "$home/m")" = ok ]
as dfs sync "$home/m"
as dfs put "$ROOT/bin/dfs" "$home/m/d/"
as cmp "$ROOT/bin/dfs" "$home/m/d/dfs"
findmnt -n -o OPTIONS "$home/m" | grep -q "nosuid,nodev" || fail "$(findmnt "$home/m")"
[ "$(code as chown 0 "$home/m/f")" = 1 ] || fail "gave a file away"

say "for others, once root allows it"
echo user_allow_other >> /etc/fuse.conf
as dfs-mount "$home/n" -o allow_other > /dev/null
[ "$(cat "$home/n/f")" = mine ]
[ "$(setpriv --reuid 65534 --clear-groups cat "$home/n/f" 2> /dev/null)" = "" ] || fail "modes do not count"
as dfs umount "$home/n"

say "it ends as it began"
[ "$(code setpriv --reuid 65534 --clear-groups "$ROOT/bin/dfs" umount "$home/m")" != 0 ]
as umount "$home/m"
quiet_now() { ! pgrep -u "$user" > /dev/null; }
until_true 30 quiet_now || fail "$(pgrep -au "$user")"
as dfs-mount "$home/m" > /dev/null
[ "$(as cat "$home/m/f")" = mine ]
as dfs fsck "$home/m" | tail -1 | grep -q "0 errors" || fail "fsck"
as dfs umount "$home/m"
until_true 30 quiet_now || fail "$(pgrep -au "$user")"
