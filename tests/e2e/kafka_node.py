"""The processes of a Kafka for tests: KRaft nodes, and brokers of an old release with their ZooKeeper."""

import base64
import os
import random
import shutil
import signal
import socket
import subprocess
import time

from children import dying_with_us
from kafka_jars import BrokerError

STOP_TIMEOUT_S = 60
FORGET_TIMEOUT_S = 60

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
    "zookeeper.session.timeout.ms": "2000",
}


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


def uuid():
    """Kafka's form of an identifier: 16 bytes in URL-safe base64, not beginning with a dash."""
    while True:
        text = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _write_properties(path, values):
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))


class Node:
    """One JVM of a cluster, of a release without ZooKeeper: broker and controller in one.
    `directory` holds its settings, data and log."""

    main_class = "kafka.Kafka"
    authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"

    def __init__(self, release, node_id, directory, ports):
        self.release = release
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
            "authorizer.class.name": self.authorizer,
            "allow.everyone.if.no.acl.found": "true",
            "super.users": "User:ANONYMOUS"})

    def _identity(self, cluster):
        """Who it is, and how it finds the others."""
        listener = f"PLAINTEXT://127.0.0.1:{self.port}"
        voters = ",".join(f"{node.node_id}@127.0.0.1:{node.controller_port}" for node in cluster.nodes)
        return {
            "process.roles": "broker,controller",
            "node.id": self.node_id,
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{listener},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": listener}

    def configure(self, cluster):
        """Writes server.properties."""
        values = {**self._identity(cluster), "log.dirs": self.data}
        if cluster.users:
            self._listen_to_users(values, cluster.users)
        copies = min(3, len(cluster.nodes))
        for prefix in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
            values[f"{prefix}.replication.factor"] = copies
        for prefix in ("transaction.state.log", "share.coordinator.state.topic"):
            values[f"{prefix}.min.isr"] = min(2, copies)
        self.directory.mkdir(parents=True, exist_ok=True)
        _write_properties(self.properties, {**values, **SETTINGS, **cluster.settings})

    def format(self, cluster):
        """What StorageTool's format would leave behind, for this node."""
        shutil.copytree(self.release.formatted, self.data)
        _write_properties(self.data / "meta.properties", {
            "version": 1, "cluster.id": cluster.cluster_id,
            "node.id": self.node_id, "directory.id": uuid()})

    def start(self, jvm, outlives_us):
        """Starts the JVM, which dies with us unless `outlives_us`."""
        guard = [] if outlives_us else dying_with_us()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*guard, *self.release.java(*jvm), self.main_class, str(self.properties)],
                cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=outlives_us)

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        if self.running:
            self.process.send_signal(number)

    def stop(self):
        """Sends SIGTERM, and SIGKILL if the node does not end."""
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


class OldNode(Node):
    """A broker of a release with ZooKeeper."""

    authorizer = "kafka.security.authorizer.AclAuthorizer"

    def _identity(self, cluster):
        self._keeper = cluster.keeper
        listener = f"PLAINTEXT://127.0.0.1:{self.port}"
        return {
            "broker.id": self.node_id,
            "zookeeper.connect": f"127.0.0.1:{cluster.keeper.port}",
            "listeners": listener,
            "advertised.listeners": listener}

    def format(self, cluster):
        """Only makes the directory of the data: the broker does the rest."""
        self.data.mkdir()

    def start(self, jvm, outlives_us):
        """Waits before until ZooKeeper has forgotten the process that was killed: the new one
        would end because its name is taken."""
        self._keeper.wait_until_forgotten(self.node_id)
        super().start(jvm, outlives_us)


class Keeper(Node):
    """The one ZooKeeper of a cluster. It stays when brokers are killed."""

    main_class = "org.apache.zookeeper.server.quorum.QuorumPeerMain"

    def configure(self, cluster):
        self.directory.mkdir(parents=True, exist_ok=True)
        _write_properties(self.properties, {
            "dataDir": self.data,
            "clientPort": self.port,
            "clientPortAddress": "127.0.0.1",
            "tickTime": 500,  # a session lasts for 2 to 20 ticks
            "maxClientCnxns": 0,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "dump"})

    def format(self, cluster):
        """Only makes the directory of the data: ZooKeeper does the rest."""
        self.data.mkdir()

    def start(self, jvm, outlives_us):
        super().start([*jvm, "-Dzookeeper.jmx.log4j.disable=true"], outlives_us)

    def _dump(self):
        """The sessions and what goes with them, in ZooKeeper's words; "" when it does not answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as client:
                client.sendall(b"dump")
                with client.makefile(encoding="ascii", errors="replace") as answer:
                    return answer.read()
        except OSError:
            return ""

    def wait_until_forgotten(self, node_id):
        deadline = time.monotonic() + FORGET_TIMEOUT_S
        while time.monotonic() < deadline:
            words = self._dump().split()
            if words and f"/brokers/ids/{node_id}" not in words:
                return
            if not self.running:
                break
            time.sleep(0.05)
        raise BrokerError(f"ZooKeeper still had broker {node_id} after {FORGET_TIMEOUT_S} s, or ended:\n"
                          f"{self.last_words()}")
