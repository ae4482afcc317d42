"""The events of a run, drawn from its seed, and what is to become of each."""

import json
import random

from calls_audit import Expected, body_sha256
from harness import SAMPLES

DIRECT, PARTNER = "1900007291", "1900000109"
ENDPOINTS = (("app", DIRECT), ("partner-mini-program", PARTNER))
CONTENT_TYPE = ("content-type", b"application/cloudevents+json")
# The header by which an input is known again; the daemon passes over it.
NUMBER = "chaos-number"

BAD_SHARE = 0.04        # never called
SAME_CODE_SHARE = 0.03  # begins a group of one contract code
GROUP_MAX = 6
EXPIRES = "2020-01-01T00:00:00Z"


def _break(name, envelope, rng):
    """The value of a record that is wrong in the way that ends with the reason NAME."""
    if name == "empty_event":
        return b""
    if name == "invalid_json":
        return json.dumps(envelope)[:-rng.randint(1, 20)].encode()
    if name == "invalid_cloudevent":
        del envelope["source"]
    elif name == "unknown_type":
        envelope["type"] = "wechatpay.presign.fax.requested"
    elif name == "invalid_request":
        envelope["data"]["plan_id"] = "12535"
    elif name == "expired":
        envelope["expirytime"] = EXPIRES
    elif name == "unknown_merchant":
        envelope["mchid"] = "1111111111"
    return json.dumps(envelope, ensure_ascii=False).encode()


BAD = ("empty_event", "invalid_json", "invalid_cloudevent", "unknown_type", "invalid_request",
       "expired", "unknown_merchant")


class Planned:
    """One event before it is written."""

    __slots__ = ("number", "partition", "key", "value", "code", "body", "endings")

    def headers(self):
        return [CONTENT_TYPE, (NUMBER, str(self.number).encode())]

    def expected(self, name):
        return Expected(name, self.code, self.body, self.endings)


class Load:
    """`unique_keys` for a compacted topic, where only the last record of a key is certain to
    stay; there null keys are refused as well."""

    def __init__(self, seed, count, partitions, unique_keys=False):
        self._rng = random.Random(f"load {seed}")
        self._partitions = partitions
        self._unique_keys = unique_keys
        self._groups = []  # [code, partition, events left]
        self.planned = []
        for _ in range(count):
            self.add()

    def add(self, code=None, partition=None, key=None, good=False):
        """One more; drawn from the seed where nothing is named."""
        rng, event = self._rng, Planned()
        event.number = len(self.planned)
        event.partition = rng.randrange(self._partitions) if partition is None else partition
        event.code = code or f"C{event.number:07d}"
        if code is None and not good:
            self._draw_group(event)
        endpoint, mchid = ENDPOINTS[sum(event.code.encode()) % len(ENDPOINTS)]
        data = {**SAMPLES[endpoint], "out_contract_code": event.code,
                "contract_display_account": f"用户 {event.number}"}
        envelope = {"specversion": "1.0", "id": f"event {event.number}", "source": "/chaos",
                    "type": f"wechatpay.presign.{endpoint}.requested", "mchid": mchid, "data": data}
        event.body, event.endings = body_sha256(data), (None,)
        if not good and rng.random() < BAD_SHARE:
            reason = rng.choice(BAD)
            event.endings = (reason,)
            event.value = _break(reason, envelope, rng)
        else:
            event.value = json.dumps(envelope, ensure_ascii=False).encode()
        event.key = key or self._key_of(event)
        self.planned.append(event)
        return event

    def _draw_group(self, event):
        """Some events go on with the code, and the partition, of one before."""
        rng = self._rng
        if self._groups and rng.random() < 0.15:
            group = rng.choice(self._groups)
            event.code, event.partition = group[0], group[1]
            group[2] -= 1
            if group[2] == 0:
                self._groups.remove(group)
        elif rng.random() < SAME_CODE_SHARE:
            self._groups.append([event.code, event.partition, rng.randint(1, GROUP_MAX - 1)])

    def _key_of(self, event):
        if self._unique_keys:
            return f"{event.code}/{event.number}".encode()
        return None if self._rng.random() < 0.02 else event.code.encode()

    def find(self, record):
        """The planned event that a record was written for; None when it is none of ours."""
        number = record.header(NUMBER)
        return self.planned[int(number)] if number is not None else None
