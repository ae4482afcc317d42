"""The rights, the ways in and the commands of docs/operations.md, on a broker that asks for rights.

The document is where they stand: its table, its commands and its configuration are read from
there and used. With all rights everything works; with any single one taken away something on
that page fails, and says so.
"""

import configparser
import contextlib
import os
import re
import shutil
import subprocess
import unittest
import uuid
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer

import document
from harness import ROOT, WAIT_S, Daemon, World, event, free_ports, http_get, render_config, wait_until
from secure_broker import PASSWORD, SecureCluster

PAGE = "operations.md"
DENIED = {
    "Topic": r"(Topic authorization failed|no right to write)",
    "Group": r"Group authorization failed",
    "TransactionalId": r"Transactional Id authorization failed",
}


# redrive hears of a group's refusal as a time-out only.
REFUSED = r"(?i)authorization failed|no right to write|positions of group \S+ cannot be read"


def rights():
    """The table's rows: (who, resource, name, operation)."""
    return [tuple(row[:4]) for row in document.table(PAGE, "rights")]


def is_for_redrive(who, resource, name, operation):
    return who == "operator" and (resource != "Topic" or (name, operation) == ("presign.requests", "Read"))


def in_kafkas_words(who, resource, name, operation):
    pattern = "PREFIXED" if name.endswith("*") else "LITERAL"
    resource, operation = (re.sub(r"(?<=[a-z])([A-Z])", r"_\1", word).upper() for word in (resource, operation))
    return f"User:{who} {resource} {pattern} {name.rstrip('*')} {operation}"


class Rights(unittest.TestCase):
    redrive_timeout_ms = 1000 * WAIT_S

    @classmethod
    def setUpClass(cls):
        cls.kafka = cls.enterClassContext(SecureCluster())
        cls.world = World(kafka=cls.kafka)
        topics = {name: name for name in cls.world.topics}
        cls.world.topics = {}  # made by the commands of the page, in the first test
        cls.enterClassContext(cls.world)
        cls.world.topics = topics
        sandbox = cls.world.start_sandbox(options=["--fault-by-code"])
        cls.credentials = cls.world.directory / "credentials"
        cls.room = cls.world.directory / "room"
        cls.room.mkdir()
        (cls.room / "admin.properties").touch()
        cls.room_for_the_daemon(sandbox)
        cls.write_programs()
        cls.lay_keys(sandbox)
        cls.run_block("rights-commands", bootstrap=cls.kafka.bootstrap)

    @classmethod
    def lay_keys(cls, sandbox):
        """By the page's own commands, from files as the merchant platform names them."""
        shutil.copy(sandbox.directory / "merchant-1900007291-certificate.pem", cls.room / "apiclient_cert.pem")
        (cls.room / "apiclient_key.pem").write_text(cls.key_of(sandbox, "private_key"))
        (cls.room / "pub_key.pem").write_text(cls.key_of(sandbox, "wechatpay_public_key"))
        shutil.copy(cls.kafka.certificates / "ca.pem", cls.room / "kafka-ca.pem")
        cls.run_block("keys")
        for name in ("kafka-client.pem", "kafka-client.key"):
            shutil.copy(cls.kafka.certificates / name.removeprefix("kafka-"), cls.credentials / name)

    @staticmethod
    def key_of(sandbox, key):
        """What the sandbox's own configuration has for its direct merchant."""
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.read(sandbox.config, encoding="utf-8")
        return Path(parser["merchant 1900007291"][key]).read_text()

    @classmethod
    def here(cls, text, bootstrap):
        """A block of the page with this cluster's address and files."""
        text = re.sub(r"kafka-\d:\d+(,kafka-\d:\d+)*", bootstrap, text)
        return (text.replace("/etc/presignd/kafka-ca.pem", str(cls.kafka.certificates / "ca.pem"))
                .replace("/etc/presignd/keys", str(cls.credentials)))

    @classmethod
    def room_for_the_daemon(cls, running):
        """The page's configuration as it stands, and beside it what is this machine's."""
        sandbox = configparser.ConfigParser(interpolation=None, strict=False)
        sandbox.read(running.config, encoding="utf-8")
        merchant = sandbox["merchant 1900007291"]
        cls.port = free_ports(1)[0]
        more = {"daemon": {"admin_listen": f"127.0.0.1:{cls.port}", "schema_dir": ROOT / "schemas"},
                "kafka": {"session.timeout.ms": 6000},
                "endpoint": sandbox["endpoint"],
                "merchant 1900007291": {key: merchant[key] for key in ("wechatpay_public_key_id",)}}
        (cls.room / "presignd.conf").write_text(cls.here(document.block(PAGE, "configuration"), cls.kafka.secure))
        (cls.room / "presignd.conf.d").mkdir()
        (cls.room / "presignd.conf.d/here.conf").write_text(render_config(more))

    @classmethod
    def write_programs(cls):
        """Ours under its name, with this test's file where the page means the default, and one
        that answers where a person would be asked."""
        for name, text in {"systemd-ask-password": f"echo '{PASSWORD}'", "presignctl": f"""
                case " $* " in *" -c "*) ;; *) set -- "$1" -c presignd.conf "${{@:2}}" ;; esac
                exec {cls.world.build}/presignctl "$@" """}.items():
            program = cls.kafka.bin / name
            program.write_text(f"#!/bin/bash\n{text}\n")
            program.chmod(0o755)

    @classmethod
    def run_block(cls, mark, bootstrap="", **replaced):
        """A block of commands as it stands on the page; what it printed."""
        text = cls.here(document.block(PAGE, "operator") + document.block(PAGE, mark), bootstrap)
        for old, new in replaced.items():
            text = text.replace(old, new)
        return cls.kafka.run(text, cwd=cls.room)

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

    # ---- one check for each line of the table: raises with the word of refusal, or returns

    @contextlib.contextmanager
    def without(self, right):
        """The right is taken away for the `with` block."""
        self.kafka.acls.remove(right)
        if " TOPIC " not in right:
            type(self).redrive_timeout_ms = 5000  # it waits for that: see REFUSED
        try:
            yield
        finally:
            type(self).redrive_timeout_ms = 1000 * WAIT_S
            self.kafka.acls.add(right)

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
                if resource == "TransactionalId":
                    wait_until(lambda: self.says(daemon, "the transactional.id is not held"), "not ready, and why")
                raise PermissionError(found[0])
        finally:
            daemon.kill()

    def says(self, daemon, why):
        status, text = http_get(f"{daemon.admin}/readyz")
        return status == 503 and why in text

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
        """As operator. Standard output; status 69 is the word of refusal."""
        done = subprocess.run(
            [self.kafka.bin / "presignctl", arguments[0], "--set", "kafka.sasl.username=operator", "--set",
             "kafka.sasl.password=@operator-password", *arguments[1:]], cwd=self.room,
            input=stdin, capture_output=True, timeout=WAIT_S,
            env={**os.environ, "CREDENTIALS_DIRECTORY": str(self.credentials)})
        if done.returncode:
            self.assertEqual(done.returncode, 69, done.stdout + done.stderr)
            raise PermissionError(done.stderr.decode())
        return done.stdout.decode()

    def check(self, who, resource, name, operation):
        if who == "presignd":
            self.daemon(resource, name)
        elif (who, resource, operation) == ("orders", "Topic", "Write"):
            self.produce_as_orders()
        elif who == "orders":
            self.consume_as_orders(name if resource == "Topic" else "presign.results")
        elif (who, resource, operation) == ("operator", "Topic", "Write"):
            self.presignctl("send", stdin=event()[1] + b"\n")
        elif is_for_redrive(who, resource, name, operation):
            self.presignctl("redrive", "--send", "--reason", "rejected", "--forgotten", "send", "--limit", "1",
                            "--timeout-ms", str(self.redrive_timeout_ms))
        elif operation in ("Create", "DescribeConfigs"):
            self.presignctl("topics")
        elif who == "operator":
            kind = name.split(".")[1]
            self.presignctl("tail", f"--{kind}", "--from", "beginning", "--count", "1", "--timeout-ms", str(1000 * WAIT_S))
        else:
            self.fail(f"no check for the right {who} {resource} {name} {operation}")

    # ---- tests, in the order of their names

    def test_0_the_commands_give_what_the_table_says(self):
        self.assertEqual(sorted(self.kafka.acls.all()), sorted(in_kafkas_words(*row) for row in rights()))

    def test_1_the_topics_are_made_by_whom_may(self):
        create = in_kafkas_words("operator", "Topic", "presign.*", "Create")
        with self.without(create), self.assertRaisesRegex(PermissionError, "(?i)authorization failed"):
            self.presignctl("topics", "--create")
        self.assertEqual(self.run_block("topics").count("✓"), 6)

    def test_2_with_all_rights_everything_works(self):
        # Failures without their event, so that redrive has to read the topic of requests.
        daemon = self.start_daemon({**self.kafka_section(), "daemon": {"failure_original": "false"}})
        self.world.wait_for_outcomes(self.one_of_each())
        self.world.wait_for_outcomes(self.world.produce(
            event(out_contract_code=f"F403x1n{n}") for n in range(2 * len(rights()))))
        self.assertEqual(daemon.terminate(), 0)
        for row in rights():
            if row[0] != "presignd":
                with self.subTest(row):
                    self.check(*row)

    def test_3_without_any_one_of_them_something_says_so(self):
        for row in rights():
            if row[3] == "Create":
                continue  # that was test_1
            with self.subTest(row):
                with self.without(in_kafkas_words(*row)), self.assertRaisesRegex(PermissionError, REFUSED):
                    self.check(*row)

    def test_4_nothing_was_lost_or_doubled_by_it(self):
        daemon = self.start_daemon(self.kafka_section())
        self.world.wait_for_outcomes(self.one_of_each())
        self.world.assert_audit_passes(wait_s=WAIT_S)
        self.assertEqual(daemon.terminate(), 0)

    def test_5_the_commands_of_the_page_lead_to_an_outcome(self):
        modes = {path.name: oct(path.stat().st_mode & 0o777) for path in self.credentials.glob("*.pem")}
        self.assertEqual(oct(self.credentials.stat().st_mode & 0o777), "0o700")
        self.assertEqual((modes["merchant-1900007291.pem"], modes["wechatpay-1900007291.pem"]), ("0o600", "0o600"))
        self.assertIn("1900007291", self.run_block("check"))
        daemon = Daemon("presignd-1", [self.world.build / "presignd", "-c", self.room / "presignd.conf"],
                        self.world.directory / "page.log", self.port, {"CREDENTIALS_DIRECTORY": str(self.credentials)})
        self.world.daemons.append(daemon)
        daemon.wait_ready()
        self.assertEqual(self.run_block("ready", **{"9464": str(self.port)}), "ready\n")
        self.assertIn("ready", self.run_block("status", **{"9464": str(self.port)}))
        sent = self.run_block("send")
        self.assertIn("wechatpay.presign.app.succeeded", sent)
        self.assertEqual(daemon.terminate(), 0)

    def test_6_the_position_can_be_set_by_hand(self):
        """And then events are called again, as the page says."""
        def reset():
            """Refused as long as the group waits for its member to come back."""
            with contextlib.suppress(AssertionError):
                return "presign.requests" in self.run_block("reset", bootstrap=self.kafka.bootstrap)
        wait_until(reset, "a group without members")
        daemon = self.start_daemon(self.kafka_section())
        wait_until(lambda: self.world.audit().problems["doubled"], "outcomes once more")
        self.assertEqual(daemon.terminate(), 0)

    def test_openssl_tells_which_key_is_which(self):
        for name, subject in (("apiclient", "/CN=1900007291"), ("other", "/CN=other")):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout",
                            self.room / f"{name}_key.pem", "-out", self.room / f"{name}_cert.pem"],
                           check=True, capture_output=True)
        serial, of_certificate, of_key = self.run_block("openssl").splitlines()
        self.assertRegex(serial, r"^serial=[0-9A-F]{40}$")
        self.assertEqual(of_certificate, of_key)
        _, of_certificate, of_key = self.run_block("openssl", apiclient_key="other_key").splitlines()
        self.assertNotEqual(of_certificate, of_key)


if __name__ == "__main__":
    unittest.main()
