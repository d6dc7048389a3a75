#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each public header compiles alone, in C11 and (where there is a C++ compiler) in C++11, without a warning."""
import pathlib
import shutil
import subprocess
import sys
import tempfile


def compiles(command, suffix, header, folder):
    """None, or what the compiler said. The header comes twice: its guard is tested too."""
    source = pathlib.Path(folder) / ('one' + suffix)
    source.write_text(f'#include <{header}>\n#include <{header}>\nextern int one;\nint one;\n')
    done = subprocess.run(command + [str(source)], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else '.').resolve()
    cc = sys.argv[2:] or ['cc']
    include = root / 'include'
    flags = ['-I', str(include), '-fsyntax-only', '-Wall', '-Wextra', '-Wpedantic', '-Wundef', '-Werror']
    languages = [(cc + ['-std=c11', '-Wstrict-prototypes'] + flags, '.c')]
    cxx = shutil.which('c++') or shutil.which('g++') or shutil.which('clang++')
    if cxx:
        languages.append(([cxx, '-std=c++11', '-x', 'c++'] + flags, '.cc'))
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(include.rglob('*.h')):
            header = path.relative_to(include).as_posix()
            for command, suffix in languages:
                said = compiles(command, suffix, header, folder)
                if said:
                    failed = True
                    print(f'{header} as {suffix}:\n{said}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
