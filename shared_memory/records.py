"""The records that machines exchange through shared memory.

Plain immutable values; `codec` turns them into msgpack with a schema version and limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint16]
"""A procedure: n code indices. Shape (n,)."""

Sign: TypeAlias = Literal["success", "failure"]
"""Which bank: M+ of successful episodes or M- of failed ones."""

SIGNS: tuple[Sign, Sign] = ("success", "failure")


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of an episode with the procedure that the policy used for it."""

    number: int
    codes: Codes  # (n,); (0,) while the book is not in use: no procedure for a bank
    action: str  # as answered, in the names of the prompt, even if it is no action at all
    accepted: bool
    prompt_tokens: tuple[int, ...]  # all tokens that the memory was written from


@dataclass(frozen=True, slots=True)
class Episode:
    """A finished episode: everything that shared memory keeps or counts of it."""

    episode: int  # the run's running number, given by the driver; unique
    task_index: int  # position in the stream
    task_digest: str
    domain: str
    phase: int
    book_version: int  # acted with
    success: bool
    conditions_met: int
    conditions: int
    steps: int
    decisions: tuple[Decision, ...]
    actor: str
    seconds: float
    hits_success: int  # decisions for which something in M+ passed υ
    hits_failure: int
    fault: str = ""  # what the simulator did wrong, where that ended the episode
    near: tuple[str, ...] = ()  # of one to be looked at: which banks had something near a decision
    alone: tuple[str, ...] = ()  # and what its answer would have been without them, where known

    @property
    def procedures(self) -> int:
        """How many of its decisions have a procedure."""
        return sum(len(decision.codes) > 0 for decision in self.decisions)


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """A task that the teacher is asked to plan for."""

    task_index: int
    task_digest: str
    domain: str
    phase: int
    problem: str
    origin: str
    failed: bool  # the policy failed it: its trace is to be distilled


@dataclass(frozen=True, slots=True)
class Trace:
    """A teacher's validated plan as text: prompt, then an observation and an action a decision."""

    task_index: int
    task_digest: str
    domain: str
    phase: int
    teacher: str
    prompt: str
    observations: tuple[str, ...]  # shown before each action; the first is "" (in the prompt)
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanOutcomeRecord:
    """What became of one plan request: an event for the driver's accounting."""

    task_index: int
    task_digest: str
    domain: str
    phase: int
    planner: str
    status: str  # solved | unsolvable | timeout | out_of_memory | error
    cost: int  # length of the plan; -1 where there is none
    seconds: float
    failed: bool  # the policy had failed the task
    traced: bool  # a trace was queued for the learner
    cached: bool = False  # an earlier answer for the same task: no planner ran, and `seconds` is 0


@dataclass(frozen=True, slots=True)
class BankEntry:
    """A procedure in a bank, as it was when it was admitted."""

    codes: Codes  # (n,)
    action: str
    success: bool
    domain: str
    phase: int
    task_index: int
    task_digest: str
    episode: int
    decision: int
    book_version: int
    accepted: bool
    prompt_tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EntryOrigin:
    """What entries of a bank that come from one episode have in common."""

    success: bool
    domain: str
    phase: int
    task_index: int
    task_digest: str
    episode: int
    tokens: tuple[int, ...]  # of their prompts; one that continues the last shares its tokens
