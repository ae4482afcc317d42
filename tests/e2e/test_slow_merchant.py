"""One merchant's queue does not hold up another's events, up to the offset window's bound."""

import unittest

from harness import World, event

DIRECT = "1900007291"
# Far more than the places in flight, and inside one partition's window of 8192 offsets.
QUEUE = 3000
NEVER_MS = 600000


class SlowMerchant(unittest.TestCase):
    def test_events_behind_a_queue_that_does_not_move(self):
        with World(partitions=1) as world:
            world.start_sandbox(faults=[f"delay=1:{NEVER_MS}@{DIRECT}"])
            world.start_daemon(sets=[f"endpoint.timeout_ms={NEVER_MS}"])
            first = world.produce([event("partner-mini-program")])
            world.wait_for_outcomes(first)
            world.produce(event("app") for _ in range(QUEUE))
            behind = world.produce(event("partner-mini-program") for _ in range(20))
            outcomes = world.wait_for_outcomes(behind)
            self.assertEqual({outcome.reason for outcome in outcomes.values()}, {None})


if __name__ == "__main__":
    unittest.main()
