"""The control socket and its commands, on a real Kafka: what each lever does while events flow, who
may pull it, and what the journal says."""

import contextlib
import json
import os
import pwd
import socket
import stat
import subprocess
import unittest

import auditor
from harness import World, event, http_get, wait_until
from kafka_broker import Cluster

MERCHANT = "1900007291"  # the sandbox's direct one


class Control(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = cls.enterClassContext(Cluster())

    def setUp(self):
        self.world = self.enterContext(World(kafka=self.kafka))
        self.socket = self.world.directory / "control.sock"
        self.state = self.world.directory / "state"
        self.state.mkdir()

    def start(self, faults=(), **daemon):
        self.world.start_sandbox(faults=faults)
        self.daemon = self.start_daemon(**daemon)

    def start_daemon(self, wait=True, **daemon):
        daemon = {"control_socket": self.socket, "state_dir": self.state, **daemon}
        return self.world.start_daemon(sections={"daemon": daemon}, wait=wait)

    def ctl(self, command, *arguments, status=0):
        done = self.world.ctl(command, *arguments, "--control", self.socket)
        self.assertEqual(done.returncode, status, done.stderr.decode())
        return done.stdout.decode() if status == 0 else done.stderr.decode()

    def curl(self, path, body=None, method=None):
        """(status, document)"""
        command = ["curl", "-sS", "--unix-socket", self.socket, "-w", "\n%{http_code}", f"http://presignd{path}"]
        command += ["-d", body if isinstance(body, str) else json.dumps(body)] if body is not None else []
        command += ["-X", method] if method else []
        text = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout
        document, code = text.rsplit("\n", 1)
        return int(code), json.loads(document)

    def status(self):
        return self.curl("/v1/status")[1]


class Levers(Control):
    def test_a_merchant_is_paused_while_another_goes_on(self):
        self.start()
        answer = self.ctl("pause", "--merchant", MERCHANT, "--note", "the key leaked")
        self.assertIn(f"presignd-1: paused:\n  merchant {MERCHANT}: the key leaked\n", answer)
        self.assertIn("Only this instance", answer)
        held = self.world.produce(event("app", mchid=MERCHANT) for _ in range(20))
        others = self.world.produce(event("partner-mini-program") for _ in range(20))
        self.world.wait_for_outcomes(others)
        self.assertFalse(set(held) & self.world.outcomes().keys())
        wait_until(lambda: self.status()["pauses"][0]["events"] == 20, "20 events are held")
        self.daemon.wait_for_log(f"pause of merchant {MERCHANT}, asked for by .*: the key leaked UID=0 BY=")
        self.assertIn("nothing is paused", self.ctl("resume", "--merchant", MERCHANT))
        outcomes = self.world.wait_for_outcomes(held)
        self.assertEqual({outcome.reason for outcome in outcomes.values()}, {None})

    def test_all_or_none(self):
        self.start()
        told = self.ctl("pause", "--merchant", MERCHANT, "--merchant", "1900000000", status=65)
        self.assertIn("the daemon has no merchant 1900000000", told)
        for lever in ("pause", "resume"):
            self.assertEqual(self.curl(f"/v1/{lever}", {"merchant": "1900000000", "by": "a test"})[0], 404)
            self.daemon.wait_for_log(f"{lever} of merchant 1900000000, refused: there is none, asked for by a test")
        self.assertEqual(self.status()["pauses"], [])

    def test_everything_is_paused(self):
        self.start()
        self.ctl("pause", "--all", "--for", "1h")
        sent = self.world.produce(event() for _ in range(5))
        pauses = json.loads(self.ctl("pause", "--endpoint", "h5", "--json"))["pauses"]
        self.assertEqual([each["scope"] for each in pauses], ["all", "endpoint"])
        wait_until(lambda: self.status()["work"]["oldest_event_seconds"] > 1, "what is not read has an age")
        self.assertEqual(self.world.sandbox.ledger(), [])
        self.ctl("resume", "--all")
        self.world.wait_for_outcomes(sent)
        self.assertEqual(self.status()["pauses"], [])

    def test_a_drain_and_its_end(self):
        self.start()
        self.world.wait_for_outcomes(self.world.produce(event() for _ in range(5)))
        self.assertIn("presignd-1: drained", self.ctl("drain"))
        self.assertEqual(http_get(f"{self.daemon.admin}/readyz")[0], 503)
        self.assertEqual(self.status()["process"]["state"], "drained")
        self.assertIn("presignd-1: drained", self.ctl("drain", "--timeout-ms", "1"))  # again, without harm
        self.assertIn("The drain is undone", self.ctl("resume", "--all"))
        self.assertNotIn("drain", self.ctl("resume", "--all"))
        self.world.wait_for_outcomes(self.world.produce(event() for _ in range(5)))
        self.daemon.wait_ready()
        self.daemon.wait_for_log("resume of everything, pauses ended: 0, joining the group again")

    def test_a_drain_whose_time_passes(self):
        self.start(faults=["delay=1:60000"])
        sent = self.world.produce(event() for _ in range(5))
        wait_until(lambda: self.status()["work"]["calls_in_flight"] > 0, "calls are in flight")
        self.assertIn("events left; they go to other instances", self.ctl("drain", "--timeout-ms", "0", status=75))
        self.world.start_sandbox()
        self.ctl("resume", "--all")
        self.world.wait_for_outcomes(sent)

    def test_a_drain_that_is_undone_meanwhile(self):
        self.start(faults=["delay=1:4000"])
        self.world.produce(event() for _ in range(5))
        wait_until(lambda: self.status()["work"]["calls_in_flight"] > 0, "calls are in flight")
        drain = subprocess.Popen([self.world.build / "presignctl", "drain", "--timeout-ms", "600000",
                                  "--control", self.socket], stderr=subprocess.PIPE, text=True)
        wait_until(lambda: self.status()["process"]["state"] == "draining", "it drains")
        self.ctl("resume", "--all")
        told = drain.communicate(timeout=60)[1]
        self.assertEqual(drain.returncode, 75, told)
        self.assertIn("the drain was undone", told)

    def test_a_note_that_is_not_text(self):
        self.start()
        for note in (b"\xff", b"two\nlines"):
            self.ctl("pause", "--all", "--note", os.fsdecode(note), status=64)
        self.assertEqual(self.status()["pauses"], [])

    def test_a_pause_that_a_restart_keeps(self):
        self.start()
        self.ctl("pause", "--all", "--for", "1h", "--persist", "--note", "moved")
        self.ctl("pause", "--endpoint", "h5")
        self.assertEqual(self.daemon.terminate(), 0)
        self.daemon = self.start_daemon(wait=False)
        wait_until(self.pauses, "the pause is there again")
        sent = self.world.produce(event() for _ in range(5))
        self.assertEqual([(each["scope"], each["persist"], each["note"]) for each in self.pauses()],
                         [("all", True, "moved")])
        self.ctl("resume", "--all")
        self.world.wait_for_outcomes(sent)
        self.assertEqual(self.status()["pauses"], [])

    def pauses(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            return self.status()["pauses"]
        return []

    def test_a_pause_that_cannot_be_kept(self):
        self.start(state_dir="")
        told = self.ctl("pause", "--all", "--persist", status=69)
        self.assertIn("cannot be kept over a restart", told)
        self.assertEqual(self.status()["pauses"], [])
        self.assertNotIn("presignd_unclean_start", self.daemon.metrics())
        self.assertFalse(self.status()["process"]["state_dir"])

    def test_the_log_level_ends_by_itself(self):
        self.start()
        self.assertIn("log level debug until 2", self.ctl("log-level", "debug", "--for", "1s"))
        self.daemon.wait_for_log("the log level is info again")
        self.assertNotIn("log_level_until", self.status()["process"])
        self.ctl("log-level", "error")
        self.ctl("resume", "--all")
        self.daemon.wait_for_log("resume of everything, pauses ended: 0")
        self.assertEqual(self.status()["process"]["log_level"], "error")

    def test_levers_during_load_lose_nothing(self):
        self.start(faults=["503=0.1", "delay=0.2:50"])
        sent = []
        for turn in range(6):
            sent += self.world.produce(event(("app", "partner-mini-program")[n % 2]) for n in range(60))
            if turn % 2:
                self.ctl("pause", "--merchant", MERCHANT, "--endpoint", "partner-mini-program", "--for", "1h")
                self.assertEqual(self.curl("/v1/reload", {})[0], 200)
                self.ctl("resume", "--endpoint", "partner-mini-program")
            else:
                self.ctl("pause", "--all")
                self.ctl("log-level", "debug", "--for", "1s")
            self.ctl("drain")
            self.ctl("resume", "--all")
        self.world.wait_for_outcomes(sent)
        self.assertEqual(self.daemon.terminate(), 0)
        self.world.assert_audit_passes()

    def test_an_event_is_found(self):
        self.start()
        self.ctl("pause", "--all")
        self.ctl("resume", "--all")
        self.ctl("pause", "--merchant", MERCHANT)
        self.world.produce([event("app", out_contract_code="findme", mchid=MERCHANT)])

        def found():
            return self.curl("/v1/find?code=findme")[1]["events"]
        wait_until(found, "the event is found")
        self.assertEqual([(each["state"], each["held_by"], each["instance"], each["out_contract_code"])
                          for each in found()], [("held", "paused", "presignd-1", "findme")])
        self.assertEqual(self.curl("/v1/find")[0], 400)


class Pauses(Control):
    """What happens to paused events, and how a pause ends."""

    def paused(self, scope, name=""):
        return self.daemon.metrics()[f'presignd_paused{{scope="{scope}",name="{name}"}}']

    def test_everything_stops_but_the_calls_in_flight(self):
        self.start(faults=["delay=1:3000"])
        called = self.world.produce(event() for _ in range(5))
        wait_until(lambda: self.status()["work"]["calls_in_flight"] == 5, "the calls are in flight")
        self.ctl("pause", "--all")
        after = self.world.produce(event() for _ in range(20))
        self.world.wait_for_outcomes(called)
        status = self.status()
        self.assertEqual((status["process"]["state"], status["process"]["ready"]), ("paused", True))
        self.assertEqual({each["state"] for each in status["merchants"]}, {"paused"})
        self.assertEqual({each["paused"] for each in status["partitions"]}, {"everything is paused"})
        self.assertEqual(self.paused("all"), 1)
        self.assertFalse(set(after) & self.world.outcomes().keys())
        self.ctl("resume", "--all")
        outcomes = self.world.wait_for_outcomes(after)
        self.assertEqual({outcome.reason for outcome in outcomes.values()}, {None})
        self.assertEqual(self.paused("all"), 0)
        self.daemon.terminate()
        self.world.assert_audit_passes(delivery=auditor.EXACTLY_ONCE)

    def test_a_pause_survives_kill_9_where_that_is_asked_for(self):
        self.start()
        self.ctl("pause", "--merchant", MERCHANT, "--persist", "--note", "a leaked key")
        self.ctl("pause", "--endpoint", "h5")
        before = self.status()["pauses"][0]
        sent = self.world.produce(event("app", mchid=MERCHANT) for _ in range(5))
        wait_until(lambda: self.status()["work"]["held_paused"] == 5, "the events are held")
        self.assertEqual(stat.S_IMODE((self.state / "pauses.json").stat().st_mode), 0o600)
        self.daemon.kill()
        self.daemon = self.start_daemon()
        self.daemon.wait_for_log(f"the pause of merchant {MERCHANT} goes on after the restart: a leaked key")
        wait_until(lambda: self.status()["work"]["held_paused"] == 5, "the events are held again")
        self.assertEqual(self.status()["pauses"], [{**before, "events": 5}])
        self.assertEqual(self.paused("merchant", MERCHANT), 1)
        self.ctl("resume", "--merchant", MERCHANT)
        self.world.wait_for_outcomes(sent)
        self.assertFalse((self.state / "pauses.json").exists())
        self.assertEqual(self.daemon.terminate(), 0)
        self.daemon = self.start_daemon()
        self.assertEqual(self.status()["pauses"], [])
        self.world.assert_audit_passes(delivery=auditor.EXACTLY_ONCE)

    def test_a_state_directory_is_of_one_process(self):
        self.start()
        other = self.world.start_daemon("presignd-2", sections={"daemon": {"state_dir": self.state}})
        other.wait_for_log("another process uses it: nothing is kept over a restart")

    def test_a_damaged_file_is_a_warning_and_no_pause(self):
        (self.state / "pauses.json").write_text('{"version": 1, "pauses": [{"scope": "all"}]}', encoding="utf-8")
        self.start()
        self.daemon.wait_for_log("pauses.json in the state directory is damaged")
        self.assertEqual(self.status()["pauses"], [])
        self.ctl("pause", "--merchant", MERCHANT, "--persist")
        self.daemon.kill()
        self.daemon = self.start_daemon()
        self.assertEqual(len(self.status()["pauses"]), 1)

    def test_a_pause_ends_at_its_time(self):
        self.start()
        self.ctl("pause", "--merchant", MERCHANT, "--for", "2s", "--persist")
        sent = self.world.produce(event("app", mchid=MERCHANT) for _ in range(5))
        self.world.wait_for_outcomes(sent)
        self.daemon.wait_for_log(f"the pause of merchant {MERCHANT} has ended: its time is over")
        self.assertEqual(self.status()["pauses"], [])
        wait_until(lambda: not (self.state / "pauses.json").exists(), "it is not kept any more")

    def test_a_resume_is_kept_after_an_end_that_was_not(self):
        self.start()
        self.ctl("pause", "--merchant", MERCHANT, "--persist")
        self.ctl("pause", "--endpoint", "h5", "--for", "3s", "--persist")
        (self.state / "pauses.json.new").mkdir()  # nothing can be written
        self.daemon.wait_for_log("the pause of endpoint h5 has ended: its time is over")
        self.daemon.wait_for_log("pauses.json: File exists: nothing is kept over a restart")
        self.ctl("resume", "--all")
        self.assertFalse((self.state / "pauses.json").exists())

    def test_a_reload_keeps_a_pause_unless_it_removes_the_merchant(self):
        self.start()
        self.ctl("pause", "--merchant", MERCHANT)
        held = self.world.produce(event("app", mchid=MERCHANT) for _ in range(5))
        wait_until(lambda: self.status()["work"]["held_paused"] == 5, "the events are held")
        self.assertEqual(self.curl("/v1/reload", {})[0], 200)
        self.assertEqual(self.status()["pauses"][0]["events"], 5)
        path = self.world.directory / "presignd-1.conf"
        text = path.read_text(encoding="utf-8")
        begin = text.index(f"[merchant {MERCHANT}]")
        end = text.find("\n[", begin)
        path.write_text(text[:begin] + (text[end + 1:] if end >= 0 else ""), encoding="utf-8")
        code, answer = self.curl("/v1/reload", {})
        self.assertEqual(code, 200, answer)
        self.daemon.wait_for_log(f"the pause of merchant {MERCHANT} has ended: a reload removed the merchant")
        outcomes = self.world.wait_for_outcomes(held)
        self.assertEqual({outcome.reason for outcome in outcomes.values()}, {"unknown_merchant"})
        self.assertEqual(self.status()["pauses"], [])


class Reload(Control):
    def reload(self, *arguments, status=0):
        done = self.world.ctl("reload", "-c", self.world.directory / "presignd-1.conf", *arguments)
        self.assertEqual(done.returncode, status, done.stderr.decode())
        return done

    def write(self, **daemon):
        self.world.write_config(sections={"daemon": {"control_socket": self.socket, **daemon}})

    def test_reload_over_the_socket(self):
        self.start(admin_listen="", state_dir="")
        self.assertEqual(self.curl("/v1/status")[1]["process"]["ready"], True)
        done = self.world.ctl("status", "--json", "-c", self.world.directory / "presignd-1.conf")
        self.assertEqual((done.returncode, json.loads(done.stdout)["process"]["ready"]), (0, True))
        self.write(admin_listen="", state_dir="", max_in_flight=7)
        self.reload("--json")
        self.assertEqual(self.status()["work"]["calls_max"], 7)
        self.write(admin_listen="", state_dir="", max_in_flight=0, sign_threads="many")
        told = self.reload(status=78).stderr.decode()
        self.assertIn("max_in_flight", told)
        self.assertIn("sign_threads", told)

    def start(self, **daemon):
        """Ready is what the control socket says where there is no admin listener."""
        self.world.start_sandbox()
        self.daemon = self.world.start_daemon(
            sections={"daemon": {"control_socket": self.socket, **daemon}}, wait=False)
        self.daemon.wait_until_ready(self.is_ready)

    def is_ready(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            return self.status()["process"]["ready"]
        return False

    def test_the_socket_moves_and_the_old_one_answers_the_reload(self):
        self.start()
        old, self.socket = self.socket, self.world.directory / "moved.sock"
        self.write()
        done = subprocess.run(["curl", "-sS", "--unix-socket", old, "-d", "{}", "http://presignd/v1/reload"],
                              capture_output=True, text=True, timeout=180, check=True)
        self.assertTrue(json.loads(done.stdout)["ok"], done.stdout)
        self.assertTrue(self.is_ready())
        self.assertFalse(old.exists())
        self.socket.unlink()
        self.reload()  # no socket: by the signal
        self.assertEqual(http_get(f"{self.daemon.admin}/readyz")[0], 200)

    def test_a_socket_that_is_in_use_is_refused(self):
        self.start()
        taken = self.world.directory / "taken.sock"
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(taken))
            other.listen()
            self.world.write_config(sections={"daemon": {"control_socket": taken}})
            answer = self.curl("/v1/reload", {"by": "a test"})
        self.assertEqual(answer[0], 409)
        self.assertIn("Address already in use", " ".join(answer[1]["errors"]))
        self.daemon.wait_for_log("reload, asked for by a test UID=0 BY=\"a test\"")


class Access(Control):
    def test_only_root_and_the_service_may_connect(self):
        self.start()
        self.world.directory.chmod(0o755)
        self.assertEqual(stat.S_IMODE(self.socket.stat().st_mode), 0o600)
        if os.getuid() != 0:
            self.skipTest("only root can become another user")
        done = subprocess.run([self.world.build / "presignctl", "pause", "--all", "--control", self.socket],
                              user=pwd.getpwnam("nobody").pw_uid, capture_output=True, text=True, timeout=180)
        self.assertEqual(done.returncode, 69)
        self.assertIn("Permission denied", done.stderr)
        self.assertEqual(self.status()["pauses"], [])

    def test_a_process_that_was_killed_leaves_a_socket_and_a_mark(self):
        self.start()
        self.assertEqual(self.daemon.metrics()["presignd_unclean_start"], 0)
        self.daemon.kill()
        self.daemon = self.start_daemon()
        self.assertEqual(self.daemon.metrics()["presignd_unclean_start"], 1)
        self.assertEqual(self.daemon.terminate(), 0)
        self.daemon = self.start_daemon()
        self.assertEqual(self.daemon.metrics()["presignd_unclean_start"], 0)

    def test_hostile_clients_stop_nothing(self):
        self.start()
        with contextlib.ExitStack() as stack:
            for beginning in [b"", b"P", b"POST /v1/pause HTTP/1.1\r\n",
                              b"POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n{",
                              b"\xff" * 20000, b"POST /v1/pause HTTP/1.1\r\nX: " + b"x" * 50000] * 10:
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(str(self.socket))
                client.setblocking(False)
                with contextlib.suppress(OSError):
                    client.send(beginning)
            self.world.wait_for_outcomes(self.world.produce(event() for _ in range(50)))
            self.assertEqual(self.status()["pauses"], [])
            self.assertEqual(http_get(f"{self.daemon.admin}/readyz")[0], 200)
        for body, code in (("x" * 5000, 413), ("nonsense", 400), ({"all": True, "why": "?"}, 400), ("[" * 4000, 400)):
            self.assertEqual(self.curl("/v1/pause", body)[0], code)
        self.assertEqual(self.curl("/v1/pause")[0], 405)
        self.assertEqual(http_get(f"{self.daemon.admin}/v1/status")[0], 404)  # levers are not on TCP
        self.assertEqual(self.curl("/v1/nothing", {})[0], 404)
        self.daemon.terminate()
        self.world.assert_audit_passes(delivery=auditor.EXACTLY_ONCE)


if __name__ == "__main__":
    unittest.main()
