#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What an operator sees: /metrics, /healthz, /livez and the log of real daemons.

    seeing.py standalone|cluster --build DIR [--only WORD]… [--all-orders] [--kafka]

--all-orders: the daemons are started in each of their 24 orders, not in four of them. --kafka: a broker of our own is
stopped, too (it takes a minute).
"""
import argparse
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request

import harness
import imgo_client as ic
import prometheus
from harness import SECRET, Failure, poll

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CHECKS = []


def check(*kinds, alone=False):
    """alone: makes its own system."""
    def add(function):
        CHECKS.append((function, kinds or ('standalone', 'cluster'), alone))
        return function
    return add


def get(system, name, path):
    """(status, headers, text)."""
    request = urllib.request.Request(f'http://127.0.0.1:{system.admins[name]}{path}')
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def metrics(system, name):
    status, headers, text = get(system, name, '/metrics')
    if status != 200 or headers['Content-Type'] != 'text/plain; version=0.0.4; charset=utf-8':
        raise Failure(f'/metrics of {name}: {status} {headers["Content-Type"]}')
    return prometheus.parse(text)


def health(system, name):
    """(status, {peer: state}); None when it does not answer."""
    try:
        status, _, text = get(system, name, '/healthz')
    except OSError:
        return None
    body = json.loads(text)
    if (status == 200) != (body['status'] == 'ready'):
        raise Failure(f'/healthz of {name}: {status} {text}')
    return status, {peer['name']: peer['state'] for peer in body['peers']}


def equal(got, want, what):
    if got != want:
        raise Failure(f'{what}: got {got!r:.600}, want {want!r:.600}')


def role(system, name):
    """The daemon that does the work of `name`."""
    return 'imgo' if system.kind == 'standalone' else name


# ---- metrics ----

def documented():
    """{metric: {daemons}} of docs/metrics.md."""
    table = {}
    for line in (ROOT / 'docs' / 'metrics.md').read_text().splitlines():
        found = re.match(r'\| `(\w+)` \| (?:counter|gauge|histogram) \| ([\w, ]+) \|', line)
        if found:
            table[found.group(1)] = set(found.group(2).split(', '))
    return table


@check()
def every_documented_metric_is_there(system):
    table = documented()
    if len(table) < 100:
        raise Failure(f'only {len(table)} metrics in docs/metrics.md')
    for name in system.admins:
        program = name.rstrip('0123456789')
        got = set(metrics(system, name))
        want = {metric for metric, where in table.items() if program in where}
        want = {metric for metric in want if not metric.startswith('imgo_tls_')}  # they come with TLS; tls.py looks
        if system.kind == 'cluster' and program == 'imgo':
            continue
        equal(sorted(want - got), [], f'{name} has not')
        equal(sorted(got - set(table)), [], f'{name} has, and docs/metrics.md has not')


def rise(system, names, action, wanted, seconds=10.0):
    """Each wanted (daemon, sample, labels) rises by exactly so much when action() is done."""
    names = set(names)
    before = {name: metrics(system, name) for name in names}
    action()

    def deltas():
        now = {name: metrics(system, name) for name in names}
        return {key: prometheus.value(now[key[0]], key[1], **dict(key[2])) -
                prometheus.value(before[key[0]], key[1], **dict(key[2])) for key in wanted}
    try:
        poll(lambda: deltas() == wanted, 'the figures', seconds)
    except Failure:
        got = deltas()
        raise Failure('; '.join(f'{key}: rose by {got[key]}, want {wanted[key]}'
                                for key in wanted if got[key] != wanted[key])) from None
    time.sleep(0.2)
    equal(deltas(), wanted, 'the figures a moment later')


@check()
def ten_pushes_are_ten_everywhere(system):
    logic, job = role(system, 'logic'), role(system, 'job')
    comet = role(system, 'comet1')
    uid, token = system.user()
    with system.tcp(token, 0) as client:
        system.push(uid, f'{SECRET}warm')
        client.message()
        time.sleep(1.2)  # the acknowledgement of that one

        def push():
            for n in range(10):
                system.push(uid, f'{SECRET}{n}')
            equal([client.message().body for _ in range(10)], [f'{SECRET}{n}'.encode() for n in range(10)], 'bodies')
        rise(system, (logic, job, comet), push, {
            (logic, 'imgo_push_accepted_total', ()): 10,
            (logic, 'imgo_push_users_total', ()): 10,
            (logic, 'imgo_push_failed_total', ()): 0,
            (logic, 'imgo_http_requests_total', (('call', '/1/push'), ('status', '2xx'))): 10,
            (logic, 'imgo_http_requests_total', (('call', '/1/push'), ('status', '5xx'))): 0,
            (logic, 'imgo_http_request_seconds_count', ()): 10,
            (logic, 'imgo_push_seconds_count', (('stage', 'lookup'),)): 10,
            (logic, 'imgo_push_seconds_count', (('stage', 'produce'),)): 10,
            (logic, 'imgo_push_seconds_bucket', (('stage', 'total'), ('le', '+Inf'))): 10,
            (logic, 'imgo_bus_produced_total', ()): 10,
            (job, 'imgo_job_records_total', ()): 10,
            (job, 'imgo_job_appended_total', ()): 10,
            (job, 'imgo_job_duplicate_total', ()): 0,
            (job, 'imgo_job_poison_total', ()): 0,
            (job, 'imgo_job_seconds_count', (('stage', 'bus'),)): 10,
            (job, 'imgo_job_seconds_count', (('stage', 'append'),)): 10,
            (job, 'imgo_job_seconds_count', (('stage', 'ask'),)): 10,
            (job, 'imgo_carrier_tells_total', ()): 10,
            (comet, 'imgo_edge_delivered_total', ()): 10,
            (comet, 'imgo_edge_write_seconds_count', (('what', 'message'),)): 10,
            (comet, 'imgo_edge_sessions', ()): 0,
        })


@check()
def a_login_is_one_everywhere(system):
    logic, comet, router = role(system, 'logic'), role(system, 'comet1'), role(system, 'router')
    uid, token = system.user()
    clients = []
    poll(lambda: prometheus.value(metrics(system, router), 'imgo_registry_sessions') == 0, 'the last client is forgotten')
    try:
        rise(system, (logic, comet, router), lambda: clients.append(system.tcp(token, 0)), {
            (comet, 'imgo_hub_accepted_total', ()): 1,
            (comet, 'imgo_hub_connections', ()): 1,
            (comet, 'imgo_hub_handshaking', ()): 0,
            (comet, 'imgo_hub_sessions', (('dialect', 'tcp1'),)): 1,
            (comet, 'imgo_edge_sessions', ()): 1,
            (comet, 'imgo_connect_seconds_count', (('stage', 'greeting'),)): 1,
            (comet, 'imgo_connect_seconds_count', (('stage', 'login'),)): 1,
            (comet, 'imgo_connect_seconds_count', (('stage', 'drain'),)): 1,
            (logic, 'imgo_connect_total', ()): 1,
            (logic, 'imgo_connect_denied_total', ()): 0,
            (logic, 'imgo_logic_connect_seconds_count', (('stage', 'token'),)): 1,
            (logic, 'imgo_logic_connect_seconds_count', (('stage', 'register'),)): 1,
            (router, 'imgo_registry_sessions', ()): 1,
            (router, 'imgo_registry_users', ()): 1,
        })
        rise(system, (comet, router), lambda: clients.pop().close(), {
            (comet, 'imgo_hub_connections', ()): -1,
            (comet, 'imgo_hub_sessions', (('dialect', 'tcp1'),)): -1,
            (comet, 'imgo_hub_closed_total', ()): 1,
            (router, 'imgo_registry_sessions', ()): -1,
        })
    finally:
        for client in clients:
            client.close()
    rise(system, (logic, comet), lambda: refused(system), {
        (logic, 'imgo_connect_denied_total', ()): 1,
        (comet, 'imgo_edge_refused_total', ()): 1,
        (comet, 'imgo_hub_closed_total', (('why', 'denied'),)): 1,
        (comet, 'imgo_hub_sessions', ()): 0,
    })


def refused(system):
    try:
        system.tcp(f'{SECRET}nobody', 0).close()
    except ic.ClientError:
        return
    raise Failure('a bad token logs in')


@check()
def lag_is_shown_and_goes(system):
    job = role(system, 'job')
    assigned = poll(lambda: prometheus.value(metrics(system, job), 'imgo_job_assigned'), 'partitions')
    poll(lambda: len(metrics(system, job)['imgo_job_lag'].samples) == assigned, 'a lag for each partition')
    poll(lambda: prometheus.value(metrics(system, job), 'imgo_job_lag') == 0, 'no lag')


@check('cluster')
def lag_rises_while_the_store_is_down(system):
    system.kill('memcached')
    try:
        for n in range(20):
            system.push(system.uid(), f'{SECRET}{n}')
        poll(lambda: prometheus.value(metrics(system, 'job'), 'imgo_job_lag') == 20, 'the lag of 20 pushes', 20)
        poll(lambda: prometheus.value(metrics(system, 'job'), 'imgo_job_waiting') > 0, 'partitions wait')
    finally:
        system.start('memcached')
    poll(lambda: prometheus.value(metrics(system, 'job'), 'imgo_job_lag') == 0, 'the lag is gone', 30)
    poll(lambda: prometheus.value(metrics(system, 'job'), 'imgo_job_rebuild_records_total') >= 20, 'rebuilt', 30)


@check()
def the_process_is_shown(system):
    for name in system.admins:
        families, part = metrics(system, name), system.parts[name]
        rss = prometheus.value(families, 'process_resident_memory_bytes')
        if not 0.5 < rss / part.rss() < 2:
            raise Failure(f'{name}: {rss} bytes resident, /proc says {part.rss()}')
        fds = len(os.listdir(f'/proc/{part.popen.pid}/fd'))
        if abs(prometheus.value(families, 'process_open_fds') - fds) > 4:
            raise Failure(f'{name}: {prometheus.value(families, "process_open_fds")} descriptors, /proc says {fds}')
        if not 0 <= time.time() - prometheus.value(families, 'process_start_time_seconds') < 600:
            raise Failure(f'{name}: started at {prometheus.value(families, "process_start_time_seconds")}')
        if not 0 < prometheus.value(families, 'process_cpu_seconds_total') <= part.cpu() + 1:
            raise Failure(f'{name}: processor {prometheus.value(families, "process_cpu_seconds_total")}')
        equal(prometheus.value(families, 'imgo_build_info'), 1, 'imgo_build_info')
        equal(prometheus.value(families, 'imgo_ready'), 1, 'imgo_ready')


# ---- health ----

@check()
def healthz_names_the_peers(system):
    peers = {'imgo': {'bus', 'store', 'logic', 'lease', 'partitions'}, 'comet': {'logic', 'lease'},
             'logic': {'kafka', 'memcached', 'router'}, 'job': {'kafka', 'memcached', 'router', 'partitions'},
             'router': {'registry'}}
    for name in system.admins:
        status, states = poll(lambda: (lambda h: h if h and h[0] == 200 else None)(health(system, name)),
                              f'{name} is ready')
        equal(set(states), peers[name.rstrip('0123456789')], f'peers of {name}')
        equal(get(system, name, '/livez')[0], 200, '/livez')
        equal(get(system, name, '/healthz?live')[0], 200, '/healthz?live')
        equal(get(system, name, '/nothing')[0], 404, '/nothing')


def goes(system, name, status, peer=None, state=None, seconds=20.0):
    def is_so():
        got = health(system, name)
        return got and got[0] == status and (peer is None or got[1][peer] == state)
    try:
        return poll(is_so, f'{name} says {status} {peer or ""} {state or ""}', seconds)
    except Failure as failure:
        raise Failure(f'{failure}; it says {health(system, name)}') from None


@check('cluster')
def a_lost_memcached_is_seen(system):
    system.kill('memcached')
    try:
        for name in ('logic', 'job'):
            goes(system, name, 503, 'memcached', 'down')
            equal(get(system, name, '/livez')[0], 200, f'/livez of {name}')
            equal(prometheus.value(metrics(system, name), 'imgo_peer_up', peer='memcached'), 0, 'imgo_peer_up')
            equal(prometheus.value(metrics(system, name), 'imgo_ready'), 0, 'imgo_ready')
        equal(health(system, 'comet1')[0], 200, 'the comet does not need it')
    finally:
        system.start('memcached')
    for name in ('logic', 'job'):
        goes(system, name, 200, 'memcached', 'up', 30)
        text = system.parts[name].text()
        if not re.search(r'module=health event=peer-lost peer=memcached', text) or \
                not re.search(r'module=health event=peer-back peer=memcached', text):
            raise Failure(f'{name} did not log it')


@check('cluster')
def a_silent_memcached_is_seen(system):
    system.parts['memcached'].signal(19)
    try:
        goes(system, 'logic', 503, 'memcached', 'down')
    finally:
        system.parts['memcached'].signal(18)
    goes(system, 'logic', 200, 'memcached', 'up', 30)


@check('cluster')
def a_lost_router_is_seen(system):
    system.kill('router')
    try:
        for name in ('logic', 'job'):
            goes(system, name, 503, 'router', 'down')
        goes(system, 'comet1', 503, 'lease', 'down', 30)  # 10 s of lease
    finally:
        system.start('router')
    for name in ('logic', 'job', 'comet1', 'comet2', 'router'):
        goes(system, name, 200, seconds=30)


@check('cluster')
def a_lost_logic_is_seen(system):
    system.kill('logic')
    try:
        goes(system, 'comet1', 503, 'logic', 'down')
        equal(health(system, 'job')[0], 200, 'the job does not need it')
    finally:
        system.start('logic')
    for name in ('logic', 'comet1', 'comet2'):
        goes(system, name, 200, seconds=30)


@check('cluster', alone=True)
def a_lost_kafka_is_seen(build, arguments):
    if not arguments.kafka:
        return 'only with --kafka'
    with tempfile.TemporaryDirectory() as folder:
        said = harness._kafka_start(folder)
        if said.startswith('skip'):
            raise harness.Skip(said)
        address = '127.0.0.1:' + said.split()[1]
        os.environ['IMGO_TEST_KAFKA'] = address
        try:
            with harness.make('cluster', build) as system:
                subprocess.run([harness.KAFKA_SH, 'kill', folder], check=True, stdin=subprocess.DEVNULL)
                for name in ('logic', 'job'):
                    goes(system, name, 503, 'kafka', 'down', 60)
                equal(health(system, 'comet1')[0], 200, 'the comet does not need it')
                subprocess.run([harness.KAFKA_SH, 'start', folder, said.split()[1]], check=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                for name in ('logic', 'job'):
                    goes(system, name, 200, 'kafka', 'up', 90)
        finally:
            del os.environ['IMGO_TEST_KAFKA']
            subprocess.run([harness.KAFKA_SH, 'kill', folder], check=False, stdin=subprocess.DEVNULL)
    return None


@check('cluster', alone=True)
def any_order_of_starting_will_do(build, arguments):
    """O10: a daemon whose peers are not there yet waits for them, says so, and is ready when they come."""
    names = ('router', 'logic', 'job', 'comet1')
    orders = list(itertools.permutations(names))
    if not arguments.all_orders:
        orders = [orders[0], orders[-1], orders[9], orders[14]]
    with harness.make('cluster', build, comets=1) as system:
        for order in orders:
            for name in names:
                system.stop(name)
            for n, name in enumerate(order):
                system.start(name)
                poll(lambda: health(system, name) is not None, f'{name} answers')
                needs = {'logic': {'router'}, 'job': {'router'}, 'comet1': {'router', 'logic'}, 'router': set()}[name]
                if needs - set(order[:n]):
                    equal(health(system, name)[0], 503, f'{name} without {needs - set(order[:n])} in {order}')
            for name in names:
                goes(system, name, 200, seconds=30)
            uid, token = system.user()
            with system.tcp(token, 0) as client:
                system.push(uid, f'{SECRET}ordered')
                equal(client.message().body, f'{SECRET}ordered'.encode(), f'message after {order}')
            print(f'    {" ".join(order)}', flush=True)
    return None


# ---- the log ----

def drain(reader):
    """All that is in the pipe now."""
    got = b''
    try:
        while True:
            got += os.read(reader, 65536)
    except BlockingIOError:
        return got


@check('standalone', alone=True)
def a_full_log_stops_nothing(build, arguments):
    """O9: standard error is a pipe that nobody reads."""
    system = harness.make('standalone', build, {'log.level': 'debug'})
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b'x' * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)
    part = system.parts['imgo']
    try:
        part.popen = subprocess.Popen(harness.dying_with_us(part.argv), stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=writer)
        system.parts['imgo'].wait_ports()
        system.ready()
        lost = prometheus.value(metrics(system, 'imgo'), 'imgo_log_dropped_total')
        if not lost >= 3:
            raise Failure(f'{lost} lines were dropped')
        began = time.monotonic()
        uid, token = system.user()
        with system.tcp(token) as client:
            for n in range(200):
                system.push(uid, f'{SECRET}{n}')
            for n in range(200):
                equal(client.message().body, f'{SECRET}{n}'.encode(), 'message')
        if time.monotonic() - began > 20:
            raise Failure('it is slow')
        os.set_blocking(reader, False)
        drain(reader)
        code, _ = part.stop()
        equal(code, 0, 'exit code')
        rest = drain(reader)
        if b' dropped=' not in rest:
            raise Failure(f'nothing says that lines were dropped: {rest[-300:]}')
    finally:
        system._abandon()
        os.close(reader)
        os.close(writer)
    return None


@check()
def events_are_documented(system):
    text = (ROOT / 'docs' / 'metrics.md').read_text()
    known = set(re.findall(r'^\| ([\w-]+) \| `([\w-]+)` \|', text, re.M))
    line = re.compile(r'ts=\S+ level=(?:error|warn|info|debug) module=([\w-]+) event=([\w-]+)((?: \w+=(?:"(?:[^"\\]|\\.)*"|[^ "]*))*)$')
    for name in system.admins:
        for said in system.parts[name].text().splitlines():
            found = line.match(said)
            if not found:
                raise Failure(f'{name}: not one line of logfmt: {said!r}')
            module = 'PROGRAM' if found.group(1).startswith('imgo') else found.group(1)
            if (module, found.group(2)) not in known:
                raise Failure(f'{name}: not documented: {said!r}')


def run_one(function, *arguments):
    began = time.monotonic()
    try:
        why = function(*arguments)
    except harness.Skip:
        raise
    except Exception:
        traceback.print_exc()
        print(f'FAILED {function.__name__} {time.monotonic() - began:.1f} s', flush=True)
        return False
    print(f'{"skip  " if why else "ok    "} {function.__name__} {why or ""} {time.monotonic() - began:.1f} s', flush=True)
    return True


def run():
    parser = argparse.ArgumentParser()
    parser.add_argument('kind', choices=sorted(harness.KINDS))
    parser.add_argument('--build', required=True)
    parser.add_argument('--only', action='append', default=[])
    parser.add_argument('--all-orders', action='store_true')
    parser.add_argument('--kafka', action='store_true')
    arguments = parser.parse_args()
    chosen = [c for c in CHECKS if arguments.kind in c[1] and
              (not arguments.only or any(word in c[0].__name__ for word in arguments.only))]
    shared = [function for function, _, alone in chosen if not alone]
    good = True
    if shared:
        with harness.make(arguments.kind, arguments.build, durable=True) as system:
            for name in system.admins:
                goes(system, name, 200, seconds=30)
            for function in shared:
                good &= run_one(function, system)
    for function, _, alone in chosen:
        if alone:
            good &= run_one(function, arguments.build, arguments)
    return 0 if good else 1


if __name__ == '__main__':
    harness.main(run)
