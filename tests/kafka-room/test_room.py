"""Consumer and publisher with a minimal owner (worker.c) on a real Apache Kafka. The audit reads the
outcomes as a read_committed consumer does."""

import collections
import contextlib
import itertools
import os
import queue
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import uuid
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from auditor import Reader
from harness import wait_until
from kafka_broker import Cluster, dying_with_us
import last_words
from set_clock import WallClock

WORKER = Path(os.environ.get("PRESIGND_BUILD_DIR", "build/release")) / "tests" / "kafka-worker"
PARTITIONS = 4
PATIENCE_S = 180  # only a broken program takes that long


def now_ms():
    """As the workers read it."""
    return int(time.time() * 1000)


def settings(kafka, **more):
    return {"bootstrap.servers": kafka.bootstrap, "log_level": 0,
            "reconnect.backoff.max.ms": 200, **more}


class Worker:
    """A worker process. Each of its lines has a time in milliseconds."""

    def __init__(self, kafka, group, instance, **options):
        self.name = instance
        given = [f"{name.replace('_', '.')}={value}" for name, value in options.items()]
        self.process = subprocess.Popen(
            [*dying_with_us(), str(WORKER), kafka.bootstrap, group, instance, *given],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines, self.seen, self.log = queue.Queue(), [], []
        self._threads = [threading.Thread(target=self._read, daemon=True),
                         threading.Thread(target=self._read_log, daemon=True)]
        for thread in self._threads:
            thread.start()
        last_words.remember(self)

    def last_words(self):
        self.count("")
        return {f"worker {self.name}": "\n".join([*self.seen[-30:], *map(str.rstrip, self.log[-10:])])}

    def _read(self):
        for line in self.process.stdout:
            at, text = line.rstrip("\n").split(" ", 1)
            self.lines.put((int(at), text))
        self.lines.put((0, "EOF"))

    def _read_log(self):
        self.log.extend(self.process.stderr)

    def wait_for(self, pattern, timeout_s=PATIENCE_S, since_ms=0):
        """The next line that matches, as (time in ms, match). Lines from before `since_ms`, a time of
        now_ms(), are skipped: the worker writes faster than a test reads."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                at, text = self.lines.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                text = "EOF"
            if text == "EOF":
                raise AssertionError(f"no line with {pattern!r}; there were {self.seen[-20:]}, "
                                     f"and logged: {''.join(self.log[-10:])}")
            self.seen.append(text)
            found = re.search(pattern, text)
            if found and at >= since_ms:
                return at, found

    def count(self, pattern):
        while not self.lines.empty():
            self.seen.append(self.lines.get()[1])
        return sum(bool(re.search(pattern, text)) for text in self.seen)

    def assigned(self):
        """How many partitions it has by its last word on them."""
        self.count("")
        counts = [found[1] for found in map(re.compile(r"assigned (\d+) ").match, self.seen) if found]
        return int(counts[-1]) if counts else 0

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, timeout_s=PATIENCE_S):
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def kill(self):
        last_words.forget(self)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        self.process.stdout.close()
        self.process.stderr.close()


class Load(threading.Thread):
    """Sends records until stopped."""

    def __init__(self, kafka, topic, per_s=400):
        super().__init__(daemon=True)
        self.producer = Producer(settings(kafka, acks="all"))
        self.topic = topic
        self.pause_s, self.ended, self.count = 1 / per_s, threading.Event(), 0
        self.start()

    def run(self):
        while not self.ended.is_set():
            self.producer.produce(self.topic, b"x" * 100, key=str(self.count))
            self.producer.poll(0)
            self.count += 1
            time.sleep(self.pause_s)

    def stop(self):
        self.ended.set()
        self.join()
        if self.producer.flush(PATIENCE_S):
            raise AssertionError("requests were left unsent")


class Room(unittest.TestCase):
    """Each test has its own topics, group and instances. A class has one broker."""

    nodes = 1
    version = None  # of Kafka
    tags = itertools.count(1)

    @classmethod
    def setUpClass(cls):
        cls.kafka = Cluster(nodes=cls.nodes, version=cls.version)
        cls.addClassCleanup(cls.kafka.close)
        cls.kafka.start()

    def setUp(self):
        tag = next(Room.tags)
        self.group, self.requests, self.results, self.failures = (
            f"{name}-{tag}" for name in ("room", "requests", "results", "failures"))
        self.workers = []
        for topic, partitions in ((self.requests, PARTITIONS), (self.results, 2), (self.failures, 1)):
            self.kafka.create_topic(topic, partitions=partitions)

    def worker(self, instance="one", **options):
        topics = {f"worker_{name}": getattr(self, name) for name in ("requests", "results", "failures")}
        worker = Worker(self.kafka, self.group, f"{self.group}-{instance}", **{**topics, **options})
        self.addCleanup(worker.kill)
        self.workers.append(worker)
        return worker

    def load(self):
        return Load(self.kafka, self.requests)

    def send(self, count, value=b"x", **record):
        producer = Producer(settings(self.kafka, acks="all"))
        for i in range(count):
            producer.produce(self.requests, value, partition=i % PARTITIONS, **record)
        self.assertEqual(producer.flush(PATIENCE_S), 0)

    def ends(self):
        consumer = Consumer(settings(self.kafka, **{"group.id": str(uuid.uuid4())}))
        try:
            return [consumer.get_watermark_offsets(TopicPartition(self.requests, p), timeout=180)[1]
                    for p in range(PARTITIONS)]
        finally:
            consumer.close()

    @contextlib.contextmanager
    def reader(self, topic):
        reader = Reader(self.kafka.bootstrap, [topic])
        try:
            yield reader
        finally:
            reader.close()

    def wait_for_outcomes(self, topic, count):
        def enough():
            reader.follow()
            return len(reader.records) >= count
        with self.reader(topic) as reader:
            wait_until(enough, lambda: f"{count} records in {topic}, there are {len(reader.records)}", PATIENCE_S)

    def outcomes(self, topic, expected):
        """Committed records of a topic: the expected number, and all others after the workers have
        stopped."""
        self.wait_for_outcomes(topic, expected)
        for worker in self.workers:
            if worker.process.poll() is None:
                self.assertEqual(worker.stop(), 0, worker.log[-10:])
        with self.reader(topic) as reader:
            reader.read_to_end()
            self.assertEqual(reader.unstable(), 0, "a transaction was left open")
            return reader.records

    def audit(self):
        """Each request has one outcome. Returns their number. Stops the workers."""
        wanted = {f"{p}/{o}" for p, end in enumerate(self.ends()) for o in range(end)}
        values = Counter(r.value.decode() for r in self.outcomes(self.results, len(wanted)))
        doubled = [value for value, count in values.items() if count > 1]
        self.assertEqual((sorted(wanted - set(values))[:10], doubled[:10],
                          sorted(set(values) - wanted)), ([], [], []), "missing, doubled, strange")
        return len(wanted)


class Records(Room):
    def test_keys_and_headers_arrive_as_they_were(self):
        self.worker()
        headers = [("a", b"1"), ("null", None), ("empty", b""), ("a", b"\0\xff")]
        self.send(1, key=None, headers=headers)
        self.send(1, key=b"", headers=headers)
        self.send(1, key=b"k\0\xff", headers=[])
        self.send(1, value=b"!bad", key=b"f")
        self.wait_for_outcomes(self.failures, 1)
        got = self.outcomes(self.results, 3)
        self.assertEqual({(r.key, tuple(r.headers)) for r in got},
                         {(None, tuple(headers)), (b"", tuple(headers)), (b"k\0\xff", ())})
        self.assertEqual([r.key for r in self.outcomes(self.failures, 1)], [b"f"])

    def test_metadata_comes_back_at_the_next_start(self):
        first = self.worker(worker_metadata=4096)
        first.wait_for("assigned 4")
        self.send(8)
        first.wait_for("committed")
        self.audit()
        second = self.worker()
        for _ in range(PARTITIONS):
            _, found = second.wait_for(r"position (\d) (\d+) w(\d+)\.(x+)$")
            self.assertEqual(found[2], "2")
            self.assertEqual(found[3], "2")
            self.assertEqual(len(found[3]) + 2 + len(found[4]), 4096)

    def test_metadata_over_the_brokers_limit_aborts_the_transaction(self):
        worker = self.worker(worker_metadata=5000)
        self.send(1)
        worker.wait_for("aborted 1 .*sending offsets: .*OFFSET_METADATA_TOO_LARGE")
        worker.wait_for("aborted 1")  # it tries for ever
        worker.kill()
        self.assertEqual(self.outcomes(self.results, 0), [])


class Sizes(Room):
    def test_a_record_over_our_limit_is_refused_alone(self):
        worker = self.worker(worker_fat=3, message_max_bytes=1000000)
        self.send(40)
        _, found = worker.wait_for("refused")
        worker.wait_for("shrinking")
        self.assertEqual(self.audit(), 40)

    def test_a_record_over_the_topics_limit_is_refused_alone(self):
        self.kafka.create_topic(f"small-{self.results}", config={"max.message.bytes": "100000"})
        worker = self.worker(worker_fat=5, worker_results=f"small-{self.results}",
                             **{"message.max.bytes": "5000000"})
        self.send(40)
        worker.wait_for("refused")
        worker.wait_for("shrinking")
        values = [r.value for r in self.outcomes(f"small-{self.results}", 40)]
        self.assertEqual((len(set(values)), len(values)), (40, 40))

    def test_records_that_are_too_large_together_go_in_smaller_requests(self):
        self.kafka.create_topic(f"small-{self.results}", config={"max.message.bytes": "1500"})
        self.send(200)
        worker = self.worker(worker_results=f"small-{self.results}")
        values = [r.value for r in self.outcomes(f"small-{self.results}", 200)]
        self.assertEqual((len(set(values)), len(values)), (200, 200))
        self.assertLess(worker.count("refused"), 20)  # each one halves the maximum of a request
        self.assertEqual(worker.count("shrinking|aborted"), 0)


class Errors(Room):
    def test_outcomes_wait_for_a_missing_topic(self):
        absent = f"absent-{self.results}"
        worker = self.worker(worker_results=absent)
        self.send(3)
        worker.wait_for(f"refused .*topic {absent} does not exist")
        self.kafka.create_topic(absent)
        self.assertEqual(len(self.outcomes(absent, 3)), 3)

    def test_an_open_transaction_delays_only_its_partition(self):
        early = self.worker("early")
        early.wait_for("assigned")  # so that the groups' topic exists
        self.assertEqual(early.stop(), 0)
        self.group += "-late"
        producer = Producer(settings(self.kafka, **{"transactional.id": self.group,
                                                    "transaction.timeout.ms": 900000}))
        producer.init_transactions(180)
        producer.begin_transaction()
        # A group without members accepts commits from everybody.
        outsider = Consumer(settings(self.kafka, **{"group.id": self.group}))
        producer.send_offsets_to_transaction([TopicPartition(self.requests, 0, 0)],
                                             outsider.consumer_group_metadata(), 30)
        late = self.worker("late")
        late.wait_for("assigned 4")
        for partition in (1, 2, 3):  # they come in any order
            wait_until(lambda: late.count(f"position {partition} "), f"position {partition}", PATIENCE_S)
        self.send(40)
        self.wait_for_outcomes(self.results, 30)

        def waits():
            late.signal(signal.SIGUSR1)
            return late.count("status joined 1 .*1 of 4 partitions: .*open transaction")
        wait_until(waits, lambda: f"a word on the open transaction: {late.seen[-5:]}", PATIENCE_S, interval_s=0.2)
        self.assertEqual(late.count("position 0 "), 0)
        producer.abort_transaction(180)
        late.wait_for("position 0 ")
        values = [record.value for record in self.outcomes(self.results, 40)]
        self.assertEqual((len(set(values)), len(values)), (40, 40))
        self.assertEqual(late.count("went back"), 0)
        outsider.close()


class Restarts(Room):
    def test_kill_and_restart_under_load(self):
        """A restart does not wait for the end of the killed one's session, which is longer than our
        patience."""
        load, back_ms = self.load(), []
        worker = self.worker(session_timeout_ms=1500 * PATIENCE_S)
        worker.wait_for("assigned 4")
        for _ in range(6):
            time.sleep(0.7)  # at some point of its work
            worker.kill()
            killed_ms = now_ms()
            worker = self.worker(session_timeout_ms=1500 * PATIENCE_S)
            at, _ = worker.wait_for("assigned 4")
            back_ms.append(at - killed_ms)
            worker.wait_for("committed")
        load.stop()
        count = self.audit()
        print(f"\n{count} records, 6 SIGKILL; partitions were back after {back_ms} ms")

    def test_two_instances_share_partitions_and_give_them_back(self):
        load = self.load()
        first = self.worker("one")
        first.wait_for("assigned 4")
        second = self.worker("two")
        first.wait_for("revoking")
        first.wait_for("released")
        first.wait_for("assigned 2")
        second.wait_for("assigned 2")
        third = self.worker("three")
        third.wait_for("assigned")
        third.wait_for("committed")
        load.stop()
        self.audit()

    def test_a_standby_joins_without_partitions(self):
        workers = [self.worker(f"w{i}") for i in range(PARTITIONS + 1)]
        wait_until(lambda: any(worker.count("^assigned 0") for worker in workers), "a standby", PATIENCE_S)

    def test_a_stop_longer_than_the_session_duplicates_nothing(self):
        load = self.load()
        # Only the first one's session is short: a slow machine must not end the other's, too.
        first = self.worker("one", session_timeout_ms=2000, heartbeat_interval_ms=300)
        first.wait_for("committed")
        second = self.worker("two")
        for _ in range(3):
            wait_until(lambda: (first.assigned(), second.assigned()) == (2, 2), "a share for each", PATIENCE_S)
            first.wait_for("committed", since_ms=now_ms())
            first.signal(signal.SIGSTOP)
            wait_until(lambda: second.assigned() == 4, "the end of its session", PATIENCE_S)
            second.wait_for("committed", since_ms=now_ms())
            continued_ms = now_ms()
            first.signal(signal.SIGCONT)
            first.wait_for("assigned 2", since_ms=continued_ms)
        load.stop()
        self.audit()
        print(f"\nafter SIGCONT: {first.count('^not-ours')} not-ours, "
              f"{first.count('^aborted')} aborted, {first.count('^lost')} lost")

    def test_after_a_stop_longer_than_the_transactions_timeout_it_continues(self):
        load = self.load()
        first = self.worker("one", transaction_timeout_ms=1000, session_timeout_ms=30000)
        first.wait_for("committed")
        for stops in range(1, 101):
            first.count("")  # skips its earlier lines
            first.wait_for("submitted")
            time.sleep(random.uniform(0, 0.02))  # at a random point of the transaction
            first.signal(signal.SIGSTOP)
            time.sleep(2.5)  # the broker checks time-outs every half second
            first.signal(signal.SIGCONT)
            first.wait_for("^(committed|aborted)")
            if first.count("^aborted") >= 2:
                break
        first.wait_for("committed")
        load.stop()
        self.audit()
        print(f"\n{stops} SIGSTOP, {first.count('^aborted')} transactions were timed out")
        self.assertGreater(first.count("^aborted"), 0, "no transaction was ever met")
        self.assertEqual(first.count("^(fenced|failed)"), 0)

    def test_a_second_process_with_the_same_name_ends_the_first(self):
        load = self.load()
        first = self.worker("one")
        first.wait_for("committed")
        second = self.worker("one")
        second.wait_for("committed")
        self.assertEqual(first.process.wait(PATIENCE_S), 75)
        first.wait_for("^failed duplicate")
        load.stop()
        self.audit()

    def test_the_first_does_not_take_the_id_back_before_it_ends(self):
        """Without load the first learns of it by its consumer, and asks who holds the id."""
        first = self.worker("one", worker_failure_pause_ms=3000)
        first.wait_for("assigned")
        second = self.worker("one")
        first.wait_for("^failed duplicate")
        self.assertEqual(first.process.wait(PATIENCE_S), 75)
        load = self.load()
        second.wait_for("committed")
        load.stop()
        self.audit()
        self.assertEqual(second.count("^failed"), 0)


class Leaves(Room):
    """No session ends while we wait, so whoever gets partitions was given them."""

    def worker(self, instance="one", **options):
        return super().worker(instance, session_timeout_ms=1500 * PATIENCE_S, **options)

    def leave(self, worker):
        left_ms = now_ms()
        worker.signal(signal.SIGUSR2)
        at, _ = worker.wait_for("^left", since_ms=left_ms)
        return left_ms, at - left_ms

    def test_an_instance_leaves_and_comes_back_under_load(self):
        load, took_ms = self.load(), []
        first, second = self.worker("one"), self.worker("two")
        for _ in range(3):
            wait_until(lambda: (first.assigned(), second.assigned()) == (2, 2), "a share for each", PATIENCE_S)
            first.wait_for("committed", since_ms=now_ms())
            left_ms, _ = self.leave(first)
            at, _ = second.wait_for("assigned 4", since_ms=left_ms)
            took_ms.append(at - left_ms)
            second.wait_for("committed", since_ms=at)
            first.signal(signal.SIGUSR2)
        first.wait_for("assigned 2")
        load.stop()
        self.audit()
        print(f"\nthe other one had all partitions after {took_ms} ms")

    def test_an_instance_leaves_during_a_rebalance(self):
        load = self.load()
        first = self.worker("one")
        first.wait_for("assigned 4")
        second = self.worker("two")
        first.wait_for("revoking")
        self.leave(first)
        second.wait_for("assigned 4")
        load.stop()
        self.audit()

    def test_a_standby_leaves_and_comes_back(self):
        workers = [self.worker(f"w{i}") for i in range(PARTITIONS + 1)]

        def standby():
            shares = sorted((worker.assigned(), worker.name, worker) for worker in workers)
            return [share for share, *_ in shares] == [0, 1, 1, 1, 1] and all(
                worker.count("^assigned") for worker in workers) and shares[0][2]
        worker = wait_until(standby, "a standby", PATIENCE_S)
        self.leave(worker)
        back_ms = now_ms()
        worker.signal(signal.SIGUSR2)
        worker.wait_for("^assigned", since_ms=back_ms)

    def test_it_leaves_without_a_broker(self):
        worker = self.worker()
        worker.wait_for("assigned 4")
        self.kafka.kill()
        try:
            self.leave(worker)
        finally:
            self.kafka.start()
        worker.signal(signal.SIGUSR2)
        worker.wait_for("assigned 4")

    def test_it_leaves_before_it_has_joined(self):
        worker = self.worker()
        worker.wait_for("started")
        self.leave(worker)
        worker.signal(signal.SIGUSR2)
        worker.wait_for("assigned 4")


class LeavesOlder(Leaves):
    version = "2.5.1"


class Outages(Room):
    def setUp(self):
        self.kafka.start()  # the previous test may have stopped it
        super().setUp()

    def test_the_broker_dies_and_returns(self):
        load = self.load()
        worker = self.worker("one")
        worker.wait_for("committed")
        for _ in range(2):
            self.kafka.kill()
            time.sleep(1)
            worker.count("")
            self.kafka.start()
            worker.wait_for("committed")
        load.stop()
        self.audit()

    def test_it_ends_while_the_broker_is_down(self):
        worker = self.worker("one")
        worker.wait_for("assigned 4")
        self.kafka.kill()
        worker.stop()


class Liar(threading.Thread):
    """A proxy before the broker. `lies` maps the API key of a request to the error codes of its next
    answers. In both kinds of answers the code follows correlation id and throttle time."""

    OFFSET_FETCH, FIND_COORDINATOR, END_TXN, TXN_OFFSET_COMMIT = 9, 10, 26, 28

    def __init__(self, port):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.target = self.listener.getsockname()[1], port
        self.lies, self.told = {self.FIND_COORDINATOR: [], self.END_TXN: []}, []
        self.holds = {}  # by API key, an event that requests wait for
        self.held, self.passed = collections.Counter(), collections.Counter()
        self.start()

    def hold(self, key):
        self.holds[key] = threading.Event()

    def release(self):
        for event in self.holds.values():
            event.set()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            broker = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            client.close()
            return
        asked = {}  # API keys of unanswered requests, by correlation id
        threading.Thread(target=self._pump, args=(client, broker, asked, True), daemon=True).start()
        self._pump(broker, client, asked, False)

    def _pump(self, source, sink, asked, requests):
        try:
            with source.makefile("rb") as stream:
                while len(size := stream.read(4)) == 4:
                    frame = bytearray(stream.read(int.from_bytes(size, "big")))
                    if requests:
                        key = int.from_bytes(frame[0:2], "big")
                        asked[bytes(frame[4:8])] = key
                        if key in self.holds and not self.holds[key].is_set():
                            self.held[key] += 1
                            self.holds[key].wait()
                        self.passed[key] += 1
                    else:
                        self._lie(asked.pop(bytes(frame[0:4]), None), frame)
                    sink.sendall(size + frame)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        source.close()

    def _lie(self, key, frame):
        if self.lies.get(key):
            self.told.append(int.from_bytes(frame[8:10], "big"))
            frame[8:10] = self.lies[key].pop().to_bytes(2, "big", signed=True)


class Lies(Room):
    """The producer gets other answers than the broker gave."""

    @classmethod
    def setUpClass(cls):
        cls.kafka = Cluster()
        cls.addClassCleanup(cls.kafka.close)
        cls.liar = Liar(cls.kafka.nodes[0].port)
        cls.addClassCleanup(cls.liar.listener.close)
        cls.kafka.bootstrap = f"127.0.0.1:{cls.liar.port}"
        cls.kafka.settings["advertised.listeners"] = f"PLAINTEXT://{cls.kafka.bootstrap}"
        cls.kafka.start()

    def setUp(self):
        super().setUp()
        self.liar.told.clear()
        self.addCleanup(self.liar.release)

    def hold_a_commit(self):
        """Sends records, and returns when their commit waits in the proxy."""
        held = self.liar.held[Liar.END_TXN]
        self.liar.hold(Liar.END_TXN)
        self.send(8)
        wait_until(lambda: self.liar.held[Liar.END_TXN] > held, "a commit under way", PATIENCE_S)

    def completed(self, error):
        load = self.load()
        worker = self.worker()
        for _ in range(3):
            worker.wait_for("committed")
            time.sleep(0.3)
            self.liar.lies[Liar.END_TXN].append(error)
            wait_until(lambda: not self.liar.lies[Liar.END_TXN], "the lie to be told", PATIENCE_S)
            worker.count("")
        worker.wait_for("committed")
        load.stop()
        self.audit()
        self.assertEqual(self.liar.told, [0, 0, 0], "the broker had committed each time")
        self.assertEqual(worker.count("^aborted"), 0)

    def test_a_fatal_error_in_place_of_success(self):
        self.completed(48)  # INVALID_TXN_STATE

    def test_an_unknown_error_in_place_of_success(self):
        self.completed(-1)  # UNKNOWN_SERVER_ERROR

    def test_a_transaction_that_timed_out_is_not_a_fence(self):
        worker = self.worker(transaction_timeout_ms=1000)
        worker.wait_for("assigned 4")
        self.hold_a_commit()
        with self.reader(self.results) as reader:
            def is_aborted():
                reader.follow()
                return reader.unstable() == 0
            reader.read_to_end()
            wait_until(is_aborted, "the end of the transaction's time", PATIENCE_S)
            self.assertEqual(reader.records, [])
        self.liar.release()
        worker.wait_for("committed")
        self.assertEqual(self.audit(), 8)
        self.assertEqual(worker.count("^fenced"), 0)
        self.assertIn("_FENCED", "".join(worker.log))

    def test_the_clock_is_set_during_a_commit(self):
        """The new producer finds out the result of the commit."""
        with tempfile.NamedTemporaryFile() as file:
            clock = WallClock(file.name)
            with clock.preloaded():
                worker = self.worker()
            worker.wait_for("assigned 4")
            self.hold_a_commit()
            clock.set(-900)
            worker.wait_for("renewed clock_set")
            self.liar.release()
            worker.wait_for("assigned 4")
            self.assertEqual(self.audit(), 8)

    def test_offsets_wait_until_those_of_the_last_transaction_are_applied(self):
        """Otherwise a broker that applies offsets late (KAFKA-17507) applies these, too."""
        worker = self.worker()
        worker.wait_for("assigned 4")
        for partition in range(4):  # they come in any order
            wait_until(lambda: worker.count(f"position {partition} "), f"position {partition}", PATIENCE_S)
        held = self.liar.held[Liar.OFFSET_FETCH]
        self.liar.hold(Liar.OFFSET_FETCH)
        self.send(8)
        wait_until(lambda: self.liar.held[Liar.OFFSET_FETCH] > held, "the positions asked for", PATIENCE_S)
        sent = self.liar.passed[Liar.TXN_OFFSET_COMMIT]
        self.send(8)
        time.sleep(1)
        self.assertEqual(self.liar.passed[Liar.TXN_OFFSET_COMMIT], sent)
        self.liar.release()
        self.wait_for_outcomes(self.results, 16)
        self.assertEqual(self.audit(), 16)

    def test_a_call_that_does_not_return(self):
        worker = self.worker(worker_stuck_ms=12000)
        worker.wait_for("assigned 4")

        def ready():
            worker.signal(signal.SIGUSR1)
            return worker.count("status joined 1 ready 1")
        wait_until(ready, "a producer that is ready", PATIENCE_S, interval_s=0.2)
        # COORDINATOR_NOT_AVAILABLE until librdkafka has no retries left. Then it waits until some
        # connection changes, without a time-out.
        self.liar.lies[Liar.FIND_COORDINATOR] = [15] * 1000
        self.send(8)
        worker.wait_for("aborted .*no answer")
        self.liar.lies[Liar.FIND_COORDINATOR].clear()
        worker.wait_for("committed")
        self.assertEqual(self.audit(), 8)


class ThreeNodes(Room):
    nodes = 3

    def leads(self, node):
        """True also while no broker answers."""
        try:
            topics = self.kafka.admin().list_topics(timeout=60).topics
        except KafkaException:
            return True
        return any(partition.leader == node.node_id for topic in topics.values()
                   for partition in topic.partitions.values())

    def test_brokers_fail_one_after_the_other(self):
        load = self.load()
        worker = self.worker("one")
        worker.wait_for("committed")
        for node in self.kafka.nodes:
            self.kafka.kill(self.kafka.nodes.index(node))
            wait_until(lambda: not self.leads(node), "other leaders", PATIENCE_S)
            worker.count("")
            worker.wait_for("committed")
            self.kafka.start()
            worker.count("")
            worker.wait_for("committed")
        load.stop()
        self.audit()


if __name__ == "__main__":
    unittest.main()
