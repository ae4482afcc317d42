"""A real Apache Kafka for the tests, on 127.0.0.1.

    with Cluster() as kafka:
        kafka.create_topic("presign.requests", partitions=3)
        ... kafka.bootstrap ...
        kafka.kill()            # SIGKILL, as a power cut is
        kafka.start()           # again, on the same data and the same ports

Cluster(version="2.5.1") runs another release of kafka_jars.VERSIONS. One that needs ZooKeeper has it
in one more JVM. By hand: `scripts/kafka start DIR`, `scripts/kafka stop DIR`.

The jars come through Maven once, into build/kafka-libs. With them lie two more things that
make a start take about a second: a formatted log directory, so that no JVM is spent on formatting,
and an AppCDS archive of the classes that a broker loads.
"""

import argparse
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

import last_words
from children import dying_with_us  # noqa: F401 tests import these names from here
from kafka_jars import JAVA, ROOT, USUAL, VERSIONS, BrokerError, Release, class_path, run  # noqa: F401
from kafka_node import STOP_TIMEOUT_S, Keeper, Node, OldNode, free_ports, uuid

START_TIMEOUT_S = 300  # three JVMs on a machine with other work


def _format_once(release):
    kafka = Cluster(version=release.version, jvm=[])
    node = kafka.nodes[0]
    try:
        node.configure(kafka)
        run([*release.java(), "kafka.tools.StorageTool", "format", "--cluster-id", uuid(),
             "--config", str(node.properties)], f"formatting a log directory of Kafka {release.version}")
        (node.data / "meta.properties").unlink()
        shutil.copytree(node.data, release.formatted)
    finally:
        kafka.close()


def _train_once(release):
    """One short life of a broker, to record which classes it loads."""
    with Cluster(version=release.version, jvm=[f"-XX:ArchiveClassesAtExit={release.archive}"]) as kafka:
        kafka.create_topic("training")
        kafka.stop()


def prepare(version=USUAL):
    """Has jars, log directory and archive in build/kafka-libs, from the network if they are not
    there yet. Callers in other processes wait meanwhile."""
    release = Release(version)
    with release.locked():
        release.fetch()
        stamp = release.made / "complete"
        if stamp.exists():
            return
        shutil.rmtree(release.made, ignore_errors=True)
        release.made.mkdir()
        if not release.zookeeper:
            _format_once(release)
        _train_once(release)
        stamp.touch()


class Cluster:
    """`nodes` brokers. With `directory` the data lies there and stays after close(); else in a
    temporary directory that close() removes. `settings` are Kafka's server properties. With
    `users`, {name: password}, `users_bootstrap` is for clients that log in (SASL PLAIN).
    `version` is one of kafka_jars.VERSIONS; without it PRESIGND_KAFKA_VERSION decides."""

    def __init__(self, directory=None, nodes=1, settings=None, jvm=None, heap_mb=384,
                 outlives_us=False, users=None, version=None):
        self._temporary = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix="presignd-kafka-")).resolve()
        self.cluster_id = uuid()
        self.release = Release(version or os.environ.get("PRESIGND_KAFKA_VERSION", USUAL))
        self.settings = settings or {}
        self.users = users
        self.system_properties = []  # -DNAME=VALUE, for every node
        self._heap = f"-Xmx{heap_mb}m"
        self._jvm = jvm
        self._prepared = jvm is not None
        self._outlives_us = outlives_us
        kind = OldNode if self.release.zookeeper else Node
        ports = free_ports(3 * nodes)
        self.nodes = [kind(self.release, i + 1, self.directory / f"node-{i + 1}", ports[3 * i:3 * i + 3])
                      for i in range(nodes)]
        self.keeper = Keeper(self.release, 0, self.directory / "node-0", free_ports(2)) \
            if self.release.zookeeper else None
        self.bootstrap = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self.users_bootstrap = ",".join(f"127.0.0.1:{node.users_port}" for node in self.nodes)
        self._topics = set()
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
            prepare(self.release.version)
            self._prepared = True
        for node in self.processes():
            if node.running:
                continue
            if not node.data.exists():
                node.configure(self)
                node.format(self)
            self._start(node)
        self._wait_until_up()
        last_words.remember(self)
        return self

    def processes(self):
        """The nodes, and ZooKeeper before them where there is one."""
        return [*([self.keeper] if self.keeper else []), *self.nodes]

    def _start(self, node):
        archive = [f"-XX:SharedArchiveFile={self.release.archive}"]
        if self._jvm is not None:  # an archive is made by one JVM
            archive = [] if node is self.keeper else self._jvm
        node.start([self._heap, *archive, *self.system_properties], self._outlives_us)

    def start_node(self, node):
        """Starts one (counted from 0) that was killed, without waiting for it."""
        if not self.nodes[node].running:
            self._start(self.nodes[node])

    def _wait_until_up(self):
        admin = self.admin()
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            for node in self.processes():
                if not node.running:
                    raise BrokerError(f"node {node.node_id} of Kafka ended at its start with status "
                                      f"{node.process.returncode}:\n{node.last_words()}")
            try:
                known = admin.list_topics(timeout=2)
                if len(known.brokers) == len(self.nodes) and self._leaders_known(known):
                    self.cluster_id = known.cluster_id
                    return
            except KafkaException:
                time.sleep(0.02)
        raise BrokerError(f"Kafka was not in service after {START_TIMEOUT_S} s:\n"
                          f"{self.nodes[0].last_words()}")

    def _leaders_known(self, known):
        """A broker of an old release answers before it has learned of its topics again."""
        topics = [known.topics.get(name) for name in self._topics] if self.keeper else []
        return all(topic and all(p.leader >= 0 for p in topic.partitions.values()) for topic in topics)

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
        self.admin().create_topics([topic], operation_timeout=60)[name].result(START_TIMEOUT_S)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            known = self.admin().list_topics(topic=name, timeout=60).topics[name].partitions
            if len(known) == partitions and all(p.leader >= 0 for p in known.values()):
                self._topics.add(name)
                return
        raise BrokerError(f"topic {name} got no leaders in {START_TIMEOUT_S} s")

    def delete_topic(self, name):
        """Deletes a topic, and returns when no node has its log any more. Before that a broker may
        still accept a record, which is then lost with the log."""
        self.admin().delete_topics([name], operation_timeout=60)[name].result(START_TIMEOUT_S)
        self._topics.discard(name)
        log = re.compile(re.escape(name) + r"-\d+")
        deadline = time.monotonic() + START_TIMEOUT_S
        while any(log.fullmatch(entry.name) for node in self.nodes for entry in node.data.iterdir()):
            if time.monotonic() > deadline:
                raise BrokerError(f"topic {name} was not deleted in {START_TIMEOUT_S} s")
            time.sleep(0.05)

    def last_words(self):
        return {f"the log of Kafka's node {node.node_id}": node.last_words() for node in self.processes()}

    def stop(self):
        """Ends every node in an orderly way; the data stays for another start()."""
        for node in reversed(self.processes()):
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
        last_words.forget(self)
        self._admin = None
        if self._temporary:
            self.kill()
            if self.keeper and self.keeper.running:
                self.keeper.kill()
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


def start_by_hand(directory, nodes, version):
    """Starts a cluster that outlives this process, on the data that `directory` may hold."""
    state = _state_file(directory)
    if state.exists():
        raise BrokerError(f"{directory} holds a cluster already; end it with: scripts/kafka stop {directory}")
    kafka = Cluster(directory, nodes=nodes, outlives_us=True, version=version)
    try:
        kafka.start()
    except BaseException:
        kafka.stop()
        raise
    state.write_text(json.dumps({"bootstrap": kafka.bootstrap,
                                 "pids": [node.process.pid for node in kafka.nodes],
                                 "keeper": kafka.keeper and kafka.keeper.process.pid}))
    return kafka.bootstrap


def stop_by_hand(directory):
    """Ends the cluster that start_by_hand() started, and removes its data."""
    state = _state_file(directory)
    if not state.exists():
        raise BrokerError(f"{directory} holds no cluster that scripts/kafka started")
    known = json.loads(state.read_text())
    pids = known["pids"]
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for number in (signal.SIGTERM, signal.SIGKILL):
        if number == signal.SIGKILL and known["keeper"]:
            pids.append(known["keeper"])  # its brokers need it to end
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
    start.add_argument("--version", choices=VERSIONS, default=USUAL, help="of Kafka (default: %(default)s)")
    stop = commands.add_parser("stop", help="end the cluster of a directory and remove its data")
    stop.add_argument("directory")
    options = parser.parse_args(arguments)
    try:
        if options.command == "prepare":
            for version in VERSIONS:
                prepare(version)
        elif options.command == "start":
            print(start_by_hand(options.directory, options.nodes, options.version))
        else:
            stop_by_hand(options.directory)
    except BrokerError as error:
        sys.exit(f"scripts/kafka: {error}")


if __name__ == "__main__":
    main()
