from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.settings import load_settings, shipped_configs
from configs.errors import ConfigurationError
from configs.schema import RunConfig


def refused(*assignments: str, source: str = "quickstart", **environment: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(source, assignments, environment)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_later_sources_win() -> None:
    environment = {"NESYPR__SEED": "3", "NESYPR__ACTING__ACTORS": "2", "PATH": "/bin"}
    settings = load_settings("quickstart", ["seed=1", "acting.threshold=0.8"], environment)
    assert settings.config.seed == 3
    assert settings.config.acting.actors == 2
    assert settings.config.acting.threshold == 0.8
    assert not settings.name_given


def test_a_name_given_for_this_start_is_told() -> None:
    assert load_settings("smoke", ["name=mine"]).name_given
    assert load_settings("smoke", (), {"NESYPR__NAME": "mine"}).name_given


def test_paths_lead_into_lists_and_values_are_yaml() -> None:
    config = load_settings(
        "quickstart",
        [
            "stream.phases.0.tasks=7",
            "stream.phases.1.domains.0.size={balls: [1, 2]}",
            "distillation.learning_rate=1e-3",
            "shared_memory.url=null",
            "acting.restrict=true",
        ],
    ).config
    assert config.stream.phases[0].tasks == 7
    assert config.stream.phases[1].domains[0].size == {"balls": (1, 2)}
    assert config.distillation.learning_rate == 1e-3
    assert config.acting.restrict


def test_unknown_keys_name_the_nearest_right_one(tmp_path: Path) -> None:
    assert "unknown key 'sede'; did you mean 'seed'?" in refused("sede=1")
    assert "did you mean 'acting.actors'?" in refused("actors=1")
    assert "keys of acting: actors, " in refused("acting.zzz=1")
    assert refused("stream.phases.1.taks=1").endswith("did you mean 'tasks'?")
    assert "environment variable NESYPR__ACTING__ACTOR" in refused(NESYPR__ACTING__ACTOR="1")
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nstream:\n  phases: []\n  probe_task: 3\n")
    sentence = refused(source=str(file))
    assert sentence.startswith(f"{file}, line 4: unknown key 'stream.probe_task'; ")
    assert "did you mean 'probe_tasks'?" in sentence


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("seed=-1", "seed = -1 is not possible: it should be greater than or equal to 0"),
        ("seed=many", "seed = 'many' is not possible: it should be a valid integer"),
        ("acting.banks=all", "it should be 'both', 'success', 'failure' or 'none'"),
        ("acting.threshold=.nan", "it should be a finite number"),
        ("acting=3", "it should be a section of keys"),
        ("stream.phases=[]", "it should have at least 1 item"),
        ("stream.phases.9.tasks=1", "stream.phases is a list of 3, so 9 must be a number from 0"),
        ("stream.phases.x.tasks=1", "so 'x' must be a number"),
        ("seed.x=1", "seed is a single value and has no 'x'"),
        ("seed", "write it as --set section.key=value"),
        ("=3", "write it as --set section.key=value"),
        ("a..b=3", "the key has an empty part"),
        ("seed=[1", "not valid YAML"),
        ("model.layers=2", "leaves no layer above the memory"),
        ("distillation.tasks_per_version=8", "no request could ever be admitted"),
        ("name=a/b", "name = 'a/b' is not possible: it should match pattern"),
    ],
)
def test_wrong_values_are_one_sentence(assignment: str, words: str) -> None:
    assert words in refused(assignment)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [\n", ", line 2, column 1: not valid YAML"),
        ("name: a\nname: b\n", ", line 2, column 1: not valid YAML (key 'name' stands twice"),
        ("", "must hold keys and values"),
        ("- a\n", "must hold keys and values"),
        ("name: a\n", "'stream' is needed"),
        ("seed: !!python/object:os.system {}\n", "not valid YAML"),
        ("name: 3\nstream: {phases: []}\n", "line 1: name = 3 is not possible"),
    ],
)
def test_wrong_files_are_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    sentence = refused(source=str(file))
    assert sentence.startswith(str(file))
    assert words in sentence


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "did you mean 'quickstart'?" in refused(source="quikstart")
    assert "is a folder" in refused(source=str(tmp_path))
    file = tmp_path / "mine.yaml"
    file.write_bytes(b"name: \xff\xfe\n")
    assert "is not UTF-8" in refused(source=str(file))


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_assignment_is_taken_or_refused_in_a_sentence(key: str, value: str) -> None:
    with suppress(ConfigurationError):  # anything else would be a traceback
        assert isinstance(load_settings("smoke", [f"{key}={value}"]).config, RunConfig)


def test_shipped_configurations_are_found_by_name() -> None:
    assert {"quickstart", "smoke", "larger"} <= set(shipped_configs())


def test_replay_alone_would_never_learn_anything_new() -> None:
    assert "distillation.replay" in refused("distillation.replay=1.0")
    assert "less than 1" in refused("distillation.replay=1.0")
    assert (
        load_settings("quickstart", ["distillation.replay=0.9"]).config.distillation.replay == 0.9
    )
