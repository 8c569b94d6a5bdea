#!/bin/bash
# Programs cannot tell DFS from a local disk while stores and the name server are killed and started again, and while another mount
# does the same in the same directory: they see pauses, no error.
. "$(dirname "$0")/lib.sh"
left_out=(
  # What they assert is how long something takes, or what comes first within a second or two.
  'Locks.*Interrupt*' Locks.AKilledWaiterEndsAtOnceAndHoldsNobodyUp Locks.AWriterIsNotStarvedByReaders
  Locks.ADirectoryCanBeFlockedOnOneMount 'TimesMoved.Atime*' TimesMoved.ByNothingThatOnlyLooks
  # What they look at is the whole cluster's, and others are at work there.
  Fallocate.WhatCannotFitIsRefusedAndLeavesTheSize 'Statvfs.*'
  # They do one thing so often that all else would have to wait; there are others that do it less often.
  Readdir.Of20000NamesIsComplete Readdir.RemovingWhatItGivesEmptiesTheDirectory Names.TreesOf2000Levels
  Xattr.ThousandsFitAndThenThereIsNoSpace CopyFileRange.CopiesAnyRangeToAnyPlace
)
chmod 755 "$ROOT" # for the users that tests become
up --stores 3 --mounts 2 --replicas 2
chmod 755 "$ROOT/c"
mkdir "$M1/p"

posix() { # HALF DIRECTORY OTHER: one half of the tests, the other half is run by the other instance
  (cd "$2" && DFS_POSIX_DIR=$2 DFS_POSIX_OTHER=$3 GTEST_TOTAL_SHARDS=2 GTEST_SHARD_INDEX=$1 timeout 400 \
    "$DFS_BUILD/tests/dfs_posix_tests" --gtest_shuffle --gtest_random_seed=7 \
    --gtest_filter="-$(IFS=:; echo "${left_out[*]}")" > "$ROOT/$1.out" 2>&1) || true
}
posix 0 "$M1/p" "$M2/p" & first=$!
posix 1 "$M2/p" "$M1/p" & second=$!
running() { kill -0 $first 2> /dev/null || kill -0 $second 2> /dev/null; }

told() { "$DFS" status --root "$ROOT/c" | grep -q STORE_DOWN; }

sleep 3
for ((round = 0; round < 6 || $(running && echo 1 || echo 0); ++round)); do
  if ((round % 6 < 3)); then
    store=store$((round % 6 + 1))
    say "killing $store"
    dev kill $store
    # Its chains go on without it, but not soon after a start of the name server.
    until_true 30 told || fail "dfs status does not tell of $store"
    sleep 2
    dev start $store
    until_true 60 healthy || fail "not healthy a minute after $store is back"
  else
    say "killing the name server"
    dev kill name1
    sleep 1
    dev start name1
    sleep 4
  fi
done
wait $first $second
bad=0
for half in 0 1; do
  grep -q '^\[  PASSED  \]' "$ROOT/$half.out" && ! grep -q '^\[  FAILED  \]' "$ROOT/$half.out" && continue
  bad=1
  echo "--- half $half ($(grep -c '^\[       OK' "$ROOT/$half.out") passed), the end and the failures:"
  tail -n 2 "$ROOT/$half.out"
  grep -vE '^\[( RUN |       OK|-)|^$' "$ROOT/$half.out" | awk 'NR <= 80'
done
[ $bad -eq 0 ] || fail "tests of POSIX under faults"
say "$(cat "$ROOT/0.out" "$ROOT/1.out" | grep -c '^\[       OK') tests passed, $round faults"
[ -z "$(ls -A "$M1/p")" ] || fail "left: $(ls -A "$M1/p" | head -3)"
until_true 60 healthy || fail "not healthy a minute later"
fsck_clean
