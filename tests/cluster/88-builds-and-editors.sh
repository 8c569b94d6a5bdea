#!/bin/bash
# Where programs are made: git with worktrees and two mounts in one repository, a C++ program built by make -j and by ninja that both
# mounts take for finished, and editors that write in place, aside, and with swap files.
. "$(dirname "$0")/lib.sh"
up --stores 2 --mounts 2 --replicas 2
export HOME=$ROOT/home
mkdir "$HOME"
have() { command -v "$1" > /dev/null || { say "$1 is not installed: skipped"; return 1; }; }
git config --global user.name t
git config --global user.email t@localhost
git config --global gc.auto 0

sources() { # into the current directory: a library of ten files and a program
  local i
  for i in $(seq 10); do
    echo "int f$i(int);" > "f$i.h"
    printf '#include "f%s.h"\n#include <string>\nint f%s(int x) { return static_cast<int>(std::to_string(x + %s).size()); }\n' "$i" "$i" "$i" > "f$i.cc"
  done
  for i in $(seq 10); do echo "#include \"f$i.h\""; done > main.cc
  echo 'int main() { int sum = 0;' >> main.cc
  for i in $(seq 10); do echo "sum += f$i($i);"; done >> main.cc
  echo 'return sum == 16 ? 0 : 1; }' >> main.cc
  cat > CMakeLists.txt << 'C'
cmake_minimum_required(VERSION 3.18)
project(built CXX)
file(GLOB sources CONFIGURE_DEPENDS f*.cc)
add_library(f STATIC ${sources})
add_executable(built main.cc)
target_link_libraries(built f)
C
}

say "git: worktrees, and two mounts in one repository one after the other"
git init -q -b main "$M1/repository"
cd "$M1/repository"
sources
git add -A
git commit -q -m sources
git worktree add -q -b aside "$M1/tree"
for i in 1 2 3; do
  for m in "$M1" "$M2"; do
    [ -z "$(git -C "$m/repository" status --porcelain)" ] || fail "not clean through $m: $(git -C "$m/repository" status --porcelain)"
    echo "$i $m" >> "$m/repository/changed"
    git -C "$m/repository" add -A
    git -C "$m/repository" commit -q -m "$i"
  done
  echo "$i" > "$M2/tree/other$i"
  git -C "$M2/tree" add -A 2> "$ROOT/err" || git -C "$M1/tree" add -A
  git -C "$M1/tree" commit -q -m "aside $i"
done
git -C "$M2/repository" merge -q -m merged aside
git -C "$M1/repository" worktree remove "$M1/tree"
[ "$(git -C "$M2/repository" rev-list --count HEAD)" = 11 ] || fail "commits are missing"

say "git: gc, fsck, clones of both mounts that push into one"
git -C "$M2/repository" gc -q --prune=now
git -C "$M1/repository" fsck --full --strict --no-dangling
git clone -q --bare "$M1/repository" "$M1/bare.git"
pushes() { # MOUNT NAME
  git clone -q "$1/bare.git" "$1/$2"
  cd "$1/$2"
  for i in 1 2 3; do
    echo "$i" > "$2.$i"
    git add -A
    git commit -q -m "$2 $i"
    until_true 60 pull_and_push || fail "no push from $2"
  done
}
pull_and_push() { git pull -q --rebase 2> /dev/null && git push -q 2> /dev/null; }
(pushes "$M1" first) & first=$!
(pushes "$M2" second) & second=$!
wait $first
wait $second
git -C "$M2/bare.git" fsck --full --no-dangling
[ "$(git -C "$M1/bare.git" rev-list --count main)" = 17 ] || fail "pushes are missing"

say "builds"
export CCACHE_DISABLE=1
built() { # GENERATOR DIRECTORY: built through mount1, and nothing to do for mount2
  cmake -S "$M1/repository" -B "$M1/$2" -G "$1" -DCMAKE_CXX_COMPILER=clang++ > "$ROOT/out" || fail "cmake: $(tail "$ROOT/out")"
  cmake --build "$M1/$2" -j 2 > "$ROOT/out" || fail "$1: $(tail "$ROOT/out")"
  "$M2/$2/built" || fail "the program does not work"
  cmake --build "$M1/$2" > "$ROOT/out"
  ! grep -q Building "$ROOT/out" || fail "$1 does again what is done: $(cat "$ROOT/out")"
}
built "Unix Makefiles" make
built Ninja ninja
echo '// changed' >> "$M2/repository/f3.cc"
for what in make ninja; do
  cmake --build "$M1/$what" > "$ROOT/out" || fail "$what: $(tail "$ROOT/out")"
  [ "$(grep -c 'Building.*f[0-9]*.cc.o' "$ROOT/out")" = 1 ] || fail "$what has not built what the other mount changed: $(cat "$ROOT/out")"
  "$M2/$what/built"
done

say "editors"
cd "$M1"
fresh() { # FILE: with an owner, a mode, an attribute and an access list
  seq 200 > "$1"
  chown 33:34 "$1"
  chmod 6750 "$1"
  setfattr -n user.kept -v yes "$1"
  setfacl -m u:daemon:rw "$1"
}
whole() { # FILE: edited, and still as fresh made it, seen from the other mount
  [ "$(sed -n 5p "$M2/$1")" = five ] || fail "$1 is not edited"
  [ "$(wc -l < "$M2/$1")" = 200 ] || fail "$1 has lost lines"
  [ "$(stat -c %u:%g "$M2/$1")" = 33:34 ] || fail "$1 belongs to $(stat -c %u:%g "$M2/$1")"
}
fresh sed
sed -i.before 's/^5$/five/' sed
whole sed
[ "$(sed -n 5p "$M2/sed.before")" = 5 ] || fail "sed has not kept the old file"
if have ed; then
  fresh ed
  printf '5s/5/five/\nw\nq\n' | ed -s ed
  whole ed
  [ "$(getfattr --absolute-names --only-values -n user.kept "$M2/ed")" = yes ] || fail "ed writes in place, and the attribute is gone"
fi
vim=$(command -v vim || command -v vim.tiny || true)
if [ -z "$vim" ]; then
  say "vim is not installed: skipped"
else
  for copy in yes no auto; do
    for backup in backup nobackup; do
      name=vim.$copy.$backup
      fresh "$name"
      ln "$name" "$name.link"
      before=$(stat -c %i "$name")
      "$vim" -u NONE -N -es -c "set backupskip= backupcopy=$copy $backup writebackup fsync swapfile" -c '5s/5/five/' -c wq "$name" < /dev/null
      whole "$name"
      case $copy in
        yes) [ "$before" = "$(stat -c %i "$M2/$name")" ] || fail "$name was not written in place" ;;
        no) [ "$before" != "$(stat -c %i "$M2/$name")" ] || fail "$name was written in place" ;;
        auto) [ "$(stat -c %h "$M2/$name")" = 2 ] || fail "$name is no longer linked" ;;
      esac
      case $backup in
        backup) [ "$(sed -n 5p "$M2/$name~")" = 5 ] || fail "$name~ is not the old file" ;;
        nobackup) [ ! -e "$M2/$name~" ] || fail "$name~ is left" ;;
      esac
    done
  done
  [ -z "$(find "$M2" -name '.*.sw?')" ] || fail "a swap file is left"
fi
cd /
rm -rf "${M1:?}"/* # from /, so that nothing holds it
fsck_clean
