# SPDX-License-Identifier: MIT
"""Is all this able to find anything? Builds a copy of the tree with a fault of tests/sim/plants.py in it, strikes it with the
rows at which that fault shows, and says after how many seconds the checker had it."""
import importlib.util
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import harness
import system

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
NO_COMPARISON = {'comet.compare': '0'}    # it would repair what the fault breaks

# What tests/sim/plants.py has, and where it shows: kind, rows, options, how often silence follows each strike: in it
# nothing later shows what is missing, so without the comparison it stays missing in a sound build, too. What is left out
# is in store/memory.c, which neither kind has.
WHERE = {
    'no-comparison': ('cluster', ['lose comet1-rpc', 'lose comet2-rpc'], {}, 1.0),
    'rebuild-not-to-the-end': ('cluster', ['kill memcached'], {}, 1.0),
    'commit-before-append': ('cluster', ['stop memcached', 'cut job-store'], {}, 0.0),
    'prev-ignored': ('cluster', ['lose comet1-rpc', 'lose comet2-rpc'], NO_COMPARISON, 0.0),
    'rebuild-without-cas': ('cluster', ['kill memcached', 'stop job', 'mix'], NO_COMPARISON, 0.0),
    'tags-ignored': ('cluster', ['mute logic-kafka', 'kill logic', 'stop logic'], {}, 0.0),
    'again-cleared-late': ('cluster', ['reset clients', 'kill comet', 'slow comet'], NO_COMPARISON, 0.0),
    'written-is-acknowledged': ('standalone', ['reset clients', 'kill imgo'], {}, 0.0),
    'fin-is-ack': ('standalone', ['reset clients'], {}, 0.0),
    'fresh-msgid': ('cluster', ['mute logic-kafka', 'kill logic', 'stop logic'], {}, 0.0),
    'random-incarnation-order': ('cluster', ['kill comet'], {}, 0.0),
}


def table():
    path = ROOT / 'tests' / 'sim' / 'plants.py'
    if not path.exists():
        sys.exit(f'the faults are in {path}, which this tree does not have')
    spec = importlib.util.spec_from_file_location('sim_plants', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(*argv):
    done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    if done.returncode:
        sys.exit(f'{" ".join(map(str, argv))}:\n{done.stdout[-3000:]}')


def find(args, one, kind, build, options, name):
    """(whether it was found, a line that says so)."""
    began = time.monotonic()
    try:
        result = one(args, kind, args.seed, build, options)
    except harness.Failure as failure:   # when all was closed: a daemon that ended badly
        return True, f'found   {name}: after {time.monotonic() - began:.0f} s: {failure!s:.160}'
    if result.caught is None:
        return False, f'MISSED  {name}: in {args.minutes:g} min'
    return True, f'found   {name}: after {result.caught:.0f} s: {result.problems[0]:.160}'


def run(args, one):
    """Exit code 1 when one was not found within args.minutes."""
    sim, args.settle = table(), min(args.settle, 25.0)
    names = list(WHERE) if args.plant == ['all'] else args.plant
    for name in names:
        if name not in WHERE:
            sys.exit(f'no such plant here: {name}; there are: {", ".join(WHERE)}')
    tree = pathlib.Path(tempfile.mkdtemp(prefix='imgo-planted-'))
    said = []
    only = args.only
    try:
        sim.copy_tree(tree)
        command('meson', 'setup', tree / 'build', tree, '--buildtype=debug', '-Dwerror=false', '-Dtests=disabled', '-Dtls=disabled')
        for name in names:
            kind, rows, options, args.silence = WHERE[name]
            _, file, old, new = sim.PLANTS[name]
            path = tree / file
            text = path.read_text()
            if text.count(old) != 1:
                sys.exit(f'{name}: {file} has its place {text.count(old)} times, not once')
            path.write_text(text.replace(old, new))
            command('ninja', '-C', tree / 'build', *(f'daemons/{program}' for program in system.KINDS[kind].programs))
            args.only = only or rows
            said.append(find(args, one, kind, tree / 'build', dict(options), name))
            print(said[-1][1], flush=True)
            path.write_text(text)
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    print('\n'.join(line for _, line in said), flush=True)
    return 0 if all(found for found, _ in said) else 1

