"""A wall clock of its own for a program, which a test sets (tests/clock/setclock.c).

    clock = WallClock(directory / "clock")
    with clock.preloaded():
        world.start_sandbox()           # what is started here goes by it
        daemon = world.start_daemon()
    clock.set(-900)                     # seconds ahead of the machine's
"""

import contextlib
import os
from pathlib import Path

from kafka_broker import ROOT

# Of our own build, also where another build's programs are tried.
LIBRARY = ROOT / "build" / "release" / "tests" / "presignd-setclock.so"


class WallClock:
    def __init__(self, path):
        self.path = Path(path)
        self.path.write_bytes(bytes(8))

    def set(self, ahead_s):
        with open(self.path, "r+b", buffering=0) as file:
            file.write(int(ahead_s * 10**9).to_bytes(8, "little", signed=True))

    @property
    def environment(self):
        return {"LD_PRELOAD": str(LIBRARY), "PRESIGND_CLOCK_FILE": str(self.path)}

    @contextlib.contextmanager
    def preloaded(self):
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            yield self
        finally:
            for name in self.environment:
                os.environ.pop(name)
                if name in before:
                    os.environ[name] = before[name]
