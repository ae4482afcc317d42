"""A booted systemd for the tests, on top of tests/e2e/harness.py.

    with World() as world, Machine() as machine:
        world.start_sandbox()
        machine.install()                           # the tree, as `cmake --install` puts it
        machine.configure(world)                    # presignd.conf, keys, credentials
        machine.systemctl("start", "presignd")      # fails the test when systemctl does
        machine.show("presignd", "StatusText")
        machine.journal("presignd")                 # [{"MESSAGE": …, "PRESIGND_REASON": …}, …]

Kafka and the sandbox run outside; 127.0.0.1 is the same inside. The machine's files are an overlay
of this machine's (tests/systemd/boot): read and write them through `machine.root`. It ends with the
`with` block, and also when the test itself is killed.

A test file ends with `test_main()`, which skips the whole of it, loudly and with status 77, where
no systemd can be booted. With PRESIGND_REQUIRE_SYSTEMD=1 in the environment that is a failure.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from harness import BUILD, ROOT, WAIT_S, World, event, http_get, render_config, wait_until  # noqa: E402
from kafka_broker import Cluster, dying_with_us, free_ports  # noqa: E402

SKIPPED = 77
KEYS = "/etc/presignd/keys"


class Impossible(Exception):
    """No systemd can be booted here; the text says why."""


class Refused(AssertionError):
    """A command in the machine failed."""


def _children(pid):
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _is_gone(pid):
    """Also when nobody takes its status, as where the first process of a container is no init."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


class Machine:
    """One booted systemd. `log` is what the boot script said."""

    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="presignd-boot-"))
        self.process = None
        self.pid = None

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind, *_):
        if kind is not None:
            self.show_journal()
        self.close()

    def start(self):
        log = self.directory / "boot.log"
        (self.directory / "machine").mkdir()
        with open(log, "w", encoding="utf-8") as output:
            self.process = subprocess.Popen([*dying_with_us(), str(HERE / "boot"), str(self.directory / "machine")],
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        wait_until(lambda: self._up() or self.process.poll() is not None, "a booted systemd")
        if self.process.poll() == SKIPPED:
            raise Impossible(log.read_text().strip())
        if self.process.poll() is not None:
            raise AssertionError(f"boot ended with status {self.process.poll()}: {log.read_text()}")
        return self

    def _first_process(self):
        """systemd's PID outside: boot keeps `unshare`, whose child it is."""
        for keeper in _children(self.process.pid):
            for child in _children(keeper):
                with contextlib.suppress(FileNotFoundError):
                    if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                        return child
        return None

    def _up(self):
        self.pid = self._first_process()
        if self.pid is None:
            return False
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def close(self):
        """Ends it, whatever it is doing: the kernel kills all of its processes."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            # Its namespaces are gone when its first process is.
            wait_until(lambda: self.pid is None or _is_gone(self.pid), "the machine's end")
            subprocess.run([str(HERE / "boot"), "--sweep"])
        shutil.rmtree(self.directory, ignore_errors=True)

    # ---- files

    @property
    def root(self):
        """The machine's root directory, as a path of this machine."""
        return Path(f"/proc/{self.pid}/root")

    def path(self, name):
        return self.root / str(name).lstrip("/")

    def write(self, name, content, mode=0o644):
        """A file with text or bytes, and the directories above it."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)

    def install(self, build=BUILD):
        """What `cmake --install` puts there; again for an upgrade."""
        done = subprocess.run(["cmake", "--install", str(build)], capture_output=True, text=True,
                              env={**os.environ, "DESTDIR": str(self.root)})
        if done.returncode != 0:
            raise AssertionError(f"cmake --install: {done.stderr}")
        self.run("systemd-sysusers", "presignd.conf")
        self.systemctl("daemon-reload")

    def configure(self, world, sections=None, path="/etc/presignd/presignd.conf", credentials=True):
        """Writes what World.write_config() writes, for the machine: installed schemas, and the
        sandbox's keys in /etc/presignd/keys, given as credentials (a drop-in of both units) or,
        without `credentials`, by their paths, readable for all."""
        text = world.write_config(sections=sections).read_text(encoding="utf-8")
        text = re.sub(r"^schema_dir = .*\n", "", text, flags=re.MULTILINE)
        sandbox = world.sandbox.directory
        text = text.replace(f"ca_file = {sandbox}/", "ca_file = /etc/presignd/")
        text = text.replace(f"{sandbox}/", "@" if credentials else f"{KEYS}/")
        self.write("/etc/presignd/ca.pem", (sandbox / "ca.pem").read_bytes())
        names = sorted(path.name for path in sandbox.glob("*.pem")
                       if re.fullmatch(r"(merchant|wechatpay)-\d+\.pem", path.name))
        for name in names:
            self.write(f"{KEYS}/{name}", (sandbox / name).read_bytes(), 0o600 if credentials else 0o644)
        self.path(KEYS).chmod(0o700 if credentials else 0o755)
        self.write(path, text)
        if credentials:
            self.load_credentials(names)
        return text

    def load_credentials(self, names):
        lines = "".join(f"LoadCredential={name}:{KEYS}/{name}\n" for name in names)
        for unit in ("presignd.service", "presignd@.service"):
            self.drop_in(unit, "credentials", f"[Service]\n{lines}")

    def drop_in(self, unit, name, text):
        """As `systemctl edit` makes one; empty text takes it away."""
        path = f"/etc/systemd/system/{unit}.d/{name}.conf"
        if text:
            self.write(path, text)
        else:
            self.path(path).unlink(missing_ok=True)
        self.systemctl("daemon-reload")

    # ---- commands

    def run(self, *command, check=True, stdin="", timeout_s=WAIT_S):
        """Runs a command in the machine, as root; a CompletedProcess with text."""
        # Its root, too: where we are in a chroot, that of its mount namespace is another.
        done = subprocess.run(["nsenter", "-t", str(self.pid), "-a", "--root", "--wd", *map(str, command)],
                              input=stdin, capture_output=True, text=True, timeout=timeout_s,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
                                   "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"})
        if check and done.returncode != 0:
            raise Refused(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def systemctl(self, *arguments, **options):
        try:
            return self.run("systemctl", *arguments, **options)
        except Refused as reason:  # why the unit is not as expected, e.g. how its process ended
            status = self.run("systemctl", "status", "--lines=15", "--full", arguments[-1], check=False).stdout
            raise Refused(f"{reason}\n{status}") from None

    def show(self, unit, name):
        """One property of a unit, as text."""
        return self.systemctl("show", "--property", name, "--value", unit).stdout.strip()

    def wait_for(self, unit, **properties):
        """Until the unit's properties have these values, or match these patterns."""
        def reached():
            found = {name: self.show(unit, name) for name in properties}
            return all(re.fullmatch(pattern, found[name]) for name, pattern in properties.items())
        wait_until(reached, lambda: f"{unit} with {properties}: {self.systemctl('status', unit, check=False).stdout}",
                   interval_s=0.05)

    def main_pid(self, unit):
        """The service's main process, as the machine counts; 0 while there is none."""
        return int(self.show(unit, "MainPID"))

    def kill(self, unit, signal):
        """A signal to the service's main process alone."""
        self.systemctl("kill", f"--signal={signal}", "--kill-whom=main", unit)

    def journal(self, *units, options=()):
        """The entries of these units, oldest first, fields as they are in the journal."""
        command = ["journalctl", "--output=json", "--all", "--no-pager", "--quiet", *options]
        command += [f"--unit={unit}" for unit in units]
        return [json.loads(line) for line in self.run(*command).stdout.splitlines()]

    def messages(self, *units, options=()):
        return [str(entry.get("MESSAGE")) for entry in self.journal(*units, options=options)]

    def cursor(self):
        """A place in the journal, for options=[f"--after-cursor={…}"]."""
        shown = self.run("journalctl", "--quiet", "--lines=1", "--show-cursor", "--output=cat").stdout
        return re.search(r"^-- cursor: (\S+)$", shown, re.MULTILINE).group(1)

    def wait_for_message(self, pattern, *units, options=()):
        """The first entry whose MESSAGE matches, as soon as there is one."""
        def found():
            return next((entry for entry in self.journal(*units, options=options)
                         if re.search(pattern, str(entry.get("MESSAGE")))), None)
        return wait_until(found, lambda: f"{pattern!r} in the journal of {units}", interval_s=0.1)

    def show_journal(self):
        """The end of the journal on standard error: for a test that failed."""
        with contextlib.suppress(Exception):
            done = self.run("journalctl", "--no-pager", "--lines=80", "--output=short-precise", check=False)
            print(f"---- the end of the machine's journal\n{done.stdout}", file=sys.stderr)

    # ---- the machine itself

    def reboot(self):
        """An orderly reboot; the same files, everything else anew."""
        before = self.pid
        self.systemctl("isolate", "--no-block", "reboot.target")
        wait_until(lambda: self._first_process() not in (None, before), "the machine's next start")
        wait_until(self._up, "a rebooted systemd")


def test_main():
    """For `if __name__ == "__main__"`."""
    try:
        with Machine():
            pass
    except Impossible as reason:
        required = os.environ.get("PRESIGND_REQUIRE_SYSTEMD") == "1"
        print(f"{'FAILED' if required else 'SKIPPED'}: {Path(sys.argv[0]).name} has tested NOTHING. {reason}",
              file=sys.stderr)
        sys.exit(1 if required else SKIPPED)
    unittest.main()


# What a test file under here takes from the end-to-end tests comes through this module, which
# knows where they are.
__all__ = ["BUILD", "Cluster", "Impossible", "KEYS", "Machine", "ROOT", "Refused", "World", "event",
           "free_ports", "http_get", "render_config", "test_main", "wait_until"]
