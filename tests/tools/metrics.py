#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes docs/metrics.md: every metric and every event of the log.

    tests/tools/metrics.py BUILD_DIR [--check]     --check: fails when the committed file is not what comes out

The metrics are what the daemons themselves answer to /metrics, each started alone. The events are the calls of
imgo_log_event in the sources; what an event means is written in docs/events.txt, a line "module event: meaning" each, and
an event without a meaning (or a meaning without an event) is an error.
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / 'tests' / 'integration'))
import prometheus  # noqa: E402

NOWHERE = '127.0.0.1:1'
DAEMONS = {
    'imgo': ['--comet.tcp=127.0.0.1:0', '--comet.websocket=127.0.0.1:0', '--logic.http=127.0.0.1:0',
             '--logic.store-http=127.0.0.1:0', '--comet.wss=127.0.0.1:0', '--tls.cert=CERT', '--store.path=CERT.data'],
    'imgo-comet': ['--comet.id=1', '--comet.tcp=127.0.0.1:0', '--comet.websocket=127.0.0.1:0', '--comet.rpc=127.0.0.1:0',
                   f'--logic.peers={NOWHERE}', '--comet.wss=127.0.0.1:0', '--tls.cert=CERT'],
    'imgo-logic': ['--logic.rpc=127.0.0.1:0', '--logic.http=127.0.0.1:0', '--logic.store-http=127.0.0.1:0',
                   f'--kafka.brokers={NOWHERE}', f'--memcached.servers={NOWHERE}', f'--router.peers={NOWHERE}'],
    'imgo-router': ['--router.rpc=127.0.0.1:0'],
    'imgo-job': [f'--kafka.brokers={NOWHERE}', f'--memcached.servers={NOWHERE}', f'--router.peers={NOWHERE}'],
}
# In all of them: with it they have the metrics of TLS.
RPC_TLS = ['--rpc.tls-cert=CERT', '--rpc.tls-ca=CERT']
NUMBERED = {'imgo_job_lag', 'imgo_job_rebuild_left'}  # by partition, and absent as long as a job has none
OPEN_LABELS = {'partition': 'a number', 'version': 'text', 'le': None}


def make_certificate(path):
    """With its key, for this run."""
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
                    '-subj', '/CN=metrics', '-keyout', path, '-out', path.with_suffix('.crt')], check=True,
                   stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    path.write_text(path.with_suffix('.crt').read_text() + path.read_text())


def metrics_of(build, name, certificate):
    """What the daemon answers, with no peer to be had."""
    flags = [flag.replace('CERT', str(certificate)) for flag in DAEMONS[name] + RPC_TLS]
    with tempfile.TemporaryFile() as log:
        env = {k: v for k, v in os.environ.items() if not k.startswith('IMGO_')}
        daemon = subprocess.Popen([build / 'daemons' / name, '--admin.listen=127.0.0.1:0', *flags],
                                  stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        try:
            for _ in range(400):
                log.seek(0)
                found = re.search(r'event=admin .*port=(\d+)', log.read().decode())
                if found:
                    break
                if daemon.poll() is not None:
                    log.seek(0)
                    sys.exit(f'{name} ended: {log.read().decode()}')
                time.sleep(0.05)
            with urllib.request.urlopen(f'http://127.0.0.1:{found.group(1)}/metrics', timeout=10) as answer:
                return prometheus.parse(answer.read().decode())
        finally:
            daemon.send_signal(signal.SIGKILL)
            daemon.wait()


def labels_text(family, seen):
    if family.name in NUMBERED:
        seen['partition'] = {'a number'}
        return seen
    for (_, labels) in family.samples:
        for key, value in labels:
            if OPEN_LABELS.get(key, '') is not None:
                seen.setdefault(key, set()).add(OPEN_LABELS.get(key, value))
    return seen


def metrics_table(build):
    families, where, labels = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        certificate = pathlib.Path(folder) / 'cert.pem'
        make_certificate(certificate)
        answers = {name: metrics_of(build, name, certificate) for name in DAEMONS}
    for name, answer in answers.items():
        for family in answer.values():
            old = families.setdefault(family.name, family)
            if (old.type, old.help) != (family.type, family.help):
                sys.exit(f'{family.name} is not the same everywhere: {old.type} "{old.help}", {family.type} "{family.help}"')
            where.setdefault(family.name, []).append(name.replace('imgo-', ''))
            labels_text(family, labels.setdefault(family.name, {}))
    lines = ['| metric | type | in | labels | meaning |', '|---|---|---|---|---|']
    for name in sorted(families):
        shown = '; '.join(f'{key}: {", ".join(sorted(values))}' for key, values in sorted(labels[name].items()))
        help = families[name].help.replace('|', '\\|').rstrip('.')
        lines.append(f'| `{name}` | {families[name].type} | {", ".join(where[name])} | {shown} | {help} |')
    return lines


# ---- events ----

STRING = r'"((?:[^"\\]|\\.)*)"'


def calls(text):
    """The arguments of each call of imgo_log_event, as text."""
    for found in re.finditer(r'imgo_log_event\(', text):
        depth, at = 1, found.end()
        while depth and at < len(text):
            depth += {'(': 1, ')': -1}.get(text[at], 0)
            at += 1
        yield re.sub(r'\s+', ' ', text[found.end():at - 1])


def split(text):
    """The first argument, and the rest."""
    depth, at = 0, 0
    while at < len(text) and (depth or text[at] != ','):
        depth += {'(': 1, ')': -1}.get(text[at], 0)
        at += 1
    return text[:at], text[at + 1:]


def events():
    """{(module, event): (levels, keys)} of all calls whose module and event are written in them, and all strings."""
    found, strings = {}, set()
    for path in sorted([*(ROOT / 'libimgo').rglob('*.c'), *(ROOT / 'daemons').glob('*.c')]):
        text = path.read_text()
        strings.update(re.findall(STRING, text))
        for call in calls(text):
            said = re.search(r'(?:"(\w[\w-]*)"|daemon->program), ', call)
            if not said:
                continue
            event, rest = split(call[said.end():])
            keys = re.findall(r'(\w+)=', ' '.join(re.findall(STRING, rest)))
            for name in re.findall(STRING, event):
                levels, old = found.setdefault((said.group(1) or 'PROGRAM', name), (set(), []))
                levels.update(level.lower() for level in re.findall(r'IMGO_LOG_(\w+)', call))
                old.extend(key for key in keys if key not in old)
    return found, strings


def events_table():
    found, strings = events()
    lines, problems, meanings = ['| module | event | level | fields | meaning |', '|---|---|---|---|---|'], [], {}
    for line in (ROOT / 'docs' / 'events.txt').read_text().splitlines():
        key, _, meaning = line.partition(': ')
        if line and not line.startswith('#'):
            meanings[tuple(key.split(' '))] = meaning
    for module, event in found:
        if (module, event) not in meanings:
            problems.append(f'docs/events.txt does not tell what "{module} {event}" means')
    for module, event in meanings:
        if (module, event) not in found and event not in strings:
            problems.append(f'docs/events.txt tells of "{module} {event}", which there is not')
    for (module, event), meaning in sorted(meanings.items()):
        levels, keys = found.get((module, event), ((), ()))
        lines.append(f'| {module} | `{event}` | {", ".join(sorted(levels))} | {", ".join(keys)} | {meaning} |')
    if problems:
        sys.exit('\n'.join(problems))
    return lines


def check_uses(table):
    """The dashboard and the rules name only what there is."""
    known = set(re.findall(r'^\| `(\w+)` \|', '\n'.join(table), re.M))
    for name in ('grafana.json', 'alerts.yml'):
        text = (ROOT / 'docs' / name).read_text()
        used = {re.sub('_(bucket|sum|count)$', '', word) for word in re.findall(r'\b(?:imgo|process)_[a-z0-9_]+', text)}
        if used - known or len(used) < 10:
            sys.exit(f'docs/{name} names {sorted(used - known)}, which there is not')
    json.loads((ROOT / 'docs' / 'grafana.json').read_text())


HEAD = '''# Metrics and events

Generated by `tests/tools/metrics.py`: from what each daemon answers to `/metrics`, and from the sources. Every daemon
has an administrative address (`admin.listen` in the manual): `/metrics` is Prometheus's text format, `/healthz` says
whether the process is ready, and which of its peers is not (200 or 503, JSON), `/livez` that it is alive.
`imgo-cli stats` and `imgo-cli top` show the same figures. `docs/grafana.json` is a dashboard, `docs/alerts.yml` rules.

A scrape configuration for all of a cluster (the rules and the dashboard expect that job's name):

```
scrape_configs:
  - job_name: imgo
    static_configs: [{targets: ["router1:7273", "logic1:7173", "job1:7373", "comet1:8093"]}]
```

Durations are histograms, with bounds from 8 µs to 67 s. Stages of a login: `imgo_connect_seconds` greeting (accepted →
its login is here), login (→ granted; in logic: token, register), drain (→ what waited is written). Of a push:
`imgo_http_request_seconds` (HTTP, all calls), `imgo_push_seconds` lookup (where is the user?), produce (→ the bus has it),
total. In the job: `imgo_job_seconds` bus (the bus's time-stamp → fetched), append (→ in the user's log), ask; then
`imgo_carrier_call_seconds` (→ the comet has answered). In the comet: `imgo_edge_write_seconds` (the job's word → written).

## Metrics

'''
EVENTS_HEAD = '''
## Events

One line of logfmt each, on standard error; never a message's body or a token. What may happen very often is said at most
every ten seconds, with the number of `times`. A line that standard error does not take at once is dropped and counted
(`imgo_log_dropped_total`, and `dropped=` in the next line that gets through).

'''


def main():
    target = ROOT / 'docs' / 'metrics.md'
    table = metrics_table(pathlib.Path(sys.argv[1]).resolve())
    check_uses(table)
    text = HEAD + '\n'.join(table) + '\n'
    text += EVENTS_HEAD + '\n'.join(events_table()) + '\n'
    if '--check' not in sys.argv:
        target.write_text(text)
    elif target.read_text() != text:
        with tempfile.NamedTemporaryFile('w') as made:
            made.write(text)
            made.flush()
            subprocess.run(['diff', '-u', target, made.name], check=False)
        sys.exit('docs/metrics.md is stale: run tests/tools/metrics.py BUILD_DIR')


main()
