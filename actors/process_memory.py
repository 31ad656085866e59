"""This process's resident memory."""

from __future__ import annotations

import resource
from pathlib import Path


def resident_mb() -> float:
    """Resident memory in MiB, now (Linux) or at its highest (elsewhere)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * resource.getpagesize() / 2**20
