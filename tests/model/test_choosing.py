"""Choosing tokens: greedy, drawn, and within admissible answers."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from model import ModelError
from model.choosing import Sampling, choose, nucleus, restrict, token_trie

END = 0


def scores_of(seed: int, rows: int = 5, tokens: int = 12) -> torch.Tensor:
    return 3 * torch.randn(rows, tokens, generator=torch.Generator().manual_seed(seed))


def drawing(seed: int, temperature: float = 1.0, top_p: float = 1.0) -> Sampling:
    return Sampling(temperature, top_p, torch.Generator().manual_seed(seed))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), temperature=st.sampled_from([0.0, 1e-30, 1e-6, 1e-4]))
def test_cold_drawing_is_greedy(seed: int, temperature: float) -> None:
    scores = scores_of(seed)
    scores[:, 3] = float("-inf")
    assert choose(scores, drawing(seed, temperature)).tolist() == scores.argmax(-1).tolist()


def test_the_same_seed_draws_the_same_and_others_do_not() -> None:
    scores = scores_of(1, rows=200)
    assert torch.equal(choose(scores, drawing(4)), choose(scores, drawing(4)))
    assert not torch.equal(choose(scores, drawing(4)), choose(scores, drawing(5)))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10_000), top_p=st.floats(0.01, 0.99))
def test_the_nucleus_is_the_smallest_set_that_is_likely_enough(seed: int, top_p: float) -> None:
    chances = torch.softmax(scores_of(seed).double(), -1)
    kept = nucleus(chances, top_p)
    for row, cut in zip(chances.tolist(), kept.tolist(), strict=True):
        expected: set[int] = set()
        for token in sorted(range(len(row)), key=lambda token: -row[token]):
            if sum(row[each] for each in expected) >= top_p:
                break
            expected.add(token)
        assert {token for token, chance in enumerate(cut) if chance > 0} == expected


def test_draws_follow_their_chances() -> None:
    scores = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).expand(20_000, 4)
    drawn = torch.bincount(choose(scores, drawing(0)), minlength=4) / 20_000
    assert drawn.tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.015)
    warm = torch.bincount(choose(scores, drawing(0, 2.0)), minlength=4) / 20_000
    roots = [math.sqrt(p) for p in (0.5, 0.3, 0.15, 0.05)]
    assert warm.tolist() == pytest.approx([root / sum(roots) for root in roots], abs=0.015)
    cut = torch.bincount(choose(scores, drawing(0, top_p=0.8)), minlength=4) / 20_000
    assert cut.tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=0.015)


ANSWERS = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(answers=ANSWERS, seed=st.integers(0, 1000))
def test_a_trie_allows_what_continues_some_answer(answers: list[list[int]], seed: int) -> None:
    """Greedy by trie against looking through all answers for each token."""
    scores = scores_of(seed, rows=6, tokens=5)
    node, prefix = token_trie(answers, END), []
    for step in range(6):
        fitting = [[*answer, END] for answer in answers if answer[:step] == prefix]
        following = {answer[step] for answer in fitting}
        expected = max(following, key=lambda token: float(scores[step, token]))
        restricted = restrict(scores[step : step + 1], [node])
        assert {t for t in range(5) if restricted[0, t] > float("-inf")} == following
        token = int(choose(restricted))
        assert token == expected
        node = node[token]
        if token == END:
            break
        prefix.append(token)
    assert prefix in answers
    assert list(node) == [END]  # ended answers go on with <end>


def test_no_answer_at_all_is_refused() -> None:
    with pytest.raises(ModelError, match="restricted to no answer"):
        token_trie([], END)
