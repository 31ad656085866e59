"""All checks of `nesypr doctor`, in their order."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cluster.doctor import machine, packages, surroundings
from cluster.doctor.check import Check, guarded
from cluster.doctor.host_facts import available_memory_mb, shared_memory_mb


def check_everything(server: str | None = None, address: str | None = None) -> list[Check]:
    """Run every check of this machine, of `server` (a URL), and of every host of the Ray cluster
    at `address`. None of them raises; what a check starts it stops."""
    environment = os.environ
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("python", machine.check_python),
        ("packages", lambda: packages.check_packages(packages.lock_file())),
        ("cores", machine.check_cores),
        ("memory", lambda: machine.check_memory(available_memory_mb())),
        ("/dev/shm", lambda: machine.check_shared_memory(shared_memory_mb())),
        ("embedded server", surroundings.check_embedded_server),
        ("server", lambda: surroundings.check_given_server(server, environment)),
        ("ray", packages.check_ray),
        ("ray's token", lambda: surroundings.check_token(environment)),
        ("simulators", packages.check_simulators),
        ("torch", packages.check_torch),
        ("runs folder", lambda: machine.check_runs_folder(_runs_folder())),
        ("ports", machine.check_ports),
        ("environment", lambda: surroundings.check_environment(environment)),
        ("ALFWORLD_DATA", lambda: surroundings.check_alfworld(environment.get("ALFWORLD_DATA"))),
    ]
    found = [guarded(name, check) for name, check in checks]
    if address is not None:
        from cluster.doctor.cluster_hosts import check_hosts

        found += check_hosts(address, server, environment)
    return found


def _runs_folder() -> Path:
    return Path(os.environ.get("NESYPR__FOLDER", "runs"))
