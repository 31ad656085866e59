"""What a check of `nesypr doctor` finds, and how findings are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rich.table import Table

State: TypeAlias = Literal["ok", "warning", "broken"]


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found, and what to do about it ("" where nothing)."""

    name: str
    state: State
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """The check for JSON."""
        return {
            "name": self.name,
            "state": self.state,
            "found": self.found,
            "remedy": self.remedy,
        }


def guarded(name: str, check: Callable[[], Check]) -> Check:
    """The check's finding; whatever it raises is a finding, too."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - shown to the user as what was found
        words = " ".join(f"{type(error).__name__}: {error}".split())
        return Check(name, "broken", words[:300], "install again with make, or report this")


def verdict_table(checks: list[Check]) -> Table:
    """The findings for a terminal."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "check", "found", "what to do"):
        table.add_column(column, overflow="fold")
    styles = {"ok": "green", "warning": "yellow", "broken": "red"}
    for check in checks:
        style = styles[check.state]
        table.add_row(f"[{style}]{check.state}[/]", check.name, check.found, check.remedy)
    return table
