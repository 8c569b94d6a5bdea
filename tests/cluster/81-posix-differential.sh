#!/bin/bash
# The same random operations on DFS and on a local disk give the same results and the same trees: on one mount, and alternating
# between two.
#
# SECONDS_EACH=N: how long each of them runs (30). SEED=N: the first seed (the time, so that each run tries new ones).
. "$(dirname "$0")/lib.sh"
seconds=${SECONDS_EACH:-30}
seed=${SEED:-$(date +%s)}
program=$DFS_BUILD/tests/dfs_posix_differential
case $(stat -f -c %T "$ROOT") in
  ext2/ext3 | xfs) ;;
  *) say "$ROOT is on no local disk to compare with"; exit 0 ;;
esac
up --stores 2 --mounts 2 --replicas 2
chmod 755 "$ROOT" "$ROOT/c"
mkdir -m 755 "$ROOT/reference" "$M1/one" "$M1/two"
say "one mount, from seed $seed"
timeout $((seconds + 120)) "$program" --seed "$seed" --seconds "$seconds" "$ROOT/reference" "$M1/one"
say "two mounts"
timeout $((seconds + 120)) "$program" --seed "$seed" --seconds "$seconds" "$ROOT/reference" "$M1/two" "$M2/two"
fsck_clean
