"""Mixed versions and the downgrade: an older presignd and today's run in one group, by turns, under load.

Without the history of the repository, nothing is tested (77).
"""

import json
import subprocess
import sys
import unittest

from confluent_kafka import Producer

import auditor
import older
from harness import WAIT_S, World, event, wait_until
from kafka_broker import Cluster

SKIPPED = 77
DIRECT = "1900007291"
NEVER_MS = 600000
EVENTS = 3000
PARTITIONS = 4
SETS = ["retry.max_attempts=100", "daemon.max_in_flight=48"]
OLDER = {"program": older.PRESIGND, "sections": {"daemon": {"schema_dir": older.SCHEMAS}}}


def setUpModule():
    global kafka
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)


class Downgrade(unittest.TestCase):
    def world(self, partitions=1):
        return self.enterContext(World(kafka=kafka, partitions=partitions))

    def test_the_done_set_is_read_both_ways(self):
        """The first event's call does not end, so all that is done stands in the done set alone."""
        world = self.world()
        world.start_sandbox(faults=[f"delay=1:{NEVER_MS}@{DIRECT}"])
        sets = [f"endpoint.timeout_ms={NEVER_MS}"]
        held = world.produce([event("app", mchid=DIRECT)])
        good = []
        for version in ({}, OLDER, {}, OLDER):
            daemon = world.start_daemon(sets=sets, **version)
            new = world.produce([event("partner-mini-program") for _ in range(200)])
            world.wait_for_outcomes(new)
            good += new
            daemon.kill()
        world.start_sandbox()
        daemon = world.start_daemon()
        world.wait_for_outcomes(held + good)
        self.assertEqual(daemon.terminate(), 0)
        world.assert_audit_passes()

    def test_two_instances_by_turns_under_load(self):
        world = self.world(PARTITIONS)
        world.start_sandbox(["503=0.05", "reset-after=0.03", "delay=0.1:150"])
        running = {name: world.start_daemon(name, sets=SETS, wait=False) for name in ("presignd-1", "presignd-2")}
        for daemon in running.values():
            daemon.wait_ready()
        sent, unfinished = [], []
        # Which instances are replaced in the middle of a share of the events, how they end, and by what.
        steps = ((["presignd-1"], "kill", OLDER),  # both versions in one group
                 (["presignd-2"], "terminate", OLDER),
                 (["presignd-1", "presignd-2"], "kill", {}),
                 (["presignd-1", "presignd-2"], "kill", OLDER),
                 (["presignd-2"], "kill", {}),  # and forward again, one by one
                 (["presignd-1"], "terminate", {}))
        for names, signal, version in steps:
            begun = len(world.outcomes())
            sent += world.produce([event("app", mchid=DIRECT) for _ in range(EVENTS // len(steps))])
            wait_until(lambda: len(world.outcomes()) > begun + 50, "the first outcomes")  # noqa: B023
            for name in names:
                self.assertIn(getattr(running[name], signal)(), (None, 0))
            unfinished.append(len(sent) - len(world.outcomes()))
            for name in names:
                running[name] = world.start_daemon(name, sets=SETS, wait=False, **version)
        world.wait_for_outcomes(sent)
        self.assertEqual({daemon.terminate() for daemon in running.values()}, {0})
        result = world.assert_audit_passes()
        print(f"\n{result.summary()}; unfinished at each replacement: {unfinished}", flush=True)
        self.assertEqual(len(result.inputs), len(sent))

    def ctl(self, program, command, config, *options):
        done = subprocess.run([program, command, "-c", config, *map(str, options)], stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=WAIT_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()] if "--text" not in options else \
            done.stdout.decode().splitlines()

    def test_older_tools_take_what_a_later_version_publishes(self):
        """A reason and members that do not exist yet; failures that both versions redrive, each once."""
        world = self.world()
        world.start_sandbox()
        config = world.write_config()
        failures = [self.later_failure(code) for code in ("one", "two", "three")]
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        for code, failure in failures:
            producer.produce(world.topics[auditor.FAILURES], failure, code, partition=0)
        self.assertEqual(producer.flush(WAIT_S), 0)

        tail = ("--from", "beginning", "--count", len(failures), "--timeout-ms", 60000)
        self.assertEqual(self.ctl(older.PRESIGNCTL, "tail", config, "--json", *tail),
                         [json.loads(failure) for _, failure in failures])
        for line in self.ctl(older.PRESIGNCTL, "tail", config, "--text", *tail):
            self.assertIn("struck_by_lightning: m", line)

        newer = world.build / "presignctl"
        sent = []
        for program, options in ((older.PRESIGNCTL, ("--limit", 1)), (newer, ("--limit", 1)),
                                 (older.PRESIGNCTL, ()), (newer, ())):
            lines = self.ctl(program, "redrive", config, "--json", "--send", *options)
            sent.append([line["out_contract_code"] for line in lines if line["state"] == "sent"])
        self.assertEqual(sent, [["one"], ["two"], ["three"], []])

        daemon = world.start_daemon(**OLDER)
        wait_until(lambda: sum(outcome.reason is None for outcome in world.outcomes().values()) == len(failures),
                   "the results of the events that were sent again")
        self.assertEqual(daemon.terminate(), 0)

    @staticmethod
    def later_failure(code):
        key, value, headers = event("app", code, mchid=DIRECT)
        original = {"value": value.decode(), "later": 1,
                    "headers": [{"name": name, "value": text.decode()} for name, text in headers]}
        data = {"event": {"topic": "-", "partition": 0, "offset": 0, "weather": "fair"}, "endpoint": "app",
                "mchid": DIRECT, "out_contract_code": code, "reason": "struck_by_lightning", "retryable": True,
                "call_state": "charged", "attempts": 1, "message": "m", "weather": {"clouds": [1]},
                "attempt_log": [{"ended": "solar_flare"}], "original": original}
        failure = {"specversion": "1.0", "id": "-/0/0", "source": "/presignd/c/g", "weather": "fair",
                   "type": "wechatpay.presign.app.failed", "time": "2026-11-23T08:00:00.125Z", "data": data}
        return key or code.encode(), json.dumps(failure).encode()


if __name__ == "__main__":
    try:
        older.prepare()
    except older.Missing as reason:
        print(f"NOT TESTED: NO VERSION BUT THIS ONE IS HERE: {reason}", file=sys.stderr)
        sys.exit(SKIPPED)
    unittest.main()
