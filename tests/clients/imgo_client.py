# SPDX-License-Identifier: MIT
"""Independent test clients, stdlib only, written from the protocol's description and not from the C code.

TcpClient       imgo's packets over TCP
WsClient        the JSON dialect over WebSocket (RFC 6455), with a codec of its own
Api             the HTTP API of logic, one kept-alive connection
AsyncTcpClient  TcpClient for asyncio, and AsyncApi: for races and load, thousands at a time

Everything blocks with a deadline (TimedOut), nothing has a thread, and nothing is read unless a call asks for it: a
client that does not read is one on which no receiving call is made (give rcvbuf to make its peer notice sooner).
Heartbeats are sent when told to. What breaks the protocol raises BadPeer, the peer's end raises Closed.

    with TcpClient(port=8080) as c:
        c.login('token')
        c.message().body        # the next push
"""
import asyncio
import base64
import hashlib
import json
import os
import socket
import struct
import time
import urllib.parse

OP_HEARTBEAT, OP_HEARTBEAT_REPLY, OP_SEND, OP_PUSH, OP_AUTH, OP_AUTH_REPLY = 2, 3, 4, 5, 7, 8
OP_RAW, OP_ROOM, OP_ROOM_REPLY, OP_ACK = 9, 12, 13, 18
OP_JOIN, OP_LEAVE, OP_JOIN_REPLY, OP_LEAVE_REPLY = 20, 21, 22, 23
OP_GAP, OP_RECONNECT, OP_KICK, OP_TEST, OP_TEST_REPLY = 24, 25, 26, 254, 255

HEAD = struct.Struct('>IHHii')
HEAD_ID = struct.Struct('>IQ')
PACKET_MAX = 8 << 20


class ClientError(Exception):
    """Of any client here."""


class TimedOut(ClientError):
    """It did not happen in time."""


class Closed(ClientError):
    """The peer is gone. code: of its WebSocket close frame; reset: by RST."""

    def __init__(self, what, code=None, reset=False):
        super().__init__(what)
        self.code, self.reset = code, reset


class BadPeer(ClientError):
    """The peer broke the protocol."""


class Packet:
    """One packet: body is bytes on TCP, a JSON value on WebSocket. id is (epoch, id) or None."""

    def __init__(self, op, body=b'', seq=0, ver=0, id=None):
        self.op, self.body, self.seq, self.ver, self.id = op, body, seq, ver, id

    def __eq__(self, other):
        return isinstance(other, Packet) and vars(self) == vars(other)

    def __repr__(self):
        return f'Packet(op={self.op}, body={self.body!r:.200}, seq={self.seq}, ver={self.ver}, id={self.id})'


def as_bytes(body):
    return body.encode() if isinstance(body, str) else bytes(body)


def pack(op, body=b'', seq=0, ver=1, id=None):
    """A packet's bytes."""
    body, more = as_bytes(body), b'' if id is None else HEAD_ID.pack(*id)
    head = HEAD.size + len(more)
    return HEAD.pack(head + len(body), head, ver, op, seq) + more + body


def unpack(head):
    """(bytes that follow, header bytes that follow, Packet without body) of the first 16 bytes."""
    length, head_length, ver, op, seq = HEAD.unpack(head)
    if head_length not in (16, 28) or length < head_length or length > PACKET_MAX:
        raise BadPeer(f'packet length {length}, header length {head_length}: {head.hex()}')
    return length - HEAD.size, head_length - HEAD.size, Packet(op, b'', seq, ver)


def fill(packet, extra, rest):
    if extra:
        packet.id = HEAD_ID.unpack(rest[:extra])
    packet.body = rest[extra:]
    return packet


def login_body(token, device=None, rooms=None, resume=None):
    """Version 1: the token. More than that: the object of version 2."""
    if device is None and rooms is None and resume is None:
        return token
    body = {'token': token if isinstance(token, str) else token.decode()}
    if device is not None:
        body['device'] = device
    if rooms is not None:
        body['rooms'] = rooms
    if resume is not None:
        body['resume'] = {'epoch': resume[0], 'id': str(resume[1])}
    return body


class Socket:
    """A TCP connection with deadlines, and the ways to end one."""

    def __init__(self, host='127.0.0.1', port=8080, timeout=10.0, rcvbuf=None, source=None):
        self.timeout, self.buffer = timeout, b''
        self.sock = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_STREAM)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if source:
            self.sock.bind(source)
        self.sock.settimeout(timeout)
        try:
            self.sock.connect((host, port))
        except OSError as error:
            self.sock.close()
            raise self._translated(error) from error
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @staticmethod
    def _translated(error):
        if isinstance(error, (socket.timeout, BlockingIOError)):
            return TimedOut(str(error))
        return Closed(str(error), reset=isinstance(error, ConnectionResetError))

    def send_raw(self, data):
        """All of it, or an exception."""
        self.sock.settimeout(self.timeout)
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise self._translated(error) from error

    def send_split(self, data, size=1, pause=0.0):
        """In pieces of `size` bytes, each in a segment of its own."""
        for at in range(0, len(data), size):
            self.send_raw(data[at:at + size])
            if pause:
                time.sleep(pause)

    def _receive(self, end, want=65536):
        """What is there, up to want bytes; b'' at the end of the stream."""
        self.sock.settimeout(max(0.0, end - time.monotonic()) or 1e-6)
        try:
            return self.sock.recv(want)
        except OSError as error:
            raise self._translated(error) from error

    def _end(self, timeout):
        return time.monotonic() + (self.timeout if timeout is None else timeout)

    def recv_raw(self, n, timeout=None):
        """Exactly n bytes. What came of them stays in the buffer when it times out."""
        end = self._end(timeout)
        while len(self.buffer) < n:
            data = self._receive(end)
            if not data:
                raise Closed(f'after {len(self.buffer)} of {n} bytes')
            self.buffer += data
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def recv_some(self, n=65536, timeout=None):
        """Between 1 and n bytes, or b'' at the end."""
        data = self.buffer[:n] or self._receive(self._end(timeout), n)
        self.buffer = self.buffer[len(data):] if self.buffer else b''
        return data

    def recv_until(self, mark, timeout=None, limit=65536):
        """Up to and with `mark`."""
        end = self._end(timeout)
        while mark not in self.buffer:
            data = self._receive(end)
            if not data:
                raise Closed(f'before {mark!r}')
            self.buffer += data
            if len(self.buffer) > limit:
                raise BadPeer(f'no {mark!r} in {limit} bytes')
        at = self.buffer.index(mark) + len(mark)
        data, self.buffer = self.buffer[:at], self.buffer[at:]
        return data

    def expect_close(self, timeout=None):
        """Waits for the end and returns what came before it; raises TimedOut when there is none."""
        data, self.buffer = self.buffer, b''
        end = self._end(timeout)
        while True:
            try:
                more = self._receive(end)
            except Closed:
                return data
            if not more:
                return data
            data += more

    def expect_silence(self, seconds):
        """Nothing comes for so long, and the connection stays open."""
        if self.buffer:
            raise BadPeer(f'not silent: {self.buffer!r}')
        try:
            data = self._receive(time.monotonic() + seconds)
        except TimedOut:
            return
        raise BadPeer(f'not silent: {data!r}') if data else Closed('while silence was expected')

    def half_close(self):
        """FIN (in TLS without close_notify, as many clients end); reading goes on."""
        socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def close(self):
        """As a process that ends: FIN, or RST by the kernel when unread data is left."""
        self.sock.close()

    def reset(self):
        """RST, whatever is under way."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.sock.close()

    def leave(self, timeout=None):
        """Orderly: FIN, then reads to the peer's end; returns what came."""
        self.half_close()
        try:
            return self.expect_close(timeout)
        finally:
            self.sock.close()

    @property
    def local(self):
        return self.sock.getsockname()


class Client(Socket):
    """What both dialects share: calls over send(op, …) and receive(timeout)."""

    empty = b''
    context = None  # an ssl.SSLContext: all clients made from now on speak TLS

    def __init__(self, *args, context=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.ver, self.seq, self.pending = 1, 0, []
        context = context or self.context
        if context is None:
            return
        try:
            self.sock = context.wrap_socket(self.sock, server_hostname=self.sock.getpeername()[0])
        except OSError as error:
            self.sock.close()
            raise self._translated(error) from error

    def next_seq(self):
        self.seq += 1
        return self.seq

    def receive(self, timeout=None):
        raise NotImplementedError

    def recv(self, timeout=None):
        """The next packet, those first that a call has set aside."""
        return self.pending.pop(0) if self.pending else self.receive(timeout)

    def wait(self, wanted, timeout=None):
        """The next packet of which wanted(packet) is true; others are set aside, in order."""
        for at, packet in enumerate(self.pending):
            if wanted(packet):
                return self.pending.pop(at)
        end = self._end(timeout)
        while True:
            packet = self.receive(max(0.0, end - time.monotonic()))
            if wanted(packet):
                return packet
            self.pending.append(packet)

    def call(self, op, reply, body=None, timeout=None):
        """Sends op and waits for its reply, which must have the same seq and ver."""
        seq = self.next_seq()
        self.send(op, self.empty if body is None else body, seq)
        packet = self.wait(lambda p: p.op == reply and p.seq == seq, timeout)
        if packet.ver != self.ver:
            raise BadPeer(f'reply of version {packet.ver}: {packet}')
        return packet

    def login(self, token, ver=None, device=None, rooms=None, resume=None, timeout=None):
        """Version 2 when device, rooms or resume are given. The reply must be the first thing that comes."""
        body = login_body(token, device, rooms, resume)
        self.ver = ver or (1 if body is token else 2)
        seq = self.next_seq()
        self.send_login(body, seq)
        packet = self.receive(timeout)
        if packet.op != OP_AUTH_REPLY or packet.seq != seq:
            raise BadPeer(f'answer to the login: {packet}')
        return packet

    def send_login(self, body, seq):
        self.send(OP_AUTH, json.dumps(body) if isinstance(body, dict) else body, seq)

    def message(self, timeout=None):
        """The next push: op 5 (or ops above 255, goim's), seq 0."""
        return self.wait(lambda p: p.seq == 0 and (p.op == OP_PUSH or p.op > 255), timeout)

    def messages(self, n, timeout=None):
        end = self._end(timeout)
        return [self.message(max(0.0, end - time.monotonic())) for _ in range(n)]

    def no_message(self, seconds=0.3):
        try:
            packet = self.message(seconds)
        except TimedOut:
            return
        raise BadPeer(f'a message that should not be: {packet}')

    def heartbeat(self, timeout=None):
        return self.call(OP_HEARTBEAT, OP_HEARTBEAT_REPLY, timeout=timeout)

    def echo(self, body, timeout=None):
        return self.call(OP_SEND, OP_PUSH, body, timeout).body

    def test(self, timeout=None):
        return self.call(OP_TEST, OP_TEST_REPLY, timeout=timeout).body

    def room(self, key, timeout=None):
        """Into that room instead of the present ones; '' leaves all."""
        return self.call(OP_ROOM, OP_ROOM_REPLY, key, timeout)

    def join(self, key, timeout=None):
        return self.call(OP_JOIN, OP_JOIN_REPLY, key, timeout)

    def leave_room(self, key, timeout=None):
        return self.call(OP_LEAVE, OP_LEAVE_REPLY, key, timeout)

    def ack(self, id):
        """Version 2; there is no reply."""
        self.send(OP_ACK, self.empty, 0, id=id)


class TcpClient(Client):
    def send(self, op, body=b'', seq=0, ver=None, id=None):
        self.send_raw(pack(op, body, seq, self.ver if ver is None else ver, id))

    def receive(self, timeout=None):
        """The next packet from the wire. A time-out in the middle of one loses nothing."""
        end = self._end(timeout)
        head = self.recv_raw(HEAD.size, timeout)
        length, extra, packet = unpack(head)
        try:
            rest = self.recv_raw(length, max(0.0, end - time.monotonic()))
        except TimedOut:
            self.buffer = head + self.buffer
            raise
        return fill(packet, extra, rest)


def mask(payload, key):
    n = len(payload)
    stretched = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(payload, 'big') ^ int.from_bytes(stretched, 'big')).to_bytes(n, 'big')


def frame(op, payload, fin=True, masked=True, rsv=0):
    """A WebSocket frame's bytes, as a client sends it (wrong ones too)."""
    n, bit = len(payload), 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | op])
    if n < 126:
        head += bytes([bit | n])
    elif n < 65536:
        head += bytes([bit | 126]) + struct.pack('>H', n)
    else:
        head += bytes([bit | 127]) + struct.pack('>Q', n)
    key = os.urandom(4)
    return head + (key + mask(payload, key) if masked else payload)


class WsClient(Client):
    """pongs and closes are answered unless auto is False; ping payloads are in .pings, the peer's code in .code."""

    TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
    GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
    empty = ''

    def __init__(self, host='127.0.0.1', port=8090, path='/sub', headers=(), upgrade=True, binary=False, auto=True,
                 **kwargs):
        super().__init__(host, port, **kwargs)
        self.binary, self.auto, self.pings, self.code = binary, auto, [], None
        self.packets, self.parts = [], []
        if upgrade:
            try:
                self.upgrade(host, port, path, headers)
            except BaseException:
                self.close()
                raise

    def upgrade(self, host, port, path='/sub', headers=()):
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f'GET {path} HTTP/1.1', f'Host: {host}:{port}', 'Upgrade: websocket', 'Connection: Upgrade',
                 f'Sec-WebSocket-Key: {key}', 'Sec-WebSocket-Version: 13', *headers]
        self.send_raw('\r\n'.join(lines + ['', '']).encode())
        status, fields = parse_head(self.recv_until(b'\r\n\r\n'))
        accept = base64.b64encode(hashlib.sha1((key + self.GUID).encode()).digest()).decode()
        if status != 101:
            raise Closed(f'upgrade refused: {status}', code=status)
        if (fields.get('sec-websocket-accept') != accept or fields.get('upgrade', '').lower() != 'websocket'
                or 'upgrade' not in fields.get('connection', '').lower()):
            raise BadPeer(f'upgrade answer {fields}')

    # frames
    def send_frame(self, op, payload, **how):
        self.send_raw(frame(op, as_bytes(payload), **how))

    def recv_frame(self, timeout=None):
        """(op, fin, payload) of the next frame, whatever it is. A time-out loses nothing."""
        end, taken = self._end(timeout), b''

        def take(n):
            nonlocal taken
            data = self.recv_raw(n, max(0.0, end - time.monotonic()))
            taken += data
            return data

        try:
            first, second = take(2)
            if first & 0x70 or second & 0x80:
                raise BadPeer(f'frame head {first:02x} {second:02x}')
            n = second & 0x7f
            if n >= 126:
                n = int.from_bytes(take(2 if n == 126 else 8), 'big')
                if n < 126 or (second == 127 and n < 65536) or n > PACKET_MAX:
                    raise BadPeer(f'frame length {n} written in {second}')
            if first & 8 and (n > 125 or not first & 0x80):
                raise BadPeer('long or fragmented control frame')
            return first & 15, bool(first & 0x80), take(n)
        except TimedOut:
            self.buffer = taken + self.buffer
            raise

    def _control(self, op, payload):
        if op == self.PING:
            self.pings.append(payload)
            if self.auto:
                self.send_frame(self.PONG, payload)
        elif op == self.CLOSE:
            self.code = struct.unpack('>H', payload[:2])[0] if payload else 1005
            if self.auto:
                try:
                    self.send_frame(self.CLOSE, payload[:2])
                except ClientError:
                    pass
            raise Closed(f'close frame {self.code} {payload[2:]!r}', code=self.code)
        elif op != self.PONG:
            raise BadPeer(f'frame of op {op}')

    def recv_text(self, timeout=None):
        """(op, payload) of the next whole message."""
        end = self._end(timeout)
        while True:
            op, fin, payload = self.recv_frame(max(0.0, end - time.monotonic()))
            if op >= 8:
                self._control(op, payload)
                continue
            if (op == 0) != bool(self.parts) or op > 2:
                raise BadPeer(f'frame of op {op} out of order')
            self.parts.append((op, payload))
            if fin:
                parts, self.parts = self.parts, []
                return parts[0][0], b''.join(p for _, p in parts)

    def expect_close_code(self, timeout=None):
        """Reads up to the close frame; its code."""
        try:
            while True:
                self.receive(timeout)
        except Closed as closed:
            return closed.code

    def close_frame(self, code=1000, reason=''):
        self.send_frame(self.CLOSE, struct.pack('>H', code) + reason.encode())

    # packets
    def send_json(self, text):
        """Raw JSON text (or an object) as one message."""
        text = text if isinstance(text, (str, bytes)) else json.dumps(text, separators=(',', ':'))
        self.send_frame(self.BINARY if self.binary else self.TEXT, text)

    def send(self, op, body='', seq=0, ver=None, id=None):
        packet = {'ver': self.ver if ver is None else ver, 'op': op, 'seq': seq, 'body': body}
        if id is not None:
            packet.update(epoch=id[0], id=str(id[1]))
        self.send_json(packet)

    def send_login(self, body, seq):
        self.send(OP_AUTH, body, seq)

    def receive(self, timeout=None):
        if not self.packets:
            op, text = self.recv_text(timeout)
            self.packets = parse_packets(op, text)
        return self.packets.pop(0)


def no_constant(name):
    raise ValueError(name)


def parse_packets(op, text):
    """The packets of one message of the server's: a text frame with a JSON array of objects."""
    try:
        array = json.loads(text.decode('utf-8'), parse_constant=no_constant)
    except ValueError as error:
        raise BadPeer(f'not JSON: {text[:200]!r}') from error
    if op != WsClient.TEXT or not isinstance(array, list) or not array:
        raise BadPeer(f'not an array in a text frame: {op} {text[:200]!r}')
    packets = []
    for one in array:
        if not isinstance(one, dict) or list(one)[:4] != ['ver', 'op', 'seq', 'body']:
            raise BadPeer(f'not a packet: {one}')
        id = (one['epoch'], int(one['id'])) if 'id' in one else None
        packets.append(Packet(one['op'], one['body'], one['seq'], one['ver'], id))
    return packets


# HTTP
def parse_head(head):
    """(status, {lower-case name: value}) of a response head."""
    first, *rest = head.decode('latin-1').split('\r\n')
    parts = first.split(' ', 2)
    if len(parts) < 2 or not parts[0].startswith('HTTP/1.') or not parts[1].isdigit():
        raise BadPeer(f'status line {first!r}')
    fields = {}
    for line in rest:
        if line:
            name, colon, value = line.partition(':')
            if not colon or not name or name != name.strip():
                raise BadPeer(f'header {line!r}')
            fields[name.lower()] = value.strip()
    return int(parts[1]), fields


class Answer:
    """Of an HTTP call. ret and data are None when the body is not JSON."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        try:
            self.json = json.loads(body)
        except ValueError:
            self.json = None
        fields = self.json if isinstance(self.json, dict) else {}
        self.ret, self.data = fields.get('ret'), fields.get('data')
        self.ok = status == 200 and self.ret == 1

    def __repr__(self):
        return f'Answer({self.status}, {self.body[:200]!r})'


def request_bytes(method, target, host, body=b'', headers=None):
    lines = [f'{method} {target} HTTP/1.1', f'Host: {host}']
    lines += [f'{name}: {value}' for name, value in (headers or {}).items()]
    if method == 'POST' or body:
        lines.append(f'Content-Length: {len(body)}')
    return '\r\n'.join(lines + ['', '']).encode('latin-1') + body


def query(path, **params):
    params = {k: v for k, v in params.items() if v is not None}
    return path + ('?' + urllib.parse.urlencode(params, doseq=True) if params else '')


class ApiCalls:
    """The calls, over self.request(method, target, body, headers). They return its result."""

    def token(self, uid, token, expire=3600, **more):
        body = urllib.parse.urlencode({'uid': uid, 'token': token, 'expire': expire, **more}, doseq=True)
        return self.request('POST', '/1/admin/token/new', body.encode(),
                            {'Content-Type': 'application/x-www-form-urlencoded'})

    @staticmethod
    def _key(key):
        return {'Idempotency-Key': key} if key is not None else {}

    def push(self, uid, body, key=None, **more):
        return self.request('POST', query('/1/push', uid=uid, **more), as_bytes(body), self._key(key))

    def pushs(self, uids, value, key=None, **more):
        """value: JSON, delivered as it is."""
        text = '{"u":%s,"m":%s}' % (json.dumps(list(uids)), json.dumps(value))
        return self.request('POST', query('/1/pushs', **more), text.encode(), self._key(key))

    def room(self, rid, body, ensure=None, key=None):
        return self.request('POST', query('/1/push/room', rid=rid, ensure=ensure), as_bytes(body), self._key(key))

    def all(self, body, key=None):
        return self.request('POST', '/1/push/all', as_bytes(body), self._key(key))

    def count(self, type='room'):
        return self.request('GET', query('/1/count', type=type))

    def server_del(self, server):
        return self.request('POST', query('/1/server/del', server=server))

    def msg_get(self, uid, mid=0, token=None, cb=None):
        return self.request('GET', query('/1/msg/get', uid=uid, mid=mid, token=token, cb=cb))


def decode_msgs(answer):
    """[(mid, bytes)] of a msg_get."""
    return [(m['mid'], base64.b64decode(m['msg'])) for m in answer.data['msgs'] or []]


class Api(ApiCalls):
    """Blocking, one connection that is kept and made again when needed (never a request sent twice by itself)."""

    def __init__(self, host='127.0.0.1', port=7172, key=None, timeout=10.0):
        self.host, self.port, self.key, self.timeout, self.sock = host, port, key, timeout, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock = None

    def _usable(self):
        """An idle connection that has become readable has ended."""
        if self.sock is None:
            return False
        self.sock.sock.settimeout(0.0)
        try:
            self.sock.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        self.close()
        return False

    def request(self, method, target, body=b'', headers=None):
        headers = dict(headers or {})
        if self.key is not None:
            headers.setdefault('Authorization', f'Bearer {self.key}')
        if not self._usable():
            self.sock = Socket(self.host, self.port, self.timeout)
        try:
            self.sock.send_raw(request_bytes(method, target, f'{self.host}:{self.port}', body, headers))
            answer = read_answer(self.sock)
        except ClientError:
            self.close()
            raise
        if answer.headers.get('connection', '').lower() == 'close':
            self.close()
        return answer


def read_answer(sock, timeout=None):
    """One response from a Socket: for requests that were written by hand."""
    status, fields = parse_head(sock.recv_until(b'\r\n\r\n', timeout))
    if 'content-length' in fields:
        body = sock.recv_raw(int(fields['content-length']), timeout)
    else:
        body = b'' if status in (204, 304) else sock.expect_close(timeout)
    return Answer(status, fields, body)


# asyncio
class AsyncTcpClient:
    """One connection for asyncio. recv() and calls wait at most `timeout`; pause()/resume() stop reading the socket."""

    def __init__(self, host='127.0.0.1', port=8080, timeout=10.0):
        self.host, self.port, self.timeout = host, port, timeout
        self.ver, self.seq, self.pending = 1, 0, []
        self.reader = self.writer = None

    async def _within(self, awaitable):
        try:
            return await asyncio.wait_for(awaitable, self.timeout)
        except asyncio.TimeoutError as error:
            raise TimedOut('no answer') from error
        except asyncio.IncompleteReadError as error:
            raise Closed(f'after {len(error.partial)} of {error.expected} bytes') from error
        except OSError as error:
            raise Closed(str(error), reset=isinstance(error, ConnectionResetError)) from error

    async def connect(self):
        self.reader, self.writer = await self._within(
            asyncio.open_connection(self.host, self.port, ssl=Client.context))
        return self

    async def __aenter__(self):
        return await self.connect()

    async def __aexit__(self, *_):
        await self.close()

    def send(self, op, body=b'', seq=0, ver=None, id=None):
        """Hands it to the transport; does not wait."""
        self.writer.write(pack(op, body, seq, self.ver if ver is None else ver, id))

    def send_raw(self, data):
        self.writer.write(data)

    async def _packet(self):
        length, extra, packet = unpack(await self.reader.readexactly(HEAD.size))
        return fill(packet, extra, await self.reader.readexactly(length))

    async def receive(self):
        """The next packet from the wire. After TimedOut the connection is of no use (half a packet may be lost)."""
        return await self._within(self._packet())

    async def recv(self):
        return self.pending.pop(0) if self.pending else await self.receive()

    async def wait(self, wanted):
        for at, packet in enumerate(self.pending):
            if wanted(packet):
                return self.pending.pop(at)
        while True:
            packet = await self.receive()
            if wanted(packet):
                return packet
            self.pending.append(packet)

    async def login(self, token, ver=None, device=None, rooms=None, resume=None):
        body = login_body(token, device, rooms, resume)
        self.ver = ver or (1 if body is token else 2)
        self.seq += 1
        self.send(OP_AUTH, json.dumps(body) if isinstance(body, dict) else body, self.seq)
        packet = await self.receive()
        if packet.op != OP_AUTH_REPLY or packet.seq != self.seq:
            raise BadPeer(f'answer to the login: {packet}')
        return packet

    async def call(self, op, reply, body=b''):
        self.seq += 1
        seq = self.seq
        self.send(op, body, seq)
        return await self.wait(lambda p: p.op == reply and p.seq == seq)

    async def message(self):
        return await self.wait(lambda p: p.seq == 0 and (p.op == OP_PUSH or p.op > 255))

    async def heartbeat(self):
        return await self.call(OP_HEARTBEAT, OP_HEARTBEAT_REPLY)

    async def echo(self, body):
        return (await self.call(OP_SEND, OP_PUSH, body)).body

    async def room(self, key):
        return await self.call(OP_ROOM, OP_ROOM_REPLY, key)

    def ack(self, id):
        self.send(OP_ACK, b'', 0, id=id)

    def pause(self):
        self.writer.transport.pause_reading()

    def resume(self):
        self.writer.transport.resume_reading()

    def half_close(self):
        self.writer.write_eof()

    def reset(self):
        """RST."""
        sock = self.writer.get_extra_info('socket')
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.writer.transport.abort()

    async def close(self):
        if self.writer is None:
            return
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass


class AsyncApi(ApiCalls):
    """`connections` kept-alive connections; calls are coroutines and wait for a free one."""

    def __init__(self, host='127.0.0.1', port=7172, key=None, timeout=10.0, connections=16):
        self.host, self.port, self.key, self.timeout = host, port, key, timeout
        self.free, self.gate = [], asyncio.Semaphore(connections)

    async def request(self, method, target, body=b'', headers=None):
        headers = dict(headers or {})
        if self.key is not None:
            headers.setdefault('Authorization', f'Bearer {self.key}')
        data = request_bytes(method, target, f'{self.host}:{self.port}', body, headers)
        async with self.gate:
            try:
                return await asyncio.wait_for(self._exchange(data), self.timeout)
            except asyncio.TimeoutError as error:
                raise TimedOut('no answer') from error
            except asyncio.IncompleteReadError as error:
                raise Closed(f'after {len(error.partial)} bytes') from error
            except OSError as error:
                raise Closed(str(error), reset=isinstance(error, ConnectionResetError)) from error

    async def _exchange(self, data):
        while self.free and self.free[-1][0].at_eof():
            self.free.pop()[1].close()
        reader, writer = self.free.pop() if self.free else await asyncio.open_connection(self.host, self.port)
        keep = False
        try:
            writer.write(data)
            status, fields = parse_head(await reader.readuntil(b'\r\n\r\n'))
            length = fields.get('content-length')
            answer = Answer(status, fields, await (reader.readexactly(int(length)) if length else reader.read()))
            keep = length is not None and fields.get('connection', '').lower() != 'close'
            return answer
        finally:
            if keep:
                self.free.append((reader, writer))
            else:
                writer.close()

    async def close(self):
        for _, writer in self.free:
            writer.close()
        self.free.clear()
