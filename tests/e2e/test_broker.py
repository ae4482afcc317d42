"""The real broker that every other end-to-end test stands on."""

import unittest
import uuid

from confluent_kafka import Consumer, Producer, TopicPartition

from kafka_broker import BrokerError, Cluster
from kafka_jars import NEWEST, OLDEST, TOO_OLD


def client(kafka, **settings):
    """Settings of a client that is silent when its broker goes, as is meant here."""
    return {"bootstrap.servers": kafka.bootstrap, "log_level": 0,
            "reconnect.backoff.max.ms": 200, **settings}


def produce(kafka, topic, values):
    producer = Producer(client(kafka, acks="all"))
    for value in values:
        producer.produce(topic, value)
    if producer.flush(180):
        raise AssertionError("records were left unsent")


def end_of(kafka, topic, partition=0):
    consumer = Consumer(client(kafka, **{"group.id": str(uuid.uuid4())}))
    try:
        return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=180)[1]
    finally:
        consumer.close()


class Shared(unittest.TestCase):
    """What does the broker no harm."""

    @classmethod
    def setUpClass(cls):
        cls.kafka = Cluster()
        cls.addClassCleanup(cls.kafka.close)
        cls.kafka.start()

    def test_a_new_producer_takes_over_from_a_transaction_left_open(self):
        self.kafka.create_topic("t")
        settings = client(self.kafka, **{"transactional.id": "x"})
        first, second = Producer(settings), Producer(settings)
        first.init_transactions(180)
        first.begin_transaction()
        first.produce("t", b"left open")
        first.flush(180)
        second.init_transactions(180)
        second.begin_transaction()
        second.produce("t", b"committed")
        second.commit_transaction(180)

    def test_topics_are_not_made_by_mistake(self):
        self.assertNotIn("typo", self.kafka.admin().list_topics(timeout=60).topics)
        self.kafka.admin().list_topics(topic="typo", timeout=60)
        self.assertNotIn("typo", self.kafka.admin().list_topics(timeout=60).topics)


class OneNode(unittest.TestCase):
    def test_records_survive_kill_and_restart_on_the_same_address(self):
        with Cluster() as kafka:
            address = kafka.bootstrap
            kafka.create_topic("t", partitions=2)
            produce(kafka, "t", [b"1", b"2", b"3"])
            kafka.kill()
            self.assertFalse(kafka.nodes[0].running)
            kafka.start()
            self.assertEqual(kafka.bootstrap, address)
            self.assertEqual(sum(end_of(kafka, "t", p) for p in (0, 1)), 3)

    def test_records_survive_in_every_other_release(self):
        for version in (NEWEST, OLDEST, TOO_OLD):
            with self.subTest(version), Cluster(version=version) as kafka:
                kafka.create_topic("t")
                produce(kafka, "t", [b"1"])
                kafka.kill()
                kafka.start()
                self.assertEqual(end_of(kafka, "t"), 1)
                processes = [node.process for node in kafka.processes()]
            self.assertNotIn(None, [process.returncode for process in processes])

    def test_an_unknown_release_is_reported(self):
        with self.assertRaisesRegex(BrokerError, "Kafka 1.1.1 is not among"):
            Cluster(version="1.1.1")

    def test_nothing_is_left_behind(self):
        with Cluster() as kafka:
            directory, process = kafka.directory, kafka.nodes[0].process
        self.assertFalse(directory.exists())
        self.assertIsNotNone(process.returncode)

    def test_a_broker_that_cannot_start_says_why(self):
        with self.assertRaisesRegex(BrokerError, "Invalid value nonsense"):
            with Cluster(settings={"num.io.threads": "nonsense"}):
                pass


class ThreeNodes(unittest.TestCase):
    def test_acknowledged_records_survive_the_loss_of_a_broker(self):
        with Cluster(nodes=3, settings={"min.insync.replicas": "2"}) as kafka:
            kafka.create_topic("t")
            produce(kafka, "t", [b"before"])
            kafka.kill(node=0)
            produce(kafka, "t", [b"after"])
            self.assertEqual(end_of(kafka, "t"), 2)


if __name__ == "__main__":
    unittest.main()
