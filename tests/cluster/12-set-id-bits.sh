#!/bin/bash
# Set-id bits go where they go on a local disk: when somebody else writes to a file, cuts it, opens it with O_TRUNC or it changes its owner.
. "$(dirname "$0")/lib.sh"
up --stores 2 --mounts 1 --replicas 2
local=$ROOT/local
mkdir "$local"
chmod 755 "$ROOT" "$ROOT/c" "$local"

as() { setpriv --reuid="$1" --regid="$1" --clear-groups -- "${@:2}"; }
deed() { # WHO DEED FILE
  case $2 in
    write) as "$1" dd of="$3" if=/dev/zero bs=10 count=1 conv=notrunc status=none ;;
    append) as "$1" sh -c 'echo more >> "$0"' "$3" ;;
    truncate) as "$1" truncate -s 3 "$3" ;;
    create) as "$1" sh -c 'echo new > "$0"' "$3" ;;
    chown) as "$1" chown 1001 "$3" ;;
    chgrp) as "$1" chgrp 1001 "$3" ;;
  esac 2> /dev/null
}
try() { # DIRECTORY MODE WHO DEED: what a local disk should do as well
  local f=$1/file
  rm -f "$f"
  echo 0123456789 > "$f"
  chown 65534:65534 "$f"
  chmod "$2" "$f"
  if deed "$3" "$4" "$f"; then echo -n "done, "; else echo -n "refused, "; fi
  stat -c '%a %u:%g %s' "$f"
}
n=0
for mode in 6777 4777 2777 2767 6767 0777; do
  for who in 0 1000 65534; do
    for what in write append truncate create chown chgrp; do
      here=$(try "$M1" $mode $who $what)
      there=$(try "$local" $mode $who $what)
      [ "$here" = "$there" ] || fail "$what by $who, mode $mode: $here; and on a local disk: $there"
      n=$((n + 1))
    done
  done
done
say "$n deeds as on a local disk"
