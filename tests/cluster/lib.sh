# What the tests of real clusters share. Source it; it makes $ROOT, and takes everything down at the end, however that comes.
#
# A test is a script NN-name.sh that exits 0 if what its head claims holds. DFS_BUILD names the build to test.
set -euo pipefail
export LC_ALL=C.UTF-8

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DFS_BUILD=${DFS_BUILD:-$here/../../build/release}
DFS=$DFS_BUILD/tools/dfs
DFS_MOUNT=$DFS_BUILD/fuse-client/dfs-mount
ROOT=$(mktemp -d /tmp/dfs-test.XXXXXX) # mktemp puts what nobody else has in the place of the X
if [ "$(id -u)" -ne 0 ]; then
  echo "tests of real clusters mount file systems: run them as root"
  exit 1
fi
[ -e /dev/fuse ] || { echo "there is no /dev/fuse on this machine"; exit 1; }

finish() {
  local code=$?
  set +e
  if [ $code -ne 0 ]; then
    echo "--- failed with $code; the ends of the logs:"
    "$DFS" status --root "$ROOT/c" 2>&1 | head -40
    for f in "$ROOT"/c/log/*.log "$ROOT"/c/log/*.out "$ROOT"/data/log/*.log; do
      [ -s "$f" ] && { echo "== $f"; tail -n 15 "$f"; }
    done
    [ -n "${DFS_KEEP_LOGS:-}" ] && mkdir -p "$DFS_KEEP_LOGS" && cp -r "$ROOT"/c/log "$DFS_KEEP_LOGS/$(basename "$0" .sh)"
  fi
  declare -F extra_cleanup > /dev/null && extra_cleanup
  [ -e "$ROOT/c/cluster.json" ] && timeout 60 "$DFS" dev down --root "$ROOT/c" > /dev/null 2>&1
  grep -F " $ROOT/" /proc/self/mountinfo | awk '{print $5}' | sort -r | while read -r m; do umount -l "$m"; done
  pkill -9 -f -- "$ROOT/" 2>/dev/null
  sleep 0.2
  rm -rf "$ROOT"
  exit $code
}
trap finish EXIT

fail() { echo "FAILED: $*" >&2; exit 1; }
say() { echo "$(date +%T) $*"; }
up() { "$DFS" dev up --root "$ROOT/c" --nameservers 1 "$@" > /dev/null; }
dev() { "$DFS" dev "$1" --root "$ROOT/c" "${@:2}"; }
M1=$ROOT/c/mount1
M2=$ROOT/c/mount2

until_true() { # SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}
healthy() { [ "$("$DFS" health --root "$ROOT/c" 2>/dev/null)" = ok ]; }
fsck_clean() {
  local out
  out=$("$DFS" fsck --root "$ROOT/c") || { echo "$out"; fail "fsck found errors"; }
  case $out in *" 0 errors, 0 warnings"*) ;; *) echo "$out"; fail "fsck is not clean" ;; esac
}
