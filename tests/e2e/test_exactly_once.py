"""Exactly one outcome for each event, through faults, SIGKILL, SIGSTOP and rebalances; and an
auditor that convicts a daemon without its safeguards of the same run.

PRESIGND_E2E_EVENTS sets the number of events (default 6000).
"""

import collections
import concurrent.futures
import os
import time
import unittest

from harness import ROOT, World, event, http_get, wait_until
from kafka_broker import Cluster

EVENTS = int(os.environ.get("PRESIGND_E2E_EVENTS", 6000))
PLANTED_EVENTS = 900
PARTITIONS = 4
DIRECT, PARTNER = "1900007291", "1900000109"
ENDPOINTS = [("app", DIRECT), ("partner-mini-program", PARTNER)]
IN_FLIGHT = 48
FAULTS = {"429": "0.03:0", "500": "0.02", "503": "0.04", "reset-before": "0.03", "reset-after": "0.03",
          "truncated": "0.02", "unsigned": "0.03", "bad-signature": "0.02", "delay": "0.08:150"}
# Faults after which the event is called again.
FAILING = FAULTS.keys() - {"delay"}
# Every event gets its result in the end, however unlucky it is.
SETS = [f"daemon.max_in_flight={IN_FLIGHT}", "retry.max_attempts=100", "retry.base_delay_ms=5",
        "retry.max_delay_ms=100"]


def setUpModule():
    global kafka
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)


class Run:
    """A World with two daemons of one group. `cluster`: a broker other than this module's;
    `sections`: settings of both daemons' configurations."""

    def __init__(self, program="presignd", ablate=None, cluster=None, sections=None):
        self.world = World(partitions=PARTITIONS, kafka=cluster or kafka)
        self.program = program
        self.sections = sections
        # Names of their own: a transactional.id is the broker's, not the group's.
        self.instances = [f"{ablate or 'presignd'}-{n}" for n in (1, 2)]
        self.environment = {"PRESIGND_ABLATE": ablate} if ablate else {}
        self.daemons = {}
        self.sent = {}  # id: code
        self.kills = 0
        self.restart_s = []

    def __enter__(self):
        self.world.__enter__()
        self.world.start_sandbox([f"{kind}={share}" for kind, share in FAULTS.items()],
                                 ["--schema-dir", ROOT / "schemas"])
        for instance in self.instances:
            self.start(instance, wait=False)
        for daemon in self.daemons.values():
            daemon.wait_ready()
        return self

    def __exit__(self, *error):
        return self.world.__exit__(*error)

    def start(self, instance, wait=True):
        self.daemons[instance] = self.world.start_daemon(
            instance, sections=self.sections, sets=SETS, wait=wait, program=self.program,
            environment=self.environment)

    def produce(self, count):
        codes = [f"E{len(self.sent) + n:06d}" for n in range(count)]
        events = [event(*ENDPOINTS[n % 2][:1], code, mchid=ENDPOINTS[n % 2][1]) for n, code in enumerate(codes)]
        self.sent.update(zip(self.world.produce(events), codes))

    def wait_for_share(self, share):
        wait_until(lambda: len(self.world.outcomes()) >= share * len(self.sent), f"{share:.0%} of the outcomes")

    def partitions(self, instance):
        """Which partitions it has; empty while it does not answer."""
        status, text = http_get(f"{self.daemons[instance].admin}/metrics")
        return {int(line.split('"')[1]) for line in text.splitlines()
                if line.startswith("presignd_partition_window_offsets{")} if status == 200 else set()

    def kill_and_restart(self, instance):
        """SIGKILL in the middle of its work, and at once another process of that name. Notes the
        time until an outcome of one of its partitions can be read that was not there before."""
        own = self.partitions(instance)
        self.daemons[instance].kill()
        self.kills += 1
        killed_ms, killed = time.time() * 1000, time.monotonic()
        self.start(instance, wait=False)

        def first_new():
            return any(outcome.record.timestamp_ms > killed_ms and outcome.data["event"]["partition"] in own
                       for outcome in list(self.world.outcomes().values())) or self.all_done()
        wait_until(first_new, f"an outcome of {instance} after its restart")
        self.restart_s.append(time.monotonic() - killed)

    def all_done(self):
        return self.sent.keys() <= self.world.outcomes().keys()

    def others_take_over(self, instance):
        """Until the other daemon has every partition."""
        other = next(name for name in self.daemons if name != instance)
        wait_until(lambda: len(self.partitions(other)) == PARTITIONS, f"{other} to have all partitions")

    def idle(self):
        """No daemon has unfinished events or unread records."""
        partitions = 0
        for daemon in self.daemons.values():
            metrics = daemon.metrics()
            if any(value for name, value in metrics.items() if name.startswith("presignd_jobs{")):
                return False
            lags = [value for name, value in metrics.items() if name.startswith("presignd_partition_lag_records{")]
            if any(lag > 0 for lag in lags):
                return False
            partitions += len(lags)
        return partitions == PARTITIONS

    def terminate(self):
        return {daemon.terminate() for daemon in self.daemons.values()}


class TwoDaemons(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with Run() as run:
            cls.run_through(run)
            cls.statuses = run.terminate()
            cls.outcomes = dict(run.world.outcomes())
            cls.audit = run.world.audit()
            cls.ledger = run.world.sandbox.ledger()
        cls.sent, cls.kills = run.sent, run.kills
        cls.done = [call for call in cls.ledger if call.get("fault") not in FAILING]
        restarts = " ".join(f"{seconds:.2f}" for seconds in run.restart_s)
        print(f"\n{cls.audit.summary()}\n{len(cls.ledger)} calls, of which {len(cls.ledger) - len(cls.done)} met a "
              f"fault and {len(cls.done) - len(cls.sent)} were repeated for {cls.kills} kills; from SIGKILL and "
              f"restart to the first new outcome: {restarts} s", flush=True)

    @classmethod
    def run_through(cls, run):
        run.produce(EVENTS // 2)
        for share in (0.1, 0.3, 0.5, 0.7):
            run.wait_for_share(share)
            run.kill_and_restart("presignd-1")
        run.produce(EVENTS // 4)
        # Stopped for longer than its session lasts: it comes back to partitions that are another's.
        run.daemons["presignd-2"].suspend()
        run.others_take_over("presignd-2")
        run.produce(EVENTS // 8)
        run.daemons["presignd-2"].resume()
        # Gone for longer than its session lasts.
        run.daemons["presignd-1"].kill()
        run.kills += 1
        run.produce(EVENTS - len(run.sent))
        run.others_take_over("presignd-1")
        run.start("presignd-1")
        run.world.wait_for_outcomes(run.sent)

    def test_no_outcome_is_missing_or_doubled(self):
        self.assertTrue(self.audit.passed, self.audit.summary())
        self.assertEqual(len(self.audit.inputs), EVENTS)

    def test_every_event_has_its_result(self):
        self.assertEqual(collections.Counter(outcome.reason for outcome in self.outcomes.values()),
                         {None: EVENTS})

    def test_every_id_was_issued_to_that_contract(self):
        issued = collections.defaultdict(set)
        for call in self.ledger:
            if call.get("status") == 200 and call.get("fault") not in FAILING:
                issued[call["out_contract_code"]].add(call["issued_id"])
        wrong = [name for name, outcome in self.outcomes.items()
                 if outcome.data["pre_entrustweb_id"] not in issued[self.sent[name]]]
        self.assertEqual(wrong, [])
        self.assertEqual(len({outcome.data["pre_entrustweb_id"] for outcome in self.outcomes.values()}), EVENTS)

    def test_the_number_of_calls_is_bounded(self):
        """Only the unfinished events of a killed or suspended process are called again."""
        unfinished = IN_FLIGHT + 4 * 2 * IN_FLIGHT  # in flight, and answered but not yet published
        self.assertLessEqual(len(self.done) - len(self.sent), (self.kills + 1) * unfinished)

    def test_nothing_wrong_was_sent(self):
        self.assertEqual([call for call in self.ledger if call.get("issue") or not call["signature_ok"]], [])
        bodies = collections.defaultdict(set)
        for call in self.ledger:
            bodies[call["out_contract_code"]].add(call["body_sha256"])
        self.assertEqual({len(each) for each in bodies.values()}, {1})

    def test_daemons_that_went_through_this_stop_as_asked(self):
        self.assertEqual(self.statuses, {0})


class Ablated(unittest.TestCase):
    """The same, with a daemon that lacks one safeguard: the audit has to fail. All at once, since
    they wait most of their time."""

    LACKS = (None, "done-set", "base-offset")

    @classmethod
    def setUpClass(cls):
        with concurrent.futures.ThreadPoolExecutor(len(cls.LACKS)) as pool:
            cls.problems = dict(zip(cls.LACKS, pool.map(cls.run_through, cls.LACKS)))

    @staticmethod
    def run_through(ablate):
        with Run("presignd-ablated", ablate) as run:
            run.produce(PLANTED_EVENTS)
            for share in (0.2, 0.4, 0.6):
                run.wait_for_share(share)
                for daemon in run.daemons.values():
                    daemon.kill()
                for instance in run.daemons:
                    run.start(instance)
            wait_until(run.idle, "the daemons' end of work")
            run.terminate()
            problems = {kind: len(texts) for kind, texts in run.world.audit().problems.items() if texts}
        print(f"\nwithout {ablate}: {problems}", flush=True)
        return problems

    def test_nothing_is_taken_away(self):
        self.assertEqual(self.problems[None], {})

    def test_a_set_that_is_not_loaded_doubles_outcomes(self):
        self.assertEqual(set(self.problems["done-set"]), {"doubled"})

    def test_the_highest_offset_loses_outcomes(self):
        self.assertEqual(set(self.problems["base-offset"]), {"missing"})


if __name__ == "__main__":
    unittest.main()
