"""How things end that do not end well."""


class InputError(ValueError):
    """Bad input. The message is one line that names the key or file and says what to do."""


def in_one_line(error: BaseException) -> str:
    """Type and first line of the message, for people to read."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


class ClusterLost(Exception):
    """The cluster went away with work still in flight."""


class WrongWorker(Exception):
    """A worker that must not work on this campaign came in the middle of it."""
