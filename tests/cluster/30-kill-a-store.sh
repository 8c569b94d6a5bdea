#!/bin/bash
# kill -9 of a store under load is noticed, told by `dfs status`, survived without an error in any program, and after its restart
# every block has two equal copies again.
. "$(dirname "$0")/lib.sh"
up --stores 3 --mounts 2 --replicas 2
python3 "$here/load.py" "$M1/a" "$ROOT/j1" 30 1 & first=$!
python3 "$here/load.py" "$M2/b" "$ROOT/j2" 30 2 & second=$!
sleep 4
dev kill store2
say "killed store2"
told() { "$DFS" status --root "$ROOT/c" | grep -q STORE_DOWN; }
until_true 15 told || fail "dfs status does not tell of the store"
"$DFS" status --root "$ROOT/c" | grep -A3 STORE_DOWN
sleep 8
dev start store2
say "started store2"
wait $first || fail "a program on mount1 saw an error"
wait $second || fail "a program on mount2 saw an error"
until_true 60 healthy || fail "not healthy a minute after the store is back"
fsck_clean
python3 "$here/load.py" verify "$M2/a" "$ROOT/j1"
python3 "$here/load.py" verify "$M1/b" "$ROOT/j2"
say "the other way round: each copy alone has all of it"
for s in store1 store3; do
  dev kill $s
  python3 "$here/load.py" verify "$M2/a" "$ROOT/j1"
  dev start $s
  until_true 60 healthy || fail "not healthy after $s is back"
done
fsck_clean
