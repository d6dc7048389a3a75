#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of the test clients: against hub_server (its path is the first argument), and their codecs against known bytes."""
import asyncio
import http.server
import pathlib
import subprocess
import sys
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import imgo_client as ic  # noqa: E402


class HubServer:
    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.tcp, self.ws = map(int, self.process.stdout.readline().split())

    def do(self, line):
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()

    def said(self, start):
        for line in self.process.stdout:
            if line.startswith(start):
                return line.strip()
        raise AssertionError(f'never said {start}')

    def end(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


class Codec(unittest.TestCase):
    def test_auth_reply(self):
        want = bytes.fromhex('0000001000100001 0000000800000001'.replace(' ', ''))
        self.assertEqual(ic.pack(8, b'', 1, 1), want)
        self.assertEqual(ic.unpack(want)[2], ic.Packet(8, b'', 1, 1))

    def test_rfc6455_mask(self):
        key = bytes.fromhex('37fa213d')
        self.assertEqual(ic.mask(b'Hello', key).hex(), '7f9f4d5158')

    def test_refuses(self):
        for bad in ('0000000f 0010 0001 00000008 00000001', '00000010 0011 0001 00000008 00000001',
                    'ffffffff 0010 0001 00000008 00000001'):
            with self.assertRaises(ic.BadPeer):
                ic.unpack(bytes.fromhex(bad.replace(' ', '')))
        for text in (b'{}', b'[]', b'[{"op":1}]', b'[NaN]', b'\xff'):
            with self.assertRaises(ic.BadPeer):
                ic.parse_packets(1, text)


class WithHub(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.hub = HubServer(PROGRAM)

    @classmethod
    def tearDownClass(cls):
        cls.hub.end()

    def both(self):
        return [ic.TcpClient(port=self.hub.tcp), ic.WsClient(port=self.hub.ws),
                ic.WsClient(port=self.hub.ws, binary=True)]

    def test_calls(self):
        for client in self.both():
            with client as c:
                c.login('alice')
                c.heartbeat()
                self.assertEqual(c.echo('x y'), b'x y' if isinstance(c, ic.TcpClient) else 'x y')
                self.hub.do('user alice {"a":[1]}')
                self.hub.do('user alice plain')
                bodies = [c.message().body, c.message().body]
                tcp = isinstance(c, ic.TcpClient)
                self.assertEqual(bodies, [b'{"a":[1]}', b'plain'] if tcp else [{'a': [1]}, 'plain'])
                self.assertEqual(c.test(), b'{"test":"come on"}' if tcp else {'test': 'come on'})
                c.room('live://1')
                self.hub.do('room live://1 "hello"')
                self.assertIn('hello', str(c.message().body))
                c.room('')
                self.hub.do('room live://1 "hello"')
                c.no_message(0.05)

    def test_version2(self):
        for client in self.both():
            with client as c:
                c.login('bob', device='phone', rooms=['r1'], resume=(7, 1))
                self.assertEqual(self.hub.said('login bob'), 'login bob 2 phone')
                self.hub.do('log bob 5 five')
                packet = c.message()
                self.assertEqual((packet.id, packet.ver), ((7, 5), 2))
                c.ack(packet.id)
                self.hub.said('ack 5')
                c.join('r2')
                c.leave_room('r2')

    def test_ends(self):
        with ic.TcpClient(port=self.hub.tcp) as c:
            c.login('carol')
            c.half_close()
            self.assertEqual(c.expect_close(5), b'')
        self.assertEqual(self.hub.said('closed carol'), 'closed carol 1')
        c = ic.TcpClient(port=self.hub.tcp)
        c.login('carol')
        c.reset()
        self.assertEqual(self.hub.said('closed carol'), 'closed carol 2')
        c = ic.TcpClient(port=self.hub.tcp)
        c.login('carol')
        self.assertEqual(c.leave(5), b'')
        with ic.TcpClient(port=self.hub.tcp) as c, self.assertRaises(ic.Closed):
            c.login('bad')
        with ic.WsClient(port=self.hub.ws) as c, self.assertRaises(ic.Closed) as caught:
            c.login('bad')
        self.assertEqual(caught.exception.code, 4001)
        with self.assertRaises(ic.Closed) as caught:
            ic.WsClient(port=self.hub.ws, path='/other')
        self.assertEqual(caught.exception.code, 404)

    def test_split_and_timeout(self):
        with ic.TcpClient(port=self.hub.tcp) as c:
            c.send_split(ic.pack(7, 'dave', 1, 1))
            self.assertEqual(c.recv_raw(16).hex(), '00000010001000010000000800000001')
            c.expect_silence(0.02)
            with self.assertRaises(ic.TimedOut):
                c.receive(0.01)
            c.send(4, 'q' * 4000, 9)
            self.assertEqual(len(c.wait(lambda p: p.seq == 9).body), 4000)
            c.send_raw(b'x' * 16)
            c.expect_close(5)

    def test_ws_frames(self):
        with ic.WsClient(port=self.hub.ws) as c:
            c.login('erin')
            c.send_frame(c.PING, b'p')
            self.assertEqual(c.recv_frame(), (c.PONG, True, b'p'))
            c.send_frame(c.TEXT, '{"op":2,', fin=False)
            c.send_frame(0, '"seq":3,"ver":1}')
            self.assertEqual(c.recv(), ic.Packet(3, {}, 3, 1))
            c.close_frame()
            self.assertEqual(c.expect_close_code(5), 1000)
        with ic.WsClient(port=self.hub.ws) as c:
            c.send_frame(c.TEXT, 'x', masked=False)
            self.assertEqual(c.expect_close_code(5), 1002)

    def test_async(self):
        async def one(n):
            async with ic.AsyncTcpClient(port=self.hub.tcp) as c:
                await c.login(f'u{n}')
                self.assertEqual(await c.echo(f'{n}'), f'{n}'.encode())
                self.hub.do(f'user u{n} {n}')
                self.assertEqual((await c.message()).body, f'{n}'.encode())
                await c.heartbeat()
                if n % 2:
                    c.reset()

        async def all_of_them():
            await asyncio.gather(*(one(n) for n in range(200)))
        asyncio.run(all_of_them())


class FakeApi(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    seen = []

    def answer(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        self.seen.append((self.command, self.path, body, self.headers.get('Idempotency-Key'),
                          self.headers.get('Authorization')))
        text = b'{"data":{"msgs":[{"msg":"aGk=","mid":3,"gid":0}]},"ret":1}'
        self.send_response(200)
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


class Http(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), FakeApi)
        self.server.daemon_threads = True
        FakeApi.seen.clear()
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()

    def test_calls(self):
        with ic.Api(port=self.server.server_port, key='k1') as api:
            for answer in (api.token(1, 't&1'), api.push(1, b'\x00x', key='K'), api.pushs([1, 2], {'a': 1}),
                           api.room(5, 'r', ensure=1), api.all('a'), api.count(), api.server_del(1),
                           api.msg_get(1, 0)):
                self.assertTrue(answer.ok)
        self.assertEqual(ic.decode_msgs(answer), [(3, b'hi')])
        self.assertEqual(FakeApi.seen, [
            ('POST', '/1/admin/token/new', b'uid=1&token=t%261&expire=3600', None, 'Bearer k1'),
            ('POST', '/1/push?uid=1', b'\x00x', 'K', 'Bearer k1'),
            ('POST', '/1/pushs', b'{"u":[1, 2],"m":{"a": 1}}', None, 'Bearer k1'),
            ('POST', '/1/push/room?rid=5&ensure=1', b'r', None, 'Bearer k1'),
            ('POST', '/1/push/all', b'a', None, 'Bearer k1'),
            ('GET', '/1/count?type=room', b'', None, 'Bearer k1'),
            ('POST', '/1/server/del?server=1', b'', None, 'Bearer k1'),
            ('GET', '/1/msg/get?uid=1&mid=0', b'', None, 'Bearer k1')])

    def test_async(self):
        async def run():
            api = ic.AsyncApi(port=self.server.server_port, connections=4)
            answers = await asyncio.gather(*(api.push(n, 'b') for n in range(50)))
            await api.close()
            return answers
        self.assertTrue(all(a.ok for a in asyncio.run(run())))
        self.assertEqual(len(FakeApi.seen), 50)


if __name__ == '__main__':
    PROGRAM = sys.argv.pop(1)
    unittest.main()
