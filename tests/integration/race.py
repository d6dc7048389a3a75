#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Rounds of connect, push and close, as many at once as there are users, with random offsets of 0 to 2 ms.

    race.py standalone|cluster --build DIR [--rounds N] [--variant NAME]… [--users N] [--seed S]

A round of a user: a push (sometimes two) and a connection, side by side, each a little later than the round's start;
the connection ends after a little while, in the variant's way:

  orderly      FIN, then the client reads to the server's end
  reset        RST, whatever has been read
  killed       the client does not read after its login, and its socket is closed with what is unread in it
  stopped      the same, 3 s later (half of the rounds; the others are orderly)
  tells        orderly; every 7th tell is dropped in the comet    (needs -Dfailpoints=true)
  late-reply   orderly; the answer to a login comes 50 ms late    (needs -Dfailpoints=true)

In the end every user connects once more for 5 s. Then: nothing accepted is missing (except what a client that died after
a second had unread in its TCP: it looks just before it dies), each user's messages came in the order of the pushes, the logs are
empty, and nothing came twice when a second or more lay between an orderly close and the next connect. Duplicates
that came sooner, or after a close that was not orderly, are allowed and counted.
"""
import argparse
import asyncio
import gc
import random
import socket
import struct
import time

import harness
import imgo_client as ic
from harness import SECRET, Failure

FAILPOINTS = {'tells': 'comet.tell:every=7', 'late-reply': 'comet.connect.reply:delay=50'}
VARIANTS = ('orderly', 'reset', 'killed', 'stopped', 'tells', 'late-reply')
COLUMNS = ('rounds', 'accepted', 'retried', 'received', 'refused', 'dup soon', 'dup late', 'unread', 'lost',
           'disorder', 'left', 'seconds')
APART = 1.0            # an orderly close so long before a connect: no duplicates
UNREAD = 0.9           # a client that dies sooner loses nothing of what it had unread either
STOPPED = 3.0
LAST = 5.0


class Connection(asyncio.Protocol):
    """One connection of one user. `got` is what was read of it, in order."""

    def __init__(self):
        loop = asyncio.get_running_loop()
        self.buffer, self.got, self.logged_in, self.ended = b'', [], loop.create_future(), loop.create_future()
        self.reading, self.transport, self.sock, self.began, self.closed_at = True, None, None, 0.0, None

    async def connect(self, port, token):
        loop = asyncio.get_running_loop()
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.began = time.monotonic()
        await loop.sock_connect(self.sock, ('127.0.0.1', port))
        self.transport, _ = await loop.create_connection(lambda: self, sock=self.sock)
        self.transport.write(ic.pack(ic.OP_AUTH, token, 1))
        return self

    def data_received(self, data):
        self.buffer += data
        at = 0
        while len(self.buffer) - at >= ic.HEAD.size:
            length, extra, packet = ic.unpack(self.buffer[at:at + ic.HEAD.size])
            end = at + ic.HEAD.size + length
            if len(self.buffer) < end:
                break
            packet = ic.fill(packet, extra, self.buffer[at + ic.HEAD.size:end])
            at = end
            if packet.op == ic.OP_AUTH_REPLY and not self.logged_in.done():
                self.logged_in.set_result(True)
            elif packet.op == ic.OP_PUSH:
                self.got.append(packet.body)
        self.buffer = self.buffer[at:]

    def connection_lost(self, error):
        for future in (self.logged_in, self.ended):
            if not future.done():
                future.set_result(False)

    def eof_received(self):
        return False

    async def wait_login(self, seconds=30.0):
        try:
            return await asyncio.wait_for(asyncio.shield(self.logged_in), seconds)
        except asyncio.TimeoutError:
            raise Failure('no answer to a login') from None

    def stop_reading(self):
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def unread(self):
        """The bodies of whole packets that lie unread in its TCP."""
        try:
            rest = self.buffer + self.sock.recv(1 << 20, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            rest = self.buffer
        found = []
        while len(rest) >= ic.HEAD.size:
            length, _, packet = ic.unpack(rest[:ic.HEAD.size])
            if packet.op == ic.OP_PUSH:
                found.append(rest[ic.HEAD.size:ic.HEAD.size + length])
            rest = rest[ic.HEAD.size + length:]
        return found

    async def leave(self, seconds=30.0):
        """FIN, and reads to the end."""
        if not self.transport.is_closing():
            self.transport.write_eof()
            try:
                await asyncio.wait_for(asyncio.shield(self.ended), seconds)
            except asyncio.TimeoutError:
                raise Failure('the server does not close after a FIN') from None
        self.closed_at = time.monotonic()
        self.transport.close()

    def die(self, reset=False):
        """Closes as the death of a process does. Returns what was unread."""
        if self.transport.is_closing():
            return []
        unread = self.unread()
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.transport.abort()
        return unread


class User:
    def __init__(self, uid, token):
        self.uid, self.token, self.n = uid, token, 0
        self.accepted, self.unread, self.connections = [], set(), []


class Race:
    def __init__(self, system, variant, rounds, users, seed):
        self.system, self.variant, self.rounds = system, variant, rounds
        self.rng = random.Random(f'{seed} {variant}')
        self.api = ic.AsyncApi(port=system.api_port, timeout=60.0, connections=64)
        self.users, self.left_rounds = [], rounds
        self.count = dict.fromkeys(COLUMNS, 0)
        self.want = max(1, min(users, rounds // 10))

    # steps
    async def make_user(self):
        uid = self.system.uid()
        token = f'{SECRET}r{uid}'
        for _ in range(100):
            if (await self.api.token(uid, token, 86400)).ok:
                self.users.append(User(uid, token))
                return
            await asyncio.sleep(0.1)
        raise Failure('no tokens')

    async def push(self, user, offset):
        await asyncio.sleep(offset)
        body = f'{SECRET}{user.uid}/{user.n}'
        user.n += 1
        end = time.monotonic() + 60
        while True:
            try:
                answer = await self.api.push(user.uid, body, key=body)
            except ic.ClientError:
                answer = None
            if answer is not None and answer.ok:
                break
            if time.monotonic() > end:
                raise Failure(f'not accepted within 60 s: {answer}')
            self.count['retried'] += 1
            await asyncio.sleep(0.05)
        user.accepted.append(body.encode())

    async def pushes(self, user, offset, n):
        for _ in range(n):
            await self.push(user, offset)

    async def connect(self, user):
        """A logged-in connection, or None when it was refused."""
        port = self.rng.choice(self.system.comets).tcp
        try:
            connection = await Connection().connect(port, user.token)
        except OSError:
            self.count['refused'] += 1
            return None
        user.connections.append(connection)
        return connection

    async def visit(self, user, offset, stay, how):
        await asyncio.sleep(offset)
        c = await self.connect(user)
        if c is None:
            return
        if how == 'orderly' or how == 'reset' or self.rng.random() < 0.8:
            if not await c.wait_login():
                self.count['refused'] += 1
        if how == 'orderly':
            await asyncio.sleep(stay)
            await c.leave()
            return
        if how in ('killed', 'stopped'):
            c.stop_reading()
        await asyncio.sleep(STOPPED if how == 'stopped' else stay)
        lived = time.monotonic() - c.began
        unread = c.die(reset=how == 'reset')
        if lived > UNREAD:
            user.unread.update(unread)

    def how(self):
        if self.variant in ('reset', 'killed'):
            return self.variant
        return 'stopped' if self.variant == 'stopped' and self.rng.random() < 0.5 else 'orderly'

    async def round(self, user):
        rng = self.rng
        stay = rng.uniform(0, 0.002) if rng.random() < 0.9 else rng.uniform(0, 0.3)
        visit = self.visit(user, rng.uniform(0, 0.002), stay, self.how())
        await asyncio.gather(visit, self.pushes(user, rng.uniform(0, 0.002), 1 if rng.random() < 0.75 else 2))
        if rng.random() < 0.1:
            await asyncio.sleep(APART + 0.05)
        self.count['rounds'] += 1

    async def rounds_of(self, user):
        while self.left_rounds > 0:
            self.left_rounds -= 1
            await self.round(user)

    async def last(self, user):
        """5 s at the end, ended in order."""
        await asyncio.sleep(self.rng.uniform(0, 1))
        for _ in range(100):
            c = await self.connect(user)
            if c is not None and await c.wait_login():
                await asyncio.sleep(LAST)
                await c.leave()
                return
            await asyncio.sleep(0.2)
        raise Failure('no login in the end')

    async def log_left(self, user):
        """How many messages wait for that user; there should be none."""
        end = time.monotonic() + 20
        while True:
            answer = await self.api.msg_get(user.uid, 0, user.token)
            if answer.status == 200 and answer.ret == 0 and not answer.data['msgs']:
                return 0
            if time.monotonic() > end:
                return len(answer.data['msgs']) if answer.status == 200 else 1
            await asyncio.sleep(0.2)

    # the judgement
    def judge(self, user):
        c, first, problems = self.count, [], []
        seen = {}  # body -> connections that had it
        for connection in user.connections:
            c['received'] += len(connection.got)
            for body in connection.got:
                earlier = seen.setdefault(body, [])
                if not earlier:
                    first.append(body)
                elif connection in earlier or any(e.closed_at and connection.began - e.closed_at >= APART
                                                  for e in earlier):
                    c['dup late'] += 1
                    apart = ['same connection' if e is connection else
                             f'{connection.began - e.closed_at:.3f} s' if e.closed_at else 'not orderly' for e in earlier]
                    problems.append(f'{body.decode()} came again: {apart}')
                else:
                    c['dup soon'] += 1
                earlier.append(connection)
        foreign = set(first) - set(user.accepted)
        if foreign:
            problems.append(f'never pushed to this user: {foreign}')
            c['disorder'] += len(foreign)
        missing = [body for body in user.accepted if body not in seen]
        c['unread'] += sum(body in user.unread for body in missing)
        lost = [body for body in missing if body not in user.unread]
        c['lost'] += len(lost)
        if lost:
            problems.append(f'lost: {lost}')
        order = [body for body in user.accepted if body in seen]
        if not foreign and order != first:
            c['disorder'] += 1
            problems.append(f'order: {first}')
        c['accepted'] += len(user.accepted)
        return [f'user {user.uid}: {p}' for p in problems]

    async def run(self):
        began = time.monotonic()
        await asyncio.gather(*(self.make_user() for _ in range(self.want)))
        await asyncio.gather(*(self.rounds_of(user) for user in self.users))
        self.count['seconds'] = round(time.monotonic() - began, 1)
        await asyncio.gather(*(self.last(user) for user in self.users))
        left = await asyncio.gather(*(self.log_left(user) for user in self.users))
        self.count['left'] = sum(left)
        await self.api.close()
        problems = [p for user in self.users for p in self.judge(user)]
        problems += [f'user {user.uid}: {n} messages left in the log' for user, n in zip(self.users, left) if n]
        return problems


def print_table(rows):
    head = ('variant', *COLUMNS)
    table = [head] + [(name, *(str(count[c]) for c in COLUMNS)) for name, count in rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    for row in table:
        print('  '.join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))), flush=True)


def run_variant(args, system, variant):
    race = Race(system, variant, args.rounds, args.users, args.seed)
    problems = asyncio.run(race.run())
    for problem in problems[:20]:
        print(f'  {variant}: {problem}', flush=True)
    bad = problems or race.count['rounds'] != args.rounds
    return race.count, bad


def run():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('kind', choices=harness.KINDS)
    parser.add_argument('--build', default=str(harness.ROOT / 'build'))
    parser.add_argument('--rounds', type=int, default=500)
    parser.add_argument('--variant', action='append', choices=VARIANTS)
    parser.add_argument('--users', type=int, default=400)
    parser.add_argument('--option', action='append', default=[], help="a daemon's key=value; v1.ack=written must fail")
    parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(1 << 32))
    args = parser.parse_args()
    options = dict(option.split('=', 1) for option in args.option)
    print(f'{args.kind}, {args.rounds} rounds a variant, {args.users} users, --seed {args.seed}', flush=True)
    gc.freeze()
    rows, failed, together = [], [], []
    for variant in args.variant or VARIANTS:
        if variant in FAILPOINTS and not harness.has_failpoints(args.build):
            print(f'SKIPPED: {variant}: {args.build} is built without -Dfailpoints=true', flush=True)
        elif variant in FAILPOINTS:
            with harness.make(args.kind, args.build, options, env={'IMGO_FAILPOINT': FAILPOINTS[variant]}) as system:
                together.append(variant)
                one(args, system, variant, rows, failed)
        else:
            together.append(variant)
    plain = [v for v in together if v not in FAILPOINTS]
    if plain:
        with harness.make(args.kind, args.build, options) as system:
            for variant in plain:
                one(args, system, variant, rows, failed)
    print_table(rows)
    if failed:
        print(f'FAILED: {" ".join(failed)}', flush=True)
    return 1 if failed else 0


def one(args, system, variant, rows, failed):
    count, bad = run_variant(args, system, variant)
    rows.append((variant, count))
    if bad:
        failed.append(variant)
        system.show_logs(10)


if __name__ == '__main__':
    harness.main(run)
