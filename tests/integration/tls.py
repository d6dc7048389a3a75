#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""TLS of real daemons, from outside: openssl s_client, Python's ssl, and bytes that are neither.

    tls.py [standalone|cluster] --build DIR [--only WORD]… [--connects 10000]

What is refused, what is slow, certificates and ticket keys that change while clients stay, sessions resumed at another
comet, ten thousand connects and closes of every kind, and daemons that show one another the wrong certificate.
(cases.py --tls runs every ordinary case with clients and RPC in TLS.)
"""
import argparse
import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import time
import urllib.request

import harness
import imgo_client as ic
import prometheus
from harness import Failure, poll

CHECKS = []


def check(*kinds):
    def add(function):
        CHECKS.append((function, kinds or ('standalone', 'cluster')))
        return function
    return add


def equal(got, want, what):
    if got != want:
        raise Failure(f'{what}: {got!r}, want {want!r}')


def s_client(port, *args, typed=b'', seconds=10):
    """What `openssl s_client` says."""
    done = subprocess.run(['openssl', 's_client', '-connect', f'127.0.0.1:{port}', *args], input=typed, capture_output=True,
                          timeout=seconds)
    return (done.stdout + done.stderr).decode(errors='replace')


def wants(text, *words):
    for word in words:
        if word not in text:
            raise Failure(f'no {word!r} in {text[-3000:]}')


def log_of(system, comet=0):
    return system.parts['imgo' if system.kind == 'standalone' else f'comet{comet + 1}']


def failures(system, why):
    with urllib.request.urlopen(f'http://127.0.0.1:{system.admins[log_of(system).name]}/metrics', timeout=10) as answer:
        families = prometheus.parse(answer.read().decode())
    return prometheus.value(families, 'imgo_tls_failures_total', why=why)


# ---- refused ----

@check()
def old_versions(system):
    for version in ('-tls1', '-tls1_1'):
        text = s_client(system.comet().tcp, version, '-cipher', 'ALL:@SECLEVEL=0')
        wants(text, 'alert protocol version', 'Cipher is (NONE)')
    for version, name in (('-tls1_2', 'TLSv1.2'), ('-tls1_3', 'TLSv1.3')):
        wants(s_client(system.comet().tcp, version, '-CAfile', str(system.certificates.ca)), f'New, {name}, Cipher is',
              'Verify return code: 0 (ok)')


@check('standalone')
def weak_ciphers(system):
    for cipher in ('AES128-SHA', 'ECDHE-ECDSA-AES128-SHA', 'AES128-GCM-SHA256', 'NULL'):
        wants(s_client(system.comet().tcp, '-tls1_2', '-cipher', f'{cipher}:@SECLEVEL=0'), 'handshake failure')


@check()
def protocols(system):
    wants(s_client(system.comet().ws, '-alpn', 'h2,http/1.1'), 'ALPN protocol: http/1.1')
    wants(s_client(system.comet().tcp, '-alpn', 'imgo'), 'ALPN protocol: imgo')
    wants(s_client(system.comet().tcp), 'No ALPN negotiated', 'Verification')
    wants(s_client(system.comet().ws, '-alpn', 'h2'), 'alert no application protocol')
    wants(s_client(system.comet().tcp, '-alpn', 'http/1.1'), 'alert no application protocol')


@check('standalone')
def renegotiation(system):
    wants(s_client(system.comet().tcp, '-tls1_2', typed=b'R\n'), 'RENEGOTIATING', 'no renegotiation')


@check()
def garbage(system):
    port = system.comet().tcp
    hello = memory_hello(system)
    before = {why: failures(system, why) for why in ('not_tls', 'version', 'too_big')}
    for bytes_ in (b'GET / HTTP/1.1\r\n\r\n', b'\0\0\0\x14\0\x10\0\1\0\0\0\7\0\0\0\1tok', os.urandom(2000),
                   bytes.fromhex('802e0100020015000000100100800200800300800400'),     # SSL 2
                   bytes.fromhex('1603014000010fffff'),                              # a ClientHello of a megabyte
                   bytes.fromhex('15030100020228'), hello[:-1] + b'\0', hello + os.urandom(300)):
        with ic.Socket(port=port) as raw:
            try:
                raw.send_raw(bytes_)
                raw.expect_close(8)
            except ic.Closed:
                pass
    equal([failures(system, why) > n for why, n in before.items()], [True] * 3, 'each is counted')
    system.tcp(system.user()[1]).close()


def memory_hello(system):
    """The bytes of a client's first message."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = system.certificates.context().wrap_bio(incoming, outgoing, server_hostname='127.0.0.1')
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


# ---- slow ----

@check()
def slow_handshakes_end(system):
    """Whether silent, a byte each half second, or half way: at the deadline, 5 s after accept."""
    hello, port, began = memory_hello(system), system.comet().tcp, time.monotonic()
    silent, slow, half = (ic.Socket(port=port) for _ in range(3))
    half.send_raw(hello)
    sent = 0
    while time.monotonic() - began < 8:
        try:
            slow.send_raw(hello[sent:sent + 1])
            sent += 1
            slow.expect_silence(0.5)
        except ic.Closed:
            break
    took = time.monotonic() - began
    if not 4.5 < took < 7.5:
        raise Failure(f'the slow one ended after {took:.1f} s')
    silent.expect_close(2)
    if len(half.expect_close(2)) < 100:
        raise Failure('the half-way one had no ServerHello')
    for one in (silent, slow, half):
        one.close()


@check()
def dribbled_whole_session(system):
    """The whole of a session in pieces of one to seven bytes."""
    uid, token = system.user()
    with ic.Socket(port=system.comet().tcp, timeout=15) as raw:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = system.certificates.context().wrap_bio(incoming, outgoing, server_hostname='127.0.0.1')

        def run(action):
            while True:
                try:
                    return action()
                except ssl.SSLWantReadError:
                    data = outgoing.read()
                    while data:
                        n = random.randrange(1, 8)
                        raw.send_raw(data[:n])
                        data = data[n:]
                    incoming.write(raw.recv_some())

        run(client.do_handshake)
        client.write(ic.pack(ic.OP_AUTH, token, 1))
        equal(run(lambda: client.read(100)), ic.pack(ic.OP_AUTH_REPLY, b'', 1), 'the answer')
        system.push(uid, harness.SECRET + 'x' * 5000)
        got = b''
        while len(got) < 5000:
            got += run(lambda: client.read(10000))


# ---- ends ----

@check()
def ends(system):
    """close_notify, FIN without it, reset: each is noticed, and nothing is left."""
    uid, token = system.user()
    for end in ('unwrap', 'leave', 'reset', 'close'):
        client = system.tcp(token)
        equal(system.api().request('GET', '/1/count?type=server').json['data'][0]['Count'] >= 1, True, 'it is there')
        if end == 'unwrap':
            client.sock.settimeout(5)
            client.sock.unwrap().close()  # waits for the server's close_notify
        else:
            getattr(client, end)()

        def gone():
            system.push(uid, harness.SECRET + end)
            return system.waiting(uid, token)
        poll(gone, f'after {end} messages wait', 10)
        with system.tcp(token) as again:
            again.message()
            time.sleep(1.2)
            again.heartbeat()
        poll(lambda: not system.waiting(uid, token), 'read', 10)


# ---- tickets and certificates ----

def session_file(system, port, path):
    s_client(port, '-tls1_2', '-sess_out', str(path))
    return path


def resumed(port, path):
    return 'Reused, TLSv1.2' in s_client(port, '-tls1_2', '-sess_in', str(path))


@check('cluster')
def a_session_is_resumed_at_the_other_comet(system):
    path = session_file(system, system.comet(0).tcp, system.dir / 'session')
    equal(resumed(system.comet(1).ws, path), True, 'at the other comet')
    keys = system.dir / 'tickets'
    old = keys.read_text()
    keys.write_text(old + os.urandom(80).hex() + '\n')          # the new one opens everywhere ...
    reload(system)
    lines = keys.read_text().split()
    keys.write_text('\n'.join(reversed(lines)) + '\n')          # ... before it makes any
    reload(system, comets=[0])
    new = session_file(system, system.comet(0).tcp, system.dir / 'session2')
    equal(resumed(system.comet(1).tcp, new), True, 'a ticket of the new key, where it is the second')
    equal(resumed(system.comet(0).tcp, path), True, 'a ticket of the old key')
    keys.write_text(os.urandom(80).hex() + '\n')
    reload(system, comets=[1])
    equal(resumed(system.comet(1).tcp, new), False, 'keys that are all new')


def reload(system, want='event=reloaded', comets=None):
    for n in comets if comets is not None else range(len(system.comets)):
        part = log_of(system, n)
        before = part.text().count(want)
        part.signal(signal.SIGHUP)
        # One of clients' TLS, one of RPC's.
        poll(lambda: part.text().count(want) > before, want, 10)


def shown(port):
    """The serial number of the certificate that is shown."""
    text = s_client(port)
    begin = text.index('-----BEGIN CERTIFICATE')
    done = subprocess.run(['openssl', 'x509', '-noout', '-serial'], input=text[begin:].encode(), capture_output=True)
    return done.stdout


@check()
def certificates_change_while_clients_stay(system):
    certs = system.certificates
    users = [system.user() for _ in range(10)]
    stay = [system.tcp(token) if i % 2 else system.ws(token) for i, (_, token) in enumerate(users)]
    port, first = system.comet().tcp, shown(system.comet().tcp)
    good = certs.cert.read_text(), certs.key.read_text()

    def wrong(what, cert, key):
        certs.cert.write_text(cert)
        certs.key.write_text(key)
        reload(system, 'event=reload-failed', [0])
        equal(shown(port), first, f'the certificate after {what}')
    certs.issue(system.dir / 'cert2.pem', system.dir / 'key2.pem')
    wrong('a key that does not fit', good[0], (system.dir / 'key2.pem').read_text())
    wrong('no PEM at all', 'certificate\n', good[1])
    wrong('an empty file', '', good[1])
    certs.issue(certs.cert, certs.key)
    reload(system, comets=[0])
    second = shown(port)
    if second == first:
        raise Failure('the new certificate was not taken')
    for client, (uid, _) in zip(stay, users):
        system.push(uid, '{"still":"here"}')
        client.message()
        client.close()
    system.tcp(system.user()[1]).close()


# ---- many ----

@check('standalone')
def connects_and_closes(system):
    """Of every kind, so many of them; nothing stays (with a sanitizer's build: nothing leaks)."""
    uid, token = system.user()
    context, hello = system.certificates.context(), memory_hello(system)
    port, rss = system.comet().tcp, []
    # A session for most, or this test is one of the client's processor.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    first = context.wrap_socket(socket.create_connection(('127.0.0.1', port), 10), server_hostname='127.0.0.1')
    session = first.session
    first.close()
    for n in range(system.connects):
        kind = n % 8
        raw = socket.create_connection(('127.0.0.1', port), 10)
        if kind == 0:
            raw.close()
        elif kind == 1:
            raw.sendall(hello[:n % len(hello)])
            raw.close()
        elif kind == 2:
            raw.sendall(hello)
            raw.close()
        elif kind == 3:
            raw.sendall(os.urandom(50))
            raw.close()
        else:
            fresh = n % 64 < 8
            client = context.wrap_socket(raw, server_hostname='127.0.0.1', session=None if fresh else session)
            if kind == 5:
                client.sendall(ic.pack(ic.OP_AUTH, token, 1))
                client.recv(100)
            elif kind == 6:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            elif kind == 7:
                client.unwrap()
            client.close()
        if n % (system.connects // 4) == 0:
            rss.append(log_of(system).rss() >> 10)
    print(f'     {system.connects} connects, kB resident: {rss}', flush=True)
    system.tcp(token).close()


# ---- RPC ----

@check('cluster')
def rpc_wants_the_right_certificate(system):
    port = system.rpc_ports['router']
    ours, folder = system.certificates, system.dir / 'stranger'
    folder.mkdir()
    stranger = harness.Certificates(folder)
    hello = b'\x93\x01\xc0\xa1t'
    with ic.Socket(port=port) as raw:  # in the clear
        raw.send_raw(struct.pack('>I', 20) + hello)
        raw.expect_close(8)

    def speak(cert, key):
        """True: an answer to the hello came."""
        context = ours.context()
        if cert:
            context.load_cert_chain(cert, key)
        with socket.create_connection(('127.0.0.1', port), 10) as raw:
            try:
                with context.wrap_socket(raw, server_hostname='imgo') as client:
                    message = bytes.fromhex('94 00 00 a5') + b'hello' + bytes.fromhex('93 01 c0 a4') + b'test'
                    client.sendall(struct.pack('>I', len(message)) + message)
                    return len(client.recv(100)) > 4
            except (ssl.SSLError, OSError):
                return False
    equal(speak(ours.cert, ours.key), True, 'with a certificate of the authority')
    equal(speak(None, None), False, 'without a certificate')
    equal(speak(stranger.cert, stranger.key), False, 'with a certificate of another authority')
    wants(system.parts['router'].text(), 'event=refused why="peer did not return a certificate"')


@check('cluster')
def every_daemon_reloads_its_rpc_certificate(system):
    certs = system.certificates
    certs.issue(certs.cert, certs.key)
    for name in ('router', 'logic', 'job', 'comet1', 'comet2'):
        part = system.parts[name]
        before = part.text().count('event=reloaded')
        part.signal(signal.SIGHUP)
        poll(lambda: part.text().count('event=reloaded') > before, f'{name} has reloaded', 10)
    system.restart('router')
    uid, token = system.user()

    def through():
        with system.tcp(token, timeout=2.0) as client:
            system.push(uid, harness.SECRET + 'again')
            return client.message()
    poll(through, 'the cluster works with the new certificates', 30, 0.3)


# ---- the programs ----

@check('standalone')
def the_cli(system):
    cli, ca = system.build / 'daemons' / 'imgo-cli', system.certificates.ca
    uid, token = system.user()

    def listen(*args):
        system.push(uid, '{"to":"the cli"}')
        done = subprocess.run([cli, 'listen', '--token', token, '--count', '1', '--timeout', '4s', *args],
                              capture_output=True, text=True, timeout=20)
        return done.returncode, done.stdout, done.stderr
    for option, port in (('--tls', system.comet().tcp), ('--wss', system.comet().ws)):
        for host in ('127.0.0.1', 'localhost'):
            equal(listen(option, f'{host}:{port}', '--ca', ca)[0], 0, f'{option} {host}')
        wants(listen(option, f'127.0.0.1:{port}')[2], 'unable to get local issuer certificate')
        wants(listen(option, f'127.0.0.1:{port}', '--ca', ca, '--name', 'other.example')[2], 'hostname mismatch')
        equal(listen(option, f'127.0.0.1:{port}', '--insecure')[0], 0, '--insecure')
        equal(listen(option, f'127.0.0.1:{port}', '--ca', '/nowhere')[0], 2, 'no such file')


@check('standalone')
def wrong_configuration(system):
    """Says what is wrong, and does not start."""
    certs = system.certificates
    listen = ['--comet.tcp=127.0.0.1:0', '--comet.websocket=127.0.0.1:0', '--comet.wss=127.0.0.1:0', '--logic.http=127.0.0.1:0',
              '--logic.store-http=127.0.0.1:0', '--admin.listen=']

    def starts(*flags):
        done = subprocess.run([system.program('imgo'), *listen, *flags], capture_output=True, text=True, timeout=20)
        return done.returncode, done.stderr
    for flags, word in ((['--tls.cert=/nowhere'], '/nowhere'), ([f'--tls.cert={certs.cert}'], 'key'),
                        ([f'--tls.cert={certs.cert}', f'--tls.key={certs.ca_key}'], 'ca.key'),
                        (['--comet.tls=127.0.0.1:0'], 'tls.cert'),
                        ([*certs.client_flags(), f'--tls.tickets={certs.cert}'], 'ticket key'),
                        ([f'--rpc.tls-ca={certs.ca}'], 'rpc.tls-cert')):
        code, said = starts(*flags)
        equal(code in (1, 2), True, f'{flags}: exit code {code}')
        wants(said, word)
    done = subprocess.run([system.program('imgo-router'), '--router.rpc=127.0.0.1:0', f'--rpc.tls-cert={certs.cert}',
                           f'--rpc.tls-key={certs.key}', '--admin.listen='], capture_output=True, text=True, timeout=20)
    wants(done.stderr, 'rpc.tls-ca')
    done = subprocess.run([system.program('imgo-router'), '--router.rpc=0.0.0.0:0', '--admin.listen='], capture_output=True,
                          text=True, timeout=20)
    wants(done.stderr, 'not a loopback address')
    done = subprocess.run([system.program('imgo-comet'), '--comet.id=1', *listen[:3], '--comet.rpc=127.0.0.1:0',
                           '--logic.peers=192.0.2.1:7170', '--admin.listen='], capture_output=True, text=True, timeout=20)
    wants(done.stderr, 'not on loopback')


def run():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('kind', choices=harness.KINDS, nargs='?', default='standalone')
    parser.add_argument('--build', default=str(harness.ROOT / 'build'))
    parser.add_argument('--only', action='append', default=[])
    parser.add_argument('--connects', type=int, default=1000)
    args = parser.parse_args()
    harness.TLS, failed = True, []
    chosen = [f for f, kinds in CHECKS if args.kind in kinds and (not args.only or any(w in f.__name__ for w in args.only))]
    options = {'log.level': 'debug'}
    with harness.make(args.kind, args.build, options=options) as system:
        system.connects = args.connects
        for function in chosen:
            began = time.monotonic()
            try:
                function(system)
                print(f'ok   {function.__name__}  {time.monotonic() - began:.1f} s', flush=True)
            except (Failure, ic.ClientError, OSError, AssertionError, ValueError) as error:
                failed.append(function.__name__)
                print(f'FAIL {function.__name__}: {error!r}', flush=True)
        if failed:
            system.show_logs()
    print(f'{len(chosen) - len(failed)} passed, {len(failed)} failed {" ".join(failed)}', flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    harness.main(run)
