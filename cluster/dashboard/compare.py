"""Two runs side by side: only what differs in what was asked and what came out."""

from __future__ import annotations

from typing import Any

from cluster.dashboard.run_view import RunView

IGNORED = ("name", "folder", "outcome")
"""Keys that always differ, or say nothing."""


def compare(first: RunView, second: RunView) -> dict[str, Any]:
    """Settings and figures that differ, by name: `[name, first's, second's]`.

    A figure with an interval is one row, with both bounds; `overlap` says of those whether the
    intervals do.
    """
    return {
        "runs": [first.folder.name, second.folder.name],
        "settings": _differing(first.configuration(), second.configuration()),
        "figures": [
            {"name": name, "first": a, "second": b, "overlap": _overlap(a, b)}
            for name, a, b in _differing(_joined(first.figures()), _joined(second.figures()))
        ],
    }


def _differing(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    names = dict.fromkeys((*first, *second))
    return [
        (name, first.get(name), second.get(name))
        for name in names
        if first.get(name) != second.get(name) and name not in IGNORED
    ]


def _joined(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures with `.value`, `.low` and `.high` together as one list under their common name."""
    found: dict[str, Any] = {}
    for name, value in figures.items():
        if name.endswith(".value"):
            stem = name.removesuffix(".value")
            found[stem] = [value, figures.get(f"{stem}.low"), figures.get(f"{stem}.high")]
        elif not name.endswith((".low", ".high")):
            found[name] = value
    return found


def _overlap(first: Any, second: Any) -> bool | None:
    """Whether two intervals do; None where one is not known."""
    if not isinstance(first, list) or not isinstance(second, list):
        return None
    if None in first or None in second:
        return None
    return bool(first[1] <= second[2] and second[1] <= first[2])
