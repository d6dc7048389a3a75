#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The links between the parts of a system, as a process of its own that can hurt them: a TCP proxy.

    proxy.py                a line of JSON on standard input is an order, a line on standard output its answer

    {"links": {"router1": [LISTEN, TARGET], …}}    listens; once, before all else
    {"link": NAME, "mode": MODE}                   from now on, also for connections that exist

Modes, of NAME or of every link whose name begins with NAME:
  open     bytes pass
  cut      nothing passes in either direction, new connections get no word (a partition: no RST, no FIN)
  mute     only what is sent to the caller is held back (a one-way partition)
  slow     each piece waits 100 to 300 ms; the order in a connection stays
  slice    one byte at a time at the beginning of each piece, then small pieces
  reset    not a mode: all connections end by RST, at once; the link stays as it is
The answer has the number of connections there were. It ends with its standard input.

Class Proxy is the other side: what tests/chaos/system.py uses.
"""
import asyncio
import json
import random
import socket
import struct
import subprocess
import sys

RESET = struct.pack('ii', 1, 0)
PIECE = 65536


class Pair:
    """The two connections of one that passes through."""

    def __init__(self, writer):
        self.writers = [writer]


class Link:
    def __init__(self, port, target):
        self.port, self.target, self.mode, self.pairs = port, target, 'open', set()
        self.changed = asyncio.Event()

    def set(self, mode):
        if mode == 'reset':
            for pair in list(self.pairs):
                reset(pair)
            return
        self.mode = mode
        self.changed.set()
        self.changed = asyncio.Event()

    async def passable(self, up):
        while self.mode == 'cut' or (self.mode == 'mute' and not up):
            await self.changed.wait()

    async def serve(self, reader, writer):
        pair = Pair(writer)
        self.pairs.add(pair)
        try:
            await self.passable(True)
            target_reader, target_writer = await asyncio.open_connection('127.0.0.1', self.target)
            pair.writers.append(target_writer)
            await asyncio.gather(self.pump(reader, target_writer, True), self.pump(target_reader, writer, False))
        except OSError:
            reset(pair)
        finally:
            self.pairs.discard(pair)
            for one in pair.writers:
                one.close()

    async def pump(self, reader, writer, up):
        while data := await reader.read(PIECE):
            await self.passable(up)
            if self.mode == 'slow':
                await asyncio.sleep(random.uniform(0.1, 0.3))
            for piece in slices(data) if self.mode == 'slice' else (data,):
                writer.write(piece)
                await writer.drain()
                if len(piece) < PIECE and self.mode == 'slice':
                    await asyncio.sleep(0)
        await self.passable(up)
        writer.write_eof()


def reset(pair):
    for writer in pair.writers:
        sock = writer.get_extra_info('socket')
        if sock is not None and not writer.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


def slices(data):
    at = 0
    while at < len(data):
        n = 1 if at < 64 else random.randrange(1, 1400)
        yield data[at:at + n]
        at += n


async def serve():
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    links = {}
    while line := await orders.readline():
        order = json.loads(line)
        if 'links' in order:
            links = {name: Link(*ports) for name, ports in order['links'].items()}
            for link in links.values():
                await asyncio.start_server(link.serve, '127.0.0.1', link.port)
            answer = len(links)
        else:
            named = [link for name, link in links.items() if name.startswith(order['link'])]
            answer = sum(len(link.pairs) for link in named)
            for link in named:
                link.set(order['mode'])
        print(json.dumps(answer), flush=True)


class Proxy:
    def __init__(self, links, dying_with_us=list):
        self.links = links
        self.process = subprocess.Popen(dying_with_us([sys.executable, __file__]), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.order({'links': links})

    def order(self, order):
        self.process.stdin.write(json.dumps(order) + '\n')
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def set(self, link, mode):
        """How many connections that link had."""
        return self.order({'link': link, 'mode': mode})

    def close(self):
        self.process.stdin.close()
        self.process.wait()


if __name__ == '__main__':
    asyncio.run(serve())
