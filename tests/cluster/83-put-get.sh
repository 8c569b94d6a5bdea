#!/bin/bash
# dfs put and dfs get: files between this machine and a cluster without a mount, whole or not at all, again from where it stopped.
. "$(dirname "$0")/lib.sh"
code() { local c=0; "$@" > "$ROOT/out" 2> "$ROOT/err" || c=$?; echo $c; }
says() { grep -q -- "$1" "$ROOT/err" || fail "says: $(cat "$ROOT/err")"; }
clean() { # no part is left below that directory
  [ -z "$(find "$1" -name '*.dfs-part')" ] || fail "left: $(find "$1" -name '*.dfs-part')"
}
up --stores 2 --mounts 1 --replicas 2
ns=$(python3 -c "import json; print(json.load(open('$ROOT/c/cluster.json'))['nameservers'][0]['address'])")
cd "$ROOT"
head -c 20000003 /dev/urandom > big
printf 'small' > small
: > empty
truncate -s 20M sparse
printf 'x' | dd of=sparse bs=1 seek=9000000 conv=notrunc status=none
chmod 640 small
touch -d '2020-02-02 02:02:02.123456789' small
mkdir "$M1/d"

say "there and back, by each way to name a place"
"$DFS" put big "$ns:/d/big"
cmp big "$M1/d/big"
"$DFS" put small --root "$ROOT/c" /d/
cmp small "$M1/d/small"
"$DFS" put empty "$M1/d"
[ -f "$M1/d/empty" ] && [ ! -s "$M1/d/empty" ]
"$DFS" put sparse --nameserver "$ns" /d/sparse
cmp sparse "$M1/d/sparse"
[ "$(stat -c %b "$M1/d/sparse")" -lt 20000 ] || fail "holes are filled"
for f in big small empty sparse; do
  "$DFS" get "$ns:/d/$f" "got-$f"
  cmp $f "got-$f"
done
[ "$(stat -c %b got-sparse)" -lt 20000 ] || fail "holes are filled on the way back"
"$DFS" put - "$M1/d/stream" < <(cat big; sleep 0.3; cat small)
"$DFS" get "$M1/d/stream" - | cmp - <(cat big small)
echo other > small2
"$DFS" put small2 "$ns:/d/small"
cmp small2 "$M1/d/small"
"$DFS" put -p small "$ns:/d/small"
[ "$(stat -c '%a %y' "$M1/d/small")" = "$(stat -c '%a %y' small)" ] || fail "-p: $(stat -c '%a %y' "$M1/d/small")"
"$DFS" get -p "$ns:/d/small" kept
[ "$(stat -c '%a %y' kept)" = "$(stat -c '%a %y' small)" ] || fail "get -p: $(stat -c '%a %y' kept)"
[ ! -s "$ROOT/err" ] || fail "not silent: $(cat "$ROOT/err")"
clean "$M1"

say "what is wrong is said"
[ "$(code "$DFS" put none "$ns:/d/")" = 4 ]
[ "$(code "$DFS" put small "$ns:/none/x")" = 4 ]
[ "$(code "$DFS" put small "$ns:/none/")" = 4 ]
[ "$(code "$DFS" get "$ns:/d/none" x)" = 4 ]
[ "$(code "$DFS" put "$ROOT/c" "$ns:/d/x")" = 2 ]
says "is a directory; -r"
[ "$(code "$DFS" get "$ns:/d" x)" = 2 ]
[ "$(code "$DFS" put - "$ns:/d" < small)" = 1 ]
[ "$(code "$DFS" put --resume - "$ns:/d/x" < small)" = 2 ]
[ "$(code "$DFS" put small 127.0.0.1:1:/x)" = 6 ] || fail "$(cat "$ROOT/err")"
[ "$(code "$DFS" get "$ns:/d/small" /proc/x)" -ge 1 ]
chmod 700 "$M1/d"
chmod 755 "$ROOT"
cp "$DFS" "$ROOT/dfs"
[ "$(code setpriv --reuid 65534 --regid 65534 --clear-groups "$ROOT/dfs" put "$ROOT/small2" "$ns:/d/mine")" = 5 ] || fail "another's directory: $(cat "$ROOT/err")"
[ "$(code setpriv --reuid 65534 --regid 65534 --clear-groups "$ROOT/dfs" get "$ns:/d/big" /dev/null)" = 5 ]
chmod 755 "$M1/d"

say "a tree"
mkdir -p tree/a/b tree/empty-dir
for i in $(seq 40); do echo "file $i" > "tree/a/f$i"; done
head -c 3000000 /dev/urandom > tree/a/b/blob
ln -s ../b/blob tree/a/l
chmod 750 tree/a/b
touch -d '2019-01-01' tree/a/b
"$DFS" put -rp tree "$ns:/copy"
diff -r --no-dereference tree "$M1/copy"
[ "$(stat -c '%a %y' "$M1/copy/a/b")" = "$(stat -c '%a %y' tree/a/b)" ] || fail "a directory's mode and time"
"$DFS" put -rp --resume tree "$ns:/copy"
diff -r --no-dereference tree "$M1/copy"
"$DFS" get -rp "$ns:/copy" back
diff -r --no-dereference tree back
[ "$(stat -c '%a %y' back/a/b)" = "$(stat -c '%a %y' tree/a/b)" ]
mkfifo tree/pipe
[ "$(code "$DFS" put -r tree "$ns:/copy2")" = 3 ] || fail "a fifo: $(cat "$ROOT/err")"
says "pipe"
cmp tree/a/b/blob "$M1/copy2/a/b/blob"
clean "$M1"
clean back

say "interrupted: nothing half under the name, and nothing left"
mkfifo feed
"$DFS" put - "$ns:/d/half" < feed 2> "$ROOT/err" & p=$!
exec 7> feed
head -c 8000000 /dev/zero >&7
until_true 10 eval 'ls -A "$M1/d" | grep -q dfs-part' || fail "no part"
kill -TERM $p
got=0; wait $p || got=$?
[ $got = 143 ] || fail "ended with $got: $(cat "$ROOT/err")"
exec 7>&-
[ ! -e "$M1/d/half" ] || fail "half a file"
clean "$M1"

say "interrupted and resumed"
head -c 150000000 /dev/urandom > huge
"$DFS" put --resume huge "$ns:/d/huge" & p=$!
until_true 20 eval '[ -n "$(find "$M1/d" -name "*.dfs-part" -size +40M)" ]' || true
kill -9 $p 2> /dev/null || fail "it was over too soon to be interrupted"
wait $p 2> /dev/null || true
[ ! -e "$M1/d/huge" ] || fail "half a file"
"$DFS" put --resume huge "$ns:/d/huge"
cmp huge "$M1/d/huge"
clean "$M1"
"$DFS" get --resume "$ns:/d/huge" huge2 & p=$!
until_true 20 eval '[ -n "$(find . -maxdepth 1 -name ".huge2*.dfs-part" -size +30M)" ]' || true
kill -9 $p 2> /dev/null || fail "it was over too soon to be interrupted"
wait $p 2> /dev/null || true
[ ! -e huge2 ] || fail "half a file"
part=$(ls -A | grep '^.huge2')
before=$(stat -c %i "$part")
"$DFS" get --resume "$ns:/d/huge" huge2
cmp huge huge2
[ "$(stat -c %i huge2)" = "$before" ] || fail "begun anew"
before=$(stat -c %i huge2)
"$DFS" get --resume "$ns:/d/huge" huge2
[ "$(stat -c %i huge2)" = "$before" ] || fail "copied again what was there"
before=$(stat -c %i "$M1/d/huge")
"$DFS" put --resume huge "$ns:/d/huge"
[ "$(stat -c %i "$M1/d/huge")" = "$before" ] || fail "copied again what was there"
clean .

say "a store dies meanwhile"
"$DFS" put huge "$ns:/d/again" & p=$!
sleep 0.3
dev kill store2
wait $p || fail "put failed"
dev start store2
cmp huge "$M1/d/again"

say "sync"
echo unsaved > "$M1/unsaved"
"$DFS" sync "$M1/d"
[ "$(code "$DFS" sync /etc)" = 4 ]
[ "$(code "$DFS" where --root "$ROOT/c" /unsaved)" = 0 ]
whole() { "$DFS" status --root "$ROOT/c" | grep -q " full, 0 with fewer copies, 0 waiting"; }
until_true 60 whole || fail "not whole"
fsck_clean
