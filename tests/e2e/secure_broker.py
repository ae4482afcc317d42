"""A real Apache Kafka as production has it: TLS, a password, a client's certificate or a token, and ACLs.

    with SecureCluster() as kafka:
        kafka.secure        # HOST:PORT for SASL_SSL: USERS with PASSWORD by PLAIN, or SCRAM
        kafka.mutual        # HOST:PORT for SSL with a certificate of the client's
        kafka.oidc          # HOST:PORT for SASL_SSL with OAUTHBEARER: kafka.tokens issues the tokens
        kafka.bootstrap     # without either, and with every right: for the tests themselves
        kafka.run("kafka-acls.sh --bootstrap-server … --list")
    kafka.acls.remove("User:presignd TOPIC LITERAL presign.requests READ")

Whoever comes through `bootstrap` is User:ANONYMOUS, the one super user. The certificates lie in
`kafka.certificates`: ca.pem, and client.pem with client.key for User:presignd.
"""

import os
import subprocess
from pathlib import Path

import token_server
from kafka_broker import JAVA, Cluster, class_path, dying_with_us, free_ports

# What Apache Kafka's scripts of these names run.
TOOLS = {
    "kafka-acls.sh": "org.apache.kafka.tools.AclCommand",
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
}

LISTENERS = ("PLAINTEXT", "SECURE", "MUTUAL", "OIDC")
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
USERS = ("presignd", "orders", "operator")
PASSWORD = "kafka-pass-4711"


def _openssl(*arguments, cwd):
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True)


def _sign(directory, name, subject, extension):
    """NAME.key and NAME.pem for SUBJECT, signed by ca.pem."""
    _openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key",
             "-out", f"{name}.csr", "-subj", subject, cwd=directory)
    (directory / f"{name}.ext").write_text(extension)
    _openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
             "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem",
             cwd=directory)


def make_certificates(directory):
    """An authority, the broker's certificate for 127.0.0.1, and a client's named presignd."""
    directory.mkdir(parents=True)
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
             "-days", "2", "-subj", "/CN=test authority", cwd=directory)
    _sign(directory, "broker", "/CN=broker", "subjectAltName=IP:127.0.0.1\n")
    _sign(directory, "client", "/CN=presignd/O=example", "extendedKeyUsage=clientAuth\n")
    both = (directory / "broker.key").read_text() + (directory / "broker.pem").read_text()
    (directory / "broker-keystore.pem").write_text(both)


class SecureCluster(Cluster):
    """One node with a listener for each way in, and Kafka's own authorizer."""

    def __init__(self):
        super().__init__()
        self.certificates = self.directory / "certificates"
        make_certificates(self.certificates)
        node = self.nodes[0]
        ports = [node.port, *free_ports(3)]
        self.secure, self.mutual, self.oidc = (f"127.0.0.1:{port}" for port in ports[1:])
        self.tokens = token_server.TokenServer(self.directory / "tokens", {user: PASSWORD for user in USERS})
        self.settings = self._secured(ports, node.controller_port)
        self.acls = None
        self._write_tools()

    def _with_tokens(self):
        """What Kafka needs to accept the token server's tokens; it takes only files and addresses
        that a system property names."""
        jwks = f"file://{self.tokens.jwks}"
        self.system_properties = [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.files={self.tokens.jwks}",
                                  f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={jwks}"]
        oauthbearer = "org.apache.kafka.common.security.oauthbearer"
        return {
            "listener.name.oidc.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.oidc.oauthbearer.sasl.jaas.config": f"{oauthbearer}.OAuthBearerLoginModule required;",
            "listener.name.oidc.oauthbearer.sasl.server.callback.handler.class":
                f"{oauthbearer}.OAuthBearerValidatorCallbackHandler",
            "sasl.oauthbearer.jwks.endpoint.url": jwks,
            "sasl.oauthbearer.expected.audience": token_server.AUDIENCE,
            "sasl.oauthbearer.expected.issuer": token_server.ISSUER}

    def _secured(self, ports, controller_port):
        addresses = [f"{name}://127.0.0.1:{port}" for name, port in zip(LISTENERS, ports)]
        return {
            "listeners": ",".join([*addresses, f"CONTROLLER://127.0.0.1:{controller_port}"]),
            "advertised.listeners": ",".join(addresses),
            "listener.security.protocol.map":
                "PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL,OIDC:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "sasl.enabled.mechanisms": ",".join(["PLAIN", *SCRAM]),
            "listener.name.secure.plain.sasl.jaas.config":
                "org.apache.kafka.common.security.plain.PlainLoginModule required "
                + " ".join(f'user_{name}="{PASSWORD}"' for name in USERS) + ";",
            **{f"listener.name.secure.{mechanism.lower()}.sasl.jaas.config":
               "org.apache.kafka.common.security.scram.ScramLoginModule required;" for mechanism in SCRAM},
            **self._with_tokens(),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.certificates / "broker-keystore.pem",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.certificates / "ca.pem",
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.principal.mapping.rules": r"RULE:^.*CN=([^,]+).*$/$1/",
        }

    def _write_tools(self):
        """The scripts of Kafka's bin directory, in `self.bin`."""
        self.bin = self.directory / "bin"
        self.bin.mkdir()
        for name, program in TOOLS.items():
            script = self.bin / name
            java = " ".join([*JAVA, f"-XX:SharedArchiveFile={self.release.archive}"])
            script.write_text(f'#!/bin/sh\nexec {java} -cp "$KAFKA_CLASS_PATH" {program} "$@"\n')
            script.chmod(0o755)

    def run(self, command, cwd=None, environment=None):
        """Runs a shell script in which Kafka's own commands are found; its standard output."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], cwd=cwd or self.directory,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env={**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}",
                 "KAFKA_CLASS_PATH": class_path(), **(environment or {})})
        assert done.returncode == 0, f"{command}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self):
        super().start()
        self.acls = self.acls or Acls(self.bootstrap)
        return self

    def close(self):
        if self.acls:
            self.acls.close()
        self.tokens.close()
        super().close()


class Acls:
    """The cluster's rights, each as "PRINCIPAL RESOURCE_TYPE PATTERN_TYPE NAME OPERATION". What
    was changed is in force when the call returns."""

    def __init__(self, bootstrap):
        program = Path(__file__).with_name("Acls.java")
        self._process = subprocess.Popen(
            [*dying_with_us(), *JAVA, "-cp", class_path(), program, bootstrap],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def _ask(self, line):
        self._process.stdin.write(line + "\n")
        answer = []
        while True:
            said = self._process.stdout.readline()
            assert said, f"Acls.java ended at: {line}"
            if said == "done\n":
                return answer
            answer.append(said.strip())

    def all(self):
        return self._ask("list")

    def add(self, right):
        self._ask(f"add {right}")

    def remove(self, right):
        self._ask(f"remove {right}")

    def scram(self, user, mechanism, password):
        """A user's password for SCRAM."""
        self._ask(f"scram {user} {mechanism} {password}")

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
