"""Studies of several models: what is skipped, what is refused, what the figures are."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cluster import study_ablations, study_grid, study_memory
from cluster.grid_cells import difference
from cluster.settings import load_settings
from cluster.studies import STUDIES, StudyOrder, StudySize, find_study
from cluster.study_figures import between, over_domains
from cluster.study_grid import ArmRow, Cell, CellResult, MakeCell, run_grid, settings_of
from cluster.study_policy import run_study
from cluster.study_steps import Planned, digest_of
from configs.errors import ConfigurationError
from configs.schema import RunConfig
from learner.joint_distillation import JointProgress
from tasks.metrics import Estimate

DOMAINS = ("blocks", "hanoi")


def config(*assignments: str) -> RunConfig:
    return load_settings("tiny", assignments).config


class Fake:
    """Makes results without models; remembers which."""

    def __init__(self, fails: str = "", parallel: int = 1) -> None:
        self.made: list[str] = []
        self._fails = fails
        self._together = threading.Barrier(parallel, timeout=20)

    def __call__(self, planned: Planned, cell: Cell, size: StudySize, *rest: object) -> CellResult:
        self._together.wait()
        if cell.name == self._fails:
            raise ConfigurationError("a cell failed")
        self.made.append(cell.name)
        settings = settings_of(cell, size, 0)
        share = 0.9 if cell.kind != "K = 16" else 0.5
        rows = [
            ArmRow(
                arm=arm.name,
                domain=domain,
                csr=estimate(0.1 if arm.mode == "exchanged" else share),
                exe=None,
            )
            for arm in cell.arms
            for domain in DOMAINS
        ]
        curve = [
            JointProgress(step, 1.0, 1.0 / step, 10 * step, {}, 12, 9.0, 0.1)
            for step in (50, 100, 150)
        ]
        return CellResult(
            kind=cell.kind,
            seed=cell.config.seed,
            digest=digest_of(settings),
            settings=settings,
            rows=tuple(rows),
            curve=tuple(curve),
            parameters=1000,
            bank_sizes={"success": 5, "failure": 7},
            seconds_distilling=1.0,
            seconds_trying=1.0,
        )


def estimate(share: float, count: int = 200) -> Estimate:
    return Estimate(share, share, share, count)


@pytest.fixture(autouse=True)
def no_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_grid, "plan", lambda *_: None)


def order(folder: Path, *assignments: str, **size: int) -> StudyOrder:
    return StudyOrder(config(*assignments), StudySize(**size), folder, lambda _: None)


def grid(given: StudyOrder, make: MakeCell) -> list[CellResult]:
    return run_grid(given, study_memory.cells(given.config, given.size.seeds or 1), make)


def test_a_cell_that_is_done_is_skipped(tmp_path: Path) -> None:
    first, second = Fake(fails="K-64-seed-0"), Fake()
    with pytest.raises(ConfigurationError, match="a cell failed"):
        grid(order(tmp_path), first)
    assert first.made == ["continuous-seed-0", "K-16-seed-0"]
    results = grid(order(tmp_path), second)
    assert second.made == ["K-64-seed-0", "K-256-seed-0"]
    assert [result.kind for result in results] == ["continuous", "K = 16", "K = 64", "K = 256"]
    third = Fake()
    assert grid(order(tmp_path), third) == results
    assert third.made == []
    more = Fake()
    assert len(grid(order(tmp_path, seeds=2), more)) == 8
    assert all(name.endswith("seed-1") for name in more.made)


@pytest.mark.parametrize(
    ("assignments", "size", "words"),
    [
        (["distillation.total_steps=7"], {}, "distillation.total_steps: 8600, now 7"),
        (["acting.threshold=0.5"], {}, "acting.threshold: 0.99, now 0.5"),
        ([], {"tasks": 20}, "tasks: 200, now 20"),
    ],
)
def test_another_configuration_is_refused_before_anything_is_made(
    tmp_path: Path, assignments: list[str], size: dict[str, int], words: str
) -> None:
    grid(order(tmp_path), Fake())
    (tmp_path / "continuous-seed-0.json").unlink()
    again = Fake()
    with pytest.raises(ConfigurationError) as caught:
        grid(order(tmp_path, *assignments, **size), again)
    assert words in str(caught.value)
    assert "remove" in str(caught.value)
    assert again.made == []


def test_a_damaged_cell_is_named(tmp_path: Path) -> None:
    (tmp_path / "K-16-seed-0.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"K-16-seed-0\.json is no result of a study"):
        grid(order(tmp_path), Fake())


def test_cells_are_made_side_by_side(tmp_path: Path) -> None:
    """Each waits for another one: alone, none would come to its end."""
    fake = Fake(parallel=2)
    results = grid(order(tmp_path, parallel=2), fake)
    assert [result.kind for result in results] == ["continuous", "K = 16", "K = 64", "K = 256"]


def test_a_failure_beside_others_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="a cell failed"):
        grid(order(tmp_path, parallel=2), Fake(fails="K-16-seed-0"))


def test_what_differs_is_named() -> None:
    assert difference({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}) == "a.c: 2, now 3"
    assert difference({}, {"new": 1}) == "new: None, now 1"


def test_the_page_of_memory_tells_reliance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_grid, "make_cell", Fake())
    page = study_memory.run_study(order(tmp_path))
    text = page.path.read_text(encoding="utf-8")
    assert "| K = 16 | 64 | 50.0% |" in text
    assert "| 40.0 |" in text
    assert "| continuous | – | 90.0% |" in text
    assert (tmp_path / "memory.svg").read_text(encoding="utf-8").startswith("<svg")
    assert page.result["table"][0]["memory_reliance"]["value"] == pytest.approx(0.8)
    assert "| model | 50 | 100 | 150 |" in text


def test_the_page_of_ablations_has_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Fake()
    monkeypatch.setattr(study_grid, "make_cell", fake)
    page = study_ablations.run_study(order(tmp_path))
    text = page.path.read_text(encoding="utf-8")
    assert len(fake.made) == 9
    for ablation in study_ablations.ABLATIONS:
        assert f"| {ablation.name} | 1,000 | 90.0% |" in text
    assert "seeds 0, 1, 2" in text
    assert "5 and 7" in text
    assert "| full | 80.0 |" in text
    assert "| no quantisation | 80.0 |" in text


def test_a_cell_of_other_tasks_or_banks_is_another() -> None:
    cell, size = study_memory.cells(config(), 1)[0], StudySize()
    settings = settings_of(cell, size, 0)
    assert digest_of(settings) != digest_of(settings_of(cell, size, 1))
    other = study_memory.cells(config("shared_memory.bank.max_entries=10"), 1)[0]
    assert digest_of(settings) != digest_of(settings_of(other, size, 0))


def test_ablations_take_away_what_they_say() -> None:
    made = {cell.kind: cell.config.model for cell in study_ablations.cells(config(), 1)}
    assert made["full"] == config().model
    assert made["no memory"] == config("model.memory.use=none").model
    assert made["no quantisation"] == config("model.book.quantised=false").model


@pytest.mark.parametrize("name", ["memory", "ablations"])
def test_a_study_of_memory_needs_one(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="leave"):
        find_study(name)(order(tmp_path, "model.memory.use=none"))


def test_the_policy_study_is_of_one_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="distils one model"):
        run_study(order(tmp_path, parallel=2))


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_found(name: str) -> None:
    assert callable(find_study(name))


def test_intervals_of_one_seed_are_those_of_its_tasks() -> None:
    one = {"a": estimate(0.5, 96), "b": estimate(0.5, 96)}
    found = over_domains([one])
    half = 1.959964 * (0.25 / 100 / 2) ** 0.5
    assert (found.value, found.count) == (0.5, 192)
    assert found.high - 0.5 == pytest.approx(half, abs=1e-6)
    sure = over_domains([{"a": estimate(1.0)}])
    assert sure.low < 1.0 == sure.high
    assert between([(one, one)]).low == pytest.approx(-half * 2**0.5, abs=1e-6)


def test_intervals_of_several_seeds_are_student_s_where_those_are_wider() -> None:
    seeds = [{"a": estimate(share, 10**6)} for share in (0.4, 0.5, 0.6)]
    found = over_domains(seeds)
    assert found.high - found.value == pytest.approx(4.303 * 0.1 / 3**0.5, abs=1e-4)
    paired = between([(seed, {"a": estimate(seed["a"].value - 0.1, 10**6)}) for seed in seeds])
    assert paired.value == pytest.approx(0.1)
    assert paired.high - paired.low < 0.01
