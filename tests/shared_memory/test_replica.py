"""A replica follows the banks' log through everything that happens to them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from configs.schema import BankConfig
from shared_memory.bank import Bank
from shared_memory.codec import pack_codes
from shared_memory.connection import call
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import RunKeys
from shared_memory.node_replica import NodeReplica
from shared_memory.records import SIGNS, Episode, Sign
from shared_memory.replica import BankReplica, Replica
from shared_memory.replica_bank import FORGOTTEN

EpisodeMaker = Callable[..., Episode]
DOMAINS = ("blocks", "ferry")


def followed(client: redis.Redis) -> BankReplica:
    return BankReplica(client, "run", DOMAINS, BankConfig())


def in_replica(replica: Replica, domain: str, sign: Sign) -> dict[bytes, int]:
    bank = replica.banks()[domain][sign]
    rows = bank.rows
    held = {
        pack_codes(codes.astype(np.uint16)): int(version)
        for codes, version in zip(rows, bank.versions)
        if version != FORGOTTEN
    }
    assert len(held) == len(bank)
    assert (np.diff(bank.numbers) > 0).all()
    return held


def in_bank(bank: Bank, domain: str, sign: Sign) -> dict[bytes, int]:
    held: dict[bytes, int] = {}
    for _, entry in bank.entries(domain, sign):
        codes = pack_codes(entry.entry.codes)
        held[codes] = max(entry.last_version, held.get(codes, 0))
    return held


def assert_same(replica: BankReplica, bank: Bank) -> None:
    for domain in DOMAINS:
        for sign in SIGNS:
            assert in_replica(replica, domain, sign) == in_bank(bank, domain, sign)


def copy_of(client: redis.Redis) -> dict[bytes, bytes]:
    """All that the server has."""
    return {key: call(client, "DUMP", key) for key in call(client, "KEYS", "*")}


def fall_back(client: redis.Redis, copied: dict[bytes, bytes]) -> None:
    """Have the server hold that again, and nothing else."""
    client.flushall()
    for key, payload in copied.items():
        call(client, "RESTORE", key, 0, payload)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("since", [1, 3, 5])
def test_a_history_that_was_lost_is_told_apart(
    client: redis.Redis, make_episode: EpisodeMaker, tmp_path: Path, shared: bool, since: int
) -> None:
    bank = Bank(client, "run", BankConfig())
    replica: Replica = (
        NodeReplica(client, "run", DOMAINS, BankConfig(), base=tmp_path)
        if shared
        else followed(client)
    )
    bank.push([make_episode(0)])
    copied = copy_of(client)
    for number in range(1, 4):
        bank.push([make_episode(number)])
    replica.refresh()
    fall_back(client, copied)
    for number in range(10, 10 + since):  # as many batches as were lost, fewer, or more
        bank.push([make_episode(number)])
    replica.refresh()
    for sign in SIGNS:
        assert in_replica(replica, "blocks", sign) == in_bank(bank, "blocks", sign)
    before = replica.reloads
    bank.push([make_episode(20)])
    replica.refresh()
    assert replica.reloads == before
    assert in_replica(replica, "blocks", "success") == in_bank(bank, "blocks", "success")


def test_follows_and_needs_no_second_reload(
    client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    bank, replica = Bank(client, "run", BankConfig()), followed(client)
    assert replica.refresh() == 0
    for number in range(20):
        bank.push([make_episode(number, domain=DOMAINS[number % 2], success=number % 3 == 0)])
        assert replica.refresh() >= 1
        assert_same(replica, bank)
    assert replica.reloads == 2  # when a domain's bank appeared
    assert replica.refresh() == 0


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    some.lists(
        some.one_of(
            some.tuples(some.just("push"), some.integers(0, 30), some.booleans()),
            some.tuples(some.just("retire"), some.integers(0, 5), some.booleans()),
            some.tuples(some.just("refresh"), some.integers(0, 2), some.booleans()),
            some.tuples(some.just("trim"), some.integers(0, 2), some.booleans()),
            some.tuples(some.just("copy"), some.just(0), some.booleans()),
            some.tuples(some.just("fall back"), some.just(0), some.booleans()),
        ),
        max_size=30,
    )
)
def test_random_histories(
    client: redis.Redis, make_episode: EpisodeMaker, history: list[tuple[str, int, bool]]
) -> None:
    client.flushall()
    bank = Bank(client, "run", BankConfig(max_entries=15))
    replicas = [followed(client) for _ in range(3)]
    version, copied = 1, dict[bytes, bytes]()
    for number, (event, value, flag) in enumerate(history):
        if event == "push":
            version += value % 7 == 0
            domain = DOMAINS[value % 2]
            bank.push(
                [
                    make_episode(
                        number, seed=value, domain=domain, success=flag, version=version, codes=3
                    )
                ]
            )
        elif event == "retire":
            bank.retire(version - value)
        elif event == "refresh":
            replicas[value].refresh()
            assert_same(replicas[value], bank)
        elif event == "copy":
            copied = copy_of(client)
        elif event == "fall back":  # as where a server takes over that lacks the end of the log
            fall_back(client, copied)
        else:
            call(client, "XTRIM", RunKeys("run").domain(DOMAINS[value % 2]).log, "MAXLEN", 1)
    for replica in replicas:
        replica.refresh()
        assert_same(replica, bank)
    assert bank.verify().problems == ()


def test_a_gap_in_the_log_reloads(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank, replica = Bank(client, "run", BankConfig()), followed(client)
    bank.push([make_episode(0)])
    replica.refresh()
    for number in range(1, 6):
        bank.push([make_episode(number)])
    call(client, "XTRIM", RunKeys("run").domain("blocks").log, "MAXLEN", 2)
    before = replica.reloads
    replica.refresh()
    assert replica.reloads == before + 1
    assert_same(replica, bank)
    bank.push([make_episode(6)])
    call(client, "XTRIM", RunKeys("run").domain("blocks").log, "MAXLEN", 0)
    replica.refresh()
    assert replica.reloads == before + 2
    assert_same(replica, bank)


def test_a_server_that_lost_its_data_reloads(
    client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    bank, replica = Bank(client, "run", BankConfig()), followed(client)
    for number in range(5):
        bank.push([make_episode(number)])
    replica.refresh()
    client.flushall()
    replica.refresh()
    assert replica.sizes()["blocks", "success"] == 0
    Bank(client, "run", BankConfig()).push([make_episode(9, domain="blocks")])
    replica.refresh()
    assert_same(replica, Bank(client, "run", BankConfig()))


def test_more_batches_than_one_read_takes(
    client: redis.Redis, make_episode: EpisodeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared_memory.replica_feed._BATCHES_A_READ", 3)
    bank, replica = Bank(client, "run", BankConfig()), followed(client)
    bank.push([make_episode(0)])
    replica.refresh()
    for number in range(1, 11):
        bank.push([make_episode(number, codes=50)])
    assert replica.refresh() == 10
    assert replica.reloads == 1
    assert_same(replica, bank)


def test_the_log_stays_short(
    client: redis.Redis, make_episode: EpisodeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared_memory.bank.LOG_BATCHES", 100)
    bank = Bank(client, "run", BankConfig())
    for number in range(400):
        bank.push([make_episode(number, decisions=1, codes=50)])
    assert call(client, "XLEN", RunKeys("run").domain("blocks").log) < 250
    replica = followed(client)
    replica.refresh()
    assert_same(replica, bank)


def test_damage_in_the_log_is_told(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank, replica = Bank(client, "run", BankConfig()), followed(client)
    bank.push([make_episode(0)])
    replica.refresh()
    keys = RunKeys("run").domain("blocks")
    call(client, "HINCRBY", keys.counters, "log", 1)
    stamp = call(client, "HGET", keys.counters, "stamp")
    damaged: tuple[dict[str, bytes | int | str], ...] = (
        {"w": 12, "a": b"odd", "t": b"", "r": b""},
        {"w": 12, "a": b"", "t": b"odd", "r": b""},
        {"w": 12, "a": b"", "t": b"", "r": b"odd"},
        {"w": -2, "a": b"", "t": b"", "r": b""},
        {"w": "x", "a": b"", "t": b"", "r": b""},
        {"other": 1},
        {"b": b"no number"},
    )
    for fields in damaged:
        told = {"b": stamp} | fields
        call(client, "DEL", keys.log)
        call(client, "XADD", keys.log, "2-0", *(part for pair in told.items() for part in pair))
        with pytest.raises(SharedMemoryError, match="is damaged"):
            replica.refresh()


def test_damage_in_a_bank_is_told(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    Bank(client, "run", BankConfig()).push([make_episode(0)])
    segment = RunKeys("run").domain("blocks").sign("success").segment(0)
    call(client, "APPEND", segment, b"x")
    with pytest.raises(SharedMemoryError, match="is damaged"):
        followed(client).refresh()


def test_lookup_finds_what_is_valid(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank, replica = Bank(client, "run", BankConfig()), followed(client)
    old, new = make_episode(1, version=2), make_episode(2, version=5)
    failed = make_episode(3, version=5, success=False)
    bank.push([old, new, failed])
    replica.refresh()
    random = np.random.default_rng(0)
    vectors = random.normal(size=(5, 4)).astype(np.float32)
    mean = random.normal(size=(6, 4)).astype(np.float32) * np.float32(0.1)
    born = np.zeros(5, dtype=np.int64)

    def similar(
        episode: Episode, sign: Sign, min_version: int = 0, born: np.ndarray = born
    ) -> list[bool]:
        queries = np.stack([decision.codes for decision in episode.decisions])
        found = replica.lookup("blocks", sign, queries, vectors, mean, born, min_version, 1, 0.9999)
        return [len(neighbours) > 0 for neighbours in found]

    assert all(similar(old, "success"))
    assert all(similar(new, "success"))
    assert all(similar(failed, "failure"))
    assert not any(similar(failed, "success"))
    assert not any(similar(old, "success", min_version=3))
    assert all(similar(new, "success", min_version=3))
    changed = born.copy()
    code = old.decisions[0].codes[0]
    changed[code] = 3  # changed its meaning after the old episode, before the new one
    assert not similar(old, "success", born=changed)[0]
    assert all(similar(new, "success", born=changed))
    bank.push([dataclasses.replace(old, episode=4, book_version=6)])
    replica.refresh()
    assert all(similar(old, "success", min_version=6, born=changed))


def test_lookup_says_what_is_wrong(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank, replica = Bank(client, "run", BankConfig()), followed(client)
    vectors, born = np.eye(5, dtype=np.float32), np.zeros(5, dtype=np.int64)
    queries = np.zeros((2, 6), dtype=np.uint16)
    mean = np.zeros((6, 5), dtype=np.float32)
    empty = replica.lookup("blocks", "success", queries, vectors, mean, born, 0, 3, -1.0)
    assert [len(neighbours) for neighbours in empty] == [0, 0]
    assert empty[0].codes.shape == (0, 6)
    with pytest.raises(SharedMemoryError, match="does not follow the domain 'hanoi'"):
        replica.lookup("hanoi", "success", queries, vectors, mean, born, 0, 3, 0.0)
    bank.push([make_episode(1)])
    replica.refresh()
    with pytest.raises(SharedMemoryError, match="procedures of 6 codes, but the book has 7"):
        replica.lookup(
            "blocks",
            "success",
            np.zeros((1, 7), np.uint16),
            vectors,
            np.zeros((7, 5)),
            born,
            0,
            3,
            0,
        )


def test_a_book_changed_in_place_is_noticed(
    client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    bank, replica = Bank(client, "run", BankConfig()), followed(client)
    bank.push([make_episode(1)])
    replica.refresh()
    vectors = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    mean, born = np.zeros((6, 4), dtype=np.float32), np.zeros(5, dtype=np.int64)
    queries = np.random.default_rng(1).integers(0, 5, (3, 6)).astype(np.uint16)
    arguments = ("blocks", "success", queries, vectors, mean, born, 0, 2, -1.0)
    before = replica.lookup(*arguments)  # type: ignore[arg-type]
    vectors[:] = np.random.default_rng(2).normal(size=(5, 4)).astype(np.float32)
    after = replica.lookup(*arguments)  # type: ignore[arg-type]
    fresh = followed(client)
    fresh.refresh()
    expected = fresh.lookup(*arguments)  # type: ignore[arg-type]
    for mine, right, old in zip(after, expected, before):
        np.testing.assert_array_equal(mine.similarities, right.similarities)
        assert not np.array_equal(mine.similarities, old.similarities)
