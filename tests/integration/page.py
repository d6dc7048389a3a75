#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The page that logic serves (examples/web), used in a real browser as a person would use it.

    page.py standalone|cluster [--build DIR] [--screenshot FILE]
"""
import argparse
import json
import re
import sys
import urllib.error
import urllib.request

import harness
from chromium import Chromium
from harness import Failure, poll


def address(system):
    """What logic prints."""
    name = 'imgo' if system.kind == 'standalone' else 'logic'
    found = poll(lambda: re.search(r'event=page url=(\S+)', system.parts[name].text()), 'the address in the log')
    return found.group(1)


def fill(page, **values):
    for name, value in values.items():
        page.run(f'document.getElementById({json.dumps(name)}).value = {json.dumps(str(value))}')


def submit(page, form):
    page.run(f'document.querySelector("#{form} button").click()')


def choose(page, to):
    page.run(f'document.querySelector("[name=to][value={to}]").click()')


def shows(page, text, count):
    page.until(f'document.getElementById("messages").innerText.includes({json.dumps(text)})')
    page.until(f'document.getElementById("count").textContent == {count}')


def push(page, to, message, target=None):
    choose(page, to)
    if target is not None:
        fill(page, target=target)
    fill(page, message=message)
    page.run('document.getElementById("answer").textContent = ""')
    submit(page, 'push-form')
    page.until('document.getElementById("answer").textContent != ""')


def use(system, page):
    uid = system.uid()
    state = 'document.getElementById("status").dataset.state'

    fill(page, token='no such token')
    submit(page, 'login-form')
    page.until(f'{state} == "failed"')

    fill(page, uid=uid)
    submit(page, 'token-form')
    page.until(f'{state} == "open"')

    push(page, 'user', '{"hello": "world"}', uid)
    shows(page, '{"hello":"world"}', 1)
    push(page, 'user', 'not JSON, with "quotes"', uid)
    shows(page, 'not JSON, with "quotes"', 2)
    system.api().push(uid, '"from outside"')
    shows(page, 'from outside', 3)

    fill(page, room='4711')
    submit(page, 'room-form')
    page.until('document.getElementById("room-now").textContent == "in room 4711"')
    poll(lambda: {'RoomId': 4711, 'Count': 1} in system.api().count('room').json['data'], 'the room is counted')
    push(page, 'room', '"to the room"', 4711)
    shows(page, 'to the room', 4)
    push(page, 'all', '"to everybody"')
    shows(page, 'to everybody', 5)

    page.run('document.getElementById("leave").click()')
    page.until('document.getElementById("room-now").textContent == "in no room"')
    push(page, 'room', '"nobody is here"', 4711)

    submit(page, 'login-form')  # away
    page.until(f'{state} == "closed"')
    push(page, 'user', '"it waited"', uid)
    submit(page, 'login-form')  # and back
    shows(page, 'it waited', 6)

    push(page, 'user', 'x', 'nobody')  # not a number: the server says what is wrong
    page.until('document.getElementById("answer").classList.contains("bad")')


def picture(page, path):
    """What the README shows."""
    fill(page, uid=1001, target=1001, message='{"hello": "world"}')
    page.run('document.getElementById("answer").textContent = ""')
    page.screenshot(path)


def comes_back(system, page):
    """The comet dies and comes again; the page finds it by itself."""
    if system.kind == 'standalone':
        return  # its tokens are in memory here: nothing to come back to
    port = int(page.run('new URL(document.getElementById("comet").value).port'))
    name = next(f'comet{comet.id}' for comet in system.comets if comet.ws == port)
    system.kill(name)
    page.until('document.getElementById("status").dataset.state == "waiting"')
    system.start(name)
    page.until('document.getElementById("status").dataset.state == "open"', 30)


def only_here(url):
    """Other sites' pages may not call; what is not there is not served."""
    def status(path, **headers):
        request = urllib.request.Request(url.rstrip('/') + path, headers=headers)
        try:
            return urllib.request.urlopen(request, timeout=10).status
        except urllib.error.HTTPError as error:
            return error.code
    expected = {('/', None): 200, ('/page.js', None): 200, ('/page.css', None): 200, ('/index.html', None): 404,
                ('/../daemons/page.c', None): 404, ('/1/count?type=server', 'http://evil.example'): 403,
                ('/1/count?type=server', 'http://127.0.0.1.evil.example'): 403, ('/1/count?type=server', 'null'): 403,
                ('/1/count?type=server', 'http://localhost:3000'): 200, ('/1/count?type=server', 'http://[::1]:1'): 200,
                ('/1/count?type=server', url.rstrip('/')): 200}
    for (path, origin), want in expected.items():
        got = status(path, **({'Origin': origin} if origin else {}))
        if got != want:
            raise Failure(f'{path} with Origin {origin}: {got}, not {want}')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('kind', choices=['standalone', 'cluster'])
    parser.add_argument('--build', default='build')
    parser.add_argument('--screenshot')
    args = parser.parse_args()
    with Chromium() as browser, harness.make(args.kind, args.build) as system:
        url = address(system)
        only_here(url)
        page = browser.open(url)
        page.until('document.getElementById("comet").value != ""')
        use(system, page)
        if args.screenshot:
            picture(page, args.screenshot)
        # The one push that is refused (400) is logged by the browser as an error too.
        complaints = [c for c in page.complaints() if 'status of 400' not in json.dumps(c)]
        comes_back(system, page)
        if complaints:
            raise Failure(f'the browser complains: {complaints}')
    print(f'page {args.kind}: passed')


if __name__ == '__main__':
    try:
        main()
    except harness.Skip as skip:
        print(f'SKIPPED: {skip}')
        sys.exit(harness.SKIP)
