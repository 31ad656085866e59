"""How the policy draws its answers."""

from __future__ import annotations

import torch

from actors.policy import Policy
from configs.schema import ActingConfig, BookConfig, MemoryConfig, ModelConfig
from model import ProcedureLM

WORDS = ("<pad>", "<act>", "<end>", *(f"word{number}" for number in range(20)))


def policy(seed: int, **changes: float) -> Policy:
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
    acting = ActingConfig(episodes=8, banks="none").model_copy(update=changes)
    generator = torch.Generator().manual_seed(seed)
    return Policy(ProcedureLM(config, WORDS), 0, acting, None, generator=generator)


def answers(chooser: Policy) -> list[tuple[int, ...]]:
    slots = range(8)
    chooser.enter(slots, [[3 + slot, 4] for slot in slots])
    return [choice.action_tokens for choice in chooser.decide(slots, ["any"] * 8)]


def test_answers_are_greedy_unless_a_temperature_says_otherwise() -> None:
    assert answers(policy(1)) == answers(policy(2)) == answers(policy(1, answer_temperature=1e-6))


def test_drawn_answers_are_those_of_the_actors_generator() -> None:
    drawn = answers(policy(1, answer_temperature=1.0))
    assert drawn == answers(policy(1, answer_temperature=1.0))
    assert drawn != answers(policy(2, answer_temperature=1.0))
    assert drawn != answers(policy(1))
    assert answers(policy(3, answer_temperature=1.0, top_p=1e-6)) == answers(policy(3))


def test_a_policy_goes_on_drawing_where_it_stood() -> None:
    chooser = policy(1, answer_temperature=1.0)
    assert answers(chooser) != answers(chooser)
