#!/bin/bash
# Programs cannot tell DFS from a local disk: tests/posix on a local disk, on one mount and on two, as root and as an ordinary user.
#
# The runs on mounts go on side by side: they disturb each other as programs do.
#
# POSIX_FILTER=PATTERN runs only the tests that match (as --gtest_filter has it). POSIX_SECONDS=N: how long each run may take (800).
. "$(dirname "$0")/lib.sh"
chmod 755 "$ROOT"
# The user may not be allowed to reach the build.
program=$ROOT/dfs_posix_tests
cp "$DFS_BUILD/tests/dfs_posix_tests" "$program"
chmod 755 "$program"
user=12345
bad=()
pids=() titles=()

posix() { # TITLE WHO DIRECTORY [OTHER]: WHO owns the directory; what it says stands in ROOT/TITLE.log
  local title=$1 who=$2 as=() code=0
  mkdir "$3"
  chown "$who:$who" "$3"
  [ "$who" -eq 0 ] || as=(setpriv "--reuid=$who" "--regid=$who" --clear-groups --)
  (cd "$3" && DFS_POSIX_DIR=$3 DFS_POSIX_OTHER=${4:-} timeout "${POSIX_SECONDS:-800}" "${as[@]}" "$program" --gtest_brief=1 \
    ${POSIX_FILTER:+--gtest_filter="$POSIX_FILTER"}) > "$ROOT/$title.log" 2>&1 || code=$?
  [ -z "$(ls -A "$3")" ] || { echo "left: $(ls -A "$3" | head -3)" >> "$ROOT/$title.log"; code=1; }
  return $code
}
begin() {
  posix "$@" &
  pids+=($!)
  titles+=("$1")
}
ended() {
  local i
  for i in "${!pids[@]}"; do
    wait "${pids[i]}" || bad+=("${titles[i]}")
    say "${titles[i]}: $(grep -E '^\[  (PASSED|SKIPPED)' "$ROOT/${titles[i]}.log" | tr -s '\n ' ' ')"
  done
  pids=() titles=()
}

case $(stat -f -c %T "$ROOT") in
  ext2/ext3 | xfs)
    begin "a local disk, root" 0 "$ROOT/local"
    begin "a local disk, a user" $user "$ROOT/local-user"
    ended
    ;;
esac
up --stores 2 --mounts 2 --replicas 2
chmod 755 "$ROOT/c"
begin "one mount, root" 0 "$M1/one"
begin "one mount, a user" $user "$M1/one-user"
begin "two mounts, root" 0 "$M1/two" "$M2/two"
begin "two mounts, a user" $user "$M1/two-user" "$M2/two-user"
ended
for title in "${bad[@]}"; do
  echo "failed: $title"
  grep -vE 'Skipped|needs root|does not promise' "$ROOT/$title.log" | head -100
done
[ ${#bad[@]} -eq 0 ] || fail "${#bad[@]} runs of the tests of POSIX"
fsck_clean
