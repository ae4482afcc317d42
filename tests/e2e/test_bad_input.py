"""Whatever a record holds, it ends as the right failure record and stops nobody behind it.

One partition takes every bad record that is listed here, each with a good event behind it. The
sandbox's --fault-by-code makes bad answers: a code that begins with F503x9 meets 503 nine times.
"""

import base64
import copy
import datetime
import json
import unittest

from harness import ROOT, World, event
from kafka_broker import Cluster

DIRECT, DIRECT_2, PARTNER = "1900007291", "1900007292", "1900000109"
REFUSING = "1900007299"  # every call of this merchant is answered 400
MERCHANT_OF = {"app": DIRECT, "partner-mini-program": PARTNER}
OTHERS = [str(1910000000 + n) for n in range(60)]
others = iter(OTHERS)
ENDPOINTS = list(MERCHANT_OF)
EVENT_BYTES_MAX = 65536
ORIGINAL_MAX = 65536
NESTING_MAX = 64
INT64_MAX = 2**63 - 1
STRUCTURED = [("content-type", b"application/cloudevents+json")]

# contract: reason -> retryable
RETRYABLE = {
    "empty_event": False, "event_too_large": False, "invalid_json": False,
    "invalid_cloudevent": False, "unknown_type": False, "invalid_request": False,
    "expired": False, "unknown_merchant": True, "rejected": False, "merchant_unauthorized": True,
    "rate_limited": True, "unavailable": True, "unreachable": True, "unverified_answer": True,
    "unexpected_answer": False}

SCHEMAS = {path.name: json.loads(path.read_text(encoding="utf-8"))
           for path in (ROOT / "schemas").glob("*.json")}


class Case:
    """A record, and what is expected of its outcome. `reason` None: a result."""

    count = 0

    def __init__(self, name, record, reason, endpoint=None, attributes=(), locations=None,
                 attempts=0, call_state="not_sent", status=None, ended=None):
        self.name, self.reason, self.endpoint = name, reason, endpoint
        self.key, self.value, self.headers = record
        self.attributes, self.locations = list(attributes), locations
        self.attempts, self.call_state, self.status, self.ended = attempts, call_state, status, ended
        self.id = None


def next_code(prefix="B"):
    Case.count += 1
    return f"{prefix}{Case.count:05d}"


def data_of(endpoint, code=None):
    """The document's example, with a code of its own."""
    data = copy.deepcopy(SCHEMAS[f"{endpoint}.request.json"]["examples"][0])
    data["out_contract_code"] = code or next_code()
    return data


def envelope_of(endpoint="app", **changes):
    """A good envelope; a change to None takes the attribute away."""
    attributes = {"specversion": "1.0", "id": next_code("id-"), "source": "/tests",
                  "type": f"wechatpay.presign.{endpoint}.requested",
                  "mchid": MERCHANT_OF.get(endpoint, DIRECT), **changes}
    return {name: value for name, value in attributes.items() if value is not None}


def structured(envelope, data=None, headers=STRUCTURED, key=b"k"):
    whole = {**envelope, "data": data_of("app") if data is None else data}
    return key, json.dumps(whole, ensure_ascii=False).encode("utf-8", "surrogatepass"), list(headers)


def structured_text(data_text, endpoint="app"):
    """With `data` as the very text that is given."""
    head = json.dumps(envelope_of(endpoint))
    text = data_text if isinstance(data_text, bytes) else data_text.encode()
    return b"k", head[:-1].encode() + b', "data": ' + text + b"}", STRUCTURED


def binary(envelope, value=None, more=(), key=b"k"):
    headers = [(f"ce_{name}", text.encode()) for name, text in envelope.items()]
    value = json.dumps(data_of("app"), ensure_ascii=False).encode() if value is None else value
    return key, value, [*headers, *more]


def in_both_modes(name, changes, attribute):
    """An invalid_cloudevent for the same reason in a structured and a binary event. The endpoint
    is known unless the type itself is what is wrong."""
    endpoint = None if "type" in changes else "app"
    yield Case(f"{name}, structured", structured(envelope_of(**changes)), "invalid_cloudevent",
               endpoint, [attribute])
    if all(value is None or isinstance(value, str) for value in changes.values()):
        changes = dict(changes)
        more = []
        if "datacontenttype" in changes:
            more = [("content-type", changes.pop("datacontenttype").encode())]
        yield Case(f"{name}, binary", binary(envelope_of(**changes), more=more),
                   "invalid_cloudevent", endpoint, [attribute])


# ---- bytes that are no event

def empty_cases():
    for name, value in (("null", None), ("empty", b"")):
        yield Case(f"{name} value", (b"k", value, []), "empty_event")
        yield Case(f"{name} value, null key", (None, value, []), "empty_event")
        yield Case(f"{name} value, empty key", (b"", value, []), "empty_event")
        yield Case(f"{name} value, content type", (b"k", value, STRUCTURED), "empty_event")
        yield Case(f"{name} value, binary", (b"\x00\xff", value, binary(envelope_of())[2]),
                   "empty_event", "app")
    yield Case("null key", (None, b"{", []), "invalid_json")
    yield Case("empty key", (b"", b"{", []), "invalid_json")
    yield Case("key of any bytes", (bytes(range(256)), b"{", []), "invalid_json")


def size_cases():
    def padded(size):
        key, value, headers = structured(envelope_of(padding="", mchid=DIRECT))
        used = len(key) + len(value) + sum(len(name) + len(text) for name, text in headers)
        return key, value.replace(b'"padding": ""', b'"padding": "' + b"x" * (size - used) + b'"'), headers
    yield Case("as large as allowed", padded(EVENT_BYTES_MAX), None, "app")
    yield Case("a byte more than allowed", padded(EVENT_BYTES_MAX + 1), "event_too_large")
    yield Case("large value", padded(200_000), "event_too_large")
    yield Case("large key", (b"k" * 70_000, b"{}", []), "event_too_large")
    # As large as its topic takes, and its failure with the same key still fits.
    yield Case("key of nearly 1 MiB", (b"k" * 1_040_000, b"{}", []), "event_too_large")
    yield Case("large header", (b"k", b"{}", [("x", b"x" * 70_000)]), "event_too_large")
    key, value, headers = structured(envelope_of())
    yield Case("thousand headers", (key, value, headers + [(f"x-{n}", b"x" * 100) for n in range(1000)]),
               "event_too_large")
    yield Case("thousand small headers", (key, value, headers + [("x", b"")] * 1000), None, "app")
    yield Case("thousand headers beginning with ce_",
               binary(envelope_of(), more=[("ce_x", b"y")] * 1000), "invalid_cloudevent", "app", ["x"])
    yield Case("1 MiB of objects", (b"k", b"[" + b"{}," * 349_524 + b"{}]", []), "event_too_large")
    yield Case("1 MiB of bytes, binary", binary(envelope_of(), b"\xff" * 2**20), "event_too_large", "app")
    yield Case("1 MiB of control characters", (b"k", b"\x01" * 2**20, []), "event_too_large")


def json_cases():
    good = structured(envelope_of())[1]
    texts = {
        "text": b"hello", "half": good[:-1], "more behind the end": good + b"x", "two": good + good,
        "byte order mark": b"\xef\xbb\xbf" + good, "UTF-16": good.decode().encode("utf-16"),
        "a NUL": good.replace(b"/tests", b"/te\0ts"), "NUL behind": good + b"\0",
        "NUL escape": good.replace(b"/tests", rb"/te\u0000ts"),
        "NUL escape in a name": good.replace(b'"source"', rb'"sou\u0000rce": 1, "source"'),
        "invalid UTF-8": good.replace(b"/tests", b"/te\xffts"),
        "overlong UTF-8": good.replace(b"/tests", b"/te\xc0\xafts"),
        "surrogate in UTF-8": good.replace(b"/tests", b"/te\xed\xa0\x80ts"),
        "lone high surrogate": good.replace(b"/tests", rb"/te\ud800ts"),
        "lone low surrogate": good.replace(b"/tests", rb"/te\udc00ts"),
        "duplicate attribute": good.replace(b'"source"', b'"id": "2", "source"'),
        "duplicate in data": good.replace(b'"plan_id"', b'"plan_id": 1, "plan_id"'),
        "duplicate deep inside": good.replace(b'"total": 1', b'"total": 1, "total": 1'),
        "duplicate by escape": good.replace(b'"plan_id"', rb'"plan\u005fid": 1, "plan_id"'),
        "trailing comma": good[:-1] + b",}", "comment": b"/**/" + good, "single quotes": b"{'a': 1}",
        "NaN": good.replace(b"12535", b"NaN"), "leading zero": good.replace(b"12535", b"012535"),
        "plus": good.replace(b"12535", b"+12535"), "white space only": b" \n",
        "control character": good.replace(b"/tests", b"/te\nts"),
        "beyond 64 bits": good.replace(b"12535", b"9223372036854775808"),
        "far beyond 64 bits": good.replace(b"12535", b"1" * 400),
        "below 64 bits": good.replace(b"12535", b"-9223372036854775809"),
        "exponent beyond a double": good.replace(b"12535", b"1e999"),
    }
    for name, value in texts.items():
        for headers, mode in ((STRUCTURED, "structured"), ([], "no headers")):
            yield Case(f"{name}, {mode}", (b"k", value, headers), "invalid_json")
    inside = json.dumps(data_of("app")).encode()
    for name, value in {"half": inside[:-1], "byte order mark": b"\xef\xbb\xbf" + inside, "text": b"hello",
                        "duplicate": inside[:-1] + b', "plan_id": 1}', "NUL": inside + b"\0",
                        "invalid UTF-8": b'{"appid": "\xff"}'}.items():
        yield Case(f"{name}, binary", binary(envelope_of(), value), "invalid_json", "app")
    for depth in (NESTING_MAX + 1, 1000, 10_000):
        yield Case(f"arrays {depth} deep", (b"k", b"[" * depth + b"]" * depth, []), "invalid_json")
        yield Case(f"objects {depth} deep", (b"k", b'{"a":' * depth + b"1" + b"}" * depth, STRUCTURED),
                   "invalid_json")
        yield Case(f"data {depth} deep, binary", binary(envelope_of(), b"[" * depth + b"]" * depth),
                   "invalid_json", "app")
    yield Case("arrays never closed", (b"k", b"[" * 10_000, []), "invalid_json")
    # The envelope and data are two levels by themselves.
    for depth, reason in ((NESTING_MAX - 2, "invalid_request"), (NESTING_MAX - 1, "invalid_json")):
        data = '{"x": ' + "[" * depth + "]" * depth + "}"
        yield Case(f"data {depth} deep in an envelope", structured_text(data), reason,
                   None if reason == "invalid_json" else "app")
    for name, raw in (("garbage", b"\xff\xfe"), ("half", b'{"a":'), ("nothing", b"")):
        envelope = {**envelope_of(), "data_base64": base64.b64encode(raw).decode()}
        yield Case(f"data_base64 of {name}", (b"k", json.dumps(envelope).encode(), STRUCTURED),
                   "invalid_json", "app")


# ---- attributes

def attribute_cases():
    for name in ("specversion", "id", "source", "type"):
        yield from in_both_modes(f"no {name}", {name: None}, name)
        yield from in_both_modes(f"empty {name}", {name: ""}, name)
        yield from in_both_modes(f"number as {name}", {name: 1}, name)
        yield from in_both_modes(f"object as {name}", {name: {}}, name)
        yield from in_both_modes(f"control character in {name}", {name: "a\x01b"}, name)
    wrong = {"specversion": ["0.3", "1", "1.0 ", "2.0"], "mchid": ["abc", "", "1" * 33, "19 00", "-1", 1900007291],
             "datacontenttype": ["text/plain", "application/json; charset=gbk", "application/xml", ""],
             "expirytime": ["tomorrow", "", "2026-11-23", "2026-13-01T00:00:00Z", "1764921600", 1764921600]}
    for name, values in wrong.items():
        for value in values:
            yield from in_both_modes(f"{name} {value!r}", {name: value}, name)
    for value in ("id", "source", "type", "mchid"):
        more = [(f"ce_{value}", b"1")]
        yield Case(f"ce_{value} twice", binary(envelope_of(), more=more), "invalid_cloudevent",
                   None if value == "type" else "app", [value])
        yield Case(f"ce_{value} twice in other case", binary(envelope_of(), more=[(f"CE_{value.upper()}", b"1")]),
                   "invalid_cloudevent", None if value == "type" else "app", [value])
        without = envelope_of(**{value: None})
        for name, raw in (("null", None), ("not UTF-8", b"\xff")):
            yield Case(f"ce_{value} {name}", binary(without, more=[(f"ce_{value}", raw)]),
                       "invalid_cloudevent", None if value == "type" else "app", [value])
    yield Case("unknown ce_ header null", binary(envelope_of(), more=[("ce_other", None)]),
               "invalid_cloudevent", "app", ["other"])
    yield Case("unknown ce_ header not UTF-8", binary(envelope_of(), more=[("ce_other", b"\xfe")]),
               "invalid_cloudevent", "app", ["other"])
    yield Case("everything missing", (b"k", b"{}", [("ce_x", b"1")]), "invalid_cloudevent", None,
               ["specversion", "id", "source", "type"])
    yield Case("content type twice", binary(envelope_of(), more=[("content-type", b"application/json")] * 2),
               "invalid_cloudevent", "app", ["datacontenttype"])
    for content_type in ("application/cloudevents-batch+json", "application/cloudevents+avro",
                         "APPLICATION/CLOUDEVENTS-BATCH+JSON; charset=utf-8",
                         "application/cloudevents+json; charset=gbk"):
        for value in (structured(envelope_of())[1], b"[]", b"\x00\x01"):
            yield Case(f"{content_type} of {value[:4]}", (b"k", value, [("content-type", content_type.encode())]),
                       "invalid_cloudevent", None, ["content-type"])
    for value in (b"{}", b"[]", b"1", b"null", b'"text"', b"[{}]", b'{"data": {}}'):
        yield Case(f"{value} without headers", (b"k", value, []), "invalid_cloudevent")
        yield Case(f"{value} as application/json", (b"k", value, [("content-type", b"application/json")]),
                   "invalid_cloudevent")
    for value in (b"[]", b"1", b"null", b'"text"'):
        yield Case(f"{value} as an event", (b"k", value, STRUCTURED), "invalid_cloudevent")
    both = {**envelope_of(), "data": data_of("app"), "data_base64": "e30="}
    yield Case("data and data_base64", (b"k", json.dumps(both).encode(), STRUCTURED), "invalid_cloudevent",
               "app", ["data_base64"])
    for value in ("!", 1, "e30"):
        envelope = {**envelope_of(), "data_base64": value}
        yield Case(f"data_base64 {value!r}", (b"k", json.dumps(envelope).encode(), STRUCTURED),
                   "invalid_cloudevent", "app", ["data_base64"])


def type_cases():
    for name in ("order.created", "wechatpay.presign.nope.requested", "wechatpay.presign.app.succeeded",
                 "wechatpay.presign..requested", "wechatpay.presign.app", "wechatpay.presign.App.requested",
                 "wechatpay.presign.app.requested ", "wechatpay.presign.requested", "微信", "a" * 5000):
        yield Case(f"type {name[:40]}, structured", structured(envelope_of(type=name)), "unknown_type")
        yield Case(f"type {name[:40]}, binary", binary(envelope_of(type=name)), "unknown_type")


# ---- data: every field of both endpoints, missing and wrong

def pointer(path):
    return "".join(f"/{part}" for part in path)


def fields(schema, path=()):
    """(path, schema with its $ref taken in, whether required) of every member."""
    for name, member in schema["properties"].items():
        if "$ref" in member:
            member = {**SCHEMAS["common.json"]["$defs"][member["$ref"].rsplit("/", 1)[1]], **member}
        yield (*path, name), member, name in schema.get("required", ())
        if member.get("type") == "object":
            yield from fields(member, (*path, name))


def changed(endpoint, path, value=None, remove=False):
    data = data_of(endpoint)
    holder = data
    for name in path[:-1]:
        holder = holder[name]
    if remove:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return data


def wrong_values(name, member):
    """(what, value, keyword that refuses it)"""
    kind = member.get("type", "string" if "enum" in member else None)
    for value in ("text", 1, True, [], {}, None):
        fits = {"string": str, "integer": int, "object": dict}[kind]
        if isinstance(value, bool) or not isinstance(value, fits):
            yield f"{type(value).__name__}", value, "enum" if "enum" in member else "type"
    if "enum" in member:
        yield "USD", "USD", "enum"
    elif kind == "integer":
        yield from ((str(value), value, "minimum") for value in (0, -1, -INT64_MAX - 1))
    elif kind == "string" and name == "out_contract_code":
        for value in ("", "a" * 33, "a_b", "a-b", "a b", "微信", "a\n", "😀"):
            yield repr(value), value, "pattern"
    elif kind == "string" and name == "contract_notify_url":
        yield "too long", "https://a.example/" + "x" * 256, "maxLength"
        for value in ("http://a.example/", "https://a.example/?q=1", "https://a.example/#f", "https://",
                      "ftp://a.example/"):
            yield value, value, "pattern"
        yield "with space", "https://a.example/a b", "format"
    elif kind == "string" and name == "estimated_deduct_date":
        for value in ("", "2026-02-30", "2026-1-1", "20261201", "2026-12-01T00:00:00Z", "2026-13-01", "2023-02-29"):
            yield value, value, "format"
    elif kind == "string":
        yield "empty", "", "minLength"
        yield "emoji", "a😀", "pattern"
        if "maxLength" in member:
            yield "too long", "微" * (member["maxLength"] + 1), "maxLength"


def right_values(name, member):
    if name == "plan_id" or name == "total":
        yield from (1, INT64_MAX)
    elif name in ("out_user_code", "contract_display_account"):
        yield from ("微" * 32, "\uffff", "\u0001\n\"\\/", "\u007f\u2028")
    elif name == "estimated_deduct_date":
        yield from ("2024-02-29", "1999-01-01")
    elif "maxLength" in member and name != "contract_notify_url":
        yield "a" * member["maxLength"]


def data_cases():
    for endpoint in ENDPOINTS:
        schema = SCHEMAS[f"{endpoint}.request.json"]
        for path, member, required in fields(schema):
            at = pointer(path)
            label = f"{endpoint} {at}"
            gone = structured(envelope_of(endpoint), changed(endpoint, path, remove=True))
            if required:
                yield Case(f"{label} missing", gone, "invalid_request", endpoint,
                           locations=[(pointer(path[:-1]), "required")])
            elif path != ("sub_appid",):  # that one is needed beside sub_openid
                yield Case(f"{label} left out", gone, None, endpoint)
            for what, value, keyword in wrong_values(path[-1], member):
                yield Case(f"{label} {what}", structured(envelope_of(endpoint), changed(endpoint, path, value)),
                           "invalid_request", endpoint, locations=[(at, keyword)])
            for value in right_values(path[-1], member):
                yield Case(f"{label} {value!r}", structured(envelope_of(endpoint), changed(endpoint, path, value)),
                           None, endpoint)
        yield from unknown_cases(endpoint)
        yield from number_cases(endpoint)
    yield from shape_cases()


def unknown_cases(endpoint):
    for path in ((), ("deduct_schedule",), ("deduct_schedule", "estimated_deduct_amount")):
        for name in ("unknown", "Openid", ""):
            yield Case(f"{endpoint} {pointer(path)} has {name!r}",
                       structured(envelope_of(endpoint), changed(endpoint, (*path, name), "x")),
                       "invalid_request", endpoint, locations=[(pointer((*path, name)), "additionalProperties")])
    data = {**data_of(endpoint), **{f"u{n}": 1 for n in range(40)}}
    yield Case(f"{endpoint} forty unknown", structured(envelope_of(endpoint), data), "invalid_request", endpoint)
    yield Case(f"{endpoint} nothing there", structured(envelope_of(endpoint), {}), "invalid_request", endpoint)
    yield Case(f"{endpoint} emoji in a name",
               structured(envelope_of(endpoint), changed(endpoint, ("😀",), 1)), "invalid_request", endpoint,
               locations=[("/😀", "additionalProperties")])


def number_cases(endpoint):
    for text in ("1.0", "1e3", "12535.0", "1E0", "1.5"):
        raw = json.dumps(data_of(endpoint), ensure_ascii=False)
        for old, at in (('"plan_id": 12535', "/plan_id"),
                        ('"total": 1', "/deduct_schedule/estimated_deduct_amount/total")):
            new = raw.replace(old, old.split(":")[0] + ": " + text)
            yield Case(f"{endpoint} {at} {text}", structured_text(new, endpoint), "invalid_request", endpoint,
                       locations=[(at, "type")])
    raw = json.dumps(data_of(endpoint)).replace("12535", "9223372036854775808")
    yield Case(f"{endpoint} plan_id of 2^63", structured_text(raw, endpoint), "invalid_json")


def shape_cases():
    for name, value in (("text", '"x"'), ("array", "[]"), ("number", "1"), ("null", "null"), ("false", "false")):
        yield Case(f"data {name}", structured_text(value), "invalid_request", "app", locations=[("", "type")])
        yield Case(f"data {name}, binary", binary(envelope_of(), value.encode()), "invalid_request", "app",
                   locations=[("", "type")])
    yield Case("no data", (b"k", json.dumps(envelope_of()).encode(), STRUCTURED), "invalid_request", "app",
               locations=[("", "type")])
    endpoint = "partner-mini-program"
    data = data_of(endpoint)
    del data["sp_openid"], data["sub_openid"]
    yield Case("neither openid", structured(envelope_of(endpoint), data), "invalid_request", endpoint,
               locations=[("", "required"), ("", "required")])
    yield Case("sub_openid without sub_appid",
               structured(envelope_of(endpoint), changed(endpoint, ("sub_appid",), remove=True)),
               "invalid_request", endpoint, locations=[("", "dependentRequired")])
    data = data_of(endpoint)
    yield Case("data of the other endpoint", structured(envelope_of("app"), data), "invalid_request", "app")
    key, value, _ = structured(envelope_of())
    yield Case("lone surrogate in data", (key, value.replace(b"\xe7\x94\xa8\xe6\x88\xb7A", rb"\ud83d"), STRUCTURED),
               "invalid_json")
    yield Case("emoji as escapes", (key, value.replace("用户A".encode(), rb"\ud83d\ude00"), STRUCTURED),
               "invalid_request", "app")


# ---- time and merchant

def routing_cases():
    for when in ("1969-12-31T23:59:59Z", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00.5+08:00"):
        yield Case(f"expired {when}", structured(envelope_of(expirytime=when)), "expired", "app")
        yield Case(f"expired {when}, binary", binary(envelope_of(expirytime=when)), "expired", "app")
    yield Case("expires in 3000", structured(envelope_of(expirytime="3000-01-01T00:00:00+08:00")), None, "app")
    for name, changes in (("unknown merchant", {"mchid": "999"}), ("no default among two", {"mchid": None}),
                          ("merchant of the other mode", {"mchid": PARTNER})):
        yield Case(name, structured(envelope_of(**changes)), "unknown_merchant", "app")
        yield Case(f"{name}, binary", binary(envelope_of(**changes)), "unknown_merchant", "app")
    endpoint = "partner-mini-program"
    yield Case("direct merchant, partner endpoint", structured(envelope_of(endpoint, mchid=DIRECT), data_of(endpoint)),
               "unknown_merchant", endpoint)
    yield Case("the only partner", structured(envelope_of(endpoint, mchid=None), data_of(endpoint)), None, endpoint)


def order_cases():
    """The first check that fails names the reason."""
    past = {"expirytime": "2020-01-01T00:00:00Z"}
    yield Case("large and no JSON", (b"k", b"x" * 70_000, []), "event_too_large")
    yield Case("no JSON and no id", binary(envelope_of(id=None), b"{"), "invalid_json", "app")
    yield Case("no id and unknown type", structured(envelope_of(id=None, type="x")), "invalid_cloudevent", None, ["id"])
    yield Case("unknown type and wrong data", structured(envelope_of(type="x"), {}), "unknown_type")
    yield Case("wrong data and expired", structured(envelope_of(**past), {}), "invalid_request", "app")
    yield Case("expired and unknown merchant", structured(envelope_of(mchid="1", **past)), "expired", "app")


# ---- answers (max_attempts = 2, hold_unauthorized_ms = 0)

def answer(fault, reason, attempts, call_state, status=None, merchant=None):
    """An event of which all calls, or as many as `fault` says, end that way. It has a merchant of its
    own: after a 429, or three outages in a row, what its merchant waits for is no attempt."""
    mchid = next(others) if merchant is None else merchant
    return Case(f"answer {fault}", event("app", next_code(f"F{fault}z"), mchid=mchid), reason, "app", attempts=attempts,
                call_state=call_state, status=status)


def answer_cases():
    for status in (400, 403, 404):
        yield answer(f"{status}x9", "rejected", 1, "answered", status)
    yield answer("501x9", "rejected", 1, "unknown", 501)
    yield answer("401x9", "merchant_unauthorized", 2, "answered", 401)
    for status in (500, 502, 503, 504, 202):
        yield answer(f"{status}x9", "unavailable", 2, "unknown", status)
    yield answer("htmlx9", "unavailable", 2, "unknown", 502)
    for fault in ("resetbefore", "resetafter"):
        yield answer(f"{fault}x9", "unavailable", 2, "unknown")
    yield answer("truncatedx9", "unavailable", 2, "unknown", 200)
    for fault in ("unsigned", "badsignature", "badtimestamp", "unknownserial", "missingfield", "notjson", "gzip",
                  "huge"):
        yield answer(f"{fault}x9", "unverified_answer", 2, "unknown", 200)
    yield answer("204x9", "unexpected_answer", 1, "unknown", 204)
    yield answer("302x9", "unexpected_answer", 1, "answered", 302)
    # The worst call counts, and the last answer is shown.
    yield answer("503x1", "rejected", 2, "unknown", 400, REFUSING)
    yield answer("429x1p0", "rejected", 2, "answered", 400, REFUSING)
    yield answer("unsignedx1", "rejected", 2, "unknown", 400, REFUSING)
    for fault in ("401x1", "429x1p0", "503x1", "202x1", "resetbeforex1", "resetafterx1", "unsignedx1",
                  "signaturetestx9", "gzipx1", "hugex1", "delayx1p100", "slowbodyx1p100"):
        attempts = 1 if fault[:4] in ("dela", "slow") else 2
        yield answer(fault, None, attempts, None)


def in_seconds(seconds):
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def expiring_case():
    """Its time passes between two attempts: the second would come in 100 s."""
    return Case("expires while it waits", event("app", next_code("F429x9p100z"), mchid=DIRECT_2, key=b"k",
                                                expirytime=in_seconds(20)),
                "expired", "app", attempts=1, call_state="answered", status=429)


TABLES = [empty_cases, size_cases, json_cases, attribute_cases, type_cases, data_cases, routing_cases, order_cases,
          answer_cases]
SETS = ["retry.max_attempts=2", "retry.hold_unauthorized_ms=0"]


def setUpModule():
    global cases, goods, outcomes, world, audit, status, phases
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)
    world = World(partitions=1, kafka=kafka, requests_config={"max.message.bytes": 4 * 2**20})
    world.__enter__()
    unittest.addModuleCleanup(world.close)
    world.start_sandbox([f"400=1@{REFUSING}"], [
        "--fault-by-code", "--schema-dir", ROOT / "schemas",
        *(option for mchid in (DIRECT, DIRECT_2, REFUSING) for option in ("--merchant", f"{mchid}:direct")),
        "--merchant", f"{PARTNER}:partner"], merchants=OTHERS)
    cases = {table.__name__: list(table()) for table in TABLES}
    daemon = world.start_daemon(sets=SETS)
    cases["expiring"] = [expiring_case()]  # its time begins
    send(cases["expiring"])
    goods = send_with_goods([case for table in TABLES for case in cases[table.__name__]])
    daemon = wait_and_stop(daemon)
    phases = [Phase("401, held", ["retry.hold_unauthorized_ms=5000", "retry.max_attempts=1"], [
                  answer("401x999999", "merchant_unauthorized", None, "answered", 401),
                  answer("signaturetestx9", "unverified_answer", 1, "unknown", 200)]),
              Phase("429", [*SETS, "retry.give_up_after_ms=1000"], [
                  answer("429x999999p0", "rate_limited", None, "answered", 429)]),
              Phase("unreachable", [*SETS, "endpoint.base_url=https://127.0.0.1:1"], [
                  answer("unreachable", "unreachable", 2, "not_sent")]),
              Phase("untrusted certificate", [*SETS, "endpoint.ca_file="], [
                  answer("untrusted", "unreachable", 2, "not_sent")]),
              Phase("too old", [*SETS, "daemon.max_event_age_ms=1"], [
                  Case("too old", event("app", next_code(), mchid=DIRECT), "expired", "app")]),
              Phase("no original", [*SETS, "daemon.failure_original=false"], [
                  Case("no original", (b"k", b"{", []), "invalid_json")])]
    for phase in phases:
        phase.run()
    outcomes = world.outcomes()
    audit = world.audit()


class Phase:
    """Records that wait for a daemon with other settings."""

    def __init__(self, name, sets, records):
        self.name, self.sets, self.cases = name, sets, records
        cases[name] = records

    def run(self):
        send(self.cases)
        wait_and_stop(world.start_daemon(sets=self.sets))


def send(records):
    for case, name in zip(records, world.produce((c.key, c.value, c.headers) for c in records)):
        case.id = name


def send_with_goods(records):
    """Each with a good event of another contract behind it; returns the ids of these."""
    both = []
    for case in records:
        both += [(case.key, case.value, case.headers), event("app", next_code("G"), mchid=DIRECT)]
    names = world.produce(both)
    for case, name in zip(records, names[::2]):
        case.id = name
    return names[1::2]


def wait_and_stop(daemon):
    """Until each record that was sent has its outcome, and then to the daemon's end."""
    sent = {case.id: case.name for each in cases.values() for case in each if case.id}
    try:
        world.wait_for_outcomes(sent, timeout_s=180)
    except AssertionError:
        missing = sorted(sent.keys() - world.outcomes().keys())
        raise AssertionError(f"{len(missing)} without outcome: {[sent[name] for name in missing[:10]]}\n"
                             f"{daemon.log_text()[-3000:]}") from None
    assert daemon.terminate() == 0, "the daemon did not stop as asked"


class Outcomes(unittest.TestCase):
    maxDiff = None

    def check(self, case):
        outcome = outcomes[case.id]
        data = outcome.data
        self.assertEqual(data.get("reason"), case.reason, data.get("message"))
        self.assertEqual(outcome.record.key, case.key)
        self.assertEqual(data.get("endpoint"), case.endpoint)
        ending = "succeeded" if case.reason is None else "failed"
        kind = f"wechatpay.presign.{case.endpoint}.{ending}" if case.endpoint else f"wechatpay.presign.{ending}"
        self.assertEqual(outcome.event["type"], kind)
        self.assertEqual(outcome.record.header("ce_type"), kind)
        if case.reason is None:
            self.assertEqual(data["attempts"], case.attempts or 1)
        else:
            self.check_failure(case, data)

    def check_failure(self, case, data):
        self.assertEqual(data["retryable"], RETRYABLE[case.reason])
        self.assertEqual(data["call_state"], case.call_state)
        if case.attempts is not None:
            self.assertEqual(data["attempts"], case.attempts)
        self.assertTrue(data["message"])
        self.check_errors(case, data.get("errors", []))
        self.assertEqual(data.get("answer", {}).get("status"), case.status)
        self.assertEqual(len(data.get("attempt_log", [])), min(data["attempts"], 10))
        if "original" in data:
            size = len(case.value or b"") + sum(len(name) + len(value or b"") for name, value in case.headers)
            self.assertEqual(data["original"].get("truncated", False), size > ORIGINAL_MAX)

    def check_errors(self, case, errors):
        self.assertLessEqual(len(errors), 16)
        if case.reason != "invalid_cloudevent":
            self.assertEqual(bool(errors), case.reason == "invalid_request")
        if case.attributes:
            self.assertEqual([error["attribute"] for error in errors], case.attributes)
        if case.locations:
            self.assertEqual([(error["instanceLocation"], error["keywordLocation"].rsplit("/", 1)[1])
                              for error in errors], case.locations)
        for error in errors:
            if "keywordLocation" in error:
                self.assertIsNotNone(keyword_at(case.endpoint, error["keywordLocation"]), error)

    def check_all(self, name):
        self.assertTrue(cases[name])
        for case in cases[name]:
            with self.subTest(case.name):
                self.check(case)

    def test_empty(self):
        self.check_all("empty_cases")

    def test_too_large(self):
        self.check_all("size_cases")

    def test_not_json(self):
        self.check_all("json_cases")

    def test_attributes(self):
        self.check_all("attribute_cases")

    def test_unknown_types(self):
        self.check_all("type_cases")

    def test_data(self):
        self.check_all("data_cases")

    def test_expiry_and_merchant(self):
        self.check_all("routing_cases")
        self.check_all("expiring")
        self.check_all("too old")

    def test_the_first_check_names_the_reason(self):
        self.check_all("order_cases")

    def test_answers(self):
        self.check_all("answer_cases")

    def test_unauthorized_after_a_hold(self):
        self.check_all("401, held")
        held = outcomes[cases["401, held"][0].id].data
        self.assertGreater(held["attempts"], 2)

    def test_rate_limited_to_the_end(self):
        self.check_all("429")

    def test_unreachable(self):
        self.check_all("unreachable")
        self.check_all("untrusted certificate")

    def test_every_reason_was_seen(self):
        seen = {case.reason for each in cases.values() for case in each}
        self.assertEqual(seen - {None}, set(RETRYABLE))

    def test_attempts_are_logged(self):
        case = next(c for c in cases["answer_cases"] if c.name == "answer 503x1" and c.reason)
        first, second = outcomes[case.id].data["attempt_log"]
        self.assertEqual((first["status"], first["ended"]), (503, "unavailable"))
        self.assertEqual((second["status"], second["code"], second["ended"]), (400, "PARAM_ERROR", "rejected"))
        self.assertEqual(first["host"], f"127.0.0.1:{world.sandbox.port}")
        self.assertTrue(outcomes[case.id].data["answer"]["signed"])

    def test_originals_may_be_left_out(self):
        self.check_all("no original")
        self.assertNotIn("original", outcomes[cases["no original"][0].id].data)
        self.assertIn("original", outcomes[cases["empty_cases"][0].id].data)

    def test_what_is_known_of_a_bad_event_is_told(self):
        case = next(c for c in cases["attribute_cases"] if c.name == "mchid 'abc', structured")
        parsed = json.loads(case.value)
        told = outcomes[case.id]
        self.assertEqual({name: told.data["event"][name] for name in ("id", "source", "type")},
                         {name: parsed[name] for name in ("id", "source", "type")})
        self.assertEqual(told.event["subject"], parsed["data"]["out_contract_code"])
        self.assertEqual(told.record.header("ce_subject"), parsed["data"]["out_contract_code"])

    def test_values_are_never_quoted(self):
        for each in cases["data_cases"]:
            data = outcomes[each.id].data
            if each.reason:
                told = json.dumps([data["message"], data.get("errors")], ensure_ascii=False)
                for value in ("wxd678efh567hg6787", "oYobu0MV", "用户A", "yourapp", "小乔"):
                    self.assertNotIn(value, told)


def keyword_at(endpoint, location):
    """What stands there in the endpoint's schema, references followed; None for nothing."""
    document = at = SCHEMAS[f"{endpoint}.request.json"]
    for part in location.split("/")[1:]:
        if part == "$ref":
            file, _, inside = at["$ref"].partition("#")
            document = at = SCHEMAS[file] if file else document
            for name in inside.split("/")[1:]:
                at = at[name]
        elif isinstance(at, list):
            at = at[int(part)]
        elif part in at:
            at = at[part]
        else:
            return None
    return at


class Partition(unittest.TestCase):
    def test_good_events_behind_bad_ones_get_their_results(self):
        self.assertEqual({outcomes[name].reason for name in goods}, {None})
        self.assertGreater(len(goods), 500)

    def test_the_audit_passes(self):
        self.assertTrue(audit.passed, audit.summary())

    def test_nothing_bad_reached_the_endpoint(self):
        self.assertEqual([entry for entry in world.sandbox.ledger() if entry.get("issue")], [])


if __name__ == "__main__":
    unittest.main()
