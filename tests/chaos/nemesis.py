# SPDX-License-Identifier: MIT
"""What is done to a system: rows, each a strike. What a row does, to whom and for how long is drawn from a seed.

A strike waits until there is something in flight (pushes unanswered, messages undelivered, sessions), strikes at that
moment, and heals. Row(…).strike(field) is a coroutine; `field` has the system, the load, and the history.
"""
import asyncio
import os
import pathlib
import re
import signal
import subprocess
import time

import harness
import imgo_client as ic
from harness import Failure
from history import Strike
from system import LEASE, SESSION

READY = 90.0


class Field:
    """The system as strikes see it."""

    def __init__(self, system, load, history, out):
        self.system, self.load, self.history, self.out, self.problems = system, load, history, out, []

    def part(self, name):
        return self.system.parts[name]

    async def off_loop(self, function, *args):
        return await asyncio.get_running_loop().run_in_executor(None, function, *args)

    async def kill(self, name):
        """kill -9."""
        if name == 'kafka':
            os.kill(await self.off_loop(self.part(name).pid), signal.SIGKILL)
        self.part(name).kill()

    async def start(self, name):
        part = self.part(name)
        if name == 'kafka':
            await self.off_loop(part.start)
            return
        part.start()
        end = time.monotonic() + READY
        while not await self.off_loop(lambda: all(harness.answers(port) for port in part.ports)):
            if not part.running():
                raise Failure(f'{name} ended when it was started again: {part.popen.returncode}')
            if time.monotonic() > end:
                raise Failure(f'{name} is not ready within {READY:g} s')
            await asyncio.sleep(0.02)

    async def signal(self, name, number):
        await self.off_loop(self.part(name).signal, number)

    async def count(self, comet):
        """Sessions that the routers have of that comet (None: of all); None: they do not answer."""
        for api in self.load.apis:
            try:
                answer = await api.count('server')
                if answer.ok:
                    return sum(one['Count'] for one in answer.data or [] if comet in (None, one['Server']))
            except ic.ClientError:
                pass
        return None


class Row:
    """may: seconds within which the latency is to be normal again (None, of several strikes at once: until all has settled);
    forgets: the store's memory is gone; comet: number of the one that was killed and started again."""

    def __init__(self, name, act, may=10.0, forgets=False, comet=None):
        self.name, self.act, self.may, self.forgets, self.comet = name, act, may, forgets, comet

    async def strike(self, field, silence=None):
        """A Strike and what was in flight when it struck. silence: so long after it callers fall silent."""
        end = time.monotonic() + 5
        while not all(field.load.in_flight()) and time.monotonic() < end:
            await asyncio.sleep(0.005)
        strike = Strike(self.name, time.monotonic(), self.forgets)
        in_flight = field.load.in_flight()
        field.history.strikes.append(strike)
        if silence is not None:
            asyncio.get_running_loop().call_later(silence, field.load.speak.clear)
        await self.act(field)
        strike.healed = time.monotonic()
        return strike, in_flight


# ---- what can be done ----

def kill(*names, down=0.5):
    async def act(field):
        await asyncio.gather(*(field.kill(name) for name in names))
        await asyncio.sleep(down)
        await asyncio.gather(*(field.start(name) for name in names))
    return act


def away(comet):
    """A comet dies and does not come back within its lease: its sessions are gone by then (I4)."""
    async def act(field):
        await field.kill(f'comet{comet}')
        died = time.monotonic()
        while await field.count(comet) != 0:
            if time.monotonic() > died + LEASE + 3:
                field.problems.append(f'I4: {await field.count(comet)} sessions of comet {comet} are known {LEASE + 3:g} s after '
                                      f'its death, with a lease of {LEASE:g} s')
                break
            await asyncio.sleep(0.1)
        field.out(f'    sessions of comet {comet} gone {time.monotonic() - died:.1f} s after its death')
        await field.start(f'comet{comet}')
    return act


def stop(name, seconds):
    async def act(field):
        await field.signal(name, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            await field.signal(name, signal.SIGCONT)
    return act


def link(name, mode, seconds):
    """lose: a partition in which the connections die, too, with what was on its way in them."""
    async def act(field):
        if mode == 'lose':
            field.system.set_link(name, 'cut')
            await asyncio.sleep(seconds)
            field.system.set_link(name, 'reset')
            field.system.set_link(name, 'open')
            return
        if field.system.set_link(name, mode) == 0 and mode != 'cut':
            field.out(f'    {name} had no connection')
        await asyncio.sleep(seconds)
        if mode != 'reset':
            field.system.set_link(name, 'open')
    return act


def reset_clients(share):
    """RST on that share of the clients' connections, at the comets' ends."""
    async def act(field):
        ports = [port for comet in field.system.comets for port in (comet.tcp, comet.ws)]
        filter = ' or '.join(f'sport = :{port}' for port in ports)
        said = await field.off_loop(lambda: subprocess.run(['ss', '-Htn', 'state', 'established', f'( {filter} )'],
                                                           capture_output=True, text=True).stdout)
        peers = re.findall(r'\S+:(\d+)\s*$', said, re.M)
        peers = peers[:max(1, int(len(peers) * share))]
        filter = ' or '.join(f'dport = :{port}' for port in peers)
        done = await field.off_loop(lambda: subprocess.run(['ss', '-HKtn', f'( {filter} )'], capture_output=True, text=True))
        field.out(f'    {len(done.stdout.splitlines())} connections reset')
    return act


def mix(acts, rng):
    """Several, each a little later than the one before."""
    delays = [rng.uniform(0, 1.5) for _ in acts]

    async def later(act, delay, field):
        await asyncio.sleep(delay)
        await act(field)

    async def act(field):
        await asyncio.gather(*(later(act, delay, field) for act, delay in zip(acts, delays)))
    return act


def cluster_rows(rng, broker):
    n = rng.choice((1, 2))
    some = rng.uniform
    rows = [Row(f'kill {part}{n}', kill(f'{part}{n}', down=some(0.1, 1.5)), 15.0 if part == 'job' else 10.0,
                comet=n if part == 'comet' else None) for part in ('comet', 'logic', 'router', 'job')]
    rows += [
        Row('kill memcached', kill('memcached', down=some(0.1, 3)), forgets=True),
        Row(f'comet{n} away', away(n)),
        Row('kill all daemons', kill('router1', 'router2', 'logic1', 'logic2', 'job1', 'job2', 'comet1', 'comet2'), 15.0),
        Row('kill both jobs', kill('job1', 'job2', down=some(0.5, 3)), 15.0),
        Row('kill both routers', kill('router1', 'router2')),
        Row(f'stop comet{n}', stop(f'comet{n}', some(0.5, 3))),
        Row(f'stop comet{n}, past its lease', stop(f'comet{n}', LEASE + 2)),
        Row(f'stop logic{n}', stop(f'logic{n}', some(1, 6))),
        Row(f'stop router{n}', stop(f'router{n}', some(1, 6))),
        Row(f'stop job{n}', stop(f'job{n}', some(0.5, 3)), 15.0),
        Row(f'stop job{n}, past its session', stop(f'job{n}', SESSION + 3), 15.0),
        Row('stop memcached', stop('memcached', some(0.4, 4))),
        Row('reset clients', reset_clients(some(0.3, 1.0))),
    ]
    links = [f'comet{n}-logic', f'comet{n}-rpc', f'router{n}', 'logic-store', 'job-store']
    links += ['logic-kafka', 'job-kafka'] if broker else []
    for name in links:
        rows += [Row(f'{mode} {name}', link(name, mode, some(1, 6)), 15.0 if 'kafka' in name or name == 'job-store' else 10.0)
                 for mode in ('cut', 'lose', 'mute', 'slow')]
        rows += [Row(f'{mode} {name}', link(name, mode, 2.0)) for mode in ('slice', 'reset')]
    if broker:
        rows += [Row('kill kafka', kill('kafka', down=0.2), 15.0), Row('stop kafka', stop('kafka', some(2, 5)), 15.0)]
    rows += mixes(rng, rows)
    return rows


def mixes(rng, rows):
    """Two or three at once. A part is in one of them only; there is no bound for their recovery but the settling's."""
    made = []
    for _ in range(6):
        parts, chosen = set(), []
        for row in rng.sample(rows, len(rows)):
            hit = {word.rstrip('s') for word in re.findall('[a-z]+', row.name.partition(' ')[2])}
            if not hit & parts and 'all' not in hit and 'kafka' not in row.name and len(chosen) < rng.choice((2, 3)):
                chosen.append(row)
                parts |= hit
        made.append(Row('mix: ' + ' + '.join(row.name for row in chosen), mix([row.act for row in chosen], rng), None,
                        any(row.forgets for row in chosen)))
    every = ('memcached', 'router1', 'router2', 'logic1', 'logic2', 'job1', 'job2', 'comet1', 'comet2')
    made.append(Row('kill all daemons and memcached', kill(*every), None, True))
    return made


def standalone_rows(rng, broker):
    return [
        Row('kill imgo', kill('imgo', down=rng.uniform(0.0, 2))),
        Row('stop imgo', stop('imgo', rng.uniform(0.3, 3))),
        Row('stop imgo, past the lease', stop('imgo', rng.uniform(11, 13))),
        Row('kill imgo three times', thrice(kill('imgo', down=0.0), rng)),
        Row('reset clients', reset_clients(rng.uniform(0.3, 1.0))),
        Row('mix: stop imgo + reset clients', mix([stop('imgo', 1.5), reset_clients(0.7)], rng), None),
        Row('mix: reset clients + kill imgo', mix([reset_clients(0.5), kill('imgo')], rng), None),
    ]


def thrice(act, rng):
    pauses = [rng.uniform(0.05, 0.8) for _ in range(3)]

    async def acts(field):
        for pause in pauses:
            await act(field)
            await asyncio.sleep(pause)
    return acts


ROWS = {'cluster': cluster_rows, 'standalone': standalone_rows}


def schedule(kind, rng, broker, only):
    """Rows without end: all of them in a random order, then again with other parts and times."""
    while True:
        rows = ROWS[kind](rng, broker)
        rng.shuffle(rows)
        wanted = [row for row in rows if not only or any(row.name.startswith(word) for word in only)]
        if not wanted:
            raise Failure(f'no such row; there are: {", ".join(sorted(row.name for row in rows))}')
        yield from wanted


def rss(part):
    """Resident bytes; None when it does not run."""
    try:
        found = re.search(r'VmRSS:\s+(\d+) kB', pathlib.Path(f'/proc/{part.popen.pid}/status').read_text())
        return int(found.group(1)) * 1024 if found else None
    except (OSError, AttributeError):
        return None
