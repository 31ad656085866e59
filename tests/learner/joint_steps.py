"""One of two processes that take distillation steps together: joint_steps.py RANK FOLDER.

Leaves in FOLDER, as safetensors, the model after each scenario of `SCENARIOS`.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, distributed

from configs.schema import BookConfig, DistillationConfig, MemoryConfig, ModelConfig
from learner.distillation import Distiller
from model import ProcedureLM
from shared_memory.records import Trace

NAMES = tuple(f"spot{number}" for number in range(1, 7))
WORDS = ("<pad>", "<domain>", "<goal>", "<state>", "<act>", "<end>", "at", "go", "take", *NAMES)
PLAIN: dict[str, Any] = {"rename": False, "learning_rate": 0.002, "warmup_steps": 0}
ALL: dict[str, Any] = {"rename": True, "decisions": 2, "learning_rate": 0.02, "warmup_steps": 2}
SCENARIOS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    # distillation, book, steps
    "adamw": (PLAIN, {"revival": "off"}, 1),
    "muon": (PLAIN | {"optimiser": "muon"}, {"revival": "off"}, 1),
    "batch": (ALL | {"optimiser": "muon"}, {"revival": "batch", "warmup_steps": 3}, 12),
    "reservoir": (ALL, {"revival": "reservoir", "warmup_steps": 3}, 12),
}


def trace(number: int) -> Trace:
    """From one to three decisions, each told anew, and answers of two or three words."""
    count = 1 + number % 3
    prompts = [
        f"<domain> <goal> at {NAMES[(number + 2) % 6]} <state>"
        + f" at {NAMES[(number + step) % 6]}" * (1 + number % 2)
        for step in range(count)
    ]
    go, take = f"go {NAMES[number % 6]} {NAMES[(number + 1) % 6]}", f"take {NAMES[number % 4]}"
    return Trace(
        number,
        f"{number:032x}",
        "walk",
        0,
        "hand",
        prompts[0],
        ("", *prompts[1:]),
        (go, take, go)[:count],
    )


def make(scenario: str) -> Distiller:
    """The same model in every process; its book has started where it has no warm-up."""
    distillation, book, _ = SCENARIOS[scenario]
    torch.manual_seed(0)
    config = ModelConfig(
        layers=2,
        width=32,
        heads=2,
        feed_forward=48,
        positions="atoms",
        memory=MemoryConfig(slots=2, width=16, layer=1, heads=2),
        book=BookConfig(codes=16, width=8, decay=0.9, commitment=0.5, dead_after=2, **book),
    )
    model = ProcedureLM(config, WORDS, (NAMES,), NAMES)
    if "warmup_steps" not in book:
        model.book.codes.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
        model.book.sums.copy_(model.book.codes)
        model.book.counts.fill_(1.0)
        model.book.ready.fill_(True)
    return Distiller(model, DistillationConfig.model_validate(distillation), seed=5)


def halves() -> tuple[list[Trace], list[Trace]]:
    """Unequal ones: in traces, decisions, answer tokens and length."""
    return [trace(number) for number in range(9)], [trace(number) for number in (2, 5, 8, 11, 1)]


def left(teacher: Distiller) -> dict[str, Tensor]:
    """All that the processes must agree on."""
    state = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    state |= {f"average {name}": value.clone() for name, value in teacher.averages.items()}
    statistics = teacher.model.book.statistics()
    state["statistics"] = torch.tensor(
        [
            statistics.decisions,
            statistics.used,
            statistics.perplexity,
            statistics.quantisation_error,
            statistics.revived,
        ]
    )
    return state


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meeting'}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    for scenario, (_, _, steps) in SCENARIOS.items():
        teacher = make(scenario)
        for step in range(steps):
            batch = halves()[rank] if steps == 1 else [trace(step + 2 * n + rank) for n in range(6)]
            teacher.step(batch)
        save_file(left(teacher), folder / f"{scenario}-{rank}.safetensors")
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
