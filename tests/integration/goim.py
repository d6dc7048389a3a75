#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""goim v2's clients (tests/clients/goim_client.py) against real daemons, on TCP and on WebSocket.

    goim.py standalone|cluster --build DIR [--only WORD]…
"""
import argparse
import json
import subprocess
import time
import urllib.parse

import harness  # and with it the path of the clients
import goim_client as goim
import imgo_client as ic
from harness import SECRET, Failure, poll

KINDS = ('tcp', 'ws')
CASES = []


def case(function):
    CASES.append(function)
    return function


def check(got, want, what):
    if got != want:
        raise Failure(f'{what}: {got!r}, not {want!r}')


def connect(system, kind, comet=0, **more):
    where = system.comet(comet)
    return goim.TcpClient(port=where.tcp, **more) if kind == 'tcp' else goim.WsClient(port=where.ws, **more)


def logged_in(system, kind, comet=0, **body):
    client = connect(system, kind, comet)
    try:
        return client.auth(**body)
    except BaseException:
        client.close()
        raise


def push(system, path, body, **query):
    answer = system.api().request('POST', f'/1/push{path}?{urllib.parse.urlencode(query)}', body.encode())
    if not answer.ok:
        raise Failure(f'push {path}: {answer}')


def room_name():
    return f'live://{time.monotonic_ns()}'


def expect_push(client, op, body, what):
    packet = client.push()
    check((packet.op, packet.body), (op, body.encode()), what)


def expect_closed(client, code):
    try:
        packet = client.next()
    except goim.Closed as closed:
        if isinstance(client, goim.WsClient):
            check(closed.code, code, 'close code')
        return
    raise Failure(f'not closed, but {packet}')


# ---- logins ----

@case
def mid_alone_is_refused_by_default(systems):
    system = systems('token')
    uid, token = system.user()
    for kind in KINDS:
        with connect(system, kind) as client:
            client.send(goim.AUTH, f'{{"mid":{uid},"key":"","room_id":"live://1","platform":"web","accepts":[1000]}}')
            expect_closed(client, 4001)
        with logged_in(system, kind, mid=1, token=token) as client:   # the token says who
            push(system, '', SECRET + 'x', uid=uid, op=1000)
            expect_push(client, 1000, SECRET + 'x', 'a push to the token\'s user')


@case
def insecure_mode_is_logged(systems):
    system = systems('goim-insecure')
    name = 'imgo' if system.kind == 'standalone' else 'logic'
    lines = [line for line in system.parts[name].text().splitlines() if 'event=goim-insecure' in line]
    check(len(lines), 1, 'lines that warn')
    check('level=warn' in lines[0], True, lines[0])


@case
def mid_is_the_user(systems):
    system = systems('goim-insecure')
    for kind in KINDS:
        uid = system.uid()
        with logged_in(system, kind, mid=uid, accepts=[1000, 1001]) as client:
            push(system, '', SECRET + 'a', uid=uid, op=1001)
            expect_push(client, 1001, SECRET + 'a', 'a push to mid')
        with connect(system, kind) as client:
            client.send(goim.AUTH, SECRET + 'nobody')
            expect_closed(client, 4001)
        with connect(system, kind) as client:
            client.send(goim.AUTH, '{"mid":-1}')
            expect_closed(client, 1002)


# ---- rooms ----

@case
def heartbeat_tells_the_number_in_the_room(systems):
    """Guests (mid 0) on every comet, on both transports; each is told of all."""
    system, room = systems('goim-insecure'), room_name()
    clients = [logged_in(system, kind, comet, room_id=room)
               for comet in range(len(system.comets)) for kind in KINDS for _ in range(2)]
    with logged_in(system, 'tcp') as nowhere:
        check(nowhere.heartbeat(), 0, 'heartbeat of one in no room')
    poll(lambda: {client.heartbeat() for client in clients} == {len(clients)}, 'all are told the number', 15, 0.3)
    clients.pop().close()
    poll(lambda: {client.heartbeat() for client in clients} == {len(clients)}, 'and that one has left', 15, 0.3)
    for client in clients:
        client.close()


@case
def room_push_ignores_the_filter(systems):
    system, room = systems('goim-insecure'), room_name()
    clients = [logged_in(system, kind, comet, room_id=room, accepts=accepts)
               for comet in range(len(system.comets)) for kind in KINDS for accepts in (None, [], [7])]
    for n in range(50):
        push(system, '/room', f'{SECRET}{n}', room=room, op=1000 + n % 3)
    for client in clients:
        for n in range(50):
            expect_push(client, 1000 + n % 3, f'{SECRET}{n}', 'a push to the room, in order')
        client.close()


@case
def change_join_and_leave_rooms(systems):
    system, first, second, third = systems('goim-insecure'), room_name(), room_name(), room_name()
    for kind in KINDS:
        with logged_in(system, kind, room_id=first) as client:
            check(client.call(goim.CHANGE_ROOM, second), second.encode(), 'answer to a change of room')
            check(client.call(goim.JOIN, third, goim.JOIN_REPLY), third.encode(), 'answer to a further room')
            push(system, '/room', SECRET + '1', room=first)
            push(system, '/room', SECRET + '2', room=second)
            push(system, '/room', SECRET + '3', room=third)
            check({client.push().body for _ in range(2)}, {(SECRET + n).encode() for n in '23'}, 'the rooms it is in')
            check(client.call(goim.LEAVE, second, goim.LEAVE_REPLY), second.encode(), 'answer to leaving')
            push(system, '/room', SECRET + '4', room=second)
            push(system, '/room', SECRET + '5', room=third)
            expect_push(client, 5, SECRET + '5', 'the room it is still in')
            client.silent()


@case
def rooms_of_a_connection_are_bounded(systems):
    system = systems('goim-insecure')
    for kind in KINDS:
        with logged_in(system, kind) as client:
            for n in range(16):
                client.call(goim.JOIN, f'r{n}', goim.JOIN_REPLY)
            client.send(goim.JOIN, 'r16')
            expect_closed(client, 1008)


# ---- operations ----

@case
def broadcast_and_user_pushes_are_filtered(systems):
    system = systems('goim-insecure')
    for kind in KINDS:
        uid = system.uid()
        every, some = logged_in(system, kind, mid=system.uid()), logged_in(system, kind, mid=uid, accepts=[9001])
        for op in (9000, 9001, 9002):
            push(system, '/all', f'{SECRET}{op}', op=op)
            expect_push(every, op, f'{SECRET}{op}', 'a broadcast to one that said nothing')
        expect_push(some, 9001, f'{SECRET}9001', 'a broadcast')
        push(system, '', SECRET + 'no', uid=uid, op=5)
        push(system, '', SECRET + 'yes', uid=uid, op=9001)
        expect_push(some, 9001, SECRET + 'yes', 'a push to the user')
        some.silent()
        every.silent()
        every.close()
        some.close()


@case
def filtered_messages_are_not_kept(systems):
    """What a client does not accept counts as delivered."""
    system = systems('goim-insecure')
    for kind in KINDS:
        uid, token = system.user()
        push(system, '', SECRET + 'before', uid=uid, op=5)
        check(system.waiting(uid, token), [(SECRET + 'before').encode()], 'kept while away')
        with logged_in(system, kind, mid=uid, accepts=[1000]) as client:
            push(system, '', SECRET + 'no', uid=uid, op=5)
            push(system, '', SECRET + 'yes', uid=uid, op=1000)
            expect_push(client, 1000, SECRET + 'yes', 'the one that is accepted')
            poll(lambda: client.heartbeat() == 0 and system.waiting(uid, token) == [], 'all count as received', 20, 0.3)
        with logged_in(system, kind, mid=uid) as client:
            client.silent()


@case
def subscribe_and_unsubscribe(systems):
    system = systems('goim-insecure')
    for kind in KINDS:
        uid = system.uid()
        with logged_in(system, kind, mid=uid, accepts=[1000]) as client:
            check(client.call(goim.SUB, '1001,1002'), b'1001,1002', 'answer to subscribing')
            check(client.call(goim.UNSUB, '1000,1002'), b'1000,1002', 'answer to unsubscribing')
            for op in (1000, 1001, 1002):
                push(system, '', f'{SECRET}{op}', uid=uid, op=op)
            expect_push(client, 1001, f'{SECRET}1001', 'the one that is left')
            client.silent()


@case
def unknown_operations_are_answered(systems):
    system = systems('goim-insecure')
    for kind in KINDS:
        with logged_in(system, kind) as client:
            for op in (goim.SEND, 99, 254, 1000, -1, goim.AUTH):
                check(client.call(op, 'body', op, ver=3), b'', f'answer to op {op}')
            client.send(goim.RAW, goim.encode(99, b'x', 5))
            client.silent(0.1)


@case
def pushes_of_goims_api(systems):
    """Each of its four pushes arrives as its operation, in every dialect."""
    system, room = systems('goim-insecure'), f'{time.monotonic_ns()}'
    uid, token = system.user()

    def post(path, body, **query):
        target = f'/goim/push/{path}?{urllib.parse.urlencode(query)}'
        answer = system.api().request('POST', target, body.encode())
        check(answer.status, 200, f'{target}: {answer}')

    goims = [logged_in(system, kind, comet, mid=uid, key=f'{kind}{comet}{room}', room_id=f'live://{room}')
             for comet in range(len(system.comets)) for kind in KINDS]
    with system.tcp(token) as tcp, system.ws(token) as ws:
        tcp.room(f'live://{room}')
        ws.room(f'live://{room}')

        def everybody_gets(op, body):
            for client in goims:
                expect_push(client, op, body, f'operation {op}')
            for client in (tcp, ws):
                packet = client.message()
                check((packet.op, ic.as_bytes(packet.body)), (op, body.encode()), f'operation {op}')

        post('mids', SECRET + 'mid', operation=2001, mids=uid)
        everybody_gets(2001, SECRET + 'mid')
        post('room', SECRET + 'room', operation=2002, type='live', room=room)
        everybody_gets(2002, SECRET + 'room')
        post('all', SECRET + 'all', operation=2003)
        everybody_gets(2003, SECRET + 'all')
        for comet in range(len(system.comets)):
            for kind in KINDS:
                post('keys', SECRET + kind, operation=2004, keys=f'{kind}{comet}{room}')
        for client, kind in zip(goims, KINDS * len(system.comets)):
            expect_push(client, 2004, SECRET + kind, 'by key')
            client.silent(0.1)
            client.close()


# ---- limits ----

@case
def body_limit(systems):
    system = systems('goim-insecure')
    for kind in KINDS:
        with logged_in(system, kind) as client:
            check(client.call(99, b'x' * 4096, 99), b'', 'answer to 4096 bytes')
            client.send(99, b'x' * 4097)
            expect_closed(client, 1009)


@case
def half_a_packet(systems):
    """Byte by byte on TCP; on WebSocket a frame is a packet."""
    system = systems('goim-insecure')
    with logged_in(system, 'tcp') as client:
        for byte in goim.encode(99, b'xyz', 77):
            client.send_raw(bytes([byte]))
        check(client.answer(77, 99).body, b'', 'answer')
    with logged_in(system, 'ws') as client:
        client.send_frame(client.BINARY, goim.encode(99, b'xyz', 77)[:-1])
        expect_closed(client, 1002)


@case
def other_dialects_are_as_before(systems):
    """Beside goim's: imgo's packets, and JSON, on the same ports; their pushes come with the op, too."""
    system = systems('goim-insecure')
    uid, token = system.user()
    with system.tcp(token) as tcp, system.ws(token) as ws:
        push(system, '', '"' + SECRET + 'x"', uid=uid, op=1000)
        check((tcp.message().op, ws.message().op), (1000, 1000), 'op of a push')
        for client in (tcp, ws):
            check(ic.as_bytes(client.call(goim.SUB, goim.SUB_REPLY, '1001,8').body), b'1001,8', 'subscribing')
        push(system, '', '"' + SECRET + 'y"', uid=uid, op=1000)
        push(system, '', '"' + SECRET + 'z"', uid=uid, op=1001)
        check((tcp.message().op, ws.message().op), (1001, 1001), 'op of the next')


@case
def the_command_line_speaks_it(systems):
    system = systems('goim-insecure')
    for end in (('--tcp', system.comet().tcp), ('--websocket', system.comet().ws)):
        uid = system.uid()
        cli = subprocess.Popen([system.program('imgo-cli'), 'listen', '--goim', '--mid', str(uid), '--accepts', '7,1000',
                                '--room', 'live://1', '--count', '2', '--timeout', '20s', '--json', end[0],
                                f'127.0.0.1:{end[1]}'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            check('listening' in cli.stderr.readline(), True, 'logged in')
            push(system, '', SECRET + 'no', uid=uid, op=5)
            push(system, '', SECRET + 'yes', uid=uid, op=1000)
            line = json.loads(cli.stdout.readline())
            check((line['op'], line['body']), (1000, SECRET + 'yes'), 'what it prints')
            push(system, '/room', SECRET + 'room', room='live://1', op=5)
            out, err = cli.communicate(timeout=20)
        finally:
            cli.kill()
        check((cli.returncode, json.loads(out)['body']), (0, SECRET + 'room'), err)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('kind', choices=('standalone', 'cluster'))
    parser.add_argument('--build', required=True)
    parser.add_argument('--only', action='append', default=[])
    args = parser.parse_args()
    chosen = [c for c in CASES if not args.only or any(word in c.__name__ for word in args.only)]
    running = {}

    def systems(mode):
        if mode not in running:
            running[mode] = harness.make(args.kind, args.build, {'auth.mode': mode}).__enter__()
        return running[mode]

    try:
        for one in chosen:
            begin = time.monotonic()
            try:
                one(systems)
            except goim.GoimError as error:
                raise Failure(f'{one.__name__}: {type(error).__name__} {error}') from error
            print(f'ok {one.__name__} ({time.monotonic() - begin:.1f} s)', flush=True)
    except BaseException as error:
        while running:
            running.popitem()[1].__exit__(type(error), error, None)
        raise
    while running:
        running.popitem()[1].__exit__(None, None, None)


if __name__ == '__main__':
    harness.main(main)
