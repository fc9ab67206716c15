"""Errors that an operator can mend."""


class OperatorError(Exception):
    """The text says in one line what is wrong and how to mend it; no traceback would help.

    A command that meets one prints the text and ends with ``exit_code``.
    """

    exit_code = 1


class UsageError(OperatorError):
    """The options or the settings are wrong: starting again does not help."""

    exit_code = 2
