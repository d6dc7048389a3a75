#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes C that holds files as the assets of the HTTP API (imgo/http.h), for daemons/page.h.

    embed_files.py OUT.c FILE...        index.html is served as "/", each other FILE under its name
"""
import pathlib
import sys

TYPES = {'.html': 'text/html; charset=utf-8', '.css': 'text/css; charset=utf-8',
         '.js': 'text/javascript; charset=utf-8', '.svg': 'image/svg+xml'}


def main(out, names):
    files = [pathlib.Path(name) for name in names]
    lines = ['/* Made by daemons/embed_files.py. */', '#include "page.h"', '']
    for i, file in enumerate(files):
        data = file.read_bytes()
        lines.append(f'static const unsigned char file{i}[] = {{')
        lines += ['\t' + ','.join(str(byte) for byte in data[at:at + 32]) + ',' for at in range(0, len(data), 32)]
        lines.append('};')
    lines.append('const struct imgo_http_asset daemon_page_files[] = {')
    for i, file in enumerate(files):
        path = '/' if file.name == 'index.html' else '/' + file.name
        lines.append(f'\t{{"{path}", "{TYPES[file.suffix]}", file{i}, sizeof file{i}}},')
    lines += ['};', f'const size_t daemon_page_nfiles = {len(files)};', '']
    pathlib.Path(out).write_text('\n'.join(lines))


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2:])
