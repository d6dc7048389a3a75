# SPDX-License-Identifier: MIT
"""Rows H1, H2, H16, O1 and B17, B27, B28: many connections, few descriptors (FAILURES.md B.4, B.7)."""
import concurrent.futures
import resource
import subprocess
import time

import imgo_client as ic
from kit import (SECRET, Counted, Failure, Swarm, alive, check, closed_count, counters, descriptors, equal, figure, login_times,
                 poll, row, silent, spread, trickle)

SILENT = 15000


@row(own={}, heavy=True)
def test_H1_silent_sockets(system):
    """15,000 that say nothing, from four processes and addresses; and then as many that come again when they are closed."""
    part = system.parts['imgo']
    figure(f'logins alone: {spread(login_times(system, 100))}')
    before = part.rss()
    for what in ('silent', 'again'):
        with Swarm(system.comet().tcp, [f'127.0.0.{n}' for n in range(2, 6)], SILENT // 4, what, 60) as swarm:
            held, grown = descriptors(part), part.rss() - before
            during = login_times(system, 100, seconds=10)
            found = swarm.end()
        figure(f'{what}: logins during {found["opened"]:.0f} silent connections ({found["closed"]:.0f} closed): {spread(during)}')
        check(swarm.connected >= SILENT * 0.9, f'{swarm.connected} connected')
        check(during[len(during) // 2] < 1.0, 'a legitimate client waits too long')
        if what == 'silent':
            figure(f'{held} held, {grown / held:.0f} bytes resident for each')
            check(grown / held < 4096, 'memory before a login')
    alive(system)


@row(own={'hub.handshake-timeout': '2s'})
def test_H1_slow_bytes(system):
    """The deadline is absolute: bytes that come one by one do not move it."""
    _, token = system.user()
    padded = ic.pack(7, token + ' ' * 200, 1)
    upgrade = b'GET /sub HTTP/1.1\r\nHost: x\r\nX: ' + b'x' * 500
    with concurrent.futures.ThreadPoolExecutor(8) as pool, Counted(system, 'imgo_hub_closed_total{why="handshake"}', 6):
        runs = [pool.submit(trickle, port, data, pause, 8) for port, data in
                ((system.comet().tcp, padded), (system.comet().ws, upgrade)) for pause in (0.5, 0.1, 0.02)]
        for run in runs:
            seconds, said = run.result()
            check(1.5 < seconds < 3.5, f'closed after {seconds:.1f} s, {said!r}')
    for login in (system.tcp, system.ws):  # silent, and silent after the upgrade
        with login() as c:
            began = time.monotonic()
            c.expect_close(5)
            check(1.5 < time.monotonic() - began < 3.5, 'silent')
    alive(system)


@row(own={'hub.packets-per-second-max': 0, 'hub.rooms-max': 64}, heavy=True)
def test_H16_colliding_rooms(system):
    """100,000 keys that are one value under 31x and 33x hashes (and agree in their low bits under many) cost what 100,000
    others cost."""
    def colliding(n):
        # 'Ez' and 'FY' are one value under h*33+c, 'Aa' and 'BB' under h*31+c; 17 binary choices of each
        return b''.join(((b'Ez', b'FY')[n >> i & 1] + (b'Aa', b'BB')[n >> i & 1]) for i in range(17))

    def others(n):
        return b'%068d' % (n * 2654435761)

    took = {}
    for name, key in (('others', others), ('colliding', colliding)):
        clients = [system.tcp(system.user()[1], timeout=60) for _ in range(1600)]
        before, began = system.parts['imgo'].cpu(), time.monotonic()
        for at, c in enumerate(clients):
            c.send_raw(b''.join(ic.pack(20, key(at * 64 + n), n) for n in range(63)))
        for c in clients:
            for _ in range(63):
                equal(c.receive(60).op, 22, 'joined')
        took[name] = (time.monotonic() - began, system.parts['imgo'].cpu() - before)
        for c in clients:
            c.close()
        poll(lambda: descriptors(system.parts['imgo']) < 100, 'they are gone', 20)
    figure(', '.join(f'100,000 {name} keys: {t:.2f} s, {cpu:.2f} s of processor' for name, (t, cpu) in took.items()))
    check(took['colliding'][1] < 3 * took['others'][1] + 0.5, 'colliding keys cost more')


@row(own={})
def test_O1_descriptors(system):
    """With 200 descriptors: more clients than that, then none, and everything works again; no spinning meanwhile. (B17)"""
    part = system.parts['imgo']
    pid = part.popen.pid
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (200, 200))
    _, token = system.user()
    with system.tcp(token) as there:
        held = silent(system.comet().tcp, 300) + silent(system.comet().ws, 100)
        time.sleep(0.5)
        check(descriptors(part) >= 195, f'{descriptors(part)} descriptors are in use')
        before = part.cpu()
        time.sleep(2)
        used = part.cpu() - before
        figure(f'{used:.2f} s of processor in 2 s without a descriptor')
        check(used < 0.5, f'it spins: {used:.2f} s of processor in 2 s')
        there.heartbeat()
        for s in held:
            s.close()
        began = time.monotonic()
        with system.tcp(token) as c:
            c.heartbeat()
        figure(f'{(time.monotonic() - began) * 1e3:.0f} ms until the next login')
        check(time.monotonic() - began < 3, 'it does not recover')
    system.api().close()
    alive(system)


@row(own={'hub.connections-max': 100})
def test_O1_connections_max(system):
    """Above its own maximum a client is closed at once, and counted."""
    _, token = system.user()
    clients = [system.tcp(token_of(system)) for _ in range(100)]
    with Counted(system, 'imgo_hub_refused_total{why="connections"}', 5):
        for _ in range(5):
            with ic.Socket(port=system.comet().tcp) as s:
                equal(s.expect_close(3), b'', 'the 101st')
    for c in clients[:10]:
        c.leave()
    poll(lambda: system.tcp(token).close() or True, 'there is room again', 5)
    for c in clients:
        c.close()
    alive(system)


def token_of(system):
    return system.user()[1]
