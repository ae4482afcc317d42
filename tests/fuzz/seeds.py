#!/usr/bin/python3
"""Writes the fuzz targets' seeds: seeds.py DIRECTORY

It makes them from schemas, samples and other tests: DIRECTORY/TARGET/NNNN has one input each, in the
form that the comment at the top of the target describes.
"""

import base64
import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import test_bad_input as bad  # noqa: E402

VECTORS = ROOT / "tests" / "vectors"
SUITE = ROOT / "build" / "schema-suite" / "tests" / "draft2020-12"
SIZE_MAX = 4096  # larger seeds slow the search down; other tests cover limits


def message(headers, body):
    lines = [name.encode() + (b"" if value is None else b": " + value) for name, value in headers]
    return b"".join(line + b"\n" for line in lines) + b"\n" + (body or b"")


def record_seeds():
    for cases in (bad.empty_cases, bad.size_cases, bad.json_cases, bad.attribute_cases, bad.type_cases,
                  bad.data_cases, bad.routing_cases, bad.order_cases):
        for case in cases():
            yield message(case.headers, case.value)
    trace = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
             ("tracestate", b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")]
    key, value, headers = bad.binary(bad.envelope_of(), more=trace)
    yield message(headers, value)


def suite_groups():
    """Seeds from the official test suite, if tests/schema-suite/fetch has fetched it."""
    for path in sorted(SUITE.rglob("*.json")):
        yield from json.loads(path.read_text(encoding="utf-8"))


def schema_seeds():
    for path in sorted((ROOT / "schemas").glob("*.json")):
        yield path.read_bytes()
        schema = json.loads(path.read_text(encoding="utf-8"))
        for example in schema.get("examples", ()):
            yield json.dumps({"schema": schema, "instance": example}).encode()
    for definition in bad.SCHEMAS["common.json"]["$defs"].values():
        for instance in ("text", 1, {}, []):
            yield json.dumps({"schema": definition, "instance": instance}).encode()
    for group in suite_groups():
        for test in group["tests"]:
            yield json.dumps({"schema": group["schema"], "instance": test["data"]}).encode()


def patterns_in(value):
    if isinstance(value, dict):
        for name, part in value.items():
            if name == "pattern" and isinstance(part, str):
                yield part
            if name == "patternProperties" and isinstance(part, dict):
                yield from part
            yield from patterns_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from patterns_in(part)


def pattern_seeds():
    texts = ("", "a", "aaaaaaaaaaaaaaaaaaaaaaaab", "https://a.example/n", "t/0/41", "\u5fae\U0001f600", "a-b_1 \t")
    patterns = {*patterns_in(bad.SCHEMAS), *patterns_in(list(suite_groups())),
                "^(?:[^<>&]|&amp;)*$", "^(a+)+$", r"(?<n>a)\k<n>\1(?=b)(?!c)(?<=d)(?<!e)", "a{1}b{2,}c{3,4}?d*?e+?f??",
                r"[^\d\w\s\-x-z\b][]\u{1F600}\ud83d\ude00\x41\cJ\0\p{L}\P{Script=Greek}\bB\B", "^a{,3}$", "a{", "}", "]",
                "a**", "(?=a)*", r"[\d-z]", r"(a)\2", "[+--]", "(((((((((((a)))))))))))\\11", "(?:[ab]{300}c|d)"}
    for pattern in sorted(patterns):
        for text in texts:
            yield f"{pattern}\n{text}".encode("utf-8", "surrogatepass")


def instance_seeds():
    for name, schema in sorted(bad.SCHEMAS.items()):
        yield from (json.dumps(example, ensure_ascii=False).encode() for example in schema.get("examples", ()))
    for case in bad.data_cases():
        try:
            yield json.dumps(json.loads(case.value)["data"], ensure_ascii=False).encode()
        except (ValueError, KeyError, TypeError):
            pass


def answer_seeds():
    signature = [("Wechatpay-Serial", b"PUB_KEY_ID_1"), ("Wechatpay-Timestamp", b"1795420800"),
                 ("Wechatpay-Nonce", b"n"), ("Request-ID", b"08F7")]
    for endpoint in bad.SCHEMAS:
        if endpoint.endswith(".response.json"):
            name = [(":endpoint", endpoint.removesuffix(".response.json").encode())]
            for example in bad.SCHEMAS[endpoint]["examples"]:
                body = json.dumps(example).encode()
                for more in ([(":signed", b"1")], [("Wechatpay-Signature", b"AAAA")],
                             [("Wechatpay-Signature", b"WECHATPAY/SIGNTEST/AAAA")],
                             [(":signed", b"1"), ("Content-Encoding", b"gzip")]):
                    yield message(name + signature + more, body)
                yield message(name + signature + [(":signed", b"1")], body[:-1] + b', "n": 1e400, "m": [1.50, {}]}')
    error = b'{"code": "PARAM_ERROR", "message": "no", "detail": {"location": null, "value": 1}}'
    for status in (100, 200, 202, 204, 302, 400, 401, 403, 429, 500, 501, 503):
        for body in (b"", error, b"<html></html>"):
            yield message([(":status", b"%d" % status), ("Retry-After", b"3"), (":signed", b"1")], body)
    for transfer in range(1, 4):
        yield message([(":transfer", b"%d" % transfer), ("Retry-After", b"Mon, 23 Nov 2026 08:00:09 GMT")], b"{}")


def certificates_seeds():
    k7 = (VECTORS / "k7_certificates_response.json").read_bytes()
    certificate = json.loads((VECTORS / "k6_aes_gcm.json").read_bytes())["plaintext"].encode()
    yield from (k7, b"{}", b'{"data": []}', k7.replace(b"AEAD_AES_256_GCM", b"AEAD_SM4_GCM"))
    yield from (b"seal" + certificate, certificate)
    for path in sorted(VECTORS.glob("*.pem")):
        yield path.read_bytes()
        yield b"seal" + path.read_bytes()
        yield b"file\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n")
        der = base64.b64decode(b"".join(path.read_bytes().splitlines()[1:-1]))
        yield from (b"file" + der, b"file-----BEGIN RSA PUBLIC KEY-----\n" + base64.b64encode(der) +
                    b"\n-----END RSA PUBLIC KEY-----\n")


def config_seeds():
    sample = (ROOT / "conf" / "sample.conf").read_text(encoding="utf-8")
    yield sample.encode()
    plain = [line for line in sample.splitlines() if line and not line.startswith(("#", ";"))]
    yield "\n".join(plain).encode()
    merchant = ("\n[merchant 1900007291]\nmode = direct\nserial_no = 408B07\nprivate_key = /k.pem\n"
                "wechatpay_public_key_id = PUB_KEY_ID_01\nwechatpay_public_key = /p.pem\n")
    base = "[daemon]\ninstance = x\n[kafka]\nbootstrap.servers = b:1\ngroup.id = g\n" + merchant
    yield base.encode()
    section = ""
    for line in plain:
        if line.startswith("["):
            section = line
        else:
            key = line.split("=")[0]
            for value in ("", "-1", "99999999999", "@name", "/a/path", "a\tb", "\xff", "http://h/ ; c"):
                yield f"{section}\n{key}= {value}\n".encode("latin-1")
    for text in ("[", "[]", "[merchant]", "[merchant x]", "key = 1", " [daemon]", "\ufeff[daemon]", "[daemon]\n=",
                 "[daemon]\ninstance", "[daemon]\n[daemon]", merchant * 2, "[daemon]\n" + "a" * 300 + " = 1"):
        yield text.encode()


def window_seeds():
    def metadata(bits):
        return b"presignd/1:100:" + base64.b64encode(bits)
    for bits in (b"", b"\x01", b"\xff" * 8, b"\x00" * 1023 + b"\x80", b"\xff" * 1024, b"\xff" * 1025):
        yield b"100 " + metadata(bits) + b"\n" + bytes([0, 1, 2, 0x81, 0x80, 0, 0x82, 0x7f, 0x7f, 0, 0x80])
    for head in (b"-1 ", b"0", b"7 other", b"7 presignd/2:AA==", b"7 presignd/1:7:!", b"7 presignd/1:8:AA==", b"9223372036854000000 "):
        yield head + b"\n" + bytes(range(0, 256, 5))
    yield b"0 \n" + bytes([0] * 60 + [0x80, 0x82, 0x81] * 20)


def main():
    directory = Path(sys.argv[1])
    shutil.rmtree(directory, ignore_errors=True)
    for target in ("record", "schema", "pattern", "instance", "answer", "certificates", "config", "window"):
        seeds = sorted({seed for seed in globals()[f"{target}_seeds"]() if len(seed) <= SIZE_MAX})
        (directory / target).mkdir(parents=True)
        for number, seed in enumerate(seeds):
            (directory / target / f"{number:04}").write_bytes(seed)
        print(f"{target}: {len(seeds)} seeds")


if __name__ == "__main__":
    main()
