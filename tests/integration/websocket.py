#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""WebSocket (RFC 6455) against a real daemon: what a client sends, and what it must get, as tables of cases.

    websocket.py --build DIR [--only WORD]… [--list]

The groups are those of the Autobahn test suite, numbered as there: 1 framing, 2 pings, 3 reserved bits, 4 opcodes,
5 fragmentation, 6 UTF-8, 7 closing, 9 limits; further `mask`, `json`, `upgrade`, and `life` (floods, pings of the server's,
ends). Autobahn's echo is our op 4: a message X is {"ver":1,"op":4,"seq":1,"body":X}, its echo op 5.

Each case of the groups 1 to 9 runs three times: its bytes at once, byte by byte, and in one piece with the upgrade and
the login before it; and twice over TLS, as are the upgrades (where openssl is there to make a certificate). What a server must know early (wrong UTF-8, a length over the limit) is written as a case whose
bytes end there: what comes after is never sent.
"""
import argparse
import base64
import hashlib
import json
import pathlib
import shutil
import ssl
import struct
import subprocess
import tempfile
import time

import harness
import imgo_client as ic
from harness import SECRET, Failure, poll

TEXT, BINARY, CLOSE, PING, PONG, CONT = 1, 2, 8, 9, 10, 0
BODY_MAX = 128 * 1024
MESSAGE_MAX = BODY_MAX + 512     # a body, and the JSON around it
BIG = 4096                       # a longer stream is not sent byte by byte, but in pieces of:
PIECE = 997
GOOD, GOOD2 = 'https://good.example', 'http://good.example:8080'

f = ic.frame
CASES = []                       # (group, name, bytes, events)


def add(group, name, data, *events):
    """events: what the server says, in order. Ends with ('close', code), or the connection must still work."""
    CASES.append((group, name, data if isinstance(data, bytes) else b''.join(data), list(events)))


def packet(body, seq=1):
    """An op 4 whose body's JSON text is that."""
    return b'{"ver":1,"op":4,"seq":%d,"body":' % seq + body + b'}'


def quoted(body=b'x', seq=1):
    return packet(b'"' + body + b'"', seq)


def sized(n):
    """An op 4 of n bytes in all, and its body."""
    body = b'*' * (n - len(quoted(b'')))
    return quoted(body), body


def echo(body=b'x', seq=1):
    return 'echo', seq, body.decode()


def pong(payload=b''):
    return 'pong', payload


def close(code):
    return 'close', code


def fragments(text, op, *cuts):
    """The message in frames that end at these offsets."""
    ends = [*cuts, len(text)]
    return [f(op if i == 0 else CONT, text[begin:end], fin=end == len(text) and i == len(ends) - 1)
            for i, (begin, end) in enumerate(zip([0, *ends], ends))]


def every(n, text):
    return range(n, len(text), n)


OK, ECHO = f(TEXT, quoted()), echo()
END = f(PING, b'end')

# ---- 1 framing: each of the three lengths, at its edges ----

for size in (125, 126, 127, 128, 1000, 65535, 65536, 65537, 100000):
    text, body = sized(size)
    for op, what in ((TEXT, 'text'), (BINARY, 'binary')):
        add('1', f'{what} of {size}', f(op, text), echo(body))
        add('1', f'{what} of {size} and a short one', [f(op, text), OK], echo(body), ECHO)

# ---- 2 pings and pongs ----

for name, payload in (('empty', b''), ('text', b'Hello, world!'), ('binary', bytes.fromhex('00fffefdfcfb00ff')),
                      ('of 125 bytes', b'\xfe' * 125)):
    add('2', f'ping, {name}', f(PING, payload), pong(payload))
    add('2', f'unsolicited pong, {name}', f(PONG, payload))
    add('2', f'unsolicited pong, {name}, and a ping', [f(PONG, payload), f(PING, b'p')], pong(b'p'))
for op in (PING, PONG, CLOSE):
    add('2', f'op {op} of 126 bytes', f(op, b'\xfe' * 126), close(1002))
    add('2', f'op {op} with a long length', bytes([0x80 | op, 0xff]), close(1002))
add('2', 'ten pings', [f(PING, b'ping %d' % i) for i in range(10)], *(pong(b'ping %d' % i) for i in range(10)))
add('2', 'pings and messages', [f(PING, b'1'), OK, f(PING, b'2'), OK], pong(b'1'), ECHO, pong(b'2'), ECHO)

# ---- 3 reserved bits ----

for rsv in range(1, 8):
    for op, name in ((TEXT, 'text'), (BINARY, 'binary'), (PING, 'ping'), (PONG, 'pong'), (CLOSE, 'close')):
        add('3', f'RSV {rsv}, {name}', [OK, f(op, b'', rsv=rsv), END], ECHO, close(1002))
    add('3', f'RSV {rsv}, continuation', [f(TEXT, b'{', fin=False), f(CONT, b'}', rsv=rsv)], close(1002))

# ---- 4 opcodes ----

for op in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
    add('4', f'opcode {op}', [f(op, b''), END], close(1002))
    add('4', f'opcode {op} with a payload', f(op, b'reserved'), close(1002))
    add('4', f'opcode {op} between messages', [OK, f(op, b'reserved'), END], ECHO, close(1002))
    add('4', f'opcode {op}, its first byte only', bytes([0x80 | op]), close(1002))

# ---- masks ----

for op, name in ((TEXT, 'text'), (BINARY, 'binary'), (PING, 'ping'), (PONG, 'pong'), (CLOSE, 'close')):
    add('mask', f'{name} not masked', [OK, f(op, b'\x03\xe8', masked=False)], ECHO, close(1002))
add('mask', 'continuation not masked', [f(TEXT, b'{', fin=False), f(CONT, b'}', masked=False)], close(1002))
add('mask', 'a mask of zeros', b'\x81' + bytes([0x80 | len(quoted())]) + bytes(4) + quoted(), ECHO)

# ---- 5 fragmentation ----

WHOLE = quoted(b'fragment1fragment2')
DONE, HALF = echo(b'fragment1fragment2'), len(WHOLE) // 2
for op in (PING, PONG, CLOSE):
    add('5', f'op {op} in fragments', [f(op, b'a', fin=False), f(CONT, b'b')], close(1002))
for op, name in ((TEXT, 'text'), (BINARY, 'binary')):
    add('5', f'{name} in two', fragments(WHOLE, op, HALF), DONE)
    add('5', f'{name} in two, twice', fragments(WHOLE, op, HALF) * 2, DONE, DONE)
    add('5', f'{name} in bytes', fragments(WHOLE, op, *every(1, WHOLE)), DONE)
    add('5', f'{name} with empty fragments', fragments(WHOLE, op, 0, 0, HALF, HALF, len(WHOLE)), DONE)
    add('5', f'{name} interrupted by {name}', [f(op, b'{', fin=False), f(op, quoted())], close(1002))
    add('5', f'{name} interrupted by the other', [f(op, b'{', fin=False), f(3 - op, quoted(), fin=False)], close(1002))
    first, last = fragments(WHOLE, op, HALF)
    for between, said in ((f(PING, b'x'), [pong(b'x')]), (f(PONG, b'x'), []), (f(PING, b'x') * 3, [pong(b'x')] * 3)):
        add('5', f'{name} in two, control frames between ({len(said)})', [first, between, last], *said, DONE)
for fin in (True, False):
    for name, rest in (('alone', b''), ('before a message', OK), ('before a fragmented message', b''.join([first, last]))):
        add('5', f'continuation of nothing {name}, FIN {fin}', [f(CONT, b'x', fin=fin), rest], close(1002))
    add('5', f'continuation after the last, FIN {fin}', [*fragments(WHOLE, TEXT, HALF), f(CONT, b'x', fin=fin), OK], DONE,
        close(1002))
parts = fragments(WHOLE, TEXT, 10, 20, 30, 40)
add('5', 'five fragments, pings among them', [parts[0], parts[1], f(PING, b'1'), parts[2], parts[3], f(PING, b'2'), parts[4]],
    pong(b'1'), pong(b'2'), DONE)

# ---- 6 UTF-8 ----


def point(n):
    return chr(n).encode('utf-8', 'surrogatepass')


GREEK = 'κόσμε'.encode()
MIXED = 'Hello-µ@ßöäüàá-UTF-8!! € 𝄞'.encode()
for name, body in (('mixed', MIXED), ('Greek', GREEK)):
    text = quoted(body)
    add('6', f'{name}, whole', f(TEXT, text), echo(body))
    add('6', f'{name}, in bytes', fragments(text, TEXT, *every(1, text)), echo(body))
    add('6', f'{name}, in threes, empty ones between', fragments(text, TEXT, *sorted([*every(3, text)] * 2)), echo(body))
EDGES = [0x20, 0x7f, 0x80, 0x7ff, 0x800, 0xfff, 0x1000, 0xcfff, 0xd000, 0xd7ff, 0xe000, 0xfffd, 0x10000, 0x3ffff, 0x40000,
         0xfffff, 0x100000, 0x10ffff, 0xfeff, 0x200b, 0x202e]
for n in EDGES + [plane << 16 | low for plane in range(17) for low in (0xfffe, 0xffff)]:
    add('6', f'U+{n:04X}', f(TEXT, quoted(point(n))), echo(point(n)))
for n in (0x80, 0x800, 0x10000, 0x10ffff):
    text = quoted(point(n))
    for at in range(1, len(point(n))):
        cut = text.index(point(n)) + at
        add('6', f'U+{n:04X} cut after {at}', fragments(text, TEXT, cut), echo(point(n)))
        add('6', f'U+{n:04X} cut after {at}, a ping between',
            [fragments(text, TEXT, cut)[0], f(PING, b'\xff'), fragments(text, TEXT, cut)[1]], pong(b'\xff'), echo(point(n)))

WRONG = {
    'surrogates': [point(n) for n in (0xd800, 0xdb7f, 0xdb80, 0xdbff, 0xdc00, 0xdf80, 0xdfff)] +
                  [point(a) + point(b) for a in (0xd800, 0xdb7f, 0xdb80, 0xdbff) for b in (0xdc00, 0xdfff)],
    'above U+10FFFF': [bytes.fromhex(h) for h in ('f4908080', 'f5808080', 'f7bfbfbf')],
    'five and six bytes': [bytes.fromhex(h) for h in ('f888808080', 'fbbfbfbfbf', 'fc8480808080', 'fdbfbfbfbfbf')],
    'overlong': [bytes.fromhex(h) for h in ('c0af', 'e080af', 'f08080af', 'f8808080af', 'fc80808080af', 'c1bf', 'e09fbf',
                                            'f08fbfbf', 'f887bfbfbf', 'fc83bfbfbfbf', 'c080', 'e08080', 'f0808080',
                                            'f880808080', 'fc8080808080')],
    'continuations': [bytes([0x80] * n) for n in (1, 2, 3, 6)] + [b'\xbf', bytes(range(0x80, 0xc0))],
    'never': [b'\xfe', b'\xff', b'\xfe\xfe\xff\xff'],
    'lone leads': [bytes([lead, 0x20]) for lead in (0xc2, 0xdf, 0xe0, 0xef, 0xf0, 0xf4, 0xf7, 0xf8, 0xfc)] +
                  [b''.join(bytes([lead, 0x20]) for lead in range(0xc0, 0xe0))],
    'cut short': [point(n)[:-1] + b'x' for n in (0x80, 0x7ff, 0x800, 0xffff, 0x10000, 0x10ffff)] +
                 [bytes.fromhex(h) + b'x' for h in ('e0a0', 'f09080', 'f090')],
    'in words': [GREEK + point(0xd800) + b'edited', GREEK + bytes.fromhex('f4908080') + b'edited'],
}
for kind, list_of_bytes in WRONG.items():
    for n, body in enumerate(list_of_bytes):
        text = quoted(body)
        add('6', f'{kind} {n}: {body.hex()[:24]}', f(TEXT, text), close(1007))
        add('6', f'{kind} {n}, in bytes', fragments(text, TEXT, *every(1, text)), close(1007))
for name, whole, upto in (('overlong', b'\xc0', 1), ('a surrogate', b'\xed\xa0', 2), ('above U+10FFFF', b'\xf4\x90', 2),
                          ('a continuation', b'\x80', 1), ('a cut sequence', b'\xe2\x82x', 3), ('0xff', b'\xff', 1)):
    text = quoted(GREEK + whole)
    sent = len(text) - 2          # all but the end of the JSON: the frame stays incomplete
    head = f(TEXT, text + b'*' * 1000)
    add('6', f'fail fast inside a frame: {name}', head[:len(head) - 1000 - 2], close(1007))
    add('6', f'fail fast inside a second fragment: {name}',
        [f(TEXT, text[:10], fin=False), f(CONT, text[10:] + b'*' * 1000)[:-1002]], close(1007))
    add('6', f'fail fast at a fragment: {name}', f(TEXT, text[:sent], fin=False), close(1007))
for n in (0x80, 0x800, 0x10000):
    add('6', f'the message ends inside U+{n:04X}', f(TEXT, b'{' + point(n)[:-1]), close(1007))
    add('6', f'the last fragment ends inside U+{n:04X}', [f(TEXT, b'{', fin=False), f(CONT, point(n)[:-1])], close(1007))
    add('6', f'the last fragment is empty, inside U+{n:04X}', [f(TEXT, point(n)[:-1], fin=False), f(CONT, b'')], close(1007))
add('6', 'a binary message is JSON, so it is UTF-8 too', f(BINARY, quoted(b'\xff')), close(1007))

# ---- 7 closing ----


def bye(code, reason=b''):
    return f(CLOSE, struct.pack('>H', code) + reason)


add('7', 'a message and a close', [OK, bye(1000)], ECHO, close(1000))
add('7', 'two closes', [bye(1000), bye(1001)], close(1000))
add('7', 'a ping after the close', [bye(1000), f(PING, b'x')], close(1000))
add('7', 'a message after the close', [bye(1000), OK], close(1000))
add('7', 'nonsense after the close', [bye(1000), b'\xff' * 100], close(1000))
add('7', 'a close inside a message', [f(TEXT, b'{', fin=False), bye(1000), f(CONT, b'}')], close(1000))
text, body = sized(100000)
add('7', 'a long message, a close, a ping', [f(TEXT, text), bye(1000), f(PING, b'x')], echo(body), close(1000))
add('7', 'no code', f(CLOSE, b''), close(None))
add('7', 'half a code', f(CLOSE, b'\x03'), close(1002))
add('7', 'a code', bye(1000), close(1000))
add('7', 'a code and a reason', bye(1000, b'Hello World!'), close(1000))
add('7', 'a reason of 123 bytes', bye(1000, b'*' * 123), close(1000))
add('7', 'a reason of 124 bytes', bye(1000, b'*' * 124), close(1002))
add('7', 'a reason that is not UTF-8', bye(1000, GREEK + point(0xd800) + b'edited'), close(1007))
add('7', 'a reason that ends inside a sequence', bye(1000, GREEK[:-1]), close(1007))
for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999):
    add('7', f'code {code}', bye(code), close(code))
for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
    add('7', f'code {code}', bye(code), close(1002))
    add('7', f'code {code} with a reason', bye(code, b'why'), close(1002))

# ---- 9 limits ----

LONGEST = quoted(b'*' * BODY_MAX)
add('9', 'the longest body', f(TEXT, LONGEST), echo(b'*' * BODY_MAX))
add('9', 'a body too long', f(TEXT, quoted(b'*' * (BODY_MAX + 1))), close(1009))
add('9', 'the longest message', f(TEXT, quoted(b'x') + b' ' * (MESSAGE_MAX - len(quoted(b'x')))), ECHO)
for name, n in (('by one', MESSAGE_MAX + 1), ('by far', 1 << 40), ('2^63-1', (1 << 63) - 1)):
    add('9', f'a message too long {name}: its header', b'\x81\xff' + struct.pack('>Q', n), close(1009))
    add('9', f'a fragment too long {name}', [f(TEXT, b'{', fin=False), b'\x80\xff' + struct.pack('>Q', n)], close(1009))
add('9', 'fragments too long together', [f(TEXT, LONGEST, fin=False), f(CONT, b' ' * 512)], close(1009))
for n in (1 << 63, (1 << 64) - 1):
    add('9', f'length {n:#x}', b'\x81\xff' + struct.pack('>Q', n), close(1002))
for head in (b'\x81\xfe\x00\x00', b'\x81\xfe\x00\x7d', b'\x82\xff' + struct.pack('>Q', 125), b'\x82\xff' + struct.pack('>Q', 65535)):
    add('9', f'a length not in its shortest form: {head.hex()}', head, close(1002))
for size in (64, 256, 1024, 4096, 16384, 65536):
    for op, name in ((TEXT, 'text'), (BINARY, 'binary')):
        text, body = sized(100000)
        add('9', f'{name} in fragments of {size}', fragments(text, op, *every(size, text)), echo(body))
add('9', '2,000 messages', OK * 2000, *[ECHO] * 2000)
add('9', 'fragments without end', [f(TEXT, b'', fin=False)] + [f(CONT, b'', fin=False)] * (1024 + MESSAGE_MAX // 64), close(1008))

# ---- ours: JSON ----

for text in (b'', b' ', b'x', b'{', b'[]', b'"x"', b'1', b'{}x', b'{"op":4,}', b'{"op":"4"}', b'{"op":4.5}', b'{"op":4,"op":4}',
             b'{"op":4,"body":"\n"}', b'{"op":4,"body":"\\x"}', b'{"op":4,"body":"\\ud800"}', b'[{"op":4}]',
             b'{"op":4,"body":' + b'[' * 100 + b']' * 100 + b'}'):
    add('json', f'not a packet: {text[:30]!r}', f(TEXT, text), close(1002))
add('json', 'an unknown operation', f(TEXT, b'{"op":99}'), close(1002))
add('json', 'spaces, escapes, unknown fields', f(TEXT, b' { "seq":1 , "op" : 4,"ver":1,"x":[{}],"body":"\\u00e9\\n" } '),
    ('echo', 1, 'é\n'))
add('json', 'any body', f(TEXT, packet(b'{"a":[1,2.5e3,null,true,"\xc3\xa9"]}')), ('echo', 1, {'a': [1, 2500.0, None, True, 'é']}))


# ---- running them ----

def upgrade_request(path='/sub', method='GET', key='dGhlIHNhbXBsZSBub25jZQ==', version='13', headers=(), http='HTTP/1.1',
                    upgrade='websocket', connection='Upgrade', host='h'):
    lines = [f'{method} {path} {http}']
    for name, value in (('Host', host), ('Upgrade', upgrade), ('Connection', connection), ('Sec-WebSocket-Key', key),
                        ('Sec-WebSocket-Version', version)):
        lines += [f'{name}: {v}' for v in ([value] if isinstance(value, str) else value or [])]
    return '\r\n'.join([*lines, *headers, '', '']).encode()


ACCEPT = base64.b64encode(hashlib.sha1(b'dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest()).decode()


def event(op, fin, payload):
    if not fin:
        raise Failure(f'the server fragments: {op} {payload[:100]!r}')
    if op == PONG:
        return 'pong', payload
    if op == CLOSE:
        return 'close', struct.unpack('>H', payload[:2])[0] if payload else None
    if op == TEXT:
        packets = ic.parse_packets(op, payload)
        if len(packets) == 1 and packets[0].op == 5:
            return 'echo', packets[0].seq, packets[0].body
    return op, payload


class TlsClient(ic.WsClient):
    """The same in TLS."""

    def __init__(self, **kwargs):
        super().__init__(upgrade=False, **kwargs)
        context = ssl.create_default_context(cafile=TlsClient.certificate)
        try:
            self.sock = context.wrap_socket(self.sock, server_hostname='127.0.0.1')
        except OSError as error:
            self.close()
            raise self._translated(error) from error

    def half_close(self):
        """close_notify and FIN; what the server says by then has been read."""
        try:
            self.sock.settimeout(self.timeout)
            self.sock = self.sock.unwrap()
        except OSError:
            pass
        super().half_close()


def raw(system):
    """A connection on which nothing has been said."""
    if 'comet.wss' in system.options:
        return TlsClient(port=int(system.options['comet.wss'].rsplit(':', 1)[1]), timeout=20.0)
    return ic.WsClient(port=system.comet().ws, timeout=20.0, upgrade=False)


def tls_options(folder):
    """With a certificate for 127.0.0.1 of our own, or None."""
    if not shutil.which('openssl'):
        return None
    cert, key = pathlib.Path(folder) / 'cert.pem', pathlib.Path(folder) / 'key.pem'
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
                    '-subj', '/CN=test', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert],
                   check=True, capture_output=True)
    TlsClient.certificate = str(cert)
    return {'tls.cert': cert, 'tls.key': key, 'comet.wss': f'127.0.0.1:{harness.free_port()}'}


def same(got, want, what):
    if got != want:
        raise Failure(f'{what}: got {got!r:.300}, want {want!r:.300}')


def run(system, way, data, events):
    _, token = system.user()
    closes = bool(events) and events[-1][0] == 'close'
    if not closes:
        data, events = data + END, [*events, ('pong', b'end')]
    login = f(TEXT, json.dumps({'ver': 1, 'op': 7, 'seq': 9, 'body': token}).encode())
    with raw(system) as c:
        first = upgrade_request() + login
        if way == 'with the upgrade':
            first += data
        c.send_raw(first)
        status, fields = ic.parse_head(c.recv_until(b'\r\n\r\n'))
        same((status, fields.get('sec-websocket-accept')), (101, ACCEPT), 'upgrade')
        same(c.receive().op, 8, 'login')
        try:
            if way == 'at once':
                c.send_raw(data)
            elif way == 'in pieces':
                c.send_split(data, PIECE if len(data) > BIG or isinstance(c, TlsClient) and len(data) > 200 else 1)
        except ic.Closed:
            pass                 # it has said why, and then closed
        for want in events:
            same(event(*c.recv_frame()), want, 'event')
        if closes:
            c.half_close()
            same(c.expect_close(10), b'', 'after the close frame')


# ---- the upgrade (H8) ----

UPGRADES = [
    ('plain', upgrade_request(), 101),
    ('a query', upgrade_request('/sub?x=1'), 101),
    ('words in any case, a list', upgrade_request(upgrade='WebSocket', connection='keep-alive, UPGRADE'), 101),
    ('extensions and protocols are not taken up', upgrade_request(headers=[
        'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits', 'Sec-WebSocket-Protocol: chat']), 101),
    ('a good origin', upgrade_request(headers=[f'Origin: {GOOD}']), 101),
    ('another good origin', upgrade_request(headers=[f'Origin: {GOOD2}']), 101),
    ('a bad origin', upgrade_request(headers=['Origin: https://evil.example']), 403),
    ('an origin that begins like a good one', upgrade_request(headers=[f'Origin: {GOOD}.evil']), 403),
    ('an origin of another scheme', upgrade_request(headers=['Origin: http://good.example']), 403),
    ('an origin of another port', upgrade_request(headers=[f'Origin: {GOOD}:8443']), 403),
    ('origin null', upgrade_request(headers=['Origin: null']), 403),
    ('an empty origin', upgrade_request(headers=['Origin:']), 403),
    ('two origins', upgrade_request(headers=[f'Origin: {GOOD}', 'Origin: https://evil.example']), 400),
    ('no key', upgrade_request(key=None), 400),
    ('two keys', upgrade_request(key=['dGhlIHNhbXBsZSBub25jZQ=='] * 2), 400),
    ('a key of 15 bytes', upgrade_request(key='dGhlIHNhbXBsZSBub25j'), 400),
    ('a key that is not base64', upgrade_request(key='dGhlIHNhbXBsZSBub25j!Q=='), 400),
    ('no version', upgrade_request(version=None), 400),
    ('two versions', upgrade_request(version=['13', '13']), 400),
    ('version 8', upgrade_request(version='8'), 426),
    ('version 14', upgrade_request(version='14'), 426),
    ('no Upgrade', upgrade_request(upgrade=None), 400),
    ('another Upgrade', upgrade_request(upgrade='h2c'), 400),
    ('Connection without upgrade', upgrade_request(connection='keep-alive'), 400),
    ('no Connection', upgrade_request(connection=None), 400),
    ('HTTP/1.0', upgrade_request(http='HTTP/1.0'), 400),
    ('HTTP/2.0', upgrade_request(http='HTTP/2.0'), 505),
    ('no Host', upgrade_request(host=None), 400),
    ('two Hosts', upgrade_request(host=['h', 'h']), 400),
    ('another path', upgrade_request('/'), 404),
    ('a path below', upgrade_request('/sub/'), 404),
    ('POST', upgrade_request(method='POST'), 405),
    ('HEAD', upgrade_request(method='HEAD'), 405),
    ('a body', upgrade_request(headers=['Content-Length: 5']) + b'hello', 413),
    ('a chunked body', upgrade_request(headers=['Transfer-Encoding: chunked']), 501),
    ('a header of 9,000 bytes', upgrade_request(headers=['X: ' + 'x' * 9000]), 431),
    ('100 headers', upgrade_request(headers=[f'X{i}: 1' for i in range(100)]), 431),
    ('a target of 3,000 bytes', upgrade_request('/sub?' + 'x' * 3000), 414),
    ('a folded header', upgrade_request(headers=['X: 1', ' 2']), 400),
    ('a space before the colon', upgrade_request(headers=['X : 1']), 400),
    ('a bare line feed', upgrade_request().replace(b'\r\n', b'\n'), 400),
    ('NUL in a header', upgrade_request(headers=['X: \0']), 400),
    ('TLS on a plain port', bytes.fromhex('16030100c8010000c40303') + b'\n' * 8, 400),
]
MORE = {426: ('sec-websocket-version', '13'), 405: ('allow', 'GET')}


def upgrade(system, pieces, data, want):
    with raw(system) as c:
        try:
            c.send_split(data, 1 if pieces else len(data))
        except ic.Closed:
            pass
        status, fields = ic.parse_head(c.recv_until(b'\r\n\r\n'))
        same(status, want, 'status')
        if want in MORE:
            same(fields.get(MORE[want][0]), MORE[want][1], MORE[want][0])
        if want == 101:
            same(fields.get('sec-websocket-accept'), ACCEPT, 'accept')
            same({'sec-websocket-extensions', 'sec-websocket-protocol'} & set(fields), set(), 'what we do not speak')
        else:
            same(c.expect_close(10), b'', 'after the answer')


def early_upgrade(system):
    """What is too much is refused before it ends."""
    with raw(system) as c:
        c.send_raw(b'GET /sub HTTP/1.1\r\nX: ' + b'x' * 9000)
        same(ic.parse_head(c.recv_until(b'\r\n\r\n'))[0], 431, 'status')


# ---- life: floods, the server's own pings, ends (H7, H15); the limits are the stock ones ----

LIFE = []


def life(function):
    LIFE.append(function)
    return function


def flood(c, data, seconds=20.0):
    """Sends, and reads what comes, until the server closes; returns its close code."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            c.send_raw(data)
        except ic.Closed:
            pass
        try:
            while True:
                op, _, payload = c.recv_frame(0.002)
                if op == CLOSE:
                    return struct.unpack('>H', payload[:2])[0]
        except ic.TimedOut:
            pass
    raise Failure(f'not closed within {seconds} s')


@life
def fragment_floods(system):
    for first, more in ((f(TEXT, b'', fin=False), f(CONT, b'', fin=False)), (f(TEXT, b'{', fin=False), f(CONT, b' ', fin=False))):
        with system.ws(system.user()[1]) as c:
            c.send_raw(first)
            same(flood(c, more * 10), 1008, 'close code')
    with system.ws(system.user()[1]) as c:      # few and long
        c.send_raw(f(TEXT, b'{' * 2000, fin=False))
        c.send_raw(f(CONT, b'{' * 2000, fin=False))
        same(flood(c, f(CONT, b'{' * 2000, fin=False)), 1009, 'close code')


@life
def ping_floods(system):
    with system.ws(system.user()[1]) as c:
        same(flood(c, f(PING, b'x' * 125) * 10), 1008, 'close code')


@life
def a_fair_rate_is_no_flood(system):
    with system.ws(system.user()[1], auto=False) as c:
        for i in range(300):
            c.send_frame(PING, b'%d' % i)
        for i in range(300):
            same(c.recv_frame(), (PONG, True, b'%d' % i), 'pong')


@life
def idle_clients_are_pinged(system):
    """hub.websocket-ping=1s: who answers lives, who is silent does not, who speaks is not asked."""
    with system.ws(system.user()[1], auto=False) as answers, system.ws(system.user()[1], auto=False) as silent, \
            system.ws(system.user()[1], auto=False) as speaks, system.tcp(system.user()[1]) as tcp:
        began, answered = time.monotonic(), []
        while time.monotonic() < began + 3.5:
            speaks.heartbeat(5)
            try:
                same(answers.recv_frame(0.2)[0], PING, 'frame')
            except ic.TimedOut:
                continue
            answers.send_frame(PONG, b'')
            answered.append(time.monotonic() - began)
        if not 2 <= len(answered) <= 4 or answered[0] < 0.8:
            raise Failure(f'pinged after {answered}')
        same(silent.recv_frame(3)[0], PING, 'frame')
        same(silent.expect_close_code(10), 1001, 'close code')
        answers.heartbeat()
        same(speaks.pings, [], 'pings of one who speaks')
        tcp.heartbeat()


@life
def a_close_that_nobody_reads(system):
    """The server ends by FIN, waits 5 s for the peer's, and resets."""
    with system.ws(system.user()[1], auto=False) as c:
        c.send_json('nonsense')
        same(c.expect_close_code(10), 1002, 'close code')
        began = time.monotonic()

        def reset():
            try:
                c.send_raw(f(PING, b'x'))
                return False
            except ic.Closed as closed:
                return closed.reset or True
        poll(reset, 'the server resets', 8, 0.25)
        if not 4.0 < time.monotonic() - began < 7.0:
            raise Failure(f'reset after {time.monotonic() - began:.1f} s')


@life
def fin_without_a_close_frame(system):
    with system.ws(system.user()[1]) as c:
        c.half_close()
        same(c.expect_close(10), b'', 'after a FIN')


@life
def fin_after_a_close_frame(system):
    """Half-closed at once: the answer still comes."""
    for pause in (0.0, 0.005, 0.2):
        with system.ws(system.user()[1], auto=False) as c:
            c.close_frame(4000)
            time.sleep(pause)
            c.half_close()
            same(c.recv_frame(), (CLOSE, True, struct.pack('>H', 4000)), 'answer')
            same(c.expect_close(10), b'', 'after the answer')


@life
def other_clients_feel_nothing(system):
    """After all that the server still serves."""
    uid, token = system.user()
    with system.ws(token) as c:
        system.push(uid, f'{SECRET}alive')
        same(c.message().body, f'{SECRET}alive', 'push')


# ---- main ----

class Report:
    def __init__(self, only, listing):
        self.only, self.listing, self.ran, self.failed, self.groups = only, listing, 0, [], {}

    def __call__(self, group, name, way, function, *args):
        title = f'{group}: {name}' + (f', {way}' if way else '')
        if self.only and not any(word in title for word in self.only):
            return
        if self.listing:
            print(title)
            return
        self.ran += 1
        self.groups[group] = self.groups.get(group, 0) + 1
        try:
            function(*args)
        except (Failure, ic.ClientError) as error:
            self.failed.append(title)
            print(f'FAILED {title}: {error}', flush=True)


def upgrades(report, system, over):
    for name, data, want in UPGRADES:
        for pieces in (False, True):
            report('upgrade', over + name, 'in pieces' if pieces else 'at once', upgrade, system, pieces, data, want)
    report('upgrade', over + 'too much, early', '', early_upgrade, system)


def main(args):
    report = Report(args.only, args.list)
    wide = {'hub.body-max-bytes': BODY_MAX, 'hub.packets-per-second-max': 0, 'hub.origins': f'{GOOD}, {GOOD2}',
            'hub.write-queue-max-bytes': '4m'}
    with harness.make('standalone', args.build, wide) as system:
        for group, name, data, events in CASES:
            for way in ('at once', 'in pieces', 'with the upgrade'):
                report(group, name, way, run, system, way, data, events)
        upgrades(report, system, '')
    with tempfile.TemporaryDirectory() as folder:
        tls = tls_options(folder)
        if tls is None:
            print('SKIPPED over TLS: openssl is not there', flush=True)
        else:
            with harness.make('standalone', args.build, {**wide, **tls}) as system:
                for group, name, data, events in CASES:
                    for way in ('in pieces', 'with the upgrade'):
                        report(group, f'TLS: {name}', way, run, system, way, data, events)
                upgrades(report, system, 'TLS: ')
    with harness.make('standalone', args.build, {'hub.websocket-ping': '1s'}) as system:
        for function in LIFE:
            report('life', function.__name__, '', function, system)
    print(f'{len(CASES)} cases of frames, {len(UPGRADES)} upgrades, {len(LIFE)} of life; runs: '
          + ', '.join(f'{group} {n}' for group, n in report.groups.items()) + f'; {len(report.failed)} of {report.ran} failed')
    return 1 if report.failed else 0


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--build', default='build')
    parser.add_argument('--only', action='append')
    parser.add_argument('--list', action='store_true')
    harness.main(lambda: main(parser.parse_args()))
