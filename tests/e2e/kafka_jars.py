"""The releases of Apache Kafka that tests run, and their jars, which come through Maven once.

    build/kafka-libs/VERSION/          the jars
    build/kafka-libs/VERSION/made-…/   what is made of them for one Java: see kafka_broker.prepare()
"""

import contextlib
import fcntl
import functools
import hashlib
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
POM = ROOT / "tests" / "kafka" / "pom.xml"
LIBS = (ROOT / "build" / "kafka-libs").resolve()

USUAL = "4.1.0"  # what a test runs that names no release
NEWEST = "4.4.0"
OLDEST = "2.5.1"  # of those that presignd supports
TOO_OLD = "2.4.1"
VERSIONS = (USUAL, NEWEST, OLDEST, TOO_OLD)

JAVA = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"]


class BrokerError(Exception):
    """The broker could not be fetched, started or reached; the text says what to look at."""


def run(command, what):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise BrokerError(f"{what} failed with status {done.returncode}:\n"
                          f"{done.stdout[-2000:]}{done.stderr[-2000:]}")


@functools.cache
def _java():
    return subprocess.run(["java", "-version"], capture_output=True, check=True).stderr


class Release:
    """One version of Apache Kafka."""

    def __init__(self, version):
        if version not in VERSIONS:
            raise BrokerError(f"Kafka {version} is not among the tests' releases: {', '.join(VERSIONS)}")
        self.version = version
        self.zookeeper = version.startswith("2.")  # later ones have controllers of their own
        self.libs = LIBS / version

    @property
    def made(self):
        """The directory of what goes by this Java and by the path of the jars."""
        key = hashlib.sha256(_java() + str(self.libs).encode()).hexdigest()[:12]
        return self.libs / f"made-{key}"

    @property
    def archive(self):
        return self.made / "broker.jsa"

    @property
    def formatted(self):
        """A log directory, less the file that names cluster and node."""
        return self.made / "formatted"

    def class_path(self):
        """Of the broker, its tools and its clients; after kafka_broker.prepare()."""
        return ":".join(str(jar) for jar in sorted(self.libs.glob("*.jar")))

    def java(self, *jvm):
        """The command of a JVM with these jars, up to the name of a class."""
        return [*JAVA, *jvm, "-cp", self.class_path()]

    @contextlib.contextmanager
    def locked(self):
        """Other processes that want the same release wait meanwhile."""
        LIBS.mkdir(parents=True, exist_ok=True)
        with open(LIBS / f"{self.version}.lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def fetch(self):
        """Has the jars, from the network if they are not there or are those of another pom.xml."""
        stamp, wanted = self.libs / "complete", hashlib.sha256(POM.read_bytes()).hexdigest()
        if stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
            return
        shutil.rmtree(self.libs, ignore_errors=True)
        command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies",
                   f"-Dkafka.version={self.version}", f"-DoutputDirectory={self.libs}",
                   *(["-Dkafka.zookeeper"] if self.zookeeper else [])]
        for attempt in (1, 2, 3):
            try:
                run(command, f"fetching Apache Kafka {self.version} with mvn")
                break
            except BrokerError:
                if attempt == 3:
                    raise
        stamp.write_text(wanted, encoding="ascii")


def class_path():
    """Of the usual release."""
    return Release(USUAL).class_path()
