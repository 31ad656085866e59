"""An actor's own gauges among Ray's metrics: each node serves those of the actors on it.

They are at the node's metrics port as `ray_nesypr_actor_…{run,actor}`; the run as a whole is told
by the driver alone.
"""

from __future__ import annotations

from ray.util.metrics import Gauge

from actors.records import ActReport

TAGS = ("run", "actor")
WORDS = {
    "episodes": "Episodes that this actor finished and shared memory acknowledged.",
    "decisions": "Decisions of those episodes.",
    "acting_seconds": "Seconds spent on requests to act.",
    "waited_seconds": "Of them, waiting for a server at its memory limit.",
    "version": "Book version acted with last.",
    "resident_mb": "Resident memory of the actor's process.",
}


class ActorGauges:
    """Counts what an actor's reports tell. Needs Ray."""

    def __init__(self, run: str, actor: str) -> None:
        self._tags = {"run": run, "actor": actor}
        self._gauges = {
            name: Gauge(f"nesypr_actor_{name}", words, tag_keys=TAGS)
            for name, words in WORDS.items()
        }
        self._totals = dict.fromkeys(WORDS, 0.0)

    def take(self, report: ActReport) -> None:
        """Set the gauges by one more report."""
        totals = self._totals
        totals["episodes"] += len(report.episodes)
        totals["decisions"] += report.times.decisions
        totals["acting_seconds"] += report.seconds
        totals["waited_seconds"] += report.waited_s
        totals["version"] = report.version
        totals["resident_mb"] = report.resident_mb
        for name, gauge in self._gauges.items():
            gauge.set(totals[name], self._tags)


INFERENCE_TAGS = ("run", "inference")
INFERENCE_WORDS = {
    "batches": "Batches that this inference actor decided.",
    "decisions": "Decisions in them.",
    "actors": "Actors whose decisions were in the last batch.",
    "deciding_seconds": "Seconds spent on batches.",
}


class InferenceGauges:
    """Counts an inference actor's batches. Needs Ray."""

    def __init__(self, run: str, inference: str) -> None:
        self._tags = {"run": run, "inference": inference}
        self._gauges = {
            name: Gauge(f"nesypr_inference_{name}", words, tag_keys=INFERENCE_TAGS)
            for name, words in INFERENCE_WORDS.items()
        }
        self._totals = dict.fromkeys(INFERENCE_WORDS, 0.0)

    def take(self, decisions: int, seconds: float, actors: int) -> None:
        """Set the gauges by one more batch."""
        totals = self._totals
        totals["batches"] += 1
        totals["decisions"] += decisions
        totals["deciding_seconds"] += seconds
        totals["actors"] = actors
        for name, gauge in self._gauges.items():
            gauge.set(totals[name], self._tags)
