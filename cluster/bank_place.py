"""Where the banks of a `nesypr bank` command are: a run's folder, or a server's address.

A run that goes on has a server, whose address is in its folder; a run that ended left its server's
files there, and a server is started on them for as long as the command takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import redis

from cluster import checkpoint
from cluster.run_folder import RunFolder, RunFolderError
from cluster.settings import load_settings
from configs.errors import ConfigurationError
from configs.schema import BankConfig, SharedMemoryConfig
from shared_memory.bank import Bank
from shared_memory.bank_policy import read_policy
from shared_memory.connection import call, connect, redacted
from shared_memory.keys import PREFIX, RunKeys
from shared_memory.plain_values import text
from shared_memory.server import EmbeddedServer
from shared_memory.server_clients import ServerClient

_SCAN = 1000
_UNBOUNDED = BankConfig(max_entries=2**52, max_bytes=2**52)
"""Settings for banks whose own are not known: nothing retires."""


@dataclass(frozen=True, slots=True)
class BankPlace:
    """Banks that can be read and written now."""

    client: redis.Redis
    run: str  # the run's name in shared memory
    bank: Bank
    config: BankConfig
    begun: Mapping[str, BankConfig]  # of domains that were begun with other settings than these
    words: str  # where that is, for a person


@contextmanager
def opened(place: str, folder: Path, run: str | None = None) -> Iterator[BankPlace]:
    """The banks at a server's URL, or of the run in `folder` (what `place` means, where it is no
    URL). `run` chooses among the runs of a server.

    Raises NesyprError with a sentence: no such run, no server there, several runs and no choice.
    """
    if "://" in place:
        with closing(connect(SharedMemoryConfig(), place)) as client:
            chosen = run or _only_run(client, place)
            begun = _begun(client, chosen)
            config = next(iter(begun.values()), _UNBOUNDED)
            bank = Bank(client, chosen, config)
            words = f"run {chosen} at {redacted(place)}"
            yield BankPlace(client, chosen, bank, config, begun, words)
        return
    if run is not None:
        raise ConfigurationError("--run chooses among the runs of a server: give its URL with it")
    kept = RunFolder.look(folder)
    state, _ = checkpoint.read(kept)
    memory = load_settings(str(kept.config_file)).config.shared_memory
    with _server(kept, memory) as url, closing(connect(memory, url)) as client:
        bank = Bank(client, state.run, memory.bank)
        words = f"run {state.run} in {kept.path}"
        yield BankPlace(client, state.run, bank, memory.bank, {}, words)


@contextmanager
def _server(folder: RunFolder, memory: SharedMemoryConfig) -> Iterator[str]:
    """The address of the server that a run's banks are on, started where it is not up."""
    if memory.url is not None:
        yield memory.url
        return
    if folder.state() == "running":
        try:
            yield folder.server_address.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise RunFolderError(
                f"the run in {folder.path} is starting, and its server is not up yet: try again "
                "in a moment"
            ) from None
        return
    if not (folder.shared_memory / "appendonlydir").is_dir():
        raise RunFolderError(
            f"{folder.shared_memory} has no server's files: the run never had banks, or they "
            "were moved away"
        )
    with EmbeddedServer(folder.shared_memory, fsync=memory.fsync) as server:
        yield server.url


def _begun(client: redis.Redis, run: str) -> dict[str, BankConfig]:
    """Settings that go with what each domain's banks were begun with; their budgets are not known,
    so that nothing retires."""
    keys, found = RunKeys(run), dict[str, BankConfig]()
    for domain in Bank(client, run, BankConfig()).domains():
        policy = read_policy(client, keys.domain(domain))
        if policy is not None:
            values = {"retirement": policy.retirement, "solid_after": policy.solid_after}
            found[domain] = _UNBOUNDED.model_copy(update=values)
    return found


def _only_run(client: ServerClient, url: str) -> str:
    """The one run whose banks a server has."""
    ending = "}:domains"
    pattern, found = f"{PREFIX}:{{*{ending}", set[str]()
    for node in client.nodes():
        cursor = b"0"
        while True:
            cursor, keys = call(node, "SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN)
            for key in keys:
                name = text(key, "a key")[len(PREFIX) + 2 : -len(ending)]
                if "/" not in name:
                    found.add(unquote(name))
            if int(cursor) == 0:
                break
    if len(found) == 1:
        return found.pop()
    if not found:
        raise ConfigurationError(
            f"the server at {redacted(url)} has no run's banks: --run names one that is to be"
        )
    raise ConfigurationError(
        f"the server at {redacted(url)} has the banks of several runs: choose one with --run: "
        + ", ".join(sorted(found))
    )
