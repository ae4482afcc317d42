"""What people see of a daemon. The status page in a browser, at the widths of a desk and of a phone: on a good day, with every event
held by a 401, with many merchants and partitions, after a refused reload. Nothing overflows, and the band
on top says what needs somebody. The screenshots stay in build/screenshots.

`presignctl status` on a terminal (tmux): its width, `--watch` with several instances and a resize, and
without a terminal."""

import json
import os
import shutil
import signal
import subprocess
import unittest

import browser as browsers
from harness import BUILD, World, event, http_get, wait_until
from kafka_broker import Cluster

WIDTHS = (1280, 390)
BETWEEN = (320, 768, 1000)
SCREENSHOTS = BUILD.parent / "screenshots"
MCHID = "1900007291"
MANY = [str(1900200000 + n) for n in range(140)]
# Figures of the tiles that take more than one line.
BROKEN = """[...document.querySelectorAll('.tiles b')].filter(each =>
    each.getBoundingClientRect().height > 1.5 * parseFloat(getComputedStyle(each).fontSize))
    .map(each => each.textContent)"""
BAND = "[...document.querySelectorAll('#attention li')].map(each => each.innerText)"


def setUpModule():
    global kafka, browser
    if browsers.find() is None and not os.environ.get("PRESIGND_REQUIRE_SUITES"):
        raise unittest.SkipTest("NO CHROMIUM: the status page is not looked at in a browser (apt-get install chromium)")
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)
    browser = unittest.enterModuleContext(browsers.Browser())


class Look(unittest.TestCase):
    """Each test is one daemon."""

    def start(self, faults=(), merchants=(), sets=(), **world):
        self.world = self.enterContext(World(kafka=kafka, **world))
        self.world.start_sandbox(faults, ["--fault-by-code"], merchants)
        self.daemon = self.world.start_daemon(sets=["retry.base_delay_ms=200", *sets])

    def status(self):
        return json.loads(http_get(self.daemon.admin + "/status.json")[1])

    def look(self, name):
        """Opens the page at each width; returns the rows of the band, which do not depend on it, each with
        what is wrong, what to do first, and the runbook."""
        bands = []
        for width in WIDTHS:
            for dark in (False, True):
                page = browser.open(self.daemon.admin + "/status", width, dark)
                page.screenshot(SCREENSHOTS / f"{name}-{width}{'-dark' if dark else ''}.png")
                bands.append([row.split(", since")[0] for row in page.evaluate(BAND)])
                with self.subTest(name, width=width, dark=dark):
                    self.assert_legible(page)
        for width in BETWEEN:
            with self.subTest(name, width=width):
                self.assert_legible(browser.open(self.daemon.admin + "/status", width))
        self.assertEqual(bands[1:], bands[:1] * (len(bands) - 1))
        return bands[0]

    def assert_legible(self, page):
        """Folded and unfolded, nothing is cut, and all text stands out from what is behind it."""
        for unfold in ("0", "document.querySelectorAll('details').forEach(each => each.open = true)"):
            page.evaluate(unfold)
            self.assertEqual(page.evaluate(browsers.OVERFLOWING)[:5], [])
            self.assertEqual(page.evaluate(browsers.OUTSIDE)[:5], [])
        self.assertEqual(page.evaluate(browsers.FAINT)[:5], [])
        for figure in ("28 min 39 s", "59 min 59 s", "365 d 23 h", "1234567890"):
            page.evaluate(f"document.querySelectorAll('.tiles b').forEach(each => each.textContent = '{figure}')")
            self.assertEqual(page.evaluate(BROKEN), [], figure)

    def folded(self, section):
        page = browser.open(self.daemon.admin + "/status", WIDTHS[0])
        return [page.evaluate(f"document.querySelectorAll('#{section} {rows}').length")
                for rows in ("> table tbody tr", "details tbody tr")]

    def test_good_day_then_a_refused_reload(self):
        self.start()
        self.world.wait_for_outcomes(self.world.produce(event(mchid=MCHID) for _ in range(50)))
        self.assertEqual(self.look("good"), [])
        page = browser.open(self.daemon.admin + "/", WIDTHS[0])
        self.assertEqual(page.evaluate("[location.pathname, document.title, document.scripts.length]"),
                         ["/status", "presignd-1: presignd", 0])
        self.assertEqual(page.evaluate("document.querySelector('.badge').className"), "badge good")
        path = self.world.directory / "presignd-1.conf"
        path.write_text(path.read_text() + "\n[<script>]\nkey = 1\n[daemon]\nmax_in_flight = much\n")
        self.daemon.signal(signal.SIGHUP)
        wait_until(lambda: self.status()["reload"].get("applied") is False, "a reload refused")
        band = self.look("reload")
        self.assertEqual(len(band), 1)
        for word in ("PresigndReloadFailed", "presignctl check"):
            self.assertIn(word, band[0])
        page = browser.open(self.daemon.admin + "/status", WIDTHS[0])
        mistakes = page.evaluate("document.querySelector('#reload_errors').innerText")
        for word in ("unknown section [<script>]", "max_in_flight"):
            self.assertIn(word, mistakes)

    def test_every_event_held_by_a_401(self):
        self.start(["401=1"], sets=["retry.hold_unauthorized_ms=3600000"])
        self.world.produce(event(mchid=MCHID) for _ in range(50))
        wait_until(lambda: self.status()["work"]["held_merchants"] == 50, "all events held")
        band = self.look("held")
        self.assertEqual(len(band), 1)
        page = browser.open(self.daemon.admin + "/status", WIDTHS[1])
        self.assertEqual(page.evaluate("[document.title, document.querySelector('.badge').className]"),
                         ["(1) presignd-1: presignd", "badge warn"])
        self.assertLess(page.evaluate("document.querySelector('#attention').getBoundingClientRect().bottom"),
                        browsers.HEIGHT / 2)
        for word in ("PresigndMerchantHeld", MCHID, "401", "50 events are held", "presignctl check --online"):
            self.assertIn(word, band[0])

    def test_many_merchants_and_partitions(self):
        self.start(merchants=MANY, partitions=4, requests_partitions=200,
                   sets=[f"daemon.instance=presignd-{'x' * 55}", "retry.hold_unauthorized_ms=3600000"])
        # All are answered before the first 401: it then concerns the merchant, not only the event.
        self.world.wait_for_outcomes(self.world.produce(event(mchid=mchid) for _ in range(10) for mchid in MANY))
        self.world.produce(event(out_contract_code=f"F401x99h{mchid}", mchid=mchid) for mchid in MANY[::20])
        wait_until(lambda: self.status()["work"]["held_merchants"] == 7, "seven merchants held")
        band = self.look("many")
        for word in ("PresigndMerchantHeld", f"{MANY[0]}, {MANY[20]}, {MANY[40]} and 4 more", "7 events are held"):
            self.assertIn(word, band[0])
        self.assertEqual(self.folded("partitions"), [0, 200])
        self.assertEqual(self.folded("merchants"), [7, 133])
        page = browser.open(self.daemon.admin + "/status?all=1", WIDTHS[0])
        self.assertEqual(page.evaluate("[document.querySelectorAll('details, meta[http-equiv=refresh]').length, "
                                       "document.querySelectorAll('#partitions tbody tr').length]"), [0, 200])


class Terminal:
    """A command in a terminal of that size, by a tmux of its own."""

    count = 0

    def __init__(self, command, columns, rows):
        Terminal.count += 1  # a server that ends may still hold its socket
        self._socket = f"presignd-test-{os.getpid()}-{self.count}"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows),
                  f"{command}; echo ended with $?; exec sleep 100000")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tmux("kill-server")

    def tmux(self, *arguments):
        done = subprocess.run(["tmux", "-L", self._socket, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"tmux {arguments}: {done.stderr}"
        return done.stdout

    def lines(self):
        return self.tmux("capture-pane", "-p").rstrip("\n").split("\n")

    def wait_for(self, *words):
        """Until the screen shows all of them; its lines."""
        def shown():
            lines = self.lines()
            return lines if all(word in "\n".join(lines) for word in words) else None
        return wait_until(shown, lambda: f"{words} on the terminal:\n" + "\n".join(self.lines()))


class OnTheTerminal(unittest.TestCase):
    def setUp(self):
        if shutil.which("tmux") is None and not os.environ.get("PRESIGND_REQUIRE_SUITES"):
            self.skipTest("NO TMUX: presignctl status is not looked at in a terminal (apt-get install tmux)")
        self.world = self.enterContext(World(kafka=kafka))
        self.world.start_sandbox()
        sets = ["retry.base_delay_ms=200", "retry.hold_unauthorized_ms=3600000"]
        self.daemons = [self.world.start_daemon(name, sets=sets) for name in ("presignd-a", "presignd-b")]
        self.admins = [daemon.admin.removeprefix("http://") for daemon in self.daemons]
        self.ctl = self.world.build / "presignctl"

    def watch(self, *more):
        return [str(self.ctl), "status", "--watch", *more,
                *(word for admin in [*self.admins, "127.0.0.1:9"] for word in ("--admin", admin))]

    def hold_all(self):
        self.world.start_sandbox(["401=1"])
        self.world.produce(event(mchid=MCHID) for _ in range(50))

    def assert_fits(self, lines, columns, rows):
        """No line was broken: each one is narrower than the terminal, and the first one is there."""
        self.assertLessEqual(len(lines), rows)
        self.assertLess(max(map(len, lines)), columns, lines)
        self.assertIn("presignctl status --watch", lines[0])

    def test_watch(self):
        with Terminal(" ".join(self.watch("--timeout-ms", "3000")), 80, 24) as terminal:
            lines = terminal.wait_for("presignd-a", "presignd-b", "127.0.0.1:9: ", "Nothing.", "/s")
            self.assert_fits(lines, 80, 24)
            self.hold_all()
            lines = terminal.wait_for("critical", "First: check serial_no", "PresigndMerchantHeld")
            self.assert_fits(lines, 80, 24)
            held = [line.split() for line in lines if line.split()[:2] == [MCHID, "held"]]
            self.assertEqual(len(held), 1, lines)
            terminal.tmux("resize-window", "-x", "64", "-y", "12")
            narrow = wait_until(lambda: (lines := terminal.lines()) and max(map(len, lines)) < 64 and lines,
                                "the terminal drawn again")
            self.assert_fits(narrow, 64, 12)
            self.daemons[0].terminate()
            terminal.wait_for(f"{self.admins[0]}: ")
            self.daemons[1].suspend()
            terminal.wait_for(f"{self.admins[1]}: Timeout")
            self.daemons[1].resume()
            terminal.wait_for("presignd-b")
            terminal.tmux("send-keys", "C-c")
            after = terminal.wait_for("ended with 0")
            self.assertNotIn("Needs you", "\n".join(after))  # the terminal is as it was before

    def test_once(self):
        self.hold_all()
        wait_until(lambda: any(json.loads(http_get(each.admin + "/status.json")[1])["attention"]
                               for each in self.daemons), "a merchant held")
        for admin in self.admins:
            with Terminal(f"{self.ctl} status --admin {admin}", 80, 100) as terminal:
                lines = terminal.wait_for("Needs you", "Keys that verify answers", "ended with 0")
                self.assertLessEqual(max(map(len, lines)), 80)
                self.assertIn("Needs you", lines[:4])

    def read(self, *more):
        """Some lines of the output through a pipe, and the exit status after SIGINT."""
        with subprocess.Popen(self.watch(*more), stdout=subprocess.PIPE, text=True) as process:
            lines = [process.stdout.readline().rstrip("\n") for _ in range(9)]
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=180)
        return lines, process.returncode

    def test_watch_without_a_terminal(self):
        lines, status = self.read()
        self.assertEqual(status, 0)
        self.assertFalse([line for line in lines if not line.isprintable()])
        for word in ("presignd-a  ready", "presignd-b  ready", "127.0.0.1:9: "):
            self.assertTrue([line for line in lines if word in line], lines)
        lines, status = self.read("--json")
        self.assertEqual(status, 0)
        self.assertEqual({json.loads(line)["process"]["instance"] for line in lines}, {"presignd-a", "presignd-b"})

    def test_what_it_does_not_take(self):
        several = [word for admin in self.admins for word in ("--admin", admin)]
        self.assertEqual(self.world.ctl("status", *several).returncode, 64)
        self.assertEqual(self.world.ctl("status", "--watch", "--admin", "nonsense").returncode, 69)


if __name__ == "__main__":
    unittest.main()
