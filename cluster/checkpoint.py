"""The driver's own checkpoint: where the run stands, as one small JSON file.

Written beside the old one and renamed; with a checksum, and the one before it is kept, so that a
damaged file is noticed and named, and the run goes on from the one before.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cluster.dispatcher import DispatcherState
from cluster.run_folder import RunFolder, cannot_write
from configs.errors import NesyprError

SCHEMA = 2


class CheckpointError(NesyprError):
    """A checkpoint is absent, damaged, or of another version."""


@dataclass(slots=True)
class DriverState:
    """Where the run stands, with the dispatcher's books."""

    run: str  # the run's unique name in shared memory
    stage: int = 0  # which step of the run's script is going on
    stage_seconds: float = 0.0  # of acting and learning in this stage, before this start
    seconds: float = 0.0  # run time of all starts so far
    starts: int = 1
    cursor: dict[str, Any] = field(default_factory=dict)  # outcomes read so far
    dispatcher: DispatcherState | None = None
    procedures: int = 0  # decisions of all finished episodes
    plans_answered: int = 0
    traces_queued: int = 0
    version: int = -1
    sources: dict[str, str] | None = None  # `TaskStream.sources`; None: of before, not known
    copied: bool = False  # a copy of this checkpoint may go on on the same server
    answered: int = 0  # of a reproducible run: so many first tasks' plans were answered
    answered_ahead: list[int] = field(default_factory=list)  # and those of these, past a gap


def write(folder: RunFolder, state: DriverState) -> None:
    """Write the checkpoint; the one before becomes `driver.previous.json`."""
    path = folder.checkpoints / "driver.json"
    body = json.dumps(asdict(state), sort_keys=True)
    text = json.dumps({"schema": SCHEMA, "checksum": _checksum(body), "state": json.loads(body)})
    if path.exists():
        try:
            path.replace(folder.checkpoints / "driver.previous.json")
        except OSError as error:
            raise cannot_write(path, error) from error
    folder.write(path, text + "\n")


def read(folder: RunFolder) -> tuple[DriverState, tuple[str, ...]]:
    """The last good checkpoint, and a sentence for each file that was not good.

    Raises CheckpointError where there is none.
    """
    complaints: list[str] = []
    for name in ("driver.json", "driver.previous.json"):
        path = folder.checkpoints / name
        try:
            return _read_one(path), tuple(complaints)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            complaints.append(f"{path} is damaged ({error}) and was not used")
    detail = "; ".join(complaints) or f"there is no driver.json in {folder.checkpoints}"
    raise CheckpointError(f"the run cannot be resumed: {detail}; start it anew")


def check_sources(state: DriverState, sources: dict[str, str]) -> None:
    """Raise CheckpointError where the stream's files are not those that the run began with."""
    if state.sources is None:
        return
    changed = sorted(name for name in sources if state.sources.get(name) != sources[name])
    if changed:
        names = ", ".join(f"'{name}'" for name in changed)
        raise CheckpointError(
            f"the run cannot be resumed: the problem files of {names} are not those that it began "
            "with, so that tasks would come twice or never; put them back as they were, or start "
            "it anew"
        )


def _read_one(path: Path) -> DriverState:
    values = json.loads(path.read_text(encoding="utf-8"))
    if values["schema"] != SCHEMA:
        raise ValueError(f"its schema is {values['schema']}, not {SCHEMA}")
    body = json.dumps(values["state"], sort_keys=True)
    if values["checksum"] != _checksum(body):
        raise ValueError("its checksum does not fit its content")
    return DriverState(**values["state"])


def _checksum(body: str) -> str:
    return hashlib.blake2b(body.encode(), digest_size=16).hexdigest()
