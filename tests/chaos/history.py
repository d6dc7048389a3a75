# SPDX-License-Identifier: MIT
"""What happened, and whether it may: the history of a run, and its checker.

Every push to users is repeated under one key until it is accepted, and each user is pushed to by one caller who waits for
each answer: so the order of a user's messages is defined. Times are of this process's monotonic clock.

What the contract (docs/contract.md) promises to clients of version 1, and the check of it:

  I1  accepted is received, or lay unread in the TCP of a client that had been deaf for a second when it died  -> lost()
  I2  in order, in each session and, for users with one session at a time, over all of them                    -> order()
      nothing twice in one session; twice in two sessions of a user with one session at a time only when the
      first ended otherwise than orderly, or less than a second before the second began, or a part was struck
      meanwhile, or the store forgot (a restart of memcached) since                                              -> twice()
  I3  never to another user, and nothing that nobody pushed                                                    -> foreign()
  casts: at most once, in order in a room, to those in that room                                               -> casts()
"""
import collections
import json

APART = 1.0    # an orderly close so long before a connect: no duplicates
UNREAD = 0.9   # what lay unread for less when its client died is not lost


def name_of(body):
    """A message's name is what is before the first blank; the rest is weight."""
    return body.partition(' ')[0]


class Push:
    def __init__(self, body, n, users, first):
        self.body, self.name, self.n, self.users, self.first = body, name_of(body), n, users, first
        self.accepted, self.tries = None, 0


class Cast:
    def __init__(self, body, n, room, first):
        self.body, self.n, self.room, self.first, self.accepted = body, n, room, first, None


class Session:
    """how it ended: None (it lasts), left (orderly), reset, killed, hasty (FIN, with data unread), server (the other side did)."""

    def __init__(self, user, dialect, comet, began):
        self.user, self.dialect, self.comet, self.began = user, dialect, comet, began
        self.got, self.room, self.ended, self.how, self.unread, self.deaf = [], None, None, None, [], 0.0

    def end(self, now, how, unread=(), deaf=0.0):
        self.ended, self.how, self.unread, self.deaf = now, how, list(unread), deaf

    def excuses(self):
        """What may be lost with it."""
        return self.unread if self.how == 'hasty' or self.deaf >= UNREAD else ()


class Strike:
    """forgets: the store's memory is gone with it."""

    def __init__(self, name, began, forgets=False):
        self.name, self.began, self.healed, self.forgets = name, began, None, forgets


class History:
    def __init__(self):
        self.pushes, self.cast, self.sessions, self.strikes = {}, {}, [], []
        self.twins = set()          # users with two sessions at a time
        self.received = {}          # (user, body): time of the first arrival
        self.fresh = collections.defaultdict(set)   # user: bodies that were pushed and have not arrived, and should
        self.running, self.forgiven = set(), set()  # sessions; (user, body) that may be lost

    # the load client's words
    def pushed(self, push):
        self.pushes[push.name] = push
        for user in push.users:
            self.fresh[user].add(push.name)

    def opened(self, session):
        self.sessions.append(session)
        self.running.add(session)

    def arrived(self, session, body, now):
        session.got.append((now, body))
        if body in self.pushes:
            self.received.setdefault((session.user, body), now)
            self.fresh[session.user].discard(body)

    def missing(self, before=float('inf')):
        """(user, push) of what was accepted before then and has neither arrived nor may be lost."""
        self.excused()
        return [(user, self.pushes[body]) for user, bodies in self.fresh.items() for body in bodies
                if self.pushes[body].accepted is not None and self.pushes[body].accepted < before]

    def excused(self):
        """(user, body) of what a client had unread when it died, for long enough."""
        for session in [one for one in self.running if one.ended is not None]:
            self.running.remove(session)
            for body in session.excuses():
                self.forgiven.add((session.user, body))
                self.fresh[session.user].discard(body)
        return self.forgiven

    def undelivered(self):
        self.excused()
        return sum(map(len, self.fresh.values()))

    def write(self, path):
        with open(path, 'w') as file:
            for kind, items in (('push', self.pushes.values()), ('cast', self.cast.values()), ('session', self.sessions),
                                ('strike', self.strikes)):
                for item in items:
                    print(json.dumps({'kind': kind, **vars(item)}, default=list), file=file)


class Checker:
    def __init__(self, history):
        self.history, self.problems = history, []
        self.duplicates = collections.Counter()
        self.sessions = history.sessions
        self.by_user = collections.defaultdict(list)
        for session in self.sessions:
            self.by_user[session.user].append(session)

    def wrong(self, what):
        self.problems.append(what)

    def run(self, complete=True):
        """complete: all that was accepted should have arrived by now. Returns what is wrong."""
        if complete:
            self.lost()
        self.order()
        self.overtaken()
        self.twice()
        self.foreign()
        self.casts()
        return self.problems

    def lost(self):
        missing = self.history.missing()
        if missing:
            some = ', '.join(f'{push.name} of user {user}' for user, push in missing[:5])
            self.wrong(f'I1: {len(missing)} accepted messages are lost: {some}')

    def pushes_of(self, session):
        for at, body in session.got:
            push = self.history.pushes.get(body)
            if push is not None:
                yield at, push

    def order(self):
        for session in self.sessions:
            last = None
            for _, push in self.pushes_of(session):
                if last is not None and push.n <= last.n:
                    word = 'twice' if push.n == last.n else 'out of order'
                    self.wrong(f'I2: {word} in a session of user {session.user} ({session.dialect}, comet {session.comet}): '
                               f'{push.name} after {last.name}')
                    break
                last = push

    def overtaken(self):
        """A first arrival before which another accepted message had never arrived. Of users with one session at a time."""
        excused = self.history.excused()
        of_user = collections.defaultdict(list)
        for push in self.history.pushes.values():
            for user in push.users:
                of_user[user].append(push)
        for user, pushes in of_user.items():
            if user in self.history.twins:
                continue
            newest = (0.0, None)
            for push in sorted(pushes, key=lambda p: p.n):
                at = self.history.received.get((user, push.name))
                if at is None or (user, push.name) in excused:
                    continue
                if at < newest[0]:
                    self.wrong(f'I2: user {user} got {push.name} before {newest[1].name}')
                    break
                newest = (at, push)

    def twice(self):
        for user, sessions in self.by_user.items():
            if user in self.history.twins:
                continue
            had = {}
            for session in sessions:
                for at, push in self.pushes_of(session):
                    if push.name in had:
                        self.second(push, session, at, *had[push.name])
                    had[push.name] = (session, at)

    def second(self, push, session, at, earlier, first_at):
        why = self.excuse(session, earlier, first_at)
        self.duplicates[why or 'late'] += 1
        if why is None:
            self.wrong(f'I2: {push.name} of user {session.user} twice, though the earlier session ended orderly '
                       f'{session.began - earlier.ended:.2f} s before')

    def excuse(self, session, earlier, first_at):
        if earlier.how != 'left':
            return 'broken'
        if session.began - earlier.ended < APART:
            return 'soon'
        for strike in self.history.strikes:
            if strike.forgets and strike.healed is not None and strike.healed > first_at:
                return 'forgot'
            # What the comet had not written down when it died, or could not write down yet.
            if strike.began < earlier.ended + 2 * APART and (strike.healed is None or strike.healed + 2 * APART > first_at):
                return 'struck'
        return None

    def foreign(self):
        for session in self.sessions:
            for _, body in session.got:
                push = self.history.pushes.get(body)
                if push is None and body not in self.history.cast:
                    self.wrong(f'I3: user {session.user} got {body!r}, which nobody pushed')
                elif push is not None and session.user not in push.users:
                    self.wrong(f'I3: user {session.user} got {body}, which was for {sorted(push.users)[:5]}')

    def casts(self):
        for session in self.sessions:
            last, seen = 0, set()
            for _, body in session.got:
                cast = self.history.cast.get(body)
                if cast is None:
                    continue
                if body in seen:
                    self.wrong(f'casts: {body} twice in a session of user {session.user}')
                seen.add(body)
                if cast.room is None:
                    continue
                if cast.room != session.room:
                    self.wrong(f'casts: {body} in a session that is in room {session.room}')
                if cast.accepted is not None:
                    if cast.n < last:
                        self.wrong(f'casts: {body} after number {last} of its room')
                    last = cast.n


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))] if values else None


NEVER = (1e9, 1e9)


class Latency:
    """From a caller's first try to the arrival, of users who are always online: by the second of that try."""

    def __init__(self, history, users, begin, end):
        self.buckets = collections.defaultdict(list)
        for push in reversed(history.pushes.values()):
            if push.first < begin:
                break
            if push.accepted is None or push.first >= end:
                continue
            for user in push.users:
                if user in users:
                    at = history.received.get((user, push.name))
                    self.buckets[int(push.first - begin)].append((at - push.first, at) if at else NEVER)

    def p99(self):
        return quantile([latency for bucket in self.buckets.values() for latency, _ in bucket], 0.99)

    def normal_at(self, limit):
        """When the last second whose p99 is beyond limit had 99 % of its messages; 0: there was none."""
        slow = [bucket for bucket in self.buckets.values() if quantile([x for x, _ in bucket], 0.99) > limit]
        return max((quantile([at for latency, at in bucket if latency > limit] or [0], 0.99) for bucket in slow), default=0.0)
