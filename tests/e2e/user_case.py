"""A test case on a Kafka where the daemon has a name and a password, so that ACLs can name it."""

import unittest

from harness import World
from kafka_broker import Cluster
from secure_broker import PASSWORD, Acls

USER = "presignd"


class UserCase(unittest.TestCase):
    """One cluster for the class, a World with a sandbox for each test."""

    @classmethod
    def setUpClass(cls):
        cls.kafka = cls.enterClassContext(Cluster(users={USER: PASSWORD}))
        cls.acls = Acls(cls.kafka.bootstrap)
        cls.addClassCleanup(cls.acls.close)

    def setUp(self):
        self.world = self.enterContext(World(kafka=self.kafka))
        self.world.start_sandbox()

    def as_user(self, **properties):
        """The sections of a configuration that logs in as USER."""
        return {"kafka": {
            "bootstrap.servers": self.kafka.users_bootstrap, "security.protocol": "sasl_plaintext",
            "sasl.mechanism": "PLAIN", "sasl.username": USER, "sasl.password": PASSWORD, **properties}}
