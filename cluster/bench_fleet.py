"""`nesypr bench fleet`: a run's episodes/s with 1, 4, 16, … 512 actors that are stand-ins.

Real: the driver (controller, dispatcher, supervisor, fleet, link to the learner, metrics log,
TensorBoard, gauges), Ray between it and the processes of the stand-ins, the server, every push,
plan request, replica and fetch of weights, the learner with its teacher. Simulated: an actor's
time (`cluster.stand_ins`), many actors in a process, and nodes, of which `A_NODE` actors share a
replica. The learner distils one step a version, so that the two cores of a small machine are left
to what is measured; the processor time of its own host in a real fleet is not.

An actor's pace is that of a pretrained LM on a processor core or of a small one that acts many
tasks: `Pace`. Linear is the rate of one actor, times their number. Where the curve leaves it, the
part that takes all that it can take is named: driver, server and learner have one core each.

`NESYPR_BENCH_FLEET=1,16,256` for other numbers, `NESYPR_BENCH_FLEET_SVG=FILE` for the plot.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cluster.bench_fleet_figure import draw_scaling
from cluster.cast import Cast
from cluster.fleet_meter import Measured, measure_run
from cluster.stand_ins import Pace, StandInHandle, StandInProcesses
from configs.schema import RunConfig

ACTORS = (1, 4, 16, 64, 128, 256, 512)
A_NODE = 16
PROCESSES = 2
SECONDS, WARM_S = 30.0, 5.0
PACE = Pace()
REQUEST_TASKS = 32
BUSY = 0.85
"""A part with one core that takes so much of it is what the fleet waits for."""
QUEUE = 2.0
"""So many that run or wait to run, for each core, and the cores are what is waited for."""
_ONE_CORE = ("driver", "server", "learner")  # the last with the teacher's thread


def bench_fleet() -> dict[str, Any]:
    """A row for each number of actors; what saturates first; costs an episode at the largest."""
    wanted = os.environ.get("NESYPR_BENCH_FLEET")
    numbers = tuple(int(one) for one in wanted.split(",")) if wanted else ACTORS
    rows: list[dict[str, Any]] = []
    for actors in numbers:
        measured = measure_run(_config(actors), SECONDS, WARM_S, _cast(actors))
        rows.append(_row(actors, measured, rows))
    svg = os.environ.get("NESYPR_BENCH_FLEET_SVG")
    if svg:
        draw_scaling(rows, Path(svg))
    mean = (PACE.decisions[0] + PACE.decisions[1]) / 2
    return {
        "actors": rows,
        "saturated": saturated(rows),
        "decisions_an_episode": mean,
        "round_s": PACE.round_s,
        "actors_a_node": A_NODE,
        "request_tasks": REQUEST_TASKS,
        "cores": os.cpu_count(),
        "seconds": SECONDS,
    }


def saturated(rows: list[dict[str, Any]]) -> str:
    """What held back the first number of actors that stayed below 0.9 of linear, in words."""
    for row in rows:
        if row["of_linear"] >= 0.9:
            continue
        busy = [part for part in _ONE_CORE if row["cores"].get(part, 0.0) >= BUSY]
        cores = os.cpu_count() or 1
        queue = row["load"] >= QUEUE * cores
        if not busy and (row["all_cores"] >= BUSY * cores or queue):
            most = max(row["cores"], key=row["cores"].__getitem__)
            busy = [
                f"the {cores} cores of this machine, {row['all_cores']:.2f} of them taken at a "
                f"load of {row['load']:.1f}, {row['cores'][most]:.2f} by the {most}"
            ]
        what = " and ".join(busy) or f"nothing of its own (load {row['load']:.1f} on this machine)"
        return f"{row['actors']} actors: {what}"
    return "nothing: all within 0.9 of linear"


def _row(actors: int, measured: Measured, before: list[dict[str, Any]]) -> dict[str, Any]:
    rate = measured.episodes_a_s
    alone = before[0]["episodes_a_s"] / before[0]["actors"] if before else rate / actors
    server = measured.server_a_s
    return {
        "actors": actors,
        "episodes_a_s": rate,
        "of_linear": rate / (alone * actors),
        "versions": measured.versions,
        "all_cores": measured.all_cores,
        "driver_ms_an_episode": 1e3 * measured.cores.get("driver", 0.0) / rate,
        "server_ms_an_episode": 1e3 * measured.cores.get("server", 0.0) / rate,
        "commands_an_episode": server["commands"] / rate,
        "bytes_in_an_episode": server["bytes_in"] / rate,
        "bytes_out_an_episode": server["bytes_out"] / rate,
        "load": measured.load,
        "cores": {part: round(spent, 3) for part, spent in measured.cores.items()},
    }


def _cast(actors: int) -> Cast:
    stand_ins = StandInProcesses(min(PROCESSES, actors), actors, A_NODE, PACE)
    return Cast(ask=lambda name, setting, _need, _node: stand_ins.handle(name, setting), end=_end)


def _end(handle: StandInHandle) -> None:
    """Nothing: its process ends with the run."""


def _config(actors: int) -> RunConfig:
    """A run whose stream outlasts the measurement; its planner knows all tasks soon."""
    rate = actors * REQUEST_TASKS / (PACE.round_s * PACE.decisions[1] / 2)
    tasks = 1000 + int(4 * rate * (SECONDS + WARM_S + 30.0))
    return RunConfig.model_validate(
        {
            "name": f"fleet-{actors}",
            "stream": {
                "probe_tasks": 1,
                "phases": [
                    {
                        "name": "all",
                        "tasks": tasks,
                        "domains": [{"name": "blocks", "source": "files"}],
                    }
                ],
            },
            "rendering": {"objects_per_type": 20},
            "model": {"layers": 2, "memory": {"layer": 1, "use": "procedure"}},
            "acting": {
                "actors": actors,
                "cpus": 0.0,
                "episodes": REQUEST_TASKS,
                "request_tasks": REQUEST_TASKS,
                "request_deadline_s": 120.0,
            },
            "shared_memory": {"replica": "process"},
            "teacher": {"time_limit_s": 2.0},
            "distillation": {
                "batch_traces": 4,
                "steps_per_version": 1,
                "min_new_traces": 1,
                "max_wait_s": 1.0,
                "tasks_per_version": actors * REQUEST_TASKS,
            },
            "monitoring": {"dashboard": False},
        }
    )
