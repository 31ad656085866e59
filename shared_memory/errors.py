"""The error of shared memory."""

from __future__ import annotations

from configs.errors import NesyprError


class SharedMemoryError(NesyprError):
    """Something is wrong with shared memory: says what, where, and what to do."""

    exit_code = 3


class ServerFullError(SharedMemoryError):
    """The server is at its memory limit and stayed there past the deadline."""


class TooFewCopiesError(SharedMemoryError):
    """Too few replicas took a write in time; it was made all the same, and may be repeated."""
