"""An answer belongs to its request: what a server does between two requests costs no event an
attempt, and gives none another contract's id.

Each test waits until the kernel shows what the server has done to the kept connections, and only
then sends the next event: so its first call meets it for certain."""

import ctypes
import socket
import threading
import unittest

from harness import World, connections, established, event, shut_down, wait_until
from kafka_broker import Cluster
from nginx import Nginx

EVENTS = 6
KEPT = 20


def setUpModule():
    global kafka
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)


class Answers(unittest.TestCase):
    def world(self, faults=(), options=()):
        world = self.enterContext(World(partitions=1, kafka=kafka))
        world.start_sandbox(faults=faults, options=options)
        return world

    def send(self, world, count=1, **options):
        return list(world.wait_for_outcomes(world.produce(event() for _ in range(count)), **options).values())

    def send_together(self, world, port):
        """KEPT events that are in flight at once, each on a connection of its own to that port."""
        world.sandbox.suspend()
        sent = world.produce(event() for _ in range(KEPT))
        wait_until(lambda: established(port) == KEPT, lambda: f"{KEPT} connections, there are {established(port)}")
        world.sandbox.resume()
        return list(world.wait_for_outcomes(sent).values())

    def assert_first_try(self, outcomes, host="127.0.0.1"):
        """Each a result of one call, which the host that is meant answered."""
        seen = {(outcome.reason, outcome.data["attempts"], outcome.data.get("host", "").split(":")[0])
                for outcome in outcomes}
        self.assertEqual(seen, {(None, 1, host)})

    def assert_calls(self, world, count):
        """So many requests arrived; the audit knows whose id each result carries."""
        world.assert_audit_passes()
        calls = [call for call in world.sandbox.ledger() if "out_contract_code" in call]
        self.assertEqual(len(calls), count)


class Between(Answers):
    def one_after_the_other(self, faults, until):
        """Events, each once `until(port)` is true of the connections that the one before left."""
        world = self.world(faults)
        world.start_daemon()
        outcomes = []
        for _ in range(EVENTS):
            outcomes += self.send(world)
            wait_until(lambda: until(world.sandbox.port), "the server's doing in the kernel's table")
        world.assert_audit_passes()
        self.assert_first_try(outcomes)
        self.assert_calls(world, EVENTS)

    def test_an_answer_twice(self):
        """The second answer lies unread on the kept connection when the next request is made."""
        def unread(port):
            return any(waiting > 0 for _, waiting in connections(port)) or established(port) == 0
        self.one_after_the_other(["twice=1"], unread)

    def test_408_on_idle(self):
        self.one_after_the_other(["idle-408=1:50"], lambda port: established(port) == 0)

    def test_400_on_idle(self):
        self.one_after_the_other(["idle-400=1:50"], lambda port: established(port) == 0)

    def test_closed_after_the_answer(self):
        self.one_after_the_other(["idle-close=1"], lambda port: established(port) == 0)

    def test_closed_on_idle(self):
        self.one_after_the_other(["idle-close=1:50"], lambda port: established(port) == 0)

    def test_reset_on_idle(self):
        self.one_after_the_other(["idle-reset=1:50"], lambda port: established(port) == 0)

    def test_connection_close(self):
        self.one_after_the_other(["close=1"], lambda port: established(port) == 0)

    def test_answers_twice_under_load(self):
        """Second answers cross with requests: such an answer is not believed, and none is another's."""
        world = self.world(["twice=0.5:20"])
        world.start_daemon(sets=["retry.max_attempts=100"])
        outcomes = self.send(world, 500)
        self.assertEqual({outcome.reason for outcome in outcomes}, {None})
        world.assert_audit_passes()

    def test_an_answer_unasked(self):
        """Each call has a new connection, and some of these begin with an answer to nothing."""
        world = self.world(["unasked=0.3", "close=1"])
        world.start_daemon(sets=["retry.max_attempts=100"])
        outcomes = self.send(world, 30)
        self.assertEqual({outcome.reason for outcome in outcomes}, {None})
        self.assertTrue([line for line in world.sandbox.ledger() if line.get("fault") == "unasked"])
        world.assert_audit_passes()


class Proxies(Answers):
    def behind_nginx(self, faults=(), **options):
        world = self.world(faults)
        nginx = Nginx(world, **options)
        # The backup host is there and well: nothing may move to it.
        world.start_daemon(sets=[f"endpoint.base_url={nginx.url}",
                                 f"endpoint.backup_url=https://localhost:{world.sandbox.port}"])
        return world, nginx

    def test_nginx_is_reloaded(self):
        """The old worker ends KEPT idle connections; the next events do not notice."""
        world, nginx = self.behind_nginx()
        outcomes = self.send_together(world, nginx.port)
        for _ in range(2):
            nginx.reload_and_wait()
            self.assertEqual(established(nginx.port), 0)
            outcomes += self.send(world, 1)
            self.assert_first_try(outcomes)
            outcomes += self.send_together(world, nginx.port)
        self.assert_first_try(outcomes)
        self.assert_calls(world, len(outcomes))

    def test_nginx_is_reloaded_under_load(self):
        """A request that crosses with the end of its connection may be unknown and called again;
        no event meets that time after time."""
        world, nginx = self.behind_nginx(["delay=1:300"])
        sent = world.produce(event() for _ in range(600))
        for share in range(1, 6):
            wait_until(lambda: len(world.outcomes()) >= 100 * share, f"{100 * share} outcomes")
            nginx.reload()
        outcomes = world.wait_for_outcomes(sent).values()
        self.assertEqual({outcome.reason for outcome in outcomes}, {None})
        self.assertLessEqual(max(outcome.data["attempts"] for outcome in outcomes), 3)
        world.assert_audit_passes()

    def test_nginx_keeps_idle_connections_for_a_second(self):
        world, nginx = self.behind_nginx(keepalive_s=1)
        outcomes = []
        for _ in range(3):
            outcomes += self.send(world)
            wait_until(lambda: established(nginx.port) == 0, "the end of the idle connection")
        self.assert_first_try(outcomes)
        self.assert_calls(world, 3)

    def test_a_storm_of_resets(self):
        """A proxy resets every kept connection, round after round; idle ones cost nothing."""
        world = self.world()
        proxy = self.enterContext(ResettingProxy(world.sandbox.port))
        world.start_daemon(sets=[f"endpoint.base_url=https://127.0.0.1:{proxy.port}",
                                 f"endpoint.backup_url=https://localhost:{world.sandbox.port}"])
        outcomes = []
        for _ in range(4):
            outcomes += self.send_together(world, proxy.port)
            proxy.reset_all()
            wait_until(lambda: established(proxy.port) == 0, "the end of the connections")
        self.assert_first_try(outcomes)
        self.assert_calls(world, 4 * KEPT)

    def test_a_storm_of_resets_under_load(self):
        """What is in flight then is unknown and called again; every event gets its own id."""
        world = self.world(["delay=1:20"])
        proxy = self.enterContext(ResettingProxy(world.sandbox.port))
        world.start_daemon(sets=[f"endpoint.base_url=https://127.0.0.1:{proxy.port}", "retry.max_attempts=100"])
        sent = world.produce(event() for _ in range(600))
        for share in range(1, 10):
            wait_until(lambda: len(world.outcomes()) >= 50 * share, f"{50 * share} outcomes")
            proxy.reset_all()
        outcomes = world.wait_for_outcomes(sent).values()
        self.assertEqual({outcome.reason for outcome in outcomes}, {None})
        world.assert_audit_passes()


class ResettingProxy:
    """Passes bytes on, until it is told to reset every connection that it has."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.clients = set()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.reset_all()

    def reset_all(self):
        """A connection that is told to connect to nowhere sends RST at once (connect(2), AF_UNSPEC);
        its threads then read an error or the end, and close it."""
        with self.lock:
            for client in self.clients:
                reset(client)

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.upstream))
            with self.lock:
                self.clients.add(client)
            pumps = [threading.Thread(target=pump, args=each, daemon=True)
                     for each in ((client, server), (server, client))]
            for each in pumps:
                each.start()
            threading.Thread(target=self._end, args=(pumps, client, server), daemon=True).start()

    def _end(self, pumps, client, server):
        for each in pumps:
            each.join()
        with self.lock:
            self.clients.discard(client)
            client.close()
            server.close()


def reset(client):
    # A struct sockaddr of zeros is AF_UNSPEC; Python's own connect() knows no such address.
    ctypes.CDLL(None).connect(client.fileno(), bytes(16), 16)


def pump(source, target):
    """Until the end of either; then both have ended."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    shut_down(source, target)


if __name__ == "__main__":
    unittest.main()
