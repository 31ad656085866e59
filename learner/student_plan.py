"""From what a student is made, in the learner's process or in those of several learners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from configs.schema import DistillationConfig, ModelConfig, RenderingConfig

if TYPE_CHECKING:
    from learner.distilled_lm import DistilledLM


@dataclass(frozen=True, slots=True)
class StudentPlan:
    """Equal plans make equal students."""

    model: ModelConfig
    domains: tuple[str, ...]
    rendering: RenderingConfig
    distillation: DistillationConfig
    seed: int

    def make(self) -> DistilledLM:
        """The student, on a GPU where the plan has one for it; one torch thread is the caller's
        to set. Takes seconds."""
        from learner.distilled_lm import DistilledLM  # torch, only where a student is made
        from tasks.domains import get_domain
        from tasks.rendering import Rendering

        rendering = Rendering([get_domain(name) for name in self.domains], self.rendering)
        device = "cuda" if self.distillation.learner_gpus else "cpu"
        return DistilledLM(self.model, rendering, self.distillation, self.seed, device=device)
