"""delivery = at_least_once, on a real broker that refuses transactions: nothing is missing, and an
outcome is published again only after a crash or a loss of partitions, always with the id of its event.
"""

import collections
import contextlib
import os
import unittest

from auditor import AT_LEAST_ONCE, FAILURES, REQUESTS, RESULTS
from harness import Program, World, event, wait_until
from kafka_broker import Cluster, free_ports
from secure_broker import PASSWORD, SecureCluster
from test_exactly_once import IN_FLIGHT, Run
from test_publisher_isolation import configure

EVENTS = int(os.environ.get("PRESIGND_E2E_EVENTS", 3000))
MODE = {"daemon": {"delivery": "at_least_once"}}


def setUpModule():
    global plain
    plain = Cluster().start()
    unittest.addModuleCleanup(plain.close)


class RunWithoutTransactions(Run):
    """Both daemons as the user `presignd`, who has no right to any transactional.id."""

    def __init__(self, cluster):
        kafka = {"bootstrap.servers": cluster.secure, "security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN",
                 "sasl.username": "presignd", "sasl.password": PASSWORD,
                 "ssl.ca.location": cluster.certificates / "ca.pem"}
        super().__init__(cluster=cluster, sections={**MODE, "kafka": kafka})
        self.cluster = cluster

    def __enter__(self):
        topics = self.world.topics
        for resource, name, operation in (
                ("TOPIC", topics[REQUESTS], "READ"), ("GROUP", self.world.group, "READ"),
                ("TOPIC", topics[RESULTS], "WRITE"), ("TOPIC", topics[FAILURES], "WRITE")):
            self.cluster.acls.add(f"User:presignd {resource} LITERAL {name} {operation}")
        return super().__enter__()


class WithoutTransactions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cluster = cls.enterClassContext(SecureCluster())
        with RunWithoutTransactions(cluster) as run:
            cls.run_through(run)
            cls.mode = run.daemons["presignd-1"].metrics()
            cls.statuses = run.terminate()
            cls.audit = run.world.audit(delivery=AT_LEAST_ONCE)
            cls.ledger = run.world.sandbox.ledger()
        cls.sent, cls.kills = run.sent, run.kills
        print(f"\n{cls.audit.summary()}\n{run.kills} kills", flush=True)

    @classmethod
    def run_through(cls, run):
        run.produce(EVENTS // 3)
        run.world.wait_for_outcomes(run.sent)
        wait_until(run.idle, "the positions of all outcomes")
        cls.undisturbed = run.world.audit()  # strict: nothing has happened yet
        run.produce(EVENTS // 3)
        for share in (0.5, 0.65, 0.8):
            run.wait_for_share(share)
            run.kill_and_restart("presignd-1")
        run.daemons["presignd-2"].suspend()
        run.others_take_over("presignd-2")
        run.produce(EVENTS - len(run.sent))
        run.daemons["presignd-2"].resume()
        run.world.wait_for_outcomes(run.sent)

    def test_undisturbed_every_outcome_is_published_once(self):
        self.assertTrue(self.undisturbed.passed, self.undisturbed.summary())

    def test_nothing_is_missing_and_each_event_has_a_valid_outcome(self):
        self.assertTrue(self.audit.passed, self.audit.summary())
        self.assertEqual(len(self.audit.inputs), EVENTS)

    def test_only_what_a_kill_left_unfinished_is_repeated(self):
        unfinished = IN_FLIGHT + 4 * 2 * IN_FLIGHT  # as in test_exactly_once
        repeated = sum(map(len, self.audit.repeats.values()))
        self.assertLessEqual(repeated, (self.kills + 1) * unfinished)

    def test_one_body_for_each_event(self):
        bodies = collections.defaultdict(set)
        for call in self.ledger:
            bodies[call["out_contract_code"]].add(call["body_sha256"])
        self.assertEqual({len(each) for each in bodies.values()}, {1})

    def test_the_mode_is_shown(self):
        (mode,) = (name for name in self.mode if name.startswith("presignd_mode_info{"))
        self.assertIn('delivery="at_least_once"', mode)

    def test_the_daemons_stop_as_asked(self):
        self.assertEqual(self.statuses, {0})


class Change(unittest.TestCase):
    """The mode is changed instance by instance, there and back, under load. Nobody is killed, so
    nothing is doubled."""

    def test_instances_of_one_group_may_differ(self):
        with Run(cluster=plain) as run:
            for mode in ("at_least_once", "exactly_once"):
                run.sections = {"daemon": {"delivery": mode}}
                for instance in run.instances:
                    run.produce(400)
                    run.wait_for_share(0.9)
                    self.assertEqual(run.daemons[instance].terminate(), 0)
                    run.produce(100)
                    run.start(instance)
            run.world.wait_for_outcomes(run.sent)
            wait_until(run.idle, "the daemons' end of work")
            self.assertEqual(run.terminate(), {0})
            audit = run.world.audit()
            self.assertTrue(audit.passed, audit.summary())


class Edges(unittest.TestCase):
    @contextlib.contextmanager
    def world(self, **options):
        with World(kafka=plain, **options) as world:
            world.start_sandbox(options=["--fault-by-code"])
            yield world

    def test_a_refused_outcome_does_not_repeat_the_others_of_its_batch(self):
        with self.world() as world:
            configure(world, FAILURES, max_message_bytes=2000)
            daemon = world.start_daemon(sections={**MODE, "daemon": {**MODE["daemon"], "commit_interval_ms": 50}})
            # Too large for its topic even without the event: it waits. All others go on.
            large = "K" * 4000
            stuck = world.produce([(large.encode(), b"{oops", [])])
            good = []
            for _ in range(5):
                good += world.produce([event() for _ in range(40)])
                world.wait_for_outcomes(good)
            self.assertNotIn(stuck[0], world.outcomes())
            configure(world, FAILURES, max_message_bytes=1048588)
            world.wait_for_outcomes([*good, *stuck], timeout_s=120)
            self.assertEqual(daemon.terminate(), 0)
            world.assert_audit_passes()

    def test_without_idempotence(self):
        """It is the operator's in this mode, and an error in the other one."""
        off = {"kafka.producer": {"enable.idempotence": "false"}}
        with self.world() as world:
            checked = world.ctl("check", "-c", world.write_config(sections=off))
            self.assertEqual(checked.returncode, 78)
            self.assertIn(b"enable.idempotence: cannot be set here: transactions need it",
                          checked.stdout + checked.stderr)
            daemon = world.start_daemon(sections={**MODE, **off})
            world.wait_for_outcomes(world.produce([event() for _ in range(200)]))
            self.assertEqual(daemon.terminate(), 0)
            world.assert_audit_passes()

    def test_two_processes_of_one_name(self):
        """One of them ends with 75: static membership tells them apart."""
        with self.world() as world:
            first = world.start_daemon(sections=MODE)
            config = world.write_config("presignd-1", {**MODE, "kafka": {"session.timeout.ms": 6000}})
            second = Program("second", [world.build / "presignd", "-c", config, "--set",
                                        f"daemon.admin_listen=127.0.0.1:{free_ports(1)[0]}"],
                             world.directory / "second.log")
            world.daemons.append(second)
            wait_until(lambda: not first.running or not second.running, "one of two namesakes to end", 180)
            ended, other = (first, second) if not first.running else (second, first)
            self.assertEqual(ended.wait(), 75, ended.log_text()[-2000:])
            sent = world.produce([event() for _ in range(20)])
            world.wait_for_outcomes(sent)
            self.assertEqual(other.terminate(), 0)


if __name__ == "__main__":
    unittest.main()
