"""The command line: `nesypr run quickstart`.

Heavy libraries are imported inside the commands, so that `nesypr --version` answers at once.
`main` is the one place that turns an error into a sentence.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cluster.bank_commands import bank_app
from cluster.command_line import Json
from cluster.command_line import print_json as _print_json
from cluster.command_line import run_path as _run_path
from cluster.launch.command_line import down, up
from cluster.output import READER_GONE, run_console, silence
from cluster.scale_commands import drain, scale
from configs.errors import NesyprError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Continual neurosymbolic proceduralization: planners' plans become an actor's procedures.",
)
tasks_app = typer.Typer(no_args_is_help=True, help="What there is to solve.")
app.add_typer(tasks_app, name="tasks")
app.add_typer(bank_app, name="bank")
app.command()(up)
app.command()(down)
app.command()(scale)
app.command()(drain)

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's name, or its folder.")]

INTERRUPTED = 130


def main() -> None:
    """Entry point of `nesypr`: exits with 0, or prints one sentence and exits with another code."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        code = app(standalone_mode=False)
    except NesyprError as error:
        code = _complain(str(error), error.exit_code)
    except typer.TyperException as error:
        code = _complain(f"{error.format_message()} (see nesypr --help)", error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = _complain("stopped", INTERRUPTED)
    except OSError as error:
        code = _output_or_disk(error)
    sys.exit(code if isinstance(code, int) else 0)


def _output_or_disk(error: OSError) -> int:
    """The exit code for a full disk or output that nobody reads; anything else is raised again."""
    if error.errno in READER_GONE:  # as in `nesypr tasks list | head`
        silence(sys.stdout)
        return 1
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing {error.filename}" if error.filename else ""
        return _complain(f"the disk is full{where}: free some space and try again", 1)
    raise error


def _complain(sentence: str, code: int) -> int:
    sys.stderr.write(f"nesypr: {' '.join(sentence.split())}\n")
    return code


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nesypr {metadata.version('nesypr')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command()
def run(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG", help="A YAML file, or a name in configs/ such as quickstart."
        ),
    ],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.key=value; may be given several times."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="A Ray cluster's head; auto: this machine's."),
    ] = None,
) -> int:
    """Start a new run. A taken name gets a number unless --set name=NAME chose it."""
    from cluster.conduct import check_model, check_stream, conduct
    from cluster.ports import check_page_port_free, check_ports_free
    from cluster.run_folder import RunFolder
    from cluster.settings import load_settings

    given = [*(assignments or ()), *([] if address is None else [f"address={address}"])]
    settings = load_settings(config, given, os.environ)
    check_ports_free(settings.config)
    check_page_port_free(settings.config)
    check_stream(settings.config)
    check_model(settings.config)
    root = Path(settings.config.folder)
    with RunFolder.create(root, settings.config.name, not settings.name_given) as folder:
        final = settings.config.model_copy(update={"name": folder.name})
        folder.write_config(final)
        return conduct(final, folder, False, run_console())


@app.command()
def resume(run: Run) -> int:
    """Go on with a run that was stopped or killed."""
    from cluster.conduct import check_model, check_stream, conduct
    from cluster.ports import check_page_port_free, check_ports_free
    from cluster.run_folder import RunFolder, RunFolderError
    from cluster.settings import load_settings

    with RunFolder.hold(_run_path(run)) as folder:
        if folder.ended() == "finished":
            raise RunFolderError(f"{folder.path} is finished: there is nothing to resume")
        config = load_settings(str(folder.config_file)).config
        check_ports_free(config)
        check_page_port_free(config)
        check_stream(config)
        check_model(config)
        return conduct(config, folder, True, run_console())


@app.command()
def status(run: Run, as_json: Json = False) -> None:
    """Say where a run stands, from its folder; works while it runs."""
    from cluster.run_folder import RunFolder
    from cluster.status import run_status, status_table

    found = run_status(RunFolder.look(_run_path(run)))
    if as_json:
        _print_json(found)
    else:
        Console().print(status_table(found))


@app.command()
def watch(run: Run) -> None:
    """Show a run's progress from another shell, until it ends or Ctrl-C."""
    from cluster.run_folder import RunFolder
    from cluster.watch import watch

    watch(RunFolder.look(_run_path(run)), run_console())


@app.command()
def dashboard(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="A run's name, or its folder.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All runs of the runs folder.")] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="By default 7717, or any if taken.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where to listen; any but this machine alone needs a token.")
    ] = "127.0.0.1",
) -> None:
    """Serve a live page of a run, or of all; works while it runs and afterwards."""
    from cluster.dashboard.serving import bind, serve
    from cluster.run_folder import RunFolder

    if (run is None) != every:
        raise NesyprError("which run? write nesypr dashboard RUN, or nesypr dashboard --all")
    root = Path(os.environ.get("NESYPR__FOLDER", "runs")).absolute()
    folder = root if run is None else RunFolder.look(_run_path(run)).path
    place = bind(host, port)
    typer.echo(f"page     {place.url}")
    if run is None:
        serve(place, folder, None)
    else:
        serve(place, folder.parent, folder.name)


@app.command()
def report(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN…", help="Runs' names, or their folders.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write the page (of several runs: a folder).")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(help="A folder for the curves as SVG and PDF and all figures as CSV."),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of summary.json and stop.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write runs' report.html anew (also of a run that goes on or broke off)."""
    from cluster.conduct import known_summary
    from cluster.run_folder import RunFolder, RunFolderError, make_folder
    from cluster.summary import json_schema

    if schema:
        _print_json(json_schema())
        return
    if not runs:
        raise NesyprError("which run? write nesypr report RUN, or nesypr report --schema")
    from cluster.paper_figures import write_figures
    from cluster.report import render_report

    found = []
    for run in runs:
        folder = RunFolder.look(_run_path(run))
        summary = known_summary(folder)
        if summary is None:
            raise RunFolderError(f"{folder.path} has nothing to report: no event was logged yet")
        found.append((folder, summary))
    if as_json:
        values = [summary.model_dump(mode="json") for _, summary in found]
        _print_json(values[0] if len(values) == 1 else values)
        return
    for folder, summary in found:
        target = out.absolute() if out else folder.report_file
        if out and len(found) > 1:
            target = target / f"{folder.name}.html"
            make_folder(target.parent)
        folder.write(target, render_report(folder, summary))
        typer.echo(str(target))
        if figures is not None:
            place = figures.absolute() / folder.name
            typer.echo(f"{len(write_figures(folder, summary, place))} files in {place}")


@tasks_app.command("list")
def tasks_list(as_json: Json = False) -> None:
    """List the domains with their generators' sizes, problem files and simulators."""
    from cluster.domain_list import print_domains, rows_as_dicts
    from tasks.catalogue import list_tasks

    rows = list_tasks()
    if as_json:
        _print_json(rows_as_dicts(rows))
    else:
        print_domains(rows, Console())


@tasks_app.command("stream")
def tasks_stream(
    config: Annotated[str, typer.Argument(help="A YAML file, or a name in configs/.")],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.key=value; may be given several times."),
    ] = None,
    head: Annotated[int, typer.Option(min=1, help="How many tasks to show.")] = 20,
    count_distinct: Annotated[
        bool, typer.Option("--count-distinct", help="Draw all of it and count what differs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the tasks of a configuration's stream in their order, without running it."""
    from cluster import stream_list
    from cluster.settings import load_settings
    from tasks.stream import TaskStream

    settings = load_settings(config, assignments or (), os.environ).config
    stream = TaskStream(settings.stream, settings.seed)
    if count_distinct:
        counts = stream_list.distinct_counts(stream)
        if as_json:
            _print_json(counts)
        else:
            stream_list.print_counts(counts, Console())
        return
    rows = stream_list.first_tasks(stream, head)
    if as_json:
        _print_json(stream_list.rows_for_json(rows))
    else:
        stream_list.print_stream(rows, stream, Console())


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="Which benchmark; `nesypr bench list` names them.")],
    as_json: Json = False,
) -> None:
    """Measure: `nesypr bench acting` compares actor decisions/s with a plain loop."""
    from cluster.bench import bench_table, find_bench, list_benches

    if name == "list":
        benches = list_benches()
        if as_json:
            _print_json(benches)
        else:
            for key, words in benches.items():
                typer.echo(f"{key}: {words}")
        return
    result = find_bench(name)()
    if as_json:
        _print_json(result)
    else:
        Console().print(bench_table(name, result))


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="Which study; `nesypr study list` names them.")],
    config: Annotated[
        str,
        typer.Argument(help="A YAML file, or a name in configs/; by default the study's own."),
    ] = "",
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="section.key=value, or preset=quick; may be given several times."
        ),
    ] = None,
    traces: Annotated[int, typer.Option(min=0, help="Planned tasks a domain; 0: as usual.")] = 0,
    tasks: Annotated[int, typer.Option(min=0, help="Held-out tasks a domain; 0: as usual.")] = 0,
    processes: Annotated[
        int,
        typer.Option(min=0, help="That distil one model together; 0: the cores, shared out."),
    ] = 0,
    seeds: Annotated[
        int, typer.Option(min=0, help="Models of each kind; 0: as many as the study is meant for.")
    ] = 0,
    parallel: Annotated[
        int, typer.Option(min=0, help="Models distilled side by side; 0: as usual.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for tables, figures and models; by default runs/study-NAME."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Study: `nesypr study policy` learns ten domains from nothing and tries held-out tasks."""
    from cluster.studies import StudyWishes, find_study, list_studies, make_order

    if name == "list":
        if as_json:
            _print_json(list_studies())
        else:
            for key, words in list_studies().items():
                typer.echo(f"{key}: {words}")
        return
    chosen = find_study(name)
    page = chosen(
        make_order(
            name,
            config,
            assignments or (),
            os.environ,
            StudyWishes(traces, tasks, processes, seeds, parallel),
            out or Path(f"runs/study-{name}"),
            lambda line: typer.echo(line, err=as_json),
        )
    )
    if as_json:
        _print_json(page.result)
    else:
        typer.echo(page.path.read_text(encoding="utf-8"))
        typer.echo(str(page.path))


@app.command()
def doctor(
    server: Annotated[
        str | None, typer.Option(help="URL of a server that is to keep runs' shared memory.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Ask every host of this Ray cluster, too."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Check that everything which a run needs is there; exit code 1 if something is broken."""
    from cluster.doctor import check_everything, verdict_table

    checks = check_everything(server, address)
    broken = [check for check in checks if check.state == "broken"]
    if as_json:
        _print_json({"ok": not broken, "checks": [check.as_dict() for check in checks]})
    else:
        console = Console()
        console.print(verdict_table(checks))
        console.print(f"{len(broken)} broken" if broken else "all is well", highlight=False)
    return 1 if broken else 0


if __name__ == "__main__":
    main()
