"""What one round of a run did: counted on the way, and reported at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class RoundTally:
    """What was counted since the round began."""

    tasks: int = 0
    solved: int = 0
    decisions: int = 0


@dataclass(frozen=True, slots=True)
class RoundReport:
    """What one round did, and where the run stands."""

    tasks: int  # finished in this round
    solved: int
    decisions: int
    seconds: float
    tasks_done: int  # in all
    tasks_in_all: int
    version: int
    phase: int
    finished: bool
    stopped: bool
    probe_csr: Mapping[str, float]  # "phase/mode" → CSR, of the probes of this round
