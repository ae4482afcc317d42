"""An outcome that cannot be published stands alone: nobody else waits for its record, its topic, its
partition or its coordinator."""

import contextlib
import re
import unittest
import uuid

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import ConfigResource, NewTopic

import auditor
from harness import Outcome, World, event, wait_until
from kafka_broker import Cluster
from secure_broker import PASSWORD, SecureCluster

BAD = b"{"


def bad(key):
    """An event that fails as invalid_json; its failure has the same key."""
    return (key, BAD, [])


def configure(world, topic, **settings):
    """All of the topic's settings."""
    resource = ConfigResource("topic", world.topics[topic], set_config={
        name.replace("_", "."): str(value) for name, value in settings.items()})
    for future in world.kafka.admin().alter_configs([resource]).values():
        future.result(180)


class OneNode(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = cls.enterClassContext(Cluster())

    def world(self, **options):
        world = self.enterContext(World(kafka=self.kafka, **options))
        world.start_sandbox()
        return world

    def names(self, daemon, ids, setting):
        """Each is named once, with what to do."""
        text = daemon.log_text()
        for name in ids:
            named = re.findall(rf"event {re.escape(name)} .*{setting}", text)
            self.assertEqual(len(named), 1, f"{name} in {text[-2000:]}")

    def test_200_outcomes_larger_than_their_topic_takes(self):
        world = self.world(partitions=1)
        configure(world, auditor.FAILURES, max_message_bytes=2500)
        daemon = world.start_daemon()
        large, good = [], []
        for number in range(50):  # mixed, so that they meet in transactions
            large += world.produce([bad(b"k" * (3000 + number) + b"%d" % i) for i in range(4)])
            good += world.produce([event() for _ in range(5)] + [bad(b"%d" % number), bad(None)])
        good += world.produce([event()])
        self.assertEqual((len(large), len(good)), (200, 351))
        world.wait_for_outcomes(good)
        self.assertFalse(set(large) & set(world.outcomes()))
        # The first ones of a minute are named, the others are counted.
        text = daemon.log_text()
        named = re.findall(r"event (\S+) .*max\.message\.bytes", text)
        self.assertTrue(named and set(named) <= set(large), text[-2000:])
        self.assertEqual(len(named), len(set(named)), "one was named twice")
        wait_until(lambda: daemon.metrics().get('presignd_refused_outcomes{output="failures",refusal="size"}') == 200,
                   lambda: f"200 in the gauge: {daemon.metrics()}")
        configure(world, auditor.FAILURES)
        world.wait_for_outcomes(large)
        self.assertEqual(daemon.terminate(), 0)
        world.assert_audit_passes()

    def test_keys_of_a_megabyte(self):
        world = self.world(partitions=3, requests_config={"max.message.bytes": 4 * 2**20})
        daemon = world.start_daemon()
        large = world.produce([bad(b"k" * (1200000 + number)) for number in range(12)], partition=0)
        good = []
        for partition in (1, 2):
            good += world.produce([event() for _ in range(78)], partition=partition)
        world.wait_for_outcomes(good)
        self.assertFalse(set(large) & set(world.outcomes()))
        configure(world, auditor.FAILURES, max_message_bytes=4 * 2**20)
        world.wait_for_outcomes(large)
        self.assertEqual(daemon.terminate(), 0)
        world.assert_audit_passes()

    def test_a_compacted_topic_and_an_event_without_a_key(self):
        world = self.world(partitions=1)
        configure(world, auditor.RESULTS, cleanup_policy="compact")
        daemon = world.start_daemon()
        good = world.produce([event() for _ in range(20)])
        keyless = world.produce([event(key=None)])
        good += world.produce([event() for _ in range(20)])
        world.wait_for_outcomes(good)
        wait_until(lambda: "cleanup.policy" in daemon.log_text(), "a word on the setting")
        self.names(daemon, keyless, "cleanup.policy")
        configure(world, auditor.RESULTS, cleanup_policy="delete")
        world.wait_for_outcomes(keyless)
        self.assertEqual(daemon.terminate(), 0)
        world.assert_audit_passes()

    def test_a_topic_that_is_deleted(self):
        world = self.world(partitions=1)
        daemon = world.start_daemon()
        world.wait_for_outcomes(world.produce([event(), bad(b"k")]))
        world.end_reading()
        self.kafka.delete_topic(world.topics[auditor.FAILURES])
        lost = world.produce([bad(b"k") for _ in range(5)])
        good = world.produce([event() for _ in range(50)])

        def results():
            with contextlib.closing(auditor.Reader(self.kafka.bootstrap, [world.topics[auditor.RESULTS]])) as reader:
                reader.read_to_end()
                return {Outcome(record).id for record in reader.records}
        wait_until(lambda: set(good) <= results(), "all results", interval_s=0.5)
        self.kafka.create_topic(world.topics[auditor.FAILURES], 1)
        world.wait_for_outcomes(lost)
        self.assertEqual(daemon.terminate(), 0)

    def test_a_dead_peers_open_transaction(self):
        world = self.world(partitions=3)
        first = world.start_daemon()
        world.wait_for_outcomes(world.produce([event() for _ in range(30)]))
        self.assertEqual(first.terminate(), 0)
        outsider = Consumer({"bootstrap.servers": self.kafka.bootstrap,
                             "group.id": f"presignd-{world._name}"})
        peer = Producer({"bootstrap.servers": self.kafka.bootstrap, "transactional.id": uuid.uuid4().hex,
                         "transaction.timeout.ms": 600000})
        peer.init_transactions(180)
        peer.begin_transaction()
        # The group's members are gone; anyone may commit for it.
        wait_until(lambda: not members(self.kafka, f"presignd-{world._name}"), "an empty group",
                   interval_s=0.3)
        peer.send_offsets_to_transaction([TopicPartition(world.topics[auditor.REQUESTS], 0, 1)],
                                         outsider.consumer_group_metadata(), 30)
        daemon = world.start_daemon()
        good = [world.produce([event() for _ in range(10)], partition=i) for i in range(3)]
        world.wait_for_outcomes(good[1] + good[2])
        self.assertFalse(set(good[0]) & set(world.outcomes()))
        peer.abort_transaction(180)
        world.wait_for_outcomes(good[0])
        outsider.close()
        self.assertEqual(daemon.terminate(), 0)
        world.assert_audit_passes()


def members(kafka, group):
    return [member for found in kafka.admin().list_groups(group, timeout=60) for member in found.members]


def is_leaderless(kafka, topic):
    """False also when no broker answers in time: the client may ask the one that is lost."""
    try:
        partitions = kafka.admin().list_topics(topic, timeout=10).topics[topic].partitions
    except KafkaException:
        return False
    return any(partition.leader < 0 for partition in partitions.values())


class ThreeNodes(unittest.TestCase):
    def test_an_output_partition_without_a_leader(self):
        with Cluster(nodes=3) as kafka, World(kafka=kafka, partitions=3) as world:
            for name in (auditor.RESULTS, auditor.FAILURES):
                world.topics[name] += ".single"  # one copy of each partition
                topic = NewTopic(world.topics[name], num_partitions=3, replica_assignment=[[1], [2], [3]])
                kafka.admin().create_topics([topic])[world.topics[name]].result(180)
            world.start_sandbox()
            daemon = world.start_daemon()
            world.wait_for_outcomes(world.produce([event() for _ in range(20)]))
            dead = 2
            # The end of a transaction is written to each of its partitions. The last one before the
            # broker is lost is over, and the one after it has no part there.
            for _ in range(50):
                [alone] = world.produce([event()])
                world.wait_for_outcomes([alone])
                if f"/{dead - 1}/" not in world.outcomes()[alone].record.id:
                    break
            kafka.kill(dead - 1)
            results = world.topics[auditor.RESULTS]
            # Brokers learn of it one after the other, and any of them may be asked: a transaction that
            # takes the partition in cannot end before it has a leader again.
            seen = []
            wait_until(lambda: seen.append(is_leaderless(kafka, results)) or len(seen) >= 10 and all(seen[-10:]),
                       "ten answers in a row that name a partition without a leader", interval_s=0.3)
            ids = world.produce([event(key=f"key {n}".encode()) for n in range(196)])
            keyless = world.produce([event(key=None) for _ in range(20)])
            # Three partitions: far more than half of the keys go to the two that have a leader.
            wait_until(lambda: set(keyless) <= world.outcomes().keys() and
                       sum(name in world.outcomes() for name in ids) > 100,
                       lambda: f"the others' outcomes: {len(world.outcomes())}", interval_s=0.3)
            wait_until(lambda: "has no leader" in daemon.log_text(), "a word on the leader")
            kafka.start()
            world.wait_for_outcomes(ids)
            self.assertEqual(daemon.terminate(), 0)
            world.assert_audit_passes()


class Rights(unittest.TestCase):
    def test_write_on_the_failures_topic_is_revoked(self):
        with SecureCluster() as kafka, World(kafka=kafka, partitions=1) as world:
            world.start_sandbox()
            rights = [f"User:presignd TOPIC LITERAL {world.topics[auditor.REQUESTS]} READ",
                      f"User:presignd TOPIC LITERAL {world.topics[auditor.RESULTS]} WRITE",
                      f"User:presignd TOPIC LITERAL {world.topics[auditor.FAILURES]} WRITE",
                      "User:presignd GROUP PREFIXED presignd READ",
                      "User:presignd TRANSACTIONAL_ID PREFIXED presignd WRITE"]
            for right in rights:
                kafka.acls.add(right)
            daemon = world.start_daemon(sections={"kafka": {
                "bootstrap.servers": kafka.secure, "security.protocol": "SASL_SSL",
                "ssl.ca.location": kafka.certificates / "ca.pem", "sasl.mechanism": "PLAIN",
                "sasl.username": "presignd", "sasl.password": PASSWORD}})
            world.wait_for_outcomes(world.produce([event(), bad(b"k")]))
            # No right to DescribeConfigs: the topics' settings are unknown, and nothing is said.
            self.assertNotIn("should be", daemon.log_text())
            for describe in (False, True):  # the topic is hidden, or is seen and cannot be written to
                with self.subTest(describe=describe):
                    if describe:
                        kafka.acls.add(rights[2].replace("WRITE", "DESCRIBE"))
                    kafka.acls.remove(rights[2])
                    kept = world.produce([bad(b"k") for _ in range(5)])
                    good = world.produce([event() for _ in range(50)])
                    world.wait_for_outcomes(good)
                    self.assertFalse(set(kept) & set(world.outcomes()))
                    wait_until(lambda: re.search(r"no right to write.*Write", daemon.log_text()),
                               "a word on the right")
                    kafka.acls.add(rights[2])
                    world.wait_for_outcomes(kept)
            self.assertEqual(daemon.terminate(), 0)
            world.assert_audit_passes()


if __name__ == "__main__":
    unittest.main()
