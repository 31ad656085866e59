"""What a run finds around it: servers, Ray's token, environment variables, ALFWorld's games."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from cluster.doctor.check import Check
from cluster.ray_token import MODE, token_file, token_place
from cluster.settings import load_settings
from configs.errors import NesyprError
from configs.schema import SharedMemoryConfig
from tasks.alfworld.games import SPLITS, default_cache_folder, read_index


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


def given_server(
    url: str | None, environment: Mapping[str, str]
) -> tuple[SharedMemoryConfig, str | None]:
    """The settings and the URL of a server of one's own: as given, or in the environment."""
    if url is not None:
        return SharedMemoryConfig(), url
    memory = load_settings("quickstart", environment=environment).config.shared_memory
    return memory, memory.url


def check_given_server(url: str | None, environment: Mapping[str, str]) -> Check:
    """A server of one's own, where one is given: by its URL, or in the environment."""
    memory, found = given_server(url, environment)
    if found is None:
        return Check("server", "ok", "none given: runs start their own (or --server URL)")
    from cluster.server_check import check_server

    return check_server(memory, found)


def check_token(environment: Mapping[str, str]) -> Check:
    """Ray's token, with which hosts know each other; one machine alone makes its own."""
    name = "ray's token"
    mode = environment.get(MODE)
    if mode is not None and mode.lower() != "token":
        remedy = f"unset {MODE}, or set it to token: without one, who reaches Ray can run code"
        return Check(name, "warning", f"{MODE}={mode}", remedy)
    place = token_place(environment)
    if place is None and mode is None:
        found = "none yet: one machine makes its own, several need the same (docs/cluster.md)"
        return Check(name, "ok", found)
    if place is None:
        remedy = "ray get-auth-token --generate, and copy the file to every host"
        return Check(name, "broken", f"{MODE}=token, but no {token_file(environment)}", remedy)
    file = token_file(environment)
    if place == str(file) and file.stat().st_mode & 0o077:
        remedy = f"chmod 600 {file}: who has it can run code on the cluster"
        return Check(name, "warning", f"others on this machine may read {file}", remedy)
    return Check(name, "ok", f"in {place}")


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
