"""Holds the sandbox's ledger of calls against inputs and outcomes. No code of the daemon.

tests/e2e/auditor.py asks whether each input has exactly one outcome. This one asks where the
outcomes come from: whether what was published was issued to that event, in an answer that
verifies, and whether the calls were those that the inputs ask for, and no more than needed.

An event's body is told by its hash: the load gives every event a body of its own.
"""

import collections
import datetime
import hashlib
import json

RESULT_FIELD = "pre_entrustweb_id"

# What can be wrong, in the order of the summary.
KINDS = {
    "not issued": "a published id that no call of that event was answered with",
    "unverified": "a published id from an answer that does not verify",
    "published twice": "an id in two outcomes",
    "other bytes": "a call whose body is that of no input with its code",
    "stale nonce": "a nonce that was used before",
    "refused": "a call that the API's rules refuse",
    "uncalled for": "a call of an event that must not be called",
    "wrong ending": "an outcome of another kind than the event has earned",
    "called again": "an event that was called again more often than anything could have made it",
    "too many calls": "more calls in all than faults and disturbances explain",
    "beyond the kill": "a kill that made more calls repeat than could be unpublished",
    "out of order": "events of one code whose published sessions were opened in another order",
}


def body_sha256(data):
    """Of the body that an event's data is sent as: the same members, without white space."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def milliseconds(text):
    """RFC 3339 in UTC with milliseconds, to milliseconds since 1970."""
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return round(moment.timestamp() * 1000)


class Expected:
    """What is to become of one input. `endings` are the reasons that it may end with, None for
    a result; `body` is None where no call may be made."""

    __slots__ = ("name", "code", "body", "endings", "partition", "offset")

    def __init__(self, name, code, body, endings=(None,)):
        self.name, self.code, self.body, self.endings = name, code, body, set(endings)
        _, partition, offset = name.rsplit("/", 2)
        self.partition, self.offset = int(partition), int(offset)


class Kill:
    """One SIGKILL: when, what the process had, and its unfinished events a moment before. `alone`
    when nothing else had been the matter since `since_ms`, so that calls from then on that are
    repeated are its own doing."""

    __slots__ = ("wall_ms", "instance", "partitions", "in_air", "unpublished", "repeated", "alone",
                 "since_ms")

    def __init__(self, wall_ms, instance, partitions, in_air, unpublished):
        self.wall_ms, self.instance, self.partitions = wall_ms, instance, set(partitions)
        self.in_air, self.unpublished, self.repeated = in_air, unpublished, None
        self.alone, self.since_ms = False, 0


class Bounds:
    """What calls beyond an event's needed ones may be due to.

    `disturbances`: kills, stops, drains, rebalances and lost sessions, each of which may make
    every unfinished event be called again. `unfinished`: the most calls that one of them can do that
    to. `unanswered`: good answers that may have come too late or not at all, as when the
    endpoint was stopped. `off_clocks`: whether a daemon's clock was set off, so that the
    endpoint may find its time-stamps wrong, and it may find those of answers wrong."""

    def __init__(self, disturbances=0, unfinished=0, unanswered=0, off_clocks=False, ordered=True):
        self.disturbances, self.unfinished = disturbances, unfinished
        self.unanswered, self.off_clocks, self.ordered = unanswered, off_clocks, ordered


class CallsAudit:
    """One comparison. `expected` are Expected; `outcomes` pairs of (name of the input, parsed
    outcome); `ledger` the sandbox's lines in their order; `kills` get their `repeated` set."""

    def __init__(self, expected, outcomes, ledger, bounds=None, kills=()):
        self.problems = {kind: [] for kind in KINDS}
        self.bounds = bounds or Bounds()
        self.expected = {each.name: each for each in expected}
        self.ledger = ledger
        self.calls = collections.defaultdict(list)  # by body
        for place, call in enumerate(ledger):
            self.calls[call.get("body_sha256")].append((place, call))
        self.outcomes = [(self.expected[name], outcome) for name, outcome in outcomes
                         if name in self.expected]
        self.good = sum(1 for call in ledger if call.get("publishable"))
        self.called = sum(1 for each in self.expected.values() if self.calls.get(each.body))
        self._check_calls()
        self._check_outcomes()
        self._check_number()
        self._check_kills(kills)

    def _found(self, kind, text):
        self.problems[kind].append(text)

    @property
    def passed(self):
        return not any(self.problems.values())

    @property
    def repeated(self):
        """Calls that were answered well though one before was, too."""
        return self.good - sum(1 for calls in self.calls.values()
                               if any(call.get("publishable") for _, call in calls))

    def summary(self, shown=5):
        lines = [f"{len(self.ledger)} calls, {self.good} answered well, {self.repeated} of them "
                 f"repeated, {sum(map(len, self.problems.values()))} problems with calls"]
        for kind, texts in self.problems.items():
            lines += [f"  {kind}: {text}" for text in texts[:shown]]
            if len(texts) > shown:
                lines.append(f"  {kind}: … and {len(texts) - shown} more")
        return "\n".join(lines)

    # ---- calls

    def _check_calls(self):
        bodies = {each.body: each for each in self.expected.values()}
        nonces = set()
        for number, call in enumerate(self.ledger, 1):
            where = f"call {number}, {call.get('out_contract_code')}"
            nonce = (call.get("mchid"), call.get("nonce"))
            if nonce in nonces or call.get("nonce") is None:
                self._found("stale nonce", f"{where}: {call.get('nonce')}")
            nonces.add(nonce)
            if not call.get("signature_ok") or call.get("issue"):
                self._check_refusal(where, call)
            each = bodies.get(call.get("body_sha256"))
            if each is None or None not in each.endings:
                kind = "other bytes" if each is None else "uncalled for"
                self._found(kind, where)
            elif call.get("out_contract_code") not in (None, each.code):
                self._found("other bytes", f"{where}: the body is that of {each.code}")

    def _check_refusal(self, where, call):
        """A clock that is off makes time-stamps wrong, and nothing else."""
        if not (self.bounds.off_clocks and (call.get("issue") or "").endswith("minutes off")):
            self._found("refused", f"{where}: {call.get('issue') or 'signature'}")

    # ---- outcomes

    def _check_outcomes(self):
        published = {}
        latest = {}  # (code, partition): (offset, place in the ledger)
        for each, outcome in sorted(self.outcomes, key=lambda pair: (pair[0].partition, pair[0].offset)):
            data = outcome["data"]
            if data.get("reason") not in each.endings:
                self._found("wrong ending", f"{each.name} ended as {data.get('reason') or 'result'}")
            if "reason" in data:
                continue
            issued = data.get(RESULT_FIELD)
            if issued in published:
                self._found("published twice", f"{issued} for {published[issued]} and {each.name}")
            published[issued] = each.name
            place = self._place_of(each, issued)
            before = latest.get((each.code, each.partition))
            if self.bounds.ordered and before and place is not None and place < before:
                self._found("out of order", f"{each.name} of {each.code}")
            latest[each.code, each.partition] = place if place is not None else before

    def _place_of(self, each, issued):
        """Where in the ledger the id was issued to this event; None, with a problem, if not."""
        calls = [(place, call) for place, call in self.calls.get(each.body, ())
                 if call.get("issued_id") == issued and call.get("out_contract_code") == each.code]
        for place, call in calls:
            if call.get("publishable"):
                return place
        self._found("unverified" if calls else "not issued", f"{issued} in the outcome of {each.name}")
        return None

    # ---- how many

    def _check_number(self):
        bounds = self.bounds
        for each in self.expected.values():
            good = sum(1 for _, call in self.calls.get(each.body, ()) if call.get("publishable"))
            if good > 1 + bounds.disturbances + bounds.unanswered:
                self._found("called again", f"{each.name}: {good} good answers, with "
                                            f"{bounds.disturbances} disturbances")
        most = bounds.disturbances * bounds.unfinished + bounds.unanswered
        if self.repeated > most:
            self._found("too many calls", f"{self.repeated} were repeated, {most} can be explained")

    def _check_kills(self, kills):
        """A call was repeated by a kill when the one before it was answered well, or was about
        to be: nothing but the loss of the process makes anybody call again."""
        times = {}
        for kill in kills:
            kill.repeated = 0
            for each in self.expected.values():
                if each.partition not in kill.partitions or each.body not in self.calls:
                    continue
                if each.body not in times:
                    times[each.body] = [(milliseconds(call["time"]), call)
                                        for _, call in self.calls[each.body]]
                before = [pair for pair in times[each.body] if pair[0] <= kill.wall_ms]
                if not before or len(before) == len(times[each.body]):
                    continue
                at_ms, call = before[-1]
                kill.repeated += bool(call.get("publishable") and at_ms >= kill.since_ms)
            if kill.alone and kill.repeated > self.bounds.unfinished:
                self._found("beyond the kill", f"{kill.instance}: {kill.repeated} repeated, at most "
                                               f"{self.bounds.unfinished} can have been unfinished")
