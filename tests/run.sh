#!/bin/bash
# Builds DFS and runs every test: sudo ./tests/run.sh
#
#   tests/run.sh              all: checks of the sources, unit tests under ASan+UBSan, the simulator, real clusters
#   tests/run.sh quick        what a developer runs before each commit: sources and unit tests
#   tests/run.sh cluster [N]  real processes and mounts only (those whose name contains N)
#
# SEEDS=N: how many seeds the simulator runs (300). Ends with "N passed, N failed"; non-zero if any failed.
set -uo pipefail
export LC_ALL=C.UTF-8

what=${1:-all}
filter=${2:-}
source=$(cd "$(dirname "$0")/.." && pwd)
cd "$source" || exit 1
passed=0 failed=0 broken=()

check() { # NAME COMMAND...
  local name=$1 start=$SECONDS
  shift
  printf '\n=== %s\n' "$name"
  if "$@"; then
    passed=$((passed + 1))
    printf -- '--- passed: %s (%s s)\n' "$name" $((SECONDS - start))
  else
    failed=$((failed + 1))
    broken+=("$name")
    printf -- '--- FAILED: %s (%s s)\n' "$name" $((SECONDS - start))
  fi
}

build() { # PRESET TARGET...
  local preset=$1 log=build/$1.log
  shift
  mkdir -p build
  cmake --preset "$preset" > "$log" 2>&1 || { tail -20 "$log"; return 1; }
  cmake --build --preset "$preset" ${1:+--target "$@"} > "$log" 2>&1 || {
    grep -E 'error|FAILED' -A3 "$log" | head -60
    return 1
  }
}

side_by_side() { # stdin: NAME TAB COMMAND, one a line. As many at a time as there are cores; what each says comes when it ends
  local results name command code
  results=$(mktemp -d)
  while IFS=$'\t' read -r name command; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
    (
      start=$SECONDS code=0
      eval "$command" > "$results/$name.log" 2>&1 < /dev/null || code=$?
      echo "$code" > "$results/$name.code"
      exec 9> "$results/lock"
      flock 9
      printf '\n=== %s\n' "$name"
      cat "$results/$name.log"
      word=passed
      [ "$code" -eq 0 ] || word=FAILED
      printf -- '--- %s: %s (%s s)\n' "$word" "$name" $((SECONDS - start))
    ) &
  done
  wait
  for code in "$results"/*.code; do
    if [ ! -e "$code" ]; then
      failed=$((failed + 1))
      broken+=("nothing was there to run")
    elif [ "$(cat "$code")" = 0 ]; then
      passed=$((passed + 1))
    else
      failed=$((failed + 1))
      broken+=("$(basename "$code" .code)")
    fi
  done
  rm -rf "$results"
}

unit_tests() { # PRESET: every test program of that build but the simulator's long run
  find "build/$1" -name '*_test' -type f -perm -u+x ! -name dfs_sim_test | sort | while read -r program; do
    printf '%s %s\ttimeout 600 %s --gtest_brief=1\n' "$1" "$(basename "$program")" "$program"
  done > "build/$1.tests"
  side_by_side < "build/$1.tests"
}

simulator() { # PRESET SEEDS: from 1, in pieces; the histories by name come with each
  local pieces each first
  pieces=$(nproc)
  each=$((($2 + pieces - 1) / pieces))
  for ((first = 1; first <= $2; first += each)); do
    printf '%s simulator, %s seeds from %s\tDFS_SIM_FIRST=%s DFS_SIM_SEEDS=%s timeout 2400 %s --gtest_brief=1\n' \
      "$1" "$each" "$first" "$first" "$each" "build/$1/tests/dfs_sim_test"
  done > "build/$1.tests"
  side_by_side < "build/$1.tests"
}

# What the clusters of the tests are made of, and what is run on them.
cluster_parts=(dfs-nameserver dfs-storaged dfs-mount dfs man dfs_posix_tests dfs_posix_differential)

cluster_tests() {
  local script
  export DFS_BUILD=$source/build/release
  for script in tests/cluster/[0-9]*.sh; do
    case $script in *"$filter"*) ;; *) continue ;; esac
    printf '%s\ttimeout -k 30 900 %s\n' "$(basename "$script" .sh)" "$script"
  done > build/cluster.tests
  side_by_side < build/cluster.tests
}

if [ "$(id -u)" -eq 0 ]; then
  check "packages" packaging/install-deps.sh --tests
fi
check "sources" python3 tests/check-sources.py

case $what in
  quick)
    check "build debug" build debug
    unit_tests debug
    simulator debug "${SEEDS:-30}"
    ;;
  cluster)
    check "build release" build release "${cluster_parts[@]}"
    cluster_tests
    ;;
  all)
    check "build asan" build asan
    unit_tests asan
    simulator asan 8
    check "build release" build release dfs_sim_test "${cluster_parts[@]}"
    check "man pages" python3 tests/check-man.py build/release
    simulator release "${SEEDS:-300}"
    cluster_tests
    ;;
  *)
    sed -n '2,9p' "$0" >&2
    exit 2
    ;;
esac

echo
for name in "${broken[@]}"; do echo "failed: $name"; done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
