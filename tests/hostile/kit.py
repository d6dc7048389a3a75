# SPDX-License-Identifier: MIT
"""What the hostile tests share: the register of tests, sockets by the thousand, raw requests, counters.

A test is a function test_ROW_what(system), registered by @row. ROW is its row in FAILURES.md B.4, B.5, B.7 or its number in
COMPATIBILITY.md §5; rows.py holds what the rows are and which tests elsewhere they have.
"""
import os
import pathlib
import re
import select
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'integration'))
import harness  # noqa: E402
import imgo_client as ic  # noqa: E402
from harness import SECRET, Failure, poll  # noqa: E402,F401

TESTS = []


def row(kind='standalone', own=None, heavy=False, failpoints=False, **more):
    """own: None (the system that such tests share), or a dict of options for a system of its own; more: its further
    arguments. heavy: thousands of sockets, not run with a sanitizer. failpoints: needs a build with them."""
    def add(function):
        TESTS.append((function, kind, own, heavy, failpoints, more))
        return function
    return add


def equal(got, want, what=''):
    if got != want:
        raise Failure(f'{what}: got {got!r:.600}, want {want!r:.600}')


def check(condition, what):
    if not condition:
        raise Failure(what)


def figure(text):
    """A measured number, for the log."""
    print(f'       {text}', flush=True)


def slow_build(build):
    """Built with a sanitizer: time and memory say nothing."""
    return b'__asan_init' in (pathlib.Path(build) / 'daemons' / 'imgo').read_bytes() or \
        b'__tsan_init' in (pathlib.Path(build) / 'daemons' / 'imgo').read_bytes()


# ---- counters ----

def counters(system, name=None):
    """{counter: value} of a daemon, by its /metrics."""
    with ic.Api(port=system.admins[name or next(iter(system.admins))]) as api:
        answer = api.request('GET', '/metrics')
    equal(answer.status, 200, '/metrics')
    found = {}
    for line in answer.body.decode().splitlines():
        match = re.match(r'(\w+(?:\{[^}]*\})?) (-?[0-9.e+]+)$', line)
        if match:
            found[match.group(1)] = float(match.group(2))
    return found


class Counted:
    """with Counted(system, 'imgo_hub_closed_total{why="flood"}'): it must have gone up at the end."""

    def __init__(self, system, name, by=1, part=None):
        self.system, self.name, self.by, self.part = system, name, by, part

    def value(self):
        return counters(self.system, self.part).get(self.name, 0.0)

    def __enter__(self):
        self.before = self.value()
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            poll(lambda: self.value() - self.before >= self.by, f'{self.name} counts {self.by}', 5)


# ---- sockets ----

def raw(port, data, seconds=5.0, source=None):
    """Sends it and reads to the end. (bytes, seconds until the peer closed)."""
    began = time.monotonic()
    with ic.Socket(port=port, timeout=seconds, source=source and (source, 0)) as s:
        try:
            s.send_raw(data)
        except ic.Closed:
            pass
        return s.expect_close(seconds), time.monotonic() - began


def trickle(port, data, pause, seconds):
    """One byte each `pause` until the peer closes: the seconds that took, and what it said."""
    began, said = time.monotonic(), b''
    with ic.Socket(port=port, timeout=seconds) as s:
        for at in range(len(data)):
            try:
                s.send_raw(data[at:at + 1])
            except ic.Closed:
                return time.monotonic() - began, said
            end = time.monotonic() + pause
            while time.monotonic() < end:
                if not select.select([s.sock], [], [], max(0.0, end - time.monotonic()))[0]:
                    continue
                try:
                    more = s.sock.recv(65536)
                except OSError:
                    more = b''
                if not more:
                    return time.monotonic() - began, said
                said += more
            if time.monotonic() - began > seconds:
                break
    raise Failure(f'open after {seconds} s of one byte each {pause} s')


def silent(port, n, source='127.0.0.1', data=b''):
    """n connected sockets of this process, that have sent `data`."""
    made = []
    for _ in range(n):
        s = socket.socket()
        s.bind((source, 0))
        s.setblocking(False)
        try:
            s.connect(('127.0.0.1', port))
        except BlockingIOError:
            pass
        made.append(s)
    for s in made:
        connected = select.poll()  # select() ends at descriptor 1023
        connected.register(s, select.POLLOUT)
        connected.poll(5000)
        try:
            s.send(data)
        except OSError:
            pass
    return made


def closed_count(sockets):
    """How many of them have been closed by the peer."""
    n = 0
    for s in sockets:
        try:
            n += s.recv(65536, socket.MSG_DONTWAIT) == b''
        except BlockingIOError:
            pass
        except OSError:
            n += 1
    return n


class Swarm:
    """Processes that hold sockets: swarm.py, one for each of `sources`, `each` sockets."""

    def __init__(self, port, sources, each, what='silent', seconds=60):
        argv = [sys.executable, str(HERE / 'swarm.py'), what, str(port), str(each), str(seconds)]
        self.processes = [subprocess.Popen(harness.dying_with_us(argv + [source]), stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, text=True) for source in sources]

    def __enter__(self):
        self.connected = sum(int(p.stdout.readline().split()[1]) for p in self.processes)
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        """What each says at its end, added up: {name: number}."""
        found = {}
        for p in self.processes:
            if p.stdin and not p.stdin.closed:
                p.stdin.close()
        for p in self.processes:
            for line in p.stdout:
                name, value = line.split()
                found[name] = found.get(name, 0) + float(value)
            p.wait(30)
            p.stdout.close()
        self.processes = []
        return found


def login_times(system, n, source=None, pause=0.02, seconds=60.0):
    """Sorted seconds of up to n logins, one after the other: connect, auth, reply."""
    _, token = system.user()
    times, end = [], time.monotonic() + seconds
    while len(times) < n and time.monotonic() < end:
        began = time.monotonic()
        with system.tcp(timeout=30.0, **({'source': (source, 0)} if source else {})) as c:
            c.login(token)
            times.append(time.monotonic() - began)
            c.leave()
        time.sleep(pause)
    return sorted(times)


def spread(times):
    return (f'p50 {times[len(times) // 2] * 1e3:.1f} ms, p99 {times[int(len(times) * 0.99)] * 1e3:.1f} ms, '
            f'max {times[-1] * 1e3:.1f} ms of {len(times)}')


def descriptors(part):
    return len(os.listdir(f'/proc/{part.popen.pid}/fd'))


def alive(system):
    """A user logs in and is pushed to, on TCP and on WebSocket."""
    for login, want in ((system.tcp, b'alive'), (system.ws, 'alive')):
        uid, token = system.user()
        with login(token) as c:
            system.push(uid, 'alive')
            equal(c.message().body, want, 'still delivered')
