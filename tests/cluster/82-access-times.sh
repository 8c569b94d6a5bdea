#!/bin/bash
# -o noatime, nodiratime, strictatime and ro: which reads move the time of access; and that an unmount loses none.
. "$(dirname "$0")/lib.sh"
up --stores 1 --mounts 1 --replicas 1
ns=$(python3 -c "import json; print(json.load(open('$ROOT/c/cluster.json'))['nameservers'][0]['address'])")
mkdir "$ROOT/m" "$M1/d"
echo text > "$M1/d/f"

mounted() { # OPTIONS
  mountpoint -q "$ROOT/m" && "$DFS" umount "$ROOT/m" > /dev/null
  "$DFS_MOUNT" "$ROOT/m" --nameserver "$ns" --log-file "$ROOT/m.log" -o "$1" > /dev/null
}
old() { touch -a -d '2001-01-01' "$M1/d/f" "$M1/d"; }
year() { date -d "@$(stat -c %X "$M1/d$1")" +%Y; }
moves() { # OPTIONS FILE-MOVES DIRECTORY-MOVES (yes or no), seen by another mount after a clean unmount
  mounted "$1"
  old
  cat "$ROOT/m/d/f" > /dev/null
  ls "$ROOT/m/d" > /dev/null
  "$DFS" umount "$ROOT/m" > /dev/null
  local file=yes directory=yes
  [ "$(year /f)" = 2001 ] && file=no
  [ "$(year "")" = 2001 ] && directory=no
  [ "$file $directory" = "$2 $3" ] || fail "-o $1: the file's moved: $file, the directory's: $directory"
}
moves relatime yes yes
moves noatime no no
moves nodiratime yes no
moves strictatime yes yes
moves ro no no

say "strictatime tells reads that relatime does not"
mounted strictatime
touch -a -d '2200-01-01' "$M1/d/f"  # later than all others
cat "$ROOT/m/d/f" > /dev/null
[ "$(date -d "@$(stat -c %X "$ROOT/m/d/f")" +%Y)" != 2200 ] || fail "strictatime kept an atime"
"$DFS" umount "$ROOT/m" > /dev/null
mounted relatime
touch -a -d '2200-01-01' "$M1/d/f"
cat "$ROOT/m/d/f" > /dev/null
[ "$(date -d "@$(stat -c %X "$ROOT/m/d/f")" +%Y)" = 2200 ] || fail "relatime moved an atime"
"$DFS" umount "$ROOT/m" > /dev/null
fsck_clean
