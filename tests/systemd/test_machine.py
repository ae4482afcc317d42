"""The tests of the booted systemd itself: that it confines, remembers and ends."""

import os
import signal
import subprocess
import sys
import unittest
from pathlib import Path

from machine import HERE, Machine, Refused, test_main, wait_until


class Booted(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.machine = cls.enterClassContext(Machine())

    def test_services_are_confined(self):
        """A machine that enforces nothing would let every test of a unit pass."""
        def confined(*properties):
            command = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect",
                       *(f"--property={each}" for each in properties)]
            return lambda script: self.machine.run(*command, "sh", "-c", script, check=False).returncode
        free = confined()
        self.assertEqual(free("touch /etc/written && chmod u+s /etc/written && test -r /etc/shadow"), 0)
        strict = confined("ProtectSystem=strict", "DynamicUser=yes")
        self.assertNotEqual(strict("touch /etc/written"), 0)
        self.assertNotEqual(strict("test -r /etc/shadow"), 0)
        self.assertEqual(strict("touch /tmp/written"), 0)
        self.assertNotEqual(confined("SystemCallFilter=~chmod fchmodat")("chmod 600 /etc/written"), 0)
        self.assertNotEqual(confined("NoExecPaths=/", "ExecPaths=/usr/lib /lib64 /usr/bin/dash")("/usr/bin/true"), 0)

    def test_credentials_reach_a_service(self):
        self.machine.write("/root/secret", "told", 0o600)
        done = self.machine.run("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--property=DynamicUser=yes",
                                "--property=LoadCredential=name:/root/secret", "sh", "-c", 'cat "$CREDENTIALS_DIRECTORY/name"')
        self.assertEqual(done.stdout, "told")

    def test_a_failing_command_fails_the_test(self):
        with self.assertRaises(Refused):
            self.machine.systemctl("start", "no-such.service")

    def test_files_outside_stay_as_they_are(self):
        self.machine.write("/etc/presignd-test", "inside")
        self.assertFalse(Path("/etc/presignd-test").exists())
        self.assertEqual(self.machine.run("cat", "/etc/presignd-test").stdout, "inside")

    def test_reboot(self):
        machine = self.machine
        machine.write("/etc/kept", "kept")
        machine.write("/run/lost", "lost")
        machine.run("logger", "--tag", "before", "word")
        machine.reboot()
        self.assertEqual(machine.run("cat", "/etc/kept").stdout, "kept")
        self.assertNotEqual(machine.run("cat", "/run/lost", check=False).returncode, 0)
        self.assertEqual(machine.run("journalctl", "-b", "-1", "-t", "before", "-o", "cat").stdout, "word\n")


class End(unittest.TestCase):
    def test_it_ends_with_a_test_that_is_killed(self):
        script = (f"import sys, time; sys.path.insert(0, {str(HERE)!r})\n"
                  "from machine import Machine\n"
                  "m = Machine().start(); print(m.directory, m.pid, m.process.pid, flush=True); time.sleep(600)")
        with subprocess.Popen([sys.executable, "-B", "-c", script], stdout=subprocess.PIPE, text=True) as test:
            directory, pid, keeper = test.stdout.readline().split()
            self.addCleanup(subprocess.run, ["rm", "-rf", directory])
            self.assertTrue(Path(f"/proc/{pid}").exists())
            test.send_signal(signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of systemd")
        wait_until(lambda: not Path(f"/proc/{keeper}").exists(), "the end of what kept it")
        self.assertEqual(os.listdir(Path(directory) / "machine"), [])  # nothing is mounted out here


if __name__ == "__main__":
    test_main()
