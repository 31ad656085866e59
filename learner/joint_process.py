"""One of the processes that distil together: python -m learner.joint_process SETTING RANK MEETING.

Started by `learner.joint_distillation` only.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import distributed

from learner.curriculum import Curriculum, single, single_decisions
from learner.distilled_lm import DistilledLM
from learner.joint_distillation import MODEL_FILE, TRACES_FILE, JointProgress, JointSetting
from learner.replay import named_generator
from learner.trace_file import read_traces
from tasks.domains import get_domain
from tasks.rendering import Rendering

DEADLINE = timedelta(seconds=300)
"""How long a process waits for the others."""


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
    student = DistilledLM(setting.model, rendering, setting.distillation, setting.seed, stream=rank)
    traces, count = read_traces(folder / TRACES_FILE), setting.distillation.batch_traces
    if single(setting.rendering, setting.distillation):
        traces = [decision for trace in traces for decision in single_decisions(trace)]
        count *= setting.distillation.decisions
    curriculum = Curriculum(traces, named_generator(setting.seed, f"curriculum {rank}"))
    began, tokens, losses = time.monotonic(), 0, list[float]()
    for step in range(1, setting.distillation.total_steps + 1):
        drawn = curriculum.draw(count)
        statistics = student.distiller.step([traces[number] for number in drawn])
        curriculum.learn(drawn, statistics.exact_of)
        tokens += statistics.tokens
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
