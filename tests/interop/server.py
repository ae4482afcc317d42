#!/usr/bin/env python3
"""WeChat Pay by other people's code: keys and certificates of cryptography, signatures of wechatpayv3.

usage: server.py VENV_DIR DIR

It makes in DIR: merchant.pem, certificate.pem (the merchant's), apiv3.key, public.pem (WeChat Pay's public
key) and platform-N.pem (its certificates), and prints {"url", "public_key_id", "serial_no", "serials"}. It
answers pre-sign calls and GET /v3/certificates. Each line of input is an object; its members replace those
of the state, from the next request on, and the state is printed:

  mode    certificate, public-key, or both: the public key where the request's Wechatpay-Serial names it
  listed  numbers of the certificates in the list
  signs   number of the certificate that signs
  apiv3   the APIv3 key

Each request is a line of DIR/requests.jsonl: path, asked_serial, serial_no, verified (its signature, by the
merchant's certificate), serial (of the answer), id, body.
"""

import base64
import datetime
import http.server
import json
import os
import re
import secrets
import sys
import threading
import time
import uuid
from pathlib import Path

import sdk

MCHID = "1900007291"
PUBLIC_KEY_ID = "PUB_KEY_ID_0119000072912026113000000000"
FIELD = re.compile(r'(\w+)="([^"]*)"')


def pem_of_private(key):
    from cryptography.hazmat.primitives import serialization as s
    return key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())


def certificate(name, key, issuer_name, issuer_key, serial_number):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    now = datetime.datetime.now(datetime.timezone.utc)

    def named(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    return (x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer_name))
            .public_key(key.public_key()).serial_number(serial_number)
            .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1825))
            .sign(issuer_key, hashes.SHA256()))


class Platform:
    """WeChat Pay's side of one merchant."""

    def __init__(self, directory):
        from cryptography.hazmat.primitives import serialization as s
        from cryptography.hazmat.primitives.asymmetric import rsa

        def key():
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)

        def serial_of_digits(digits):
            return secrets.randbits(4 * digits - 1) | 1 << (4 * digits - 2)

        authority, self.merchant, self.public = key(), key(), key()
        own = certificate("商户API证书", self.merchant, "Tests CA", authority, serial_of_digits(40))
        self.merchant_serial = f"{own.serial_number:X}"
        self.keys, self.certificates = {}, {}
        self.directory = directory
        for number in (1, 2, 3):
            self.keys[number] = key()
            # One in sixteen has a digit less; openssl prints a 0 before it, Go, Java and Python do not.
            self.certificates[number] = certificate("Platform", self.keys[number], "Tests CA", authority,
                                                    serial_of_digits(39 if number == 2 else 40))
            self.write(f"platform-{number}.pem", self.pem(number))
        self.state = {"mode": "certificate", "listed": [1], "signs": 1, "apiv3": secrets.token_hex(16)}
        self.write("merchant.pem", pem_of_private(self.merchant))
        self.write("certificate.pem", own.public_bytes(s.Encoding.PEM))
        self.write("apiv3.key", self.state["apiv3"].encode())
        self.write("public.pem", self.public.public_key().public_bytes(
            s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
        self.lock = threading.Lock()

    def write(self, name, content):
        with open(os.open(self.directory / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)

    def pem(self, number):
        from cryptography.hazmat.primitives.serialization import Encoding
        return self.certificates[number].public_bytes(Encoding.PEM)

    def serial(self, number):
        return f"{self.certificates[number].serial_number:X}"

    def sealed(self, number):
        """An element of the list."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        nonce = secrets.token_hex(6)
        text = AESGCM(self.state["apiv3"].encode()).encrypt(nonce.encode(), self.pem(number), b"certificate")
        return {"serial_no": self.serial(number), "effective_time": "2018-06-08T10:34:56+08:00",
                "expire_time": "2018-12-08T10:34:56+08:00",  # what counts is in the certificate
                "encrypt_certificate": {"algorithm": "AEAD_AES_256_GCM", "nonce": nonce,
                                        "associated_data": "certificate",
                                        "ciphertext": base64.b64encode(text).decode()}}

    def verified(self, method, path, headers, body):
        """The serial number that the request names, where its signature is the merchant's."""
        from wechatpayv3 import utils
        scheme, _, fields = headers.get("Authorization", "").partition(" ")
        fields = dict(FIELD.findall(fields))
        # The SDK verifies TIMESTAMP LF NONCE LF BODY LF; a request has two lines before them.
        good = (scheme == "WECHATPAY2-SHA256-RSA2048" and fields.get("mchid") == MCHID and
                fields.get("serial_no") == self.merchant_serial and
                abs(int(fields["timestamp"]) - time.time()) < 300 and
                utils.rsa_verify(f"{method}\n{path}\n{fields['timestamp']}", fields["nonce_str"], body,
                                 fields["signature"], self.merchant.public_key()))
        return fields.get("serial_no") if good else None

    def signer(self, asked):
        """The key that signs the answer, and its serial."""
        if self.state["mode"] == "public-key" or (self.state["mode"] == "both" and asked == PUBLIC_KEY_ID):
            return self.public, PUBLIC_KEY_ID
        return self.keys[self.state["signs"]], self.serial(self.state["signs"])

    def answer(self, method, path, headers, body):
        """Status, headers and body; with a line in requests.jsonl."""
        from wechatpayv3 import utils
        asked = headers.get("Wechatpay-Serial")
        serial_no = self.verified(method, path, headers, body)
        session = uuid.uuid4().hex if method == "POST" else None
        if not serial_no:
            status, answer = 401, {"code": "SIGN_ERROR", "message": "签名错误"}
        elif path == "/v3/certificates" and method == "GET" and self.state["mode"] == "public-key":
            status, answer = 404, {"code": "RESOURCE_NOT_EXISTS", "message": "无可用的平台证书"}
        elif path == "/v3/certificates" and method == "GET":
            status, answer = 200, {"data": [self.sealed(number) for number in self.state["listed"]]}
        else:
            status, answer = 200, {"pre_entrustweb_id": session, "提示": "独立实现"}
        text = json.dumps(answer, ensure_ascii=False)
        key, serial = self.signer(asked)
        timestamp, nonce = str(int(time.time())), secrets.token_hex(16)
        line = {"path": path, "asked_serial": asked, "serial_no": serial_no, "verified": bool(serial_no),
                "status": status, "serial": serial, "id": session, "body": body}
        with open(self.directory / "requests.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return status, text.encode(), {
            "Content-Type": "application/json; charset=utf-8", "Request-ID": uuid.uuid4().hex,
            "Wechatpay-Serial": serial, "Wechatpay-Timestamp": timestamp, "Wechatpay-Nonce": nonce,
            "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
            "Wechatpay-Signature": utils.rsa_sign(key, f"{timestamp}\n{nonce}\n{text}\n")}


def serve(platform):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_call(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            with platform.lock:
                status, answer, headers = platform.answer(self.command, self.path, self.headers, body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = handle_call

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def main():
    platform = Platform(Path(sys.argv[2]))
    print(json.dumps({"url": serve(platform), "public_key_id": PUBLIC_KEY_ID, "serial_no": platform.merchant_serial,
                      "serials": {number: platform.serial(number) for number in platform.certificates}}), flush=True)
    for line in sys.stdin:
        with platform.lock:
            platform.state.update(json.loads(line))
            print(json.dumps(platform.state), flush=True)


if __name__ == "__main__":
    sdk.enter_venv(Path(sys.argv[1]))
    main()
