"""WeChat Pay's keys come, change and go while events flow. No event fails because of it: a merchant
without a key waits, and an answer that names an unknown certificate is asked for again once the list
has come."""

import json
import re
import signal
import threading
import unittest

from harness import World, event, http_get, wait_until
from kafka_broker import Cluster
from set_clock import WallClock

MERCHANT = "1900007291"  # the sandbox's direct one
PARTNER = "1900000109"
DAY_S = 86400


def setUpModule():
    global kafka
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)


class Load:
    """Events, a few at a time, until the block ends. `sent`: their ids."""

    def __init__(self, world):
        self.world = world
        self.sent = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.ended.wait(0.05):
            self.sent += self.world.produce(event() for _ in range(3))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


class Keys(unittest.TestCase):
    AUTO = [f"merchant {MERCHANT}.platform_certificates=auto", f"merchant {PARTNER}.platform_certificates=auto"]

    def setUp(self):
        self.world = self.enterContext(World(kafka=kafka))
        self.state = self.world.directory / "state"
        self.state.mkdir()

    def sandbox(self, mode, **change):
        sandbox = self.world.start_sandbox(options=["--serial-mode", mode])
        if change:
            sandbox.set(**change)
        return sandbox

    def start(self, *sets, **retry):
        sections = {"daemon": {"state_dir": self.state}, "retry": retry}
        self.daemon = self.world.start_daemon(sections=sections, sets=sets)
        return self.daemon

    def refreshes(self, end="ok", mchid=MERCHANT):
        return self.metric(f'presignd_certificate_refreshes_total{{mchid="{mchid}",end="{end}"}}')

    def fetch_list(self):
        """A reload with a change of the merchants, which fetches their lists at once."""
        before = self.refreshes()
        path = self.world.directory / f"{self.daemon.instance}.conf"
        path.write_text(re.sub(r"(?m)^serial_no", f"max_in_flight = {90 + before:.0f}\nserial_no",
                               re.sub(r"(?m)^max_in_flight.*\n", "", path.read_text())))
        self.daemon.signal(signal.SIGHUP)
        wait_until(lambda: self.refreshes() > before, "a list")

    def by_file(self):
        """The certificate as a file: its list cannot be fetched with a clock that is days off."""
        pem = self.world.sandbox.directory / self.file(1)
        return [f"merchant {mchid}.platform_certificates={pem}" for mchid in (MERCHANT, PARTNER)]

    def file(self, number):
        return next(each["file"] for each in self.world.sandbox.set()["certificates"] if each["number"] == number)

    def merchant(self):
        document = json.loads(http_get(f"{self.daemon.admin}/status.json")[1])
        (mine,) = (each for each in document["merchants"] if each["mchid"] == MERCHANT)
        return mine

    def metric(self, name):
        return self.daemon.metrics().get(name, 0)

    def verified(self, kind):
        return self.metric(f'presignd_answers_verified_total{{mchid="{MERCHANT}",kind="{kind}"}}')

    def calls(self):
        """The ledger's lines of events, oldest first."""
        return [line for line in self.world.sandbox.ledger() if "out_contract_code" in line]

    def assert_results(self, sent):
        outcomes = self.world.wait_for_outcomes(sent).values()
        self.assertEqual({outcome.reason for outcome in outcomes}, {None})
        return outcomes

    def assert_held(self, count):
        """So many events wait, since no key of the merchant verifies answers, and none was called."""
        wait_until(lambda: self.metric('presignd_held_events{why="unverified_answer"}') == count,
                   f"{count} events are held")
        self.daemon.wait_for_log(f"merchant {MERCHANT} has no key that verifies answers now and its events are held")
        self.assertEqual((self.calls(), self.merchant()["state"]), ([], "held"))


class Without(Keys):
    """A merchant without a key that verifies answers."""

    def test_the_first_list_comes_later_than_the_events(self):
        sandbox = self.sandbox("certificate", list="503")
        self.start(*self.AUTO)
        wait_until(lambda: self.refreshes("unreachable"), "the first fetch")
        sent = self.world.produce(event() for _ in range(20))
        self.assert_held(20)
        sandbox.set(list="")
        self.daemon.signal(signal.SIGHUP)  # it would try again within a minute
        self.assert_results(sent)
        self.assertEqual([line["status"] for line in self.calls()], [200] * 20)
        self.daemon.wait_for_log(f"merchant {MERCHANT} is released")

    def test_a_start_without_network_uses_the_list_that_was_kept(self):
        sandbox = self.sandbox("certificate")
        self.start(*self.AUTO)
        self.assert_results(self.world.produce([event()]))
        self.assertEqual(self.daemon.terminate(), 0)
        sandbox.set(list="503")
        self.start(*self.AUTO)
        self.assert_results(self.world.produce(event() for _ in range(20)))

    def test_a_clock_before_the_certificates_begin(self):
        clock = WallClock(self.world.directory / "clock")
        clock.set(-2 * DAY_S)
        self.sandbox("certificate")
        with clock.preloaded():
            self.start(*self.by_file(), hold_unauthorized_ms=10000)  # so the clock is looked at each second
        sent = self.world.produce(event() for _ in range(20))
        self.assert_held(20)
        clock.set(0)
        self.assert_results(sent)
        self.assertEqual(len(self.calls()), 20)

    def test_after_the_hold_events_fail_and_were_not_sent(self):
        clock = WallClock(self.world.directory / "clock")
        clock.set(-2 * DAY_S)
        self.sandbox("certificate")
        with clock.preloaded():
            self.start(*self.by_file(), hold_unauthorized_ms=1000)
        outcomes = self.world.wait_for_outcomes(self.world.produce(event() for _ in range(20))).values()
        self.assertEqual({(outcome.reason, outcome.data["call_state"], outcome.data["attempts"], outcome.data["retryable"])
                          for outcome in outcomes}, {("unverified_answer", "not_sent", 0, True)})
        self.assertEqual({outcome.data["message"] for outcome in outcomes},
                         {f"not called: merchant {MERCHANT} has had no key that verifies answers for longer than "
                          "hold_unauthorized_ms"})
        self.assertEqual(self.calls(), [])


    def test_a_certificate_that_expired_and_its_successor_in_one_file(self):
        sandbox = self.sandbox("certificate")
        sandbox.set(certificate={"number": 2, "starts_in_s": -10 * DAY_S, "ends_in_s": -DAY_S})
        old, good = (sandbox.directory / name for name in (self.file(2), self.file(1)))
        bundle = self.world.directory / "bundle.pem"
        bundle.write_bytes(old.read_bytes())
        self.start(f"merchant {MERCHANT}.platform_certificates={bundle}", hold_unauthorized_ms=600000)
        self.daemon.wait_for_log("platform_certificates: certificate [0-9A-F]+ expired at .* and verifies nothing: leave it out")
        sent = self.world.produce(event() for _ in range(20))
        self.assert_held(20)
        done = self.world.ctl("check", "-c", self.world.directory / "presignd-1.conf",
                              "--set", f"merchant {MERCHANT}.platform_certificates={bundle}")
        self.assertEqual(done.returncode, 78)
        self.assertIn("no certificate is valid now", done.stderr.decode())
        bundle.write_bytes(old.read_bytes() + good.read_bytes())
        self.assertEqual(self.world.ctl("reload", "-c", self.world.directory / "presignd-1.conf").returncode, 0)
        self.assert_results(sent)
        self.assertEqual(len(self.calls()), 20)

    def test_another_algorithm_than_the_keys_verifies_nothing(self):
        sandbox = self.sandbox("public-key", mchid=MERCHANT, calls="other-type")
        self.start(hold_unauthorized_ms=60000)
        sent = self.world.produce(event() for _ in range(20))
        wait_until(lambda: self.metric('presignd_held_events{why="unverified_answer"}') > 0, "events are held")
        self.assertEqual(self.world.outcomes(), {})
        sandbox.set(mchid=MERCHANT, calls="no-type")
        self.assert_results(sent)
        self.assertGreater(self.metric('presignd_calls_total{endpoint="app",host="127.0.0.1:%d",answer="unverified"}'
                                       % sandbox.port), 0)
        self.world.assert_audit_passes()


class Changes(Keys):
    """Under load."""

    @staticmethod
    def serial(state):
        """Of the certificate that signs the merchant's answers, in the sandbox's state."""
        (mine,) = (each for each in state["merchants"] if each["mchid"] == MERCHANT)
        return next(each["serial_no"] for each in state["certificates"] if each["number"] == mine["signs"])

    def signed_by(self, serial):
        return [line for line in self.calls() if line.get("serial") == serial]

    def test_the_move_to_the_public_key_and_back(self):
        sandbox = self.sandbox("both", serial_mode="certificate")
        key_id = sandbox.config.read_text().split("wechatpay_public_key_id = ")[1].split("\n")[0]
        self.start(*self.AUTO)
        with Load(self.world) as load:
            for mode, kind in (("certificate", "certificate"), ("both", "public_key"), ("public-key", "public_key"),
                               ("both", "public_key"), ("certificate", "certificate")):
                sandbox.set(serial_mode=mode)
                before = self.verified(kind)
                wait_until(lambda: self.verified(kind) >= before + 30, f"answers of {mode} by the {kind}")
                wait_until(lambda: self.merchant()["verified_by"] == kind, f"verified by the {kind}")
        self.assert_results(load.sent)
        # Requests name the public key all along, and each was answered at its first attempt.
        self.assertEqual({(line["asked_serial"], line["status"]) for line in self.calls()}, {(key_id, 200)})
        self.assertEqual(len(self.calls()), len(load.sent))
        self.assertLess(self.merchant()["certificate_answers_seconds"], 3600)
        self.assertEqual(self.daemon.terminate(), 0)
        self.world.assert_audit_passes()

    def test_a_rotation(self):
        """The new certificate is listed, signs, and is the only one: no event needs a second attempt."""
        sandbox = self.sandbox("certificate")
        self.start(*self.AUTO)
        with Load(self.world) as load:
            for change in ({"listed": [1]}, {"listed": [1, 2]}, {"signs": 2}, {"listed": [2]}):
                state = sandbox.set(**change)
                if "listed" in change:
                    self.fetch_list()
                signs = self.serial(state)
                before = len(self.signed_by(signs))
                wait_until(lambda: len(self.signed_by(signs)) >= before + 30, f"answers by {signs}")
        self.assert_results(load.sent)
        self.assertEqual(len(self.calls()), len(load.sent))
        self.assertEqual({line["status"] for line in self.calls()}, {200})
        self.assertEqual(self.daemon.terminate(), 0)
        self.world.assert_audit_passes()

    def test_a_switch_that_was_missed(self):
        """First while the daemon was down, so that it begins with the old list; then while it runs, with
        the next list within a minute. The events that meet the new certificate wait, and the others."""
        sandbox = self.sandbox("certificate")
        self.start(*self.AUTO)
        self.assert_results(self.world.produce([event()]))
        self.assertEqual(self.daemon.terminate(), 0)
        sandbox.set(listed=[2], signs=2, list="delay:3000")
        self.start(*self.AUTO)
        sent = self.world.produce(event() for _ in range(40))
        self.assert_results(sent)
        self.assertLessEqual(len(self.calls()), 1 + 2 * len(sent))
        sandbox.set(listed=[3], signs=3, list="")
        with Load(self.world) as load:
            wait_until(lambda: self.refreshes() == 2, "a list because of an unknown certificate")
            wait_until(lambda: self.metric("presignd_held_events{why=\"unverified_answer\"}") == 0, "released")
        outcomes = self.assert_results(load.sent)
        self.assertLessEqual(max(outcome.data["attempts"] for outcome in outcomes), 3)
        self.assertEqual(self.daemon.terminate(), 0)
        self.world.assert_audit_passes()

    def test_how_long_no_certificate_has_signed_survives_a_restart(self):
        self.sandbox("both", serial_mode="certificate")
        self.start(*self.AUTO)
        self.assert_results(self.world.produce([event()]))
        self.assertEqual(self.daemon.terminate(), 0)
        memory = self.state / "verified.json"
        (known,) = (each for each in json.loads(memory.read_text()) if each["mchid"] == MERCHANT)
        memory.write_text(memory.read_text().replace(known["certificate_at"], "2026-01-01T00:00:00Z"))
        self.world.sandbox.set(serial_mode="public-key")
        self.start()
        self.assertGreater(self.merchant()["certificate_answers_seconds"], 7 * DAY_S)
        self.assertNotIn("verified_by", self.merchant())
        self.assert_results(self.world.produce([event()]))
        self.assertGreater(self.merchant()["certificate_answers_seconds"], 7 * DAY_S)
        self.assertEqual(self.merchant()["verified_by"], "public_key")


if __name__ == "__main__":
    unittest.main()
