"""Episodes that an actor finished too late are told of, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.checkpoint import DriverState
from cluster.observer import Alarm
from cluster.run_watch import RunWatch
from cluster.supervisor import Supervisor
from configs.schema import SharedMemoryConfig
from shared_memory.bank import Bank
from shared_memory.connection import connect
from shared_memory.server import EmbeddedServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path, fsync="no") as started:
        yield started


def test_each_is_told_once(server: EmbeddedServer) -> None:
    config = SharedMemoryConfig()
    client = connect(config, server.url)
    events: list[Any] = []
    anything: Any = SimpleNamespace()
    domains = ("blocks", "hanoi")
    state = DriverState(run="late", sources={})
    watch = RunWatch(state, domains, Supervisor(60.0, 0.0), anything, 60.0, events.append)
    processes: Any = SimpleNamespace(
        client=client,
        fleet=SimpleNamespace(resident_mb=1.0, health=lambda now: ()),
        learner=SimpleNamespace(process=0, doing="", age_s=0.0),
    )

    def told() -> list[str]:
        events.clear()
        watch.measure(processes, 0)
        return [event.message for event in events if isinstance(event, Alarm)]

    assert told() == []
    bank = Bank(client, "late", config.bank)
    bank.note_dropped(["blocks", "hanoi", "blocks"])
    (sentence,) = told()
    assert sentence.startswith("3 finished episodes were not written")
    assert told() == []
    bank.note_dropped(["hanoi"])
    assert [each.split()[0] for each in told()] == ["1"]
    client.close()
