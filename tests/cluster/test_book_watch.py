"""A broken procedure-book raises one warning, and a sound one none."""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from cluster.book_watch import WINDOW, BookWatch
from configs.schema import BookConfig, DistillationConfig, MemoryConfig, ModelConfig
from learner.distillation import Distiller
from model.procedure_lm import ProcedureLM
from shared_memory.records import Trace


@dataclass(frozen=True)
class Use:
    codes_used: int
    perplexity: float
    quantisation_error: float = 0.1


WELL, BAD, SILENT = Use(200, 90.0), Use(12, 5.0), Use(0, 0.0, 0.0)


def watch(**book: object) -> BookWatch:
    return BookWatch(BookConfig.model_validate({"codes": 256} | book), 0.003)


def said(series: list[Use], found: BookWatch | None = None) -> list[tuple[int, str]]:
    found = found or watch()
    taken = [(version, found.take(version, use)) for version, use in enumerate(series, 1)]
    return [(version, words) for version, words in taken if words is not None]


def test_a_collapse_is_said_after_a_window_and_once() -> None:
    ((version, words),) = said([WELL] * 3 + [BAD] * 20, watch(revival="off", warmup_steps=7))
    assert version == 3 + WINDOW
    assert words == (
        "the procedure-book has collapsed: since version 4 (now 7: perplexity 5.0 of K = 256, 95% "
        "of the codes dead, quantisation error 0.10); remedies: raise model.book.warmup_steps (it "
        "is 7), set model.book.revival to batch or reservoir (it is off), raise "
        "model.book.commitment (it is 4), lower distillation.learning_rate (it is 0.003)"
    )


def test_a_moment_is_no_collapse_and_a_second_collapse_is_said_again() -> None:
    assert said(([BAD] * (WINDOW - 1) + [WELL]) * 5) == []
    twice = said([BAD] * 6 + [WELL] + [BAD] * 6)
    assert [version for version, _ in twice] == [WINDOW, 7 + WINDOW]


def test_the_warm_up_and_continuous_memory_say_nothing() -> None:
    assert said([SILENT] * 30) == []
    ((version, _),) = said([SILENT] * 5 + [BAD] * 2 + [SILENT] * 3 + [BAD] * 2)
    assert version == 12  # versions without codes neither count nor acquit


def test_codes_far_from_the_memory_are_said_and_name_another_remedy_than_revival() -> None:
    ((_, words),) = said([Use(200, 90.0, 1.2)] * 8, watch(dead_after=50))
    assert "does not follow the memory" in words
    assert "lower model.book.dead_after (it is 50)" in words
    assert said([Use(200, 90.0, 1.0)] * 8) == []


@pytest.mark.parametrize(
    ("codes", "perplexity", "expected"),
    [(256, 12.7, True), (256, 12.9, False), (16, 1.05, True), (16, 1.5, False), (2, 1.9, False)],
)
def test_five_percent_of_k_or_next_to_one_code(
    codes: int, perplexity: float, expected: bool
) -> None:
    assert bool(said([Use(2, perplexity)] * WINDOW, watch(codes=codes))) == expected


@settings(deadline=None)
@given(st.lists(st.sampled_from([WELL, BAD, SILENT]), max_size=60))
def test_it_is_said_once_for_every_long_enough_stretch(series: list[Use]) -> None:
    stretches, run = 0, 0
    for use in (use for use in series if use is not SILENT):
        run = run + 1 if use is BAD else 0
        stretches += run == WINDOW
    assert len(said(series)) == stretches


NAMES = tuple(f"spot{number}" for number in range(1, 5))


def versions(book: BookConfig, rate: float) -> list[Use]:
    """What ten versions of a real student used of its book."""
    torch.manual_seed(0)
    config = ModelConfig(
        layers=2,
        width=32,
        heads=2,
        feed_forward=48,
        memory=MemoryConfig(slots=2, width=16, layer=1, heads=2),
        book=book,
    )
    words = ("<pad>", "<goal>", "<act>", "<end>", "go", *NAMES)
    settings = DistillationConfig(learning_rate=rate, warmup_steps=0, rename=False)
    teacher = Distiller(ProcedureLM(config, words), settings, 0)
    traces = [
        Trace(0, "0" * 32, "walk", 0, "hand", f"<goal> {a} {b}", ("",), (f"go {b} {a}",))
        for a in NAMES
        for b in NAMES
    ]
    found = []
    for _ in range(10):
        teacher.model.book.start_window()
        for _ in range(6):
            teacher.step(traces)
        made = teacher.model.book.statistics()
        found.append(Use(made.used, made.perplexity, made.quantisation_error))
    return found


def test_a_configuration_that_collapses_is_caught_and_its_remedy_is_not() -> None:
    """Codes placed before the memory has learned anything, and never again, cannot follow it."""
    collapsing = BookConfig(codes=128, width=8, revival="off", commitment=0.0, decay=0.5)
    sound = BookConfig(codes=128, width=8, revival="batch", dead_after=5, warmup_steps=15)
    (caught, *more) = said(versions(collapsing, 0.03), BookWatch(collapsing, 0.03))
    assert not more
    assert "set model.book.revival to batch or reservoir" in caught[1]
    assert said(versions(sound, 0.003), BookWatch(sound, 0.003)) == []
