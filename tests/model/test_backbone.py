"""The shipped models: how small those from nothing are, and the books of those pretrained."""

from __future__ import annotations

import pytest

from cluster.settings import load_settings
from model import ProcedureLM

WORDS = ("<pad>", "<act>", "<end>", *(f"word{number}" for number in range(200)))


def test_the_small_preset_is_small() -> None:
    model = ProcedureLM(load_settings("small").config.model, WORDS)
    assert 10_000_000 < model.parameter_count <= 30_000_000


@pytest.mark.parametrize(
    ("name", "pretrained", "layers"),
    [
        ("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B", 24),
        ("llama-3.2-1b", "meta-llama/Llama-3.2-1B", 16),
    ],
)
def test_the_papers_backbones_have_its_book(name: str, pretrained: str, layers: int) -> None:
    config = load_settings(name).config.model
    assert (config.pretrained, config.tuning, config.dtype) == (pretrained, "lora", "bfloat16")
    assert (config.book.codes, config.book.width) == (256, 32)
    assert config.memory.layer == layers // 2


def test_embeddings_and_logits_of_the_same_rows(model: ProcedureLM) -> None:
    """Made from nothing, both use one table, and heads keep keys and values each."""
    backbone = model.backbone
    assert backbone.head is None
    assert backbone.specials is None
    assert backbone.digest == ""
    assert backbone.key_value_heads == model.config.heads
    assert backbone.head_width * model.config.heads == model.config.width
