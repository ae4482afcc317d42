"""Each text rule of scripts/lint finds what it forbids: it reads small trees with planted errors."""

import contextlib
import importlib.machinery
import importlib.util
import io
import re
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def load():
    loader = importlib.machinery.SourceFileLoader("lint", str(ROOT / "scripts/lint"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("lint", loader))
    loader.exec_module(module)
    return module


class Rules(unittest.TestCase):
    def lint(self, check, files):
        """The output of scripts/lint on a tree that holds `files`, {name: text}."""
        lint = load()
        with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()) as output:
            lint.ROOT = Path(directory)
            for name, text in files.items():
                (lint.ROOT / name).parent.mkdir(parents=True, exist_ok=True)
                (lint.ROOT / name).write_text(text, encoding="utf-8")
            self.failed = lint.main([check]) == 1
        return output.getvalue().replace(f"{directory}/", "")

    def assert_found(self, check, finding, files):
        self.assertIn(finding, self.lint(check, files))
        self.assertTrue(self.failed)

    def assert_clean(self, check, files):
        output = self.lint(check, files)
        self.assertFalse(self.failed, output)
        self.assertEqual(len(output.splitlines()), 1, output)

    # ---- rooms

    def test_rooms_clean(self):
        self.assert_clean("--rooms", {
            "include/presignd/base/buf.h": '#include "presignd/version.h"\n#include <stdio.h>\n',
            "src/base/buf.c": '#include "presignd/base/buf.h"\n#include "base/own.h"\n',
            "src/base/own.h": "",
            "src/wire/event.c": '#include "presignd/base/buf.h"\n',
            "src/main.c": '#include "presignd/daemon/daemon.h"\n',
            "include/presignd/daemon/daemon.h": "",
            "src/ctl/main.c": '#include "ctl/kit/command.h"\n#include "ctl/demo/demo.h"\n',
            "src/ctl/kit/command.h": "",
            "src/ctl/demo/demo.h": '#include "ctl/sandbox/sandbox.h"\n',
            "src/ctl/sandbox/sandbox.h": '#include "ctl/kit/command.h"\n',
        })

    def test_an_arrow_that_is_not_in_the_table(self):
        self.assert_found("--rooms", "src/wire/event.c:2: wire must not use flow [uses]", {
            "include/presignd/flow/job.h": "", "src/wire/event.c": '\n#include "presignd/flow/job.h"\n'})
        self.assert_found("--rooms", "src/new/a.c:1: new is not in the table of rooms [uses]", {"src/new/a.c": ""})
        self.assert_found("--rooms", "src/a.c:1: src is not in the table of rooms [uses]", {"src/a.c": ""})

    def test_commands_do_not_use_each_other(self):
        self.assert_found("--rooms", "src/ctl/topics/topics.c:1: ctl/topics must not use ctl/redrive [uses]", {
            "src/ctl/redrive/run.h": "", "src/ctl/topics/topics.c": '#include "ctl/redrive/run.h"\n'})
        self.assert_found("--rooms", "src/ctl/kit/kafka.c:1: ctl/kit must not use ctl [uses]", {
            "src/ctl/tail.h": "", "src/ctl/kit/kafka.c": '#include "ctl/tail.h"\n'})

    def test_a_path_that_does_not_begin_with_a_room(self):
        self.assert_found("--rooms", "[path]", {"src/flow/a.c": '#include "../kafka/b.h"\n'})
        self.assert_found("--rooms", "[path]", {"src/flow/a.c": '#include "flow/../kafka/b.h"\n'})
        self.assert_found("--rooms", "[path]", {"src/flow/a.c": '#include "parts.h"\n'})

    def test_a_private_header_of_another_room(self):
        self.assert_found("--rooms", 'src/flow/a.c:1: "kafka/b.h" is a private header of kafka [private]', {
            "src/kafka/b.h": "", "src/flow/a.c": '#include "kafka/b.h"\n'})

    def test_an_offered_header_that_needs_a_private_one(self):
        self.assert_found("--rooms", "include/presignd/kafka/a.h:1: \"kafka/b.h\" is a private header", {
            "src/kafka/b.h": "", "include/presignd/kafka/a.h": '#include "kafka/b.h"\n'})

    def test_an_offered_header_that_no_other_room_uses(self):
        files = {"include/presignd/flow/a.h": "", "src/flow/a.c": '#include "presignd/flow/a.h"\n',
                 "tests/unit/flow/test_a.c": '#include "presignd/flow/a.h"\n',
                 "bench/a.c": '#include "presignd/flow/a.h"\n'}
        self.assert_found("--rooms", "include/presignd/flow/a.h:1: only flow uses it", files)
        self.assert_clean("--rooms", {**files, "include/presignd/flow/b.h": '#include "presignd/flow/a.h"\n',
                                      "src/daemon/c.c": '#include "presignd/flow/b.h"\n'})

    def test_modules_that_include_each_other(self):
        self.assert_found("--rooms", "flow/a -> flow/b -> flow/c -> flow/a [cycle]", {
            "src/flow/a.c": '#include "flow/a.h"\n#include "flow/b.h"\n', "src/flow/a.h": "",
            "src/flow/b.h": '#include "flow/c.h"\n', "src/flow/c.c": '#include "flow/a.h"\n', "src/flow/c.h": ""})

    # ---- names

    def test_an_old_identifier(self):
        self.assert_found("--names", "src/a.c:2: JOB_LANE: the word is merchant_queue", {"src/a.c": "\nint JOB_LANE;\n"})
        self.assert_found("--names", "src/a.c:1: piles_up:", {"src/a.c": "int piles_up;\n"})
        self.assert_found("--names", "src/flow/a.c:1: draft:", {"src/flow/a.c": "int draft;\n"})
        self.assert_clean("--names", {"src/schema/a.c": "int draft;\n"})

    def test_words_that_only_contain_an_old_one_and_words_of_others(self):
        self.assert_clean("--names", {"src/a.c": '/* lane */ int plane, replace, returned;\n'
                                                 'char *s = "lane"; // lane\nrd_kafka_query_watermark_offsets();\n'
                                                 'Test(a, nothing_is_settled_before_its_time)\n'})

    # ---- terms

    GLOSSARY = ("| term | not |\n| --- | --- |\n| in flight | in the air |\n"
                "| base offset | watermark (high watermark), 水位 |\n")

    def test_an_unwanted_word(self):
        self.assert_found("--terms", "a.md:2: In the air: the term is in flight", {
            "docs/glossary.md": self.GLOSSARY, "a.md": "\nIn the\nair\n"})
        self.assert_found("--terms", "a.zh-CN.md:1: 水位: the term is base offset", {
            "docs/glossary.md": self.GLOSSARY, "a.zh-CN.md": "分区水位处\n"})
        self.assert_found("--terms", "src/a.c:2: in the air: the term is in flight", {
            "docs/glossary.md": self.GLOSSARY, "src/a.c": "\n/* calls in the\n * air */\n"})
        self.assert_found("--terms", "src/a.c:1: watermark: the term is base offset", {
            "docs/glossary.md": self.GLOSSARY, "src/a.c": 'char *s = "the watermark";\n'})

    def test_permitted_expressions_and_identifiers(self):
        self.assert_clean("--terms", {
            "docs/glossary.md": self.GLOSSARY, "a.md": "Kafka's high watermark; watermarks\n",
            "src/a.c": "int watermark;\n"})

    # ---- sizes

    def test_a_long_function(self):
        self.assert_found("--sizes", "src/a.c:1: body of 71 lines, at most 70: int f(void)", {
            "src/a.c": "int f(void)\n{\n" + "    f();\n" * 71 + "}\n"})
        self.lint("--sizes", {"src/a.c": "int f(void)\n{\n" + "    f();\n" * 70 + "}\n"})
        self.assertFalse(self.failed)


class Table(unittest.TestCase):
    def test_the_lint_has_the_table_of_the_architecture_page(self):
        rooms = load().ROOMS
        page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("\n## Rooms\n")[2].partition("\n## ")[0]
        rows = {}
        for name, uses in re.findall(r"^\| `(\w+)(?:/|\.c)` \|.*\| ([\w, ]+) \|$", page, re.MULTILINE):
            rows[name] = uses.split(", ")
        rows.pop("src", None)  # the header
        names = list(rows)
        self.assertEqual(sorted(names), sorted({room.partition("/")[0] for room in rooms}))
        for name, uses in rows.items():
            if uses == ["all below"]:
                uses = names[names.index(name) + 1:]
            elif uses[0].startswith("all but "):
                uses = set(names) - {uses[0].removeprefix("all but "), name, "main"}
            with self.subTest(name):
                found = {room.partition("/")[0] for room in rooms[name]} - {name}
                self.assertEqual(found | {"base"}, set(uses) - {"nothing"} | {"base"})


class Confirmation(unittest.TestCase):
    """A finding counts when a second run has it, too."""

    def once(self, *results):
        """(what counts, how often the check ran) when its runs return `results`."""
        lint = load()
        lint.fingerprint = lambda path, command, settings: "mark"
        remaining = list(results)
        with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()) as printed:
            lint.PASSED = Path(directory)
            found = lint.once(lambda path, command: remaining.pop(0), Path("a.c"), [], b"")
            self.assertEqual((lint.PASSED / "mark").exists(), not found)
        return found, len(results) - len(remaining), printed.getvalue()

    def test_a_finding_of_both_runs_counts(self):
        self.assertEqual(self.once("bad", "bad"), ("bad", 2, ""))

    def test_a_finding_of_one_run_is_only_printed(self):
        found, runs, printed = self.once("bad", "")
        self.assertEqual((found, runs), ("", 2))
        self.assertIn("a.c: only the first of two runs found this:\nbad", printed)

    def test_a_clean_file_is_read_once(self):
        self.assertEqual(self.once("", "bad"), ("", 1, ""))


if __name__ == "__main__":
    unittest.main()
