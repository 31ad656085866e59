"""What the machine offers: Python, cores, memory, /dev/shm, a writable folder, ports."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from pathlib import Path

from cluster.doctor.check import Check
from cluster.machine import available_cores
from cluster.run_folder import make_folder
from configs.errors import NesyprError

MEMORY_NEEDED_MB = 3000
MEMORY_WANTED_MB = 6000
SHARED_SMALL_MB = 64
"""What containers get unless they are told otherwise."""
SHARED_WANTED_MB = 200
DISK_WANTED_MB = 1000


def check_python() -> Check:
    """Which Python; an earlier one than 3.11 cannot even install the program."""
    found = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] != (3, 11):
        return Check("python", "warning", found, "the pinned versions were tested on Python 3.11")
    return Check("python", "ok", found)


def check_cores() -> Check:
    """Two cores are what the quickstart is made for."""
    cores = available_cores()
    if cores < 2:
        return Check("cores", "warning", str(cores), "the quickstart takes longer on one core")
    return Check("cores", "ok", str(cores))


def check_memory(available_mb: int | None) -> Check:
    """The quickstart takes a few GiB."""
    if available_mb is None:
        return Check("memory", "warning", "unknown", f"have {MEMORY_WANTED_MB // 1000} GB free")
    found = f"{available_mb / 1024:.1f} GiB available"
    if available_mb < MEMORY_NEEDED_MB:
        return Check("memory", "broken", found, "close other programs or take a larger machine")
    if available_mb < MEMORY_WANTED_MB:
        return Check("memory", "warning", found, "keep acting.actors at 1")
    return Check("memory", "ok", found)


def check_shared_memory(megabytes: tuple[int, int] | None) -> Check:
    """Ray and a node's replica of the banks live in /dev/shm; (size, free) of it in MiB.

    Without it, or in the 64 MB of a container, both go to the disk.
    """
    name = "/dev/shm"
    if megabytes is None:
        if sys.platform != "linux":
            return Check(name, "ok", "not used on this system")
        remedy = "mount -t tmpfs tmpfs /dev/shm; Ray uses the disk until then"
        return Check(name, "warning", "there is none", remedy)
    size, free = megabytes
    found = f"{free} MiB free of {size}"
    if size <= SHARED_SMALL_MB or free < SHARED_WANTED_MB:
        remedy = "start a container with --shm-size=2g (mount -o remount,size=2g /dev/shm else)"
        return Check(name, "warning", found, remedy)
    return Check(name, "ok", found)


def check_runs_folder(folder: Path) -> Check:
    """Runs must be writable, with some room."""
    try:
        make_folder(folder)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"nesypr")
    except (NesyprError, OSError) as error:
        remedy = "choose another folder with --set folder=PATH"
        return Check("runs folder", "broken", str(error), remedy)
    free = shutil.disk_usage(folder).free // 2**20
    found = f"{folder.absolute()}, {free / 1024:.1f} GiB free"
    if free < DISK_WANTED_MB:
        return Check("runs folder", "warning", found, "free some disk space")
    return Check("runs folder", "ok", found)


def check_ports() -> Check:
    """Ray's processes talk over ports of this machine, which it chooses free ones for."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port), timeout=2.0):
                return Check("ports", "ok", "local ports can be opened")
    except OSError as error:
        remedy = "allow TCP on 127.0.0.1 (a firewall or sandbox forbids it)"
        return Check("ports", "broken", str(error), remedy)
