"""platform_certificates = auto: the list is downloaded, kept as it came, and it is told when that does
not work. What events feel of it is in test_keys.py."""

import json
import re
import signal
import stat
import unittest

from harness import World, event, http_get, wait_until

MERCHANT, OTHER = "1900007291", "1900000109"


class Lists(unittest.TestCase):
    """A merchant with automatic certificates and, unless a test gives it one, without a public key."""

    def setUp(self):
        self.world = self.enterContext(World(partitions=1))
        self.world.start_sandbox(options=["--serial-mode", "certificate"])
        self.state = self.world.directory / "state"
        self.kept = self.state / f"certificates-{MERCHANT}.json"
        self.key = self.world.sandbox.directory / f"apiv3-{MERCHANT}.key"

    def start(self, *sets, wait=True):
        other = self.world.sandbox.directory / "wechatpay-certificate.pem"  # one merchant is enough
        automatic = [f"merchant {MERCHANT}.platform_certificates=auto", f"daemon.state_dir={self.state}",
                     f"merchant {OTHER}.platform_certificates={other}"]
        self.state.mkdir(mode=0o700, exist_ok=True)
        return self.world.start_daemon(sets=[*automatic, *sets], wait=wait)

    def refreshes(self, daemon, end):
        name = f'presignd_certificate_refreshes_total{{mchid="{MERCHANT}",end="{end}"}}'
        return daemon.metrics()[name]

    def wait_for_refresh(self, daemon, end, count=1):
        wait_until(lambda: self.refreshes(daemon, end) >= count, lambda: f"{end}: {daemon.log_text()[-2000:]}")

    def status(self, daemon):
        return json.loads(http_get(f"{daemon.admin}/status.json")[1])

    def merchant(self, daemon):
        return next(one for one in self.status(daemon)["merchants"] if one["mchid"] == MERCHANT)

    def alerts(self, daemon):
        return {one["alert"]: one for one in self.status(daemon)["attention"]}

    def assert_succeeds(self, count=1):
        sent = self.world.produce(event("app", mchid=MERCHANT) for _ in range(count))
        for outcome in self.world.wait_for_outcomes(sent).values():
            self.assertIsNone(outcome.reason, outcome.data)

    def reload(self, daemon):
        count = daemon.log_text().count("the new configuration is in use")
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: daemon.log_text().count("the new configuration is in use") > count, "a reload")

    def test_a_list_is_kept_as_it_came_and_used_without_network(self):
        daemon = self.start()
        self.wait_for_refresh(daemon, "ok")
        self.assert_succeeds()
        self.assertIn("certificates_at", self.merchant(daemon))
        self.assertNotIn("certificates_trouble", self.merchant(daemon))
        expiry = [name for name in daemon.metrics() if name.startswith("presignd_certificate_expiry_timestamp_seconds")]
        self.assertTrue(any('kind="platform"' in name and MERCHANT in name for name in expiry), expiry)
        self.assertRegex(daemon.log_text(), r"the platform certificates are now [0-9A-F]+")
        self.assertEqual(daemon.terminate(), 0)

        self.assertEqual(stat.S_IMODE(self.kept.stat().st_mode), 0o600)
        text = self.kept.read_text()
        self.assertIn("encrypt_certificate", text)
        self.assertNotIn("BEGIN", text)

        self.world.sandbox.set(list="503")
        daemon = self.start()
        self.wait_for_refresh(daemon, "unreachable")
        self.assert_succeeds()
        self.assertIn("no host of WeChat Pay gave", self.merchant(daemon)["certificates_trouble"])
        self.assertEqual(self.alerts(daemon)["PresigndCertificatesStale"]["subject"], MERCHANT)
        self.assertRegex(daemon.log_text(), r"not refreshed: unreachable: no host .*\(HTTP 503\)")
        self.world.sandbox.set(list="")
        self.reload(daemon)  # what had failed is tried at once
        self.wait_for_refresh(daemon, "ok")
        self.assertNotIn("PresigndCertificatesStale", self.alerts(daemon))
        self.assertRegex(daemon.log_text(), "are refreshed again")

    def test_what_the_key_of_today_does_not_open_is_not_trusted(self):
        daemon = self.start()
        self.wait_for_refresh(daemon, "ok")
        other = "ABCDEFGHIJ0123456789abcdefghij01"
        self.world.sandbox.set(apiv3_key=other)
        self.key.write_text(other)
        self.world.sandbox.set(list="delay:600000")
        self.reload(daemon)
        wait_until(lambda: MERCHANT not in "".join(
            name for name in daemon.metrics() if 'expiry_timestamp' in name and 'kind="platform"' in name),
            "the old list is dropped")
        self.world.sandbox.set(list="")
        sent = self.world.produce([event("app", mchid=MERCHANT)])
        self.reload(daemon)
        daemon.kill()

        # A list under a key that the merchant does not have: somebody planted it, or the key was changed.
        self.world.sandbox.set(list="503")
        self.key.write_text("x" * 32)
        daemon = self.start()
        self.wait_for_refresh(daemon, "unreachable")
        self.assertNotIn(f'kind="platform",', "".join(
            name for name in daemon.metrics() if MERCHANT in name and 'expiry_timestamp' in name))
        wait_until(lambda: self.merchant(daemon)["state"] == "held", "held before the first call")
        self.world.sandbox.set(list="")
        self.reload(daemon)
        self.wait_for_refresh(daemon, "undecryptable")
        self.assertIn("does not open with apiv3_key", self.merchant(daemon)["certificates_trouble"])
        self.assertRegex(daemon.log_text(), r"give the APIv3 key .*\(HTTP 200\)")
        self.key.write_text(other)
        self.reload(daemon)
        self.wait_for_refresh(daemon, "ok")
        for outcome in self.world.wait_for_outcomes(sent).values():
            self.assertIsNone(outcome.reason, outcome.data)
        self.assertNotIn(other, daemon.log_text() + self.kept.read_text())

    def test_what_a_merchant_without_automatic_certificates_leaves_is_removed(self):
        gone = self.state / "certificates-1900000999.json"
        self.state.mkdir(mode=0o700)
        for left in (gone, self.kept.with_suffix(".json.new")):
            left.write_text("{}")
        daemon = self.start()
        self.wait_for_refresh(daemon, "ok")
        wait_until(self.kept.exists, "the list")
        self.assertEqual([path.name for path in self.state.glob("certificates-*")], [self.kept.name])
        self.assertEqual(daemon.terminate(), 0)
        daemon = self.start(f"merchant {MERCHANT}.platform_certificates={self.world.sandbox.directory}/wechatpay-certificate.pem")
        self.assertFalse(self.kept.exists())
        self.assertNotIn("presignd_certificate_refreshes_total", "".join(daemon.metrics()))

    def test_an_element_that_cannot_be_used_is_told(self):
        daemon = self.start()
        self.wait_for_refresh(daemon, "ok")
        self.assertEqual(daemon.terminate(), 0)
        self.assertNotIn("cannot be used", daemon.log_text())
        self.world.sandbox.set(list="list-odd")
        daemon = self.start()  # has the keys of the usable ones already
        self.wait_for_refresh(daemon, "ok")
        daemon.wait_for_log(f"merchant {MERCHANT}: [0-9]+ elements of the certificate list cannot be used: ", 10)
        self.assert_succeeds()

    def test_a_disk_that_refuses_and_merchants_without_certificates(self):
        self.state.mkdir(mode=0o700)
        self.kept.mkdir()
        daemon = self.start()
        self.wait_for_refresh(daemon, "ok")
        self.assert_succeeds()
        self.reload(daemon)
        self.assertEqual(len(re.findall(r"certificates-\d+\.json", daemon.log_text())), 1, daemon.log_text())
        self.world.sandbox.set(list="404")
        daemon.terminate()
        self.kept.rmdir()

        daemon = self.start()
        self.wait_for_refresh(daemon, "none")
        self.assertIn("configure wechatpay_public_key", self.merchant(daemon)["certificates_trouble"])
        daemon.terminate()
        self.world.start_sandbox(options=["--serial-mode", "both"])  # its configuration has the public key
        for error in ("404", "500"):
            self.world.sandbox.set(list=error)
            daemon = self.start()
            self.wait_for_refresh(daemon, "none")
            self.assertNotIn("certificates_trouble", self.merchant(daemon))
            self.assertNotIn("PresigndCertificatesStale", self.alerts(daemon))
            daemon.terminate()

    def check(self, *sets):
        config = self.world.write_config()
        options = [word for value in [f"merchant {MERCHANT}.platform_certificates=auto", *sets] for word in ("--set", value)]
        done = self.world.ctl("check", "--online", "--json", "-c", config, *options)
        findings = json.loads(done.stdout)["findings"]
        return done.returncode, {one.get("subject"): one for one in findings}

    def test_presignctl_names_the_kind_of_key_that_is_missing(self):
        self.world.start_sandbox(options=["--serial-mode", "both"])
        section = f"merchant {MERCHANT}"
        file = self.world.sandbox.directory / "wechatpay-certificate.pem"
        for signs, sets, mend in (
                ("certificate", [f"{section}.platform_certificates=off"], "give platform_certificates = auto"),
                ("public-key", [f"{section}.platform_certificates={file}", f"{section}.wechatpay_public_key=",
                                f"{section}.wechatpay_public_key_id="], "give wechatpay_public_key and")):
            with self.subTest(signs):
                self.world.sandbox.set(serial_mode=signs)
                status, found = self.check(*sets)
                self.assertEqual(status, 65, found)
                self.assertIn(mend, found[f"{MERCHANT}: WeChat Pay's key"]["mend"])

    def test_presignctl_says_what_the_platform_has(self):
        self.world.sandbox.set(listed=[1, 2])
        status, found = self.check()
        lists = found[f"{MERCHANT}: platform certificates"]
        self.assertEqual((status, lists["severity"]), (0, "ok"), found)
        self.assertEqual(len(re.findall(r"[0-9A-F]{32,40} from \S+ until \S+", lists["is"])), 2, lists)
        self.assertEqual(found[f"{MERCHANT}: WeChat Pay's key"]["severity"], "ok")

        config = self.world.write_config()
        key, value, _ = event("app", mchid=MERCHANT)
        call = ["call", "-c", config, "--set", f"merchant {MERCHANT}.platform_certificates=auto"]
        done = self.world.ctl(*call, stdin=value)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"platform certificates: ok\n", done.stderr)

        self.world.sandbox.set(apiv3_key="x" * 32)
        status, found = self.check()
        lists = found[f"{MERCHANT}: platform certificates"]
        self.assertEqual((status, lists["severity"]), (65, "error"), found)
        self.assertIn("does not open with apiv3_key", lists["is"])
        self.assertIn("give the APIv3 key", lists["mend"])
        self.assertIn("give the APIv3 key", found[f"{MERCHANT}: WeChat Pay's key"]["mend"])
        done = self.world.ctl(*call, "--set", "retry.max_attempts=1", stdin=value)
        self.assertEqual(done.returncode, 75, done.stderr)
        self.assertIn(b"platform certificates: undecryptable: ", done.stderr)
        self.world.sandbox.set(list="404")
        status, found = self.check()
        lists = found[f"{MERCHANT}: platform certificates"]
        self.assertEqual((status, lists["severity"]), (65, "error"), found)
        self.assertIn("has none for this merchant", lists["is"])

        done = self.world.ctl("check", "-c", config, "--set", f"merchant {MERCHANT}.platform_certificates=auto",
                              "--set", f"merchant {MERCHANT}.apiv3_key=")
        self.assertEqual(done.returncode, 78)
        self.assertIn(b"apiv3_key is missing", done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
