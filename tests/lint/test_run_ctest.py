"""scripts/run-ctest: which failures run once more, and that they are named."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

RUN = Path(__file__).parents[2] / "scripts/run-ctest"
ONCE = 'test -e seen.$0 || { touch seen.$0; exit 1; }'  # fails the first time
NEVER = "exit 1"


class RunCtest(unittest.TestCase):
    def run_ctest(self, *tests, most="2", options=()):
        """Each test is (name, label, shell command); those of label e2e have a Kafka."""
        with tempfile.TemporaryDirectory() as directory:
            lines = []
            for name, label, command in tests:
                lines += [f'add_test("{name}" "sh" "-c" "{command}" "{name}")'.replace("$", r"\$"),
                          f'set_tests_properties("{name}" PROPERTIES LABELS "{label}")']
                if label == "e2e":
                    lines.append(f'set_tests_properties("{name}" PROPERTIES RESOURCE_GROUPS "kafka:1")')
            Path(directory, "CTestTestfile.cmake").write_text("\n".join(lines))
            done = subprocess.run([RUN, directory, *options], env={**os.environ, "PRESIGND_RERUN": most},
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout

    def test_a_real_part_that_passes_alone_is_named(self):
        status, text = self.run_ctest(("e2e.one", "e2e", ONCE), ("base.buf", "unit", "true"))
        self.assertEqual(status, 0, text)
        self.assertIn("INTERMITTENT, failed once and passed alone: e2e.one\n", text)
        self.assertIn("0 tests failed out of 1", text)

    def test_a_real_part_that_fails_again_is_a_failure(self):
        status, text = self.run_ctest(("e2e.one", "e2e", NEVER))
        self.assertEqual(status, 8, text)
        self.assertNotIn("INTERMITTENT", text)

    def test_other_failures_count_at_once(self):
        for tests in ([("base.buf", "unit", ONCE)],
                      [("e2e.one", "e2e", ONCE), ("base.buf", "unit", ONCE)],
                      [("kafka-room.mock@asan", "kafka-room", ONCE)]):
            status, text = self.run_ctest(*tests)
            self.assertEqual((status, text.count("tests failed out of")), (8, 1), text)

    def test_more_than_the_limit_count_at_once(self):
        names = [(f"e2e.{n}", "e2e", ONCE) for n in range(3)]
        self.assertEqual(self.run_ctest(*names)[0], 8)
        self.assertEqual(self.run_ctest(names[0], most="0")[0], 8)

    def test_three_kafkas_at_once(self):
        counts = "touch on.$0; sleep 0.5; n=$(ls on.* | wc -l); sleep 0.5; rm on.$0; test $n -le 3"
        status, text = self.run_ctest(*[(f"e2e.{n}", "e2e", counts) for n in range(8)], most="0",
                                      options=["--parallel", "8"])
        self.assertEqual(status, 0, text)

    def test_no_failure(self):
        self.assertEqual(self.run_ctest(("e2e.one", "e2e", "true"))[0], 0)


if __name__ == "__main__":
    unittest.main()
