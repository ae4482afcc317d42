"""What the packages contain: two builds of one tree, the package that bundles, the RPM.

The packages come from the tests package.build, package.again, package.bundled and package.rpm, each
in its own directory.
"""

import hashlib
import json
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PINS = json.loads((ROOT / "cmake/bundled/pins.json").read_text(encoding="utf-8"))
DOCUMENTS = "/usr/share/doc/presignd/"

# What differs between the RPM's files and the .deb's, and why. A change on one side needs a row here,
# or the same change on the other side.
DIFFERENCES = (
    # which   path                                     why
    ("both", r"^/lib/systemd/",                        "/usr/lib/systemd/", "debhelper of Debian 12: /lib"),
    ("both", r"(/usr/share/(?:man|doc)/.*)\.gz$",      r"\1", "each compresses as its policy says"),
    ("deb",  r"^/usr/share/doc/presignd/changelog$",   None, "Debian's own; the RPM's is in its header"),
    ("deb",  r"^/usr/share/doc/presignd/copyright$",   None, "Debian's name for the licence"),
    ("rpm",  r"^/usr/share/licenses/.*",               None, "the RPM's place for the licence"),
    ("rpm",  r"^/usr/lib/\.build-id/.*",               None, "links for debuggers, which rpmbuild makes"),
    ("rpm",  r"^/usr/share/doc/presignd/(bundled/.*|presignd\.cdx\.json)$", None, "of what only the RPM bundles"),
)


def packages(variable, pattern):
    return sorted(Path(os.environ[variable]).glob(pattern))


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def applied(which, path):
    """The path after the rows for `which`; None when it has no counterpart."""
    for row, pattern, replacement, _ in DIFFERENCES:
        if row in ("both", which) and re.search(pattern, path):
            if replacement is None:
                return None
            path = re.sub(pattern, replacement, path)
    return path


def wanted(files, which):
    """Files, and the directories that only this package has, with their permissions."""
    found = {}
    for path, mode in files:
        path = applied(which, path)
        if path and (not mode.startswith("d") or path.startswith("/etc/presignd")):
            found[path] = mode
    return found


def deb_files(package):
    rows = [line.split(None, 5) for line in output("dpkg-deb", "--contents", package).splitlines()]
    return [(row[5].removeprefix(".").rstrip("/"), row[0]) for row in rows]


def rpm_files(package):
    query = output("rpm", "-qp", "--nosignature", "--qf", r"[%{FILENAMES}\t%{FILEMODES:perms}\n]", package)
    return [line.split("\t") for line in query.splitlines()]


def field(package, name):
    return output("dpkg-deb", "--field", package, name).strip()


class Twice(unittest.TestCase):
    """The second build has another directory, time zone, locale and umask. It also runs later."""

    def test_two_builds_are_the_same(self):
        first, second = (packages(name, "*.deb") for name in ("PRESIGND_PACKAGE_DIR", "PRESIGND_AGAIN_DIR"))
        self.assertEqual([package.name for package in first], [package.name for package in second])
        self.assertEqual(len(first), 2, "the package and its debug symbols")
        for one, other in zip(first, second):
            sums = [hashlib.sha256(package.read_bytes()).hexdigest() for package in (one, other)]
            self.assertEqual(*sums, f"{one} and {other} differ")


class Deb(unittest.TestCase):
    def setUp(self):
        self.package, = packages("PRESIGND_PACKAGE_DIR", "presignd_*.deb")
        self.symbols, = packages("PRESIGND_PACKAGE_DIR", "presignd-dbgsym_*.deb")

    def test_the_systems_libraries_are_dependencies_and_nothing_is_bundled(self):
        for library in ("librdkafka1 (>= 2.0.2)", "libcurl4"):
            self.assertIn(library, field(self.package, "Depends"))
        self.assertNotIn("cdx.json", output("dpkg-deb", "--contents", self.package))

    def test_symbols_are_of_this_version(self):
        self.assertIn(f"presignd (= {field(self.package, 'Version')})", field(self.symbols, "Depends"))

    def test_changelogs_are_shipped(self):
        files = dict(deb_files(self.package))
        self.assertIn(f"{DOCUMENTS}changelog.gz", files)
        self.assertIn("CHANGELOG.md", "".join(files))

    def test_versions_are_one(self):
        version, = re.findall(r"VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))[1:2]
        self.assertEqual(field(self.package, "Version"), version)
        self.assertRegex((ROOT / "rpm/presignd.spec").read_text(encoding="utf-8"), rf"(?m)^Version: +{version}$")


class Sbom:
    """For the packages that bundle: what is in the SBOM, and that the licences are there."""

    def assert_sbom(self, root, names):
        sbom = json.loads((root / DOCUMENTS.lstrip("/") / "presignd.cdx.json").read_text(encoding="utf-8"))
        self.assertEqual((sbom["bomFormat"], sbom["specVersion"]), ("CycloneDX", "1.5"))
        self.assertEqual([component["name"] for component in sbom["components"]], names)
        self.assertEqual(sbom["dependencies"], [{"ref": "presignd", "dependsOn": names}])
        for component in sbom["components"]:
            pin = PINS[component["name"]]
            for member in ("version", "cpe"):
                self.assertEqual(component[member], pin[member])
            self.assertEqual(component["licenses"], [{"license": {"id": pin["license"]}}])
            self.assertEqual(component.get("components", []), pin.get("contains", []))
            source, = component["externalReferences"]
            self.assertEqual((source["url"], source["hashes"]),
                             (pin["purl"], [{"alg": "SHA-256", "content": pin["sha256"]}]))
            notice, = (root / DOCUMENTS.lstrip("/") / "bundled").glob(f"{component['name']}.txt*")
            self.assertGreater(notice.stat().st_size, 100)


class Bundled(Sbom, unittest.TestCase):
    def setUp(self):
        self.package, = packages("PRESIGND_BUNDLED_DIR", "presignd_*.deb")
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        output("dpkg-deb", "--extract", self.package, self.root)

    def test_version_and_dependencies(self):
        self.assertTrue(field(self.package, "Version").endswith("+bundled"))
        self.assertNotIn("librdkafka", field(self.package, "Depends"))
        self.assertIn("libcurl4", field(self.package, "Depends"))

    def test_sbom(self):
        self.assert_sbom(self.root, ["librdkafka"])

    def test_its_demo_passes_with_the_bundled_library(self):
        """The test for autopkgtest, with the programs where they are."""
        environment = {**os.environ, "PATH": f"{self.root}/usr/bin:{os.environ['PATH']}",
                       "PRESIGND_SCHEMA_DIR": str(self.root / "usr/share/presignd/schemas"),
                       "AUTOPKGTEST_TMP": str(self.root)}
        self.assertNotIn("librdkafka", output("ldd", self.root / "usr/sbin/presignd"))
        done = subprocess.run([ROOT / "debian/tests/demo"], env=environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Rpm(Sbom, unittest.TestCase):
    def setUp(self):
        self.package, = (package for package in packages("PRESIGND_RPM_DIR", "presignd-[0-9]*.rpm")
                         if not package.name.endswith(".src.rpm"))

    def query(self, *options):
        return output("rpm", "-qp", "--nosignature", *options, self.package).splitlines()

    def test_its_files_are_the_debs(self):
        deb, = packages("PRESIGND_PACKAGE_DIR", "presignd_*.deb")
        ours, theirs = wanted(rpm_files(self.package), "rpm"), wanted(deb_files(deb), "deb")
        # The maintainer script of the .deb sets it, so that an upgrade does, too.
        theirs["/etc/presignd/keys"] = "drwx------"
        self.assertGreater(len(ours), 40)
        self.assertEqual(sorted(ours.items()), sorted(theirs.items()))

    def test_a_row_of_the_differences_is_needed(self):
        deb, = packages("PRESIGND_PACKAGE_DIR", "presignd_*.deb")
        paths = {"deb": [path for path, _ in deb_files(deb)], "rpm": [path for path, _ in rpm_files(self.package)]}
        paths["both"] = paths["deb"] + paths["rpm"]
        for which, pattern, _, why in DIFFERENCES:
            if "Debian 12" not in why:
                self.assertTrue(any(re.search(pattern, path.removesuffix(".gz")) or re.search(pattern, path)
                                    for path in paths[which]), f"{which} {pattern}: {why}")

    def test_configuration_is_kept(self):
        self.assertEqual(self.query("--configfiles"), ["/etc/presignd/presignd.conf"])
        flags = dict(line.split("\t") for line in
                     self.query("--qf", r"[%{FILENAMES}\t%{FILEFLAGS:fflags}\n]"))
        self.assertIn("n", flags["/etc/presignd/presignd.conf"], "noreplace")

    def test_scriptlets_of_the_unit(self):
        scripts = "\n".join(self.query("--scripts"))
        for line in ("preset presignd.service", "disable --now presignd.service",
                     "try-restart presignd.service", "stop 'presignd@*.service'", "systemd-sysusers presignd.conf",
                     "try-restart 'presignd@*.service'"):
            self.assertIn(line, scripts)

    def test_what_it_bundles(self):
        self.assertEqual([line for line in self.query("--provides") if line.startswith("bundled(")],
                         [f"bundled({name}) = {PINS[name]['version']}" for name in ("curl", "librdkafka")])
        for library in ("librdkafka", "libcurl"):
            self.assertNotIn(library, "\n".join(self.query("--requires")))
        with tempfile.TemporaryDirectory() as root:
            content = subprocess.run(["rpm2cpio", self.package], check=True, capture_output=True).stdout
            subprocess.run(["cpio", "--extract", "--make-directories", "--quiet"], cwd=root, input=content, check=True)
            self.assert_sbom(Path(root), ["curl", "librdkafka"])

    def test_debug_packages_and_the_source_are_there(self):
        names = [package.name for package in packages("PRESIGND_RPM_DIR", "*.rpm")]
        self.assertEqual([name.rsplit("-", 2)[0] for name in names],
                         ["presignd", "presignd", "presignd-debuginfo", "presignd-debugsource"])
        source, = packages("PRESIGND_RPM_DIR", "*.src.rpm")
        self.assertEqual(output("rpm", "-qpl", "--nosignature", source).split(),
                         ["curl.tar.gz", "librdkafka.tar.gz", f"{source.name.rsplit('-', 1)[0]}.tar.gz",
                          "presignd.spec"])


if __name__ == "__main__":
    unittest.main()
