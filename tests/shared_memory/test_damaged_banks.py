"""A step that stumbles over what is damaged has done nothing; once repaired, it counts once."""

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from configs.schema import BankConfig
from shared_memory.bank import Bank
from shared_memory.bank_file import export_banks, import_banks
from shared_memory.bank_reencoding import BankReencoding
from shared_memory.connection import call
from shared_memory.errors import SharedMemoryError
from shared_memory.keys import RunKeys
from shared_memory.records import Episode, PlanRequest

EpisodeMaker = Callable[..., Episode]
RequestMaker = Callable[..., PlanRequest]
KEYS = RunKeys("run").domain("blocks")
MINE = KEYS.sign("success")
QUICK = BankConfig()
SLOW = BankConfig(retirement="worst_outcome")


def cut(client: redis.Redis, key: str) -> None:
    """Every value of a hash ends too early."""
    for name, value in call(client, "HGETALL", key).items():
        call(client, "HSET", key, name, value[:3])


def other_kind(client: redis.Redis, key: str) -> None:
    """The key holds something else altogether."""
    call(client, "DEL", key)
    call(client, "PFADD" if key == MINE.free else "RPUSH", key, "x")


def no_slot(client: redis.Redis, key: str) -> None:
    call(client, "LPUSH", key, "none")


def behind(client: redis.Redis, key: str) -> None:
    """Fewer outcomes are counted than there are."""
    call(client, "HSET", key, "outcomes", 0)


Damage = Callable[[redis.Redis, str], None]
DAMAGES = {
    "entries": (cut, MINE.entries),
    "procedures": (cut, MINE.procedures),
    "kept": (cut, MINE.kept),
    "slots": (no_slot, MINE.free),
    "counters": (behind, KEYS.counters),
    **{
        f"kind of {key.rpartition('}:')[2]}": (other_kind, key)
        for key in (*MINE.whole(), MINE.segment(0), KEYS.log)
        if key != MINE.order
    },
    "kind of outcomes": (other_kind, KEYS.outcomes),
    "kind of plans": (other_kind, KEYS.plans),
}
NOT_IMPORTED = {"counters", "kind of outcomes", "kind of plans"}


def everything(client: redis.Redis) -> dict[bytes, bytes]:
    return {key: call(client, "DUMP", key) for key in call(client, "KEYS", "*")}


def refused(client: redis.Redis, damage: Damage, key: str, step: Callable[[], object]) -> None:
    """Damage, take the step, see that it did nothing, and repair."""
    whole = call(client, "DUMP", key)
    damage(client, key)
    before = everything(client)
    with pytest.raises(SharedMemoryError):
        step()
    assert everything(client) == before
    call(client, "RESTORE", key, 0, whole, "REPLACE")


def begun(client: redis.Redis, config: BankConfig, make_episode: EpisodeMaker) -> Bank:
    """A bank with entries, free slots, and a log."""
    bank = Bank(client, "run", config)
    call(client, "XADD", KEYS.plans, "*", "p", "a plan that was asked for before")
    bank.push([make_episode(number, version=1 + number // 3) for number in range(6)])
    assert bank.retire(2) > 0
    return bank


@pytest.mark.parametrize(
    ("damage", "key", "config"),
    [
        pytest.param(*damage, config, id=f"{name}, {way}")
        for name, damage in DAMAGES.items()
        for way, config in (("quick", QUICK), ("slow", SLOW))
        if (name, way) != ("kept", "quick")  # which does not read it of entries that are there
    ],
)
def test_a_push(
    client: redis.Redis,
    make_episode: EpisodeMaker,
    make_request: RequestMaker,
    damage: Damage,
    key: str,
    config: BankConfig,
) -> None:
    bank = begun(client, config, make_episode)
    again = make_episode(10, seed=4, version=3)  # what is there already
    fresh = make_episode(11, decisions=9, version=3)
    request = make_request(10)
    refused(client, damage, key, lambda: bank.push([again, fresh], [request]))
    pushed = bank.push([again, fresh], [request])
    assert (pushed.finished, pushed.doubled, pushed.requested) == (2, 0, 1)
    assert bank.verify().problems == ()
    assert bank.push([again, fresh], [request]).doubled == 2


@pytest.mark.parametrize("what", sorted(DAMAGES.keys() - NOT_IMPORTED))
def test_an_import(
    client: redis.Redis, make_episode: EpisodeMaker, tmp_path: Path, what: str
) -> None:
    bank = begun(client, QUICK, make_episode)
    other = Bank(client, "other", QUICK)
    other.push([make_episode(4), make_episode(20)])
    filed = export_banks(client, "other", ("blocks",), tmp_path / "bank")
    refused(client, *DAMAGES[what], lambda: import_banks(client, "run", QUICK, filed))
    done = import_banks(client, "run", QUICK, filed)
    assert done.added > 0
    assert done.merged > 0
    assert bank.verify().problems == ()


def test_making_room(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    config = BankConfig(max_entries=12)
    bank = Bank(client, "run", config)
    bank.push([make_episode(number) for number in range(3)])
    fresh = make_episode(30, version=9)
    refused(client, cut, MINE.entries, lambda: bank.push([fresh]))
    assert bank.push([fresh]).retired > 0
    assert bank.verify().problems == ()


def test_retiring_and_encoding_again(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank = begun(client, QUICK, make_episode)
    reencoding = BankReencoding(client, "run", QUICK)
    stale = reencoding.stale("blocks", "success", 5, 4)
    codes = [each.entry.codes[::-1] for each in stale]
    for hurt in (MINE.procedures, MINE.kept):
        refused(client, cut, hurt, lambda: reencoding.write(stale, codes, 5))
        refused(client, cut, hurt, lambda: bank.retire(5))
    reencoding.write(stale, codes, 5)
    assert bank.retire(5) > 0
    assert bank.verify().problems == ()
