"""What /readyz, /status and the status text say of work that cannot be done, on a real Kafka."""

import json
import os
import signal
import unittest
from pathlib import Path

import auditor
from harness import event, http_get, wait_until
from user_case import UserCase


class Subscription(UserCase):
    """The requests topic: no right to it, deleted, recreated."""

    def setUp(self):
        super().setUp()
        self.topic = self.world.topics[auditor.REQUESTS]
        self.daemon = self.start("presignd-1")

    def start(self, instance):
        sections = self.as_user(**{"topic.metadata.refresh.interval.ms": 2000})
        return self.world.start_daemon(instance, sections=sections)

    def readyz(self, daemon=None):
        return http_get(f"{(daemon or self.daemon).admin}/readyz")

    def wait_unready(self, pattern, daemon=None):
        said = []

        def unready():
            said[:] = self.readyz(daemon)
            return said[0] == 503 and pattern in said[1]
        wait_until(unready, lambda: f"503 with {pattern!r}: {said}")

    def deny(self):
        """The broker permits what no ACL names. An ACL for another user denies it to us."""
        self.acls.add(f"User:another TOPIC LITERAL {self.topic} READ")

    def allow(self):
        self.acls.remove(f"User:another TOPIC LITERAL {self.topic} READ")

    def needs_a_topic_that_comes_back(self):
        """librdkafka's issues 4778 and 4964: any client of these versions may crash then."""
        status = json.loads(http_get(f"{self.daemon.admin}/status.json")[1])
        version = tuple(map(int, status["process"]["librdkafka"].split(".")[:2]))
        if (2, 4) <= version < (2, 10):
            self.skipTest("librdkafka 2.4 to 2.9 may crash when a topic is deleted and created again")

    def delete_topic(self):
        self.world.close_producer()
        self.kafka.delete_topic(self.topic)

    def test_a_right_that_is_taken_away_while_idle_and_given_again(self):
        sent = self.world.produce(event() for _ in range(3))
        self.world.wait_for_outcomes(sent)
        self.deny()
        self.wait_unready("TOPIC_AUTHORIZATION_FAILED")
        waiting = self.world.produce(event() for _ in range(100))
        status, text = http_get(f"{self.daemon.admin}/status.json")
        self.assertIn("TOPIC_AUTHORIZATION_FAILED", text)
        self.wait_unready("TOPIC_AUTHORIZATION_FAILED")
        self.allow()
        self.world.wait_for_outcomes(waiting)
        self.daemon.wait_ready()

    def test_a_standby_notices_that_the_right_is_back(self):
        standby = [self.start(f"presignd-{n}") for n in range(2, 5)]
        self.deny()
        for daemon in [self.daemon, *standby]:
            self.wait_unready("TOPIC_AUTHORIZATION_FAILED", daemon)
        self.allow()
        for daemon in [self.daemon, *standby]:
            daemon.wait_ready()

    def test_a_topic_that_is_deleted_and_comes_back(self):
        self.needs_a_topic_that_comes_back()
        self.world.wait_for_outcomes(self.world.produce(event() for _ in range(3)))
        self.delete_topic()
        self.wait_unready("UNKNOWN_TOPIC_OR_PART")
        self.kafka.create_topic(self.topic, 3)
        self.daemon.wait_ready()

    def test_a_topic_that_is_made_anew_below_our_position(self):
        self.needs_a_topic_that_comes_back()
        self.world.wait_for_outcomes(self.world.produce(event() for _ in range(60)))
        self.daemon.suspend()
        self.delete_topic()
        self.kafka.create_topic(self.topic, 3)
        self.daemon.resume()
        self.wait_unready("recreated")
        again = self.world.produce(event() for _ in range(6))
        self.wait_unready("restart")
        self.daemon.terminate()
        self.daemon = self.start("presignd-1")
        self.world.wait_for_outcomes(again)


class Signatures(UserCase):
    """The signing process hangs."""

    def test_one_that_hangs_is_named_and_costs_no_attempt(self):
        daemon = self.world.start_daemon(sets=["daemon.sign_process=yes"], sections={"retry": {"max_attempts": 1}})
        main = daemon.process.pid
        (signer,) = map(int, Path(f"/proc/{main}/task/{main}/children").read_text(encoding="ascii").split())
        os.kill(signer, signal.SIGSTOP)  # it ends with the daemon also then
        sent = self.world.produce(event() for _ in range(20))
        said = []

        def unready():
            said[:] = http_get(f"{daemon.admin}/readyz")
            return said[0] == 503 and "have not answered" in said[1]
        wait_until(unready, lambda: f"503 for want of signatures: {said}")
        status = json.loads(http_get(f"{daemon.admin}/status.json")[1])
        self.assertEqual(status["process"]["sign_process"], "yes")
        os.kill(signer, signal.SIGCONT)
        outcomes = self.world.wait_for_outcomes(sent)
        self.assertEqual({outcome.reason for outcome in outcomes.values()}, {None})
        daemon.wait_ready()

if __name__ == "__main__":
    unittest.main()
