"""The CPU time of an event, compared with its lower bound: scripts/bench runs this.

One run measures, side by side on one machine: the two signatures and bare libcurl, then
presignd between a real Apache Kafka and the sandbox endpoint. docs/performance.md says how to
read the figures. Everything is bounded and ends with this process.
"""

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

# pylint: disable=wrong-import-position
from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition
from confluent_kafka.admin import ConfigResource

from harness import BUILD, World, event, http_get
from kafka_broker import Cluster

DIRECT, PARTNER = "1900007291", "1900000109"
EVENTS_TOTAL = re.compile(r"^presignd_events_total")
WARM_EVENTS = 1000
# µs per event, as a multiple of the floor: with libcrypto_mb by processor, else with OpenSSL.
CRYPTO_MB_RATIO = {"GenuineIntel": 0.75, "AuthenticAMD": 0.85}
OPENSSL_RATIO = 1.18
LOOP_US = 115
IDLE_PERCENT = 0.15
SETTLE_S = 10  # until what a start begins has ended
# At 100 events/s; before 2.4 librdkafka spins.
LOW_RATE_US, LOW_RATE_OLD_US = 1000, 2000
LIBRARY_ROUNDS = 3
PROCESS_RATIO = 1.05
LATENCY_P50_MS, LATENCY_P99_MS = 15, 50
RSS_MIB = 64


class Scale:
    """How long the parts of a run take."""

    def __init__(self, quick):
        self.exchanges = 2000 if quick else 6000
        self.events = 6000 if quick else 20000
        self.depths = (1000, 10000) if quick else (1000, 10000, 100000)
        self.latency_s = 8 if quick else 30
        self.slow_s = 8 if quick else 20
        self.idle_s = 15 if quick else 60
        self.threads_s = 1 if quick else 5
        self.pairs = 3 if quick else 5
        self.pair_events = 4000 if quick else 8000
        self.memory_events = 2500 if quick else 5000


def processes(pid):
    """The daemon and its signing process."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [pid, *map(int, children.split())]


def cpu_s(pid):
    """User and system time of the daemon's processes, in nanoseconds' resolution: a process's CPU
    clock, as clock_getcpuclockid(3) makes its number."""
    return sum(time.clock_gettime((~each << 3) | 2) for each in processes(pid))


def loop_s(pid):
    """The CPU time of the event loop, which is the first thread."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


def memory_mib(pid, field):
    texts = [Path(f"/proc/{each}/status").read_text(encoding="ascii") for each in processes(pid)]
    return sum(int(re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE).group(1)) for text in texts) / 1024


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def load_1m():
    return os.getloadavg()[0]


# ---- the floor

def figures(command):
    """{name: µs} of the lines that a benchmark program prints."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          timeout=300, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return {name: float(us)
            for name, us in re.findall(r"^(\w+) +([\d.]+) us CPU", done.stdout, re.MULTILINE)}


def sandbox_keys(sandbox, mchid):
    """What the sandbox's fragment says of a merchant."""
    text = sandbox.config.read_text(encoding="utf-8").split(f"[merchant {mchid}]")[1]
    return dict(re.findall(r"^(\w+) = (.*)$", text.split("[")[0], re.MULTILINE))


def measure_floor(kafka, scale):
    """The median of three: µs of sign, verify, curl, their sum `floor`, and of the daemon's
    caller by itself."""
    with World(kafka=kafka) as world:
        sandbox = start_sandbox(world)
        keys = sandbox_keys(sandbox, DIRECT)
        runs = [figures([
            BUILD / "bench" / "bench-exchange", f"https://127.0.0.1:{sandbox.port}",
            sandbox.directory / "ca.pem", DIRECT, keys["serial_no"], keys["private_key"],
            keys["wechatpay_public_key_id"], keys["wechatpay_public_key"], scale.exchanges])
            for _ in range(3)]
    return sorted(runs, key=lambda run: run["floor"])[1]


def print_threads(scale):
    """Signatures of 1 and of 2 pinned threads; the name of what makes them."""
    done = subprocess.run([BUILD / "bench" / "bench-threads", str(scale.threads_s)],
                          capture_output=True, text=True, timeout=60, check=True)
    backend = re.search(r"^backend (.*)$", done.stdout, re.MULTILINE).group(1)
    print(f"Signatures are made by {backend}.\n\n| threads, each on its own core | µs | signatures/s |\n"
          "| --- | --- | --- |")
    for count, us, rate in re.findall(r"^sign(\d) +([\d.]+) us CPU, +(\d+)/s", done.stdout, re.MULTILINE):
        print(f"| {count} | {us} | {int(rate):,} |")
    print(flush=True)
    return backend


# ---- the daemon

def start_sandbox(world, delay_ms=0, faults=()):
    return world.start_sandbox(faults=faults, options=[
        "--schema-dir", ROOT / "schemas", "--delay-ms", delay_ms, "--ledger", "/dev/null"])


def events(count, endpoint="app"):
    return (event(endpoint) for _ in range(count))


def published(daemon):
    return sum(value for name, value in daemon.metrics().items() if EVENTS_TOTAL.match(name))


def signatures(daemon, backend=""):
    """Those that are used, of one backend or of all."""
    return sum(value for name, value in daemon.metrics().items()
               if name.startswith("presignd_signatures_total") and backend in name and 'end="ok"' in name)


def failed(daemon):
    return sum(value for name, value in daemon.metrics().items()
               if name.startswith("presignd_failures_total"))


def wait_published(daemon, count, timeout_s):
    """Until so many events have ended; how many have."""
    deadline = time.monotonic() + timeout_s
    while (done := published(daemon)) < count:
        if time.monotonic() > deadline:
            raise AssertionError(f"{done:.0f} of {count} events ended in {timeout_s} s")
        time.sleep(0.1)
    return done


def measure_drain(kafka, name, count, delay_ms=0, build=BUILD, processors=None, sets=()):
    """So many events at once. Before them some others, not counted, make the connections and
    are all ended when the counting begins. `processors`: those that the daemon may use, with as
    many signing threads."""
    wrapper = ()
    if processors is not None:
        wrapper = ["taskset", "--cpu-list", ",".join(map(str, processors))]
        sets = [*sets, f"daemon.sign_threads={len(processors)}"]
    with World(kafka=kafka) as world:
        start_sandbox(world, delay_ms)
        world.build = build
        daemon = world.start_daemon(wrapper=wrapper, sets=sets)
        pid = daemon.process.pid
        world.produce(events(WARM_EVENTS))
        warm = wait_published(daemon, WARM_EVENTS, 60)
        signed, batched = signatures(daemon), signatures(daemon, "crypto_mb")
        begin, loop_begin, begin_s = cpu_s(pid), loop_s(pid), time.monotonic()
        world.produce(events(count))
        done = wait_published(daemon, warm + count, 300)
        used, loop, took = cpu_s(pid) - begin, loop_s(pid) - loop_begin, time.monotonic() - begin_s
        row = {"scenario": name, "us": used * 1e6 / (done - warm), "rate": (done - warm) / took,
               "loop": loop * 1e6 / (done - warm), "library": library_of(daemon),
               "batched": (signatures(daemon, "crypto_mb") - batched) * 100 / max(1, signatures(daemon) - signed),
               "rss": memory_mib(pid, "VmRSS"), "peak": memory_mib(pid, "VmHWM")}
        if failed(daemon):
            raise AssertionError(f"{failed(daemon):.0f} events failed: the figures say nothing")
        return row


def median_drain(runs, *arguments):
    """The middle one of so many: short ones vary much on a machine that others use."""
    rows = sorted((measure_drain(*arguments) for _ in range(runs)), key=lambda row: row["us"])
    return rows[runs // 2]


def measure_process(kafka, scale):
    """What the signing process costs: rows by the value of sign_process. The pairs alternate, so that
    other load on the machine affects both."""
    rows = {"no": [], "yes": []}
    for pair in range(scale.pairs):
        for value in sorted(rows, reverse=pair % 2 == 1):
            rows[value].append(measure_drain(kafka, f"sign_process = {value}", scale.pair_events,
                                             sets=[f"daemon.sign_process={value}"]))
    return {value: sorted(some, key=lambda row: row["us"])[scale.pairs // 2]
            for value, some in rows.items()}


def measure_memory(kafka, scale):
    """512 calls in flight, which take 1.5 s each."""
    sets = [f"merchant {DIRECT}.max_in_flight=512", "endpoint.max_connections=512",
            "daemon.max_in_flight=512"]
    with World(kafka=kafka) as world:
        start_sandbox(world, delay_ms=1500)
        world.produce(events(scale.memory_events))
        daemon = world.start_daemon(sets=sets)
        most, rss = 0, 0
        while published(daemon) < scale.memory_events:
            in_air = daemon.metrics().get("presignd_calls_in_flight", 0)
            most = max(most, in_air)
            if in_air >= 500:
                rss = max(rss, memory_mib(daemon.process.pid, "VmRSS"))
            time.sleep(0.2)
        return {"scenario": f"{most:.0f} calls in flight, 1.5 s each", "rss": rss,
                "peak": memory_mib(daemon.process.pid, "VmHWM")}


def measure_idle(kafka, seconds):
    """No events. The watchdog's and the monitor's ticks, heartbeats and fetches go on."""
    with World(kafka=kafka) as world:
        start_sandbox(world)
        daemon = world.start_daemon()
        world.produce(events(100))
        wait_published(daemon, 100, 60)
        time.sleep(SETTLE_S)
        pid = daemon.process.pid
        begin, begin_s = cpu_s(pid), time.monotonic()
        time.sleep(seconds)
        percent = (cpu_s(pid) - begin) / (time.monotonic() - begin_s) * 100
        return {"scenario": f"idle: {percent:.3f} % of a core", "percent": percent,
                "rss": memory_mib(pid, "VmRSS"), "peak": memory_mib(pid, "VmHWM")}


# ---- latency

class Watch:
    """Notes how long each event took from the broker's append of its record until its outcome
    was visible to a read_committed reader. All on one clock: broker and reader share it."""

    def __init__(self, world):
        resource = ConfigResource(ConfigResource.Type.TOPIC, world.topics["presign.requests"],
                                  set_config={"message.timestamp.type": "LogAppendTime"})
        world.kafka.admin().alter_configs([resource])[resource].result(30)
        self.latency_ms = {}
        self._appended_ms = {}
        self._seen_ms = {}
        self._requests = world.topics["presign.requests"]
        self._consumer = Consumer({
            "bootstrap.servers": world.kafka.bootstrap, "group.id": "bench-watch",
            "isolation.level": "read_committed", "enable.auto.commit": False})
        outcomes = [world.topics[name] for name in ("presign.results", "presign.failures")]
        self._consumer.assign([TopicPartition(topic, partition, OFFSET_END)
                               for topic in [self._requests, *outcomes]
                               for partition in range(world.partitions)])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self):
        while not self._stop.is_set():
            record = self._consumer.poll(0.1)
            now_ms = time.time() * 1000
            if record is None or record.error():
                continue
            if record.topic() == self._requests:
                self._appended_ms[record.key()] = record.timestamp()[1]
            else:
                self._seen_ms[record.key()] = now_ms

    def end(self, keys, timeout_s):
        """Milliseconds of each of these keys' events."""
        deadline = time.monotonic() + timeout_s
        while not keys <= self._seen_ms.keys() or not keys <= self._appended_ms.keys():
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(keys - self._seen_ms.keys())} outcomes were not seen")
            time.sleep(0.05)
        self._stop.set()
        self._thread.join()
        self._consumer.close()
        return [self._seen_ms[key] - self._appended_ms[key] for key in keys]


def send_steadily(world, rate, seconds, endpoint):
    """Events at that rate, one by one; their keys."""
    producer = Producer({"bootstrap.servers": world.kafka.bootstrap, "linger.ms": 0})
    keys = set()
    begin = time.monotonic()
    for number in range(int(rate * seconds)):
        key, value, headers = event(endpoint)
        time.sleep(max(0, begin + number / rate - time.monotonic()))
        producer.produce(world.topics["presign.requests"], value, key, headers=headers)
        producer.poll(0)
        keys.add(key)
    producer.flush(30)
    return keys


def measure_latency(kafka, name, seconds, *, rate=100, delay_ms=0, endpoint="app", faults=(),
                    before=(), build=BUILD):
    """`before`: events that are in the topic when the steady ones begin."""
    with World(kafka=kafka) as world:
        start_sandbox(world, delay_ms, faults)
        world.build = build
        daemon = world.start_daemon()
        # Both merchants have been heard of, and connections are made.
        warm = [*events(100, "app"), *events(200, "partner-mini-program")]
        world.produce(warm)
        wait_published(daemon, len(warm), 60)
        world.produce(before)
        watch = Watch(world)
        time.sleep(1)
        pid = daemon.process.pid
        begin, loop_begin = cpu_s(pid), loop_s(pid)
        keys = send_steadily(world, rate, seconds, endpoint)
        latencies = [ms - delay_ms for ms in watch.end(keys, 60)]
        # With other unfinished events, the processor time is not that of these events alone.
        us = None if before else (cpu_s(pid) - begin) * 1e6 / len(keys)
        loop = None if before else (loop_s(pid) - loop_begin) * 1e6 / len(keys)
        return {"scenario": name, "us": us, "loop": loop, "rate": rate, "rss": memory_mib(pid, "VmRSS"),
                "library": library_of(daemon),
                "peak": memory_mib(pid, "VmHWM"), "p50": percentile(latencies, 0.5),
                "p99": percentile(latencies, 0.99), "left": published(daemon)}


# ---- the report

def cell(value, digits=0):
    return "" if value is None else f"{value:,.{digits}f}"


def print_row(row, floor):
    ratio = row["us"] / floor["floor"] if row.get("us") is not None else None
    print("| " + " | ".join([
        row["scenario"], cell(row.get("rate")), cell(row.get("us")), cell(ratio, 2),
        cell(row.get("loop")), cell(row.get("batched")), cell(row.get("rss"), 1), cell(row.get("peak"), 1),
        cell(row.get("p50"), 1), cell(row.get("p99"), 1)]) + " |", flush=True)


def print_floor(floor):
    print("| alone | µs |\n| --- | --- |")
    for name, what in (("sign", "sign"), ("verify", "verify"), ("curl", "bare curl"),
                       ("floor", "the floor: sum of these three"), ("caller", "the daemon's caller")):
        print(f"| {what} | {floor[name]:.1f} |")
    print(f"\nLoad of the machine before: {load_1m():.1f}\n")
    print("| scenario | events/s | µs per event | × floor | loop µs | % in batches | MiB | peak MiB "
          "| p50 ms | p99 ms |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)


def floor_ratio(backend):
    vendor = re.search(r"^vendor_id\s*: (\S+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"),
                       re.MULTILINE)
    ours = CRYPTO_MB_RATIO if backend.startswith("crypto_mb") else {}
    return ours.get(vendor.group(1) if vendor else "", OPENSSL_RATIO)


def verdicts(rows, floor, backend):
    """(what, figure, limit) of each target."""
    most = floor_ratio(backend) * floor["floor"]
    yield "µs per event, endpoint takes no time", rows["0 ms"]["us"], most
    yield "µs per event, endpoint takes 50 ms", rows["50 ms"]["us"], most
    yield "loop µs per event, endpoint takes no time", rows["0 ms"]["loop"], LOOP_US
    yield "sign_process, ratio to no", rows["process yes"]["us"] / rows["process no"]["us"], PROCESS_RATIO
    yield "% of a core, idle", rows["idle"]["percent"], IDLE_PERCENT
    library = tuple(map(int, rows["100/s 0"]["library"].split(".")[:2]))
    yield ("µs per event at 100/s, 0 ms", rows["100/s 0"]["us"],
           LOW_RATE_US if library >= (2, 4) else LOW_RATE_OLD_US)
    for delay in ("0", "50"):
        yield f"p50 at 100/s, {delay} ms", rows[f"100/s {delay}"]["p50"], LATENCY_P50_MS
        yield f"p99 at 100/s, {delay} ms", rows[f"100/s {delay}"]["p99"], LATENCY_P99_MS
    yield "MiB at 512 calls in flight", rows["memory"]["peak"], RSS_MIB
    yield "p99 beside a slow merchant", rows["beside slow"]["p99"], LATENCY_P99_MS
    depths = [row["us"] for name, row in rows.items() if name.startswith("depth")]
    yield "most against least expensive depth", max(depths) / min(depths), 1.15


def scenarios(kafka, scale):
    """(name, function) of each row, in the order of the table."""
    yield "0 ms", lambda: measure_drain(kafka, "endpoint takes no time", scale.events)
    yield "50 ms", lambda: measure_drain(kafka, "endpoint takes 50 ms", scale.events, delay_ms=50)
    for count in scale.depths:
        yield f"depth {count}", lambda count=count: median_drain(
            3 if count <= 1000 else 1, kafka, f"{count:,} events in the topic", count)
    processors = sorted(os.sched_getaffinity(0))
    for count in range(1, min(2, len(processors)) + 1):
        some = processors[:count]
        yield f"cores {count}", lambda some=some: measure_drain(
            kafka, f"the daemon on {len(some)} core{'s'[len(some) == 1:]}", scale.events, processors=some)
    by_process = functools.cache(lambda: measure_process(kafka, scale))
    for value in ("no", "yes"):
        yield f"process {value}", lambda value=value: by_process()[value]
    yield "memory", lambda: measure_memory(kafka, scale)
    yield "idle", lambda: measure_idle(kafka, scale.idle_s)
    for delay in (0, 50):
        yield f"100/s {delay}", lambda delay=delay: measure_latency(
            kafka, f"100 events/s, endpoint takes {delay} ms", scale.latency_s, delay_ms=delay)
    slow = (f"delay=1:1000@{DIRECT}",)
    for name, label, before in (("alone", "a merchant alone", 0),
                                ("beside slow", "beside 6,000 events of a slow one", 6000)):
        yield name, lambda label=label, before=before: measure_latency(
            kafka, label, scale.slow_s, rate=50, endpoint="partner-mini-program", faults=slow,
            before=list(events(before)))


# ---- versions of librdkafka

def library_of(daemon):
    """The version of librdkafka that a daemon runs with."""
    _, body = http_get(f"{daemon.admin}/status.json")
    return json.loads(body)["process"]["librdkafka"]


def compare_libraries(kafka, scale, builds):
    """Measures all builds in rounds, so that other load on the machine affects each of them. Prints
    the round with the median CPU time."""
    saturated, steady = {}, {}
    for _ in range(LIBRARY_ROUNDS):
        for build in builds:
            saturated.setdefault(build, []).append(
                measure_drain(kafka, "saturated", scale.events, build=build))
            steady.setdefault(build, []).append(
                measure_latency(kafka, "100 events/s", scale.latency_s, build=build))
    print("| librdkafka | scenario | events/s | µs per event | MiB | p50 ms | p99 ms |\n"
          "| --- | --- | --- | --- | --- | --- | --- |")
    for rows in (steady, saturated):
        for build in builds:
            row = sorted(rows[build], key=lambda row: row["us"])[LIBRARY_ROUNDS // 2]
            print("| " + " | ".join([
                row["library"], row["scenario"], cell(row["rate"]), cell(row["us"]),
                cell(row["rss"], 1), cell(row.get("p50"), 1), cell(row.get("p99"), 1)]) + " |")
    print(f"\nLoad of the machine after: {load_1m():.1f}", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="The CPU time of an event, compared "
                                     "with its lower bound; docs/performance.md explains the figures.")
    parser.add_argument("--quick", action="store_true", help="shorter runs, with less exact figures")
    parser.add_argument("--only", metavar="REGEX", default="", help="only scenarios of which a part matches, "
                        "and no targets: " + ", ".join(name for name, _ in scenarios(None, Scale(False))))
    parser.add_argument("--rdkafka", metavar="BUILD", nargs="*", dest="builds", type=Path, help="instead of "
                        "all else, compare versions of librdkafka at 100 events/s and saturated; "
                        "scripts/bench makes the builds")
    options = parser.parse_args()
    scale = Scale(options.quick)
    rows = {}
    if options.builds:
        with Cluster() as kafka:
            print(f"Load of the machine before: {load_1m():.1f}\n", flush=True)
            compare_libraries(kafka, scale, [build.resolve() for build in options.builds])
        return 0
    with Cluster() as kafka:
        floor = measure_floor(kafka, scale)
        backend = print_threads(scale)
        print_floor(floor)
        for name, run in scenarios(kafka, scale):
            if re.search(options.only, name):
                rows[name] = run()
                print_row(rows[name], floor)
    if options.only:
        return 0
    print(f"\nLoad of the machine after: {load_1m():.1f}\n\n| target | figure | at most | |\n"
          "| --- | --- | --- | --- |")
    missed = 0
    for what, figure, limit in verdicts(rows, floor, backend):
        missed += figure > limit
        print(f"| {what} | {figure:.2f} | {limit:.2f} | {'missed' if figure > limit else 'met'} |")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
