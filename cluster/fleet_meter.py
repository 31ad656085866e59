"""What a running run takes: episodes, processor time of each part, traffic at the server.

`measure_run` starts a run by the driver's own controller, waits until all of its actors act, and
takes two samples; the run is stopped afterwards and its folder removed. The processor time is that
of this process (the driver) and of everything below it, told apart by what the processes are.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import redis

from cluster.cast import Cast
from cluster.controller import RunController
from cluster.figures import SummaryBuilder
from cluster.metrics_log import MetricsLog
from cluster.observer import Observers
from cluster.ray_gauges import RayGauges
from cluster.resources import descendants
from cluster.run_folder import RunFolder
from cluster.tensorboard import TensorBoard
from configs.errors import NesyprError
from configs.schema import RunConfig
from shared_memory.connection import call, connect

START_DEADLINE_S = 600.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PARTS = (  # how a process's command line begins, or what is in it
    ("ray::StandIn", "stand-ins"),
    ("ray::ActorProcess", "actors"),
    ("ray::InferenceProcess", "inference"),
    ("ray::LearnerActor", "learner"),
    ("teacher_process", "teacher"),
    ("valkey-server", "server"),
    ("redis-server", "server"),
)


class MeterError(NesyprError):
    """A run to be measured did not begin to act in time."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Running totals at one moment."""

    when: float  # monotonic clock
    episodes: int
    version: int
    processor_s: Mapping[str, float]  # by part
    server: Mapping[str, float]  # commands, bytes in, bytes out, entries


@dataclass(frozen=True, slots=True)
class Measured:
    """Rates between two samples."""

    seconds: float
    episodes_a_s: float
    versions: int
    cores: Mapping[str, float]  # processor time a second, by part
    server_a_s: Mapping[str, float]
    load: float

    @property
    def all_cores(self) -> float:
        """Of everything that the run is."""
        return sum(self.cores.values())


def measure_run(config: RunConfig, seconds: float, warm_s: float, cast: Cast) -> Measured:
    """Run it until all its actors have answered a request, `warm_s` longer, then measure.

    Raises NesyprError where it does not begin, or fails.
    """
    with (
        tempfile.TemporaryDirectory(prefix="nesypr-fleet-") as root,
        RunFolder.create(Path(root), config.name, False) as folder,
    ):
        watched: list[Sample | MeterError] = []
        log, board = MetricsLog(folder.metrics_file), TensorBoard(folder.tensorboard)
        observers = Observers([log, SummaryBuilder(), board, RayGauges()])
        controller = RunController(config, folder, observers, cast=cast)
        watching = threading.Thread(
            target=_watch,
            args=(controller, config, folder, seconds, warm_s, watched),
            name="meter",
            daemon=True,
        )
        try:
            controller.start()
            watching.start()
            while not controller.finished and not controller.stopping:
                controller.round()
        finally:
            controller.request_stop()
            controller.close("stopped")
            observers.close()
        watching.join(seconds + warm_s)
        failed = [each for each in watched if isinstance(each, MeterError)]
        if failed:
            raise failed[0]
        samples = [each for each in watched if isinstance(each, Sample)]
        if len(samples) != 2:
            raise MeterError("the run's stream ended before it was measured: give it more tasks")
        return _between(*samples)


def _watch(
    controller: RunController,
    config: RunConfig,
    folder: RunFolder,
    seconds: float,
    warm_s: float,
    found: list[Sample | MeterError],
) -> None:
    url = config.shared_memory.url or folder.server_address.read_text(encoding="utf-8").strip()
    enough = config.acting.actors * config.acting.request_tasks
    deadline = time.monotonic() + START_DEADLINE_S
    while controller.dispatcher.finished < enough and not controller.stopping:
        if time.monotonic() > deadline:
            words = f"{controller.dispatcher.finished} of the first {enough} episodes finished"
            found.append(MeterError(f"{words} within {START_DEADLINE_S:.0f} s"))
            controller.request_stop()
            return
        time.sleep(0.2)
    try:
        with closing(connect(config.shared_memory, url)) as client:
            time.sleep(warm_s)
            found.append(_sample(controller, client))
            time.sleep(seconds)
            found.append(_sample(controller, client))
    finally:
        controller.request_stop()


def _sample(controller: RunController, client: redis.Redis) -> Sample:
    told = call(client, "INFO", "everything")
    return Sample(
        when=time.monotonic(),
        episodes=controller.dispatcher.finished,
        version=controller.version,
        processor_s=processor_seconds(),
        server={
            "commands": float(told["total_commands_processed"]),
            "bytes_in": float(told["total_net_input_bytes"]),
            "bytes_out": float(told["total_net_output_bytes"]),
        },
    )


def _between(first: Sample, last: Sample) -> Measured:
    seconds = last.when - first.when
    return Measured(
        seconds=seconds,
        episodes_a_s=(last.episodes - first.episodes) / seconds,
        versions=last.version - first.version,
        cores={
            part: (spent - first.processor_s.get(part, 0.0)) / seconds
            for part, spent in sorted(last.processor_s.items())
        },
        server_a_s={
            what: (total - first.server[what]) / seconds for what, total in last.server.items()
        },
        load=os.getloadavg()[0],
    )


def processor_seconds() -> dict[str, float]:
    """Processor time so far of this process and of all below it, by what they are (Linux)."""
    spent: dict[str, float] = defaultdict(float)
    for process in descendants(os.getpid()):
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # ended meanwhile
        user, system = stat.rpartition(")")[2].split()[11:13]
        part = next((part for mark, part in _PARTS if mark in words), "Ray")
        if process == os.getpid():
            part = "driver"
        spent[part] += (int(user) + int(system)) / _TICKS
    return dict(spent)
