#!/bin/bash
# kill -9 of all processes at once and a restart keep every fsynced byte, of files rewritten in place too.
. "$(dirname "$0")/lib.sh"
up --stores 3 --mounts 2 --replicas 2
for round in 1 2 3; do
  python3 "$here/load.py" "$M1/a$round" "$ROOT/j1.$round" 60 $round 2> /dev/null & first=$!
  python3 "$here/load.py" "$M2/b$round" "$ROOT/j2.$round" 60 $((round + 10)) 2> /dev/null & second=$!
  sleep 5
  pids=$(python3 -c "
import json
c = json.load(open('$ROOT/c/cluster.json'))
print(*[m['pid'] for l in ('nameservers', 'stores', 'mounts') for m in c[l]])")
  kill -9 $pids
  say "round $round: killed everything"
  wait $first && fail "the load went on without a mount"
  wait $second && fail "the load went on without a mount"
  up
  python3 "$here/load.py" verify "$M2/a$round" "$ROOT/j1.$round"
  python3 "$here/load.py" verify "$M1/b$round" "$ROOT/j2.$round"
  until_true 60 healthy || fail "not healthy a minute after the restart"
  fsck_clean
done
