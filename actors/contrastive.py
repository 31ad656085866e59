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
    """softmax(s_i / tau) over the m neighbours (…, m), computed without overflow."""
    scaled = np.asarray(similarities, dtype=np.float64) / temperature
    weights = np.exp(scaled - scaled.max(-1, keepdims=True))
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def reconstruct(
    own: torch.Tensor,
    neighbours: Sequence[NeighboursLike],
    code_vectors: torch.Tensor,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """R^B of each decision from one bank (NeSyPr, contrastive reconstruction).

    own: (B, n, d) the decisions' procedures; neighbours: B look-ups that passed the threshold;
    code_vectors: (K, d), on the device of `own`. Returns ((B, n, d), (B,) bool: whether the bank
    had anything to say).
    Where it had nothing, the row is `own` itself, unchanged bit for bit.
    """
    counts = [len(near.similarities) for near in neighbours]
    found = torch.tensor(counts, device=own.device) > 0
    rows = [row for row, count in enumerate(counts) if count]
    if not rows:
        return own.clone(), found
    k, n = max(counts), own.shape[1]
    similarities = np.full((len(rows), k), -np.inf)
    codes = np.zeros((len(rows), k, n), dtype=np.int64)
    for place, row in enumerate(rows):
        similarities[place, : counts[row]] = neighbours[row].similarities
        codes[place, : counts[row]] = neighbours[row].codes
    weights = mixture_weights(similarities, temperature)
    places = torch.from_numpy(codes).to(own.device)
    procedures = code_vectors.to(own.dtype)[places]  # (rows, k, n, d)
    mixture = torch.from_numpy(weights).to(own)[:, None] @ procedures.flatten(2)
    mixed = own.clone()
    mixed[rows] = mixture.view(-1, *own.shape[1:])
    return mixed, found
