"""Random histories of banks, replicas and book versions: always the answers of a plain model."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from bank_model import BankModel, Codes, ModelBank, similarities
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from configs.schema import BankConfig
from shared_memory.bank import Bank
from shared_memory.bank_file import export_banks, import_banks
from shared_memory.bank_reencoding import BankReencoding, Reencoded
from shared_memory.codec import encode
from shared_memory.connection import call
from shared_memory.keys import RunKeys
from shared_memory.node_replica import NodeReplica
from shared_memory.records import SIGNS, Decision, EntryOrigin, Episode
from shared_memory.replica import BankReplica, Replica

CHUNKS, CODES, WIDTH = 2, 3, 5
LAG = 1
ACTIONS = ("go", "take")
PROMPTS = 6
POLICIES = ("oldest", "reservoir", "least_used", "worst_outcome")

decisions = some.lists(
    some.tuples(
        some.tuples(*[some.integers(0, CODES - 1)] * CHUNKS),
        some.sampled_from(ACTIONS),
        some.booleans(),
        some.integers(1, PROMPTS),
    ),
    min_size=1,
    max_size=4,
)
signs = some.integers(0, 1)


def encoded(prompt: int, version: int) -> Codes:
    """The codes that a version gives to a prompt; every second version changes its mind."""
    drawn = np.random.default_rng([prompt, version // 2]).integers(0, CODES, CHUNKS)
    return tuple(drawn.tolist())


def origin_bytes(number: int, sign: int, prompts: Sequence[int]) -> int:
    """What an episode of `Histories._episode` takes in a bank beside its entries."""
    tokens = tuple(prompt for prompt, _ in groupby(prompts))
    origin = EntryOrigin(sign == 0, "blocks", 0, number, f"{number:032x}", number, tokens)
    return 16 + 8 + len(encode(origin))


class Histories(RuleBasedStateMachine):
    """Driven with `client` and `base`, the folder of nodes' replicas, set by the test."""

    client: redis.Redis
    base: Path

    @initialize(
        policy=some.sampled_from(POLICIES),
        most=some.sampled_from([2, 5, 100]),
        most_bytes=some.sampled_from([700, 2**30]),
        solid_after=some.sampled_from([1, 1, 2, 3]),
    )
    def begin(self, policy: Any, most: int, most_bytes: int, solid_after: int) -> None:
        self.client.flushall()
        self.config = BankConfig(
            max_entries=most, max_bytes=most_bytes, retirement=policy, solid_after=solid_after
        )
        self.bank = Bank(self.client, "run", self.config)
        self.keys = RunKeys("run").domain("blocks")
        self.reencoding = BankReencoding(self.client, "run", self.config)
        self.model = BankModel(most, most_bytes, policy, solid_after, origin_bytes)
        self.random = np.random.default_rng(0)
        self.version = 1
        self.vectors = self.random.normal(size=(CODES, WIDTH)).astype(np.float32)
        self.mean = self.random.normal(size=(CHUNKS, WIDTH)).astype(np.float32) * 0.2
        self.born = np.zeros(CODES, dtype=np.int64)
        self.replicas = [self._replica(), self._replica()]
        self.known = [self.model.snapshot() for _ in self.replicas]
        self.views = [self._view(), self._view()]
        self.imports = 0

    def _replica(self) -> BankReplica:
        return BankReplica(self.client, "run", ["blocks"], self.config, actions=True)

    def _view(self) -> NodeReplica:
        return NodeReplica(
            self.client, "run", ["blocks"], self.config, actions=True, base=self.base
        )

    @rule(
        batch=some.lists(
            some.tuples(some.integers(0, 99), signs, some.integers(0, 2), decisions),
            min_size=1,
            max_size=4,
        )
    )
    def push(self, batch: list[Any]) -> None:
        """Actors push; some lag versions behind, some episodes come again."""
        episodes = [
            (number, sign, max(0, self.version - lag), chosen)
            for number, sign, lag, chosen in batch
        ]
        result = self.bank.push([self._episode(*episode) for episode in episodes])
        assert (result.finished, result.doubled) == self.model.push(episodes)

    def _episode(self, number: int, sign: int, version: int, chosen: list[Any]) -> Episode:
        return Episode(
            *(number, number, f"{number:032x}", "blocks", 0, version, sign == 0, 1, 1),
            len(chosen),
            tuple(
                Decision(place, np.array(codes, dtype=np.uint16), action, accepted, (prompt,))
                for place, (codes, action, accepted, prompt) in enumerate(chosen)
            ),
            *("actor-0", 0.1, 0, 0),
        )

    @rule(by=some.integers(1, 2), revived=some.sets(some.integers(0, CODES - 1), max_size=2))
    def publish(self, by: int, revived: set[int]) -> None:
        """A new version, or two; some codes mean something new with it."""
        self.version += by
        for code in sorted(revived):
            self.born[code] = self.version
            self.vectors[code] = self.random.normal(size=WIDTH).astype(np.float32)

    @rule()
    def retire(self) -> None:
        """The learner drops what lags too far behind."""
        least = self.version - LAG
        assert self.bank.retire(least) == self.model.retire(least)

    @rule(sign=signs, count=some.integers(1, 20))
    def reencode(self, sign: int, count: int) -> None:
        """A part of what the version has not seen is encoded again."""
        stale = self.reencoding.stale("blocks", SIGNS[sign], self.version, count)
        keys = [(tuple(each.entry.codes.tolist()), each.entry.action) for each in stale]
        assert keys == self.model.stale(sign, self.version)[:count]
        entries = self.model.banks[sign].entries
        assert [each.entry.prompt_tokens[0] for each in stale] == [
            entries[key].prompt for key in keys
        ]
        new = {key: encoded(entries[key].prompt, self.version) for key in keys}
        done = self.reencoding.write(
            stale, [np.array(codes, dtype=np.uint16) for codes in new.values()], self.version
        )
        assert done == Reencoded(*self.model.reencode(sign, self.version, new))
        assert self.reencoding.write(
            stale, [np.array(codes, dtype=np.uint16) for codes in new.values()], self.version
        ) == Reencoded(0, 0, 0)

    @precondition(lambda self: self.imports < 2)
    @rule()
    def restore(self) -> None:
        """The banks' file is taken in on top of them, twice: the second time nothing happens."""
        self.imports += 1
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bank"
            filed = export_banks(self.client, "run", self.bank.domains(), path)
            known = call(self.client, "HEXISTS", self.keys.counters, f"import:{filed.checksum}")
            for _ in range(2):
                import_banks(self.client, "run", self.config, filed)
        if not known:
            self.model.import_own_file()

    @rule()
    def restore_over_itself(self) -> None:
        """The banks' file is restored over them: nothing changes."""
        with tempfile.TemporaryDirectory() as folder:
            filed = export_banks(self.client, "run", self.bank.domains(), Path(folder) / "bank")
            done = import_banks(self.client, "run", self.config, filed, restore=True)
        assert (done.added, done.merged) == (0, filed.entries)
        self.model.restore_own_file()

    @rule()
    def trim(self) -> None:
        """The log forgets: who is behind must read all anew."""
        call(self.client, "XTRIM", self.keys.log, "MAXLEN", 0)

    @rule(unlucky=some.integers(0, 9))
    def lose_everything(self, unlucky: int) -> None:
        """The server comes back empty, once in a while."""
        if unlucky != 9:
            return
        self.client.flushall()
        self.bank = Bank(self.client, "run", self.config)
        self.model = self.model.like_new()

    @rule(which=some.integers(0, 1), anew=some.booleans())
    def refresh(self, which: int, anew: bool) -> None:
        """A replica follows, or a new one begins."""
        if anew:
            self.replicas[which] = self._replica()
        self.replicas[which].refresh()
        self.known[which] = self.model.snapshot()

    @rule(which=some.integers(0, 1), anew=some.booleans())
    def refresh_node(self, which: int, anew: bool) -> None:
        """A node's replica follows, fed by one of the processes that share it, or by a new one."""
        if anew:
            self.views[which].close()
            self.views[which] = self._view()
        self.views[which].refresh()
        self.views[1 - which].refresh()
        for view in self.views:
            self._compare(view, self.model.banks)

    @invariant()
    def replicas_answer_as_of_their_last_refresh(self) -> None:
        if not hasattr(self, "replicas"):
            return
        for replica, known in zip(self.replicas, self.known, strict=True):
            self._compare(replica, known)

    def _compare(self, replica: Replica, known: tuple[ModelBank, ModelBank]) -> None:
        """Look-ups and counts of a replica are those of the model as it was then."""
        queries = self.random.integers(0, CODES, (3, CHUNKS)).astype(np.uint16)
        nearest, threshold = 3, 0.1
        for sign, bank in zip(SIGNS, known, strict=True):
            found = replica.lookup(
                *("blocks", sign, queries, self.vectors, self.mean, self.born),
                *(self.version - LAG, nearest, threshold),
            )
            tried = replica.tried("blocks", sign, queries, self.born, self.version - LAG)
            for query, neighbours, actions in zip(queries, found, tried, strict=True):
                expected = similarities(
                    bank, query, self.vectors, self.mean, self.born, self.version - LAG
                )
                best = sorted(expected.values(), reverse=True)
                passing = [each for each in best if each >= threshold][:nearest]
                assert neighbours.similarities.tolist() == pytest.approx(passing, abs=1e-6)
                named = [tuple(codes.tolist()) for codes in neighbours.codes]
                assert len(set(named)) == len(named)
                assert [expected[codes] for codes in named] == pytest.approx(passing, abs=1e-6)
                codes = tuple(query.tolist())
                assert {
                    action: (counts.times, counts.refused) for action, counts in actions.items()
                } == {
                    action: (entry.times, entry.refused)
                    for (of, action), entry in bank.solid().items()
                    if of == codes and codes in expected
                }

    @invariant()
    def the_totals_are_right(self) -> None:
        if not hasattr(self, "model"):
            return
        statistics = self.bank.statistics()
        assert statistics.finished == len(self.model.episodes)
        for code, sign in enumerate(SIGNS):
            bank = self.model.banks[code]
            total = statistics.total(sign)
            assert (total.entries, total.unique) == (len(bank.entries), len(bank.procedures))
            assert (total.submitted, total.admitted) == (bank.submitted, bank.admitted)
            assert (total.retired, total.merged) == (bank.retired, bank.merged)
            assert (total.solid, total.bytes) == (len(bank.solid()), self.model.bytes(code))

    def teardown(self) -> None:
        """In the end everything is re-read, entry by entry."""
        if not hasattr(self, "bank"):
            return
        for view in self.views:
            view.close()
        problems = self.bank.verify().problems
        assert problems == ()
        for sign, bank in zip(SIGNS, self.model.banks, strict=True):
            held = {
                (tuple(each.entry.codes.tolist()), each.entry.action): (
                    *(each.times, each.last_version, each.entry.prompt_tokens[0]),
                )
                for domain in self.bank.domains()
                for _, each in self.bank.entries(domain, sign)
            }
            assert held == {
                key: (entry.times, entry.version, entry.prompt)
                for key, entry in bank.entries.items()
            }


def run_histories(client: redis.Redis, base: Path, examples: int, steps: int) -> None:
    driven = type("DrivenHistories", (Histories,), {"client": client, "base": base})
    run_state_machine_as_test(
        driven,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_random_histories_give_the_answers_of_a_plain_model(
    client: redis.Redis, tmp_path: Path
) -> None:
    run_histories(client, tmp_path, 40, 25)


@pytest.mark.slow
def test_many_random_histories_give_the_answers_of_a_plain_model(
    client: redis.Redis, tmp_path: Path
) -> None:
    run_histories(client, tmp_path, 600, 50)
