"""What an operator does to presignd and sees of it: configuration, signals, outages, pages."""

import json
import os
import re
import signal
import socket
import subprocess
import unittest

from harness import ROOT, World, event, http_get, render_config, wait_until
from kafka_broker import Cluster, dying_with_us, free_ports

DIRECT, DIRECT_2, PARTNER = "1900007291", "1900007292", "1900000109"
EX_OK, EX_USAGE, EX_UNAVAILABLE, EX_TEMPFAIL, EX_CONFIG = 0, 64, 69, 75, 78
MERCHANTS = [option for mchid in (DIRECT, DIRECT_2) for option in ("--merchant", f"{mchid}:direct")]
OPTIONS = ["--fault-by-code", "--schema-dir", ROOT / "schemas", *MERCHANTS, "--merchant", f"{PARTNER}:partner"]


def setUpModule():
    global kafka
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)


def app(code=None, mchid=DIRECT, **more):
    return event("app", code, mchid=mchid, **more)


class Operated(unittest.TestCase):
    """A World of its own for each test, on the broker of this file, with a sandbox."""

    faults, options = (), ()

    def setUp(self):
        self.world = World(partitions=2, kafka=kafka)
        self.enterContext(self.world)
        self.sandbox(*self.options, faults=self.faults)

    def sandbox(self, *options, faults=()):
        return self.world.start_sandbox(faults, [*OPTIONS, *options])

    def calls(self):
        return self.world.sandbox.ledger()

    def wait_for_calls(self, count):
        wait_until(lambda: len(self.calls()) >= count, lambda: f"{count} calls, there are {len(self.calls())}")

    def results(self, ids):
        outcomes = self.world.wait_for_outcomes(ids)
        self.assertEqual({outcome.reason for outcome in outcomes.values()}, {None},
                         [outcome.data.get("message") for outcome in outcomes.values()])
        return outcomes


class Configuration(unittest.TestCase):
    """--check, and the start that fails; no broker is needed."""

    def setUp(self):
        self.world = World(kafka=kafka)
        self.addCleanup(self.world.close)
        self.world.start_sandbox(options=OPTIONS)

    def presignd(self, path, *arguments, environment=None):
        return subprocess.run([self.world.build / "presignd", "-c", path, *arguments], text=True, timeout=180,
                              capture_output=True, env=environment or {})

    def test_a_good_one_is_told(self):
        done = self.presignd(self.world.write_config(), "--check")
        self.assertEqual((done.returncode, done.stderr), (EX_OK, ""))
        for word in ("presignd-1", *self.world.topics.values(), f"https://127.0.0.1:{self.world.sandbox.port}",
                     DIRECT, DIRECT_2, PARTNER, "partner"):
            self.assertIn(word, done.stdout)

    def bad_config(self):
        path = self.world.write_config()
        path.write_text(path.read_text() + render_config({
            "merchant 5": {"mode": "direct", "serial_no": "01", "private_key": "/nowhere.pem",
                           "wechatpay_public_key_id": "PUB_KEY_ID_1", "wechatpay_public_key": "/nor.pem"},
            "daemon": {"max_in_flight": 7},
            "unheard": {"of": 1},
            "kafka.producer": {"acks": 0, "no.such.property": 1},
            "retry ": {"max_attempts": "many"}}))
        return path

    def test_a_bad_one_is_told_whole_with_file_and_line(self):
        path = self.bad_config()
        lines = path.read_text().splitlines()

        def at(text, last=True):
            numbers = [n + 1 for n, line in enumerate(lines) if line.startswith(text)]
            return f"{path}:{numbers[-1 if last else 0]}: "
        expected = [at("private_key = /nowhere") + "private_key", at("wechatpay_public_key = "),
                    at("[unheard]"), at("acks") + "acks: cannot be set", at("no.such") + "no.such.property",
                    at("[daemon]")]
        for arguments in (["--check"], []):
            with self.subTest(arguments):
                done = self.presignd(path, *arguments)
                self.assertEqual(done.returncode, EX_CONFIG)
                for each in expected:
                    self.assertIn(each, done.stderr + done.stdout)

    def test_every_key_that_cannot_be_read_is_told(self):
        path = self.world.write_config()
        text = path.read_text()
        lines = text.splitlines()
        broken = self.world.directory / "broken.pem"
        broken.write_text("no key")
        for mchid in (DIRECT, PARTNER):
            text = re.sub(rf"private_key = \S*-{mchid}.pem", f"private_key = {broken}", text)
        path.write_text(text)
        done = self.presignd(path, "--check")
        self.assertEqual(done.returncode, EX_CONFIG)
        for mchid in (DIRECT, PARTNER):
            section = lines.index(f"[merchant {mchid}]")
            line = next(n for n in range(section, len(lines)) if lines[n].startswith("private_key = ")) + 1
            self.assertIn(f"{path}:{line}: merchant {mchid}: private_key: {broken}: ", done.stderr + done.stdout)

    def test_values_on_the_command_line(self):
        path = self.world.write_config()
        for value, word in (("retry.max_attempts=0", "max_attempts"), ("daemon.instance=a b", "instance"),
                            ("endpoint.base_url=http://api.example", "base_url"), ("daemon.nonsense=1", "nonsense"),
                            ("kafka.isolation.level=read_uncommitted", "isolation.level"),
                            ("kafka.group.instance.id=x", "group.instance.id"),
                            ("daemon.schema_dir=/nowhere", "schema_dir"),
                            (f"merchant {DIRECT}.private_key=@missing", "CREDENTIALS_DIRECTORY")):
            with self.subTest(value):
                done = self.presignd(path, "--set", value, "--check")
                self.assertEqual(done.returncode, EX_CONFIG, done.stdout)
                self.assertIn(word, done.stderr + done.stdout)
        self.assertEqual(self.presignd(path, "--set", "retry.max_attempts=9", "--check").returncode, EX_OK)

    def test_files_of_the_directory_beside_it(self):
        path = self.world.write_config()
        more = path.parent / f"{path.name}.d"
        more.mkdir()
        (more / "20-bad.conf").write_text("[retry]\nmax_attempts = none\n")
        done = self.presignd(path, "--check")
        self.assertEqual(done.returncode, EX_CONFIG)
        self.assertIn(f"{more}/20-bad.conf:", done.stderr + done.stdout)

    def test_credentials(self):
        path = self.world.write_config()
        text = path.read_text()
        path.write_text(text.replace(f"private_key = {self.world.sandbox.directory}/", "private_key = @"))
        self.assertNotEqual(path.read_text(), text)
        self.assertEqual(self.presignd(path, "--check").returncode, EX_CONFIG)
        done = self.presignd(path, "--check",
                             environment={"CREDENTIALS_DIRECTORY": str(self.world.sandbox.directory)})
        self.assertEqual(done.returncode, EX_OK, done.stderr)

    def test_wrong_usage(self):
        for arguments in (["--nonsense"], ["argument"], ["--set"]):
            done = subprocess.run([self.world.build / "presignd", *arguments], capture_output=True, timeout=180)
            self.assertEqual(done.returncode, EX_USAGE, arguments)

    def test_a_signal_while_the_configuration_is_read_waits(self):
        path = self.world.directory / "presignd.fifo"
        os.mkfifo(path)
        daemon = subprocess.Popen([*dying_with_us(), self.world.build / "presignd", "-c", path], stderr=subprocess.PIPE)
        with open(path, "w") as configuration:  # opens when it reads
            daemon.send_signal(signal.SIGHUP)
            configuration.write("[nonsense]\n")
        self.assertIn(b"nonsense", daemon.communicate(timeout=180)[1])
        self.assertEqual(daemon.returncode, EX_CONFIG)


class Stopping(Operated):
    options = ("--delay-ms", "1500")

    def test_calls_in_the_air_end_and_are_published(self):
        daemon = self.world.start_daemon()
        sent = self.world.produce(app(f"A{n}") for n in range(5))
        self.wait_for_calls(5)
        self.assertEqual(daemon.terminate(), EX_OK)
        self.results(sent)
        self.assertEqual(len(self.calls()), 5)
        self.world.assert_audit_passes()

    def test_events_not_begun_are_left_to_the_next_start(self):
        self.sandbox()
        daemon = self.world.start_daemon(sets=["daemon.max_in_flight=2", "endpoint.connect_timeout_ms=60000",
                                               "endpoint.timeout_ms=60000", "daemon.drain_timeout_ms=60000"])
        self.world.sandbox.suspend()  # for a look at the daemon while it drains
        sent = self.world.produce(app(f"A{n}") for n in range(6))
        wait_until(lambda: daemon.metrics()['presignd_jobs{state="calling"}'] == 2, "two calls in flight")
        daemon.signal(signal.SIGTERM)
        daemon.wait_for_log("stopping")
        self.assertEqual(http_get(f"{daemon.admin}/readyz")[0], 503)
        self.world.sandbox.resume()
        self.assertEqual(daemon.wait(), EX_OK)
        self.assertEqual(len(self.calls()), 2)
        self.assertEqual(len(self.world.audit().outcomes), 2)
        self.sandbox()
        self.world.start_daemon()
        self.results(sent)
        self.assertEqual(len(self.calls()), 6)
        self.world.assert_audit_passes()

    def test_the_second_sigterm_stops_at_once(self):
        self.sandbox("--delay-ms", "600000")
        daemon = self.world.start_daemon()
        sent = self.world.produce([app("A1")])
        self.wait_for_calls(1)
        daemon.signal(signal.SIGTERM)
        daemon.wait_for_log("stopping")
        self.assertTrue(daemon.running)
        self.assertEqual(daemon.terminate(), EX_OK)
        self.assertEqual(self.world.audit().outcomes, [])
        self.sandbox()
        self.world.start_daemon()
        self.results(sent)
        self.assertEqual(len(self.calls()), 2)
        self.world.assert_audit_passes()

    def test_the_time_to_drain_is_bounded(self):
        self.sandbox("--delay-ms", "600000")
        daemon = self.world.start_daemon(sets=["daemon.drain_timeout_ms=100"])
        self.world.produce([app("A1")])
        self.wait_for_calls(1)
        self.assertEqual(daemon.terminate(), EX_OK)
        self.assertRegex(daemon.log_text(), "stopping with 1 calls in flight")

    def test_an_idle_daemon_stops_on_either_signal(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            daemon = self.world.start_daemon()
            daemon.signal(number)
            self.assertEqual(daemon.wait(), EX_OK)


class Reloading(Operated):
    def reload(self, daemon, text):
        """Returns what the log says of it."""
        path = self.world.directory / "presignd-1.conf"
        path.write_text(text)
        before = len(daemon.log_text())
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: "configuration is" in daemon.log_text()[before:], "a word on the reload")
        return daemon.log_text()[before:]

    def reloads(self, daemon):
        return {name.split('"')[1]: value for name, value in daemon.metrics().items()
                if name.startswith("presignd_reloads_total{")}

    def test_a_good_one_is_applied_and_a_bad_one_is_not(self):
        daemon = self.world.start_daemon()
        whole = (self.world.directory / "presignd-1.conf").read_text()
        without = re.sub(rf"\[merchant {DIRECT_2}\]\n([^\[]*\n)?", "", whole)
        self.assertNotEqual(whole, without)
        self.reload(daemon, without)
        (first,) = self.world.produce([app("A1", DIRECT_2)])
        self.assertEqual(self.world.wait_for_outcomes([first])[first].reason, "unknown_merchant")

        for text, word in ((whole + "[nonsense]\n", "unknown section"),
                           (whole.replace("instance = presignd-1", "instance = other"), "restart"),
                           (whole.replace("[kafka]\n", "[kafka]\nclient.id = other\n"), "restart"),
                           (whole.replace("base_delay_ms = 20", "base_delay_ms = x"), "base_delay_ms")):
            told = self.reload(daemon, text)
            self.assertIn("old one stays in use", told)
            self.assertIn(word, told)
        (second,) = self.world.produce([app("A2", DIRECT_2)])
        self.assertEqual(self.world.wait_for_outcomes([second])[second].reason, "unknown_merchant")

        self.reload(daemon, whole)
        self.results(self.world.produce([app("A3", DIRECT_2)]))
        self.assertEqual(self.reloads(daemon), {"applied": 2, "failed": 4})
        self.assertEqual(daemon.terminate(), EX_OK)
        self.world.assert_audit_passes()

    def test_the_admin_listener_moves_or_stays(self):
        daemon = self.world.start_daemon()
        whole = (self.world.directory / "presignd-1.conf").read_text()
        (other,) = free_ports(1)
        moved = re.sub(r"admin_listen = .*", f"admin_listen = 127.0.0.1:{other}", whole)
        with socket.create_server(("127.0.0.1", other)):
            self.assertIn(f"cannot listen on 127.0.0.1:{other}", self.reload(daemon, moved))
        self.assertEqual(http_get(f"{daemon.admin}/healthz")[0], 200)
        self.reload(daemon, moved)
        self.assertEqual(http_get(f"http://127.0.0.1:{other}/healthz")[0], 200)
        self.assertEqual(http_get(f"{daemon.admin}/healthz")[0], None)

    def test_in_the_middle_of_work(self):
        daemon = self.world.start_daemon()
        text = (self.world.directory / "presignd-1.conf").read_text()
        sent = self.world.produce(app(f"Fdelayx1p20z{n}") for n in range(300))
        for _ in range(10):
            self.reload(daemon, text)
        self.results(sent)
        self.assertEqual(len(self.calls()), 300)
        self.world.assert_audit_passes()


class Rotation(Operated):
    """serial_no and private_key of a merchant change together."""

    def setUp(self):
        super().setUp()
        self.sections = {"daemon": {"state_dir": self.world.directory / "state",
                                    "control_socket": self.world.directory / "control.sock"}}
        (self.world.directory / "state").mkdir()
        self.daemon = self.world.start_daemon(sections=self.sections)
        self.path = self.world.directory / "presignd-1.conf"
        self.whole = self.path.read_text()

    def with_pair(self, serial=False, key=False):
        """The configuration with another serial number, another key, or both, of the first merchant."""
        before, section, after = re.split(rf"(?=\[merchant {DIRECT}\])|(?=\[merchant {DIRECT_2}\])", self.whole)
        if serial:
            section = re.sub("serial_no = .*", "serial_no = 0C0FFEE0", section)
        if key:
            section = section.replace(f"merchant-{DIRECT}.pem", f"merchant-{DIRECT_2}.pem")
        return before + section + after

    def reload(self, text):
        """`presignctl reload`: its exit status, and what it prints."""
        self.path.write_text(text)
        done = self.world.ctl("reload", "-c", self.path)
        return done.returncode, done.stderr.decode()

    def line(self, text, key):
        """Of the first merchant's `key`."""
        begin = text.index(f"[merchant {DIRECT}]")
        return text[:text.index(f"\n{key} =", begin)].count("\n") + 2

    def test_a_reload_with_one_half_is_refused(self):
        for half, missing in (("serial", "private_key"), ("key", "serial_no")):
            text = self.with_pair(**{half: True})
            status, told = self.reload(text)
            self.assertEqual(status, EX_CONFIG, told)
            self.assertIn(f"{self.path}:{self.line(text, missing)}: merchant {DIRECT}: {missing}: ", told)
            self.assertIn("is the old one", told)
        self.results(self.world.produce([app("A1")]))
        self.assertEqual(self.reload(self.with_pair(serial=True, key=True))[0], EX_OK)

    def check(self, text, *options):
        self.path.write_text(text)
        done = self.world.ctl("check", "-c", self.path, *options)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_the_check_says_so_before(self):
        half = self.with_pair(serial=True)
        place = f"{self.path}:{self.line(half, 'private_key')}: merchant {DIRECT}: private_key: serial_no is new"
        status, _, told = self.check(half)
        self.assertEqual(status, EX_CONFIG)
        self.assertIn(place, told)
        status, told, _ = self.check(half, "--json")
        self.assertEqual((status, json.loads(told)["ok"]), (EX_CONFIG, False))
        self.assertEqual([each[:len(place)] for each in json.loads(told)["problems"]], [place])
        self.assertEqual(self.check(self.with_pair(serial=True, key=True))[0], EX_OK)
        self.assertEqual(self.check(half, "--set", "daemon.admin_listen=")[0], EX_CONFIG)  # over the control socket
        self.daemon.terminate()
        status, _, told = self.check(half)
        self.assertEqual(status, EX_OK)
        self.assertIn(place, told)

    def test_a_credential_that_was_replaced_needs_a_restart(self):
        self.daemon.terminate()
        keys = self.world.directory / "keys"
        keys.mkdir()
        pem = self.world.sandbox.directory / f"merchant-{DIRECT}.pem"
        (keys / pem.name).write_bytes(pem.read_bytes())
        self.sets = [f"merchant {DIRECT}.private_key=@{pem.name}"]
        self.daemon = self.world.start_daemon(sections=self.sections, sets=self.sets,
                                              environment={"CREDENTIALS_DIRECTORY": str(keys)})
        (keys / pem.name).write_bytes(pem.with_name(f"merchant-{DIRECT_2}.pem").read_bytes())
        self.path.write_text(self.with_pair(serial=True))
        done = subprocess.run([self.world.build / "presignctl", "check", "-c", self.path, "--set", *self.sets],
                              env={**os.environ, "CREDENTIALS_DIRECTORY": str(keys)}, capture_output=True, text=True)
        self.assertEqual(done.returncode, EX_OK, done.stderr)
        self.assertIn(f"merchant {DIRECT}: private_key: the daemon has another key, as a credential: a restart", done.stderr)

    def test_while_it_is_answered_401_one_half_is_enough(self):
        self.world.produce([app("F401x99A")])
        self.daemon.wait_for_log("is answered 401 and its events are held")
        self.assertEqual(self.reload(self.with_pair(key=True))[0], EX_OK)

    def test_a_start_with_one_half_warns_until_a_call_succeeds(self):
        self.daemon.terminate()
        memory = self.world.directory / "state" / "merchants.json"
        known = json.loads(memory.read_text())
        self.assertEqual({each["mchid"] for each in known}, {DIRECT, DIRECT_2, PARTNER})
        (mine,) = (each for each in known if each["mchid"] == DIRECT)
        right, mine["serial_no"] = mine["serial_no"], "0C0FFEE0"
        memory.write_text(json.dumps(known))
        self.daemon = self.world.start_daemon(sections=self.sections)
        line = self.line(self.whole, "private_key")
        self.daemon.wait_for_log(f"{re.escape(str(self.path))}:{line}: merchant {DIRECT}: private_key: serial_no is new")
        self.assertEqual(self.reload(self.whole)[0], EX_OK)
        self.results(self.world.produce([app("A1")]))
        wait_until(lambda: {"mchid": DIRECT, "serial_no": right, "key_sha256": mine["key_sha256"]}
                   in json.loads(memory.read_text()), "the pair remembered")


class Fencing(Operated):
    def test_a_second_process_of_the_instance_ends_the_first(self):
        first = self.world.start_daemon()
        sent = self.world.produce(app(f"Fdelayx1p100z{n}") for n in range(100))
        self.wait_for_calls(10)
        # By mistake, with the whole configuration of the first: it must not get as far as fencing.
        mistake = self.world.start_daemon(wait=False)
        self.assertEqual(mistake.wait(), EX_UNAVAILABLE)
        self.assertTrue(first.running)
        second = self.world.start_daemon(sets=["daemon.admin_listen="], wait=False)
        self.assertEqual(first.wait(), EX_TEMPFAIL)
        self.assertRegex(first.log_text(), "another process .*presignd-1")
        self.results(sent)
        self.assertEqual(second.terminate(), EX_OK)
        self.world.assert_audit_passes()


class Broker(unittest.TestCase):
    """On a broker of their own, which goes and comes."""

    def test_a_start_before_the_broker(self):
        with World(partitions=2) as world:
            world.start_sandbox(options=OPTIONS)
            world.kafka.kill()
            daemon = world.start_daemon(wait=False)
            wait_until(lambda: http_get(f"{daemon.admin}/healthz")[0] == 200, "healthy")

            def says_why():
                status, text = http_get(f"{daemon.admin}/readyz")
                return status == 503 and "no broker has answered" in text
            wait_until(says_why, "not ready, and why")
            self.assertTrue(daemon.running)
            world.kafka.start()
            daemon.wait_ready()
            world.wait_for_outcomes(world.produce([app("A1")]))
            self.assertEqual(daemon.terminate(), EX_OK)

    def test_a_stop_without_the_broker(self):
        with World(partitions=2) as world:
            world.start_sandbox(options=OPTIONS)
            world.kafka.kill()
            daemon = world.start_daemon(wait=False)
            wait_until(lambda: http_get(f"{daemon.admin}/healthz")[0] == 200, "healthy")
            self.assertEqual(daemon.terminate(), EX_OK)

    def test_restarts_in_the_middle_of_work(self):
        with World(partitions=2) as world:
            world.start_sandbox(options=OPTIONS)
            # A session that outlives the restarts: what was answered is published, not called again.
            daemon = world.start_daemon(sections={"kafka": {"session.timeout.ms": 30000}})
            sent = world.produce(app(f"Fdelayx1p50z{n}", key=None) for n in range(1500))
            for share in (0.1, 0.4):
                wait_until(lambda: len(world.outcomes()) >= share * len(sent), f"{share:.0%}")
                world.kafka.kill()
                world.kafka.start()
            wait_until(lambda: len(world.outcomes()) >= 0.7 * len(sent), "70%")
            world.kafka.suspend()
            world.kafka.resume()
            world.wait_for_outcomes(sent)
            self.assertTrue(daemon.running)
            self.assertEqual(daemon.terminate(), EX_OK)
            world.assert_audit_passes()
            self.assertEqual(len(world.sandbox.ledger()), 1500)


class EndpointDown(Operated):
    def test_events_wait_without_using_up_attempts(self):
        daemon = self.world.start_daemon(sets=["retry.max_attempts=40"])
        self.world.sandbox.terminate()
        sent = self.world.produce(app(f"A{n}") for n in range(60))
        wait_until(lambda: http_get(f"{daemon.admin}/readyz") == (503, "the endpoint is down\n"), "not ready")
        self.assertEqual(http_get(f"{daemon.admin}/healthz")[0], 200)
        held = wait_until(lambda: daemon.metrics()['presignd_held_events{why="endpoint_down"}'], "held events")
        self.assertLessEqual(held, 60)
        daemon.wait_for_log("the endpoint is down")
        self.sandbox()
        self.results(sent)
        daemon.wait_for_log("the endpoint answers again")
        wait_until(lambda: http_get(f"{daemon.admin}/readyz")[0] == 200, "ready again")
        self.assertEqual(len(self.calls()), 60)
        self.assertEqual(daemon.terminate(), EX_OK)

    def test_a_merchant_answered_401_is_held_and_heard_again(self):
        daemon = self.world.start_daemon(sets=["retry.hold_unauthorized_ms=40000"])
        held = self.world.produce([app("F401x2z")])
        daemon.wait_for_log(f"merchant {DIRECT} is answered 401")
        # Not before: a good answer between the two 401 would make them the event's own.
        held += self.world.produce([app("A2")])
        other = self.world.produce([app("A3", DIRECT_2)])
        self.results(other)
        self.assertEqual(http_get(f"{daemon.admin}/readyz")[0], 200)
        self.results(held)
        daemon.wait_for_log(f"merchant {DIRECT} is released")


class Pages(Operated):
    def test_metrics(self):
        daemon = self.world.start_daemon()
        good = self.world.produce(app(f"A{n}") for n in range(7))
        bad = self.world.produce([(b"k", b"{", [])] * 3 + [app("F503x2z")])
        self.world.wait_for_outcomes(good + bad)
        wait_until(lambda: daemon.metrics()['presignd_events_total{endpoint="app",outcome="succeeded"}'] == 8,
                   "eight results")
        metrics = daemon.metrics()
        host = f"127.0.0.1:{self.world.sandbox.port}"
        labels = f'endpoint="app",host="{host}"'
        expected = {'presignd_events_total{endpoint="none",outcome="failed"}': 3,
                    'presignd_failures_total{reason="invalid_json",side="sender"}': 3,
                    'presignd_failures_total{reason="unexpected_answer",side="wechatpay"}': 0,
                    f'presignd_merchant_events_total{{mchid="{DIRECT}",outcome="succeeded"}}': 8,
                    'presignd_merchant_events_total{mchid="other",outcome="failed"}': 3,
                    f'presignd_calls_total{{{labels},answer="success"}}': 8,
                    f'presignd_calls_total{{{labels},answer="http_503"}}': 2,
                    f'presignd_calls_total{{{labels},answer="timeout"}}': 0,
                    f'presignd_merchant_calls_total{{mchid="{DIRECT}",answer="success"}}': 8,
                    f'presignd_merchant_calls_total{{mchid="{DIRECT}",answer="other"}}': 2,
                    f'presignd_merchant_calls_total{{mchid="{DIRECT_2}",answer="unauthorized"}}': 0,
                    f'presignd_call_duration_seconds_count{{host="{host}"}}': 10,
                    'presignd_retries_total{reason="unavailable"}': 2,
                    "presignd_oldest_event_seconds": 0,
                    f'presignd_merchant_oldest_event_seconds{{mchid="{DIRECT}"}}': 0,
                    "presignd_slo_seconds": 10,
                    "presignd_records_total": 11, "presignd_calls_in_flight": 0,
                    "presignd_event_duration_seconds_count": 11}
        self.assertEqual({name: metrics.get(name) for name in expected}, expected)
        self.assertEqual(sum(value for name, value in metrics.items() if name.startswith("presignd_jobs{")), 0)
        signed = f'presignd_merchant_signatures_total{{mchid="{DIRECT}",serial='
        self.assertEqual(sum(value for name, value in metrics.items() if name.startswith(signed)), 10)
        # The sandbox runs on the same clock; the machine may be slow.
        self.assertLess(abs(metrics["presignd_clock_offset_seconds"]), 30)
        self.assertGreater(metrics["process_threads"], 1)
        self.assertGreater(metrics["process_virtual_memory_bytes"], metrics["process_resident_memory_bytes"])

    def test_how_an_attempt_ended_is_told_by_metrics_journal_and_failure(self):
        daemon = self.world.start_daemon(sets=["retry.base_delay_ms=10"])
        faults = {"500": "http_500", "502": "http_502", "503": "http_503", "504": "http_504", "429": "rate_limited",
                  "resetafter": "reset", "signaturetest": "sign_test"}
        self.results(self.world.produce(app(f"F{fault}x1z") for fault in faults))
        self.world.wait_for_outcomes(self.world.produce([app("F400x9z")]))
        daemon.wait_for_log("failed: rejected, attempts 1; the last one ended: rejected, 400 [A-Z_]+ .*"
                            "SIDE=sender .*STATUS=400 CODE=[A-Z_]+ ENDED=rejected")
        host, metrics = f"127.0.0.1:{self.world.sandbox.port}", daemon.metrics()
        counted = {answer: metrics[f'presignd_calls_total{{endpoint="app",host="{host}",answer="{answer}"}}']
                   for answer in [*faults.values(), "rejected", "tls", "dns", "connect"]}
        self.assertEqual(counted, dict.fromkeys(faults.values(), 1) | {"rejected": 1, "tls": 0, "dns": 0, "connect": 0})
        self.assertEqual(metrics[f'presignd_merchant_held{{mchid="{DIRECT}"}}'], 0)

    def test_events_that_wait_for_longer_than_slo_ms_are_late_and_have_an_age(self):
        daemon = self.world.start_daemon(sets=["daemon.slo_ms=500", "retry.hold_unauthorized_ms=3600000"])
        held = self.world.produce([app("F401x99z"), app("F401x99y")])
        other = self.world.produce([app("A3", DIRECT_2)])
        self.results(other)
        wait_until(lambda: daemon.metrics()["presignd_late_events_total"] >= len(held), "both are late")
        age = daemon.metrics()["presignd_oldest_event_seconds"]
        self.assertGreater(age, 0.5)
        wait_until(lambda: daemon.metrics()["presignd_oldest_event_seconds"] > age, "it grows")
        metrics = daemon.metrics()
        self.assertGreater(metrics[f'presignd_merchant_oldest_event_seconds{{mchid="{DIRECT}"}}'], age)
        self.assertEqual(metrics[f'presignd_merchant_oldest_event_seconds{{mchid="{DIRECT_2}"}}'], 0)

    def test_metrics_are_what_the_page_lists(self):
        daemon = self.world.start_daemon()
        self.world.wait_for_outcomes(self.world.produce([app("F503x1z"), (b"", b"", [])]))
        text = http_get(f"{daemon.admin}/metrics")[1]
        typed = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        listed = dict(re.findall(r"^\| `((?:presignd|process)_\w+)` \| (\w+) ", (ROOT / "docs" / "metrics.md").read_text(),
                                 re.MULTILINE))
        self.assertEqual({name: listed.get(name) for name in typed}, typed)
        self.assertGreater(len(typed), 10)
        line = re.compile(r'^[a-z_]+(\{[a-z_]+="[^"\n]*"(,[a-z_]+="[^"\n]*")*\})? [0-9.e+-]+$|^# (HELP|TYPE) \S+ .+$')
        self.assertEqual([each for each in text.splitlines() if not line.match(each)], [])

    def test_other_pages(self):
        daemon = self.world.start_daemon()
        self.assertEqual(http_get(f"{daemon.admin}/healthz"), (200, "ok\n"))
        self.assertEqual(http_get(f"{daemon.admin}/readyz"), (200, "ready\n"))
        status, page = http_get(f"{daemon.admin}/")  # leads to /status
        self.assertEqual((status, page.count("<h2>Needs you</h2>")), (200, 1))
        for page in ("/nothing", "/metrics/", "/../etc/passwd", "/" + "x" * 5000):
            self.assertIn(http_get(f"{daemon.admin}{page}")[0], (404, 414), page)

    def test_off(self):
        daemon = self.world.start_daemon(sets=["daemon.admin_listen="], wait=False)
        self.results(self.world.produce([app("A1")]))
        self.assertEqual(http_get(f"{daemon.admin}/metrics")[0], None)


class Standby(Operated):
    def test_a_daemon_without_partitions_is_ready(self):
        daemons = [self.world.start_daemon(f"presignd-{n}") for n in (1, 2, 3)]
        sent = self.world.produce(app(f"A{n}") for n in range(30))
        self.results(sent)
        self.assertEqual({http_get(f"{daemon.admin}/readyz")[0] for daemon in daemons}, {200})
        self.assertEqual({daemon.terminate() for daemon in daemons}, {EX_OK})
        self.assertEqual(len(self.calls()), 30)
        self.world.assert_audit_passes()


if __name__ == "__main__":
    unittest.main()
