# SPDX-License-Identifier: MIT
"""goim v2's HTTP API, stdlib only, written from its description (COMPATIBILITY.md §3) and from nothing else of this tree.

    api = GoimApi(port=7172)
    api.push_mids(1000, [1, 2], b'hello')
    api.push_room(1000, 'live', '1000', b'hello')
    api.online_total()['conn_count']

A call returns the answer's data (None: there is none) or raises ApiError. Whatever is not as goim has it raises BadAnswer: no
code, no message, a code that does not go with the HTTP status, data in an error.
"""
import http.client
import json
import urllib.parse


class ApiError(Exception):
    """The API says no."""

    def __init__(self, status, code, message):
        super().__init__(f'{status} {code} {message}')
        self.status, self.code, self.message = status, code, message


class BadAnswer(Exception):
    """The server does not answer as goim does."""


class GoimApi:
    def __init__(self, host='127.0.0.1', port=7172, key=None, timeout=10.0):
        self.host, self.port, self.timeout = host, port, timeout
        self.headers = {'Authorization': f'Bearer {key}'} if key else {}

    def request(self, method, path, query=(), body=None, headers=None):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        try:
            connection.request(method, path + '?' + urllib.parse.urlencode(query, doseq=True), body,
                               {**self.headers, **(headers or {})})
            response = connection.getresponse()
            return self.judge(response.status, response.read())
        finally:
            connection.close()

    @staticmethod
    def judge(status, text):
        try:
            answer = json.loads(text)
            code, message = answer['code'], answer['message']
        except (ValueError, KeyError, TypeError) as error:
            raise BadAnswer(f'{status} {text!r}') from error
        fits = {0: status == 200, -400: 400 <= status < 500, -500: 500 <= status < 600}.get(code, False)
        if not fits or (code and ('data' in answer or not message)) or set(answer) - {'code', 'message', 'data'}:
            raise BadAnswer(f'{status} {text!r}')
        if code:
            raise ApiError(status, code, message)
        return answer.get('data')

    def push(self, what, query, body, key=None):
        data = self.request('POST', f'/goim/push/{what}', query, body, {'Idempotency-Key': key} if key else None)
        if data is not None:
            raise BadAnswer(f'data in the answer to a push: {data!r}')

    def push_keys(self, operation, keys, body):
        self.push('keys', {'operation': operation, 'keys': keys}, body)

    def push_mids(self, operation, mids, body, key=None):
        self.push('mids', {'operation': operation, 'mids': mids}, body, key)

    def push_room(self, operation, type, room, body):
        self.push('room', {'operation': operation, 'type': type, 'room': room}, body)

    def push_all(self, operation, body, speed=None):
        self.push('all', {'operation': operation, **({} if speed is None else {'speed': speed})}, body)

    def online_top(self, type, limit):
        return self.request('GET', '/goim/online/top', {'type': type, 'limit': limit})

    def online_room(self, type, rooms):
        return self.request('GET', '/goim/online/room', {'type': type, 'rooms': rooms})

    def online_total(self):
        return self.request('GET', '/goim/online/total')

    def nodes_weighted(self, platform=''):
        return self.request('GET', '/goim/nodes/weighted', {'platform': platform})

    def nodes_instances(self):
        return self.request('GET', '/goim/nodes/instances')
