# SPDX-License-Identifier: MIT
"""Rows A1 to A9: hostile callers of the HTTP API (FAILURES.md B.5)."""
import concurrent.futures
import json
import threading
import time

import harness
import imgo_client as ic
from kit import SECRET, Counted, Swarm, alive, check, equal, figure, poll, raw, row, spread, trickle

SMUGGLED = b'POST /1/admin/token/new?uid=999999&token=smuggled-in&expire=100 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n'


def post(*lines, body=b''):
    return b'\r\n'.join((b'POST /1/push?uid=1 HTTP/1.1', b'Host: x', *lines, b'', b'')) + body


SMUGGLING = [
    ('CL and TE', post(b'Content-Length: 6', b'Transfer-Encoding: chunked', body=b'0\r\n\r\n')),
    ('TE and CL', post(b'Transfer-Encoding: chunked', b'Content-Length: 5', body=b'0\r\n\r\n')),
    ('two CL', post(b'Content-Length: 0', b'Content-Length: 5', body=b'abcde')),
    ('two equal CL', post(b'Content-Length: 3', b'Content-Length: 3', body=b'abc')),
    ('CL list', post(b'Content-Length: 3, 3', body=b'abc')),
    ('space before the colon', post(b'Content-Length : 3', body=b'abc')),
    ('CL +3', post(b'Content-Length: +3', body=b'abc')),
    ('CL -1', post(b'Content-Length: -1')),
    ('CL 0x3', post(b'Content-Length: 0x3', body=b'abc')),
    ('CL with a blank inside', post(b'Content-Length: 1 0', body=b'0123456789')),
    ('CL empty', post(b'Content-Length:')),
    ('CL overflow', post(b'Content-Length: 18446744073709551617', body=b'a')),
    ('TE list', post(b'Transfer-Encoding: gzip, chunked', body=b'0\r\n\r\n')),
    ('TE xchunked', post(b'Transfer-Encoding: xchunked', body=b'0\r\n\r\n')),
    ('TE identity', post(b'Transfer-Encoding: identity')),
    ('TE tab', post(b'Transfer-Encoding:\tchunked', body=b'0\r\n\r\n')),
    ('TE folded', post(b'Transfer-Encoding:', b' chunked', body=b'0\r\n\r\n')),
    ('TE vertical tab', post(b'Transfer-Encoding:\x0bchunked', body=b'0\r\n\r\n')),
    ('chunk extension', post(b'Transfer-Encoding: chunked', body=b'3;x=1\r\nabc\r\n0\r\n\r\n')),
    ('chunk size overflow', post(b'Transfer-Encoding: chunked', body=b'10000000000000003\r\nabc\r\n0\r\n\r\n')),
    ('chunk size 0x3', post(b'Transfer-Encoding: chunked', body=b'0x3\r\nabc\r\n0\r\n\r\n')),
    ('folded header', post(b'X-A: 1', b' 2', b'Content-Length: 0')),
    ('folded first header', b'POST /1/push?uid=1 HTTP/1.1\r\n Host: x\r\nContent-Length: 0\r\n\r\n'),
    ('bare LF', b'POST /1/push?uid=1 HTTP/1.1\nHost: x\nContent-Length: 0\n\n'),
    ('one bare LF', b'POST /1/push?uid=1 HTTP/1.1\r\nHost: x\nContent-Length: 0\r\n\r\n'),
    ('bare CR', post(b'X-A: 1\rContent-Length: 3', body=b'abc')),
    ('NUL in a value', post(b'X-A: 1\x002', b'Content-Length: 0')),
    ('NUL in a name', post(b'X\x00A: 1', b'Content-Length: 0')),
    ('no Host', b'POST /1/push?uid=1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n'),
    ('two Hosts', post(b'Host: y', b'Content-Length: 0')),
    ('Host list', b'POST /1/push?uid=1 HTTP/1.1\r\nHost: x, y\r\nContent-Length: 0\r\n\r\n'),
    ('header without a colon', post(b'nonsense', b'Content-Length: 0')),
    ('empty header name', post(b': x', b'Content-Length: 0')),
    ('absolute target', b'POST http://y/1/push?uid=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n'),
    ('blank in the target', b'POST /1/push?uid=1 x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n'),
    ('HTTP/1.2', b'POST /1/push?uid=1 HTTP/1.2\r\nHost: x\r\nContent-Length: 0\r\n\r\n'),
    ('HTTP/2 preface', b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    ('HTTP/0.9', b'GET /1/count\r\n\r\n'),
    ('a TLS hello', b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + b'\0' * 64 + b'\r\n\r\n'),
]


@row()
def test_A1_smuggling(system):
    """One answer, then the end; what is behind it is never taken for a request."""
    uid, token = system.user()
    for name, data in SMUGGLING:
        with Counted(system, 'imgo_http_refused_total{reason="malformed"}') if name == 'two CL' else NOTHING:
            said, seconds = raw(system.api_port, data + SMUGGLED)
        status, fields = ic.parse_head(said[:said.index(b'\r\n\r\n') + 4])
        check(status in (400, 413, 501, 505), f'{name}: {status}')
        equal(fields.get('connection'), 'close', name)
        equal(said.count(b'HTTP/1.1 '), 1, f'{name}: answers: {said!r}')
        check(seconds < 3, f'{name}: closed after {seconds:.1f} s')
    with system.tcp() as c:
        c.send(ic.OP_AUTH, 'smuggled-in', 1)
        equal(c.expect_close(5), b'', 'a smuggled request has made a token')
    # However the bytes arrive, they mean the same.
    for name, data in SMUGGLING[:8]:
        with ic.Socket(port=system.api_port) as s:
            try:
                s.send_split(data, 7)
            except ic.Closed:
                pass
            said = s.expect_close(5)
            equal(said.count(b'HTTP/1.1 '), 1, f'{name}, in pieces')
    alive(system)


class Nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


NOTHING = Nothing()


@row(own={'api.body-max-bytes': '64k', 'push.body-max-bytes': '32k', 'api.target-max-bytes': '4k'})
def test_A2_sizes(system):
    """Refused before the body is read."""
    port = system.api_port
    for name, data, want in (
            ('head above 8 kB', post(b'X: ' + b'a' * 9000, b'Content-Length: 0'), 431),
            ('head of many lines', post(*[b'X-%d: %s' % (n, b'v' * 200) for n in range(60)], b'Content-Length: 0'), 431),
            ('65 headers', post(*[b'X-%d: v' % n for n in range(64)], b'Content-Length: 0'), 431),
            ('target above 4 kB', b'POST /1/push?uid=' + b'1' * 5000 + b' HTTP/1.1\r\nHost: x\r\n\r\n', 414),
            ('endless target', b'GET /' + b'a' * 20000, 414),
            ('body above the cap', post(b'Content-Length: 65537'), 413),
            ('body of a terabyte', post(b'Content-Length: 1099511627776'), 413),
            ('body above the cap, announced', post(b'Content-Length: 65537', b'Expect: 100-continue'), 413),
            ('another expectation', post(b'Content-Length: 1', b'Expect: 200-ok'), 417)):
        said, seconds = raw(port, data)
        equal(ic.parse_head(said[:said.index(b'\r\n\r\n') + 4])[0], want, name)
        check(b'100 Continue' not in said and seconds < 3, f'{name}: {said!r} after {seconds:.1f} s')
    with ic.Socket(port=port) as s:  # one that is wanted is continued
        s.send_raw(post(b'Content-Length: 5', b'Expect: 100-continue'))
        check(b' 100 ' in s.recv_until(b'\r\n\r\n'), 'continued')
        s.send_raw(b'hello')
        equal(ic.read_answer(s).ret, 1, 'and answered')
    with ic.Api(port=port) as api:
        equal(api.push(1, b'x' * 32769).status, 413, 'a message above its cap')
    alive(system)


@row(own={'api.key': 'the-key-0f-the-test'})
def test_A2_expect_without_key(system):
    """Who may not call is told so instead of being asked for the body."""
    with ic.Socket(port=system.api_port) as s:
        s.send_raw(post(b'Content-Length: 500000', b'Expect: 100-continue'))
        equal(ic.read_answer(s).status, 401, 'without a key')
        s.expect_close(5)


@row(own={'api.request-timeout': '2s'}, heavy=True)
def test_A3_slow_requests(system):
    """1,000 callers that send a byte a second: each is cut off at its deadline, and others notice nothing."""
    port = system.api_port
    uid, token = system.user()
    seconds, said = trickle(port, b'POST /1/push?uid=1 HTTP/1.1\r\n' + b'a' * 100, 0.1, 8)
    check(1.5 < seconds < 4 and b' 408 ' in said, f'slow head: {said!r} after {seconds:.1f} s')
    seconds, said = trickle(port, post(b'Content-Length: 1000') + b'x' * 1000, 0.02, 8)
    check(1.5 < seconds < 4, f'slow body: {said!r} after {seconds:.1f} s')
    with Counted(system, 'imgo_http_timeouts_total{what="request"}', 1000), \
            Swarm(port, ['127.0.0.2', '127.0.0.3'], 500, 'http') as swarm:
        times = []
        end = time.monotonic() + 5
        while time.monotonic() < end:
            began = time.monotonic()
            system.push(uid, 'x')
            times.append(time.monotonic() - began)
            time.sleep(0.005)
        found = swarm.end()
    figure(f'1,000 callers at 1 B/s: pushes {spread(sorted(times))}; {found["closed"]:.0f} cut off')
    equal(found['closed'], 1000, 'cut off')


@row(own={'api.requests-max': 1500})
def test_A4_pipelining(system):
    """Order is kept, and a connection ends after so many requests."""
    uid, token = system.user()
    with ic.Socket(port=system.api_port, timeout=30) as s:
        sender = threading.Thread(target=lambda: s.sock.sendall(b''.join(
            ic.request_bytes('POST', f'/1/push?uid={uid}', 'x', b'%d' % n) if n % 2 else
            ic.request_bytes('GET', f'/1/none{n}', 'x') for n in range(1000))))
        sender.start()
        got = [ic.read_answer(s).status for n in range(1000)]
        sender.join()
        equal(got, [200 if n % 2 else 404 for n in range(1000)], 'answers in order')
        for n in range(1000, 1500):
            s.send_raw(ic.request_bytes('GET', '/healthz', 'x'))
            answer = ic.read_answer(s)
            equal(answer.headers.get('connection') == 'close', n == 1499, f'closes with request {n + 1}')
        s.expect_close(5)
    with system.tcp(token) as c:
        equal([p.body for p in c.messages(500)], [b'%d' % n for n in range(1, 1000, 2)], 'messages in order')
    # Who does not read his answers is not read either, and costs nothing.
    with ic.Socket(port=system.api_port, rcvbuf=4096) as s:
        s.sock.setblocking(False)
        before, sent = system.parts['imgo'].rss(), 0
        request = ic.request_bytes('GET', '/1/count?type=room', 'x') * 100
        end = time.monotonic() + 2
        while time.monotonic() < end:
            try:
                sent += s.sock.send(request)
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:
                break
        grown = system.parts['imgo'].rss() - before
        check(grown < 8 << 20, f'{grown} bytes for one who does not read, {sent} sent')
    alive(system)


@row(own={'api.key': 'the-key-0f-the-test'})
def test_A5_api_key(system):
    port = system.api_port
    calls = (('POST', '/1/push?uid=1'), ('POST', '/1/pushs'), ('POST', '/1/push/room?rid=1'), ('POST', '/1/push/all'),
             ('GET', '/1/count?type=room'), ('POST', '/1/server/del?server=1'), ('POST', '/1/admin/token/new'))
    for auth in (None, '', 'Bearer', 'Bearer ', 'Bearer the-key-0f-the-tes', 'Bearer the-key-0f-the-test1', 'Basic dGhl',
                 'bearer THE-KEY-0F-THE-TEST', 'Bearer the-key-0f-the-test, x'):
        with ic.Api(port=port) as api:
            for method, target in calls:
                answer = api.request(method, target, headers={'Authorization': auth} if auth is not None else {})
                equal((answer.status, answer.ret), (401, 65533), f'{target} with {auth!r}')
    with ic.Socket(port=port) as s:
        s.send_raw(post(b'Authorization: Bearer the-key-0f-the-test', b'Authorization: Bearer x', b'Content-Length: 0'))
        check(ic.read_answer(s).status in (400, 401), 'two keys')
    alive(system)
    for address in ('0.0.0.0', '[::]'):  # without a key it is not served to the world
        refuses_to_start(system, f'--logic.http={address}:{harness.free_port()}', 'api.key')


def refuses_to_start(system, flag, word):
    import subprocess
    done = subprocess.run([system.program('imgo'), f'--comet.tcp=127.0.0.1:{harness.free_port()}',
                           f'--comet.websocket=127.0.0.1:{harness.free_port()}',
                           f'--logic.store-http=127.0.0.1:{harness.free_port()}', flag],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    check(done.returncode > 0 and word in done.stderr, f'{flag}: {done.returncode} {done.stderr}')


@row()
def test_A6_json(system):
    api = system.api()
    nested = '[' * 15 + ']' * 15
    for name, text, ok in (
            ('depth 16', '{"u":[1],"m":%s}' % nested, True),
            ('depth 17', '{"u":[1],"m":[%s]}' % nested, False),
            ('depth 100,000', '{"u":[1],"m":%s}' % ('[' * 100000 + ']' * 100000), False),
            ('objects in depth', '{"u":[1],"m":%s1%s}' % ('{"a":' * 5000, '}' * 5000), False),
            ('u twice', '{"u":[1],"u":[2],"m":1}', False),
            ('m twice', '{"u":[1],"m":1,"m":2}', False),
            ('u twice, once escaped', '{"u":[1],"\\u0075":[2],"m":1}', False),
            ('NaN', '{"u":[1],"m":NaN}', False), ('Infinity', '{"u":[1],"m":-Infinity}', False),
            ('1.5 as user', '{"u":[1.5],"m":1}', False), ('1e3 as user', '{"u":[1e3],"m":1}', False),
            ('2^63 as user', '{"u":[9223372036854775808],"m":1}', False),
            ('2^64+1 as user', '{"u":[18446744073709551617],"m":1}', False),
            ('a comma too many', '{"u":[1,],"m":1}', False), ('single quotes', "{'u':[1],'m':1}", False),
            ('a comment', '{"u":[1],/**/"m":1}', False), ('leading zero', '{"u":[1],"m":01}', False),
            ('text behind', '{"u":[1],"m":1}{}', False), ('lone escape', '{"u":[1],"m":"\\x"}', False),
            ('a control character', '{"u":[1],"m":"\x01"}', False)):
        answer = api.request('POST', '/1/pushs', text.encode())
        equal((answer.status, answer.ret), (200, 1) if ok else (400, 65534), name)
    for bad in (b'\xff', b'\xc0\xaf', b'\xed\xa0\x80', b'\xf4\x90\x80\x80', b'\xe2\x82', b'\x80'):
        answer = api.request('POST', '/1/pushs', b'{"u":[1],"m":"%s"}' % bad)
        equal((answer.status, answer.ret), (400, 65534), f'UTF-8 {bad!r}')
    # Numbers that a double cannot hold, as users and in messages.
    exact = (1 << 53) + 1 + (system.uid() & 0xffff) * 4
    users = (exact, exact + 2, 9223372036854775807)
    clients = [system.tcp(system.token(uid)) for uid in users]
    text = '{"u":[%d,"%d",%d],"m":{"n":9007199254740993}}' % users
    equal(api.request('POST', '/1/pushs', text.encode()).ret, 1, 'large numbers')
    for c in clients:
        equal(c.message().body, b'{"n":9007199254740993}', 'the number is exact')
        c.no_message(0.05)
        c.close()
    with system.tcp(system.token(exact + 1)) as c:
        c.no_message(0.2)
    alive(system)


@row(own={'api.body-max-bytes': '16m'})
def test_A7_user_list(system):
    """10,000 users at most, and a long list does not stop the loop for others."""
    api = system.api()
    uids = list(range(1 << 40, (1 << 40) + 10000))
    equal(api.pushs(uids + [1], 1).status, 413, '10,001 users')
    text = ('{"u":[%s],"m":1}' % ','.join(map(str, range(1, 1000001)))).encode()
    answer = api.request('POST', '/1/pushs', text)
    equal((answer.status, answer.ret), (413, 65534), '1,000,000 users')
    uid, token = system.user()
    times, done = [], threading.Event()

    def watch():
        with system.tcp(token) as c:
            while not done.is_set():
                began = time.monotonic()
                c.heartbeat()
                times.append(time.monotonic() - began)
                time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        began = time.monotonic()
        for n in range(5):
            equal(api.pushs(uids, n).ret, 1, '10,000 users')
        took = time.monotonic() - began
    finally:
        done.set()
        watcher.join()
    figure(f'5 pushes to 10,000 users in {took:.2f} s; heartbeats meanwhile {spread(sorted(times))}')
    check(max(times) < 1.0, f'the loop stood still for {max(times):.2f} s')


@row(kind='cluster', own={})
def test_A8_partial_failure(system):
    """Kafka cannot take some of a push: not 1, and the same again with the same key is complete and not doubled."""
    users = [system.user() for _ in range(40)]
    clients = [system.tcp(token, n) for n, (_, token) in enumerate(users)]
    uids = [uid for uid, _ in users]
    api = system.api()
    system.kill('router')  # accepted without an address: the bus is what decides
    answer = api.pushs(uids, 'first', key='one')
    equal((answer.status, answer.ret), (200, 1), 'without a router')
    system.start('router')
    for c in clients:
        equal(c.message(30).body, b'"first"', 'delivered all the same')
    # Some partitions of it are acknowledged, and then logic dies: no answer, and a retry.
    with ic.Socket(port=system.api_port) as s:
        s.send_raw(ic.request_bytes('POST', '/1/pushs', 'x', ('{"u":%s,"m":"second"}' % json.dumps(uids)).encode(),
                                    {'Idempotency-Key': 'two'}))
        time.sleep(0.004)
        system.kill('logic')
    system.start('logic')
    api.close()
    poll(lambda: api.pushs(uids, 'second', key='two').ok, 'the retry is accepted', 30, 0.2)
    for n, c in enumerate(clients):
        equal(c.message(30).body, b'"second"', f'client {n}')
    time.sleep(1)
    for c in clients:
        c.no_message(0.01)
        c.close()


@row(own={'push.pushes-max': 64, 'api.connections-max': 256})
def test_A9_overload(system):
    """Beyond the bound: 503 with Retry-After, counted; all that is accepted arrives, and nothing else."""
    uid, token = system.user()
    text = SECRET + 'x' * 100

    def caller(n):
        accepted = refused = 0
        times = []
        with ic.Socket(port=system.api_port, timeout=30) as s:
            for batch in range(4):
                began = time.monotonic()
                s.send_raw(b''.join(ic.request_bytes('POST', f'/1/push?uid={uid}', 'x', f'{n}.{batch}.{i} {text}'.encode())
                                    for i in range(60)))
                for _ in range(60):
                    answer = ic.read_answer(s)
                    if answer.ok:
                        accepted += 1
                        times.append(time.monotonic() - began)
                    else:
                        refused += 1
                        equal((answer.status in (429, 503), answer.ret, 'retry-after' in answer.headers),
                              (True, 65535, True), f'{answer} {answer.headers}')
        return accepted, refused, times

    with system.tcp(token, rcvbuf=1 << 20) as c, concurrent.futures.ThreadPoolExecutor(16) as pool:
        alone = sorted(caller(0)[2])
        before = system.parts['imgo'].rss()
        with Counted(system, 'imgo_push_refused_total{why="full"}'):
            results = list(pool.map(caller, range(16)))
        grown = system.parts['imgo'].rss() - before
        accepted, refused = sum(r[0] for r in results), sum(r[1] for r in results)
        times = sorted(t for r in results for t in r[2])
        c.messages(len(alone) + accepted)
        c.no_message(0.1)
    figure(f'one caller: {spread(alone)}; 16 callers, {accepted} accepted, {refused} refused: {spread(times)}; '
           f'{grown >> 10} kB more')
    check(accepted > 0 and grown < 64 << 20, f'{accepted} accepted, {grown} bytes more')
    check(refused > 0, 'nothing is refused: this is no overload')
    # As many connections as are allowed: the next one waits, and does not harm those that are there.
    idle = [ic.Socket(port=system.api_port) for _ in range(256)]
    time.sleep(1.2)
    system.api().close()
    equal(system.api().request('GET', '/healthz').status, 200, 'one that idles gives way')
    for s in idle:
        s.close()
    alive(system)
