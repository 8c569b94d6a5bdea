#!/bin/bash
# What one mount has written the other reads next: contents, sizes, names; two writers of one file, appends from both.
. "$(dirname "$0")/lib.sh"
up --stores 3 --mounts 2 --replicas 2
say "rounds"
python3 "$here/coherence.py" "$M1" "$M2" "${ROUNDS:-1000}"
fsck_clean
