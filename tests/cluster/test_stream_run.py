"""A model's way through a stream, in this process: what is measured, and going on after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
from stream_world import quiet, small_preset

from cluster.stream_cell import PlannedStream, plan_stream
from cluster.stream_measures import ceiling
from cluster.stream_process import StreamRun, banks_of
from cluster.stream_rows import Look, StreamSetting
from cluster.study_presets import Preset


@pytest.fixture(scope="module")
def preset() -> Preset:
    return small_preset()


@pytest.fixture(scope="module")
def planned(preset: Preset, tmp_path_factory: pytest.TempPathFactory) -> PlannedStream:
    return plan_stream(preset.config, 1, tmp_path_factory.mktemp("plans"), quiet)


def setting(preset: Preset, planned: PlannedStream, folder: Path) -> StreamSetting:
    folder.mkdir()
    return StreamSetting(
        config=preset.kinds[0].config,
        stream_seed=0,
        measuring=preset.study.measuring,
        plans=str(planned.file),
        folder=str(folder),
    )


def same(look: Look) -> dict[str, object]:
    return look.model_dump(exclude={"seconds"})


def test_looks_and_going_on(preset: Preset, planned: PlannedStream, tmp_path: Path) -> None:
    whole = setting(preset, planned, tmp_path / "whole")
    with banks_of(whole) as bank:
        looks = list(StreamRun(whole, bank).run())
    assert [look.tasks for look in looks] == [0, 6, 12, 18, 24]
    assert [look.steps for look in looks] == [0, 3, 6, 9, 12]
    assert [look.phase for look in looks] == [0, 0, 1, 1, 1]
    assert [look.acted for look in looks] == [6, 6, 6, 6, 0]
    assert [look.quantised for look in looks] == [False, True, True, True, True]
    first, last = looks[0], looks[-1]
    assert first.old is None
    assert first.loss is None
    assert [probe.phase for probe in first.probes] == [0, 1]
    assert all(probe.exchanged is None for probe in first.probes)
    assert [probe.exchanged is None for probe in looks[1].probes] == [False, True]
    assert last.new is None
    assert last.old is not None
    assert last.old.decisions == 24
    assert 0 < last.old.used <= 8
    assert 1 <= last.old.perplexity <= 8
    assert last.old.right <= last.old.ceiling <= 1
    assert last.bank is not None
    assert last.bank.admitted + last.bank.duplicates > 0
    assert last.bank.unique <= last.bank.entries

    broken = setting(preset, planned, tmp_path / "broken")
    with banks_of(broken) as bank:
        run = StreamRun(broken, bank).run()
        for _ in range(3):
            next(run)
        run.close()  # after the look, before the block is learned: the state is a block behind
    with banks_of(broken) as bank:
        again = StreamRun(broken, bank)
        assert [look.tasks for look in again.looks] == [0, 6]
        list(again.run())
    assert list(map(same, again.looks)) == list(map(same, looks))


def test_the_ceiling_is_what_one_answer_a_procedure_can_reach() -> None:
    procedures = [b"a", b"a", b"a", b"b", b"b", b"c"]
    answers = ["x", "x", "y", "y", "z", "x"]
    assert ceiling(procedures, answers) == pytest.approx(4 / 6)
    assert ceiling(procedures, ["x"] * 6) == 1.0
