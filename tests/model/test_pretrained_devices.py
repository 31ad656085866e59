"""Decoding with pretrained backbones on a pretended device: nothing is mixed with the host's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import VOCABULARY, config_for, make_checkpoint
from pretend_device import pretended_device, put
from small_model import NAMES, trace_of

from model import DecodingEngine, ProcedureLM


def answers(model: ProcedureLM) -> list[Any]:
    """Codes and answers of four texts, by contrast, as they grow."""
    slots = range(4)
    found: list[Any] = []
    with torch.inference_mode():
        engine = DecodingEngine(model, len(slots), max_tokens=96)
        texts = [trace_of(model, slot) for slot in slots]
        engine.enter(slots, [each.tokens[: each.decisions[0][0]] for each in texts])
        for _ in range(2):
            reading = engine.read(slots)
            against = reading.memory.flip(0)
            has = torch.tensor([True, False, True, False]).to(reading.memory.device)
            decided = engine.decode(slots, reading.memory, against, has, alpha=0.5)
            found.append((reading.codes.tolist(), decided, engine.likely(reading.memory, 2)))
            engine.feed(slots, [[*tokens[:4], model.tokenizer.end] for tokens in decided])
    return found


@pytest.mark.parametrize(
    ("model_type", "tuning"), [("qwen2", "frozen"), ("llama", "frozen"), ("qwen2", "lora")]
)
def test_decodes_on_its_models_device_alone(tmp_path: Path, model_type: str, tuning: str) -> None:
    folder = make_checkpoint(tmp_path, model_type)

    def made() -> ProcedureLM:
        torch.manual_seed(3)
        return ProcedureLM(config_for(folder, tuning=tuning), VOCABULARY, (NAMES,))

    wanted = answers(made())
    model = made()
    with pretended_device():
        put(model)
        assert answers(model) == wanted
