"""How much memory this process took at most since it was last asked."""

from __future__ import annotations

from pathlib import Path

_RESET_PEAK = "5"


def reset_peak() -> int:
    """Forget the peak; bytes that this process has now."""
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    return peak()


def peak() -> int:
    """The most bytes that this process had at once since the last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (words,) = (line.split() for line in lines if line.startswith("VmHWM:"))
    return 1024 * int(words[1])
