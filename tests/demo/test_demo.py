"""presignctl demo: --keep and the commands that it prints, errors, leftover files."""

import json
import os
import re
import signal
import subprocess
import tempfile
import unicodedata
import unittest
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("PRESIGND_BUILD_DIR", ROOT / "build" / "dev"))


def columns(line):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def alive(pid):
    """False for a zombie: only process 1 can reap an orphan."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Demo(unittest.TestCase):
    def setUp(self):
        self.directory = self.enterContext(tempfile.TemporaryDirectory(prefix="demo-"))
        self.environment = {**os.environ, "TMPDIR": self.directory}

    def left_behind(self):
        return list(Path(self.directory).iterdir())

    def start(self, *options, **environment):
        demo = subprocess.Popen([BUILD / "presignctl", "demo", *options], cwd=ROOT, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env={**self.environment, **environment})
        self.addCleanup(demo.stderr.close)
        self.addCleanup(demo.stdout.close)
        self.addCleanup(demo.wait)
        self.addCleanup(demo.kill)
        return demo

    def read_until(self, demo, pattern):
        """Everything printed up to the matching line."""
        text = ""
        for line in demo.stdout:
            text += line
            if re.search(pattern, line):
                return text
        self.fail(f"{pattern} was not printed:\n{text}\n{demo.stderr.read()}")

    def end(self, demo, status):
        """Waits for the exit status; returns the rest of standard error."""
        _, told = demo.communicate(timeout=180)
        self.assertEqual(demo.returncode, status, told)
        return told

    def test_the_printed_commands_work_and_an_interrupt_cleans_up(self):
        demo = self.start("--keep")
        shown = self.read_until(demo, "Ctrl-C stops it.$")
        usual = shown.replace(self.directory, "/tmp").replace(str(BUILD), "build/release")
        self.assertLessEqual(max(map(columns, usual.splitlines())), 100)
        self.assertNotIn("\033", shown)
        self.assertIn("微信代扣用户A", shown)
        page = re.search(r"status page (http://127\.0\.0\.1:\d+/status)$", shown, re.MULTILINE)[1]
        with urllib.request.urlopen(page, timeout=60) as answer:
            self.assertEqual(answer.status, 200)
        commands = re.findall(r"^  (\S*presignctl (?:send|tail) .*)$", shown, re.MULTILINE)
        self.assertEqual(len(commands), 2, shown)
        tail, send = commands
        looks = re.findall(r"^  (\S*presignctl (?:status|reload|pause|resume) .*)$", shown, re.MULTILINE)
        self.assertEqual(len(looks), 4, shown)
        for look in looks:
            done = subprocess.run(look, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=180)
            self.assertEqual(done.returncode, 0, done.stderr)
        sent = subprocess.run(send, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=180)
        self.assertRegex(sent.stdout, r"^presign\.requests/\d/\d+\n$", sent.stderr)
        tailed = subprocess.run(f"{tail} --count 13 --timeout-ms 120000", shell=True, cwd=ROOT,
                                capture_output=True, text=True, timeout=180)
        self.assertEqual(tailed.returncode, 0, tailed.stderr)
        self.assertIn("myfirstcontract", tailed.stdout)
        demo.send_signal(signal.SIGINT)
        self.end(demo, 0)
        self.assertEqual(self.left_behind(), [])

    def test_every_row_of_the_table_is_as_expected(self):
        demo = self.start()
        shown = self.read_until(demo, "each as expected")
        self.end(demo, 0)
        rows = [line for line in shown.splitlines() if line[:1] in "✓✗" and line]
        self.assertEqual(len(rows), 12, shown)
        self.assertTrue(all(row.startswith("✓ ") for row in rows), shown)
        starts = {columns(row[:re.search("result  |failure  ", row).start()]) for row in rows}
        self.assertEqual(len(starts), 1, shown)
        self.assertEqual(self.left_behind(), [])

    def test_json_is_all_that_json_prints(self):
        demo = self.start("--json")
        printed, told = demo.communicate(timeout=180)
        self.assertEqual((demo.returncode, told), (0, ""))
        self.assertEqual([json.loads(line)["ok"] for line in printed.splitlines()], [True] * 12)

    def test_a_sandbox_that_does_not_start_is_named_with_its_log(self):
        demo = self.start(PRESIGND_SCHEMA_DIR="/nonexistent")
        told = self.end(demo, 69)
        self.assertIn("sandbox has ended with status 78", told)
        self.assertIn("/nonexistent", told)
        (kept,) = self.left_behind()
        self.assertIn(str(kept / "sandbox.log"), told)

    def test_a_daemon_that_ends_is_named_with_its_log(self):
        demo = self.start()
        shown = self.read_until(demo, "  presignd ")
        os.kill(int(re.search(r"presignd  .*process (\d+)", shown)[1]), signal.SIGKILL)
        told = self.end(demo, 69)
        self.assertIn("presignd was killed by signal 9", told)
        (kept,) = self.left_behind()
        self.assertIn(str(kept / "presignd.log"), told)

    def test_children_end_when_the_demo_is_killed(self):
        demo = self.start("--keep")
        shown = self.read_until(demo, "  presignd ")
        pid = int(re.search(r"presignd  .*process (\d+)", shown)[1])
        demo.kill()
        demo.wait()
        while alive(pid):  # or ctest's time-out
            signal.sigtimedwait([], 0.05)

    def test_an_early_interrupt(self):
        demo = self.start()
        self.read_until(demo, "  presignd ")
        demo.send_signal(signal.SIGTERM)
        self.end(demo, 75)
        self.assertEqual(self.left_behind(), [])

    def test_a_closed_pipe_on_stdout(self):
        demo = self.start()
        demo.stdout.readline()
        demo.stdout.close()
        demo.wait(180)
        self.assertEqual(self.left_behind(), [])


if __name__ == "__main__":
    unittest.main()
