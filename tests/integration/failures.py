#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A part dies (kill -9) while messages wait and pushes go on: everything accepted arrives, in order.

    failures.py standalone|cluster --build DIR [--only NAME]… [--users N] [--seed S]

Half of the users are online and connect again when they are closed; the other half is away, with messages waiting, and
comes at the end. Each user is pushed to by a caller of its own who retries with the same key until the push is accepted.
A client that is refused for long makes itself a new token (memcached forgets them; DESIGN.md §3 has the cure).

  accepted, received   distinct messages; lost = accepted - received, of all users; order is of first arrivals
  duplicates           further arrivals of the same message
  closed               how often a client's connection ended
  retried              pushes that had to be repeated
  paused               longest time, from the part's death, until an online user had the first message accepted after it
  back                 the same from when the part was there again
  away                 from the first of those away coming back until the last one has everything
"""
import argparse
import asyncio
import random
import time

import harness
import imgo_client as ic
from harness import SECRET, Failure, poll
from race import Connection

COLUMNS = ('users', 'accepted', 'received', 'duplicates', 'lost', 'disorder', 'closed', 'retried', 'paused', 'back', 'away')
BEFORE, AFTER, CATCH_UP = 3.0, 5.0, 90.0
PAUSE = 0.1            # between two pushes to a user


class Client(Connection):
    def data_received(self, data):
        n = len(self.got)
        super().data_received(data)
        now = time.monotonic()
        for body in self.got[n:]:
            self.user.arrived(body, now)


class User:
    def __init__(self, uid, token):
        self.uid, self.token, self.n, self.closed = uid, token, 0, 0
        self.accepted, self.at, self.order, self.duplicates = {}, {}, [], 0

    def arrived(self, body, now):
        if body in self.at:
            self.duplicates += 1
        else:
            self.at[body] = now
            self.order.append(body)

    def complete(self):
        return len(self.at) >= len(self.accepted)


class Load:
    def __init__(self, system, users, seed):
        self.system, self.rng = system, random.Random(seed)
        self.api = ic.AsyncApi(port=system.api_port, timeout=15.0, connections=64)
        self.want, self.users, self.retried, self.pushing, self.done = users, [], 0, True, False

    async def token(self, user):
        for _ in range(1200):
            try:
                if (await self.api.token(user.uid, user.token, 86400)).ok:
                    return
            except ic.ClientError:
                pass
            await asyncio.sleep(0.1)
        raise Failure('no token within two minutes')

    async def push_on(self, user):
        await asyncio.sleep(self.rng.uniform(0, PAUSE))
        while self.pushing:
            body = f'{SECRET}{user.uid}/{user.n}'
            user.n += 1
            while True:
                try:
                    answer = await self.api.push(user.uid, body, key=body)
                    if answer.ok:
                        break
                    if answer.status < 500:
                        raise Failure(f'a push was refused: {answer}')
                except ic.ClientError:
                    pass
                self.retried += 1
                await asyncio.sleep(0.1)
            user.accepted[body.encode()] = time.monotonic()
            await asyncio.sleep(PAUSE)

    async def once(self, user, refused):
        """One connection, until it ends. Whether it was logged in."""
        if refused and refused % 4 == 0:
            user.token = f'{SECRET}{user.uid}.{refused}'
            await self.token(user)
        try:
            c = Client()
            c.user = user
            await c.connect(self.rng.choice(self.system.comets).tcp, user.token)
        except OSError:
            return False
        logged_in = await c.wait_login(60)
        while logged_in and not c.ended.done() and not self.done:
            await asyncio.wait([c.ended], timeout=0.2)
        if self.done and not c.ended.done():
            await c.leave()
        elif logged_in:
            user.closed += 1
        return logged_in

    async def stay_online(self, user):
        refused = 0
        while not self.done:
            refused = 0 if await self.once(user, refused) else refused + 1
            await asyncio.sleep(self.rng.uniform(0.05, 0.3))

    async def until(self, condition, seconds):
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            await asyncio.sleep(0.05)

    async def run(self, fault):
        for _ in range(self.want):
            uid = self.system.uid()
            self.users.append(User(uid, f'{SECRET}{uid}'))
        await asyncio.gather(*(self.token(user) for user in self.users))
        online, away = self.users[::2], self.users[1::2]
        staying = [asyncio.create_task(self.stay_online(user)) for user in online]
        callers = [asyncio.create_task(self.push_on(user)) for user in self.users]
        await asyncio.sleep(BEFORE)
        died = time.monotonic()
        back = await asyncio.wait_for(fault(self.system), 60)
        await asyncio.sleep(AFTER)
        # Pushing goes on until everybody online has something that was accepted after the part was back.
        await self.until(lambda: all(self.after(user, back) is not None for user in online), CATCH_UP)
        self.pushing = False
        await asyncio.gather(*callers)
        await self.until(lambda: all(user.complete() for user in online), CATCH_UP)
        came = time.monotonic()
        staying += [asyncio.create_task(self.stay_online(user)) for user in away]
        await self.until(lambda: all(user.complete() for user in self.users), CATCH_UP)
        took = time.monotonic() - came
        await asyncio.sleep(0.3)
        self.done = True
        await asyncio.gather(*staying)
        await self.api.close()
        return self.figures(online, died, back, took)

    @staticmethod
    def after(user, moment):
        """When the first message that was accepted after that moment arrived."""
        times = [user.at[body] for body, accepted in user.accepted.items() if accepted > moment and body in user.at]
        return min(times) if times else None

    def figures(self, online, died, back, took):
        accepted, received = (sum(map(len, (getattr(u, what) for u in self.users))) for what in ('accepted', 'at'))
        lost = {body for user in self.users for body in user.accepted if body not in user.at}
        foreign = [body for user in self.users for body in user.at if body not in user.accepted]
        disorder = [user for user in self.users if user.order != [b for b in user.accepted if b in user.at]]
        problems = [f'lost: {sorted(lost)[:10]}'] if lost else []
        problems += [f'never accepted: {foreign[:10]}'] if foreign else []
        problems += [f'order of {user.uid}: {user.order}' for user in disorder[:3]]

        def longest(moment):
            times = [self.after(user, moment) for user in online]
            return 'never' if None in times else f'{max(times) - moment:.2f} s'

        return dict(zip(COLUMNS, (len(self.users), accepted, received, sum(u.duplicates for u in self.users), len(lost),
                                  len(disorder), sum(u.closed for u in online), self.retried, longest(died),
                                  longest(back), f'{took:.2f} s'))), problems


def kill(*names, down=1.0):
    """kill -9, and the same part again after a while."""
    async def fault(system):
        for name in names:
            system.kill(name)
        await asyncio.sleep(down)
        for name in names:
            system.start(name, wait=False)
        while not all(harness.answers(port) for name in names for port in system.parts[name].ports):
            await asyncio.sleep(0.01)
        return time.monotonic()
    return fault


FAULTS = {
    'memcached': kill('memcached'),
    'memcached, down 6 s': kill('memcached', down=6.0),
    'router': kill('router'),
    'job': kill('job'),
    'logic': kill('logic'),
    'comet1': kill('comet1'),
    'all daemons': kill('router', 'logic', 'job', 'comet1', 'comet2'),
    'all, memcached too': kill('memcached', 'router', 'logic', 'job', 'comet1', 'comet2'),
}


def durable(system):
    """The standalone server with a store on disk: what the log has survives kill -9, and tokens too."""
    users = [system.user() for _ in range(50)]
    began = time.monotonic()
    for n in range(20):
        for uid, _ in users:
            system.push(uid, f'{SECRET}{uid}/{n}')
    took = time.monotonic() - began
    for uid, token in users:
        poll(lambda: len(system.waiting(uid, token)) == 20, 'it is in the log')
    system.restart('imgo')
    began, received = time.monotonic(), 0
    for uid, token in users:
        with system.tcp(token) as c:
            got = [p.body for p in c.messages(20)]
            if got != [f'{SECRET}{uid}/{n}'.encode() for n in range(20)]:
                raise Failure(f'user {uid} got {got}')
            received += len(got)
            c.no_message(0.01)
    print(f'kill -9 with 1000 messages waiting (accepted in {took:.2f} s): {received} received in order, '
          f'0 lost, {time.monotonic() - began:.2f} s', flush=True)


def print_table(rows):
    table = [('killed', *COLUMNS)] + [(name, *(str(figures[c]) for c in COLUMNS)) for name, figures in rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    for row in table:
        print('  '.join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))), flush=True)


def run():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('kind', choices=harness.KINDS)
    parser.add_argument('--build', default=str(harness.ROOT / 'build'))
    parser.add_argument('--only', action='append', default=[])
    parser.add_argument('--users', type=int, default=60)
    parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(1 << 32))
    args = parser.parse_args()
    if args.kind == 'standalone':
        with harness.make('standalone', args.build, durable=True) as system:
            durable(system)
        return 0
    print(f'--seed {args.seed}', flush=True)
    rows, failed = [], []
    for name, fault in FAULTS.items():
        if args.only and not any(name.startswith(word) for word in args.only):
            continue
        with harness.make('cluster', args.build) as system:
            figures, problems = asyncio.run(Load(system, args.users, args.seed).run(fault))
            rows.append((name, figures))
            for problem in problems:
                print(f'  {name}: {problem:.600}', flush=True)
            if problems or figures['back'] == 'never':
                failed.append(name)
                system.show_logs()
    print_table(rows)
    if failed:
        print(f'FAILED: {", ".join(failed)}', flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    harness.main(run)
