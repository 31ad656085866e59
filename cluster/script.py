"""What a run does, in order: a probe, then for each phase of the stream its tasks and a probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cluster.observer import ProbeMode


@dataclass(frozen=True, slots=True)
class Stage:
    """One step: act a phase's tasks, or probe held-out tasks after a phase (-1: before any)."""

    kind: Literal["probe", "act"]
    phase: int


class Script:
    """The stages of a stream with so many phases; without `memory` there is none to exchange."""

    def __init__(self, phases: int, memory: bool = True) -> None:
        self.phases = phases
        self.memory = memory
        stages = [Stage("probe", -1)]
        for phase in range(phases):
            stages += [Stage("act", phase), Stage("probe", phase)]
        self.stages: tuple[Stage, ...] = tuple(stages)

    def __len__(self) -> int:
        return len(self.stages)

    def at(self, number: int) -> Stage:
        """Stage `number`; the last one for all numbers past the end."""
        return self.stages[min(number, len(self.stages) - 1)]

    def probe_modes(self, stage: Stage) -> tuple[ProbeMode, ...]:
        """How held-out tasks are tried: free always; restricted before learning and at the end;
        with exchanged procedures and without banks at the end, where there are procedures."""
        if stage.phase < 0:
            return ("free", "restricted")
        if stage.phase == self.phases - 1:
            return ("free", "restricted", *(("exchanged", "silent") if self.memory else ()))
        return ("free",)

    def probe_phases(self, stage: Stage) -> Sequence[int]:
        """Whose held-out tasks are tried: of all phases before learning, then of those so far and
        the next one, for forward transfer."""
        return range(self.phases if stage.phase < 0 else min(self.phases, stage.phase + 2))
