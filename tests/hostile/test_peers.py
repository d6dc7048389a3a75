# SPDX-License-Identifier: MIT
"""Rows H11 and H17: what reaches memcached, and who talks to the daemons' own ports (FAILURES.md B.4)."""
import os
import random
import socket
import struct
import time
import urllib.parse

import imgo_client as ic
from kit import SECRET, Counted, alive, check, descriptors, equal, figure, poll, raw, row

TOKENS = (b'a b', b'a\r\nflush_all\r\n', b'x\r\nset k 0 0 1\r\ny\r\n', b'\r\n', b' ', b'\t', b'a\0b', b'k' * 251, b'k' * 1024, b'%s',
          b'gets ' + b'z' * 240, b'\xff\xfe\x80', 'тест'.encode(), b'"quoted"x', b'\\', b'../../etc', b"'; DROP TABLE users")


@row(kind='cluster')
def test_H11_tokens_on_memcached(system):
    """A token is hashed before it is a key: whatever its bytes, it is its user's or it is refused, and no command of it
    reaches memcached."""
    witness, witness_token = system.user()
    api, made = system.api(), []
    for text in TOKENS:
        uid, token = system.uid(), SECRET.encode() + text
        form = f'uid={uid}&expire=100&token='.encode() + urllib.parse.quote_from_bytes(token).encode()
        answer = api.request('POST', '/1/admin/token/new', form, {'Content-Type': 'application/x-www-form-urlencoded'})
        check((answer.status, answer.ret) in ((200, 1), (400, 65534)), f'{text!r}: {answer}')
        if answer.ok:
            made.append((uid, token))
        else:
            with system.tcp() as c:  # and nobody's, then
                c.send(7, token, 1)
                equal(c.expect_close(5), b'', repr(text))
    check(len(made) >= 8, f'only {len(made)} were taken')
    for n, (uid, token) in enumerate(made):
        with system.tcp(comet=n) as c:
            c.send(7, token, 1)
            equal(c.receive().op, 8, f'{token!r} logs in')
            system.push(uid, f'{SECRET}{n}')
            equal(c.message().body, f'{SECRET}{n}'.encode(), 'as its user')
    for text in TOKENS:  # as guesses, before anyone made them
        with system.tcp() as c:
            c.send(7, b'guess' + text, 1)
            equal(c.expect_close(5), b'', 'a guess')
    with system.tcp(witness_token) as c:
        system.push(witness, 'witness')
        equal(c.message().body, b'witness', 'nothing was flushed')


def ports(system):
    return {'router': system.parts['router'].ports[0], 'logic': system.parts['logic'].ports[0],
            'comet1': system.parts['comet1'].ports[2]}


def hello(version=1, secret=None, role='x'):
    """A greeting as the daemons send it: length, [0, id, "hello", [version, secret, role]]."""
    def text(s):
        s = s.encode()
        return bytes([0xa0 | len(s)]) + s if len(s) < 32 else b'\xd9' + bytes([len(s)]) + s
    packed = b'\x94\x00\x01' + text('hello') + b'\x93' + bytes([version]) + (b'\xc0' if secret is None else text(secret)) + text(role)
    return struct.pack('>I', len(packed)) + packed


GARBAGE = (
    ('HTTP', b'GET / HTTP/1.1\r\nHost: x\r\n\r\n'), ('TLS', b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + b'\0' * 64),
    ('a length of 4 GiB', b'\xff\xff\xff\xff'), ('of 64 MiB before the greeting', b'\x04\0\0\0' + b'x' * 100), ('of nothing', b'\0\0\0\0'),
    ('a call without a greeting', b'\0\0\0\x09\x94\x00\x01\xa4ping\x90'), ('an answer', b'\0\0\0\x05\x94\x01\x01\xc0\xc0'),
    ('deep arrays', struct.pack('>I', 4000) + b'\x91' * 4000), ('a giant array', b'\0\0\0\x05\xdd\xff\xff\xff\xff'),
    ('a giant map', b'\0\0\0\x05\xdf\xff\xff\xff\xff'), ('a giant string', b'\0\0\0\x05\xdb\xff\xff\xff\xff'),
    ('0xc1', b'\0\0\0\x01\xc1'), ('another version', hello(99)), ('bytes behind the greeting', hello() + b'\xff' * 100),
    ('what follows a greeting', hello() + b'\0\0\0\x03\x01\x02\x03'), ('a greeting, and a giant frame', hello() + b'\xff\xff\xff\xf0'))


@row(kind='cluster')
def test_H17_garbage_to_rpc_ports(system):
    """Closed, counted, nothing allocated for it, and the cluster goes on."""
    rng = random.Random(os.urandom(4))
    for name, port in ports(system).items():
        part = system.parts[name]
        before, memory = descriptors(part), part.rss()
        with Counted(system, 'imgo_rpc_garbage_total', 5, name):
            for what, data in GARBAGE:
                said, seconds = raw(port, data, 8)
                check(seconds < 6.5, f'{name}, {what}: closed after {seconds:.1f} s')
                check(len(said) < 200, f'{name}, {what}: {said!r}')
        for _ in range(100):
            with ic.Socket(port=port) as s:
                try:
                    s.send_raw(rng.randbytes(rng.randrange(1, 5000)))
                except ic.Closed:
                    pass
        held = [socket.create_connection(('127.0.0.1', port)) for _ in range(50)]  # say nothing
        began = time.monotonic()
        poll(lambda: descriptors(part) <= before + 3, 'the silent are closed', 8)
        figure(f'{name}: silent peers gone after {time.monotonic() - began:.1f} s; {(part.rss() - memory) >> 10} kB more')
        check(part.rss() - memory < 16 << 20, f'{name} has grown by {part.rss() - memory} bytes')
        for s in held:
            s.close()
    alive(system)


@row(kind='cluster', own={'rpc.secret': 'the-secret-of-the-test'})
def test_H17_secret(system):
    """With a secret, who does not know it is refused, says every daemon; the others work."""
    for name, port in ports(system).items():
        for secret in (None, '', 'the-secret-of-the-tes', 'the-secret-of-the-test1', 'x' * 250):
            with ic.Socket(port=port) as s:
                s.send_raw(hello(secret=secret))
                said = s.expect_close(3)
                check(said[7:8] != b'\xc0', f'{name} answers {said!r}')  # [1, id, error, …]
        with ic.Socket(port=port) as s:
            s.send_raw(hello(secret='the-secret-of-the-test'))
            said = s.recv_raw(int.from_bytes(s.recv_raw(4), 'big'))
            equal(said[3:4], b'\xc0', f'{name}: no error')
            s.expect_silence(0.2)
        check('the-secret' not in system.parts[name].text(), f'the secret is in the log of {name}')
    alive(system)
