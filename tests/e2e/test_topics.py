"""presignctl topics on the real broker: makes what is not there, finds what is wrong."""

import json
import os
import pty
import subprocess
import unittest
import uuid

from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from harness import World


class Topics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World())
        cls.world.start_sandbox()
        cls.config = cls.world.write_config()
        cls.admin = AdminClient({"bootstrap.servers": cls.world.kafka.bootstrap, "log_level": 0})

    def setUp(self):
        self.names = {role: f"{role}.{uuid.uuid4().hex[:8]}" for role in ("requests", "results", "failures")}
        self.sets = [word for role, name in self.names.items()
                     for word in ("--set", f"daemon.{role}_topic={name}")]

    def topics(self, *options, status=0):
        """(the document of --json, standard error)"""
        done = self.world.ctl("topics", "-c", self.config, *self.sets, "--json", *options)
        self.assertEqual(done.returncode, status, done.stderr)
        return json.loads(done.stdout) if done.stdout else None, done.stderr.decode()

    def settings(self, role):
        resource = ConfigResource(ConfigResource.Type.TOPIC, self.names[role])
        return {name: entry.value for name, entry in
                self.admin.describe_configs([resource])[resource].result(180).items()}

    def make(self, role, partitions=1, **config):
        topic = NewTopic(self.names[role], partitions, 1,
                         config={name.replace("_", "."): value for name, value in config.items()})
        self.admin.create_topics([topic])[self.names[role]].result(180)

    def test_created_topics_are_right_and_stay_as_they_are(self):
        made, _ = self.topics("--create", "--partitions", 2)
        self.assertTrue(made["ok"])
        self.assertEqual([(t["topic"], t["created"], t["partitions"], t["replication_factor"], t["findings"])
                          for t in made["topics"]],
                         [(name, True, 2, 1, []) for name in self.names.values()])
        self.assertEqual(self.settings("failures")["retention.ms"], "2592000000")
        self.assertEqual(self.settings("requests")["min.insync.replicas"], "1")
        again, _ = self.topics("--create", "--partitions", 2)
        self.assertEqual([t["created"] for t in again["topics"]], [False] * 3)

    def test_a_large_event_is_thought_of(self):
        self.topics("--create", "--partitions", 1, "--set", "daemon.max_event_bytes=1048576")
        self.assertEqual(self.settings("requests")["max.message.bytes"], "1049600")

    def test_the_daemon_warns_at_its_start(self):
        self.make("requests", min_insync_replicas="1")
        self.make("results", cleanup_policy="compact")
        self.make("failures", max_message_bytes="100000")
        daemon = self.world.start_daemon(sets=self.sets[1::2])
        wrong = {("results", "cleanup.policy"), ("failures", "max.message.bytes")}
        for role, setting in wrong:
            daemon.wait_for_log(rf"topic {self.names[role]}: {setting} is \S+, should be .*; "
                                rf"to change it: kafka-configs.sh .*{setting}=")
        told = [line for line in daemon.log_text().splitlines() if "should be" in line]
        self.assertFalse([line for line in told if self.names["requests"] in line])
        self.assertEqual(daemon.terminate(), 0)

    def test_what_is_wrong_is_told_with_its_cure(self):
        self.make("requests", cleanup_policy="compact", min_insync_replicas="2")
        self.make("failures", max_message_bytes="65536", unclean_leader_election_enable="true",
                  retention_ms="60000", retention_bytes="1000", compression_type="zstd")
        found, _ = self.topics("--partitions", 3, "--replication-factor", 2, status=65)
        self.assertFalse(found["ok"])
        wrong = {t["role"]: {f["setting"]: f for f in t["findings"]} for t in found["topics"]}
        self.assertEqual(wrong["requests"].keys(), {"cleanup.policy", "partitions", "replication.factor"})
        self.assertEqual(wrong["results"].keys(), {"topic"})
        self.assertEqual(wrong["failures"].keys(), {
            "max.message.bytes", "unclean.leader.election.enable", "retention.ms", "retention.bytes",
            "partitions", "replication.factor"})
        policy = wrong["requests"]["cleanup.policy"]
        self.assertEqual((policy["is"], policy["should"]), ("compact", "delete"))
        self.assertTrue(policy["mend"].endswith(
            f"--entity-name {self.names['requests']} --add-config cleanup.policy=delete"))
        self.assertIn(self.world.kafka.bootstrap, policy["mend"])

    def test_what_the_cluster_refuses(self):
        _, told = self.topics("--create", "--replication-factor", 3, status=69)
        self.assertIn("cannot be created", told)
        _, told = self.topics("--set", "kafka.bootstrap.servers=127.0.0.1:1", "--timeout-ms", 300, status=69)
        self.assertRegex(told, r"no broker has answered within 300 ms: .*127\.0\.0\.1:1")
        _, told = self.topics("--create", "--check", status=64)
        self.assertIn("give --create or --check", told)

    def test_colours_are_for_terminals(self):
        for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
            with self.subTest(environment):
                text = self.on_terminal(environment)
                self.assertEqual(b"\033[" in text, coloured, text)
                self.assertIn("✗ the topic does not exist".encode(),
                              text if not coloured else text.replace(b"\033[31m", b"").replace(b"\033[0m", b""))
        piped = self.world.ctl("topics", "-c", self.config, *self.sets).stdout
        self.assertNotIn(b"\033", piped)

    def on_terminal(self, environment):
        ours, theirs = pty.openpty()
        base = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
        subprocess.run([self.world.build / "presignctl", "topics", "-c", self.config, *self.sets],
                       stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL, timeout=180,
                       env={**base, "TERM": "xterm", **environment})
        os.close(theirs)
        text = b""
        try:
            while chunk := os.read(ours, 65536):
                text += chunk
        except OSError:  # Linux tells a terminal's end so
            pass
        os.close(ours)
        return text


if __name__ == "__main__":
    unittest.main()
