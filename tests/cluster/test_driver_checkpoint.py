"""The driver's checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.checkpoint import CheckpointError, DriverState, check_sources, read, write
from cluster.dispatcher import ActorReady, Dispatcher, StreamOpened
from cluster.run_folder import RunFolder
from configs.schema import DomainShare, PhaseConfig, StreamConfig
from tasks.domains import get_domain, get_pddl_domain
from tasks.stream import TaskStream


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


def test_a_run_whose_files_changed_is_not_resumed(folder: RunFolder, tmp_path: Path) -> None:
    blocks = get_pddl_domain("blocks")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "domain.pddl").write_text(blocks.text)

    def put(number: int, size: int) -> None:
        task = blocks.draw({"blocks": (size, size)}, number)
        (mine / f"p{number}.pddl").write_text(task.problem)

    def sources() -> dict[str, str]:
        get_domain.cache_clear()
        shares = (DomainShare(name=str(mine), source="files"), DomainShare(name="ferry"))
        phase = PhaseConfig(name="mine", tasks=4, domains=shares)
        return TaskStream(StreamConfig(phases=(phase,), probe_tasks=1), 0).sources

    for number in range(4):
        put(number, 3)
    began = sources()
    assert list(began) == [str(mine)]
    write(folder, DriverState(run="run-1", sources=began))
    state, _ = read(folder)
    check_sources(state, sources())
    put(3, 4)
    with pytest.raises(CheckpointError, match=r"files of '.*mine' are not those that it began"):
        check_sources(state, sources())
    put(3, 3)
    check_sources(state, sources())
    put(4, 3)
    with pytest.raises(CheckpointError, match="tasks would come twice or never"):
        check_sources(state, sources())
    check_sources(DriverState(run="of before"), sources())
