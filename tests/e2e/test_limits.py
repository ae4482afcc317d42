"""Bounds of the whole daemon: its memory under the worst input that we know, as docs/limits.md
computes it, and what it does when the system is short of something."""

import json
import os
import pathlib
import re
import resource
import tempfile
import unittest

from harness import ROOT, World, event, wait_until

MIB = 2**20


def ceiling(**configuration):
    """What docs/limits.md computes for this configuration, by the very lines that stand there."""
    text = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names = dict(configuration)
    exec(lines, {"min": min}, names)  # pylint: disable=exec-used
    return names["ceiling"]


def memory(daemon, name="VmHWM"):
    """In bytes, as the kernel counts it: VmHWM is the most that was resident."""
    with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as status:
        return int(re.search(rf"^{name}:\s+(\d+) kB", status.read(), re.MULTILINE)[1]) * 1024


def padded(endpoint, size, **attributes):
    """A good event that is `size` bytes long, by an attribute that means nothing."""
    key, value, headers = event(endpoint, padding="", **attributes)
    room = size - len(value) - len(key) - sum(len(name) + len(text) for name, text in headers)
    return key, value.replace(b'"padding": ""', b'"padding": "' + b"x" * room + b'"'), headers


def bombs():
    """Records that cost the most memory for their size, as far as known."""
    largest = MIB - 2000
    yield b"k", b"x" * largest, []  # over max_event_bytes, of which the original is published in part
    yield b"k", b"[" + b"{}," * 21_000 + b"{}]", []  # a tree of objects
    yield b"k", b"{}", [("", b"")] * 300_000  # headers that count as nothing
    yield b"k", b"\x01" * 65_000, []  # each byte is six in the outcome
    yield b"k", b"\xff" * 65_000, []
    key, value, headers = event("app")
    yield key, value[:-2] + b"".join(b', "%s": 1' % (b"m%d" % n) for n in range(4_000)) + b"}}", headers


class Memory(unittest.TestCase):
    def test_the_worst_input_stays_below_what_the_document_computes(self):
        with World(partitions=2) as world:
            world.start_sandbox(faults=["huge=0.5"])
            daemon = world.start_daemon(
                sets=["endpoint.max_connections=512", "retry.max_attempts=2"])
            idle = memory(daemon)
            # Nobody answers: events pile up until the bounds stop the reading.
            world.sandbox.suspend()
            sent = []
            for _ in range(2):
                sent += world.produce(padded("app", 65_000, mchid="1900007291") for _ in range(120))
                sent += world.produce(bombs())
            wait_until(lambda: daemon.metrics()['presignd_jobs{state="calling"}'] > 0, "calls")
            world.sandbox.resume()
            world.wait_for_outcomes(sent)
            limit = ceiling(max_in_flight=512, max_connections=512, max_event_bytes=65536,
                            queued_max_messages_kbytes=8192, message_max_bytes=MIB, partitions=2,
                            merchants=len(world.sandbox.merchants()), sign_threads=os.cpu_count())
            peak = memory(daemon)
            print(f"idle {idle // MIB} MiB, peak {peak // MIB} MiB, computed {limit // MIB} MiB")
            self.assertLess(peak, limit)


def with_pattern(directory, pattern):
    """A directory whose common.json asks `pattern` of each out_user_code, whatever its length."""
    common = json.loads((ROOT / "schemas" / "common.json").read_text(encoding="utf-8"))
    common["$defs"]["out_user_code"] = {"pattern": pattern}
    (directory / "common.json").write_text(json.dumps(common), encoding="utf-8")


class Cost(unittest.TestCase):
    """Events whose check is dear hold up no others. `schema.cost` counts what they cost."""

    def flood(self, world, **data):
        """Dear events in one partition, good ones in another: all good ones have their result."""
        dear = world.produce((event("app", data=data) for _ in range(3000)), partition=0)
        good = world.produce((event("app") for _ in range(50)), partition=1)
        outcomes = world.wait_for_outcomes(good)
        self.assertEqual({outcome.reason for outcome in outcomes.values()}, {None})
        return world.wait_for_outcomes(dear).values()

    def test_a_text_that_the_shipped_pattern_does_not_match(self):
        with World(partitions=2) as world:
            world.start_sandbox()
            world.start_daemon()
            outcomes = self.flood(world, contract_notify_url="https://" + "a" * 1400 + "?")
            self.assertEqual({outcome.reason for outcome in outcomes}, {"invalid_request"})

    def test_a_pattern_of_the_operator_that_backtracks(self):
        with World(partitions=2) as world, tempfile.TemporaryDirectory() as directory:
            with_pattern(pathlib.Path(directory), "^(?:a|aa)+$")
            world.start_sandbox()
            world.start_daemon(sets=[f"daemon.schema_dir={directory}:{ROOT / 'schemas'}"])
            outcomes = self.flood(world, out_user_code="a" * 1400 + "?")
            errors = {error["error"] for outcome in outcomes for error in outcome.event["data"]["errors"]}
            self.assertEqual(errors, {"takes too many steps to compare with the pattern"})


# A command whose stderr is a pipe that is full, and that nobody reads.
UNREAD = """
import os, sys
reader, writer = os.pipe()
os.set_blocking(writer, False)
try:
    while True:
        os.write(writer, b"x" * 4096)
except BlockingIOError:
    pass
os.set_blocking(writer, True)
os.set_inheritable(reader, True)
os.dup2(writer, 2)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class ShortOf(unittest.TestCase):
    """The system has no more of something; no event fails for it, and it passes when that does."""

    def test_a_log_that_nobody_reads(self):
        with World(partitions=1) as world:
            world.start_sandbox()
            daemon = world.start_daemon(wrapper=["/usr/bin/python3", "-c", UNREAD])
            outcomes = world.wait_for_outcomes(world.produce([event("app"), (b"k", b"no event", []), event("app")]))
            self.assertEqual(sorted(str(o.reason) for o in outcomes.values()), ["None", "None", "invalid_json"])
            self.assertGreater(daemon.metrics()["presignd_log_lines_dropped_total"], 0)
            self.assertEqual(daemon.terminate(), 0)

    def test_a_log_that_cannot_be_written_and_descriptors_that_are_used_up(self):
        with World(partitions=1) as world:
            world.start_sandbox()
            full = ["sh", "-c", 'exec "$@" 2>/dev/full', "sh"]
            daemon = world.start_daemon(wrapper=full)
            wrong = (b"k", b"no event", [])
            outcomes = world.wait_for_outcomes(world.produce([event("app"), wrong, event("app")]))
            self.assertEqual(sorted(str(o.reason) for o in outcomes.values()),
                             ["None", "None", "invalid_json"])

            self.assertEqual(daemon.terminate(), 0)

            # One attempt: a shortage uses up none.
            daemon = world.start_daemon(sets=["retry.max_attempts=1"])
            was = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (3, was[1]))
            sent = world.produce([event("app") for _ in range(20)])
            daemon.wait_for_log("no file descriptor is left")
            resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, was)
            outcomes = world.wait_for_outcomes(sent)
            self.assertEqual([o.reason for o in outcomes.values()], [None] * 20)
            self.assertEqual(daemon.terminate(), 0)
            world.assert_audit_passes()


if __name__ == "__main__":
    unittest.main()
