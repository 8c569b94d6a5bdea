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

unit_tests() { # PRESET: every test program of that build but the simulator's long run
  local list=() program
  while read -r program; do list+=("$program"); done < <(find "build/$1" -name '*_test' -type f -perm -u+x | sort)
  for program in "${list[@]}"; do
    case $program in */dfs_sim_test) continue ;; esac
    check "$1 $(basename "$program")" timeout 600 "$program" --gtest_brief=1
  done
}

simulator() { # PRESET SEEDS
  check "$1 simulator, $2 seeds" env DFS_SIM_SEEDS="$2" timeout 2400 "build/$1/tests/dfs_sim_test" --gtest_brief=1
}

cluster_tests() {
  local script
  export DFS_BUILD=$source/build/release
  for script in tests/cluster/[0-9]*.sh; do
    case $script in *"$filter"*) ;; *) continue ;; esac
    check "$(basename "$script" .sh)" timeout -k 30 900 "$script"
  done
}

if [ "$(id -u)" -eq 0 ]; then
  check "packages" packaging/install-deps.sh
fi
check "sources" python3 tests/check-sources.py

case $what in
  quick)
    check "build debug" build debug
    unit_tests debug
    simulator debug "${SEEDS:-30}"
    ;;
  cluster)
    check "build release" build release dfs-nameserver dfs-storaged dfs-mount dfs dfs_posix_tests dfs_posix_differential
    cluster_tests
    ;;
  all)
    check "build asan" build asan
    unit_tests asan
    simulator asan 8
    check "build release" build release
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
