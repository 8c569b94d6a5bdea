#!/bin/bash
# Programs see a pause, no error, when the name server is killed while they write; also when one store dies with it.
. "$(dirname "$0")/lib.sh"
up --stores 3 --mounts 2 --replicas 2
python3 "$here/load.py" "$M1/a" "$ROOT/j1" 25 1 & first=$!
python3 "$here/load.py" "$M2/b" "$ROOT/j2" 25 2 & second=$!
for i in 1 2 3; do
  sleep 3
  dev kill name1
  sleep 1
  dev start name1
done
sleep 3
dev kill name1
dev kill store1
sleep 1
dev start name1
sleep 2
dev start store1
wait $first || fail "a program on mount1 saw an error"
wait $second || fail "a program on mount2 saw an error"
until_true 60 healthy || fail "not healthy a minute later"
python3 "$here/load.py" verify "$M2/a" "$ROOT/j1"
python3 "$here/load.py" verify "$M1/b" "$ROOT/j2"
fsck_clean
