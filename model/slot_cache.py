"""Static keys and values of running episodes, and attention of new tokens to them.

A slot holds one episode. New tokens of several slots come end to end, without padding; rows are
padded only inside attention, prompts and short continuations apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows that attend together. Padded to (R, T)."""

    items: Tensor | None  # (p,) which of the P new tokens; None: all, in order
    places: Tensor  # (p,) row · T + step
    rows: int  # R
    longest: int  # T
    slots: Tensor | None  # (R,) whose keys are seen; None: the first R slots
    mask: Tensor | None  # (R, 1, T, S) what is added to scores; None: causal among the new tokens
    seen: int  # S


@dataclass(frozen=True, slots=True)
class Growth:
    """P new tokens of some slots: where they go, and how they attend."""

    places: Tensor  # (P,) slot · places + position, in the cache
    positions: Tensor  # (P,)
    last: Tensor  # (B,) the place of each slot's last token among the P
    groups: tuple[_Group, ...]


class SlotCache:
    """Keys and values of some layers: a slot's tokens stand at its places from the first on."""

    def __init__(
        self,
        layers: int,
        slots: int,
        places: int,
        heads: int,
        width: int,
        like: Tensor,  # whose device and type are taken
    ) -> None:
        self.keys = like.new_zeros(layers, slots, places, heads, width)
        self.values = torch.zeros_like(self.keys)
        self._places = places
        self._device = like.device

    def grow(self, slots: Sequence[int], starts: Sequence[int], counts: Sequence[int]) -> Growth:
        """Make room for `counts` tokens in each slot after the `starts` that it holds."""
        prompts = [row for row, start in enumerate(starts) if start == 0]
        others = [row for row, start in enumerate(starts) if start]
        slot, start, count = (torch.tensor(values) for values in (slots, starts, counts))
        row = torch.repeat_interleave(torch.arange(len(slot)), count)  # (P,)
        last = count.cumsum(0) - 1
        step = torch.arange(len(row)) - (last + 1 - count)[row]  # (P,)
        positions = start[row] + step
        groups = []
        for chosen in (prompts, others):
            if chosen:
                groups.append(self._group(chosen, slot, start, count, row, step))
        device = self._device
        return Growth(
            (slot[row] * self._places + positions).to(device),
            positions.to(device),
            last.to(device),
            tuple(groups),
        )

    def _group(
        self,
        chosen: list[int],
        slot: Tensor,
        start: Tensor,
        count: Tensor,
        row: Tensor,
        step: Tensor,
    ) -> _Group:
        """The group of some of the rows: all of them prompts, or none."""
        rows, device = torch.tensor(chosen), self._device
        longest = int(count[rows].max())
        items = None
        if len(chosen) < len(slot):
            within = torch.full((len(slot),), -1)
            within[rows] = torch.arange(len(chosen))
            items = (within[row] >= 0).nonzero()[:, 0]
            row, step = within[row[items]], step[items]
            items = items.to(device)
        if int(start[rows[0]]) == 0:
            places = (row * longest + step).to(device)
            return _Group(items, places, len(chosen), longest, None, None, longest)
        seen = int((start + count)[rows].max())
        span = int(slot[rows].max()) + 1
        slots = None
        if span <= 2 * len(chosen):  # looking at all of them is cheaper than copying some
            begin = torch.zeros(span, dtype=torch.long)
            begin[slot[rows]] = start[rows]
            row = slot[rows][row]
        else:
            begin, slots, span = start[rows], slot[rows].to(device), len(chosen)
        reach = begin[:, None] + torch.arange(longest)  # (R, T)
        hidden = torch.arange(seen) > reach[..., None]  # (R, T, S)
        mask = torch.zeros(hidden.shape, dtype=self.keys.dtype).masked_fill_(hidden, float("-inf"))
        return _Group(
            items,
            (row * longest + step).to(device),
            span,
            longest,
            slots,
            mask[:, None].to(device),
            seen,
        )

    def attend(
        self,
        layer: int,
        growth: Growth,
        query: Tensor,
        key: Tensor,
        value: Tensor,
    ) -> Tensor:
        """Store (P, H_kv, width) keys and values; (P, H, width) of what the queries saw."""
        keys, values = self.keys[layer], self.values[layer]
        for cache, new in ((keys, key), (values, value)):
            cache.view(-1, *new.shape[1:]).index_copy_(0, growth.places, new)
        output = torch.empty_like(query)
        for group in growth.groups:
            if group.mask is None:
                seen = [_pad(group, key), _pad(group, value)]
            else:
                seen = [cache[:, : group.seen] for cache in (keys, values)]
                if group.slots is None:
                    seen = [cache[: group.rows] for cache in seen]
                else:
                    seen = [cache.index_select(0, group.slots) for cache in seen]
            attended = functional.scaled_dot_product_attention(
                _pad(group, query).transpose(1, 2),
                seen[0].transpose(1, 2),
                seen[1].transpose(1, 2),
                attn_mask=group.mask,
                is_causal=group.mask is None,
                enable_gqa=query.shape[1] != key.shape[1],
            )  # (R, H, T, width)
            found = attended.transpose(1, 2).reshape(-1, *query.shape[1:])
            found = found.index_select(0, group.places)
            if group.items is None:
                output = found
            else:
                output.index_copy_(0, group.items, found)
        return output


def _pad(group: _Group, packed: Tensor) -> Tensor:
    """(P, H, width) → (R, T, H, width)."""
    rest = packed.shape[1:]
    padded = packed.new_zeros(group.rows * group.longest, *rest)
    chosen = packed if group.items is None else packed.index_select(0, group.items)
    return padded.index_copy_(0, group.places, chosen).view(group.rows, group.longest, *rest)
