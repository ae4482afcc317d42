"""Each row of a table has code that uses it: a configuration key is read, and read again after a
reload if its row says so; a metric is counted, a fact of the status set, a message logged. Each rule
that setup fills in is filled in, and read. Each default is compared by the unit test of config/read.
Prints what is left out."""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEYS = "include/presignd/config/keys.h"
METRICS = "include/presignd/ops/metric_rows.h"
REASONS = "include/presignd/flow/reason_rows.h"
STATUS = "include/presignd/ops/status_rows.h"
ATTENTION = "src/daemon/attention.c"
SECTIONS = "src/ops/status.c"
GLOSSARY = "docs/glossary.md"
RUNBOOKS = ("docs/operations.md", "docs/operations.zh-CN.md")
MESSAGES = "include/presignd/ops/messages.h"
SETUP = "include/presignd/setup/setup.h"
DEFAULTS = "tests/unit/config/test_read.c"

# What src/setup/setup.c fills in; a field that it leaves out is silently 0. With each: who reads it, and
# by which name.
FILLED = {"admit_rules": ("include/presignd/flow/admit.h", "src/flow/", "(?:rules|admit)->"),
          "retry_policy": ("include/presignd/flow/retry.h", "src/flow/", r"(?:policy->|retry\.)"),
          "pipeline_limits": ("include/presignd/flow/ports.h", "src/flow/", r"limits(?:\.|->)"),
          "pipeline_rules": ("include/presignd/flow/ports.h", "src/flow/", r"rules(?:\.|->)"),
          "caller_config": ("include/presignd/wechatpay/caller.h", "src/wechatpay/", "config->"),
          "merchant_spec": ("include/presignd/wechatpay/merchant.h", "src/wechatpay/", "spec->")}

# Fields of struct setup that only a start uses: a change of Kafka's properties needs a restart.
START_ONLY = {"properties", "property_count"}

# Where metrics are named, by people and programs that never see metric_rows.h.
MONITORING = ("contrib/prometheus/presignd.rules.yml", "contrib/grafana/presignd.json", "docs/operations.md",
              "docs/operations.zh-CN.md")

# Keys that are checked and not used yet; their help says so.
UNUSED = set()


def code(text):
    """C without comments and strings."""
    return re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"', "", text, flags=re.S)


def rows(text, kinds):
    """(kind, section, name) of the rows of a table of fields."""
    return re.findall(rf"^({kinds})\((\w+), (\w+)", text, flags=re.M)


def unread_keys(table, sources):
    """`sources`: {path: text} of src/. `presignctl check` looks at each path, which is no use."""
    users = {path: code(text) for path, text in sources.items() if not path.startswith(("src/config/", "src/ctl/check/"))}
    plain = "".join(users.values())
    merchants = "".join(text for text in users.values() if "struct config_merchant" in text)
    for _, section, name in rows(table, "TEXT|EXAMPLE|NUMBER|FLAG|CHOICE"):
        used = rf"->{name}\b" if section == "merchant" else rf"[.>]{section}\.{name}\b"
        if not re.search(used, merchants if section == "merchant" else plain):
            yield f"{section}.{name}"


def functions(sources):
    """{name: text} of the functions that these files define; those of one name are one."""
    found = {}
    for text in sources.values():
        for whole, name in re.findall(r"^((?:\w[\w *]*[ *])(\w+)\([^;{}]*\)\n\{\n.*?^\})", code(text), flags=re.M | re.S):
            found[name] = found.get(name, "") + whole
    return found


def reached(defined, roots, stop=()):
    """The text of all functions that are called from `roots`, directly or not; not through `stop`."""
    names, left = set(), [name for name in roots if name in defined]
    while left:
        names.add(left.pop())
        called = set().union(*(re.findall(r"\b(\w+)\(", defined[name]) for name in names))
        left = [name for name in called & defined.keys() if name not in names and name not in stop]
    return "".join(defined[name] + "\n" for name in sorted(names))


def of_the_daemon(sources):
    return functions({path: text for path, text in sources.items() if path.startswith(("src/daemon/", "src/setup/"))})


def read_only_at_start(table, sources):
    """Keys whose row says RELOAD, but that no function reads when a signal arrives."""
    defined = of_the_daemon(sources)
    text = reached(defined, ["on_signal"])
    merchants = "".join(each for name, each in defined.items()
                        if f"{each}\n" in text and "struct config_merchant" in each)
    for section, name, row in re.findall(r"^\w+\((\w+), (\w+)(.*?)\)$", table, flags=re.M | re.S):
        changes = re.search(r"\b(RELOAD|REQUIRED|RESTART)\b", code(row))
        used = rf"->{name}\b" if section == "merchant" else rf"[.>]{section}\.{name}\b"
        if changes and changes[1] != "RESTART" and not re.search(used, merchants if section == "merchant" else text):
            yield f"{section}.{name}"


def kept_from_the_start(header, sources):
    """Fields of struct setup that the daemon takes at its start and not from a reload's setup."""
    defined = of_the_daemon(sources)
    start = reached(defined, ["daemon_run"], stop=["setup_load", "setup_free", "on_signal"])
    reload = reached(defined, ["on_signal"], stop=["setup_load", "setup_free"])
    return [name for name in fields("setup", header)
            if name not in START_ONLY and re.search(rf"\bsetup->{name}\b", start)
            and not re.search(rf"\b(?:setup|fresh)->{name}\b", reload)]


def unread_rules(struct, header, by, sources):
    """`by`: the beginning of the readers' paths, and the expression before the field's name."""
    where, before = by
    text = "".join(code(text) for path, text in sources.items() if path.startswith(where))
    return [name for name in fields(struct, header) if not re.search(rf"\b{before}{name}\b(?!\s*=[^=])", text)]


def untested_defaults(table, test):
    """Rows with a default that the test of the defaults does not name."""
    body = re.search(r"^Test\(config_read, defaults_are_as_documented\)\n\{\n(.*?)^\}", test, flags=re.M | re.S)[1]
    for _, section, name in rows(table, "TEXT|NUMBER|FLAG"):
        used = rf"cr_assert\w*\([^;]*\b(?:config->{section}\.|{section}->){name}\b"
        if not re.search(used, code(body)):
            yield f"{section}.{name}"


def unset_facts(table, sources):
    text = "".join(code(text) for path, text in sources.items() if path.startswith("src/daemon/"))
    for kind, section, name in rows(table, "TEXT|PROSE|COUNT|BYTES|FLAG|TIME|SPAN|HIDDEN"):
        field = f"{name}_ms" if kind in ("TIME", "SPAN") else name
        single = section in ("process", "work", "reload")
        if not re.search(rf"status->{section}\.{field} " if single else rf"[.>]{field} ?[+]?=", text):
            yield f"{section}.{name}"


def labels(table):
    """The words for people of the status table."""
    return set(re.findall(r'^[A-Z]+\(\w+, \w+,[^;]*?, "([^"]+)"\)', table, flags=re.M))


def unexplained(found, glossary):
    """Labels that are neither a cell of the first column nor one of several words in it."""
    cells = [cell.strip().lower() for cell in re.findall(r"^\| ([^|]+) \|", glossary, flags=re.M)]
    terms = {*cells, *(part.strip() for cell in cells for part in cell.split(","))}
    return {label for label in found if label.lower() not in terms}


def without_runbook(alerts, page):
    return alerts - set(re.findall(r"^### (Presignd\w+)", page, flags=re.M))


def uncounted_metrics(names, sources):
    """A series that is only created stays at its first value."""
    created = re.compile(r"(create_series|\(void\)metrics_series)\([^;]*;")
    return unused_names(names, {path: created.sub("", text) for path, text in sources.items()})


def unknown_metrics(table, text):
    """The metrics that `text` names, and that have no row."""
    known = set(re.findall(r'^METRIC\(\s*\w+,\s+\w+,\s+"(\w+)"', table, flags=re.M))
    named = set(re.findall(r"\b(?:presignd|process)_[a-z_]*[a-z]\b", text))
    return sorted(name for name in named if name not in known and re.sub("_(bucket|sum|count)$", "", name) not in known)


def sides(table):
    """{reason: side} of the table of reasons."""
    return {name: side.lower() for name, side in
            re.findall(r'^REASON\(\w+, "(\w+)", \w+, (\w+),', table, flags=re.M)}


def sides_of_runbooks(page):
    """{reason: side} of the runbooks' table."""
    found = re.findall(r"^\| (`[^|]*) \| (sender|operator|wechatpay) \|", page, flags=re.M)
    return {name: side for names, side in found for name in re.findall(r"`(\w+)`", names)}


def unused_names(names, sources):
    text = "".join(code(text) for path, text in sources.items() if path.endswith(".c"))
    return [name for name in names if not re.search(rf"\b{name}\b", text)]


def fields(struct, header):
    """Names of the fields of a struct without nested ones."""
    body = re.search(rf"struct {struct} \{{(.*?)\n\}};", re.sub(r"/\*.*?\*/", "", header, flags=re.S), flags=re.S)[1]
    declarators = [part for line in body.split(";") for part in line.split(",")]
    return [re.search(r"(\w+)\s*(\[\w+\])?\s*$", part)[1] for part in declarators if part.strip()]


def unfilled(struct, header, setup):
    return [name for name in fields(struct, header) if not re.search(rf"[.>]{name}(\[\w+\])? =", code(setup))]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


class Tables(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        paths = [path.relative_to(ROOT).as_posix() for path in (ROOT / "src").rglob("*.[ch]")]
        cls.sources = {path: read(path) for path in paths}

    def assert_none(self, found, table, what):
        found = list(found)
        if found:
            self.fail(f"{table}: {', '.join(found)}: {what}")

    def test_keys_are_read(self):
        found = set(unread_keys(read(KEYS), self.sources))
        self.assertEqual(found & UNUSED, UNUSED, "is used now: take it from UNUSED")
        self.assert_none(sorted(found - UNUSED), KEYS, "nothing outside src/config/ reads this field")

    def test_metrics_are_counted(self):
        names = [f"METRIC_{name}" for name in re.findall(r"^METRIC\(\s*(\w+),", read(METRICS), flags=re.M)]
        self.assertGreater(len(names), 40)
        self.assert_none(uncounted_metrics(names, self.sources), METRICS, "nothing sets or counts this metric")

    def test_metrics_that_are_named_exist(self):
        for path in MONITORING:
            found = set(unknown_metrics(read(METRICS), read(path)))
            self.assert_none(sorted(found), path, "there is no such metric")

    def test_facts_are_set(self):
        self.assert_none(unset_facts(read(STATUS), self.sources), STATUS, "nothing in src/daemon/ sets this field")

    def test_what_needs_a_human_has_a_runbook(self):
        alerts = set(re.findall(r'"(Presignd\w+)"', self.sources[ATTENTION]))
        self.assertGreater(len(alerts), 15)
        for path in RUNBOOKS:
            self.assert_none(sorted(without_runbook(alerts, read(path))), path, "attention has this alert, and there is no such heading")

    def test_labels_are_terms_of_the_glossary(self):
        found = labels(read(STATUS)) | set(re.findall(r'(?:LIST|ONE)\([\w, ]+"([^"]+)"', self.sources[SECTIONS]))
        self.assertGreater(len(found), 80)
        self.assert_none(sorted(unexplained(found, read(GLOSSARY))), GLOSSARY, "a label of the status is no term there")

    def test_messages_are_logged(self):
        names = re.findall(r"^#define (MESSAGE_\w+)", read(MESSAGES), flags=re.M)
        self.assertGreater(len(names), 30)
        self.assert_none(unused_names(names, self.sources), MESSAGES, "nothing logs this message")

    def test_reasons_are_given(self):
        names = re.findall(r"^REASON\((\w+),", read(REASONS), flags=re.M)
        self.assertGreater(len(names), 10)
        by_answer = set(re.findall(r"RULE\(\w+,\s*(\w+),", self.sources["src/flow/retry.c"]))
        found = unused_names([f"REASON_{name}" for name in names if name not in by_answer], self.sources)
        self.assert_none(found, REASONS, "no event ends with this reason")

    def test_sides_are_as_documented(self):
        table = sides(read(REASONS))
        self.assertGreater(len(table), 15)
        for page in RUNBOOKS:
            self.assertEqual(sides_of_runbooks(read(page)), table, page)
        for page in ("docs/events.md", "docs/events.zh-CN.md"):
            line = next(line for line in read(page).splitlines() if "the label `side`" in line or "标签 `side`" in line)
            told = re.search(r"[(（](`unknown_merchant`[^)）]*)[)）]", line)[1]
            self.assertEqual(set(re.findall(r"`(\w+)`", told)),
                             {name for name, side in table.items() if side == "operator"}, page)

    def test_rules_are_filled_in_and_read(self):
        for struct, (header, *by) in FILLED.items():
            found = unfilled(struct, read(header), self.sources["src/setup/setup.c"])
            self.assert_none(found, header, f"src/setup/setup.c sets no such field of struct {struct}")
            found = unread_rules(struct, read(header), by, self.sources)
            self.assert_none(found, header, f"nothing in {by[0]} reads this field of struct {struct}")

    def test_keys_are_read_again(self):
        found = set(read_only_at_start(read(KEYS), self.sources))
        self.assert_none(sorted(found - UNUSED), KEYS, "its row says RELOAD, and only a start reads it")
        self.assert_none(kept_from_the_start(read(SETUP), self.sources), SETUP,
                         "a start uses this field of struct setup, a reload does not")

    def test_defaults_are_compared(self):
        self.assert_none(untested_defaults(read(KEYS), read(DEFAULTS)), DEFAULTS,
                         "defaults_are_as_documented does not compare this key's default")


class Omissions(unittest.TestCase):
    """The rules above find what is left out."""

    def test_a_key_that_is_read_only_where_it_is_parsed(self):
        table = 'NUMBER(retry, jitter_ms, MS, "0", 0, 1, RELOAD, "x")\nTEXT(merchant, note, text, "", RELOAD, "x")\n'
        parsed = {"src/config/read.c": "config->retry.jitter_ms; struct config_merchant *m; m->note;"}
        self.assertEqual(list(unread_keys(table, parsed)), ["retry.jitter_ms", "merchant.note"])
        told = {"src/setup/setup.c": '/* config->retry.jitter_ms */ f("->retry.jitter_ms"); spec->note;'}
        self.assertEqual(list(unread_keys(table, told)), ["retry.jitter_ms", "merchant.note"])
        used = {"src/setup/setup.c": "const struct config_merchant *from; from->note; config->retry.jitter_ms"}
        self.assertEqual(list(unread_keys(table, used)), [])

    def test_a_fact_that_is_never_set(self):
        table = 'TIME(host, seen, PLAIN, "seen")\nCOUNT(work, lost, PLAIN, "lost")\n'
        read_only = {"src/daemon/report.c": "set(items[i].seen_ms); set(status->work.lost);"}
        self.assertEqual(list(unset_facts(table, read_only)), ["host.seen", "work.lost"])
        assigned = {"src/daemon/snapshot.c": "= {.seen_ms = now}; status->work.lost += 1;"}
        self.assertEqual(list(unset_facts(table, assigned)), [])

    def test_a_label_that_the_glossary_has_not(self):
        found = labels('TEXT(a, b, PLAIN, "one")\nCOUNT(a, c, BAD_UNLESS("x"), "two, three")\nFLAG(a, d, PLAIN, NULL)\n')
        self.assertEqual(found, {"one", "two, three"})
        self.assertEqual(unexplained(found | {"four"}, "| Four, one | x |\n| two | y |\n"), {"two, three"})

    def test_an_alert_without_a_runbook(self):
        self.assertEqual(without_runbook({"PresigndA", "PresigndB"}, "### PresigndA\n\nPresigndB"), {"PresigndB"})

    def test_a_metric_that_nothing_counts(self):
        self.assertEqual(uncounted_metrics(["METRIC_X"], {"src/a.c": "create_series(m, METRIC_X, 0);"}), ["METRIC_X"])
        self.assertEqual(unused_names(["METRIC_X"], {"src/a.c": "/* METRIC_X */ METRIC_XY"}), ["METRIC_X"])

    def test_a_metric_that_there_is_not(self):
        table = 'METRIC(A, HISTOGRAM, "presignd_a_seconds", NO_LABELS,\n'
        self.assertEqual(unknown_metrics(table, "presignd_a_seconds_bucket presignd_b_total"), ["presignd_b_total"])

    def test_a_rule_that_is_left_out(self):
        header = "struct policy {\n    int64_t a_ms, b_ms; /* c; */\n    const char *names[MAX];\n};\n"
        self.assertEqual(unfilled("policy", header, "{.a_ms = 1, x->names[i] = y}"), ["b_ms"])
        by = ("src/flow/", "policy->")
        self.assertEqual(unread_rules("policy", header, by, {"src/flow/a.c": "f(policy->a_ms); policy->b_ms = 1;",
                                                             "src/setup/setup.c": "f(policy->names);"}),
                         ["b_ms", "names"])

    DAEMON = """
static void drain(struct daemon *d)
{
    d->end = d->setup->config->daemon.drain_ms;
}

static void apply(struct daemon *d, struct setup *fresh)
{
    %s
}

static void on_signal(void *context, int number)
{
    number == SIGHUP ? apply(context, setup_load(0)) : drain(context);
}

int daemon_run(void)
{
    d->loop = loop_new(d->setup->config->daemon.threads, d->setup->rules, on_signal);
}
"""
    LOAD = """
static void take(struct setup *setup, const struct config_merchant *from)
{
    setup->rules = from->rate + setup->config->retry.delay_ms;
}

struct setup *setup_load(int sources)
{
    take(setup, from);
}
"""

    def test_a_key_that_is_read_only_at_the_start(self):
        table = "".join(f'NUMBER({key}, COUNT, "0", 0, 1, RELOAD,\n       "RESTART; x")\n' for key in (
            "daemon, drain_ms", "daemon, threads", "retry, delay_ms", "merchant, rate", "merchant, mode"))
        sources = {"src/daemon/daemon.c": self.DAEMON % "", "src/setup/setup.c": self.LOAD}
        self.assertEqual(list(read_only_at_start(table, sources)), ["daemon.threads", "merchant.mode"])
        self.assertEqual(list(read_only_at_start(table.replace("RELOAD", "RESTART"), sources)), [])
        sources["src/daemon/daemon.c"] = self.DAEMON % "resize(fresh->config->daemon.threads);"
        self.assertEqual(list(read_only_at_start(table, sources)), ["merchant.mode"])

    def test_a_field_of_setup_that_a_reload_does_not_use(self):
        header = "struct setup {\n    struct config *config;\n    int rules;\n};\n"
        sources = {"src/daemon/daemon.c": self.DAEMON % "", "src/setup/setup.c": self.LOAD}
        self.assertEqual(kept_from_the_start(header, sources), ["rules"])
        sources["src/daemon/daemon.c"] = self.DAEMON % "configure(fresh->rules);"
        self.assertEqual(kept_from_the_start(header, sources), [])

    def test_a_default_that_is_not_compared(self):
        table = 'NUMBER(retry, a_ms, MS, "1", 0, 1, RELOAD, "x")\nTEXT(merchant, note, text, "", RELOAD, "x")\n'
        test = "Test(config_read, defaults_are_as_documented)\n{\n    %s\n}\n\nTest(x, y)\n{\n    merchant->note;\n}\n"
        self.assertEqual(list(untested_defaults(table, test % "f(config->retry.a_ms);")), ["retry.a_ms", "merchant.note"])
        self.assertEqual(list(untested_defaults(
            table, test % 'cr_assert_eq(config->retry.a_ms, 1); cr_assert_str_eq(merchant->note, "");')), [])


if __name__ == "__main__":
    unittest.main()
