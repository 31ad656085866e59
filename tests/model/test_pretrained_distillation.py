"""A pretrained student, from traces to published weights and back, without Ray and Redis."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import config_for, make_checkpoint

from configs.schema import DistillationConfig, RenderingConfig
from learner.distilled_lm import DistilledLM
from model.saving import from_bytes
from shared_memory.records import Trace
from tasks.domains import get_domain
from tasks.rendering import Rendering

PROMPT = "<domain> blocks <goal> on block{} block{} <state> clear block{} clear block{} handempty"


def rendering() -> Rendering:
    return Rendering([get_domain("blocks")], RenderingConfig(objects_per_type=4))


def traces(count: int) -> list[Trace]:
    found = []
    for number in range(count):
        a, b = 1 + number % 4, 1 + (number + 1 + number // 4 % 3) % 4
        found.append(
            Trace(
                task_index=number,
                task_digest=f"{number:032x}",
                domain="blocks",
                phase=0,
                teacher="made up",
                prompt=PROMPT.format(a, b, a, b),
                observations=("", ""),
                actions=(f"pickup block{a}", f"stack block{a} block{b}"),
            )
        )
    return found


def student(
    folder: Path,
    tuning: str,
    dtype: str,
    optimiser: str = "adamw",
    also_written_at: tuple[int, ...] = (),
) -> DistilledLM:
    distillation = DistillationConfig.model_validate(
        {
            "optimiser": optimiser,
            "learning_rate": 5e-3,
            "warmup_steps": 2,
            "total_steps": 60,
            "averaging": 0.5,
        }
    )
    config = config_for(folder, also_written_at, tuning=tuning, dtype=dtype)
    return DistilledLM(config, rendering(), distillation, seed=3)


@pytest.mark.parametrize(
    ("model_type", "tuning", "dtype", "optimiser", "also_written_at"),
    [
        ("llama", "lora", "float32", "muon", ()),
        ("llama", "full", "float32", "adamw", ()),
        ("qwen2", "lora", "bfloat16", "adamw", ()),
        ("qwen2", "frozen", "float32", "adamw", ()),
        ("qwen2", "frozen", "float32", "muon", (1,)),
    ],
)
def test_it_distils_publishes_and_goes_on(
    model_type: str,
    tuning: str,
    dtype: str,
    optimiser: str,
    also_written_at: tuple[int, ...],
    tmp_path: Path,
) -> None:
    folder = make_checkpoint(tmp_path, model_type)
    mine = student(folder, tuning, dtype, optimiser, also_written_at)
    learned = traces(12)
    losses = [mine.distiller.step(learned).loss for _ in range(40)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    published, version = from_bytes(mine.weights(1))
    assert version == 1
    for name, average in mine.distiller.averages.items():
        weight = published.get_parameter(name)
        assert torch.equal(weight, average.to(weight.dtype))
    again = student(folder, tuning, dtype, optimiser, also_written_at)
    again.restore(mine.files())
    for each in (mine, again):
        each.step(learned)
    ours, theirs = mine.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    again.adopt(mine.weights(2), steps=41)
    adopted = again.model.state_dict()
    for name, average in mine.distiller.averages.items():
        assert torch.equal(adopted[name], average.to(adopted[name].dtype))


def test_names_are_exchanged_as_words(tmp_path: Path) -> None:
    """Every batch reads other names, each of them whole."""
    mine = student(make_checkpoint(tmp_path, "qwen2"), "lora", "float32")
    trace = traces(1)
    texts = set()
    for _ in range(8):
        batch = mine.distiller.batch(trace)
        texts.add(mine.model.tokenizer.decode(batch.words.tokens.tolist()))
    assert len(texts) > 3
    for text in texts:
        words = text.split()
        assert set(words) <= set(rendering().vocabulary)
        assert words[words.index("pickup") + 1] == words[words.index("clear") + 1]
