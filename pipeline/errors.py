"""What the user can mend."""


class InputError(ValueError):
    """Bad input. The message is one line that names the key or file and says what to do."""
