#!/usr/bin/env python3
"""Clients of WeChat Pay's API that share no code with us, against `presignctl sandbox`: wechatpayv3
(Python) and WeChat Pay's own SDK for Go, with the public key, with certificates, and with both.

usage: clients.py PRESIGNCTL python VENV_DIR [TEST ...]
       clients.py PRESIGNCTL go BUILD_DIR [TEST ...]

They sign requests that the sandbox must accept, verify its answers, and decrypt its lists of
certificates; what is spoilt on purpose they must refuse. So what our own client is tested with is what
WeChat Pay's clients take for WeChat Pay.
"""

import contextlib
import json
import os
import subprocess
import sys
import unittest
import uuid
from pathlib import Path
from unittest import mock

import sdk

if __name__ == "__main__":
    if sys.argv[2] == "python":
        sdk.enter_venv(Path(sys.argv[3]))
    os.environ["PRESIGND_BUILD_DIR"] = str(Path(sys.argv[1]).parent)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ctl"))

from test_sandbox import ENDPOINTS, Sandbox

MCHID = "1900007291"
HOST = "api.mch.weixin.qq.com"
KINDS = ("public_key", "certificates", "both")


class Refused(Exception):
    """The SDK did not take an answer."""


class Python:
    """wechatpayv3. Its connections to WeChat Pay's host go to the sandbox."""

    refreshes = True  # the list, when an answer names an unknown certificate

    def __init__(self, sandbox, stack):
        from urllib3.util import connection
        real = connection.create_connection

        def connect(address, *arguments, **options):
            assert address[0] == HOST, address
            return real(("127.0.0.1", sandbox.port), *arguments, **options)

        stack.enter_context(mock.patch.object(connection, "create_connection", connect))
        stack.enter_context(mock.patch.dict(os.environ, REQUESTS_CA_BUNDLE=str(sandbox.directory / "ca.pem")))

    def open(self, serial_no, private_key, apiv3_key, public_key_id=None, public_key=None):
        from wechatpayv3.core import Core
        with self.refusing():
            self.core = Core(MCHID, serial_no, private_key, apiv3_key or "0" * 32, public_key=public_key,
                             public_key_id=public_key_id)

    @contextlib.contextmanager
    def refusing(self):
        try:
            yield
        except Exception as error:
            raise Refused(error) from error

    def download(self):
        from cryptography.hazmat.primitives.serialization import Encoding
        with self.refusing():
            self.core._update_certificates()
        return {f"{each.serial_number:X}": each.public_bytes(Encoding.PEM).decode()
                for each in self.core._certificates}

    def call(self, path, body):
        from wechatpayv3.type import RequestType
        with self.refusing():
            return self.core.request(path, RequestType.POST, data=body)


class Go:
    """WeChat Pay's SDK for Go (go/main.go)."""

    refreshes = False
    program = None

    def __init__(self, sandbox, stack):
        self.process = stack.enter_context(subprocess.Popen(
            [self.program, sandbox.directory / "ca.pem", f"127.0.0.1:{sandbox.port}"], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        stack.callback(self.process.stdin.close)

    def ask(self, **line):
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    def open(self, serial_no, private_key, apiv3_key, public_key_id=None, public_key=None):
        self.ask(op="open", mchid=MCHID, serial_no=serial_no, private_key=private_key, apiv3_key=apiv3_key or "",
                 public_key_id=public_key_id or "", public_key=public_key or "")

    def download(self):
        return self.ask(op="download")["certificates"]

    def call(self, path, body):
        answer = self.ask(op="call", path=path, body=body)
        return answer["status"], answer["body"]


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sandbox = cls.enterClassContext(Sandbox("--name", HOST))
        cls.serials = {item["number"]: item["serial_no"] for item in
                       cls.sandbox.set(listed=[1, 2, 3])["certificates"]}

    def setUp(self):
        self.set(serial_mode="certificate", listed=[1], signs=1, list="", calls="", accepted=[1])
        self.client = SDK(self.sandbox, self.enterContext(contextlib.ExitStack()))

    def set(self, **change):
        return self.sandbox.set(mchid=MCHID, **change)

    def text(self, name):
        return (self.sandbox.directory / name).read_text()

    def open(self, kind, **changes):
        merchant = self.sandbox.merchant(MCHID)
        keys = {"serial_no": merchant["serial_no"], "private_key": self.text(f"merchant-{MCHID}.pem"),
                "apiv3_key": None if kind == "public_key" else self.text(f"apiv3-{MCHID}.key")}
        if kind != "certificates":
            keys |= {"public_key_id": merchant["wechatpay_public_key_id"],
                     "public_key": self.text(f"wechatpay-{MCHID}.pem")}
        self.client.open(**{**keys, **changes})

    def call(self):
        path, sample, fields = ENDPOINTS["mini-program"]
        return self.client.call(path, {**sample, "out_contract_code": uuid.uuid4().hex})

    def last_call(self):
        return [line for line in self.sandbox.ledger() if line.get("endpoint") == "mini-program"][-1]

    def assert_good(self, serial=None):
        status, body = self.call()
        line = self.last_call()
        self.assertEqual((status, line["status"], json.loads(body)["pre_entrustweb_id"]), (200, 200, line["issued_id"]))
        if serial:
            self.assertEqual(line["serial"], serial)

    def assert_refused(self):
        with self.assertRaises(Refused):
            self.call()
        self.assertEqual(self.last_call()["status"], 200)

    def test_the_public_key(self):
        self.set(serial_mode="public-key")
        self.open("public_key")
        self.assert_good(self.sandbox.merchant(MCHID)["wechatpay_public_key_id"])

    def test_certificates_and_their_rotation(self):
        self.open("certificates")
        self.assert_good(self.serials[1])
        self.set(listed=[1, 2])
        self.assertEqual(self.client.download(), {
            self.serials[1]: self.text("wechatpay-certificate.pem"),
            self.serials[2]: self.text("wechatpay-certificate-2.pem")})
        self.set(signs=2)
        self.assert_good(self.serials[2])
        self.set(listed=[2])
        self.assertEqual([*self.client.download()], [self.serials[2]])
        self.assert_good(self.serials[2])

    def test_a_missed_switch(self):
        self.open("certificates")
        self.assert_good(self.serials[1])
        self.set(listed=[3], signs=3)
        if not self.client.refreshes:
            self.assert_refused()
            with self.assertRaises(Refused):  # it verifies the list by the keys that it has
                self.client.download()
            self.open("certificates")
        self.assert_good(self.serials[3])

    def test_the_move(self):
        """With both kinds, whichever signs; the SDKs ask for the public key, as we do."""
        self.open("both")
        for mode in ("certificate", "both", "public-key", "both", "certificate"):
            with self.subTest(mode):
                self.set(serial_mode=mode)
                self.assert_good(self.serials[1] if mode == "certificate"
                                 else self.sandbox.merchant(MCHID)["wechatpay_public_key_id"])
                self.assertEqual(self.last_call()["asked_serial"],
                                 self.sandbox.merchant(MCHID)["wechatpay_public_key_id"])

    def test_answers_that_do_not_verify(self):
        for kind, mode in (("certificates", "certificate"), ("public_key", "public-key")):
            self.set(serial_mode=mode)
            self.open(kind)
            for calls in ("bad-signature", "unsigned", "signature-test"):
                with self.subTest(kind=kind, calls=calls):
                    self.set(calls=calls)
                    self.assert_refused()
            self.set(calls="")
            self.assert_good()

    def test_another_apiv3_key(self):
        with self.assertRaises(Refused):
            self.open("certificates", apiv3_key="0123456789abcdef0123456789abcdef")
        self.set(apiv3_key="0123456789abcdef0123456789abcdef")
        self.addCleanup(self.set, apiv3_key=self.text(f"apiv3-{MCHID}.key"))
        self.open("certificates", apiv3_key="0123456789abcdef0123456789abcdef")
        self.assert_good(self.serials[1])

    def test_a_merchant_without_certificates(self):
        for fault in ("404", "500"):
            self.set(list=fault)
            with self.assertRaises(Refused):
                self.open("certificates")

    def test_the_merchants_next_certificate(self):
        state = self.sandbox.send("/sandbox", None, {}, "GET").json
        own = {item["number"]: item for merchant in state["merchants"] if merchant["mchid"] == MCHID
               for item in merchant["merchant_certificates"]}
        if 2 not in own:
            state = self.set(merchant_certificate={"number": 2}, accepted=[1, 2])
            own = {item["number"]: item for merchant in state["merchants"] if merchant["mchid"] == MCHID
                   for item in merchant["merchant_certificates"]}
        self.set(accepted=[2])
        with self.assertRaises(Refused):
            self.open("certificates")
        self.open("certificates", serial_no=own[2]["serial_no"], private_key=self.text(own[2]["key_file"]))
        self.assert_good(self.serials[1])


if __name__ == "__main__":
    if sys.argv[2] == "go":
        Go.program = sdk.go_client(Path(sys.argv[3]))
    SDK = {"python": Python, "go": Go}[sys.argv[2]]
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
