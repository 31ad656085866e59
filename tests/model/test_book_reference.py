"""The book beside the package vector-quantize-pytorch, on the same inputs from the same codes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from vector_quantize_pytorch import VectorQuantize

from configs.schema import BookConfig
from model.procedure_book import ProcedureBook

K, WIDTH, BETA = 12, 4, 0.25


def memories(step: int, batch: int) -> Tensor:
    """Chunks in clumps of different size, so that codes are used unequally and move far."""
    source = torch.Generator().manual_seed(step)
    clumps = 3 * torch.randn(7, WIDTH, generator=torch.Generator().manual_seed(99))
    which = torch.multinomial(1 / torch.arange(1.0, 8), batch * 2, True, generator=source)
    noise = torch.randn(batch, 2, WIDTH, generator=source)
    return clumps[which].view(batch, 2, WIDTH) + 0.5 * noise


def pair(decay: float) -> tuple[ProcedureBook, VectorQuantize]:
    """Ours and theirs with the same codes, counts and sums."""
    config = BookConfig(codes=K, width=WIDTH, decay=decay, revival="off", commitment=BETA)
    book = ProcedureBook(config, chunks=2)
    codes = torch.randn(K, WIDTH, generator=torch.Generator().manual_seed(1))
    book.codes.copy_(codes)
    book.sums.copy_(codes)
    book.counts.fill_(1.0)
    book.ready.fill_(True)
    theirs = VectorQuantize(
        WIDTH,
        K,
        decay=decay,
        eps=1e-12,  # of Laplace smoothing, which ours has not
        commitment_weight=BETA,
        rotation_trick=False,  # straight-through, as VQ-VAE's
    )
    theirs._codebook.embed.copy_(codes[None])
    theirs._codebook.embed_avg.copy_(codes[None])
    return book, theirs


@pytest.mark.parametrize("decay", [0.8, 0.99])
def test_codes_counts_and_sums_follow_the_reference(decay: float) -> None:
    book, theirs = pair(decay)
    chosen = []
    for step in range(60):
        memory = memories(step, 24)
        mine = book(memory)
        vectors, codes, loss = theirs(memory.reshape(1, -1, WIDTH))
        assert mine.codes.reshape(-1).tolist() == codes[0].tolist()
        chosen.append(codes[0])
        assert torch.allclose(mine.procedure.reshape(-1, WIDTH), vectors[0], atol=1e-5)
        assert BETA * float(mine.commitment) == pytest.approx(loss.item(), rel=1e-5)
        reference = theirs._codebook
        assert torch.allclose(book.counts, reference.cluster_size[0], rtol=1e-4, atol=1e-5)
        assert torch.allclose(book.sums, reference.embed_avg[0], rtol=1e-4, atol=1e-4)
        assert torch.allclose(book.codes, reference.embed[0], rtol=1e-3, atol=1e-4)
    counts = torch.bincount(torch.cat(chosen), minlength=K)
    assert 0 < int((counts == 0).sum()) < K  # some are never used, and move as theirs do
    statistics = book.statistics()
    assert (statistics.used, statistics.dead) == (int((counts > 0).sum()), int((counts == 0).sum()))
    shares = counts[counts > 0] / counts.sum()
    perplexity = float(torch.distributions.Categorical(shares).perplexity())
    assert statistics.perplexity == pytest.approx(perplexity, rel=1e-5)
    assert statistics.decisions == 60 * 24


def test_gradients_are_those_of_the_reference() -> None:
    book, theirs = pair(0.9)
    mine, other = memories(0, 8).requires_grad_(), memories(0, 8).requires_grad_()
    weights = torch.randn(8, 2, WIDTH, generator=torch.Generator().manual_seed(4))
    quantised = book(mine)
    ((quantised.procedure * weights).sum() + BETA * quantised.commitment).backward()
    vectors, _, loss = theirs(other.reshape(1, -1, WIDTH))
    ((vectors.view(8, 2, WIDTH) * weights).sum() + loss.sum()).backward()
    assert mine.grad is not None
    assert other.grad is not None
    assert torch.allclose(mine.grad, other.grad, atol=1e-6)
    assert not torch.equal(mine.grad, weights)  # the commitment pulls as well


def test_quantisation_error_is_that_of_the_references_vectors() -> None:
    book, theirs = pair(0.9)
    error = energy = 0.0
    for step in range(5):
        memory = memories(step, 16)
        book(memory)
        vectors, _, _ = theirs(memory.reshape(1, -1, WIDTH))
        error += float((memory.reshape(-1, WIDTH) - vectors[0]).square().sum())
        energy += float(memory.square().sum())
    assert book.statistics().quantisation_error == pytest.approx(error / energy, rel=1e-5)
