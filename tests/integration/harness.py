# SPDX-License-Identifier: MIT
"""Starts real daemons for a test, on free ports and in a temporary folder, and takes care that none is left behind.

    with harness.make('cluster', build) as system:
        uid, token = system.user()
        system.api().push(uid, 'hello')
        system.kill('job')                  # kill -9
        system.start('job')

Standalone (one process, `imgo`) and Cluster (Kafka, memcached, router, logic, job, comet1, comet2) have one interface:
comets (their ports), api_port, store_port, names, kill/stop/start/restart(name), user(), ready(). Options are the
daemons' own keys ({'user.sessions-max': 2}); each daemon is given those that it knows.

At the end every daemon is stopped by SIGTERM and must end with 0; a daemon that ended by itself, a sanitizer's report
or a message's body in a log is a failure. Processes are our children, ended by pid, and die with us (PDEATHSIG).
The Kafka broker is shared by all tests that run at the same time, with topics of their own; a keeper process stops it
a few seconds after the last of them. IMGO_TEST_KAFKA=host:port uses another one. IMGO_TEST_KEEP=1 keeps the folder.
"""
import atexit
import fcntl
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / 'clients'))
import imgo_client as ic  # noqa: E402

SKIP = 77
READY_SECONDS = 60
STOP_SECONDS = 5       # within which a daemon ends after SIGTERM
SECRET = 'b0dy-'       # bodies and tokens of the tests begin with it: no log may have it


class Failure(Exception):
    """What a test raises when the system is not as it should be."""


class Skip(Exception):
    """Something that the test needs cannot be had here."""


def poll(condition, what, seconds=20.0, pause=0.05):
    """The first true value of condition(); errors of a client count as not yet."""
    end, last = time.monotonic() + seconds, None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except ic.ClientError as error:
            last = repr(error)
        if time.monotonic() > end:
            raise Failure(f'not within {seconds:g} s: {what} (last: {last!r})')
        time.sleep(pause)


# ---- ports ----

_held_ports = []


def free_port():
    """Below the kernel's range for outgoing connections, and ours until we end: other tests look at the lock."""
    folder = pathlib.Path(tempfile.gettempdir()) / f'imgo-test-ports.{os.getuid()}'
    folder.mkdir(exist_ok=True)
    for _ in range(1000):
        port = random.SystemRandom().randrange(20000, 32000)
        lock = open(folder / str(port), 'w')
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(('127.0.0.1', port))
        except OSError:
            lock.close()
            continue
        _held_ports.append(lock)
        return port
    raise Failure('no free port')


def answers(port):
    try:
        socket.create_connection(('127.0.0.1', port), 1).close()
        return True
    except OSError:
        return False


# ---- TLS ----

TLS = False  # True: clients speak to the TLS listeners, and daemons to one another in TLS


def openssl(*args):
    done = subprocess.run(['openssl', *[str(a) for a in args]], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f'openssl {args[0]}: {done.stderr}')


class Certificates:
    """An authority, and a certificate of it for 127.0.0.1, localhost and imgo, which is client and server."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.ca, self.ca_key = self.folder / 'ca.pem', self.folder / 'ca.key'
        self.cert, self.key = self.folder / 'cert.pem', self.folder / 'key.pem'
        openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj',
                '/CN=authority', '-keyout', self.ca_key, '-out', self.ca)
        self.issue(self.cert, self.key)
        self.tickets = self.folder / 'tickets'
        self.tickets.write_text(os.urandom(80).hex() + '\n')

    def issue(self, cert, key, days=2):
        request, names = self.folder / 'request.pem', self.folder / 'names'
        names.write_text('subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:imgo\n')
        openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=imgo', '-keyout', key,
                '-out', request)
        openssl('x509', '-req', '-in', request, '-CA', self.ca, '-CAkey', self.ca_key, '-CAcreateserial', '-days', days,
                '-extfile', names, '-out', cert)

    def context(self, **kwargs):
        return ssl.create_default_context(cafile=str(self.ca), **kwargs)

    def client_flags(self):
        return [f'--tls.cert={self.cert}', f'--tls.key={self.key}']

    def rpc_flags(self):
        return [f'--rpc.tls-cert={self.cert}', f'--rpc.tls-key={self.key}', f'--rpc.tls-ca={self.ca}', '--rpc.tls-name=imgo']


# ---- processes ----

def dying_with_us(argv):
    """Of the thread that starts it, to be exact: processes are started by the main thread."""
    setpriv = shutil.which('setpriv')
    return [setpriv, '--pdeathsig', 'KILL', *argv] if setpriv else argv


class Process:
    """One daemon, over its lives. Its log goes on from one to the next."""

    def __init__(self, name, argv, log, ports, env=None):
        self.name, self.argv, self.log, self.ports, self.env = name, [str(a) for a in argv], log, ports, env or {}
        self.popen, self.expected, self.bad_ends = None, False, []

    def start(self):
        if self.running():
            raise Failure(f'{self.name} runs already')
        self._note_end()
        env = {k: v for k, v in os.environ.items() if not k.startswith('IMGO_')}
        env.update(self.env)
        self.expected = False
        with open(self.log, 'ab') as log:
            self.popen = subprocess.Popen(dying_with_us(self.argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          env=env)

    def running(self):
        return self.popen is not None and self.popen.poll() is None

    def wait_ports(self):
        def listening():
            if not self.running():
                raise Failure(f'{self.name} ended by itself: {self.popen.returncode}')
            return all(answers(port) for port in self.ports)
        poll(listening, f'{self.name} listens', READY_SECONDS)

    def _note_end(self):
        if self.popen is not None and self.popen.poll() is not None and not self.expected:
            self.bad_ends.append(self.popen.returncode)
            self.expected = True

    def kill(self):
        self._note_end()
        if self.running():
            self.expected = True
            self.popen.kill()
            self.popen.wait()

    def stop(self, seconds=STOP_SECONDS * 4):
        """SIGTERM. (exit code, seconds it took)."""
        self._note_end()
        if not self.running():
            return None, 0.0
        began, self.expected = time.monotonic(), True
        self.popen.send_signal(signal.SIGTERM)
        try:
            code = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise Failure(f'{self.name} did not end within {seconds} s of SIGTERM') from None
        return code, time.monotonic() - began

    def signal(self, number):
        self.popen.send_signal(number)

    def text(self):
        try:
            return self.log.read_text(errors='replace')
        except FileNotFoundError:
            return ''

    def rss(self):
        """Resident bytes."""
        found = re.search(r'VmRSS:\s+(\d+) kB', pathlib.Path(f'/proc/{self.popen.pid}/status').read_text())
        return int(found.group(1)) * 1024 if found else 0

    def cpu(self):
        """Seconds of processor used."""
        fields = pathlib.Path(f'/proc/{self.popen.pid}/stat').read_text().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


# ---- Kafka ----

KAFKA_SH = ROOT / 'tests' / 'tools' / 'kafka.sh'


def _kafka_start(folder):
    done = subprocess.run([KAFKA_SH, 'start', folder, '0'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        return 'port ' + (pathlib.Path(folder) / 'kafka.port').read_text().strip()
    word = 'skip' if done.returncode == SKIP else 'fail'
    return f'{word} ' + ' '.join(done.stderr.split())


def _kafka_keeper(base):
    """A process of its own: says the port, waits for the end of its input, and stops the broker when it is the last."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    base = pathlib.Path(base)
    base.mkdir(exist_ok=True)
    users = open(base / 'users', 'w')
    with open(base / 'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        said = _kafka_start(base / 'broker')
        if said.startswith('fail'):  # what an earlier run left may be broken
            _kafka_end(base)
            said = _kafka_start(base / 'broker')
    print(said, flush=True)
    sys.stdin.read()
    time.sleep(3)
    with open(base / 'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_UN)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        _kafka_end(base)


def _kafka_end(base):
    subprocess.run([KAFKA_SH, 'kill', base / 'broker'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    shutil.rmtree(base / 'broker', ignore_errors=True)


_kafka = None


def kafka_address():
    """host:port of the shared broker; starts it when need be."""
    global _kafka
    if os.environ.get('IMGO_TEST_KAFKA'):
        return os.environ['IMGO_TEST_KAFKA']
    if _kafka is None:
        base = pathlib.Path(tempfile.gettempdir()) / f'imgo-test-kafka.{os.getuid()}'
        keeper = subprocess.Popen([sys.executable, __file__, '_kafka', base], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                  start_new_session=True)
        word, _, rest = keeper.stdout.readline().strip().partition(' ')
        if word == 'skip':
            raise Skip(rest)
        if word != 'port':
            raise Failure(f'Kafka does not start: {rest}')
        _kafka = (f'127.0.0.1:{rest}', keeper)
    return _kafka[0]


# ---- systems ----

class Comet:
    def __init__(self, id, tcp, ws):
        self.id, self.tcp, self.ws = id, tcp, ws


class System:
    kind = None
    programs = ()

    def __init__(self, build, options=None, env=None):
        self.build, self.options, self.env = pathlib.Path(build).resolve(), dict(options or {}), dict(env or {})
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f'imgo-{self.kind}-'))
        self.parts, self.comets, self.closed, self._api = {}, [], False, None
        self.admins = {}  # name of a daemon: port of its administrative server
        self.next_uid = random.SystemRandom().randrange(1 << 20, 1 << 40) << 12
        self.api_port, self.store_port = free_port(), free_port()
        self.certificates = Certificates(self.dir) if TLS else None
        ic.Client.context = self.certificates.context() if TLS else None
        atexit.register(self._abandon)

    # what the subclasses add
    def flags(self, *sections):
        return [f'--{k}={v}' for k, v in self.options.items() if k.split('.')[0] in sections or k in sections]

    def comet_flags(self, comet):
        """Where a comet listens for clients."""
        if not TLS:
            return [f'--comet.tcp=127.0.0.1:{comet.tcp}', f'--comet.websocket=127.0.0.1:{comet.ws}']
        return ['--comet.tcp=127.0.0.1:0', '--comet.websocket=127.0.0.1:0', f'--comet.tls=127.0.0.1:{comet.tcp}',
                f'--comet.wss=127.0.0.1:{comet.ws}', *self.certificates.client_flags(),
                f'--tls.tickets={self.certificates.tickets}', *self.flags('tls')]

    def program(self, name):
        path = self.build / 'daemons' / name
        if not path.exists():
            raise Failure(f'{path} is not built')
        return path

    def add(self, name, argv, ports, env=False):
        if str(argv[0]).rpartition('/')[2].startswith('imgo'):
            self.admins[name] = free_port()
            argv = [*argv, f'--admin.listen=127.0.0.1:{self.admins[name]}']
        self.parts[name] = Process(name, argv, self.dir / f'{name}.log', ports, self.env if env else None)

    # life
    def __enter__(self):
        try:
            self.start_all()
            self.ready()
        except BaseException:
            self.show_logs()
            self._abandon()
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.show_logs()
            self._abandon()
        else:
            self.close()

    def start_all(self):
        for name in self.names:
            self.start(name, wait=False)
        for part in self.parts.values():
            part.wait_ports()

    @property
    def names(self):
        return list(self.parts)

    def start(self, name, wait=True):
        self.parts[name].start()
        if wait:
            self.parts[name].wait_ports()

    def kill(self, name):
        self.parts[name].kill()

    def stop(self, name):
        return self.parts[name].stop()

    def restart(self, name, down=0.0):
        self.kill(name)
        time.sleep(down)
        self.start(name)

    def close(self):
        """SIGTERM to all that runs, and looks at how they ended and what they said."""
        problems = []
        for name in reversed(self.names):
            try:
                code, seconds = self.parts[name].stop()
                if code not in (None, 0):
                    problems.append(f'{name} ended with {code} on SIGTERM')
                elif seconds > STOP_SECONDS + 1:
                    problems.append(f'{name} took {seconds:.1f} s to end')
            except Failure as failure:
                problems.append(str(failure))
        problems += self.problems()
        if problems:
            self.show_logs()
        self._abandon()
        if problems:
            raise Failure('; '.join(problems))

    def problems(self):
        found = []
        for name, part in self.parts.items():
            text = part.text()
            part._note_end()
            if part.bad_ends:
                found.append(f'{name} ended by itself: {part.bad_ends}')
            if re.search(r'AddressSanitizer|LeakSanitizer|runtime error:|ThreadSanitizer', text):
                found.append(f'a sanitizer complains in the log of {name}')
            if SECRET in text:
                found.append(f'the log of {name} shows a body or a token')
        return found

    def _abandon(self):
        if self.closed:
            return
        self.closed = True
        if self._api:
            self._api.close()
        for part in self.parts.values():
            part.kill()
        if os.environ.get('IMGO_TEST_KEEP'):
            print(f'kept: {self.dir}', flush=True)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def show_logs(self, lines=40):
        for name, part in self.parts.items():
            text = part.text()
            shown = text.splitlines()
            at = re.search(r'ERROR: |runtime error:', text)
            print(f'---- log of {name}: the last of {len(shown)} lines', file=sys.stderr)
            print('\n'.join(line[:400] for line in shown[-lines:]), file=sys.stderr)
            if at:
                print(f'---- and from the first report on\n{text[at.start() - 200:at.start() + 6000]}', file=sys.stderr)
        sys.stderr.flush()

    # use
    def api(self):
        """One kept-alive connection."""
        if self._api is None:
            self._api = ic.Api(port=self.api_port, timeout=30.0, key=self.options.get('api.key'))
        return self._api

    def uid(self):
        self.next_uid += 1
        return self.next_uid

    def token(self, uid, token=None, expire=3600, **more):
        token = token or f'{SECRET}t{os.urandom(6).hex()}'
        answer = self.api().token(uid, token, expire, **more)
        if not answer.ok:
            raise Failure(f'token/new: {answer}')
        return token

    def user(self, **more):
        """(uid, token) of nobody yet."""
        uid = self.uid()
        return uid, self.token(uid, **more)

    def comet(self, n=0):
        return self.comets[n % len(self.comets)]

    def tcp(self, token=None, comet=0, timeout=20.0, **kwargs):
        client = ic.TcpClient(port=self.comet(comet).tcp, timeout=timeout, **kwargs)
        return self._login(client, token)

    def ws(self, token=None, comet=0, timeout=20.0, **kwargs):
        client = ic.WsClient(port=self.comet(comet).ws, timeout=timeout, **kwargs)
        return self._login(client, token)

    @staticmethod
    def _login(client, token):
        if token is not None:
            try:
                client.login(token)
            except BaseException:
                client.close()
                raise
        return client

    def push(self, uid, body, **more):
        answer = self.api().push(uid, body, **more)
        if not answer.ok:
            raise Failure(f'push: {answer}')

    def waiting(self, uid, token):
        """The bodies in the user's log."""
        answer = self.api().msg_get(uid, 0, token)
        if answer.status != 200 or answer.ret != 0:
            raise ic.ClientError(f'msg/get: {answer}')
        return [body for _, body in ic.decode_msgs(answer)]

    def ready(self, seconds=READY_SECONDS):
        """Until users of every partition can log in at every comet and be pushed to."""
        users = {}

        def all_known():
            while len(users) < 48:
                uid = self.uid()
                token = f'{SECRET}p{os.urandom(6).hex()}'
                if not self.api().token(uid, token).ok or not self.api().push(uid, 'ready?').ok:
                    return False
                users[uid] = token
            return True

        poll(all_known, 'tokens and pushes are accepted', seconds)
        for uid, token in users.items():
            poll(lambda: self.waiting(uid, token), 'messages are kept', seconds)
        for n in range(len(self.comets)):
            uid, token = self.user()

            def delivered():
                with self.tcp(token, n, timeout=2.0) as client:
                    self.push(uid, 'ready!')
                    return client.message().body == b'ready!'
            poll(delivered, f'comet {n + 1} delivers', seconds, 0.2)


class Standalone(System):
    kind, programs = 'standalone', ('imgo',)

    def __init__(self, build, options=None, env=None, durable=False):
        super().__init__(build, options, env)
        comet = Comet(1, free_port(), free_port())
        self.comets = [comet]
        argv = [self.program('imgo'), *self.comet_flags(comet),
                f'--logic.http=127.0.0.1:{self.api_port}', f'--logic.store-http=127.0.0.1:{self.store_port}']
        if durable:
            (self.dir / 'store').mkdir()
            argv.append(f'--store.path={self.dir / "store"}')
        argv += self.flags('log', 'stop', 'comet', 'hub', 'v1', 'api', 'auth', 'push', 'user', 'store', 'bus', 'room', 'tls')
        self.add('imgo', argv, [comet.tcp, comet.ws, self.api_port, self.store_port], env=True)


class Cluster(System):
    kind, programs = 'cluster', ('imgo-comet', 'imgo-logic', 'imgo-router', 'imgo-job')

    def __init__(self, build, options=None, env=None, durable=False, comets=2):
        super().__init__(build, options, env)
        memcached = shutil.which('memcached')
        if memcached is None:
            raise Skip('memcached is not installed (Debian: apt-get install memcached)')
        for name in self.programs:
            self.program(name)
        self.options.setdefault('kafka.partitions', 8)
        self.options.setdefault('kafka.casts-partitions', 4)
        store, router, logic = free_port(), free_port(), free_port()
        self.rpc_ports = {'router': router, 'logic': logic}
        kafka = [f'--kafka.brokers={kafka_address()}', f'--kafka.prefix=t{os.urandom(5).hex()}', '--kafka.replication=1']
        shared = self.flags('log', 'stop', 'rpc') + (self.certificates.rpc_flags() if TLS else [])
        both = [f'--router.peers=127.0.0.1:{router}', f'--memcached.servers=127.0.0.1:{store}', *kafka,
                *self.flags('kafka', 'store', 'memcached', 'router.peers', 'router.timeout'), *shared]
        root = ['-u', 'root'] if os.getuid() == 0 else []
        self.add('memcached', [memcached, '-M', '-m', '512', '-U', '0', '-l', '127.0.0.1', '-p', store, *root], [store])
        self.add('router', [self.program('imgo-router'), f'--router.rpc=127.0.0.1:{router}', *shared], [router], True)
        self.add('logic', [self.program('imgo-logic'), f'--logic.rpc=127.0.0.1:{logic}',
                           f'--logic.http=127.0.0.1:{self.api_port}', f'--logic.store-http=127.0.0.1:{self.store_port}',
                           *both, *self.flags('logic', 'api', 'auth', 'push', 'user')],
                 [logic, self.api_port, self.store_port], True)
        self.add('job', [self.program('imgo-job'), *both, *self.flags('job', 'room')], [], True)
        for n in range(1, comets + 1):
            comet, rpc = Comet(n, free_port(), free_port()), free_port()
            self.comets.append(comet)
            self.add(f'comet{n}', [self.program('imgo-comet'), f'--comet.id={n}', *self.comet_flags(comet),
                                   f'--comet.rpc=127.0.0.1:{rpc}',
                                   f'--logic.peers=127.0.0.1:{logic}', *shared, *self.flags('comet', 'hub', 'v1')],
                     [comet.tcp, comet.ws, rpc], True)


KINDS = {'standalone': Standalone, 'cluster': Cluster}


def make(kind, build, options=None, **more):
    return KINDS[kind](build, options, **more)


def has_failpoints(build):
    return any(b'IMGO_FAILPOINT' in path.read_bytes() for path in pathlib.Path(build).glob('libimgo/libimgo.so*')
               if path.is_file())


def main(run):
    """Runs run(); a Skip is exit code 77 and says so loudly, SIGTERM ends in order."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        code = run()
    except Skip as skip:
        print(f'SKIPPED: {skip}', flush=True)
        code = SKIP
    except (Failure, ic.ClientError, AssertionError) as error:
        import traceback
        traceback.print_exc()
        print(f'FAILED: {error}', flush=True)
        code = 1
    sys.exit(code)


if __name__ == '__main__' and len(sys.argv) == 3 and sys.argv[1] == '_kafka':
    _kafka_keeper(sys.argv[2])
