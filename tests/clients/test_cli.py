#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""imgo-cli as a program, against hub_server and a fake push API. Arguments: imgo-cli, hub_server."""
import json
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from test_imgo_client import HubServer  # noqa: E402

CLI = HUB = None


def start(*words):
    return subprocess.Popen([CLI, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)


def run(*words, **how):
    done = subprocess.run([CLI, *words], capture_output=True, timeout=30, check=False, **how)
    return done.returncode, done.stdout, done.stderr


class Listen(unittest.TestCase):
    def setUp(self):
        self.hub = HubServer(HUB)
        self.ends = [('--tcp', f'127.0.0.1:{self.hub.tcp}'), ('--websocket', f'127.0.0.1:{self.hub.ws}')]

    def tearDown(self):
        self.hub.end()

    def finish(self, cli, code=0):
        out, err = cli.communicate(timeout=20)
        self.assertEqual(cli.returncode, code, err)
        return out, err

    def test_messages(self):
        for end in self.ends:
            cli = start('listen', '--token', 'alice', '--count', '3', *end)
            self.hub.said('login alice 2')
            self.hub.do('log alice 1 plain text')
            self.hub.do('log alice 2 {"a":"b c"}')
            self.hub.do('log alice 3 \u00e9')
            self.hub.do('log alice 4 one too many')
            out, err = self.finish(cli)
            self.assertEqual(out.splitlines(), ['plain text', '{"a":"b c"}', '\u00e9'])
            self.assertIn('listening as', err)
            # Every message that was printed is acknowledged, none that was not.
            acks = []
            for line in self.hub.process.stdout:
                if line.startswith('closed'):
                    break
                acks.append(line.strip())
            self.assertEqual(acks[-1], 'ack 3')

    def test_json(self):
        for end in self.ends:
            cli = start('listen', '--token', 'bob', '--count', '2', '--json', '--room', 'r 1', *end)
            self.hub.said('login bob')
            self.hub.do('log bob 9 say "hi"\t')
            first = json.loads(cli.stdout.readline())
            self.assertEqual(first, {'op': 5, 'seq': 0, 'ver': 2, 'epoch': 7, 'id': '9', 'body': 'say "hi"\t'})
            self.hub.do('user bob 12')
            out, _ = self.finish(cli)
            self.assertEqual(json.loads(out)['body'], '12')

    def test_version1_and_reconnect(self):
        for end in self.ends:
            cli = start('listen', '--token', 'carol', '--v1', '--count', '2', *end)
            self.hub.said('login carol 1')
            self.hub.do('user carol one')
            self.assertEqual(cli.stdout.readline(), 'one\n')
            self.hub.do('close carol 13')
            self.hub.said('login carol 1')
            self.hub.do('user carol two')
            out, err = self.finish(cli)
            self.assertEqual(out, 'two\n')
            self.assertIn('again in', err)

    def test_ends(self):
        ws = self.ends[1]
        out, err = self.finish(start('listen', '--token', 'bad', *ws), 1)
        self.assertIn('refused', err)
        self.finish(start('listen', '--token', 'dave', '--count', '1', '--timeout', '100ms', *ws), 3)
        self.finish(start('listen', '--token', 'dave', '--timeout', '100ms', *ws), 0)
        self.finish(start('listen', '--token', 'dave', '--tcp', '127.0.0.1:1', '--timeout', '100ms'), 0)
        cli = start('listen', '--token', 'erin', *self.ends[0])
        self.assertIn('listening', cli.stderr.readline())  # it has read the answer; with unread data its end is a reset
        cli.send_signal(signal.SIGINT)
        self.finish(cli)
        self.assertEqual(self.hub.said('closed erin'), 'closed erin 1')
        cli = start('listen', '--token', 'erin', *ws)
        self.hub.said('login erin')
        self.hub.do('close erin 11')
        self.finish(cli, 1)

    def test_output_fails(self):
        """What could not be printed is not acknowledged."""
        with open('/dev/full', 'w', encoding='utf-8') as full:
            cli = subprocess.Popen([CLI, 'listen', '--token', 'fred', *self.ends[0]], stdout=full,
                                   stderr=subprocess.PIPE)
            self.hub.said('login fred')
            self.hub.do('log fred 1 x')
            cli.communicate(timeout=20)
            self.assertEqual(cli.returncode, 4)
        line = self.hub.process.stdout.readline()
        self.assertTrue(line.startswith('closed fred'), line)


class FakeHttp:
    """Takes one request, answers with these bytes."""

    def __init__(self, answer):
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.address = f'127.0.0.1:{self.listener.getsockname()[1]}'
        self.answer, self.request = answer, b''
        self.listener.settimeout(10)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        sock, _ = self.listener.accept()
        with sock, self.listener:
            sock.settimeout(10)
            while b'\r\n\r\n' not in self.request:
                self.request += sock.recv(65536)
            head, body = self.request.split(b'\r\n\r\n', 1)
            length = int([x for x in head.split(b'\r\n') if x.startswith(b'Content-Length')][0].split(b':')[1])
            while len(body) < length:
                body += sock.recv(65536)
            self.request = head + b'\r\n\r\n' + body
            sock.sendall(self.answer)


def ok(body, status='200 OK'):
    return f'HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nConnection: close\r\n\r\n{body}'.encode()


class Push(unittest.TestCase):
    def call(self, words, answer=ok('{"ret":1}'), code=0, **how):
        http = FakeHttp(answer)
        got, out, err = run(words[0], '--http', http.address, *words[1:], **how)
        http.thread.join()
        self.assertEqual(got, code, err)
        head, body = http.request.split(b'\r\n\r\n', 1)
        lines = head.decode().split('\r\n')
        return lines[0], lines[1:], body, out.decode()

    def test_push(self):
        line, heads, body, out = self.call(['push', '--user', '12', '--key', 'k1', '--api-key', 's3', 'hi there'])
        self.assertEqual(line, 'POST /1/push?uid=12 HTTP/1.1')
        self.assertIn('Idempotency-Key: k1', heads)
        self.assertIn('Authorization: Bearer s3', heads)
        self.assertEqual((body, out), (b'hi there', '{"ret":1}\n'))
        self.assertEqual(self.call(['push', '--user', 'a&b=', '--qos0', '--', '--x'])[::2],
                         ('POST /1/push?uid=a%26b%3D&qos=0 HTTP/1.1', b'--x'))
        self.assertEqual(self.call(['push', '--room', 'live://1', '-'], input=b'\0\xff')[::2],
                         ('POST /1/push/room?room=live%3A%2F%2F1 HTTP/1.1', b'\0\xff'))
        self.assertEqual(self.call(['push', '--all', 'x'])[0], 'POST /1/push/all HTTP/1.1')

    def test_token_and_log(self):
        line, _, body, out = self.call(['token', '--user', '7', '--token', 't/1', '--device', 'd', '--room', 'r'])
        self.assertEqual((line, body), ('POST /1/admin/token/new HTTP/1.1',
                                        b'uid=7&token=t%2F1&expire=86400&device=d&rooms=r'))
        _, heads, body, out = self.call(['token', '--user', '7', '--key', 's3'])
        token = out.splitlines()[1]
        self.assertIn(f'token={token}&'.encode(), body)
        self.assertEqual(len(token), 32)
        self.assertIn('Authorization: Bearer s3', heads)
        self.assertEqual(self.call(['log', '--user', '7', '--token', 't'])[0],
                         'GET /1/msg/get?mid=0&uid=7&token=t HTTP/1.1')

    def test_answers(self):
        push = ['push', '--user', '1', 'x']
        self.assertEqual(self.call(push, ok('{"ret":65534}', '400 Bad Request'), 1)[3], '{"ret":65534}\n')
        for broken in (b'', ok('{"ret":1}')[:-1], b'HTTP/1.1 200 OK\r\nContent-Le', b'220 mail\r\n\r\n'):
            self.call(push, broken, 4)
        with socket.create_server(('127.0.0.1', 0)) as closed:
            port = closed.getsockname()[1]
        self.assertEqual(run(*push, '--http', f'127.0.0.1:{port}')[0], 4)
        self.assertEqual(run(*push, '--http', 'nonsense')[0], 4)

    def test_usage(self):
        for words in ([], ['nonsense'], ['push', 'x'], ['push', '--user', '1'], ['push', '--user', '1', '--all', 'x'],
                      ['push', '--all', 'x', 'y'], ['push', '--all', '--qos0', 'x'], ['token'], ['log', '--user', '1'],
                      ['listen'], ['listen', '--token'], ['listen', '--token', 'x', '--count', '0'],
                      ['listen', '--token', 'x', '--timeout', '3 s'], ['listen', '--token', 'x', '--tcp', 'a.example:1'],
                      ['listen', '--token', 'x', '--no'], ['push', '--user', '1', '--key', 'a\nb', 'x']):
            code, out, err = run(*words)
            self.assertEqual((code, out), (2, b''), words)
            self.assertTrue(err.strip())
        self.assertEqual(run('help')[0], 0)
        self.assertEqual(run('push', '--help'), run('help'))
        self.assertTrue(run('--version')[1].startswith(b'imgo-cli '))


class FakeMetrics:
    """Answers GET /metrics with one text after the other, the last one for ever."""

    def __init__(self, *texts):
        self.texts = list(texts)
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.address = f'127.0.0.1:{self.listener.getsockname()[1]}'
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with sock:
                request = b''
                while b'\r\n\r\n' not in request:
                    request += sock.recv(65536)
                text = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
                sock.sendall(ok(text) if request.startswith(b'GET /metrics ') else ok('no', '404 Not Found'))


def figures(pushes, buckets, more=''):
    rows = [('0.001000', buckets[0]), ('0.002000', sum(buckets[:2])), ('+Inf', sum(buckets))]
    return (f'# HELP imgo_x x\n# TYPE imgo_x gauge\nimgo_build_info{{program="imgo-logic",version="9.8"}} 1\n'
            f'imgo_ready 1\nimgo_push_accepted_total {pushes}\nimgo_push_failed_total 0\n'
            f'process_resident_memory_bytes 12345678\nprocess_open_fds 17\n{more}' +
            ''.join(f'imgo_push_seconds_bucket{{stage="lookup",le="{le}"}} {n}\n' for le, n in rows) +
            f'imgo_push_seconds_sum{{stage="lookup"}} 1\nimgo_push_seconds_count{{stage="lookup"}} {sum(buckets)}\n')


class Seeing(unittest.TestCase):
    def test_stats(self):
        daemon = FakeMetrics(figures(10, (10, 80, 10)))
        code, out, err = run('stats', daemon.address)
        self.assertEqual((code, err), (0, b''))
        lines = out.decode().splitlines()
        self.assertEqual(lines[0], f'imgo-logic 9.8 at {daemon.address}: ready, 12.3 MB resident, 17 descriptors, '
                                   '0.00 s of processor')
        self.assertIn('  imgo_push_accepted_total                                   10', lines)
        # 40 of the 80 between 1 and 2 ms are below the middle one; the upper end of all that is known is 2 ms.
        self.assertIn('  imgo_push_seconds{stage="lookup"}                          100: p50 1.5 ms, p90 2.0 ms, '
                      'p99 2.0 ms, p99.9 2.0 ms', lines)
        self.assertNotIn('imgo_push_failed_total', out.decode())
        self.assertIn('imgo_push_failed_total', run('stats', '--all', daemon.address)[1].decode())

    def test_top(self):
        daemon = FakeMetrics(figures(10, (100, 0, 0)), figures(40, (100, 10, 0)), figures(1040, (100, 10, 1)))
        code, out, err = run('top', '-n', '2', daemon.address)
        self.assertEqual((code, err), (0, b''))
        self.assertNotIn(b'\033', out)
        screens = out.decode().split('\n\n')
        row = [line.split() for line in out.decode().splitlines() if 'imgo-logic' in line]
        stage = [line.split() for line in out.decode().splitlines() if 'push: look-up' in line]
        self.assertEqual((len(row), len(stage)), (2, 2), screens)
        self.assertTrue(20 < float(row[0][4]) <= 30.5, row)     # 30 more in about a second
        self.assertTrue(600 < float(row[1][4]) <= 1010, row)
        # Only what came since: ten between 1 and 2 ms, then one beyond what is known.
        self.assertEqual(stage[0][3:], ['10', '1.5', 'ms', '2.0', 'ms'])
        self.assertEqual(stage[1][3:], ['1', '2.0', 'ms', '2.0', 'ms'])

    def test_hostile(self):
        daemon = FakeMetrics('imgo_evil{a="\033[2J"} 1\n\033]0;x\007 2\nimgo_a 1\nimgo_b{ 2\nimgo_c\n=\n{} 1\nimgo_d nan\n')
        code, out, _ = run('stats', daemon.address)
        self.assertEqual(code, 0)
        self.assertNotIn(b'\033', out)
        self.assertNotIn(b'\007', out)
        self.assertIn(b'imgo_a ', out)

    def test_nobody(self):
        with socket.create_server(('127.0.0.1', 0)) as closed:
            port = closed.getsockname()[1]
        code, out, err = run('stats', f'127.0.0.1:{port}')
        self.assertEqual((code, out), (4, b''))
        self.assertIn(b'does not answer', err)
        daemon = FakeMetrics(figures(1, (1, 0, 0)))
        code, out, _ = run('top', '-n', '1', daemon.address, f'127.0.0.1:{port}')
        self.assertEqual(code, 0)
        self.assertIn(b'does not answer', out)
        for words in (['top', '-n', '0'], ['top', '-n', 'x'], ['top', '--interval', '0', '-n', '1'], ['top', '-n']):
            self.assertEqual(run(*words)[0], 2, words)


if __name__ == '__main__':
    CLI, HUB = sys.argv[1:3]
    del sys.argv[1:3]
    unittest.main()
