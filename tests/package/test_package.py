"""The Debian package on a machine with a real systemd: install, start, upgrade, remove, purge.

No dpkg here has a terminal or an option that answers for one: where it asks, the test fails.
"""

import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "systemd"))

# pylint: disable=wrong-import-position
from machine import ROOT, Cluster, Machine, World, event, test_main, wait_until  # noqa: E402

import document  # noqa: E402; machine.py knows where it lies

DIRECT = "1900007291"
CONF = "/etc/presignd/presignd.conf"
SITE = "/etc/presignd/presignd.conf.d/site.conf"
OLD = os.environ.get("PRESIGND_OLD_PACKAGE")  # a file; default: one is made from the new package
PACKAGES = Path(os.environ.get("PRESIGND_PACKAGE_DIR", "build/release/package"))


def setUpModule():
    global kafka
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)


class OnAMachine(unittest.TestCase):
    """One machine with the new package in /root, and a World."""

    def setUp(self):
        self.machine = self.enterContext(Machine())
        self.world = self.enterContext(World(partitions=2, kafka=kafka))
        # Images for containers forbid packages to start anything; a server does not.
        self.machine.path("/usr/sbin/policy-rc.d").unlink(missing_ok=True)
        package, = PACKAGES.glob("presignd_*.deb")
        self.machine.write("/root/presignd.deb", package.read_bytes())
        self.sent = []

    def dpkg(self, *arguments):
        return self.machine.run("dpkg", "--force-unsafe-io", *arguments).stdout

    def install(self):
        self.dpkg("--install", "/root/presignd.deb")

    def repack(self, name, change):
        """The package as another version of it in /root, changed by `change(directory)`."""
        with tempfile.TemporaryDirectory() as work:
            tree = Path(work) / "tree"
            subprocess.run(["dpkg-deb", "--raw-extract", self.machine.path("/root/presignd.deb"), tree], check=True)
            change(tree)
            subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, f"{work}/{name}"],
                           check=True, stdout=subprocess.DEVNULL)
            self.machine.write(f"/root/{name}", (Path(work) / name).read_bytes())

    def state(self, unit="presignd"):
        return self.machine.show(unit, "ActiveState")

    def send(self, count):
        first = len(self.sent)
        ids = self.world.produce(event("app", f"P{number}", mchid=DIRECT)
                                 for number in range(first, first + count))
        self.sent += ids
        return ids


class Life(OnAMachine):
    """Of the package, from its installation to its purge."""

    def assert_whole(self):
        """What an installation puts there."""
        for name in ("/usr/sbin/presignd", "/usr/bin/presignctl", CONF,
                     "/lib/systemd/system/presignd.service", "/lib/systemd/system/presignd@.service",
                     "/usr/lib/systemd/catalog/presignd.catalog",
                     "/usr/share/presignd/schemas/app.request.json",
                     "/usr/share/man/man8/presignd.8.gz", "/usr/share/man/man1/presignctl.1.gz",
                     "/usr/share/man/man5/presignd.conf.5.gz",
                     "/usr/share/bash-completion/completions/presignctl"):
            self.assertTrue(self.machine.path(name).is_file(), name)
        self.assertEqual(self.machine.path("/etc/presignd/keys").stat().st_mode & 0o777, 0o700)
        self.machine.run("getent", "group", "presignd-metrics")

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
        written = self.machine.configure(self.world, path=SITE)
        self.machine.systemctl("start", "presignd")
        self.upgrade_under_load()
        self.assertEqual(self.machine.path(SITE).read_text(encoding="utf-8"), written,
                         "an upgrade keeps what the operator wrote")
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
        for name, kept in (("/usr/sbin/presignd", False), (CONF, True)):
            self.assertEqual(self.machine.path(name).exists(), kept, name)
        self.dpkg("--purge", "presignd")
        self.assertFalse(self.machine.path(CONF).exists())
        self.assertEqual([path.name for name in ("private", "") for path in self.machine.path(f"/var/lib/{name}").glob("presignd*")],
                         [], "the state directories")
        self.assertTrue(any(self.machine.path("/etc/presignd/keys").iterdir()),
                        "merchants' keys are the operator's to remove")


class Upgrade(OnAMachine):
    def setUp(self):
        super().setUp()
        self.world.start_sandbox()

    def install_the_old_one(self):
        """A version whose presignd.conf had to be edited; it was, and runs."""
        def older(tree):
            control = tree / "DEBIAN/control"
            control.write_text(re.sub(r"(?m)^Version: .*", "Version: 0.0.9", control.read_text()))
            (tree / CONF.lstrip("/")).write_text((ROOT / "conf/sample.conf").read_text(encoding="utf-8"))
            for script in ("preinst", "postrm"):
                (tree / "DEBIAN" / script).unlink()
        if OLD:
            self.machine.write("/root/old.deb", Path(OLD).read_bytes())
        else:
            self.repack("old.deb", older)
        self.dpkg("--install", "/root/old.deb")
        self.text = self.machine.configure(self.world)
        self.machine.systemctl("start", "presignd")

    def assert_it_works(self):
        self.world.wait_for_outcomes(self.send(20))
        self.world.assert_audit_passes()

    def test_what_was_edited_goes_to_the_sites_part(self):
        self.install_the_old_one()
        before = self.machine.main_pid("presignd")
        self.assert_it_works()
        self.install()
        self.assertNotIn(self.machine.main_pid("presignd"), (0, before))
        self.assert_it_works()
        moved = self.machine.path("/etc/presignd/presignd.conf.d/00-presignd.conf")
        self.assertEqual(moved.read_text(encoding="utf-8"), self.text)
        self.assertEqual(self.machine.path(CONF).read_text(encoding="utf-8"),
                         (ROOT / "conf/presignd.conf").read_text(encoding="utf-8"))
        self.an_edit_that_stays()
        self.dpkg("--purge", "presignd")
        self.assertTrue(moved.exists(), "the site's part is the operator's to remove")

    def test_what_a_removed_version_left_goes_there_too(self):
        self.install_the_old_one()
        self.dpkg("--remove", "presignd")
        self.assertEqual(self.state(), "inactive")
        self.install()
        self.assertEqual(self.machine.path("/etc/presignd/presignd.conf.d/00-presignd.conf").read_text(encoding="utf-8"),
                         self.text)
        self.assertEqual(self.state(), "inactive", "it does not start what was removed")
        self.machine.systemctl("start", "presignd")
        self.assert_it_works()

    def an_edit_that_stays(self):
        """Who edits presignd.conf all the same is asked nothing, either: it does not change."""
        self.machine.write(CONF, "; mine\n")
        self.install()
        self.assertEqual(self.machine.path(CONF).read_text(encoding="utf-8"), "; mine\n")
        self.assertEqual(self.machine.run("dpkg-query", "-W", "-f", "${db:Status-Abbrev}", "presignd").stdout.strip(),
                         "ii")

    def test_removed_before_it_was_configured_it_stops(self):
        """What an upgrade leaves that ended at a question: dpkg runs no prerm then."""
        for action in ("--remove", "--purge"):
            with self.subTest(action):
                self.install()
                self.machine.configure(self.world, path=SITE)
                self.machine.systemctl("start", "presignd", "presignd@1")
                self.dpkg("--unpack", "/root/presignd.deb")
                self.assertEqual(self.state(), "active")
                self.dpkg(action, "presignd")
                for unit in ("presignd", "presignd@1"):
                    self.assertEqual(self.machine.show(unit, "MainPID"), "0", unit)

    def test_the_new_one_checks_the_sites_configuration_first(self):
        """By the page's commands, with the new version's program."""
        def newer(tree):
            (tree / "usr/bin/presignctl").rename(tree / "usr/bin/presignctl.new")
            script = tree / "usr/bin/presignctl"
            script.write_text('#!/bin/sh\necho "the new one: $0"\nexec "$0.new" "$@"\n')
            script.chmod(0o755)
        self.install()
        self.machine.configure(self.world, path=SITE)
        self.repack("presignd_NEW_amd64.deb", newer)
        block = f"cd /root\n{document.block('operations.md', 'new-version')}"
        done = self.machine.run("sh", "-ec", block)
        self.assertIn("the new one: ", done.stdout)
        self.assertIn("merchant 1900007291", done.stdout)
        self.machine.write("/etc/presignd/presignd.conf.d/wrong.conf", "[daemon]\nof_a_later_version = 1\n")
        done = self.machine.run("sh", "-ec", block, check=False)
        self.assertEqual(done.returncode, 78)
        self.assertIn("unknown key of_a_later_version", done.stderr)


if __name__ == "__main__":
    test_main()
