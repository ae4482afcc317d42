"""What the tests read from the documents: marked blocks, so that what stands there is what was run.

A block is marked by a comment line before its fence:

    <!-- test: NAME -->
    ```sh
    …
    ```

and a table by <!-- NAME --> before and <!-- end --> behind it.
"""

import re

from kafka_broker import ROOT


def text(name):
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def blocks(name):
    """{NAME: text} of a document's marked blocks, in their order."""
    found = re.findall(r"^<!-- test: ([\w-]+) -->\n+```\w*\n(.*?)^```$", text(name), re.MULTILINE | re.DOTALL)
    assert len(dict(found)) == len(found), f"{name}: a block's name comes twice"
    return dict(found)


def block(name, mark):
    found = blocks(name)
    assert mark in found, f"docs/{name} has no block <!-- test: {mark} -->"
    return found[mark]


def table(name, mark):
    """The rows of a marked table, each a list of its cells without backquotes."""
    found = re.search(rf"<!-- {mark} -->\n(.*?)<!-- end -->", text(name), re.DOTALL)
    assert found, f"docs/{name} has no table <!-- {mark} -->"
    rows = [line.strip().strip("|").split("|") for line in found[1].strip().splitlines()]
    return [[cell.strip().strip("`") for cell in row] for row in rows[2:]]
