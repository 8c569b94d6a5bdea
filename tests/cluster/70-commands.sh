#!/bin/bash
# The commands say what they do, find the cluster in all four ways, and end with the codes that dfs(1) names.
. "$(dirname "$0")/lib.sh"
code() { local c=0; "$@" > "$ROOT/out" 2> "$ROOT/err" || c=$?; echo $c; }

for verb in status health where fsck put get sync umount dev version; do
  "$DFS" $verb --help | grep -q . || fail "no help for $verb"
done
for program in "$DFS_MOUNT" "$DFS_BUILD/nameserver/dfs-nameserver" "$DFS_BUILD/storaged/dfs-storaged"; do
  "$program" --help | grep -q . || fail "no help: $program"
  [ "$(code "$program" --no-such-flag)" = 2 ] || fail "an unknown flag of $program is not a usage error"
done
[ "$(code "$DFS")" = 2 ]
[ "$(code "$DFS" nonsense)" = 2 ]
grep -q 'no verb "nonsense"; there are .*umount' "$ROOT/err" || fail "$(cat "$ROOT/err")"
[ "$(code "$DFS" statsu)" = 2 ]
grep -q 'did you mean "status"' "$ROOT/err" || fail "$(cat "$ROOT/err")"
[ "$(code "$DFS" dev downn)" = 2 ]
grep -q 'did you mean "down"' "$ROOT/err" || fail "$(cat "$ROOT/err")"
for address in 127.0.0.1:99999 127.0.0.1:abc 127.0.0.1: 127.0.0.1:0 "" localhost; do
  [ "$(code "$DFS" status --nameserver "$address")" = 2 ] || fail "address '$address': $(cat "$ROOT/err")"
done
[ "$(code "$DFS_MOUNT" "$ROOT" --nameserver 127.0.0.1:99999)" = 2 ] || fail "dfs-mount takes a bad port"
[ "$(cd /; code env -u DFS_NAMESERVER "$DFS" status)" = 2 ] || [ -e /etc/dfs/client.toml ] || fail "no cluster is named: $(cat "$ROOT/err")"
[ "$(code "$DFS" status /nonexist)" = 4 ] || fail "status of nothing: $(cat "$ROOT/err")"
[ "$(code "$DFS" status "$ROOT")" = 4 ]
grep -q "no DFS is mounted at" "$ROOT/err" || fail "$(cat "$ROOT/err")"
for verb in status down "kill store1"; do
  [ "$(code "$DFS" dev ${verb%% *} --root "$ROOT/none" $([ "$verb" = "${verb% *}" ] || echo "${verb#* }"))" = 4 ] || fail "dev $verb: $(cat "$ROOT/err")"
done
[ "$(code "$DFS" status --nameserver 127.0.0.1:1)" = 6 ] || fail "an unreachable cluster: $(cat "$ROOT/err")"
[ "$(code "$DFS" health --nameserver 127.0.0.1:1)" = 3 ]
[ "$(code "$DFS" umount "$ROOT")" = 4 ]
mkdir "$ROOT/other"
mount -t tmpfs other "$ROOT/other"
[ "$(code "$DFS" umount "$ROOT/other")" = 4 ] || fail "umount of a tmpfs: $(cat "$ROOT/err")"
grep -q "no DFS is mounted at $ROOT/other" "$ROOT/err"
mountpoint -q "$ROOT/other" || fail "unmounted what is none of ours"
umount "$ROOT/other"
[ "$(code "$DFS" dev up --root "$ROOT/x" --nameservers 3)" = 2 ]
grep -q "one name server" "$ROOT/err"
[ "$(code "$DFS" dev up --root "$ROOT/x" --replicas 0)" = 2 ]
grep -q -e "--replicas is from 1 to" "$ROOT/err" || fail "$(cat "$ROOT/err")"
[ "$(code "$DFS" dev up --root /proc/x)" = 4 ] || fail "/proc/x: $(cat "$ROOT/err")"
grep -q "exception" "$ROOT/err" && fail "$(cat "$ROOT/err")"
[ ! -e "$ROOT/x" ] || fail "something was made"

up --stores 3 --mounts 1 --replicas 2
python3 -c "
import json
c = json.load(open('$ROOT/c/cluster.json'))
assert [m['id'] for m in c['stores']] == ['store1', 'store2', 'store3']
for m in c['nameservers'] + c['stores']:
    assert m['pid'] > 0 and m['address'] and m['http'] and m['data'], m
assert c['mounts'][0]['path'] == '$M1'
"
ns=$(python3 -c "import json; print(json.load(open('$ROOT/c/cluster.json'))['nameservers'][0]['address'])")
http=$(python3 -c "import json; print(json.load(open('$ROOT/c/cluster.json'))['nameservers'][0]['http'])")
[ "$(code "$DFS" status --root "$ROOT/c")" = 0 ]
[ "$(code "$DFS" status --nameserver "$ns")" = 0 ]
[ "$(code "$DFS" status "$M1")" = 0 ]
"$DFS" status --json "$M1" | python3 -c "
import json, sys
s = json.load(sys.stdin)
assert s['schema'] == 1 and s['health']['state'] == 'ok' and len(s['stores']) == 3, s"
[ "$("$DFS" health "$M1")" = ok ]
for page in status healthz readyz metrics; do
  curl -sf "http://$http/$page" | grep -q . || fail "no answer from /$page"
done
shttp=$(python3 -c "import json; print(json.load(open('$ROOT/c/cluster.json'))['stores'][0]['http'])")
for page in status healthz readyz metrics; do
  curl -sf "http://$shttp/$page" | grep -q . || fail "no answer from /$page of a store"
done
head -c 10M /dev/zero > "$M1/f"
sync "$M1/f"
"$DFS" where "$M1/f" | grep -q 'store' || fail "where: $("$DFS" where "$M1/f")"
[ "$("$DFS" where "$M1/f" | grep -c 'serving')" -eq 3 ] || fail "10 MiB are three blocks"
[ "$(code "$DFS" where "$M1/none")" = 4 ] || fail "where of nothing: $(cat "$ROOT/err")"
[ "$(code "$DFS" where "$M1/none" --root "$ROOT/c")" = 4 ]
[ "$(code "$DFS" where /etc/passwd)" = 4 ]
# Another user: from a directory that he can enter. (mktemp makes $ROOT for us alone.)
chmod 755 "$ROOT"
cp "$DFS" "$ROOT/dfs"
[ "$(code setpriv --reuid 65534 --clear-groups "$ROOT/dfs" umount "$M1")" = 5 ] || fail "umount by another: $(cat "$ROOT/err")"
for verb in "kill store1" down; do
  [ "$(code setpriv --reuid 65534 --clear-groups "$ROOT/dfs" dev $verb --root "$ROOT/c")" = 5 ] || fail "dev $verb by another: $(cat "$ROOT/err")"
done
fsck_clean
"$DFS" dev status --root "$ROOT/c" | grep -q 'store2.*up'
dev stop store2
"$DFS" dev status --root "$ROOT/c" | grep -q 'store2.*stopped'
dev cont store2
[ "$(code "$DFS" dev kill --root "$ROOT/c" store9)" = 4 ]
grep -q 'no "store9"; it has name1, store1' "$ROOT/err" || fail "$(cat "$ROOT/err")"
df -B1 "$M1" | awk 'NR == 2 && $2 > 0 && $4 > 0 { ok = 1 } END { exit !ok }' || fail "df shows nothing"

say "what stands in fstab is taken; what is wrong is refused"
mkdir "$ROOT/m"
for bad in timeo=-1 timeo=0 timeo= timeo=5x; do
  [ "$(code "$DFS_MOUNT" "$ROOT/m" --nameserver "$ns" -o "soft,$bad")" = 2 ] || fail "-o $bad: $(cat "$ROOT/err")"
done
[ "$(code "$DFS_MOUNT" "$ROOT/m" --nameserver "$ns" --log-file "$ROOT/m.log" -o no_such_option)" = 2 ]
[ "$(code "$DFS_MOUNT" "$ROOT/nowhere" --nameserver "$ns")" = 32 ]
[ "$(code "$DFS_MOUNT" "$ROOT/m" --nameserver "$ns" --log-file "$ROOT/m.log" \
  -o defaults,_netdev,nofail,noatime,x-systemd.automount,rw,user=me,comment=x,relatime)" = 0 ] || fail "fstab: $(cat "$ROOT/err")"
[ "$(code "$DFS_MOUNT" "$ROOT/m" --nameserver "$ns")" = 32 ]
grep -q "mounted there already" "$ROOT/err"
[ "$(code "$DFS" umount "$ROOT/m")" = 0 ]
[ "$(code "$DFS_MOUNT" "$ROOT/m" --nameserver 127.0.0.1:1 --log-file "$ROOT/m.log")" = 32 ]
grep -q "within 30 seconds: 127.0.0.1:1 (.*refused" "$ROOT/err" || fail "unreachable: $(cat "$ROOT/err")"

say "a user without a home"
cp "$DFS_MOUNT" "$ROOT/dfs-mount"
install -d -o 65534 "$ROOT/n"
nobody() { setpriv --reuid 65534 --clear-groups env HOME=/nonexistent "$@"; }
extra_cleanup() { rm -rf /tmp/dfs-log-65534; }
got=$(code nobody "$ROOT/dfs-mount" "$ROOT/n" --nameserver "$ns")
if nobody test -w /dev/fuse; then
  [ "$got" = 0 ] || fail "without a home: $(cat "$ROOT/err")"
  [ "$(code nobody "$ROOT/dfs" umount "$ROOT/n")" = 0 ] || fail "umount by its owner: $(cat "$ROOT/err")"
  ls /tmp/dfs-log-65534/mount-*-n.log > /dev/null || fail "no log"
else
  grep -q "may not open /dev/fuse" "$ROOT/err" || fail "without a home: $(cat "$ROOT/err")"
fi
