# SPDX-License-Identifier: MIT
"""Defects of the original that we do not have: the same steps, the right outcome (COMPATIBILITY.md §5; rows.py names the
tests of the others)."""
import concurrent.futures
import select
import time

import imgo_client as ic
from kit import SECRET, Counted, alive, check, counters, descriptors, equal, figure, poll, row, silent, slow_build


def body(n):
    return f'{SECRET}{n}'


def on_server(system, comet):
    return {row['Server']: row['Count'] for row in system.api().count('server').data or []}.get(comet, 0)


@row(kind='cluster', own={'comet.lease': '2s'})
def test_B1_a_comet_dies(system):
    """Its sessions end with its lease, and what is pushed meanwhile waits for the users."""
    users = [system.user() for _ in range(5)]
    clients = [system.tcp(token, 0) for _, token in users]
    poll(lambda: on_server(system, 1) == 5, 'five on comet 1', 20)
    system.kill('comet1')
    for n, (uid, _) in enumerate(users):
        system.push(uid, body(n))
    began = time.monotonic()
    poll(lambda: on_server(system, 1) == 0, 'no ghosts', 20)
    figure(f'no session of it {time.monotonic() - began:.1f} s after a kill -9, with a lease of 2 s')
    for n, (uid, token) in enumerate(users):
        system.push(uid, body(n + 10))
        with system.tcp(token, 1) as c:
            equal([p.body for p in c.messages(2)], [body(n).encode(), body(n + 10).encode()], 'what was pushed to a ghost')
            c.no_message(0.05)
    for c in clients:
        c.close()
    system.start('comet1')


@row(kind='cluster', own={})
def test_B4_a_router_restarts(system):
    """Sessions are announced again, a second device takes nothing from the first, and everybody is reachable."""
    uid, token = system.user()
    with system.tcp(token, 0) as first:
        system.push(uid, body(1))
        equal(first.message().body, body(1).encode(), 'before')
        time.sleep(1.5)  # until it is acknowledged
        system.restart('router')

        def login():
            try:
                return system.ws(token, 1)
            except ic.Closed as closed:
                equal(closed.code, 1013, 'a login meanwhile')
                return None

        with poll(login, 'a second device logs in', 30, 0.2) as second:
            poll(lambda: on_server(system, 1) >= 1 and on_server(system, 2) >= 1, 'both are known', 30)
            for n in range(2, 12):
                system.push(uid, body(n))
            equal([p.body for p in first.messages(10)], [body(n).encode() for n in range(2, 12)], 'the first device')
            equal([p.body for p in second.messages(10)], [body(n) for n in range(2, 12)], 'the second device')
            first.no_message(0.1)
            second.no_message(0.1)


@row(own={'store.messages-max': 100000, 'store.bytes-max': '256m', 'hub.write-queue-max-bytes': '64k',
          'v1.ack': 'heartbeat'})
def test_B7_slow_reader(system):
    """2,000 messages to one who does not read: he loses his connection, which is counted, and not one of them. (With
    v1.ack=tcp what lies unread in his TCP for a second counts as received, so this would depend on the machine's speed.)"""
    uid, token = system.user()
    text, total, got = 'x' * 2000, 2000, []
    with Counted(system, 'imgo_hub_closed_total{why="slow"}'):
        with system.tcp(token, rcvbuf=4096) as c:
            for n in range(total):
                system.push(uid, f'{SECRET}{n}.{text}')
            time.sleep(0.5)
    for _ in range(60):
        with system.tcp(token) as c:
            try:
                while len(got) < total:
                    number = int(c.message(3).body[len(SECRET):].split(b'.')[0])
                    if number >= len(got):  # what a close made come again is skipped
                        equal(number, len(got), 'order')
                        got.append(number)
                    if len(got) % 20 == 0:
                        c.send(ic.OP_HEARTBEAT, b'', 99)
                break
            except ic.ClientError:
                pass
    equal(len(got), total, 'received')


@row()
def test_B11_devices(system):
    """Each device that has logged in once has all messages, whatever the other has read."""
    uid = system.uid()
    tokens = {device: system.token(uid, device=device) for device in ('phone', 'pad', 'tv')}
    for token in tokens.values():
        system.tcp(token).leave()
    for n in range(5):
        system.push(uid, body(n))
    for device, token in tokens.items():
        with system.tcp(token) as c:
            equal([p.body for p in c.messages(5)], [body(n).encode() for n in range(5)], device)
            c.leave()
        time.sleep(1.2)  # until it is acknowledged
    system.push(uid, body(5))
    for device, token in tokens.items():
        with system.ws(token) as c:
            equal(c.message().body, body(5), f'{device}: only what is new')
            c.no_message(0.05)


@row(failpoints=True, own={'comet.compare': '1s'}, env={'IMGO_FAILPOINT': 'comet.connect.reply:delay=400'})
def test_B16_gone_while_logging_in(system):
    """A client that goes while it is being logged in leaves no session behind."""
    users = [system.user() for _ in range(10)]
    poll(lambda: on_server(system, 1) == 0, 'nobody is there', 10)
    for login, end in ((ic.TcpClient, 'reset'), (ic.TcpClient, 'close')):
        for uid, token in users:
            c = login(port=system.comet().tcp)
            c.send(7, token, 1)
            time.sleep(0.05)
            getattr(c, end)()
    time.sleep(0.6)
    poll(lambda: on_server(system, 1) == 0, 'no session is left', 10)
    uid, token = users[0]
    system.push(uid, body(0))
    with system.tcp(token) as c:
        equal(c.message().body, body(0).encode(), 'it waited')


@row()
def test_B18_buffers(system):
    """Echoes and pushes to clients that read late: every byte is that client's own."""
    clients = [(system.tcp if n % 2 else system.ws)(system.user()[1]) for n in range(12)]
    sent = []
    for n, c in enumerate(clients):
        bodies = [f'{n}.{k}.' + chr(97 + n) * (3000 + k) for k in range(60)]
        sent.append(bodies)
        for k, text in enumerate(bodies):
            c.send(4, text, k)
    for bodies, c in zip(sent, clients):
        for k, text in enumerate(bodies):
            got = c.receive()
            equal((got.seq, got.body if isinstance(got.body, str) else got.body.decode()), (k, text), 'echo')
        c.close()


@row(kind='cluster', own={})
def test_B20_a_router_is_down(system):
    """That it cannot be asked does not mean that the user is away: what is pushed arrives when it is back, or before."""
    users = [system.user() for _ in range(6)]
    clients = [system.tcp(token, n) for n, (_, token) in enumerate(users)]
    system.kill('router')
    for n, (uid, _) in enumerate(users):
        system.push(uid, body(n))
    time.sleep(0.5)
    system.start('router')
    began = time.monotonic()
    for n, c in enumerate(clients):
        equal(c.message(30).body, body(n).encode(), 'an online user')
    figure(f'all delivered {time.monotonic() - began:.1f} s after the router was back')
    for c in clients:
        c.no_message(0.05)
        c.close()


@row()
def test_B21_equal_messages(system):
    """As many equal messages at one moment as were pushed, to those online and to those away."""
    (uid, token), (away, away_token) = system.user(), system.user()
    with system.tcp(token) as c, concurrent.futures.ThreadPoolExecutor(8) as pool:
        def push(_):
            with ic.Api(port=system.api_port) as api:
                return all(api.push(who, 'the same').ok for who in (uid, away) for _ in range(10))
        check(all(pool.map(push, range(8))), 'accepted')
        equal([p.body for p in c.messages(80)], [b'the same'] * 80, 'online')
        c.no_message(0.1)
    equal(system.waiting(away, away_token), [b'the same'] * 80, 'reading the log')
    with system.tcp(away_token) as c:
        equal([p.body for p in c.messages(80)], [b'the same'] * 80, 'away')
        c.no_message(0.1)


@row(kind='cluster', own={})
def test_B26_the_store_is_down(system):
    """Pushes are accepted, logins are told to come again, and both go through when it is back."""
    uid, token = system.user()
    with system.ws(token, 1) as there:
        system.kill('memcached')
        began = time.monotonic()
        system.push(uid, body(0))
        check(time.monotonic() - began < 2, f'a push took {time.monotonic() - began:.1f} s')
        with system.ws() as c:
            c.send(7, token, 1)
            equal(c.expect_close_code(10), 1013, 'a login meanwhile')
        there.heartbeat()
        system.start('memcached')
        equal(there.message(60).body, body(0), 'delivered when it is back')


@row(own={}, heavy=True)
def test_B27_memory(system):
    """Little at the start, little for an idle connection."""
    part = system.parts['imgo']
    tokens = [system.user()[1] for _ in range(200)]
    start = part.rss()
    clients = [system.tcp(tokens[n % 200]) for n in range(2000)]
    grown = (part.rss() - start) / 2000
    figure(f'{start >> 20} MB at the start, {grown:.0f} bytes for each of 2,000 idle connections')
    check(start < 40 << 20, f'{start} bytes at the start')
    check(grown < 2500, f'{grown:.0f} bytes a connection')
    for c in clients:
        c.close()


@row(own={}, heavy=True)
def test_B28_login_storm(system):
    """10,000 logins at once: not one is refused."""
    tokens = [system.user()[1] for _ in range(1000)]
    began = time.monotonic()
    sockets = []
    for n in range(10):
        part = tokens[n * 100:n * 100 + 100]
        for token in part:
            sockets += silent(system.comet().tcp, 10, f'127.0.0.{n + 2}', ic.pack(7, token, 1))
    waiting, poller = {s.fileno(): (s, b'') for s in sockets}, select.epoll()
    for fd in waiting:
        poller.register(fd, select.EPOLLIN)
    answered = refused = 0
    while waiting and time.monotonic() - began < 60:
        for fd, _ in poller.poll(1):
            s, said = waiting[fd]
            try:
                more = s.recv(16 - len(said))
            except OSError:
                more = b''
            said += more
            waiting[fd] = (s, said)
            if len(said) == 16 or not more:
                answered, refused = answered + (len(said) == 16), refused + (len(said) < 16)
                poller.unregister(fd)
                del waiting[fd]
    took = time.monotonic() - began
    for s in sockets:
        s.close()
    figure(f'10,000 logins in {took:.1f} s ({10000 / took:.0f} a second), {refused} refused')
    equal((answered, refused), (10000, 0), 'answered, refused')


@row(own={'room.batch-max': 20, 'room.batch-wait': '50ms'})
def test_B29_room_order(system):
    """Order in a room across batches, with `ensure` and without, on both transports."""
    room = str(system.uid() % 1000000)
    with system.tcp(system.user()[1]) as a, system.ws(system.user()[1]) as b:
        a.room(room)
        b.room(room)
        for n in range(300):
            equal(system.api().room(room, body(n), ensure=n % 2).ret, 1, 'push/room')
        equal([p.body for p in a.messages(300)], [body(n).encode() for n in range(300)], 'TCP')
        equal([p.body for p in b.messages(300)], [body(n) for n in range(300)], 'WebSocket')


@row()
def test_L1_ten_thousand_closes(system):
    """Connections of every kind, ended in every way: no descriptor, no memory and (with a sanitizer) no leak is left."""
    part = system.parts['imgo']
    tokens = [system.user()[1] for _ in range(20)]
    bad = f'{SECRET}nobody'
    binary = dict(binary=True)

    def tcp(token):
        c = ic.TcpClient(port=system.comet().tcp)
        c.send(7, token, 1)
        return c

    def ws(token, **how):
        c = ic.WsClient(port=system.comet().ws, auto=False, **how)
        c.send(7, token, 1)
        return c

    def packets(token):
        """goim's binary dialect, or what is refused for it."""
        c = ic.WsClient(port=system.comet().ws, auto=False)
        c.send_frame(c.BINARY, ic.pack(7, '{"mid":1,"token":"%s","accepts":[1]}' % token, 1))
        return c

    def half(token):
        c = ic.TcpClient(port=system.comet().tcp)
        c.send_raw(ic.pack(7, token, 1)[:20])
        return c

    def half_upgrade(_):
        c = ic.WsClient(port=system.comet().ws, upgrade=False)
        c.send_raw(b'GET /sub HTTP/1.1\r\nHost: x\r\nUpgr')
        return c

    def half_frame(token):
        c = ws(token)
        c.send_raw(ic.frame(1, b'{"ver":1,"op":4,"body":"' + b'x' * 500)[:100])
        return c

    def open_message(token):
        c = ws(token)
        c.send_raw(ic.frame(1, b'{"ver":1,"op":4,', fin=False))
        return c

    starts = [tcp, ws, packets, half, half_upgrade, half_frame, open_message, lambda t: ws(t, **binary),
              lambda t: ic.TcpClient(port=system.comet().tcp), lambda t: tcp(bad), lambda t: ws(bad)]

    def orderly(c):
        c.half_close()
        c.expect_close(10)
        c.close()

    def close_frame(c):
        if isinstance(c, ic.WsClient):
            c.send_raw(ic.frame(8, b'\x03\xe8'))
        c.close()

    ends = [lambda c: c.close(), lambda c: c.reset(), orderly, close_frame]
    before, rounds = None, 10000 // (len(starts) * len(ends)) + 1
    for n in range(rounds):
        for i, start in enumerate(starts):
            for j, end in enumerate(ends):
                try:
                    c = start(tokens[(n + i + j) % len(tokens)])
                    if (n + j) % 3 == 0:
                        c.recv_some(timeout=0.002)
                except ic.ClientError:
                    pass
                try:
                    end(c)
                except (ic.ClientError, OSError):
                    c.close()
        if n == rounds // 3:
            before = part.rss()
    poll(lambda: counters(system)['imgo_hub_connections'] == 0, 'none is left', 15)
    grown = part.rss() - before
    figure(f'{rounds * len(starts) * len(ends)} connections; {grown >> 10} kB more after the last two thirds')
    # A sanitizer keeps what was freed for a while; it looks for leaks at the end.
    check(grown < 24 << 20 or slow_build(system.build), f'{grown} bytes more')
    check(descriptors(part) < 60, f'{descriptors(part)} descriptors')
    alive(system)
