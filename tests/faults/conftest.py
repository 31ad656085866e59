"""The real servers of tests/shared_memory, and writers that push to them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared_memory"))

from ingest import Ingest, Pushing

StartIngest = Callable[..., Ingest]


@pytest.fixture
def ingest(tmp_path: Path) -> Iterator[StartIngest]:
    """Starts writers; ends them whatever happens."""
    started: list[Ingest] = []

    def start(url: str, writers: int = 3, pushing: Pushing | None = None) -> Ingest:
        folder = tmp_path / f"ingest-{len(started)}"
        folder.mkdir()
        started.append(Ingest(folder, url, writers, pushing))
        return started[-1]

    yield start
    for each in started:
        each.end()
