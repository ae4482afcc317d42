"""The keys of a sandbox, for the others that the process starts: RSA keys take longer than most tests."""

kept = {}  # file name: bytes


def lay_file(path, pem):
    """As the sandbox writes it; a file that is there stays."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(pem)


def lay(directory):
    """Those that are kept. A sandbox makes only what it does not find."""
    for name, pem in kept.items():
        lay_file(directory / name, pem)


def keep(directory):
    """All of the first sandbox: they belong together."""
    if "ca.pem" not in kept:
        kept.update((path.name, path.read_bytes()) for path in directory.glob("*.pem"))
