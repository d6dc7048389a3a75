#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A process of hostile sockets: swarm.py WHAT PORT N SECONDS SOURCE

Opens N connections from SOURCE to 127.0.0.1:PORT, says "connected N", behaves as WHAT until its input ends (or SECONDS
have passed), and says what it saw, a line "name number" each.

  silent     sends nothing
  again      sends nothing, and connects again when it is closed
  http       sends one byte of a request's head a second
"""
import select
import socket
import sys
import time

HEAD = b'POST /1/push?uid=1 HTTP/1.1\r\nHost: x\r\nX-Padding: ' + b'p' * 4000


class Hostile:
    def __init__(self, what, port, source):
        self.what, self.port, self.source = what, port, source
        self.poll = select.epoll()
        self.sockets, self.sent = {}, {}
        self.opened = self.closed = self.failed = 0

    def connect(self):
        s = socket.socket()
        s.setblocking(False)
        try:
            s.bind((self.source, 0))
            s.connect(('127.0.0.1', self.port))
        except BlockingIOError:
            pass
        except OSError:
            self.failed += 1
            s.close()
            return
        self.opened += 1
        self.sockets[s.fileno()] = s
        self.poll.register(s.fileno(), select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR)

    def drop(self, fd):
        self.closed += 1
        self.poll.unregister(fd)
        self.sockets.pop(fd).close()
        self.sent.pop(fd, None)

    def events(self, seconds):
        gone = 0
        for fd, events in self.poll.poll(seconds):
            try:
                more = self.sockets[fd].recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                more = b''
            if not more:
                self.drop(fd)
                gone += 1
        return gone

    def trickle(self):
        for fd, s in list(self.sockets.items()):
            at = self.sent.get(fd, 0)
            try:
                self.sent[fd] = at + s.send(HEAD[at:at + 1])
            except BlockingIOError:
                pass
            except OSError:
                pass


def main():
    what, port, n, seconds, source = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
    h = Hostile(what, port, source)
    for i in range(n):
        h.connect()
        if i % 256 == 0:
            h.events(0)
    print(f'connected {len(h.sockets)}', flush=True)
    end, tick = time.monotonic() + seconds, 0.0
    while time.monotonic() < end and not select.select([sys.stdin], [], [], 0)[0]:
        gone = h.events(0.05)
        if what == 'again':
            for _ in range(gone):
                h.connect()
        elif what == 'http' and time.monotonic() - tick >= 1.0:
            tick = time.monotonic()
            h.trickle()
    print(f'opened {h.opened}\nclosed {h.closed}\nfailed {h.failed}', flush=True)


if __name__ == '__main__':
    main()
