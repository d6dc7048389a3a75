#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hostile and broken clients, callers and peers, against real daemons: a test for each row of FAILURES.md B.4 and B.5 and
each defect of COMPATIBILITY.md §5 (rows.py; README.md here is generated from it).

    hostile.py standalone|cluster|all --build DIR [--only WORD]… [--heavy | --no-heavy] [--list]

Figures are printed and only roughly asserted. With a sanitizer's build the tests with thousands of sockets are left out.
"""
import argparse
import subprocess
import time
import traceback

from kit import TESTS, Failure, harness, ic, slow_build
import test_api  # noqa: F401
import test_clients  # noqa: F401
import test_defects  # noqa: F401
import test_limits  # noqa: F401
import test_peers  # noqa: F401

ERRORS = (Failure, ic.ClientError, AssertionError, OSError, subprocess.TimeoutExpired)


def run_one(name, function):
    began = time.monotonic()
    try:
        function()
    except ERRORS as error:
        traceback.print_exc()
        print(f'FAIL {name}  {time.monotonic() - began:.1f} s: {error}', flush=True)
        return False
    print(f'ok   {name}  {time.monotonic() - began:.1f} s', flush=True)
    return True


def run_shared(kind, build, functions):
    failed = []
    with harness.make(kind, build) as system:
        for function in functions:
            if not run_one(function.__name__, lambda: function(system)):
                failed.append(function.__name__)
    return failed


def run_own(kind, build, function, own, more):
    with harness.make(kind, build, options=own, **more) as system:
        function(system)


def run():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('kind', choices=[*harness.KINDS, 'all'])
    parser.add_argument('--build', default=str(harness.ROOT / 'build'))
    parser.add_argument('--only', action='append', default=[])
    parser.add_argument('--heavy', action=argparse.BooleanOptionalAction)
    parser.add_argument('--list', action='store_true')
    args = parser.parse_args()
    slow, failpoints = slow_build(args.build), harness.has_failpoints(args.build)
    chosen, left = [], []
    for function, kind, own, heavy, needs, more in TESTS:
        if args.kind not in (kind, 'all') or (args.only and not any(w in function.__name__ for w in args.only)):
            continue
        if args.heavy is not None and heavy != args.heavy:
            continue
        (left if (heavy and slow) or (needs and not failpoints) else chosen).append((function, kind, own, more))
    if args.list:
        print('\n'.join(c[0].__name__ for c in chosen + left))
        return 0
    failed = []
    for kind in harness.KINDS:
        shared = [c[0] for c in chosen if c[1] == kind and c[2] is None]
        if shared and not run_one(f'(the {kind} system that tests share)',
                                  lambda: failed.extend(run_shared(kind, args.build, shared))):
            failed.append(f'(the {kind} system)')
    for function, kind, own, more in chosen:
        if own is not None and not run_one(function.__name__, lambda: run_own(kind, args.build, function, own, more)):
            failed.append(function.__name__)
    for function, *_ in left:
        print(f'left out with this build: {function.__name__}', flush=True)
    print(f'{len(chosen) - len(failed)} passed, {len(failed)} failed {" ".join(failed)}', flush=True)
    if not chosen:
        raise harness.Skip('all of these tests are left out with this build')
    return 1 if failed else 0


if __name__ == '__main__':
    harness.main(run)
