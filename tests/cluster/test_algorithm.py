"""The RLlib shell around real runs: training, callbacks, checkpoints, Tune."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.ray_session import RaySession

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # RLlib's own imports
    from ray.rllib.callbacks.callbacks import RLlibCallback

    from cluster.algorithm import Nesypr, NesyprConfig

pytestmark = pytest.mark.filterwarnings("default")  # RLlib and Tune warn of themselves
TINY = [
    "stream.probe_tasks=4",
    "acting.request_tasks=8",
    "distillation.tasks_per_version=8",
    "distillation.min_new_traces=2",
    "distillation.max_wait_s=0.5",
    "distillation.steps_per_version=1",
]


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    with RaySession(None, 5.0):
        yield


def configuration(root: Path, tasks: int = 16) -> NesyprConfig:
    smoke = Path(__file__).resolve().parents[2] / "configs" / "smoke.yaml"
    config = NesyprConfig().nesypr(
        run_config=smoke, overrides=[*TINY, f"folder={root}", "name=shell"]
    )
    values = config.run_config().model_dump(mode="json")
    values["stream"]["phases"] = [values["stream"]["phases"][0] | {"tasks": tasks}]
    return config.nesypr(run_config=values, overrides=[])


class Remember(RLlibCallback):
    """Counts what RLlib calls."""

    def on_algorithm_init(self, *, algorithm: Any, **rest: Any) -> None:
        algorithm.seen = ["init"]

    def on_train_result(self, *, algorithm: Any, result: dict[str, Any], **rest: Any) -> None:
        algorithm.seen.append("result")
        result["marked"] = 1


@pytest.mark.timeout(170)
def test_trains_calls_back_saves_and_restores(ray_session: None, tmp_path: Path) -> None:
    algorithm = configuration(tmp_path / "runs").callbacks(Remember).build_algo()
    try:
        first = algorithm.train()
        assert first["marked"] == 1
        assert first["nesypr"]["probe_csr_0_restricted"] >= 0.0
        second = algorithm.train()
        assert second["nesypr"]["tasks"] >= 8
        assert second["env_runners"]["num_episodes"] == second["nesypr"]["tasks"]
        assert algorithm.seen == ["init", "result", "result"]
        done = algorithm.run.dispatcher.finished
        saved = algorithm.save_to_path(str(tmp_path / "saved"))
        algorithm.restore_from_path(saved)
        assert algorithm.iteration == 2
        assert algorithm.run.folder.name.startswith("shell-restored")
        assert algorithm.run.dispatcher.finished >= done  # what ran meanwhile counts
        while not algorithm.finished:
            algorithm.train()
        assert algorithm.run.dispatcher.finished == 16
        restored = algorithm.run.folder.path
    finally:
        algorithm.stop()
    events = [json.loads(line) for line in (restored / "metrics.jsonl").read_text().splitlines()]
    last = events[-1]
    assert last["event"] == "run_finished"
    assert last["outcome"] == "finished"
    assert last["accounting"]["closes"]


@pytest.mark.timeout(170)
def test_tune_runs_trials(ray_session: None, tmp_path: Path) -> None:
    from ray import tune

    tuner = tune.Tuner(
        Nesypr,
        param_space=configuration(tmp_path / "runs", tasks=8).to_dict(),
        run_config=tune.RunConfig(
            stop={"training_iteration": 20}, storage_path=str(tmp_path / "tune"), verbose=0
        ),
    )
    (result,) = tuner.fit()
    assert result.error is None
    assert result.metrics is not None
    assert result.metrics["nesypr"]["tasks_done"] == 8
    assert result.metrics["training_iteration"] < 20  # ended with the stream


def test_a_mapping_and_overrides_make_a_configuration(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    assert config.run_config().acting.request_tasks == 8
    changed = config.copy(copy_frozen=False).nesypr(overrides=["acting.actors=3"])
    assert changed.run_config().acting.actors == 3
    bundles = Nesypr.default_resource_request(changed).bundles
    assert len(bundles) == 2 + 3
    changed = config.copy(copy_frozen=False).nesypr(overrides=["distillation.learners=2"])
    assert len(Nesypr.default_resource_request(changed).bundles) == 2 + 2 + 1
