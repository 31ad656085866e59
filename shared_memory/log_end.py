"""Where the log of a domain's banks ends: what tells one history of a server's data from another.

The numbers of batches go on after a server took over that lacks the end of the log; the stamps,
each the time at which its batch was written, differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared_memory.plain_values import whole

END_OF_LOG = ("log", "stamp", "epoch")
"""The counters that tell where a log ends."""


@dataclass(frozen=True, slots=True)
class LogEnd:
    """Number and stamp of a log's last batch, and of which epoch of the server's data."""

    position: int
    stamp: int
    epoch: bytes


def log_end(counters: Sequence[bytes | None]) -> LogEnd:
    """From what the server says of `END_OF_LOG`. Raises SharedMemoryError where damaged."""
    return LogEnd(
        whole(counters[0], "the number of the log's last batch"),
        whole(counters[1], "the stamp of the log's last batch"),
        counters[2] or b"",
    )
