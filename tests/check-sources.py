#!/usr/bin/env python3
"""Checks that need no compiler: includes point one way, and the habits that a machine can see.

Exit code 1 with a line for each offence.
"""
import os
import re
import subprocess
import sys

# Which folders a folder may include, beside itself, rpc-schema and common. Tests may include everything, nothing may include tests
# (but unit tests, which use the simulated world).
ALLOWED = {
    'common': [],
    'nameserver/meta': [],
    'nameserver/raft': ['nameserver/meta'],
    'nameserver/cluster': ['nameserver/raft', 'nameserver/meta'],
    'nameserver/session': ['nameserver/cluster', 'nameserver/raft', 'nameserver/meta'],
    'nameserver/admin': ['nameserver/session', 'nameserver/cluster', 'nameserver/raft', 'nameserver/meta'],
    'nameserver': ['nameserver/admin', 'nameserver/session', 'nameserver/cluster', 'nameserver/raft', 'nameserver/meta'],
    'storaged/block': [],
    'storaged/chain': ['storaged/block'],
    'storaged/service': ['storaged/chain', 'storaged/block'],
    'storaged': ['storaged/service', 'storaged/chain', 'storaged/block'],
    'fuse-client/remote': [],
    'fuse-client/vfs': ['fuse-client/remote'],
    'fuse-client/fuse': ['fuse-client/vfs'],
    'fuse-client': ['fuse-client/fuse', 'fuse-client/vfs', 'fuse-client/remote'],
    'tools/dev': [],
    # Without a mount files are read and written by what a mount itself uses.
    'tools/transfer': ['tools/dev', 'fuse-client/vfs', 'fuse-client/remote'],
    'tools/dfs': ['tools/transfer', 'tools/dev', 'fuse-client/vfs', 'fuse-client/remote'],
    'tools/bench': ['fuse-client/vfs', 'fuse-client/remote'],
}

# Headers of packages that only a few files may see.
WRAPPED = {
    'raft.h': ['nameserver/raft/raft_core.c'],
    'lmdb.h': ['common/lmdb_kv.cc'],
    'fuse_lowlevel.h': None,  # fuse-client/fuse only, see below
    'microhttpd.h': ['common/http.cc'],
}

# Chance is handed in: these stand only where the host is wrapped, and in programs' mains.
HOST_CALLS = re.compile(
    r'\b(std::random_device|std::rand\b|\brand\(\)|std::chrono::\w+_clock::now|clock_gettime\(|gettimeofday\(|'
    r'\btime\(nullptr\)|\btime\(NULL\))')
HOST_FILES = ('common/real_', 'common/worker_pool', 'common/lmdb_kv', 'common/launch', 'fuse-client/keeper.cc',
              'fuse-client/main.cc', 'tools/', 'tests/')


def folder_of(path):
    folder = os.path.dirname(path)
    while folder and folder not in ALLOWED:
        folder = os.path.dirname(folder)
    return folder


def check_includes(path, text, problems):
    if path.startswith('tests/'):
        return
    own = folder_of(path)
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#include\s+[<"]([^>"]+)[>"]', line)
        if not match:
            continue
        name = match.group(1)
        if name in WRAPPED:
            allowed = WRAPPED[name]
            if (allowed is None and not path.startswith('fuse-client/fuse/')) or \
                    (allowed is not None and path not in allowed):
                problems.append(f'{path}:{number}: only the file that wraps it may include {name}')
        if not re.match(r'(common|nameserver|storaged|fuse-client|tools|tests)/', name):
            continue
        target = folder_of(name)
        if name.startswith('tests/'):
            if not (path.endswith('_test.cc') and name.startswith('tests/sim/world/')) and \
                    not os.path.basename(path).endswith(('_test.cc', '_test_world.h')) and \
                    not os.path.basename(path).startswith(('fake_', 'test_', 'memory_')):
                problems.append(f'{path}:{number}: nothing but tests includes {name}')
        elif target != own and target != 'common' and target not in ALLOWED.get(own, []):
            problems.append(f'{path}:{number}: {own} must not include {name}: dependencies point one way')


def condition_of(line):
    """What stands in the parentheses of an `if` or `switch` on this line."""
    match = re.search(r'\b(?:if|switch)\s*\(', line)
    if not match:
        return ''
    depth = 1
    for at in range(match.end(), len(line)):
        depth += {'(': 1, ')': -1}.get(line[at], 0)
        if depth == 0:
            return line[match.end():at]
    return line[match.end():]


def check_habits(path, text, problems):
    if 'TODO(now)' in text and not path.endswith('check-sources.py'):
        problems.append(f'{path}: TODO(now)')
    if path.endswith(('.cc', '.h')) and not path.startswith(HOST_FILES):
        for number, line in enumerate(text.splitlines(), 1):
            if HOST_CALLS.search(line.split('//')[0]):
                problems.append(f'{path}:{number}: asks the host; take it from Env')
            if 'co_await' in condition_of(line):
                problems.append(f'{path}:{number}: co_await stands alone in its statement')
    if path.startswith('fuse-client/fuse/'):
        # Node 1 is the root of the mount, whichever directory that is.
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(r'\bInodeId\((ino|parent|newparent|newParent|to|from|node)\)', line.split('//')[0]) and \
                    'FUSE_ROOT_ID' not in text.splitlines()[number - 2] + line:
                problems.append(f'{path}:{number}: a number of the kernel becomes an inode by FuseOps::inode()')
    if path.endswith('.h') and not text.startswith('#pragma once') and not text.startswith('/*') and \
            '#pragma once' not in text.split('\n\n')[0] and not path.endswith('raft_core.h'):
        problems.append(f'{path}: a header starts with #pragma once')


POSIX_TABLE = 'tests/posix/README.md'


def check_posix_table(files, problems):
    """Each row of the table of POSIX names tests that exist, and each test stands in a row."""
    tests = {}
    for path in sorted(files):
        if path.startswith('tests/posix/') and path.endswith('_test.cc') and os.path.exists(path):
            with open(path, encoding='utf-8') as f:
                for suite, name in re.findall(r'^TEST\((\w+),\s*(\w+)\)', f.read(), re.M):
                    tests[f'{suite}.{name}'] = path
    named = set()
    with open(POSIX_TABLE, encoding='utf-8') as f:
        lines = f.read().splitlines()
    for number, line in enumerate(lines, 1):
        if not line.startswith('|') or line.startswith(('|---', '| call')):
            continue
        cells = line.strip().strip('|').split('|')
        in_row = re.findall(r'`(\w+\.\w+)`', cells[-1])
        named.update(in_row)
        if len(cells) != 3 or not in_row:
            problems.append(f'{POSIX_TABLE}:{number}: a row is call, what DFS does, and the test')
        for test in in_row:
            if test not in tests:
                problems.append(f'{POSIX_TABLE}:{number}: there is no test {test}')
    for test, path in tests.items():
        if test not in named:
            problems.append(f'{path}: {test} has no row in {POSIX_TABLE}')


def main():
    listed = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], capture_output=True, text=True)
    files = listed.stdout.split('\n') if listed.returncode == 0 else []
    if not any(files):
        files = [os.path.join(d, f)[2:] for d, _, names in os.walk('.') for f in names if '/build' not in d]
    problems = []
    seen = 0
    for path in sorted(set(files)):
        if not path.endswith(('.cc', '.h', '.c', '.capnp', '.py', '.sh')) or not os.path.exists(path):
            continue
        seen += 1
        with open(path, encoding='utf-8') as f:
            text = f.read()
        if path.endswith(('.cc', '.h', '.c')):
            check_includes(path, text, problems)
        check_habits(path, text, problems)
    check_posix_table(set(files), problems)
    for problem in problems:
        print(problem)
    print(f'{seen} files checked, {len(problems)} offences')
    return 1 if problems or seen == 0 else 0


if __name__ == '__main__':
    sys.exit(main())
