"""A bank goes into one file and comes back the same; a damaged file takes nothing in."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
import redis

from configs.schema import BankConfig
from shared_memory.bank import Bank
from shared_memory.bank_file import BankFile, Restored, export_banks, import_banks, read_header
from shared_memory.bank_reading import bank_memory, most_used, server_memory
from shared_memory.bank_reencoding import BankReencoding
from shared_memory.connection import call
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import RunKeys
from shared_memory.records import SIGNS, Decision, Episode
from shared_memory.replica import BankReplica
from shared_memory.weights import PublishedWeights

EpisodeMaker = Callable[..., Episode]
Held = dict[tuple[str, str, bytes], tuple[int, int, bytes]]


def held(bank: Bank) -> Held:
    """Everything that the banks hold, by what it is."""
    return {
        (domain, sign, digest): (each.times, each.last_version, each.entry.codes.tobytes())
        for domain in bank.domains()
        for sign in SIGNS
        for digest, each in bank.entries(domain, sign)
    }


def filled(client: redis.Redis, run: str, make_episode: EpisodeMaker) -> Bank:
    bank = Bank(client, run, BankConfig())
    bank.push(
        [
            make_episode(
                number,
                version=1 + number // 4,
                success=number % 3 > 0,
                domain=("blocks", "ferry")[number % 2],
                codes=2,
            )
            for number in range(20)
        ]
    )
    return bank


def test_a_file_brings_back_the_same_banks(
    client: redis.Redis, make_episode: EpisodeMaker, tmp_path: Path
) -> None:
    bank = filled(client, "run", make_episode)
    before = held(bank)
    written = export_banks(client, "run", bank.domains(), tmp_path / "bank")
    assert written.entries == len(before)
    again = export_banks(client, "run", bank.domains(), tmp_path / "again")
    assert again.path.read_bytes() == written.path.read_bytes()
    assert read_header(written.path) == written

    other = Bank(client, "other", BankConfig())
    restored = import_banks(client, "other", BankConfig(), written)
    assert (restored.added, restored.merged) == (len(before), 0)
    assert held(other) == {key: (times, 0, codes) for key, (times, _, codes) in before.items()}
    assert other.verify().problems == ()
    replica = BankReplica(client, "other", ["blocks", "ferry"], BankConfig(), actions=True)
    replica.refresh()
    for domain in ("blocks", "ferry"):
        for sign in SIGNS:
            unique = {
                codes for (d, s, _), (_, _, codes) in before.items() if (d, s) == (domain, sign)
            }
            assert replica.sizes()[domain, sign] == len(unique)


def test_a_run_that_lost_its_banks_has_them_back(
    client: redis.Redis, make_episode: EpisodeMaker, tmp_path: Path
) -> None:
    bank = filled(client, "run", make_episode)
    before = held(bank)
    written = export_banks(client, "run", bank.domains(), tmp_path / "bank")
    client.flushall()
    PublishedWeights(client, "run").publish(2, b"older than most of the entries")
    import_banks(client, "run", BankConfig(), written)
    assert held(bank) == before


@pytest.mark.parametrize(("published", "version"), [(None, 0), (0, 0), (3, 2), (99, 98)])
def test_entries_of_another_run_are_stale(
    client: redis.Redis,
    make_episode: EpisodeMaker,
    tmp_path: Path,
    published: int | None,
    version: int,
) -> None:
    """Whatever their versions were, they are encoded again with the next version."""
    bank = Bank(client, "run", BankConfig())
    bank.push([make_episode(1, version=60), make_episode(2, version=3)])
    written = export_banks(client, "run", bank.domains(), tmp_path / "bank")
    other = Bank(client, "other", BankConfig())
    if published is not None:
        PublishedWeights(client, "other").publish(published, b"a book of its own")
    import_banks(client, "other", BankConfig(), written)
    assert {last_version for _, last_version, _ in held(other).values()} == {version}
    upcoming = 1 if published is None else published + 1
    stale = BankReencoding(client, "other", BankConfig()).stale("blocks", "success", upcoming, 99)
    assert len(stale) == written.entries
    assert other.verify().problems == ()


def test_what_has_gone_is_restored_and_nothing_is_doubled(
    client: redis.Redis, make_episode: EpisodeMaker, tmp_path: Path
) -> None:
    bank = filled(client, "run", make_episode)
    written = export_banks(client, "run", bank.domains(), tmp_path / "bank")
    import_banks(client, "run", BankConfig(), written)
    before = held(bank)  # all counts twice
    for config in (BankConfig(), BankConfig(max_version_lag=1)):
        restored = import_banks(client, "run", config, written, restore=True)
        assert restored == Restored(len(before), 0, len(before), 0)
        assert held(bank) == before
    gone = bank.retire(3)
    assert 0 < gone < len(before)
    assert import_banks(client, "run", BankConfig(), written) == Restored(
        len(before), 0, 0, len(before)
    )
    for again in (0, gone):
        restored = import_banks(client, "run", BankConfig(), written, restore=True)
        assert restored == Restored(len(before), gone - again, len(before) - gone + again, 0)
        assert held(bank).keys() == before.keys()
        assert bank.verify().problems == ()
    times = {key: count for key, (count, _, _) in held(bank).items()}
    assert all(
        2 * times[key] == count if version < 3 else times[key] == count
        for key, (count, version, _) in before.items()
    )


def test_an_import_that_is_repeated_changes_nothing(
    client: redis.Redis, make_episode: EpisodeMaker, tmp_path: Path
) -> None:
    bank = filled(client, "run", make_episode)
    written = export_banks(client, "run", bank.domains(), tmp_path / "bank")
    other = Bank(client, "other", BankConfig())
    other.push([make_episode(100, codes=2)])
    assert import_banks(client, "other", BankConfig(), written).added > 0
    once = held(other)
    repeated = import_banks(client, "other", BankConfig(), written)
    assert (repeated.added, repeated.merged, repeated.before) == (0, 0, written.entries)
    assert held(other) == once
    assert other.verify().problems == ()
    assert other.statistics().finished == 1  # no episode of this run came with the file


def test_what_the_bank_has_already_is_counted_on_top(
    client: redis.Redis, make_episode: EpisodeMaker, tmp_path: Path
) -> None:
    bank = filled(client, "run", make_episode)
    before = held(bank)
    written = export_banks(client, "run", bank.domains(), tmp_path / "bank")
    restored = import_banks(client, "run", BankConfig(), written)
    assert (restored.added, restored.merged) == (0, len(before))
    assert {key: times for key, (times, _, _) in held(bank).items()} == {
        key: 2 * times for key, (times, _, _) in before.items()
    }
    assert bank.verify().problems == ()
    assert bank.push([make_episode(50, codes=2)]).submitted == 4
    assert bank.verify().problems == ()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda payload: payload[:-1], "checksum"),
        (lambda payload: payload[:100], "checksum"),
        (lambda payload: payload[:60] + bytes([payload[60] ^ 1]) + payload[61:], "checksum"),
        (lambda payload: b"other file" + payload, "no bank's file"),
        (lambda payload: b"", "no bank's file"),
    ],
)
def test_a_damaged_file_is_refused(
    client: redis.Redis,
    make_episode: EpisodeMaker,
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    words: str,
) -> None:
    bank = filled(client, "run", make_episode)
    path = tmp_path / "bank"
    export_banks(client, "run", bank.domains(), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SharedMemoryError, match=words):
        read_header(path)


def resealed(path: Path, rows: list[object]) -> Path:
    """A file with a right checksum over these rows."""
    body = b"nesypr bank\n" + b"".join(msgpack.packb(row) for row in rows)
    path.write_bytes(body + hashlib.blake2b(body, digest_size=32).digest())
    return path


HEADER = ["bank", 1, "run", -1, ""]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no header"),
        ([["bank", 2, "run", -1, ""]], "format 2"),
        ([["bank", 1, "run"]], "no header"),
        ([HEADER, "row"], "no entry of a bank"),
        ([HEADER, ["blocks", 2, 1, 0, 1, 2, b"xx"]], "no entry of a bank"),
        ([HEADER, ["blocks", 0, 0, 0, 1, 2, b"xx"]], "no entry of a bank"),
        ([HEADER, ["blocks", 0, 1, 0, 2**40, 2, b"xx"]], "no entry of a bank"),
        ([HEADER, ["blocks", 0, 1, 0, 1, 2, b"xx"]], "no valid BankEntry"),
        ([HEADER, list(range(100))], "within the limits"),
        ([HEADER, {"a": 1}], "within the limits"),
        ([HEADER, msgpack.ExtType(3, b"x")], "within the limits"),
    ],
)
def test_a_file_with_hostile_rows_is_refused(
    tmp_path: Path, rows: list[object], words: str
) -> None:
    with pytest.raises(SharedMemoryError, match=words):
        read_header(resealed(tmp_path / "bank", rows))


def test_procedures_of_another_width_are_refused(
    client: redis.Redis, make_episode: EpisodeMaker, tmp_path: Path
) -> None:
    bank = filled(client, "run", make_episode)
    written = export_banks(client, "run", bank.domains(), tmp_path / "bank")
    other = Bank(client, "other", BankConfig())
    other.push([make_episode(1, chunks=7)])
    with pytest.raises(SharedMemoryError, match="7 codes, but these have 6"):
        import_banks(client, "other", BankConfig(), written)
    assert other.verify().problems == ()


def test_a_missing_file_and_one_that_cannot_be_written(client: redis.Redis, tmp_path: Path) -> None:
    with pytest.raises(SharedMemoryError, match="cannot be read"):
        read_header(tmp_path / "none")
    with pytest.raises(SharedMemoryError, match="cannot be written"):
        export_banks(client, "run", (), tmp_path / "none" / "bank")
    empty = export_banks(client, "run", (), tmp_path / "bank")
    assert empty == BankFile(tmp_path / "bank", "run", -1, "", 0, empty.bytes, empty.checksum)


def test_what_is_used_most_and_what_it_replaced(
    client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    base = make_episode(0, decisions=1)

    def episode(number: int, action: str, success: bool, accepted: bool = True) -> Episode:
        first: Decision = dataclasses.replace(base.decisions[0], action=action, accepted=accepted)
        return dataclasses.replace(base, episode=number, success=success, decisions=(first,))

    bank = Bank(client, "run", BankConfig())
    bank.push(
        [
            episode(0, "stack a b", True),
            episode(1, "stack a b", True),
            episode(2, "unstack a b", False, accepted=False),
            episode(3, "put a", True),
            make_episode(4, decisions=1, seed=9, codes=3),
        ]
    )
    first, second = most_used(client, "run", "blocks", "success", 2)
    assert first.codes == tuple(base.decisions[0].codes.tolist())
    assert [(each.action, each.times) for each in first.actions] == [
        ("stack a b", 2),
        ("put a", 1),
    ]
    assert [(each.action, each.times, each.refused) for each in first.replaced] == [
        ("unstack a b", 1, 1)
    ]
    assert (first.times, second.times, second.replaced) == (3, 1, ())
    assert len(most_used(client, "run", "blocks", "success", 1)) == 1
    assert most_used(client, "run", "ferry", "failure", 3) == ()


def test_memory_and_versions(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank = filled(client, "run", make_episode)
    found = bank_memory(client, "run", bank.domains())
    assert [(each.domain, each.sign) for each in found] == [
        (domain, sign) for domain in ("blocks", "ferry") for sign in SIGNS
    ]
    for each, statistics in zip(found, bank.statistics().banks, strict=True):
        assert each.server_bytes > statistics.bytes > 0
        assert 1 <= each.oldest_version <= each.newest_version <= 5
    (empty,) = [each for each in bank_memory(client, "none", ("x",)) if each.sign == "success"]
    assert (empty.server_bytes, empty.oldest_version, empty.newest_version) == (0, -1, -1)
    assert server_memory(client).used_bytes > 0
    call(client, "DEL", RunKeys("run").domains)
