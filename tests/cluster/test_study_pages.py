"""The pages of studies of codes, noise and thresholds: from given results, and from real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import study_codes, study_noise, study_threshold
from cluster.studies import StudyOrder, StudySize, find_study
from cluster.study_banks import ArmResult
from cluster.study_grid import ArmRow, CellResult
from cluster.study_presets import load_preset
from configs.errors import ConfigurationError
from learner.joint_distillation import JointProgress
from tasks.metrics import Estimate

DOMAINS = ("blocks", "hanoi")
SMALL = (
    "rendering.observation=prompt",
    "distillation.decisions=4",
    "distillation.total_steps=6",
    "stream.step_limit=4",
)


def estimate(value: float, count: int = 100) -> Estimate:
    return Estimate(value, max(0.0, value - 0.05), min(1.0, value + 0.05), count)


def cell(
    kind: str, seed: int, own: float, other: float = 0.02, codes: int | None = 64
) -> CellResult:
    rows = [
        ArmRow(arm=arm, domain=domain, csr=estimate(share), exe=estimate(0.9), spl=estimate(share))
        for arm, share in (("own", own), ("another's", other))
        for domain in DOMAINS
    ]
    return CellResult(
        kind=kind,
        seed=seed,
        digest="",
        settings={
            "traces": 10,
            "processes": 1,
            "acting": {"nearest": 4, "contrast": 0.5, "temperature": 0.1},
            "model": {
                "memory": {"slots": 2, "width": 32},
                "book": {"width": 32, "codes": codes or 64, "quantised": codes is not None},
            },
        },
        rows=tuple(rows),
        curve=(JointProgress(50, 1.0, 0.5, 10, {}, 60, 40.0, 0.1),),
        parameters=1000,
        bank_sizes={},
        seconds_distilling=1.0,
        seconds_trying=1.0,
    )


def test_the_page_of_codes_tells_bits_and_who_does_not_read() -> None:
    results = [cell("n = 2, K = 64, d = 32", 0, 0.4), cell("continuous", 0, 0.02, codes=None)]
    text = study_codes.page(results)
    assert "It cannot be said of these that the policy reads its memory: continuous" in text
    assert "| n = 2, K = 64, d = 32 | 12 | 40.0% |" in text
    assert "| continuous | – | 2.0% |" in text


def test_the_page_of_noise_compares_teachers() -> None:
    text = study_noise.page([cell("noise = 0.0", 0, 0.8), cell("noise = 0.3", 0, 0.6)])
    assert text.startswith("All policies read their memory")
    assert "| noise = 0.3 | 60.0% |" in text
    assert "| blocks | 80.0% | 60.0% |" in text


def arm(name: str, unseen: float, hits: float) -> ArmResult:
    return ArmResult(
        arm=name,
        csr=(estimate(0.5), estimate(0.6), estimate(0.7)),
        forgotten=estimate(0.01),
        recovered=None,
        recovered_at_once=None,
        unseen=estimate(unseen),
        exe=None,
        hits_success=hits,
        hits_failure=0.1,
        endings=({}, {}, {}),
        decisions=10,
        seconds=1.0,
    )


def test_the_page_of_thresholds_has_a_row_for_each() -> None:
    models = [cell("full", seed, 0.8) for seed in (0, 1)]
    results = [
        study_threshold.ThresholdResult(
            kind="thresholds", seed=seed, digest="", settings={}, larger=(),
            held_out=(arm("no banks", 0.8, 0.0), arm("υ = 0.8", 0.5 + 0.1 * seed, 0.9)),
        )
        for seed in (0, 1)
    ]  # fmt: skip
    text = study_threshold.page(models, results)
    assert "| no banks | 80.0% (75.0% to 85.0%) | 50.0%, 60.0%, 70.0% |" in text
    assert "| υ = 0.8 | 55.0%" in text
    assert "90.0%" in text
    assert "one object larger" not in text


def order(name: str, folder: Path, *more: str) -> StudyOrder:
    preset = load_preset(name, "smoke", [*SMALL, *more])
    size = StudySize(traces=8, tasks=4, processes=1, seeds=1, parallel=2)
    return StudyOrder(preset.config, size, folder, lambda _: None, preset)


@pytest.mark.parametrize("name", ["codes", "noise", "threshold"])
def test_a_grid_needs_a_preset(name: str, tmp_path: Path) -> None:
    given = order(name, tmp_path)
    bare = StudyOrder(given.config, given.size, tmp_path, given.tell)
    with pytest.raises(ConfigurationError, match="needs a preset"):
        find_study(name)(bare)


def test_noise_is_the_study_s_own(tmp_path: Path) -> None:
    given = order("noise", tmp_path, "teacher.planner=mimir-gbfs")
    with pytest.raises(ConfigurationError, match="compares with an optimal teacher"):
        study_noise.run_study(given)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        (
            "codes",
            (
                "study.grid=[{name: K, keys: [model.book.codes], values: [8, 16]}]",
                "study.beside={}",
            ),
            ("| K = 8 | 24 |", "| K = 16 | 32 |"),
        ),
        ("noise", (), ("| noise = 0.3 |", "| greedy |", "| gripper |")),
        ("threshold", (), ("| no banks |", "| υ = 0.99 |", "Held-out tasks:")),
    ],
)
def test_from_plans_to_page(
    name: str, more: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    given = order(name, tmp_path, *more)
    page = find_study(name)(given)
    text = page.path.read_text(encoding="utf-8")
    assert all(word in text for word in words)
    assert find_study(name)(given).result == page.result
