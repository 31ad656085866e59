"""The book's averages against a plain reference, revival, and its statistics."""

from __future__ import annotations

import math

import pytest
import torch

from configs.schema import BookConfig
from model.procedure_book import ProcedureBook


def started(config: BookConfig, seed: int = 0) -> ProcedureBook:
    book = ProcedureBook(config, chunks=2)
    torch.manual_seed(seed)
    book(torch.randn(64, 2, config.width))
    assert bool(book.ready)
    return book


def test_codes_follow_the_moving_averages_of_what_chose_them() -> None:
    book = started(BookConfig(codes=8, width=4, decay=0.9, revival="off"))
    counts, sums = book.counts.double().clone(), book.sums.double().clone()
    codes = book.codes.double().clone()
    for seed in range(20):
        memory = torch.randn(16, 2, 4, generator=torch.Generator().manual_seed(seed))
        chunks = memory.reshape(-1, 4).double()
        chosen = ((chunks[:, None] - codes[None]) ** 2).sum(-1).argmin(1)
        for code in range(8):
            mine = chunks[chosen == code]
            counts[code] = 0.9 * counts[code] + 0.1 * len(mine)
            sums[code] = 0.9 * sums[code] + 0.1 * mine.sum(0)
        codes = sums / counts[:, None]
        quantised = book(memory)
        assert quantised.codes.reshape(-1).tolist() == chosen.tolist()
    assert torch.allclose(book.codes.double(), codes, atol=1e-4)


@pytest.mark.parametrize("revival", ["batch", "reservoir"])
def test_revival_resets_vector_count_sum_and_birth(revival: str) -> None:
    config = BookConfig.model_validate(
        {"codes": 8, "width": 4, "revival": revival, "dead_after": 3, "decay": 0.5}
    )
    book = started(config)
    with torch.no_grad():
        book.codes[5], book.sums[5] = 100.0, 100.0 * book.counts[5]
    book.version = 7
    book.start_window()
    for seed in range(4):
        book(torch.randn(32, 2, 4, generator=torch.Generator().manual_seed(seed)))
    assert float(book.codes[5].abs().max()) < 10
    assert int(book.born[5]) == 7
    assert float(book.counts[5]) == pytest.approx(1.0)
    assert torch.equal(book.sums[5], book.codes[5])
    assert book.statistics().revived >= 1
    assert int(book.born[0]) == 0 or book.statistics().revived > 1


def test_without_revival_a_dead_code_stays_dead() -> None:
    book = started(BookConfig(codes=8, width=4, revival="off", dead_after=1))
    with torch.no_grad():
        book.codes[5], book.sums[5] = 100.0, 100.0 * book.counts[5]
    for _ in range(5):
        book(torch.randn(32, 2, 4))
    assert float(book.codes[5].min()) > 90


def test_statistics_by_hand() -> None:
    book = started(BookConfig(codes=4, width=2, revival="off"))
    book.start_window()
    with torch.no_grad():
        book.codes.copy_(torch.tensor([[0.0, 0], [10, 0], [0, 10], [10, 10]]))
    book(torch.tensor([[[1.0, 0], [9, 0]], [[0, 1], [0, 1]]]))
    statistics = book.statistics()
    assert (statistics.used, statistics.dead, statistics.decisions) == (2, 2, 2)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert statistics.perplexity == pytest.approx(math.exp(entropy))
    assert statistics.quantisation_error == pytest.approx(4 / (1 + 81 + 1 + 1))


def test_the_error_on_old_tasks_stands_apart() -> None:
    book = started(BookConfig(codes=8, width=4, revival="off"))
    book.start_window()
    assert book.statistics().quantisation_error_old is None
    memory = torch.randn(10, 2, 4)
    old = torch.arange(10) < 3
    book.old = old
    vectors = book.codes[book.nearest(memory)]  # before the codes move
    book(memory)
    found = book.statistics()
    errors = (memory - vectors).square().sum((1, 2))
    energies = memory.square().sum((1, 2))
    for mine, value in (
        (old, found.quantisation_error_old),
        (~old, found.quantisation_error_new),
        (old | ~old, found.quantisation_error),
    ):
        assert value == pytest.approx(float(errors[mine].sum() / energies[mine].sum()), rel=1e-5)


def test_memories_pass_unquantised_until_the_warm_up_is_over_and_always_if_so_configured() -> None:
    memory = torch.randn(64, 2, 4)
    book = ProcedureBook(BookConfig(codes=8, width=4, warmup_steps=2), chunks=2)
    assert torch.equal(book(memory).procedure, memory)
    assert torch.equal(book(memory).procedure, memory)
    assert not torch.equal(book(memory).procedure, memory)
    continuous = ProcedureBook(BookConfig(codes=8, width=4, quantised=False), chunks=2)
    for _ in range(3):
        assert torch.equal(continuous(memory).procedure, memory)


def test_evaluation_moves_nothing() -> None:
    book = started(BookConfig(codes=8, width=4)).eval()
    before = {name: tensor.clone() for name, tensor in book.state_dict().items()}
    book(torch.randn(16, 2, 4))
    assert all(torch.equal(before[name], tensor) for name, tensor in book.state_dict().items())
