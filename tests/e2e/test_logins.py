"""Each way to log in to Kafka, with its configuration block of docs/operations.md, on a real Kafka 4;
and what is reported if the password is wrong or the library of this build lacks the way."""

import configparser
import os
import re
import shutil
import subprocess
import unittest

import document
from harness import World, event, http_get, wait_until
from secure_broker import PASSWORD, SCRAM, USERS, SecureCluster

PAGE = "operations.md"
WRONG = "wr0ng-pass"
SCRAM_WORKS = (2, 6, 1)  # from this librdkafka on, with Kafka 4
TOKEN_S = 5


class Logins(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = SecureCluster()
        cls.kafka.settings |= {"allow.everyone.if.no.acl.found": "true",
                               "listener.name.oidc.oauthbearer.connections.max.reauth.ms": "3600000"}
        cls.kafka.tokens.lifetime_s = TOKEN_S
        cls.enterClassContext(cls.kafka)
        for mechanism in SCRAM:
            cls.kafka.acls.scram(USERS[0], mechanism, PASSWORD)
        cls.world = cls.enterClassContext(World(kafka=cls.kafka))
        cls.world.start_sandbox()
        cls.credentials = cls.world.directory / "credentials"
        cls.credentials.mkdir(mode=0o700)
        for name in ("kafka-client.pem", "kafka-client.key"):
            shutil.copy(cls.kafka.certificates / name.removeprefix("kafka-"), cls.credentials / name)
        cls.library = cls.version()

    def setUp(self):
        for name in ("kafka-password", "kafka-client-secret"):
            (self.credentials / name).write_text(PASSWORD)

    @property
    def environment(self):
        return {"CREDENTIALS_DIRECTORY": str(self.credentials)}

    @classmethod
    def section(cls, mark, **changed):
        """The block of the page with this cluster's address and files."""
        address = {"mutual": cls.kafka.mutual, "oidc": cls.kafka.oidc}.get(mark, cls.kafka.secure)
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(document.block(PAGE, mark))
        here = {"bootstrap.servers": address, "ssl.ca.location": cls.kafka.certificates / "ca.pem",
                "group.id": cls.world.group, "sasl.oauthbearer.token.endpoint.url": cls.kafka.tokens.url}
        section = {name: here.get(name, value) for name, value in parser["kafka"].items()}
        return {"kafka": {**section, **changed}}

    @classmethod
    def check(cls, sections):
        """What `presignctl check` says."""
        config = cls.world.write_config("presignd-1", sections)
        done = subprocess.run([cls.world.build / "presignctl", "check", "-c", config], capture_output=True, text=True,
                              env={**os.environ, "CREDENTIALS_DIRECTORY": str(cls.credentials)})
        return done.returncode, done.stdout + done.stderr

    @classmethod
    def version(cls):
        """Of the build's librdkafka, which need not be the one that Python has."""
        _, said = cls.check({"kafka": {"no.such.property": "1"}})
        return tuple(int(number) for number in re.search(r"librdkafka (\d+)\.(\d+)\.(\d+)", said).groups())

    def start(self, mark, wait=True, **changed):
        (self.world.directory / "presignd-1.log").unlink(missing_ok=True)
        daemon = self.world.start_daemon(sections=self.section(mark, **changed), wait=False,
                                         environment=self.environment)
        self.addCleanup(lambda: daemon.running and daemon.kill())
        return daemon.wait_ready() if wait else daemon

    def works(self, mark, **changed):
        """From the login to an outcome."""
        daemon = self.start(mark, **changed)
        self.world.wait_for_outcomes(self.world.produce([event()]))
        self.assertEqual(daemon.terminate(), 0)
        self.assertNotIn(PASSWORD, daemon.log_text())

    def refused(self, mark, word, **changed):
        """The journal says why, /readyz that it cannot work, nobody what the password is."""
        daemon = self.start(mark, wait=False, **changed)
        daemon.wait_for_log(rf" WARNING .*{word}")
        self.assertEqual(http_get(f"{daemon.admin}/readyz")[0], 503)
        for secret in (WRONG, PASSWORD):
            self.assertNotIn(secret, daemon.log_text())
        daemon.kill()

    def need_oidc(self):
        status, said = self.check(self.section("oidc"))
        if status:
            self.skipTest(f"the librdkafka of this build has no OIDC: {said}")

    # ---- tests

    def test_a_password(self):
        self.works("sasl")

    def test_a_wrong_password_is_told(self):
        (self.credentials / "kafka-password").write_text(WRONG)
        self.refused("sasl", "SASL authentication error: Authentication failed: Invalid username or password")

    def test_a_certificate(self):
        self.works("mutual")

    def test_another_authoritys_certificate_is_told(self):
        self.refused("mutual", "certificate verify failed",
                     **{"ssl.ca.location": str(self.kafka.certificates / "client.pem")})

    def test_scram(self):
        """What the page says of librdkafka before 2.6.1 is noticed when it becomes untrue."""
        for mechanism in SCRAM:
            with self.subTest(mechanism):
                if self.library >= SCRAM_WORKS:
                    self.works("scram", **{"sasl.mechanism": mechanism})
                else:
                    self.refused("scram", "SASL authentication error: .*invalid credentials",
                                 **{"sasl.mechanism": mechanism})

    def test_a_wrong_password_of_scram_is_told(self):
        (self.credentials / "kafka-password").write_text(WRONG)
        self.refused("scram", "SASL authentication error: .*invalid credentials")

    def test_a_token_and_the_next_one(self):
        self.need_oidc()
        tokens = self.kafka.tokens
        daemon = self.start("oidc")
        self.world.wait_for_outcomes(self.world.produce([event()]))
        # Each client fetches its own. Brokers end connections whose token has ended.
        before = tokens.answered["presignd"]
        wait_until(lambda: tokens.answered["presignd"] >= 2 * before + 2, "tokens that follow the first ones")
        self.world.wait_for_outcomes(self.world.produce([event()]))
        self.assertEqual(daemon.terminate(), 0)
        self.assertNotIn(PASSWORD, daemon.log_text())

    def test_a_secret_that_the_token_server_refuses_is_told(self):
        self.need_oidc()
        (self.credentials / "kafka-client-secret").write_text(WRONG)
        self.refused("oidc", "OIDC token.*401")

    def test_a_token_server_that_is_away_is_told(self):
        self.need_oidc()
        self.refused("oidc", "OIDC token", **{"sasl.oauthbearer.token.endpoint.url": "http://127.0.0.1:9/token"})

    def test_a_library_without_oidc_is_told_before_the_start(self):
        status, said = self.check(self.section("oidc"))
        if status == 0:
            self.skipTest("the librdkafka of this build has OIDC")
        self.assertEqual(status, 78, said)
        self.assertRegex(said, r"sasl\.oauthbearer\.method: librdkafka \S+ is built without oidc: "
                               r"use the package that bundles librdkafka, or Debian 13")
        self.assertNotIn(PASSWORD, said)


if __name__ == "__main__":
    unittest.main()
