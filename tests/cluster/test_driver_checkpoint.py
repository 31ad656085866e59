"""The driver's checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.checkpoint import CheckpointError, DriverState, read, write
from cluster.dispatcher import ActorReady, Dispatcher, StreamOpened
from cluster.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "run", numbered=False)


def test_comes_back_as_it_was_written(folder: RunFolder) -> None:
    dispatcher = Dispatcher(20, 4, 8, 1)
    dispatcher.handle(StreamOpened(20))
    dispatcher.handle(ActorReady("a"))
    state = DriverState(run="run-1", cursor={"blocks": "4-0"}, dispatcher=dispatcher.state())
    write(folder, state)
    found, complaints = read(folder)
    assert complaints == ()
    assert found.cursor == {"blocks": "4-0"}
    assert found.dispatcher is not None
    again = Dispatcher(20, 4, 8, 1)
    again.restore(found.dispatcher)
    assert (again.submitted, again.failed) == (4, 4)


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(folder: RunFolder) -> None:
    write(folder, DriverState(run="run-1", stage=1))
    write(folder, DriverState(run="run-1", stage=2))
    path = folder.checkpoints / "driver.json"
    path.write_text(path.read_text().replace('"stage": 2', '"stage": 3'))
    found, complaints = read(folder)
    assert found.stage == 1
    assert "driver.json is damaged" in complaints[0]


def test_says_where_there_is_none(folder: RunFolder) -> None:
    with pytest.raises(CheckpointError, match="there is no driver"):
        read(folder)
