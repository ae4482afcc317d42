"""presignctl redrive on the real broker: what is chosen is sent, and nothing twice.

Most failures here are written by the test: what a daemon publishes is tested elsewhere, and one
test goes the whole way with one.
"""

import collections
import json
import os
import random
import signal
import subprocess
import time
import unittest
import uuid

from confluent_kafka import Consumer, Producer, TopicPartition

import auditor
from harness import SAMPLES, World, event, wait_until
from kafka_broker import dying_with_us

BATCH = 20
BLOCK = 8192  # offsets that have one group's position
KILLS = 6


def failure(code, reason="unavailable", retryable=True, mchid="1900007291", original="whole", at=None,
            headers=(), topic="-", offset=0, partition=0, attributes=None, data=None):
    """(key, value) of a failure record. `original`: whole, truncated, none."""
    envelope = {"specversion": "1.0", "id": code, "source": "/tests", "mchid": mchid,
                "type": "wechatpay.presign.app.requested", **(attributes or {}),
                "data": {**SAMPLES["app"], "out_contract_code": code, **(data or {})}}
    value = json.dumps(envelope, ensure_ascii=False)
    body = {"event": {"topic": topic, "partition": partition, "offset": offset}, "endpoint": "app", "mchid": mchid,
            "out_contract_code": code, "reason": reason, "retryable": retryable, "call_state": "unknown",
            "attempts": 1, "message": "made by a test"}
    if original != "none":
        body["original"] = {"value": value[:20] if original == "truncated" else value,
                            "headers": [{"name": "content-type", "value": "application/cloudevents+json"},
                                        *({"name": name, "value": text} for name, text in headers)]}
        if original == "truncated":
            body["original"]["truncated"] = True
    outcome = {"specversion": "1.0", "id": f"{topic}/0/{offset}", "source": "/presignd/c/g",
               "type": "wechatpay.presign.app.failed", "data": body,
               "time": at or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    return code.encode(), json.dumps(outcome, ensure_ascii=False).encode()


class Redrive(unittest.TestCase):
    sets = ()

    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World(partitions=1))
        cls.world.start_sandbox(options=["--fault-by-code", "--merchant", "1900007291:direct",
                                         "--merchant", "1230000109:direct"])
        cls.config = cls.world.write_config()
        cls.bootstrap = cls.world.kafka.bootstrap

    def setUp(self):
        name = uuid.uuid4().hex[:8]
        self.failures, self.requests, self.group = f"failures.{name}", f"requests.{name}", f"group-{name}"
        self.program = "presignctl"

    def make_topics(self, partitions=1):
        for topic in (self.failures, self.requests):
            self.world.kafka.create_topic(topic, partitions)

    def write(self, topic, records, transactional=None, **options):
        producer = Producer({"bootstrap.servers": self.bootstrap, "log_level": 0, "linger.ms": 5,
                             **({"transactional.id": transactional, "transaction.timeout.ms": 900000}
                                if transactional else {})})
        if transactional:
            producer.init_transactions(180)
            producer.begin_transaction()
        for number, (key, value) in enumerate(records):
            producer.produce(topic, value, key, **options)
            if number % 1000 == 999:
                producer.flush(180)
        self.assertEqual(producer.flush(180), 0)
        return producer

    def command(self, *options):
        return [self.world.build / self.program, "redrive", "-c", self.config,
                "--set", f"kafka.group.id={self.group}", "--set", f"daemon.failures_topic={self.failures}",
                "--set", f"daemon.requests_topic={self.requests}", *self.sets, "--json", *map(str, options)]

    def redrive(self, *options, status=0):
        """{state: [out_contract_code or id, ...]}, and the lines by code in self.lines."""
        done = subprocess.run(self.command(*options), capture_output=True, timeout=180)
        self.assertEqual(done.returncode, status, done.stderr.decode())
        self.told = done.stderr.decode()
        found = [json.loads(line) for line in done.stdout.splitlines()]
        self.lines = {line.get("out_contract_code", line["failure"]): line for line in found}
        states = {}
        for line in found:
            states.setdefault(line["state"], []).append(line.get("out_contract_code", line["failure"]))
        return states

    def is_visible(self, topic, text):
        reader = auditor.Reader(self.bootstrap, [topic])
        try:
            reader.read_to_end()
        finally:
            reader.close()
        return any(text in (record.value or b"") for record in reader.records)

    def sent(self):
        """{code: [record, ...]} of the requests topic, as presignd will read it."""
        reader = auditor.Reader(self.bootstrap, [self.requests])
        try:
            reader.read_to_end()
        finally:
            reader.close()
        found = {}
        for record in reader.records:
            found.setdefault(json.loads(record.value)["data"]["out_contract_code"], []).append(record)
        return found

    def commit(self, group, offset):
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, "log_level": 0})
        consumer.commit(offsets=[TopicPartition(self.failures, 0, offset)], asynchronous=False)
        consumer.close()

    # ---- what is chosen

    def test_filters_choose_and_what_they_pass_over_stays(self):
        self.make_topics()
        self.write(self.failures, [
            failure("a", at="2026-11-01T00:00:00Z"), failure("b", at="2026-11-02T00:00:00Z"),
            failure("c", reason="rejected", retryable=False), failure("d", mchid="1230000109"),
            failure("e", reason="rate_limited"), failure("f")])
        self.assertEqual(self.redrive(), {"would_send": ["a", "b", "d", "e", "f"]})
        self.assertIn("1 not chosen", self.told)
        self.assertEqual(self.sent(), {})
        self.assertEqual(self.redrive("--until", "2026-11-02T00:00:00Z"), {"would_send": ["a"]})
        self.assertEqual(self.redrive("--since", "2026-11-02T00:00:00Z", "--until", "1h"), {"would_send": ["b"]})
        self.assertEqual(self.redrive("--since", "2026-11-02T00:00:00Z", "--until", "2026-11-03T00:00:00Z",
                                      "--send"), {"sent": ["b"]})
        self.assertEqual(self.redrive("--reason", "rejected", "--reason", "rate_limited"),
                         {"would_send": ["c", "e"]})
        self.assertEqual(self.redrive("--reason", "rejected", "--retryable"), {})
        self.assertEqual(self.redrive("--merchant", "1230000109", "--send"), {"sent": ["d"]})
        self.assertEqual(self.redrive("--out-contract-code", "f", "--out-contract-code", "b", "--send"),
                         {"sent": ["f"]})
        self.assertEqual(self.redrive("--limit", 1, "--send"), {"sent": ["a"]})
        self.assertEqual(self.redrive("--list"), {"was_sent": ["a", "b", "d", "f"]})
        self.assertEqual(self.redrive("--reason", "rejected", "--send"), {"sent": ["c"]})
        self.assertEqual(self.redrive("--send"), {"sent": ["e"]})
        self.assertEqual(self.redrive("--send"), {})
        self.assertEqual({code: len(records) for code, records in self.sent().items()},
                         dict.fromkeys("abcdef", 1))

    def test_the_record_is_the_event_with_two_marks(self):
        self.make_topics()
        before = [("x", "1"), ("presignredrive", "old/0/1"), ("presignredrivecount", "3")]
        self.write(self.failures, [failure("a"), failure("b", headers=before)])
        self.redrive("--send")
        (a,), (b,) = self.sent()["a"], self.sent()["b"]
        self.assertEqual((a.key, json.loads(a.value)["id"]), (b"a", "a"))
        kept = ("content-type", b"application/cloudevents+json")
        self.assertEqual(a.headers, [kept, ("presignredrive", f"{self.failures}/0/0".encode()),
                                     ("presignredrivecount", b"1")])
        self.assertEqual(b.headers, [kept, ("x", b"1"), ("presignredrive", f"{self.failures}/0/1".encode()),
                                     ("presignredrivecount", b"4")])
        self.assertEqual([self.lines[code]["count"] for code in "ab"], [1, 4])
        self.assertEqual([self.lines[code]["request"] for code in "ab"], [a.id, b.id])

    def test_an_event_that_the_failure_does_not_hold_is_fetched(self):
        self.make_topics()
        events = [event(out_contract_code=code, mchid="1900007291") for code in "ab"]
        self.write(self.requests, [(key, value) for key, value, _ in events], headers=[("h", b"\xff")])
        self.write(self.failures, [
            failure("a", original="truncated", topic=self.requests, offset=0),
            failure("b", original="none", topic=self.requests, offset=1),
            failure("c", original="none", topic=self.requests, offset=99),
            failure("d", original="none", topic="elsewhere", offset=0),
            failure("e", original="none", topic=self.requests, offset=0, partition=99),
            failure("f", original="none", topic=self.requests, offset=0, partition=-1),
            failure("g", original="none", topic=self.requests, offset=0)])
        self.assertEqual(self.redrive("--send", status=65),
                         {"gone": ["c", "d", "e", "f", "g"], "sent": ["a", "b"]})
        self.assertIn("another event", self.lines["g"]["message"])
        self.assertIn("no record", self.lines["c"]["message"])
        self.assertIn("elsewhere", self.lines["d"]["message"])
        for code, (_, value, _) in zip("ab", events):
            self.assertEqual(self.sent()[code][1].value, value)
            self.assertEqual(self.sent()[code][1].headers[0], ("h", b"\xff"))

    def test_what_would_only_fail_again_is_said(self):
        self.make_topics()
        self.write(self.failures, [
            failure("expired", attributes={"expirytime": "2026-01-01T00:00:00Z"}),
            failure("stranger", mchid="1999999999"), failure("misspelt", data={"plan_idd": 1}),
            failure("large", data={"contract_display_account": "x" * 70000}), failure("good")])
        self.write(self.failures, [(b"k", b"{}"), (None, None), (b"k", b"not JSON")])
        states = self.redrive("--send", status=65)
        self.assertEqual(states["would_fail"], ["expired", "stranger", "misspelt", "large"])
        self.assertEqual(states["sent"], ["good"])
        self.assertEqual(len(states["foreign"]), 3)
        for code, reason in (("expired", "expired"), ("stranger", "unknown_merchant"),
                             ("misspelt", "invalid_request"), ("large", "event_too_large")):
            self.assertTrue(self.lines[code]["message"].startswith(reason + ": "), self.lines[code])
        self.assertEqual(self.redrive("--send", "--force")["sent"], states["would_fail"])

    def test_only_committed_failures_are_there(self):
        self.make_topics()
        self.write(self.failures, [failure("aborted")], f"x-{self.group}").abort_transaction(180)
        self.write(self.failures, [failure("done")], f"x-{self.group}").commit_transaction(180)
        open_one = self.write(self.failures, [failure("open")], f"x-{self.group}")
        self.assertEqual(self.redrive("--send"), {"sent": ["done"]})
        open_one.commit_transaction(180)
        # The coordinator answers before the marker is in the topic.
        wait_until(lambda: self.is_visible(self.failures, b"open"), "the end of the transaction")
        self.assertEqual(self.redrive("--send"), {"sent": ["open"]})

    def test_too_large_for_the_topic(self):
        self.world.kafka.create_topic(self.failures)
        self.world.kafka.create_topic(self.requests, config={"max.message.bytes": "3000"})
        large = [failure(code, headers=[("x", "y" * 4000)]) for code in "bd"]
        self.write(self.failures, [failure("a"), large[0], failure("c"), large[1], failure("e")])
        states = self.redrive("--send", status=65)
        # Without transactions, "e" may be acknowledged while "d" is refused; "a" and "c" follow then.
        states["sent"].sort()
        self.assertEqual(states, {"too_large": ["b", "d"], "sent": ["a", "c", "e"]})

    def test_discard_retires_the_chosen_and_sends_nothing(self):
        self.make_topics()
        self.write(self.failures, [
            failure("expired", reason="expired", retryable=False, attributes={"expirytime": "2026-01-01T00:00:00Z"}),
            failure("gone", original="none"), failure("stays", mchid="1230000109"),
            failure("good")])
        self.write(self.failures, [(b"k", b"not JSON")])
        self.redrive("--discard", status=64)
        self.assertIn("--discard needs one of", self.told)
        self.redrive("--discard", "--send", "--since", "1h", status=64)
        chosen = ("--discard", "--merchant", "1900007291")
        codes = ["expired", "gone", "good"]
        self.assertEqual(self.redrive(*chosen, "--list"), {"would_discard": codes})
        self.assertEqual(self.redrive("--merchant", "1900007291", "--list"), {})
        self.assertEqual(self.redrive(*chosen, "--limit", 1), {"discarded": codes[:1]})
        self.assertEqual(self.redrive(*chosen), {"discarded": codes[1:]})
        self.assertEqual(self.redrive("--list"), {"was_sent": codes})
        self.assertEqual(self.redrive("--send", "--force"), {"sent": ["stays"], "foreign": [f"{self.failures}/0/4"]})
        self.assertEqual(self.redrive("--discard", "--since", "1h"), {"discarded": [f"{self.failures}/0/4"]})
        self.assertEqual(self.redrive("--list"), {"was_sent": ["expired", "gone", "stays", "good", f"{self.failures}/0/4"]})
        self.assertEqual(self.redrive("--send"), {})
        self.assertEqual(list(self.sent()), ["stays"])

    # ---- what is remembered

    def test_blocks_beyond_the_first(self):
        self.make_topics()
        self.write(self.failures, (failure(f"n{n}", reason="rejected", retryable=False)
                                   for n in range(2 * BLOCK + 10)))
        codes = [f"n{n}" for n in (0, BLOCK - 1, BLOCK, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 9)]
        chosen = ["--reason", "rejected", *(word for code in codes for word in ("--out-contract-code", code))]
        self.assertEqual(self.redrive("--send", *chosen), {"sent": codes})
        self.assertEqual(self.redrive("--send", *chosen), {})
        self.assertEqual(self.redrive("--list"), {"was_sent": codes})
        self.assertEqual(self.redrive("--send", "--reason", "rejected", "--limit", 1), {"sent": ["n1"]})

    def test_a_position_that_may_have_expired_needs_a_decision(self):
        self.make_topics()
        month_ago = int((time.time() - 30 * 86400) * 1000)
        self.write(self.failures, [failure("old"), failure("older")], timestamp=month_ago)
        self.write(self.failures, [failure("new")])
        self.assertEqual(self.redrive(status=65), {"forgotten": ["old", "older"], "would_send": ["new"]})
        self.assertEqual(self.redrive("--send", "--out-contract-code", "new", status=65), {})
        self.assertIn("--forgotten", self.told)
        self.assertEqual(self.sent(), {})
        self.assertEqual(self.redrive("--forgotten", "send", "--send", "--out-contract-code", "old"),
                         {"sent": ["old"]})
        self.assertEqual(self.redrive("--send"), {"sent": ["older", "new"]})
        self.group += "-2"
        self.assertEqual(self.redrive("--forgotten", "leave"), {"would_send": ["new"]})
        self.assertEqual(self.redrive("--forgotten", "leave", "--send"), {"sent": ["new"]})
        self.assertEqual(self.redrive("--send"), {})

    def test_a_position_that_is_not_ours_ends_it(self):
        self.make_topics()
        self.write(self.failures, [failure("a")])
        self.commit(f"{self.group}-redrive-0", BLOCK + 1)
        self.redrive("--send", status=69)
        self.assertIn("another program", self.told)
        self.commit(f"{self.group}-redrive-0", 5000)
        self.redrive("--send", status=65)
        self.assertIn("recreated", self.told)

    def test_a_second_run_takes_over(self):
        self.make_topics()
        self.write(self.failures, (failure(f"n{n}") for n in range(40)))
        first = subprocess.Popen([*dying_with_us(), *self.command("--send", "--batch", 1)],
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.assertTrue(first.stdout.readline())
        first.send_signal(signal.SIGSTOP)
        self.redrive("--send")
        first.send_signal(signal.SIGCONT)
        first.communicate(timeout=180)
        # 0: it was away for so long that it may not have been fenced, and looked again.
        self.assertIn(first.returncode, (75, 0))
        self.assert_each_sent_once(40)

    def stop_while_the_topic_grows(self):
        """How a run ends that is away for longer than its transactions may last, while another
        takes over: 0, it looks again; 75, it was stopped between two transactions, so that
        nothing but the other one can have fenced it."""
        self.make_topics()
        self.write(self.failures, (failure(f"n{n}") for n in range(1000)))
        quick = ("--send", "--set", "kafka.producer.transaction.timeout.ms=1000")
        first = subprocess.Popen([*dying_with_us(), *self.command(*quick, "--batch", 1)],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertTrue(first.stdout.readline())
        time.sleep(random.random() * 0.05)  # anywhere in a transaction
        first.send_signal(signal.SIGSTOP)
        self.assertLess(len(self.sent()), 1000, "it had ended before")
        self.write(self.failures, (failure(f"m{n}") for n in range(3)))
        self.redrive("--send")
        time.sleep(1.5)  # its transaction has timed out: it may look again
        first.send_signal(signal.SIGCONT)
        told = first.communicate(timeout=180)[1].decode()
        self.assertEqual({len(records) for records in self.sent().values()}, {1})
        self.assertEqual(len(self.sent()), 1003)
        self.assertIn(first.returncode, (75, 0), told)
        return first.returncode

    def test_a_topic_that_has_grown_meanwhile_was_not_made_anew(self):
        for _ in range(12):
            self.setUp()
            if self.stop_while_the_topic_grows() == 0:
                return
        self.fail("it was never stopped within a transaction")

    # ---- whatever happens to a run

    def assert_each_sent_once(self, count):
        counts = {code: len(records) for code, records in self.sent().items()}
        self.assertEqual(counts, {f"n{n}": 1 for n in range(count)})

    def run_with_kills(self, count, partitions=3, environment=None):
        """Runs that are killed somewhere, with other filters each, then two that end."""
        self.make_topics(partitions)
        self.write(self.failures, (failure(f"n{n}", reason="unavailable" if n % 3 else "rejected",
                                           retryable=n % 3 > 0) for n in range(count)))
        environment = {**os.environ, **(environment or {})}
        for kill in range(KILLS):
            chosen = ["--reason", "rejected"] if kill % 2 else []
            process = subprocess.Popen(
                [*dying_with_us(), *self.command("--send", "--batch", BATCH, *chosen)],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
            for _ in range(random.randint(1, 60)):
                if not process.stdout.readline():
                    break
            time.sleep(random.random() * 0.01)
            process.kill()
            process.communicate(timeout=180)
        for chosen in ([], ["--reason", "rejected"]):
            subprocess.run(self.command("--send", *chosen), stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, env=environment, timeout=180, check=True)

    def test_killed_runs_send_each_failure_once(self):
        self.run_with_kills(900)
        self.assert_each_sent_once(900)
        self.assertEqual(len(self.redrive("--list")["was_sent"]), 900)

    def test_without_a_safeguard_it_is_found(self):
        for safeguard, wrong in (("done-set", "doubled"), ("base-offset", "missing")):
            with self.subTest(safeguard):
                self.setUp()
                self.program = "presignctl-ablated"
                self.run_with_kills(300, partitions=1, environment={"PRESIGND_ABLATE": safeguard})
                counts = collections.Counter({code: len(records) for code, records in self.sent().items()})
                found = {"doubled": max(counts.values()) > 1, "missing": len(counts) < 300}
                self.assertTrue(found[wrong], found)

    # ---- the whole way

    def test_the_whole_way_with_a_daemon(self):
        self.failures, self.requests = (self.world.topics[name] for name in (auditor.FAILURES, auditor.REQUESTS))
        daemon = self.world.start_daemon(sets=["retry.max_attempts=1"])
        ids = self.world.produce([event(out_contract_code=code, mchid="1900007291")
                                  for code in ("F503x1good", "F503x2bad")])
        first = self.world.wait_for_outcomes(ids)
        self.assertEqual({outcome.reason for outcome in first.values()}, {"unavailable"})
        # Three outages in a row are the host's, and the third would be no attempt.
        self.world.wait_for_outcomes(self.world.produce([event(mchid="1900007291")]))
        self.redrive("--send")
        again = [self.lines[code]["request"] for code in ("F503x1good", "F503x2bad")]
        good, bad = (self.world.wait_for_outcomes(again)[name] for name in again)
        self.assertEqual((good.reason, bad.reason), (None, "unavailable"))
        marks = {header["name"]: header["value"] for header in bad.data["original"]["headers"]}
        self.assertEqual(marks["presignredrivecount"], "1")
        self.assertEqual(marks["presignredrive"], first[ids[1]].record.id)
        wait_until(lambda: "F503x2bad" in self.redrive().get("would_send", []), "the second failure's turn")
        self.assertEqual(self.redrive("--send"), {"sent": ["F503x2bad"]})
        self.assertEqual(self.lines["F503x2bad"]["count"], 2)
        third = self.world.wait_for_outcomes([self.lines["F503x2bad"]["request"]])
        self.assertEqual([outcome.reason for outcome in third.values()], [None])
        self.assertEqual(daemon.terminate(), 0)
        self.world.assert_audit_passes(wait_s=180)


class WithoutTransactions(Redrive):
    """delivery = at_least_once: the same, but a kill may send its last batch again."""

    sets = ("--set", "daemon.delivery=at_least_once")
    # Nothing stops a second run beside a first one.
    test_a_second_run_takes_over = None
    test_a_topic_that_has_grown_meanwhile_was_not_made_anew = None
    test_without_a_safeguard_it_is_found = None
    test_the_whole_way_with_a_daemon = None

    def test_killed_runs_send_each_failure_once(self):
        self.run_with_kills(900)
        counts = {code: len(records) for code, records in self.sent().items()}
        self.assertEqual(counts.keys(), {f"n{n}" for n in range(900)})
        self.assertLessEqual(sum(counts.values()), 900 + KILLS * BATCH)
        self.assertEqual(len(self.redrive("--list")["was_sent"]), 900)


if __name__ == "__main__":
    unittest.main()
