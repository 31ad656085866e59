"""`nesypr bench actors`: episodes/s of real runs with one actor and with two, on this machine.

Everything is real. The model has the default size and is hardly taught (one step in half a
minute), and the tasks are so small that the teacher soon knows most of them: the cores are left to
the actors. What is asked is how acting scales, on a machine with two cores and nothing else to do.
Runs alternate; medians, and the ratio of each pair. Beside it stands what the machine's cores give
to two processes that only multiply matrices, against one: no two actors can do better than that.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from cluster.cast import REAL_ACTORS
from cluster.fleet_meter import measure_run
from configs.schema import RunConfig

PAIRS = 3
SECONDS, WARM_S = 30.0, 10.0
REQUEST_TASKS = 64
NOTHING: Mapping[str, Any] = {}


_MULTIPLY = """
import time, torch
torch.set_num_threads(1)
a, count, until = torch.randn(64, 128) @ torch.eye(128), 0, time.monotonic() + {seconds}
b = torch.randn(128, 128)
while time.monotonic() < until:
    for _ in range(100): torch.relu(a @ b)
    count += 100
print(count)
"""
BARE_S, BARE_DEADLINE_S = 5.0, 60.0


def bare_ratio() -> float:
    """Products/s of two processes of one thread, against one process."""
    return _products(2) / _products(1)


def _products(processes: int) -> int:
    words = [sys.executable, "-c", _MULTIPLY.format(seconds=BARE_S)]
    started = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    try:
        return sum(int(process.communicate(timeout=BARE_DEADLINE_S)[0]) for process in started)
    finally:
        for process in started:
            process.kill()


def bench_actors() -> dict[str, Any]:
    """Episodes/s with 1 and 2 actors, `PAIRS` times in turn."""
    found: dict[int, list[float]] = {1: [], 2: []}
    cores: dict[int, dict[str, float]] = {}
    loads = []
    for _ in range(PAIRS):
        for actors, rates in found.items():
            measured = measure_run(acting_run(actors), SECONDS, WARM_S, REAL_ACTORS)
            rates.append(measured.episodes_a_s)
            cores[actors] = dict(measured.cores)
            loads.append(measured.load)
    ratios = [two / one for one, two in zip(found[1], found[2])]
    return {
        "one_actor_episodes_a_s": statistics.median(found[1]),
        "two_actors_episodes_a_s": statistics.median(found[2]),
        "ratio": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
        "bare_ratio": statistics.median(bare_ratio() for _ in range(PAIRS)),
        "cores_with_one": {part: round(spent, 3) for part, spent in cores[1].items()},
        "cores_with_two": {part: round(spent, 3) for part, spent in cores[2].items()},
        "cores": os.cpu_count(),
        "load_most": max(loads),
    }


def acting_run(
    actors: int, acting: Mapping[str, Any] = NOTHING, model: Mapping[str, Any] = NOTHING
) -> RunConfig:
    """A run that acts much and learns little; `acting` and `model` change those sections."""
    return RunConfig.model_validate(
        {
            "name": f"actors-{actors}",
            "stream": {
                "probe_tasks": 4,
                "step_limit": 12,
                "phases": [
                    {
                        "name": "all",
                        "tasks": 200_000,
                        "domains": [
                            {"name": "blocks", "size": {"blocks": [3, 3]}},
                            {"name": "gripper", "size": {"balls": [2, 2]}},
                        ],
                    }
                ],
            },
            "acting": {
                "actors": actors,
                "cpus": 1.0,
                "episodes": 32,
                "request_tasks": REQUEST_TASKS,
                "restrict": True,
                **acting,
            },
            "model": dict(model),
            "distillation": {
                "batch_traces": 4,
                "steps_per_version": 1,
                "min_new_traces": 1,
                "max_wait_s": 30.0,
                "tasks_per_version": 64 * REQUEST_TASKS,
            },
            "monitoring": {"dashboard": False},
        }
    )
