#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The direction of includes (DESIGN.md, section 2): downward only, and each third party's header has its owners.

A file of libimgo/<module>/ may include public headers, system headers, and "<module>/..." of the modules named for
its own below. Daemons, examples and benches see public headers alone.
"""
import fnmatch
import pathlib
import re
import sys

BELOW = ['base', 'codec', 'loop', 'net', 'rpc']
ALLOWED = {
    'base': {'base'},
    'codec': {'base', 'codec'},
    'loop': {'base', 'loop'},
    'net': {'base', 'codec', 'loop', 'net'},
    'rpc': set(BELOW),
    'lmdb': {'base', 'loop', 'lmdb'},
    'hub': {'hub', *BELOW},
    'registry': {'registry', *BELOW},
    'store': {'store', 'lmdb', *BELOW},
    'bus': {'bus', 'lmdb', *BELOW},
    'service': {'service', 'hub', 'registry', 'store', 'bus', *BELOW},
}
# Header -> the files of libimgo/ that may include it. Tests may include anything.
OWNERS = {
    'ev.h': ['loop/ev.c'],
    'lmdb.h': ['lmdb/private.h'],
    'librdkafka/*': ['bus/kafka*.[ch]'],
    'libmemcached/*': ['store/memcached*.[ch]'],
    'libmemcached*/*': ['store/memcached*.[ch]'],
    'msgpack.h': ['codec/*.[ch]'],
    'msgpack/*': ['codec/*.[ch]'],
    'jansson.h': ['codec/json.[ch]', 'codec/json_*.[ch]', 'service/*.[ch]'],
    'openssl/*': ['base/hash.c', 'net/tls*.[ch]'],
    'ini.h': ['base/prop*.c'],
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def includes(path):
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2)


def third_party(name):
    return [owners for pattern, owners in OWNERS.items() if fnmatch.fnmatch(name, pattern)]


def check_library(root, path):
    relative = path.relative_to(root / 'libimgo')
    module = relative.parts[0]
    if module not in ALLOWED:
        yield 1, f'libimgo/{module} is not a module of DESIGN.md section 2'
        return
    for number, kind, name in includes(path):
        if kind == '"':
            target = name.split('/')[0]
            if '/' not in name or '..' in name:
                yield number, f'"{name}": write it as "module/file.h"'
            elif target not in ALLOWED[module]:
                yield number, f'"{name}": {module} must not include {target}'
            continue
        owners = third_party(name)
        if owners and not any(fnmatch.fnmatch(relative.as_posix(), owner) for one in owners for owner in one):
            yield number, f'<{name}> belongs to {", ".join(owners[0])}'


def check_public(root, path):
    """Public headers, and the programs that see nothing else: no private header, no third party."""
    for number, kind, name in includes(path):
        beside = (path.parent / name).exists() and root / 'include' not in path.parents
        if kind == '"' and not beside:
            yield number, f'"{name}": only <imgo/*.h> and system headers here'
        elif kind == '<' and third_party(name) and not allowed_host(root, path, name):
            yield number, f'<{name}>: no third party here'


def allowed_host(root, path, name):
    """An example may be a host that has a libev loop of its own."""
    return name == 'ev.h' and root / 'examples' in path.parents


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else '.').resolve()
    mistakes = []
    groups = [('libimgo', check_library), ('include', check_public), ('daemons', check_public),
              ('examples', check_public)]
    for folder, check in groups:
        for path in sorted((root / folder).rglob('*.[ch]')):
            mistakes += [f'{path.relative_to(root)}:{number}: {text}' for number, text in check(root, path)]
    print('\n'.join(mistakes) if mistakes else 'ok')
    return 1 if mistakes else 0


if __name__ == '__main__':
    sys.exit(main())
