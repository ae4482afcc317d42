"""examples/: each language writes a request that the daemon answers, and makes the same of outcomes.

A language without its runtime, or whose client cannot be had, is skipped and named; with
PRESIGND_REQUIRE_SUITES=1 (scripts/test) that is a failure.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import unittest

from confluent_kafka import Producer

import auditor
import document
from harness import ROOT, World, event
from kafka_broker import JAVA, class_path

EXAMPLES = ROOT / "examples"
CACHE = ROOT / "build" / "examples"
RUN_S = 600


# What `go build` says when its modules do not come.
UNFETCHED = re.compile(r"dial tcp|i/o timeout|TLS handshake|connection reset|unexpected EOF|: 5\d\d ")


class Missing(Exception):
    """What a language needs and this machine does not have."""


def need(program):
    found = shutil.which(program)
    if not found:
        raise Missing(f"no {program} here")
    return found


def python():
    return [sys.executable, EXAMPLES / "python/presign.py"]


def java():
    if not shutil.which("javac"):
        raise Missing("no JDK here, only a runtime")
    return [*JAVA, "-cp", class_path(), EXAMPLES / "java/Presign.java"]


def go():
    need("go")
    CACHE.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOMODCACHE": str(CACHE / "go-modules"), "GOCACHE": str(CACHE / "go-cache"),
                   "GOFLAGS": "-modcacherw -buildvcs=false", "CGO_ENABLED": "0"}
    for _ in range(3):  # go gives up at the first error of the network
        built = subprocess.run(["go", "build", "-o", CACHE / "presign-go", "."], cwd=EXAMPLES / "go",
                               env=environment, capture_output=True, text=True)
        unfetched = built.returncode and UNFETCHED.search(built.stderr)
        if not unfetched:
            break
    if unfetched:
        raise Missing(f"the modules cannot be fetched: {built.stderr}")
    assert built.returncode == 0, built.stderr
    return [CACHE / "presign-go"]


def php():
    """With the extension where it is installed, else with a stand-in that calls librdkafka by FFI."""
    need("php")
    modules = subprocess.run(["php", "-m"], capture_output=True, text=True).stdout.split()
    if "rdkafka" in modules:
        return ["php", EXAMPLES / "php/presign.php"]
    if "FFI" not in modules:
        raise Missing("php has neither rdkafka nor FFI")
    return ["php", "-d", "ffi.enable=1", "-d", f"auto_prepend_file={ROOT / 'tests/e2e/rdkafka_ffi.php'}",
            EXAMPLES / "php/presign.php"]


LANGUAGES = {"python": python, "java": java, "go": go, "php": php}


def opening(data):
    """What docs/consumers.md says, written down once more."""
    answer, kind = data["response"], data["endpoint"].split("partner-")[-1]
    if kind in ("h5", "jsapi"):
        return {"call": "redirect", "url": answer["redirect_url"]}
    identity = {"pre_entrustweb_id": answer["pre_entrustweb_id"]}
    if kind == "mini-program":
        return {"call": "wx.navigateToMiniProgram", "appId": answer["redirect_appid"],
                "path": answer["redirect_path"], "extraData": identity}
    if "miniprogram_username" in answer:
        return {"call": "WXLaunchMiniProgram", "userName": answer["miniprogram_username"],
                "path": answer["miniprogram_path"]}
    return {"call": "WXOpenBusinessWebview", "businessType": 12, "queryInfo": identity}


class Examples(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = World(partitions=1)
        cls.world.topics = {name: name for name in cls.world.topics}
        cls.enterClassContext(cls.world)
        cls.world.start_sandbox()
        cls.world.start_daemon()
        cls.commands = {}
        for name, prepare in LANGUAGES.items():
            try:
                cls.commands[name] = prepare()
            except Missing as reason:
                if os.environ.get("PRESIGND_REQUIRE_SUITES") == "1":
                    raise
                cls.commands[name] = None
                print(f"NOT RUN: examples/{name}: {reason}", file=sys.stderr)

    def run_example(self, name, *arguments):
        command = self.commands[name]
        if command is None:
            self.skipTest(f"examples/{name} was not run")
        done = subprocess.run([*map(str, command), *arguments], capture_output=True, text=True, timeout=RUN_S,
                              stdin=subprocess.DEVNULL, env={**os.environ, "KAFKA": self.world.kafka.bootstrap})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout.splitlines()

    def plant(self, topic, outcomes):
        producer = Producer({"bootstrap.servers": self.world.kafka.bootstrap, "enable.idempotence": True})
        for outcome in outcomes:
            producer.produce(topic, json.dumps(outcome).encode(), partition=0)
        self.assertEqual(producer.flush(RUN_S), 0)

    def test_1_each_writes_a_request_that_is_answered(self):
        for name in LANGUAGES:
            with self.subTest(name):
                (sent,) = self.run_example(name, "request", f"from{name}")
                outcome = self.world.wait_for_outcomes([sent])[sent]
                self.assertIsNone(outcome.reason, outcome.event)
                self.assertEqual(outcome.data["out_contract_code"], f"from{name}")
                self.assertEqual(outcome.record.key, f"from{name}".encode())

    def test_2_each_makes_the_same_of_the_outcomes(self):
        """Of the daemon's, and of planted ones: every way to open, repeated, older, in one second."""
        self.world.wait_for_outcomes(self.world.produce([event("partner-mini-program"), (b"k", b"{oops", [])]))
        self.plant("presign.results", self.unusual_results())
        outcomes = self.all_outcomes()
        news = sorted(json.dumps(line, sort_keys=True) for line in self.expected(outcomes))
        for name in LANGUAGES:
            with self.subTest(name):
                lines = map(json.loads, self.run_example(name, "outcomes", str(len(outcomes))))
                self.assertEqual(sorted(json.dumps(line, sort_keys=True) for line in lines), news)

    def unusual_results(self):
        model = json.loads(json.dumps(next(o.event for o in self.world.outcomes().values() if o.reason is None)))
        path = {"miniprogram_username": "gh_1", "miniprogram_path": "pages/a?b=c"}
        made = []
        for endpoint, code, issued_at, settled_s, answer in (
                ("app", "new", "2026-11-23T08:00:01Z", 7, {"pre_entrustweb_id": "n1", **path}),
                ("app", "new", "2026-11-23T08:00:01Z", 7, {"pre_entrustweb_id": "n1", **path}),
                ("app", "new", "2026-11-23T08:00:00Z", 9, {"pre_entrustweb_id": "older"}),
                ("app", "new", "2026-11-23T08:00:01Z", 6, {"pre_entrustweb_id": "same second, earlier"}),
                ("app", "new", "2026-11-23T08:00:01Z", 10, {"pre_entrustweb_id": "same second, later"}),
                ("partner-h5", "web", "2026-11-23T08:00:00Z", 1, {"redirect_url": "https://a.example/?x=1&y=2"}),
                ("jsapi", "js", "2026-11-23T08:00:00Z", 1, {"redirect_url": "https://b.example/"})):
            data = {**model["data"], "endpoint": endpoint, "out_contract_code": code, "issued_at": issued_at,
                    "response": answer}
            made.append({**model, "time": f"2026-11-23T08:00:{settled_s:02}.125Z",
                         "type": f"wechatpay.presign.{endpoint}.succeeded", "data": data})
        return made

    def all_outcomes(self):
        """What the two topics hold, each topic in its order."""
        reader = auditor.Reader(self.world.kafka.bootstrap, ["presign.results", "presign.failures"])
        reader.read_to_end()
        reader.close()
        return [json.loads(record.value) for record in reader.records]

    def expected(self, outcomes):
        known, news = {}, []
        for outcome in outcomes:
            data = outcome["data"]
            code = data.get("out_contract_code")
            if outcome["type"].endswith(".failed"):
                news.append({"code": code, "failed": data["reason"], "retryable": data["retryable"]})
                continue
            age = (data["issued_at"], outcome["time"])
            if age > known.get(code, ("", "")):
                known[code] = age
                news.append({"code": code, "expires_at": data["expires_at"], "open": opening(data)})
        return news

    def test_3_the_sql_of_the_page_keeps_the_newest(self):
        database = sqlite3.connect(":memory:")
        database.executescript(document.block("consumers.md", "sql-table"))
        changed = []
        for outcome in self.unusual_results():
            data = outcome["data"]
            row = database.execute(document.block("consumers.md", "sql-take"), {
                "mchid": data["mchid"], "code": data["out_contract_code"], "issued_at": data["issued_at"],
                "time": outcome["time"], "expires_at": data["expires_at"],
                "response": json.dumps(data["response"])})
            changed.append(row.rowcount)
        self.assertEqual(changed, [1, 0, 0, 0, 1, 1, 1])


if __name__ == "__main__":
    unittest.main()
