"""Entries whose prompts a newer version encodes otherwise move, with all their counts."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import redis

from configs.schema import BankConfig
from shared_memory.bank import Bank
from shared_memory.bank_reencoding import BankReencoding, Reencoded
from shared_memory.errors import SharedMemoryError
from shared_memory.records import Codes, Episode, Sign
from shared_memory.replica import BankReplica

EpisodeMaker = Callable[..., Episode]
Held = dict[tuple[tuple[int, ...], str], tuple[int, int]]
VECTORS = np.eye(9, 4)
MEAN = np.zeros((3, 4))


def codes_of(*values: int) -> Codes:
    return np.array(values, dtype=np.uint16)


def episode(
    make_episode: EpisodeMaker,
    number: int,
    codes: Codes,
    action: str,
    version: int = 1,
    prompt: int = 1,
    success: bool = True,
) -> Episode:
    base = make_episode(number, decisions=1, version=version, success=success)
    first = dataclasses.replace(
        base.decisions[0], codes=codes, action=action, prompt_tokens=(prompt, 2, 3)
    )
    return dataclasses.replace(base, decisions=(first,))


def held(bank: Bank, sign: Sign = "success") -> Held:
    return {
        (tuple(each.entry.codes.tolist()), each.entry.action): (each.times, each.last_version)
        for _, each in bank.entries("blocks", sign)
    }


def reencode(reencoding: BankReencoding, version: int, new: dict[int, Codes]) -> Reencoded:
    """Encode everything in M+ of blocks by the first token of its prompt."""
    stale = reencoding.stale("blocks", "success", version, 100)
    codes = [new[each.entry.prompt_tokens[0]] for each in stale]
    return reencoding.write(stale, codes, version)


def replica_of(client: redis.Redis) -> BankReplica:
    replica = BankReplica(client, "run", ["blocks"], BankConfig(), actions=True)
    replica.refresh()
    return replica


def tried(replica: BankReplica, codes: Codes, born: list[int] | None = None) -> dict[str, int]:
    """What the replica says was tried with a procedure."""
    code_born = np.array(born or [0] * 9)
    (found,) = replica.tried("blocks", "success", codes[None], code_born, 0)
    return {action: counts.times for action, counts in found.items()}


@pytest.mark.parametrize(
    "config", [BankConfig(), BankConfig(retirement="least_used")], ids=["oldest", "least used"]
)
def test_entries_move_merge_or_stay(
    client: redis.Redis, make_episode: EpisodeMaker, config: BankConfig
) -> None:
    bank = Bank(client, "run", config)
    bank.push(
        [
            episode(make_episode, 0, codes_of(1, 1, 1), "stay", prompt=1),
            episode(make_episode, 1, codes_of(1, 1, 1), "move", prompt=2),
            episode(make_episode, 2, codes_of(1, 1, 1), "move", prompt=2),
            episode(make_episode, 3, codes_of(2, 2, 2), "merge", prompt=3),
            episode(make_episode, 4, codes_of(3, 3, 3), "merge", prompt=4),
            episode(make_episode, 5, codes_of(1, 1, 1), "stay", prompt=1, success=False),
        ]
    )
    follower = replica_of(client)
    new = {1: codes_of(1, 1, 1), 2: codes_of(5, 5, 5), 3: codes_of(6, 6, 6), 4: codes_of(6, 6, 6)}
    reencoding = BankReencoding(client, "run", config)
    assert reencode(reencoding, 2, new) == Reencoded(same=1, moved=3, merged=1)
    assert held(bank) == {
        ((1, 1, 1), "stay"): (1, 2),
        ((5, 5, 5), "move"): (2, 2),
        ((6, 6, 6), "merge"): (2, 2),
    }
    assert held(bank, "failure") == {((1, 1, 1), "stay"): (1, 1)}
    assert bank.verify().problems == ()
    total = bank.statistics().total("success")
    assert (total.reencoded, total.merged, total.retired) == (3, 1, 0)
    assert {entry.entry.book_version for _, entry in bank.entries("blocks", "success")} == {1, 2}

    follower.refresh()
    assert follower.reloads == 1
    for replica in (follower, replica_of(client)):
        assert replica.sizes()["blocks", "success"] == 3
        assert tried(replica, codes_of(1, 1, 1)) == {"stay": 1}
        assert tried(replica, codes_of(5, 5, 5)) == {"move": 2}
        assert tried(replica, codes_of(6, 6, 6)) == {"merge": 2}
        assert tried(replica, codes_of(2, 2, 2)) == {}
        # Code 5 was revived with version 2: what was encoded with it counts, as of version 2.
        assert tried(replica, codes_of(5, 5, 5), [0, 0, 0, 0, 0, 2, 0, 0, 0]) == {"move": 2}
        assert tried(replica, codes_of(5, 5, 5), [0, 0, 0, 0, 0, 3, 0, 0, 0]) == {}
    assert reencoding.stale("blocks", "success", 2, 10) == []


def test_codes_that_change_places(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    """One entry takes another's codes while that one leaves them, in one step."""
    bank = Bank(client, "run", BankConfig())
    bank.push(
        [
            episode(make_episode, 0, codes_of(1, 1, 1), "same", prompt=1),
            episode(make_episode, 1, codes_of(2, 2, 2), "same", prompt=2),
            episode(make_episode, 2, codes_of(2, 2, 2), "same", prompt=2),
        ]
    )
    follower = replica_of(client)
    reencoding = BankReencoding(client, "run", BankConfig())
    done = reencode(reencoding, 2, {1: codes_of(2, 2, 2), 2: codes_of(1, 1, 1)})
    assert done == Reencoded(moved=2)
    assert held(bank) == {((1, 1, 1), "same"): (2, 2), ((2, 2, 2), "same"): (1, 2)}
    assert bank.verify().problems == ()
    follower.refresh()
    fresh = replica_of(client)
    for codes in (codes_of(1, 1, 1), codes_of(2, 2, 2)):
        assert tried(follower, codes) == tried(fresh, codes)


def test_one_moves_to_where_another_stays(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    for first, second in ((1, 2), (2, 1)):  # in whatever order of digests
        client.flushall()
        bank = Bank(client, "run", BankConfig())
        bank.push(
            [
                episode(make_episode, 0, codes_of(first, 1, 1), "same", prompt=first),
                episode(make_episode, 1, codes_of(second, 1, 1), "same", prompt=second),
            ]
        )
        reencoding = BankReencoding(client, "run", BankConfig())
        done = reencode(reencoding, 2, {1: codes_of(1, 1, 1), 2: codes_of(1, 1, 1)})
        assert done == Reencoded(same=1, moved=1, merged=1)
        assert held(bank) == {((1, 1, 1), "same"): (2, 2)}
        assert bank.verify().problems == ()


def test_a_place_whose_entry_was_not_encoded_yet_is_taken_over(
    client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    bank = Bank(client, "run", BankConfig())
    bank.push(
        [
            episode(make_episode, 0, codes_of(1, 1, 1), "same", prompt=1),
            episode(make_episode, 1, codes_of(2, 2, 2), "same", prompt=2),
        ]
    )
    reencoding = BankReencoding(client, "run", BankConfig())
    stale = reencoding.stale("blocks", "success", 2, 10)
    (first,) = [each for each in stale if each.entry.prompt_tokens[0] == 1]
    assert reencoding.write([first], [codes_of(2, 2, 2)], 2) == Reencoded(moved=1, merged=1)
    assert held(bank) == {((2, 2, 2), "same"): (2, 2)}
    ((_, left),) = bank.entries("blocks", "success")
    assert left.entry.prompt_tokens[0] == 1
    assert bank.verify().problems == ()


def test_what_was_seen_or_went_meanwhile_stays_as_it_is(
    client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    bank = Bank(client, "run", BankConfig())
    seen, gone = codes_of(1, 1, 1), codes_of(2, 2, 2)
    bank.push(
        [
            episode(make_episode, 0, seen, "seen", version=2),
            episode(make_episode, 1, gone, "gone", version=1),
        ]
    )
    reencoding = BankReencoding(client, "run", BankConfig())
    stale = reencoding.stale("blocks", "success", 3, 10)
    assert [each.entry.action for each in stale] == ["gone", "seen"]  # longest unseen first
    assert [e.entry.action for e in reencoding.stale("blocks", "success", 3, 10, skip=1)] == [
        "seen"
    ]
    assert bank.retire(2) == 1
    bank.push([episode(make_episode, 2, seen, "seen", version=3)])
    before = held(bank)
    assert reencoding.write(stale, [codes_of(4, 4, 4)] * 2, 3) == Reencoded()
    assert held(bank) == before
    assert bank.verify().problems == ()


def test_a_repeated_batch_changes_nothing(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank = Bank(client, "run", BankConfig())
    bank.push([make_episode(number, codes=3) for number in range(6)])
    reencoding = BankReencoding(client, "run", BankConfig())
    stale = reencoding.stale("blocks", "success", 2, 100)
    codes = [np.roll(each.entry.codes, 1) for each in stale]
    assert reencoding.write(stale, codes, 2).moved > 0
    before, position = held(bank), bank.statistics()
    assert reencoding.write(stale, codes, 2) == Reencoded()
    assert (held(bank), bank.statistics()) == (before, position)
    assert reencoding.write([], [], 2) == Reencoded()
    with pytest.raises(SharedMemoryError, match="6 codes, but these have 2"):
        reencoding.write(stale[:1], [codes_of(1, 1)], 3)
