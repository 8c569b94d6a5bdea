#!/bin/bash
# Installs what DFS needs to be built and run, with apt-get, on Debian 12 and 13; with --tests also the programs that are run on
# mounts by tests/cluster. Run as root. Does nothing if all of it is there.
set -euo pipefail

packages=(
  # to build
  clang lld cmake ninja-build pkg-config make libc6-dev
  capnproto libcapnp-dev libfuse3-dev liblmdb-dev libxxhash-dev libspdlog-dev libmicrohttpd-dev
  scdoc
  libcli11-dev nlohmann-json3-dev libtomlplusplus-dev libgtest-dev libraft-dev
  # to run
  fuse3
  # for the tests that come with a build
  libclang-rt-dev git rsync sqlite3 tar attr acl libcap2-bin python3 procps e2fsprogs mount util-linux iproute2 curl
)
case ${1:-} in
  "") ;;
  --tests) packages+=(ed fio vim postgresql) ;;
  *)
    echo "usage: install-deps.sh [--tests]" >&2
    exit 2
    ;;
esac

missing=()
for p in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$p")
done
raft=$(dpkg-query -W -f '${Version}' libraft-dev 2>/dev/null || true)
case $raft in
  0.22.*) ;;
  "") ;;
  *) missing+=(libraft-dev) ;;
esac
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "install-deps.sh: these packages are missing and only root can install them: ${missing[*]}" >&2
  exit 1
fi

case " ${missing[*]} " in
  *" postgresql "*) # the tests make servers of their own: none is to start with the machine
    mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/dfs.conf
    ;;
esac
export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
"${apt[@]}" update -q
. /etc/os-release
release=()
if [ "${VERSION_ID:-}" = 12 ] && ! apt-cache policy libraft-dev | grep -q ' 0\.22\.'; then
  # Debian 12's own libraft loses entries; the good one is in its backports, from the mirror this machine uses already.
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
           awk '$2 == "bookworm" { print $1; exit }')
  if [ -z "$mirror" ]; then
    echo "install-deps.sh: apt knows no mirror of bookworm; add bookworm-backports to its sources by hand" >&2
    exit 1
  fi
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm-backports main" \
    > /etc/apt/sources.list.d/dfs-backports.list
  "${apt[@]}" update -q
fi
[ "${VERSION_ID:-}" = 12 ] && release=(-t bookworm-backports)
others=()
for p in "${missing[@]}"; do [ "$p" = libraft-dev ] || others+=("$p"); done
[ ${#others[@]} -eq 0 ] || "${apt[@]}" install -y -q --no-install-recommends "${others[@]}"
"${apt[@]}" install -y -q --no-install-recommends "${release[@]}" libraft-dev
