"""Checks that the cost of parsers grows linearly: test_cost.py VALGRIND PROGRAMS

Each fuzz target reads hostile inputs of two sizes under callgrind, which counts instructions, also
those of jansson, OpenSSL and PCRE2. Four times the input may cost five times as much; quadratic
costs grow by sixteen. PROGRAMS is the directory of the programs fuzz-cost-TARGET.
"""

import base64
import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SHORT, LONG = 2000, 8000
GROWTH_MAX = 5
CONSTANT = 20_000  # instructions that do not depend on the size

DATA = {"appid": "wx1", "plan_id": 1, "out_contract_code": "c1", "contract_display_account": "u",
        "contract_notify_url": "https://a.example/n"}


def message(headers, body):
    return b"".join(name + b": " + value + b"\n" for name, value in headers) + b"\n" + body


def repeated(unit, size):
    return unit * (size // len(unit))


def structured(**members):
    return message([(b"content-type", b"application/cloudevents+json")],
                   json.dumps({"specversion": "1.0", "id": "1", "source": "/o",
                               "type": "wechatpay.presign.app.requested", **members}).encode())


def binary(headers):
    return message([(b"ce_specversion", b"1.0"), (b"ce_id", b"1"), (b"ce_source", b"/o"),
                    (b"ce_type", b"wechatpay.presign.app.requested"), *headers], json.dumps(DATA).encode())


def members(size, head=b"m"):
    return b"{" + b",".join(b'"%s%d":%d' % (head, n, n) for n in range(size // 12)) + b"}"


# TARGET: {what: an input of about that size}
INPUTS = {
    "record": {
        "arrays": lambda size: repeated(b"[", size),
        "objects in an array": lambda size: b"[" + repeated(b"{},", size) + b"0]",
        "members": members,
        "a member twice, at the end": lambda size: members(size)[:-1] + b',"m0":0}',
        "one string": lambda size: b'"' + b"a" * size + b'"',
        "escapes": lambda size: b'"' + repeated(b"\\u0041", size) + b'"',
        "one integer": lambda size: b"1" * size,
        "one real": lambda size: b"1." + b"1" * size,
        "white space": lambda size: b" " * size + b"1",
        "headers": lambda size: binary((b"ce_h%d" % n, b"v") for n in range(size // 10)),
        "headers that all have one name": lambda size: binary([(b"ce_h", b"v")] * (size // 8)),
        "an attribute that comes again and again": lambda size: binary([(b"ce_mchid", b"1")] * (size // 12)),
        "names of headers": lambda size: binary((b"ce_" + b"h" * 80 + b"%d" % n, b"v") for n in range(size // 88)),
        "tracestate": lambda size: binary([(b"traceparent", b"00-" + b"1" * 32 + b"-" + b"1" * 16 + b"-01"),
                                           *[(b"tracestate", b"a%d=1" % n) for n in range(size // 18)]]),
        "media type": lambda size: message([(b"content-type", b"application/cloudevents+json" +
                                             repeated(b";a=\"\\\"\"", size))], b"{}"),
        "attributes": lambda size: structured(**{f"a{n}": "v" for n in range(size // 12)}),
        "an id": lambda size: structured(id="\u5fae" * (size // 3)),
        "data in base64": lambda size: structured(data_base64=base64.b64encode(members(size * 3 // 4)).decode()),
        "a URL": lambda size: structured(data={**DATA, "contract_notify_url": "https://" + "a" * size + "?"}),
        "unknown members": lambda size: structured(data={**DATA, **{f"m{n}": 1 for n in range(size // 12)}}),
        "names of unknown members": lambda size: structured(data={**DATA, "~/" * (size // 2): 1}),
    },
    "answer": {
        "members": lambda size: message([(b":signed", b"1")], members(size)),
        "members beside the id": lambda size: message(
            [(b":signed", b"1")], b'{"pre_entrustweb_id": "1", ' + members(size)[1:]),
        "arrays": lambda size: message([(b":signed", b"1")], repeated(b"[", size)),
        "an error's message": lambda size: message(
            [(b":status", b"400"), (b":signed", b"1")], json.dumps({"code": "E", "message": "m" * size}).encode()),
        "detail": lambda size: message([(b":status", b"400"), (b":signed", b"1")],
                                       b'{"code": "E", "detail": ' + members(size) + b"}"),
        "a signature": lambda size: message([(b"Wechatpay-Serial", b"PUB_KEY_ID_1"),
                                             (b"Wechatpay-Timestamp", b"1795420800"), (b"Wechatpay-Nonce", b"n"),
                                             (b"Wechatpay-Signature", b"A" * size)], b"{}"),
        "Retry-After": lambda size: message([(b":status", b"503"), (b"Retry-After", b"1" * size)], b"{}"),
        "Request-ID": lambda size: message([(b":status", b"503"), (b"Request-ID", b"\xff" * size)], b"{}"),
    },
    "certificates": {
        "ciphertext": lambda size: json.dumps({"data": [{"serial_no": "1", "encrypt_certificate": {
            "algorithm": "AEAD_AES_256_GCM", "nonce": "n", "ciphertext": "A" * size}}]}).encode(),
        "elements": lambda size: b'{"data": [' + repeated(b"{},", size) + b"{}]}",
        "members": lambda size: b'{"data": ' + members(size) + b"}",
        "what is sealed": lambda size: b"seal" + repeated(b"-----BEGIN CERTIFICATE-----\n", size),
        "a file": lambda size: b"-----BEGIN CERTIFICATE-----\n" + repeated(b"A" * 64 + b"\n", size),
    },
    "window": {
        "base64": lambda size: b"7 presignd/1:7:" + b"A" * size + b"\n",
        "digits": lambda size: b"7 presignd/1:" + b"1" * size + b"\n",
        "other text": lambda size: b"7 " + repeated(b"presignd/", size) + b"\n",
    },
}


class Cost(unittest.TestCase):
    def counts(self, target, inputs):
        """{name of a file: instructions}"""
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            for number, content in enumerate(inputs):
                (directory / f"{number:03}").write_bytes(content)
            files = sorted(str(path) for path in directory.iterdir())
            subprocess.run([VALGRIND, "-q", "--tool=callgrind", f"--callgrind-out-file={directory}/profile",
                            PROGRAMS / f"fuzz-cost-{target}", *files], check=True)
            counts = {}
            # The last profile of a file is that of its own run.
            for profile in sorted(directory.glob("profile.*"), key=lambda path: int(path.suffix[1:])):
                text = profile.read_text(encoding="utf-8", errors="replace")
                trigger = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
                total = re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE)
                if trigger:
                    counts[trigger[1]] = int(total[1])
            return [counts[name] for name in files]

    def check(self, target):
        rows = INPUTS[target]
        counts = self.counts(target, [make(size) for make in rows.values() for size in (SHORT, LONG)])
        for name, short, long in zip(rows, counts[::2], counts[1::2]):
            with self.subTest(name):
                print(f"{target}, {name}: {short}, {long}")
                self.assertLessEqual(long, GROWTH_MAX * short + CONSTANT)

    def test_records(self):
        self.check("record")

    def test_answers(self):
        self.check("answer")

    def test_certificates(self):
        self.check("certificates")

    def test_offset_metadata(self):
        self.check("window")


if __name__ == "__main__":
    VALGRIND, PROGRAMS = sys.argv[1], Path(sys.argv[2])
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
