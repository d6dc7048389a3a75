#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""goim's HTTP API (tests/clients/goim_api.py) with goim's clients and imgo's, on real daemons.

    goim_api.py standalone|cluster --build DIR [--only WORD]…
"""
import argparse
import os
import random
import select
import threading
import time

import harness  # and with it the path of the clients
import goim_api
import goim_client as goim
from harness import SECRET, Failure, poll

CASES = []


def case(function):
    CASES.append(function)
    return function


def check(got, want, what):
    if got != want:
        raise Failure(f'{what}: {got!r:.500}, not {want!r:.500}')


def api(system):
    return goim_api.GoimApi(port=system.api_port)


def connect(system, n, **body):
    """A goim client: on every comet and both transports in turn."""
    where = system.comet(n // 2)
    client = goim.TcpClient(port=where.tcp) if n % 2 == 0 else goim.WsClient(port=where.ws)
    try:
        return client.auth(**body)
    except BaseException:
        client.close()
        raise


def expect(client, op, body, what):
    packet = client.push()
    check((packet.op, packet.body), (op, body), what)


def text(n=''):
    return f'{SECRET}{n}'.encode()


def refused(what, status, call, *args, **more):
    try:
        call(*args, **more)
    except goim_api.ApiError as error:
        check(error.status, status, what)
        return
    raise Failure(f'{what}: not refused')


@case
def mids_online_and_away(system):
    """To who is there on any comet, and kept for who is not; once for a user who is named twice."""
    mids = [system.uid() for _ in range(8)]
    clients = [connect(system, n, mid=mid) for n, mid in enumerate(mids[:4])]
    api(system).push_mids(1000, [*mids, mids[0], mids[7]], text('one'))
    for client in clients:
        expect(client, 1000, text('one'), 'who is there')
        client.silent()
        client.close()
    for n, mid in enumerate(mids[4:]):
        with connect(system, n, mid=mid) as client:
            expect(client, 1000, text('one'), 'who comes later')
            client.silent()


@case
def mids_of_imgo_users(system):
    """imgo's clients get the operation of the call too; a mid is the uid."""
    uid, token = system.user()
    with system.tcp(token) as c, system.ws(token) as w:
        api(system).push_mids(1001, [uid], b'{"a":1}')
        packet = c.message()
        check((packet.op, packet.body), (1001, b'{"a":1}'), 'over TCP')
        packet = w.message()
        check((packet.op, packet.body), (1001, {'a': 1}), 'over WebSocket')


@case
def mids_comma_list(system):
    mids = [system.uid() for _ in range(3)]
    api(system).request('POST', '/goim/push/mids', {'operation': 7, 'mids': f'{mids[0]},{mids[1]}'}, text('l'))
    for n, mid in enumerate(mids):
        with connect(system, n, mid=mid) as client:
            if n < 2:
                expect(client, 7, text('l'), 'of the list')
            client.silent()


@case
def mids_retried(system):
    mid = system.uid()
    with connect(system, 0, mid=mid) as client:
        for n in range(20):
            api(system).push_mids(1000, [mid], text(n), key=f'retry {mid}')
        api(system).push_mids(1000, [mid], text('end'))
        expect(client, 1000, text(0), 'the first')
        expect(client, 1000, text('end'), 'and no other')


@case
def mids_by_the_thousand(system):
    """10,000 in one call, half of them kept, while another client's heartbeats are answered."""
    base = random.SystemRandom().randrange(1 << 35) * 16384
    mids = [base + n for n in range(10000)]
    clients = [connect(system, n, mid=mids[n * 1000]) for n in range(10)]
    with connect(system, 0, mid=system.uid()) as other:
        pushing = threading.Thread(target=lambda: api(system).push_mids(1000, mids, text('many')))
        begin, worst, beats = time.monotonic(), 0.0, 0
        pushing.start()
        while pushing.is_alive() or beats < 20:
            sent = time.monotonic()
            other.heartbeat()
            worst, beats = max(worst, time.monotonic() - sent), beats + 1
            time.sleep(0.002)
        took = time.monotonic() - begin
    check(worst < 1, True, f'a heartbeat meanwhile took {worst:.2f} s')
    for client in clients:
        expect(client, 1000, text('many'), 'one of 10,000')
        client.close()
    with connect(system, 1, mid=mids[-1]) as client:
        expect(client, 1000, text('many'), 'the last of 10,000, later')
    refused('10,001', 413, api(system).push_mids, 1000, [*mids, 1], text())
    print(f'     10,000 mids in {took * 1000:.0f} ms, meanwhile {beats} heartbeats, each within {worst * 1000:.0f} ms',
          flush=True)


@case
def keys_of_clients(system):
    """A key that a client gave itself, on whichever comet it is; at most once; no other session of the user."""
    names = [f'key-{os.urandom(6).hex()}' for _ in range(4)]
    mid = system.uid()
    clients = [connect(system, n, mid=mid, key=name) for n, name in enumerate(names)]
    api(system).push_keys(1000, [names[1], names[2], 'nobody', names[1]], text('k'))
    for n in (1, 2):
        expect(clients[n], 1000, text('k'), f'key {n}')
    for client in clients:
        client.silent()
        client.close()
    api(system).push_keys(1000, names, text('too late'))
    time.sleep(1.0)   # the job has had it by then
    with connect(system, 1, mid=mid, key=names[1]) as client:
        client.silent()


@case
def keys_of_imgo(system):
    """<uid>_<seq>: that session and no other of the user."""
    uid, token = system.user()
    sessions = [system.tcp(token, n) for n in range(3)]
    api(system).push_keys(1000, [f'{uid}_2', f'{uid}_9', f'{system.uid()}_1'], text('2'))
    packet = sessions[1].message()
    check((packet.op, packet.body), (1000, text('2')), 'the second session')
    for session in sessions:
        session.no_message(0.2)
    api(system).push_keys(1001, [f'{uid}_{seq}' for seq in (1, 2, 3)], text('all'))
    for session in sessions:
        check(session.message().body, text('all'), 'each of three')
        session.close()


@case
def keys_in_order(system):
    name = f'key-{os.urandom(6).hex()}'
    with connect(system, 0, mid=system.uid(), key=name) as client:
        for n in range(50):
            api(system).push_keys(1000, [name], text(n))
        for n in range(50):
            expect(client, 1000, text(n), 'order')


@case
def keys_are_filtered(system):
    """Only operations that the client said it wants; rooms ask nobody."""
    name, room = f'key-{os.urandom(6).hex()}', str(time.monotonic_ns())
    with connect(system, 1, mid=system.uid(), key=name, room_id=f'live://{room}', accepts=[1000]) as client:
        api(system).push_keys(1001, [name], text('not wanted'))
        api(system).push_keys(1000, [name], text('wanted'))
        expect(client, 1000, text('wanted'), 'by key')
        api(system).push_room(1001, 'live', room, text('room'))
        expect(client, 1001, text('room'), 'in a room')


@case
def rooms_and_counts(system):
    room, type = str(time.monotonic_ns()), f't{system.uid()}'
    clients = [connect(system, n, mid=system.uid(), room_id=f'{type}://{room}') for n in range(4)]
    clients.append(connect(system, 1, mid=system.uid(), room_id=f'{type}://other'))
    api(system).push_room(1000, type, room, text('r'))
    for client in clients[:4]:
        expect(client, 1000, text('r'), 'in the room')
    clients[4].silent()
    check(api(system).online_top(type, 10), [{'room_id': room, 'count': 4}, {'room_id': 'other', 'count': 1}], 'top')
    check(api(system).online_top(type, 1), [{'room_id': room, 'count': 4}], 'top 1')
    check(api(system).online_top(type[:-1], 10), [], 'top of a type that there is not')
    check(api(system).online_room(type, [room, 'nobody', room]), {room: 4, 'nobody': 0}, 'rooms')
    for client in clients:
        client.close()
    poll(lambda: api(system).online_top(type, 10) == [], 'nobody is there any more')


@case
def totals(system):
    before = api(system).online_total()
    check(sorted(before), ['conn_count', 'ip_count'], 'what total says')
    clients = [connect(system, n, mid=system.uid()) for n in range(4)]
    check(api(system).online_total()['conn_count'] >= 4, True, 'sessions now')
    # They all come from 127.0.0.1: one address on each comet that has clients.
    poll(lambda: api(system).online_total()['ip_count'] == len(system.comets), 'addresses, with the next renewals', 20)
    for client in clients:
        client.close()


@case
def all_at_once_and_slowly(system):
    clients = [connect(system, n, mid=system.uid()) for n in range(20)]
    api(system).push_all(1000, text('at once'))
    for client in clients:
        expect(client, 1000, text('at once'), 'broadcast')
    sockets = [client.sock for client in clients]
    begin = time.monotonic()
    api(system).push_all(1000, text('slowly'), speed=10)
    poll(lambda: select.select(sockets, [], [], 0)[0], 'it has begun')
    with connect(system, 1, mid=system.uid()) as late:
        api(system).push_all(1001, text('between'))
        expect(late, 1001, text('between'), 'another broadcast does not wait')
        for client in clients:
            got = sorted((client.push().op, client.push().op))
            check(got, [1000, 1001], 'both broadcasts')
        took = time.monotonic() - begin
        check(1.5 <= took <= 6, True, f'20 at 10 a second in {took:.1f} s')
        late.silent()   # who came afterwards does not get it
    for client in clients:
        client.close()


@case
def nodes(system):
    ports = {(comet.tcp, comet.ws) for comet in system.comets}
    for platform in ('web', 'android'):
        data = api(system).nodes_weighted(platform)
        check(sorted(data), ['backoff', 'domain', 'heartbeat', 'heartbeat_max', 'nodes', 'tcp_port', 'ws_port',
                             'wss_port'], 'members')
        check(sorted(data['backoff']), ['base_delay', 'factor', 'jitter', 'max_delay'], 'backoff')
        check((data['tcp_port'], data['ws_port']) in ports, True, f'ports {data}')
        check(data['nodes'], ['127.0.0.1'], 'nodes')
        with goim.TcpClient(host=data['nodes'][0], port=data['tcp_port']) as client:
            client.auth(mid=system.uid()).heartbeat()
    instances = api(system).nodes_instances()
    check([i['metadata']['comet'] for i in instances], [str(n + 1) for n in range(len(system.comets))], 'instances')
    for instance in instances:
        check(instance['appid'], 'goim.comet', 'appid')
        check(instance['metadata']['addrs'], '127.0.0.1', 'addrs')
    drawn = {api(system).nodes_weighted()['tcp_port'] for _ in range(60)}
    check(len(drawn), len(system.comets), 'each comet is drawn now and then')


@case
def refusals(system):
    calls = api(system)
    refused('GET of a push', 404, calls.request, 'GET', '/goim/push/mids', {'operation': 1, 'mids': 1})
    refused('POST of a question', 404, calls.request, 'POST', '/goim/online/total')
    refused('no such call', 404, calls.request, 'GET', '/goim/online/tops')
    refused('mid 0', 400, calls.push_mids, 1, [0], text())
    refused('mid -1', 400, calls.push_mids, 1, [-1], text())
    refused('no mids', 400, calls.push_mids, 1, [], text())
    refused('operation 0', 400, calls.push_mids, 0, [1], text())
    refused('a large message', 413, calls.push_all, 1, b'x' * (256 * 1024 + 1))


@case
def router_away(system):
    """Pushes to mids are accepted and kept; questions say 503 and answer again afterwards."""
    if system.kind != 'cluster':
        return
    mid = system.uid()
    system.kill('router')
    api(system).push_mids(1000, [mid], text('kept'))
    refused('total without a router', 503, api(system).online_total)
    refused('top without a router', 503, api(system).online_top, 'live', 1)
    system.start('router')
    system.ready()
    with connect(system, 0, mid=mid) as client:
        expect(client, 1000, text('kept'), 'what was pushed meanwhile')
    poll(lambda: len(api(system).nodes_instances()) == len(system.comets), 'the comets are known again')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('kind', choices=('standalone', 'cluster'))
    parser.add_argument('--build', required=True)
    parser.add_argument('--only', action='append', default=[])
    args = parser.parse_args()
    options = {'auth.mode': 'goim-insecure', 'comet.advertise': '127.0.0.1'}
    if args.kind == 'cluster':
        options['comet.lease'] = '3s'
    with harness.make(args.kind, args.build, options) as system:
        for one in CASES:
            if args.only and not any(word in one.__name__ for word in args.only):
                continue
            begin = time.monotonic()
            try:
                one(system)
            except (goim.GoimError, goim_api.ApiError, goim_api.BadAnswer) as error:
                raise Failure(f'{one.__name__}: {type(error).__name__} {error}') from error
            except Failure as error:
                raise Failure(f'{one.__name__}: {error}') from error
            print(f'ok {one.__name__} ({time.monotonic() - begin:.1f} s)', flush=True)


if __name__ == '__main__':
    harness.main(main)
