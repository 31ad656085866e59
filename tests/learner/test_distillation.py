"""The distillation step alone: it learns, it repeats itself, and it goes on from its state."""

from __future__ import annotations

import pytest
import torch

from configs.schema import BookConfig, DistillationConfig, MemoryConfig, ModelConfig
from learner.distillation import Distiller
from learner.errors import LearnerError
from model import ProcedureLM
from shared_memory.records import Trace

NAMES = tuple(f"spot{number}" for number in range(1, 5))
WORDS = ("<pad>", "<domain>", "<goal>", "<act>", "<end>", "go", *NAMES)


def trace(number: int) -> Trace:
    """Go where the goal says: the smallest task that needs the prompt."""
    here = NAMES[number % 4]
    return Trace(
        number, f"{number:032x}", "walk", 0, "hand", f"<goal> {here}", ("",), (f"go {here}",)
    )


def distiller(optimiser: str = "muon", seed: int = 0) -> Distiller:
    torch.manual_seed(seed)
    config = ModelConfig(
        layers=2,
        width=32,
        heads=2,
        feed_forward=64,
        memory=MemoryConfig(slots=2, width=16, layer=1, heads=2),
        book=BookConfig(codes=16, width=8, warmup_steps=20, commitment=0.25),
    )
    settings = {"optimiser": optimiser, "learning_rate": 0.01, "warmup_steps": 5}
    return Distiller(
        ProcedureLM(config, WORDS, (NAMES,)), DistillationConfig.model_validate(settings), seed
    )


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_it_learns_through_the_book(optimiser: str) -> None:
    teacher = distiller(optimiser)
    steps = [teacher.step([trace(number) for number in range(16)]) for _ in range(150)]
    assert steps[0].exact < 0.5
    assert bool(teacher.model.book.ready)
    assert steps[-1].exact == 1.0
    assert steps[-1].loss < 0.1 * steps[0].loss
    assert steps[0].tokens == 16 * 6


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second = distiller(), distiller()
    for _ in range(25):
        first.step([trace(number) for number in range(8)])
        second.step([trace(number) for number in range(8)])
    mine, theirs = first.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_it_goes_on_from_its_state_as_if_never_stopped() -> None:
    whole = distiller()
    for _ in range(30):
        whole.step([trace(number) for number in range(8)])
    half = distiller()
    for _ in range(15):
        half.step([trace(number) for number in range(8)])
    again = distiller(seed=0)
    again.model.load_state_dict(half.model.state_dict())
    again.load_state(half.state())
    for _ in range(15):
        again.step([trace(number) for number in range(8)])
    assert again.steps == 30
    mine, theirs = whole.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_renaming_permutes_names_and_nothing_else() -> None:
    teacher = distiller()
    batch = teacher.batch([trace(number) for number in range(64)])
    tokens = batch.packing.pad(batch.words.tokens)  # (B, T)
    names = tokens[:, 1]
    assert torch.equal(tokens[:, 4], names)  # goal and action name the same place
    assert len(names.unique()) == 4
    assert len(names[::4].unique()) > 1  # traces 0, 4, 8 … all go to spot1 before renaming


def test_a_damaged_state_is_refused() -> None:
    with pytest.raises(LearnerError, match="damaged"):
        distiller().load_state(b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense")


def test_the_averages_follow_the_weights_and_outlive_a_stop() -> None:
    teacher = distiller()
    teacher.step([trace(number) for number in range(8)])
    name, weight = next(iter(teacher.model.named_parameters()))
    before = teacher.averages[name].clone()
    teacher.step([trace(number) for number in range(8)])
    decay = 3 / 12  # (1 + steps) / (10 + steps) at the second step
    expected = decay * before + (1 - decay) * weight.detach()
    assert torch.allclose(teacher.averages[name], expected, atol=1e-6)
    again = distiller()
    again.load_state(teacher.state())
    assert all(torch.equal(again.averages[key], teacher.averages[key]) for key in again.averages)
