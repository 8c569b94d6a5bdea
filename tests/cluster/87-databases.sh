#!/bin/bash
# Databases that trust fsync: sqlite with a write-ahead log on one mount, and PostgreSQL, which is killed, loses a storage daemon and at
# last the mount itself. What it has acknowledged is there, and its own checks find nothing.
. "$(dirname "$0")/lib.sh"
up --stores 3 --mounts 2 --replicas 2
chmod 755 "$ROOT" "$ROOT/c"

say "sqlite with a write-ahead log, from several processes of one mount"
if command -v sqlite3 > /dev/null; then
  rows=60
  [ "$(sqlite3 "$M1/wal" 'PRAGMA journal_mode=WAL')" = wal ] || fail "there is no write-ahead log"
  sqlite3 "$M1/wal" 'CREATE TABLE t(who INTEGER, n INTEGER, text TEXT, PRIMARY KEY(who, n))'
  writers=()
  for who in 1 2 3; do
    {
      echo '.bail on'
      echo '.timeout 60000'
      for n in $(seq $rows); do
        echo "BEGIN IMMEDIATE; INSERT INTO t VALUES($who, $n, (SELECT 'after ' || count(*) FROM t)); COMMIT;"
      done
      echo 'PRAGMA wal_checkpoint(TRUNCATE);'
    } | sqlite3 "$M1/wal" > "$ROOT/wal.$who" 2>&1 &
    writers+=($!)
  done
  for pid in "${writers[@]}"; do wait "$pid" || fail "a writer: $(cat "$ROOT"/wal.?)"; done
  [ "$(sqlite3 "$M1/wal" 'PRAGMA integrity_check; SELECT count(*), count(DISTINCT text) FROM t')" = "ok
$((rows * 3))|$((rows * 3))" ] || fail "rows are missing"
  [ ! -e "$M1/wal-wal" ] || fail "the log is left after the last process"
  [ "$(sqlite3 "$M2/wal" 'PRAGMA journal_mode=DELETE; SELECT count(*) FROM t')" = "delete
$((rows * 3))" ] || fail "the other mount does not see the rows"
else
  say "sqlite3 is not installed: skipped"
fi

bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin 2> /dev/null | sort -V | tail -n 1)
if [ -z "$bin" ] || ! id postgres > /dev/null 2>&1; then
  say "PostgreSQL is not installed: skipped"
  fsck_clean
  exit 0
fi
own=$ROOT/postgres # its socket and our notes: on the local disk
install -d -o postgres -m 755 "$own"
data=$M1/data
postgres=(setpriv --reuid postgres --regid postgres --init-groups env PGHOST="$own" LC_ALL=C.UTF-8)
as() { (cd / && "${postgres[@]}" "$@"); }
ready() { as "$bin/pg_isready" -q; }
start() { # our child, so that nobody takes it for alive when it is dead
  (cd / && exec "${postgres[@]}" "$bin/postgres" -D "$data") >> "$own/log" 2>&1 & server=$!
  until_true 120 ready || fail "no start: $(tail "$own/log")"
}
stop() { kill -INT "$server"; wait "$server" || fail "no clean end: $(tail "$own/log")"; }
ask() { as "$bin/psql" -AtqX -c "$1" postgres; }
# Its processes: the first one has our directory in its arguments, the others its cluster_name in their titles.
ours="^($bin/postgres -D $ROOT|postgres: dfs-test-$$:)"
none_of_it() { ! pkill -9 -u postgres -f "$ours"; }
kill_all_of_it() {
  until_true 30 none_of_it || fail "processes that cannot be killed: $(pgrep -u postgres -f -a "$ours")"
  wait "$server" || true
}
extra_cleanup() { pkill -9 -u postgres -f "$ours"; true; }

# Each transaction of pgbench changes the three balances and writes one line of history.
check() {
  local sums
  sums=$(ask 'SELECT (SELECT sum(abalance) FROM pgbench_accounts) - (SELECT coalesce(sum(delta), 0) FROM pgbench_history),
    (SELECT sum(bbalance) FROM pgbench_branches) - (SELECT coalesce(sum(delta), 0) FROM pgbench_history),
    (SELECT sum(tbalance) FROM pgbench_tellers) - (SELECT coalesce(sum(delta), 0) FROM pgbench_history)')
  [ "$sums" = "0|0|0" ] || fail "the sums do not fit: $sums"
  as "$bin/pg_amcheck" -d postgres --install-missing --heapallindexed > "$own/amcheck" 2>&1 || fail "pg_amcheck: $(head "$own/amcheck")"
}
# Commits numbers, one by one, and notes each that was acknowledged, until it is stopped or the server goes away.
counter() {
  local n
  for n in $(seq 100000); do echo "INSERT INTO numbers VALUES($n);"; echo "\\echo $n"; done |
    as "$bin/psql" -AtqX -v ON_ERROR_STOP=1 postgres > "$own/acknowledged" 2> /dev/null || true
}
nothing_lost() {
  local last
  last=$(tail -n 1 "$own/acknowledged")
  [ "${last:-0}" -gt 0 ] || fail "nothing was committed"
  [ "$(ask "SELECT count(*) FROM numbers WHERE n <= $last")" = "$last" ] || fail "of $last commits some are lost"
  ask 'TRUNCATE numbers'
  rm -f "$own/acknowledged"
}
some_commits() { [ "$(wc -l 2> /dev/null < "$own/acknowledged" || echo 0)" -ge 30 ]; }

say "PostgreSQL: initdb and pgbench"
install -d -o postgres -g postgres -m 700 "$data"
as "$bin/initdb" -D "$data" --data-checksums --auth=trust > "$own/initdb" 2>&1 || fail "initdb: $(tail "$own/initdb")"
cat >> "$data/postgresql.conf" << C
listen_addresses = ''
unix_socket_directories = '$own'
cluster_name = 'dfs-test-$$'
shared_buffers = 4MB
max_wal_size = 64MB
checkpoint_timeout = 30s
C
start
as "$bin/pgbench" -q -i -s 1 postgres > "$own/init" 2>&1 || fail "pgbench -i: $(tail "$own/init")"
ask 'CREATE TABLE numbers(n INTEGER PRIMARY KEY)'
as "$bin/pgbench" -n -c 4 -j 2 -t 50 postgres > "$own/run" 2>&1 || fail "pgbench: $(tail "$own/run")"
grep -q '^number of transactions actually processed: 200/200' "$own/run" || fail "pgbench: $(cat "$own/run")"
check

say "PostgreSQL: killed while it works, and while a storage daemon is away"
counter & counting=$!
as "$bin/pgbench" -n -c 3 -j 1 -T 300 postgres > "$own/run" 2>&1 & working=$!
dev kill store1
until_true 60 some_commits || fail "no commits without a storage daemon"
kill_all_of_it
wait $counting
wait $working && fail "pgbench has not noticed"
dev start store1
start
grep -q 'automatic recovery in progress' "$own/log" || fail "there was nothing to recover"
nothing_lost
check

say "PostgreSQL: its mount is killed; it goes on at the other one"
counter & counting=$!
until_true 60 some_commits || fail "no commits"
dev kill mount1
wait $counting
kill_all_of_it
data=$M2/data
rm -f "$data/postmaster.pid"
start
nothing_lost
check
as "$bin/pg_dumpall" | grep -v restrict > "$own/before"
stop
as "$bin/pg_checksums" -D "$data" --check > "$own/checksums" || fail "pg_checksums: $(tail "$own/checksums")"
dev start mount1
data=$M1/data
start
as "$bin/pg_dumpall" | grep -v restrict > "$own/after"
cmp "$own/before" "$own/after"
stop
rm -rf "${M1:?}"/*
fsck_clean
