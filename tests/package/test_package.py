"""The Debian package on a machine with a real systemd: install, start, upgrade, remove, purge."""

import os
import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "systemd"))

# pylint: disable=wrong-import-position
from machine import ROOT, Cluster, Machine, World, event, test_main, wait_until  # noqa: E402

DIRECT = "1900007291"
PACKAGES = Path(os.environ.get("PRESIGND_PACKAGE_DIR", "build/release/package"))


def setUpModule():
    global kafka
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)


class Package(unittest.TestCase):
    """One machine, and the life of the package on it."""

    def setUp(self):
        self.machine = self.enterContext(Machine())
        self.world = self.enterContext(World(partitions=2, kafka=kafka))
        # Images for containers forbid packages to start anything; a server does not.
        self.machine.path("/usr/sbin/policy-rc.d").unlink(missing_ok=True)
        package, = PACKAGES.glob("presignd_*.deb")
        self.machine.write("/root/presignd.deb", package.read_bytes())
        self.sent = []

    def dpkg(self, *arguments):
        return self.machine.run("dpkg", "--force-confold", "--force-unsafe-io", *arguments).stdout

    def install(self):
        self.dpkg("--install", "/root/presignd.deb")

    def state(self, unit="presignd"):
        return self.machine.show(unit, "ActiveState")

    def send(self, count):
        first = len(self.sent)
        ids = self.world.produce(event("app", f"P{number}", mchid=DIRECT)
                                 for number in range(first, first + count))
        self.sent += ids
        return ids

    def assert_whole(self):
        """What an installation puts there."""
        for name in ("/usr/sbin/presignd", "/usr/bin/presignctl", "/etc/presignd/presignd.conf",
                     "/lib/systemd/system/presignd.service", "/lib/systemd/system/presignd@.service",
                     "/usr/lib/systemd/catalog/presignd.catalog",
                     "/usr/share/presignd/schemas/app.request.json",
                     "/usr/share/man/man8/presignd.8.gz", "/usr/share/man/man1/presignctl.1.gz",
                     "/usr/share/man/man5/presignd.conf.5.gz",
                     "/usr/share/bash-completion/completions/presignctl"):
            self.assertTrue(self.machine.path(name).is_file(), name)
        self.assertEqual(self.machine.path("/etc/presignd/keys").stat().st_mode & 0o777, 0o700)

    def run_its_own_tests(self):
        """Those for autopkgtest, of the package as it was installed."""
        tests = ROOT / "debian/tests"
        listed = re.findall(r"(?m)^Tests: (\S+)$", (tests / "control").read_text(encoding="utf-8"))
        self.assertEqual(sorted(listed), sorted(path.name for path in tests.iterdir() if path.name != "control"))
        for name in listed:
            self.machine.write(f"/root/tests/{name}", (tests / name).read_bytes(), 0o755)
            self.machine.run(f"/root/tests/{name}")

    def test_from_installation_to_purge(self):
        self.install()
        self.assert_whole()
        self.run_its_own_tests()
        self.assertEqual(self.state(), "inactive", "nothing runs before there is a configuration")
        self.world.start_sandbox(options=["--delay-ms", "50"])
        written = self.machine.configure(self.world)
        self.machine.systemctl("start", "presignd")
        self.upgrade_under_load()
        self.assertEqual(self.machine.path("/etc/presignd/presignd.conf").read_text(encoding="utf-8"),
                         written, "an upgrade keeps what the operator wrote")
        self.machine.systemctl("stop", "presignd")
        self.install()
        self.assertEqual(self.state(), "inactive", "an upgrade starts nothing that did not run")
        self.upgrade_without_the_broker()
        self.upgrade_an_instance()
        self.remove_and_purge()

    def upgrade_under_load(self):
        before = self.machine.main_pid("presignd")
        # Some have their outcome, the others are unfinished or still in the topic.
        self.world.wait_for_outcomes(self.send(2000)[:50])
        self.install()
        self.assertNotIn(self.machine.main_pid("presignd"), (0, before))
        self.send(100)
        self.world.wait_for_outcomes(self.sent)
        self.world.assert_audit_passes(wait_s=180)

    def upgrade_without_the_broker(self):
        """It returns, and so does a start."""
        kafka.kill()
        self.machine.systemctl("start", "presignd")
        self.install()
        self.assertEqual(self.state(), "active")
        self.machine.systemctl("stop", "presignd")
        kafka.start()

    def upgrade_an_instance(self):
        self.machine.systemctl("start", "presignd@1")
        before = self.machine.main_pid("presignd@1")
        self.install()
        wait_until(lambda: self.machine.main_pid("presignd@1") not in (0, before),
                   "the instance's restart")

    def remove_and_purge(self):
        self.machine.systemctl("start", "presignd")
        self.dpkg("--remove", "presignd")
        for unit in ("presignd", "presignd@1"):
            self.assertNotIn(self.state(unit), ("active", "activating"), unit)
        for name, kept in (("/usr/sbin/presignd", False), ("/etc/presignd/presignd.conf", True)):
            self.assertEqual(self.machine.path(name).exists(), kept, name)
        self.dpkg("--purge", "presignd")
        self.assertFalse(self.machine.path("/etc/presignd/presignd.conf").exists())
        self.assertTrue(any(self.machine.path("/etc/presignd/keys").iterdir()),
                        "merchants' keys are the operator's to remove")


if __name__ == "__main__":
    test_main()
