"""The runbooks of docs/operations.md that are commands, run as they are written there: a leaked key, a new
merchant's certificate, and a planned move to another Kafka. scripts/week has the full disk; e2e.downgrade has the rollback."""

import json
import re
import subprocess
import threading
import time
import unittest

import document
from harness import World, event, wait_until
from kafka_broker import Cluster

EX_CONFIG = 78
MERCHANT, OTHER = "1900007291", "1900007292"  # of the document, and one that goes on
SIGNATURES = "presignd_merchant_signatures_total"


class Runbook(unittest.TestCase):
    def begin(self, kafka):
        world = self.enterContext(World(partitions=2, kafka=kafka))
        world.start_sandbox(merchants=[MERCHANT, OTHER])
        (world.directory / "state").mkdir()
        self.sections = {"daemon": {"control_socket": world.directory / "control.sock",
                                    "state_dir": world.directory / "state"}}
        return world

    def run_block(self, name, world, daemon):
        """A block of the document, on this World: its configuration, its admin address, and a systemctl
        that ends its daemon. All of its commands have to succeed."""
        return self.run_text(document.block("operations.md", name), world, daemon)

    def run_text(self, text, world, daemon, directory=None):
        text = re.sub(r"^presignctl ([\w-]+)", rf"{world.build}/presignctl \1 -c {world.directory}/presignd-1.conf", text,
                      flags=re.MULTILINE)
        text = text.replace("127.0.0.1:9464", daemon.admin.removeprefix("http://"))
        text = text.replace("systemctl stop presignd", f"kill -TERM {daemon.process.pid}")
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], capture_output=True, text=True, timeout=180, cwd=directory)
        self.assertEqual(done.returncode, 0, f"{text}: {done.stdout}{done.stderr}")
        return done.stdout


class LeakedKey(Runbook):
    def test_from_leaked_to_no_further_signature(self):
        world = self.begin(self.enterContext(Cluster()))
        # A key and a serial number of this merchant's own.
        path = world.write_config(sections=self.sections)
        own = world.directory / "own.pem"
        own.write_bytes((world.sandbox.directory / f"merchant-{MERCHANT}.pem").read_bytes())
        own.chmod(0o600)
        sections = self.sections
        daemon = world.start_daemon(sections=sections, sets=[f"merchant {MERCHANT}.private_key={own}"])
        self.rewrite(path, own, None)

        world.wait_for_outcomes(world.produce(event("app", mchid=MERCHANT) for _ in range(5)))
        old = self.serial(path)
        self.assertEqual(self.count(daemon)[old], 5)

        self.run_block("leaked-pause", world, daemon)
        held = world.produce(event("app", mchid=MERCHANT) for _ in range(3))
        others = world.wait_for_outcomes(world.produce(event("app", mchid=OTHER) for _ in range(3)))
        self.assertEqual({outcome.reason for outcome in others.values()}, {None})
        self.assertFalse(set(held) & world.outcomes().keys())

        new = self.revoke(world, path, own)
        self.run_block("leaked-replace", world, daemon)
        self.assertFalse(set(held) & world.outcomes().keys())
        self.run_block("leaked-resume", world, daemon)
        outcomes = world.wait_for_outcomes(held)
        self.assertEqual({outcome.reason for outcome in outcomes.values()}, {None})

        told = self.run_block("leaked-count", world, daemon)
        self.assertEqual({serial: int(float(number)) for serial, number in re.findall(r'serial="(\w+)"\} (\S+)', told)},
                         {old: 5, new: 3})

    def rewrite(self, path, key, serial):
        """This merchant's key and serial number in the configuration file."""
        head, section, rest = re.split(rf"(?<=\[merchant {MERCHANT}\]\n)(.*?\n\n)", path.read_text(), maxsplit=1, flags=re.DOTALL)
        section = re.sub("^private_key = .*$", f"private_key = {key}", section, flags=re.MULTILINE)
        if serial:
            section = re.sub("^serial_no = .*$", f"serial_no = {serial}", section, flags=re.MULTILINE)
        path.write_text(head + section + rest)

    def serial(self, path):
        return re.search(rf"\[merchant {MERCHANT}\]\n.*?^serial_no = (\w+)$", path.read_text(), re.DOTALL | re.MULTILINE)[1]

    def count(self, daemon):
        return {re.search('serial="(.*?)"', name)[1]: number for name, number in daemon.metrics().items()
                if name.startswith(SIGNATURES) and MERCHANT in name}

    def revoke(self, world, path, own):
        """The platform's part: another key is this merchant's. Returns its serial number."""
        theirs = world.sandbox.directory / f"merchant-{MERCHANT}.pem"
        subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", theirs],
                       check=True, capture_output=True)
        world.start_sandbox(merchants=[MERCHANT, OTHER])
        serial = self.serial(world.sandbox.config)
        own.write_bytes(theirs.read_bytes())
        self.rewrite(path, own, serial)
        return serial


class NewCertificate(Runbook):
    """Keys by path: the daemon is not restarted, and under load no event fails."""

    def setUp(self):
        world = self.world = self.begin(self.enterContext(Cluster()))
        self.keys, self.path = world.directory / "service-keys", world.directory / "presignd-1.conf"
        self.keys.mkdir()
        self.own = {1: self.lay(world.sandbox.set(), 1, self.keys / f"merchant-{MERCHANT}-a.pem", self.keys / f"merchant-{MERCHANT}-a.crt")}
        pair = f"private_key = {self.keys}/merchant-{MERCHANT}-a.pem\ncertificate = {self.keys}/merchant-{MERCHANT}-a.crt\n"
        text, count = re.subn(rf"(\[merchant {MERCHANT}\]\n.*?)serial_no = \w+\nprivate_key = \S+\n", rf"\1{pair}",
                              world.sandbox.config.read_text(), count=1, flags=re.DOTALL)
        self.assertEqual(count, 1)
        world.sandbox.config.write_text(text)
        self.daemon = world.start_daemon(sections=self.sections)
        self.sent, self.stop, self.producer = [], threading.Event(), threading.Thread(target=self.load)
        self.producer.start()
        self.addCleanup(self.end_load)

    def load(self):
        while not self.stop.is_set():
            self.sent += self.world.produce(event("app", mchid=MERCHANT) for _ in range(10))

    def end_load(self):
        self.stop.set()
        self.producer.join()

    def lay(self, state, number, key, certificate):
        """That certificate of the merchant and its key, as these files. Its serial number."""
        (mine,) = (each for each in state["merchants"] if each["mchid"] == MERCHANT)
        (own,) = (each for each in mine["merchant_certificates"] if each["number"] == number)
        for path, name in ((key, own["key_file"]), (certificate, own["file"])):
            path.touch(mode=0o600)
            path.write_bytes((self.world.sandbox.directory / name).read_bytes())
        return own["serial_no"]

    def run_line(self, line):
        """One command of the document. A reload and a start at that moment would succeed."""
        line = line.replace("-g presignd-keys", "").replace("/etc/presignd/service-keys", str(self.keys))
        line = line.replace(f"/etc/presignd/presignd.conf.d/{MERCHANT}.conf", str(self.path))
        for command in (line, "presignctl check", "presignctl reload"):
            self.run_text(command, self.world, self.daemon, self.world.directory)

    def assert_refused(self, *told):
        for command in ("check", "reload"):
            done = self.world.ctl(command, "-c", self.path)
            self.assertEqual(done.returncode, EX_CONFIG, done.stderr)
            for words in told:
                self.assertIn(words, done.stderr.decode())

    def wait_for_signatures(self, number):
        """With that certificate alone."""
        name = f'{SIGNATURES}{{mchid="{MERCHANT}",serial="{self.own[number]}"}}'
        before = self.daemon.metrics().get(name, 0)
        wait_until(lambda: self.daemon.metrics().get(name, 0) >= before + 20, f"signatures of certificate {number}")

    def status(self):
        merchants = json.loads(self.world.ctl("status", "-c", self.path, "--json").stdout)["merchants"]
        return next(each for each in merchants if each["mchid"] == MERCHANT)

    def test_a_new_certificate_and_then_a_renewed_one(self):
        world = self.world
        self.wait_for_signatures(1)
        state = world.sandbox.set(mchid=MERCHANT, merchant_certificate={"number": 2}, accepted=[1, 2])
        self.own[2] = self.lay(state, 2, world.directory / "apiclient_key.pem", world.directory / "apiclient_cert.pem")
        for line in document.block("operations.md", "rotate-merchant").splitlines():
            self.run_line(line)
        self.wait_for_signatures(2)
        self.run_block("rotate-merchant-count", world, self.daemon)
        status = self.status()
        self.assertEqual(status["serial_no"], self.own[2])
        expiry = f'presignd_certificate_expiry_timestamp_seconds{{mchid="{MERCHANT}",kind="merchant",serial="{self.own[2]}"}}'
        self.assertEqual(time.strftime("%FT%T.000Z", time.gmtime(self.daemon.metrics()[expiry])), status["certificate_expires"])

        # A renewal keeps the key: one new file, one edit.
        state = world.sandbox.set(mchid=MERCHANT, merchant_certificate={"number": 3, "key": 2}, accepted=[2, 3])
        self.own[3] = self.lay(state, 3, world.directory / "apiclient_key.pem", world.directory / "apiclient_cert.pem")
        renewed = self.keys / f"merchant-{MERCHANT}-c.crt"
        self.run_line(f"install -m 0640 apiclient_cert.pem {renewed}")
        self.run_line(f"sed -i 's,^certificate = .*,certificate = {renewed},' {self.path}")
        self.wait_for_signatures(3)
        world.sandbox.set(mchid=MERCHANT, accepted=[3])
        self.wait_for_signatures(3)

        # What a wrong moment would be: the other certificate's file in the place of this one.
        renewed.write_bytes((self.keys / f"merchant-{MERCHANT}-a.crt").read_bytes())
        self.assert_refused(f"merchant {MERCHANT}: certificate: {renewed}: private_key does not belong to this certificate")
        self.wait_for_signatures(3)

        self.end_load()
        outcomes = world.wait_for_outcomes(self.sent)
        self.assertEqual({outcome.reason for outcome in outcomes.values()}, {None})
        self.assertIsNone(self.daemon.process.poll())
        world.assert_audit_passes()


class MovedKafka(Runbook):
    def test_a_planned_move(self):
        first, second = self.enterContext(Cluster()), self.enterContext(Cluster())
        old = self.begin(first)
        daemon = old.start_daemon(sections=self.sections)
        old.produce(event("app", mchid=MERCHANT) for _ in range(20))
        wait_until(lambda: sum(value for name, value in daemon.metrics().items() if name.startswith("presignd_events_total"))
                   == 20, "the old cluster's events")
        self.run_block("moved-drain", old, daemon)
        self.assertEqual(daemon.wait(), 0)
        old.assert_audit_passes()
        calls = len(old.sandbox.ledger())

        new = self.enterContext(World(partitions=2, kafka=second))
        new.sandbox, sandbox = old.sandbox, old.sandbox
        daemon = new.start_daemon(sections=self.sections)
        new.wait_for_outcomes(new.produce(event("app", mchid=MERCHANT) for _ in range(20)))
        self.assertEqual(daemon.terminate(), 0)
        self.assertEqual((calls, len(sandbox.ledger())), (20, 40))
        new.sandbox = None


if __name__ == "__main__":
    unittest.main()
