"""Hostile bytes are refused in a sentence, with bounded memory, wherever they are read.

`-m slow` tries a million of them; the suite some ten thousand. Either the bytes happen to be valid,
or a SharedMemoryError is raised: any other error, and any megabytes, fail.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import redis
from golden_records import GOLDEN, RECORDS
from hostile import HostileClient, mutated
from hypothesis import given, settings
from hypothesis import strategies as some
from peak_memory import peak, reset_peak

from cluster import bank_place
from configs.schema import BankConfig
from shared_memory import codec, heartbeat, weights
from shared_memory.bank import Bank
from shared_memory.bank_entry import read_entry_value
from shared_memory.bank_file import export_banks, filed_entries, read_header, stored_entry
from shared_memory.bank_generations import PublishedBook
from shared_memory.bank_reading import bank_memory, most_used
from shared_memory.bank_verification import verify
from shared_memory.connection import call
from shared_memory.errors import SharedMemoryError
from shared_memory.fleet_wishes import FleetSize, FleetState, FleetWishes, HostState
from shared_memory.heartbeat import Heartbeats
from shared_memory.keys import RunKeys
from shared_memory.outcomes import OutcomeLog
from shared_memory.queues import PlanQueue, TraceQueue
from shared_memory.records import Episode, PlanRequest
from shared_memory.replica import BankReplica
from shared_memory.server import EmbeddedServer
from shared_memory.weights import PublishedWeights

MOST_GROWTH_MB = 48
MANIFEST = msgpack.packb([1, 3, 1000, 1, "0" * 32, {"loss": 0.5, "note": "x"}])
BEAT = bytes(8) + msgpack.packb(["acts", {"tasks": 3.0}])
few_or_a_million = pytest.mark.parametrize(
    "cases",
    [20_000, pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])],
)


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    """No test may take more than that beyond what the process has when it begins, at any time."""
    before = reset_peak()
    yield
    assert peak() - before < MOST_GROWTH_MB * 2**20


def test_the_bound_sees_what_was_taken_and_given_back() -> None:
    for _ in range(2):  # the second time below the peak of the process' life
        before = reset_peak()
        bytearray(2 * MOST_GROWTH_MB * 2**20)
        assert peak() - before > MOST_GROWTH_MB * 2**20
    reset_peak()


def golden_payloads() -> list[tuple[type[Any], bytes]]:
    found: list[tuple[type[Any], bytes]] = []
    for file in sorted(GOLDEN.iterdir()):
        rows = msgpack.unpackb(file.read_bytes())
        kinds = [type(record) for record in RECORDS]
        found += [(kind, payload) for kind, (_, payload) in zip(kinds, rows, strict=True)]
    return found


@few_or_a_million
def test_records_manifests_and_counts(cases: int) -> None:
    chance = random.Random(cases)
    records = golden_payloads()
    payloads = [payload for _, payload in records]
    codes = codec.pack_codes(RECORDS[0].codes)
    readers: list[tuple[bytes, Callable[[bytes], Any]]] = [
        *((payload, lambda raw, k=kind: codec.decode(k, raw)) for kind, payload in records),
        (MANIFEST, weights._described),
        (BEAT, lambda raw: heartbeat._heartbeat("actor", raw, 0.0)),
        (codes + payloads[-1], lambda raw: stored_entry(raw, len(codes))),
        (bytes(51), lambda raw: read_entry_value(bytes(16) + b"pick up", raw)),
        (codes, codec.unpack_codes),
    ]
    refused = 0
    for number in range(cases):
        true, read = readers[number % len(readers)]
        try:
            read(mutated(chance, true, payloads))
        except SharedMemoryError:
            refused += 1
    assert refused > cases / 2


@settings(max_examples=300, deadline=None)
@given(some.binary(max_size=300))
def test_any_bytes_at_all(raw: bytes) -> None:
    for read in (weights._described, lambda raw: heartbeat._heartbeat("actor", raw, 0.0)):
        with suppress(SharedMemoryError):
            read(raw)


@pytest.fixture
def used(
    client: redis.Redis,
    make_episode: Callable[..., Episode],
    make_request: Callable[..., PlanRequest],
) -> redis.Redis:
    """A server with a little of everything."""
    bank = Bank(client, "run", BankConfig())
    bank.push(
        [make_episode(number, success=number % 2 > 0, decisions=2) for number in range(6)],
        [make_request(number) for number in range(3)],
    )
    bank.push([make_episode(number, success=number % 2 > 0, version=2) for number in range(6, 9)])
    bank.retire(2)
    bank.push([make_episode(number, decisions=2, version=2) for number in range(9, 11)])
    held = RunKeys("run").domain("blocks").sign("success")
    assert call(client, "LLEN", held.free)
    assert bank.statistics().total("success").retired
    PublishedWeights(client, "run").publish(1, b"weights" * 9, {"loss": 0.5})
    Heartbeats(client, "run").beat("actor-0", "acts", {"tasks": 3})
    wishes = FleetWishes(client, "run")
    wishes.ask_size(FleetSize(3))
    wishes.ask_to_leave(["ab12"])
    host = HostState("ab12", "east", "10.0.0.2", "", False, 2, -1)
    wishes.tell(FleetState(FleetSize(2), 2, 0, 0, 1, "", (host,)))
    PlanQueue(client, "run", ["blocks"])
    return client


@pytest.mark.parametrize(
    "cases", [1_500, pytest.param(60_000, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])]
)
def test_whatever_is_on_the_server(
    used: redis.Redis, cases: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is read of a server, with some of the values on it changed."""
    chance = random.Random(cases)
    domains, config = ("blocks",), BankConfig()
    refused = 0
    client = HostileClient(used, chance, 1)
    monkeypatch.setattr(bank_place, "connect", lambda *_: client)
    book = PublishedBook(3, np.zeros(5, dtype=np.int64))

    def of_place() -> None:
        with bank_place.opened("unix://there", tmp_path, "run") as at:
            at.bank.domains()

    def of_log() -> None:
        replica = BankReplica(used, "run", domains, config, actions=True)
        replica._client = client  # it has nothing yet
        replica.refresh()

    def of_queue() -> None:
        PlanQueue(client, "run", domains, reclaim_s=0.0).take("teacher", 5)
        TraceQueue(client, "run", domains, reclaim_s=0.0).take("learner", 5)

    def of_entries() -> None:
        bank = Bank(client, "run", config)
        for sign in ("success", "failure"):
            list(bank.entries("blocks", sign))

    readers: list[Callable[[], Any]] = [
        of_log,
        of_log,
        of_log,
        of_queue,
        of_entries,
        of_place,
        lambda: bank_memory(client, "run", domains),
        lambda: Bank(client, "run", config).verify(),
        lambda: verify(client, "run", domains, book),
        lambda: Bank(client, "run", config).statistics(),
        lambda: Bank(client, "run", config).domains(),
        lambda: most_used(client, "run", "blocks", "success", 3),
        lambda: OutcomeLog(client, "run", domains).read({}),
        lambda: OutcomeLog(client, "run", domains).last(),
        lambda: PublishedWeights(client, "run").fetch(1),
        lambda: PublishedWeights(client, "run").latest_version(),
        lambda: Heartbeats(client, "run").read(),
        lambda: FleetWishes(client, "run").read(),
        lambda: FleetWishes(client, "run").told(),
        lambda: export_banks(client, "run", domains, tmp_path / "banks"),
    ]
    for number in range(cases):
        client._changed = chance.choice((1, 1, 2, 5))
        client.asked = 0
        try:
            readers[number % len(readers)]()
        except SharedMemoryError:
            refused += 1
        assert client.asked < 2000
    assert refused > cases / 5


@pytest.mark.parametrize(
    ("key", "name", "value"),
    [
        ("counters", "retirement", b"nonsense"),
        ("counters", "retirement", b"\xff\xfe"),
        ("counters", "solid_after", b"-3"),
        ("counters", "solid_after", b"many"),
        ("counters", "success:slots", b"1000000000"),
        ("counters", "success:slots", b"10000000000000"),
        ("counters", "success:slots", b"-5"),
        ("counters", "width", b"1000000000000"),
        ("free", "", b"junk"),
        ("free", "", b"9" * 30),
        ("ages", "inf", b"who"),
        ("ages", "-7", b"who"),
    ],
)
def test_junk_on_the_server_is_told_in_a_sentence(
    used: redis.Redis, key: str, name: str, value: bytes, tmp_path: Path
) -> None:
    """What `nesypr bank stats`, `show` and `verify` read at a URL, with one value planted."""
    keys = RunKeys("run").domain("blocks")
    held = keys.sign("success")
    if key == "counters":
        call(used, "HSET", keys.counters, name, value)
    elif key == "free":
        call(used, "RPUSH", held.free, value)
    else:
        call(used, "ZADD", held.ages, name, value)
    counting = HostileClient(used, random.Random(0), 0)
    said: list[str] = []

    def look(read: Callable[[], Any]) -> None:
        try:
            found = read()
        except SharedMemoryError as error:
            said.append(str(error))
        else:
            said.extend(getattr(found, "problems", ()))

    look(lambda: bank_place._begun(counting, "run"))
    look(lambda: bank_memory(counting, "run", ("blocks",)))
    look(lambda: Bank(counting, "run", BankConfig()).statistics())
    look(lambda: most_used(counting, "run", "blocks", "success", 3))
    look(lambda: verify(counting, "run", ("blocks",)))
    assert said
    assert counting.asked < 200


def test_a_key_that_is_no_text_is_told_in_a_sentence(
    server: EmbeddedServer, used: redis.Redis, tmp_path: Path
) -> None:
    call(used, "SADD", b"nesypr:{\xff}:domains", "x")
    with (
        pytest.raises(SharedMemoryError, match="no text"),
        bank_place.opened(server.url, tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    "cases", [500, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])]
)
def test_bank_files(used: redis.Redis, cases: int, tmp_path: Path) -> None:
    chance = random.Random(cases)
    path = tmp_path / "banks"
    export_banks(used, "run", ("blocks",), path)
    true = path.read_bytes()[:-32]
    for number in range(cases):
        raw = mutated(chance, true)
        checksum = hashlib.blake2b(raw, digest_size=32).digest()
        # Every second one is as its writer meant it to be: the checksum fits.
        path.write_bytes(raw + (checksum if number % 2 else bytes(32)))
        try:
            read_header(path)
            list(filed_entries(path))
        except SharedMemoryError:
            continue
        assert number % 2
