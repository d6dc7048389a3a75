# SPDX-License-Identifier: MIT
"""One run: a system under load, strike after strike, a row of the table each, and the checker after each."""
import asyncio
import json
import random
import re
import time
import urllib.request

from history import Checker, History, Latency
from load import Load
from nemesis import Field, rss, schedule
from system import LEASE

CALM = 2.0             # before a strike: what is normal is measured there
COMPARE = 10.0         # comet.compare: what a lost tell costs, when nothing is pushed afterwards
COLUMNS = ('in flight', 'accepted', 'delivered', 'duplicates', 'expired', 'lost', 'recovered')
MEGABYTE = 1 << 20


class Row:
    def __init__(self, name, cells):
        self.name, self.cells = name, cells


class Result:
    def __init__(self, kind, seed):
        self.kind, self.seed, self.rows, self.problems, self.numbers, self.words = kind, seed, [], [], {}, ''
        self.caught = None      # seconds until the first problem

    def print(self):
        print_table(self.rows)
        print(f'  {self.words}', flush=True)
        for problem in self.problems[:20]:
            print(f'  FAILED: {problem:.600}', flush=True)
        if self.problems:
            print(f'  to do it again: ./dev chaos --kind {self.kind} --seed {self.seed}', flush=True)


def print_table(rows):
    table = [('row', *COLUMNS)] + [(row.name, *(str(cell) for cell in row.cells)) for row in rows]
    widths = [max(len(line[n]) for line in table) for n in range(len(table[0]))]
    for line in table:
        print('  ' + '  '.join(cell.rjust(w) if n else cell.ljust(w) for n, (cell, w) in enumerate(zip(line, widths))),
              flush=True)


def print_sum(results, seconds):
    for kind in dict.fromkeys(result.kind for result in results):
        mine = [result for result in results if result.kind == kind]
        sums = {key: sum(result.numbers[key] for result in mine) for key in mine[0].numbers}
        print(f'{kind}: {len(mine)} seeds, {sum(len(r.rows) for r in mine)} strikes: ' +
              ', '.join(f'{value} {key}' for key, value in sums.items()), flush=True)
    failed = [f'{r.kind} {r.seed}' for r in results if r.problems]
    print(f'{seconds:.0f} s; ' + (f'FAILED: {", ".join(failed)}' if failed else 'all as promised'), flush=True)


class Campaign:
    def __init__(self, system, args, seed):
        self.system, self.args, self.seed = system, args, seed
        self.result = Result(system.kind, seed)
        self.rng = random.Random(f'nemesis {seed}')
        self.dropped, self.duplicates, self.reasons, self.check_after = {}, 0, {}, 0.0
        self.rss_first, self.rss_most = {}, {}
        self.stop_at_first = bool(args.plant)

    async def run(self):
        self.history = History()
        self.load = Load(self.system, self.history, self.seed, self.args.users)
        self.field = Field(self.system, self.load, self.history, lambda text: print(text, flush=True))
        await self.load.start()
        began = time.monotonic()
        await asyncio.sleep(2.0)
        rows = schedule(self.system.kind, self.rng, 'kafka' in self.system.parts, self.args.only)
        self.began = time.monotonic()
        while time.monotonic() < self.began + self.args.minutes * 60:
            await self.row(next(rows))
            if self.field.problems or (self.stop_at_first and self.result.problems):
                break
        await self.end()
        self.sum_up(time.monotonic() - began)
        if self.args.history:
            self.history.write(self.args.history)
        return self.result

    def wrong(self, problems):
        if self.result.caught is None and any(' is void: ' not in problem for problem in problems):
            self.result.caught = time.monotonic() - self.began
        self.result.problems += [problem for problem in problems if problem not in self.result.problems]

    # a row
    async def row(self, row):
        hush = self.rng.random() < self.args.silence    # nothing that is pushed later shows that something is missing
        begin = time.monotonic()
        await asyncio.sleep(CALM)
        normal = Latency(self.history, self.load.steady, begin, time.monotonic() - 0.3).p99() or 0.0
        silence = self.rng.choice((0.0, self.rng.uniform(0.0, 0.3)))
        strike, in_flight = await row.strike(self.field, silence if hush else None)
        limit = max(0.5, 3 * min(normal, 5.0))
        recovered = await self.recover(strike, limit, hush)
        self.load.check_tasks()
        problems = self.judge(row, strike, in_flight, recovered, hush)
        lost = len(self.history.missing(strike.healed))
        if lost:
            problems.append(f'I1: {lost} messages are missing {self.args.settle:g} s after {row.name}, '
                            f'say {self.history.missing(strike.healed)[0][1].name}')
        problems += self.check() + self.load.errors + self.field.problems + self.dead()
        self.wrong(problems)
        duplicates = sum(self.reasons.values())
        accepted, delivered = self.window(begin, strike.healed)
        self.result.rows.append(Row(row.name + (', then silence' if hush else ''), (
            '/'.join(map(str, in_flight)), accepted, delivered, duplicates - self.duplicates, await self.expired(), lost,
            f'{recovered:.1f} s' if recovered is not None else 'never')))
        self.duplicates = duplicates
        self.look_at_memory()
        self.load.speak.set()

    def check(self):
        """Everything so far, unless that takes too long: in a long run it is done more seldom."""
        began = time.monotonic()
        if began < self.check_after:
            return []
        checker = Checker(self.history)
        problems = checker.run(complete=False)
        self.reasons, took = checker.duplicates, time.monotonic() - began
        self.check_after = time.monotonic() + (30 * took if took > 0.5 else 0)
        return problems

    async def recover(self, strike, limit, hush):
        """Waits until all that was accepted by then has arrived, and the latency is normal; seconds since the healing."""
        end = time.monotonic() + self.args.settle
        while time.monotonic() < end:
            await asyncio.sleep(0.25)
            now = time.monotonic()
            if now < strike.healed + 1.5 or self.history.missing(strike.healed):
                continue
            latency = Latency(self.history, self.load.steady, strike.began, now)
            last = latency.normal_at(limit)
            if last < 1e9 and (hush or now - max(last, strike.healed) > 1.0):
                return max(0.0, last - strike.healed)
        return None

    def judge(self, row, strike, in_flight, recovered, hush):
        problems = []
        if row.comet is not None:  # the larger incarnation takes over at once, not when the older one's lease has ended
            logins = [at for comet, at in self.load.logins if comet == row.comet and at > strike.healed]
            if not logins or logins[0] > strike.healed + LEASE / 2 * self.args.recovery:
                problems.append(f'C15: comet {row.comet} was started again, and the first login there took '
                                f'{f"{logins[0] - strike.healed:.1f} s" if logins else "for ever"}')
        if not all(in_flight):
            problems.append(f'{row.name} is void: in flight were {in_flight[0]} pushes, {in_flight[1]} messages, '
                            f'{in_flight[2]} sessions')
        if recovered is None:
            problems.append(f'I7: not normal {self.args.settle:g} s after {row.name}')
        elif row.may is not None:
            may = row.may * self.args.recovery + (COMPARE if hush else 0)
            if recovered > may:
                problems.append(f'I7: normal {recovered:.1f} s after {row.name}, not within {may:g} s')
        return problems

    def window(self, begin, end):
        accepted = delivered = 0
        for push in reversed(self.history.pushes.values()):
            if push.first < begin - 60:
                break
            if push.accepted is not None and begin <= push.accepted < end:
                accepted += len(push.users)
                delivered += sum((user, push.name) in self.history.received for user in push.users)
        return accepted, delivered

    def dead(self):
        return [f'{name} ended by itself: {part.popen.returncode}' for name, part in self.system.parts.items()
                if part.popen is not None and not part.running() and not part.expected]

    # what the system says of itself
    def scrape(self, name):
        try:
            with urllib.request.urlopen(f'http://127.0.0.1:{self.system.admins[name]}/metrics', timeout=2) as answer:
                return answer.read().decode()
        except OSError:
            return ''

    async def expired(self):
        """Messages that a limit or the time to live dropped since the last time, by the jobs' counters (a process that was
        killed takes its own with it)."""
        total = 0
        for name in self.system.admins:
            if not name.startswith(('job', 'imgo')):
                continue
            text = await self.field.off_loop(self.scrape, name)
            now = sum(int(float(value)) for value in re.findall(r'^imgo_job_(?:dropped|expired)_total (\S+)', text, re.M))
            before = self.dropped.get(name, 0)
            total += now - before if now >= before else now
            self.dropped[name] = now
        return total

    def look_at_memory(self):
        for name in self.system.admins:
            now = rss(self.system.parts[name])
            if now:
                self.rss_first.setdefault(name, now)
                self.rss_most[name] = max(now, self.rss_most.get(name, 0))

    def memory(self):
        """I5, roughly: nothing here needs much. Not with sanitizers, whose memory is their own."""
        options = self.system.build / 'meson-info' / 'intro-buildoptions.json'
        sanitize = [one['value'] for one in json.loads(options.read_text()) if one['name'] == 'b_sanitize']
        if sanitize and sanitize[0] not in ('none', [], ['none']):
            return []
        return [f'I5: {name} has {most >> 20} MB, of {self.rss_first[name] >> 20} at first' for name, most in self.rss_most.items()
                if most > 2 * self.rss_first[name] + 64 * MEGABYTE]

    # the end
    async def end(self):
        if not await self.load.settle(1.0 if self.stop_at_first and self.result.problems else self.args.settle):
            self.wrong([f'I1: not everything has arrived {self.args.settle:g} s after the last push'])
        checker = Checker(self.history)
        self.wrong(checker.run() + self.load.errors + self.memory())
        self.reasons = checker.duplicates
        sessions = len(self.load.live)
        await self.load.stop_clients()
        self.ghosts = await self.sessions_left()
        if self.ghosts != 0:  # of logins whose answer was lost: the next word to their user ends them (service/edge.c)
            await self.load.push_to_all()
            left = await self.sessions_left()
            if left != 0:
                self.wrong([f'I4: of {sessions} sessions that have all closed {left} are known to the routers'])
        await self.load.stop()
        self.wrong(self.dead())

    async def sessions_left(self):
        """How many the routers have when everybody has gone; waits for a while for the answer 0."""
        end, left = time.monotonic() + LEASE + 3, None
        while left != 0 and time.monotonic() < end:
            left = await self.field.count(None)
            await asyncio.sleep(0.1)
        return left

    def sum_up(self, seconds):
        pushes = [push for push in self.history.pushes.values() if push.accepted is not None]
        accepted = sum(len(push.users) for push in pushes)
        lost, excused = len(self.history.missing()), len(self.history.excused() - self.history.received.keys())
        casts = sum(1 for s in self.history.sessions for _, body in s.got if body in self.history.cast)
        self.result.numbers = {
            'accepted': accepted, 'delivered': accepted - lost - excused, 'duplicates': sum(self.reasons.values()),
            'unread at a death': excused, 'lost': lost}
        self.result.words = (
            f'{seconds:.0f} s: {len(pushes)} pushes accepted, {accepted} messages: {accepted - lost - excused} delivered, '
            f'{excused} unread at the death of their client, {lost} lost; second arrivals: '
            + (', '.join(f'{n} {why}' for why, n in sorted(self.reasons.items())) or 'none')
            + f'; {self.load.counts["tries"]} pushes repeated, {self.load.counts["logins"]} logins, '
            f'{self.load.counts["tokens"] - len(self.load.users)} new tokens, {self.load.counts["casts accepted"]} casts accepted, '
            f'{casts} received; {self.ghosts} sessions of lost logins in the end; most memory '
            + ', '.join(f'{name} {most >> 20} MB' for name, most in sorted(self.rss_most.items())))
