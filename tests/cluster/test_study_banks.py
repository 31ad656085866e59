"""The banks study: its figures by hand, and the whole of it with a model that knows nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cluster.settings import load_settings
from cluster.studies import StudyOrder, StudySize
from cluster.study_banks import (
    ARMS,
    ATTEMPTS,
    find_model,
    run_study,
    study_banks,
    table,
)
from configs.errors import ConfigurationError
from configs.schema import (
    BookConfig,
    DomainShare,
    MemoryConfig,
    ModelConfig,
    PhaseConfig,
    RunConfig,
)
from learner.joint_distillation import MODEL_FILE
from model.procedure_lm import ProcedureLM
from model.saving import to_bytes
from tasks.domains import get_domain
from tasks.metrics import forgotten, recovered
from tasks.rendering import Rendering

SHARES = (
    DomainShare(name="blocks", size={"blocks": (3, 4)}),
    DomainShare(name="hanoi", size={"discs": (2, 3)}),
)


def config() -> RunConfig:
    made = load_settings("tiny").config
    phases = (PhaseConfig(name="all", tasks=10, domains=SHARES),)
    return made.model_copy(
        update={
            "stream": made.stream.model_copy(update={"phases": phases, "step_limit": 4}),
            "model": ModelConfig(
                layers=2,
                width=32,
                heads=2,
                feed_forward=48,
                max_tokens=300,
                memory=MemoryConfig(slots=2, width=32, layer=1, heads=2),
                book=BookConfig(codes=16, width=16),
            ),
        }
    )


def payload() -> bytes:
    torch.manual_seed(0)
    made = config()
    rendering = Rendering([get_domain(share.name) for share in SHARES], made.rendering)
    model = ProcedureLM(made.model, rendering.vocabulary, rendering.interchangeable)
    model.book.ready.fill_(True)
    model.book.codes.copy_(torch.randn(16, 16) * 0.5)
    return to_bytes(model, 3)


def test_rates_by_hand() -> None:
    attempts = [
        {"a": True, "b": False, "c": False, "d": True, "e": False},
        {"a": True, "b": True, "c": False, "d": False, "e": False},
        {"a": True, "b": False, "c": False, "d": True, "e": True},
    ]
    lost, found = forgotten(attempts), recovered(attempts)
    assert lost is not None
    assert found is not None
    assert (lost.value, lost.count) == (2 / 3, 3)  # of a, b, d: b and d
    assert (found.value, found.count) == (3 / 4, 4)  # of b, c, d, e: all but c
    assert forgotten([{"a": False}, {"a": True}]) is None
    assert recovered([{"a": True}, {"a": False}]) is None


def test_all_arms_start_alike_and_no_banks_change_nothing() -> None:
    told: list[str] = []
    result = study_banks(payload(), config(), 6, told.append)
    assert result.version == 3
    for rows in result.arms.values():
        assert [row.arm for row in rows] == [arm.name for arm in ARMS]
        assert len({row.csr[0] for row in rows}) == 1
        (alone,) = [row for row in rows if row.arm == "no banks"]
        assert len(set(alone.csr)) == 1
        assert len({tuple(endings.items()) for endings in alone.endings}) == 1
        assert all(len(row.csr) == ATTEMPTS for row in rows)
        (mended,) = [row for row in rows if row.arm == "outcomes"]
        assert mended.endings[0] == alone.endings[0]
    assert result.tasks["held-out tasks"] == result.unseen["held-out tasks"] == 6
    page = table(result)
    assert page.count("| outcomes |") == len(result.arms)
    assert len(told) >= len(ARMS)


def test_leaves_its_page_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).write_bytes(payload())
    page = run_study(StudyOrder(config(), StudySize(tasks=2), tmp_path, lambda _: None))
    assert page.path.read_text(encoding="utf-8").startswith("2 held-out tasks")
    written = json.loads((tmp_path / "banks.json").read_text(encoding="utf-8"))
    assert written["tasks"] == page.result["tasks"]


def test_says_where_a_model_should_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no model in"):
        find_model(tmp_path)
