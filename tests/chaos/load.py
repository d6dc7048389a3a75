# SPDX-License-Identifier: MIT
"""The load: users who come and go in all the ways, and callers who push to them; all of it goes into a History.

Users by kind:
  steady   always online, one session: what the latency is measured with
  mover    connects to any comet in any dialect, stays for a moment, and ends: orderly, by a reset, killed with unread data,
           deaf for a while and then back, deaf for longer than a second and then killed, or hasty: its FIN goes out while it
           has much unread, and more on its way
  twin     two movers (or two steady ones) at a time under one token

Each caller has users of its own, pushes to one of them or to several (one multi-push), and repeats each push under its key,
at one logic and then at the other, until it is accepted. Casters push to rooms and to all, and repeat nothing.
"""
import asyncio
import random
import time

import imgo_client as ic
from clients import DIALECTS, Connection
from harness import SECRET, Failure
from history import UNREAD, Cast, Push, Session, name_of

ENDS = ('left',) * 6 + ('reset',) * 3 + ('killed',) * 4 + ('deaf',) * 3 + ('stopped', 'hasty', 'hasty')
ROOMS = ('7001', '7002')
ATTEMPT = 4.0          # a caller waits so long for an answer before it tries the other logic
SMALL = 2048           # receive buffer of clients that are to have much on its way to them when they end
LOGIN = 10.0           # a client waits so long for the answer to its login


class User:
    def __init__(self, uid, kind):
        self.uid, self.kind, self.tokens, self.dialect, self.refused = uid, kind, 0, None, 0

    @property
    def token(self):
        return f'{SECRET}{self.uid}.{self.tokens}'


class Load:
    def __init__(self, system, history, seed, users=60, callers=20, pause=0.06):
        self.system, self.history, self.rng, self.pause = system, history, random.Random(f'load {seed}'), pause
        self.apis = [ic.AsyncApi(port=port, timeout=ATTEMPT, connections=callers + 8) for port in system.api_ports]
        self.users = [User(system.uid(), ('steady', 'steady', 'mover', 'mover', 'twin')[n % 5]) for n in range(users)]
        self.steady = {user.uid for user in self.users if user.kind == 'steady'}
        history.twins = {user.uid for user in self.users if user.kind == 'twin'}
        self.callers = [self.users[n::callers] for n in range(callers)]
        self.n, self.unanswered, self.live, self.tasks = 0, 0, set(), []
        self.pushing, self.running = True, True
        self.speak = asyncio.Event()  # callers wait for it
        self.speak.set()
        self.logins = []              # (number of a comet, time) of each
        self.errors, self.counts = [], dict.fromkeys(('logins', 'refused', 'tries', 'tokens', 'casts', 'casts accepted'), 0)

    # life
    async def start(self):
        await asyncio.gather(*(self.make_token(user) for user in self.users))
        for n, users in enumerate(self.callers):
            self.spawn(self.call(n, users, random.Random(self.rng.random())))
        for user in self.users:
            for _ in range(2 if user.kind == 'twin' else 1):
                self.spawn(self.be(user, random.Random(self.rng.random())))
        for room in (*ROOMS, None):
            self.spawn(self.cast(room))

    def spawn(self, coroutine):
        self.tasks.append(asyncio.create_task(coroutine))

    def check_tasks(self):
        for task in self.tasks:
            if task.done() and task.exception():
                raise task.exception()

    async def settle(self, seconds):
        """No more pushes; everybody stays online until he has everything. Whether they have."""
        self.pushing = False
        self.speak.set()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check_tasks()
            if self.unanswered == 0 and not self.history.missing():
                await asyncio.sleep(0.3)
                return True
            await asyncio.sleep(0.1)
        return False

    async def stop_clients(self):
        """Everybody leaves, orderly."""
        self.running = self.pushing = False
        await asyncio.gather(*self.tasks)

    async def push_to_all(self):
        """One more message to each user, of which nobody hears."""
        for user in self.users:
            try:
                await self.api(0).push(user.uid, f'{SECRET}last')
            except ic.ClientError:
                pass

    async def stop(self):
        for api in self.apis:
            await api.close()

    def in_flight(self):
        """(pushes unanswered, messages undelivered, sessions)."""
        return self.unanswered, self.history.undelivered(), len(self.live)

    # calls
    def api(self, n):
        return self.apis[n % len(self.apis)]

    async def make_token(self, user):
        for n in range(600):
            if not self.running:
                return
            try:
                if (await self.api(n).token(user.uid, user.token, 86400)).ok:
                    self.counts['tokens'] += 1
                    return
            except ic.ClientError:
                pass
            await asyncio.sleep(0.1)
        raise Failure('no token within a minute')

    async def call(self, caller, users, rng):
        await asyncio.sleep(rng.uniform(0, self.pause))
        while True:
            await self.speak.wait()
            if not self.pushing:
                return
            several = rng.sample(users, rng.randint(2, len(users))) if rng.random() < 0.2 and len(users) > 1 else None
            to = several or [rng.choice(users)]
            self.n += 1
            body = f'{SECRET}{caller}.{self.n}'
            if rng.random() < 0.25:
                body = f'{body} {"*" * rng.randrange(1000, 6000)}'
            push = Push(body, self.n, frozenset(user.uid for user in to), time.monotonic())
            self.history.pushed(push)
            await self.until_accepted(push, several is not None, rng.randrange(2))
            await asyncio.sleep(rng.expovariate(1 / self.pause))

    async def until_accepted(self, push, multi, at):
        self.unanswered += 1
        while self.running:
            push.tries += 1
            api = self.api(at + push.tries)
            try:
                if multi:
                    answer = await api.pushs(sorted(push.users), push.body, key=push.name)
                else:
                    answer = await api.push(next(iter(push.users)), push.body, key=push.name)
                if answer.ok:
                    push.accepted = time.monotonic()
                    break
                if answer.status < 500 and answer.status != 429:
                    raise Failure(f'a push was refused: {answer}')
            except ic.ClientError:
                pass
            self.counts['tries'] += 1
            await asyncio.sleep(0.05)
        self.unanswered -= 1

    async def cast(self, room):
        n = 0
        while self.pushing:
            n += 1
            cast = Cast(f'{SECRET}{room or "all"}.{n}', n, room, time.monotonic())
            self.history.cast[cast.body] = cast
            self.counts['casts'] += 1
            try:
                answer = await (self.api(n).room(room, cast.body) if room else self.api(n).all(cast.body))
                if answer.ok:
                    cast.accepted = time.monotonic()
                    self.counts['casts accepted'] += 1
            except ic.ClientError:
                pass
            await asyncio.sleep(0.25)

    # clients
    async def be(self, user, rng):
        await asyncio.sleep(rng.uniform(0, 0.5))
        while self.running:
            stays = user.kind == 'steady' or (user.kind == 'twin' and rng.random() < 0.3)
            logged_in = await self.visit(user, rng, stays)
            if logged_in:
                user.refused = 0
                await asyncio.sleep(rng.uniform(0.0, 0.2) if stays or not self.pushing else rng.uniform(0.0, 2.5))
                continue
            if logged_in is False:
                user.refused += 1
                if user.refused % 4 == 0:  # the store forgot, and tokens with it
                    user.tokens += 1
                    await self.make_token(user)
            await asyncio.sleep(rng.uniform(0.1, 0.4))

    async def visit(self, user, rng, stays):
        """One connection. Whether it was logged in; None: there was nobody to connect to."""
        comet, dialect, how = rng.choice(self.system.comets), rng.choice(DIALECTS), 'left' if stays else rng.choice(ENDS)
        session = Session(user.uid, dialect, comet.id, time.monotonic())
        session.room = ROOMS[user.uid % len(ROOMS)]
        try:
            c = await Connection(dialect, lambda _, body: self.history.arrived(session, name_of(body), time.monotonic())).connect(
                comet, user.token, session.room, SMALL if how == 'hasty' else None)
        except OSError:
            return None
        self.history.opened(session)
        if not await c.wait_login(LOGIN):
            self.counts['refused'] += 1
            session.end(time.monotonic(), 'killed', names(c.die()))
            return False
        self.counts['logins'] += 1
        self.live.add(session)
        self.logins.append((comet.id, time.monotonic()))
        await self.stay(c, 1e9 if stays else 0.0 if how == 'hasty' else rng.expovariate(1 / 1.5))
        await self.end(c, session, how if self.pushing else 'left', rng)
        self.live.discard(session)
        if c.error:
            self.errors.append(f'user {user.uid}, {dialect}: {c.error}')
        return True

    async def stay(self, c, seconds):
        """Until the other side ends it, the time is over or the load is; after the pushes everybody stays."""
        end = time.monotonic() + seconds
        beat = time.monotonic() + 10
        while not c.ended.done() and self.running and (time.monotonic() < end or not self.pushing):
            await asyncio.wait([c.ended], timeout=min(0.25, max(0.0, end - time.monotonic()) if self.pushing else 0.25))
            if time.monotonic() > beat:
                c.heartbeat()
                beat += 10

    async def end(self, c, session, how, rng):
        if c.ended.done():
            c.die()
            session.end(time.monotonic(), 'server')
        elif how == 'left':
            done = await c.leave()
            session.end(time.monotonic(), 'left' if done else 'killed')
        elif how == 'reset':
            session.end(time.monotonic(), 'reset', names(c.die(reset=True)))
        else:
            await self.end_deaf(c, session, how, rng)

    async def end_deaf(self, c, session, how, rng):
        c.deaf()
        since, unread = time.monotonic(), None
        await asyncio.sleep(rng.uniform(0.0, 0.6))
        if how == 'deaf':
            c.hear()
            await asyncio.sleep(0.2)
            await self.end(c, session, 'left', rng)
            return
        if how == 'stopped':  # what its TCP has now counts as received in a second, and no longer if it dies sooner
            await asyncio.sleep(rng.uniform(0.5, 1.5))
            unread = c.unread()
            await asyncio.sleep(UNREAD)
        elif how == 'hasty':  # what its TCP has when the FIN is seen counts as received; what is on its way to it does not
            await asyncio.sleep(rng.uniform(0.0, 2.0))
            c.finish()
            await asyncio.sleep(rng.uniform(0.0, 0.3))
        deaf, now = time.monotonic() - since, c.die()
        session.end(time.monotonic(), how if how == 'hasty' else 'killed', names(now if unread is None else unread), deaf)


def names(bodies):
    return [name_of(body) for body in bodies]
