#!/usr/bin/env python3
"""`presignctl call` against server.py, which shares no code with us: it verifies our requests and signs
its answers by the public key or by certificates.

usage: calls.py PRESIGNCTL VENV_DIR [TEST ...]
"""

import json
import subprocess
import sys
import tempfile
import unittest
import uuid
from pathlib import Path

import sdk

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 180
DATA = json.loads((ROOT / "schemas/app.request.json").read_text(encoding="utf-8"))["examples"][0]


class Calls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        try:
            cls.server = sdk.Server(VENV, cls.directory)
        except sdk.Missing as missing:
            print(missing.args[0])
            sys.exit(missing.args[1])
        cls.addClassCleanup(cls.server.close)

    def setUp(self):
        self.server.set(mode="certificate", listed=[1], signs=1)

    def run_ctl(self, *arguments, kinds, keys=None, stdin=""):
        sections = {"daemon": {"instance": "tests-1", "requests_topic": "a", "results_topic": "b",
                               "failures_topic": "c", "schema_dir": ROOT / "schemas"},
                    "kafka": {"bootstrap.servers": "127.0.0.1:9", "group.id": "g"},
                    "retry": {"base_delay_ms": 10, "max_delay_ms": 20, "max_attempts": 3},
                    "endpoint": {"base_url": self.server.url, "backup_url": ""},
                    f"merchant {self.server.MCHID}": {**self.server.merchant(*kinds), **(keys or {})}}
        config = self.directory / "presignd.conf"
        config.write_text("".join(f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
                                  for name, values in sections.items()))
        return subprocess.run([PROGRAM, *arguments, "-c", config], input=stdin, capture_output=True, text=True,
                              timeout=WAIT_S)

    def call(self, *kinds, keys=None):
        """The outcome's data, and the requests that the call led to."""
        before = len(self.server.requests())
        event = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "/tests",
                 "type": "wechatpay.presign.app.requested",
                 "data": {**DATA, "out_contract_code": uuid.uuid4().hex}}
        done = self.run_ctl("call", kinds=kinds, keys=keys, stdin=json.dumps(event, ensure_ascii=False))
        self.assertTrue(done.stdout, done.stderr)
        requests = self.server.requests()[before:]
        self.assertTrue(all(request["verified"] for request in requests), requests)
        return json.loads(done.stdout)["data"], requests

    def assert_result(self, *kinds, serial, asked=None):
        data, requests = self.call(*kinds)
        last = requests[-1]
        self.assertEqual((data.get("pre_entrustweb_id"), data.get("response", {}).get("提示")),
                         (last["id"], "独立实现"), data)
        self.assertEqual((last["serial"], last["asked_serial"]), (serial, asked))

    def test_by_the_public_key(self):
        self.server.set(mode="public-key")
        self.assert_result("public_key", serial=self.server.public_key_id, asked=self.server.public_key_id)

    def test_by_a_certificate(self):
        self.assert_result("certificates", serial=self.server.serials["1"])

    def test_by_a_certificate_whose_serial_has_an_odd_number_of_digits(self):
        self.server.set(listed=[2], signs=2)
        self.assertEqual(len(self.server.serials["2"]), 39)
        data, requests = self.call("certificates", keys={
            "platform_certificates": self.directory / "platform-2.pem"})
        self.assertEqual((data.get("pre_entrustweb_id"), requests[-1]["serial"]),
                         (requests[-1]["id"], self.server.serials["2"]), data)

    def test_by_the_list(self):
        self.server.set(listed=[1, 2], signs=2)
        data, requests = self.call("auto")
        self.assertEqual([request["path"] for request in requests][:1], ["/v3/certificates"])
        self.assertEqual((data.get("pre_entrustweb_id"), requests[-1]["serial"]),
                         (requests[-1]["id"], self.server.serials["2"]), data)

    def test_the_move(self):
        for mode in ("certificate", "both", "public-key"):
            with self.subTest(mode):
                self.server.set(mode=mode)
                self.assert_result("certificates", "public_key", asked=self.server.public_key_id,
                                   serial=self.server.serials["1"] if mode == "certificate"
                                   else self.server.public_key_id)

    def test_keys_that_do_not_verify(self):
        self.server.set(signs=2)
        data, requests = self.call("certificates")
        self.assertEqual((data["reason"], data["retryable"]), ("unverified_answer", True))
        self.assertEqual({request["serial"] for request in requests}, {self.server.serials["2"]})
        self.server.set(mode="public-key")
        self.assertEqual(self.call("certificates")[0]["reason"], "unverified_answer")
        self.server.set(mode="certificate")
        self.assertEqual(self.call("public_key")[0]["reason"], "unverified_answer")


if __name__ == "__main__":
    PROGRAM, VENV = sys.argv[1], sys.argv[2]
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
