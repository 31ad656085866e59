"""Processes that distil one model together: sums and shared rows over `torch.distributed`.

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
    where = _exchange_device()
    flat = torch.cat([tensor.reshape(-1).to(where, torch.float32) for tensor in tensors])
    distributed.all_reduce(flat)
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    return tuple(
        part.view(tensor.shape).to(tensor.device, tensor.dtype)
        for part, tensor in zip(parts, tensors, strict=True)
    )


def from_first_peer(tensor: Tensor) -> Tensor:
    """The first process's tensor, in all of them."""
    if peer_count() == 1:
        return tensor
    sent = tensor.to(_exchange_device())
    distributed.broadcast(sent, 0)
    return sent.to(tensor.device)


class PeerRows:
    """The rows (N, d) of all processes, those of the first process first.

    Made and indexed by all processes alike; with one process it is its rows.
    """

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows
        self._before, self._count = 0, len(rows)
        if peer_count() > 1:
            counts = torch.zeros(peer_count())
            counts[peer_rank()] = len(rows)
            (counts,) = sum_over_peers(counts)
            self._before = int(counts[: peer_rank()].sum())
            self._count = int(counts.sum())

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, places: Tensor) -> Tensor:
        """The rows (places, d) at these places, in all processes: one exchange."""
        if peer_count() == 1:
            return self._rows[places]
        places = places.to(self._rows.device) - self._before
        mine = (places >= 0) & (places < len(self._rows))
        found = self._rows.new_zeros(len(places), self._rows.shape[1])
        found[mine] = self._rows[places[mine]]
        return sum_over_peers(found)[0]


def _exchange_device() -> torch.device:
    """NCCL exchanges what is on a GPU, gloo what is in memory."""
    if distributed.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
