from __future__ import annotations

from pathlib import Path

import pytest

import configs
from cluster.settings import load_settings
from cluster.studies import StudyWishes, make_order
from cluster.study_presets import load_preset, presets, read_preset
from cluster.study_threshold import thresholds
from configs.errors import ConfigurationError

SHIPPED = sorted((Path(configs.__file__).parent / "studies").glob("*.yaml"))
STUDIES_WITH_PRESETS = ("capacity", "codes", "entries", "noise", "threshold")


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_preset_makes_different_models(file: Path) -> None:
    study, _, name = file.stem.partition("-")
    assert study in STUDIES_WITH_PRESETS
    preset = load_preset(study, "", [f"preset={name}"])
    assert len({kind.name for kind in preset.kinds}) == len(preset.kinds) >= 3
    assert len({kind.config.model_dump_json() for kind in preset.kinds}) == len(preset.kinds)


def test_the_axes_are_combined() -> None:
    preset = load_preset("codes", "", [])
    kinds = {kind.name: kind for kind in preset.kinds}
    kind = kinds["n = 8, K = 64, d = 16"]
    model = kind.config.model
    assert (model.memory.slots, model.book.codes, model.book.width) == (8, 64, 16)
    assert model.memory.width == 16
    assert kind.values == {"n": 8, "K": 64, "d": 16}
    assert not kinds["continuous, n = 2, d = 32"].config.model.book.quantised
    assert preset.config.distillation.total_steps == 900


def test_set_changes_what_all_models_share() -> None:
    preset = load_preset("capacity", "", ["distillation.replay=0.3", "study.seeds=2"])
    assert {kind.config.distillation.replay for kind in preset.kinds} == {0.3}
    assert preset.study.seeds == 2
    nested = load_preset("capacity", "", ["study.measuring.checkpoint_tasks=30"])
    assert nested.study.measuring.checkpoint_tasks == 30
    assert nested.study.measuring.steps_a_task == preset.study.measuring.steps_a_task


def test_another_base_may_be_given() -> None:
    preset = load_preset("noise", "smoke", [])
    assert preset.config.stream == load_settings("smoke").config.stream


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["preset=quik"], "did you mean 'quick'"),
        (["model.book.codes=7"], "the study itself sets this"),
        (["study.sedes=2"], "sedes is not possible"),
        (["study.measuring.every.x=2"], "write it as"),
        (["model.book.kodes=7"], "did you mean"),
    ],
)
def test_what_is_not_known_is_refused(assignments: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_preset("capacity", "", assignments)


def test_a_preset_without_models_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "capacity-none.yaml"
    file.write_text("base: four\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="needs a grid"):
        read_preset(file)


def test_the_command_line_changes_a_preset_s_size(tmp_path: Path) -> None:
    wishes = StudyWishes(tasks=7, seeds=3)
    order = make_order("noise", "", [], {}, wishes, tmp_path, lambda _: None)
    assert (order.size.tasks, order.size.seeds, order.size.traces) == (7, 3, 1500)
    plain = make_order("memory", "", [], {}, wishes, tmp_path, lambda _: None)
    assert (plain.size.tasks, plain.size.seeds, plain.size.traces) == (7, 3, 3000)
    assert plain.preset is None
    assert plain.config.name == "tiny"
    assert set(presets("capacity")) == {"quick", "long"}


def test_the_thresholds_are_arms() -> None:
    arms = thresholds(load_preset("threshold", "", []))
    assert [arm.changes.get("threshold") for arm in arms] == [None, 0.8, 0.9, 0.95, 0.99]
