"""From a request event to its result, for every endpoint, with nothing lost or added on the way."""

import base64
import collections
import datetime
import hashlib
import http.server
import json
import re
import subprocess
import threading
import time
import unittest

from harness import ROOT, World, event
from kafka_broker import Cluster

DIRECT, PARTNER = "1900007291", "1900000109"
ENDPOINTS = json.loads((ROOT / "schemas/names.json").read_text(encoding="utf-8"))["$defs"]["endpoint"]["enum"]
STRUCTURED = [("content-type", b"application/cloudevents+json")]
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STATE = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
SESSION = datetime.timedelta(minutes=10)


def example_of(endpoint, code):
    """The document's example, members in its order."""
    schema = json.loads((ROOT / "schemas" / f"{endpoint}.request.json").read_text(encoding="utf-8"))
    return {**schema["examples"][0], "out_contract_code": code}


def mchid_of(endpoint):
    return PARTNER if endpoint.startswith("partner") else DIRECT


def attributes_of(endpoint, **more):
    return {"specversion": "1.0", "id": f"id of {endpoint}", "source": "/tests/来源",
            "type": f"wechatpay.presign.{endpoint}.requested", **more}


def compact(data):
    """The body that an event's data is sent as."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def time_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


class Way:
    """An event, its outcome and the calls that the sandbox saw of it."""

    def __init__(self, name):
        self.outcome = outcomes[sent[name]]
        self.record = records[name]
        self.data = self.outcome.data
        self.calls = [call for call in ledger if call.get("out_contract_code") == self.data.get("out_contract_code")]


def make_records():
    """{name: (key, value, headers)}"""
    made = {}
    for endpoint in ENDPOINTS:
        data = example_of(endpoint, f"S{endpoint.replace('-', '')}")
        value = json.dumps({**attributes_of(endpoint), "data": data}, ensure_ascii=False, indent=1)
        made[f"structured {endpoint}"] = (f"key of {endpoint}".encode(), value.encode(), STRUCTURED)
        data = example_of(endpoint, f"B{endpoint.replace('-', '')}")
        headers = [(f"ce_{name}", text.encode()) for name, text in
                   attributes_of(endpoint, mchid=mchid_of(endpoint), unknownextension="1").items()]
        made[f"binary {endpoint}"] = (None, json.dumps(data).encode(),
                                      [*headers, ("content-type", b"application/json; charset=UTF-8")])
    base64_data = base64.b64encode(json.dumps(example_of("app", "base64")).encode()).decode()
    made["data_base64"] = (b"", json.dumps({**attributes_of("app"), "data_base64": base64_data}).encode(), STRUCTURED)
    for name, headers in (("no headers", []), ("application/json", [("Content-Type", b"application/json")]),
                          ("text/plain", [("content-type", b"text/plain")]),
                          ("upper case", [("CONTENT-TYPE", b"Application/CloudEvents+JSON; Charset=UTF-8")])):
        code = "H" + name.title().replace(" ", "").replace("/", "")
        whole = {**attributes_of("app"), "data": example_of("app", code)}
        made[name] = (b"k", json.dumps(whole).encode(), headers)
    made["odd text"] = (b"k", odd_text().encode(), STRUCTURED)
    made.update(make_traced())
    return made


def odd_text():
    """White space, escapes and members out of order; a body keeps order and characters only."""
    return ('\n{"data" : {\t"contract_notify_url":"https:\\/\\/yourapp.com\\/notify","plan_id": 9223372036854775807,'
            '"out_contract_code":"odd","appid":"\\u0077x\\uFFFF","contract_display_account":"a\\"\\\\\\u0001\\/\u2028\u007f"}'
            ' , "type":"wechatpay.presign.app.requested","source":"s","id":"i","specversion":"1.0"} ')


ODD_BODY = ('{"contract_notify_url":"https://yourapp.com/notify","plan_id":9223372036854775807,'
            '"out_contract_code":"odd","appid":"wx\uffff","contract_display_account":"a\\"\\\\\\u0001/\u2028\u007f"}')


def make_traced():
    made = {}
    for name, attributes, headers in (
            ("traceAttributes", {"traceparent": PARENT, "tracestate": STATE}, []),
            ("traceHeaders", {}, [("traceparent", PARENT.encode()), ("tracestate", STATE.encode())]),
            ("traceMalformed", {"traceparent": "00-1-2-3", "tracestate": STATE}, []),
            ("traceStateAlone", {"tracestate": STATE}, [])):
        whole = {**attributes_of("app"), **attributes, "data": example_of("app", name)}
        made[name] = (b"k", json.dumps(whole).encode(), [*STRUCTURED, *headers])
    whole = {**attributes_of("app"), "traceparent": PARENT, "tracestate": STATE, "data": {}}
    made["traceFailure"] = (b"k", json.dumps(whole).encode(), STRUCTURED)
    return made


RETRIED = {"F503x2a": 3, "Fresetbeforex1a": 2, "Fresetafterx2a": 3, "F429x2p0a": 3, "F202x1a": 2, "Funsignedx2a": 3,
           "F401x1a": 2, "F429x1p2a": 2, "F503x1a": 2, "Fdelayx1p300a": 1}
ORDERED = 6


def setUpModule():
    global world, ledger, outcomes, sent, records, retried, ordered, audit, cluster_id
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)
    cluster_id = kafka.cluster_id
    world = World(partitions=3, kafka=kafka)
    world.__enter__()
    unittest.addModuleCleanup(world.close)
    world.start_sandbox(options=["--fault-by-code", "--schema-dir", ROOT / "schemas"])
    daemon = world.start_daemon()
    records = make_records()
    sent = dict(zip(records, world.produce(records.values())))
    retried = dict(zip(RETRIED, world.produce(event("app", code, mchid=DIRECT) for code in RETRIED)))
    # One contract again and again, its calls slow; others between them.
    codes = [code for _ in range(ORDERED) for code in ("Fdelayx9p100o", "Fdelayx9p100p", "F503x2o")]
    ordered = list(zip(codes, world.produce(event("app", code, mchid=DIRECT) for code in codes)))
    every = [*sent.values(), *retried.values(), *(name for _, name in ordered)]
    outcomes = dict(world.wait_for_outcomes(every))
    assert daemon.terminate() == 0
    ledger = world.sandbox.ledger()
    audit = world.audit()


# What no sandbox would answer: unknown members, odd numbers, white space, another order.
ODD_ANSWER = (b' {"new" : [ 1.50, 1e3, -0, 12345678901234567890123, {"b":null,"a": true } ],\n'
              b'"pre_entrustweb_id" :"id \\u4e2d\xe6\x96\x87\\/","miniprogram_path":"","miniprogram_username":7}\r\n')


class OddEndpoint:
    """Answers every POST with ODD_ANSWER, signed with the sandbox's key, and keeps the requests."""

    def __init__(self, key, serial):
        outer, self.requests = self, []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((self.path, self.headers.items(), body))
                self.send_response(200)
                for name, value in outer.sign(key, serial).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(ODD_ANSWER)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def sign(key, serial):
        timestamp = str(int(time.time()))
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], check=True, capture_output=True,
                                   input=f"{timestamp}\nnonce\n".encode() + ODD_ANSWER + b"\n").stdout
        return {"Content-Type": "application/json", "Content-Length": len(ODD_ANSWER), "Wechatpay-Serial": serial,
                "Wechatpay-Timestamp": timestamp, "Wechatpay-Nonce": "nonce",
                "Wechatpay-Signature": base64.b64encode(signature).decode()}

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Wire(unittest.TestCase):
    """What goes over the wire, with nothing of ours at the other end."""

    maxDiff = None

    @classmethod
    def setUpClass(cls):
        endpoint = OddEndpoint(world.sandbox.directory / "wechatpay-private.pem", public_key_id())
        try:
            daemon = world.start_daemon(sets=[f"endpoint.base_url={endpoint.url}"])
            (name,) = world.produce([event("app", "verbatim", traceparent=PARENT, tracestate=STATE)])
            cls.outcome = world.wait_for_outcomes([name])[name]
            assert daemon.terminate() == 0
        finally:
            endpoint.close()
        (cls.path, headers, cls.body), = endpoint.requests
        cls.headers = {name.lower(): value for name, value in headers}

    def test_a_response_is_passed_on_verbatim(self):
        self.assertIsNone(self.outcome.reason, self.outcome.data.get("message"))
        self.assertRegex(self.outcome.record.value,
                         rb'"response":\s*' + re.escape(ODD_ANSWER.strip()) + rb"\s*,")
        self.assertEqual(self.outcome.data["pre_entrustweb_id"], "id 中文/")
        self.assertNotIn("request_id", self.outcome.data)
        self.assertEqual(self.outcome.event["traceparent"], PARENT)

    def test_the_request_is_what_the_api_wants(self):
        self.assertEqual(self.path, "/v3/papay/scheduled-deduct-sign/contracts/pre-entrust-sign/app")
        expected = {"content-type": "application/json", "accept": "application/json",
                    "wechatpay-serial": public_key_id(), "content-length": str(len(self.body))}
        self.assertEqual({name: self.headers.get(name) for name in expected}, expected)
        self.assertRegex(self.headers["user-agent"], r"\S")
        self.assertRegex(self.headers["authorization"],
                         f'^WECHATPAY2-SHA256-RSA2048 mchid="{DIRECT}",nonce_str="[0-9A-Za-z]{{32}}",'
                         r'signature="[0-9A-Za-z+/=]{344}",timestamp="\d{10}",serial_no="[0-9A-F]+"$')
        self.assertEqual(json.loads(self.body)["out_contract_code"], "verbatim")

    def test_nothing_else_is_sent(self):
        self.assertEqual(self.headers.keys() - {"host"}, {
            "content-type", "accept", "user-agent", "wechatpay-serial", "authorization", "content-length"})
        self.assertNotIn(b"traceparent", self.body)


class Results(unittest.TestCase):
    maxDiff = None

    def test_the_audit_passes(self):
        self.assertTrue(audit.passed, audit.summary())

    def test_every_endpoint_in_both_modes(self):
        for endpoint in ENDPOINTS:
            for mode in ("structured", "binary"):
                with self.subTest(f"{mode} {endpoint}"):
                    self.check_result(endpoint, Way(f"{mode} {endpoint}"))

    def check_result(self, endpoint, way):
        outcome, data, (call,) = way.outcome, way.data, way.calls
        request = example_of(endpoint, data["out_contract_code"])
        self.assertEqual(outcome.event["type"], f"wechatpay.presign.{endpoint}.succeeded")
        self.assertEqual(outcome.event["source"], f"/presignd/{cluster_id}/presignd-{world._name}")
        self.assertEqual(outcome.event["subject"], request["out_contract_code"])
        self.assertEqual(outcome.event["expirytime"], data["expires_at"])
        self.assertEqual(data["event"], {**data["event"], "id": f"id of {endpoint}", "source": "/tests/来源",
                                         "type": f"wechatpay.presign.{endpoint}.requested"})
        issued = time_of(data["issued_at"])
        self.assertEqual(time_of(data["expires_at"]) - issued, SESSION)
        # The answer was signed after the request came: at once, unless the machine is slow.
        self.assertLessEqual(abs(issued - time_of(call["time"])), datetime.timedelta(seconds=60))
        self.check_request(endpoint, request, data, call)
        self.check_response(endpoint, data, call)

    def check_request(self, endpoint, request, data, call):
        self.assertEqual(call["endpoint"], endpoint)
        self.assertEqual(call["body_sha256"], hashlib.sha256(compact(request)).hexdigest())
        self.assertTrue(call["signature_ok"])
        expected = {"endpoint": endpoint, "mchid": mchid_of(endpoint), "sub_mchid": request.get("sub_mchid"),
                    "appid": request.get("appid", request.get("sp_appid")), "plan_id": 12535,
                    "out_contract_code": request["out_contract_code"], "attempts": 1,
                    "host": f"127.0.0.1:{world.sandbox.port}", "request_id": call["request_id"],
                    "wechatpay_serial": public_key_id()}
        self.assertEqual({name: data.get(name) for name in expected}, expected)
        self.assertNotIn(None, data.values())

    def check_response(self, endpoint, data, call):
        field = "redirect_url" if endpoint.endswith(("h5", "jsapi")) else "pre_entrustweb_id"
        self.assertIn(call["issued_id"], data[field])
        self.assertEqual(data["response"][field], data[field])
        known = {"event", "endpoint", "mchid", "sub_mchid", "appid", "plan_id", "out_contract_code", field, "response",
                 "issued_at", "expires_at", "attempts", "host", "request_id", "wechatpay_serial"}
        self.assertEqual(set(data) - known, set())

    def test_keys_are_kept(self):
        for name, (key, _, _) in records.items():
            self.assertEqual(outcomes[sent[name]].record.key, key, name)

    def test_modes_are_told_apart(self):
        for name in ("data_base64", "no headers", "application/json", "text/plain", "upper case"):
            with self.subTest(name):
                self.assertIsNone(Way(name).outcome.reason)

    def test_a_body_keeps_order_numbers_and_characters(self):
        way = Way("odd text")
        self.assertEqual([call["body_sha256"] for call in way.calls],
                         [hashlib.sha256(ODD_BODY.encode()).hexdigest()])
        self.assertEqual(way.data["plan_id"], 2**63 - 1)


def public_key_id():
    return re.search(r"wechatpay_public_key_id = (\S+)", world.sandbox.config.read_text())[1]


class Traces(unittest.TestCase):
    def of(self, name):
        event_told = Way(name).outcome.event
        return event_told.get("traceparent"), event_told.get("tracestate")

    def test_passed_on(self):
        for name in ("traceAttributes", "traceHeaders", "traceFailure"):
            self.assertEqual(self.of(name), (PARENT, STATE), name)

    def test_malformed_ones_are_dropped(self):
        for name in ("traceMalformed", "traceStateAlone"):
            self.assertIsNone(Way(name).outcome.reason)
            self.assertEqual(self.of(name), (None, None), name)


class Attempts(unittest.TestCase):
    def test_the_same_bytes_and_a_fresh_nonce_each_time(self):
        for code, attempts in RETRIED.items():
            with self.subTest(code):
                outcome = outcomes[retried[code]]
                calls = [call for call in ledger if call.get("out_contract_code") == code]
                self.assertIsNone(outcome.reason)
                self.assertEqual((outcome.data["attempts"], len(calls)), (attempts, attempts))
                self.assertEqual(len({call["body_sha256"] for call in calls}), 1)
                self.assertEqual(len({call["nonce"] for call in calls}), attempts)
                self.assertEqual(outcome.data["pre_entrustweb_id"], calls[-1]["issued_id"])

    def test_no_nonce_is_used_twice(self):
        self.assertEqual(max(collections.Counter(call["nonce"] for call in ledger).values()), 1)
        self.assertEqual({len(call["nonce"]) for call in ledger}, {32})

    def test_retry_after_is_kept(self):
        first, second = (time_of(call["time"]) for call in ledger if call.get("out_contract_code") == "F429x1p2a")
        self.assertGreaterEqual(second - first, datetime.timedelta(seconds=2))


class Order(unittest.TestCase):
    def test_a_contract_is_called_one_at_a_time_and_in_order(self):
        for code in dict(ordered):
            with self.subTest(code):
                calls = [call for call in ledger if call.get("out_contract_code") == code]
                results = [outcomes[name] for each, name in ordered if each == code]
                self.assertEqual({result.reason for result in results}, {None})
                issued = [call["issued_id"] for call in calls if call["status"] == 200]
                self.assertEqual([result.data["pre_entrustweb_id"] for result in results], issued)

    def test_slow_calls_of_a_contract_do_not_overlap(self):
        for code in ("Fdelayx9p100o", "Fdelayx9p100p"):
            begun = [time_of(call["time"]) for call in ledger if call.get("out_contract_code") == code]
            gaps = [later - earlier for earlier, later in zip(begun, begun[1:])]
            self.assertEqual(len(gaps), ORDERED - 1)
            self.assertGreaterEqual(min(gaps), datetime.timedelta(milliseconds=100))


if __name__ == "__main__":
    unittest.main()
