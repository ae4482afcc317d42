"""The daemon against a WeChat Pay by other people's code (tests/interop/server.py): cryptography encrypts the
lists of certificates, wechatpayv3 verifies our requests and signs its answers."""

import os
import sys
import tempfile
import unittest
from pathlib import Path

from harness import ROOT, World, event
from kafka_broker import Cluster

sys.path.insert(0, str(ROOT / "tests" / "interop"))
import sdk

VENV = Path(os.environ.get("PRESIGND_BUILD_DIR", ROOT / "build/release")) / "interop-venv"


class Independent(unittest.TestCase):
    """One daemon, from its first list to the end of the move to the public key."""

    @classmethod
    def setUpClass(cls):
        directory = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        try:
            cls.server = sdk.Server(VENV, directory)
        except sdk.Missing as missing:
            if missing.args[1] != 77:
                raise
            raise unittest.SkipTest(missing.args[0]) from missing
        cls.addClassCleanup(cls.server.close)
        cls.world = cls.enterClassContext(World(kafka=cls.enterClassContext(Cluster())))

    def start(self, *kinds):
        return self.world.start_daemon(sections={
            "endpoint": {"base_url": self.server.url, "backup_url": ""},
            f"merchant {self.server.MCHID}": self.server.merchant(*kinds)})

    def send(self, count=20):
        """Sends events; each has to end as a result with the id of its verified answer. Returns the serials
        of the answers, and what the requests asked for."""
        before = len(self.server.requests())
        sent = self.world.produce(event("app") for _ in range(count))
        outcomes = self.world.wait_for_outcomes(sent)
        requests = self.server.requests()[before:]
        ids = {request["id"]: request for request in requests if request["id"]}
        self.assertEqual([request for request in requests if not request["verified"]], [])
        answered = [ids[outcomes[name].data["pre_entrustweb_id"]] for name in sent]
        self.assertEqual({outcomes[name].reason for name in sent}, {None})
        return {request["serial"] for request in answered}, {request["asked_serial"] for request in answered}

    def test_certificates_and_the_move(self):
        serials, key_id = self.server.serials, self.server.public_key_id
        self.server.set(listed=[1, 2])
        daemon = self.start("auto")
        self.assertEqual(self.send(), ({serials["1"]}, {None}))
        self.server.set(signs=2, listed=[2])
        self.assertEqual(self.send(), ({serials["2"]}, {None}))
        self.assertEqual(daemon.terminate(), 0)
        self.server.set(signs=3, listed=[3])  # only the list itself brings the key that signs it
        daemon = self.start("auto", "public_key")
        self.assertEqual(self.send(), ({serials["3"]}, {key_id}))
        for mode in ("both", "public-key", "certificate"):
            self.server.set(mode=mode)
            self.assertEqual(self.send(), ({serials["3"] if mode == "certificate" else key_id}, {key_id}))
        self.assertEqual(daemon.terminate(), 0)
        self.world.assert_audit_passes()


if __name__ == "__main__":
    unittest.main()
