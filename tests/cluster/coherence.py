#!/usr/bin/env python3
"""coherence.py MOUNT1 MOUNT2 ROUNDS: what one mount writes the other must read next.

Each check states its claim in its name. Descriptors stay open over rounds where that is the harder case.
"""
import os
import random
import subprocess
import sys
import threading

one, two, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
rng = random.Random(7)


def both(name):
    return os.path.join(one, name), os.path.join(two, name)


def contents_through_open_descriptors():
    a, b = both('open')
    fa = os.open(a, os.O_CREAT | os.O_RDWR)
    fb = os.open(b, os.O_RDWR)
    for i in range(rounds):
        writer, reader = (fa, fb) if i % 2 else (fb, fa)
        at = rng.randrange(0, 3) * 4096 + rng.randrange(0, 100)
        data = (b'%08d' % i) * rng.randrange(1, 400)
        os.pwrite(writer, data, at)
        seen = os.pread(reader, len(data), at)
        assert seen == data, f'round {i}: read {seen[:16]!r}, written {data[:16]!r}'
    os.close(fa)
    os.close(fb)


def contents_and_sizes_by_name():
    a, b = both('named')
    for i in range(rounds):
        w, r = (a, b) if rng.random() < 0.5 else (b, a)
        data = bytes([i % 256]) * rng.randrange(0, 20000)
        with open(w, 'wb') as f:
            f.write(data)
        assert os.stat(r).st_size == len(data), f'round {i}: size {os.stat(r).st_size}, written {len(data)}'
        with open(r, 'rb') as f:
            assert f.read() == data, f'round {i}'


def truncation_is_seen_at_once():
    a, b = both('cut')
    fa = os.open(a, os.O_CREAT | os.O_RDWR)
    fb = os.open(b, os.O_RDWR)
    for i in range(rounds // 4):
        os.pwrite(fa, b'y' * 10000, 0)
        size = rng.randrange(0, 10000)
        os.ftruncate(fb, size)
        assert os.fstat(fa).st_size == size
        assert os.pread(fa, 20000, 0) == b'y' * size, f'round {i}'
        os.ftruncate(fa, 10000)
        assert os.pread(fb, 20000, 0) == b'y' * size + b'\0' * (10000 - size), f'round {i}: old bytes came back'
    os.close(fa)
    os.close(fb)


def a_reader_at_the_end_goes_on_when_the_other_has_appended():
    a, b = both('growing')
    fa = os.open(a, os.O_CREAT | os.O_RDWR | os.O_APPEND)
    fb = os.open(b, os.O_RDWR | os.O_APPEND)
    seen = {fa: 0, fb: 0}
    size = 0
    for i in range(rounds):
        writer, reader = (fa, fb) if rng.random() < 0.6 else (fb, fa)
        data = (b'%08d' % i) * rng.randrange(1, 900)
        os.write(writer, data)
        size += len(data)
        got = os.pread(reader, 1 << 20, seen[reader])
        seen[reader] += len(got)
        assert seen[reader] == size, f'round {i}: the file ends at {seen[reader]}, written up to {size}'
        assert got.endswith(data), f'round {i}'
        own = os.pread(writer, 1 << 20, size - len(data))
        assert own == data, f'round {i}: {len(own)} of {len(data)} bytes of its own'
    os.close(fa)
    os.close(fb)


READER = '''
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
seen = 0
while seen < int(sys.argv[2]):
    size = os.fstat(fd).st_size
    data = os.pread(fd, 9000, max(0, size - 5000))
    assert len(data) >= min(size, 5000), f'{len(data)} bytes before the end at {size}'
    assert data == b'x' * len(data), f'not written, before the end at {size}'
    assert size >= seen, f'the file ends at {size} after {seen}'
    seen = size
'''


def several_readers_on_one_mount_read_up_to_the_size_that_they_were_told():
    a, b = both('watched')
    total = rounds * 1777
    open(a, 'wb').close()
    readers = [subprocess.Popen([sys.executable, '-c', READER, b, str(total)]) for _ in range(2)]
    fd = os.open(a, os.O_WRONLY)
    for i in range(rounds):
        os.write(fd, b'x' * 1777)
    os.close(fd)
    for r in readers:
        assert r.wait() == 0


LOGGER = '''
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_APPEND)
for i in range(int(sys.argv[2])):
    os.write(fd, b'y' * 100)
    size = os.fstat(fd).st_size
    assert len(os.pread(fd, 1 << 20, 0)) >= size, f'round {i}: a read ends before {size}'
'''


def who_appends_and_reads_misses_nothing_that_was_there():
    a, b = both('common')
    open(a, 'wb').close()
    count = rounds // 4
    programs = [subprocess.Popen([sys.executable, '-c', LOGGER, path, str(count)]) for path in (a, a, b, b)]
    for p in programs:
        assert p.wait() == 0
    assert open(a, 'rb').read() == b'y' * 400 * count


def names_are_seen_at_once():
    for i in range(rounds):
        here, there = (one, two) if i % 2 else (two, one)
        name = f'n{i}'
        assert not os.path.exists(os.path.join(there, name))
        with open(os.path.join(here, name), 'w') as f:
            f.write(name)
        assert open(os.path.join(there, name)).read() == name
        os.rename(os.path.join(there, name), os.path.join(there, name + 'x'))
        assert not os.path.exists(os.path.join(here, name))
        assert name + 'x' in os.listdir(here)
        os.unlink(os.path.join(here, name + 'x'))
        assert name + 'x' not in os.listdir(there)
        if i % 10 == 0:
            os.mkdir(os.path.join(here, name + 'd'))
            os.rmdir(os.path.join(there, name + 'd'))
            assert not os.path.exists(os.path.join(here, name + 'd'))


APPENDER = '''
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for i in range(int(sys.argv[3])):
    record = (sys.argv[2] + '%06d' % i).ljust(63, '.').encode() + b'\\n'
    assert os.write(fd, record) == 64
'''


def appends_from_both_are_all_there():
    a, b = both('log')
    count = rounds // 2
    programs = [subprocess.Popen([sys.executable, '-c', APPENDER, path, tag, str(count)])
                for path, tag in ((a, 'a'), (b, 'b'), (a, 'c'))]
    for p in programs:
        assert p.wait() == 0
    for path in (a, b):
        with open(path, 'rb') as f:
            lines = f.read().split(b'\n')
        assert lines.pop() == b''
        assert len(lines) == 3 * count, f'{len(lines)} records of {3 * count}'
        for tag in b'abc':
            mine = [int(l[1:7]) for l in lines if l[0] == tag]
            assert mine == list(range(count)), f'records of {chr(tag)} are lost or out of order'


LONG_APPENDER = '''
import os, sys
path, tag, count = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
for i in range(count):
    bytes = (129, 5000, 4096, 777, 100000)[i % 5]
    record = tag + b'%06d%06d' % (i, bytes)
    assert os.write(fd, record + tag * (bytes - len(record))) == bytes
'''


def appended_records_of_any_length_are_whole():
    a, b = both('records')
    count = rounds // 10
    programs = [subprocess.Popen([sys.executable, '-c', LONG_APPENDER, path, tag, str(count)])
                for path, tag in ((a, 'a'), (b, 'b'), (a, 'c'), (b, 'd'))]
    for p in programs:
        assert p.wait() == 0
    with open(b, 'rb') as f:
        data = f.read()
    at, seen = 0, {tag: 0 for tag in b'abcd'}
    while at < len(data):
        tag, number, size = data[at], int(data[at + 1:at + 7]), int(data[at + 7:at + 13])
        assert number == seen[tag], f'record {number} of {chr(tag)} at {at}, and not {seen[tag]}'
        assert data[at + 13:at + size] == bytes([tag]) * (size - 13), f'a torn record at {at}'
        seen[tag] += 1
        at += size
    assert set(seen.values()) == {count}, seen


WRITER = '''
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
for i in range(int(sys.argv[3])):
    os.pwrite(fd, sys.argv[2].encode() * 4096, (i % 8) * 4096)
'''


def two_writers_of_one_file_never_mix_a_write():
    a, b = both('shared')
    with open(a, 'wb') as f:
        f.write(b'0' * 8 * 4096)
    programs = [subprocess.Popen([sys.executable, '-c', WRITER, path, tag, str(rounds // 4)])
                for path, tag in ((a, 'A'), (b, 'B'))]
    fd = os.open(b, os.O_RDONLY)
    while any(p.poll() is None for p in programs):
        for i in range(8):
            piece = os.pread(fd, 4096, i * 4096)
            assert piece == piece[:1] * 4096, f'a mixture in piece {i}: {set(piece)}'
    assert all(p.returncode == 0 for p in programs)
    os.close(fd)
    assert open(a, 'rb').read() == open(b, 'rb').read()


def an_exclusive_create_has_one_winner():
    for i in range(rounds // 4):
        name = f'lock{i}'
        results = []

        def attempt(root):
            try:
                os.close(os.open(os.path.join(root, name), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                results.append(1)
            except FileExistsError:
                results.append(0)
        threads = [threading.Thread(target=attempt, args=(root,)) for root in (one, two)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert sorted(results) == [0, 1], f'round {i}: {results}'
        os.unlink(os.path.join(one, name))


def a_file_removed_elsewhere_stays_readable_while_open():
    for i in range(rounds // 20):
        a, b = both(f'removed{i}')
        with open(a, 'wb') as f:
            f.write(b'z' * 5000)
        fd = os.open(b, os.O_RDONLY)
        os.unlink(a)
        assert os.pread(fd, 5000, 0) == b'z' * 5000
        assert os.fstat(fd).st_nlink == 0
        os.close(fd)


def mapped_pages_are_dropped_by_a_remote_write():
    import mmap
    a, b = both('mapped')
    with open(a, 'wb') as f:
        f.write(b'0' * 4096)
    fa = os.open(a, os.O_RDWR)
    fb = os.open(b, os.O_RDWR)
    m = mmap.mmap(fb, 4096)
    for i in range(rounds // 20):
        text = b'%06d' % i
        os.pwrite(fa, text, 100)
        os.fstat(fb)  # a mapping is as fresh as the last read or stat of its file
        assert m[100:106] == text, f'round {i}: {m[100:106]}'


for check in (contents_through_open_descriptors, contents_and_sizes_by_name, truncation_is_seen_at_once,
              a_reader_at_the_end_goes_on_when_the_other_has_appended,
              several_readers_on_one_mount_read_up_to_the_size_that_they_were_told,
              who_appends_and_reads_misses_nothing_that_was_there,
              names_are_seen_at_once, appends_from_both_are_all_there,
              appended_records_of_any_length_are_whole, two_writers_of_one_file_never_mix_a_write,
              an_exclusive_create_has_one_winner, a_file_removed_elsewhere_stays_readable_while_open,
              mapped_pages_are_dropped_by_a_remote_write):
    check()
    print('ok', check.__name__, flush=True)
