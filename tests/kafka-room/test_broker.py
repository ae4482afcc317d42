"""Records, errors, and brokers that fail or say what is not true (room.py)."""

import collections
import signal
import socket
import tempfile
import threading
import time
import unittest

from room import PARTITIONS, PATIENCE_S, Room, settings  # first: it makes the modules of tests/e2e known
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from harness import shut_down, wait_until
from kafka_broker import Cluster
from set_clock import WallClock


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
        shut_down(source, sink)
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
