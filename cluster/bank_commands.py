"""`nesypr bank …`: look at a run's banks, check them, keep them in a file, take a file in."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cluster.bank_access import acl
from cluster.command_line import Json, print_json, run_path

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from cluster.bank_place import BankPlace

bank_app = typer.Typer(
    no_args_is_help=True, help="The banks of a run: look at them, check, keep and restore them."
)

bank_app.command()(acl)

Place = Annotated[
    str,
    typer.Argument(metavar="RUN|URL", help="A run's name or folder, or the URL of its server."),
]
Named = Annotated[str | None, typer.Option("--run", help="With a URL: which of the server's runs.")]


@bank_app.command()
def stats(place: Place, run: Named = None, as_json: Json = False) -> None:
    """How many entries and bytes each bank has, and what came and went."""
    from cluster.bank_tables import stats_table
    from shared_memory.bank_reading import bank_memory, server_memory

    with _opened(place, run) as at:
        statistics = at.bank.statistics()
        memory = bank_memory(at.client, at.run, at.bank.domains())
        server = server_memory(at.client)
    banks = [
        {**asdict(bank), **asdict(taken)}
        for bank, taken in zip(statistics.banks, memory, strict=True)
    ]
    if as_json:
        domains = [asdict(domain) for domain in statistics.domains]
        print_json({"run": at.run, "banks": banks, "domains": domains, "server": asdict(server)})
    else:
        Console().print(stats_table(at.words, banks, server))


@bank_app.command()
def show(
    place: Place,
    run: Named = None,
    domain: Annotated[str | None, typer.Option(help="Only this domain's banks.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Procedures of each bank.")] = 5,
    as_json: Json = False,
) -> None:
    """The procedures most used, their actions, and the failed actions that they replaced."""
    from cluster.bank_tables import print_used
    from configs.errors import ConfigurationError
    from shared_memory.bank_reading import most_used
    from shared_memory.records import SIGNS

    with _opened(place, run) as at:
        domains = at.bank.domains()
        if domain is not None and domain not in domains:
            raise ConfigurationError(
                f"{at.words} has no bank of {domain!r}: there is {', '.join(domains) or 'none'}"
            )
        used = [
            procedure
            for name in (domains if domain is None else (domain,))
            for sign in SIGNS
            for procedure in most_used(at.client, at.run, name, sign, most)
        ]
    if as_json:
        print_json({"run": at.run, "procedures": [asdict(procedure) for procedure in used]})
    else:
        print_used(at.words, used, Console())


@bank_app.command()
def verify(place: Place, run: Named = None, as_json: Json = False) -> int:
    """Read every entry again, compare it with all counts and with the published book; exit code 1
    if something differs."""
    from cluster.bank_account import verify_with_book

    with _opened(place, run) as at:
        found = verify_with_book(at.client, at.run, at.bank.domains())
    generations = found.generations
    entries = sum(bank.entries for bank in found.statistics.banks)
    if as_json:
        print_json(
            {
                **{"run": at.run, "entries": entries, "ok": found.closed},
                "problems": list(found.problems),
                "generations": None if generations is None else asdict(generations),
            }
        )
    else:
        for problem in found.problems:
            typer.echo(problem)
        words = "all agrees" if found.closed else f"{len(found.problems)} things do not agree"
        typer.echo(f"{at.words}: {entries} entries read, {words}")
        if generations is None:
            typer.echo("no book is published: codes and generations were not compared with one")
        else:
            typer.echo(
                f"by the published book: {generations.outdated} entries are passed over until they "
                f"are seen again, {generations.beyond} have codes that it does not have, "
                f"{generations.ahead} are ahead of it"
            )
    return 0 if found.closed else 1


@bank_app.command("export")
def export(
    place: Place,
    out: Annotated[Path, typer.Option(help="The file to write.")],
    run: Named = None,
    as_json: Json = False,
) -> None:
    """Write all entries of a run's banks to one file with a checksum."""
    from shared_memory.bank_file import export_banks

    target = out.absolute()
    with _opened(place, run) as at:
        written = export_banks(at.client, at.run, at.bank.domains(), target)
    if as_json:
        print_json(_plain(written))
    else:
        typer.echo(f"{written.entries} entries, {written.bytes} bytes: {target}")


@bank_app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="What bank export wrote.")],
    place: Place,
    run: Named = None,
    any_book: Annotated[
        bool,
        typer.Option("--any-book", help="Also where the run's book is not the one of the file."),
    ] = False,
    restore: Annotated[
        bool,
        typer.Option(
            "--restore",
            help="Bring back what the run's banks lost: counts are not added, the larger stays.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Add a file's entries to a run's banks. What broke off may be repeated."""
    from configs.errors import ConfigurationError
    from shared_memory.bank_file import import_banks, read_header
    from shared_memory.weights import PublishedWeights

    filed = read_header(file.absolute())
    filed = replace(filed, path=file.absolute())
    chosen = filed.run if run is None and "://" in place else run
    with _opened(place, chosen) as at:
        published = PublishedWeights(at.client, at.run).latest_version()
        if published is not None and at.run != filed.run and not any_book:
            raise ConfigurationError(
                f"{file} is of run {filed.run}, and codes mean nothing without the book that made "
                f"them, but {at.run} has a book of its own: with --any-book it is done all the same"
            )
        restored = import_banks(
            at.client, at.run, at.config, filed, restore=restore, begun=at.begun
        )
    if as_json:
        print_json({"run": at.run, "file": str(file), **asdict(restored)})
    else:
        typer.echo(
            f"{at.words}: {restored.added} entries added, {restored.merged} were there already "
            f"(of {restored.entries})"
        )
        if restored.before:
            typer.echo(
                f"{restored.before} had been taken in from this file before and were left as they "
                "are: --restore brings back those that have gone since"
            )


def _opened(place: str, run: str | None) -> AbstractContextManager[BankPlace]:
    from cluster.bank_place import opened

    return opened(place, run_path(place), run)


def _plain(written: Any) -> dict[str, Any]:
    return {**asdict(written), "path": str(written.path)}
