"""What a host of a cluster tells of itself; runs on any host, with the standard library alone.

Ray carries these functions there as they are (`register_pickle_by_value`), so that a host without
this program, or with another version of it, can be asked, too. They return plain values.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("actors", "cluster", "configs", "learner", "model", "shared_memory", "tasks")
"""The folders that are the program."""
_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)
"""A container's memory: its limit and what is taken, of both versions of control groups."""


def host_facts(libraries: Sequence[str], house: str) -> dict[str, Any]:
    """Versions, memory and the program's own code at `house`, as plain values."""
    versions = {}
    for library in libraries:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = "none"
    return {
        "name": socket.gethostname(),
        "python": platform.python_version(),
        "versions": versions,
        "memory_mb": available_memory_mb(),
        "shared_mb": shared_memory_mb(),
        "code": code_digest(house),
    }


def available_memory_mb() -> int | None:
    """Memory that can still be used, in MiB, a container's limit heeded; None where unknown."""
    found = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) // 1024)
    for limit, taken in _LIMITS:
        try:
            found.append((int(Path(limit).read_text()) - int(Path(taken).read_text())) // 2**20)
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
    return min(found) if found else None


def shared_memory_mb() -> tuple[int, int] | None:
    """Size of /dev/shm and what is free of it, in MiB; None where there is none."""
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return None
    usage = shutil.disk_usage(folder)
    return usage.total // 2**20, usage.free // 2**20


def code_digest(house: str) -> str:
    """Sixteen digits that tell versions of the program apart; "" where it is not at `house`."""
    files = [file for folder in PACKAGES for file in Path(house, folder).rglob("*.py")]
    if not files:
        return ""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(str(file.relative_to(house)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def host_time() -> float:
    """The host's clock, Unix time."""
    return time.time()


def unreachable(places: Sequence[tuple[str, int]], deadline_s: float) -> list[tuple[str, int]]:
    """Those of the places (host, port) to which no TCP connection can be made."""
    found = []
    for host, port in places:
        try:
            socket.create_connection((host, port), timeout=deadline_s).close()
        except OSError:
            found.append((host, port))
    return found


def server_trouble(memory: str, url: str, house: str) -> str:
    """Why the banks' server cannot be used from here; "" where it can.

    `memory`: the settings of shared memory as JSON. No answer has a password in it.
    """
    sys.path.insert(0, house)
    try:
        from configs.schema import SharedMemoryConfig
        from shared_memory.connection import connect
        from shared_memory.errors import SharedMemoryError
    except ImportError as error:
        return f"the program is not at {house} there ({type(error).__name__})"
    finally:
        sys.path.remove(house)
    try:
        settings = SharedMemoryConfig.model_validate_json(memory)
        connect(settings, url, "actor", patience_s=1.0).close()
    except SharedMemoryError as error:
        return str(error)
    return ""
