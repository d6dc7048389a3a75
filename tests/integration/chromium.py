# SPDX-License-Identifier: MIT
"""A headless Chromium over its debugging pipe (the Chrome DevTools Protocol: JSON texts, each ended by a NUL, on file
descriptors 3 and 4 of the browser). Only what tests/integration/page.py needs.

    with Chromium() as browser:
        page = browser.open('http://127.0.0.1:7172/')
        page.run('document.title')
        page.until('document.title == "imgo"')
"""
import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time

from harness import Failure, Skip


class Chromium:
    def __init__(self, width=1080, height=860):
        program = shutil.which('chromium')
        if not program:
            raise Skip('no chromium here (Debian package chromium)')
        self.home = tempfile.mkdtemp(prefix='imgo-chromium-')
        to_browser, self.write_fd = os.pipe()
        self.read_fd, from_browser = os.pipe()

        def place():  # the pipes' ends at 3 and 4, whatever their numbers are
            a, b = os.dup(to_browser), os.dup(from_browser)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.popen = subprocess.Popen(
            [program, '--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--disable-dev-shm-usage', '--no-first-run',
             '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-proxy-server',
             f'--user-data-dir={self.home}', f'--window-size={width},{height}', '--remote-debugging-pipe', 'about:blank'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False,
            preexec_fn=place, start_new_session=True)
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.calls, self.events = b'', 0, []

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.popen.kill()
        self.popen.wait()
        os.close(self.write_fd)
        os.close(self.read_fd)
        time.sleep(0.2)  # its children see it gone
        shutil.rmtree(self.home, ignore_errors=True)

    def _receive(self, deadline):
        while b'\0' not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.read_fd], [], [], left)[0]:
                raise Failure('chromium does not answer')
            data = os.read(self.read_fd, 1 << 16)
            if not data:
                raise Failure('chromium has ended')
            self.buffer += data
        text, _, self.buffer = self.buffer.partition(b'\0')
        return json.loads(text)

    def call(self, method, session=None, seconds=60.0, **params):
        self.calls += 1
        request = {'id': self.calls, 'method': method, 'params': params}
        if session:
            request['sessionId'] = session
        os.write(self.write_fd, json.dumps(request).encode() + b'\0')
        deadline = time.monotonic() + seconds
        while True:
            message = self._receive(deadline)
            if message.get('id') != self.calls:
                self.events.append(message)
                continue
            if 'error' in message:
                raise Failure(f'{method}: {message["error"]}')
            return message['result']

    def open(self, url):
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        page = Page(self, session)
        for domain in ('Runtime', 'Log', 'Page'):
            page.call(f'{domain}.enable')
        page.call('Page.navigate', url=url)
        page.until(f'document.readyState == "complete" && location.href.startsWith({json.dumps(url)})')
        return page


class Page:
    def __init__(self, browser, session):
        self.browser, self.session = browser, session

    def call(self, method, **params):
        return self.browser.call(method, session=self.session, **params)

    def run(self, expression):
        result = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        if 'exceptionDetails' in result:
            raise Failure(f'{expression}: {result["exceptionDetails"]}')
        return result['result'].get('value')

    def until(self, expression, seconds=20.0):
        end = time.monotonic() + seconds
        while not self.run(expression):
            if time.monotonic() > end:
                raise Failure(f'not within {seconds:g} s: {expression}; the page shows: '
                              + str(self.run('document.body && document.body.innerText')))
            time.sleep(0.05)

    def complaints(self):
        """What the page threw, and what the browser has logged as an error."""
        self.run('0')
        mine = [e for e in self.browser.events if e.get('sessionId') == self.session]
        return [e['params'] for e in mine if e.get('method') == 'Runtime.exceptionThrown'
                or (e.get('method') == 'Log.entryAdded' and e['params']['entry']['level'] == 'error')]

    def screenshot(self, path):
        data = self.call('Page.captureScreenshot', format='png')['data']
        pathlib.Path(path).write_bytes(base64.b64decode(data))
