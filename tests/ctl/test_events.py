"""The commands that need no broker: validate, sign, call, check."""

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import document
from children import dying_with_us

PROGRAM = Path(os.environ.get("PRESIGND_BUILD_DIR", ROOT / "build" / "dev")) / "presignctl"
VECTORS = ROOT / "tests" / "vectors"
EX_OK, EX_USAGE, EX_DATAERR, EX_UNAVAILABLE, EX_TEMPFAIL, EX_CONFIG = 0, 64, 65, 69, 75, 78
DATA = {"appid": "wxd678efh567hg6787", "plan_id": 12535, "out_contract_code": "A1",
        "contract_display_account": "微信代扣用户A", "contract_notify_url": "https://yourapp.com/notify"}


def event(data=None, **attributes):
    given = {"specversion": "1.0", "id": "1", "source": "/orders", "mchid": "1900007291",
             "type": "wechatpay.presign.app.requested", **attributes, "data": {**DATA, **(data or {})}}
    return json.dumps({name: value for name, value in given.items() if value is not None}, ensure_ascii=False)


class Ctl(unittest.TestCase):
    def setUp(self):
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="ctl-")))
        self.config = self.directory / "presignd.conf"
        key = self.directory / "merchant.pem"
        key.touch(mode=0o600)
        key.write_bytes((VECTORS / "merchant_private_key.pem").read_bytes())
        self.write_config(private_key=key,
                          wechatpay_public_key=VECTORS / "k3_wechatpay_public_key.pem")

    def write_config(self, more="", **keys):
        self.config.write_text(
            f"[daemon]\ninstance = one\nschema_dir = {ROOT}/schemas\n"
            "[kafka]\nbootstrap.servers = 127.0.0.1:1\ngroup.id = g\n"
            "[merchant 1900007291]\nmode = direct\nserial_no = 408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB\n"
            "wechatpay_public_key_id = PUB_KEY_ID_0114232134912410000000000000\n"
            + "".join(f"{name} = {value}\n" for name, value in keys.items()) + more)

    def run_ctl(self, command, *arguments, stdin=b""):
        """`stdin` is text, bytes or a file. Returns a CompletedProcess with bytes."""
        given = ({"input": stdin.encode() if isinstance(stdin, str) else stdin}
                 if isinstance(stdin, (str, bytes)) else {"stdin": stdin})
        return subprocess.run([PROGRAM, command, "-c", self.config, *map(str, arguments)],
                              capture_output=True, timeout=180, **given)

    def assert_mistake(self, done, status, text):
        self.assertEqual((done.returncode, done.stdout), (status, b""), done.stderr)
        self.assertIn(text, done.stderr.decode())


class Validate(Ctl):
    def setUp(self):
        super().setUp()
        # Validation needs no keys.
        self.write_config(private_key="/nowhere", wechatpay_public_key="/nowhere")

    def verdicts(self, lines, *arguments):
        done = self.run_ctl("validate", *arguments, stdin=lines)
        return done.returncode, [json.loads(line) for line in done.stdout.decode().splitlines()]

    def test_as_an_order_service_runs_it(self):
        """The commands of docs/consumers.md, which need no other configuration than the merchant."""
        commands = document.block("consumers.md", "validate").replace(
            "presignctl validate", f"{PROGRAM} validate --set daemon.schema_dir={ROOT}/schemas")
        for lines, status, outcome in (([event()], EX_OK, "call"), ([event({"plan_id": None})], EX_DATAERR, "failure")):
            (self.directory / "events.jsonl").write_text("\n".join(lines))
            done = subprocess.run(["bash", "-eu", "-c", commands], cwd=self.directory, capture_output=True, timeout=180)
            self.assertEqual((done.returncode, json.loads(done.stdout)["outcome"]), (status, outcome), done.stderr)

    def test_one_verdict_per_line_in_the_order_of_the_input(self):
        lines = [event(), "", " \t\r", event({"plan_id": "1"}), "{", event(mchid="5"), event(type="a.b"), event(id=""),
                 event(data={"contract_display_account": "😀"}), event()]
        status, verdicts = self.verdicts("\n".join(lines))  # without a newline at the end
        self.assertEqual(status, EX_DATAERR)
        self.assertEqual([verdict.get("reason", verdict["outcome"]) for verdict in verdicts],
                         ["call", "invalid_request", "invalid_json", "unknown_merchant",
                          "unknown_type", "invalid_cloudevent", "invalid_request", "call"])
        self.assertEqual(verdicts[0], {
            "outcome": "call", "endpoint": "app", "mchid": "1900007291",
            "body": json.dumps(DATA, ensure_ascii=False, separators=(",", ":"))})
        self.assertEqual(verdicts[1], {
            "outcome": "failure", "reason": "invalid_request", "endpoint": "app",
            "message": "data does not match app.request.json",
            "errors": [{"instanceLocation": "/plan_id", "keywordLocation": "/properties/plan_id/type",
                        "error": "is a string, must be an integer"}]})
        self.assertEqual((verdicts[2]["errors"], "endpoint" in verdicts[2]), ([], False))

    def test_a_merchant_needs_its_number_and_mode_alone(self):
        self.config.write_text(f"[daemon]\nschema_dir = {ROOT}/schemas\n[merchant 1900007291]\nmode = direct\n")
        self.assertEqual(self.verdicts(event())[0], EX_OK)

    def test_an_event_of_several_lines_is_told_once(self):
        pretty = json.dumps(json.loads(event()), indent=2)
        done = self.run_ctl("validate", stdin=f"\n{pretty}\n")
        self.assertEqual(done.returncode, EX_DATAERR)
        told = done.stderr.decode()
        self.assertIn("line 2 is not valid JSON: give one event a line", told)
        self.assertEqual(told.count("one event a line"), 1)

    def test_valid_events(self):
        self.assertEqual(self.verdicts(f"{event()}\n{event()}\n")[0], EX_OK)
        self.assertEqual(self.verdicts(""), (EX_OK, []))

    def test_the_clock_can_be_set(self):
        line = event(expirytime="2026-11-23T08:15:00+08:00")
        for now, reason in (("2026-11-23T00:14:59.999Z", None), ("2026-11-23T00:15:00Z", "expired"),
                            ("2026-11-23T08:15:00.001+08:00", "expired")):
            _, (verdict,) = self.verdicts(line, "--now", now)
            self.assertEqual(verdict.get("reason"), reason, now)
        self.assert_mistake(self.run_ctl("validate", "--now", "today"), EX_USAGE, "--now must be an RFC 3339 time")

    def test_whole_records(self):
        binary = [{"name": f"ce_{name}", "value": value} for name, value in
                  (("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "wechatpay.presign.app.requested"))]
        data = json.dumps(DATA)
        records = [
            {"value": event(), "headers": []},
            {"key": "k", "value": data, "headers": binary},
            {"value_base64": base64.b64encode(data.encode()).decode(), "headers": binary},
            {"value": None, "headers": []},
            {"value": data, "headers": [*binary, {"name": "CE_ID", "value": "2"}]},
            {"value": data, "headers": [*binary, {"name": "ce_x", "value": None}]},
            {"value_base64": "/w==", "headers": []},
            {"value": "a\0b", "headers": []},
            {"value": "x" * 70000, "headers": []},
            {"headers": []},
            {"value": "1", "value_base64": "MQ=="},
            {"value": "1", "truncated": True},
            [],
        ]
        status, verdicts = self.verdicts("\n".join(map(json.dumps, records)), "--records")
        self.assertEqual(status, EX_DATAERR)
        self.assertEqual([verdict.get("reason", verdict["outcome"]) for verdict in verdicts],
                         ["call", "call", "call", "empty_event", "invalid_cloudevent", "invalid_cloudevent",
                          "invalid_json", "invalid_json", "event_too_large", *["unreadable"] * 4])

    def test_unreadable_input_is_an_error(self):
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            self.assert_mistake(self.run_ctl("validate", stdin=descriptor), EX_UNAVAILABLE,
                                "standard input cannot be read")
        finally:
            os.close(descriptor)


class Sign(Ctl):
    def test_known_answers(self):
        """k5 is the documented example of the direct App endpoint."""
        message = (VECTORS / "k5_request.msg").read_bytes()
        signature = (VECTORS / "k5_request.sig.b64").read_text().strip()
        _, _, timestamp, nonce, body, _ = message.split(b"\n")
        done = self.run_ctl("sign", "--mchid", "1900007291", "--endpoint", "app",
                            "--timestamp", timestamp.decode(), "--nonce", nonce.decode(), stdin=body)
        self.assertEqual(done.returncode, EX_OK, done.stderr)
        self.assertEqual(done.stdout, message + (
            f'WECHATPAY2-SHA256-RSA2048 mchid="1900007291",nonce_str="{nonce.decode()}",signature="{signature}",'
            f'timestamp="{timestamp.decode()}",serial_no="408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB"\n').encode())

    def test_each_call_has_a_nonce_of_its_own(self):
        first, second = (self.run_ctl("sign", "--endpoint", "app", stdin=b"{}").stdout.split(b"\n")[3] for _ in "12")
        self.assertRegex(first, rb"^[0-9A-Z]{32}$")
        self.assertNotEqual(first, second)

    def test_mistakes(self):
        for arguments, status, text in (
                ([], EX_USAGE, "--endpoint is missing"), (["--endpoint", "ap"], EX_USAGE, "--endpoint ap: give one of app"),
                (["--endpoint", "app", "--nonce", "a\nb"], EX_USAGE, "--nonce"),
                (["--endpoint", "app", "--timestamp", "1e9"], EX_USAGE, "--timestamp"),
                (["--endpoint", "app", "--mchid", "5"], EX_CONFIG, "not configured here"),
                (["--endpoint", "partner-app", "--mchid", "1900007291"], EX_CONFIG, "the other mode"),
                (["--endpoint", "partner-app"], EX_CONFIG, "no mchid")):
            with self.subTest(arguments):
                self.assert_mistake(self.run_ctl("sign", *arguments), status, text)


class Call(Ctl):
    @classmethod
    def setUpClass(cls):
        directory = Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="ctl-")))
        with open(directory / "log", "wb") as log:
            sandbox = subprocess.Popen(
                [*dying_with_us(), PROGRAM, "sandbox", "--dir", directory / "sandbox", "--fault-by-code", "--seconds", "300",
                 "--schema-dir", ROOT / "schemas"], stdout=subprocess.PIPE, stderr=log)
        cls.addClassCleanup(sandbox.wait)
        cls.addClassCleanup(sandbox.kill)
        cls.addClassCleanup(sandbox.stdout.close)
        if b"listening" not in sandbox.stdout.readline():
            raise AssertionError((directory / "log").read_text())
        cls.fragment = (directory / "sandbox" / "sandbox.conf").read_text()

    def setUp(self):
        super().setUp()
        self.config.write_text(self.config.read_text().split("[merchant")[0] + self.fragment)

    def call(self, code, *arguments, **attributes):
        done = self.run_ctl("call", *arguments, stdin=event({"out_contract_code": code}, **attributes))
        return done.returncode, json.loads(done.stdout), done.stderr.decode()

    def test_a_result(self):
        status, outcome, told = self.call("A1")
        self.assertEqual((status, outcome["type"]), (EX_OK, "wechatpay.presign.app.succeeded"))
        self.assertEqual(outcome["data"]["out_contract_code"], "A1")
        self.assertIn("attempt 1: success, 200", told)

    def test_a_result_after_a_retry(self):
        status, outcome, told = self.call("F503x1a", "--set", "retry.base_delay_ms=1")
        self.assertEqual((status, outcome["data"]["attempts"]), (EX_OK, 2))
        self.assertIn("attempt 1: unavailable, 503", told)

    def test_retryable_and_permanent_failures(self):
        for code, arguments, attributes, expected, reason in (
                ("F403x1a", [], {}, EX_DATAERR, "rejected"),
                ("F429x99p0a", ["--set", "retry.give_up_after_ms=500"], {}, EX_TEMPFAIL, "rate_limited"),
                ("F401x9a", [], {}, EX_TEMPFAIL, "merchant_unauthorized"),
                ("A2", ["--set", "endpoint.base_url=https://127.0.0.1:1", "--set", "retry.max_attempts=1"], {},
                 EX_TEMPFAIL, "unreachable"),
                ("A3", [], {"expirytime": "2020-01-01T00:00:00Z"}, EX_DATAERR, "expired")):
            with self.subTest(reason):
                status, outcome, told = self.call(code, *arguments, **attributes)
                self.assertEqual((status, outcome["data"]["reason"]), (expected, reason), told)
                self.assertNotIn(", 0", told)  # without a status no number is printed


class Check(Ctl):
    def test_a_valid_configuration(self):
        done = self.run_ctl("check")
        self.assertEqual((done.returncode, done.stderr), (EX_OK, b""))
        self.assertIn(b"1900007291", done.stdout)

    def test_an_output_that_cannot_be_written(self):
        for arguments in ([], ["--json"]):
            with self.subTest(arguments), open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([PROGRAM, "check", "-c", self.config, *arguments], stdout=full,
                                      stderr=subprocess.PIPE, timeout=180)
                self.assertEqual(done.returncode, EX_UNAVAILABLE, done.stderr)

    def test_all_errors_at_once(self):
        self.write_config("no_such = 1\n[retry]\nmax_attempts = x\n", private_key="/nowhere")
        self.assert_mistake(self.run_ctl("check"), EX_CONFIG, "")
        told = self.run_ctl("check").stderr.decode()
        for wrong in ("/nowhere", "wechatpay_public_key", "no_such", "max_attempts"):
            self.assertRegex(told, rf"(?m)^{self.config}:\d+: .*{wrong}")


class KeyFiles(Ctl):
    """Files as openssl(1) and editors make them."""

    def setUp(self):
        super().setUp()
        self.key, self.public = self.directory / "merchant.pem", VECTORS / "k3_wechatpay_public_key.pem"

    def openssl(self, *arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=180)

    def made(self, name, *arguments):
        self.openssl(*arguments, "-out", self.directory / name)
        return self.directory / name

    def certificate(self, name, serial, key):
        return self.made(name, "req", "-x509", "-new", "-key", key, "-days", "3650", "-subj", "/CN=x", "-set_serial", serial)

    def archive(self):
        return self.made("apiclient_cert.p12", "pkcs12", "-export", "-passout", "pass:1900007291", "-inkey", self.key,
                         "-in", self.certificate("own.crt", "0x0A", self.key))

    def check(self, **keys):
        """What it prints on success, else what it says of the file."""
        sets = [word for name, value in keys.items() for word in ("--set", f"merchant 1900007291.{name}={value}")]
        done = self.run_ctl("check", *sets)
        self.assertEqual(done.returncode == EX_CONFIG, bool(done.stderr), done.stderr)
        return done.stdout.decode() if done.returncode == EX_OK else done.stderr.decode()

    def test_each_form_of_a_key_is_read(self):
        windows = self.directory / "windows.pem"
        windows.touch(mode=0o600)
        windows.write_bytes(b"\xef\xbb\xbf" + self.key.read_bytes().replace(b"\n", b"\r\n"))
        exported = self.made("exported.pem", "pkcs12", "-in", self.archive(), "-nodes", "-passin", "pass:1900007291")
        self.assertIn("Bag Attributes", exported.read_text())
        pkcs1 = self.made("pkcs1.pem", "rsa", "-in", self.key, "-traditional")
        self.assertIn("RSA PRIVATE", pkcs1.read_text())
        mislabelled = self.directory / "mislabelled.pem"
        mislabelled.touch(mode=0o600)
        mislabelled.write_text(pkcs1.read_text().replace(" RSA PRIVATE ", " PRIVATE "))
        for path in (windows, exported, pkcs1, mislabelled):
            with self.subTest(path.name):
                path.chmod(0o600)
                self.assertIn("merchant 1900007291", self.check(private_key=path))
        rsa_public = self.made("rsa-public.pem", "rsa", "-pubin", "-in", self.public, "-RSAPublicKey_out")
        self.assertIn("RSA PUBLIC", rsa_public.read_text())
        self.assertIn("with 1 key", self.check(wechatpay_public_key=rsa_public))

    def test_a_bundle_counts_as_a_whole_and_a_certificate_names_its_number(self):
        theirs = self.made("theirs.pem", "genpkey", "-algorithm", "RSA")
        bundle = self.directory / "bundle.pem"
        bundle.write_text("".join(self.certificate(f"{serial}.crt", serial, theirs).read_text() for serial in ("0x0C", "0x0D")))
        self.assertIn("with 3 keys", self.check(platform_certificates=bundle))
        own = self.certificate("own.crt", "0x0A", self.key)
        self.assertIn("merchant 1900007291", self.check(certificate=own, serial_no=""))
        self.assertIn("merchant 1900007291", self.check(certificate=own, serial_no="a"))
        self.assertIn("serial_no: is not the serial number of certificate, which is 0A", self.check(certificate=own))
        self.assertIn("private_key does not belong to this certificate", self.check(certificate=bundle, serial_no=""))
        self.assertIn("holds 2 private keys", self.check(private_key=self.joined(self.key, theirs)))

    def joined(self, *paths):
        path = self.directory / "joined.pem"
        path.touch(mode=0o600)
        path.write_text("".join(each.read_text() for each in paths))
        return path

    def test_the_command_that_a_refusal_names_converts_the_file(self):
        private = self.made("key.der", "pkey", "-in", self.key, "-outform", "DER")
        public = self.made("public.der", "pkey", "-pubin", "-in", self.public, "-outform", "DER")
        archive = self.archive()
        own = self.made("own.der", "x509", "-in", self.directory / "own.crt", "-outform", "DER")
        for name, path, more in (("private_key", private, {}), ("wechatpay_public_key", public, {}),
                                 ("private_key", archive, {}), ("certificate", archive, {"serial_no": ""}),
                                 ("certificate", own, {"serial_no": ""})):
            with self.subTest(path.name):
                told = self.check(**{name: path}, **more)
                command = re.search(r"or convert it \(openssl (.*) -in OLD -out NEW\)", told)[1].split()
                password = ["-passin", "pass:1900007291"] if command[0] == "pkcs12" else []
                new = self.made("new.pem", *command, "-in", path, *password)
                new.chmod(0o600)
                self.assertIn("merchant 1900007291", self.check(**{name: new}, **more))


class Redrive(Ctl):
    def test_a_wrong_certificate_of_the_producer_is_reported_at_once(self):
        self.config.write_text(self.config.read_text() +
                               "[kafka.producer]\nsecurity.protocol = SSL\nssl.ca.location = /nowhere\n")
        done = self.run_ctl("redrive", "--send", "--timeout-ms", 3000)
        self.assert_mistake(done, EX_CONFIG, "ssl.ca.location")
        self.assertNotIn("transactional.id", done.stderr.decode())


if __name__ == "__main__":
    unittest.main()
