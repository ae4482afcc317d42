#!/usr/bin/env python3
"""Signing and verifying against wechatpayv3, a client of the API that shares no code with us.

usage: wechatpay.py WECHATPAY_PROBE VENV_DIR

It builds the Authorization header that we must build, and signs answers that we must accept,
and refuse once a byte was changed. VENV_DIR is made on first use (pip needs an index then).
Exit status 77: it cannot be had; with PRESIGND_REQUIRE_SUITES=1 that is a failure.
"""

import base64
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
            check("exit status", probe.close(), 0)
        print(f"{bits} bits: {ROUNDS} requests and {ROUNDS} answers agree")


if __name__ == "__main__":
    main()
