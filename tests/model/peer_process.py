"""One of two processes that share sums and a book: peer_process.py RANK FOLDER."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, distributed

from configs.schema import BookConfig
from model.peers import PeerRows, from_first_peer, peer_count, peer_rank, sum_over_peers
from model.procedure_book import ProcedureBook

STEPS = 4


def mine(rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tensors of other shapes and types in one exchange."""
    return (
        torch.arange(6).view(2, 3) + 10 * rank,
        torch.tensor(0.5 + rank),
        torch.full((4,), 2.0 + rank, dtype=torch.float64),
    )


PLACES = torch.tensor([4, 0, 3, 4, 1])


def some_rows() -> tuple[Tensor, Tensor]:
    """Of two processes; not as many for each."""
    return torch.arange(6.0).view(3, 2), 10 + torch.arange(4.0).view(2, 2)


def memories(step: int) -> tuple[Tensor, Tensor]:
    """The batches of both processes; not of the same size."""
    whole = torch.randn(14, 2, 4, generator=torch.Generator().manual_seed(step))
    return whole[:9], whole[9:]


def started_book() -> ProcedureBook:
    book = ProcedureBook(BookConfig(codes=8, width=4, decay=0.8, revival="off"), chunks=2)
    book.codes.normal_(generator=torch.Generator().manual_seed(1))
    book.sums.copy_(book.codes)
    book.counts.fill_(1.0)
    book.ready.fill_(True)
    return book


def left(book: ProcedureBook) -> dict[str, Tensor]:
    found = book.statistics()
    return {
        **{name: getattr(book, name).clone() for name in ("codes", "counts", "sums", "mean")},
        "statistics": torch.tensor(
            [found.decisions, found.used, found.dead, found.perplexity, found.quantisation_error],
        ),
    }


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meeting'}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    integers, scalar, wide = sum_over_peers(*mine(rank))
    first = from_first_peer(torch.tensor([7.0 + rank]))
    rows = PeerRows(some_rows()[rank])
    book = started_book()
    for step in range(STEPS):
        book(memories(step)[rank])
    found = {
        "integers": integers,
        "scalar": scalar,
        "wide": wide,
        "first": first,
        "rows": rows[PLACES],
        "all": rows[torch.arange(len(rows))],
        "who": torch.tensor([peer_count(), peer_rank()]),
        **left(book),
    }
    save_file(found, folder / f"{rank}.safetensors")
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
