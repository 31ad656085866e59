"""Processes that distil one model together: sums and agreed tensors over `torch.distributed`.

Without an initialised process group there is one process, and nothing here does anything.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def peer_count() -> int:
    """How many processes distil together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def peer_rank() -> int:
    """This process's number among them, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def sum_over_peers(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Each tensor's sum over all processes, in one exchange; in float32."""
    if peer_count() == 1:
        return tensors
    flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
    distributed.all_reduce(flat)
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    return tuple(
        part.view(tensor.shape).to(tensor.dtype)
        for part, tensor in zip(parts, tensors, strict=True)
    )


def from_first_peer(tensor: Tensor) -> Tensor:
    """The first process's tensor, in all of them."""
    if peer_count() > 1:
        distributed.broadcast(tensor, 0)
    return tensor
