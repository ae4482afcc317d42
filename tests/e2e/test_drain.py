"""A drain leaves the group and stays up: others have the partitions, although no session ends; the
daemon joins again when it is told to. On today's Kafka, and on the oldest one that is supported."""

import http.client
import json
import signal
import socket
import unittest

import auditor
from harness import ROOT, World, event, http_get, wait_until
from kafka_broker import Cluster
from set_clock import WallClock

PARTITIONS = 4
# Longer than any wait of this file: whoever gets partitions was given them.
SESSION_MS = 280000
KAFKA = {"kafka": {"session.timeout.ms": SESSION_MS}}


def setUpModule():
    global kafka
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)


class ControlConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Drains:
    """The tests; a class of the file adds a version of Kafka."""

    version = None
    delivery = auditor.EXACTLY_ONCE

    @classmethod
    def setUpClass(cls):
        cls.kafka = cls.enterClassContext(Cluster(version=cls.version).start()) if cls.version else kafka

    def setUp(self):
        self.world = self.enterContext(World(partitions=PARTITIONS, kafka=self.kafka))
        self.sent = []

    def start(self, name, wait=True):
        daemon = self.world.start_daemon(
            f"{name}-{self.world.group}", sections=KAFKA, wait=wait,
            sets=[f"daemon.control_socket={self.world.directory / name}", "retry.max_attempts=100",
                  f"daemon.delivery={self.delivery}"])
        daemon.control = self.world.directory / name
        return daemon

    def start_two(self, faults=()):
        self.world.start_sandbox(faults, ["--schema-dir", ROOT / "schemas"])
        self.first, self.second = self.start("a"), self.start("b")
        self.wait_for_shares(2, 2)

    def post(self, daemon, path, status, **body):
        connection = ControlConnection(daemon.control)
        self.addCleanup(connection.close)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        self.assertEqual(answer.status, status, text)
        return json.loads(text)

    def drain(self, daemon, **body):
        self.assertIn(self.post(daemon, "/v1/drain", 202, by="test", **body)["state"], ("draining", "drained"))

    @staticmethod
    def status(daemon):
        return json.loads(http_get(f"{daemon.admin}/status.json")[1] or "{}")

    def wait_for_state(self, daemon, state):
        wait_until(lambda: self.status(daemon)["process"]["state"] == state,
                   lambda: f"{daemon.name} {state}: {self.status(daemon)['process']}")
        return self.status(daemon)["process"]

    def wait_for_shares(self, first, second):
        def shares():
            return [self.status(daemon)["work"]["partitions"] for daemon in (self.first, self.second)]
        wait_until(lambda: shares() == [first, second], lambda: f"partitions {first} and {second}: {shares()}")

    def wait_for_shares_of_second(self):
        wait_until(lambda: self.status(self.second)["work"]["partitions"] == PARTITIONS, "all partitions")

    def group(self, daemon, status):
        """presignctl status --group --json: {instance: its partitions}, and the document."""
        config = self.world.directory / f"{daemon.instance}.conf"
        done = self.world.ctl("status", "--group", "--json", "-c", config)
        self.assertEqual(done.returncode, status, done.stderr)
        document = json.loads(done.stdout)
        for number, partition in enumerate(document["partitions"]):
            self.assertEqual(partition["id"], number)
        return {member["instance"]: member["partitions"] for member in document["members"]}, document

    def send(self, count=40):
        self.sent += self.world.produce([event(out_contract_code=f"D{len(self.sent) + n}") for n in range(count)])

    def wait_for_calls(self, daemon):
        wait_until(lambda: self.status(daemon)["work"]["calls_in_flight"] > 0, "a call in flight")

    def finish(self, *daemons):
        self.world.wait_for_outcomes(self.sent)
        for daemon in daemons:
            self.assertEqual(daemon.terminate(), 0)
        self.world.assert_audit_passes(delivery=self.delivery)

    def test_the_other_one_takes_over_and_gives_back(self):
        self.start_two()
        shares, document = self.group(self.first, 0)
        self.assertEqual({name: len(share) for name, share in shares.items()},
                         {self.first.instance: 2, self.second.instance: 2})
        self.assertEqual((document["state"], document["unowned"]), ("Stable", 0))
        self.send()
        self.drain(self.first)
        process = self.wait_for_state(self.first, "drained")
        self.assertEqual(process["drain_left"], 0)
        self.assertEqual(http_get(f"{self.first.admin}/readyz"), (503, "drained\n"))
        self.assertEqual(http_get(f"{self.first.admin}/healthz")[0], 200)
        self.wait_for_shares(0, 4)
        self.world.wait_for_outcomes(self.sent)
        shares, document = self.group(self.first, 0)
        self.assertEqual(shares, {self.second.instance: [0, 1, 2, 3]})
        # A transaction's marker is an offset, too.
        wait_until(lambda: self.group(self.first, 0)[1]["lag_records"] <= PARTITIONS, "no lag")
        self.drain(self.first)  # again: nothing happens
        self.send()
        self.world.wait_for_outcomes(self.sent)
        self.post(self.first, "/v1/resume", 200, all=True)
        self.wait_for_shares(2, 2)
        self.first.wait_ready()
        self.send()
        self.drain(self.first)
        self.wait_for_state(self.first, "drained")
        self.assertEqual(self.first.terminate(), 0)  # a planned stop
        self.wait_for_shares_of_second()
        self.finish(self.second)

    def test_calls_that_do_not_end_in_time_are_the_others(self):
        self.start_two(["delay=1:60000"])
        self.send(8)
        self.wait_for_calls(self.first)
        self.drain(self.first, timeout_ms=100)
        process = self.wait_for_state(self.first, "drained")
        self.assertGreater(process["drain_left"], 0)
        self.first.wait_for_log("events had not ended in time")
        self.wait_for_shares(0, 4)
        self.world.start_sandbox()  # answers at once; calls in flight are reset
        self.finish(self.first, self.second)

    def test_a_stop_and_a_reload_and_a_way_back_in_the_middle(self):
        self.start_two(["delay=1:3000"])
        self.send(8)
        self.wait_for_calls(self.first)
        self.drain(self.first, timeout_ms=600000)
        self.first.signal(signal.SIGHUP)
        self.first.wait_for_log("the new configuration is in use")
        self.assertEqual(self.status(self.first)["process"]["state"], "draining")
        self.post(self.first, "/v1/resume", 200, all=True)
        self.first.wait_ready()
        self.wait_for_shares(2, 2)
        self.send(8)
        self.wait_for_calls(self.first)
        self.drain(self.first, timeout_ms=600000)
        self.assertEqual(self.first.terminate(), 0)  # waits until it has left
        self.wait_for_shares_of_second()
        self.finish(self.second)


class Drain(Drains, unittest.TestCase):
    def test_the_clients_are_replaced_in_the_middle(self):
        self.world.start_sandbox(["delay=1:3000"], ["--schema-dir", ROOT / "schemas"])
        clock = WallClock(self.world.directory / "clock")
        with clock.preloaded():
            self.first = self.start("a")
        self.second = self.start("b")
        self.wait_for_shares(2, 2)
        self.send(8)
        self.wait_for_calls(self.first)
        self.drain(self.first, timeout_ms=600000)
        clock.set(30)
        self.first.wait_for_log("clients are replaced")
        self.wait_for_state(self.first, "drained")
        self.wait_for_shares(0, 4)
        self.finish(self.first, self.second)

    def test_a_standby_drains(self):
        self.world.start_sandbox()
        daemons = [self.start(f"s{n}") for n in range(PARTITIONS + 1)]

        def standby():
            shares = {daemon: self.status(daemon)["work"]["partitions"] for daemon in daemons}
            return sorted(shares.values()) == [0, 1, 1, 1, 1] and min(daemons, key=shares.get)
        daemon = wait_until(standby, "a standby")
        self.assertEqual(self.group(daemon, 0)[0][daemon.instance], [])
        self.drain(daemon)
        self.wait_for_state(daemon, "drained")
        self.post(daemon, "/v1/resume", 200, all=True)
        daemon.wait_ready()
        for each in daemons:
            self.drain(each)
        for each in daemons:
            self.wait_for_state(each, "drained")
        shares, document = self.group(daemon, 75)
        self.assertEqual((shares, document["unowned"]), ({}, PARTITIONS))
        text = self.world.ctl("status", "--group", "-c", self.world.directory / f"{daemon.instance}.conf")
        self.assertEqual(text.returncode, 75)
        self.assertRegex(text.stdout.decode(), r"Nobody owns 4 of 4 partitions")
        self.assertEqual(self.world.ctl("status", "--group", "--watch").returncode, 64)


class DrainAtLeastOnce(Drains, unittest.TestCase):
    delivery = auditor.AT_LEAST_ONCE


class DrainOnTheOldestKafka(Drains, unittest.TestCase):
    version = "2.5.1"


if __name__ == "__main__":
    unittest.main(verbosity=2)
