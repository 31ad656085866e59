"""What the `nesypr bank` commands show on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from shared_memory.bank_reading import ServerMemory, UsedAction, UsedProcedure

_MARKS = {"success": "M+", "failure": "M-"}
_LONGEST_CODES = 12
_MOST_ACTIONS = 4
_MEBIBYTE = 1024 * 1024


def stats_table(words: str, banks: Sequence[dict[str, Any]], server: ServerMemory) -> Table:
    """A row a bank."""
    limit = f" of {_mebibytes(server.limit_bytes)}" if server.limit_bytes else ""
    table = Table(
        title=f"{words}\nthe server takes {_mebibytes(server.used_bytes)}{limit}",
        box=None,
        title_justify="left",
        pad_edge=False,
    )
    table.add_column("domain", overflow="fold")
    table.add_column("bank")
    numbers = ("entries", "submitted", "admitted", "retired", "merged")
    for name in (*numbers, "KiB", "on server", "versions"):
        table.add_column(name, justify="right", no_wrap=True)
    for bank in banks:
        versions = "-"
        if bank["newest_version"] >= 0:
            versions = f"{bank['oldest_version']}-{bank['newest_version']}"
        table.add_row(
            *(bank["domain"], _MARKS[bank["sign"]], *(str(bank[name]) for name in numbers)),
            *(f"{bank[name] / 1024:.0f}" for name in ("bytes", "server_bytes")),
            versions,
        )
    return table


def print_used(words: str, used: Sequence[UsedProcedure], console: Console) -> None:
    """A procedure a line, with what was tried with it."""

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    say(words)
    for procedure in used:
        codes = " ".join(map(str, procedure.codes[:_LONGEST_CODES]))
        more = " …" if len(procedure.codes) > _LONGEST_CODES else ""
        say(
            f"{procedure.domain} {_MARKS[procedure.sign]} {procedure.times} times, last at version "
            f"{procedure.last_version}: {_actions(procedure.actions)}"
        )
        if procedure.replaced:
            verb = "replaced" if procedure.sign == "success" else "but succeeded:"
            say(f"    {verb} {_actions(procedure.replaced)}")
        say(f"    codes {codes}{more}")
    if not used:
        say("the banks are empty")


def _actions(actions: Sequence[UsedAction]) -> str:
    some = [
        f"{each.action!r} ×{each.times}" + (f" ({each.refused} refused)" if each.refused else "")
        for each in actions[:_MOST_ACTIONS]
    ]
    left = len(actions) - len(some)
    return ", ".join(some) + (f" and {left} more" if left else "")


def _mebibytes(size: int) -> str:
    return f"{size / _MEBIBYTE:.1f} MiB"
