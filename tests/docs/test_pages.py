"""Documents: links have targets, tables are even, alerts have runbooks, reasons of failures have advice,
translations are up to date."""

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from urllib.parse import unquote

import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "contrib/prometheus/presignd.rules.yml"
REASONS = ROOT / "include/presignd/flow/reason_rows.h"


def pages():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, check=True,
                            capture_output=True, text=True)
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def prose(path):
    """Without fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(path):
    """As the forges make them of headings."""
    names = set()
    for heading in re.findall(r"^#+ +(.*)$", prose(path), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        names.add(re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-"))
    return names


def uneven_rows(text):
    """Line numbers of table rows whose number of cells is not their header's."""
    found, cells = [], None
    for number, line in enumerate(text.splitlines(), 1):
        count = len(re.findall(r"(?<!\\)\|", line)) if line.lstrip().startswith("|") else None
        cells = count and (cells or count)
        if count != cells:
            found.append(number)
    return found


def advised(text):
    """The names in the first column of the table that says what to do for each reason of a failure."""
    runbook = re.search(r"^### (?:Reasons of failures|失败原因)\n(.*?)(?=^###? |\Z)", text, re.MULTILINE | re.DOTALL)[1]
    return [name for cell in re.findall(r"^\| ([^|]*) \|", runbook, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)]


class Pages(unittest.TestCase):
    def test_links_lead_somewhere(self):
        found = 0
        for page in pages():
            for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
                if re.match(r"[a-z]+:", target):
                    continue
                found += 1
                with self.subTest(page=page.name, link=target):
                    file, _, anchor = unquote(target).partition("#")
                    path = (page.parent / file).resolve() if file else page
                    self.assertTrue(path.exists(), "there is no such file")
                    if anchor:
                        self.assertIn(anchor, anchors(path))
        self.assertGreater(found, 50)

    def test_rows_of_a_table_have_as_many_cells_as_its_header(self):
        for page in pages():
            for number in uneven_rows(page.read_text(encoding="utf-8")):
                self.fail(f"{page.relative_to(ROOT)}:{number}: the row has more or fewer cells than its header")

    def test_an_uneven_row_is_found(self):
        self.assertEqual(uneven_rows("| a | b |\n| --- | --- |\n| 1 | 2 |\n| `x\\|y` | 2 |\n\n| one |\n| --- |\n"), [])
        self.assertEqual(uneven_rows("text\n| a | b |\n| --- | --- |\n| 1 | 2 | 3 |\n| 1 |\n| 1 | 2 |\n"), [4, 5])

    def test_every_alert_has_its_runbook_and_the_other_way_round(self):
        if not RULES.exists():
            self.skipTest(f"no {RULES.relative_to(ROOT)}")
        rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
        alerts = {rule["alert"] for rule in rules if "alert" in rule}
        for name in ("operations.md", "operations.zh-CN.md"):
            headings = re.findall(r"^### (Presignd\w+)$", prose(ROOT / "docs" / name), re.MULTILINE)
            self.assertEqual(sorted(headings), sorted(alerts), name)

    def test_every_runbook_begins_with_the_command_that_shows_the_cause(self):
        first = {}
        for name, words in (("operations.md", "First: "), ("operations.zh-CN.md", "先执行：")):
            text = (ROOT / "docs" / name).read_text(encoding="utf-8")
            for alert, line in re.findall(r"^### (Presignd\w+)\n\n(.*)$", text, re.MULTILINE):
                with self.subTest(name, alert=alert):
                    self.assertRegex(line, f"^{words}`[^`]+`")
                    command = line.split("`")[1]
                    self.assertEqual(first.setdefault(alert, command), command, "the languages differ")

    def test_every_reason_of_a_failure_has_advice(self):
        reasons = re.findall(r'^REASON\(\w+, "(\w+)"', REASONS.read_text(encoding="utf-8"), re.MULTILINE)
        self.assertGreater(len(reasons), 10)
        for name in ("operations.md", "operations.zh-CN.md"):
            found = advised((ROOT / "docs" / name).read_text(encoding="utf-8"))
            self.assertEqual(sorted(found), sorted(reasons), f"{name}: the first column under 'Reasons of failures'")

    def test_advice_is_read_from_the_first_column_of_its_runbook(self):
        text = "### A\n| `x` | y |\n### Reasons of failures\n| r | who |\n| --- | --- |\n| `a`, `b` | `c` |\n## B\n| `d` | e |\n"
        self.assertEqual(advised(text), ["a", "b"])

    def test_no_translation_is_older_than_its_original(self):
        done = subprocess.run([ROOT / "scripts/translation-stamp", "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_an_old_translation_is_found(self):
        with tempfile.TemporaryDirectory() as directory:
            room = Path(directory)
            (room / "scripts").mkdir()
            stamp = shutil.copy(ROOT / "scripts/translation-stamp", room / "scripts")
            (room / "A.md").write_text("one\n")
            (room / "A.zh-CN.md").write_text("一\n")
            subprocess.run([stamp, "A.zh-CN.md"], check=True)
            subprocess.run([stamp, "--check", "A.zh-CN.md"], check=True)
            (room / "A.md").write_text("two\n")
            found = subprocess.run([stamp, "--check", "A.zh-CN.md"], capture_output=True, text=True)
            self.assertEqual(found.returncode, 1)
            self.assertIn("A.zh-CN.md is older than A.md", found.stderr)

    def test_a_translation_runs_the_same_commands(self):
        """Blocks of translations differ in comments only, so that what was tested is what is read."""
        def commands(name):
            blocks = re.findall(r"^( *)```\w*\n(.*?)^\1```$", (ROOT / name).read_text(encoding="utf-8"),
                                re.MULTILINE | re.DOTALL)
            return [text for _, text in blocks if not text.startswith("sequenceDiagram")]
        def outline(name):
            return [len(marks) for marks in re.findall(r"^(#+) ", prose(ROOT / name), re.MULTILINE)]
        twins = [str(page.relative_to(ROOT)) for page in pages() if page.name.endswith(".zh-CN.md")]
        self.assertGreaterEqual(len(twins), 4)
        for name in (twin.removesuffix(".zh-CN.md") for twin in twins):
            with self.subTest(name):
                self.assertEqual(commands(f"{name}.zh-CN.md"), commands(f"{name}.md"))
                self.assertEqual(outline(f"{name}.zh-CN.md"), outline(f"{name}.md"))


if __name__ == "__main__":
    unittest.main()
