#!/usr/bin/env python3
"""load.py DIR JOURNAL SECONDS [SEED]: writes files in DIR and notes in JOURNAL (elsewhere) what fsync has promised.
load.py verify DIR JOURNAL: everything that was promised is there, or something written later.

Files are rewritten in place, appended to, renamed over each other and removed. A line of the journal is written and synced after
the fsync that it tells of has returned: {"file", "offset", "bytes", "stamp"}. Any error of the file system ends it with 1.
"""
import json
import os
import random
import sys
import time

PIECE = 4096
PIECES = 64


def stamp(seed, number):
    # 32 bytes that no other write has.
    return (b'%08d:%016d:' % (seed, number)).ljust(32, b'#')


def load(directory, journal_path, seconds, seed):
    rng = random.Random(seed)
    os.makedirs(directory, exist_ok=True)
    journal = open(journal_path, 'a')
    files = {}
    number = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        name = f's{seed}-{rng.randrange(8)}'
        if name not in files:
            files[name] = os.open(os.path.join(directory, name), os.O_CREAT | os.O_RDWR)
        fd = files[name]
        piece = rng.randrange(PIECES)
        number += 1
        journal.write(json.dumps({'try': number, 'file': name, 'piece': piece}) + '\n')
        journal.flush()
        data = stamp(seed, number) * (PIECE // 32)
        done = os.pwrite(fd, data, piece * PIECE)
        assert done == PIECE
        got = os.pread(fd, PIECE, piece * PIECE)
        assert got == data, f'{name} piece {piece}: read back {got[:32]!r}'
        if rng.random() < 0.3:
            os.fsync(fd)
            journal.write(json.dumps({'synced': number, 'file': name}) + '\n')
            journal.flush()
            os.fsync(journal.fileno())
        if rng.random() < 0.02:
            small = os.path.join(directory, f'small-{seed}-{rng.randrange(50)}')
            with open(small + '.new', 'wb') as f:
                f.write(stamp(seed, number))
                f.flush()
                os.fsync(f.fileno())
            os.rename(small + '.new', small)
            journal.write(json.dumps({'small': small.rsplit('/', 1)[1], 'number': number}) + '\n')
            journal.flush()
            os.fsync(journal.fileno())
    print(f'{number} writes', flush=True)


def verify(directory, journal_path):
    tries = {}    # (file, piece) -> numbers in order
    synced = {}   # file -> highest number that an fsync has covered
    small = {}
    seed = None
    for line in open(journal_path):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the last line of a killed writer
        if 'try' in entry:
            tries.setdefault((entry['file'], entry['piece']), []).append(entry['try'])
        elif 'synced' in entry:
            synced[entry['file']] = entry['synced']
        elif 'small' in entry:
            small[entry['small']] = entry['number']
    checked = 0
    for (name, piece), numbers in tries.items():
        seed = int(name[1:].split('-')[0])
        covered = [n for n in numbers if n <= synced.get(name, 0)]
        if not covered:
            continue
        with open(os.path.join(directory, name), 'rb') as f:
            data = os.pread(f.fileno(), PIECE, piece * PIECE)
        assert len(data) == PIECE, f'{name} piece {piece}: only {len(data)} bytes'
        allowed = {stamp(seed, n) for n in numbers if n >= covered[-1]}
        # A write that was never synced may be there in part after a power cut; a killed process leaves whole ones.
        found = {data[i:i + 32] for i in range(0, PIECE, 32)}
        assert found <= allowed, f'{name} piece {piece}: {sorted(found - allowed)[:2]}, promised {covered[-1]}'
        checked += 1
    for name, number in small.items():
        with open(os.path.join(directory, name), 'rb') as f:
            text = f.read()
        assert len(text) == 32 and int(text.split(b':')[1]) >= number, f'{name}: {text!r}, promised {number}'
        checked += 1
    assert checked > 0, 'nothing was promised: the load was too short'
    print(f'{checked} promises kept', flush=True)


if sys.argv[1] == 'verify':
    verify(sys.argv[2], sys.argv[3])
else:
    load(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 1)
