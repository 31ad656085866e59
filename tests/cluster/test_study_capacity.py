"""`nesypr study capacity` as a whole, with two small models; and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from stream_world import files_in, quiet, small_preset

from cluster import study_capacity
from cluster.stream_cell import run_module
from cluster.stream_curves import CURVES, curve_of, matrix_of, reliance
from cluster.stream_rows import BankFigures, BookFigures, Look, PhaseProbe, PhaseSpan, StreamResult
from cluster.studies import StudyOrder, StudySize
from cluster.study_capacity_page import draw_figures, page
from configs.errors import ConfigurationError
from learner.errors import LearnerError


def order(folder: Path, *more: str) -> StudyOrder:
    preset = small_preset(*more)
    return StudyOrder(
        preset.config, StudySize(processes=1, seeds=1, parallel=2), folder, quiet, preset
    )


def test_two_models_from_plans_to_page(tmp_path: Path) -> None:
    given = order(tmp_path)
    found = study_capacity.run_study(given)
    text = found.path.read_text(encoding="utf-8")
    assert "memory reliance" in text.splitlines()[0].lower()
    assert "| K = 8 |" in text
    assert "24 tasks (24 with a plan) of 2 domains in 2 phases" in text
    assert "measurements are too few" in str(found.result["saturation"])
    left = files_in(tmp_path)
    assert {"K-8-seed-0.json", "K-16-seed-0.json", "capacity-csr.svg", "capacity.json"} <= left
    drawn = (tmp_path / "capacity-csr.svg").read_text(encoding="utf-8")
    assert 'fill="#ffffff"' in drawn
    assert "currentColor" not in drawn
    again = study_capacity.run_study(given)
    assert again.result == found.result
    other = order(tmp_path, "distillation.replay=0.1")
    with pytest.raises(ConfigurationError, match=r"K-8-seed-0\.json .*distillation\.replay"):
        study_capacity.run_study(other)
    for file in tmp_path.glob("K-*.json"):
        file.unlink()
    with pytest.raises(ConfigurationError, match=r"began \(distillation\.replay: 0\.5, now 0\.1"):
        study_capacity.run_study(other)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("model.memory.use=none", "leave it out"),
        ("rendering.observation=none", "decision by decision"),
        ("study.measuring.checkpoint_tasks=5", "multiples of"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path: Path, assignment: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        study_capacity.run_study(order(tmp_path, assignment))


def test_a_process_that_fails_or_is_silent_is_told() -> None:
    with pytest.raises(LearnerError, match=r"failed \(exit code 2\)"):
        run_module("json.tool", "/nowhere/setting.json", lambda _: None, 60.0)
    with pytest.raises(LearnerError, match="silent for 1 s"):
        run_module("http.server", "0", lambda _: None, 1.0)


def result(kind: str, codes: int | None, seed: int, rises: float) -> StreamResult:
    """Two phases of 600 tasks, looked at every 50, whose codes are all used after `rises`."""
    looks = []
    for tasks in range(0, 1201, 50):
        begun = 0 if tasks == 0 else 1 if tasks <= 600 else 2
        used = min(1.0, tasks / rises)
        figures = BookFigures(
            decisions=100, error=0.5 - 0.4 * used, used=round(60 * used), perplexity=50 * used + 1,
            procedures=90, ceiling=0.9, right=0.5 * used,
        )  # fmt: skip
        looks.append(
            Look(
                tasks=tasks, phase=min(1, tasks // 600), steps=2 * tasks, quantised=tasks > 0,
                loss=None if tasks == 0 else 1.0, revived=0, old=figures if tasks else None,
                new=figures if tasks < 1200 else None, acted=50, acted_solved=10,
                probes=tuple(
                    PhaseProbe(
                        phase=phase, tasks=40, solved=20 - 10 * (begun == 2 and phase == 0),
                        exchanged=2 if phase < begun else None, emitted=200, accepted=190,
                    )
                    for phase in range(2)
                ),
                bank=BankFigures(
                    entries=tasks, unique=round(400 * used), admitted=tasks, duplicates=3, retired=0
                ),
                parameters=1000, seconds=60.0,
            )
        )  # fmt: skip
    return StreamResult(
        kind=kind, seed=seed, digest="", values={}, traces=1200, hardware="2 cores", versions={},
        settings={
            "measuring": {"checkpoint_tasks": 50, "sample": 100},
            "model": {
                "memory": {"slots": 2, "width": 32},
                "book": {"width": 32, "codes": codes or 64, "quantised": codes is not None},
            },
        },
        phases=(
            PhaseSpan(name="one", start=0, stop=600, domains=("blocks",)),
            PhaseSpan(name="two", start=600, stop=1200, domains=("hanoi",)),
        ),
        looks=tuple(looks),
    )  # fmt: skip


def test_the_page_of_known_curves(tmp_path: Path) -> None:
    results = [
        result("K = 64", 64, 0, 400.0), result("K = 64", 64, 1, 500.0),
        result("continuous", None, 0, 400.0), result("continuous", None, 1, 400.0),
    ]  # fmt: skip
    text = page(results)
    assert text.startswith("The policies read their memory")
    row = next(line for line in text.splitlines() if line.startswith("| codes used |"))
    assert "2 of 2 seeds" in row
    assert row.endswith("| – |")
    assert "| one | 50% → 25% | 50% → 25% |" in text
    assert "seeds 0, 1" in text
    draw_figures(results, tmp_path)
    assert "capacity-error.svg" in files_in(tmp_path)


def test_what_a_stream_says_of_continual_learning() -> None:
    one = result("K = 64", 64, 0, 400.0)
    matrix = matrix_of(one)
    forgetting, transfer = matrix.forgetting(), matrix.forward_transfer()
    assert forgetting is not None
    assert forgetting.value == pytest.approx(0.25)
    assert transfer is not None
    assert transfer.value == 0.0
    found = reliance(one.looks[-1])
    assert found is not None
    assert found.value == pytest.approx((30 - 4) / 80)
    by_name = {curve.name: curve_of(one, curve) for curve in CURVES}
    assert by_name["codes used"][0][0] == 50
    assert by_name["quantisation error, new tasks"][0][-1] == 1150
    assert by_name["dead share"][1][-1] == pytest.approx(4 / 64)
    continuous = result("continuous", None, 0, 400.0)
    assert curve_of(continuous, CURVES[0]) == ([], [])
