"""A very small model for the tests of model/."""

from __future__ import annotations

import pytest
import torch
from small_model import NAMES, WORDS

from configs.schema import BookConfig, MemoryConfig, ModelConfig
from model import ProcedureLM


@pytest.fixture
def also_written_at() -> tuple[int, ...]:
    """Memory is written once; tests marked `ONE_AND_TWO_WRITES` run with a second write too."""
    return ()


@pytest.fixture(params=["words", "atoms"])
def config(request: pytest.FixtureRequest, also_written_at: tuple[int, ...]) -> ModelConfig:
    return ModelConfig(
        positions=request.param,
        layers=3,
        width=32,
        heads=2,
        feed_forward=48,
        max_tokens=64,
        memory=MemoryConfig(slots=3, width=16, layer=2, also_written_at=also_written_at, heads=2),
        book=BookConfig(codes=16, width=8),
    )


@pytest.fixture
def model(config: ModelConfig) -> ProcedureLM:
    torch.manual_seed(0)
    made = ProcedureLM(config, WORDS + NAMES, (NAMES,), NAMES)
    made.book.codes.normal_(std=0.5, generator=torch.Generator().manual_seed(1))
    made.book.ready.fill_(True)
    return made.eval()
