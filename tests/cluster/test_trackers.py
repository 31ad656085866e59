"""Weights & Biases and MLflow get a trial's figures through Tune's own callbacks."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from cluster.ray_session import RaySession

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("default"),  # RLlib, Tune and the trackers warn of themselves
]


def test_a_trial_is_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="needs `make extras`: wandb")
    mlflow = pytest.importorskip("mlflow", reason="needs `make extras`: mlflow-skinny")
    assert wandb.__version__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # RLlib's own imports
        from ray import tune
        from ray.air.integrations.mlflow import MLflowLoggerCallback
        from ray.air.integrations.wandb import WandbLoggerCallback

        from cluster.algorithm import Nesypr, NesyprConfig
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a server needs all of mlflow
    store = (tmp_path / "mlflow").as_uri()
    smoke = Path(__file__).resolve().parents[2] / "configs" / "smoke.yaml"
    config = NesyprConfig().nesypr(
        run_config=smoke, overrides=[f"folder={tmp_path / 'runs'}", "name=tracked"]
    )
    tuner = tune.Tuner(
        Nesypr,
        param_space=config.to_dict(),
        run_config=tune.RunConfig(
            stop={"training_iteration": 3},
            storage_path=str(tmp_path / "tune"),
            verbose=0,
            callbacks=[
                WandbLoggerCallback(project="nesypr"),
                MLflowLoggerCallback(tracking_uri=store, experiment_name="nesypr"),
            ],
        ),
    )
    with RaySession(None, 5.0):
        (result,) = tuner.fit()
    assert result.error is None
    client = mlflow.MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("nesypr")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["nesypr/tasks_done"] == result.metrics["nesypr"]["tasks_done"]
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
