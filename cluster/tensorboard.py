"""TensorBoard's files of a run: the curves of the report, live.

Scalars lie on the axis of tasks done, so that runs of different speed can be compared. They are
written here and now, not by tensorboardX's thread, in which a full disk would go unnoticed.
"""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event as Record
from tensorboardX.summary import scalar

from cluster.observer import BankMeasured, EpisodeFinished, Event, Probed, VersionPublished
from cluster.observer import ResourcesMeasured as Resources
from cluster.run_folder import writing

FLUSH_S = 5.0
WINDOW = 100
"""Tasks over which the curves of the stream are averaged."""


class TensorBoard:
    """The observer that writes TensorBoard's event files. Raises RunFolderError.

    `done`: tasks done in earlier starts of a resumed run.
    """

    def __init__(self, folder: Path, done: int = 0) -> None:
        self.folder = folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(folder / "events"))
        self._flushed = time.monotonic()
        self._done = done
        self._recent: deque[EpisodeFinished] = deque(maxlen=WINDOW)

    def observe(self, event: Event, seconds: float) -> None:
        """Write the event's scalars."""
        with writing(self.folder):
            if isinstance(event, EpisodeFinished):
                self._done += 1
                self._recent.append(event)
                if self._done % 10 == 0:
                    self._stream()
            elif isinstance(event, VersionPublished) and event.steps:
                self._version(event)
            elif isinstance(event, BankMeasured):
                self._banks(event)
            elif isinstance(event, Probed):
                tag = f"probe/{event.mode}/phase{event.phase}"
                self._add(f"{tag}/csr", event.csr.value)
                self._add(f"{tag}/cgc", event.cgc.value)
            elif isinstance(event, Resources):
                self._add("memory/actor_mb", event.actor_mb)
                self._add("memory/total_mb", event.total_mb)
            if time.monotonic() - self._flushed > FLUSH_S:
                self._writer.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        """Flush and close the files."""
        with writing(self.folder):
            self._writer.close()

    def _add(self, tag: str, value: float) -> None:
        summary = scalar(tag, value)
        self._writer.write_event(Record(wall_time=time.time(), step=self._done, summary=summary))

    def _stream(self) -> None:
        count = len(self._recent)
        self._add("stream/csr", sum(e.success for e in self._recent) / count)
        self._add("stream/staleness", sum(e.staleness for e in self._recent) / count)
        decisions = max(1, sum(e.decisions for e in self._recent))
        self._add("bank/hit_rate_success", sum(e.hits_success for e in self._recent) / decisions)
        self._add("bank/hit_rate_failure", sum(e.hits_failure for e in self._recent) / decisions)

    def _version(self, event: VersionPublished) -> None:
        self._add("learner/version", event.version)
        self._add("learner/loss", event.loss)
        self._add("learner/tokens_per_s", event.tokens / max(event.seconds, 1e-9))
        self._add("book/codes_used", event.codes_used)
        self._add("book/codes_dead", event.codes_dead)
        self._add("book/perplexity", event.perplexity)
        self._add("book/quantisation_error", event.quantisation_error)

    def _banks(self, event: BankMeasured) -> None:
        for sign in ("success", "failure"):
            banks = [bank for bank in event.banks if bank.sign == sign]
            self._add(f"bank/entries_{sign}", sum(bank.entries for bank in banks))
            self._add(f"bank/unique_{sign}", sum(bank.unique for bank in banks))
