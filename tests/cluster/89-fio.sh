#!/bin/bash
# fio writes with each of its engines and finds what it has written, by its checksums: the same process, and another mount after it.
. "$(dirname "$0")/lib.sh"
command -v fio > /dev/null || { echo "fio is not installed: skipped"; exit 0; }
up --stores 2 --mounts 2 --replicas 2
cd "$ROOT"  # where fio leaves its notes

verified() { # NAME OPTIONS...
  local name=$1
  shift
  rm -f "$M1/file"
  fio --name="$name" --filename="$M1/file" --verify=crc32c --verify_fatal=1 "$@" > "$ROOT/out" 2>&1 ||
    fail "$name: $(grep -E 'err|verify' "$ROOT/out" | head -5)"
}
from_both() { # NAME OPTIONS...: written on one mount, verified on the other
  local name=$1
  shift
  verified "$name" --do_verify=0 --end_fsync=1 --randseed=7 "$@"
  fio --name="$name" --filename="$M2/file" --verify=crc32c --verify_fatal=1 --verify_only --randseed=7 "$@" > "$ROOT/out" 2>&1 ||
    fail "$name from the other mount: $(grep -E 'err|verify' "$ROOT/out" | head -5)"
}

for engine in psync sync vsync pvsync pvsync2 libaio posixaio io_uring mmap splice; do
  depth=1
  case $engine in
    libaio | posixaio) depth=8 ;;
    io_uring) # it may be switched off
      depth=8
      fio --name=try --ioengine=io_uring --filename="$ROOT/try" --rw=write --size=4k > /dev/null 2>&1 || { say "no io_uring: skipped"; continue; }
      ;;
  esac
  say "$engine"
  for direct in 0 1; do
    case $engine$direct in mmap1 | splice1) continue ;; esac
    options=(--ioengine="$engine" --iodepth="$depth" --direct="$direct" --size=2m)
    verified "$engine.mixed" "${options[@]}" --rw=randrw --bsrange=4k-64k --blockalign=4k --verify_backlog=32
    from_both "$engine.sequential" "${options[@]}" --rw=write --bs=32k
    from_both "$engine.random" "${options[@]}" --rw=randwrite --bs=8k
  done
done
say "lengths and places of any size, flags, several processes"
verified unaligned --ioengine=psync --rw=randrw --size=4m --bsrange=512-40000 --bs_unaligned=1
verified osync --ioengine=psync --rw=randwrite --size=256k --bs=4k --sync=sync
verified odsync --ioengine=pvsync2 --rw=randwrite --size=256k --bs=4k --sync=dsync
verified fdatasync --ioengine=psync --rw=randwrite --size=512k --bs=4k --fdatasync=8
verified overwritten --ioengine=libaio --iodepth=16 --direct=1 --overwrite=1 --rw=randwrite --size=2m --bs=4k
verified processes --ioengine=psync --numjobs=4 --offset_increment=1m --size=1m --rw=randwrite --bs=4k
rm "$M1/file"
fsck_clean
