"""`nesypr up` and `nesypr down` on the command line; heavy libraries are imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ClusterPath = Annotated[
    Path, typer.Argument(metavar="CLUSTER.yaml", help="Of Ray's launcher, or for KubeRay.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def up(
    file: ClusterPath,
    yes: Yes = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only look at the file; start nothing.")
    ] = False,
) -> None:
    """Start the Ray cluster of a file, or mend it; configs/clusters/ has some to start from."""
    from cluster.launch.commands import Wishes
    from cluster.launch.commands import up as launch

    launch(file, Wishes(yes, check), typer.echo)


def down(file: ClusterPath, yes: Yes = False) -> None:
    """Stop the Ray cluster of a file; runs and banks stay."""
    from cluster.launch.commands import Wishes
    from cluster.launch.commands import down as stop

    stop(file, Wishes(yes), typer.confirm, typer.echo)
