"""Debian's chromium, headless, for pages of this machine: opens a page at a width, runs expressions in
it, and keeps a screenshot.

    with Browser() as browser:
        page = browser.open("http://127.0.0.1:9464/status", width=390)
        page.evaluate("document.title")
        page.screenshot(path)

Speaks the DevTools protocol over two pipes, so no port is open. The page's own policy of scripts
does not concern it."""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

from kafka_broker import dying_with_us

WAIT_S = 180
HEIGHT = 900
# Elements that are wider inside than they show, each as a text. Inline elements have no width of their own.
OVERFLOWING = """[...document.querySelectorAll('html, body, body *')]
    .filter(each => getComputedStyle(each).display !== 'inline' && each.scrollWidth > each.clientWidth)
    .map(each => `${each.tagName}.${each.className}: ${each.scrollWidth} > ${each.clientWidth}: ` +
                 each.textContent.slice(0, 60))"""
# Elements that show outside of the window.
OUTSIDE = """[...document.querySelectorAll('body *')]
    .filter(each => each.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
    .map(each => `${each.tagName}.${each.className}: ${each.textContent.slice(0, 60)}`)"""

# Texts whose contrast against what is behind them is below 4.5 (WCAG 2.1, 1.4.3), each with its ratio.
FAINT = """(() => {
    const parts = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = colour => parts(colour).slice(0, 3).map(each => each / 255)
        .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
        .reduce((sum, each, at) => sum + each * [0.2126, 0.7152, 0.0722][at], 0);
    const behind = each => {
        for (; each; each = each.parentElement) {
            const colour = getComputedStyle(each).backgroundColor;
            if (parts(colour)[3] !== 0) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const ratio = each => {
        const [low, high] = [light(getComputedStyle(each).color), light(behind(each))].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
    return [...document.querySelectorAll('body *')]
        .filter(each => [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()))
        .filter(each => ratio(each) < 4.5)
        .map(each => `${ratio(each).toFixed(2)}: ${each.textContent.slice(0, 60)}`);
})()"""


def find():
    """The program's path; None without one."""
    return shutil.which("chromium")


class Browser:
    def __enter__(self):
        self._directory = tempfile.mkdtemp(prefix="presignd-browser-")
        read, self._to = os.pipe()
        self._from, write = os.pipe()
        # As root chromium has no sandbox of its own; it sees pages of this machine only.
        command = [*dying_with_us("KILL"), "bash", "-c", f'exec "$@" 3<&{read} 4>&{write}', "bash", find(),
                   "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars",
                   "--no-first-run", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                   f"--user-data-dir={self._directory}"]
        self._process = subprocess.Popen(command, pass_fds=(read, write), stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(read)
        os.close(write)
        self._bytes, self._number, self._events = b"", 0, []
        return self

    def __exit__(self, *_):
        os.close(self._to)
        os.close(self._from)
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def open(self, url, width, dark=False):
        return Page(self, url, width, dark)

    def call(self, method, session=None, **params):
        """The command's result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._await(lambda each: each.get("id") == self._number, method)

    def event(self, method, session):
        """Waits for the event, also one that came before."""
        def fits(each):
            return each.get("method") == method and each.get("sessionId") == session
        for each in self._events:
            if fits(each):
                self._events.remove(each)
                return each["params"]
        return self._await(fits, method)

    def _await(self, fits, what):
        deadline = time.monotonic() + WAIT_S
        while True:
            while b"\0" in self._bytes:
                text, self._bytes = self._bytes.split(b"\0", 1)
                message = json.loads(text)
                if fits(message):
                    assert "error" not in message, f"{what}: {message['error']}"
                    return message.get("result", message.get("params"))
                if "method" in message:
                    self._events.append(message)
            ready, _, _ = select.select([self._from], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"chromium: no answer to {what} in {WAIT_S} s"
            more = os.read(self._from, 1 << 20)
            assert more, f"chromium ended at {what}"
            self._bytes += more


class Page:
    def __init__(self, browser, url, width, dark):
        self._browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=HEIGHT, deviceScaleFactor=1,
                  mobile=width < 600)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Page.navigate", url=url)
        browser.event("Page.loadEventFired", self._session)

    def call(self, method, **params):
        return self._browser.call(method, session=self._session, **params)

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, path, full=True):
        """`full`: the whole page, not only the window."""
        path.parent.mkdir(parents=True, exist_ok=True)
        image = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        path.write_bytes(base64.b64decode(image["data"]))
