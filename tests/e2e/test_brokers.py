"""Brokers that are gone, and a port that accepts connections and is silent: told once, then counted."""

import json
import re
import socket
import unittest

from harness import World, event, http_get, wait_until

LOST = r"no Kafka broker has answered for \d+ s"


class Silent:
    """A listener that accepts: the kernel does. Nobody reads."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"

    def close(self):
        self.socket.close()


class Brokers(unittest.TestCase):
    def setUp(self):
        self.world = self.enterContext(World())
        self.world.start_sandbox()

    @staticmethod
    def kafka(daemon):
        return json.loads(http_get(f"{daemon.admin}/status.json")[1])["kafka"]

    def count(self, daemon, pattern):
        return len(re.findall(pattern, daemon.log_text()))

    def test_lost_brokers_are_told_once(self):
        silent = Silent()
        self.addCleanup(silent.close)
        deaf = self.world.start_daemon("deaf", sections={"kafka": {"bootstrap.servers": silent.address}}, wait=False)
        daemon = self.world.start_daemon()
        sent = self.world.produce([event()])
        self.world.wait_for_outcomes(sent)
        wait_until(lambda: self.kafka(daemon).get("brokers_up") == 1, lambda: f"a broker: {self.kafka(daemon)}")
        self.assertEqual(self.kafka(daemon)["brokers_known"], 1)
        wait_until(lambda: self.kafka(daemon).get("rtt_seconds", 0) > 0, "an answer's time")
        rtt = 'presignd_kafka_rtt_seconds{client="%s"}'  # without a value before the first statistics
        wait_until(lambda: all(rtt % client in daemon.metrics() for client in ("consumer", "producer")),
                   "both clients' statistics")
        metrics = daemon.metrics()
        for client in ("consumer", "producer"):
            self.assertGreaterEqual(metrics[f'presignd_kafka_errors_total{{client="{client}"}}'], 0)
        self.assertEqual(metrics['presignd_kafka_brokers{client="consumer",state="up"}'], 1)
        self.assertEqual(metrics['presignd_kafka_brokers{client="consumer",state="down"}'], 0)

        self.world.kafka.kill()
        daemon.wait_for_log(f"WARNING {LOST}.*refused")
        self.assertEqual(self.kafka(daemon)["brokers_up"], 0)
        errors = 'presignd_kafka_errors_total{client="consumer"}'
        before = daemon.metrics()[errors]
        wait_until(lambda: daemon.metrics()[errors] > before, "errors are counted")
        self.assertEqual(daemon.metrics()['presignd_kafka_brokers{client="consumer",state="up"}'], 0)
        self.world.kafka.start()
        daemon.wait_for_log("NOTICE the Kafka brokers answer again, after")
        self.assertEqual(self.count(daemon, LOST), 1)
        self.world.wait_for_outcomes(sent + self.world.produce([event()]))

        deaf.wait_for_log(f"WARNING {LOST}.*{silent.address}.*connections are accepted and nothing is answered")
        self.assertEqual(self.count(deaf, LOST), 1)
        self.assertEqual(self.count(deaf, "WARNING kafka"), 0, deaf.log_text())


if __name__ == "__main__":
    unittest.main(verbosity=2)
