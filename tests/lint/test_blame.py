""".git-blame-ignore-revs names commits of this repository."""

import subprocess
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)


class Blame(unittest.TestCase):
    def test_every_hash_is_a_commit_before_this_one(self):
        lines = (ROOT / ".git-blame-ignore-revs").read_text().splitlines()
        hashes = [line for line in lines if line and not line.startswith("#")]
        for each in hashes:
            self.assertRegex(each, r"^[0-9a-f]{40}$")
        wrong = [each for each in hashes if git("merge-base", "--is-ancestor", each, "HEAD").returncode != 0]
        if wrong == hashes:
            self.skipTest("no commit is known: not a git checkout, a shallow one, or a squashed history")
        self.assertEqual(wrong, [], "these are no ancestors of HEAD")


if __name__ == "__main__":
    unittest.main()
