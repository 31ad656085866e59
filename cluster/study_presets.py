"""From `nesypr study NAME --set preset=quick` to a grid of configurations.

A preset is configs/studies/NAME-PRESET.yaml (`configs.study_schema`). `--set preset=PRESET` chooses
one, `--set study.KEY=VALUE` changes its own values, and every other `--set` the configuration that
all its models share.
"""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

import configs
from cluster.settings import load_settings
from configs.errors import ConfigurationError
from configs.schema import RunConfig
from configs.study_schema import StudyPreset

FIRST = "quick"
"""The preset where none is chosen."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Models that differ in their seed only: the values of the axes that made it, and all of it."""

    name: str
    values: Mapping[str, Any]  # axis → value; none of kinds beside the grid
    config: RunConfig


@dataclass(frozen=True, slots=True)
class Preset:
    """A study's grid, with its configurations."""

    name: str
    study: StudyPreset
    config: RunConfig  # what all kinds share
    kinds: tuple[Kind, ...]


def presets(study: str) -> dict[str, Path]:
    """The preset files of a study, by name."""
    folder = Path(configs.__file__).parent / "studies"
    return {
        path.stem.removeprefix(f"{study}-"): path for path in sorted(folder.glob(f"{study}-*.yaml"))
    }


def load_preset(
    study: str, base: str, assignments: Sequence[str], environment: Mapping[str, str] | None = None
) -> Preset:
    """The chosen preset of a study. `base` takes the place of its own configuration, unless "".

    ConfigurationError: no such preset, a key that is not known, or a `--set` of one of the axes.
    """
    chosen, own, shared = _sorted_out(assignments)
    files = presets(study)
    if chosen not in files:
        near = difflib.get_close_matches(chosen, files, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigurationError(
            f"study {study} has no preset {chosen!r}: there is {', '.join(files)}{hint}"
        )
    preset = read_preset(files[chosen], own)
    axes = {key for axis in preset.grid for key in axis.keys}
    for assignment in shared:
        if assignment.partition("=")[0].strip() in axes:
            raise ConfigurationError(
                f"--set {assignment}: the study itself sets this; change the axis in a copy of "
                f"{files[chosen]}, or leave it out"
            )
    common = [*_written(preset.changes), *shared]

    def made(changes: Mapping[str, Any]) -> RunConfig:
        return load_settings(base or preset.base, [*common, *_written(changes)], environment).config

    kinds = [Kind(name, {}, made(changes)) for name, changes in preset.beside.items()]
    for values in itertools.product(*(axis.values for axis in preset.grid)) if preset.grid else ():
        taken = dict(zip((axis.name for axis in preset.grid), values, strict=True))
        changes = {key: taken[axis.name] for axis in preset.grid for key in axis.keys}
        name = ", ".join(f"{axis} = {value}" for axis, value in taken.items())
        kinds.append(Kind(name, taken, made(changes)))
    return Preset(chosen, preset, made({}), tuple(kinds))


def read_preset(path: Path, own: Sequence[str] = ()) -> StudyPreset:
    """The file's grid, with `KEY=VALUE` changes to it. ConfigurationError where it is not one."""
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from (
            error
        )
    for assignment in own:
        key, equals, text = assignment.partition("=")
        place, *path_below = key.split(".")
        if not equals or len(path_below) > 1:
            raise ConfigurationError(
                f"--set study.{assignment}: write it as --set study.KEY=VALUE, or "
                "study.measuring.KEY=VALUE"
            )
        if path_below:
            values[place] = {**(values.get(place) or {}), path_below[0]: yaml.safe_load(text)}
        else:
            values[place] = yaml.safe_load(text)
    try:
        return StudyPreset.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ConfigurationError(f"{path}: {where} is not possible: {first['msg']}") from error


def _sorted_out(assignments: Sequence[str]) -> tuple[str, list[str], list[str]]:
    """The preset's name, what changes the study, and what changes its configuration."""
    chosen, own, shared = FIRST, list[str](), list[str]()
    for assignment in assignments:
        if assignment.startswith("preset="):
            chosen = assignment.removeprefix("preset=").strip()
        elif assignment.startswith("study."):
            own.append(assignment.removeprefix("study."))
        else:
            shared.append(assignment)
    return chosen, own, shared


def _written(changes: Mapping[str, Any]) -> list[str]:
    """Changes as `--set` writes them (JSON is YAML)."""
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in changes.items()]
