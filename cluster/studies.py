"""`nesypr study NAME`: finds a study by name and says what each is about.

A study is a function of a `StudyOrder` that leaves its files in a folder and returns its page. It
is named here as `module:function`, so that only the one that runs is imported.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.settings import load_settings
from cluster.study_presets import Preset, load_preset, presets
from configs.errors import ConfigurationError
from configs.schema import RunConfig

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StudySize:
    """How much of it."""

    traces: int = 3000  # planned tasks a domain
    tasks: int = 200  # held-out tasks a domain
    processes: int = 2  # that distil one model together
    seeds: int | None = None  # None: as many as the study is meant to have
    parallel: int = 1  # models distilled side by side, each by so many processes


@dataclass(frozen=True, slots=True)
class StudyOrder:
    """What is to be studied, how much of it, and where its files go."""

    config: RunConfig
    size: StudySize
    folder: Path
    tell: Tell
    preset: Preset | None = None  # the grid, of studies that have one


@dataclass(frozen=True, slots=True)
class StudyWishes:
    """What the command line says of a study's size; 0: as the study or its preset has it."""

    traces: int = 0
    tasks: int = 0
    processes: int = 0
    seeds: int = 0
    parallel: int = 0


@dataclass(frozen=True, slots=True)
class StudyPage:
    """The Markdown page that a study wrote, and the same ready for JSON."""

    path: Path
    result: dict[str, Any]


Study = Callable[[StudyOrder], StudyPage]

STUDIES: dict[str, tuple[str, str]] = {
    "policy": (
        "learns ten domains from nothing and tries held-out tasks of each",
        "cluster.study_policy:run_study",
    ),
    "memory": (
        "continuous memory and books of 16, 64 and 256 codes: CSR, reliance, loss curves",
        "cluster.study_memory:run_study",
    ),
    "ablations": (
        "without quantisation, memory, banks, M+ or M-, on the same tasks, three seeds",
        "cluster.study_ablations:run_study",
    ),
    "banks": (
        "attempts tasks again with banks that acting filled: FR, RR; of the model in --out",
        "cluster.study_banks:run_study",
    ),
    "capacity": (
        "a stream of tasks, domain after domain, with books of different size: when are they full",
        "cluster.study_capacity:run_study",
    ),
    "codes": (
        "how many chunks, how many codes, how wide: CSR and reliance over n, K and d",
        "cluster.study_codes:run_study",
    ),
    "threshold": (
        "banks asked with different thresholds: hits, CSR, FR and RR",
        "cluster.study_threshold:run_study",
    ),
    "entries": (
        "whole runs whose bank entries are kept, retired or encoded again with each version",
        "cluster.study_entries:run_study",
    ),
    "noise": (
        "teachers that plan greedily or with random actions between: CSR and SPL",
        "cluster.study_noise:run_study",
    ),
}

BASE = "tiny"
"""The configuration of studies without presets, where none is named."""


def list_studies() -> dict[str, str]:
    """What each study does, by name."""
    return {name: words for name, (words, _) in STUDIES.items()}


def find_study(name: str) -> Study:
    """The study of that name. Raises ConfigurationError with the nearest name."""
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigurationError(f"there is no study {name!r}: there is {', '.join(STUDIES)}{hint}")
    module, _, function = STUDIES[name][1].partition(":")
    found: Study = getattr(importlib.import_module(module), function)
    return found


def make_order(
    name: str,
    base: str,
    assignments: Sequence[str],
    environment: Mapping[str, str],
    wishes: StudyWishes,
    folder: Path,
    tell: Tell,
) -> StudyOrder:
    """The order for a study. ConfigurationError where a value or a preset is not possible.

    `base` is a configuration's name or file, or "" for the study's own.
    """
    if presets(name):
        preset = load_preset(name, base, assignments, environment)
        study = preset.study
        size = StudySize(
            wishes.traces or study.traces,
            wishes.tasks or study.tasks,
            wishes.processes or study.processes,
            wishes.seeds or study.seeds,
            wishes.parallel or study.parallel,
        )
        return StudyOrder(preset.config, size, folder, tell, preset)
    usual, parallel = StudySize(), wishes.parallel or 1
    size = StudySize(
        wishes.traces or usual.traces,
        wishes.tasks or usual.tasks,
        wishes.processes or max(1, usable_processes() // parallel),
        wishes.seeds or None,
        parallel,
    )
    return StudyOrder(
        load_settings(base or BASE, assignments, environment).config, size, folder, tell
    )


def usable_processes() -> int:
    """The cores that this program may use."""
    return len(os.sched_getaffinity(0))
