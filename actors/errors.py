"""The error of this folder."""

from __future__ import annotations

from configs.errors import NesyprError


class ActingError(NesyprError):
    """An actor was asked for something that it cannot do, or a part of it answered nonsense."""
