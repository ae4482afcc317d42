"""The SDKs of WeChat Pay, installed at test time. Without them a test is skipped (77), or fails with
PRESIGND_REQUIRE_SUITES=1 in the environment."""

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
    if not ready.exists():
        for command in ([sys.executable, "-m", "venv", "--clear", str(venv)],
                        [str(python), "-m", "pip", "install", "--quiet",
                         "--disable-pip-version-check", *REQUIREMENTS]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                skip("wechatpayv3 cannot be had: " + (done.stderr or done.stdout).strip().splitlines()[-1])
        ready.touch()
    os.execv(python, [str(python), "-B", *sys.argv, "--in-venv"])


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
