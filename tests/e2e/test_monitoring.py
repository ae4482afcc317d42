"""What Prometheus, Grafana and people see of a running daemon: the series of /metrics, the alert
rules and the dashboard that contrib/ has for them, the status page and `presignctl status`.

Rules are tried twice: on made-up series (rule_cases.py), and on what a real daemon showed on a
good and on a bad day. A real Prometheus scrapes that daemon and answers the dashboard's queries.
promtool and prometheus are Debian's (scripts/debian-tool)."""

import hashlib
import html
import json
import os
import re
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml
from confluent_kafka import Producer

import auditor
import document
import rule_cases
from harness import ROOT, WAIT_S, World, event, http_get, wait_until
from nginx import Nginx
from prometheus import RULES, Prometheus, program, scaled

DASHBOARD = ROOT / "contrib" / "grafana" / "presignd.json"
DIRECT, HELD, PARTNER = "1900007291", "1900007292", "1900000109"
OPENID = "oPlantedOpenid0000000000042"
# Of the scrape, not of the daemon.
FOREIGN_METRICS, FOREIGN_LABELS = {"up", "ALERTS"}, {"job", "instance"}
ALERT_LABELS = {"alertname", "severity", "side", "mchid"}


def setUpModule():
    global promtool
    promtool = program("promtool")


def run_promtool(*arguments, stdin=""):
    done = subprocess.run([promtool, *map(str, arguments)], input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, f"promtool {arguments}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def rules():
    """Each as the file has it; promtool has judged it."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def dashboard_queries():
    """(where, expression, legend) of everything that the dashboard asks Prometheus."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"], target.get("legendFormat", "")
    for note in dashboard["annotations"]["list"]:
        yield note["name"], note["expr"], note["titleFormat"]
    for variable in dashboard["templating"]["list"]:
        asked = re.match(r"label_values\((.*), (\w+)\)$", variable["query"]["query"]) \
            if isinstance(variable["query"], dict) else None
        if asked:
            yield variable["name"], asked[1], f"{{{{{asked[2]}}}}}"


def without_variables(expr, rate_interval="5m"):
    return expr.replace("$__rate_interval", rate_interval).replace("$job", ".*").replace("$instance", ".*")


class Series:
    """The samples of a scrape: {name: [labels, …]}, and each with its value as text."""

    def __init__(self, text):
        self.text = text
        self.samples = []
        for line in text.splitlines():
            if line and line[0] != "#":
                series, value = line.rsplit(" ", 1)
                self.samples.append((series, value))
        self.labels = {}
        for series, _ in self.samples:
            name, _, labels = series.partition("{")
            self.labels.setdefault(name, []).append(dict(re.findall(r'(\w+)="([^"]*)"', labels)))

    def missing(self, expr, legend=""):
        """What the expression names and the scrape has not, a text each."""
        used = FOREIGN_LABELS | ALERT_LABELS
        for name, matchers in re.findall(r"\b((?:presignd|process)_\w+|up\b)(\{[^}]*\})?", expr):
            if name in FOREIGN_METRICS:
                continue
            if name not in self.labels:
                yield f"no metric {name}"
                continue
            used |= {label for each in self.labels[name] for label in each}
            wanted = re.findall(r'(\w+)(=~|=|!=)"([^"]*)"', matchers)
            exact = {label: value for label, how, value in wanted
                     if how == "=" and label not in FOREIGN_LABELS}
            if not any(exact.items() <= each.items() for each in self.labels[name]):
                yield f"no series {name}{exact}"
        by = [label.strip() for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", expr) for label in group.split(",")]
        for label in by + re.findall(r"{{(\w+)}}", legend):
            if label not in used:
                yield f"no label {label}"


class Rules(unittest.TestCase):
    """What needs no daemon."""

    def test_are_well_formed(self):
        self.assertIn(f"{len(rules())} rules found", run_promtool("check", "rules", RULES))

    def test_scaled_copies_are_well_formed(self):
        path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "rules.yml"
        path.write_text(scaled(RULES.read_text(), 60))
        run_promtool("check", "rules", path)
        self.assertIn("[15000ms]", path.read_text())
        self.assertIn("presignd_oldest_event_seconds > 15 * 1", path.read_text())

    def test_each_fires_when_it_should_and_stays_quiet(self):
        path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "test.yml"
        path.write_text(rule_cases.document(RULES))
        run_promtool("test", "rules", path)

    def test_the_query_of_the_move_names_merchants_whose_certificates_can_go(self):
        """docs/operations.md: of 1 alone; 2 had an answer by a certificate five days ago, 3 is known for six days."""
        (expr,) = re.findall(r"```promql\n(.*?)```", document.text("operations.md"), re.DOTALL)
        def series(mchid, kind, values):
            return {"series": f'presignd_answers_verified_total{{mchid="{mchid}",kind="{kind}"}}', "values": values}
        day = 24
        moved = [series("1", "certificate", f"5x{10 * day}"), series("2", "certificate", f"5x{5 * day} 6x{5 * day}"),
                 series("3", "certificate", f"_x{4 * day} 0x{6 * day}")]
        moved += [series(mchid, "public_key", f"0+1x{10 * day}") for mchid in "12"]
        moved += [series("3", "public_key", f"_x{4 * day} 0+1x{6 * day}")]
        test = {"evaluation_interval": "1h", "tests": [{"interval": "1h", "input_series": moved, "promql_expr_test": [
            {"expr": expr, "eval_time": f"{10 * day}h", "exp_samples": [{"labels": '{mchid="1"}', "value": 0}]}]}]}
        path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "test.yml"
        path.write_text(json.dumps(test))
        run_promtool("test", "rules", path)

    def test_each_has_a_case_with_its_metrics(self):
        """A series that is missing would keep an alert quiet for no reason."""
        found = {(rule["alert"], rule["labels"]["severity"]): rule["expr"] for rule in rules()}
        self.assertEqual(len(found), len(rules()))
        self.assertEqual({(case["alert"], case["severity"]) for case in rule_cases.CASES}, set(found))
        for case in rule_cases.CASES:
            expr = rule_cases.needed(found[case["alert"], case["severity"]])
            for part in ("fires", "quiet"):
                with self.subTest(case["alert"], part=part):
                    self.assertLessEqual(rule_cases.metrics(expr), rule_cases.metrics(" ".join(case[part])))

    def test_each_says_who_acts_and_names_its_runbook(self):
        for rule in rules():
            with self.subTest(rule["alert"]):
                self.assertIn(rule["labels"]["severity"], ("critical", "warning"))
                self.assertIn(rule["labels"]["side"], ("operator", "sender", "wechatpay"))
                self.assertEqual(rule["annotations"]["runbook"], f"docs/operations.md#{rule['alert'].lower()}")

    def test_dashboard_is_sound(self):
        dashboard = json.loads(DASHBOARD.read_text())
        ids = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        taken = set()
        for panel in dashboard["panels"]:
            at = panel["gridPos"]
            self.assertLessEqual(at["x"] + at["w"], 24, panel["title"])
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            self.assertFalse(cells & taken, f"{panel['title']} lies on another")
            taken |= cells

    def test_queries_are_well_formed(self):
        """As recording rules, which promtool parses."""
        lines = "".join(f"  - record: query_{n}\n    expr: {json.dumps(without_variables(expr))}\n"
                        for n, (_, expr, _) in enumerate(dashboard_queries()))
        path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "queries.yml"
        path.write_text(f"groups:\n- name: dashboard\n  rules:\n{lines}")
        run_promtool("check", "rules", path)


class Monitored(unittest.TestCase):
    """One daemon over a good and a bad day; each test looks at what was seen of it."""

    @classmethod
    def setUpClass(cls):
        cls.world = World(partitions=2)
        cls.enterClassContext(cls.world)
        merchants = [f"--merchant={mchid}:direct" for mchid in (DIRECT, HELD)]
        sandbox = cls.world.start_sandbox(
            options=["--fault-by-code", "--serial-mode", "both", "--schema-dir", ROOT / "schemas", *merchants, f"--merchant={PARTNER}:partner"])
        cls.sets = [f"merchant {PARTNER}.platform_certificates={sandbox.directory}/wechatpay-certificate.pem",
                    f"merchant {DIRECT}.platform_certificates=auto",
                    f"merchant {DIRECT}.apiv3_key={sandbox.directory}/apiv3-{DIRECT}.key",
                    f"daemon.state_dir={cls.world.directory}/state",
                    f"daemon.control_socket={cls.world.directory}/control.sock",
                    "retry.hold_unauthorized_ms=3600000", "retry.base_delay_ms=200"]
        (cls.world.directory / "state").mkdir()
        cls.daemon = cls.world.start_daemon(sets=cls.sets)
        cls.prometheus = cls.enterClassContext(Prometheus(cls.world.directory, [cls.daemon.admin], scale=60))
        cls.planned_restart()
        cls.good_day()
        cls.bad_day()

    @classmethod
    def planned_restart(cls):
        cls.prometheus.wait_for("presignd_ready == 1")
        assert cls.daemon.terminate() == 0
        before = len(cls.daemon.log_text())
        cls.daemon = cls.world.start_daemon(sets=cls.sets)
        cls.log_of_today = lambda: cls.daemon.log_text()[before:]

    @classmethod
    def page(cls, path):
        status, text = http_get(cls.daemon.admin + path)
        assert status == 200, f"{path} answered {status}"
        return text

    @classmethod
    def status(cls):
        return json.loads(cls.page("/status.json"))

    @classmethod
    def good_day(cls):
        events = [event("app", f"A{n}", mchid=DIRECT) for n in range(25)]
        events += [event("partner-mini-program", f"P{n}", mchid=PARTNER, data={"sp_openid": OPENID})
                   for n in range(25)]
        cls.world.wait_for_outcomes(cls.world.produce([*events, (b"k", b"{", [])]))
        cls.produce_in_transaction(event("app", "F503x1a", mchid=DIRECT))
        wait_until(lambda: cls.status()["work"]["records"] == 52, "the last event")
        wait_until(lambda: cls.status()["work"]["lag_records"] == 0, "no lag")
        wait_until(lambda: cls.status()["kafka"]["brokers_up"], "the first statistics of a Kafka client")
        cls.good = Series(cls.page("/metrics"))
        cls.good_status = cls.status()
        cls.good_log = cls.log_of_today()

    @classmethod
    def produce_in_transaction(cls, sent):
        """Its marker stands behind it, and is nothing that could be waited for."""
        key, value, headers = sent
        producer = Producer({"bootstrap.servers": cls.world.kafka.bootstrap, "transactional.id": "orders", "log_level": 0})
        producer.init_transactions(WAIT_S)
        producer.begin_transaction()
        producer.produce(cls.world.topics[auditor.REQUESTS], value, key, headers=headers)
        producer.commit_transaction(WAIT_S)

    @classmethod
    def bad_day(cls):
        for n in "abc":
            cls.world.wait_for_outcomes(cls.world.produce([event("app", f"Funsignedx1{n}", mchid=DIRECT)]))
        cls.world.produce(event("app", f"F401x99h{n}", mchid=HELD) for n in "abc")
        wait_until(lambda: any("held_until" in each for each in cls.status()["merchants"]), "a merchant held")
        paused = cls.world.ctl("pause", "--control", cls.world.directory / "control.sock", "--merchant", PARTNER)
        assert paused.returncode == 0, paused.stderr
        path = cls.world.directory / "presignd-1.conf"
        path.write_text(path.read_text() + "\n[<script>]\nkey = 1\n[colours]\n")
        cls.daemon.signal(signal.SIGHUP)
        wait_until(lambda: "text" in cls.status()["reload"], "a reload refused")
        cls.world.sandbox.terminate()
        cls.world.produce(event("app", f"D{n}", mchid=DIRECT) for n in range(30))
        wait_until(lambda: not cls.status()["process"]["ready"], "the endpoint down")
        cls.bad = Series(cls.page("/metrics"))
        cls.bad_status = cls.status()
        cls.bad_page = cls.page("/status")

    # ---- metrics

    def test_prometheus_on_another_host_scrapes_through_nginx(self):
        """By the blocks of docs/operations.md; the admin listener stays on loopback."""
        room, sandbox = self.world.directory / "elsewhere", self.world.sandbox.directory
        room.mkdir()
        (room / "systemd-ask-password").write_text("#!/bin/sh\necho nginx-pass-4711\n")
        (room / "systemd-ask-password").chmod(0o755)
        (room / "presignd-password").write_text("nginx-pass-4711")
        here = {"/etc/nginx/presignd.pem": sandbox / "server.pem", "/etc/nginx/presignd.key": sandbox / "server-key.pem",
                "/etc/nginx/presignd.users": room / "users", "http://127.0.0.1:9464": self.daemon.admin,
                "/etc/prometheus/presignd-password": room / "presignd-password",
                "/etc/prometheus/presignd-ca.pem": sandbox / "ca.pem", ', "host-2:9465"': "", "-g www-data ": ""}
        def block(mark, **more):
            text = document.block("operations.md", mark)
            for old, new in {**here, **more}.items():
                text = text.replace(old, str(new))
            return text
        subprocess.run(["sh", "-ec", block("nginx-user")], check=True,
                       env={**os.environ, "PATH": f"{room}:{os.environ['PATH']}"})
        nginx = Nginx(self.world, server=lambda port: block("nginx").replace("9465", f"127.0.0.1:{port}"))
        self.addCleanup(nginx.terminate)
        scrape = yaml.safe_load(block("scrape").replace("host-1:9465", f"127.0.0.1:{nginx.port}"))["scrape_configs"]
        with Prometheus(room, [], scrape=scrape) as prometheus:
            prometheus.wait_for('up{job="presignd"} == 1 and on() presignd_build_info')
        def answer(path, *options):
            return subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", sandbox / "ca.pem",
                                   *options, nginx.url + path], capture_output=True, text=True).stdout
        self.assertEqual(answer("/metrics"), "401")
        self.assertEqual(answer("/metrics", "-u", "prometheus:nginx-pass-4711"), "200")
        self.assertEqual(answer("/status", "-u", "prometheus:nginx-pass-4711"), "404")

    def test_metrics_are_as_prometheus_wants_them(self):
        for series in (self.good, self.bad):
            self.assertEqual(run_promtool("check", "metrics", stdin=series.text), "")

    def test_rules_and_dashboard_name_what_is_there(self):
        asked = [(rule["alert"], rule["expr"], "") for rule in rules()] + list(dashboard_queries())
        self.assertGreater(len(asked), 50)
        self.assertEqual([f"{where}: {lack}" for where, expr, legend in asked
                          for lack in self.good.missing(expr, legend)], [])

    def test_the_dashboard_shows_something_in_each_panel(self):
        """Its queries, asked of a Prometheus that has scraped this day."""
        self.prometheus.wait_for('ALERTS{alertname="PresigndEndpointDown",alertstate="firing"}')
        empty = []
        for where, expr, _ in dashboard_queries():
            expr = without_variables(expr, "15s")
            if not self.prometheus.seen(expr):
                empty.append(f"{where}: {expr}")
        self.assertEqual(empty, [])

    def test_the_dashboard_shows_what_signs_and_what_verifies(self):
        asked = rule_cases.metrics(" ".join(expr for _, expr, _ in dashboard_queries()))
        self.assertLessEqual({"presignd_signatures_total", "presignd_answers_verified_total",
                              "presignd_certificate_refreshes_total", "presignd_certificate_list_timestamp_seconds",
                              "presignd_certificate_expiry_timestamp_seconds"}, asked)

    def test_a_name_that_is_not_there_is_found(self):
        lacks = ["presignd_nothing > 0", 'presignd_jobs{state="lost"}', "sum by (colour) (presignd_jobs)"]
        self.assertEqual([len(list(self.good.missing(expr))) for expr in lacks], [1, 1, 1])

    def fire(self, before, after, minutes):
        """The alerts that fire so long after the series changed from `before` to `after`, by promtool."""
        old, new = dict(before.samples), dict(after.samples)
        series = []
        for name in new:
            bare, _, labels = name.partition("{")
            labels = f'job="presignd",instance="a"{"," if labels else ""}{labels.rstrip("}")}'
            series.append({"series": f"{bare}{{{labels}}}",
                           "values": f"{old.get(name, '_')}x29 {new[name]}x{minutes + 10}"})
        series.append({"series": 'up{job="presignd",instance="a"}', "values": f"1x{minutes + 40}"})
        test = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [
            {"interval": "1m", "input_series": series, "promql_expr_test": [
                {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                 "eval_time": f"{30 + minutes}m", "exp_samples": [{"labels": '{none="none"}', "value": 0}]}]}]}
        path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "test.yml"
        path.write_text(json.dumps(test))  # JSON is YAML
        done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True)
        self.assertIn("got:", done.stdout + done.stderr)  # the expectation is none that can be met
        return set(re.findall(r'alertname="(\w+)"', (done.stdout + done.stderr).split("got:")[1]))

    def test_no_alert_on_a_good_day(self):
        self.assertEqual(self.fire(self.good, self.good, 60), set())

    def test_alerts_of_a_bad_day(self):
        lasting = {"PresigndEndpointDown", "PresigndMerchantHeld", "PresigndReloadFailed"}
        self.assertEqual(self.fire(self.good, self.bad, 3), lasting | {"PresigndUnverifiedAnswers", "PresigndLate"})
        self.assertEqual(self.fire(self.good, self.bad, 40),
                         lasting | {"PresigndNotReady", "PresigndHostFailing"})

    def test_a_good_day_is_quiet(self):
        lines = self.good_log.splitlines()
        self.assertEqual([line for line in lines if re.search(r" (WARN\w*|ERROR|CRIT|ALERT|EMERG) ", line)], [])
        self.assertLess(len(lines), 10, lines)  # of 52 events, one failed

    # ---- status

    def ctl(self, *arguments):
        done = self.world.ctl("status", "-c", self.world.directory / "presignd-1.conf", *arguments)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_the_status_is_what_happened(self):
        good, bad = self.good_status, self.bad_status
        self.assertEqual((good["process"]["ready"], good["process"]["state"]), (True, "ready"))
        self.assertEqual((good["work"]["succeeded"], good["work"]["failed"], good["work"]["records"]), (51, 1, 52))
        self.assertEqual([(each["reason"], each["count"]) for each in good["failures"]], [("invalid_json", 1)])
        self.assertEqual(sum(each["base_offset"] for each in good["partitions"]), 52)
        self.assertEqual([each["end"] for each in good["transactions"] if each["end"] != "committed"], [])
        self.assertEqual({each["kind"] for each in good["keys"] if "expires" in each}, {"certificate"})
        self.assertEqual((bad["process"]["ready"], bad["process"]["state"]), (False, "the endpoint is down"))
        self.assertEqual(http_get(self.daemon.admin + "/readyz"), (503, "the endpoint is down\n"))
        self.assertEqual([each["mchid"] for each in bad["merchants"] if "held_until" in each], [HELD])
        self.assertEqual(bad["work"]["held_merchants"], 3)
        self.assertEqual((bad["reload"]["applied"], bad["reload"]["text"].split(": ")[1]),
                         (False, "unknown section [<script>]"))
        self.assertEqual([each["text"].split(": ", 1)[1] for each in bad["reload_errors"]],
                         ["unknown section [<script>]", "unknown section [colours]"])
        self.assertEqual(good["reload_errors"], [])
        self.assertEqual([each["state"] for each in bad["hosts"]], ["down, probed"])
        self.assertGreater(sum(each["unfinished"] for each in bad["partitions"]), 3)

    def test_each_merchant_tells_its_serial_and_its_key(self):
        directory, config = self.world.sandbox.directory, self.world.sandbox.config.read_text()
        for each in self.good_status["merchants"]:
            mchid = each["mchid"]
            der = subprocess.run(["openssl", "pkey", "-in", directory / f"merchant-{mchid}.pem", "-pubout", "-outform",
                                  "DER"], capture_output=True, check=True).stdout
            serial = re.search(rf"\[merchant {mchid}\][^[]*?serial_no = (\w+)", config)[1]
            self.assertEqual((each["serial_no"], each["key_sha256"], each["key_from"]),
                             (serial, hashlib.sha256(der).hexdigest(), "file"))

    def test_the_terminal_shows_the_same(self):
        status, text, errors = self.ctl()
        self.assertEqual((status, errors), (75, ""))
        self.assertNotIn("\033", text)
        page = self.page("/status")
        for title in re.findall(r"<h2>(.*?)</h2>", page) + re.findall(r'<th scope="\w+"[^>]*>(.*?)</th>', page):
            self.assertIn(html.unescape(title), text)
        for word in ("the endpoint is down", "late events since the start", HELD, "unknown section [<script>]", "down, probed", "invalid_json"):
            self.assertIn(word, text)
        status, text, errors = self.ctl("--json")
        self.assertEqual((status, errors), (75, ""))
        self.assertEqual(json.loads(text).keys(), self.bad_status.keys())
        for mine, theirs in ((json.loads(text)[part], self.bad_status[part]) for part in ("process", "reload")):
            self.assertEqual(mine.keys(), theirs.keys())

    def test_colours_on_a_terminal_only(self):
        command = f"{self.world.build}/presignctl status --admin {self.daemon.admin.removeprefix('http://')}"
        for plain, environment in ((False, {"TERM": "xterm"}), (True, {"TERM": "xterm", "NO_COLOR": "1"})):
            shown = subprocess.run(["script", "-qec", command, "/dev/null"], stdin=subprocess.DEVNULL,
                                   capture_output=True, timeout=180, env={**os.environ, **environment})
            self.assertEqual(shown.returncode, 75)
            self.assertEqual(b"\033[31mthe endpoint is down\033[0m" in shown.stdout, not plain)
            self.assertEqual(b"\033" not in shown.stdout, plain)

    def test_who_cannot_be_asked(self):
        nobody = self.ctl("--admin", "unix:/nowhere/admin.sock")
        self.assertEqual((nobody[0], nobody[1]), (69, ""))
        self.assertIn("unix:/nowhere/admin.sock", nobody[2])
        self.assertEqual(self.ctl("--admin", "nonsense")[0], 69)
        self.assertEqual(self.ctl("--set", "daemon.admin_listen=")[0], 69)  # nobody is at the packaged unit's socket
        self.assertEqual(self.ctl("--set", "daemon.admin_listen=", "--set", "daemon.control_socket=")[0], 78)
        self.assertEqual(self.world.ctl("status", "-c", "/nowhere.conf").returncode, 78)

    def test_pages_hold_no_openid_and_no_key(self):
        key = (self.world.sandbox.directory / f"merchant-{DIRECT}.pem").read_text().splitlines()[1]
        for text in (self.bad_page, json.dumps(self.bad_status), self.bad.text):
            self.assertNotIn(OPENID, text)
            self.assertNotIn(key, text)


class Socket(unittest.TestCase):
    """The admin listener in the file system, through a restart after kill -9."""

    def test_a_socket_in_the_file_system(self):
        world = self.enterContext(World(partitions=1))
        world.start_sandbox()
        listen = f"unix:{world.directory}/admin.sock"

        def ready():
            return world.ctl("status", "--admin", listen, "--json").returncode == 0
        for end in ("kill", "terminate"):
            daemon = world.start_daemon(sets=[f"daemon.admin_listen={listen}"], wait=False)
            daemon.wait_until_ready(ready)
            self.assertEqual((world.directory / "admin.sock").stat().st_mode & 0o7777, 0o660)
            getattr(daemon, end)()
        self.assertFalse((world.directory / "admin.sock").exists())


if __name__ == "__main__":
    unittest.main()
