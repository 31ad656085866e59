"""Mending: what failed with just this procedure is answered less readily the next time (ours).

The policy is a function of its procedure: in a second attempt it computes the same R, whose
nearest entry in M- is R itself, so that R- = R and the paper's contrast changes nothing. What the
banks know besides is the action that was tried and what came of it. An action counts as failed
where the simulator refused it, or where failed episodes came back to it: all decisions of a failed
episode are in M-, the right ones too, so that once is no evidence. What has succeeded with this
procedure is never blamed. Pure functions, no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

REFUSAL = 10
"""As many failures does a refusal count for: it would be refused again."""


class CountsLike(Protocol):
    """How often a bank was given an action with a procedure."""

    @property
    def times(self) -> int:
        """All in all."""

    @property
    def refused(self) -> int:
        """Of these, refused by the simulator (or no action at all)."""


@dataclass(frozen=True, slots=True)
class Past:
    """What was tried before with a decision's own procedure, by action."""

    succeeded: Mapping[str, CountsLike] = field(default_factory=dict)
    failed: Mapping[str, CountsLike] = field(default_factory=dict)
    here: Mapping[str, int] = field(default_factory=dict)  # times in this very episode

    def failures(self, action: str) -> int:
        """How much speaks against an action; 0 for one that is new or has succeeded.

        What was done in this episode and led back to the same procedure counts even so.
        """
        found = REFUSAL * self.here.get(action, 0)
        good, bad = self.succeeded.get(action), self.failed.get(action)
        if good is not None:
            return found + REFUSAL * (good.refused == good.times)
        if bad is not None:
            return found + bad.times - 1 + REFUSAL * bad.refused
        return found


class AnswerLike(Protocol):
    """A candidate for a decision's answer."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Without `<end>`."""

    @property
    def log_probability(self) -> float:
        """By the small LM."""


_Answer = TypeVar("_Answer", bound=AnswerLike)


def best_answer(
    likely: Sequence[_Answer], actions: Sequence[str], past: Past, weight: float
) -> _Answer:
    """The answer with the highest log p - weight · log(1 + failures); `actions` are their texts.

    Of equal ones the first. `likely` must not be empty.
    """
    scores = [
        answer.log_probability - weight * math.log1p(past.failures(action))
        for answer, action in zip(likely, actions, strict=True)
    ]
    return likely[max(range(len(scores)), key=lambda place: scores[place])]
