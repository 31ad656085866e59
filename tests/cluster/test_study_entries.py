"""`nesypr study entries`: its table from given figures, and real runs of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.studies import StudyOrder, StudySize
from cluster.study_entries import EntriesResult, StudyRunError, finish_run, page, run_study
from cluster.study_presets import load_preset
from configs.errors import ConfigurationError


def result(kind: str, seed: int, csr: float) -> EntriesResult:
    probe = {"tasks": 100, "csr": {"value": csr, "low": csr - 0.1, "high": csr + 0.1}}
    bank = {"hit_rate": 0.25, "entries": 10, "submitted": 100, "retired": 3}
    return EntriesResult(
        kind=kind,
        seed=seed,
        digest="",
        settings={"acting": {"threshold": 0.95}},
        figures={
            "stream": {"tasks": 128},
            "probe": {"free": probe, "silent": probe},
            "banks": {"success": bank, "failure": bank},
            "rates": {"episodes_per_s": 4.0},
        },
        seconds=60.0,
        hardware="2 cores",
        versions={"nesypr": "1"},
    )


def test_the_table_has_a_row_for_each_policy() -> None:
    lines = page([result("keep", 0, 0.5), result("keep", 1, 0.7), result("retire", 0, 0.4)])
    rows = [line for line in lines.splitlines() if line.startswith("| ")]
    assert len(rows) == 3
    assert "60.0%" in rows[1]
    assert "40.0% (30.0% to 50.0%)" in rows[2]
    assert "20 | 200 | 6" in rows[2]


def test_banks_must_be_on() -> None:
    preset = load_preset("entries", "", ["acting.banks=none"], {})
    order = StudyOrder(preset.config, StudySize(), Path("none"), print, preset)
    with pytest.raises(ConfigurationError, match=r"leave out acting\.banks"):
        run_study(order)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_runs_once(tmp_path: Path) -> None:
    preset = load_preset("entries", "smoke", [], {})
    order = StudyOrder(preset.config, StudySize(seeds=1), tmp_path, print, preset)
    made = run_study(order)
    assert len(made.result["runs"]) == 3
    began = (tmp_path / "runs").stat().st_mtime_ns
    again = run_study(order)
    assert again.result == made.result
    assert (tmp_path / "runs").stat().st_mtime_ns == began  # nothing was run


@pytest.mark.timeout(120)
def test_a_run_that_cannot_be_is_told(tmp_path: Path) -> None:
    preset = load_preset("entries", "smoke", [], {})
    config = preset.config.model_copy(
        update={"folder": str(tmp_path / "runs"), "name": "x", "address": "127.0.0.1:1"}
    )
    with pytest.raises(StudyRunError, match=r"did not finish; .*x\.log says why"):
        finish_run(config, print)
