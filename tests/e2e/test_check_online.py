"""`presignctl check --online` on a real Kafka and the sandbox: what it finds, and that it harms no
running daemon."""

import json
import os
import socket
import subprocess
import unittest

import auditor
from harness import ROOT, event, http_get
from kafka_broker import free_ports
from user_case import USER, UserCase


class CheckOnline(UserCase):

    def check(self, *options, sections=None):
        """(status, the findings by (check, subject))."""
        config = self.world.write_config(sections=sections)
        done = self.world.ctl("check", "--online", "--json", "-c", config, *options)
        document = json.loads(done.stdout)
        self.assertEqual(document["ok"], done.returncode == 0, done.stderr)
        for finding in document["findings"]:
            self.assertLessEqual({"check", "severity", "is"}, finding.keys())
            self.assertIn(finding["severity"], ("error", "warning", "ok", "unknown"))
            if finding["severity"] != "ok":
                self.assertTrue(finding.get("mend"), finding)
        return done.returncode, {(f["check"], f.get("subject")): f for f in document["findings"]}

    def severities(self, found):
        return {key: finding["severity"] for key, finding in found.items()}

    def deny(self, resource):
        """The broker permits what no ACL names. An ACL for another user denies it to us."""
        self.acls.add(f"User:another {resource}")
        self.addCleanup(self.acls.remove, f"User:another {resource}")

    def test_beside_a_running_daemon_that_notices_nothing(self):
        daemon = self.world.start_daemon()
        self.world.wait_for_outcomes(self.world.produce(event() for _ in range(3)))
        before = {name: value for name, value in daemon.metrics().items() if "rebalances" in name}
        status, found = self.check()
        self.assertEqual(status, 0, found)
        severities = self.severities(found)
        self.assertLessEqual({"brokers", "transactions", "fencing", "topics", "leaders", "rights", "metadata_bytes",
                              "hosts", "clock", "merchant"}, {check for check, _ in severities})
        self.assertNotIn("static_membership", {check for check, _ in severities})
        self.assertLessEqual({*severities.values()}, {"ok", "unknown"}, found)
        self.assertEqual(severities["merchant", "1900007291"], "ok")
        self.assertEqual(severities["merchant", "1900007291: WeChat Pay's key"], "ok")
        for name in (auditor.RESULTS, auditor.FAILURES):
            self.assertEqual(severities["rights", f"Write topic {self.world.topics[name]}"], "ok")
        self.world.wait_for_outcomes(self.world.produce(event() for _ in range(3)))
        self.assertEqual({name: value for name, value in daemon.metrics().items() if "rebalances" in name}, before)
        self.assertEqual(http_get(f"{daemon.admin}/readyz")[0], 200)
        self.assertEqual(len(self.world.outcomes()), 6)
        self.world.assert_audit_passes()
        self.assertNotRegex(daemon.log_text(), "fenced|replaced")
        self.assertEqual(daemon.terminate(), 0)

    def test_several_at_the_same_time_call_nothing_wrong(self):
        # Each takes the same transactional.id. Six, because two rarely meet.
        config = self.world.write_config()
        checks = [subprocess.Popen([self.world.build / "presignctl", "check", "--online", "-c", config],
                                   stdout=subprocess.PIPE, text=True) for _ in range(6)]
        told = [check.communicate(timeout=180)[0] for check in checks]
        self.assertEqual({check.returncode for check in checks}, {0}, "\n".join(told))

    def test_the_text_says_the_same_and_what_to_do(self):
        topic = self.world.topics[auditor.RESULTS]
        self.kafka.delete_topic(topic)
        config = self.world.write_config()
        done = self.world.ctl("check", "--online", "-c", config)
        self.assertEqual(done.returncode, 65, done.stderr)
        text = done.stdout.decode()
        self.assertIn("✓ fencing: ", text)
        self.assertIn(f"✗ topics {topic}: ", text)
        self.assertIn("    create it: presignctl topics --create\n", text)

    def test_a_transactional_id_that_is_denied(self):
        self.deny("TRANSACTIONAL_ID LITERAL presignd-1-check WRITE")
        status, found = self.check(sections=self.as_user())
        self.assertEqual(status, 65)
        self.assertEqual(found["transactions", None]["severity"], "error")
        self.assertIn("--transactional-id presignd-1-check",
                      found["rights", "Write transactional-id presignd-1-check"]["mend"])

    def test_a_right_to_write_that_is_missing(self):
        topic = self.world.topics[auditor.RESULTS]
        self.deny(f"TOPIC LITERAL {topic} WRITE")
        self.acls.add(f"User:{USER} TOPIC LITERAL {topic} DESCRIBE")
        self.addCleanup(self.acls.remove, f"User:{USER} TOPIC LITERAL {topic} DESCRIBE")
        status, found = self.check(sections=self.as_user())
        self.assertEqual(status, 65, found)
        self.assertEqual(found["rights", f"Write topic {topic}"]["severity"], "error", found)

    def test_no_broker(self):
        status, found = self.check("--timeout-ms", "1000", sections={
            "kafka": {"bootstrap.servers": f"127.0.0.1:{free_ports(1)[0]}"}})
        self.assertEqual(status, 69)
        self.assertEqual(found["brokers", None]["severity"], "error")
        self.assertEqual(found["merchant", "1900007291"]["severity"], "ok")

    def test_no_host(self):
        self.world.sandbox.terminate()
        status, found = self.check("--timeout-ms", "3000")
        self.assertEqual(status, 69)
        self.assertEqual({f["severity"] for (check, _), f in found.items() if check == "hosts"}, {"error"})
        self.assertIn("TCP fails: ", found["hosts", f"https://127.0.0.1:{self.world.sandbox.port}"]["is"])
        self.assertEqual(found["clock", None]["severity"], "unknown")
        self.assertEqual(found["merchant", "1900007291"]["severity"], "unknown")
        self.assertEqual(found["fencing", None]["severity"], "ok")

    def test_a_host_is_tried_step_by_step(self):
        """DNS, TCP, TLS and HTTP fail apart from each other."""
        other = self.world.directory / "other-ca.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "/dev/null", "-out",
                        other, "-subj", "/CN=other"], check=True, capture_output=True)
        real = f"https://127.0.0.1:{self.world.sandbox.port}"
        silent = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        port = silent.getsockname()[1]
        for url, more, word, mend in (
                ("https://presignd-check.invalid", (), "DNS fails: ", "getent hosts"),
                (f"https://127.0.0.1:{free_ports(1)[0]}", (), "TCP fails: ", "firewalls"),
                (real, ("--set", f"endpoint.ca_file={other}"), "TLS fails: ", "ca_file"),
                (f"https://127.0.0.1:{port}", ("--timeout-ms", "1000"), "TLS fails: ", "ca_file"),
                (f"http://127.0.0.1:{port}", ("--timeout-ms", "1000"), "HTTP fails: ", "gateway"),
                (real, ("--set", f"endpoint.proxy=http://127.0.0.1:{port}", "--timeout-ms", "1000"), "proxy fails: ", "proxy")):
            _, found = self.check("--set", f"endpoint.base_url={url}", *more)
            self.assertEqual(found["hosts", url]["severity"], "error", found["hosts", url])
            self.assertIn(word, found["hosts", url]["is"])
            self.assertIn(mend, found["hosts", url]["mend"])

    def test_many_merchants(self):
        mchids = [str(1900008000 + n) for n in range(40)]
        self.world.start_sandbox(merchants=mchids)
        self.addCleanup(self.world.start_sandbox)
        status, found = self.check()
        self.assertEqual(status, 0, found)
        self.assertEqual({found["merchant", mchid]["severity"] for mchid in mchids}, {"ok"})

    def test_when_certificates_expire(self):
        merchant, day = "1900007291", 24 * 3600
        for number, days in ((2, 10), (3, 100), (4, -1)):
            self.world.sandbox.set(mchid=merchant, accepted=[*range(1, number + 1)], merchant_certificate={
                "number": number, "key": 1, "starts_in_s": -10 * day, "ends_in_s": days * day + 3600})
        for number, status, severity, days in ((2, 0, "warning", "in 10 days"), (3, 0, "ok", "in 100 days"),
                                               (4, 78, "error", "expired at")):
            path = self.world.sandbox.directory / f"merchant-{merchant}-{number}-certificate.pem"
            got, found = self.check("--set", f"merchant {merchant}.certificate={path}",
                                    "--set", f"merchant {merchant}.serial_no=")
            finding = found["merchant", f"{merchant}: certificate"]
            self.assertEqual((got, finding["severity"]), (status, severity), found)
            self.assertIn(days, finding["is"])
        self.assertEqual(found["merchant", merchant]["severity"], "ok")  # the sandbox looks at no time

    def test_a_key_that_is_not_the_merchants(self):
        config = self.world.write_config()
        key = self.world.directory / "other.pem"
        subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-out", key], check=True, capture_output=True)
        done = self.world.ctl("check", "--online", "--json", "-c", config,
                              "--set", f"merchant 1900007291.private_key={key}")
        found = {(f["check"], f.get("subject")): f for f in json.loads(done.stdout)["findings"]}
        self.assertEqual(done.returncode, 65)
        self.assertEqual(found["merchant", "1900007291"]["severity"], "error")
        self.assertIn("401 SIGN_ERROR", found["merchant", "1900007291"]["is"])
        self.assertEqual(found["merchant", "1900007291: WeChat Pay's key"]["severity"], "ok")

    @unittest.skipIf(os.geteuid(), "it needs a mount namespace")
    def test_what_the_units_service_may_read(self):
        """In an /etc of its own, where the unit and its configuration are installed."""
        key = self.world.directory / "sandbox/merchant-1900007291.pem"
        config = self.world.write_config(sections={"kafka": {"ssl.ca.location": "/etc/presignd/ca.pem"}})
        text = config.read_text().replace(str(key), "@merchant.pem")
        text = text.replace("schema_dir = " + str(ROOT / "schemas"), "schema_dir = /etc/presignd/schemas")
        (self.world.directory / "unit.conf").write_text(text)
        script = f"""
            mkdir -p /tmp/presignd-check-etc && mount -t tmpfs none /tmp/presignd-check-etc
            cp /etc/passwd /etc/group /tmp/presignd-check-etc/
            mount --move /tmp/presignd-check-etc /etc
            mkdir -p /etc/presignd /etc/systemd/system/presignd.service.d
            cp -r {ROOT}/schemas /etc/presignd/schemas
            cp {self.world.directory}/unit.conf /etc/presignd/presignd.conf
            install -m 0600 {self.world.directory}/sandbox/ca.pem /etc/presignd/ca.pem
            cp {self.world.build}/systemd/presignd.service /etc/systemd/system/
            printf '[Service]\\nLoadCredential=other.pem:/x\\nLimitNOFILE=300\\n' >/etc/systemd/system/presignd.service.d/1.conf
            mkdir /etc/keys && cp {key} /etc/keys/merchant.pem
            export CREDENTIALS_DIRECTORY=/etc/keys
            {self.world.build}/presignctl check --online --json --timeout-ms 1000 >$1/1.json || echo $?
            printf 'LoadCredential = \\\\\\n# why\\n  merchant.pem:/y\\n' >>/etc/systemd/system/presignd.service.d/1.conf
            printf 'SupplementaryGroups=other presignd-keys\\n' >>/etc/systemd/system/presignd.service.d/1.conf
            echo 'presignd-keys:x:4242:' >>/etc/group
            chgrp presignd-keys /etc/presignd/ca.pem && chmod 640 /etc/presignd/ca.pem
            {self.world.build}/presignctl check --online --json --timeout-ms 1000 >$1/2.json || echo $?
            printf 'ProtectHome=no\\nPrivateTmp=no\\nGroup=keys\\n' >>/etc/systemd/system/presignd.service.d/1.conf
            echo 'keys:x:4243:' >>/etc/group
            chmod 640 /etc/presignd/presignd.conf && chgrp keys /etc/presignd/presignd.conf
            chmod 600 /etc/presignd/schemas/result.json
            {self.world.build}/presignctl check --online --json --timeout-ms 1000 >$1/3.json || echo $?
            mv /etc/presignd/presignd.conf /etc/presignd/b.conf
            sed 's,^ExecStart=.*,& -c /etc/presignd/%i.conf,' {self.world.build}/systemd/presignd@.service \\
                >/etc/systemd/system/presignd@.service
            {self.world.build}/presignctl check -c /etc/presignd/b.conf --online --json --timeout-ms 1000 >$1/4.json || echo $?
        """
        done = subprocess.run(["unshare", "--mount", "--propagation", "private", "bash", "-euc", script, "-",
                               self.world.directory], capture_output=True, text=True)
        self.assertEqual(done.stderr, "")
        documents = [json.loads((self.world.directory / f"{n}.json").read_text()) for n in (1, 2, 3, 4)]
        first, second, third, fourth = (
            {f.get("subject"): f for f in document["findings"] if f["check"] == "files"} for document in documents)
        self.assertEqual(first["configuration"]["severity"], "ok")
        (warning,) = (each for each in documents[0]["warnings"] if "max_connections" in each)
        self.assertIn("presignd.service may open (300)", warning)
        self.assertIn("Permission denied", first["kafka.ssl.ca.location"]["is"])
        self.assertEqual(first["kafka.ssl.ca.location"]["severity"], "error")
        self.assertIn("LoadCredential=merchant.pem:", first["merchant 1900007291.private_key"]["mend"])
        self.assertEqual(second["kafka.ssl.ca.location"]["severity"], "ok")
        self.assertEqual(second["merchant 1900007291.private_key"]["severity"], "ok")
        self.assertEqual(second["daemon.schema_dir"]["severity"], "ok")
        hidden = second["merchant 1900000109.private_key"]
        self.assertEqual(hidden["severity"], "error")
        self.assertIn("PrivateTmp=", hidden["is"])
        self.assertNotIn("PrivateTmp=", third["merchant 1900000109.private_key"]["is"])
        self.assertEqual(third["configuration"]["severity"], "ok")
        self.assertIn("/result.json: Permission denied", third["daemon.schema_dir"]["is"])
        self.assertIn("systemctl edit presignd@.service", fourth["merchant 1900007291.private_key"]["mend"])
        for finding in (*first.values(), *second.values(), *third.values(), *fourth.values()):
            self.assertEqual("mend" in finding, finding["severity"] != "ok", finding)

    def test_a_wrong_configuration(self):
        done = self.world.ctl("check", "--online", "--json", "-c", self.world.directory / "none.conf")
        self.assertEqual(done.returncode, 78)


if __name__ == "__main__":
    unittest.main()
