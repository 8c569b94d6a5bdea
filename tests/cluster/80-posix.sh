#!/bin/bash
# Programs cannot tell DFS from a local disk: tests/posix on a local disk, on one mount and on two, as root and as an ordinary user.
#
# POSIX_FILTER=PATTERN runs only the tests that match (as --gtest_filter has it).
. "$(dirname "$0")/lib.sh"
chmod 755 "$ROOT"
# The user may not be allowed to reach the build.
program=$ROOT/dfs_posix_tests
cp "$DFS_BUILD/tests/dfs_posix_tests" "$program"
chmod 755 "$program"
user=12345
bad=()

posix() { # TITLE WHO DIRECTORY [OTHER]: WHO owns the directory
  local title=$1 who=$2 as=()
  mkdir "$3"
  chown "$who:$who" "$3"
  [ "$who" -eq 0 ] || as=(setpriv "--reuid=$who" "--regid=$who" --clear-groups --)
  say "$title"
  (cd "$3" && DFS_POSIX_DIR=$3 DFS_POSIX_OTHER=${4:-} timeout 600 "${as[@]}" "$program" --gtest_brief=1 \
    ${POSIX_FILTER:+--gtest_filter="$POSIX_FILTER"}) || bad+=("$title")
  [ -z "$(ls -A "$3")" ] || bad+=("$title: left $(ls -A "$3" | head -3 | tr '\n' ' ')")
}

case $(stat -f -c %T "$ROOT") in
  ext2/ext3 | xfs)
    posix "a local disk, root" 0 "$ROOT/local"
    posix "a local disk, a user" $user "$ROOT/local-user"
    ;;
esac
up --stores 2 --mounts 2 --replicas 2
chmod 755 "$ROOT/c"
posix "one mount, root" 0 "$M1/one"
posix "one mount, a user" $user "$M1/one-user"
posix "two mounts, root" 0 "$M1/two" "$M2/two"
posix "two mounts, a user" $user "$M1/two-user" "$M2/two-user"
for title in "${bad[@]}"; do echo "failed: $title"; done
[ ${#bad[@]} -eq 0 ] || fail "${#bad[@]} runs of the tests of POSIX"
fsck_clean
