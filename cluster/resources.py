"""Resident memory of everything that a run started: this process and all that descend from it."""

from __future__ import annotations

import resource
from pathlib import Path

PAGE_MB = resource.getpagesize() / 2**20


def resident_mb(process: int) -> float:
    """Resident memory of one process in MiB; 0 where it is gone or the system does not tell."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0.0
    return int(pages) * PAGE_MB


def descendants(process: int) -> list[int]:
    """The process and all that descend from it, as `/proc` tells now (nothing elsewhere)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # ended meanwhile
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [process]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting.extend(children.get(one, ()))
    return found


def total_resident_mb(process: int) -> float:
    """Resident memory of the process and its descendants in MiB; shared pages count each time."""
    return sum(resident_mb(one) for one in descendants(process))
