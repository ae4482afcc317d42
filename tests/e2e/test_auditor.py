"""The auditor has to be shown to fail: every kind of fault is planted on the real broker."""

import datetime
import json
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

from confluent_kafka import Producer

import auditor
from kafka_broker import Cluster

# As little as a schema can say; what schemas/ say is for the tests of the daemon.
SCHEMA = {"$id": "https://presignd.invalid/schemas/result.json", "required": ["specversion", "data"],
          "properties": {"data": {"$ref": "common.json#/$defs/data"}}}
COMMON = {"$id": "https://presignd.invalid/schemas/common.json",
          "$defs": {"data": {"properties": {"endpoint": {"type": "string"}}}}}


def setUpModule():
    global kafka, schemas, producers
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)
    directory = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(directory.cleanup)
    producers = [transactional("one"), transactional("two")]
    schemas = Path(directory.name)
    for name, schema in (("result", SCHEMA), ("failure", SCHEMA), ("common", COMMON)):
        (schemas / f"{name}.json").write_text(json.dumps(schema))


def transactional(name):
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0,
                         "transactional.id": name})
    producer.init_transactions(180)
    return producer


def outcome_of(record, succeeded=True, **changes):
    """A good outcome of an input, as arguments of Producer.produce()."""
    stamp = datetime.datetime.fromtimestamp(record.timestamp_ms // 1000, datetime.timezone.utc)
    topic, partition, offset = record.id.split("/")
    ending = "succeeded" if succeeded else "failed"
    data = {"endpoint": "app", "event": {
        "topic": topic, "partition": int(partition), "offset": int(offset),
        "timestamp": stamp.strftime("%Y-%m-%dT%H:%M:%S.") + f"{record.timestamp_ms % 1000:03}Z"}}
    if not succeeded:
        data["original"] = {"value": record.value.decode(), "headers": [
            {"name": name, "value": value.decode()} for name, value in record.headers]}
    event = {"specversion": "1.0", "id": record.id, "source": "/presignd/c/g", "subject": "s",
             "type": f"wechatpay.presign.app.{ending}", "data": data}
    event.update(changes.pop("event", {}))
    data.update(changes.pop("data", {}))
    headers = [("content-type", "application/cloudevents+json")] + [
        (f"ce_{name}", event[name]) for name in ("type", "id", "source", "subject")]
    return {"value": json.dumps(event), "key": record.key, "headers": headers, **changes}


def at(settled_s, succeeded=True, issued_s=0):
    """(succeeded, changes) of an outcome that was completed in a second, its session issued in another."""
    stamp = "2026-11-23T08:00:{:02}".format
    data = {"issued_at": f"{stamp(issued_s)}Z"} if succeeded else {}
    return succeeded, {"event": {"time": f"{stamp(settled_s)}.250Z"}, "data": data}


class Planted(unittest.TestCase):
    """Each test has topics of its own, with `self.inputs` in the requests."""

    def setUp(self):
        prefix = self.id().split(".")[-1]
        self.topics = {name: f"{prefix}.{name}" for name in
                       (auditor.REQUESTS, auditor.RESULTS, auditor.FAILURES)}
        for name in self.topics.values():
            kafka.create_topic(name, partitions=2)
        self.producer = producers[0]
        for producer in producers:
            # librdkafka 2.0 learns of a new topic's leaders up to a second late by itself.
            producer.list_topics(timeout=60)
        self.in_transaction(lambda: self.requests(b"never"), commit=False)
        self.in_transaction(lambda: self.requests(b"a", b"b", b"c", None))
        reader = auditor.Reader(kafka.bootstrap, [self.topics[auditor.REQUESTS]])
        reader.read_to_end()
        reader.close()
        self.inputs = reader.records
        self.assertEqual({record.key for record in self.inputs}, {b"a", b"b", b"c", None})

    def in_transaction(self, produce, commit=True):
        self.producer.begin_transaction()
        produce()
        if commit:
            self.producer.commit_transaction(180)
        else:
            # Only what has reached the broker can be aborted there.
            self.producer.flush(180)
            self.producer.abort_transaction(180)

    def requests(self, *keys):
        for key in keys:
            self.producer.produce(self.topics[auditor.REQUESTS], key=key, value=b"{}",
                                  headers=[("ce_id", "1")])

    def outcome(self, record, succeeded=True, topic=None, producer=None, **changes):
        topic = topic or (auditor.RESULTS if succeeded else auditor.FAILURES)
        # A Producer without queued messages is falsy.
        producer = self.producer if producer is None else producer
        producer.produce(self.topics[topic], **outcome_of(record, succeeded, **changes))

    def outcomes(self, records):
        """Good outcomes, by turns results and failures."""
        for number, record in enumerate(records):
            self.outcome(record, succeeded=number % 2 == 0)

    def audit(self, **options):
        return auditor.audit(kafka.bootstrap, schemas, topics=self.topics, **options)

    def assertRepeats(self, *outcomes, valid, **expected):
        """Plants these outcomes of the first input, (succeeded, changes) each, forwards, then
        backwards on the second input, and good ones of the others. `valid` is the place of the valid
        one of the first, `expected` its repeats."""
        def plant():
            self.outcomes(self.inputs[2:])
            for record, order in zip(self.inputs, (outcomes, outcomes[::-1])):
                for succeeded, changes in order:
                    self.outcome(record, succeeded, **changes)

        self.in_transaction(plant)
        result = self.audit(delivery=auditor.AT_LEAST_ONCE)
        self.assertProblems(result)
        found = {kind.replace(" ", "_"): len(texts) for kind, texts in result.repeats.items() if texts}
        self.assertEqual(found, {kind: 2 * count for kind, count in expected.items()}, result.summary())
        for record in self.inputs[:2]:
            succeeded, changes = outcomes[valid]
            self.assertEqual(result.valid[record.id].value, outcome_of(record, succeeded, **changes)["value"].encode())
        self.assertEqual(result.valid.keys(), {record.id for record in self.inputs})
        strict = self.audit()
        self.assertEqual(len(strict.problems["doubled"]), 2 * (len(outcomes) - 1), strict.summary())
        return result

    def assertProblems(self, result, **expected):
        found = {kind.replace(" ", "_"): len(texts) for kind, texts in result.problems.items() if texts}
        self.assertEqual(found, expected, result.summary())
        self.assertEqual(result.passed, not expected)

    def assertPlanted(self, produce, **expected):
        """`produce` makes the first input's outcome, the others have good ones."""
        self.in_transaction(lambda: (produce(self.inputs[0]), self.outcomes(self.inputs[1:])))
        self.assertProblems(self.audit(), **expected)

    def test_nothing_planted_passes(self):
        self.in_transaction(lambda: self.outcomes(self.inputs))
        result = self.audit()
        self.assertProblems(result)
        self.assertEqual(result.summary(), "4 inputs, 4 outcomes, 0 missing, 0 doubled")

    def test_missing(self):
        self.in_transaction(lambda: self.outcomes(self.inputs[1:]))
        result = self.audit()
        self.assertProblems(result, missing=1)
        self.assertEqual(result.problems["missing"], [self.inputs[0].id])

    def test_an_aborted_outcome_is_missing(self):
        self.in_transaction(lambda: self.outcomes(self.inputs[:1]), commit=False)
        self.in_transaction(lambda: self.outcomes(self.inputs[1:]))
        self.assertProblems(self.audit(), missing=1)

    def test_an_aborted_copy_is_no_second_outcome(self):
        self.in_transaction(lambda: self.outcomes(self.inputs), commit=False)
        self.in_transaction(lambda: self.outcomes(self.inputs))
        self.assertProblems(self.audit())

    def test_doubled_in_one_transaction(self):
        self.in_transaction(lambda: self.outcomes(self.inputs + self.inputs[:1]))
        self.assertProblems(self.audit(), doubled=1)

    def test_doubled_across_the_outcome_topics_and_tripled(self):
        self.in_transaction(lambda: self.outcomes(self.inputs))
        for succeeded in (False, True):
            self.in_transaction(lambda: self.outcome(self.inputs[0], succeeded))
        self.assertProblems(self.audit(), doubled=2)

    def test_repeated_copies(self):
        result = self.assertRepeats(at(1), at(1), at(1), valid=0, copies=2)
        first = self.inputs[0].id
        self.assertTrue(result.summary().startswith(
            "4 inputs, 8 outcomes, 0 missing, 4 repeated: "
            "4 copies, 0 results, 0 result and failure, 0 failures\n"
            f"  copies: {first}: "), result.summary())

    def test_repeated_results_the_later_issued_at_is_valid(self):
        self.assertRepeats(at(3, issued_s=1), at(2, issued_s=2), valid=1, results=1)

    def test_repeated_results_of_one_second_the_later_time_is_valid(self):
        self.assertRepeats(at(3, issued_s=1), at(2, issued_s=1), at(2, issued_s=1), valid=0,
                           results=1, copies=1)

    def test_repeated_a_result_is_valid_beside_any_failure(self):
        self.assertRepeats(at(9, succeeded=False), at(2, issued_s=1), at(1, succeeded=False), valid=1,
                           result_and_failure=2)

    def test_repeated_failures_the_later_time_is_valid(self):
        self.assertRepeats(at(1, succeeded=False), at(2, succeeded=False), valid=1, failures=1)

    def test_repeated_by_all_kinds(self):
        self.assertRepeats(at(1, issued_s=1), at(8, succeeded=False), at(8, succeeded=False), at(2, issued_s=2),
                           at(2, issued_s=2), at(9, succeeded=False), valid=3,
                           results=1, result_and_failure=2, copies=2)

    def test_repeated_without_a_rule(self):
        other = at(1, issued_s=1)[1]
        other = {**other, "data": {**other["data"], "endpoint": "h5"}}
        self.in_transaction(lambda: (self.outcomes(self.inputs[1:]),
                                     self.outcome(self.inputs[0], **at(1, issued_s=1)[1]),
                                     self.outcome(self.inputs[0], **other)))
        result = self.audit(delivery=auditor.AT_LEAST_ONCE)
        self.assertProblems(result, undecided=1)

    def test_at_least_once_takes_nothing_else(self):
        elsewhere = "/".join([self.topics[auditor.REQUESTS], "0", "999"])
        self.in_transaction(lambda: (self.outcomes(self.inputs[1:]), self.outcomes(self.inputs[1:]),
                                     self.outcome(self.inputs[1], event={"id": elsewhere})))
        result = self.audit(delivery=auditor.AT_LEAST_ONCE)
        self.assertProblems(result, missing=1, unknown=1)
        self.assertEqual(len(result.repeats["copies"]), 3)

    def test_repeats_do_not_stand_for_what_is_missing(self):
        """The audit waits for the input that has none, though there are as many records as inputs."""
        self.in_transaction(lambda: (self.outcomes(self.inputs[1:]), self.outcomes(self.inputs[1:])))
        late = threading.Timer(1, lambda: self.in_transaction(lambda: self.outcomes(self.inputs[:1])))
        late.start()
        self.addCleanup(late.join)
        self.assertProblems(self.audit(wait_s=30, delivery=auditor.AT_LEAST_ONCE))

    def test_an_open_transaction_hides_outcomes_until_it_ends(self):
        other = producers[1]
        other.begin_transaction()
        self.outcome(self.inputs[0], producer=other)
        other.flush(180)
        self.in_transaction(lambda: self.outcomes(self.inputs[1:]))
        early = self.audit(wait_s=0.5)
        self.assertIn(self.inputs[0].id, early.problems["missing"])
        self.assertIn("an open transaction hides the last", early.summary())
        other.commit_transaction(180)
        self.assertProblems(self.audit(wait_s=180))

    def test_unknown(self):
        elsewhere = "/".join([self.topics[auditor.REQUESTS], "0", "999"])
        self.assertPlanted(lambda record: self.outcome(record, event={"id": elsewhere}),
                           missing=1, unknown=1)

    def test_wrong_key(self):
        self.assertPlanted(lambda record: self.outcome(record, key=b"other"), wrong_key=1)

    def test_a_null_key_is_not_an_empty_one(self):
        null = next(record for record in self.inputs if record.key is None)
        self.inputs.remove(null)
        self.inputs.insert(0, null)
        self.assertPlanted(lambda record: self.outcome(record, key=b""), wrong_key=1)

    def test_misplaced(self):
        self.assertPlanted(lambda record: self.outcome(record, topic=auditor.FAILURES), misplaced=1)

    def test_against_the_schema(self):
        self.assertPlanted(lambda record: self.outcome(record, data={"endpoint": 1}), malformed=1)

    def test_headers_that_do_not_repeat_the_attributes(self):
        self.assertPlanted(lambda record: self.outcome(record, headers=[
            ("content-type", "application/json"), ("ce_id", record.id)]), malformed=4)

    def test_not_json(self):
        self.assertPlanted(lambda record: self.outcome(record, value=b"\xff"), malformed=1, missing=1)

    def test_untrue_coordinates_and_time(self):
        self.assertPlanted(lambda record: self.outcome(record, data={"event": {
            "topic": "t", "partition": 0, "offset": 0, "timestamp": "2026-11-23T08:00:00Z"}}), untrue=2)

    def test_untrue_original(self):
        self.assertPlanted(lambda record: self.outcome(record, succeeded=False, data={
            "original": {"value": "{ }", "headers": [{"name": "ce_id", "value": "1"}]}}), untrue=1)

    def test_an_id_of_another_contract(self):
        with tempfile.NamedTemporaryFile("w+") as ledger:
            ledger.write('{"mchid": "1", "out_contract_code": "A", "issued_id": "ID-A"}\n'
                         '{"mchid": "2", "out_contract_code": "A", "issued_id": "ID-2"}\n'
                         '{"issued_id": "ID-NOBODY"}\n{"half": ')
            ledger.flush()
            good = {"mchid": "1", "out_contract_code": "A", "pre_entrustweb_id": "ID-A"}
            data = [good, {**good, "out_contract_code": "B"}, {**good, "pre_entrustweb_id": "ID-2"},
                    {**good, "pre_entrustweb_id": "ID-NOBODY"}]
            self.in_transaction(lambda: [self.outcome(record, data=each)
                                         for record, each in zip(self.inputs, data, strict=True)])
            self.assertProblems(self.audit(), **{})
            self.assertProblems(self.audit(ledger=ledger.name), foreign=3)

    def test_command_line(self):
        command = [sys.executable, "-B", auditor.__file__, "--bootstrap", kafka.bootstrap,
                   "--schemas", str(schemas)]
        for name, topic in self.topics.items():
            command += [f"--{name.split('.')[1]}-topic", topic]
        self.in_transaction(lambda: self.outcomes(self.inputs[1:]))
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (
            1, f"4 inputs, 3 outcomes, 1 missing, 0 doubled\n  missing: {self.inputs[0].id}\n"))
        self.in_transaction(lambda: self.outcomes(self.inputs[:1]))
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout),
                         (0, "4 inputs, 4 outcomes, 0 missing, 0 doubled\n"))
        self.in_transaction(lambda: self.outcomes(self.inputs[:1]))
        done = subprocess.run([*command, "--delivery", "at_least_once"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0)
        self.assertIn("0 missing, 1 repeated: 1 copies, 0 results", done.stdout)
        done = subprocess.run([*command, "--results-topic", "typo"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (69, "auditor: there is no topic typo\n"))


if __name__ == "__main__":
    unittest.main()
