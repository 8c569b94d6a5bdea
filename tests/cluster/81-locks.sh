#!/bin/bash
# Locks between mounts: a lock that is waited for survives restarts of the name server, passes on when its holder ends, its mount is
# killed or its machine is cut off for good; a killed waiter ends at once; `dfs locks` shows all of it.
. "$(dirname "$0")/lib.sh"
up --stores 2 --mounts 2 --replicas 2
mkdir "$M1/locks"

held() { "$DFS" locks --root "$ROOT/c" --json | python3 -c '
import json, sys
locks = json.load(sys.stdin)["locks"]
sys.exit(0 if len([l for l in locks if l["path"] == sys.argv[1] and l["waiting"] == (sys.argv[2] == "waits")]) == int(sys.argv[3]) else 1)' "$@"; }
expect_held() { until_true 30 held "$@" || { "$DFS" locks --root "$ROOT/c"; fail "not so: $*"; }; }

say "a named lock, as a program uses it"
flock "$M1/locks/job" sh -c "echo start >> '$M1/log'; sleep 2; echo end >> '$M1/log'" & first=$!
expect_held /locks/job held 1
flock -n "$M2/locks/job" true && fail "two have it"
flock "$M2/locks/job" sh -c "echo next >> '$M2/log'" || fail "the second did not get it"
wait $first
[ "$(tr '\n' ' ' < "$M1/log")" = "start end next " ] || fail "not one after the other: $(cat "$M1/log")"
expect_held /locks/job held 0

say "the name server is killed while one waits"
flock "$M1/locks/job" sleep 20 & first=$!
expect_held /locks/job held 1
flock "$M2/locks/job" true & second=$!
expect_held /locks/job waits 1
for i in 1 2; do
  dev kill name1
  sleep 1
  dev start name1
  expect_held /locks/job held 1
  expect_held /locks/job waits 1
done
kill -0 $second || fail "the wait has ended"
"$DFS" locks "$M2/locks/job" | grep -q flock || fail "dfs locks PATH shows nothing"
wait $first || fail "the holder saw an error"
wait $second || fail "the waiter saw an error"

say "a killed waiter"
flock "$M1/locks/job" sleep 3 & first=$!
expect_held /locks/job held 1
flock "$M2/locks/job" true & second=$!
expect_held /locks/job waits 1
start=$SECONDS
kill -9 $second
wait $second && fail "it was killed"
[ $((SECONDS - start)) -le 1 ] || fail "it took $((SECONDS - start)) s to die"
expect_held /locks/job waits 0
wait $first

say "a killed holder, also while the name server is away"
flock "$M1/locks/job" sleep 60 & first=$!
expect_held /locks/job held 1
end_of() { # of flock, and of its command, which has the lock too
  pkill -9 -P "$1" || true
  kill -9 "$1" 2> /dev/null || true
}
end_of $first
timeout 5 flock "$M2/locks/job" true || fail "the lock of a killed process is still there"
flock "$M1/locks/job" sleep 60 & first=$!
expect_held /locks/job held 1
dev kill name1
end_of $first
until_true 5 sh -c "! kill -0 $first 2> /dev/null" || fail "it does not die while the name server is away"
dev start name1
timeout 30 flock "$M2/locks/job" true || fail "the lock of a killed process is still there after a restart"

say "the holder's mount is killed"
flock "$M1/locks/job" sleep 60 & first=$!
expect_held /locks/job held 1
dev kill mount1
start=$SECONDS
timeout 60 flock "$M2/locks/job" true || fail "the lock of a killed mount is still there"
[ $((SECONDS - start)) -ge 5 ] || fail "it passed on before the session had ended"
[ $((SECONDS - start)) -le 30 ] || fail "it took $((SECONDS - start)) s"
end_of $first
dev start mount1
timeout 20 flock "$M1/locks/job" true || fail "the new mount cannot lock"
fsck_clean
