"""All commands of presignctl: help, manual page, completion, usage errors.

With PRESIGND_UPDATE=1 it writes the manual page and the completion.
"""

import contextlib
import http.server
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("PRESIGND_BUILD_DIR", ROOT / "build" / "dev")) / "presignctl"


# Commands with an argument that is no option, and the words that it may be.
OPERANDS = {"find": set(), "log-level": {"error", "warning", "notice", "info", "debug"}}
STATUSES = {0, 64, 65, 69, 75, 78}


def run(*arguments, program=PROGRAM, stdin=""):
    """(exit status, standard output, standard error)"""
    done = subprocess.run([program, *arguments], input=stdin, capture_output=True, text=True, timeout=180)
    return done.returncode, done.stdout, done.stderr


def names():
    lines = run("--help")[1].split("commands:\n")[1].split("\n\n")[0].splitlines()
    return [line.split()[0] for line in lines]


def options_in(text):
    """The options of a help text, with their dashes."""
    lines = re.findall(r"(?m)^ +(-\w, )?(--[a-z-]+)", text)
    return {word.rstrip(", ") for line in lines for word in line if word}


def complete(script, *words):
    """What bash completes for the last word of a command line."""
    done = subprocess.run(
        ["bash", "-c", 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
         '_"$1"; printf "%s\\n" "${COMPREPLY[@]}"', "bash", ROOT / "contrib" / "completion" / script, *words],
        capture_output=True, text=True, timeout=180, cwd=ROOT)
    assert done.stderr == "", done.stderr
    return set(done.stdout.split())


class Commands(unittest.TestCase):
    def assert_usage(self, arguments, text):
        status, shown, told = run(*arguments)
        self.assertEqual((status, shown), (64, ""))
        self.assertEqual(told, text + "\n")

    def test_help_and_version(self):
        status, shown, told = run("--help")
        self.assertEqual((status, told), (0, ""))
        self.assertRegex(shown, r"(?m)^  sandbox +\S")
        self.assertEqual(run("help")[1], shown)
        self.assertRegex(run("--version")[1], r"^presignctl \d+\.\d+\.\d+\n$")

    def test_each_command_has_help_in_both_ways(self):
        self.assertGreater(len(names()), 0)
        for name in names():
            with self.subTest(name):
                status, shown, told = run("help", name)
                self.assertEqual((status, told), (0, ""))
                self.assertTrue(shown.startswith(f"usage: presignctl {name} "), shown[:80])
                self.assertEqual(run(name, "--help"), (0, shown, ""))
                self.assertLessEqual(max(map(len, shown.splitlines()[1:])), 90)

    def test_each_help_has_json_examples_and_exit_statuses(self):
        for name in names():
            with self.subTest(name):
                _, shown, _ = run(name, "--help")
                self.assertIn("--json", options_in(shown))
                self.assertRegex(shown, rf"(?s)\nexamples:\n  # .*\n  .*presignctl {name}\b")
                rows = shown.split("exit status:\n")[1].splitlines()
                statuses = [int(row.split()[0]) for row in rows]
                self.assertEqual(statuses, sorted(set(statuses)))
                self.assertLessEqual({0, 64}, set(statuses))
                self.assertLessEqual(set(statuses), STATUSES)

    def test_an_output_that_cannot_be_written(self):
        for arguments in (["--help"], ["--version"], ["help", "send"], ["help", "--manual"],
                          *([name, "--help"] for name in names())):
            with self.subTest(arguments), open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE, timeout=180)
                self.assertEqual(done.returncode, 69)

    def test_usage_errors_name_the_mistake_and_the_help(self):
        see = "; see presignctl --help"
        see_sandbox = "; see presignctl sandbox --help"
        self.assert_usage([], "presignctl: give a command" + see)
        self.assert_usage(["sandbx"], "presignctl: unknown command sandbx (sandbox?)" + see)
        self.assert_usage(["help", "sandbx"], "presignctl: unknown command sandbx (sandbox?)" + see)
        self.assert_usage(["quite-another"], "presignctl: unknown command quite-another" + see)
        self.assert_usage(["a" * 100], f"presignctl: unknown command {'a' * 100}" + see)
        self.assert_usage(["sandbox", "--x"], "presignctl sandbox: unknown option --x" + see_sandbox)
        self.assert_usage(["sandbox", "-x"], "presignctl sandbox: unknown option -x" + see_sandbox)
        self.assert_usage(["sandbox", "--seed"], "presignctl sandbox: --seed needs a value" + see_sandbox)
        self.assert_usage(["sandbox", "--fault-by-code=1"],
                          "presignctl sandbox: --fault-by-code=1: this option takes no value" + see_sandbox)
        self.assert_usage(["sandbox", "--seconds", "-1"],
                          "presignctl sandbox: --seconds -1: must be a whole number from 0 to 604800" + see_sandbox)
        self.assert_usage(["sandbox", "--sed", "1"],
                          "presignctl sandbox: unknown option --sed (--seed?)" + see_sandbox)
        self.assert_usage(["sandbox", "--serial-mode", "key"],
                          "presignctl sandbox: --serial-mode key: give one of public-key, certificate, both"
                          + see_sandbox)
        self.assert_usage(["sandbox", "word"], "presignctl sandbox: word: takes options only" + see_sandbox)

    def test_every_option_rejects_wrong_values(self):
        for name in names():
            shown = run(name, "--help")[1].split("\noptions:\n")[1].split("\n\n")[0]
            see = f"; see presignctl {name} --help"
            with self.subTest(name):
                self.assert_usage([name, "--nonsense"], f"presignctl {name}: unknown option --nonsense" + see)
                if name not in OPERANDS:
                    self.assert_usage([name, "word"], f"presignctl {name}: word: takes options only" + see)
            for option, value in re.findall(r"(?m)^  (?:-\w, )?(--[a-z-]+)( \S+)?", shown):
                with self.subTest((name, option)):
                    if value and value != " N":
                        self.assert_usage([name, option], f"presignctl {name}: {option} needs a value" + see)
                    elif value:
                        _, _, told = run(name, option, "1x")
                        self.assertIn(f"{option} 1x: must be a whole number from ", told)
                    elif option != "--help":
                        self.assert_usage([name, option + "=1"],
                                          f"presignctl {name}: {option}=1: this option takes no value" + see)

    def test_an_argument_that_is_no_option(self):
        see = "; see presignctl log-level --help"
        self.assert_usage(["log-level"], "presignctl log-level: give LEVEL" + see)
        self.assert_usage(["log-level", "info", "--for", "1h", "debug"],
                          "presignctl log-level: debug: takes one LEVEL only" + see)
        self.assert_usage(["log-level", "loud"], "presignctl log-level: LEVEL loud: give one of "
                          "error, warning, notice, info, debug" + see)

    def test_durations(self):
        wrong = "must be a number and s, m, h or d, at most 366d; see presignctl log-level --help"
        for word in ("", "1", "h", "0s", "-1s", "1.5h", "1 h", "367d", "8785h", "99999999999999999999s", "1hm"):
            with self.subTest(word):
                self.assert_usage(["log-level", "info", "--for", word], f"presignctl log-level: --for {word}: {wrong}")
        for word in ("1s", "90m", "8784h", "366d"):
            with self.subTest(word):
                status, _, told = run("log-level", "info", "--for", word, "--control", "/nonexistent/control.sock")
                self.assertEqual(status, 69, told)
                self.assertIn("no answer from unix:/nonexistent/control.sock: No such file", told)

    def test_options_that_contradict_each_other(self):
        for arguments, told in (
                (["send", "--records", "--raw"], "give --records or --raw"),
                (["send", "--key", "k", "--no-key"], "give one of --key, --key-from-code, --no-key"),
                (["tail", "--json", "--text"], "give --json or --text"),
                (["topics", "--create", "--check"], "give --create or --check"),
                (["redrive", "--send", "--list"], "give one of --send, --discard, --list"),
                (["redrive", "--reason", "bad"], "--reason bad: give one of empty_event, "),
                (["redrive", "--since", "yesterday"], "--since yesterday: give a time ("),
                (["redrive", "--forgotten", "yes"], "--forgotten yes: give one of send, leave"),
                (["pause"], "give --merchant, --endpoint or --all"),
                (["pause", "--all", "--merchant", "1"], "--all goes without --merchant and --endpoint"),
                (["pause", "--endpoint", "web"], "--endpoint web: give one of app, "),
                (["pause", "--all", "--note", "x" * 513], "--note: must have at most 512 bytes"),
                (["resume"], "give --merchant, --endpoint or --all"),
                (["sign"], "--endpoint is missing"),
                (["sign", "--endpoint", "web"], "--endpoint web: give one of app, "),
                (["validate", "--now", "today"], "--now must be an RFC 3339 time")):
            with self.subTest(arguments):
                status, shown, text = run(*arguments)
                self.assertEqual((status, shown), (64, ""))
                self.assertTrue(text.startswith(f"presignctl {arguments[0]}: {told}"), text)
                self.assertTrue(text.endswith(f"; see presignctl {arguments[0]} --help\n"), text)

    def test_a_missing_configuration_is_named(self):
        for name in ("check", "send", "tail", "topics", "redrive", "validate", "call"):
            with self.subTest(name):
                status, _, told = run(name, "-c", "/nonexistent/presignd.conf")
                self.assertEqual(status, 78)
                self.assertIn("/nonexistent/presignd.conf", told)
        status, shown, _ = run("check", "--json", "-c", "/nonexistent/presignd.conf")
        found = json.loads(shown)
        self.assertEqual((status, found["ok"], len(found["problems"])), (78, False, 1))


@contextlib.contextmanager
def answering(result):
    """Yields the address of an admin listener whose /reload.json is the value of `result`."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(result()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def named(name):
    """The path of a sleep(1) with that name."""
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / name
        shutil.copy(shutil.which("sleep"), program)
        yield program


class Reload(unittest.TestCase):
    """Answers that a real daemon does not give; tests/systemd tests the real ones."""

    def reload(self, listen, *options):
        """In its own session, since a signal can go to a whole process group."""
        done = subprocess.run([PROGRAM, "reload", "--set", f"daemon.admin_listen={listen}",
                               "--set", "daemon.control_socket=", "--timeout", "120", *options],
                              capture_output=True, text=True, timeout=180, start_new_session=True)
        return done.returncode, done.stderr

    def test_a_listener_that_names_no_process_gets_no_signal(self):
        for result in ({"count": 0}, {"count": 0, "pid": 0}, {"count": 0, "pid": "1"}, {"count": 0, "pid": 1 << 32}):
            with self.subTest(result), answering(lambda result=result: result) as listen:
                status, told = self.reload(listen)
                self.assertEqual(status, 69, told)
                self.assertIn("is not presignd's admin listener", told)

    def test_a_pid_of_another_namespace_gets_no_signal(self):
        with subprocess.Popen(["sleep", "1800"]) as stranger:
            with answering(lambda: {"count": 0, "pid": stranger.pid, "pid_namespace": 1}) as listen:
                status, told = self.reload(listen)
            self.assertIsNone(stranger.poll())
            stranger.kill()
        self.assertEqual(status, 69, told)
        self.assertIn(f"another pid namespace, where its pid is {stranger.pid}", told)

    def test_a_restarted_daemon_has_no_result(self):
        asked = []

        def result():
            asked.append(True)
            return {"count": 0, "pid": daemon.pid if len(asked) == 1 else os.getpid()}

        with named("presignd") as program, subprocess.Popen([program, "1800"]) as daemon:
            reaper = threading.Thread(target=daemon.wait)
            reaper.start()
            with answering(result) as listen:
                status, told = self.reload(listen)
            daemon.kill()
            reaper.join()
        self.assertEqual(status, 69, told)
        self.assertEqual(told, f"presignctl reload: process {daemon.pid} has ended\n")

    def test_a_process_that_is_not_presignd_gets_no_signal(self):
        for name in ("presignctl", "presign", "presignd2"):
            with self.subTest(name), named(name) as program, subprocess.Popen([program, "1800"]) as stranger:
                with answering(lambda pid=stranger.pid: {"count": 0, "pid": pid}) as listen:
                    by_listener = self.reload(listen)
                    by_option = self.reload(listen, "--pid", str(stranger.pid))
                self.assertIsNone(stranger.poll())
                stranger.kill()
                told = f"presignctl reload: process {stranger.pid}: it is not presignd\n"
                self.assertEqual((by_listener, by_option), ((69, told), (69, told)))

    def test_a_process_that_is_gone(self):
        with subprocess.Popen(["true"]) as gone:
            pass
        with answering(lambda: {"count": 0, "pid": gone.pid}) as listen:
            status, told = self.reload(listen, "--pid", str(gone.pid))
        self.assertEqual((status, told), (69, f"presignctl reload: process {gone.pid}: No such process\n"))


class Documents(unittest.TestCase):
    def assert_committed(self, path, begin, end, text):
        """The file contains TEXT between the lines `begin` and `end`; without them, TEXT only."""
        committed = path.read_text(encoding="utf-8") if path.exists() else ""
        if begin:
            before, rest = committed.split(begin)
            text = before + begin + text + end + rest.split(end)[1]
        if "PRESIGND_UPDATE" in os.environ:
            path.write_text(text, encoding="utf-8")
            return
        self.assertTrue(committed == text,
                        f"{path} differs from its table: run this test with PRESIGND_UPDATE=1")

    def test_the_manual_page_is_generated(self):
        self.assert_committed(
            ROOT / "docs" / "man" / "presignctl.1", ".\\\" commands: made from the table of commands\n",
            ".\\\" commands: end\n", run("help", "--manual")[1])

    def test_the_completion_is_generated(self):
        self.assert_committed(ROOT / "contrib" / "completion" / "presignctl", None, None,
                              run("help", "--completion")[1])

    def test_completion_of_commands_options_and_values(self):
        self.assertEqual(complete("presignctl", "presignctl", ""),
                         {*names(), "help", "--help", "--version"})
        self.assertEqual(complete("presignctl", "presignctl", "help", "s"),
                         {name for name in names() if name.startswith("s")})
        for name in names():
            with self.subTest(name):
                wanted = options_in(run(name, "--help")[1].split("\nexamples:")[0]) - {"-h"}
                wanted |= OPERANDS.get(name, set())
                self.assertEqual(complete("presignctl", "presignctl", name, ""), wanted)
        self.assertEqual(complete("presignctl", "presignctl", "tail", "--from", ""), {"beginning", "end"})
        self.assertEqual(complete("presignctl", "presignctl", "tail", "--from", "=", "b"), {"beginning"})
        self.assertEqual(complete("presignctl", "presignctl", "tail", "--from", "="), {"beginning", "end"})
        self.assertEqual(complete("presignctl", "presignctl", "tail", "-c", "READ"),
                         {path.name for path in ROOT.glob("READ*")})
        self.assertEqual(complete("presignctl", "presignctl", "sandbox", "--dir", "doc"), {"docs"})
        self.assertEqual(complete("presignctl", "presignctl", "tail", "--count", ""), set())

    def test_help_manual_page_and_completion_of_presignd_agree(self):
        wanted = options_in(run("--help", program=PROGRAM.with_name("presignd"))[1])
        self.assertIn("--check", wanted)
        self.assertEqual(complete("presignd", "presignd", ""), wanted)
        self.assertEqual(complete("presignd", "presignd", "-c", "READ"),
                         {path.name for path in ROOT.glob("READ*")})
        page = (ROOT / "docs" / "man" / "presignd.8").read_text(encoding="utf-8")
        items = page.split("The options are:")[1].split(".El")[0]
        said = re.findall(r"\bFl (-?[a-z]+)", "".join(re.findall(r"(?m)^\.It .*", items)))
        self.assertEqual({"-" + option for option in said}, wanted)
        for status in re.findall(r"(?m)(?:^|, )(\d\d?) ", page.split("EXIT STATUS")[1]):
            self.assertIn(int(status), STATUSES)


if __name__ == "__main__":
    unittest.main()
