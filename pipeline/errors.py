"""Exceptions, and how they are told in one line."""


class InputError(ValueError):
    """Bad input. The message is one line that names the key or file and says what to do."""


LONGEST_LINE = 500


def in_one_line(error: BaseException) -> str:
    """Type and first line of the message, for people to read."""
    try:
        lines = str(error).splitlines()
    except Exception:  # a class of somebody's own
        lines = []
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:LONGEST_LINE]


class ClusterLost(Exception):
    """The cluster went away with work still in flight."""


class WrongWorker(Exception):
    """A worker that must not work on this campaign came in the middle of it."""
