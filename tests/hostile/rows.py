#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The rows that must have a test: what each is, the tests that it has elsewhere, or why it has none yet.

    rows.py            writes README.md, a table of rows and tests
    rows.py --check    fails when README.md is not that, a row has neither a test nor a reason, or a test named here is gone

Tests here are found by their names (test_ROW_…), those elsewhere are named "file: function".
"""
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent
CASES = 'integration/cases.py: '
WEBSOCKET = 'integration/websocket.py'
TLS = 'integration/tls.py: '

# row: (what, tests elsewhere, why there is none or what is still missing)
ROWS = {
    'H1': ('silent sockets, slow bytes: an absolute deadline', (), ''),
    'H2': ('memory before a login, caps for those not logged in and for one address', (), ''),
    'H3': ('lengths that lie', (), ''),
    'H4': ('frames that RFC 6455 forbids', (WEBSOCKET,), ''),
    'H5': ('UTF-8', (WEBSOCKET,), ''),
    'H6': ('close codes', (WEBSOCKET,), ''),
    'H7': ('floods of fragments and pings', (), ''),
    'H8': ('the WebSocket handshake, Origin', (WEBSOCKET,), ''),
    'H9': ('compression bombs', (), ''),
    'H10': ('guessing tokens', (), ''),
    'H11': ('token injection into memcached', (), ''),
    'H12': ('acknowledgements of what was not sent', (), 'of version 2 clients: issue 5'),
    'H13': ('floods of packets after the login', (), ''),
    'H14': ('TLS: slow, old, garbage, renegotiation, KeyUpdate',
            (TLS + 'old_versions', TLS + 'renegotiation', TLS + 'garbage', TLS + 'memory_hello', TLS + 'slow_handshakes_end',
             'unit/test_tls_shake.c', 'unit/test_hub_tls.c', 'unit/test_codec_tlshello.c'), ''),
    'H15': ('ends that hang', (), ''),
    'H16': ('hash flooding', ('unit/test_base_map.c: hashes_are_its_own',), ''),
    'H17': ("strangers at the daemons' own ports", ('fuzz/fuzz_rpc.c',), ''),
    'A1': ('request smuggling', ('unit/test_http_server.c: refuses_what_is_ambiguous',), ''),
    'A2': ('sizes', ('unit/test_http_server.c: refuses_what_is_too_large',), ''),
    'A3': ('slow requests', ('unit/test_http_ends.c',), ''),
    'A4': ('pipelining and keep-alive', ('unit/test_http_server.c: pipelines_in_order',), ''),
    'A5': ('the API key', (CASES + 'api_key',), ''),
    'A6': ('JSON', ('fuzz/fuzz_json.c', 'unit/test_codec_json.c'), ''),
    'A7': ('a list of very many users', (), ''),
    'A8': ('a push to many fails in part', ('unit/test_http_api.c: says_when_it_fails',), ''),
    'A9': ('overload', ('unit/test_http_api.c: says_when_it_is_busy',), ''),
    'O1': ('no descriptors left', ('unit/test_hub_life.c: no_descriptors',), ''),
    'L1': ('10,000 connections, ended in every way', ('unit/test_hub_life.c: churn',), ''),
    'B1': ('ghost sessions of a comet that died', (), ''),
    'B2': ('uid=-1 kills the router', (CASES + 'api_bad_uid',), ''),
    'B3': ('a number as token breaks later logins', (CASES + 'ws_number_as_token',), ''),
    'B4': ('a router restart forgets sessions and uses keys again', (), ''),
    'B5': ('server/del forgets the sessions of all servers', (CASES + 'server_del',), ''),
    'B6': ('a push that is not JSON disconnects', (CASES + 'ws_not_json',), ''),
    'B7': ('a slow reader loses messages', (), ''),
    'B8': ('silent WebSocket connections stay', (CASES + 'ws_upgrade', 'hostile/test_limits.py: test_H1_slow_bytes'), ''),
    'B9': ('multi-push stores nothing for those away', (CASES + 'pushs_many',), ''),
    'B10': ('messages are deleted when read', (CASES + 'msg_get', CASES + 'push_offline'), ''),
    'B11': ('no cursor for each device', (), 'acknowledgements of version 2 clients: issue 5'),
    'B12': ('no order for a user', (CASES + 'push_order_pipelined', CASES + 'push_order', 'integration/race.py'), ''),
    'B13': ('ok before Kafka has it', ('unit/test_http_api.c: says_when_it_fails', 'conformance/test_bus_hurt.c: hung',
                                        'integration/failures.py'), ''),
    'B14': ('job commits what it has not delivered', ('integration/failures.py',), ''),
    'B15': ('room pushes dropped unseen, `ensure` loses order', ('hostile/test_defects.py: test_B29_room_order',
                                                              'unit/test_hub_cast.c'), ''),
    'B16': ('a failed login leaves a session', ('integration/race.py',), ''),
    'B17': ('accept stops for good', ('hostile/test_limits.py: test_O1_descriptors', 'unit/test_hub_life.c: no_descriptors'), ''),
    'B18': ('a buffer is used again too early', (), ''),
    'B19': ('omitted fields keep old values', (CASES + 'ws_calls',), ''),
    'B20': ('a router error taken for "offline"', ('unit/test_registry_remote.c: one_router_down',), ''),
    'B21': ('equal messages merge', ('conformance/store_cases.c: duplicates', 'conformance/store_cases.c: ttl'), ''),
    'B22': ('a new token leaves the old one valid', (CASES + 'token_revoked',), ''),
    'B23': ('no authentication, unlimited bodies, bodies in the log',
            (CASES + 'api_key', 'hostile/test_api.py: test_A5_api_key', 'hostile/test_api.py: test_A2_sizes',
             'integration/harness.py: problems'), ''),
    'B26': ('store down: nobody can log in', ('integration/failures.py',), ''),
    'B27': ('memory at the start and for each connection', (), ''),
    'B28': ('a storm of logins is refused', (), ''),
    'B29': ('a room out of order', (CASES + 'rooms',), ''),
    'B-': ('no maximum of sessions, no way into a room', (CASES + 'sessions_replace', CASES + 'sessions_refuse',
                                                        CASES + 'room_of_token'), ''),
}
NUMBERS = ([f'H{n}' for n in range(1, 18)] + [f'A{n}' for n in range(1, 10)] +
           [f'B{n}' for n in range(1, 30) if n not in (24, 25)])
HEAD = """# Hostile clients, callers and peers

Generated by `tests/hostile/rows.py`: the rows of FAILURES.md B.4 (H) and B.5 (A), the defects of COMPATIBILITY.md §5 (B), and
what else belongs to them, with their tests against real daemons and elsewhere. `hostile.py all --only WORD` runs some of them
with their figures; meson's suite `hostile` runs all.

| row | what | tests |
|---|---|---|
"""


def here():
    """{row: [names]} of the tests in this folder."""
    found = {}
    for path in sorted(HERE.glob('test_*.py')):
        for name, number in re.findall(r'^def (test_([A-Z]\d+)_\w+)\(system\)', path.read_text(), re.M):
            found.setdefault(number, []).append(name)
    return found


def problem_of(test):
    """What is wrong with "file: function", or None."""
    path, _, name = test.partition(': ')
    if not (TESTS / path).is_file():
        return f'{test}: there is no such file'
    if name and not re.search(rf'\b{name}\(', (TESTS / path).read_text()):
        return f'{test}: there is no such test'
    return None


def problems(found):
    said = [f'{number} is missing in ROWS' for number in NUMBERS if number not in ROWS]
    said += [f'{number}: neither a test nor a reason' for number, (_, tests, why) in ROWS.items()
             if not tests and not why and number not in found]
    said += [f'{name}: no such row' for number, names in found.items() if number not in ROWS for name in names]
    return said + [p for _, tests, _ in ROWS.values() for p in map(problem_of, tests) if p]


def text(found):
    lines = []
    for number, (what, tests, why) in ROWS.items():
        cells = [f'`{name}`' for name in found.get(number, [])] + [f'`{test}`' for test in tests] + ([why] if why else [])
        lines.append(f'| {number} | {what} | {", ".join(cells)} |\n')
    return HEAD + ''.join(lines)


def main():
    found, readme = here(), HERE / 'README.md'
    said = problems(found)
    if '--check' not in sys.argv:
        readme.write_text(text(found))
    elif not readme.exists() or readme.read_text() != text(found):
        said.append('README.md is stale: run tests/hostile/rows.py')
    print('\n'.join(said) or f'{len(ROWS)} rows, {sum(map(len, found.values()))} tests here')
    return 1 if said else 0


if __name__ == '__main__':
    sys.exit(main())
