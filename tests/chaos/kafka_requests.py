"""Three requests to Kafka that Debian's confluent_kafka 1.7 does not have: rights on a topic, and
leaders that are moved. Written from the message definitions of the protocol's documentation
(https://kafka.apache.org/protocol); any broker passes them on to the controller.
"""

import socket
import struct

TIMEOUT_S = 5
CREATE_ACLS, DELETE_ACLS, ELECT_LEADERS, ALTER_REASSIGNMENTS = 30, 31, 43, 45
TOPIC, TRANSACTIONAL_ID = 2, 5
LITERAL, ALL, WRITE, DENY, ALLOW, ANY = 3, 2, 4, 2, 3, 1
EVERYONE = "User:*"


def _string(text):
    raw = text.encode()
    return struct.pack(">h", len(raw)) + raw


def _array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def _varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def _compact_string(text):
    raw = text.encode()
    return _varint(len(raw) + 1) + raw


def _compact_array(items):
    return _varint(len(items) + 1) + b"".join(items)


NO_TAGS = b"\0"


def _receive(connection, length):
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise OSError("the broker closed the connection")
        data += part
    return data


def _ask(port, key, version, body, flexible=False):
    """The response behind its header, from the broker at that port of the loopback."""
    header = struct.pack(">hhi", key, version, 1) + _string("chaos") + (NO_TAGS if flexible else b"")
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
        length, = struct.unpack(">i", _receive(connection, 4))
        response = _receive(connection, length)
    return response[5 if flexible else 4:]


def _require(what, error):
    if error:
        raise OSError(f"{what}: the broker answers error {error}")


def deny_write(port, name, user, resource=TOPIC):
    """The user may not write to the topic, or the like, any more; everything else stays allowed."""
    def rule(who, operation, permission):
        return (struct.pack(">b", resource) + _string(name) + struct.pack(">b", LITERAL) +
                _string(who) + _string("*") + struct.pack(">bb", operation, permission))
    response = _ask(port, CREATE_ACLS, 1, _array([rule(EVERYONE, ALL, ALLOW), rule(f"User:{user}", WRITE, DENY)]))
    _require("CreateAcls", struct.unpack_from(">h", response, 8)[0])


def allow_all(port, name, resource=TOPIC):
    """Takes the rules of the topic, or the like, away."""
    null = struct.pack(">h", -1)
    filters = (struct.pack(">b", resource) + _string(name) + struct.pack(">b", LITERAL) + null + null +
               struct.pack(">bb", ANY, ANY))
    response = _ask(port, DELETE_ACLS, 1, _array([filters]))
    _require("DeleteAcls", struct.unpack_from(">h", response, 8)[0])


def move_leader(port, topic, partition, replicas):
    """Makes the first of `replicas`, which hold the partition already, its leader. Whether it
    came to that is the broker's to say later: one that lags is not elected."""
    nodes = _compact_array([struct.pack(">i", node) for node in replicas])
    entry = struct.pack(">i", partition) + nodes + NO_TAGS
    body = (struct.pack(">i", TIMEOUT_S * 1000) +
            _compact_array([_compact_string(topic) + _compact_array([entry]) + NO_TAGS]) + NO_TAGS)
    response = _ask(port, ALTER_REASSIGNMENTS, 0, body, flexible=True)
    _require("AlterPartitionReassignments", struct.unpack_from(">h", response, 4)[0])
    preferred = struct.pack(">b", 0) + _array([_string(topic) + _array([struct.pack(">i", partition)])])
    response = _ask(port, ELECT_LEADERS, 1, preferred + struct.pack(">i", TIMEOUT_S * 1000))
    _require("ElectLeaders", struct.unpack_from(">h", response, 4)[0])
