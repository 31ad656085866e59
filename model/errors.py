"""What can go wrong with the small LM."""

from __future__ import annotations

from configs.errors import NesyprError


class ModelError(NesyprError):
    """A sequence too long, an unknown word, a file that is not one of our models."""
