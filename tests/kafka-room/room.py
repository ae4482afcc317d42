"""Consumer and publisher with a minimal owner (worker.c) on a real Apache Kafka. The audit reads the
outcomes as a read_committed consumer does."""

import contextlib
import itertools
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import unittest
import uuid
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from confluent_kafka import Consumer, Producer, TopicPartition

from auditor import Reader
from harness import wait_until
from kafka_broker import Cluster, dying_with_us
import last_words

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
