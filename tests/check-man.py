#!/usr/bin/env python3
"""Whether the man pages and the programs tell of the same options: tests/check-man.py BUILD-DIRECTORY

Exit code 1 with a line for each option that only one of them knows.
"""
import os
import re
import subprocess
import sys

PAGES = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'packaging', 'man')
PROGRAMS = {
    'dfs-mount.8': 'fuse-client/dfs-mount',
    'dfs-nameserver.8': 'nameserver/dfs-nameserver',
    'dfs-storaged.8': 'storaged/dfs-storaged',
}


def page(name):
    with open(os.path.join(PAGES, name + '.scd'), encoding='utf-8') as f:
        return f.read()


def sections(text):
    """Heading to text."""
    parts = re.split(r'^# (.*)$', text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def told(text):
    """The options that a page explains: where a line begins with them."""
    names = set()
    for line in text.splitlines():
        if re.match(r'\*-', line):
            names.update(re.findall(r'\*(--?[A-Za-z][a-z-]*)\*', line))
    return names


def offered(*command):
    """The options that --help lists."""
    text = subprocess.run(command + ('--help',), capture_output=True, text=True, check=True).stdout
    names = set()
    for line in text.splitlines():
        match = re.match(r'  (-\S+)', line)
        if match:
            names.update(re.findall(r'--?[A-Za-z][a-z-]*', match.group(1)))
    return names


def verbs(*command):
    text = subprocess.run(command + ('--help',), capture_output=True, text=True, check=True).stdout
    if 'Subcommands:' not in text:
        return []
    return re.findall(r'^  (\w+) ', text.split('Subcommands:')[1].split('\n\n')[0], flags=re.M)


def compare(what, page_names, program_names, problems):
    for name in sorted(program_names - page_names):
        problems.append(f'{what}: {name} is not in the man page')
    for name in sorted(page_names - program_names):
        problems.append(f'{what}: the man page tells of {name}, which there is not')


def check_dfs(build, problems):
    program = os.path.join(build, 'tools/dfs')
    text = sections(page('dfs.1'))
    compare('dfs', told(text['DESCRIPTION']) - {'--root', '--nameserver'}, offered(program), problems)
    seen = {heading.split()[1].lower() for heading in text if heading.startswith('DFS ')}
    compare('dfs', seen, set(verbs(program)), problems)
    usual = {'-h', '--help'}
    for verb in verbs(program):
        section = [t for h, t in text.items() if h.startswith('DFS ' + verb.upper())]
        if not section:
            continue
        options = offered(program, verb)
        inner = verbs(program, verb)
        for sub in inner:
            options |= offered(program, verb, sub)
            if f'dfs {verb} {sub}*' not in section[0]:
                problems.append(f'dfs {verb}: {sub} is not in the man page')
        mentioned = set(re.findall(r'\*(--?[A-Za-z][a-z-]*)', section[0])) - usual
        compare(f'dfs {verb}', mentioned, options - usual, problems)


def check_mount_words(problems):
    """The words after -o, as the table of the program has them."""
    source = os.path.join(PAGES, '../../fuse-client/mount_words.cc')
    with open(source, encoding='utf-8') as f:
        code = f.read()
    tables = code[code.index('const Words& flagsOfTheMount'):code.index('struct Reading')]
    tables += code[code.index('plainWords() {'):code.index('std::string unknown(')]
    names = {n.rstrip('=-') for n in re.findall(r'[{\s]"([A-Za-z_][a-z_]*[=-]?)"', tables)}
    names -= {'user_id', 'group_id', 'blksize'}  # the kernel's table, not for people
    text = sections(page('mount.dfs.8'))['OPTIONS'].replace('\\', '')
    words = {w.rstrip('=-') for w in re.findall(r'\*([A-Za-z_][a-z_]*[=-]?)\*', text)} - {'mount'}
    compare('mount.dfs -o', words, names, problems)


def main():
    build = sys.argv[1]
    problems = []
    for name, program in PROGRAMS.items():
        compare(name, told(page(name)), offered(os.path.join(build, program)), problems)
    check_dfs(build, problems)
    check_mount_words(problems)
    for problem in problems:
        print(problem)
    print(f'{len(PROGRAMS) + 2} pages checked, {len(problems)} offences')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
