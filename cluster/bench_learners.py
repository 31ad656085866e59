"""`nesypr bench learners`: steps/s of two learners that share out each batch, against one.

Both learn the same batches: planners' plans for tasks of Blocks, Gripper, Ferry and Hanoi, `BATCH`
plans a batch, at several widths of the model. One learner is this process; two are those of RLlib's
LearnerGroup, with gloo, as `distillation.learners: 2` starts them. One torch thread each, none at
a lower priority. Steps are timed in turn on the same batch; medians over all of them. Two ratios:

- `ratio` of steps/s, by the clock: what this machine gave, with whatever else ran on it.
- `ratio_of_processor_time`: processor seconds of a step of one learner over those of the busier of
  the two: what two free cores could give at most, if exchanging cost no waiting.

`handing_out_ms` is what a step takes from here (traces to the processes, answers back) beside the
step itself, by the clock.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from cluster.bench_distil import make_traces
from cluster.bench_setting import SIZES, make_rendering, make_stream
from cluster.ray_session import RaySession
from configs.schema import DistillationConfig, ModelConfig, RenderingConfig
from learner.student_plan import StudentPlan
from shared_memory.records import Trace

LEARNERS = 2
BATCH = 64
BATCHES = 2
RUNS = 6
WIDTHS = (128, 256)


def bench_learners() -> dict[str, Any]:
    """Measure both at each width."""
    torch.set_num_threads(1)
    os.environ.setdefault("RAY_worker_niceness", "0")  # as this process, which is the other side
    stream = make_stream(BATCH * BATCHES)
    traces = make_traces(stream, make_rendering(stream))
    batches = [traces[start : start + BATCH] for start in range(0, len(traces), BATCH)]
    with RaySession(None, cpus=1.0 + LEARNERS):
        rows = [_measure(width, batches) for width in WIDTHS]
    return {
        "widths": rows,
        "learners": LEARNERS,
        "batch_traces": BATCH,
        "pairs": RUNS * len(batches),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def _measure(width: int, batches: Sequence[Sequence[Trace]]) -> dict[str, Any]:
    from learner.joint_student import JointStudent  # RLlib

    model = ModelConfig(width=width, feed_forward=3 * width)
    one, several = _plan(model, 1).make(), JointStudent(_plan(model, LEARNERS), "bench")
    try:
        for student in (one, several):
            student.step(batches[0])  # warm-up, and the k-means start
            student.round_statistics()
        alone, shared, alone_cpu, shared_cpu = [], [], [], []
        for _ in range(RUNS):
            for batch in batches:
                began, spent = time.perf_counter(), time.process_time()
                one.step(batch)
                alone.append(time.perf_counter() - began)
                alone_cpu.append(time.process_time() - spent)
                before, began = several.processor_seconds(), time.perf_counter()
                several.step(batch)
                shared.append(time.perf_counter() - began)
                after = several.processor_seconds()
                shared_cpu.append(max(b - a for a, b in zip(before, after)))
        inside = several.round_statistics()
        tokens = one.round_statistics().tokens / len(alone)
        return {
            "width": width,
            "parameters": one.parameters,
            "one_steps_a_s": 1 / statistics.median(alone),
            "several_steps_a_s": 1 / statistics.median(shared),
            "one_tokens_a_s": tokens / statistics.median(alone),
            "several_tokens_a_s": tokens / statistics.median(shared),
            "ratio": statistics.median(a / b for a, b in zip(alone, shared)),
            "ratio_least": min(a / b for a, b in zip(alone, shared)),
            "ratio_most": max(a / b for a, b in zip(alone, shared)),
            "ratio_of_processor_time": statistics.median(
                a / b for a, b in zip(alone_cpu, shared_cpu)
            ),
            "handing_out_ms": 1000 * (sum(shared) - inside.seconds) / len(shared),
        }
    finally:
        several.close()


def _plan(model: ModelConfig, learners: int) -> StudentPlan:
    return StudentPlan(
        model=model,
        domains=tuple(SIZES),
        rendering=RenderingConfig(),
        distillation=DistillationConfig(
            optimiser="muon", batch_traces=BATCH, learners=learners, request_deadline_s=300.0
        ),
        seed=0,
    )
