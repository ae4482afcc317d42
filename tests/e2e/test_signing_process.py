"""The signing process is suspended, killed, or ends during a stop: no event is lost, ended twice or failed by it,
and the journal names it."""

import os
import signal
import unittest
from pathlib import Path

from harness import World, event, http_get, wait_until

EX_UNAVAILABLE = 69
SILENT = "the signing threads or process gave no signature: "
KILLED = "the signing process was killed by signal 9: "


class SigningProcess(unittest.TestCase):
    def setUp(self):
        self.world = self.enterContext(World())
        self.world.start_sandbox()
        self.start()

    def start(self):
        self.daemon = self.world.start_daemon(sections={"daemon": {"sign_process": "yes"}})
        main = self.daemon.process.pid
        (self.signing,) = map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())

    def signal(self, number):
        os.kill(self.signing, number)

    def assert_results(self, sent):
        outcomes = self.world.wait_for_outcomes(sent).values()
        self.assertEqual({outcome.reason for outcome in outcomes}, {None})
        return outcomes

    def finish(self):
        self.assertEqual(self.daemon.terminate(), 0)
        self.world.assert_audit_passes()

    def test_suspended(self):
        """The calls wait, and use up no attempt."""
        self.signal(signal.SIGSTOP)
        sent = self.world.produce(event() for _ in range(200))
        self.daemon.wait_for_log(SILENT)
        wait_until(lambda: http_get(f"{self.daemon.admin}/readyz")[0] == 503, "not ready")
        self.assertEqual(self.world.outcomes(), {})
        self.signal(signal.SIGCONT)
        outcomes = self.assert_results(sent)
        self.assertEqual(len(self.world.sandbox.ledger()), len(outcomes))
        self.assertNotIn("file descriptor", self.daemon.log_text())
        self.assertEqual(self.daemon.metrics()["presignd_descriptor_shortages_total"], 0)
        self.finish()

    def test_killed(self):
        """The service manager starts the service again."""
        sent = self.world.produce(event() for _ in range(1000))
        self.signal(signal.SIGKILL)
        self.assertEqual(self.daemon.wait(), EX_UNAVAILABLE)
        self.assertRegex(self.daemon.log_text(), f"{KILLED}.*to be started again")
        self.start()
        self.assert_results(sent)
        self.finish()

    def test_killed_during_a_stop(self):
        """It ends as asked, and the journal promises no new start."""
        self.signal(signal.SIGSTOP)
        sent = self.world.produce(event() for _ in range(20))
        wait_until(lambda: self.daemon.metrics()["presignd_calls_in_flight"] > 0, "calls begin")
        self.daemon.signal(signal.SIGTERM)
        self.daemon.wait_for_log("stopping: calls in flight")
        self.signal(signal.SIGKILL)
        self.assertEqual(self.daemon.wait(), 0)
        self.assertRegex(self.daemon.log_text(), KILLED)
        self.assertNotIn("to be started again", self.daemon.log_text())
        self.start()
        self.assert_results(sent)
        self.finish()


if __name__ == "__main__":
    unittest.main()
