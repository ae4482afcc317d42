"""presignctl send and tail beside a running daemon, on the real broker."""

import json
import unittest

from confluent_kafka import Producer

from harness import Program, World, event, wait_until
from kafka_broker import Cluster


# What passes before `tail` has seen enough; the broker's answers have to come in that time, too.
SHORT_MS = 4000


def lines(*events):
    return b"".join(value + b"\n" for _, value, _ in events)


class SendAndTail(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World())
        cls.world.start_sandbox()
        cls.sections = {"daemon": {"control_socket": cls.world.directory / "control.sock"}}
        cls.world.start_daemon(sections=cls.sections)
        cls.config = cls.world.write_config(sections=cls.sections)

    def send(self, stdin, *options, status=0):
        done = self.world.ctl("send", "-c", self.config, *options, stdin=stdin)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout.decode().split(), done.stderr.decode()

    def tail(self, *options, status=0):
        done = self.world.ctl("tail", "-c", self.config, "--timeout-ms", 120000, *options)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout.decode().splitlines()

    def input_of(self, record_id):
        """The record as the daemon had it: its failure's original and key."""
        outcome = self.world.wait_for_outcomes([record_id])[record_id]
        return outcome.record.key, outcome.data.get("original")

    def test_ids_are_those_of_the_outcomes_in_the_order_of_the_input(self):
        ids, _ = self.send(lines(*[event(out_contract_code=f"order{i}") for i in range(700)]))
        outcomes = self.world.wait_for_outcomes(ids)
        codes = [outcomes[i].data["out_contract_code"] for i in ids]
        self.assertEqual(codes, [f"order{i}" for i in range(700)])
        self.assertEqual(outcomes[ids[7]].record.key, b"order7")
        self.assertEqual(outcomes[ids[7]].data["response"].keys() >= {"pre_entrustweb_id"}, True)

    def test_keys_and_headers(self):
        bad = b'{"specversion":"1.0","data":{"out_contract_code":"c1"}}\n'
        cases = [((), bad, b"c1", [("content-type", "application/cloudevents+json")]),
                 (("--no-key", "--header", "a=b=c", "--header", "a="), bad, None,
                  [("content-type", "application/cloudevents+json"), ("a", "b=c"), ("a", "")]),
                 (("--key", "k", "--header", "Content-Type=x/y"), bad, b"k", [("Content-Type", "x/y")]),
                 (("--header", "ce_id=1"), b'{"out_contract_code":"c2"}\n', b"c2", [("ce_id", "1")]),
                 (("--raw",), b"{oops\n", None, []),
                 (("--raw", "--key-from-code"), bad, b"c1", [])]
        for options, stdin, key, headers in cases:
            with self.subTest(options):
                (record_id,), _ = self.send(stdin, *options)
                found_key, original = self.input_of(record_id)
                self.assertEqual(found_key, key)
                self.assertEqual([(h["name"], h["value"]) for h in original["headers"]], headers)
                self.assertEqual(original["value"] + "\n", stdin.decode())

    def test_a_failures_original_goes_round(self):
        (first,), _ = self.send(b"\xff\x00x\n", "--raw", "--header", "h=v")
        _, original = self.input_of(first)
        (second,), _ = self.send(json.dumps({"key": "k", **original}).encode(), "--records")
        key, again = self.input_of(second)
        self.assertEqual((key, again), (b"k", original))

    def test_bad_input(self):
        good = lines(event(out_contract_code="good"))
        ids, told = self.send(good + b"\n{\n" + good, status=65)
        self.assertEqual(len(ids), 1)
        self.assertRegex(told, r"^presignctl send: line 3: not sent: .*jq -c")
        self.assertIn("line 1: ", self.send(b"[]\n", status=65)[1])
        self.assertIn("line 1: ", self.send(b'{"value":7}\n', "--records", status=65)[1])
        self.assertIn("too large", self.send(b"x" * 1100000, "--raw", status=65)[1])
        self.send(b"", "--raw", "--records", status=64)
        self.send(b"", "--key", "k", "--no-key", status=64)

    def test_a_broker_that_is_not_there(self):
        gone = ("--set", "kafka.bootstrap.servers=127.0.0.1:1", "--timeout-ms", 500)
        _, told = self.send(lines(event()), *gone, status=69)
        self.assertRegex(told, r"no broker has answered within 500 ms: .*127\.0\.0\.1:1")
        done = self.world.ctl("tail", "-c", self.config, *gone)
        self.assertEqual(done.returncode, 69, done.stderr)

    def test_a_topic_that_is_not_there(self):
        _, told = self.send(lines(event()), "--topic", "no.such.topic", status=69)
        self.assertIn("topic no.such.topic does not exist", told)
        self.tail("--set", "daemon.results_topic=no.such.topic", status=69)

    def test_an_unresolved_credential_is_not_taken_for_a_password(self):
        _, told = self.send(lines(event()), "--set", "kafka.sasl.password=@kafka-password", status=78)
        self.assertIn("kafka.sasl.password", told)

    def test_tail_chooses_counts_and_ends(self):
        ids, _ = self.send(lines(event(out_contract_code="tail1")) + b'{"specversion":"1.0"}\n')
        self.world.wait_for_outcomes(ids)
        kinds = {}
        for kind in ("results", "failures"):
            kinds[kind] = [json.loads(line) for line in
                           self.tail("--from", "beginning", f"--{kind}", "--count", 1)]
            self.assertEqual(len(kinds[kind]), 1)
        self.assertNotIn("reason", kinds["results"][0]["data"])
        self.assertIn("reason", kinds["failures"][0]["data"])
        text = self.tail("--from", "beginning", "--results", "--text", "--count", 1)[0]
        self.assertRegex(text, r"^\d\d:\d\d:\d\d\.\d{3}Z result +app +\w+ +\w+$")
        self.tail("--results", "--count", 1, "--timeout-ms", SHORT_MS, status=75)
        self.assertEqual(self.tail("--results", "--timeout-ms", SHORT_MS), [])

    def test_tail_filters_and_ends_by_itself(self):
        ids, _ = self.send(lines(*[event(out_contract_code=code) for code in ("want1", "want2", "other")]) +
                           b'{"specversion":"1.0"}\n')
        self.world.wait_for_outcomes(ids)

        def codes(*options, status=0):
            return [json.loads(line)["data"].get("out_contract_code") for line in
                    self.tail("--until", "end", *options, status=status)]
        wanted = ("--out-contract-code", "want1", "--out-contract-code", "want2")
        self.assertEqual(sorted(codes("--from", "beginning", *wanted)), ["want1", "want2"])
        self.assertEqual(sorted(codes("--since", "1h", *wanted)), ["want1", "want2"])
        self.assertEqual(codes("--since", "0s", *wanted), [])
        self.assertEqual(codes(*wanted), [])
        self.assertEqual(codes("--since", "1h", "--merchant", "1999999999"), [])
        # A reason chooses failures alone.
        reasons = {json.loads(line)["data"]["reason"] for line in
                   self.tail("--until", "end", "--since", "1h", "--reason", "invalid_cloudevent")}
        self.assertEqual(reasons, {"invalid_cloudevent"})
        self.assertEqual(codes("--since", "1h", "--reason", "rejected"), [])
        # The time of --until: all of them are younger than an hour, and older than this moment.
        self.assertEqual(self.tail("--from", "beginning", "--until", "1h"), [])
        self.assertGreaterEqual(len(self.tail("--from", "beginning", "--until", "0s")), 4)
        self.tail("--since", "1h", "--from", "end", status=64)
        self.tail("--results", "--reason", "rejected", status=64)
        self.tail("--until", "tomorrow", status=64)

    def test_tail_tells_of_absent_brokers_and_of_their_return(self):
        with Cluster() as kafka, World(kafka=kafka) as world:
            world.start_sandbox()
            config = world.write_config()
            tail = Program("tail", [world.build / "presignctl", "tail", "-c", config, "--from", "beginning"],
                           world.directory / "tail.log")
            producer = Producer({"bootstrap.servers": kafka.bootstrap})
            producer.produce(world.topics["presign.failures"], b"{}")
            self.assertEqual(producer.flush(120), 0)
            tail.wait_for_log("^{}$")
            done = world.ctl("tail", "-c", config, "--until", "end")
            self.assertEqual(done.returncode, 0, done.stderr)
            kafka.kill()
            tail.wait_for_log("no broker is connected, waiting")
            done = world.ctl("tail", "-c", config, "--until", "end", "--timeout-ms", 1000)
            self.assertEqual(done.returncode, 69, done.stderr)
            kafka.start()
            tail.wait_for_log("connected to a broker again")
            self.assertEqual(tail.log_text().count("no broker is connected"), 1)
            tail.terminate()

    def test_tail_shows_each_outcome_of_an_event_and_what_it_does_not_know(self):
        """As at_least_once and a later version may publish them."""
        (event_id,), _ = self.send(lines(event(out_contract_code="tail2")))
        result = self.world.wait_for_outcomes([event_id])[event_id].record.value
        unknown = {"specversion": "1.0", "id": event_id, "source": "/presignd/c/g", "weather": {"clouds": [1]},
                   "type": "wechatpay.presign.app.failed", "time": "2026-11-23T08:00:00.125Z",
                   "data": {"event": {}, "endpoint": "app", "out_contract_code": "tail2", "retryable": True,
                            "reason": "struck_by_lightning", "message": "m", "call_state": "charged",
                            "attempts": 1, "attempt_log": [{"ended": "solar_flare"}], "weather": "fair"}}
        producer = Producer({"bootstrap.servers": self.world.kafka.bootstrap})
        for topic, value in (("results", result), ("failures", json.dumps(unknown).encode())):
            producer.produce(self.world.topics[f"presign.{topic}"], value)
        self.assertEqual(producer.flush(120), 0)
        shown = [line for line in self.tail("--from", "beginning", "--text", "--timeout-ms", SHORT_MS)
                 if " tail2 " in line]
        self.assertEqual(len(shown), 3, shown)
        self.assertEqual(len(set(shown)), 2, shown)
        self.assertEqual([line.split()[1:] for line in shown if "failure" in line],
                         [["failure", "app", "tail2", "struck_by_lightning:", "m"]])
        whole = [json.loads(line) for line in self.tail("--from", "beginning", "--timeout-ms", SHORT_MS)]
        self.assertIn(unknown, whole)

    def test_a_failure_of_bytes_with_a_nul_is_shown(self):
        ids, _ = self.send(b"a\0b\n", "--raw")
        self.world.wait_for_outcomes(ids)
        shown = "\n".join(self.tail("--from", "beginning", "--failures", "--text", "--timeout-ms", SHORT_MS))
        self.assertNotIn("is not an outcome", shown)

    def canary(self, *options, status=0):
        done = self.world.ctl("canary", "-c", self.config, *options)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout.decode(), done.stderr.decode()

    def test_a_canary_comes_back_expired_without_a_call(self):
        merchant, mode = next(iter(self.world.sandbox.merchants().items()))
        shown = json.loads(self.canary("--json", "--merchant", merchant)[0])
        self.assertEqual(shown["reason"], "expired")
        outcome = self.world.wait_for_outcomes([shown["id"]])[shown["id"]]
        self.assertEqual((outcome.reason, outcome.data["out_contract_code"], outcome.data["attempts"]),
                         ("expired", shown["out_contract_code"], 0))
        self.assertNotIn(shown["out_contract_code"], json.dumps(self.world.sandbox.ledger()))
        self.assertRegex(self.canary()[0], r"^\S+/\d+/\d+: expired after \d+\.\d{3} s, \S+\n$")

    def test_a_canary_that_does_not_come_back(self):
        unread = f"{self.world.topics['presign.requests']}.unread"
        self.world.kafka.create_topic(unread)
        self.assertIn("no outcome within", self.canary("--timeout-ms", SHORT_MS, "--set",
                                                       f"daemon.requests_topic={unread}", status=75)[1])
        self.canary("--merchant", "1999999999", status=78)
        self.canary("--timeout-ms", 500, "--set", "kafka.bootstrap.servers=127.0.0.1:1", status=69)

    def find(self, *options, status=0):
        done = self.world.ctl("find", "-c", self.config, "--json", *options)
        self.assertEqual(done.returncode, status, done.stderr)
        self.told = done.stderr.decode()
        return [json.loads(line) for line in done.stdout.splitlines()]

    def lever(self, *command):
        done = self.world.ctl(*command, "-c", self.config)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_find_follows_an_event_from_its_hold_to_its_outcome(self):
        merchant = next(name for name, mode in self.world.sandbox.merchants().items() if mode == "direct")
        self.find("find1", status=65)
        self.assertIn("no event of find1", self.told)
        self.lever("pause", "--merchant", merchant)
        (event_id,), _ = self.send(lines(event(out_contract_code="find1", mchid=merchant)))
        wait_until(lambda: self.find("find1")[0]["state"] == "held", lambda: self.find("find1"))
        (held,) = self.find("find1")
        self.assertEqual((held["event"], held["held_by"], held["mchid"], held["endpoint"], held["attempts"]),
                         (event_id, "paused", merchant, "app", 0))
        self.assertTrue(held["instance"] and held["timestamp"] and held["id"])
        (unread,) = self.find("find1", "--control", "/nonexistent")
        self.assertEqual(unread["state"], "unread")
        self.assertIn("what a daemon has is not known", self.told)
        self.lever("resume", "--merchant", merchant)
        self.world.wait_for_outcomes([event_id])
        (done,) = self.find("find1")
        (outcome,) = done["outcomes"]
        self.assertEqual((done["state"], outcome["topic"], done["attempts"]),
                         ("succeeded", self.world.topics["presign.results"], 1))
        self.assertTrue(outcome["issued_at"] and outcome["expires_at"])
        self.assertNotIn("held_by", done)

    def test_find_says_when_a_daemon_has_more_than_it_tells(self):
        merchant = next(name for name, mode in self.world.sandbox.merchants().items() if mode == "direct")
        self.lever("pause", "--merchant", merchant)
        sent, _ = self.send(lines(*[event(out_contract_code="many1", mchid=merchant) for _ in range(65)]))
        wait_until(lambda: sum(found["state"] == "held" for found in self.find("many1")) == 64, lambda: self.told)
        self.assertIn("tells of 64 events at most", self.told)
        self.lever("resume", "--merchant", merchant)
        self.world.wait_for_outcomes(sent)

    def test_find_reads_on_where_only_the_outcome_is_elsewhere(self):
        # Without a key, partitions are random: of six, some have the event where the code's key
        # would be, and its outcome in another one.
        (sent, _) = self.send(b"".join(b'{"specversion":"1.0","data":{"out_contract_code":"elsewhere%d"}}\n' % n
                                       for n in range(6)), "--no-key")
        self.world.wait_for_outcomes(sent)
        self.assertEqual({self.find(f"elsewhere{n}")[0]["state"] for n in range(6)}, {"failed"})

    def test_find_reads_partitions_that_the_key_does_not_name(self):
        (first,), _ = self.send(lines(event(out_contract_code="find2")), "--key", "another")
        (second,), _ = self.send(b'{"specversion":"1.0","data":{"out_contract_code":"find3"}}\n', "--no-key")
        self.world.wait_for_outcomes([first, second])
        self.assertEqual([(found["event"], found["state"]) for found in self.find("find2")], [(first, "succeeded")])
        (failed,) = self.find("find3")
        self.assertEqual((failed["event"], failed["state"], failed["outcomes"][0]["reason"]),
                         (second, "failed", "invalid_cloudevent"))
        self.find("find2", "--merchant", "1999999999", status=65)
        self.find("find2", "--since", "0s", status=65)
        self.find("no such code", status=64)
        shown = self.world.ctl("find", "-c", self.config, "find3").stdout.decode()
        self.assertRegex(shown, rf"^{second}: failed\n    sent \S+.*\n    \S+/\d+/\d+, \S+, invalid_cloudevent\n$")

    def test_tail_shows_no_open_or_aborted_transaction(self):
        topic = self.world.topics["presign.results"]
        writer = Producer({"bootstrap.servers": self.world.kafka.bootstrap,
                           "transactional.id": f"writer-{topic}"})
        writer.init_transactions(180)
        writer.begin_transaction()
        writer.produce(topic, b'{"data":"aborted"}')
        writer.flush(180)
        seen = self.tail("--from", "beginning", "--results", "--timeout-ms", SHORT_MS)
        writer.abort_transaction(180)
        seen += self.tail("--from", "beginning", "--results", "--timeout-ms", SHORT_MS)
        self.assertFalse([line for line in seen if "aborted" in line])

    def test_the_daemon_is_not_disturbed(self):
        """Neither fenced nor rebalanced: it still runs, with every partition it began with."""
        self.send(lines(event()))
        self.tail("--from", "beginning", "--count", 1)
        log = next(p for p in self.world.directory.glob("*.log") if "presignd" in p.name).read_text()
        self.assertEqual(log.count("partitions assigned"), 1, log)


if __name__ == "__main__":
    unittest.main()
