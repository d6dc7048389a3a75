#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Is the simulation able to find anything? Plants one fault after another in a copy of the library, and runs seeds until
one of them fails. A fault that no seed finds fails this test; so does one whose place is not in the code any more.

    plants.py [--seeds N] [--keep] [NAME...]        N: at most so many of each (default 3000)
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# Name, file, what stands there, what is put in its place. Names with a number are the model's (tests/model/delivery.pml).
PLANTS = {
    'no-comparison': (1, 'libimgo/service/edge_lease.c', '!self->items[i].behind ||', 'true ||'),
    'rebuild-not-to-the-end': (2, 'libimgo/service/dispatch_rebuild.c', 'part->rebuild_end = end;',
                               'part->rebuild_end = end > 0 ? end - 1 : end;'),
    'read-without-marker': (3, 'libimgo/store/memory.c',
                            'int err = imgo__marker_check(imgo__mem_marker(part, call->epoch), 0);\n'
                            '\tfor (size_t i = 0; i < call->nitems && !err; i++)\n\t\terr = read_one',
                            'int err = 0;\n'
                            '\tfor (size_t i = 0; i < call->nitems && !err; i++)\n\t\terr = read_one'),
    'commit-before-append': (4, 'libimgo/service/dispatch_users.c', 'if (err == 0 && imgo__failpoint("job.appended"))',
                             'imgo_bus_done(dispatch->users, part->partition, batch->next);\n'
                             '\tif (err)\n\t\tpart->next = batch->next;\n'
                             '\tif (err == 0 && imgo__failpoint("job.appended"))'),
    'prev-ignored': (5, 'libimgo/service/edge_deliver.c', 'imgo_id_cmp(target->prev, imgo__edge_id(session->delivered)) > 0',
                     'false'),
    'rebuild-without-cas': (6, 'libimgo/store/common.c', 'marker->state != IMGO_MARKER_MISSING && marker->token == call->token',
                            'true'),
    'tags-ignored': (9, 'libimgo/store/userlog.c', 'if (apart <= IMGO_STORE_TAGS_MS)', 'if (apart > IMGO_STORE_TAGS_MS)'),
    'again-cleared-late': (13, 'libimgo/service/edge_deliver.c', '\t\tsession->reading = false;\n',
                           '\t\tsession->reading = session->again = false;\n'),
    'written-is-acknowledged': (14, 'libimgo/service/edge_ack.c', '\tif (none(imgo__edge_id(session->mark)))\n\t\tmark_set(edge, session);\n\telse if',
                                '\tsession->acked = session->delivered;\n\tack_queue(edge, session);\n'
                                '\tif (none(imgo__edge_id(session->mark)))\n\t\tmark_set(edge, session);\n\telse if'),
    'fin-is-ack': (0, 'libimgo/service/edge_ack.c', 'if (counts && reached >= session->last_pos)', 'if (true)'),
    'ack-without-marker': (22, 'libimgo/store/memory.c',
                           'int err = imgo__marker_check(imgo__mem_marker(part, call->epoch), call->rebuild_token);\n'
                           '\tfor (size_t i = 0; i < call->nitems && !err; i++) {',
                           'int err = 0;\n\tfor (size_t i = 0; i < call->nitems && !err; i++) {'),
    'fresh-msgid': (0, 'libimgo/service/push_send.c', 'memcpy(&self->msgid, hash, sizeof self->msgid);',
                    'imgo__loop_random(self->op.push->loop, &self->msgid, sizeof self->msgid);'),
    'random-incarnation-order': (0, 'include/imgo/types.h', 'if (a.start_us != b.start_us)\n',
                                 'if (a.start_us != b.start_us && a.random != b.random)\n'
                                 '\t\treturn a.random < b.random ? -1 : 1;\n\tif (a.start_us != b.start_us)\n'),
}

# What the comparison would repair is looked for without it, and without the accidents that need it.
FLAGS = {
    'read-without-marker': ('--no-comparison', '--only', 'forget,store-slow'),
    'again-cleared-late': ('--no-comparison', '--only', 'store-slow'),
}


def run(*argv, **how):
    return subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how)


def copy_tree(to):
    names = run('git', 'ls-files', cwd=ROOT).stdout.split('\n')
    if not any(names):
        sys.exit('plants.py needs the tree as git has it')
    for name in filter(None, names):
        source = ROOT / name
        if source.is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, to / name)


def build(tree):
    done = run('ninja', '-C', tree / 'build', 'tests/sim/sim')
    if done.returncode:
        sys.exit(f'the copy does not build:\n{done.stdout[-3000:]}')


def find(tree, seeds, flags):
    """(seed, seconds, what was wrong) of the first that fails, or None."""
    began = time.monotonic()
    done = run(tree / 'build/tests/sim/sim', '--seeds', seeds, *flags)
    if done.returncode == 0:
        return None
    seed = re.search(r'--from (\d+)', done.stdout)
    why = re.search(r'FAILED: (.*)', done.stdout)
    return (seed.group(1) if seed else '?', time.monotonic() - began, why.group(1) if why else done.stdout[-300:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seeds', type=int, default=3000)
    parser.add_argument('--keep', action='store_true', help='do not remove the copy')
    parser.add_argument('name', nargs='*')
    args = parser.parse_args()
    tree = pathlib.Path(tempfile.mkdtemp(prefix='imgo-plants-'))
    missed = []
    try:
        copy_tree(tree)
        setup = run('meson', 'setup', tree / 'build', tree, '--buildtype=debugoptimized', '-Dtests=enabled')
        if setup.returncode:
            sys.exit(setup.stdout)
        build(tree)
        for name in args.name or PLANTS:
            number, file, old, new = PLANTS[name]
            path, text = tree / file, (ROOT / file).read_text()
            if text.count(old) != 1:
                sys.exit(f'{name}: {file} has its place {text.count(old)} times, not once')
            path.write_text(text.replace(old, new))
            build(tree)
            found = find(tree, args.seeds, FLAGS.get(name, ()))
            path.write_text(text)
            label = f'{name} (the model\'s {number})' if number else name
            if found:
                print(f'found   {label}: seed {found[0]}, {found[1]:.1f} s: {found[2]}', flush=True)
            else:
                print(f'MISSED  {label}: not in {args.seeds} seeds', flush=True)
                missed.append(name)
    finally:
        if not args.keep:
            shutil.rmtree(tree, ignore_errors=True)
    if missed:
        sys.exit(f'{len(missed)} of the planted faults are not found: {", ".join(missed)}')


if __name__ == '__main__':
    main()
