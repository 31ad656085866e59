"""The procedures that a run's banks hold most often, with the actions that they led to.

Read from shared memory itself, or where the run has ended, from a server started on its files for
that moment; so only when somebody asks, and no more often than every half a minute.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict
from typing import Any

from cluster.run_folder import RunFolder

MOST = 12
"""Procedures of each bank."""
KEEP_S = 30.0


class MostUsed:
    """Answers for each run, kept for a while; may be called from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, dict[str, Any]]] = {}

    def of(self, folder: RunFolder) -> dict[str, Any]:
        """The procedures of all banks of a run. Raises NesyprError where they cannot be read."""
        with self._lock:
            read, found = self._known.get(folder.name, (float("-inf"), {}))
            if time.monotonic() - read > KEEP_S:
                found = _read(folder)
                self._known[folder.name] = (time.monotonic(), found)
            return found


def _read(folder: RunFolder) -> dict[str, Any]:
    from cluster.bank_place import opened
    from shared_memory.bank_reading import most_used
    from shared_memory.records import SIGNS

    with opened(folder.name, folder.path) as at:
        used = [
            procedure
            for domain in at.bank.domains()
            for sign in SIGNS
            for procedure in most_used(at.client, at.run, domain, sign, MOST)
        ]
    used.sort(key=lambda one: (-one.times, one.domain, one.sign))
    return {"procedures": [asdict(one) for one in used], "time": time.time()}
