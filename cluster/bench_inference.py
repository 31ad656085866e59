"""`nesypr bench inference`: two actors that share an inference actor, against models of their own.

Real runs on this machine (as `nesypr bench actors`), with the default model and with one that is
8 layers deep and 512 wide. All models are on processors, which the inference actor takes from the
actors: what sharing gains on a GPU cannot be seen here. Runs alternate; medians.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from typing import Any

from cluster.bench_actors import acting_run
from cluster.cast import REAL_ACTORS
from cluster.fleet_meter import measure_run

ACTORS = 2
PAIRS = 2
SECONDS, WARM_S = 15.0, 5.0
MODELS: dict[str, Mapping[str, Any]] = {
    "default": {},
    "wide": {"layers": 8, "width": 512, "heads": 8, "feed_forward": 1536},
}


def bench_inference() -> dict[str, Any]:
    """Episodes/s by model and by who runs it, `PAIRS` times in turn."""
    rows: list[dict[str, Any]] = []
    for name, model in MODELS.items():
        rates: dict[str, list[float]] = {"own": [], "shared": []}
        cores: dict[str, Mapping[str, float]] = {}
        loads = []
        for _ in range(PAIRS):
            for inference, found in rates.items():
                run = acting_run(ACTORS, {"inference": inference}, model)
                measured = measure_run(run, SECONDS, WARM_S, REAL_ACTORS)
                found.append(measured.episodes_a_s)
                cores[inference] = measured.cores
                loads.append(measured.load)
        ratios = [shared / own for own, shared in zip(rates["own"], rates["shared"], strict=True)]
        rows.append(
            {
                "model": name,
                "own_episodes_a_s": statistics.median(rates["own"]),
                "shared_episodes_a_s": statistics.median(rates["shared"]),
                "ratio": statistics.median(ratios),
                "ratio_least": min(ratios),
                "ratio_most": max(ratios),
                "own_actors_cores": cores["own"].get("actors", 0.0),
                "shared_actors_cores": cores["shared"].get("actors", 0.0),
                "shared_inference_cores": cores["shared"].get("inference", 0.0),
                "load_most": max(loads),
            }
        )
    return {"actors": ACTORS, "pairs": PAIRS, "cores": os.cpu_count(), "models": rows}
