"""A real Prometheus, Debian's, that scrapes daemons on this machine and evaluates the alert rules.

    with Prometheus(directory, [daemon.admin], scale=60) as prometheus:
        prometheus.wait_for("up == 1")
        prometheus.first_fired("PresigndMerchantHeld")

Tests have no hours, so time is compressed: `scaled()` divides each window, each `for` and each number
of seconds of the rules by a factor. Counts and ratios stay. Scrapes are as much closer together.
"""

import json
import os
import re
import signal
import subprocess
import time
import unittest
import urllib.parse
from pathlib import Path

import yaml

from harness import WAIT_S, Program, http_get, wait_until
from kafka_broker import ROOT, free_ports

RULES = ROOT / "contrib" / "prometheus" / "presignd.rules.yml"
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def program(name):
    """The path of Debian's promtool or prometheus. Without, the tests of a module are skipped, or fail
    where everything has to run."""
    found = subprocess.run([ROOT / "scripts" / "debian-tool", name, name, "prometheus"], capture_output=True, text=True)
    if found.returncode != 0 and not os.environ.get("PRESIGND_REQUIRE_SUITES"):
        raise unittest.SkipTest(f"NO {name.upper()}: monitoring is not tested: {found.stderr.strip()}")
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def duration(text, scale=1):
    """Of Prometheus, as "1h30m", divided; at least a millisecond."""
    seconds = sum(int(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhd])", text))
    return f"{max(round(seconds * 1000 / scale), 1)}ms"


def scaled(text, scale, unscaled=False):
    """The rules with each time divided by `scale`. Seconds in an expression are written N * 60 or
    N * 3600, and only those are times: others are a clock's, which no test makes faster. With
    `unscaled` there is a second copy of each as it is, with the label time="real"."""
    document = yaml.safe_load(text)
    real = [{**rule, "labels": {**rule["labels"], "time": "real"}}
            for group in document["groups"] for rule in group["rules"]]
    for rule in (rule for group in document["groups"] for rule in group["rules"]):
        expr = re.sub(r"\[(\w+)\]", lambda found: f"[{duration(found[1], scale)}]", rule["expr"])
        rule["expr"] = re.sub(r"\* (60|3600)\b", lambda found: f"* {int(found[1]) / scale:g}", expr)
        if "for" in rule:
            rule["for"] = duration(rule["for"], scale)
    if unscaled:
        document["groups"].append({"name": "unscaled", "rules": real})
    return json.dumps(document)


class Prometheus(Program):
    """Scrapes `targets` (addresses of admin listeners) every `interval_ms` as job "presignd"; or what
    `scrape`, a list of scrape_configs, says."""

    def __init__(self, directory, targets, scale=1, interval_ms=1000, unscaled=False, scrape=None):
        self.directory = Path(directory) / ("scrape" if scrape else "prometheus")
        self.directory.mkdir()
        self.scale = scale
        self.interval_s = interval_ms / 1000
        port = free_ports(1)[0]
        self.address = f"http://127.0.0.1:{port}"
        (self.directory / "rules.yml").write_text(scaled(RULES.read_text(), scale, unscaled))
        interval = f"{interval_ms}ms"
        (self.directory / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": ["rules.yml"],
            "scrape_configs": scrape or [{"job_name": "presignd", "static_configs": [
                {"targets": [target.removeprefix("http://") for target in targets]}]}]}))
        super().__init__("prometheus", [
            program("prometheus"), f"--config.file={self.directory}/prometheus.yml",
            f"--storage.tsdb.path={self.directory}/data", f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"],
            self.directory / "prometheus.log")
        self.wait_until_ready(lambda: http_get(f"{self.address}/-/ready")[0] == 200)
        self.began = time.time()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.running:
            self.signal(signal.SIGKILL)
            self.process.wait()

    def _ask(self, path, **parameters):
        status, text = http_get(f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        assert status == 200, f"{parameters}: {status} {text}"
        return json.loads(text)["data"]["result"]

    def query(self, expr):
        """[(labels, value)] now."""
        return [(each["metric"], float(each["value"][1])) for each in self._ask("query", query=expr)]

    def seen(self, expr, since=None):
        """[(labels, [(time, value)])] of an expression at each scrape since `since` (default: the start)."""
        found = self._ask("query_range", query=expr, start=since or self.began, end=time.time(), step=self.interval_s)
        return [(each["metric"], [(at, float(value)) for at, value in each["values"]]) for each in found]

    def wait_for(self, expr, timeout_s=WAIT_S):
        return wait_until(lambda: self.query(expr), f"in Prometheus: {expr}", timeout_s, 0.1)

    def fired(self, since=None, matchers='time=""'):
        """{(alert, severity): the time at which it first fired} since `since`."""
        first = {}
        for labels, values in self.seen(f'ALERTS{{alertstate="firing",{matchers}}}', since):
            key = labels["alertname"], labels["severity"]
            first[key] = min(values[0][0], first.get(key, values[0][0]))
        return first
