"""schemas/asyncapi.yaml: its references resolve, its messages have the types of schemas/names.json,
and it matches AsyncAPI's own schema of version 3, if npm can fetch that."""

import json
import os
import re
import shutil
import subprocess
import tarfile
import unittest
from pathlib import Path

import jsonschema
import yaml

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "schemas"
PACKAGE = "@asyncapi/specs@6.11.1"
CACHE = ROOT / "build" / "asyncapi-specs"


def document():
    return yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text(encoding="utf-8"))


def references(part):
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def resolve(reference, whole):
    file, _, pointer = reference.partition("#")
    part = json.loads((SCHEMAS / file).read_text(encoding="utf-8")) if file else whole
    for step in filter(None, pointer.split("/")):
        part = part[step.replace("~1", "/").replace("~0", "~")]
    return part


def without_id_properties(part):
    """Without what a schema says of a member that is itself named $id, as that of JSON Schema's
    own does: jsonschema before 4.18 takes it for an identifier."""
    if isinstance(part, dict):
        return {name: without_id_properties(value) for name, value in part.items()
                if not (name == "$id" and isinstance(value, dict))}
    return [without_id_properties(value) for value in part] if isinstance(part, list) else part


def official_schema():
    """AsyncAPI's schema of version 3.0.0, fetched once; None where there is no npm."""
    kept = CACHE / "package/schemas/3.0.0-without-$id.json"
    if not kept.exists():
        if shutil.which("npm") is None:
            return None
        CACHE.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=CACHE, check=True,
                                capture_output=True, text=True).stdout.split()[-1]
        with tarfile.open(CACHE / packed) as archive:
            archive.extract(str(kept.relative_to(CACHE)), CACHE)
    return without_id_properties(json.loads(kept.read_text(encoding="utf-8")))


class AsyncApi(unittest.TestCase):
    def test_every_reference_resolves(self):
        whole = document()
        found = list(references(whole))
        self.assertGreater(len(found), 50)
        for reference in found:
            with self.subTest(reference):
                resolve(reference, whole)

    def test_each_topic_has_the_messages_of_its_types(self):
        whole = document()
        types = json.loads((SCHEMAS / "names.json").read_text(encoding="utf-8"))["$defs"]
        for channel, kind, file in (("requests", "requested", "event.json"), ("results", "succeeded", "result.json"),
                                    ("failures", "failed", "failure.json")):
            with self.subTest(channel):
                messages = [resolve(m["$ref"], whole) for m in whole["channels"][channel]["messages"].values()]
                self.assertEqual([m["name"] for m in messages], types[kind]["enum"])
                self.assertEqual({resolve(m["payload"]["$ref"], whole)["schema"]["$ref"] for m in messages}, {file})

    def test_addresses_and_version_are_the_products(self):
        whole = document()
        sample = (ROOT / "conf/sample.conf").read_text(encoding="utf-8")
        for channel, content in whole["channels"].items():
            self.assertIn(f"{channel}_topic = {content['address']}\n", sample)
        version = re.search(r"project\(.*?VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), re.DOTALL)
        self.assertEqual(whole["info"]["version"], version[1])

    def test_it_matches_asyncapis_own_schema(self):
        schema = official_schema()
        if schema is None:
            self.skipTest(f"NOT CHECKED against AsyncAPI's own schema: no npm here to fetch {PACKAGE} with")
        validator = jsonschema.Draft7Validator(schema)
        self.assertEqual([e.message for e in validator.iter_errors(document())], [])
        broken = document()
        broken["operations"]["sendResult"]["action"] = "publish"
        self.assertFalse(validator.is_valid(broken), "the schema takes an action that AsyncAPI 3 does not have")


if __name__ == "__main__":
    os.environ.setdefault("npm_config_update_notifier", "false")
    unittest.main()
