#!/usr/bin/env python3
"""Many messages through Intel's libcrypto_mb, each signature checked by OpenSSL.

usage: real.py DIRECTORY CRYPTO_MB_MANY ARGUMENT ...

An installed library is used, else one that is linked in DIRECTORY from the static library of the
Python package ipp-crypto-static, which pip fetches (the shared library of the package ipp-crypto
needs compiler libraries that Debian lacks). Exit status 77: this processor has no AVX-512 IFMA, or
the library cannot be had; with PRESIGND_REQUIRE_SUITES=1 the second is a failure.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE = "ipp-crypto-static==2026.2.0"
SONAME = "libcrypto_mb.so.13"


def skip(why, failure=False):
    print(f"SKIPPED, AND NOTHING WAS TESTED: {why}")
    sys.exit(1 if failure and os.environ.get("PRESIGND_REQUIRE_SUITES") == "1" else 77)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines() or [f"{command[0]} failed"]
        skip(f"libcrypto_mb cannot be had: {last[-1]}", failure=True)


def link(directory):
    """The path of the shared library, which is made on first use."""
    library = directory / SONAME
    if library.exists():
        return library
    directory.mkdir(parents=True, exist_ok=True)
    run(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary", ":all:", "--platform", "manylinux_2_28_x86_64",
        "--dest", str(directory), PACKAGE)
    wheel = next(directory.glob("ipp_crypto_static-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith("/libcrypto_mb.a"))
        (directory / "libcrypto_mb.a").write_bytes(archive.read(member))
    unfinished = directory / "unfinished.so"
    run("cc", "-shared", "-o", str(unfinished), f"-Wl,-soname,{SONAME}", "-Wl,--whole-archive",
        str(directory / "libcrypto_mb.a"), "-Wl,--no-whole-archive", "-lcrypto")
    (directory / "libcrypto_mb.a").unlink()
    wheel.unlink()
    unfinished.rename(library)
    return library


def has_ifma():
    return "avx512ifma" in Path("/proc/cpuinfo").read_text(encoding="ascii")


def main():
    directory, program, arguments = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if not has_ifma():
        skip("this processor has no AVX-512 IFMA, for which libcrypto_mb is made")
    done = subprocess.run([program, *arguments], check=False)
    if done.returncode == 77:
        environment = dict(os.environ, LD_LIBRARY_PATH=str(link(directory).parent))
        done = subprocess.run([program, *arguments], env=environment, check=False)
    if done.returncode == 77:
        sys.exit("FAILED: libcrypto_mb is there and cannot be used")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
