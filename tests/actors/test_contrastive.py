"""Contrastive reconstruction against its formula, written naively."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given, settings

from actors.contrastive import mixture_weights, reconstruct
from shared_memory.lookup import Neighbours

K, N, D = 7, 3, 4


def neighbours(rng: np.random.Generator, count: int) -> Neighbours:
    codes = rng.integers(0, K, size=(count, N)).astype(np.uint16)
    return Neighbours(codes, np.sort(rng.uniform(0.9, 1.0, size=count))[::-1].copy())


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=5),
    temperature=st.floats(0.01, 5.0),
)
def test_is_the_softmax_mixture_of_the_neighbours(
    seed: int, counts: list[int], temperature: float
) -> None:
    rng = np.random.default_rng(seed)
    vectors = torch.from_numpy(rng.normal(size=(K, D)).astype(np.float32))
    own = torch.from_numpy(rng.normal(size=(len(counts), N, D)).astype(np.float32))
    near = [neighbours(rng, count) for count in counts]
    mixed, found = reconstruct(own, near, vectors, temperature)
    for row, count in enumerate(counts):
        assert bool(found[row]) == (count > 0)
        if count == 0:
            assert torch.equal(mixed[row], own[row])  # bit for bit
            continue
        powers = [
            math.exp((s - near[row].similarities[0]) / temperature) for s in near[row].similarities
        ]
        expected = sum(
            power / sum(powers) * vectors[torch.from_numpy(codes.astype(np.int64))]
            for power, codes in zip(powers, near[row].codes)
        )
        assert torch.allclose(mixed[row], expected, atol=1e-5)


def test_weights_do_not_overflow_and_sum_to_one() -> None:
    weights = mixture_weights(np.array([1.0, 0.95, -1.0]), 1e-4)
    assert np.isfinite(weights).all()
    assert weights.sum() == 1.0
    assert weights[0] > 0.999


def test_one_neighbour_is_taken_as_it_is() -> None:
    vectors = torch.arange(K * D, dtype=torch.float32).reshape(K, D)
    near = Neighbours(np.array([[3, 0, 6]], dtype=np.uint16), np.array([0.97]))
    mixed, _ = reconstruct(torch.zeros(1, N, D), [near], vectors, 0.1)
    assert torch.equal(mixed[0], vectors[[3, 0, 6]])
