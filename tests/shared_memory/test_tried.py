"""What was tried with a procedure: the same in a replica as in the bank, whatever happens."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from configs.schema import BankConfig
from shared_memory.bank import Bank
from shared_memory.codec import entry_key, pack_codes
from shared_memory.connection import call
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import RunKeys
from shared_memory.records import SIGNS, Episode, Sign
from shared_memory.replica import BankReplica
from shared_memory.tried import Counts

EpisodeMaker = Callable[..., Episode]
BORN = np.zeros(5, dtype=np.int64)
Held = dict[tuple[bytes, str], int]


def followed(client: redis.Redis) -> BankReplica:
    return BankReplica(client, "run", ["blocks"], BankConfig(), actions=True)


def refusing(episode: Episode) -> Episode:
    """The same episode, its last action refused."""
    *first, last = episode.decisions
    return dataclasses.replace(
        episode, decisions=(*first, dataclasses.replace(last, accepted=False))
    )


def in_bank(bank: Bank, sign: Sign) -> Held:
    return {
        (pack_codes(held.entry.codes), held.entry.action): held.times
        for _, held in bank.entries("blocks", sign)
    }


def in_replica(replica: BankReplica, bank: Bank, sign: Sign) -> Held:
    """By asking for every procedure of the bank; nothing else is held."""
    procedures = {
        pack_codes(held.entry.codes): held.entry.codes for _, held in bank.entries("blocks", sign)
    }
    found: Held = {}
    for key, codes in procedures.items():
        (tried,) = replica.tried("blocks", sign, codes[None], BORN, 0)
        found.update({(key, action): counts.times for action, counts in tried.items()})
    actions = replica.banks()["blocks"][sign].tried
    assert actions is not None
    assert len(actions) == len(found)
    return found


def assert_same(replica: BankReplica, bank: Bank) -> None:
    for sign in SIGNS:
        assert in_replica(replica, bank, sign) == in_bank(bank, sign)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    some.lists(
        some.one_of(
            some.tuples(some.just("push"), some.integers(0, 12), some.booleans()),
            some.tuples(some.just("retire"), some.integers(0, 5), some.booleans()),
            some.tuples(some.just("refresh"), some.integers(0, 1), some.booleans()),
            some.tuples(some.just("trim"), some.integers(0, 2), some.booleans()),
        ),
        max_size=30,
    )
)
def test_random_histories(
    client: redis.Redis, make_episode: EpisodeMaker, history: list[tuple[str, int, bool]]
) -> None:
    client.flushall()
    bank = Bank(client, "run", BankConfig(max_entries=15))
    replicas = [followed(client) for _ in range(2)]
    version = 1
    for number, (event, value, flag) in enumerate(history):
        if event == "push":
            version += value % 7 == 0
            bank.push([make_episode(number, seed=value, success=flag, version=version, codes=2)])
        elif event == "retire":
            bank.retire(version - value)
        elif event == "refresh":
            replicas[value].refresh()
            assert_same(replicas[value], bank)
        else:
            call(client, "XTRIM", RunKeys("run").domain("blocks").log, "MAXLEN", 1)
    for replica in (*replicas, followed(client)):
        replica.refresh()
        assert_same(replica, bank)
    assert bank.verify().problems == ()


def test_counts_times_and_refusals(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank, replica = Bank(client, "run", BankConfig()), followed(client)
    episode = refusing(make_episode(1, success=False, decisions=2, seed=3))
    replica.refresh()
    for number in range(1, 4):
        bank.push([dataclasses.replace(episode, episode=number)])
        replica.refresh()
    first, last = episode.decisions
    codes = np.stack([first.codes, last.codes])
    assert replica.tried("blocks", "failure", codes, BORN, 0) == [
        {first.action: Counts(3, 0)},
        {last.action: Counts(3, 3)},
    ]
    assert replica.tried("blocks", "success", codes, BORN, 0) == [{}, {}]
    assert replica.reloads == 1  # each step was told by the log
    reloaded = followed(client)
    reloaded.refresh()
    assert reloaded.tried("blocks", "failure", codes, BORN, 0) == replica.tried(
        "blocks", "failure", codes, BORN, 0
    )


def test_only_what_is_valid_is_told(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank, replica = Bank(client, "run", BankConfig()), followed(client)
    episode = make_episode(1, version=4, decisions=1)
    bank.push([episode])
    replica.refresh()
    codes = episode.decisions[0].codes[None]
    born = BORN.copy()
    born[codes[0, 0]] = 5
    assert replica.tried("blocks", "success", codes, BORN, 4)[0]
    assert not replica.tried("blocks", "success", codes, BORN, 5)[0]
    assert not replica.tried("blocks", "success", codes, born, 0)[0]
    assert not replica.tried("blocks", "success", (codes + 1) % 5, BORN, 0)[0]


def test_damage_is_told(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank, replica = Bank(client, "run", BankConfig()), followed(client)
    episode = make_episode(1, decisions=1)
    bank.push([episode])
    replica.refresh()
    keys = RunKeys("run").domain("blocks")
    call(client, "HINCRBY", keys.counters, "log", 1)
    stamp = call(client, "HGET", keys.counters, "stamp")
    row = ("w", 12, "a", b"", "t", b"", "r", b"", "o", b"\0" * 20, "b", stamp)
    call(client, "XADD", keys.log, "2-0", *row)
    with pytest.raises(SharedMemoryError, match="log is damaged"):
        replica.refresh()
    decision = episode.decisions[0]
    key = entry_key(pack_codes(decision.codes), decision.action)
    call(client, "HSET", keys.sign("success").entries, key, b"\0" * 12)
    with pytest.raises(SharedMemoryError, match="counts are damaged"):
        followed(client).refresh()
    with pytest.raises(SharedMemoryError, match="not told to keep the actions"):
        BankReplica(client, "run", ["blocks"], BankConfig()).tried(
            "blocks", "success", decision.codes[None], BORN, 0
        )
