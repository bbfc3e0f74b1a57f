"""How things end that do not end well."""


class InputError(ValueError):
    """Bad input. The message is one line that names the key or file and says what to do."""


class ClusterLost(Exception):
    """The cluster went away with work still in flight."""
