"""The cells of a study's grid: made side by side, each left as a file that the next call skips.

A cell is whatever has a name; its result says what it hangs on. Where a file is of another
configuration the study refuses to mix them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from cluster.machine import hardware, library_versions
from cluster.study_steps import digest_of
from configs.errors import ConfigurationError


class KeptResult(BaseModel):
    """What a cell gave, with everything that it hangs on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    seed: int
    digest: str
    settings: dict[str, Any]


Result = TypeVar("Result", bound=KeptResult)

LIBRARIES = ("nesypr", "python", "torch", "numpy", "pymimir")
"""Those whose versions results tell."""


def made_on() -> tuple[str, dict[str, str]]:
    """The machine in words, and the versions of what results hang on."""
    machine, versions = hardware(), library_versions()
    return (
        f"{machine.cores} cores of {machine.processor}",
        {name: versions[name] for name in LIBRARIES if name in versions},
    )


def found_result(path: Path, kept: type[Result], wanted: Mapping[str, Any]) -> Result | None:
    """The result in a file, if there is one. ConfigurationError where it is of other settings."""
    if not path.is_file():
        return None
    away = f"remove {path} to make it anew, or choose another folder with --out"
    try:
        result = kept.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{path} is no result of a study: {away}") from error
    if result.digest != digest_of(wanted):
        raise ConfigurationError(
            f"{path} was made with another configuration ({difference(result.settings, wanted)}): "
            f"{away}"
        )
    return result


def write_result(path: Path, result: KeptResult) -> None:
    """Write it beside, and then in its place."""
    beside = path.with_suffix(".partial")
    beside.write_text(result.model_dump_json(indent=1), encoding="utf-8")
    beside.replace(path)


def make_side_by_side(
    names: Sequence[str],
    make: Callable[[str], Result],
    folder: Path,
    parallel: int,
    tell: Callable[[str], None],
) -> dict[str, Result]:
    """Make the cells of these names, `parallel` at once, and write FOLDER/NAME.json of each.

    The first that fails ends the study; those that are under way are finished first.
    """

    def make_one(name: str) -> tuple[str, Result]:
        result = make(name)
        write_result(folder / f"{name}.json", result)
        tell(f"{name}: done, {folder / f'{name}.json'}")
        return name, result

    if parallel == 1:
        return dict(map(make_one, names))
    with ThreadPoolExecutor(parallel) as pool:
        futures = [pool.submit(make_one, name) for name in names]
        try:
            return dict(future.result() for future in as_completed(futures))
        except BaseException:
            tell("stopping; models that are under way are finished first")
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def difference(old: Mapping[str, Any], new: Mapping[str, Any], above: str = "") -> str:
    """The first value in which two settings differ, as `key: old, now new`."""
    for key in [*old, *(key for key in new if key not in old)]:
        one, other = old.get(key), new.get(key)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            return difference(one, other, f"{above}{key}.")
        return f"{above}{key}: {one}, now {other}"
    return "its digest differs"
