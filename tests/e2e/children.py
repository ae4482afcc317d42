"""Processes that the tests start."""

import os


def dying_with_us(signal="KILL"):
    """What to put before a command so that it is killed when we die, or gets another signal.

    The kernel tells only those of our death who asked before it. So the shell looks whether we
    still are its parent, which we are not when we died first."""
    return ["setpriv", "--pdeathsig", signal, "--", "sh", "-c",
            '[ "$PPID" = "$0" ] || exit 70; exec "$@"', str(os.getpid())]
