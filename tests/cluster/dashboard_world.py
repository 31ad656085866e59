"""Folders of made-up runs, and the page's real server on them, for tests of the page."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fake_events import fake_run

from cluster.conduct import _write_outcome
from cluster.dashboard.runs import Runs
from cluster.dashboard.server import make_app
from cluster.dashboard.serving import bind
from cluster.figures import SummaryBuilder
from cluster.metrics_log import MetricsLog
from cluster.observer import (
    ActorHealth,
    CodesCounted,
    DomainCodes,
    EpisodeFinished,
    Event,
    HealthMeasured,
    RunFinished,
)
from cluster.run_folder import RunFolder
from configs.schema import RunConfig

STARTED = 1_700_000_000.0


def health(*actors: str, up: bool = True) -> HealthMeasured:
    """These actors, all up or all starting."""
    return HealthMeasured(
        actors=tuple(
            ActorHealth(actor=name, up=up, doing="act 16 tasks", age_s=0.5) for name in actors
        ),
        learner_doing="distils",
        learner_age_s=0.2,
        server_answer_s=0.001,
        server_bytes=4_000_000,
        server_limit_bytes=0,
    )


def codes(tasks: int = 60, first: int = 0) -> CodesCounted:
    """Codes of two domains, of which one is shared."""
    return CodesCounted(
        phase=0,
        tasks=tasks,
        domains=(
            DomainCodes(domain="blocks", tasks=30, codes=(first, 9), counts=(5, 10)),
            DomainCodes(domain="gripper", tasks=30, codes=(9, 40), counts=(1, 3)),
        ),
    )


def kept_episode(number: int) -> dict[str, Any]:
    """A line of `episodes.jsonl`."""
    texts = ("<domain> blocks <goal> on a b <state> clear a", "<domain> blocks <goal> on a b")
    return {
        "episode": number,
        "task_index": number,
        "domain": "blocks",
        "phase": 0,
        "version": 1,
        "success": number % 2 == 0,
        "conditions_met": 1,
        "conditions": 2,
        "actor": "actor-0",
        "seconds": 0.5,
        "hits_success": 1,
        "hits_failure": 0,
        "fault": "",
        "decisions": [
            {
                "text": text,
                "action": f"pickup {place}",
                "accepted": True,
                "codes": [1, 2, place],
                "near": ("success", "")[place],
                "alone": ("pickup b", None)[place],
            }
            for place, text in enumerate(texts)
        ],
    }


def episode_of(number: int) -> EpisodeFinished:
    """A solved episode of this number."""
    return EpisodeFinished(
        episode=number,
        task_index=number,
        domain="blocks",
        phase=0,
        success=True,
        conditions_met=1,
        conditions=1,
        steps=3,
        accepted=3,
        version=1,
        staleness=0,
        seconds=0.1,
        actor="actor-0",
        hits_success=0,
        hits_failure=0,
        decisions=3,
    )


class MadeRun:
    """A run's folder that is held, as a running one is, and written to as a test likes."""

    def __init__(self, root: Path, name: str = "made", seed: int = 0) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.folder = RunFolder.create(root, name, numbered=False)
        stream = {"phases": [{"name": "one", "tasks": 60, "domains": [{"name": "blocks"}]}]}
        config = RunConfig.model_validate({"name": name, "seed": seed, "stream": stream})
        self.folder.write_config(config)
        self.builder = SummaryBuilder()
        self.at = 0.0
        self._log = MetricsLog(self.folder.metrics_file, lambda: STARTED + self.at)

    def tell(self, event: Event, at: float | None = None) -> None:
        """Log an event, by default a tenth of a second after the last."""
        self.at = self.at + 0.1 if at is None else at
        self.builder.observe(event, self.at)
        self._log.observe(event, self.at)
        self._log.flush()

    def tell_all(self, finished: bool = True) -> None:
        """A whole run of 120 tasks; without its end where it is to go on."""
        for seconds, event in fake_run(self.folder.name):
            if isinstance(event, RunFinished):
                self.tell(health("actor-0"), seconds)
                self.tell(codes(), seconds)
                if not finished:
                    return
            self.tell(event, seconds)
        self.end()

    def keep(self, *numbers: int) -> None:
        """Keep episodes word for word."""
        with self.folder.episodes_file.open("a", encoding="utf-8") as file:
            for number in numbers:
                file.write(json.dumps(kept_episode(number)) + "\n")

    def end(self) -> None:
        """Write summary and report, and let go."""
        _write_outcome(self.folder, self.builder, STARTED)
        self.let_go()

    def let_go(self) -> None:
        """Close the files, as a run that was killed."""
        self._log.close()
        self.folder.close()


@contextmanager
def served(root: Path, only: str | None = None, token: str | None = None) -> Iterator[str]:
    """The page's server in a thread; gives its address, ending in a slash."""
    place = bind(port=_free())
    settings = uvicorn.Config(
        make_app(Runs(root, only), token), log_level="error", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place.listening]})
    thread.start()
    deadline = time.monotonic() + 20.0
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        yield place.url
    finally:
        server.should_exit = True
        thread.join(20.0)
        place.listening.close()
        assert not thread.is_alive()


def _free() -> int:
    place = bind(port=None)
    port: int = place.listening.getsockname()[1]
    place.listening.close()
    return port
