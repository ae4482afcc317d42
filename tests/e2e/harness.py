"""What an end-to-end test stands on: Kafka, the sandbox endpoint and daemons in one World.

    with World() as world:
        world.start_sandbox(faults=["503=0.1"])
        daemon = world.start_daemon()
        sent = world.produce([event("app", out_contract_code="A1")])
        outcomes = world.wait_for_outcomes(sent)
        assert outcomes[sent[0]].reason is None
        assert daemon.terminate() == 0
        world.assert_audit_passes()

Everything runs on 127.0.0.1 and in one temporary directory, and ends with the `with` block,
also when the test itself is killed. A test that fails shows the end of each program's log.
Waiting is always for a condition, with a limit; no test asserts on time that has passed.
"""

import configparser
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from confluent_kafka import Producer

import auditor
import last_words
import sandbox_keys
from kafka_broker import ROOT, Cluster, dying_with_us, free_ports

BUILD = Path(os.environ.get("PRESIGND_BUILD_DIR", ROOT / "build" / "release"))
WAIT_S = 180  # only a broken program takes that long
LOG_TAIL = 4000

# The examples of the documents for the two endpoints that the product is for, shortened.
SAMPLES = {
    "app": {
        "appid": "wxd678efh567hg6787", "plan_id": 12535, "out_contract_code": "",
        "contract_display_account": "微信代扣用户A",
        "contract_notify_url": "https://yourapp.com/notify"},
    "partner-mini-program": {
        "sp_appid": "wxd678efh567hg6787", "sub_mchid": "1900000109", "sp_openid": "oUpF8uMuAJO",
        "plan_id": 12535, "out_contract_code": "", "contract_display_account": "微信代扣用户A",
        "contract_notify_url": "https://yourapp.com/notify"},
}


def shut_down(*sockets):
    """Both directions of each; one that has ended already stays so."""
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def wait_until(condition, what, timeout_s=WAIT_S, interval_s=0.02):
    """Returns the first true value of `condition()`; AssertionError naming WHAT without one."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"in {timeout_s} s: not {what() if callable(what) else what}")
        time.sleep(interval_s)


def connections(port):
    """(state, bytes that wait to be read) of each TCP connection to 127.0.0.1:PORT, as its client's
    kernel has it; the states are those of proc(5), as "01" for established."""
    suffix = f"0100007F:{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [(row[3], int(row[4].split(":")[1], 16)) for row in rows if row[2] == suffix]


def established(port):
    """How many connections to that port neither side has ended."""
    return sum(state == "01" for state, _ in connections(port))


def http_get(url, timeout_s=WAIT_S):
    """(status, body), also of an error's answer; (None, "") when nobody answers, or not to the end."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (OSError, http.client.HTTPException):
        return None, ""


def event(endpoint="app", out_contract_code=None, key="by code", mchid=None, data=None, **attributes):
    """A structured request event, as World.produce() takes it: (key, value, headers).

    `data` are members that replace the sample's. The key is the out_contract_code's unless
    one is given (bytes, or None for a null key)."""
    code = out_contract_code or uuid.uuid4().hex
    body = {**SAMPLES[endpoint], "out_contract_code": code, **(data or {})}
    envelope = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "/tests",
                "type": f"wechatpay.presign.{endpoint}.requested", **attributes}
    if mchid is not None:
        envelope["mchid"] = mchid
    value = json.dumps({**envelope, "data": body}, ensure_ascii=False).encode()
    return (code.encode() if key == "by code" else key, value,
            [("content-type", b"application/cloudevents+json")])


class Program:
    """A child process with its log (standard output and error) in a file. Dies with us."""

    death_signal = "KILL"

    def __init__(self, name, command, log, environment=None):
        self.name = name
        self.log = log
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                [*dying_with_us(self.death_signal), *map(str, command)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, **(environment or {})})

    @property
    def running(self):
        return self.process.poll() is None

    def log_text(self):
        return self.log.read_text(errors="replace")

    def wait_for_log(self, pattern, timeout_s=WAIT_S):
        """Until a line of the log matches the regular expression."""
        return wait_until(lambda: re.search(pattern, self.log_text(), re.MULTILINE),
                          f"{pattern!r} in the log of {self.name}", timeout_s)

    def wait_until_ready(self, ready, timeout_s=WAIT_S):
        """Until `ready()`; a program that ends before fails at once, with its last words."""
        def ready_or_ended():
            return ready() or not self.running
        wait_until(ready_or_ended, f"ready: {self.name}", timeout_s)
        if not self.running:
            raise AssertionError(f"{self.name} ended with status {self.process.returncode} before it "
                                 f"was ready:\n{self.log_text()[-LOG_TAIL:]}")

    def signal(self, number):
        self.process.send_signal(number)

    def suspend(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def wait(self, timeout_s=WAIT_S):
        """The exit status (negative: a signal's number)."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end in {timeout_s} s") from None

    def terminate(self, timeout_s=WAIT_S):
        """SIGTERM, and its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self):
        """SIGKILL, which needs no consent, not even of a suspended process."""
        self.signal(signal.SIGKILL)
        self.process.wait()


class Sandbox(Program):
    """`presignctl sandbox`: the endpoint, with a ledger of the requests that it has seen."""

    def __init__(self, directory, port, program, faults=(), options=(), merchants=()):
        self.directory = directory
        self.port = port
        directory.mkdir(exist_ok=True)
        sandbox_keys.lay(directory)
        command = [program, "sandbox", "--dir", directory, "--listen", f"127.0.0.1:{port}"]
        for mchid in merchants:  # with one key for all
            sandbox_keys.lay_file(directory / f"merchant-{mchid}.pem", self._shared_key())
            command += ["--merchant", f"{mchid}:direct"]
        for fault in faults:
            command += ["--fault", fault]
        self.config.unlink(missing_ok=True)  # an earlier one's: this one writes it after it listens
        super().__init__("sandbox", [*command, *options], directory / "sandbox.log")
        self.wait_until_ready(self._accepts)
        sandbox_keys.keep(directory)

    @staticmethod
    def _shared_key():
        name = "merchant-1900007291.pem"
        if name not in sandbox_keys.kept:
            done = subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
                                  check=True, capture_output=True)
            sandbox_keys.kept[name] = done.stdout
        return sandbox_keys.kept[name]

    def _accepts(self):
        if not self.config.exists():
            return False
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    @property
    def config(self):
        """The [endpoint] and [merchant …] sections that lead a daemon here."""
        return self.directory / "sandbox.conf"

    def set(self, **change):
        """Changes what WeChat Pay has of its merchants (`presignctl sandbox --help`, POST /sandbox): from the
        next request on. Returns the state.

            world.sandbox.set(listed=[1, 2])        # a rotation begins; then signs=2, then listed=[2]
            world.sandbox.set(mchid="1900007291", listed=[2], signs=2)      # one that was missed
            world.sandbox.set(list="404")           # or 500, delay:30000, list-cut, unsigned, …
            world.sandbox.set(serial_mode="both")   # the move to the public key begins
        """
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}/sandbox",
                                         json.dumps(change).encode())
        tls = ssl.create_default_context(cafile=self.directory / "ca.pem")
        with urllib.request.urlopen(request, timeout=WAIT_S, context=tls) as answer:
            return json.load(answer)

    def merchants(self):
        """{mchid: mode} as the configuration fragment has them."""
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.read(self.config, encoding="utf-8")
        return {name.split()[1]: parser[name]["mode"]
                for name in parser.sections() if name.startswith("merchant ")}

    def ledger(self):
        """One dictionary for each request, oldest first; a line half written is left out."""
        return auditor.read_ledger(self.ledger_path) if self.ledger_path.exists() else []

    @property
    def ledger_path(self):
        return self.directory / "ledger.jsonl"


class Daemon(Program):
    """`presignd`. Its admin address stays the same over restarts."""

    def __init__(self, instance, command, log, admin_port, environment=None):
        self.instance = instance
        self.admin = f"http://127.0.0.1:{admin_port}"
        super().__init__(instance, command, log, environment)

    def wait_ready(self, timeout_s=WAIT_S):
        self.wait_until_ready(lambda: http_get(f"{self.admin}/readyz")[0] == 200, timeout_s)
        return self

    def metrics(self):
        """{'name{labels}': number}, as the text stands there."""
        status, text = http_get(f"{self.admin}/metrics")
        assert status == 200, f"/metrics of {self.name} answered {status}"
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in lines}


class Outcome:
    """A published outcome record and its parsed value."""

    def __init__(self, record):
        self.record = record
        self.event = json.loads(record.value)
        self.id = self.event["id"]
        self.data = self.event["data"]
        self.reason = self.data.get("reason")

    def __repr__(self):
        return f"<{self.id}: {self.reason or 'result'}>"


def render_config(sections):
    """INI text of {section: {key: value}}."""
    return "".join(f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()) + "\n"
                   for name, keys in sections.items())


class World:
    """One test's broker, topics, sandbox and daemons. A running `kafka` may be shared: topics
    and group then have names of their own. `requests_config` are properties of the requests
    topic; `requests_partitions` are its partitions where it has others than the outcomes'."""

    def __init__(self, partitions=3, kafka=None, build=BUILD, requests_config=None, requests_partitions=None):
        self.build = Path(build)
        self.directory = Path(tempfile.mkdtemp(prefix="presignd-e2e-"))
        self.partitions = partitions
        self.requests_config = requests_config
        self.requests_partitions = requests_partitions or partitions
        self.sandbox = None
        self.daemons = []
        self._own_kafka = kafka is None
        self._name = uuid.uuid4().hex[:8]
        self.group = f"presignd-{self._name}"
        self.kafka = kafka or Cluster()
        self.topics = {name: f"{self._name}.{name}" for name in
                       (auditor.REQUESTS, auditor.RESULTS, auditor.FAILURES)}
        self._producer = None
        self._reader = None
        self._outcomes = {}
        self._admin_ports = {}

    def __enter__(self):
        last_words.remember(self)
        try:
            if self._own_kafka:
                self.kafka.start()
            for name, topic in self.topics.items():
                if name == auditor.REQUESTS:
                    self.kafka.create_topic(topic, self.requests_partitions, self.requests_config)
                else:
                    self.kafka.create_topic(topic, self.partitions)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            last_words.show(self)
        self.close()

    def close(self):
        """Ends every program that was started here and removes the directory."""
        last_words.forget(self)
        for program in [*self.daemons, *([self.sandbox] if self.sandbox else [])]:
            if program.running:
                program.kill()
        if self._reader:
            self._reader.close()
        self._reader = self._producer = None
        if self._own_kafka:
            self.kafka.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def last_words(self):
        return {log.name: log.read_text(errors="replace")[-LOG_TAIL:]
                for log in self.directory.rglob("*.log")}

    # ---- programs

    def start_sandbox(self, faults=(), options=(), merchants=()):
        """Starts `presignctl sandbox`, or starts it again at the same address and with the same
        keys and ledger. `faults`: KIND=SHARE each. `merchants`: ids of direct merchants, which
        share a key; without, its own two."""
        port = self.sandbox.port if self.sandbox else free_ports(1)[0]
        if self.sandbox and self.sandbox.running:
            self.sandbox.terminate()
        self.sandbox = Sandbox(self.directory / "sandbox", port, self.build / "presignctl",
                               faults, options, merchants)
        return self.sandbox

    def write_config(self, instance="presignd-1", sections=None):
        """presignd.conf of one instance; `sections` adds keys or replaces them. The sandbox's
        fragment is appended, so [endpoint] and [merchant …] are changed by `sets` only."""
        if instance not in self._admin_ports:
            self._admin_ports[instance] = free_ports(1)[0]
        config = {
            "daemon": {
                "instance": instance,
                "requests_topic": self.topics[auditor.REQUESTS],
                "results_topic": self.topics[auditor.RESULTS],
                "failures_topic": self.topics[auditor.FAILURES],
                "schema_dir": ROOT / "schemas",
                "admin_listen": f"127.0.0.1:{self._admin_ports[instance]}"},
            "kafka": {
                "bootstrap.servers": self.kafka.bootstrap,
                "group.id": self.group,
                "session.timeout.ms": 6000,
                "reconnect.backoff.max.ms": 500},
            "retry": {"base_delay_ms": 20, "max_delay_ms": 500}}
        for name, keys in (sections or {}).items():
            config[name] = {**config.get(name, {}), **keys}
        path = self.directory / f"{instance}.conf"
        fragment = self.sandbox.config.read_text(encoding="utf-8") if self.sandbox else ""
        path.write_text(render_config(config) + fragment, encoding="utf-8")
        return path

    def start_daemon(self, instance="presignd-1", sections=None, sets=(), wait=True, wrapper=(),
                     environment=None, program="presignd"):
        """Starts `presignd`; a second call with the same instance is its restart. `sets` are
        SECTION.KEY=VALUE, `wrapper` a command to run it under (valgrind, prlimit)."""
        config = self.write_config(instance, sections)
        command = [*wrapper, self.build / program, "-c", config]
        for value in sets:
            command += ["--set", value]
        daemon = Daemon(instance, command, self.directory / f"{instance}.log",
                        self._admin_ports[instance], environment)
        self.daemons.append(daemon)
        return daemon.wait_ready() if wait else daemon

    def ctl(self, *arguments, stdin=b"", timeout_s=WAIT_S):
        """Runs `presignctl` to its end; a CompletedProcess with bytes."""
        return subprocess.run([self.build / "presignctl", *map(str, arguments)], input=stdin,
                              capture_output=True, timeout=timeout_s)

    # ---- records

    def close_producer(self):
        """The next produce() opens another. librdkafka 2.4 to 2.9 may crash when a topic that it
        knows is deleted and created again."""
        self._producer = None

    def produce(self, events, partition=None):
        """Sends (key, value, headers) each, byte for byte; returns their ids in that order.
        They are spread by key unless a partition is named."""
        if self._producer is None:
            self._producer = Producer({
                "bootstrap.servers": self.kafka.bootstrap, "enable.idempotence": True,
                "message.max.bytes": 16 * 2**20, "linger.ms": 5, "log_level": 0, "reconnect.backoff.max.ms": 200})
            # librdkafka 2.0 learns of a new topic's leaders up to a second late by itself.
            self._producer.list_topics(timeout=WAIT_S)
        events = list(events)
        ids = [None] * len(events)
        errors = []

        def delivered_as(number):
            def note(error, message):
                if error:
                    errors.append(error)
                else:
                    ids[number] = f"{message.topic()}/{message.partition()}/{message.offset()}"
            return note

        options = {} if partition is None else {"partition": partition}
        for number, (key, value, headers) in enumerate(events):
            while True:
                try:
                    self._producer.produce(self.topics[auditor.REQUESTS], value, key, headers=headers,
                                           on_delivery=delivered_as(number), **options)
                    break
                except BufferError:
                    self._producer.poll(0.1)
        self._producer.flush(WAIT_S)
        assert not errors and None not in ids, f"records were not sent: {errors[:3]}"
        return ids

    def new_outcomes(self):
        """The Outcomes that read_committed has come to show since the last look."""
        if self._reader is None:
            self._reader = auditor.Reader(
                self.kafka.bootstrap, [self.topics[auditor.RESULTS], self.topics[auditor.FAILURES]])
        fresh = [Outcome(record) for record in self._reader.follow()]
        self._outcomes.update((outcome.id, outcome) for outcome in fresh)
        return fresh

    def end_reading(self):
        """Before a topic is deleted and made anew: the next look begins at the first records. The offsets of the old
        topic would skip them."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def outcomes(self):
        """{input's id: Outcome} of all that read_committed shows by now. The last one of an id
        is kept: counting doubled ones is the audit's work."""
        self.new_outcomes()
        return self._outcomes

    def wait_for_outcomes(self, ids, timeout_s=WAIT_S):
        """The outcomes of these inputs, as soon as there is one of each."""
        wanted = set(ids)

        def missing():
            return sorted(wanted - self._outcomes.keys())

        wait_until(lambda: wanted <= self.outcomes().keys(),
                   lambda: f"all {len(wanted)} outcomes: {len(missing())} missing, as {missing()[:3]}",
                   timeout_s)
        return {name: self._outcomes[name] for name in wanted}

    def audit(self, wait_s=0, delivery=auditor.EXACTLY_ONCE):
        """With the sandbox's ledger, where it keeps one in its directory."""
        ledger = self.sandbox.ledger_path if self.sandbox else None
        return auditor.audit(self.kafka.bootstrap, wait_s=wait_s, topics=self.topics, delivery=delivery,
                             ledger=ledger if ledger and ledger.exists() else None)

    def assert_audit_passes(self, wait_s=0, delivery=auditor.EXACTLY_ONCE):
        """Every input has exactly one good outcome, or, with auditor.AT_LEAST_ONCE, a valid one; best
        after the daemons have ended."""
        result = self.audit(wait_s, delivery)
        assert result.passed, result.summary()
        return result
