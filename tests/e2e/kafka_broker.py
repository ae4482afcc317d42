"""A real Apache Kafka for the tests: KRaft nodes (broker and controller in one) on 127.0.0.1.

    with Cluster() as kafka:
        kafka.create_topic("presign.requests", partitions=3)
        ... kafka.bootstrap ...
        kafka.kill()            # SIGKILL, as a power cut is
        kafka.start()           # again, on the same data and the same ports

By hand: `scripts/kafka start DIR`, `scripts/kafka stop DIR`.

The jars come through Maven once, into build/kafka-libs. With them lie two more things that
make a start take about a second: a formatted metadata checkpoint, so that no JVM is spent on
formatting, and an AppCDS archive of the classes that a broker loads.
"""

import argparse
import base64
import fcntl
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from children import dying_with_us

ROOT = Path(__file__).resolve().parents[2]
POM = ROOT / "tests" / "kafka" / "pom.xml"
LIBS = ROOT / "build" / "kafka-libs"
ARCHIVE = LIBS / "broker.jsa"
CHECKPOINT = LIBS / "bootstrap.checkpoint"
STAMP = LIBS / "complete"

START_TIMEOUT_S = 180  # three JVMs on a machine with other work
STOP_TIMEOUT_S = 20
JAVA = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"]

# What a test wants other than Kafka's defaults: few partitions of its own topics, no waiting
# for members, lost brokers or retention, hanging transactions ended soon, small buffers.
SETTINGS = {
    "auto.create.topics.enable": "false",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
    "controlled.shutdown.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "log.cleaner.backoff.ms": "200",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.retention.ms": "-1",
    "num.io.threads": "4",
    "num.network.threads": "2",
    "offsets.topic.num.partitions": "2",
    "offsets.topic.segment.bytes": "10485760",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "transaction.max.timeout.ms": "900000",
    "transaction.state.log.num.partitions": "2",
    "transaction.state.log.segment.bytes": "10485760",
}


class BrokerError(Exception):
    """The broker could not be fetched, started or reached; the text says what to look at."""


_claims = []  # sockets whose names say which ports this process has chosen


def _claim(port):
    """Whether no other test has the port, nor will while we live. An abstract socket's name
    goes with the process that holds it, and what we start inherits none."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0presignd-tests-port-{port}")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True


def free_ports(count):
    """COUNT free TCP ports below the range that the kernel gives to outgoing connections, so
    that a client's connection cannot take one between a broker's death and its restart."""
    ports = []
    for port in random.sample(range(20000, 32000), 200):
        if _claim(port):
            ports.append(port)
        if len(ports) == count:
            return ports
    raise BrokerError(f"no {count} free ports on 127.0.0.1 between 20000 and 32000")


def _uuid():
    """Kafka's form of an identifier: 16 bytes in URL-safe base64, not beginning with a dash."""
    while True:
        text = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _write_properties(path, values):
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))


def class_path():
    """Of the broker, its tools and its clients; after prepare()."""
    return ":".join(str(jar) for jar in sorted(LIBS.glob("*.jar")))


def _run(command, what):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise BrokerError(f"{what} failed with status {done.returncode}:\n"
                          f"{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _fetch_jars():
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies",
               f"-DoutputDirectory={LIBS}"]
    for attempt in (1, 2, 3):
        try:
            return _run(command, "fetching Apache Kafka with mvn")
        except BrokerError:
            if attempt == 3:
                raise


def _format_once():
    with tempfile.TemporaryDirectory(prefix="kafka-format-") as directory:
        node = Node(1, Path(directory), ports=[1, 2])
        node.configure({1: 2}, {})
        _run([*JAVA, "-cp", class_path(), "kafka.tools.StorageTool", "format",
              "--cluster-id", _uuid(), "--config", str(node.properties)], "formatting a log directory")
        shutil.copy(node.data / "bootstrap.checkpoint", CHECKPOINT)


def _train_once():
    """One short life of a broker, to record which classes it loads."""
    with Cluster(jvm=[f"-XX:ArchiveClassesAtExit={ARCHIVE}"]) as kafka:
        kafka.create_topic("training")
        kafka.stop()


def prepare():
    """Has jars, checkpoint and archive in build/kafka-libs, from the network if they are not
    there yet. Callers in other processes wait meanwhile."""
    java = subprocess.run(["java", "-version"], capture_output=True, check=True).stderr
    wanted = hashlib.sha256(POM.read_bytes() + java + str(LIBS).encode()).hexdigest()
    LIBS.parent.mkdir(exist_ok=True)
    with open(LIBS.with_suffix(".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if STAMP.exists() and STAMP.read_text(encoding="ascii") == wanted:
            return
        shutil.rmtree(LIBS, ignore_errors=True)
        _fetch_jars()
        _format_once()
        _train_once()
        STAMP.write_text(wanted, encoding="ascii")


class Node:
    """One JVM of a cluster. `directory` holds its settings, data and log."""

    def __init__(self, node_id, directory, ports):
        self.node_id = node_id
        self.directory = directory
        self.port, self.controller_port, *rest = ports
        self.users_port = rest[0] if rest else None
        self.properties = directory / "server.properties"
        self.data = directory / "data"
        self.log = directory / "broker.log"
        self.process = None

    def _listen_to_users(self, values, users):
        """A second listener, for users with a password, who have the rights that they are given;
        without a name one is a super user."""
        for name in ("listeners", "advertised.listeners"):
            values[name] += f",SASL_PLAINTEXT://127.0.0.1:{self.users_port}"
        passwords = " ".join(f'user_{name}="{password}"' for name, password in users.items())
        values.update({
            "listener.security.protocol.map":
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config":
                f"org.apache.kafka.common.security.plain.PlainLoginModule required {passwords};",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true",
            "super.users": "User:ANONYMOUS"})

    def configure(self, voters, settings, users=None):
        """Writes server.properties. `voters` maps node ids to controller ports."""
        listener = f"PLAINTEXT://127.0.0.1:{self.port}"
        values = {
            "process.roles": "broker,controller",
            "node.id": self.node_id,
            "controller.quorum.voters": ",".join(f"{i}@127.0.0.1:{p}" for i, p in voters.items()),
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{listener},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": listener,
            "log.dirs": self.data,
        }
        if users:
            self._listen_to_users(values, users)
        copies = min(3, len(voters))
        for prefix in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
            values[f"{prefix}.replication.factor"] = copies
        for prefix in ("transaction.state.log", "share.coordinator.state.topic"):
            values[f"{prefix}.min.isr"] = min(2, copies)
        self.directory.mkdir(parents=True, exist_ok=True)
        _write_properties(self.properties, {**values, **SETTINGS, **settings})

    def format(self, cluster_id):
        """What StorageTool's format would leave behind, for this node."""
        self.data.mkdir()
        shutil.copy(CHECKPOINT, self.data / "bootstrap.checkpoint")
        _write_properties(self.data / "meta.properties", {
            "version": 1, "cluster.id": cluster_id,
            "node.id": self.node_id, "directory.id": _uuid()})

    def start(self, jvm, outlives_us):
        """Starts the JVM, which dies with us unless `outlives_us`."""
        guard = [] if outlives_us else dying_with_us()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*guard, *JAVA, *jvm, "-cp", class_path(), "kafka.Kafka", str(self.properties)],
                cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=outlives_us)

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        if self.running:
            self.process.send_signal(number)

    def stop(self):
        """SIGTERM, and SIGKILL for a node that does not end by it."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()

    def last_words(self):
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


class Cluster:
    """`nodes` brokers. With `directory` the data lies there and stays after close(); else in a
    temporary directory that close() removes. `settings` are Kafka's server properties. With
    `users`, {name: password}, `users_bootstrap` is for clients that log in (SASL PLAIN)."""

    def __init__(self, directory=None, nodes=1, settings=None, jvm=None, heap_mb=384,
                 outlives_us=False, users=None):
        self._temporary = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix="presignd-kafka-")).resolve()
        self.cluster_id = _uuid()
        self._jvm = [f"-Xmx{heap_mb}m", *(jvm or [f"-XX:SharedArchiveFile={ARCHIVE}"])]
        self._prepared = jvm is not None
        self._outlives_us = outlives_us
        ports = free_ports(3 * nodes)
        self.nodes = [Node(i + 1, self.directory / f"node-{i + 1}", ports[3 * i:3 * i + 3])
                      for i in range(nodes)]
        self.bootstrap = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self.users_bootstrap = ",".join(f"127.0.0.1:{node.users_port}" for node in self.nodes)
        self._settings = settings or {}
        self._users = users
        self._admin = None

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    def start(self):
        """Starts every node that is not running, and returns when all of them are in service."""
        if not self._prepared:
            prepare()
            self._prepared = True
        voters = {node.node_id: node.controller_port for node in self.nodes}
        for node in self.nodes:
            if node.running:
                continue
            if not node.data.exists():
                node.configure(voters, self._settings, self._users)
                node.format(self.cluster_id)
            node.start(self._jvm, self._outlives_us)
        self._wait_until_up()
        return self

    def start_node(self, node):
        """Starts one (counted from 0) that was killed, without waiting for it."""
        if not self.nodes[node].running:
            self.nodes[node].start(self._jvm, self._outlives_us)

    def _wait_until_up(self):
        admin = self.admin()
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            for node in self.nodes:
                if not node.running:
                    raise BrokerError(f"node {node.node_id} of Kafka ended at its start with status "
                                      f"{node.process.returncode}:\n{node.last_words()}")
            try:
                if len(admin.list_topics(timeout=0.5).brokers) == len(self.nodes):
                    return
            except KafkaException:
                time.sleep(0.02)
        raise BrokerError(f"Kafka was not in service after {START_TIMEOUT_S} s:\n"
                          f"{self.nodes[0].last_words()}")

    def admin(self):
        """An AdminClient of this cluster (created once)."""
        if self._admin is None:
            self._admin = AdminClient({
                "bootstrap.servers": self.bootstrap, "log_level": 0,
                "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100})
        return self._admin

    def create_topic(self, name, partitions=1, config=None):
        """Creates a topic, copied to every node up to three, and returns when it has leaders."""
        topic = NewTopic(name, num_partitions=partitions, config=config or {},
                         replication_factor=min(3, len(self.nodes)))
        self.admin().create_topics([topic], operation_timeout=30)[name].result(30)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            known = self.admin().list_topics(topic=name, timeout=10).topics[name].partitions
            if len(known) == partitions and all(p.leader >= 0 for p in known.values()):
                return
        raise BrokerError(f"topic {name} got no leaders in 30 s")

    def stop(self):
        """Ends every node in an orderly way; the data stays for another start()."""
        for node in self.nodes:
            if node.running:
                node.stop()

    def kill(self, node=None):
        """SIGKILL to NODE (counted from 0), or to all of them."""
        for each in self.nodes if node is None else [self.nodes[node]]:
            if each.running:
                each.kill()

    def suspend(self, node=0):
        """SIGSTOP: connected, but silent, as a broker in a long pause is."""
        self.nodes[node].signal(signal.SIGSTOP)

    def resume(self, node=0):
        self.nodes[node].signal(signal.SIGCONT)

    def close(self):
        """Ends the nodes; a temporary directory goes with its data."""
        self._admin = None
        if self._temporary:
            self.kill()
            shutil.rmtree(self.directory, ignore_errors=True)
        else:
            self.stop()


def _state_file(directory):
    return Path(directory).resolve() / "cluster.json"


def _is_ours(pid, directory):
    """Whether PID still is the node that was started in `directory`, not a later process."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(part.startswith(os.fsencode(f"{directory}/node-")) for part in command)


def start_by_hand(directory, nodes):
    """Starts a cluster that outlives this process, on the data that `directory` may hold."""
    state = _state_file(directory)
    if state.exists():
        raise BrokerError(f"{directory} holds a cluster already; end it with: scripts/kafka stop {directory}")
    kafka = Cluster(directory, nodes=nodes, outlives_us=True)
    try:
        kafka.start()
    except BaseException:
        kafka.stop()
        raise
    state.write_text(json.dumps({"bootstrap": kafka.bootstrap,
                                 "pids": [node.process.pid for node in kafka.nodes]}))
    return kafka.bootstrap


def stop_by_hand(directory):
    """Ends the cluster that start_by_hand() started, and removes its data."""
    state = _state_file(directory)
    if not state.exists():
        raise BrokerError(f"{directory} holds no cluster that scripts/kafka started")
    pids = json.loads(state.read_text())["pids"]
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            if _is_ours(pid, state.parent):
                os.kill(pid, number)
        while any(_is_ours(pid, state.parent) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.05)
    for node in state.parent.glob("node-*"):
        shutil.rmtree(node)
    state.unlink()


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="scripts/kafka", description="A real Apache Kafka on 127.0.0.1, for work by hand.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="fetch what a start needs (a start does so by itself)")
    start = commands.add_parser("start", help="start a cluster and print its bootstrap.servers")
    start.add_argument("directory", help="for settings, data and broker logs")
    start.add_argument("--nodes", type=int, default=1, help="brokers (default: %(default)s)")
    stop = commands.add_parser("stop", help="end the cluster of a directory and remove its data")
    stop.add_argument("directory")
    options = parser.parse_args(arguments)
    try:
        if options.command == "prepare":
            prepare()
        elif options.command == "start":
            print(start_by_hand(options.directory, options.nodes))
        else:
            stop_by_hand(options.directory)
    except BrokerError as error:
        sys.exit(f"scripts/kafka: {error}")


if __name__ == "__main__":
    main()
