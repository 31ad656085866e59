"""Sequences of different length end to end, padded only where rows meet: in attention.

Projections, feed-forwards and norms then see no padding; on traces of mixed domains that is a
fifth to a half of all positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

PACKED_ATTENTION = "packed"
"""The attention of `transformers` that understands a `packing`; without one it is "sdpa"."""

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(P, H, width), (P, H_kv, width), (P, H_kv, width) → (P, H, width): what queries see."""


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each of P packed items stands in a padded (B, T)."""

    rows: int  # B
    longest: int  # T
    places: Tensor  # (P,) int64: row · T + place in the row

    def pad(self, packed: Tensor) -> Tensor:
        """(P, …) → (B, T, …), zeros where nothing stands."""
        rest = packed.shape[1:]
        padded = packed.new_zeros(self.rows * self.longest, *rest)
        return padded.index_copy(0, self.places, packed).view(self.rows, self.longest, *rest)

    def unpad(self, padded: Tensor) -> Tensor:
        """(B, T, …) → (P, …)."""
        return padded.reshape(-1, *padded.shape[2:]).index_select(0, self.places)

    def to(self, device: torch.device | str) -> Packing:
        """The same on another device."""
        return Packing(self.rows, self.longest, self.places.to(device))


def packed_attention(
    module: nn.Module,
    query: Tensor,  # (1, H, P, width) if packed, else (B, H, T, width)
    key: Tensor,  # (1, H_kv, P, width)
    value: Tensor,  # (1, H_kv, P, width)
    attention_mask: Tensor | None,
    packing: Packing | Attend | None = None,
    scaling: float | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each packed sequence, or as told: (1, P, H, width)."""
    if packing is None:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **rest
        )
        return output, None
    if not isinstance(packing, Packing):
        told = packing(query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1))
        return told[None], None
    queries, keys, values = (
        packing.pad(item[0].transpose(0, 1)).transpose(1, 2) for item in (query, key, value)
    )
    attended = functional.scaled_dot_product_attention(
        queries,
        keys,
        values,
        is_causal=True,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )  # (B, H, T, width); padding stands at the end, so no token sees it
    return packing.unpad(attended.transpose(1, 2))[None], None


ALL_ATTENTION_FUNCTIONS.register(PACKED_ATTENTION, packed_attention)
