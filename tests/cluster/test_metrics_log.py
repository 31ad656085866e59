from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_events import fake_run

from cluster.metrics_log import MetricsLog, read_metrics
from cluster.observer import Alarm
from cluster.run_folder import RunFolderError


def written(path: Path) -> list[str]:
    log = MetricsLog(path, clock=lambda: 1000.0)
    for seconds, event in fake_run():
        log.observe(event, seconds)
    log.close()
    return path.read_text().splitlines()


def test_events_read_back_as_they_were(tmp_path: Path) -> None:
    lines = written(tmp_path / "metrics.jsonl")
    assert all({"time", "at", "event"} <= set(json.loads(line)) for line in lines)
    read = list(read_metrics(tmp_path / "metrics.jsonl"))
    assert [logged.event for logged in read] == [event for _, event in fake_run()]
    assert read[-1].time == 1000.0
    assert read[-1].seconds == pytest.approx(12.0)


def test_every_kind_of_line_and_every_field_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    for _, event in fake_run():
        assert f"`{event.event}`" in text
        for name in type(event).__dataclass_fields__:
            assert f"`{name}`" in text, f"{event.event}.{name}"


def test_rare_events_are_on_disk_at_once_and_frequent_ones_soon(tmp_path: Path) -> None:
    path, now = tmp_path / "metrics.jsonl", [0.0]
    log = MetricsLog(path, clock=lambda: now[0])
    episodes = [event for _, event in fake_run() if event.event == "episode"]
    log.observe(episodes[0], 0.0)
    assert path.read_text() == ""
    now[0] = 1.5
    log.observe(episodes[1], 1.5)
    assert len(path.read_text().splitlines()) == 2
    log.observe(Alarm(kind="stall", message="a"), 1.6)
    assert len(path.read_text().splitlines()) == 3
    log.close()


def test_a_half_written_line_is_passed_over_and_then_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    count = len(written(path))
    with path.open("a") as file:
        file.write('{"time":1000.0,"at":3.0,"event":"al')
    assert len(list(read_metrics(path))) == count
    log = MetricsLog(path)
    log.observe(Alarm(kind="stall", message="a"), 4.0)
    log.close()
    assert len(list(read_metrics(path))) == count + 1


def test_a_file_without_a_whole_line_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("x" * 200_000)
    MetricsLog(path).close()
    assert path.read_text() == ""


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '{"time":1,"at":1,"event":"unheard"}', '{"time":1,"at":1}']
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    count = len(written(path))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(RunFolderError, match=rf"metrics\.jsonl, line {count + 1} is not an event"):
        list(read_metrics(path))


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.symlink_to("/dev/full")
    log = MetricsLog(path)
    with pytest.raises(RunFolderError, match=r"the disk is full while writing .*metrics\.jsonl"):
        log.observe(Alarm(kind="stall", message="a"), 0.0)
    log.close()
