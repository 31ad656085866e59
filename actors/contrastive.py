"""Contrastive reconstruction: from neighbours in a bank to the procedures R+ and R-.

NeSyPr, inference phase: for each bank the procedures nearest to the decision's own R are mixed
with weights softmax(s_i / tau); where nothing passes the threshold the bank says nothing and R
stands for itself. Pure functions, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch


class NeighboursLike(Protocol):
    """What a bank's look-up answers for one decision: m entries, best first."""

    @property
    def codes(self) -> npt.NDArray[np.uint16]:
        """Procedures as code indices. Shape (m, n)."""

    @property
    def similarities(self) -> npt.NDArray[np.floating]:
        """Centred cosines s_i to the decision's own procedure. Shape (m,)."""


def mixture_weights(
    similarities: npt.NDArray[np.floating], temperature: float
) -> npt.NDArray[np.float64]:
    """softmax(s_i / tau) over the m neighbours, computed without overflow. Shape (m,)."""
    scaled = np.asarray(similarities, dtype=np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    return np.asarray(weights / weights.sum())


def reconstruct(
    own: torch.Tensor,
    neighbours: Sequence[NeighboursLike],
    code_vectors: torch.Tensor,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """R^B of each decision from one bank (NeSyPr, contrastive reconstruction).

    own: (B, n, d) the decisions' procedures; neighbours: B look-ups that passed the threshold;
    code_vectors: (K, d). Returns ((B, n, d), (B,) bool: whether the bank had anything to say).
    Where it had nothing, the row is `own` itself, unchanged bit for bit.
    """
    mixed = own.clone()
    found = torch.zeros(own.shape[0], dtype=torch.bool)
    for row, near in enumerate(neighbours):
        if len(near.similarities) == 0:
            continue
        found[row] = True
        weights = torch.from_numpy(mixture_weights(near.similarities, temperature))
        procedures = code_vectors[torch.from_numpy(near.codes.astype(np.int64))]  # (m, n, d)
        mixed[row] = torch.einsum("m,mnd->nd", weights.to(own.dtype), procedures.to(own.dtype))
    return mixed, found
