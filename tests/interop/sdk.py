"""The SDKs of WeChat Pay, installed at test time. Without them a test is skipped (77), or fails with
PRESIGND_REQUIRE_SUITES=1 in the environment."""

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = ["wechatpayv3~=2.0"]
# What go says when its modules do not come.
UNFETCHED = re.compile(r"dial tcp|i/o timeout|TLS handshake|connection reset|unexpected EOF|: 5\d\d ")


def skip(why):
    print(f"SKIPPED, NOTHING WAS TESTED: {why}")
    sys.exit(1 if os.environ.get("PRESIGND_REQUIRE_SUITES") == "1" else 77)


def enter_venv(venv):
    """Starts this program again by the Python of the directory `venv`, which has wechatpayv3."""
    if "--in-venv" in sys.argv:
        sys.argv.remove("--in-venv")
        return
    python = venv / "bin" / "python3"
    ready = venv / "ready"
    venv.parent.mkdir(parents=True, exist_ok=True)
    with open(venv.with_suffix(".lock"), "w") as lock:  # tests run at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            for command in ([sys.executable, "-m", "venv", "--clear", str(venv)],
                            [str(python), "-m", "pip", "install", "--quiet",
                             "--disable-pip-version-check", *REQUIREMENTS]):
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    skip("wechatpayv3 cannot be had: " + (done.stderr or done.stdout).strip().splitlines()[-1])
            ready.touch()
    os.execv(python, [str(python), "-B", *sys.argv, "--in-venv"])


class Server:
    """A running server.py: WeChat Pay for one merchant. `port` and the like are those that it prints."""

    MCHID = "1900007291"

    def __init__(self, venv, directory):
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, "-B", Path(__file__).parent / "server.py", venv, directory], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        if not line.startswith("{"):
            raise Missing(line.strip(), self.process.wait())
        for name, value in json.loads(line).items():
            setattr(self, name, value)

    def set(self, **change):
        """Changes members of the state (server.py)."""
        self.process.stdin.write(json.dumps(change) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def merchant(self, *kinds):
        """{key: value} of [merchant …], which verifies by these kinds: public_key, certificates, auto."""
        keys = {"mode": "direct", "certificate": self.directory / "certificate.pem",
                "private_key": self.directory / "merchant.pem"}
        if "public_key" in kinds:
            keys |= {"wechatpay_public_key_id": self.public_key_id,
                     "wechatpay_public_key": self.directory / "public.pem"}
        if "certificates" in kinds:
            keys["platform_certificates"] = self.directory / "platform-1.pem"
        if "auto" in kinds:
            keys |= {"platform_certificates": "auto", "apiv3_key": self.directory / "apiv3.key"}
        return keys

    def requests(self):
        """Oldest first."""
        path = self.directory / "requests.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Missing(Exception):
    """What the server said instead of its first line, and its exit status."""


def go_client(cache):
    """The program of go/, built with its modules in `cache`."""
    cache.mkdir(exist_ok=True)
    environment = {**os.environ, "GOMODCACHE": str(cache / "modules"), "GOCACHE": str(cache / "build"),
                   "GOFLAGS": "-modcacherw -buildvcs=false", "CGO_ENABLED": "0"}
    for _ in range(3):  # go gives up at the first error of the network
        try:
            built = subprocess.run(["go", "build", "-o", cache / "client", "."], cwd=Path(__file__).parent / "go",
                                   env=environment, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            skip("there is no go here: apt-get install golang-go")
        if not built.returncode or not UNFETCHED.search(built.stderr):
            break
    else:
        skip(f"the SDK's Go module cannot be fetched: {built.stderr}")
    assert built.returncode == 0, built.stderr
    return cache / "client"
