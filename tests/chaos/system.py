# SPDX-License-Identifier: MIT
"""The systems that are struck. Standalone: one process, its store on disk. Cluster: two of each daemon, memcached, and a
broker of their own, every link between two of them through a proxy that can hurt it:

    comet1-logic, comet2-logic      from that comet to both logics
    comet1-rpc, comet2-rpc          from logics and jobs to that comet
    router1, router2                from logics and jobs to that router
    logic-store, job-store          to memcached
    logic-kafka, job-kafka          to the broker (absent with the shared broker: broker=False)
"""
import os
import shutil
import signal
import subprocess

import harness
from harness import Comet, Failure, Skip, free_port
from proxy import Proxy

LEASE = 5.0            # comet.lease here
SESSION = 6.0          # kafka.session-timeout
PAIRS = (1, 2)


class Broker(harness.Process):
    """A broker of our own, as a part of a system. It has a session of its own and so outlives us by itself: a shell that
    waits for the end of its input ends it when we are gone, however we went."""

    def __init__(self, folder, listeners):
        self.folder, self.port = folder, free_port()
        super().__init__('kafka', [harness.KAFKA_SH, 'start', folder, self.port], folder / 'kafka.log', [self.port])
        self.env = {'IMGO_KAFKA_LISTENERS': ' '.join(listeners), 'PATH': os.environ['PATH'], 'HOME': os.environ['HOME']}
        self.env.update({k: v for k, v in os.environ.items() if k in ('IMGO_CACHE', 'JAVA_HOME', 'IMGO_KAFKA_VERSION')})
        watch = f'cat; {harness.KAFKA_SH} kill {folder}; rm -rf {folder}'
        self.watcher = subprocess.Popen(['sh', '-c', watch], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, start_new_session=True)

    def script(self, verb):
        return subprocess.run([harness.KAFKA_SH, verb, self.folder], stdin=subprocess.DEVNULL, capture_output=True, text=True)

    def pid(self):
        said = self.script('status').stdout.split()
        return int(said[1]) if said[0] == 'running' else None

    def start(self):
        done = subprocess.run(self.argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=self.env)
        if done.returncode == harness.SKIP:
            raise Skip(done.stderr)
        if done.returncode:
            raise Failure(done.stderr)

    def running(self):
        return self.pid() is not None

    def kill(self):
        self.script('kill')

    def stop(self, seconds=0):
        self.kill()
        self.watcher.stdin.close()
        self.watcher.wait()
        return 0, 0.0

    def signal(self, number):
        os.kill(self.pid(), number)

    def _note_end(self):
        pass


class Standalone(harness.Standalone):
    links = ()

    def __init__(self, build, options, broker):
        super().__init__(build, options, durable=True)
        self.api_ports = [self.api_port]

    def set_link(self, link, mode):
        raise Failure('a standalone server has no links')


class Cluster(harness.System):
    kind = 'cluster'
    programs = harness.Cluster.programs

    def __init__(self, build, options, broker):
        super().__init__(build, options)
        memcached = shutil.which('memcached')
        if memcached is None:
            raise Skip('memcached is not installed (Debian: apt-get install memcached)')
        self.options.setdefault('comet.lease', f'{LEASE:g}s')
        self.options.setdefault('kafka.session-timeout', f'{SESSION:g}s')
        self.links, store = {}, free_port()
        brokers = self.make_broker() if broker else dict.fromkeys(('logic', 'job'), harness.kafka_address())
        root = ['-u', 'root'] if os.getuid() == 0 else []
        self.add('memcached', [memcached, '-M', '-m', '512', '-U', '0', '-l', '127.0.0.1', '-p', store, *root], [store])
        routers = [free_port() for _ in PAIRS]
        peers = ','.join(self.link(f'router{n}', port) for n, port in zip(PAIRS, routers))
        for n, port in zip(PAIRS, routers):
            self.add(f'router{n}', [self.program('imgo-router'), f'--router.rpc=127.0.0.1:{port}', *self.flags('log')], [port])
        self.prefix = f't{os.urandom(5).hex()}'
        logics = self.add_logics(peers, brokers['logic'], store)
        for n in PAIRS:
            self.add(f'job{n}', [self.program('imgo-job'), *self.backends('job', peers, brokers['job'], store),
                                 *self.flags('job', 'log')], [])
        for n in PAIRS:
            self.add_comet(n, logics)
        self.proxy = None

    def make_broker(self):
        listeners, brokers = [], {}
        for name in ('logic', 'job'):
            port = free_port()
            brokers[name] = self.link(f'{name}-kafka', port)
            listeners.append(f'{name.upper()}:{port}:{brokers[name].partition(":")[2]}')
        self.parts['kafka'] = Broker(self.dir / 'broker', listeners)
        return brokers

    def link(self, name, target):
        """An address that leads to that port."""
        port = free_port()
        self.links[name] = [port, target]
        return f'127.0.0.1:{port}'

    def backends(self, name, routers, broker, store):
        link = f'{name}-store'
        address = f'127.0.0.1:{self.links[link][0]}' if link in self.links else self.link(link, store)
        return [f'--router.peers={routers}', f'--memcached.servers={address}', f'--kafka.brokers={broker}',
                f'--kafka.prefix={self.prefix}', '--kafka.replication=1', '--kafka.partitions=8', '--kafka.casts-partitions=4',
                *self.flags('kafka', 'store', 'memcached')]

    def add_logics(self, routers, broker, store):
        self.api_ports, rpc = [self.api_port, free_port()], []
        for n, api in zip(PAIRS, self.api_ports):
            port, other = free_port(), self.store_port if n == 1 else free_port()
            rpc.append(port)
            self.add(f'logic{n}', [self.program('imgo-logic'), f'--logic.rpc=127.0.0.1:{port}', f'--logic.http=127.0.0.1:{api}',
                                   f'--logic.store-http=127.0.0.1:{other}', *self.backends('logic', routers, broker, store),
                                   *self.flags('logic', 'api', 'auth', 'push', 'user', 'log')], [port, api])
        return rpc

    def add_comet(self, n, logics):
        comet, rpc = Comet(n, free_port(), free_port()), free_port()
        peers = ','.join(self.link(f'comet{n}-logic{m}', port) for m, port in zip(PAIRS, logics))
        self.comets.append(comet)
        self.add(f'comet{n}', [self.program('imgo-comet'), f'--comet.id={n}', *self.comet_flags(comet),
                               f'--comet.rpc=127.0.0.1:{rpc}', f'--comet.rpc-advertise={self.link(f"comet{n}-rpc", rpc)}',
                               f'--logic.peers={peers}', *self.flags('comet', 'hub', 'v1', 'log')], [comet.tcp, comet.ws, rpc])

    def start_all(self):
        self.proxy = Proxy(self.links, harness.dying_with_us)
        if 'kafka' in self.parts:
            self.parts['kafka'].start()
        for name in self.names:
            if name != 'kafka':
                self.start(name, wait=False)
        for part in self.parts.values():
            part.wait_ports()

    def set_link(self, link, mode):
        return self.proxy.set(link, mode)

    def close(self):
        self.set_link('', 'open')
        super().close()

    def _abandon(self):
        if self.closed:
            return
        for part in self.parts.values():
            if part.popen is not None and part.running():
                part.signal(signal.SIGCONT)
        super()._abandon()
        if 'kafka' in self.parts:
            self.parts['kafka'].stop()
        if self.proxy:
            self.proxy.close()


KINDS = {'standalone': Standalone, 'cluster': Cluster}
