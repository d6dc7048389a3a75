# SPDX-License-Identifier: MIT
"""The load tool and the floor run, and count: every message once and in order, and a loss is told. Nothing about speed."""
import argparse
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / 'tests' / 'integration')]

import harness  # noqa: E402
import report  # noqa: E402
import scenarios  # noqa: E402


def run(setup, target, *flags):
    """(exit code, result) of imgo-bench load."""
    argv = harness.dying_with_us([setup.program('imgo-bench'), 'load', *target.flags(), '--settle', '0', *map(str, flags)])
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    if not done.stdout.startswith('{'):
        raise harness.Failure(f'imgo-bench: {done.returncode} {done.stderr}')
    return done.returncode, json.loads(done.stdout)


def expect(condition, what, *more):
    if not condition:
        raise harness.Failure(f'{what}: {more}')


def conserved(setup, target, what, receipts, *flags):
    code, r = run(setup, target, '--seconds', 0.5, '--warm-up', 0.2, *flags)
    expect(code in (0, 3), what, code, r)  # 3: a busy machine is not a fault
    expect(r['passed'] and r['received'] == r['expected'] == receipts, what, r)
    expect(r['lost'] == r['copies'] == r['reordered'] == r['foreign'] == r['closed'] == 0, what, r)
    expect(r['push']['latency_us']['max'] > 0, what, r)
    print(f'{what}: {receipts} receipts', flush=True)


def floors(setup):
    with scenarios.floor(setup) as bare:
        conserved(setup, bare, 'the floor, one by one', 30 * 35, '--connections', 30, '--rate', 50)
    with scenarios.floor(setup, 5, 100) as bare:
        conserved(setup, bare, 'the floor, in batches', 30 * 35, '--connections', 30, '--rate', 50)
    with scenarios.floor(setup, 100000, 3600000) as bare:  # holds all back: for the tool that is a loss
        code, r = run(setup, bare, '--connections', 10, '--rate', 50, '--seconds', 0.2, '--warm-up', 0, '--drain', 0.3)
        expect(code == 1 and not r['passed'] and r['lost'] == 100, 'a loss is told', code, r)
    done = subprocess.run([setup.program('fanout-floor'), '20', '66', '2'], capture_output=True, text=True, timeout=60)
    expect(done.returncode == 0 and float(done.stdout) > 0, 'the floor alone', done)


def dialects(setup):
    with scenarios.standalone(setup) as system:
        for dialect in ('tcp', 'ws-json', 'ws-binary'):
            target = scenarios.target_of(system, dialect)
            conserved(setup, target, f'{dialect}: a room', 20 * 35, '--connections', 20, '--rate', 50)
            conserved(setup, target, f'{dialect}: rooms', 7 * 35, '--connections', 21, '--rooms', 3, '--rate', 50,
                      '--processes', 2)
            conserved(setup, target, f'{dialect}: users', 35, '--connections', 10, '--push', 'user', '--rate', 50)
            conserved(setup, target, f'{dialect}: users, version 2', 35, '--connections', 10, '--push', 'user', '--rate', 50,
                      '--device', 'phone')
            conserved(setup, target, f'{dialect}: all', 5 * 35, '--connections', 5, '--push', 'all', '--rate', 50)
        for kind in ('user', 'users', 'room', 'all'):
            r = scenarios.api(setup, scenarios.target_of(system), push=kind, count=200, many=10, depth=4)
            expect(r['calls'] == 200 and r['refused'] == 0, f'calls: {kind}', r)
        system.kill('imgo')
        code = subprocess.run([setup.program('imgo-bench'), 'load', *scenarios.target_of(system).flags()[:6]],
                              capture_output=True, timeout=60).returncode
        expect(code == 1, 'no server is a failure', code)
        system.start('imgo')


def rows():
    row = report.Row('x', 'µs', [3, 1, 2], [2, 1, 2], 'y', limit=1.0)
    expect(row.value == 2 and row.ratio_value == 1.0 and row.verdict == 'met', 'a row', row.as_dict())
    expect(report.worst_of_each(['p99 9 ms', 'p99 12.5 ms', 'x']) == ['p99 12.5 ms', 'x'], 'reasons')
    expect(report.Row('x', '/s', [5], target='y', limit=6, at_least=True).verdict == 'missed', 'a rate that is too low')
    expect(report.Row('x', 'ms', [5], target='y', limit=6, void=['z']).verdict == 'void', 'a void row')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--build', required=True)
    setup = scenarios.Setup(parser.parse_args().build, True, None, None)
    rows()
    floors(setup)
    dialects(setup)
    return 0


if __name__ == '__main__':
    harness.main(main)
