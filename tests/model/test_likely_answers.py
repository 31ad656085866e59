"""Likely answers by beam search, against full passes and against greedy decoding."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from small_model import NAMES

from model import DecodingEngine, ProcedureLM


def procedures(model: ProcedureLM, count: int, seed: int) -> torch.Tensor:
    return 2 * torch.randn(count, model.chunks, 8, generator=torch.Generator().manual_seed(seed))


def log_probability(model: ProcedureLM, tokens: tuple[int, ...], R: torch.Tensor) -> float:
    """Of tokens and `<end>`, by one full pass."""
    inputs = torch.tensor([[model.tokenizer.act, *tokens]])
    scores = torch.log_softmax(model.answer(inputs, R[None])[0].double(), -1)
    targets = [*tokens, model.tokenizer.end]
    return sum(float(scores[place, token]) for place, token in enumerate(targets))


def test_finds_the_allowed_answers_in_their_order(model: ProcedureLM) -> None:
    """With a beam as wide as there are answers nothing is lost: all, and by exact likelihood."""
    texts = [f"go {first} {second}" for first, second in product(NAMES[:3], NAMES)]
    allowed = [tuple(model.tokenizer.encode(text)) for text in (*texts, "take place1", "go place1")]
    R = procedures(model, 5, 3)
    engine = DecodingEngine(model, slots=1, max_tokens=64)
    with torch.inference_mode():
        found = engine.likely(R, len(allowed), [allowed] * 5)
        for row, answers in enumerate(found):
            exact = {tokens: log_probability(model, tokens, R[row]) for tokens in allowed}
            assert [answer.tokens for answer in answers] == sorted(
                exact, key=lambda tokens: -exact[tokens]
            )
            for answer in answers:
                assert answer.log_probability == pytest.approx(exact[answer.tokens], abs=1e-4)


def test_one_answer_is_the_greedy_one(model: ProcedureLM) -> None:
    R = procedures(model, 20, 5)
    engine = DecodingEngine(model, slots=20, max_tokens=64)
    with torch.inference_mode():
        greedy = engine.decode(range(20), R)
        likely = engine.likely(R, 1)
    assert [[list(answer.tokens) for answer in answers] for answers in likely] == [
        [answer] for answer in greedy
    ]


def test_free_answers_differ_are_in_order_and_as_likely_as_told(model: ProcedureLM) -> None:
    R = procedures(model, 8, 7)
    engine = DecodingEngine(model, slots=1, max_tokens=64)
    longest = model.tokenizer.longest_action
    with torch.inference_mode():
        found = engine.likely(R, 6)
        alone = [engine.likely(R[row : row + 1], 6)[0] for row in range(8)]
        for row, answers in enumerate(found):
            assert len({answer.tokens for answer in answers}) == 6
            told = [answer.log_probability for answer in answers]
            assert told == sorted(told, reverse=True)
            assert [answer.tokens for answer in alone[row]] == [a.tokens for a in answers]
            for answer in answers:
                if len(answer.tokens) < longest:
                    exact = log_probability(model, answer.tokens, R[row])
                    assert answer.log_probability == pytest.approx(exact, abs=1e-4)


def test_fewer_are_told_where_there_are_fewer(model: ProcedureLM) -> None:
    allowed = [model.tokenizer.encode("go place1"), model.tokenizer.encode("take place2")]
    engine = DecodingEngine(model, slots=1, max_tokens=64)
    with torch.inference_mode():
        (answers,) = engine.likely(procedures(model, 1, 1), 50, [allowed])
    assert sorted(answer.tokens for answer in answers) == sorted(map(tuple, allowed))
