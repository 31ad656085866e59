"""The banks count every procedure once, whatever is repeated, lost or full."""

import dataclasses
import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import redis

from configs.schema import BankConfig, SharedMemoryConfig
from shared_memory.bank import Bank, PushResult, SignTotals
from shared_memory.codec import pack_codes
from shared_memory.connection import call, connect
from shared_memory.errors import ServerFullError, SharedMemoryError, TooFewCopiesError
from shared_memory.keys import RunKeys
from shared_memory.outcomes import EpisodeEvent, OutcomeLog
from shared_memory.records import SIGNS, Episode, PlanRequest, Sign
from shared_memory.replica import BankReplica
from shared_memory.server import EmbeddedServer
from shared_memory.server_clients import ServerClient

EpisodeMaker = Callable[..., Episode]
RequestMaker = Callable[..., PlanRequest]


def contents(episodes: list[Episode]) -> Counter[tuple[str, bool, bytes, str]]:
    """How often each content is among the episodes' procedures."""
    return Counter(
        (episode.domain, episode.success, pack_codes(decision.codes), decision.action)
        for episode in episodes
        for decision in episode.decisions
    )


def assert_holds(bank: Bank, episodes: list[Episode]) -> None:
    """The bank holds and counts exactly these episodes' procedures."""
    expected = contents(episodes)
    held = {
        (domain, sign == "success", pack_codes(entry.entry.codes), entry.entry.action): entry.times
        for domain in bank.domains()
        for sign in SIGNS
        for _, entry in bank.entries(domain, sign)
    }
    assert held == dict(expected)
    verification = bank.verify()
    assert verification.problems == ()
    assert verification.closed
    statistics = verification.statistics
    assert statistics.finished == len(episodes)
    for sign in SIGNS:
        total = statistics.total(sign)
        mine = {key: times for key, times in expected.items() if key[1] == (sign == "success")}
        assert total.entries == total.admitted == len(mine)
        assert total.submitted == sum(mine.values())
        assert total.duplicates == total.submitted - total.admitted
        assert total.unique == len({(key[0], key[2]) for key in mine})


def test_counts_admitted_and_duplicates(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank = Bank(client, "run", BankConfig())
    first = make_episode(1, seed=7, decisions=5)
    result = bank.push([first])
    distinct = len(contents([first]))
    assert result == PushResult(
        finished=1, success=SignTotals(submitted=5, admitted=distinct, duplicates=5 - distinct)
    )
    again = dataclasses.replace(first, episode=2)
    assert bank.push([again]).success == SignTotals(submitted=5, admitted=0, duplicates=5)
    failed = dataclasses.replace(first, episode=3, success=False)
    result = bank.push([failed])
    assert result.failure.admitted == result.admitted == distinct
    assert result.submitted == result.admitted + result.duplicates
    assert_holds(bank, [first, again, failed])


def test_a_repeated_push_changes_nothing(
    client: redis.Redis, make_episode: EpisodeMaker, make_request: RequestMaker
) -> None:
    bank = Bank(client, "run", BankConfig())
    episodes = [
        make_episode(number, success=number % 2 == 0, domain=("blocks", "ferry")[number % 3 == 0])
        for number in range(12)
    ]
    requests = [make_request(1), make_request(3, domain="ferry")]
    first = bank.push(episodes, requests)
    assert (first.finished, first.doubled, first.requested) == (12, 0, 2)
    before = bank.statistics()
    second = bank.push(episodes, requests)
    assert second == PushResult(doubled=12)
    after = bank.statistics()
    assert after.banks == before.banks
    assert call(client, "XLEN", RunKeys("run").domain("blocks").plans) == 1
    events, _ = OutcomeLog(client, "run", ["blocks", "ferry"]).read({})
    assert len(events) == 12
    assert_holds(bank, episodes)


def test_large_pushes_are_cut_into_steps(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank = Bank(client, "run", BankConfig())
    episodes = [make_episode(number, decisions=3) for number in range(150)]
    assert bank.push(episodes).finished == 150
    assert_holds(bank, episodes)


def test_nothing_and_episodes_without_decisions(
    client: redis.Redis, make_episode: EpisodeMaker, make_request: RequestMaker
) -> None:
    bank = Bank(client, "run", BankConfig())
    assert bank.push([]) == PushResult()
    assert bank.push([make_episode(1, decisions=0)]).finished == 1
    assert bank.push([], [make_request(5)]).requested == 1
    assert bank.push([make_episode(2)]).finished == 1
    assert bank.verify().problems == ()


def test_runs_and_domains_with_odd_names_are_apart(
    client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    odd = "/folder/{of}%7Bdomains}"
    one, other = Bank(client, "run{1}", BankConfig()), Bank(client, "run", BankConfig())
    episodes = [make_episode(1, domain=odd), make_episode(2, domain="blocks")]
    one.push(episodes)
    assert one.domains() == (odd, "blocks")
    assert other.domains() == ()
    assert_holds(one, episodes)


def test_procedures_of_another_width_are_refused(
    client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    bank = Bank(client, "run", BankConfig())
    bank.push([make_episode(1)])
    with pytest.raises(SharedMemoryError, match=r"procedures of 6 codes, but these have 7"):
        bank.push([make_episode(2, chunks=7)])
    with pytest.raises(SharedMemoryError, match="same number of codes"):
        bank.push([make_episode(3), make_episode(4, chunks=7)])
    assert bank.statistics().finished == 1
    assert bank.verify().problems == ()


def test_retire_drops_what_was_not_seen_lately(
    client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    bank = Bank(client, "run", BankConfig())
    old = make_episode(1, version=1, codes=50)
    seen_again = make_episode(2, version=1, codes=50)
    new = make_episode(3, version=4, codes=50)
    bank.push([old, seen_again, new])
    bank.push([dataclasses.replace(seen_again, episode=4, book_version=3)])
    assert bank.retire(3) == len(contents([old]))
    assert bank.retire(3) == 0
    statistics = bank.statistics().total("success")
    assert statistics.retired == len(contents([old]))
    assert statistics.entries == statistics.admitted - statistics.retired
    assert bank.verify().problems == ()
    versions = {entry.last_version for _, entry in bank.entries("blocks", "success")}
    assert versions == {3, 4}
    readmitted = bank.push([dataclasses.replace(old, episode=5, book_version=4)])
    assert readmitted.admitted == len(contents([old]))
    assert bank.verify().problems == ()


def test_banks_are_bounded_and_the_oldest_go(
    client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    bank = Bank(client, "run", BankConfig(max_entries=20))
    replica = BankReplica(client, "run", ["blocks"], BankConfig())
    for number in range(30):
        bank.push([make_episode(number, version=1 + number // 10, codes=100)])
        replica.refresh()
        statistics = bank.statistics().total("success")
        assert statistics.entries <= 20
        assert replica.sizes()["blocks", "success"] == statistics.unique
    assert statistics.retired == statistics.admitted - 20
    assert {entry.last_version for _, entry in bank.entries("blocks", "success")} == {3}
    assert bank.verify().problems == ()


def test_a_lower_bound_is_reached_in_steps(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    Bank(client, "run", BankConfig()).push(
        [make_episode(number, decisions=40, codes=100) for number in range(60)]
    )
    bank = Bank(client, "run", BankConfig(max_entries=10))
    for number in range(60, 64):
        bank.push([make_episode(number, codes=100)])
    assert bank.statistics().total("success").entries == 10
    assert bank.verify().problems == ()


def episode_of(
    make_episode: EpisodeMaker, number: int, what: int, success: bool = True, version: int = 1
) -> Episode:
    """An episode of one decision, whose content `what` alone decides."""
    base = make_episode(number, decisions=1, version=version, success=success)
    codes = np.array([what // 7, what % 7, 1], dtype=np.uint16)
    first = dataclasses.replace(base.decisions[0], codes=codes, action=f"put block{what}")
    return dataclasses.replace(base, decisions=(first,))


def kept(bank: Bank, sign: Sign = "success") -> set[int]:
    """What the bank of blocks holds, as `episode_of` numbers it."""
    return {
        int(held.entry.action.removeprefix("put block")) for _, held in bank.entries("blocks", sign)
    }


def test_a_byte_budget_bounds_a_bank(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank = Bank(client, "run", BankConfig(max_bytes=5000))
    replica = BankReplica(client, "run", ["blocks"], BankConfig(), actions=True)
    for number in range(60):
        bank.push([episode_of(make_episode, number, number, version=1 + number)])
        replica.refresh()
        total = bank.statistics().total("success")
        assert total.bytes <= 5000
        assert replica.sizes()["blocks", "success"] == total.unique
    assert 10 < len(kept(bank)) < 60
    assert kept(bank) == set(range(60 - len(kept(bank)), 60))
    assert bank.verify().problems == ()


def test_a_reservoir_is_the_same_sample_in_whatever_order(
    client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    config = BankConfig(max_entries=12, retirement="reservoir")
    samples = []
    for run in ("one", "two"):
        bank = Bank(client, run, config)
        order = list(range(80))
        random.Random(run).shuffle(order)
        for number, what in enumerate(order):
            bank.push([episode_of(make_episode, number, what, version=1 + number // 9)])
        samples.append(kept(bank))
        assert bank.verify().problems == ()
    assert samples[0] == samples[1]
    assert len(samples[0]) == 12
    assert min(samples[0]) < 40 < max(samples[0])  # neither the first nor the last ones


def test_what_is_submitted_least_goes_first(
    client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    bank = Bank(client, "run", BankConfig(max_entries=3, retirement="least_used"))
    pushed = [1, 1, 2, 3, 3, 4, 5, 6]  # 2, 4 and 5 came once, before the last
    for number, what in enumerate(pushed):
        bank.push([episode_of(make_episode, number, what, version=1 + number)])
    assert kept(bank) == {1, 3, 6}
    assert bank.statistics().total("success").retired == 3
    assert bank.verify().problems == ()


def test_what_led_to_the_other_outcome_most_goes_first(
    client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    bank = Bank(client, "run", BankConfig(max_entries=2, retirement="worst_outcome"))
    outcomes = [(1, True), (1, True), (2, True), (1, False), (2, False), (2, False), (3, True)]
    for number, (what, success) in enumerate(outcomes):
        bank.push([episode_of(make_episode, number, what, success)])
    assert kept(bank) == {1, 3}  # of 2, two of three episodes failed
    assert kept(bank, "failure") == {1, 2}
    bank.push([episode_of(make_episode, 50, 4, success=False)])
    assert kept(bank, "failure") == {2, 4}  # 1 succeeds more often than not
    assert bank.verify().problems == ()


def test_another_retirement_policy_is_refused(
    client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    Bank(client, "run", BankConfig()).push([make_episode(1)])
    other = Bank(client, "run", BankConfig(retirement="reservoir"))
    with pytest.raises(SharedMemoryError, match=r"retirement = oldest, not reservoir"):
        other.push([make_episode(2)])
    assert other.verify().problems == ()


def test_verify_sees_damage(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    keys = RunKeys("run").domain("blocks")
    held = keys.sign("success")
    bank = Bank(client, "run", BankConfig())
    damages: list[tuple[list[str | bytes | int], str]] = [
        (["HINCRBY", keys.counters, "success:admitted", 1], "admitted"),
        (["HINCRBY", keys.counters, "finished", 1], "episodes counted"),
        (["HINCRBY", keys.counters, "success:bytes", -1], "bytes"),
        (["ZREMRANGEBYRANK", held.ages, 0, 0], "filed by version"),
        (["ZADD", held.ages, "XX", "7", "KEY"], "wrong version"),
        (["HDEL", held.entries, "KEY"], "entries are"),
        (["HSET", held.entries, "KEY", b"x" * 51], "no origin"),
        (["HSET", held.entries, "KEY", b"xx"], "damaged counts"),
        (["HINCRBY", keys.counters, "success:solid", 1], "solid entries"),
        (["DEL", held.procedures], "no codes"),
        (["DEL", held.segment(0)], "disagrees with its row"),
        (["SETRANGE", held.segment(0), 12, b"x"], "codes of its digest"),
        (["RPUSH", held.free, 0], "slots"),
        (["DEL", held.origins], "no origin"),
        (["DEL", held.kept], "origins disagree"),
        (["ZREMRANGEBYRANK", held.order, 0, 0], "in the order of least_used"),
        (["SETBIT", keys.episodes, 77, 1], "episode numbers"),
    ]
    for damage, sentence in damages:
        client.flushall()
        bank = Bank(client, "run", BankConfig(retirement="least_used"))
        bank.push([make_episode(1)])
        key = next(bank.entries("blocks", "success"))[0]
        call(client, *(key if word == "KEY" else word for word in damage))
        problems = bank.verify().problems
        assert any(sentence in problem for problem in problems), (damage, problems)


def test_many_writers_count_exactly(
    server: EmbeddedServer, client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    """Writers that share episodes (as after a lease ran out) double nothing."""
    episodes = [make_episode(number, codes=2, success=number % 3 > 0) for number in range(120)]
    failures: list[BaseException] = []

    def write(seed: int) -> None:
        mine = connect(SharedMemoryConfig(), server.url)
        try:
            order = list(episodes)
            random.Random(seed).shuffle(order)
            bank = Bank(mine, "run", BankConfig())
            for start in range(0, len(order), 8):
                bank.push(order[start : start + 8])
        except BaseException as error:
            failures.append(error)
            raise
        finally:
            mine.close()

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert not failures
    bank = Bank(client, "run", BankConfig())
    assert_holds(bank, episodes)
    events, _ = OutcomeLog(client, "run", ["blocks"]).read({}, count=1000)
    assert sorted(event.episode.episode for event in events if isinstance(event, EpisodeEvent)) == [
        *range(120)
    ]
    assert sum(event.admitted for event in events if isinstance(event, EpisodeEvent)) == len(
        contents(episodes)
    )


def test_a_full_server_pushes_back_and_recovers(
    tmp_path: Path, make_episode: EpisodeMaker, make_request: RequestMaker
) -> None:
    with EmbeddedServer(tmp_path, max_memory_bytes=4_000_000) as server:
        client = connect(SharedMemoryConfig(), server.url)
        bank = Bank(client, "run", BankConfig(), deadline_s=0.3)
        episodes: list[Episode] = []

        def fill() -> None:
            for number in range(2000):
                bank.push([episode(number)], [make_request(number)])
                episodes.append(episode(number))

        def episode(number: int) -> Episode:
            return make_episode(number, decisions=50, codes=1000)

        with pytest.raises(ServerFullError, match=r"memory limit.*max_entries.*waited 0.3 s"):
            fill()
        refused = episode(len(episodes))
        assert_holds(bank, episodes)  # the refused batch is not there, in no part
        replica = BankReplica(client, "run", ["blocks"], BankConfig())
        replica.refresh()
        assert replica.sizes()["blocks", "success"] == bank.statistics().total("success").unique

        before = bank.statistics().total("success")
        call(client, "CONFIG", "SET", "maxmemory", 1_000_000)  # far below what it takes
        assert bank.retire(0) == 0
        assert replica.refresh() == 0  # reads go on
        with pytest.raises(ServerFullError):
            bank.push([refused])
        assert bank.statistics().total("success") == before

        freed = threading.Timer(0.4, lambda: call(client, "CONFIG", "SET", "maxmemory", 0))
        freed.start()
        patient = Bank(client, "run", BankConfig(), deadline_s=20.0)
        pushed = patient.push([refused], [make_request(refused.task_index)])
        assert 0.2 < pushed.waited_s < 20.0
        freed.join()
        assert_holds(bank, [*episodes, refused])
        client.close()


def test_retiring_waits_for_copies(client: redis.Redis, make_episode: EpisodeMaker) -> None:
    bank = Bank(client, "run", BankConfig())
    episodes = [make_episode(number, version=1 + number) for number in range(8)]
    bank.push(episodes)
    assert isinstance(client, ServerClient)
    client.copies, client.copies_deadline_s = 1, 0.02  # and there is no replica
    with pytest.raises(TooFewCopiesError, match="waited"):
        bank.retire(3, deadline_s=0.1)
    found = threading.Timer(0.2, lambda: setattr(client, "copies", 0))
    found.start()
    bank.retire(5, deadline_s=30.0)
    found.join()
    assert sum(contents(episodes[4:]).values()) == bank.statistics().total("success").entries
    assert bank.verify().problems == ()


def test_a_full_server_lets_entries_retire(tmp_path: Path, make_episode: EpisodeMaker) -> None:
    with EmbeddedServer(tmp_path) as server:
        client = connect(SharedMemoryConfig(), server.url)
        bank = Bank(client, "run", BankConfig(), deadline_s=0.1)
        episodes = [make_episode(number, version=1 + number) for number in range(8)]
        bank.push(episodes)
        call(client, "CONFIG", "SET", "maxmemory", 1_000_000)
        with pytest.raises(ServerFullError):
            bank.push([make_episode(9)])
        assert bank.retire(5) == len(contents(episodes[:4]))
        assert bank.verify().problems == ()
        client.close()


def test_hostile_numbers_are_refused_before_they_are_written(
    client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    bank = Bank(client, "run", BankConfig())
    for wrong in (-1, 2**32 - 1):
        with pytest.raises(SharedMemoryError, match="episode must be a whole number"):
            bank.push([make_episode(0), dataclasses.replace(make_episode(1), episode=wrong)])
    unsigned = make_episode(1).decisions[0]
    signed = dataclasses.replace(unsigned, codes=unsigned.codes.astype(np.int16))
    with pytest.raises(SharedMemoryError, match="uint16"):
        bank.push([dataclasses.replace(make_episode(1), decisions=(signed,))])
    assert bank.statistics().finished == 0


def test_decisions_without_a_procedure_count_as_decisions_only(
    client: redis.Redis, make_episode: EpisodeMaker
) -> None:
    """While the book is not in use there is nothing to keep, but the episode did happen."""
    bank = Bank(client, "run", BankConfig())
    none = np.empty(0, dtype=np.uint16)
    mixed = make_episode(0)
    decisions = (dataclasses.replace(mixed.decisions[0], codes=none), *mixed.decisions[1:])
    mixed = dataclasses.replace(mixed, decisions=decisions)
    bare = make_episode(1)
    bare = dataclasses.replace(
        bare,
        decisions=tuple(dataclasses.replace(each, codes=none) for each in bare.decisions),
    )
    result = bank.push([mixed, bare])
    assert result.finished == 2
    assert result.success.submitted == len(mixed.decisions) - 1 == mixed.procedures
    assert bare.procedures == 0
    assert bank.verify().closed
    events, _ = OutcomeLog(client, "run", ("blocks",)).read({})
    assert [
        len(event.episode.decisions) for event in events if isinstance(event, EpisodeEvent)
    ] == [
        len(mixed.decisions),
        len(bare.decisions),
    ]
