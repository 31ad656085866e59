from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_model import ONE_AND_TWO_WRITES, trace_of

from model import (
    ModelError,
    ProcedureLM,
    collate,
    from_bytes,
    from_pretrained,
    save_pretrained,
    to_bytes,
)


@ONE_AND_TWO_WRITES
def test_everything_comes_back_bit_for_bit(model: ProcedureLM, tmp_path: Path) -> None:
    model.train()
    model(
        collate([trace_of(model, number) for number in range(4)], model.tokenizer)
    )  # moves the book
    save_pretrained(model, tmp_path, version=9)
    again, version = from_pretrained(tmp_path)
    assert version == 9
    assert again.config == model.config
    assert again.tokenizer.vocabulary == model.tokenizer.vocabulary
    assert again.interchangeable == model.interchangeable
    mine, theirs = model.state_dict(), again.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert all(mine[name].dtype == theirs[name].dtype for name in mine)


def test_loading_draws_no_random_numbers(model: ProcedureLM) -> None:
    payload = to_bytes(model, 1)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    from_bytes(payload)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("cut", [0, 4, 100, -10])
def test_a_damaged_file_is_refused_in_a_sentence(model: ProcedureLM, cut: int) -> None:
    payload = to_bytes(model, 1)
    with pytest.raises(ModelError, match=r"model file"):
        from_bytes(payload[:cut])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no model\.safetensors in"):
        from_pretrained(tmp_path)
