"""docs/testing.md names each label of CTest, and tests that exist."""

import json
import os
import re
import subprocess
import unittest
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("PRESIGND_BUILD_DIR", ROOT / "build/release"))


def labels_of_tests():
    """{label: names of its tests}; the label "" has the tests without one."""
    shown = subprocess.run(["ctest", "--test-dir", BUILD, "--show-only=json-v1"], capture_output=True, text=True,
                           check=True)
    found = {}
    for test in json.loads(shown.stdout)["tests"]:
        labels = [label for item in test["properties"] if item["name"] == "LABELS" for label in item["value"]]
        for label in labels or [""]:
            found.setdefault(label, []).append(test["name"])
    return found


def documented():
    """{label: patterns of test names} from the table of labels."""
    table = (ROOT / "docs/testing.md").read_text(encoding="utf-8").partition("| label |")[2].partition("\n\n")[0]
    rows = [re.split(r" +\| +", line.strip("| ")) for line in table.splitlines()[2:]]
    return {label.strip("`"): re.findall(r"`([\w-]+\.(?!c`|py`)[\w.*]+)`", text) for label, files, text in rows}


class Labels(unittest.TestCase):
    def test_every_test_has_a_documented_label(self):
        found = labels_of_tests()
        self.assertEqual(found.pop("", []), [], "tests without a label")
        self.assertEqual(sorted(found), sorted(documented()), "labels of CTest, and those in docs/testing.md")

    def test_documented_names_exist(self):
        found = labels_of_tests()
        names = [name for tests in found.values() for name in tests]
        for label, patterns in documented().items():
            self.assertTrue(patterns, label)
            for pattern in patterns:
                with self.subTest(label=label, pattern=pattern):
                    plain = pattern.replace("ROOM", "*").replace("NAME", "*").replace("TARGET", "*")
                    self.assertTrue(any(fnmatch(name, plain) for name in names), "no test has this name")


if __name__ == "__main__":
    unittest.main()
