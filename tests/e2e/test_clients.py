"""Kafka's clients are replaced in a running daemon: after its clock was set, after a fence that
no other process caused; and an instance that may not have its transactional.id leaves the
partitions to others."""

import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "chaos"))

from confluent_kafka import Consumer

import kafka_requests

from harness import ROOT, World, event, http_get, wait_until
from kafka_broker import Cluster
from set_clock import WallClock

EX_OK, EX_UNAVAILABLE, EX_TEMPFAIL = 0, 69, 75
OPTIONS = ["--schema-dir", ROOT / "schemas"]
SESSION_MS = 6000
LONG = 60 * 2 * SESSION_MS // 1000  # events of a load: for longer than a session


def setUpModule():
    global kafka
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)


class Load(threading.Thread):
    """Events, a few at a time, until stopped."""

    def __init__(self, world, tag):
        super().__init__(daemon=True)
        self.world, self.tag, self.sent, self.ended = world, tag, [], threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(0.05):
            self.sent += self.world.produce(event("app", f"{self.tag}{len(self.sent)}x{n}") for n in range(3))

    def wait_for_more(self, count):
        known = len(self.sent)
        wait_until(lambda: len(self.sent) >= known + count, "more events")

    def stop(self):
        self.ended.set()
        self.join()
        return self.sent


class Clients(unittest.TestCase):
    """A World of its own for each test, on the broker of this file."""

    def setUp(self):
        self.world = World(partitions=2, kafka=kafka)
        self.enterContext(self.world)

    def sections(self):
        return {"kafka": {"session.timeout.ms": SESSION_MS}}

    def start(self, instance="presignd-1", **more):
        return self.world.start_daemon(instance, self.sections(), **more)

    def renewals(self, daemon, why):
        self.assertTrue(daemon.running, daemon.log_text()[-500:])
        return daemon.metrics().get(f'presignd_client_renewals_total{{why="{why}"}}')


class ClockSet(Clients):
    """The endpoint goes by the same clock, so that time-stamps fit."""

    def setUp(self):
        super().setUp()
        self.clock = WallClock(self.world.directory / "clock")
        with self.clock.preloaded():
            self.world.start_sandbox(options=OPTIONS)
            self.daemon = self.start()

    def set_under_load(self, ahead_s):
        load = Load(self.world, "C")
        wait_until(lambda: len(self.world.outcomes()) >= 30, "outcomes")
        self.clock.set(ahead_s)
        load.wait_for_more(LONG)
        sent = load.stop()
        outcomes = self.world.wait_for_outcomes(sent)
        self.assertEqual({outcome.reason for outcome in outcomes.values()}, {None})
        wait_until(lambda: http_get(f"{self.daemon.admin}/readyz")[0] == 200, "ready")
        self.assertEqual(self.renewals(self.daemon, "clock_set"), 1)

    def test_back_by_15_minutes_under_load(self):
        self.set_under_load(-900)
        self.assertEqual(self.daemon.terminate(), EX_OK)
        self.world.assert_audit_passes()

    def test_on_by_15_minutes_under_load(self):
        self.set_under_load(900)
        self.assertEqual(self.daemon.terminate(), EX_OK)
        self.world.assert_audit_passes()

    def test_it_stops_though_the_clock_is_set_back_meanwhile(self):
        load = Load(self.world, "S")
        wait_until(lambda: len(self.world.outcomes()) >= 30, "outcomes")
        self.clock.set(-900)
        load.wait_for_more(LONG)
        self.assertEqual(self.daemon.terminate(), EX_OK)
        load.stop()
        with self.clock.preloaded():
            self.start()
        self.world.assert_audit_passes(wait_s=180)


class Rights(unittest.TestCase):
    """Instances that may not have their transactional.id, beside one that may."""

    def setUp(self):
        self.kafka = Cluster(users={"presignd": "secret"})
        self.enterContext(self.kafka)
        self.kafka.start()
        self.world = World(partitions=6, kafka=self.kafka)
        self.enterContext(self.world)
        self.world.start_sandbox(options=OPTIONS)

    def start(self, instance, **more):
        login = {"bootstrap.servers": self.kafka.users_bootstrap, "security.protocol": "sasl_plaintext",
                 "sasl.mechanism": "PLAIN", "sasl.username": "presignd", "sasl.password": "secret"}
        return self.world.start_daemon(instance, {"kafka": {"session.timeout.ms": SESSION_MS, **login}}, **more)

    def deny(self, instance):
        kafka_requests.deny_write(self.kafka.nodes[0].port, instance, "presignd", kafka_requests.TRANSACTIONAL_ID)

    def allow(self, instance):
        kafka_requests.allow_all(self.kafka.nodes[0].port, instance, kafka_requests.TRANSACTIONAL_ID)

    def wait_until_it_says_why(self, daemon):
        def says_why():
            status, text = http_get(f"{daemon.admin}/readyz")
            return status == 503 and "transactional.id is not held" in text and "authorization failed" in text
        wait_until(says_why, lambda: f"not ready, and why: {http_get(f'{daemon.admin}/readyz')}")

    def partitions(self, daemon):
        return sum(name.startswith("presignd_partition_window_offsets{") for name in daemon.metrics())

    def events(self, tag):
        return self.world.produce(event("app", f"{tag}{n}") for n in range(120))

    def test_who_may_not_have_the_id_takes_no_partition(self):
        self.deny("presignd-2")
        self.deny("presignd-3")
        refused = [self.start(name, wait=False) for name in ("presignd-2", "presignd-3")]
        for daemon in refused:
            self.wait_until_it_says_why(daemon)
        self.start("presignd-1")
        self.world.wait_for_outcomes(self.events("R"))
        self.assertTrue(all(daemon.running for daemon in refused))
        self.allow("presignd-2")
        wait_until(lambda: http_get(f"{refused[0].admin}/readyz")[0] == 200, "ready, once it may")
        self.world.assert_audit_passes()

    def test_who_loses_the_id_leaves_the_partitions_to_others(self):
        both = [self.start(name) for name in ("presignd-1", "presignd-2")]
        wait_until(lambda: all(self.partitions(daemon) == 3 for daemon in both), "three each")
        self.world.wait_for_outcomes(self.events("L"))
        self.deny("presignd-2")
        self.world.wait_for_outcomes(self.events("M"))
        self.wait_until_it_says_why(both[1])
        self.allow("presignd-2")
        wait_until(lambda: http_get(f"{both[1].admin}/readyz")[0] == 200, "ready, once it may")
        self.world.wait_for_outcomes(self.events("O"))
        self.world.assert_audit_passes()


class Coordinator(unittest.TestCase):
    def test_one_that_stands_still_and_goes_on_ends_nobody(self):
        """Requests to join wait in its connections, and each fences the member that came of the next."""
        with Cluster() as cluster:
            cluster.start()
            with World(partitions=2, kafka=cluster) as world:
                world.start_sandbox(options=OPTIONS)
                daemons = [world.start_daemon(name) for name in ("presignd-1", "presignd-2")]
                load = Load(world, "K")
                for _ in range(2):
                    known = len(world.outcomes())
                    wait_until(lambda: len(world.outcomes()) >= known + 60, "outcomes")
                    cluster.suspend()
                    time.sleep(2 * SESSION_MS / 1000 + 2)  # longer than session and transaction may last
                    cluster.resume()
                world.wait_for_outcomes(load.stop())
                self.assertEqual([daemon.terminate() for daemon in daemons], [EX_OK, EX_OK])
                world.assert_audit_passes()


class Fences(Clients):
    def setUp(self):
        super().setUp()
        self.world.start_sandbox(options=OPTIONS)

    def ghost(self, instance="presignd-1"):
        """Joins as the instance's static member without the transactional.id: what an old request
        of the instance looks like that a coordinator takes up late."""
        ghost = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": f"presignd-{self.world._name}", "log_level": 0,
                          "group.instance.id": instance, "session.timeout.ms": SESSION_MS, "enable.auto.commit": False,
                          "partition.assignment.strategy": "range,roundrobin"})
        joined = threading.Event()
        ghost.subscribe([self.world.topics["presign.requests"]], on_assign=lambda *_: joined.set())
        while not joined.is_set():
            ghost.poll(0.05)
        return ghost

    def test_an_echo_is_borne_under_load(self):
        daemon = self.start()
        load = Load(self.world, "E")
        wait_until(lambda: len(self.world.outcomes()) >= 30, "outcomes")
        ghost = self.ghost()
        wait_until(lambda: self.renewals(daemon, "fenced") == 1, "a renewal")
        ghost.close()
        load.wait_for_more(30)
        self.world.wait_for_outcomes(load.stop())
        wait_until(lambda: http_get(f"{daemon.admin}/readyz")[0] == 200, "ready")
        self.assertEqual(daemon.terminate(), EX_OK)
        self.world.assert_audit_passes()

    def test_the_fourth_echo_ends_it(self):
        daemon = self.start()
        for count in (1, 2, 3):
            ghost = self.ghost()
            wait_until(lambda: self.renewals(daemon, "fenced") == count, f"renewal {count}")
            ghost.close()
            wait_until(lambda: http_get(f"{daemon.admin}/readyz")[0] == 200, "ready")
        ghost = self.ghost()
        self.assertEqual(daemon.wait(), EX_UNAVAILABLE)
        ghost.close()
        self.assertRegex(daemon.log_text(), "has not helped")

    def test_a_namesake_ends_an_idle_one(self):
        first = self.start()
        second = self.start(sets=["daemon.admin_listen="], wait=False)
        self.assertEqual(first.wait(), EX_TEMPFAIL)
        self.assertRegex(first.log_text(), "another process has its name")
        self.world.wait_for_outcomes(self.world.produce([event("app", "N1")]))
        self.assertEqual(second.terminate(), EX_OK)


if __name__ == "__main__":
    unittest.main()
