#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The standalone server and its disk.

    disk.py [--build DIR]

order  under strace: between the arrival of a push and its answer of 1 lies an fdatasync that began and ended there, and the
       write of LMDB's meta page after it (and with bus=memory none: the test can tell)
full   a small tmpfs fills up: pushes get 503 with Retry-After, a user whose messages wait logs in and gets them, his
       acknowledgement makes room, and pushes are accepted again; whatever was accepted arrives
buses  the same store.path with bus=lmdb, bus=memory and bus=lmdb again: what is accepted each time arrives, in order
"""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request

import harness
from harness import SECRET, Failure, Skip, poll

CALLS = 'trace=fdatasync,pwrite64,read,recvfrom,recvmsg,write,writev,sendto,sendmsg'
PUSHES = 4


def traced(system):
    """What the server does while PUSHES pushes come, each alone."""
    pid, out = system.parts['imgo'].popen.pid, system.dir / 'strace'
    uid, _ = system.user()
    time.sleep(1.5)
    strace = subprocess.Popen(['strace', '-f', '-s', '400', '-e', CALLS, '-o', out, '-p', str(pid)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        line = strace.stderr.readline().decode()
        if 'ttached' not in line:
            raise Skip(f'strace: {line.strip()}')
        time.sleep(0.3)
        for n in range(PUSHES):
            system.push(uid, f'{SECRET}{n}')
            time.sleep(1.2)  # what follows it is over: the append, and the positions
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait()
    return out.read_text(errors='replace').splitlines()


def synced_before_answers(lines):
    """(answers of 1 to a push, how many of them after a whole fdatasync and a write after that)"""
    answers = good = 0
    arrived = started = synced = written = False
    thread = None
    for line in lines:
        who = line.split()[0]
        if 'POST /1/push' in line:
            arrived, started, synced, written = True, False, False, False
        elif arrived and ' fdatasync(' in line:
            started, thread = True, who
            synced = re.search(r'= 0$', line) is not None
        elif arrived and started and who == thread and 'fdatasync resumed' in line:
            synced = line.endswith('= 0')
        elif arrived and synced and 'pwrite64' in line:
            written = True
        elif arrived and '\\"ret\\":1}' in line:
            answers, good, arrived = answers + 1, good + (synced and written), False
    return answers, good


def order(build):
    if not shutil.which('strace'):
        raise Skip('no strace: the order of the system calls is NOT tested')
    for bus, want in (('lmdb', PUSHES), ('memory', 0)):
        with harness.make('standalone', build, durable=True, options={'bus': bus}) as system:
            answers, good = synced_before_answers(traced(system))
        print(f'bus={bus}: {answers} answers, {good} of them after fdatasync and the meta page', flush=True)
        if answers != PUSHES or good != want:
            raise Failure(f'bus={bus}: {good} of {answers}, not {want} of {PUSHES}')


def fill(system, users, body):
    """Until a push is refused: {user: bodies accepted}."""
    for n in range(2000):
        uid, _ = users[n % len(users)]
        text = f'{SECRET}{uid}/{n}/'.ljust(body, 'x')
        answer = system.api().push(uid, text)
        if not answer.ok:
            return answer
        accepted.setdefault(uid, []).append(text.encode())
    raise Failure('it does not get full')


accepted = {}


def ask(port, path):
    try:
        with urllib.request.urlopen(f'http://127.0.0.1:{port}{path}', timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def seen_full(system):
    """What its two /healthz and /metrics say."""
    status, text = ask(system.api_port, '/healthz')
    missing = json.loads(text).get('missing')
    admin, text = ask(system.admins['imgo'], '/healthz')
    bus = next(peer['state'] for peer in json.loads(text)['peers'] if peer['name'] == 'bus')
    _, text = ask(system.admins['imgo'], '/metrics')
    return status, missing, admin, bus, int(re.search(r'^imgo_lmdb_full (\d)$', text, re.M).group(1))


def full(build):
    system = harness.make('standalone', build, durable=True, options={'store.bytes-max': '1g'})
    place = system.dir / 'store'
    done = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', place], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skip(f'no tmpfs can be mounted ({done.stderr.strip()}): a full disk is NOT tested')
    try:
        with system:
            users = [system.user() for _ in range(8)]
            answer = fill(system, users, 100000)
            headers = {k.lower(): v for k, v in dict(answer.headers).items()}
            if answer.status != 503 or 'retry-after' not in headers or answer.ret == 1:
                raise Failure(f'full: {answer} {headers}')
            health = seen_full(system)
            if health != (503, ['space'], 200, 'degraded', 1):
                raise Failure(f'full, and this is said: {health}')
            total = sum(map(len, accepted.values()))
            for uid, token in users:
                want = accepted[uid]
                poll(lambda: system.waiting(uid, token) == want, f'the log of {uid} has {len(want)} messages')
            uid, token = users[0]
            with system.tcp(token) as c:
                if [p.body for p in c.messages(len(accepted[uid]))] != accepted[uid]:
                    raise Failure('a user got something else than was accepted')
                c.leave()
            began = time.monotonic()
            poll(lambda: system.waiting(uid, token) == [], 'the acknowledgement counts on a full disk')
            poll(lambda: system.api().push(uid, f'{SECRET}again').ok, 'a push is accepted again')
            took = time.monotonic() - began
            poll(lambda: seen_full(system) == (200, None, 200, 'up', 0), 'that there is room again is said')
            accepted[uid] = [f'{SECRET}again'.encode()]
            for uid, token in users:
                with system.tcp(token) as c:
                    got = [p.body for p in c.messages(len(accepted[uid]))]
                    if got != accepted[uid]:
                        raise Failure(f'user {uid} got {len(got)} of {len(accepted[uid])}')
                    c.leave()
            print(f'full after {total} messages of 100 kB: 503 with Retry-After; all arrived; a push is accepted again '
                  f'{took:.2f} s after a user has read his', flush=True)
    finally:
        subprocess.run(['umount', '-l', place], stderr=subprocess.DEVNULL, check=False)


def buses(build):
    with harness.make('standalone', build, durable=True, options={'bus': 'lmdb'}) as system:
        imgo = system.parts['imgo']
        uid, token = system.user()
        want = []
        for n, bus in enumerate(('lmdb', 'memory', 'lmdb', 'memory', 'lmdb')):
            if n:
                system.stop('imgo')
                imgo.argv = [f'--bus={bus}' if arg.startswith('--bus=') else arg for arg in imgo.argv]
                system.start('imgo')
                system.ready()
            want.append(f'{SECRET}{n} in {bus}'.encode())
            system.push(uid, want[-1].decode())
            if n not in (1, 4):  # those of the first wait for the next
                continue
            with system.tcp(token) as c:
                got = [p.body for p in c.messages(len(want))]
                if got != want:
                    raise Failure(f'bus={bus}: {got}, not {want}')
                c.leave()
            poll(lambda: system.waiting(uid, token) == [], 'they are acknowledged')
            want = []
    print('store.path with bus=lmdb and bus=memory in turn: all arrived, in order', flush=True)


def run():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--build', default=str(harness.ROOT / 'build'))
    args = parser.parse_args()
    skipped = []
    for part in (order, full, buses):
        try:
            part(args.build)
        except Skip as skip:
            print(f'SKIPPED: {skip}', flush=True)
            skipped.append(part)
    return harness.SKIP if skipped and os.environ.get('IMGO_TEST_STRICT') is None else 0


if __name__ == '__main__':
    harness.main(run)
