"""Answers that failed with their procedure are mended; all else stays as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import torch
from pydantic import ValidationError

from actors.mending import REFUSAL, Past, best_answer
from actors.policy import Choice, Policy
from configs.schema import (
    ActingConfig,
    BankConfig,
    BookConfig,
    MemoryConfig,
    ModelConfig,
    SharedMemoryConfig,
)
from model import ProcedureLM
from model.decoding import Answer
from shared_memory.bank import Bank
from shared_memory.connection import connect
from shared_memory.records import Decision, Episode
from shared_memory.replica import BankReplica
from shared_memory.server import EmbeddedServer
from shared_memory.tried import Counts

WORDS = ("<pad>", "<act>", "<end>", *(f"word{number}" for number in range(20)))
SLOTS = 8


def test_failures_by_hand() -> None:
    past = Past(
        {"good": Counts(1, 0), "tried": Counts(1, 1)},
        {"good": Counts(9, 0), "once": Counts(1, 0), "loop": Counts(5, 0), "no": Counts(2, 2)},
        {"again": 2, "good": 1},
    )
    found = {
        word: past.failures(word)
        for word in ("good", "tried", "once", "loop", "no", "again", "new")
    }
    assert found == {
        "good": REFUSAL,  # succeeded elsewhere, but led back here in this episode
        "tried": REFUSAL,  # in an episode that went on after the refusal, and succeeded
        "once": 0,
        "loop": 4,
        "no": 1 + 2 * REFUSAL,
        "again": 2 * REFUSAL,
        "new": 0,
    }


def test_the_best_answer_by_hand() -> None:
    likely = [Answer((3,), -0.1), Answer((4,), -2.0), Answer((5,), -2.0)]
    past = Past(failed={"a": Counts(1, 1), "c": Counts(9, 0)})
    assert best_answer(likely, "abc", past, 0.0).tokens == (3,)
    assert best_answer(likely, "abc", past, 1.0).tokens == (4,)
    assert best_answer(likely, "xbc", past, 1.0).tokens == (3,)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("server"), fsync="no") as started:
        yield started


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[redis.Redis]:
    made = connect(SharedMemoryConfig(), server.url)
    made.flushall()
    yield made
    made.close()


def model() -> ProcedureLM:
    torch.manual_seed(0)
    config = ModelConfig(
        layers=2,
        width=32,
        heads=2,
        feed_forward=48,
        max_tokens=64,
        memory=MemoryConfig(slots=2, width=16, layer=1, heads=2),
        book=BookConfig(codes=16, width=8),
    )
    made = ProcedureLM(config, WORDS)
    made.book.codes.normal_(std=0.5, generator=torch.Generator().manual_seed(1))
    made.book.ready.fill_(True)
    return made.eval()


def policy(replica: BankReplica | None, **changes: Any) -> Policy:
    acting = {"episodes": SLOTS, "contrast_by": "outcomes", "banks": "both", **changes}
    return Policy(model(), 0, ActingConfig.model_validate(acting), replica)


def decided(chooser: Policy, enter: bool = True) -> list[Choice]:
    slots = list(range(SLOTS))
    if enter:
        chooser.enter(slots, [[3 + slot, 4] for slot in slots])
    else:  # the text begins anew with the same words: the state is what it was
        chooser.engine.enter(slots, [[3 + slot, 4] for slot in slots])
    return chooser.decide(slots, ["any"] * SLOTS)


def text(choice: Choice) -> str:
    return model().tokenizer.decode(list(choice.action_tokens))


def episode(number: int, choice: Choice, success: bool, accepted: bool = True) -> Episode:
    """An episode of this one decision."""
    return Episode(
        episode=number,
        task_index=number,
        task_digest="0" * 32,
        domain="any",
        phase=0,
        book_version=0,
        success=success,
        conditions_met=0,
        conditions=1,
        steps=1,
        decisions=(Decision(0, choice.codes, text(choice), accepted, (3, 4)),),
        actor="actor-0",
        seconds=0.0,
        hits_success=0,
        hits_failure=0,
    )


def filled(client: redis.Redis, *episodes: Episode) -> BankReplica:
    Bank(client, "run", BankConfig()).push(episodes)
    replica = BankReplica(client, "run", ["any"], BankConfig(), actions=True)
    replica.refresh()
    return replica


def test_silent_banks_leave_every_answer_as_it_is(client: redis.Redis) -> None:
    alone = decided(policy(None, contrast_by="procedures", banks="none"))
    empty = decided(policy(filled(client)))
    assert [choice.action_tokens for choice in empty] == [c.action_tokens for c in alone]
    elsewhere = dataclasses.replace(alone[0], codes=(alone[0].codes + 1) % 16)
    others = decided(policy(filled(client, episode(1, elsewhere, False, accepted=False))))
    assert [choice.action_tokens for choice in others] == [c.action_tokens for c in alone]
    assert not any(choice.hit_failure for choice in others)


def test_a_refused_answer_is_not_given_again_and_others_are(client: redis.Redis) -> None:
    alone = decided(policy(None))
    replica = filled(client, episode(1, alone[2], False, accepted=False))
    again = decided(policy(replica))
    for slot in range(SLOTS):
        same_procedure = bool((alone[slot].codes == alone[2].codes).all())
        assert again[slot].hit_failure == same_procedure
        if not same_procedure:
            assert again[slot].action_tokens == alone[slot].action_tokens
    assert again[2].action_tokens != alone[2].action_tokens
    unweighed = decided(policy(replica, outcome_weight=0.0))
    assert len(unweighed[2].action_tokens) <= 16
    only_success = decided(policy(replica, banks="success"))
    assert [c.action_tokens for c in only_success] == [c.action_tokens for c in alone]


def test_each_retry_tries_something_else(client: redis.Redis) -> None:
    seen: list[tuple[int, ...]] = []
    for number in range(5):
        replica = BankReplica(client, "run", ["any"], BankConfig(), actions=True)
        replica.refresh()
        choice = decided(policy(replica, outcome_weight=100.0))[1]
        assert choice.action_tokens not in seen
        seen.append(choice.action_tokens)
        Bank(client, "run", BankConfig()).push([episode(number, choice, False, accepted=False)])


def test_what_succeeded_is_repeated_whatever_failed_besides(client: redis.Redis) -> None:
    alone = decided(policy(None))
    failures = [episode(number, alone[2], False, accepted=False) for number in range(2, 9)]
    again = decided(policy(filled(client, episode(1, alone[2], True), *failures)))
    assert again[2].action_tokens == alone[2].action_tokens
    assert again[2].hit_success


def test_having_failed_once_is_no_evidence_and_a_loop_is(client: redis.Redis) -> None:
    alone = decided(policy(None))
    once = decided(policy(filled(client, episode(1, alone[2], False))))
    assert once[2].action_tokens == alone[2].action_tokens
    decision = episode(2, alone[2], False).decisions[0]
    loop = dataclasses.replace(episode(2, alone[2], False), decisions=(decision,) * 30)
    often = decided(policy(filled(client, loop)))
    assert often[2].action_tokens != alone[2].action_tokens


def test_an_episode_remembers_what_led_back(client: redis.Redis) -> None:
    chooser = policy(None, remember_episode=True)
    first = decided(chooser)
    second = decided(chooser, enter=False)
    assert all(
        mine.action_tokens != before.action_tokens
        for mine, before in zip(second, first, strict=True)
    )
    afresh = decided(chooser)
    assert [choice.action_tokens for choice in afresh] == [c.action_tokens for c in first]
    forgetful = policy(None)
    assert [c.action_tokens for c in decided(forgetful)] == [
        c.action_tokens for c in decided(forgetful, enter=False)
    ]


def test_remembering_needs_outcomes() -> None:
    with pytest.raises(ValidationError, match="contrast_by"):
        ActingConfig(remember_episode=True)
