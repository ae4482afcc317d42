"""Instances that end, stop, return and leave the group (room.py)."""

import random
import signal
import time
import unittest

from room import PARTITIONS, PATIENCE_S, Room, now_ms  # first: it makes the modules of tests/e2e known
from harness import wait_until


class Restarts(Room):
    def test_kill_and_restart_under_load(self):
        """A restart does not wait for the end of the killed one's session, which is longer than our
        patience."""
        load, back_ms = self.load(), []
        worker = self.worker(session_timeout_ms=1500 * PATIENCE_S)
        worker.wait_for("assigned 4")
        for _ in range(6):
            time.sleep(0.7)  # at some point of its work
            worker.kill()
            killed_ms = now_ms()
            worker = self.worker(session_timeout_ms=1500 * PATIENCE_S)
            at, _ = worker.wait_for("assigned 4")
            back_ms.append(at - killed_ms)
            worker.wait_for("committed")
        load.stop()
        count = self.audit()
        print(f"\n{count} records, 6 SIGKILL; partitions were back after {back_ms} ms")

    def test_two_instances_share_partitions_and_give_them_back(self):
        load = self.load()
        first = self.worker("one")
        first.wait_for("assigned 4")
        second = self.worker("two")
        first.wait_for("revoking")
        first.wait_for("released")
        first.wait_for("assigned 2")
        second.wait_for("assigned 2")
        third = self.worker("three")
        third.wait_for("assigned")
        third.wait_for("committed")
        load.stop()
        self.audit()

    def test_a_standby_joins_without_partitions(self):
        workers = [self.worker(f"w{i}") for i in range(PARTITIONS + 1)]
        wait_until(lambda: any(worker.count("^assigned 0") for worker in workers), "a standby", PATIENCE_S)

    def test_a_stop_longer_than_the_session_duplicates_nothing(self):
        load = self.load()
        # Only the first one's session is short: a slow machine must not end the other's, too.
        first = self.worker("one", session_timeout_ms=2000, heartbeat_interval_ms=300)
        first.wait_for("committed")
        second = self.worker("two")
        for _ in range(3):
            wait_until(lambda: (first.assigned(), second.assigned()) == (2, 2), "a share for each", PATIENCE_S)
            first.wait_for("committed", since_ms=now_ms())
            first.signal(signal.SIGSTOP)
            wait_until(lambda: second.assigned() == 4, "the end of its session", PATIENCE_S)
            second.wait_for("committed", since_ms=now_ms())
            continued_ms = now_ms()
            first.signal(signal.SIGCONT)
            first.wait_for("assigned 2", since_ms=continued_ms)
        load.stop()
        self.audit()
        print(f"\nafter SIGCONT: {first.count('^not-ours')} not-ours, "
              f"{first.count('^aborted')} aborted, {first.count('^lost')} lost")

    def test_after_a_stop_longer_than_the_transactions_timeout_it_continues(self):
        load = self.load()
        first = self.worker("one", transaction_timeout_ms=1000, session_timeout_ms=30000)
        first.wait_for("committed")
        for stops in range(1, 101):
            first.count("")  # skips its earlier lines
            first.wait_for("submitted")
            time.sleep(random.uniform(0, 0.02))  # at a random point of the transaction
            first.signal(signal.SIGSTOP)
            time.sleep(2.5)  # the broker checks time-outs every half second
            first.signal(signal.SIGCONT)
            first.wait_for("^(committed|aborted)")
            if first.count("^aborted") >= 2:
                break
        first.wait_for("committed")
        load.stop()
        self.audit()
        print(f"\n{stops} SIGSTOP, {first.count('^aborted')} transactions were timed out")
        self.assertGreater(first.count("^aborted"), 0, "no transaction was ever met")
        self.assertEqual(first.count("^(fenced|failed)"), 0)

    def test_a_second_process_with_the_same_name_ends_the_first(self):
        load = self.load()
        first = self.worker("one")
        first.wait_for("committed")
        second = self.worker("one")
        second.wait_for("committed")
        self.assertEqual(first.process.wait(PATIENCE_S), 75)
        first.wait_for("^failed duplicate")
        load.stop()
        self.audit()

    def test_the_first_does_not_take_the_id_back_before_it_ends(self):
        """Without load the first learns of it by its consumer, and asks who holds the id."""
        first = self.worker("one", worker_failure_pause_ms=3000)
        first.wait_for("assigned")
        second = self.worker("one")
        first.wait_for("^failed duplicate")
        self.assertEqual(first.process.wait(PATIENCE_S), 75)
        load = self.load()
        second.wait_for("committed")
        load.stop()
        self.audit()
        self.assertEqual(second.count("^failed"), 0)


class Leaves(Room):
    """No session ends while we wait, so whoever gets partitions was given them."""

    def worker(self, instance="one", **options):
        return super().worker(instance, session_timeout_ms=1500 * PATIENCE_S, **options)

    def leave(self, worker):
        left_ms = now_ms()
        worker.signal(signal.SIGUSR2)
        at, _ = worker.wait_for("^left", since_ms=left_ms)
        return left_ms, at - left_ms

    def test_an_instance_leaves_and_comes_back_under_load(self):
        load, took_ms = self.load(), []
        first, second = self.worker("one"), self.worker("two")
        for _ in range(3):
            wait_until(lambda: (first.assigned(), second.assigned()) == (2, 2), "a share for each", PATIENCE_S)
            first.wait_for("committed", since_ms=now_ms())
            left_ms, _ = self.leave(first)
            at, _ = second.wait_for("assigned 4", since_ms=left_ms)
            took_ms.append(at - left_ms)
            second.wait_for("committed", since_ms=at)
            first.signal(signal.SIGUSR2)
        first.wait_for("assigned 2")
        load.stop()
        self.audit()
        print(f"\nthe other one had all partitions after {took_ms} ms")

    def test_an_instance_leaves_during_a_rebalance(self):
        load = self.load()
        first = self.worker("one")
        first.wait_for("assigned 4")
        second = self.worker("two")
        first.wait_for("revoking")
        self.leave(first)
        second.wait_for("assigned 4")
        load.stop()
        self.audit()

    def test_a_standby_leaves_and_comes_back(self):
        workers = [self.worker(f"w{i}") for i in range(PARTITIONS + 1)]

        def standby():
            shares = sorted((worker.assigned(), worker.name, worker) for worker in workers)
            return [share for share, *_ in shares] == [0, 1, 1, 1, 1] and all(
                worker.count("^assigned") for worker in workers) and shares[0][2]
        worker = wait_until(standby, "a standby", PATIENCE_S)
        self.leave(worker)
        back_ms = now_ms()
        worker.signal(signal.SIGUSR2)
        worker.wait_for("^assigned", since_ms=back_ms)

    def test_it_leaves_without_a_broker(self):
        worker = self.worker()
        worker.wait_for("assigned 4")
        self.kafka.kill()
        try:
            self.leave(worker)
        finally:
            self.kafka.start()
        worker.signal(signal.SIGUSR2)
        worker.wait_for("assigned 4")

    def test_it_leaves_before_it_has_joined(self):
        worker = self.worker()
        worker.wait_for("started")
        self.leave(worker)
        worker.signal(signal.SIGUSR2)
        worker.wait_for("assigned 4")


class LeavesOlder(Leaves):
    version = "2.5.1"


if __name__ == "__main__":
    unittest.main()
