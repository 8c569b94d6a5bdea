#!/bin/bash
# Ordinary programs work on a mount as on a local disk: cp -a, diff, tar, rsync, git, sqlite, make; also after a remount.
. "$(dirname "$0")/lib.sh"
up --stores 3 --mounts 1 --replicas 2
cd "$M1"

say "cp -a and diff"
tree=/usr/include
[ -d $tree/linux ] && tree=/usr/include/linux
cp -a $tree tree
diff -r --no-dereference $tree tree

say "tar and rsync"
tar -cf t.tar tree
mkdir untarred
tar -C untarred -xf t.tar
diff -r --no-dereference tree untarred/tree
rsync -a tree/ synced/
rsync -a -c --itemize-changes tree/ synced/ > changes
[ ! -s changes ] || { head changes; fail "rsync sees differences in what it has just copied"; }

say "git"
git init -q -b main repo
cp -r tree repo/src
git -C repo add -A
git -C repo -c user.name=t -c user.email=t@localhost commit -q -m one
git clone -q repo clone
git -C clone fsck --strict
git -C clone gc -q
[ -z "$(git -C clone status --porcelain)" ] || fail "git status is not clean after a clone"

say "sqlite"
sqlite3 db "pragma journal_mode=delete; create table t(i integer primary key, x text);"
for i in 1 2 3 4 5; do
  sqlite3 db "begin; with recursive c(n) as (select 1 union all select n+1 from c where n < 400)
              insert into t(x) select hex(randomblob(40)) from c; commit;"
done
[ "$(sqlite3 db 'select count(*) from t; pragma integrity_check;')" = "2000
ok" ] || fail "the database is not whole"

say "make"
mkdir build
cat > build/Makefile <<'M'
prog: a.o b.o
	clang $^ -o $@
%.o: %.c
	clang -c $< -o $@
M
echo 'int f(void); int main(void) { return f(); }' > build/a.c
echo 'int f(void) { return 0; }' > build/b.c
make -s -C build
./build/prog
make -s -C build | grep -q . && fail "make does again what is done" || true

say "editing as editors do: write aside, sync, rename over"
python3 - <<'P'
import os
for i in range(50):
    with open('edited.new', 'w') as f:
        f.write(f'version {i}\n' * 1000)
        f.flush()
        os.fsync(f.fileno())
    os.rename('edited.new', 'edited')
    assert open('edited').read() == f'version {i}\n' * 1000
P

say "removed while open"
python3 - <<'P'
import os
f = open('gone', 'w+b')
f.write(b'x' * 100000)
os.unlink('gone')
assert not os.path.exists('gone')
f.seek(0)
assert f.read() == b'x' * 100000
f.write(b'more')
f.flush()
assert os.fstat(f.fileno()).st_size == 100004 and os.fstat(f.fileno()).st_nlink == 0
P

say "mapped files"
python3 - <<'P'
import mmap, os
with open('mapped', 'w+b') as f:
    f.truncate(1 << 20)
    m = mmap.mmap(f.fileno(), 1 << 20)
    m[5000:5005] = b'hello'
    m.flush()
    f.seek(5000)
    assert f.read(5) == b'hello'
    m.close()
assert os.path.getsize('mapped') == 1 << 20
P

say "remount"
cd /
dev down
up
diff -r --no-dereference $tree "$M1/tree"
git -C "$M1/clone" fsck --strict
rm -rf "${M1:?}"/*
[ -z "$(ls -A "$M1")" ] || fail "rm -rf has left something"
fsck_clean
