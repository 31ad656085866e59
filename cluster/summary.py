"""`summary.json`: the figures of a run, for each phase and the whole, and the schema of it.

The models below are the one definition; `nesypr report --schema` prints the JSON Schema made from
them, and every summary is validated against it before it is written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import jsonschema
from pydantic import BaseModel, ConfigDict, Field

from cluster.observer import Accounting, Alarm, Estimate, ProbeMode
from cluster.run_folder import RunFolder, RunFolderError

SCHEMA_VERSION = 1


class Part(BaseModel):
    """A part of the summary: immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Measures(Part):
    """What a policy reached on a set of tasks, each with a 95 % interval."""

    tasks: int = Field(description="Number of tasks.")
    csr: Estimate = Field(description="Share of tasks solved within the step limit.")
    cgc: Estimate = Field(description="Share of goal conditions met at the end.")
    exe: Estimate | None = Field(
        description="Share of emitted actions that the simulator accepted; null where none was "
        "emitted."
    )
    spl: Estimate | None = Field(
        description="Success weighted by plan length / max(plan length, steps), over tasks whose "
        "plan length is known, solved or not; null where there is none."
    )
    spl_tasks: int = Field(description="Tasks that SPL rests on: those whose plan is known.")


class ProbeFigures(Part):
    """The policy on held-out tasks at the end of the phase (the whole: at the run's end).

    A mode that was not probed then is null.
    """

    free: Measures | None = Field(description="Free decoding.")
    restricted: Measures | None = Field(description="Only admissible actions.")
    exchanged: Measures | None = Field(description="Free, with another task's procedures.")
    silent: Measures | None = Field(description="Free, without the banks.")
    untrained: Measures | None = Field(description="Free decoding before any training.")
    untrained_restricted: Measures | None = Field(
        description="Only admissible actions, before any training: what chance reaches."
    )
    memory_reliance: float | None = Field(description="CSR free - CSR exchanged.")
    bank_effect: float | None = Field(description="CSR free - CSR silent.")


class BankFigures(Part):
    """M+ or M-, all domains together, counted since the run's start."""

    entries: int
    unique: int
    submitted: int
    admitted: int
    duplicates: int
    retired: int
    bytes: int
    hit_rate: float | None = Field(
        description="Share of the phase's decisions for which an entry passed the threshold."
    )


class Banks(Part):
    """Both banks."""

    success: BankFigures = Field(description="M+")
    failure: BankFigures = Field(description="M-")


class BookFigures(Part):
    """Use of the procedure-book, as the phase's last version measured it."""

    version: int
    codes: int
    codes_used: int
    codes_dead: int
    perplexity: float
    quantisation_error: float
    loss: float


class Staleness(Part):
    """Learner's version minus the version acted with, over episodes."""

    max: int
    mean: float


class Rates(Part):
    """Speed; the seconds are those of acting and learning, without the probes."""

    seconds: float
    episodes_per_s: float | None
    decisions_per_s: float | None
    distilled_tokens_per_s: float | None = Field(
        description="Tokens trained on for each second that the learner spent distilling."
    )
    distilled_tokens: int


class PlannerFigures(Part):
    """The teacher's answers: calls + cached = solved + unsolvable + ... + errors."""

    calls: int = Field(description="Answers for which a planner ran.")
    cached: int = Field(0, description="Answers known from an earlier task that was the same.")
    solved: int
    unsolvable: int
    timed_out: int
    out_of_memory: int
    errors: int
    seconds: float = Field(description="Spent by planners.")


class Figures(Part):
    """Everything that is measured of a phase, or of the whole."""

    stream: Measures | None = Field(description="Null before the first task is done.")
    probe: ProbeFigures
    banks: Banks | None
    book: BookFigures | None
    staleness: Staleness | None
    rates: Rates
    planner: PlannerFigures


class PhaseSummary(Figures):
    """A phase's figures."""

    phase: int
    name: str
    finished: bool
    probe_at_end: ProbeFigures = Field(
        description="The phase's held-out tasks again at the run's end: what was forgotten shows."
    )


class ContinualFigures(Part):
    """What the probes after each phase tell of continual learning, from free decoding's CSR.

    Null where a probe that a figure needs was not made (yet).
    """

    accuracy: Estimate | None = Field(description="ACC: mean over phases, after the last one.")
    average_incremental_accuracy: Estimate | None = Field(
        description="Mean over phases of ACC after that phase."
    )
    backward_transfer: Estimate | None = Field(
        description="BWT: mean of CSR at the end - CSR at the phase's own end."
    )
    forward_transfer: Estimate | None = Field(
        description="FWT: mean of CSR before the phase began - CSR of the untrained model."
    )
    forgetting: Estimate | None = Field(description="Mean of best past CSR - CSR at the end.")


class ProbeResult(Part):
    """One probe: a phase's held-out tasks tried after a phase (-1: before training)."""

    phase: int
    after_phase: int
    mode: ProbeMode
    version: int
    measures: Measures


class Memory(Part):
    """Largest resident memory that was measured, in MiB."""

    actor_mb: float
    learner_mb: float
    driver_mb: float
    total_mb: float


class SmallLM(Part):
    """The size of the small LM."""

    parameters: int
    codes: int


class Hardware(Part):
    """Where the run ran (the last start of it)."""

    machine: str
    processor: str
    cores: int = Field(description="Cores that the process may use.")
    memory_mb: int
    system: str


class Summary(Part):
    """The figures of a run."""

    schema_version: Literal[1] = 1
    name: str
    outcome: Literal["finished", "stopped", "failed", "unfinished"]
    seed: int
    tasks: int = Field(description="Tasks in the whole stream.")
    tasks_done: int
    version: int = Field(description="The last book version.")
    seconds: float = Field(description="Run time, start-up and probes included.")
    starts: int = Field(description="1 + how often the run was resumed.")
    started: str = Field(description="UTC time of the first start, ISO 8601.")
    model: SmallLM
    whole: Figures
    phases: tuple[PhaseSummary, ...]
    probes: tuple[ProbeResult, ...]
    continual: ContinualFigures | None = Field(
        None, description="Null before the first phase was probed."
    )
    accounting: Accounting | None
    memory: Memory | None
    alarms: tuple[Alarm, ...] = Field(description="The last 100 alarms.")
    alarms_raised: int
    hardware: Hardware
    versions: dict[str, str] = Field(description="Versions of Python and the libraries.")


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of `summary.json`."""
    schema = Summary.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_summary(folder: RunFolder, summary: Summary) -> None:
    """Validate against the schema and write. Raises RunFolderError where it cannot."""
    values = summary.model_dump(mode="json")
    jsonschema.validate(values, json_schema())
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    folder.write(folder.summary_file, text + "\n")


def read_summary(path: Path) -> Summary:
    """A summary as written. Raises RunFolderError where it is absent or not one."""
    try:
        return Summary.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        words = " ".join(str(error).split())[:200]
        raise RunFolderError(f"{path} is not a summary of this version: {words}") from error
