"""Tells when shared memory's server comes near its memory limit, once each time it does."""

from __future__ import annotations

from shared_memory.bank_reading import ServerMemory

NEAR = 0.95
"""Share of the limit from which on an alarm is due; past the limit, writers wait."""
_RELIEVED = 0.90
_MEBIBYTE = 1024 * 1024


class ServerWatch:
    """Takes looks at a server's memory, gives a sentence where a person should know."""

    def __init__(self) -> None:
        self._told = False

    def look(self, memory: ServerMemory) -> str | None:
        """The alarm's sentence, or nothing where all is well or the alarm was given already."""
        if memory.limit_bytes <= 0:
            return None
        share = memory.used_bytes / memory.limit_bytes
        if share < _RELIEVED:
            self._told = False
        if share < NEAR or self._told:
            return None
        self._told = True
        return (
            f"shared memory's server takes {memory.used_bytes // _MEBIBYTE} MiB of the "
            f"{memory.limit_bytes // _MEBIBYTE} MiB that it may: at the limit actors, teacher and "
            "learner wait for it; raise its maxmemory, or lower shared_memory.bank.max_bytes or "
            "max_entries"
        )


def waited_sentence(who: str, seconds: float) -> str:
    """Who had to wait for a server at its limit, how long, and what to do."""
    return (
        f"{who} waited {seconds:.1f} s to write to shared memory's server, which was at its memory "
        "limit; nothing was lost: raise its maxmemory, or lower shared_memory.bank.max_bytes or "
        "max_entries"
    )
