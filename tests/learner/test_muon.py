"""Muon over stacks against the definition and against torch's own, matrix by matrix."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from learner.muon import Muon, orthogonal

LEAST, MOST = 0.65, 1.25
"""Where five rounds of the quintic iteration leave singular values that were not near zero."""


def matrix(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 48), (3, 48, 16), (5, 64, 64), (2, 1, 7)])
def test_singular_values_are_near_one(shape: tuple[int, int, int]) -> None:
    matrices = matrix(*shape)
    made = orthogonal(matrices)
    assert made.shape == matrices.shape
    values = torch.linalg.svdvals(matrices)
    kept = values > 0.02 * values.norm(dim=1, keepdim=True)  # the smallest rise more slowly
    found = torch.linalg.svdvals(made)
    assert float(found[kept].min()) > LEAST
    assert float(found.max()) < MOST


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 12), columns=st.integers(1, 12), scale=st.floats(-6, 6), seed=st.integers(0)
)
def test_directions_stay_and_size_does_not_matter(
    rows: int, columns: int, scale: float, seed: int
) -> None:
    """U S Vᵀ → U S' Vᵀ: the same for 10ˣ times as much, and for the transposed matrix."""
    matrices = matrix(2, rows, columns, seed=seed % 2**32)
    made = orthogonal(matrices)
    assert torch.allclose(orthogonal(matrices * 10**scale), made, atol=2e-3)
    turned = orthogonal(matrices.transpose(-2, -1))
    assert torch.allclose(turned.transpose(-2, -1), made, atol=2e-3)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    diagonal = u.transpose(-2, -1) @ made @ v.transpose(-2, -1)  # S'
    apart = diagonal - torch.diag_embed(torch.diagonal(diagonal, dim1=-2, dim2=-1))
    assert float(apart.abs().max()) < 5e-3


def test_of_nothing_comes_nothing() -> None:
    assert torch.equal(orthogonal(torch.zeros(2, 3, 5)), torch.zeros(2, 3, 5))


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_moves_as_the_muon_of_torch(decay: float) -> None:
    """Torch rounds to bfloat16, so that directions are compared, and lengths to a hundredth."""
    shapes = [(16, 16), (24, 16), (16, 24), (16, 16)]
    mine = [matrix(*shape, seed=number) for number, shape in enumerate(shapes)]
    theirs = [torch.nn.Parameter(weight.clone()) for weight in mine]
    mine = [torch.nn.Parameter(weight) for weight in mine]
    ours = Muon(mine, lr=0.02, weight_decay=decay)
    reference = torch.optim.Muon(
        theirs, lr=0.02, weight_decay=decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(6):
        before = [(a.detach().clone(), b.detach().clone()) for a, b in zip(mine, theirs)]
        for number, (a, b) in enumerate(zip(mine, theirs)):
            a.grad = matrix(*a.shape, seed=100 * step + number + 7)
            b.grad = a.grad.clone()
        ours.step()
        reference.step()
        for (a, b), (old_a, old_b) in zip(zip(mine, theirs), before):
            moved, should = (a - old_a).detach().flatten(), (b - old_b).detach().flatten()
            assert float(torch.cosine_similarity(moved, should, 0)) > 0.999
            assert float(moved.norm()) == pytest.approx(float(should.norm()), rel=0.01)
    for a, b in zip(mine, theirs):
        assert torch.allclose(a, b, atol=0.01)


def test_updates_have_the_size_of_adamw() -> None:
    """A root mean square of 0.2 times the rate, whatever the shape (Liu et al. 2025)."""
    for shape in ((32, 32), (16, 64), (64, 16)):
        weight = torch.nn.Parameter(torch.zeros(shape))
        weight.grad = matrix(*shape)
        Muon([weight], lr=0.5).step()
        size = float(weight.detach().square().mean().sqrt())
        assert 0.65 * 0.2 * 0.5 < size < 1.2 * 0.2 * 0.5


def test_a_stack_moves_as_its_members_alone() -> None:
    stack = torch.nn.Parameter(matrix(3, 12, 8))
    alone = [torch.nn.Parameter(member.clone()) for member in stack.detach()]
    beside = torch.nn.Parameter(matrix(12, 8, seed=5))  # of the same shape, in the same product
    one = Muon([beside, stack], lr=0.1, weight_decay=0.05)
    others = [Muon([member], lr=0.1, weight_decay=0.05) for member in alone]
    for step in range(4):
        stack.grad = matrix(3, 12, 8, seed=step + 1)
        beside.grad = matrix(12, 8, seed=step + 50)
        one.step()
        for member, gradient, other in zip(alone, stack.grad, others):
            member.grad = gradient.clone()
            other.step()
    for member, expected in zip(stack.detach(), alone):
        assert torch.allclose(member, expected, atol=1e-5)


def test_what_has_no_gradient_stays() -> None:
    still, moving = (torch.nn.Parameter(matrix(4, 4, seed=seed)) for seed in (1, 2))
    before = still.detach().clone()
    moving.grad = matrix(4, 4)
    optimiser = Muon([still, moving], lr=0.1, weight_decay=0.5)
    optimiser.step()
    assert torch.equal(still, before)
    assert still not in optimiser.state


def test_it_goes_on_from_its_state() -> None:
    def made() -> tuple[torch.nn.Parameter, torch.nn.Parameter]:
        return torch.nn.Parameter(matrix(6, 9)), torch.nn.Parameter(matrix(2, 6, 9, seed=1))

    def steps(weights: tuple[torch.nn.Parameter, ...], optimiser: Muon, numbers: range) -> None:
        for number in numbers:
            for place, weight in enumerate(weights):
                weight.grad = matrix(*weight.shape, seed=10 * number + place)
            optimiser.step()

    whole, halves = made(), made()
    steps(whole, Muon(whole, lr=0.1), range(6))
    first = Muon(halves, lr=0.1)
    steps(halves, first, range(3))
    second = Muon(halves, lr=0.1)
    second.load_state_dict(first.state_dict())
    steps(halves, second, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole, halves))
