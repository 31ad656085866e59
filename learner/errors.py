"""The error of this folder."""

from __future__ import annotations

from configs.errors import NesyprError


class LearnerError(NesyprError):
    """A teacher, a replay reservoir, a schedule or a checkpoint cannot be used."""
