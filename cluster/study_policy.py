"""`nesypr study policy`: how well the small LM plans, learnt from nothing, domain by domain.

Plans are made, distilled by as many processes as there are cores, and the averaged weights are
tried on held-out tasks of each domain, without banks: free, held to admissible actions, with the
procedures of other tasks, and on tasks one object larger than any in training. Nothing of a
held-out task is ever planned or distilled; the stream keeps them apart by what is visible.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.studies import StudyOrder, StudyPage, StudySize, Tell
from cluster.study_steps import MODES, Mode, Row, Trial, distil, larger, plan
from configs.errors import ConfigurationError
from configs.schema import RunConfig
from tasks.errors import TaskError


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """What the study found."""

    rows: tuple[Row, ...]
    plan_median: dict[str, float]
    plan_longest: dict[str, int]
    traces: dict[str, int]
    parameters: int
    steps: int
    tokens: int
    codes_used: int
    perplexity: float
    seconds_planning: float
    seconds_distilling: float
    seconds_trying: float
    seed: int
    processes: int
    config: dict[str, Any]

    def mean_csr(self, mode: Mode) -> float | None:
        """CSR averaged over domains; None in a mode that was not tried."""
        found = [row.csr.value for row in self.rows if row.mode == mode]
        return statistics.fmean(found) if found else None

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def run_study(order: StudyOrder) -> StudyPage:
    """`nesypr study policy`."""
    if order.size.seeds not in (None, 1) or order.size.parallel != 1:
        raise ConfigurationError(
            "study policy distils one model, by --processes: --seeds and --parallel are for "
            "studies of several (another seed: --set seed=1)"
        )
    result = study_policy(order.config, order.size, order.folder, order.tell)
    return StudyPage(write_result(result, order.folder), result.as_dict())


def study_policy(config: RunConfig, size: StudySize, folder: Path, tell: Tell) -> PolicyResult:
    """Plan, distil and try; the model is left in `folder`."""
    planned = plan(config, size, tell)
    distilled = distil(planned, config, size.processes, folder, tell)
    began = time.monotonic()
    trial = Trial(distilled.payload, planned, config)
    rows = []
    for phase, share in zip(planned.stream.phases, planned.shares, strict=True):
        held_out = planned.stream.probe(phase.number)
        for mode in _modes(config):
            try:
                tasks = (
                    larger(share, planned.stream, size.tasks // 2) if mode == "larger" else held_out
                )
                rows.append(trial.row(share.name, mode, tasks))
            except TaskError as error:
                if mode != "larger":
                    raise
                tell(f"{share.name}, {mode}: not tried, because {error}")
                continue
            tell(f"{share.name}, {mode}: CSR {rows[-1].csr.value:.1%}")
    lengths, last = planned.lengths(), distilled.curve[-1]
    return PolicyResult(
        rows=tuple(rows),
        plan_median={name: statistics.median(found) for name, found in lengths.items()},
        plan_longest={name: max(found) for name, found in lengths.items()},
        traces={name: len(found) for name, found in lengths.items()},
        parameters=trial.parameters,
        steps=config.distillation.total_steps,
        tokens=last.tokens,
        codes_used=last.codes_used,
        perplexity=last.perplexity,
        seconds_planning=planned.seconds,
        seconds_distilling=distilled.seconds,
        seconds_trying=time.monotonic() - began,
        seed=config.seed,
        processes=size.processes,
        config=config.model_dump(mode="json"),
    )


def _modes(config: RunConfig) -> tuple[Mode, ...]:
    """How held-out tasks are tried: without memory there are no procedures to exchange."""
    plain = config.model.memory.use == "none"
    return tuple(mode for mode in MODES if not (plain and mode == "exchanged"))


def table(result: PolicyResult) -> str:
    """The result as a Markdown table."""
    lines = [
        "| domain | plans, median (longest) | CSR free | 95 % | Exe | SPL | admissible only | "
        "another task's procedures | one object more |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    by = {(row.domain, row.mode): row for row in result.rows}
    for domain in result.plan_median:
        free = by[domain, "free"]
        cells = [
            domain,
            f"{result.plan_median[domain]:g} ({result.plan_longest[domain]})",
            f"{free.csr.value:.1%}",
            f"{free.csr.low:.1%} to {free.csr.high:.1%}",
            "" if free.exe is None else f"{free.exe.value:.1%}",
            "" if free.spl is None else f"{free.spl.value:.2f}",
            *(
                f"{by[domain, mode].csr.value:.1%}" if (domain, mode) in by else "–"
                for mode in ("restricted", "exchanged", "larger")
            ),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    exes = [row.exe.value for row in result.rows if row.mode == "free" and row.exe is not None]
    means = [_percent(result.mean_csr(mode)) for mode in MODES]
    exe = _percent(statistics.fmean(exes) if exes else None)
    lines.append(f"| **mean** | | **{means[0]}** | | {exe} | | {' | '.join(means[1:])} |")
    minutes = (result.seconds_planning + result.seconds_distilling + result.seconds_trying) / 60
    lines += [
        "",
        f"{result.parameters:,} parameters, {result.steps:,} steps, {result.tokens:,} tokens, seed "
        f"{result.seed}, {result.processes} processes; {minutes:.1f} min in all: planning "
        f"{result.seconds_planning / 60:.1f}, distilling {result.seconds_distilling / 60:.1f}, "
        f"trying {result.seconds_trying / 60:.1f}. Codes used {result.codes_used} of "
        f"{result.config['model']['book']['codes']}, perplexity {result.perplexity:.0f}.",
    ]
    return "\n".join(lines) + "\n"


def write_result(result: PolicyResult, folder: Path) -> Path:
    """Write FOLDER/policy.json and FOLDER/policy.md; the latter's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.json").write_text(json.dumps(result.as_dict(), indent=1), encoding="utf-8")
    page = folder / "policy.md"
    page.write_text(table(result), encoding="utf-8")
    return page


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
