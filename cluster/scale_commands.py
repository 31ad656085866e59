"""`nesypr scale` and `nesypr drain`: change a run's actors while it goes on, from any machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.command_line import Json, print_json, run_path
from configs.errors import NesyprError

if TYPE_CHECKING:
    from configs.schema import RunConfig
    from shared_memory.fleet_wishes import FleetSize, FleetState, FleetWishes, HostState

ANSWER_DEADLINE_S = 20.0
"""The driver looks once a second, but a machine may be busy."""
SILENT_AFTER_S = 60.0

Place = Annotated[
    str,
    typer.Argument(metavar="RUN|URL", help="A run's name or folder, or the URL of its server."),
]
Named = Annotated[str | None, typer.Option("--run", help="With a URL: which of the server's runs.")]


class ScaleError(NesyprError):
    """What was asked of a run's actors cannot be done."""


def scale(
    place: Place,
    actors: Annotated[
        int | None, typer.Option(min=1, help="So many in all, shared out among the hosts.")
    ] = None,
    per_host: Annotated[
        int | None, typer.Option(min=1, help="Or so many on each host, as hosts come and go.")
    ] = None,
    run: Named = None,
    as_json: Json = False,
) -> None:
    """Change a running run's number of actors; it holds after a resume, too.

    Actors that are too many finish what they do: no episode is lost.
    """
    from shared_memory.fleet_wishes import FleetSize

    if (actors is None) == (per_host is None):
        raise ScaleError("how many? write --actors N (in all) or --per-host N, one of them")
    size = FleetSize(actors or per_host or 1, each_host=per_host is not None)
    config = _config(place)
    with _going_on(place, run) as (name, wishes, state):
        _refuse_unordered(config, size)
        wishes.ask_size(size)
        taken = wishes.await_taken(size, ANSWER_DEADLINE_S)
    if as_json:
        now = None if taken is None else asdict(taken)
        print_json({"run": name, "before": asdict(state), "asked": asdict(size), "now": now})
        return
    if taken is None:
        raise ScaleError(
            f"{size.words} are asked for in {name} (before: {state.size.words}), but its driver "
            f"did not take that in within {ANSWER_DEADLINE_S:.0f} s: it will when it goes on"
        )
    typer.echo(f"{name}: {state.size.words} before, {size.words} now: {_where(taken)}")
    if words := _limit_words(config, size):
        typer.echo(f"{name}: {words}")


def drain(
    place: Place,
    host: Annotated[
        str | None,
        typer.Argument(
            metavar="HOST", help="Its hostname, address, node name or Ray's number; none lists."
        ),
    ] = None,
    run: Named = None,
    undo: Annotated[bool, typer.Option("--undo", help="Let actors come there again.")] = False,
    as_json: Json = False,
) -> None:
    """Have a running run's actors leave a host that is to go, or list its hosts.

    They finish what they do and others take their place elsewhere: no episode is lost.
    """
    with _going_on(place, run) as (name, wishes, state):
        chosen = () if host is None else find_hosts(state.hosts, host)
        if chosen and undo:
            wishes.ask_to_stay(each.node for each in chosen)
        elif chosen:
            _refuse_the_last(state.hosts, chosen)
            wishes.ask_to_leave(each.node for each in chosen)
    if as_json:
        rows = [asdict(each) for each in chosen or state.hosts]
        print_json({"run": name, "undone": undo, "hosts": rows})
        return
    for each in chosen or state.hosts:
        typer.echo(f"{name}: {_host_sentence(each, bool(chosen), undo)}")


def find_hosts(hosts: tuple[HostState, ...], words: str) -> tuple[HostState, ...]:
    """The hosts that these words mean. Raises ScaleError where there is none."""
    found = tuple(
        host
        for host in hosts
        if words in (host.hostname, host.address, host.name, host.node)
        or (len(words) >= 6 and host.node.startswith(words))
    )
    if found:
        return found
    known = ", ".join(f"{host.words} ({host.address}, {host.node[:8]})" for host in hosts)
    raise ScaleError(f"there is no host {words!r} in the run's cluster: there is {known or 'none'}")


def _refuse_the_last(hosts: tuple[HostState, ...], chosen: tuple[HostState, ...]) -> None:
    leaving = {host.node for host in chosen}
    if not any(host.room and not host.leaving and host.node not in leaving for host in hosts):
        raise ScaleError(
            f"{chosen[0].words} is the last host that actors can be on: start another one first, "
            "or stop the run with Ctrl-C and resume it elsewhere"
        )


def _config(place: str) -> RunConfig | None:
    """The run's configuration, where its folder is here."""
    from cluster.settings import load_settings

    file = run_path(place) / "config.yaml"
    if "://" in place or not file.is_file():
        return None
    return load_settings(str(file)).config


def _refuse_unordered(config: RunConfig | None, size: FleetSize) -> None:
    """A reproducible run has one actor, whatever is asked."""
    if config is not None and config.reproducible and (size.number > 1 or size.each_host):
        raise ScaleError(
            "the run is reproducible, which it is with one actor only: what several actors find "
            "in the banks depends on who was first"
        )


def _limit_words(config: RunConfig | None, size: FleetSize) -> str:
    """Where more actors are asked for than can act at once by the run's settings; else ""."""
    if config is None:
        return ""
    distillation, request = config.distillation, config.acting.request_tasks
    ahead = (distillation.max_staleness + 1) * distillation.tasks_per_version
    if size.number <= ahead // request:
        return ""
    return (
        f"only {ahead // request} of them can act at once: {ahead} tasks may run ahead of the "
        f"learner (distillation.tasks_per_version x (max_staleness + 1)), {request} in each "
        "request (acting.request_tasks)"
    )


@contextmanager
def _going_on(place: str, run: str | None) -> Iterator[tuple[str, FleetWishes, FleetState]]:
    """A run's name, wishes and state. Raises ScaleError where it does not go on."""
    from cluster.bank_place import opened
    from cluster.run_folder import RunFolder
    from shared_memory.fleet_wishes import FleetWishes

    path = run_path(place)
    if "://" not in place:
        folder, config = RunFolder.look(path), _config(place)
        embedded = config is not None and config.shared_memory.url is None
        if embedded and folder.state() != "running":
            raise _over(folder.name, folder.state())
    with opened(place, path, run) as at:
        wishes = FleetWishes(at.client, at.run)
        state = wishes.told()
        if state is None:
            raise ScaleError(f"{at.run} has no actors yet: it is starting; try again in a moment")
        if state.outcome:
            raise _over(at.run, state.outcome)
        if state.age_s > SILENT_AFTER_S:
            raise ScaleError(
                f"the driver of {at.run} was last heard of {state.age_s:.0f} s ago: resume the run "
                "first (nesypr resume), or look at its host"
            )
        yield at.run, wishes, state


def _over(name: str, outcome: str) -> ScaleError:
    more = "" if outcome == "finished" else f"; nesypr resume {name} goes on with it"
    return ScaleError(f"{name} is not going on ({outcome}), so it has no actors to change{more}")


def _where(state: FleetState) -> str:
    hosts = ", ".join(f"{host.actors} on {host.words}" for host in state.hosts if host.actors)
    parts = [f"{state.up} up", f"{state.starting} starting"]
    if state.going:
        parts.append(f"{state.going} finish what they do and go")
    if state.waiting:
        parts.append(f"{state.waiting} wait for room on a host")
    return ", ".join(parts) + (f" ({hosts})" if hosts else "")


def _host_sentence(host: HostState, chosen: bool, undo: bool) -> str:
    name = f"{host.words} ({host.address}, {host.node[:8]})"
    if not chosen:
        room = "" if host.room < 0 else f" of {host.room}"
        return f"{name}: {host.actors}{room} actors" + (", to be left" if host.leaving else "")
    if undo:
        return f"{name} gets actors again"
    return f"{name} is left by its {host.actors} actors once they have finished what they do"
