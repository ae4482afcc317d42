"""What must never be told: keys, passwords, signatures, bodies and whom they are about.

Planted in configuration and events, then looked for in everything that the daemon writes but its
records: the log at debug level, with librdkafka's debugging asked for, and every admin page. A failure record's
`original` is the event itself; the rest of it must not repeat values.
"""

import base64
import json
import re
import signal
import subprocess
import unittest

from harness import ROOT, World, event, http_get
from kafka_broker import Cluster

DIRECT, PARTNER = "1900007291", "1900000109"
OPENID = "oSECRETopenid0123456789abcde"
ACCOUNT = "SECRETaccount微信"
NOTIFY = "https://secret.example/SECRETnotify"
PASSWORD = "SECRETsaslPassword!"
APIV3_KEY = "SECRETapiv3key0123456789abcdefgh"
BAD_BYTES = "SECRETbytes"
CODES = [f"{fault}sec{n}" for n, fault in enumerate(
    ("G", "F400x9", "F401x1", "F401x99", "F429x9p0", "F503x9", "Fresetafterx9", "Funsignedx9", "Fbadsignaturex9",
     "Fmissingfieldx9", "Fnotjsonx9", "Fgzipx9", "Ftruncatedx9", "F302x9", "Fhtmlx9", "Fdelayx1p50"))]
SASL = {"sasl.mechanism": "PLAIN", "sasl.username": "user", "sasl.password": PASSWORD}


def bad_records():
    """Each is refused for another reason, and holds something secret."""
    good = {"openid": OPENID, "contract_display_account": ACCOUNT, "contract_notify_url": NOTIFY}
    yield b"k", b"", [("x", BAD_BYTES.encode())]
    yield b"k", BAD_BYTES.encode() * 10_000, []
    yield b"k", f'{{"{BAD_BYTES}": "{OPENID}", '.encode(), []
    yield b"k", f'{{"openid": "{OPENID}", "openid": 1}}'.encode(), [("ce_id", b"1")]
    yield b"k", b"{}", [("ce_id", b"1"), ("ce_specversion", BAD_BYTES.encode()), ("ce_expirytime", OPENID.encode()),
                        ("ce_mchid", BAD_BYTES.encode()), ("content-type", BAD_BYTES.encode())]
    yield event("app", mchid=DIRECT, type=BAD_BYTES)
    yield event("app", mchid=DIRECT, expirytime="2020-01-01T00:00:00Z", data=good)
    yield event("app", mchid="404", data=good)
    for name, value in {"openid": OPENID * 9, "contract_display_account": ACCOUNT * 9, "plan_id": BAD_BYTES,
                        "contract_notify_url": "http" + NOTIFY[5:], "out_user_code": "😀" + BAD_BYTES,
                        "deduct_schedule": BAD_BYTES}.items():
        yield event("app", mchid=DIRECT, data={**good, name: value})


def secret_texts(directory):
    """{what: texts} of which none may be found anywhere."""
    found = {"openid": [OPENID], "account": ["SECRETaccount"], "notify url": ["SECRETnotify"],
             "password": [PASSWORD, base64.b64encode(PASSWORD.encode()).decode()], "APIv3 key": [APIV3_KEY],
             "bytes of bad events": [BAD_BYTES],
             "Authorization": ["WECHATPAY2-SHA256-RSA2048", "nonce_str=", "signature=", "Wechatpay-Signature"],
             "private key": ["PRIVATE KEY"]}
    for path in directory.glob("*.pem"):
        if "PRIVATE KEY" in path.read_text():
            found["private key"] += path.read_text().splitlines()[1:-1]
    return found


def setUpModule():
    global world, told, records, ledger, secrets
    records = []
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)
    world = World(partitions=1, kafka=kafka)
    world.__enter__()
    unittest.addModuleCleanup(world.close)
    world.start_sandbox(options=["--fault-by-code", "--schema-dir", ROOT / "schemas", "--serial-mode", "both"])
    world.sandbox.set(mchid=DIRECT, apiv3_key=APIV3_KEY)
    secrets = secret_texts(world.sandbox.directory)
    key = world.directory / "apiv3.key"
    key.write_text(APIV3_KEY)
    told = {"log and pages": run(key), "log of a broker that refuses SASL": refused(),
            "reload": reload_refused(), "--check": check(key)}
    ledger = world.sandbox.ledger()


def run(key):
    """Everything that can happen to an event, with the library's debugging on."""
    daemon = world.start_daemon(
        sections={"kafka": {"debug": "all", "log_level": 7, **SASL}},
        sets=["retry.max_attempts=2", "retry.hold_unauthorized_ms=0", f"merchant {DIRECT}.apiv3_key={key}"],
        program="presignd-wedged", environment={"PRESIGND_LOG_LEVEL": "7"})
    good = [event("app", code, mchid=DIRECT, data={
        "openid": OPENID, "contract_display_account": ACCOUNT, "contract_notify_url": NOTIFY}) for code in CODES]
    partner = event("partner-mini-program", mchid=PARTNER, data={"sp_openid": OPENID})
    sent = world.produce([*good, partner, *bad_records()])
    records.extend(world.wait_for_outcomes(sent).values())
    pages = [http_get(f"{daemon.admin}{page}")[1]
             for page in ("/metrics", "/healthz", "/readyz", "/status", "/status.json", f"/{BAD_BYTES}")]
    daemon.wait_for_log(f"merchant {DIRECT}: the platform certificates are now")  # APIV3_KEY is in use
    assert daemon.terminate() == 0
    return "\n".join([daemon.log_text(), *pages])


def refused():
    """A plain listener does not speak SASL: the client complains again and again."""
    daemon = world.start_daemon("presignd-2", wait=False, sections={
        "kafka": {"debug": "all", "security.protocol": "SASL_PLAINTEXT", **SASL}})
    daemon.wait_for_log("(?i)sasl")
    daemon.terminate()
    return daemon.log_text()


def reload_refused():
    daemon = world.start_daemon("presignd-3")
    path = world.directory / "presignd-3.conf"
    path.write_text(path.read_text() + f"\n[kafka.producer]\nsasl.password = {PASSWORD}\nsasl.mechanism = x\n"
                                       f"[endpoint]\n[daemon]\nsasl.password = {PASSWORD}\n")
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("old one stays in use")
    assert daemon.terminate() == 0
    return daemon.log_text()


def check(key):
    """Also with secrets where a path belongs, or where nothing of the kind does."""
    path = world.write_config("presignd-4", sections={"kafka": SASL})
    private = next(world.sandbox.directory.glob("merchant-*[0-9].pem")).read_text().replace("\n", "")
    sets = [f"kafka.sasl.password={PASSWORD}", f"kafka.ssl.key.password={PASSWORD}",
            f"merchant {DIRECT}.apiv3_key={key}"]
    texts = []
    for more in ([], ["--set", f"kafka.ssl.key.pem={PASSWORD}"], ["--set", f"kafka.session.timeout.ms={PASSWORD}"],
                 ["--set", f"merchant {DIRECT}.apiv3_key={APIV3_KEY}"],
                 ["--set", f"merchant {DIRECT}.private_key={private}"],
                 ["--set", f"endpoint.proxy=http://user:{PASSWORD}@127.0.0.1:1"]):
        command = [world.build / "presignd", "-c", path, "--check"]
        for value in sets:
            command += ["--set", value]
        command += more
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        texts += [done.stdout, done.stderr]
    return "\n".join(texts)


class NoSecrets(unittest.TestCase):
    def find(self, text, secrets_of):
        return {what for what, texts in secrets_of.items() for each in texts if each in text}

    def test_nothing_is_told(self):
        for where, text in told.items():
            with self.subTest(where):
                self.assertGreater(len(text), 100)
                self.assertEqual(self.find(text, secrets), set())

    def test_no_nonce_and_no_id_is_told(self):
        ids = {call[name] for call in ledger for name in ("nonce", "issued_id") if call.get(name)}
        self.assertGreater(len(ids), 20)
        self.assertEqual({each for each in ids if each in told["log and pages"]}, set())

    def test_failures_repeat_no_values(self):
        hidden = {**secrets, "bytes of bad events": [BAD_BYTES]}
        for outcome in records:
            data = {name: value for name, value in outcome.data.items() if name not in ("original", "event")}
            with self.subTest(outcome.data["event"]["offset"]):
                self.assertEqual(self.find(json.dumps(data, ensure_ascii=False), hidden), set())

    def test_what_happened_is_told(self):
        """So that the log is not clean only because it is empty."""
        log = told["log and pages"]
        self.assertIn(" DEBUG kafka ", log)
        self.assertTrue(re.search(f"failed: rejected.* OUT_CONTRACT_CODE={CODES[1]}", log))
        for reason in {outcome.reason for outcome in records} - {None}:
            self.assertTrue(f"failed: {reason}" in log, reason)


if __name__ == "__main__":
    unittest.main()
