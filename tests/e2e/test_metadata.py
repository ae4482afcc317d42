"""A broker that takes less offset metadata than a full window needs: the window is made smaller, and
below 512 bytes the daemon says what to do."""

import unittest

import auditor
from harness import World, event, http_get, wait_until
from kafka_broker import Cluster

DIRECT = "1900007291"
NEVER_MS = 600000
SPAN = 2880  # what 512 bytes hold
EVENTS = 4000  # more than 600 bytes hold


def aborted(daemon):
    return daemon.metrics()['presignd_transactions_total{end="aborted"}']


class Metadata(unittest.TestCase):
    def world(self, most):
        kafka = self.enterContext(Cluster(settings={"offset.metadata.max.bytes": str(most)}))
        return self.enterContext(World(kafka=kafka, partitions=1))

    def test_events_that_end_out_of_order_under_600_bytes(self):
        world = self.world(600)
        world.start_sandbox(faults=[f"delay=1:{NEVER_MS}@{DIRECT}"])
        sets = [f"endpoint.timeout_ms={NEVER_MS}"]
        daemon = world.start_daemon(sets=sets)
        held = world.produce([event("app", mchid=DIRECT)])
        good = world.produce([event("partner-mini-program") for _ in range(EVENTS)])
        world.wait_for_outcomes(good[:SPAN - 1])
        wait_until(lambda: daemon.metrics()['presignd_partition_window_full{partition="0"}'] == 1 or aborted(daemon),
                   "a full window")
        self.assertEqual(aborted(daemon), 0)
        self.assertIn(f"at most {SPAN} unfinished offsets", daemon.log_text())
        self.assertEqual(http_get(f"{daemon.admin}/readyz")[0], 200)
        daemon.kill()
        world.start_sandbox()
        daemon = world.start_daemon(sets=sets)
        world.wait_for_outcomes(held + good)
        self.assertEqual(aborted(daemon), 0)
        self.assertEqual(daemon.terminate(), 0)
        world.assert_audit_passes()

    def test_without_transactions_a_refused_commit_makes_the_window_smaller(self):
        """The outcomes are visible by then. They are not published again, and the positions follow
        when the base offset has moved."""
        world = self.world(600)
        world.start_sandbox(faults=[f"delay=1:{NEVER_MS}@{DIRECT}"])
        sets = [f"endpoint.timeout_ms={NEVER_MS}", "daemon.delivery=at_least_once"]
        daemon = world.start_daemon(sets=sets)
        held = world.produce([event("app", mchid=DIRECT)])
        good = world.produce([event("partner-mini-program") for _ in range(EVENTS)])
        daemon.wait_for_log(f"at most {SPAN} unfinished offsets")
        world.wait_for_outcomes(good[:SPAN - 1])
        daemon.kill()
        world.start_sandbox()
        daemon = world.start_daemon(sets=sets)
        world.wait_for_outcomes(held + good)
        self.assertEqual(daemon.terminate(), 0)
        world.assert_audit_passes(delivery=auditor.AT_LEAST_ONCE)

    def test_too_few_bytes_are_told(self):
        world = self.world(100)
        world.start_sandbox()
        daemon = world.start_daemon(wait=False)

        def told():
            status, text = http_get(f"{daemon.admin}/readyz")
            return status == 503 and "offset.metadata.max.bytes" in text
        wait_until(told, "the reason in /readyz")
        world.produce([event() for _ in range(20)])
        daemon.wait_for_log("nothing is consumed: .*offset.metadata.max.bytes")
        self.assertEqual(http_get(f"{daemon.admin}/healthz")[0], 200)
        self.assertEqual(daemon.terminate(), 0)
        self.assertFalse(world.outcomes())


if __name__ == "__main__":
    unittest.main()
