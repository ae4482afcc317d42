"""examples/: each language writes a request that the daemon answers, and makes the same of outcomes.

A language without its runtime, or whose client cannot be had, is skipped and named; with
PRESIGND_REQUIRE_SUITES=1 (scripts/test) that is a failure.
"""

import functools
import itertools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from confluent_kafka import Producer

import auditor
import document
from children import dying_with_us
from harness import ROOT, World, event, wait_until
from kafka_broker import JAVA, class_path
from secure_broker import PASSWORD, SecureCluster

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


@functools.cache
def command_of(name):
    """None where the language cannot be run, which is said once."""
    try:
        return LANGUAGES[name]()
    except Missing as reason:
        if os.environ.get("PRESIGND_REQUIRE_SUITES") == "1":
            raise
        print(f"NOT RUN: examples/{name}: {reason}", file=sys.stderr)
        return None


def run_example(test, name, *arguments, **environment):
    """Its lines on standard output."""
    command = command_of(name)
    if command is None:
        test.skipTest(f"examples/{name} was not run")
    done = subprocess.run([*map(str, command), *arguments], capture_output=True, text=True, timeout=RUN_S,
                          stdin=subprocess.DEVNULL, env={**os.environ, **environment})
    test.assertEqual(done.returncode, 0, done.stdout + done.stderr)
    return done.stdout.splitlines()


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


def failed(code, reason="unavailable", retryable=True):
    """What the programs print of a failure."""
    return {"code": code, "failed": reason, "retryable": retryable}


def line(news):
    return json.dumps(news, sort_keys=True)


class Follower:
    """A program that follows the outcomes."""

    def __init__(self, command, bootstrap):
        self._output = tempfile.TemporaryFile("w+b")
        self._process = subprocess.Popen(
            [*dying_with_us(), *map(str, command), "outcomes"], stdout=self._output, stdin=subprocess.DEVNULL,
            env={**os.environ, "KAFKA": bootstrap})

    def lines(self):
        """What it printed so far, parsed; a line half written is left out."""
        assert self._process.poll() is None, f"it ended with status {self._process.returncode}"
        text = os.pread(self._output.fileno(), 2**20, 0)
        return [json.loads(each) for each in text.splitlines(keepends=True) if each.endswith(b"\n")]

    def told(self):
        return set(map(line, self.lines()))

    def close(self):
        self._process.kill()
        self._process.wait()
        self._output.close()


def parameters(outcome):
    """Of the statement of docs/consumers.md."""
    data = outcome["data"]
    succeeded = outcome["type"].endswith(".succeeded")
    return {"id": outcome["id"], "mchid": data.get("mchid"), "code": data.get("out_contract_code"),
            "succeeded": int(succeeded), "issued_at": data["issued_at"] if succeeded else "",
            "time": outcome["time"], "expires_at": data.get("expires_at"),
            "response": json.dumps(data["response"]) if succeeded else None,
            "reason": data.get("reason"), "retryable": None if succeeded else int(data["retryable"])}


class SQLite:
    def __init__(self):
        self._database = sqlite3.connect(":memory:")
        self._database.executescript(document.block("consumers.md", "sql-table"))

    def change(self, statement, values):
        """How many rows it changed."""
        return self._database.execute(statement, values).rowcount

    def rows(self, statement, values):
        return self._database.execute(statement, values).fetchall()


class PostgreSQL:
    """A server of its own, of Debian's package, at a socket in a directory."""

    def __init__(self, programs, directory):
        # The server refuses to be root.
        self._user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        self._programs = programs
        self._directory = Path(directory)
        if self._user:
            shutil.chown(directory, "nobody", "nogroup")
        data = self._directory / "data"
        self._run("initdb", "--pgdata", data, "--username", "test", "--auth", "trust", "--no-sync",
                  "--locale", "C.UTF-8")
        self._server = subprocess.Popen(
            [*dying_with_us("QUIT"), programs / "postgres", "-D", data, "-k", directory,
             "-c", "listen_addresses=", "-c", "fsync=off"],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory, **self._user)
        wait_until(lambda: self._run("pg_isready", "-h", directory, check=False) == 0, "the server is ready")
        self._sql(document.block("consumers.md", "sql-table"))

    def _run(self, program, *arguments, check=True):
        done = subprocess.run([self._programs / program, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, cwd=self._directory, **self._user)
        assert not check or done.returncode == 0, done.stderr
        return done.returncode

    def _sql(self, text):
        done = subprocess.run(
            [self._programs / "psql", "-h", self._directory, "-U", "test", "-d", "postgres", "-X",
             "-v", "ON_ERROR_STOP=1", "-A", "-t", "-F", "\t", "-P", "null=None"], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _filled(self, statement, values):
        quoted = {name: "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"
                  for name, value in values.items()}
        return re.sub(r"(?<!:):([a-z_]+)\b", lambda match: quoted[match[1]], statement).rstrip().rstrip(";") + ";"

    def change(self, statement, values):
        return int(self._sql(self._filled(statement, values)).split()[-1])

    def rows(self, statement, values):
        return [tuple(each.split("\t")) for each in self._sql(self._filled(statement, values)).splitlines()]

    def close(self):
        self._server.terminate()
        self._server.wait(RUN_S)


def databases(test):
    """(name, database) of each; None where it is not installed."""
    yield "SQLite", SQLite()
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        yield "PostgreSQL", None
        return
    directory = tempfile.TemporaryDirectory(prefix="presignd-sql-")
    test.addCleanup(directory.cleanup)
    server = PostgreSQL(programs[-1].parent, directory.name)
    test.addCleanup(server.close)
    yield "PostgreSQL", server


class Examples(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = World(partitions=1)
        cls.world.topics = {name: name for name in cls.world.topics}
        cls.enterClassContext(cls.world)
        cls.world.start_sandbox()
        cls.world.start_daemon()

    def run_example(self, name, *arguments):
        return run_example(self, name, *arguments, KAFKA=self.world.kafka.bootstrap)

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
        path = {"miniprogram_username": "gh_1", "miniprogram_path": "pages/a?b=c"}
        return [self.result(*row) for row in (
            ("1", "app", "new", 1, 7, {"pre_entrustweb_id": "n1", **path}),
            ("1", "app", "new", 1, 7, {"pre_entrustweb_id": "n1", **path}),
            ("2", "app", "new", 0, 9, {"pre_entrustweb_id": "older"}),
            ("3", "app", "new", 1, 6, {"pre_entrustweb_id": "same second, earlier"}),
            ("4", "app", "new", 1, 10, {"pre_entrustweb_id": "same second, later"}),
            ("5", "partner-h5", "web", 0, 1, {"redirect_url": "https://a.example/?x=1&y=2"}),
            ("6", "jsapi", "js", 0, 1, {"redirect_url": "https://b.example/"}))]

    def result(self, name, endpoint, code, issued_s, settled_s, answer):
        """A result as the daemon makes them. `name` makes its id; `issued_s` and `settled_s` are seconds."""
        model = json.loads(json.dumps(next(o.event for o in self.world.outcomes().values() if o.reason is None)))
        data = {**model["data"], "endpoint": endpoint, "out_contract_code": code,
                "issued_at": f"2026-11-23T08:00:{issued_s:02}Z", "response": answer}
        return {**model, "id": f"planted/0/{name}", "time": f"2026-11-23T08:00:{settled_s:02}.125Z",
                "type": f"wechatpay.presign.{endpoint}.succeeded", "data": data}

    def session(self, name, issued_s, settled_s, identity="p1"):
        """A result of an event whose id and code are `name`."""
        return self.result(name, "app", name, issued_s, settled_s, {"pre_entrustweb_id": identity})

    def failure(self, name, settled_s, reason="unavailable", retryable=True):
        """A failure of an event whose id and code are `name`, with members that no version has yet."""
        model = self.session(name, 0, settled_s)
        data = {"event": model["data"]["event"], "endpoint": "app", "mchid": model["data"]["mchid"],
                "out_contract_code": name, "reason": reason, "retryable": retryable, "call_state": "unknown",
                "attempts": 1, "message": "m", "weather": {"clouds": [1]},
                "attempt_log": [{"at": model["time"], "ended": "solar_flare"}]}
        del model["expirytime"]
        return {**model, "type": "wechatpay.presign.app.failed", "data": data, "weather": "fair"}

    def all_outcomes(self):
        """What the two topics hold, each topic in its order."""
        reader = auditor.Reader(self.world.kafka.bootstrap, ["presign.results", "presign.failures"])
        reader.read_to_end()
        reader.close()
        return [json.loads(record.value) for record in reader.records]

    def expected(self, outcomes):
        """Of outcomes whose ids have no failure beside a result: the topics have no order between them."""
        known, sessions, news = {}, {}, []
        for outcome in outcomes:
            data = outcome["data"]
            code = data.get("out_contract_code")
            age = (data.get("issued_at", ""), outcome["time"])
            if age <= known.get(outcome["id"], ("", "")):
                continue
            known[outcome["id"]] = age
            if outcome["type"].endswith(".failed"):
                news.append(failed(code, data["reason"], data["retryable"]))
            elif age > sessions.get(code, ("", "")):
                sessions[code] = age
                news.append({"code": code, "expires_at": data["expires_at"], "open": opening(data)})
        return news

    def test_3_each_takes_the_valid_one_of_several_outcomes(self):
        """All kinds of them, in both orders. The next is planted when each has told of the last, so
        that the order is the same for all."""
        self.world.wait_for_outcomes(self.world.produce([event("app")]))
        programs = {name: Follower(command, self.world.kafka.bootstrap)
                    for name in LANGUAGES if (command := command_of(name))}
        self.addCleanup(lambda: [each.close() for each in programs.values()])
        told = []
        for number, (outcomes, news) in enumerate(self.repeated()):
            # A step may change nothing. An outcome that does change something follows it in both topics.
            ends = [self.session(f"end{number}", 1, 1), self.failure(f"fail{number}", 1)]
            self.plant("presign.results", [o for o in [*outcomes, ends[0]] if o["type"].endswith(".succeeded")])
            self.plant("presign.failures", [o for o in [*outcomes, ends[1]] if o["type"].endswith(".failed")])
            told += [*news, *self.expected(ends)]
            for name, program in programs.items():
                wait_until(lambda: program.told() >= {line(each) for each in told},  # noqa: B023
                           lambda: f"{name}'s lines: {program.lines()[-5:]}", RUN_S)  # noqa: B023
        for name, program in programs.items():
            with self.subTest(name):
                lines = [each for each in program.lines() if each["code"] in ("x", "y", "z")]
                self.assertEqual(lines, [each for each in told if each["code"] in ("x", "y", "z")])

    def repeated(self):
        """Steps: outcomes, and what a consumer says of them that is new."""
        def opened(name, identity="p1"):
            return self.expected([self.session(name, 0, 0, identity)])

        late = self.failure("z", 6, reason="struck_by_lightning")
        return [
            # A failure, then results; failures after these, the older result and copies change nothing.
            ([self.failure("x", 5)], [failed("x")]),
            ([self.session("x", 2, 3)], opened("x")),
            ([self.failure("x", 9, "expired", False), self.failure("x", 5), self.session("x", 1, 8),
              self.session("x", 2, 2), self.session("x", 2, 3)], []),
            # A result, then failures, then a newer one: by issued_at, then by time.
            ([self.session("y", 2, 3)], opened("y")),
            ([self.failure("y", 1), self.failure("y", 9, "rejected", False)], []),
            ([self.session("y", 3, 2, "p2")], opened("y", "p2")),
            ([self.session("y", 3, 4, "p3")], opened("y", "p3")),
            # Failures: the later time is valid, and its reason may be one that is not known.
            ([self.failure("z", 5)], [failed("z")]),
            ([self.failure("z", 4, "expired", False), self.failure("z", 5)], []),
            ([late, late], [failed("z", "struck_by_lightning")]),
            ([self.failure("z", 5)], [])]

    def test_4_the_sql_of_the_page_keeps_the_valid_outcome(self):
        """In each order in which outcomes of one id may come, and of contracts the newest session."""
        self.world.wait_for_outcomes(self.world.produce([event("app")]))
        for name, database in databases(self):
            if database is None:
                print(f"NOT RUN: the SQL of docs/consumers.md on {name}", file=sys.stderr)
                continue
            with self.subTest(name):
                self.check_sql(database)

    def check_sql(self, database):
        statement = document.block("consumers.md", "sql-take")
        changed = [database.change(statement, parameters(each)) for each in self.unusual_results()]
        self.assertEqual(changed, [1, 0, 1, 1, 1, 1, 1])
        newest = {"mchid": self.unusual_results()[0]["data"]["mchid"], "code": "new"}
        (row,) = database.rows(document.block("consumers.md", "sql-session"), newest)
        self.assertEqual(json.loads(row[0]), {"pre_entrustweb_id": "same second, later"})
        kinds = [  # the last one is valid
            [self.session("k", 1, 1), self.session("k", 1, 1)],
            [self.session("k", 1, 9), self.session("k", 2, 2)],
            [self.session("k", 1, 1), self.session("k", 1, 2)],
            [self.failure("k", 9), self.failure("k", 1, "expired", False), self.session("k", 1, 2)],
            [self.failure("k", 1), self.failure("k", 2, "struck_by_lightning")],
            [self.failure("k", 9), self.session("k", 1, 9), self.session("k", 2, 1), self.session("k", 2, 2)]]
        for kind in kinds:
            for order in itertools.permutations(kind):
                database.change("DELETE FROM presign_outcomes", {})
                changed = [database.change(statement, parameters(each)) for each in order]
                rows = database.rows(
                    "SELECT id, succeeded, issued_at, completed_at, reason FROM presign_outcomes", {})
                valid = parameters(kind[-1])
                self.assertEqual([tuple(map(str, row)) for row in rows], [tuple(
                    "None" if valid[key] is None else str(valid[key])
                    for key in ("id", "succeeded", "issued_at", "time", "reason"))])
                # What comes after the valid one changes nothing.
                self.assertEqual(sum(changed[order.index(kind[-1]) + 1:]), 0)


class Secure(unittest.TestCase):
    """On the cluster that docs/operations.md builds: TLS, a password, and the rights of that page."""

    @classmethod
    def setUpClass(cls):
        cls.kafka = cls.enterClassContext(SecureCluster())
        cls.world = World(partitions=1, kafka=cls.kafka)
        cls.world.topics = {name: name for name in cls.world.topics}
        cls.enterClassContext(cls.world)
        (cls.world.directory / "admin.properties").touch()
        grant = re.sub(r"kafka-\d:\d+", cls.kafka.bootstrap, document.block("operations.md", "rights-commands"))
        cls.kafka.run(grant, cwd=cls.world.directory)
        cls.world.start_sandbox()
        cls.world.start_daemon()

    def test_each_logs_in_writes_and_reads(self):
        login = {"KAFKA": self.kafka.secure, "KAFKA_CA": str(self.kafka.certificates / "ca.pem"),
                 "KAFKA_USER": "orders", "KAFKA_PASSWORD": PASSWORD}
        for number, name in enumerate(LANGUAGES, 1):
            with self.subTest(name):
                (sent,) = run_example(self, name, "request", f"from{name}", **login)
                self.assertIsNone(self.world.wait_for_outcomes([sent])[sent].reason)
                news = run_example(self, name, "outcomes", str(number), GROUP=f"orders-{name}-own", **login)
                self.assertEqual(json.loads(news[-1])["code"], f"from{name}")
        # The page's user, in groups that are not the programs' defaults: else one of these would be there.
        groups = self.kafka.run(f"kafka-consumer-groups.sh --bootstrap-server {self.kafka.bootstrap} --list").split()
        self.assertEqual([name for name in LANGUAGES if f"orders-{name}" in groups], [])


if __name__ == "__main__":
    unittest.main()
