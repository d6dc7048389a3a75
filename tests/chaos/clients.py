# SPDX-License-Identifier: MIT
"""Clients of version 1 for asyncio, in all four dialects, that know what they have read and what lies unread in their TCP.

    c = await Connection('ws', on_message).connect(comet, token)
    await c.wait_login()
    c.deaf(); c.hear()              stops and goes on reading
    await c.leave()                 FIN (WebSocket: a close frame too), and reads to the end
    c.die()                         closes as the death of a process does: with data unread that is a RST
    c.die(reset=True)               RST, whatever was read

on_message(connection, body) is called for each push, body without the JSON around it.
"""
import asyncio
import copy
import json
import socket
import struct
import time

import imgo_client as ic

DIALECTS = ('tcp', 'ws', 'goim-tcp', 'goim-ws')
PUSH, ROOM_REPLY, RAW = ic.OP_PUSH, ic.OP_ROOM_REPLY, ic.OP_RAW
HEAD_END = b'\r\n\r\n'


class Parser:
    """Bytes of a server -> packets. A copy of it reads what is peeked at."""

    def __init__(self, dialect):
        self.dialect, self.buffer, self.upgraded, self.code = dialect, b'', not dialect.endswith('ws'), None

    def feed(self, data):
        """(op, body) of each packet that is whole now."""
        self.buffer += data
        if not self.upgraded:
            head, found, rest = self.buffer.partition(HEAD_END)
            if not found:
                return []
            if not head.startswith(b'HTTP/1.1 101'):
                raise ic.Closed(f'upgrade refused: {head[:60]}')
            self.upgraded, self.buffer = True, rest
        return list(self.frames() if self.dialect.endswith('ws') else self.packets())

    def packets(self):
        while len(self.buffer) >= ic.HEAD.size:
            length, extra, packet = ic.unpack(self.buffer[:ic.HEAD.size])
            end = ic.HEAD.size + length
            if len(self.buffer) < end:
                return
            body, self.buffer = self.buffer[ic.HEAD.size + extra:end], self.buffer[end:]
            yield packet.op, body

    def frames(self):
        while len(self.buffer) >= 2:
            op, n, at = self.buffer[0] & 15, self.buffer[1], 2
            if self.buffer[1] & 0x80 or self.buffer[0] & 0xf0 != 0x80:
                raise ic.BadPeer(f'frame {self.buffer[:2].hex()}')
            for size, format in ((126, '>H'), (127, '>Q')):
                if n == size and at == 2:
                    if len(self.buffer) < 2 + struct.calcsize(format):
                        return
                    at += struct.calcsize(format)
                    n, = struct.unpack(format, self.buffer[2:at])
            if len(self.buffer) < at + n:
                return
            payload, self.buffer = self.buffer[at:at + n], self.buffer[at + n:]
            yield from self.frame(op, payload)

    def frame(self, op, payload):
        if op == ic.WsClient.CLOSE:
            self.code = struct.unpack('>H', payload[:2])[0] if payload else None
        elif op == ic.WsClient.PING:
            yield 'ping', payload
        elif self.dialect == 'ws':
            for packet in ic.parse_packets(op, payload):
                yield packet.op, packet.body if isinstance(packet.body, str) else json.dumps(packet.body)
        else:
            inner = Parser('goim-tcp')
            for op, body in inner.feed(payload):
                yield from Parser('goim-tcp').feed(body) if op == RAW else ((op, body),)


class Connection(asyncio.Protocol):
    def __init__(self, dialect, on_message):
        loop = asyncio.get_running_loop()
        self.dialect, self.on_message, self.parser = dialect, on_message, Parser(dialect)
        self.logged_in, self.ended, self.room = loop.create_future(), loop.create_future(), None
        self.sock = self.transport = self.deaf_since = self.error = None
        self.began = time.monotonic()

    async def connect(self, comet, token, room=None, rcvbuf=None):
        loop = asyncio.get_running_loop()
        self.wanted_room = room
        self.sock = socket.socket()
        self.sock.setblocking(False)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        port = comet.ws if self.dialect.endswith('ws') else comet.tcp
        try:
            await asyncio.wait_for(loop.sock_connect(self.sock, ('127.0.0.1', port)), 3.0)
            self.transport, _ = await loop.create_connection(lambda: self, sock=self.sock)
        except (OSError, asyncio.TimeoutError) as error:
            self.sock.close()
            raise ConnectionError(str(error)) from error
        if self.dialect.endswith('ws'):
            self.transport.write((f'GET /sub HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade'
                                  '\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n').encode())
        goim = {'mid': 0, 'key': '', 'room_id': '', 'platform': 'chaos', 'accepts': None, 'token': token}
        self.send(ic.OP_AUTH, json.dumps(goim) if self.dialect.startswith('goim') else token, 1)
        return self

    def send(self, op, body='', seq=0):
        if self.transport.is_closing():
            return
        if self.dialect == 'ws':
            text = json.dumps({'ver': 1, 'op': op, 'seq': seq, 'body': body})
            self.transport.write(ic.frame(ic.WsClient.TEXT, text.encode()))
        elif self.dialect == 'goim-ws':
            self.transport.write(ic.frame(ic.WsClient.BINARY, ic.pack(op, body, seq)))
        else:
            self.transport.write(ic.pack(op, body, seq))

    # asyncio's
    def data_received(self, data):
        try:
            for op, body in self.parser.feed(data):
                self.packet(op, body)
        except (ic.ClientError, ValueError) as error:
            self.error = str(error)
            self.transport.abort()

    def packet(self, op, body):
        if op == ic.OP_AUTH_REPLY and not self.logged_in.done():
            self.logged_in.set_result(True)
            if self.wanted_room:
                self.send(ic.OP_ROOM, self.wanted_room, 2)
        elif op == ROOM_REPLY:
            self.room = self.wanted_room
        elif op == PUSH:
            self.on_message(self, plain(body))
        elif op == 'ping':
            self.transport.write(ic.frame(ic.WsClient.PONG, body))

    def connection_lost(self, error):
        for future in (self.logged_in, self.ended):
            if not future.done():
                future.set_result(False)

    def eof_received(self):
        return False

    # what a client does
    async def wait_login(self, seconds=20.0):
        """None: no answer in that time."""
        try:
            return await asyncio.wait_for(asyncio.shield(self.logged_in), seconds)
        except asyncio.TimeoutError:
            return None

    def heartbeat(self):
        self.send(ic.OP_HEARTBEAT, '', 3)

    def deaf(self):
        if not self.transport.is_closing():
            self.transport.pause_reading()
            self.deaf_since = time.monotonic()

    def hear(self):
        if not self.transport.is_closing() and self.deaf_since is not None:
            self.transport.resume_reading()
            self.deaf_since = None

    def unread(self):
        """The bodies of whole pushes that lie unread in its TCP."""
        try:
            data = self.sock.recv(1 << 22, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            return [plain(body) for op, body in copy.copy(self.parser).feed(data) if op == PUSH]
        except (OSError, ic.ClientError):
            return []

    def finish(self):
        """The orderly end of what it sends; it goes on reading, or not."""
        if self.transport.is_closing():
            return
        try:
            if self.dialect.endswith('ws'):
                self.transport.write(ic.frame(ic.WsClient.CLOSE, struct.pack('>H', 1000)))
            else:
                self.transport.write_eof()
        except OSError:  # reset by the other side: who does not read does not see it
            pass

    async def leave(self, seconds=20.0):
        """Whether the server ended it, too, in that time."""
        if not self.transport.is_closing():
            self.finish()
            await asyncio.wait([self.ended], timeout=seconds)
        done = self.ended.done()
        self.transport.abort()
        return done

    def die(self, reset=False):
        """What was unread."""
        if self.transport.is_closing():
            return []
        unread = self.unread()
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.transport.abort()
        return unread


def plain(body):
    text = body.decode() if isinstance(body, bytes) else body
    return text.strip('"')
