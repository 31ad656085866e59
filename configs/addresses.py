"""Servers' addresses without their secrets: for messages, saved configurations and reports."""

from __future__ import annotations

import re

_SECRET_OPTION = re.compile(r"(?i)([?&](?:password|sentinel_password)=)[^&#]*")


def redacted(url: str) -> str:
    """The URL with `***` in the place of its password; of what is no valid URL, too."""
    return _replaced(url, ":***")


def without_password(url: str) -> str:
    """The URL without its password: what may be saved. The user's name stays."""
    return _replaced(url, "")


def _replaced(url: str, password: str) -> str:
    scheme, separator, rest = _SECRET_OPTION.sub(r"\1***", url).partition("://")
    # Up to the last @, so that a password with odd characters is never told in part.
    before, _, after = rest.rpartition("@")
    user, colon, _ = before.partition(":")
    if not colon:
        return scheme + separator + rest
    login = user + password
    return scheme + separator + (f"{login}@" if login else "") + after
