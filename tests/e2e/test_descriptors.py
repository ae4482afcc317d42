"""Fewer file descriptors than calls at once: events wait, none fails, no host counts as down."""

import unittest

from harness import World, event
from kafka_broker import Cluster

EVENTS = 120
DESCRIPTORS = 64  # Kafka's clients, the loop and the listener take some 35 of them


class Descriptors(unittest.TestCase):
    def test_every_event_has_its_result(self):
        with Cluster() as kafka, World(partitions=2, kafka=kafka) as world:
            world.start_sandbox(faults=["delay=1:300"])
            daemon = world.start_daemon(wrapper=["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"])
            outcomes = world.wait_for_outcomes(world.produce(event() for _ in range(EVENTS)))
            self.assertEqual({outcome.reason for outcome in outcomes.values()}, {None})
            world.assert_audit_passes()
            log = daemon.log_text()
            self.assertIn("no file descriptor is left for a connection: raise LimitNOFILE=", log)
            self.assertIn("more than this process may open (64)", log)
            self.assertNotIn("the endpoint is down", log)


if __name__ == "__main__":
    unittest.main()
