"""What programs said last, shown on stderr as soon as a test fails: it would be gone with the
directories that the test's clean-ups remove."""

import itertools
import sys
import unittest
import weakref

SHOWN_MAX = 5  # failures, of a test file where hundreds of subtests may fail

_speakers = weakref.WeakSet()
_failures = itertools.count(1)


def remember(speaker):
    """`speaker.last_words()` is {name: text}, from now until forget()."""
    _speakers.add(speaker)


def forget(speaker):
    _speakers.discard(speaker)


def show(speaker):
    for name, text in sorted(speaker.last_words().items()):
        print(f"---- the end of {name}\n{text}", file=sys.stderr, flush=True)


def _show_after(method):
    def told(result, *arguments):
        method(result, *arguments)
        if arguments[-1] is not None and next(_failures) <= SHOWN_MAX:  # None: a subtest that passed
            for speaker in list(_speakers):
                show(speaker)
    return told


# unittest calls these before it cleans up.
for _name in ("addError", "addFailure", "addSubTest"):
    setattr(unittest.TextTestResult, _name, _show_after(getattr(unittest.TextTestResult, _name)))
