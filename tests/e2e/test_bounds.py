"""One input partition's events fill its own share of the memory and no other's: on a real Kafka,
where the client hands over the records of a busy partition one after another."""

import unittest

from harness import World, event, wait_until

DIRECT = "1900007291"
NEVER_MS = 600000
MIB = 2**20


def padded(size, **attributes):
    key, value, headers = event("app", mchid=DIRECT, **attributes)
    return key, value, [*headers, ("padding", b"x" * size)]


class Bounds(unittest.TestCase):
    def others_go_on(self, world, count=156):
        """Events of another merchant, in the other two partitions, all end well."""
        good = [event("partner-mini-program") for _ in range(count)]
        sent = world.produce(good[::2], partition=1) + world.produce(good[1::2], partition=2)
        outcomes = world.wait_for_outcomes(sent)
        self.assertEqual({outcome.reason for outcome in outcomes.values()}, {None})

    def test_a_contract_code_that_repeats_50000_times(self):
        with World(partitions=3) as world:
            world.start_sandbox(faults=[f"delay=1:{NEVER_MS}@{DIRECT}"])
            daemon = world.start_daemon(sets=[f"endpoint.timeout_ms={NEVER_MS}"])
            code = "repeats"
            world.produce((padded(4000, out_contract_code=code) for _ in range(50000)), partition=0)
            wait_until(lambda: daemon.metrics()["presignd_jobs_bytes"] > 16 * MIB, "the memory to fill")
            self.others_go_on(world)
            wait_until(lambda: daemon.metrics()['presignd_partition_window_full{partition="0"}'] == 1,
                       "partition 0 to be full")
            self.assertEqual(daemon.metrics()['presignd_partition_window_full{partition="1"}'], 0)

    def test_keys_of_a_megabyte(self):
        with World(partitions=3) as world:
            world.start_sandbox()
            daemon = world.start_daemon(sets=["kafka.producer.message.max.bytes=500000"])
            # Their outcomes have the same keys, and are too large for the failures topic.
            large = [(b"k" * (MIB - 2000), b"no event", []) for _ in range(60)]
            world.produce(large, partition=0)
            wait_until(lambda: daemon.metrics()['presignd_jobs{state="refused"}'] >= 15, "refused outcomes")
            self.others_go_on(world)


if __name__ == "__main__":
    unittest.main()
