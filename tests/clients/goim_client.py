# SPDX-License-Identifier: MIT
"""A goim v2 client, stdlib only, written from the protocol's description (packets over TCP, or one in each binary frame of
a WebSocket) and from nothing else of this tree.

    with TcpClient(port=8080) as client:            # or WsClient(port=8090); context=ssl.SSLContext for TLS
        client.auth(mid=123, room_id='live://1000', accepts=[1000, 1001])
        client.heartbeat()                          # the number online in the room
        client.push().op, client.push().body        # the next pushes

Everything blocks with a deadline. Packets that come while an answer is waited for are kept for push(). Whatever is not as
goim has it raises BadPeer: a push that is not ver 1 and seq 0, a lone push on WebSocket that is not inside an op 9, an
answer whose version is not the question's.
"""
import base64
import collections
import hashlib
import json
import os
import socket
import struct
import time

HEARTBEAT, HEARTBEAT_REPLY, SEND, AUTH, AUTH_REPLY, RAW = 2, 3, 4, 7, 8, 9
CHANGE_ROOM, CHANGE_ROOM_REPLY, SUB, SUB_REPLY, UNSUB, UNSUB_REPLY = 12, 13, 14, 15, 16, 17
JOIN, LEAVE, JOIN_REPLY, LEAVE_REPLY = 20, 21, 22, 23   # imgo's, beside goim's

HEADER = struct.Struct('>IHHii')
Packet = collections.namedtuple('Packet', 'ver op seq body')


class GoimError(Exception):
    """Of any client here."""


class TimedOut(GoimError):
    """It did not come in time."""


class Closed(GoimError):
    """The server is gone; code: of its WebSocket close frame."""

    def __init__(self, what, code=None):
        super().__init__(what)
        self.code = code


class BadPeer(GoimError):
    """The server does not speak goim's protocol."""


def encode(op, body=b'', seq=0, ver=1):
    if isinstance(body, str):
        body = body.encode()
    return HEADER.pack(HEADER.size + len(body), HEADER.size, ver, op, seq) + body


def check_header(header):
    """The length of the body behind it, and a Packet without it."""
    length, header_length, ver, op, seq = HEADER.unpack(header)
    if header_length != HEADER.size or length < HEADER.size or length > 16 << 20:
        raise BadPeer(f'header {header.hex()}')
    return length - HEADER.size, Packet(ver, op, seq, b'')


def decode_all(data):
    """Whole packets, back to back."""
    packets = []
    while data:
        if len(data) < HEADER.size:
            raise BadPeer(f'{len(data)} bytes behind the last packet')
        length, packet = check_header(data[:HEADER.size])
        if len(data) < HEADER.size + length:
            raise BadPeer('half a packet in a frame')
        packets.append(packet._replace(body=data[HEADER.size:HEADER.size + length]))
        data = data[HEADER.size + length:]
    return packets


class Client:
    """What both transports share. They have transmit(bytes of one packet) and receive(end) -> Packets."""

    def __init__(self, host, port, context, timeout):
        self.timeout, self.seq, self.buffer = timeout, 0, b''
        self.arrived, self.pushes = collections.deque(), collections.deque()
        try:
            self.sock = socket.create_connection((host, port), timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                self.sock = context.wrap_socket(self.sock, server_hostname=host)
        except OSError as error:
            raise Closed(f'cannot connect: {error}') from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    # bytes

    def send_raw(self, data):
        try:
            self.sock.settimeout(self.timeout)
            self.sock.sendall(data)
        except OSError as error:
            raise Closed(f'cannot send: {error}') from error

    def read(self, n, end):
        """Exactly n bytes."""
        while len(self.buffer) < n:
            left = end - time.monotonic()
            if left <= 0:
                raise TimedOut(f'{len(self.buffer)} of {n} bytes came')
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                continue
            except OSError as error:
                raise Closed(f'cannot read: {error}') from error
            if not data:
                raise Closed('the server closed')
            self.buffer += data
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    # packets

    def send(self, op, body=b'', ver=1):
        """Sends a packet with the next seq and returns that."""
        self.seq += 1
        self.transmit(encode(op, body, self.seq, ver))
        return self.seq

    def next(self, timeout=None):
        """The next packet of any kind, those inside an op 9 one by one."""
        if not self.arrived:
            self.arrived.extend(self.receive(time.monotonic() + (self.timeout if timeout is None else timeout)))
        return self.arrived.popleft()

    def answer(self, seq, op, ver=1):
        """The packet that answers `seq`; pushes before it are kept."""
        while True:
            packet = self.next()
            if packet.seq == 0:
                self.pushes.append(checked_push(packet))
            elif (packet.seq, packet.op, packet.ver) == (seq, op, ver):
                return packet
            else:
                raise BadPeer(f'{packet} as the answer {op} to {seq}')

    def call(self, op, body=b'', reply=None, ver=1):
        """Sends, and returns the answer's body. reply: its op, else op + 1."""
        return self.answer(self.send(op, body, ver), op + 1 if reply is None else reply, ver).body

    # what a client does

    def auth(self, mid=0, key='', room_id='', platform='web', accepts=None, **more):
        """more: further members, say token."""
        body = {'mid': mid, 'key': key, 'room_id': room_id, 'platform': platform, 'accepts': accepts, **more}
        if self.call(AUTH, json.dumps(body)) != b'':
            raise BadPeer('the answer to a login has a body')
        return self

    def heartbeat(self):
        body = self.call(HEARTBEAT)
        if len(body) != 4:
            raise BadPeer(f'the answer to a heartbeat: {body!r}')
        return struct.unpack('>i', body)[0]

    def push(self, timeout=None):
        """The next push."""
        return self.pushes.popleft() if self.pushes else checked_push(self.next(timeout))

    def silent(self, seconds=0.3):
        """Fails if a push comes within that time. A heartbeat's answer goes behind whatever was sent before it."""
        time.sleep(seconds)
        self.heartbeat()
        if self.pushes:
            raise BadPeer(f'not expected: {self.pushes[0]}')


def checked_push(packet):
    if (packet.ver, packet.seq) != (1, 0):
        raise BadPeer(f'a push that is not ver 1, seq 0: {packet}')
    return packet


class TcpClient(Client):
    def __init__(self, host='127.0.0.1', port=8080, context=None, timeout=10.0):
        super().__init__(host, port, context, timeout)

    def transmit(self, packet):
        self.send_raw(packet)

    def receive(self, end):
        length, packet = check_header(self.read(HEADER.size, end))
        if packet.op == RAW:
            raise BadPeer('an op 9 on TCP')
        return [packet._replace(body=self.read(length, end))]


class WsClient(Client):
    TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

    def __init__(self, host='127.0.0.1', port=8090, path='/sub', context=None, timeout=10.0):
        super().__init__(host, port, context, timeout)
        key = base64.b64encode(os.urandom(16)).decode()
        self.send_raw(f'GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                      f'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n'.encode())
        head = self._head(time.monotonic() + timeout)
        accept = base64.b64encode(hashlib.sha1((key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest())
        if not head.startswith(b'HTTP/1.1 101') or b'Sec-WebSocket-Accept: ' + accept not in head:
            raise BadPeer(f'the upgrade was answered {head!r}')

    def _head(self, end):
        head = b''
        while not head.endswith(b'\r\n\r\n'):
            head += self.read(1, end)
            if len(head) > 8192:
                raise BadPeer('no end of the header')
        return head

    def send_frame(self, op, payload):
        mask = os.urandom(4)
        n = len(payload)
        size = bytes([0x80 | n]) if n < 126 else bytes([0x80 | 126]) + struct.pack('>H', n) if n < 65536 else \
            bytes([0x80 | 127]) + struct.pack('>Q', n)
        self.send_raw(bytes([0x80 | op]) + size + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))

    def transmit(self, packet):
        self.send_frame(self.BINARY, packet)

    def frame(self, end):
        """(opcode, payload) of the next frame; the server does not fragment."""
        first, second = self.read(2, end)
        if first & 0xf0 != 0x80 or second & 0x80:
            raise BadPeer(f'frame header {first:02x} {second:02x}')
        n = second
        if second == 126:
            n, = struct.unpack('>H', self.read(2, end))
        elif second == 127:
            n, = struct.unpack('>Q', self.read(8, end))
        return first & 15, self.read(n, end)

    def receive(self, end):
        op, payload = self.frame(end)
        while op == self.PING:
            self.send_frame(self.PONG, payload)
            op, payload = self.frame(end)
        if op == self.CLOSE:
            raise Closed('the server closed', struct.unpack('>H', payload[:2])[0] if payload else None)
        if op != self.BINARY:
            raise BadPeer(f'a frame of kind {op}')
        packets = decode_all(payload)
        if len(packets) != 1:
            raise BadPeer(f'{len(packets)} packets in a frame')
        packet = packets[0]
        if packet.op == RAW:
            if (packet.ver, packet.seq) != (1, 0):
                raise BadPeer(f'an op 9 that is not ver 1, seq 0: {packet}')
            return decode_all(packet.body)
        if packet.seq == 0:
            raise BadPeer(f'a push that is not inside an op 9: {packet}')
        return packets
