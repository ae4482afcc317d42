"""What delivery = at_least_once publishes again when a crash comes before the positions: outcomes of all
kinds for one id. The audit names each kind, and a consumer takes the valid one in either order.

The crash is made certain: the daemon is killed, and the positions are set back to those before its calls.
"""

import importlib.util
import json
import unittest

from confluent_kafka import Consumer, KafkaException, TopicPartition

import auditor
from harness import ROOT, World, event, wait_until

DIRECT, PARTNER = "1900007291", "1900000109"
SECTIONS = {"daemon": {"delivery": "at_least_once"}}


def load_example():
    """examples/python/presign.py as a module."""
    spec = importlib.util.spec_from_file_location("presign", ROOT / "examples/python/presign.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class RepeatedOutcomes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World(partitions=1))
        world = cls.world
        world.start_sandbox(faults=[f"403=1@{PARTNER}"])
        opened, forbidden, wrong = cls.sent = world.produce([
            event("app", mchid=DIRECT), event("partner-mini-program", mchid=PARTNER),
            event("app", data={"plan_id": "no number"})])
        cls.lives = [cls.live()]
        world.start_sandbox()
        cls.lives.append(cls.live())  # the same once more, and the partner has the right by now
        cls.lives.append(cls.live("daemon.max_event_age_ms=1"))
        cls.audit = world.audit(delivery=auditor.AT_LEAST_ONCE)
        cls.strict = world.audit()

    @classmethod
    def live(cls, *sets):
        """One life of the daemon, that ends before its positions: {id: (record's id, reason)}."""
        daemon = cls.world.start_daemon(sections=SECTIONS, sets=sets)
        fresh = {}

        def all_published():
            fresh.update((outcome.id, (outcome.record.id, outcome.reason)) for outcome in cls.world.new_outcomes())
            return fresh.keys() >= set(cls.sent)
        wait_until(all_published, "an outcome of each")
        daemon.kill()
        cls.forget_positions()
        return fresh

    @classmethod
    def forget_positions(cls):
        consumer = Consumer({"bootstrap.servers": cls.world.kafka.bootstrap, "group.id": cls.world.group,
                             "log_level": 0})

        def committed():
            try:
                return consumer.commit(asynchronous=False, offsets=[
                    TopicPartition(cls.world.topics[auditor.REQUESTS], 0, 0)])
            except KafkaException:
                return None  # the killed member's session still lasts
        wait_until(committed, "the group to be empty")
        consumer.close()

    def test_each_life_publishes_what_it_finds(self):
        self.assertEqual([[life[name][1] for name in self.sent] for life in self.lives], [
            [None, "rejected", "invalid_request"], [None, None, "invalid_request"],
            ["expired", "expired", "invalid_request"]])

    def test_the_audit_names_the_kinds_and_the_valid_ones(self):
        self.assertTrue(self.audit.passed, self.audit.summary())
        self.assertEqual({kind: len(texts) for kind, texts in self.audit.repeats.items()},
                         {"copies": 0, "results": 1, "result and failure": 3, "failures": 2})
        self.assertEqual(len(self.strict.problems["doubled"]), 6, self.strict.summary())
        opened, forbidden, wrong = self.sent
        valid = {name: record.id for name, record in self.audit.valid.items()}
        self.assertEqual(valid, {opened: self.lives[1][opened][0], forbidden: self.lives[1][forbidden][0],
                                 wrong: self.lives[2][wrong][0]})

    def test_a_consumer_takes_the_valid_one_in_either_order(self):
        example = load_example()
        for order in (self.audit.outcomes, self.audit.outcomes[::-1]):
            told, known, sessions = {}, {}, {}
            for record in order:
                outcome = json.loads(record.value)
                if example.handle(outcome, known, sessions):
                    told[outcome["id"]] = record.id
            self.assertEqual(told, {name: record.id for name, record in self.audit.valid.items()})


if __name__ == "__main__":
    unittest.main()
