"""What is drawn from a seed: the same each time, and of every kind."""

import collections
import unittest

from calls_audit import body_sha256
from chaos import Plan, distribution
from faults import FAULTS, SHORT, group_partition
from load import BAD, Load


class Drawn(unittest.TestCase):
    def test_the_same_seed_draws_the_same_run(self):
        self.assertEqual(vars(Plan(7, 20000)), vars(Plan(7, 20000)))
        self.assertNotEqual(vars(Plan(7, 20000)), vars(Plan(8, 20000)))

    def test_every_fault_is_drawn_and_every_run_is_measured(self):
        names = collections.Counter(name for seed in range(60) for _, name in Plan(seed, 20000).faults)
        drawn = {name for name, fault in FAULTS.items() if fault.weight} - ({"clock"} - names.keys())
        self.assertLessEqual(drawn, names.keys())
        for seed in range(20):
            self.assertGreaterEqual([name for _, name in Plan(seed, 20000).faults].count("kill-alone"), 3)

    def test_a_fault_that_is_asked_for_is_had(self):
        self.assertIn("late-topic", [name for _, name in Plan(1, 2000, more=["late-topic"]).faults])

    def test_the_short_run_has_each_of_its_faults(self):
        self.assertEqual(collections.Counter(name for _, name in Plan(1, 2000, short=True).faults),
                         collections.Counter(SHORT))

    def test_the_same_seed_draws_the_same_load(self):
        one, other = ([(each.key, each.value, each.partition) for each in Load(7, 500, 4).planned]
                      for _ in range(2))
        self.assertEqual(one, other)

    def test_a_load_has_events_of_every_kind(self):
        load = Load(7, 3000, 4)
        endings = collections.Counter(ending for each in load.planned for ending in each.endings)
        self.assertEqual(set(endings), {None, *BAD})
        self.assertGreater(endings[None], 2500)
        codes = collections.Counter(each.code for each in load.planned)
        self.assertGreater(sum(1 for count in codes.values() if count > 1), 20)
        self.assertEqual(len({each.body for each in load.planned}), 3000)

    def test_events_of_one_code_lie_in_one_partition(self):
        partitions = collections.defaultdict(set)
        for each in Load(7, 3000, 4).planned:
            partitions[each.code].add(each.partition)
        self.assertEqual({len(each) for each in partitions.values()}, {1})

    def test_keys_for_a_compacted_topic_are_each_events_own(self):
        keys = [each.key for each in Load(7, 3000, 4, unique_keys=True).planned]
        self.assertEqual(len(set(keys)), 3000)
        self.assertNotIn(None, keys)

    def test_a_body_is_that_of_its_data(self):
        self.assertEqual(body_sha256({"a": "微", "b": 1}), body_sha256({"a": "微", "b": 1}))
        self.assertNotEqual(body_sha256({"a": "微", "b": 1}), body_sha256({"b": 1, "a": "微"}))


class Told(unittest.TestCase):
    def test_restarts_as_a_distribution(self):
        self.assertEqual(distribution([]), "no restart was measured")
        text = distribution([number / 10 for number in range(1, 21)])
        self.assertEqual(text, "20 restarts, to the first outcome: 10 within 1 s, median 1.10 s, p90 1.90 s, max 2.00 s")

    def test_the_partition_of_a_group(self):
        self.assertEqual(group_partition("test", 50), 3556498 % 50)  # String.hashCode, and one that is negative
        self.assertEqual(group_partition("polygenelubricants", 50), 0x80000000 & 0x7FFFFFFF)


if __name__ == "__main__":
    unittest.main()
