"""What the learner teaches: the small interface of a student, and what a version's steps gave.

`LearnerService` knows the small LM only through this, so that its protocol is tested with a
student that learns nothing. The real one is `learner.distilled_lm.DistilledLM`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared_memory.records import Trace


@dataclass(frozen=True, slots=True)
class RoundStatistics:
    """Means and sums over the steps of one version. Code figures are over its decisions."""

    steps: int  # optimiser steps in all, since the run's first start
    loss: float = 0.0  # cross-entropy a token, mean over the version's steps
    commitment: float = 0.0
    learning_rate: float = 0.0
    gradient_norm: float = 0.0
    tokens: int = 0  # padding not counted
    seconds: float = 0.0  # spent in distillation steps
    codes: int = 0  # K
    codes_used: int = 0
    codes_dead: int = 0
    codes_revived: int = 0
    perplexity: float = 0.0  # exp(-sum p log p) over codes
    quantisation_error: float = 0.0  # mean |M-R|^2 / mean |M|^2
    quantisation_error_new: float | None = None  # over traces of the newest phase
    quantisation_error_old: float | None = None  # over replayed traces of phases before it


class Student(Protocol):
    """A model that distils traces."""

    @property
    def parameters(self) -> int:
        """How many numbers the model consists of, codes included."""

    def step(self, traces: Sequence[Trace]) -> Sequence[float]:
        """Take one distillation step; what share of each trace's decisions was right before it."""

    def round_statistics(self) -> RoundStatistics:
        """What the steps since the last call gave; begins a new window."""

    def weights(self, version: int) -> bytes:
        """The model as actors load it, under this version."""

    def files(self) -> Mapping[str, bytes]:
        """Everything that a checkpoint must keep: file name → content."""

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Go on from a checkpoint's files."""

    def adopt(self, payload: bytes, steps: int) -> None:
        """Take over published weights that are newer than the checkpoint, after `steps` steps."""
