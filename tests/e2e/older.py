"""An older presignd and presignctl: a commit of this repository, built once into build/older/COMMIT.

What must work between versions is tested with it: a rolling upgrade, and the way back.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile

from harness import ROOT

# The oldest commit that has today's configuration keys and format of the offset metadata.
COMMIT = "63a2b834f3409f48b8abc70697a340918ef648e4"
DIRECTORY = ROOT / "build" / "older" / COMMIT[:12]
SCHEMAS = DIRECTORY / "source" / "schemas"
PRESIGND, PRESIGNCTL = DIRECTORY / "build" / "presignd", DIRECTORY / "build" / "presignctl"


class Missing(Exception):
    """The history does not have the commit, as in an export or a shallow clone."""


def _run(*command):
    done = subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}:\n{(done.stdout + done.stderr)[-4000:]}"


def _build(directory):
    source, build = directory / "source", directory / "build"
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        _run("git", "-C", ROOT, "archive", "-o", archive.name, COMMIT)
        source.mkdir(parents=True)
        _run("tar", "-xf", archive.name, "-C", source)
    # Without a preset: a newer compiler's warnings are no errors.
    _run("cmake", "-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DPRESIGND_TESTS=OFF")
    _run("cmake", "--build", build, "--parallel", os.cpu_count(), "--target", "presignd", "presignctl")


def prepare():
    """Has the programs built. Callers in other processes wait meanwhile."""
    known = subprocess.run(["git", "-C", ROOT, "cat-file", "-e", f"{COMMIT}^{{commit}}"],
                           stdin=subprocess.DEVNULL, capture_output=True)
    if known.returncode and not PRESIGNCTL.exists():
        raise Missing(f"the history has no commit {COMMIT}")
    DIRECTORY.parent.mkdir(parents=True, exist_ok=True)
    with open(DIRECTORY.with_suffix(".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not PRESIGNCTL.exists():  # the last one that is built
            shutil.rmtree(DIRECTORY, ignore_errors=True)
            _build(DIRECTORY)
