"""Requests signed, and answers verified, in batches by libcrypto_mb: a stand-in, which makes mistakes on
demand, and the real one where the processor has AVX-512 IFMA. The sandbox verifies every signature.
"""

import json
import os
import signal
import unittest

from harness import BUILD, World, event, http_get, wait_until

STAND_IN = BUILD / "crypto-mb-stand-in"
EVENTS = 400
EX_CONFIG = 78


def signatures(daemon, backend, end):
    return daemon.metrics()[f'presignd_signatures_total{{backend="{backend}",end="{end}"}}']


class Signing(unittest.TestCase):
    """One thread signs, so that requests wait."""

    sets = ("daemon.sign_threads=1", "daemon.sign_backend=crypto_mb")
    directory = STAND_IN

    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World())
        cls.world.start_sandbox()

    def start(self, fault="none:0", **options):
        environment = dict(os.environ, LD_LIBRARY_PATH=str(self.directory), PRESIGND_STAND_IN=fault)
        options.setdefault("sets", self.sets)
        daemon = self.world.start_daemon(environment=environment, **options)
        self.addCleanup(lambda: daemon.running and daemon.kill())
        return daemon

    def expect_results(self, count=EVENTS):
        ids = self.world.produce(event("app") for _ in range(count))
        outcomes = self.world.wait_for_outcomes(ids)
        self.assertEqual({outcome.reason for outcome in outcomes.values()}, {None})
        self.assertEqual({len(outcome.data.get("attempt_log", [])) for outcome in outcomes.values()} - {0, 1}, set())

    def says(self, daemon):
        """What status and metrics say that signs."""
        status = json.loads(http_get(f"{daemon.admin}/status.json")[1])["process"]["sign_backend"]
        labels = [name for name, value in daemon.metrics().items() if name.startswith("presignd_mode_info") and value]
        self.assertEqual(len(labels), 1)
        self.assertIn(f'sign_backend="{status}"', labels[0])
        return status

    def attention(self, daemon):
        return [each["alert"] for each in json.loads(http_get(f"{daemon.admin}/status.json")[1])["attention"]]

    def expect_fallback(self, fault, end):
        daemon = self.start(f"{fault}:10")
        self.expect_results()
        wait_until(lambda: self.says(daemon) == "openssl", "the library's end")
        self.assertGreaterEqual(signatures(daemon, "crypto_mb", end), 1)
        self.assertGreater(signatures(daemon, "crypto_mb", "ok"), 0)
        daemon.wait_for_log("libcrypto_mb made a wrong signature, which was not sent; OpenSSL signs from now on")
        self.assertIn("PresigndSignBackendFault", self.attention(daemon))
        batched = signatures(daemon, "crypto_mb", "ok")
        self.expect_results(100)
        self.assertEqual(signatures(daemon, "crypto_mb", "ok"), batched)
        daemon.terminate()

    def expect_verified_by_openssl(self, fault, end):
        """After four batches of answers the library errs."""
        line = "libcrypto_mb took a valid signature of an answer for a wrong one; OpenSSL verifies from now on"
        daemon = self.start(f"{fault}:4")
        before = daemon.log_text().count(line)

        def is_told():
            self.expect_results(100)
            return daemon.log_text().count(line) > before

        wait_until(is_told, line)
        mistakes = signatures(daemon, "crypto_mb", end)
        self.assertGreaterEqual(mistakes, 1)
        self.assertEqual(self.says(daemon), "crypto_mb", "it still signs")
        self.expect_results()
        self.assertEqual(signatures(daemon, "crypto_mb", end), mistakes)
        self.assertEqual(daemon.log_text().count(line), before + 1)
        daemon.terminate()


class GoodDay(Signing):
    def test_waiting_requests_share_a_batch(self):
        daemon = self.start()
        self.assertEqual(self.says(daemon), "crypto_mb")
        self.assertRegex(daemon.log_text(), r"signed by crypto_mb \(libcrypto_mb\.so\.13\)")
        self.expect_results()
        self.assertGreater(signatures(daemon, "crypto_mb", "ok"), EVENTS / 2)
        self.assertEqual(signatures(daemon, "crypto_mb", "ok") + signatures(daemon, "openssl", "ok"), EVENTS)
        self.assertNotIn("PresigndSignBackendFault", self.attention(daemon))
        daemon.terminate()

    def test_openssl_can_be_asked_for(self):
        daemon = self.start(sets=[*self.sets, "daemon.sign_backend=openssl"])
        self.assertEqual(self.says(daemon), "openssl")
        self.expect_results(40)
        self.assertEqual(signatures(daemon, "crypto_mb", "ok"), 0)
        self.assertEqual(signatures(daemon, "openssl", "ok"), 40)
        daemon.terminate()


class Faults(Signing):
    def test_wrong_signatures(self):
        self.expect_fallback("wrong", "wrong")

    def test_errors(self):
        self.expect_fallback("status", "failed")

    def test_a_slow_library_delays_no_stop_and_no_reload(self):
        daemon = self.start("slow:3", sections={"daemon": {"sign_threads": 1}}, sets=["daemon.sign_backend=crypto_mb"])
        ids = self.world.produce(event("app") for _ in range(200))
        wait_until(lambda: signatures(daemon, "crypto_mb", "ok") > 30, "some signatures")
        for threads in (3, 1):
            self.world.write_config(sections={"daemon": {"sign_threads": threads}})
            daemon.signal(signal.SIGHUP)
            self.world.wait_for_outcomes(ids)
            ids = self.world.produce(event("app") for _ in range(100))
        daemon.terminate()
        after = self.start()
        self.world.wait_for_outcomes(ids)
        after.terminate()
        self.world.assert_audit_passes(wait_s=30)

    def test_a_library_that_cannot_be_used(self):
        for fault, why in (("inapplicable:0", "cannot be used on this processor"), ("wrong:0", "gives wrong signatures")):
            daemon = self.start(fault, wait=False)
            self.assertEqual(daemon.wait(), EX_CONFIG)
            self.assertRegex(daemon.log_text(), f"sign_backend: crypto_mb cannot be used: libcrypto_mb.so.13 {why}")
            daemon = self.start(fault, sets=["daemon.sign_threads=1"])
            self.assertEqual(self.says(daemon), "openssl")
            self.assertRegex(daemon.log_text(), f"signed by openssl.*{why}")
            self.expect_results(20)
            daemon.terminate()


class Verifying(Signing):
    """Answers that are there together are verified together."""

    def test_wrong_results(self):
        self.expect_verified_by_openssl("verify_all", "wrong")

    def test_errors(self):
        self.expect_verified_by_openssl("verify_status", "failed")


class OneProcess(Signing):
    """The same where one process signs and verifies."""

    sets = (*Signing.sets, "daemon.sign_process=no")

    def test_wrong_results(self):
        self.expect_verified_by_openssl("verify_all", "wrong")


class OwnProcess(GoodDay):
    """The same where the keys are in a process of their own."""

    sets = (*Signing.sets, "daemon.sign_process=yes")

    def test_wrong_signatures(self):
        self.expect_fallback("wrong", "wrong")


if __name__ == "__main__":
    unittest.main()
