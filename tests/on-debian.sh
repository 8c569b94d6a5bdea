#!/bin/bash
# Proves the README's two commands in a chroot of a Debian release, from a clean clone:
#
#   sudo tests/on-debian.sh trixie [quickstart|tests|all]
#
# By hand and before a release. The chroot is kept in $DFS_CHROOTS (/var/tmp/dfs-chroots) between runs; /dev is bound and /proc
# mounted, so FUSE and LeakSanitizer work. Network and mirror are the host's.
set -euo pipefail
suite=${1:?usage: sudo tests/on-debian.sh SUITE [quickstart|tests|all]}
part=${2:-all}
source=$(cd "$(dirname "$0")/.." && pwd)
root=${DFS_CHROOTS:-/var/tmp/dfs-chroots}/$suite

[ "$(id -u)" -eq 0 ] || { echo "$0: run it as root" >&2; exit 2; }
command -v debootstrap > /dev/null || apt-get install -y -q --no-install-recommends debootstrap

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)
if [ ! -e "$root/.ready" ]; then
  rm -rf "$root"
  mkdir -p "$root"
  debootstrap --variant=minbase "$suite" "$root" "$mirror"
  touch "$root/.ready"
fi
cp /etc/resolv.conf "$root/etc/resolv.conf"
for f in /etc/apt/apt.conf.d/*proxy*; do [ -e "$f" ] && cp "$f" "$root/etc/apt/apt.conf.d/"; done

left() { # processes whose root is the chroot
  local p
  for p in /proc/[0-9]*; do [ "$(readlink "$p/root" 2> /dev/null)" = "$root" ] && echo "${p#/proc/}"; done
  true
}
cleanup() {
  # Daemons that are on their way out need their /proc.
  for _ in $(seq 60); do [ -z "$(left)" ] && break; sleep 0.5; done
  for p in $(left); do echo "still there: $(tr '\0' ' ' < "/proc/$p/cmdline")"; kill "$p"; done
  for m in mnt/dfs sys dev/pts dev proc; do
    if mountpoint -q "$root/$m"; then umount -R -l "$root/$m" || true; fi
  done
}
trap cleanup EXIT
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
mountpoint -q "$root/dev" || { mount --rbind /dev "$root/dev"; mount --make-rslave "$root/dev"; }
mountpoint -q "$root/sys" || { mount --rbind /sys "$root/sys"; mount --make-rslave "$root/sys"; }

rm -rf "$root/src/dfs"
mkdir -p "$root/src"
git clone -q "$source" "$root/src/dfs"
inside() { chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb "$@"; }

if [ "$part" != tests ]; then
  inside bash -c 'cd /src/dfs && ./packaging/quickstart.sh /mnt/dfs'
  inside bash -c 'cp -a /usr/include /mnt/dfs/ && diff -r --no-dereference /usr/include /mnt/dfs/include && dfs fsck /mnt/dfs && dfs umount /mnt/dfs'
  inside bash -c 'cd /src/dfs && ./packaging/quickstart.sh /mnt/dfs && diff -r --no-dereference /usr/include /mnt/dfs/include && rm -rf /mnt/dfs/include && dfs umount /mnt/dfs'
  echo "quickstart works on $suite"
fi
if [ "$part" != quickstart ]; then
  inside bash -c 'cd /src/dfs && ./tests/run.sh'
fi
