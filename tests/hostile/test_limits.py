# SPDX-License-Identifier: MIT
"""Rows H1, H2, H16, O1 and B17, B27, B28: many connections, few descriptors (FAILURES.md B.4, B.7)."""
import concurrent.futures
import resource
import time

import imgo_client as ic
from kit import (SECRET, Counted, Swarm, alive, check, closed_count, counters, descriptors, equal, figure, login_times,
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
            during = login_times(system, 100, seconds=5)
            found = swarm.end()
        figure(f'{what}: logins during {found["opened"]:.0f} silent connections ({found["closed"]:.0f} closed): {spread(during)}')
        check(found['opened'] >= SILENT * 0.9, f'{found["opened"]} connected')
        # Silent ones give way after a second; without that a client waits for their deadline, nearly 5 s.
        waited = during[-1] if what == 'silent' else during[len(during) // 2]
        check(waited < 3, f'a legitimate client waits {waited:.1f} s')
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


@row(own={'hub.limit-loopback': 'true', 'hub.address-unauthenticated-max': 50})
def test_H2_cap_of_an_address(system):
    """One address has so many that have not logged in; others, and those that are logged in, do not count."""
    port = system.comet().tcp
    _, token = system.user()
    logged_in = [system.tcp(token_of(system), source=('127.0.0.2', 0)) for _ in range(60)]
    with Counted(system, 'imgo_hub_refused_total{why="address"}', 30):
        held = silent(port, 80, '127.0.0.2')
        poll(lambda: closed_count(held) >= 30 or True, 'the rest is closed')
        time.sleep(0.2)
        open_ = 80 - sum(is_closed(s) for s in held)
        equal(open_, 50, 'open connections of the address')
    with ic.TcpClient(port=port, source=('127.0.0.2', 0)) as c:
        equal(c.expect_close(2), b'', 'the 51st')
    with system.tcp(token, source=('127.0.0.3', 0)) as c:
        c.heartbeat()
    for c in logged_in:
        c.heartbeat()
        c.close()
    for s in held:
        s.close()

    def again():
        try:
            system.tcp(token, source=('127.0.0.2', 0)).close()
            return True
        except ic.Closed:
            return False
    poll(again, 'there is room again', 5)
    alive(system)


def is_closed(s):
    try:
        return s.recv(1) == b''
    except BlockingIOError:
        return False
    except OSError:
        return True


@row(own={'hub.limit-loopback': 'true'}, heavy=True)
def test_H2_flood_of_two_addresses(system):
    """4,000 sockets of two addresses that come again and again: 2,000 are held, and another address is served at once."""
    with Swarm(system.comet().tcp, ['127.0.0.2', '127.0.0.3'], 2000, 'again', 60) as swarm:
        time.sleep(0.5)
        held = descriptors(system.parts['imgo'])
        times = login_times(system, 100, source='127.0.0.9', seconds=5)
        found = swarm.end()
    figure(f'{held} held, {found["closed"]:.0f} closed: logins of another address {spread(times)}')
    check(held < 2100, f'{held} are held')
    check(times[len(times) // 2] < 0.25, 'others wait')
    alive(system)


@row(own={'hub.limit-loopback': 'true', 'hub.address-failures-max': 120})
def test_H10_guessing(system):
    """2,000 guesses of one address: a minute's budget goes through, then two a second; nobody else is slower, the time of
    an answer says nothing, and the address is not locked out."""
    port, guesses = system.comet().tcp, 2000
    uid, token = system.user()
    revoked = token
    token = system.token(uid)
    times = {}
    for what, guess in (('unknown', f'{SECRET}guess'), ('revoked', revoked), ('empty', ''), ('long', 'x' * 1000)):
        times[what] = sorted(refusal_time(port, guess, '127.0.0.4') for _ in range(8))
    figure('refusals: ' + ', '.join(f'{what} {t[0] * 1e3:.1f} to {t[-2] * 1e3:.1f} ms' for what, t in times.items()))
    for what, t in times.items():
        check(t[0] >= 0.099, f'{what} is answered in {t[0] * 1e3:.1f} ms')
        check(abs(t[len(t) // 2] - times['unknown'][len(t) // 2]) < 0.015, f'{what} differs: {t}')
    with Counted(system, 'imgo_hub_login_failures_total', 120), Counted(system, 'imgo_hub_logins_held_total', 5):
        began, answered = time.monotonic(), 0
        while time.monotonic() - began < 3 and answered < guesses:
            held = silent(port, 100, '127.0.0.2', ic.pack(7, f'{SECRET}guess', 1))
            time.sleep(0.3)
            answered += sum(is_closed(s) for s in held)
            for s in held:
                s.close()
        before = counters(system)['imgo_hub_login_failures_total']
        held = silent(port, 40, '127.0.0.2', ic.pack(7, f'{SECRET}guess', 1))
        times = login_times(system, 50, source='127.0.0.3', pause=0.005)
        time.sleep(2)
        rate = (counters(system)['imgo_hub_login_failures_total'] - before) / 2
        for s in held:
            s.close()
    figure(f'then {rate:.1f} guesses a second; logins of another address {spread(times)}')
    check(rate < 4, f'{rate} guesses a second are answered')
    check(times[len(times) // 2] < 0.1, 'others are slower')
    began = time.monotonic()
    poll(lambda: logs_in(system, token, '127.0.0.2'), 'the address is not locked out', 30, 0.2)
    figure(f'a good token of that address: in after {time.monotonic() - began:.1f} s')
    alive(system)


def refusal_time(port, token, source):
    with ic.TcpClient(port=port, source=(source, 0)) as c:
        began = time.monotonic()
        c.send(7, token, 1)
        equal(c.expect_close(5), b'', 'refused')
        return time.monotonic() - began


def logs_in(system, token, source):
    try:
        system.tcp(token, source=(source, 0)).close()
        return True
    except ic.Closed:
        return False
