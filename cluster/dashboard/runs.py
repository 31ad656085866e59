"""Which runs a page shows: one, or all in a folder; each is read only once somebody asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.dashboard.run_view import RunView
from cluster.run_folder import RunFolder, RunFolderError

READ_BUDGET_S = 0.02
"""Seconds that reading may keep answers waiting."""


class Runs:
    """The runs by name. `only`: the one run to be shown, else all in `root`."""

    def __init__(self, root: Path, only: str | None = None) -> None:
        self.root = root
        self.only = only
        self._views: dict[str, RunView] = {}
        if only is not None:
            self.view(only)

    def names(self) -> list[str]:
        """Runs that can be looked at, the latest first."""
        if self.only is not None:
            return [self.only]
        found = [path.parent for path in self.root.glob("*/config.yaml")]
        return [path.name for path in sorted(found, key=_last_change, reverse=True)]

    def listed(self) -> list[dict[str, Any]]:
        """The runs with their states."""
        return [
            {"name": name, "state": RunFolder.look(self.root / name).state()}
            for name in self.names()
        ]

    def view(self, name: str) -> RunView:
        """A run. Raises RunFolderError where there is none of that name here."""
        if name in self._views:
            return self._views[name]
        if (self.only is not None and name != self.only) or Path(name).name != name:
            raise RunFolderError(f"there is no run {name!r} here")
        self._views[name] = view = RunView(RunFolder.look(self.root / name))
        return view

    def opened(self) -> list[RunView]:
        """Runs that somebody asked for."""
        return list(self._views.values())

    def read(self) -> bool:
        """Read a little of every opened run; whether more is waiting."""
        views = self.opened()
        waiting = [view.read(READ_BUDGET_S / len(views)) for view in views]  # of each, whatever
        return any(waiting)


def _last_change(folder: Path) -> float:
    log = folder / "metrics.jsonl"
    return (log if log.exists() else folder).stat().st_mtime
