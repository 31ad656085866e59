"""What is written down at each look at a model that learns a stream, and about the whole of it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from cluster.grid_cells import KeptResult
from configs.schema import RunConfig
from configs.study_schema import Measuring


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StreamSetting(_Record):
    """All that a process needs to know which learns a stream with one model."""

    config: RunConfig  # with the model's own seed
    stream_seed: int  # tasks and names are the same for all models
    measuring: Measuring
    plans: str  # the file with the traces of the stream's tasks
    folder: str


class PhaseProbe(_Record):
    """A phase's held-out tasks, tried at one look."""

    phase: int
    tasks: int
    solved: int
    exchanged: int | None  # solved with another task's procedures; None: not tried
    emitted: int
    accepted: int


class BookFigures(_Record):
    """How the book serves a sample of decisions, in the teacher's own states."""

    decisions: int
    error: float  # Σ‖M_j - R_j‖² / Σ‖M_j‖²
    used: int  # codes
    perplexity: float
    procedures: int  # distinct R
    ceiling: float  # share that could be right, if each R always gave its most frequent answer
    right: float  # share answered exactly, word for word


class BankFigures(_Record):
    """M+ and M- together, since the stream's beginning but for `entries` and `unique`."""

    entries: int
    unique: int
    admitted: int
    duplicates: int
    retired: int


class Look(_Record):
    """A look at the model after so many tasks: with published (averaged) weights, before the
    tasks that come next are learned."""

    tasks: int
    phase: int  # of the tasks that come next; of the last ones, at the end
    steps: int
    quantised: bool
    loss: float | None  # cross-entropy a token, over the steps since the last look
    revived: int  # codes, since the last look
    old: BookFigures | None  # a sample of all tasks so far; None before the first
    new: BookFigures | None  # the tasks that come next, not learned yet; None at the end
    acted: int  # of the tasks that come next, those tried before they were learned
    acted_solved: int
    probes: tuple[PhaseProbe, ...]
    bank: BankFigures | None  # after these were tried; None where banks are off
    parameters: int  # trained numbers
    seconds: float  # since the model's beginning, resumed or not


class PhaseSpan(_Record):
    """A phase of the stream."""

    name: str
    start: int
    stop: int
    domains: tuple[str, ...]


class StreamResult(KeptResult):
    """What one model gave: KIND-seed-N.json."""

    values: dict[str, Any]  # of the grid's axes
    phases: tuple[PhaseSpan, ...]
    looks: tuple[Look, ...]
    traces: int  # tasks of the stream that have a plan
    hardware: str
    versions: dict[str, str]
