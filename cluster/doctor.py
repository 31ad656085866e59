"""`nesypr doctor`: is everything there that a run needs? Each check names a remedy."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from rich.table import Table

import configs
from cluster.machine import available_cores, available_memory_mb
from cluster.run_folder import make_folder
from cluster.settings import load_settings
from configs.errors import NesyprError
from configs.schema import SharedMemoryConfig
from tasks.alfworld.games import SPLITS, default_cache_folder, read_index

State = Literal["ok", "warning", "broken"]

MEMORY_NEEDED_MB = 3000
MEMORY_WANTED_MB = 6000
SHARED_WANTED_MB = 200
DISK_WANTED_MB = 1000


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found, and what to do about it ("" where nothing)."""

    name: str
    state: State
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """The check for JSON."""
        return {
            "name": self.name,
            "state": self.state,
            "found": self.found,
            "remedy": self.remedy,
        }


def check_everything(server: str | None = None) -> list[Check]:
    """Run every check, `server` (a URL) included; none of them raises, and the embedded server of
    the check is stopped."""
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("python", check_python),
        ("packages", lambda: check_packages(lock_file())),
        ("cores", check_cores),
        ("memory", lambda: check_memory(available_memory_mb())),
        ("/dev/shm", lambda: check_shared_memory(Path("/dev/shm"))),
        ("embedded server", check_embedded_server),
        ("server", lambda: check_given_server(server, os.environ)),
        ("ray", check_ray),
        ("simulators", check_simulators),
        ("torch", check_torch),
        ("runs folder", lambda: check_runs_folder(Path(os.environ.get("NESYPR__FOLDER", "runs")))),
        ("ports", check_ports),
        ("environment", lambda: check_environment(os.environ)),
        ("ALFWORLD_DATA", lambda: check_alfworld(os.environ.get("ALFWORLD_DATA"))),
    ]
    return [_guarded(name, check) for name, check in checks]


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """The check's finding; whatever it raises is a finding, too."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - shown to the user as what was found
        words = " ".join(f"{type(error).__name__}: {error}".split())
        return Check(name, "broken", words[:300], "install again with make, or report this")


def check_python() -> Check:
    """Which Python; an earlier one than 3.11 cannot even install the program."""
    found = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] != (3, 11):
        return Check("python", "warning", found, "the pinned versions were tested on Python 3.11")
    return Check("python", "ok", found)


def lock_file() -> Path:
    """Where `requirements.lock` lies in a checkout."""
    return Path(configs.__file__).resolve().parent.parent / "requirements.lock"


def check_packages(lock: Path) -> Check:
    """Installed versions must be those of the lock; development tools may be absent."""
    if not lock.is_file():
        return Check("packages", "warning", f"no {lock}", "run from a checkout to compare versions")
    needed = _needed_by_nesypr()
    absent, different = [], []
    for name, wanted in _locked_versions(lock).items():
        try:
            found = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            if name in needed:
                absent.append(name)
            continue
        if found != wanted:
            different.append(f"{name} {found} instead of {wanted}")
    remedy = "pip install -r requirements.lock"
    if absent:
        return Check("packages", "broken", f"absent: {', '.join(absent)}", remedy)
    if different:
        return Check("packages", "warning", "; ".join(different)[:300], remedy)
    return Check("packages", "ok", f"as in {lock.name}")


def _locked_versions(lock: Path) -> dict[str, str]:
    lines = (line.strip() for line in lock.read_text(encoding="utf-8").splitlines())
    pairs = (
        (line.partition("==")[0], line.partition("==")[2])
        for line in lines
        if "==" in line and not line.startswith("#")
    )
    return dict(pairs)


def _needed_by_nesypr() -> set[str]:
    requirements = metadata.requires("nesypr") or []
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in requirements if "extra ==" not in line)
    return {name.group() for name in names if name}


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


def check_shared_memory(folder: Path) -> Check:
    """Ray keeps its objects in /dev/shm, and falls back to the disk where it is small."""
    if not folder.is_dir():
        return Check("/dev/shm", "ok", "not used on this system")
    free = shutil.disk_usage(folder).free // 2**20
    if free < SHARED_WANTED_MB:
        remedy = "in a container, start it with --shm-size=512m; Ray uses the disk until then"
        return Check("/dev/shm", "warning", f"{free} MiB free", remedy)
    return Check("/dev/shm", "ok", f"{free} MiB free")


def check_embedded_server() -> Check:
    """The server that keeps shared memory where no URL is given starts and answers."""
    from shared_memory.connection import connect
    from shared_memory.server import EmbeddedServer

    with (
        tempfile.TemporaryDirectory(prefix="nesypr-doctor-") as folder,
        EmbeddedServer(Path(folder), "no") as server,
    ):
        client = connect(SharedMemoryConfig(), server.url)
        try:
            version = str(client.info("server").get("valkey_version", "unknown version"))
        finally:
            client.close()
    return Check("embedded server", "ok", f"starts and answers (Valkey {version})")


def check_given_server(url: str | None, environment: Mapping[str, str]) -> Check:
    """A server of one's own, where one is given: by its URL, or in the environment."""
    memory = SharedMemoryConfig()
    if url is None:
        memory = load_settings("quickstart", environment=environment).config.shared_memory
        url = memory.url
    if url is None:
        return Check("server", "ok", "none given: runs start their own (or --server URL)")
    from cluster.server_check import check_server

    return check_server(memory, url)


def check_ray() -> Check:
    """Ray must be importable, in the one minor version whose inner parts the driver relies on."""
    import ray

    if not ray.__version__.startswith("2.60."):
        return Check("ray", "broken", ray.__version__, "pip install 'ray[default,rllib]==2.60.0'")
    return Check("ray", "ok", ray.__version__)


def check_simulators() -> Check:
    """A domain can be read and its simulator made."""
    from tasks.domains import get_domain
    from tasks.simulators import make_simulator

    make_simulator(get_domain("blocks"))
    return Check("simulators", "ok", f"pymimir {metadata.version('pymimir')}, PDDLGym's domains")


def check_torch() -> Check:
    """Torch must be importable."""
    import torch

    cuda = f", CUDA {torch.version.cuda}" if torch.cuda.is_available() else ", no GPU needed"
    return Check("torch", "ok", torch.__version__ + cuda)


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


def check_environment(environment: Mapping[str, str]) -> Check:
    """NESYPR__ variables must be keys of the configuration."""
    try:
        load_settings("quickstart", environment=environment)
    except NesyprError as error:
        return Check("environment", "broken", str(error), "unset or mend that variable")
    return Check("environment", "ok", "no NESYPR__ variable is wrong")


def check_alfworld(folder: str | None) -> Check:
    """ALFWorld's real games are optional; where they are named they can be read."""
    if not folder:
        return Check("ALFWORLD_DATA", "ok", "not set: needed for ALFWorld's real games only")
    try:
        index = read_index(Path(folder).expanduser().resolve(), default_cache_folder())
    except NesyprError as error:
        remedy = "point it at ALFWorld's data folder, or unset it"
        return Check("ALFWORLD_DATA", "broken", str(error), remedy)
    games = {split: len(index.select(split)) for split in SPLITS}
    found = f"{folder}: " + ", ".join(f"{split} {count}" for split, count in games.items())
    if not games["train"]:
        return Check("ALFWORLD_DATA", "warning", found, "fetch the games of the split train")
    if not sum(games.values()) - games["train"]:
        remedy = "fetch valid_seen or valid_unseen: without, probes hold games of train out"
        return Check("ALFWORLD_DATA", "warning", found, remedy)
    return Check("ALFWORLD_DATA", "ok", found)


def verdict_table(checks: list[Check]) -> Table:
    """The findings for a terminal."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "check", "found", "what to do"):
        table.add_column(column, overflow="fold")
    styles = {"ok": "green", "warning": "yellow", "broken": "red"}
    for check in checks:
        style = styles[check.state]
        table.add_row(f"[{style}]{check.state}[/]", check.name, check.found, check.remedy)
    return table
