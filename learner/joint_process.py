"""One of the processes that distil together: python -m learner.joint_process SETTING RANK MEETING.

Started by `learner.joint_distillation` only.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import distributed

from learner.distilled_lm import DistilledLM
from learner.joint_distillation import MODEL_FILE, TRACES_FILE, JointProgress, JointSetting
from learner.replay import named_generator
from learner.trace_file import read_traces
from shared_memory.records import Trace
from tasks.domains import get_domain
from tasks.rendering import Rendering

DEADLINE = timedelta(seconds=300)
"""How long a process waits for the others."""

FLOOR = 0.02
"""What is added to each domain's share of wrong answers when domains are drawn."""

HARD = 1 / 3
"""Share of a domain's draws that go to what was answered wrong when it was last drawn."""

MEMORY = 0.98
"""Decay of the running means of each domain's share of right answers."""


class Curriculum:
    """Draws domains by their share of wrong answers plus a floor, and traces of them **(ours)**.

    Most traces are drawn evenly, and `HARD` of them by how wrong they were answered last: what is
    rare in a domain that is else solved (picking up a second newspaper) comes often enough.
    """

    def __init__(self, traces: Sequence[Trace], generator: np.random.Generator) -> None:
        self._by_domain: Mapping[str, list[int]] = defaultdict(list)
        for number, trace in enumerate(traces):
            self._by_domain[trace.domain].append(number)
        self._traces = traces
        self._generator = generator
        self._wrong = np.ones(len(traces))  # by number, when last drawn; before, all of it
        self.exact = dict.fromkeys(sorted(self._by_domain), 0.0)

    def draw(self, count: int) -> list[int]:
        """The numbers of a batch's traces, domain by domain."""
        weights = np.array([1 - exact + FLOOR for exact in self.exact.values()])
        counts = self._generator.multinomial(count, weights / weights.sum())
        drawn: list[int] = []
        for domain, some in zip(self.exact, counts, strict=True):
            numbers = self._by_domain[domain]
            wrong = self._wrong[numbers]
            hard = self._generator.binomial(some, HARD) if wrong.any() else 0
            drawn += self._generator.choice(numbers, some - hard).tolist()
            if hard:
                drawn += self._generator.choice(numbers, hard, p=wrong / wrong.sum()).tolist()
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


def single_decisions(trace: Trace) -> list[Trace]:
    """A trace whose every observation is a prompt anew, as traces of one decision each."""
    prompts = (trace.prompt, *trace.observations[1:])
    return [
        replace(trace, prompt=prompt, observations=("",), actions=(action,))
        for prompt, action in zip(prompts, trace.actions, strict=True)
    ]


def main(setting: JointSetting, rank: int, meeting: str) -> None:
    """Distil all steps; the first process reports, and saves the model."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=setting.processes,
        timeout=DEADLINE,
    )
    folder = Path(setting.folder)
    rendering = Rendering([get_domain(name) for name in setting.domains], setting.rendering)
    student = DistilledLM(setting.model, rendering, setting.distillation, setting.seed)
    traces, count = read_traces(folder / TRACES_FILE), setting.distillation.batch_traces
    if setting.rendering.observation == "prompt" and setting.distillation.decisions:
        traces = [decision for trace in traces for decision in single_decisions(trace)]
        count *= setting.distillation.decisions
    curriculum = Curriculum(traces, named_generator(setting.seed, f"curriculum {rank}"))
    began, tokens, losses = time.monotonic(), 0, list[float]()
    for step in range(1, setting.distillation.total_steps + 1):
        drawn = curriculum.draw(count)
        statistics = student.distiller.step([traces[number] for number in drawn])
        curriculum.learn(drawn, statistics.exact_of)
        tokens += statistics.tokens * setting.processes
        losses.append(statistics.loss)
        if step % setting.report_every == 0 or step == setting.distillation.total_steps:
            book = student.model.book.statistics()
            student.model.book.start_window()
            if rank == 0:
                progress = JointProgress(
                    step,
                    time.monotonic() - began,
                    float(np.mean(losses)),
                    tokens,
                    curriculum.exact,
                    book.used,
                    book.perplexity,
                    book.quantisation_error,
                )
                sys.stdout.write(json.dumps(asdict(progress)) + "\n")
                sys.stdout.flush()
            losses = []
    if rank == 0:
        (folder / MODEL_FILE).write_bytes(student.weights(1))
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(JointSetting.model_validate_json(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
