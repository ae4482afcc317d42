"""Writes a pre-sign request, or follows the outcomes: python3 presign.py request CODE | outcomes [COUNT]

From the environment: KAFKA (brokers), KAFKA_CA (PEM file of their authority: TLS), KAFKA_USER and
KAFKA_PASSWORD (with TLS; KAFKA_MECHANISM: PLAIN, or SCRAM-SHA-256 or -512), GROUP (orders-python).
Needs confluent-kafka (Debian: python3-confluent-kafka).
"""

import json
import os
import sys
import uuid
from datetime import datetime, timedelta, timezone

from confluent_kafka import Consumer, KafkaException, Producer


def kafka():
    """Properties of every client."""
    environment = os.environ
    settings = {"bootstrap.servers": environment.get("KAFKA", "127.0.0.1:9092")}
    if "KAFKA_CA" in environment:
        settings |= {"security.protocol": "ssl", "ssl.ca.location": environment["KAFKA_CA"]}
    if "KAFKA_USER" in environment:
        settings |= {"security.protocol": "sasl_ssl",
                     "sasl.mechanism": environment.get("KAFKA_MECHANISM", "PLAIN"),
                     "sasl.username": environment["KAFKA_USER"], "sasl.password": environment["KAFKA_PASSWORD"]}
    return settings


def request(code):
    """Sends one event; returns TOPIC/PARTITION/OFFSET, which is the id of its outcome."""
    soon = datetime.now(timezone.utc) + timedelta(minutes=2)
    event = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/orders",
        "type": "wechatpay.presign.app.requested",
        "mchid": "1900007291",
        # The user does not wait longer than this; a later call is useless.
        "expirytime": soon.isoformat(timespec="seconds"),
        "data": {
            "appid": "wxd678efh567hg6787",
            "plan_id": 12535,
            "out_contract_code": code,
            "contract_display_account": "微信代扣用户A",
            "contract_notify_url": "https://yourapp.com/notify",
        },
    }
    delivered = []
    # The partitioner of Java clients, so that all producers use the same one.
    producer = Producer({**kafka(), "enable.idempotence": True, "partitioner": "murmur2_random"})
    producer.produce("presign.requests", json.dumps(event, ensure_ascii=False).encode(), key=code,
                     headers={"content-type": "application/cloudevents+json"},
                     on_delivery=lambda error, message: delivered.append((error, message)))
    producer.flush(30)
    error, message = delivered[0] if delivered else ("no answer from Kafka", None)
    if error:
        sys.exit(f"not sent: {error}")
    return f"{message.topic()}/{message.partition()}/{message.offset()}"


def opening(data):
    """What the client calls to open the signing page."""
    answer = data["response"]
    match data["endpoint"].removeprefix("partner-"):
        case "app" if "miniprogram_username" in answer:
            return {"call": "WXLaunchMiniProgram", "userName": answer["miniprogram_username"],
                    "path": answer["miniprogram_path"]}
        case "app":
            return {"call": "WXOpenBusinessWebview", "businessType": 12,
                    "queryInfo": {"pre_entrustweb_id": answer["pre_entrustweb_id"]}}
        case "mini-program":
            return {"call": "wx.navigateToMiniProgram", "appId": answer["redirect_appid"],
                    "path": answer["redirect_path"],
                    "extraData": {"pre_entrustweb_id": answer["pre_entrustweb_id"]}}
        case _:
            return {"call": "redirect", "url": answer["redirect_url"]}


def newer(ranks, key, rank):
    """Stores `rank` if it is the highest of its key so far; returns whether it is."""
    if ranks.get(key, ()) >= rank:
        return False
    ranks[key] = rank
    return True


def handle(outcome, known, sessions):
    """Stores one outcome in `known` and `sessions` (your database); returns what is new, or None.

    The same outcome may come twice, because offsets are committed after handling. An id may have
    several outcomes, and a code several results. Comparing ranks handles all of this."""
    data = outcome["data"]
    code = data.get("out_contract_code")
    succeeded = outcome["type"].endswith(".succeeded")
    # A result wins over a failure, then the later issued_at (in seconds) wins, then the later time.
    rank = (succeeded, data["issued_at"] if succeeded else "", outcome["time"])
    if not newer(known, outcome["id"], rank):
        return None
    if not succeeded:
        # The reason may be one that you do not know; retryable says what to do.
        return {"code": code, "failed": data["reason"], "retryable": data["retryable"]}
    if not newer(sessions, (data["mchid"], code), rank):
        return None
    return {"code": code, "expires_at": data["expires_at"], "open": opening(data)}


def outcomes(count):
    """Follows both topics and prints what is new; ends after `count` records, if that is not 0."""
    known, sessions = {}, {}
    consumer = Consumer({**kafka(), "group.id": os.environ.get("GROUP", "orders-python"), "isolation.level": "read_committed",
                         "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe(["presign.results", "presign.failures"])
    handled = 0
    while count == 0 or handled < count:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        news = handle(json.loads(message.value()), known, sessions)
        if news:
            print(json.dumps(news), flush=True)
        consumer.commit(message, asynchronous=False)
        handled += 1
    consumer.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["request"] and len(sys.argv) == 3:
        print(request(sys.argv[2]))
    elif sys.argv[1:2] == ["outcomes"]:
        outcomes(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    else:
        sys.exit(__doc__)
