"""The World of the other tests: stand-ins for our programs, real records on the real broker."""

import contextlib
import io
import json
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

import auditor
from harness import World, event, http_get, render_config, wait_until
from kafka_broker import Cluster
from test_auditor import outcome_of

# Answers 503 once and 200 from then on, as a daemon does that joins its group first.
DAEMON = r"""
    import http.server, re, signal, sys
    config = open(sys.argv[sys.argv.index("-c") + 1]).read()
    if "fail_at_start" in config:
        sys.exit("presignd: key of merchant 1 is missing")
    class Admin(http.server.BaseHTTPRequestHandler):
        asked = 0
        def do_GET(self):
            Admin.asked += self.path == "/readyz"
            self.send_response(503 if Admin.asked == 1 else 200)
            self.end_headers()
            self.wfile.write(b'# HELP x\nup{a="b c"} 1\n' if self.path == "/metrics" else b"")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = int(re.search(r"admin_listen = 127.0.0.1:(\d+)", config)[1])
    print("listening", file=sys.stderr)
    http.server.HTTPServer(("127.0.0.1", port), Admin).serve_forever()
"""

CTL = r"""
    import os, pathlib, socket, sys
    if sys.argv[1] != "sandbox":
        sys.stdout.write(sys.stdin.read().upper())
        sys.exit(65)
    value = lambda option: sys.argv[sys.argv.index(option) + 1]
    directory = pathlib.Path(value("--dir"))
    host, port = value("--listen").split(":")
    listener = socket.create_server((host, int(port)))
    with open(directory / "ledger.jsonl", "a") as ledger:
        ledger.write('{"faults": "%s"}\n{"half' % " ".join(sys.argv[6:]))
    fresh = directory / "sandbox.conf.new"
    fresh.write_text(f"[endpoint]\nbase_url = https://{host}:{port}\n\n[merchant 7]\nmode = direct\n")
    fresh.rename(directory / "sandbox.conf")  # whole when it appears, as the real one is
    while True:
        listener.accept()
"""


def setUpModule():
    global kafka, build
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)
    directory = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(directory.cleanup)
    build = Path(directory.name)
    for name, text in (("presignd", DAEMON), ("presignctl", CTL)):
        (build / name).write_text("#!/usr/bin/python3\n" + textwrap.dedent(text))
        (build / name).chmod(0o755)


def has_ended(pid):
    """Also while its parent has not asked for it yet."""
    try:
        return "(zombie)" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it may go between open and read
        return True


def world():
    return World(kafka=kafka, build=build)


class Programs(unittest.TestCase):
    def test_a_daemon_is_waited_for_and_restarted_at_its_address(self):
        with world() as w:
            w.start_sandbox()
            daemon = w.start_daemon()
            self.assertEqual(http_get(f"{daemon.admin}/readyz")[0], 200)
            self.assertEqual(daemon.metrics(), {'up{a="b c"}': 1})
            self.assertEqual(daemon.terminate(), 0)
            again = w.start_daemon()
            self.assertEqual(again.admin, daemon.admin)
            again.kill()
            self.assertEqual(again.wait(), -signal.SIGKILL)

    def test_a_daemon_that_fails_at_its_start_fails_the_test_with_its_reason(self):
        with world() as w:
            with self.assertRaisesRegex(AssertionError, "status 1 .*\n.*key of merchant 1 is missing"):
                w.start_daemon(sections={"daemon": {"fail_at_start": "yes"}})

    def test_the_sandbox_is_restarted_with_other_faults(self):
        with world() as w:
            port = w.start_sandbox(faults=["503=0.5", "delay=0.1"]).port
            self.assertEqual(w.sandbox.merchants(), {"7": "direct"})
            self.assertEqual(w.sandbox.ledger(), [{"faults": "--fault 503=0.5 --fault delay=0.1"}])
            self.assertEqual(w.start_sandbox().port, port)

    def test_instances_have_configurations_of_their_own(self):
        with world() as w:
            w.start_sandbox()
            first = w.write_config("one").read_text()
            second = w.write_config("two", {"daemon": {"max_in_flight": 4}}).read_text()
        self.assertEqual(re.findall(r"^\[.*\]$", first, re.M),
                         ["[daemon]", "[kafka]", "[retry]", "[endpoint]", "[merchant 7]"])
        self.assertNotIn("max_in_flight", first)
        self.assertIn("max_in_flight = 4\n", second)
        ports = [re.search(r"admin_listen = (\S+)", text)[1] for text in (first, second)]
        self.assertNotEqual(*ports)

    def test_presignctl_runs_with_input(self):
        with world() as w:
            done = w.ctl("validate", stdin=b"abc")
            self.assertEqual((done.returncode, done.stdout), (65, b"ABC"))

    def test_everything_ends_with_the_world_and_a_failure_shows_logs(self):
        shown = io.StringIO()
        with self.assertRaises(ZeroDivisionError), contextlib.redirect_stderr(shown):
            with world() as w:
                w.start_sandbox()
                daemon = w.start_daemon()
                daemon.suspend()
                1 / 0
        self.assertFalse(daemon.running)
        self.assertFalse(w.sandbox.running)
        self.assertFalse(w.directory.exists())
        self.assertIn("---- the end of presignd-1.log\nlistening", shown.getvalue())

    def test_a_failed_test_shows_logs_before_its_clean_ups(self):
        class Failing(unittest.TestCase):
            def test(self):
                w = self.enterContext(world())
                w.start_sandbox()
                w.start_daemon()
                self.fail()
        shown = io.StringIO()
        with contextlib.redirect_stderr(shown):
            result = unittest.TextTestRunner(stream=io.StringIO()).run(Failing("test"))
        self.assertEqual(len(result.failures), 1)
        self.assertEqual(shown.getvalue().count("---- the end of presignd-1.log\nlistening"), 1)

    def test_a_killed_test_takes_its_programs_along(self):
        script = ("import os, pathlib, signal, sys; import harness\n"
                  "log = pathlib.Path(sys.argv[1])\n"
                  "print(harness.Program('sleeper', ['sleep', '600'], log).process.pid, flush=True)\n"
                  "os.kill(os.getpid(), signal.SIGKILL)\n")
        killed = subprocess.run([sys.executable, "-B", "-c", script, build / "sleeper.log"],
                                cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True)
        self.assertEqual(killed.returncode, -signal.SIGKILL)
        wait_until(lambda: has_ended(int(killed.stdout)), "the sleeper's end")


class Records(unittest.TestCase):
    HOSTILE = [(b"k", b"\xff\x00{", [("ce_id", b"\xfe"), ("ce_id", None), ("", b"")]),
               (None, None, []), (b"", b"", [])]

    def read(self, w, *topics):
        reader = auditor.Reader(kafka.bootstrap, [w.topics[topic] for topic in topics])
        reader.read_to_end()
        reader.close()
        return {record.id: record for record in reader.records}

    def test_records_are_sent_byte_for_byte(self):
        with world() as w:
            ids = w.produce(self.HOSTILE, partition=2)
            records = self.read(w, auditor.REQUESTS)
        topic = w.topics[auditor.REQUESTS]
        self.assertEqual(ids, [f"{topic}/2/{n}" for n in range(3)])
        self.assertEqual([(records[name].key, records[name].value, records[name].headers)
                          for name in ids], self.HOSTILE)

    def test_outcomes_are_found_as_they_come_and_audited(self):
        with world() as w:
            ids = w.produce(event(out_contract_code=f"A{n}") for n in range(5))
            inputs = self.read(w, auditor.REQUESTS)
            self.answer(w, [inputs[name] for name in ids[:4]])
            self.assertEqual(set(w.wait_for_outcomes(ids[:4])), set(ids[:4]))
            with self.assertRaisesRegex(AssertionError, f"1 missing, as .*{ids[4]}"):
                w.wait_for_outcomes(ids, timeout_s=0.3)
            self.answer(w, [inputs[ids[4]]])
            self.assertIsNone(w.wait_for_outcomes(ids)[ids[4]].reason)
            result = auditor.audit(kafka.bootstrap, schemas=None, topics=w.topics)
            self.assertEqual(result.summary(), "5 inputs, 5 outcomes, 0 missing, 0 doubled")

    def answer(self, w, records):
        for record in records:
            w._producer.produce(w.topics[auditor.RESULTS], **outcome_of(record))
        w._producer.flush(180)

    def test_an_event_is_what_the_documents_show(self):
        key, value, headers = event("partner-mini-program", "B1", mchid="7", traceparent="00")
        parsed = json.loads(value)
        self.assertEqual((key, headers), (b"B1", [("content-type", b"application/cloudevents+json")]))
        self.assertEqual((parsed["type"], parsed["mchid"], parsed["traceparent"]),
                         ("wechatpay.presign.partner-mini-program.requested", "7", "00"))
        self.assertEqual((parsed["data"]["out_contract_code"], parsed["data"]["plan_id"]), ("B1", 12535))
        self.assertIsNone(event(key=None)[0])


class Text(unittest.TestCase):
    def test_config(self):
        self.assertEqual(render_config({"a": {"k": 1}, "b c": {}}), "[a]\nk = 1\n\n[b c]\n\n")


if __name__ == "__main__":
    unittest.main()
