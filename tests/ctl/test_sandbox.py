"""`presignctl sandbox` over real HTTPS. The openssl program signs requests and verifies answers, so
that presignd's code does not test itself."""

import base64
import configparser
import contextlib
import gzip
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import sandbox_keys
from children import dying_with_us

PROGRAM = Path(os.environ.get("PRESIGND_BUILD_DIR", ROOT / "build" / "dev")) / "presignctl"
WAIT_S = 180
DIRECT = "/v3/papay/scheduled-deduct-sign/contracts/pre-entrust-sign/"
PARTNER = "/v3/papay/scheduled-deduct-sign/partner/contracts/pre-entrust-sign/"
CERTIFICATES = "/v3/certificates"
COMMON = {"plan_id": 12535, "contract_display_account": "微信代扣用户A",
          "contract_notify_url": "https://yourapp.com/notify"}
DIRECT_BODY = {"appid": "wxd678efh567hg6787", "openid": "oUpF8uMuAJO", **COMMON}
PARTNER_BODY = {"sp_appid": "wxd678efh567hg6787", "sub_mchid": "1900000109", "sp_openid": "oUpF8uM", **COMMON}
MINI_PROGRAM = {"pre_entrustweb_id", "redirect_appid", "redirect_path"}
ENDPOINTS = {
    "app": (DIRECT + "app", DIRECT_BODY, {"pre_entrustweb_id"}),
    "mini-program": (DIRECT + "mini-program", DIRECT_BODY, MINI_PROGRAM),
    "h5": (DIRECT + "h5", DIRECT_BODY, {"redirect_url"}),
    "jsapi": (DIRECT + "jsapi", DIRECT_BODY, {"redirect_url"}),
    "partner-app": (PARTNER + "app", PARTNER_BODY, {"pre_entrustweb_id"}),
    "partner-mini-program": (PARTNER + "mini-program", PARTNER_BODY, MINI_PROGRAM),
    "partner-h5": (PARTNER + "h5", PARTNER_BODY, {"redirect_url"}),
    "partner-jsapi": (PARTNER + "jsapi", PARTNER_BODY, {"redirect_url"}),
}


def openssl(*arguments, stdin=b""):
    return subprocess.run(["openssl", *map(str, arguments)], input=stdin, check=True,
                          capture_output=True).stdout


def gcm_open(key, sealed):
    """The plain text of AES-256-GCM (NIST SP 800-38D) by the openssl program, which itself has no GCM."""
    nonce, data = sealed["nonce"].encode(), sealed["associated_data"].encode()
    text = base64.b64decode(sealed["ciphertext"], validate=True)
    text, tag = text[:-16], text[-16:]
    assert sealed["algorithm"] == "AEAD_AES_256_GCM" and len(nonce) == 12

    def aes(mode, *options, stdin):
        return openssl("enc", f"-aes-256-{mode}", "-K", key.hex(), *options, stdin=stdin)

    def number(part):
        return int.from_bytes(part, "big")

    def ghash(parts):
        factor, total = number(aes("ecb", "-nopad", stdin=bytes(16))), 0
        for part in parts:
            for at in range(0, len(part), 16):
                total ^= number(part[at:at + 16].ljust(16, b"\0"))
                product, shifted = 0, factor
                for bit in range(127, -1, -1):
                    product ^= shifted if total >> bit & 1 else 0
                    shifted = shifted >> 1 ^ (0xe1 << 120 if shifted & 1 else 0)
                total = product
        return total

    lengths = (8 * len(data)).to_bytes(8, "big") + (8 * len(text)).to_bytes(8, "big")
    mask = number(aes("ecb", "-nopad", stdin=nonce + b"\0\0\0\1"))
    assert number(tag) == ghash([data, text, lengths]) ^ mask, "the tag does not match"
    return aes("ctr", "-iv", nonce.hex() + "00000002", stdin=text)


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)


class Sandbox:
    """A running sandbox, and a client that signs as its merchants."""

    def __init__(self, *options, directory=None):
        self.directory = Path(directory or tempfile.mkdtemp(prefix="presignctl-sandbox-"))
        self.own_directory = directory is None
        if self.own_directory:
            sandbox_keys.lay(self.directory)
        self.log = open(self.directory / "log", "wb+")
        self.process = subprocess.Popen(
            [*dying_with_us(), PROGRAM, "sandbox", "--dir", self.directory,
             *map(str, options)], stdout=subprocess.PIPE, stderr=self.log)
        line = self.process.stdout.readline().decode()
        assert line.startswith("listening on https://"), self.log_text()
        self.port = int(line.rsplit(":", 1)[1])
        self.config = configparser.ConfigParser(interpolation=None)
        self.config.read(self.directory / "sandbox.conf")
        self.tls = ssl.create_default_context(cafile=self.config["endpoint"]["ca_file"])
        self.connection = None
        sandbox_keys.keep(self.directory)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.connection:
            self.connection.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(WAIT_S)
        text = self.log_text()
        self.process.stdout.close()
        self.log.close()
        if self.own_directory:
            shutil.rmtree(self.directory)
        assert (status, text) == (0, ""), f"ended with {status}: {text}"

    def log_text(self):
        self.log.seek(0)
        return self.log.read().decode()

    def ledger(self, path=None):
        text = Path(path or self.directory / "ledger.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def set(self, **change):
        """Changes what WeChat Pay has of its merchants; the state after it."""
        answer = self.send("/sandbox", json.dumps(change), {})
        assert answer.status == 200, answer.body
        return answer.json

    def merchant(self, mchid):
        return self.config[f"merchant {mchid}"]

    def authorization(self, mchid, path, body, method="POST", **changes):
        """The value of the header; `changes` replace fields after signing."""
        merchant = {**self.merchant(mchid)}
        merchant["private_key"] = changes.pop("private_key", merchant["private_key"])
        fields = {"mchid": mchid, "nonce_str": uuid.uuid4().hex.upper(),
                  "timestamp": str(int(time.time())), "serial_no": merchant["serial_no"]}
        fields.update({name: changes.pop(name) for name in ("nonce_str", "timestamp")
                       if name in changes})
        text = f"{method}\n{path}\n{fields['timestamp']}\n{fields['nonce_str']}\n".encode() + body + b"\n"
        signature = openssl("dgst", "-sha256", "-sign", merchant["private_key"], stdin=text)
        fields["signature"] = base64.b64encode(signature).decode()
        fields.update(changes)
        return "WECHATPAY2-SHA256-RSA2048 " + ",".join(f'{k}="{v}"' for k, v in fields.items())

    def send(self, path, body, headers, method="POST"):
        if self.connection is None:
            self.connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=WAIT_S,
                                                          context=self.tls)
        try:
            self.connection.request(method, path, body, {k: v for k, v in headers.items() if v})
            return Answer(self.connection.getresponse())
        except BaseException:
            self.connection.close()
            self.connection = None
            raise

    def headers(self, authorization, **changes):
        return {"Content-Type": "application/json", "Accept": "application/json",
                "User-Agent": "presignd-tests", "Authorization": authorization, **changes}

    def signed(self, endpoint="app", code=None, mchid=None, body=None, headers=None, **changes):
        """Path, body and headers of a valid request, with the given changes."""
        path, sample, _ = ENDPOINTS[endpoint]
        code = code or uuid.uuid4().hex
        mchid = mchid or ("1900000109" if endpoint.startswith("partner-") else "1900007291")
        if body is None:
            body = json.dumps({**sample, "out_contract_code": code}, ensure_ascii=False).encode()
        authorization = self.authorization(mchid, path, body, **changes)
        return path, body, self.headers(authorization, **(headers or {}))

    def call(self, *arguments, **changes):
        return self.send(*self.signed(*arguments, **changes))

    def end_of_call(self, *arguments):
        """The exception with which a call's TCP connection ends; None for a normal end. Python's ssl
        module does not distinguish them, so this reads from the plain socket."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=WAIT_S, context=self.tls)
        with contextlib.closing(connection):
            connection.request("POST", *self.signed(*arguments))
            try:
                while socket.socket.recv(connection.sock, 65536):
                    pass
            except OSError as error:
                return error
        return None

    def open(self):
        """A new TLS connection."""
        plain = socket.create_connection(("127.0.0.1", self.port), WAIT_S)
        try:
            return self.tls.wrap_socket(plain, server_hostname="127.0.0.1")
        except BaseException:
            plain.close()
            raise

    def request_bytes(self, *arguments, **changes):
        """The bytes of a valid request."""
        path, body, headers = self.signed(*arguments, **changes)
        headers = {"Host": "127.0.0.1", **headers, "Content-Length": str(len(body))}
        return "\r\n".join([f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()),
                            "", ""]).encode() + body

    def certificates(self, mchid="1900007291", **headers):
        """The answer of GET /v3/certificates."""
        authorization = self.authorization(mchid, CERTIFICATES, b"", "GET")
        return self.send(CERTIFICATES, None, self.headers(authorization, **headers), "GET")

    def opened(self, answer, mchid="1900007291"):
        """{serial: PEM} of the list, decrypted with the merchant's APIv3 key."""
        key = (self.directory / f"apiv3-{mchid}.key").read_bytes()
        return {item["serial_no"]: gcm_open(key, item["encrypt_certificate"]) for item in answer.json["data"]}

    def verifies(self, answer, mchid="1900007291", body=None, signature=None, certificate=None):
        """Whether WeChat Pay's public key verifies the answer, or the certificate (PEM)."""
        key = self.directory / f"wechatpay-{mchid}.pem"
        if certificate:
            key = self.directory / "verifies.pem"
            key.write_bytes(openssl("x509", "-pubkey", "-noout", stdin=certificate))
        text = (f"{answer.headers['Wechatpay-Timestamp']}\n{answer.headers['Wechatpay-Nonce']}\n".encode()
                + (answer.body if body is None else body) + b"\n")
        with tempfile.NamedTemporaryFile() as file:
            file.write(base64.b64decode(signature or answer.headers["Wechatpay-Signature"]))
            file.flush()
            done = subprocess.run(["openssl", "dgst", "-sha256", "-verify", key, "-signature", file.name],
                                  input=text, capture_output=True)
        return done.returncode == 0


class Good(unittest.TestCase):
    def test_every_endpoint_sends_its_fields_and_signs_them(self):
        with Sandbox() as sandbox:
            for endpoint, (_, _, fields) in ENDPOINTS.items():
                with self.subTest(endpoint):
                    answer = sandbox.call(endpoint)
                    self.assertEqual(answer.status, 200, answer.body)
                    self.assertEqual(set(answer.json), fields)
                    self.assertTrue(sandbox.verifies(answer))
                    self.assertTrue(answer.headers["Request-ID"])
                    self.assertEqual(answer.headers["Wechatpay-Serial"],
                                     sandbox.merchant("1900007291")["wechatpay_public_key_id"])
            self.assertEqual([line["endpoint"] for line in sandbox.ledger()], list(ENDPOINTS))

    def test_the_members_of_the_ledger(self):
        with Sandbox() as sandbox:
            answer = sandbox.call(code="A1", nonce_str="N" * 32)
            line, = sandbox.ledger()
            body = json.dumps({**DIRECT_BODY, "out_contract_code": "A1"}, ensure_ascii=False).encode()
            expected = {
                "mchid": "1900007291", "endpoint": "app", "out_contract_code": "A1",
                "body_sha256": hashlib.sha256(body).hexdigest(), "nonce": "N" * 32,
                "signature_ok": True, "status": 200, "acted": True,
                "issued_id": answer.json["pre_entrustweb_id"],
                "publishable": True,
                "request_id": answer.headers["Request-ID"]}
            self.assertEqual({name: line[name] for name in expected}, expected)
            self.assertEqual(line["serial"], answer.headers["Wechatpay-Serial"])
            self.assertEqual(set(line) - set(expected), {"time", "timestamp", "serial"})

    def test_the_same_request_again_gets_another_id(self):
        with Sandbox() as sandbox:
            ids = {sandbox.call(code="A1").json["pre_entrustweb_id"] for _ in range(3)}
            self.assertEqual(len(ids), 3)

    def test_the_directory_keeps_its_keys_and_its_ledger(self):
        with tempfile.TemporaryDirectory() as parent:
            directory = Path(parent) / "sandbox"
            directory.mkdir()
            with Sandbox("--listen", "127.0.0.1:0", directory=directory) as sandbox:
                sandbox.call()
                before = {path.name: path.read_bytes() for path in directory.glob("*.pem")}
                port = sandbox.port
            self.assertEqual(set(before), {
                "ca.pem", "server.pem", "server-key.pem", "wechatpay-private.pem",
                "wechatpay-certificate.pem", "wechatpay-certificate-private.pem",
                "merchant-1900007291.pem", "merchant-1900007291.pub.pem", "merchant-1900007291-certificate.pem",
                "merchant-1900000109-certificate.pem",
                "wechatpay-1900007291.pem", "merchant-1900000109.pem", "merchant-1900000109.pub.pem",
                "wechatpay-1900000109.pem"})
            for name in before:
                secret = b"PRIVATE" in before[name]
                mode = stat.S_IMODE((directory / name).stat().st_mode)
                self.assertEqual(mode & 0o077 == 0, secret, name)
            with Sandbox("--listen", f"127.0.0.1:{port}", directory=directory) as sandbox:
                self.assertEqual(sandbox.port, port)
                self.assertEqual(sandbox.call().status, 200)
                self.assertEqual(len(sandbox.ledger()), 2)
                after = {path.name: path.read_bytes() for path in directory.glob("*.pem")}
            self.assertEqual(before, after)

    def test_another_name_for_other_containers(self):
        with tempfile.TemporaryDirectory() as directory:
            for name in ("localhost", "sandbox.test", "127.0.0.2"):
                with self.subTest(name), Sandbox("--listen", "127.0.0.1:0", "--name", name,
                                                 directory=directory) as sandbox:
                    self.assertEqual(sandbox.config["endpoint"]["base_url"], f"https://{name}:{sandbox.port}")
                    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=WAIT_S) as plain, \
                            sandbox.tls.wrap_socket(plain, server_hostname=name) as secure:
                        self.assertTrue(secure.getpeercert())

    def test_what_the_daemon_reads_is_readable_where_asked(self):
        with tempfile.TemporaryDirectory() as parent:
            directory = Path(parent) / "sandbox"
            directory.mkdir(mode=0o700)
            for options, others in (([], False), (["--readable"], True), ([], False)):
                with Sandbox(*options, directory=directory):
                    for name, secret in (("merchant-1900007291.pem", not others), ("sandbox.conf", not others),
                                         ("wechatpay-private.pem", True), ("server-key.pem", True),
                                         ("ca.pem", False)):
                        mode = stat.S_IMODE((directory / name).stat().st_mode)
                        self.assertEqual(mode & 0o077 == 0, secret, (options, name))
                    if others:
                        self.assertEqual(stat.S_IMODE(directory.stat().st_mode), 0o755)

    def test_a_new_directory_is_private(self):
        with tempfile.TemporaryDirectory() as parent:
            subprocess.run([PROGRAM, "sandbox", "--dir", f"{parent}/new", "--seconds", "1"], check=True,
                           stdout=subprocess.DEVNULL, timeout=WAIT_S)
            self.assertEqual(stat.S_IMODE(Path(parent, "new").stat().st_mode), 0o700)

    def test_another_merchant_in_certificate_mode(self):
        with Sandbox("--merchant", "77:partner", "--serial-mode", "certificate",
                     "--ledger", "/dev/null") as sandbox:
            self.assertEqual(sandbox.config.sections(), ["endpoint", "merchant 77"])
            self.assertEqual(sandbox.config["endpoint"]["backup_url"], "")
            merchant = sandbox.merchant("77")
            self.assertEqual(merchant["mode"], "partner")
            self.assertEqual(merchant["platform_certificates"], "auto")
            self.assertEqual(merchant["apiv3_key"], str(sandbox.directory / "apiv3-77.key"))
            pem = (sandbox.directory / "wechatpay-certificate.pem").read_bytes()
            serial = openssl("x509", "-noout", "-serial", stdin=pem)
            answer = sandbox.call("partner-app", mchid="77")
            self.assertEqual(answer.status, 200, answer.body)
            self.assertEqual(f"serial={answer.headers['Wechatpay-Serial']}\n", serial.decode())
            self.assertTrue(sandbox.verifies(answer, certificate=pem))

    def test_the_list_of_certificates(self):
        with Sandbox("--serial-mode", "certificate") as sandbox:
            answer = sandbox.certificates()
            item, = answer.json["data"]
            pem = sandbox.opened(answer)[item["serial_no"]]
            self.assertEqual(pem, (sandbox.directory / "wechatpay-certificate.pem").read_bytes())
            self.assertEqual(openssl("x509", "-noout", "-serial", stdin=pem).decode(),
                             f"serial={item['serial_no']}\n")
            self.assertRegex(item["effective_time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00$")
            self.assertLess(item["effective_time"][:10], item["expire_time"][:10])
            self.assertTrue(sandbox.verifies(answer, certificate=pem))
            self.assertEqual(answer.headers["Wechatpay-Serial"], item["serial_no"])
            other = sandbox.certificates("1900000109")
            self.assertEqual(sandbox.opened(other, "1900000109"), {item["serial_no"]: pem})
            self.assertNotEqual(*((sandbox.directory / f"apiv3-{mchid}.key").read_text()
                                  for mchid in ("1900007291", "1900000109")))

    def test_both_kinds_of_key(self):
        with Sandbox("--serial-mode", "both") as sandbox:
            merchant = sandbox.merchant("1900007291")
            key_id = merchant["wechatpay_public_key_id"]
            pem = (sandbox.directory / "wechatpay-certificate.pem").read_bytes()
            for asked, by_key in ((None, False), (key_id, True), (next(iter(sandbox.opened(
                    sandbox.certificates()))), False)):
                for answer in (sandbox.call(headers={"Wechatpay-Serial": asked}),
                               sandbox.certificates(**{"Wechatpay-Serial": asked})):
                    self.assertEqual(answer.status, 200, answer.body)
                    self.assertEqual(answer.headers["Wechatpay-Serial"] == key_id, by_key)
                    self.assertTrue(sandbox.verifies(answer, certificate=None if by_key else pem))

    def test_a_merchant_with_a_public_key_has_no_certificates(self):
        with Sandbox() as sandbox:
            answer = sandbox.certificates()
            self.assertEqual((answer.status, answer.json["code"]), (404, "RESOURCE_NOT_EXISTS"))
            self.assertTrue(sandbox.verifies(answer))

    def test_max_requests_stops_it(self):
        with Sandbox("--max-requests", "2") as sandbox:
            self.assertEqual([sandbox.call().status for _ in range(2)], [200, 200])
            self.assertEqual(sandbox.process.wait(WAIT_S), 0)

    def test_a_stop_does_not_wait_for_answers(self):
        with Sandbox("--delay-ms", 1000 * WAIT_S) as sandbox:
            caller = threading.Thread(target=self._call_until_the_end, args=[sandbox])
            caller.start()
            while not sandbox.ledger():
                time.sleep(0.01)
            sandbox.process.send_signal(signal.SIGINT)
            self.assertEqual(sandbox.process.wait(WAIT_S / 2), 0)
            caller.join()

    @staticmethod
    def _call_until_the_end(sandbox):
        with contextlib.suppress(http.client.HTTPException, OSError):
            sandbox.call()


class Rejected(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sandbox = cls.enterClassContext(Sandbox())

    def assert_rejected(self, answer, status, code, field=None):
        self.assertEqual((answer.status, answer.json["code"]), (status, code), answer.body)
        self.assertEqual(answer.json["detail"].get("field"), field, answer.body)
        self.assertTrue(self.sandbox.verifies(answer))
        line = self.sandbox.ledger()[-1]
        self.assertEqual((line["status"], line["acted"]), (status, False))
        self.assertNotIn("issued_id", line)
        return line

    def test_a_wrong_signature(self):
        other = base64.b64encode(bytes(256)).decode()
        line = self.assert_rejected(self.sandbox.call(signature=other), 401, "SIGN_ERROR", "signature")
        self.assertFalse(line["signature_ok"])
        self.assert_rejected(self.sandbox.call(signature="no base64"), 401, "SIGN_ERROR", "signature")

    def test_a_body_that_is_not_the_signed_one(self):
        path, sample, _ = ENDPOINTS["app"]
        body = json.dumps({**sample, "out_contract_code": "A1"}).encode()
        headers = self.sandbox.headers(self.sandbox.authorization("1900007291", path, body))
        self.assert_rejected(self.sandbox.send(path, body.replace(b"A1", b"A2"), headers), 401,
                            "SIGN_ERROR", "signature")

    def test_a_nonce_twice(self):
        nonce = uuid.uuid4().hex
        self.assertEqual(self.sandbox.call(nonce_str=nonce).status, 200)
        self.assert_rejected(self.sandbox.call(nonce_str=nonce), 401, "SIGN_ERROR", "nonce_str")
        self.assertEqual(self.sandbox.call("partner-app", nonce_str=nonce).status, 200)

    def test_a_clock_that_is_off(self):
        for off in (-310, 310):
            stamp = str(int(time.time()) + off)
            self.assert_rejected(self.sandbox.call(timestamp=stamp), 401, "SIGN_ERROR", "timestamp")
        self.assertEqual(self.sandbox.call(timestamp=str(int(time.time()) - 280)).status, 200)

    def test_an_unknown_merchant_or_serial(self):
        self.assert_rejected(self.sandbox.call(mchid="1900007291", serial_no="AB"), 401, "SIGN_ERROR", "serial_no")
        path, _, _ = ENDPOINTS["app"]
        authorization = self.sandbox.authorization("1900007291", path, b"{}").replace(
            'mchid="1900007291"', 'mchid="5"')
        self.assert_rejected(self.sandbox.send(path, b"{}", self.sandbox.headers(authorization)), 401,
                            "SIGN_ERROR", "mchid")

    def test_an_authorization_that_cannot_be_read(self):
        path, _, _ = ENDPOINTS["app"]
        good = self.sandbox.authorization("1900007291", path, b"{}")
        for bad in (None, "Basic eA==", "WECHATPAY2-SHA256-RSA2048 ", good + ",", good.replace(",", ", "),
                    good + ',mchid="1"', good.replace('mchid="1900007291",', ""),
                    good.replace("nonce_str", "nonce"), good[:-1]):
            with self.subTest(bad):
                answer = self.sandbox.send(path, b"{}", self.sandbox.headers(bad))
                self.assert_rejected(answer, 401, "SIGN_ERROR", "Authorization")

    def test_headers(self):
        for name, value in (("Content-Type", "text/plain"), ("Content-Type", None), ("Accept", "text/html"),
                            ("User-Agent", None), ("Wechatpay-Serial", "PUB_KEY_ID_5")):
            with self.subTest(f"{name}: {value}"):
                answer = self.sandbox.call(headers={name: value})
                self.assert_rejected(answer, 400, "PARAM_ERROR", name)
        serial = self.sandbox.merchant("1900007291")["wechatpay_public_key_id"]
        self.assertEqual(self.sandbox.call(headers={"Wechatpay-Serial": serial}).status, 200)

    def test_bodies(self):
        good = {**DIRECT_BODY, "out_contract_code": "A1"}
        for bad, issue in ((b"", ""), (b"{", ""), (b"[]", ""), (b"\xff", ""),
                           ({**good, "plan_id": "1"}, "/plan_id"), ({**good, "appId": "x"}, "/appId"),
                           ({**good, "out_contract_code": "no-letters"}, "/out_contract_code"),
                           ({**good, "pad": "x" * 70000}, "64 KiB")):
            body = bad if isinstance(bad, bytes) else json.dumps(bad).encode()
            with self.subTest(body[:200]):
                answer = self.sandbox.call(body=body)
                self.assert_rejected(answer, 400, "PARAM_ERROR")
                self.assertIn(issue, answer.json["detail"]["issue"])

    def test_a_merchant_of_the_other_mode(self):
        answer = self.sandbox.call("app", mchid="1900000109")
        self.assert_rejected(answer, 403, "NO_AUTH", "mchid")

    def test_paths_and_methods(self):
        headers = self.sandbox.headers("")
        path = ENDPOINTS["app"][0]
        self.assert_rejected(self.sandbox.send("/v3/none", b"{}", headers), 404, "RESOURCE_NOT_EXISTS")
        self.assert_rejected(self.sandbox.send(path + "?a=b", b"{}", headers), 404, "RESOURCE_NOT_EXISTS")
        self.assert_rejected(self.sandbox.send(path, None, headers, "GET"), 405, "METHOD_NOT_ALLOWED")


class Faults(unittest.TestCase):
    """Each kind once, by code. `acted` is expected in the ledger."""

    @classmethod
    def setUpClass(cls):
        cls.sandbox = cls.enterClassContext(Sandbox("--fault-by-code"))

    def fault(self, kind, acted, param=None):
        """The answer to the first call. Checks that a second call succeeds."""
        code = f"F{kind.replace('-', '')}x1{'' if param is None else f'p{param}'}z{uuid.uuid4().hex[:8]}"
        try:
            answer = self.sandbox.call("partner-mini-program", code)
        except (http.client.HTTPException, OSError) as error:
            answer = error
        line = self.sandbox.ledger()[-1]
        self.assertEqual((line["out_contract_code"], line["fault"], line["acted"]), (code, kind, acted))
        self.assertEqual("issued_id" in line, acted)
        self.assertEqual(line["publishable"], kind in ("delay", "slow-body", "close", "twice") or kind.startswith("idle-"))
        again = self.sandbox.call("partner-mini-program", code)
        self.assertEqual(set(again.json), MINI_PROGRAM)
        self.assertTrue(self.sandbox.verifies(again))
        self.assertNotIn("fault", self.sandbox.ledger()[-1])
        self.assertTrue(self.sandbox.ledger()[-1]["publishable"])
        if isinstance(answer, Answer):
            self.assertEqual(answer.status, line["status"])
        return answer

    def test_errors_of_the_api_are_signed(self):
        for kind, code in (("400", "PARAM_ERROR"), ("401", "SIGN_ERROR"), ("403", "NO_AUTH"),
                           ("404", "RESOURCE_NOT_EXISTS"), ("429", "RATELIMIT_EXCEEDED"),
                           ("500", "SYSTEM_ERROR"), ("501", "NOT_IMPLEMENTED"), ("202", "ACCEPTED")):
            with self.subTest(kind):
                answer = self.fault(kind, False)
                self.assertEqual((answer.status, answer.json["code"]), (int(kind), code))
                self.assertTrue(self.sandbox.verifies(answer))
                self.assertEqual(answer.headers["Retry-After"], "1" if kind == "429" else None)

    def test_errors_of_gateways_are_not(self):
        for kind in ("408", "421", "425", "502", "503", "503-later", "504"):
            with self.subTest(kind):
                answer = self.fault(kind, False)
                self.assertEqual(answer.status, int(kind[:3]))
                self.assertIsNone(answer.headers["Wechatpay-Signature"])
                self.assertEqual(answer.headers["Retry-After"], "1" if kind == "503-later" else None)

    def test_retry_after_is_the_parameter(self):
        self.assertEqual(self.fault("429", False, 7).headers["Retry-After"], "7")

    def test_100_alone(self):
        self.assertIsInstance(self.fault("100", False), http.client.RemoteDisconnected)

    def test_204(self):
        answer = self.fault("204", False)
        self.assertEqual((answer.status, answer.body), (204, b""))

    def test_302(self):
        answer = self.fault("302", False)
        self.assertEqual((answer.status, answer.headers["Location"]), (302, "https://127.0.0.1:9/"))

    def test_html(self):
        answer = self.fault("html", False)
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (502, "text/html"))
        self.assertIn(b"<html>", answer.body)

    def test_resets(self):
        for kind, acted in (("reset-before", False), ("reset-after", True)):
            with self.subTest(kind):
                self.assertIsInstance(self.fault(kind, acted), ConnectionError)
                code = f"F{kind.replace('-', '')}x1"
                self.assertIsInstance(self.sandbox.end_of_call("app", code), ConnectionResetError)

    def test_waiting(self):
        for kind in ("delay", "slow-body"):
            with self.subTest(kind):
                begun = time.monotonic()
                answer = self.fault(kind, True, 300)
                self.assertGreaterEqual(time.monotonic() - begun, 0.29)
                self.assertEqual(set(answer.json), MINI_PROGRAM)
                self.assertTrue(self.sandbox.verifies(answer))

    def test_truncated(self):
        answer = self.fault("truncated", True)
        self.assertIsInstance(answer, http.client.IncompleteRead)
        self.assertEqual(set(json.loads(answer.partial)), MINI_PROGRAM)

    def test_unsigned(self):
        answer = self.fault("unsigned", True)
        self.assertEqual(set(answer.json), MINI_PROGRAM)
        self.assertFalse([name for name in answer.headers if name.startswith("Wechatpay-")])

    def test_bad_signature(self):
        answer = self.fault("bad-signature", True)
        self.assertEqual(set(answer.json), MINI_PROGRAM)
        self.assertFalse(self.sandbox.verifies(answer))

    def test_bad_timestamp(self):
        answer = self.fault("bad-timestamp", True)
        self.assertTrue(self.sandbox.verifies(answer))
        self.assertLess(int(answer.headers["Wechatpay-Timestamp"]), time.time() - 310)

    def test_unknown_serial(self):
        answer = self.fault("unknown-serial", True)
        self.assertNotEqual(answer.headers["Wechatpay-Serial"],
                            self.sandbox.merchant("1900000109")["wechatpay_public_key_id"])

    def test_signature_test(self):
        signature = self.fault("signature-test", True).headers["Wechatpay-Signature"]
        self.assertTrue(signature.startswith("WECHATPAY/SIGNTEST/"))
        base64.b64decode(signature.removeprefix("WECHATPAY/SIGNTEST/"), validate=True)

    def test_no_signature_test_twice_in_a_row(self):
        faults = []
        for _ in range(4):
            self.sandbox.call(code="Fsignaturetestx4a")
            faults.append(self.sandbox.ledger()[-1].get("fault"))
        self.assertEqual(faults, ["signature-test", None, "signature-test", None])

    def test_missing_field(self):
        answer = self.fault("missing-field", True)
        self.assertEqual(set(answer.json), MINI_PROGRAM - {"redirect_path"})
        self.assertTrue(self.sandbox.verifies(answer))

    def test_not_json(self):
        answer = self.fault("not-json", True)
        self.assertTrue(self.sandbox.verifies(answer))
        with self.assertRaises(json.JSONDecodeError):
            answer.json

    def test_gzip(self):
        answer = self.fault("gzip", True)
        self.assertEqual(answer.headers["Content-Encoding"], "gzip")
        self.assertEqual(set(json.loads(gzip.decompress(answer.body))), MINI_PROGRAM)
        self.assertTrue(self.sandbox.verifies(answer, body=gzip.decompress(answer.body)))

    def test_huge(self):
        answer = self.fault("huge", True)
        self.assertGreater(len(answer.body), 65536)
        self.assertTrue(self.sandbox.verifies(answer))

    def test_a_code_counts_its_calls(self):
        statuses = [self.sandbox.call(code="F503x2a").status for _ in range(3)]
        self.assertEqual(statuses, [503, 503, 200])

    def test_codes_without_a_fault(self):
        for code in ("F503", "F503x", "F503xa", "Fnonex1", "f503x1", "XF503x1", "F503x0a"):
            with self.subTest(code):
                self.assertEqual(self.sandbox.call(code=code).status, 200)


class Between(unittest.TestCase):
    """What a server does between requests, read as bytes on one connection."""

    @classmethod
    def setUpClass(cls):
        cls.sandbox = cls.enterClassContext(Sandbox("--fault-by-code"))

    def setUp(self):
        self.socket = self.enterContext(self.sandbox.open())

    def ask(self, code=None, **changes):
        self.socket.sendall(self.sandbox.request_bytes("app", code, **changes))

    def answer(self):
        """Status, headers and body of one answer, read byte by byte so that nothing after it is lost."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            self.assertTrue(byte, f"the connection ended after {head!r}")
            head += byte
        line, *fields = head.decode().split("\r\n")[:-2]
        headers = http.client.HTTPMessage()
        for field in fields:
            name, value = field.split(": ", 1)
            headers[name] = value
        body = b""
        while len(body) < int(headers["Content-Length"]):
            body += self.socket.recv(int(headers["Content-Length"]) - len(body))
        answer = types.SimpleNamespace(status=int(line.split()[1]), headers=headers, body=body)
        answer.id = json.loads(body).get("pre_entrustweb_id") if answer.status == 200 else None
        return answer

    def assert_ended(self):
        self.assertEqual(self.socket.recv(1), b"")

    def test_an_answer_twice(self):
        self.ask("Ftwicex1a")
        first, second = self.answer(), self.answer()
        self.assertEqual((first.status, first.id), (200, second.id))
        self.assertTrue(self.sandbox.verifies(second))
        self.ask()
        self.assertNotEqual(self.answer().id, first.id)
        self.assertEqual(len({line.get("nonce") for line in self.sandbox.ledger()[-2:]}), 2)

    def test_an_answer_twice_does_not_wait_for_the_next_request(self):
        self.ask("Ftwicex1b")
        self.ask("B")
        first, second, third = self.answer(), self.answer(), self.answer()
        self.assertEqual(first.id, second.id)
        self.assertNotEqual(first.id, third.id)

    def test_connection_close(self):
        self.ask("Fclosex1a")
        answer = self.answer()
        self.assertEqual((answer.status, answer.headers["Connection"]), (200, "close"))
        self.assert_ended()

    def test_closed_after_the_answer(self):
        for param in ("", "p50"):
            with self.subTest(param), self.sandbox.open() as self.socket:
                self.ask(f"Fidleclosex1{param}a")
                answer = self.answer()
                self.assertEqual((answer.status, answer.headers["Connection"]), (200, None))
                self.assert_ended()

    def test_reset_while_idle(self):
        self.ask("Fidleresetx1a")
        self.assertEqual(self.answer().status, 200)
        with self.assertRaises(ConnectionResetError):
            socket.socket.recv(self.socket, 1)  # from the plain socket, since TLS reports an end of file

    def test_an_error_while_idle(self):
        for status in (400, 408):
            with self.subTest(status), self.sandbox.open() as self.socket:
                self.ask(f"Fidle{status}x1a")
                self.assertEqual(self.answer().status, 200)
                answer = self.answer()
                self.assertEqual((answer.status, answer.headers["Connection"]), (status, "close"))
                self.assert_ended()

    def test_a_request_in_time_is_answered(self):
        for kind in ("idleclose", "idlereset", "idle400", "idle408"):
            with self.subTest(kind), self.sandbox.open() as self.socket:
                self.ask(f"F{kind}x1p{1000 * WAIT_S}a")
                self.assertEqual(self.answer().status, 200)
                self.ask()
                self.assertEqual(self.answer().status, 200)

    def test_an_answer_unasked(self):
        with Sandbox("--fault", "unasked=1", directory=None) as sandbox, sandbox.open() as self.socket:
            unasked = self.answer()
            self.assertEqual(unasked.status, 200)
            self.assertTrue(sandbox.verifies(unasked))
            self.socket.sendall(sandbox.request_bytes("app"))
            self.assertNotEqual(self.answer().id, unasked.id)
            line = sandbox.ledger()[0]
            self.assertEqual((line["fault"], line["issued_id"], line["publishable"]),
                             ("unasked", unasked.id, False))
            self.assertNotIn("out_contract_code", line)

    def test_connections_that_fail(self):
        for kind, error in (("accept-close", (ssl.SSLError, ConnectionError)), ("accept-reset", ConnectionError)):
            with self.subTest(kind), Sandbox("--fault", f"{kind}=1") as sandbox:
                with self.assertRaises(error), sandbox.open():
                    pass

    def test_requests_that_are_not_http(self):
        for text in (b"nonsense\r\n\r\n", b"GET / HTTP/3\r\n\r\n", b"GET / HTTP/1.1\r\n: x\r\n\r\n",
                     b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
                     b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"):
            with self.subTest(text), self.sandbox.open() as self.socket:
                self.socket.sendall(text)
                self.assertEqual(self.answer().status, 400)
                self.assert_ended()

    def test_a_head_without_end(self):
        with contextlib.suppress(OSError):
            self.socket.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 100000)
        with contextlib.suppress(OSError):
            self.assert_ended()

    def test_a_client_that_sends_connection_close(self):
        self.ask(headers={"Connection": "close"})
        self.assertEqual(self.answer().headers["Connection"], "close")
        self.assert_ended()

    def test_a_client_that_waits_for_100_continue(self):
        head, body = self.sandbox.request_bytes("app", headers={"Expect": "100-continue"}).split(b"\r\n\r\n")
        self.socket.sendall(head + b"\r\n\r\n")
        self.assertEqual(self.socket.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.socket.sendall(body)
        self.assertEqual(self.answer().status, 200)


class Platform(unittest.TestCase):
    """What WeChat Pay has of a merchant, changed while the sandbox runs."""

    MERCHANT, OTHER = "1900007291", "1900000109"

    @classmethod
    def setUpClass(cls):
        cls.sandbox = cls.enterClassContext(Sandbox())
        cls.serials = {item["number"]: item["serial_no"] for item in
                       cls.sandbox.set(listed=[1, 2, 3])["certificates"]}

    def setUp(self):
        self.sandbox.set(serial_mode="certificate", listed=[1], signs=1, list="", calls="", accepted=[1])

    def pem(self, number):
        name = "wechatpay-certificate.pem" if number == 1 else f"wechatpay-certificate-{number}.pem"
        return (self.sandbox.directory / name).read_bytes()

    def assert_platform(self, listed, signs, mchid=MERCHANT):
        """The list has these certificates, and this one signs it and the answers of calls."""
        answer = self.sandbox.certificates(mchid)
        self.assertEqual(self.sandbox.opened(answer, mchid),
                         {self.serials[number]: self.pem(number) for number in listed})
        for signed in (answer, self.sandbox.call("partner-app" if mchid == self.OTHER else "app", mchid=mchid)):
            self.assertEqual(signed.headers["Wechatpay-Serial"], self.serials[signs])
            self.assertTrue(self.sandbox.verifies(signed, certificate=self.pem(signs)))

    def test_a_rotation(self):
        self.assert_platform([1], 1)
        self.sandbox.set(listed=[1, 2])
        self.assert_platform([1, 2], 1)
        self.sandbox.set(signs=2)
        self.assert_platform([1, 2], 2)
        self.sandbox.set(listed=[2])
        self.assert_platform([2], 2)

    def test_a_missed_switch_of_one_merchant(self):
        self.sandbox.set(mchid=self.MERCHANT, listed=[3], signs=3)
        self.assert_platform([3], 3)
        self.assert_platform([1], 1, self.OTHER)

    def test_a_signer_that_is_not_in_the_list(self):
        self.sandbox.set(signs=2)
        self.assert_platform([1], 2)

    def test_the_move_to_the_public_key_and_back(self):
        key_id = self.sandbox.merchant(self.MERCHANT)["wechatpay_public_key_id"]
        for mode, by_key, status in (("certificate", False, 200), ("both", True, 200), ("public-key", True, 404),
                                     ("both", True, 200), ("certificate", False, 200)):
            with self.subTest(mode):
                self.sandbox.set(serial_mode=mode)
                answer = self.sandbox.call(headers={"Wechatpay-Serial": key_id})
                line = self.sandbox.ledger()[-1]
                self.assertEqual((answer.status, answer.headers["Wechatpay-Serial"] == key_id), (200, by_key))
                self.assertEqual((line["asked_serial"], line["serial"]),
                                 (key_id, answer.headers["Wechatpay-Serial"]))
                self.assertEqual(self.sandbox.certificates().status, status)

    def test_faults_of_the_list(self):
        sandbox, good = self.sandbox, {self.serials[1]: self.pem(1)}
        for kind, status, signed, body in (
                ("404", 404, True, lambda answer: answer.json["code"] == "RESOURCE_NOT_EXISTS"),
                ("500", 500, True, lambda answer: answer.json["code"] == "SYSTEM_ERROR"),
                ("401", 401, True, lambda answer: answer.json["code"] == "SIGN_ERROR"),
                ("503", 503, False, lambda answer: True),
                ("unsigned", 200, False, lambda answer: sandbox.opened(answer) == good),
                ("bad-signature", 200, False, lambda answer: sandbox.opened(answer) == good),
                ("huge", 200, True, lambda answer: len(answer.body) > 65536),
                ("delay:10", 200, True, lambda answer: sandbox.opened(answer) == good),
                ("list-empty", 200, True, lambda answer: answer.json == {"data": []}),
                ("list-cut", 200, True, lambda answer: answer.body.startswith(b'{"data":[{')),
                ("list-serials", 200, True, lambda answer: [*sandbox.opened(answer).values()] == [*good.values()]
                    and not {*sandbox.opened(answer)} & {*good}),
                ("list-many:3", 200, True, lambda answer: len(answer.json["data"]) == 3
                    and sandbox.opened(answer) == good)):
            with self.subTest(kind):
                sandbox.set(list=kind)
                answer = sandbox.certificates()
                self.assertEqual(answer.status, status)
                self.assertTrue(body(answer), answer.body)
                self.assertEqual("Wechatpay-Serial" in answer.headers and
                                 sandbox.verifies(answer, certificate=self.pem(1)), signed)
                line = sandbox.ledger()[-1]
                self.assertEqual((line["endpoint"], line["fault"], line["acted"], line["publishable"]),
                                 ("certificates", kind.split(":")[0], False, False))
                self.assertEqual(sandbox.call().status, 200)

    def test_odd_elements_in_the_list(self):
        self.sandbox.set(list="list-odd")
        answer = self.sandbox.certificates()
        *odd, last = answer.json["data"]
        self.assertEqual(last["serial_no"], self.serials[1])
        self.assertEqual(len(odd), 8)
        key = (self.sandbox.directory / f"apiv3-{self.MERCHANT}.key").read_bytes()
        self.assertIn(b"BEGIN CERTIFICATE", gcm_open(key, odd[0]["encrypt_certificate"]))
        with self.assertRaisesRegex(AssertionError, "the tag does not match"):
            gcm_open(key, odd[1]["encrypt_certificate"])

    def test_new_merchants(self):
        for mode, kind, status in (("public-key", "", 404), ("public-key", "500", 500), ("certificate", "404", 404)):
            self.sandbox.set(serial_mode=mode, list=kind)
            self.assertEqual(self.sandbox.certificates().status, status, kind)

    def test_another_apiv3_key(self):
        path = self.sandbox.directory / f"apiv3-{self.MERCHANT}.key"
        self.sandbox.set(mchid=self.MERCHANT, apiv3_key="0123456789abcdef0123456789abcdef")
        answer = self.sandbox.certificates()
        with self.assertRaisesRegex(AssertionError, "the tag does not match"):
            self.sandbox.opened(answer)
        item, = answer.json["data"]
        self.assertEqual(gcm_open(b"0123456789abcdef0123456789abcdef", item["encrypt_certificate"]), self.pem(1))
        self.sandbox.set(mchid=self.MERCHANT, apiv3_key=path.read_text())
        self.sandbox.opened(self.sandbox.certificates())

    def test_a_certificate_of_another_time(self):
        state = self.sandbox.set(certificate={"number": 4, "starts_in_s": 3600, "ends_in_s": 7200}, listed=[4])
        item, = (each for each in state["certificates"] if each["number"] == 4)
        self.assertEqual(openssl("x509", "-noout", "-startdate", "-enddate", "-dateopt", "iso_8601",
                                 stdin=self.pem(4)).decode().replace(" ", "T").replace("TZ", "Z"),
                         f"notBefore={item['not_before']}\nnotAfter={item['not_after']}\n")
        self.assertGreater(item["not_before"], time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    def test_a_merchants_certificate_is_replaced(self):
        state = self.sandbox.set(mchid=self.MERCHANT, merchant_certificate={"number": 2}, accepted=[1, 2])
        state = self.sandbox.set(mchid=self.MERCHANT, merchant_certificate={"number": 3, "key": 1})
        merchant, = (each for each in state["merchants"] if each["mchid"] == self.MERCHANT)
        first, second, third = merchant["merchant_certificates"]
        for each in (first, second, third):
            pem = (self.sandbox.directory / each["file"]).read_bytes()
            key = (self.sandbox.directory / each["key_file"]).read_bytes()
            self.assertEqual(openssl("x509", "-noout", "-pubkey", stdin=pem), openssl("pkey", "-pubout", stdin=key))
            self.assertEqual(openssl("x509", "-noout", "-serial", stdin=pem).decode(), f"serial={each['serial_no']}\n")
        self.assertEqual((self.sandbox.directory / third["key_file"]).read_bytes(),
                         (self.sandbox.directory / first["key_file"]).read_bytes())
        second_call = {"serial_no": second["serial_no"], "private_key": self.sandbox.directory / second["key_file"]}
        self.assertEqual([self.sandbox.call().status, self.sandbox.call(**second_call).status,
                          self.sandbox.call(serial_no=second["serial_no"]).status,
                          self.sandbox.call(serial_no=third["serial_no"]).status], [200, 200, 401, 401])
        self.sandbox.set(accepted=[3])
        self.assertEqual([self.sandbox.call().status, self.sandbox.call(**second_call).status,
                          self.sandbox.call(serial_no=third["serial_no"]).status], [401, 401, 200])

    def test_a_fault_of_every_call(self):
        self.sandbox.set(mchid=self.MERCHANT, calls="429:9")
        answer = self.sandbox.call()
        self.assertEqual((answer.status, answer.headers["Retry-After"]), (429, "9"))
        self.assertEqual(self.sandbox.call("partner-app").status, 200)
        self.assertEqual(self.sandbox.certificates().status, 200)

    def test_the_algorithm_of_the_signature(self):
        for kind, told in (("", "WECHATPAY2-SHA256-RSA2048"), ("no-type", None),
                           ("other-type", "WECHATPAY2-SM2-WITH-SM3")):
            self.sandbox.set(calls=kind)
            answer = self.sandbox.call()
            self.assertEqual(answer.headers["Wechatpay-Signature-Type"], told)
            self.assertTrue(self.sandbox.verifies(answer, certificate=self.pem(1)))
            self.assertEqual(self.sandbox.ledger()[-1]["publishable"], kind != "other-type")

    def test_changes_that_are_refused(self):
        before = self.sandbox.send("/sandbox", None, {}, "GET").json
        for body, told in (
                ("", "not JSON"), ("[]", "give an object"), ({"lists": 1}, "lists: unknown"),
                ({"mchid": "5"}, "one of the sandbox's merchants"), ({"mchid": 1900007291}, "one of the sandbox's"),
                ({"serial_mode": "x"}, "public-key, certificate or both"), ({"listed": []}, "from 1 to 16"),
                ({"listed": [17]}, "from 1 to 16"), ({"listed": ["1"]}, "from 1 to 16"), ({"signs": 0}, "from 1 to 16"),
                ({"accepted": [9]}, "from 1 to 8"), ({"list": "rate"}, "not a fault of lists"),
                ({"list": "accept-close"}, "not a fault of lists"), ({"calls": "list-odd"}, "not a fault of calls"),
                ({"calls": 503}, "a string"), ({"list": "404:1"}, "takes no :PARAM"),
                ({"list": "list-many:21"}, "0 to 20"), ({"apiv3_key": "short"}, "32 characters"),
                ({"certificate": {}}, "must have number"), ({"certificate": {"number": 1}}, "is there already"),
                ({"certificate": {"number": 9, "starts_in_s": 10**9}}, "ten years at most"),
                ({"merchant_certificate": {"number": 1}}, "is there already"),
                ({"merchant_certificate": {"number": 8, "key": 7}}, "no merchant_certificate 7"),
                ({"signs": 2, "list": "nonsense"}, "not a fault of lists")):
            with self.subTest(body):
                answer = self.sandbox.send("/sandbox", body if isinstance(body, str) else json.dumps(body), {})
                self.assertEqual(answer.status, 400)
                self.assertIn(told, answer.json["error"])
        for method, body in (("PUT", "{}"), ("POST", " " * 70000)):
            self.assertEqual(self.sandbox.send("/sandbox", body, {}, method).status, 400)
        self.assertEqual(self.sandbox.send("/sandbox", None, {}, "GET").json, before)

    def test_the_state_outlives_the_sandbox(self):
        with tempfile.TemporaryDirectory() as parent:
            directory = Path(parent) / "sandbox"
            directory.mkdir()
            with Sandbox(directory=directory) as sandbox:
                state = sandbox.set(serial_mode="both", listed=[2, 3], signs=3, list="delay:7", calls="503",
                                    merchant_certificate={"number": 2, "key": 1}, accepted=[2],
                                    apiv3_key="0123456789abcdef0123456789abcdef",
                                    certificate={"number": 4, "ends_in_s": -1})
            self.assertEqual(stat.S_IMODE((directory / "platform.json").stat().st_mode), 0o600)
            with Sandbox("--merchant", self.MERCHANT + ":direct", "--merchant", "5:direct",
                         directory=directory) as sandbox:
                after = sandbox.set()
                self.assertEqual(after["certificates"], state["certificates"])
                self.assertEqual(after["merchants"][0], state["merchants"][0])
                self.assertEqual(after["merchants"][1]["listed"], [1])
                self.assertIn("wechatpay_public_key", sandbox.merchant(self.MERCHANT))
                self.assertIn("platform_certificates", sandbox.merchant(self.MERCHANT))
            with Sandbox("--serial-mode", "certificate", directory=directory) as sandbox:
                self.assertEqual(sandbox.set()["merchants"][0]["serial_mode"], "certificate")
            for text in ("", "[]", '{"merchants": [{"mchid": "1900007291", "x": 1}]}'):
                (directory / "platform.json").write_text(text)
                done = subprocess.run([PROGRAM, "sandbox", "--dir", directory, "--seconds", "1"],
                                      capture_output=True, text=True, timeout=WAIT_S)
                self.assertEqual(done.returncode, 78)
                self.assertIn(f"{directory}/platform.json: ", done.stderr)
                self.assertIn("; delete it", done.stderr)


class Shares(unittest.TestCase):
    def statuses(self, sandbox, count=40):
        return [sandbox.call(code=f"S{i}").status for i in range(count)]

    def test_the_seed_determines_the_faults(self):
        runs = []
        for seed in (1, 1, 2):
            with Sandbox("--seed", seed, "--fault", "503=0.3", "--fault", "429=0.3:5") as sandbox:
                runs.append(self.statuses(sandbox))
        self.assertEqual(runs[0], runs[1])
        self.assertNotEqual(runs[0], runs[2])
        self.assertEqual(set(runs[0]), {200, 429, 503})

    def test_a_share_of_one_for_one_merchant(self):
        with Sandbox("--fault", "429=1:9@1900007291") as sandbox:
            answer = sandbox.call()
            self.assertEqual((answer.status, answer.headers["Retry-After"]), (429, "9"))
            self.assertEqual(sandbox.call("partner-app").status, 200)

    def test_a_rate_limit_for_one_merchant(self):
        with Sandbox("--fault", "rate=1:1@1900007291") as sandbox:
            for _ in range(1000):
                answer = sandbox.call()
                if answer.status == 429:
                    break
            self.assertEqual((answer.status, answer.headers["Retry-After"]), (429, None))
            for _ in range(1000):
                answer = sandbox.call()
                if answer.status == 200:
                    break
            self.assertEqual(answer.status, 200)
        with Sandbox("--fault", "rate=1:0@1900007291") as sandbox:
            self.assertEqual({sandbox.call().status for _ in range(5)}, {429})
            self.assertEqual(sandbox.call("partner-app").status, 200)

    def test_mistakes(self):
        for options, status, told in (
                (["--fault", "503"], 64, "KIND=SHARE"), (["--fault", "nope=1"], 64, "unknown KIND"),
                (["--fault", "list-odd=1"], 64, "of certificates only"), (["--fault", "503=2"], 64, "from 0 to 1"), (["--fault", "503=x"], 64, "from 0 to 1"),
                (["--fault", "503=0.1:1"], 64, "takes no :PARAM"),
                (["--fault", "429=0.1:x"], 64, "PARAM must be a whole number"),
                (["--fault", "503=0.1@5"], 64, "unknown merchant 5"),
                (["--fault", "unasked=1@1900007291"], 64, "a connection has no merchant yet"),
                (["--fault", "unasked=0.6", "--fault", "accept-close=0.6"], 64, "connections add up to 1.2"),
                (["--fault", "503=0.6", "--fault", "500=0.6"], 64, "more than 1"),
                (["--merchant", "x:direct"], 64, "MCHID:direct"), (["--merchant", "5:both"], 64, "MCHID:direct"),
                (["--merchant", "5:direct", "--merchant", "5:partner"], 64, "given before"),
                (["--serial-mode", "x"], 64, "give one of public-key, certificate, both"),
                (["--listen", "0.0.0.0:0"], 64, "give --name"), (["--listen", "127.0.0.1"], 64, "a port"),
                (["--name", "a/b"], 64, "a host name or an address"),
                (["--schema-dir", "/nonexistent"], 78, "--schema-dir"),
                (["--dir", "/nonexistent/a"], 78, "/nonexistent/a")):
            with self.subTest(options), tempfile.TemporaryDirectory() as directory:
                done = subprocess.run([PROGRAM, "sandbox", "--dir", f"{directory}/s", "--seconds", "1", *options],
                                      capture_output=True, text=True, timeout=WAIT_S)
                self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
                self.assertIn(told, done.stderr)

    def test_a_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as other, tempfile.TemporaryDirectory() as directory:
            done = subprocess.run([PROGRAM, "sandbox", "--dir", directory, "--listen",
                                   f"127.0.0.1:{other.getsockname()[1]}"],
                                  capture_output=True, text=True, timeout=WAIT_S)
            self.assertEqual(done.returncode, 69)
            self.assertIn("Address already in use", done.stderr)


if __name__ == "__main__":
    unittest.main()
