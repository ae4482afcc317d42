"""What every command of presignctl has in common."""

import os
import subprocess
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("PRESIGND_BUILD_DIR", ROOT / "build" / "dev")) / "presignctl"


def run(*arguments):
    """(exit status, standard output, standard error)"""
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


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
        lines = run("--help")[1].split("commands:\n")[1].split("\n\n")[0].splitlines()
        self.assertGreater(len(lines), 0)
        for name in (line.split()[0] for line in lines):
            with self.subTest(name):
                status, shown, told = run("help", name)
                self.assertEqual((status, told), (0, ""))
                self.assertTrue(shown.startswith(f"usage: presignctl {name} "), shown[:80])
                self.assertEqual(run(name, "--help"), (0, shown, ""))
                self.assertLessEqual(max(map(len, shown.splitlines()[1:])), 90)

    def test_mistakes_name_what_is_wrong_and_where_to_look(self):
        see = "; see presignctl --help"
        see_sandbox = "; see presignctl sandbox --help"
        self.assert_usage([], "presignctl: which command?" + see.removeprefix(";"))
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
                          "presignctl sandbox: --seconds -1: is no whole number from 0 to 604800" + see_sandbox)
        self.assert_usage(["sandbox", "word"], "presignctl sandbox: word: takes options only" + see_sandbox)


if __name__ == "__main__":
    unittest.main()
