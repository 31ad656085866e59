"""`nesypr study threshold`: what the banks do at different thresholds υ.

A model for each seed is distilled as the ablations' full one is; then held-out tasks are attempted
again and others once, as in `nesypr study banks`, with each threshold of the preset.
"""

from __future__ import annotations

import json

from cluster.grid_cells import KeptResult, found_result, make_side_by_side
from cluster.studies import StudyOrder, StudyPage
from cluster.study_banks import Arm, ArmResult, study_banks
from cluster.study_codes import OTHER, OWN, memory_line
from cluster.study_figures import between, how_made, markdown, over_seeds
from cluster.study_grid import Cell, CellResult, run_grid
from cluster.study_presets import Preset
from cluster.study_steps import digest_of
from configs.errors import ConfigurationError
from learner.joint_distillation import MODEL_FILE
from tasks.metrics import Estimate

NO_BANKS = Arm("no banks", {"banks": "none"})


class ThresholdResult(KeptResult):
    """What the thresholds gave with one model: thresholds-seed-N.json."""

    held_out: tuple[ArmResult, ...]
    larger: tuple[ArmResult, ...]


def run_study(order: StudyOrder) -> StudyPage:
    """Make what is missing; write threshold.md and threshold.json."""
    preset = order.preset
    if preset is None:
        raise ConfigurationError("study threshold needs a preset: --set preset=quick")
    models = run_grid(order, model_cells(preset, order.size.seeds or 1))
    results = try_thresholds(order, preset, models)
    found = {
        "models": [model.model_dump(mode="json") for model in models],
        "thresholds": [result.model_dump(mode="json") for result in results],
    }
    (order.folder / "threshold.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    path = order.folder / "threshold.md"
    path.write_text(page(models, results), encoding="utf-8")
    return StudyPage(path, found)


def model_cells(preset: Preset, seeds: int) -> list[Cell]:
    """The full model with every seed."""
    first = preset.config.seed
    return [
        Cell("full", preset.config.model_copy(update={"seed": seed}), (OWN, OTHER))
        for seed in range(first, first + seeds)
    ]


def thresholds(preset: Preset) -> list[Arm]:
    """No banks, and each value of the grid."""
    kinds = [Arm(kind.name, {"threshold": kind.config.acting.threshold}) for kind in preset.kinds]
    return [NO_BANKS, *kinds]


def try_thresholds(
    order: StudyOrder, preset: Preset, models: list[CellResult]
) -> list[ThresholdResult]:
    """The arms with each model; what is done is read."""
    arms = thresholds(preset)
    settings = {
        f"thresholds-seed-{model.seed}": {
            **model.settings,
            "thresholds": [arm.changes.get("threshold") for arm in arms],
        }
        for model in models
    }
    seeds = {f"thresholds-seed-{model.seed}": model for model in models}
    done: dict[str, ThresholdResult] = {}
    for name, wanted in settings.items():
        found = found_result(order.folder / f"{name}.json", ThresholdResult, wanted)
        if found is not None:
            done[name] = found

    def make(name: str) -> ThresholdResult:
        model = seeds[name]
        payload = (order.folder / f"full-seed-{model.seed}" / MODEL_FILE).read_bytes()
        found = study_banks(
            payload,
            order.config,
            order.size.tasks,
            lambda line: order.tell(f"{name}: {line}"),
            arms,
        )
        return ThresholdResult(
            kind="thresholds",
            seed=model.seed,
            digest=digest_of(settings[name]),
            settings=settings[name],
            held_out=found.arms["held-out tasks"],
            larger=found.arms.get("tasks one object larger", ()),
        )

    left = [name for name in settings if name not in done]
    done |= make_side_by_side(left, make, order.folder, 1, order.tell)
    return [done[name] for name in settings]


def page(models: list[CellResult], results: list[ThresholdResult]) -> str:
    """Tables in Markdown."""
    reliance = between([(one.csr(OWN.name), one.csr(OTHER.name)) for one in models])
    silent = ["the model"] if reliance.low <= 0 else []
    lines = [memory_line(silent)]
    for words, each in (
        ("Held-out tasks", [result.held_out for result in results]),
        ("Tasks one object larger than any in training", [result.larger for result in results]),
    ):
        if not all(each):
            continue
        lines += ["", f"{words}:", ""]
        head = [
            *("banks", "CSR, tasks unseen", "CSR by attempt", "FR", "RR", "hits M⁺", "hits M⁻"),
        ]
        rows = [_row([arms[place] for arms in each]) for place in range(len(each[0]))]
        lines += markdown(head, rows)
    acting = models[0].settings["acting"]
    lines += [
        "",
        f"{how_made(models)} Half of the held-out tasks were attempted again, the others once with "
        f"the banks as they were then; hits are shares of these others' decisions; k = "
        f"{acting['nearest']}, α = {acting['contrast']}, τ = {acting['temperature']}.",
    ]
    return "\n".join(lines) + "\n"


def _row(arms: list[ArmResult]) -> list[str]:
    """One threshold, means over models."""
    attempts = zip(*(arm.csr for arm in arms), strict=True)
    return [
        arms[0].arm,
        _points([arm.unseen for arm in arms]),
        ", ".join(f"{over_seeds(list(one)).value:.1%}" for one in attempts),
        _points([arm.forgotten for arm in arms if arm.forgotten is not None]),
        _points([arm.recovered for arm in arms if arm.recovered is not None]),
        f"{sum(arm.hits_success for arm in arms) / len(arms):.1%}",
        f"{sum(arm.hits_failure for arm in arms) / len(arms):.1%}",
    ]


def _points(found: list[Estimate]) -> str:
    if not found:
        return "–"
    one = over_seeds(found)
    return f"{one.value:.1%} ({one.low:.1%} to {one.high:.1%})"
