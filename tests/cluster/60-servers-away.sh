#!/bin/bash
# While servers are away calls wait: a signal that does not kill never makes one fail, a killed process ends at once, and when the
# servers are back everything goes on.
. "$(dirname "$0")/lib.sh"
up --stores 3 --mounts 1 --replicas 2
echo before > "$M1/f"
dev stop name1
say "stopped the name server"
python3 - "$M1" <<'P' & patient=$!
import os, signal, sys, time
signal.signal(signal.SIGALRM, lambda *a: None)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
os.mkdir(sys.argv[1] + '/made-while-away')
signal.setitimer(signal.ITIMER_REAL, 0)
assert os.path.isdir(sys.argv[1] + '/made-while-away')
P
cat "$M1/f" > "$ROOT/out" & reader=$!
sleep 3
kill -0 $patient || fail "mkdir did not wait"
kill -9 $reader
start=$(date +%s%N)
wait $reader 2> /dev/null || true
[ $(( ($(date +%s%N) - start) / 1000000 )) -le 1500 ] || fail "a killed process did not end"
dev cont name1
wait $patient || fail "a signal made mkdir fail"
[ "$(cat "$M1/f")" = before ]

say "all stores away: the writer waits, nothing is invented"
for s in store1 store2 store3; do dev kill $s; done
echo 3 > /proc/sys/vm/drop_caches
timeout -s KILL 4 cat "$M1/f" > "$ROOT/out" && fail "read a file without stores"
[ ! -s "$ROOT/out" ] || fail "something was read without stores"
for s in store1 store2 store3; do dev start $s; done
[ "$(timeout 60 cat "$M1/f")" = before ] || fail "the file is not back"
until_true 60 healthy || fail "not healthy"
fsck_clean
