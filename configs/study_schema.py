"""The schema of a study's grid: configs/studies/STUDY-PRESET.yaml.

A study is a base configuration, changes to it, and axes whose values are combined to kinds of
models; `beside` names kinds that stand outside the grid (continuous memory, say).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from configs.section import Positive, Section


class Axis(Section):
    """One axis of the grid: all its keys take each of its values in turn."""

    name: str = Field(description="As the method calls it: K, d, n, υ.")
    keys: Annotated[tuple[str, ...], Field(min_length=1)]
    values: Annotated[tuple[Any, ...], Field(min_length=1)]


class Measuring(Section):
    """How a stream of tasks is learned and looked at (`nesypr study capacity`)."""

    checkpoint_tasks: Positive = Field(60, description="Tasks between two looks at the model.")
    steps_a_task: Annotated[float, Field(gt=0.0)] = Field(
        2.5, description="Distillation steps for each task of the stream."
    )
    sample: Positive = Field(
        1024, description="Decisions, drawn from all tasks so far, that the book is measured with."
    )


class StudyPreset(Section):
    """A study's grid and how much of it there is."""

    base: str = Field(description="A configuration: a file, or a name in configs/.")
    changes: dict[str, Any] = Field(
        default_factory=dict, description="Dotted keys of the configuration and their values."
    )
    grid: tuple[Axis, ...] = ()
    beside: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Kinds outside the grid, by name, and their changes."
    )
    seeds: Positive = 1
    parallel: Positive = Field(1, description="Models distilled side by side.")
    processes: Positive = Field(1, description="That distil one model together.")
    traces: Positive = Field(1000, description="Planned tasks a domain.")
    tasks: Positive = Field(100, description="Held-out tasks a domain.")
    measuring: Measuring = Measuring()

    @model_validator(mode="after")
    def _has_models(self) -> StudyPreset:
        if not self.grid and not self.beside:
            raise ValueError("a study needs a grid, or models beside one: give one of them")
        names = [axis.name for axis in self.grid]
        if len(set(names)) != len(names):
            raise ValueError(f"the axes of a grid must have different names, but got {names}")
        return self
