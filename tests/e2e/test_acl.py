"""The rights and the ways in that docs/operations.md names, on a broker that asks for them.

The document is where they stand: its table, its kafka-acls.sh commands and its [kafka] sections
are read from there and used. With all rights everything works; with any single one taken away
something on that page fails, and says so.
"""

import configparser
import re
import unittest
import uuid

from confluent_kafka import Consumer, KafkaException, Producer, libversion

import document
from harness import WAIT_S, World, event, http_get, wait_until
from secure_broker import PASSWORD, SecureCluster

PAGE = "operations.md"
DENIED = {
    "Topic": r"Topic authorization failed",
    "Group": r"Group authorization failed",
    "TransactionalId": r"Transactional Id authorization failed",
}


def rights():
    """The table's rows: (who, resource, name, operation)."""
    return [tuple(row[:4]) for row in document.table(PAGE, "rights")]


def in_kafkas_words(who, resource, name, operation):
    pattern = "PREFIXED" if name.endswith("*") else "LITERAL"
    kind = re.sub(r"(?<=[a-z])([A-Z])", r"_\1", resource).upper()
    return f"User:{who} {kind} {pattern} {name.rstrip('*')} {operation.upper()}"


class Rights(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = cls.enterClassContext(SecureCluster())
        cls.world = World(kafka=cls.kafka)
        cls.world.topics = {name: name for name in cls.world.topics}
        cls.enterClassContext(cls.world)
        cls.world.start_sandbox()
        cls.credentials = cls.world.directory / "credentials"
        cls.credentials.mkdir()
        for name, content in {
                "kafka-password": PASSWORD + "\n",
                "kafka-client.pem": (cls.kafka.certificates / "client.pem").read_text(),
                "kafka-client.key": (cls.kafka.certificates / "client.key").read_text()}.items():
            (cls.credentials / name).write_text(content)
        (cls.kafka.directory / "admin.properties").touch()
        cls.kafka.run(cls.here(document.block(PAGE, "rights-commands"), cls.kafka.bootstrap))

    @classmethod
    def here(cls, text, bootstrap):
        """A block of the page with this cluster's address and files."""
        text = re.sub(r"kafka-\d:\d+(,kafka-\d:\d+)*", bootstrap, text)
        return text.replace("/etc/presignd/kafka-ca.pem", str(cls.kafka.certificates / "ca.pem"))

    def kafka_section(self, mark="sasl", **changed):
        parser = configparser.ConfigParser(interpolation=None)
        address = {"sasl": self.kafka.secure, "mutual": self.kafka.mutual}[mark]
        parser.read_string(self.here(document.block(PAGE, mark), address))
        return {"kafka": {**parser["kafka"], **changed}}

    def start_daemon(self, sections, wait=True):
        """presignd-1 with a log that begins now."""
        (self.world.directory / "presignd-1.log").unlink(missing_ok=True)
        return self.world.start_daemon(sections=sections, wait=wait,
                                       environment={"CREDENTIALS_DIRECTORY": str(self.credentials)})

    def one_of_each(self):
        """An event that ends as a result and one that ends as a failure."""
        return self.world.produce([event(), (None, b"{oops", [])], partition=0)

    def config_of(self, user):
        """A configuration file for presignctl. Only the daemon has credentials."""
        sections = self.kafka_section(**{"sasl.username": user, "sasl.password": PASSWORD})
        return self.world.write_config(f"for-{user}", sections)

    # ---- one check for each line of the table: raises with the word of refusal, or returns

    def daemon(self, resource, name):
        daemon = self.start_daemon(self.kafka_section(), wait=False)
        try:
            sent = self.one_of_each()
            topic = re.escape(name) + ".*" if resource == "Topic" else ""
            refused = re.compile(topic + DENIED[resource])
            wait_until(lambda: refused.search(daemon.log_text())
                       or set(sent) <= self.world.outcomes().keys(), "outcomes, or a word why not")
            found = refused.search(daemon.log_text())
            if found:
                self.assertTrue(daemon.running)
                if resource == "Topic" and name == "presign.requests" or resource == "Group":
                    self.assertEqual(http_get(f"{daemon.admin}/readyz")[0], 503)
                raise PermissionError(found[0])
        finally:
            daemon.kill()

    def client(self, **more):
        return {"bootstrap.servers": self.kafka.secure, "security.protocol": "sasl_ssl",
                "sasl.mechanism": "PLAIN", "sasl.username": "orders", "sasl.password": PASSWORD,
                "ssl.ca.location": str(self.kafka.certificates / "ca.pem"), "log_level": 0, **more}

    def produce_as_orders(self):
        errors = []
        producer = Producer(self.client())
        producer.produce("presign.requests", event()[1], on_delivery=lambda e, _: errors.append(e))
        self.assertEqual(producer.flush(WAIT_S), 0)
        if errors[0]:
            raise PermissionError(errors[0].str())

    def consume_as_orders(self, topic):
        consumer = Consumer(self.client(**{"group.id": f"orders-{uuid.uuid4()}", "auto.offset.reset": "earliest",
                                           "isolation.level": "read_committed"}))
        try:
            consumer.subscribe([topic])
            message = wait_until(lambda: consumer.poll(1), f"a record of {topic}, or a word why not")
            if message.error():
                raise PermissionError(message.error().str())
        except KafkaException as error:
            raise PermissionError(error.args[0].str()) from None
        finally:
            consumer.close()

    def presignctl(self, *arguments, stdin=b""):
        done = self.world.ctl(arguments[0], "-c", self.config_of("operator"), *arguments[1:], stdin=stdin)
        if done.returncode:
            self.assertEqual(done.returncode, 69, done.stderr)
            raise PermissionError(done.stderr.decode())

    def check(self, who, resource, name, operation):
        if who == "presignd":
            self.daemon(resource, name)
        elif (who, resource, operation) == ("orders", "Topic", "Write"):
            self.produce_as_orders()
        elif who == "orders":
            self.consume_as_orders(name if resource == "Topic" else "presign.results")
        elif (who, resource, operation) == ("operator", "Topic", "Write"):
            self.presignctl("send", stdin=event()[1] + b"\n")
        elif who == "operator":
            kind = name.split(".")[1]
            self.presignctl("tail", f"--{kind}", "--from", "beginning", "--count", "1", "--timeout-ms", "15000")
        else:
            self.fail(f"no check for the right {who} {resource} {name} {operation}")

    # ---- tests, in the order of their names

    def test_1_the_commands_give_what_the_table_says(self):
        self.assertEqual(sorted(self.kafka.acls.all()), sorted(in_kafkas_words(*row) for row in rights()))

    def test_2_with_all_rights_everything_works(self):
        daemon = self.start_daemon(self.kafka_section())
        self.world.wait_for_outcomes(self.one_of_each())
        self.assertEqual(daemon.terminate(), 0)
        for row in rights():
            if row[0] != "presignd":
                with self.subTest(row):
                    self.check(*row)

    def test_3_without_any_one_of_them_something_says_so(self):
        for row in rights():
            with self.subTest(row):
                self.kafka.acls.remove(in_kafkas_words(*row))
                try:
                    with self.assertRaisesRegex(PermissionError, "(?i)authorization failed"):
                        self.check(*row)
                finally:
                    self.kafka.acls.add(in_kafkas_words(*row))

    def test_4_nothing_was_lost_or_doubled_by_it(self):
        daemon = self.start_daemon(self.kafka_section())
        self.world.wait_for_outcomes(self.one_of_each())
        self.world.assert_audit_passes(wait_s=WAIT_S)
        self.assertEqual(daemon.terminate(), 0)

    def test_5_a_certificate_instead_of_a_password(self):
        daemon = self.start_daemon(self.kafka_section("mutual"))
        self.world.wait_for_outcomes(self.one_of_each())
        self.assertEqual(daemon.terminate(), 0)

    def test_6_a_wrong_password_is_told(self):
        (self.credentials / "kafka-password").write_text("wrong")
        self.addCleanup((self.credentials / "kafka-password").write_text, PASSWORD)
        daemon = self.start_daemon(self.kafka_section(), wait=False)
        daemon.wait_for_log(r"SASL authentication error: Authentication failed: Invalid username or password")
        self.assertEqual(http_get(f"{daemon.admin}/readyz")[0], 503)
        self.assertNotIn("wrong", daemon.log_text())
        daemon.kill()

    def test_7_scram_needs_a_newer_librdkafka_for_this_kafka(self):
        """What the page says of SCRAM, so that it is noticed when it becomes untrue."""
        self.kafka.run(f"kafka-configs.sh --bootstrap-server {self.kafka.bootstrap} --alter --entity-type users "
                       f"--entity-name presignd --add-config 'SCRAM-SHA-512=[password={PASSWORD}]'")
        refused = []
        client = Producer(self.client(**{"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "presignd",
                                         "error_cb": refused.append}))
        works = wait_until(lambda: refused or self.knows_brokers(client), "an answer to SCRAM") is True
        self.assertEqual(works, libversion()[0] >= "2.6.1", refused)

    @staticmethod
    def knows_brokers(client):
        client.poll(0)
        try:
            return bool(client.list_topics(timeout=1).brokers)
        except KafkaException:
            return False


if __name__ == "__main__":
    unittest.main()
