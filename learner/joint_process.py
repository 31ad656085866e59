"""One of the processes that distil together: python -m learner.joint_process SETTING RANK MEETING.

Started by `learner.joint_distillation` only.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
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

FLOOR = 0.1
"""What is added to each domain's share of wrong answers when domains are drawn."""

MEMORY = 0.98
"""Decay of the running means of each domain's share of right answers."""


class Curriculum:
    """Draws domains, and traces of them: a domain by its share of wrong answers plus `FLOOR`."""

    def __init__(self, traces: Sequence[Trace], generator: np.random.Generator) -> None:
        self._by_domain: Mapping[str, list[Trace]] = defaultdict(list)
        for trace in traces:
            self._by_domain[trace.domain].append(trace)
        self._generator = generator
        self.exact = dict.fromkeys(sorted(self._by_domain), 0.0)

    def draw(self, count: int) -> list[Trace]:
        """A batch of traces."""
        weights = np.array([1 - exact + FLOOR for exact in self.exact.values()])
        chosen = self._generator.choice(len(weights), count, p=weights / weights.sum())
        pools = [self._by_domain[domain] for domain in self.exact]
        return [pools[k][self._generator.integers(len(pools[k]))] for k in chosen]

    def learn(self, traces: Sequence[Trace], exact: Sequence[float]) -> None:
        """What share of each trace's decisions was answered right."""
        found: dict[str, list[float]] = defaultdict(list)
        for trace, share in zip(traces, exact, strict=True):
            found[trace.domain].append(share)
        for domain, shares in found.items():
            old = self.exact[domain]
            self.exact[domain] = MEMORY * old + (1 - MEMORY) * float(np.mean(shares))


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
    traces = read_traces(folder / TRACES_FILE)
    curriculum = Curriculum(traces, named_generator(setting.seed, f"curriculum {rank}"))
    began, tokens, losses = time.monotonic(), 0, list[float]()
    for step in range(1, setting.distillation.total_steps + 1):
        batch = curriculum.draw(setting.distillation.batch_traces)
        statistics = student.distiller.step(batch)
        curriculum.learn(batch, statistics.exact_of)
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
