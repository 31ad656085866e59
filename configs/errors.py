"""The error that users see: a sentence that says what was wrong, where, and what to do."""

from __future__ import annotations


class NesyprError(Exception):
    """Base of all errors that are shown to a user as one sentence, without a traceback."""

    exit_code = 1


class ConfigurationError(NesyprError):
    """A configuration file, a `--set` or an environment variable is wrong."""

    exit_code = 2
