#!/usr/bin/env python3
"""Signing and verifying against wechatpayv3, a client of the API that shares no code with us.

usage: wechatpay.py WECHATPAY_PROBE VENV_DIR

It builds the Authorization header that we must build, and signs answers that we must accept,
and refuse once a byte was changed. It decrypts the lists of certificates that we must open.
VENV_DIR is made on first use (pip needs an index then).
Exit status 77: it cannot be had; with PRESIGND_REQUIRE_SUITES=1 that is a failure.
"""

import base64
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import sdk

ROUNDS = 60
VALID = "the signature is valid"
KEY_ID = "PUB_KEY_ID_1"


class Probe:
    def __init__(self, program, private_pem, public_pem):
        self.process = subprocess.Popen([program, private_pem, public_pem], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, **line):
        line["body"] = base64.b64encode(line["body"].encode()).decode()
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def close(self):
        self.process.stdin.close()
        return self.process.wait(timeout=180)


def random_text(rng):
    """Nothing, JSON, characters of one to four bytes, line ends, up to the largest answer."""
    length = rng.choice([0, 1, 2, 40, 400, 16000])
    letters = "a\"{}\\\n\r\t\0 é微信支付（）\U0001f600"
    return "".join(rng.choice(letters) for _ in range(length))


def flipped(rng, text):
    """The text with one character put in another's place."""
    at = rng.randrange(len(text))
    return text[:at] + ("x" if text[at] != "x" else "y") + text[at + 1:]


def check(what, got, expected):
    if got != expected:
        sys.exit(f"FAILED: {what}: got {got!r}, expected {expected!r}")


def check_requests(rng, probe, key):
    from wechatpayv3 import utils
    for _ in range(ROUNDS):
        at = rng.randrange(10**9, 2 * 10**9)
        request = {"method": rng.choice(["GET", "POST"]), "path": f"/v3/{rng.random()}?a=%E5&b",
                   "nonce": f"{rng.getrandbits(128):032X}", "body": random_text(rng),
                   "mchid": str(rng.randrange(10**10)), "serial": f"{rng.getrandbits(160):040X}"}
        with mock.patch.object(utils.time, "time", return_value=at + 0.9):
            theirs = utils.build_authorization(request["path"], request["method"],
                                               request["mchid"], request["serial"], key,
                                               request["body"], request["nonce"])
        check("Authorization", probe.ask(op="sign", timestamp=at, **request), theirs)


def check_answers(rng, probe, key):
    from wechatpayv3 import utils
    for _ in range(ROUNDS):
        now = rng.randrange(10**9, 2 * 10**9)
        answer = {"timestamp": str(now), "nonce": f"{rng.getrandbits(128):032x}",
                  "body": random_text(rng), "serial": KEY_ID}
        text = "{timestamp}\n{nonce}\n{body}\n".format(**answer)
        answer["signature"] = utils.rsa_sign(key, text)
        check("untouched", probe.ask(op="verify", now=now, **answer), VALID)
        check("probe", probe.ask(op="verify", now=now, **{
            **answer, "signature": "WECHATPAY/SIGNTEST/" + answer["signature"]}),
              "the signature is a signature test, which must fail")
        for name in ("nonce", "body", "signature", "serial"):
            if answer[name]:
                changed = {**answer, name: flipped(rng, answer[name])}
                if probe.ask(op="verify", now=now, **changed) == VALID:
                    sys.exit(f"FAILED: accepted although the {name} was changed: {changed!r}")
        late = {**answer, "timestamp": str(now + 1)}
        check("timestamp", probe.ask(op="verify", now=now, **late),
              "the signature does not match the answer")


def certificate_of(rng, key):
    """PEM, and what the probe prints of it."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as s
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Tenpay.com sign")])
    begin = datetime.datetime(2020, 1, 1)
    serial = rng.getrandbits(rng.choice([8, 64, 159])) | 1
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(serial).not_valid_before(begin)
            .not_valid_after(begin + datetime.timedelta(days=7300)).sign(key, hashes.SHA256()))
    der = key.public_key().public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)
    text = f"{serial:X}"
    text = text.zfill(len(text) + len(text) % 2)  # whole bytes
    return made.public_bytes(s.Encoding.PEM).decode(), text, hashlib.sha256(der).hexdigest()


def sealed(rng, key, pem, serial):
    """An element of the list."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    nonce = "".join(rng.choices("0123456789abcdefghijklmnopqrstuvwxyz", k=rng.choice([12, 12, 12, 16, 32])))
    data = rng.choice(["certificate", "certificate", "", "证书"])
    text = AESGCM(key.encode()).encrypt(nonce.encode(), pem.encode(), data.encode())
    return {"serial_no": serial, "effective_time": "2018-06-08T10:34:56+08:00",
            "expire_time": "2018-12-08T10:34:56+08:00",
            "encrypt_certificate": {"algorithm": "AEAD_AES_256_GCM", "nonce": nonce, "associated_data": data,
                                    "ciphertext": base64.b64encode(text).decode()}}


def is_canonical(text):
    """Bits that pad the last character are zero (RFC 4648, section 3.5). The SDK ignores them; we refuse others."""
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode() == text
    except ValueError:
        return False


def check_lists(rng, probe, key):
    from wechatpayv3 import utils
    for _ in range(ROUNDS):
        apiv3_key = "".join(rng.choices("0123456789abcdefABCDEF!/+", k=32))
        items, expected, skipped = [], [], 0
        for _ in range(rng.randrange(1, 5)):
            pem, serial, sha256 = certificate_of(rng, key)
            item = sealed(rng, apiv3_key, pem, rng.choice([serial, serial.lstrip("0"), serial.lower()]))
            parts = item["encrypt_certificate"]
            if rng.random() < 0.3:
                at = rng.choice(["ciphertext", "nonce", "associated_data"])
                parts[at] = flipped(rng, parts[at]) if parts[at] else "x"
            try:
                opened = utils.aes_decrypt(nonce=parts["nonce"], ciphertext=parts["ciphertext"],
                                           associated_data=parts["associated_data"], apiv3_key=apiv3_key)
            except Exception:  # of base64 too
                opened = None
            row = f"{serial}={sha256}"
            # A serial that is there twice counts once.
            if opened == pem and is_canonical(parts["ciphertext"]) and row not in expected:
                expected.append(row)
            else:
                skipped += 1
            items.append(item)
        text = json.dumps({"data": items}, ensure_ascii=False)
        check("list", probe.ask(op="list", body=text, key=apiv3_key), " ".join([*expected, str(skipped)]))
        check("list of another key", probe.ask(op="list", body=text, key=apiv3_key[::-1]), str(len(items)))
        cut = text[:rng.randrange(len(text))]
        check("list that is cut", probe.ask(op="list", body=cut, key=apiv3_key), "0")


def key_files(directory, bits):
    """A merchant's key pair and WeChat Pay's: the two that the probe reads, and the private
    one of WeChat Pay's."""
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import rsa
    own = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    theirs = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    private, public = Path(directory, "own.pem"), Path(directory, "theirs.pem")
    private.write_bytes(own.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8,
                                          s.NoEncryption()))
    public.write_bytes(theirs.public_key().public_bytes(s.Encoding.PEM,
                                                        s.PublicFormat.SubjectPublicKeyInfo))
    return str(private), str(public), own, theirs


def main():
    sdk.enter_venv(Path(sys.argv[2]))
    program = sys.argv[1]
    seed = int(os.environ.get("PRESIGND_SEED", random.SystemRandom().randrange(2**32)))
    print(f"seed {seed} (PRESIGND_SEED repeats it)")
    rng = random.Random(seed)
    for bits in (2048, 3072):
        with tempfile.TemporaryDirectory() as directory:
            private, public, own, theirs = key_files(directory, bits)
            probe = Probe(program, private, public)
            check_requests(rng, probe, own)
            check_answers(rng, probe, theirs)
            check_lists(rng, probe, theirs)
            check("exit status", probe.close(), 0)
        print(f"{bits} bits: {ROUNDS} requests, {ROUNDS} answers and {ROUNDS} lists agree")


if __name__ == "__main__":
    main()
