"""Muon over stacks of matrices: many small matrices of one shape move by one batched product.

`torch.optim.Muon` takes its matrices one by one, and rounds them to bfloat16 first; with forty
matrices of 64 by 64 that was a fifth of a distillation step (docs/log.md).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration (Jordan et al. 2024, "Muon")."""

ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal by Newton-Schulz; decoupled weight decay; Nesterov.

    Weights are (rows, columns), or stacks (…, rows, columns) of independent matrices. Updates are
    scaled to the size that AdamW's have, 0.2 · √max(rows, columns), so that both share a rate
    (Liu et al. 2025, "Muon is scalable for LLM training").
    """

    def __init__(
        self,
        weights: Iterable[Tensor],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update of every weight that has a gradient."""
        del closure
        for group in self.param_groups:
            stacks: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                momentum = state["momentum_buffer"].lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(momentum, group["momentum"])
                stacks[weight.shape[-2:]].append((weight, update))
            for shape, members in stacks.items():
                stacked = torch.cat([update.reshape(-1, *shape) for _, update in members])
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                sizes = [weight.numel() // shape.numel() for weight, _ in members]
                updates = torch.split(orthogonal(stacked), sizes)
                for (weight, _), update in zip(members, updates, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.sub_(update.view(weight.shape), alpha=rate)


def orthogonal(matrices: Tensor) -> Tensor:
    """(M, rows, columns) → the same with singular values near one."""
    a, b, c = NEWTON_SCHULZ
    wide = matrices.transpose(-2, -1) if matrices.shape[-2] > matrices.shape[-1] else matrices
    wide = wide / wide.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    for _ in range(ROUNDS):
        gram = torch.bmm(wide, wide.transpose(-2, -1))  # (M, rows, rows)
        wide = torch.baddbmm(
            wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a
        )  # (M, rows, columns)
    return wide.transpose(-2, -1) if matrices.shape[-2] > matrices.shape[-1] else wide
