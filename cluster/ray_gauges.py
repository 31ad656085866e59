"""The run's own gauges among Ray's metrics, set by the driver alone.

Ray serves them at `metrics_port` beside what it tells of its processes. They have the names that
the page's /metrics gives the same figures, and only those that are known without counting anew.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.util.metrics import Gauge

from cluster.observer import (
    Alarm,
    BankMeasured,
    EpisodeFinished,
    Event,
    HealthMeasured,
    ResourcesMeasured,
    RunStarted,
    VersionPublished,
)

BOOK = ("codes_used", "codes_dead", "perplexity", "quantisation_error", "loss")
BANK = ("entries", "unique", "submitted", "admitted", "duplicates", "retired", "bytes")
MEMORY = ("actor_mb", "learner_mb", "driver_mb", "total_mb")


class RayGauges:
    """The observer that keeps the gauges; silent while Ray is not up."""

    def __init__(self, done: int = 0) -> None:
        self._gauges: dict[str, Any] = {}
        self._run = ""
        self._done = done
        self._alarms = 0
        self._largest = dict.fromkeys(MEMORY, 0.0)

    def observe(self, event: Event, seconds: float) -> None:
        """Take the event, and set the gauges that it tells of."""
        match event:
            case RunStarted():
                self._run = event.name
                self._set("model_codes", event.codes)
            case EpisodeFinished():
                self._done += 1  # set with the next measurement
            case Alarm():
                self._alarms += 1
                self._set("alarms_raised", self._alarms)
            case VersionPublished() if event.steps:
                self._set("version", event.version)
                for name in BOOK:
                    self._set(f"whole_book_{name}", getattr(event, name))
            case BankMeasured():
                self._set("tasks_done", self._done)
                for sign in ("success", "failure"):
                    banks = [bank for bank in event.banks if bank.sign == sign]
                    for name in BANK:
                        total = sum(getattr(bank, name) for bank in banks)
                        self._set(f"whole_banks_{sign}_{name}", total)
            case ResourcesMeasured():
                for name in MEMORY:
                    self._largest[name] = max(self._largest[name], getattr(event, name))
                    self._set(f"memory_{name}", self._largest[name])
            case HealthMeasured():
                self._set("server_bytes", event.server_bytes)
                self._set("server_answer_seconds", event.server_answer_s)
                self._set("actors_up", sum(actor.up for actor in event.actors))
                self._set("waits_overdue", len(event.waits))
                self._set("waits_passed", event.waits_passed)
            case _:
                pass

    def close(self) -> None:
        """Nothing is held: the gauges end with Ray."""

    def _set(self, name: str, value: float) -> None:
        if not self._run or not ray.is_initialized():
            return
        if name not in self._gauges:
            words = "see docs/metrics.md and `nesypr report --schema`"
            self._gauges[name] = Gauge(f"nesypr_{name}", words, tag_keys=("run",))
        self._gauges[name].set(value, {"run": self._run})
