"""What the commands share: how a run is named, and how figures are printed as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def run_path(run: str) -> Path:
    """The folder that a RUN on the command line means: a folder, or a name in the runs folder."""
    given = Path(run)
    if given.is_dir() or given.name != run:
        return given
    return Path(os.environ.get("NESYPR__FOLDER", "runs")) / run


def print_json(values: Any) -> None:
    """Values on standard output as JSON."""
    typer.echo(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False))
