"""What presignd checks before it joins its group, on a real Kafka: what blocks, where this is
reported, and that the daemon continues by itself."""

import contextlib
import json
import queue
import socket
import threading
import time
import unittest

import auditor
from harness import World, event, http_get, wait_until
from kafka_broker import Cluster, free_ports
from user_case import USER, UserCase

CHECKS = ["brokers", "transactions", "fencing", "topics", "leaders"]


def status(daemon):
    code, text = http_get(f"{daemon.admin}/status.json")
    return json.loads(text) if code == 200 else {"process": {"state": ""}, "preflight": []}


def findings(daemon):
    """{check: the row of /status.json}."""
    return {row["check"]: row for row in status(daemon)["preflight"]}


def wait_blocked(daemon, check, words):
    """Until the daemon is held back by that check; says so in status, /readyz, metric and journal."""
    wait_until(lambda: status(daemon)["process"]["state"] == f"preflight: {check}"
               and words in findings(daemon)[check]["is"],
               lambda: f"held back by {check}: {status(daemon)['process']}, {findings(daemon)}")
    code, text = http_get(f"{daemon.admin}/readyz")
    assert code == 503 and text.startswith(f"preflight: {check}: ") and words in text, text
    assert findings(daemon)[check]["ok"] is False
    assert daemon.metrics()[f'presignd_preflight{{check="{check}"}}'] == 0
    daemon.wait_for_log(rf"preflight: {check}: .*nothing is consumed until it has passed; ")
    return findings(daemon)[check]["mend"]


class Preflight(UserCase):
    def start_as_user(self, instance="presignd-1", wait=False):
        return self.world.start_daemon(instance, wait=wait, sections=self.as_user())

    def deny(self, resource):
        """The broker permits what no ACL names. An ACL for another user denies it to us."""
        self.acls.add(f"User:another {resource}")
        self.addCleanup(self.acls.remove, f"User:another {resource}")

    def allow(self, resource):
        self.acls.remove(f"User:another {resource}")

    def assert_nothing_was_called(self):
        self.assertEqual(self.world.sandbox.ledger(), [])

    def test_all_is_well(self):
        daemon = self.world.start_daemon()
        rows = wait_until(lambda: "metadata_bytes" in findings(daemon) and findings(daemon), "all checks")
        self.assertEqual([row["check"] for row in rows.values() if row.get("ok") is not True
                          and row["check"] != "rights"], [])
        self.assertLessEqual({*CHECKS, "static_membership", "metadata_bytes"}, rows.keys())
        self.assertNotIn("mend", rows["fencing"])
        self.assertEqual(status(daemon)["process"]["state"], "ready")
        metrics = daemon.metrics()
        for check in CHECKS:
            self.assertEqual(metrics[f'presignd_preflight{{check="{check}"}}'], 1)
        self.assertNotRegex(daemon.log_text(), "WARNING|ERR|TXNERR")
        self.assertEqual(daemon.terminate(), 0)

    def test_a_transactional_id_that_is_denied(self):
        id_of_ours = "TRANSACTIONAL_ID LITERAL presignd-denied WRITE"
        self.deny(id_of_ours)
        sent = self.world.produce(event() for _ in range(3))
        daemon = self.start_as_user("presignd-denied")
        mend = wait_blocked(daemon, "transactions", "Transactional Id authorization failed")
        self.assertIn("rights", mend)
        self.assertIn(f"--allow-principal User:{USER} --operation Write --transactional-id presignd-denied",
                      findings(daemon)["rights"]["mend"])
        self.assert_nothing_was_called()
        self.allow(id_of_ours)
        self.world.wait_for_outcomes(sent)
        daemon.wait_ready()
        daemon.wait_for_log("preflight: nothing blocks any more")
        self.assertEqual(daemon.log_text().count("preflight: transactions: "), 1)

    def test_a_group_that_is_denied(self):
        group = f"GROUP LITERAL {self.world.group} READ"
        self.deny(group)
        sent = self.world.produce([event()])
        daemon = self.start_as_user()
        wait_blocked(daemon, "fencing", "Group authorization failed")
        self.assertIn(f"--operation Read --group {self.world.group}", findings(daemon)["rights"]["mend"])
        self.assert_nothing_was_called()
        self.allow(group)
        self.world.wait_for_outcomes(sent)
        daemon.wait_ready()

    def test_a_topic_of_requests_that_is_made_later(self):
        topic = self.world.topics[auditor.REQUESTS]
        self.kafka.delete_topic(topic)
        daemon = self.world.start_daemon(wait=False)
        self.assertIn("presignctl topics --create", wait_blocked(daemon, "topics", topic))
        self.assertEqual(list(self.kafka.admin().list_topics(topic=topic, timeout=10).topics[topic].partitions), [])
        self.kafka.create_topic(topic, 3)
        sent = self.world.produce([event()])
        self.world.wait_for_outcomes(sent)
        daemon.wait_ready()

    def test_an_output_topic_may_be_missing(self):
        topic = self.world.topics[auditor.FAILURES]
        self.kafka.delete_topic(topic)
        daemon = self.world.start_daemon()
        daemon.wait_for_log(rf"WARNING preflight: topics: topic {topic}: ")
        self.world.produce([event()])
        wait_until(lambda: status(daemon)["work"]["succeeded"] == 1, "a result")
        self.assertFalse(findings(daemon)["topics"]["ok"])

    def test_a_stop_while_something_is_missing(self):
        topic = self.world.topics[auditor.REQUESTS]
        self.kafka.delete_topic(topic)
        daemon = self.world.start_daemon(wait=False)
        wait_blocked(daemon, "topics", topic)
        self.assertEqual(self.world.ctl("reload", "-c", self.world.directory / "presignd-1.conf").returncode, 0)
        self.assertEqual(daemon.terminate(), 0)


class Later(unittest.TestCase):
    """A broker that is not there at the start, and a cluster that has no internal topics yet."""

    def test_a_broker_that_comes_later(self):
        kafka = self.enterContext(Cluster())
        world = self.enterContext(World(kafka=kafka))
        world.start_sandbox()
        sent = world.produce([event()])
        kafka.stop()
        daemon = world.start_daemon(wait=False)
        wait_blocked(daemon, "brokers", "no broker has answered: ")
        kafka.start()
        world.wait_for_outcomes(sent)
        daemon.wait_ready()
        self.assertEqual(daemon.terminate(), 0)

    def test_a_stop_without_any_broker(self):
        world = World(kafka=None)
        self.addCleanup(world.close)
        world.kafka.bootstrap = f"127.0.0.1:{free_ports(1)[0]}"
        world.start_sandbox()
        daemon = world.start_daemon(wait=False)
        wait_blocked(daemon, "brokers", "no broker has answered: ")
        self.assertEqual(http_get(f"{daemon.admin}/healthz")[0], 200)
        self.assertEqual(daemon.terminate(), 0)


class SlowRelay:
    """Passes connections on to a broker. Each answer takes `delay_s`."""

    def __init__(self, target, delay_s):
        self.target, self.delay_s = target, delay_s
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                ours = self.listener.accept()[0]
                theirs = socket.create_connection(self.target)
                for ends in (ours, theirs, 0), (theirs, ours, self.delay_s):
                    threading.Thread(target=self.copy, args=ends, daemon=True).start()

    @staticmethod
    def copy(source, sink, delay_s):
        pieces = queue.SimpleQueue()

        def read():
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    pieces.put((time.monotonic() + delay_s, data))
            pieces.put((0, b""))

        threading.Thread(target=read, daemon=True).start()
        with contextlib.suppress(OSError), source, sink:
            while (piece := pieces.get())[1]:
                time.sleep(max(0, piece[0] - time.monotonic()))
                sink.sendall(piece[1])
            sink.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.close()


class SlowBroker(unittest.TestCase):
    """A connection takes longer than an answer may: two answers of 2 s each come before the first
    one that the daemon asks for."""

    def test_a_slow_connection_does_not_block(self):
        kafka = self.enterContext(Cluster())
        world = self.enterContext(World(kafka=kafka))
        world.start_sandbox()
        host, port = kafka.bootstrap.split(",")[0].rsplit(":", 1)
        relay = self.enterContext(contextlib.closing(SlowRelay((host, int(port)), 2)))
        sent = world.produce([event()])
        daemon = world.start_daemon(wait=False, sections={"kafka": {"bootstrap.servers": relay.address}})
        world.wait_for_outcomes(sent)
        daemon.wait_ready()
        self.assertEqual(daemon.terminate(), 0)


class Releases(unittest.TestCase):
    """By behaviour: a broker that accepts the offsets of any member is refused, all others pass."""

    def start_on(self, version):
        world = self.enterContext(World(kafka=self.enterContext(Cluster(version=version))))
        world.start_sandbox()
        return world, world.produce([event()])

    def test_2_4_1_is_refused(self):
        world, sent = self.start_on("2.4.1")
        daemon = world.start_daemon(wait=False)
        mend = wait_blocked(daemon, "fencing", "accepts offsets of a member that does not exist")
        self.assertIn("delivery = at_least_once", mend)
        self.assertEqual(world.sandbox.ledger(), [])
        self.assertEqual(daemon.terminate(), 0)
        daemon = world.start_daemon(sections={"daemon": {"delivery": "at_least_once"}})
        world.wait_for_outcomes(sent)
        self.assertEqual((findings(daemon)["idempotence"]["ok"], "fencing" in findings(daemon)), (True, False))
        self.assertEqual(daemon.terminate(), 0)

    def test_2_5_1_passes(self):
        world, sent = self.start_on("2.5.1")
        daemon = world.start_daemon()
        world.wait_for_outcomes(sent)
        self.assertIn("UNKNOWN_MEMBER_ID", findings(daemon)["fencing"]["is"])
        self.assertEqual(daemon.terminate(), 0)


if __name__ == "__main__":
    unittest.main()
