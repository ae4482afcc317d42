#!/usr/bin/env python3
"""Chaos: daemons on a real Apache Kafka of three nodes, under a load, with a schedule of faults
that is drawn from a seed; then two audits of what became of it all. See README.md.

    scripts/chaos [--minutes N | --runs N] [--seed S] [--events N]
"""

import argparse
import collections
import datetime
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "e2e")]

from confluent_kafka import KafkaException, Producer

import auditor
from calls_audit import Bounds, CallsAudit, Kill
from faults import BROKERS, ENDPOINT, FAULTS, SHORT, Faults
from harness import BUILD, World, http_get, wait_until
from kafka_broker import ROOT, BrokerError, Cluster
from load import Load
from set_clock import WallClock

KEPT = ROOT / "build" / "chaos"
FEED_AHEAD = 0.1  # of the events, beyond the next fault
USER, PASSWORD = "presignd", "chaos"
SESSION_TIMEOUT_MS = 6000
# Without an outcome, or with one missing at the end. For an ablated daemon, which is expected to
# lose some, it is shorter.
STALL_LIMIT_S, ABLATED_LIMIT_S = 150, 45
# Statuses with which a daemon may end by itself, to be started again as systemd would:
# unavailable. Anything else is a bug, fenced (75) too: no two have one name here.
RESTARTABLE = {69}
# Share of the good requests that meets each fault of the endpoint.
ENDPOINT_FAULTS = {
    "429": "0.01:0", "500": "0.01", "503": "0.02", "html": "0.005", "202": "0.005",
    "reset-before": "0.015", "reset-after": "0.015", "truncated": "0.01", "unsigned": "0.01",
    "bad-signature": "0.01", "bad-timestamp": "0.005", "unknown-serial": "0.005",
    "signature-test": "0.005", "missing-field": "0.01", "not-json": "0.005", "gzip": "0.005",
    "delay": "0.05:150", "slow-body": "0.01:100",
    # Between requests; those that cost a good answer nothing, so that each call can be explained.
    "408": "0.005", "421": "0.005", "close": "0.01", "idle-close": "0.02:20", "idle-408": "0.01:20"}
COLUMNS = ("date", "seed", "events", "instances", "SIGKILL", "SIGSTOP", "SIGTERM", "brokers",
           "leaders", "endpoint", "output", "clock", "missing", "doubled", "calls wrong",
           "calls", "repeated", "by each kill alone / in flight + unpublished", "restart s", "minutes",
           "load")


# The requests topic of some runs. Null keys it refuses, tombstones it keeps.
COMPACTED = {"cleanup.policy": "compact", "segment.ms": "500", "min.cleanable.dirty.ratio": "0.01",
             "delete.retention.ms": "86400000"}


class Failed(Exception):
    """The run cannot go on, or has gone wrong; the text says how."""


class Plan:
    """What a seed stands for, but for the load."""

    def __init__(self, seed, events, short=False, more=()):
        """`more` are names of faults that are had besides the drawn ones."""
        rng = random.Random(f"plan {seed}")
        self.seed, self.events, self.short = seed, events, short
        self.instances = 2 if short else rng.choice((2, 2, 3))
        self.partitions = rng.randint(3, 6)
        self.max_in_flight = rng.choice((32, 48, 64))
        self.delay_ms = rng.choice((10, 20, 40))
        self.backlog = rng.choice((1000, 3000, 6000))
        self.aborted_share = rng.choice((0.1, 0.3))
        self.compacted = not short and rng.random() < 0.3
        self.late_topic = not short and rng.random() < 0.25
        self.off_clock = (not short) and rng.random() < 0.5
        self.faults = self._draw_faults(rng, more)

    def _draw_faults(self, rng, more):
        """(share of the outcomes at which it comes, name), in that order."""
        table = SHORT if self.short else {
            name: fault.weight for name, fault in FAULTS.items() if name != "clock" or self.off_clock}
        count = len(SHORT) if self.short else max(8, min(40, self.events // 1200))
        names = list(SHORT) if self.short else rng.choices(list(table), table.values(), k=count)
        if self.short:
            rng.shuffle(names)
        else:
            names[:5] = ["kill-alone", "kill-alone", "kill-alone", "sigkill", "sigstop"]  # in every run
        names += more
        shares = sorted(rng.uniform(0.02, 0.9) for _ in names)
        rng.shuffle(names)
        return collections.deque(zip(shares, names))


class Feeder(threading.Thread):
    """Writes the load while the run goes on, a bounded number of events ahead of the outcomes,
    with transactions in between that are aborted: nobody may ever hear of their records."""

    CHUNK = 100

    def __init__(self, run):
        super().__init__(daemon=True)
        self.run_ = run
        self.topic = run.world.topics[auditor.REQUESTS]
        self.sent = 0
        self.aborted = 0
        self.error = None
        self.stop = False
        self._rng = random.Random(f"feeder {run.plan.seed}")
        self._common = {"bootstrap.servers": run.kafka.bootstrap, "log_level": 0, "error_cb": lambda _: None,
                        "reconnect.backoff.max.ms": 500, "partitioner": "murmur2"}

    def run(self):
        try:
            self._write_all()
        except Exception as error:  # told by the main thread
            self.error = error

    def _write_all(self):
        load, plan = self.run_.load, self.run_.plan
        producer = Producer({**self._common, "enable.idempotence": True, "linger.ms": 5})
        left = collections.deque(load.planned[:plan.events])
        while left and not self.stop:
            if self.sent - self.run_.seen > plan.backlog or self.sent >= self.run_.feed_limit:
                time.sleep(0.05)
                continue
            chunk = [left.popleft() for _ in range(min(self.CHUNK, len(left)))]
            self.write(producer, chunk)
            self.sent += len(chunk)
            if self._rng.random() < plan.aborted_share:
                self._write_and_abort()

    def write(self, producer, chunk):
        """Until each was acknowledged. One whose end is unknown is written again: then it is two
        inputs, and the audit, which reads the topic, counts two."""
        while chunk and not self.stop:
            failed = []
            for each in chunk:
                producer.produce(self.topic, each.value, each.key, each.partition, headers=each.headers(),
                                 on_delivery=lambda error, _, each=each: error and failed.append(each))
            producer.flush(120)
            chunk = failed

    def _write_and_abort(self):
        rng = self._rng
        producer = Producer({**self._common, "transactional.id": f"feeder-{self.run_.plan.seed}",
                             "transaction.timeout.ms": 5000})
        try:
            producer.init_transactions(5)
            producer.begin_transaction()
            for _ in range(rng.randint(1, 40)):
                producer.produce(self.topic, b'{"specversion":"1.0"}', b"aborted",
                                 rng.randrange(self.run_.plan.partitions))
            producer.flush(5)
            producer.abort_transaction(5)
            self.aborted += 1
        except KafkaException:
            pass  # a broker is away: the coordinator aborts it when its time is over


class Run:
    """One seed's life. After go(): `problems`, `row`, and the audits' summaries."""

    def __init__(self, plan, program="presignd", environment=None, random_names=False, verbose=False,
                 delivery=auditor.EXACTLY_ONCE):
        self.delivery = delivery
        self.plan, self.program, self.environment = plan, program, environment or {}
        self.random_names, self.verbose = random_names, verbose
        self.limit_s = ABLATED_LIMIT_S if program != "presignd" else STALL_LIMIT_S
        self.counts = collections.Counter()
        self.disturbances = 0
        self.kills, self.restart_s, self.problems = [], [], []
        self.awaited = []  # (Kill, its moment) whose first outcome has not come yet
        self.unstable = time.monotonic()  # when the group last was not as it is now
        self._owned = None
        self.seen = 0
        self.feed_limit = plan.events  # no more is written until the next fault is had
        self.clocks = {}
        self.daemons, self.off = {}, {}  # off: why an instance is not disturbed now
        self.began = time.monotonic()
        self.kafka = Cluster(nodes=3, users={USER: PASSWORD}, settings={
            "min.insync.replicas": "2", "leader.imbalance.check.interval.seconds": "5"})
        self.world = None
        self.log = []

    # ---- what is told

    def say(self, text):
        line = f"{time.monotonic() - self.began:7.2f} {self.seen:6} {text}"
        self.log.append(line)
        if self.verbose:
            print(line, flush=True)

    def problem(self, text):
        self.say(f"PROBLEM {text}")
        self.problems.append(text)

    # ---- programs

    def sections(self, instance, **daemon):
        """The configuration of one instance, as far as it is not the harness's."""
        return {"daemon": {"max_in_flight": self.plan.max_in_flight, **daemon},
                "kafka": {"bootstrap.servers": self.kafka.users_bootstrap,
                          "security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN",
                          "sasl.username": USER, "sasl.password": PASSWORD,
                          "session.timeout.ms": SESSION_TIMEOUT_MS},
                # A held merchant is probed in every tenth of its hold.
                "retry": {"max_attempts": 1000, "base_delay_ms": 10, "max_delay_ms": 300,
                          "hold_unauthorized_ms": 100000}}

    SETS = ("endpoint.timeout_ms=5000", "endpoint.connect_timeout_ms=2000")

    def takes_signals(self, instance):
        """One that was started a moment ago would die of a signal; it listens after that."""
        return http_get(f"{self.daemons[instance].admin}/healthz", 1)[0] == 200

    def set_clock(self, instance, offset_s):
        if instance not in self.clocks:
            self.clocks[instance] = WallClock(self.world.directory / f"{instance}.clock")
        self.clocks[instance].set(offset_s)

    def has_fake_clock(self, instance):
        return self.plan.off_clock and instance == "presignd-2"

    def start(self, instance, wait=False):
        environment = dict(self.environment)
        if self.has_fake_clock(instance):
            environment |= self.clocks[instance].environment
        sets = [*self.SETS, f"daemon.delivery={self.delivery}"]
        if self.random_names:
            sets.append(f"daemon.instance={instance}-{random.randrange(10**9)}")
        self.daemons[instance] = self.world.start_daemon(
            instance, self.sections(instance), sets, wait, environment=environment, program=self.program)

    def start_sandbox(self, faults=None):
        if faults is None:
            faults = [f"{kind}={share}" for kind, share in ENDPOINT_FAULTS.items()]
        self.world.start_sandbox(faults, ["--schema-dir", ROOT / "schemas", "--delay-ms",
                                          self.plan.delay_ms, "--seed", self.plan.seed])

    def metrics(self, instance):
        """{'name{labels}': number}; empty while it does not answer."""
        status, text = http_get(f"{self.daemons[instance].admin}/metrics", 1)
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in lines} if status == 200 else {}

    @staticmethod
    def partitions_of(metrics):
        return {int(name.split('"')[1]) for name in metrics
                if name.startswith("presignd_partition_window_offsets{")}

    def is_stable(self):
        """Every partition has the owner that it had at the last look; notes when it has not."""
        owned = {name: self.partitions_of(self.metrics(name)) for name in self.daemons}
        if owned != self._owned or sum(map(len, owned.values())) != self.plan.partitions:
            self._owned, self.unstable = owned, time.monotonic()
            return False
        return True

    def kill(self, instance):
        """SIGKILL, and its unfinished events a moment before."""
        metrics = self.metrics(instance)
        daemon = self.daemons[instance]
        partitions = self.partitions_of(metrics)

        def jobs(*states):
            return int(sum(metrics.get(f'presignd_jobs{{state="{state}"}}', 0) for state in states))
        daemon.signal(signal.SIGKILL)
        self.unstable = time.monotonic()
        kill = Kill(time.time() * 1000, instance, partitions, jobs("calling"),
                    jobs("answered", "completed", "publishing"))
        daemon.process.wait()
        self.kills.append(kill)
        return kill

    # ---- a run

    def go(self):
        """Everything; True when nothing was wrong. Ends every program in any case."""
        config = COMPACTED if self.plan.compacted else None
        try:
            self.kafka.start()
            self.world = World(self.plan.partitions, self.kafka, BUILD, config)
            with self.world:
                try:
                    self._go()
                except Exception as error:
                    self.problem(f"{type(error).__name__}: {error}")
                    if not isinstance(error, (Failed, AssertionError, BrokerError)):
                        self.say(traceback.format_exc())
                if self.problems:
                    self._keep()
        finally:
            self.kafka.close()
        return not self.problems

    def _go(self):
        plan = self.plan
        self.load = Load(plan.seed, plan.events, plan.partitions, plan.compacted)
        self.start_sandbox()
        if plan.compacted:
            self._prefill()
        faults = Faults(self, random.Random(f"faults {plan.seed}"))
        if plan.late_topic:
            faults.begin("late-topic")
        for number in range(plan.instances):
            instance = f"presignd-{number + 1}"
            self.set_clock(instance, 0)
            self.start(instance)
        if not plan.late_topic:
            for daemon in self.daemons.values():
                daemon.wait_ready()
        self.feeder = Feeder(self)
        self.feeder.start()
        self._live(faults)
        self._end(faults)
        self._audit()

    def _prefill(self):
        """Records of few keys, and then time for the cleaner to make gaps of most of them."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "log_level": 0, "linger.ms": 5})
        topic = self.world.topics[auditor.REQUESTS]
        for _ in range(3):
            for number in range(20 * self.plan.partitions):
                event = self.load.add(partition=number % self.plan.partitions,
                                      key=f"prefill {number % (4 * self.plan.partitions)}".encode(), good=True)
                producer.produce(topic, event.value, event.key, event.partition, headers=event.headers())
            producer.flush(180)
            time.sleep(0.7)
        self.prefilled = 60 * self.plan.partitions

    def poll(self):
        """Takes note of new outcomes, and of daemons that have ended by themselves."""
        try:
            fresh = self.world.new_outcomes()
        except auditor.AuditError:
            time.sleep(0.1)  # the late topic
            return
        now = time.monotonic()
        if fresh:
            self.moved = now
        self.seen += len(fresh)
        for entry in list(self.awaited):
            kill, killed = entry
            if any(outcome.data["event"]["partition"] in kill.partitions and
                   outcome.record.timestamp_ms > kill.wall_ms for outcome in fresh):
                self.awaited.remove(entry)
                self.restart_s.append(now - killed)
        self._restart_ended()

    def _restart_ended(self):
        for instance, daemon in list(self.daemons.items()):
            if daemon.running or self.off.get(instance) == "away":
                continue
            status = daemon.process.returncode
            expected = self.off.get(instance) == "ending" and status == 0
            if not expected:
                self.say(f"{instance} ended by itself with status {status}")
                self.counts["ended by itself"] += 1
                if status not in RESTARTABLE:
                    self.problem(f"{instance} ended with status {status}")
            self.off.pop(instance, None)
            self.disturbances += len(self.daemons)
            self.start(instance)

    def _live(self, faults):
        plan = self.plan
        schedule = collections.deque(plan.faults)
        self.moved = time.monotonic()
        while self.feeder.is_alive() or self.seen < self.feeder.sent or schedule or faults.active:
            self.poll()
            if self.feeder.error:
                raise Failed(f"the load: {self.feeder.error!r}")
            faults.end_due()
            self._limit_feeder(schedule)
            done = self.seen >= self.feeder.sent and not self.feeder.is_alive()
            if schedule and (done or self.seen >= schedule[0][0] * plan.events):
                if faults.begin(schedule[0][1]) or (done and not faults.active):
                    schedule.popleft()
            if time.monotonic() - self.moved > self.limit_s:
                self.problem(f"no outcome in {self.limit_s} s: {self.seen} of {self.feeder.sent}, "
                             f"active faults {[each.name for each in faults.active]}")
                self.feeder.stop = True
                break

    def _limit_feeder(self, schedule):
        """So that there is work left at every fault. A measured kill needs a steady stream."""
        share, name = schedule[0] if schedule else (1, None)
        limit = share + FEED_AHEAD if name != "kill-alone" else 1
        self.feed_limit = min(1, limit) * self.plan.events

    def _end(self, faults):
        """No fault is on any more: everything has to come to its end."""
        faults.end_all()
        self.kafka.start()
        for instance, daemon in list(self.daemons.items()):
            wait_until(lambda i=instance: self._ready_or_restarted(i), f"ready: {instance}")
        self.inputs = auditor.Reader(self.kafka.bootstrap, [self.world.topics[auditor.REQUESTS]])
        self.inputs.read_to_end()
        names = {record.id for record in self.inputs.records}
        deadline = time.monotonic() + self.limit_s
        while not names <= self.world._outcomes.keys() and time.monotonic() < deadline:
            self.poll()
        for instance, daemon in self.daemons.items():
            if daemon.running:
                status = daemon.terminate()
                if status != 0:
                    self.problem(f"{instance} stopped with status {status}")

    def _ready_or_restarted(self, instance):
        self.poll()
        return http_get(f"{self.daemons[instance].admin}/readyz")[0] == 200

    # ---- what came of it

    def _audit(self):
        topics = self.world.topics
        validators = auditor.load_validators(auditor.SCHEMAS, topics)
        reader = auditor.Reader(self.kafka.bootstrap, [topics[auditor.RESULTS], topics[auditor.FAILURES]])
        reader.read_to_end()
        outcomes = reader.records
        inputs = self.inputs.records
        names = {record.id for record in inputs}
        gone = [record for record in outcomes if record.header("ce_id") not in names]
        if self.plan.compacted:
            self._audit_compacted(gone)
            outcomes = [record for record in outcomes if record.header("ce_id") in names]
        self.audit = auditor.Audit(inputs, outcomes, topics, validators, reader.unstable(),
                                   delivery=self.delivery)
        reader.close()
        self.inputs.close()
        if not self.audit.passed:
            self.problem(self.audit.summary())
        if self.delivery == auditor.AT_LEAST_ONCE:  # repeated ones may be copies
            outcomes = list(self.audit.valid.values())
        self._audit_calls(inputs, outcomes)

    def _audit_compacted(self, gone):
        """Records that the cleaner took: those that were consumed before have one outcome."""
        self.counts["compacted"] = self.plan.events + self.prefilled - len(self.inputs.records)
        twice = [name for name, count in collections.Counter(
            record.header("ce_id") for record in gone).items() if count > 1]
        if twice and self.delivery == auditor.EXACTLY_ONCE:
            self.problem(f"doubled, of records that were compacted away since: {twice[:5]}")

    def _audit_calls(self, inputs, outcomes):
        expected = [self.load.find(record).expected(record.id) for record in inputs]
        by_name = [(record.header("ce_id"), json.loads(record.value)) for record in outcomes]
        if self.plan.compacted:  # their calls are in the ledger, too
            known = {each.body for each in expected}
            expected += [each.expected(f"compacted/0/{-each.number - 1}")
                         for each in self.load.planned if each.body not in known]
        bounds = Bounds(disturbances=self.disturbances, unfinished=4 * self.plan.max_in_flight,
                        off_clocks=self.plan.off_clock, ordered=not self.counts["small"])
        self.calls = CallsAudit(expected, by_name, self.world.sandbox.ledger(), bounds, self.kills)
        if not self.calls.passed:
            self.problem(self.calls.summary())

    def _keep(self):
        """Logs and ledger of a run that went wrong, for whoever looks into it."""
        self.kept = KEPT / f"seed-{self.plan.seed}"
        shutil.rmtree(self.kept, ignore_errors=True)
        self.kept.mkdir(parents=True)
        for path in self.world.directory.rglob("*"):
            if path.suffix in (".log", ".conf", ".jsonl"):
                shutil.copy(path, self.kept / path.name)
        for node in self.kafka.nodes:
            if node.log.exists():
                shutil.copy(node.log, self.kept / f"kafka-{node.node_id}.log")
        (self.kept / "run.log").write_text("\n".join(self.log) + "\n")

    def row(self):
        """The line of the table."""
        counts = self.counts
        audit, calls = getattr(self, "audit", None), getattr(self, "calls", None)
        problems = audit.problems if audit else {}
        measured = [kill for kill in self.kills if kill.alone and kill.repeated is not None]
        times = self.restart_s
        values = (
            f"{datetime.date.today()}", self.plan.seed, self.plan.events, self.plan.instances,
            counts["sigkill"] + counts["kill-alone"] + counts["away"],
            counts["sigstop"] + counts["pause"], counts["sigterm"] + counts["scale"],
            sum(counts[name] for name in BROKERS), counts["leader"],
            sum(counts[name] for name in ENDPOINT),
            counts["small"] + counts["denied"] + counts["late-topic"], counts["clock"],
            len(problems["missing"]) if audit else "?", len(problems["doubled"]) if audit else "?",
            sum(map(len, calls.problems.values())) if calls else "?",
            len(calls.ledger) if calls else "?", calls.repeated if calls else "?",
            " ".join(f"{kill.repeated}/{kill.in_air}+{kill.unpublished}" for kill in measured) or "-",
            " ".join(f"{seconds:.2f}" for seconds in times) or "-",
            f"{(time.monotonic() - self.began) / 60:.1f}", f"{os.getloadavg()[1]:.0f}")
        return "| " + " | ".join(map(str, values)) + " |"


def heading():
    return f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}"


def distribution(seconds):
    """How long restarts took until their first outcome, over all runs."""
    if not seconds:
        return "no restart was measured"
    ordered = sorted(seconds)
    quick = sum(each <= 1 for each in ordered)
    rank = lambda share: ordered[min(len(ordered) - 1, int(share * len(ordered)))]
    return (f"{len(ordered)} restarts, to the first outcome: {quick} within 1 s, median {rank(0.5):.2f} s, "
            f"p90 {rank(0.9):.2f} s, max {ordered[-1]:.2f} s")


def _command(options, seed):
    """What repeats one run."""
    words = ["scripts/chaos", "--seed", str(seed), "--events", str(options.events)]
    words += ["--short"] if options.short else []
    words += ["--at-least-once"] if options.at_least_once else []
    words += ["--ablate", options.ablate] if options.ablate else []
    for name in options.fault:
        words += ["--fault", name]
    return " ".join(words)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="Runs of faults drawn from seeds.")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="run seeds in turn for this many minutes")
    length.add_argument("--runs", type=int, default=1, help="number of runs (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="of the first run (default: 1)")
    parser.add_argument("--events", type=int, default=20000, help="of each run (default: 20000)")
    parser.add_argument("--short", action="store_true", help="the short run of the test suite")
    parser.add_argument("--ablate", metavar="SAFEGUARD", help="with this safeguard taken away; see README.md")
    parser.add_argument("--at-least-once", action="store_true", help="with delivery = at_least_once")
    parser.add_argument("--fault", action="append", default=[], choices=FAULTS, metavar="NAME",
                        help="one more fault in each run, besides the drawn ones; as often as you like")
    parser.add_argument("--verbose", action="store_true", help="say what is done as it is done")
    options = parser.parse_args(arguments)
    until = None if options.minutes is None else time.monotonic() + options.minutes * 60
    seed, failed, restarts = options.seed, 0, []
    print(heading(), flush=True)
    while time.monotonic() < until if until else seed < options.seed + options.runs:
        plan = Plan(seed, options.events, options.short, options.fault)
        random_names = options.ablate == "random-names"
        program, environment = "presignd", {}
        if options.ablate and not random_names:
            program, environment = "presignd-ablated", {"PRESIGND_ABLATE": options.ablate}
        run = Run(plan, program, environment, random_names, options.verbose,
                  auditor.AT_LEAST_ONCE if options.at_least_once else auditor.EXACTLY_ONCE)
        try:
            well = run.go()
        except BrokerError as trouble:
            print(f"seed {seed} did not begin: {trouble}", file=sys.stderr, flush=True)
            seed, failed = seed + 1, failed + 1
            continue
        print(run.row(), flush=True)
        restarts += run.restart_s
        if not well:
            failed += 1
            print("\n".join(run.problems), file=sys.stderr)
            print(f"logs: {run.kept}\nagain: {_command(options, seed)}", file=sys.stderr, flush=True)
        seed += 1
    print(f"\n{seed - options.seed} runs, {failed} failed\n{distribution(restarts)}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of every `finally`
    main()
