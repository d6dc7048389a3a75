# SPDX-License-Identifier: MIT
"""Rows H3 to H9, H12, H13, H15: clients that break the protocol or flood it (FAILURES.md B.4)."""
import os
import random
import struct
import time

import imgo_client as ic
from imgo_client import WsClient, frame
from kit import SECRET, Counted, alive, check, descriptors, equal, figure, poll, raw, row, silent, slow_build

TEXT, BINARY, CLOSE, PING, PONG, CONT = 1, 2, 8, 9, 10, 0


def close_code(c, seconds=5.0):
    """Of the close frame with which the server ends the connection, which then has to be closed."""
    code = c.expect_close_code(seconds)
    c.close()
    return code


def ws_ends(system, token, data, code, what):
    """These bytes, sent by a client that is logged in, end its connection with that code."""
    c = system.ws(token, auto=False)
    try:
        c.send_raw(data)
    except ic.Closed:
        pass
    equal(close_code(c), code, what)


def login_frame(token):
    return frame(TEXT, b'{"ver":1,"op":7,"seq":1,"body":"%s"}' % token.encode())


# ---- H3 ----

@row()
def test_H3_lengths(system):
    """A length that lies closes before anything is allocated for it."""
    _, token = system.user()
    head = struct.Struct('>IHHii')
    before = system.parts['imgo'].rss()
    for length, header, what in ((0x7fffffff, 16, '2 GiB'), (0xffffffff, 16, 'negative'), (0x80000000, 16, 'most negative'),
                                 (15, 16, 'less than a header'), (0, 16, 'nothing'), (16, 17, 'header longer'), (16, 0, 'none'),
                                 (16, 0xffff, 'huge header'), (4096 + 17, 16, 'above the cap')):
        said, seconds = raw(system.comet().tcp, head.pack(length, header, 1, 7, 1))
        check(said == b'' and seconds < 2, f'before the login, {what}: {said!r} after {seconds:.1f} s')
        with system.tcp(token) as c:
            c.send_raw(head.pack(length, header, 1, 4, 2))
            equal(c.expect_close(2), b'', what)
    # A header that promises as much as is allowed costs what has come, not what it promises.
    held = silent(system.comet().tcp, 500, data=head.pack(4096 + 16, 16, 1, 7, 1))
    time.sleep(0.3)
    grown = system.parts['imgo'].rss() - before
    figure(f'500 promises of 4 kB before a login: {grown >> 10} kB')
    check(grown < 500 * 2048 or slow_build(system.build), 'memory on the word of a header')
    for s in held:
        s.close()
    for length, code in ((1 << 63, 1002), ((1 << 63) - 1, 1009), (1 << 31, 1009), (70000, 1009), (4096 + 4096, 1009)):
        ws_ends(system, token, bytes([0x81]) + (struct.pack('>BQ', 0xff, length) if length > 65535 else
                                                struct.pack('>BH', 0xfe, length)) + b'mask', code, f'a frame of {length}')
    for data in (b'\x81\xfe\x00\x05mask', b'\x81\xff' + struct.pack('>Q', 200) + b'mask'):
        ws_ends(system, token, data, 1002, 'a length not in its shortest form')
    alive(system)


@row()
def test_H3_garbage(system):
    """Random bytes end connections and nothing else."""
    rng = random.Random(os.urandom(4))
    _, token = system.user()
    for n in range(150):
        data = rng.randbytes(rng.randrange(1, 3000))
        for port in (system.comet().tcp, system.comet().ws):
            with ic.Socket(port=port) as s:
                try:
                    s.send_raw(data)
                except ic.Closed:
                    pass
        with system.tcp() as c:
            c.send(7, token, 1)
            try:
                c.send_raw(data)
            except ic.Closed:
                pass
        with system.ws() as c:
            try:
                c.send_raw(data)
            except ic.Closed:
                pass
    alive(system)


# ---- H4 to H6: RFC 6455 ----

@row()
def test_H4_frames(system):
    _, token = system.user()
    for what, data in (
            ('unmasked text', frame(TEXT, b'{}', masked=False)), ('unmasked ping', frame(PING, b'', masked=False)),
            ('RSV1', frame(TEXT, b'{}', rsv=4)), ('RSV2', frame(TEXT, b'{}', rsv=2)), ('RSV3', frame(PING, b'', rsv=1)),
            ('opcode 3', frame(3, b'')), ('opcode 7', frame(7, b'x')), ('opcode 11', frame(11, b'')),
            ('opcode 15', frame(15, b'x')),
            ('ping of 126 bytes', frame(PING, b'x' * 126)), ('close of 126 bytes', frame(CLOSE, b'\x03\xe8' + b'x' * 124)),
            ('fragmented ping', frame(PING, b'', fin=False)), ('fragmented close', frame(CLOSE, b'', fin=False)),
            ('a message inside a message', frame(TEXT, b'{', fin=False) + frame(TEXT, b'}')),
            ('a binary message inside', frame(TEXT, b'{', fin=False) + frame(BINARY, b'}')),
            ('continuation of nothing', frame(CONT, b'x')), ('and without an end', frame(CONT, b'x', fin=False)),
            ('continuation of what has ended', frame(TEXT, b'{"op":', fin=False) + frame(CONT, b'2}') + frame(CONT, b''))):
        ws_ends(system, token, data, 1002, what)
        with system.ws(auto=False) as c:  # before the login, too
            c.send_raw(data)
            equal(close_code(c), 1002, f'before the login: {what}')
    with system.ws(token) as c:  # what is allowed: control frames between fragments, empty fragments
        c.send_raw(frame(TEXT, b'{"ver":1,"op":4,', fin=False) + frame(PING, b'between') + frame(CONT, b'', fin=False) +
                   frame(CONT, b'"seq":9,"body":"fragmented"}'))
        equal(c.recv_frame()[2], b'between', 'pong')
        equal(vars(c.receive()), vars(ic.Packet(5, 'fragmented', 9, 1)), 'echo')


@row()
def test_H5_utf8(system):
    _, token = system.user()

    def text(inside):
        return b'{"ver":1,"op":4,"seq":1,"body":"' + inside + b'"}'

    for bad in (b'\xff', b'\xc0\xaf', b'\xc1\xbf', b'\xe0\x9f\xbf', b'\xed\xa0\x80', b'\xf0\x8f\xbf\xbf', b'\xf4\x90\x80\x80',
                b'\xf8\x88\x80\x80\x80', b'\x80', b'\xe2\x28\xa1', b'\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80'):
        ws_ends(system, token, frame(TEXT, text(bad)), 1007, repr(bad))
        ws_ends(system, token, frame(TEXT, text(bad)[:40], fin=False) + frame(CONT, text(bad)[40:]), 1007, f'in two: {bad!r}')
        ws_ends(system, token, frame(CLOSE, b'\x03\xe8' + bad), 1007, f'close reason {bad!r}')
    ws_ends(system, token, frame(TEXT, text(b'\xe2\x82')[:-2]), 1007, 'an end inside a code point')
    # Fail fast: before the rest of the frame is there.
    with system.ws(token, auto=False) as c:
        whole = frame(TEXT, text(b'\xff' + b'x' * 2000))
        c.send_raw(whole[:200])
        equal(close_code(c, 2), 1007, 'half a frame')
    with system.ws(token) as c:
        whole = text('κόσμε 😀'.encode())
        c.send_raw(b''.join(frame(CONT if at else TEXT, whole[at:at + 1], fin=at == len(whole) - 1)
                            for at in range(len(whole))))
        equal(c.receive().body, 'κόσμε 😀', 'split inside code points')
        c.send_split(frame(TEXT, whole), 1)
        equal(c.receive().body, 'κόσμε 😀', 'a byte at a time')


@row()
def test_H6_close_codes(system):
    _, token = system.user()
    for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        ws_ends(system, token, frame(CLOSE, struct.pack('>H', code)), 1002, f'code {code}')
    ws_ends(system, token, frame(CLOSE, b'\x03'), 1002, 'a close body of one byte')
    for code in (1000, 1001, 1002, 1003, 1007, 1011, 1013, 3000, 3999, 4000, 4999):
        ws_ends(system, token, frame(CLOSE, struct.pack('>H', code) + b'bye'), code, f'code {code} is echoed')
    c = system.ws(token, auto=False)
    c.send_raw(frame(CLOSE, b''))
    equal(c.recv_frame(), (CLOSE, True, b''), 'a close without a code')
    equal(c.expect_close(3), b'', 'and the end')
    c.close()
    # Nothing behind a close frame is read.
    uid, token = system.user()
    with system.ws(token, auto=False) as c:
        c.send_raw(frame(CLOSE, b'\x03\xe8') + frame(TEXT, b'{"ver":1,"op":4,"seq":5,"body":"late"}'))
        equal(c.recv_frame()[0], CLOSE, 'the close')
        equal(c.expect_close(3), b'', 'and no echo behind it')


# ---- H7, H13: floods ----

@row()
def test_H7_fragments(system):
    """Fragments without end, empty ones, a message above the cap in small pieces."""
    _, token = system.user()
    with Counted(system, 'imgo_hub_closed_total{why="flood"}', 2):
        ws_ends(system, token, frame(TEXT, b'{', fin=False) + frame(CONT, b' ', fin=False) * 3000, 1008, '1-byte fragments')
        ws_ends(system, token, frame(TEXT, b'{', fin=False) + frame(CONT, b'', fin=False) * 3000, 1008, 'empty fragments')
    with Counted(system, 'imgo_hub_closed_total{why="too_big"}'):
        ws_ends(system, token, frame(TEXT, b'{"body":"', fin=False) + frame(CONT, b'x' * 1000, fin=False) * 6, 1009,
                'a message in pieces')
    before = system.parts['imgo'].rss()
    held = [system.ws(token_of(system)) for _ in range(100)]
    for c in held:  # never FIN: what is held is bounded by the message cap
        c.send_raw(frame(TEXT, b'{"body":"' + b'x' * 4000, fin=False))
    time.sleep(0.3)
    figure(f'100 open messages of 4 kB: {(system.parts["imgo"].rss() - before) >> 10} kB')
    for c in held:
        c.close()
    alive(system)


def token_of(system):
    return system.user()[1]


@row()
def test_H7_pings(system):
    """Ping floods are floods; a burst is answered, in order."""
    _, token = system.user()
    with system.ws(token, auto=False) as c:
        c.send_raw(b''.join(frame(PING, b'%d' % n) for n in range(100)))
        equal([c.recv_frame()[2] for _ in range(100)], [b'%d' % n for n in range(100)], 'pongs')
    c = system.ws(token, auto=False)
    c.send_raw(frame(PING, b'x' * 100) * 1000)
    code = None
    while code is None:
        op, _, payload = c.recv_frame(5)
        if op == CLOSE:
            code = struct.unpack('>H', payload[:2])[0]
    equal(code, 1008, 'a flood of pings')
    equal(c.expect_close(5), b'', 'and the end')
    c.close()


@row()
def test_H13_flood(system):
    """As fast as it can: closed, 1008 on WebSocket, and the others notice nothing."""
    _, token = system.user()
    _, other = system.user()
    with system.tcp(other) as quiet, Counted(system, 'imgo_hub_closed_total{why="flood"}', 6):
        for what, data in (('heartbeats', ic.pack(2, b'', 1)), ('echoes', ic.pack(4, b'x', 1)),
                           ('rooms', ic.pack(12, b'live://1', 1))):
            c, began, sent = system.tcp(token), time.monotonic(), 0
            try:
                while time.monotonic() - began < 10:
                    c.send_raw(data * 500)
                    sent += 500
            except ic.Closed:
                pass
            c.close()
            took = time.monotonic() - began
            check(took < 5, f'a flood of {what} is not closed')
            figure(f'a flood of {what}: closed after {took:.2f} s, {sent} packets')
            began = time.monotonic()
            quiet.heartbeat()
            check(time.monotonic() - began < 0.5, f'another client waits {time.monotonic() - began:.2f} s')
        for op in (2, 4, 12):
            c = system.ws(token, auto=False)
            flood = frame(TEXT, b'{"ver":1,"op":%d,"seq":1,"body":"x"}' % op)
            try:
                for _ in range(40):
                    c.send_raw(flood * 25)
            except ic.Closed:
                pass
            equal(close_code(c), 1008, f'a flood of op {op}')
    with system.tcp(token) as c:  # what is normal stays normal
        for _ in range(150):
            c.heartbeat()
    alive(system)


# ---- H8, H9: the upgrade ----

@row(own={'hub.origins': 'https://good.example, https://other.example:8443'})
def test_H8_handshake(system):
    port = system.comet().ws
    base = ['Host: x', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
            'Sec-WebSocket-Version: 13']

    def answer(lines, target='/sub', method='GET', version='HTTP/1.1'):
        said, _ = raw(port, '\r\n'.join([f'{method} {target} {version}', *lines, '', '']).encode('latin-1'))
        return (*ic.parse_head(said[:said.index(b'\r\n\r\n') + 4]), said)

    def without(name):
        return [line for line in base if not line.startswith(name)]

    key = 'Sec-WebSocket-Key: '
    for what, lines, want in (
            ('no key', without(key), 400), ('two keys', base + [key + 'BBBBBBBBBBBBBBBBBBBBBA=='], 400),
            ('a short key', without(key) + [key + 'AAAA'], 400), ('a long key', without(key) + [key + 'A' * 64], 400),
            ('a key that is not base64', without(key) + [key + '!' * 22 + '=='], 400),
            ('no version', without('Sec-WebSocket-Version'), None), ('no Host', base[1:], 400),
            ('no Upgrade', without('Upgrade'), 400), ('no Connection', without('Connection'), 400),
            ('Upgrade to h2c', without('Upgrade') + ['Upgrade: h2c'], 400),
            ('a huge header', base + ['X: ' + 'x' * 9000], 431), ('65 headers', base + [f'X-{n}: x' for n in range(64)], 431),
            ('a body', base + ['Content-Length: 5'], 413), ('chunked', base + ['Transfer-Encoding: chunked'], 501),
            ('a bad Origin', base + ['Origin: https://evil.example'], 403), ('no scheme', base + ['Origin: good.example'], 403),
            ('a longer Origin', base + ['Origin: https://good.example.evil.example'], 403),
            ('another port', base + ['Origin: https://other.example'], 403), ('null', base + ['Origin: null'], 403)):
        status, fields, said = answer(lines)
        check(status == want or (want is None and status in (400, 426)), f'{what}: {status}, not {want}')
        equal(said.count(b'HTTP/1.1'), 1, what)
    for version in ('0', '8', '12', '14', 'x'):
        status, fields, _ = answer(without('Sec-WebSocket-Version') + [f'Sec-WebSocket-Version: {version}'])
        equal((status, fields.get('sec-websocket-version')), (426, '13'), f'version {version}')
    for method, target, version, want in (('GET', '/', 'HTTP/1.1', 404), ('POST', '/sub', 'HTTP/1.1', 405),
                                          ('GET', '/sub/../sub', 'HTTP/1.1', 404), ('GET', '/sub?' + 'q' * 3000, 'HTTP/1.1', 414)):
        equal(answer(base, target, method, version)[0], want, f'{method} {target[:20]} {version}')
    for origin in ('https://good.example', 'https://other.example:8443'):
        WsClient(port=port, headers=[f'Origin: {origin}']).close()
    WsClient(port=port).close()
    alive(system)


@row()
def test_H9_no_compression(system):
    """permessage-deflate is never agreed to, so there is nothing to inflate."""
    _, token = system.user()
    with system.ws(headers=['Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits']) as c:
        c.login(token)
        c.send_raw(frame(TEXT, b'\x00' * 100, rsv=4))
        equal(close_code(c), 1002, 'a compressed frame')
    with ic.Socket(port=system.comet().ws) as s:
        s.send_raw(b'GET /sub HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
                   b'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n')
        check(b'extensions' not in s.recv_until(b'\r\n\r\n').lower(), 'the extension is not accepted')


# ---- H12, H15 ----

@row()
def test_H12_ack_of_version_1(system):
    """Acknowledgements are version 2's; from others they are protocol errors and move nothing."""
    uid, token = system.user()
    for n in range(3):
        system.push(uid, f'{SECRET}{n}')
    for id in ((1, 1), (0, 0), (0xffffffff, (1 << 64) - 1)):
        with system.tcp() as c:
            c.send_raw(ic.pack(7, token, 1) + ic.pack(18, b'', 0, 1, id=id))
            c.expect_close(5)
        with system.tcp() as c:
            c.send_raw(ic.pack(18, b'', 0, 2, id=id) + ic.pack(7, token, 1))
            equal(c.expect_close(5), b'', 'before the login')
    with system.ws() as c:
        c.send_json('{"ver":1,"op":18,"seq":0,"epoch":1,"id":"18446744073709551615"}')
        equal(close_code(c), 1002, 'before the login')
    alive(system)


@row()
def test_H15_closes(system):
    """Whoever does not read the close, half-closes or lets the end hang is gone within the linger time."""
    part = system.parts['imgo']
    tokens = [token_of(system) for _ in range(4)]
    time.sleep(0.2)
    before = descriptors(part)
    held = []
    for n in range(40):
        c = system.ws(tokens[n % 4], auto=False)
        c.send_raw(frame(PING, b'', masked=False))  # closed for it, and never reads that
        held.append(c)
        c = system.ws(tokens[n % 4], auto=False)
        c.send_raw(frame(CLOSE, b'\x03\xe8'))       # begins a close and then leaves it hanging
        held.append(c)
        c = system.tcp()
        c.send(7, f'{SECRET}nobody', 1)             # refused, and never closes its side
        held.append(c)
    began = time.monotonic()
    poll(lambda: descriptors(part) <= before + 4, 'the daemon has closed them', 8)
    took = time.monotonic() - began
    figure(f'120 that do not close their side: gone after {took:.1f} s')
    for c in held:
        c.close()
    uid, token = system.user()  # half-close: an orderly end
    with system.tcp(token) as c:
        c.half_close()
        equal(c.expect_close(3), b'', 'TCP half-close')
    with system.ws(token, auto=False) as c:
        c.half_close()
        c.expect_close(3)
    for _ in range(200):  # reset at once, in the middle, after the login
        c = system.tcp(token)
        c.send_raw(ic.pack(4, b'x' * 100, 1)[:50])
        c.reset()
    poll(lambda: descriptors(part) <= before + 4, 'no descriptor is left behind', 8)
    alive(system)
