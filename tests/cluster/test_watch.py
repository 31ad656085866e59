"""`nesypr watch` and `nesypr report` with several runs, on made-up runs' folders."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from dashboard_world import MadeRun
from rich.console import Console
from typer.testing import CliRunner

from cluster.main import app
from cluster.observer import Alarm
from cluster.run_folder import RunFolder
from cluster.watch import Watch, watch


@pytest.fixture
def run(tmp_path: Path) -> Iterator[MadeRun]:
    made = MadeRun(tmp_path)
    yield made
    made.let_go()


def test_only_what_is_new_is_told(run: MadeRun) -> None:
    run.tell_all(finished=False)
    seen = Watch(RunFolder.look(run.folder.path))
    assert seen.standing.done == 120
    assert seen.news() == []
    run.tell(Alarm(kind="stall", message="nobody moves"))
    assert [type(event) for _, event in seen.news()] == [Alarm]
    assert seen.going_on


def test_it_ends_with_the_run(run: MadeRun) -> None:
    run.tell_all(finished=False)
    told = io.StringIO()
    console = Console(file=told, width=200)
    watching = threading.Thread(target=watch, args=(RunFolder.look(run.folder.path), console))
    watching.start()
    run.tell(Alarm(kind="stall", message="nobody moves"))
    run.end()
    watching.join(20.0)
    assert not watching.is_alive()
    assert "phase 2 gripper, 120/120 tasks" in told.getvalue()


def test_reports_of_several_runs_with_figures(tmp_path: Path) -> None:
    for name in ("a", "b"):
        MadeRun(tmp_path / "runs", name).tell_all()
    words = ["report", *(str(tmp_path / "runs" / name) for name in ("a", "b"))]
    words += ["--out", str(tmp_path / "out"), "--figures", str(tmp_path / "figures")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "b.html").stat().st_size > 10_000
    assert (tmp_path / "figures" / "a" / "perplexity.svg").exists()
