"""Holds the outcomes against the inputs: each consumed record has exactly one outcome.

Shares no code with the daemon. It reads what a consumer with isolation.level=read_committed
can see, from the beginning to the stable end (KIP-98), so records of aborted transactions
count neither as inputs nor as outcomes.

    auditor.py --bootstrap 127.0.0.1:9092 [--delivery at_least_once] [--wait SECONDS] [--ledger FILE]

prints `N inputs, N outcomes, 0 missing, 0 doubled`, and what else is wrong; exit status 1 when
anything is, 69 when the topics could not be read. It looks at a whole topic, so it belongs where
retention has removed nothing.

With `--delivery at_least_once`, an input may have several outcomes, but one of them has to be valid by
the rules of docs/consumers.md. It prints `0 missing, N repeated: N copies, N results, …` then.
"""

import argparse
import base64
import collections
import datetime
import json
import re
import sys
import time
import uuid
from pathlib import Path

import jsonschema
try:
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012
except ImportError:  # jsonschema before 4.18
    Registry = None
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
REQUESTS, RESULTS, FAILURES = "presign.requests", "presign.results", "presign.failures"
STALL_TIMEOUT_S = 60
SHOWN_PER_KIND = 10

# What can be wrong, in the order of the summary.
KINDS = {
    "missing": "an input without outcome",
    "doubled": "an outcome beyond an input's first",
    "unknown": "an outcome of no input",
    "wrong key": "the outcome's key is not its input's",
    "misplaced": "a success among the failures, or the other way round",
    "malformed": "no CloudEvent as schemas/ and the Kafka binding want it",
    "untrue": "what it says of its input is not so",
    "foreign": "a result whose id was not issued to its contract, by the sandbox's ledger",
    "undecided": "outcomes of one input of which no rule says which is valid",
}

EXACTLY_ONCE, AT_LEAST_ONCE = "exactly_once", "at_least_once"

# What an outcome can be beside the valid one of its input, with at_least_once.
REPEATS = {
    "copies": "the bytes of another outcome",
    "results": "a result, and the valid one is newer",
    "result and failure": "a failure, and a result is valid",
    "failures": "a failure, and the valid one is newer",
}


class AuditError(Exception):
    """The topics could not be read; nothing is said about what they hold."""


class Record:
    """A consumed message, with the name that outcomes know it by."""

    __slots__ = ("id", "topic", "key", "value", "headers", "timestamp_ms")

    def __init__(self, message):
        self.topic = message.topic()
        self.id = f"{self.topic}/{message.partition()}/{message.offset()}"
        self.key, self.value = message.key(), message.value()
        self.headers = message.headers() or []
        self.timestamp_ms = message.timestamp()[1]

    def header(self, name):
        """The value of a header that stands there once, as text; else None."""
        values = [value for each, value in self.headers if each == name]
        return values[0].decode(errors="replace") if len(values) == 1 and values[0] else None


class Reader:
    """Reads whole topics, and on from there; keeps the records."""

    def __init__(self, bootstrap, topics):
        self._settings = {
            "bootstrap.servers": bootstrap, "group.id": f"auditor-{uuid.uuid4()}",
            "isolation.level": "read_committed", "enable.auto.commit": False,
            "auto.offset.reset": "earliest", "enable.partition.eof": True, "fetch.wait.max.ms": 20,
            "log_level": 0, "reconnect.backoff.max.ms": 200}
        self._consumer = Consumer(self._settings)
        self.records = []
        self._ends = {}
        known = self._consumer.list_topics(timeout=180).topics
        self._partitions = []
        for topic in topics:
            if topic not in known or known[topic].error:
                self.close()
                raise AuditError(f"there is no topic {topic}")
            self._partitions += [(topic, p) for p in known[topic].partitions]
        # A number, since librdkafka 2.0 waits half a second before it asks where the beginning is.
        # Should 0 have been removed, the reset finds what is first.
        self._consumer.assign([TopicPartition(t, p, 0) for t, p in self._partitions])

    def close(self):
        self._consumer.close()

    def read_to_end(self):
        """Reads on to the stable end that each partition has by then."""
        ended, heard = set(), time.monotonic()
        while len(ended) < len(self._partitions):
            before = len(self.records)
            ended.update(self._take())
            if len(self.records) > before:
                heard = time.monotonic()
            if time.monotonic() - heard > STALL_TIMEOUT_S:
                raise AuditError(f"no end of {set(self._partitions) - ended} in {STALL_TIMEOUT_S} s")

    def follow(self):
        """Reads what has come since, waiting for a moment; returns these records."""
        before = len(self.records)
        self._take()
        return self.records[before:]

    def unstable(self):
        """How many offsets lie behind the stable ends: of a transaction that is open, and of
        whatever came after it began."""
        everything = Consumer({**self._settings, "isolation.level": "read_uncommitted"})
        try:
            return sum(everything.get_watermark_offsets(TopicPartition(*at), timeout=180)[1] - end
                       for at, end in self._ends.items())
        finally:
            everything.close()

    def _take(self):
        """Keeps the next messages; returns the partitions whose stable end was met."""
        ended = []
        for message in self._consumer.consume(1000, 0.05):
            error = message.error()
            if error is None:
                self.records.append(Record(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.append((message.topic(), message.partition()))
                self._ends[ended[-1]] = message.offset()
            elif error.fatal():
                raise AuditError(str(error))
        return ended


class Audit:
    """One comparison. `problems` maps each of KINDS to a list of sentences, `repeats` each of
    REPEATS; `valid` maps an input's id to its valid outcome, a Record. `unstable` is
    Reader.unstable() of the outcomes; `ledger` the sandbox's lines, or None."""

    def __init__(self, inputs, outcomes, topics, validators, unstable=0, ledger=None, delivery=EXACTLY_ONCE):
        self.inputs = {record.id: record for record in inputs}
        self.outcomes = outcomes
        self.unstable = unstable
        self.problems = {kind: [] for kind in KINDS}
        self._topics = topics
        self._validators = validators
        self._issued = None if ledger is None else {
            line["issued_id"]: (line.get("mchid"), line.get("out_contract_code"))
            for line in ledger if "issued_id" in line}
        self.repeats = {kind: [] for kind in REPEATS}
        self.delivery = delivery
        seen = collections.defaultdict(list)
        for outcome in outcomes:
            for name in self._check(outcome):
                seen[name].append(outcome)
        for name in self.inputs:
            if name not in seen:
                self._found("missing", name)
        self.valid = {name: self._choose(name, several) for name, several in seen.items()}

    def _found(self, kind, text):
        self.problems[kind].append(text)

    @property
    def passed(self):
        return not any(self.problems.values())

    def summary(self):
        """The figures in a line, and up to SHOWN_PER_KIND of each kind of problem."""
        strict = self.delivery == EXACTLY_ONCE
        lines = [f"{len(self.inputs)} inputs, {len(self.outcomes)} outcomes"]
        for kind, texts in self.problems.items():
            if texts or kind == "missing" or (strict and kind == "doubled"):
                lines[0] += f", {len(texts)} {kind}"
        if not strict:
            lines[0] += f", {sum(map(len, self.repeats.values()))} repeated: " + ", ".join(
                f"{len(texts)} {kind}" for kind, texts in self.repeats.items())
        for kind, texts in [*self.problems.items(), *self.repeats.items()]:
            lines += [f"  {kind}: {text}" for text in texts[:SHOWN_PER_KIND]]
            if len(texts) > SHOWN_PER_KIND:
                lines.append(f"  {kind}: … and {len(texts) - SHOWN_PER_KIND} more")
        if self.unstable:
            lines.append(f"  an open transaction hides the last {self.unstable} offsets of the outcomes")
        return "\n".join(lines)

    def _check(self, outcome):
        """Looks at one outcome; returns the id of its input, none when it cannot be told."""
        try:
            event = json.loads(outcome.value.decode())
            name, kind, data = event["id"], event["type"], event["data"]
            claimed = dict(data["event"])
        except (AttributeError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
            self._found("malformed", f"{outcome.id}: {error!r}")
            return []
        self._check_topic(outcome, kind)
        self._check_form(outcome, event)
        self._check_id(outcome, data)
        record = self.inputs.get(name)
        if record is None:
            self._found("unknown", f"{outcome.id} is of {name}")
            return []
        if outcome.key != record.key:
            self._found("wrong key", f"{outcome.id}: {outcome.key!r}, its input {name} has {record.key!r}")
        self._check_claims(outcome, record, claimed, data.get("original"))
        return [name]

    def _choose(self, name, several):
        """The valid one of an input's outcomes. What the others are is a problem with
        exactly_once, else counted as a repeat."""
        ranks = {outcome: _rank(outcome) for outcome in several} if len(several) > 1 else {}
        valid = max(ranks, key=ranks.get) if ranks else several[0]
        if self.delivery == EXACTLY_ONCE:
            for _ in several[1:]:
                self._found("doubled", f"{name} has {len(several)} outcomes")
            return valid
        known = {valid.value}
        for other in several:
            if other is valid:
                continue
            kind = "copies" if other.value in known else _repeat_of(ranks[other], ranks[valid])
            self.repeats[kind].append(f"{name}: {other.id}; valid is {valid.id}")
            if kind != "copies" and ranks[other] == ranks[valid]:
                self._found("undecided", f"{name}: {other.id} or {valid.id}")
            known.add(other.value)
        return valid

    def _check_topic(self, outcome, kind):
        expected = RESULTS if kind.endswith(".succeeded") else FAILURES
        if outcome.topic != self._topics[expected]:
            self._found("misplaced", f"{outcome.id} is of type {kind}")

    def _check_id(self, outcome, data):
        issued_id = data.get("pre_entrustweb_id")
        if self._issued is None or issued_id is None:
            return
        owner = self._issued.get(issued_id, "nobody")
        if owner != (data.get("mchid"), data.get("out_contract_code")):
            self._found("foreign", f"{outcome.id}: {data.get('mchid')}/{data.get('out_contract_code')} "
                                   f"has the id of {owner}")

    def _check_form(self, outcome, event):
        """Against the schema of its topic, and its headers against its attributes."""
        if self._validators:
            for error in self._validators[outcome.topic].iter_errors(event):
                where = "/".join(map(str, error.absolute_path))
                self._found("malformed", f"{outcome.id}: /{where}: {error.validator}: {error.message[:300]}")
        expected = {"content-type": "application/cloudevents+json"}
        for attribute in ("type", "id", "source", "subject"):
            expected[f"ce_{attribute}"] = event.get(attribute)
        for header, value in expected.items():
            if outcome.header(header) != value:
                self._found("malformed", f"{outcome.id}: header {header} is "
                                         f"{outcome.header(header)!r}, not {value!r}")

    def _check_claims(self, outcome, record, claimed, original):
        coordinates = f"{claimed.get('topic')}/{claimed.get('partition')}/{claimed.get('offset')}"
        if coordinates != record.id:
            self._found("untrue", f"{outcome.id}: event is {coordinates}, id is {record.id}")
        if "timestamp" in claimed and _milliseconds(claimed["timestamp"]) != record.timestamp_ms:
            self._found("untrue", f"{outcome.id}: timestamp {claimed['timestamp']}, "
                                  f"the record's is {record.timestamp_ms} ms")
        if original is not None and not _is_copy(original, record):
            self._found("untrue", f"{outcome.id}: original is not {record.id}")


def _rank(outcome):
    """Of two outcomes of one input, the one with the higher rank is valid: a result before a
    failure, then the later second of `issued_at`, then the later `time`. What is no time is the
    oldest; the schemas find it."""
    event = json.loads(outcome.value)
    succeeded = event["type"].endswith(".succeeded")
    issued_ms = _milliseconds(event["data"].get("issued_at")) if succeeded else None
    return succeeded, (issued_ms or 0) // 1000, _milliseconds(event.get("time")) or 0


def _repeat_of(rank, valid_rank):
    """Which of REPEATS an outcome of other bytes than the valid one is, by the ranks of both."""
    if rank[0]:
        return "results"
    return "result and failure" if valid_rank[0] else "failures"


def _milliseconds(text):
    """RFC 3339 in UTC to milliseconds since 1970, without a float on the way; None if not."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,3}))?Z", str(text))
    if not match:
        return None
    seconds = datetime.datetime.fromisoformat(match[1] + "+00:00")
    epoch = datetime.datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    return (seconds - epoch) // datetime.timedelta(milliseconds=1) + int((match[2] or "").ljust(3, "0"))


def _bytes_of(holder):
    """`value` (UTF-8), `value_base64` or a null `value`, back to bytes or None."""
    if "value_base64" in holder:
        return base64.b64decode(holder["value_base64"], validate=True)
    return None if holder["value"] is None else holder["value"].encode()


def _is_copy(original, record):
    """Whether `original` is the input record, or, where it says so, its beginning."""
    try:
        value = _bytes_of(original)
        headers = [(each["name"], _bytes_of(each)) for each in original.get("headers", [])]
    except (KeyError, TypeError, ValueError):
        return False
    if original.get("truncated"):
        return (record.value or b"").startswith(value or b"")
    return value == record.value and headers == record.headers


def _with_references(schemas, schema):
    """A validator of `schema`. What it refers to is one of `schemas`: jsonschema takes them as a
    registry since 4.18, before as a resolver's store."""
    store = {each.get("$id", name): each for name, each in schemas.items()}
    if Registry is not None:
        known = {"registry": Registry().with_resources(
            (uri, DRAFT202012.create_resource(each)) for uri, each in store.items())}
    else:
        known = {"resolver": jsonschema.RefResolver.from_schema(schema, store=store)}
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker(), **known)


def load_validators(directory, topics):
    """The validators of both outcome topics, from result.json and failure.json. What these
    refer to lies beside them: nothing is fetched."""
    schemas = {path.name: json.loads(path.read_text(encoding="utf-8"))
               for path in Path(directory).glob("*.json")}
    validators = {}
    for name, file in ((RESULTS, "result.json"), (FAILURES, "failure.json")):
        if file not in schemas:
            raise AuditError(f"there is no {file} in {directory}")
        jsonschema.Draft202012Validator.check_schema(schemas[file])
        validators[topics[name]] = _with_references(schemas, schemas[file])
    return validators


def read_ledger(path):
    """The sandbox's lines; one that is half written is left out."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
            if line.endswith("\n")]


def audit(bootstrap, schemas=SCHEMAS, wait_s=0, topics=None, ledger=None, delivery=EXACTLY_ONCE):
    """Reads and compares; returns an Audit. With `wait_s`, outcomes that are missing may come
    until then. `schemas=None` leaves the schemas out. `topics` maps default names to others.
    `ledger` is the sandbox's file: each result's id has to be one issued to its contract.
    `delivery`, EXACTLY_ONCE or AT_LEAST_ONCE, says whether an input may have several outcomes."""
    topics = {name: name for name in (REQUESTS, RESULTS, FAILURES)} | (topics or {})
    validators = load_validators(schemas, topics) if schemas else None
    deadline = time.monotonic() + wait_s
    outcomes = Reader(bootstrap, [topics[RESULTS], topics[FAILURES]])
    inputs = Reader(bootstrap, [topics[REQUESTS]])
    try:
        # Outcomes first: an input that comes meanwhile is missing, not an outcome unknown.
        outcomes.read_to_end()
        inputs.read_to_end()
        # By the header: counting records is not enough where outcomes may be repeated.
        missing = {record.id for record in inputs.records} - {record.header("ce_id") for record in outcomes.records}
        while missing and time.monotonic() < deadline:
            missing -= {record.header("ce_id") for record in outcomes.follow()}
        # Last, so that it has a line for each outcome.
        return Audit(inputs.records, outcomes.records, topics, validators, outcomes.unstable(),
                     read_ledger(ledger) if ledger else None, delivery)
    finally:
        outcomes.close()
        inputs.close()


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description="Compares requests with their outcomes: each has exactly one, or one that is valid.")
    parser.add_argument("--bootstrap", required=True, help="bootstrap.servers")
    parser.add_argument("--delivery", choices=(EXACTLY_ONCE, AT_LEAST_ONCE), default=EXACTLY_ONCE,
                        help="as the daemons have it; at_least_once takes repeated outcomes of which one is valid")
    parser.add_argument("--wait", type=float, default=0, metavar="SECONDS",
                        help="time that missing outcomes may still take (default: none)")
    parser.add_argument("--schemas", default=SCHEMAS, help="where result.json and failure.json lie")
    parser.add_argument("--no-schemas", dest="schemas", action="store_const", const=None)
    parser.add_argument("--ledger", metavar="FILE", help="the sandbox's: whose id does each result carry?")
    for name in (REQUESTS, RESULTS, FAILURES):
        parser.add_argument(f"--{name.split('.')[1]}-topic", default=name)
    options = parser.parse_args(arguments)
    topics = {REQUESTS: options.requests_topic, RESULTS: options.results_topic,
              FAILURES: options.failures_topic}
    try:
        result = audit(options.bootstrap, options.schemas, options.wait, topics, options.ledger, options.delivery)
    except (AuditError, KafkaException, OSError) as error:
        print(f"auditor: {error}", file=sys.stderr)
        sys.exit(69)
    print(result.summary())
    sys.exit(0 if result.passed else 1)


if __name__ == "__main__":
    main()
