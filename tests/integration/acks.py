#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""v1.ack: what counts as received by a client of version 1, in each mode, on TCP and WebSocket, however the client ends.

    acks.py [standalone|cluster] --build DIR [--mode NAME]… [--only WORD]…

A scene is a client that is told of some messages, reads them or not, answers pings or not, and ends. Then its log is
looked at: what is not acknowledged is still in it, and comes again at the next connect. The table says how many of ten
messages that must be. Where a mode waits for time (tcp: 1 s), a scene that was slower than it should be is played again.
"""
import argparse
import concurrent.futures
import time

import harness
import imgo_client as ic
from harness import SECRET, Failure

MODES = ('tcp', 'heartbeat', 'pong', 'written')
N = 10
SOON = 0.8        # what happens so soon after the first message is before the 1 s of tcp
SEEN = 0.4        # after so long the comet has seen that a client's TCP has the bytes
BATCH, SIZE = 90, 8000
TRIES = 4


class Late(Exception):
    """This machine was too slow for the scene to mean something."""


class Scene:
    """One user, his client and his log."""

    def __init__(self, system, kind):
        self.system, self.kind = system, kind
        self.api = ic.Api(port=system.api_port, timeout=30.0)
        self.uid = None

    def begin(self, uid):
        self.uid, self.token = uid, f'{SECRET}a{uid}'
        self.call(self.api.token(uid, self.token, 3600))

    @staticmethod
    def call(answer):
        if not answer.ok:
            raise Failure(f'{answer}')

    def connect(self, **how):
        comet = self.system.comet()
        if self.kind == 'tcp':
            client = ic.TcpClient(port=comet.tcp, timeout=20.0, **how)
        else:
            client = ic.WsClient(port=comet.ws, timeout=20.0, auto=False, **how)
        client.login(self.token)
        return client

    def push(self, n=N, size=0):
        for i in range(n):
            self.call(self.api.push(self.uid, f'{SECRET}{i:04d}'.ljust(size, '*')))

    def told(self, **how):
        """A client that has read all ten messages, and the time of the first."""
        client = self.connect(**how)
        self.push()
        client.message()
        self.first = time.monotonic()
        client.messages(N - 1)
        return client

    def in_time(self):
        if time.monotonic() - self.first > SOON:
            raise Late()

    def waiting(self):
        answer = self.api.msg_get(self.uid, 0, self.token)
        if answer.status != 200 or answer.ret != 0:
            return None
        return [body for _, body in ic.decode_msgs(answer)]

    def left(self, want):
        """Waits until so many are left, and looks that it stays so when that is what was there before."""
        end = time.monotonic() + 12
        if want:
            time.sleep(1.3)
        while True:
            found = self.waiting()
            if found is not None and len(found) == want:
                return
            if time.monotonic() > end:
                raise Failure(f'{found and len(found)} of {N} messages are left, not {want}')
            time.sleep(0.1)


def answer_pings(client, seconds):
    """A WebSocket client that reads and answers for a while; others are quiet."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not isinstance(client, ic.WsClient):
            time.sleep(seconds)
            return
        try:
            op, _, payload = client.recv_frame(max(0.01, end - time.monotonic()))
        except ic.TimedOut:
            return
        if op == client.PING:
            client.send_frame(client.PONG, payload)


# ---- the scenes: each a function, and how many messages are left in each mode, (TCP, WebSocket); None: not played ----

SCENES = []


def scene(**left):
    def add(function):
        SCENES.append((function, left))
        return function
    return add


BOTH_ALL, BOTH_NONE = (N, N), (0, 0)


@scene(tcp=BOTH_ALL, heartbeat=BOTH_ALL, pong=BOTH_ALL, written=BOTH_NONE)
def reset_at_once(s):
    client = s.told()
    s.in_time()
    client.reset()


@scene(tcp=BOTH_NONE, heartbeat=BOTH_ALL, pong=BOTH_ALL, written=BOTH_NONE)
def reset_after_a_while(s):
    client = s.told()
    time.sleep(2.0)
    client.reset()


@scene(tcp=BOTH_NONE, heartbeat=BOTH_NONE, pong=(0, N), written=BOTH_NONE)
def heartbeat_and_reset(s):
    client = s.told()
    time.sleep(SEEN)
    client.heartbeat()
    s.in_time()
    client.reset()


@scene(heartbeat=BOTH_ALL, pong=BOTH_ALL)
def another_packet_is_no_heartbeat(s):
    client = s.told()
    time.sleep(SEEN)
    client.echo('x' if s.kind == 'ws' else b'x')
    time.sleep(0.2)
    client.reset()


@scene(tcp=BOTH_NONE, heartbeat=BOTH_ALL, pong=(N, 0), written=BOTH_NONE)
def pongs_and_reset(s):
    client = s.told()
    answer_pings(client, 1.5)
    client.reset()


@scene(pong=BOTH_ALL)
def wrong_pongs_and_reset(s):
    """Pongs that nobody asked for, an old one, and one with another payload."""
    client = s.told()
    if s.kind == 'ws':
        op, _, payload = client.recv_frame(5)
        if op != client.PING or len(payload) != 8:
            raise Failure(f'not a ping: {op} {payload!r}')
        for wrong in (b'', payload[:7], payload + b'\0', b'\0' * 8, b'\xff' * 8):
            client.send_frame(client.PONG, wrong)
        client.heartbeat()
    else:
        time.sleep(SEEN)
    client.reset()


@scene(tcp=BOTH_NONE, heartbeat=BOTH_ALL, pong=BOTH_ALL, written=BOTH_NONE)
def orderly_at_once(s):
    """FIN, and reads to the end."""
    client = s.told()
    client.leave()


@scene(tcp=BOTH_NONE, heartbeat=BOTH_ALL, pong=BOTH_ALL, written=BOTH_NONE)
def closed_at_once(s):
    """close() with everything read."""
    s.told().close()


@scene(tcp=(None, 0), heartbeat=(None, N), pong=(None, N), written=(None, 0))
def close_frame_at_once(s):
    """A client that sends a close frame, and closes without reading the answer."""
    client = s.told()
    client.close_frame(1000)
    client.close()


@scene(tcp=(None, 0), heartbeat=(None, N), pong=(None, N), written=(None, 0))
def close_frame_and_reset(s):
    """The same, but its close comes late: the answer is there, unread, and its kernel resets."""
    client = s.told()
    time.sleep(SEEN)
    client.close_frame(1000)
    time.sleep(0.2)
    s.in_time()
    client.close()


@scene(tcp=BOTH_NONE, heartbeat=BOTH_NONE, pong=BOTH_NONE, written=BOTH_NONE)
def a_long_quiet_talk(s):
    """Message after message with heartbeats and pongs between: all but the newest are acknowledged while it goes on."""
    client = s.connect()
    for i in range(4):
        s.call(s.api.push(s.uid, f'{SECRET}{i}'))
        client.message()
        answer_pings(client, SEEN)
        client.heartbeat()
    s.left(0)
    client.reset()


def half(s, mode):
    """A long batch, of which the client reads half and dies: what it had not read is not lost (pong), or only what its TCP
    had (tcp, heartbeat); the log has at least the rest."""
    s.push(BATCH, SIZE)
    client = s.connect(rcvbuf=8192)
    read = []
    while len(read) < BATCH // 2:
        try:
            packet = client.receive(5)
        except ic.ClientError as error:
            raise Failure(f'after {len(read)}: {error!r}') from error
        if packet.op == ic.OP_PUSH and packet.seq == 0:
            read.append(packet.body if isinstance(packet.body, str) else packet.body.decode())
        if isinstance(client, ic.WsClient):
            while client.pings:
                client.send_frame(client.PONG, client.pings.pop(0))
    time.sleep(1.5)
    unread = unread_in_tcp(client)
    client.reset()
    time.sleep(1.5)
    again = s.waiting()
    want = [f'{SECRET}{i:04d}'.ljust(SIZE, '*') for i in range(BATCH)]
    if read != want[:len(read)]:
        raise Failure('out of order')
    again = [b.decode() if isinstance(b, bytes) else b for b in again]
    got = set(read) | set(again)
    lost = [w[len(SECRET):len(SECRET) + 4] for w in want if w not in got]
    if again != want[BATCH - len(again):]:
        raise Failure('the log is not the end of the batch')
    allowed = {'pong': 0 if s.kind == 'ws' else unread, 'heartbeat': 0, 'tcp': unread}.get(mode, BATCH)
    if len(lost) > allowed:
        raise Failure(f'lost {lost}, unread in its TCP {unread}, left {len(again)}')
    if mode == 'heartbeat' and len(again) != BATCH:
        raise Failure(f'{BATCH - len(again)} acknowledged without a heartbeat')
    if mode == 'pong' and s.kind == 'ws' and len(again) == BATCH:
        raise Failure('no pong counted')


def unread_in_tcp(client):
    """How many messages, at most, a client's TCP holds unread, with what the client has read ahead."""
    try:
        data = client.sock.recv(1 << 20, 2 | 64)          # MSG_PEEK | MSG_DONTWAIT
    except BlockingIOError:
        data = b''
    return (len(client.buffer) + len(data)) // SIZE + 1


# ---- main ----

def play(system, function, kind, mode, want, uids):
    for attempt in range(TRIES):
        s = Scene(system, kind)
        try:
            s.begin(uids[attempt])
            function(s)
            s.left(want)
            return None
        except Late:
            problem = 'this machine is too slow'
        except (Failure, ic.ClientError) as error:
            problem = f'{error!r}'
            if mode != 'tcp':          # nothing there depends on speed
                return problem
        finally:
            s.api.close()
    return problem


def play_half(system, kind, mode, uid):
    s = Scene(system, kind)
    try:
        s.begin(uid)
        half(s, mode)
        return None
    except (Failure, ic.ClientError) as error:
        return f'{error!r}'
    finally:
        s.api.close()


def run_mode(args, mode):
    jobs, failed = {}, 0
    with harness.make(args.kind, args.build, {'v1.ack': mode}) as system, \
            concurrent.futures.ThreadPoolExecutor(8) as pool:
        for kind in ('tcp', 'ws'):
            for function, left in SCENES:
                title = f'{mode} {kind} {function.__name__}'
                want = left.get(mode, (None, None))[kind == 'ws']
                if want is not None and (not args.only or any(w in title for w in args.only)):
                    uids = [system.uid() for _ in range(TRIES)]
                    jobs[pool.submit(play, system, function, kind, mode, want, uids)] = title
            title = f'{mode} {kind} half'
            if not args.only or any(w in title for w in args.only):
                jobs[pool.submit(play_half, system, kind, mode, system.uid())] = title
        for job in concurrent.futures.as_completed(jobs):
            problem = job.result()
            failed += problem is not None
            print(f'{"ok    " if problem is None else "FAILED"} {jobs[job]}' + (f': {problem}' if problem else ''), flush=True)
    return len(jobs), failed


def main(args):
    total = failures = 0
    for mode in args.mode or MODES:
        ran, failed = run_mode(args, mode)
        total, failures = total + ran, failures + failed
    print(f'{failures} of {total} scenes failed')
    return 1 if failures else 0


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('kind', nargs='?', default='standalone', choices=('standalone', 'cluster'))
    parser.add_argument('--build', default='build')
    parser.add_argument('--mode', action='append', choices=MODES)
    parser.add_argument('--only', action='append')
    harness.main(lambda: main(parser.parse_args()))
