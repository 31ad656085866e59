"""The run as an RLlib `Algorithm`: for Tune, callbacks and checkpoints; `driver.run` uses it too.

    algorithm = NesyprConfig().nesypr(run_config="quickstart").build_algo()
    result = algorithm.train()      # about one book version's worth of tasks
    algorithm.stop()

RLlib is the shell only. The data plane is our own (`cluster.controller`): there is no RLlib
environment, no EnvRunner and no LearnerGroup, so nothing about an environment or spaces has to be
set. One training iteration is one round: about `distillation.tasks_per_version` tasks of the
stream, or one probe of held-out tasks. Its figures are in the result under "nesypr".
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    EPISODE_RETURN_MEAN,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
)
from ray.tune import PlacementGroupFactory

from cluster.controller import RunController
from cluster.figures import SummaryBuilder
from cluster.metrics_log import MetricsLog
from cluster.observer import Observers
from cluster.rounds import RoundReport
from cluster.run_folder import RunFolder
from cluster.settings import load_settings
from configs.errors import ConfigurationError
from configs.schema import RunConfig

for name in ("ray.rllib", "ray.tune"):
    logging.getLogger(name).setLevel(logging.ERROR)  # what they warn of is not done here

RUN = "run"
"""The copy of the run's folder inside a checkpoint."""

COPY_ATTEMPTS = 5

RESULT = "nesypr"
"""Where a result has our figures."""


class NesyprConfig(AlgorithmConfig):
    """RLlib's configuration object; `nesypr` sets everything that is ours."""

    def __init__(self, algo_class: type[Algorithm] | None = None) -> None:
        super().__init__(algo_class=algo_class or Nesypr)
        self.nesypr_run: dict[str, Any] | None = None
        self.nesypr_overrides: list[str] = []
        self.num_env_runners = 0
        self.create_local_env_runner = False
        self.log_level = "ERROR"

    def nesypr(
        self,
        *,
        run_config: RunConfig | Mapping[str, Any] | str | Path | None = NotProvided,
        overrides: Collection[str] = NotProvided,
    ) -> NesyprConfig:
        """Set the run.

        `run_config`: a RunConfig, a mapping of the same shape, or a YAML file (or the name of one
        in configs/); `overrides`: strings such as "acting.actors=2", as for `--set`. By default
        the quickstart. Raises ConfigurationError.
        """
        if run_config is not NotProvided:
            self.nesypr_run = None if run_config is None else _values(run_config)
        if overrides is not NotProvided:
            self.nesypr_overrides = list(overrides)
        return self

    def run_config(self) -> RunConfig:
        """The validated configuration of the run. Raises ConfigurationError."""
        if self.nesypr_run is None:
            return load_settings("quickstart", self.nesypr_overrides).config
        if not self.nesypr_overrides:
            return RunConfig.model_validate(self.nesypr_run)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "config.yaml"
            path.write_text(json.dumps(self.nesypr_run), encoding="utf-8")  # JSON is YAML
            return load_settings(str(path), self.nesypr_overrides).config


class Nesypr(Algorithm):
    """The run as an RLlib algorithm.

    `controller` is for `driver.run`, which has made one with observers of its own; else a run
    folder is made (`folder/name` of the configuration, numbered where taken).
    """

    def __init__(
        self,
        config: AlgorithmConfig | dict[str, Any] | None = None,
        env: Any = None,
        controller: RunController | None = None,
        **kwargs: Any,
    ) -> None:
        self._given = controller
        self.controller: RunController | None = None
        self._folder: RunFolder | None = None
        self._observers: Observers | None = None
        super().__init__(config, env, **kwargs)

    def _setup_logdir(self) -> None:
        """A run that was given has a folder of its own; else Trainable's way."""
        if self._given is None:
            super()._setup_logdir()
        else:
            self._logdir = str(self._given.folder.path)

    @classmethod
    def get_default_config(cls) -> NesyprConfig:
        """The quickstart."""
        return NesyprConfig()

    @classmethod
    def default_resource_request(cls, config: Any) -> PlacementGroupFactory:
        """What a Tune trial needs: this process, the learner, and each actor."""
        settings = cls.get_default_config()
        if isinstance(config, AlgorithmConfig):
            settings = settings.from_state(config.get_state())
        else:
            settings = settings.update_from_dict(dict(config))
        run_config = settings.run_config()
        acting, learning = run_config.acting, run_config.distillation
        bundles: list[dict[str, float]] = [{"CPU": 1.0}, {"CPU": 1.0}]
        if learning.learners > 1:
            learner = {"CPU": learning.learner_cpus, "GPU": float(learning.learner_gpus)}
            bundles += [learner] * learning.learners
        elif learning.learner_gpus:
            bundles[1]["GPU"] = float(learning.learner_gpus)
        actor = {"CPU": acting.cpus, "GPU": 0.0 if acting.inference == "shared" else acting.gpus}
        bundles += [actor] * (acting.actors if any(actor.values()) else 0)
        if acting.inference == "shared" and acting.gpus:
            bundles += [{"GPU": acting.gpus}] * acting.inference_actors
        return PlacementGroupFactory(bundles)

    def setup(self, config: AlgorithmConfig) -> None:
        """Start the run (or take over the one that was given). Nothing of RLlib's own setup is
        wanted here: it would make environments, EnvRunners and a LearnerGroup."""
        if not isinstance(config, AlgorithmConfig):
            config = self.get_default_config().update_from_dict(config)
            self.config = config
        self.callbacks = [made() for made in _listed(self.config.callbacks_class)]
        self.env_runner_group = None
        self.eval_env_runner_group = None
        self.evaluation_config = None
        self._aggregator_actor_manager = None
        self.remote_requests_in_flight: dict[Any, Any] = {}
        self._set_up_metrics()
        if self._given is not None:
            self.controller = self._given
        else:
            run_config = self.config.run_config()
            folder = RunFolder.create(Path(run_config.folder), run_config.name, numbered=True)
            run_config = run_config.model_copy(update={"name": folder.name})
            folder.write_config(run_config)
            self._open(run_config, folder, resume=False)
        make_callback(
            "on_algorithm_init",
            self.callbacks,
            self.config.callbacks_on_algorithm_init,
            kwargs={"algorithm": self, "metrics_logger": self.metrics},
        )

    @property
    def run(self) -> RunController:
        """The run. Raises RuntimeError once the algorithm was stopped."""
        if self.controller is None:
            raise RuntimeError("the algorithm was stopped: build another one")
        return self.controller

    def training_step(self) -> None:
        """One round of the run; its figures go to RLlib's metrics logger."""
        report = self.run.round()
        self.metrics.log_dict(_result(report), key=RESULT, window=1)
        if report.tasks:
            runners = ENV_RUNNER_RESULTS
            self.metrics.log_value((runners, NUM_EPISODES), report.tasks, reduce="sum")
            self.metrics.log_value((runners, NUM_ENV_STEPS_SAMPLED), report.decisions, reduce="sum")
            self.metrics.log_value(
                (runners, NUM_ENV_STEPS_SAMPLED_LIFETIME), report.decisions, reduce="lifetime_sum"
            )
            self.metrics.log_value(
                (runners, EPISODE_RETURN_MEAN), report.solved / report.tasks, window=1
            )

    def step(self) -> dict[str, Any]:
        """RLlib's iteration; tells Tune when the stream is through."""
        result: dict[str, Any] = super().step()
        if self.run.finished:
            result["done"] = True
        return result

    def restore_env_runners(self, env_runner_group: Any) -> list[int]:
        """There are no EnvRunners; the run replaces its own actors."""
        return []

    @property
    def finished(self) -> bool:
        """Whether the stream is through; more calls of `train` do nothing then."""
        return self.run.finished

    def cleanup(self) -> None:
        """End the run: as finished where the stream is through, else resumable."""
        if self.controller is not None and self._given is None:
            controller, self.controller = self.controller, None
            try:
                controller.close("finished" if controller.finished else "stopped")
            finally:
                self._release()

    # -- checkpoints ---------------------------------------------------------------------------

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """None: the run's folder is the state."""
        return []

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """RLlib's own counters; the run itself is in the folder beside them."""
        return {"training_iteration": self.training_iteration}

    def set_state(self, state: dict[str, Any]) -> None:
        """Set RLlib's own counters."""
        self._iteration = int(state.get("training_iteration", 0))

    def save_to_path(self, path: Any = None, **kwargs: Any) -> Any:
        """RLlib's checkpoint, with a copy of the run's folder in it (embedded banks included; of
        a server that was given by URL, nothing is copied)."""
        self.run.save()
        written = super().save_to_path(path, **kwargs)
        _copy(self.run.folder.path, Path(str(written)) / RUN)
        return written

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Go on from a checkpoint, in a new run folder beside the present one."""
        Checkpointable.restore_from_path(self, path, *args, **kwargs)
        source = Path(str(path)) / RUN
        if not source.is_dir():
            raise ConfigurationError(f"{path} is no checkpoint of a run: it has no folder {RUN!r}")
        run_config = load_settings(str(source / "config.yaml")).config
        present = self.run.folder
        if self.controller is not None:
            controller, self.controller = self.controller, None
            controller.close("stopped")
            self._release()
        folder = RunFolder.create(present.path.parent, f"{run_config.name}-restored", numbered=True)
        _copy(source, folder.path)
        self._open(run_config.model_copy(update={"name": folder.name}), folder, resume=True)

    def _open(self, run_config: RunConfig, folder: RunFolder, resume: bool) -> None:
        builder = SummaryBuilder()
        self._folder = folder
        self._observers = Observers([MetricsLog(folder.metrics_file), builder])
        controller = RunController(run_config, folder, self._observers, resume)
        self.controller = controller
        try:
            controller.start()
        except BaseException:
            self.controller = None
            try:
                controller.close("failed")
            finally:
                self._release()
            raise

    def _release(self) -> None:
        if self._observers is not None:
            self._observers.close()
        if self._folder is not None:
            self._folder.close()
        self._observers = self._folder = None


def _values(given: RunConfig | Mapping[str, Any] | str | Path) -> dict[str, Any]:
    """A run's configuration as plain values, which is what RLlib can copy and keep."""
    if isinstance(given, RunConfig):
        return given.model_dump(mode="json")
    if isinstance(given, (str, Path)):
        return load_settings(str(given)).config.model_dump(mode="json")
    return dict(given)


def _result(report: RoundReport) -> dict[str, float]:
    values: dict[str, float] = {
        "tasks": report.tasks,
        "tasks_done": report.tasks_done,
        "tasks_in_all": report.tasks_in_all,
        "decisions": report.decisions,
        "seconds": report.seconds,
        "version": report.version,
        "phase": report.phase,
        "finished": float(report.finished),
    }
    if report.tasks:
        values["csr"] = report.solved / report.tasks
    for key, csr in report.probe_csr.items():
        values[f"probe_csr/{key}".replace("/", "_")] = csr
    return values


def _listed(callbacks: Any) -> list[Any]:
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def _copy(source: Path, target: Path) -> None:
    """Copy a run's folder without its lock, sockets and logs.

    The learner may replace a checkpoint meanwhile: then the copy is made again.
    """
    ignored = shutil.ignore_patterns(
        "lock", "*.sock", "*.lock", "*.log", "*.partial", "*.html", "writing-*"
    )
    for attempt in range(COPY_ATTEMPTS):
        try:
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=ignored)
            return
        except shutil.Error:
            if attempt == COPY_ATTEMPTS - 1:
                raise
            for path in target.glob("checkpoints/learner/checkpoint-*"):
                shutil.rmtree(path)
            time.sleep(0.5)
