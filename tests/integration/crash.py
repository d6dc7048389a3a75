#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 of the standalone server at random moments, under load: every push that was answered 1 arrives, once by id.

    crash.py [--moments 20] [--users 40] [--callers 48] [--build DIR] [--seed S]

Callers push without pause, each message with a body of its own, and never retry: what was answered 1 is *accepted*, what was
not answered is *unknown*. The server is killed at a random moment and started again. Half of the users are online and connect
again; the other half is away. After each moment the logs of those away are looked at (/1/msg/get): every accepted message is
there, each body once, ids rising; then they are emptied by a client that reads everything and leaves.

  accepted, received   distinct messages; lost = accepted - received
  duplicates           a message twice in a log: none; and a second arrival at a client: with version 1 the last ones before a
                       kill may come again, what was acknowledged being not yet written down (docs/contract.md)
  unknown, arrived     pushes without an answer, and how many of them were in truth accepted
  back                 from the start of the process until it answers: median and longest
"""
import argparse
import asyncio
import random
import statistics
import time

import harness
import imgo_client as ic
from failures import Client, User
from harness import SECRET, Failure

CATCH_UP = 30.0


class Crash:
    def __init__(self, system, args):
        self.system, self.rng, self.args = system, random.Random(args.seed), args
        self.users, self.unknown, self.errors = [], {}, []
        self.api, self.go, self.done, self.n, self.back = None, asyncio.Event(), False, 0, []
        self.in_flight = 0
        self.log_duplicates = 0

    def open_api(self):
        return ic.AsyncApi(port=self.system.api_port, timeout=10.0, connections=self.args.callers + 4)

    # load
    async def call(self):
        while not self.done:
            await self.go.wait()
            if self.done:
                break
            user = self.rng.choice(self.users)
            self.n += 1
            body = f'{SECRET}{user.uid}/{self.n}'
            self.unknown[body.encode()] = user
            self.in_flight += 1
            try:
                answer = await self.api.push(user.uid, body)
                if answer.ok:
                    user.accepted[body.encode()] = time.monotonic()
                    del self.unknown[body.encode()]
                elif answer.status not in (503, 500):
                    self.errors.append(f'a push was refused: {answer}')
            except ic.ClientError:
                await asyncio.sleep(0.005)
            finally:
                self.in_flight -= 1

    async def stay_online(self, user):
        while not self.done:
            try:
                c = Client()
                c.user = user
                await c.connect(self.system.comets[0].tcp, user.token)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            await c.wait_login(60)
            while not c.ended.done() and not self.done:
                await asyncio.wait([c.ended], timeout=0.1)
            if not c.ended.done():
                await c.leave()

    # checks
    def look(self, user):
        """The whole log of a user: [(id, body)]."""
        found, mid = [], 0
        while True:
            answer = self.system.api().msg_get(user.uid, mid, user.token)
            if answer.status != 200:
                raise ic.ClientError(f'msg/get: {answer}')
            page = ic.decode_msgs(answer)
            if not page:
                return found
            found += page
            mid = page[-1][0]

    def check_away(self, user):
        end = time.monotonic() + CATCH_UP
        fresh = {body for body in user.accepted if body not in user.at}
        while True:
            log = self.look(user)
            bodies = [body for _, body in log]
            if fresh <= set(bodies) or time.monotonic() > end:
                break
            time.sleep(0.02)
        if not fresh <= set(bodies):
            self.errors.append(f'away {user.uid}: of {len(fresh)} accepted {len(fresh - set(bodies))} are not in the log of '
                               f'{len(log)}: {sorted(fresh - set(bodies))[:5]}')
        ids = [mid for mid, _ in log]
        if ids != sorted(set(ids)):
            self.errors.append(f'ids of {user.uid} do not rise: {ids[:20]}')
        self.log_duplicates += len(bodies) - len(set(bodies))
        with self.system.tcp(user.token) as c:
            got = [packet.body for packet in c.messages(len(log), timeout=20)]
            c.leave()
        if got != bodies:
            self.errors.append(f'{user.uid}: the log and what was sent differ')
        now = time.monotonic()
        for body in got:
            user.arrived(body, now)

    async def until_complete(self, users):
        end = time.monotonic() + CATCH_UP
        while not all(user.complete_all() for user in users) and time.monotonic() < end:
            await asyncio.sleep(0.05)

    async def moment(self, away):
        self.go.set()
        await asyncio.sleep(self.rng.uniform(0.02, 0.8))
        self.system.kill('imgo')
        began = time.monotonic()
        self.system.start('imgo')
        self.back.append(time.monotonic() - began)
        self.go.clear()
        while self.in_flight:
            await asyncio.sleep(0.005)
        await self.api.close()
        self.api = self.open_api()
        for user in away:
            await asyncio.get_running_loop().run_in_executor(None, self.check_away, user)

    async def run(self):
        self.api = self.open_api()
        for _ in range(self.args.users):
            uid = self.system.uid()
            user = Receiver(uid, f'{SECRET}{uid}')
            self.system.token(uid, user.token, 86400)
            self.users.append(user)
        online, away = self.users[::2], self.users[1::2]
        tasks = [asyncio.create_task(self.stay_online(user)) for user in online]
        tasks += [asyncio.create_task(self.call()) for _ in range(self.args.callers)]
        for n in range(self.args.moments):
            await self.moment(away)
            if self.errors:
                break
            if n % 4 == 3: # with version 1 a second without a reset acknowledges: else the logs of those online overflow
                await asyncio.sleep(1.3)
            if n % 20 == 19:
                print(f'  {n + 1} moments, {sum(len(u.accepted) for u in self.users)} accepted', flush=True)
        await self.until_complete(online)
        self.done = True
        self.go.set()
        await asyncio.gather(*tasks)
        await self.api.close()
        return self.figures()

    def figures(self):
        lost = [body for user in self.users for body in user.accepted if body not in user.at]
        foreign = [body for user in self.users for body in user.at
                   if body not in user.accepted and self.unknown.get(body) is not user]
        arrived = sum(1 for body, user in self.unknown.items() if body in user.at)
        accepted = sum(len(user.accepted) for user in self.users)
        if lost:
            self.errors.append(f'lost: {lost[:10]}')
        if foreign:
            self.errors.append(f'arrived and never pushed to that user: {foreign[:10]}')
        if self.log_duplicates:
            self.errors.append(f'{self.log_duplicates} messages twice in a log')
        print(f'{len(self.back)} moments: accepted {accepted}, received {accepted - len(lost)}, lost {len(lost)}, '
              f'duplicates {self.log_duplicates} in logs, {sum(u.duplicates for u in self.users)} second arrivals; '
              f'unknown {len(self.unknown)}, arrived {arrived}; '
              f'back {statistics.median(self.back):.2f} s, longest {max(self.back):.2f} s', flush=True)
        if accepted < 20 * len(self.back):
            self.errors.append('hardly any load: this proves nothing')
        return self.errors


class Receiver(User):
    def complete_all(self):
        return all(body in self.at for body in self.accepted)


def run():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--build', default=str(harness.ROOT / 'build'))
    parser.add_argument('--moments', type=int, default=20)
    parser.add_argument('--users', type=int, default=40)
    parser.add_argument('--callers', type=int, default=48)
    parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(1 << 32))
    args = parser.parse_args()
    print(f'--seed {args.seed}', flush=True)
    with harness.make('standalone', args.build, durable=True) as system:
        errors = asyncio.run(Crash(system, args).run())
        for error in errors:
            print(f'FAILED: {error:.600}', flush=True)
        if errors:
            system.show_logs()
    return 1 if errors else 0


if __name__ == '__main__':
    harness.main(run)
