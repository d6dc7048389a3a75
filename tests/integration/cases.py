#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a caller and a client see, as one table of cases, run against both ways to run.

    cases.py standalone|cluster --build DIR [--only WORD]… [--seed N] [--list]

Cases that share a system run in a random order (the seed is printed) and use users of their own. A case with options
gets a system of its own. B numbers are the defects of the original in COMPATIBILITY.md §5.
"""
import argparse
import json
import os
import random
import re
import subprocess
import sys
import time
import traceback

import harness
import imgo_client as ic
from harness import SECRET, Failure, poll

CASES = []


def case(own=None, kinds=('standalone', 'cluster'), **more):
    """own: None (the shared system), or a dict of options for a system of its own. more: further arguments of it."""
    def add(function):
        CASES.append((function, own, kinds, more))
        return function
    return add


def equal(got, want, what=''):
    if got != want:
        raise Failure(f'{what}: got {got!r:.600}, want {want!r:.600}')


def hexed(text):
    return bytes.fromhex(text.replace(' ', ''))


def body(n=0):
    return f'{SECRET}{n}'


def bodies(client, n, timeout=20.0):
    return [p.body for p in client.messages(n, timeout)]


def closes(client, seconds=10.0):
    """The server closes, and sends nothing more."""
    equal(client.expect_close(seconds), b'', 'before the close')


# ---- TCP ----

@case()
def login_golden(system):
    _, token = system.user()
    for text in (token, f'"{token}"'):
        with system.tcp() as c:
            c.send_raw(hexed('000000%02x 0010 0001 00000007 00000001' % (16 + len(text))) + text.encode())
            equal(c.recv_raw(16).hex(), '00000010001000010000000800000001', 'auth reply')
    with system.tcp() as c:
        c.send_raw(ic.pack(7, token, 77, 0))
        equal(c.recv_raw(16).hex(), '0000001000100000000000080000004d', 'auth reply')


@case()
def login_split(system):
    _, token = system.user()
    with system.tcp() as c:
        c.send_split(ic.pack(7, token, 1, 1) + ic.pack(2, b'', 2, 1))
        equal(c.recv_raw(32).hex(), '00000010001000010000000800000001' + '00000010001000010000000300000002', 'replies')


@case()
def login_bad_token(system):
    for token in (f'{SECRET}nobody', '', 'x' * 2000):
        with system.tcp() as c:
            c.send(7, token, 1)
            closes(c)
    with system.ws() as c:
        c.send(7, f'{SECRET}nobody', 1)
        equal(c.expect_close_code(10), 4001, 'close code')
    _, token = system.user(expire=1)
    time.sleep(1.2)
    with system.tcp() as c:
        c.send(7, token, 1)
        closes(c)


@case()
def first_op(system):
    for op in (2, 4, 12, 254, 0, -1):
        with system.tcp() as c:
            c.send(op, b'x', 1)
            closes(c)


@case()
def malformed(system):
    uid, token = system.user()
    for first in ('7fffffff 0010 0001 00000007 00000001', 'ffffffff 0010 0001 00000007 00000001',
                  '0000000f 0010 0001 00000007 00000001', '00000012 0011 0001 00000007 00000001 6161',
                  '00000000 0000 0000 00000000 00000000', '00001011 0010 0001 00000007 00000001'):
        with system.tcp() as c:
            c.send_raw(hexed(first))
            closes(c)
    for data in (ic.pack(4, b'x' * 4097, 2), ic.pack(99, b'', 2), ic.pack(7, token, 2), hexed('00000011001100010000000400000002')):
        with system.tcp(token) as c:
            try:
                c.send_raw(data)
            except ic.Closed:
                pass
            closes(c)
    with system.tcp(token) as c:
        equal(c.echo(b'x' * 4096), b'x' * 4096, 'echo')


@case()
def replies(system):
    _, token = system.user()
    with system.tcp(token) as c:
        for ver, seq, text in ((1, 5, b''), (0, 9, b'any body'), (1, -3, b'\0')):
            c.send(2, text, seq, ver)
            equal(vars(c.receive()), vars(ic.Packet(3, b'', seq, ver)), 'heartbeat reply')
            c.send(4, text, seq, ver)
            equal(vars(c.receive()), vars(ic.Packet(5, text, seq, ver)), 'echo')
            c.send(254, text, seq, ver)
            equal(vars(c.receive()), vars(ic.Packet(255, b'{"test":"come on"}', seq, ver)), 'test')


# ---- pushes ----

@case()
def push_online(system):
    uid, token = system.user()
    with system.tcp(token) as c:
        for text in (body(), b'', bytes(range(256)), '{"a": [1 ,2]}', body('ä€😀'), b'x' * 65536):
            system.push(uid, text)
            equal(vars(c.message()), vars(ic.Packet(5, ic.as_bytes(text), 0, 0)), 'push')
        c.no_message()


@case()
def push_raw_bytes(system):
    uid, token = system.user()
    with system.tcp(token) as c:
        system.push(uid, 'hello')
        system.push(uid, '')
        equal(c.recv_raw(37).hex(), '00000015001000000000000500000000' + b'hello'.hex()
              + '00000010001000000000000500000000', 'bytes of two pushes')


@case()
def push_large(system):
    uid, token = system.user()
    big = os.urandom(256 * 1024)
    with system.tcp(token) as c:
        system.push(uid, big)
        equal(len(c.message().body), len(big), 'large push')
        answer = system.api().push(uid, big + b'x')
        equal((answer.status, answer.ret), (413, 65534), 'too large a push')
    system.push(uid, big)
    with system.tcp(token) as c:
        equal(c.message().body == big, True, 'large push that waited')


@case()
def push_offline(system):
    uid, token = system.user()
    texts = [b'', bytes(range(256))] + [body(n).encode() for n in range(40)]
    for text in texts:
        system.push(uid, text)
    with system.tcp(token) as c:
        equal(bodies(c, len(texts)), texts, 'what waited')
        c.no_message()
        c.leave()
    time.sleep(1.0)
    with system.tcp(token) as c:
        c.no_message()


@case()
def push_order(system):
    uid, token = system.user()
    with system.tcp(token) as c:
        for n in range(500):
            system.push(uid, body(n))
        equal(bodies(c, 500), [body(n).encode() for n in range(500)], 'order')


@case()
def push_order_pipelined(system):
    """One connection's requests in one write are accepted in their order."""
    uid, token = system.user()
    api = system.api()
    for _ in range(3):
        with ic.Socket(port=system.api_port) as s:
            s.send_raw(b''.join(ic.request_bytes('POST', f'/1/push?uid={uid}', api.host, body(n).encode())
                                for n in range(50)))
            for _ in range(50):
                equal(ic.read_answer(s).ret, 1, 'answer')
        with system.tcp(token) as c:
            equal(bodies(c, 50), [body(n).encode() for n in range(50)], 'order')
            c.leave()
        time.sleep(1.0)


@case()
def push_comes_online(system):
    """Waiting messages first, then those pushed while they are read."""
    uid, token = system.user()
    for n in range(300):
        system.push(uid, body(n))
    with system.tcp(token) as c:
        for n in range(300, 400):
            system.push(uid, body(n))
        equal(bodies(c, 400), [body(n).encode() for n in range(400)], 'order')


@case()
def pushs_many(system):
    """B9: also to those who are away."""
    users = [system.user() for _ in range(30)]
    online = [system.tcp(token, n) for n, (_, token) in enumerate(users[:10])]
    uids = [uid for uid, _ in users]
    text = '{ "b":[1,2.50,"<&>"],"a" : null}'
    answer = system.api().request('POST', '/1/pushs', ('{"u":%s,"m":%s}' % (uids, text)).encode())
    equal(answer.ret, 1, 'pushs')
    for c in online:
        equal(c.message().body, text.encode(), 'm is raw JSON')
        c.no_message(0.01)
        c.close()
    for n, (_, token) in enumerate(users[10:]):
        with system.tcp(token, n) as c:
            equal(c.message().body, text.encode(), 'm is raw JSON')
            c.no_message(0.01)


@case()
def pushs_same_user_twice(system):
    uid, token = system.user()
    equal(system.api().pushs([uid, uid], {'n': 1}).ret, 1, 'pushs')
    with system.tcp(token) as c:
        c.message()
        c.no_message()


@case()
def idempotency(system):
    """50 retries of one key are one message, the first."""
    (uid, token), (away, away_token) = system.user(), system.user()
    with system.tcp(token) as c:
        for n in range(50):
            system.push(uid, body(n), key='one key')
            system.push(away, body(n), key='one key')
        system.push(uid, 'end')
        system.push(away, 'end')
        equal(bodies(c, 2), [body(0).encode(), b'end'], 'online')
        c.no_message()
    with system.tcp(away_token) as c:
        equal(bodies(c, 2), [body(0).encode(), b'end'], 'away')
        c.no_message()
        c.leave()
    time.sleep(1.0)
    with system.tcp(away_token) as c:
        for n in range(5):
            equal(system.api().pushs([uid, away], {'n': n}, key='of many').ret, 1, 'pushs')
        equal(c.message().body, b'{"n": 0}', 'pushs')
        c.no_message()


@case()
def several_comets(system):
    """One user's sessions, on all comets: each has everything in order."""
    uid, token = system.user()
    clients = [system.tcp(token, n) for n in range(4)]
    for n in range(200):
        system.push(uid, body(n))
    for c in clients:
        equal(bodies(c, 200), [body(n).encode() for n in range(200)], 'order')
        c.no_message(0.05)
        c.close()


@case()
def moving(system):
    """A user who goes from comet to comet (orderly, a second apart) has everything once and in order."""
    uid, token = system.user()
    got = []
    for step in range(4):
        with system.tcp(token, step) as c:
            for n in range(5):
                system.push(uid, body(f'{step}.{n}'))
            got += bodies(c, 5 if step == 0 else 10)
            c.leave()
        time.sleep(1.0)
        for n in range(5):
            system.push(uid, body(f'{step}.{n + 5}'))
    equal(got, [body(f'{step}.{n}').encode() for step in range(4) for n in range(10)][:35], 'moving')


# ---- rooms and all ----

@case()
def rooms(system):
    a, b = (system.tcp(system.user()[1], n) for n in range(2))
    w = system.ws(system.user()[1], 0)
    room = str(system.uid() % 1000000)
    with a, b, w:
        for c in (a, b, w):
            c.room(room)
        for n in range(20):
            equal(system.api().room(room, body(n)).ret, 1, 'push/room')
        for c in (a, b):
            equal(bodies(c, 20), [body(n).encode() for n in range(20)], 'order in the room')
        equal(bodies(w, 20), [body(n) for n in range(20)], 'order in the room')
        b.room('')
        w.room('7' + room)
        equal(system.api().room(room, 'second').ret, 1, 'push/room')
        equal(a.message().body, b'second', 'who stayed')
        equal(system.api().room('7' + room, 'third').ret, 1, 'push/room')
        equal(w.message().body, 'third', 'who changed')
        for c in (a, b, w):
            c.no_message(0.2)


@case()
def room_of_token(system):
    room = system.uid() % 1000000
    _, token = system.user(rid=room)
    _, other = system.user()
    with system.tcp(token) as c, system.ws(token, 1) as w, system.tcp(other) as o:
        equal(system.api().room(room, 'in', ensure=1).ret, 1, 'push/room')
        equal(c.message().body, b'in', 'by token')
        equal(w.message().body, 'in', 'by token')
        o.no_message(0.2)


@case()
def room_empty(system):
    """A room that nobody is in, and one that everybody left."""
    equal(system.api().room(system.uid() % 1000000, body()).ret, 1, 'push/room')
    room = system.uid() % 1000000
    with system.tcp(system.user(rid=room)[1]) as c:
        c.leave()
    equal(system.api().room(room, body()).ret, 1, 'push/room')


@case()
def push_all(system):
    clients = [system.tcp(system.user()[1], n) for n in range(6)] + [system.ws(system.user()[1], n) for n in range(4)]
    mark = f'all {system.uid()}'
    equal(system.api().all(mark).ret, 1, 'push/all')
    for c in clients:
        got = c.message().body
        equal(got if isinstance(got, str) else got.decode(), mark, 'broadcast')
    for c in clients:
        c.no_message(0.02)
        c.close()


# ---- WebSocket ----

def ws_frame(c):
    op, fin, payload = c.recv_frame()
    equal((op, fin), (c.TEXT, True), 'frame')
    return payload


@case()
def ws_bytes(system):
    uid, token = system.user()
    with system.ws() as c:
        c.send_json({'ver': 1, 'op': 7, 'seq': 1, 'body': token})
        equal(ws_frame(c).rstrip(), b'[{"ver":1,"op":8,"seq":1,"body":{}}]', 'auth reply')
        c.send_json({'ver': 1, 'op': 2, 'seq': 2, 'body': {}})
        equal(ws_frame(c).rstrip(), b'[{"ver":1,"op":3,"seq":2,"body":{}}]', 'heartbeat reply')
        system.push(uid, '{"b":1,"a":[true,null]}')
        payload = ws_frame(c)
        equal(payload.rstrip(), b'[{"ver":0,"op":5,"seq":0,"body":{"b":1,"a":[true,null]}}]', 'push')
        equal(payload[-1:], b'\n', 'a single message ends in a newline')
        system.push(uid, '')
        equal(ws_frame(c).rstrip(), b'[{"ver":0,"op":5,"seq":0,"body":{}}]', 'empty push')


@case()
def ws_not_json(system):
    """B6: what is not JSON comes as a string, and the receiver stays."""
    uid, token = system.user()
    with system.ws(token) as c:
        for text, want in (('plain', 'plain'), ('{"a":', '{"a":'), ('01', '01'), ('"ok"', 'ok'), ('1 2', '1 2'),
                           ('q"\\\n\t\x01', 'q"\\\n\t\x01'), ('7', 7), ('ä', 'ä'), ('null', None)):
            system.push(uid, text)
            equal(c.message().body, want, repr(text))
        system.push(uid, b'\xff\x80 not UTF-8')
        equal(isinstance(c.message().body, str), True, 'not UTF-8: a string of some kind')
        c.heartbeat()


@case()
def ws_calls(system):
    _, token = system.user()
    with system.ws(token) as c:
        equal(c.echo({'x': [1, 'y']}), {'x': [1, 'y']}, 'echo')
        equal(c.test(), {'test': 'come on'}, 'test')
        c.send_frame(c.PING, b'p')
        equal(c.recv_frame(), (c.PONG, True, b'p'), 'pong')
        c.send_json('{"op":2}')
        equal(vars(c.receive()), vars(ic.Packet(3, {}, 0, 0)), 'B19: omitted fields are 0')
        c.send_json('{"seq":7,"body":"b","op":4}')
        equal(vars(c.receive()), vars(ic.Packet(5, 'b', 7, 0)), 'any order of fields')
        c.send_frame(c.BINARY, '{"op":2,"seq":8,"ver":1}')
        equal(vars(c.receive()), vars(ic.Packet(3, {}, 8, 1)), 'JSON in a binary frame')


@case()
def ws_number_as_token(system):
    """B3: one login with a number for a body breaks nobody else's."""
    _, token = system.user()
    for _ in range(3):
        for text in ('{"ver":1,"op":7,"seq":1,"body":1}', '{"ver":1,"op":7,"seq":1,"body":[]}',
                     '{"ver":1,"op":7,"seq":1}', '{"ver":1,"op":7,"seq":1,"body":null}'):
            with system.ws() as c:
                c.send_json(text)
                equal(c.expect_close_code(10), 4001, text)
        with system.ws(token) as c:
            c.heartbeat()
    uid, _ = system.user(token='{"%s":1}' % SECRET)
    with system.ws() as c:
        c.send_json('{"ver":1,"op":7,"seq":1,"body":{"%s":1}}' % SECRET)
        equal(c.receive().op, 8, 'an object is a token')


@case()
def ws_offline_and_batches(system):
    uid, token = system.user()
    for n in range(50):
        system.push(uid, '{"n":%d}' % n)
    with system.ws(token) as c:
        equal(bodies(c, 50), [{'n': n} for n in range(50)], 'what waited')
        for n in range(50, 150):
            system.push(uid, '{"n":%d}' % n)
        equal(bodies(c, 100), [{'n': n} for n in range(50, 150)], 'order')


@case()
def ws_upgrade(system):
    port = system.comet().ws
    with ic.WsClient(port=port, path='/sub?a=1&b=2'):
        pass
    for path in ('/', '/subx', '/sub/', '/other'):
        try:
            ic.WsClient(port=port, path=path).close()
        except ic.Closed as closed:
            equal(closed.code, 404, path)
        else:
            raise Failure(f'{path} was accepted')
    for method, want in (('GET', 400), ('POST', 405), ('DELETE', 405)):
        with system.ws(upgrade=False) as s:
            s.send_raw(f'{method} /sub HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n'.encode())
            equal(ic.read_answer(s).status, want, f'{method} without Upgrade')
    with system.ws(upgrade=False) as c:
        c.send_raw(b'GET /sub HTTP/1.1\r\nHost: x\r\n')
        c.expect_close(15)  # B8: within the time of the handshake


# ---- sessions, counts, the log ----

def rows(answer, key):
    return {row[key]: row['Count'] for row in answer.data or []}


@case()
def sessions(system):
    uid, token = system.user()
    clients = [system.tcp(token, n) if n % 2 else system.ws(token, n // 2) for n in range(6)]
    for n in range(10):
        system.push(uid, body(n))
    for c in clients:
        got = bodies(c, 10)
        equal([b if isinstance(b, str) else b.decode() for b in got], [body(n) for n in range(10)], 'each session')
        c.close()


@case(own={'user.sessions-max': 2})
def sessions_replace(system):
    uid, token = system.user()
    first, second = system.tcp(token, 0), system.ws(token, 1)
    third = system.tcp(token, 1)
    closes(first)
    fourth = system.tcp(token, 0)
    equal(second.expect_close_code(10), 4009, 'close code')
    for c in (third, fourth):
        system.push(uid, body())
        equal(c.message().body, body().encode(), 'who stays')
        third.pending.clear()
    for c in (first, second, third, fourth):
        c.close()


@case(own={'user.sessions-max': 2, 'user.sessions-policy': 'refuse'})
def sessions_refuse(system):
    uid, token = system.user()
    with system.tcp(token, 0) as a, system.tcp(token, 1) as b:
        with system.tcp() as c:
            c.send(7, token, 1)
            closes(c)
        with system.ws() as c:
            c.send(7, token, 1)
            equal(c.expect_close_code(10) in (1013, *range(4000, 5000)), True, f'close code {c.code}')
        system.push(uid, body())
        equal((a.message().body, b.message().body), (body().encode(),) * 2, 'who was there')
        a.leave()
        poll(lambda: system.tcp(token).close() or True, 'there is room again')


@case()
def msg_get(system):
    uid, token = system.user()
    texts = [b'', bytes(range(256)), body().encode()]
    for text in texts:
        system.push(uid, text)
    poll(lambda: len(system.waiting(uid, token)) == 3, 'they wait')
    answer = system.api().msg_get(uid, 0, token)
    equal((answer.status, answer.ret), (200, 0), 'msg/get')
    msgs = ic.decode_msgs(answer)
    equal([text for _, text in msgs], texts, 'bodies')
    mids = [mid for mid, _ in msgs]
    equal(mids == sorted(set(mids)) and mids[0] > 0, True, f'mids rise: {mids}')
    equal([m['gid'] for m in answer.data['msgs']], [0, 0, 0], 'gid')
    equal([t for _, t in ic.decode_msgs(system.api().msg_get(uid, mids[0], token))], texts[1:], 'after the first')
    equal(system.api().msg_get(uid, mids[2], token).data, {'msgs': []}, 'after the last')
    equal(len(ic.decode_msgs(system.api().msg_get(uid, mids[2] + 1000, token))), 3, 'above the end')
    with ic.Api(port=system.store_port) as store:
        equal(store.msg_get(uid, 0, token).json, answer.json, 'on the port of the store')
        equal(store.push(uid, 'x').status, 404, 'pushes on the port of the store')
    text = system.api().msg_get(uid, 0, token, cb='back').body
    equal((text[:5], text.rstrip(b';\n')[-1:]), (b'back(', b')'), 'JSONP')
    for bad in (f'uid={uid}&token={SECRET}x', f'uid={uid + 1}&token={token}'):
        answer = system.api().request('GET', f'/1/msg/get?mid=0&{bad}')
        equal((answer.status, answer.ret), (403, 65533), bad)
    for bad in (f'token={token}', f'uid=x&token={token}', f'uid={uid}&token={token}&mid=x',
                f'uid={uid}&token={token}&cb=a%20b'):
        answer = system.api().request('GET', f'/1/msg/get?{bad}')
        equal((answer.status, answer.ret), (400, 65534), bad)
    with system.tcp(token) as c:
        equal(bodies(c, 3), texts, 'reading did not delete them')
        c.leave()
    poll(lambda: system.waiting(uid, token) == [], 'they are gone')


@case()
def counts(system):
    room = system.uid() % 1000000
    api = system.api()
    clients = [system.tcp(system.user(rid=room)[1], n) for n in range(5)]
    clients += [system.tcp(system.user()[1], n) for n in range(3)]
    poll(lambda: rows(api.count('room'), 'RoomId').get(room) == 5, 'five in the room', 30)
    poll(lambda: rows(api.count('room'), 'RoomId').get(-1, 0) >= 3, 'three in none', 30)
    poll(lambda: sum(rows(api.count('server'), 'Server').values()) >= 8, 'eight on the servers', 30)
    want = {comet.id for comet in system.comets}
    equal(want <= set(rows(api.count('server'), 'Server')), True, 'the servers are counted')
    clients[0].room('')
    poll(lambda: rows(api.count('room'), 'RoomId').get(room) == 4, 'one left the room', 30)
    for c in clients:
        c.close()
    poll(lambda: rows(api.count('room'), 'RoomId').get(room, 0) == 0, 'all are gone', 30)
    equal(api.count('nothing').status, 400, 'an unknown type')


@case(own={'comet.compare': '1s'})
def server_del(system):
    """B5: only that comet's sessions are forgotten; they come back by themselves, and nothing is lost."""
    users = [system.user() for _ in range(4)]
    clients = [system.tcp(token, n) for n, (_, token) in enumerate(users)]
    api = system.api()
    poll(lambda: sum(rows(api.count('server'), 'Server').values()) == 4, 'four are online', 30)
    equal(api.server_del(1).ret, 1, 'server/del')
    if len(system.comets) > 1:
        equal(rows(api.count('server'), 'Server').get(2), 2, 'the other comet')
    for n, (uid, _) in enumerate(users):
        system.push(uid, body(n))
    for n, c in enumerate(clients):
        equal(c.message(30).body, body(n).encode(), 'still delivered')
        c.close()
    for bad in ('server=-1', 'server=x', '', 'server=99999999999'):
        answer = api.request('POST', f'/1/server/del?{bad}')
        equal((answer.status, answer.ret), (400, 65534), bad)


# ---- tokens ----

@case()
def token_forms(system):
    uid, api = system.uid(), system.api()
    made = [f'{SECRET}f{os.urandom(5).hex()}' for _ in range(4)]
    json_body = json.dumps({'uid': uid + 2, 'token': made[2], 'expire': 100}).encode()
    form = {'Content-Type': 'application/x-www-form-urlencoded'}
    for answer in (api.request('POST', f'/1/admin/token/new?uid={uid}&token={made[0]}&expire=100'),
                   api.request('POST', '/1/admin/token/new', f'uid={uid + 1}&token={made[1]}&expire=100'.encode(), form),
                   api.request('POST', '/1/admin/token/new', json_body, {'Content-Type': 'application/json'}),
                   api.request('POST', '/1/admin/token/new', json_body.replace(b'2', b'2').replace(
                       made[2].encode(), made[3].encode()).replace(str(uid + 2).encode(), str(uid + 3).encode()), form)):
        equal((answer.status, answer.ret), (200, 1), 'token/new')
    for n, token in enumerate(made):
        system.push(uid + n, body(n))
        with system.tcp(token) as c:
            equal(c.message().body, body(n).encode(), 'the right user')
    system.next_uid += 10
    for bad in (f'uid=0&token={made[0]}&expire=9', f'uid={uid}&token={made[0]}&expire=0', f'uid={uid}&expire=9',
                f'token={made[0]}&expire=9', f'uid={uid}&token=&expire=9', f'uid=x&token={made[0]}&expire=9',
                f'uid={uid}&token={made[0]}&expire=x', ''):
        answer = api.request('POST', '/1/admin/token/new', bad.encode(), form)
        equal((answer.status, answer.ret), (400, 65534), bad.replace(SECRET, ''))


@case()
def token_revoked(system):
    """B22: a new token ends the old one."""
    uid, old = system.user()
    with system.tcp(old):
        pass
    new = system.token(uid)
    for token in (old,):
        with system.tcp() as c:
            c.send(7, token, 1)
            closes(c)
    system.push(uid, body())
    with system.tcp(new) as c:
        equal(c.message().body, body().encode(), 'the new token')
    again = system.token(uid, new)
    with system.tcp(again):
        pass


# ---- the API ----

@case()
def api_bad_uid(system):
    """B2: no uid kills anything."""
    api = system.api()
    for uid in ('-1', '0x1', 'abc', '', '99999999999999999999', '-9223372036854775808', '1%00', '1.0', '%20'):
        for path in ('/1/push',):
            answer = api.request('POST', f'{path}?uid={uid}', b'x')
            equal((answer.status, answer.ret), (400, 65534), f'{path}?uid={uid}')
    equal(api.request('POST', '/1/push', b'x').ret, 65534, 'no uid')
    uid, token = system.user()
    system.push(uid, 'alive')
    with system.tcp(token) as c:
        equal(c.message().body, b'alive', 'alive')


@case()
def api_bad_parameters(system):
    api = system.api()
    for text in ('', '{}', '[]', '{"u":[],"m":1}', '{"u":1,"m":1}', '{"u":[-1],"m":1}', '{"u":["x"],"m":1}',
                 '{"u":[1.5],"m":1}', '{"u":[1]}', '{"m":1}', '{"u":[1],"m":}', '{"u":[1],"m":1}x', '[' * 1000):
        answer = api.request('POST', '/1/pushs', text.encode())
        equal((answer.status, answer.ret), (400, 65534), text[:40])
    for target in ('/1/push/room', '/1/push/room?rid=x', '/1/push/room?rid=99999999999', '/1/push/room?rid='):
        answer = api.request('POST', target, b'x')
        equal((answer.status, answer.ret), (400, 65534), target)
    equal(api.request('POST', '/1/push?uid=1', b'x', {'Idempotency-Key': 'k' * 1000}).ret, 65534, 'a long key')


@case()
def api_methods(system):
    api = system.api()
    for method, target, want in (('GET', '/1/push?uid=1', 405), ('PUT', '/1/push?uid=1', 405), ('GET', '/1/pushs', 405),
                                 ('GET', '/1/push/all', 405), ('GET', '/1/push/room?rid=1', 405), ('POST', '/1/count', 405),
                                 ('GET', '/1/admin/token/new', 405), ('GET', '/1/server/del?server=1', 405),
                                 ('POST', '/1/msg/get', 405), ('POST', '/none', 404), ('GET', '/1', 404),
                                 ('POST', '/', 405), ('GET', '/', 200),
                                 ('POST', '/1/push/', 404), ('POST', '/1/PUSH', 404), ('GET', '/healthz', 200)):
        equal(api.request(method, target).status, want, f'{method} {target}')
    with ic.Socket(port=system.api_port) as s:
        s.send_raw(b'HEAD /1/count HTTP/1.1\r\nHost: x\r\n\r\nGET /1/count?type=server HTTP/1.1\r\nHost: x\r\n\r\n')
        head = s.recv_until(b'\r\n\r\n')
        equal(ic.parse_head(head)[0], 405, 'HEAD')
        equal(ic.read_answer(s).status, 200, 'what follows a HEAD')  # so it had no body
    with ic.Socket(port=system.api_port) as s:
        s.send_raw(b'POST /1/push?uid=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n')
        equal(ic.read_answer(s).status in (400, 501), True, 'two lengths')
        s.expect_close(10)


@case(own={'api.key': 'k3y-of-the-test'})
def api_key(system):
    """B23."""
    port = system.api_port
    for key in (None, 'wrong', 'k3y-of-the-tes', 'k3y-of-the-test1', ''):
        with ic.Api(port=port, key=key) as api:
            for answer in (api.push(1, 'x'), api.token(1, 'x'), api.count(), api.server_del(1), api.all('x')):
                equal(answer.status, 401, f'with {key}')
    with ic.Api(port=port, key='k3y-of-the-test') as api:
        equal(api.push(1, 'x').ret, 1, 'with the key')
    for part in system.parts.values():
        if 'k3y-of' in part.text():
            raise Failure(f'the key is in the log of {part.name}')


# ---- processes ----

@case(own={}, durable=True)
def sigterm(system):
    """Each daemon ends with 0 within 5 s of SIGTERM while clients are connected, and nothing accepted is lost."""
    users = [system.user() for _ in range(20)]
    accepted = {uid: [] for uid, _ in users}

    def push_some(tag):
        for uid, _ in users:
            accepted[uid].append(body(f'{tag}.{uid}').encode())
            system.push(uid, accepted[uid][-1])

    got = {uid: [] for uid, _ in users}

    def take(uid, bodies):
        got[uid] += [text for text in dict.fromkeys(bodies) if text not in got[uid]]

    def receive_all(clients):
        for (uid, _), c in zip(users, clients):
            while len(got[uid]) < len(accepted[uid]):
                take(uid, [c.message(60).body])

    for name in [name for name in system.names if name != 'memcached']:
        clients = [(system.tcp if n % 2 else system.tcp)(token, n) for n, (_, token) in enumerate(users)]
        idle = [ic.Socket(port=system.comet(n).tcp) for n in range(4)]
        push_some(name)
        code, seconds = system.stop(name)
        equal(code, 0, f'exit code of {name}')
        if seconds > harness.STOP_SECONDS + 0.5:
            raise Failure(f'{name} took {seconds:.1f} s to end')
        for n, ((uid, _), c) in enumerate(zip(users, clients)):
            ended = name in ('imgo', f'comet{system.comet(n).id}')
            take(uid, drain(c) if ended else at_hand(c))
        for c in clients + idle:
            c.close()
        system.start(name)
        system.ready()
    clients = [system.tcp(token, n) for n, (_, token) in enumerate(users)]
    receive_all(clients)
    for c in clients:
        c.close()
    # What a closed client had unread in its TCP comes again; nothing is out of order.
    for uid, _ in users:
        equal(got[uid], accepted[uid], f'of user {uid}')


def at_hand(client):
    """Bodies that have come. What this client has taken from its socket (a login's answer brings messages along), or has left
    there for a second (v1.ack=tcp), counts as received."""
    found = []
    try:
        while True:
            found.append(client.message(0.02).body)
    except ic.ClientError:
        return found


def drain(client):
    """Bodies until the server closes."""
    found = []
    try:
        while True:
            found.append(client.message(10).body)
    except ic.Closed:
        return found


@case(own={})
def sigterm_close_codes(system):
    with system.ws(system.user()[1]) as w, system.tcp(system.user()[1]) as c:
        equal(system.stop(system.names[-1] if system.kind == 'standalone' else 'comet1')[0], 0, 'exit code')
        equal(w.expect_close_code(10), 1001, 'close code')
        closes(c)
    for name in system.names:
        if not system.parts[name].running():
            system.start(name)


@case(own={}, kinds=('cluster',))
def start_orders(system):
    """The daemons may start in any order, far apart, and find one another."""
    names = [name for name in system.names if name not in ('memcached',)]
    rng = random.Random(os.urandom(8))
    orders = [list(reversed(names)), ['comet1', 'comet2', 'job', 'logic', 'router'], ['job', 'comet1', 'router', 'comet2', 'logic']]
    orders.append(rng.sample(names, len(names)))
    uid, token = system.user()
    for n, order in enumerate(orders):
        for name in reversed(names):
            equal(system.stop(name)[0], 0, f'exit code of {name}')
        for name in order:
            system.start(name, wait=False)
            time.sleep(rng.uniform(0, 1.0))
        system.ready()
        system.push(uid, body(n))
        with system.tcp(token, n) as c:
            equal(c.message().body, body(n).encode(), f'after {order}')
            c.leave()


@case(kinds=('standalone', 'cluster'))
def command_line(system):
    def run(program, *argv, env=None):
        return subprocess.run([system.program(program), *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=30, env={**os.environ, **(env or {})})
    for program in system.programs:
        must = ['--comet.id=1'] if program == 'imgo-comet' else []
        done = run(program, '--help')
        equal((done.returncode, done.stderr), (0, ''), f'{program} --help')
        keys = re.findall(r'--([a-z0-9.-]+\.[a-z0-9.-]+)', done.stdout)
        equal('log.level' in keys and len(keys) > 3, True, f'{program} --help names its keys: {keys}')
        done = run(program, '--version')
        equal((done.returncode, bool(re.search(r'\d+\.\d+\.\d+', done.stdout))), (0, True), f'{program} --version')
        done = run(program, '--check-config', *must)
        equal((done.returncode, done.stderr), (0, ''), f'{program} --check-config')
        config = system.dir / f'{program}.conf'
        config.write_text('[log]\nlevel = shouting\n')
        for argv, env, words in ((['--log.level=loud'], None, ['log.level', 'loud']),
                                 (['--no.such=1'], None, ['no.such']),
                                 (['--stop.deadline=1x'], None, ['stop.deadline', '1x']),
                                 (['--check-config', '--config', str(config)], None, ['log.level', 'shouting', config.name]),
                                 (['--config', '/nonexistent.conf'], None, ['nonexistent.conf']),
                                 ([], {'IMGO_LOG_LEVEL': 'loud'}, ['loud', 'IMGO_LOG_LEVEL'])):
            done = run(program, *must, *argv, env=env)
            equal((done.returncode, done.stdout), (1, ''), f'{program} {argv}')
            for word in words:
                equal(word in done.stderr, True, f'{program} {argv} says {word}: {done.stderr}')
            equal(done.stderr.count('\n'), 1, f'{program} {argv}: one line: {done.stderr}')
    if system.kind == 'cluster':
        done = run('imgo-comet')
        equal((done.returncode, 'comet.id' in done.stderr), (1, True), 'comet.id is required')


@case()
def address_in_use(system):
    """A second one on the same port ends with a sentence that names the port."""
    port = system.comet().tcp
    if system.kind == 'standalone':
        argv = [system.program('imgo'), f'--comet.tcp=127.0.0.1:{port}', f'--comet.websocket=127.0.0.1:{harness.free_port()}',
                f'--logic.http=127.0.0.1:{harness.free_port()}', f'--logic.store-http=127.0.0.1:{harness.free_port()}']
    else:
        argv = [system.program('imgo-comet'), '--comet.id=9', f'--comet.tcp=127.0.0.1:{port}',
                f'--comet.websocket=127.0.0.1:{harness.free_port()}', f'--comet.rpc=127.0.0.1:{harness.free_port()}']
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    equal((done.returncode != 0, done.returncode > 0, str(port) in done.stderr), (True, True, True), done.stderr)


# ---- running ----

def run_one(name, run):
    began = time.monotonic()
    try:
        run()
    except (Failure, ic.ClientError, AssertionError, OSError, subprocess.TimeoutExpired) as error:
        print(f'FAIL {name}  {time.monotonic() - began:.1f} s', flush=True)
        traceback.print_exc()
        print(f'     {name}: {error}', flush=True)
        return False
    print(f'ok   {name}  {time.monotonic() - began:.1f} s', flush=True)
    return True


def run_own(kind, build, function, own, more):
    with harness.make(kind, build, options={'log.level': 'debug', **own}, **more) as system:
        function(system)


def run_shared(kind, build, chosen):
    failed = []
    with harness.make(kind, build, options={'log.level': 'debug'}, durable=True) as system:
        for function in chosen:
            if not run_one(function.__name__, lambda: function(system)):
                failed.append(function.__name__)
                dead = [name for name, part in system.parts.items() if not part.running()]
                if dead:
                    print(f'     {dead} ended', flush=True)
                    break
        if failed:
            system.show_logs()
        print('     ' + ', '.join(f'{name} {part.rss() >> 20} MB {part.cpu():.1f} s'
                                  for name, part in system.parts.items() if part.running()), flush=True)
    return failed


def run():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('kind', choices=harness.KINDS)
    parser.add_argument('--build', default=str(harness.ROOT / 'build'))
    parser.add_argument('--only', action='append', default=[])
    parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--tls', action='store_true', help='clients and RPC in TLS')
    args = parser.parse_args()
    harness.TLS = args.tls
    chosen = [c for c in CASES if args.kind in c[2] and (not args.only or any(w in c[0].__name__ for w in args.only))]
    if args.list:
        print('\n'.join(c[0].__name__ for c in chosen))
        return 0
    print(f'{len(chosen)} cases, {args.kind}, --seed {args.seed}', flush=True)
    random.Random(args.seed).shuffle(chosen)
    failed = []
    shared = [c[0] for c in chosen if c[1] is None]
    if shared and not run_one('(the shared system)',
                              lambda: failed.extend(run_shared(args.kind, args.build, shared))):
        failed.append('(the shared system)')
    for function, own, _, more in chosen:
        if own is not None and not run_one(function.__name__,
                                           lambda: run_own(args.kind, args.build, function, own, more)):
            failed.append(function.__name__)
    print(f'{len(chosen) - len(failed)} passed, {len(failed)} failed {" ".join(failed)}', flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    harness.main(run)
