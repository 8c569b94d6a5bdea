#!/bin/bash
# sqlite in rollback mode, written to by processes on two mounts at once, that read it by calls or through a mapping, also while the
# name server is killed: nothing is lost, nothing is damaged.
. "$(dirname "$0")/lib.sh"
command -v sqlite3 > /dev/null || { echo "sqlite3 is not installed: skipped"; exit 0; }
up --stores 2 --mounts 2 --replicas 2
rows=${ROWS:-60}
sqlite3 "$M1/db" 'PRAGMA journal_mode=DELETE; CREATE TABLE t(who INTEGER, n INTEGER, text TEXT, PRIMARY KEY(who, n)); CREATE INDEX i ON t(text);' > /dev/null

insert() { # MOUNT WHO MAPPED-BYTES: each row is a transaction of its own, and it reads what is there
  {
    echo '.bail on'
    echo '.timeout 60000'
    echo "PRAGMA mmap_size=$3;"
    for n in $(seq "$rows"); do
      echo "BEGIN IMMEDIATE; INSERT INTO t VALUES($2, $n, (SELECT 'after ' || count(*) FROM t)); COMMIT;"
    done
  } | sqlite3 "$1/db"
}
insert "$M1" 1 100000000 > "$ROOT/1.out" 2>&1 & first=$!
insert "$M2" 2 100000000 > "$ROOT/2.out" 2>&1 & second=$!
insert "$M2" 3 0 > "$ROOT/3.out" 2>&1 & third=$!
sleep 2
dev kill name1
dev start name1
wait $first || { cat "$ROOT/1.out"; fail "the writer on mount1"; }
wait $second || { cat "$ROOT/2.out"; fail "the first writer on mount2"; }
wait $third || { cat "$ROOT/3.out"; fail "the second writer on mount2"; }
for m in "$M1" "$M2"; do
  [ "$(sqlite3 "$m/db" 'PRAGMA integrity_check')" = ok ] || fail "the database is damaged, seen through $m"
  [ "$(sqlite3 "$m/db" 'SELECT count(*), count(DISTINCT text) FROM t')" = "$((rows * 3))|$((rows * 3))" ] ||
    fail "rows are missing: $(sqlite3 "$m/db" 'SELECT who, count(*) FROM t GROUP BY who')"
done
[ ! -e "$M1/db-journal" ] || fail "a journal is left"
fsck_clean
