"""A small stream of two phases for tests of what learns streams."""

from __future__ import annotations

from pathlib import Path

from cluster.study_presets import Preset, load_preset

ASSIGNMENTS = (
    "study.changes={stream.distinct: true, rendering.observation: prompt}",
    "distillation.decisions=4",
    "study.beside={}",
    "study.grid=[{name: K, keys: [model.book.codes], values: [8, 16]}]",
    "study.measuring={checkpoint_tasks: 6, steps_a_task: 0.5, sample: 24}",
    "stream.phases=[{name: first, tasks: 12, domains: [{name: blocks, size: {blocks: [3, 4]}}]}, "
    "{name: second, tasks: 12, domains: [{name: gripper, size: {balls: [1, 3]}}]}]",
    "stream.probe_tasks=4",
    "stream.step_limit=4",
    "model.book.warmup_steps=2",
)


def small_preset(*more: str) -> Preset:
    """Two books of 8 and 16 codes, 24 tasks, a look every six."""
    return load_preset("capacity", "smoke", [*ASSIGNMENTS, *more])


def quiet(_: str) -> None:
    """Tells nobody."""


def files_in(folder: Path) -> set[str]:
    """The names of what lies in a folder."""
    return {path.name for path in folder.iterdir()}
