# SPDX-License-Identifier: MIT
"""The scenarios: each starts what it needs, drives it with imgo-bench, and yields rows.

A pair is a run against ours and one against the floor, by turns, so that a machine that gets slower does so for both.
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import harness
from report import Row


class Failed(Exception):
    """A run that lost, doubled, reordered or refused something, or did not end."""


class Setup:
    def __init__(self, build, quick, repeats, connections):
        self.build, self.quick = pathlib.Path(build).resolve(), quick
        self.repeats = repeats or (1 if quick else 5)
        self.connections = connections or (3000 if quick else 19000)
        self.seconds = 1.5 if quick else 5

    def program(self, name):
        path = self.build / 'bench' / name
        if not path.exists():
            raise Failed(f'{path} is not built')
        return str(path)


def run_json(argv, timeout=300):
    """(exit code, the JSON objects it printed). 1 and 2 are failures."""
    done = subprocess.run(harness.dying_with_us([str(a) for a in argv]), capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL)
    objects = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{')]
    if done.returncode not in (0, 3) or not objects:
        told = {k: v for o in objects for k, v in o.items() if isinstance(v, (int, str)) and v}
        raise Failed(f'{" ".join(str(a) for a in argv[:3])}…: exit {done.returncode}: {done.stderr.strip()[:400]} {told}')
    return done.returncode, objects


# ---- what is measured ----

class Target:
    """Where imgo-bench points: a system of the harness, or the floor."""

    def __init__(self, dialect, subscribe, http, pids):
        self.dialect, self.subscribe, self.http, self.pids = dialect, subscribe, http, pids

    def flags(self):
        return ['--dialect', self.dialect, '--subscribe', ','.join(f'127.0.0.1:{p}' for p in self.subscribe),
                '--http', f'127.0.0.1:{self.http}', *[f for n, p in self.pids.items() for f in ('--server', f'{n}={p}')]]


def target_of(system, dialect='tcp'):
    ports = [c.tcp if dialect == 'tcp' else c.ws for c in system.comets]
    pids = {name: part.popen.pid for name, part in system.parts.items() if part.popen}
    return Target(dialect, ports, system.api_port, pids)


@contextlib.contextmanager
def floor(setup, batch=1, wait_ms=1000):
    argv = harness.dying_with_us([setup.program('fanout-floor'), 'serve', str(batch), str(wait_ms)])
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    try:
        subscribers, publishers = process.stdout.readline().split()
        yield Target('floor', [subscribers], publishers, {'floor': process.pid})
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextlib.contextmanager
def memcached():
    program = shutil.which('memcached')
    if not program:
        raise harness.Skip('memcached is not installed')
    port = harness.free_port()
    root = ['-u', 'root'] if os.getuid() == 0 else []
    process = harness.Process('memcached', [program, '-M', '-m', '1024', '-U', '0', '-l', '127.0.0.1', '-p', port, *root],
                              pathlib.Path(os.devnull), [port])
    try:
        process.start()
        process.wait_ports()
        yield port
    finally:
        process.stop()


def standalone(setup, options=None, **more):
    return harness.make('standalone', setup.build, {'log.level': 'warn', **(options or {})}, **more)


def cluster(setup, options=None, comets=1):
    return harness.make('cluster', setup.build, {'log.level': 'warn', **(options or {})}, comets=comets)


def load(setup, target, **options):
    flags = [f for k, v in options.items() for f in ('--' + k.replace('_', '-'), str(v))]
    _, objects = run_json([setup.program('imgo-bench'), 'load', *target.flags(), *flags])
    return objects[0]


def api(setup, target, **options):
    flags = [f for k, v in options.items() for f in ('--' + k.replace('_', '-'), str(v))]
    argv = [setup.program('imgo-bench'), 'api', *target.flags()[4:], *flags]
    return run_json(argv)[1][0]


def pairs(setup, ours, bare, **options):
    """[(ours, floor)], by turns, after one run of each that counts for nothing."""
    if not setup.quick:
        load(setup, ours, **{**options, 'seconds': 1})
        load(setup, bare, **{**options, 'seconds': 1})
    return [(load(setup, ours, **options), load(setup, bare, **options)) for _ in range(setup.repeats)]


def voids(results):
    return [why for r in results for why in r.get('push', {}).get('void', [])]


def us_each(result, server='all', part='push'):
    return result[part]['servers'][server]['us_each']


def latency_ms(result, which, kind='latency_us'):
    return result['push'][kind][which] / 1000


# ---- fan-out ----

def cpu_row(what, found, limit, server='all', target=None):
    return Row(f'{what}, CPU a delivery', 'µs', [us_each(a, server) for a, _ in found], [us_each(b) for _, b in found],
               target or f'≤ {limit:.2f} × floor', limit, void=[w for pair in found for w in voids(pair)])


def latency_rows(what, found, extra_ms=None):
    for which in ('p50', 'p99'):
        ours, bare = [latency_ms(a, which) for a, _ in found], [latency_ms(b, which) for _, b in found]
        void = [w for pair in found for w in voids(pair)]
        if extra_ms is None:
            yield Row(f'{what}, latency {which}', 'ms', ours, bare, void=void)
            continue
        over = Row(f'{what}, latency {which} over the floor', 'ms', [a - b for a, b in zip(ours, bare)],
                   target=f'≤ {extra_ms} ms', limit=extra_ms, void=void)
        over.note = f'ours {sorted(ours)[len(ours) // 2]:.2f} ms, floor {sorted(bare)[len(bare) // 2]:.2f} ms'
        yield over


def fan_out(setup):
    """One room, a message at a time: large and of 1,000, TCP and WebSocket (the standalone server)"""
    with standalone(setup) as system, floor(setup) as bare:
        for n, rate in ((setup.connections, 40000 // setup.connections), (1000, 40)):
            found = pairs(setup, target_of(system), bare, connections=n, rate=max(rate, 1), seconds=setup.seconds)
            yield cpu_row(f'{n:,} TCP', found, 1.10)
            yield from latency_rows(f'{n:,} TCP', found)
        for dialect, what in (('ws-json', 'WebSocket JSON'), ('ws-binary', 'WebSocket binary')):
            found = pairs(setup, target_of(system, dialect), bare, connections=1000, rate=40, seconds=setup.seconds)
            yield cpu_row(f'1,000 {what}', found, 1.10)


def goim(setup):
    """Goim's workload: one large room, 40 messages a second, held back until there are 40 or for 1 s"""
    batched = {'room.batch-max': 40, 'room.batch-wait': '1s'}
    with standalone(setup, batched) as system, floor(setup, 40, 1000) as bare:
        found = pairs(setup, target_of(system), bare, connections=setup.connections, rate=40, seconds=max(setup.seconds, 3))
        yield cpu_row(f'{setup.connections:,} TCP', found, 1.10)
        yield from latency_rows(f'{setup.connections:,} TCP', found)


def adaptive(setup):
    """The same load with the default batching: at once when idle, together only while a walk is under way"""
    with standalone(setup) as system, floor(setup) as bare:
        walk = load(setup, bare, connections=setup.connections, rate=1, seconds=3)
        found = [load(setup, target_of(system), connections=setup.connections, rate=40, seconds=max(setup.seconds, 3))
                 for _ in range(setup.repeats)]
        walk_ms = us_each(walk) * setup.connections / 1000
        void = voids([walk, *found])
        yield Row(f'{setup.connections:,} TCP, CPU a delivery', 'µs', [us_each(r) for r in found], void=void)
        yield Row(f'{setup.connections:,} TCP, latency p50', 'ms', [latency_ms(r, 'p50') for r in found], void=void)
        yield Row(f'{setup.connections:,} TCP, latency p99', 'ms', [latency_ms(r, 'p99') for r in found],
                  target='≤ one walk + 50 ms', limit=walk_ms + 50, void=void, note=f'one walk of the floor: {walk_ms:.0f} ms')


# ---- latency ----

def room(setup):
    """A room of 100, 500 messages a second, standalone"""
    with standalone(setup) as system, floor(setup) as bare:
        found = pairs(setup, target_of(system), bare, connections=100, rate=500, seconds=setup.seconds)
        yield from latency_rows('room of 100', found, 0.2)
        yield cpu_row('room of 100, whole process', found, 1.20)


def room_cluster(setup):
    """A room of 100, 500 messages a second, in the cluster, through a real Kafka"""
    with cluster(setup) as system, floor(setup) as bare:
        found = pairs(setup, target_of(system), bare, connections=100, rate=500, seconds=setup.seconds)
        void = [w for pair in found for w in voids(pair)]
        yield cpu_row('comet', found, 1.20, 'comet1', 'comet ≤ 1.20 × floor')
        for name in ('logic', 'job'):
            yield Row(f'{name}, CPU a push', 'µs', [r['push']['servers'][name]['cpu_s'] * 1e6 / r['push']['pushes']
                                                    for r, _ in found], void=void)
        for which in ('p50', 'p99', 'p999'):
            yield Row(f'push to receipt, {which}', 'ms', [latency_ms(r, which) for r, _ in found], void=void)
        yield Row('push to answer, p99', 'ms', [latency_ms(r, 'p99', 'answer_us') for r, _ in found], void=void)


def logged(setup):
    """Pushes to single users that are kept, 100 a second, standalone on disk, against bare LMDB commits"""
    with standalone(setup, durable=True) as system, tempfile.TemporaryDirectory(dir=system.dir) as folder:
        found = []
        for _ in range(setup.repeats):
            ours = load(setup, target_of(system), connections=100, push='user', rate=100, seconds=setup.seconds)
            bare = run_json([setup.program('commit_floor'), folder, 100, setup.seconds])[1][0]
            found.append((ours, bare))
        void = voids([a for a, _ in found])
        answer, commit = [[latency_ms(a, w, 'answer_us') for a, _ in found] for w in ('p50', 'p99')], {}
        for which in ('p50', 'p99'):
            commit[which] = [b['commit_us'][which] / 1000 for _, b in found]
        yield Row('answer p50', 'ms', answer[0], commit['p50'], void=void, note='the floor is one synced LMDB commit')
        yield Row('answer p99', 'ms', answer[1], commit['p99'], void=void)
        yield Row('answer p99 beyond 2 commits (p99)', 'ms', [a - 2 * c for a, c in zip(answer[1], commit['p99'])],
                  target='≤ 1 ms', limit=1, void=void)
        yield Row('receipt after the answer, p99', 'ms', [latency_ms(a, 'p99', 'after_answer_us') for a, _ in found],
                  target='≤ 1 ms', limit=1, void=void)
        yield Row('push to receipt, p99', 'ms', [latency_ms(a, 'p99') for a, _ in found], void=void)


# ---- connections ----

def connections(setup):
    """What a connection costs: memory, login, heartbeats; a comet of the cluster, and the standalone server"""
    heartbeat, device = 5, '0123456789abcdef'
    idle = {'device': device, 'push': 'none', 'settle': 1, 'idle': heartbeat, 'heartbeat': heartbeat, 'connections': setup.connections}
    for make, server in ((cluster, 'comet1'), (standalone, 'imgo')):
        for dialect, most in (('tcp', 512), ('ws-json', 700)):
            found, started = [], []
            for _ in range(min(setup.repeats, 3)):
                with make(setup) as system:  # a fresh one: memory that was used before is not given back
                    started.append(system.parts[server].rss() / 1e6)
                    found.append(load(setup, target_of(system, dialect), **idle))
            is_comet = server == 'comet1'
            yield Row(f'{server} {dialect}: memory a connection', 'B', [r['memory'][server]['a_connection'] for r in found],
                      target=f'≤ {most} B' if is_comet else '', limit=most if is_comet else None)
            per_core = [1e6 / us_each(r, server, 'connects') for r in found]
            yield Row(f'{server} {dialect}: connects a core', '/s', per_core, target='≥ 15,000/s' if is_comet else '',
                      limit=15000 if is_comet else None, at_least=True)
            # each connection sends one heartbeat in the time that is measured; one each 25 s is the target's
            yield Row(f'{server} {dialect}: CPU of a heartbeat each 25 s', 'µs/s', [us_each(r, server, 'idle') * heartbeat / 25
                                                                                  for r in found],
                      target='≤ 1 µs/s' if is_comet else '', limit=1 if is_comet else None)
            if dialect == 'tcp':
                yield Row(f'{server}: memory when started', 'MB', started, target='≤ 15 MB' if is_comet else '',
                          limit=15 if is_comet else None)


# ---- rates ----

def api_rows(setup, system, what, server, single, many):
    target, count = target_of(system), 20000 if setup.quick else 100000
    for name, options, scale, limit, unit in (
            ('single', {'push': 'user', 'count': count}, 1, single, 'pushes'),
            ('1,000 users a call', {'push': 'users', 'count': count // 500, 'many': 1000, 'depth': 2}, 1000, many, 'users')):
        found = [api(setup, target, **options) for _ in range(setup.repeats)]
        per_core = [scale * 1e6 / r['servers'][server]['us_each'] for r in found]
        yield Row(f'{what}, {name}: {unit} a {server} core', '/s', per_core,
                  target=f'≥ {limit:,}/s' if limit else '', limit=limit, at_least=True)
        yield Row(f'{what}, {name}: {unit} by the clock', '/s', [scale * r['calls_per_s'] for r in found])


def push_api(setup):
    """Pushes to users who are away, as fast as they are taken: memory, LMDB, Kafka"""
    with standalone(setup, {'bus.bytes-max': '4g'}) as system:
        yield from api_rows(setup, system, 'standalone, memory', 'imgo', 50000, 500000)
    with standalone(setup, {'bus.bytes-max': '4g'}, durable=True) as system:
        yield from api_rows(setup, system, 'standalone, LMDB', 'imgo', 15000, None)
    with cluster(setup) as system:
        yield from api_rows(setup, system, 'cluster', 'logic', None, 100000)


def router(setup):
    """Look-ups of a router over RPC, in batches of 64, and what a session costs it"""
    sessions = 50000 if setup.quick else 200000
    found = []
    for _ in range(min(setup.repeats, 3)):
        done = subprocess.run([setup.program('router_bench'), str(sessions), '64', '1' if setup.quick else '3'],
                              capture_output=True, text=True, timeout=120, check=True)
        found.append(json.loads(done.stdout))
    yield Row('users looked up a router core', '/s', [r['get']['per_router_core_s'] for r in found], target='≥ 200,000/s',
              limit=200000, at_least=True)
    yield Row('memory a session', 'B', [r['bytes_per_session'] for r in found], target='≤ 100 B', limit=100)


def store(setup):
    """Appends to users' logs in one memcached, as job makes them"""
    rates = {}
    for _ in range(min(setup.repeats, 3)):
        with memcached() as port:
            done = subprocess.run([setup.program('store_bench'), 'memcached', f'127.0.0.1:{port}', '1' if setup.quick else '3'],
                                  capture_output=True, text=True, timeout=120, check=True)
        for line in done.stdout.splitlines():
            name, _, rest = line.partition('  ')
            words = rest.split()
            rates.setdefault(name.strip(), []).append(float(words[2]))
    for name, values in rates.items():
        good = name.startswith('append, 16')  # job appends what it fetched of a partition in one call
        yield Row(f'{name}: a core', '/s', values, target='≥ 20,000/s' if good else '', limit=20000 if good else None,
                  at_least=True)


def hub(setup):
    """The hub alone, inside a process, against the floor"""
    n = 1000 if setup.quick else 9000
    done = subprocess.run([setup.program('hub_bench'), str(n), str(setup.repeats)], capture_output=True, text=True, timeout=600,
                          check=True)
    for line in done.stdout.splitlines():
        r = json.loads(line)
        if r['bench'] == 'fanout':
            yield Row(f'{n:,} {r["kind"]}, batch {r["batch"]}: CPU a write', 'µs', [r['hub_us']], [r['hub_us'] / r['ratio']],
                      '≤ 1.10 × floor', 1.10)
        else:
            yield Row(f'{n:,} {r["kind"]}: memory a connection', 'B', [r['bytes']])


ALL = {'fan-out': fan_out, 'goim': goim, 'adaptive': adaptive, 'room': room, 'room-cluster': room_cluster, 'logged': logged,
       'connections': connections, 'push-api': push_api, 'router': router, 'store': store, 'hub': hub}
