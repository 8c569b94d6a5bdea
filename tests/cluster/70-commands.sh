#!/bin/bash
# The commands say what they do, find the cluster in all four ways, and end with the codes that dfs(1) names.
. "$(dirname "$0")/lib.sh"
code() { local c=0; "$@" > "$ROOT/out" 2> "$ROOT/err" || c=$?; echo $c; }

for verb in status health where fsck umount dev version; do
  "$DFS" $verb --help | grep -q . || fail "no help for $verb"
done
for program in "$DFS_MOUNT" "$DFS_BUILD/nameserver/dfs-nameserver" "$DFS_BUILD/storaged/dfs-storaged"; do
  "$program" --help | grep -q . || fail "no help: $program"
  [ "$(code "$program" --no-such-flag)" = 2 ] || fail "an unknown flag of $program is not a usage error"
done
[ "$(code "$DFS")" = 2 ]
[ "$(code "$DFS" nonsense)" = 2 ]
[ "$(code "$DFS" status --nameserver 127.0.0.1:1)" = 6 ] || fail "an unreachable cluster: $(cat "$ROOT/err")"
[ "$(code "$DFS" health --nameserver 127.0.0.1:1)" = 3 ]
[ "$(code "$DFS" umount "$ROOT")" = 4 ]
[ "$(code "$DFS" dev up --root "$ROOT/x" --nameservers 3)" = 1 ]
grep -q "one name server" "$ROOT/err"

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
[ "$(code "$DFS" where "$M1/none")" != 0 ]
fsck_clean
"$DFS" dev status --root "$ROOT/c" | grep -q 'store2.*up'
dev stop store2
"$DFS" dev status --root "$ROOT/c" | grep -q 'store2.*stopped'
dev cont store2
[ "$(code "$DFS" dev kill --root "$ROOT/c" store9)" = 1 ]
df -B1 "$M1" | awk 'NR == 2 && $2 > 0 && $4 > 0 { ok = 1 } END { exit !ok }' || fail "df shows nothing"
