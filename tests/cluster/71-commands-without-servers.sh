#!/bin/bash
# While servers are stopped or dead every command still says so in time, hears Ctrl-C and SIGTERM, and `dfs umount` unmounts.
. "$(dirname "$0")/lib.sh"
code() { local c=0; "$@" > "$ROOT/out" 2> "$ROOT/err" || c=$?; echo $c; }
within() { # SECONDS CODE COMMAND...: it ends in time, with that code
  local start=$SECONDS got
  got=$(code timeout -s KILL $(($1 + 20)) "${@:3}")
  [ "$got" = "$2" ] || fail "${*:3}: code $got, not $2: $(cat "$ROOT/out" "$ROOT/err")"
  [ $((SECONDS - start)) -le "$1" ] || fail "${*:3} took $((SECONDS - start)) s"
}
mounted() { grep -qF " $1 " /proc/self/mountinfo; }
# Not `healthy`: the session of a mount that ended while the name server was stopped counts as silent.
whole() { "$DFS" status --root "$ROOT/c" | grep -q " full, 0 with fewer copies, 0 waiting"; }
extra_cleanup() { [ -z "${waiter:-}" ] || kill -9 "$waiter"; }

up --stores 2 --mounts 2 --replicas 2
echo saved > "$M1/f"
sync "$M1/f"
ln -s "$M1" "$ROOT/link"

say "the name server is stopped"
# One that stands in the mount already; not this shell, which would ask its directory about every command.
python3 - "$DFS" "$M1" "$ROOT/go" <<'P' & waiter=$!
import os, subprocess, sys, time
os.chdir(sys.argv[2])
open(sys.argv[3] + '.there', 'w').close()
while not os.path.exists(sys.argv[3]):
    time.sleep(0.1)
start = time.time()
code = subprocess.run([sys.argv[1], 'status', '.'], timeout=30).returncode
assert code == 6 and time.time() - start < 7, (code, time.time() - start)
P
until_true 30 test -e "$ROOT/go.there" || fail "the waiter does not start"
dev stop name1
within 7 6 "$DFS" status "$M1"
grep -q "no answer within 5 seconds" "$ROOT/err" || fail "status says: $(cat "$ROOT/err")"
within 7 6 "$DFS" status "$M1/f/../not-there"
within 7 6 "$DFS" status --root "$ROOT/c"
within 7 6 "$DFS" status "$ROOT/link/"
touch "$ROOT/go"
wait $waiter || fail "inside the mount"
waiter=
within 7 3 "$DFS" health "$M1"
[ "$(cat "$ROOT/out")" = unknown ]
within 7 3 "$DFS" health --root "$ROOT/c"
within 10 7 "$DFS" where "$M1/none"
within 2 0 "$DFS" dev status --root "$ROOT/c"
"$DFS" sync "$M2" 2> "$ROOT/sync" & syncer=$!
within 20 6 "$DFS" put /etc/passwd --root "$ROOT/c" /p
grep -q "no answer within" "$ROOT/err" || fail "put says: $(cat "$ROOT/err")"
within 20 6 "$DFS" get --root "$ROOT/c" /f -
got=0; wait $syncer || got=$?
[ $got = 7 ] && grep -q "which servers are away" "$ROOT/sync" || fail "sync: $got $(cat "$ROOT/sync")"
within 7 32 "$DFS_MOUNT" "$M1" --nameserver 127.0.0.1:1
grep -q "mounted there already" "$ROOT/err"

say "signals end a command that waits"
for signal in INT TERM; do
  start=$SECONDS
  # A shell starts what runs in its background deaf to SIGINT.
  python3 - "$DFS" "$M1" $signal <<'P' || fail "deaf to SIG$signal"
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
p = subprocess.Popen([sys.argv[1], 'fsck', sys.argv[2]], stderr=subprocess.DEVNULL)
time.sleep(1)
number = getattr(signal, 'SIG' + sys.argv[3])
p.send_signal(number)
assert p.wait(5) == -number, p.returncode
P
done

say "unmounting: at once if all is saved"
within 10 0 "$DFS" umount "$M1"
mounted "$M1" && fail "still mounted"
dev cont name1
until_true 30 whole || fail "not whole"

say "unmounting: what is not saved yet is saved when the server is back"
echo unsaved > "$M2/g"
dev stop name1
"$DFS" umount "$M2" 2> "$ROOT/err" & waiter=$!
until_true 10 eval '! mounted "$M2"' || fail "not unmounted"
until_true 10 grep -q "still saves" "$ROOT/err" || fail "umount does not say what it waits for"
dev cont name1
wait $waiter || fail "umount: $(cat "$ROOT/err")"
waiter=
until_true 30 whole || fail "not whole"
up
[ "$(cat "$M1/g")" = unsaved ] || fail "what was written before umount is lost"

say "all servers dead"
for id in store1 store2 name1; do dev kill $id; done
within 7 6 "$DFS" status "$M2"
within 7 3 "$DFS" health "$M2"
start=$SECONDS
"$DFS" umount "$M2" 2> "$ROOT/err" & waiter=$!
until_true 5 eval '! mounted "$M2"' || fail "not unmounted without servers"
kill -INT $waiter 2> /dev/null || true
kill -TERM $waiter 2> /dev/null || true
wait $waiter || true
waiter=
dev down
up
[ "$(cat "$M1/f")" = saved ]
fsck_clean

say "a mount whose process is stopped, and one whose process is dead"
dev stop mount1
within 7 0 "$DFS" status "$M1"
within 10 7 "$DFS" where "$M1/f"
dev cont mount1
dev kill mount1
within 7 0 "$DFS" status "$M1"
within 5 0 "$DFS" umount "$M1"
mounted "$M1" && fail "a dead mount stays"
true
