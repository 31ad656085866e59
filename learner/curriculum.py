"""What is drawn to be distilled: evenly at first, later also by what was answered wrong **(ours)**.

What is rare in a domain that is else solved (picking up a second newspaper while one is carried)
comes too seldom to be learned where all is drawn evenly: three domains of 91, 71 and 65 % became
100, 99 and 100 % with the same number of steps, there with a constant third. While most is wrong,
even draws are better (docs/log.md).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from configs.schema import DistillationConfig, RenderingConfig
from shared_memory.records import Trace

HARD = 1 / 3
"""Share of the draws that go to what was answered wrong when it was last drawn, once nearly all is
right; before, this times the square of the share that is right."""

FLOOR = 0.02
"""What is added to each domain's share of wrong answers when domains are drawn."""

MEMORY = 0.98
"""Decay of the running means of each domain's share of right answers."""


def draw(wrong: npt.NDArray[np.float64], count: int, generator: np.random.Generator) -> list[int]:
    """`count` positions of `wrong` (N,), N ≥ 1: how wrong each was answered last, 1 if never."""
    right = 1 - float(wrong.mean())
    hard = int(generator.binomial(count, HARD * right**2)) if wrong.any() else 0
    drawn: list[int] = generator.choice(len(wrong), count - hard).tolist()
    if hard:
        drawn += generator.choice(len(wrong), hard, p=wrong / wrong.sum()).tolist()
    return drawn


def single(rendering: RenderingConfig, distillation: DistillationConfig) -> bool:
    """Whether decisions are drawn one by one.

    So they are where every observation is a prompt anew, that is each decision is read from a
    text of its own, and not all of a trace's decisions are wanted together.
    """
    return rendering.observation == "prompt" and distillation.decisions > 0


def single_decisions(trace: Trace) -> list[Trace]:
    """A trace whose observations are prompts anew, as traces of one decision each."""
    prompts = (trace.prompt, *trace.observations[1:])
    return [
        replace(trace, prompt=prompt, observations=("",), actions=(action,))
        for prompt, action in zip(prompts, trace.actions, strict=True)
    ]


class Curriculum:
    """Draws domains by their share of wrong answers plus `FLOOR`, and traces of them by `draw`."""

    def __init__(self, traces: Sequence[Trace], generator: np.random.Generator) -> None:
        by_domain: Mapping[str, list[int]] = defaultdict(list)
        for number, trace in enumerate(traces):
            by_domain[trace.domain].append(number)
        self._by_domain = {name: np.array(by_domain[name]) for name in sorted(by_domain)}
        self._traces = traces
        self._generator = generator
        self._wrong = np.ones(len(traces))
        self.exact = dict.fromkeys(self._by_domain, 0.0)

    def draw(self, count: int) -> list[int]:
        """The numbers of a batch's traces, domain by domain."""
        weights = np.array([1 - exact + FLOOR for exact in self.exact.values()])
        counts = self._generator.multinomial(count, weights / weights.sum())
        drawn: list[int] = []
        for numbers, some in zip(self._by_domain.values(), counts, strict=True):
            places = draw(self._wrong[numbers], int(some), self._generator)
            drawn += numbers[places].tolist()
        return drawn

    def learn(self, numbers: Sequence[int], exact: Sequence[float]) -> None:
        """What share of each drawn trace's decisions was answered right."""
        found: dict[str, list[float]] = defaultdict(list)
        for number, share in zip(numbers, exact, strict=True):
            found[self._traces[number].domain].append(share)
            self._wrong[number] = 1 - share
        for domain, shares in found.items():
            old = self.exact[domain]
            self.exact[domain] = MEMORY * old + (1 - MEMORY) * float(np.mean(shares))
