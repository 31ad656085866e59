"""`nesypr study entries`: keep, retire or re-encode the banks' entries when the book moves on.

Each kind is a whole run, `nesypr run` in a process of its own, with acting, learning and banks. A
run that was broken off is resumed; one that is finished is read.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from cluster.grid_cells import KeptResult, found_result, made_on, make_side_by_side
from cluster.ray_session import house
from cluster.studies import StudyOrder, StudyPage, Tell
from cluster.study_figures import interval, markdown, over_seeds, percent
from cluster.study_presets import Kind, Preset
from cluster.study_steps import digest_of
from configs.errors import ConfigurationError, NesyprError
from configs.schema import RunConfig
from tasks.metrics import Estimate

SILENT_S = 600.0
"""A run that prints nothing for so long has failed."""
_TOLD_EVERY_S = 20.0
_SIGNS = ("success", "failure")


class StudyRunError(NesyprError):
    """A run of the study did not finish."""


class EntriesResult(KeptResult):
    """What a run gave: POLICY-seed-N.json. `figures` is the part `whole` of its summary."""

    figures: dict[str, Any]
    seconds: float
    hardware: str
    versions: dict[str, str]


def run_study(order: StudyOrder) -> StudyPage:
    """Make the runs that are missing; write entries.md and entries.json."""
    preset = order.preset
    if preset is None:
        raise ConfigurationError("study entries needs a preset: --set preset=quick")
    if preset.config.acting.banks == "none":
        raise ConfigurationError("study entries is about banks: leave out acting.banks = none")
    results = run_all(order, preset)
    found = {"runs": [result.model_dump(mode="json") for result in results]}
    (order.folder / "entries.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    path = order.folder / "entries.md"
    path.write_text(page(results), encoding="utf-8")
    return StudyPage(path, found)


def run_all(order: StudyOrder, preset: Preset) -> list[EntriesResult]:
    """Every kind with every seed; those that are done are read."""
    order.folder.mkdir(parents=True, exist_ok=True)
    runs: dict[str, tuple[Kind, RunConfig]] = {}
    for seed in range(preset.config.seed, preset.config.seed + (order.size.seeds or 1)):
        for kind in preset.kinds:
            name = f"{re.sub(r'[^A-Za-z0-9]+', '-', kind.name)}-seed-{seed}"
            changes = {"seed": seed, "name": name, "folder": str(order.folder.resolve() / "runs")}
            runs[name] = (kind, kind.config.model_copy(update=changes))
    settings = {
        name: config.model_dump(mode="json", exclude={"folder"})
        for name, (_, config) in runs.items()
    }
    done: dict[str, EntriesResult] = {}
    for name, wanted in settings.items():
        found = found_result(order.folder / f"{name}.json", EntriesResult, wanted)
        if found is not None:
            done[name] = found

    def make(name: str) -> EntriesResult:
        kind, config = runs[name]
        summary = finish_run(config, lambda line: order.tell(f"{name}: {line}"))
        machine, versions = made_on()
        return EntriesResult(
            kind=kind.name,
            seed=config.seed,
            digest=digest_of(settings[name]),
            settings=settings[name],
            figures=summary["whole"],
            seconds=summary["seconds"],
            hardware=machine,
            versions=versions,
        )

    left = [name for name in runs if name not in done]
    done |= make_side_by_side(left, make, order.folder, order.size.parallel, order.tell)
    return [done[name] for name in runs]


def finish_run(config: RunConfig, tell: Tell) -> dict[str, Any]:
    """The summary of a finished run: run, or resumed, if it is not. Raises StudyRunError."""
    folder = Path(config.folder) / config.name
    summary = folder / "summary.json"
    if not _finished(summary):
        words = ["resume", str(folder)]
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            file = folder.with_suffix(".yaml")
            values = config.model_dump(mode="json")
            file.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
            words = ["run", str(file)]
        _run(words, folder.with_suffix(".log"), tell)
    if not _finished(summary):
        log = folder.with_suffix(".log")
        raise StudyRunError(f"the run {folder} did not finish; {log} says why")
    found: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
    return found


def _finished(summary: Path) -> bool:
    if not summary.is_file():
        return False
    return bool(json.loads(summary.read_text(encoding="utf-8"))["outcome"] == "finished")


def _run(words: list[str], log: Path, tell: Tell) -> None:
    """Run nesypr in a process of its own, its words in a file; tell the last of them now and then.

    The process ends with this one. Raises StudyRunError where it falls silent.
    """
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cluster.main", *words],
            cwd=house(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    size, heard, told = 0, time.monotonic(), time.monotonic()
    try:
        while process.poll() is None:
            now, grown = time.monotonic(), log.stat().st_size
            if grown > size:
                size, heard = grown, now
            if now - heard > SILENT_S:
                raise StudyRunError(f"a run of the study said nothing for {SILENT_S:.0f} s: {log}")
            if now - told > _TOLD_EVERY_S:
                told = now
                tell((log.read_text(encoding="utf-8").splitlines() or [""])[-1].strip())
            time.sleep(0.5)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)


def page(results: list[EntriesResult]) -> str:
    """The table in Markdown."""
    head = [
        *("entries", "CSR, free", "without banks", "hits M⁺", "hits M⁻"),
        *("entries M⁺ + M⁻ at the end", "submitted", "retired", "tasks/s"),
    ]
    kinds = list(dict.fromkeys(result.kind for result in results))
    rows = [_row(kind, [one for one in results if one.kind == kind]) for kind in kinds]
    seeds = sorted({result.seed for result in results})
    first = results[0]
    versions = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    minutes = sum(result.seconds for result in results) / 60
    tasks = first.figures["stream"]["tasks"]
    return (
        "\n".join(
            [
                *markdown(head, rows),
                "",
                f"Whole runs of {tasks} tasks, seed{'s' * (len(seeds) > 1)} "
                f"{', '.join(map(str, seeds))}; CSR of the held-out tasks after the last phase, "
                "with the banks and without, 95 % intervals of the tasks, or over seeds where "
                "those are wider. Hits are shares of the stream's decisions for which a look-up "
                f"found an entry at υ = {first.settings['acting']['threshold']}. "
                f"{minutes:.1f} min in all, on "
                f"{first.hardware}; {versions}.",
            ]
        )
        + "\n"
    )


def _row(kind: str, runs: list[EntriesResult]) -> list[str]:
    def mean(*path: str) -> float:
        values = []
        for run in runs:
            value: Any = run.figures
            for key in path:
                value = value[key]
            values.append(float(value))
        return sum(values) / len(values)

    def csr(mode: str) -> str:
        probes = [run.figures["probe"][mode] for run in runs]
        found = over_seeds([Estimate(**one["csr"], count=one["tasks"]) for one in probes])
        return f"{percent(found.value)} ({interval(found)})"

    def banks(key: str) -> str:
        return f"{sum(mean('banks', sign, key) for sign in _SIGNS):,.0f}"

    return [
        kind,
        csr("free"),
        csr("silent"),
        *(percent(mean("banks", sign, "hit_rate")) for sign in _SIGNS),
        *(banks(key) for key in ("entries", "submitted", "retired")),
        f"{mean('rates', 'episodes_per_s'):.1f}",
    ]
