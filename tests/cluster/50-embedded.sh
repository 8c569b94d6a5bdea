#!/bin/bash
# dfs-mount with no name server: makes an embedded cluster, says so in one line, finds it again, lets a second mount join, and stops
# what it started when the last mount is gone, however it ended. Nothing is left behind by a start that fails.
. "$(dirname "$0")/lib.sh"
mkdir "$ROOT/m1" "$ROOT/m2"
data=$ROOT/data
processes() { pgrep -f -- "$data/" | wc -l; }
gone() { [ "$(processes)" -eq 0 ]; }

out=$("$DFS_MOUNT" "$ROOT/m1" --data "$data" --log-file "$ROOT/m1.log")
[ "$(echo "$out" | wc -l)" -eq 1 ] || fail "not one line: $out"
case $out in *"3 stores, 2 copies"*"$data"*) ;; *) fail "the line: $out" ;; esac
echo hello > "$ROOT/m1/f"
[ "$(processes)" -ge 4 ] || fail "the daemons are not processes of their own"

say "a second mount joins"
"$DFS_MOUNT" "$ROOT/m2" --data "$data" --log-file "$ROOT/m2.log" > /dev/null
[ "$(cat "$ROOT/m2/f")" = hello ]
"$DFS" umount "$ROOT/m1"
[ "$(cat "$ROOT/m2/f")" = hello ] || fail "the cluster went with the first mount"
"$DFS" fsck "$ROOT/m2"
"$DFS" umount "$ROOT/m2"
until_true 20 gone || fail "$(pgrep -af -- "$data/")"

say "found again"
"$DFS_MOUNT" "$ROOT/m1" --data "$data" --log-file "$ROOT/m1.log" > /dev/null
[ "$(cat "$ROOT/m1/f")" = hello ]

say "a killed mount: the cluster ends, the next start cleans up"
pkill -9 -f -- "dfs-mount $ROOT/m1" || fail "no process to kill"
until_true 20 gone || fail "$(pgrep -af -- "$data/")"
"$DFS_MOUNT" "$ROOT/m1" --data "$data" --log-file "$ROOT/m1.log" > /dev/null
[ "$(cat "$ROOT/m1/f")" = hello ]

say "a second mount on the same place is refused"
"$DFS_MOUNT" "$ROOT/m1" --data "$data" 2> "$ROOT/err" && fail "mounted twice"
grep -q "mounted there already" "$ROOT/err"
"$DFS" umount "$ROOT/m1"
until_true 20 gone

say "an existing directory that holds no cluster is refused, and nothing is made there"
mkdir "$ROOT/empty"
"$DFS_MOUNT" "$ROOT/m1" --data "$ROOT/empty" 2> "$ROOT/err" && fail "a cluster was made in an existing directory"
grep -q "holds no cluster" "$ROOT/err"
[ -z "$(ls -A "$ROOT/empty")" ] || fail "something was left in the directory"

say "a cluster that is not there: said, and nothing left mounted"
"$DFS_MOUNT" "$ROOT/m1" --nameserver 127.0.0.1:1 2> "$ROOT/err" && fail "mounted without a cluster"
[ -s "$ROOT/err" ]
grep -qF " $ROOT/m1 " /proc/self/mountinfo && fail "left mounted"
"$DFS_MOUNT" "$ROOT/nowhere" --data "$data" 2> "$ROOT/err" && fail "mounted on nothing"
grep -q "nowhere" "$ROOT/err"
