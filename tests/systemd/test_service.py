"""presignd.service and presignd@.service under a real systemd: what an operator does, and sees of it.

One Kafka and one booted systemd for the whole file; topics, group and sandbox are each test's own.
"""

import json
import re
import subprocess
import threading
import unittest
from pathlib import Path

from machine import BUILD, KEYS, ROOT, Cluster, Machine, World, event, free_ports, http_get, test_main, wait_until

import document  # of the end-to-end tests; machine.py knows where it lies
import secure_broker
import test_no_secrets  # the end-to-end test's plants; machine.py knows where it lies

DIRECT = "1900007291"
UNITS = ("presignd", "presignd@1", "presignd@2")
EX_CONFIG = 78
MESSAGES = dict(re.findall(r'#define MESSAGE_(\w+)[\s\\]*"([0-9a-f]{32})"',
                           (ROOT / "include" / "presignd" / "ops" / "messages.h").read_text()))


def setUpModule():
    global machine, kafka
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)
    machine = unittest.enterModuleContext(Machine())
    machine.install()
    machine.run("journalctl", "--update-catalog")


class Service(unittest.TestCase):
    """A World of its own for each test, and a service that is stopped afterwards."""

    options = ()
    sections = None
    partitions = 2

    def setUp(self):
        self.world = self.enterContext(World(partitions=self.partitions, kafka=kafka))
        self.world.start_sandbox(options=["--fault-by-code", *self.options])
        self.text = machine.configure(self.world, self.sections)
        self.since = [f"--after-cursor={machine.cursor()}"]
        self.addCleanup(self.stop_all)

    def stop_all(self):
        result = self._outcome.result
        if any(test is self for test, _ in [*result.failures, *result.errors]):
            machine.show_journal()
        machine.systemctl("kill", "--signal=KILL", *UNITS, check=False)
        machine.systemctl("stop", *UNITS, check=False)
        machine.systemctl("reset-failed", check=False)

    def rewrite(self, text):
        machine.write("/etc/presignd/presignd.conf", text)

    def produce(self, *codes, **options):
        return self.world.produce((event("app", code, mchid=DIRECT) for code in codes), **options)

    def results(self, ids):
        outcomes = self.world.wait_for_outcomes(ids)
        self.assertEqual({outcome.reason for outcome in outcomes.values()}, {None})
        return outcomes

    def journal(self, *units):
        return machine.journal(*(units or ("presignd",)), options=self.since)

    def said(self, kind=None):
        """All that presignd said, or of that kind. journald asks /proc for the unit of an entry, and
        that of a process that has ended meanwhile has none. Chosen here: --after-cursor with a match
        leaves out one entry more."""
        entries = [entry for entry in machine.journal(options=self.since)
                   if entry.get("SYSLOG_IDENTIFIER") == "presignd"]
        return [entry for entry in entries if kind is None or entry.get("MESSAGE_ID") == MESSAGES[kind]]

    def message(self, name, *units):
        """The first entry of that kind, as soon as there is one."""
        def found():
            entries = self.journal(*units) if units else self.said()
            return next((entry for entry in entries if entry.get("MESSAGE_ID") == MESSAGES[name]), None)
        return wait_until(found, f"message {name}")

    def wait_for_calls(self, count):
        wait_until(lambda: len(self.world.sandbox.ledger()) >= count, f"{count} calls")

    def restarts(self, unit="presignd"):
        return int(machine.show(unit, "NRestarts"))


class GoodDay(Service):
    """Start, work, reload, stop, as they are meant to be."""

    def test_it_works_and_says_so(self):
        machine.systemctl("start", "presignd")
        self.assertEqual(machine.show("presignd", "ActiveState"), "active")
        self.results(self.produce(*(f"A{n}" for n in range(20))))
        wait_until(lambda: machine.show("presignd", "StatusText") == "2 partitions, 0 in flight, 0 waiting",
                   lambda: machine.show("presignd", "StatusText"))
        machine.systemctl("reload", "presignd")
        machine.systemctl("stop", "presignd")
        self.assertEqual(machine.show("presignd", "Result"), "success")
        for name in ("STARTED", "READY", "ASSIGNED", "RELOADED", "STOPPING", "STOPPED"):
            self.message(name)
        # Nothing that wakes anybody up.
        loud = [entry["MESSAGE"] for entry in machine.journal("presignd", options=[*self.since, "--priority=warning"])]
        self.assertEqual(loud, [])
        self.world.assert_audit_passes()

    def test_what_failed_is_told_with_fields_and_explained_in_two_languages(self):
        machine.systemctl("start", "presignd")
        (failed,) = self.produce("F400x9z")
        self.world.wait_for_outcomes([failed])
        topic, partition, offset = failed.rsplit("/", 2)
        entry = self.message("EVENT_FAILED")
        fields = {"REASON": "rejected", "MCHID": DIRECT, "OUT_CONTRACT_CODE": "F400x9z", "TOPIC": topic,
                  "PARTITION": partition, "OFFSET": offset, "ENDPOINT": "app"}
        self.assertEqual({name: entry.get(f"PRESIGND_{name}") for name in fields}, fields)
        self.assertTrue(entry["PRESIGND_REQUEST_ID"])
        show = ["journalctl", "--no-pager", "--catalog", "--lines=1", f"MESSAGE_ID={MESSAGES['EVENT_FAILED']}"]
        self.assertIn("Subject: An event ended as a failure: rejected", machine.run(*show).stdout)
        # A locale needs no more than a name here; the text is the catalog's.
        machine.run("cp", "-r", "/usr/lib/locale/C.utf8", "/usr/lib/locale/zh_CN.utf8")
        chinese = machine.run("env", "LANG=zh_CN.UTF-8", *show).stdout
        self.assertIn("一个事件以失败结束：rejected", chinese)
        self.assertIn(f"分区 {partition}", chinese)

    def test_many_failures_are_counted_and_not_repeated(self):
        machine.systemctl("start", "presignd")
        sent = self.world.produce((None, b"{", []) for _ in range(300))
        self.world.wait_for_outcomes(sent)
        machine.systemctl("stop", "presignd")
        self.message("STOPPED")  # the last one
        # At most 20 a minute. The daemon does not wait long for a busy journal, and drops lines.
        self.assertIn(len(self.said("EVENT_FAILED")), range(1, 21))


class Start(Service):
    def test_a_bad_configuration_is_told_whole_and_not_tried_again(self):
        self.rewrite(self.text + "[unheard]\nof = 1\n[kafka.producer]\nacks = 0\n")
        self.assertNotEqual(machine.systemctl("start", "presignd", check=False).returncode, 0)
        self.assertEqual(machine.show("presignd", "ExecMainStatus"), str(EX_CONFIG))
        self.assertEqual((machine.show("presignd", "ActiveState"), self.restarts()), ("failed", 0))
        wait_until(lambda: len(self.said("CONFIGURATION_WRONG")) >= 2, "both mistakes")
        wrong = self.said("CONFIGURATION_WRONG")
        self.assertEqual({entry["PRIORITY"] for entry in wrong}, {"3"})
        text = "\n".join(entry["MESSAGE"] for entry in wrong)
        self.assertRegex(text, r"presignd\.conf:\d+: unknown section \[unheard\]")
        self.assertRegex(text, r"presignd\.conf:\d+: acks: ")

    def test_a_missing_key(self):
        self.rewrite(self.text.replace(f"@merchant-{DIRECT}.pem", "@nobody-gave-this.pem"))
        self.assertNotEqual(machine.systemctl("start", "presignd", check=False).returncode, 0)
        self.assertEqual(machine.show("presignd", "ExecMainStatus"), str(EX_CONFIG))
        told = self.message("CONFIGURATION_WRONG")["MESSAGE"]
        self.assertRegex(told, "nobody-gave-this.pem: No such file or directory: for the service, add LoadCredential=.* restart")

    def test_it_starts_without_the_brokers(self):
        kafka.kill()
        try:
            machine.systemctl("start", "presignd")
            machine.wait_for("presignd", StatusText=f"not consuming yet; .*{kafka.bootstrap}.*")
            self.assertEqual(machine.show("presignd", "ActiveState"), "active")
            machine.systemctl("reload", "presignd")
        finally:
            kafka.start()
        self.message("READY")
        self.assertEqual(self.restarts(), 0)
        self.results(self.produce("A1"))

    def test_encrypted_credentials(self):
        name = f"merchant-{DIRECT}.pem"
        sealed = f"/etc/credstore.encrypted/{name}"
        machine.path("/etc/credstore.encrypted").mkdir(mode=0o700, exist_ok=True)
        machine.run("systemd-creds", "encrypt", "--with-key=host", f"--name={name}", f"{KEYS}/{name}", sealed)
        machine.path(f"{KEYS}/{name}").unlink()
        self.assertNotIn(b"PRIVATE KEY", machine.path(sealed).read_bytes())
        others = [path.name for path in machine.path(KEYS).iterdir()]
        machine.load_credentials(others)
        machine.drop_in("presignd.service", "sealed", f"[Service]\nLoadCredentialEncrypted={name}:{sealed}\n")
        self.addCleanup(machine.drop_in, "presignd.service", "sealed", "")
        machine.systemctl("start", "presignd")
        self.results(self.produce("A1"))
        pid = machine.main_pid("presignd")
        environment = machine.path(f"/proc/{pid}/environ").read_bytes()
        self.assertIn(b"CREDENTIALS_DIRECTORY=", environment)
        self.assertNotIn(b"PRIVATE KEY", environment + machine.systemctl("show", "presignd").stdout.encode())

    def test_reboot(self):
        machine.systemctl("enable", "presignd")
        self.addCleanup(machine.systemctl, "disable", "presignd")
        machine.systemctl("start", "presignd")
        self.results(self.produce("A1"))
        machine.reboot()
        machine.wait_for("presignd", ActiveState="active")
        self.results(self.produce("A2"))
        self.assertEqual(len(self.world.sandbox.ledger()), 2)
        self.world.assert_audit_passes()


class Levers(Service):
    def test_a_pause_is_kept_and_told(self):
        machine.systemctl("start", "presignd")
        machine.run("presignctl", "pause", "--all", "--persist", "--note", "a test")
        entry = self.message("PAUSE")
        self.assertEqual({name: entry.get(f"PRESIGND_{name}") for name in ("UID", "BY", "NOTE")},
                         {"UID": "0", "BY": "root", "NOTE": "a test"})
        machine.systemctl("restart", "presignd")
        sent = self.produce("A1")
        answer = json.loads(machine.run("presignctl", "resume", "--all", "--json").stdout)
        self.assertEqual(answer["pauses"], [])
        self.results(sent)
        self.assertRegex(self.message("RESUME")["MESSAGE"], "resume of everything, pauses ended: 1")

    def test_the_socket_is_roots_and_the_services(self):
        machine.systemctl("start", "presignd")
        mode = machine.run("stat", "--format=%a %u", "/run/presignd/control.sock").stdout.split()
        # By number: a dynamic user has a name only where libnss-systemd is.
        user = machine.run("stat", "--format=%u", f"/proc/{machine.main_pid('presignd')}").stdout.strip()
        self.assertEqual(mode, ["600", user])
        self.assertNotEqual(user, "0")
        refused = machine.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
                              "presignctl", "resume", "--all", check=False)
        self.assertEqual((refused.returncode, "Permission denied" in refused.stderr), (69, True), refused.stderr)


class Reload(Service):
    def test_a_bad_one_fails_visibly(self):
        machine.systemctl("start", "presignd")
        self.rewrite(self.text.replace("base_delay_ms = 20", "base_delay_ms = many")
                     .replace("instance = presignd-1", "instance = other"))
        failed = machine.systemctl("reload", "presignd", check=False)
        self.assertNotEqual(failed.returncode, 0)
        self.assertEqual(machine.show("presignd", "ActiveState"), "active")
        self.assertIn("base_delay_ms", self.message("RELOAD_FAILED")["MESSAGE"])
        self.results(self.produce("A1"))

        done = machine.run("presignctl", "reload", check=False)
        self.assertEqual(done.returncode, EX_CONFIG)
        self.assertRegex(done.stderr, r"presignd\.conf:\d+: base_delay_ms: ")
        self.rewrite(self.text.replace("instance = presignd-1", "instance = other"))
        done = machine.run("presignctl", "reload", "--json", check=False)
        self.assertEqual(done.returncode, EX_CONFIG)
        self.assertEqual(json.loads(done.stdout)["errors"], ["daemon.instance: changing it needs a restart"])
        self.assertEqual(machine.main_pid("presignd"), json.loads(done.stdout)["pid"])

    def test_a_plain_sighup(self):
        machine.systemctl("start", "presignd")
        self.rewrite(self.text.replace("base_delay_ms = 20", "base_delay_ms = 30"))
        machine.kill("presignd", "HUP")
        self.message("RELOADED")
        machine.wait_for("presignd", ActiveState="active", SubState="running")

    def test_the_listener_moves(self):
        machine.systemctl("start", "presignd")
        self.rewrite(re.sub(r"admin_listen = .*", f"admin_listen = 127.0.0.1:{free_ports(1)[0]}", self.text))
        machine.systemctl("reload", "presignd")
        machine.systemctl("reload", "presignd")
        self.rewrite(re.sub(r"admin_listen = .*", "admin_listen =", self.text))
        machine.systemctl("reload", "presignd")  # by the control socket
        self.rewrite(re.sub(r"admin_listen = .*", "admin_listen =\ncontrol_socket =", self.text))
        done = machine.run("presignctl", "reload", check=False)
        self.assertEqual((done.returncode, "nothing reports the result" in done.stderr), (69, True), done.stderr)

    def new_merchant_key(self):
        """WeChat Pay knows another key of the merchant from now on, and the old one no longer."""
        private = self.world.sandbox.directory / f"merchant-{DIRECT}.pem"
        subprocess.run(["openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-out", private], check=True)
        subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out",
                        private.with_name(f"merchant-{DIRECT}.pub.pem")], check=True)
        self.world.start_sandbox(options=["--fault-by-code"])
        return re.search(rf"\[merchant {DIRECT}\][^\[]*serial_no = (\w+)", self.world.sandbox.config.read_text()).group(1)

    def rotate(self, take, mode, group="root"):
        """Events come all the while; `take` makes the service take the new key."""
        machine.systemctl("start", "presignd")
        sent = self.produce(*(f"A{n}" for n in range(10)))
        self.results(sent)
        serial = self.new_merchant_key()
        sent += self.produce(*(f"B{n}" for n in range(10)))
        self.message("MERCHANT_HELD")
        key = self.world.sandbox.directory / f"merchant-{DIRECT}.pem"
        machine.write(f"{KEYS}/{key.name}", key.read_bytes(), mode)
        machine.run("chgrp", group, f"{KEYS}/{key.name}")
        self.rewrite(re.sub(rf"(\[merchant {DIRECT}\][^\[]*serial_no = )\w+", rf"\g<1>{serial}", self.text))
        machine.systemctl(take, "presignd")
        sent += self.produce(*(f"C{n}" for n in range(10)))
        self.results(sent)
        self.world.assert_audit_passes()

    def test_a_merchants_key_given_as_a_credential_is_rotated_by_a_restart(self):
        self.rotate("restart", 0o600)

    def test_a_merchants_key_given_by_path_is_rotated_by_a_reload(self):
        """With a group for keys, which no scraper is in."""
        self.text = machine.configure(self.world, credentials=False)
        machine.run("groupadd", "--force", "--system", "presignd-keys")
        machine.run("sh", "-c", f"chgrp presignd-keys {KEYS} {KEYS}/merchant-*; chmod 0640 {KEYS}/merchant-*; chmod 0750 {KEYS}")
        machine.drop_in("presignd.service", "keys", "[Service]\nSupplementaryGroups=presignd-keys\n")
        self.addCleanup(machine.drop_in, "presignd.service", "keys", "")
        self.rotate("reload", 0o640, "presignd-keys")
        self.assertEqual(self.restarts(), 0)
        self.assertEqual(self.said("CONFIGURATION_WRONG"), [])

    def own(self, number, *paths):
        """A merchant's certificate of the sandbox and its key, as these files of the machine."""
        state = self.world.sandbox.set(mchid=DIRECT, merchant_certificate={"number": number},
                                       accepted=[number - 1, number]) if number > 1 else self.world.sandbox.set()
        (mine,) = (each for each in state["merchants"] if each["mchid"] == DIRECT)
        made = mine["merchant_certificates"][number - 1]
        for path, name in zip(paths, (made["key_file"], made["file"])):
            machine.write(path, (self.world.sandbox.directory / name).read_bytes(), 0o600)

    def with_pair(self, key, certificate):
        """The configuration, in which the certificate gives the serial number."""
        text, count = re.subn(rf"(\[merchant {DIRECT}\]\n[^\[]*?)serial_no = .*\nprivate_key = .*\n",
                              rf"\1private_key = {key}\ncertificate = {certificate}\n", self.text)
        self.assertEqual(count, 1)
        return text

    def rotated(self, rotate):
        """Events come before, between and after; the old certificate is revoked in the end."""
        machine.systemctl("start", "presignd")
        sent = self.produce(*(f"A{n}" for n in range(10)))
        self.results(sent)
        self.own(2, "/root/apiclient_key.pem", "/root/apiclient_cert.pem")
        sent += self.produce(*(f"B{n}" for n in range(10)))
        rotate()
        self.world.sandbox.set(mchid=DIRECT, accepted=[2])
        sent += self.produce(*(f"C{n}" for n in range(10)))
        self.results(sent)
        self.world.assert_audit_passes()
        self.assertEqual(self.said("MERCHANT_HELD"), [])

    def test_a_certificate_and_its_key_by_path_are_rotated_without_a_restart(self):
        """As docs/operations.md says, in the directory that docs/systemd.md makes."""
        keys = "/etc/presignd/service-keys"
        self.text = machine.configure(self.world, credentials=False)
        machine.run("sh", "-c", f"groupadd --force --system presignd-keys; install -d -m 0750 -g presignd-keys {keys}")
        machine.drop_in("presignd.service", "keys", "[Service]\nSupplementaryGroups=presignd-keys\n")
        self.addCleanup(machine.drop_in, "presignd.service", "keys", "")
        old = f"{keys}/merchant-{DIRECT}-a"
        self.own(1, f"{old}.pem", f"{old}.crt")
        machine.run("sh", "-c", f"chgrp presignd-keys {old}.*; chmod 0640 {old}.*")
        self.rewrite(self.with_pair(f"{old}.pem", f"{old}.crt"))
        block = document.block("operations.md", "rotate-merchant")
        block = block.replace(f"/etc/presignd/presignd.conf.d/{DIRECT}.conf", "/etc/presignd/presignd.conf")
        self.rotated(lambda: machine.run("sh", "-ec", f"cd /root\n{block}"))
        self.assertEqual(self.restarts(), 0)

    def test_a_certificate_and_its_key_as_credentials_are_rotated_by_a_restart(self):
        """As docs/operations.md says; before the restart a reload is refused."""
        names = [f"merchant-{DIRECT}.{kind}" for kind in ("pem", "crt")]
        self.own(1, *(f"{KEYS}/{name}" for name in names))
        for drop_in, text in (("pair", f"[Service]\nLoadCredential={names[1]}:{KEYS}/{names[1]}\n"), (f"{DIRECT}-b", "")):
            machine.drop_in("presignd.service", drop_in, text)
            self.addCleanup(machine.drop_in, "presignd.service", drop_in, "")
        self.rewrite(self.with_pair(f"@{names[0]}", f"@{names[1]}"))
        block = document.block("operations.md", "rotate-merchant-credentials")
        block = block.replace("/etc/presignd/presignd.conf.d/site.conf", "/etc/presignd/presignd.conf")
        self.assertEqual(block.count("systemctl restart"), 1)
        block = block.replace("systemctl restart", "! presignctl reload\nsystemctl restart")
        self.rotated(lambda: machine.run("sh", "-ec", f"cd /root\n{block}"))

    def test_a_key_of_the_scrapers_group_is_warned_of(self):
        self.text = machine.configure(self.world, credentials=False)
        machine.run("sh", "-c", f"chgrp presignd-metrics {KEYS}/merchant-*; chmod 0640 {KEYS}/merchant-*")
        machine.systemctl("start", "presignd")
        self.assertIn("can be read by the group presignd-metrics", self.message("CONFIGURATION_WRONG")["MESSAGE"])


class Stop(Service):
    options = ("--delay-ms", "3000")

    def test_it_drains_and_counts_down(self):
        """Longer than TimeoutStopSec=, which it has to ask for."""
        machine.drop_in("presignd.service", "short", "[Service]\nTimeoutStopSec=1s\n")
        self.addCleanup(machine.drop_in, "presignd.service", "short", "")
        self.rewrite(self.text.replace("[daemon]\n", "[daemon]\nmax_in_flight = 4\ndrain_timeout_ms = 100000\n")
                     .replace("[endpoint]\n", "[endpoint]\ntimeout_ms = 100000\n"))
        machine.systemctl("start", "presignd")
        sent = self.produce(*(f"A{n}" for n in range(10)))
        self.wait_for_calls(4)
        self.world.sandbox.suspend()  # for a look at the service while it drains
        stop = threading.Thread(target=machine.systemctl, args=("stop", "presignd"))
        stop.start()
        machine.wait_for("presignd", StatusText=r"stopping: [1-4] in flight, \d+ outcomes to publish, \d+ s left")
        self.world.sandbox.resume()
        stop.join()
        self.assertEqual((machine.show("presignd", "Result"), machine.show("presignd", "ExecMainStatus")),
                         ("success", "0"))
        begun = len(self.world.sandbox.ledger())
        self.assertEqual(len(self.world.audit().outcomes), begun)
        self.assertLess(begun, len(sent))
        self.world.start_sandbox(options=["--fault-by-code"])
        machine.systemctl("start", "presignd")
        self.results(sent)
        self.assertEqual(len(self.world.sandbox.ledger()), len(sent))
        self.world.assert_audit_passes()

    def test_killed_it_comes_back(self):
        text = self.text.replace("[daemon]\n", "[daemon]\nmax_in_flight = 4\n")
        # The endpoint is away while it is restarted: attempts must outlast that.
        self.rewrite(re.sub(r"^(base|max)_delay_ms = .*$", r"\1_delay_ms = 2000", text, flags=re.MULTILINE))
        machine.systemctl("start", "presignd")
        sent = self.produce(*(f"A{n}" for n in range(10)))
        self.wait_for_calls(4)
        self.world.start_sandbox(options=["--fault-by-code"])
        machine.kill("presignd", "KILL")
        self.results(sent)
        self.assertEqual(self.restarts(), 1)
        self.world.assert_audit_passes()


class Instances(Service):
    def setUp(self):
        super().setUp()
        for unit, port in zip(UNITS[1:], free_ports(2)):
            machine.drop_in(f"{unit}.service", "port", f"[Service]\nEnvironment=ADMIN_LISTEN=127.0.0.1:{port}\n")
            self.addCleanup(machine.drop_in, f"{unit}.service", "port", "")

    def test_two_on_a_host(self):
        machine.systemctl("start", *UNITS[1:])
        for unit in UNITS[1:]:
            self.assertIn(f"instance presignd-presignd-test-{unit[-1]}", self.message("STARTED", unit)["MESSAGE"])
            machine.wait_for(unit, StatusText="1 partitions, .*")
        sent = self.produce(*(f"A{n}" for n in range(20)))
        machine.systemctl("reload", *UNITS[1:])
        self.results(sent)
        machine.systemctl("stop", *UNITS[1:])
        self.world.assert_audit_passes()

    def test_two_of_one_name(self):
        machine.systemctl("start", "presignd@1")
        sent = self.produce(*(f"Fdelayx1p50z{n}" for n in range(50)))
        self.wait_for_calls(1)
        self.rewrite(self.text.replace("instance = presignd-1", "instance = presignd-presignd-test-1"))
        machine.systemctl("start", "presignd")
        told = self.message("FENCED", "presignd@1")
        self.assertEqual(told["PRESIGND_INSTANCE"], "presignd-presignd-test-1")
        machine.systemctl("stop", "presignd@1")
        machine.wait_for("presignd", ActiveState="active")
        self.results(sent)
        machine.systemctl("stop", "presignd")
        self.world.assert_audit_passes()


class Files(Service):
    """What the unit makes, and who may use it."""

    def test_a_scraper_reads_metrics_and_nothing_else(self):
        machine.run("useradd", "--system", "--groups", "presignd-metrics", "scraper")
        self.rewrite(re.sub(r"admin_listen = .*", "admin_listen = unix:/run/presignd/admin.sock", self.text))
        machine.systemctl("start", "presignd")
        def scrape(user, socket="admin"):
            return machine.run("setpriv", f"--reuid={user}", "--init-groups", f"--regid={user}", "curl", "--silent",
                               "--unix-socket", f"/run/presignd/{socket}.sock", "http://presignd/metrics", check=False)
        self.assertIn("presignd_build_info", scrape("scraper").stdout)
        self.assertEqual(scrape("games").returncode, 7, "it cannot connect")
        self.assertEqual(scrape("scraper", "control").returncode, 7, "no levers")
        for path in (KEYS, "/var/lib/private/presignd"):
            denied = machine.run("setpriv", "--reuid=scraper", "--init-groups", "--regid=scraper", "ls", path, check=False)
            self.assertNotEqual(denied.returncode, 0, path)

    def test_the_state_directory_is_its_own_and_may_be_lost(self):
        for unit, name in (("presignd", "presignd"), ("presignd@1", "presignd@1")):
            with self.subTest(unit):
                machine.systemctl("start", unit)
                found = machine.path(f"/var/lib/private/{name}")
                self.assertEqual(found.stat().st_mode & 0o777, 0o700)
                self.assertTrue(any(found.iterdir()), "the unit's STATE_DIRECTORY is used")
                self.assertEqual(machine.path(f"/run/{name}/control.sock").stat().st_mode & 0o777, 0o600)
                machine.systemctl("stop", unit)
                machine.run("rm", "-r", f"/var/lib/private/{name}")
                machine.systemctl("start", unit)
                self.results(self.produce(f"S{unit[-1]}"))
                machine.systemctl("stop", unit)


class Changes(Service):
    """By the commands of docs/operations.md, as they stand there."""

    SECOND = "1900007292"

    def follow(self, *marks, **replaced):
        """Runs blocks in /root/room, where systemd-ask-password answers by itself."""
        machine.write("/root/room/bin/systemd-ask-password", "#!/bin/sh\necho new-pass-4711\n", 0o755)
        text = "".join(document.block("operations.md", mark) for mark in marks)
        for old, new in replaced.items():
            text = text.replace(old, new)
        return machine.run("sh", "-ec", f"cd /root/room; PATH=/root/room/bin:$PATH\n{text}").stdout

    def tearDown(self):
        machine.run("sh", "-c", "rm -rf /etc/systemd/system/presignd@.service.d /etc/presignd/presignd.conf.d/* "
                    "/etc/systemd/system/presignd.service.d/1900007292.conf")

    def test_a_second_merchant(self):
        """Its file, keys and credentials come while the first one works."""
        sandbox = self.world.start_sandbox(options=["--fault-by-code"], merchants=[DIRECT, self.SECOND])
        self.text = machine.configure(self.world)
        section = re.search(rf"\[merchant {self.SECOND}\][^\[]*", self.text)[0]
        self.rewrite(self.text.replace(section, ""))
        machine.load_credentials([f"merchant-{DIRECT}.pem", f"wechatpay-{DIRECT}.pem"])
        machine.systemctl("start", "presignd")
        self.results(self.produce("A1"))
        for name, key in (("apiclient_key.pem", f"merchant-{self.SECOND}.pem"), ("pub_key.pem", f"wechatpay-{self.SECOND}.pem"),
                          ("apiclient_cert.pem", f"merchant-{self.SECOND}-certificate.pem")):
            machine.write(f"/root/room/{name}", (sandbox.directory / key).read_bytes())
        own, example = (re.search(r"wechatpay_public_key_id = (\w+)", text)[1]
                        for text in (section, document.block("operations.md", "second-merchant")))
        told = self.follow("second-merchant", **{example: own})
        self.assertIn(f"merchant {self.SECOND}", told)
        sent = self.world.produce([event("app", "B1", mchid=self.SECOND), event("app", "B2", mchid=DIRECT)])
        self.results(sent)

    def test_a_second_merchant_by_a_reload(self):
        """It is refused and says what the page says."""
        machine.systemctl("start", "presignd")
        section = re.search(rf"\[merchant {DIRECT}\][^\[]*", self.text)[0]
        machine.write(f"/etc/presignd/presignd.conf.d/{self.SECOND}.conf", section.replace(DIRECT, self.SECOND))
        self.assertNotEqual(machine.systemctl("reload", "presignd", check=False).returncode, 0)
        self.assertRegex(self.message("RELOAD_FAILED")["MESSAGE"],
                         f"add LoadCredential=merchant-{self.SECOND}.pem:.*reads credentials only at a start")
        self.results(self.produce("A1"))

    def test_a_second_instance(self):
        port = str(free_ports(1)[0])  # 9471 may be another test's
        machine.systemctl("start", "presignd")
        machine.run("rm", "-r", "/etc/systemd/system/presignd@.service.d")
        machine.drop_in("presignd@1.service", "port", f"[Service]\nEnvironment=ADMIN_LISTEN=127.0.0.1:{port}\n")
        self.addCleanup(machine.drop_in, "presignd@1.service", "port", "")
        self.addCleanup(machine.systemctl, "disable", "presignd@1")
        self.follow("second-instance")
        for unit in UNITS[:2]:
            machine.wait_for(unit, StatusText="1 partitions, .*")
        self.assertIn("presignd-presignd-test-1", self.follow("second-instance-status", **{"9471": port}))
        self.results(self.produce(*(f"A{n}" for n in range(10))))

    def test_kafkas_password(self):
        with secure_broker.SecureCluster() as secure, World(partitions=1, kafka=secure) as world:
            world.start_sandbox()
            for name in world.topics.values():
                secure.acls.add(f"User:presignd TOPIC LITERAL {name} ALL")
            secure.acls.add(f"User:presignd GROUP LITERAL {world.group} READ")
            secure.acls.add("User:presignd TRANSACTIONAL_ID PREFIXED presignd- WRITE")
            machine.configure(world, {"kafka": {
                "bootstrap.servers": secure.secure, "security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN",
                "sasl.username": "presignd", "sasl.password": "@kafka-password", "ssl.ca.location": "/etc/presignd/kafka-ca.pem"}})
            machine.write("/etc/presignd/kafka-ca.pem", (secure.certificates / "ca.pem").read_bytes())
            machine.write(f"{KEYS}/kafka-password", secure_broker.PASSWORD + "\n", 0o600)
            machine.drop_in("presignd.service", "kafka", f"[Service]\nLoadCredential=kafka-password:{KEYS}/kafka-password\n")
            self.addCleanup(machine.drop_in, "presignd.service", "kafka", "")
            machine.systemctl("start", "presignd")
            machine.wait_for("presignd", StatusText="1 partitions, .*")
            self.follow("password")
            name = "listener.name.secure.plain.sasl.jaas.config"
            secure.kill()
            secure.settings[name] = secure.settings[name].replace(secure_broker.PASSWORD, "new-pass-4711")
            secure.nodes[0].configure(secure)
            secure.start()
            machine.systemctl("reload", "presignd")  # it has the old one: systemd does not read it again
            machine.wait_for("presignd", StatusText=".*(?i:authentication).*")
            self.follow("password-restart")
            machine.wait_for("presignd", StatusText="1 partitions, .*")
            world.wait_for_outcomes(world.produce([event("app", "A1", mchid=DIRECT)]))
            machine.systemctl("stop", "presignd")


class BatchSigner(Service):
    """libcrypto_mb in the sandbox of the unit: the real one where the processor has AVX-512 IFMA and pip
    can fetch it, else the stand-in, which is OpenSSL inside."""

    NAME = "libcrypto_mb.so.13"
    sections = {"daemon": {"sign_threads": 1, "sign_backend": "crypto_mb"}}

    @staticmethod
    def library():
        real = BUILD / "crypto-mb"
        command = ["/usr/bin/python3", "-B", ROOT / "tests/crypto-mb/real.py", real, BUILD / "tests/crypto-mb-many", "8"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0 or not (real / BatchSigner.NAME).exists():
            print(f"NOT INTEL'S libcrypto_mb, BUT A STAND-IN: {done.stdout}{done.stderr}")
            real = BUILD / "crypto-mb-stand-in"
        return (real / BatchSigner.NAME).read_bytes()

    def put(self, directory):
        machine.write(f"{directory}/{self.NAME}", self.library(), 0o755)
        self.addCleanup(machine.path(f"{directory}/{self.NAME}").unlink, missing_ok=True)

    def expect_batches(self):
        machine.systemctl("start", "presignd")
        self.results(self.produce(*(f"B{n}" for n in range(200))))
        status, text = http_get(f"http://{re.search('admin_listen = (.*)', self.text)[1]}/metrics")
        made = float(re.search(r'^presignd_signatures_total{backend="crypto_mb",end="ok"} (.*)$', text, re.MULTILINE)[1])
        self.assertGreater(made, 50)
        warned = [entry["MESSAGE"] for entry in machine.journal("presignd", options=[*self.since, "--priority=warning"])]
        self.assertEqual(warned, [])
        # As this machine numbers the processes: the memory of keys and that of one thread.
        locked = [int(re.search(r"VmLck:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1])
                  for pid in machine.path("/sys/fs/cgroup").joinpath(
                      machine.show("presignd", "ControlGroup").lstrip("/"), "cgroup.procs").read_text().split()]
        self.assertGreater(sum(locked), 4 * 1024)
        machine.systemctl("stop", "presignd")

    def test_it_signs(self):
        self.put("/usr/lib")
        for own_process in ("no", "yes"):
            self.rewrite(self.text.replace("[daemon]\n", f"[daemon]\nsign_process = {own_process}\n"))
            self.expect_batches()

    def test_a_library_elsewhere_needs_a_drop_in(self):
        self.put("/opt/crypto_mb")
        lines = (ROOT / "systemd" / "unit.in").read_text().splitlines()
        drop_in = "\n".join(line.removeprefix("#") for line in lines if "/opt/crypto_mb" in line)
        self.assertIn("ExecPaths=", drop_in)
        without = "\n".join(line for line in drop_in.splitlines() if not line.startswith("ExecPaths="))
        self.addCleanup(machine.drop_in, "presignd.service", "library", "")
        machine.drop_in("presignd.service", "library", f"[Service]\n{without}\n")
        machine.systemctl("start", "presignd", check=False)
        machine.wait_for("presignd", ActiveState="failed", ExecMainStatus=str(EX_CONFIG))
        self.assertRegex(self.message("CONFIGURATION_WRONG")["MESSAGE"], "sign_backend: crypto_mb cannot be used: .*failed to map")
        machine.systemctl("reset-failed", "presignd")
        self.since = [f"--after-cursor={machine.cursor()}"]
        machine.drop_in("presignd.service", "library", f"[Service]\n{drop_in}\n")
        self.expect_batches()


class Replaced(Service):
    """Tests that put another program in presignd's place."""

    def put(self, name):
        machine.write("/usr/sbin/presignd", (BUILD / name).read_bytes(), 0o755)
        self.addCleanup(machine.write, "/usr/sbin/presignd", (BUILD / "presignd").read_bytes(), 0o755)


class Confinement(Replaced):
    ALLOWED = {"write /tmp", "read its configuration", "open TCP", "open a Unix socket"}

    def test_it_is_kept_from_what_it_has_no_need_of(self):
        free = self.told(self.run_free())
        self.put("tests/systemd-probe")
        machine.drop_in("presignd.service", "probe", "[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\n")
        self.addCleanup(machine.drop_in, "presignd.service", "probe", "")
        machine.systemctl("start", "presignd")
        def confined_told():
            return self.told("\n".join(entry["MESSAGE"] for entry in self.said()))
        wait_until(lambda: confined_told().keys() == free.keys(), lambda: f"{free.keys()}: {confined_told()}")
        confined = confined_told()
        self.assertEqual({name for name, can in confined.items() if can}, self.ALLOWED)
        # What this kernel gives to nobody shows nothing; most of it has to be free to others.
        self.assertGreaterEqual(sum(free.values()), len(free) - 4, free)

    def run_free(self):
        machine.write("/root/probe", (BUILD / "tests" / "systemd-probe").read_bytes(), 0o755)
        return machine.run("/root/probe").stdout

    def told(self, text):
        return {name: word == "can" for name, word in re.findall(r"^([^:\n]+): (can|cannot)\b", text, re.MULTILINE)}


class Separation(Replaced):
    """The main process is taken over, see planted_hostile.c."""

    ALLOWED = {"read a file that is named", "start a signing process", "sign what presignd signs",
               "sign a list of certificates"}

    def setUp(self):
        super().setUp()
        self.put("presignd-hostile")
        self.addCleanup(machine.systemctl, "stop", "presignd", check=False)
        self.own_process("yes")
        machine.path("/etc/presignd/hostile").unlink(missing_ok=True)
        machine.drop_in("presignd.service", "hostile", "[Service]\nEnvironment=PRESIGND_HOSTILE=/etc/presignd/hostile\n")
        self.addCleanup(machine.drop_in, "presignd.service", "hostile", "")

    def own_process(self, word):
        self.rewrite(self.text.replace("[daemon]\n", f"[daemon]\nsign_process = {word}\n"))

    def attack(self):
        """{attempt: whether it succeeded}"""
        machine.write("/etc/presignd/hostile", "")
        self.produce("A1")  # something to do
        wait_until(lambda: any(entry["MESSAGE"] == "hostile: done" for entry in self.said()), "the attack's end")
        machine.path("/etc/presignd/hostile").unlink()
        lines = (re.fullmatch(r"hostile: (.*): (can|cannot)\b.*", entry["MESSAGE"]) for entry in self.said())
        return {line[1]: line[2] == "can" for line in lines if line}

    def signing_process(self):
        main = machine.main_pid("presignd")
        (pid,) = machine.path(f"/proc/{main}/task/{main}/children").read_text().split()
        return int(pid)

    def private_bytes(self):
        """A prime of the merchant's key, as OpenSSL keeps it in memory, and backwards."""
        text = subprocess.run(["openssl", "rsa", "-noout", "-text", "-in", self.world.sandbox.directory / f"merchant-{DIRECT}.pem"],
                              capture_output=True, text=True, check=True).stdout
        prime = bytes.fromhex(re.sub(r"[\s:]", "", re.search(r"prime1:([\s0-9a-f:]+)", text)[1]))[-64:]
        return prime, prime[::-1]

    def memory_holds(self, pid, patterns):
        found = set()
        with open(machine.path(f"/proc/{pid}/mem"), "rb", buffering=0) as memory:
            for line in machine.path(f"/proc/{pid}/maps").read_text().splitlines():
                begin, end = (int(word, 16) for word in line.split()[0].split("-"))
                if line.split()[1].startswith("rw"):
                    try:
                        memory.seek(begin)
                        content = memory.read(end - begin)
                    except OSError:
                        continue  # a guard, or gone meanwhile
                    found |= {pattern for pattern in patterns if pattern in content}
        return bool(found)

    def test_hostile_code_gets_no_key_and_no_other_signature(self):
        machine.systemctl("start", "presignd")
        self.results(self.produce("A0"))
        told = self.attack()
        self.assertEqual({name for name, can in told.items() if can}, self.ALLOWED)
        self.assertGreater(len(told), 35, told)
        self.results(self.produce("A2"))
        private = self.private_bytes()
        self.assertTrue(self.memory_holds(self.signing_process(), private), "the search finds what is there")
        self.assertFalse(self.memory_holds(machine.main_pid("presignd"), private))
        machine.systemctl("stop", "presignd")
        self.assertEqual(machine.show("presignd", "Result"), "success")
        self.world.assert_audit_passes()

    def test_the_attempts_are_real(self):
        """Without a process of its own for keys they are there to be taken."""
        self.own_process("no")
        machine.systemctl("start", "presignd")
        self.results(self.produce("A0"))
        told = self.attack()
        self.assertTrue(told["read the key"] and told["read the key by a link"] and told["read the key in a child"], told)
        self.assertTrue(self.memory_holds(machine.main_pid("presignd"), self.private_bytes()))
        self.assertFalse(told["sign a refund"], "no oracle either")

    def test_a_signing_process_that_is_killed(self):
        machine.systemctl("start", "presignd")
        sent = self.produce("A0")
        self.results(sent)
        machine.run("kill", "-KILL", self.signing_process())
        wait_until(lambda: self.restarts() == 1, "a restart")
        told = " ".join(entry["MESSAGE"] for entry in self.said())
        self.assertIn("the signing process was killed by signal 9", told)
        self.results(sent + self.produce("A1"))
        self.assertEqual(machine.show("presignd", "ActiveState"), "active")
        machine.systemctl("stop", "presignd")
        self.world.assert_audit_passes()


class Secrets(Replaced):
    """As e2e.no_secrets, with everything that the machine's journal keeps."""

    def test_nothing_planted_is_in_the_journal_at_any_level(self):
        self.put("presignd-wedged")  # for its log level alone
        machine.drop_in("presignd.service", "debug", "[Service]\nEnvironment=PRESIGND_LOG_LEVEL=7\n")
        self.addCleanup(machine.drop_in, "presignd.service", "debug", "")
        secrets = test_no_secrets.secret_texts(self.world.sandbox.directory)
        sasl = "".join(f"{name} = {value}\n" for name, value in test_no_secrets.SASL.items())
        self.rewrite(self.text.replace("[kafka]\n", f"[kafka]\ndebug = all\nlog_level = 7\n{sasl}")
                     .replace("[retry]\n", "[retry]\nmax_attempts = 2\nhold_unauthorized_ms = 0\n"))
        machine.systemctl("start", "presignd")
        good = {"openid": test_no_secrets.OPENID, "contract_display_account": test_no_secrets.ACCOUNT,
                "contract_notify_url": test_no_secrets.NOTIFY}
        sent = self.world.produce([*(event("app", code, mchid=DIRECT, data=good) for code in test_no_secrets.CODES[:8]),
                                   *test_no_secrets.bad_records()])
        self.world.wait_for_outcomes(sent)
        # The journal is slower than `debug = all`, and lines are dropped; without it, each is kept.
        self.rewrite(self.text)
        machine.systemctl("restart", "presignd")
        self.world.wait_for_outcomes(self.world.produce(test_no_secrets.bad_records()))
        machine.wait_for_message(" failed: invalid_json", "presignd", options=self.since)
        self.rewrite(self.text + f"[kafka.producer]\nsasl.password = {test_no_secrets.PASSWORD}\nsasl.mechanism = x\n")
        machine.systemctl("reload", "presignd", check=False)
        machine.systemctl("stop", "presignd")
        told = machine.run("journalctl", "--output=export", "--all", *self.since).stdout
        for line in ("PRIORITY=7", "PRESIGND_REASON=invalid_json"):
            self.assertTrue(line in told, f"the journal has no {line}")
        self.assertEqual({what for what, texts in secrets.items() for each in texts if each in told}, set())


class Watchdog(Replaced):
    partitions = 3
    WEDGES = {"loop": None, "signer": "a call has not ended"}

    def test_what_is_held_is_left_alone_and_named(self):
        machine.drop_in("presignd.service", "short", "[Service]\nWatchdogSec=5s\n")
        self.addCleanup(machine.drop_in, "presignd.service", "short", "")
        self.rewrite(self.text.replace("[retry]\n", "[retry]\nmax_attempts = 40\n"))
        machine.systemctl("start", "presignd")
        self.world.sandbox.terminate()
        sent = self.produce(*(f"A{n}" for n in range(30)))
        self.message("ENDPOINT_DOWN")
        machine.wait_for("presignd", StatusText=r".* waiting \(\d+ held: the endpoint is down.*\)")
        begun = machine.show("presignd", "WatchdogTimestampMonotonic")
        # Longer than the watchdog waits, as it counts: it was fed again and again.
        wait_until(lambda: int(machine.show("presignd", "WatchdogTimestampMonotonic")) > int(begun) + 12_000_000,
                   "a fed watchdog")
        self.world.start_sandbox(options=["--fault-by-code"])
        self.results(sent)
        self.assertEqual(self.restarts(), 0)

    def test_what_hangs_is_started_again(self):
        self.put("presignd-wedged")
        machine.drop_in("presignd@.service", "wedge", "[Service]\nWatchdogSec=2s\nRestartSec=500ms\n"
                        "Environment=ADMIN_LISTEN= PRESIGND_WEDGE=%i PRESIGND_WEDGE_FILE=/etc/presignd/wedge\n")
        self.addCleanup(machine.drop_in, "presignd@.service", "wedge", "")
        units = [f"presignd@{name}" for name in self.WEDGES]
        self.addCleanup(machine.systemctl, "stop", *units)
        machine.path("/etc/presignd/wedge").unlink(missing_ok=True)
        self.rewrite(self.text.replace("[endpoint]\n", "[endpoint]\ntimeout_ms = 1000\n"))
        machine.systemctl("start", *units)
        sent = [each for partition in range(3)
                for each in self.produce(*(f"A{partition}x{n}" for n in range(3)), partition=partition)]
        self.results(sent)
        machine.write("/etc/presignd/wedge", "")
        sent += [each for partition in range(3)
                 for each in self.produce(*(f"B{partition}x{n}" for n in range(3)), partition=partition)]
        for (name, why), unit in zip(self.WEDGES.items(), units):
            with self.subTest(name):
                wait_until(lambda: self.restarts(unit) > 0, f"a restart of {unit}")
                if why is not None:
                    self.assertIn(f"no progress: {why}", self.message("STUCK", unit)["MESSAGE"])
                self.assertTrue(any("Watchdog timeout" in entry["MESSAGE"] for entry in self.journal(unit)))
        machine.path("/etc/presignd/wedge").unlink()
        self.results(sent)
        for unit in units:
            machine.wait_for(unit, ActiveState="active")
        machine.systemctl("stop", *units)
        self.world.assert_audit_passes()


if __name__ == "__main__":
    test_main()
