"""A merchant's trouble stays with the merchant, at scale: 140 merchants, 200 partitions of the
requests topic, every limit at its default. What the trouble costs is told in calls, not in seconds."""

import collections
import unittest

from harness import World, event, wait_until
from kafka_broker import Cluster

PARTITIONS = 200
MERCHANTS = [str(1900200000 + n) for n in range(140)]
HANGING, UNAUTHORIZED, LIMITED, UNVERIFIED = MERCHANTS[:4]
WELL = MERCHANTS[4:]
EVENTS_EACH = 10  # of a merchant that is well
TROUBLE = 600     # of one that is not: more than it may have in flight
CONNECTIONS = 128  # endpoint.max_connections by default: the calls in flight
NEVER_MS = 600000


def setUpModule():
    global kafka
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)


class Isolation(unittest.TestCase):
    def start(self, faults, **options):
        self.world = self.enterContext(World(partitions=4, requests_partitions=PARTITIONS, kafka=kafka))
        self.world.start_sandbox(faults, merchants=MERCHANTS)
        self.daemon = self.world.start_daemon(**options)

    def produce(self, merchants, each):
        """By turns, so that every partition has events of many merchants."""
        return self.world.produce(event(mchid=mchid) for _ in range(each) for mchid in merchants)

    def calls(self, mchid):
        return sum(line.get("mchid") == mchid for line in self.world.sandbox.ledger())

    def ends(self, sent):
        """How many of these events ended with which reason (None: a result) after how many calls."""
        outcomes = self.world.wait_for_outcomes(sent).values()
        return collections.Counter((outcome.reason, outcome.data["attempts"]) for outcome in outcomes)

    def assert_others_are_well(self):
        """Their events end at the first attempt, while the trouble lasts."""
        sent = self.produce(WELL, EVENTS_EACH)
        self.assertEqual(self.ends(sent), {(None, 1): len(sent)})

    def test_one_hangs(self):
        """It has all calls in flight when the others come. These wait for them to time out, once:
        then it has no more than its share."""
        self.start([f"delay=1:{NEVER_MS}@{HANGING}"])
        self.produce([HANGING], TROUBLE)
        wait_until(lambda: self.calls(HANGING) >= CONNECTIONS, "every place taken by calls that hang")
        self.assert_others_are_well()
        self.assertLess(self.calls(HANGING), 2 * CONNECTIONS)

    def test_one_is_answered_401_and_one_429(self):
        self.start([f"401=1@{UNAUTHORIZED}", f"rate=1:20@{LIMITED}"],
                   sets=["endpoint.max_connections=512", "retry.hold_unauthorized_ms=3000", "retry.max_attempts=2"])
        unauthorized = self.produce([UNAUTHORIZED], TROUBLE)
        limited = self.produce([LIMITED], 100)
        self.assert_others_are_well()
        with self.subTest("429 is no attempt"):
            self.assertEqual({reason for reason, _ in self.ends(limited)}, {None})
        with self.subTest("401: the hold ends once, for all that wait"):
            self.assertEqual({reason for reason, _ in self.ends(unauthorized)}, {"merchant_unauthorized"})
            self.assertLess(self.calls(UNAUTHORIZED), TROUBLE)
        self.world.assert_audit_passes()

    def test_answers_of_one_cannot_be_verified(self):
        """It is held, and once its answers are well again each of its events gets its result."""
        self.start([f"unknown-serial=1@{UNVERIFIED}"], sets=["retry.hold_unauthorized_ms=100000"])
        sent = self.produce([UNVERIFIED], TROUBLE)
        wait_until(lambda: self.calls(UNVERIFIED) >= 3, "answers that no key verifies")
        self.assert_others_are_well()
        self.world.start_sandbox(merchants=MERCHANTS)
        self.assertEqual({reason for reason, _ in self.ends(sent)}, {None})
        self.world.assert_audit_passes()


if __name__ == "__main__":
    unittest.main()
