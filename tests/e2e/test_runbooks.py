"""The runbooks of docs/operations.md that are commands, run as they are written there: a leaked key, and
a planned move to another Kafka. scripts/week has the full disk; e2e.downgrade has the rollback."""

import re
import subprocess
import unittest

import document
from harness import World, event, wait_until
from kafka_broker import Cluster

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
        text = document.block("operations.md", name)
        text = re.sub(r"^presignctl ([\w-]+)", rf"{world.build}/presignctl \1 -c {world.directory}/presignd-1.conf", text,
                      flags=re.MULTILINE)
        text = text.replace("127.0.0.1:9464", daemon.admin.removeprefix("http://"))
        text = text.replace("systemctl stop presignd", f"kill -TERM {daemon.process.pid}")
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], capture_output=True, text=True, timeout=180)
        self.assertEqual(done.returncode, 0, f"{name}: {done.stdout}{done.stderr}")
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
