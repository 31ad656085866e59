"""The error of this folder."""

from __future__ import annotations

from configs.errors import NesyprError


class TaskError(NesyprError):
    """A domain, a problem or a stream cannot be used; the sentence says where and why."""

    exit_code = 2
